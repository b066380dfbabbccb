//! Why a message was not put or not got.

use core::fmt;

use mp_layout::{Error, ErrorKind};

/// Why a message was not put; it comes back.
///
/// ```
/// use mp_queue::{PutError, Queue};
///
/// let queue = Queue::bounded(1)?;
/// queue.put("first".to_owned())?;
/// let error = queue.try_put("second".to_owned()).unwrap_err();
/// assert!(matches!(error, PutError::Full(_)));
/// assert_eq!(error.into_inner(), "second");
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[non_exhaustive]
pub enum PutError<T> {
    /// The queue is full, and the put timed out or was not to wait.
    Full(T),
    /// The queue was closed.
    Closed(T),
    /// The message is longer than any that this queue can hold.
    TooLarge {
        /// The message.
        value: T,
        /// Bytes it takes when written.
        len: usize,
        /// Bytes of the longest message.
        max: usize,
    },
    /// The message could not be written as bytes.
    Encode(T, Error),
    /// Anything else: memory is exhausted, the shared bytes are corrupt, a lock cannot be acquired,
    /// or a channel's handle was passed on. The error says which.
    Failed(T, Error),
}

impl<T> PutError<T> {
    /// The message that was not put.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value)
            | Self::Closed(value)
            | Self::TooLarge { value, .. }
            | Self::Encode(value, _)
            | Self::Failed(value, _) => value,
        }
    }

    /// The class of the error it converts into.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Full(_) => ErrorKind::Full,
            Self::Closed(_) => ErrorKind::Closed,
            Self::TooLarge { .. } => ErrorKind::InvalidInput,
            Self::Encode(_, error) | Self::Failed(_, error) => error.kind(),
        }
    }
}

impl PutError<()> {
    /// The same reason, with the value that comes back.
    pub(crate) fn with_value<T>(self, value: T) -> PutError<T> {
        match self {
            Self::Full(()) => PutError::Full(value),
            Self::Closed(()) => PutError::Closed(value),
            Self::TooLarge { len, max, .. } => PutError::TooLarge { value, len, max },
            Self::Encode((), error) => PutError::Encode(value, error),
            Self::Failed((), error) => PutError::Failed(value, error),
        }
    }
}

impl From<Error> for PutError<()> {
    fn from(error: Error) -> Self {
        Self::Failed((), error)
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => formatter.write_str("the queue is full"),
            Self::Closed(_) => formatter.write_str("the queue is closed"),
            Self::TooLarge { len, max, .. } => too_large(formatter, *len, *max),
            Self::Encode(_, error) | Self::Failed(_, error) => error.fmt(formatter),
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}({self})", self.kind())
    }
}

impl<T> core::error::Error for PutError<T> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Encode(_, error) | Self::Failed(_, error) => error.source(),
            _ => None,
        }
    }
}

impl<T> From<PutError<T>> for Error {
    fn from(error: PutError<T>) -> Self {
        let (kind, detail) = (error.kind(), error.to_string());
        match error {
            PutError::Encode(_, error) | PutError::Failed(_, error) => error,
            _ => Self::new(kind, "put to", "a queue").with_detail(detail),
        }
    }
}

/// Why a batch was not put as a whole.
#[derive(Debug)]
pub struct PutManyError {
    /// How many of the messages, from the first on, are in the queue.
    pub put: usize,
    /// Why the next one is not.
    pub error: PutError<()>,
}

impl fmt::Display for PutManyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} after {} messages", self.error, self.put)
    }
}

impl core::error::Error for PutManyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<PutManyError> for Error {
    fn from(error: PutManyError) -> Self {
        error.error.into()
    }
}

/// Why no message was got.
#[non_exhaustive]
pub enum GetError {
    /// There is none, and the get timed out or was not to wait.
    Empty,
    /// The queue was closed, and all its messages have been got.
    Closed,
    /// The next message's bytes are not a value of the queue's type. It was taken; the one after it
    /// can be got.
    Decode(Error),
    /// The next message does not fit into the buffer that it was to be received into. It stays.
    TooLong {
        /// Bytes of the message.
        len: usize,
        /// Bytes of the buffer.
        most: usize,
    },
    /// Anything else: the shared bytes are corrupt, a lock cannot be acquired, or a channel's
    /// handle was passed on. The error says which.
    Failed(Error),
}

impl GetError {
    /// The class of the error it converts into.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Empty => ErrorKind::Empty,
            Self::Closed => ErrorKind::Closed,
            Self::TooLong { .. } => ErrorKind::WrongSize,
            Self::Decode(error) | Self::Failed(error) => error.kind(),
        }
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("the queue is empty"),
            Self::Closed => formatter.write_str("the queue is closed and empty"),
            Self::TooLong { len, most } => write!(
                formatter,
                "the next message has {len} bytes, the buffer only {most}; the message stays for a longer buffer"
            ),
            Self::Decode(error) | Self::Failed(error) => error.fmt(formatter),
        }
    }
}

impl fmt::Debug for GetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}({self})", self.kind())
    }
}

impl core::error::Error for GetError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Decode(error) | Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}

impl From<GetError> for Error {
    fn from(error: GetError) -> Self {
        let (kind, detail) = (error.kind(), error.to_string());
        match error {
            GetError::Decode(error) | GetError::Failed(error) => error,
            _ => Self::new(kind, "get from", "a queue").with_detail(detail),
        }
    }
}

impl From<Error> for GetError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn too_large(formatter: &mut fmt::Formatter<'_>, len: usize, max: usize) -> fmt::Result {
    write!(
        formatter,
        "a message of {len} bytes where {max} are the most; send it in parts, or make the queue with more room"
    )
}
