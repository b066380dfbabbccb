//! The child's side: taken over before any `main`, runs one task, and exits.
//!
//! The loader calls every address in the section `.init_array` before `main`. Ours looks whether
//! standard input is a socket on which a process of the same user has sent a start request; if not,
//! which one system call shows for every usual input, it returns, and the program is what it always
//! was. No environment variable is involved, so a program that a child starts is not taken for a
//! child.
//!
//! # If a process dies
//!
//! Before its task a child asks the kernel to be killed when its parent is gone, so nothing of the
//! task runs without a parent. A child sends its outcome before it exits. A copy that the task
//! forks and that returns from the task sends nothing and leaves without the exit's handlers: both
//! belong to the child.

use std::ffi::{c_char, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use mp_layout::{Error, Result};
use mp_os::of_process::OfProcess;
use mp_os::{descriptor, parent_death, this_process};

use crate::build::Build;
use crate::current;
use crate::entry::Entry;
use crate::image::Image;
use crate::outcome::Outcome;
use crate::panic;
use crate::passed_fds;
use crate::report;
use crate::start_request::{self, Received, StartRequest};
use crate::to_parent::ToParent;

/// Called by the loader with what `main` gets.
type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: Constructor = before_main;

/// Whether the constructor has run: without it, a child would run `main`.
static HAS_RUN: AtomicBool = AtomicBool::new(false);

/// Where the outcome goes.
static TO_PARENT: OnceLock<ToParent> = OnceLock::new();

/// Whether this process is the child itself; false in a copy that its task forks.
static IS_CHILD: OfProcess<AtomicBool> = OfProcess::new(AtomicBool::default);

/// Whether a process that is started now is caught before its `main`.
pub(crate) fn is_caught() -> bool {
    // Names the constructor, so that a program which links `start` links it as well.
    std::hint::black_box(constructor_place());
    // Relaxed: it ran on this process's first thread, before any other.
    HAS_RUN.load(Ordering::Relaxed)
}

extern "C" fn before_main(
    count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    HAS_RUN.store(true, Ordering::Relaxed);
    Build::note();
    if let Some(socket) = start_socket() {
        let code = serve(socket, || {
            run_remaining_constructors(count, arguments, environment);
        });
        // As at the end of `main`: flushes standard output and waits for this process's own
        // children.
        std::process::exit(code);
    }
}

/// A copy of standard input, if a parent has sent a start request there.
fn start_socket() -> Option<io::Result<OwnedFd>> {
    // SAFETY: used in this function only, in which nothing is closed; this process has one thread.
    // Where descriptor 0 is closed, the first call says so.
    let stdin = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
    start_request::is_waiting(stdin).then(|| stdin.try_clone_to_owned())
}

/// Calls the constructors that the loader would call next, since it never gets to them: a registry
/// that other parts of the program fill before `main` must be full when a task looks.
fn run_remaining_constructors(
    count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    for place in Image::of_this_program().constructors_after(constructor_place()) {
        let place = std::ptr::with_exposed_provenance::<usize>(place);
        // SAFETY: a word of the array of constructors, which the loader has filled.
        let address = unsafe { place.read() };
        // Some linkers end the array with one of these.
        if address == 0 || address == usize::MAX {
            continue;
        }
        let address = std::ptr::with_exposed_provenance::<()>(address);
        // SAFETY: the loader calls what stands in this array with these arguments.
        let constructor = unsafe { std::mem::transmute::<*const (), Constructor>(address) };
        constructor(count, arguments, environment);
    }
}

/// Where our constructor's address stands among those of the others.
pub(crate) fn constructor_place() -> usize {
    (&raw const BEFORE_MAIN).addr()
}

/// Runs what the parent asked for, sends it the outcome, and returns the exit code.
fn serve(socket: io::Result<OwnedFd>, run_remaining_constructors: impl FnOnce()) -> c_int {
    let received = socket
        .map_err(|source| Error::os("keep", "the way to the parent", source))
        .and_then(receive_start);
    let (to_parent, received) = match received {
        Ok(received) => received,
        Err(error) => {
            report::error(&format!("{error:?}"));
            return 1;
        }
    };
    // Relaxed: each process reads what it stored itself.
    IS_CHILD.get().store(true, Ordering::Relaxed);
    let is_awaited = received.request.attributes.may_be_refused();
    let job = set_up_child(received).and_then(|job| {
        if is_awaited {
            to_parent.confirm_setup()?;
        }
        Ok(job)
    });
    // The parent's start fails with it, and says so.
    let is_told = is_awaited && job.is_err();
    let outcome = job.map_or_else(
        |error| Outcome::refused(&error),
        |job| {
            run_remaining_constructors();
            job.run()
        },
    );
    let (complaint, code) = (outcome.complaint(), outcome.code());
    if !is_child() {
        // SAFETY: ends this process, of which nothing is used after.
        unsafe { libc::_exit(code) };
    }
    let sent = to_parent.send(outcome);
    // After the outcome, which must not wait for a reader of standard error.
    if let Some(complaint) = complaint.filter(|_| !is_told) {
        report::error(&complaint);
    }
    match sent {
        Ok(()) => code,
        Err(error) => {
            report::error(&format!("{error:?}"));
            1
        }
    }
}

/// Receives the start request. First it closes the descriptors that this process inherited and was
/// not sent.
fn receive_start(socket: OwnedFd) -> Result<(&'static ToParent, Received)> {
    // SAFETY: `main` has not begun, and code that ran before this has opened none without
    // close-on-exec.
    unsafe { mp_os::spawn::close_inherited() }
        .map_err(|source| Error::os("close", "inherited descriptors", source))?;
    let received = StartRequest::receive(socket.as_fd())?;
    let to_parent = descriptor::move_off(socket, &received.request.passed)
        .and_then(|socket| ToParent::new(socket, &received.request))
        .map_err(|source| Error::os("keep", "the way to the parent", source))?;
    Ok((TO_PARENT.get_or_init(|| to_parent), received))
}

/// What is left to do when the process has been set up.
struct Job {
    entry: &'static Entry,
    arguments: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Job {
    fn run(self) -> Outcome {
        panic::catch(|| {
            self.entry
                .run(&self.arguments, self.descriptors, Vec::new())
        })
        .unwrap_or_else(Outcome::Panicked)
    }
}

/// Makes this process the child that the start request describes.
fn set_up_child(received: Received) -> Result<Job> {
    let Received {
        request,
        parent,
        stdin,
        passed,
        arguments,
        descriptors,
    } = received
        .make_room()
        .map_err(|source| Error::os("receive", "descriptors of the parent", source))?;
    // Without it the process is shown under its executable's name, and is the same otherwise.
    drop(this_process::show_name(&request.name));
    let (entry, attributes) = (request.entry.clone(), request.attributes.clone());
    current::become_child(request);
    // Before anything is opened, which could get one of their numbers.
    passed_fds::place(passed)?;
    parent_death::die_with_parent(parent.as_fd())
        .map_err(|source| Error::os("tie", "the process to its parent's life", source))?;
    drop(parent);
    restore_stdin(stdin).map_err(|source| Error::os("restore", "standard input", source))?;
    this_process::ignore_broken_pipes();
    let entry = Entry::at(&entry)?;
    panic::note_panics(tell_before_abort);
    // Last: what is above must not meet the limits.
    attributes.apply()?;
    Ok(Job {
        entry,
        arguments,
        descriptors,
    })
}

fn restore_stdin(real: Option<OwnedFd>) -> io::Result<()> {
    let real = match real {
        Some(real) => real,
        None => File::open("/dev/null")?.into(),
    };
    this_process::replace_stdin(real.as_fd())
}

fn is_child() -> bool {
    IS_CHILD.get().load(Ordering::Relaxed)
}

fn tell_before_abort(panic: panic::Panic) {
    if let Some(to_parent) = TO_PARENT.get().filter(|_| is_child()) {
        // The process aborts next, so an error here reaches no other process.
        drop(to_parent.send(Outcome::Panicked(panic)));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use mp_os::parent_death::ParentPipe;
    use mp_os::socket;

    use super::*;
    use crate::attributes::Attributes;
    use crate::entry::Address;
    use crate::frame::{self, START};

    /// The outcome of this program, started again to run what is at `entry`.
    fn answer_to(entry: Address) -> Outcome {
        let request = StartRequest {
            entry,
            depth: 1,
            name: "w".into(),
            identity: vec![1],
            daemon: false,
            parent_pid: std::process::id(),
            parent_name: "MainProcess".into(),
            listener: Vec::new(),
            passed: Vec::new(),
            attributes: Attributes::default(),
        };
        let (ours, theirs) = socket::pair().unwrap();
        let parent = ParentPipe::new().unwrap();
        let bytes = request.to_bytes(false).unwrap();
        frame::send(ours.as_fd(), START, &bytes, &[parent.read_end()]).unwrap();
        let mut program = Command::new(std::env::current_exe().unwrap());
        let status = program.stdin(theirs).status().unwrap();
        assert_eq!(status.code(), Some(1));
        Outcome::receive(ours.as_fd()).expect("it answers")
    }

    #[test]
    fn a_child_of_another_build_refuses_before_any_address_is_used() {
        for offset in [0, 8, u64::MAX] {
            let error = answer_to(Address {
                build: Build::from_bytes(vec![0xab; 20]),
                offset,
                type_hash: 0,
            })
            .decode::<()>("w")
            .unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("build abab") && text.contains("replaced"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_child_of_this_build_looks_at_the_address() {
        let address = Address {
            build: Build::of_this_program().unwrap().clone(),
            offset: u64::MAX,
            type_hash: 0,
        };
        let error = answer_to(address).decode::<()>("w").unwrap_err();
        assert!(error.to_string().contains("there is nothing"), "{error}");
    }
}
