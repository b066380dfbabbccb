//! A message that a consumer has found.

use crate::blocks::Blocks;
use crate::cursor::Cursor;
use crate::geometry::{BLOCK_UNITS, UNIT};

/// A message where it lies in the queue.
#[derive(Debug)]
pub struct Message<'r> {
    pub(super) blocks: &'r Blocks,
    pub(super) tag: u32,
    pub(super) len: usize,
    /// Where its bytes start: the block's end if they start in the next one.
    pub(super) block: u32,
    pub(super) unit: u32,
    pub(super) end: Cursor,
}

impl Message<'_> {
    /// What goes with it: 0 nothing.
    #[inline]
    pub(super) fn tag(&self) -> u32 {
        self.tag
    }

    /// Where it ends.
    #[inline]
    pub(super) fn end(&self) -> Cursor {
        self.end
    }

    /// Its bytes, if they lie side by side.
    #[inline]
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        let here = (BLOCK_UNITS - self.unit) as usize * UNIT;
        // SAFETY: the block is the one that `peek` checked, and the bytes end where it does at
        // most.
        (self.len <= here).then(|| unsafe { self.part(self.block, self.unit, self.len) })
    }

    /// Its bytes' number.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends its bytes to `bytes`.
    #[inline]
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>) {
        match self.bytes() {
            Some(whole) => bytes.extend_from_slice(whole),
            None => {
                bytes.reserve(self.len);
                self.each_part(|part| bytes.extend_from_slice(part));
            }
        }
    }

    /// Copies its bytes to the start of `target`, which has as many at least.
    pub(crate) fn copy_to(&self, target: &mut [u8]) {
        let mut rest = target;
        self.each_part(|part| {
            let (here, after) = core::mem::take(&mut rest).split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        });
    }

    /// Its bytes, copied out.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append_to(&mut bytes);
        bytes
    }

    /// Runs `action` with the bytes of each block that it lies in.
    #[cold]
    fn each_part(&self, mut action: impl FnMut(&[u8])) {
        let (mut block, mut unit, mut rest) = (self.block, self.unit, self.len);
        loop {
            let here = rest.min((BLOCK_UNITS - unit) as usize * UNIT);
            // SAFETY: a block that `peek` or `next` checked, of which the bytes end where it does
            // at most.
            action(unsafe { self.part(block, unit, here) });
            rest -= here;
            if rest == 0 {
                return;
            }
            // `peek` came this way. If a link is changed since, the message is shorter.
            let Ok(next) = self.blocks.next(block) else {
                return;
            };
            (block, unit) = (next, 1);
        }
    }

    /// Some of its bytes.
    ///
    /// # Safety
    ///
    /// `block` is one of the queue, and `len` bytes from `unit` on lie in it.
    #[inline]
    unsafe fn part(&self, block: u32, unit: u32, len: usize) -> &[u8] {
        // SAFETY: by the contract.
        let start = unsafe { self.blocks.pointer(block, unit) };
        // SAFETY: within the block by the contract. The message was put and its reader has not
        // committed, so its bytes are the consumer's (I2), and the reader is borrowed for
        // as long.
        unsafe { core::slice::from_raw_parts(start, len) }
    }
}
