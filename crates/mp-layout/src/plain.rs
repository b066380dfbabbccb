//! Values that are nothing but their bytes.

use bytemuck::{AnyBitPattern, CheckedBitPattern, NoUninit};

/// A value that shared memory can hold by its bytes: numbers, `bool`, `char`, arrays of these, and structs that derive
/// bytemuck's traits.
///
/// It has no pointers, no padding and no destructor. Types of which not every bit pattern is a value (`bool`, `char`,
/// plain enums) are included: their bytes are checked on the way out, because a buggy peer may have written them.
///
/// Not plain, and refused by the compiler: `String`, `Vec`, `Rc`, references, raw pointers (they mean nothing in another
/// process), and structs with padding (the padding would publish uninitialised bytes).
///
/// ```compile_fail
/// fn shared<T: mp_layout::Plain>(_: T) {}
/// shared(String::from("a pointer to one process's heap"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot live in shared memory",
    label = "has pointers, padding or a destructor",
    note = "numbers, bool, char and arrays of these can; for a struct derive bytemuck's `NoUninit` and `CheckedBitPattern` (or `Pod`)",
    note = "anything that serde can write travels through a `Queue` or as an argument instead"
)]
pub trait Plain: NoUninit + CheckedBitPattern + Send + Sync + 'static {}

impl<T: NoUninit + CheckedBitPattern + Send + Sync + 'static> Plain for T {}

/// A [`Plain`] value of which every bit pattern is valid, so that a slice of it may be lent over shared bytes.
#[diagnostic::on_unimplemented(
    message = "a slice of `{Self}` cannot be lent over shared memory",
    label = "some bit patterns are not a `{Self}`, and a peer could write one",
    note = "use `get` and `set`, which check each value, or store numbers"
)]
pub trait PlainSlice: Plain + AnyBitPattern {}

impl<T: Plain + AnyBitPattern> PlainSlice for T {}
