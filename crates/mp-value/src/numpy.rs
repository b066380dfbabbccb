//! How Python opens our elements.

use std::os::fd::{AsRawFd, BorrowedFd};

use mp_layout::Plain;
use mp_object::Object;

/// The expression that maps `len` elements at `offset` of the file `data`, which is the object's
/// own unless the elements lie apart.
pub(crate) fn line<T: Plain>(
    object: &Object,
    data: BorrowedFd<'_>,
    offset: usize,
    len: usize,
) -> String {
    let path = match object.name() {
        Some(name) => format!("/dev/shm/{}", name.strip_prefix('/').unwrap_or(name)),
        None => {
            let descriptor = data.as_raw_fd();
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
