//! What a new process has as a standard stream.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;

/// What a new process has as its standard input, output or error: that of its parent, nothing, or
/// a file, pipe or socket. Clones are the same descriptor.
///
/// # Examples
///
/// ```
/// use mp_os::stream::Stream;
///
/// let (_reader, writer) = std::io::pipe()?;
/// assert!(Stream::from(writer).descriptor().is_some());
/// assert!(Stream::null().descriptor().is_none());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stream(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    Inherited,
    Null,
    Descriptor(Arc<OwnedFd>),
}

impl Stream {
    /// That of the parent.
    #[must_use]
    pub const fn inherit() -> Self {
        Self(Kind::Inherited)
    }

    /// `/dev/null`: reads end, and what is written is lost.
    #[must_use]
    pub const fn null() -> Self {
        Self(Kind::Null)
    }

    /// Whether it is [`null`](Self::null).
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.0, Kind::Null)
    }

    /// The descriptor, if it is one of its own.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Kind::Descriptor(descriptor) => Some(descriptor.as_fd()),
            Kind::Inherited | Kind::Null => None,
        }
    }

    /// The same for std's `Command`.
    ///
    /// # Errors
    ///
    /// `EMFILE` without free descriptors.
    pub(crate) fn to_stdio(&self) -> io::Result<Stdio> {
        Ok(match &self.0 {
            Kind::Inherited => Stdio::inherit(),
            Kind::Null => Stdio::null(),
            Kind::Descriptor(descriptor) => Stdio::from(descriptor.try_clone()?),
        })
    }
}

impl From<OwnedFd> for Stream {
    fn from(descriptor: OwnedFd) -> Self {
        Self(Kind::Descriptor(Arc::new(descriptor)))
    }
}

impl From<File> for Stream {
    fn from(file: File) -> Self {
        OwnedFd::from(file).into()
    }
}

impl From<PipeReader> for Stream {
    fn from(pipe: PipeReader) -> Self {
        OwnedFd::from(pipe).into()
    }
}

impl From<PipeWriter> for Stream {
    fn from(pipe: PipeWriter) -> Self {
        OwnedFd::from(pipe).into()
    }
}
