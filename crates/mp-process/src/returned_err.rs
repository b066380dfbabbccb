//! Whether a value is an `Err`, and of what, asked of any serde type.

use std::fmt::{self, Display, Write};

use serde::ser::{self, Impossible, Serialize, Serializer};

use crate::debug_text::DebugText;

/// What the `Err` of a `Result` holds, as `Debug` would write it; `None` for every other value, of
/// which nothing below the top level is visited.
pub(crate) fn err_text(value: &impl Serialize) -> Option<String> {
    value.serialize(Probe).ok().and_then(|Answer(text)| text)
}

/// Bytes of an `Err` that are said: the line stays below 4096 bytes, which a pipe takes in one
/// piece.
const TEXT_MAX: usize = 3 << 10;

struct Probe;
struct Answer(Option<String>);

/// The first [`TEXT_MAX`] bytes of what is written; what follows is an error, which ends the
/// writing.
#[derive(Default)]
struct Start {
    text: String,
    is_cut: bool,
}

impl Write for Start {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = TEXT_MAX - self.text.len();
        if self.is_cut || more.len() > room {
            if !self.is_cut {
                let mut ends = (0..=room).rev();
                let end = ends.find(|end| more.is_char_boundary(*end));
                self.text.push_str(&more[..end.unwrap_or(0)]);
            }
            self.is_cut = true;
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

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
            Ok(Answer(None))
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
        value: &T,
    ) -> Result<Answer, Deeper> {
        if (name, variant) != ("Result", "Err") {
            return Ok(Answer(None));
        }
        let mut start = Start::default();
        let written = write!(start, "{:?}", DebugText(value));
        let Start { mut text, is_cut } = start;
        if is_cut {
            text.push_str(&format!("... (cut after {} bytes)", text.len()));
        } else if written.is_err() {
            text.push_str("(it cannot be written)");
        }
        Ok(Answer(Some(text)))
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
        Ok(Answer(None))
    }

    fn serialize_none(self) -> Result<Answer, Deeper> {
        Ok(Answer(None))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Answer, Deeper> {
        Ok(Answer(None))
    }

    fn serialize_unit(self) -> Result<Answer, Deeper> {
        Ok(Answer(None))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Answer, Deeper> {
        Ok(Answer(None))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Serialize, Serializer};

    use super::err_text;

    /// Refuses to be written.
    struct Unwritable;

    impl Serialize for Unwritable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }

    #[test]
    fn only_a_top_level_err_is_one() {
        assert_eq!(err_text(&Err::<u8, u8>(3)).as_deref(), Some("3"));
        assert_eq!(err_text(&Err::<Vec<u8>, ()>(())).as_deref(), Some("()"));
        assert_eq!(err_text(&Err::<u8, _>("why")).as_deref(), Some("\"why\""));
        assert_eq!(err_text(&Ok::<u8, u8>(3)), None);
        assert_eq!(err_text(&Ok::<Result<u8, u8>, u8>(Err(3))), None);
        assert_eq!(err_text(&Some(Err::<u8, u8>(3))), None);
        assert_eq!(err_text(&vec![Err::<u8, u8>(3)]), None);
        assert_eq!(err_text(&(Err::<u8, u8>(3), 1)), None);
        assert_eq!(err_text(&()), None);
        assert_eq!(err_text(&"Err"), None);
    }

    #[test]
    fn the_text_of_a_large_err_is_cut_and_says_so() {
        for text in [
            err_text(&Err::<u8, _>(vec![200_u8; 1 << 20])).unwrap(),
            err_text(&Err::<u8, _>("\u{e9}".repeat(1 << 20))).unwrap(),
        ] {
            assert!(text.len() <= super::TEXT_MAX + 40, "{} bytes", text.len());
            assert!(text.contains("(cut after 307"), "{text}");
        }
    }

    #[test]
    fn an_err_that_serde_cannot_write_is_one() {
        let text = err_text(&Err::<u8, _>(Unwritable)).unwrap();
        assert!(text.contains("cannot be written"), "{text}");
    }
}
