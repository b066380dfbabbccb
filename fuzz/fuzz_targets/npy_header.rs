//! Arbitrary bytes as an `.npy` file: reading the header answers with an error, or with a shape
//! whose elements can be counted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mp_value::NpyHeader;

fuzz_target!(|bytes: &[u8]| {
    // The magic and the lengths first, so that the fuzzer's bytes are text instead of guesses at
    // them.
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((bytes.len() as u16).to_le_bytes());
    file.extend(bytes);
    for file in [bytes, &file] {
        if let Ok(header) = NpyHeader::parse(file, "fuzzed") {
            assert!(header.data_offset() <= file.len());
            let product = header.shape().iter().try_fold(1_usize, |product, len| product.checked_mul(*len));
            assert!(product.is_none_or(|product| product == header.len()));
            assert!(product.is_some() || header.shape().contains(&0));
        }
    }
});
