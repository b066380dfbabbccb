//! Kills a process at every instruction of an operation and reports what hangs, tears or is lost.
//!
//! A structure in memory that several processes share is only as good as the state that a process
//! leaves behind when it is killed in the middle. This harness tries all such states: it runs the
//! operation in a forked process, kills that with SIGKILL before its first instruction, then before
//! its second, and so on to the last, and after each kill lets a survivor go on with the memory.
//!
//! # Example
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use killcheck::{Check, SharedArea};
//!
//! type Pair = SharedArea<[AtomicU64; 2]>;
//!
//! // SAFETY: atomics only, for which zero is valid.
//! let pair: Pair = unsafe { SharedArea::zeroed() }?;
//! let report = Check::new("write both words")
//!     .setup(|pair: &Pair| pair.reset())
//!     .victim(|pair| {
//!         pair[0].store(1, Ordering::Release);
//!         pair[1].store(1, Ordering::Release);
//!     })
//!     .survivor(|pair| match pair.each_ref().map(|word| word.load(Ordering::Acquire)) {
//!         [left, right] if left == right => Ok(()),
//!         torn => Err(format!("torn: {torn:?}")),
//!     })
//!     .run(&pair);
//! match report {
//!     Ok(report) => report.assert_caught(),
//!     Err(error) => assert_eq!(error.kind(), killcheck::ErrorKind::Unsupported),
//! }
//! # Ok::<(), killcheck::Error>(())
//! ```
//!
//! # What happens
//!
//! 1. One run of the operation is single-stepped, which lists its instructions. Each iteration of a
//!    repeated string instruction counts as one, so a torn copy is seen. A system call that sleeps
//!    for 30 ms counts as blocked, and that sleep is one more kill point.
//! 2. For each point: set-up, a new victim, and SIGKILL when it stands before that instruction. A
//!    breakpoint in the victim's private copy of the code brings it there ([`Mode::Planted`]);
//!    where none can be planted, and within tight loops, single steps from the nearest one do.
//! 3. The survivor, and then the invariant, run in processes of their own. One that does not return
//!    within the limit is a hang, one that dies a crash, an error or a panic a violation.
//!
//! A kill keeps every store that was executed before it and no other: what the survivor finds is a
//! prefix of the operation's instructions. So the outcome depends on the order that the *compiler*
//! chose; check release builds. What the processor may reorder between living processes is not
//! explored here, loom and Miri do that.
//!
//! # Sleepers
//!
//! - With [`Check::sleeper`] another process is asleep while the victim dies. If
//!   [`Check::must_wake`] finds that the victim had committed, the sleeper must wake with no
//!   further help; otherwise the survivor does the operation, and it must wake then.
//! - With [`Check::sleepers`] several are asleep, and [`Check::must_wake_count`] says how many must
//!   wake: all by a broadcast, as many as there are units by a wake that each passes on.
//! - With [`Check::waker`] the victim itself falls asleep, is woken, and dies at each instruction
//!   between its wake and its end: is the wake it took with it lost to the other sleepers? The
//!   victim fell asleep first; a primitive that wakes the last one first cannot be checked like
//!   this.
//! - [`Report::wakes`] counts all sleepers that woke before the survivor did anything, also those
//!   that woke before the kill; the median is that of those that woke after it.
//!
//! # Recoverers
//!
//! With [`Check::recoverer`] a second process meets what the victim left behind, and is killed at
//! each instruction of that: after every point of the victim's a new trace, and then set-up,
//! victim, kill, recoverer, kill, and the others. [`Check::stride`] and [`Check::max_points`]
//! choose among the pairs.
//!
//! # States
//!
//! Most instructions change nothing that outlives the process. With [`Check::shares_only`] a kill
//! is tried once for each state that it leaves behind, and of two deaths for each pair of states,
//! where the sections above say "each instruction": that takes a small part of the time and proves
//! the same, if the copy has all that is written and each run starts from the same bytes.
//!
//! # What a hang is
//!
//! A process that waits may be slow because the machine is busy, and only the limit tells that from
//! a hang. So the limit is generous, and a check that counts on a small one to tell a wake from a
//! recheck fails by itself one day.
//!
//! With [`Check::without_timeouts`] time stands still for sleepers, survivor and invariant, so that
//! no recheck can stand in for a wake, nor wake a sleeper in the middle of the victim's operation.
//! Then a hang is not a matter of time: the victim is reaped, and all others are seen asleep in
//! calls that only one of them could end. No wake will come, and that is the verdict; the limit is
//! left for what spins. [`Check::allow_rescues_if`] lets the timeouts pass after the kills
//! that nothing else is known to wake a process after; [`Check::allow_rescues`] only counts them.
//!
//! # What proves nothing
//!
//! The operation must go the same way each time. Before the trace it is rehearsed once, and
//! [`Check::warm_up`] is for what a process does once in its life. Points that it does not come by
//! again, or in another state than the traced one, are missed. [`Report::assert_safe`] passes only
//! as many as [`Check::allow_missed`] says, or 2 in 100 of the program's own code and 25 in 100
//! with shared libraries, or of the states: `memcpy` and the allocator do not always go the same
//! way. If more are missed, it is traced again, since another thread of this process may have
//! warmed up meanwhile what all forked ones share.
//!
//! # Threads
//!
//! The harness forks the calling thread. glibc keeps its allocator usable in the child; any other
//! lock that another thread held at that moment stays locked there. Checks under `cargo test` work,
//! as long as the closures only run the operation; where they need more, give the test target
//! `harness = false`. A victim must not start threads or processes: they would not be killed.
//!
//! A check runs on one processor, with all processes that it forks: they take turns anyway, and a
//! turn is several times as cheap there. Checks on several threads take different processors.
//!
//! # Platforms
//!
//! Linux 5.3 or later. [`Check::run`] needs x86_64 and the right to ptrace one's own children, and
//! returns [`ErrorKind::Unsupported`] on other architectures; [`storm`] runs everywhere.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod arch;
mod check;
mod child;
mod clock;
mod endless_waits;
mod error;
mod guide;
mod kill_point;
mod proc_state;
mod processor;
mod remains;
mod report;
mod route;
mod runner;
mod shared_area;
mod sleepers;
mod storm;
mod symbols;
mod timeout;
mod trace;
mod tracee;

pub use check::{Check, Mode};
pub use error::{Error, ErrorKind};
pub use kill_point::{KillPoint, Moment};
pub use report::{Failure, Finding, Report, Role};
pub use shared_area::SharedArea;
pub use storm::{Storm, StormReport, storm};

/// Keeps the program of the README true.
#[cfg(all(doctest, target_arch = "x86_64"))]
#[doc = include_str!("../README.md")]
struct Readme;
