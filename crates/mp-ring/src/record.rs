//! A record lent to be read in place.

use crate::ByteConsumer;
use crate::byte_consumer::Found;

/// The oldest record of a [`ByteRing`](crate::ByteRing), read where it lies. A dropped one stays in
/// the ring.
///
/// ```
/// # use mp_ring::ByteRing;
/// # let mut memory = vec![0; ByteRing::words_for(64)?];
/// # let (mut producer, mut consumer) = ByteRing::new(&mut memory, 64, None)?.split()?;
/// producer.push_tagged(3, b"one")?;
/// let record = consumer.peek()?;
/// assert_eq!((record.tag(), record.bytes()), (3, &b"one"[..]));
/// record.release();
/// assert!(consumer.is_empty());
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a dropped record stays in the ring"]
pub struct Record<'c, 'a> {
    consumer: &'c mut ByteConsumer<'a>,
    found: Found,
}

impl<'c, 'a> Record<'c, 'a> {
    /// `found` must be what `consumer` found at its head.
    #[inline]
    pub(crate) fn new(consumer: &'c mut ByteConsumer<'a>, found: Found) -> Self {
        Self { consumer, found }
    }

    /// Its bytes.
    #[cfg(not(loom))]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.consumer.lend(self.found)
    }

    /// The number that its pusher gave it.
    pub fn tag(&self) -> u32 {
        self.found.tag
    }

    /// Pops it.
    #[inline]
    pub fn release(self) {
        self.consumer.release_to(self.found.after);
    }
}
