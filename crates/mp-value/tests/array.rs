//! Arrays as a whole: construction, elements, the two locks, deaths, freezing, names, other
//! languages.

#[path = "shared/handles.rs"]
mod handles;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use handles::{kind, twin};
use mp_layout::ErrorKind;
use mp_sync::LockError;
use mp_testkit::{Forked, UniqueName};
use mp_value::{Array, FrozenArray};

#[test]
fn starts_from_a_length_a_slice_an_iterator_or_a_value() {
    assert_eq!(Array::<u16>::new(3).unwrap().to_vec().unwrap(), [0, 0, 0]);
    assert_eq!(
        Array::from_slice(&[1.5, 2.5]).unwrap().to_vec().unwrap(),
        [1.5, 2.5]
    );
    assert_eq!(
        Array::from_iter((1..4).map(|x| x * x))
            .unwrap()
            .to_vec()
            .unwrap(),
        [1, 4, 9]
    );
    assert_eq!(Array::filled(2, 'x').unwrap().to_vec().unwrap(), ['x', 'x']);
    assert!(!Array::<bool>::new(1).unwrap().get(0).unwrap());
}

#[test]
fn may_be_empty() {
    let empty = Array::<u64>::new(0).unwrap();
    assert!(empty.is_empty());
    assert_eq!(empty.to_vec().unwrap(), []);
    assert_eq!(empty.lock().unwrap().len(), 0);
    assert_eq!(empty.chunks(5).unwrap().count(), 0);
    assert!(empty.chunks(5).unwrap().claim_next().unwrap().is_none());
    assert_eq!(kind(empty.get(0)), ErrorKind::InvalidInput);
    assert_eq!(empty.freeze().unwrap().len(), 0);
}

#[test]
fn absurd_lengths_are_refused() {
    for len in [usize::MAX, usize::MAX / 8, isize::MAX as usize / 8] {
        assert_eq!(
            kind(Array::<u64>::new(len)),
            ErrorKind::InvalidInput,
            "{len}"
        );
    }
    assert_eq!(kind(Array::<u8>::new(usize::MAX)), ErrorKind::InvalidInput);
    assert_eq!(kind(Array::<()>::new(3)), ErrorKind::InvalidInput);
}

#[test]
fn lengths_beyond_memory_are_refused_with_both_figures() {
    let error = Array::<u64>::new(1 << 45).expect_err("256 TiB");
    assert_eq!(error.kind(), ErrorKind::NotEnoughMemory, "{error}");
    assert!(
        error
            .to_string()
            .contains("MiB left, 268500992 MiB were asked for"),
        "{error}"
    );
}

#[test]
fn clones_and_twins_are_the_same_array() {
    let array = Array::<i32>::new(4).unwrap();
    let (same, other) = (array.clone(), twin(&array));
    same.set(1, 7).unwrap();
    other.lock().unwrap()[2] = 8;
    assert_eq!(array.to_vec().unwrap(), [0, 7, 8, 0]);
}

#[test]
fn indices_are_checked() {
    let array = Array::<i32>::new(4).unwrap();
    let error = array.set(4, 1).expect_err("past the end");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("4 elements"), "{error}");
    assert_eq!(kind(array.get(usize::MAX)), ErrorKind::InvalidInput);
}

#[test]
fn ranges_are_copied_and_checked() {
    let array = Array::from_slice(&[true, false, true]).unwrap();
    assert_eq!(array.get_range(1..).unwrap(), [false, true]);
    assert_eq!(array.get_range(3..).unwrap(), [false; 0]);
    let error = array.get_range(2..4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("2..4") && error.to_string().contains("3 elements"),
        "{error}"
    );
}

#[test]
fn elements_that_are_no_value_are_corrupt() {
    let name = UniqueName::new("corrupt");
    let flags = Array::<bool>::create_named(&name, 2).unwrap();
    let mut path = std::fs::OpenOptions::new();
    let file = path.write(true).open(name.path()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[7], 4096).unwrap();
    Array::<bool>::unlink(&name).unwrap();
    assert_eq!(kind(flags.get(0)), ErrorKind::Corrupt);
    assert!(!flags.get(1).unwrap());
    assert_eq!(kind(flags.to_vec()), ErrorKind::Corrupt);
}

#[test]
fn elements_are_refused_under_the_threads_own_slice() {
    let array = Array::<i32>::new(4).unwrap();
    let mut slice = array.lock().unwrap();
    slice[0] = 1;
    assert_eq!(kind(array.get(0)), ErrorKind::Recursive);
    assert_eq!(kind(array.set(0, 2)), ErrorKind::Recursive);
    assert_eq!(kind(twin(&array).get(0)), ErrorKind::Recursive);
    assert_eq!(
        kind(array.chunks(2).unwrap().claim(0)),
        ErrorKind::Recursive
    );
    assert_eq!(kind(array.freeze()), ErrorKind::Recursive);
    assert!(matches!(array.lock(), Err(LockError::Recursive)));
    drop(slice);
    assert_eq!(array.get(0).unwrap(), 1);
}

#[test]
fn elements_are_reached_under_the_threads_own_bare_lock() {
    let array = Array::<i32>::new(4).unwrap();
    let lock = array.get_lock().unwrap();
    array.set(0, array.get(0).unwrap() + 1).unwrap();
    assert_eq!(array.to_vec().unwrap(), [1, 0, 0, 0]);
    assert!(matches!(array.lock(), Err(LockError::Recursive)));
    let others = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                array
                    .lock_timeout(Duration::from_millis(1))
                    .map(drop)
                    .unwrap_err()
                    .kind()
            })
            .join()
    });
    assert_eq!(
        others.unwrap(),
        ErrorKind::TimedOut,
        "the lock is held through all of it"
    );
    drop(lock);
    array.lock().unwrap()[1] = 5;
}

#[test]
fn the_bare_lock_excludes_other_processes() {
    let array = Array::<u64>::new(1).unwrap();
    let children: Vec<Forked> = (0..2)
        .map(|_| {
            Forked::holding(|| {
                for _ in 0..2000 {
                    let _lock = array.get_lock().unwrap();
                    array.set(0, array.get(0).unwrap() + 1).unwrap();
                }
            })
        })
        .collect();
    assert_eq!(array.get(0).unwrap(), 4000);
    drop(children);
}

#[test]
fn a_panic_releases_the_slice_and_marks_nothing() {
    let array = Array::<i32>::new(2).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut slice = array.lock().unwrap();
        slice[0] = 1;
        panic!("in the middle");
    }));
    assert!(panicked.is_err());
    assert_eq!(array.lock().unwrap()[..], [1, 0]);
}

#[test]
fn a_death_with_the_slice_is_told_until_somebody_recovers() {
    let array = Array::<u64>::new(100).unwrap();
    let victim = Forked::holding(|| {
        let mut slice = array.lock().unwrap();
        slice[..50].fill(7);
        slice
    });
    assert_eq!(
        array
            .lock_timeout(Duration::from_millis(1))
            .unwrap_err()
            .kind(),
        ErrorKind::TimedOut
    );
    victim.kill_and_reap();

    for _ in 0..2 {
        let Err(LockError::OwnerDied(slice)) = array.lock() else {
            panic!("the death was hidden")
        };
        assert_eq!((slice[49], slice[50]), (7, 0));
        assert!(slice.owner_died());
    }
    array.set(99, 3).unwrap();
    assert_eq!(array.get(0).unwrap(), 7, "single elements are whole");
    assert_eq!(
        kind(array.chunks(10).unwrap().claim(0)),
        ErrorKind::OwnerDied
    );
    assert_eq!(kind(array.freeze()), ErrorKind::OwnerDied);

    let mut slice = array.lock().or_else(LockError::into_guard).unwrap();
    slice.fill(1);
    slice.recover();
    assert!(!slice.owner_died());
    drop(slice);
    assert_eq!(array.lock().unwrap()[..], [1; 100]);
    assert!(
        array
            .chunks(10)
            .unwrap()
            .claim(0)
            .unwrap()
            .claimed()
            .is_some()
    );
}

#[test]
fn a_recoverers_death_is_told_as_well() {
    let array = Array::<u64>::new(4).unwrap();
    Forked::holding(|| array.lock().unwrap()).kill_and_reap();
    Forked::holding(|| array.lock().or_else(LockError::into_guard).unwrap()).kill_and_reap();
    assert_eq!(array.lock().unwrap_err().kind(), ErrorKind::OwnerDied);
}

#[test]
fn a_death_with_the_bare_lock_is_told() {
    let array = Array::<u64>::new(4).unwrap();
    Forked::holding(|| array.get_lock().unwrap()).kill_and_reap();
    assert_eq!(array.get(0).unwrap(), 0, "elements are whole");
    assert_eq!(array.lock().unwrap_err().kind(), ErrorKind::OwnerDied);
    let mut lock = array.get_lock().or_else(LockError::into_guard).unwrap();
    lock.recover().unwrap();
    drop(lock);
    drop(array.get_lock().unwrap());
    drop(array.lock().unwrap());
}

#[test]
fn elements_of_several_pieces_are_refused_after_a_death() {
    let array = Array::<[u32; 3]>::from_slice(&[[1; 3], [2; 3]]).unwrap();
    array.set(0, [4; 3]).unwrap();
    assert_eq!(array.get(0).unwrap(), [4; 3]);
    Forked::holding(|| array.lock().unwrap()).kill_and_reap();
    assert_eq!(kind(array.get(0)), ErrorKind::OwnerDied);
    assert_eq!(kind(array.set(0, [5; 3])), ErrorKind::OwnerDied);
    array
        .lock()
        .or_else(LockError::into_guard)
        .unwrap()
        .recover();
    assert_eq!(array.get(0).unwrap(), [4; 3]);
}

#[test]
fn a_leaked_slice_outlives_its_thread() {
    let array: &'static Array<u64> = Box::leak(Box::new(Array::new(4).unwrap()));
    let (send, receive) = mpsc::channel::<&'static mut [u64]>();
    let thread = std::thread::spawn(move || {
        let slice: &'static mut [u64] = &mut *Box::leak(Box::new(array.lock().unwrap()));
        send.send(slice).unwrap();
    });
    thread.join().unwrap();
    let slice = receive.recv().unwrap();
    // The kernel released the mutex with the thread; the slice is in use all the same.
    for refused in [
        kind(array.get(0)),
        array.lock().unwrap_err().kind(),
        array.get_lock().unwrap_err().kind(),
    ] {
        assert_eq!(refused, ErrorKind::Claimed);
    }
    assert_eq!(kind(array.chunks(1).unwrap().claim(0)), ErrorKind::Claimed);
    slice.fill(9);
    let error = array.get(0).unwrap_err().to_string();
    assert!(
        error.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
}

#[test]
fn a_slice_leaked_by_a_dead_process_is_told() {
    let array = Array::<u64>::new(4).unwrap();
    let victim = Forked::holding(|| {
        std::thread::scope(|scope| {
            scope
                .spawn(|| std::mem::forget(array.lock().unwrap()))
                .join()
                .unwrap();
        });
    });
    assert_eq!(
        array.lock().unwrap_err().kind(),
        ErrorKind::Claimed,
        "its process lives"
    );
    victim.kill_and_reap();
    assert_eq!(array.lock().unwrap_err().kind(), ErrorKind::OwnerDied);
}

#[test]
fn a_forked_childs_copy_of_the_guard_releases_nothing() {
    let array = Array::<u64>::new(4).unwrap();
    let slice = array.lock().unwrap();
    let mut slice = Some(slice);
    assert!(
        Forked::new(|| {
            drop(slice.take());
            array
                .lock_timeout(Duration::from_millis(1))
                .unwrap_err()
                .kind()
                == ErrorKind::TimedOut
        })
        .succeeds()
    );
    assert_eq!(
        kind(array.get(0)),
        ErrorKind::Recursive,
        "it is still lent to this thread"
    );
    drop(slice);
    drop(array.lock().unwrap());
}

#[test]
fn frozen_arrays_are_read_everywhere_and_written_nowhere() {
    let array = Array::from_slice(&[1_u8, 2, 3]).unwrap();
    let frozen = array.freeze().unwrap();
    assert_eq!(frozen[..], [1, 2, 3]);
    assert_eq!(twin(&frozen)[..], [1, 2, 3]);
    assert_eq!(kind(array.set(0, 1)), ErrorKind::InvalidState);
    assert_eq!(array.lock().unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(
        kind(array.chunks(1).unwrap().claim(0)),
        ErrorKind::InvalidState
    );
    assert_eq!(array.get(1).unwrap(), 2);
    assert_eq!(array.to_vec().unwrap(), [1, 2, 3]);
    assert_eq!(array.freeze().unwrap()[..], [1, 2, 3], "again");
    let read_only = Forked::new(|| frozen.iter().sum::<u8>() == 6 && array.set(0, 1).is_err());
    assert!(read_only.succeeds());
}

#[test]
fn named_arrays_are_opened_by_their_type() {
    let name = UniqueName::new("named");
    let array = Array::create_named_from(&name, &[1_i64, 2]).unwrap();
    assert_eq!(
        kind(Array::<i64>::create_named(&name, 2)),
        ErrorKind::AlreadyExists
    );
    let same = Array::<i64>::open(&name).unwrap();
    same.set(0, 9).unwrap();
    assert_eq!(array.get(0).unwrap(), 9);
    assert_eq!(kind(Array::<f64>::open(&name)), ErrorKind::WrongType);
    assert_eq!(
        kind(Array::<i64>::open_or_create(&name, 3)),
        ErrorKind::WrongSize
    );
    assert_eq!(
        Array::<i64>::open_or_create(&name, 2)
            .unwrap()
            .get(0)
            .unwrap(),
        9
    );
    assert_eq!(
        kind(FrozenArray::<i64>::open(&name)),
        ErrorKind::InvalidState
    );
    array.freeze().unwrap();
    assert_eq!(FrozenArray::<i64>::open(&name).unwrap()[..], [9, 2]);
    Array::<i64>::unlink(&name).unwrap();
    assert_eq!(kind(Array::<i64>::open(&name)), ErrorKind::NotFound);
}

/// Evaluates `line` in Python, with numpy if it is there, else with a stand-in of the same meaning.
fn python(line: &str, then: &str) -> String {
    let program = format!(
        r#"
try:
    import numpy
except ImportError:
    import mmap
    class numpy:
        def memmap(path, dtype, mode, offset, shape):
            letter = {{"<f8": "d", "<i4": "i"}}[dtype]
            with open(path, mode + "b") as file:
                whole = memoryview(mmap.mmap(file.fileno(), 0))
            return whole[offset:][: shape[0] * int(dtype[2])].cast(letter)
array = {line}
{then}
"#
    );
    let output = Command::new("python3")
        .args(["-c", &program])
        .output()
        .expect("python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn python_reads_and_writes_the_same_elements() {
    let array = Array::from_slice(&[0.5, 1.5, 2.5]).unwrap();
    let seen = python(
        &array.numpy_line(),
        "print([float(x) for x in array]); array[1] = 9.25",
    );
    assert_eq!(seen, "[0.5, 1.5, 2.5]");
    assert_eq!(array.to_vec().unwrap(), [0.5, 9.25, 2.5]);
}

#[test]
fn python_opens_named_and_long_arrays() {
    let name = UniqueName::new("python");
    let array = Array::<i32>::create_named(&name, 5000).unwrap();
    array.set(4999, -7).unwrap();
    let line = array.numpy_line();
    let seen = python(&line, "print(len(array), int(array[4999]))");
    Array::<i32>::unlink(&name).unwrap();
    assert_eq!(seen, "5000 -7");
    assert!(line.contains(&format!("{:?}", name.path())), "{line}");
}
