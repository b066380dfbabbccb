//! One end of the socket pair by which each side of a pipe knows that the other is gone.
//!
//! Every process that has a connection of a side has a copy of that side's end, and a copy goes
//! with a connection that is on its way to a process. The kernel counts them: when the last copy is
//! closed, by a drop or by a death, the other end hangs up, for good.
//!
//! The descriptors of messages with handles go over the same two ends, see
//! [`Lane::of_side`](mp_object::Lane::of_side).
//!
//! Asking the kernel costs a system call. So an end remembers when it asked last, and asks again
//! when the other side says that a connection was closed, and when the clock has ticked since
//! (every 1 to 10 ms).

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mp_layout::{Error, Result};
use mp_os::{clock, poll, socket};

/// The end of one side, for a process.
#[derive(Debug)]
pub(crate) struct Lifeline {
    /// `None` once it was cut.
    end: Option<Arc<OwnedFd>>,
    /// Whether the other side is known to be gone; true stays true.
    is_gone: AtomicBool,
    /// How many connections the other side had closed when the kernel was asked last.
    closings: AtomicU32,
    /// The clock's tick when the kernel was asked last.
    asked_at: AtomicU64,
}

impl Lifeline {
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let failed = |source| Error::os("make", "the lifeline of a pipe", source);
        let (left, right) = socket::pair().map_err(failed)?;
        for end in [&left, &right] {
            socket::hold_the_most(end).map_err(failed)?;
        }
        Ok((Self::new(left), Self::new(right)))
    }

    pub(crate) fn new(end: OwnedFd) -> Self {
        Self {
            end: Some(Arc::new(end)),
            is_gone: AtomicBool::new(false),
            closings: AtomicU32::new(0),
            asked_at: AtomicU64::new(0),
        }
    }

    pub(crate) fn end(&self) -> Option<&Arc<OwnedFd>> {
        self.end.as_ref()
    }

    /// Closes this process's copy.
    pub(crate) fn cut(&mut self) {
        drop(self.end.take());
    }

    /// Whether the other side, which has closed so many connections, is gone. Asks if that number
    /// has changed.
    #[inline]
    pub(crate) fn is_gone(&self, closings: u32) -> bool {
        // Acquire: what the other side sent before is seen after this.
        self.is_gone.load(Ordering::Acquire)
            || closings != self.closings.load(Ordering::Relaxed) && self.ask(closings)
    }

    /// Whether the other side is gone. Asks if the number has changed or the clock has ticked.
    #[inline]
    pub(crate) fn is_gone_by_tick(&self, closings: u32) -> bool {
        self.is_gone(closings)
            || clock::tick() != self.asked_at.load(Ordering::Relaxed) && self.ask(closings)
    }

    /// Asks the kernel whether the other side is gone. Where that cannot be told it counts as
    /// there.
    #[cold]
    pub(crate) fn ask(&self, closings: u32) -> bool {
        let tick = clock::tick();
        let is_gone = self.is_gone.load(Ordering::Acquire)
            || self
                .end()
                .is_some_and(|end| poll::has_hung_up(end.as_fd()).unwrap_or(false));
        if is_gone {
            self.is_gone.store(true, Ordering::Release);
        }
        // After the answer: who finds these numbers unchanged relies on it.
        self.closings.store(closings, Ordering::Release);
        self.asked_at.store(tick, Ordering::Release);
        is_gone
    }
}
