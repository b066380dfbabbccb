//! What the survivors of a killed producer, consumer or sweeper must find: the same for every ring,
//! sound or not.
//!
//! A ring carries numbers; each kind says how it writes one down, and tells a torn one when it
//! reads it. Before each kill the ring holds 1 up to some number. The victim claims its role,
//! operates and gives the role back; the other side had its handle before and keeps it.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use killcheck::{Check, Report, SharedArea};

pub(crate) const VICTIM: NonZeroU64 = NonZeroU64::new(1).unwrap();
const OTHER: NonZeroU64 = NonZeroU64::new(2).unwrap();
const SUCCESSOR: NonZeroU64 = NonZeroU64::new(3).unwrap();

pub(crate) type Verdict<T = ()> = Result<T, String>;

/// What the rings of values carry for a number: its parts tell whether it is torn.
pub(crate) type Value = [u64; 3];

pub(crate) const fn value(number: u64) -> Value {
    [number, !number, number << 32]
}

pub(crate) fn number(value: Value) -> Verdict<u64> {
    if value == self::value(value[0]) {
        Ok(value[0])
    } else {
        Err(format!("torn: {value:x?}"))
    }
}

/// The memory of a ring, and how far its victim came.
#[repr(C, align(128))]
pub(crate) struct Stage {
    ring: [AtomicU64; 176],
    done: AtomicU64,
    noted: AtomicU64,
    numbers: [AtomicU64; 14],
}

impl Stage {
    pub(crate) fn words(&self) -> &[AtomicU64] {
        &self.ring
    }

    fn note(&self, number: u64) {
        let noted = self.noted.load(Ordering::Relaxed);
        self.numbers[noted as usize].store(number, Ordering::Relaxed);
        self.noted.store(noted + 1, Ordering::Release);
    }

    fn noted(&self) -> Vec<u64> {
        let noted = self.noted.load(Ordering::Acquire) as usize;
        let numbers = self.numbers[..noted].iter();
        numbers
            .map(|number| number.load(Ordering::Relaxed))
            .collect()
    }

    /// Records that one more of the victim's operations has returned.
    fn finish(&self) {
        self.done.fetch_add(1, Ordering::Release);
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::Acquire) as usize
    }
}

pub(crate) trait Judged<'m>: Copy {
    type Producer;
    type Consumer;

    /// Numbers that surely fit into an empty one.
    const ROOM: usize;

    /// Makes an empty one, where there may be one already.
    fn create(stage: &'m Stage) -> Self;
    fn claim_producer(self, me: NonZeroU64) -> Verdict<Self::Producer>;
    fn claim_consumer(self, me: NonZeroU64) -> Verdict<Self::Consumer>;
    /// Frees what `VICTIM` held.
    fn sweep(self);
    /// Pushes a number unless the ring is full.
    fn push(producer: &mut Self::Producer, number: u64) -> bool;
    /// Pops a number unless the ring is empty.
    fn pop(consumer: &mut Self::Consumer) -> Verdict<Option<u64>>;
}

/// What a check starts from: numbers that went through the ring before, and numbers in it.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub(crate) moved: u64,
    pub(crate) held: u64,
}

/// The memory of a check, and what it starts from.
pub(crate) struct Scene {
    area: SharedArea<Stage>,
    before: Before,
}

impl Scene {
    pub(crate) fn new(before: Before) -> Self {
        // SAFETY: atomics only, for which zero is valid.
        let area = unsafe { SharedArea::zeroed() }.expect("a page");
        Self { area, before }
    }

    pub(crate) fn prepare<'m, R: Judged<'m>>(&'m self) -> R {
        self.area.reset();
        let ring = R::create(&self.area);
        let mut producer = ring.claim_producer(OTHER).unwrap();
        let mut consumer = ring.claim_consumer(OTHER).unwrap();
        for number in 0..self.before.moved {
            assert!(R::push(&mut producer, number));
            assert_eq!(R::pop(&mut consumer), Ok(Some(number)));
        }
        for number in self.held() {
            assert!(R::push(&mut producer, number));
        }
        ring
    }

    pub(crate) fn held(&self) -> impl Iterator<Item = u64> {
        1..=self.before.held
    }

    /// Overwrites a word of the ring, to leave it as a death would.
    pub(crate) fn overwrite(&self, index: usize, word: u64) {
        self.area.words()[index].store(word, Ordering::Release);
    }

    pub(crate) fn word(&self, index: usize) -> u64 {
        self.area.words()[index].load(Ordering::Acquire)
    }

    /// The numbers that the victim has noted.
    pub(crate) fn noted(&self) -> Vec<u64> {
        self.area.noted()
    }

    /// Records that the victim has popped `number`.
    pub(crate) fn note(&self, number: u64) {
        self.area.note(number);
    }

    /// Kills a producer at each instruction of its claim, of `push` for one batch after another,
    /// and of its end.
    pub(crate) fn producer_dies<'m, R: Judged<'m>>(
        &'m self,
        name: &str,
        batches: &[&[u64]],
        push: impl Fn(&mut R::Producer, &[u64]),
    ) -> Report {
        let ring: R = self.prepare();
        let other = RefCell::new(None);
        Check::new(name)
            .setup(|()| {
                drop(other.take());
                self.prepare::<R>();
                other.replace(ring.claim_consumer(OTHER).ok());
            })
            .victim(|()| {
                let mut producer = ring.claim_producer(VICTIM).unwrap();
                for batch in batches {
                    push(&mut producer, batch);
                    self.area.finish();
                }
            })
            .survivor(|()| {
                let mut other = other.borrow_mut();
                let consumer = other.as_mut().ok_or("no consumer")?;
                let found = pop_all::<R>(consumer)?;
                let after = |count: usize| {
                    let pushed = batches.iter().take(count).copied().flatten().copied();
                    self.held().chain(pushed).collect::<Vec<_>>()
                };
                let done = self.area.done();
                if found != after(done) && found != after(done + 1) {
                    return Err(format!("after {done} operations there are {found:?}"));
                }
                ring.sweep();
                go_around::<R>(&mut ring.claim_producer(SUCCESSOR)?, consumer)
            })
            .run(&())
            .expect("the check runs")
    }

    /// Kills a consumer at each instruction of its claim, of `pop` for one count after another, and
    /// of its end. `pop` notes what it popped.
    pub(crate) fn consumer_dies<'m, R: Judged<'m>>(
        &'m self,
        name: &str,
        counts: &[usize],
        pop: impl Fn(&mut R::Consumer, usize),
    ) -> Report {
        let ring: R = self.prepare();
        let other = RefCell::new(None);
        Check::new(name)
            .setup(|()| {
                drop(other.take());
                self.prepare::<R>();
                other.replace(ring.claim_producer(OTHER).ok());
            })
            .victim(|()| {
                let mut consumer = ring.claim_consumer(VICTIM).unwrap();
                for count in counts {
                    pop(&mut consumer, *count);
                    self.area.finish();
                }
            })
            .survivor(|()| {
                let mut other = other.borrow_mut();
                let producer = other.as_mut().ok_or("no producer")?;
                let pushed = push_all::<R>(producer, 100);
                ring.sweep();
                let mut successor = ring.claim_consumer(SUCCESSOR)?;
                let found = pop_all::<R>(&mut successor)?;
                let (done, noted) = (self.area.done(), self.area.noted());
                let popped = |count: usize| counts.iter().take(count).sum::<usize>();
                let after = |count: usize| {
                    let left = self.held().skip(popped(count));
                    left.chain(pushed.iter().copied()).collect::<Vec<_>>()
                };
                if found != after(done) && found != after(done + 1) {
                    return Err(format!("after {done} operations there are {found:?}"));
                }
                let whole = self.held().take(noted.len()).eq(noted.iter().copied());
                if !whole || noted.len() < popped(done) || found.len() < R::ROOM {
                    return Err(format!("popped {noted:?}, then {found:?}"));
                }
                go_around::<R>(producer, &mut successor)
            })
            .run(&())
            .expect("the check runs")
    }

    /// Kills a sweeper at each instruction, of a ring whose sides are both dead.
    pub(crate) fn sweeper_dies<'m, R: Judged<'m>>(&'m self, name: &str) -> Report {
        let ring: R = self.prepare();
        Check::new(name)
            .setup(|()| {
                self.prepare::<R>();
                std::mem::forget(ring.claim_producer(VICTIM));
                std::mem::forget(ring.claim_consumer(VICTIM));
            })
            .victim(|()| {
                ring.sweep();
                self.area.finish();
            })
            .survivor(|()| {
                if self.area.done() == 0 {
                    ring.sweep();
                }
                let mut producer = ring.claim_producer(SUCCESSOR)?;
                let mut consumer = ring.claim_consumer(SUCCESSOR)?;
                ring.sweep();
                if ring.claim_producer(OTHER).is_ok() || ring.claim_consumer(OTHER).is_ok() {
                    return Err("a sweep freed the role of the living".into());
                }
                let found = pop_all::<R>(&mut consumer)?;
                if !self.held().eq(found.iter().copied()) {
                    return Err(format!("there are {found:?}"));
                }
                go_around::<R>(&mut producer, &mut consumer)
            })
            .run(&())
            .expect("the check runs")
    }
}

fn pop_all<'m, R: Judged<'m>>(consumer: &mut R::Consumer) -> Verdict<Vec<u64>> {
    std::iter::from_fn(|| R::pop(consumer).transpose()).collect()
}

/// Pushes numbers from `first` on until the ring is full.
fn push_all<'m, R: Judged<'m>>(producer: &mut R::Producer, first: u64) -> Vec<u64> {
    (first..)
        .take_while(|number| R::push(producer, *number))
        .collect()
}

/// Fills and empties the ring until it has gone around.
pub(crate) fn go_around<'m, R: Judged<'m>>(
    producer: &mut R::Producer,
    consumer: &mut R::Consumer,
) -> Verdict {
    for first in [130, 160, 190] {
        let pushed = push_all::<R>(producer, first);
        let popped = pop_all::<R>(consumer)?;
        if pushed != popped || pushed.len() < R::ROOM {
            return Err(format!(
                "successors pushed {pushed:?} and popped {popped:?}"
            ));
        }
    }
    Ok(())
}
