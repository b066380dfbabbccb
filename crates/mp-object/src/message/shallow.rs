//! Reading a value that may be deeper than the stack.
//!
//! Serde reads a type that contains itself by recursion, and postcard does not bound it: some
//! kilobytes from a peer would end this process by a stack overflow. Here each container that is
//! inside another one counts as a level.

use core::cell::Cell;
use core::fmt;

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use super::{Flaw, MAX_DEPTH, Unfit};

/// So many levels are read: those that a sender writes, and one for a `None` or a variant without
/// content, which counts here as if it contained something.
const MOST_LEVELS: u16 = MAX_DEPTH + 1;

/// Reads a value that takes all of the bytes, as [`read`](super::read) does, of bytes that no
/// [`write()`](super::write()) need have made: of a peer that may lie. Its levels are counted, so
/// that a value of more than [`MAX_DEPTH`] is an error and no overflow of the stack.
///
/// ```
/// use mp_object::message;
/// use serde::Deserialize;
///
/// #[derive(Debug, Deserialize)]
/// struct Node(Option<Box<Node>>);
///
/// let error = message::read_foreign::<Node>(&[1; 100_000]).unwrap_err();
/// assert!(error.to_string().contains("more than 500 levels"), "{error}");
/// ```
///
/// # Errors
///
/// Those of [`read`](super::read), and more than 500 levels.
pub fn read_foreign<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unfit> {
    let mut source = postcard::Deserializer::from_bytes(bytes);
    let is_too_deep = Cell::new(false);
    let levels = Levels {
        left: MOST_LEVELS,
        is_too_deep: &is_too_deep,
    };
    let value = Deserialize::deserialize(levels.of(&mut source));
    let value = value.map_err(|error: postcard::Error| {
        Unfit(match is_too_deep.get() {
            true => Flaw::ReadTooDeep,
            false => Flaw::Unreadable(error),
        })
    })?;
    match source.finalize() {
        Ok([]) => Ok(value),
        Ok(rest) => Err(Unfit(Flaw::LeftOver(rest.len()))),
        Err(error) => Err(Unfit(Flaw::Unreadable(error))),
    }
}

/// How many levels may follow.
#[derive(Clone, Copy)]
struct Levels<'c> {
    left: u16,
    /// Postcard's errors keep no text.
    is_too_deep: &'c Cell<bool>,
}

impl<'c> Levels<'c> {
    /// The level inside.
    fn inside<E: Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => {
                self.is_too_deep.set(true);
                Err(E::custom("too many levels"))
            }
        }
    }

    fn of<T>(self, inner: T) -> Shallow<'c, T> {
        Shallow {
            inner,
            levels: self,
        }
    }
}

/// What serde reads by, with so many levels left.
struct Shallow<'c, T> {
    inner: T,
    levels: Levels<'c>,
}

/// Methods for what contains nothing.
macro_rules! leaves {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

/// Methods for what contains something.
macro_rules! containers {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(
            self,
            $($argument: $type,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            let visitor = self.levels.inside::<D::Error>()?.of(visitor);
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Shallow<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_identifier
    }

    containers! {
        deserialize_any()
        deserialize_ignored_any()
        deserialize_option()
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq()
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Of the containers that postcard reads; it knows none whose reader must be told what comes.
impl<'de, V: Visitor<'de>> Visitor<'de> for Shallow<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.levels.of(source))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, source: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.levels.of(source))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(self.levels.of(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(self.levels.of(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.levels.of(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Shallow<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.levels.of(source))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Shallow<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(self.levels.of(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Shallow<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(self.levels.of(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.levels.of(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'c, A: EnumAccess<'de>> EnumAccess<'de> for Shallow<'c, A> {
    type Error = A::Error;
    type Variant = Shallow<'c, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(self.levels.of(seed))?;
        Ok((value, self.levels.of(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Shallow<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.levels.of(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.levels.of(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.levels.of(visitor))
    }
}
