//! The calling thread as the owner of locks, and whether another owner still lives.

#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
pub use model::{as_another_owner, as_the_dead};
#[cfg(loom)]
pub(crate) use model::{
    cannot_reach, dead_process, is_dead, known_list, learn_process, list, start, tid,
};

#[cfg(not(loom))]
mod real {
    use std::cell::Cell;

    use mp_os::process_id::ProcessIdentity;
    use mp_os::robust::{self, ThreadList};

    /// The thread's robust list; `None` where deaths have to be proved by `/proc` instead.
    #[inline]
    pub(crate) fn list() -> Option<ThreadList> {
        robust::current()
    }

    /// The same if the thread has asked before.
    #[inline]
    pub(crate) fn known_list() -> Option<ThreadList> {
        robust::current_if_cached()
    }

    /// The number by which a futex word names this thread.
    #[inline]
    pub(crate) fn tid() -> u32 {
        robust::tid()
    }

    /// Remembers this process for the list's [`ThreadList::process`].
    pub(crate) fn learn_process(me: ProcessIdentity) {
        if let Some(list) = robust::current_if_cached() {
            list.learn_process(me);
        }
    }

    /// When this thread started, as [`low_ticks`] has it; 0 if `/proc` does not say.
    pub(crate) fn start() -> u32 {
        thread_local! {
            static KNOWN: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
        }
        if cfg!(miri) {
            return 0;
        }
        let tid = tid();
        let (of, start) = KNOWN.get();
        // In a forked child the copy speaks of the parent's thread.
        if of == tid {
            return start;
        }
        let start = robust::thread_start_time(tid).map_or(0, low_ticks);
        KNOWN.set((tid, start));
        start
    }

    /// Whether the thread has ended, if it started at `start` (0 if that is not known).
    pub(crate) fn is_dead(tid: u32, start: u32) -> bool {
        if cfg!(miri) {
            return false;
        }
        let reused = || robust::thread_start_time(tid).is_some_and(|now| low_ticks(now) != start);
        robust::thread_is_dead(tid, None) || (start != 0 && reused())
    }

    /// Whether the thread's process is proved not to map the memory at `address` of this process.
    pub(crate) fn cannot_reach(tid: u32, address: usize) -> bool {
        !cfg!(miri) && robust::thread_maps(tid, address) == Some(false)
    }

    /// The start time's low half, never 0: at 100 ticks a second two bearers of one thread id
    /// are mistaken for each other if they started a multiple of 497 days apart.
    fn low_ticks(ticks: u64) -> u32 {
        (ticks as u32).max(1)
    }
}

#[cfg(loom)]
mod model {
    //! Under a model checker all threads are one thread of the kernel, and none dies. What the dead
    //! leave is made by [`as_the_dead`].

    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering};

    use mp_layout::model::thread_local;
    use mp_os::process_id::ProcessIdentity;
    use mp_os::robust::ThreadList;

    /// In the numbers of dead owners.
    const DEAD: u32 = 1 << 24;

    /// A process that there cannot be: of the highest number, started as the machine did.
    const DEAD_PROCESS: u64 = (1 << 22) - 1;

    static NEXT: AtomicU32 = AtomicU32::new(0);

    fn new_owner() -> u32 {
        NEXT.fetch_add(1, Ordering::Relaxed) % (DEAD - 1) + 1
    }

    thread_local! {
        static TID: Cell<u32> = Cell::new(new_owner());
    }

    /// Runs `act` as another thread would, in its turn: fewer threads are fewer interleavings.
    pub fn as_another_owner(act: impl FnOnce()) {
        run_as(new_owner(), act);
    }

    /// Runs `act` as a thread of another process would that dies after it. What it holds it leaks.
    pub fn as_the_dead(act: impl FnOnce()) {
        run_as(new_owner() | DEAD, act);
    }

    fn run_as(owner: u32, act: impl FnOnce()) {
        let me = TID.with(|tid| tid.replace(owner));
        act();
        TID.with(|tid| tid.set(me));
    }

    /// The process of the calling thread, if that is to be dead.
    pub(crate) fn dead_process() -> Option<ProcessIdentity> {
        ProcessIdentity::from_word(DEAD_PROCESS).filter(|_| tid() & DEAD != 0)
    }

    pub(crate) fn learn_process(_me: ProcessIdentity) {}

    pub(crate) fn list() -> Option<ThreadList> {
        None
    }

    pub(crate) fn known_list() -> Option<ThreadList> {
        None
    }

    pub(crate) fn tid() -> u32 {
        TID.with(Cell::get)
    }

    /// Every owner's start time is its number.
    pub(crate) fn start() -> u32 {
        tid()
    }

    /// A living owner is taken for a dead one that had its number if the start is another's.
    pub(crate) fn is_dead(tid: u32, start: u32) -> bool {
        tid & DEAD != 0 || (start != 0 && start != tid)
    }

    /// All threads are of one process.
    pub(crate) fn cannot_reach(_tid: u32, _address: usize) -> bool {
        false
    }
}
