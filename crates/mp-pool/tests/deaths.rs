//! Workers that die: what is lost is the task that they ran, and what is told of it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::{Event, Mutex, Semaphore};
use mp_os::clock::Deadline;
use mp_os::pidfd::PidFd;
use mp_pool::board::Board;
use mp_pool::{Death, MapResult, Pool, TaskError};
use mp_process::{Status, spawn};
use mp_testkit::Watchdog;

/// More than any wait in a test needs.
const LONG: Duration = Duration::from_secs(60);

fn kill(pid: u32, signal: i32) {
    PidFd::open(pid).unwrap().send_signal(signal).unwrap();
}

/// What the task with this number does to its worker.
fn end_in_some_way(n: u32) -> u32 {
    match n {
        2 => std::process::exit(3),
        4 => std::process::abort(),
        6 => kill(std::process::id(), libc::SIGKILL),
        7 => panic!("seven"),
        8 => kill(std::process::id(), libc::SIGTERM),
        _ => return n,
    }
    loop {
        std::thread::park();
    }
}

#[track_caller]
fn assert_ended_in_some_way(results: &[Result<u32, TaskError>]) {
    assert_eq!(results.len(), 10);
    for (n, result) in results.iter().enumerate() {
        let status = match n {
            2 => Status::Exited(3),
            4 => Status::Signaled {
                signal: libc::SIGABRT,
                core: false,
            },
            6 => Status::Signaled {
                signal: libc::SIGKILL,
                core: false,
            },
            8 => Status::Signaled {
                signal: libc::SIGTERM,
                core: false,
            },
            7 => {
                let error = result.as_ref().unwrap_err();
                assert_eq!((error.index(), error.kind()), (7, ErrorKind::Panicked));
                continue;
            }
            _ => {
                assert_eq!(*result.as_ref().unwrap(), n as u32);
                continue;
            }
        };
        let error = result.as_ref().unwrap_err();
        assert_eq!((error.index(), error.kind()), (n, ErrorKind::ProcessDied));
        let death = error.death().unwrap();
        match (death.status(), &status) {
            // Whether there is a core dump is the machine's affair.
            (Status::Signaled { signal, .. }, Status::Signaled { signal: wanted, .. }) => {
                assert_eq!(signal, wanted);
            }
            (found, wanted) => assert_eq!(found, wanted),
        }
        assert!(death.pid() != 0 && death.ran_for() < LONG);
        let text = error.to_string();
        assert!(text.contains(&format!("task {n}")), "{text}");
        assert!(text.contains(&death.pid().to_string()), "{text}");
    }
}

#[test]
fn each_end_of_a_task_fails_that_task_alone() {
    let _watchdog = Watchdog::new(LONG);
    for workers in [1, 2, 4] {
        let pool = Pool::new(workers).unwrap();
        for packet in [1, 3, 10] {
            let results = pool.chunk_size(packet).try_map(end_in_some_way, 0..10);
            assert_ended_in_some_way(&results);
        }
        assert_eq!(pool.map(|n: u32| n, 0..10).unwrap().len(), 10);
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == u64::MAX {
        return depth;
    }
    recurse(frame[0] + 1) + frame[1]
}

/// Overflows a stack of 1 MiB: that of the main thread may have no limit but the machine's memory.
fn overflow() -> u64 {
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let overflows = thread.spawn(|| recurse(0)).unwrap();
    overflows.join().unwrap()
}

/// The ends of a task that look like none, or that the machine makes.
fn end_in_other_ways(n: u32) -> u32 {
    match n {
        1 => std::process::exit(0),
        3 => assert_ne!(overflow(), 0),
        // More than there are addresses.
        5 => drop(std::hint::black_box(Vec::<u8>::with_capacity(
            isize::MAX as usize,
        ))),
        7 => std::panic::panic_any(7_u8),
        _ => {}
    }
    n
}

#[test]
fn an_exit_without_error_an_overflow_no_memory_and_any_panic_fail_their_task_alone() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    for chunk in [1, 10] {
        let results = pool.chunk_size(chunk).try_map(end_in_other_ways, 0..10);
        for (n, result) in results.iter().enumerate() {
            let error = match result {
                Ok(value) => {
                    assert_eq!(*value as usize, n);
                    continue;
                }
                Err(error) => error,
            };
            assert_eq!(error.index(), n);
            let status = error.death().map(Death::status);
            let is_right = match n {
                1 => matches!(status, Some(Status::Exited(0))),
                3 | 5 => matches!(status, Some(Status::Signaled { .. })),
                7 => status.is_none() && error.kind() == ErrorKind::Panicked,
                _ => false,
            };
            assert!(is_right, "{error}");
        }
        assert_eq!(results.iter().filter(|one| one.is_err()).count(), 4);
    }
}

/// Says that it runs, and runs until it is killed.
fn announce(pid: Mutex<u32>, runs: Event) {
    *pid.lock().unwrap() = std::process::id();
    runs.set();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_worker_fails_its_task_with_the_time_that_it_ran() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let (pid, runs) = (Mutex::new(0).unwrap(), Event::new().unwrap());
    let result = pool.apply_async(announce, (pid.clone(), runs.clone()));
    runs.wait();
    std::thread::sleep(Duration::from_millis(20));
    let killed = *pid.lock().unwrap();
    kill(killed, libc::SIGKILL);
    let error = result.get().unwrap_err();
    let death = error.death().unwrap();
    assert_eq!(death.pid(), killed);
    assert!(death.ran_for() >= Duration::from_millis(19), "{error}");
    assert_eq!(pool.map(|n: u32| n, 0..10).unwrap().len(), 10);
    assert!(!pool.worker_pids().contains(&killed));
}

#[test]
fn tasks_behind_the_one_that_dies_move_to_another_worker() {
    let _watchdog = Watchdog::new(LONG);
    fn first_dies(n: u32, runs: Semaphore) -> u32 {
        runs.release().unwrap();
        if n == 0 {
            std::process::abort();
        }
        n
    }
    let pool = Pool::new(1).unwrap();
    let runs = Semaphore::new(0).unwrap();
    // Objects travel alone, so these are packets of one; the numbers below share one packet.
    let results = pool.starmap(first_dies, (0..5).map(|n| (n, runs.clone())));
    assert_eq!(results.unwrap_err().index(), 0);
    assert_eq!(runs.value(), 5, "each ran once");
    let each = pool.chunk_size(100).try_map(
        |n: u32| {
            if n % 25 == 7 {
                std::process::exit(1);
            }
            n
        },
        0..100,
    );
    let failed: Vec<_> = (0..100).filter(|n| each[*n].is_err()).collect();
    assert_eq!(failed, [7, 32, 57, 82]);
}

#[test]
fn the_death_of_an_idle_worker_is_not_noticed() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    for _ in 0..20 {
        // So that they are not killed before they have begun.
        assert_eq!(pool.map(|n: u32| n, 0..20).unwrap().len(), 20);
        // One may have been replaced already.
        let found = pool.worker_pids().into_iter().map(PidFd::open);
        let killed: Vec<_> = found
            .filter_map(Result::ok)
            .inspect(|process| drop(process.send_signal(libc::SIGKILL)))
            .collect();
        // Until its end, one that looks may take a packet of the next round.
        for process in killed {
            assert!(process.wait_end(Deadline::after(LONG)).unwrap());
        }
    }
    assert_eq!(pool.map(|n: u32| n, 0..20).unwrap().len(), 20);
}

#[test]
fn all_workers_killed_in_their_tasks_are_replaced() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(4).unwrap();
    let runs = Semaphore::new(0).unwrap();
    let stuck = |runs: Semaphore| -> u32 {
        runs.release().unwrap();
        loop {
            std::thread::park();
        }
    };
    let results = pool.map_async(stuck, (0..4).map(|_| runs.clone()));
    let after = pool.map_async(|n: u32| n, 0..100);
    (0..4).for_each(|_| runs.acquire());
    pool.worker_pids()
        .into_iter()
        .for_each(|pid| kill(pid, libc::SIGKILL));
    for error in results.get_each() {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::ProcessDied);
    }
    assert_eq!(after.get().unwrap().len(), 100);
}

/// Kills a worker, and returns after at least `pause`, when another task has ended.
///
/// Without that a busy machine starts no worker between two kills, and the pool gives up.
fn kill_and_await_progress<R>(pool: &Pool, seat: usize, results: &MapResult<R>, pause: Duration) {
    let before = results.completed();
    // It may be between two workers, or have ended.
    if let Some(pid) = pool.worker_pids().get(seat)
        && let Ok(process) = PidFd::open(*pid)
    {
        drop(process.send_signal(libc::SIGKILL));
    }
    while !results.wait_timeout(pause) && results.completed() == before {}
}

#[test]
fn workers_killed_at_any_moment_lose_at_most_the_task_that_they_run() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(3).unwrap();
    let runs = Semaphore::new(0).unwrap();
    let mut deaths = 0;
    for round in 0..8 {
        let results = pool.chunk_size(5).map_async(
            |n: u64| (0..n % 5000).fold(n, |sum, k| sum ^ k.wrapping_mul(n)),
            0..2000,
        );
        // Not until all is done: on a busy machine that takes as many starts as there are packets.
        for seat in (round..round + 20).take_while(|_| !results.ready()) {
            kill_and_await_progress(&pool, seat % 3, &results, Duration::from_millis(3));
        }
        for (n, result) in results.get_each().into_iter().enumerate() {
            let n = n as u64;
            match result {
                Ok(value) => {
                    assert_eq!(
                        value,
                        (0..n % 5000).fold(n, |sum, k| sum ^ k.wrapping_mul(n))
                    );
                }
                Err(error) => {
                    assert_eq!(error.index() as u64, n);
                    assert!(error.death().is_some(), "{error}");
                    deaths += 1;
                }
            }
        }
    }
    println!("{deaths} tasks died");
    assert_eq!(
        pool.apply(|runs: Semaphore| runs.value(), (runs,)).unwrap(),
        0
    );
}

#[test]
fn a_worker_killed_while_it_pushes_a_large_result_fails_that_task() {
    let _watchdog = Watchdog::new(LONG);
    // Eight times as large as a ring.
    fn large(n: u64) -> Vec<u8> {
        vec![n as u8; 1 << 20]
    }
    let pool = Pool::new(2).unwrap();
    for _ in 0..5 {
        let results = pool.map_async(large, 0..6);
        while !results.ready() {
            kill_and_await_progress(&pool, 0, &results, Duration::from_millis(15));
        }
        for (n, result) in results.get_each().into_iter().enumerate() {
            match result {
                Ok(bytes) => assert!(bytes == vec![n as u8; 1 << 20]),
                Err(error) => assert!(error.death().is_some(), "{error}"),
            }
        }
    }
}

#[test]
fn an_initializer_that_fails_ends_in_an_error() {
    let _watchdog = Watchdog::new(LONG);
    let panics = Pool::builder()
        .workers(2)
        .initializer(|| panic!("no licence"), ())
        .build()
        .unwrap();
    let error = panics.apply(|n: u32| n, (1,)).unwrap_err();
    assert!(error.to_string().contains("no licence"), "{error}");
    let returns_err = Pool::builder()
        .workers(1)
        .initializer(|| Err::<(), _>("no server".to_owned()), ())
        .build()
        .unwrap();
    let error = returns_err.apply(|n: u32| n, (1,)).unwrap_err();
    assert!(error.to_string().contains("no server"), "{error}");
    let late = returns_err.map(|n: u32| n, 0..3).unwrap_err();
    assert!(late.to_string().contains("no server"), "{late}");
}

#[test]
fn workers_that_die_before_they_run_anything_end_in_an_error() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::builder()
        .workers(2)
        .initializer(|| std::process::exit(9), ())
        .build()
        .unwrap();
    let error = pool.apply(|n: u32| n, (1,)).unwrap_err();
    assert!(error.to_string().contains("exited with code 9"), "{error}");
    assert_eq!(error.kind(), ErrorKind::ProcessDied);
}

#[test]
fn starts_that_fail_over_and_over_leave_a_task_that_runs_alone() {
    let _watchdog = Watchdog::new(LONG);
    fn start(left: Semaphore, failed: Semaphore) {
        if !left.try_acquire() {
            failed.release().unwrap();
            std::process::exit(9);
        }
    }
    fn task(pid: Mutex<u32>, runs: Event, go: Event) {
        *pid.lock().unwrap() = std::process::id();
        runs.set();
        go.wait();
    }
    let (left, failed) = (Semaphore::new(2).unwrap(), Semaphore::new(0).unwrap());
    let pool = Pool::builder()
        .workers(2)
        .initializer(start, (left.clone(), failed.clone()))
        .build()
        .unwrap();
    let (runs, go) = (Event::new().unwrap(), Event::new().unwrap());
    let runner = Mutex::new(0).unwrap();
    let result = pool.apply_async(task, (runner.clone(), runs.clone(), go.clone()));
    runs.wait();
    // So that the other has started as well.
    while left.value() > 0 {
        std::thread::yield_now();
    }
    let runner = *runner.lock().unwrap();
    let others = pool.worker_pids().into_iter().filter(|pid| *pid != runner);
    others.for_each(|pid| kill(pid, libc::SIGKILL));
    // More than after how many the pool gives up.
    (0..12).for_each(|_| failed.acquire());
    go.set();
    result.get().unwrap();
}

#[test]
fn arguments_that_no_worker_can_receive_fail_their_task_alone() {
    let _watchdog = Watchdog::new(LONG);
    fn no_more_descriptors() {
        let free = File::open("/dev/null").unwrap().as_raw_fd() as u64;
        let limit = libc::rlimit {
            rlim_cur: free,
            rlim_max: free,
        };
        // SAFETY: the kernel reads a structure that lives as long as the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    }
    let pool = Pool::builder()
        .workers(1)
        .initializer(no_more_descriptors, ())
        .build()
        .unwrap();
    for _ in 0..3 {
        let event = Event::new().unwrap();
        let error = pool.apply(|event: Event| event.set(), (event,));
        let error = error.unwrap_err();
        assert!(error.death().is_some(), "{error}");
        assert_eq!(pool.map(|n: u32| n, 0..10).unwrap().len(), 10);
    }
}

#[test]
fn a_damaged_ring_keeps_the_parent_awake_until_it_is_made_again() {
    let board = Board::new(1).unwrap();
    assert!(board.may_sleep(1, 1).unwrap());
    let memory = File::from(board.as_fd().try_clone_to_owned().unwrap());
    // All but the words at the beginning of the board.
    let zeros = vec![0; memory.metadata().unwrap().len() as usize - 512];
    memory.write_all_at(&zeros, 512).unwrap();
    assert!(!board.may_sleep(2, 1).unwrap());
    assert!(board.drain(0, |_, _| {}).is_err());
    board.reset_worker(0).unwrap();
    assert!(board.may_sleep(3, 1).unwrap());
}

#[test]
fn a_task_that_closes_every_descriptor_is_done_and_its_worker_is_replaced() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let closes = |n: u32| {
        // SAFETY: what is being tested is what happens to a worker whose task does this.
        unsafe { libc::close_range(3, u32::MAX, 0) };
        n
    };
    for n in 0..3 {
        // The parent cannot be woken, but it sees the end.
        assert_eq!(pool.apply(closes, (n,)).unwrap(), n);
    }
}

#[test]
fn an_interrupt_from_the_terminal_ends_no_task() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let (runs, go) = (Semaphore::new(0).unwrap(), Event::new().unwrap());
    let task = |(runs, go): (Semaphore, Event)| {
        runs.release().unwrap();
        go.wait();
        std::process::id()
    };
    let results = pool.map_async(task, vec![(runs.clone(), go.clone()); 2]);
    (0..2).for_each(|_| runs.acquire());
    let mut pids = pool.worker_pids();
    pids.iter().for_each(|pid| kill(*pid, libc::SIGINT));
    go.set();
    let mut ran = results.get().unwrap();
    ran.sort_unstable();
    pids.sort_unstable();
    assert_eq!(ran, pids);
}

/// Some of them have not run an instruction of their own yet.
#[test]
fn an_interrupt_while_workers_start_ends_none() {
    let _watchdog = Watchdog::new(LONG);
    for _ in 0..10 {
        let pool = Pool::new(2).unwrap();
        let pids = pool.worker_pids();
        pids.iter().for_each(|pid| kill(*pid, libc::SIGINT));
        assert_eq!(pool.apply(|n: u32| n + 1, (1,)).unwrap(), 2);
        assert_eq!(pool.worker_pids(), pids);
    }
}

/// Waits for the end of a process that is no child.
#[track_caller]
fn assert_ends(pid: u32) {
    let process = match PidFd::open(pid) {
        Ok(process) => process,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return,
        Err(error) => panic!("{error}"),
    };
    assert!(
        process.wait_end(Deadline::after(LONG)).unwrap(),
        "process {pid} outlives its parent"
    );
}

#[test]
fn no_worker_outlives_a_parent_that_is_killed() {
    fn parent(pids: Mutex<[u32; 3]>, runs: Event) {
        let pool = Pool::new(3).unwrap();
        let _never = pool.map_async(
            |_: u32| loop {
                std::thread::park();
            },
            0..2,
        );
        let found = pool.worker_pids();
        pids.lock().unwrap().copy_from_slice(&found);
        runs.set();
        loop {
            std::thread::park();
        }
    }
    let _watchdog = Watchdog::new(LONG);
    let (pids, runs) = (Mutex::new([0; 3]).unwrap(), Event::new().unwrap());
    let process = spawn(parent, (pids.clone(), runs.clone())).unwrap();
    runs.wait();
    process.kill().unwrap();
    process.join().unwrap();
    let pids = *pids.lock().unwrap();
    pids.into_iter().for_each(assert_ends);
}

#[test]
fn a_parent_that_exits_without_dropping_its_pool_ends() {
    fn parent() -> Vec<u32> {
        let pool = Box::leak(Box::new(Pool::new(2).unwrap()));
        // One of them runs a task that does not end.
        let _never = pool.apply_async(
            || loop {
                std::thread::park();
            },
            (),
        );
        assert_eq!(pool.apply(|n: u32| n, (7,)).unwrap(), 7);
        pool.worker_pids()
    }
    let _watchdog = Watchdog::new(LONG);
    let process = spawn(parent, ()).unwrap();
    let pids = process.result().unwrap();
    assert_eq!(pids.len(), 2);
    pids.into_iter().for_each(assert_ends);
}

#[test]
fn a_task_that_forks_and_returns_in_both_processes_is_done_once() {
    fn forks(n: u32) -> u32 {
        // SAFETY: the copy returns from the task and ends; it needs no other thread.
        assert!(unsafe { libc::fork() } >= 0);
        n
    }
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let worker = pool.worker_pids();
    for n in 0..10 {
        assert_eq!(pool.apply(forks, (n,)).unwrap(), n);
    }
    let each = pool.chunk_size(5).map(forks, 0..20).unwrap();
    assert_eq!(each, (0..20).collect::<Vec<_>>());
    assert_eq!(pool.worker_pids(), worker, "it pushed what it must not");
}
