//! Structures that are whole objects.

use crate::{Kind, Place, Result, TypeTag};

/// A [`Place`] that is an object by itself, so that a header can say what its payload is: a lock,
/// an event, a mutex with its data.
///
/// # Safety
///
/// No other type states the same kind and tag, so that an object whose header says both is this
/// structure and nothing else. Counter-example: a structure of atomics that calls itself a mutex;
/// stores through it would change what a guard lends.
pub unsafe trait Described: Place {
    /// What the header calls it.
    const KIND: Kind;

    /// What it starts with: nothing for a lock, its data for a mutex.
    type Initial;

    /// The type of what it holds; [`TypeTag::NONE`] if it holds nothing.
    fn tag() -> TypeTag;

    /// Gives the structure, which is zero and which no other thread can reach yet, its start.
    ///
    /// # Errors
    ///
    /// If it cannot start like this.
    fn initialise(&self, initial: Self::Initial) -> Result<()>;
}
