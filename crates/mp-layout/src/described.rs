//! Structures that are whole objects.

use crate::{Kind, Place, TypeTag};

/// A [`Place`] that is an object by itself, so that a header can say what its payload is: a lock, an event, a mutex with
/// its data.
pub trait Described: Place {
    /// What the header calls it.
    const KIND: Kind;

    /// The type of what it holds; [`TypeTag::NONE`] if it holds nothing.
    fn tag() -> TypeTag;
}
