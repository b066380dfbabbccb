//! Random bytes from the kernel.

use std::fs::File;
use std::io::{self, Read};

/// 16 bytes that nobody can guess and that no other object has.
///
/// # Errors
///
/// If `/dev/urandom` cannot be opened, for want of a descriptor for instance.
pub fn random_id() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(id)
}
