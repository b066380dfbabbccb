//! What all proxies have in common.

use std::any::type_name;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::transfer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serializer, de, ser};

use crate::link::{Link, LinkHandle};
use crate::object::not_made;
use crate::request::{Answer, DictOperation, Kind, Operation};
use crate::token::Token;

/// An object at the server, which is there as long as this is.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) link: Arc<Link>,
    object: u64,
    token: Token,
}

/// A proxy as it travels: its manager, the name of its type, the object's number, and the token.
type Handle<Name> = (Option<LinkHandle>, Name, u64, Token);

impl Proxy {
    /// Makes an object.
    pub(crate) fn create(link: &Arc<Link>, kind: Kind) -> Result<Self> {
        Self::made(link, Operation::Create(kind))
    }

    /// Has the server make an object.
    pub(crate) fn made(link: &Arc<Link>, operation: Operation) -> Result<Self> {
        match link.call(0, operation)? {
            Answer::Created(object, token) => Ok(Self {
                link: Arc::clone(link),
                object,
                token,
            }),
            Answer::Returned(outcome) => Err(not_made(outcome)),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn call(&self, operation: Operation) -> Result<Answer> {
        self.link.call(self.object, operation)
    }

    /// Asks for a copy that comes in pages, and gives them to `take`, which says whether it was the
    /// last.
    pub(crate) fn read_pages(
        &self,
        operation: Operation,
        take: impl FnMut(Answer) -> Result<bool>,
    ) -> Result<()> {
        self.link.read_pages(self.object, operation, take)
    }

    /// A copy of a dictionary's keys.
    pub(crate) fn keys<K: DeserializeOwned>(&self) -> Result<Vec<K>> {
        let mut keys = Vec::new();
        let read = Operation::Dict(DictOperation::Keys);
        self.read_pages(read, |answer| match answer {
            Answer::Keys(page) => {
                for key in page.items {
                    keys.push(key.open()?);
                }
                Ok(page.is_last)
            }
            _ => Err(unexpected()),
        })?;
        Ok(keys)
    }

    pub(crate) fn len(&self) -> Result<usize> {
        number(self.call(Operation::Len)?)
    }

    pub(crate) fn clear(&self) -> Result<()> {
        done(self.call(Operation::Clear)?)
    }

    /// The number that the server knows the object by.
    pub(crate) fn number(&self) -> u64 {
        self.object
    }

    /// Whether both are of the same object.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.object == other.object && self.link.is_same(&other.link)
    }

    /// Writes the proxy of an object of type `T`.
    pub(crate) fn serialize<T, S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handle: Handle<&str> = (
            self.link.handle(),
            type_name::<T>(),
            self.object,
            self.token.clone(),
        );
        ser::Serialize::serialize(&handle, serializer)
    }

    /// Reads the proxy of an object of type `T`.
    pub(crate) fn deserialize<'de, T, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let (link, name, object, token) = Handle::<String>::deserialize(deserializer)?;
        let received = if name == type_name::<T>() {
            Link::received(link)
        } else {
            Err(Error::mismatch(
                ErrorKind::WrongType,
                "receive",
                "a proxy of a manager",
                name,
                type_name::<T>(),
            ))
        };
        let link =
            received.map_err(|error| transfer::refuse(error, <D::Error as de::Error>::custom))?;
        Ok(Self {
            link,
            object,
            token,
        })
    }
}

/// Gives a proxy what all have: it travels, and is shown as its object's number.
macro_rules! proxy {
    ($name:ident<$($type:ident),*>) => {
        impl<$($type),*> Clone for $name<$($type),*> {
            fn clone(&self) -> Self {
                Self {
                    proxy: self.proxy.clone(),
                    types: PhantomData,
                }
            }
        }

        impl<$($type),*> ::std::fmt::Debug for $name<$($type),*> {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.debug_tuple(stringify!($name)).field(&self.proxy.number()).finish()
            }
        }

        impl<$($type),*> $name<$($type),*> {
            pub(crate) fn of(proxy: Proxy) -> Self {
                let types = PhantomData;
                Self { proxy, types }
            }
        }

        impl<$($type: 'static),*> $name<$($type),*> {
            /// Whether both are proxies of the same object.
            pub fn is_same(&self, other: &Self) -> bool {
                self.proxy.is_same(&other.proxy)
            }
        }

        impl<$($type: 'static),*> ::serde::Serialize for $name<$($type),*> {
            /// Writes the proxy, which keeps the object until it is read; see
            /// [`transfer`](mp_object::transfer).
            fn serialize<Z: ::serde::Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                self.proxy.serialize::<Self, Z>(serializer)
            }
        }

        impl<'de, $($type: 'static),*> ::serde::Deserialize<'de> for $name<$($type),*> {
            fn deserialize<Z: ::serde::Deserializer<'de>>(deserializer: Z) -> Result<Self, Z::Error> {
                Proxy::deserialize::<Self, Z>(deserializer).map(Self::of)
            }
        }
    };
}

/// Gives a container what all have.
macro_rules! container {
    ($name:ident<$($type:ident),*> of $items:literal) => {
        impl<$($type: Argument),*> $name<$($type),*> {
            #[doc = concat!("How many ", $items, " there are.")]
            pub fn len(&self) -> Result<usize> {
                self.proxy.len()
            }

            #[doc = concat!("Whether there are no ", $items, ".")]
            pub fn is_empty(&self) -> Result<bool> {
                Ok(self.len()? == 0)
            }

            #[doc = concat!("Removes all ", $items, ".")]
            pub fn clear(&self) -> Result<()> {
                self.proxy.clear()
            }
        }
    };
}

pub(crate) use {container, proxy};

/// The answer of an operation that gives nothing.
pub(crate) fn done(answer: Answer) -> Result<()> {
    match answer {
        Answer::Done => Ok(()),
        _ => Err(unexpected()),
    }
}

pub(crate) fn flag(answer: Answer) -> Result<bool> {
    match answer {
        Answer::Flag(flag) => Ok(flag),
        _ => Err(unexpected()),
    }
}

pub(crate) fn number(answer: Answer) -> Result<usize> {
    match answer {
        Answer::Number(number) => Ok(usize::try_from(number).unwrap_or(usize::MAX)),
        _ => Err(unexpected()),
    }
}

/// An answer that the server gives to other operations only.
#[cold]
pub(crate) fn unexpected() -> Error {
    Error::new(ErrorKind::Corrupt, "read", "the answer of a manager")
        .with_detail("it is the answer to another operation")
}

/// What is to be compared has shared objects in it.
#[cold]
pub(crate) fn incomparable() -> Error {
    Error::new(ErrorKind::InvalidInput, "compare", "a value of a manager").with_detail(
        "it has shared objects or proxies in it, whose bytes do not say which they are; use `update`",
    )
}
