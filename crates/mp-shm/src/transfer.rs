//! How handles of shared memory cross to another process inside serialised values.
//!
//! A handle's bytes say what it is; the memory itself is a file descriptor, which bytes cannot
//! carry. The sender opens a scope that collects the descriptors while it serialises, and sends
//! them next to the bytes; the receiver opens a scope with them while it deserialises.
//!
//! ```
//! use mp_shm::{SharedMemory, transfer};
//!
//! let memory = SharedMemory::new(8)?;
//! let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&memory));
//! let bytes = bytes.expect("it is a handle");
//! // ... both travel ...
//! let received: SharedMemory =
//!     transfer::incoming(descriptors, || postcard::from_bytes(&bytes)).expect("the same memory");
//! memory.write(0, b"shared")?;
//! assert_eq!(received.cells::<u8>()?.get(5), b'd');
//! SharedMemory::unlink(memory.name())?;
//! # Ok::<(), mp_layout::Error>(())
//! ```
//!
//! Outside such a scope a handle does not serialise, and says so. Memory with a name travels in the
//! same way, also when the name is unlinked on the way.
//!
//! There are two scopes to write in:
//!
//! - [`outgoing`] is for a process that waits for what is written. It gives duplicates of the
//!   descriptors.
//! - [`message`] is for what may wait for its reader, whom no process knows yet. It duplicates
//!   nothing, and a [`Way::Names`] carries named memory by name alone.
//!
//! Bytes that another machine may have made up are read in [`foreign`].

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};

use crate::Segment;

/// The open file of a handle, which stays open as long as a clone of this lives. No clone is a new
/// descriptor.
#[derive(Clone)]
pub struct Descriptor {
    file: Arc<dyn AsFd + Send + Sync>,
    object: Option<Identity>,
}

/// What no other open object has: its own identity, and its file's.
pub type Identity = [u8; 32];

/// An object that the reader of a message has open; what it is, its handle knows.
pub type OpenObject = Arc<dyn Any + Send + Sync>;

impl Descriptor {
    /// Keeps `file` open.
    pub fn new(file: Arc<impl AsFd + Send + Sync + 'static>) -> Self {
        Self { file, object: None }
    }

    /// Names the object whose handle it is part of, which its reader takes by [`take_open`] if it
    /// has that open, and then does without this descriptor and all others of the message. One that
    /// the reader wants in any case, by [`take`], names none.
    #[must_use]
    pub fn of_object(self, object: Option<Identity>) -> Self {
        Self { object, ..self }
    }

    /// The object whose handle it is part of, if that was named.
    pub fn object(&self) -> Option<&Identity> {
        self.object.as_ref()
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Descriptor")
            .field(&self.as_fd())
            .finish()
    }
}

/// How the handles of a [`message`] find their memory again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By descriptors that travel next to the bytes.
    Descriptors,
    /// By their names; memory without a name is refused.
    Names,
    /// Not at all: every handle is refused. For bytes that may go to another machine.
    Nowhere,
}

/// What the handles of a [`message`] need next to its bytes.
#[derive(Debug, Default)]
pub struct Baggage {
    /// How many handles there are.
    pub handles: usize,
    /// Their descriptors; none of those that travel by name.
    pub descriptors: Vec<Descriptor>,
    /// Why a handle was refused: the formats of serde do not keep such a text.
    pub refused: Option<Error>,
}

/// What the innermost scope of this thread does with descriptors.
#[derive(Default)]
enum Scope {
    /// There is none.
    #[default]
    Outside,
    Outgoing(Vec<OwnedFd>),
    Message(Way, Baggage),
    Incoming(Arrived),
}

/// What came with the bytes that are read.
#[derive(Default)]
struct Arrived {
    descriptors: Vec<Option<OwnedFd>>,
    /// What is open already, by the places of the descriptors, of which there are none then.
    open: Vec<Option<OpenObject>>,
    /// Whether another machine may have made up the bytes.
    is_foreign: bool,
    /// Why the first handle that was refused was.
    refused: Option<Error>,
}

/// A scope in which there was no handle yet.
#[derive(Clone, Copy)]
enum Untouched {
    Outgoing,
    Message(Way),
    Incoming,
    Foreign,
}

impl Untouched {
    fn scope(self) -> Scope {
        match self {
            Self::Outgoing => Scope::Outgoing(Vec::new()),
            Self::Message(way) => Scope::Message(way, Baggage::default()),
            Self::Incoming => Scope::Incoming(Arrived::default()),
            Self::Foreign => Scope::Incoming(Arrived {
                is_foreign: true,
                ..Arrived::default()
            }),
        }
    }
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope::Outside) };

    /// The innermost scope while no handle was in it; then `SCOPE` is outside. Most values have
    /// none, and for such a value this is written and nothing else.
    static UNTOUCHED: Cell<Option<Untouched>> = const { Cell::new(None) };
}

/// A scope that is open, and the one around it, which comes back also when serialising panics.
struct Entered(Scope);

impl Entered {
    #[inline]
    fn new(scope: Scope) -> Self {
        Self(replace(scope))
    }

    #[inline]
    fn leave(mut self) -> Scope {
        let outer = core::mem::take(&mut self.0);
        core::mem::forget(self);
        replace(outer)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        drop(replace(core::mem::take(&mut self.0)));
    }
}

/// While a thread ends there is no scope any more: handles are refused then.
fn replace(scope: Scope) -> Scope {
    let untouched = UNTOUCHED.take();
    let current = SCOPE.try_with(|current| current.replace(scope));
    match (untouched, current) {
        (Some(untouched), Ok(_)) => untouched.scope(),
        (_, current) => current.unwrap_or_default(),
    }
}

/// A scope that was untouched when it was opened, in no other scope.
struct Opened;

impl Drop for Opened {
    #[inline]
    fn drop(&mut self) {
        if UNTOUCHED.take().is_none() {
            drop(replace(Scope::Outside));
        }
    }
}

/// Runs `run` in a scope of its own, and returns that if there was a handle in it.
#[inline]
fn within<R>(scope: Untouched, run: impl FnOnce() -> R) -> (R, Option<Scope>) {
    let is_in_another = SCOPE
        .try_with(|scope| !matches!(*scope.borrow(), Scope::Outside))
        .unwrap_or(true);
    if is_in_another || UNTOUCHED.get().is_some() {
        return within_another(scope, run);
    }
    UNTOUCHED.set(Some(scope));
    let opened = Opened;
    let result = run();
    if UNTOUCHED.get().is_some() {
        return (result, None);
    }
    let left = replace(Scope::Outside);
    core::mem::forget(opened);
    (result, Some(left))
}

#[cold]
fn within_another<R>(scope: Untouched, run: impl FnOnce() -> R) -> (R, Option<Scope>) {
    let entered = Entered::new(scope.scope());
    let result = run();
    (result, Some(entered.leave()))
}

/// Runs `write` and returns, next to its result, duplicates of the descriptors of the objects that
/// were serialised meanwhile.
#[inline]
pub fn outgoing<R>(write: impl FnOnce() -> R) -> (R, Vec<OwnedFd>) {
    match within(Untouched::Outgoing, write) {
        (written, Some(Scope::Outgoing(descriptors))) => (written, descriptors),
        (written, _) => (written, Vec::new()),
    }
}

/// Runs `write` and returns, next to its result, what the handles need that were serialised
/// meanwhile; `None` if there was none.
///
/// ```
/// use mp_shm::{SharedMemory, transfer};
///
/// let memory = SharedMemory::new(8)?;
/// let (bytes, baggage) = transfer::message(transfer::Way::Names, || postcard::to_stdvec(&memory));
/// let baggage = baggage.expect("a handle");
/// assert_eq!((baggage.handles, baggage.descriptors.len()), (1, 0));
/// let bytes = bytes.expect("it has a name");
/// let received: SharedMemory = postcard::from_bytes(&bytes).expect("the name is there");
/// assert!(received.is_same(&memory));
/// SharedMemory::unlink(memory.name())?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[inline]
pub fn message<R>(way: Way, write: impl FnOnce() -> R) -> (R, Option<Baggage>) {
    let (written, left) = within(Untouched::Message(way), write);
    (written, left.and_then(baggage_of))
}

fn baggage_of(scope: Scope) -> Option<Baggage> {
    match scope {
        Scope::Message(_, baggage) if baggage.handles != 0 || baggage.refused.is_some() => {
            Some(baggage)
        }
        _ => None,
    }
}

/// Runs `read` with the descriptors that [`outgoing`] returned on the other side, in the same
/// order.
///
/// Those that no handle asks for are closed.
pub fn incoming<R>(descriptors: Vec<OwnedFd>, read: impl FnOnce() -> R) -> R {
    if descriptors.is_empty() {
        return within(Untouched::Incoming, read).0;
    }
    incoming_or_why(descriptors, read).0
}

/// Does what [`incoming`] does, and returns why the first handle that was refused was, if one was.
pub fn incoming_or_why<R>(
    descriptors: Vec<OwnedFd>,
    read: impl FnOnce() -> R,
) -> (R, Option<Error>) {
    let arrived = Arrived {
        descriptors: descriptors.into_iter().map(Some).collect(),
        ..Arrived::default()
    };
    read_in(arrived, read)
}

/// Does what [`incoming_or_why`] does, without descriptors: at the place of each is an object that
/// this process has open, whose handle calls [`take_open`].
pub fn incoming_open<R>(
    objects: impl IntoIterator<Item = OpenObject>,
    read: impl FnOnce() -> R,
) -> (R, Option<Error>) {
    let arrived = Arrived {
        open: objects.into_iter().map(Some).collect(),
        ..Arrived::default()
    };
    read_in(arrived, read)
}

/// Does what [`incoming_or_why`] does, for bytes that may come from another machine: a handle that
/// is to be found by its name is refused. Else whoever made up the bytes chose which memory of this
/// machine is opened.
///
/// ```
/// use mp_shm::{SharedMemory, transfer};
///
/// let memory = SharedMemory::new(8)?;
/// let (bytes, _) = transfer::message(transfer::Way::Names, || postcard::to_stdvec(&memory));
/// let bytes = bytes.expect("it has a name");
/// let (read, why) =
///     transfer::foreign(Vec::new(), || postcard::from_bytes::<SharedMemory>(&bytes));
/// assert!(read.is_err() && why.is_some());
/// SharedMemory::unlink(memory.name())?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub fn foreign<R>(descriptors: Vec<OwnedFd>, read: impl FnOnce() -> R) -> (R, Option<Error>) {
    if !descriptors.is_empty() {
        let arrived = Arrived {
            descriptors: descriptors.into_iter().map(Some).collect(),
            is_foreign: true,
            ..Arrived::default()
        };
        return read_in(arrived, read);
    }
    match within(Untouched::Foreign, read) {
        (value, Some(Scope::Incoming(arrived))) => (value, arrived.refused),
        (value, _) => (value, None),
    }
}

fn read_in<R>(arrived: Arrived, read: impl FnOnce() -> R) -> (R, Option<Error>) {
    let scope = Entered::new(Scope::Incoming(arrived));
    let value = read();
    match scope.leave() {
        Scope::Incoming(arrived) => (value, arrived.refused),
        _ => (value, None),
    }
}

/// Adds `descriptor` to what travels and returns its place: what a handle serialises. `None` if the
/// handle is to be found by its `name`.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] outside [`outgoing`] and [`message`], and for an object without a
/// name where objects travel by name; [`ErrorKind::TooManyDescriptors`].
pub fn put(descriptor: &Descriptor, name: Option<&str>) -> Result<Option<u32>> {
    with_scope(|scope| match scope {
        Scope::Outgoing(descriptors) => {
            let copy = descriptor
                .as_fd()
                .try_clone_to_owned()
                .map_err(|source| Error::os("duplicate", "the descriptor of an object", source))?;
            descriptors.push(copy);
            Ok(Some(descriptors.len() as u32 - 1))
        }
        Scope::Message(Way::Descriptors, baggage) => {
            baggage.handles += 1;
            baggage.descriptors.push(descriptor.clone());
            Ok(Some(baggage.descriptors.len() as u32 - 1))
        }
        Scope::Message(Way::Names, baggage) if name.is_some() => {
            baggage.handles += 1;
            Ok(None)
        }
        Scope::Message(Way::Names, _) => Err(unsupported(
            "what has a name itself carries its objects by name, and this one has none; create it under a name, or send \
             it in a queue without a name",
        )),
        Scope::Message(Way::Nowhere, _) => Err(unsupported(
            "shared memory stays on its machine, and a socket's other end may be on another; send what is in it",
        )),
        Scope::Outside | Scope::Incoming(_) => Err(unsupported(
            "a handle travels as an argument or result of a process, or in a message of a serde queue; other bytes \
             cannot carry its descriptor",
        )),
    })
}

/// Takes the descriptor at `index` of those that came: what a handle deserialises.
///
/// # Errors
///
/// [`ErrorKind::Decode`] outside [`incoming`], and if no such descriptor came or another handle
/// took it.
pub fn take(index: u32) -> Result<OwnedFd> {
    let taken = with_scope(|scope| match scope {
        Scope::Incoming(arrived) => arrived
            .descriptors
            .get_mut(index as usize)
            .and_then(Option::take),
        _ => None,
    });
    taken.ok_or_else(|| {
        Error::new(ErrorKind::Decode, "attach", "a shared object")
            .with_detail(format!("descriptor {index} did not come with its handle"))
    })
}

/// Takes the object at `index` of those that are open already: what a handle deserialises whose
/// descriptors name their [object](Descriptor::of_object). `None` outside [`incoming_open`].
pub fn take_open(index: u32) -> Option<OpenObject> {
    with_scope(|scope| match scope {
        Scope::Incoming(arrived) => arrived.open.get_mut(index as usize).and_then(Option::take),
        _ => None,
    })
}

/// Opens the memory of a handle that came by its name.
///
/// # Errors
///
/// [`ErrorKind::Decode`] inside [`foreign`]; else those of [`Segment::open`].
pub fn open(name: &str) -> Result<OwnedFd> {
    let is_foreign =
        with_scope(|scope| matches!(scope, Scope::Incoming(arrived) if arrived.is_foreign));
    if is_foreign {
        return Err(
            Error::new(ErrorKind::Decode, "attach", "a shared object").with_detail(
                "it is to be found by a name, and bytes from a socket open no memory of this machine",
            ),
        );
    }
    Segment::open_file(name)
}

/// Refuses a handle in a [`message`], which may wait for its reader: for a handle whose writer must
/// live until it is read.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] inside [`message`].
pub fn needs_a_reader_that_waits(what: &str) -> Result<()> {
    with_scope(|scope| match scope {
        Scope::Message(..) => Err(unsupported(&format!(
            "{what} travels as an argument or result of a process only, not in a message of a queue"
        ))),
        _ => Ok(()),
    })
}

/// The error of a serde format for a handle that was refused, whose cause the scope keeps.
pub fn refuse<E>(error: Error, custom: impl FnOnce(String) -> E) -> E {
    let text = error.to_string();
    with_scope(|scope| {
        if let Scope::Message(_, Baggage { refused, .. })
        | Scope::Incoming(Arrived { refused, .. }) = scope
        {
            refused.get_or_insert(error);
        }
    });
    custom(text)
}

fn with_scope<R>(with: impl FnOnce(&mut Scope) -> R) -> R {
    let mut scope = Entered::new(Scope::Outside);
    let result = with(&mut scope.0);
    drop(scope);
    result
}

fn unsupported(detail: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "serialise", "a shared object").with_detail(detail)
}
