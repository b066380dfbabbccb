//! Why somebody got no lock, as the error of the workspace.

use core::convert::Infallible;

use mp_layout::Error;
use mp_sync::{LockError, RawLockError};

/// The error of an operation that returns no guard.
#[cold]
pub(crate) fn refusal(error: RawLockError) -> Error {
    LockError::<Infallible>::from(error).into()
}
