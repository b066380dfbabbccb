//! What a manager leaves behind. Alone in its binary: descriptors and children belong to the whole
//! process.

use std::time::Duration;

use mp_layout::{ErrorKind, Result};
use mp_manager::{List, Manager};
use mp_object::{Lock, ProcessIdentity};
use mp_testkit::{LeakCheck, PATIENCE, Watchdog};

fn use_one() -> Result<()> {
    let manager = Manager::new()?;
    let rows = manager.list::<List<u32>>()?;
    rows.append(manager.list()?)?;
    rows.get(0)?.expect("a row").append(7)?;
    let dict = manager.dict::<String, Lock>()?;
    dict.set("lock", Lock::new()?)?;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| dict.pop("lock").unwrap());
        }
    });
    manager.shutdown()?;
    assert_eq!(rows.len().unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

fn use_a_killed_one() -> Result<()> {
    let manager = Manager::new()?;
    let set = manager.set::<u32>()?;
    set.add(&1)?;
    let children = mp_process::active_children();
    let server = children.iter().find(|child| child.pid() == manager.pid());
    let identity = ProcessIdentity::of(manager.pid())?.expect("it runs");
    server.expect("it runs").kill()?;
    assert!(identity.wait_end(PATIENCE)?, "it does not end");
    assert_eq!(set.add(&2).unwrap_err().kind(), ErrorKind::ProcessDied);
    Ok(())
}

#[test]
fn ended_managers_leave_no_descriptor_no_child_and_nothing_in_dev_shm() -> Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    // What a process keeps for all its children.
    drop(Manager::new()?);
    let check = LeakCheck::start();
    use_one()?;
    use_a_killed_one()?;
    check.assert_clean();
    Ok(())
}
