//! State of one process, which a forked child does not share and starts afresh.
//!
//! A lock in a `static` does not survive a fork: a child that is forked while another thread holds
//! it has a copy of the lock and no copy of that thread, so it would wait for ever. What the lock
//! guards may be half changed, too. So the state belongs to the process that made it, and a child
//! makes its own when it first asks.
//!
//! # Invariants
//!
//! - I1: `current` is null or a leaked box. No state is ever freed or moved, here or in a child.
//! - I2: a process reads the state of no other process, only its mark, which does not change.
//!
//! # Progress
//!
//! [`OfProcess::get`] waits for no thread. Where two threads ask first, each makes a state, and one
//! of the two is dropped.
//!
//! # If a process dies
//!
//! Nothing here is shared. A child never drops what its parent had: the descriptors in it stay open
//! in the child, as they do after every fork.

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::fork_page;

/// State that each process makes for itself when it first asks, for a `static`.
///
/// # Examples
///
/// ```
/// use mp_os::of_process::OfProcess;
/// use std::sync::Mutex;
///
/// static CHILDREN: OfProcess<Mutex<Vec<u32>>> = OfProcess::new(|| Mutex::new(Vec::new()));
///
/// CHILDREN.get().lock().unwrap().push(17);
/// assert_eq!(*CHILDREN.get().lock().unwrap(), [17]);
/// ```
pub struct OfProcess<T: 'static> {
    current: AtomicPtr<Owned<T>>,
    make: fn() -> T,
}

struct Owned<T> {
    owner: Mark,
    state: T,
}

/// What differs between a process and its forked child. The generation alone may be equal where
/// another thread drew its number during the fork, the pid alone where both are the first of their
/// PID namespaces.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    generation: u64,
    pid: u32,
}

impl Mark {
    fn of_this_process() -> Self {
        Self {
            generation: fork_page::generation(),
            pid: std::process::id(),
        }
    }
}

impl<T: Sync + 'static> OfProcess<T> {
    /// The state that `make` makes, once in each process that asks for it.
    #[must_use]
    pub const fn new(make: fn() -> T) -> Self {
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
            make,
        }
    }

    /// The state of this process.
    pub fn get(&self) -> &'static T {
        let me = Mark::of_this_process();
        // Acquire pairs with the Release of the exchange below: the state is whole.
        let mut current = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: null or a leaked box (I1), of which a forked child has a copy.
            let found = unsafe { current.as_ref() };
            if let Some(found) = found.filter(|found| found.owner == me) {
                return &found.state;
            }
            let made = Box::into_raw(Box::new(Owned {
                owner: me,
                state: (self.make)(),
            }));
            let exchanged =
                self.current
                    .compare_exchange(current, made, Ordering::AcqRel, Ordering::Acquire);
            match exchanged {
                Ok(_) => current = made,
                Err(faster) => {
                    // SAFETY: made above, and no other thread has seen it.
                    drop(unsafe { Box::from_raw(made) });
                    current = faster;
                }
            }
        }
    }
}

impl<T> fmt::Debug for OfProcess<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OfProcess").finish_non_exhaustive()
    }
}
