//! A forked child that is short of descriptors.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

/// Lets this process open `free` more descriptors and no further one, until it is called again; for
/// a forked child, whose copy of the descriptors of other tests may have gaps.
///
/// ```
/// use mp_testkit::{Forked, leave_descriptors};
/// use std::fs::File;
///
/// let child = Forked::new(|| {
///     leave_descriptors(2);
///     let files = [(); 3].map(|()| File::open("/dev/null"));
///     files.each_ref().map(Result::is_ok) == [true, true, false]
/// });
/// assert!(child.succeeds());
/// ```
///
/// # Panics
///
/// If the system refuses, or there is no `/proc`.
pub fn leave_descriptors(free: u64) {
    set_descriptor_limit(hard_limit());
    let open = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let highest = numbers.max().unwrap_or(0);
    loop {
        let filler = File::open("/dev/null").expect("below the limit");
        let number = filler.as_raw_fd();
        // Open until the process ends.
        core::mem::forget(filler);
        if number >= highest {
            return set_descriptor_limit(u64::from(number.unsigned_abs()) + 1 + free);
        }
    }
}

fn hard_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure lives during the call.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(got, 0, "a limit");
    limit.rlim_max
}

/// Sets how many descriptors this process may have open (`ulimit -n`); not more than the hard
/// limit.
///
/// # Panics
///
/// If the system refuses.
pub fn set_descriptor_limit(soft: u64) {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard_limit(),
    };
    // SAFETY: the structure lives during the call.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0, "{soft} of {}", limit.rlim_max);
}
