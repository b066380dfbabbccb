//! Owned permits as arguments of processes, by name, and when their owner is killed.

use mp::{ErrorKind, Event, PermitSemaphore, Process, Result, Semaphore};
use mp_testkit::{PATIENCE, UniqueName, Watchdog};

#[test]
fn the_permits_of_a_killed_process_come_back() -> Result<()> {
    fn take_and_stay(permits: PermitSemaphore, taken: Event) -> Result<()> {
        let _permits = (permits.acquire()?, permits.acquire()?);
        taken.set();
        loop {
            std::thread::park();
        }
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (permits, taken) = (PermitSemaphore::new(2)?, Event::new()?);
    let mut holder = Process::new(take_and_stay, (permits.clone(), taken.clone()));
    holder.start()?;
    taken.wait();
    assert!(permits.try_acquire()?.is_none());
    let holders = permits.holders();
    assert!(holders.iter().all(|owner| owner.pid() == holder.pid()));
    holder.kill()?;
    holder.join()?;
    let permit = permits.acquire()?;
    assert_eq!((permits.permits(), permits.available()), (2, 1));
    drop(permit);
    Ok(())
}

#[test]
fn it_is_found_by_its_name_and_kind() -> Result<()> {
    let name = UniqueName::new("permits");
    let made = PermitSemaphore::create_named(&name, 1)?;
    let _permit = made.acquire()?;
    assert_eq!(PermitSemaphore::open(&name)?.available(), 0);
    let wrong = Semaphore::open(&name).expect_err("another kind");
    assert_eq!(wrong.kind(), ErrorKind::WrongKind);
    let none = PermitSemaphore::new(0).expect_err("no permits");
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
    PermitSemaphore::unlink(&name)
}
