//! Complex numbers.

use crate::{Plain, PlainSlice, TypeField, TypeLayout};

/// A complex number, as numpy's `complex64` (of `f32`) and `complex128` (of `f64`), C's `complex`
/// and num-complex's `Complex` lie in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Complex<F> {
    /// The real part.
    pub re: F,
    /// The imaginary part.
    pub im: F,
}

impl<F> Complex<F> {
    /// The number `re + im * i`.
    pub const fn new(re: F, im: F) -> Self {
        Self { re, im }
    }
}

macro_rules! complex {
    ($($float:ty, $name:literal;)*) => {$(
        // SAFETY: two floats one after another without padding, as the description says.
        unsafe impl Plain for Complex<$float> {
            const LAYOUT: &'static TypeLayout = {
                const FIELDS: &[TypeField] = &[
                    TypeField::new("re", 0, <$float>::LAYOUT),
                    TypeField::new("im", size_of::<$float>(), <$float>::LAYOUT),
                ];
                &TypeLayout::of_fields::<Self>($name, FIELDS)
            };
        }

        // SAFETY: every bit pattern is a float.
        unsafe impl PlainSlice for Complex<$float> {}
    )*};
}

complex! {
    f32, "complex64";
    f64, "complex128";
}
