//! What stands at a remote client for a descriptor that the server keeps for it.
//!
//! Serde's formats know nothing of references, so a thread says in which scope it writes or reads,
//! as [`transfer`](mp_object::transfer) does for descriptors.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::{message, transfer};
use serde::de::DeserializeOwned;

use super::session::Table;
pub(crate) use super::session::{Reference, Session};
use super::wire::{MOST_ELEMENTS, too_many};

/// What has a number in a frame.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// At the server.
    Here(Arc<OwnedFd>),
    /// At the client.
    Away(Arc<Reference>),
}

/// In what this thread writes or reads.
enum Scope {
    Outside,
    /// A frame of a client.
    Client(Arc<Session>),
    /// A frame of a gateway, with the numbers that were given in it, and how many values and keys
    /// were read.
    Server(Arc<Table>, Vec<u64>, usize),
    /// A client writes a value: the references in it, and how many of them were written again in
    /// debug builds, which read it back.
    Writing(Arc<Session>, Vec<Arc<Reference>>, Option<u64>),
    /// A client reads a value: the references in it, and how many were asked for.
    Reading(Vec<Arc<Reference>>, usize),
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope::Outside) };
}

/// The scope around, which comes back also when serialising panics.
struct Entered(Option<Scope>);

impl Entered {
    fn new(scope: Scope) -> Self {
        Self(replace(scope))
    }

    fn leave(mut self) -> Scope {
        let outer = self.0.take();
        outer.and_then(replace).unwrap_or(Scope::Outside)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        drop(self.0.take().and_then(replace));
    }
}

/// While a thread ends there is no scope any more: references are refused then.
fn replace(scope: Scope) -> Option<Scope> {
    SCOPE.try_with(|current| current.replace(scope)).ok()
}

fn with<R>(look: impl FnOnce(&mut Scope) -> R) -> R {
    let mut scope = replace(Scope::Outside).unwrap_or(Scope::Outside);
    let result = look(&mut scope);
    drop(replace(scope));
    result
}

/// Runs `run`, which writes or reads a frame of a client.
pub(crate) fn in_frame_of<R>(session: &Arc<Session>, run: impl FnOnce() -> R) -> R {
    let entered = Entered::new(Scope::Client(Arc::clone(session)));
    let result = run();
    drop(entered.leave());
    result
}

/// Runs `run`, which writes or reads a frame of a gateway; returns also the numbers that were given
/// meanwhile.
pub(crate) fn in_frame_at<R>(table: &Arc<Table>, run: impl FnOnce() -> R) -> (R, Vec<u64>) {
    let entered = Entered::new(Scope::Server(Arc::clone(table), Vec::new(), 0));
    let result = run();
    match entered.leave() {
        Scope::Server(_, given, _) => (result, given),
        _ => (result, Vec::new()),
    }
}

/// Runs `run`, which writes a value of a client; returns also the references in it.
pub(crate) fn writing<R>(
    session: &Arc<Session>,
    run: impl FnOnce() -> R,
) -> (R, Vec<Arc<Reference>>) {
    let entered = Entered::new(Scope::Writing(Arc::clone(session), Vec::new(), None));
    let result = run();
    match entered.leave() {
        Scope::Writing(_, references, _) => (result, references),
        _ => (result, Vec::new()),
    }
}

/// Reads a value of a client, with the references in it.
///
/// # Errors
///
/// Why it cannot be read, as text.
pub(crate) fn read<T: DeserializeOwned>(
    references: Vec<Arc<Reference>>,
    bytes: &[u8],
) -> Result<T, String> {
    let all = references.len();
    let entered = Entered::new(Scope::Reading(references, 0));
    let (value, refused) = transfer::foreign(Vec::new(), || message::read_foreign(bytes));
    let asked = match entered.leave() {
        Scope::Reading(_, asked) => asked,
        _ => all,
    };
    value.map_err(|why| match asked < all {
        true => "a shared object is in it, whose memory stays on the machine of its manager; share what is in it by a \
                 managed object"
            .to_owned(),
        false => refused.map_or_else(|| why.to_string(), |refused| refused.to_string()),
    })
}

/// Whether this thread writes or reads a frame.
pub(crate) fn is_in_frame() -> bool {
    SCOPE
        .try_with(|scope| matches!(*scope.borrow(), Scope::Client(_) | Scope::Server(..)))
        .unwrap_or(false)
}

/// Counts a value or a key in a frame of a client: an empty one takes two bytes there, and about
/// ninety when it was read.
pub(crate) fn count_element() -> Result<()> {
    let count = SCOPE.try_with(|scope| match &mut *scope.borrow_mut() {
        Scope::Server(_, _, elements) => {
            *elements += 1;
            *elements
        }
        _ => 0,
    });
    match count {
        Ok(count) if count > MOST_ELEMENTS => Err(too_many(count)),
        _ => Ok(()),
    }
}

/// The number in a frame of what the server has.
pub(crate) fn send_here(file: &Arc<OwnedFd>) -> Result<u64> {
    with(|scope| match scope {
        Scope::Server(table, given, _) => {
            let number = table.insert(Arc::clone(file))?;
            given.push(number);
            Ok(number)
        }
        _ => Err(strange()),
    })
}

/// The number in a frame of what a client has.
pub(crate) fn send_away(reference: &Arc<Reference>) -> Result<u64> {
    with(|scope| match scope {
        Scope::Client(session) if reference.is_of(session) => Ok(reference.number()),
        _ => Err(strange()),
    })
}

/// What has a number in a frame.
pub(crate) fn receive(number: u64) -> Result<Arrived> {
    with(|scope| match scope {
        Scope::Server(table, ..) => table.get(number).map(Arrived::Here),
        Scope::Client(session) => Ok(Arrived::Away(Reference::new(session, number))),
        _ => Err(strange()),
    })
}

/// Puts a reference into the value that is written; returns its place there.
pub(crate) fn put(reference: &Arc<Reference>) -> Result<u64> {
    with(|scope| match scope {
        Scope::Writing(session, references, again) if reference.is_of(session) => match again {
            // It was read back, and is compared.
            Some(written) => {
                *written += 1;
                Ok(*written - 1)
            }
            None => {
                references.push(Arc::clone(reference));
                Ok(references.len() as u64 - 1)
            }
        },
        _ => Err(strange()),
    })
}

/// Takes the reference at a place of the value that is read; `None` if no value of a remote manager
/// is read.
pub(crate) fn take(place: u64) -> Result<Option<Arc<Reference>>> {
    with(|scope| {
        let references = match scope {
            Scope::Writing(_, references, again) => {
                again.get_or_insert(0);
                references
            }
            Scope::Reading(references, asked) => {
                *asked += 1;
                references
            }
            _ => return Ok(None),
        };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let reference = references.get(place).map(Arc::clone);
        reference.map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Decode, "receive", "a proxy of a manager")
                .with_detail("its object did not come with it")
        })
    })
}

/// A proxy is not among the objects of its own manager.
#[cold]
pub(crate) fn strange() -> Error {
    Error::new(ErrorKind::Unsupported, "send", "a proxy of a remote manager").with_detail(
        "it means something on the connection of its process, in values of the same manager; connect in the other process, and \
         take it there by its published name",
    )
}
