//! How Python opens our elements.

use std::os::fd::{AsFd, AsRawFd};

use mp_object::Object;

/// The expression that maps `len` elements at `offset` of the object's segment.
pub(crate) fn line(object: &Object, offset: usize, len: usize) -> String {
    let path = match object.name() {
        Some(name) => format!("/dev/shm/{}", name.strip_prefix('/').unwrap_or(name)),
        None => {
            let descriptor = object.as_fd().as_raw_fd();
            format!("/proc/{}/fd/{descriptor}", std::process::id())
        }
    };
    let tag = object.header().tag();
    let dtype = match tag.code() {
        Some(code) => code.numpy_name().to_owned(),
        None => format!("V{}", tag.item_size()),
    };
    format!(
        r#"numpy.memmap({path:?}, dtype="{dtype}", mode="r+", offset={offset}, shape=({len},))"#
    )
}
