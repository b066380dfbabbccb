//! Numbers that can be added to in place.

use mp_layout::PlainSlice;

/// A number: what `fetch_add` of a [`Value`](crate::Value) takes. Integers wrap around.
pub trait Number: PlainSlice + Plus {}

/// An integer: what `fetch_add` of a [`RawValue`](crate::RawValue) takes.
pub trait Integer: Number {}

mod sealed {
    /// Addition as each kind of number does it.
    pub trait Plus {
        fn plus(self, other: Self) -> Self;
    }
}

pub(crate) use sealed::Plus;

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Plus for $integer {
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        }
        impl Number for $integer {}
        impl Integer for $integer {}
    )*};
}

macro_rules! floats {
    ($($float:ty)*) => {$(
        impl Plus for $float {
            fn plus(self, other: Self) -> Self {
                self + other
            }
        }
        impl Number for $float {}
    )*};
}

integers!(i8 u8 i16 u16 i32 u32 i64 u64 i128 u128 isize usize);
floats!(f32 f64);
