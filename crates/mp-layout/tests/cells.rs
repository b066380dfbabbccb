//! Elements that others write meanwhile.

use mp_layout::{Cells, ErrorKind, Plain, Region};

fn round_trip<T: Plain + PartialEq + std::fmt::Debug>(values: &[T]) {
    let mut memory = vec![0_u64; size_of_val(values).div_ceil(8)];
    let cells = Cells::<T>::new(Region::from_exclusive(&mut memory)).unwrap();
    for (index, value) in values.iter().enumerate() {
        cells.try_set(index, *value).unwrap();
    }
    for (index, value) in values.iter().enumerate() {
        assert_eq!(cells.try_get(index).unwrap(), *value);
    }
}

#[test]
fn every_width_reads_back() {
    round_trip(&[1_u8, 255]);
    round_trip(&[-1_i16, i16::MAX]);
    round_trip(&[1.5_f32, -0.0]);
    round_trip(&[f64::MIN, 0.1]);
    round_trip(&[true, false, true]);
    round_trip(&['a', '🦀']);
    round_trip(&[[1.0_f64, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    round_trip(&[[1_u8, 2, 3], [4, 5, 6]]);
}

#[test]
fn bytes_that_are_no_value_are_corrupt() {
    let mut memory = [0xff_u64];
    let region = Region::from_exclusive(&mut memory);
    let flag = Cells::<bool>::new(region).unwrap().try_get(0).unwrap_err();
    assert_eq!(flag.kind(), ErrorKind::Corrupt);
    let mut memory = [0xdfff_u64];
    let letter = Cells::<char>::new(Region::from_exclusive(&mut memory))
        .unwrap()
        .try_get(0);
    assert_eq!(
        letter.unwrap_err().kind(),
        ErrorKind::Corrupt,
        "a surrogate is no char"
    );
}

#[test]
fn elements_past_the_end_are_refused() {
    let mut memory = [0_u64; 2];
    let cells = Cells::<u32>::new(Region::from_exclusive(&mut memory)).unwrap();
    assert_eq!(cells.len(), 4);
    assert_eq!(
        cells.try_get(4).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        cells.try_set(usize::MAX, 0).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn types_without_bytes_are_refused() {
    let mut memory = [0_u64];
    let cells = Cells::<()>::new(Region::from_exclusive(&mut memory));
    assert_eq!(cells.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn words_do_not_tear_between_threads() {
    let mut memory = [0_u64];
    let cells = Cells::<u64>::new(Region::from_exclusive(&mut memory)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..1000_u64 {
                cells.set(0, value << 32 | value);
            }
        });
        for _ in 0..1000 {
            let value = cells.get(0);
            assert_eq!(value >> 32, value & 0xffff_ffff);
        }
    });
}

#[test]
fn ranges_are_cells_of_their_own() {
    let mut memory = [0_u64; 3];
    let cells = Cells::<u32>::new(Region::from_exclusive(&mut memory)).unwrap();
    cells.copy_from_slice(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(cells.slice(1..=3).slice(1..).to_vec(), [2, 3]);
    assert_eq!(cells.slice(..).iter().next_back(), Some(5));
    assert!(cells.slice(6..).is_empty() && cells.slice(2..2).is_empty());
    cells.slice(4..).fill(9);
    assert_eq!(cells.to_vec(), [0, 1, 2, 3, 9, 9]);
}

#[test]
fn ranges_past_the_end_are_refused_with_both_figures() {
    let mut memory = [0_u64; 3];
    let cells = Cells::<u32>::new(Region::from_exclusive(&mut memory)).unwrap();
    #[expect(clippy::reversed_empty_ranges, reason = "it is to be refused")]
    let refused = [
        cells.try_slice(5..7),
        cells.try_slice(4..2),
        cells.try_slice(7..),
    ];
    for error in refused.map(|cells| cells.unwrap_err()) {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("6 elements"), "{error}");
    }
    assert!(cells.try_slice(..=usize::MAX).is_err());
}

#[test]
#[should_panic(expected = "elements 5..7 are out of range for 6 elements")]
fn a_slice_past_the_end_panics() {
    let mut memory = [0_u64; 3];
    let cells = Cells::<u32>::new(Region::from_exclusive(&mut memory)).unwrap();
    assert!(cells.slice(5..7).is_empty());
}

#[test]
#[should_panic(expected = "2 elements do not fill 6 cells")]
fn a_copy_of_another_length_panics() {
    let mut memory = [0_u64; 3];
    let cells = Cells::<u32>::new(Region::from_exclusive(&mut memory)).unwrap();
    cells.copy_from_slice(&[1, 2]);
}
