//! What the bytes of a plain type mean, as data.

use core::fmt;

use crate::fnv::{START, mix, mix_text};
use crate::{Class, TypeCode};

mod numpy;

pub use numpy::numpy_tuple;

/// How a [`Plain`](crate::Plain) type lies in memory, down to its numbers: what its header's hash
/// covers, and what decides which bytes are a value.
///
/// Two programs that have a structure of one name with other fields have two of these.
///
/// ```
/// use mp_layout::Plain;
///
/// assert_eq!(<[f32; 3]>::LAYOUT.to_string(), "[f32; 3]");
/// assert_eq!(<[f32; 3]>::LAYOUT.size(), 12);
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct TypeLayout {
    /// The path of a structure or an enum, the name of a number, nothing for an array.
    name: &'static str,
    size: usize,
    align: usize,
    content: Content,
}

/// What the bytes of a type are.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// A number, a `bool` or a `char` that has a type code.
    Code(TypeCode),
    /// An integer that has none: of 128 bits, or of the size of an address.
    Integer,
    /// So many elements, one after another.
    Array {
        element: &'static TypeLayout,
        len: usize,
    },
    /// Fields in the order of the code.
    Fields(&'static [TypeField]),
    /// An integer that is one of these.
    Variants {
        integer: &'static TypeLayout,
        variants: &'static [Variant],
    },
}

/// One field of a structure.
#[derive(Debug, PartialEq, Eq)]
pub struct TypeField {
    name: &'static str,
    offset: usize,
    layout: &'static TypeLayout,
}

/// One value of an enum.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    name: &'static str,
    value: i128,
}

impl TypeField {
    pub(crate) const fn new(
        name: &'static str,
        offset: usize,
        layout: &'static TypeLayout,
    ) -> Self {
        Self {
            name,
            offset,
            layout,
        }
    }
}

impl TypeLayout {
    /// Bytes of a value.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Alignment of a value in bytes.
    pub const fn align(&self) -> usize {
        self.align
    }

    /// The type code, for the primitives that have one.
    pub const fn code(&self) -> Option<TypeCode> {
        match self.content {
            Content::Code(code) => Some(code),
            _ => None,
        }
    }

    pub(crate) const fn of_code<T>(code: TypeCode) -> Self {
        Self::new::<T>(code.rust_type(), Content::Code(code))
    }

    pub(crate) const fn of_integer<T>(name: &'static str) -> Self {
        Self::new::<T>(name, Content::Integer)
    }

    pub(crate) const fn of_array<T>(element: &'static Self, len: usize) -> Self {
        Self::new::<T>("", Content::Array { element, len })
    }

    pub(crate) const fn of_fields<T>(name: &'static str, fields: &'static [TypeField]) -> Self {
        Self::new::<T>(name, Content::Fields(fields))
    }

    const fn new<T>(name: &'static str, content: Content) -> Self {
        Self {
            name,
            size: size_of::<T>(),
            align: align_of::<T>(),
            content,
        }
    }

    /// Whether every byte belongs to a number, a field or an element: there is no padding.
    const fn is_filled(&self) -> bool {
        match self.content {
            Content::Fields(fields) => {
                let (mut size, mut index) = (0, 0);
                while index < fields.len() {
                    size += fields[index].layout.size;
                    index += 1;
                }
                size == self.size
            }
            Content::Variants { integer, .. } => integer.size == self.size,
            _ => true,
        }
    }

    /// Whether any bytes are a value.
    pub const fn takes_any_bytes(&self) -> bool {
        match self.content {
            Content::Code(code) => !matches!(code.class(), Class::Bool | Class::Char),
            Content::Integer => true,
            Content::Array { element, .. } => element.takes_any_bytes(),
            Content::Fields(fields) => {
                let mut index = 0;
                while index < fields.len() {
                    if !fields[index].layout.takes_any_bytes() {
                        return false;
                    }
                    index += 1;
                }
                true
            }
            Content::Variants { .. } => false,
        }
    }

    /// Whether bytes that are all zero are a value.
    pub(crate) const fn takes_zeros(&self) -> bool {
        match self.content {
            Content::Code(_) | Content::Integer => true,
            Content::Array { element, .. } => element.takes_zeros(),
            Content::Fields(fields) => {
                let mut index = 0;
                while index < fields.len() {
                    if !fields[index].layout.takes_zeros() {
                        return false;
                    }
                    index += 1;
                }
                true
            }
            Content::Variants { variants, .. } => {
                let mut index = 0;
                while index < variants.len() {
                    if variants[index].value == 0 {
                        return true;
                    }
                    index += 1;
                }
                false
            }
        }
    }

    /// Whether `bytes`, as many as a value has, are one.
    pub(crate) fn accepts(&self, bytes: &[u8]) -> bool {
        match self.content {
            Content::Code(code) => match code.class() {
                Class::Bool => number(bytes) <= 1,
                Class::Char => {
                    u32::try_from(number(bytes)).is_ok_and(|c| char::from_u32(c).is_some())
                }
                Class::Signed | Class::Unsigned | Class::Float => true,
            },
            Content::Integer => true,
            Content::Array { element, .. } => {
                element.size == 0
                    || element.takes_any_bytes()
                    || bytes
                        .chunks_exact(element.size)
                        .all(|bytes| element.accepts(bytes))
            }
            Content::Fields(fields) => fields.iter().all(|field| {
                let end = field.offset + field.layout.size;
                field.layout.accepts(&bytes[field.offset..end])
            }),
            Content::Variants { variants, .. } => {
                let unused_bits = 64 - 8 * bytes.len();
                let bits = number(bytes) << unused_bits;
                variants
                    .iter()
                    .any(|variant| (variant.value as u64) << unused_bits == bits)
            }
        }
    }

    /// FNV-1a over all that is known of the type: the same in every program that has the same type;
    /// another type has another, but for a chance of 1 in 2^64.
    pub(crate) const fn hash(&self) -> u64 {
        self.mix_into(START)
    }

    const fn mix_into(&self, sum: u64) -> u64 {
        let sum = mix_text(sum, self.name);
        let sum = mix(mix(sum, self.size as u64), self.align as u64);
        match self.content {
            Content::Code(code) => mix(mix(sum, 1), code as u64),
            Content::Integer => mix(sum, 2),
            Content::Array { element, len } => element.mix_into(mix(mix(sum, 3), len as u64)),
            Content::Fields(fields) => {
                let mut sum = mix(mix(sum, 4), fields.len() as u64);
                let mut index = 0;
                while index < fields.len() {
                    let field = &fields[index];
                    sum = mix(mix_text(sum, field.name), field.offset as u64);
                    sum = field.layout.mix_into(sum);
                    index += 1;
                }
                sum
            }
            Content::Variants { integer, variants } => {
                let mut sum = integer.mix_into(mix(mix(sum, 5), variants.len() as u64));
                let mut index = 0;
                while index < variants.len() {
                    sum = mix(
                        mix_text(sum, variants[index].name),
                        variants[index].value as u64,
                    );
                    index += 1;
                }
                sum
            }
        }
    }
}

/// The number in up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(wide)
}

impl fmt::Display for TypeLayout {
    /// Writes the type as the code has it, with the fields of a structure: `game::Unit { at: [f32;
    /// 2], alive: bool }`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Array { element, len } => return write!(formatter, "[{element}; {len}]"),
            _ => formatter.write_str(self.name)?,
        }
        match self.content {
            Content::Fields([]) => Ok(()),
            Content::Fields(fields) => {
                for (index, field) in fields.iter().enumerate() {
                    let before = if index == 0 { " {" } else { "," };
                    write!(formatter, "{before} {}: {}", field.name, field.layout)?;
                }
                formatter.write_str(" }")
            }
            Content::Variants { variants, .. } => {
                for (index, variant) in variants.iter().enumerate() {
                    let before = if index == 0 { " {" } else { "," };
                    write!(formatter, "{before} {} = {}", variant.name, variant.value)?;
                }
                formatter.write_str(" }")
            }
            _ => Ok(()),
        }
    }
}

/// What the code that `#[derive(Plain)]` writes refers to.
#[doc(hidden)]
pub mod generated {
    use super::Content;
    pub use super::{TypeField, TypeLayout, Variant};
    pub use crate::plain::{Plain, PlainSlice, TakesAnyBytes};

    pub const fn layout_of<T: Plain>() -> &'static TypeLayout {
        T::LAYOUT
    }

    pub const fn structure<T>(name: &'static str, fields: &'static [TypeField]) -> TypeLayout {
        TypeLayout::of_fields::<T>(name, fields)
    }

    pub const fn field(
        name: &'static str,
        offset: usize,
        layout: &'static TypeLayout,
    ) -> TypeField {
        TypeField::new(name, offset, layout)
    }

    pub const fn enumeration<T>(
        integer: &'static TypeLayout,
        name: &'static str,
        variants: &'static [Variant],
    ) -> TypeLayout {
        TypeLayout::new::<T>(name, Content::Variants { integer, variants })
    }

    pub const fn variant(name: &'static str, value: i128) -> Variant {
        Variant { name, value }
    }

    pub const fn is_filled(layout: &TypeLayout) -> bool {
        layout.is_filled()
    }
}
