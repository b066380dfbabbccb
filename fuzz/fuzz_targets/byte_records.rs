//! Arbitrary bytes in a ring's memory: its words and its records answer with errors or with bytes
//! within the ring.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mp_layout::{
    Region,
    atomic::{AtomicU8, Ordering},
};
use mp_ring::ByteRing;

const CAPACITY: usize = 256;

fuzz_target!(|bytes: &[u8]| {
    let words = ByteRing::words_for(CAPACITY).expect("a small ring");
    let mut memory = vec![0_u64; words + 16];
    let _ring = ByteRing::new(&mut memory, CAPACITY, None).expect("a small ring");
    let region = Region::from_exclusive(&mut memory);
    let shared = region
        .place_slice::<AtomicU8>(0, region.len())
        .expect("bytes");
    for (place, byte) in bytes
        .chunks_exact(3)
        .map(|edit| ([edit[0], edit[1]], edit[2]))
    {
        let place = usize::from(u16::from_le_bytes(place)) % shared.len();
        shared[place].store(byte, Ordering::Relaxed);
    }
    // SAFETY: the memory is this function's alone.
    let Ok(ring) = (unsafe { ByteRing::attach(region) }) else {
        return;
    };
    let Ok((mut producer, mut consumer)) = ring.split() else {
        return;
    };
    let mut record = Vec::new();
    for round in 0..8_usize {
        if producer.push(&[round as u8; 40][..5 * round]).is_err() {
            break;
        }
        if consumer.pop_into(&mut record).is_err() {
            break;
        }
        assert!(record.len() <= region.len());
    }
});
