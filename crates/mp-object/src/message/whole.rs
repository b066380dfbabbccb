//! Values that leave no field out, and are not nested too deep.

use core::cell::Cell;
use core::fmt::Display;

use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};

/// So many levels a value may have: each compound, `Some` and wrapper is one. Its reader's stack
/// must hold them, which in a thread has 2 MiB: 4 KiB for each level. Without optimisation small
/// types take up to 3 KiB of that; who has levels of many inline bytes reads them with a larger
/// stack, or boxes the bytes.
pub const MAX_DEPTH: u16 = 500;

/// A value that is written only with all its fields, and if it has no more than [`MAX_DEPTH`]
/// levels.
///
/// Formats without field names, such as postcard's, cannot tell the reader of a field that
/// `skip_serializing_if` left out: it would take the next one for it. Serde informs the writer,
/// which may ignore it; this refuses, and notes the field's name, since not all formats' errors
/// keep a text. Of a tuple's field serde does not tell.
pub(super) struct Whole<'a, T: ?Sized> {
    value: &'a T,
    notes: &'a Notes,
    /// How many levels it is inside of others.
    depth: u16,
}

/// What was seen while a value was written.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The named field that was left out.
    pub(super) skipped: Cell<Option<&'static str>>,
    /// There were too many levels.
    pub(super) is_too_deep: Cell<bool>,
    /// Tuple structs and tuple variants, and their fields, that were written; counted in debug
    /// builds.
    pub(super) tuple_fields: Cell<usize>,
}

impl Notes {
    #[inline]
    fn count(&self, fields: usize) {
        if cfg!(debug_assertions) {
            self.tuple_fields.set(self.tuple_fields.get() + fields);
        }
    }
}

impl<'a, T: ?Sized> Whole<'a, T> {
    pub(super) fn new(value: &'a T, notes: &'a Notes) -> Self {
        part(value, notes, 0)
    }
}

impl<T: Serialize + ?Sized> Serialize for Whole<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Writer {
            inner: serializer,
            notes: self.notes,
            depth: self.depth,
        })
    }
}

/// A serializer, or a part of one, that passes everything on but a field left out.
struct Writer<'a, S> {
    inner: S,
    notes: &'a Notes,
    /// The levels of what it writes; of a compound, those of its parts.
    depth: u16,
}

/// A value in another one.
#[inline]
fn part<'a, T: ?Sized>(value: &'a T, notes: &'a Notes, depth: u16) -> Whole<'a, T> {
    Whole {
        value,
        notes,
        depth,
    }
}

impl<S: Serializer> Writer<'_, S> {
    /// Goes one level down.
    #[inline]
    fn descend(&mut self) -> Result<(), S::Error> {
        if self.depth == MAX_DEPTH {
            return Err(too_deep(self.notes));
        }
        self.depth += 1;
        Ok(())
    }
}

#[cold]
fn too_deep<E: serde::ser::Error>(notes: &Notes) -> E {
    notes.is_too_deep.set(true);
    E::custom("it has too many levels")
}

/// Passes scalars on.
macro_rules! scalars {
    ($($method:ident: $type:ty,)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

/// Passes the beginnings of compounds on, and counts those that may be without a field unsaid.
macro_rules! compounds {
    ($($method:ident($($name:ident: $type:ty),*) -> $compound:ident counts $number:literal,)*) => {$(
        #[inline]
        fn $method(mut self, $($name: $type),*) -> Result<Self::$compound, S::Error> {
            self.descend()?;
            let Self { notes, depth, .. } = self;
            notes.count($number);
            let inner = self.inner.$method($($name),*)?;
            Ok(Writer { inner, notes, depth })
        }
    )*};
}

impl<'a, S: Serializer> Serializer for Writer<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Writer<'a, S::SerializeSeq>;
    type SerializeTuple = Writer<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Writer<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Writer<'a, S::SerializeTupleVariant>;
    type SerializeMap = Writer<'a, S::SerializeMap>;
    type SerializeStruct = Writer<'a, S::SerializeStruct>;
    type SerializeStructVariant = Writer<'a, S::SerializeStructVariant>;

    scalars! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    }

    compounds! {
        serialize_seq(len: Option<usize>) -> SerializeSeq counts 0,
        serialize_tuple(len: usize) -> SerializeTuple counts 0,
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct counts 1,
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant counts 1,
        serialize_map(len: Option<usize>) -> SerializeMap counts 0,
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct counts 0,
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeStructVariant counts 0,
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<S::Ok, S::Error> {
        self.descend()?;
        let value = part(value, self.notes, self.depth);
        self.inner.serialize_some(&value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.descend()?;
        let value = part(value, self.notes, self.depth);
        self.inner.serialize_newtype_struct(name, &value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.descend()?;
        let value = part(value, self.notes, self.depth);
        self.inner
            .serialize_newtype_variant(name, index, variant, &value)
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Passes the parts of a compound on, each of which is written whole, and counts those that serde
/// may leave out without a call.
macro_rules! parts {
    ($($trait:ident: $($method:ident)*, counts $fields:literal;)*) => {$(
        impl<S: $trait> $trait for Writer<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            $(
                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                    self.notes.count($fields);
                    self.inner.$method(&part(value, self.notes, self.depth))
                }
            )*

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

parts! {
    SerializeSeq: serialize_element, counts 0;
    SerializeTuple: serialize_element, counts 0;
    SerializeTupleStruct: serialize_field, counts 1;
    SerializeTupleVariant: serialize_field, counts 1;
    SerializeMap: serialize_key serialize_value, counts 0;
}

/// The same for those whose fields have names, and may be left out.
macro_rules! named_parts {
    ($($trait:ident)*) => {$(
        impl<S: $trait> $trait for Writer<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.inner.serialize_field(name, &part(value, self.notes, self.depth))
            }

            #[cold]
            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                self.notes.skipped.set(Some(name));
                Err(S::Error::custom("a field is left out"))
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

named_parts!(SerializeStruct SerializeStructVariant);
