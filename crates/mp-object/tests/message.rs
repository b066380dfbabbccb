//! Values that are refused, and why.

use std::thread;

use mp_object::message::{self, Objects, OpenObjects};
use mp_object::transfer::Way;
use mp_object::{Event, Mutex};
use serde::{Deserialize, Serialize};

/// A value in a value of its own type.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Chain {
    End,
    Link(Box<Chain>),
    Pair { next: Option<Box<Chain>> },
}

fn chain(levels: usize) -> Chain {
    (0..levels).fold(Chain::End, |next, _| Chain::Link(Box::new(next)))
}

/// Dropping so many boxes takes a large stack, too.
fn with_a_large_stack(run: fn()) {
    let thread = thread::Builder::new().stack_size(256 << 20);
    thread.spawn(run).unwrap().join().unwrap();
}

#[test]
fn what_has_too_many_levels_is_refused() {
    with_a_large_stack(|| {
        for levels in [501, 10_000, 100_000] {
            let error = message::write(&chain(levels)).unwrap_err();
            assert!(
                error.to_string().contains("more than 500 levels"),
                "{error}"
            );
        }
        let pairs = (0..251).fold(Chain::End, |next, _| Chain::Pair {
            next: Some(Box::new(next)),
        });
        let error = message::write(&pairs).unwrap_err();
        assert!(
            error.to_string().contains("more than 500 levels"),
            "{error}"
        );
    });
}

#[test]
fn what_is_written_can_be_read_with_the_stack_of_a_thread() {
    let thread = thread::spawn(|| {
        let deepest = chain(500);
        let bytes = message::write(&deepest).unwrap();
        assert!(message::read::<Chain>(&bytes).unwrap() == deepest);
    });
    thread.join().unwrap();
}

#[test]
fn a_long_value_has_few_levels() {
    let wide = vec![Some((1_u8, "a".to_owned())); 10_000];
    let bytes = message::write(&wide).unwrap();
    assert!(message::read::<Vec<Option<(u8, String)>>>(&bytes).unwrap() == wide);
}

/// A handle with the identity of its object, as a message that waits for its reader has it.
#[cfg(not(miri))]
fn packed(mutex: &Mutex<u64>) -> Vec<u8> {
    let packed = message::pack(mutex, Vec::new(), Way::Descriptors).unwrap();
    let (mut bytes, descriptors) = packed.into_parts();
    message::append_identities(&mut bytes, &descriptors.unwrap());
    bytes
}

#[test]
#[cfg(not(miri))]
fn an_object_that_is_open_is_found_and_checked() {
    let mutex = Mutex::new(7_u64).unwrap();
    let bytes = packed(&mutex);
    let open = || Objects::Open(OpenObjects::find(&bytes).expect("it is open"));
    let same: Mutex<u64> = open().unpack(&bytes).unwrap();
    assert!(core::ptr::eq(&raw const *same, &raw const *mutex));
    let error = open().unpack::<Event>(&bytes).unwrap_err();
    assert!(error.to_string().contains("mutex"), "{error}");
    let found = open();
    drop((mutex, same));
    assert_eq!(
        *found.unpack::<Mutex<u64>>(&bytes).unwrap().lock().unwrap(),
        7
    );
    assert!(OpenObjects::find(&bytes).is_none(), "closed");
}

#[test]
#[cfg(not(miri))]
fn bytes_that_are_no_identities_find_nothing() {
    for bytes in [&[][..], &[0], &[1], &[255; 40], &[7; 256]] {
        assert!(OpenObjects::find(bytes).is_none());
        let read = Objects::Descriptors(Vec::new()).unpack::<Event>(bytes);
        assert!(read.is_err(), "{bytes:?}");
    }
}
