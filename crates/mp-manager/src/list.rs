//! A list at the server.

use std::marker::PhantomData;
use std::ops::Range;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::Result;
use mp_process::Argument;

use crate::parcel::Parcel;
use crate::proxy::{Proxy, container, done, flag, incomparable, number, proxy, unexpected};
use crate::request::{Answer, ListOperation, Operation, When};

/// A list that lives in the server of a [`Manager`](crate::Manager), used by any number of
/// processes: Python's `manager.list()`.
///
/// What is said of [`Dict`](crate::Dict) holds for it: clones, values that are copies, errors,
/// deaths. Elements are equal if serde writes them alike; an element with shared objects or proxies
/// in it equals none.
///
/// # Examples
///
/// ```
/// use mp_manager::{List, Manager};
///
/// let manager = Manager::new()?;
/// let rows = manager.list::<List<u32>>()?;
/// rows.append(manager.list()?)?;
/// rows.get(0)?.expect("a row").append(7)?; // changes the row itself, for all
/// assert_eq!(rows.get(0)?.expect("a row").to_vec()?, [7]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct List<T> {
    proxy: Proxy,
    types: PhantomData<fn() -> T>,
}

proxy!(List<T>);
container!(List<T> of "elements");

#[cfg(all(test, feature = "net"))]
impl<T> List<T> {
    /// The number that the server knows it by.
    pub(crate) fn number(&self) -> u64 {
        self.proxy.number()
    }
}

impl<T: Argument> List<T> {
    fn call(&self, operation: ListOperation) -> Result<Answer> {
        self.proxy.call(Operation::List(operation))
    }

    fn pack(&self, value: &T) -> Result<Parcel> {
        self.proxy.link.pack(value)
    }

    fn unpack(&self, parcel: Parcel) -> Result<T> {
        self.proxy.link.unpack(parcel)
    }

    fn pack_all(&self, values: impl IntoIterator<Item = T>) -> Result<Vec<Parcel>> {
        let values = values.into_iter();
        values.map(|value| self.pack(&value)).collect()
    }

    fn stamped(&self, answer: Answer) -> Result<Option<(u64, T)>> {
        match answer {
            Answer::Value(None) => Ok(None),
            Answer::Value(Some((stamp, value))) => Ok(Some((stamp, self.unpack(value)?))),
            _ => Err(unexpected()),
        }
    }

    /// What equal elements are compared with.
    fn pattern(&self, value: &T) -> Result<Parcel> {
        let parcel = self.pack(value)?;
        if parcel.has_objects() {
            return Err(incomparable());
        }
        Ok(parcel)
    }

    /// The element of an index; `None` if there is none.
    pub fn get(&self, index: usize) -> Result<Option<T>> {
        let element = self.stamped(self.call(ListOperation::Get(index as u64))?)?;
        Ok(element.map(|(_, value)| value))
    }

    /// Sets the element of an index: Python's `l[index] = value`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is no such element.
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        let put = ListOperation::Put(index as u64, self.pack(&value)?, When::Always);
        flag(self.call(put)?)?;
        Ok(())
    }

    /// Adds an element at the end.
    pub fn append(&self, value: T) -> Result<()> {
        done(self.call(ListOperation::Extend(vec![self.pack(&value)?]))?)
    }

    /// Adds several elements at the end, in one step.
    pub fn extend(&self, values: impl IntoIterator<Item = T>) -> Result<()> {
        done(self.call(ListOperation::Extend(self.pack_all(values)?))?)
    }

    /// Inserts an element before that of an index; at the end if there is no such index.
    pub fn insert(&self, index: usize, value: T) -> Result<()> {
        done(self.call(ListOperation::Insert(index as u64, self.pack(&value)?))?)
    }

    /// Removes the last element and returns it; `None` if there is none.
    ///
    /// An element that cannot be read as a `T` is gone, too: then [`ErrorKind::Decode`] is
    /// returned.
    pub fn pop(&self) -> Result<Option<T>> {
        let taken = self.stamped(self.call(ListOperation::Take(None))?)?;
        Ok(taken.map(|(_, value)| value))
    }

    /// Removes the element of an index and returns it: Python's `l.pop(index)`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is no such element.
    pub fn pop_at(&self, index: usize) -> Result<T> {
        let taken = self.stamped(self.call(ListOperation::Take(Some(index as u64)))?)?;
        taken.map(|(_, value)| value).ok_or_else(unexpected)
    }

    /// Removes the first element that equals `value`; returns whether there was one.
    pub fn remove(&self, value: &T) -> Result<bool> {
        flag(self.call(ListOperation::Remove(self.pattern(value)?))?)
    }

    /// The index of the first element that equals `value`.
    pub fn index(&self, value: &T) -> Result<Option<usize>> {
        match self.call(ListOperation::Find(self.pattern(value)?, 0))? {
            Answer::Index(index) => Ok(index.and_then(|index| usize::try_from(index).ok())),
            _ => Err(unexpected()),
        }
    }

    /// Whether an element equals `value`.
    #[doc(alias = "in")]
    pub fn contains(&self, value: &T) -> Result<bool> {
        Ok(self.index(value)?.is_some())
    }

    /// How many elements equal `value`.
    pub fn count(&self, value: &T) -> Result<usize> {
        number(self.call(ListOperation::CountEqual(self.pattern(value)?))?)
    }

    /// Reverses the order of the elements.
    pub fn reverse(&self) -> Result<()> {
        done(self.call(ListOperation::Reverse)?)
    }

    /// Sorts the elements. Those that are equal keep their order.
    ///
    /// It is done in this process, as by [`update_all`](Self::update_all), and may have no turn for
    /// as long as others change the list all the time.
    pub fn sort(&self) -> Result<()>
    where
        T: Ord,
    {
        self.update_all(|elements| elements.sort())
    }

    /// A copy of all elements: Python's `list(l)`.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.slice(0..usize::MAX)
    }

    /// A copy of the elements of these indices, as far as there are such: Python's `l[a:b]`.
    pub fn slice(&self, indices: Range<usize>) -> Result<Vec<T>> {
        Ok(self.stamped_slice(indices)?.1)
    }

    /// The elements of these indices, with the stamp of the list.
    fn stamped_slice(&self, indices: Range<usize>) -> Result<(u64, Vec<T>)> {
        let Range { start, end } = indices;
        let (mut stamp, mut values) = (0, Vec::new());
        let read = Operation::List(ListOperation::Slice(start as u64, end as u64));
        self.proxy.read_pages(read, |answer| match answer {
            Answer::Values(page) => {
                stamp = page.stamp;
                for value in page.items {
                    values.push(self.unpack(value)?);
                }
                Ok(page.is_last)
            }
            _ => Err(unexpected()),
        })?;
        Ok((stamp, values))
    }

    /// Sets the element of an index to what `change` makes of it, as one step.
    ///
    /// As for [`Dict::update`](crate::Dict::update), `change` runs in this process, and again if
    /// another process changes the element meanwhile or moves another one to the index.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is no such element.
    pub fn update(&self, index: usize, mut change: impl FnMut(T) -> T) -> Result<()> {
        loop {
            let there = self.stamped(self.call(ListOperation::Get(index as u64))?)?;
            // Without an element the put says how many there are.
            let (stamp, value) = match there {
                None => (0, None),
                Some((stamp, value)) => (stamp, Some(value)),
            };
            let value = match value {
                None => Parcel::empty(),
                Some(value) => self.pack(&change(value))?,
            };
            let put = ListOperation::Put(index as u64, value, When::Stamp(stamp));
            if flag(self.call(put)?)? {
                return Ok(());
            }
        }
    }

    /// Lets `change` change all elements, as one step.
    ///
    /// `change` gets a copy in this process, which takes the place of all elements afterwards. It
    /// runs again with a new copy if another process changes the list meanwhile: where others
    /// change it all the time, a slow change has no turn. A [`Lock`](mp_object::Lock) that all
    /// hold for such changes gives it one.
    pub fn update_all(&self, mut change: impl FnMut(&mut Vec<T>)) -> Result<()> {
        loop {
            let (stamp, mut values) = self.stamped_slice(0..usize::MAX)?;
            change(&mut values);
            let replace = ListOperation::ReplaceAll(self.pack_all(values)?, stamp);
            if flag(self.call(replace)?)? {
                return Ok(());
            }
        }
    }

    /// Sets the element of an index to `new` if it equals `expected`; returns whether it did.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is no such element.
    pub fn compare_and_set(&self, index: usize, expected: &T, new: T) -> Result<bool> {
        let when = When::Equal(Some(self.pattern(expected)?));
        flag(self.call(ListOperation::Put(index as u64, self.pack(&new)?, when))?)
    }
}
