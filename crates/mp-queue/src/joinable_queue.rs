//! A queue of tasks that can be waited for until they are done.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Kind, Region, Result};
use mp_object::{Object, ObjectType, Placed, Plan, Waitable, Watch};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::sealed::Codec;
use crate::geometry::DEFAULT_ROOM;
use crate::raw_queue::{RawQueue, Settings, suggest_less_room};
use crate::unfinished::{self, Unfinished};
use crate::{Deadline, GetError, PutError, Queue, Serde, Wait};

/// A [`Queue`] that knows which of its tasks are not done: [`join`](Self::join) waits for them.
///
/// Each task that is got is reported by [`task_done`](Self::task_done), by the process that got it.
/// A message that does not decode counts as a task that was got.
///
/// # If a process dies
///
/// The tasks that it got and had not finished will not be. `join` does not wait for them: it fails
/// with [`ErrorKind::ProcessDied`], after all others are done, until the program has asked for
/// their number by [`take_abandoned`](Self::take_abandoned). If a consumer is killed in the very
/// instructions that take a task, the number may be one too high: the task is in the queue then,
/// and another consumer gets it.
///
/// # Examples
///
/// ```
/// use mp_queue::JoinableQueue;
///
/// let tasks = JoinableQueue::new()?;
/// let same = tasks.clone();
/// std::thread::spawn(move || {
///     while let Ok(task) = same.get() {
///         let _square: u64 = task * task;
///         same.task_done().expect("it was got");
///     }
/// });
/// for task in 0..100_u64 {
///     tasks.put(task)?;
/// }
/// tasks.join()?;
/// assert_eq!(tasks.unfinished(), 0);
/// # tasks.close()?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct JoinableQueue<T> {
    queue: Queue<T>,
    tasks: Arc<Tasks>,
    wait: Wait,
}

/// What the handles of one queue in this process share.
struct Tasks {
    words: Placed<Unfinished>,
    /// The place of this process, if it has one.
    place: AtomicU32,
}

impl<T: Serialize + DeserializeOwned + 'static> JoinableQueue<T> {
    /// Makes a queue without a practical bound.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create`](crate::Builder::create).
    pub fn new() -> Result<Self> {
        Self::create(Self::settings(None))
    }

    /// Makes a queue of at most `tasks` tasks that wait.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create`](crate::Builder::create).
    pub fn bounded(tasks: usize) -> Result<Self> {
        Self::create(Self::settings(Some(tasks)))
    }

    /// Makes a queue without a practical bound under `name`.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create_named`](crate::Builder::create_named).
    pub fn create_named(name: &str) -> Result<Self> {
        ObjectType::create_named(name, Self::settings(None))
    }

    /// Opens the queue under `name`, or makes one without a practical bound.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::open_or_create`](crate::Builder::open_or_create).
    pub fn open_or_create(name: &str) -> Result<Self> {
        ObjectType::open_or_create(name, Self::settings(None))
    }

    fn settings(bound: Option<usize>) -> Settings {
        Settings {
            bound,
            room: DEFAULT_ROOM,
        }
    }

    /// The same queue with another way to wait; other handles keep theirs.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self {
            queue: self.queue.with_wait(wait),
            wait,
            ..self
        }
    }

    /// Puts a task; blocks while the queue is full.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::put`].
    pub fn put(&self, task: T) -> Result<(), PutError<T>> {
        self.put_timeout(task, Deadline::NEVER)
    }

    /// Puts a task if there is room now.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::try_put`].
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, task: T) -> Result<(), PutError<T>> {
        self.put_timeout(task, Deadline::PASSED)
    }

    /// Puts a task; waits up to `timeout` while the queue is full.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::put_timeout`].
    pub fn put_timeout(&self, task: T, timeout: impl Into<Deadline>) -> Result<(), PutError<T>> {
        self.tasks.words.begin();
        self.queue.put_timeout(task, timeout)
    }

    /// Gets the oldest task; blocks until there is one.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::get`], and [`GetError::Failed`] if 240 other processes get from the queue
    /// ([`ErrorKind::Full`]).
    pub fn get(&self) -> Result<T, GetError> {
        self.get_timeout(Deadline::NEVER)
    }

    /// Gets the oldest task if there is one now.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_timeout(Deadline::PASSED)
    }

    /// Gets the oldest task; waits up to `timeout` for one.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`] if it timed out.
    pub fn get_timeout(&self, timeout: impl Into<Deadline>) -> Result<T, GetError> {
        let (place, consumer) = self.tasks.words.place(self.place())?;
        self.tasks.place.store(place, Ordering::Relaxed);
        self.queue
            .get_noting(timeout.into(), || consumer.take_one())
    }

    fn place(&self) -> u32 {
        self.tasks.place.load(Ordering::Relaxed)
    }

    /// Says that a task that this process got is done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidState`] if it has said so of all that it got.
    pub fn task_done(&self) -> Result<()> {
        let (_, consumer) = self.tasks.words.place(self.place())?;
        self.tasks.words.finish_one(consumer)
    }

    /// Waits until every task that was put is done; blocks as long.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ProcessDied`] if all are done but those that a process had got which died
    /// before it had finished them.
    pub fn join(&self) -> Result<()> {
        self.join_timeout(Deadline::NEVER)
    }

    /// Waits up to `timeout` until every task that was put is done.
    ///
    /// # Errors
    ///
    /// Those of [`join`](Self::join), and [`ErrorKind::TimedOut`] with the number of those that are
    /// not.
    pub fn join_timeout(&self, timeout: impl Into<Deadline>) -> Result<()> {
        let words = &self.tasks.words;
        if !words.join(self.wait, timeout.into(), || self.queue.is_empty()) {
            let (waiting, taken) = (self.queue.len(), words.taken());
            return Err(
                Error::new(ErrorKind::TimedOut, "join", "a queue").with_detail(format!(
                    "{waiting} tasks wait, {taken} were got and are not done"
                )),
            );
        }
        match words.abandoned() {
            0 => Ok(()),
            count => Err(
                Error::new(ErrorKind::ProcessDied, "join", "a queue").with_detail(format!(
                    "{count} tasks are not done: the processes that got them died; `take_abandoned` acknowledges that"
                )),
            ),
        }
    }

    /// How many tasks processes got that died before they had finished them; they are forgotten
    /// then. It knows of those that a `join` has found.
    pub fn take_abandoned(&self) -> u64 {
        self.tasks.words.take_abandoned()
    }

    /// Closes the queue, for all: puts fail from now on, gets take what is left and then fail.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::close`].
    pub fn close(&self) -> Result<()> {
        self.queue.close()
    }
}

impl<T> JoinableQueue<T> {
    /// Whether the queue was closed. True stays true.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Tasks that wait, or were got and are not done, at some time during the call, if no process
    /// died with one.
    pub fn unfinished(&self) -> usize {
        self.len() + self.tasks.words.taken()
    }

    /// Tasks that wait at some time during the call.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no task waited at some time during the call.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a put would have had to wait at some time during the call.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// The most tasks that can wait, if that was bounded.
    pub fn capacity(&self) -> Option<usize> {
        self.queue.capacity()
    }
}

impl<T: Serialize + DeserializeOwned + 'static> ObjectType for JoinableQueue<T> {
    type Settings<'s> = Settings;

    fn plan(settings: &Settings) -> Result<Plan> {
        let plan = plan_of(settings, <Serde as Codec<T>>::tag()).with_lane();
        Ok(plan.accepting(*Self::any().expected()))
    }

    fn any() -> Plan {
        plan_of(&Settings::LEAST, <Serde as Codec<T>>::tag())
    }

    unsafe fn initialise(payload: Region<'_>, settings: Settings) -> Result<()> {
        // The words start as zero.
        let queue = payload.subregion(unfinished::SIZE, settings.size())?;
        settings.initialise(queue, <Serde as Codec<T>>::NUMBER)
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        let codec = <Serde as Codec<T>>::NUMBER;
        let lane = object.lane().cloned();
        // SAFETY: the caller's promise, since `any` says joinable queue, which has a queue there.
        let raw = unsafe { RawQueue::attach_at(object.clone(), unfinished::SIZE, codec, lane) }?;
        // SAFETY: it starts with these words, and nothing else reaches those bytes.
        let words = unsafe { Placed::new(object) }?;
        let place = AtomicU32::new(u32::MAX);
        Ok(Self {
            queue: Queue::of_raw(raw),
            tasks: Arc::new(Tasks { words, place }),
            wait: Wait::default(),
        })
    }

    fn object(&self) -> &Object {
        self.tasks.words.object()
    }

    fn explain(error: Error) -> Error {
        suggest_less_room(error)
    }
}

fn plan_of(settings: &Settings, tag: mp_layout::TypeTag) -> Plan {
    Plan::new(Kind::JoinableQueue, tag, unfinished::SIZE + settings.size())
        .page_aligned()
        .sparse(unfinished::SIZE + Settings::RESERVED)
}

mp_object::handle!([T: Serialize + DeserializeOwned + 'static] JoinableQueue<T>);

impl<T> Waitable for JoinableQueue<T> {
    fn watch(&self) -> Result<Watch<'_>> {
        self.queue.watch()
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            tasks: Arc::clone(&self.tasks),
            ..*self
        }
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JoinableQueue")
            .field("len", &self.len())
            .field("unfinished", &self.unfinished())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
