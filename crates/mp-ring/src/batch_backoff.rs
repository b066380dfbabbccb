//! How soon a consumer that found its ring empty looks again.

use core::hint::spin_loop;

use mp_layout::atomic::{AtomicU32, Ordering};

/// One wait in this many is used to find out whether messages come in a stream.
const PROBE_EVERY: u32 = 32;

/// Pauses of that wait: long enough for two messages, a fraction of a round trip.
const PROBE: u32 = 4;

/// The most pauses: a microsecond or two. A single message is never waited for like this.
const MOST: u32 = 32;

/// Messages in one batch that make the two sides meet seldom enough.
const ENOUGH: usize = 8;

/// How long a loop that polls an empty ring, or a queue on one, leaves it alone: a backoff for what
/// waits, since [`Consumer::pop`](crate::Consumer::pop) itself never does.
///
/// A consumer that takes each message the moment it is put shares the producer's cache lines all
/// the time, and both are several times slower for it. If messages come in a stream, it pauses for
/// a moment whenever it found the ring empty, at most a microsecond or two, so that several come
/// together. Where there is one message at a time, as in a round trip, it does not.
///
/// The words are this process's own; threads that change them at the same time make nothing worse
/// than a guess.
///
/// # Examples
///
/// ```
/// use mp_ring::{BatchBackoff, Ring};
///
/// # let mut memory = vec![0; Ring::<u64>::words_for(64)?];
/// # let (mut producer, mut consumer) = Ring::<u64>::new(&mut memory, 64)?.split()?;
/// # producer.push_slice(&[1, 2, 3])?;
/// let backoff = BatchBackoff::default();
/// let mut sum = 0;
/// while sum < 6 {
///     match consumer.pop() {
///         Ok(value) => sum += value,
///         Err(_) => backoff.pause_for_batch(|| consumer.len()),
///     }
/// }
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct BatchBackoff {
    /// Pauses before the first look; 0: messages do not come in a stream.
    pauses: AtomicU32,
    waits: AtomicU32,
}

impl BatchBackoff {
    /// A queue or channel of fewer messages is not worth waiting at for several.
    pub const LEAST_CAPACITY: usize = 64;

    /// Lets some messages come, if they come in a stream; `count` tells how many have.
    pub fn pause_for_batch(&self, count: impl FnOnce() -> usize) {
        let pauses = match self.pauses.load(Ordering::Relaxed) {
            0 if self.is_time_to_probe() => PROBE,
            pauses => pauses,
        };
        if pauses == 0 {
            return;
        }
        for _ in 0..pauses {
            spin_loop();
        }
        let next = match count() {
            0 | 1 => 0,
            2..ENOUGH => (2 * pauses).min(MOST),
            _ => pauses,
        };
        self.pauses.store(next, Ordering::Relaxed);
    }

    fn is_time_to_probe(&self) -> bool {
        let waits = self.waits.load(Ordering::Relaxed).wrapping_add(1);
        self.waits.store(waits, Ordering::Relaxed);
        waits.is_multiple_of(PROBE_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchBackoff, ENOUGH, MOST, PROBE_EVERY};

    /// In how many of so many waits it looked at the count, which is always `found`.
    fn looks(backoff: &BatchBackoff, waits: u32, found: usize) -> u32 {
        let mut looks = 0;
        for _ in 0..waits {
            backoff.pause_for_batch(|| {
                looks += 1;
                found
            });
        }
        looks
    }

    #[test]
    fn single_messages_are_probed_for_seldom() {
        let backoff = BatchBackoff::default();
        assert_eq!(looks(&backoff, 10 * PROBE_EVERY, 1), 10);
        assert_eq!(backoff.pauses.into_inner(), 0);
    }

    #[test]
    fn a_stream_is_found_and_its_end_too() {
        let backoff = BatchBackoff::default();
        assert_eq!(looks(&backoff, PROBE_EVERY - 1, 3), 0);
        assert_eq!(looks(&backoff, 100, 3), 100);
        assert_eq!(
            backoff.pauses.load(std::sync::atomic::Ordering::Relaxed),
            MOST
        );
        assert_eq!(looks(&backoff, 100, ENOUGH), 100);
        assert_eq!(looks(&backoff, PROBE_EVERY - 1, 0), 1);
    }
}
