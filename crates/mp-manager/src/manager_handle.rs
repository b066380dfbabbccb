//! What makes the objects of a manager, in any process.

use std::fmt;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Plain, Result};
use mp_object::{Barrier, Condition, Event, Lock, PermitSemaphore, RLock, transfer};
use mp_process::{Argument, Arguments, Stateless, Task};
use mp_queue::{JoinableQueue, Queue};
use mp_value::{Array, Value};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::link::{Link, LinkHandle};
use crate::object::making;
use crate::proxy::{Proxy, number};
use crate::request::{Kind, Operation};
use crate::{Dict, List, Namespace, Object, Set, names};

/// A [`Manager`](crate::Manager) as other processes have it: what makes objects at its server.
///
/// It travels as proxies do, as an argument, in a queue or in a managed object. It does not keep
/// the server: when the manager is dropped or shut down, all calls answer with
/// [`ErrorKind::Closed`] or [`ErrorKind::ProcessDied`].
///
/// # Examples
///
/// ```
/// use mp_manager::{List, Manager, ManagerHandle};
///
/// fn worker(manager: ManagerHandle) -> mp_layout::Result<List<u32>> {
///     let list = manager.list()?;
///     list.extend([1, 2])?;
///     Ok(list)
/// }
///
/// let manager = Manager::new()?;
/// let list = mp_process::spawn(worker, (manager.handle(),))?.result()??;
/// assert_eq!(list.to_vec()?, [1, 2]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone)]
pub struct ManagerHandle {
    link: Arc<Link>,
}

impl ManagerHandle {
    pub(crate) fn of(link: Arc<Link>) -> Self {
        Self { link }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Makes an empty dictionary.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ProcessDied`], [`ErrorKind::Closed`],
    /// [`ErrorKind::TooManyDescriptors`] if the server has no descriptor left for it.
    pub fn dict<K: Argument, V: Argument>(&self) -> Result<Dict<K, V>> {
        Proxy::create(&self.link, Kind::Dict).map(Dict::of)
    }

    /// Makes an empty list.
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn list<T: Argument>(&self) -> Result<List<T>> {
        Proxy::create(&self.link, Kind::List).map(List::of)
    }

    /// Makes an empty set.
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn set<T: Argument>(&self) -> Result<Set<T>> {
        Proxy::create(&self.link, Kind::Dict).map(Set::of)
    }

    /// Makes an empty namespace.
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn namespace(&self) -> Result<Namespace> {
        Proxy::create(&self.link, Kind::Dict).map(Namespace::of)
    }

    /// Makes a value of any type at the server, by calling `make` there with these arguments; its
    /// methods are called by [`Object::call`]. What a class that is registered with Python's
    /// `BaseManager` is.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let manager = mp_manager::Manager::new()?;
    /// let tree = manager.object(BTreeMap::<u32, String>::new, ())?;
    /// tree.call(BTreeMap::insert, (7, "seven".to_owned()))?;
    /// let first = tree.call(|tree: &BTreeMap<u32, String>| tree.keys().next().copied(), ())?;
    /// assert_eq!(first, Some(7));
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Object::call`], those of [`dict`](Self::dict), and [`ErrorKind::Full`] if the
    /// server has 1024 objects with methods, each of which has a thread.
    pub fn object<T, F, A>(&self, make: F, arguments: A) -> Result<Object<T>>
    where
        T: 'static,
        F: Task<A, Output = T> + Stateless,
        A: Arguments,
    {
        let make = making(make, arguments, Ok)?;
        Proxy::made(&self.link, make).map(Object::of)
    }

    /// As [`object`](Self::object), by a function that may fail.
    ///
    /// # Errors
    ///
    /// Those of [`object`](Self::object), and the one that `make` returns.
    pub fn try_object<T, F, A>(&self, make: F, arguments: A) -> Result<Object<T>>
    where
        T: 'static,
        F: Task<A, Output = Result<T>> + Stateless,
        A: Arguments,
    {
        let make = making(make, arguments, |made| made)?;
        Proxy::made(&self.link, make).map(Object::of)
    }

    /// Publishes a proxy, or any other value, under a name, by which other processes find it:
    /// Python's `register`. What had the name before has it no longer. It stays published until it
    /// is [unpublished](Self::unpublish) or the manager ends; a proxy keeps its object meanwhile.
    ///
    /// ```
    /// use mp_manager::{Dict, Manager};
    ///
    /// let manager = Manager::new()?;
    /// let ages = manager.dict::<String, u32>()?;
    /// manager.publish("ages", ages.clone())?;
    /// let found: Dict<String, u32> = manager.published("ages")?;
    /// assert!(found.is_same(&ages));
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Dict::set`].
    pub fn publish<T: Argument>(&self, name: &str, value: T) -> Result<()> {
        names::publish(&self.link, name, value)
    }

    /// What is published under a name, which must be read as the type that it was published as.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is nothing of that name, [`ErrorKind::WrongType`] or
    /// [`ErrorKind::Decode`] if it is of another type; else those of [`Dict::get`].
    pub fn published<T: Argument>(&self, name: &str) -> Result<T> {
        names::published(&self.link, name)
    }

    /// Takes a name back; returns whether something was published under it. Proxies that were found
    /// by it remain.
    ///
    /// # Errors
    ///
    /// Those of [`Dict::remove`].
    pub fn unpublish(&self, name: &str) -> Result<bool> {
        names::unpublish(&self.link, name)
    }

    /// All names under which something is published, in the order in which they came.
    ///
    /// # Errors
    ///
    /// Those of [`Dict::keys`].
    pub fn published_names(&self) -> Result<Vec<String>> {
        names::published_names(&self.link)
    }

    /// How many objects the server has, after it has freed those without proxies and put back what
    /// clients that are gone did not receive. Of a long chain of objects some may be left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ProcessDied`], [`ErrorKind::Closed`].
    pub fn number_of_objects(&self) -> Result<usize> {
        number(self.link.call(0, Operation::CountObjects)?)
    }
}

/// Objects that live in shared memory: nothing of them is at the server, no operation asks it, and
/// they stay when the manager ends.
///
/// ```
/// use mp_manager::Manager;
/// use mp_object::Lock;
/// use mp_queue::Queue;
///
/// fn worker(lock: Lock, queue: Queue<u32>) -> mp_layout::Result<()> {
///     let _guard = lock.lock()?;
///     queue.put(std::process::id())?;
///     Ok(())
/// }
///
/// let manager = Manager::new()?;
/// let (lock, queue) = (manager.lock()?, manager.queue()?);
/// let process = mp_process::spawn(worker, (lock.clone(), queue.clone()))?;
/// assert_eq!(Some(queue.get()?), process.pid());
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Errors
///
/// Of all methods: those of the objects' own constructors.
impl ManagerHandle {
    /// Makes a [`Value`], which is read and written in place: Python's `manager.Value`.
    pub fn value<T: Plain>(&self, first: T) -> Result<Value<T>> {
        Value::new(first)
    }

    /// Makes an [`Array`], which is read and written in place: Python's `manager.Array`.
    pub fn array<T: Plain>(&self, elements: &[T]) -> Result<Array<T>> {
        Array::from_slice(elements)
    }

    /// Makes a [`Queue`] without a bound: Python's `manager.Queue()`.
    pub fn queue<T: Serialize + DeserializeOwned + 'static>(&self) -> Result<Queue<T>> {
        Queue::new()
    }

    /// Makes a [`Queue`] of at most `messages` messages: Python's `manager.Queue(n)`.
    pub fn queue_bounded<T: Serialize + DeserializeOwned + 'static>(
        &self,
        messages: usize,
    ) -> Result<Queue<T>> {
        Queue::bounded(messages)
    }

    /// Makes a [`JoinableQueue`]: Python's `manager.JoinableQueue()`.
    pub fn joinable_queue<T: Serialize + DeserializeOwned + 'static>(
        &self,
    ) -> Result<JoinableQueue<T>> {
        JoinableQueue::new()
    }

    /// Makes a [`Lock`]. If a process dies with it, the next owner gets `OwnerDied`.
    pub fn lock(&self) -> Result<Lock> {
        Lock::new()
    }

    /// Makes an [`RLock`], which its owner may lock again.
    pub fn rlock(&self) -> Result<RLock> {
        RLock::new()
    }

    /// Makes a semaphore with so many permits, which come back when their process dies.
    ///
    /// A permit is given back by dropping it. So more can never be given back than were taken, as
    /// with Python's `BoundedSemaphore`.
    #[doc(alias = "bounded_semaphore")]
    pub fn semaphore(&self, permits: u32) -> Result<PermitSemaphore> {
        PermitSemaphore::new(permits)
    }

    /// Makes a semaphore that refuses to have more permits than these; what it makes is that of
    /// [`semaphore`](Self::semaphore).
    pub fn bounded_semaphore(&self, permits: u32) -> Result<PermitSemaphore> {
        PermitSemaphore::new(permits)
    }

    /// Makes an [`Event`].
    pub fn event(&self) -> Result<Event> {
        Event::new()
    }

    /// Makes a [`Condition`].
    pub fn condition(&self) -> Result<Condition> {
        Condition::new()
    }

    /// Makes a [`Barrier`] for so many parties.
    pub fn barrier(&self, parties: u32) -> Result<Barrier> {
        Barrier::new(parties)
    }
}

impl fmt::Debug for ManagerHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ManagerHandle")
            .field("pid", &self.link.server_pid())
            .finish_non_exhaustive()
    }
}

/// It makes shared objects, which other machines cannot use.
#[cold]
fn stays() -> Error {
    Error::new(ErrorKind::Unsupported, "receive", "the handle of a manager").with_detail(
        "it stays on its machine; a remote client has the manager that it connected to",
    )
}

impl Serialize for ManagerHandle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.link.handle().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ManagerHandle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handle = Option::<LinkHandle>::deserialize(deserializer)?;
        let link = Link::received(handle).and_then(|link| match link.local() {
            Some(_) => Ok(link),
            None => Err(stays()),
        });
        link.map(Self::of)
            .map_err(|error| transfer::refuse(error, D::Error::custom))
    }
}
