//! `Barrier`: rounds, and everything that breaks them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mp_layout::{Described, ErrorKind, Region};
use mp_os::clock::Deadline;
use mp_os::futex::Wake;
use mp_sync::{Barrier, Lock};

#[path = "shared/processes.rs"]
mod processes;
use processes::{Child, child, place, shared_memory, until};

const AFTER_BARRIER: usize = 8448;

fn barrier_of(parties: u32) -> (Region<'static>, &'static Barrier) {
    let memory = shared_memory();
    let barrier: &Barrier = place(memory, 0);
    barrier.initialise(parties).expect("a number of parties");
    (memory, barrier)
}

fn kind(result: mp_layout::Result<usize>) -> Result<usize, ErrorKind> {
    result.map_err(|error| error.kind())
}

/// A child that waits and must get this, once it has arrived.
fn waiter(barrier: &'static Barrier, expected: Result<usize, ErrorKind>) -> Child {
    let before = barrier.waiting();
    let child = child(|| assert_eq!(kind(barrier.wait()), expected));
    until(|| barrier.waiting() == before + 1);
    child
}

#[test]
fn each_party_of_a_round_gets_a_number_of_its_own() {
    const ROUNDS: usize = 200;
    let (memory, barrier) = barrier_of(3);
    let seen: &[[AtomicU32; 3]; ROUNDS] = place(memory, AFTER_BARRIER);
    let take_part = || {
        for round in seen {
            round[barrier.wait().expect("nobody dies")].fetch_add(1, Ordering::SeqCst);
        }
    };
    let others = [(); 2].map(|()| child(take_part));
    take_part();
    others.into_iter().for_each(Child::join);
    let once = |round: &[AtomicU32; 3]| round.iter().all(|n| n.load(Ordering::SeqCst) == 1);
    assert!(seen.iter().all(once));
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

/// What a party wrote before the barrier is there after it, and nobody is a round ahead.
#[test]
fn no_party_is_ahead_of_the_others() {
    let (memory, barrier) = barrier_of(3);
    let steps: &[AtomicU32; 3] = place(memory, AFTER_BARRIER);
    let walk = |me: usize| {
        for step in 1..=200 {
            steps[me].store(step, Ordering::Relaxed);
            barrier.wait().expect("nobody dies");
            assert!(steps.iter().all(|s| s.load(Ordering::Relaxed) == step));
            barrier.wait().expect("nobody dies");
        }
    };
    let others = [1, 2].map(|me| child(move || walk(me)));
    walk(0);
    others.into_iter().for_each(Child::join);
}

/// The locks that an action keeps do not keep the other parties from going on.
#[test]
fn an_action_that_keeps_1024_locks_ends_its_round() {
    for panics in [false, true] {
        let (memory, barrier) = barrier_of(2);
        let other = waiter(
            barrier,
            if panics {
                Err(ErrorKind::Broken)
            } else {
                Ok(0)
            },
        );
        let kept = RefCell::new(Vec::new());
        let keep_locks = || {
            let locks = (0..1024).map(|index| place::<Lock>(memory, AFTER_BARRIER + index * 64));
            let guards = locks.map(|lock| lock.lock().expect("free"));
            kept.borrow_mut().extend(guards);
            assert!(!panics, "with all locks kept");
        };
        let ended = catch_unwind(AssertUnwindSafe(|| barrier.wait_and_run(keep_locks)));
        assert_eq!(ended.is_err(), panics);
        if let Ok(ended) = ended {
            assert_eq!(kind(ended), Ok(1));
        }
        assert_eq!(kept.borrow().len(), 1024);
        other.join();
        assert_eq!(barrier.is_broken(), panics);
    }
}

#[test]
fn a_single_party_never_waits() {
    let (_, barrier) = barrier_of(1);
    assert!((0..3).all(|_| barrier.wait_timeout(Duration::ZERO).expect("alone") == 0));
}

#[test]
fn a_try_passes_only_as_the_last_party_and_breaks_nothing() {
    let (_, barrier) = barrier_of(3);
    let others = [0, 1].map(|number| {
        assert_eq!(barrier.try_wait().expect("not broken"), None);
        waiter(barrier, Ok(number))
    });
    assert_eq!(barrier.try_wait().expect("not broken"), Some(2));
    others.into_iter().for_each(Child::join);
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
    barrier.abort().expect("the lock is free");
    let error = barrier.try_wait().expect_err("broken");
    assert_eq!(error.kind(), ErrorKind::Broken);
    let unmade: &Barrier = place(shared_memory(), 0);
    let error = unmade.try_wait().expect_err("no number of parties");
    assert_eq!(error.kind(), ErrorKind::InvalidState);
}

#[test]
fn as_many_parties_as_there_can_be_make_a_round() {
    let (_, barrier) = barrier_of(512);
    let sum = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..512 {
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, || {
                    let number = barrier.wait().expect("nobody dies");
                    sum.fetch_add(number as u64, Ordering::SeqCst);
                })
                .expect("a thread");
        }
    });
    assert_eq!(sum.into_inner(), 512 * 511 / 2);
}

#[test]
fn a_barrier_without_parties_or_of_too_many_is_refused() {
    let barrier: &Barrier = place(shared_memory(), 0);
    for parties in [0, 513, u32::MAX] {
        let error = barrier.initialise(parties).expect_err("not so many");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("1 to 512"), "{error}");
    }
    assert_eq!(kind(barrier.wait()), Err(ErrorKind::InvalidState));
}

#[test]
fn a_timeout_breaks_it_for_all() {
    let (_, barrier) = barrier_of(3);
    let other = waiter(barrier, Err(ErrorKind::Broken));
    let start = Instant::now();
    let error = barrier
        .wait_timeout(Duration::from_millis(20))
        .expect_err("one is missing");
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("2 of 3"), "{error}");
    other.join();
    let error = barrier.wait().expect_err("broken");
    assert!(error.to_string().contains("timeout"), "{error}");
    for timeout in [Duration::ZERO, Duration::MAX] {
        assert_eq!(kind(barrier.wait_timeout(timeout)), Err(ErrorKind::Broken));
    }
}

#[test]
fn zero_time_is_enough_for_the_last_party_only() {
    let (_, barrier) = barrier_of(2);
    assert_eq!(
        kind(barrier.wait_timeout(Duration::ZERO)),
        Err(ErrorKind::TimedOut)
    );
    assert!(barrier.is_broken());
    barrier.reset().expect("the lock is free");
    let other = waiter(barrier, Ok(0));
    assert_eq!(kind(barrier.wait_timeout(Duration::ZERO)), Ok(1));
    other.join();
}

#[test]
fn an_abort_breaks_it_until_it_is_reset() {
    let (_, barrier) = barrier_of(3);
    let others = [(); 2].map(|()| waiter(barrier, Err(ErrorKind::Broken)));
    assert_eq!(barrier.waiting(), 2);
    barrier.abort().expect("the lock is free");
    others.into_iter().for_each(Child::join);
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, true));
    let error = barrier.wait().expect_err("broken");
    assert!(error.to_string().contains("aborted"), "{error}");
    barrier.reset().expect("the lock is free");
    let others = [Ok(0), Ok(1)].map(|number| waiter(barrier, number));
    assert_eq!(kind(barrier.wait()), Ok(2));
    others.into_iter().for_each(Child::join);
}

#[test]
fn a_reset_sends_away_who_waits_and_leaves_it_usable() {
    let (_, barrier) = barrier_of(2);
    barrier.reset().expect("nothing to do");
    for _ in 0..3 {
        let gone = waiter(barrier, Err(ErrorKind::Broken));
        barrier.reset().expect("the lock is free");
        gone.join();
        let other = waiter(barrier, Ok(0));
        assert_eq!(kind(barrier.wait()), Ok(1));
        other.join();
    }
}

#[test]
fn the_last_party_runs_the_action_before_the_others_go_on() {
    let (memory, barrier) = barrier_of(3);
    let runs: &AtomicU32 = place(memory, AFTER_BARRIER);
    let take_part = || {
        for round in 1..=50 {
            let add = || {
                runs.fetch_add(1, Ordering::Relaxed);
            };
            barrier.wait_and_run(add).expect("nobody dies");
            assert_eq!(runs.load(Ordering::Relaxed), round);
            barrier.wait().expect("nobody dies");
        }
    };
    let others = [(); 2].map(|()| child(take_part));
    take_part();
    others.into_iter().for_each(Child::join);
}

#[test]
fn an_action_that_panics_breaks_it() {
    let (_, barrier) = barrier_of(2);
    let other = waiter(barrier, Err(ErrorKind::Broken));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        barrier.wait_and_run(|| panic!("on purpose"))
    }));
    assert!(panicked.is_err());
    other.join();
    let error = barrier.wait().expect_err("broken");
    assert!(error.to_string().contains("panicked"), "{error}");
}

/// The round is full and its action runs: one more is for the next round, and its time may pass
/// without harm.
#[test]
fn who_comes_during_the_action_is_for_the_next_round() {
    let (memory, barrier) = barrier_of(2);
    let [begun, go_on]: [&AtomicU32; 2] = [0, 64].map(|at| place(memory, AFTER_BARRIER + at));
    let first = waiter(barrier, Ok(0));
    let actor = child(|| {
        let act = || {
            begun.store(1, Ordering::SeqCst);
            until(|| go_on.load(Ordering::SeqCst) == 1);
        };
        assert_eq!(kind(barrier.wait_and_run(act)), Ok(1));
    });
    until(|| begun.load(Ordering::SeqCst) == 1);
    let late = barrier.wait_timeout(Duration::from_millis(5));
    assert_eq!(kind(late), Err(ErrorKind::TimedOut));
    assert!(!barrier.is_broken());
    let next = child(|| assert!(barrier.wait().is_ok()));
    go_on.store(1, Ordering::SeqCst);
    first.join();
    actor.join();
    barrier.wait().expect("with the one that waited");
    next.join();
}

#[test]
fn a_party_that_gives_up_during_the_action_breaks_the_round() {
    static TIME_IS_UP: AtomicBool = AtomicBool::new(false);
    let (_, barrier) = barrier_of(2);
    let timeout = Deadline::NEVER.interruptible_by(|| TIME_IS_UP.load(Ordering::Relaxed));
    let gone = std::thread::spawn(move || kind(barrier.wait_timeout(timeout)));
    until(|| barrier.waiting() == 1);
    let act = || {
        TIME_IS_UP.store(true, Ordering::Relaxed);
        until(|| barrier.is_broken());
    };
    assert_eq!(kind(barrier.wait_and_run(act)), Err(ErrorKind::Broken));
    assert_eq!(gone.join().expect("no panic"), Err(ErrorKind::TimedOut));
}

#[test]
fn a_death_while_it_waits_breaks_it_and_is_named() {
    let (_, barrier) = barrier_of(3);
    let victim = waiter(barrier, Ok(0));
    let other = waiter(barrier, Err(ErrorKind::Broken));
    let pid = victim.pid();
    victim.kill();
    other.join();
    let error = barrier.wait().expect_err("broken");
    assert_eq!(error.kind(), ErrorKind::Broken);
    assert!(error.to_string().contains(&format!("process {pid} died")));
}

#[test]
fn a_death_in_the_action_breaks_it() {
    let (memory, barrier) = barrier_of(2);
    let begun: &AtomicU32 = place(memory, AFTER_BARRIER);
    let other = waiter(barrier, Err(ErrorKind::Broken));
    let actor = child(|| {
        let act = || {
            begun.store(1, Ordering::SeqCst);
            until(|| begun.load(Ordering::SeqCst) == 2);
        };
        assert!(barrier.wait_and_run(act).is_ok(), "it is killed before");
    });
    until(|| begun.load(Ordering::SeqCst) == 1);
    actor.kill();
    other.join();
    assert!(barrier.is_broken());
}

#[test]
fn the_death_of_a_registered_process_breaks_it_wherever_it_dies() {
    let (memory, barrier) = barrier_of(2);
    let ready: &AtomicU32 = place(memory, AFTER_BARRIER);
    let member = child(|| {
        let _party = barrier.register().expect("room");
        ready.store(1, Ordering::SeqCst);
        loop {
            std::thread::park();
        }
    });
    until(|| ready.load(Ordering::SeqCst) == 1);
    let other = waiter(barrier, Err(ErrorKind::Broken));
    member.kill();
    other.join();
    // The dead one is forgotten: it does not break the next round.
    barrier.reset().expect("the lock is free");
    let other = waiter(barrier, Ok(0));
    assert_eq!(kind(barrier.wait_timeout(Duration::from_secs(20))), Ok(1));
    other.join();
}

#[test]
fn one_that_only_tries_finds_the_dead() {
    let (memory, barrier) = barrier_of(3);
    let ready: &AtomicU32 = place(memory, AFTER_BARRIER);
    let member = child(|| {
        let _party = barrier.register().expect("room");
        ready.store(1, Ordering::SeqCst);
        loop {
            std::thread::park();
        }
    });
    until(|| ready.load(Ordering::SeqCst) == 1);
    assert_eq!(barrier.try_wait().expect("all live"), None);
    member.kill();
    until(|| barrier.try_wait().is_err());
    barrier.reset().expect("the lock is free");
    // The only party that waits, and would look.
    let waiting = waiter(barrier, Ok(0));
    until(|| barrier.waiting() == 1);
    assert_eq!(barrier.try_wait().expect("all live"), None);
    waiting.kill();
    until(|| barrier.try_wait().is_err());
    assert_eq!(kind(barrier.try_wait().map(|_| 0)), Err(ErrorKind::Broken));
}

#[test]
fn a_process_that_dropped_its_party_may_end() {
    let (_, barrier) = barrier_of(2);
    child(|| {
        let party = barrier.register().expect("room");
        assert_eq!(party.parties(), 2);
        drop(party);
    })
    .join();
    let other = waiter(barrier, Ok(0));
    // Longer than between two rechecks, in which a dead member would be found.
    let start = Instant::now();
    until(|| start.elapsed() > Duration::from_millis(600));
    assert_eq!(kind(barrier.wait()), Ok(1));
    other.join();
}

#[test]
fn a_forked_child_does_not_end_its_parents_part() {
    let (memory, barrier) = barrier_of(2);
    let members: &[AtomicU64; 512] = place(memory, 4352);
    let party = RefCell::new(Some(barrier.register().expect("room")));
    let word = members[0].load(Ordering::SeqCst);
    child(|| drop(party.take())).join();
    assert_eq!(members[0].load(Ordering::SeqCst), word);
}

#[test]
fn the_places_of_dead_members_are_used_again() {
    let (memory, barrier) = barrier_of(2);
    child(|| (0..512).for_each(|_| std::mem::forget(barrier.register().expect("room")))).join();
    let members: &[AtomicU64; 512] = place(memory, 4352);
    let parties: Vec<_> = (0..512)
        .map(|_| barrier.register().expect("room"))
        .collect();
    let error = barrier.register().expect_err("full");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("512"), "{error}");
    drop(parties);
    assert!(members.iter().all(|word| word.load(Ordering::SeqCst) == 0));
}

/// What a wild write leaves must not panic, loop or be waited for.
#[test]
fn overwritten_words_end_every_operation() {
    for word in [96, 104, 112, 128, 256].map(|offset| offset / 8) {
        for value in [u64::MAX, 1 << 16, 600 << 1] {
            let (memory, barrier) = barrier_of(2);
            let words: &[AtomicU64; 1056] = place(memory, 0);
            words[word].store(value, Ordering::Relaxed);
            for _ in 0..3 {
                let waited = kind(barrier.wait_timeout(Duration::from_millis(1)));
                assert!(waited.is_err(), "{word} {value:#x}: {waited:?}");
                barrier.reset().expect("the lock is whole");
            }
            assert!(barrier.waiting() <= 1 << 16);
        }
    }
}

/// The kernel wakes one sleeper of the dead one's bell, and those of the ended round may lie behind
/// one of the next round.
#[test]
fn a_party_that_hears_of_a_death_wakes_the_others_though_its_own_round_goes_on() {
    if !mp_os::futex::waitv_supported() {
        mp_testkit::not_checked("no kernel wakes a sleeper of two words here");
        return;
    }
    let (memory, barrier) = barrier_of(2);
    let (bell, event): (&AtomicU32, &AtomicU32) = (place(memory, 48), place(memory, 56));
    let waiter = waiter(barrier, Ok(0));
    let limit = Deadline::after(Duration::from_secs(60));
    // As one of the ended round, which sleeps on while nobody wakes it.
    let is_woken = || loop {
        match mp_os::futex::wait(event, event.load(Ordering::SeqCst), limit) {
            Wake::Woken => return true,
            Wake::TimedOut => return false,
            Wake::Changed | Wake::Interrupted => {}
        }
    };
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(is_woken);
        while !sleeper.is_finished() {
            mp_os::futex::wake(bell, 1);
            std::thread::yield_now();
        }
        assert!(sleeper.join().unwrap(), "nobody woke it");
    });
    assert_eq!(barrier.wait().unwrap(), 1);
    waiter.join();
}
