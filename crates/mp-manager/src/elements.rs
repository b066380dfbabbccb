//! The elements of a managed list.

use std::collections::VecDeque;

use mp_layout::{Error, ErrorKind, Result};

use crate::ordered_map::Entry;
use crate::parcel::Parcel;
use crate::request::Page;
use crate::store::Stamps;

/// Elements in their order. Each change gives the list another stamp.
#[derive(Debug, Default)]
pub(crate) struct Elements {
    entries: VecDeque<Entry>,
    stamp: u64,
}

impl Elements {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(crate) fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The element of an index that must be there.
    pub(crate) fn expect(&self, index: u64) -> Result<&Entry> {
        self.get(index)
            .ok_or_else(|| out_of_range(index, self.len()))
    }

    pub(crate) fn set(&mut self, index: u64, value: Parcel, stamps: &mut Stamps<'_>) -> Result<()> {
        let len = self.len();
        let place = usize::try_from(index).ok();
        let element = place.and_then(|place| self.entries.get_mut(place));
        *element.ok_or_else(|| out_of_range(index, len))? = stamps.entry(value);
        self.stamp = stamps.next();
        Ok(())
    }

    /// Inserts before the element of this index; behind the last one if there is no such index, as
    /// Python does.
    pub(crate) fn insert(&mut self, index: u64, value: Parcel, stamps: &mut Stamps<'_>) {
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(self.len());
        self.entries.insert(index, stamps.entry(value));
        self.stamp = stamps.next();
    }

    pub(crate) fn extend(&mut self, values: Vec<Parcel>, stamps: &mut Stamps<'_>) {
        let entries = values.into_iter().map(|value| stamps.entry(value));
        self.entries.extend(entries);
        self.stamp = stamps.next();
    }

    /// Removes the element of this index, the last one without; `None` if there is none at all.
    pub(crate) fn take(
        &mut self,
        index: Option<u64>,
        stamps: &mut Stamps<'_>,
    ) -> Result<Option<(usize, Entry)>> {
        let len = self.len();
        let (place, entry) = match index {
            None => match self.entries.pop_back() {
                None => return Ok(None),
                Some(entry) => (len - 1, entry),
            },
            Some(index) => {
                let place = usize::try_from(index).unwrap_or(usize::MAX);
                let entry = self.entries.remove(place);
                (place, entry.ok_or_else(|| out_of_range(index, len))?)
            }
        };
        self.stamp = stamps.next();
        Ok(Some((place, entry)))
    }

    /// Puts an element back where it was, or where the list ends now.
    pub(crate) fn give_back(&mut self, index: usize, entry: Entry, stamps: &mut Stamps<'_>) {
        self.entries.insert(index.min(self.len()), entry);
        self.stamp = stamps.next();
    }

    pub(crate) fn find(&self, value: &Parcel, from: u64) -> Option<u64> {
        let from = usize::try_from(from).ok()?;
        let mut entries = self.entries.iter().enumerate().skip(from);
        let found = entries.find(|(_, entry)| entry.value.is_equal(value));
        found.map(|(index, _)| index as u64)
    }

    pub(crate) fn count_equal(&self, value: &Parcel) -> u64 {
        let entries = self.entries.iter();
        entries.filter(|entry| entry.value.is_equal(value)).count() as u64
    }

    pub(crate) fn reverse(&mut self, stamps: &mut Stamps<'_>) {
        self.entries.make_contiguous().reverse();
        self.stamp = stamps.next();
    }

    pub(crate) fn slice(&self, from: u64, to: u64) -> Page<Parcel> {
        let end = usize::try_from(to).unwrap_or(usize::MAX).min(self.len());
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(end);
        let entries = self.entries.range(start..end);
        Page::of(self.stamp, entries.map(|entry| entry.value.clone()))
    }

    pub(crate) fn replace_all(&mut self, values: Vec<Parcel>, stamps: &mut Stamps<'_>) {
        self.entries.clear();
        self.extend(values, stamps);
    }
}

#[cold]
fn out_of_range(index: u64, len: usize) -> Error {
    Error::new(ErrorKind::InvalidInput, "find", format!("element {index}"))
        .with_detail(format!("the managed list has {len} elements"))
}
