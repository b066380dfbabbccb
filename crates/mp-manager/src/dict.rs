//! A dictionary at the server.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::marker::PhantomData;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::Result;
use mp_process::Argument;
use serde::Serialize;

use crate::Entry;
use crate::parcel::{Key, Parcel};
use crate::proxy::{Proxy, container, done, flag, incomparable, proxy, unexpected};
use crate::request::{Answer, DictOperation, Operation, When};

/// A dictionary that lives in the server of a [`Manager`](crate::Manager), used by any number of
/// processes: Python's `manager.dict()`.
///
/// Clones are proxies of the same dictionary, and so is a proxy that went to another process as an
/// argument, in a queue, or in another managed object. Keys stay in the order in which they came.
/// Keys are equal if serde writes them alike.
///
/// Every method is one step: no other process sees half of it. A value that is read is a copy, and
/// a change of the copy changes nothing at the server; [`update`](Self::update) changes a value in
/// place. A value may have proxies and shared objects in it, of which all see the changes.
///
/// # Errors of all methods
///
/// - [`ErrorKind::ProcessDied`] if the server has ended, [`ErrorKind::Closed`] if the manager was
///   shut down.
/// - [`ErrorKind::Encode`] if serde cannot write a key or a value, [`ErrorKind::Decode`] if it
///   cannot read what comes back.
/// - [`ErrorKind::TooManyDescriptors`], [`ErrorKind::NotEnoughMemory`] if something is exhausted.
///
/// # If a process dies
///
/// An operation was carried out or it was not. A value that a process took out
/// ([`pop`](Self::pop), [`popitem`](Self::popitem)) comes back to its place within 250 ms if the
/// process dies before it received it, as if a process put it there at that moment: a
/// [`remove`](Self::remove) of its key or a sort of the list meanwhile did not see it. What was
/// cleared meanwhile does not come back.
///
/// The dictionary is freed within 250 ms when its last proxy is gone, by a drop or by a death; a
/// proxy in a message or in another object counts.
///
/// # Examples
///
/// ```
/// use mp_manager::{Dict, Manager};
///
/// fn count(hits: Dict<String, u64>) -> mp_layout::Result<()> {
///     hits.update("page", |n| n.unwrap_or(0) + 1)
/// }
///
/// let manager = Manager::new()?;
/// let hits = manager.dict::<String, u64>()?;
/// let workers = (0..4).map(|_| mp_process::spawn(count, (hits.clone(),)));
/// for worker in workers.collect::<Result<Vec<_>, _>>()? {
///     worker.result()??;
/// }
/// assert_eq!(hits.get("page")?, Some(4));
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Dict<K, V> {
    proxy: Proxy,
    types: PhantomData<fn() -> (K, V)>,
}

proxy!(Dict<K, V>);
container!(Dict<K, V> of "keys");

impl<K: Argument, V: Argument> Dict<K, V> {
    fn call(&self, operation: DictOperation) -> Result<Answer> {
        self.proxy.call(Operation::Dict(operation))
    }

    fn pack(&self, value: &V) -> Result<Parcel> {
        self.proxy.link.pack(value)
    }

    fn unpack(&self, parcel: Parcel) -> Result<V> {
        self.proxy.link.unpack(parcel)
    }

    /// The value of a key, with its stamp.
    pub(crate) fn get_stamped(&self, key: Key) -> Result<Option<(u64, V)>> {
        self.stamped(self.call(DictOperation::Get(key))?)
    }

    /// Sets the value of a key if its stamp is still this one, 0 if it had none; returns whether.
    pub(crate) fn put_stamped(&self, key: Key, value: &V, stamp: u64) -> Result<bool> {
        let put = DictOperation::Put(key, self.pack(value)?, When::Stamp(stamp));
        flag(self.call(put)?)
    }

    fn stamped(&self, answer: Answer) -> Result<Option<(u64, V)>> {
        match answer {
            Answer::Value(None) => Ok(None),
            Answer::Value(Some((stamp, value))) => Ok(Some((stamp, self.unpack(value)?))),
            _ => Err(unexpected()),
        }
    }

    /// The value of a key; `None` if it is not there.
    ///
    /// `Q` is what serde writes as it writes `K`: `str` for `String`, `[T]` for `Vec<T>`.
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        Ok(self.get_stamped(Key::of(key)?)?.map(|(_, value)| value))
    }

    /// Sets the value of a key: Python's `d[key] = value`.
    pub fn set<Q>(&self, key: &Q, value: V) -> Result<()>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let value = self.pack(&value)?;
        flag(self.call(DictOperation::Put(Key::of(key)?, value, When::Always))?)?;
        Ok(())
    }

    /// Sets the value of a key; returns the value before, if there was one.
    pub fn insert<Q>(&self, key: &Q, value: V) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let value = self.pack(&value)?;
        let before = self.stamped(self.call(DictOperation::Replace(Key::of(key)?, value))?)?;
        Ok(before.map(|(_, value)| value))
    }

    /// The value of a key, which is set to `default` before if it is not there.
    pub fn setdefault<Q>(&self, key: &Q, default: V) -> Result<V>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.entry(key).or_insert(default)
    }

    /// A key with its value, if it has one, to be read and changed in one step: Rust's
    /// [`HashMap::entry`].
    ///
    /// ```
    /// let manager = mp_manager::Manager::new()?;
    /// let hits = manager.dict::<String, u32>()?;
    /// assert_eq!(hits.entry("page").and_modify(|n| *n += 1).or_insert(1)?, 1);
    /// assert_eq!(hits.entry("page").and_modify(|n| *n += 1).or_insert(1)?, 2);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn entry<Q>(&self, key: &Q) -> Entry<'_, K, V>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        Entry::new(self, Key::of(key))
    }

    /// Removes a key; returns whether it was there: Python's `del d[key]`.
    pub fn remove<Q>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        flag(self.call(DictOperation::Remove(Key::of(key)?, When::Always))?)
    }

    /// Removes a key; returns its value, `None` if it was not there.
    ///
    /// A value that cannot be read as a `V` is gone, too: then [`ErrorKind::Decode`] is returned.
    pub fn pop<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let taken = self.stamped(self.call(DictOperation::Take(Key::of(key)?))?)?;
        Ok(taken.map(|(_, value)| value))
    }

    /// Removes the key that came last; returns it with its value, `None` if there is no key.
    pub fn popitem(&self) -> Result<Option<(K, V)>> {
        match self.call(DictOperation::TakeLast)? {
            Answer::Item(None) => Ok(None),
            Answer::Item(Some((key, value))) => Ok(Some((key.open()?, self.unpack(value)?))),
            _ => Err(unexpected()),
        }
    }

    /// Whether a key is there.
    #[doc(alias = "in")]
    pub fn contains<Q>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        flag(self.call(DictOperation::Contains(Key::of(key)?))?)
    }

    /// Sets the values of several keys in one step: Python's `update`.
    pub fn extend(&self, items: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        let items = items.into_iter();
        let items = items.map(|(key, value)| Ok((Key::of(&key)?, self.pack(&value)?)));
        done(self.call(DictOperation::Extend(items.collect::<Result<_>>()?))?)
    }

    /// A copy of all keys, in the order in which they came.
    pub fn keys(&self) -> Result<Vec<K>> {
        self.proxy.keys()
    }

    /// A copy of all values, in the order of their keys.
    pub fn values(&self) -> Result<Vec<V>> {
        self.read_items(|_, value| self.unpack(value))
    }

    /// A copy of all keys with their values, in the order in which the keys came.
    pub fn items(&self) -> Result<Vec<(K, V)>> {
        self.read_items(|key, value| Ok((key.open()?, self.unpack(value)?)))
    }

    /// A copy as a map of this process: Python's `dict(d)`.
    pub fn to_map(&self) -> Result<HashMap<K, V>>
    where
        K: Eq + Hash,
    {
        Ok(self.items()?.into_iter().collect())
    }

    /// What `read` makes of the keys with their values.
    fn read_items<R>(&self, read: impl Fn(Key, Parcel) -> Result<R>) -> Result<Vec<R>> {
        let mut items = Vec::new();
        let copy = Operation::Dict(DictOperation::Items);
        self.proxy.read_pages(copy, |answer| match answer {
            Answer::Items(page) => {
                for (key, value) in page.items {
                    items.push(read(key, value)?);
                }
                Ok(page.is_last)
            }
            _ => Err(unexpected()),
        })?;
        Ok(items)
    }

    /// Sets the value of a key to what `change` makes of the one that is there, as one step.
    ///
    /// `change` runs in this process. If another process sets the value meanwhile, it runs again
    /// with the new one; so it may run several times, and has no turn for as long as others are
    /// always faster. If it panics or its process dies, nothing is changed.
    ///
    /// ```
    /// let manager = mp_manager::Manager::new()?;
    /// let lists = manager.dict::<String, Vec<u32>>()?;
    /// lists.update("primes", |list| {
    ///     let mut list = list.unwrap_or_default();
    ///     list.push(2);
    ///     list
    /// })?;
    /// assert_eq!(lists.get("primes")?, Some(vec![2]));
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn update<Q>(&self, key: &Q, mut change: impl FnMut(Option<V>) -> V) -> Result<()>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let key = Key::of(key)?;
        loop {
            let (stamp, value) = self.get_stamped(key.clone())?.unzip();
            if self.put_stamped(key.clone(), &change(value), stamp.unwrap_or(0))? {
                return Ok(());
            }
        }
    }

    /// Sets the value of a key to `new` if it is `expected`, where `None` stands for a key that is
    /// not there; returns whether it was.
    ///
    /// Values are equal if serde writes them alike. A value with shared objects or proxies in it
    /// equals none.
    pub fn compare_and_set<Q>(&self, key: &Q, expected: Option<&V>, new: Option<V>) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let expected = expected.map(|value| self.pack(value)).transpose()?;
        if expected.as_ref().is_some_and(Parcel::has_objects) {
            return Err(incomparable());
        }
        let (key, when) = (Key::of(key)?, When::Equal(expected));
        flag(match new {
            None => self.call(DictOperation::Remove(key, when))?,
            Some(new) => self.call(DictOperation::Put(key, self.pack(&new)?, when))?,
        })
    }
}
