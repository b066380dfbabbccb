//! Two threads at a ring: what one pushes, the other pops, in order and whole. Miri runs this with
//! many seeds.
#![cfg(not(loom))]

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mp_ring::{ByteRing, PopError, Ring};

const VALUES: u64 = if cfg!(miri) { 60 } else { 200_000 };

/// Where a busy machine lets the two threads run in turn only, so many do.
const LEAST: u64 = 1000;

/// How long the producer goes on beyond that.
const LONG: Duration = Duration::from_secs(10);

/// How many values there are, which the producer says when it has ended.
struct Total {
    total: AtomicU64,
    start: Instant,
}

impl Total {
    fn new() -> Self {
        Self {
            total: AtomicU64::new(u64::MAX),
            start: Instant::now(),
        }
    }

    /// Whether the producer goes on after so many.
    fn is_more(&self, pushed: u64) -> bool {
        let is_more = pushed < VALUES && (pushed < LEAST || self.start.elapsed() < LONG);
        if !is_more {
            self.total.store(pushed, Ordering::Relaxed);
        }
        is_more
    }

    fn is_reached(&self, popped: u64) -> bool {
        self.total.load(Ordering::Relaxed) == popped
    }
}

/// One side's wait for the other.
#[derive(Default)]
struct Idle(Option<Instant>);

impl Idle {
    /// Lets the other side run. If it does nothing for a minute it is gone.
    fn turn(&mut self) {
        let waited = self.0.get_or_insert_with(Instant::now).elapsed();
        assert!(waited < Duration::from_secs(60), "the other side is gone");
        if cfg!(miri) || waited > Duration::from_micros(20) {
            thread::yield_now();
        } else {
            spin_loop();
        }
    }

    /// The other side has done something.
    fn end(&mut self) {
        self.0 = None;
    }
}

#[test]
fn values_pass_one_by_one() {
    let mut memory = vec![0; Ring::<[u64; 3]>::words_for(5).unwrap()];
    let (mut producer, mut consumer) = Ring::new(&mut memory, 5).unwrap().split().unwrap();
    let total = Total::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut value, mut idle) = (0, Idle::default());
            while total.is_more(value) {
                if producer.push([value, !value, value]).is_ok() {
                    value += 1;
                    idle.end();
                } else {
                    idle.turn();
                }
            }
        });
        let (mut value, mut idle) = (0, Idle::default());
        while !total.is_reached(value) {
            match consumer.pop() {
                Ok(popped) => {
                    assert_eq!(popped, [value, !value, value]);
                    value += 1;
                    idle.end();
                }
                Err(error) => {
                    assert_eq!(error, PopError::Empty);
                    idle.turn();
                }
            }
        }
    });
}

#[test]
fn values_pass_in_slices_and_in_place() {
    let mut memory = vec![0; Ring::<u64>::words_for(7).unwrap()];
    let (mut producer, mut consumer) = Ring::new(&mut memory, 7).unwrap().split().unwrap();
    let total = Total::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut next, mut idle) = (0, Idle::default());
            while total.is_more(next) {
                let values: Vec<u64> = (next..VALUES.min(next + 3)).collect();
                let pushed = producer.push_slice(&values).unwrap() as u64;
                next += pushed;
                if pushed > 0 {
                    idle.end();
                }
                let len = (VALUES - next).min(2) as usize;
                let Ok(mut grant) = producer.reserve(len) else {
                    idle.turn();
                    continue;
                };
                idle.end();
                let (one, two) = grant.slices();
                for slot in one.iter_mut().chain(two) {
                    *slot = next;
                    next += 1;
                }
                grant.commit_all();
            }
        });
        let (mut next, mut idle) = (0, Idle::default());
        while !total.is_reached(next) {
            let mut values = [0; 3];
            let count = consumer.pop_slice(&mut values).unwrap();
            for value in &values[..count] {
                assert_eq!(*value, next);
                next += 1;
                idle.end();
            }
            let Ok(chunk) = consumer.read_chunk(4) else {
                idle.turn();
                continue;
            };
            idle.end();
            let (one, two) = chunk.slices();
            for value in one.iter().chain(two) {
                assert_eq!(*value, next);
                next += 1;
            }
            chunk.release_all();
        }
    });
}

#[test]
fn records_pass_in_every_form() {
    let mut memory = vec![0; ByteRing::words_for(128).unwrap()];
    let ring = ByteRing::new(&mut memory, 128, Some(5)).unwrap();
    let (mut producer, mut consumer) = ring.split().unwrap();
    let record = |number: u64| vec![number as u8; (number % 50) as usize];
    let total = Total::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut next, mut idle) = (0, Idle::default());
            while total.is_more(next) {
                let before = next;
                let len = record(next).len();
                if next % 3 == 0 {
                    if let Ok(mut grant) = producer.reserve(len) {
                        grant.bytes().fill(next as u8);
                        grant.commit_all();
                        next += 1;
                    }
                } else {
                    let records: Vec<_> = (next..VALUES.min(next + 2)).map(record).collect();
                    next += producer.push_many(&records).unwrap_or(0) as u64;
                }
                if next > before {
                    idle.end();
                } else {
                    idle.turn();
                }
            }
        });
        let (mut next, mut idle) = (0, Idle::default());
        let mut bytes = Vec::new();
        while !total.is_reached(next) {
            let before = next;
            if next % 3 == 0 {
                if consumer.pop_into(&mut bytes).is_ok() {
                    assert_eq!(bytes, record(next));
                    next += 1;
                }
            } else {
                let mut records = consumer.records();
                while let Ok((_, bytes)) = records.next() {
                    assert_eq!(bytes, record(next));
                    next += 1;
                }
                records.release();
            }
            if next > before {
                idle.end();
            } else {
                idle.turn();
            }
        }
    });
    assert!(ring.is_empty());
}
