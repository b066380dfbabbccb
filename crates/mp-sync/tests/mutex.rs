//! `Mutex<T>`: data, and deaths that are told until it is recovered.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_sync::{LockError, Mutex};

#[path = "shared/processes.rs"]
mod processes;
use mp_testkit::stay;
use processes::{child, place, shared_memory, until};

fn half_done(mutex: &'static Mutex<[u64; 2]>, at: &'static AtomicU32) {
    let holder = child(|| {
        let mut pair = mutex.lock().or_else(LockError::into_guard).unwrap();
        pair[0] += 1;
        at.store(1, Ordering::Release);
        stay();
    });
    until(|| at.load(Ordering::Acquire) == 1);
    at.store(0, Ordering::Release);
    holder.kill();
}

#[test]
fn processes_count_together() {
    let memory = shared_memory();
    let counter: &Mutex<u64> = place(memory, 0);
    let count = || (0..20_000).for_each(|_| *counter.lock().unwrap() += 1);
    let children = [child(count), child(count)];
    count();
    children.into_iter().for_each(processes::Child::join);
    assert_eq!(*counter.lock().unwrap(), 60_000);
}

#[test]
fn death_is_told_until_recovered() {
    let memory = shared_memory();
    let (mutex, at): (&Mutex<[u64; 2]>, _) = (place(memory, 0), place(memory, 128));
    half_done(mutex, at);
    for _ in 0..2 {
        let told = mutex.lock_timeout(Duration::from_secs(5)).unwrap_err();
        let LockError::OwnerDied(guard) = told else {
            panic!("{told:?}")
        };
        assert_eq!(*guard, [1, 0]);
    }
    let mut pair = mutex.lock().or_else(LockError::into_guard).unwrap();
    assert!(pair.owner_died());
    pair[1] = 1;
    pair.recover();
    drop(pair);
    assert_eq!(*mutex.lock().unwrap(), [1, 1]);
}

#[test]
fn death_of_a_recoverer_changes_nothing() {
    let memory = shared_memory();
    let (mutex, at): (&Mutex<[u64; 2]>, _) = (place(memory, 0), place(memory, 128));
    half_done(mutex, at);
    half_done(mutex, at);
    let told = mutex.lock_timeout(Duration::from_secs(5)).unwrap_err();
    let LockError::OwnerDied(guard) = told else {
        panic!("{told:?}")
    };
    assert_eq!(*guard, [2, 0]);
}

#[test]
fn data_of_a_leaked_guard_stays_lent_until_its_process_ends() {
    let memory = shared_memory();
    let (mutex, at): (&Mutex<[u64; 2]>, &AtomicU32) = (place(memory, 0), place(memory, 128));
    let leaker = child(|| {
        let lent = std::thread::spawn(|| &mut **Box::leak(Box::new(mutex.lock().unwrap())));
        let lent: &mut [u64; 2] = lent.join().unwrap();
        at.store(1, Ordering::Release);
        lent[0] += 1;
        stay();
    });
    until(|| at.load(Ordering::Acquire) == 1);
    for _ in 0..2 {
        match mutex.lock_timeout(Duration::from_secs(5)) {
            Err(LockError::Failed(error)) => {
                assert_eq!(error.kind(), ErrorKind::Claimed, "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    leaker.kill();
    let told = mutex.lock_timeout(Duration::from_secs(5)).unwrap_err();
    assert!(matches!(told, LockError::OwnerDied(_)), "{told:?}");
}

#[test]
fn panic_through_a_guard_marks_nothing() {
    let memory = shared_memory();
    let mutex: &'static Mutex<u64> = place(memory, 0);
    let panicked = std::thread::spawn(|| {
        let _guard = mutex.lock().unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panicked.join().is_err());
    assert!(mutex.lock().is_ok());
}

#[test]
fn overwritten_links_give_an_error_not_a_hang() {
    if !mp_os::robust::supported() {
        mp_testkit::not_checked("threads have no robust list here, and so no links");
        return;
    }
    let memory = shared_memory();
    let mutex: &Mutex<u64> = place(memory, 0);
    let links: [&std::sync::atomic::AtomicU64; 2] = [place(memory, 24), place(memory, 32)];
    child(|| {
        let guard = mutex.lock().unwrap();
        links[0].store(0xdead_0000, Ordering::Relaxed);
        links[1].store(0xbeef_0000, Ordering::Relaxed);
        drop(guard);
        let error = mp_layout::Error::from(mutex.lock().unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    })
    .join();
    let error = mp_layout::Error::from(mutex.lock_timeout(Duration::from_secs(5)).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
