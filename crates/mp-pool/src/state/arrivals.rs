//! What workers push: outcomes, which go to their jobs, and questions, which are answered.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_process::call::{self, Outcome};

use super::State;
use crate::board::Board;
use crate::error::Cause;
use crate::job::{Delivered, Job};
use crate::record::{Head, OBJECTS_PER_MESSAGE, tag};
use crate::seat::Occupant;
use crate::shared::fail;

/// The most outcomes that a job is given together.
const TOGETHER: usize = 256;

impl State {
    /// Takes what the workers have pushed.
    pub(crate) fn take_outcomes(&mut self, board: &Board) -> Result<()> {
        (0..self.seats.len()).try_for_each(|seat| self.drain(board, seat))
    }

    pub(super) fn drain(&mut self, board: &Board, seat: usize) -> Result<()> {
        if self.seats[seat].occupant.is_none() {
            return Ok(());
        }
        let mut result = Ok(());
        let mut job = None;
        let drained = board.drain(seat, |tag, record| {
            if result.is_ok() {
                result = self.take_record(board, seat, tag, record, &mut job);
            }
        });
        self.deliver_to(&mut job);
        if let (Err(_), Some(occupant)) = (drained, &mut self.seats[seat].occupant) {
            occupant.kill_damaged();
        }
        result
    }

    /// Gives the outcomes that have arrived to their job, together.
    fn deliver_to(&mut self, job: &mut Option<Arc<Job>>) {
        if let Some(job) = job.take() {
            job.deliver_all(&mut self.arrived);
        }
    }

    /// Takes a record; its outcome joins those that have arrived for `job`.
    fn take_record(
        &mut self,
        board: &Board,
        seat: usize,
        tag: u32,
        record: &[u8],
        job: &mut Option<Arc<Job>>,
    ) -> Result<()> {
        let Some(occupant) = &mut self.seats[seat].occupant else {
            return Ok(());
        };
        if occupant.is_damaged {
            return Ok(());
        }
        let Some((head, rest)) = Head::split(record) else {
            occupant.kill_damaged();
            return Ok(());
        };
        match tag {
            tag::PIECE => occupant.pieces.extend_from_slice(rest),
            tag::READY => self.failed_initializers = 0,
            tag::RETIRED => occupant.is_leaving = true,
            tag::NOT_READY => {
                let mut text = std::mem::take(&mut occupant.pieces);
                text.extend_from_slice(rest);
                occupant.is_leaving = true;
                self.failed_initializers += 1;
                self.note_in_vain(format!(
                    "the initializer failed: {}",
                    String::from_utf8_lossy(&text)
                ));
            }
            tag::ASK | tag::ASK_CONTEXT => return self.answer(board, seat, tag, head),
            tag::OUTCOME => return self.take_outcome(board, seat, head, rest, job),
            _ => occupant.kill_damaged(),
        }
        Ok(())
    }

    fn take_outcome(
        &mut self,
        board: &Board,
        seat: usize,
        head: Head,
        rest: &[u8],
        job: &mut Option<Arc<Job>>,
    ) -> Result<()> {
        let Some(occupant) = &mut self.seats[seat].occupant else {
            return Ok(());
        };
        let place = head.packet as usize;
        let slot = self
            .slots
            .get_mut(place)
            .filter(|slot| slot.generation == head.generation && slot.done == head.item as usize);
        let Some((done, packet)) =
            slot.and_then(|slot| Some((&mut slot.done, slot.packet.as_ref()?)))
        else {
            occupant.kill_damaged();
            return Ok(());
        };
        let delivered = delivered(occupant, rest, head.descriptors);
        let is_same = |job: &Arc<Job>| Arc::ptr_eq(job, &packet.job);
        if (self.arrived.len() == TOGETHER || !job.as_ref().is_some_and(is_same))
            && let Some(last) = job.replace(Arc::clone(&packet.job))
        {
            last.deliver_all(&mut self.arrived);
        }
        self.arrived.push((packet.first + *done, delivered));
        *done += 1;
        self.in_vain = 0;
        if *done == packet.items {
            self.slots[place].packet = None;
            self.on_board -= 1;
            board.free(place)?;
        }
        Ok(())
    }

    /// Sends a packet, or its context, to a worker that has taken it.
    fn answer(&mut self, board: &Board, seat: usize, tag: u32, head: Head) -> Result<()> {
        let Some(occupant) = &mut self.seats[seat].occupant else {
            return Ok(());
        };
        let place = head.packet as usize;
        let slot = self.slots.get_mut(place);
        let Some(slot) = slot.filter(|slot| slot.generation == head.generation) else {
            occupant.kill_damaged();
            return Ok(());
        };
        let Some(packet) = slot.packet.take() else {
            occupant.kill_damaged();
            return Ok(());
        };
        let socket = occupant.socket.as_fd();
        let sent = match &packet.context {
            Some(context) if tag == tag::ASK_CONTEXT => context.send(socket),
            _ => send(socket, &packet.bytes, &packet.descriptors),
        };
        match sent {
            Ok(()) => slot.packet = Some(packet),
            Err(source) => {
                let error = Error::os("send", "the arguments of a task", source);
                fail(packet, &Cause::Failed(Arc::new(error)));
                self.on_board -= 1;
                board.free(place)?;
                // So that it goes on; if it cannot, it is replaced.
                if call::send(socket, &[], &[], Deadline::PASSED).is_err() {
                    occupant.kill();
                }
            }
        }
        Ok(())
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    call::send(socket, bytes, &descriptors, Deadline::PASSED)
}

/// What a worker pushed, with the objects that it sent before.
fn delivered(occupant: &mut Occupant, rest: &[u8], descriptors: u32) -> Delivered {
    let mut pieces = std::mem::take(&mut occupant.pieces);
    let mut objects = Vec::new();
    if descriptors > 0 {
        objects = receive_objects(occupant.socket.as_fd(), descriptors as usize)
            .map_err(|error| Cause::Failed(Arc::new(error)))?;
    }
    let outcome = if pieces.is_empty() {
        Outcome::from_bytes(rest, objects)
    } else {
        pieces.extend_from_slice(rest);
        Outcome::from_message(pieces, objects)
    };
    if let Some(panic) = outcome.panic() {
        return Err(Cause::Panicked(Arc::new(panic.clone())));
    }
    match outcome.refusal() {
        Some(error) => Err(Cause::Failed(Arc::new(error))),
        None => Ok(outcome),
    }
}

/// Receives what a worker sent before its outcome: all messages, also after one that this process
/// has no room for, so that what follows is not taken for this.
fn receive_objects(socket: BorrowedFd<'_>, count: usize) -> Result<Vec<OwnedFd>> {
    let mut objects = Vec::new();
    let mut failure = None;
    for _ in 0..count.div_ceil(OBJECTS_PER_MESSAGE) {
        match call::receive(socket, Deadline::PASSED) {
            Ok(Some((_, some))) => objects.extend(some),
            Ok(None) => break,
            Err(source) => {
                let error = || Error::os("receive", "the result of a task", source);
                failure.get_or_insert_with(error);
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None if objects.len() == count => Ok(objects),
        None => Err(
            Error::new(ErrorKind::Corrupt, "receive", "the result of a task")
                .with_detail(format!("{} of {count} objects came with it", objects.len())),
        ),
    }
}
