//! Values whose type is known at run time.

use core::fmt;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Kind, Plain, Result, TypeCode, TypeTag};
use mp_object::{Object, ObjectType, Plan};
use mp_os::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::first::First;
use crate::scalar::{Element, with_element_type};
use crate::{Scalar, Value, ValueLock};

/// A [`Value`] by type code: Python's `Value('i', 0)`.
///
/// ```
/// use mp_value::{AnyValue, Scalar};
///
/// let count = AnyValue::from_code('b', 0)?;
/// count.set(100)?;
/// let error = count.set(300).unwrap_err();
/// assert!(error.to_string().contains("an integer from -128 to 127"));
/// assert_eq!(count.get()?, Scalar::Int(100));
/// assert_eq!(count.typed::<i8>()?.get(), 100);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone)]
pub struct AnyValue {
    code: TypeCode,
    value: Arc<dyn AnyTyped>,
}

/// A value of some element type.
trait AnyTyped: Send + Sync {
    fn get(&self, code: TypeCode) -> Result<Scalar>;
    fn set(&self, code: TypeCode, scalar: Scalar, deadline: Deadline) -> Result<()>;
    fn get_lock(&self, deadline: Deadline) -> Result<ValueLock<'_>>;
    fn object(&self) -> &Object;
}

impl<T: Element> AnyTyped for Value<T> {
    fn get(&self, code: TypeCode) -> Result<Scalar> {
        self.try_get().map(|element| element.to_scalar(code))
    }

    fn set(&self, code: TypeCode, scalar: Scalar, deadline: Deadline) -> Result<()> {
        self.set_until(T::from_scalar(code, scalar)?, deadline)
    }

    fn get_lock(&self, deadline: Deadline) -> Result<ValueLock<'_>> {
        self.get_lock_until(deadline)
    }

    fn object(&self) -> &Object {
        self.object()
    }
}

impl AnyValue {
    /// Makes a value of the type that `code` stands for: one of `b B h H i I l L q Q f d c ? u`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`] if there is no such code or the value is none of its type,
    /// [`ErrorKind::InvalidInput`] if it is out of range, and those of [`Value::new`].
    pub fn from_code(code: char, value: impl Into<Scalar>) -> Result<Self> {
        let code = TypeCode::from_char(code)?;
        let (tag, scalar) = (TypeTag::of_code(code), value.into());
        let value: Arc<dyn AnyTyped> = with_element_type!(code, T => {
            Arc::new(Value::create(First { tag, value: T::from_scalar(code, scalar)? })?)
        });
        Ok(Self { code, value })
    }

    /// Opens the value named `name`, whatever type code it has.
    ///
    /// # Errors
    ///
    /// Those of [`Value::open`]; [`ErrorKind::WrongType`] if it has none.
    pub fn open(name: &str) -> Result<Self> {
        open_coded(name, Kind::Value).and_then(|(code, object)| Self::from_object(code, object))
    }

    /// The type code.
    pub fn code(&self) -> TypeCode {
        self.code
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// As for [`Value::try_get`].
    pub fn get(&self) -> Result<Scalar> {
        self.value.get(self.code)
    }

    /// Replaces the value, if it is one of this type; blocks until the lock is free.
    ///
    /// # Errors
    ///
    /// Those of [`Value::set`]; [`ErrorKind::WrongType`] if `value` is none of this type,
    /// [`ErrorKind::InvalidInput`] if it is out of range.
    pub fn set(&self, value: impl Into<Scalar>) -> Result<()> {
        self.value.set(self.code, value.into(), Deadline::NEVER)
    }

    /// [`set`](Self::set) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`AnyValue::set`].
    pub fn try_set(&self, value: impl Into<Scalar>) -> Result<()> {
        self.value.set(self.code, value.into(), Deadline::PASSED)
    }

    /// [`set`](Self::set) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`AnyValue::set`].
    pub fn set_timeout(
        &self,
        value: impl Into<Scalar>,
        timeout: impl Into<Deadline>,
    ) -> Result<()> {
        self.value.set(self.code, value.into(), timeout.into())
    }

    /// Acquires the lock without the data; `set` under it does not lock again.
    ///
    /// # Errors
    ///
    /// Those of [`Value::get_lock`].
    pub fn get_lock(&self) -> Result<ValueLock<'_>> {
        self.value.get_lock(Deadline::NEVER)
    }

    /// [`get_lock`](Self::get_lock) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`Value::get_lock`].
    pub fn try_get_lock(&self) -> Result<ValueLock<'_>> {
        self.value.get_lock(Deadline::PASSED)
    }

    /// [`get_lock`](Self::get_lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`Value::get_lock`].
    pub fn get_lock_timeout(&self, timeout: impl Into<Deadline>) -> Result<ValueLock<'_>> {
        self.value.get_lock(timeout.into())
    }

    /// The same value as a [`Value`] of `T`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`] if `T` is not the type of the code.
    pub fn typed<T: Plain>(&self) -> Result<Value<T>> {
        Value::of_object(self.value.object())
    }

    fn from_object(code: TypeCode, object: Object) -> Result<Self> {
        let value: Arc<dyn AnyTyped> = with_element_type!(code, T => {
            Arc::new(Value::<T>::of_object(&object)?)
        });
        Ok(Self { code, value })
    }
}

/// Opens an object of `kind` whose header has a type code.
pub(crate) fn open_coded(name: &str, kind: Kind) -> Result<(TypeCode, Object)> {
    let mut refused = None;
    for code in TypeCode::ALL {
        match Object::open(name, &Plan::new(kind, TypeTag::of_code(*code), 0)) {
            Ok(object) => {
                let code = object.header().tag().code().unwrap_or(*code);
                return Ok((code, object));
            }
            Err(error) if error.kind() == ErrorKind::WrongType => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.map_or_else(
        || Error::new(ErrorKind::WrongType, "open", format!("{name:?}")),
        |error| {
            Error::new(ErrorKind::WrongType, "open", format!("{name:?}")).with_detail(format!(
                "it has no type code; open it by its Rust type ({error})"
            ))
        },
    ))
}

/// Reads a handle of an object of `kind` after its type code.
pub(crate) fn deserialize_coded<'de, D: Deserializer<'de>>(
    deserializer: D,
    kind: Kind,
) -> Result<(TypeCode, Object), D::Error> {
    /// An object of any kind and type code: what it is was said before it.
    struct Seed(Plan);

    impl<'de> serde::de::DeserializeSeed<'de> for Seed {
        type Value = Object;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
            Object::deserialize(deserializer, self.0.expected())
        }
    }

    struct Pair(Kind);

    impl<'de> serde::de::Visitor<'de> for Pair {
        type Value = (TypeCode, Object);

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "a type code and the handle of a {}", self.0)
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut parts: A,
        ) -> Result<Self::Value, A::Error> {
            use serde::de::Error as _;
            let missing = |place| A::Error::invalid_length(place, &"a code and a handle");
            let code = parts.next_element::<char>()?.ok_or_else(|| missing(0))?;
            let code = TypeCode::from_char(code).map_err(A::Error::custom)?;
            let seed = Seed(Plan::new(self.0, TypeTag::of_code(code), 0));
            let object = parts.next_element_seed(seed)?.ok_or_else(|| missing(1))?;
            Ok((code, object))
        }
    }

    deserializer.deserialize_tuple(2, Pair(kind))
}

impl fmt::Debug for AnyValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AnyValue")
            .field("code", &self.code.as_char())
            .field("value", &self.get())
            .finish()
    }
}

impl Serialize for AnyValue {
    /// Writes the code and the handle, see [`mp_object::transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.code.as_char(), self.value.object()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (code, object) = deserialize_coded(deserializer, Kind::Value)?;
        Self::from_object(code, object).map_err(serde::de::Error::custom)
    }
}
