//! Waiting for several objects together.
//!
//! # Source
//!
//! Python's `multiprocessing.connection.wait`, for objects in shared memory as well as for
//! descriptors.
//!
//! # How it sleeps
//!
//! | objects | sleeps in | costs beside the sleep |
//! |---|---|---|
//! | in memory: events, queues, connections, semaphores | one `futex_waitv` on all of them | a compare-and-swap for each, and for each one system call of the next process that notifies it |
//! | locks | the same | the same; a look into `/proc` for each that is held, and a system call or a compare-and-swap for each afterwards |
//! | descriptors: processes, sockets | one `poll` | |
//! | both | `poll`; a thread that is started for it sleeps in `futex_waitv` and rings | starting and joining that thread, 30 to 100 us |
//!
//! What is ready already costs one look at each object, and one `poll`.
//!
//! # Progress
//!
//! Blocking.
//!
//! # If a process dies
//!
//! One that waits here takes nothing: before it returns, it wakes others that sleep on what it
//! found ready, of a semaphore one for each permit. If it is killed between its wake-up and that,
//! another sleeper finds what it was woken for at its recheck, after 250 ms at most, and of a lock
//! after 500 ms. The same holds for what a process that died left ready without a notification.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Place, PlainSlice, Result};
use mp_os::clock::Deadline;
use mp_os::wakeup::{Wakeup, wait_any};
use mp_sync::{EventCount, LockWatch, Registration, Sleep};

use crate::{BoundedSemaphore, Event, Lock, Mutex, PermitSemaphore, RLock, Semaphore};

/// What [`wait`] waits for: an event, a queue, a connection, a lock, a semaphore, a process, a
/// descriptor.
pub trait Waitable {
    /// How it is waited for.
    ///
    /// # Errors
    ///
    /// If it can never be ready, such as a process that was not started.
    fn watch(&self) -> Result<Watch<'_>>;
}

/// How something is waited for.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Watch<'a> {
    /// By a futex in shared memory.
    Memory(&'a dyn InMemory),
    /// By the futex that is a lock.
    Lock(LockWatch<'a>),
    /// By a descriptor, until it is readable or hangs up.
    Descriptor(BorrowedFd<'a>),
    /// Not at all: it is ready, and stays so until its owner takes what it has.
    Ready,
}

/// What is in shared memory and becomes ready by a notification.
pub trait InMemory: Sync {
    /// Whether it is ready: a cheap look.
    fn is_ready(&self) -> bool;

    /// Looks whether it is ready because a process died; the next [`is_ready`](Self::is_ready) says
    /// so.
    fn suspect(&self) {}

    /// What is notified after each change that makes it ready.
    fn event_count(&self) -> &EventCount;

    /// Wakes those that sleep on it, for one that was woken, found it ready and takes nothing: all
    /// of them, unless it is ready for a few only.
    fn pass_on(&self) {
        self.event_count().pass_on_to_all();
    }
}

/// The most objects in memory that one call waits for, two words each, of the 128 that the kernel
/// takes.
const MOST: usize = mp_os::futex::MAX_WORDS / 2 - 1;

/// Waits up to `timeout` until one of the `items` is ready, and returns the places of all that are,
/// in order; none if it timed out.
///
/// An event is ready while it is set, a queue while it has a message or is closed, a connection
/// while there is something to receive or its other side is gone, a semaphore while it has a
/// permit, a lock while no other thread holds it, a process when it has ended, a descriptor when it
/// is readable or has hung up. Nothing is taken: another thread or process may be faster, so use
/// the `try_` form of what follows, and wait again if that fails.
///
/// Objects in shared memory and descriptors in one call cost a thread for its duration, if nothing
/// is ready when it begins.
///
/// # Errors
///
/// - [`ErrorKind::InvalidInput`] for no items, and for more than 63 in shared memory.
/// - [`ErrorKind::InvalidState`] for a process that was not started, and for a `Lock` or `Mutex`
///   that this thread holds itself. [`ErrorKind::Unsupported`] for a connection that only sends.
/// - Whatever keeps descriptors from being polled or a thread from being started.
///
/// # Examples
///
/// ```
/// use mp_object::{Event, wait};
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let (done, stop) = (Event::new()?, Event::new()?);
/// stop.set();
/// assert_eq!(wait(&[&done, &stop], Duration::MAX)?, [1]);
///
/// let (reader, writer) = std::io::pipe().expect("a pipe");
/// drop(writer);
/// assert_eq!(wait(&[&done, &reader.as_fd()], Duration::MAX)?, [1]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub fn wait(items: &[&dyn Waitable], timeout: impl Into<Deadline>) -> Result<Vec<usize>> {
    let deadline = timeout.into();
    let watched = Watched::new(items)?;
    for object in &watched.memory {
        object.suspect();
    }
    let mut has_slept = false;
    let ready = watched.sleep_until_ready(deadline, &mut has_slept);
    // Also after an error: this thread may have been woken in place of another.
    watched.pass_on(has_slept);
    ready
}

/// The items by how they are waited for, with their places.
struct Watched<'a> {
    memory: Vec<Memory<'a>>,
    memory_places: Vec<usize>,
    descriptors: Vec<BorrowedFd<'a>>,
    descriptor_places: Vec<usize>,
    ready_places: Vec<usize>,
}

impl<'a> Watched<'a> {
    fn new(items: &[&'a dyn Waitable]) -> Result<Self> {
        let mut watched = Self {
            memory: Vec::new(),
            memory_places: Vec::new(),
            descriptors: Vec::new(),
            descriptor_places: Vec::new(),
            ready_places: Vec::new(),
        };
        for (place, item) in items.iter().enumerate() {
            match item.watch()? {
                Watch::Memory(object) => {
                    watched.memory.push(Memory::Object(object));
                    watched.memory_places.push(place);
                }
                Watch::Lock(lock) => {
                    watched.memory.push(Memory::Lock(lock));
                    watched.memory_places.push(place);
                }
                Watch::Descriptor(descriptor) => {
                    watched.descriptors.push(descriptor);
                    watched.descriptor_places.push(place);
                }
                Watch::Ready => watched.ready_places.push(place),
            }
        }
        match watched.memory.len() {
            _ if items.is_empty() => Err(refused("nothing to wait for".to_owned())),
            count if count > MOST => Err(refused(format!(
                "{count} objects in shared memory where {MOST} are the most; wait for them in several threads"
            ))),
            _ => Ok(watched),
        }
    }

    /// The places of those that are ready first, none if the deadline passes before.
    fn sleep_until_ready(&self, deadline: Deadline, has_slept: &mut bool) -> Result<Vec<usize>> {
        let mut looks = Looks::new();
        loop {
            let ready = self.ready()?;
            if !ready.is_empty() || deadline.is_expired() {
                return Ok(ready);
            }
            *has_slept = true;
            match (self.memory.is_empty(), self.descriptors.is_empty()) {
                (true, _) => drop(poll(&self.descriptors, deadline)?),
                (_, true) => sleep_in_memory(&self.memory, deadline, &mut looks),
                _ => self.sleep_in_both(deadline)?,
            }
        }
    }

    /// The places of those that are ready now.
    fn ready(&self) -> Result<Vec<usize>> {
        let objects = self.memory.iter().zip(&self.memory_places);
        let mut ready: Vec<_> = objects
            .filter(|(object, _)| object.is_ready())
            .map(|(_, place)| *place)
            .chain(self.ready_places.iter().copied())
            .collect();
        if !self.descriptors.is_empty() {
            let shown = poll(&self.descriptors, Deadline::PASSED)?;
            ready.extend(
                shown
                    .iter()
                    .filter_map(|index| self.descriptor_places.get(*index)),
            );
        }
        ready.sort_unstable();
        Ok(ready)
    }

    /// Wakes those that sleep on what is ready: they may have been passed over in favour of this
    /// thread.
    fn pass_on(&self, has_slept: bool) {
        for object in &self.memory {
            match object {
                // Under the bell: killed in here, it wakes one all the same.
                Memory::Object(object) if object.is_ready() => {
                    object.event_count().under_bell(|| object.pass_on());
                }
                Memory::Lock(lock) if has_slept => lock.pass_on(),
                _ => {}
            }
        }
    }

    /// Polls, while another thread sleeps on what is in memory and rings.
    fn sleep_in_both(&self, deadline: Deadline) -> Result<()> {
        let os = |source| Error::os("wait for", "several objects", source);
        let wakeup = Wakeup::new().map_err(os)?;
        let stop = Stop::new();
        let mut descriptors = self.descriptors.clone();
        descriptors.push(wakeup.as_fd());
        thread::scope(|scope| {
            let ring = || {
                sleep_beside(&self.memory, &stop);
                wakeup.ring()
            };
            let ringing = thread::Builder::new()
                .spawn_scoped(scope, ring)
                .map_err(os)?;
            let polled = poll(&descriptors, deadline);
            stop.set();
            let rung = ringing.join().unwrap_or(Ok(()));
            polled?;
            rung.map_err(os)
        })
    }
}

/// What is waited for in shared memory.
#[derive(Clone, Copy)]
enum Memory<'a> {
    Object(&'a dyn InMemory),
    Lock(LockWatch<'a>),
}

impl<'a> Memory<'a> {
    fn is_ready(self) -> bool {
        match self {
            Self::Object(object) => object.is_ready(),
            Self::Lock(lock) => lock.is_ready(),
        }
    }

    fn suspect(self) {
        match self {
            Self::Object(object) => object.suspect(),
            Self::Lock(lock) => lock.suspect(),
        }
    }

    /// Registers this thread as a sleeper, unless it is ready; where it is a lock.
    fn register(self) -> Option<Registration<'a>> {
        match self {
            Self::Object(object) => Some(object.event_count().register()),
            Self::Lock(lock) => lock.register(),
        }
    }

    fn is_notified_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::Object(one), Self::Object(other)) => {
                std::ptr::eq(one.event_count(), other.event_count())
            }
            _ => false,
        }
    }
}

/// Sleeps until one of the objects is notified, or may be ready for another reason.
fn sleep_in_memory(objects: &[Memory<'_>], deadline: Deadline, looks: &mut Looks) {
    let mut places = Vec::with_capacity(objects.len());
    for (index, object) in objects.iter().enumerate() {
        // Once, also if it is there several times: a second registration would make the first
        // an old one, on which no thread can sleep.
        let is_there = |earlier: &Memory<'_>| earlier.is_notified_with(*object);
        if !objects[..index].iter().any(is_there) {
            let Some(place) = object.register() else {
                return;
            };
            places.push(place);
        }
    }
    if objects.iter().any(|object| object.is_ready()) {
        return;
    }
    let slept = EventCount::sleep_on_any(&places, deadline.earlier(looks.next));
    // Others that take what this thread is woken for do not keep it from looking for the dead.
    if slept != Sleep::Woken || !objects.iter().any(|object| object.is_ready()) {
        objects.iter().for_each(|object| object.suspect());
        looks.looked(slept);
    }
}

/// When the dead are looked for, beside the recheck of each sleep: more often after the bell.
struct Looks {
    next: Deadline,
    pause: Duration,
}

impl Looks {
    fn new() -> Self {
        Self {
            next: Deadline::NEVER,
            pause: Duration::MAX,
        }
    }

    fn looked(&mut self, slept: Sleep) {
        self.pause = slept.next_pause(self.pause);
        self.next = Deadline::after(self.pause);
    }
}

/// Sleeps until one of the objects is ready, or the thread beside this one says that it is enough.
fn sleep_beside(objects: &[Memory<'_>], stop: &Stop) {
    let stop = Memory::Object(stop);
    let with_stop: Vec<_> = objects.iter().copied().chain([stop]).collect();
    let mut looks = Looks::new();
    while !with_stop.iter().any(|object| object.is_ready()) {
        sleep_in_memory(&with_stop, Deadline::NEVER, &mut looks);
    }
}

/// What ends the sleep of the thread beside.
struct Stop {
    is_set: AtomicBool,
    count: EventCount,
}

impl Stop {
    fn new() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            count: EventCount::zeroed(),
        }
    }

    fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.count.notify_all();
    }
}

impl InMemory for Stop {
    fn is_ready(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    fn event_count(&self) -> &EventCount {
        &self.count
    }
}

fn poll(descriptors: &[BorrowedFd<'_>], deadline: Deadline) -> Result<Vec<usize>> {
    wait_any(descriptors, deadline)
        .map_err(|source| Error::os("wait for", "several descriptors", source))
}

#[cold]
fn refused(why: String) -> Error {
    Error::new(ErrorKind::InvalidInput, "wait for", "several objects").with_detail(why)
}

impl Waitable for BorrowedFd<'_> {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Descriptor(*self))
    }
}

impl Waitable for OwnedFd {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Descriptor(self.as_fd()))
    }
}

impl Waitable for Event {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Memory(self))
    }
}

impl InMemory for Event {
    fn is_ready(&self) -> bool {
        self.is_set()
    }

    fn event_count(&self) -> &EventCount {
        mp_sync::Event::event_count(self)
    }
}

/// Semaphores, which are ready while a permit can be taken.
macro_rules! waits_for_permits {
    ($($semaphore:ty),*) => {$(
        impl Waitable for $semaphore {
            fn watch(&self) -> Result<Watch<'_>> {
                Ok(Watch::Memory(self))
            }
        }

        impl InMemory for $semaphore {
            fn is_ready(&self) -> bool {
                self.value() > 0
            }

            fn event_count(&self) -> &EventCount {
                mp_sync::Semaphore::event_count(self)
            }

            fn pass_on(&self) {
                pass_on_permits(self, self.value());
            }
        }
    )*};
}

waits_for_permits!(Semaphore, BoundedSemaphore);

impl Waitable for PermitSemaphore {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Memory(self))
    }
}

impl InMemory for PermitSemaphore {
    fn is_ready(&self) -> bool {
        self.available() > 0
    }

    fn suspect(&self) {
        self.sweep();
    }

    fn event_count(&self) -> &EventCount {
        mp_sync::PermitSemaphore::event_count(self)
    }

    fn pass_on(&self) {
        pass_on_permits(self, u32::try_from(self.available()).unwrap_or(u32::MAX));
    }
}

/// Wakes one for each permit. One that takes none does the same; so a release wakes each of many
/// that wait here about once, where waking all each time would be their number squared.
fn pass_on_permits(semaphore: &dyn InMemory, permits: u32) {
    let count = semaphore.event_count();
    if count.has_sleepers() {
        count.notify(permits);
    }
}

impl Waitable for Lock {
    fn watch(&self) -> Result<Watch<'_>> {
        not_held_here(mp_sync::Lock::watch(self))
    }
}

impl<T: PlainSlice> Waitable for Mutex<T> {
    fn watch(&self) -> Result<Watch<'_>> {
        not_held_here(mp_sync::Mutex::watch(self))
    }
}

impl Waitable for RLock {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Lock(mp_sync::RLock::watch(self)))
    }
}

/// A lock that its holder cannot acquire again.
fn not_held_here(lock: LockWatch<'_>) -> Result<Watch<'_>> {
    if lock.is_held_here() {
        return Err(
            Error::new(ErrorKind::InvalidState, "wait for", "a lock").with_detail(
                "this thread holds it, so that it would wait forever; release it before",
            ),
        );
    }
    Ok(Watch::Lock(lock))
}
