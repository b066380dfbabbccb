//! Functions by names that a program gives them.
//!
//! A [`Function`](super::Function) is an address: it means nothing in another build, in another
//! program, and for a function of a shared library. What both sides can name instead is registered
//! under that name, in a [`Registry`] that each side makes.

use std::any::type_name;
use std::collections::BTreeMap;

use mp_layout::{Error, ErrorKind, Result};

use super::Callable;
use crate::entry::Entry;
use crate::task::{Arguments, Returned, Stateless, Task};

/// The functions that a process runs for others, by name.
///
/// ```
/// use mp_process::call::{self, Named, Outcome, Registry};
///
/// fn power(base: u64, exponent: u32) -> u64 {
///     base.pow(exponent)
/// }
///
/// // In the process that runs functions:
/// let mut registry = Registry::new();
/// registry.register::<_, (u64, u32), _>("power", power)?;
///
/// // In a process that calls:
/// let name = Named::of::<(u64, u32), u64>("power").to_bytes();
/// let (arguments, objects) = call::write_arguments(&(2_u64, 10_u32))?;
///
/// // In the first again:
/// let callable = registry.find(&Named::from_bytes(&name)?)?;
/// let outcome = callable.call(&arguments, objects);
/// assert_eq!(outcome.value::<u64, _>("the worker")?, 1024);
///
/// let error = registry.find(&Named::of::<(u64,), u64>("power")).unwrap_err();
/// assert_eq!(error.kind(), mp_layout::ErrorKind::WrongType);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Registry {
    functions: BTreeMap<String, Registered>,
}

#[derive(Clone, Copy, Debug)]
struct Registered {
    callable: Callable,
    types: u64,
    types_text: fn() -> String,
}

/// A function by its name, with its types: those of the arguments, as a tuple, and of the result.
///
/// The example of [`Registry`] uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    name: String,
    types: u64,
}

impl Registry {
    /// A registry without functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a function, or a closure without captures, that takes the arguments `A`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] if a function has the name.
    pub fn register<F, A, W>(&mut self, name: impl Into<String>, task: F) -> Result<()>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        // A value of a function's type is needed to name the type, and for nothing else.
        let _: F = task;
        let name = name.into();
        if self.functions.contains_key(&name) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "register",
                object(&name),
            ));
        }
        let registered = Registered {
            callable: Callable(Entry::of::<F, A, W>()),
            types: types::<A, F::Output>(),
            types_text: types_text::<A, F::Output>,
        };
        self.functions.insert(name, registered);
        Ok(())
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// The function of that name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if none has the name; [`ErrorKind::WrongType`] if it has other
    /// types. Types are told apart by their paths: one whose fields differ between two builds is
    /// found out when its bytes are read, or not at all.
    pub fn find(&self, named: &Named) -> Result<Callable> {
        let Named { name, types } = named;
        match self.functions.get(name) {
            Some(found) if found.types == *types => Ok(found.callable),
            Some(found) => Err(
                Error::new(ErrorKind::WrongType, "find", object(name)).with_detail(format!(
                    "it is {}; the caller names other types",
                    (found.types_text)()
                )),
            ),
            None => {
                let known: Vec<_> = self.names().collect();
                Err(Error::new(ErrorKind::NotFound, "find", object(name))
                    .with_detail(format!("registered are {}", known.join(", "))))
            }
        }
    }
}

impl Named {
    /// The function `name`, that takes `A`, a tuple, and returns `R`.
    pub fn of<A, R>(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            types: types::<A, R>(),
        }
    }

    /// It as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.types.to_le_bytes().to_vec();
        bytes.extend_from_slice(self.name.as_bytes());
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] if it is too short, or its name is no text.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let parts = bytes
            .split_first_chunk::<8>()
            .and_then(|(types, name)| Some((types, std::str::from_utf8(name).ok()?)));
        let Some((types, name)) = parts else {
            return Err(Error::new(
                ErrorKind::Decode,
                "read",
                "the name of a function",
            ));
        };
        Ok(Self {
            name: name.to_owned(),
            types: u64::from_le_bytes(*types),
        })
    }
}

fn types<A, R>() -> u64 {
    mp_layout::hash_of_text(&types_text::<A, R>())
}

fn types_text<A, R>() -> String {
    format!("fn{} -> {}", type_name::<A>(), type_name::<R>())
}

fn object(name: &str) -> String {
    format!("function {name:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once_and_found_with_its_types_only() {
        let mut registry = Registry::new();
        registry
            .register::<_, (u32,), _>("double", |n: u32| n * 2)
            .unwrap();
        let again = registry
            .register::<_, (), _>("double", || 0_u32)
            .unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");
        let kind = |named: &Named| registry.find(named).map(drop).map_err(|error| error.kind());
        assert_eq!(kind(&Named::of::<(u32,), u32>("double")), Ok(()));
        for other in [
            Named::of::<(u64,), u32>("double"),
            Named::of::<(u32,), u64>("double"),
        ] {
            assert_eq!(kind(&other), Err(ErrorKind::WrongType));
        }
        let missing = registry
            .find(&Named::of::<(u32,), u32>("triple"))
            .unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(
            missing.to_string().contains("registered are double"),
            "{missing}"
        );
    }

    #[test]
    fn damaged_names_are_errors() {
        let named = Named::of::<(u32,), u32>("täglich");
        let bytes = named.to_bytes();
        assert_eq!(Named::from_bytes(&bytes).unwrap(), named);
        for damaged in [&bytes[..7], &bytes[..10]] {
            assert_eq!(
                Named::from_bytes(damaged).unwrap_err().kind(),
                ErrorKind::Decode
            );
        }
    }
}
