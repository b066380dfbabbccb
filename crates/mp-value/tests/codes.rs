//! Values and arrays by type code.

#[path = "shared/handles.rs"]
mod handles;

use handles::{kind, twin};
use mp_layout::{ErrorKind, TypeCode};
use mp_testkit::UniqueName;
use mp_value::{AnyArray, AnyValue, Array, Scalar, Value};

/// For each integer code its least and its greatest value.
const RANGES: [(char, i128, i128); 10] = [
    ('b', -128, 127),
    ('B', 0, 255),
    ('h', -32_768, 32_767),
    ('H', 0, 65_535),
    ('i', -2_147_483_648, 2_147_483_647),
    ('I', 0, 4_294_967_295),
    ('l', i64::MIN as i128, i64::MAX as i128),
    ('L', 0, u64::MAX as i128),
    ('q', i64::MIN as i128, i64::MAX as i128),
    ('Q', 0, u64::MAX as i128),
];

#[test]
fn integers_keep_their_range_and_name_it() {
    for (code, least, most) in RANGES {
        let value = AnyValue::from_code(code, 0).unwrap();
        let array = AnyArray::from_code(code, 1).unwrap();
        for int in [least, most] {
            value.set(int).unwrap();
            array.set(0, int).unwrap();
            assert_eq!(
                (value.get().unwrap(), array.get(0).unwrap()),
                (int.into(), int.into())
            );
        }
        for int in [least - 1, most + 1, i128::MAX] {
            let error = value.set(int).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(text.contains(&format!("'{code}'")), "{text}");
            assert!(text.contains(&format!("from {least} to {most}")), "{text}");
            assert_eq!(kind(array.set(0, int)), ErrorKind::InvalidInput);
        }
        assert_eq!(
            value.get().unwrap(),
            Scalar::Int(most),
            "a refusal changes nothing"
        );
    }
}

#[test]
fn every_code_makes_values_and_arrays() {
    for code in TypeCode::ALL {
        let one = match code.as_char() {
            'c' | 'u' => Scalar::Char('a'),
            '?' => Scalar::Bool(true),
            'f' | 'd' => Scalar::Float(0.5),
            _ => Scalar::Int(1),
        };
        let value = AnyValue::from_code(code.as_char(), one).unwrap();
        assert_eq!((value.code(), value.get().unwrap()), (*code, one));
        let array = AnyArray::from_code(code.as_char(), vec![one, one]).unwrap();
        assert_eq!(
            (array.code(), array.len(), array.get(1).unwrap()),
            (*code, 2, one)
        );
        let zeros = AnyArray::from_code(code.as_char(), 3_usize).unwrap();
        assert_eq!(zeros.len(), 3);
        zeros.set(2, one).unwrap();
        assert_eq!(twin(&zeros).get(2).unwrap(), one);
        assert_eq!(
            (twin(&value).code(), twin(&value).get().unwrap()),
            (*code, one)
        );
    }
}

#[test]
fn only_fitting_scalars_are_taken() {
    assert_eq!(kind(AnyValue::from_code('i', 1.5)), ErrorKind::WrongType);
    assert_eq!(kind(AnyValue::from_code('i', 'x')), ErrorKind::WrongType);
    assert_eq!(kind(AnyValue::from_code('u', 65)), ErrorKind::WrongType);
    assert_eq!(kind(AnyValue::from_code('?', 2)), ErrorKind::InvalidInput);
    assert_eq!(kind(AnyValue::from_code('c', 'ŵ')), ErrorKind::InvalidInput);
    assert_eq!(
        kind(AnyValue::from_code('f', 1e39)),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(AnyArray::from_code('b', [1, 300])),
        ErrorKind::InvalidInput
    );
    assert_eq!(kind(AnyArray::from_code('b', -1)), ErrorKind::InvalidInput);
    assert_eq!(kind(AnyValue::from_code('z', 0)), ErrorKind::WrongType);
    assert_eq!(
        AnyValue::from_code('i', true).unwrap().get().unwrap(),
        Scalar::Int(1)
    );
    assert_eq!(
        AnyValue::from_code('d', 3).unwrap().get().unwrap(),
        Scalar::Float(3.0)
    );
    let infinite = AnyValue::from_code('f', f64::INFINITY)
        .unwrap()
        .get()
        .unwrap();
    assert_eq!(infinite, Scalar::Float(f64::INFINITY));
    assert_eq!(
        AnyValue::from_code('c', 'é').unwrap().get().unwrap(),
        Scalar::Char('é')
    );
}

#[test]
fn large_numbers_are_short_in_messages() {
    let error = AnyValue::from_code('f', 1e300).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(
        text.contains("found 1e300, expected at most 3.4028235e38"),
        "{text}"
    );
    assert_eq!(Scalar::Float(3.0).to_string(), "3.0");
}

#[test]
fn opens_by_name_with_the_code_it_was_made_with() {
    let (value_name, array_name) = (UniqueName::new("value"), UniqueName::new("array"));
    let value = Value::create_named(&value_name, 5_u16).unwrap();
    let opened = AnyValue::open(&value_name).unwrap();
    assert_eq!(opened.code().as_char(), 'H');
    opened.set(6).unwrap();
    assert_eq!(value.get(), 6);
    let array = Array::create_named_from(&array_name, &[1.5, 2.5]).unwrap();
    let opened = AnyArray::open(&array_name).unwrap();
    assert_eq!(opened.code().as_char(), 'd');
    opened.set(1, 0.5).unwrap();
    assert_eq!(array.get(1).unwrap(), 0.5);
    assert_eq!(kind(AnyArray::open(&value_name)), ErrorKind::WrongKind);
    Value::<u16>::unlink(&value_name).unwrap();
    Array::<f64>::unlink(&array_name).unwrap();
    assert_eq!(kind(AnyValue::open(&value_name)), ErrorKind::NotFound);
}

#[test]
fn structures_have_no_code() {
    let name = UniqueName::new("structure");
    Array::<[u8; 3]>::create_named(&name, 2).unwrap();
    let error = AnyArray::open(&name).unwrap_err();
    Array::<[u8; 3]>::unlink(&name).unwrap();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert!(error.to_string().contains("no type code"), "{error}");
}

#[test]
fn typed_handles_are_the_same_object() {
    let array = AnyArray::from_code('l', [1, 2, 3]).unwrap();
    let typed = array.typed::<i64>().unwrap();
    typed.lock().unwrap()[0] = 9;
    assert_eq!(array.get(0).unwrap(), Scalar::Int(9));
    let error = array.typed::<u64>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    let text = error.to_string();
    assert!(
        text.ends_with("found 'l' (i64), expected 'Q' (u64)"),
        "{text}"
    );
    assert_eq!(kind(array.typed::<i32>()), ErrorKind::WrongType);
    let value = AnyValue::from_code('?', true).unwrap();
    assert!(value.typed::<bool>().unwrap().try_get().unwrap());
    assert_eq!(kind(value.typed::<u8>()), ErrorKind::WrongType);
}

#[test]
fn several_elements_are_one_step_under_the_bare_lock() {
    let array = AnyArray::from_code('i', 2).unwrap();
    let lock = array.get_lock().unwrap();
    array.set(0, 1).unwrap();
    array.set(1, 2).unwrap();
    drop(lock);
    let value = AnyValue::from_code('i', 0).unwrap();
    let lock = value.get_lock().unwrap();
    value.set(1).unwrap();
    assert_eq!(kind(value.get_lock()), ErrorKind::Recursive);
    drop(lock);
    assert_eq!(value.get().unwrap(), Scalar::Int(1));
}

#[test]
fn numpy_is_told_the_code() {
    let line = AnyArray::from_code('c', 4).unwrap().numpy_line();
    assert!(
        line.contains(r#"dtype="|S1""#) && line.contains("shape=(4,)"),
        "{line}"
    );
}
