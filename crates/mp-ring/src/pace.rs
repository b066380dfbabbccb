//! How soon a consumer that emptied the ring looks again.

use core::hint::spin_loop;

/// Looks that each found few values, right after the last, before the consumer lets several come.
const STREAK: u32 = 8;

/// Looks in vain after which a value did not come right after the last.
const SOON: u32 = 4;

/// The most of them, when letting several come brought none.
const LONGEST_STREAK: u32 = 4096;

/// Pauses at first, and at most: a fraction of a round trip between cores, and a microsecond or two.
const PAUSES: (u32, u32) = (4, 32);

/// Values at once that make the two sides meet seldom enough.
const ENOUGH: u64 = 8;

/// What a consumer knows of how its values come: a guess that is never wrong for long.
///
/// One that takes each value the moment it is pushed has the producer's lines all the time, and both are several times
/// slower for it. If each look finds few values, in a stream, it leaves the ring alone for a moment whenever it has
/// emptied it, so that several come together. Where there is one value at a time, as in a round trip, the looks between
/// that find nothing tell, and it does not wait.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Before the next look; 0: values do not come in a stream.
    pauses: u32,
    /// Looks in a row that found few values right after the last.
    streak: u32,
    /// How long the streak has to be.
    expected: u32,
    /// Looks since the last value.
    in_vain: u32,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            pauses: 0,
            streak: 0,
            expected: STREAK,
            in_vain: 0,
        }
    }

    /// Before a look at an empty ring: lets some values come, if they come in a stream.
    #[inline]
    pub(crate) fn let_some_come(&self) {
        for _ in 0..self.pauses {
            spin_loop();
        }
    }

    /// After a look that found so many values.
    #[inline]
    pub(crate) fn found(&mut self, count: u64) {
        if self.pauses > 0 {
            self.found_after_pauses(count);
        } else if count == 0 {
            self.in_vain = self.in_vain.saturating_add(1);
        } else {
            self.streak = match (count, self.in_vain) {
                (..ENOUGH, ..=SOON) => self.streak + 1,
                _ => 0,
            };
            self.in_vain = 0;
            if self.streak >= self.expected {
                self.pauses = PAUSES.0;
            }
        }
    }

    fn found_after_pauses(&mut self, count: u64) {
        match count {
            0 | 1 => {
                (self.pauses, self.streak) = (0, 0);
                self.expected = LONGEST_STREAK.min(2 * self.expected);
            }
            2..ENOUGH => self.pauses = PAUSES.1.min(2 * self.pauses),
            _ => self.expected = STREAK,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ENOUGH, LONGEST_STREAK, PAUSES, Pace, SOON, STREAK};

    fn streaming() -> Pace {
        let mut pace = Pace::new();
        (0..STREAK).for_each(|_| pace.found(1));
        assert_eq!(pace.pauses, PAUSES.0);
        pace
    }

    #[test]
    fn single_values_right_after_each_other_are_a_stream() {
        let mut pace = streaming();
        for _ in 0..10 {
            pace.found(ENOUGH - 1);
        }
        assert_eq!(pace.pauses, PAUSES.1);
        pace.found(ENOUGH);
        assert_eq!((pace.pauses, pace.expected), (PAUSES.1, STREAK));
    }

    #[test]
    fn values_with_looks_in_vain_between_are_none() {
        let mut pace = Pace::new();
        for _ in 0..100 {
            (0..=SOON).for_each(|_| pace.found(0));
            pace.found(1);
        }
        assert_eq!(pace.pauses, 0);
    }

    #[test]
    fn what_pauses_do_not_help_is_tried_ever_more_seldom() {
        let mut pace = streaming();
        let mut tries = 1;
        for _ in 0..100 * LONGEST_STREAK {
            pace.found(1);
            tries += u32::from(pace.pauses > 0);
        }
        assert!((100..150).contains(&tries), "{tries}");
        assert_eq!(pace.expected, LONGEST_STREAK);
    }
}
