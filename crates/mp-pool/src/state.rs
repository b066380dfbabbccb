//! What a pool's parent knows: which tasks wait, which packet of the board holds what, who works.

mod arrivals;
mod workers;

use std::collections::VecDeque;
use std::sync::Arc;

use mp_layout::{Error, Result};
use mp_os::clock::Deadline;

use crate::board::{Board, LEAST_MAX};
use crate::error::Cause;
use crate::job::{Arrived, Job};
use crate::packet::Packet;
use crate::seat::Seat;
use crate::shared::fail;

/// Whether a pool takes tasks.
#[derive(Debug, Default)]
pub(crate) enum Phase {
    #[default]
    Open,
    /// What was submitted is run.
    Closing,
    /// Nothing is run any more, because of this.
    Ended(Arc<Error>),
}

/// Which thread takes what workers push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leader {
    /// The collector.
    #[default]
    None,
    /// A thread that waits, and looks.
    Awake,
    /// A thread that waits, and sleeps until workers ring.
    Asleep,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    phase: Phase,
    pub(crate) leader: Leader,
    /// For how many outcomes of one worker a leader that sleeps wakes, 0 while it is awake.
    pub(crate) leader_share: usize,
    /// Threads that wait without leading.
    pub(crate) followers: usize,
    /// Whether the collector waits to be rung by workers, or is about to.
    pub(crate) collector_watches: bool,
    /// The number of the last sleep of a leader or of the collector.
    sleeps: u64,
    /// Whether the workers were told to end when they find nothing.
    is_stopped: bool,
    /// Until when the end of the pool waits for starts under way; `None` before the workers are to
    /// end.
    waits_for_starts: Option<Deadline>,
    pending: VecDeque<Packet>,
    slots: Vec<Slot>,
    /// Where the search for a free slot begins: packets are claimed in about the order of their
    /// slots.
    next_slot: usize,
    /// The number of the last packet that was put on the board, in whichever slot: so that what a
    /// worker noted of one packet is never taken for another.
    generations: u64,
    on_board: usize,
    /// Outcomes on their way to a job; none while nothing is drained.
    arrived: Vec<Arrived>,
    seats: Vec<Seat>,
    /// Workers that have ended in a row without a task in between.
    in_vain: usize,
    failed_initializers: usize,
    replaced: u64,
    last_end: String,
}

/// What the parent knows of a packet of the board.
#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    packet: Option<Packet>,
    /// Outcomes that have come: of the packet's first tasks.
    done: usize,
}

impl State {
    pub(crate) fn new(board: &Board, workers: usize) -> Self {
        Self {
            slots: (0..board.packets()).map(|_| Slot::default()).collect(),
            seats: (0..workers).map(|_| Seat::new()).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// A number that no sleep had.
    pub(crate) fn next_sleep(&mut self) -> u64 {
        self.sleeps += 1;
        self.sleeps
    }

    /// For how many outcomes of a worker that do not hurry a thread wakes at most which needs many
    /// or none: for followers, and to fill the board before it is empty.
    pub(crate) fn least_to_go_on(&self) -> usize {
        match self.pending.front() {
            _ if self.followers > 0 => 1,
            Some(packet) => (packet.items * self.on_board / 2).div_ceil(self.seats.len()),
            None => LEAST_MAX,
        }
    }

    /// Whether a task has no outcome yet.
    pub(crate) fn has_tasks(&self) -> bool {
        self.on_board > 0 || !self.pending.is_empty()
    }

    /// Whether so many tasks wait for a place on the board that it is time to look for one.
    pub(crate) fn is_in_want_of_board(&self) -> bool {
        self.pending.len() > self.slots.len() / 4
    }

    pub(crate) fn push(&mut self, packet: Packet) {
        self.pending.push_back(packet);
    }

    pub(crate) fn close(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.phase = Phase::Closing;
        }
    }

    /// Takes back the packet of a job that no worker has taken, if there is one.
    pub(crate) fn cancel(&mut self, board: &Board, job: &Arc<Job>) -> Result<()> {
        let is_of_job = |packet: &Packet| Arc::ptr_eq(&packet.job, job);
        // Where many wait, this finds the next one to cancel without a look at them all.
        if let Some(place) = self.pending.iter().position(is_of_job) {
            if let Some(packet) = self.pending.remove(place) {
                fail(packet, &Cause::Cancelled);
            }
            return Ok(());
        }
        self.withdraw_if(board, is_of_job)
    }

    /// Takes back all packets that are meant and that no worker has taken.
    pub(crate) fn cancel_if(
        &mut self,
        board: &Board,
        is_meant: impl Fn(&Packet) -> bool,
    ) -> Result<()> {
        for packet in std::mem::take(&mut self.pending) {
            if is_meant(&packet) {
                fail(packet, &Cause::Cancelled);
            } else {
                self.pending.push_back(packet);
            }
        }
        self.withdraw_if(board, is_meant)
    }

    fn withdraw_if(&mut self, board: &Board, is_meant: impl Fn(&Packet) -> bool) -> Result<()> {
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.packet.as_ref().is_some_and(&is_meant)
                && board.withdraw(place, slot.generation)?
                && let Some(packet) = slot.packet.take()
            {
                self.on_board -= 1;
                fail(packet, &Cause::Cancelled);
            }
        }
        Ok(())
    }

    /// Whether a worker has taken a packet of a job.
    pub(crate) fn is_running(&self, board: &Board, job: &Arc<Job>) -> bool {
        self.slots.iter().enumerate().any(|(place, slot)| {
            let packet = slot.packet.as_ref();
            packet.is_some_and(|packet| Arc::ptr_eq(&packet.job, job))
                && matches!(board.taken_by(place), Ok(Some(_)))
        })
    }

    /// Tasks that have not begun, and tasks that run.
    pub(crate) fn unfinished(&self, board: &Board) -> (usize, usize) {
        let mut tasks: usize = self.pending.iter().map(|packet| packet.items).sum();
        let mut running = 0;
        for (place, slot) in self.slots.iter().enumerate() {
            if let Some(packet) = &slot.packet {
                tasks += packet.items - slot.done;
                running += usize::from(matches!(board.taken_by(place), Ok(Some(_))));
            }
        }
        (tasks - running, running)
    }

    /// Puts tasks that wait on free packets of the board; returns on how many.
    pub(crate) fn fill_board(&mut self, board: &Board) -> Result<usize> {
        let mut filled = 0;
        while self.on_board < self.slots.len() {
            let Some(packet) = self.pending.pop_front() else {
                break;
            };
            let line = packet.line();
            let Some(place) = self.free_slot(board, line.unwrap_or(0)) else {
                self.pending.push_front(packet);
                break;
            };
            let slot = &mut self.slots[place];
            self.generations += 1;
            slot.generation = self.generations;
            slot.done = 0;
            let hurry = packet.attention.hurry();
            let generation = slot.generation;
            let packet = slot.packet.insert(packet);
            let bytes = line.map(|_| &*packet.bytes);
            self.on_board += 1;
            filled += 1;
            board.publish(place, generation, bytes, packet.items, hurry)?;
            self.next_slot = (place + 1) % self.slots.len();
        }
        Ok(filled)
    }

    /// The next slot that is free and whose line is as long.
    fn free_slot(&self, board: &Board, line: usize) -> Option<usize> {
        let (before, after) = (0..self.next_slot, self.next_slot..self.slots.len());
        after
            .chain(before)
            .find(|&place| self.slots[place].packet.is_none() && board.room(place) >= line)
    }
}
