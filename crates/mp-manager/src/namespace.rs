//! Named values of any types, at the server.

use std::fmt;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::Result;
use mp_process::Argument;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::parcel::Key;
use crate::proxy::{Proxy, flag, unexpected};
use crate::request::{Answer, DictOperation, Operation, When};

/// Values with names, each of a type of its own, in the server of a [`Manager`](crate::Manager):
/// Python's `manager.Namespace()`.
///
/// What is said of [`Dict`](crate::Dict) holds for it. A value is read as the type that it was set
/// as; another type is an error, or another value, as with every message of serde.
///
/// # Examples
///
/// ```
/// let manager = mp_manager::Manager::new()?;
/// let space = manager.namespace()?;
/// space.set("rate", 0.5_f64)?;
/// space.set("hosts", vec!["a".to_owned(), "b".to_owned()])?;
/// assert_eq!(space.get::<f64>("rate")?, Some(0.5));
/// assert_eq!(space.get::<f64>("speed")?, None);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone)]
pub struct Namespace {
    proxy: Proxy,
}

impl Namespace {
    pub(crate) fn of(proxy: Proxy) -> Self {
        Self { proxy }
    }

    fn call(&self, operation: DictOperation) -> Result<Answer> {
        self.proxy.call(Operation::Dict(operation))
    }

    fn get_stamped<T: Argument>(&self, name: &str) -> Result<Option<(u64, T)>> {
        match self.call(DictOperation::Get(Key::of(name)?))? {
            Answer::Value(None) => Ok(None),
            Answer::Value(Some((stamp, value))) => {
                Ok(Some((stamp, self.proxy.link.unpack(value)?)))
            }
            _ => Err(unexpected()),
        }
    }

    /// The value of a name; `None` if it has none: Python's `ns.name`.
    ///
    /// # Errors
    ///
    /// For all methods: [`ErrorKind::ProcessDied`] if the server has ended, [`ErrorKind::Closed`]
    /// if the manager was shut down, [`ErrorKind::Encode`] and [`ErrorKind::Decode`] for what serde
    /// cannot write, or read as a `T`.
    pub fn get<T: Argument>(&self, name: &str) -> Result<Option<T>> {
        Ok(self.get_stamped(name)?.map(|(_, value)| value))
    }

    /// Sets the value of a name: Python's `ns.name = value`.
    pub fn set<T: Argument>(&self, name: &str, value: T) -> Result<()> {
        let value = self.proxy.link.pack(&value)?;
        flag(self.call(DictOperation::Put(Key::of(name)?, value, When::Always))?)?;
        Ok(())
    }

    /// Sets the value of a name to what `change` makes of the one that is there, as
    /// [`Dict::update`](crate::Dict::update) does.
    pub fn update<T: Argument>(
        &self,
        name: &str,
        mut change: impl FnMut(Option<T>) -> T,
    ) -> Result<()> {
        loop {
            let (stamp, value) = self.get_stamped(name)?.unzip();
            let value = self.proxy.link.pack(&change(value))?;
            let when = When::Stamp(stamp.unwrap_or(0));
            if flag(self.call(DictOperation::Put(Key::of(name)?, value, when))?)? {
                return Ok(());
            }
        }
    }

    /// Removes a name; returns whether it was there: Python's `del ns.name`.
    pub fn remove(&self, name: &str) -> Result<bool> {
        flag(self.call(DictOperation::Remove(Key::of(name)?, When::Always))?)
    }

    /// All names, in the order in which they came.
    pub fn names(&self) -> Result<Vec<String>> {
        self.proxy.keys()
    }

    /// Whether both are proxies of the same object.
    pub fn is_same(&self, other: &Self) -> bool {
        self.proxy.is_same(&other.proxy)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.proxy.number();
        formatter.debug_tuple("Namespace").field(&number).finish()
    }
}

impl Serialize for Namespace {
    /// Writes the proxy, as that of a [`Dict`](crate::Dict) is written.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.proxy.serialize::<Self, S>(serializer)
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Proxy::deserialize::<Self, D>(deserializer).map(Self::of)
    }
}
