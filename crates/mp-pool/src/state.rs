//! What a pool's parent knows: which tasks wait, which packet of the board holds what, who works.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::{self, Deadline};
use mp_process::Status;
use mp_process::call::{self, Outcome};

use crate::board::{Board, LEAST_MAX};
use crate::error::{Cause, Death};
use crate::job::{Arrived, Delivered, Job};
use crate::packet::Packet;
use crate::record::{Head, OBJECTS_PER_MESSAGE, tag};
use crate::seat::{Occupant, Seat};
use crate::shared::{Shared, fail};

/// The first pause before a worker is replaced that had begun no task; each further one is twice as
/// long.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(10);

/// The longest of these pauses.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// A worker that lived as long was no failed start, whatever ended it.
const PROVEN_AFTER: Duration = Duration::from_secs(10);

/// So many workers more than the pool has may end in a row without a task in between, before it
/// gives up.
const DEATHS_IN_VAIN_MAX: usize = 8;

/// So often a packet comes back from a worker that died before it began the first task; the next
/// such death fails the packet, whose arguments may be what kills.
const MOVES_MAX: u32 = 3;

/// So many initializers may fail in a row.
const FAILED_INITIALIZERS_MAX: usize = 3;

/// The most outcomes that a job is given together.
const TOGETHER: usize = 256;

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
            seats: (0..workers).map(|_| Seat::empty()).collect(),
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

    /// How many workers took the place of another.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The workers with their seats' numbers.
    pub(crate) fn occupants(&self) -> impl Iterator<Item = (usize, &Occupant)> {
        let seats = self.seats.iter().enumerate();
        seats.filter_map(|(number, seat)| Some((number, seat.occupant.as_ref()?)))
    }

    /// Whether all workers have ended, and none is started again.
    pub(crate) fn is_deserted(&self) -> bool {
        let is_empty = |seat: &Seat| seat.occupant.is_none() && !seat.is_starting;
        (self.is_stopped || matches!(self.phase, Phase::Ended(_)))
            && self.seats.iter().all(is_empty)
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

    /// Takes what the workers have pushed.
    pub(crate) fn take_outcomes(&mut self, board: &Board) -> Result<()> {
        (0..self.seats.len()).try_for_each(|seat| self.drain(board, seat))
    }

    fn drain(&mut self, board: &Board, seat: usize) -> Result<()> {
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
            Some(context) if tag == tag::ASK_CONTEXT => {
                let (bytes, descriptors) = &context.preparation;
                send(socket, bytes, descriptors)
            }
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

    /// Finds out what the workers that have ended had begun, and empties their seats.
    pub(crate) fn bury(&mut self, board: &Board, seats: &[usize]) -> Result<()> {
        for &number in seats {
            let is_alive = |one: &Occupant| one.process.is_alive();
            if self.seats[number].occupant.as_ref().is_none_or(is_alive) {
                continue;
            }
            // What it pushed last.
            self.drain(board, number)?;
            let Some(occupant) = self.seats[number].occupant.take() else {
                continue;
            };
            let had_taken = self.take_back(board, number, &occupant)?;
            // A ring that it damaged would keep the collector awake until the seat is filled.
            board.reset_worker(number)?;
            // It may have been counted on for a packet, between two looks.
            board.wake_for_ready()?;
            let is_expected = occupant.is_leaving || self.is_stopped || had_taken;
            let is_ended = matches!(self.phase, Phase::Ended(_));
            if !is_expected && !is_ended && occupant.age() < PROVEN_AFTER {
                self.note_in_vain(occupant.end());
            }
            self.seats[number].fill_at = self.backoff();
        }
        Ok(())
    }

    /// Takes a dead worker's packet from the board. The task that it had begun fails, the rest is
    /// to be done first; a packet that moved too often fails. Returns whether there was one: such
    /// a death is not in vain, since so many of them fail a packet.
    fn take_back(&mut self, board: &Board, number: usize, occupant: &Occupant) -> Result<bool> {
        let mut had_taken = false;
        for place in 0..self.slots.len() {
            if self.slots[place].packet.is_none() || board.taken_by(place)? != Some(number) {
                continue;
            }
            let slot = &mut self.slots[place];
            let Some(mut packet) = slot.packet.take() else {
                continue;
            };
            had_taken = true;
            self.on_board -= 1;
            board.free(place)?;
            let begun = board.begun(number, slot.generation, slot.done)?;
            let mut done = slot.done;
            if let Some(since) = begun {
                let ran_for = clock::now_millis().saturating_sub(since);
                let cause = cause_of_death(occupant, Duration::from_millis(ran_for));
                packet.job.deliver(packet.first + done, Err(cause));
                done += 1;
                self.in_vain = 0;
            } else if done == 0 {
                packet.moves += 1;
                if packet.moves > MOVES_MAX {
                    fail(packet, &cause_of_death(occupant, Duration::ZERO));
                    self.in_vain = 0;
                    continue;
                }
            }
            if let Some(rest) = packet.split_off(done) {
                self.pending.push_front(rest);
            }
        }
        Ok(had_taken)
    }

    fn note_in_vain(&mut self, end: String) {
        self.in_vain += 1;
        self.last_end = end;
    }

    /// When a seat that became empty is filled.
    fn backoff(&self) -> Deadline {
        if self.in_vain > self.seats.len() {
            self.after_pause()
        } else {
            Deadline::PASSED
        }
    }

    /// When a seat is filled that could not be filled now.
    fn after_pause(&self) -> Deadline {
        let times = self.in_vain.saturating_sub(self.seats.len() + 1);
        let pause = SHORTEST_BACKOFF.saturating_mul(1 << times.min(16));
        Deadline::after(pause.min(LONGEST_BACKOFF))
    }

    /// Lets the workers end if nothing is left for them.
    pub(crate) fn stop_if_done(&mut self, board: &Board) -> Result<()> {
        if matches!(self.phase, Phase::Closing) && !self.has_tasks() && !self.is_stopped {
            self.is_stopped = true;
            board.stop()?;
        }
        Ok(())
    }

    /// Fills all empty seats.
    pub(crate) fn fill_seats(&mut self, shared: &Shared) -> Result<()> {
        let mut seats = self.seats.iter_mut().enumerate();
        seats.try_for_each(|(number, seat)| {
            if seat.occupant.is_none() {
                seat.occupant = Some(Occupant::start(number, shared)?);
            }
            Ok(())
        })
    }

    /// The seats for which the collector starts workers next, unless the workers are to end, and
    /// when the next one is due.
    pub(crate) fn due_seats(&mut self, board: &Board) -> (Vec<usize>, Deadline) {
        self.give_up_if_in_vain(board);
        let (mut due, mut next) = (Vec::new(), Deadline::NEVER);
        if self.is_stopped || matches!(self.phase, Phase::Ended(_)) {
            return (due, next);
        }
        for (number, seat) in self.seats.iter_mut().enumerate() {
            if seat.occupant.is_none() && seat.fill_at.is_expired() {
                seat.is_starting = true;
                due.push(number);
            } else if seat.occupant.is_none() {
                next = next.earlier(seat.fill_at);
            }
        }
        (due, next)
    }

    /// Whether a worker is still to be started for a seat that was due.
    pub(crate) fn still_wants(&mut self, number: usize) -> bool {
        let is_wanted = !self.is_stopped && !matches!(self.phase, Phase::Ended(_));
        self.seats[number].is_starting &= is_wanted;
        is_wanted
    }

    /// Whether the collector is about to start a worker.
    pub(crate) fn is_any_starting(&self) -> bool {
        self.seats.iter().any(|seat| seat.is_starting)
    }

    /// Gives a seat that was due its worker, unless the workers are to end.
    pub(crate) fn fill_seat(&mut self, board: &Board, number: usize, started: Result<Occupant>) {
        self.seats[number].is_starting = false;
        match started {
            // It was not there when the others were killed.
            Ok(occupant) if matches!(self.phase, Phase::Ended(_)) => occupant.end_now(),
            Ok(occupant) => {
                self.seats[number].occupant = Some(occupant);
                self.replaced += 1;
            }
            Err(error) => {
                self.note_in_vain(error.to_string());
                self.seats[number].fill_at = self.after_pause();
                self.give_up_if_in_vain(board);
            }
        }
    }

    fn give_up_if_in_vain(&mut self, board: &Board) {
        // A worker that runs a task is proof that they can, and would be killed with the pool.
        let too_many =
            self.in_vain >= self.seats.len() + DEATHS_IN_VAIN_MAX && !self.is_any_taken(board);
        if !too_many && self.failed_initializers < FAILED_INITIALIZERS_MAX {
            return;
        }
        let error = Error::new(ErrorKind::ProcessDied, "run", "a task").with_detail(format!(
            "the pool gave up: its workers end before they run a task, {} in a row; the last: {}",
            self.in_vain, self.last_end
        ));
        self.end(board, Arc::new(error));
    }

    /// Whether a worker that was not buried has taken a packet.
    fn is_any_taken(&self, board: &Board) -> bool {
        self.slots.iter().enumerate().any(|(place, slot)| {
            slot.packet.is_some()
                && matches!(board.taken_by(place), Ok(Some(number))
                    if self.seats.get(number).is_some_and(|seat| seat.occupant.is_some()))
        })
    }

    /// Kills and reaps all workers; every task that is left fails with `error`.
    pub(crate) fn end(&mut self, board: &Board, error: Arc<Error>) {
        if !matches!(self.phase, Phase::Ended(_)) {
            // What is done counts. Damage found here ends the same way.
            drop(self.take_outcomes(board));
            self.phase = Phase::Ended(Arc::clone(&error));
        }
        let occupants: Vec<_> = self
            .seats
            .iter_mut()
            .filter_map(|seat| seat.occupant.take())
            .collect();
        occupants.iter().for_each(Occupant::kill);
        occupants.iter().for_each(Occupant::end_now);
        let cause = Cause::Failed(error);
        for slot in &mut self.slots {
            if let Some(packet) = slot.packet.take()
                && let Some(rest) = packet.split_off(slot.done)
            {
                fail(rest, &cause);
            }
        }
        self.on_board = 0;
        for packet in self.pending.drain(..) {
            fail(packet, &cause);
        }
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

fn cause_of_death(occupant: &Occupant, ran_for: Duration) -> Cause {
    match occupant.process.status() {
        // A program whose panics abort.
        Status::Panicked(panic) => Cause::Panicked(Arc::new(panic)),
        status => Cause::Died(Death {
            pid: occupant.pid(),
            status,
            ran_for,
        }),
    }
}
