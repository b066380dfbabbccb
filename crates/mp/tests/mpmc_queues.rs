//! The bounded queue without a lock as an argument, in a message, and when its users are killed.

use mp::{Error, Event, MpmcQueue, Process, Queue, Result};
use mp_testkit::{PATIENCE, Watchdog};

type Numbers = MpmcQueue<[u64; 2]>;

const EACH: u64 = 5_000;

fn put_all(numbers: Numbers, side: u64) -> Result<()> {
    for number in 0..EACH {
        numbers.put([side, number])?;
    }
    Ok(())
}

fn sum_all(numbers: Numbers, sums: Queue<(u64, u64)>) -> Result<()> {
    let (mut count, mut sum) = (0, 0);
    for value in numbers.iter() {
        count += 1;
        sum += value?[1];
    }
    sums.put((count, sum)).map_err(Error::from)
}

#[test]
fn processes_put_and_get_each_value_once() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE * 4);
    let (numbers, sums) = (Numbers::new(16)?, Queue::new()?);
    let mut consumers = Vec::new();
    for _ in 0..2 {
        let mut consumer = Process::new(sum_all, (numbers.clone(), sums.clone()));
        consumer.start()?;
        consumers.push(consumer);
    }
    let mut producers = Vec::new();
    for side in 0..2 {
        let mut producer = Process::new(put_all, (numbers.clone(), side));
        producer.start()?;
        producers.push(producer);
    }
    for producer in &producers {
        producer.join()?;
    }
    numbers.close();
    let (one, other) = (sums.get()?, sums.get()?);
    for consumer in &consumers {
        consumer.join()?;
    }
    assert_eq!(one.0 + other.0, 2 * EACH);
    assert_eq!(one.1 + other.1, EACH * (EACH - 1));
    Ok(())
}

/// Killed in the middle of its puts or gets, a process leaves a queue that goes on: what a producer
/// has put is there, in its order and once, and of a consumer's what it has not taken.
#[test]
fn killed_processes_leave_a_queue_that_goes_on() -> Result<()> {
    fn put_for_ever(numbers: Numbers, side: u64) -> Result<()> {
        (0..).try_for_each(|number| numbers.put([side, number]))?;
        Ok(())
    }
    fn get_for_ever(numbers: Numbers) -> Result<()> {
        numbers.iter().try_for_each(|value| value.map(drop))?;
        Ok(())
    }
    const MANY: u64 = 200;
    let _watchdog = Watchdog::new(PATIENCE * 4);
    let numbers = Numbers::new(4)?;
    for side in 0..5 {
        let mut producer = Process::new(put_for_ever, (numbers.clone(), side));
        producer.start()?;
        for number in 0..MANY {
            assert_eq!(numbers.get()?, [side, number]);
        }
        producer.kill()?;
        producer.join()?;
        for (number, value) in (MANY..).zip(rest_of(&numbers)) {
            assert_eq!(value, [side, number]);
        }
        let mut consumer = Process::new(get_for_ever, (numbers.clone(),));
        consumer.start()?;
        for number in 0..MANY {
            numbers.put([side, number])?;
        }
        consumer.kill()?;
        consumer.join()?;
        let left = rest_of(&numbers);
        let first = MANY - left.len() as u64;
        let newest: Vec<_> = (first..MANY).map(|number| [side, number]).collect();
        assert_eq!(left, newest);
    }
    for number in 0..4 {
        numbers.try_put([1, number])?;
    }
    for number in 0..4 {
        assert_eq!(numbers.get()?, [1, number]);
    }
    Ok(())
}

fn rest_of(numbers: &Numbers) -> Vec<[u64; 2]> {
    std::iter::from_fn(|| numbers.try_get().ok()).collect()
}

/// A process that is killed while it sleeps takes nothing with it, nor the wake-up of another.
#[test]
fn a_killed_sleeper_takes_no_value() -> Result<()> {
    fn announce_and_get(numbers: Numbers, ready: Event) -> Result<()> {
        ready.set();
        assert_eq!(numbers.get()?, [1, 2]);
        Ok(())
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let numbers = Numbers::new(2)?;
    let mut sleepers = Vec::new();
    for _ in 0..2 {
        let ready = Event::new()?;
        let mut sleeper = Process::new(announce_and_get, (numbers.clone(), ready.clone()));
        sleeper.start()?;
        ready.wait();
        let pid = sleeper.pid().expect("it was started");
        // Nothing else than the get puts it to sleep now.
        while !is_asleep(pid) {
            std::thread::yield_now();
        }
        sleepers.push(sleeper);
    }
    sleepers[0].kill()?;
    sleepers[0].join()?;
    numbers.put([1, 2])?;
    sleepers[1].join()?;
    assert_eq!(sleepers[1].exitcode(), Some(0));
    Ok(())
}

fn is_asleep(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a child");
    let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
    fields.trim_start().starts_with('S')
}

#[test]
fn a_handle_travels_in_a_message() -> Result<()> {
    fn answer(requests: Queue<(u64, Numbers)>) -> Result<()> {
        let (number, answers) = requests.get()?;
        answers.put([number, number * number]).map_err(Error::from)
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (requests, answers) = (Queue::new()?, Numbers::new(1)?);
    let mut worker = Process::new(answer, (requests.clone(),));
    worker.start()?;
    requests.put((12, answers.clone()))?;
    assert_eq!(answers.get()?, [12, 144]);
    worker.join()?;
    Ok(())
}
