//! Claims: who gets one, who keeps one, and who gives back a dead owner's.

use std::sync::Barrier;
use std::thread;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{ErrorKind, Kind, Result, TypeTag};
use mp_object::{Object, OwnerWord, Plan, ProcessIdentity, owner};
use mp_testkit::{Forked, PATIENCE, Watchdog};

/// A word in memory that children share.
struct SharedWord(Object);

impl SharedWord {
    fn new() -> Self {
        let plan = Plan::new(Kind::RawArray, TypeTag::of::<u64>(), 8);
        Self(Object::create(&plan, |_| Ok(())).unwrap())
    }

    fn owner_word(&self) -> Word<'_> {
        // SAFETY: bare words, reached by nobody with a reference to more.
        Word(unsafe { self.0.payload() }.place(0).unwrap())
    }

    /// What a peer with a bug, or another life of a PID, leaves in the word.
    fn overwrite(&self, word: u64) {
        // SAFETY: bare words, reached by nobody with a reference to more.
        let bits: &AtomicU64 = unsafe { self.0.payload() }.place(0).unwrap();
        bits.store(word, Ordering::SeqCst);
    }

    /// A child that has claimed the word and stays until it is killed.
    fn claimed_by_child(&self) -> Forked {
        Forked::holding(|| self.owner_word().claim().unwrap().unwrap())
    }
}

/// An owner word as processes use it.
#[derive(Clone, Copy)]
struct Word<'a>(&'a OwnerWord);

impl Word<'_> {
    fn claim(self) -> Result<Result<(), ProcessIdentity>> {
        match self.0.claim(me().into()) {
            Ok(()) => Ok(Ok(())),
            Err(other) => owner::process(other).map(Err),
        }
    }

    fn release(self) {
        // Not this process's in a child that was forked.
        let _was_ours = self.0.release(me().into());
    }

    fn owner(self) -> Option<ProcessIdentity> {
        self.0.owner().and_then(|owner| owner::process(owner).ok())
    }

    fn sweep(self) -> Result<Option<ProcessIdentity>> {
        owner::sweep(self.0)
    }
}

fn me() -> ProcessIdentity {
    ProcessIdentity::current().unwrap()
}

#[test]
fn second_claim_is_refused_and_names_the_owner() {
    let free = OwnerWord::free();
    let word = Word(&free);
    assert_eq!(word.owner(), None);
    assert_eq!(word.claim().unwrap(), Ok(()));
    assert_eq!(word.owner(), Some(me()));
    assert_eq!(word.claim().unwrap(), Err(me()));
    word.release();
    assert_eq!(word.owner(), None);
    assert_eq!(word.claim().unwrap(), Ok(()));
}

#[test]
fn free_word_has_nothing_to_sweep() {
    assert_eq!(owner::sweep(&OwnerWord::free()).unwrap(), None);
}

#[test]
fn dead_owners_claim_is_given_back_exactly_once() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let shared = SharedWord::new();
    let word = shared.owner_word();
    let child = shared.claimed_by_child();
    assert_eq!(word.sweep().unwrap(), None, "its owner lives");
    let owner = word.claim().unwrap().unwrap_err();
    assert_eq!(owner.pid(), child.pid());
    child.kill_and_reap();
    assert_eq!(word.claim().unwrap(), Err(owner), "nobody has swept yet");
    assert_eq!(word.sweep().unwrap(), Some(owner));
    assert_eq!(word.sweep().unwrap(), None);
    assert_eq!(word.claim().unwrap(), Ok(()));
}

#[test]
fn owner_killed_at_any_time_leaves_a_word_to_claim() {
    const KILLS: u32 = 100;
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let shared = SharedWord::new();
    let (mut held, mut free) = (0, 0);
    for kill in 0.. {
        if kill >= KILLS && held.min(free) >= 10 {
            break;
        }
        assert!(kill < 100 * KILLS, "held {held} times, free {free} times");
        let child = Forked::arriving(|arrival| {
            arrival.arrive();
            loop {
                shared.owner_word().claim().unwrap().unwrap();
                shared.owner_word().release();
            }
        });
        (0..kill % KILLS * 100).for_each(|_| std::hint::spin_loop());
        child.kill_and_reap();
        if let Some(dead) = shared.owner_word().sweep().unwrap() {
            assert_eq!(dead.pid(), child.pid());
            held += 1;
        } else {
            free += 1;
        }
        assert_eq!(shared.owner_word().claim().unwrap(), Ok(()), "kill {kill}");
        shared.owner_word().release();
    }
}

#[test]
fn stopped_owner_is_alive() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let shared = SharedWord::new();
    let child = shared.claimed_by_child();
    let pid = i32::try_from(child.pid()).unwrap();
    // SAFETY: stops our own unreaped child.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    let mut status = 0;
    // SAFETY: waits for our own child to have stopped.
    let stopped = unsafe { libc::waitpid(pid, &mut status, libc::WUNTRACED) };
    assert_eq!(stopped, pid);
    assert!(libc::WIFSTOPPED(status));
    assert_eq!(shared.owner_word().sweep().unwrap(), None);
    assert_eq!(
        shared.owner_word().owner().map(|owner| owner.pid()),
        Some(child.pid())
    );
}

#[test]
fn zombie_is_dead() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let shared = SharedWord::new();
    let child = shared.claimed_by_child();
    child.kill();
    child.await_end(); // and is not reaped
    let swept = shared.owner_word().sweep().unwrap();
    assert_eq!(swept.map(|owner| owner.pid()), Some(child.pid()));
    assert_eq!(shared.owner_word().claim().unwrap(), Ok(()));
}

#[test]
fn reused_pid_is_not_the_owner() {
    let shared = SharedWord::new();
    let (word, earlier) = (shared.owner_word(), me().word() - (1 << 22));
    shared.overwrite(earlier);
    let predecessor = word.claim().unwrap().unwrap_err();
    assert_eq!(predecessor.pid(), me().pid());
    assert_ne!(predecessor, me());
    assert_eq!(word.sweep().unwrap(), Some(predecessor));
    assert_eq!(word.claim().unwrap(), Ok(()));
    assert_eq!(word.sweep().unwrap(), None, "now it is this process's");
}

#[test]
fn word_that_names_no_process_is_corrupt() {
    let shared = SharedWord::new();
    let word = shared.owner_word();
    for bits in [1 << 22, u64::MAX << 22] {
        shared.overwrite(bits);
        let error = word.claim().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&format!("{bits:#x}")), "{error}");
        assert_eq!(word.owner(), None);
        assert_eq!(word.sweep().unwrap_err().kind(), ErrorKind::Corrupt);
        // SAFETY: bare words, reached by nobody with a reference to more.
        let kept: &AtomicU64 = unsafe { shared.0.payload() }.place(0).unwrap();
        assert_eq!(kept.load(Ordering::SeqCst), bits, "it is left as it is");
    }
}

#[test]
fn impossible_pid_is_a_dead_owner() {
    let shared = SharedWord::new();
    shared.overwrite(u64::MAX);
    let swept = shared.owner_word().sweep().unwrap();
    assert_eq!(swept.map(ProcessIdentity::word), Some(u64::MAX));
    assert_eq!(shared.owner_word().claim().unwrap(), Ok(()));
}

#[test]
fn one_of_many_threads_claims() {
    const THREADS: usize = 8;
    let _watchdog = Watchdog::new(PATIENCE);
    for _ in 0..200 {
        let (free, start) = (OwnerWord::free(), Barrier::new(THREADS));
        let word = Word(&free);
        let claimed = thread::scope(|scope| {
            let claims = [(); THREADS].map(|()| {
                scope.spawn(|| {
                    start.wait();
                    word.claim().unwrap()
                })
            });
            claims.map(|claim| claim.join().unwrap())
        });
        assert_eq!(claimed.iter().filter(|claim| claim.is_ok()).count(), 1);
        assert!(
            claimed
                .iter()
                .all(|claim| claim.is_ok() || *claim == Err(me()))
        );
    }
}

#[test]
fn one_of_many_sweepers_gets_a_dead_owner() {
    const SWEEPERS: usize = 4;
    let _watchdog = Watchdog::new(PATIENCE);
    let shared = SharedWord::new();
    for _ in 0..100 {
        shared.overwrite(me().word() - (1 << 22));
        let start = Barrier::new(SWEEPERS);
        let swept = thread::scope(|scope| {
            let sweeps = [(); SWEEPERS].map(|()| {
                scope.spawn(|| {
                    start.wait();
                    shared.owner_word().sweep().unwrap()
                })
            });
            sweeps.map(|sweep| sweep.join().unwrap())
        });
        assert_eq!(swept.iter().flatten().count(), 1);
        assert_eq!(shared.owner_word().owner(), None);
    }
}

/// Sweepers that claim at once: a sweep that was late must not take the new owner's claim.
#[test]
fn late_sweep_leaves_the_next_claim_alone() {
    const SWEEPERS: usize = 4;
    let _watchdog = Watchdog::new(PATIENCE);
    let shared = SharedWord::new();
    for _ in 0..100 {
        shared.overwrite(me().word() - (1 << 22));
        let start = Barrier::new(SWEEPERS);
        let claimed = thread::scope(|scope| {
            let claims = [(); SWEEPERS].map(|()| {
                scope.spawn(|| {
                    start.wait();
                    let _swept = shared.owner_word().sweep().unwrap();
                    shared.owner_word().claim().unwrap().is_ok()
                })
            });
            claims.map(|claim| claim.join().unwrap())
        });
        assert_eq!(claimed.iter().filter(|claimed| **claimed).count(), 1);
        assert_eq!(shared.owner_word().owner(), Some(me()));
    }
}

#[test]
fn forked_child_does_not_release_its_parents_claim() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let shared = SharedWord::new();
    shared.owner_word().claim().unwrap().unwrap();
    let parent = me();
    let child = Forked::new(|| {
        shared.owner_word().release();
        shared.owner_word().claim().unwrap() == Err(parent)
    });
    assert!(child.succeeds());
    assert_eq!(shared.owner_word().owner(), Some(parent));
    shared.owner_word().release();
    assert_eq!(shared.owner_word().owner(), None);
}
