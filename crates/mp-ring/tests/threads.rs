//! Two threads at a ring: what one pushes, the other pops, in order and whole. Miri runs this with many seeds.
#![cfg(not(loom))]

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

use mp_ring::{ByteRing, PopError, Ring};

const VALUES: u64 = if cfg!(miri) { 60 } else { 200_000 };

/// Lets the other side run. A minute is more than any of these tests takes.
fn idle(since: Instant) {
    assert!(
        since.elapsed() < Duration::from_secs(60),
        "the other side is gone"
    );
    if cfg!(miri) {
        thread::yield_now();
    } else {
        spin_loop();
    }
}

#[test]
fn values_pass_one_by_one() {
    let mut memory = vec![0; Ring::<[u64; 3]>::words_for(5).unwrap()];
    let (mut producer, mut consumer) = Ring::new(&mut memory, 5).unwrap().split().unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            for value in 0..VALUES {
                while producer.push([value, !value, value]).is_err() {
                    idle(start);
                }
            }
        });
        for value in 0..VALUES {
            let popped = loop {
                match consumer.pop() {
                    Ok(popped) => break popped,
                    Err(error) => assert_eq!(error, PopError::Empty),
                }
                idle(start);
            };
            assert_eq!(popped, [value, !value, value]);
        }
    });
}

#[test]
fn values_pass_in_slices_and_in_place() {
    let mut memory = vec![0; Ring::<u64>::words_for(7).unwrap()];
    let (mut producer, mut consumer) = Ring::new(&mut memory, 7).unwrap().split().unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = 0;
            while next < VALUES {
                let values: Vec<u64> = (next..VALUES.min(next + 3)).collect();
                next += producer.push_slice(&values).unwrap() as u64;
                let len = (VALUES - next).min(2) as usize;
                let Ok(mut grant) = producer.reserve(len) else {
                    idle(start);
                    continue;
                };
                let (one, two) = grant.slices();
                for slot in one.iter_mut().chain(two) {
                    *slot = next;
                    next += 1;
                }
                grant.commit_all();
            }
        });
        let mut next = 0;
        while next < VALUES {
            let mut values = [0; 3];
            let count = consumer.pop_slice(&mut values).unwrap();
            for value in &values[..count] {
                assert_eq!(*value, next);
                next += 1;
            }
            let Ok(chunk) = consumer.read_chunk(4) else {
                idle(start);
                continue;
            };
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
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = 0;
            while next < VALUES {
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
                idle(start);
            }
        });
        let mut next = 0;
        let mut bytes = Vec::new();
        while next < VALUES {
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
            idle(start);
        }
    });
    assert!(ring.is_empty());
}
