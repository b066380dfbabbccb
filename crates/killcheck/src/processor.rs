//! One processor for a check and the processes that it forks.
//!
//! Victim and harness take turns, some hundred times per kill. On one processor a turn is a switch
//! from one to the other; on two it wakes a processor that may have fallen asleep, which takes
//! several times as long. And what depends on the processor's number goes the same way each time.
//!
//! Checks that run at the same time, on other threads of this process, take processors in turn.

use std::mem::{size_of, zeroed};
use std::sync::atomic::{AtomicU32, Ordering};

use libc::cpu_set_t;

/// As many as a `cpu_set_t` has places for.
const MOST: usize = libc::CPU_SETSIZE as usize;

/// How many checks are on each processor.
static CHECKS: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];

/// Keeps this thread on one processor, and with it what it forks, until it is dropped.
pub(crate) struct OneProcessor {
    number: usize,
    /// Where the thread might run before.
    before: cpu_set_t,
}

impl OneProcessor {
    /// Takes the processor with the fewest checks; of several, the one that this thread is on.
    ///
    /// `None` where the kernel does not let the thread choose: then the check takes longer.
    pub(crate) fn take() -> Option<Self> {
        let before = allowed()?;
        let one = Self {
            number: Self::claim(&before)?,
            before,
        };
        // SAFETY: the set is plain integers, for which zero is valid.
        let mut only: cpu_set_t = unsafe { zeroed() };
        // SAFETY: the number is below the set's size.
        unsafe { libc::CPU_SET(one.number, &mut only) };
        allow(&only).then_some(one)
    }

    /// Chooses one of a set and counts this check for it.
    fn claim(set: &cpu_set_t) -> Option<usize> {
        // SAFETY: no preconditions.
        let here = usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(MOST);
        loop {
            let (checks, _, number) = (0..MOST)
                // SAFETY: the number is below the set's size.
                .filter(|&number| unsafe { libc::CPU_ISSET(number, set) })
                .map(|number| {
                    let checks = CHECKS[number].load(Ordering::Relaxed);
                    (checks, number != here, number)
                })
                .min()?;
            // Fails if another thread has just chosen the same one.
            let counted = CHECKS[number].compare_exchange(
                checks,
                checks + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if counted.is_ok() {
                return Some(number);
            }
        }
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        CHECKS[self.number].fetch_sub(1, Ordering::Relaxed);
        // Refused only if its processors have been taken away meanwhile; then the kernel has chosen
        // others.
        allow(&self.before);
    }
}

/// The processors that this thread may run on; `None` if there are more than fit.
fn allowed() -> Option<cpu_set_t> {
    // SAFETY: the set is plain integers, for which zero is valid.
    let mut set: cpu_set_t = unsafe { zeroed() };
    // SAFETY: the set is ours, and of the size that is passed.
    let done = unsafe { libc::sched_getaffinity(0, size_of::<cpu_set_t>(), &raw mut set) };
    (done == 0).then_some(set)
}

fn allow(set: &cpu_set_t) -> bool {
    // SAFETY: the set is borrowed, and of the size that is passed.
    unsafe { libc::sched_setaffinity(0, size_of::<cpu_set_t>(), set) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc;

    fn processors() -> i32 {
        let set = allowed().expect("1024 processors at most");
        // SAFETY: no preconditions.
        unsafe { libc::CPU_COUNT(&set) }
    }

    /// One test, since the counts are of the whole process.
    #[test]
    fn threads_take_turns_and_have_their_processors_back() {
        let all = processors();
        let (send_number, numbers) = mpsc::channel();
        let take = |send_number: mpsc::Sender<usize>, until: mpsc::Receiver<()>| {
            let one = OneProcessor::take().expect("the kernel lets a thread choose");
            assert_eq!(processors(), 1);
            send_number.send(one.number).expect("it is read");
            until.recv().expect("it is sent");
            drop(one);
            assert_eq!(processors(), all);
        };
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            let mut ends = Vec::new();
            for _ in 0..all {
                let (end, until) = mpsc::channel();
                let send_number = send_number.clone();
                scope.spawn(move || take(send_number, until));
                taken.push(numbers.recv().expect("it takes one"));
                ends.push(end);
            }
            ends.iter().for_each(|end| end.send(()).expect("it waits"));
        });
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), all as usize, "each has one of its own");
    }
}
