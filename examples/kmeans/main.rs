//! Reduces a photograph to a few colours by k-means: several processes work on the one picture in
//! shared memory, and one of them is killed while it holds the lock.
//!
//! ```text
//! cargo run --release --example kmeans
//! cargo run --release --example kmeans -- picture.jpg --colours 12 --rounds 40 --processes 2
//! ```

#![forbid(unsafe_code)]

mod clusters;
mod coordinator;
mod crew;
mod options;
mod picture;
mod show;
mod terminal;

use std::env;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

use coordinator::Outcome;
use options::{Command, Options};
use picture::{Picture, PictureError};
use show::{Show, say};

const PHOTOGRAPH: &[u8] = include_bytes!("coffee.jpg");

/// A picture with fewer pixels is enlarged, so that a round is more than a moment's work.
const ENOUGH_PIXELS: usize = 6_000_000;
const LARGEST_FACTOR: usize = 8;

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
    let processes = match options.processes_for(original.height, mp::cpu_count()) {
        Ok(processes) => processes,
        Err(error) => return refuse(&error),
    };
    match run(&name, &original, processes, &options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kmeans: {error}");
            ExitCode::FAILURE
        }
    }
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

/// Does the work in parallel, then once more alone, and compares; whether both gave the same.
fn run(name: &str, original: &Picture, processes: usize, options: &Options) -> mp::Result<bool> {
    let (width, height) = (original.width, original.height);
    let factor = enlargement(width * height);
    let picture = original.enlarged(factor);
    let enlarged = if factor > 1 {
        format!(", enlarged {factor} times")
    } else {
        String::new()
    };
    say(&format_args!(
        "{name}: {width} x {height} pixels{enlarged}; {} colours, {processes} processes",
        options.colours
    ));
    let mut show = Show::new(width, height, factor);
    let Options {
        colours,
        rounds,
        kill,
        ..
    } = *options;
    let outcome = coordinator::run(&picture, colours, processes, rounds, kill, &mut show)?;

    let reduced = coordinator::painted(&outcome, picture.width * picture.height)?;
    let pixels = reduced.to_vec()?;
    let (width, height) = (picture.width, picture.height);
    Picture {
        width,
        height,
        pixels,
    }
    .save(&options.out)?;
    let same = compare(&picture, options, &outcome)?;
    say(&format_args!("saved  {}", options.out.display()));
    say(&format_args!(
        "numpy  python3 -c 'import numpy; a = {}.reshape({height}, {width}, 3); print(a.shape, a.mean())'",
        reduced.numpy_line()
    ));
    if options.hold {
        say(&"holding the array open; press Enter to end");
        io::stdin().read_line(&mut String::new())?;
    }
    Ok(same)
}

/// Does the work again in this process alone and says how the two compare.
fn compare(picture: &Picture, options: &Options, outcome: &Outcome) -> mp::Result<bool> {
    let start = Instant::now();
    let (labels, centres) = clusters::serial(picture, options.colours, options.rounds);
    let alone = start.elapsed().as_secs_f64();
    let together = outcome.elapsed.as_secs_f64();
    let same = centres == outcome.centres && labels == outcome.crew.lock_labels()?[..];
    let verdict = if same {
        "identical to the serial result"
    } else {
        "DIFFERENT FROM THE SERIAL RESULT"
    };
    say(&format_args!("result {verdict}, {} rounds", centres.rounds));
    say(&format_args!(
        "time   {together:.2} s, serial {alone:.2} s: {:.2} times as fast; bytes copied between processes: 0",
        alone / together
    ));
    Ok(same)
}
