//! One item of a list.

use core::fmt;

use mp_layout::{Cells, Error, ErrorKind, Result};

/// What a slot of a [`ShareableList`](crate::ShareableList) can have: Python's `None`, `bool`,
/// `int` of 64 bits, `float`, `str` and `bytes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ListItem {
    /// Nothing.
    #[default]
    None,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Any text, NULs included.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
}

/// The first word of a slot's copy says what the item is (the low byte) and how many bytes it has
/// (the others).
const TAG_BITS: u32 = 8;

impl ListItem {
    /// Bytes that a slot needs for it.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    fn tag(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bool(_) => 1,
            Self::Int(_) => 2,
            Self::Float(_) => 3,
            Self::Text(_) => 4,
            Self::Bytes(_) => 5,
        }
    }

    /// Writes it to `copy`, whose words after the first have room for it.
    pub(crate) fn write(&self, copy: Cells<'_, u64>) {
        copy.set(0, self.tag() | (self.size() as u64) << TAG_BITS);
        match self {
            Self::None => {}
            Self::Bool(bool) => copy.set(1, u64::from(*bool)),
            Self::Int(int) => copy.set(1, int.cast_unsigned()),
            Self::Float(float) => copy.set(1, float.to_bits()),
            Self::Text(text) => write_bytes(copy, text.as_bytes()),
            Self::Bytes(bytes) => write_bytes(copy, bytes),
        }
    }

    /// The item in `copy`, which may be a mixture of two.
    pub(crate) fn read(copy: Cells<'_, u64>) -> Result<Self> {
        let head = copy.get(0);
        let (tag, size) = (head & ((1 << TAG_BITS) - 1), head >> TAG_BITS);
        let room = (copy.len() - 1) * 8;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > room {
            return Err(corrupt(format!(
                "it says {size} bytes, the slot has {room}"
            )));
        }
        match tag {
            0 => Ok(Self::None),
            1 => Ok(Self::Bool(copy.get(1) != 0)),
            2 => Ok(Self::Int(copy.get(1).cast_signed())),
            3 => Ok(Self::Float(f64::from_bits(copy.get(1)))),
            4 => String::from_utf8(read_bytes(copy, size))
                .map(Self::Text)
                .map_err(|error| corrupt(format!("its text is none: {error}"))),
            5 => Ok(Self::Bytes(read_bytes(copy, size))),
            _ => Err(corrupt(format!("there is no type {tag}"))),
        }
    }
}

fn write_bytes(copy: Cells<'_, u64>, bytes: &[u8]) {
    for (index, piece) in bytes.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        copy.set(1 + index, u64::from_le_bytes(word));
    }
}

fn read_bytes(copy: Cells<'_, u64>, size: usize) -> Vec<u8> {
    let words = copy.slice(1..=size.div_ceil(8));
    let mut bytes: Vec<u8> = words.iter().flat_map(u64::to_le_bytes).collect();
    bytes.truncate(size);
    bytes
}

#[cold]
fn corrupt(reason: String) -> Error {
    Error::new(ErrorKind::Corrupt, "read", "an item of a list").with_detail(reason)
}

macro_rules! from {
    ($($type:ty => |$value:ident| $item:expr;)*) => {$(
        impl From<$type> for ListItem {
            fn from($value: $type) -> Self {
                $item
            }
        }
    )*};
}

from! {
    () => |_nothing| Self::None;
    bool => |bool| Self::Bool(bool);
    i32 => |int| Self::Int(int.into());
    i64 => |int| Self::Int(int);
    f64 => |float| Self::Float(float);
    &str => |text| Self::Text(text.to_owned());
    String => |text| Self::Text(text);
    &[u8] => |bytes| Self::Bytes(bytes.to_owned());
    Vec<u8> => |bytes| Self::Bytes(bytes);
}

impl fmt::Display for ListItem {
    /// Writes it as Python does, but for bytes, of which it says how many there are.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            Self::Bool(true) => formatter.write_str("True"),
            Self::Bool(false) => formatter.write_str("False"),
            Self::Int(int) => int.fmt(formatter),
            Self::Float(float) => write!(formatter, "{float:?}"),
            Self::Text(text) => write!(formatter, "{text:?}"),
            Self::Bytes(bytes) => write!(formatter, "{} bytes", bytes.len()),
        }
    }
}
