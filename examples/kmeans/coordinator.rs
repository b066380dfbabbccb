//! The main process: starts the workers, opens the rounds, watches, kills one, and shows all of it.

use std::ops::Range;
use std::time::{Duration, Instant};

use mp::{Array, Process};

use crate::clusters::{Centres, ChunkSums, Colour, first_centres, lloyd, paint};
use crate::crew::{Crew, now, work};
use crate::picture::Picture;
use crate::show::{Scene, Show};
use crate::terminal::{Mark, Progress, Sign};

/// How long the main process sleeps between two looks at its workers.
const TICK: Duration = Duration::from_millis(15);

/// Workers that die unasked are replaced so often, then the run gives up.
const MOST_REPLACEMENTS: usize = 3;

/// What the parallel run gave.
pub(crate) struct Outcome {
    pub(crate) crew: Crew,
    pub(crate) centres: Centres,
    pub(crate) elapsed: Duration,
}

/// The worker that is to die, as far as it has come.
enum Victim {
    /// There is none, or it is dead and dealt with.
    None,
    /// It will take the lock in this round.
    Planned,
    /// It holds the lock since the last look; by the next one, another worker waits for the lock.
    Holds,
    /// It was killed at this time of the system's clock.
    Killed { at: u64 },
}

/// The main process's side of the work.
struct Coordinator<'a> {
    crew: Crew,
    workers: Vec<Process<mp::Result<()>>>,
    victim: Victim,
    replacements: usize,
    died_rows: Option<Range<usize>>,
    rounds: usize,
    start: Instant,
    show: &'a mut Show,
}

/// Reduces the picture's colours with so many processes; with `kill`, one of them is killed
/// half-way.
pub(crate) fn run(
    picture: &Picture,
    colours: usize,
    processes: usize,
    rounds: usize,
    kill: bool,
    show: &mut Show,
) -> mp::Result<Outcome> {
    let first = first_centres(&picture.pixels, colours);
    let crew = Crew::new(picture, colours, processes)?;
    let start = Instant::now();
    let round = (rounds / 2).max(1);
    let victim = if kill { Victim::Planned } else { Victim::None };
    let mut coordinator = Coordinator {
        crew,
        workers: Vec::new(),
        victim,
        replacements: 0,
        died_rows: None,
        rounds,
        start,
        show,
    };
    for worker in 1..=processes {
        let dies_in = (kill && worker == processes).then_some(round as u64);
        let process = coordinator.start_worker(worker as u32, dies_in)?;
        coordinator.workers.push(process);
    }
    let centres = lloyd(first, rounds, |round, centres| {
        coordinator.round(round, centres)
    })?;
    let elapsed = start.elapsed();
    let last = coordinator.scene(centres.rounds, &centres.colours, &centres.sums);
    coordinator.show.end(last);
    coordinator.crew.finish()?;
    for worker in &mut coordinator.workers {
        worker.result()??;
    }
    Ok(Outcome {
        crew: coordinator.crew,
        centres,
        elapsed,
    })
}

impl Coordinator<'_> {
    fn start_worker(
        &self,
        worker: u32,
        dies_in: Option<u64>,
    ) -> mp::Result<Process<mp::Result<()>>> {
        let mut process = Process::new(work, (worker, self.crew.clone(), dies_in))
            .name(format!("worker {worker}"));
        process.start()?;
        Ok(process)
    }

    /// One round: opens it, watches until every chunk is done, and shows what it gave.
    fn round(&mut self, round: usize, centres: &[Colour]) -> mp::Result<ChunkSums> {
        self.crew.start_round(centres)?;
        while !self.crew.round_done.wait_timeout(TICK) || !self.crew.is_round_done()? {
            self.look_after_victim(round)?;
            self.look_after_workers()?;
            let scene = self.scene(round, centres, &ChunkSums::ZERO);
            self.show.frame(scene);
        }
        self.tell_recovery()?;
        let sums = self.crew.sums()?;
        self.show.take_labels(&self.crew)?;
        let scene = self.scene(round, centres, &sums);
        self.show.round(&scene);
        self.died_rows = None;
        Ok(sums)
    }

    fn look_after_victim(&mut self, round: usize) -> mp::Result<()> {
        match self.victim {
            Victim::Planned if self.crew.victim_holds.is_set() => self.victim = Victim::Holds,
            Victim::Holds => self.kill_victim(round)?,
            _ => {}
        }
        Ok(())
    }

    /// Kills the last worker while it holds the board's lock and a claim, and starts another in its
    /// place.
    fn kill_victim(&mut self, round: usize) -> mp::Result<()> {
        let number = self.workers.len();
        let Some(victim) = self.workers.last_mut() else {
            return Ok(());
        };
        let pid = victim.pid().unwrap_or(0);
        let rows = self.crew.rows_claimed_by(pid)?.pop().unwrap_or_default();
        let at = now();
        victim.kill()?;
        victim.join()?;
        self.victim = Victim::Killed { at };
        self.show.note(format!(
            "round {round}: worker {number} (pid {pid}) was killed while it held the lock, at rows {}..{}",
            rows.start, rows.end
        ));
        self.died_rows = Some(rows);
        self.workers[number - 1] = self.start_worker(number as u32 + 1, None)?;
        self.show
            .note(format!("worker {} takes its place", number + 1));
        Ok(())
    }

    /// Says how the others got over the death, once they have.
    fn tell_recovery(&mut self) -> mp::Result<()> {
        let Victim::Killed { at } = self.victim else {
            return Ok(());
        };
        let Some(recovery) = self.crew.recovery()? else {
            return Ok(());
        };
        let who = |worker: u32| match worker {
            0 => String::from("the main process"),
            worker => format!("worker {worker}"),
        };
        let micros = recovery.at.saturating_sub(at) / 1000;
        self.show.note(format!(
            "the lock was recovered after {micros} us by {}",
            who(recovery.by)
        ));
        if let Some((chunk, worker)) = recovery.redone {
            let rows = self.crew.rows_of(chunk);
            self.show.note(format!(
                "rows {}..{} were done again by {}",
                rows.start,
                rows.end,
                who(worker)
            ));
        }
        self.victim = Victim::None;
        Ok(())
    }

    /// Replaces a worker that died unasked.
    fn look_after_workers(&mut self) -> mp::Result<()> {
        for index in 0..self.workers.len() {
            if self.workers[index].is_alive() {
                continue;
            }
            if self.replacements == MOST_REPLACEMENTS {
                return self.workers[index].result()?;
            }
            self.replacements += 1;
            let status = self.workers[index].status();
            self.show.note(format!(
                "worker {} ended ({status}) and is replaced",
                index + 1
            ));
            self.workers[index] = self.start_worker(index as u32 + 1, None)?;
        }
        Ok(())
    }

    fn scene(&self, round: usize, centres: &[Colour], sums: &ChunkSums) -> Scene {
        let progress = Progress {
            round,
            rounds: self.rounds,
            distance: sums.distance(),
            elapsed: self.start.elapsed(),
        };
        Scene {
            centres: centres.to_vec(),
            progress,
            marks: self.marks(),
        }
    }

    /// Which worker is at which rows at this moment.
    fn marks(&self) -> Vec<Mark> {
        let mut marks = Vec::new();
        for (worker, process) in self.workers.iter().enumerate() {
            let claimed = process
                .pid()
                .and_then(|pid| self.crew.rows_claimed_by(pid).ok());
            for rows in claimed.into_iter().flatten() {
                let again = self.died_rows.as_ref() == Some(&rows);
                let sign = if again { Sign::Redone } else { Sign::Working };
                marks.push(Mark { rows, worker, sign });
            }
        }
        let died = self.died_rows.clone().into_iter();
        marks.extend(died.map(|rows| Mark {
            rows,
            worker: 0,
            sign: Sign::Died,
        }));
        marks
    }
}

/// Paints the labels into a shared array that other programs can open.
pub(crate) fn painted(outcome: &Outcome, pixels: usize) -> mp::Result<Array<u8>> {
    let reduced = Array::new(3 * pixels)?;
    let labels = outcome.crew.lock_labels()?;
    paint(&labels, &outcome.centres.colours, &mut reduced.lock()?);
    drop(labels);
    Ok(reduced)
}
