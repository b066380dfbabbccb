//! Random bytes from the kernel.

use std::fs::File;
use std::io::{self, Read};

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::commit::is_refused;

/// 16 bytes that no process can guess and that no other object has.
///
/// # Errors
///
/// What the kernel reports; only where it or a sandbox refuses `getrandom` (Linux 3.17) does it
/// take a descriptor, of `/dev/urandom`.
pub fn random_id() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    loop {
        // So few bytes come whole or not at all.
        match getrandom(&mut id[..], GetRandomFlags::empty()) {
            Ok(_) => return Ok(id),
            Err(Errno::INTR) => {}
            Err(error) if is_refused(error) => break,
            Err(error) => return Err(error.into()),
        }
    }
    File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(id)
}
