//! A packet of tasks: consecutive tasks of one job, as the parent keeps them, and the bytes that a
//! worker gets.
//!
//! # Layout
//!
//! ```text
//! | len u32 | head | len u32 | arguments of a task | len u32 | arguments of the next | ...
//! ```
//!
//! The head is the number of the context, a little-endian u64, 0 for none, and the name of the
//! function.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};

use crate::board::LINE;
use crate::context::Context;
use crate::job::Job;

/// Consecutive tasks of one job, of which none has an outcome.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) job: Arc<Job>,
    /// The index of the first of them in the job.
    pub(crate) first: usize,
    /// The number of the context and the name of the function.
    pub(crate) head: Arc<[u8]>,
    /// What the tasks are given next to their arguments.
    pub(crate) context: Option<Arc<Context>>,
    /// The arguments of each, at least of one.
    pub(crate) items: Vec<Vec<u8>>,
    /// Those of the only task: a task with descriptors travels alone.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// How often it came back from a worker that died with it, and had begun nothing of it.
    pub(crate) moves: u32,
    pub(crate) attention: Attention,
}

/// How the outcomes of a packet are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attention {
    /// Each by itself, now or later.
    Each,
    /// By the thread that submits it, when that has submitted all; not each by itself.
    All,
    /// By the thread that submits it, and that waits immediately.
    Now,
}

const LENGTH: usize = size_of::<u32>();

impl Packet {
    /// The bytes that a worker gets.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        append_part(&mut bytes, &self.head);
        self.items
            .iter()
            .for_each(|item| append_part(&mut bytes, item));
        bytes
    }

    /// How many bytes that are.
    pub(crate) fn size(&self) -> usize {
        let items = self.items.iter().map(|item| LENGTH + item.len());
        LENGTH + self.head.len() + items.sum::<usize>()
    }

    /// Whether its bytes and nothing else go into a line.
    pub(crate) fn fits_line(&self) -> bool {
        self.descriptors.is_empty() && self.size() <= LINE
    }

    /// Takes the tasks from number `at` on out of it; `None` if there are none.
    pub(crate) fn split_off(mut self, at: usize) -> Option<Self> {
        self.items.drain(..at.min(self.items.len()));
        self.first += at;
        if at > 0 {
            self.moves = 0;
        }
        (!self.items.is_empty()).then_some(self)
    }
}

/// The most bytes of arguments that one task may have.
pub(crate) const MAX_ARGUMENTS: usize = (u32::MAX / 2) as usize;

/// Room for tasks in a line, next to their head.
pub(crate) fn room_in_line(head: &[u8]) -> usize {
    LINE - LENGTH - head.len()
}

/// What a task takes of that room.
pub(crate) fn room_for(item: &[u8]) -> usize {
    LENGTH + item.len()
}

/// The head of a packet.
pub(crate) fn head(context: Option<&Context>, function: &[u8]) -> Vec<u8> {
    let number = context.map_or(0, |context| context.number);
    [&number.to_le_bytes(), function].concat()
}

/// The number of the context, 0 for none, and the name of the function.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] if it is too short.
pub(crate) fn split_head(head: &[u8]) -> Result<(u64, &[u8])> {
    let (number, function) = head.split_first_chunk().ok_or_else(damaged)?;
    Ok((u64::from_le_bytes(*number), function))
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "read", "a packet of tasks")
        .with_detail("its lengths contradict each other")
}

/// Writes a part that [`next_part`] takes.
pub(crate) fn append_part(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
    bytes.extend_from_slice(part);
}

/// Takes the next part of a packet's bytes.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] if there is none.
pub(crate) fn next_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>().ok_or_else(damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (part, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
    *bytes = rest;
    Ok(part)
}
