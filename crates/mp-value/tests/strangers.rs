//! A lock whose word names a living process that never took it.

use std::process::{Command, Stdio};
use std::time::Duration;

use mp_layout::atomic::{AtomicU32, Ordering};
use mp_sync::LockError;
use mp_testkit::{Forked, PATIENCE, Watchdog};
use mp_value::Array;

/// Writes `owner` where the array's lock has its owner, as a peer with a bug may.
fn overwrite(array: &Array<u64>, owner: u32) {
    // SAFETY: only a word of the lock is reached, which is free.
    let word: &AtomicU32 = unsafe { array.object().payload() }.place(0).unwrap();
    word.store(owner, Ordering::SeqCst);
}

#[test]
fn a_stranger_that_does_not_map_the_lock_blocks_no_process() {
    let _watchdog = Watchdog::new(PATIENCE);
    let array = Array::from_slice(&[1_u64, 2]).unwrap();
    let mut stranger = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    overwrite(&array, stranger.id());
    array.set(0, 5).unwrap();
    overwrite(&array, stranger.id());
    let Err(LockError::OwnerDied(mut guard)) = array.lock() else {
        panic!("the elements may be half written: whoever had the lock is not known");
    };
    assert_eq!(*guard, [5, 2]);
    guard.recover();
    drop(guard);
    assert!(array.lock().is_ok());
    drop(stranger.stdin.take());
    assert!(stranger.wait().unwrap().success());
}

/// The control: what maps the lock may hold it, and is named.
#[test]
fn a_process_that_maps_the_lock_is_waited_for() {
    let _watchdog = Watchdog::new(PATIENCE);
    let array = Array::from_slice(&[1_u64, 2]).unwrap();
    let peer = Forked::holding(|| ());
    overwrite(&array, peer.pid());
    match array.lock_timeout(Duration::from_millis(1200)) {
        Err(LockError::Timeout(holder)) => assert_eq!(holder.pid(), Some(peer.pid())),
        other => panic!("{other:?}"),
    }
    peer.kill_and_reap();
    assert!(matches!(array.lock(), Err(LockError::OwnerDied(_))));
}
