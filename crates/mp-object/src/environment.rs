//! Where this process runs.

use std::sync::OnceLock;

use mp_layout::{Environment, Error, Libc, Result};
use mp_os::clock::time_namespace;
use mp_os::process_id::{boot_id, pid_namespace};

/// The machine's start, the namespaces and the C library of this process.
pub(crate) fn environment() -> Result<Environment> {
    Ok(Environment {
        boot_id: this_boot()?,
        pid_namespace: pid_namespace()
            .map_err(|source| Error::os("read", "the PID namespace", source))?,
        time_namespace: time_namespace()
            .map_err(|source| Error::os("read", "the time namespace", source))?,
        libc: if cfg!(target_env = "musl") {
            Libc::Musl
        } else {
            Libc::Glibc
        },
    })
}

/// Read once. The namespaces are not: a forked child may live in others than the process that read it.
fn this_boot() -> Result<[u8; 16]> {
    static BOOT: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(*boot);
    }
    let boot = boot_id().map_err(|source| Error::os("read", "the boot id", source))?;
    Ok(*BOOT.get_or_init(|| boot))
}
