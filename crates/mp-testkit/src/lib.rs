//! What every test of `mp` that waits or starts processes is held by.
//!
//! - [`Watchdog`]: ends a test that hangs, with its name, instead of the whole run's limit ending
//!   it.
//! - [`LeakCheck`]: what was there before a test must be all that is there after it: descriptors,
//!   children, entries of `/dev/shm`.
//! - [`Forked`]: a forked child that does one thing and is killed, at the latest when the test
//!   ends.
//! - [`own_dev_shm`]: a `/dev/shm` of a child's own, as small as the test wants.
//! - [`leave_descriptors`]: few free descriptors in a child.
//! - [`refuse`]: a system call that the kernel refuses to a child.
//! - [`UniqueName`]: a name in `/dev/shm` that is removed when the test ends.
//! - [`not_checked`]: says loudly what a test could not check on this machine.

mod few_descriptors;
mod forked;
mod leak_check;
mod not_checked;
mod own_mounts;
mod refuse;
mod unique_name;
mod watchdog;

pub use few_descriptors::{leave_descriptors, set_descriptor_limit};
pub use forked::{Arrival, Forked, PATIENCE, stay};
pub use leak_check::LeakCheck;
pub use not_checked::not_checked;
pub use own_mounts::{own_dev_shm, own_empty_dev};
pub use refuse::{Argument, refuse};
pub use unique_name::UniqueName;
pub use watchdog::Watchdog;
