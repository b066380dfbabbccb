use mp_layout::{Complex, Plain};

use super::*;

/// A file of version 1.0 with this text.
fn with(text: &str) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

fn parsed(text: &str) -> Result<NpyHeader> {
    NpyHeader::parse(&with(text), "x.npy")
}

#[track_caller]
fn refused(text: &str, kind: ErrorKind, words: &[&str]) {
    let error = parsed(text).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}: {word}");
    }
}

fn of(descr: &str, shape: &str) -> String {
    format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}          \n")
}

#[test]
fn reads_what_it_writes() {
    fn round_trip<T: Plain>(shape: &[usize]) {
        let header = NpyHeader::of(T::LAYOUT, shape, "new").unwrap();
        let bytes = header.to_bytes();
        assert!(bytes.len().is_multiple_of(4096) && bytes.ends_with(b" \n"));
        let read = NpyHeader::parse(&bytes, "x").unwrap();
        assert_eq!(read, header);
        let size = read.len() * size_of::<T>() + read.data_offset();
        read.check(T::LAYOUT, size, "x").unwrap();
        if read.len() > 0 {
            let error = read.check(T::LAYOUT, size - 1, "x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated);
        }
    }
    round_trip::<f64>(&[]);
    round_trip::<u8>(&[0]);
    round_trip::<bool>(&[3, 0, 5]);
    round_trip::<Complex<f32>>(&[1, 2, 3, 4]);
    round_trip::<i64>(&[1; 64]);
}

#[test]
fn reads_how_else_python_writes() {
    for (text, dtype, shape) in [
        (of("'<f8'", "()"), "'<f8'", &[][..]),
        (of("'=i4'", "(3L,)"), "'<i4'", &[3]),
        (of("'?'", "(3 , 4)"), "'|b1'", &[3, 4]),
        (of("'<u1'", "(0,)"), "'|u1'", &[0]),
        (
            of("[('x','f4'),('at', '<f8' , (3,))]", "(1,)"),
            "[('x', '<f4'), ('at', '<f8', (3,))]",
            &[1],
        ),
        (
            r#"{"shape": (2,), "fortran_order": True, "descr": "<c8"}"#.to_owned(),
            "'<c8'",
            &[2],
        ),
    ] {
        let header = parsed(&text).unwrap();
        assert_eq!((header.dtype(), header.shape()), (dtype, shape), "{text}");
    }
}

#[test]
fn code_is_refused_and_not_run() {
    for text in [
        "__import__('os').system('true')".to_owned(),
        "{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}".to_owned(),
        of("'<f8'", "(1 + 1,)"),
        of("'<f8'", "(3,) * 2"),
        of("'<f8' if True else 'O'", "()"),
        of("'<f8'", "()") + "; x",
        of("'\\x3cf8'", "()"),
        of("f'<f8'", "()"),
    ] {
        refused(&text, ErrorKind::Corrupt, &["expected"]);
    }
}

#[test]
fn a_header_that_lies_is_refused_with_what_was_found() {
    refused(
        &of("'<f8'", "(-1,)"),
        ErrorKind::Corrupt,
        &["(-1,)", "lengths"],
    );
    refused(&of("'<f8'", "(2.5,)"), ErrorKind::Corrupt, &[".5"]);
    refused(
        &of("'<f8'", "3"),
        ErrorKind::Corrupt,
        &["shape is 3", "tuple"],
    );
    refused(&of("'<f8'", "(3)"), ErrorKind::Corrupt, &["tuple"]);
    refused(&of("'<f8'", "(True,)"), ErrorKind::Corrupt, &["True"]);
    let huge = "(4294967296, 4294967296, 0)";
    refused(
        &of("'<f8'", huge),
        ErrorKind::WrongSize,
        &[huge, "addresses"],
    );
    refused(
        &of("'<f8'", &format!("({},)", "9".repeat(40))),
        ErrorKind::Corrupt,
        &["smaller"],
    );
    refused(
        &of("'<f8'", &format!("({})", "1,".repeat(65))),
        ErrorKind::Corrupt,
        &["65", "64"],
    );
    refused(
        &of("'<f8'", &"(".repeat(1000)),
        ErrorKind::Corrupt,
        &["brackets"],
    );
    refused("{'descr': '<f8'}", ErrorKind::Corrupt, &["fortran_order"]);
    refused(
        "{'descr': '<f8', 'descr': '<f4'}",
        ErrorKind::Corrupt,
        &["twice"],
    );
    refused("{'extra': 1}", ErrorKind::Corrupt, &["extra"]);
    refused("", ErrorKind::Corrupt, &["ends"]);
}

#[test]
fn another_type_is_refused_with_both() {
    for (descr, word) in [
        ("'>f8'", "big endian"),
        ("'|O'", "Python objects"),
        ("'<f4'", "<f4"),
    ] {
        let header = parsed(&of(descr, "(1,)")).unwrap();
        let error = header.check(f64::LAYOUT, 1 << 20, "x.npy").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
        let text = error.to_string();
        assert!(text.contains(word) && text.contains("'<f8'"), "{error}");
    }
}

#[test]
fn what_is_no_npy_file_is_refused() {
    let whole = NpyHeader::of(f64::LAYOUT, &[2], "x").unwrap().to_bytes();
    for end in 0..whole.len() {
        let error = NpyHeader::parse(&whole[..end], "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated, "{end}");
    }
    let kind = |bytes: &[u8]| NpyHeader::parse(bytes, "x").unwrap_err().kind();
    assert_eq!(kind(b"PK\x03\x04 a zip file"), ErrorKind::Foreign);
    assert_eq!(kind(b"\x93NUMPY\x04\x00\x10\x00"), ErrorKind::WrongVersion);
    assert_eq!(
        kind(b"\x93NUMPY\x02\x00\xff\xff\xff\xff"),
        ErrorKind::Corrupt
    );
    assert_eq!(
        kind(b"\x93NUMPY\x03\x00\x01\x00\x00\x00\xff"),
        ErrorKind::Corrupt
    );
}

#[test]
fn shapes_and_types_that_cannot_be_are_refused() {
    let kind = |layout, shape: &[usize]| NpyHeader::of(layout, shape, "new").unwrap_err().kind();
    assert_eq!(kind(f64::LAYOUT, &[usize::MAX, 2]), ErrorKind::InvalidInput);
    assert_eq!(kind(f64::LAYOUT, &[usize::MAX, 0]), ErrorKind::InvalidInput);
    assert_eq!(kind(f64::LAYOUT, &[1; 65]), ErrorKind::InvalidInput);
    assert_eq!(kind(<[f32; 3]>::LAYOUT, &[1]), ErrorKind::InvalidInput);
    assert_eq!(kind(<()>::LAYOUT, &[1]), ErrorKind::InvalidInput);
}
