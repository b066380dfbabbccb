//! The outcomes of a job's tasks, by index.

use std::collections::VecDeque;

use crate::job::Delivered;

/// Outcomes that have come and were not taken. Those of a job come in about the order of their
/// indices, so a queue with gaps costs less than a tree.
#[derive(Default)]
pub(crate) struct Outcomes {
    /// That of task `first`, and of those that follow it.
    waiting: VecDeque<Option<Delivered>>,
    first: usize,
    len: usize,
}

impl Outcomes {
    /// Makes room for as many.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.waiting.reserve(count);
    }

    /// Adds that of a task that has none.
    pub(crate) fn insert(&mut self, index: usize, delivered: Delivered) {
        if self.len == 0 {
            self.waiting.clear();
            self.first = index;
        }
        while index < self.first {
            self.waiting.push_front(None);
            self.first -= 1;
        }
        let place = index - self.first;
        if place < self.waiting.len() {
            self.waiting[place] = Some(delivered);
        } else {
            self.waiting.resize_with(place, || None);
            self.waiting.push_back(Some(delivered));
        }
        self.len += 1;
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Delivered> {
        let place = index.checked_sub(self.first)?;
        self.waiting.get(place)?.as_ref()
    }

    /// Takes that of one task.
    pub(crate) fn remove(&mut self, index: usize) -> Option<Delivered> {
        let place = index.checked_sub(self.first)?;
        let taken = self.waiting.get_mut(place)?.take()?;
        self.len -= 1;
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
        Some(taken)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All, in the order of their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Delivered)> {
        let indexed = (self.first..).zip(&self.waiting);
        indexed.filter_map(|(index, one)| Some((index, one.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::Outcomes;
    use crate::error::Cause;

    #[test]
    fn outcomes_that_come_in_any_order_are_taken_by_index() {
        let mut outcomes = Outcomes::default();
        for index in [7, 3, 9, 4] {
            outcomes.insert(index, Err(Cause::Cancelled));
        }
        let indices = |outcomes: &Outcomes| outcomes.iter().map(|one| one.0).collect::<Vec<_>>();
        assert_eq!(indices(&outcomes), [3, 4, 7, 9]);
        assert!(outcomes.get(5).is_none() && outcomes.get(9).is_some());
        assert!(outcomes.remove(4).is_some() && outcomes.remove(4).is_none());
        assert!(outcomes.remove(0).is_none() && outcomes.remove(100).is_none());
        assert!(outcomes.remove(3).is_some());
        assert_eq!((outcomes.len(), indices(&outcomes)), (2, vec![7, 9]));
        outcomes.insert(1, Err(Cause::Cancelled));
        for index in [1, 7, 9] {
            assert!(outcomes.remove(index).is_some());
        }
        assert_eq!(outcomes.len(), 0);
        outcomes.insert(0, Err(Cause::Cancelled));
        assert_eq!(indices(&outcomes), [0]);
    }
}
