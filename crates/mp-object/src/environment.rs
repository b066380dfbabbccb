//! Where this process runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

/// Read once. The namespaces are not: a forked child may live in others than the process that read
/// it.
///
/// Plain words instead of a `OnceLock`: another thread of a process that forks may be inside, and
/// its child must not find a lock that no thread releases. All threads store the same.
fn this_boot() -> Result<[u8; 16]> {
    static HALVES: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    static ARE_KNOWN: AtomicBool = AtomicBool::new(false);
    // Acquire pairs with the Release below: both halves are there.
    if ARE_KNOWN.load(Ordering::Acquire) {
        let [high, low] = HALVES.each_ref().map(|half| half.load(Ordering::Relaxed));
        return Ok((u128::from(high) << 64 | u128::from(low)).to_be_bytes());
    }
    let boot = boot_id().map_err(|source| Error::os("read", "the boot id", source))?;
    let number = u128::from_be_bytes(boot);
    HALVES[0].store((number >> 64) as u64, Ordering::Relaxed);
    HALVES[1].store(number as u64, Ordering::Relaxed);
    ARE_KNOWN.store(true, Ordering::Release);
    Ok(boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_is_the_same_when_it_is_known() {
        let first = this_boot().expect("/proc");
        assert_eq!(
            (this_boot().expect("known"), boot_id().ok()),
            (first, Some(first))
        );
    }
}
