//! A signal handler ends waits that would last for ever, by the hook of their deadline: the Ctrl-C
//! of a host language.

use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mp::queue::{GetError, PutError};
use mp::sync::LockError;
use mp::{Array, Deadline, Event, Lock, Mutex, Process, Queue, RLock, Result, Semaphore, Value};
use mp_testkit::{PATIENCE, Watchdog};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// A handler as CPython installs them: without `SA_RESTART`.
fn install_the_handler() {
    // SAFETY: all zero bytes are an action with no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = interrupt as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler stores to an atomic, and does nothing else.
    let installed =
        unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
}

/// Runs a wait without an end in a thread, which gets signals until it has returned.
fn interrupted<R: Send + 'static>(wait: impl FnOnce(Deadline) -> R + Send + 'static) -> R {
    INTERRUPTED.store(false, Ordering::SeqCst);
    let never = Deadline::NEVER.interruptible_by(|| INTERRUPTED.load(Ordering::SeqCst));
    let waiting = thread::spawn(move || wait(never));
    while !waiting.is_finished() {
        // SAFETY: the thread was not joined, so its handle is valid.
        unsafe { libc::pthread_kill(waiting.as_pthread_t(), libc::SIGUSR1) };
        thread::sleep(Duration::from_millis(1));
    }
    assert!(INTERRUPTED.load(Ordering::SeqCst), "it waited for a signal");
    waiting.join().expect("no panic")
}

/// One test: the handler and its flag are the process's.
#[test]
fn a_signal_ends_each_wait_as_its_timeout_would() -> Result<()> {
    fn stay() {
        loop {
            thread::park();
        }
    }
    let _watchdog = Watchdog::new(PATIENCE * 4);
    install_the_handler();

    let lock = Lock::new()?;
    let held = lock.lock()?;
    let same = lock.clone();
    let holder = interrupted(move |never| match same.lock_timeout(never) {
        Err(LockError::Timeout(holder)) => holder.pid(),
        other => panic!("{other:?}"),
    });
    assert_eq!(holder, Some(std::process::id()));
    drop(held);

    let rlock = RLock::new()?;
    let held = rlock.lock()?;
    let same = rlock.clone();
    assert!(interrupted(move |never| same.lock_timeout(never).is_err()));
    drop(held);

    let mutex = Mutex::new(1_u64)?;
    let held = mutex.lock()?;
    let same = mutex.clone();
    assert!(interrupted(move |never| same.lock_timeout(never).is_err()));
    drop(held);

    let array = Array::<f64>::new(8)?;
    let held = array.lock()?;
    let same = array.clone();
    assert!(interrupted(move |never| same.lock_timeout(never).is_err()));
    drop(held);

    let value = Value::new(1_u64)?;
    let held = value.lock()?;
    let same = value.clone();
    assert!(interrupted(move |never| same.lock_timeout(never).is_err()));
    drop(held);

    let event = Event::new()?;
    assert!(!interrupted(move |never| event.wait_timeout(never)));

    let semaphore = Semaphore::new(0)?;
    assert!(!interrupted(move |never| semaphore.acquire_timeout(never)));

    let queue = Queue::<String>::bounded(1)?;
    let same = queue.clone();
    let got = interrupted(move |never| same.get_timeout(never));
    assert!(matches!(got, Err(GetError::Empty)), "{got:?}");
    queue.put("one".to_owned())?;
    let same = queue.clone();
    let put = interrupted(move |never| same.put_timeout("two".to_owned(), never));
    assert!(matches!(put, Err(PutError::Full(value)) if value == "two"));
    assert_eq!(queue.get()?, "one");

    let mut process = Process::new(stay, ());
    process.start()?;
    let ended = interrupted(move |never| {
        let ended = process.join_timeout(never);
        process.kill().and_then(|()| process.join()).and(ended)
    });
    assert!(!ended?, "it was running");
    Ok(())
}
