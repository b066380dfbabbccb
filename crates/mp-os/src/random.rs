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
/// Those of [`bytes`].
pub fn random_id() -> io::Result<[u8; 16]> {
    bytes()
}

/// Bytes that no process can guess, 256 at most.
///
/// # Errors
///
/// What the kernel reports; only where it or a sandbox refuses `getrandom` (Linux 3.17) does it
/// take a descriptor, of `/dev/urandom`.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    const { assert!(N <= 256, "so many come whole or not at all") };
    let mut bytes = [0; N];
    loop {
        match getrandom(&mut bytes[..], GetRandomFlags::empty()) {
            Ok(_) => return Ok(bytes),
            Err(Errno::INTR) => {}
            Err(error) if is_refused(error) => break,
            Err(error) => return Err(error.into()),
        }
    }
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
