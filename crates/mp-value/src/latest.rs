//! The newest value of one writer.

use core::fmt;
use core::mem::ManuallyDrop;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::{Kind, Plain, Region, Result, TypeTag};
use mp_object::owner::{self, this_process};
use mp_object::{Object, ObjectType, Plan, ProcessIdentity};

use crate::first::First;

/// The newest value of one writer, who never waits, for any number of readers: a position, a
/// picture, a state that is looked at more or less often than it changes.
///
/// The handle is passed to other processes as an argument or opened by name; clones are the same
/// value. Any handle reads; to write, one process [claims](Self::claim_writer) the
/// [`LatestWriter`]. Where many write, take a [`Value`](crate::Value).
///
/// ```
/// use mp_value::Latest;
///
/// let position = Latest::new([0.0, 0.0])?;
/// let mut writer = position.claim_writer()?;
/// writer.write([1.0, 2.0]); // whatever the readers do
/// writer.write([1.5, 2.5]);
/// let reader = position.clone(); // in another process
/// assert_eq!(reader.read()?, [1.5, 2.5]);
/// assert_eq!(reader.version(), 2);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # If a process dies
///
/// The value is the old one or the new one, whole, whatever its size. Readers notice nothing; after
/// the death of the writer the next process may claim to be it.
pub struct Latest<T> {
    /// Never leaves this structure or the writer's, which both keep `object`.
    view: mp_ring::Latest<'static, T>,
    object: Object,
}

impl<T: Plain> Latest<T> {
    /// Makes one with its first value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotEnoughMemory`] with what is free and what was asked for,
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Unsupported`] if the kernel or a sandbox has
    /// no memory files.
    pub fn new(value: T) -> Result<Self> {
        Self::create(First::of::<T>(value))
    }

    /// Makes one under `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`], and those of [`Latest::new`], of
    /// the memory of `/dev/shm`.
    pub fn create_named(name: &str, value: T) -> Result<Self> {
        ObjectType::create_named(name, First::of::<T>(value))
    }

    /// Opens the one named `name`, or makes it.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) but `NotFound`, and those of [`Latest::new`].
    pub fn open_or_create(name: &str, value: T) -> Result<Self> {
        ObjectType::open_or_create(name, First::of::<T>(value))
    }

    /// A copy of the newest value. It takes no lock and never sees half of a value; it copies again
    /// only if three values were written meanwhile. A writer that never pauses can keep it at that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if the bytes are not a `T`: a foreign program wrote them.
    #[inline]
    pub fn read(&self) -> Result<T> {
        self.view.read()
    }

    /// A copy of the newest value, and its [`version`](Self::version).
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[inline]
    pub fn read_versioned(&self) -> Result<(T, u64)> {
        self.view.read_versioned()
    }

    /// How many values were written after the first. It changes with each, so a reader that knows
    /// the version of what it has read knows whether there is something newer.
    #[inline]
    pub fn version(&self) -> u64 {
        self.view.version()
    }

    /// Becomes the writer, until the result is dropped or this process ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Claimed`] if there is one that is alive, also in this process, or before the
    /// `exec` that started its program; [`ErrorKind::Corrupt`] if the writer's word is no process;
    /// what the system reports if it cannot tell whether that process is alive.
    pub fn claim_writer(&self) -> Result<LatestWriter<T>> {
        let me = this_process()?;
        if let Some(word) = self.view.writer()
            && owner::is_dead(owner::process(word)?)?
        {
            // SAFETY: exactly the owner that was just proven dead.
            let _freed = unsafe { self.view.sweep(|owner| owner == word) };
        }
        Ok(LatestWriter {
            writer: ManuallyDrop::new(self.view.claim_writer(me.into())?),
            latest: self.clone(),
            owner: me,
        })
    }
}

impl<T: Plain> ObjectType for Latest<T> {
    type Settings<'s> = First<T>;

    fn plan(first: &First<T>) -> Result<Plan> {
        let size = mp_ring::Latest::<T>::size_for()?;
        Ok(Plan::new(Kind::Latest, first.tag, size).page_aligned())
    }

    fn any() -> Plan {
        // More than memory can have is what no object is.
        let size = mp_ring::Latest::<T>::size_for().unwrap_or(usize::MAX);
        Plan::new(Kind::Latest, TypeTag::of::<T>(), size).page_aligned()
    }

    unsafe fn initialise(payload: Region<'_>, first: First<T>) -> Result<()> {
        // SAFETY: no other process reaches the payload yet, and all that will find a header that
        // says this kind and type.
        unsafe { mp_ring::Latest::create(payload, first.value) }?;
        Ok(())
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        // SAFETY: reached as what the header says.
        let payload = unsafe { object.payload() };
        let start = payload.pointer_to::<u8>(0, payload.len())?;
        // SAFETY: mapped as long as `object`, which this structure and the writer's keep beside
        // what is made of the region.
        let region = unsafe { Region::<'static>::new(start, payload.len()) };
        // SAFETY: the header was checked: the payload is a latest value of this `T`.
        let view = unsafe { mp_ring::Latest::attach(region) }?;
        Ok(Self { view, object })
    }

    fn object(&self) -> &Object {
        &self.object
    }
}

mp_object::handle!([T: Plain] Latest<T>);

impl<T: Plain> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self {
            view: self.view,
            object: self.object.clone(),
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Latest<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Latest")
            .field("value", &self.read())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// The right of this process to write a [`Latest`] value; dropped, it is free again.
///
/// It may move to another thread, and outlive the handles of its value. If it is leaked, the right
/// is this process's until the process ends. In a forked child the parent's writer gives nothing
/// back, and must not write: readers could see a mixture of what both write.
///
/// ```
/// use mp_value::Latest;
///
/// let level = Latest::new(0_u32)?;
/// let writer = level.claim_writer()?;
/// assert!(level.claim_writer().is_err(), "there is one");
/// drop(writer);
/// level.claim_writer()?.write(7);
/// assert_eq!(level.read()?, 7);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[must_use = "the right to write is given back when it is dropped"]
pub struct LatestWriter<T: Plain> {
    writer: ManuallyDrop<mp_ring::LatestWriter<'static, T>>,
    /// Keeps mapped what `writer` writes.
    latest: Latest<T>,
    owner: ProcessIdentity,
}

impl<T: Plain> LatestWriter<T> {
    /// Replaces the value. It never waits.
    #[inline]
    pub fn write(&mut self, value: T) {
        self.writer.write(value);
    }

    /// What it writes to.
    pub fn latest(&self) -> &Latest<T> {
        &self.latest
    }
}

impl<T: Plain> Drop for LatestWriter<T> {
    fn drop(&mut self) {
        // A forked child is another process: the right is its parent's.
        if this_process().is_ok_and(|process| process == self.owner) {
            // SAFETY: here only, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.writer) };
        }
    }
}

impl<T: Plain> fmt::Debug for LatestWriter<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LatestWriter")
            .field("version", &self.latest.version())
            .finish_non_exhaustive()
    }
}
