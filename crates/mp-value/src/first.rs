//! What an object starts with, and the type that its header states.

use mp_layout::{Plain, TypeTag};

/// The first value or elements of an object, under the tag of their type: a Rust type's own, or
/// that of a type code such as `l`, which is another name for `q`.
#[derive(Debug)]
pub struct First<V> {
    pub(crate) tag: TypeTag,
    pub(crate) value: V,
}

impl<V> First<V> {
    /// Under the tag of `T`.
    pub(crate) fn of<T: Plain>(value: V) -> Self {
        let tag = TypeTag::of::<T>();
        Self { tag, value }
    }
}
