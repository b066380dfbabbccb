//! A call of a function as messages: which function, its arguments, and its outcome.
//!
//! [`Process`](crate::Process) sends one call to a process that it starts. With these pieces a
//! process calls functions in processes that run already, as a pool does in its workers. How the
//! bytes and descriptors get there is the caller's affair; [`send`] and [`receive`] take them over
//! a socket pair.
//!
//! ```
//! use mp_process::call::{self, Function, Outcome};
//!
//! fn power(base: u64, exponent: u32) -> u64 {
//!     base.pow(exponent)
//! }
//!
//! // In the process that calls:
//! let function = Function::of::<_, (u64, u32), _>(power)?.to_bytes();
//! let (arguments, objects) = call::write_arguments(&(2_u64, 10_u32))?;
//!
//! // In another process of the same program:
//! let callable = Function::from_bytes(&function)?.find()?;
//! let (bytes, descriptors) = callable.call(&arguments, objects).into_message();
//!
//! // In the process that called:
//! let outcome = Outcome::from_message(bytes, descriptors);
//! assert_eq!(outcome.value::<u64, _>("the worker")?, 1024);
//! # Ok::<(), mp_layout::Error>(())
//! ```
//!
//! A [`Function`] means something in the same build of the same program. What is called from
//! another one is registered by name, see [`Registry`].
//!
//! # If a process dies
//!
//! A call that was not answered has no outcome. Who called finds that out by the death of the
//! process, as with [`Process`](crate::Process).

mod registry;

pub use registry::{Named, Registry};

use std::any::type_name;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::{message, transfer};
use mp_os::clock::Deadline;

use crate::build::Build;
use crate::entry::{Address, Entry};
use crate::frame::{self, Body, CALL, Frame};
use crate::outcome;
use crate::panic::{self, Panic};
use crate::task::{Arguments, Returned, Stateless, Task};

/// The name of a function, by which every process of the same build of the same program finds it.
///
/// The module's example uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function(Address);

/// A function that was found, ready to be called with arguments in bytes.
///
/// The module's example uses it.
#[derive(Clone, Copy, Debug)]
pub struct Callable(&'static Entry);

/// What came of a call: a value, a panic, or the reason why there is neither.
///
/// The module's example uses it.
#[derive(Debug)]
pub struct Outcome(outcome::Outcome);

impl Function {
    /// Names `task`, which will be called with arguments of the type `A`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a function in a shared library; [`ErrorKind::Os`] if the
    /// build of this program cannot be found out.
    pub fn of<F, A, W>(task: F) -> Result<Self>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        // A value of a function's type is needed to name the type, and for nothing else.
        let _: F = task;
        Entry::of::<F, A, W>().address().map(Self)
    }

    /// The bytes of the [name](Self::of) of `task`, which each thread makes once for each function.
    ///
    /// ```
    /// use mp_process::call::Function;
    ///
    /// let name = Function::name_of::<_, (u64, u32), _>(u64::pow)?;
    /// assert_eq!(*name, Function::of::<_, (u64, u32), _>(u64::pow)?.to_bytes());
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`of`](Self::of).
    pub fn name_of<F, A, W>(task: F) -> Result<Arc<[u8]>>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        thread_local! {
            // By the entry's place, which is what a name says.
            static NAMES: RefCell<HashMap<usize, Arc<[u8]>>> = RefCell::default();
        }
        let place = (&raw const *Entry::of::<F, A, W>()).addr();
        let known = NAMES.with_borrow(|names| names.get(&place).cloned());
        if let Some(name) = known {
            return Ok(name);
        }
        let name = Arc::<[u8]>::from(Self::of::<F, A, W>(task)?.to_bytes());
        NAMES.with_borrow_mut(|names| names.insert(place, Arc::clone(&name)));
        Ok(name)
    }

    /// The name as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Address {
            build,
            offset,
            type_hash,
        } = &self.0;
        let mut bytes = Vec::with_capacity(16 + build.as_bytes().len());
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&type_hash.to_le_bytes());
        bytes.extend_from_slice(build.as_bytes());
        bytes
    }

    /// The name that [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] if they are too few. Other damage is found by [`find`](Self::find).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let parts = bytes
            .split_first_chunk::<8>()
            .and_then(|(offset, rest)| Some((offset, rest.split_first_chunk::<8>()?)));
        let Some((offset, (type_hash, build))) = parts else {
            let error = Error::new(ErrorKind::Decode, "read", "the name of a function");
            return Err(error.with_detail(format!("it has {} bytes", bytes.len())));
        };
        Ok(Self(Address {
            build: Build::from_bytes(build.to_vec()),
            offset: u64::from_le_bytes(*offset),
            type_hash: u64::from_le_bytes(*type_hash),
        }))
    }

    /// Finds the function in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if another build of the program named it; [`ErrorKind::Corrupt`]
    /// if the name is damaged.
    pub fn find(&self) -> Result<Callable> {
        Entry::at(&self.0).map(Callable)
    }
}

impl Callable {
    /// Reads the arguments, calls the function and writes what it returns. A panic of the function
    /// is an outcome.
    ///
    /// In a process that [`Process`](crate::Process) started the panic has its place and its
    /// backtrace; elsewhere it has its message only.
    pub fn call(self, arguments: &[u8], descriptors: Vec<OwnedFd>) -> Outcome {
        self.call_in(arguments, descriptors, Vec::new())
    }

    /// As [`call`](Self::call), with the bytes of the value in `memory` in place of what it holds;
    /// [`Outcome::into_message`] gives it back.
    pub fn call_in(
        self,
        arguments: &[u8],
        descriptors: Vec<OwnedFd>,
        mut memory: Vec<u8>,
    ) -> Outcome {
        memory.clear();
        Outcome(
            panic::catch(|| self.0.run(arguments, descriptors, memory))
                .unwrap_or_else(outcome::Outcome::Panicked),
        )
    }
}

impl Outcome {
    /// The outcome of a call that was not made.
    pub fn refused(error: &Error) -> Self {
        Self(outcome::Outcome::refused(error))
    }

    /// The outcome as bytes and descriptors, which belong together.
    pub fn into_message(self) -> (Vec<u8>, Vec<OwnedFd>) {
        self.0.into_message()
    }

    /// The outcome that [`into_message`](Self::into_message) wrote. Bytes that are none are an
    /// outcome without a value.
    pub fn from_message(bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> Self {
        Self(outcome::Outcome::from_message(bytes, descriptors))
    }

    /// As [`from_message`](Self::from_message), of bytes that stay where they are. A short value
    /// takes no memory of its own.
    pub fn from_bytes(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Self {
        Self(outcome::Outcome::from_bytes(bytes, descriptors))
    }

    /// What the function returned; each call returns an equal value. `callee` names the other
    /// process in errors.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Panicked`] with message and location; [`ErrorKind::Decode`] or
    /// [`ErrorKind::Encode`] if the arguments or the result could not be read or written;
    /// [`ErrorKind::TooManyDescriptors`] if this process has none left for the result; the
    /// error of a call that was not made.
    pub fn value<R, W>(&self, callee: &str) -> Result<R>
    where
        R: Returned<W>,
    {
        R::arrive(&self.0, callee)
    }

    /// The panic that ended the function, if one did.
    pub fn panic(&self) -> Option<&Panic> {
        match &self.0 {
            outcome::Outcome::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// Why the call was not made, or its value not sent, if so.
    pub fn refusal(&self) -> Option<Error> {
        self.0.refusal()
    }

    /// Why the call failed, as text: its panic, the `Err` that it returned, or the reason why it
    /// was not made; `None` if it did not fail. The `Err` is known to the process that made the
    /// call, and an empty text elsewhere.
    pub fn failure(&self) -> Option<String> {
        match self.panic() {
            Some(panic) => Some(panic.to_string()),
            None => self.0.complaint(),
        }
    }
}

/// Writes the arguments of a call: the bytes, and the descriptors of the shared objects among them.
///
/// # Errors
///
/// [`ErrorKind::Encode`] if an argument does not serialise; [`ErrorKind::TooManyDescriptors`].
pub fn write_arguments<A: Arguments>(arguments: &A) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    append_arguments(arguments, Vec::new())
}

/// As [`write_arguments`], after what `bytes` holds, whose memory it uses.
///
/// # Errors
///
/// As for [`write_arguments`]; the bytes are lost then.
pub fn append_arguments<A: Arguments>(
    arguments: &A,
    bytes: Vec<u8>,
) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (bytes, objects) = transfer::outgoing(|| message::append(arguments, bytes));
    let bytes = bytes.map_err(|error| {
        let detail = format!("{error} while writing {}", type_name::<A>());
        Error::new(ErrorKind::Encode, "send", "the arguments").with_detail(detail)
    })?;
    Ok((bytes, objects))
}

/// Sends bytes and descriptors over a socket pair, as one message. Large ones go through a memory
/// file.
///
/// # Errors
///
/// `TimedOut` if the socket has no room until the deadline, `InvalidInput` if it has none for all
/// of the descriptors, `EPIPE` if the other end is closed, `EMFILE` or `ENOMEM`.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> io::Result<()> {
    frame::send_by(socket, CALL, bytes, descriptors, deadline)
}

/// Bytes that are sent several times, each time as by [`send`]. Large ones are written into a
/// memory file when it is made, so that a send takes as long as that of a few bytes.
#[derive(Debug)]
pub struct Message(Body);

impl Message {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENOMEM`, for large ones.
    pub fn new(bytes: Vec<u8>) -> io::Result<Self> {
        Body::new(bytes).map(Self)
    }

    /// Sends it with descriptors over a socket pair.
    ///
    /// # Errors
    ///
    /// As for [`send`].
    pub fn send(
        &self,
        socket: BorrowedFd<'_>,
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<()> {
        self.0.send_by(socket, CALL, descriptors, deadline)
    }
}

/// Receives what [`send`] sent; `None` if nothing came until the deadline, or if the other end is
/// closed.
///
/// # Errors
///
/// `InvalidData` if the message is damaged, or its descriptors do not fit into this process;
/// `ENOMEM`.
pub fn receive(
    socket: BorrowedFd<'_>,
    deadline: Deadline,
) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let frame = frame::receive_by(socket, CALL, deadline)?;
    Ok(frame.map(|Frame { bytes, descriptors }| (bytes, descriptors)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use mp_os::socket;

    use super::*;

    fn called<F, A, W>(task: F, arguments: &A) -> Outcome
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        let function = Function::of::<F, A, W>(task).unwrap().to_bytes();
        let (bytes, descriptors) = write_arguments(arguments).unwrap();
        let callable = Function::from_bytes(&function).unwrap().find().unwrap();
        let (bytes, descriptors) = callable.call(&bytes, descriptors).into_message();
        Outcome::from_message(bytes, descriptors)
    }

    #[test]
    fn a_shared_object_goes_there_and_back() {
        let flag = mp_object::Event::new().unwrap();
        let outcome = called(|event: mp_object::Event| event, &(flag.clone(),));
        flag.set();
        for _ in 0..2 {
            let back: mp_object::Event = outcome.value("w").unwrap();
            assert!(back.is_set());
        }
        assert!(outcome.failure().is_none());
    }

    #[test]
    fn a_value_of_any_length_is_read_from_bytes_that_stay() {
        for length in [0, 1, 20, 21, 22, 23, 24, 1000] {
            let function = Function::of::<_, (String,), _>(|text: String| text).unwrap();
            let text = "x".repeat(length);
            let (arguments, _) = write_arguments(&(text.clone(),)).unwrap();
            let memory = vec![7; 9];
            let outcome = function
                .find()
                .unwrap()
                .call_in(&arguments, Vec::new(), memory);
            let (bytes, _) = outcome.into_message();
            let outcome = Outcome::from_bytes(&bytes, Vec::new());
            assert_eq!(outcome.value::<String, _>("w").unwrap(), text);
            assert_eq!(outcome.into_message().0, bytes);
        }
    }

    #[test]
    fn a_panic_is_an_outcome() {
        let outcome = called(|n: u32| assert!(n < 3, "{n} is too many"), &(7_u32,));
        assert_eq!(outcome.panic().unwrap().message(), "7 is too many");
        assert!(outcome.failure().unwrap().contains("too many"));
        let error = outcome.value::<(), _>("w").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked);
    }

    #[test]
    fn damaged_names_and_outcomes_are_errors() {
        let bytes = Function::of::<_, (u32,), _>(|n: u32| n).unwrap().to_bytes();
        for length in 0..bytes.len() {
            let found = Function::from_bytes(&bytes[..length]).and_then(|name| name.find());
            assert!(found.is_err(), "{length} bytes");
        }
        for bytes in [vec![], vec![9], vec![1, 2, 200]] {
            let outcome = Outcome::from_bytes(&bytes, Vec::new());
            assert!(outcome.value::<u32, _>("w").is_err());
            let outcome = Outcome::from_message(bytes, Vec::new());
            assert!(outcome.value::<u32, _>("w").is_err());
        }
    }

    #[test]
    fn a_receiver_waits_for_a_message_up_to_its_deadline() {
        let (ours, theirs) = socket::pair().unwrap();
        assert!(receive(ours.as_fd(), Deadline::PASSED).unwrap().is_none());
        std::thread::scope(|scope| {
            scope.spawn(|| send(theirs.as_fd(), &[7; 100_000], &[], Deadline::NEVER).unwrap());
            let received = receive(ours.as_fd(), Deadline::NEVER).unwrap();
            assert_eq!(received.expect("it was sent").0, [7; 100_000]);
        });
        drop(theirs);
        assert!(receive(ours.as_fd(), Deadline::NEVER).unwrap().is_none());
    }
}
