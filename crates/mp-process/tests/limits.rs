//! Starts that the limits of the system or of a sandbox refuse.
//!
//! The parents in these tests are processes themselves, so that they can be limited.

#[path = "shared/joined.rs"]
mod joined;

use std::io;

use joined::{LONG, joined};
use mp_layout::ErrorKind;
use mp_object::Event;
use mp_process::{Process, spawn};
use mp_testkit::{Watchdog, refuse};

#[test]
fn without_descriptors_a_start_is_an_error_and_can_be_repeated() {
    fn limit(resource: libc::__rlimit_resource_t, limit: u64) {
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: 1024,
        };
        // SAFETY: reads the limits that it is given.
        assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
    }
    fn check() -> (u32, u32) {
        let mut process = Process::new(|n: u32| n + 1, (1,));
        let (mut refused, mut last) = (0, 0);
        for room in 3..40 {
            limit(libc::RLIMIT_NOFILE, room);
            match process.start() {
                Ok(()) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TooManyDescriptors, "{error}");
                    assert!(error.to_string().contains("ulimit -n"), "{error}");
                    refused += 1;
                }
            }
        }
        limit(libc::RLIMIT_NOFILE, 1024);
        joined(&process);
        // The child has the same small limit, and may say so instead.
        match process.result() {
            Ok(value) => last = value,
            Err(error) => assert!(error.to_string().contains("descriptor"), "{error}"),
        }
        (refused, last)
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    let (refused, last) = process.result().unwrap();
    assert!(refused >= 3, "{refused} starts were refused");
    assert_eq!(last, 2);
}

#[test]
fn two_hundred_processes_at_once_fit_a_limit_of_1024_descriptors() {
    let _watchdog = Watchdog::new(LONG);
    fn check() -> usize {
        let limit = libc::rlimit {
            rlim_cur: 1024,
            rlim_max: 1024,
        };
        // SAFETY: reads the limits that it is given.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        assert_eq!(limited, 0, "{}", io::Error::last_os_error());
        let go = Event::new().unwrap();
        let task = |go: Event, n: u32| {
            go.wait();
            n
        };
        let start = |n| spawn(task, (go.clone(), n)).unwrap();
        let processes: Vec<_> = (0..200).map(start).collect();
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(processes.iter().all(Process::is_alive));
        go.set();
        for (n, process) in (0..).zip(&processes) {
            assert_eq!(process.result().unwrap(), n);
        }
        open
    }
    let open = spawn(check, ()).unwrap().result().unwrap();
    println!("{open} descriptors");
    // Two for each, and what a process has once. So the limit is far.
    assert!(open < 2 * 200 + 32, "{open}");
}

#[test]
fn at_the_limit_of_processes_a_start_is_an_error() {
    fn check() -> String {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: reads the limits that it is given.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) };
        assert_eq!(limited, 0, "{}", io::Error::last_os_error());
        // The limit holds for every user but the system's root, who becomes nobody. A namespace's
        // own root cannot, and is limited as any user.
        // SAFETY: takes a number, and changes this process only.
        unsafe { libc::setuid(65534) };
        spawn(|| (), ()).map(drop).unwrap_err().to_string()
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    let text = process.result().unwrap();
    assert!(text.contains("ulimit -u"), "{text}");
}

#[test]
fn recursion_ends_with_an_error() {
    fn dive(depth: u32) -> String {
        match spawn(dive, (depth + 1,)) {
            Ok(child) => child.result().unwrap_or_else(|error| error.to_string()),
            Err(error) => format!("{depth}: {error}"),
        }
    }
    let process = spawn(dive, (1,)).unwrap();
    joined(&process);
    let text = process.result().unwrap();
    assert!(
        text.starts_with("64: ") && text.contains("without end"),
        "{text}"
    );
}

#[test]
fn a_start_without_process_descriptors_names_the_call_and_the_way_out() {
    fn check(call: i64, error: i32, ran: Event) -> String {
        refuse(call, error, None);
        let refused = spawn(|ran: Event| ran.set(), (ran,)).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        refused.to_string()
    }
    for (call, name, error) in [
        (libc::SYS_pidfd_open, "pidfd_open", libc::ENOSYS),
        (libc::SYS_pidfd_open, "pidfd_open", libc::EPERM),
        (
            libc::SYS_pidfd_send_signal,
            "pidfd_send_signal",
            libc::ENOSYS,
        ),
        (libc::SYS_waitid, "waitid with P_PIDFD", libc::EINVAL),
    ] {
        let ran = Event::new().unwrap();
        let process = spawn(check, (call, error, ran.clone())).unwrap();
        joined(&process);
        let text = process.result().unwrap();
        for part in [
            &format!("{name} is not offered"),
            "Linux 5.4",
            "seccomp",
            "valgrind",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!ran.is_set(), "it was started all the same");
    }
}
