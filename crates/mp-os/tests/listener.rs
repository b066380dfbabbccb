//! A listener is reached by its name, and what was sent to it outlives the sender.
#![cfg(not(miri))]

use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mp_os::clock::Deadline;
use mp_os::listener::{BACKLOG, Listener, connect};
use mp_os::socket;
use mp_testkit::{Forked, PATIENCE, not_checked};

/// A forked child of one test would keep the listener of another one open.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn what_a_process_sent_is_read_after_its_end() {
    let _alone = alone();
    let listener = Listener::new().expect("a socket");
    assert!(listener.accept().expect("open").is_none());
    let me = std::process::id();
    let children: Vec<_> = (0..3_u8)
        .map(|number| {
            Forked::new(|| {
                // SAFETY: the child uses no descriptor of its parent's after this.
                unsafe { libc::close_range(0, u32::MAX, 0) };
                let socket = connect(listener.name(), me, Deadline::PASSED).expect("it listens");
                socket::send(&socket, &[number], &[]).expect("room");
                true
            })
        })
        .collect();
    assert!(children.iter().all(Forked::succeeds));
    for _ in &children {
        let accepted = listener.accept().expect("open").expect("a connection");
        let mut number = [0];
        let message = socket::recv(&accepted.socket, &mut number).expect("sent before");
        assert_eq!(message.len, 1);
        assert_eq!(accepted.pid, Some(children[usize::from(number[0])].pid()));
    }
    assert!(listener.accept().expect("open").is_none());
}

#[test]
fn a_name_is_found_only_while_it_is_listened_to_and_with_its_owner() {
    let _alone = alone();
    let listener = Listener::new().expect("a socket");
    let me = std::process::id();
    let name = listener.name().to_vec();
    assert!(!name.is_empty());
    let stranger = connect(&name, me + 1, Deadline::PASSED).expect_err("not its listener");
    assert_eq!(stranger.kind(), ErrorKind::PermissionDenied);
    drop(listener);
    let gone = connect(&name, me, Deadline::PASSED).expect_err("nobody listens");
    assert_eq!(gone.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_listener_outside_the_pid_namespace_is_nobodys() {
    let _alone = alone();
    let listener = Listener::new().expect("a socket");
    let outer = Forked::new(|| {
        // SAFETY: takes flags; this process has one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            not_checked("a PID namespace needs root");
            return true;
        }
        Forked::new(|| {
            // There the kernel gives the listener's process the number 0.
            [0, 1, 2].iter().all(|pid| {
                connect(listener.name(), *pid, Deadline::PASSED)
                    .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
            })
        })
        .succeeds()
    });
    assert!(outer.succeeds());
}

#[test]
fn without_descriptors_nothing_waits_at_an_empty_listener() {
    let _alone = alone();
    let child = Forked::new(|| {
        let listener = Listener::new().expect("a socket");
        // `poll` takes as many descriptors as the limit says.
        let one = libc::rlimit {
            rlim_cur: 1,
            rlim_max: 1,
        };
        // SAFETY: takes a limit, which ends with this process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &one) }, 0);
        listener.accept().is_ok_and(|waiting| waiting.is_none())
    });
    assert!(child.succeeds());
}

/// Connections that have ended are in the queue until they are accepted.
fn fill(listener: &Listener) {
    let me = std::process::id();
    // One more than the figure waits, as for every socket of Linux.
    for _ in 0..BACKLOG + 2 {
        if let Err(error) = connect(listener.name(), me, Deadline::PASSED) {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            assert!(error.to_string().contains("as it has room for"), "{error}");
            return;
        }
    }
    panic!("more than {BACKLOG} connections wait");
}

#[test]
fn a_connection_waits_for_room_at_a_full_listener_up_to_its_deadline() {
    let _alone = alone();
    let listener = Listener::new().expect("a socket");
    fill(&listener);
    let me = std::process::id();
    let (span, begin) = (Duration::from_millis(50), Instant::now());
    let late = connect(listener.name(), me, Deadline::after(span)).expect_err("it is full");
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    assert!(begin.elapsed() >= span, "{:?}", begin.elapsed());
    std::thread::scope(|scope| {
        let name = listener.name();
        let waiter = scope.spawn(move || connect(name, me, Deadline::after(PATIENCE)));
        assert!(listener.accept().expect("open").is_some());
        waiter
            .join()
            .expect("it does not panic")
            .expect("there is room now");
    });
}
