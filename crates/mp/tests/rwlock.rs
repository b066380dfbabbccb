//! A reader-writer lock as an argument of processes, by name, and when its holders are killed.

use mp::sync::LockError;
use mp::{ErrorKind, Event, Lock, Process, RawArray, Result, RwLock};
use mp_testkit::{PATIENCE, UniqueName, Watchdog};

#[test]
fn readers_see_whole_changes() -> Result<()> {
    fn change(lock: RwLock, pair: RawArray<u64>) -> Result<()> {
        for number in 1..=100 {
            let _guard = lock.write()?;
            pair.set(0, number);
            std::thread::yield_now();
            pair.set(1, number);
        }
        Ok(())
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (lock, pair) = (RwLock::new()?, RawArray::new(2)?);
    let mut writer = Process::new(change, (lock.clone(), pair.clone()));
    writer.start()?;
    while writer.is_alive() {
        let _share = lock.read()?;
        let numbers = pair.to_vec();
        assert_eq!(numbers[0], numbers[1]);
    }
    writer.join()?;
    assert_eq!(pair.to_vec(), [100, 100]);
    Ok(())
}

#[test]
fn what_a_killed_process_held_comes_back() -> Result<()> {
    fn hold(lock: RwLock, writes: bool, held: Event) -> Result<()> {
        let _guards = if writes {
            (Some(lock.write()?), None)
        } else {
            (None, Some(lock.read()?))
        };
        held.set();
        loop {
            std::thread::park();
        }
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    for writes in [false, true] {
        let (lock, held) = (RwLock::new()?, Event::new()?);
        let mut holder = Process::new(hold, (lock.clone(), writes, held.clone()));
        holder.start()?;
        held.wait();
        assert!(matches!(lock.try_write(), Err(LockError::Timeout(_))));
        holder.kill()?;
        holder.join()?;
        match lock.write() {
            Ok(_guard) => assert!(!writes),
            Err(LockError::OwnerDied(_guard)) => assert!(writes),
            Err(error) => return Err(error.into()),
        }
        assert!(lock.read().is_ok(), "a writer has had it");
    }
    Ok(())
}

#[test]
fn it_is_found_by_its_name_and_kind() -> Result<()> {
    let name = UniqueName::new("rwlock");
    let made = RwLock::create_named(&name)?;
    let _share = made.read()?;
    assert_eq!(RwLock::open_or_create(&name)?.readers().len(), 1);
    let wrong = Lock::open(&name).expect_err("another kind");
    assert_eq!(wrong.kind(), ErrorKind::WrongKind);
    RwLock::unlink(&name)
}
