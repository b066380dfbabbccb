//! The operations of [`MpmcRing`].

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use killcheck::{Check, SharedArea};
use mp_layout::Region;
use mp_ring::{MpmcProducer, MpmcRing, PopError, PushError};

use crate::broken::Vyukov;
use crate::judge::{Before, Judged, Scene, Stage, VICTIM, Value, Verdict, number, value};
use crate::{CONTROL, assert_safe, region};

const CAPACITY: usize = 6;
const SEATS: usize = 4;

impl<'m> Judged<'m> for MpmcRing<'m, Value> {
    type Producer = MpmcProducer<'m, Value>;
    type Consumer = Self;
    const ROOM: usize = CAPACITY;

    fn create(stage: &'m Stage) -> Self {
        // SAFETY: the stage's words are only used as this ring, and by no other process while it is
        // made.
        unsafe { MpmcRing::create(region(stage), CAPACITY, SEATS) }.unwrap()
    }

    fn claim_producer(self, me: NonZeroU64) -> Verdict<Self::Producer> {
        MpmcRing::claim_producer(self, me).map_err(|error| error.to_string())
    }

    fn claim_consumer(self, _: NonZeroU64) -> Verdict<Self> {
        Ok(self)
    }

    fn sweep(self) {
        // SAFETY: the victim is dead whenever there is a sweep.
        unsafe { MpmcRing::sweep(&self, |owner| owner == VICTIM) };
    }

    fn push(producer: &mut Self::Producer, number: u64) -> bool {
        producer.push(value(number)).is_ok()
    }

    fn pop(ring: &mut Self) -> Verdict<Option<u64>> {
        match MpmcRing::pop(ring) {
            Ok(value) => number(value).map(Some),
            Err(PopError::Empty) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Of 6 cells, the last is the one after the next.
const NEAR_THE_END: Before = Before { moved: 2, held: 2 };

#[test]
fn push_until_full() {
    let push = |producer: &mut MpmcProducer<'_, Value>, batch: &[u64]| match batch {
        [number] => producer.push(value(*number)).unwrap(),
        _ => assert_eq!(producer.push(value(9)), Err(PushError::Full(value(9)))),
    };
    let scene = Scene::new(NEAR_THE_END);
    let batches = [&[10][..], &[11], &[12], &[13], &[]];
    let name = "MpmcRing: push until full";
    assert_safe(&scene.producer_dies::<MpmcRing<_>>(name, &batches, push));
}

#[test]
fn pop_until_empty() {
    let scene = Scene::new(Before { moved: 4, held: 5 });
    let pop = |ring: &mut MpmcRing<'_, Value>, count| match count {
        0 => assert_eq!(MpmcRing::pop(ring), Err(PopError::Empty)),
        _ => scene.note(number(MpmcRing::pop(ring).unwrap()).unwrap()),
    };
    let (name, counts) = ("MpmcRing: pop until empty", [1, 1, 1, 1, 1, 0]);
    assert_safe(&scene.consumer_dies::<MpmcRing<_>>(name, &counts, pop));
}

#[test]
fn control_that_a_dead_consumer_blocks_is_caught() {
    let scene = Scene::new(CONTROL);
    let pop = |ring: &mut Vyukov<'_>, _| {
        if let Ok(Some(number)) = Vyukov::pop(ring) {
            scene.note(number);
        }
    };
    let report = scene.consumer_dies::<Vyukov<'_>>("after Vyukov: pop", &[1], pop);
    println!("{report}");
    report.assert_caught();
}

/// Pops all there are.
fn drain(mut ring: MpmcRing<'_, Value>) -> Verdict<Vec<u64>> {
    std::iter::from_fn(|| <MpmcRing<'_, _> as Judged>::pop(&mut ring).transpose()).collect()
}

/// Pushes numbers from `first` on until the ring is full.
fn fill(producer: &MpmcProducer<'_, Value>, first: u64) -> Vec<u64> {
    let numbers = first..;
    numbers
        .take_while(|number| producer.push(value(*number)).is_ok())
        .collect()
}

const OTHER: NonZeroU64 = NonZeroU64::new(5).unwrap();

/// After the death of a producer the others push and pop for the rest of a lap, before any sweep.
#[test]
fn others_go_on_before_a_sweep() {
    let scene = Scene::new(NEAR_THE_END);
    let ring: MpmcRing<'_, Value> = scene.prepare();
    let other = RefCell::new(None);
    let report = Check::new("MpmcRing: push, and others go on")
        .setup(|()| {
            drop(other.take());
            scene.prepare::<MpmcRing<'_, Value>>();
            other.replace(ring.claim_producer(OTHER).ok());
        })
        .victim(|()| {
            let producer = ring.claim_producer(VICTIM).unwrap();
            producer.push(value(10)).unwrap();
        })
        .survivor(|()| {
            let other = other.borrow();
            let producer = other.as_ref().ok_or("no producer")?;
            for number in [20, 21] {
                producer
                    .push(value(number))
                    .map_err(|error| error.to_string())?;
            }
            let found = drain(ring)?;
            if found != [1, 2, 20, 21] && found != [1, 2, 10, 20, 21] {
                return Err(format!("there are {found:?}"));
            }
            let pushed = fill(producer, 30);
            if drain(ring)? != pushed || pushed.len() < CAPACITY - 3 {
                return Err(format!("pushed {pushed:?}"));
            }
            if pushed.len() < CAPACITY && ring.unfinished() != Some(VICTIM) {
                return Err(format!("unfinished: {:?}", ring.unfinished()));
            }
            ring.sweep();
            let pushed = fill(producer, 40);
            if drain(ring)? != pushed || pushed.len() != CAPACITY {
                return Err(format!("pushed {pushed:?} after the sweep"));
            }
            Ok(())
        })
        .run(&())
        .expect("the check runs");
    assert_safe(&report);
}

/// A sweeper dies, too: of a producer that died with a cell claimed.
#[test]
fn sweep() {
    let scene = Scene::new(NEAR_THE_END);
    let ring: MpmcRing<'_, Value> = scene.prepare();
    let report = Check::new("MpmcRing: sweep")
        .setup(|()| {
            let ring: MpmcRing<'_, Value> = scene.prepare();
            let dead = ring.claim_producer(VICTIM).unwrap();
            dead.push(value(10)).unwrap();
            std::mem::forget(dead);
            // as the push leaves it before its last store: position 4, claimed by seat 0
            scene.overwrite(CELLS + 4 * 4, 1 << 62 | 4);
        })
        .victim(|()| ring.sweep())
        .survivor(|()| {
            let producer = ring
                .claim_producer(OTHER)
                .map_err(|error| error.to_string())?;
            producer
                .push(value(20))
                .map_err(|error| error.to_string())?;
            ring.sweep();
            let found = drain(ring)?;
            if found != [1, 2, 20] {
                return Err(format!("there are {found:?}"));
            }
            let seats: Vec<_> = (0..)
                .map_while(|_| ring.claim_producer(OTHER).ok())
                .collect();
            let pushed = fill(&producer, 30);
            if drain(ring)? != pushed || (pushed.len(), seats.len()) != (CAPACITY, SEATS - 1) {
                return Err(format!("pushed {pushed:?}, {} seats", seats.len()));
            }
            Ok(())
        })
        .run(&())
        .expect("the check runs");
    assert_safe(&report);
}

/// The word at which the cells of the stage's ring start.
const CELLS: usize = 512 / 8;

const PLACES: usize = 4;

/// Kills of a storm. Its time, which only a machine that is very busy takes, ends it with fewer.
const KILLS: usize = 120;
const TIME: Duration = Duration::from_secs(4);

/// Numbers that one process pushes: more than it has time for before it is killed, as a rule; else
/// it only pops then. So each of its successors has numbers, however fast the machine is.
const LIFE: usize = 1 << 15;

/// Numbers that one place pushes, each once at most.
const EACH: usize = (KILLS + 1) * LIFE;

/// What became of a number.
const RETURNED: u8 = 1;
const REFUSED: u8 = 2;
const POPPED: u8 = 4;

/// What the processes of one place note outside the ring.
#[repr(C)]
struct Place {
    /// The next number, and where those of this process end.
    begun: AtomicU64,
    end: AtomicU64,
    /// 1 from before a pop until what it popped is noted.
    popping: AtomicU64,
    /// Pops that a kill cut short.
    cut: AtomicU64,
    process: AtomicU64,
    notes: [AtomicU8; EACH],
}

#[repr(C, align(128))]
struct Storm {
    ring: [AtomicU64; 96],
    places: [Place; PLACES],
    bad: AtomicU64,
}

fn storm_region(storm: &Storm) -> Region<'_> {
    let words = std::ptr::NonNull::from(&storm.ring);
    // SAFETY: mapped for as long as the area is borrowed, and reached through this only.
    unsafe { Region::new(words.cast(), size_of_val(&storm.ring)) }
}

/// The identity of the calling process.
fn myself() -> NonZeroU64 {
    NonZeroU64::from(std::num::NonZeroU32::new(std::process::id()).unwrap())
}

/// Whether there is no such process; a zombie is still one.
fn is_gone(owner: NonZeroU64) -> bool {
    // SAFETY: signal 0 only asks.
    let asked = unsafe { libc::kill(owner.get() as i32, 0) };
    asked == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

fn storm_value(place: usize, number: u64) -> Value {
    [place as u64, number, !number ^ place as u64]
}

impl Storm {
    fn ring(&self) -> MpmcRing<'_, Value> {
        // SAFETY: the region is this ring since `storm_area`.
        unsafe { MpmcRing::attach(storm_region(self)) }.unwrap()
    }

    /// What a process does first: its place's last one may have died in a pop.
    fn begin(&self, place: usize) {
        let place = &self.places[place];
        let me = myself().get();
        if place.process.swap(me, Ordering::Relaxed) != me {
            let begun = place.begun.load(Ordering::Relaxed);
            place.end.store(begun + LIFE as u64, Ordering::Relaxed);
            // In this order: killed in between, it counts the pop twice, and does not forget it
            let cut = place.popping.load(Ordering::Relaxed);
            place.cut.fetch_add(cut, Ordering::Relaxed);
            place.popping.store(0, Ordering::Release);
        }
    }

    fn push(&self, place: usize) {
        let notes = &self.places[place];
        let number = notes.begun.load(Ordering::Relaxed);
        if number == notes.end.load(Ordering::Relaxed) {
            return;
        }
        let ring = self.ring();
        let Ok(producer) = ring.claim_producer(myself()) else {
            // SAFETY: no process of that number is left.
            unsafe { MpmcRing::sweep(&ring, is_gone) };
            return;
        };
        notes.begun.store(number + 1, Ordering::Release);
        let state = match producer.push(storm_value(place, number)) {
            Ok(()) => RETURNED,
            Err(PushError::Full(_)) => {
                // SAFETY: as above.
                unsafe { MpmcRing::sweep(&ring, is_gone) };
                REFUSED
            }
            Err(PushError::Corrupt(..)) => {
                self.bad.fetch_add(1, Ordering::Relaxed);
                REFUSED
            }
        };
        notes.notes[number as usize].fetch_or(state, Ordering::Release);
    }

    /// Notes one value; false if there is none.
    fn pop(&self) -> bool {
        match self.ring().pop() {
            Ok(value) => self.note(value),
            Err(PopError::Empty) => return false,
            Err(_) => _ = self.bad.fetch_add(1, Ordering::Relaxed),
        }
        true
    }

    fn note(&self, value: Value) {
        let [place, number, _] = value;
        let place = place as usize;
        let is_bad = match self.places.get(place) {
            Some(notes)
                if value == storm_value(place, number)
                    && number < notes.begun.load(Ordering::Acquire) =>
            {
                let before = notes.notes[number as usize].fetch_or(POPPED, Ordering::Relaxed);
                before & POPPED != 0
            }
            _ => true,
        };
        self.bad.fetch_add(u64::from(is_bad), Ordering::Relaxed);
    }

    fn push_and_pop(&self, place: usize) {
        self.begin(place);
        self.push(place);
        let popping = &self.places[place].popping;
        popping.store(1, Ordering::Relaxed);
        self.pop();
        popping.store(0, Ordering::Release);
    }

    /// Nothing is torn, invented or there twice, and no more is missing than pops that a kill cut
    /// short.
    fn judge(&self) -> Verdict {
        // SAFETY: all workers have ended.
        unsafe { MpmcRing::sweep(&self.ring(), |_| true) };
        while self.pop() {}
        let bad = self.bad.load(Ordering::Relaxed);
        let (mut missing, mut cut, mut invented, mut returned) = (0, 0, 0, 0);
        for place in &self.places {
            cut += place.cut.load(Ordering::Relaxed) + place.popping.load(Ordering::Relaxed);
            let begun = place.begun.load(Ordering::Relaxed) as usize;
            for note in &place.notes[..begun] {
                let note = note.load(Ordering::Relaxed);
                returned += u64::from(note & RETURNED != 0);
                missing += u64::from(note == RETURNED);
                invented += u64::from(note == REFUSED | POPPED);
            }
        }
        if bad == 0 && invented == 0 && missing <= cut && returned > 0 {
            Ok(())
        } else {
            Err(format!(
                "{bad} torn or twice, {invented} invented, {missing} missing of {returned}, of \
                 which {cut} may be"
            ))
        }
    }
}

fn storm_area() -> SharedArea<Storm> {
    // SAFETY: atomics only, for which zero is valid.
    let area: SharedArea<Storm> = unsafe { SharedArea::zeroed() }.expect("memory");
    // SAFETY: the words are only used as this ring, and by no other process yet.
    unsafe { MpmcRing::<Value>::create(storm_region(&area), CAPACITY, SEATS) }.unwrap();
    area
}

fn run(area: &Storm, name: &str, work: impl Fn(&Storm, usize)) {
    let report = killcheck::storm(name)
        .processes(PLACES)
        .worker(work)
        .max_kills(KILLS as u64)
        .duration(TIME)
        .assert_safe(area);
    assert!(report.kills() > 0);
}

/// Four processes push and pop, and are killed where it happens.
#[test]
fn storm_of_kills() {
    let area = storm_area();
    let name = "MpmcRing: four processes push and pop";
    run(&area, name, Storm::push_and_pop);
    assert_eq!(area.judge(), Ok(()));
}

/// Only producers are killed. A thread of the test pops: no value is missing, and none is forgiven.
#[test]
fn storm_of_kills_of_producers_loses_nothing() {
    let area = storm_area();
    let name = "MpmcRing: four processes push";
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            run(&area, name, |area, place| {
                area.begin(place);
                area.push(place);
            });
        });
        while !storm.is_finished() {
            if !area.pop() {
                std::thread::yield_now();
            }
        }
    });
    assert_eq!(area.judge(), Ok(()));
}
