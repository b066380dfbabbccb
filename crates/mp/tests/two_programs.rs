//! Two programs that know nothing of each other but a name: each object is made by one and opened
//! by another, which comes late, goes on where a killed one stopped, or makes it again.
//!
//! The programs are this file, started again with a part to play: unlike a forked child they have
//! nothing of this process but their arguments.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mp::sync::LockError;
use mp::{
    Barrier, BoundedSemaphore, Condition, Error, ErrorKind, Event, JoinableQueue, Lock, MpmcQueue,
    Mutex, PermitSemaphore, Queue, RLock, Result, RwLock, Semaphore,
};
use mp_testkit::{PATIENCE, UniqueName, Watchdog};

/// Which part a program plays, and the first part of the names that it is told.
const PART: &str = "MP_TEST_PART";
const NAMES: &str = "MP_TEST_NAMES";

/// An object under a name, with a mark that one program leaves in it and another finds.
struct Named {
    kind: &'static str,
    create: fn(&str) -> Result<()>,
    open_or_create: fn(&str) -> Result<()>,
    unlink: fn(&str) -> Result<()>,
    /// Opens it and leaves the mark, which stays when the process ends.
    mark: fn(&str) -> Result<()>,
    /// Opens it and says whether it is marked; takes the mark away.
    is_marked: fn(&str) -> Result<bool>,
}

macro_rules! named {
    ($kind:literal, $type:ty $(, $argument:expr)?; $mark:expr; $is_marked:expr) => {
        Named {
            kind: $kind,
            create: |name| <$type>::create_named(name $(, $argument)?).map(drop),
            open_or_create: |name| <$type>::open_or_create(name $(, $argument)?).map(drop),
            unlink: |name| <$type>::unlink(name),
            mark: |name| {
                let object = <$type>::open(name)?;
                let mark: fn(&$type) -> Result<()> = $mark;
                mark(&object)
            },
            is_marked: |name| {
                let object = <$type>::open(name)?;
                let is_marked: fn(&$type) -> Result<bool> = $is_marked;
                is_marked(&object)
            },
        }
    };
}

/// Whether the last owner ended with the lock in its hands.
fn owner_died<G>(locked: std::result::Result<G, LockError<G>>) -> Result<bool>
where
    Error: From<LockError<G>>,
{
    match locked {
        Ok(_) => Ok(false),
        Err(LockError::OwnerDied(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Ends the process with the guard in its hands.
fn keep<G>(guard: G) -> Result<()> {
    std::mem::forget(guard);
    Ok(())
}

const EVERY_KIND: [Named; 13] = [
    named!("lock", Lock; |lock| keep(lock.lock()?); |lock| owner_died(lock.lock())),
    named!("recursive lock", RLock; |lock| keep(lock.lock()?); |lock| owner_died(lock.lock())),
    named!("reader-writer lock", RwLock; |lock| keep(lock.write()?); |lock| owner_died(lock.write())),
    named!("condition", Condition; |lock| keep(lock.lock()?); |lock| owner_died(lock.lock())),
    named!("mutex", Mutex<u64>, 0;
        |number| { *number.lock()? = 7; Ok(()) };
        |number| Ok(std::mem::take(&mut *number.lock()?) == 7)),
    named!("event", Event;
        |event| { event.set(); Ok(()) };
        |event| { let is_set = event.is_set(); event.clear(); Ok(is_set) }),
    named!("semaphore", Semaphore, 0; |permits| permits.release(); |permits| Ok(permits.try_acquire())),
    named!("bounded semaphore", BoundedSemaphore, 1;
        |permits| { assert!(permits.try_acquire()); Ok(()) };
        |permits| Ok(permits.release().is_ok())),
    // Those of the dead come back, so the mark is that there is one.
    named!("permit semaphore", PermitSemaphore, 1;
        |permits| keep(permits.try_acquire()?.expect("there is one"));
        |permits| Ok(permits.sweep() == 1)),
    named!("barrier", Barrier, 1;
        |barrier| barrier.abort();
        |barrier| { let is_broken = barrier.is_broken(); barrier.reset()?; Ok(is_broken) }),
    named!("queue", Queue<String>;
        |queue| Ok(queue.put("a mark".to_owned())?);
        |queue| Ok(queue.try_get().is_ok_and(|message| message == "a mark"))),
    named!("joinable queue", JoinableQueue<u64>;
    |queue| Ok(queue.put(7)?);
    |queue| {
        let is_there = queue.try_get().is_ok_and(|task| task == 7);
        if is_there { queue.task_done()?; }
        queue.join()?;
        Ok(is_there)
    }),
    named!("queue without a lock", MpmcQueue<u64>, 1;
        |queue| Ok(queue.put(7)?);
        |queue| Ok(queue.try_get().is_ok_and(|value| value == 7))),
];

/// Runs `play` for each object, under the name that this program was told.
fn for_each(play: impl Fn(&Named, &str) -> Result<()>) -> bool {
    let names = std::env::var(NAMES).expect("the names");
    for named in &EVERY_KIND {
        let name = format!("{names}-{}", named.kind);
        play(named, &name).unwrap_or_else(|error| panic!("{}: {error}", named.kind));
    }
    true
}

/// Plays the part that this process was started for; false if it is the test itself.
fn plays_its_part() -> bool {
    let part = std::env::var(PART).unwrap_or_default();
    match &part[..] {
        "" => false,
        "make" => for_each(|named, name| {
            (named.create)(name)?;
            (named.mark)(name)
        }),
        "come late" => for_each(|named, name| {
            let error = (named.create)(name).expect_err("it is there");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
            (named.open_or_create)(name)?;
            assert!(
                (named.is_marked)(name)?,
                "{} is not the other's",
                named.kind
            );
            assert!(!(named.is_marked)(name)?, "{} is marked still", named.kind);
            Ok(())
        }),
        "mark" => for_each(|named, name| (named.mark)(name)),
        "make again" => for_each(|named, name| {
            (named.unlink)(name)?;
            (named.create)(name)
        }),
        "find unmarked" => for_each(|named, name| {
            assert!(!(named.is_marked)(name)?, "{} is the old one", named.kind);
            Ok(())
        }),
        "answer" => {
            answer(&std::env::var(NAMES).expect("the names")).expect("the other side is there");
            true
        }
        other => panic!("there is no part {other:?}"),
    }
}

/// A program that runs, killed and reaped when it is dropped.
struct Program(Child);

impl Program {
    /// Starts this file's `test` as a program that plays `part`.
    fn start(test: &str, part: &str, names: &str) -> Self {
        let this = std::env::current_exe().expect("the test itself");
        let started = Command::new(this)
            .args(["--exact", test, "--nocapture"])
            .env(PART, part)
            .env(NAMES, names)
            .stdout(Stdio::null())
            .spawn();
        Self(started.expect("it starts"))
    }

    #[track_caller]
    fn ends_well(mut self) {
        let ended = self.0.wait().expect("a child");
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already is not killed.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Removes the names also where an assertion fails.
struct Names(UniqueName);

impl Drop for Names {
    fn drop(&mut self) {
        for named in &EVERY_KIND {
            // What was not made is not there.
            drop((named.unlink)(&format!("{}-{}", &*self.0, named.kind)));
        }
    }
}

#[test]
fn each_object_outlives_its_programs_and_is_made_again() {
    const THIS: &str = "each_object_outlives_its_programs_and_is_made_again";
    let _watchdog = Watchdog::new(PATIENCE * 3);
    if plays_its_part() {
        return;
    }
    let names = Names(UniqueName::new("programs"));
    Program::start(THIS, "make", &names.0).ends_well();
    Program::start(THIS, "come late", &names.0).ends_well();
    Program::start(THIS, "mark", &names.0).ends_well();
    // Handles of the old ones, which another program replaces.
    let name_of = |kind| format!("{}-{kind}", &*names.0);
    let semaphore = Semaphore::open(&name_of("semaphore")).expect("it is there");
    let queue = Queue::<String>::open(&name_of("queue")).expect("it is there");
    Program::start(THIS, "make again", &names.0).ends_well();
    Program::start(THIS, "find unmarked", &names.0).ends_well();
    assert_eq!(
        (semaphore.value(), queue.len()),
        (1, 1),
        "the old ones stay"
    );
    let again = Semaphore::open(&name_of("semaphore")).expect("it is there");
    assert!(!again.object().is_same(semaphore.object()));
}

/// What the two programs talk through.
struct Talk {
    began: Event,
    lock: Lock,
    turn: Condition,
    number: Mutex<u64>,
    permits: Semaphore,
    both: Barrier,
    questions: Queue<u64>,
    answers: MpmcQueue<u64>,
}

impl Talk {
    /// Whichever comes first makes each of them.
    fn about(names: &str) -> Result<Self> {
        let name = |kind: &str| format!("{names}-{kind}");
        Ok(Self {
            began: Event::open_or_create(&name("event"))?,
            lock: Lock::open_or_create(&name("lock"))?,
            turn: Condition::open_or_create(&name("condition"))?,
            number: Mutex::open_or_create(&name("mutex"), 0)?,
            permits: Semaphore::open_or_create(&name("semaphore"), 0)?,
            both: Barrier::open_or_create(&name("barrier"), 2)?,
            questions: Queue::open_or_create(&name("queue"))?,
            answers: MpmcQueue::open_or_create(&name("queue without a lock"), 4)?,
        })
    }
}

/// The other side of [`two_running_programs_wake_each_other`].
fn answer(names: &str) -> Result<()> {
    let talk = Talk::about(names)?;
    for _ in 0..ROUNDS {
        talk.both.wait()?;
        talk.began.wait();
        let question = talk.questions.get()?;
        talk.answers.put(question + 1)?;
        talk.permits.acquire();
        let guard = talk.turn.lock()?;
        *talk.number.lock()? += 1;
        guard.notify(1);
        drop(guard);
        talk.both.wait()?;
    }
    // It ends with the lock, as one that is killed does.
    keep(talk.lock.lock()?)
}

const ROUNDS: u64 = 20;

#[test]
fn two_running_programs_wake_each_other() -> Result<()> {
    const THIS: &str = "two_running_programs_wake_each_other";
    let _watchdog = Watchdog::new(PATIENCE * 3);
    if plays_its_part() {
        return Ok(());
    }
    let names = Names(UniqueName::new("talk"));
    let other = Program::start(THIS, "answer", &names.0);
    let talk = Talk::about(&names.0)?;
    for round in 0..ROUNDS {
        talk.both.wait()?;
        talk.began.set();
        talk.questions.put(round)?;
        assert_eq!(talk.answers.get()?, round + 1);
        talk.began.clear();
        let guard = talk.turn.lock()?;
        talk.permits.release()?;
        let guard =
            guard.wait_for(|| talk.number.lock().is_ok_and(|number| *number == round + 1))?;
        drop(guard);
        talk.both.wait()?;
    }
    other.ends_well();
    let lock = talk.lock.lock_timeout(Duration::from_secs(20));
    assert!(matches!(lock, Err(LockError::OwnerDied(_))), "{lock:?}");
    Ok(())
}
