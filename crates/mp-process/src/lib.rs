//! One process: a function of this program that another process runs. Its value or its panic comes
//! back.
//!
//! - [`Process`]: describe, start, wait, result; [`spawn`] does the first two in one.
//! - [`Status`] and [`Panic`]: how it ended, as data.
//! - [`current_process`], [`parent_process`], [`active_children`]: this process, its parent and its
//!   children; [`cpu_count`]: the processors that it may use.
//! - [`Setup`]: what a process has that differs from this one, such as limits and signals.
//! - [`Process::pass_fd`] and [`take_passed_fd`]: a descriptor for the child.
//! - [`Run`]: a type that is a process, instead of a function.
//! - [`call`]: a call as messages, for processes that run already.
//!
//! ```
//! use mp_object::Mutex;
//! use mp_process::Process;
//!
//! fn add(total: Mutex<u64>, amount: u64) -> mp_layout::Result<u64> {
//!     let mut total = total.lock()?;
//!     *total += amount;
//!     Ok(*total)
//! }
//!
//! let total = Mutex::new(40)?;
//! let mut process = Process::new(add, (total.clone(), 2));
//! process.start()?;
//! assert_eq!(process.result()??, 42);
//! assert_eq!(*total.lock()?, 42, "the same memory");
//! # Ok::<(), mp_layout::Error>(())
//! ```
//!
//! # How it starts
//!
//! The program runs itself again, through `/proc/self/exe`, and the child is caught before its
//! `main`. So there is no main guard to forget and nothing to call first, and it works in tests,
//! doctests and benches. The parent names the task by an address in the executable, which the child
//! checks before use.
#![cfg(target_os = "linux")]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod attributes;
mod build;
pub mod call;
mod child;
mod current;
mod debug_text;
mod entry;
mod for_children;
mod frame;
mod image;
mod late_results;
mod outcome;
mod panic;
mod passed_fds;
mod process;
mod report;
mod returned_err;
mod running;
mod setup;
mod start;
mod start_method;
mod start_request;
mod status;
mod table;
mod task;
mod to_parent;
mod way_back;

pub use mp_os::clock::Deadline;
pub use mp_os::resource::Resource;
pub use mp_os::stream::Stream;

pub use attributes::SignalAction;
pub use current::{CurrentProcess, ParentProcess, cpu_count, current_process, parent_process};
pub use panic::Panic;
pub use passed_fds::take_passed_fd;
pub use process::{Process, StillRunning, spawn};
pub use setup::Setup;
pub use start_method::StartMethod;
pub use status::Status;
pub use table::{ActiveChild, active_children};
pub use task::{Argument, Arguments, Returned, Run, Stateless, Task};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
