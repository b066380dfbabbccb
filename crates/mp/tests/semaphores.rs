//! Semaphores as arguments, by name, and when their holder is killed.

use std::time::Duration;

use mp::{BoundedSemaphore, Error, ErrorKind, Event, Process, Queue, Result, Semaphore};
use mp_testkit::{PATIENCE, UniqueName, Watchdog, stay};

#[test]
fn a_semaphore_is_an_argument_of_a_process() -> Result<()> {
    fn work(permits: Semaphore, done: Queue<u32>, number: u32) -> Result<()> {
        permits.acquire();
        done.put(number)?;
        permits.release()
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (permits, done) = (Semaphore::new(0)?, Queue::new()?);
    let mut workers = Vec::new();
    for number in 0..3 {
        let mut worker = Process::new(work, (permits.clone(), done.clone(), number));
        worker.start()?;
        workers.push(worker);
    }
    assert_eq!(done.try_get().ok(), None, "no permit, no work");
    permits.release()?;
    let mut numbers = vec![done.get()?, done.get()?, done.get()?];
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
    for worker in &workers {
        worker.join()?;
    }
    assert_eq!(permits.value(), 1);
    Ok(())
}

#[test]
fn a_bounded_semaphore_is_found_by_its_name_and_kind() -> Result<()> {
    let name = UniqueName::new("bounded");
    let made = BoundedSemaphore::create_named(&name, 2)?;
    let found = BoundedSemaphore::open(&name)?;
    assert!(made.try_acquire());
    assert_eq!(found.value(), 1);
    found.release()?;
    let error = made.release().expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let wrong = Semaphore::open(&name).expect_err("another kind");
    assert_eq!(wrong.kind(), ErrorKind::WrongKind);
    for (permits, made) in [(0, false), (1, true), (u32::MAX, false)] {
        let kind = BoundedSemaphore::new(permits).map_err(|error: Error| error.kind());
        assert_eq!(kind.is_ok(), made, "{permits}: {kind:?}");
    }
    BoundedSemaphore::unlink(&name)
}

/// As in Python: any process may release, so none owns a permit. The survivor makes up for it and
/// goes on.
#[test]
fn the_permit_of_a_killed_process_stays_taken_until_another_releases_it() -> Result<()> {
    fn take_and_stay(permit: Semaphore, taken: Event, with_guard: bool) {
        let guard = with_guard.then(|| permit.acquire_guard());
        if guard.is_none() {
            permit.acquire();
        }
        taken.set();
        stay();
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    for with_guard in [false, true] {
        let (permit, taken) = (Semaphore::new(1)?, Event::new()?);
        let arguments = (permit.clone(), taken.clone(), with_guard);
        let mut holder = Process::new(take_and_stay, arguments);
        holder.start()?;
        taken.wait();
        holder.kill()?;
        holder.join()?;
        assert!(!permit.acquire_timeout(Duration::from_millis(10)));
        permit.release()?;
        assert!(permit.try_acquire());
    }
    Ok(())
}
