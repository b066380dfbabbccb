//! The one error of the workspace.

use core::fmt::{self, Display};
use std::borrow::Cow;
use std::io;

/// What the fallible operations of every crate return.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What went wrong, what was attempted, and on which object.
///
/// Small errors that give a value back (`Full`, `Empty`) convert into it with `From`. It crosses
/// processes with the feature `serde`; the operating system's error then travels as its number.
///
/// ```
/// use mp_layout::{Error, ErrorKind};
///
/// let error = Error::mismatch(ErrorKind::WrongKind, "open", "\"jobs\"", "a lock", "a queue");
/// assert_eq!(error.kind(), ErrorKind::WrongKind);
/// assert_eq!(error.to_string(), "open \"jobs\": found a lock, expected a queue");
/// ```
pub struct Error(Box<Parts>);

struct Parts {
    kind: ErrorKind,
    operation: Cow<'static, str>,
    object: String,
    detail: String,
    source: Option<io::Error>,
}

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// The class of an [`Error`], to match on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ErrorKind {
            $($(#[$doc])* $name = $number,)*
        }

        impl ErrorKind {
            #[cfg(feature = "serde")]
            const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

error_kinds! {
    /// The operating system refused, for a reason no other kind names; see the source.
    Os = 1, "the operating system refused";
    /// There is no object of that name.
    NotFound = 2, "no such object";
    /// An object of that name exists.
    AlreadyExists = 3, "the object exists already";
    /// The object belongs to another user, or the system forbids the access.
    PermissionDenied = 4, "permission denied";
    /// The name is empty, too long, or has a NUL or an inner `/`.
    InvalidName = 5, "invalid name";
    /// An argument is out of its range.
    InvalidInput = 6, "invalid argument";
    /// Less memory is free than was asked for.
    NotEnoughMemory = 7, "not enough memory";
    /// The process or the system has no file descriptor left.
    TooManyDescriptors = 8, "no file descriptor left";
    /// The bytes are not a segment of this toolkit.
    Foreign = 9, "not a segment of this toolkit";
    /// The segment is shorter than it says or than anything could be, or a peer ended in the
    /// middle of a message.
    Truncated = 10, "the segment is truncated";
    /// The segment's creator has not finished it, or died before it had.
    NotReady = 11, "the segment is half initialised";
    /// The segment was made by a version with another layout.
    WrongVersion = 12, "wrong layout version";
    /// The segment holds another kind of object.
    WrongKind = 13, "wrong kind of object";
    /// The segment holds elements of another type.
    WrongType = 14, "wrong element type";
    /// The segment holds another number of elements or bytes.
    WrongSize = 15, "wrong size";
    /// Shared bytes contradict themselves.
    Corrupt = 16, "the shared bytes are corrupt";
    /// The segment survived from before the machine's last start, where its locks mean nothing.
    WrongBoot = 17, "made before this machine was started";
    /// The segment was made in another PID namespace, where its owners' numbers mean other
    /// processes, or in another time namespace, where their start times are others.
    WrongNamespace = 18, "made in another PID or time namespace";
    /// The segment was made by a program with another C library, whose locks have another layout.
    WrongLibc = 19, "made with another C library";
    /// The wait timed out.
    TimedOut = 20, "timed out";
    /// The owner died while it held the lock.
    OwnerDied = 21, "the owner died while it held the lock";
    /// The process died before it gave what was waited for.
    ProcessDied = 22, "the process died";
    /// The task panicked.
    Panicked = 23, "the task panicked";
    /// A value could not be written as a message.
    Encode = 24, "the value cannot be written as a message";
    /// The bytes of a message are not a value of its type.
    Decode = 25, "the message does not decode";
    /// The other side is closed.
    Closed = 26, "closed";
    /// This kernel, platform or build cannot do it.
    Unsupported = 27, "not supported here";
    /// The thread holds this lock already.
    Recursive = 28, "this thread holds the lock already";
    /// The thread holds as many locks as the kernel would clean up after it.
    TooManyHeld = 29, "this thread holds too many locks";
    /// The object is not in a state that allows this.
    InvalidState = 30, "not possible in this state";
    /// A queue or ring has no room.
    Full = 31, "full";
    /// A queue or ring has no message.
    Empty = 32, "empty";
    /// Another process has claimed it, or a leaked guard of it is in use.
    Claimed = 33, "claimed by another process";
    /// A barrier is broken: a party gave up, died or aborted it.
    Broken = 34, "broken";
}

impl Error {
    /// An error of `kind` when attempting `operation` on `object`.
    ///
    /// The object is a name or a noun phrase, such as `"jobs"` in quotes or `element 7`. Words that
    /// lead to it belong to the operation, so that the two read as a sentence: `put to` and `a
    /// queue`, not `put` and `to a queue`.
    pub fn new(
        kind: ErrorKind,
        operation: impl Into<Cow<'static, str>>,
        object: impl Into<String>,
    ) -> Self {
        Self(Box::new(Parts {
            kind,
            operation: operation.into(),
            object: object.into(),
            detail: String::new(),
            source: None,
        }))
    }

    /// An error that names what was found and what was expected.
    pub fn mismatch(
        kind: ErrorKind,
        operation: impl Into<Cow<'static, str>>,
        object: impl Into<String>,
        found: impl Display,
        expected: impl Display,
    ) -> Self {
        Self::new(kind, operation, object)
            .with_detail(format!("found {found}, expected {expected}"))
    }

    /// An error of the operating system, whose number decides the kind and, for want of a
    /// descriptor, names the limit.
    pub fn os(
        operation: impl Into<Cow<'static, str>>,
        object: impl Into<String>,
        source: io::Error,
    ) -> Self {
        let way_out = match source.raw_os_error() {
            Some(EMFILE) => "this process has no descriptor left; raise ulimit -n, or close some",
            Some(ENFILE) => "the system has no descriptor left; raise fs.file-max",
            _ => "",
        };
        let mut error = Self::new(kind_of(&source), operation, object).with_detail(way_out);
        error.0.source = Some(source);
        error
    }

    /// The same error with `detail` in place of the kind's general words.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was attempted, such as `open` or `put to`.
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// What it was attempted on: a name or a noun phrase; empty if it is not known.
    pub fn object(&self) -> &str {
        &self.0.object
    }
}

impl Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            kind,
            operation,
            object,
            detail,
            source,
        } = &*self.0;
        formatter.write_str(operation)?;
        if !object.is_empty() {
            write!(formatter, " {object}")?;
        }
        let text = if detail.is_empty() {
            kind.text()
        } else {
            detail
        };
        match source {
            Some(source) if detail.is_empty() => write!(formatter, ": {source}"),
            Some(source) => write!(formatter, ": {text}: {source}"),
            None => write!(formatter, ": {text}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}({self})", self.0.kind)
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

impl From<io::Error> for Error {
    /// An operating system's error met by a task's own code.
    fn from(source: io::Error) -> Self {
        Self::os("input or output", "", source)
    }
}

const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

fn kind_of(source: &io::Error) -> ErrorKind {
    match (source.raw_os_error(), source.kind()) {
        (Some(EMFILE | ENFILE), _) => ErrorKind::TooManyDescriptors,
        (_, io::ErrorKind::NotFound) => ErrorKind::NotFound,
        (_, io::ErrorKind::AlreadyExists) => ErrorKind::AlreadyExists,
        (_, io::ErrorKind::PermissionDenied) => ErrorKind::PermissionDenied,
        (_, io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull) => ErrorKind::NotEnoughMemory,
        (_, io::ErrorKind::TimedOut) => ErrorKind::TimedOut,
        _ => ErrorKind::Os,
    }
}

#[cfg(feature = "serde")]
mod wire {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Error, ErrorKind, io};

    /// Kind, operation, object, detail, and the system's error by number or, for one without, by
    /// its text.
    type Wire = (u16, String, String, String, Option<i32>, Option<String>);

    impl Serialize for Error {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let parts = &*self.0;
            let number = parts.source.as_ref().and_then(io::Error::raw_os_error);
            let text = parts
                .source
                .as_ref()
                .filter(|_| number.is_none())
                .map(io::Error::to_string);
            (
                parts.kind as u16,
                &parts.operation,
                &parts.object,
                &parts.detail,
                number,
                text,
            )
                .serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Error {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let (kind, operation, object, detail, number, text) = Wire::deserialize(deserializer)?;
            let kind = ErrorKind::from_number(kind).unwrap_or(ErrorKind::Os);
            let mut error = Self::new(kind, operation, object).with_detail(detail);
            error.0.source = number
                .map(io::Error::from_raw_os_error)
                .or_else(|| text.map(io::Error::other));
            Ok(error)
        }
    }
}
