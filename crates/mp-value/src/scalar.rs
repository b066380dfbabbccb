//! One number of a type that is known at run time.

use core::fmt;

use mp_layout::{Class, Error, ErrorKind, Plain, Result, TypeCode};

/// What an [`AnyValue`](crate::AnyValue) or an element of an [`AnyArray`](crate::AnyArray) is.
///
/// ```
/// use mp_value::Scalar;
///
/// assert_eq!(Scalar::from(7_u8), Scalar::Int(7));
/// assert_eq!(Scalar::from(0.5).as_float(), Some(0.5));
/// assert_eq!(Scalar::Int(3).to_string(), "3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// Of `b B h H i I l L q Q`.
    Int(i128),
    /// Of `f d`.
    Float(f64),
    /// Of `?`.
    Bool(bool),
    /// Of `u`, and of `c`, whose bytes are the first 256 of Unicode (Latin-1).
    Char(char),
}

impl Scalar {
    /// The integer, if it is one.
    #[must_use]
    pub fn as_int(self) -> Option<i128> {
        match self {
            Self::Int(int) => Some(int),
            _ => None,
        }
    }

    /// The number as a float, if it is a number; large integers are rounded.
    #[must_use]
    pub fn as_float(self) -> Option<f64> {
        match self {
            Self::Int(int) => Some(int as f64),
            Self::Float(float) => Some(float),
            _ => None,
        }
    }
}

macro_rules! from_integers {
    ($($integer:ty)*) => {$(
        impl From<$integer> for Scalar {
            fn from(integer: $integer) -> Self {
                Self::Int(integer.into())
            }
        }
    )*};
}

from_integers!(i8 u8 i16 u16 i32 u32 i64 u64 i128);

impl From<f32> for Scalar {
    fn from(float: f32) -> Self {
        Self::Float(float.into())
    }
}

impl From<f64> for Scalar {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<bool> for Scalar {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

impl From<char> for Scalar {
    fn from(char: char) -> Self {
        Self::Char(char)
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(int) => int.fmt(formatter),
            // `Debug` has an exponent where `Display` has three hundred digits.
            Self::Float(float) => write!(formatter, "{float:?}"),
            Self::Bool(bool) => bool.fmt(formatter),
            Self::Char(char) => write!(formatter, "{char:?}"),
        }
    }
}

/// A Rust type that holds one element of some type codes.
pub(crate) trait Element: Plain {
    /// The element that `scalar` is under `code`; an error names what would be accepted.
    fn from_scalar(code: TypeCode, scalar: Scalar) -> Result<Self>;

    /// What the element is under `code`.
    fn to_scalar(self, code: TypeCode) -> Scalar;
}

macro_rules! integer_elements {
    ($($integer:ty)*) => {$(
        impl Element for $integer {
            fn from_scalar(code: TypeCode, scalar: Scalar) -> Result<Self> {
                let (least, most) = (Self::MIN, Self::MAX);
                let accepted = || format!("an integer from {least} to {most}");
                let int = match scalar {
                    Scalar::Int(int) => int,
                    Scalar::Bool(bool) => bool.into(),
                    Scalar::Char(char) if code == TypeCode::Byte => u32::from(char).into(),
                    _ => return Err(refused(code, scalar, accepted())),
                };
                Self::try_from(int).map_err(|_| refused(code, scalar, accepted()))
            }

            fn to_scalar(self, code: TypeCode) -> Scalar {
                match u8::try_from(self) {
                    Ok(byte) if code == TypeCode::Byte => Scalar::Char(byte.into()),
                    _ => Scalar::Int(self.into()),
                }
            }
        }
    )*};
}

integer_elements!(i8 u8 i16 u16 i32 u32 i64 u64);

impl Element for f64 {
    fn from_scalar(code: TypeCode, scalar: Scalar) -> Result<Self> {
        scalar
            .as_float()
            .ok_or_else(|| refused(code, scalar, "a number"))
    }

    fn to_scalar(self, _: TypeCode) -> Scalar {
        Scalar::Float(self)
    }
}

impl Element for f32 {
    fn from_scalar(code: TypeCode, scalar: Scalar) -> Result<Self> {
        let wide = f64::from_scalar(code, scalar)?;
        // The nearest float, as C has it.
        let narrow = wide as Self;
        if narrow.is_infinite() && wide.is_finite() {
            return Err(refused(
                code,
                scalar,
                format_args!("at most {:e}", Self::MAX),
            ));
        }
        Ok(narrow)
    }

    fn to_scalar(self, _: TypeCode) -> Scalar {
        self.into()
    }
}

impl Element for bool {
    fn from_scalar(code: TypeCode, scalar: Scalar) -> Result<Self> {
        match scalar {
            Scalar::Bool(bool) => Ok(bool),
            Scalar::Int(int @ (0 | 1)) => Ok(int == 1),
            _ => Err(refused(code, scalar, "true, false, 0 or 1")),
        }
    }

    fn to_scalar(self, _: TypeCode) -> Scalar {
        Scalar::Bool(self)
    }
}

impl Element for char {
    fn from_scalar(code: TypeCode, scalar: Scalar) -> Result<Self> {
        match scalar {
            Scalar::Char(char) => Ok(char),
            _ => Err(refused(code, scalar, "a character")),
        }
    }

    fn to_scalar(self, _: TypeCode) -> Scalar {
        Scalar::Char(self)
    }
}

#[cold]
fn refused(code: TypeCode, scalar: Scalar, accepted: impl fmt::Display) -> Error {
    let kind = match (code.class(), scalar) {
        (Class::Signed | Class::Unsigned | Class::Bool, Scalar::Int(_)) => ErrorKind::InvalidInput,
        (Class::Float, Scalar::Int(_) | Scalar::Float(_)) => ErrorKind::InvalidInput,
        (Class::Unsigned, Scalar::Char(_)) if code == TypeCode::Byte => ErrorKind::InvalidInput,
        _ => ErrorKind::WrongType,
    };
    Error::mismatch(
        kind,
        "store into",
        format!("type code {code}"),
        scalar,
        accepted,
    )
}

/// Evaluates `$body` with `$T` standing for the Rust type of the type code `$code`.
macro_rules! with_element_type {
    ($code:expr, $T:ident => $body:expr) => {
        match $code {
            TypeCode::I8 => with_element_type!(@ i8, $T, $body),
            TypeCode::U8 | TypeCode::Byte => with_element_type!(@ u8, $T, $body),
            TypeCode::I16 => with_element_type!(@ i16, $T, $body),
            TypeCode::U16 => with_element_type!(@ u16, $T, $body),
            TypeCode::I32 => with_element_type!(@ i32, $T, $body),
            TypeCode::U32 => with_element_type!(@ u32, $T, $body),
            TypeCode::Long | TypeCode::I64 => with_element_type!(@ i64, $T, $body),
            TypeCode::ULong | TypeCode::U64 => with_element_type!(@ u64, $T, $body),
            TypeCode::F32 => with_element_type!(@ f32, $T, $body),
            TypeCode::F64 => with_element_type!(@ f64, $T, $body),
            TypeCode::Bool => with_element_type!(@ bool, $T, $body),
            TypeCode::Char => with_element_type!(@ char, $T, $body),
        }
    };
    (@ $type:ty, $T:ident, $body:expr) => {{
        type $T = $type;
        $body
    }};
}

pub(crate) use with_element_type;
