//! What an attacher makes of whole, foreign, unfinished and damaged headers.

use mp_layout::{
    Environment, ErrorKind, Expected, HEADER_SIZE, Header, Kind, Libc, Region, Result, TypeCode,
    TypeTag,
};

const SEGMENT: usize = 4096;

/// The interpreter is slow, and the same code runs for every bit.
const STEP: usize = if cfg!(miri) { 101 } else { 1 };
const HERE: Environment = Environment {
    boot_id: [7; 16],
    pid_namespace: 42,
    time_namespace: 44,
    libc: Libc::Glibc,
};

fn queue_of_i64() -> Expected {
    Expected {
        kind: Kind::Queue,
        tag: TypeTag::of::<i64>(),
        item_count: Some(10),
        payload_size: 100,
    }
}

fn published() -> Vec<u64> {
    let mut bytes = vec![0; SEGMENT / 8];
    Header::new(&queue_of_i64(), &HERE, SEGMENT as u64, HEADER_SIZE as u64)
        .with_identity([3; 16], 99)
        .publish(Region::from_exclusive(&mut bytes))
        .unwrap();
    bytes
}

fn attach(bytes: &mut [u64], expected: &Expected) -> Result<Header> {
    Header::attach(Region::from_exclusive(bytes), expected, &HERE, "\"jobs\"")
}

fn refusal(bytes: &mut [u64], expected: &Expected) -> (ErrorKind, String) {
    let error = attach(bytes, expected).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn whole_header_is_accepted() {
    let header = attach(&mut published(), &queue_of_i64()).unwrap();
    assert_eq!(header.payload_offset(), HEADER_SIZE);
    assert_eq!(header.payload_size(), 100);
    assert_eq!(
        (header.item_count(), header.id(), header.creator()),
        (10, [3; 16], 99)
    );
    assert_eq!(header.kind(), Some(Kind::Queue));
}

#[test]
fn other_types_are_named_by_both_sides() {
    let of = |tag| Expected {
        tag,
        ..queue_of_i64()
    };
    let message = |found: TypeTag, expected: TypeTag| {
        let mut bytes = vec![0; SEGMENT / 8];
        Header::new(&of(found), &HERE, SEGMENT as u64, HEADER_SIZE as u64)
            .publish(Region::from_exclusive(&mut bytes))
            .unwrap();
        let (kind, text) = refusal(&mut bytes, &of(expected));
        assert_eq!(kind, ErrorKind::WrongType);
        text
    };
    let text = message(TypeTag::of::<[bool; 3]>(), TypeTag::of::<[[u8; 3]; 1]>());
    assert!(text.contains("found [bool; 3] of 3 bytes (type "), "{text}");
    assert!(
        text.contains("expected [[u8; 3]; 1] of 3 bytes (type "),
        "{text}"
    );
    let text = message(TypeTag::of::<f32>(), TypeTag::of::<[f32; 1]>());
    assert!(
        text.contains("found 'f' (f32), expected [f32; 1] of 4"),
        "{text}"
    );
    let text = message(TypeTag::NONE, TypeTag::of::<u8>());
    assert!(text.contains("found another type of 0 bytes"), "{text}");
    type Long = [Option<Option<Option<Option<u8>>>>; 2];
    let text = message(TypeTag::of_message::<Long>(), TypeTag::of::<u8>());
    assert!(
        text.contains("found [core::option::Option<core::option::Option<"),
        "{text}"
    );
    assert!(
        text.contains("... of 4 bytes (type "),
        "a long name is cut: {text}"
    );
}

#[test]
fn same_class_and_size_opens_as_each_other() {
    let long = Expected {
        tag: TypeTag::of_code(TypeCode::Long),
        ..queue_of_i64()
    };
    assert!(attach(&mut published(), &long).is_ok());
}

#[test]
fn each_mismatch_names_found_and_expected() {
    let base = queue_of_i64();
    let cases = [
        (
            Expected {
                kind: Kind::Lock,
                ..base
            },
            ErrorKind::WrongKind,
            "found queue, expected lock",
        ),
        (
            Expected {
                tag: TypeTag::of::<f64>(),
                ..base
            },
            ErrorKind::WrongType,
            "found 'q' (i64), expected 'd' (f64)",
        ),
        (
            Expected {
                item_count: Some(11),
                ..base
            },
            ErrorKind::WrongSize,
            "found 10 elements, expected 11",
        ),
        (
            Expected {
                payload_size: 101,
                ..base
            },
            ErrorKind::WrongSize,
            "found 100 bytes of payload, expected at least 101",
        ),
    ];
    for (expected, kind, text) in cases {
        let (found_kind, found_text) = refusal(&mut published(), &expected);
        assert_eq!(found_kind, kind);
        assert!(found_text.contains(text), "{found_text:?} says {text:?}");
        assert!(
            found_text.starts_with("attach \"jobs\""),
            "{found_text:?} names the object"
        );
    }
}

#[test]
fn another_environment_is_refused() {
    let cases = [
        (
            Environment {
                boot_id: [8; 16],
                ..HERE
            },
            ErrorKind::WrongBoot,
        ),
        (
            Environment {
                pid_namespace: 43,
                ..HERE
            },
            ErrorKind::WrongNamespace,
        ),
        (
            Environment {
                time_namespace: 0,
                ..HERE
            },
            ErrorKind::WrongNamespace,
        ),
        (
            Environment {
                libc: Libc::Musl,
                ..HERE
            },
            ErrorKind::WrongLibc,
        ),
    ];
    for (environment, kind) in cases {
        let mut bytes = published();
        let region = Region::from_exclusive(&mut bytes);
        let error = Header::attach(region, &queue_of_i64(), &environment, "x").unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}

#[test]
fn every_truncation_is_refused() {
    for words in (0..SEGMENT / 8).step_by(STEP) {
        let (kind, _) = refusal(&mut published()[..words], &queue_of_i64());
        assert_eq!(kind, ErrorKind::Truncated, "{words} words");
    }
}

#[test]
fn unfinished_segment_is_not_ready() {
    let (kind, _) = refusal(&mut [0; SEGMENT / 8], &queue_of_i64());
    assert_eq!(kind, ErrorKind::NotReady, "nothing written yet");
    let mut bytes = published();
    bytes[248 / 8] = 0;
    assert_eq!(
        refusal(&mut bytes, &queue_of_i64()).0,
        ErrorKind::NotReady,
        "not published"
    );
}

#[test]
fn foreign_bytes_are_foreign() {
    for fill in [u64::MAX, 1, 0x4e55_4d50_5993] {
        assert_eq!(
            refusal(&mut [fill; 512], &queue_of_i64()).0,
            ErrorKind::Foreign
        );
    }
}

#[test]
fn every_flipped_bit_of_the_description_is_noticed() {
    for bit in (0..HEADER_SIZE * 8).step_by(STEP) {
        let mut bytes = published();
        bytes[bit / 64] ^= 1 << (bit % 64);
        let mutable = (224 * 8..240 * 8).contains(&bit);
        match attach(&mut bytes, &queue_of_i64()) {
            Ok(_) => assert!(mutable, "bit {bit} of byte {} was not noticed", bit / 8),
            Err(error) => assert!(!mutable, "bit {bit}: {error}"),
        }
    }
}

#[test]
fn impossible_sizes_with_a_right_checksum_are_corrupt() {
    for (offset, size) in [(0, 1), (u64::MAX, 2), (SEGMENT as u64, 1), (256, u64::MAX)] {
        let mut bytes = vec![0; SEGMENT / 8];
        let expected = Expected {
            payload_size: size,
            ..queue_of_i64()
        };
        Header::new(&expected, &HERE, SEGMENT as u64, offset)
            .publish(Region::from_exclusive(&mut bytes))
            .unwrap();
        let expected = Expected {
            payload_size: 0,
            ..expected
        };
        assert_eq!(
            refusal(&mut bytes, &expected).0,
            ErrorKind::Corrupt,
            "{offset} + {size}"
        );
    }
}
