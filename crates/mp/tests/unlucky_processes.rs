//! Processes that panic, exit, crash, close what is theirs, start others, or get and give too much.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mp::process::{Resource, Status};
use mp::sync::LockError;
use mp::{
    ErrorKind, Event, Lock, Mutex, Process, Queue, RawValue, Result, Value, active_children,
    current_process,
};
use mp_testkit::Watchdog;
use serde::{Deserialize, Serialize, Serializer};

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

#[track_caller]
fn assert_kind<T>(result: Result<T>, kind: ErrorKind) {
    let error = result.map(drop).expect_err("it should fail");
    assert_eq!(error.kind(), kind, "{error}");
}

/// Whether the process is gone, or dead and waits for its parent to look.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
}

#[track_caller]
fn assert_ends(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !has_ended(pid) {
        assert!(Instant::now() < deadline, "{pid} lives on");
        std::thread::yield_now();
    }
}

#[test]
fn every_way_to_end_has_its_status() -> Result<()> {
    fn overflow_the_stack(depth: u64) -> u64 {
        if depth == u64::MAX {
            0
        } else {
            overflow_the_stack(std::hint::black_box(depth + 1)) + depth
        }
    }
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("again")
        }
    }
    fn end(how: u32) -> u64 {
        match how {
            0 => std::process::exit(3),
            1 => std::process::exit(0),
            2 => std::process::abort(),
            3 => overflow_the_stack(0),
            4 => std::panic::panic_any(42_u8),
            5 => {
                let _twice = PanicsOnDrop;
                panic!("once")
            }
            // SAFETY: it ends this process at once, which is the intention.
            6 => unsafe { libc::_exit(7) },
            // SAFETY: a signal to this process, which has no handler for it.
            7 => (unsafe { libc::raise(libc::SIGTERM) }) as u64,
            8 => std::process::exit(-1),
            _ => 5,
        }
    }
    let _watchdog = watchdog();
    let (died, panicked) = (ErrorKind::ProcessDied, ErrorKind::Panicked);
    for (how, code, kind) in [
        (0, Some(3), died),
        (1, Some(0), died),
        (2, Some(-libc::SIGABRT), died),
        (3, None, died),
        (4, Some(1), panicked),
        (6, Some(7), died),
        (7, Some(-libc::SIGTERM), died),
        (8, Some(255), died),
    ] {
        let process = mp::spawn(end, (how,))?;
        assert_kind(process.result(), kind);
        assert_kind(process.result(), kind);
        if code.is_some() {
            assert_eq!(process.exitcode(), code, "way {how}");
        }
    }
    // A panic while unwinding aborts; that it was a panic may come back.
    let process = mp::spawn(end, (5,))?;
    assert!(process.result().is_err());
    assert_eq!(process.exitcode(), Some(-libc::SIGABRT));
    assert_eq!(mp::spawn(end, (9,))?.result()?, 5);
    Ok(())
}

#[test]
fn operations_out_of_order_are_errors() -> Result<()> {
    let _watchdog = watchdog();
    let mut process = Process::new(|| 1, ());
    assert_kind(process.join(), ErrorKind::InvalidState);
    assert_kind(process.result(), ErrorKind::InvalidState);
    assert_kind(process.kill(), ErrorKind::InvalidState);
    assert_kind(process.terminate(), ErrorKind::InvalidState);
    assert_kind(
        process.join_timeout(Duration::ZERO),
        ErrorKind::InvalidState,
    );
    assert!(process.sentinel().is_none());
    process.start()?;
    assert_kind(process.start(), ErrorKind::InvalidState);
    process.join()?;
    assert_kind(process.start(), ErrorKind::InvalidState);
    process.kill()?;
    process.terminate()?;
    process.join()?;
    assert_eq!((process.result()?, process.result()?), (1, 1));
    Ok(process.close()?)
}

#[test]
fn names_and_variables_that_cannot_be_are_errors() -> Result<()> {
    let _watchdog = watchdog();
    let whoami = || current_process().name().to_owned();
    let long = "name ".repeat(100_000);
    for name in ["", "with\0nul", "進程 1\n", &long] {
        let mut process = Process::new(whoami, ()).name(name);
        match process.start() {
            Ok(()) => assert_eq!(process.result()?, name),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
        }
    }
    for (variable, value) in [("A\0B", "x"), ("A", "x\0y")] {
        let mut process = Process::new(|| std::env::var("A").ok(), ()).env(variable, value);
        assert!(process.start().is_err(), "{variable:?}={value:?}");
    }
    for directory in ["/nowhere", "/dev/null", "", "nul\0"] {
        let mut process = Process::new(|| (), ()).current_dir(directory);
        assert!(process.start().is_err(), "{directory:?}");
    }
    let mut process = Process::new(|| std::env::var("A").ok(), ()).env("A", "it is set");
    process.start()?;
    assert_eq!(process.result()?.as_deref(), Some("it is set"));
    Ok(())
}

struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it does not want to"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(serde::de::Error::custom("it cannot be read"))
    }
}

/// Writes as a number and reads as nothing.
struct Unreadable;

impl Serialize for Unreadable {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u32(1)
    }
}

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(serde::de::Error::custom("it cannot be read"))
    }
}

#[test]
fn what_does_not_survive_the_way_is_an_error_of_that_process_alone() -> Result<()> {
    let _watchdog = watchdog();
    let mut process = Process::new(|_: Unwritable| (), (Unwritable,));
    assert_kind(process.start(), ErrorKind::Encode);
    assert_eq!(process.status(), Status::NotStarted);
    assert_kind(
        mp::spawn(|_: Unreadable| (), (Unreadable,))?.result(),
        ErrorKind::Decode,
    );
    assert_kind(mp::spawn(|| Unwritable, ())?.result(), ErrorKind::Encode);
    assert_kind(mp::spawn(|| Unreadable, ())?.result(), ErrorKind::Decode);

    let queue = Queue::new()?;
    let error = queue.put(Unwritable).expect_err("it cannot be written");
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(queue.is_empty());
    let queue = Queue::new()?;
    if cfg!(debug_assertions) {
        let error = queue.put(Unreadable).expect_err("it is read again to see");
        assert_eq!(error.kind(), ErrorKind::Encode);
    } else {
        queue.put(Unreadable)?;
        let error = queue.get().map(drop).expect_err("unreadable");
        assert_eq!(error.kind(), ErrorKind::Decode);
    }
    assert!(queue.is_empty());
    Ok(())
}

#[test]
fn handles_travel_in_structures_many_and_twice_and_back() -> Result<()> {
    #[derive(Serialize, Deserialize)]
    struct Tools {
        lock: Option<Lock>,
        total: Mutex<u64>,
    }
    fn add(tools: Tools, values: Vec<Value<u64>>, same: Mutex<u64>) -> Result<Queue<u64>> {
        let _guard = tools.lock.as_ref().map(|lock| lock.lock()).transpose()?;
        let guard = tools.total.lock()?;
        assert!(
            matches!(same.lock(), Err(LockError::Recursive)),
            "it is the same mutex"
        );
        drop(guard);
        let queue = Queue::new()?;
        for value in &values {
            *same.lock()? += value.get();
            queue.put(value.get())?;
        }
        Ok(queue)
    }
    let _watchdog = watchdog();
    let (lock, total) = (Some(Lock::new()?), Mutex::new(0)?);
    let values: Vec<_> = (0..600).map(Value::new).collect::<Result<_>>()?;
    let tools = Tools {
        lock,
        total: total.clone(),
    };
    let process = mp::spawn(add, (tools, values.clone(), total.clone()))?;
    let made = process.result()??;
    assert_eq!(*total.lock()?, (0..600).sum());
    assert_eq!((made.len(), made.get()?), (600, 0));

    let value = values[5].clone();
    let same = mp::spawn(
        |one: Value<u64>, two: Value<u64>| one.set(two.get() + 1),
        (value.clone(), value.clone()),
    )?;
    same.result()??;
    assert_eq!(value.get(), 6);
    Ok(())
}

#[test]
fn fifty_megabytes_go_there_and_back() -> Result<()> {
    let _watchdog = watchdog();
    let text = "mega byte ".repeat(5 << 20);
    let process = mp::spawn(|text: String| text + "and back", (text.clone(),))?;
    let back = process.result()?;
    assert_eq!(
        (back.len(), back.starts_with(&text)),
        (text.len() + 8, true)
    );
    Ok(())
}

#[test]
fn a_large_message_does_not_keep_join_from_returning() -> Result<()> {
    const SIZE: usize = 100 << 20;
    fn produce(queue: Queue<String>) -> Result<()> {
        queue.put("x".repeat(SIZE))?;
        queue.put("the end".to_owned())?;
        Ok(())
    }
    let _watchdog = watchdog();
    let queue = Queue::new()?;
    let producer = mp::spawn(produce, (queue.clone(),))?;
    producer.join()?;
    producer.result()??;
    let message = queue.get()?;
    assert_eq!((message.len(), &message[SIZE - 1..]), (SIZE, "x"));
    assert_eq!(queue.get()?, "the end");
    Ok(())
}

#[test]
fn two_hundred_children_at_once_with_1024_descriptors() -> Result<()> {
    fn child(go_on: Event, number: u32) -> u32 {
        go_on.wait();
        number
    }
    fn parent() -> Result<()> {
        assert_eq!(Resource::OpenFiles.limits().soft, 1024);
        let go_on = Event::new()?;
        let mut children = Vec::new();
        for number in 0..200 {
            children.push(mp::spawn(child, (go_on.clone(), number))?);
        }
        assert!(children.iter().all(Process::is_alive));
        go_on.set();
        for (child, number) in children.iter().zip(0..) {
            assert_eq!(child.result()?, number);
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let mut parent = Process::new(parent, ()).limit(Resource::OpenFiles, 1024);
    parent.start()?;
    parent.result()?
}

#[test]
fn threads_start_processes_at_once_and_end_before_them() -> Result<()> {
    fn child(go_on: Event, number: u32) -> u32 {
        go_on.wait();
        number * 2
    }
    let _watchdog = watchdog();
    let go_on = Event::new()?;
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let go_on = go_on.clone();
            std::thread::spawn(move || mp::spawn(child, (go_on, number)))
        })
        .collect();
    let started: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .collect();
    go_on.set();
    for (process, number) in started.into_iter().zip(0..) {
        assert_eq!(process?.result()?, number * 2);
    }
    Ok(())
}

#[test]
fn one_process_is_waited_for_by_many_threads() -> Result<()> {
    let _watchdog = watchdog();
    let go_on = Event::new()?;
    let process = mp::spawn(
        |go_on: Event| {
            go_on.wait();
            9
        },
        (go_on.clone(),),
    )?;
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| process.result())).collect();
        go_on.set();
        for thread in waiting {
            assert_eq!(thread.join().expect("no panic").expect("its value"), 9);
        }
    });
    Ok(())
}

/// How deep it came, or why not deeper.
fn descend(depth: u32, pids: Queue<u32>) -> (u32, Option<mp::Error>) {
    let deeper = || {
        pids.put(std::process::id())?;
        match depth {
            0 => Ok((0, None)),
            _ => mp::spawn(descend, (depth - 1, pids.clone()))?.result(),
        }
    };
    match deeper() {
        Ok((0, None)) if depth == 0 => (0, None),
        Ok((below, error)) => (below + 1, error),
        Err(error) => (0, Some(error)),
    }
}

#[test]
fn children_start_children() -> Result<()> {
    let _watchdog = watchdog();
    let pids = Queue::new()?;
    let process = mp::spawn(descend, (5, pids.clone()))?;
    assert!(matches!(process.result()?, (5, None)));
    pids.close()?;
    assert_eq!(
        pids.iter()
            .collect::<std::result::Result<BTreeSet<_>, _>>()?
            .len(),
        6
    );
    Ok(())
}

#[test]
fn a_program_that_starts_itself_for_ever_is_stopped() -> Result<()> {
    let _watchdog = watchdog();
    let pids = Queue::new()?;
    let (_, error) = mp::spawn(descend, (1000, pids.clone()))?.result()?;
    let error = error.expect("too deep");
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    assert!(pids.len() < 100, "{}", pids.len());
    Ok(())
}

/// Three generations: the middle one is killed, and what it has started goes with it.
#[test]
fn no_child_survives_its_killed_parent() -> Result<()> {
    fn sleeper(pids: Queue<u32>, never: Event) -> Result<()> {
        pids.put(std::process::id())?;
        never.wait();
        Ok(())
    }
    fn parent(pids: Queue<u32>, never: Event) -> Result<()> {
        let mut daemon = Process::new(sleeper, (pids.clone(), never.clone())).daemon(true);
        daemon.start()?;
        let kept = mp::spawn(sleeper, (pids.clone(), never.clone()))?;
        drop(mp::spawn(sleeper, (pids, never))?);
        kept.join()
    }
    let _watchdog = watchdog();
    for round in 0..5 {
        let (pids, never) = (Queue::new()?, Event::new()?);
        let process = mp::spawn(parent, (pids.clone(), never))?;
        let mut children = Vec::new();
        for _ in 0..[3, 3, 1, 2, 3][round] {
            children.push(pids.get()?);
        }
        process.kill()?;
        process.join()?;
        while let Ok(late) = pids.try_get() {
            children.push(late);
        }
        for pid in children {
            assert_ends(pid);
        }
    }
    Ok(())
}

#[test]
fn a_parent_that_exits_waits_for_children_but_ends_daemons() -> Result<()> {
    fn sleeper(pids: Queue<u32>, never: Event) -> Result<()> {
        pids.put(std::process::id())?;
        never.wait();
        Ok(())
    }
    fn slow(done: RawValue<u32>, go_on: Event) {
        go_on.wait();
        done.set(1);
    }
    fn parent(pids: Queue<u32>, never: Event, done: RawValue<u32>, go_on: Event) -> Result<()> {
        Process::new(sleeper, (pids, never)).daemon(true).start()?;
        drop(mp::spawn(slow, (done, go_on))?);
        Ok(())
    }
    let _watchdog = watchdog();
    let (pids, never, done, go_on) = (
        Queue::new()?,
        Event::new()?,
        RawValue::new(0)?,
        Event::new()?,
    );
    let arguments = (pids.clone(), never, done.clone(), go_on.clone());
    let process = mp::spawn(parent, arguments)?;
    let daemon = pids.get_timeout(Duration::from_secs(5));
    go_on.set();
    process.result()??;
    assert_eq!(done.get(), 1);
    if let Ok(pid) = daemon {
        assert_ends(pid);
    }
    Ok(())
}

#[test]
fn a_task_that_closes_every_descriptor_gives_its_value() -> Result<()> {
    fn close_all(queue: Queue<u32>) -> Result<u32> {
        queue.put(7)?;
        // SAFETY: nothing of this process uses its descriptors any more but what is being tested.
        unsafe { libc::close_range(0, u32::MAX, 0) };
        queue.put(8)?;
        // Its descriptor is closed already, and std ends a process that closes one twice.
        std::mem::forget(queue);
        Ok(9)
    }
    let _watchdog = watchdog();
    let queue = Queue::new()?;
    let process = mp::spawn(close_all, (queue.clone(),))?;
    assert_eq!(process.result()??, 9);
    assert_eq!((queue.get()?, queue.get()?), (7, 8));
    Ok(())
}

/// The copy has the descriptors of the child, on which the parent listens.
#[test]
fn a_forked_copy_that_lives_on_does_not_delay_the_result() -> Result<()> {
    fn fork(pids: Queue<i32>) -> Result<u32> {
        // SAFETY: the copy calls only functions that may be called between fork and exec.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: it has no arguments, and waits for a signal.
                unsafe { libc::pause() };
            },
            pid => pids.put(pid)?,
        }
        Ok(4)
    }
    let _watchdog = watchdog();
    let pids = Queue::new()?;
    let process = mp::spawn(fork, (pids.clone(),))?;
    assert_eq!(process.result()??, 4);
    let copy = pids.get()?;
    // SAFETY: a signal to the copy made above, which has nobody else to end it.
    unsafe { libc::kill(copy, libc::SIGKILL) };
    assert_ends(copy as u32);
    Ok(())
}

#[test]
fn a_process_without_standard_streams_starts_others() -> Result<()> {
    fn without() -> Result<u32> {
        // SAFETY: nothing of this process uses its standard streams but what is being tested.
        unsafe { libc::close_range(0, 2, 0) };
        let queue = Queue::new()?;
        let child = |queue: Queue<u32>| queue.put(8).map_err(mp::Error::from);
        let mut process = Process::new(child, (queue.clone(),));
        process.start()?;
        process.result()??;
        Ok(queue.get()?)
    }
    let _watchdog = watchdog();
    assert_eq!(mp::spawn(without, ())?.result()??, 8);
    Ok(())
}

#[test]
fn a_stopped_child_is_alive_and_can_be_killed() -> Result<()> {
    let _watchdog = watchdog();
    let ready = Event::new()?;
    let process = mp::spawn(
        |ready: Event| {
            ready.set();
            // SAFETY: it stops this process.
            unsafe { libc::raise(libc::SIGSTOP) };
        },
        (ready.clone(),),
    )?;
    ready.wait();
    assert!(!process.join_timeout(Duration::from_millis(20))?);
    assert!(process.is_alive());
    process.kill()?;
    process.join()?;
    assert_eq!(process.exitcode(), Some(-libc::SIGKILL));
    Ok(())
}

#[test]
fn who_reaps_by_hand_gets_unknown_and_no_hang() -> Result<()> {
    fn reap() -> Result<bool> {
        let process = mp::spawn(|| -> u8 { std::process::abort() }, ())?;
        let pid = process.pid().map_or(0, |pid| pid as i32);
        // SAFETY: it waits for a child of this process.
        assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
        process.join()?;
        assert!(process.result().is_err());
        Ok(process.status() == Status::Unknown)
    }
    let _watchdog = watchdog();
    assert!(mp::spawn(reap, ())?.result()??);
    Ok(())
}

#[test]
fn killed_children_leave_no_zombie_when_their_handles_are_gone() -> Result<()> {
    fn kill_some() -> Result<usize> {
        let never = Event::new()?;
        for _ in 0..10 {
            let process = mp::spawn(|never: Event| never.wait(), (never.clone(),))?;
            process.kill()?;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while !active_children().is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        Ok(children.split_whitespace().count())
    }
    let _watchdog = watchdog();
    assert_eq!(mp::spawn(kill_some, ())?.result()??, 0);
    Ok(())
}

extern "C" fn do_nothing(_: libc::c_int) {}

#[test]
fn signals_cut_no_wait_short() -> Result<()> {
    fn disturbed() -> Result<()> {
        fn other(lock: Lock, begun: Event, queue: Queue<u32>) -> Result<u32> {
            let _guard = lock.lock()?;
            begun.set();
            let late = Instant::now() + Duration::from_millis(30);
            while Instant::now() < late {
                std::thread::yield_now();
            }
            queue.put(3)?;
            Ok(4)
        }
        let handler: extern "C" fn(libc::c_int) = do_nothing;
        let every = libc::timeval {
            tv_sec: 0,
            tv_usec: 300,
        };
        let timer = libc::itimerval {
            it_interval: every,
            it_value: every,
        };
        // SAFETY: all zeros is a disposition without flags, so calls are not restarted.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as usize;
        // SAFETY: `action` is whole, and its handler does nothing.
        unsafe { libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) };
        // SAFETY: `timer` is whole.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };

        let (lock, begun, queue) = (Lock::new()?, Event::new()?, Queue::new()?);
        let process = mp::spawn(other, (lock.clone(), begun.clone(), queue.clone()))?;
        begun.wait();
        drop(lock.lock()?);
        assert_eq!(queue.get()?, 3);
        process.join()?;
        assert_eq!(process.result()??, 4);
        let began = Instant::now();
        assert!(queue.get_timeout(Duration::from_millis(20)).is_err());
        assert!(!Event::new()?.wait_timeout(Duration::from_millis(20)));
        assert!(began.elapsed() >= Duration::from_millis(40));
        assert_eq!(
            mp::spawn(|text: String| text.len(), ("x".repeat(8 << 20),))?.result()?,
            8 << 20
        );
        Ok(())
    }
    let _watchdog = watchdog();
    mp::spawn(disturbed, ())?.result()?
}

/// What Python does where processes are forked; here it is the caller's own fork.
#[test]
fn a_forked_copy_is_another_owner() -> Result<()> {
    fn fork() -> Result<()> {
        let (lock, value, queue) = (Lock::new()?, Value::new(0)?, Queue::new()?);
        drop((lock.lock()?, value.lock()?));
        // SAFETY: this process has one thread, so its copy may do what it likes.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            let _held = (lock.lock(), value.lock());
            drop(queue.put(77));
            loop {
                std::thread::park();
            }
        }
        assert_eq!(queue.get()?, 77);
        assert!(matches!(lock.try_lock(), Err(LockError::Timeout(_))));
        assert_kind(value.lock_timeout(Duration::ZERO), ErrorKind::TimedOut);
        // SAFETY: a signal to the copy, which nobody has waited for.
        unsafe { libc::kill(copy, libc::SIGKILL) };
        assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
        value.fetch_add(1)?;
        // SAFETY: it waits for the copy, and writes nothing.
        let waited = unsafe { libc::waitpid(copy, std::ptr::null_mut(), 0) };
        assert_eq!(waited, copy);
        Ok(())
    }
    let _watchdog = watchdog();
    mp::spawn(fork, ())?.result()?
}
