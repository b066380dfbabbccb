//! A server process whose dictionaries, lists, sets, namespaces and values of own types other
//! processes use by proxies: Python's `multiprocessing.Manager`.
//!
//! Floor 4 of the workspace.
//!
//! - [`Manager`]: starts the server, makes objects, ends the server. A [`ManagerHandle`] makes
//!   objects in other processes.
//! - [`Dict`], [`List`], [`Set`], [`Namespace`]: proxies, which travel to other processes as
//!   arguments, through queues, and inside other managed objects.
//! - [`Object`]: a proxy of a value of any type, whose methods run in the server.
//! - Names: what is [published](ManagerHandle::publish) under a name other processes find by it.
//! - With the feature `net`: `Manager::bind` serves other machines, too, and `RemoteManager`
//!   connects from there; see `remote`.
//! - What else Python's manager has (locks, queues, values and so on) are the shared objects of mp,
//!   which need no server: the manager makes them under Python's names.
//!
//! ```
//! use mp_manager::Manager;
//!
//! let manager = Manager::new()?;
//! let ages = manager.dict::<String, u32>()?;
//! ages.set("Ada", 36)?;
//! ages.update("Ada", |age| age.unwrap_or(0) + 1)?;
//! assert_eq!(ages.items()?, [("Ada".to_owned(), 37)]);
//! # Ok::<(), mp_layout::Error>(())
//! ```
//!
//! # Layout
//!
//! ```text
//!  clients                                              server: one thread, and one per `Object`
//!  thread --- request (sender, object, operation) --->  queue of requests ---> objects
//!         <--- reply ----------------------------------  one pipe per thread
//!  proxy  --- write end of a pipe (token) ------------->  read end, one per object
//! ```
//!
//! The queue and the pipes are those of [`mp_queue`]: requests and replies travel through shared
//! memory. Values and keys are bytes that the server never reads; the descriptors of shared objects
//! and proxies in a value stay next to its bytes.
//!
//! # Invariants
//!
//! - I1: a thread has at most one request under way on a connection, and a forked copy of its
//!   process has connections of its own. So the last reply is the only one that may be unreceived.
//! - I2: an object is there while a copy of its token is open in any process, in a message, or in a
//!   value at the server.
//! - I3: the server never waits for a client: no operation blocks, and pipes have no bound. Methods
//!   of an [`Object`], which may block, run in its own thread.
//!
//! # If a process dies
//!
//! | a process dies | what the others see |
//! |---|---|
//! | a client before its request is in the queue | nothing |
//! | a client after that | the operation was carried out; what it took out comes back to its place if it had not received the reply, unless the container was cleared meanwhile |
//! | the process with the last proxy of an object | the object is freed within 250 ms |
//! | the server | [`ProcessDied`](mp_layout::ErrorKind::ProcessDied) at each client that waits, within a second, and at each later call |
//! | the owner of the manager | the same: the kernel kills the server |
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod call_queue;
mod dict;
mod elements;
mod entry;
mod link;
mod list;
mod manager;
mod manager_handle;
mod method;
mod names;
mod namespace;
mod object;
mod object_thread;
mod ordered_map;
mod parcel;
mod proxy;
#[cfg(feature = "net")]
mod remote;
mod request;
mod reserve;
mod server;
mod set;
mod staging;
mod store;
mod token;

pub use dict::Dict;
pub use entry::Entry;
pub use list::List;
pub use manager::Manager;
pub use manager_handle::ManagerHandle;
pub use method::Method;
pub use namespace::Namespace;
pub use object::Object;
#[cfg(feature = "net")]
pub use remote::RemoteManager;
pub use set::Set;

#[cfg(all(fuzzing, feature = "net"))]
#[doc(hidden)]
pub use server::fuzzing::serve_frames;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
