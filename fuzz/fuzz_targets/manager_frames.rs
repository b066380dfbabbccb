//! Arbitrary frames of a remote client that has the key: the server answers each request, and
//! nothing ends it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mp_manager::serve_frames(bytes));
