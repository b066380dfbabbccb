//! A set at the server.

use std::borrow::Borrow;
use std::marker::PhantomData;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::Result;
use mp_process::Argument;
use serde::Serialize;

use crate::parcel::{Key, Parcel};
use crate::proxy::{Proxy, container, done, flag, proxy, unexpected};
use crate::request::{Answer, DictOperation, Operation, When};

/// A set that lives in the server of a [`Manager`](crate::Manager), used by any number of
/// processes.
///
/// What is said of [`Dict`](crate::Dict) holds for it and its elements, which are as keys: they
/// stay in the order in which they came, are equal if serde writes them alike, and have no shared
/// objects in them.
///
/// # Examples
///
/// ```
/// let manager = mp_manager::Manager::new()?;
/// let seen = manager.set::<String>()?;
/// assert!(seen.add("a")?);
/// assert!(!seen.add("a")?, "it was there");
/// assert_eq!(seen.to_vec()?, ["a"]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Set<T> {
    proxy: Proxy,
    types: PhantomData<fn() -> T>,
}

proxy!(Set<T>);
container!(Set<T> of "elements");

impl<T: Argument> Set<T> {
    fn call(&self, operation: DictOperation) -> Result<Answer> {
        self.proxy.call(Operation::Dict(operation))
    }

    /// Adds an element; returns whether it was not there, in one step.
    ///
    /// # Errors
    ///
    /// For all methods: [`ErrorKind::ProcessDied`] if the server has ended, [`ErrorKind::Closed`]
    /// if the manager was shut down, [`ErrorKind::Encode`] and [`ErrorKind::Decode`] for what serde
    /// cannot write or read.
    pub fn add<Q>(&self, element: &Q) -> Result<bool>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let put = DictOperation::Put(Key::of(element)?, Parcel::empty(), When::Stamp(0));
        flag(self.call(put)?)
    }

    /// Removes an element; returns whether it was there: Python's `discard`.
    #[doc(alias = "discard")]
    pub fn remove<Q>(&self, element: &Q) -> Result<bool>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        flag(self.call(DictOperation::Remove(Key::of(element)?, When::Always))?)
    }

    /// Removes the element that came last and returns it; `None` if there is none.
    pub fn pop(&self) -> Result<Option<T>> {
        match self.call(DictOperation::TakeLast)? {
            Answer::Item(item) => item.map(|(key, _)| key.open()).transpose(),
            _ => Err(unexpected()),
        }
    }

    /// Whether an element is there.
    #[doc(alias = "in")]
    pub fn contains<Q>(&self, element: &Q) -> Result<bool>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        flag(self.call(DictOperation::Contains(Key::of(element)?))?)
    }

    /// Adds several elements in one step: Python's `update`.
    pub fn extend(&self, elements: impl IntoIterator<Item = T>) -> Result<()> {
        let elements = elements.into_iter();
        let items = elements.map(|element| Ok((Key::of(&element)?, Parcel::empty())));
        done(self.call(DictOperation::Extend(items.collect::<Result<_>>()?))?)
    }

    /// A copy of all elements, in the order in which they came.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.proxy.keys()
    }
}
