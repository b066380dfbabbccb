//! How handles of shared memory cross to another process inside serialised values.
//!
//! A handle's bytes say what it is; the memory itself is a file descriptor, which bytes cannot carry. The sender opens a
//! scope that collects the descriptors while it serialises, and sends them next to the bytes; the receiver opens a scope
//! with them while it deserialises.
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
//! Outside such a scope a handle does not serialise, and says so. Memory with a name travels in the same way, also when
//! the name is unlinked on the way.

use std::cell::RefCell;
use std::os::fd::{BorrowedFd, OwnedFd};

use mp_layout::{Error, ErrorKind, Result};

/// What the innermost scope of this thread does with descriptors.
enum Scope {
    Outgoing(Vec<OwnedFd>),
    Incoming(Vec<Option<OwnedFd>>),
}

thread_local! {
    static SCOPES: RefCell<Vec<Scope>> = const { RefCell::new(Vec::new()) };
}

/// Closes the scope also when serialising panics.
struct Entered;

impl Entered {
    fn new(scope: Scope) -> Self {
        SCOPES.with_borrow_mut(|scopes| scopes.push(scope));
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        SCOPES.with_borrow_mut(Vec::pop);
    }
}

/// Runs `write` and returns, next to its result, the descriptors of the objects that were serialised meanwhile.
pub fn outgoing<R>(write: impl FnOnce() -> R) -> (R, Vec<OwnedFd>) {
    let scope = Entered::new(Scope::Outgoing(Vec::new()));
    let written = write();
    let descriptors = SCOPES.with_borrow_mut(|scopes| match scopes.last_mut() {
        Some(Scope::Outgoing(descriptors)) => core::mem::take(descriptors),
        _ => Vec::new(),
    });
    drop(scope);
    (written, descriptors)
}

/// Runs `read` with the descriptors that [`outgoing`] returned on the other side, in the same order.
///
/// Those that no handle asks for are closed.
pub fn incoming<R>(descriptors: Vec<OwnedFd>, read: impl FnOnce() -> R) -> R {
    let scope = Entered::new(Scope::Incoming(descriptors.into_iter().map(Some).collect()));
    let value = read();
    drop(scope);
    value
}

/// Adds a duplicate of `descriptor` to what travels, and returns its place: what a handle serialises.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] outside [`outgoing`], [`ErrorKind::TooManyDescriptors`].
pub fn put(descriptor: BorrowedFd<'_>) -> Result<u32> {
    SCOPES.with_borrow_mut(|scopes| match scopes.last_mut() {
        Some(Scope::Outgoing(descriptors)) => {
            let copy = descriptor
                .try_clone_to_owned()
                .map_err(|source| Error::os("duplicate", "the descriptor of an object", source))?;
            let index = descriptors.len() as u32;
            descriptors.push(copy);
            Ok(index)
        }
        _ => Err(Error::new(ErrorKind::Unsupported, "serialise", "a shared object").with_detail(
            "a handle travels as an argument or result of a process; other bytes cannot carry its descriptor",
        )),
    })
}

/// Takes the descriptor at `index` of those that came: what a handle deserialises.
///
/// # Errors
///
/// [`ErrorKind::Decode`] outside [`incoming`], and if no such descriptor came or another handle took it.
pub fn take(index: u32) -> Result<OwnedFd> {
    let taken = SCOPES.with_borrow_mut(|scopes| match scopes.last_mut() {
        Some(Scope::Incoming(descriptors)) => {
            descriptors.get_mut(index as usize).and_then(Option::take)
        }
        _ => None,
    });
    taken.ok_or_else(|| {
        Error::new(ErrorKind::Decode, "attach", "a shared object")
            .with_detail(format!("descriptor {index} did not come with its handle"))
    })
}
