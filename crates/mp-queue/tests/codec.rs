//! Which types a queue's messages may have, and that the others are refused.

use std::collections::{BTreeMap, HashMap};

use mp_layout::ErrorKind;
use mp_queue::{GetError, PutError, Queue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A type whose messages lose a field now and then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sparse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    number: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Line(u8, Sparse),
    Name(Sparse),
    Box {
        #[serde(default, skip_serializing_if = "String::is_empty")]
        label: String,
        side: u8,
    },
}

const LOSES: Sparse = Sparse {
    note: None,
    number: 1,
};

const KEEPS: Sparse = Sparse {
    note: Some(7),
    number: 1,
};

#[track_caller]
fn assert_passes<
    T: Serialize + DeserializeOwned + PartialEq + core::fmt::Debug + Clone + 'static,
>(
    message: T,
) {
    let queue = Queue::new().expect("a queue");
    queue.put(message.clone()).expect("a whole message");
    assert_eq!(queue.get().expect("a message"), message);
}

/// The message comes back, the error names the field, and nothing is in the queue.
#[track_caller]
fn assert_refused<
    T: Serialize + DeserializeOwned + PartialEq + core::fmt::Debug + Clone + 'static,
>(
    message: T,
    field: &str,
) {
    let queue = Queue::new().expect("a queue");
    let many = queue.put_many(std::slice::from_ref(&message));
    assert_eq!(many.expect_err("a field is left out").put, 0);
    let error = queue.put(message.clone()).expect_err("a field is left out");
    assert!(matches!(&error, PutError::Encode(back, _) if *back == message));
    assert_eq!(error.kind(), ErrorKind::Encode);
    let text = error.to_string();
    assert!(text.contains(&format!("`{field}`")), "{text}");
    assert!(text.contains("skip_serializing_if"), "{text}");
    assert!(queue.is_empty());
}

#[test]
fn a_message_with_a_field_left_out_is_refused_wherever_it_is() {
    assert_refused(LOSES, "note");
    assert_refused((1, LOSES), "note");
    assert_refused(vec![KEEPS, LOSES], "note");
    assert_refused(Some(LOSES), "note");
    assert_refused([(LOSES, 1)], "note");
    assert_refused(BTreeMap::from([(1, LOSES)]), "note");
    assert_refused(Shape::Line(1, LOSES), "note");
    assert_refused(Shape::Name(LOSES), "note");
    let label = String::new();
    assert_refused(Shape::Box { label, side: 1 }, "label");
}

#[test]
fn a_message_with_all_its_fields_passes() {
    assert_passes(KEEPS);
    assert_passes(vec![Some(KEEPS), None]);
    assert_passes(BTreeMap::from([(1, KEEPS)]));
    let label = "A".to_owned();
    for shape in [
        Shape::Dot,
        Shape::Line(1, KEEPS),
        Shape::Name(KEEPS),
        Shape::Box { label, side: 1 },
    ] {
        assert_passes(shape);
    }
}

#[test]
fn what_has_no_order_or_is_not_equal_to_itself_passes() {
    let map: HashMap<String, u64> = (0..500).map(|n| (n.to_string(), n)).collect();
    assert_passes(map);
    let queue = Queue::new().expect("a queue");
    queue.put((f64::NAN, f32::INFINITY)).expect("room");
    assert!(queue.get().expect("a message").0.is_nan());
    assert_passes((u128::MAX, i128::MIN, 'é', (), -0.0_f32));
    assert_passes((std::time::Duration::MAX, std::path::PathBuf::from("/a/b")));
    assert_passes(Box::new([
        Some(Ok::<u8, String>(1)),
        Some(Err("no".to_owned())),
    ]));
    assert_passes(std::net::Ipv6Addr::LOCALHOST);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum InternallyTagged {
    Number { value: u64 },
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NeverWritten {
    #[serde(skip_serializing)]
    cached: u64,
    number: u64,
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// Serde does not tell a writer of a tuple's field that is left out, and counts it out of the
/// length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SparseTuple(#[serde(skip_serializing_if = "is_zero")] u8, u8, Vec<u8>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum SparseVariant {
    Tuple(#[serde(skip_serializing_if = "is_zero")] u8, u8, Vec<u8>),
}

/// The bytes are those of another value, so a release build notices nothing.
#[track_caller]
fn assert_read_as_another<
    T: Serialize + DeserializeOwned + PartialEq + core::fmt::Debug + Clone + 'static,
>(
    message: T,
) {
    let queue = Queue::new().expect("a queue");
    let put = queue.put(message.clone());
    if cfg!(debug_assertions) {
        let error = put.expect_err("a debug build reads it back");
        assert!(matches!(&error, PutError::Encode(back, _) if *back == message));
        let text = error.to_string();
        assert!(text.contains("another value is read"), "{text}");
        assert!(queue.is_empty());
    } else {
        put.expect("a release build does not read it back");
        assert_ne!(queue.get().expect("another message"), message);
    }
}

#[test]
fn a_tuple_with_a_field_left_out_is_refused_by_debug_builds() {
    assert_unreadable(SparseTuple(0, 5, vec![6, 7]));
    assert_unreadable(SparseVariant::Tuple(0, 5, vec![6, 7]));
    // Read with all three fields, of which the last is empty.
    assert_read_as_another(SparseTuple(0, 1, vec![0]));
    assert_read_as_another(SparseVariant::Tuple(0, 1, vec![0]));
    assert_read_as_another(vec![Some(SparseTuple(0, 1, vec![0]))]);
    // What is read leaves the field out as well.
    assert_read_as_another(SparseTuple(0, 0, vec![0]));
}

#[test]
fn a_tuple_with_all_its_fields_passes() {
    assert_passes(SparseTuple(1, 0, vec![0]));
    assert_passes(SparseVariant::Tuple(1, 0, vec![0]));
    let many = (1..=200).map(|n| (n, SparseTuple(n, 0, vec![n])));
    assert_passes(many.collect::<HashMap<_, _>>());
}

/// A debug build reads each message back before it is put. A release build does not: who gets it is
/// told.
#[track_caller]
fn assert_unreadable<
    T: Serialize + DeserializeOwned + PartialEq + core::fmt::Debug + Clone + 'static,
>(
    message: T,
) {
    let queue = Queue::new().expect("a queue");
    let put = queue.put(message.clone());
    if cfg!(debug_assertions) {
        let error = put.expect_err("a debug build reads it back");
        assert!(matches!(&error, PutError::Encode(back, _) if *back == message));
        let text = error.to_string();
        assert!(text.contains("cannot be read back"), "{text}");
        assert!(queue.is_empty());
    } else {
        put.expect("a release build does not read it back");
        let got = queue.get();
        assert!(matches!(got, Err(GetError::Decode(_))), "{got:?}");
    }
}

#[test]
fn a_message_that_tells_no_reader_its_type_is_refused() {
    assert_unreadable(Untagged::Number(1));
    assert_unreadable(vec![Untagged::Text("a".to_owned())]);
    assert_unreadable(InternallyTagged::Number { value: 1 });
    assert_unreadable(NeverWritten {
        cached: 1,
        number: 2,
    });
}
