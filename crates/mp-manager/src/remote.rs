//! A manager for other machines: [`Manager::bind`](crate::Manager::bind) listens, and
//! [`RemoteManager`] connects, with a key that both sides prove.
//!
//! A request is the same as a local one, carried out by the same thread of the server; only its way
//! differs. Each connection of a remote client has a thread at the server, its gateway, which is a
//! local client for it.
//!
//! # Source
//!
//! Python's `BaseManager(address, authkey)`, whose clients know what is there by the names that
//! `register` gave. There every object has a lock of its own and a thread per connection runs its
//! methods; here all containers have the server's thread.
//!
//! # Layout
//!
//! ```text
//!  remote client                      server: gateways                        server's thread
//!  lifeline   --- releases ------->   table: number -> token                  objects
//!  connection --- request, bytes -->  thread --- request (shared memory) -->  carries it out
//!             <-- answer ----------          <-- reply (one-way pipe) ------
//! ```
//!
//! Descriptors cannot cross. What a local client gets as a descriptor (the token of a proxy, a
//! shared object in a value) stays in the table of the client's session, and the client gets its
//! number: a [`Reference`](references::Reference). A value that it sends back has the numbers in
//! it. A reference to a token becomes a proxy; one to a shared object is an error for who reads it,
//! since memory stays on its machine.
//!
//! # Invariants
//!
//! - I1: a number of a session's table is used once. A client that drops a reference says so by its
//!   number, so a release and a new reference to the same object never meet.
//! - I2: a session ends with its first connection, the lifeline, by whatever cause. Its table is
//!   emptied then.
//! - I3: what a remote client takes out of a container comes back unless the client has said that
//!   it has received the answer, which it says before its caller gets the item.
//! - I4: a gateway takes no connection, pipe or reference whose descriptor is of those that the
//!   server keeps free for local requests. What comes with one answer it may have for a moment.
//!
//! # If a process dies
//!
//! | a process dies | what the others see |
//! |---|---|
//! | a remote client | its connections end; what it was taking comes back to its place, the objects of which it had the last proxies are freed, both within 250 ms, or when a forked copy of it has ended, too |
//! | the server | [`Closed`](mp_layout::ErrorKind::Closed) at each remote client that waits, and at each later call |
//! | a whole machine | the same, when the kernel has given up asking it: within a minute if nothing was on its way |

mod gateway;
pub(crate) mod numbers;
pub(crate) mod references;
mod remote_link;
mod remote_manager;
pub(crate) mod session;
pub(crate) mod wire;

pub(crate) use gateway::Gateway;
#[cfg(fuzzing)]
pub(crate) use gateway::check;
pub(crate) use remote_link::RemoteLink;
pub use remote_manager::RemoteManager;

#[cfg(test)]
mod tests;
