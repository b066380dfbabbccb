//! A ring in a named segment between two programs.
//!
//! `cargo run --release -p mp-ring --example ring_in_a_segment`
//!
//! The first program makes the segment and produces. The second one is this program started again
//! with the segment's name; any other program that knows the name and the type of the values would
//! do.

use std::env;
use std::error::Error;
use std::num::NonZeroU64;
use std::process::{self, Command};
use std::thread::yield_now;

use mp_ring::{PopError, PushError, Ring};
use mp_shm::SharedMemory;

const CAPACITY: usize = 1024;
const COUNT: u64 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1) {
        None => produce(),
        Some(name) => consume(&name),
    }
}

fn produce() -> Result<(), Box<dyn Error>> {
    let memory = SharedMemory::new(Ring::<u64>::size_for(CAPACITY)?)?;
    // SAFETY: the segment is new, and only rings of this type are placed in it.
    let ring = unsafe { Ring::<u64>::create(memory.region(), CAPACITY)? };
    let mut producer = ring.claim_producer(this_process())?;

    let mut second = Command::new(env::current_exe()?)
        .arg(memory.name())
        .spawn()?;
    for value in 1..=COUNT {
        while let Err(PushError::Full(_)) = producer.push(value) {
            // The ring never waits; what to do meanwhile, and for how long, is the caller's choice.
            if let Some(status) = second.try_wait()? {
                return Err(format!("the consumer has ended: {status}").into());
            }
            yield_now();
        }
    }
    let status = second.wait()?;
    SharedMemory::unlink(memory.name())?;
    assert!(status.success(), "the consumer has ended: {status}");
    Ok(())
}

fn consume(name: &str) -> Result<(), Box<dyn Error>> {
    let memory = SharedMemory::open(name)?;
    // SAFETY: as in `produce`. The header is checked: another type or a torn segment is an error.
    let ring = unsafe { Ring::<u64>::attach(memory.region())? };
    let mut consumer = ring.claim_consumer(this_process())?;

    let (mut next, mut sum) = (1, 0);
    while next <= COUNT {
        match consumer.pop() {
            Ok(value) => {
                assert_eq!(value, next, "in order, none lost");
                sum += value;
                next += 1;
            }
            Err(PopError::Empty) => yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    println!("{COUNT} values came from another program; their sum is {sum}");
    assert_eq!(sum, COUNT * (COUNT + 1) / 2);
    Ok(())
}

/// What a role is claimed with. A supervisor that finds this process dead frees its role by
/// `Ring::sweep`.
fn this_process() -> NonZeroU64 {
    NonZeroU64::new(u64::from(process::id())).expect("no process has number 0")
}
