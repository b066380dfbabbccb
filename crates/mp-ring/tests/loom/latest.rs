//! A writer of newest values and readers that it overtakes.

use loom::thread;
use mp_layout::Arena;
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
