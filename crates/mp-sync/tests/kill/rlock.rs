//! Recursive locks.

use killcheck::SharedArea;
use mp_sync::{LockError, RLock};

use super::check;

/// The next owner has it once, whatever the dead owner's depth was, and then it is free.
fn is_had_once(lock: &RLock) -> Result<(), String> {
    match lock.lock() {
        Ok(guard) | Err(LockError::OwnerDied(guard)) if guard.depth() == 1 => drop(guard),
        other => return Err(format!("{other:?}")),
    }
    match lock.try_lock() {
        Ok(guard) if guard.depth() == 1 => Ok(()),
        other => Err(format!("the second time: {other:?}")),
    }
}

#[test]
fn recursive_lock_and_unlock() {
    // SAFETY: a `Place`: zero is valid, and all of it is atomics or in an `UnsafeCell`.
    let area: SharedArea<RLock> = unsafe { SharedArea::zeroed() }.expect("a page");
    let twice = |lock: &SharedArea<RLock>| {
        let outer = lock.lock().expect("free");
        let inner = lock.lock().expect("ours");
        drop(outer);
        drop(inner);
    };
    check("rlock: lock twice, unlock twice")
        .setup(|lock: &SharedArea<RLock>| lock.reset())
        .warm_up(|lock| drop(lock.lock()))
        .victim(twice)
        .survivor(|lock| is_had_once(lock))
        .assert_safe(&area);
}
