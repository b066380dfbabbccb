//! `Condition`: waiters are notified in order, each once, and not without a reason.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mp_layout::ErrorKind;
use mp_os::clock::Deadline;
use mp_sync::{Condition, LockError, RawMutex};

#[path = "shared/processes.rs"]
mod processes;
use processes::{child, place, shared_memory, until};

/// Starts a process that waits once and then puts `number` at the next place of `order`.
fn waiter(
    condition: &'static Condition,
    order: &'static [AtomicU32; 4],
    number: u32,
) -> processes::Child {
    let before = condition.waiting();
    let child = child(|| {
        let guard = condition.lock().expect("no owner dies");
        let guard = guard.wait().expect("no owner dies");
        let place = order.iter().position(|n| n.load(Ordering::Relaxed) == 0);
        order[place.expect("a place")].store(number, Ordering::Relaxed);
        drop(guard);
    });
    until(|| condition.waiting() == before + 1);
    child
}

fn numbers(order: &[AtomicU32; 4]) -> [u32; 4] {
    order.each_ref().map(|n| n.load(Ordering::Relaxed))
}

#[test]
fn waiters_return_in_the_order_in_which_they_began() {
    let memory = shared_memory();
    let condition: &Condition = place(memory, 0);
    let order: &[AtomicU32; 4] = place(memory, 8448);
    let waiters = [1, 2, 3, 4].map(|number| waiter(condition, order, number));
    condition.lock().expect("free").notify(2);
    until(|| numbers(order)[1] != 0);
    let mut first = numbers(order);
    first.sort_unstable();
    assert_eq!((first, condition.waiting()), ([0, 0, 1, 2], 2));
    condition.lock().expect("free").notify_all();
    waiters.into_iter().for_each(processes::Child::join);
    assert!(numbers(order)[2..].iter().all(|&number| number > 2));
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn a_notification_without_waiters_is_not_kept() {
    let memory = shared_memory();
    let condition: &Condition = place(memory, 0);
    condition.lock().expect("free").notify(3);
    let (guard, start) = (condition.lock().expect("free"), Instant::now());
    let (guard, notified) = guard
        .wait_timeout(Duration::from_millis(20))
        .expect("no owner dies");
    assert!(!notified && start.elapsed() >= Duration::from_millis(20));
    drop(guard);
}

#[test]
fn who_timed_out_takes_no_notification() {
    static TIME_IS_UP: AtomicBool = AtomicBool::new(false);
    let memory = shared_memory();
    let condition: &Condition = place(memory, 0);
    let order: &[AtomicU32; 4] = place(memory, 8448);
    let timeout = Deadline::NEVER.interruptible_by(|| TIME_IS_UP.load(Ordering::Relaxed));
    let gone = std::thread::spawn(move || {
        let guard = condition.lock().expect("free");
        guard
            .wait_timeout(timeout)
            .map(|(_, notified)| notified)
            .ok()
    });
    until(|| condition.waiting() == 1);
    let stays = waiter(condition, order, 7);
    TIME_IS_UP.store(true, Ordering::Relaxed);
    assert_eq!(gone.join().expect("no panic"), Some(false));
    condition.lock().expect("free").notify(1);
    stays.join();
    assert_eq!(numbers(order), [7, 0, 0, 0]);
}

#[test]
fn a_killed_waiter_takes_no_notification() {
    let memory = shared_memory();
    let condition: &Condition = place(memory, 0);
    let order: &[AtomicU32; 4] = place(memory, 8448);
    let first = waiter(condition, order, 1);
    let second = waiter(condition, order, 2);
    first.kill();
    condition.lock().expect("free").notify(1);
    second.join();
    assert_eq!(numbers(order), [2, 0, 0, 0]);
    until(|| condition.waiting() == 0);
}

#[test]
fn waits_for_a_predicate_and_tells_what_it_said() {
    let memory = shared_memory();
    let (condition, stock): (&Condition, &AtomicU32) = (place(memory, 0), place(memory, 8448));
    let producer = child(|| {
        for _ in 0..5 {
            let guard = condition.lock().expect("no owner dies");
            stock.fetch_add(1, Ordering::Relaxed);
            guard.notify_all();
        }
    });
    let enough = || stock.load(Ordering::Relaxed) == 5;
    let guard = condition.lock().expect("no owner dies");
    let guard = guard.wait_for(enough).expect("no owner dies");
    let (guard, holds) = guard
        .wait_for_timeout(Duration::ZERO, || false)
        .expect("no owner dies");
    assert!(enough() && !holds);
    drop(guard);
    producer.join();
}

#[test]
fn a_ping_pong_loses_no_notification() {
    let memory = shared_memory();
    let (condition, turn): (&Condition, &AtomicU32) = (place(memory, 0), place(memory, 8448));
    let play = |mine: u32| {
        let mut guard = condition.lock().expect("no owner dies");
        for _ in 0..2000 {
            guard = guard
                .wait_for(|| turn.load(Ordering::Relaxed) == mine)
                .expect("no owner dies");
            turn.store(1 - mine, Ordering::Relaxed);
            guard.notify(1);
        }
    };
    let other = child(|| play(1));
    play(0);
    other.join();
}

#[test]
fn the_lock_of_a_dead_owner_says_so_also_to_a_waiter() {
    let memory = shared_memory();
    let condition: &Condition = place(memory, 0);
    let waiter = child(|| {
        let guard = condition.lock().expect("free");
        assert!(matches!(guard.wait(), Err(LockError::OwnerDied(_))));
    });
    until(|| condition.waiting() == 1);
    child(|| {
        let guard = condition.lock().expect("free");
        guard.notify(1);
        std::mem::forget(guard);
    })
    .join();
    waiter.join();
    assert!(condition.lock().is_ok(), "only the next owner learns it");
}

#[test]
fn more_waiters_than_there_is_room_for_get_an_error() {
    let memory = shared_memory();
    let condition: &Condition = place(memory, 0);
    std::thread::scope(|scope| {
        for _ in 0..512 {
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, || drop(condition.lock().unwrap().wait().unwrap()))
                .expect("a thread");
        }
        until(|| condition.waiting() == 512);
        let Err(LockError::Failed(error)) = condition.lock().expect("free").wait() else {
            panic!("there is no room for another");
        };
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("512"), "{error}");
        condition.lock().expect("free, all the same").notify_all();
    });
    assert_eq!(condition.waiting(), 0);
}

/// What a wild write leaves must not panic or loop; what is notified then is not defined.
#[test]
fn overwritten_tickets_end_every_operation() {
    for word in [0, 96, 104, 112].map(|offset| offset / 8) {
        let memory = shared_memory();
        let condition: &Condition = place(memory, 0);
        let words: &[AtomicU64; 512] = place(memory, 0);
        if word != 0 {
            words[word].store(u64::MAX, Ordering::Relaxed);
        }
        for _ in 0..3 {
            let guard = condition.lock().expect("free");
            guard.notify_all();
            let notified = guard.wait_timeout(Duration::ZERO).map(|(_, told)| told);
            assert!(word != 0 || matches!(notified, Ok(false)));
        }
        assert!(condition.waiting() <= 512);
    }
}

/// Others come and go more often than there are places, while one waits and nothing is notified.
#[test]
fn one_that_waits_for_long_keeps_no_place_from_others() {
    let memory = shared_memory();
    let condition: &Condition = place(memory, 0);
    let order: &[AtomicU32; 4] = place(memory, 8448);
    let first = waiter(condition, order, 1);
    let come_and_go = || {
        for _ in 0..1200 {
            let guard = condition.lock().expect("free");
            let waited = guard.wait_timeout(Duration::ZERO).map(|(_, told)| told);
            assert!(matches!(waited, Ok(false)), "{waited:?}");
        }
    };
    come_and_go();
    let second = waiter(condition, order, 2);
    come_and_go();
    condition.lock().expect("free").notify(1);
    first.join();
    assert_eq!((numbers(order), condition.waiting()), ([1, 0, 0, 0], 1));
    condition.lock().expect("free").notify(1);
    second.join();
    assert_eq!((numbers(order), condition.waiting()), ([1, 2, 0, 0], 0));
}

/// What another waiter sleeps on was changed by one that heard of a notifier's death, although the
/// lock was busy until its own time had passed. `None` if the machine was too slow for this span.
fn looked_after_another(span: Duration) -> Option<bool> {
    let memory = shared_memory();
    let condition: &Condition = place(memory, 0);
    let words: &[AtomicU64; 1056] = place(memory, 0);
    let wakes: &[AtomicU32; 16] = place(memory, 128);
    let until = Instant::now() + span;
    let waiter = child(|| {
        let waited = condition.lock().expect("free").wait_timeout(until);
        drop(waited.expect("no owner dies"));
    });
    let is_asleep = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", waiter.pid()));
        stat.is_ok_and(|stat| {
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('S'))
        })
    };
    while condition.waiting() == 0 || !is_asleep() {
        if Instant::now() > until {
            return None;
        }
        std::thread::yield_now();
    }
    // A second waiter with ticket 1, which looks after nothing itself.
    let me = mp_os::process_id::ProcessIdentity::current().expect("/proc is there");
    words[4352 / 8 + 1].store(1, Ordering::SeqCst);
    words[256 / 8 + 1].store(me.word(), Ordering::SeqCst);
    words[112 / 8].store(2, Ordering::SeqCst);
    let busy = condition.lock().expect("free");
    // It has notified both, and dies before it wakes them.
    child(|| {
        let notifier: &RawMutex = place(memory, 192);
        std::mem::forget(notifier.lock().expect("free"));
        let word: &AtomicU32 = place(memory, 192);
        word.fetch_or(1 << 31, Ordering::SeqCst);
        words[104 / 8].store(2, Ordering::SeqCst);
    })
    .join();
    let heard_in_time = Instant::now() < until;
    until_passed(until + Duration::from_millis(50));
    drop(busy);
    waiter.join();
    heard_in_time.then(|| wakes[1].load(Ordering::SeqCst) > 0)
}

fn until_passed(moment: Instant) {
    while Instant::now() < moment {
        std::thread::yield_now();
    }
}

#[test]
fn who_hears_of_a_death_looks_after_the_others_though_its_time_passed() {
    if !mp_os::robust::supported() || !mp_os::futex::waitv_supported() {
        mp_testkit::not_checked("no kernel marks the locks of the dead here");
        return;
    }
    let spans = [100, 200, 240].map(Duration::from_millis);
    // Less than a recheck, and more than a child takes to die, but on a machine that stands still.
    match spans
        .into_iter()
        .cycle()
        .take(30)
        .find_map(looked_after_another)
    {
        Some(has_looked) => assert!(has_looked, "the other sleeps until its recheck"),
        None => mp_testkit::not_checked("no child died within 240 ms"),
    }
}
