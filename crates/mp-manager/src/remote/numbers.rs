//! Numbers of a session's table in a frame.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// At most `MOST` numbers. A frame with more is refused while it is read: a number takes one byte
/// there, and eight or more when it was read.
#[derive(Debug, Serialize)]
pub(crate) struct Numbers<const MOST: usize>(pub(crate) Vec<u64>);

impl<'de, const MOST: usize> Deserialize<'de> for Numbers<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReadNumbers::<MOST>).map(Self)
    }
}

struct ReadNumbers<const MOST: usize>;

impl<'de, const MOST: usize> Visitor<'de> for ReadNumbers<MOST> {
    type Value = Vec<u64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {MOST} numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u64>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = seq.next_element()? {
            if numbers.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            numbers.push(number);
        }
        Ok(numbers)
    }
}
