//! Tasks that are waited for, within one process.

use std::thread;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_queue::{GetError, JoinableQueue, PutError};
use mp_testkit::{PATIENCE, UniqueName, Watchdog};

const MOMENT: Duration = Duration::from_millis(10);

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 2)
}

#[test]
fn join_waits_for_what_was_put_and_what_was_got() {
    let _watchdog = watchdog();
    let queue = JoinableQueue::new().unwrap();
    queue.join().unwrap();
    queue.put("a".to_owned()).unwrap();
    queue.put("b".to_owned()).unwrap();
    let error = queue.join_timeout(MOMENT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(queue.get().unwrap(), "a");
    let error = queue.join_timeout(Duration::ZERO).unwrap_err();
    assert!(
        error.to_string().contains("1 tasks wait, 1 were got"),
        "{error}"
    );
    queue.task_done().unwrap();
    assert_eq!((queue.len(), queue.unfinished()), (1, 1));
    assert_eq!(queue.get().unwrap(), "b");
    assert_eq!((queue.len(), queue.unfinished()), (0, 1));
    assert!(queue.join_timeout(MOMENT).is_err());
    queue.task_done().unwrap();
    queue.join().unwrap();
    assert_eq!(queue.unfinished(), 0);
}

#[test]
fn a_task_is_done_once() {
    let queue = JoinableQueue::new().unwrap();
    let error = queue.task_done().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    queue.put(1).unwrap();
    assert!(queue.task_done().is_err(), "it was not got");
    queue.get().unwrap();
    queue.task_done().unwrap();
    assert!(queue.task_done().is_err());
    queue.join().unwrap();
}

#[test]
fn a_failed_get_or_put_leaves_nothing_unfinished() {
    let queue = JoinableQueue::bounded(1).unwrap();
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    assert!(matches!(queue.get_timeout(MOMENT), Err(GetError::Empty)));
    queue.join().unwrap();
    queue.put(1).unwrap();
    assert!(matches!(queue.try_put(2), Err(PutError::Full(2))));
    assert!(queue.is_full());
    queue.get().unwrap();
    queue.task_done().unwrap();
    queue.join().unwrap();
    queue.close().unwrap();
    assert!(matches!(queue.put(3), Err(PutError::Closed(3))));
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    queue.join().unwrap();
}

/// Tasks that put tasks: none of them moves past the look of who waits.
#[test]
fn join_waits_for_the_tasks_of_tasks() {
    let _watchdog = watchdog();
    for _ in 0..50 {
        let queue = JoinableQueue::new().unwrap();
        let done = std::sync::atomic::AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Ok(depth) = queue.get() {
                        if depth > 0 {
                            queue.put(depth - 1).unwrap();
                            queue.put(depth - 1).unwrap();
                        }
                        done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        queue.task_done().unwrap();
                    }
                });
            }
            queue.put(5_u32).unwrap();
            queue.join().unwrap();
            let seen = done.load(std::sync::atomic::Ordering::Relaxed);
            queue.close().unwrap();
            assert_eq!(seen, 63);
        });
    }
}

#[test]
fn several_wait_for_the_same_tasks() {
    let _watchdog = watchdog();
    let queue = JoinableQueue::new().unwrap();
    queue.put(1).unwrap();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| queue.join())).collect();
        queue.get().unwrap();
        queue.task_done().unwrap();
        for one in waiting {
            one.join().unwrap().unwrap();
        }
    });
}

#[test]
fn it_is_opened_by_its_name_and_kind() {
    let name = UniqueName::new("joinable");
    let made = JoinableQueue::<u32>::open_or_create(&name).unwrap();
    let found = JoinableQueue::<u32>::open(&name).unwrap();
    made.put(1).unwrap();
    // Of this process, by whichever handle.
    assert_eq!(found.get().unwrap(), 1);
    made.task_done().unwrap();
    found.join().unwrap();
    let wrong = mp_queue::Queue::<u32>::open(&name).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::WrongKind);
    JoinableQueue::<u32>::unlink(&name).unwrap();
}
