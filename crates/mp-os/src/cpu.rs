//! How many processors this process may use, and which one it is on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

use crate::limits;

/// The number of processors that this process may use in parallel: the lesser of its affinity and
/// of every CPU quota up its cgroups (rounded up), at least 1.
///
/// # Examples
///
/// ```no_run
/// assert!(mp_os::cpu::cpu_count() >= 1);
/// ```
#[must_use]
pub fn cpu_count() -> usize {
    let allowed = match sched_getaffinity(None) {
        Ok(set) => set.count() as usize,
        Err(_) => usize::MAX,
    };
    // More than 1024 processors do not fit the set; then the C library's count stands.
    let allowed = if allowed == usize::MAX {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    } else {
        allowed
    };
    allowed
        .min(limits::cpu_quota().unwrap_or(usize::MAX))
        .max(1)
}

/// The processor the calling thread is on; a hint, it may have moved already.
///
/// Costs a few nanoseconds: libc reads it from a page the kernel shares with it.
#[must_use]
pub fn current_cpu() -> usize {
    sched_getcpu()
}

/// The processors that fit a set: those with a lower number.
pub const MAX_CPUS: usize = CpuSet::MAX_CPU;

/// Keeps the calling thread on one processor.
///
/// # Errors
///
/// `EINVAL` if this process may not use it or there is none such.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    allow(&[cpu])
}

/// Keeps the calling thread, and the threads that it starts, on these processors. The kernel leaves
/// out those of them that this process may not use.
///
/// # Errors
///
/// `EINVAL` if this process may use none of them, or if one is not below [`MAX_CPUS`].
pub fn allow(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= MAX_CPUS {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// The numbers of the processors that the calling thread may use.
///
/// # Errors
///
/// `EINVAL` on a machine that has more than [`MAX_CPUS`].
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..MAX_CPUS).filter(|cpu| set.is_set(*cpu)).collect())
}
