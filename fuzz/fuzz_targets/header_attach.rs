//! Arbitrary bytes as a segment: attaching answers with an error or with a payload that lies within
//! them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mp_layout::{Environment, Expected, HEADER_SIZE, Header, Kind, Libc, Region, TypeTag};

const HERE: Environment = Environment {
    boot_id: [7; 16],
    pid_namespace: 42,
    time_namespace: 44,
    libc: Libc::Glibc,
};

fuzz_target!(|bytes: &[u8]| {
    let expected = Expected {
        kind: Kind::Queue,
        tag: TypeTag::of::<i64>(),
        item_count: None,
        payload_size: 8,
    };
    let mut segment = vec![0_u64; bytes.len() / 8];
    // A whole header first, so that the fuzzer's bytes flip parts of one instead of guessing the
    // checksum.
    let size = segment.len() as u64 * 8;
    let published = Header::new(&expected, &HERE, size, HEADER_SIZE as u64)
        .publish(Region::from_exclusive(&mut segment));
    assert_eq!(published.is_ok(), segment.len() * 8 >= HEADER_SIZE);
    for (word, input) in segment.iter_mut().zip(bytes.chunks_exact(8)) {
        *word ^= input
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    let region = Region::from_exclusive(&mut segment);
    if let Ok(header) = Header::attach(region, &expected, &HERE, "fuzzed") {
        let (offset, size) = (header.payload_offset(), header.payload_size());
        assert!(size >= 8 && region.subregion(offset, size).is_ok());
    }
});
