//! Arrays with a lock and claimable chunks.

use core::fmt;
use core::ops::RangeBounds;

use mp_layout::{
    Cells, Error, ErrorKind, Kind, Plain, PlainSlice, Region, Result, TypeTag, assert_zeros,
};
use mp_object::owner::this_process;
use mp_object::{Object, ObjectType, Plan, ProcessIdentity};
use mp_os::clock::Deadline;
use mp_sync::LockError;

use crate::array_control::{Until, poisoned};
use crate::array_memory::ArrayMemory;
use crate::first::First;
use crate::initial_elements::InitialElements;
use crate::{ArrayGuard, ArrayLock, Chunks, FrozenArray, numpy};

/// Numbers in shared memory, with one lock: Python's `multiprocessing.Array`.
///
/// The handle is passed to other processes as an argument or opened by name; clones are the same
/// array. Elements are reached in one of four ways, which exclude each other:
///
/// - one by one with [`get`](Self::get) and [`set`](Self::set), each of which takes the lock;
/// - all together as a slice with [`lock`](Self::lock);
/// - by several processes at the same time, each in a chunk that it has claimed, with
///   [`chunks`](Self::chunks);
/// - by all processes and without a lock, read-only, after [`freeze`](Self::freeze).
///
/// ```
/// use mp_value::Array;
///
/// let samples = Array::from_slice(&[1.0, 2.0, 3.0])?;
/// samples.set(0, samples.get(1)? * 4.0)?;
/// for sample in &mut *samples.lock()? {
///     *sample += 0.5;
/// }
/// assert_eq!(samples.to_vec()?, [8.5, 2.5, 3.5]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # If a process dies
///
/// - In `get` or `set`: an element of 1, 2, 4 or 8 bytes is old or new, and the others go on
///   without notice.
/// - In [`lock`](Self::lock): the array may be half changed. Every later `lock` says so with
///   [`LockError::OwnerDied`], which has the guard, until one calls
///   [`recover`](ArrayGuard::recover). Meanwhile single elements can be reached, and chunks cannot
///   be claimed.
/// - With a chunk: the next process that claims it learns who died, see
///   [`Chunk::abandoned_by`](crate::Chunk::abandoned_by).
///
/// Elements that are written in several pieces (say `[f64; 3]`) may be half written by each of
/// these deaths; then `get` and `set` are refused with [`ErrorKind::OwnerDied`] until a process
/// recovers the array.
///
/// # Limits
///
/// An array has a length that never changes, 0 included. Other programs that map it, such as numpy
/// through [`numpy_line`](Self::numpy_line), know nothing of its lock: they and Rust's slices must
/// not be at work together.
pub struct Array<T> {
    memory: ArrayMemory<T>,
}

impl<T: Plain> Array<T> {
    /// Makes an array of `len` zeros. Where zero bytes are no value, as in an enum that starts at
    /// 1, this does not build; there is [`filled`](Self::filled).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if that is more than there are addresses,
    /// [`ErrorKind::NotEnoughMemory`] with what is free and what was asked for,
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Unsupported`] if the kernel or a sandbox has
    /// no memory files.
    pub fn new(len: usize) -> Result<Self> {
        const { assert_zeros::<T>() };
        Self::create(First::of::<T>(InitialElements::Zeros(len)))
    }

    /// Makes an array of `len` times `value`.
    ///
    /// # Errors
    ///
    /// As for [`Array::new`].
    pub fn filled(len: usize, value: T) -> Result<Self> {
        Self::create(First::of::<T>(InitialElements::Filled(len, value)))
    }

    /// Makes an array with a copy of `elements`.
    ///
    /// # Errors
    ///
    /// As for [`Array::new`].
    pub fn from_slice(elements: &[T]) -> Result<Self> {
        Self::create(First::of::<T>(InitialElements::Copies(elements)))
    }

    /// Makes an array of what `elements` yields.
    ///
    /// They are collected first, since the length of a segment is decided when it is made.
    ///
    /// # Errors
    ///
    /// As for [`Array::new`].
    #[expect(clippy::should_implement_trait, reason = "it can fail")]
    pub fn from_iter(elements: impl IntoIterator<Item = T>) -> Result<Self> {
        Self::from_slice(&elements.into_iter().collect::<Vec<T>>())
    }

    /// Makes an array of `len` zeros under `name`.
    ///
    /// # Errors
    ///
    /// As for [`Array::new`], and [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`].
    pub fn create_named(name: &str, len: usize) -> Result<Self> {
        const { assert_zeros::<T>() };
        ObjectType::create_named(name, First::of::<T>(InitialElements::Zeros(len)))
    }

    /// Makes an array with a copy of `elements` under `name`.
    ///
    /// # Errors
    ///
    /// As for [`Array::new`], and [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`].
    pub fn create_named_from(name: &str, elements: &[T]) -> Result<Self> {
        ObjectType::create_named(name, First::of::<T>(InitialElements::Copies(elements)))
    }

    /// Opens the array of `len` elements named `name`, or makes one of zeros.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) but `NotFound`, and of [`Array::new`];
    /// [`ErrorKind::WrongSize`] if it has another length.
    pub fn open_or_create(name: &str, len: usize) -> Result<Self> {
        const { assert_zeros::<T>() };
        ObjectType::open_or_create(name, First::of::<T>(InitialElements::Zeros(len)))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, read under the lock. Blocks until the lock is free and no living
    /// process has a chunk.
    ///
    /// Under this thread's own [`get_lock`](Self::get_lock) it does not lock again.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`] if there is no such element.
    /// - [`ErrorKind::Corrupt`] if its bytes are not a `T`.
    /// - [`ErrorKind::OwnerDied`] if it may be half written: it has several pieces, and a process
    ///   died while it wrote.
    /// - [`ErrorKind::Recursive`] under this thread's own [`lock`](Self::lock).
    /// - [`ErrorKind::Claimed`] under this thread's own `get_lock` while a living process has a
    ///   chunk, or if a guard was leaked in a process that lives.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks.
    pub fn get(&self, index: usize) -> Result<T> {
        self.get_until(index, Until::NEVER)
    }

    /// [`get`](Self::get) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`Array::get`].
    pub fn try_get(&self, index: usize) -> Result<T> {
        self.get_until(index, Until::PASSED)
    }

    /// [`get`](Self::get) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`Array::get`].
    pub fn get_timeout(&self, index: usize, timeout: impl Into<Deadline>) -> Result<T> {
        self.get_until(index, Until::deadline(timeout.into()))
    }

    pub(crate) fn get_until(&self, index: usize, until: Until) -> Result<T> {
        self.read_until(until, |cells| cells.try_get(index))
    }

    /// Stores `value` at `index` under the lock. Blocks until the lock is free and no living
    /// process has a chunk.
    ///
    /// Under this thread's own [`get_lock`](Self::get_lock) it does not lock again.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`] if there is no such element.
    /// - [`ErrorKind::InvalidState`] if the array is frozen.
    /// - [`ErrorKind::OwnerDied`] if a process may have left it half written: it has several
    ///   pieces, and the process died while it wrote.
    /// - [`ErrorKind::Recursive`] under this thread's own [`lock`](Self::lock).
    /// - [`ErrorKind::Claimed`] under this thread's own `get_lock` while a living process has a
    ///   chunk, or if a guard was leaked in a process that lives.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks.
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        self.set_until(index, value, Until::NEVER)
    }

    /// [`set`](Self::set) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`Array::set`].
    pub fn try_set(&self, index: usize, value: T) -> Result<()> {
        self.set_until(index, value, Until::PASSED)
    }

    /// [`set`](Self::set) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`Array::set`].
    pub fn set_timeout(&self, index: usize, value: T, timeout: impl Into<Deadline>) -> Result<()> {
        self.set_until(index, value, Until::deadline(timeout.into()))
    }

    pub(crate) fn set_until(&self, index: usize, value: T, until: Until) -> Result<()> {
        let control = self.memory.control();
        let cells = self.memory.cells();
        let held = control.enter_whole(self.memory.partition(), until)?;
        control.expect_writable()?;
        Self::expect_whole_elements("write", held.poisoned_by)?;
        if Self::IS_ONE_PIECE {
            return cells.try_set(index, value);
        }
        control.begin_write(this_process()?);
        let stored = cells.try_set(index, value);
        control.end_write(None);
        stored
    }

    /// A copy of all elements, read under the lock. Blocks until the lock is free and no living
    /// process has a chunk.
    ///
    /// # Errors
    ///
    /// Those of [`Array::get`] but `InvalidInput`.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.to_vec_until(Until::NEVER)
    }

    /// [`to_vec`](Self::to_vec) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`Array::get`] but `InvalidInput`.
    pub fn try_to_vec(&self) -> Result<Vec<T>> {
        self.to_vec_until(Until::PASSED)
    }

    /// [`to_vec`](Self::to_vec) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`Array::get`] but `InvalidInput`.
    pub fn to_vec_timeout(&self, timeout: impl Into<Deadline>) -> Result<Vec<T>> {
        self.to_vec_until(Until::deadline(timeout.into()))
    }

    /// A copy of the elements of `range`, read under the lock: Python's `a[i:j]`. Blocks until the
    /// lock is free and no living process has a chunk.
    ///
    /// `a[i:j] = ...` is `array.lock()?[i..j].copy_from_slice(..)`.
    ///
    /// ```
    /// let array = mp_value::Array::from_slice(&[1, 2, 3, 4])?;
    /// array.lock()?[..2].copy_from_slice(&[8, 9]);
    /// assert_eq!(array.get_range(1..3)?, [9, 3]);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Array::get`]; `InvalidInput` if the elements are not all there.
    pub fn get_range(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>> {
        self.read_until(Until::NEVER, |cells| {
            let cells = cells.try_slice(range)?;
            (0..cells.len()).map(|index| cells.try_get(index)).collect()
        })
    }

    pub(crate) fn to_vec_until(&self, until: Until) -> Result<Vec<T>> {
        self.read_until(until, |cells| {
            (0..cells.len()).map(|index| cells.try_get(index)).collect()
        })
    }

    /// Waits until the lock is free and no living process has a chunk; another may have both when
    /// this returns.
    pub(crate) fn wait_whole(&self, deadline: Deadline) -> Result<()> {
        let until = Until::deadline(deadline);
        let control = self.memory.control();
        drop(control.acquire_whole(self.memory.partition(), until)?);
        Ok(())
    }

    /// What `read` makes of the elements while no process writes them.
    #[inline]
    fn read_until<R>(
        &self,
        until: Until,
        read: impl FnOnce(Cells<'_, T>) -> Result<R>,
    ) -> Result<R> {
        let control = self.memory.control();
        if control.is_frozen() {
            return read(self.memory.cells());
        }
        let held = control.enter_whole(self.memory.partition(), until)?;
        Self::expect_whole_elements("read", held.poisoned_by)?;
        read(self.memory.cells())
    }

    /// Acquires the lock without the data; blocks until it is free. It does not wait for chunks.
    ///
    /// While this thread has it, its `get`, `set` and `to_vec` do not lock again, so that several
    /// of them are one step for the others.
    ///
    /// ```
    /// # let counts = mp_value::Array::<u32>::new(2)?;
    /// let lock = counts.get_lock()?;
    /// counts.set(0, counts.get(0)? + 1)?;
    /// counts.set(1, counts.get(1)? + 1)?;
    /// drop(lock);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] has the guard: an owner died, and no owner called
    ///   [`recover`](ArrayLock::recover) since.
    /// - [`LockError::Recursive`] if this thread has the lock already.
    /// - [`LockError::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`LockError::Failed`] with [`ErrorKind::Claimed`] if a guard was leaked in a process that
    ///   lives, with [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    pub fn get_lock(&self) -> Result<ArrayLock<'_>, LockError<ArrayLock<'_>>> {
        self.get_lock_until(Deadline::NEVER)
    }

    /// [`get_lock`](Self::get_lock) without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder, and those of [`Array::get_lock`].
    pub fn try_get_lock(&self) -> Result<ArrayLock<'_>, LockError<ArrayLock<'_>>> {
        self.get_lock_until(Deadline::PASSED)
    }

    /// [`get_lock`](Self::get_lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder, and those of [`Array::get_lock`].
    pub fn get_lock_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<ArrayLock<'_>, LockError<ArrayLock<'_>>> {
        self.get_lock_until(timeout.into())
    }

    pub(crate) fn get_lock_until(
        &self,
        deadline: Deadline,
    ) -> Result<ArrayLock<'_>, LockError<ArrayLock<'_>>> {
        ArrayLock::acquire(self.memory.control(), self.memory.partition(), deadline)
    }

    /// Divides the array into chunks of `chunk_len` elements; the last one may be shorter.
    ///
    /// Nothing is claimed yet, so this cannot collide with other processes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for chunks of 0 elements, or if there would be more than 4096,
    /// and more than one for each 4096 elements; the message says from which length on it works.
    pub fn chunks(&self, chunk_len: usize) -> Result<Chunks<T>>
    where
        T: PlainSlice,
    {
        Chunks::new(self.memory.clone(), chunk_len)
    }

    /// Makes the array read-only permanently, for all processes; all of them may then read it
    /// without a lock. Blocks until the lock is free and no living process has a chunk.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::OwnerDied`] if a dead process may have left the array half written.
    /// - [`ErrorKind::Recursive`] under this thread's own [`lock`](Self::lock).
    /// - [`ErrorKind::Claimed`] under this thread's own [`get_lock`](Self::get_lock) while a living
    ///   process has a chunk, or if a guard was leaked in a process that lives.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks.
    pub fn freeze(&self) -> Result<FrozenArray<T>>
    where
        T: PlainSlice,
    {
        let control = self.memory.control();
        let held = control.enter_whole(self.memory.partition(), Until::NEVER)?;
        if let Some(dead) = held.poisoned_by {
            return Err(poisoned("freeze", dead));
        }
        control.freeze();
        drop(held);
        FrozenArray::new(self.clone())
    }

    /// Whether [`freeze`](Self::freeze) was called, by any process.
    pub fn is_frozen(&self) -> bool {
        self.memory.control().is_frozen()
    }

    /// The line of Python that opens the same elements with numpy, for as long as this process has
    /// the array open (or, for a named one, until it is unlinked).
    ///
    /// ```
    /// let line = mp_value::Array::from_slice(&[0.5, 1.5])?.numpy_line();
    /// assert!(line.ends_with(r#"dtype="<f8", mode="r+", offset=4096, shape=(2,))"#), "{line}");
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn numpy_line(&self) -> String {
        numpy::line::<T>(
            self.memory.object(),
            self.memory.data_descriptor(),
            self.memory.data_offset(),
            self.len(),
        )
    }

    pub(crate) fn memory(&self) -> &ArrayMemory<T> {
        &self.memory
    }

    /// An array in this memory.
    pub(crate) fn of_memory(memory: ArrayMemory<T>) -> Self {
        Self { memory }
    }

    /// Whether an element is stored in one step, as [`Cells`] does it.
    const IS_ONE_PIECE: bool = size_of::<T>() == align_of::<T>() && size_of::<T>() <= 8;

    /// Checks that single elements may be reached although `poisoned_by` died while it wrote.
    #[inline]
    fn expect_whole_elements(
        operation: &'static str,
        poisoned_by: Option<ProcessIdentity>,
    ) -> Result<()> {
        match poisoned_by {
            // Each element by itself is old or new.
            Some(dead) if !Self::IS_ONE_PIECE => Err(poisoned(operation, dead)),
            _ => Ok(()),
        }
    }
}

impl<T: PlainSlice> Array<T> {
    /// Acquires the lock and lends the elements as one slice. Blocks until the lock is free and no
    /// living process has a chunk; a thread that has a chunk itself waits for itself.
    ///
    /// ```
    /// use mp_sync::LockError;
    /// use mp_value::{Array, Claim};
    ///
    /// let array = Array::<u32>::new(10)?;
    /// let Claim::Claimed(mut chunk) = array.chunks(5)?.claim(0)? else { panic!("no other process is here") };
    /// match array.try_lock() {
    ///     Err(LockError::Timeout(holder)) => assert_eq!(holder.pid(), Some(std::process::id())),
    ///     other => panic!("{other:?}"),
    /// }
    /// std::thread::scope(|scope| {
    ///     scope.spawn(move || chunk.fill(1)); // dropped at the end of the closure
    ///     assert_eq!(array.lock()?.iter().sum::<u32>(), 5);
    ///     Ok::<(), mp_layout::Error>(())
    /// })?;
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] has the guard: a process died in here or with a chunk, the
    ///   elements may be half written, and no owner called [`recover`](ArrayGuard::recover) since.
    /// - [`LockError::Recursive`] if this thread has the lock already.
    /// - [`LockError::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`LockError::Failed`] with [`ErrorKind::InvalidState`] if the array is frozen, with
    ///   [`ErrorKind::Claimed`] if a guard was leaked in a process that lives, with
    ///   [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    pub fn lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.lock_until(Until::NEVER)
    }

    /// [`lock`](Self::lock) without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder of the lock or of a chunk, and those of
    /// [`Array::lock`].
    pub fn try_lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.lock_until(Until::PASSED)
    }

    /// [`lock`](Self::lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder of the lock or of a chunk, and those of
    /// [`Array::lock`].
    pub fn lock_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.lock_until(Until::deadline(timeout.into()))
    }

    pub(crate) fn lock_until(
        &self,
        until: Until,
    ) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        ArrayGuard::acquire(&self.memory, until)
    }
}

impl<T: Plain> ObjectType for Array<T> {
    type Settings<'s> = First<InitialElements<'s, T>>;

    fn plan(first: &First<InitialElements<'_, T>>) -> Result<Plan> {
        ArrayMemory::<T>::plan(first.tag, first.value.len())
    }

    fn any() -> Plan {
        Plan::new(Kind::Array, TypeTag::of::<T>(), 0)
    }

    unsafe fn initialise(payload: Region<'_>, first: First<InitialElements<'_, T>>) -> Result<()> {
        let elements = first.value;
        elements.write(ArrayMemory::fresh_cells(payload, elements.len())?)
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        ArrayMemory::from_object(object).map(|memory| Self { memory })
    }

    fn check_transfer(&self) -> Result<()> {
        if self.memory.lies_apart() {
            let elements = "the elements of an n-dimensional array";
            return Err(Error::new(ErrorKind::Unsupported, "pass on", elements)
                .with_detail("they lie apart from their lock; pass on the `NdArray` instead"));
        }
        Ok(())
    }

    fn object(&self) -> &Object {
        self.memory.object()
    }
}

mp_object::handle!([T: Plain] Array<T>);

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self {
            memory: self.memory.clone(),
        }
    }
}

impl<T: Plain> fmt::Debug for Array<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Array")
            .field("len", &self.len())
            .field("holder", &self.memory.control().mutex.holder())
            .field("frozen", &self.is_frozen())
            .finish_non_exhaustive()
    }
}
