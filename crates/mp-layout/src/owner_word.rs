//! A claim of one owner among processes: an owner word, as in a robust futex.
//!
//! # Source
//!
//! The word of a robust futex (`Documentation/locking/robust-futex-ABI.rst`), which names its
//! owner. Changed: it names a process by an identity that is never used again, and a process that
//! finds the claim taken proves the owner's death, where the kernel marks a futex. So a claim needs
//! no list, may pass between threads and costs nothing while it is held.
//!
//! # Layout
//!
//! An [`OwnerWord`] is 8 bytes: 0, or the owner's identity. This crate knows no processes; its
//! users choose identities.
//!
//! # Invariants
//!
//! - I1: a word leaves 0 only by a compare-and-swap to the identity of the process that executes
//!   it.
//! - I2: a word returns to 0 only by its owner, or by a compare-and-swap from exactly the identity
//!   of a process that is dead. Identities are not used again, so a delayed sweep takes nothing
//!   from the living.
//!
//! Where a lock excludes all other writers of the word, [`set`](OwnerWord::set) may replace both.
//!
//! # Orderings
//!
//! A claim is Acquire and a release is Release, so that the next owner sees what the last one
//! wrote. After a death the proof itself orders: the kernel reports the end of a process after its
//! last store.
//!
//! # Progress
//!
//! Every operation is wait-free.
//!
//! # If a process dies
//!
//! Its claims stay until another process frees them; a process that dies in that has freed a word
//! or has not.

use core::num::NonZeroU64;

use crate::atomic::{AtomicU64, Ordering};
use crate::shared_struct;

shared_struct! {
    /// The word of shared memory that says which process has claimed something.
    ///
    /// ```
    /// use std::num::NonZeroU64;
    ///
    /// let [one, other] = [1, 2].map(|number| NonZeroU64::new(number).expect("not 0"));
    /// let word = mp_layout::OwnerWord::free();
    /// assert_eq!(word.claim(one), Ok(()));
    /// assert_eq!(word.claim(other), Err(one));
    /// assert!(!word.release(other), "it is not theirs");
    /// assert!(word.release(one));
    /// assert_eq!(word.owner(), None);
    /// ```
    #[derive(Debug)]
    pub struct OwnerWord: 8 bytes {
        owner: AtomicU64 = "0, or the identity of the owner. Processes: PID in the low 22 bits, start time in clock ticks since boot in the others",
    }
}

impl OwnerWord {
    /// A word that is not claimed.
    pub fn free() -> Self {
        Self {
            owner: AtomicU64::new(0),
        }
    }

    /// Claims it for `me`; the error is the owner, who may be dead. A second claim by the same
    /// owner is refused, too.
    #[inline]
    pub fn claim(&self, me: NonZeroU64) -> Result<(), NonZeroU64> {
        // Acquire: pairs with the Release in `release`.
        match self
            .owner
            .compare_exchange(0, me.get(), Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => Ok(()),
            // The exchange fails on nothing but a word other than 0.
            Err(owner) => Err(NonZeroU64::new(owner).unwrap_or(me)),
        }
    }

    /// Frees it if `owner` has it: that is the caller, or a process that is dead. Tells whether
    /// this call freed it.
    ///
    /// Of several that free one dead owner's claim, one succeeds (I2).
    #[inline]
    pub fn release(&self, owner: NonZeroU64) -> bool {
        // Release: pairs with the Acquire in `claim` and `owner`. Acquire: a sweeper goes on to
        // repair what was claimed.
        self.owner
            .compare_exchange(owner.get(), 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The owner; it may change at any time.
    #[inline]
    pub fn owner(&self) -> Option<NonZeroU64> {
        // Acquire: a reader of "free" sees what the last owner wrote before its Release.
        NonZeroU64::new(self.owner.load(Ordering::Acquire))
    }

    /// Makes `owner` the owner in place of any other; for a caller whose lock excludes all other
    /// writers of the word.
    #[inline]
    pub fn set(&self, owner: Option<NonZeroU64>) {
        // Release: stores to several words are seen in their order, also by those who come after a
        // death.
        self.owner
            .store(owner.map_or(0, NonZeroU64::get), Ordering::Release);
    }
}
