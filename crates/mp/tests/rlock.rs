//! A recursive lock as an argument, by name, and when its owner is killed.

use mp::sync::LockError;
use mp::{ErrorKind, Event, Lock, Process, RLock, Result};
use mp_testkit::{PATIENCE, UniqueName, Watchdog};

#[test]
fn the_next_owner_of_a_killed_one_gets_it_once() -> Result<()> {
    fn lock_twice_and_stay(lock: RLock, held: Event) -> Result<()> {
        let _outer = lock.lock()?;
        let _inner = lock.lock()?;
        held.set();
        loop {
            std::thread::park();
        }
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (lock, held) = (RLock::new()?, Event::new()?);
    let mut owner = Process::new(lock_twice_and_stay, (lock.clone(), held.clone()));
    owner.start()?;
    held.wait();
    let Err(LockError::Timeout(holder)) = lock.try_lock() else {
        panic!("the child holds it");
    };
    assert_eq!(holder.pid(), owner.pid());
    owner.kill()?;
    let Err(LockError::OwnerDied(guard)) = lock.lock() else {
        panic!("the owner was killed");
    };
    assert_eq!(guard.depth(), 1);
    drop(guard);
    assert_eq!(lock.lock()?.depth(), 1);
    owner.join()
}

#[test]
fn it_is_found_by_its_name_and_kind() -> Result<()> {
    let name = UniqueName::new("rlock");
    let made = RLock::create_named(&name)?;
    let guard = made.lock()?;
    assert_eq!(
        RLock::open(&name)?.lock()?.depth(),
        2,
        "the same lock, the same thread"
    );
    drop(guard);
    let wrong = Lock::open(&name).expect_err("another kind");
    assert_eq!(wrong.kind(), ErrorKind::WrongKind);
    RLock::unlink(&name)
}
