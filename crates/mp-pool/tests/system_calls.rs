//! Which system calls the processes of a pool make while tasks go there and back.
//!
//! A filter (seccomp) turns each call of a thread into a signal, whose handler counts the call and
//! makes it. So no other process has to run for it, and what is counted goes its usual way.
#![cfg(target_arch = "x86_64")]

use std::arch::global_asm;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::time::{Duration, Instant};

use mp_os::cpu;
use mp_pool::Pool;
use mp_process::Setup;
use mp_testkit::{Watchdog, not_checked};

/// More than any wait in a test needs.
const LONG: Duration = Duration::from_secs(120);

/// In a debug build a task takes as long as twenty in a release build.
const TASKS: u64 = if cfg!(debug_assertions) {
    20_000
} else {
    100_000
};

/// How often a thread has made a system call, by the call's number.
type Calls = BTreeMap<i64, u64>;

/// Above the number of any system call.
const NUMBERS: usize = 1024;

thread_local! {
    /// Of this thread, since its filter was installed.
    static COUNTS: [Cell<u64>; NUMBERS] = const { [const { Cell::new(0) }; NUMBERS] };
}

global_asm!(
    ".global mp_test_system_call",
    "mp_test_system_call:",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "mov r9, [rsp + 8]",
    "syscall",
    ".global mp_test_after_system_call",
    "mp_test_after_system_call:",
    "ret",
);

unsafe extern "C" {
    /// Makes a system call, the only one that the filter lets through. Returns what the kernel
    /// does.
    fn mp_test_system_call(number: i64, a: i64, b: i64, c: i64, d: i64, e: i64, f: i64) -> i64;

    /// Where it goes on after that; not to be called.
    fn mp_test_after_system_call();
}

/// Counts the call that the filter stopped, and makes it.
extern "C" fn count_and_call(_: c_int, _: *const c_void, context: *mut c_void) {
    // SAFETY: the kernel gives a handler that asked for it the context of its thread, which is no
    // other's while the handler runs.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    let number = registers[libc::REG_RAX as usize];
    COUNTS.with(|counts| {
        let count = &counts[number as usize % NUMBERS];
        count.set(count.get() + 1);
    });
    let argument = |register: c_int| registers[register as usize];
    // SAFETY: what this thread was about to do, with the same arguments.
    let result = unsafe {
        mp_test_system_call(
            number,
            argument(libc::REG_RDI),
            argument(libc::REG_RSI),
            argument(libc::REG_RDX),
            argument(libc::REG_R10),
            argument(libc::REG_R8),
            argument(libc::REG_R9),
        )
    };
    registers[libc::REG_RAX as usize] = result;
}

/// From here on the calls of this thread are counted; false if the kernel takes no filter.
fn count_own_calls() -> bool {
    // SAFETY: plain data, for which zero is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count_and_call as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler makes system calls of its thread and counts them, nothing else.
    let is_set = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    assert_eq!(is_set, 0);
    let after = mp_test_after_system_call as *const () as u64;
    // What the filter sees: the number, the architecture, and the address where the caller goes on.
    let (load, equal) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
    );
    let ret = libc::BPF_RET | libc::BPF_K;
    let mut program = [
        step(load, 8, 0, 0),
        step(equal, after as u32, 0, 2),
        step(load, 12, 0, 0),
        step(equal, (after >> 32) as u32, 3, 0),
        step(load, 0, 0, 0),
        step(equal, libc::SYS_rt_sigreturn as u32, 1, 0),
        step(ret, libc::SECCOMP_RET_TRAP, 0, 0),
        step(ret, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes numbers.
    let bound = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the kernel copies the program, which lives until then.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    (bound, filtered) == (0, 0)
}

fn step(code: u32, k: u32, if_equal: u8, if_not: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: if_equal,
        jf: if_not,
        k,
    }
}

/// What this thread has called.
fn own_calls() -> Calls {
    COUNTS.with(|counts| {
        let numbered = (0..).zip(counts);
        let made = numbered.map(|(number, count)| (number, count.get()));
        made.filter(|(_, count)| *count > 0).collect()
    })
}

/// What was called since, but for `sched_yield`: that is how a worker looks for a task while there
/// is none, once a microsecond or so, whatever the number of tasks.
fn since(before: &Calls, after: &Calls) -> (u64, Calls) {
    let made = after.iter().map(|(number, count)| {
        let earlier = before.get(number).copied().unwrap_or(0);
        (*number, count - earlier)
    });
    let mut made: Calls = made.filter(|(_, count)| *count > 0).collect();
    made.remove(&libc::SYS_sched_yield);
    (made.values().sum(), made)
}

/// The system calls of the worker and of the submitter for [`TASKS`] tasks in packets of one;
/// `None` if they cannot be counted here.
///
/// Each has a processor of its own, as a worker that shares the submitter's sleeps once a task.
fn calls_for_tasks(task: fn(&Pool) -> u64) -> Option<[(u64, Calls); 2]> {
    let &[mine, other, ..] = &*cpu::allowed().unwrap() else {
        not_checked("a worker and its submitter need two processors");
        return None;
    };
    let setup = Setup::new().cpus([other]);
    let pool = Pool::builder().workers(1).setup(setup).build().unwrap();
    // Its filter ends with it.
    let submitter = || {
        cpu::pin_to(mine).unwrap();
        if !count_own_calls() || !pool.apply(count_own_calls, ()).unwrap() {
            not_checked("the kernel takes no filter of system calls");
            return None;
        }
        // A worker that looks for a task reads the clock at each look.
        let (_now, calls) = (Instant::now(), own_calls());
        if calls.contains_key(&libc::SYS_clock_gettime) {
            not_checked("the clock is read by a system call");
            return None;
        }
        let before = [pool.apply(own_calls, ()).unwrap(), own_calls()];
        assert_eq!(task(&pool), TASKS);
        let own = own_calls();
        let after = [pool.apply(own_calls, ()).unwrap(), own];
        Some([0, 1].map(|at| since(&before[at], &after[at])))
    };
    std::thread::scope(|scope| scope.spawn(submitter).join().unwrap())
}

/// Whether they are fewer than one for ten tasks. A sleep and the wake-up after it take a few each,
/// and other programs may take a processor away a hundred times a second.
fn are_few((sum, _): &(u64, Calls)) -> bool {
    *sum < TASKS / 10
}

#[test]
fn tasks_cost_neither_worker_nor_submitter_a_system_call_each() {
    let _watchdog = Watchdog::new(LONG);
    let map = |pool: &Pool| {
        let mapped = pool.chunk_size(1).map(|n: u64| n + 1, 0..TASKS);
        mapped.unwrap().len() as u64
    };
    let Some(calls) = calls_for_tasks(map) else {
        return;
    };
    println!("worker and submitter, of {TASKS} tasks: {calls:?}");
    assert!(calls.iter().all(are_few), "{calls:?}");
}

#[test]
fn control_a_worker_that_makes_one_system_call_for_each_task_is_seen() {
    let _watchdog = Watchdog::new(LONG);
    let map = |pool: &Pool| {
        let calls_once = |n: u64| {
            // SAFETY: takes nothing.
            unsafe { libc::getppid() };
            n
        };
        let mapped = pool.chunk_size(1).map(calls_once, 0..TASKS);
        mapped.unwrap().len() as u64
    };
    let Some([worker, submitter]) = calls_for_tasks(map) else {
        return;
    };
    assert_eq!(worker.1.get(&libc::SYS_getppid), Some(&TASKS));
    assert!(!are_few(&worker) && are_few(&submitter), "{submitter:?}");
}
