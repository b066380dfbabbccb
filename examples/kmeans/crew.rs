//! What the processes share, and what each worker does.
//!
//! # Layout
//! The picture is a frozen shared array: every process reads the same bytes. The labels are a
//! shared array cut into chunks of whole rows, each claimed by whoever works on it. The sums of a
//! chunk lie in a slot of its own. The board, behind a lock, says which round is in work and in
//! which round each chunk was last done.
//!
//! # Invariants
//! - I1: labels and slot of a chunk are written by the process that has claimed it, nobody else.
//! - I2: `done[chunk]` becomes `round` under the board's lock, after the chunk's labels and slot
//!   are whole and before its claim is given back.
//! - I3: `left` is the number of chunks with `done < round`; whoever finds the board's owner dead
//!   counts it anew.
//!
//! # If a process dies
//! Its claims go to the next one that wants them; a chunk whose `done` it had not written is done
//! again, with the same bytes (the sums overwrite, they never add). If it held the board, the next
//! owner counts `left` again, which is all that it can have left half-way.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mp::sync::{LockError, MutexGuard};
use mp::value::{ArrayGuard, Chunk, Chunks, Claim};
use mp::{Array, Event, FrozenArray, Mutex, Plain, RawArray};
use serde::{Deserialize, Serialize};

use crate::clusters::{ChunkSums, Colour, MAX_COLOURS, assign_rows};
use crate::picture::Picture;

/// The most chunks a picture is cut into.
pub(crate) const MAX_CHUNKS: usize = 128;

/// What every process has a handle of.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Crew {
    pixels: FrozenArray<u8>,
    labels: Array<u8>,
    slots: RawArray<ChunkSums>,
    board: Mutex<Board>,
    /// Set while an even or an odd round is in work.
    gates: [Event; 2],
    /// Set when no chunk of the round is left.
    pub(crate) round_done: Event,
    /// Set by the worker that is to be killed, when it holds the board.
    pub(crate) victim_holds: Event,
    width: usize,
    rows_per_chunk: usize,
    colours: usize,
    processes: usize,
}

/// The state of the work; plain data, so that it can lie in a shared mutex.
#[derive(Clone, Copy, Plain)]
#[repr(C)]
pub(crate) struct Board {
    /// The round in work, from 1; 0 before the first.
    round: u64,
    /// Chunks that are not yet done in this round.
    left: u64,
    /// 1 when there will be no further round.
    over: u64,
    /// Nanoseconds of the system's clock when the board was recovered from a dead owner, 0 if it
    /// never was.
    recovered_at: u64,
    /// Who recovered it.
    recovered_by: u32,
    /// Who did again the chunk that a dead worker left, plus one.
    redone_by: u32,
    /// The chunk that was done again.
    redone: u64,
    /// The round in which each chunk was last done.
    done: [u32; MAX_CHUNKS],
    centres: [Colour; MAX_COLOURS],
}

/// What is known of a death on the board.
pub(crate) struct Recovery {
    /// Nanoseconds of the system's clock.
    pub(crate) at: u64,
    /// The worker that got the lock after the dead one.
    pub(crate) by: u32,
    /// The chunk that was done again, and by whom.
    pub(crate) redone: Option<(usize, u32)>,
}

impl Crew {
    /// Shares the picture and prepares the work on it.
    pub(crate) fn new(picture: &Picture, colours: usize, processes: usize) -> mp::Result<Self> {
        let pixels = picture.width * picture.height;
        let rows_per_chunk = picture.height.div_ceil(MAX_CHUNKS);
        let chunks = picture.height.div_ceil(rows_per_chunk);
        Ok(Self {
            pixels: Array::from_slice(&picture.pixels)?.freeze()?,
            labels: Array::new(pixels)?,
            slots: RawArray::new(chunks)?,
            board: Mutex::new(mp::zeroed::<Board>())?,
            gates: [Event::new()?, Event::new()?],
            round_done: Event::new()?,
            victim_holds: Event::new()?,
            width: picture.width,
            rows_per_chunk,
            colours,
            processes,
        })
    }

    /// The labels, cut into chunks of whole rows.
    pub(crate) fn chunks(&self) -> mp::Result<Chunks<u8>> {
        self.labels.chunks(self.rows_per_chunk * self.width)
    }

    /// Rows of the picture that a process has claimed.
    pub(crate) fn rows_claimed_by(&self, pid: u32) -> mp::Result<Vec<Range<usize>>> {
        let chunks = self.chunks()?;
        let owned = |chunk: &usize| chunks.owner(*chunk).is_some_and(|owner| owner.pid() == pid);
        Ok((0..chunks.count())
            .filter(owned)
            .map(|chunk| self.rows_of(chunk))
            .collect())
    }

    /// Rows of the picture in a chunk.
    pub(crate) fn rows_of(&self, chunk: usize) -> Range<usize> {
        let start = chunk * self.rows_per_chunk;
        start..(start + self.rows_per_chunk).min(self.labels.len() / self.width)
    }

    /// Opens the next round; the last one is complete.
    pub(crate) fn start_round(&self, centres: &[Colour]) -> mp::Result<()> {
        let chunks = self.chunks()?.count();
        let mut board = self.board(0)?;
        board.round += 1;
        board.left = chunks as u64;
        board.centres[..centres.len()].copy_from_slice(centres);
        let round = board.round;
        drop(board);
        self.round_done.clear();
        self.gate(round + 1).clear();
        self.gate(round).set();
        Ok(())
    }

    /// Lets the workers return.
    pub(crate) fn finish(&self) -> mp::Result<()> {
        self.board(0)?.over = 1;
        self.gates.iter().for_each(|gate| gate.set());
        Ok(())
    }

    /// The labels of a complete round; waits until the last worker has given its chunk back.
    ///
    /// # Errors
    /// When a chunk stays claimed for a second.
    pub(crate) fn lock_labels(&self) -> mp::Result<ArrayGuard<'_, u8>> {
        Ok(self.labels.lock_timeout(Duration::from_secs(1))?)
    }

    /// The sums of the round, once it is complete.
    pub(crate) fn sums(&self) -> mp::Result<ChunkSums> {
        let mut sums = ChunkSums::ZERO;
        for chunk in 0..self.chunks()?.count() {
            sums.merge(&self.slots.get(chunk));
        }
        Ok(sums)
    }

    /// Whether every chunk of the round in work is done.
    pub(crate) fn is_round_done(&self) -> mp::Result<bool> {
        Ok(self.board(0)?.left == 0)
    }

    /// What the survivors wrote down about a death.
    pub(crate) fn recovery(&self) -> mp::Result<Option<Recovery>> {
        let Board {
            recovered_at: at,
            recovered_by: by,
            redone,
            redone_by,
            ..
        } = *self.board(0)?;
        let redone = redone_by
            .checked_sub(1)
            .map(|worker| (redone as usize, worker));
        Ok((at > 0).then_some(Recovery { at, by, redone }))
    }

    /// Locks the board for a worker (0 is the main process), and puts it right after a death.
    fn board(&self, me: u32) -> mp::Result<MutexGuard<'_, Board>> {
        let mut board = match self.board.lock() {
            Ok(board) => return Ok(board),
            Err(LockError::OwnerDied(board)) => board,
            Err(error) => return Err(error.into()),
        };
        let chunks = self.chunks()?.count();
        let undone = |board: &Board| {
            board.done[..chunks]
                .iter()
                .filter(|r| u64::from(**r) < board.round)
                .count()
        };
        board.left = undone(&board) as u64;
        (board.recovered_at, board.recovered_by) = (now(), me);
        board.recover();
        Ok(board)
    }

    fn gate(&self, round: u64) -> &Event {
        &self.gates[(round % 2) as usize]
    }
}

/// What a worker process runs: round after round until there is none.
///
/// In the round `dies_in` it takes the board's lock, says so, and waits to be killed.
pub(crate) fn work(me: u32, crew: Crew, dies_in: Option<u64>) -> mp::Result<()> {
    let chunks = crew.chunks()?;
    let mut round = 0;
    loop {
        let Board {
            round: now,
            over,
            centres,
            ..
        } = *crew.board(me)?;
        if over == 1 {
            return Ok(());
        }
        if now == round {
            crew.gate(round + 1).wait();
            continue;
        }
        round = now;
        while let Some(chunk) = claim_undone(&crew, &chunks, me, round)? {
            do_chunk(&crew, chunk, me, (round, &centres), dies_in == Some(round))?;
        }
    }
}

/// Claims a chunk that is not done in this round and that nobody living has; none if the round is
/// over.
///
/// Each worker looks from a place of its own on. Once it has claimed a chunk, the round cannot end
/// before that is done.
fn claim_undone(
    crew: &Crew,
    chunks: &Chunks<u8>,
    me: u32,
    round: u64,
) -> mp::Result<Option<Chunk<u8>>> {
    let done = crew.board(me)?.done;
    let count = chunks.count();
    let first = (me as usize - 1) * count / crew.processes;
    let from_mine = (0..count).map(|index| (first + index) % count);
    for index in from_mine.filter(|index| u64::from(done[*index]) < round) {
        if let Claim::Claimed(chunk) = chunks.claim(index)? {
            // Somebody may have done it between the look at the board and the claim.
            if u64::from(crew.board(me)?.done[index]) < round {
                return Ok(Some(chunk));
            }
        }
    }
    Ok(None)
}

/// Labels the pixels of a chunk, stores its sums, and says on the board that it is done.
fn do_chunk(
    crew: &Crew,
    mut chunk: Chunk<u8>,
    me: u32,
    (round, centres): (u64, &[Colour]),
    dies: bool,
) -> mp::Result<()> {
    let index = chunk.index();
    let range = chunk.range();
    let pixels = &crew.pixels[3 * range.start..3 * range.end];
    let sums = assign_rows(pixels, &mut chunk, &centres[..crew.colours]);
    crew.slots.set(index, sums);

    let mut board = crew.board(me)?;
    if dies {
        board.left = u64::MAX; // torn, for the next owner to put right
        crew.victim_holds.set();
        loop {
            std::thread::park();
        }
    }
    board.done[index] = round as u32;
    board.left -= 1;
    if chunk.abandoned_by().is_some() {
        (board.redone, board.redone_by) = (index as u64, me + 1);
    }
    let complete = board.left == 0;
    drop(board);
    drop(chunk);
    if complete {
        crew.round_done.set();
    }
    Ok(())
}

/// Nanoseconds of the system's clock, which all processes share.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
