//! Which blocks are free, and which have memory.

use core::ops::Range;
use std::time::Duration;

use mp_layout::atomic::Ordering;
use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;

use super::RawQueue;
use crate::cursor::Cursor;
use crate::geometry::{BLOCK, FIRST_BACKED, FIRST_PLACES, block_offset};

/// Blocks for which memory is reserved ahead at most, and given back under one holding of the lock:
/// 4 MiB, less than a millisecond.
const PIECE: u32 = 256;

/// How long a consumer that could give memory back waits for the producers' lock before it leaves
/// that to the next.
const PATIENCE: Duration = Duration::from_millis(10);

impl RawQueue {
    /// Puts the blocks that were read back on the stack, the last one on top. Returns how many are
    /// not in it. Under the producers' lock, and before a draft takes any (I3).
    pub(super) fn reclaim(&self, tail: Cursor) -> Result<u32> {
        let words = &self.control().tail;
        // Pairs with the consumers' commit: what is in the blocks before was read.
        let head = self.head(Ordering::Acquire)?;
        let mut oldest = words.oldest.load(Ordering::Relaxed);
        let newest = self.blocks.number(tail.block())?;
        let distance = newest.wrapping_sub(self.blocks.number(oldest)?);
        if distance >= self.blocks.count() {
            return Err(bad_distance(distance));
        }
        let mut taken = distance + 1;
        while oldest != head.block() {
            if taken == 1 {
                return Err(bad_distance(distance));
            }
            let next = self.blocks.next(oldest)?;
            taken -= 1;
            self.blocks.set_free(taken, oldest)?;
            // The one store that puts it back.
            words.oldest.store(next, Ordering::Release);
            oldest = next;
        }
        Ok(taken)
    }

    /// Blocks that have memory (I4).
    fn backed(&self) -> u32 {
        let backed = self.control().tail.backed.load(Ordering::Relaxed);
        backed.min(self.blocks.count())
    }

    /// Sees to it that the blocks of the first `needed` places of the stack have memory. Under the
    /// producers' lock.
    pub(super) fn ensure_memory(&self, needed: u32) -> Result<()> {
        let backed = self.backed();
        if needed <= backed {
            return Ok(());
        }
        // In growing steps, so that a queue takes little more than it uses and asks the kernel
        // seldom.
        let ample = backed + backed.clamp(FIRST_BACKED, PIECE);
        let ample = ample.max(needed).min(self.blocks.count());
        self.reserve(backed..ample).or_else(|error| match needed {
            _ if needed == ample => Err(error),
            needed => self.reserve(backed..needed),
        })
    }

    fn reserve(&self, places: Range<u32>) -> Result<()> {
        // Before the places are read.
        self.reserve_places(&places)
            .map_err(|error| not_reserved(error, Ok(())))?;
        let object = self.object();
        let reserved = self.each_run(places.clone(), |start, size| object.reserve(start, size));
        if let Err(error) = reserved {
            // What the attempt got before it failed is not needed. Pages that are not given back do
            // no harm: they are reserved again, or given back with others.
            return Err(not_reserved(error, self.give_back(places)));
        }
        // I4: recorded after it was reserved. Release: not before the system call, whatever the
        // compiler sees of it.
        self.control()
            .tail
            .backed
            .store(places.end, Ordering::Release);
        Ok(())
    }

    /// Reserves memory for the places themselves. It is never given back.
    fn reserve_places(&self, places: &Range<u32>) -> Result<()> {
        let start = places.start.max(FIRST_PLACES);
        let len = places.end.saturating_sub(start) as usize;
        if len == 0 {
            return Ok(());
        }
        let start = self.offset_in_segment(self.geometry.place_offset(start));
        self.object().reserve(start, 4 * len)
    }

    /// Gives back the memory of free blocks that are not recorded as having any.
    fn give_back(&self, places: Range<u32>) -> Result<()> {
        let object = self.object();
        // SAFETY: free blocks without recorded memory are not in use (I4).
        self.each_run(places, |start, size| unsafe {
            object.give_back(start, size)
        })
    }

    /// Runs `action` with the offset in the segment and the size of each run of adjacent blocks
    /// among those at these places of the stack, in whatever order they lie there: a call of
    /// the kernel for each.
    fn each_run(
        &self,
        places: Range<u32>,
        action: impl Fn(usize, usize) -> Result<()>,
    ) -> Result<()> {
        let blocks: Result<Vec<u32>> = places.map(|place| self.blocks.free(place)).collect();
        let mut blocks = blocks?;
        blocks.sort_unstable();
        blocks
            .chunk_by(|block, next| block + 1 == *next)
            .try_for_each(|run| {
                let start = run.first().map_or(0, |first| block_offset(*first));
                action(self.offset_in_segment(start), run.len() * BLOCK)
            })
    }

    /// Blocks that keep their memory while `used` are in use: enough that a queue whose length
    /// changes by half, or a short one's by its few MiB, does not ask the kernel each time. Memory
    /// that comes new costs a message of 64 KiB some twenty times its two copies.
    fn kept(&self, used: u32) -> u32 {
        used.saturating_mul(2).saturating_add(self.geometry.kept())
    }

    /// Whether much more memory is there than the queue needs. Under the consumers' lock.
    pub(super) fn has_memory_to_spare(&self) -> bool {
        let blocks = &self.blocks;
        let (Ok(head), Ok(tail)) = (self.head(Ordering::Relaxed), self.tail(Ordering::Acquire))
        else {
            return false;
        };
        let (Ok(oldest), Ok(newest)) = (blocks.number(head.block()), blocks.number(tail.block()))
        else {
            return false;
        };
        let used = newest.wrapping_sub(oldest).saturating_add(1);
        let spare = self.backed().saturating_sub(self.kept(used));
        // Seldom while a long queue is got, and all in the end.
        spare >= PIECE || (spare > 0 && used <= 2)
    }

    /// Gives memory back. Called by a consumer that holds no lock.
    #[cold]
    pub(super) fn shrink(&self) {
        while self.give_piece_back() {}
    }

    /// Whether there is more to do. What cannot be given back is kept.
    fn give_piece_back(&self) -> bool {
        let producers = &self.control().producers;
        let Ok(mut guard) = producers.lock_timeout(Deadline::after(PATIENCE)) else {
            return false;
        };
        guard.recover();
        let tail = self.tail(Ordering::Relaxed);
        let Ok(taken) = tail.and_then(|tail| self.reclaim(tail)) else {
            return false;
        };
        let (backed, least) = (self.backed(), self.kept(taken));
        if backed <= least {
            return false;
        }
        let left = least.max(backed.saturating_sub(PIECE));
        // I4: recorded before it is given back.
        self.control().tail.backed.store(left, Ordering::Release);
        self.give_back(left..backed).is_ok() && left > least
    }

    pub(super) fn no_memory_for(&self, len: usize, taken: u32) -> Error {
        let used = taken as usize * BLOCK;
        Error::new(ErrorKind::NotEnoughMemory, "put to", "a queue").with_detail(format!(
            "a message of {len} bytes does not fit beside the messages waiting in {used} of the queue's {} bytes; get some \
             first, or make the queue with more room",
            self.geometry.room()
        ))
    }
}

/// The error of a put that could not reserve memory, and then perhaps could not give back what it
/// had got of it. Its kind is that of the reservation.
#[cold]
fn not_reserved(error: Error, given_back: Result<()>) -> Error {
    let detail = match given_back {
        Ok(()) if error.kind() != ErrorKind::NotEnoughMemory => return error,
        Ok(()) => error.to_string(),
        Err(kept) => format!("{error}; and then: {kept}"),
    };
    Error::new(error.kind(), "put to", "a queue").with_detail(detail)
}

#[cold]
fn bad_distance(distance: u32) -> Error {
    Error::new(ErrorKind::Corrupt, "use", "a queue").with_detail(format!(
        "its oldest block, its head and its tail, {distance} blocks on, do not follow one another"
    ))
}
