//! Several processes at one queue, some of which are killed.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use killcheck::{SharedArea, Storm, storm};
use mp_queue::{GetError, Plain, PutError, Queue, Wait};
use mp_testkit::Watchdog;

const LIMIT: Duration = Duration::from_secs(300);

/// A message of which every word tells whether the others belong to it.
fn message(producer: u64, number: u64) -> [u64; 6] {
    [
        producer,
        number,
        !number,
        number ^ producer,
        number.rotate_left(17),
        producer + number,
    ]
}

fn parts(message: [u64; 6]) -> Result<(usize, u64), String> {
    let [producer, number, ..] = message;
    if message == self::message(producer, number) {
        Ok((producer as usize, number))
    } else {
        Err(format!("torn: {message:x?}"))
    }
}

const PLACES: usize = 4;

/// Numbers of one place: each is put once at most, whoever fills the place by then.
const EACH: usize = 1 << 20;

/// Longer than the recheck of who waits for a lock: an operation that is refused for the lock after
/// so long failed.
const PATIENT: Duration = Duration::from_secs(2);

/// What became of one number's put.
const RETURNED: u8 = 1;
const REFUSED: u8 = 2;

/// What the processes of one place note outside the queue.
struct Place {
    /// The last number that one of them began to put.
    begun: AtomicU64,
    /// What it saw of the put; 0 if it was killed before it could note that.
    put: [AtomicU8; EACH],
    /// 1 for each number that was got.
    got: [AtomicU8; EACH],
    /// The latest process, and how many there were.
    process: AtomicU32,
    processes: AtomicU64,
}

struct Notes {
    places: [Place; PLACES],
    torn: AtomicU64,
    twice: AtomicU64,
}

struct Scene {
    queue: Queue<[u64; 6], Plain>,
    notes: SharedArea<Notes>,
}

impl Scene {
    fn new(queue: Queue<[u64; 6], Plain>) -> Self {
        // SAFETY: atomics only, for which zero is valid.
        let notes = unsafe { SharedArea::zeroed() }.expect("memory");
        Self {
            queue: queue.with_wait(Wait::Sleep),
            notes,
        }
    }

    /// Puts the place's next number.
    fn produce(&self, place: usize) {
        let notes = &self.notes.places[place];
        let number = notes.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(put) = notes.put.get(number as usize) else {
            notes.begun.store(EACH as u64 - 1, Ordering::Relaxed);
            return;
        };
        let message = message(place as u64, number);
        match self.queue.put_timeout(message, PATIENT) {
            Ok(()) => put.store(RETURNED, Ordering::Relaxed),
            Err(PutError::Full(_)) => put.store(REFUSED, Ordering::Relaxed),
            Err(error) => panic!("place {place}, {number}: {error}"),
        }
    }

    /// Gets a message and notes it; false if there is none.
    fn consume(&self, timeout: Duration) -> bool {
        match self.queue.get_timeout(timeout).map(parts) {
            Ok(Ok((place, number))) => {
                self.note_got(place, number);
                true
            }
            Ok(Err(_torn)) => {
                self.notes.torn.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(GetError::Empty) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn note_got(&self, place: usize, number: u64) {
        let got = &self.notes.places[place].got[number as usize];
        if got.swap(1, Ordering::Relaxed) != 0 {
            self.notes.twice.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the processes of a place.
    fn count_process(&self, place: usize) {
        let notes = &self.notes.places[place];
        let me = std::process::id();
        if notes.process.swap(me, Ordering::Relaxed) != me {
            notes.processes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many messages were got.
    fn got(&self) -> usize {
        let got = self.notes.places.iter().flat_map(|place| &place.got);
        got.filter(|got| got.load(Ordering::Relaxed) == 1).count()
    }

    /// Nothing torn, nothing twice, nothing that was refused; how many that were put were not got.
    fn missing(&self) -> Result<u64, String> {
        let [torn, twice] = [&self.notes.torn, &self.notes.twice];
        let bad = [torn, twice].map(|count| count.load(Ordering::Relaxed));
        if bad != [0, 0] {
            let [torn, twice] = bad;
            return Err(format!("{torn} torn, {twice} came a second time"));
        }
        let mut missing = 0;
        for (place, notes) in self.notes.places.iter().enumerate() {
            for (number, (put, got)) in notes.put.iter().zip(&notes.got).enumerate() {
                match (put.load(Ordering::Relaxed), got.load(Ordering::Relaxed)) {
                    (RETURNED, 0) => missing += 1,
                    (REFUSED, 1) => return Err(format!("place {place}: {number} was refused")),
                    _ => {}
                }
            }
        }
        Ok(missing)
    }
}

#[test]
fn killed_producers_lose_nothing_they_have_put() {
    let _watchdog = Watchdog::new(LIMIT);
    let scene = Scene::new(Queue::plain().expect("a queue"));
    storm("producers")
        .processes(PLACES)
        .worker(Scene::produce)
        .invariant(|scene| {
            let mut last = [0; PLACES];
            loop {
                let (place, number) = match scene.queue.try_get().map(parts) {
                    Ok(parts) => parts?,
                    Err(GetError::Empty) => break,
                    Err(error) => return Err(error.to_string()),
                };
                if number <= last[place] {
                    return Err(format!("place {place}: {number} after {}", last[place]));
                }
                last[place] = number;
                scene.note_got(place, number);
            }
            match scene.missing()? {
                0 => Ok(()),
                missing => Err(format!("{missing} were put and did not come")),
            }
        })
        .duration(Duration::from_secs(2))
        .limit(Duration::from_secs(60))
        .assert_safe(&scene);
}

#[test]
fn killed_consumers_take_no_more_than_what_they_had_got() {
    let _watchdog = Watchdog::new(LIMIT);
    let scene = Scene::new(Queue::plain().expect("a queue"));
    storm("consumers")
        .processes(PLACES)
        .setup(|scene: &Scene| {
            for place in 0..PLACES {
                let put = &scene.notes.places[place].put[..EACH / 8];
                put.iter()
                    .for_each(|put| put.store(RETURNED, Ordering::Relaxed));
                let numbers = 0..put.len() as u64;
                let all: Vec<_> = numbers.map(|n| message(place as u64, n)).collect();
                scene.queue.put_many(&all).expect("room");
            }
        })
        .worker(|scene, place| {
            scene.count_process(place);
            scene.consume(PATIENT);
        })
        .invariant(drain_and_judge)
        .duration(Duration::from_secs(2))
        .limit(Duration::from_secs(60))
        .assert_safe(&scene);
}

/// Gets the rest. Each process that was killed may have had one message in hand.
fn drain_and_judge(scene: &Scene) -> Result<(), String> {
    while scene.consume(Duration::ZERO) {}
    let counts = scene.notes.places.iter().map(|place| &place.processes);
    let consumers: u64 = counts.map(|count| count.load(Ordering::Relaxed)).sum();
    match scene.missing()? {
        missing if missing <= consumers => Ok(()),
        missing => Err(format!("{missing} missing, of {consumers} consumers")),
    }
}

fn two_produce_and_two_consume(messages: usize) -> Storm<'static, Scene> {
    storm(format!("2 producers, 2 consumers, {messages} messages"))
        .processes(PLACES)
        .worker(|scene: &Scene, place| {
            if place < 2 {
                scene.produce(place);
            } else {
                scene.count_process(place);
                scene.consume(PATIENT);
            }
        })
        .invariant(drain_and_judge)
        .limit(Duration::from_secs(60))
}

#[test]
fn two_producers_and_two_consumers_go_on_while_any_of_them_is_killed() {
    const BOUND: usize = 8;
    let _watchdog = Watchdog::new(LIMIT);
    let scene = Scene::new(Queue::plain_bounded(BOUND).expect("a queue"));
    two_produce_and_two_consume(BOUND)
        .duration(Duration::from_secs(3))
        .assert_safe(&scene);
    for (place, notes) in scene.notes.places.iter().enumerate().take(2) {
        let begun = notes.begun.load(Ordering::Relaxed);
        assert!(begun > 100, "producer {place} went on: {begun}");
    }
}

/// Its room is a few times what its messages take: blocks that the dead leaked would be missed.
#[test]
#[ignore = "as long as a soak"]
fn a_thousand_kills_over_two_million_messages_lose_tear_and_leak_nothing() {
    const KILLS: u64 = 1000;
    const MESSAGES: usize = 2_000_000;
    const BOUND: usize = 1000;
    const ROOM: usize = 256 << 10;
    let _watchdog = Watchdog::new(10 * LIMIT);
    let (mut kills, mut messages) = (0, 0);
    while kills < KILLS || messages < MESSAGES {
        let queue = Queue::builder().bounded(BOUND).room(ROOM).create();
        let scene = Scene::new(queue.expect("a queue"));
        let report = two_produce_and_two_consume(BOUND)
            .duration(LIMIT)
            .max_kills(KILLS / 4)
            .assert_safe(&scene);
        kills += report.kills();
        messages += scene.got();
    }
    println!("{kills} kills over {messages} messages");
}
