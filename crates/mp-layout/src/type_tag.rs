//! How a header names the type of its elements.

use core::any::{TypeId, type_name};
use core::fmt;

use crate::{Plain, TypeCode};

/// The type of a segment's elements as its header states it: a type code for the primitives, otherwise a hash of the Rust
/// type's path, and in both cases the element's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeTag {
    pub(crate) code: Option<TypeCode>,
    pub(crate) hash: u64,
    pub(crate) item_size: u64,
    name: &'static str,
}

impl TypeTag {
    /// Of objects that have no elements, such as a lock.
    pub const NONE: Self = Self {
        code: None,
        hash: 0,
        item_size: 0,
        name: "nothing",
    };

    /// The tag of `T`.
    pub fn of<T: Plain>() -> Self {
        code_of::<T>().map_or_else(Self::of_message::<T>, Self::of_code)
    }

    /// The tag of a type that travels by serialisation, so that its size in memory says nothing about its bytes.
    pub fn of_message<T: 'static>() -> Self {
        let name = type_name::<T>();
        Self {
            code: None,
            hash: hash_text(name),
            item_size: size_of::<T>() as u64,
            name,
        }
    }

    /// The tag of elements with this type code.
    pub const fn of_code(code: TypeCode) -> Self {
        Self {
            code: Some(code),
            hash: 0,
            item_size: code.item_size() as u64,
            name: code.rust_type(),
        }
    }

    /// A tag read from a header.
    pub(crate) const fn found(code: Option<TypeCode>, hash: u64, item_size: u64) -> Self {
        Self {
            code,
            hash,
            item_size,
            name: "another type",
        }
    }

    /// The type code, for primitives.
    pub const fn code(self) -> Option<TypeCode> {
        self.code
    }

    /// Bytes of one element.
    pub const fn item_size(self) -> u64 {
        self.item_size
    }

    /// Whether elements tagged `found` may be read as this type: the same class and size for type codes (so `l` opens
    /// as `i64`), the same path and size for other types.
    pub fn accepts(self, found: Self) -> bool {
        let same_code = match (self.code, found.code) {
            (Some(mine), Some(theirs)) => mine.class() == theirs.class(),
            (None, None) => self.hash == found.hash,
            _ => false,
        };
        same_code && self.item_size == found.item_size
    }
}

impl fmt::Display for TypeTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(formatter, "{code}"),
            None => write!(
                formatter,
                "{} of {} bytes (hash {:016x})",
                self.name, self.item_size, self.hash
            ),
        }
    }
}

/// The canonical code of a primitive: `q` for `i64`, `B` for `u8`.
fn code_of<T: 'static>() -> Option<TypeCode> {
    let id = TypeId::of::<T>();
    let codes = [
        (TypeId::of::<i8>(), TypeCode::I8),
        (TypeId::of::<u8>(), TypeCode::U8),
        (TypeId::of::<i16>(), TypeCode::I16),
        (TypeId::of::<u16>(), TypeCode::U16),
        (TypeId::of::<i32>(), TypeCode::I32),
        (TypeId::of::<u32>(), TypeCode::U32),
        (TypeId::of::<i64>(), TypeCode::I64),
        (TypeId::of::<u64>(), TypeCode::U64),
        (TypeId::of::<f32>(), TypeCode::F32),
        (TypeId::of::<f64>(), TypeCode::F64),
        (TypeId::of::<bool>(), TypeCode::Bool),
        (TypeId::of::<char>(), TypeCode::Char),
    ];
    codes
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, code)| *code)
}

/// FNV-1a of the text's bytes: the same in every build of the same program.
fn hash_text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
