//! How many processors this process may use, and which one it is on.

use std::io;
use std::time::Duration;

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

/// The processor time that the threads of a process have used, also those that have ended.
///
/// # Errors
///
/// `ESRCH` or `EINVAL` if there is no such process.
pub fn time_of(pid: u32) -> io::Result<Duration> {
    // The number of its clock has room for 29 bits of it.
    if pid >> 29 != 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    let mut clock = 0;
    // SAFETY: takes a number, and writes one to a local variable.
    let code = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: takes a number, and writes two to a local variable.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Neither part is ever negative, and the second is below a second.
    let nanos = time.tv_nsec.unsigned_abs() as u32;
    Ok(Duration::new(time.tv_sec.unsigned_abs(), nanos))
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
