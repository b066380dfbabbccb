//! The type codes of Python's `array`, `struct` and `multiprocessing`.

use core::fmt;

use crate::{Error, ErrorKind, Result};

/// How the bits of a number are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Two's complement.
    Signed,
    /// Unsigned, also a single byte of text (`c`).
    Unsigned,
    /// IEEE 754.
    Float,
    /// One byte, 0 or 1.
    Bool,
    /// A Unicode scalar value in 32 bits.
    Char,
}

macro_rules! type_codes {
    ($($(#[$doc:meta])* $name:ident = $char:literal, $class:ident, $rust:ty;)*) => {
        /// One of `b B h H i I l L q Q f d c ? u`, with the sizes these have on 64-bit Linux.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum TypeCode {
            $($(#[$doc])* $name = $char,)*
        }

        impl TypeCode {
            /// Every code, in the order of Python's documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// How its bits are read.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// Bytes of one element.
            pub const fn item_size(self) -> usize {
                match self { $(Self::$name => size_of::<$rust>(),)* }
            }

            /// The Rust type that holds one element.
            pub const fn rust_type(self) -> &'static str {
                match self { $(Self::$name => stringify!($rust),)* }
            }
        }
    };
}

type_codes! {
    /// `signed char`.
    I8 = b'b', Signed, i8;
    /// `unsigned char`.
    U8 = b'B', Unsigned, u8;
    /// `short`.
    I16 = b'h', Signed, i16;
    /// `unsigned short`.
    U16 = b'H', Unsigned, u16;
    /// `int`.
    I32 = b'i', Signed, i32;
    /// `unsigned int`.
    U32 = b'I', Unsigned, u32;
    /// `long`, 8 bytes on 64-bit Linux.
    Long = b'l', Signed, i64;
    /// `unsigned long`, 8 bytes on 64-bit Linux.
    ULong = b'L', Unsigned, u64;
    /// `long long`.
    I64 = b'q', Signed, i64;
    /// `unsigned long long`.
    U64 = b'Q', Unsigned, u64;
    /// `float`.
    F32 = b'f', Float, f32;
    /// `double`.
    F64 = b'd', Float, f64;
    /// `char`: one byte of text.
    Byte = b'c', Unsigned, u8;
    /// `bool`.
    Bool = b'?', Bool, bool;
    /// `wchar_t`: one Unicode scalar value.
    Char = b'u', Char, char;
}

impl TypeCode {
    /// The code written as `code`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`] if there is no such code; the message lists those there are.
    pub fn from_char(code: char) -> Result<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.as_char() == code)
            .ok_or_else(|| {
                Error::new(ErrorKind::WrongType, "read", format!("type code {code:?}"))
                    .with_detail("type codes are b B h H i I l L q Q f d c ? u")
            })
    }

    /// The character that stands for it.
    pub const fn as_char(self) -> char {
        self as u8 as char
    }

    /// The name numpy gives this type, with its byte order (`<f8`).
    pub const fn numpy_name(self) -> &'static str {
        match self {
            Self::I8 => "|i1",
            Self::U8 => "|u1",
            Self::I16 => "<i2",
            Self::U16 => "<u2",
            Self::I32 => "<i4",
            Self::U32 => "<u4",
            Self::Long | Self::I64 => "<i8",
            Self::ULong | Self::U64 => "<u8",
            Self::F32 => "<f4",
            Self::F64 => "<f8",
            Self::Byte => "|S1",
            Self::Bool => "|b1",
            Self::Char => "<U1",
        }
    }
}

impl fmt::Display for TypeCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "'{}' ({})", self.as_char(), self.rust_type())
    }
}
