//! Which kill points are tried, where not all are.

use crate::Check;
use crate::kill_point::KillPoint;

/// How the points after one point of the victim's are chosen, or the victim's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    stride: usize,
    most: usize,
    /// Moves the choice, so that the recoverer's points come in turn from one point of the
    /// victim's to the next.
    number: usize,
}

impl Choice {
    /// For a check without a recoverer.
    pub(crate) fn all<M: ?Sized>(check: &Check<'_, M>) -> Self {
        Self::of(check, 0, 1)
    }

    /// For the recoverer after the `number`th of so many points of the victim's.
    pub(crate) fn of<M: ?Sized>(check: &Check<'_, M>, number: usize, victims: usize) -> Self {
        Self {
            stride: check.stride,
            most: (check.max_points / victims.max(1)).max(1),
            number,
        }
    }

    pub(crate) fn among(&self, all: &[KillPoint]) -> Vec<KillPoint> {
        let from = all.iter().copied().skip(self.number % self.stride);
        let strided: Vec<_> = from.step_by(self.stride).collect();
        spread(&strided, self.most, self.number)
    }
}

/// Takes at most `most` of `all`, spread evenly; others for another `number`.
pub(crate) fn spread<T: Copy>(all: &[T], most: usize, number: usize) -> Vec<T> {
    if all.len() <= most {
        return all.to_vec();
    }
    // By the golden ratio, so that neighbours are far apart and no short period comes back.
    let turn = number.wrapping_mul(618) % 1000;
    let phase = all.len() * turn / 1000;
    (0..most)
        .map(|i| all[(i * all.len() + phase) / most])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_choice_begins_at_the_first_and_is_even() {
        let all: Vec<usize> = (0..10).collect();
        assert_eq!(spread(&all, 20, 3), all);
        assert_eq!(spread(&all, 5, 0), [0, 2, 4, 6, 8]);
    }

    #[test]
    fn every_one_comes_in_turn() {
        let all: Vec<usize> = (0..97).collect();
        let mut seen = vec![0; all.len()];
        for number in 0..100 {
            let some = spread(&all, 10, number);
            assert!(some.len() == 10 && some.is_sorted_by(|one, next| one < next));
            some.into_iter().for_each(|one| seen[one] += 1);
        }
        assert!(seen.iter().all(|&times| times > 0), "{seen:?}");
    }
}
