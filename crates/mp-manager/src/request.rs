//! What clients ask of the server, and what it answers.

use std::cell::Cell;
#[cfg(feature = "net")]
use std::fmt;
use std::os::fd::RawFd;

use mp_layout::{Error, Result};
use mp_os::socket::MAX_FDS;
use mp_queue::{Connection, Nothing};
use serde::{Deserialize, Deserializer, Serialize};

use crate::parcel::{Key, Parcel};
use crate::staging::Staging;
use crate::token::Token;

/// One request. Its sender waits for the reply before it sends the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) sender: Sender,
    /// The object that it is about; 0 if it is about none.
    pub(crate) object: u64,
    pub(crate) operation: Operation,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sender {
    /// The connection by which it waits for replies.
    pub(crate) connection: u64,
    /// Which of its requests it is, from 1 on; the reply has the same number.
    pub(crate) number: u64,
}

thread_local! {
    /// Whose request this thread read last.
    static LAST: Cell<Option<Sender>> = const { Cell::new(None) };
}

impl Sender {
    /// Whose request this thread began to read since this was asked last: of a request that does
    /// not decode, the one who waits for an answer.
    pub(crate) fn take_last() -> Option<Self> {
        LAST.take()
    }
}

impl<'de> Deserialize<'de> for Sender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (connection, number) = Deserialize::deserialize(deserializer)?;
        let sender = Self { connection, number };
        LAST.set(Some(sender));
        Ok(sender)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Operation {
    /// The first of a connection: by what it gets replies. It is not answered, unless refused.
    Connect(Connection<Reply, Nothing>, Receipt),
    /// The reply to the last request was received.
    Received,
    /// By this memory large values come and go from now on.
    Stage(Staging),
    /// The dictionary of the published names, which is made if there is none yet.
    Names,
    /// Makes an object.
    Create(Kind),
    /// Makes an object of the program's own type, by a function.
    Make(Call),
    /// Calls a function with such an object.
    Call(Call),
    /// Frees the objects of which no process has a proxy; how many are left.
    CountObjects,
    /// The next page of what the last answer began.
    NextPage,
    Len,
    Clear,
    Dict(DictOperation),
    List(ListOperation),
    /// Serves clients of other machines, too.
    #[cfg(feature = "net")]
    Listen(Listen),
}

/// How the server learns that a client has received a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Receipt {
    /// By a look at the pipe.
    Seen,
    /// By [`Operation::Received`], or by the next request: the one at the end of the pipe sends the
    /// reply on.
    Told,
}

/// Where the server is to listen.
#[cfg(feature = "net")]
#[derive(Serialize, Deserialize)]
pub(crate) struct Listen {
    /// By which the requests of remote clients go to the server's thread.
    pub(crate) link: crate::link::LinkHandle,
    pub(crate) address: mp_net::Address,
    pub(crate) key: Vec<u8>,
}

#[cfg(feature = "net")]
impl fmt::Debug for Listen {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Listen");
        shown
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A function that the server calls, and its arguments.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Its name, as [`Function::to_bytes`](mp_process::call::Function::to_bytes) writes it.
    pub(crate) function: Vec<u8>,
    pub(crate) arguments: Parcel,
}

/// What a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Dict,
    List,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum DictOperation {
    Get(Key),
    Contains(Key),
    /// Sets the key's value, if the condition holds.
    Put(Key, Parcel, When),
    /// Sets the key's value, and answers what it was.
    Replace(Key, Parcel),
    /// Removes the key, if the condition holds.
    Remove(Key, When),
    /// Removes the key, and answers what its value was.
    Take(Key),
    /// Removes the key that came last, and answers it with its value.
    TakeLast,
    /// The keys, in pages.
    Keys,
    /// The keys with their values, in pages.
    Items,
    /// Sets the values of several keys.
    Extend(Vec<(Key, Parcel)>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ListOperation {
    Get(u64),
    Put(u64, Parcel, When),
    Insert(u64, Parcel),
    Extend(Vec<Parcel>),
    /// Removes the element of this index, the last one without, and answers it.
    Take(Option<u64>),
    /// Removes the first element that is equal.
    Remove(Parcel),
    /// The index of the first element that is equal, from this index on.
    Find(Parcel, u64),
    CountEqual(Parcel),
    Reverse,
    /// The elements from the first index to before the second, in pages.
    Slice(u64, u64),
    /// Puts other elements in the place of all, if the list has this stamp.
    ReplaceAll(Vec<Parcel>, u64),
}

/// On what condition an entry is changed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum When {
    Always,
    /// It was not changed since it had this stamp; 0 is the stamp of what is not there.
    Stamp(u64),
    /// Its value is equal; `None` if it is not there.
    Equal(Option<Parcel>),
}

/// The answer to one request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// That of the request; 0 if the connection is refused.
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    /// Whether it was done, or is so.
    Flag(bool),
    Number(u64),
    Index(Option<u64>),
    Created(u64, Token),
    /// A value with its stamp.
    Value(Option<(u64, Parcel)>),
    Item(Option<(Key, Parcel)>),
    Keys(Page<Key>),
    Items(Page<(Key, Parcel)>),
    Values(Page<Parcel>),
    /// What came of a call: the bytes of an [`Outcome`](mp_process::call::Outcome).
    Returned(Parcel),
    Failed(Error),
    /// The address that the server listens at.
    #[cfg(feature = "net")]
    Listening(mp_net::Address),
}

/// As much of a copy of a container as fits into an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Page<T> {
    /// The container's number of the state that is copied.
    pub(crate) stamp: u64,
    pub(crate) items: Vec<T>,
    /// Whether nothing is left.
    pub(crate) is_last: bool,
}

/// So many bytes of values and keys are in a page, with [`ITEM_BYTES`] for each item, unless the
/// first alone has more. The server's thread serves no other client while it writes one, and a
/// gateway has each as a message, as values and as a frame.
const PAGE_BYTES: usize = 16 << 20;

/// What an item of a page takes besides its bytes, about: so a page of short ones has no more than
/// 262144.
const ITEM_BYTES: usize = 64;

/// What a page has many of.
pub(crate) trait Item {
    /// How many bytes it has.
    fn len(&self) -> usize;

    /// Its value, unless it is a key.
    fn value(&self) -> Option<&Parcel>;
}

impl Item for Key {
    fn len(&self) -> usize {
        self.len()
    }

    fn value(&self) -> Option<&Parcel> {
        None
    }
}

impl Item for Parcel {
    fn len(&self) -> usize {
        self.len()
    }

    fn value(&self) -> Option<&Parcel> {
        Some(self)
    }
}

impl Item for (Key, Parcel) {
    fn len(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn value(&self) -> Option<&Parcel> {
        Some(&self.1)
    }
}

impl<T: Item> Page<T> {
    /// All of a copy.
    pub(crate) fn of(stamp: u64, items: impl Iterator<Item = T>) -> Self {
        Self {
            stamp,
            items: items.collect(),
            is_last: true,
        }
    }

    /// Keeps what fits into an answer; returns the rest.
    fn split(&mut self) -> Option<Self> {
        let (mut bytes, mut descriptors) = (0_usize, 0);
        // One alone came in a message, and so fits into one.
        let end = self.items.iter().enumerate().position(|(place, item)| {
            bytes = bytes.saturating_add(item.len()).saturating_add(ITEM_BYTES);
            descriptors += item.value().map_or(0, Parcel::descriptors);
            (bytes > PAGE_BYTES || descriptors > MAX_FDS) && place != 0
        });
        let rest = self.items.split_off(end?);
        self.is_last = false;
        Some(Self {
            stamp: self.stamp,
            items: rest,
            is_last: true,
        })
    }
}

impl Answer {
    /// Keeps what fits into one answer; returns the one to come after it, if there is more.
    pub(crate) fn split(&mut self) -> Option<Self> {
        match self {
            Self::Keys(page) => page.split().map(Self::Keys),
            Self::Items(page) => page.split().map(Self::Items),
            Self::Values(page) => page.split().map(Self::Values),
            _ => None,
        }
    }

    /// Its value, if there is one.
    pub(crate) fn value_mut(&mut self) -> Option<&mut Parcel> {
        match self {
            Self::Value(Some((_, value))) | Self::Item(Some((_, value))) => Some(value),
            _ => None,
        }
    }

    /// How many bytes of values and keys are in it.
    #[cfg(feature = "net")]
    pub(crate) fn len(&self) -> usize {
        fn all<T: Item>(page: &Page<T>) -> usize {
            page.items.iter().map(Item::len).sum()
        }
        match self {
            Self::Value(Some((_, value))) | Self::Returned(value) => value.len(),
            Self::Item(Some((key, value))) => key.len() + value.len(),
            Self::Keys(page) => all(page),
            Self::Items(page) => all(page),
            Self::Values(page) => all(page),
            _ => 0,
        }
    }
}

impl Operation {
    /// Whether it takes something out, which comes back if the client does not receive it.
    #[cfg(feature = "net")]
    pub(crate) fn takes(&self) -> bool {
        matches!(
            self,
            Self::Dict(DictOperation::Take(_) | DictOperation::TakeLast)
                | Self::List(ListOperation::Take(_))
        )
    }

    /// How many values and keys are in it, if there may be many.
    #[cfg(feature = "net")]
    pub(crate) fn elements(&self) -> usize {
        match self {
            Self::Dict(DictOperation::Extend(items)) => 2 * items.len(),
            Self::List(ListOperation::Extend(values) | ListOperation::ReplaceAll(values, _)) => {
                values.len()
            }
            _ => 0,
        }
    }

    /// Its value, if it has one and no other.
    pub(crate) fn value_mut(&mut self) -> Option<&mut Parcel> {
        match self {
            Self::Make(call) | Self::Call(call) => Some(&mut call.arguments),
            Self::Dict(DictOperation::Put(_, value, _) | DictOperation::Replace(_, value))
            | Self::List(ListOperation::Put(_, value, _) | ListOperation::Insert(_, value)) => {
                Some(value)
            }
            Self::List(ListOperation::Extend(values)) => match &mut values[..] {
                [value] => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    /// The highest number of the descriptors that came with it.
    pub(crate) fn highest_descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Make(call) | Self::Call(call) => call.arguments.highest_descriptor(),
            Self::Dict(DictOperation::Put(_, value, _) | DictOperation::Replace(_, value))
            | Self::List(ListOperation::Put(_, value, _) | ListOperation::Insert(_, value)) => {
                value.highest_descriptor()
            }
            Self::Dict(DictOperation::Extend(items)) => {
                let values = items.iter().map(|(_, value)| value);
                values.filter_map(Parcel::highest_descriptor).max()
            }
            Self::List(ListOperation::Extend(values) | ListOperation::ReplaceAll(values, _)) => {
                values.iter().filter_map(Parcel::highest_descriptor).max()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_values_without_bytes_has_an_end() {
        let most = PAGE_BYTES / ITEM_BYTES;
        let mut page = Page::of(7, vec![Parcel::empty(); most + 5].into_iter());
        let rest = page.split().expect("a second page");
        assert_eq!((page.items.len(), page.is_last), (most, false));
        assert_eq!((rest.items.len(), rest.is_last, rest.stamp), (5, true, 7));
        assert!(page.split().is_none());
    }
}
