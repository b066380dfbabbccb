//! Arrays whose element type is known at run time.

use core::fmt;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Kind, Plain, Result, TypeCode, TypeTag};
use mp_object::{Object, ObjectType};
use mp_os::clock::Deadline;
use mp_sync::LockError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::any_value::{deserialize_coded, open_coded};
use crate::array_control::Until;
use crate::first::First;
use crate::initial_elements::InitialElements;
use crate::scalar::{Element, with_element_type};
use crate::{Array, ArrayLock, Scalar};

/// An [`Array`] by type code: Python's `Array('d', 10)`.
///
/// ```
/// use mp_value::{AnyArray, Scalar};
///
/// let zeros = AnyArray::from_code('d', 10)?;
/// let squares = AnyArray::from_code('i', [1, 4, 9])?;
/// squares.set(0, -1)?;
/// assert_eq!((zeros.len(), squares.get(0)?), (10, Scalar::Int(-1)));
/// assert_eq!(squares.typed::<i32>()?.to_vec()?, [-1, 4, 9]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone)]
pub struct AnyArray {
    code: TypeCode,
    array: Arc<dyn AnyTyped>,
}

/// What a new [`AnyArray`] holds: a number of zeros, or given elements.
#[derive(Clone, Debug)]
pub struct Contents(Initial);

#[derive(Clone, Debug)]
enum Initial {
    Zeros(i128),
    InitialElements(Vec<Scalar>),
}

impl From<usize> for Contents {
    fn from(len: usize) -> Self {
        Self(Initial::Zeros(len as i128))
    }
}

impl From<i32> for Contents {
    /// What an integer literal is; a negative one is refused later.
    fn from(len: i32) -> Self {
        Self(Initial::Zeros(len.into()))
    }
}

impl<S: Into<Scalar> + Copy> From<&[S]> for Contents {
    fn from(elements: &[S]) -> Self {
        Self(Initial::InitialElements(
            elements.iter().map(|element| (*element).into()).collect(),
        ))
    }
}

impl<S: Into<Scalar>, const N: usize> From<[S; N]> for Contents {
    fn from(elements: [S; N]) -> Self {
        Self(Initial::InitialElements(
            elements.into_iter().map(Into::into).collect(),
        ))
    }
}

impl<S: Into<Scalar>> From<Vec<S>> for Contents {
    fn from(elements: Vec<S>) -> Self {
        Self(Initial::InitialElements(
            elements.into_iter().map(Into::into).collect(),
        ))
    }
}

/// An array of some element type.
trait AnyTyped: Send + Sync {
    fn len(&self) -> usize;
    fn get(&self, code: TypeCode, index: usize, deadline: Deadline) -> Result<Scalar>;
    fn set(&self, code: TypeCode, index: usize, scalar: Scalar, deadline: Deadline) -> Result<()>;
    fn get_lock(&self, deadline: Deadline) -> Result<ArrayLock<'_>, LockError<ArrayLock<'_>>>;
    fn numpy_line(&self) -> String;
    fn object(&self) -> &Object;
}

impl<T: Element> AnyTyped for Array<T> {
    fn len(&self) -> usize {
        self.len()
    }

    fn get(&self, code: TypeCode, index: usize, deadline: Deadline) -> Result<Scalar> {
        let element = self.get_until(index, Until::deadline(deadline))?;
        Ok(element.to_scalar(code))
    }

    fn set(&self, code: TypeCode, index: usize, scalar: Scalar, deadline: Deadline) -> Result<()> {
        self.set_until(
            index,
            T::from_scalar(code, scalar)?,
            Until::deadline(deadline),
        )
    }

    fn get_lock(&self, deadline: Deadline) -> Result<ArrayLock<'_>, LockError<ArrayLock<'_>>> {
        self.get_lock_until(deadline)
    }

    fn numpy_line(&self) -> String {
        self.numpy_line()
    }

    fn object(&self) -> &Object {
        self.object()
    }
}

impl AnyArray {
    /// Makes an array of the type that `code` stands for, one of `b B h H i I l L q Q f d c ? u`:
    /// of that many zeros if `contents` is a number, or of the elements of a slice, an array or
    /// a `Vec`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`] if there is no such code or an element is none of its type,
    /// [`ErrorKind::InvalidInput`] if one is out of range, and those of [`Array::new`].
    pub fn from_code(code: char, contents: impl Into<Contents>) -> Result<Self> {
        let code = TypeCode::from_char(code)?;
        let array: Arc<dyn AnyTyped> = with_element_type!(code, T => {
            Arc::new(create::<T>(code, contents.into().0)?)
        });
        Ok(Self { code, array })
    }

    /// Opens the array named `name`, whatever type code it has.
    ///
    /// # Errors
    ///
    /// Those of [`Array::open`]; [`ErrorKind::WrongType`] if it has none.
    pub fn open(name: &str) -> Result<Self> {
        open_coded(name, Kind::Array).and_then(|(code, object)| Self::from_object(code, object))
    }

    /// The type code.
    pub fn code(&self) -> TypeCode {
        self.code
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.array.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, read under the lock; blocks as [`Array::get`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Array::get`].
    pub fn get(&self, index: usize) -> Result<Scalar> {
        self.array.get(self.code, index, Deadline::NEVER)
    }

    /// [`get`](Self::get) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`Array::get`].
    pub fn try_get(&self, index: usize) -> Result<Scalar> {
        self.array.get(self.code, index, Deadline::PASSED)
    }

    /// [`get`](Self::get) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`Array::get`].
    pub fn get_timeout(&self, index: usize, timeout: impl Into<Deadline>) -> Result<Scalar> {
        self.array.get(self.code, index, timeout.into())
    }

    /// Stores `value` at `index` under the lock, if it is one of this type; blocks as
    /// [`Array::set`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Array::set`]; [`ErrorKind::WrongType`] if `value` is none of this type,
    /// [`ErrorKind::InvalidInput`] if it is out of range.
    pub fn set(&self, index: usize, value: impl Into<Scalar>) -> Result<()> {
        self.array
            .set(self.code, index, value.into(), Deadline::NEVER)
    }

    /// [`set`](Self::set) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`AnyArray::set`].
    pub fn try_set(&self, index: usize, value: impl Into<Scalar>) -> Result<()> {
        self.array
            .set(self.code, index, value.into(), Deadline::PASSED)
    }

    /// [`set`](Self::set) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of the lock or of a chunk, and those
    /// of [`AnyArray::set`].
    pub fn set_timeout(
        &self,
        index: usize,
        value: impl Into<Scalar>,
        timeout: impl Into<Deadline>,
    ) -> Result<()> {
        self.array
            .set(self.code, index, value.into(), timeout.into())
    }

    /// Acquires the lock without the data; `get` and `set` under it do not lock again.
    ///
    /// # Errors
    ///
    /// Those of [`Array::get_lock`].
    pub fn get_lock(&self) -> Result<ArrayLock<'_>, LockError<ArrayLock<'_>>> {
        self.array.get_lock(Deadline::NEVER)
    }

    /// [`get_lock`](Self::get_lock) without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder, and those of [`Array::get_lock`].
    pub fn try_get_lock(&self) -> Result<ArrayLock<'_>, LockError<ArrayLock<'_>>> {
        self.array.get_lock(Deadline::PASSED)
    }

    /// [`get_lock`](Self::get_lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder, and those of [`Array::get_lock`].
    pub fn get_lock_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<ArrayLock<'_>, LockError<ArrayLock<'_>>> {
        self.array.get_lock(timeout.into())
    }

    /// The line of Python that opens the same elements, see [`Array::numpy_line`].
    pub fn numpy_line(&self) -> String {
        self.array.numpy_line()
    }

    /// The same array as an [`Array`] of `T`, to lock it as a slice or to divide it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`] if `T` is not the type of the code.
    pub fn typed<T: Plain>(&self) -> Result<Array<T>> {
        Array::of_object(self.array.object())
    }

    fn from_object(code: TypeCode, object: Object) -> Result<Self> {
        let array: Arc<dyn AnyTyped> = with_element_type!(code, T => {
            Arc::new(Array::<T>::of_object(&object)?)
        });
        Ok(Self { code, array })
    }
}

fn create<T: Element>(code: TypeCode, contents: Initial) -> Result<Array<T>> {
    let tag = TypeTag::of_code(code);
    match contents {
        Initial::Zeros(len) => {
            let len = usize::try_from(len).map_err(|_| {
                Error::new(ErrorKind::InvalidInput, "create", "array")
                    .with_detail(format!("{len} is no number of elements"))
            })?;
            Array::create(First {
                tag,
                value: InitialElements::Zeros(len),
            })
        }
        Initial::InitialElements(scalars) => {
            let elements = scalars.iter().map(|scalar| T::from_scalar(code, *scalar));
            let elements = elements.collect::<Result<Vec<T>>>()?;
            Array::create(First {
                tag,
                value: InitialElements::Copies(&elements),
            })
        }
    }
}

impl fmt::Debug for AnyArray {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AnyArray")
            .field("code", &self.code.as_char())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Serialize for AnyArray {
    /// Writes the code and the handle, see [`mp_object::transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.code.as_char(), self.array.object()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AnyArray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (code, object) = deserialize_coded(deserializer, Kind::Array)?;
        Self::from_object(code, object).map_err(serde::de::Error::custom)
    }
}
