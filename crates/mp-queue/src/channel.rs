//! A blocking channel from one sender to one receiver: an SPSC ring with two eventcounts, and no
//! lock.
//!
//! # Source
//!
//! [`mp_ring::Ring`], with [`EventCount`]s for what it cannot do: wait.
//!
//! # Layout
//!
//! ```text
//! 0       128        256         384
//! | ends  | not_empty | not_full | the ring: 384 bytes of words, then the slots |
//! ```
//!
//! # Invariants
//!
//! - I1: who uses an end has claimed its role in the ring, under its process's identity.
//! - I2: `in_transit_owner` of an end is the process that made it or passed it on last. It answers
//!   for the end while no process has the role, because the handle is on its way.
//! - I3: `closed` of an end is set by the drop of its handle, after its last operation, and stays.
//!
//! # Orderings
//!
//! Setting `closed` releases and looking at it acquires: who sees it sees every value that was sent
//! before. The ring's commits are plain Release stores, so [`EventCount::notify`] with its fence
//! follows them.
//!
//! # Progress
//!
//! `try_` operations are wait-free, but for one system call if the other side sleeps. The others
//! block.
//!
//! # If a process dies
//!
//! In an operation, the value was sent (or received) or not, by the ring's one store, and the bell
//! wakes the other side. An end that waits looks, when the bell rang and every 250 ms, whether the
//! process that answers for the other end (I2) is dead. A dead end is a closed one: what was sent
//! is received first.

use core::cell::Cell;
use core::marker::PhantomData;
use core::num::NonZeroU64;

use mp_layout::atomic::{AtomicU32, Ordering};
use mp_layout::{Error, ErrorKind, Kind, Padded, Plain, Region, Result, TypeTag, shared_struct};
use mp_object::{Object, OwnerWord, Placed, Plan, owner};
use mp_os::clock::Deadline;
use mp_ring::{Ring, Role};
use mp_sync::{EventCount, Wait};

use crate::{Receiver, Sender};

/// Where the ring lies in the payload.
const RING: usize = 384;

shared_struct! {
    /// What is said about one end.
    pub(crate) struct End as "Channel: end": 16 bytes {
        in_transit_owner: OwnerWord = "the process that answers for the end while no process has claimed it",
        closed: AtomicU32 = "1 once the end was dropped",
        reserved: AtomicU32 = "0",
    }
}

shared_struct! {
    /// What is said about both ends.
    pub(crate) struct Ends as "Channel: ends": 32 bytes {
        sender: End = "the sender's end",
        receiver: End = "the receiver's end",
    }
}

shared_struct! {
    /// The words before the ring.
    pub(crate) struct ChannelWords as "Channel": 384 bytes {
        ends: Padded<Ends> = "what is said about the two ends",
        not_empty: Padded<EventCount> = "what the receiver sleeps on",
        not_full: Padded<EventCount> = "what the sender sleeps on. The ring follows",
    }
}

const _: () = assert!(size_of::<ChannelWords>() == RING);

/// Makes a channel of at most `capacity` values from one sender to one receiver, each of which may
/// go to another process.
///
/// It is faster than a [`Queue`](crate::Queue) and takes no lock, and it tells when the other end
/// is gone.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for a capacity of 0 or more than addresses, and those of
/// [`Object::create`].
///
/// ```
/// let (mut sender, mut receiver) = mp_queue::channel::<u64>(100)?;
/// std::thread::spawn(move || (0..1000).try_for_each(|n| sender.send(n)));
/// let mut sum = 0;
/// while let Ok(n) = receiver.recv() {
///     sum += n;
/// }
/// assert_eq!(sum, 499_500);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub fn channel<T: Plain>(capacity: usize) -> Result<(Sender<T>, Receiver<T>)> {
    let size = Ring::<T>::size_for(capacity)?;
    let size = size.checked_add(RING).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "make", "a channel")
            .with_detail(format!("a capacity of {capacity} is more than addresses"))
    })?;
    let me = this_process()?;
    let plan = Plan::new(Kind::Channel, TypeTag::of::<T>(), size).page_aligned();
    let object = Object::create(&plan, |payload| {
        let words = payload.place::<ChannelWords>(0)?;
        for end in [&words.ends.sender, &words.ends.receiver] {
            end.in_transit_owner.set(Some(me));
        }
        let ring = payload.subregion(RING, payload.len() - RING)?;
        // SAFETY: no other process reaches the payload before this returns; an attacher finds a
        // header that says channel of this type.
        unsafe { Ring::<T>::create(ring, capacity) }?;
        Ok(())
    })?;
    let sender = Sender::claim(Channel::attach(object.clone())?)?;
    let receiver = Receiver::claim(Channel::attach(object)?)?;
    Ok((sender, receiver))
}

/// This process as a ring's claims name it.
pub(crate) fn this_process() -> Result<NonZeroU64> {
    owner::this_process().map(NonZeroU64::from)
}

/// A channel mapped, for one of its ends.
#[derive(Debug)]
pub(crate) struct Channel<T> {
    words: Placed<ChannelWords>,
    values: PhantomData<T>,
}

impl<T: Plain> Channel<T> {
    pub(crate) fn attach(object: Object) -> Result<Self> {
        // SAFETY: a channel starts with these words, which are bare.
        let words = unsafe { Placed::new(object) }?;
        Ok(Self {
            words,
            values: PhantomData,
        })
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let least =
            size_of::<ChannelWords>() + Ring::<T>::size_for(1).map_err(serde::de::Error::custom)?;
        let plan = Plan::new(Kind::Channel, TypeTag::of::<T>(), least);
        let object = Object::deserialize(deserializer, plan.expected())?;
        Self::attach(object).map_err(serde::de::Error::custom)
    }

    /// The ring, for a handle that does not outlive this.
    ///
    /// # Safety
    ///
    /// What is made of it is dropped before this is, and leaves the structure that holds both
    /// never.
    pub(crate) unsafe fn ring(&self) -> Result<Ring<'static, T>> {
        // SAFETY: the ring behind the words is reached by its own protocol only.
        let payload = unsafe { self.words.object().payload() };
        let part = payload.subregion(RING, payload.len() - RING)?;
        let start = part.pointer_to::<u8>(0, part.len())?;
        // SAFETY: mapped as long as `words`; the caller's promise is that nothing made of it lives
        // longer.
        let region = unsafe { Region::<'static>::new(start, part.len()) };
        // SAFETY: the header says that this is a channel of `T`.
        unsafe { Ring::attach(region) }
    }
}

impl<T> Channel<T> {
    pub(crate) fn object(&self) -> &Object {
        self.words.object()
    }

    #[inline]
    fn words(&self) -> &ChannelWords {
        &self.words
    }

    #[inline]
    pub(crate) fn not_empty(&self) -> &EventCount {
        &self.words().not_empty
    }

    #[inline]
    pub(crate) fn not_full(&self) -> &EventCount {
        &self.words().not_full
    }

    fn end(&self, role: Role) -> &End {
        match role {
            Role::Producer => &self.words().ends.sender,
            Role::Consumer => &self.words().ends.receiver,
        }
    }

    /// Whether the handle of an end was dropped.
    #[inline]
    pub(crate) fn is_closed(&self, role: Role) -> bool {
        self.end(role).closed.load(Ordering::Acquire) != 0
    }

    /// Says that an end is over, and wakes the other.
    pub(crate) fn close(&self, role: Role) {
        let other_sleeps_on = match role {
            Role::Producer => self.not_empty(),
            Role::Consumer => self.not_full(),
        };
        other_sleeps_on.under_bell(|| {
            self.end(role).closed.store(1, Ordering::Release);
            other_sleeps_on.notify_all();
        });
    }

    /// Makes this process answer for an end while it is in transit (I2).
    pub(crate) fn set_in_transit_owner(&self, role: Role, me: NonZeroU64) {
        self.end(role).in_transit_owner.set(Some(me));
    }

    /// Whether the process that answers for an end is proven dead: the one that has claimed it or,
    /// if no process has, its the one that answers for it in transit. Where that cannot be told
    /// the end counts as alive.
    #[cold]
    pub(crate) fn is_dead(&self, role: Role, claimed_by: Option<NonZeroU64>) -> bool {
        let answers = claimed_by.or_else(|| self.end(role).in_transit_owner.owner());
        answers.is_some_and(owner::is_proven_dead)
    }

    /// Waits for `attempt`, which gives `None` while it is not possible; `gone` is told to it once
    /// the other side is known to be dead.
    pub(crate) fn wait<R>(
        sleep_on: &EventCount,
        wait: Wait,
        deadline: Deadline,
        is_dead: impl Fn() -> bool,
        mut attempt: impl FnMut(bool) -> Option<R>,
    ) -> Option<R> {
        let gone = Cell::new(false);
        sleep_on.wait_until_or_suspect(
            wait,
            deadline,
            || attempt(gone.get()),
            || gone.set(gone.get() || is_dead()),
        )
    }
}
