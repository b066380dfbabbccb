//! Claimed chunks: boundaries, exclusion, deaths.

#[path = "shared/handles.rs"]
mod handles;

use std::time::{Duration, Instant};

use handles::kind;
use mp_layout::ErrorKind;
use mp_object::{Lock, transfer};
use mp_sync::{Deadline, LockError};
use mp_testkit::{Forked, PATIENCE, Watchdog};
use mp_value::{Array, Chunk, Chunks, Claim, WithLock};

fn claimed(chunks: &Chunks<u64>, index: usize) -> Chunk<u64> {
    match chunks.claim(index).unwrap() {
        Claim::Claimed(chunk) => chunk,
        Claim::Taken(owner) => panic!("chunk {index} is taken by {owner}"),
    }
}

fn is_taken_by(chunks: &Chunks<u64>, index: usize, pid: u32) -> bool {
    matches!(chunks.claim(index).unwrap(), Claim::Taken(owner) if owner.pid() == pid)
}

#[test]
fn the_last_chunk_may_be_shorter() {
    let chunks = Array::<u64>::new(10).unwrap().chunks(4).unwrap();
    let ranges: Vec<_> = (0..4).map(|index| chunks.range(index)).collect();
    assert_eq!(
        (chunks.count(), ranges),
        (3, vec![0..4, 4..8, 8..10, 10..10])
    );
    assert_eq!(claimed(&chunks, 2).len(), 2);
    assert_eq!(kind(chunks.claim(3)), ErrorKind::InvalidInput);
    assert_eq!(kind(chunks.claim(usize::MAX)), ErrorKind::InvalidInput);
}

#[test]
fn a_large_array_has_a_chunk_for_each_4096_elements() {
    for (len, most) in [
        (10, 10),
        (5000, 4096),
        (4097 * 4096 - 1, 4096),
        (5000 * 4096, 5000),
    ] {
        let array = Array::<u8>::new(len).unwrap();
        let least = len.div_ceil(most);
        let chunks = array.chunks(least).unwrap();
        assert!(chunks.count() <= most, "{len}");
        let last = chunks.claim(chunks.count() - 1).unwrap().claimed();
        let mut last = last.expect("no other process is here");
        last.fill(7);
        let (at, from) = (last.len() - 1, last.range().start);
        drop(last);
        // As the next process that opens it finds it.
        assert_eq!(array.get(from + at).unwrap(), 7);
        if least > 1 {
            let error = array.chunks(least - 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let (possible, from) = (format!("{most} are possible"), format!("of {least} on"));
            let text = error.to_string();
            assert!(text.contains(&possible) && text.contains(&from), "{text}");
        }
    }
}

#[test]
fn timed_claims_name_who_has_the_array_locked() {
    const SHORT: Duration = Duration::from_millis(1);
    let array = Array::<u64>::new(10).unwrap();
    let chunks = array.chunks(4).unwrap();
    let holder = Forked::holding(|| array.lock().unwrap());
    let by = format!("process {}", holder.pid());
    for refused in [
        chunks.claim_timeout(0, SHORT).map(drop),
        chunks.claim_next_timeout(SHORT).map(drop),
        chunks.claim_from_timeout(1, SHORT).map(drop),
        chunks.sweep_timeout(SHORT).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains(&by), "{error}");
    }
    drop(holder);
    array
        .lock()
        .or_else(LockError::into_guard)
        .unwrap()
        .recover();
    const LONG: Duration = Duration::from_secs(60);
    assert!(chunks.claim_timeout(2, LONG).unwrap().claimed().is_some());
    assert_eq!(
        chunks.claim_from_timeout(1, LONG).unwrap().unwrap().index(),
        1
    );
    assert_eq!(kind(chunks.claim_timeout(3, LONG)), ErrorKind::InvalidInput);
    assert_eq!(chunks.sweep_timeout(LONG).unwrap(), []);
}

#[test]
fn one_chunk_may_be_the_whole_array() {
    let array = Array::<u64>::new(10).unwrap();
    for chunk_len in [10, 11, usize::MAX] {
        let chunks = array.chunks(chunk_len).unwrap();
        assert_eq!((chunks.count(), claimed(&chunks, 0).range()), (1, 0..10));
    }
}

#[test]
fn too_many_chunks_are_refused_with_the_way_out() {
    let array = Array::<u64>::new(100_000).unwrap();
    let error = array.chunks(24).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("from chunks of 25 on"),
        "{error}"
    );
    let chunks = array.chunks(25).unwrap();
    claimed(&chunks, chunks.count() - 1).fill(5);
    assert_eq!(array.get(99_999).unwrap(), 5);
    assert_eq!(kind(array.chunks(0)), ErrorKind::InvalidInput);
}

#[test]
fn a_chunk_is_claimed_once_also_within_a_process() {
    let array = Array::<u64>::new(10).unwrap();
    let chunks = array.chunks(5).unwrap();
    let mut first = claimed(&chunks, 0);
    let me = std::process::id();
    assert!(is_taken_by(&chunks, 0, me));
    assert!(is_taken_by(&chunks.clone(), 0, me));
    assert!(std::thread::scope(|s| s
        .spawn(|| is_taken_by(&chunks, 0, me))
        .join()
        .unwrap()));
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&array).unwrap());
    let twin: Array<u64> =
        transfer::incoming(descriptors, || postcard::from_bytes(&bytes).unwrap());
    assert!(is_taken_by(&twin.chunks(5).unwrap(), 0, me));
    first.fill(1);
    claimed(&chunks, 1).fill(2);
    drop(first);
    assert_eq!(array.to_vec().unwrap(), [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
}

#[test]
fn a_forgotten_chunk_stays_claimed() {
    let array = Array::<u64>::new(10).unwrap();
    let chunks = array.chunks(5).unwrap();
    std::mem::forget(claimed(&chunks, 0));
    assert!(is_taken_by(&chunks, 0, std::process::id()));
    assert!(chunks.sweep().unwrap().is_empty());
    assert_eq!(array.try_lock().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn chunks_of_another_length_are_refused_while_one_is_claimed() {
    let array = Array::<u64>::new(12).unwrap();
    let (fours, threes) = (array.chunks(4).unwrap(), array.chunks(3).unwrap());
    let chunk = claimed(&fours, 1);
    let error = threes.claim(3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Claimed);
    let text = error.to_string();
    let process = format!(
        "process {} has claimed chunk 1 (elements 4..8)",
        std::process::id()
    );
    assert!(
        text.contains("chunks of 3 elements") && text.contains(&process),
        "{text}"
    );
    drop(chunk);
    assert_eq!(claimed(&threes, 3).range(), 9..12);
}

#[test]
fn the_whole_array_and_chunks_exclude_each_other() {
    let array = Array::<u64>::new(12).unwrap();
    let chunk = claimed(&array.chunks(4).unwrap(), 2);
    for refused in [
        kind(array.try_get(0)),
        kind(array.try_set(0, 1)),
        kind(array.try_to_vec()),
        array.try_lock().unwrap_err().kind(),
    ] {
        assert_eq!(refused, ErrorKind::TimedOut);
    }
    let lock = array.get_lock().unwrap();
    assert_eq!(
        kind(array.get(0)),
        ErrorKind::Claimed,
        "a bare lock changes nothing"
    );
    drop(chunk);
    assert_eq!(array.get(0).unwrap(), 0, "giving back needs no lock");
    drop(lock);
    drop(array.lock().unwrap());
}

#[test]
fn chunks_are_claimed_under_the_threads_own_bare_lock() {
    let array = Array::<u64>::new(12).unwrap();
    let chunks = array.chunks(4).unwrap();
    let lock = array.get_lock().unwrap();
    let chunk = claimed(&chunks, 0);
    drop(lock);
    assert_eq!(kind(array.try_get(11)), ErrorKind::TimedOut);
    drop(chunk);
}

type Access = fn(&Array<u64>);

/// Every access to the whole, in the form that waits.
fn wholes() -> [(&'static str, Access); 5] {
    [
        ("get", |array| assert_eq!(array.get(0).unwrap(), 1)),
        ("set", |array| array.set(0, 1).unwrap()),
        ("to_vec", |array| drop(array.to_vec().unwrap())),
        ("lock", |array| drop(array.lock().unwrap())),
        ("freeze", |array| drop(array.freeze().unwrap())),
    ]
}

#[test]
fn who_wants_the_whole_waits_until_chunks_are_given_back() {
    let _watchdog = Watchdog::new(PATIENCE);
    for (name, reach) in wholes() {
        let array = Array::<u64>::new(12).unwrap();
        let chunks = array.chunks(4).unwrap();
        let (mut first, mut last) = (claimed(&chunks, 0), claimed(&chunks, 2));
        let (reached, is_reached) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let array = &array;
            scope.spawn(move || {
                reach(array);
                reached.send(()).unwrap();
            });
            first.fill(1);
            drop(first);
            last.fill(2);
            assert!(is_reached.try_recv().is_err(), "{name} did not wait");
            drop(last);
            is_reached.recv().unwrap();
        });
        let (first, last) = (array.get(1).unwrap(), array.get(11).unwrap());
        assert_eq!((first, last), (1, 2), "{name}");
    }
}

#[test]
fn a_timeout_names_the_process_that_has_a_chunk() {
    const SHORT: Duration = Duration::from_millis(1);
    let array = Array::<u64>::new(12).unwrap();
    let child = Forked::holding(|| claimed(&array.chunks(4).unwrap(), 1));
    for refused in [array.try_lock(), array.lock_timeout(SHORT)] {
        match refused {
            Err(LockError::Timeout(holder)) => assert_eq!(holder.pid(), Some(child.pid())),
            other => panic!("{other:?}"),
        }
    }
    let by = format!("timed out; held by process {}", child.pid());
    for refused in [
        array.try_get(0).map(drop),
        array.get_timeout(0, SHORT).map(drop),
        array.try_set(0, 1),
        array.set_timeout(0, 1, Instant::now() + SHORT),
        array.try_to_vec().map(drop),
        array.to_vec_timeout(Deadline::after(SHORT)).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains(&by), "{error}");
    }
    let locked = array.try_get_lock().expect("the lock itself is free");
    assert_eq!(kind(array.get(0)), ErrorKind::Claimed, "it cannot wait");
    drop(locked);
    child.kill_and_reap();
}

#[test]
fn who_waits_for_the_whole_learns_that_the_chunks_owner_died() {
    let _watchdog = Watchdog::new(PATIENCE);
    let array = Array::<u64>::new(12).unwrap();
    let child = Forked::holding(|| claimed(&array.chunks(4).unwrap(), 1));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| array.lock().map(drop).map_err(|error| error.kind()));
        child.kill_and_reap();
        assert_eq!(waiter.join().unwrap(), Err(ErrorKind::OwnerDied));
    });
    // What died before the attempt is no reason to wait at all.
    assert_eq!(array.try_lock().unwrap_err().kind(), ErrorKind::OwnerDied);
}

/// A process that has a chunk and needs the lock to go on must get it while another waits for the
/// whole.
#[test]
fn who_waits_for_the_whole_keeps_no_lock() {
    let _watchdog = Watchdog::new(PATIENCE);
    let lock = Lock::new().unwrap();
    let array = Array::<u64>::new(12).unwrap().with_lock(&lock);
    let chunks = array.unlocked().chunks(4).unwrap();
    let (reached, is_reached) = std::sync::mpsc::channel();
    let chunk = claimed(&chunks, 0);
    std::thread::scope(|scope| {
        for reach in [
            |array: &WithLock<Array<u64>>| drop(array.to_vec().unwrap()),
            |array: &WithLock<Array<u64>>| array.set(0, 1).unwrap(),
            |array: &WithLock<Array<u64>>| drop(array.lock().unwrap()),
        ] {
            let (array, reached) = (array.clone(), reached.clone());
            scope.spawn(move || {
                reach(&array);
                reached.send(()).unwrap();
            });
        }
        for index in [1, 2, 1, 2] {
            drop(lock.lock().unwrap());
            drop(claimed(&chunks, index));
        }
        assert!(is_reached.try_recv().is_err(), "it did not wait");
        assert_eq!(kind(array.try_get(0)), ErrorKind::TimedOut);
        let held = lock.lock().unwrap();
        assert_eq!(kind(array.get(0)), ErrorKind::Claimed, "it cannot wait");
        drop((held, chunk));
        (0..3).for_each(|_| is_reached.recv().unwrap());
    });
}

#[test]
fn the_owner_of_a_chunk_is_told_dead_or_alive() {
    let array = Array::<u64>::new(12).unwrap();
    let chunks = array.chunks(4).unwrap();
    let owner = |chunks: &Chunks<u64>, index| chunks.owner(index).map(|owner| owner.pid());
    let child = Forked::holding(|| claimed(&chunks, 1));
    let pid = Some(child.pid());
    assert_eq!(
        [0, 1, 2, 3].map(|index| owner(&chunks, index)),
        [None, pid, None, None]
    );
    assert_eq!(
        owner(&array.chunks(3).unwrap(), 1),
        None,
        "those are counted in another length"
    );
    child.kill_and_reap();
    assert_eq!(owner(&chunks, 1), pid);
    drop(claimed(&chunks, 1));
    assert_eq!(owner(&chunks, 1), None);
}

#[test]
fn claim_next_takes_the_first_that_nobody_has() {
    let chunks = Array::<u64>::new(12).unwrap().chunks(4).unwrap();
    let second = claimed(&chunks, 1);
    let others: Vec<_> = std::iter::from_fn(|| chunks.claim_next().unwrap()).collect();
    assert_eq!(others.iter().map(Chunk::index).collect::<Vec<_>>(), [0, 2]);
    drop(second);
    assert!(chunks.claim_from(2).unwrap().is_none());
    assert_eq!(chunks.claim_from(1).unwrap().unwrap().index(), 1);
}

#[test]
fn a_chunk_outlives_the_handles_and_moves_to_a_thread() {
    let array = Array::<u64>::new(4).unwrap();
    let mut chunk = claimed(&array.chunks(4).unwrap(), 0);
    let other = array.clone();
    drop(array);
    let written = std::thread::spawn(move || {
        chunk.fill(3);
        chunk.iter().sum::<u64>()
    });
    assert_eq!(written.join().unwrap(), 12);
    assert_eq!(other.to_vec().unwrap(), [3; 4]);
}

#[test]
fn two_processes_write_side_by_side() {
    let array = Array::<u64>::new(10).unwrap();
    let chunks = array.chunks(5).unwrap();
    let mut mine = claimed(&chunks, 0);
    let child = Forked::holding(|| {
        let mut theirs = claimed(&chunks, 1);
        theirs.fill(2);
        theirs
    });
    mine.fill(1);
    assert!(is_taken_by(&chunks, 1, child.pid()));
    drop(mine);
    let error = array.try_get(0).unwrap_err().to_string();
    assert!(
        error.contains(&format!("process {}", child.pid())),
        "{error}"
    );
    child.kill_and_reap();
    assert_eq!(array.to_vec().unwrap(), [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
}

#[test]
fn a_dead_processes_chunk_is_taken_over_and_its_owner_named() {
    let array = Array::<u64>::new(12).unwrap();
    let chunks = array.chunks(4).unwrap();
    let child = Forked::holding(|| {
        let mut chunk = claimed(&chunks, 1);
        chunk[0] = 9;
        chunk
    });
    let pid = child.pid();
    assert!(chunks.sweep().unwrap().is_empty(), "its owner lives");
    child.kill_and_reap();
    let chunk = claimed(&chunks, 1);
    assert_eq!(chunk.abandoned_by().map(|dead| dead.pid()), Some(pid));
    assert_eq!(chunk[..], [9, 0, 0, 0]);
    drop(chunk);
    assert!(claimed(&chunks, 1).abandoned_by().is_none(), "told once");
    assert!(claimed(&chunks, 0).abandoned_by().is_none());
}

#[test]
fn a_sweep_names_what_the_dead_had() {
    let array = Array::<u64>::new(40).unwrap();
    let chunks = array.chunks(10).unwrap();
    let mine = claimed(&chunks, 0);
    let child = Forked::holding(|| (claimed(&chunks, 1), claimed(&chunks, 3)));
    let pid = child.pid();
    child.kill_and_reap();
    let swept = chunks.sweep().unwrap();
    let named: Vec<_> = swept
        .iter()
        .map(|(index, dead)| (*index, dead.pid()))
        .collect();
    assert_eq!(named, [(1, pid), (3, pid)]);
    assert!(chunks.sweep().unwrap().is_empty(), "told once");
    assert!(
        is_taken_by(&chunks, 0, std::process::id()),
        "the living keep theirs"
    );
    drop(mine);
    assert!(array.lock().is_ok(), "whoever swept was told");
}

#[test]
fn a_successors_death_is_told_as_well() {
    let chunks = Array::<u64>::new(4).unwrap().chunks(2).unwrap();
    Forked::holding(|| claimed(&chunks, 0)).kill_and_reap();
    let second = Forked::holding(|| claimed(&chunks, 0));
    let pid = second.pid();
    second.kill_and_reap();
    assert_eq!(
        claimed(&chunks, 0).abandoned_by().map(|dead| dead.pid()),
        Some(pid)
    );
}

#[test]
fn a_dead_processes_chunk_is_told_to_who_wants_the_whole() {
    let array = Array::<u64>::new(12).unwrap();
    let chunks = array.chunks(4).unwrap();
    Forked::holding(|| claimed(&chunks, 2)).kill_and_reap();
    assert_eq!(array.get(0).unwrap(), 0, "single elements are whole");
    assert_eq!(kind(array.freeze()), ErrorKind::OwnerDied);
    let mut slice = match array.lock() {
        Err(LockError::OwnerDied(slice)) => slice,
        other => panic!("{other:?}"),
    };
    slice.recover();
    drop(slice);
    assert!(claimed(&chunks, 2).abandoned_by().is_none());
    assert!(array.lock().is_ok());
}

#[test]
fn dead_claims_are_carried_over_to_chunks_of_another_length() {
    let array = Array::<u64>::new(100).unwrap();
    let tens = array.chunks(10).unwrap();
    let child = Forked::holding(|| (claimed(&tens, 0), claimed(&tens, 5)));
    let pid = child.pid();
    child.kill_and_reap();
    let thirties = array.chunks(30).unwrap();
    let abandoned = |index| {
        claimed(&thirties, index)
            .abandoned_by()
            .map(|dead| dead.pid())
    };
    assert_eq!(
        [0, 1, 2, 3].map(abandoned),
        [Some(pid), Some(pid), None, None]
    );

    Forked::holding(|| claimed(&thirties, 3)).kill_and_reap();
    let fives = array.chunks(5).unwrap();
    let swept: Vec<_> = fives
        .sweep()
        .unwrap()
        .iter()
        .map(|(index, _)| *index)
        .collect();
    assert_eq!(swept, [18, 19]);
}

#[test]
fn a_forked_childs_copy_of_a_chunk_gives_nothing_back() {
    let array = Array::<u64>::new(4).unwrap();
    let chunks = array.chunks(2).unwrap();
    let mut chunk = Some(claimed(&chunks, 0));
    let me = std::process::id();
    assert!(
        Forked::new(|| {
            drop(chunk.take());
            is_taken_by(&chunks, 0, me)
        })
        .succeeds()
    );
    assert!(is_taken_by(&chunks, 0, me));
}
