//! The worker's side of the board: it claims packets, notes what it runs, and waits.

use std::ops::Range;

use mp_layout::atomic::{Ordering, fence};
use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_sync::Wait;

use super::{
    ASK, Board, Claim, GENERATION_SHIFT, Hurry, Next, PacketWords, READY, TAG, TAKEN, WORKER_SHIFT,
    here,
};
use crate::look::look_for_a_while;
use crate::results::Results;

/// A worker looks before it says that it sleeps, and after that: the third look follows a sleep.
const LOOKS_BEFORE_SLEEP: u32 = 2;

/// After so many sleeps a worker looks everywhere although nothing was counted since the last such
/// look. Each costs a line of memory for every packet, most of the time that a worker without tasks
/// takes; so this is every other second, and every 0.4 s where the kernel has no `futex_waitv`.
const SLEEPS_PER_FULL_LOOK: u32 = 8;

impl Board {
    /// Takes a ready packet for worker `worker`, if there is one.
    pub fn claim(&self, worker: usize) -> Result<Option<Claim>> {
        let hint = &self.words()?.hint;
        let packets = self.all_packets()?;
        let places = self.places_to_look()?;
        let end = places.end;
        let has_places = !places.is_empty();
        for place in places {
            let packet = place as usize % self.packets;
            if let Some(claim) = claim_ready(packet, &packets[packet], worker) {
                // Release: whoever loads it sees as much as was counted (I6).
                hint.store(place + 1, Ordering::Release);
                return Ok(Some(claim));
            }
        }
        if has_places {
            hint.store(end, Ordering::Release);
        }
        Ok(None)
    }

    /// As [`claim`](Self::claim), in all places: also one before a `hint` that another process
    /// damaged.
    fn claim_anywhere(&self, worker: usize) -> Result<Option<Claim>> {
        let mut packets = self.all_packets()?.iter().enumerate();
        Ok(packets.find_map(|(packet, words)| claim_ready(packet, words, worker)))
    }

    /// Where a packet may be ready, in the parent's count: each packet once at most.
    fn places_to_look(&self) -> Result<Range<u64>> {
        let words = self.words()?;
        let hint = words.hint.load(Ordering::Acquire);
        // Acquire pairs with `publish`: what is counted is seen ready.
        let end = words.published.load(Ordering::Acquire);
        let all = end.saturating_sub(self.packets as u64)..end;
        // Ahead of the count it would be damaged.
        let first = if hint <= end {
            hint.max(all.start)
        } else {
            all.start
        };
        Ok(first..end)
    }

    /// Waits for a packet and takes it, or for the end. Before it sleeps it calls `tell`, whose
    /// error ends the wait, if any worker has outcomes that the parent has not taken: with them it
    /// can fill the places of packets that are done.
    pub fn next(
        &self,
        worker: usize,
        wait: Wait,
        tell: impl FnOnce() -> Result<()>,
    ) -> Result<Next> {
        let words = self.words()?;
        let looking = &self.worker(worker)?.current.looking;
        let mut look = || self.look(worker).transpose();
        words.tasks.under_bell(|| {
            if let Some(next) = look() {
                return next;
            }
            if wait == Wait::Adaptive && !self.shares_core_with_submitter() {
                looking.store(1, Ordering::Relaxed);
                let next = look_for_a_while(&mut look, || !self.shares_core_with_submitter());
                looking.store(0, Ordering::Relaxed);
                // Pairs with the fence in `wake_workers` (I5).
                fence(Ordering::SeqCst);
                if let Some(next) = next {
                    // Another packet for which this worker was counted on.
                    self.pass_on();
                    return next;
                }
            }
            // Pairs with the claims of the packets that it found taken.
            fence(Ordering::Acquire);
            if self.has_news(1) {
                tell()?;
            }
            let (mut looks, mut looked_at) = (0, None);
            let next = words.tasks.wait_until(Wait::Sleep, Deadline::NEVER, || {
                looks += 1;
                let next = look();
                // Once before a sleep and once after it: then everywhere, 512 words or more, next
                // to a system call.
                let has_slept = looks > LOOKS_BEFORE_SLEEP && looks % 2 == 1;
                if next.is_some() || !has_slept {
                    return next;
                }
                // Acquire: what was counted before that is seen ready, as in `places_to_look`.
                let counted = Some(words.published.load(Ordering::Acquire));
                let sleeps = looks / 2;
                if looked_at == counted && sleeps % SLEEPS_PER_FULL_LOOK != 0 {
                    return None;
                }
                looked_at = counted;
                let found = self.claim_anywhere(worker).transpose();
                found.map(|claim| claim.map(Next::Run))
            });
            // Without a deadline there is always an answer.
            next.unwrap_or(Ok(Next::Stop))
        })
    }

    /// Takes a packet if one is ready, or finds that the workers are to end.
    fn look(&self, worker: usize) -> Result<Option<Next>> {
        let words = self.words()?;
        if let Some(claim) = self.claim(worker)? {
            // One change woke several workers, one after the other if one of them dies.
            self.pass_on();
            return Ok(Some(Next::Run(claim)));
        }
        if words.shape.stop.load(Ordering::Acquire) != 0 {
            words.tasks.notify_all();
            return Ok(Some(Next::Stop));
        }
        Ok(None)
    }

    /// Wakes another worker if there is something left for it.
    fn pass_on(&self) {
        if let Ok(words) = self.words()
            && words.tasks.has_sleepers()
            && self.has_ready()
        {
            words.tasks.notify(1);
        }
    }

    /// Then to look would keep the submitter from submitting.
    fn shares_core_with_submitter(&self) -> bool {
        let submitter = self.words().map(|words| &words.shape.submitter);
        submitter.is_ok_and(|submitter| submitter.load(Ordering::Relaxed) == here())
    }

    pub(super) fn has_ready(&self) -> bool {
        let (Ok(packets), Ok(mut places)) = (self.all_packets(), self.places_to_look()) else {
            return false;
        };
        places.any(|place| {
            let state = &packets[place as usize % self.packets].state;
            state.load(Ordering::Relaxed) & TAG == READY
        })
    }

    /// Copies the bytes of a packet that this worker has taken into `bytes`, in place of what is
    /// there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if they are more than a line.
    pub fn read_line(&self, packet: usize, size: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let room = self.room(packet);
        if size > room {
            return Err(Error::new(ErrorKind::Corrupt, "read", "a packet of tasks")
                .with_detail(format!("{size} bytes in a line of {room}")));
        }
        let line = self.line(packet)?.slice(..size.div_ceil(8));
        bytes.clear();
        bytes.resize(8 * line.len(), 0);
        for (place, word) in line.iter().zip(bytes.as_chunks_mut().0) {
            *word = place.to_ne_bytes();
        }
        bytes.truncate(size);
        Ok(())
    }

    /// Notes that worker `worker` begins a task of a packet at the time `now`, in milliseconds of
    /// the monotonic clock.
    pub fn begin(&self, worker: usize, generation: u64, item: usize, now: u64) -> Result<()> {
        let current = &self.worker(worker)?.current;
        current.since.store(now, Ordering::Relaxed);
        let task = generation << GENERATION_SHIFT | (item as u64 + 1);
        // Release: the time is there before the task is.
        current.task.store(task, Ordering::Release);
        Ok(())
    }

    /// The pushing end of a worker's ring, of which that worker has one.
    pub fn results(&self, worker: usize) -> Result<Results<'_>> {
        let ring = self.ring(worker)?;
        // SAFETY: only the process that is this worker calls this, once (I3).
        let producer = unsafe { ring.locked_producer() }?;
        let (room, parent) = (&self.worker(worker)?.room, &self.words()?.parent);
        Ok(Results::new(producer, room, parent))
    }
}

/// Takes a packet for worker `worker`, if it is ready.
fn claim_ready(packet: usize, words: &PacketWords, worker: usize) -> Option<Claim> {
    let state = words.state.load(Ordering::Relaxed);
    if state & TAG != READY {
        return None;
    }
    let taken = state & !TAG | (worker as u64 + 1) << WORKER_SHIFT | TAKEN;
    // Acquire pairs with `publish`. Release: who finds it taken sees what this worker pushed before
    // (`next`). The claim and its record are this one step.
    let claimed = words
        .state
        .compare_exchange(state, taken, Ordering::AcqRel, Ordering::Relaxed);
    claimed.ok()?;
    let size = words.size.load(Ordering::Relaxed);
    Some(Claim {
        packet,
        generation: state >> GENERATION_SHIFT,
        size: (size != ASK).then_some(size as usize),
        items: words.items.load(Ordering::Relaxed) as usize,
        hurry: Hurry::from_word(words.hurry.load(Ordering::Relaxed)),
    })
}
