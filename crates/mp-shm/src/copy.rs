//! Copies between shared bytes and private ones, while others may write the shared ones.
//!
//! Aligned words of 8 bytes are copied in one piece, so that a number at its natural place is the
//! old or the new one, and what is left at both ends byte by byte. Every access is Relaxed, as in
//! [`Cells`].

use core::ops::Range;

use mp_layout::{Cells, Region, Result};

/// Copies all of `shared` into `own`, which has as many bytes.
pub(crate) fn copy_out(shared: Region<'_>, own: &mut [u8]) -> Result<()> {
    let middle = words_within(shared);
    if middle.is_empty() {
        return bytes_out(shared, own);
    }
    bytes_out(shared.subregion(0, middle.start)?, &mut own[..middle.start])?;
    let words = Cells::<u64>::new(shared.subregion(middle.start, middle.len())?)?;
    let (pieces, _) = own[middle.clone()].as_chunks_mut::<8>();
    for (piece, word) in pieces.iter_mut().zip(words.iter()) {
        *piece = word.to_ne_bytes();
    }
    let rest = shared.subregion(middle.end, shared.len() - middle.end)?;
    bytes_out(rest, &mut own[middle.end..])
}

/// Copies all of `own` into `shared`, which has as many bytes.
pub(crate) fn copy_in(shared: Region<'_>, own: &[u8]) -> Result<()> {
    let middle = words_within(shared);
    if middle.is_empty() {
        return bytes_in(shared, own);
    }
    bytes_in(shared.subregion(0, middle.start)?, &own[..middle.start])?;
    let words = Cells::<u64>::new(shared.subregion(middle.start, middle.len())?)?;
    let (pieces, _) = own[middle.clone()].as_chunks::<8>();
    for (index, piece) in pieces.iter().enumerate() {
        words.set(index, u64::from_ne_bytes(*piece));
    }
    let rest = shared.subregion(middle.end, shared.len() - middle.end)?;
    bytes_in(rest, &own[middle.end..])
}

/// Where the whole aligned words of a region lie; empty if there is none.
fn words_within(shared: Region<'_>) -> Range<usize> {
    let start = shared.as_ptr().addr().wrapping_neg() % 8;
    let size = shared.len().saturating_sub(start) / 8 * 8;
    start..start + size
}

fn bytes_out(shared: Region<'_>, own: &mut [u8]) -> Result<()> {
    let bytes = Cells::<u8>::new(shared)?;
    own.iter_mut()
        .zip(bytes.iter())
        .for_each(|(byte, shared)| *byte = shared);
    Ok(())
}

fn bytes_in(shared: Region<'_>, own: &[u8]) -> Result<()> {
    let bytes = Cells::<u8>::new(shared)?;
    own.iter()
        .enumerate()
        .for_each(|(index, byte)| bytes.set(index, *byte));
    Ok(())
}
