//! The bounded queue without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use killcheck::Check;
use mp_layout::Region;
use mp_object::owner;
use mp_queue::{GetError, MpmcQueue, Wait};
use mp_ring::{MpmcProducer, MpmcRing};
use mp_sync::EventCount;

use crate::{
    ONE_SLOT, STRIDE, WHICH_PROCESSOR, announce_first_bell, begin, copy, expect_one_of, is_unheard,
    number,
};

type Numbers = MpmcQueue<[u64; 4]>;

/// What [`WHICH_PROCESSOR`] may miss of the 170 to 500 points of an operation.
const FEW: f64 = 0.03;

/// Offsets in the payload.
const CLOSED: usize = 0;
const NOT_EMPTY: usize = 128;
const NOT_FULL: usize = 256;
const RING: usize = 384;

fn queue(capacity: usize) -> Numbers {
    MpmcQueue::new(capacity)
        .expect("a queue")
        .with_wait(Wait::Sleep)
}

fn word(queue: &Numbers, offset: usize) -> &AtomicU32 {
    // SAFETY: bare words, reached by atomics only.
    unsafe { queue.object().payload() }
        .place(offset)
        .expect("a word")
}

/// A copy of what the processes of the queue share.
fn contents(queue: &Numbers) -> Vec<u64> {
    // SAFETY: as above.
    let payload = unsafe { queue.object().payload() };
    copy(payload, 0, payload.len())
}

fn count(queue: &Numbers, offset: usize) -> &EventCount {
    // SAFETY: bare words, reached by atomics only.
    unsafe { queue.object().payload() }
        .place(offset)
        .expect("an eventcount")
}

fn at(queue: &Numbers, offset: usize) -> usize {
    word(queue, offset).as_ptr().addr()
}

/// Opens the queue, which no operation does, frees the place that a dead put may have left, and
/// puts `start` into it.
fn restart(queue: &Numbers, start: &[u64]) {
    word(queue, CLOSED).store(0, Ordering::SeqCst);
    fill(queue).expect("no error");
    drain(queue).expect("no error");
    for &n in start {
        queue.put(number(n)).expect("room");
    }
}

/// Fills the queue; how many there was room for.
fn fill(queue: &Numbers) -> Result<usize, String> {
    for put in 0.. {
        match queue.try_put(number(9)) {
            Ok(()) => {}
            Err(mp_queue::PutError::Full(_)) => return Ok(put),
            Err(error) => return Err(error.to_string()),
        }
    }
    unreachable!("a bounded queue")
}

/// What is in the queue, whole.
fn drain(queue: &Numbers) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    loop {
        match queue.try_get() {
            Ok(value) if value == number(value[0]) => numbers.push(value[0]),
            Ok(value) => return Err(format!("torn: {value:x?}")),
            Err(GetError::Empty) => return Ok(numbers),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// What the victim's process does once in its life: it claims its seat.
fn claim_seat(queue: &Numbers) {
    announce_first_bell();
    queue.put_many(&[]).expect("a seat");
}

/// That all places are there, with nothing in the queue.
fn expect_room(queue: &Numbers) -> Result<(), String> {
    match (fill(queue)?, drain(queue)?.len()) {
        (room, left) if room == queue.capacity() && left == room => Ok(()),
        (room, left) => Err(format!("room for {room}, {left} left")),
    }
}

fn assert_safe(check: Check<'_, Numbers>, queue: &Numbers) {
    check
        .warm_up(claim_seat)
        .shares_only(contents)
        .assert_safe(queue);
}

#[test]
fn a_put() {
    let _watchdog = begin();
    let check = Check::new("MpmcQueue: put")
        .setup(|queue: &Numbers| restart(queue, &[1]))
        .victim(|queue| queue.put(number(2)).expect("room"))
        .survivor(|queue| {
            queue.put(number(3)).map_err(|error| error.to_string())?;
            expect_one_of(drain(queue)?, &[&[1, 3], &[1, 2, 3]])?;
            expect_room(queue)
        })
        .without_timeouts();
    assert_safe(check, &queue(4));
}

#[test]
fn a_get() {
    let _watchdog = begin();
    let check = Check::new("MpmcQueue: get")
        .setup(|queue: &Numbers| restart(queue, &[1, 2]))
        .victim(|queue| assert_eq!(queue.get().expect("a value"), number(1)))
        .survivor(|queue| {
            queue.put(number(3)).map_err(|error| error.to_string())?;
            expect_one_of(drain(queue)?, &[&[1, 2, 3], &[2, 3]])?;
            expect_room(queue)
        })
        .without_timeouts();
    assert_safe(check, &queue(4));
}

#[test]
fn a_put_while_a_consumer_sleeps() {
    let _watchdog = begin();
    let check = Check::new("MpmcQueue: put, a consumer asleep")
        .setup(|queue: &Numbers| restart(queue, &[]))
        .victim(|queue| queue.put(number(2)).expect("room"))
        .sleeper(|queue| assert!([2, 3].contains(&queue.get().expect("a value")[0])))
        .must_wake(|queue| !queue.is_empty())
        .survivor(|queue| queue.put(number(3)).map_err(|error| error.to_string()))
        .without_timeouts()
        .allow_missed(FEW, WHICH_PROCESSOR);
    assert_safe(check, &queue(4));
}

#[test]
fn a_get_while_a_producer_sleeps() {
    let _watchdog = begin();
    let check = Check::new("MpmcQueue: get, a producer asleep")
        .setup(|queue: &Numbers| restart(queue, &[1, 2]))
        .victim(|queue| assert_eq!(queue.get().expect("a value"), number(1)))
        .sleeper(|queue| queue.put(number(5)).expect("open"))
        .must_wake(|queue| !queue.is_full())
        .survivor(|queue| queue.get().map(|_| ()).map_err(|error| error.to_string()))
        .without_timeouts()
        .allow_missed(FEW, WHICH_PROCESSOR);
    assert_safe(check, &queue(2));
}

/// The bell wakes the other consumer but where the victim announces that of the producers, while it
/// takes the value.
#[test]
fn a_woken_consumer_while_another_sleeps() {
    let _watchdog = begin();
    let check = Check::new("MpmcQueue: get, woken, another consumer asleep")
        .setup(|queue: &Numbers| restart(queue, &[]))
        .victim(|queue| assert_eq!(queue.get().expect("a value"), number(2)))
        .sleeper(|queue| assert!([2, 3].contains(&queue.get().expect("a value")[0])))
        .waker(|queue| queue.put(number(2)).expect("room"))
        .must_wake(|queue| !queue.is_empty())
        .survivor(|queue| queue.put(number(3)).map_err(|error| error.to_string()))
        .allow_rescues_if(
            |queue, pending| is_unheard(at(queue, NOT_EMPTY), pending),
            ONE_SLOT,
        )
        .allow_missed(FEW, WHICH_PROCESSOR);
    assert_safe(check, &queue(4));
}

/// As for consumers. A put commits under the consumers' bell.
#[test]
fn a_woken_producer_while_another_sleeps() {
    let _watchdog = begin();
    let check = Check::new("MpmcQueue: put, woken, another producer asleep")
        .setup(|queue: &Numbers| restart(queue, &[1, 2]))
        .victim(|queue| queue.put(number(3)).expect("open"))
        .sleeper(|queue| queue.put(number(4)).expect("open"))
        .waker(|queue| assert_eq!(queue.get().expect("a value"), number(1)))
        .must_wake(|queue| !queue.is_full())
        .survivor(|queue| queue.get().map(|_| ()).map_err(|error| error.to_string()))
        .allow_rescues_if(
            |queue, pending| is_unheard(at(queue, NOT_FULL), pending),
            ONE_SLOT,
        )
        .allow_missed(FEW, WHICH_PROCESSOR);
    assert_safe(check, &queue(2));
}

/// A put that found the queue open and is killed after its claim: the get that waits for what
/// becomes of it hears the bell of one that is dying, not yet dead, and knows it by that.
#[test]
fn a_put_while_the_queue_closes_and_a_consumer_sleeps() {
    static PRODUCER: OnceLock<MpmcProducer<'static, [u64; 4]>> = OnceLock::new();
    fn ring(queue: &Numbers) -> MpmcRing<'static, [u64; 4]> {
        // SAFETY: mapped until the test's end, and such a ring.
        let payload = unsafe { queue.object().payload() };
        let region = payload.subregion(RING, payload.len() - RING);
        let start = region.and_then(|region| region.pointer_to::<u8>(0, region.len()));
        let start = start.expect("the ring's bytes");
        // SAFETY: as above.
        let region = unsafe { Region::<'static>::new(start, payload.len() - RING) };
        // SAFETY: as above.
        unsafe { MpmcRing::attach(region) }.expect("a ring")
    }
    let _watchdog = begin();
    let queue = Box::leak(Box::new(queue(2)));
    let check = Check::new("MpmcQueue: put, closed meanwhile, a consumer asleep")
        .setup(|queue: &Numbers| {
            restart(queue, &[]);
            // SAFETY: of those that are proven over.
            let _seats = unsafe { ring(queue).sweep(owner::is_proven_over) };
        })
        .warm_up(|queue| {
            announce_first_bell();
            let me = owner::this_program().expect("/proc");
            let producer = ring(queue).claim_producer(me.into()).expect("a seat");
            assert!(PRODUCER.set(producer).is_ok());
        })
        .victim(|queue| {
            let count = count(queue, NOT_EMPTY);
            count.under_bell(|| {
                let grant = PRODUCER.get().expect("a seat").reserve().expect("room");
                word(queue, CLOSED).store(1, Ordering::SeqCst);
                grant.commit(number(2));
                count.notify_committed(1);
            });
        })
        .sleeper(|queue| match queue.get() {
            Ok(value) => assert_eq!(value, number(2)),
            Err(error) => assert!(matches!(error, GetError::Closed), "{error}"),
        })
        .must_wake(MpmcQueue::is_closed)
        .survivor(|queue| {
            queue.close();
            Ok(())
        })
        .stride(STRIDE)
        .without_timeouts()
        .allow_missed(FEW, WHICH_PROCESSOR);
    let report = check.run(queue).expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

#[test]
fn a_close_while_two_sleep() {
    let _watchdog = begin();
    let close = |name| {
        Check::new(name)
            .victim(|queue: &Numbers| queue.close())
            .must_wake(MpmcQueue::is_closed)
            .survivor(|queue| {
                queue.close();
                Ok(())
            })
            .without_timeouts()
            .allow_missed(FEW, WHICH_PROCESSOR)
    };
    let check = close("MpmcQueue: close, two consumers asleep")
        .setup(|queue: &Numbers| restart(queue, &[]))
        .sleepers(2, |queue| drop(queue.get().expect_err("closed")));
    assert_safe(check, &queue(2));
    let check = close("MpmcQueue: close, two producers asleep")
        .setup(|queue: &Numbers| restart(queue, &[1]))
        .sleepers(2, |queue| drop(queue.put(number(2)).expect_err("closed")));
    assert_safe(check, &queue(1));
}
