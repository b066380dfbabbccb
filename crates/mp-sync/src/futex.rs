//! Sleeping on a word: the kernel's futex, or a model of it for a model checker.

#[cfg(not(loom))]
pub(crate) use mp_os::futex::{WaitAny, Wake, wait, wait_any, wake};

#[cfg(loom)]
pub(crate) use model::*;

#[cfg(loom)]
mod model {
    //! Words are compared and sleepers queued under one lock, as under the kernel's bucket locks.
    //! Waits have no deadline, so that a lost wake-up is a deadlock, which the model checker
    //! reports.

    use mp_layout::atomic::{AtomicU32, Ordering};
    use mp_layout::model::lazy_static;
    use mp_layout::model::sync::{Condvar, Mutex};
    use mp_os::clock::Deadline;
    pub(crate) use mp_os::futex::{WaitAny, Wake};

    #[derive(Default)]
    struct Sleepers {
        /// The words that each sleeps on, and its number.
        list: Vec<(usize, u64)>,
        /// Not used again: one that was woken must not take a later sleeper for itself.
        next: u64,
    }

    struct Bucket {
        sleepers: Mutex<Sleepers>,
        woken: Condvar,
    }

    lazy_static! {
        static ref BUCKET: Bucket = Bucket {
            sleepers: Mutex::new(Sleepers::default()),
            woken: Condvar::new()
        };
    }

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Wake {
        match wait_any(&[(word, expected)], deadline) {
            WaitAny::Woken(_) => Wake::Woken,
            WaitAny::Changed => Wake::Changed,
            _ => Wake::Interrupted,
        }
    }

    /// One that was woken on one of its words is found on the others until it runs, as in the
    /// kernel: a wake that takes it there wakes no other.
    pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], _deadline: Deadline) -> WaitAny {
        let Ok(mut sleepers) = BUCKET.sleepers.lock() else {
            return WaitAny::Interrupted;
        };
        let has_changed = |&(word, seen): &(&AtomicU32, u32)| word.load(Ordering::SeqCst) != seen;
        if words.iter().any(has_changed) {
            return WaitAny::Changed;
        }
        let me = sleepers.next;
        sleepers.next += 1;
        let places = || words.iter().map(|(word, _)| (address(word), me));
        sleepers.list.extend(places());
        loop {
            if let Some(index) = places().position(|place| !sleepers.list.contains(&place)) {
                sleepers.list.retain(|&(_, sleeper)| sleeper != me);
                return WaitAny::Woken(index);
            }
            let Ok(again) = BUCKET.woken.wait(sleepers) else {
                return WaitAny::Interrupted;
            };
            sleepers = again;
        }
    }

    pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
        let Ok(mut sleepers) = BUCKET.sleepers.lock() else {
            return 0;
        };
        let mut woken = 0;
        sleepers.list.retain(|sleeper| {
            let chosen = sleeper.0 == address(word) && woken < count;
            woken += u32::from(chosen);
            !chosen
        });
        BUCKET.woken.notify_all();
        woken
    }
}
