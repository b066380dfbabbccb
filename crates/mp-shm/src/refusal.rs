//! What the kernel's refusals are called in the one error type.

use std::io;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::commit::{CreateError, check_addresses};
use mp_os::named::{Name, NameError, OpenError};

/// Of a segment that could not be made or grown; the message has both figures and the way out.
pub(crate) fn memory(operation: &'static str, error: CreateError, object: &str) -> Error {
    let kind = match error {
        CreateError::Os(source) => return Error::os(operation, object, source),
        CreateError::DevShm(_) | CreateError::Refused { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::NotEnoughMemory,
    };
    Error::new(kind, operation, object).with_detail(error.to_string())
}

/// Of a segment of `len` bytes that could not be mapped.
pub(crate) fn map(source: io::Error, len: usize, object: &str) -> Error {
    match check_addresses(len as u64) {
        Err(full) if source.kind() == io::ErrorKind::OutOfMemory => memory("map", full, object),
        _ => Error::os("map", object, source),
    }
}

/// Of a name that could not be opened or unlinked.
pub(crate) fn open(operation: &'static str, error: OpenError, name: &str) -> Error {
    let kind = match error {
        OpenError::NotFound => ErrorKind::NotFound,
        OpenError::NoDevShm | OpenError::NoLeases => ErrorKind::Unsupported,
        OpenError::ForeignOwner { .. } => ErrorKind::PermissionDenied,
        OpenError::Os(source) => return Error::os(operation, format!("{name:?}"), source),
        _ => ErrorKind::Foreign,
    };
    Error::new(kind, operation, format!("{name:?}")).with_detail(error.to_string())
}

/// The name, if it can be one.
pub(crate) fn valid_name(operation: &'static str, name: &str) -> Result<Name> {
    Name::new(name).map_err(|error: NameError| {
        Error::new(ErrorKind::InvalidName, operation, format!("{name:?}"))
            .with_detail(error.to_string())
    })
}
