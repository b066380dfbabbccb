//! One wait for several objects: in memory, descriptors, and both.

use std::os::fd::AsFd;
use std::time::Duration;

use mp::queue::Nothing;
use mp::{
    Connection, ErrorKind, Event, JoinableQueue, Process, Queue, Result, pipe, pipe_one_way, wait,
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
    let items: [&dyn mp::sync::Waitable; 6] = [&queue, &pipe_end, &tasks, &right, &event, &process];
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
    let refused = |items: &[&dyn mp::sync::Waitable]| {
        let error = wait(items, MOMENT).unwrap_err();
        error.kind()
    };
    assert_eq!(refused(&[]), ErrorKind::InvalidInput);
    let process = Process::new(|| (), ());
    assert_eq!(refused(&[&process]), ErrorKind::InvalidState);
    let (_reader, writer) = pipe_one_way::<u8>()?;
    assert_eq!(refused(&[&writer]), ErrorKind::Unsupported);
    let event = Event::new()?;
    let mut events: Vec<&dyn mp::sync::Waitable> = vec![&event; 63];
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
            let in_memory: [&dyn mp::sync::Waitable; 3] = [&event, &queue, &ours];
            let all: [&dyn mp::sync::Waitable; 4] = [&event, &queue, &ours, &process];
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
        let items: Vec<_> = readers
            .iter()
            .map(|one| one as &dyn mp::sync::Waitable)
            .collect();
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
