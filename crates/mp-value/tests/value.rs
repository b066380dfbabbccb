//! Values: replacing, the two locks, deaths, names, types whose bytes are checked.

#[path = "shared/handles.rs"]
mod handles;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use handles::{kind, twin};
use mp_layout::ErrorKind;
use mp_testkit::{Forked, UniqueName};
use mp_value::Value;

#[test]
fn is_replaced_in_each_way() {
    let value = Value::new(1_i32).unwrap();
    value.set(5).unwrap();
    assert_eq!(value.fetch_add(2).unwrap(), 5, "the value before");
    assert_eq!(
        value.update(|value| value * 10).unwrap(),
        70,
        "the value after"
    );
    *value.lock().unwrap() += 1;
    assert_eq!(value.get(), 71);
}

#[test]
fn integers_wrap_around_and_floats_add() {
    let byte = Value::new(250_u8).unwrap();
    byte.fetch_add(10).unwrap();
    assert_eq!(byte.get(), 4);
    let float = Value::new(0.5).unwrap();
    float.fetch_add(0.25).unwrap();
    assert_eq!(float.get(), 0.75);
}

#[test]
fn clones_and_twins_are_the_same_value() {
    let value = Value::new([1_u64; 5]).unwrap();
    value.clone().set([2; 5]).unwrap();
    assert_eq!(value.get(), [2; 5]);
    twin(&value).update(|[a, ..]| [a + 1; 5]).unwrap();
    assert_eq!(value.get(), [3; 5]);
}

#[test]
fn bool_and_char_are_checked_on_the_way_out() {
    let name = UniqueName::new("char");
    let letter = Value::create_named(&name, 'é').unwrap();
    assert_eq!(letter.try_get().unwrap(), 'é');
    letter.set('ß').unwrap();
    assert_eq!(*letter.lock().unwrap(), 'ß');
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(name.path())
        .unwrap();
    Value::<char>::unlink(&name).unwrap();
    let surrogate = [0xd800_u32; 2].map(u32::to_ne_bytes).concat();
    std::os::unix::fs::FileExt::write_all_at(&file, &surrogate, 256 + 64).unwrap();
    assert_eq!(kind(letter.try_get()), ErrorKind::Corrupt);
    assert_eq!(kind(letter.lock()), ErrorKind::Corrupt);
    letter.set('x').unwrap();
    assert_eq!(letter.try_get().unwrap(), 'x');
    assert_eq!(kind(Value::new(())), ErrorKind::InvalidInput);
}

#[test]
fn a_guard_works_on_a_copy_until_it_is_dropped() {
    let value = Value::new([1_u64, 1]).unwrap();
    let mut guard = value.lock().unwrap();
    guard[0] = 2;
    assert_eq!(value.get(), [1, 1], "readers wait for nobody");
    guard[1] = 2;
    drop(guard);
    assert_eq!(value.get(), [2, 2]);
}

#[test]
fn a_panic_writes_nothing_and_releases() {
    let value = Value::new(1).unwrap();
    for change in [0, 1] {
        let panicked = catch_unwind(AssertUnwindSafe(|| match change {
            0 => {
                *value.lock().unwrap() += 1;
                let mut guard = value.lock().unwrap();
                *guard = 99;
                panic!("in the middle");
            }
            _ => value.update(|_| panic!("in the closure")),
        }));
        assert!(panicked.is_err());
        assert_eq!(value.get(), 2, "what was written before stays");
        value.set(2).unwrap();
    }
}

#[test]
fn a_guard_made_while_a_panic_unwinds_writes() {
    struct Count<'a>(&'a Value<i32>);
    impl Drop for Count<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let value = Value::new(0).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _count = Count(&value);
        panic!("unwinds through it");
    }));
    assert!(panicked.is_err());
    assert_eq!(value.get(), 1);
}

#[test]
fn changes_are_refused_under_the_threads_own_guard() {
    let value = Value::new(1).unwrap();
    let mut guard = value.lock().unwrap();
    for refused in [
        kind(value.set(5)),
        kind(value.fetch_add(5)),
        kind(value.update(|v| v + 5)),
        kind(value.lock()),
        kind(value.get_lock()),
        kind(twin(&value).set(5)),
    ] {
        assert_eq!(refused, ErrorKind::Recursive);
    }
    *guard += 1;
    drop(guard);
    assert_eq!(value.get(), 2);
    let nested = value.update(|v| {
        assert_eq!(kind(value.set(50)), ErrorKind::Recursive);
        v + 1
    });
    assert_eq!(nested.unwrap(), 3);
    value.set(9).unwrap();
    assert_eq!(value.get(), 9);
}

#[test]
fn several_changes_are_one_step_under_the_bare_lock() {
    let value = Value::new(0_u64).unwrap();
    let children: Vec<Forked> = (0..2)
        .map(|_| {
            Forked::holding(|| {
                for _ in 0..2000 {
                    let _lock = value.get_lock().unwrap();
                    value.set(value.get() + 1).unwrap();
                    value.fetch_add(1).unwrap();
                    value.update(|value| value + 1).unwrap();
                }
            })
        })
        .collect();
    assert_eq!(value.get(), 12_000);
    drop(children);
}

#[test]
fn a_lock_that_is_held_names_its_holder_in_time() {
    let value = Value::new(0).unwrap();
    let holder = Forked::holding(|| value.lock().unwrap());
    let error = value.lock_timeout(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", holder.pid())),
        "{error}"
    );
    assert_eq!(value.get(), 0, "reading goes on");
}

#[test]
fn a_death_leaves_the_old_value_and_nobody_is_told() {
    let value = Value::new([7_u64; 9]).unwrap();
    Forked::holding(|| {
        let mut guard = value.lock().unwrap();
        guard[..4].fill(1);
        guard
    })
    .kill_and_reap();
    assert_eq!(value.get(), [7; 9]);
    value.set([8; 9]).unwrap();
    assert_eq!(value.update(|all| all.map(|one| one + 1)).unwrap(), [9; 9]);
    Forked::holding(|| value.get_lock().unwrap()).kill_and_reap();
    assert_eq!(*value.lock().unwrap(), [9; 9]);
}

#[test]
fn changes_under_the_bare_lock_go_on_after_a_death_with_a_guard() {
    let value = Value::new(1).unwrap();
    Forked::holding(|| value.lock().unwrap()).kill_and_reap();
    let lock = value.get_lock().unwrap();
    value.set(5).unwrap();
    assert_eq!(value.update(|value| value + 1).unwrap(), 6);
    drop(lock);
}

#[test]
fn a_forked_childs_copy_of_the_guard_writes_nothing() {
    let value = Value::new(1).unwrap();
    let mut guard = value.lock().unwrap();
    *guard = 2;
    let mut guard = Some(guard);
    assert!(
        Forked::new(|| {
            drop(guard.take());
            value.get() == 1
                && value
                    .lock_timeout(Duration::from_millis(1))
                    .unwrap_err()
                    .kind()
                    == ErrorKind::TimedOut
        })
        .succeeds()
    );
    assert_eq!(
        kind(value.set(9)),
        ErrorKind::Recursive,
        "the parent's copy will overwrite it"
    );
    drop(guard);
    assert_eq!(value.get(), 2);
}

#[test]
fn readers_never_see_half_of_a_change() {
    const ROUNDS: u64 = 20_000;
    let value = Value::new([0_u64; 16]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = twin(&value);
            for round in 1..=ROUNDS {
                other.set([round; 16]).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            let seen = value.get();
            assert_eq!(seen, [seen[0]; 16]);
            assert!(seen[0] >= last, "values do not go back");
            last = seen[0];
        }
    });
    assert_eq!(value.get(), [ROUNDS; 16]);
}

#[test]
fn named_values_are_opened_by_their_type() {
    let name = UniqueName::new("named");
    let value = Value::create_named(&name, 5_i64).unwrap();
    assert_eq!(
        kind(Value::create_named(&name, 6_i64)),
        ErrorKind::AlreadyExists
    );
    Value::<i64>::open(&name).unwrap().fetch_add(1).unwrap();
    assert_eq!(Value::open_or_create(&name, 0_i64).unwrap().get(), 6);
    assert_eq!(kind(Value::<f64>::open(&name)), ErrorKind::WrongType);
    assert_eq!(kind(Value::<[i64; 2]>::open(&name)), ErrorKind::WrongType);
    assert_eq!(
        kind(mp_value::Array::<i64>::open(&name)),
        ErrorKind::WrongKind
    );
    Value::<i64>::unlink(&name).unwrap();
    assert_eq!(value.get(), 6, "who has it open keeps it");
    assert_eq!(kind(Value::<i64>::open(&name)), ErrorKind::NotFound);
}
