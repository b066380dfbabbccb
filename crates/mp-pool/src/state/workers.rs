//! The workers' seats: who has ended, who takes the place, and when none does any more.

use std::sync::Arc;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::{self, Deadline};
use mp_process::Status;

use super::{Phase, State};
use crate::board::Board;
use crate::error::{Cause, Death};
use crate::seat::{Occupant, Seat};
use crate::shared::{Shared, fail};

/// The first pause before a worker is replaced that had begun no task; each further one is twice as
/// long.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(10);

/// The longest of these pauses.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// A worker that lived as long was no failed start, whatever ended it.
const PROVEN_AFTER: Duration = Duration::from_secs(10);

/// How long the end of a pool waits for starts under way, which take milliseconds; one that hangs
/// goes on without the pool, and ends its worker.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// So many workers more than the pool has may end in a row without a task in between, before it
/// gives up.
const DEATHS_IN_VAIN_MAX: usize = 8;

/// So often a packet comes back from a worker that died before it began the first task; the next
/// such death fails the packet, whose arguments may be what kills.
const MOVES_MAX: u32 = 3;

/// So many initializers may fail in a row.
const FAILED_INITIALIZERS_MAX: usize = 3;

impl State {
    /// How many workers took the place of another.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The workers with their seats' numbers.
    pub(crate) fn occupants(&self) -> impl Iterator<Item = (usize, &Occupant)> {
        let seats = self.seats.iter().enumerate();
        seats.filter_map(|(number, seat)| Some((number, seat.occupant.as_ref()?)))
    }

    /// Whether the workers are to end, and none is started any more.
    fn is_ending(&self) -> bool {
        self.is_stopped || matches!(self.phase, Phase::Ended(_))
    }

    /// Whether all workers have ended, and none is started again.
    pub(crate) fn is_deserted(&self) -> bool {
        let is_empty = |seat: &Seat| seat.occupant.is_none();
        self.is_ending() && self.seats.iter().all(is_empty) && self.awaits_starts().is_none()
    }

    /// Until when the end of the pool waits for starts under way; `None` if there are none, or if
    /// it has waited long enough.
    pub(crate) fn awaits_starts(&self) -> Option<Deadline> {
        let until = self.waits_for_starts.filter(|until| !until.is_expired());
        until.filter(|_| self.seats.iter().any(|seat| seat.is_starting))
    }

    fn begin_end(&mut self) {
        let until = || Deadline::after(START_PATIENCE);
        self.waits_for_starts.get_or_insert_with(until);
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

    pub(super) fn note_in_vain(&mut self, end: String) {
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
            self.begin_end();
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

    /// The seats for which workers are started next, unless the workers are to end, and when the
    /// next one is due.
    pub(crate) fn due_seats(&mut self, board: &Board) -> (Vec<usize>, Deadline) {
        self.give_up_if_in_vain(board);
        let (mut due, mut next) = (Vec::new(), Deadline::NEVER);
        if self.is_ending() {
            return (due, next);
        }
        let seats = self.seats.iter_mut().enumerate();
        for (number, seat) in seats.filter(|(_, seat)| seat.is_empty()) {
            if seat.fill_at.is_expired() {
                seat.is_starting = true;
                due.push(number);
            } else {
                next = next.earlier(seat.fill_at);
            }
        }
        (due, next)
    }

    /// Whether a worker is still to be started for a seat that was due.
    pub(crate) fn still_wants(&mut self, number: usize) -> bool {
        let is_wanted = !self.is_ending();
        self.seats[number].is_starting &= is_wanted;
        is_wanted
    }

    /// Gives a seat that was due its worker, unless the workers are to end.
    pub(crate) fn fill_seat(&mut self, board: &Board, number: usize, started: Result<Occupant>) {
        self.seats[number].is_starting = false;
        let is_late = self
            .waits_for_starts
            .is_some_and(|until| until.is_expired());
        match started {
            // It was not there when the others were killed, or no thread waits for its end.
            Ok(occupant) if is_late || matches!(self.phase, Phase::Ended(_)) => occupant.end_now(),
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
            self.begin_end();
        }
        for (place, slot) in self.slots.iter().enumerate() {
            if slot.packet.is_some() {
                // A worker that is started too late runs nothing of it. An error would be one of a
                // place that the board does not have.
                drop(board.withdraw(place, slot.generation));
            }
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
