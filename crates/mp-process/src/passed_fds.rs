//! Descriptors that a parent passed to this process on purpose, under the numbers that they have in
//! the parent.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use mp_layout::{Error, ErrorKind, Result};
use mp_os::descriptor;
use mp_os::of_process::OfProcess;

/// Those that no task has taken.
static PASSED: OfProcess<Mutex<Vec<OwnedFd>>> = OfProcess::new(Mutex::default);

/// Takes the descriptor `number`, which the parent passed with
/// [`Process::pass_fd`](crate::Process::pass_fd); `None` if it passed none of that number, or if it
/// was taken before.
///
/// ```
/// use std::io::{Read, Write, pipe};
/// use std::os::fd::{AsRawFd, OwnedFd};
/// use std::fs::File;
/// use mp_process::{Process, take_passed_fd};
///
/// fn greet(number: i32) {
///     let pipe = take_passed_fd(number).expect("the parent passed it");
///     File::from(pipe).write_all(b"hello").expect("the parent reads");
/// }
///
/// let (mut reader, writer) = pipe()?;
/// let number = writer.as_raw_fd();
/// let mut process = Process::new(greet, (number,)).pass_fd(writer);
/// process.start()?;
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// process.result()?;
/// assert!(take_passed_fd(number).is_none(), "nothing was passed to this process");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn take_passed_fd(number: RawFd) -> Option<OwnedFd> {
    let mut passed = PASSED.get().lock().unwrap_or_else(PoisonError::into_inner);
    let place = passed.iter().position(|fd| fd.as_raw_fd() == number)?;
    Some(passed.swap_remove(place))
}

/// Gives each descriptor its number, in a child before its task. None of them has one of the
/// numbers yet.
pub(crate) fn place(passed: Vec<(RawFd, OwnedFd)>) -> Result<()> {
    let placed: Result<Vec<_>> = passed.into_iter().map(place_one).collect();
    let mut kept = PASSED.get().lock().unwrap_or_else(PoisonError::into_inner);
    *kept = placed?;
    Ok(())
}

fn place_one((number, fd): (RawFd, OwnedFd)) -> Result<OwnedFd> {
    let object = || format!("descriptor {number} of the parent");
    let copy = descriptor::copy_as(fd.as_fd(), number).map_err(|source| {
        let is_above_limit = source.raw_os_error() == Some(libc::EINVAL);
        let error = Error::os("receive", object(), source);
        if is_above_limit {
            error.with_detail("the child may have no descriptor of that number; raise ulimit -n")
        } else {
            error
        }
    })?;
    copy.ok_or_else(|| {
        Error::new(ErrorKind::InvalidState, "receive", object()).with_detail(
            "its number is in use in the child, by code that ran before `main`; pass a copy of it that has another number",
        )
    })
}
