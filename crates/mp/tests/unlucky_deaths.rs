//! Processes killed at random moments while they use what others use: the others finish, and
//! nothing is lost or torn.

use std::time::{Duration, Instant};

use mp::queue::GetError;
use mp::sync::LockError;
use mp::value::Claim;
use mp::{Array, ErrorKind, Event, Lock, Mutex, Process, Queue, RawArray, RawValue, Result, Value};
use mp_testkit::Watchdog;
use serde::Serialize;
use serde::de::DeserializeOwned;

const ROUNDS: u64 = 120;

fn watchdog() -> Watchdog {
    let usual = Duration::from_secs(60);
    Watchdog::new(usual.max(Duration::from_millis(200) * rounds() as u32))
}

fn rounds() -> u64 {
    std::env::var("MP_UNLUCKY_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"))
}

struct Random(u64);

impl Random {
    /// A generator whose seed is printed, which shows when the test fails.
    fn new() -> Self {
        let seed = std::env::var("MP_UNLUCKY_SEED").map_or_else(
            |_| Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 20,
            |seed| seed.parse().expect("a number"),
        );
        println!("MP_UNLUCKY_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    /// Kills the process when it has begun and a random while is over; one time in eight as soon as
    /// it exists.
    fn kill<R>(&mut self, process: &Process<R>, begun: &RawValue<u64>) -> Result<()> {
        let before = begun.get();
        let at_once = self.below(8) == 0;
        while !at_once && begun.get() == before && process.is_alive() {
            std::thread::yield_now();
        }
        let moment = Instant::now() + Duration::from_nanos(self.below(500_000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        process.kill()?;
        process.join()
    }
}

/// Runs two survivors until as many victims as there are rounds have been killed; what the
/// survivors returned.
fn outlive<V, S: Serialize + DeserializeOwned + 'static>(
    victim: impl Fn() -> Result<Process<V>>,
    survivor: impl Fn() -> Result<Process<S>>,
    begun: &RawValue<u64>,
    stop: &Event,
) -> Result<Vec<S>> {
    let mut random = Random::new();
    let survivors = [survivor()?, survivor()?];
    for _ in 0..rounds() {
        random.kill(&victim()?, begun)?;
    }
    stop.set();
    survivors.iter().map(Process::result).collect()
}

#[test]
fn a_value_is_whole_whoever_died_in_it() -> Result<()> {
    type Four = [u64; 4];
    fn count(value: Value<Four>, begun: RawValue<u64>, stop: Event) -> Result<u64> {
        let mut times = 0;
        while !stop.is_set() {
            let mut guard = value.lock()?;
            for number in &mut *guard {
                *number += 1;
            }
            drop(guard);
            let [first, .., last] = value.get();
            assert_eq!(first, last);
            value.update(|four| four.map(|number| number + 1))?;
            times += 2;
            begun.fetch_add(1);
        }
        Ok(times)
    }
    let _watchdog = watchdog();
    let (value, begun, stop) = (Value::new([0; 4])?, RawValue::new(0)?, Event::new()?);
    let start = || mp::spawn(count, (value.clone(), begun.clone(), stop.clone()));
    let times: Vec<_> = outlive(start, start, &begun, &stop)?;
    let least = times.into_iter().sum::<Result<u64>>()?;
    let four = value.get();
    assert_eq!(four, [four[0]; 4]);
    assert!(four[0] >= least, "{four:?} {least}");
    Ok(())
}

#[test]
fn a_lock_excludes_whoever_died_with_it() -> Result<()> {
    fn enter(lock: Lock, inside: RawValue<u64>, begun: RawValue<u64>, stop: Event) -> Result<u64> {
        let own = u64::from(std::process::id());
        let mut died = 0;
        while !stop.is_set() {
            let guard = lock.lock();
            died += u64::from(matches!(guard, Err(LockError::OwnerDied(_))));
            let _guard = guard.or_else(LockError::into_guard)?;
            inside.set(own);
            begun.fetch_add(1);
            for _ in 0..100 {
                assert_eq!(inside.get(), own, "somebody else is inside");
            }
        }
        Ok(died)
    }
    let _watchdog = watchdog();
    let (lock, inside) = (Lock::new()?, RawValue::new(0)?);
    let (begun, stop) = (RawValue::new(0)?, Event::new()?);
    let start = || {
        mp::spawn(
            enter,
            (lock.clone(), inside.clone(), begun.clone(), stop.clone()),
        )
    };
    let died: Vec<_> = outlive(start, start, &begun, &stop)?;
    assert!(
        died.into_iter().sum::<Result<u64>>()? > 0,
        "no victim had the lock"
    );
    Ok(())
}

#[test]
fn every_chunk_is_done_though_its_owners_were_killed() -> Result<()> {
    const CHUNKS: usize = 400;
    /// Fills each chunk with its number plus one, from its start on.
    fn fill(array: Array<u32>, next: RawValue<u64>, begun: RawValue<u64>) -> Result<()> {
        let chunks = array.chunks(25)?;
        loop {
            let number = next.fetch_add(1) as usize;
            if number >= chunks.count() {
                return Ok(());
            }
            if let Claim::Claimed(mut chunk) = chunks.claim(number)? {
                begun.fetch_add(1);
                for element in &mut *chunk {
                    *element = number as u32 + 1;
                    for _ in 0..50 {
                        std::hint::spin_loop();
                    }
                }
            }
        }
    }
    let _watchdog = watchdog();
    let mut random = Random::new();
    let (mut abandoned, mut round) = (0, 0);
    // Most victims die in a chunk, so a hundred that do not are no chance.
    while round < rounds() / 8 || abandoned == 0 {
        assert!(round < rounds() / 8 + 100, "no victim died in a chunk");
        round += 1;
        let (array, next) = (Array::<u32>::new(CHUNKS * 25)?, RawValue::new(0)?);
        let begun = RawValue::new(0)?;
        let start = || mp::spawn(fill, (array.clone(), next.clone(), begun.clone()));
        let survivor = start()?;
        for _ in 0..3 {
            random.kill(&start()?, &begun)?;
        }
        survivor.result()??;
        // What was counted out and never claimed is zero; what was claimed and not finished is
        // told.
        let chunks = array.chunks(25)?;
        abandoned += chunks.sweep()?.len();
        for number in 0..CHUNKS {
            let mut chunk = chunks.claim(number)?.claimed().expect("nobody has it");
            chunk.fill(number as u32 + 1);
        }
        let expected = (0..CHUNKS * 25).map(|index| index as u32 / 25 + 1);
        assert!(array.to_vec()?.into_iter().eq(expected));
    }
    Ok(())
}

#[test]
fn whoever_claims_a_dead_owners_chunk_is_told() -> Result<()> {
    fn die_with_it(array: Array<u32>, ready: Event) -> Result<()> {
        let mut chunk = array
            .chunks(10)?
            .claim(3)?
            .claimed()
            .expect("nobody has it");
        chunk[0] = 9;
        ready.set();
        loop {
            std::thread::park();
        }
    }
    let _watchdog = watchdog();
    let (array, ready) = (Array::<u32>::new(100)?, Event::new()?);
    let process = mp::spawn(die_with_it, (array.clone(), ready.clone()))?;
    ready.wait();
    let chunks = array.chunks(10)?;
    assert!(matches!(chunks.claim(3)?, Claim::Taken(owner) if Some(owner.pid()) == process.pid()));
    process.kill()?;
    process.join()?;
    let chunk = chunks.claim(3)?.claimed().expect("its owner is dead");
    assert_eq!(chunk.abandoned_by().map(|owner| owner.pid()), process.pid());
    assert_eq!(chunk[0], 9);
    Ok(())
}

/// A message that shows when it is torn: its producer, its number, and a text that follows from
/// both.
type Message = (u64, u64, String);

fn message(producer: u64, number: u64) -> Message {
    let length = (number * 37 % 300) as usize;
    (
        producer,
        number,
        format!("{producer}.{number} ").repeat(length),
    )
}

fn produce(queue: Queue<Message>, put: RawArray<u64>, id: u64, begun: RawValue<u64>) -> Result<()> {
    for number in 0.. {
        queue.put(message(id, number))?;
        put.set(id as usize, number + 1);
        begun.fetch_add(1);
    }
    Ok(())
}

/// What `put` returned for is got once, whole and in order; one more may have been on its way.
fn assert_nothing_lost(bound: Option<usize>) -> Result<()> {
    let _watchdog = watchdog();
    let queue = match bound {
        Some(messages) => Queue::bounded(messages)?,
        None => Queue::new()?,
    };
    let (put, begun) = (RawArray::new(rounds() as usize)?, RawValue::new(0)?);
    let consumer = {
        let (queue, producers) = (queue.clone(), rounds() as usize);
        std::thread::spawn(move || {
            let mut got = vec![0; producers];
            for next in &queue {
                let (producer, number, text) = next?;
                assert_eq!(got[producer as usize], number, "of {producer}");
                assert_eq!(text, message(producer, number).2);
                got[producer as usize] += 1;
            }
            Ok::<_, mp::Error>(got)
        })
    };
    let mut random = Random::new();
    let start = |id| mp::spawn(produce, (queue.clone(), put.clone(), id, begun.clone()));
    let mut previous = start(0)?;
    for id in 1..rounds() {
        let process = start(id)?;
        random.kill(&previous, &begun)?;
        previous = process;
    }
    random.kill(&previous, &begun)?;
    queue.close()?;
    let got = consumer.join().expect("nothing is torn")?;
    for (got, put) in got.into_iter().zip(put.to_vec()) {
        assert!(
            (put..=put + 1).contains(&got),
            "{put} were put, {got} were got"
        );
    }
    Ok(())
}

#[test]
fn killed_producers_lose_and_tear_no_message() -> Result<()> {
    assert_nothing_lost(None)
}

#[test]
fn killed_producers_of_a_full_queue_lose_and_tear_no_message() -> Result<()> {
    assert_nothing_lost(Some(4))
}

#[test]
fn killed_consumers_take_at_most_one_message_each() -> Result<()> {
    const END: u64 = u64::MAX;
    fn consume(queue: Queue<Message>, seen: RawArray<u64>, begun: RawValue<u64>) -> Result<u64> {
        let mut got = 0;
        loop {
            let (producer, number, text) = queue.get()?;
            if producer == END {
                return Ok(got);
            }
            assert_eq!(text, message(producer, number).2);
            assert_eq!(seen.get(number as usize), 0, "got twice");
            seen.set(number as usize, 1);
            begun.fetch_add(1);
            got += 1;
        }
    }
    let _watchdog = watchdog();
    let (queue, begun) = (Queue::bounded(50)?, RawValue::new(0)?);
    let seen = RawArray::new(4_000_000)?;
    let stop = Event::new()?;
    let start = || mp::spawn(consume, (queue.clone(), seen.clone(), begun.clone()));
    let producer = {
        let (queue, stop) = (queue.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut put = 0;
            while !stop.is_set() && put < 4_000_000 {
                queue.put(message(0, put))?;
                put += 1;
            }
            for _ in 0..2 {
                queue.put((END, 0, String::new()))?;
            }
            Ok::<_, mp::Error>(put)
        })
    };
    let survivors: Vec<_> = outlive(start, start, &begun, &stop)?;
    let put = producer.join().expect("no panic")?;
    assert!(survivors.into_iter().sum::<Result<u64>>()? > 0);
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    let got: u64 = seen.iter().sum();
    assert!(
        put - got <= rounds(),
        "{put} were put, {got} were got, {} died",
        rounds()
    );
    Ok(())
}

#[test]
fn waiters_are_woken_though_others_were_killed_beside_them() -> Result<()> {
    fn wait(event: Event, begun: RawValue<u64>) {
        begun.fetch_add(1);
        event.wait();
    }
    fn set_and_clear(event: Event, begun: RawValue<u64>) {
        loop {
            event.set();
            event.clear();
            begun.fetch_add(1);
        }
    }
    let _watchdog = watchdog();
    let mut random = Random::new();
    for _ in 0..rounds() / 4 {
        let (event, begun) = (Event::new()?, RawValue::new(0)?);
        let waiters = [(); 3].map(|()| mp::spawn(wait, (event.clone(), begun.clone())));
        let setter = mp::spawn(set_and_clear, (event.clone(), begun.clone()))?;
        random.kill(&setter, &begun)?;
        let [first, second, third] = waiters;
        let first = first?;
        first.kill()?;
        first.join()?;
        event.set();
        second?.result()?;
        third?.result()?;
    }
    Ok(())
}

#[test]
fn exit_and_the_end_of_a_thread_are_deaths_of_an_owner() -> Result<()> {
    fn exit(lock: Lock, pair: Mutex<u64>, value: Value<u64>, array: Array<u64>) -> Result<()> {
        let _lock = lock.lock()?;
        let mut pair = pair.lock()?;
        *pair = 5;
        let mut value = value.lock()?;
        *value = 5;
        let mut array = array.lock()?;
        array[0] = 5;
        std::process::exit(3)
    }
    fn leak_in_a_thread(
        lock: Lock,
        pair: Mutex<u64>,
        value: Value<u64>,
        array: Array<u64>,
    ) -> Result<()> {
        let thread = std::thread::spawn(move || {
            std::mem::forget(lock.lock().map_err(mp::Error::from)?);
            std::mem::forget(pair.lock().map_err(mp::Error::from)?);
            std::mem::forget(value.lock()?);
            std::mem::forget(array.lock().map_err(mp::Error::from)?);
            Ok::<_, mp::Error>(())
        });
        thread.join().expect("no panic")
    }
    let _watchdog = watchdog();
    for leaks in [false, true] {
        let (lock, mutex) = (Lock::new()?, Mutex::new(1)?);
        let (value, array) = (Value::new(1)?, Array::<u64>::new(3)?);
        let arguments = (lock.clone(), mutex.clone(), value.clone(), array.clone());
        let process = if leaks {
            mp::spawn(leak_in_a_thread, arguments)?
        } else {
            mp::spawn(exit, arguments)?
        };
        process.join()?;
        assert_eq!(process.exitcode(), Some(if leaks { 0 } else { 3 }));
        assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
        drop(lock.lock()?);
        assert!(matches!(mutex.lock(), Err(LockError::OwnerDied(_))));
        match mutex.lock() {
            Err(LockError::OwnerDied(mut guard)) => guard.recover(),
            other => panic!("it is told until somebody recovers it: {other:?}"),
        }
        drop(mutex.lock()?);
        assert_eq!(
            *value.lock()?,
            1,
            "a guard that was not dropped changes nothing"
        );
        assert!(matches!(array.lock(), Err(LockError::OwnerDied(_))));
        let error = array
            .chunks(1)?
            .claim(0)
            .map(drop)
            .expect_err("it may be torn");
        assert_eq!(error.kind(), ErrorKind::OwnerDied);
        match array.lock() {
            Err(LockError::OwnerDied(mut guard)) => guard.recover(),
            other => panic!("it is told until somebody recovers it: {other:?}"),
        }
        drop(array.lock()?);
    }
    Ok(())
}

#[test]
fn a_timeout_names_the_process_that_holds_the_lock() -> Result<()> {
    fn hold(lock: Lock, ready: Event) -> Result<()> {
        let _guard = lock.lock()?;
        ready.set();
        loop {
            std::thread::park();
        }
    }
    let _watchdog = watchdog();
    let (lock, ready) = (Lock::new()?, Event::new()?);
    let process = mp::spawn(hold, (lock.clone(), ready.clone()))?;
    ready.wait();
    let error = lock
        .lock_timeout(Duration::from_millis(5))
        .map(drop)
        .expect_err("it is held");
    let LockError::Timeout(holder) = &error else {
        panic!("{error}")
    };
    assert_eq!(holder.pid(), process.pid());
    let pid = process.pid().map_or(String::new(), |pid| pid.to_string());
    assert!(error.to_string().contains(&pid), "{error}");
    process.kill()?;
    // The waiter does not need the process to be waited for.
    assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
    process.join()
}
#[test]
fn a_mutex_tells_of_every_torn_change() -> Result<()> {
    /// How often it was recovered.
    fn count(pair: Mutex<[u64; 2]>, begun: RawValue<u64>, stop: Event) -> Result<u64> {
        let mut recovered = 0;
        while !stop.is_set() {
            let mut guard = match pair.lock() {
                Err(LockError::OwnerDied(mut guard)) => {
                    guard[1] = guard[0];
                    guard.recover();
                    recovered += 1;
                    guard
                }
                guard => guard?,
            };
            assert_eq!(guard[0], guard[1], "torn, and nobody said so");
            guard[0] += 1;
            begun.fetch_add(1);
            for _ in 0..100 {
                std::hint::spin_loop();
            }
            guard[1] += 1;
        }
        Ok(recovered)
    }
    let _watchdog = watchdog();
    let (pair, begun, stop) = (Mutex::new([0; 2])?, RawValue::new(0)?, Event::new()?);
    let start = || mp::spawn(count, (pair.clone(), begun.clone(), stop.clone()));
    let recovered: Vec<_> = outlive(start, start, &begun, &stop)?;
    let recovered = recovered.into_iter().sum::<Result<u64>>()?;
    assert!(recovered > 0, "no victim had the lock");
    drop(pair.lock().or_else(LockError::into_guard)?);
    Ok(())
}

#[test]
fn a_locked_array_tells_of_every_torn_change() -> Result<()> {
    fn count(array: Array<u64>, begun: RawValue<u64>, stop: Event) -> Result<u64> {
        let mut recovered = 0;
        while !stop.is_set() {
            let mut guard = match array.lock() {
                Err(LockError::OwnerDied(mut guard)) => {
                    let first = guard[0];
                    guard.fill(first);
                    guard.recover();
                    recovered += 1;
                    guard
                }
                guard => guard?,
            };
            let first = guard[0];
            assert!(
                guard.iter().all(|element| *element == first),
                "torn, and nobody said so"
            );
            for element in &mut *guard {
                *element += 1;
            }
            begun.fetch_add(1);
        }
        Ok(recovered)
    }
    let _watchdog = watchdog();
    let (array, begun, stop) = (Array::new(50)?, RawValue::new(0)?, Event::new()?);
    let start = || mp::spawn(count, (array.clone(), begun.clone(), stop.clone()));
    let recovered: Vec<_> = outlive(start, start, &begun, &stop)?;
    assert!(
        recovered.into_iter().sum::<Result<u64>>()? > 0,
        "no victim had the lock"
    );
    Ok(())
}
