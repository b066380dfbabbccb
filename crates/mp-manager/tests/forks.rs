//! Forked copies of a process that has proxies.

use mp_layout::Result;
use mp_manager::{Dict, List, Manager};
use mp_testkit::{Forked, PATIENCE, Watchdog};

/// Sets and gets a key of this process's own; returns whether it always got what it had set.
fn set_and_get(dict: &Dict<u32, u64>, key: u32) -> Result<bool> {
    for count in 0..200 {
        let value = u64::from(key) << 32 | count;
        dict.set(&key, value)?;
        if dict.get(&key)? != Some(value) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[test]
fn a_forked_copy_gets_no_reply_of_its_parent() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let manager = Manager::new()?;
    let dict = manager.dict()?;
    dict.set(&0, 0)?;
    let child = Forked::arriving(|arrival| {
        arrival.arrive();
        set_and_get(&dict, 1).unwrap()
    });
    assert!(set_and_get(&dict, 2)?);
    assert!(child.succeeds());
    assert_eq!(dict.len()?, 3);
    Ok(())
}

#[test]
fn a_forked_copy_knows_the_servers_pid() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let manager = Manager::new()?;
    let pid = manager.pid();
    assert!(Forked::new(|| pid != 0 && manager.pid() == pid).succeeds());
    Ok(())
}

#[test]
fn a_proxy_that_a_forked_copy_receives_is_the_same_as_the_one_it_has() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let manager = Manager::new()?;
    let list = manager.list::<u32>()?;
    let queue = mp_queue::Queue::<List<u32>>::new()?;
    queue.put(list.clone())?;
    let child = Forked::new(|| queue.get().unwrap().is_same(&list));
    assert!(child.succeeds());
    Ok(())
}
