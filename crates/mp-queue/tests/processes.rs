//! Several processes at one queue, some of which are killed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use killcheck::{SharedArea, storm};
use mp_queue::{Plain, Queue, Wait};
use mp_testkit::Watchdog;

const LIMIT: Duration = Duration::from_secs(120);

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
const MANY: usize = 1 << 20;

/// What the processes note outside the queue.
struct Notes {
    /// The last message of each place of which `put` has returned.
    put: [AtomicU64; PLACES],
    /// How often each message was got.
    got: [AtomicU32; MANY],
    torn: AtomicU64,
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

    fn produce(&self, place: usize) {
        let number = self.notes.put[place].load(Ordering::Relaxed) + 1;
        let put = self
            .queue
            .put_timeout(message(place as u64, number), Duration::from_millis(100));
        if put.is_ok() {
            self.notes.put[place].store(number, Ordering::Relaxed);
        }
    }
}

#[test]
fn killed_producers_lose_nothing_they_have_put() {
    let _watchdog = Watchdog::new(LIMIT);
    let scene = Scene::new(Queue::plain().expect("a queue"));
    let report = storm("producers")
        .processes(PLACES)
        .worker(|scene: &Scene, place| {
            // Not more than what is quickly looked through at the end.
            if scene.queue.len() < 500_000 {
                scene.produce(place);
            }
        })
        .invariant(|scene| {
            let mut last = [0; PLACES];
            while let Ok(message) = scene.queue.try_get() {
                let (place, number) = parts(message)?;
                // The successor of one that was killed before it could note its put puts the same once more.
                if number != last[place] && number != last[place] + 1 {
                    return Err(format!("place {place}: {number} after {}", last[place]));
                }
                last[place] = number;
            }
            for (place, last) in last.into_iter().enumerate() {
                let put = scene.notes.put[place].load(Ordering::Relaxed);
                if last < put {
                    return Err(format!("place {place}: {put} were put, {last} came"));
                }
            }
            Ok(())
        })
        .duration(Duration::from_secs(2))
        .limit(Duration::from_secs(20))
        .run(&scene)
        .expect("the storm runs");
    println!("{report}");
    report.assert_safe();
}

#[test]
fn killed_consumers_take_no_more_than_what_they_had_got() {
    let _watchdog = Watchdog::new(LIMIT);
    let scene = Scene::new(Queue::plain().expect("a queue"));
    let report = storm("consumers")
        .processes(PLACES)
        .setup(|scene: &Scene| {
            let all: Vec<_> = (0..MANY as u64).map(|number| message(9, number)).collect();
            scene.queue.put_many(&all).expect("room");
        })
        .worker(|scene, _| {
            if let Ok(message) = scene.queue.get_timeout(Duration::from_millis(1)) {
                note(&scene.notes, message);
            }
        })
        .invariant(|scene| {
            while let Ok(message) = scene.queue.try_get() {
                note(&scene.notes, message);
            }
            let often = scene
                .notes
                .got
                .iter()
                .filter(|got| got.load(Ordering::Relaxed) > 1);
            match (scene.notes.torn.load(Ordering::Relaxed), often.count()) {
                (0, 0) => Ok(()),
                (torn, often) => Err(format!("{torn} torn, {often} got more than once")),
            }
        })
        .duration(Duration::from_secs(2))
        .limit(Duration::from_secs(20))
        .run(&scene)
        .expect("the storm runs");
    println!("{report}");
    report.assert_safe();
    let missing = scene
        .notes
        .got
        .iter()
        .filter(|got| got.load(Ordering::Relaxed) == 0);
    assert!(
        missing.count() as u64 <= report.kills(),
        "a kill costs at most the message in hand"
    );
}

fn note(notes: &Notes, message: [u64; 6]) {
    match parts(message) {
        Ok((_, number)) => notes.got[number as usize % MANY].fetch_add(1, Ordering::Relaxed),
        Err(_) => notes.torn.fetch_add(1, Ordering::Relaxed) as u32,
    };
}

#[test]
fn two_producers_and_two_consumers_go_on_while_any_of_them_is_killed() {
    let _watchdog = Watchdog::new(LIMIT);
    let scene = Scene::new(Queue::plain_bounded(8).expect("a queue"));
    // Messages are numbered per place; each place's numbers are noted in its half.
    let report = storm("2 producers, 2 consumers, 8 messages")
        .processes(PLACES)
        .worker(|scene: &Scene, place| {
            if place < 2 {
                scene.produce(place);
            } else {
                if let Ok(message) = scene.queue.get_timeout(Duration::from_millis(100)) {
                    note_half(&scene.notes, message);
                }
            }
        })
        .invariant(|scene| {
            while let Ok(message) = scene.queue.try_get() {
                note_half(&scene.notes, message);
            }
            match scene.notes.torn.load(Ordering::Relaxed) {
                0 => Ok(()),
                torn => Err(format!("{torn} torn")),
            }
        })
        .duration(Duration::from_secs(3))
        .limit(Duration::from_secs(5))
        .run(&scene)
        .expect("the storm runs");
    println!("{report}");
    report.assert_safe();
    let mut missing = 0;
    for place in 0..2 {
        let put = scene.notes.put[place].load(Ordering::Relaxed);
        assert!(put > 100, "producer {place} went on: {put}");
        for number in 1..=put.min(HALF - 1) {
            let got = &scene.notes.got[place * HALF as usize + number as usize];
            missing += u64::from(got.load(Ordering::Relaxed) == 0);
        }
    }
    assert!(
        missing <= report.kills(),
        "{missing} missing after {} kills",
        report.kills()
    );
}

const HALF: u64 = MANY as u64 / 2;

fn note_half(notes: &Notes, message: [u64; 6]) {
    match parts(message) {
        Ok((place @ 0..2, number)) if number < HALF => {
            notes.got[place * HALF as usize + number as usize].fetch_add(1, Ordering::Relaxed)
        }
        Ok(_) => 0,
        Err(_) => notes.torn.fetch_add(1, Ordering::Relaxed) as u32,
    };
}
