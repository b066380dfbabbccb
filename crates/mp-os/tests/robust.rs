//! The robust list against the kernel and against libc's own robust mutexes.
#![cfg(not(miri))]

#[path = "shared/step.rs"]
mod step;

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use mp_os::futex::{self, WaitAny, Wake};
use mp_os::robust::{self, MAX_HELD, Node, ThreadList, UnlinkError};
use mp_testkit::{Forked, not_checked, stay};
use step::{Shared, Step, patience};

const WAITERS: u32 = 1 << 31;
const OWNER_DIED: u32 = 1 << 30;

/// The simplest lock on the list: no waiting.
fn lock(thread: ThreadList, lock: &Node) {
    // SAFETY: every Node of these tests outlives its time on the list.
    let op = unsafe { thread.begin(&lock.links) };
    lock.word
        .compare_exchange(0, thread.tid(), Ordering::Acquire, Ordering::Relaxed)
        .expect("the lock is free");
    // SAFETY: the word names this thread, the links are not linked, inside the operation.
    unsafe { thread.link(&lock.links) };
    drop(op);
}

fn unlock(thread: ThreadList, lock: &Node) -> Result<(), UnlinkError> {
    // SAFETY: as in `lock`.
    let op = unsafe { thread.begin(&lock.links) };
    // SAFETY: inside the operation; all held locks are mapped.
    unsafe { thread.unlink(&lock.links) }?;
    lock.word.store(0, Ordering::Release);
    drop(op);
    Ok(())
}

/// The calling thread; `None`, said loudly, where the suite runs without robust lists.
#[track_caller]
fn thread() -> Option<ThreadList> {
    let thread = robust::current();
    if thread.is_none() {
        assert!(futex::fallback_forced() || cfg!(not(target_env = "gnu")));
        not_checked("threads have no robust list here");
    }
    thread
}

fn node() -> Shared<Node> {
    // SAFETY: a struct of atomic numbers.
    unsafe { Shared::zeroed() }
}

#[test]
fn killed_holder_is_marked_and_its_waiter_woken() {
    if thread().is_none() {
        return;
    }
    let (shared, step) = (node(), Step::shared());
    let child = Forked::new(|| {
        lock(robust::current().expect("as in the parent"), &shared);
        shared.word.fetch_or(WAITERS, Ordering::Relaxed);
        step.reach(1);
        stay()
    });
    step.await_step(1);
    let held = shared.word.load(Ordering::Relaxed);
    assert_eq!(held, child.pid() | WAITERS);
    let killer = std::thread::spawn(move || {
        child.kill_and_reap();
    });
    let deadline = patience();
    while shared.word.load(Ordering::Acquire) == held {
        assert_ne!(futex::wait(&shared.word, held, deadline), Wake::TimedOut);
    }
    assert_eq!(shared.word.load(Ordering::Relaxed), OWNER_DIED | WAITERS);
    killer.join().expect("the child was killed");
}

#[test]
fn ended_thread_is_marked() {
    if thread().is_none() {
        return;
    }
    let shared = node();
    let tid = std::thread::spawn(move || {
        lock(robust::current().expect("as in the other thread"), &shared);
        robust::tid()
    })
    .join()
    .expect("the thread only locks");
    // join returns when the kernel has cleared the thread's id, which comes after its list.
    assert_ne!(tid, robust::tid());
    assert_eq!(shared.word.load(Ordering::Acquire), OWNER_DIED);
}

#[test]
fn bell_rings_when_a_process_dies_inside_an_operation() {
    if thread().is_none() {
        return;
    }
    if !futex::waitv_supported() {
        not_checked("there is no futex_waitv here");
        return;
    }
    let (bell, step) = (node(), Step::shared());
    let other = AtomicU32::new(0);
    let child = Forked::new(|| {
        let thread = robust::current().expect("as in the parent");
        // SAFETY: the bell is never unmapped.
        let _op = unsafe { thread.begin(&bell.links) };
        step.reach(1);
        stay()
    });
    step.await_step(1);
    let sleeper = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            step.reach(2);
            futex::wait_any(&[(&other, 0), (&bell.word, 0)], patience())
        });
        step.await_step(2);
        // The sleeper may not sleep yet; the kernel's wake would then miss it. Its state tells.
        await_sleep();
        child.kill();
        sleeper.join().expect("the sleeper only waits")
    });
    assert_eq!(sleeper, WaitAny::Woken(1));
    drop(child);
}

/// Waits until some other thread of this process sleeps in `futex_waitv`.
fn await_sleep() {
    let deadline = patience();
    let call = libc::SYS_futex_waitv.to_string();
    loop {
        let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
        for task in tasks.flatten() {
            let text = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
            if text.split(' ').next() == Some(&call) {
                return;
            }
        }
        assert!(!deadline.is_expired(), "nobody sleeps in futex_waitv");
        std::thread::yield_now();
    }
}

/// A pthread mutex with the attributes robust and process-shared.
#[repr(C)]
struct PthreadMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: pthread mutexes are made to be shared.
unsafe impl Sync for PthreadMutex {}

impl PthreadMutex {
    fn init(&self) {
        // SAFETY: zero bytes are storage for the attributes.
        let mut attributes: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
        // SAFETY: fresh attributes.
        let made = unsafe { libc::pthread_mutexattr_init(&raw mut attributes) };
        assert_eq!(made, 0);
        let (robust, shared) = (libc::PTHREAD_MUTEX_ROBUST, libc::PTHREAD_PROCESS_SHARED);
        // SAFETY: initialised attributes.
        let set = unsafe { libc::pthread_mutexattr_setrobust(&raw mut attributes, robust) };
        assert_eq!(set, 0);
        // SAFETY: initialised attributes.
        let set = unsafe { libc::pthread_mutexattr_setpshared(&raw mut attributes, shared) };
        assert_eq!(set, 0);
        // SAFETY: nobody uses the mutex yet.
        let made = unsafe { libc::pthread_mutex_init(self.0.get(), &raw const attributes) };
        assert_eq!(made, 0);
    }

    fn lock(&self) {
        // SAFETY: an initialised mutex.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.0.get()) }, 0);
    }

    fn unlock(&self) {
        // SAFETY: locked by this thread.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0.get()) }, 0);
    }

    fn word(&self) -> u32 {
        // SAFETY: glibc's futex word is the first of the mutex.
        let word = unsafe { AtomicU32::from_ptr(self.0.get().cast()) };
        word.load(Ordering::Acquire)
    }
}

/// Two of ours, two of libc's.
#[repr(C)]
struct Four {
    own: [Node; 2],
    pthread: [PthreadMutex; 2],
}

impl Four {
    fn lock(&self, which: usize) {
        match which {
            0 | 1 => lock(robust::current().expect("supported"), &self.own[which]),
            _ => self.pthread[which - 2].lock(),
        }
    }

    fn unlock(&self, which: usize) {
        match which {
            0 | 1 => {
                unlock(robust::current().expect("supported"), &self.own[which]).expect("intact");
            }
            _ => self.pthread[which - 2].unlock(),
        }
    }

    fn word(&self, which: usize) -> u32 {
        match which {
            0 | 1 => self.own[which].word.load(Ordering::Acquire),
            _ => self.pthread[which - 2].word(),
        }
    }
}

fn permutations() -> Vec<[usize; 4]> {
    let mut all = Vec::new();
    for code in 0..256usize {
        let order = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6 & 3];
        let mut sorted = order;
        sorted.sort_unstable();
        if sorted == [0, 1, 2, 3] {
            all.push(order);
        }
    }
    assert_eq!(all.len(), 24);
    all
}

/// Every order of unlocking, after several orders of locking, killed after each unlock: exactly
/// what is still held is marked.
#[test]
fn mixes_with_pthread_mutexes_in_any_order() {
    if thread().is_none() {
        return;
    }
    for locking in [[0, 2, 1, 3], [2, 0, 1, 3], [0, 1, 2, 3], [2, 3, 0, 1]] {
        for unlocking in permutations() {
            for unlocked in 0..=4 {
                dies_holding_the_rest(locking, unlocking, unlocked);
            }
        }
    }
}

fn dies_holding_the_rest(locking: [usize; 4], unlocking: [usize; 4], unlocked: usize) {
    let case = format!(
        "locked {locking:?}, then unlocked {:?}",
        &unlocking[..unlocked]
    );
    // SAFETY: atomics, and pthread mutexes that are initialised before use.
    let four: Shared<Four> = unsafe { Shared::zeroed() };
    four.pthread.iter().for_each(PthreadMutex::init);
    let step = Step::shared();
    let child = Forked::new(|| {
        locking.iter().for_each(|&which| four.lock(which));
        unlocking[..unlocked]
            .iter()
            .for_each(|&which| four.unlock(which));
        step.reach(1);
        stay()
    });
    step.await_step(1);
    child.kill_and_reap();
    for (position, &which) in unlocking.iter().enumerate() {
        let expected = if position < unlocked { 0 } else { OWNER_DIED };
        assert_eq!(
            four.word(which) & !WAITERS,
            expected,
            "{case}: lock {which}"
        );
    }
}

/// Locks may come and go around a libc mutex that stays, and the other way round.
#[test]
fn stays_consistent_over_many_rounds_beside_pthread_mutexes() {
    let Some(thread) = thread() else { return };
    // SAFETY: as above.
    let four: Shared<Four> = unsafe { Shared::zeroed() };
    four.pthread.iter().for_each(PthreadMutex::init);
    let start = thread.held();
    for (round, order) in permutations().into_iter().cycle().take(10_000).enumerate() {
        order.iter().for_each(|&which| four.lock(which));
        let unlocking = permutations()[round % 23];
        unlocking.iter().for_each(|&which| four.unlock(which));
        assert_eq!(thread.held(), start);
    }
}

#[test]
fn forked_child_starts_with_nothing() {
    let Some(thread) = thread() else { return };
    let (parents, childs) = (node(), node());
    lock(thread, &parents);
    let tid = robust::tid();
    let child = Forked::new(|| {
        // SAFETY: takes nothing.
        let right = robust::tid() == unsafe { libc::gettid() }.unsigned_abs();
        let own = robust::current().expect("as in the parent");
        let empty = own.held() == 0 && unlock(own, &parents) == Err(UnlinkError::NotHeld);
        lock(own, &childs);
        right && own.tid() != tid && empty && !robust::holds_within(around(&parents))
    });
    assert_eq!(child.exit(), mp_os::pidfd::Exit::Code(0));
    assert_eq!(childs.word.load(Ordering::Acquire), OWNER_DIED);
    assert_eq!(parents.word.load(Ordering::Acquire), tid);
    unlock(thread, &parents).expect("the parent's list is as it was");
}

#[test]
fn raw_clone_is_noticed() {
    if thread().is_none() {
        return;
    }
    let child = Forked::new(|| {
        let known = robust::current().is_some();
        let clone = Forked::by_clone(|| {
            // SAFETY: takes nothing.
            let tid = unsafe { libc::gettid() }.unsigned_abs();
            // The kernel has no list for such a child, so no lock may count on one.
            robust::tid() == tid && robust::current().is_none()
        });
        known && clone.exit() == mp_os::pidfd::Exit::Code(0)
    });
    assert_eq!(child.exit(), mp_os::pidfd::Exit::Code(0));
}

/// Overwrites a pointer of the links as a buggy peer would.
fn scribble(lock: &Node, offset: usize, value: usize) -> usize {
    let start: *const Node = lock;
    // SAFETY: the links are two pointers at 24 and 32, inside the node.
    let place = unsafe { start.cast::<u8>().add(offset) }.cast_mut();
    // SAFETY: aligned, valid, and accessed atomically only.
    let pointer = unsafe { AtomicUsize::from_ptr(place.cast()) };
    pointer.swap(value, Ordering::Relaxed)
}

#[test]
fn overwritten_pointers_are_refused_and_not_followed() {
    let Some(thread) = thread() else { return };
    let (low, high) = (node(), node());
    lock(thread, &low);
    lock(thread, &high);
    for wild in [0, 1, 7, 0xdead_beef_0000, usize::MAX, usize::MAX - 7, 0x10] {
        let next = scribble(&high, 32, wild);
        assert_eq!(
            unlock(thread, &high),
            Err(UnlinkError::Corrupt),
            "next {wild:#x}"
        );
        scribble(&high, 32, next);
        let prev = scribble(&low, 24, wild);
        assert_eq!(
            unlock(thread, &low),
            Err(UnlinkError::Corrupt),
            "prev {wild:#x}"
        );
        scribble(&low, 24, prev);
    }
    // In the order of a stack, prev is not even read.
    scribble(&high, 24, 0xdead_beef_0000);
    assert_eq!(unlock(thread, &high), Ok(()));
    assert_eq!(unlock(thread, &low), Ok(()));
    assert_eq!(unlock(thread, &low), Err(UnlinkError::NotHeld));
}

fn around(lock: &Node) -> std::ops::Range<usize> {
    let start = std::ptr::from_ref(lock).addr();
    start..start + size_of::<Node>()
}

#[test]
fn tells_held_ranges_to_other_threads() {
    let Some(thread) = thread() else { return };
    let (first, second) = (node(), node());
    lock(thread, &first);
    lock(thread, &second);
    unlock(thread, &first).expect("intact");
    let (of_first, of_second) = std::thread::spawn(move || {
        (
            robust::holds_within(around(&first)),
            robust::holds_within(around(&second)),
        )
    })
    .join()
    .expect("it only looks");
    assert_eq!((of_first, of_second), (false, true));
    unlock(thread, &second).expect("intact");
    assert!(!robust::holds_within(around(&second)));
}

#[test]
fn forgets_what_an_ended_thread_held() {
    if thread().is_none() {
        return;
    }
    let shared = node();
    std::thread::spawn(move || lock(robust::current().expect("supported"), &shared))
        .join()
        .expect("it only locks");
    // join returns a moment before /proc forgets the thread.
    let deadline = patience();
    while robust::holds_within(around(&shared)) {
        assert!(!deadline.is_expired());
        std::thread::yield_now();
    }
}

#[test]
fn holds_as_many_as_promised() {
    let Some(thread) = thread() else { return };
    assert_eq!(thread.held(), 0);
    let locks: Vec<Node> = (0..MAX_HELD).map(|_| Node::default()).collect();
    for one in &locks {
        assert!(thread.has_room());
        lock(thread, one);
    }
    assert!(!thread.has_room());
    for one in &locks {
        unlock(thread, one).expect("intact");
    }
    assert_eq!(thread.held(), 0);
}

#[test]
fn nested_operations_restore_the_outer_one() {
    let Some(thread) = thread() else { return };
    let (outer, inner) = (Node::default(), Node::default());
    let entry = |lock: &Node| std::ptr::from_ref(lock).addr() + 32;
    assert_eq!(pending(), 0);
    // SAFETY: the nodes outlive the operations, which end in reverse order.
    let first = unsafe { thread.begin(&outer.links) };
    // SAFETY: as above.
    let second = unsafe { thread.begin(&inner.links) };
    assert_eq!(pending(), entry(&inner));
    drop(second);
    assert_eq!(pending(), entry(&outer));
    drop(first);
    assert_eq!(pending(), 0);
}

/// What the kernel would look at if this thread died now.
fn pending() -> usize {
    let mut head: *const [usize; 3] = std::ptr::null();
    let mut size = 0usize;
    // SAFETY: the kernel writes a pointer and a size.
    let asked =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut size) };
    assert_eq!((asked, size), (0, 24));
    // SAFETY: the head of this thread, three words.
    let words = unsafe { head.read_volatile() };
    words[2]
}

/// In a child, whose threads are this test's alone.
#[test]
fn contexts_are_used_again() {
    if thread().is_none() {
        return;
    }
    let child = Forked::new(|| {
        let in_a_thread = || std::thread::spawn(robust::tid).join().is_ok();
        let first = in_a_thread();
        let before = wiped_on_fork();
        let all = (0..1000).all(|_| in_a_thread());
        // The first thread's context exists, so there is something to count, and no other was made.
        first && all && before > 0 && wiped_on_fork() == before
    });
    assert!(child.succeeds());
}

/// The KiB of this process's mappings that a forked child finds empty, as contexts are.
fn wiped_on_fork() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps").expect("/proc is mounted");
    let (mut size, mut wiped) = (0, 0);
    for line in text.lines() {
        if let Some(kib) = line.strip_prefix("Size:") {
            let kib = kib.trim().strip_suffix(" kB").map(str::parse::<usize>);
            size = kib.and_then(Result::ok).expect("a number of kB");
        } else if let Some(flags) = line.strip_prefix("VmFlags:")
            && flags.split_whitespace().any(|flag| flag == "wf")
        {
            wiped += size;
        }
    }
    wiped
}

#[test]
fn knows_the_dead_from_the_living() {
    let tid = robust::tid();
    let started = robust::thread_start_time(tid);
    assert!(started.is_some());
    assert!(!robust::thread_is_dead(tid, started));
    assert!(robust::thread_is_dead(tid, started.map(|ticks| ticks + 1)));
    assert_eq!(robust::process_of_thread(tid), Some(std::process::id()));
    let child = Forked::new(|| stay());
    assert!(!robust::thread_is_dead(child.pid(), None));
    child.kill();
    assert!(child.process().wait_end(patience()).expect("poll works"));
    assert!(
        robust::thread_is_dead(child.pid(), None),
        "a zombie is dead"
    );
    child.exit();
    assert!(
        robust::thread_is_dead(child.pid(), None),
        "a reaped process is dead"
    );
    assert_eq!(robust::process_of_thread(child.pid()), None);
}

#[test]
fn knows_the_names_of_threads() {
    let name = std::thread::Builder::new()
        .name("a (b) c".into())
        .spawn(|| robust::thread_name(robust::tid()))
        .expect("a thread")
        .join()
        .expect("it only asks");
    assert_eq!(name.as_deref(), Some("a (b) c"));
}
