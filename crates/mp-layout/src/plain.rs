//! Values that are nothing but their bytes.

use core::mem::MaybeUninit;

use crate::{TypeCode, TypeField, TypeLayout};

/// A value that shared memory can hold by its bytes: numbers, `bool`, `char`, arrays of these, and
/// the structures and enums that derive it.
///
/// It has no pointers, no padding and no destructor. Types whose bit patterns are not all values
/// (`bool`, `char`, enums) are included: their bytes are checked on the way out, because a buggy
/// peer may have written them.
///
/// `#[derive(Plain)]` (from `mp`, or from `mp-layout` with its feature `derive`) is for structures
/// with `#[repr(C)]` or `#[repr(transparent)]`, of which every field is plain, and for enums
/// without fields with `#[repr(u8)]` or another integer:
///
#[cfg_attr(feature = "derive", doc = "```")]
#[cfg_attr(not(feature = "derive"), doc = "```ignore")]
/// use mp_layout::Plain;
///
/// #[derive(Clone, Copy, Plain)]
/// #[repr(u8)]
/// enum Team { Red, Blue }
///
/// #[derive(Clone, Copy, Plain)]
/// #[repr(C)]
/// struct Unit { at: [f32; 2], points: u16, team: Team, alive: bool }
///
/// assert_eq!(Unit::LAYOUT.size(), 12);
/// ```
///
/// The derive also describes the type. A program whose `Unit` has other fields cannot open what
/// this one made: the error names both. If all fields take any bit pattern, so does the structure,
/// and it is [`PlainSlice`], too.
///
/// Not plain, and refused by the compiler: `String`, `Vec`, `Rc`, references, raw pointers (they
/// mean nothing in another process), and structures with padding (the padding would publish
/// uninitialised bytes).
///
/// ```compile_fail
/// fn shared<T: mp_layout::Plain>(_: T) {}
/// shared(String::from("a pointer to one process's heap"));
/// ```
///
/// # Safety
///
/// [`LAYOUT`](Self::LAYOUT) describes the type exactly: bytes that it accepts are a value, and
/// every byte of a value is initialised. There is no interior mutability, and nothing that means
/// something in one process only. Counter-examples: a structure with padding, a file descriptor's
/// owner, a `NonZeroU8` described as a `u8`. Derive it instead.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot live in shared memory",
    label = "not plain data",
    note = "numbers, `bool`, `char` and arrays of these can; above a structure of such write `#[derive(Clone, Copy, mp::Plain)]` and `#[repr(C)]`",
    note = "anything that serde can write travels through a `Queue` or as an argument instead"
)]
pub unsafe trait Plain: Copy + Send + Sync + 'static {
    /// What its bytes mean.
    const LAYOUT: &'static TypeLayout;
}

/// A [`Plain`] type whose bit patterns are all valid, so that a slice of it may be lent over shared
/// bytes.
///
/// Numbers and arrays of them are; a structure that derives [`Plain`] is one if all its fields are.
///
/// # Safety
///
/// All bytes are a value, whatever they are. Counter-examples: `bool`, `char`, an enum.
#[diagnostic::on_unimplemented(
    message = "a slice of `{Self}` cannot be lent over shared memory",
    label = "some bit patterns are not a `{Self}`, and a peer could write one",
    note = "use `get` and `set`, which check each value, or store numbers"
)]
pub unsafe trait PlainSlice: Plain {}

/// [`PlainSlice`], with a lifetime that lets the derive write it as a bound on a field's type:
/// without one the compiler refuses bounds that do not hold instead of leaving the implementation
/// out.
#[doc(hidden)]
pub trait TakesAnyBytes<'any> {}

impl<T: PlainSlice> TakesAnyBytes<'_> for T {}

macro_rules! plain_numbers {
    ($($number:ty = $layout:expr;)*) => {$(
        // SAFETY: a number, as its description says; it has no padding.
        unsafe impl Plain for $number {
            const LAYOUT: &'static TypeLayout = &$layout;
        }
    )*};
}

plain_numbers! {
    i8 = TypeLayout::of_code::<Self>(TypeCode::I8);
    u8 = TypeLayout::of_code::<Self>(TypeCode::U8);
    i16 = TypeLayout::of_code::<Self>(TypeCode::I16);
    u16 = TypeLayout::of_code::<Self>(TypeCode::U16);
    i32 = TypeLayout::of_code::<Self>(TypeCode::I32);
    u32 = TypeLayout::of_code::<Self>(TypeCode::U32);
    i64 = TypeLayout::of_code::<Self>(TypeCode::I64);
    u64 = TypeLayout::of_code::<Self>(TypeCode::U64);
    f32 = TypeLayout::of_code::<Self>(TypeCode::F32);
    f64 = TypeLayout::of_code::<Self>(TypeCode::F64);
    bool = TypeLayout::of_code::<Self>(TypeCode::Bool);
    char = TypeLayout::of_code::<Self>(TypeCode::Char);
    i128 = TypeLayout::of_integer::<Self>("i128");
    u128 = TypeLayout::of_integer::<Self>("u128");
    isize = TypeLayout::of_integer::<Self>("isize");
    usize = TypeLayout::of_integer::<Self>("usize");
}

macro_rules! any_bytes {
    ($($number:ty)*) => {$(
        // SAFETY: every bit pattern is a number.
        unsafe impl PlainSlice for $number {}
    )*};
}

any_bytes!(i8 u8 i16 u16 i32 u32 i64 u64 f32 f64 i128 u128 isize usize);

// SAFETY: no bytes at all.
unsafe impl Plain for () {
    const LAYOUT: &'static TypeLayout = {
        const NONE: &[TypeField] = &[];
        &TypeLayout::of_fields::<Self>("()", NONE)
    };
}

// SAFETY: no bytes at all.
unsafe impl PlainSlice for () {}

// SAFETY: elements one after another without padding, as the description says.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {
    const LAYOUT: &'static TypeLayout = &TypeLayout::of_array::<Self>(T::LAYOUT, N);
}

// SAFETY: every bit pattern is an element, by `T`'s promise.
unsafe impl<T: PlainSlice, const N: usize> PlainSlice for [T; N] {}

/// The bytes of `value`.
#[inline]
pub fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    let start = core::ptr::from_ref(value).cast();
    // SAFETY: all bytes of a value are initialised, by the promise of `Plain`, and borrowed as long
    // as it is.
    unsafe { core::slice::from_raw_parts(start, size_of::<T>()) }
}

/// The value with these bytes, wherever they lie; `None` if there is none, or if they are not as
/// many as a value has.
#[inline]
pub fn value_of<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() || !takes::<T>(bytes) {
        return None;
    }
    // SAFETY: as many bytes as a `T` has, and by the check they are one.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The value, if its bytes are one.
///
/// # Safety
///
/// All its bytes are initialised.
#[inline]
pub unsafe fn checked<T: Plain>(value: MaybeUninit<T>) -> Option<T> {
    // SAFETY: initialised, by the contract.
    let bytes = unsafe { core::slice::from_raw_parts(value.as_ptr().cast(), size_of::<T>()) };
    if !takes::<T>(bytes) {
        return None;
    }
    // SAFETY: initialised by the contract, and its bytes are a `T`.
    Some(unsafe { value.assume_init() })
}

/// Whether `bytes`, as many as a `T` has, are one; costs nothing where all are.
#[inline]
fn takes<T: Plain>(bytes: &[u8]) -> bool {
    let any = const { T::LAYOUT.takes_any_bytes() };
    any || T::LAYOUT.accepts(bytes)
}

/// The value whose bytes are all zero. A type for which zeros are no value, such as an enum that
/// starts at 1, is refused when the program is built.
#[inline]
pub fn zeroed<T: Plain>() -> T {
    const { assert_zeros::<T>() };
    // SAFETY: zeros are a value, by the assertion.
    unsafe { core::mem::zeroed() }
}

/// Fails, when the program is built, if bytes that are all zero are not a `T`.
pub const fn assert_zeros<T: Plain>() {
    assert!(
        T::LAYOUT.takes_zeros(),
        "zero bytes are no value of this type; start from a value of your own"
    );
}
