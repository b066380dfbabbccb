//! Whether a value is an `Err`, asked of any serde type.

use std::fmt::{self, Display};

use serde::ser::{self, Impossible, Serialize, Serializer};

/// Whether `value` is the `Err` of a `Result`, as serde sees it. Nothing below the top level is visited.
pub(crate) fn is_err(value: &impl Serialize) -> bool {
    value.serialize(Probe).is_ok_and(|Answer(is_err)| is_err)
}

struct Probe;
struct Answer(bool);

/// Ends the visit where it would go deeper: then the value is no `Result`.
#[derive(Debug)]
struct Deeper;

impl Display for Deeper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a result")
    }
}

impl core::error::Error for Deeper {}

impl ser::Error for Deeper {
    fn custom<T: Display>(_message: T) -> Self {
        Self
    }
}

macro_rules! no {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, _: $type) -> Result<Answer, Deeper> {
            Ok(Answer(false))
        }
    )*};
}

macro_rules! deeper {
    ($($method:ident($($type:ty),*) -> $compound:ident;)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<Self::$compound, Deeper> {
            Err(Deeper)
        }
    )*};
}

impl Serializer for Probe {
    type Ok = Answer;
    type Error = Deeper;
    type SerializeSeq = Impossible<Answer, Deeper>;
    type SerializeTuple = Impossible<Answer, Deeper>;
    type SerializeTupleStruct = Impossible<Answer, Deeper>;
    type SerializeTupleVariant = Impossible<Answer, Deeper>;
    type SerializeMap = Impossible<Answer, Deeper>;
    type SerializeStruct = Impossible<Answer, Deeper>;
    type SerializeStructVariant = Impossible<Answer, Deeper>;

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<Answer, Deeper> {
        Ok(Answer((name, variant) == ("Result", "Err")))
    }

    no! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_unit_struct(&'static str);
    }

    deeper! {
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple(usize) -> SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant;
        serialize_map(Option<usize>) -> SerializeMap;
        serialize_struct(&'static str, usize) -> SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant;
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<Answer, Deeper> {
        Ok(Answer(false))
    }

    fn serialize_none(self) -> Result<Answer, Deeper> {
        Ok(Answer(false))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Answer, Deeper> {
        Ok(Answer(false))
    }

    fn serialize_unit(self) -> Result<Answer, Deeper> {
        Ok(Answer(false))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Answer, Deeper> {
        Ok(Answer(false))
    }
}

#[cfg(test)]
mod tests {
    use super::is_err;

    #[test]
    fn only_a_top_level_err_is_one() {
        assert!(is_err(&Err::<u8, u8>(3)));
        assert!(is_err(&Err::<Vec<u8>, ()>(())));
        assert!(!is_err(&Ok::<u8, u8>(3)));
        assert!(!is_err(&Ok::<Result<u8, u8>, u8>(Err(3))));
        assert!(!is_err(&Some(Err::<u8, u8>(3))));
        assert!(!is_err(&vec![Err::<u8, u8>(3)]));
        assert!(!is_err(&(Err::<u8, u8>(3), 1)));
        assert!(!is_err(&()));
        assert!(!is_err(&"Err"));
    }
}
