//! Values and arrays without a lock.

#[path = "shared/handles.rs"]
mod handles;

use handles::{kind, twin};
use mp_layout::ErrorKind;
use mp_testkit::{Forked, UniqueName};
use mp_value::{RawArray, RawValue};

#[test]
fn values_of_each_size_come_back() {
    assert_eq!(RawValue::new(-1_i8).unwrap().get(), -1);
    assert_eq!(RawValue::new(-2_i16).unwrap().get(), -2);
    assert_eq!(RawValue::new(1.5_f32).unwrap().get(), 1.5);
    assert_eq!(
        RawValue::new([1_u8, 2, 3, 4, 5, 6, 7, 8]).unwrap().get()[7],
        8
    );
    assert!(RawValue::new(true).unwrap().try_get().unwrap());
    assert_eq!(RawValue::new('ß').unwrap().try_get().unwrap(), 'ß');
}

#[test]
fn integers_wrap_around_without_touching_their_neighbours() {
    let byte = RawValue::new(250_u8).unwrap();
    assert_eq!(byte.fetch_add(10), 250);
    assert_eq!(byte.get(), 4);
    assert_eq!(
        byte.compare_exchange(4, 5).unwrap(),
        Ok(4),
        "no carry is left behind"
    );
    let word = RawValue::new(i64::MAX).unwrap();
    word.fetch_add(1);
    assert_eq!(word.get(), i64::MIN);
    let negative = RawValue::new(0_i16).unwrap();
    negative.fetch_add(-3);
    assert_eq!(negative.get(), -3);
}

#[test]
fn a_failed_exchange_tells_what_is_there() {
    let value = RawValue::new(7_u16).unwrap();
    assert_eq!(value.compare_exchange(6, 1).unwrap(), Err(7));
    assert_eq!(value.compare_exchange(7, 1).unwrap(), Ok(7));
    assert_eq!(value.get(), 1);
}

#[test]
fn no_count_is_lost_between_processes() {
    let counts = (RawValue::new(0_u32).unwrap(), RawValue::new(0_u64).unwrap());
    let children: Vec<Forked> = (0..2)
        .map(|_| {
            Forked::holding(|| {
                for _ in 0..50_000 {
                    counts.0.fetch_add(1);
                    counts.1.fetch_add(1);
                }
            })
        })
        .collect();
    assert_eq!((counts.0.get(), counts.1.get()), (100_000, 100_000));
    drop(children);
}

#[test]
fn twins_are_the_same_and_names_are_checked() {
    let name = UniqueName::new("value");
    let value = RawValue::create_named(&name, 3_u32).unwrap();
    twin(&RawValue::new(1_u32).unwrap()).set(9);
    RawValue::<u32>::open(&name).unwrap().set(4);
    assert_eq!(RawValue::open_or_create(&name, 0_u32).unwrap().get(), 4);
    assert_eq!(kind(RawValue::<i32>::open(&name)), ErrorKind::WrongType);
    assert_eq!(kind(RawArray::<u32>::open(&name)), ErrorKind::WrongKind);
    RawValue::<u32>::unlink(&name).unwrap();
    assert_eq!(value.get(), 4);
    let anonymous = RawValue::new(1_u32).unwrap();
    twin(&anonymous).set(9);
    assert_eq!(anonymous.get(), 9);
}

#[test]
fn arrays_start_from_a_length_a_slice_or_an_iterator() {
    assert_eq!(RawArray::<u16>::new(3).unwrap().to_vec(), [0, 0, 0]);
    assert_eq!(
        RawArray::from_slice(&[1.5, 2.5]).unwrap().to_vec(),
        [1.5, 2.5]
    );
    let squares = RawArray::from_iter((1..4).map(|x| x * x)).unwrap();
    assert_eq!((squares.len(), squares.iter().sum::<i32>()), (3, 14));
    assert!(RawArray::<u8>::new(0).unwrap().is_empty());
    assert_eq!(
        kind(RawArray::<u64>::new(usize::MAX)),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(RawArray::<u64>::new(usize::MAX / 8)),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(RawArray::<u64>::new(1 << 45)),
        ErrorKind::NotEnoughMemory
    );
}

#[test]
fn arrays_are_shared_between_processes() {
    let array = RawArray::<u64>::new(4).unwrap();
    twin(&array).set(1, 6);
    assert!(
        Forked::new(|| {
            array.cells().set(2, 7);
            array.get(1) == 6
        })
        .succeeds()
    );
    assert_eq!(array.to_vec(), [0, 6, 7, 0]);
    let flags = RawArray::<bool>::new(2).unwrap();
    flags.set(1, true);
    assert!(flags.try_get(1).unwrap());
    assert_eq!(kind(flags.try_get(2)), ErrorKind::InvalidInput);
}

#[test]
#[should_panic(expected = "out of range")]
fn an_index_past_the_end_panics() {
    RawArray::<u64>::new(4).unwrap().get(4);
}

#[test]
fn named_arrays_are_opened_by_type_and_length() {
    let name = UniqueName::new("array");
    let array = RawArray::<f32>::create_named(&name, 1000).unwrap();
    RawArray::<f32>::open(&name).unwrap().set(999, 2.5);
    assert_eq!(array.get(999), 2.5);
    assert_eq!(
        kind(RawArray::<f32>::open_or_create(&name, 999)),
        ErrorKind::WrongSize
    );
    assert_eq!(kind(RawArray::<i32>::open(&name)), ErrorKind::WrongType);
    assert!(
        array
            .numpy_line()
            .ends_with(r#"dtype="<f4", mode="r+", offset=4096, shape=(1000,))"#)
    );
    RawArray::<f32>::unlink(&name).unwrap();
}
