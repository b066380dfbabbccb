//! Structures in shared memory described by the code that defines them.
//!
//! [`layout!`](crate::layout) lists a structure's fields with their meaning; offsets and sizes come
//! from the compiler. `docs/memory-layout.md` is printed from these tables, and a test compares the
//! two.

use core::fmt;

/// One field of a shared structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name in the code.
    pub name: &'static str,
    /// Bytes from the start of the structure.
    pub offset: usize,
    /// Bytes of the field.
    pub size: usize,
    /// What it says, in one line.
    pub meaning: &'static str,
}

/// One shared structure: the rows of a table in `docs/memory-layout.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The structure's name.
    pub name: &'static str,
    /// Bytes of the structure.
    pub size: usize,
    /// Its alignment in bytes.
    pub align: usize,
    /// Its fields, in offset order.
    pub fields: &'static [Field],
}

impl fmt::Display for Table {
    /// Writes the table as Markdown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "## {}\n", self.name)?;
        writeln!(
            formatter,
            "{} bytes, aligned to {}.\n",
            self.size, self.align
        )?;
        writeln!(
            formatter,
            "| offset | size | field | meaning |\n|---:|---:|---|---|"
        )?;
        for field in self.fields {
            let Field {
                name,
                offset,
                size,
                meaning,
            } = field;
            writeln!(formatter, "| {offset} | {size} | `{name}` | {meaning} |")?;
        }
        Ok(())
    }
}

/// Describes a `#[repr(C)]` structure of shared memory as a [`Table`].
///
/// ```
/// #[repr(C)]
/// struct Pair { first: u32, second: u64 }
/// const PAIR: mp_layout::Table = mp_layout::layout!(Pair { first: "one", second: "the other" });
/// assert_eq!((PAIR.size, PAIR.fields[1].offset, PAIR.fields[1].size), (16, 8, 8));
/// ```
#[macro_export]
macro_rules! layout {
    ($type:ty { $($field:ident: $meaning:expr),* $(,)? }) => {
        $crate::layout!(stringify!($type), $type { $($field: $meaning),* })
    };
    ($name:expr, $type:ty { $($field:ident: $meaning:expr),* $(,)? }) => {
        $crate::Table {
            name: $name,
            size: ::core::mem::size_of::<$type>(),
            align: ::core::mem::align_of::<$type>(),
            fields: &[$($crate::Field {
                name: stringify!($field),
                offset: ::core::mem::offset_of!($type, $field),
                size: $crate::size_of_field(|whole: &$type| &whole.$field),
                meaning: $meaning,
            }),*],
        }
    };
}

/// Bytes of the field that `project` picks; for [`layout!`](crate::layout).
#[doc(hidden)]
pub const fn size_of_field<Whole, Part>(_project: fn(&Whole) -> &Part) -> usize {
    size_of::<Part>()
}
