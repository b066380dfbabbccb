//! A key of a managed dictionary, read and changed in one step.

use std::fmt;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::Result;
use mp_process::Argument;

use crate::Dict;
use crate::parcel::Key;

/// A key of a [`Dict`] with its value, if it has one: made by [`Dict::entry`].
///
/// The last method of the chain ([`or_insert`](Self::or_insert) and its kin, [`get`](Self::get))
/// asks the server. It reads the value, changes the copy in this process, and sets the key to that
/// if no process has set or removed it meanwhile; otherwise it begins again with the new value. So
/// the whole is one step, also if a process is killed in it, and a change may run several times.
/// The value at the server is no place that could be borrowed: each method returns a copy.
///
/// ```
/// let manager = mp_manager::Manager::new()?;
/// let hits = manager.dict::<String, u32>()?;
/// for page in ["a", "b", "a"] {
///     hits.entry(page).and_modify(|n| *n += 1).or_insert(1)?;
/// }
/// assert_eq!(hits.items()?, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
/// assert_eq!(hits.entry("c").and_modify(|n| *n += 1).get()?, None);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Errors
///
/// Of the last method: those of all methods of a [`Dict`], also [`ErrorKind::Encode`] of the key.
#[must_use = "the server is asked by the last method: `or_insert`, `or_default` or `get`"]
pub struct Entry<'d, K, V> {
    dict: &'d Dict<K, V>,
    key: Result<Key>,
    changes: Vec<Change<'d, V>>,
}

type Change<'d, V> = Box<dyn FnMut(&mut V) + 'd>;

impl<'d, K: Argument, V: Argument> Entry<'d, K, V> {
    pub(crate) fn new(dict: &'d Dict<K, V>, key: Result<Key>) -> Self {
        let changes = Vec::new();
        Self { dict, key, changes }
    }

    /// Changes the value if there is one. It runs again if another process sets the key meanwhile.
    pub fn and_modify(mut self, change: impl FnMut(&mut V) + 'd) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Sets the key to `default` if it has no value; returns the value that it has then.
    pub fn or_insert(self, default: V) -> Result<V> {
        self.or_insert_with(|| default)
    }

    /// Sets the key to what `default` returns if it has no value; returns the value that it has
    /// then. `default` runs once at most.
    pub fn or_insert_with(self, default: impl FnOnce() -> V) -> Result<V> {
        let (dict, key, mut changes) = (self.dict, self.key?, self.changes);
        let mut default = Some(default);
        let mut made = None;
        loop {
            if let Some(there) = change(dict, &key, &mut changes)? {
                return Ok(there);
            }
            let value = match (made.take(), default.take()) {
                (Some(value), _) => value,
                (None, Some(default)) => default(),
                // One of the two is there.
                (None, None) => continue,
            };
            if dict.put_stamped(key.clone(), &value, 0)? {
                return Ok(value);
            }
            made = Some(value);
        }
    }

    /// Sets the key to the default of its type if it has no value; returns the value that it has
    /// then.
    pub fn or_default(self) -> Result<V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Changes the value if there is one, and returns it; sets nothing otherwise.
    pub fn get(mut self) -> Result<Option<V>> {
        change(self.dict, &self.key?, &mut self.changes)
    }
}

/// Carries out the changes on the value that is there, and returns it.
fn change<K: Argument, V: Argument>(
    dict: &Dict<K, V>,
    key: &Key,
    changes: &mut [Change<'_, V>],
) -> Result<Option<V>> {
    loop {
        let Some((stamp, mut value)) = dict.get_stamped(key.clone())? else {
            return Ok(None);
        };
        changes.iter_mut().for_each(|change| change(&mut value));
        if changes.is_empty() || dict.put_stamped(key.clone(), &value, stamp)? {
            return Ok(Some(value));
        }
    }
}

impl<K, V> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Entry")
            .field("dict", self.dict)
            .finish_non_exhaustive()
    }
}
