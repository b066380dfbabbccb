//! The newest value of one writer for any number of readers: four copies and a version.
//!
//! # Source
//!
//! The double buffer of L. Lamport, "Concurrent reading and writing" (1977), with four copies
//! instead of two. Changed: a reader that was overtaken finds out from the version, so readers
//! write nothing and the writer need not look for a free copy; and the writer is claimed in an
//! owner word that outlives its process.
//!
//! # Layout
//!
//! ```text
//! 0        128       256
//! | shape  | version | copy 0 | copy 1 | copy 2 | copy 3 |
//! ```
//!
//! `version` counts the values written after the first. A copy is as long as the value, padded to 8
//! bytes.
//!
//! # Invariants
//!
//! - I1: `version` and the copies are written by the claimed writer alone.
//! - I2: at `version` n, copy `n mod 4` is value n, and the writer writes copy `n + 1 mod 4` only.
//! - I3: one store of `version` replaces the value.
//!
//! # Orderings
//!
//! - `version` is stored with Release after the new copy, and loaded with Acquire before a copy is
//!   read.
//! - A writer's Release fence, between the version that it stored or found and its first store to a
//!   copy, pairs with a reader's Acquire fence after its last load of it: a reader that has read
//!   anything of value n + 4 in the place of value n also sees `version` at n + 3 or later, and
//!   reads again.
//!
//! # Progress
//!
//! Writing is wait-free: it has no loop other than over the value's words. Reading is lock-free: it
//! starts again only if three values were written while it copied one. A writer that never pauses
//! can keep a reader at it, for as long as it does three writes in the time of one copy.
//!
//! # If a process dies
//!
//! A writer, before its store of `version`: readers go on with the last whole value, and the next
//! writer overwrites the copy that is half written. After it: the value is there. The writer's
//! claim stays until a sweep. A reader leaves nothing.

use core::hint;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::num::NonZeroU64;

use mp_layout::atomic::{AtomicU64, Ordering, fence};
use mp_layout::{
    Error, ErrorKind, OwnerWord, Padded, Plain, Region, bytes_of, checked, shared_struct,
};

use crate::claim::Claim;

const COPIES: usize = 4;

/// Values after which a copy is written again, less the one that may be half written already.
const OVERTAKEN: u64 = COPIES as u64 - 1;

const START: usize = 256;

shared_struct! {
    /// What `create` writes once, and who is the writer.
    #[derive(Debug)]
    pub(crate) struct LatestShape as "Latest: shape": 24 bytes {
        ready: AtomicU64 = "1 once there is a value",
        item_size: AtomicU64 = "bytes of a value",
        writer: OwnerWord = "who is the writer",
    }
}

shared_struct! {
    /// The words before the copies.
    #[derive(Debug)]
    pub(crate) struct LatestWords as "Latest": 256 bytes {
        shape: Padded<LatestShape> = "what the creator writes once, and who is the writer",
        version: Padded<AtomicU64> = "values written after the first; the last is in copy version % 4. The four copies follow",
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<LatestWords>() == START);

/// The newest value, placed in shared memory, of which the writer's role is claimed.
///
/// It is a view and is copied freely; any holder reads. A [`LatestWriter`] writes.
///
/// ```
/// use mp_ring::{ANONYMOUS, Latest};
///
/// let mut memory = vec![0; Latest::<[f64; 3]>::words_for()?];
/// let position = Latest::new(&mut memory, [0.0; 3])?;
/// let mut writer = position.claim_writer(ANONYMOUS)?;
/// assert_eq!(position.read()?, [0.0; 3]);
/// writer.write([1.0, 2.0, 3.0]);
/// writer.write([1.5, 2.5, 3.5]);
/// assert_eq!(position.read_versioned()?, ([1.5, 2.5, 3.5], 2));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Latest<'a, T> {
    words: &'a LatestWords,
    copies: &'a [AtomicU64],
    element: PhantomData<T>,
}

impl<'a, T: Plain> Latest<'a, T> {
    /// Words of a copy.
    const COPY: usize = size_of::<T>().div_ceil(8);

    /// Bytes that it takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if that is more than memory can have.
    pub fn size_for() -> mp_layout::Result<usize> {
        let copies = size_of::<T>().next_multiple_of(8).checked_mul(COPIES);
        let size = copies.and_then(|copies| copies.checked_add(START));
        size.filter(|size| *size <= isize::MAX as usize)
            .ok_or_else(|| {
                Error::mismatch(
                    ErrorKind::InvalidInput,
                    "make",
                    "a latest value",
                    format_args!("values of {} bytes", size_of::<T>()),
                    "four of which fit into memory",
                )
            })
    }

    /// Makes one in `region`, whatever is there now, and writes its first value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] as [`size_for`](Self::size_for); [`ErrorKind::WrongSize`] if the
    /// region is too small or not aligned to 128 bytes.
    ///
    /// # Safety
    ///
    /// - For `'a`, all that reaches the region's bytes, in any process, does so as a latest value
    ///   of this very `T`. The header of the object that the region belongs to is what proves it to
    ///   an attacher.
    /// - No other process or thread uses it before this returns.
    pub unsafe fn create(region: Region<'a>, value: T) -> mp_layout::Result<Self> {
        let latest = Self::over(region)?;
        let shape = &latest.words.shape;
        let item_size = size_of::<T>() as u64;
        shape.item_size.store(item_size, Ordering::Relaxed);
        shape.writer.set(None);
        latest.words.version.store(0, Ordering::Relaxed);
        latest.copy_in(0, &value);
        // Release: pairs with the load in `attach`, in case the owner of the region does not
        // publish it afterwards.
        shape.ready.store(1, Ordering::Release);
        Ok(latest)
    }

    /// Overlays the one that [`create`](Self::create) made in `region`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotReady`] if there is none yet; [`ErrorKind::WrongType`] if its values have
    /// another size; [`ErrorKind::WrongSize`] if it does not fit into the region.
    ///
    /// # Safety
    ///
    /// The first condition of [`create`](Self::create).
    pub unsafe fn attach(region: Region<'a>) -> mp_layout::Result<Self> {
        let shape = &region.place::<LatestWords>(0)?.shape;
        // Acquire: pairs with the last store of `create`.
        if shape.ready.load(Ordering::Acquire) == 0 {
            return Err(Error::new(ErrorKind::NotReady, "attach", "a latest value"));
        }
        let item_size = shape.item_size.load(Ordering::Relaxed);
        if item_size != size_of::<T>() as u64 {
            return Err(Error::mismatch(
                ErrorKind::WrongType,
                "attach",
                "a latest value",
                format_args!("values of {item_size} bytes"),
                format_args!("{} bytes", size_of::<T>()),
            ));
        }
        Self::over(region)
    }

    /// Makes one in memory of this process, for threads and tests. [`words_for`](Self::words_for)
    /// says how much it needs.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    #[cfg(not(loom))]
    pub fn new(memory: &'a mut [u64], value: T) -> mp_layout::Result<Self> {
        let region = crate::payload::aligned(memory)?;
        // SAFETY: the memory is borrowed exclusively, so all that reaches it does so through what
        // this returns.
        unsafe { Self::create(region, value) }
    }

    /// Words that [`new`](Self::new) needs, wherever they start.
    ///
    /// # Errors
    ///
    /// As [`size_for`](Self::size_for).
    #[cfg(not(loom))]
    pub fn words_for() -> mp_layout::Result<usize> {
        Ok(crate::payload::words_for(Self::size_for()?))
    }

    fn over(region: Region<'a>) -> mp_layout::Result<Self> {
        Self::size_for()?;
        Ok(Self {
            words: region.place(0)?,
            copies: region.place_slice(START, COPIES * Self::COPY)?,
            element: PhantomData,
        })
    }

    /// Becomes the writer, under an identity that other processes can tell the death of.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Claimed`] if there is one, also if it is dead and not swept yet.
    pub fn claim_writer(self, me: NonZeroU64) -> mp_layout::Result<LatestWriter<'a, T>> {
        let word = &self.words.shape.writer;
        match Claim::of_word(word, me) {
            Some(claim) => Ok(LatestWriter {
                // Acquire: the claim has seen all that the last writer stored.
                version: self.words.version.load(Ordering::Acquire),
                latest: self,
                _claim: claim,
            }),
            None => Err(claimed(word.owner())),
        }
    }

    /// The identity of the writer, if there is one.
    pub fn writer(&self) -> Option<NonZeroU64> {
        self.words.shape.writer.owner()
    }

    /// Frees the writer's role if `is_dead` knows its owner to be dead, and tells whether it was.
    ///
    /// # Safety
    ///
    /// `is_dead` says so only of owners that will never run again, and whose handle no forked child
    /// uses: two living writers would write the same copy.
    pub unsafe fn sweep(&self, is_dead: impl Fn(NonZeroU64) -> bool) -> bool {
        let dead = self.writer().filter(|owner| is_dead(*owner));
        dead.is_some_and(|owner| self.words.shape.writer.release(owner))
    }

    /// A copy of the newest value. It waits for no lock, but copies again if three values were
    /// written meanwhile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if the bytes are not a `T`: a foreign program wrote them.
    #[inline]
    pub fn read(&self) -> mp_layout::Result<T> {
        Ok(self.read_versioned()?.0)
    }

    /// A copy of the newest value, and how many were written before it: a reader that has seen this
    /// number before has seen the value.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[inline]
    pub fn read_versioned(&self) -> mp_layout::Result<(T, u64)> {
        loop {
            let version = self.version();
            let value = self.copy_out(version);
            // Acquire: pairs with the fence in `write`.
            fence(Ordering::Acquire);
            let now = self.words.version.load(Ordering::Relaxed);
            if now.wrapping_sub(version) < OVERTAKEN {
                // SAFETY: `copy_out` initialises every byte.
                let value = unsafe { checked(value) };
                return Ok((value.ok_or_else(not_a_value::<T>)?, version));
            }
            hint::spin_loop();
        }
    }

    /// How many values were written after the first: it changes with each.
    #[inline]
    pub fn version(&self) -> u64 {
        // Acquire: pairs with the Release in `write`.
        self.words.version.load(Ordering::Acquire)
    }

    fn words_of_copy(&self, version: u64) -> &'a [AtomicU64] {
        let first = (version % COPIES as u64) as usize * Self::COPY;
        &self.copies[first..first + Self::COPY]
    }

    #[inline]
    fn copy_in(&self, version: u64, value: &T) {
        let parts = bytes_of(value).chunks(8);
        for (word, bytes) in self.words_of_copy(version).iter().zip(parts) {
            let mut part = [0; 8];
            part[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(part), Ordering::Relaxed);
        }
    }

    /// What the copy has now, which may be a mixture of two values; every byte is initialised.
    #[inline]
    fn copy_out(&self, version: u64) -> MaybeUninit<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let target = value.as_mut_ptr().cast::<u8>();
        for (index, word) in self.words_of_copy(version).iter().enumerate() {
            let part = word.load(Ordering::Relaxed).to_ne_bytes();
            let len = (size_of::<T>() - index * 8).min(8);
            // SAFETY: a copy has as many words as the value, so `index * 8` is within it.
            let target = unsafe { target.add(index * 8) };
            // SAFETY: up to 8 bytes, which end within the value.
            unsafe { target.copy_from_nonoverlapping(part.as_ptr(), len) };
        }
        value
    }
}

/// The right to write a [`Latest`] value; dropped, it is free again.
///
/// In a forked child it is still the parent's, which the child must neither use nor drop: two
/// writers would write one copy, and readers see a mixture. `mp-value`'s writer takes care of that.
///
/// ```
/// # use mp_ring::{ANONYMOUS, Latest};
/// # let mut memory = vec![0; Latest::<u32>::words_for()?];
/// let latest = Latest::new(&mut memory, 1)?;
/// let mut writer = latest.claim_writer(ANONYMOUS)?;
/// assert!(latest.claim_writer(ANONYMOUS).is_err(), "there is one");
/// writer.write(2);
/// drop(writer);
/// latest.claim_writer(ANONYMOUS)?.write(3);
/// assert_eq!(latest.read()?, 3);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct LatestWriter<'a, T> {
    latest: Latest<'a, T>,
    /// What the version says, which only this handle writes (I1).
    version: u64,
    _claim: Claim<'a>,
}

impl<'a, T: Plain> LatestWriter<'a, T> {
    /// Replaces the value. It does not wait, whatever readers do.
    ///
    /// # If a process dies
    ///
    /// Killed before it returns, it has replaced the value, or the one before is still there.
    #[inline]
    pub fn write(&mut self, value: T) {
        let next = self.write_copy(&value);
        // Release: pairs with the load in `version`.
        self.latest.words.version.store(next, Ordering::Release);
        self.version = next;
    }

    /// Writes the next copy, which is no value yet, and returns its version.
    #[inline]
    fn write_copy(&mut self, value: &T) -> u64 {
        let next = self.version.wrapping_add(1);
        // Release: pairs with the fence in `read_versioned`.
        fence(Ordering::Release);
        self.latest.copy_in(next, value);
        next
    }

    /// Dies in a [`write`](Self::write), before its store of the version.
    #[cfg(loom)]
    #[doc(hidden)]
    pub fn die_writing(mut self, value: T) {
        self.write_copy(&value);
        core::mem::forget(self);
    }

    /// What it writes to.
    pub fn latest(&self) -> Latest<'a, T> {
        self.latest
    }
}

#[cold]
fn not_a_value<T>() -> Error {
    Error::new(ErrorKind::Corrupt, "read", "a latest value").with_detail(format!(
        "its bytes are not a {}",
        core::any::type_name::<T>()
    ))
}

#[cold]
fn claimed(owner: Option<NonZeroU64>) -> Error {
    let owner = owner.map_or(0, NonZeroU64::get);
    Error::new(ErrorKind::Claimed, "claim", "the writer of a latest value").with_detail(format!(
        "{owner:#x} is the writer; sweep it if that process is dead"
    ))
}
