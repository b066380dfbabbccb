//! The bounded queue without a lock: what one thread sees of it, and what several do.

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mp_layout::ErrorKind;
use mp_os::clock::Deadline;
use mp_queue::{GetError, MpmcQueue, PutError};
use mp_sync::{EventCount, Sleep};
use mp_testkit::{Forked, UniqueName, Watchdog};

const LIMIT: Duration = Duration::from_secs(300);

/// Where the cells start in the payload: after the words, those of the ring and its seats.
const CELLS: usize = 384 + 384 + 8 * 1024;

/// Overwrites a word of the payload, as a careless or dying process does.
fn overwrite<T: mp_layout::Plain>(queue: &MpmcQueue<T>, offset: usize, word: u64) {
    // SAFETY: reached by atomics only.
    let payload = unsafe { queue.object().payload() };
    let place: &AtomicU64 = payload.place(offset).expect("a word");
    place.store(word, Ordering::SeqCst);
}

#[test]
fn values_of_one_producer_come_in_their_order() {
    let queue = MpmcQueue::new(3).expect("a queue");
    for lap in 0..5_u32 {
        for number in 0..3 {
            queue.put((lap, number).1 + 10 * lap).expect("room");
        }
        assert_eq!(
            (queue.len(), queue.is_full(), queue.is_empty()),
            (3, true, false)
        );
        let got: Vec<_> = (0..3).map(|_| queue.get().expect("a value")).collect();
        assert_eq!(got, [10 * lap, 10 * lap + 1, 10 * lap + 2]);
        assert_eq!(
            (queue.len(), queue.is_full(), queue.is_empty()),
            (0, false, true)
        );
    }
    assert_eq!(queue.capacity(), 3);
}

#[test]
fn what_has_no_room_comes_back() {
    let queue = MpmcQueue::new(1).expect("a queue");
    queue.put([7_u64; 7]).expect("room");
    let refused = queue.try_put([8; 7]).expect_err("full");
    assert!(matches!(refused, PutError::Full([8, ..])), "{refused:?}");
    let start = Instant::now();
    let refused = queue.put_timeout([9; 7], Duration::from_millis(20));
    assert_eq!(refused.expect_err("full").into_inner(), [9; 7]);
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(queue.get().expect("a value"), [7; 7]);
    let start = Instant::now();
    let nothing = queue.get_timeout(Duration::from_millis(20));
    assert!(matches!(nothing, Err(GetError::Empty)), "{nothing:?}");
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
}

#[test]
fn batches_stop_where_there_is_no_room_and_no_value() {
    let _watchdog = Watchdog::new(LIMIT);
    let queue = MpmcQueue::new(4).expect("a queue");
    let error = queue
        .try_put_many(&[1_u8, 2, 3, 4, 5, 6])
        .expect_err("too many");
    assert_eq!((error.put, error.error.kind()), (4, ErrorKind::Full));
    let mut got = [0; 6];
    assert_eq!(queue.get_many(&mut got[..3]).expect("values"), 3);
    assert_eq!(queue.get_many(&mut got[3..]).expect("a value"), 1);
    assert_eq!(got, [1, 2, 3, 4, 0, 0]);
    assert_eq!(queue.get_many(&mut []).expect("none is asked for"), 0);
    assert!(matches!(queue.try_get_many(&mut got), Err(GetError::Empty)));
}

#[test]
fn a_batch_takes_no_value_that_has_no_place() {
    let _watchdog = Watchdog::new(LIMIT);
    let queue = MpmcQueue::new(4).expect("a queue");
    queue.put_many(&[1_u8, 2, 3]).expect("room");
    let mut got = [0; 2];
    assert_eq!(queue.get_many(&mut got).expect("values"), 2);
    assert_eq!((got, queue.get().expect("the third")), ([1, 2], 3));
}

#[test]
fn a_closed_queue_refuses_and_gives_what_is_left() {
    let queue = MpmcQueue::new(4).expect("a queue");
    queue.put_many(&[1_u16, 2]).expect("room");
    assert!(!queue.is_closed());
    queue.close();
    assert!(queue.is_closed());
    let refused = queue.put(3).expect_err("closed");
    assert!(matches!(refused, PutError::Closed(3)), "{refused:?}");
    assert_eq!(
        queue.put_many(&[3]).expect_err("closed").error.kind(),
        ErrorKind::Closed
    );
    let left: Result<Vec<_>, _> = queue.iter().collect();
    assert_eq!(left.expect("values"), [1, 2]);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert!(matches!(queue.try_get(), Err(GetError::Closed)));
}

/// Whoever sleeps hears of it, also beyond the one that each wake-up is for.
#[test]
fn closing_wakes_all() {
    let _watchdog = Watchdog::new(LIMIT);
    for full in [false, true] {
        let queue = MpmcQueue::new(1).expect("a queue");
        if full {
            queue.put(1_u8).expect("room");
        }
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| match full {
                    true => assert_eq!(queue.put(2).expect_err("closed").kind(), ErrorKind::Closed),
                    false => assert!(matches!(queue.get(), Err(GetError::Closed))),
                });
            }
            queue.close();
        });
    }
}

/// A put that returned is got, although the queue was closed meanwhile.
#[test]
fn what_was_put_while_it_closes_is_got() {
    let _watchdog = Watchdog::new(LIMIT);
    for round in 0..100 {
        let queue = MpmcQueue::new(1 + round % 3).expect("a queue");
        thread::scope(|scope| {
            let puts = [(); 2]
                .map(|()| scope.spawn(|| (0_u64..).take_while(|n| queue.put(*n).is_ok()).count()));
            let gets = [(); 2].map(|()| scope.spawn(|| queue.iter().map(Result::unwrap).count()));
            for _ in 0..round % 8 {
                thread::yield_now();
            }
            queue.close();
            let count = |threads: [thread::ScopedJoinHandle<'_, usize>; 2]| {
                threads
                    .map(|thread| thread.join().expect("no panic"))
                    .iter()
                    .sum::<usize>()
            };
            assert_eq!(count(puts), count(gets));
        });
    }
}

#[test]
fn many_threads_get_each_value_once() {
    const SIDES: u64 = 3;
    const EACH: u64 = 20_000;
    let _watchdog = Watchdog::new(LIMIT);
    let queue = MpmcQueue::new(16).expect("a queue");
    let got = thread::scope(|scope| {
        let gets = [(); SIDES as usize]
            .map(|()| scope.spawn(|| queue.iter().map(Result::unwrap).collect::<Vec<_>>()));
        let puts: Vec<_> = (0..SIDES)
            .map(|side| {
                let queue = &queue;
                scope.spawn(move || {
                    (0..EACH).for_each(|n| queue.put([side, n]).expect("open"));
                })
            })
            .collect();
        puts.into_iter()
            .for_each(|put| put.join().expect("no panic"));
        queue.close();
        gets.map(|get| get.join().expect("no panic"))
    });
    for one in &got {
        for side in 0..SIDES {
            let numbers = one.iter().filter(|value| value[0] == side);
            assert!(
                numbers.is_sorted_by_key(|value| value[1]),
                "of one producer, in order"
            );
        }
    }
    let count = got.iter().map(Vec::len).sum::<usize>();
    let distinct: HashSet<_> = got.into_iter().flatten().collect();
    assert_eq!(
        (count, distinct.len()),
        ((SIDES * EACH) as usize, (SIDES * EACH) as usize)
    );
}

#[test]
fn bytes_that_are_no_value_are_an_error_and_taken() {
    let queue = MpmcQueue::new(2).expect("a queue");
    queue.put(true).expect("room");
    queue.put(true).expect("room");
    overwrite(&queue, CELLS + 8, 2);
    assert!(matches!(queue.get(), Err(GetError::Decode(_))));
    assert!(queue.get().expect("the next"));
}

#[test]
fn a_cell_that_no_queue_writes_is_an_error() {
    let queue = MpmcQueue::<u64>::new(2).expect("a queue");
    overwrite(&queue, CELLS, u64::MAX);
    let put = queue.put(1).expect_err("corrupt");
    let get = queue.get().expect_err("corrupt");
    assert_eq!(
        (put.kind(), get.kind()),
        (ErrorKind::Corrupt, ErrorKind::Corrupt)
    );
    assert!(!queue.is_empty(), "there is an error to get");
    let ready = mp_object::wait(&[&queue], LIMIT).expect("a wait");
    assert_eq!(ready, [0], "what get reports ends a wait");
}

#[test]
fn is_found_by_its_name_and_type() {
    let name = UniqueName::new("mpmc");
    let made = MpmcQueue::<u32>::create_named(&name, 5).expect("a queue");
    let found = MpmcQueue::<u32>::open(&name).expect("the queue");
    made.put(7).expect("room");
    assert_eq!((found.get().expect("a value"), found.capacity()), (7, 5));
    let again = MpmcQueue::<u32>::open_or_create(&name, 9).expect("the queue");
    assert_eq!(again.capacity(), 5);
    let other = MpmcQueue::<f32>::open(&name).expect_err("of the same size");
    assert_eq!(other.kind(), ErrorKind::WrongType);
    MpmcQueue::<u32>::unlink(&name).expect("it is there");
}

#[test]
fn a_capacity_that_cannot_be_is_refused() {
    for capacity in [0, usize::MAX, isize::MAX as usize / 16] {
        let error = MpmcQueue::<u64>::new(capacity).expect_err("no such queue");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{capacity}");
    }
}

#[test]
fn a_handle_gives_its_seat_back() {
    let queue = MpmcQueue::<u64>::new(1).expect("a queue");
    for number in 0..2000 {
        let handle = reopened(&queue);
        handle.put(number).expect("a seat");
        assert_eq!(handle.get().expect("a value"), number);
    }
}

#[test]
fn more_handles_than_seats_are_refused_with_the_figure() {
    let queue = MpmcQueue::<u64>::new(1).expect("a queue");
    let handles: Vec<_> = (0..1025).map(|_| reopened(&queue)).collect();
    for handle in &handles[..1024] {
        handle.put(1).expect("a seat");
        handle.get().expect("a value");
    }
    let error = handles[1024].put(2).expect_err("no seat");
    assert!(matches!(error, PutError::Failed(2, _)), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Claimed);
    assert!(error.to_string().contains("1024"), "{error}");
    assert_eq!(queue.len(), 0);
}

/// A handle of its own, as another user of the process has it.
fn reopened(queue: &MpmcQueue<u64>) -> MpmcQueue<u64> {
    mp_object::ObjectType::of_object(queue.object()).expect("the queue")
}

/// Who has the first seats: the owner words follow the queue's words and the ring's.
fn seats(queue: &MpmcQueue<u64>) -> [u64; 2] {
    // SAFETY: bare words, reached by nobody with a reference to more.
    let payload = unsafe { queue.object().payload() };
    [768, 776].map(|offset| {
        let owner: &AtomicU64 = payload.place(offset).expect("a word");
        owner.load(Ordering::Relaxed)
    })
}

/// A forked child puts from a seat of its own, and its copy of the last handle does not give its
/// parent's back.
#[test]
fn a_forked_child_has_its_own_seat() {
    let _watchdog = Watchdog::new(LIMIT);
    let queue = MpmcQueue::new(8).expect("a queue");
    queue.put(1_u64).expect("room");
    let same = reopened(&queue);
    let [parent, free] = seats(&same);
    assert_ne!((parent, free), (0, 0));
    assert_eq!(free, 0);
    let mut last = Some(queue);
    let child = Forked::new(|| {
        let put = last.as_ref().is_some_and(|queue| queue.put(2).is_ok());
        let [first, second] = seats(&same);
        drop(last.take());
        put && first == parent && ![0, parent].contains(&second) && seats(&same)[0] == parent
    });
    assert!(child.succeeds());
    let queue = last.expect("the parent's handle");
    queue.put(3).expect("room");
    assert_eq!(seats(&queue)[0], parent);
    queue.close();
    assert_eq!(
        queue.iter().map(Result::unwrap).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

/// The seats of dead processes are free for others: more processes put than there are seats.
#[test]
fn dead_processes_leave_no_seat_taken() {
    let _watchdog = Watchdog::new(LIMIT);
    let queue = MpmcQueue::new(8).expect("a queue");
    let handles: Vec<_> = (0..1023).map(|_| reopened(&queue)).collect();
    for handle in &handles {
        handle.put(0).expect("a seat");
        handle.get().expect("a value");
    }
    for number in 1..=3 {
        // Forked, it ends without its drops.
        assert!(Forked::new(|| queue.put(number).is_ok()).succeeds());
    }
    assert_eq!([(); 3].map(|()| queue.get().expect("a value")), [1, 2, 3]);
}

/// The place of a put that was killed is passed over, and free again when a put comes to it.
#[test]
fn the_place_of_a_dead_put_is_found_by_who_needs_it() {
    let _watchdog = Watchdog::new(LIMIT);
    for ask in [Deadline::PASSED, Deadline::NEVER] {
        let queue = MpmcQueue::new(2).expect("a queue");
        assert!(Forked::new(|| queue.put(1).is_ok()).succeeds());
        cut_short(&queue);
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
        queue.put(2).expect("the other place");
        assert_eq!(queue.get().expect("a value"), 2);
        queue.put_timeout(3, ask).expect("its owner is dead");
        assert_eq!(queue.get().expect("a value"), 3);
        queue.put_many(&[4, 5]).expect("room for two");
    }
}

/// Nor does a get of a closed queue wait for it.
#[test]
fn a_closed_queue_ends_although_a_put_died_in_it() {
    let _watchdog = Watchdog::new(LIMIT);
    let queue = MpmcQueue::new(2).expect("a queue");
    assert!(Forked::new(|| queue.put(1).is_ok()).succeeds());
    cut_short(&queue);
    queue.close();
    assert!(matches!(queue.try_get(), Err(GetError::Closed)));
}

#[test]
fn it_is_waited_for_with_others() {
    let _watchdog = Watchdog::new(LIMIT);
    let queues = [(); 2].map(|()| MpmcQueue::new(2).expect("a queue"));
    let items: [&dyn mp_object::Waitable; 2] = [&queues[0], &queues[1]];
    let ready = || mp_object::wait(&items, Duration::ZERO).expect("a wait");
    assert_eq!(ready(), [0_usize; 0]);
    queues[1].put(1_u8).expect("room");
    assert_eq!(ready(), [1]);
    queues[0].close();
    assert_eq!(ready(), [0, 1]);
    queues[1].get().expect("a value");
    thread::scope(|scope| {
        scope.spawn(|| queues[1].put(2).expect("room"));
        let woken = mp_object::wait(&items[1..], Duration::MAX).expect("a wait");
        assert_eq!(woken, [0]);
    });
}

/// As the child leaves it that puts first, before its commit: position 0, claimed from its seat.
fn cut_short(queue: &MpmcQueue<u64>) {
    overwrite(queue, CELLS, 1 << 62);
}

/// A loop of `wait` and `try_get` rests meanwhile.
#[test]
fn a_closed_queue_is_not_ready_while_a_put_may_commit() {
    let _watchdog = Watchdog::new(LIMIT);
    for is_killed in [false, true] {
        let queue = MpmcQueue::new(2).expect("a queue");
        let child = Forked::holding(|| queue.put(7).expect("room"));
        cut_short(&queue);
        queue.close();
        let ready = |time| mp_object::wait(&[&queue], time).expect("a wait");
        assert_eq!(ready(Duration::from_millis(50)), [0_usize; 0]);
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
        if is_killed {
            child.kill_and_reap();
        } else {
            overwrite(&queue, CELLS, 2 << 62);
            assert_eq!(ready(Duration::MAX), [0]);
            assert_eq!(queue.get().expect("it was put"), 7);
        }
        assert_eq!(ready(Duration::MAX), [0]);
        assert!(matches!(queue.try_get(), Err(GetError::Closed)));
    }
}

/// The process lives on as another program, which has no part in the queue.
#[test]
fn the_place_of_a_put_that_exec_cut_short_is_swept() {
    let _watchdog = Watchdog::new(LIMIT);
    for is_closed in [false, true] {
        let queue = MpmcQueue::new(1).expect("a queue");
        let child = Forked::arriving(|arrival| {
            queue.put(1).expect("room");
            arrival.arrive();
            panic!("{}", Command::new("sleep").arg("100").exec());
        });
        cut_short(&queue);
        if is_closed {
            queue.close();
            assert!(matches!(queue.get(), Err(GetError::Closed)));
        } else {
            queue.put_timeout(2, LIMIT).expect("the program is over");
            assert_eq!(queue.get().expect("a value"), 2);
        }
        let lives = !child.process().is_exited().expect("a child");
        assert!(lives, "it was not its death");
        child.kill_and_reap();
    }
}

/// Who looks for a seat finds the dead; those that wait for what the dead had claimed hear of it.
#[test]
fn a_sweep_for_a_seat_wakes_who_waits() {
    let _watchdog = Watchdog::new(LIMIT);
    for is_closed in [false, true] {
        let queue = MpmcQueue::new(1).expect("a queue");
        assert!(Forked::new(|| queue.put(1).is_ok()).succeeds());
        cut_short(&queue);
        let handles: Vec<_> = (0..1024).map(|_| reopened(&queue)).collect();
        let (last, others) = handles.split_last().expect("handles");
        for handle in others {
            handle.put_many(&[]).expect("a seat");
        }
        if is_closed {
            queue.close();
        }
        // SAFETY: the eventcounts are bare.
        let payload = unsafe { queue.object().payload() };
        let offset = if is_closed { 128 } else { 256 };
        let waits_on: &EventCount = payload.place(offset).expect("an eventcount");
        let ticket = waits_on.prepare();
        last.put_many(&[]).expect("the seat of the dead");
        assert_eq!(waits_on.sleep(ticket, Deadline::NEVER), Sleep::Woken);
        assert!(!queue.is_full());
    }
}
