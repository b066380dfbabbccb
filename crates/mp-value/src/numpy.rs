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
    let path = python_string(path.as_bytes());
    format!(r#"numpy.memmap({path}, dtype={dtype}, mode="r+", offset={offset}, shape=({len},))"#)
}

/// A path as a string literal of Python.
///
/// Rust's own escapes are other ones: `\u{7f}` is no Python. A byte that is no UTF-8 is written as
/// the lone surrogate by which Python's paths stand for it (`surrogateescape`).
pub(crate) fn python_string(path: &[u8]) -> String {
    let mut literal = String::from('"');
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => literal.extend(['\\', character]),
                // of no use to a reader, and a line break would end the literal
                character if character.is_control() => {
                    literal.push_str(&format!("\\x{:02x}", u32::from(character)));
                }
                character => literal.push(character),
            }
        }
        for byte in chunk.invalid() {
            literal.push_str(&format!("\\udc{byte:02x}"));
        }
    }
    literal.push('"');
    literal
}
