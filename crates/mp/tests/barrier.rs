//! A barrier as an argument of processes, by name, and when one of its parties is killed.

use mp::{Barrier, ErrorKind, Event, Lock, Process, RawArray, Result};
use mp_testkit::{PATIENCE, UniqueName, Watchdog};

#[test]
fn processes_go_on_together() -> Result<()> {
    /// Counts its rounds, and sees that nobody is ahead of it.
    fn walk(barrier: Barrier, steps: RawArray<u32>, me: usize) -> Result<()> {
        for step in 1..=20 {
            steps.set(me, step);
            barrier.wait()?;
            assert!(steps.to_vec().iter().all(|&other| other == step));
            barrier.wait()?;
        }
        Ok(())
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (barrier, steps) = (Barrier::new(3)?, RawArray::new(3)?);
    let mut processes = Vec::new();
    for me in 1..3 {
        let mut process = Process::new(walk, (barrier.clone(), steps.clone(), me));
        process.start()?;
        processes.push(process);
    }
    walk(barrier, steps, 0)?;
    for process in &processes {
        process.join()?;
        assert_eq!(process.exitcode(), Some(0));
    }
    Ok(())
}

#[test]
fn the_death_of_a_process_that_takes_part_breaks_it() -> Result<()> {
    fn take_part(barrier: Barrier, ready: Event) -> Result<()> {
        let _party = barrier.register()?;
        ready.set();
        loop {
            std::thread::park();
        }
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (barrier, ready) = (Barrier::new(2)?, Event::new()?);
    let mut party = Process::new(take_part, (barrier.clone(), ready.clone()));
    party.start()?;
    ready.wait();
    party.kill()?;
    party.join()?;
    let error = barrier.wait().expect_err("it cannot come any more");
    assert_eq!(error.kind(), ErrorKind::Broken);
    assert!(error.to_string().contains("died"), "{error}");
    barrier.reset()?;
    assert!(!barrier.is_broken());
    Ok(())
}

#[test]
fn it_is_found_by_its_name_and_kind() -> Result<()> {
    let name = UniqueName::new("barrier");
    let made = Barrier::create_named(&name, 1)?;
    assert_eq!(Barrier::open_or_create(&name, 7)?.parties(), 1);
    assert_eq!(made.wait()?, 0);
    let wrong = Lock::open(&name).expect_err("another kind");
    assert_eq!(wrong.kind(), ErrorKind::WrongKind);
    let none = Barrier::new(0).expect_err("no parties");
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
    Barrier::unlink(&name)
}
