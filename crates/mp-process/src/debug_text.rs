//! Any serde value as `Debug` would write it.
//!
//! A task's error travels, so serde can write it; whether it is `Debug`, only its own program
//! knows.

use std::any::type_name;
use std::fmt::{self, Debug, DebugList, DebugMap, DebugStruct, DebugTuple, Formatter};

use mp_layout::Error;
use serde::ser::{self, Serialize, Serializer};

/// Writes a value in `Debug`'s form, with the names that serde has for its types, variants and
/// fields.
pub(crate) struct DebugText<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Serialize + ?Sized> Debug for DebugText<'_, T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self.as_error() {
            Some(error) => error.fmt(formatter),
            None => self.0.serialize(Writer(formatter)),
        }
    }
}

impl<T: Serialize + ?Sized> DebugText<'_, T> {
    /// The error of the workspace, which has its own words; serde sees numbers in it.
    fn as_error(&self) -> Option<Error> {
        if type_name::<T>() != type_name::<Error>() {
            return None;
        }
        let bytes = postcard::to_stdvec(self.0).ok()?;
        postcard::from_bytes(&bytes).ok()
    }
}

struct Writer<'a, 'b>(&'a mut Formatter<'b>);

macro_rules! plain {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> fmt::Result {
            value.fmt(self.0)
        }
    )*};
}

impl<'a, 'b> Serializer for Writer<'a, 'b> {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = List<'a, 'b>;
    type SerializeTuple = Tuple<'a, 'b>;
    type SerializeTupleStruct = Tuple<'a, 'b>;
    type SerializeTupleVariant = Tuple<'a, 'b>;
    type SerializeMap = Map<'a, 'b>;
    type SerializeStruct = Struct<'a, 'b>;
    type SerializeStructVariant = Struct<'a, 'b>;

    plain! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
    }

    fn serialize_unit(self) -> fmt::Result {
        self.0.write_str("()")
    }

    fn serialize_unit_struct(self, name: &'static str) -> fmt::Result {
        self.0.write_str(name)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> fmt::Result {
        self.0.write_str(variant)
    }

    fn serialize_none(self) -> fmt::Result {
        self.0.write_str("None")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> fmt::Result {
        self.serialize_newtype_struct("Some", value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> fmt::Result {
        self.0.debug_tuple(name).field(&DebugText(value)).finish()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> fmt::Result {
        self.serialize_newtype_struct(variant, value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a, 'b>, fmt::Error> {
        Ok(List(self.0.debug_list()))
    }

    fn serialize_tuple(self, _: usize) -> Result<Tuple<'a, 'b>, fmt::Error> {
        Ok(Tuple(self.0.debug_tuple("")))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Tuple<'a, 'b>, fmt::Error> {
        Ok(Tuple(self.0.debug_tuple(name)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Tuple<'a, 'b>, fmt::Error> {
        Ok(Tuple(self.0.debug_tuple(variant)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map<'a, 'b>, fmt::Error> {
        Ok(Map(self.0.debug_map()))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Struct<'a, 'b>, fmt::Error> {
        Ok(Struct(self.0.debug_struct(name)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Struct<'a, 'b>, fmt::Error> {
        Ok(Struct(self.0.debug_struct(variant)))
    }
}

struct List<'a, 'b>(DebugList<'a, 'b>);
struct Tuple<'a, 'b>(DebugTuple<'a, 'b>);
struct Map<'a, 'b>(DebugMap<'a, 'b>);
struct Struct<'a, 'b>(DebugStruct<'a, 'b>);

macro_rules! elements {
    ($($trait:ident for $type:ident: $method:ident by $builder:ident;)*) => {$(
        impl ser::$trait for $type<'_, '_> {
            type Ok = ();
            type Error = fmt::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
                self.0.$builder(&DebugText(value));
                Ok(())
            }

            fn end(mut self) -> fmt::Result {
                self.0.finish()
            }
        }
    )*};
}

elements! {
    SerializeSeq for List: serialize_element by entry;
    SerializeTuple for Tuple: serialize_element by field;
    SerializeTupleStruct for Tuple: serialize_field by field;
    SerializeTupleVariant for Tuple: serialize_field by field;
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Struct<'_, '_> {
            type Ok = ();
            type Error = fmt::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> fmt::Result {
                self.0.field(name, &DebugText(value));
                Ok(())
            }

            fn end(mut self) -> fmt::Result {
                self.0.finish()
            }
        }
    )*};
}

fields!(SerializeStruct SerializeStructVariant);

impl ser::SerializeMap for Map<'_, '_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> fmt::Result {
        self.0.key(&DebugText(key));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
        self.0.value(&DebugText(value));
        Ok(())
    }

    fn end(mut self) -> fmt::Result {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::Serialize;

    use super::DebugText;

    #[derive(Debug, Serialize)]
    struct Unit;

    #[derive(Debug, Serialize)]
    struct Wrapped(u8);

    #[derive(Debug, Serialize)]
    struct Pair(u8, char);

    #[derive(Debug, Serialize)]
    struct Named {
        text: String,
        maybe: Option<Box<Named>>,
        table: BTreeMap<String, f64>,
    }

    #[derive(Debug, Serialize)]
    enum Variants {
        Unit,
        Wrapped(i64),
        Pair(bool, ()),
        Named { list: Vec<Wrapped> },
    }

    #[track_caller]
    fn is_as_debug(value: &(impl Debug + Serialize)) {
        assert_eq!(format!("{:?}", DebugText(value)), format!("{value:?}"));
    }

    #[test]
    fn writes_what_debug_writes() {
        is_as_debug(&"a \"text\"\n");
        is_as_debug(&(-3_i8, 2.5, 'c', true, u128::MAX));
        is_as_debug(&(Unit, Wrapped(3), Pair(4, 'd')));
        let inner = Named {
            text: String::new(),
            maybe: None,
            table: BTreeMap::new(),
        };
        is_as_debug(&Named {
            text: "outer".to_owned(),
            maybe: Some(Box::new(inner)),
            table: [("a".to_owned(), 1.0), ("b".to_owned(), 2.0)].into(),
        });
        is_as_debug(&Variants::Unit);
        is_as_debug(&Variants::Wrapped(5));
        is_as_debug(&Variants::Pair(false, ()));
        is_as_debug(&Variants::Named {
            list: vec![Wrapped(1), Wrapped(2)],
        });
        is_as_debug(&Err::<(), _>(mp_layout::Error::new(
            mp_layout::ErrorKind::Closed,
            "put into",
            "a queue",
        )));
    }
}
