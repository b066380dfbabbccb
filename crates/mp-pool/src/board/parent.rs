//! The parent's side of the board: it publishes packets, takes outcomes, and sleeps.

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::Result;
use mp_layout::atomic::{Ordering, fence};
use mp_ring::{ByteRing, PopError};

use super::{
    ASK, Board, FREE, GENERATION_SHIFT, Hurry, ITEM_MASK, LEAST_MAX, LEAST_SHIFT, READY, RING, TAG,
    TAKEN, WORKER_MASK, WORKER_SHIFT, here,
};

impl Board {
    /// Makes a free packet ready, with its bytes in its line, or to be asked for. A worker is not
    /// woken.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if there is no such packet; [`ErrorKind::InvalidInput`] for bytes
    /// that do not [fit](Self::room).
    pub fn publish(
        &self,
        packet: usize,
        generation: u64,
        bytes: Option<&[u8]>,
        items: usize,
        hurry: Hurry,
    ) -> Result<()> {
        let words = self.packet(packet)?;
        let size = match bytes {
            None => ASK,
            Some(bytes) => {
                self.write_line(packet, bytes)?;
                bytes.len() as u32
            }
        };
        words.size.store(size, Ordering::Relaxed);
        words.items.store(items as u32, Ordering::Relaxed);
        words.hurry.store(hurry.to_word(), Ordering::Relaxed);
        let ready = generation << GENERATION_SHIFT | READY;
        // pairs with the claim
        words.state.store(ready, Ordering::Release);
        // Relaxed: the parent publishes under a lock of its own.
        let before = self.counted.load(Ordering::Relaxed);
        let passed_over = (packet as u64).wrapping_sub(before) % self.packets as u64;
        let counted = before + passed_over + 1;
        self.counted.store(counted, Ordering::Relaxed);
        // Release: what is counted is ready (I6).
        self.words()?.published.store(counted, Ordering::Release);
        Ok(())
    }

    /// Wakes as many workers as there are new packets, less those that look for one anyway.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] for memory that is too small, which this board's is not; so for all
    /// that follow.
    pub fn wake_workers(&self, packets: usize) -> Result<()> {
        if packets == 0 {
            return Ok(());
        }
        let words = self.words()?;
        let here = here();
        if words.shape.submitter.load(Ordering::Relaxed) != here {
            words.shape.submitter.store(here, Ordering::Relaxed);
        }
        // Pairs with the fence of a worker that stops looking, and with that of one that sleeps.
        fence(Ordering::SeqCst);
        if !words.tasks.has_sleepers() {
            return Ok(());
        }
        let mut left = packets.min(self.workers);
        for worker in 0..self.workers {
            let looking = &self.worker(worker)?.current.looking;
            left = left.saturating_sub(usize::from(looking.load(Ordering::Relaxed) != 0));
        }
        if left > 0 {
            words.tasks.notify(left as u32);
        }
        Ok(())
    }

    /// Wakes a worker if a packet is ready: one that was counted on has died.
    pub fn wake_for_ready(&self) -> Result<()> {
        if self.has_ready() {
            self.words()?.tasks.notify(1);
        }
        Ok(())
    }

    /// Frees a packet that no worker reads any more (I2).
    pub fn free(&self, packet: usize) -> Result<()> {
        // Relaxed: the parent itself publishes it next.
        self.packet(packet)?.state.store(FREE, Ordering::Relaxed);
        Ok(())
    }

    /// Frees a packet that no worker has taken yet; false if one has.
    pub fn withdraw(&self, packet: usize, generation: u64) -> Result<bool> {
        let ready = generation << GENERATION_SHIFT | READY;
        let state = &self.packet(packet)?.state;
        // Relaxed: nothing was written that another process is to see.
        let withdrawn = state.compare_exchange(ready, FREE, Ordering::Relaxed, Ordering::Relaxed);
        Ok(withdrawn.is_ok())
    }

    /// Which worker has taken a packet, if one has.
    pub fn taken_by(&self, packet: usize) -> Result<Option<usize>> {
        let state = self.packet(packet)?.state.load(Ordering::Acquire);
        let worker = (state >> WORKER_SHIFT & WORKER_MASK) as usize;
        Ok((state & TAG == TAKEN)
            .then_some(worker)
            .and_then(|number| number.checked_sub(1)))
    }

    /// When a dead worker began the task of a packet that has no outcome, in milliseconds of the
    /// monotonic clock; `None` if it had begun none. `done` is how many outcomes of the packet
    /// have come.
    ///
    /// Tasks are run in order (I4): what follows the task that was begun was not.
    pub fn begun(&self, worker: usize, generation: u64, done: usize) -> Result<Option<u64>> {
        let current = &self.worker(worker)?.current;
        let task = current.task.load(Ordering::Acquire);
        // Counted from 1, so it is the number of tasks that were begun.
        let begun = (task & ITEM_MASK) as usize;
        let is_of_packet = task >> GENERATION_SHIFT == generation;
        Ok((is_of_packet && begun > done).then(|| current.since.load(Ordering::Relaxed)))
    }

    /// Makes worker `worker` new: nothing begun, an empty ring. No process is that worker now (I3).
    pub fn reset_worker(&self, worker: usize) -> Result<()> {
        let current = &self.worker(worker)?.current;
        current.task.store(0, Ordering::Relaxed);
        current.since.store(0, Ordering::Relaxed);
        current.looking.store(0, Ordering::Relaxed);
        let region = self.ring_region(worker)?;
        // SAFETY: these bytes are used as this ring only, by the offsets of this module; no process
        // is this worker, and the parent's consumers last only while it drains (I3).
        unsafe { ByteRing::create(region, RING, None) }?;
        Ok(())
    }

    /// Gives each record of a worker's ring to `visit` with its tag, and pops them together.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if the worker wrote into it what cannot be there.
    pub fn drain(&self, worker: usize, mut visit: impl FnMut(u32, &[u8])) -> Result<()> {
        let ring = self.ring(worker)?;
        // SAFETY: the parent drains under a lock of its own, and the handle ends with this function
        // (I3).
        let mut consumer = unsafe { ring.locked_consumer() }?;
        let mut records = consumer.records();
        loop {
            match records.next() {
                Ok((tag, bytes)) => visit(tag, bytes),
                Err(PopError::Empty) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let popped = records.count();
        records.release();
        if popped > 0 {
            self.worker(worker)?.room.notify(1);
        }
        Ok(())
    }

    /// Says that the parent is about to sleep, for the time `number`, which is never 0 and never
    /// the same. It [drains](Self::drain) the rings next: of what comes after that it is told.
    pub fn announce_sleep(&self, number: u64) -> Result<()> {
        self.will_sleep(number, LEAST_MAX)
    }

    /// Says for how much the parent wakes that has [announced](Self::announce_sleep) its sleep
    /// `number`: when a worker has `least` outcomes at the end of a packet. Whatever the number,
    /// it wakes for an outcome that hurries, and when a worker with outcomes finds no packet or no
    /// room. Returns whether it may sleep, since no worker has as many.
    pub fn may_sleep(&self, number: u64, least: usize) -> Result<bool> {
        let least = least.clamp(1, LEAST_MAX);
        self.will_sleep(number, least)?;
        Ok(!self.has_news(least))
    }

    fn will_sleep(&self, number: u64, least: usize) -> Result<()> {
        let word = number << LEAST_SHIFT | least as u64;
        self.words()?.parent.store(word, Ordering::Relaxed);
        // Pairs with the fence in `ring_parent`: one of the two sees the other.
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Whether a worker has pushed `least` records that were not taken, or damaged its ring, which
    /// [`drain`](Self::drain) finds.
    pub fn has_news(&self, least: usize) -> bool {
        let has_fewer = |worker| self.ring(worker).is_ok_and(|ring| ring.len() < least);
        !(0..self.workers).all(has_fewer)
    }

    /// Says that the parent is awake.
    pub fn wakes(&self) -> Result<()> {
        self.words()?.parent.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Lets each worker end that finds no packet.
    pub fn stop(&self) -> Result<()> {
        let words = self.words()?;
        words.shape.stop.store(1, Ordering::Release);
        words.tasks.notify_all();
        Ok(())
    }
}
