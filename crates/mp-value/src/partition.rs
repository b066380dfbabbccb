//! Which chunks of an array are claimed, and by which processes.
//!
//! # Source
//!
//! One [`OwnerWord`] per chunk. Changed: the array's mutex excludes all writers of a word but its
//! owner, so that a word passes from a dead owner to the next one in one store, and no death is
//! forgotten on the way.
//!
//! # Layout
//!
//! ```text
//! chunk_len   0, or the elements of one chunk: what the words below count
//! words[i]    an owner word: 0, or the process that has chunk i (elements i * chunk_len ..)
//! ```
//!
//! | `chunk_len` | a word is | meaning |
//! |---|---|---|
//! | 0 | 0 | no process has a chunk; the array may be reached as a whole |
//! | n | 0 | no process has this chunk of n elements |
//! | n | a living process | that process has it |
//! | n | a dead process | it was being written; the next owner learns who died |
//!
//! # Invariants
//!
//! - I1: `chunk_len` and words change under the array's mutex only, except that the owner of a word
//!   stores 0 into it.
//! - I2: `chunk_len` changes only while no word names a living process. So all living claims count
//!   the same chunks, and two of them never overlap.
//! - I3: a word that names a dead process is replaced by its successor in one store, or cleared by
//!   a caller that returns the name to its caller. So no death is forgotten, wherever the successor
//!   dies.
//! - I4: the array is reached as a whole only under the mutex, after no word was found to name a
//!   living process. New claims need the mutex, so none appears meanwhile.
//!
//! # Orderings
//!
//! A chunk is given back with Release; a process that looks for living owners loads with Acquire,
//! so that it sees what the last owner wrote. All else is ordered by the mutex. After a death the
//! proof itself orders.
//!
//! # Progress
//!
//! Blocking, under the mutex; a release is wait-free. A look at the words costs one proof of death
//! (a few microseconds) for each change of name met.
//!
//! # If a process dies
//!
//! Its words stay. It can die between any two stores here: before `chunk_len` nothing happened,
//! after it words may be marked dead that need not be (see [`Partition::repartition`]), so that a
//! process looks twice at whole data.
//!
//! A word names its process by PID and start time. A PID that is used again within the same 10 ms
//! tick counts as alive: the dead claim stays until that other process ends. Nothing is torn by it.

use core::ops::Range;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Error, ErrorKind, Result};
use mp_object::{OwnerWord, ProcessIdentity, owner};

/// How an attempt to claim a chunk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It was free and is claimed now.
    Fresh,
    /// It is claimed now; its owner died before.
    Inherited(ProcessIdentity),
    /// A living process has it.
    Taken(ProcessIdentity),
}

/// A chunk that a living process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LivingClaim {
    pub(crate) index: usize,
    pub(crate) owner: ProcessIdentity,
}

/// Whether the array may be reached as a whole (I4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Whole {
    /// No living process has a chunk; this one died with one, if any did.
    Free(Option<ProcessIdentity>),
    /// A living process has a chunk.
    Claimed(LivingClaim),
}

/// The words of one array. Every method but [`owner`](Partition::owner), [`has`](Partition::has)
/// and [`release`](Partition::release) is called under the array's mutex.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partition<'a> {
    pub(crate) chunk_len: &'a AtomicU64,
    pub(crate) words: &'a [OwnerWord],
    /// Elements of the array.
    pub(crate) len: usize,
}

impl Partition<'_> {
    /// Claims chunk `index` of those with `chunk_len` elements for `me`.
    pub(crate) fn claim(
        &self,
        chunk_len: usize,
        index: usize,
        me: ProcessIdentity,
    ) -> Result<Attempt> {
        self.repartition(chunk_len)?;
        let word = &self.words[index];
        let attempt = match owner_of(word)? {
            None => Attempt::Fresh,
            Some(owner) if owner == me || !owner::is_dead(owner)? => {
                return Ok(Attempt::Taken(owner));
            }
            Some(dead) => Attempt::Inherited(dead),
        };
        word.set(Some(me.into()));
        Ok(attempt)
    }

    /// Claims the first chunk from `from` on that no living process has.
    pub(crate) fn claim_first(
        &self,
        chunk_len: usize,
        from: usize,
        me: ProcessIdentity,
    ) -> Result<Option<(usize, Attempt)>> {
        self.repartition(chunk_len)?;
        let mut living = Some(me);
        for index in from..self.len.div_ceil(chunk_len) {
            let owner = owner_of(&self.words[index])?;
            if owner.is_some() && owner == living {
                continue;
            }
            match self.claim(chunk_len, index, me)? {
                Attempt::Taken(owner) => living = Some(owner),
                claimed => return Ok(Some((index, claimed))),
            }
        }
        Ok(None)
    }

    /// The process that has chunk `index` of those with `chunk_len` elements; without the mutex, so
    /// it may change.
    pub(crate) fn owner(&self, chunk_len: usize, index: usize) -> Option<ProcessIdentity> {
        let same = self.chunk_len.load(Ordering::Relaxed) == chunk_len as u64;
        let word = self.words.get(index).filter(|_| same)?;
        owner_of(word).ok().flatten()
    }

    /// Whether a word still says what `claim` says, without the mutex.
    pub(crate) fn has(&self, claim: LivingClaim) -> bool {
        let word = self.words.get(claim.index);
        word.and_then(OwnerWord::owner) == Some(claim.owner.into())
    }

    /// Gives chunk `index` of `owner` back: the calling process.
    pub(crate) fn release(&self, index: usize, owner: ProcessIdentity) {
        self.words[index].release(owner.into());
    }

    /// Gives back what the dead have, and returns which chunks of `chunk_len` elements that were.
    pub(crate) fn sweep(&self, chunk_len: usize) -> Result<Vec<(usize, ProcessIdentity)>> {
        self.repartition(chunk_len)?;
        let count = self.len.div_ceil(chunk_len);
        let mut swept = Vec::new();
        let mut known = None;
        for (index, word) in self.words.iter().enumerate() {
            let Some(owner) = owner_of(word)? else {
                continue;
            };
            if !is_dead_cached(owner, &mut known)? {
                continue;
            }
            word.set(None);
            if index < count {
                swept.push((index, owner));
            }
        }
        Ok(swept)
    }

    /// Ends the division into chunks, if no word names a process; says which process stands against
    /// that.
    pub(crate) fn join(&self) -> Result<Whole> {
        if self.chunk_len.load(Ordering::Relaxed) == 0 {
            return Ok(Whole::Free(None));
        }
        let dead = match self.dead()? {
            Ok(dead) => dead,
            Err(claim) => return Ok(Whole::Claimed(claim)),
        };
        if dead.is_empty() {
            self.chunk_len.store(0, Ordering::Relaxed);
        }
        Ok(Whole::Free(dead.first().map(|(_, owner)| *owner)))
    }

    /// Forgets the dead, whose chunks the caller knows; no living process has one.
    pub(crate) fn clear(&self) {
        for word in self.words {
            word.set(None);
        }
        // Behind the words, for a death in between.
        self.chunk_len.store(0, Ordering::Release);
    }

    /// Makes the words count chunks of `chunk_len` elements.
    ///
    /// Dead claims of other chunks are carried over to all chunks they touch. The order makes that
    /// safe against a death in between: first more words than needed are marked, then
    /// `chunk_len` changes, then the superfluous are cleared.
    fn repartition(&self, chunk_len: usize) -> Result<()> {
        let current = self.chunk_len.load(Ordering::Relaxed);
        if current == chunk_len as u64 {
            return Ok(());
        }
        let dead = match current {
            0 => Vec::new(),
            _ => match self.dead()? {
                Ok(dead) => dead,
                Err(claim) => return Err(self.cannot_repartition(chunk_len, claim)),
            },
        };
        let mut wanted = Vec::new();
        if !dead.is_empty() {
            wanted.resize(self.words.len(), None);
        }
        for (index, owner) in &dead {
            let touched = self.elements(current, *index);
            wanted[touched.start / chunk_len..touched.end.div_ceil(chunk_len)].fill(Some(*owner));
        }
        let words = || self.words.iter().zip(&wanted);
        for (word, owner) in words().filter(|(_, owner)| owner.is_some()) {
            word.set(owner.map(Into::into));
        }
        // Release, as all stores to words are: a death sees the three steps in this order.
        self.chunk_len.store(chunk_len as u64, Ordering::Release);
        for (word, _) in words().filter(|(_, owner)| owner.is_none()) {
            word.set(None);
        }
        Ok(())
    }

    /// The chunks whose owners are dead, or one whose owner lives (I2, I4).
    fn dead(&self) -> Result<Result<Vec<(usize, ProcessIdentity)>, LivingClaim>> {
        let mut dead = Vec::new();
        let mut known = None;
        for (index, word) in self.words.iter().enumerate() {
            let Some(owner) = owner_of(word)? else {
                continue;
            };
            if !is_dead_cached(owner, &mut known)? {
                return Ok(Err(LivingClaim { index, owner }));
            }
            dead.push((index, owner));
        }
        Ok(Ok(dead))
    }

    /// The elements of chunk `index` of those with `chunk_len` elements, within the array.
    fn elements(&self, chunk_len: u64, index: usize) -> Range<usize> {
        let chunk_len = usize::try_from(chunk_len).unwrap_or(usize::MAX);
        let start = index.saturating_mul(chunk_len).min(self.len);
        start..start.saturating_add(chunk_len).min(self.len)
    }

    /// The error of an operation that cannot wait until a claim is given back.
    #[cold]
    pub(crate) fn claimed(&self, operation: &'static str, claim: LivingClaim) -> Error {
        Error::new(ErrorKind::Claimed, operation, "array").with_detail(self.describe(claim))
    }

    #[cold]
    fn cannot_repartition(&self, chunk_len: usize, claim: LivingClaim) -> Error {
        let claim = self.describe(claim);
        Error::new(ErrorKind::Claimed, "divide", "array")
            .with_detail(format!("into chunks of {chunk_len} elements: {claim}"))
    }

    fn describe(&self, LivingClaim { index, owner }: LivingClaim) -> String {
        let Range { start, end } = self.elements(self.chunk_len.load(Ordering::Relaxed), index);
        format!(
            "{owner} has claimed chunk {index} (elements {start}..{end}); it is free when the chunk is dropped"
        )
    }
}

/// The process that a word names.
fn owner_of(word: &OwnerWord) -> Result<Option<ProcessIdentity>> {
    word.owner().map(owner::process).transpose()
}

/// Whether `owner` is dead, asking the system only if it is another than the last one.
fn is_dead_cached(
    owner: ProcessIdentity,
    known: &mut Option<(ProcessIdentity, bool)>,
) -> Result<bool> {
    if let Some((last, dead)) = *known
        && last == owner
    {
        return Ok(dead);
    }
    let dead = owner::is_dead(owner)?;
    *known = Some((owner, dead));
    Ok(dead)
}

#[cfg(test)]
mod tests;
