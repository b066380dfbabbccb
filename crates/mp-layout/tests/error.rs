//! What errors say, and that they cross processes.
#![cfg(feature = "serde")]

use std::error::Error as _;
use std::io;

use mp_layout::{Error, ErrorKind};

#[test]
fn names_operation_object_and_cause() {
    let error = Error::os("open", "\"jobs\"", io::Error::from_raw_os_error(2));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().starts_with("open \"jobs\": No such file"),
        "{error}"
    );
    assert!(error.source().is_some());
}

#[test]
fn exhausted_descriptors_and_memory_have_kinds_of_their_own() {
    let kind = |number| Error::os("create", "", io::Error::from_raw_os_error(number)).kind();
    assert_eq!([kind(24), kind(23)], [ErrorKind::TooManyDescriptors; 2]);
    assert_eq!([kind(12), kind(28)], [ErrorKind::NotEnoughMemory; 2]);
    assert_eq!(kind(22), ErrorKind::Os);
}

#[test]
fn exhausted_descriptors_name_the_limit() {
    for (number, limit) in [(24, "raise ulimit -n"), (23, "raise fs.file-max")] {
        let error = Error::os("open", "\"jobs\"", io::Error::from_raw_os_error(number));
        let text = error.to_string();
        assert!(
            text.starts_with("open \"jobs\": ") && text.contains(limit),
            "{text}"
        );
        assert!(text.ends_with(&format!("(os error {number})")), "{text}");
    }
}

#[test]
fn travels_with_its_kind_words_and_cause() {
    let sent = [
        Error::os("map", "segment", io::Error::from_raw_os_error(12)).with_detail("80 MiB asked"),
        Error::os("read", "pipe", io::Error::other("half a line")),
        Error::mismatch(ErrorKind::WrongKind, "open", "x", "a lock", "a queue"),
    ];
    for error in sent {
        let bytes = postcard::to_stdvec(&error).unwrap();
        let received: Error = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(received.kind(), error.kind());
        assert_eq!(received.to_string(), error.to_string());
        assert_eq!(received.source().is_some(), error.source().is_some());
    }
}
