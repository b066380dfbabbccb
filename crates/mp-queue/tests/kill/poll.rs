//! Producers that are asked to ring, for a process that polls a descriptor.

use killcheck::Check;
use mp_os::clock::Deadline;
use mp_os::wakeup::wait_any;
use mp_queue::Queue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::objects::File;
use super::{begin, contents};

/// Asks anew; whether there is something to get already.
fn ask(queue: &Queue<u64>) -> Result<bool, String> {
    let asked = queue.poll_fd().map_err(|error| error.to_string())?;
    Ok(asked.is_none())
}

/// Whether a poll returns. The descriptor is asked for only if the queue is empty, so it is found
/// out by what is sent with it.
fn is_rung<T>(queue: &Queue<T>) -> Result<bool, String>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let lane = queue.object().lane().ok_or("no lane")?;
    let shown = wait_any(&[lane.front()], Deadline::PASSED);
    shown
        .map(|shown| !shown.is_empty())
        .map_err(|error| error.to_string())
}

/// What was committed is rung for, and asking again works whatever is left.
fn judge(queue: &Queue<u64>, is_ready: impl Fn(&Queue<u64>) -> bool) -> Result<(), String> {
    if is_ready(queue) && !is_rung(queue)? {
        return Err("a poll would not return".to_owned());
    }
    while queue.try_get().is_ok() {}
    if queue.is_closed() {
        return Ok(());
    }
    if ask(queue)? || is_rung(queue)? {
        return Err("an empty queue is ready".to_owned());
    }
    queue.put(9).map_err(|error| error.to_string())?;
    if is_rung(queue)? {
        Ok(())
    } else {
        Err("the next put does not ring".to_owned())
    }
}

#[test]
fn a_put_that_is_asked_to_ring() {
    let _watchdog = begin();
    let queue = Queue::<u64>::new().expect("a queue");
    Check::new("put that rings")
        .setup(|queue: &Queue<u64>| {
            while queue.try_get().is_ok() {}
            assert!(!ask(queue).expect("a lane"));
        })
        .victim(|queue| queue.put(2).expect("room"))
        .survivor(|queue| judge(queue, |queue| !queue.is_empty()))
        .without_timeouts()
        .shares_only(contents)
        .assert_safe(&queue);
}

/// One that polls was rung for, and has not looked yet.
#[test]
fn a_get_of_objects_that_comes_before_one_that_polls() {
    let _watchdog = begin();
    let messages = [None, Some(File::new()), None];
    Check::new("get before one that polls")
        .setup(|queue: &Queue<Option<File>>| {
            while queue.try_get().is_ok() {}
            assert!(queue.poll_fd().expect("a lane").is_some());
            for message in &messages {
                queue.put(message.clone()).expect("room");
            }
        })
        .victim(|queue| drop(queue.get().and_then(|_| queue.get()).expect("two messages")))
        .survivor(|queue| {
            if is_rung(queue)? {
                Ok(())
            } else {
                Err("a poll would not return".to_owned())
            }
        })
        .without_timeouts()
        .shares_only(contents)
        .assert_safe(&Queue::new().expect("a queue"));
}

#[test]
fn asking_to_be_rung() {
    let _watchdog = begin();
    let queue = Queue::<u64>::new().expect("a queue");
    Check::new("poll_fd")
        .setup(|queue: &Queue<u64>| {
            // A ring of an earlier put is left.
            while queue.try_get().is_ok() {}
            ask(queue).expect("a lane");
            queue.put(1).expect("room");
            queue.get().expect("it was put");
        })
        .victim(|queue| assert!(!ask(queue).expect("a lane")))
        .survivor(|queue| judge(queue, |_| false))
        .without_timeouts()
        .shares_only(contents)
        .assert_safe(&queue);
}
