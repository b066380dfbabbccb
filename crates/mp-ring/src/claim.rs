//! Who is the producer and who the consumer of a ring.
//!
//! Two [`OwnerWord`]s. An identity is what its owner chose, such as a process's number and start
//! time.
//!
//! # If a process dies
//!
//! The word keeps its identity, and claiming fails with it until a sweep.
//!
//! # If a process forks
//!
//! The child has a copy of the handle, but the role is its parent's: the word names the parent,
//! whose death says nothing of the child. So the child neither uses nor drops the copy: dropped, it
//! frees the role that the parent goes on to use. It claims its own.

use core::fmt;
use core::num::NonZeroU64;

use mp_layout::{OwnerWord, shared_struct};

use crate::ClaimError;

/// The identity that `split` claims both roles with: a thread of this process, which no sweep
/// should find dead.
pub const ANONYMOUS: NonZeroU64 = NonZeroU64::MAX;

/// One of a ring's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that pushes.
    Producer,
    /// The side that pops.
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
        producer: OwnerWord = "who is the producer",
        consumer: OwnerWord = "who is the consumer",
    }
}

impl Roles {
    pub(crate) fn free_both(&self) {
        self.producer.set(None);
        self.consumer.set(None);
    }

    pub(crate) fn claim(&self, role: Role, me: NonZeroU64) -> Result<Claim<'_>, ClaimError> {
        let word = self.word(role);
        match word.claim(me) {
            Ok(()) => Ok(Claim { word, me }),
            Err(owner) => Err(ClaimError::Claimed { role, owner }),
        }
    }

    pub(crate) fn owner(&self, role: Role) -> Option<NonZeroU64> {
        self.word(role).owner()
    }

    pub(crate) fn sweep(&self, is_dead: impl Fn(NonZeroU64) -> bool) -> Freed {
        let free = |role| {
            self.owner(role)
                .filter(|owner| is_dead(*owner))
                .is_some_and(|owner| self.word(role).release(owner))
        };
        Freed {
            producer: free(Role::Producer),
            consumer: free(Role::Consumer),
        }
    }

    fn word(&self, role: Role) -> &OwnerWord {
        match role {
            Role::Producer => &self.producer,
            Role::Consumer => &self.consumer,
        }
    }
}

/// A role held; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    word: &'a OwnerWord,
    me: NonZeroU64,
}

impl<'a> Claim<'a> {
    /// Claims `word` for `me`, if it is free.
    pub(crate) fn of_word(word: &'a OwnerWord, me: NonZeroU64) -> Option<Self> {
        word.claim(me).ok().map(|()| Self { word, me })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // False if a sweep that was told wrong has freed it; then it is another's.
        let _freed = self.word.release(self.me);
    }
}
