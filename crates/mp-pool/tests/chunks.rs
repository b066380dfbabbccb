//! Chunks of a shared array that workers write in place: `for_each`.

use std::ops::Range;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_pool::Pool;
use mp_testkit::Watchdog;
use mp_value::{Array, Chunk, Claim, NdArray, RawArray};

/// More than any wait in a test needs.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn each_chunk_is_given_once() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let array = Array::<u64>::new(2999).unwrap();
    for round in 1..=2 {
        let add = |mut chunk: Chunk<u64>| chunk.iter_mut().for_each(|one| *one += 1);
        pool.for_each(array.chunks(3).unwrap(), add).unwrap();
        assert!(array.lock().unwrap().iter().all(|one| *one == round));
    }
}

#[test]
fn a_dead_workers_chunk_fails_and_is_marked_and_the_others_are_whole() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let array = Array::<u8>::new(100).unwrap();
    let fill = |mut chunk: Chunk<u8>| {
        chunk[0] = 7;
        if chunk.index() == 3 && chunk.abandoned_by().is_none() {
            std::process::abort();
        }
        chunk.fill(7);
    };
    let chunks = array.chunks(10).unwrap();
    let each = pool.try_for_each(chunks.clone(), fill);
    assert_eq!(each.len(), 10);
    for (index, one) in each.iter().enumerate() {
        assert_eq!(one.is_err(), index == 3, "chunk {index}: {one:?}");
    }
    let error = each[3].as_ref().unwrap_err();
    let pid = error.death().unwrap().pid();
    assert_eq!(chunks.owner(3).unwrap().pid(), pid);
    // Again, which tells the task of the death.
    pool.for_each(chunks.clone(), fill).unwrap();
    assert_eq!(*array.lock().unwrap(), [7; 100]);
    assert!(chunks.sweep().unwrap().is_empty());
}

#[test]
fn a_chunk_that_another_process_has_is_an_error_of_its_task() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let array = Array::<u8>::new(30).unwrap();
    let chunks = array.chunks(10).unwrap();
    let Claim::Claimed(mine) = chunks.claim(1).unwrap() else {
        panic!("no other process is here")
    };
    let each = pool.try_for_each(chunks, |mut chunk| chunk.fill(1));
    assert!(each[0].is_ok() && each[2].is_ok(), "{each:?}");
    let error = each[1].as_ref().unwrap_err();
    assert_eq!(
        (error.index(), error.kind()),
        (1, ErrorKind::Claimed),
        "{error}"
    );
    let pid = std::process::id().to_string();
    assert!(error.to_string().contains(&pid), "{error}");
    drop(mine);
    let array = array.lock().unwrap();
    assert_eq!((array[0], array[10], array[29]), (1, 0, 1));
}

#[test]
fn ten_thousand_chunks_of_a_large_array_are_each_given_once() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let array = Array::<u8>::new(10_000 * 4096).unwrap();
    let chunks = array.chunks(4096).unwrap();
    assert_eq!(chunks.count(), 10_000);
    pool.for_each(chunks, |mut chunk| {
        chunk[0] += 1;
        chunk[4095] += 1;
    })
    .unwrap();
    let array = array.lock().unwrap();
    let is_given_once = |chunk: &[u8]| (chunk[0], chunk[1], chunk[4095]) == (1, 0, 1);
    assert!(array.chunks(4096).all(is_given_once));
}

#[test]
fn blocks_of_rows_are_written_in_place() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let image = NdArray::<u32>::zeros(&[7, 5]).unwrap();
    let number = |mut rows: Chunk<u32>| {
        let first = rows.range().start as u32;
        rows.iter_mut().zip(first..).for_each(|(one, n)| *one = n);
    };
    pool.for_each(image.blocks(2).unwrap(), number).unwrap();
    assert_eq!(image.get(&[6, 4]).unwrap(), 34);
    assert!(image.flat().lock().unwrap().iter().copied().eq(0..35));
}

#[test]
fn ranges_of_a_raw_array_are_written_in_place() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let squares = RawArray::<u64>::new(95).unwrap();
    let ranges = (0..95).step_by(10).map(|start| start..95.min(start + 10));
    let square = |squares: &RawArray<u64>, range: Range<usize>| {
        range.for_each(|n| squares.set(n, (n * n) as u64));
    };
    pool.map_with(squares.clone(), square, ranges).unwrap();
    assert!(squares.iter().eq((0..95).map(|n| n * n)));
}
