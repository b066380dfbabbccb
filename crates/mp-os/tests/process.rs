//! Who a process is, whether it lives, how it ended, and this program started again.
#![cfg(not(miri))]

#[path = "shared/step.rs"]
mod step;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mp_os::clock::Deadline;
use mp_os::pidfd::{Exit, PidFd};
use mp_os::process_id::{ProcessIdentity, boot_id, pid_namespace};
use mp_os::program_id::ProgramIdentity;
use mp_os::{cpu, socket, spawn};
use mp_testkit::{Forked, stay};
use step::{Shared, Step, patience};

#[test]
fn identity_is_the_childs_own() {
    let me = ProcessIdentity::current().expect("/proc");
    assert_eq!(ProcessIdentity::of(me.pid()).expect("/proc"), Some(me));
    let child = Forked::new(|| {
        let child = is_own(me);
        let me = ProcessIdentity::current().expect("/proc");
        child && Forked::by_clone(|| is_own(me)).exit() == Exit::Code(0)
    });
    assert!(child.succeeds());
    assert_eq!(ProcessIdentity::current().expect("/proc"), me);
}

/// Whether a child names itself, and knows that its parent lives.
fn is_own(parent: ProcessIdentity) -> bool {
    let child = ProcessIdentity::current().expect("/proc");
    // SAFETY: takes nothing.
    let pid = unsafe { libc::getpid() }.unsigned_abs();
    child != parent && child.pid() == pid && !parent.is_dead().expect("/proc")
}

#[test]
fn death_is_proved_before_and_after_reaping() {
    let child = Forked::new(|| stay());
    let identity = ProcessIdentity::of(child.pid())
        .expect("/proc")
        .expect("alive");
    assert!(!identity.is_dead().expect("/proc"));
    child.kill();
    assert!(child.process().wait_end(patience()).expect("poll"));
    assert!(identity.is_dead().expect("/proc"), "as a zombie");
    child.exit();
    assert!(identity.is_dead().expect("/proc"), "after reaping");
}

/// A program ends by `exec` and by its process's death, reaped or not.
#[test]
fn a_program_is_over_when_it_is_replaced_or_dead() {
    let me = ProgramIdentity::current().expect("/proc");
    // SAFETY: an atomic number.
    let word: Shared<AtomicU64> = unsafe { Shared::zeroed() };
    let identity = || {
        let word = NonZeroU64::new(word.load(Ordering::Acquire)).expect("the child's");
        ProgramIdentity::from_word(word).expect("a program")
    };
    let (mut go, gone) = std::io::pipe().expect("a pipe");
    let child = Forked::arriving(|arrival| {
        let child = ProgramIdentity::current().expect("/proc");
        word.store(NonZeroU64::from(child).get(), Ordering::Release);
        assert!(child != me && !me.is_over().expect("/proc"));
        arrival.arrive();
        go.read_exact(&mut [0]).expect("the parent says so");
        let error = Command::new("sleep").arg("100").exec();
        panic!("{error}");
    });
    assert_eq!(identity().pid(), child.pid());
    assert!(!identity().is_over().expect("/proc"));
    (&gone).write_all(b"g").expect("the child reads");
    let deadline = patience();
    while !identity().is_over().expect("/proc") {
        assert!(!deadline.is_expired(), "another program runs");
        std::thread::yield_now();
    }
    assert!(!child.process().is_exited().expect("poll"));
    child.kill();
    child.await_end();
    assert!(identity().is_over().expect("/proc"), "as a zombie");
    child.exit();
    assert!(identity().is_over().expect("/proc"), "after reaping");
    assert!(!me.is_over().expect("/proc"));
}

#[test]
fn another_start_time_is_another_process() {
    let me = ProcessIdentity::current().expect("/proc");
    let earlier = ProcessIdentity::from_word(me.word() - (1 << 22)).expect("not 0");
    assert_eq!(earlier.pid(), me.pid());
    assert!(earlier.is_dead().expect("/proc"));
}

#[test]
fn number_of_a_thread_is_no_process() {
    let step = Step::shared();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            step.reach(mp_os::robust::tid());
            step.await_step(u32::MAX);
        });
        while step.now() == 0 {
            std::thread::yield_now();
        }
        let identity = ProcessIdentity::of(step.now())
            .expect("/proc")
            .expect("alive");
        assert!(identity.is_dead().expect("/proc"));
        step.reach(u32::MAX);
        thread.join().expect("it only waits");
    });
}

#[test]
fn lives_on_without_its_first_thread() {
    let step = Step::shared();
    let child = Forked::new(|| {
        std::thread::spawn(move || {
            step.reach(1);
            stay();
        });
        // SAFETY: ends the first thread only.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        false
    });
    step.await_step(1);
    let stat = format!("/proc/{}/stat", child.pid());
    let deadline = patience();
    while !std::fs::read_to_string(&stat)
        .expect("alive")
        .contains(") Z ")
    {
        assert!(!deadline.is_expired());
        std::thread::yield_now();
    }
    let identity = ProcessIdentity::of(child.pid())
        .expect("/proc")
        .expect("alive");
    assert!(!identity.is_dead().expect("/proc"), "another thread runs");
    child.kill();
    assert!(child.process().wait_end(patience()).expect("poll"));
    assert!(identity.is_dead().expect("/proc"));
}

#[test]
fn no_process_has_the_number_zero_or_the_largest() {
    for pid in [0, (1 << 22) - 1, u32::MAX] {
        assert_eq!(
            PidFd::open(pid).expect_err("nobody").raw_os_error(),
            Some(libc::ESRCH)
        );
    }
}

#[test]
fn tells_how_a_child_ended() {
    assert_eq!(Forked::new(|| true).exit(), Exit::Code(0));
    assert_eq!(Forked::new(|| false).exit(), Exit::Code(1));
    let child = Forked::new(|| stay());
    let soon = Deadline::after(Duration::from_millis(5));
    assert_eq!(child.process().wait_exit(soon).expect("a child"), None);
    child.process().send_signal(0).expect("alive");
    child.process().send_signal(libc::SIGTERM).expect("alive");
    assert_eq!(child.exit(), Exit::Signal(libc::SIGTERM));
    assert_eq!(
        child
            .process()
            .wait_exit(soon)
            .expect_err("once")
            .raw_os_error(),
        Some(libc::ECHILD)
    );
    let error = child
        .process()
        .send_signal(libc::SIGTERM)
        .expect_err("gone");
    assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
}

#[test]
fn a_hook_ends_a_wait_for_a_process_without_any_signal() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let me = PidFd::open(std::process::id()).expect("alive");
    let deadline = Deadline::NEVER.interruptible_by(|| ASKED.fetch_add(1, Ordering::Relaxed) >= 1);
    assert!(!me.wait_end(deadline).expect("polled"), "this process runs");
    assert!(ASKED.load(Ordering::Relaxed) >= 2);
}

#[test]
fn a_descriptor_that_was_closed_tells_no_end() {
    use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
    let child = Forked::new(|| {
        let me = PidFd::open(std::process::id()).expect("alive");
        // SAFETY: closed once; below it is not closed again.
        unsafe { libc::close(me.as_fd().as_raw_fd()) };
        let error = me.is_exited().expect_err("it is closed");
        let _closed = OwnedFd::from(me).into_raw_fd();
        error.raw_os_error() == Some(libc::EBADF)
    });
    assert!(child.succeeds());
}

#[test]
fn inherited_descriptors_are_closed_and_own_ones_stay() {
    use std::os::fd::AsRawFd;
    let child = Forked::new(|| {
        let (own, other) = socket::pair().expect("two descriptors");
        let inherited = other.as_raw_fd();
        // SAFETY: takes numbers; without close-on-exec, as after an `exec` that it crossed.
        unsafe { libc::fcntl(inherited, libc::F_SETFD, 0) };
        std::mem::forget(other);
        // SAFETY: this process uses none that is not close-on-exec, except the one that is to be
        // closed.
        unsafe { spawn::close_inherited() }.expect("/proc");
        // SAFETY: takes numbers.
        let flags = |fd: i32| unsafe { libc::fcntl(fd, libc::F_GETFD) };
        flags(inherited) < 0 && flags(own.as_raw_fd()) >= 0 && (0..3).all(|fd| flags(fd) >= 0)
    });
    assert!(child.succeeds());
}

#[test]
fn boot_and_namespace_are_known() {
    let boot = boot_id().expect("/proc");
    assert_ne!(boot, [0; 16]);
    assert_eq!(boot, boot_id().expect("/proc"));
    assert_ne!(pid_namespace().expect("/proc"), 0);
}

#[test]
fn pins_to_each_allowed_processor() {
    let count = cpu::cpu_count();
    assert!(count >= 1);
    std::thread::spawn(move || {
        let allowed = rustix::thread::sched_getaffinity(None).expect("own");
        assert!(count <= allowed.count() as usize);
        for one in (0..rustix::thread::CpuSet::MAX_CPU).filter(|&one| allowed.is_set(one)) {
            cpu::pin_to(one).expect("allowed");
            assert_eq!(cpu::current_cpu(), one);
            assert_eq!(cpu::cpu_count(), 1);
        }
        assert!(cpu::pin_to(usize::MAX).is_err());
    })
    .join()
    .expect("pinned");
}

const STARTED: &str = "MP_OS_TEST_STARTED";

/// The other side of the tests below: answers on its standard input.
#[test]
fn answers_when_started_again() {
    let Some(exit) = std::env::var_os(STARTED) else {
        return;
    };
    let stdin = std::io::stdin();
    assert!(socket::is_seqpacket(stdin.as_fd()));
    let mut buffer = [0; 64];
    let message = socket::recv(&stdin, &mut buffer).expect("the parent sends");
    let directory = std::env::current_dir().expect("exists");
    let name = std::env::args().next().unwrap_or_default();
    let answer = format!("{name} {} {}", directory.display(), message.fds.len());
    socket::send(&stdin, answer.as_bytes(), &[]).expect("the parent listens");
    std::process::exit(exit.to_string_lossy().parse().expect("a number"));
}

fn start_again(exit: &str) -> (std::os::fd::OwnedFd, u32, PidFd) {
    let (ours, theirs) = socket::pair().expect("two descriptors");
    let args = ["--exact", "answers_when_started_again", "--quiet"];
    let options = spawn::Options {
        args: Some(args.map(OsString::from).to_vec()),
        env: vec![(STARTED.into(), exit.into())],
        directory: Some("/dev/shm".into()),
        ..spawn::Options::default()
    };
    let started = spawn::run_self(theirs, &options).expect("it ran once already");
    let process = started.process.expect("nobody has reaped it");
    (ours, started.pid, process)
}

#[test]
fn starts_this_program_again() {
    assert!(spawn::has_loader() || cfg!(target_feature = "crt-static"));
    for (exit, code) in [("0", 0), ("77", 77)] {
        let (ours, pid, process) = start_again(exit);
        assert_eq!(
            ProcessIdentity::of(pid).expect("/proc").map(|id| id.pid()),
            Some(pid)
        );
        socket::send(&ours, b"hello", &[ours.as_fd()]).expect("room");
        let mut buffer = [0; 4096];
        let answer = socket::recv_deadline(&ours, &mut buffer, patience()).expect("an answer");
        let name = std::env::args().next().expect("argv[0]");
        let text = String::from_utf8_lossy(&buffer[..answer.len]);
        assert_eq!(text, format!("{name} /dev/shm 1"));
        let ended = process.wait_exit(patience()).expect("a child");
        assert_eq!(ended, Some(Exit::Code(code)));
    }
}
