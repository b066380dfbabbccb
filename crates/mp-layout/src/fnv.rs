//! FNV-1a with 64 bits, the hash of every check in this workspace that is not against an adversary.
//!
//! # Source
//!
//! Fowler, Noll, Vo, "The FNV Non-Cryptographic Hash Algorithm" (IETF draft-eastlake-fnv).

/// The sum of nothing.
pub(crate) const START: u64 = 0xcbf2_9ce4_8422_2325;

/// The sum with one more unit: a byte, or a word where the sum covers words.
pub(crate) const fn mix_unit(sum: u64, unit: u64) -> u64 {
    (sum ^ unit).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The sum with the bytes of a number.
pub(crate) const fn mix(sum: u64, number: u64) -> u64 {
    mix_bytes(sum, &number.to_le_bytes())
}

/// The sum with a text, so that two texts in a row are not as one.
pub(crate) const fn mix_text(sum: u64, text: &str) -> u64 {
    mix_bytes(mix(sum, text.len() as u64), text.as_bytes())
}

/// The hash of a text, such as the path of a type about which nothing else is known.
#[doc(hidden)]
pub const fn hash_of_text(text: &str) -> u64 {
    mix_text(START, text)
}

const fn mix_bytes(mut sum: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        sum = mix_unit(sum, bytes[index] as u64);
        index += 1;
    }
    sum
}
