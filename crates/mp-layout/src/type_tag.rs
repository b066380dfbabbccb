//! How a header names the type of its elements.

use core::any::type_name;
use core::fmt;

use crate::fnv::hash_of_text;
use crate::{Plain, TypeCode, TypeLayout};

/// Bytes of a header for the name of its elements' type.
pub(crate) const NAME_SIZE: usize = 64;

/// What ends a name that is cut.
const CUT: &str = "...";

/// The type of a segment's elements as its header states it: a type code for the primitives,
/// otherwise a hash of the Rust type's path and of its fields, down to their numbers; and in both
/// cases the element's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeTag {
    pub(crate) code: Option<TypeCode>,
    pub(crate) hash: u64,
    pub(crate) item_size: u64,
    name: Name,
}

/// What messages call a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Text(&'static str),
    Layout(&'static TypeLayout),
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Layout(layout) => layout.fmt(formatter),
        }
    }
}

impl TypeTag {
    /// Of objects that have no elements, such as a lock.
    pub const NONE: Self = Self {
        code: None,
        hash: 0,
        item_size: 0,
        name: Name::Text("nothing"),
    };

    /// The tag of `T`.
    pub const fn of<T: Plain>() -> Self {
        match T::LAYOUT.code() {
            Some(code) => Self::of_code(code),
            None => Self {
                code: None,
                hash: const { T::LAYOUT.hash() },
                item_size: size_of::<T>() as u64,
                name: Name::Layout(T::LAYOUT),
            },
        }
    }

    /// The tag of a type that travels by serialisation, so that its size in memory says nothing
    /// about its bytes. Its hash covers the path alone: what is written by serde says itself,
    /// as far as its format does, what it is.
    pub fn of_message<T: 'static>() -> Self {
        let name = type_name::<T>();
        Self {
            code: None,
            hash: hash_of_text(name),
            item_size: size_of::<T>() as u64,
            name: Name::Text(name),
        }
    }

    /// The tag of elements with this type code.
    pub const fn of_code(code: TypeCode) -> Self {
        Self {
            code: Some(code),
            hash: 0,
            item_size: code.item_size() as u64,
            name: Name::Text(code.rust_type()),
        }
    }

    /// A tag read from a header.
    pub(crate) const fn found(code: Option<TypeCode>, hash: u64, item_size: u64) -> Self {
        Self {
            code,
            hash,
            item_size,
            name: Name::Text("another type"),
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

    /// Whether elements tagged `found` may be read as this type: the same class and size for type
    /// codes (so `l` opens as `i64`), the same path and fields for other types.
    pub fn accepts(self, found: Self) -> bool {
        let same_code = match (self.code, found.code) {
            (Some(mine), Some(theirs)) => mine.class() == theirs.class(),
            (None, None) => self.hash == found.hash,
            _ => false,
        };
        same_code && self.item_size == found.item_size
    }
}

impl TypeTag {
    /// The type's text for a header, which the type code says where there is one: with its fields,
    /// cut where it would be too long.
    pub(crate) fn stored_name(&self) -> [u8; NAME_SIZE] {
        let mut stored = [0; NAME_SIZE];
        if self.code.is_none() && *self != Self::NONE {
            let mut text = self.name.to_string();
            if text.len() > NAME_SIZE {
                let fits = |end: &usize| text.is_char_boundary(*end);
                let end = (0..=NAME_SIZE - CUT.len()).rev().find(fits);
                text.truncate(end.unwrap_or(0));
                text.push_str(CUT);
            }
            stored[..text.len()].copy_from_slice(text.as_bytes());
        }
        stored
    }

    /// The tag for a message, with the name that its header has. A peer wrote it: it is shown, and
    /// decides nothing.
    pub(crate) fn called(&self, stored: &[u8; NAME_SIZE]) -> String {
        let text = String::from_utf8_lossy(stored);
        let text: String = text.chars().filter(|char| !char.is_control()).collect();
        if self.code.is_some() || text.is_empty() {
            return self.to_string();
        }
        self.described(text)
    }

    fn described(&self, name: impl fmt::Display) -> String {
        let (size, hash) = (self.item_size, self.hash);
        format!("{name} of {size} bytes (type {hash:016x})")
    }
}

impl fmt::Display for TypeTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => code.fmt(formatter),
            None => formatter.write_str(&self.described(self.name)),
        }
    }
}
