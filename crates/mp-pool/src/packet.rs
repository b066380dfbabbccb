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

use crate::board::{Hurry, LINE, SHORT_LINE};
use crate::context::Context;
use crate::job::Job;

/// Consecutive tasks of one job, of which none has an outcome.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) job: Arc<Job>,
    /// The index of the first of them in the job.
    pub(crate) first: usize,
    /// What the tasks are given next to their arguments.
    pub(crate) context: Option<Arc<Context>>,
    /// What a worker gets, as the module's documentation shows it.
    pub(crate) bytes: Vec<u8>,
    /// How many tasks it has, at least one when it is submitted.
    pub(crate) items: usize,
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
    /// All of the job, now or later; not each by itself.
    Together,
    /// By the thread that submits it, when that has submitted all; not each by itself.
    All,
    /// By the thread that submits it, and that waits immediately.
    Now,
}

impl Attention {
    /// When workers tell of the outcomes.
    pub(crate) fn hurry(self) -> Hurry {
        match self {
            Self::Each | Self::Now => Hurry::Each,
            Self::Together => Hurry::AtEnd,
            Self::All => Hurry::No,
        }
    }
}

const LENGTH: usize = size_of::<u32>();

impl Packet {
    /// Adds a task, whose arguments are `item`.
    pub(crate) fn push(&mut self, item: &[u8]) {
        append_part(&mut self.bytes, item);
        self.items += 1;
    }

    /// Whether its line has room for one task more.
    pub(crate) fn has_room_for(&self, item: &[u8]) -> bool {
        self.bytes.len() + LENGTH + item.len() <= LINE
    }

    /// How long a line its bytes go into; `None` if they have to be asked for.
    pub(crate) fn line(&self) -> Option<usize> {
        let fits = self.descriptors.is_empty() && self.bytes.len() <= LINE;
        fits.then_some(self.bytes.len())
    }

    /// Takes the tasks from number `at` on out of it; `None` if there are none.
    pub(crate) fn split_off(mut self, at: usize) -> Option<Self> {
        if at == 0 {
            return Some(self);
        }
        if at >= self.items {
            return None;
        }
        let mut rest = &*self.bytes;
        // This process wrote them: they have as many parts.
        let head = LENGTH + next_part(&mut rest).ok()?.len();
        for _ in 0..at {
            next_part(&mut rest).ok()?;
        }
        let kept = self.bytes.len() - rest.len();
        self.bytes.drain(head..kept);
        self.items -= at;
        self.first += at;
        self.moves = 0;
        Some(self)
    }
}

/// The most bytes of arguments that one task may have.
pub(crate) const MAX_ARGUMENTS: usize = (u32::MAX / 2) as usize;

/// The bytes of a packet that has a head and no tasks yet.
pub(crate) fn begin(context: Option<&Context>, function: &[u8]) -> Vec<u8> {
    let number = context.map_or(0, |context| context.number).to_le_bytes();
    let mut bytes = Vec::with_capacity(SHORT_LINE);
    bytes.extend_from_slice(&((number.len() + function.len()) as u32).to_le_bytes());
    bytes.extend_from_slice(&number);
    bytes.extend_from_slice(function);
    bytes
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
