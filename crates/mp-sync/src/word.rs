//! The bits of a lock's futex word; the table of its states is in `raw_mutex.rs`.

/// Others may sleep on the word: the thread that releases it wakes one.
pub(crate) const WAITERS: u32 = 1 << 31;

/// The last owner ended without releasing.
pub(crate) const OWNER_DIED: u32 = 1 << 30;

const OWNER: u32 = OWNER_DIED - 1;

/// The thread that holds the lock, 0 if it is free.
#[inline]
pub(crate) const fn owner(word: u32) -> u32 {
    word & OWNER
}

#[inline]
pub(crate) const fn has_waiters(word: u32) -> bool {
    word & WAITERS != 0
}

#[inline]
pub(crate) const fn owner_died(word: u32) -> bool {
    word & OWNER_DIED != 0
}
