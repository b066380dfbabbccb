//! An array that no process writes any more.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, PlainSlice};
use mp_object::Object;
use mp_os::memfd;
use mp_shm::Segment;

use super::{MEMORY, NdArray};
use crate::FrozenNdArray;
use crate::npy_header::NpyHeader;

impl<T: PlainSlice> NdArray<T> {
    /// Makes the array read-only for ever, for every program: the kernel sees to it. `self` has to
    /// be the last handle.
    ///
    /// ```
    /// use mp_value::NdArray;
    ///
    /// let table = NdArray::from_slice(&[2, 2], &[1_u32, 2, 3, 4])?;
    /// let second = table.clone();
    /// let table = table.freeze().unwrap_err().into_array().expect("it is mapped again");
    /// drop(second);
    /// let frozen = table.freeze()?;
    /// assert_eq!((frozen.shape(), frozen.iter().sum::<u32>()), (&[2, 2][..], 10));
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// All give the array back.
    ///
    /// - [`ErrorKind::Claimed`] if there is another handle, chunk or mapping that could write, in
    ///   this or any process.
    /// - [`ErrorKind::Unsupported`] if it has a name or a path: the kernel seals files in memory
    ///   only.
    /// - Those of [`Array::try_lock`](crate::Array::try_lock).
    pub fn freeze(self) -> Result<FrozenNdArray<T>, NotFrozen<T>> {
        let before = match &self.path {
            Some(path) => {
                let error = Error::new(ErrorKind::Unsupported, "freeze", format!("{path:?}"));
                Err(error.with_detail(
                    "the kernel seals files in memory only; copy it to one without a name",
                ))
            }
            None => self.flat.try_lock().map(drop).map_err(Error::from),
        };
        let descriptor = before.and_then(|()| {
            let descriptor = self.as_fd().try_clone_to_owned();
            descriptor.map_err(|source| Error::os("freeze", MEMORY, source))
        });
        let descriptor = match descriptor {
            Ok(descriptor) => descriptor,
            Err(error) => return Err(NotFrozen::new(Some(self), error)),
        };
        let (control, header) = (self.flat.object().clone(), Arc::clone(&self.header));
        // Its own mapping could write, too.
        drop(self);
        Self::sealed(control, descriptor, &header)
    }

    /// Freezes the unmapped array, or maps it again.
    ///
    /// Another process that freezes it meanwhile refuses both for a moment: the kernel lets nothing
    /// map the file from before it looks for mappings until after it has sealed it. The next
    /// attempt to seal waits for that process.
    fn sealed(
        control: Object,
        mut descriptor: OwnedFd,
        header: &NpyHeader,
    ) -> Result<FrozenNdArray<T>, NotFrozen<T>> {
        let mut attempts = 1;
        loop {
            let refusal = match memfd::seal_writes(&descriptor) {
                Ok(true) => {
                    return FrozenNdArray::map(descriptor, MEMORY)
                        .map_err(|error| NotFrozen::new(None, error));
                }
                Ok(false) => Error::new(ErrorKind::Claimed, "freeze", MEMORY).with_detail(
                    "another handle, chunk or mapping of it could still write; drop them, and end the processes that have one",
                ),
                Err(source) => Error::os("freeze", MEMORY, source),
            };
            let second = descriptor.try_clone();
            let array = Self::again(control.clone(), descriptor, header);
            match second {
                Ok(second) if array.is_none() && attempts < ATTEMPTS => descriptor = second,
                _ => return Err(NotFrozen::new(array, refusal)),
            }
            attempts += 1;
        }
    }

    /// The array that was unmapped to be frozen; `None` if it cannot be mapped any more.
    fn again(control: Object, descriptor: OwnedFd, header: &NpyHeader) -> Option<Self> {
        let data = Segment::from_descriptor(descriptor).ok()?;
        Self::of_parts(control, data, header.clone(), None).ok()
    }
}

/// Why an array was not frozen, and the array.
#[derive(Debug)]
pub struct NotFrozen<T> {
    array: Option<NdArray<T>>,
    error: Error,
}

impl<T> NotFrozen<T> {
    fn new(array: Option<NdArray<T>>, error: Error) -> Self {
        Self { array, error }
    }

    /// The array; `None` if it could not be mapped again, or was frozen and could not be mapped to
    /// be read.
    pub fn into_array(self) -> Option<NdArray<T>> {
        self.array
    }

    /// The reason.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

impl<T> From<NotFrozen<T>> for Error {
    fn from(refused: NotFrozen<T>) -> Self {
        refused.error
    }
}

/// How often an array is sealed or mapped again while others freeze it: each attempt but the last
/// takes another process that begins just then.
const ATTEMPTS: u32 = 16;
