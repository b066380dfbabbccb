//! How what a task returns comes back to its parent.
//!
//! `!` cannot implement serde's traits here, and a trait for it and for every serde type would be
//! implemented twice for `!` if serde implements its traits for `!` one day. So the way is a
//! parameter: a value takes one, `!` the other, and the compiler finds which of them exists.

use mp_layout::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::outcome::Outcome;

/// The way of a value: serde writes and reads it.
#[derive(Debug)]
pub enum ByValue {}

/// The way of `!`, which no task returns.
#[derive(Debug)]
pub enum Never {}

/// What a function returns: names `!`, which stable Rust cannot write.
pub trait HasOutput {
    type Output;
}

impl<R> HasOutput for fn() -> R {
    type Output = R;
}

/// Both ends of a way.
pub trait WayBack<W>: Sized {
    /// In the child; the bytes of a value take `memory`, which is empty.
    fn leave(&self, memory: Vec<u8>) -> Outcome;
    /// In the parent; `process` names the child in errors.
    fn arrive(outcome: &Outcome, process: &str) -> Result<Self>;
}

impl<T: Serialize + DeserializeOwned> WayBack<ByValue> for T {
    fn leave(&self, memory: Vec<u8>) -> Outcome {
        Outcome::returned(self, memory)
    }

    fn arrive(outcome: &Outcome, process: &str) -> Result<Self> {
        outcome.decode(process)
    }
}

impl WayBack<Never> for <fn() -> ! as HasOutput>::Output {
    fn leave(&self, _memory: Vec<u8>) -> Outcome {
        *self
    }

    fn arrive(outcome: &Outcome, process: &str) -> Result<Self> {
        // There is no value: what there is, is an error.
        let Err(error) = outcome.decode::<()>(process) else {
            return Err(Error::new(ErrorKind::Decode, "receive", "the result")
                .with_detail(format!("{process} returned from a task that never does")));
        };
        Err(error)
    }
}
