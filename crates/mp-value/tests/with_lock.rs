//! Several objects under one lock of the program's own.

use std::sync::Barrier;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::{Lock, transfer};
use mp_sync::LockError;
use mp_testkit::{Forked, PATIENCE, Watchdog};
use mp_value::{Array, Value, WithLock};

const ROUNDS: u64 = 2_000;

struct Account {
    lock: Lock,
    total: WithLock<Value<u64>>,
    parts: WithLock<Array<u64>>,
}

fn account() -> Account {
    let lock = Lock::new().unwrap();
    Account {
        total: Value::new(0).unwrap().with_lock(&lock),
        parts: Array::new(2).unwrap().with_lock(&lock),
        lock,
    }
}

#[test]
fn two_objects_change_in_one_step() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let account = account();
    let children = [0, 1].map(|part| {
        let Account { lock, total, parts } = &account;
        Forked::new(move || {
            for _ in 0..ROUNDS {
                let both = lock.lock().unwrap();
                let sum: u64 = parts.to_vec().unwrap().iter().sum();
                assert_eq!(total.get(), sum, "no one else is between the two changes");
                parts.set(part, parts.get(part).unwrap() + 1).unwrap();
                total.fetch_add(1).unwrap();
                drop(both);
            }
            true
        })
    });
    assert!(children.iter().all(Forked::succeeds));
    assert_eq!(account.total.get(), 2 * ROUNDS);
    assert_eq!(account.parts.to_vec().unwrap(), [ROUNDS; 2]);
}

#[test]
fn every_operation_waits_for_the_lock() {
    let _watchdog = Watchdog::new(PATIENCE);
    let account = account();
    let held = account.lock.lock().unwrap();
    let started = Barrier::new(8);
    std::thread::scope(|scope| {
        let operations: [Box<dyn Fn() + Send>; 7] = [
            Box::new(|| account.total.set(1).unwrap()),
            Box::new(|| assert!(account.total.update(|old| old + 1).unwrap() > 0)),
            Box::new(|| assert!(account.total.fetch_add(1).unwrap() < 7)),
            Box::new(|| *account.total.lock().unwrap() += 1),
            Box::new(|| account.parts.set(0, 1).unwrap()),
            Box::new(|| assert_eq!(account.parts.to_vec().unwrap()[1], 0)),
            Box::new(|| account.parts.lock().unwrap()[0] = 1),
        ];
        let waiting = operations.map(|operation| {
            let started = &started;
            scope.spawn(move || {
                started.wait();
                operation();
            })
        });
        started.wait();
        // Time for an operation that does not wait to be seen; those that do are not disturbed by
        // more of it.
        let is_held = scope.spawn(|| {
            let timeout = Duration::from_millis(50);
            matches!(
                account.total.get_lock_timeout(timeout),
                Err(LockError::Timeout(_))
            )
        });
        assert!(is_held.join().unwrap());
        assert!(waiting.iter().all(|thread| !thread.is_finished()));
        assert_eq!(account.total.get(), 0);
        drop(held);
    });
    assert!(account.total.get() >= 1);
}

#[test]
fn a_guard_has_both_locks_and_commits_first() {
    let account = account();
    let mut total = account.total.lock().unwrap();
    *total = 7;
    assert!(matches!(account.lock.lock(), Err(LockError::Recursive)));
    assert_eq!(account.total.get(), 0, "not committed yet");
    drop(total);
    assert_eq!(account.total.get(), 7);
    drop(account.lock.lock().unwrap());
}

#[test]
fn a_death_with_the_lock_is_told_once_and_changes_nothing() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let account = account();
    let child = Forked::holding(|| {
        let guard = account.lock.lock().unwrap();
        account.total.set(5).unwrap();
        guard
    });
    child.kill_and_reap();
    let error = account.total.set(9).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OwnerDied, "{error}");
    assert_eq!(account.total.get(), 5);
    account.total.set(9).unwrap();
    account.parts.set(0, 1).unwrap();
    assert_eq!(account.total.get(), 9);
}

#[test]
fn it_travels_with_its_lock() {
    let _watchdog = Watchdog::new(PATIENCE);
    let account = account();
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&account.total));
    let twin: WithLock<Value<u64>> =
        transfer::incoming(descriptors, || postcard::from_bytes(&bytes.unwrap())).unwrap();
    let held = twin.get_lock().unwrap();
    assert!(matches!(account.lock.lock(), Err(LockError::Recursive)));
    twin.set(3).unwrap();
    drop(held);
    assert_eq!(account.total.get(), 3);
}
