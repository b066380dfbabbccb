//! Reduces a photograph to a few colours by k-means and shows it at work.
//!
//! ```text
//! cargo run --release --example kmeans
//! cargo run --release --example kmeans -- picture.jpg --colours 12 --rounds 40
//! ```

#![forbid(unsafe_code)]

mod clusters;
mod options;
mod picture;
mod terminal;

use std::env;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use clusters::{Outcome, Round};
use options::{Command, Options};
use picture::{Picture, PictureError};
use terminal::{Progress, Terminal, View};

const PHOTOGRAPH: &[u8] = include_bytes!("coffee.jpg");

/// A picture with fewer pixels is enlarged, so that a round is more than a moment's work.
const ENOUGH_PIXELS: usize = 6_000_000;
const LARGEST_FACTOR: usize = 8;

/// Frames follow each other at least this far apart.
const FRAME_TIME: Duration = Duration::from_millis(40);

fn main() -> ExitCode {
    let options = match options::parse(env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            say(&options::HELP.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&error),
    };
    let (name, original) = load(&options);
    let original = match original {
        Ok(picture) => picture,
        Err(error) => return refuse(&format_args!("{name}: {error}")),
    };
    let factor = enlargement(original.width * original.height);
    let picture = original.enlarged(factor);
    let cores = available_parallelism().map_or(1, usize::from);
    if let Err(error) = options.processes_for(original.height, cores) {
        return refuse(&error);
    }

    let enlarged = if factor > 1 {
        format!(", enlarged {factor} times")
    } else {
        String::new()
    };
    say(&format_args!(
        "{name}: {} x {} pixels{enlarged}",
        original.width, original.height
    ));
    match run(&picture, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kmeans: {}: {error}", options.out.display());
            ExitCode::FAILURE
        }
    }
}

/// Prints a line. A reader that has gone away (`| head`) takes nothing from the result, so that
/// the failure is not one of the program.
fn say(line: &dyn Display) {
    drop(writeln!(io::stdout(), "{line}"));
}

fn refuse(reason: &dyn Display) -> ExitCode {
    eprintln!("kmeans: {reason}");
    ExitCode::from(2)
}

fn load(options: &Options) -> (String, Result<Picture, PictureError>) {
    match &options.picture {
        Some(path) => (path.display().to_string(), Picture::load(path)),
        None => (String::from("coffee.jpg"), Picture::decode(PHOTOGRAPH)),
    }
}

fn enlargement(pixels: usize) -> usize {
    let enough = |factor: &usize| pixels * factor * factor >= ENOUGH_PIXELS;
    (1..LARGEST_FACTOR).find(enough).unwrap_or(LARGEST_FACTOR)
}

fn run(picture: &Picture, options: &Options) -> io::Result<()> {
    let mut terminal = Terminal::find();
    let start = Instant::now();
    let mut last_frame = None::<Instant>;
    let outcome = clusters::serial(picture, options.colours, options.rounds, |round| {
        let progress = progress(round, options.rounds, start.elapsed());
        match &mut terminal {
            None => say(&progress),
            Some(_) if last_frame.is_some_and(|at| at.elapsed() < FRAME_TIME) => {}
            Some(terminal) => {
                show(terminal, picture, round, progress);
                last_frame = Some(Instant::now());
            }
        }
    });
    let elapsed = start.elapsed();
    if let Some(terminal) = &mut terminal {
        let Outcome {
            labels,
            centres,
            sums,
            rounds,
        } = &outcome;
        let last = Round {
            number: *rounds,
            labels,
            centres,
            sums,
        };
        show(terminal, picture, &last, progress(&last, *rounds, elapsed));
    }

    let mut reduced = Picture {
        pixels: vec![0; picture.pixels.len()],
        ..*picture
    };
    clusters::paint(&outcome.labels, &outcome.centres, &mut reduced.pixels);
    reduced.save(&options.out)?;
    say(&format_args!(
        "serial: {} rounds in {:.2} s",
        outcome.rounds,
        elapsed.as_secs_f64()
    ));
    say(&format_args!("saved:  {}", options.out.display()));
    Ok(())
}

fn progress(round: &Round<'_>, rounds: usize, elapsed: Duration) -> Progress {
    Progress {
        round: round.number,
        rounds,
        distance: round.sums.distance(),
        elapsed,
    }
}

/// Draws the picture as this round left it; a terminal that is gone takes nothing from the result.
fn show(terminal: &mut Terminal, picture: &Picture, round: &Round<'_>, progress: Progress) {
    let (width, height) = (picture.width, picture.height);
    let colour = |x, y| round.centres[usize::from(round.labels[y * width + x])];
    drop(terminal.draw(&View {
        width,
        height,
        colour: &colour,
        marks: &[],
        palette: round.centres,
        progress,
        notes: &[],
    }));
}
