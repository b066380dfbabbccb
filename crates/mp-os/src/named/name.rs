//! Names that a file in `/dev/shm` can have.

use std::fmt;

/// The name of shared memory, as `shm_open` takes it: without or with one leading slash.
///
/// # Examples
///
/// ```
/// use mp_os::named::{Name, NameError};
///
/// assert_eq!(Name::new("/frames")?, Name::new("frames")?);
/// assert_eq!(Name::new("a/b"), Err(NameError::Slash));
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    path: String,
}

/// Why a text cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It is empty, or a slash only.
    Empty,
    /// It is longer than [`Name::MAX_LEN`]: this long.
    TooLong(usize),
    /// It contains a NUL byte.
    Nul,
    /// It contains a slash that is not the first letter.
    Slash,
    /// It is `.` or `..`.
    Dots,
}

const DIRECTORY: &str = "/dev/shm/";

impl Name {
    /// The longest name in bytes, a leading slash not counted.
    pub const MAX_LEN: usize = 255;

    /// Checks a name. One leading slash is dropped.
    ///
    /// # Errors
    ///
    /// [`NameError`] if no file can have that name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let name = name.strip_prefix('/').unwrap_or(name);
        match name {
            "" => return Err(NameError::Empty),
            "." | ".." => return Err(NameError::Dots),
            _ => {}
        }
        if name.contains('\0') {
            return Err(NameError::Nul);
        }
        if name.contains('/') {
            return Err(NameError::Slash);
        }
        if name.len() > Self::MAX_LEN {
            return Err(NameError::TooLong(name.len()));
        }
        Ok(Self {
            path: format!("{DIRECTORY}{name}"),
        })
    }

    /// The name without a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path[DIRECTORY.len()..]
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::TooLong(len) => {
                write!(
                    f,
                    "the name has {len} bytes, at most {} are allowed",
                    Name::MAX_LEN
                )
            }
            Self::Nul => f.write_str("the name contains a NUL byte"),
            Self::Slash => f.write_str("the name contains a slash after its first letter"),
            Self::Dots => f.write_str("the name is a directory: . or .."),
        }
    }
}

impl std::error::Error for NameError {}
