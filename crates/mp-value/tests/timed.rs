//! The forms of operations that wait for a limited time, or not at all, while another process has
//! the lock.

use std::time::{Duration, Instant};

use mp_layout::{Error, ErrorKind, Result};
use mp_object::Lock;
use mp_testkit::Forked;
use mp_value::{AnyArray, AnyValue, Array, Deadline, Value};

const SHORT: Duration = Duration::from_millis(1);

fn soon() -> Instant {
    Instant::now() + SHORT
}

fn end() -> Deadline {
    Deadline::after(SHORT)
}

#[track_caller]
fn assert_held_by<const N: usize>(holder: &Forked, refused: [Result<()>; N]) {
    let by = format!("held by process {}", holder.pid());
    for (number, refused) in refused.into_iter().enumerate() {
        let error = refused.expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{number}: {error}");
        assert!(error.to_string().contains(&by), "{number}: {error}");
    }
}

#[test]
fn a_value_names_the_holder() {
    let value = Value::new(1_u64).unwrap();
    let holder = Forked::holding(|| value.get_lock().unwrap());
    let refused = [
        value.try_set(2),
        value.set_timeout(2, SHORT),
        value.set_timeout(2, soon()),
        value.try_lock().map(drop),
        value.lock_timeout(end()).map(drop),
        value.try_get_lock().map(drop),
        value.get_lock_timeout(soon()).map(drop),
    ];
    assert_held_by(&holder, refused);
    assert_eq!(value.get(), 1, "reading takes no lock");
    holder.kill_and_reap();
    value.set_timeout(2, Duration::MAX).unwrap();
    value.try_set(value.get() + 1).unwrap();
    assert_eq!(*value.try_lock().unwrap(), 3);
    drop(value.try_get_lock().unwrap());
}

#[test]
fn an_array_names_the_holder() {
    let array = Array::from_slice(&[1_u64]).unwrap();
    let holder = Forked::holding(|| array.get_lock().unwrap());
    let refused = [
        array.try_get(0).map(drop),
        array.get_timeout(0, soon()).map(drop),
        array.try_set(0, 2),
        array.set_timeout(0, 2, SHORT),
        array.try_to_vec().map(drop),
        array.to_vec_timeout(end()).map(drop),
        array.try_lock().map(drop).map_err(Error::from),
        array.lock_timeout(SHORT).map(drop).map_err(Error::from),
        array.try_get_lock().map(drop).map_err(Error::from),
        array
            .get_lock_timeout(soon())
            .map(drop)
            .map_err(Error::from),
    ];
    assert_held_by(&holder, refused);
    holder.kill_and_reap();
    assert_eq!(array.get_timeout(0, Duration::MAX).unwrap(), 1);
    array.try_set(0, 2).unwrap();
    assert_eq!(array.try_to_vec().unwrap(), [2]);
}

#[test]
fn typed_at_run_time_they_name_the_holder() {
    let value = AnyValue::from_code('i', 1).unwrap();
    let holder = Forked::holding(|| value.get_lock().unwrap());
    let refused = [
        value.try_set(2),
        value.set_timeout(2, SHORT),
        value.try_get_lock().map(drop),
        value.get_lock_timeout(soon()).map(drop),
    ];
    assert_held_by(&holder, refused);
    let array = AnyArray::from_code('d', 1).unwrap();
    let holder = Forked::holding(|| array.get_lock().unwrap());
    let refused = [
        array.try_get(0).map(drop),
        array.get_timeout(0, SHORT).map(drop),
        array.try_set(0, 2.0),
        array.set_timeout(0, 2.0, soon()),
        array.try_get_lock().map(drop).map_err(Error::from),
        array.get_lock_timeout(end()).map(drop).map_err(Error::from),
    ];
    assert_held_by(&holder, refused);
}

#[test]
fn with_a_lock_of_ones_own_they_name_its_holder() {
    let lock = Lock::new().unwrap();
    let value = Value::new(1_u64).unwrap().with_lock(&lock);
    let array = Array::from_slice(&[1_u64]).unwrap().with_lock(&lock);
    let holder = Forked::holding(|| lock.lock().unwrap());
    let refused = [
        value.try_set(2),
        value.set_timeout(2, SHORT),
        value.try_lock().map(drop),
        value.lock_timeout(soon()).map(drop),
        array.try_get(0).map(drop),
        array.get_timeout(0, SHORT).map(drop),
        array.try_set(0, 2),
        array.set_timeout(0, 2, soon()),
        array.try_to_vec().map(drop),
        array.to_vec_timeout(end()).map(drop),
        array.try_lock().map(drop).map_err(Error::from),
        array.lock_timeout(end()).map(drop).map_err(Error::from),
        array.try_get_lock().map(drop).map_err(Error::from),
        array.get_lock_timeout(SHORT).map(drop).map_err(Error::from),
    ];
    assert_held_by(&holder, refused);
    holder.kill_and_reap();
    let error = value.set(2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OwnerDied, "once: {error}");
    value.try_set(2).unwrap();
    array.try_set(0, value.get()).unwrap();
    assert_eq!(*array.try_lock().unwrap(), [2]);
}
