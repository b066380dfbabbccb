//! Queues that are polled among other descriptors.

use std::os::fd::BorrowedFd;
use std::thread;

use mp_layout::ErrorKind;
use mp_object::Event;
use mp_os::clock::Deadline;
use mp_os::wakeup::wait_any;
use mp_queue::{GetError, Queue, pipe};
use mp_testkit::{PATIENCE, Watchdog};

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let shown = wait_any(&[fd], Deadline::PASSED).expect("a poll");
    !shown.is_empty()
}

#[test]
fn a_put_makes_the_descriptor_readable_once_it_was_asked_for() {
    let queue = Queue::new().expect("a queue");
    for number in 0..3_u32 {
        let fd = queue.poll_fd().expect("a lane").expect("empty");
        assert!(!is_readable(fd), "nothing was put");
        queue.put(number).expect("room");
        assert!(is_readable(fd));
        assert!(queue.poll_fd().expect("a lane").is_none(), "ready");
        assert_eq!(queue.get().expect("a message"), number);
    }
}

#[test]
fn puts_that_are_not_asked_to_ring_do_not() {
    let queue = Queue::new().expect("a queue");
    let fd = queue.poll_fd().expect("a lane").expect("empty");
    queue.put(1_u8).expect("room");
    assert!(is_readable(fd));
    let _first = queue.get().expect("a message");
    let fd = queue.poll_fd().expect("a lane").expect("empty");
    assert!(!is_readable(fd), "the ring of the first put is gone");
    for _ in 0..2000 {
        queue.put(2).expect("room");
    }
    // The lane holds some hundred messages: one ring leaves it room for objects.
    let objects = Queue::new().expect("a queue");
    let most = objects
        .max_with_objects()
        .expect("a lane")
        .expect("a limit");
    let event = Event::new().expect("an event");
    let fd = objects.poll_fd().expect("a lane").expect("empty");
    for _ in 1..most {
        objects.put(Some(event.clone())).expect("room in the lane");
    }
    assert!(is_readable(fd));
}

#[test]
fn a_ring_before_a_message_with_objects_is_passed_over() {
    let queue = Queue::new().expect("a queue");
    let event = Event::new().expect("an event");
    for _ in 0..2 {
        let fd = queue.poll_fd().expect("a lane").expect("empty");
        queue.put(event.clone()).expect("room");
        assert!(is_readable(fd));
        queue.get().expect("with its event").set();
        assert!(event.is_set());
        event.clear();
    }
    queue.put(event.clone()).expect("room");
    assert!(queue.poll_fd().expect("a lane").is_none());
    queue.get().expect("asking discards nothing that waits");
}

#[test]
fn closing_makes_the_descriptor_readable() {
    let queue = Queue::<u8>::new().expect("a queue");
    let fd = queue.poll_fd().expect("a lane").expect("empty");
    queue.close().expect("a lock");
    assert!(is_readable(fd));
    assert!(matches!(queue.try_get(), Err(GetError::Closed)));
    assert!(queue.poll_fd().expect("a lane").is_none());
}

#[test]
fn one_that_polls_gets_all_that_two_processes_put() {
    const EACH: u32 = 2000;
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let queue = Queue::<u32>::new().expect("a queue");
    let (sender, receiver) = Queue::<u32>::ends().expect("a queue");
    thread::scope(|scope| {
        let same = queue.clone();
        scope.spawn(move || (0..EACH).for_each(|number| same.put(number).expect("open")));
        scope.spawn(move || (0..EACH).for_each(|number| sender.put(number).expect("open")));
        let (mut first, mut second) = (0, 0);
        let mut has_ended = false;
        while first < EACH || !has_ended {
            while let Ok(number) = queue.try_get() {
                assert_eq!(number, first);
                first += 1;
            }
            has_ended |= loop {
                match receiver.try_get() {
                    Ok(number) => {
                        assert_eq!(number, second);
                        second += 1;
                    }
                    Err(error) => break matches!(error, GetError::Closed),
                }
            };
            let fds = [
                queue.poll_fd().expect("a lane"),
                receiver.poll_fd().expect("a lane"),
            ];
            if let ([Some(one), Some(other)], false) = (fds, has_ended) {
                wait_any(&[one, other], Deadline::NEVER).expect("a poll");
            } else if let (Some(one), true, true) = (fds[0], has_ended, first < EACH) {
                wait_any(&[one], Deadline::NEVER).expect("a poll");
            }
        }
        assert_eq!(second, EACH);
    });
}

#[test]
fn the_end_of_the_other_side_shows() {
    let (sender, receiver) = Queue::<u8>::ends().expect("a queue");
    let fd = receiver.poll_fd().expect("a lane").expect("empty");
    assert!(!is_readable(fd));
    drop(sender);
    assert!(is_readable(fd));
    assert!(matches!(receiver.try_get(), Err(GetError::Closed)));
    assert!(receiver.poll_fd().expect("a lane").is_none());
}

#[test]
fn both_directions_of_a_pipe_ring() {
    let (left, right) = pipe::<u8, Event>().expect("a pipe");
    let at_left = left.poll_fd().expect("a lane").expect("empty");
    let at_right = right.poll_fd().expect("a lane").expect("empty");
    left.send(1).expect("room");
    assert!(is_readable(at_right) && !is_readable(at_left));
    right.send(Event::new().expect("an event")).expect("room");
    assert!(is_readable(at_left));
    assert_eq!(right.recv().expect("it"), 1);
    left.recv().expect("with its event").set();
    assert!(
        right
            .poll_fd()
            .expect("a lane")
            .is_some_and(|fd| !is_readable(fd))
    );
    assert!(
        left.poll_fd()
            .expect("a lane")
            .is_some_and(|fd| !is_readable(fd))
    );
}

#[test]
fn what_has_no_descriptor_says_so() {
    let numbers = Queue::<u64, _>::plain().expect("a queue");
    let refused = numbers.poll_fd().expect_err("no lane");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("`wait`"), "{refused}");
}
