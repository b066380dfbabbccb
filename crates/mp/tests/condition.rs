//! A condition as an argument of processes, and when one that waits is killed.

use mp::{Condition, ErrorKind, Lock, Process, RawValue, Result};
use mp_testkit::{PATIENCE, UniqueName, Watchdog};

/// Waits for its turn, and gives it to the next.
fn take_turn(condition: Condition, turn: RawValue<u32>, mine: u32) -> Result<()> {
    let guard = condition.lock()?.wait_for(|| turn.get() == mine)?;
    turn.set(mine + 1);
    guard.notify_all();
    Ok(())
}

#[test]
fn processes_take_turns() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (condition, turn) = (Condition::new()?, RawValue::new(3_u32)?);
    let mut processes = Vec::new();
    for mine in (0..3).rev() {
        let mut process = Process::new(take_turn, (condition.clone(), turn.clone(), mine));
        process.start()?;
        processes.push(process);
    }
    let guard = condition.lock()?;
    turn.set(0);
    guard.notify_all();
    drop(guard.wait_for(|| turn.get() == 3)?);
    for process in &processes {
        process.join()?;
        assert_eq!(process.exitcode(), Some(0));
    }
    Ok(())
}

#[test]
fn the_death_of_a_waiter_is_not_noticed_by_the_others() -> Result<()> {
    fn wait_once(condition: Condition, notified: RawValue<u32>) -> Result<()> {
        let guard = condition.lock()?.wait()?;
        notified.set(std::process::id());
        drop(guard);
        Ok(())
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (condition, notified) = (Condition::new()?, RawValue::new(0_u32)?);
    let mut waiters = [(); 2].map(|()| {
        let arguments = (condition.clone(), notified.clone());
        Process::new(wait_once, arguments)
    });
    for (before, waiter) in waiters.iter_mut().enumerate() {
        waiter.start()?;
        while condition.waiting() <= before {
            std::thread::yield_now();
        }
    }
    waiters[0].kill()?;
    waiters[0].join()?;
    condition.lock()?.notify(1);
    waiters[1].join()?;
    assert_eq!(Some(notified.get()), waiters[1].pid());
    Ok(())
}

#[test]
fn it_is_found_by_its_name_and_kind() -> Result<()> {
    let name = UniqueName::new("condition");
    let made = Condition::create_named(&name)?;
    drop(made.lock()?);
    assert_eq!(Condition::open(&name)?.waiting(), 0);
    let wrong = Lock::open(&name).expect_err("another kind");
    assert_eq!(wrong.kind(), ErrorKind::WrongKind);
    Condition::unlink(&name)
}
