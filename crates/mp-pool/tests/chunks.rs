//! Chunks of a shared array that workers write in place: `for_each`.

use std::time::Duration;

use mp_layout::ErrorKind;
use mp_pool::Pool;
use mp_testkit::Watchdog;
use mp_value::{Array, Chunk, Claim};

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
