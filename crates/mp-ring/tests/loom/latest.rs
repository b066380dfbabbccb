//! A writer of newest values and readers that it overtakes.

use std::num::NonZeroU64;

use mp_layout::Arena;
use mp_layout::model::thread;
use mp_ring::{ANONYMOUS, Latest};

use crate::{SIZE, explore};

fn latest() -> Latest<'static, [u64; 2]> {
    let arena: &'static Arena = Box::leak(Box::default());
    // SAFETY: the arena is fresh, and only this value is made in it.
    unsafe { Latest::create(arena.region(SIZE), [0, !0]) }.unwrap()
}

/// The fourth write goes to the copy of value 0, which the reader may just be reading.
#[test]
fn overtaken_reader_reads_again() {
    explore(|| {
        let latest = latest();
        let mut writer = latest.claim_writer(ANONYMOUS).unwrap();
        let writing = thread::spawn(move || {
            for number in 1..=4 {
                writer.write([number, !number]);
            }
        });
        let ([first, second], version) = latest.read_versioned().unwrap();
        assert_eq!((first, second), (version, !version));
        writing.join().unwrap();
        assert_eq!(latest.read().unwrap(), [4, !4]);
    });
}

fn id(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

/// The one that finds the other at work gives up.
#[test]
fn successor_counts_on_from_its_predecessors_version() {
    explore(|| {
        let latest = latest();
        let write = move |number| match latest.claim_writer(id(number)) {
            Ok(mut writer) => {
                writer.write([number, !number]);
                1
            }
            Err(_) => 0,
        };
        let first = thread::spawn(move || write(1));
        let written = write(2) + first.join().unwrap();
        assert!(written >= 1);
        assert_eq!((latest.version(), latest.writer()), (written, None));
        let [first, second] = latest.read().unwrap();
        assert!((1..=2).contains(&first) && second == !first);
    });
}

/// The dead writer's fourth value, of which a part is there, and its successor's go to the copy of
/// value 0, which the reader may just be reading.
#[test]
fn reader_sees_nothing_of_a_dead_writers_half() {
    explore(|| {
        let latest = latest();
        let mut writer = latest.claim_writer(id(1)).unwrap();
        let victim = thread::spawn(move || {
            for number in 1..=3 {
                writer.write([number, !number]);
            }
            writer.die_writing([9, 9]);
        });
        let successor = thread::spawn(move || {
            victim.join().unwrap();
            assert!(latest.claim_writer(id(2)).is_err());
            // SAFETY: the thread of the first writer has ended.
            assert!(unsafe { latest.sweep(|owner| owner == id(1)) });
            latest.claim_writer(id(2)).unwrap().write([4, !4]);
        });
        let ([first, second], version) = latest.read_versioned().unwrap();
        assert_eq!((first, second), (version, !version));
        successor.join().unwrap();
        assert_eq!(latest.read_versioned().unwrap(), ([4, !4], 4));
    });
}
