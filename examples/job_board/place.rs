//! Where the board is, and the key that all programs must have.

use mp::net::Address;
use mp::{Error, ErrorKind, Result};

/// The address is the first argument: the path of a UNIX socket, or a host and a port. The key is
/// in the environment, where other users do not see it.
pub(crate) fn of_arguments() -> Result<(Address, String)> {
    let wrong = |what: &str| {
        Error::new(ErrorKind::InvalidInput, "find", "the board").with_detail(what.to_owned())
    };
    let place = std::env::args()
        .nth(1)
        .ok_or_else(|| wrong("give its address, such as /tmp/jobs or 127.0.0.1:5000"))?;
    let key = std::env::var("JOB_KEY").map_err(|_| wrong("put its key into JOB_KEY"))?;
    let address = match place.contains('/') {
        true => Address::from(place),
        false => Address::resolve(place)?,
    };
    Ok((address, key))
}
