//! The bounded queue without a lock, as a handle.

use core::fmt;
use std::sync::Arc;

use mp_layout::{Plain, PlainSlice, Region, Result};
use mp_object::{Object, ObjectType, Plan, Waitable, Watch};
use mp_os::clock::Deadline;
use mp_sync::Wait;

use crate::raw_mpmc_queue::{self, RawMpmcQueue};
use crate::{GetError, PutError, PutManyError};

/// A bounded queue of plain values of up to 56 bytes, for any number of producers and consumers in
/// any number of processes, without a lock.
///
/// Where a [`Queue`](crate::Queue) has locks it has none. A process that is stopped in a get holds
/// up nobody; one that is stopped in a put holds up those puts that have come round to its place
/// again, and the gets of a queue that was closed meanwhile. The price: bound and memory are fixed
/// when it is made; a value is plain and small; values of puts that overlap may come in either
/// order, where a `Queue` has one order for all; and there are no batches in one step, no
/// descriptor to poll and no ends.
///
/// Clones are the same queue. A handle goes to another process as an argument or in a message;
/// separately started programs open a queue by name. A handle claims one of 1024 seats with its
/// first put, which its clones in this process share.
///
/// A larger value does not compile.
///
/// # If a process dies
///
/// A value is in the queue or not, whole, whenever its producer dies. A value that a consumer has
/// taken before it died is gone with it. The others go on; a put that was cut short, also by `exec`
/// in another thread, takes one place of the queue until another process needs it, and sweeps.
///
/// # Examples
///
/// ```
/// use mp_queue::MpmcQueue;
///
/// let queue = MpmcQueue::new(100)?;
/// let same = queue.clone(); // in any thread or process
/// std::thread::spawn(move || {
///     (1..=1000_u64).try_for_each(|n| same.put(n)).expect("open");
///     same.close();
/// });
/// assert_eq!(queue.iter().sum::<Result<u64, _>>()?, 500_500);
/// assert!(queue.try_get().is_err(), "closed and empty");
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[doc(alias = "ArrayQueue")]
pub struct MpmcQueue<T: Plain> {
    raw: Arc<RawMpmcQueue<T>>,
    wait: Wait,
}

impl<T: Plain> MpmcQueue<T> {
    /// Makes a queue of at most `capacity` values.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](mp_layout::ErrorKind::InvalidInput) for a capacity of 0 or more
    /// than addresses, and those of [`Object::create`].
    pub fn new(capacity: usize) -> Result<Self> {
        Self::create(capacity)
    }

    /// Makes a queue of at most `capacity` values under `name`.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new) and of [`Object::create_named`].
    pub fn create_named(name: &str, capacity: usize) -> Result<Self> {
        ObjectType::create_named(name, capacity)
    }

    /// Opens the queue under `name`, whatever its capacity, or makes it.
    ///
    /// # Errors
    ///
    /// Those of [`create_named`](Self::create_named) but `AlreadyExists`, and those of
    /// [`Object::open`] but `NotFound`.
    pub fn open_or_create(name: &str, capacity: usize) -> Result<Self> {
        ObjectType::open_or_create(name, capacity)
    }

    /// The same queue with another way to wait; other handles keep theirs.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// Puts a value; blocks while the queue is full.
    ///
    /// # Errors
    ///
    /// Each gives the value back.
    ///
    /// - [`PutError::Closed`] if the queue is closed.
    /// - [`PutError::Failed`] if the shared bytes are corrupt, or if all 1024 seats are taken by
    ///   programs that run ([`ErrorKind::Claimed`](mp_layout::ErrorKind::Claimed)).
    #[inline]
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_timeout(value, Deadline::NEVER)
    }

    /// Puts a value if there is room now.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), and [`PutError::Full`].
    #[doc(alias = "put_nowait")]
    #[inline]
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_timeout(value, Deadline::PASSED)
    }

    /// Puts a value; waits up to `timeout` while the queue is full.
    /// [`Queue::put_timeout`](crate::Queue::put_timeout) says what a `timeout` can be.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), and [`PutError::Full`] if it timed out.
    #[inline]
    pub fn put_timeout(&self, value: T, timeout: impl Into<Deadline>) -> Result<(), PutError<T>> {
        let raw = &*self.raw;
        let put = match raw.producer() {
            Ok(producer) => raw.put(producer, value, self.wait, timeout.into()),
            Err(error) => Err(error.into()),
        };
        put.map_err(|error| error.with_value(value))
    }

    /// Puts values in their order, one after another; blocks while the queue is full. Values of
    /// other producers may come between.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), for the first value that was not put, with how many were.
    pub fn put_many(&self, values: &[T]) -> Result<(), PutManyError> {
        self.put_many_timeout(values, Deadline::NEVER)
    }

    /// Puts values as [`put_many`](Self::put_many) does, those for which there is room now.
    ///
    /// # Errors
    ///
    /// Those of [`put_many`](Self::put_many), and [`PutError::Full`] for the first value that has
    /// no room.
    pub fn try_put_many(&self, values: &[T]) -> Result<(), PutManyError> {
        self.put_many_timeout(values, Deadline::PASSED)
    }

    /// Puts values as [`put_many`](Self::put_many) does; waits up to `timeout` for all of them
    /// together.
    ///
    /// # Errors
    ///
    /// Those of [`put_many`](Self::put_many), and [`PutError::Full`] if it timed out.
    pub fn put_many_timeout(
        &self,
        values: &[T],
        timeout: impl Into<Deadline>,
    ) -> Result<(), PutManyError> {
        let deadline = timeout.into();
        let failed = |put| move |error| PutManyError { put, error };
        let producer = self.raw.producer().map_err(PutError::from);
        let producer = producer.map_err(failed(0))?;
        for (put, value) in values.iter().enumerate() {
            self.raw
                .put(producer, *value, self.wait, deadline)
                .map_err(failed(put))?;
        }
        Ok(())
    }

    /// Gets the oldest value that is there; blocks until there is one.
    ///
    /// # Errors
    ///
    /// - [`GetError::Closed`] if the queue is closed and empty.
    /// - [`GetError::Decode`] if the value's bytes are not a `T`. It was taken; the next get
    ///   returns the one after it.
    /// - [`GetError::Failed`] if the shared bytes are corrupt.
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.get_timeout(Deadline::NEVER)
    }

    /// Gets the oldest value if there is one now.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`].
    #[doc(alias = "get_nowait")]
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_timeout(Deadline::PASSED)
    }

    /// Gets the oldest value that is there; waits up to `timeout` for one.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`] if it timed out.
    #[inline]
    pub fn get_timeout(&self, timeout: impl Into<Deadline>) -> Result<T, GetError> {
        self.raw.get(self.wait, timeout.into())
    }

    /// Gets values into `values`, one after another, and returns how many: at least one, for which
    /// it blocks, and those that follow it now.
    ///
    /// For no `values` it returns 0 immediately.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) for the first value.
    pub fn get_many(&self, values: &mut [T]) -> Result<usize, GetError>
    where
        T: PlainSlice,
    {
        self.get_many_timeout(values, Deadline::NEVER)
    }

    /// Gets the values that there are now, as [`get_many`](Self::get_many) does.
    ///
    /// # Errors
    ///
    /// Those of [`get_many`](Self::get_many), and [`GetError::Empty`].
    pub fn try_get_many(&self, values: &mut [T]) -> Result<usize, GetError>
    where
        T: PlainSlice,
    {
        self.get_many_timeout(values, Deadline::PASSED)
    }

    /// Gets values as [`get_many`](Self::get_many) does; waits up to `timeout` for the first.
    ///
    /// # Errors
    ///
    /// Those of [`get_many`](Self::get_many), and [`GetError::Empty`] if it timed out.
    pub fn get_many_timeout(
        &self,
        values: &mut [T],
        timeout: impl Into<Deadline>,
    ) -> Result<usize, GetError>
    where
        T: PlainSlice,
    {
        let mut places = values.iter_mut();
        let Some(first) = places.next() else {
            return Ok(0);
        };
        *first = self.raw.get(self.wait, timeout.into())?;
        let mut got = 1;
        for place in places {
            // What an error says, the next get reports.
            let Some(Ok(value)) = self.raw.take() else {
                break;
            };
            *place = value;
            got += 1;
        }
        Ok(got)
    }

    /// The values as they come, until the queue is closed and empty, or after an error other than
    /// of one value.
    pub fn iter(&self) -> impl Iterator<Item = Result<T, GetError>> + '_ {
        let mut ended = false;
        core::iter::from_fn(move || {
            let next = (!ended).then(|| self.get())?;
            ended = !matches!(next, Ok(_) | Err(GetError::Decode(_)));
            (!matches!(next, Err(GetError::Closed))).then_some(next)
        })
    }

    /// Closes the queue, for all: puts fail from now on, gets take what is left and then fail.
    ///
    /// A put that has begun is in the queue or fails; gets wait until that is known.
    pub fn close(&self) {
        self.raw.close();
    }

    /// Whether the queue was closed. True stays true.
    pub fn is_closed(&self) -> bool {
        self.raw.is_closed()
    }

    /// About how many values there are, as [`MpmcRing::len`](mp_ring::MpmcRing::len) says it.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.raw.ring.len()
    }

    /// Whether there was nothing to get at some time during the call.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        !self.raw.ring.has_value()
    }

    /// Whether a put would have had to wait at some time during the call.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        !self.raw.ring.has_room()
    }

    /// The most values there can be.
    pub fn capacity(&self) -> usize {
        self.raw.ring.capacity()
    }
}

impl<T: Plain> Waitable for MpmcQueue<T> {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Memory(&*self.raw))
    }
}

impl<T: Plain> ObjectType for MpmcQueue<T> {
    type Settings<'s> = usize;

    fn plan(capacity: &usize) -> Result<Plan> {
        Ok(raw_mpmc_queue::plan::<T>(*capacity)?.accepting(*Self::any().expected()))
    }

    fn any() -> Plan {
        raw_mpmc_queue::any::<T>()
    }

    unsafe fn initialise(payload: Region<'_>, capacity: usize) -> Result<()> {
        // SAFETY: no other process reaches the payload yet, and all that will find a header that
        // says this kind and type.
        unsafe { raw_mpmc_queue::initialise::<T>(payload, capacity) }
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        // SAFETY: the caller's promise, since `any` says this kind and type.
        let raw = unsafe { RawMpmcQueue::attach(object) }?;
        Ok(Self {
            raw: Arc::new(raw),
            wait: Wait::default(),
        })
    }

    fn object(&self) -> &Object {
        self.raw.object()
    }
}

mp_object::handle!([T: Plain] MpmcQueue<T>);

impl<T: Plain> Clone for MpmcQueue<T> {
    fn clone(&self) -> Self {
        Self {
            raw: Arc::clone(&self.raw),
            ..*self
        }
    }
}

impl<T: Plain> fmt::Debug for MpmcQueue<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MpmcQueue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
