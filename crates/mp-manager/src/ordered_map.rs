//! A map that remembers in which order its keys came.

use std::collections::{BTreeMap, HashMap};

use crate::parcel::{Key, Parcel};

/// A value of a container, with the number that it got when it was set: no other has the same.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) stamp: u64,
    pub(crate) value: Parcel,
}

/// Keys with their entries. A key keeps its place when its value is set again, as in a Python
/// `dict`.
#[derive(Debug, Default)]
pub(crate) struct OrderedMap {
    places: HashMap<Key, u64>,
    entries: BTreeMap<u64, (Key, Entry)>,
    next_place: u64,
    changes: u64,
}

impl OrderedMap {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Entry> {
        let place = self.places.get(key)?;
        self.entries.get(place).map(|(_, entry)| entry)
    }

    /// How often it was changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Key, Entry)> {
        self.entries.values()
    }

    pub(crate) fn clear(&mut self) {
        self.changes += 1;
        self.places.clear();
        self.entries.clear();
    }

    /// Sets the entry of a key; returns the one before.
    pub(crate) fn insert(&mut self, key: Key, entry: Entry) -> Option<Entry> {
        self.changes += 1;
        if let Some(place) = self.places.get(&key)
            && let Some((_, there)) = self.entries.get_mut(place)
        {
            return Some(std::mem::replace(there, entry));
        }
        let place = self.next_place;
        self.next_place += 1;
        self.insert_at(place, key, entry);
        None
    }

    /// Removes a key; returns its place and its entry.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<(u64, Entry)> {
        let place = self.places.remove(key)?;
        self.changes += 1;
        let (_, entry) = self.entries.remove(&place)?;
        Some((place, entry))
    }

    /// Removes the key that came last; returns its place and its entry.
    pub(crate) fn remove_last(&mut self) -> Option<(u64, Key, Entry)> {
        let (place, (key, entry)) = self.entries.pop_last()?;
        self.changes += 1;
        self.places.remove(&key);
        Some((place, key, entry))
    }

    /// Gives a removed key its place again, unless it has come again since.
    pub(crate) fn give_back(&mut self, place: u64, key: Key, entry: Entry) {
        if !self.places.contains_key(&key) {
            self.changes += 1;
            self.insert_at(place, key, entry);
        }
    }

    fn insert_at(&mut self, place: u64, key: Key, entry: Entry) {
        self.places.insert(key.clone(), place);
        self.entries.insert(place, (key, entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key::of(&number).unwrap()
    }

    fn entry(stamp: u64) -> Entry {
        let value = Parcel::empty();
        Entry { stamp, value }
    }

    fn keys(map: &OrderedMap) -> Vec<u32> {
        map.iter().map(|(key, _)| key.open().unwrap()).collect()
    }

    #[test]
    fn a_key_keeps_its_place_until_it_is_removed() {
        let mut map = OrderedMap::default();
        for number in [3, 1, 2, 1] {
            map.insert(key(number), entry(1));
        }
        assert_eq!(keys(&map), [3, 1, 2]);
        map.remove(&key(3)).unwrap();
        map.insert(key(3), entry(2));
        assert_eq!(keys(&map), [1, 2, 3]);
    }

    #[test]
    fn what_is_given_back_has_its_old_place() {
        let mut map = OrderedMap::default();
        (1..=3).for_each(|number| assert!(map.insert(key(number), entry(1)).is_none()));
        let (place, removed) = map.remove(&key(2)).unwrap();
        map.insert(key(4), entry(1));
        map.give_back(place, key(2), removed);
        assert_eq!(keys(&map), [1, 2, 3, 4]);
    }

    #[test]
    fn what_came_again_meanwhile_is_not_overwritten() {
        let mut map = OrderedMap::default();
        map.insert(key(1), entry(1));
        let (place, removed) = map.remove(&key(1)).unwrap();
        map.insert(key(1), entry(2));
        map.give_back(place, key(1), removed);
        assert_eq!((map.len(), map.get(&key(1)).unwrap().stamp), (1, 2));
    }
}
