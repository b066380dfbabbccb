//! Values that are refused, and why.

use std::thread;

use mp_object::message;
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
