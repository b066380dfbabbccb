//! How Python opens our elements.

use std::os::fd::{AsFd, AsRawFd};

use mp_layout::Plain;
use mp_object::Object;

/// The expression that maps `len` elements at `offset` of the object's segment.
pub(crate) fn line<T: Plain>(object: &Object, offset: usize, len: usize) -> String {
    let path = match object.name() {
        Some(name) => format!("/dev/shm/{}", name.strip_prefix('/').unwrap_or(name)),
        None => {
            let descriptor = object.as_fd().as_raw_fd();
            format!("/proc/{}/fd/{descriptor}", std::process::id())
        }
    };
    // The header's code first: `c` and `B` are one Rust type, and two of numpy's.
    let dtype = match object.header().tag().code() {
        Some(code) => format!("{:?}", code.numpy_name()),
        None => T::LAYOUT.numpy_dtype(),
    };
    format!(r#"numpy.memmap({path:?}, dtype={dtype}, mode="r+", offset={offset}, shape=({len},))"#)
}
