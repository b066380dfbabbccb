//! What users would pick instead, as far as it takes more than a line to use.

#[cfg(feature = "compare")]
mod ipc_channel;
mod posix;
mod pthread;
#[cfg(feature = "compare")]
mod publisher;
mod python;
#[cfg(feature = "compare")]
mod raw_sync;
mod redis;
mod stream;

#[cfg(feature = "compare")]
pub use ipc_channel::ipc_channel_round_trips;
pub use posix::{PosixSemaphore, PthreadBarrier, PthreadRwLock};
pub use pthread::{PthreadCondvar, PthreadMutex};
#[cfg(feature = "compare")]
pub use publisher::{Elsewhere, Lane, Publisher};
pub use python::{python_calls, python_is_there, python_pipe_round_trips, python_queue_transfer};
#[cfg(feature = "compare")]
pub use raw_sync::{RawSyncEvent, RawSyncMutex};
pub use redis::Redis;
pub use stream::Stream;
