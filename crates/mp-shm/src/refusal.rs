//! What the kernel's refusals are called in the one error type.

use mp_layout::{Error, ErrorKind, Result};
use mp_os::commit::CreateError;
use mp_os::named::{Name, NameError, OpenError};

/// Of a segment that could not be made or grown; the message has both figures and the way out.
pub(crate) fn create(error: CreateError, object: &str) -> Error {
    match error {
        CreateError::Os(source) => Error::os("create", object, source),
        full => {
            Error::new(ErrorKind::NotEnoughMemory, "create", object).with_detail(full.to_string())
        }
    }
}

/// Of a name that could not be opened or unlinked.
pub(crate) fn open(operation: &'static str, error: OpenError, name: &str) -> Error {
    let kind = match error {
        OpenError::NotFound => ErrorKind::NotFound,
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
