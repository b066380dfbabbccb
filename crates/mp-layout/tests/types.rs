//! Type codes, tags and what may live in shared memory.

use mp_layout::{Class, ErrorKind, Plain, TypeCode, TypeTag, bytes_of, value_of, zeroed};

#[test]
fn codes_have_the_sizes_of_c_on_64_bit_linux() {
    let sizes: Vec<_> = TypeCode::ALL
        .iter()
        .map(|code| (code.as_char(), code.item_size()))
        .collect();
    let expected = [
        ('b', 1),
        ('B', 1),
        ('h', 2),
        ('H', 2),
        ('i', 4),
        ('I', 4),
        ('l', 8),
        ('L', 8),
        ('q', 8),
        ('Q', 8),
        ('f', 4),
        ('d', 8),
        ('c', 1),
        ('?', 1),
        ('u', 4),
    ];
    assert_eq!(sizes, expected);
}

#[test]
fn codes_read_back_from_their_characters() {
    for code in TypeCode::ALL {
        assert_eq!(TypeCode::from_char(code.as_char()).unwrap(), *code);
    }
}

#[test]
fn unknown_code_lists_the_known_ones() {
    let error = TypeCode::from_char('z').unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert!(
        error.to_string().contains("b B h H i I l L q Q f d c ? u"),
        "{error}"
    );
}

#[test]
fn rust_types_write_their_canonical_code() {
    assert_eq!(TypeTag::of::<i64>().code(), Some(TypeCode::I64));
    assert_eq!(TypeTag::of::<u8>().code(), Some(TypeCode::U8));
    assert_eq!(TypeTag::of::<bool>().code(), Some(TypeCode::Bool));
    assert_eq!(TypeTag::of::<[f64; 2]>().code(), None);
}

#[test]
fn tags_accept_the_same_class_and_size_only() {
    let tag = |code| TypeTag::of_code(code);
    for left in TypeCode::ALL {
        for right in TypeCode::ALL {
            let same = left.class() == right.class() && left.item_size() == right.item_size();
            assert_eq!(tag(*left).accepts(tag(*right)), same, "{left} and {right}");
        }
    }
    assert_eq!(TypeCode::Byte.class(), Class::Unsigned);
}

#[test]
fn other_types_differ_by_path_and_size() {
    assert!(TypeTag::of::<[f64; 2]>().accepts(TypeTag::of::<[f64; 2]>()));
    assert!(!TypeTag::of::<[f64; 2]>().accepts(TypeTag::of::<[i64; 2]>()));
    assert!(!TypeTag::of::<[f64; 1]>().accepts(TypeTag::of::<f64>()));
}

#[test]
fn integers_of_one_size_without_a_code_differ() {
    assert_eq!(TypeTag::of::<usize>().code(), None);
    assert!(TypeTag::of::<usize>().accepts(TypeTag::of::<usize>()));
    assert!(!TypeTag::of::<usize>().accepts(TypeTag::of::<isize>()));
    assert!(!TypeTag::of::<u128>().accepts(TypeTag::of::<i128>()));
    assert!(!TypeTag::of::<u128>().accepts(TypeTag::of::<[u64; 2]>()));
}

#[test]
fn bytes_are_checked_where_some_are_no_value() {
    assert_eq!(value_of::<f32>(&1.5_f32.to_ne_bytes()), Some(1.5));
    assert_eq!(value_of::<f32>(&[0; 5]), None, "one byte too many");
    assert_eq!(value_of::<[bool; 2]>(&[1, 0]), Some([true, false]));
    assert_eq!(value_of::<[bool; 2]>(&[1, 2]), None);
    assert_eq!(value_of::<char>(&0xd800_u32.to_ne_bytes()), None);
    assert_eq!(value_of::<[[char; 0]; 3]>(&[]), Some([[]; 3]));
    assert_eq!(
        bytes_of(&[1_u16, 2]),
        [1_u16, 2].map(u16::to_ne_bytes).concat()
    );
    assert_eq!(zeroed::<[char; 2]>(), ['\0'; 2]);
}

#[test]
fn numbers_bool_char_and_arrays_are_plain() {
    fn plain<T: Plain>() {}
    plain::<u8>();
    plain::<bool>();
    plain::<char>();
    plain::<[f64; 10]>();
}
