//! Where this process runs, read once.

use std::sync::OnceLock;

use mp_layout::{Environment, Error, Libc, Result};
use mp_os::process_id::{boot_id, pid_namespace};

/// The machine's start, the PID namespace and the C library of this process.
pub(crate) fn environment() -> Result<Environment> {
    static HERE: OnceLock<Environment> = OnceLock::new();
    if let Some(here) = HERE.get() {
        return Ok(*here);
    }
    let read = |what, source| Error::os("read", what, source);
    let here = Environment {
        boot_id: boot_id().map_err(|source| read("the boot id", source))?,
        pid_namespace: pid_namespace().map_err(|source| read("the PID namespace", source))?,
        libc: if cfg!(target_env = "musl") {
            Libc::Musl
        } else {
            Libc::Glibc
        },
    };
    Ok(*HERE.get_or_init(|| here))
}
