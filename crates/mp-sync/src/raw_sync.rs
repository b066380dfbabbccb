//! The mutex and the event of this crate behind the traits of the `raw_sync` crate.
//!
//! A program that uses `raw_sync` switches by one line: [`Mutex`] for `raw_sync::locks::Mutex`,
//! [`Event`] for `raw_sync::events::Event` or `BusyEvent`. What changes:
//!
//! - A holder that is killed does not block the others forever. The next `lock` gives an error that
//!   says so, once, and leaves the lock free: lock again to go on with the data as it is.
//! - Locking twice in one thread is an error instead of a deadlock.
//! - A timeout waits as long as it says. (raw_sync adds the nanoseconds to the clock without
//!   carrying, so that a timed wait fails with the probability of its fractional second.)
//! - A lock takes 48 bytes and an event 56, aligned to 8; `size_of` says so as before.
//!
//! # Soundness
//!
//! raw_sync's traits hand out a `LockGuard` that no code outside that crate can make. It consists
//! of one field, the reference to the lock, in exactly the version this crate depends on
//! (`=0.1.5`), so it is made from that reference, with its size checked at compile time. The
//! traits also allow `release` without a guard: here that is an error unless the calling thread
//! holds the lock.
//!
//! # Examples
//!
//! ```
//! use mp_sync::raw_sync::Mutex; // was: raw_sync::locks::Mutex
//! use raw_sync::locks::LockInit;
//!
//! let memory = Box::leak(vec![0_u64; 8].into_boxed_slice()).as_mut_ptr().cast::<u8>();
//! let mut value = 5_u8;
//! // SAFETY: the memory is large enough, aligned, and never freed.
//! let (mutex, _size) = unsafe { Mutex::new(memory, &raw mut value) }?;
//! let guard = mutex.lock()?;
//! // SAFETY: the lock is held, and points to `value`.
//! assert_eq!(unsafe { **guard }, 5);
//! # drop(guard);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use mp_layout::Region;
use mp_os::clock::Deadline;
use raw_sync::Timeout;
use raw_sync::events::{EventImpl, EventInit, EventState};
use raw_sync::locks::{LockGuard, LockImpl, LockInit};

use crate::{EventCount, LockError, Outcome, RawMutex, Wait, owner};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// [`RawMutex`] as a `raw_sync` lock.
///
/// The memory that `new` and `from_existing` are given must stay mapped while this or a guard of
/// it lives, and while a leaked guard's thread does.
#[derive(Debug)]
pub struct Mutex {
    raw: &'static RawMutex,
    data: UnsafeCell<*mut u8>,
    /// The thread that holds the mutex through this value, as it was before any fork.
    holder: Cell<u32>,
}

const _: () = assert!(size_of::<LockGuard<'static>>() == size_of::<&'static dyn LockImpl>());

impl Mutex {
    /// The placed structure in the memory a caller promised, and the bytes up to its end.
    unsafe fn at(mem: *mut u8, data: *mut u8) -> Result<(Box<dyn LockImpl>, usize)> {
        // SAFETY: the caller's promise.
        let (raw, size) = unsafe { placed::<RawMutex>(mem) }?;
        let mutex = Self {
            raw,
            data: UnsafeCell::new(data),
            holder: Cell::new(0),
        };
        Ok((Box::new(mutex), size))
    }

    fn lock_until(&self, deadline: Deadline) -> Result<LockGuard<'_>> {
        let mut guard = self
            .raw
            .lock_timeout(deadline)
            .map_err(LockError::<()>::from)?;
        if guard.outcome() == Outcome::OwnerDied {
            guard.recover();
            return Err(Box::new(LockError::OwnerDied(())));
        }
        // Released by `release`, through the guard made below.
        std::mem::forget(guard);
        self.holder.set(owner::tid());
        let lock: &dyn LockImpl = self;
        // SAFETY: a `LockGuard` of raw_sync 0.1.5 has this reference as its only field, and the
        // same size; so it lies at offset 0 and nothing else is in it.
        Ok(unsafe { std::mem::transmute::<&dyn LockImpl, LockGuard<'_>>(lock) })
    }
}

impl LockInit for Mutex {
    fn size_of(addr: Option<*mut u8>) -> usize {
        addr.map_or(0, padding::<RawMutex>) + size_of::<RawMutex>()
    }

    unsafe fn new(mem: *mut u8, data: *mut u8) -> Result<(Box<dyn LockImpl>, usize)> {
        let start = mem.wrapping_add(padding::<RawMutex>(mem));
        // SAFETY: the caller promises `size_of(Some(mem))` writable bytes that are not in use yet.
        unsafe { start.write_bytes(0, size_of::<RawMutex>()) };
        // SAFETY: as above, and they stay.
        unsafe { Self::at(mem, data) }
    }

    unsafe fn from_existing(mem: *mut u8, data: *mut u8) -> Result<(Box<dyn LockImpl>, usize)> {
        // SAFETY: the caller promises that `new` was called on the same bytes, which stay.
        unsafe { Self::at(mem, data) }
    }
}

impl LockImpl for Mutex {
    fn as_raw(&self) -> *mut c_void {
        std::ptr::from_ref(self.raw).cast_mut().cast()
    }

    fn lock(&self) -> Result<LockGuard<'_>> {
        self.lock_until(Deadline::NEVER)
    }

    fn try_lock(&self, timeout: Timeout) -> Result<LockGuard<'_>> {
        self.lock_until(deadline(timeout))
    }

    fn release(&self) -> Result<()> {
        let me = owner::tid();
        if self.holder.get() != me {
            // A guard that a forked child inherited: the lock is its parent's.
            let inherited = self.holder.get() != 0 && !self.raw.is_held_here();
            return if inherited {
                Ok(())
            } else {
                Err("this thread does not hold the lock".into())
            };
        }
        self.holder.set(0);
        self.raw.release_forgotten();
        Ok(())
    }

    unsafe fn get_inner(&self) -> &mut *mut u8 {
        // SAFETY: the caller holds the lock; the pointer to the data is this process's own.
        unsafe { &mut *self.data.get() }
    }
}

/// An event of this crate's [`EventCount`] as a `raw_sync` event, with or without auto reset.
#[derive(Debug)]
pub struct Event {
    placed: &'static PlacedEvent,
}

mp_layout::shared_struct! {
    /// The event as it lies in memory.
    #[derive(Debug)]
    struct PlacedEvent: 56 bytes {
        count: EventCount = "what waiters sleep on",
        signaled: AtomicU32 = "1 while it is signaled",
        auto_reset: AtomicU32 = "1 if a wait takes the signal",
    }
}

impl PlacedEvent {
    /// Whether it is signaled; takes the signal if it resets itself.
    fn take(&self) -> Option<()> {
        if self.auto_reset.load(Ordering::Relaxed) == 0 {
            let set = self.signaled.load(Ordering::Acquire) != 0;
            if set {
                self.count.pass_on_to_all();
            }
            return set.then_some(());
        }
        self.signaled
            .compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(drop)
    }
}

impl EventInit for Event {
    fn size_of(addr: Option<*mut u8>) -> usize {
        addr.map_or(0, padding::<PlacedEvent>) + size_of::<PlacedEvent>()
    }

    unsafe fn new(mem: *mut u8, auto_reset: bool) -> Result<(Box<dyn EventImpl>, usize)> {
        let start = mem.wrapping_add(padding::<PlacedEvent>(mem));
        // SAFETY: the caller promises `size_of(Some(mem))` writable bytes that are not in use yet.
        unsafe { start.write_bytes(0, size_of::<PlacedEvent>()) };
        // SAFETY: as above, and they stay.
        let (placed, size) = unsafe { placed::<PlacedEvent>(mem) }?;
        placed
            .auto_reset
            .store(u32::from(auto_reset), Ordering::Release);
        Ok((Box::new(Self { placed }), size))
    }

    unsafe fn from_existing(mem: *mut u8) -> Result<(Box<dyn EventImpl>, usize)> {
        // SAFETY: the caller promises that `new` was called on the same bytes, which stay.
        let (placed, size) = unsafe { placed::<PlacedEvent>(mem) }?;
        Ok((Box::new(Self { placed }), size))
    }
}

impl EventImpl for Event {
    fn wait(&self, timeout: Timeout) -> Result<()> {
        let waited = self
            .placed
            .count
            .wait_until(Wait::Adaptive, deadline(timeout), || self.placed.take());
        waited.ok_or_else(|| "timed out; the event was not set".into())
    }

    fn set(&self, state: EventState) -> Result<()> {
        let PlacedEvent {
            count,
            signaled,
            auto_reset,
        } = self.placed;
        match state {
            EventState::Clear => signaled.store(0, Ordering::Release),
            EventState::Signaled => count.under_bell(|| {
                let takers = if auto_reset.load(Ordering::Relaxed) == 0 {
                    u32::MAX
                } else {
                    1
                };
                // SeqCst for `notify_committed`.
                signaled.swap(1, Ordering::SeqCst);
                count.notify_committed(takers);
            }),
        }
        Ok(())
    }
}

fn deadline(timeout: Timeout) -> Deadline {
    match timeout {
        Timeout::Infinite => Deadline::NEVER,
        Timeout::Val(span) => Deadline::after(span),
    }
}

/// Bytes from `mem` to the first place where a `T` may lie.
fn padding<T>(mem: *mut u8) -> usize {
    mem.addr().wrapping_neg() % align_of::<T>()
}

/// The `T` after the padding, and the bytes up to its end.
///
/// # Safety
///
/// The bytes from `mem` up to its end are mapped and writable as long as the result is used, and
/// only used as a `T`.
unsafe fn placed<T: mp_layout::Place>(mem: *mut u8) -> Result<(&'static T, usize)> {
    let offset = padding::<T>(mem);
    let size = offset + size_of::<T>();
    let start = NonNull::new(mem).ok_or("the memory is at address 0")?;
    // SAFETY: the caller's promise.
    let region = unsafe { Region::new(start, size) };
    // SAFETY: the caller's promise.
    Ok((unsafe { region.place_guarded(offset) }?, size))
}
