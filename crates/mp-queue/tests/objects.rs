//! Shared objects in messages: which travel, which are refused, and what the limits do.
#![cfg(not(miri))]

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::transfer::{self, Descriptor};
use mp_object::{Event, Lock, Mutex};
use mp_queue::{GetError, PutError, Queue, channel, pipe_bounded};
use mp_testkit::{
    Forked, PATIENCE, UniqueName, Watchdog, leave_descriptors, not_checked, refuse,
    set_descriptor_limit,
};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};

/// The write end of a pipe, as a handle in messages.
#[derive(Clone, Debug)]
struct End(Arc<OwnedFd>);

impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = transfer::put(&Descriptor::new(Arc::clone(&self.0)), None);
        place.map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = Option::<u32>::deserialize(deserializer)?.unwrap_or(u32::MAX);
        let end = transfer::take(place).map_err(D::Error::custom)?;
        Ok(Self(Arc::new(end)))
    }
}

/// The read end of a pipe, which tells when all write ends are closed, wherever they are.
struct Watched(OwnedFd);

impl Watched {
    fn new() -> (Self, End) {
        let (read, write) = std::io::pipe().expect("a pipe");
        (Self(read.into()), End(Arc::new(write.into())))
    }

    fn is_closed(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one structure, which lives during the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        ready == 1 && poll.revents & libc::POLLHUP != 0
    }
}

/// A handle that is written and cannot be read.
#[derive(Debug)]
struct Unreadable(End);

impl Serialize for Unreadable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("not to be read"))
    }
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Job {
    Count {
        objects: Vec<(String, Mutex<u64>)>,
        done: Option<Event>,
        answer: Queue<u64>,
    },
    Stop,
}

#[test]
fn handles_travel_wherever_they_are_in_a_value() {
    let _watchdog = Watchdog::new(PATIENCE);
    let jobs = Queue::new().expect("a queue");
    let (one, other) = (Mutex::new(1_u64).unwrap(), Mutex::new(2_u64).unwrap());
    let (done, answer) = (Event::new().unwrap(), Queue::new().unwrap());
    let objects = vec![
        ("one".to_owned(), one.clone()),
        ("other".to_owned(), other.clone()),
        ("one again".to_owned(), one.clone()),
    ];
    let job = Job::Count {
        objects,
        done: Some(done.clone()),
        answer: answer.clone(),
    };
    jobs.put(job).expect("room");
    jobs.put(Job::Stop).expect("room");
    let child = Forked::new(|| {
        let Job::Count {
            objects,
            done,
            answer,
        } = jobs.get().expect("a job")
        else {
            return false;
        };
        for (_, number) in &objects {
            *number.lock().expect("free") += 10;
        }
        done.expect("in the message").set();
        answer.put(objects.len() as u64).expect("room");
        matches!(jobs.get(), Ok(Job::Stop))
    });
    assert!(child.succeeds());
    assert_eq!(answer.get().expect("an answer"), 3);
    assert_eq!((*one.lock().unwrap(), *other.lock().unwrap()), (21, 12));
    assert!(done.is_set());
}

#[test]
fn a_message_outlives_its_sender_and_its_objects_last_handle() {
    let _watchdog = Watchdog::new(PATIENCE);
    let queue: Queue<(u64, Mutex<u64>)> = Queue::new().expect("a queue");
    let sender = Forked::new(|| {
        let number = Mutex::new(41_u64).expect("a mutex");
        queue.put((1, number)).is_ok()
    });
    assert!(sender.succeeds());
    let (_, number) = queue.get().expect("a message");
    assert_eq!(*number.lock().unwrap(), 41);
}

#[test]
fn an_object_that_is_open_is_the_same_memory() {
    let queue = Queue::new().expect("a queue");
    let number = Mutex::new(0_u64).unwrap();
    queue.put(number.clone()).expect("room");
    let same: Mutex<u64> = queue.get().expect("a message");
    assert!(
        core::ptr::eq(&raw const *same, &raw const *number),
        "mapped once"
    );
}

#[test]
fn objects_that_are_open_take_no_descriptor_and_are_not_looked_at() {
    let _watchdog = Watchdog::new(PATIENCE);
    let queue: Queue<Vec<Event>> = Queue::new().expect("a queue");
    let events: Vec<_> = (0..3).map(|_| Event::new().unwrap()).collect();
    for count in [3, 3, 2] {
        queue.put(events[..count].to_vec()).expect("room");
    }
    let child = Forked::new(|| {
        let opened = queue.get().expect("a message");
        leave_descriptors(0);
        refuse(libc::SYS_recvmsg, libc::EPERM, None);
        refuse(libc::SYS_mmap, libc::EPERM, None);
        for count in [3, 2] {
            let again = queue.get().expect("nothing is needed");
            assert_eq!(again.len(), count);
            for (event, same) in opened.iter().zip(&again) {
                assert!(core::ptr::eq(&raw const **event, &raw const **same));
            }
        }
        opened[2].set();
        queue.object().lane().expect("a lane").is_empty()
    });
    assert!(child.succeeds());
    assert!(events[2].is_set());
}

#[test]
fn a_message_of_which_one_object_is_not_open_is_got_whole() {
    let queue: Queue<Vec<Mutex<u64>>> = Queue::new().expect("a queue");
    let numbers: Vec<_> = (0..3).map(|n| Mutex::new(n).unwrap()).collect();
    queue.put(numbers[..1].to_vec()).expect("room");
    queue.put(numbers.clone()).expect("room");
    let child = Forked::new(|| {
        let opened = queue.get().expect("a message");
        let all = queue.get().expect("a message");
        assert!(core::ptr::eq(&raw const *all[0], &raw const *opened[0]));
        for number in &all {
            *number.lock().expect("free") += 10;
        }
        queue.object().lane().expect("a lane").is_empty()
    });
    assert!(child.succeeds());
    let now: Vec<_> = numbers
        .iter()
        .map(|number| *number.lock().unwrap())
        .collect();
    assert_eq!(now, [10, 11, 12]);
}

/// A copy of a file has the identity that is in it.
#[test]
fn a_copied_file_that_is_open_is_not_taken_for_the_object() {
    let (name, copy) = (UniqueName::new("sent"), UniqueName::new("sent-copy"));
    let original = Mutex::create_named(&name, 1_u64).unwrap();
    let path = |name: &str| format!("/dev/shm/{name}");
    std::fs::copy(path(&name), path(&copy)).expect("a copy");
    let copied = Mutex::<u64>::open(&copy).unwrap();
    let queue: Queue<Mutex<u64>> = Queue::new().expect("a queue");
    for (sent, other, value) in [(&original, &copied, 7), (&copied, &original, 8)] {
        queue.put(sent.clone()).expect("room");
        *queue.get().expect("a message").lock().unwrap() = value;
        assert_eq!(*sent.lock().unwrap(), value);
        assert_ne!(*other.lock().unwrap(), value);
    }
}

#[test]
fn what_is_never_got_is_closed_with_the_queue() {
    let (watched, end) = Watched::new();
    let queue = Queue::new().expect("a queue");
    queue.put((0, Some(end))).expect("room");
    assert!(!watched.is_closed());
    drop(queue);
    assert!(watched.is_closed());
}

#[test]
fn a_message_that_does_not_decode_closes_its_descriptors() {
    let (watched, end) = Watched::new();
    let queue = Queue::new().expect("a queue");
    queue.put(Unreadable(end)).expect("room");
    assert!(matches!(queue.get(), Err(GetError::Decode(_))));
    assert!(watched.is_closed());
    let (watched, end) = Watched::new();
    queue.put(Unreadable(end)).expect("room");
    drop(queue.get_many(5).expect("a message"));
    assert!(watched.is_closed(), "not decoded at all");
}

#[test]
fn what_the_receiver_does_not_keep_is_closed() {
    let (watched, end) = Watched::new();
    let queue = Queue::new().expect("a queue");
    queue.put(end).expect("room");
    drop(queue.get().expect("a message"));
    assert!(watched.is_closed());
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
}

#[test]
fn too_few_free_descriptors_leave_the_message() {
    let _watchdog = Watchdog::new(PATIENCE);
    let queue: Queue<Vec<Event>> = Queue::new().expect("a queue");
    let events: Vec<_> = (0..9).map(|_| Event::new().unwrap()).collect();
    queue.put(events.clone()).expect("room");
    queue.put(Vec::new()).expect("room");
    let child = Forked::new(|| {
        leave_descriptors(4);
        for _ in 0..3 {
            let error = queue.get().expect_err("no room for nine");
            assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
            let text = error.to_string();
            assert!(
                text.contains("9 descriptors") && text.contains("4 more"),
                "{text}"
            );
            let error = queue.get_many(2).expect_err("no room for nine");
            assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
        }
        assert_eq!(queue.len(), 2);
        leave_descriptors(9);
        queue
            .get()
            .expect("there is room")
            .iter()
            .for_each(|event| event.set());
        true
    });
    assert!(child.succeeds());
    assert!(events.iter().all(|event| event.is_set()));
    assert!(queue.get().expect("the other one").is_empty());
}

#[test]
fn a_message_with_too_many_descriptors_is_refused() {
    let queue = Queue::new().expect("a queue");
    let (_watched, end) = Watched::new();
    queue.put(vec![end.clone(); 253]).expect("the most");
    let error = queue.put(vec![end; 254]).expect_err("one too many");
    assert!(error.to_string().contains("254 descriptors"), "{error}");
    assert_eq!(error.into_inner().len(), 254);
    assert_eq!(queue.get().expect("a message").len(), 253);
}

#[test]
fn messages_with_and_without_handles_keep_their_order_in_batches() {
    let queue: Queue<(u64, Option<Mutex<u64>>)> = Queue::new().expect("a queue");
    let mutex = |n: u64| n.is_multiple_of(3).then(|| Mutex::new(n).unwrap());
    let messages: Vec<_> = (0..200).map(|n| (n, mutex(n))).collect();
    queue.put_many(&messages).expect("room");
    let mut next = 0;
    for max in [1, 2, 7, 200] {
        let batch = queue.get_many(max).expect("messages");
        assert_eq!(batch.len(), max.min(200 - next as usize));
        for message in batch {
            let (n, mutex) = message.expect("whole");
            assert_eq!(n, next);
            assert_eq!(
                mutex.map(|mutex| *mutex.lock().unwrap()),
                n.is_multiple_of(3).then_some(n)
            );
            next += 1;
        }
    }
    assert_eq!(next, 200);
}

#[test]
fn a_queue_travels_through_itself() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Itself(Queue<Itself>);
    let queue = Queue::new().expect("a queue");
    queue
        .put(Itself(queue.clone()))
        .unwrap_or_else(|error| panic!("{error}"));
    let Itself(same) = queue.get().unwrap_or_else(|error| panic!("{error}"));
    assert!(same.object().is_same(queue.object()));
    same.put(Itself(queue))
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(same.len(), 1);
}

#[test]
fn a_named_queue_carries_named_objects_by_name() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (name, of_lock) = (UniqueName::new("carries"), UniqueName::new("carried"));
    let queue: Queue<(u8, Lock)> = Queue::create_named(&name).expect("a queue");
    let lock = Lock::create_named(&of_lock).unwrap();
    queue.put((1, lock.clone())).expect("room");
    assert_eq!(queue.max_with_objects().expect("a figure"), None);
    let other: Queue<(u8, Lock)> = Queue::open(&name).expect("the queue");
    let (_, same) = other.get().expect("a message");
    assert!(same.object().is_same(lock.object()));
    let error = queue.put((2, Lock::new().unwrap())).expect_err("no name");
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(
        error.to_string().contains("create it under a name"),
        "{error}"
    );
    queue.put((3, lock)).expect("room");
    Lock::unlink(&of_lock).unwrap();
    let error = queue.get().expect_err("the name is gone");
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains(&*of_lock), "{error}");
    assert!(queue.is_empty());
}

#[test]
fn the_end_of_a_channel_is_refused_and_stays_whole() {
    let (sender, mut receiver) = channel::<u8>(4).expect("a channel");
    let queue = Queue::new().expect("a queue");
    let error = queue.put(sender).expect_err("its sender may exit first");
    assert!(error.to_string().contains("an end of a channel"), "{error}");
    error.into_inner().send(7).expect("room");
    assert_eq!(receiver.recv().expect("a value"), 7);
}

#[test]
fn a_message_without_handles_makes_no_system_call_for_them() {
    let _watchdog = Watchdog::new(PATIENCE);
    let child = Forked::new(|| {
        let queue: Queue<(u64, Option<Event>)> = Queue::new().expect("a queue");
        for call in [libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_recvfrom] {
            refuse(call, libc::EPERM, None);
        }
        queue.put((5, None)).expect("room");
        assert!(queue.put((6, Some(Event::new().unwrap()))).is_err());
        matches!(queue.get(), Ok((5, None))) && queue.is_empty()
    });
    assert!(child.succeeds());
}

/// Puts until it is refused, and returns how many were put, and the error.
fn fill(queue: &Queue<(usize, Event)>, event: &Event) -> (usize, PutError<(usize, Event)>) {
    for put in 0.. {
        if let Err(error) = queue.try_put((put, event.clone())) {
            return (put, error);
        }
    }
    unreachable!("there is a limit");
}

#[test]
fn as_many_are_on_their_way_as_the_figure_says() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let queue = Queue::new().expect("a queue");
    let event = Event::new().unwrap();
    let most = queue
        .max_with_objects()
        .expect("a figure")
        .expect("a limit");
    if most < 10_000 {
        not_checked("10 000 messages take net.core.wmem_max = 3840000");
    }
    let (put, error) = fill(&queue, &event);
    if put < most && error.to_string().contains("ulimit -n") {
        return not_checked("this user may have fewer descriptors on their way");
    }
    assert_eq!(put, most, "{error}");
    assert!(matches!(error, PutError::Failed(..)));
    assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
    assert!(error.to_string().contains(&most.to_string()), "{error}");
    let (back, event) = error.into_inner();
    assert_eq!(back, most);
    // One out, one in; and the rest in order.
    assert_eq!(queue.get().expect("a message").0, 0);
    queue.put((most, event)).expect("room again");
    for expected in 1..=most {
        assert_eq!(queue.get().expect("a message").0, expected);
    }
}

#[test]
fn a_bounded_queue_waits_for_room_on_the_way() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let queue = Queue::bounded(1 << 20).expect("a queue");
    let event = Event::new().unwrap();
    let (put, error) = fill(&queue, &event);
    assert!(matches!(error, PutError::Full(_)), "{error}");
    let soon = Duration::from_millis(5);
    assert!(matches!(
        queue.put_timeout((put, event.clone()), soon),
        Err(PutError::Full(_))
    ));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.put((put, event.clone())));
        for expected in 0..=put {
            assert_eq!(queue.get().expect("a message").0, expected);
        }
        waiting.join().expect("no panic").expect("room");
    });
}

/// The descriptors of all messages of a user count against the limit of the process that puts.
#[test]
fn another_user_than_root_is_held_to_its_limit() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return not_checked("only root can become another user");
    }
    let event = Event::new().unwrap();
    let queues = || {
        let bounded = Queue::bounded(1 << 20).expect("a queue");
        (Queue::new().expect("a queue"), bounded)
    };
    let (unbounded, bounded) = queues();
    let (left, right) = pipe_bounded::<(), Option<Event>>(9).unwrap();
    let child = Forked::new(|| {
        set_descriptor_limit(12_000);
        // SAFETY: takes numbers; the child has one thread.
        assert_eq!(unsafe { libc::setresuid(65534, 65534, 65534) }, 0);
        let most = unbounded
            .max_with_objects()
            .expect("a figure")
            .expect("a limit");
        for number in 0..most.min(10_000) {
            unbounded
                .put((number, event.clone()))
                .expect("below the limit");
        }
        for number in 0..most.min(10_000) {
            assert_eq!(unbounded.get().expect("a message").0, number);
        }
        set_descriptor_limit(100);
        let (put, error) = fill(&unbounded, &event);
        assert!(put >= 100, "{put}: {error}");
        assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
        assert!(error.to_string().contains("ulimit -n"), "{error}");
        let error = bounded
            .put((0, event.clone()))
            .expect_err("nothing of this queue to wait for");
        assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
        // A ring that is left over is nothing to wait for either.
        left.poll_fd().expect("a lane").expect("empty");
        right.send(None).expect("room");
        left.recv().expect("a message");
        let refused = right.try_send(Some(event.clone()));
        assert!(matches!(refused, Err(PutError::Failed(..))), "{refused:?}");
        while unbounded.try_get().is_ok() {}
        let (put, error) = fill(&bounded, &event);
        assert!(
            put >= 100 && matches!(error, PutError::Full(_)),
            "{put}: {error}"
        );
        bounded.get().expect("a message");
        bounded.try_put((put, event.clone())).is_ok()
    });
    assert!(child.succeeds());
}
