//! Tasks that several processes do, some of which are killed.

use std::time::Duration;

use mp::{ErrorKind, Event, JoinableQueue, Queue, Result};
use mp_testkit::{Forked, PATIENCE, Watchdog, stay};

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 2)
}

#[test]
fn join_waits_for_tasks_in_other_processes() -> Result<()> {
    fn work(tasks: JoinableQueue<u64>, results: Queue<u64>) -> Result<()> {
        while let Ok(task) = tasks.get() {
            results.put(task * task)?;
            tasks.task_done()?;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let (tasks, results) = (JoinableQueue::new()?, Queue::new()?);
    let workers: Vec<_> = (0..2)
        .map(|_| mp::spawn(work, (tasks.clone(), results.clone())))
        .collect::<Result<_>>()?;
    for round in 1..=3 {
        for task in 0..100 {
            tasks.put(task)?;
        }
        tasks.join()?;
        assert_eq!(results.len(), 100 * round, "all are done");
    }
    tasks.close()?;
    workers.iter().try_for_each(mp::Process::join)?;
    assert_eq!(tasks.take_abandoned(), 0);
    Ok(())
}

fn get_and_stay(tasks: JoinableQueue<u32>, count: u32, got: Event) -> Result<()> {
    for _ in 0..count {
        tasks.get()?;
    }
    got.set();
    stay();
}

#[test]
fn the_tasks_of_a_killed_process_are_reported_and_not_waited_for() -> Result<()> {
    let _watchdog = watchdog();
    let (tasks, got) = (JoinableQueue::new()?, Event::new()?);
    for task in 0..5 {
        tasks.put(task)?;
    }
    let worker = mp::spawn(get_and_stay, (tasks.clone(), 3, got.clone()))?;
    got.wait();
    for _ in 0..2 {
        tasks.get()?;
        tasks.task_done()?;
    }
    let error = tasks.join_timeout(Duration::from_millis(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "it lives");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| tasks.join());
        worker.kill()?;
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProcessDied);
        assert!(error.to_string().contains("3 tasks"), "{error}");
        Ok::<(), mp::Error>(())
    })?;
    // Said again until it is acknowledged.
    assert_eq!(tasks.join().unwrap_err().kind(), ErrorKind::ProcessDied);
    assert_eq!(tasks.take_abandoned(), 3);
    assert_eq!(tasks.take_abandoned(), 0);
    tasks.join()?;
    worker.join()
}

#[test]
fn a_task_belongs_to_the_process_that_got_it() -> Result<()> {
    let _watchdog = watchdog();
    let (tasks, got) = (JoinableQueue::new()?, Event::new()?);
    tasks.put(1)?;
    let worker = mp::spawn(get_and_stay, (tasks.clone(), 1, got.clone()))?;
    got.wait();
    let error = tasks.task_done().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    worker.kill()?;
    assert_eq!(tasks.join().unwrap_err().kind(), ErrorKind::ProcessDied);
    worker.join()
}

/// The places of processes are used again.
#[test]
fn any_number_of_processes_get_tasks_one_after_another() -> Result<()> {
    let _watchdog = watchdog();
    let tasks = JoinableQueue::new()?;
    for _ in 0..300 {
        // A forked process that ends at once is the cheapest one.
        tasks.put(1)?;
        let done = || tasks.get().is_ok() && tasks.task_done().is_ok();
        assert!(Forked::new(done).succeeds());
    }
    tasks.join()
}
