//! Queues that are polled among other descriptors.

use std::os::fd::BorrowedFd;
use std::thread;

use mp_layout::ErrorKind;
use mp_object::Event;
use mp_os::clock::Deadline;
use mp_os::wakeup::wait_any;
use mp_queue::{GetError, PutError, Queue, pipe};
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
    for _ in 0..most {
        objects.put(event.clone()).expect("room in the lane");
    }
    assert!(is_readable(fd));
}

/// Puts messages with objects while there is room; how the next one is refused.
fn fill(put: impl Fn(Option<Event>) -> Result<(), PutError<Option<Event>>>) -> String {
    let event = Event::new().expect("an event");
    loop {
        if let Err(refused) = put(Some(event.clone())) {
            return refused.to_string();
        }
    }
}

#[test]
fn a_full_lane_refuses_what_it_cannot_ring_for() {
    let queue = Queue::<Option<Event>>::new().expect("a queue");
    let fd = queue.poll_fd().expect("a lane").expect("empty");
    fill(|message| queue.try_put(message));
    let refused = queue.try_put(None).expect_err("no ring");
    assert!(matches!(refused, PutError::Failed(None, _)), "{refused}");
    assert!(refused.to_string().contains("get some first"), "{refused}");
    assert!(queue.get().expect("a message").is_some());
    queue.put(None).expect("room for a ring");
    while queue.get().expect("a message").is_some() {
        assert!(is_readable(fd));
    }
    let bounded = Queue::<Option<Event>>::bounded(5000).expect("a queue");
    let fd = bounded.poll_fd().expect("a lane").expect("empty");
    fill(|message| bounded.try_put(message));
    let refused = bounded.try_put(None);
    assert!(matches!(refused, Err(PutError::Full(None))), "{refused:?}");
    while bounded.try_get().is_ok() {
        assert!(is_readable(fd) || bounded.is_empty());
    }
}

#[test]
fn a_close_with_a_full_lane_shows_to_the_end() {
    let queue = Queue::<Option<Event>>::new().expect("a queue");
    let fd = queue.poll_fd().expect("a lane").expect("empty");
    fill(|message| queue.try_put(message));
    queue.close().expect("a lock");
    while queue.get().is_ok() {
        assert!(is_readable(fd));
    }
}

#[test]
fn a_message_after_one_with_objects_of_the_same_put_shows() {
    let queue = Queue::new().expect("a queue");
    let fd = queue.poll_fd().expect("a lane").expect("empty");
    let event = Event::new().expect("an event");
    queue
        .put_many(&[None, Some(event), None])
        .expect("room for all");
    for _ in 0..3 {
        assert!(is_readable(fd));
        queue.try_get().expect("a message");
    }
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

/// One that polls has the descriptor and has not looked yet; another consumer gets. While there is
/// a message, a poll returns.
fn shows_what_others_leave<'a>(
    kind: &str,
    put: impl Fn(Option<Event>),
    get: impl Fn() -> bool,
    poll_fd: impl Fn() -> Option<BorrowedFd<'a>>,
) {
    const STEPS: u32 = 6;
    let event = Event::new().expect("an event");
    for sequence in 0..4_u32.pow(STEPS) {
        while get() {}
        let fd = poll_fd().expect("empty");
        assert!(!is_readable(fd), "{kind}: nothing was put");
        let (mut len, mut steps) = (0, Vec::new());
        for place in 0..STEPS {
            let step = ["put", "put objects", "get", "ask"][(sequence >> (2 * place)) as usize % 4];
            steps.push(step);
            match step {
                "put" => put(None),
                "put objects" => put(Some(event.clone())),
                "get" => assert_eq!(get(), len > 0),
                _ => assert_eq!(poll_fd().is_none(), len > 0),
            }
            match step {
                "get" => len -= len.min(1),
                "ask" => {}
                _ => len += 1,
            }
            assert!(
                len == 0 || is_readable(fd),
                "{kind}: {len} messages do not show after {steps:?}"
            );
        }
    }
}

#[test]
fn a_queue_shows_what_other_consumers_leave() {
    let _watchdog = Watchdog::new(PATIENCE);
    let queue = Queue::<Option<Event>>::new().expect("a queue");
    shows_what_others_leave(
        "queue",
        |message| queue.put(message).expect("room"),
        || queue.try_get().is_ok(),
        || queue.poll_fd().expect("a lane"),
    );
}

#[test]
fn an_end_shows_what_other_receivers_leave() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (sender, receiver) = Queue::<Option<Event>>::ends().expect("a queue");
    shows_what_others_leave(
        "end",
        |message| sender.put(message).expect("room"),
        || receiver.try_get().is_ok(),
        || receiver.poll_fd().expect("a lane"),
    );
}

#[test]
fn a_connection_shows_what_others_of_its_side_leave() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (left, right) = pipe::<Option<Event>, Option<Event>>().expect("a pipe");
    shows_what_others_leave(
        "connection",
        |message| left.send(message).expect("room"),
        || right.try_recv().is_ok(),
        || right.poll_fd().expect("a lane"),
    );
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
