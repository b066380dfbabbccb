//! Arrays of any number of axes: in memory, under names, in files.

#[path = "shared/handles.rs"]
mod handles;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use handles::{kind, twin};
use mp_layout::{Complex, ErrorKind, Plain};
use mp_object::ObjectType;
use mp_sync::LockError;
use mp_testkit::{Argument, Forked, PATIENCE, UniqueName, Watchdog, leave_descriptors, refuse};
use mp_value::{Array, Claim, FrozenNdArray, NdArray, NdReader};

/// Kept by a test that forks, or that must have the only handle: a child forked by another test has
/// a copy of each.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path of this test alone, removed at the end.
struct TempFile(PathBuf);

impl TempFile {
    fn new(what: &str) -> Self {
        let name = format!("mp-nd-{what}-{}.npy", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// A file with these bytes.
    fn with(what: &str, bytes: &[u8]) -> Self {
        let file = Self::new(what);
        std::fs::write(&file.0, bytes).unwrap();
        file
    }
}

impl AsRef<Path> for TempFile {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// An `.npy` file of version 1.0 with this header and these elements.
fn npy(text: &str, elements: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let size = (10 + text.len() + 1).next_multiple_of(64) - 10;
    bytes.extend((size as u16).to_le_bytes());
    bytes.extend(format!("{text:<0$}\n", size - 1).as_bytes());
    bytes.extend(elements);
    bytes
}

#[test]
fn elements_have_their_places_in_c_order() {
    let grid = NdArray::from_slice(&[2, 3], &[0_u16, 1, 2, 3, 4, 5]).unwrap();
    assert_eq!(
        (grid.ndim(), grid.len(), grid.strides()),
        (2, 6, vec![3, 1])
    );
    assert_eq!(grid.get(&[1, 2]).unwrap(), 5);
    grid.set(&[0, 1], 9).unwrap();
    assert_eq!(grid.flat().to_vec().unwrap(), [0, 9, 2, 3, 4, 5]);
    for index in [&[2, 0][..], &[0, 3], &[0], &[0, 0, 0], &[]] {
        let error = grid.get(index).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("(2, 3)"), "{error}");
    }
    assert!(!grid.is_empty() && !grid.is_fortran_order());
}

#[test]
fn every_type_of_numpys_is_held() {
    fn round_trip<T: Plain + PartialEq + std::fmt::Debug>(dtype: &str, value: T) {
        let array = NdArray::from_slice(&[1, 2], &[value, value]).unwrap();
        assert_eq!(twin(&array).get(&[0, 1]).unwrap(), value, "{dtype}");
        assert!(format!("{array:?}").contains(dtype), "{array:?}");
    }
    round_trip("'<f4'", 0.5_f32);
    round_trip("'<f8'", 0.5_f64);
    round_trip("'|i1'", -1_i8);
    round_trip("'<i2'", -1_i16);
    round_trip("'<i4'", -1_i32);
    round_trip("'<i8'", -1_i64);
    round_trip("'|u1'", 1_u8);
    round_trip("'<u2'", 1_u16);
    round_trip("'<u4'", 1_u32);
    round_trip("'<u8'", 1_u64);
    round_trip("'|b1'", true);
    round_trip("'<c8'", Complex::new(1.0_f32, -1.0));
    round_trip("'<c16'", Complex::new(1.0_f64, -1.0));
}

#[test]
fn shapes_without_axes_or_elements_are_arrays() {
    let single = NdArray::<f64>::zeros(&[]).unwrap();
    single.set(&[], 2.0).unwrap();
    assert_eq!((single.len(), single.get(&[]).unwrap()), (1, 2.0));
    assert_eq!(kind(single.blocks(1)), ErrorKind::InvalidInput);
    let empty = NdArray::<f64>::zeros(&[3, 0]).unwrap();
    assert!(empty.is_empty());
    assert_eq!(kind(empty.get(&[0, 0])), ErrorKind::InvalidInput);
    assert_eq!(kind(empty.blocks(1)), ErrorKind::InvalidInput);
}

#[test]
fn absurd_shapes_are_refused() {
    for shape in [
        &[usize::MAX, 2][..],
        &[1 << 62],
        &[1 << 40, 1 << 40],
        &[1; 65],
    ] {
        let refused = kind(NdArray::<f64>::zeros(shape));
        let is_known = matches!(
            refused,
            ErrorKind::InvalidInput | ErrorKind::NotEnoughMemory
        );
        assert!(is_known, "{shape:?}: {refused:?}");
    }
    let error = NdArray::from_slice(&[2, 2], &[1_u8; 3]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
    assert!(error.to_string().contains("3 elements"), "{error}");
}

#[test]
fn blocks_are_written_side_by_side() {
    let _alone = alone();
    let _watchdog = Watchdog::new(PATIENCE);
    let grid = NdArray::<u32>::zeros(&[5, 3, 2]).unwrap();
    let pairs = grid.blocks(2).unwrap();
    assert_eq!((pairs.count(), pairs.range(2)), (3, 24..30));
    let mut mine = pairs.claim(0).unwrap().claimed().unwrap();
    let child = Forked::new(|| {
        let twin = twin(&grid);
        let pairs = twin.blocks(2).unwrap();
        assert!(matches!(pairs.claim(0).unwrap(), Claim::Taken(_)));
        pairs.claim(2).unwrap().claimed().unwrap().fill(3);
        true
    });
    mine.fill(1);
    assert!(child.succeeds());
    drop(mine);
    assert_eq!(
        (grid.get(&[1, 2, 1]).unwrap(), grid.get(&[4, 0, 0]).unwrap()),
        (1, 3)
    );
    assert_eq!(kind(grid.blocks(0)), ErrorKind::InvalidInput);
    assert_eq!(grid.blocks(usize::MAX).unwrap().count(), 1);
}

#[test]
fn a_death_with_a_block_or_the_whole_is_told() {
    let _alone = alone();
    let _watchdog = Watchdog::new(PATIENCE);
    let grid = NdArray::<u32>::zeros(&[4, 2]).unwrap();
    Forked::holding(|| grid.blocks(1).unwrap().claim(3).unwrap().claimed().unwrap())
        .kill_and_reap();
    let row = grid.blocks(1).unwrap().claim(3).unwrap().claimed().unwrap();
    assert!(row.abandoned_by().is_some());
    drop(row);
    let other = twin(&grid);
    Forked::holding(|| std::mem::forget(other.flat().lock().unwrap())).kill_and_reap();
    assert!(matches!(grid.flat().lock(), Err(LockError::OwnerDied(_))));
}

#[test]
fn a_name_has_one_opening_that_writes_and_any_that_read() {
    let _alone = alone();
    let name = UniqueName::new("nd");
    let grid = NdArray::<f32>::create_named(&name, &[2, 2]).unwrap();
    let error = NdArray::<f32>::open(&name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Claimed);
    assert!(error.to_string().contains("NdReader"), "{error}");
    let reader = NdReader::<f32>::open(&name).unwrap();
    let passed = twin(&grid);
    drop(grid);
    passed.set(&[1, 0], 1.5).unwrap();
    assert_eq!(
        (reader.get(&[1, 0]).unwrap(), reader.to_vec()),
        (1.5, vec![0.0, 0.0, 1.5, 0.0])
    );
    assert_eq!(kind(NdArray::<f32>::open(&name)), ErrorKind::Claimed);
    drop(passed);
    let again = NdArray::<f32>::open(&name).unwrap();
    assert_eq!(again.get(&[1, 0]).unwrap(), 1.5);
    assert_eq!(
        kind(NdArray::<f32>::create_named(&name, &[1])),
        ErrorKind::AlreadyExists
    );
    NdArray::<f32>::unlink(&name).unwrap();
    assert_eq!(kind(NdReader::<f32>::open(&name)), ErrorKind::NotFound);
}

#[test]
fn memory_without_a_name_has_one_opening_that_writes() {
    let _alone = alone();
    let _watchdog = Watchdog::new(PATIENCE);
    let array = NdArray::<u64>::zeros(&[2]).unwrap();
    let line = array.numpy_line();
    let path = line.split('"').nth(1).unwrap();
    assert_eq!(kind(NdArray::<u64>::open_file(path)), ErrorKind::Claimed);
    let by_another = || kind(NdArray::<u64>::open_file(path)) == ErrorKind::Claimed;
    assert!(Forked::new(by_another).succeeds());
    let reader = NdReader::<u64>::open_file(path).unwrap();
    let passed = twin(&array);
    passed.set(&[1], 7).unwrap();
    assert_eq!(
        (array.get(&[1]).unwrap(), reader.get(&[1]).unwrap()),
        (7, 7)
    );
    drop(reader);
    // Refused, and mapped again: still the one opening.
    let array = array.freeze().unwrap_err().into_array().unwrap();
    let line = array.numpy_line();
    let path = line.split('"').nth(1).unwrap();
    assert_eq!(kind(NdArray::<u64>::open_file(path)), ErrorKind::Claimed);
    drop(passed);
    assert_eq!(array.freeze().unwrap()[..], [0, 7]);
}

#[test]
fn a_creation_that_fails_leaves_no_name_and_no_file() {
    let _alone = alone();
    let _watchdog = Watchdog::new(PATIENCE);
    let (name, file) = (UniqueName::new("nd-fails"), TempFile::new("fails"));
    let leaves_nothing = || {
        let mut refusals = 0;
        for free in 0.. {
            leave_descriptors(free);
            let named = NdArray::<u8>::create_named(&name, &[3]).map(drop);
            let filed = NdArray::<u8>::create_file(&file, &[3]).map(drop);
            for (made, path) in [(&named, name.path()), (&filed, file.0.clone())] {
                match made {
                    Ok(()) => std::fs::remove_file(path).unwrap(),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TooManyDescriptors, "{error}");
                        assert!(!path.exists(), "{path:?} is left with {free} descriptors");
                        refusals += 1;
                    }
                }
            }
            if named.is_ok() && filed.is_ok() {
                break;
            }
        }
        refusals >= 4
    };
    assert!(Forked::new(leaves_nothing).succeeds());
    let without_locks = || {
        let lock = Argument {
            index: 1,
            mask: u32::MAX,
            value: libc::F_OFD_SETLK.unsigned_abs(),
        };
        refuse(libc::SYS_fcntl, libc::ENOLCK, Some(lock));
        let error = NdArray::<u8>::create_file(&file, &[3]).unwrap_err();
        assert_eq!(error.operation(), "lock");
        !file.0.exists()
    };
    assert!(Forked::new(without_locks).succeeds());
    // For the guard to remove.
    drop(NdArray::<u8>::create_file(&file, &[3]).unwrap());
}

#[test]
fn a_killed_opening_leaves_the_file_free() {
    let _alone = alone();
    let _watchdog = Watchdog::new(PATIENCE);
    let file = TempFile::new("killed");
    drop(NdArray::<u8>::create_file(&file, &[3]).unwrap());
    let holder = Forked::holding(|| {
        let array = NdArray::<u8>::open_file(&file).unwrap();
        array.set(&[1], 7).unwrap();
        array
    });
    assert_eq!(kind(NdArray::<u8>::open_file(&file)), ErrorKind::Claimed);
    holder.kill_and_reap();
    let array = NdArray::<u8>::open_file(&file).unwrap();
    assert_eq!(array.get(&[1]).unwrap(), 7);
}

#[test]
fn files_are_opened_in_place() {
    let file = TempFile::new("place");
    let array = NdArray::<i32>::create_file(&file, &[2, 3]).unwrap();
    array.set(&[1, 2], -7).unwrap();
    assert_eq!(
        kind(NdArray::<i32>::create_file(&file, &[1])),
        ErrorKind::AlreadyExists
    );
    let reader = NdReader::<i32>::open_file(&file).unwrap();
    assert_eq!(
        (reader.shape(), reader.strides()),
        (&[2, 3][..], vec![3, 1])
    );
    assert_eq!(reader.get(&[1, 2]).unwrap(), -7);
    assert_eq!(kind(reader.get(&[2, 0])), ErrorKind::InvalidInput);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(
        (bytes.len(), &bytes[4096 + 20..]),
        (4096 + 24, &(-7_i32).to_le_bytes()[..])
    );
    assert_eq!(
        kind(NdArray::<i32>::open_file("/no/such/file.npy")),
        ErrorKind::NotFound
    );
}

#[test]
fn fortrans_order_is_kept() {
    let text = "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }";
    let elements: Vec<u8> = (0_i16..6).flat_map(i16::to_le_bytes).collect();
    let file = TempFile::with("fortran", &npy(text, &elements));
    let array = NdArray::<i16>::open_file(&file).unwrap();
    assert_eq!(
        (array.is_fortran_order(), array.strides()),
        (true, vec![1, 2])
    );
    assert_eq!(
        [array.get(&[1, 0]).unwrap(), array.get(&[0, 2]).unwrap()],
        [1, 4]
    );
    let column = array
        .blocks(1)
        .unwrap()
        .claim(2)
        .unwrap()
        .claimed()
        .unwrap();
    assert_eq!(column[..], [4, 5]);
}

#[test]
fn files_that_lie_are_refused_with_what_was_found() {
    let descr = |descr: &str, shape: &str| {
        format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")
    };
    let eight = [0; 8];
    for (what, bytes, refusal, words) in [
        (
            "short",
            npy(&descr("'<f8'", "(2,)"), &eight),
            ErrorKind::Truncated,
            "(2,)",
        ),
        (
            "vast",
            npy(&descr("'<f8'", "(1152921504606846976,)"), &eight),
            ErrorKind::Truncated,
            "bytes",
        ),
        (
            "overflow",
            npy(&descr("'<f8'", "(4294967296, 4294967296)"), &eight),
            ErrorKind::WrongSize,
            "4294967296",
        ),
        (
            "negative",
            npy(&descr("'<f8'", "(-1,)"), &eight),
            ErrorKind::Corrupt,
            "-1",
        ),
        (
            "big-endian",
            npy(&descr("'>f8'", "(1,)"), &eight),
            ErrorKind::WrongType,
            "big endian",
        ),
        (
            "object",
            npy(&descr("'|O'", "(1,)"), &eight),
            ErrorKind::WrongType,
            "Python objects",
        ),
        (
            "other",
            npy(&descr("'<f4'", "(1,)"), &eight),
            ErrorKind::WrongType,
            "'<f8'",
        ),
        (
            "code",
            npy(&descr("__import__('os')", "(1,)"), &eight),
            ErrorKind::Corrupt,
            "__import__",
        ),
        (
            "zip",
            b"PK\x03\x04 and so on".to_vec(),
            ErrorKind::Foreign,
            "PK",
        ),
        (
            "cut",
            b"\x93NUMPY\x01\x00\xff\x00{".to_vec(),
            ErrorKind::Truncated,
            "265",
        ),
        (
            "odd",
            b"\x93NUMPY\x01\x00\x3a\x00"
                .iter()
                .copied()
                .chain(format!("{:<57}\n", descr("'<f8'", "(1,)")).bytes())
                .chain(eight)
                .collect(),
            ErrorKind::WrongSize,
            "8",
        ),
        ("empty", Vec::new(), ErrorKind::Truncated, "no bytes"),
    ] {
        let file = TempFile::with(what, &bytes);
        for error in [
            NdArray::<f64>::open_file(&file).unwrap_err(),
            NdReader::<f64>::open_file(&file).unwrap_err(),
        ] {
            assert_eq!(error.kind(), refusal, "{what}: {error}");
            assert!(error.to_string().contains(words), "{what}: {error}");
        }
    }
}

#[test]
fn a_large_sparse_file_is_opened_without_being_read() {
    let text = "{'descr': '<f8', 'fortran_order': False, 'shape': (134217728,), }";
    let file = TempFile::with("sparse", &npy(text, &[]));
    let size = std::fs::metadata(&file).unwrap().len() + (1 << 30);
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(size)
        .unwrap();
    let array = NdArray::<f64>::open_file(&file).unwrap();
    assert_eq!(
        (array.len(), array.get(&[134_217_727]).unwrap()),
        (1 << 27, 0.0)
    );
}

#[test]
fn a_frozen_array_is_written_by_no_process() {
    let _alone = alone();
    let array = NdArray::from_slice(&[2, 2], &[1_u64, 2, 3, 4]).unwrap();
    let frozen = array.freeze().unwrap();
    assert_eq!(
        (frozen.shape(), frozen.get_at(&[1, 0]).unwrap()),
        (&[2, 2][..], 3)
    );
    assert_eq!(kind(frozen.get_at(&[2, 0])), ErrorKind::InvalidInput);
    let received: FrozenNdArray<u64> = twin(&frozen);
    assert_eq!(received[..], [1, 2, 3, 4]);
    let path = frozen.numpy_line().split('"').nth(1).unwrap().to_owned();
    assert!(
        Forked::new(|| File::options()
            .write(true)
            .open(&path)
            .map_or(true, |mut file| file.write_all(b"x").is_err()))
        .succeeds()
    );
    assert_eq!(frozen[0], 1);
}

#[test]
fn an_array_that_can_be_written_is_not_frozen() {
    let _alone = alone();
    let _watchdog = Watchdog::new(PATIENCE);
    let array = NdArray::from_slice(&[2, 2], &[1_u64, 2, 3, 4]).unwrap();
    let refused = |array: NdArray<u64>, kind| {
        let refused = array.freeze().unwrap_err();
        assert_eq!(refused.error().kind(), kind);
        refused.into_array().unwrap()
    };
    let clone = array.clone();
    let array = refused(array, ErrorKind::Claimed);
    drop(clone);
    let chunk = array
        .blocks(1)
        .unwrap()
        .claim(1)
        .unwrap()
        .claimed()
        .unwrap();
    let array = refused(array, ErrorKind::TimedOut);
    drop(chunk);
    let holder = Forked::holding(|| ());
    let array = refused(array, ErrorKind::Claimed);
    holder.kill_and_reap();
    Forked::holding(|| std::mem::forget(array.flat().lock().unwrap())).kill_and_reap();
    let array = refused(array, ErrorKind::OwnerDied);
    array
        .flat()
        .lock()
        .or_else(LockError::into_guard)
        .unwrap()
        .recover();
    array.set(&[0, 0], 9).unwrap();
    assert_eq!(array.freeze().unwrap()[..], [9, 2, 3, 4]);
    let name = UniqueName::new("nd-frozen");
    let named = NdArray::<u64>::create_named(&name, &[1]).unwrap();
    drop(refused(named, ErrorKind::Unsupported));
    NdArray::<u64>::unlink(&name).unwrap();
}

#[test]
fn handles_that_are_frozen_at_once_lose_no_array() {
    let _alone = alone();
    let _watchdog = Watchdog::new(PATIENCE);
    for _ in 0..200 {
        let array = NdArray::from_slice(&[2], &[1_u64, 2]).unwrap();
        let handles = [twin(&array), array];
        let start = std::sync::Barrier::new(handles.len());
        std::thread::scope(|scope| {
            let freezes = handles.map(|handle| {
                scope.spawn(|| {
                    start.wait();
                    handle.freeze()
                })
            });
            for freeze in freezes {
                let elements = match freeze.join().unwrap() {
                    Ok(frozen) => frozen.to_vec(),
                    Err(refused) => {
                        let why = refused.error().to_string();
                        let array = refused.into_array().expect(&why);
                        array.flat().to_vec().unwrap()
                    }
                };
                assert_eq!(elements, [1, 2]);
            }
        });
    }
}

/// The receiver would find a control without elements: the sender gets the error.
#[test]
fn flat_elements_are_not_passed_on_without_their_array() {
    let _alone = alone();
    let array = NdArray::<u64>::zeros(&[2]).unwrap();
    let (bytes, descriptors) =
        mp_object::transfer::outgoing(|| postcard::to_stdvec(array.flat()).map_err(drop));
    assert_eq!((bytes, descriptors.len()), (Err(()), 0));
    let error = array.flat().check_transfer().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("`NdArray` instead"), "{error}");
    assert!(Array::<u64>::new(2).unwrap().check_transfer().is_ok());
}

#[test]
fn a_handle_that_can_be_written_is_no_frozen_one() {
    let _alone = alone();
    let array = NdArray::<u64>::zeros(&[2]).unwrap();
    let (bytes, descriptors) = mp_object::transfer::outgoing(|| postcard::to_stdvec(&array));
    let data = descriptors.into_iter().next().unwrap();
    let index = postcard::to_stdvec(&Some(0_u32)).unwrap();
    assert!(bytes.is_ok());
    let received: Result<FrozenNdArray<u64>, _> =
        mp_object::transfer::incoming(vec![data], || postcard::from_bytes(&index));
    assert!(received.is_err());
}

#[cfg(feature = "ndarray")]
#[test]
fn views_have_the_axes_of_the_whole_or_of_a_block() {
    let grid = NdArray::from_slice(&[3, 2], &[1_u8, 2, 3, 4, 5, 6]).unwrap();
    let all = grid.flat().to_vec().unwrap();
    assert_eq!(grid.view(&all).unwrap()[[2, 0]], 5);
    let mut rows = grid.blocks(2).unwrap().claim(1).unwrap().claimed().unwrap();
    assert_eq!(grid.view(&rows).unwrap().shape(), [1, 2]);
    grid.view_mut(&mut rows).unwrap()[[0, 1]] = 9;
    drop(rows);
    assert_eq!(grid.get(&[2, 1]).unwrap(), 9);
    let error = grid.view(&all[..3]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
    assert!(error.to_string().contains("3 elements"), "{error}");

    let text = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
    let file = TempFile::with("fortran-view", &npy(text, &[1, 2, 3, 4, 5, 6]));
    let columns = NdArray::<u8>::open_file(&file).unwrap();
    let all = columns.flat().to_vec().unwrap();
    assert_eq!(columns.view(&all).unwrap()[[1, 2]], 6);
    let column = columns
        .blocks(1)
        .unwrap()
        .claim(1)
        .unwrap()
        .claimed()
        .unwrap();
    let view = columns.view(&column).unwrap();
    assert_eq!((view.shape(), view[[1, 0]]), (&[2, 1][..], 4));
}

#[test]
fn blocks_travel_to_another_process() {
    let _alone = alone();
    let name = UniqueName::new("blocks");
    for grid in [
        NdArray::<u32>::zeros(&[4, 3]).unwrap(),
        NdArray::create_named(&name, &[4, 3]).unwrap(),
    ] {
        let blocks = twin(&grid.blocks(2).unwrap());
        assert_eq!((blocks.count(), blocks.range(1)), (2, 6..12));
        let Claim::Claimed(mut rows) = blocks.claim(1).unwrap() else {
            panic!("no other process is here")
        };
        rows.fill(7);
        drop((rows, blocks));
        assert_eq!(grid.get(&[1, 2]).unwrap(), 0);
        assert_eq!(grid.get(&[2, 0]).unwrap(), 7);
        let flat = grid.flat().chunks(5).unwrap();
        let (refused, _) =
            mp_object::transfer::outgoing(|| postcard::to_stdvec(&flat).map_err(drop));
        assert!(refused.is_err(), "its elements do not go with it");
    }
    NdArray::<u32>::unlink(&name).unwrap();
}
