//! What a process sets right about itself.
#![cfg(not(miri))]

use std::fs::File;
use std::io::{Read, Seek, Write, stdin};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::Duration;

use mp_os::cpu::time_of;
use mp_os::memfd::{self, Commit};
use mp_os::pidfd::Exit;
use mp_os::this_process;
use mp_testkit::{Forked, PATIENCE, stay};

#[test]
fn standard_input_is_replaced() {
    let child = Forked::new(|| {
        let mut file = File::from(memfd::create("input", 5, Commit::Now).expect("5 bytes"));
        file.write_all(b"hello").expect("room");
        file.rewind().expect("a file");
        this_process::replace_stdin(file.as_fd()).expect("descriptor 0");
        let mut text = String::new();
        stdin().read_to_string(&mut text).expect("text");
        text == "hello"
    });
    assert!(child.succeeds());
}

#[test]
fn unblocked_signals_come_in() {
    let child = Forked::arriving(|arrival| {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: initialises the set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: an initialised set.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
        this_process::set_blocked_signals(&[]).unwrap();
        arrival.arrive();
        stay()
    });
    child
        .process()
        .send_signal(libc::SIGTERM)
        .expect("it lives");
    assert_eq!(child.exit(), Exit::Signal(libc::SIGTERM));
}

#[test]
fn a_broken_pipe_is_an_error() {
    let child = Forked::new(|| {
        // SAFETY: as a process begins that no runtime has set up.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        this_process::ignore_broken_pipes();
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let error = writer.write_all(b"x").expect_err("nobody reads");
        error.kind() == std::io::ErrorKind::BrokenPipe
    });
    assert!(child.succeeds());
}

#[test]
fn a_name_is_shown_up_to_15_bytes_and_a_nul() {
    for (name, shown) in [
        ("worker", "worker"),
        ("a name that is long", "a name that is "),
        ("cut\0here", "cut"),
        ("", ""),
    ] {
        let child = Forked::new(|| {
            this_process::show_name(name).expect("allowed");
            let comm = std::fs::read_to_string("/proc/thread-self/comm").expect("/proc");
            comm == format!("{shown}\n")
        });
        assert!(child.succeeds(), "{name:?}");
    }
}

#[test]
fn what_was_given_is_called_at_an_exit() {
    extern "C" fn leave_with_7() {
        // SAFETY: ends the process.
        unsafe { libc::_exit(7) };
    }
    let child = Forked::new(|| {
        this_process::at_exit(leave_with_7).expect("memory");
        std::process::exit(3)
    });
    assert_eq!(child.exit(), Exit::Code(7));
}

#[test]
fn a_childs_end_is_told_with_its_core_dump() {
    for (signal, may_dump) in [(libc::SIGKILL, false), (libc::SIGABRT, true)] {
        let child = Forked::new(|| stay());
        child.process().send_signal(signal).expect("it lives");
        let deadline = mp_os::clock::Deadline::after(PATIENCE);
        let ended = child.process().reap(deadline).expect("a child");
        let ended = ended.expect("it ends in time");
        assert_eq!(ended.exit, Exit::Signal(signal));
        assert!(may_dump || !ended.dumped_core);
    }
}

#[test]
fn the_processor_time_of_a_process_grows_while_it_runs() {
    let pid = std::process::id();
    let before = time_of(pid).unwrap();
    while time_of(pid).unwrap() <= before + Duration::from_millis(1) {}
    // The kernel gives lower numbers only.
    for pid in [1 << 22, 1 << 29, u32::MAX / 4] {
        let error = time_of(pid).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH), "{error}");
    }
}
