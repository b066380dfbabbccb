//! One wait for several objects: in memory, descriptors, and both.

use std::os::fd::AsFd;
use std::time::Duration;

use mp::queue::Nothing;
use mp::sync::{LockError, Waitable};
use mp::{
    BoundedSemaphore, Connection, ErrorKind, Event, JoinableQueue, Lock, Mutex, PermitSemaphore,
    Process, Queue, RLock, Result, Semaphore, pipe, pipe_one_way, wait,
};
use mp_testkit::{PATIENCE, Watchdog, stay};

const MOMENT: Duration = Duration::from_millis(10);

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 2)
}

#[test]
fn what_is_ready_is_named_in_order() -> Result<()> {
    let (queue, tasks, event) = (Queue::new()?, JoinableQueue::<u8>::new()?, Event::new()?);
    let (left, right) = pipe::<u8, u8>()?;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let process = mp::spawn(|| (), ())?;
    process.join()?;
    let pipe_end = reader.as_fd();
    let items: [&dyn Waitable; 6] = [&queue, &pipe_end, &tasks, &right, &event, &process];
    assert_eq!(wait(&items, Duration::ZERO)?, [5]);
    assert_eq!(wait(&items[..5], Duration::ZERO)?, []);
    assert_eq!(wait(&items[..5], MOMENT)?, []);
    queue.put(1)?;
    left.send(1)?;
    assert_eq!(wait(&items, Duration::MAX)?, [0, 3, 5]);
    queue.get()?;
    right.recv()?;
    event.set();
    drop(writer);
    tasks.close()?;
    // A child that another test starts at this moment has a copy of the writer until it runs.
    assert_eq!(wait(&[&pipe_end], Duration::MAX)?, [0]);
    assert_eq!(wait(&items, Duration::MAX)?, [1, 2, 4, 5]);
    event.clear();
    drop(left);
    assert_eq!(wait(&items, Duration::MAX)?, [1, 2, 3, 5]);
    Ok(())
}

#[test]
fn what_can_never_be_ready_is_refused() -> Result<()> {
    let refused = |items: &[&dyn Waitable]| {
        let error = wait(items, MOMENT).unwrap_err();
        error.kind()
    };
    assert_eq!(refused(&[]), ErrorKind::InvalidInput);
    let process = Process::new(|| (), ());
    assert_eq!(refused(&[&process]), ErrorKind::InvalidState);
    let (_reader, writer) = pipe_one_way::<u8>()?;
    assert_eq!(refused(&[&writer]), ErrorKind::Unsupported);
    let event = Event::new()?;
    let mut events: Vec<&dyn Waitable> = vec![&event; 63];
    assert_eq!(wait(&events, MOMENT)?, []);
    events.push(&event);
    assert_eq!(refused(&events), ErrorKind::InvalidInput);
    Ok(())
}

fn wake(number: u8, go: Event, event: Event, queue: Queue<u8>, end: Connection<u8>) -> Result<()> {
    go.wait();
    match number {
        0 => event.set(),
        1 => queue.put(1)?,
        2 => end.send(1)?,
        // Its end is what is waited for.
        _ => {}
    }
    Ok(())
}

/// Each of them ends the wait of a process that sleeps, in memory alone and together with a
/// descriptor.
#[test]
fn each_wakes_the_one_that_waits() -> Result<()> {
    let _watchdog = watchdog();
    for number in 0..=4 {
        for with_process in [false, true] {
            let (go, event, queue) = (Event::new()?, Event::new()?, Queue::new()?);
            let (ours, theirs) = pipe::<u8, u8>()?;
            let arguments = (number, go.clone(), event.clone(), queue.clone(), theirs);
            let process = mp::spawn(wake, arguments)?;
            let in_memory: [&dyn Waitable; 3] = [&event, &queue, &ours];
            let all: [&dyn Waitable; 4] = [&event, &queue, &ours, &process];
            go.set();
            let ready = if with_process {
                wait(&all, Duration::MAX)?
            } else {
                wait(&in_memory, Duration::MAX)?
            };
            // The connection of a process that ends is ready, too: its other side is gone.
            let expected = usize::from(number).min(2);
            assert!(
                ready.contains(&expected) || ready.contains(&2) || ready.contains(&3),
                "{number}: {ready:?}"
            );
            process.join()?;
            // A child that another test starts at this moment has a copy of the other side until
            // it runs.
            assert_eq!(wait(&[&ours], Duration::MAX)?, [0]);
            let late = wait(&all, Duration::MAX)?;
            assert!(
                late.contains(&expected) && late.ends_with(&[2, 3]),
                "{number}: {late:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_killed_process_ends_the_wait_for_its_connection() -> Result<()> {
    fn have(_end: Connection<Nothing, u8>, ready: Event) {
        ready.set();
        stay();
    }
    let _watchdog = watchdog();
    let (ours, theirs) = pipe::<u8, Nothing>()?;
    let (event, ready) = (Event::new()?, Event::new()?);
    let process = mp::spawn(have, (theirs, ready.clone()))?;
    ready.wait();
    ours.send(1).expect("it is there"); // what is sent the other way does not matter
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&[&event, &process], Duration::MAX));
        process.kill()?;
        assert_eq!(waiting.join().expect("no panic")?, [1]);
        Ok::<(), mp::Error>(())
    })?;
    assert_eq!(wait(&[&event, &ours], Duration::MAX)?, [1]);
    Ok(())
}

/// Python's loop over several children: each connection until its end.
#[test]
fn a_parent_serves_several_children() -> Result<()> {
    fn count(end: Connection<u32, Nothing>, first: u32) -> Result<()> {
        for number in first..first + 5 {
            end.send(number)?;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let mut readers = Vec::new();
    for child in 0..4 {
        let (reader, writer) = pipe_one_way::<u32>()?;
        drop(mp::spawn(count, (writer, child * 100))?);
        readers.push(reader);
    }
    let mut sum = 0;
    while !readers.is_empty() {
        let items: Vec<_> = readers.iter().map(|one| one as &dyn Waitable).collect();
        let ready = wait(&items, Duration::MAX)?;
        for place in ready.into_iter().rev() {
            match readers[place].recv() {
                Ok(number) => sum += number,
                Err(_closed) => drop(readers.remove(place)),
            }
        }
    }
    assert_eq!(sum, (0..4).map(|child| 5 * 100 * child + 10).sum());
    Ok(())
}

/// What locks and semaphores a process holds until it is told.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Held {
    lock: Lock,
    recursive: RLock,
    mutex: Mutex<u64>,
    plain: Semaphore,
    bounded: BoundedSemaphore,
    permits: PermitSemaphore,
}

impl Held {
    fn new() -> Result<Self> {
        Ok(Self {
            lock: Lock::new()?,
            recursive: RLock::new()?,
            mutex: Mutex::new(0)?,
            plain: Semaphore::new(1)?,
            bounded: BoundedSemaphore::new(1)?,
            permits: PermitSemaphore::new(1)?,
        })
    }

    fn items(&self) -> [&dyn Waitable; 6] {
        [
            &self.lock,
            &self.recursive,
            &self.mutex,
            &self.plain,
            &self.bounded,
            &self.permits,
        ]
    }
}

/// Takes all, says so, and gives back the one of this number; then the others, when it is told.
fn hold(held: Held, taken: Event, give_one: Event, give_all: Event, one: usize) -> Result<()> {
    let mut lock = Some(held.lock.lock()?);
    let mut recursive = Some(held.recursive.lock()?);
    let mut mutex = Some(held.mutex.lock()?);
    let mut plain = Some(held.plain.acquire_guard());
    let mut bounded = Some(held.bounded.acquire_guard());
    let mut permit = Some(held.permits.acquire()?);
    taken.set();
    give_one.wait();
    match one {
        0 => drop(lock.take()),
        1 => drop(recursive.take()),
        2 => drop(mutex.take()),
        3 => drop(plain.take()),
        4 => drop(bounded.take()),
        _ => drop(permit.take()),
    }
    give_all.wait();
    Ok(())
}

/// As an event does, a lock or a semaphore that is given back ends the wait, in memory alone and
/// together with a process.
#[test]
fn locks_and_semaphores_are_ready_when_they_can_be_taken() -> Result<()> {
    let _watchdog = watchdog();
    for one in 0..6 {
        let held = Held::new()?;
        assert_eq!(wait(&held.items(), Duration::MAX)?, [0, 1, 2, 3, 4, 5]);
        let (taken, give_one, give_all) = (Event::new()?, Event::new()?, Event::new()?);
        let arguments = (
            held.clone(),
            taken.clone(),
            give_one.clone(),
            give_all.clone(),
            one,
        );
        let process = mp::spawn(hold, arguments)?;
        taken.wait();
        assert_eq!(wait(&held.items(), Duration::ZERO)?, []);
        assert_eq!(wait(&held.items(), MOMENT)?, []);
        let ready = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                if one % 2 == 0 {
                    return wait(&held.items(), Duration::MAX);
                }
                let mut with_process = held.items().to_vec();
                with_process.push(&process);
                wait(&with_process, Duration::MAX)
            });
            give_one.set();
            waiting.join().expect("no panic")
        })?;
        assert_eq!(ready, [one]);
        give_all.set();
        process.result()??;
        assert_eq!(wait(&held.items(), Duration::MAX)?, [0, 1, 2, 3, 4, 5]);
    }
    Ok(())
}

#[test]
fn a_lock_that_its_own_thread_holds_is_refused_or_ready() -> Result<()> {
    let held = Held::new()?;
    let (_lock, _mutex) = (held.lock.lock()?, held.mutex.lock()?);
    let _recursive = held.recursive.lock()?;
    for item in [&held.lock as &dyn Waitable, &held.mutex] {
        let error = wait(&[item], Duration::MAX).expect_err("it would wait for itself");
        assert_eq!(error.kind(), ErrorKind::InvalidState);
        assert!(
            error.to_string().contains("this thread holds it"),
            "{error}"
        );
    }
    assert_eq!(wait(&[&held.recursive], Duration::MAX)?, [0]);
    Ok(())
}

/// The locks and the owned permit of a killed process become ready, its other permits do not.
#[test]
fn a_killed_owners_locks_end_the_wait() -> Result<()> {
    let _watchdog = watchdog();
    let held = Held::new()?;
    let (taken, never) = (Event::new()?, Event::new()?);
    let arguments = (held.clone(), taken.clone(), never.clone(), never.clone(), 0);
    let process = mp::spawn(hold, arguments)?;
    taken.wait();
    let ready = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&[&never, &held.lock], Duration::MAX));
        process.kill()?;
        waiting.join().expect("no panic")
    })?;
    assert_eq!(ready, [1]);
    process.join()?;
    assert_eq!(wait(&held.items(), Duration::MAX)?, [0, 1, 2, 5]);
    assert!(matches!(held.lock.try_lock(), Err(LockError::OwnerDied(_))));
    assert!(matches!(
        held.mutex.try_lock(),
        Err(LockError::OwnerDied(_))
    ));
    Ok(())
}

/// A release wakes one sleeper. If that is one that only waits, the next is not forgotten.
#[test]
fn threads_that_lock_and_threads_that_wait_share_a_lock() -> Result<()> {
    const TURNS: u64 = 300;
    let _watchdog = watchdog();
    let (sum, never) = (Mutex::new(0_u64)?, Event::new()?);
    let lock = || -> Result<()> {
        for _ in 0..TURNS {
            *sum.lock()? += 1;
        }
        Ok(())
    };
    let wait_and_try = || -> Result<()> {
        for _ in 0..TURNS {
            loop {
                assert_eq!(wait(&[&never, &sum], Duration::MAX)?, [1]);
                match sum.try_lock() {
                    Ok(mut guard) => {
                        *guard += 1;
                        break;
                    }
                    // Another was faster.
                    Err(LockError::Timeout(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads = [
            scope.spawn(lock),
            scope.spawn(lock),
            scope.spawn(wait_and_try),
            scope.spawn(wait_and_try),
        ];
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    assert_eq!(*sum.lock()?, 4 * TURNS);
    Ok(())
}
