//! A model of a value's two copies, explored by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p mp-value --release --test loom`
//!
//! Nobody dies here; what is checked are the orderings, and that a reader who is overtaken too
//! often keeps the writers out.
#![cfg(loom)]

#[path = "../src/value_control.rs"]
#[expect(dead_code, reason = "guards are not modelled")]
mod value_control;

use mp_layout::Place;
use mp_layout::model::sync::Arc;
use mp_layout::model::sync::atomic::{AtomicU64, Ordering};
use mp_layout::model::{self, thread};
use mp_os::clock::Deadline;
use value_control::ValueControl;

/// Explores with at most three involuntary switches, where almost all bugs show.
fn model(run: impl Fn() + Sync + Send + 'static) {
    model::explore(3, run);
}

/// A value of two words.
struct Value {
    control: ValueControl,
    copies: [[AtomicU64; 2]; 2],
}

impl Value {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            control: ValueControl::zeroed(),
            copies: [(); 2].map(|()| [(); 2].map(|()| AtomicU64::new(0))),
        })
    }

    fn get(&self) -> [u64; 2] {
        self.control
            .read(|copy| [0, 1].map(|word| self.copies[copy][word].load(Ordering::Relaxed)))
    }

    /// Replaces the value by one of which both words are greater by one.
    fn add(&self) {
        let held = self.control.enter(Deadline::NEVER).unwrap();
        let new = self.get()[0] + 1;
        self.control.commit(|copy| {
            for word in &self.copies[copy] {
                word.store(new, Ordering::Relaxed);
            }
        });
        drop(held);
    }
}

/// A reader of a value that `write` changes twice: the second change overwrites the copy that a
/// reader from before the first one is about to read.
///
/// The reader is the thread that is spawned, which loom runs last at first: of several loads before
/// a store it remembers the last, the writer's own, and would not try the other orders.
fn readers_see_whole_values(write: fn(&Value)) {
    model(move || {
        let value = Value::new();
        let reader = {
            let value = Arc::clone(&value);
            thread::spawn(move || {
                let first = value.get();
                let second = value.get();
                assert_eq!((first[0], second[0]), (first[1], second[1]), "torn");
                assert!(first[0] <= second[0], "values do not go back");
            })
        };
        write(&value);
        reader.join().unwrap();
        assert_eq!(value.get(), [2; 2]);
    });
}

#[test]
fn a_reader_never_sees_half_of_a_change() {
    readers_see_whole_values(|value| (0..2).for_each(|_| value.add()));
}

/// Here no acquisition of the mutex, which has a fence of its own, lies between the two.
#[test]
fn a_reader_never_sees_half_of_a_change_under_the_bare_lock() {
    readers_see_whole_values(|value| {
        let lock = value.control.acquire(Deadline::NEVER).ok().unwrap();
        (0..2).for_each(|_| value.add());
        drop(lock);
    });
}

#[test]
fn writers_exclude_each_other() {
    model(|| {
        let value = Value::new();
        let writer = {
            let value = Arc::clone(&value);
            thread::spawn(move || value.add())
        };
        value.add();
        writer.join().unwrap();
        assert_eq!(value.get(), [2; 2], "a change was lost");
    });
}
