//! Kills a process at every instruction of an operation and reports what hangs, tears or is lost.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod arch;
mod bystander;
mod campaign;
mod check;
mod clock;
mod error;
mod guide;
mod kill_point;
mod proc_state;
mod report;
mod route;
mod shared_area;
mod storm;
mod symbols;
mod trace;
mod tracee;

pub use check::{Check, Mode};
pub use error::{Error, ErrorKind};
pub use kill_point::{KillPoint, Moment};
pub use report::{Failure, Finding, Report, Role};
pub use shared_area::SharedArea;
pub use storm::{Storm, StormReport, storm};
