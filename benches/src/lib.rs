//! What the benches share: two processes on stated cores, contests in interleaved rounds, one
//! table.
//!
//! A bench makes a [`Bench`], runs [`Contest`]s in it, states its [goals](Bench::goal_at_most), and
//! then registers its own operations with criterion. The bench `summary` reads what the others
//! wrote.
//!
//! - [`Contest`]: contenders that do the same work, measured in turn (A B C A B C ...), so that a
//!   machine that becomes slower slows all of them. Figures are medians over rounds; a ratio is
//!   taken per round.
//! - [`Pair`] and [`Crowd`]: two or more processes, or threads, each pinned to a stated core.
//! - [`Market`]: producers and consumers of numbers, in a crowd.
//! - [`limits`]: what no program on this machine can beat; [`peers`]: what users would pick
//!   instead.
//! - [`Leftovers`]: files of peers, removed also when a side was killed.
//! - [`Watchdog`]: ends a bench that hangs.

mod bench;
mod child;
mod contest;
mod cores;
mod crowd;
mod figures;
mod leftovers;
pub mod limits;
mod machine;
mod market;
mod mode;
mod pair;
pub mod peers;
mod picture;
mod record;
mod sample;
mod summary;
mod table;
mod usage;
mod watchdog;

pub use bench::Bench;
pub use child::Child;
pub use contest::{Contest, Outcome, Spread};
pub use cores::Placement;
pub use crowd::{Crowd, now};
pub use leftovers::Leftovers;
pub use market::{Market, patiently};
pub use pair::{Kind, Pair};
pub use sample::Sample;
pub use summary::Summary;
pub use usage::{ran_for, sleeps_of, taken_by};
pub use watchdog::Watchdog;
