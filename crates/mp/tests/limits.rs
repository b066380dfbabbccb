//! Every object where the kernel refuses a call, and where descriptors or memory end: an error that
//! says what is needed or correct work, and nothing left behind.

use std::fs;
use std::time::{Duration, Instant};

use mp::queue::GetError;
use mp::sync::LockError;
use mp::{
    Barrier, BoundedSemaphore, Condition, Connection, ErrorKind, Event, JoinableQueue, Lock,
    MpmcQueue, Mutex, PermitSemaphore, Queue, QueueReceiver, QueueSender, RLock, Receiver, Result,
    RwLock, Semaphore, Sender, channel, pipe, wait,
};
use mp_testkit::{Forked, UniqueName, leave_descriptors, own_dev_shm, refuse};

/// What this process can do with an object alone.
trait Object {
    fn works(&self) -> bool;
}

macro_rules! works {
    ($($type:ty: |$object:ident| $works:expr;)+) => {
        $(impl Object for $type {
            fn works(&self) -> bool {
                let $object = self;
                $works
            }
        })+
    };
}

works! {
    Lock: |lock| lock.lock().is_ok();
    RLock: |lock| lock.lock().is_ok_and(|_outer| lock.lock().is_ok());
    RwLock: |lock| lock.read().is_ok() && lock.write().is_ok();
    Mutex<u64>: |number| number.lock().is_ok_and(|number| *number == 7);
    Event: |event| { event.set(); event.wait_timeout(Duration::ZERO) };
    Condition: |condition| condition.lock().is_ok_and(|guard| {
        guard.notify_all();
        guard.wait_timeout(Duration::ZERO).is_ok_and(|(_, notified)| !notified)
    });
    Barrier: |barrier| barrier.wait().is_ok();
    Semaphore: |permits| permits.try_acquire() && permits.release().is_ok();
    BoundedSemaphore: |permits| permits.try_acquire() && permits.release().is_ok();
    PermitSemaphore: |permits| permits.acquire().is_ok();
    Queue<u8>: |queue| queue.put(1).is_ok() && queue.get().is_ok_and(|one| one == 1);
    JoinableQueue<u8>: |queue| {
        queue.put(1).is_ok() && queue.get().is_ok() && queue.task_done().is_ok() && queue.join().is_ok()
    };
    MpmcQueue<u64>: |queue| queue.put(1).is_ok() && queue.get().is_ok_and(|one| one == 1);
    (QueueSender<u8>, QueueReceiver<u8>): |ends| ends.0.put(1).is_ok() && ends.1.get().is_ok();
    (Connection<u8, u8>, Connection<u8, u8>): |ends| {
        ends.0.send(1).is_ok() && ends.1.recv().is_ok() && ends.1.send(2).is_ok() && ends.0.recv().is_ok()
    };
}

/// A channel's ends are used by `&mut self`, so here its size is looked at.
impl Object for (Sender<u64>, Receiver<u64>) {
    fn works(&self) -> bool {
        self.0.capacity() >= 4
    }
}

type Made = Result<Box<dyn Object>>;

/// Makes one under a name, and removes the name.
type UnderName = (fn(&str) -> Made, fn(&str) -> Result<()>);

struct Kind {
    kind: &'static str,
    make: fn() -> Made,
    /// `None` if it has no name.
    named: Option<UnderName>,
}

fn boxed<T: Object + 'static>(made: Result<T>) -> Made {
    made.map(|object| Box::new(object) as Box<dyn Object>)
}

macro_rules! kind {
    ($type:ty $(, $argument:expr)?) => {
        Kind {
            kind: stringify!($type),
            make: || boxed(<$type>::new($($argument)?)),
            named: Some((
                |name| boxed(<$type>::create_named(name $(, $argument)?)),
                <$type>::unlink,
            )),
        }
    };
    ($kind:literal: $make:expr) => {
        Kind { kind: $kind, make: || boxed($make), named: None }
    };
}

const EVERY_KIND: [Kind; 16] = [
    kind!(Lock),
    kind!(RLock),
    kind!(RwLock),
    kind!(Mutex<u64>, 7),
    kind!(Event),
    kind!(Condition),
    kind!(Barrier, 1),
    kind!(Semaphore, 1),
    kind!(BoundedSemaphore, 1),
    kind!(PermitSemaphore, 1),
    kind!(Queue<u8>),
    kind!(JoinableQueue<u8>),
    kind!(MpmcQueue<u64>, 4),
    kind!("queue with ends": Queue::<u8>::ends()),
    kind!("pipe": pipe::<u8, u8>()),
    kind!("channel": channel::<u64>(4)),
];

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .count()
}

fn in_a_child(check: impl FnOnce()) {
    let child = Forked::new(|| {
        check();
        true
    });
    assert!(child.succeeds());
}

#[test]
fn with_forty_descriptors_left_the_next_object_is_an_error_and_the_others_work() {
    for Kind { kind, make, named } in &EVERY_KIND {
        in_a_child(|| {
            leave_descriptors(40);
            let before = open_descriptors();
            let mut made = Vec::new();
            let error = loop {
                match make() {
                    Ok(object) => made.push(object),
                    Err(error) => break error,
                }
            };
            assert_eq!(
                error.kind(),
                ErrorKind::TooManyDescriptors,
                "{kind}: {error}"
            );
            assert!(
                made.len() >= 8,
                "{kind}: {} with 40 descriptors",
                made.len()
            );
            // Of what was half made nothing is open.
            while let Some((create, _)) = named {
                let name = UniqueName::new("one-too-many");
                match create(&name) {
                    Ok(object) => made.push(object),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TooManyDescriptors, "{error}");
                        assert!(!name.path().exists(), "{kind}");
                        break;
                    }
                }
            }
            for object in &made {
                assert!(object.works(), "{kind}");
            }
            drop(made);
            assert_eq!(open_descriptors(), before, "{kind}");
            assert!(make().is_ok_and(|object| object.works()), "{kind}");
        });
    }
}

#[test]
#[ignore = "needs the right to mount"]
fn with_64_kib_of_dev_shm_left_the_next_object_is_an_error_and_the_others_work() {
    for Kind { kind, named, .. } in &EVERY_KIND {
        let Some((create, unlink)) = named else {
            continue;
        };
        in_a_child(|| {
            own_dev_shm(64 << 10);
            for _ in 0..3 {
                let mut made = Vec::new();
                let error = loop {
                    match create(&made.len().to_string()) {
                        Ok(object) => made.push(object),
                        Err(error) => break error,
                    }
                };
                assert_eq!(error.kind(), ErrorKind::NotEnoughMemory, "{kind}: {error}");
                let text = error.to_string();
                assert!(
                    text.contains("/dev/shm has ") && text.contains("--shm-size"),
                    "{text}"
                );
                assert!(
                    !made.is_empty() || kind.contains("Queue<u8>"),
                    "{kind}: {text}"
                );
                let files = fs::read_dir("/dev/shm").expect("our own").count();
                assert_eq!(files, made.len(), "{kind}: nothing half made");
                for (number, object) in made.iter().enumerate() {
                    assert!(object.works(), "{kind} {number}");
                    unlink(&number.to_string()).expect("its name");
                }
            }
        });
    }
}

#[test]
fn without_memfd_create_names_work_and_the_rest_says_what_is_missing() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_a_child(|| {
            refuse(libc::SYS_memfd_create, errno, None);
            for Kind { kind, make, named } in &EVERY_KIND {
                let before = open_descriptors();
                let error = make().map(drop).expect_err(kind);
                assert!(
                    error.to_string().contains("memfd_create"),
                    "{kind}: {error}"
                );
                assert_eq!(open_descriptors(), before, "{kind}");
                if let Some((create, unlink)) = named {
                    let name = UniqueName::new("without-memfd");
                    let made = create(&name).unwrap_or_else(|error| panic!("{kind}: {error}"));
                    assert!(made.works(), "{kind}");
                    unlink(&name).expect("its name");
                }
            }
        });
    }
}

/// Waits until the process sleeps, or for a moment if it cannot be seen.
fn until_asleep(pid: u32) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('S'))
        {
            return;
        }
        std::thread::yield_now();
    }
}

/// One process sleeps in `sleep`, and is woken by `wake` of this one.
#[track_caller]
fn wakes(what: &str, sleep: impl FnOnce() -> bool, wake: impl FnOnce()) {
    let sleeper = Forked::new(sleep);
    until_asleep(sleeper.pid());
    wake();
    assert!(sleeper.succeeds(), "{what}");
}

fn every_sleeper_is_woken() -> Result<()> {
    let event = Event::new()?;
    wakes(
        "event",
        || event.wait_timeout(Duration::MAX),
        || event.set(),
    );
    let lock = Lock::new()?;
    let guard = lock.lock()?;
    wakes("lock", || lock.lock().is_ok(), || drop(guard));
    let lock = RLock::new()?;
    let guard = lock.lock()?;
    wakes("recursive lock", || lock.lock().is_ok(), || drop(guard));
    let lock = RwLock::new()?;
    let guard = lock.write()?;
    wakes("reader", || lock.read().is_ok(), || drop(guard));
    let guard = lock.read()?;
    wakes("writer", || lock.write().is_ok(), || drop(guard));
    let permits = Semaphore::new(0)?;
    let release = || permits.release().expect("room");
    wakes(
        "semaphore",
        || permits.acquire_timeout(Duration::MAX),
        release,
    );
    let permits = PermitSemaphore::new(1)?;
    let permit = permits.acquire()?;
    wakes("permit", || permits.acquire().is_ok(), || drop(permit));
    let (condition, done) = (Condition::new()?, Event::new()?);
    wakes(
        "condition",
        || {
            let guard = condition.lock().expect("nobody dies");
            guard.wait_for(|| done.is_set()).is_ok()
        },
        || {
            let guard = condition.lock().expect("nobody dies");
            done.set();
            guard.notify(1);
        },
    );
    let barrier = Barrier::new(2)?;
    let arrive = || assert!(barrier.wait().is_ok());
    wakes("barrier", || barrier.wait().is_ok(), arrive);
    let queue = Queue::<u8>::bounded(1)?;
    wakes(
        "get",
        || queue.get().is_ok(),
        || queue.put(1).expect("room"),
    );
    queue.put(1)?;
    wakes(
        "put",
        || queue.put(2).is_ok(),
        || assert!(queue.get().is_ok()),
    );
    let queue = JoinableQueue::<u8>::new()?;
    queue.put(1)?;
    queue.get()?;
    wakes(
        "join",
        || queue.join().is_ok(),
        || queue.task_done().expect("it was got"),
    );
    let queue = MpmcQueue::<u64>::new(1)?;
    wakes(
        "get",
        || queue.get().is_ok(),
        || queue.put(1).expect("room"),
    );
    queue.put(1)?;
    wakes(
        "put",
        || queue.put(2).is_ok(),
        || assert!(queue.get().is_ok()),
    );
    let (ours, theirs) = pipe::<u8, u8>()?;
    wakes(
        "pipe",
        || theirs.recv().is_ok(),
        || ours.send(1).expect("open"),
    );
    let (event, queue) = (Event::new()?, Queue::<u8>::new()?);
    wakes(
        "several",
        || wait(&[&event, &queue], Duration::MAX).is_ok_and(|ready| ready == [1]),
        || queue.put(1).expect("room"),
    );
    Ok(())
}

fn every_death_is_noticed() -> Result<()> {
    let lock = Lock::new()?;
    Forked::holding(|| std::mem::forget(lock.lock().expect("free"))).kill_and_reap();
    assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
    let lock = RwLock::new()?;
    Forked::holding(|| std::mem::forget(lock.read().expect("free"))).kill_and_reap();
    assert!(lock.write().is_ok());
    let permits = PermitSemaphore::new(1)?;
    Forked::holding(|| std::mem::forget(permits.acquire().expect("free"))).kill_and_reap();
    assert!(permits.acquire().is_ok());
    let barrier = Barrier::new(2)?;
    let waits = Forked::new(|| barrier.wait().is_ok());
    let start = Instant::now();
    while barrier.waiting() == 0 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it never arrives"
        );
        std::thread::yield_now();
    }
    waits.kill_and_reap();
    // It passes as the second of the round, or finds the first one dead.
    drop(barrier.wait());
    let queue = JoinableQueue::<u8>::new()?;
    queue.put(1)?;
    Forked::holding(|| queue.get().expect("a task")).kill_and_reap();
    assert!(
        queue
            .join()
            .is_err_and(|error| error.kind() == ErrorKind::ProcessDied)
    );
    let (ours, theirs) = pipe::<u8, u8>()?;
    let other = Forked::holding(|| theirs.send(1));
    drop(theirs);
    assert_eq!(ours.recv()?, 1);
    other.kill_and_reap();
    assert!(matches!(ours.recv(), Err(GetError::Closed)));
    Ok(())
}

#[test]
fn without_futex_waitv_all_work() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_a_child(|| {
            refuse(libc::SYS_futex_waitv, errno, None);
            every_sleeper_is_woken().expect("each object works");
            every_death_is_noticed().expect("each object works");
        });
    }
}
