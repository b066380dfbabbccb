//! The pushing end of a worker's ring, and the wake-up of its parent.

use mp_layout::atomic::{AtomicU64, Ordering, fence};
use mp_layout::{Error, Result};
use mp_os::clock::Deadline;
use mp_os::wakeup::Wakeup;
use mp_ring::{ByteProducer, ReserveError};
use mp_sync::{EventCount, Wait};

use crate::board::LEAST_MAX;

/// The pushing end of a worker's ring.
#[derive(Debug)]
pub struct Results<'a> {
    producer: ByteProducer<'a>,
    room: &'a EventCount,
    parent: &'a AtomicU64,
}

impl<'a> Results<'a> {
    /// Pushes by `producer`, waits at `room`, and wakes a parent that sleeps at `parent`.
    pub(crate) fn new(
        producer: ByteProducer<'a>,
        room: &'a EventCount,
        parent: &'a AtomicU64,
    ) -> Self {
        Self {
            producer,
            room,
            parent,
        }
    }

    /// Pushes a record of two parts, and waits for room if there is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] if the parent cannot be woken; [`ErrorKind::Corrupt`] if another process
    /// damaged the ring.
    pub fn push(&mut self, tag: u32, head: &[u8], rest: &[u8], wakeup: &Wakeup) -> Result<()> {
        if let Some(pushed) = try_push(&mut self.producer, tag, head, rest) {
            return pushed;
        }
        // The parent has to know what is there, or it would never make room.
        self.ring_parent(wakeup, true)?;
        let producer = &mut self.producer;
        let pushed = self.room.wait_until(Wait::Adaptive, Deadline::NEVER, || {
            try_push(producer, tag, head, rest)
        });
        // Without a deadline there is always an answer.
        pushed.unwrap_or(Ok(()))
    }

    /// Wakes the parent, if it sleeps and wakes for this: for as many outcomes as there are, or for
    /// one that `hurries`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] if a task closed the descriptor for it.
    pub fn ring_parent(&self, wakeup: &Wakeup, hurries: bool) -> Result<()> {
        // Pairs with the fence in `may_sleep`.
        fence(Ordering::SeqCst);
        let sleep = self.parent.load(Ordering::Relaxed);
        let least = sleep as usize & LEAST_MAX;
        if sleep == 0 || !hurries && self.producer.len() < least {
            return Ok(());
        }
        // Before the word says so: a worker that dies in between leaves a parent that others wake.
        wakeup
            .ring()
            .map_err(|source| Error::os("wake", "the parent of a pool", source))?;
        // Fails if the parent woke; the number of its next sleep is another one.
        let _is_awake =
            self.parent
                .compare_exchange(sleep, 0, Ordering::Relaxed, Ordering::Relaxed);
        Ok(())
    }
}

/// `None` if there is no room.
fn try_push(
    producer: &mut ByteProducer<'_>,
    tag: u32,
    head: &[u8],
    rest: &[u8],
) -> Option<Result<()>> {
    match producer.reserve(head.len() + rest.len()) {
        Ok(mut grant) => {
            let (one, two) = grant.bytes().split_at_mut(head.len());
            one.copy_from_slice(head);
            two.copy_from_slice(rest);
            grant.set_tag(tag);
            grant.commit_all();
            Some(Ok(()))
        }
        Err(ReserveError::Full) => None,
        Err(error) => Some(Err(error.into())),
    }
}
