//! The newest value: what one thread sees of it, and what readers see of a writer at work. Miri
//! runs this, too.
#![cfg(not(loom))]

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use mp_layout::{ErrorKind, Plain, Region};
use mp_ring::{ANONYMOUS, Latest};

const fn id(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

fn memory<T: Plain>() -> Vec<u64> {
    vec![0; Latest::<T>::words_for().unwrap()]
}

fn region(memory: &mut [u64]) -> Region<'_> {
    let skipped = memory.as_ptr().align_offset(128);
    Region::from_exclusive(&mut memory[skipped..])
}

#[test]
fn reads_the_newest() {
    fn passes<T: Plain + PartialEq + std::fmt::Debug>(values: [T; 3]) {
        let mut memory = memory::<T>();
        let latest = Latest::new(&mut memory, values[0]).unwrap();
        assert_eq!(latest.read_versioned().unwrap(), (values[0], 0));
        let mut writer = latest.claim_writer(ANONYMOUS).unwrap();
        for (written, value) in (1..).zip(values.into_iter().cycle().take(10)) {
            writer.write(value);
            assert_eq!(latest.read().unwrap(), value);
            assert_eq!(latest.version(), written);
        }
    }
    passes([(), (), ()]);
    passes([true, false, true]);
    passes(['a', 'b', 'c']);
    passes([1.5_f64, 2.5, 3.5]);
    passes([[1_u8; 13], [2; 13], [3; 13]]);
    passes([[1_u64; 100], [2; 100], [3; 100]]);
}

#[test]
fn attaches_to_the_same_type_only() {
    let mut memory = memory::<u64>();
    let region = region(&mut memory);
    // SAFETY: the memory is this test's own, and a latest `u64` once there is one.
    let attach = || unsafe { Latest::<u64>::attach(region) };
    assert_eq!(attach().unwrap_err().kind(), ErrorKind::NotReady);
    // SAFETY: as above.
    unsafe { Latest::<u64>::create(region, 7) }.unwrap();
    assert_eq!(attach().unwrap().read().unwrap(), 7);
    // SAFETY: it is refused.
    let error = unsafe { Latest::<u32>::attach(region) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    let short = region.subregion(0, 256).unwrap();
    // SAFETY: it is refused.
    let error = unsafe { Latest::<u64>::create(short, 7) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
}

#[test]
fn bytes_that_are_no_value_are_an_error() {
    let mut memory = memory::<u8>();
    let region = region(&mut memory);
    // SAFETY: the memory is this test's own.
    let bytes = unsafe { Latest::create(region, 2_u8) }.unwrap();
    // SAFETY: what a careless program does; a `bool` has the size of a `u8`, and is checked.
    let bools = unsafe { Latest::<bool>::attach(region) }.unwrap();
    let error = bools.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("bool"), "{error}");
    assert_eq!(bytes.read().unwrap(), 2);
}

#[test]
fn next_writer_goes_on_after_a_sweep() {
    let mut memory = memory::<u64>();
    let latest = Latest::new(&mut memory, 0_u64).unwrap();
    let mut writer = latest.claim_writer(id(1)).unwrap();
    writer.write(5);
    std::mem::forget(writer);
    let error = latest.claim_writer(id(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Claimed);
    assert!(error.to_string().contains("0x1 "), "{error}");
    // SAFETY: 1 does nothing any more.
    assert!(!unsafe { latest.sweep(|owner| owner != id(1)) });
    assert_eq!(latest.writer(), Some(id(1)));
    // SAFETY: as above.
    assert!(unsafe { latest.sweep(|owner| owner == id(1)) });
    let mut writer = latest.claim_writer(id(2)).unwrap();
    writer.write(6);
    assert_eq!(latest.read_versioned().unwrap(), (6, 2));
    drop(writer);
    assert_eq!(latest.writer(), None);
}

/// A writer killed after the words of a value and before the version: half of it is in the copy
/// that the next one takes.
#[test]
fn half_a_value_is_never_seen() {
    let mut memory = memory::<[u64; 2]>();
    let region = region(&mut memory);
    // SAFETY: the memory is this test's own.
    let latest = unsafe { Latest::create(region, [0, !0]) }.unwrap();
    for number in 1..9 {
        let copy = 256 + (number as usize % 4) * 16;
        let word: &AtomicU64 = region.place(copy).unwrap();
        word.store(99, Ordering::Relaxed);
        assert_eq!(latest.read().unwrap(), [number - 1, !(number - 1)]);
        let mut writer = latest.claim_writer(ANONYMOUS).unwrap();
        writer.write([number, !number]);
        assert_eq!(latest.read().unwrap(), [number, !number]);
    }
}

/// Values that the writer writes without a pause.
const VALUES: u64 = if cfg!(miri) { 40 } else { 100_000 };

/// Values that each reader sees: the writer goes on until both have.
const SEEN: u64 = if cfg!(miri) { 4 } else { 100 };

#[test]
fn readers_see_whole_values_in_order() {
    let mut memory = memory::<[u64; 5]>();
    let value = |number: u64| [number, !number, number << 1, number ^ 7, number];
    let latest = Latest::new(&mut memory, value(0)).unwrap();
    let read = || {
        let (mut last, mut seen) = (0, 0);
        while seen < SEEN {
            let (found, version) = latest.read_versioned().unwrap();
            assert_eq!(found, value(version), "torn");
            assert!(last <= version, "{version} after {last}");
            seen += u64::from(last != version);
            last = version;
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(read));
        let mut writer = latest.claim_writer(ANONYMOUS).unwrap();
        for number in 1.. {
            writer.write(value(number));
            if number > VALUES {
                if readers.iter().all(|reader| reader.is_finished()) {
                    break;
                }
                // a writer that never pauses could keep them busy
                thread::yield_now();
            }
        }
    });
}
