//! Who is the producer and who the consumer of a ring.
//!
//! # Layout
//!
//! Two owner words: 0 is free, anything else the identity that its owner chose, such as a process's number and start
//! time mixed.
//!
//! | from | to | by |
//! |---|---|---|
//! | 0 | an identity | whoever claims the role |
//! | an identity | 0 | its owner's handle when dropped, or a sweep that knows the owner to be dead |
//!
//! # Orderings
//!
//! Freeing a role releases, claiming it acquires: a successor sees what its predecessor did last.
//!
//! # If a process dies
//!
//! The word keeps its identity, and claiming fails with it until a sweep.

use core::fmt;
use core::num::NonZeroU64;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::shared_struct;

use crate::ClaimError;

/// The identity that `split` claims both roles with: somebody of this process, whom no sweep should find dead.
pub const UNNAMED: NonZeroU64 = NonZeroU64::MAX;

/// One of a ring's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Who pushes.
    Producer,
    /// Who pops.
    Consumer,
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        })
    }
}

/// Which roles a sweep took from the dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// The producer was dead.
    pub producer: bool,
    /// The consumer was dead.
    pub consumer: bool,
}

shared_struct! {
    /// The two owner words.
    #[derive(Debug)]
    pub(crate) struct Roles: 16 bytes {
        producer: AtomicU64 = "0, or the identity that the producer chose",
        consumer: AtomicU64 = "0, or the identity that the consumer chose",
    }
}

impl Roles {
    pub(crate) fn free_both(&self) {
        self.producer.store(0, Ordering::Release);
        self.consumer.store(0, Ordering::Release);
    }

    pub(crate) fn claim(&self, role: Role, me: NonZeroU64) -> Result<Claim<'_>, ClaimError> {
        let word = self.word(role);
        match word.compare_exchange(0, me.get(), Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Claim { word, me }),
            // the exchange fails on nothing but a word other than 0
            Err(owner) => Err(ClaimError::Claimed {
                role,
                owner: NonZeroU64::new(owner).unwrap_or(UNNAMED),
            }),
        }
    }

    pub(crate) fn owner(&self, role: Role) -> Option<NonZeroU64> {
        NonZeroU64::new(self.word(role).load(Ordering::Relaxed))
    }

    pub(crate) fn sweep(&self, is_dead: impl Fn(NonZeroU64) -> bool) -> Freed {
        let free = |role| {
            self.owner(role)
                .filter(|owner| is_dead(*owner))
                .is_some_and(|owner| release(self.word(role), owner))
        };
        Freed {
            producer: free(Role::Producer),
            consumer: free(Role::Consumer),
        }
    }

    fn word(&self, role: Role) -> &AtomicU64 {
        match role {
            Role::Producer => &self.producer,
            Role::Consumer => &self.consumer,
        }
    }
}

/// Gives the role back unless somebody else has it by now, as after a sweep that two processes did at once.
fn release(word: &AtomicU64, owner: NonZeroU64) -> bool {
    word.compare_exchange(owner.get(), 0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

/// A role held; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    word: &'a AtomicU64,
    me: NonZeroU64,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        release(self.word, self.me);
    }
}
