//! The child's side: taken over before any `main`, runs one task, and exits.
//!
//! The loader calls every address in the section `.init_array` before `main`. Ours looks whether standard input
//! is a socket on which a process of the same user has said hello; if not, which one system call tells for
//! every usual input, it returns, and the program is what it always was. No environment variable is involved,
//! so a program that a child starts is not taken for a child.
//!
//! # If a process dies
//!
//! The first thing a child does is to ask the kernel to be killed when its parent is gone, so nothing of the task
//! runs without a parent. What a child had to say is in the socket before it exits.

use std::ffi::{CString, c_char, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use mp_layout::{Error, Result};
use mp_os::life;

use crate::current;
use crate::entry::Entry;
use crate::hello::{self, Greeted, Hello};
use crate::image::Image;
use crate::outcome::Outcome;
use crate::panic;

/// Called by the loader with what `main` gets.
type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: Constructor = before_main;

/// Whether the constructor has run: without it, a child would run `main`.
static HAS_RUN: AtomicBool = AtomicBool::new(false);

/// Where the outcome goes.
static TO_PARENT: OnceLock<OwnedFd> = OnceLock::new();

/// Whether a process that is started now is caught before its `main`.
pub(crate) fn is_caught() -> bool {
    // Names the constructor, so that whoever links `start` links it, too.
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
    // SAFETY: borrowed during this function only, in which nobody closes it; the calls made with it report a
    // number that is no descriptor.
    let stdin = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
    if hello::is_waiting(stdin) {
        let code = serve(stdin, || construct_the_rest(count, arguments, environment));
        // As at the end of `main`: flushes standard output and waits for this process's own children.
        std::process::exit(code);
    }
}

/// Calls the constructors that the loader would call next, since it never gets to them: a registry that other
/// parts of the program fill before `main` must be full when a task looks.
fn construct_the_rest(
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

/// Runs what the parent asked for, tells it how that went, and returns the exit code.
fn serve(stdin: BorrowedFd<'_>, construct_the_rest: impl FnOnce()) -> c_int {
    let Ok(socket) = stdin.try_clone_to_owned() else {
        return 1;
    };
    let socket = TO_PARENT.get_or_init(|| socket);
    let outcome = match Hello::receive(socket.as_fd()) {
        Ok(greeted) => settle(greeted).map_or_else(
            |error| Outcome::refused(&error),
            |errand| {
                construct_the_rest();
                errand.run()
            },
        ),
        Err(error) => Outcome::refused(&error),
    };
    let code = outcome.code();
    // A parent that is gone needs no outcome; this process is about to be killed.
    drop(outcome.send(socket.as_fd()));
    code
}

/// What is left to do when the process has been set up.
struct Errand {
    entry: &'static Entry,
    arguments: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Errand {
    fn run(self) -> Outcome {
        panic::catch(|| self.entry.run(&self.arguments, self.descriptors))
            .unwrap_or_else(Outcome::Panicked)
    }
}

/// Makes this process the child that the parent described.
fn settle(greeted: Greeted) -> Result<Errand> {
    let Greeted {
        hello,
        life,
        stdin,
        arguments,
        descriptors,
    } = greeted;
    life::die_with(life.as_fd())
        .map_err(|source| Error::os("tie", "the process to its parent's life", source))?;
    drop(life);
    restore_stdin(stdin).map_err(|source| Error::os("restore", "standard input", source))?;
    // SAFETY: sets a signal's disposition while this process has one thread; as Rust's runtime does before `main`.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    unblock_signals();
    show_name(&hello.name);
    let entry = Entry::at(hello.entry_offset, hello.type_hash)?;
    current::become_child(hello);
    panic::note_panics(tell_before_abort);
    Ok(Errand {
        entry,
        arguments,
        descriptors,
    })
}

/// Lets all signals in, whatever the thread that started this process had blocked: else `terminate` could do nothing.
fn unblock_signals() {
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: a set that was initialised; the old one is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
}

fn restore_stdin(real: Option<OwnedFd>) -> io::Result<()> {
    let real = match real {
        Some(real) => real,
        None => File::open("/dev/null")?.into(),
    };
    // SAFETY: replaces descriptor 0, which the socket's duplicate has made superfluous and nobody owns.
    if unsafe { libc::dup2(real.as_raw_fd(), libc::STDIN_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Names the process for `ps` and `top`, which would show `exe`.
fn show_name(name: &str) {
    let Ok(name) = CString::new(name) else { return };
    // SAFETY: the kernel reads up to 16 bytes of a string that ends with NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

fn tell_before_abort(panic: panic::Panic) {
    if let Some(socket) = TO_PARENT.get() {
        // The process aborts next; there is nobody else to tell.
        drop(Outcome::Panicked(panic).send(socket.as_fd()));
    }
}
