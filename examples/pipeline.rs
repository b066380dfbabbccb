//! A numeric pipeline: a stream of ticks, its rolling statistics, and a table of them that numpy
//! opens while it is written.
//!
//! ```text
//! feed --ticks--> roll --statistics--> draw --> /dev/shm/pipeline-PID.npy
//! ```
//!
//! Each stage is a process. The numbers stay where they were written: between two stages lies a
//! shared array of a few blocks, and what travels through the rings are the numbers of those
//! blocks, there when they are full, and back when they are read. A stage claims the block that it
//! works on, so a slice of it is its own, and its death is noticed.
//!
//! ```text
//! cargo run --release --example pipeline                   100 million ticks
//! cargo run --release --example pipeline -- 20             20 million
//! cargo run --release --example pipeline -- 100 --numpy    beside it numpy looks at the table
//! ```

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mp::value::{Chunk, Chunks, PlainSlice};
use mp::{Array, ErrorKind, Event, NdArray, NdReader, Process, Receiver, Sender};
use serde::{Deserialize, Serialize};

/// Ticks of one block: 256 KiB, so that the blocks on their way stay in the caches.
const BLOCK: usize = 1 << 15;

/// Blocks between two stages.
const BLOCKS: usize = 4;

/// Ticks that are one row of the table.
const BAR: usize = 64;

const BARS: usize = BLOCK / BAR;

/// An array of any length may have 4096 blocks that are claimed one by one.
const MOST_MILLIONS: usize = 4096 * BLOCK / 1_000_000;

/// Bars that the statistics look back on.
const WINDOW: usize = 32;

/// Mean, lower and upper band.
const COLUMNS: usize = 3;

/// The mean of a window, and its standard deviation.
type Statistics = [f64; 2];

/// A stage returns the time from its first block to its last.
type Stage = Process<mp::Result<Duration>>;

fn main() -> mp::Result<()> {
    let Some((millions, with_numpy)) = arguments() else {
        eprintln!("usage: pipeline [MILLIONS OF TICKS, 1 to {MOST_MILLIONS}] [--numpy]");
        std::process::exit(2);
    };
    let blocks = (millions * 1_000_000).div_ceil(BLOCK);
    let name = format!("pipeline-{}.npy", std::process::id());
    let bands = NdArray::<f64>::create_named(&name, &[blocks * BARS, COLUMNS])?;
    let name = Name(name);
    println!("{}", bands.numpy_line());
    measure(&bands, blocks, with_numpy)?;
    check(&name.0)?;
    kill_a_stage()
}

/// A name that is removed with this.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        if let Err(error) = NdArray::<f64>::unlink(&self.0) {
            eprintln!("pipeline: {error}");
        }
    }
}

fn arguments() -> Option<(usize, bool)> {
    let (mut millions, mut with_numpy) = (100, false);
    for argument in std::env::args().skip(1) {
        match argument.parse() {
            Ok(count @ 1..=MOST_MILLIONS) => millions = count,
            _ if argument == "--numpy" => with_numpy = true,
            _ => return None,
        }
    }
    Some((millions, with_numpy))
}

/// The rate of the pipeline beside that at which one core copies memory.
fn measure(bands: &NdArray<f64>, blocks: usize, with_numpy: bool) -> mp::Result<()> {
    let mut viewer = with_numpy.then(|| Viewer::start(&bands.numpy_line()));
    let mut elapsed = Duration::ZERO;
    for stage in start_stages(bands, blocks, None)? {
        elapsed = stage.result()??; // the last stage's remains
    }
    if let Some(viewer) = &mut viewer {
        viewer.show("full");
    }

    let ticks = blocks * BLOCK;
    let copied = copy_rate(ticks);
    let rate = (8 * ticks) as f64 / elapsed.as_secs_f64();
    println!(
        "{ticks} ticks in {elapsed:.3?}: {:.2} GB/s through three stages",
        rate / 1e9
    );
    println!(
        "one core copies {:.2} GB/s; the pipeline reaches {:.2} of it",
        copied / 1e9,
        rate / copied
    );
    Ok(())
}

/// Starts the three stages. The middle one stops at a block if `stop` says so, and sets the event
/// when it is there.
fn start_stages(
    bands: &NdArray<f64>,
    blocks: usize,
    stop: Option<(usize, Event)>,
) -> mp::Result<[Stage; 3]> {
    let (to_roll, from_feed) = lane::<f64>(BLOCK)?;
    let (to_draw, from_roll) = lane::<Statistics>(BARS)?;
    let mut stages = [
        Process::new(feed, (blocks, to_roll)).name("feed"),
        Process::new(roll, (blocks, from_feed, to_draw, stop)).name("roll"),
        Process::new(draw, (blocks, from_roll, bands.clone())).name("draw"),
    ];
    for stage in &mut stages {
        stage.start()?;
    }
    Ok(stages)
}

/// One end of the blocks between two stages: those that it may take, and the ring on which it gives
/// them to the other end.
#[derive(Serialize, Deserialize)]
struct End<T: PlainSlice> {
    blocks: Chunks<T>,
    taken: Receiver<u64>,
    given: Sender<u64>,
}

/// The two ends; all blocks are the first one's.
fn lane<T: PlainSlice>(len: usize) -> mp::Result<(End<T>, End<T>)> {
    let blocks = Array::<T>::new(BLOCKS * len)?.chunks(len)?;
    let (to_second, from_first) = mp::channel(BLOCKS)?;
    let (mut to_first, from_second) = mp::channel(BLOCKS)?;
    for index in 0..BLOCKS as u64 {
        to_first.send(index)?;
    }
    let first = End {
        blocks: blocks.clone(),
        taken: from_second,
        given: to_second,
    };
    let second = End {
        blocks,
        taken: from_first,
        given: to_first,
    };
    Ok((first, second))
}

impl<T: PlainSlice> End<T> {
    /// The next block, for this process alone. If the other end is gone, this is an error.
    fn take(&mut self) -> mp::Result<Chunk<T>> {
        let index = self.taken.recv()?;
        let claim = self.blocks.claim(index as usize)?;
        Ok(claim
            .claimed()
            .expect("it was given back before it was sent"))
    }

    fn give(&mut self, block: Chunk<T>) -> mp::Result<()> {
        let index = block.index() as u64;
        drop(block);
        Ok(self.given.send(index)?)
    }

    /// Waits until the other end has read everything, so that it finds this one while it works.
    fn finish(mut self) -> mp::Result<()> {
        (0..BLOCKS).try_for_each(|_| self.taken.recv().map(drop))?;
        Ok(())
    }
}

/// The first stage: a recording that is played again and again, at a level that moves.
fn feed(blocks: usize, mut ticks: End<f64>) -> mp::Result<Duration> {
    let (recording, start) = (recording(), Instant::now());
    for number in 0..blocks {
        let mut block = ticks.take()?;
        let level = level(number);
        for (tick, noise) in block.iter_mut().zip(&recording) {
            *tick = level + noise;
        }
        ticks.give(block)?;
    }
    ticks.finish()?;
    Ok(start.elapsed())
}

fn level(block: usize) -> f64 {
    100.0 + (block % 50) as f64 * 0.01
}

/// Noise between -0.5 and 0.5, the same in every process.
fn recording() -> Vec<f64> {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 32) as f64 / 2_f64.powi(32) - 0.5
    };
    (0..BLOCK).map(|_| noise()).collect()
}

/// The second stage: mean and deviation of the last bars, for each bar.
fn roll(
    blocks: usize,
    mut ticks: End<f64>,
    mut statistics: End<Statistics>,
    stop: Option<(usize, Event)>,
) -> mp::Result<Duration> {
    let (mut window, start) = (Window::default(), Instant::now());
    for number in 0..blocks {
        let from = ticks.take()?;
        if let Some((_, stopped)) = stop.as_ref().filter(|(at, _)| *at == number) {
            stopped.set();
            loop {
                std::thread::park();
            }
        }
        let mut to = statistics.take()?;
        for (bar, statistics) in from.chunks_exact(BAR).zip(to.iter_mut()) {
            *statistics = window.push(sums(bar));
        }
        ticks.give(from)?;
        statistics.give(to)?;
    }
    statistics.finish()?;
    Ok(start.elapsed())
}

/// The sum of a bar, and the sum of its squares, each in lanes that the processor adds side by
/// side.
fn sums(bar: &[f64]) -> [f64; 2] {
    let (mut sums, mut squares) = ([0.0; 4], [0.0; 4]);
    for lanes in bar.as_chunks::<4>().0 {
        for ((sum, square), tick) in sums.iter_mut().zip(&mut squares).zip(lanes) {
            *sum += tick;
            *square += tick * tick;
        }
    }
    [sums.iter().sum(), squares.iter().sum()]
}

/// The sums of the last bars, and of all of them together.
#[derive(Default)]
struct Window {
    bars: [[f64; 2]; WINDOW],
    total: [f64; 2],
    pushed: usize,
}

impl Window {
    fn push(&mut self, [sum, squares]: [f64; 2]) -> Statistics {
        let oldest = &mut self.bars[self.pushed % WINDOW];
        self.total[0] += sum - oldest[0];
        self.total[1] += squares - oldest[1];
        *oldest = [sum, squares];
        self.pushed += 1;
        let ticks = (self.pushed.min(WINDOW) * BAR) as f64;
        let mean = self.total[0] / ticks;
        [mean, (self.total[1] / ticks - mean * mean).max(0.0).sqrt()]
    }
}

/// The third stage: a band of two deviations around the mean, in the rows that numpy sees.
fn draw(
    blocks: usize,
    mut statistics: End<Statistics>,
    bands: NdArray<f64>,
) -> mp::Result<Duration> {
    let (rows, start) = (bands.blocks(BARS)?, Instant::now());
    for number in 0..blocks {
        let from = statistics.take()?;
        let mut to = rows
            .claim(number)?
            .claimed()
            .expect("no other stage has rows");
        for ([mean, deviation], row) in from.iter().zip(to.as_chunks_mut().0) {
            *row = [*mean, mean - 2.0 * deviation, mean + 2.0 * deviation];
        }
        statistics.give(from)?;
    }
    Ok(start.elapsed())
}

/// Bytes per second that one core copies from memory to memory, of as many numbers.
fn copy_rate(count: usize) -> f64 {
    let (from, mut to) = (vec![1.0; 1 << 24], vec![0.5; 1 << 24]);
    let rounds = count.div_ceil(from.len());
    let start = Instant::now();
    for _ in 0..rounds {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    }
    (rounds * from.len() * 8) as f64 / start.elapsed().as_secs_f64()
}

/// Python, which has the table open before the first tick, and looks at it until it is full.
struct Viewer {
    python: Child,
    says: BufReader<ChildStdout>,
}

impl Viewer {
    fn start(numpy_line: &str) -> Self {
        let program = format!(
            "import numpy, time\n\
             bands = {numpy_line}\n\
             print('open, the last row is', bands[-1], flush=True)\n\
             while bands[-1, 0] == 0: time.sleep(0.001)\n\
             print('full, the last row is', bands[-1])"
        );
        let mut python = Command::new("python3")
            .args(["-c", &program])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let says = BufReader::new(python.stdout.take().expect("a pipe"));
        let mut viewer = Self { python, says };
        viewer.show("open");
        viewer
    }

    /// Waits for the next line.
    fn show(&mut self, expected: &str) {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("a pipe");
        assert!(line.starts_with(expected), "numpy cannot open the table");
        print!("numpy: {line}");
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.python.kill().expect("our own child");
        self.python.wait().expect("our own child");
    }
}

/// The table as another program reads it, against statistics that are taken tick by tick.
fn check(name: &str) -> mp::Result<()> {
    let (bands, recording) = (NdReader::<f64>::open(name)?, recording());
    for row in [0, BARS, bands.shape()[0] - 1] {
        let bars = row.saturating_sub(WINDOW - 1)..row + 1;
        let ticks: Vec<f64> = (bars.start * BAR..bars.end * BAR)
            .map(|tick| level(tick / BLOCK) + recording[tick % BLOCK])
            .collect();
        let mean = ticks.iter().sum::<f64>() / ticks.len() as f64;
        let squares = ticks.iter().map(|tick| (tick - mean).powi(2)).sum::<f64>();
        let deviation = (squares / ticks.len() as f64).sqrt();
        for (column, expected) in [mean, mean - 2.0 * deviation, mean + 2.0 * deviation]
            .into_iter()
            .enumerate()
        {
            let found = bands.get(&[row, column])?;
            assert!(
                (found - expected).abs() < 1e-6,
                "row {row}: {found}, not {expected}"
            );
        }
    }
    Ok(())
}

/// The middle stage is killed in a block: that is an error of each stage, and no process waits for
/// ever.
fn kill_a_stage() -> mp::Result<()> {
    const STOP: usize = 10;
    let bands = NdArray::<f64>::zeros(&[2 * STOP * BARS, COLUMNS])?;
    let stopped = Event::new()?;
    let stages = start_stages(&bands, 2 * STOP, Some((STOP, stopped.clone())))?;
    assert!(
        stopped.wait_timeout(Duration::from_secs(60)),
        "the stage does not come to its block"
    );
    stages[1].kill()?;
    let expected = [ErrorKind::Closed, ErrorKind::ProcessDied, ErrorKind::Closed];
    for (stage, expected) in stages.iter().zip(expected) {
        let error = stage
            .result()
            .and_then(|outcome| outcome)
            .expect_err("no stage can finish");
        println!("{}: {error}", stage.get_name());
        assert_eq!(error.kind(), expected);
    }
    Ok(())
}
