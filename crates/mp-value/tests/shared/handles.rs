//! What the tests of every kind of object ask of its handles.
#![allow(dead_code)] // each test file uses its own part

use std::fmt::Debug;

use mp_layout::{ErrorKind, Result};
use mp_object::transfer;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[track_caller]
pub(crate) fn kind<T: Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("refused").kind()
}

/// The same object through a second mapping, as another process would have it.
pub(crate) fn twin<H: Serialize + DeserializeOwned>(handle: &H) -> H {
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(handle));
    transfer::incoming(descriptors, || postcard::from_bytes(&bytes.unwrap())).unwrap()
}
