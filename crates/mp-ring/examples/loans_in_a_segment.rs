//! Pictures of a camera in a named segment, for as many viewers as there are, of which one is
//! killed.
//!
//! `cargo run --release -p mp-ring --example loans_in_a_segment`
//!
//! The first program makes the segment and writes the pictures where they are read: none is copied.
//! The others are this program started again with the segment's name. The first viewer is killed
//! while it has pictures; the camera sweeps the ring, and the second viewer is given them, too.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU64;
use std::os::unix::process::parent_id;
use std::process::{self, Child, Command, Stdio};
use std::thread::{park_timeout, yield_now};
use std::time::Duration;

use mp_ring::{LoanRing, LoanSeat, PopError, ReserveError, Taken};
use mp_shm::SharedMemory;

/// 64 lines of 48 pixels. The first pixel of each line is the picture's number.
type Picture = [[u32; 48]; 64];

/// Pictures that are written, read, or waiting to be.
const CAPACITY: usize = 16;

/// A camera and two viewers.
const SEATS: usize = 3;

const PICTURES: u32 = 1000;

/// What the first viewer is done with, and what it has when it is killed.
const SEEN: usize = 10;
const HELD: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        [] => camera(),
        ["stop", name, camera] => stop(name, camera.parse()?),
        ["view", name, camera] => view(name, camera.parse()?),
        _ => Err("usage: loans_in_a_segment".into()),
    }
}

/// A name that is removed with this.
struct Name<'a>(&'a str);

impl Drop for Name<'_> {
    fn drop(&mut self) {
        if let Err(error) = SharedMemory::unlink(self.0) {
            eprintln!("loans_in_a_segment: {error}");
        }
    }
}

/// Writes pictures, and looks after the viewers, which are its children.
fn camera() -> Result<(), Box<dyn Error>> {
    let memory = SharedMemory::new(LoanRing::<Picture>::size_for(CAPACITY, SEATS)?)?;
    let _name = Name(memory.name());
    // SAFETY: the segment is new, and only rings of this type are placed in it.
    let ring = unsafe { LoanRing::<Picture>::create(memory.region(), CAPACITY, SEATS)? };
    let seat = ring.claim_seat(identity(process::id()))?;

    let mut first = start("stop", memory.name())?;
    let mut says = BufReader::new(first.stdout.take().expect("a pipe"));
    for number in 0..(SEEN + HELD) as u32 {
        write(&seat, number, &mut first)?;
    }
    let mut line = String::new();
    says.read_line(&mut line)?;
    print!("{line}");
    first.kill()?;
    first.wait()?;

    let dead = identity(first.id());
    // SAFETY: the first viewer was waited for, so it never runs again, and its number is in no
    // other seat: the second viewer is not started yet.
    let freed = unsafe { ring.sweep(identity(process::id()), |owner| owner == dead)? };
    assert_eq!(freed, 1, "its seat");
    println!("it was killed; a sweep gave its pictures to others");

    let mut second = start("view", memory.name())?;
    for number in (SEEN + HELD) as u32..PICTURES {
        write(&seat, number, &mut second)?;
    }
    let mut says = BufReader::new(second.stdout.take().expect("a pipe"));
    line.clear();
    says.read_line(&mut line)?;
    let status = second.wait()?;
    assert!(status.success(), "the second viewer has ended: {status}");
    print!("{line}");
    let expected = PICTURES as usize - SEEN;
    assert_eq!(
        line,
        format!("{expected} pictures came, {HELD} of them again\n")
    );
    Ok(())
}

fn start(what: &str, name: &str) -> Result<Child, Box<dyn Error>> {
    let mut program = Command::new(env::current_exe()?);
    let program = program.args([what, name, &process::id().to_string()]);
    Ok(program.stdout(Stdio::piped()).spawn()?)
}

fn write(
    seat: &LoanSeat<'_, Picture>,
    number: u32,
    viewer: &mut Child,
) -> Result<(), Box<dyn Error>> {
    loop {
        match seat.loan() {
            Ok(mut picture) => {
                for line in picture.iter_mut() {
                    line[0] = number;
                }
                return Ok(picture.commit()?);
            }
            // The ring never waits; what to do meanwhile, and for how long, is the caller's choice.
            Err(ReserveError::Full) => {
                if let Some(status) = viewer.try_wait()? {
                    return Err(format!("the viewer has ended: {status}").into());
                }
                yield_now();
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The first viewer: releases some pictures, and has others when it is killed.
fn stop(name: &str, camera: u32) -> Result<(), Box<dyn Error>> {
    let memory = SharedMemory::open(name)?;
    // SAFETY: as in `camera`. The shape is checked: another type or a torn segment is an error.
    let ring = unsafe { LoanRing::<Picture>::attach(memory.region())? };
    let seat = ring.claim_seat(identity(process::id()))?;
    for _ in 0..SEEN {
        take(&seat, camera)?.release();
    }
    let mut held = Vec::new();
    for _ in 0..HELD {
        held.push(take(&seat, camera)?);
    }
    println!(
        "a viewer is done with {SEEN} pictures and has {}",
        held.len()
    );
    while parent_id() == camera {
        park_timeout(Duration::from_millis(100));
    }
    Err("the camera has ended".into())
}

/// The second viewer: looks at all that is left, in whatever order it comes.
fn view(name: &str, camera: u32) -> Result<(), Box<dyn Error>> {
    let memory = SharedMemory::open(name)?;
    // SAFETY: as in `stop`.
    let ring = unsafe { LoanRing::<Picture>::attach(memory.region())? };
    let seat = ring.claim_seat(identity(process::id()))?;
    let (mut came, mut again) = (HashMap::new(), 0);
    while came.len() < PICTURES as usize - SEEN {
        let picture = take(&seat, camera)?;
        let number = picture[0][0];
        assert!(
            picture.iter().all(|line| line[0] == number),
            "picture {number} is torn"
        );
        again += picture.redeliveries();
        *came.entry(number).or_insert(0) += 1;
        picture.release();
    }
    assert!(
        came.values().all(|times| *times == 1),
        "a picture came twice"
    );
    println!("{} pictures came, {again} of them again", came.len());
    Ok(())
}

fn take<'s>(
    seat: &'s LoanSeat<'_, Picture>,
    camera: u32,
) -> Result<Taken<'s, Picture>, Box<dyn Error>> {
    loop {
        match seat.take() {
            Ok(picture) => return Ok(picture),
            Err(PopError::Empty) if parent_id() != camera => {
                return Err("the camera has ended".into());
            }
            Err(PopError::Empty) => yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What a seat is claimed with. Only the parent of a process may take its number for proof: until
/// it has waited for it, no other process is given that number.
fn identity(process: u32) -> NonZeroU64 {
    NonZeroU64::new(u64::from(process)).expect("no process has number 0")
}
