//! Python's `multiprocessing`, rebuilt in Rust on shared memory.
//!
//! Processes that run a Rust function, and what they share: values, arrays, locks, events, queues
//! and raw memory. All of it lives in shared memory, and nothing of it is lost, torn or locked for
//! ever when one of the processes is killed.
//!
//! ```
//! use mp::{Process, Queue, Value};
//!
//! fn worker(id: i32, queue: Queue<String>, hits: Value<i32>) -> mp::Result<()> {
//!     *hits.lock()? += 1; // commits on drop; a kill leaves the old value
//!     queue.put(format!("hello from {id}"))?;
//!     Ok(())
//! }
//!
//! fn main() -> mp::Result<()> {
//!     let (queue, hits) = (Queue::new()?, Value::new(0)?);
//!     let mut p = Process::new(worker, (1, queue.clone(), hits.clone())).name("greeter");
//!     p.start()?;
//!     assert_eq!(queue.get()?, "hello from 1");
//!     p.join()?;
//!     assert_eq!((p.exitcode(), hits.get()), (Some(0), 1));
//!     Ok(())
//! }
//! ```
//!
//! | to | use |
//! |---|---|
//! | run a function in a process | [`Process`], [`spawn`] |
//! | run many tasks in a few processes | [`Pool`], [`ProcessPoolExecutor`] |
//! | share a dictionary or a list | [`Manager`] |
//! | share one value | [`Value`], [`RawValue`], [`AnyValue`] |
//! | share many numbers | [`Array`], [`RawArray`], [`AnyArray`] |
//! | send messages | [`Queue`]; [`pipe()`] between two sides; [`channel`] from one sender to one receiver |
//! | talk to other machines, and to Python | `net::Listener`, `net::Client` (feature `net`) |
//! | share a dictionary or a list with other machines | `Manager::bind`, `Manager::connect` (feature `net`) |
//! | take turns | [`Lock`], [`RLock`], [`RwLock`], [`Mutex`] |
//! | wait for several of them, or for processes, in one call | [`wait`] |
//! | wait for each other | [`Event`], [`Condition`], [`Barrier`], [`Semaphore`], [`BoundedSemaphore`], [`PermitSemaphore`] |
//! | share bytes with programs in other languages | [`SharedMemory`], [`ReadOnlyMemory`] |
//!
//! What these give and take (guards, iterators, errors, builders) is in a module per family:
//! [`process`], [`pool`], [`manager`], [`value`], [`queue`] with [`codec`], and [`sync`].
#![forbid(unsafe_code)]

pub use mp_derive::PlainOfFacade as Plain;
pub use mp_layout::generated::Plain;
pub use mp_layout::{Error, ErrorKind, Result, zeroed};
pub use mp_manager::Manager;
pub use mp_object::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, Mutex, PermitSemaphore, RLock, RwLock,
    Semaphore, labelled, wait,
};
pub use mp_os::clock::Deadline;
pub use mp_pool::{Pool, ProcessPoolExecutor};
pub use mp_process::{Process, active_children, cpu_count, current_process, parent_process, spawn};
pub use mp_queue::{
    Connection, JoinableQueue, MpmcQueue, Queue, QueueReceiver, QueueSender, Receiver, Sender,
    channel, pipe, pipe_bounded, pipe_one_way, pipe_one_way_bounded,
};
pub use mp_shm::{ReadOnlyMemory, SharedMemory};
pub use mp_value::{
    AnyArray, AnyValue, Array, FrozenArray, FrozenNdArray, Latest, NdArray, NdReader, RawArray,
    RawValue, ShareableList, Value,
};

/// Processes: what a task may be and return, what a child is given, how it ended, and who this
/// process is.
pub mod process {
    pub use mp_object::ProcessIdentity;
    pub use mp_process::{
        ActiveChild, Argument, Arguments, CurrentProcess, Panic, ParentProcess, Resource, Returned,
        Run, Setup, SignalAction, StartMethod, Stateless, Status, StillRunning, Stream, Task,
        take_passed_fd,
    };
}

/// Pools: their builder, what is waited for, and why a task has no value.
pub mod pool {
    pub use mp_pool::{
        AsCompleted, AsyncResult, Builder, Cause, Chunked, Death, Future, Imap, MapOptions,
        MapResult, Progress, ReturnWhen, Stats, TaskError, Waited, WorkerStats, as_completed, wait,
    };

    #[cfg(feature = "indicatif")]
    pub use mp_pool::progress_bar;
}

/// Proxies of what lives in a [`Manager`], and with the feature `net` a manager of another machine.
pub mod manager {
    #[cfg(feature = "net")]
    pub use mp_manager::RemoteManager;
    pub use mp_manager::{Dict, Entry, List, ManagerHandle, Method, Namespace, Object, Set};
}

/// Values and arrays: their guards, the chunks of an array, and the types of numbers they hold.
pub mod value {
    pub use mp_layout::{Cells, Complex, PlainSlice, ReadCells, TypeCode};
    pub use mp_value::{
        ArrayGuard, ArrayLock, BothLocked, Chunk, Chunks, Claim, Contents, Integer, LatestWriter,
        ListItem, NotFrozen, NpyHeader, Number, Scalar, ValueGuard, ValueLock, WithLock,
    };
}

/// Queues, pipes and channels: their builder, errors and batches.
pub mod queue {
    pub use mp_queue::{Batch, Builder, GetError, Iter, Nothing, PutError, PutManyError};
}

/// Connections by sockets, to processes of this machine and of others, and to Python's
/// `multiprocessing.connection`; with the feature `net`.
#[cfg(feature = "net")]
pub mod net {
    pub use mp_net::{Address, Client, Connection, Listener, Receiver, Sender};
}

/// How the messages of a [`Queue`] are written: by serde, as the bytes of plain data, or as bytes.
pub mod codec {
    pub use mp_queue::{Bytes, Codec, Plain, Serde};
}

/// Locks and events: their guards, errors and ways to wait.
pub mod sync {
    pub use mp_object::{InMemory, Waitable, Watch};
    pub use mp_sync::{
        ConditionGuard, Holder, LockError, LockGuard, LockWatch, MutexGuard, Party, Permit,
        RLockGuard, ReadGuard, SemaphoreGuard, Wait, WriteGuard,
    };
}

/// What the code that the derive of [`Plain`](trait@Plain) writes refers to.
#[doc(hidden)]
pub use mp_layout::generated;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;

#[doc = include_str!("../../../README.md")]
#[cfg(doctest)]
struct ProjectReadme;

#[doc = include_str!("../../../docs/arrays.md")]
#[cfg(doctest)]
struct ArraysPage;
