//! The tail of a ring of values, and small values pushed alone, which lie in its line.

use core::mem::MaybeUninit;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Plain, shared_struct};

use crate::PopError;
use crate::payload::checked;

/// Words of the largest value that is copied: two such and the count are less than the 64 bytes
/// that a core fetches.
pub(crate) const WORDS: usize = 3;

/// Whether values of `T` are copied.
pub(crate) const fn fits_inline<T>() -> bool {
    size_of::<T>() <= WORDS * 8
}

shared_struct! {
    /// What the producer writes.
    #[derive(Debug)]
    pub(crate) struct Tail as "Ring: tail": 56 bytes {
        pub(crate) count: AtomicU64 = "values pushed so far",
        inline: [[AtomicU64; WORDS]; 2] = "the latest even and odd value that was pushed alone, if values are that small",
    }
}

impl Tail {
    /// Copies the value at `position`, before a push of it alone (I4 of the ring).
    #[inline]
    pub(crate) fn store_inline<T>(&self, position: u64, value: [u64; WORDS]) {
        for (word, part) in self.inline_words::<T>(position).zip(value) {
            // pairs with `load_inline`'s loads: who sees this sees the tail before it
            word.store(part, Ordering::Release);
        }
    }

    /// The value at `head`, if it was pushed alone and is the newest. The caller has seen the tail
    /// at `head` (I4).
    #[inline]
    pub(crate) fn load_inline<T: Plain>(&self, head: u64) -> Option<Result<T, PopError>> {
        let next = head.wrapping_add(1);
        // pairs with the producer's commit: it has written the copy
        if !fits_inline::<T>() || self.count.load(Ordering::Acquire) != next {
            return None;
        }
        let mut value = [0; WORDS];
        for (part, word) in value.iter_mut().zip(self.inline_words::<T>(head)) {
            *part = word.load(Ordering::Acquire);
        }
        if self.count.load(Ordering::Relaxed) != next {
            return None;
        }
        let mut bytes = MaybeUninit::<T>::uninit();
        let (source, target) = (value.as_ptr().cast::<u8>(), bytes.as_mut_ptr().cast());
        // SAFETY: a `T` fits into the words, which are all initialised.
        unsafe { core::ptr::copy_nonoverlapping(source, target, size_of::<T>()) };
        Some(checked(bytes))
    }

    fn inline_words<T>(&self, position: u64) -> impl Iterator<Item = &AtomicU64> {
        let words = size_of::<T>().div_ceil(8);
        self.inline[(position & 1) as usize].iter().take(words)
    }
}
