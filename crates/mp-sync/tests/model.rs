//! Random operations of several threads, one after the other, against models.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use mp_layout::{Described, ErrorKind, Place, Region};
use mp_sync::{
    Barrier, BoundedSemaphore, Condition, LockError, PermitSemaphore, RwLock, Semaphore,
};
use proptest::prelude::*;

#[repr(align(16384))]
struct Memory([u64; 2048]);

fn placed<T: Place>() -> &'static T {
    let memory = Box::leak(Box::new(Memory([0; 2048])));
    let region = Region::from_exclusive(&mut memory.0);
    // SAFETY: leaked memory stays, and it is used for nothing else.
    unsafe { region.place_guarded(0) }.expect("16 KiB")
}

fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited 60 s");
        std::thread::yield_now();
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 2 } else { cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[derive(Clone, Copy, Debug)]
enum PermitStep {
    Take,
    Give(u32),
}

fn permit_steps() -> impl Strategy<Value = Vec<PermitStep>> {
    let step = prop_oneof![
        Just(PermitStep::Take),
        (0..5_u32).prop_map(PermitStep::Give)
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn a_semaphore_is_a_number(first in 0..4_u32, steps in permit_steps()) {
        let semaphore: &Semaphore = placed();
        semaphore.initialise(first).expect("few");
        let mut model = first;
        for step in steps {
            match step {
                PermitStep::Take => {
                    prop_assert_eq!(semaphore.try_acquire(), model > 0);
                    model = model.saturating_sub(1);
                }
                PermitStep::Give(count) => {
                    prop_assert!(semaphore.release_many(count).is_ok());
                    model += count;
                }
            }
            prop_assert_eq!(semaphore.value(), model);
        }
    }

    #[test]
    fn a_bounded_semaphore_is_a_number_with_a_bound(bound in 1..4_u32, steps in permit_steps()) {
        let semaphore: &BoundedSemaphore = placed();
        semaphore.initialise(bound).expect("few");
        let mut model = bound;
        for step in steps {
            match step {
                PermitStep::Take => {
                    prop_assert_eq!(semaphore.try_acquire(), model > 0);
                    model = model.saturating_sub(1);
                }
                PermitStep::Give(count) => {
                    let fits = model + count <= bound;
                    prop_assert_eq!(semaphore.release_many(count).is_ok(), fits);
                    model += if fits { count } else { 0 };
                }
            }
            prop_assert_eq!(semaphore.value(), model);
        }
    }

    /// `Give(n)` drops the nth permit that is held.
    #[test]
    fn permits_have_numbers_of_their_own(count in 1..4_u32, steps in permit_steps()) {
        let semaphore: &PermitSemaphore = placed();
        semaphore.initialise(count).expect("few");
        let mut held = Vec::new();
        for step in steps {
            match step {
                PermitStep::Take => {
                    let permit = semaphore.try_acquire().expect("/proc is there");
                    prop_assert_eq!(permit.is_some(), held.len() < count as usize);
                    held.extend(permit);
                }
                PermitStep::Give(index) if (index as usize) < held.len() => {
                    drop(held.swap_remove(index as usize));
                }
                PermitStep::Give(_) => {}
            }
            let mut numbers: Vec<_> = held.iter().map(|permit| permit.number()).collect();
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), held.len());
            prop_assert_eq!(semaphore.available() + held.len(), count as usize);
        }
    }
}

/// A thread that does what it is told, and tells what came of it.
struct Actor<'s, Order> {
    orders: Sender<Order>,
    answers: Receiver<Answer>,
    thread: ScopedJoinHandle<'s, ()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Got,
    Busy,
    Recursive,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Read,
    Write,
    Release,
}

impl<'s> Actor<'s, Order> {
    fn start<'e>(scope: &'s Scope<'s, 'e>, lock: &'static RwLock) -> Self {
        let (orders, todo) = channel::<Order>();
        let (done, answers) = channel();
        let work = move || {
            let (mut shares, mut guard) = (Vec::new(), None);
            for order in todo {
                let error = match order {
                    Order::Read => lock.try_read().map(|share| shares.push(share)).err(),
                    Order::Write => match lock.try_write() {
                        Ok(held) => {
                            guard = Some(held);
                            None
                        }
                        Err(LockError::Recursive) => Some(LockError::Recursive),
                        Err(LockError::Timeout(holder)) => Some(LockError::Timeout(holder)),
                        Err(error) => panic!("{error}"),
                    },
                    Order::Release => {
                        shares.clear();
                        drop(guard.take());
                        None
                    }
                };
                let answer = match error {
                    None => Answer::Got,
                    Some(LockError::Timeout(_)) => Answer::Busy,
                    Some(LockError::Recursive) => Answer::Recursive,
                    Some(error) => panic!("{error}"),
                };
                if done.send(answer).is_err() {
                    return;
                }
            }
        };
        Self {
            orders,
            answers,
            thread: scope.spawn(work),
        }
    }

    fn order(&self, order: Order) -> Answer {
        self.orders.send(order).expect("it lives");
        self.answers.recv().expect("it answers")
    }
}

/// What each thread holds: so many shares, or the lock to write.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Hold {
    shares: u32,
    writes: bool,
}

fn expected(holds: &mut [Hold; 3], who: usize, order: Order) -> Answer {
    let (mine, is_other) = (holds[who], |(at, _): &(usize, &Hold)| *at != who);
    let others_write = holds
        .iter()
        .enumerate()
        .filter(is_other)
        .any(|(_, h)| h.writes);
    let others_read = holds
        .iter()
        .enumerate()
        .filter(is_other)
        .any(|(_, h)| h.shares > 0);
    let answer = match order {
        Order::Release => Answer::Got,
        _ if mine.writes => Answer::Recursive,
        Order::Write if mine.shares > 0 => Answer::Recursive,
        _ if others_write => Answer::Busy,
        Order::Write if others_read => Answer::Busy,
        _ => Answer::Got,
    };
    match (answer, order) {
        (_, Order::Release) => holds[who] = Hold::default(),
        (Answer::Got, Order::Read) => holds[who].shares += 1,
        (Answer::Got, Order::Write) => holds[who].writes = true,
        _ => {}
    }
    answer
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn a_rwlock_has_readers_or_a_writer(
        steps in prop::collection::vec(
            (0..3_usize, prop_oneof![Just(Order::Read), Just(Order::Write), Just(Order::Release)]),
            0..60,
        ),
    ) {
        let lock: &RwLock = placed();
        let answers = std::thread::scope(|scope| {
            let actors = [(); 3].map(|()| Actor::start(scope, lock));
            let mut holds = [Hold::default(); 3];
            let mut answers = Vec::new();
            for (who, order) in steps {
                let answer = actors[who].order(order);
                answers.push((answer, expected(&mut holds, who, order)));
                let shares: u32 = holds.iter().map(|hold| hold.shares).sum();
                assert_eq!(lock.readers().len(), shares as usize);
                assert_eq!(lock.writer().is_some(), holds.iter().any(|hold| hold.writes));
            }
            for Actor { orders, thread, .. } in actors {
                drop(orders);
                thread.join().expect("no panic");
            }
            answers
        });
        for (answer, expected) in answers {
            prop_assert_eq!(answer, expected);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum WaitStep {
    Wait,
    GiveUp,
    Notify(usize),
}

/// Those that wait are numbered; when one returns, it leaves its number here.
type Returned = (Sender<usize>, Receiver<usize>);

fn start_waiter(
    condition: &'static Condition,
    number: usize,
    returned: &Sender<usize>,
) -> JoinHandle<()> {
    let (before, returned) = (condition.waiting(), returned.clone());
    let thread = std::thread::spawn(move || {
        let guard = condition.lock().expect("nobody dies");
        let guard = guard.wait().expect("nobody dies");
        returned.send(number).expect("the test waits for it");
        drop(guard);
    });
    until(|| condition.waiting() == before + 1);
    thread
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn a_condition_is_a_line_of_waiters(
        steps in prop::collection::vec(
            prop_oneof![
                Just(WaitStep::Wait),
                Just(WaitStep::GiveUp),
                (0..4_usize).prop_map(WaitStep::Notify),
            ],
            0..24,
        ),
    ) {
        let condition: &Condition = placed();
        let (returning, returned): Returned = channel();
        let (mut model, mut threads) = (VecDeque::new(), Vec::new());
        for (number, step) in steps.into_iter().chain([WaitStep::Notify(usize::MAX)]).enumerate() {
            match step {
                WaitStep::Wait => {
                    threads.push(start_waiter(condition, number, &returning));
                    model.push_back(number);
                }
                WaitStep::GiveUp => {
                    let guard = condition.lock().expect("nobody dies");
                    let (guard, notified) = guard.wait_timeout(Duration::ZERO).expect("nobody dies");
                    drop(guard);
                    prop_assert!(!notified);
                }
                WaitStep::Notify(count) => {
                    condition.lock().expect("nobody dies").notify(count);
                    let mut expected: Vec<_> = model.drain(..count.min(model.len())).collect();
                    let mut got: Vec<_> = expected.iter().map(|_| returned.recv().expect("one returns")).collect();
                    got.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(got, expected);
                }
            }
            prop_assert_eq!(condition.waiting(), model.len());
            prop_assert!(returned.try_recv().is_err(), "one returned without a notification");
        }
        for thread in threads {
            prop_assert!(thread.join().is_ok());
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum BarrierStep {
    Arrive,
    GiveUp,
    Abort,
    Reset,
}

/// What a party got: its number, or why not.
type Passed = Result<usize, ErrorKind>;

fn pass(barrier: &Barrier, timeout: Duration) -> Passed {
    barrier.wait_timeout(timeout).map_err(|error| error.kind())
}

/// A barrier as Python describes it; returns what the party that acts gets, and what all that wait
/// get, if they go on.
fn barrier_step(
    (waiting, broken): (&mut usize, &mut bool),
    parties: usize,
    step: BarrierStep,
) -> (Option<Passed>, Option<Result<(), ErrorKind>>) {
    let gone = Some(Err(ErrorKind::Broken));
    match step {
        BarrierStep::Arrive | BarrierStep::GiveUp if *broken => {
            (Some(Err(ErrorKind::Broken)), None)
        }
        BarrierStep::Arrive | BarrierStep::GiveUp if *waiting + 1 == parties => {
            *waiting = 0;
            (Some(Ok(parties - 1)), Some(Ok(())))
        }
        BarrierStep::Arrive => {
            *waiting += 1;
            (None, None)
        }
        BarrierStep::GiveUp => {
            (*waiting, *broken) = (0, true);
            (Some(Err(ErrorKind::TimedOut)), gone)
        }
        BarrierStep::Abort => {
            (*waiting, *broken) = (0, true);
            (None, gone)
        }
        BarrierStep::Reset => {
            (*waiting, *broken) = (0, false);
            (None, gone)
        }
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn a_barrier_is_pythons(
        parties in 1..4_usize,
        steps in prop::collection::vec(
            prop_oneof![
                4 => Just(BarrierStep::Arrive),
                1 => Just(BarrierStep::GiveUp),
                1 => Just(BarrierStep::Abort),
                2 => Just(BarrierStep::Reset),
            ],
            0..24,
        ),
    ) {
        let barrier: &Barrier = placed();
        barrier.initialise(parties as u32).expect("few");
        let (mut waiting, mut broken) = (0, false);
        let mut threads: Vec<JoinHandle<Passed>> = Vec::new();
        for step in steps.into_iter().chain([BarrierStep::Abort]) {
            let (mine, others) = barrier_step((&mut waiting, &mut broken), parties, step);
            match step {
                BarrierStep::Arrive if mine.is_none() => {
                    let before = barrier.waiting();
                    threads.push(std::thread::spawn(|| pass(barrier, Duration::MAX)));
                    until(|| barrier.waiting() == before + 1);
                }
                BarrierStep::Arrive => prop_assert_eq!(Some(pass(barrier, Duration::MAX)), mine),
                BarrierStep::GiveUp => prop_assert_eq!(Some(pass(barrier, Duration::ZERO)), mine),
                BarrierStep::Abort => prop_assert!(barrier.abort().is_ok()),
                BarrierStep::Reset => prop_assert!(barrier.reset().is_ok()),
            }
            if let Some(end) = others {
                for (number, thread) in threads.drain(..).enumerate() {
                    prop_assert_eq!(thread.join().expect("no panic"), end.map(|()| number));
                }
            }
            prop_assert_eq!((barrier.waiting(), barrier.is_broken()), (waiting, broken));
        }
    }
}
