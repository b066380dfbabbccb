//! Sleeping on a word: the kernel's futex, or a model of it under loom.

#[cfg(not(loom))]
pub(crate) use mp_os::futex::{WaitAny, Wake, wait, wait_any, wake};

#[cfg(loom)]
pub(crate) use model::*;

#[cfg(loom)]
mod model {
    //! Words are compared and sleepers queued under one lock, as under the kernel's bucket lock.
    //! Waits have no deadline, so that a lost wake-up is a deadlock, which loom reports.

    use loom::sync::{Condvar, Mutex};
    use mp_layout::atomic::{AtomicU32, Ordering};
    use mp_os::clock::Deadline;
    pub(crate) use mp_os::futex::{WaitAny, Wake};

    #[derive(Default)]
    struct Sleepers {
        /// Where each sleeps, and its number.
        list: Vec<(usize, u64)>,
        /// Not used again: one that was woken must not take a later sleeper for itself.
        next: u64,
    }

    struct Bucket {
        sleepers: Mutex<Sleepers>,
        woken: Condvar,
    }

    loom::lazy_static! {
        static ref BUCKET: Bucket = Bucket { sleepers: Mutex::new(Sleepers::default()), woken: Condvar::new() };
    }

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, _deadline: Deadline) -> Wake {
        let Ok(mut sleepers) = BUCKET.sleepers.lock() else {
            return Wake::Interrupted;
        };
        if word.load(Ordering::SeqCst) != expected {
            return Wake::Changed;
        }
        let me = (address(word), sleepers.next);
        sleepers.next += 1;
        sleepers.list.push(me);
        while sleepers.list.contains(&me) {
            let Ok(again) = BUCKET.woken.wait(sleepers) else {
                return Wake::Interrupted;
            };
            sleepers = again;
        }
        Wake::Woken
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

    /// So no model has what sleeps on a second word beside the first, as on a notifier's mutex.
    pub(crate) fn wait_any(_words: &[(&AtomicU32, u32)], _deadline: Deadline) -> WaitAny {
        WaitAny::Unsupported
    }
}
