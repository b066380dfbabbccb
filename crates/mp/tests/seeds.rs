//! The programs of tutorials on Python's `multiprocessing`, with the outcomes that they show.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use mp::process::{Run, Status};
use mp::value::Scalar;
use mp::{
    AnyArray, AnyValue, Array, Event, Lock, Process, Queue, RawValue, Result, SharedMemory, Value,
    current_process, parent_process,
};
use mp_testkit::{UniqueName, Watchdog};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(30))
}

/// What all of them returned, in their order.
fn results<R: Serialize + DeserializeOwned + 'static>(workers: &[Process<R>]) -> Result<Vec<R>> {
    workers.iter().map(Process::result).collect()
}

#[test]
fn every_worker_has_ended_after_its_join() -> Result<()> {
    fn worker(name: String) -> String {
        format!("{name} is done")
    }
    let _watchdog = watchdog();
    let mut workers = Vec::new();
    for number in 1..=5 {
        let mut worker = Process::new(worker, (format!("process-{number}"),));
        worker.start()?;
        workers.push(worker);
    }
    for worker in &workers {
        worker.join()?;
        assert!(!worker.is_alive());
    }
    assert_eq!(results(&workers)?[4], "process-5 is done");
    Ok(())
}

#[test]
fn messages_stay_after_their_producer_has_ended() -> Result<()> {
    fn worker(queue: Queue<i32>) -> Result<()> {
        for number in 0..5 {
            queue.put(number)?;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let queue = Queue::new()?;
    let producer = mp::spawn(worker, (queue.clone(),))?;
    producer.join()?;

    let mut got = Vec::new();
    while !queue.is_empty() {
        got.push(queue.get()?);
    }
    assert_eq!(got, [0, 1, 2, 3, 4]);
    Ok(())
}

#[test]
fn a_float_set_by_a_child_is_seen_by_its_parent() -> Result<()> {
    let _watchdog = watchdog();
    let number = Value::new(0.0)?;
    let worker = mp::spawn(|number: Value<f64>| number.set(3.25), (number.clone(),))?;
    worker.result()??;
    assert_eq!(number.get(), 3.25);
    Ok(())
}

#[test]
fn an_array_is_made_of_a_range_and_filled_in_place() -> Result<()> {
    fn worker(array: Array<i32>) -> Result<()> {
        for index in 0..array.len() {
            array.set(index, index as i32 + 1)?;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let array = Array::from_iter(0..5)?;
    mp::spawn(worker, (array.clone(),))?.result()??;
    assert_eq!(array.to_vec()?, [1, 2, 3, 4, 5]);
    Ok(())
}

#[test]
fn an_array_of_a_length_is_filled_from_a_start() -> Result<()> {
    fn fill(array: Array<i32>, start: i32) -> Result<()> {
        for (element, value) in array.lock()?.iter_mut().zip(start..) {
            *element = value;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let array = Array::new(10)?;
    mp::spawn(fill, (array.clone(), 100))?.result()??;
    assert_eq!(array.to_vec()?, Vec::from_iter(100..110));
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct MyProcess {
    greeting: String,
}

impl Run for MyProcess {
    type Output = String;

    fn run(self) -> String {
        format!("{} from {}", self.greeting, current_process().name())
    }
}

#[test]
fn a_type_with_a_run_method_is_a_process() -> Result<()> {
    let _watchdog = watchdog();
    let mut workers = Vec::new();
    for number in 0..3 {
        let process = MyProcess {
            greeting: "hello".to_owned(),
        };
        let mut worker = Process::from_run(process).name(format!("Worker-{number}"));
        worker.start()?;
        workers.push(worker);
    }
    let said = results(&workers)?;
    assert_eq!(
        said,
        [
            "hello from Worker-0",
            "hello from Worker-1",
            "hello from Worker-2"
        ]
    );
    Ok(())
}

#[test]
fn a_closure_without_captures_is_a_task() -> Result<()> {
    let _watchdog = watchdog();
    let mut process = Process::new(|| "hello".to_owned(), ());
    process.start()?;
    assert_eq!(process.result()?, "hello");
    Ok(())
}

#[test]
fn none_from_the_parent_ends_the_consumer() -> Result<()> {
    fn producer(queue: Queue<Option<i32>>) -> Result<()> {
        for number in 0..5 {
            queue.put(Some(number))?;
        }
        Ok(())
    }
    fn consumer(queue: Queue<Option<i32>>) -> Result<Vec<i32>> {
        let mut consumed = Vec::new();
        while let Some(item) = queue.get()? {
            consumed.push(item);
        }
        Ok(consumed)
    }
    let _watchdog = watchdog();
    let queue = Queue::new()?;
    let producer = mp::spawn(producer, (queue.clone(),))?;
    let consumer = mp::spawn(consumer, (queue.clone(),))?;
    producer.join()?;
    queue.put(None)?;
    assert_eq!(consumer.result()??, [0, 1, 2, 3, 4]);
    Ok(())
}

#[test]
fn closing_the_queue_ends_the_consumer_without_a_sentinel() -> Result<()> {
    fn producer(queue: Queue<String>, items: Vec<String>) -> Result<()> {
        for item in items {
            queue.put(item)?;
        }
        queue.close()
    }
    fn consumer(queue: Queue<String>) -> Result<Vec<String>> {
        Ok(queue.iter().collect::<std::result::Result<_, _>>()?)
    }
    let _watchdog = watchdog();
    let queue = Queue::new()?;
    let consumer = mp::spawn(consumer, (queue.clone(),))?;
    let items = vec!["Hello".to_owned(), "World".to_owned(), "Done".to_owned()];
    let producer = mp::spawn(producer, (queue, items.clone()))?;
    producer.result()??;
    assert_eq!(consumer.result()??, items);
    Ok(())
}

#[test]
fn a_lock_makes_the_racy_increment_exact() -> Result<()> {
    const TIMES: i32 = 2000;
    fn count(racy: RawValue<i32>, exact: Value<i32>, lock: Lock) -> Result<()> {
        for _ in 0..TIMES {
            racy.set(racy.get() + 1);
        }
        let _guard = lock.lock()?;
        for _ in 0..TIMES {
            exact.set(exact.get() + 1)?;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let (racy, exact, lock) = (RawValue::new(0)?, Value::new(0)?, Lock::new()?);
    let mut workers = Vec::new();
    for _ in 0..10 {
        workers.push(mp::spawn(
            count,
            (racy.clone(), exact.clone(), lock.clone()),
        )?);
    }
    for ended in results(&workers)? {
        ended?;
    }
    assert_eq!(exact.get(), 10 * TIMES);
    assert!((TIMES..=10 * TIMES).contains(&racy.get()), "{}", racy.get());
    Ok(())
}

#[test]
fn increments_under_the_values_own_lock_are_exact() -> Result<()> {
    fn with_get_lock(counter: Value<i32>) -> Result<()> {
        for _ in 0..5000 {
            let _lock = counter.get_lock()?;
            counter.set(counter.get() + 1)?;
        }
        Ok(())
    }
    fn with_guard(counter: Value<i32>) -> Result<()> {
        for _ in 0..5000 {
            *counter.lock()? += 1;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let counter = Value::new(0)?;
    let workers = [
        mp::spawn(with_get_lock, (counter.clone(),))?,
        mp::spawn(with_guard, (counter.clone(),))?,
        mp::spawn(with_get_lock, (counter.clone(),))?,
        mp::spawn(with_guard, (counter.clone(),))?,
    ];
    for ended in results(&workers)? {
        ended?;
    }
    assert_eq!(counter.get(), 20_000);
    Ok(())
}

#[test]
fn an_array_is_incremented_by_all_under_its_lock() -> Result<()> {
    fn increment(array: Array<f64>) -> Result<()> {
        for _ in 0..100 {
            let _lock = array.get_lock()?;
            for index in 0..array.len() {
                array.set(index, array.get(index)? + 1.0)?;
            }
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let array = Array::from_slice(&[0.0, 1.0, 2.0])?;
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(mp::spawn(increment, (array.clone(),))?);
    }
    for ended in results(&workers)? {
        ended?;
    }
    assert_eq!(array.to_vec()?, [400.0, 401.0, 402.0]);
    Ok(())
}

#[test]
fn an_error_that_a_task_handles_is_no_failure() -> Result<()> {
    fn task() -> String {
        match "An error occurred!".parse::<i32>() {
            Ok(number) => number.to_string(),
            Err(error) => format!("exception in process: {error}"),
        }
    }
    let _watchdog = watchdog();
    let process = mp::spawn(task, ())?;
    assert_eq!(
        process.result()?,
        "exception in process: invalid digit found in string"
    );
    assert_eq!(process.exitcode(), Some(0));
    Ok(())
}

/// A forked child in Python begins with a copy of 2.
#[test]
fn a_global_is_each_processs_own() -> Result<()> {
    static GLOBAL: AtomicI32 = AtomicI32::new(1);
    let _watchdog = watchdog();
    GLOBAL.store(2, Ordering::Relaxed);
    let process = mp::spawn(|| GLOBAL.fetch_add(5, Ordering::Relaxed), ())?;
    assert_eq!(process.result()?, 1);
    assert_eq!(GLOBAL.load(Ordering::Relaxed), 2);
    Ok(())
}

#[test]
fn an_argument_is_a_copy_and_an_array_is_not() -> Result<()> {
    fn change(mut copy: Vec<i32>, shared: Array<i32>) -> Result<Vec<i32>> {
        copy[0] = 42;
        shared.set(0, 42)?;
        Ok(copy)
    }
    let _watchdog = watchdog();
    let (ours, shared) = (vec![1, 2], Array::from_slice(&[1, 2])?);
    let changed = mp::spawn(change, (ours.clone(), shared.clone()))?.result()??;
    assert_eq!((changed, ours), (vec![42, 2], vec![1, 2]));
    assert_eq!(shared.to_vec()?, [42, 2]);
    Ok(())
}

/// In Python the parent is not told.
#[test]
fn a_panic_in_a_task_reaches_the_parent() -> Result<()> {
    fn task(divisor: i32) -> i32 {
        1 / divisor
    }
    let _watchdog = watchdog();
    let process = mp::spawn(task, (0,))?;
    let error = process.result().expect_err("it divides by zero");
    assert_eq!(error.kind(), mp::ErrorKind::Panicked);
    assert!(error.to_string().contains("divide by zero"), "{error}");
    assert_eq!(process.exitcode(), Some(1));
    assert!(matches!(process.status(), Status::Panicked(_)));
    Ok(())
}

#[test]
fn each_process_has_its_own_pid_and_the_parents_as_parent() -> Result<()> {
    fn worker() -> (u32, u32) {
        (
            current_process().pid(),
            parent_process().map_or(0, |parent| parent.pid()),
        )
    }
    let _watchdog = watchdog();
    let workers = [
        mp::spawn(worker, ())?,
        mp::spawn(worker, ())?,
        mp::spawn(worker, ())?,
    ];
    let pids = results(&workers)?;
    assert!(pids.iter().all(|(_, parent)| *parent == std::process::id()));
    assert_eq!(
        pids.iter()
            .map(|(own, _)| own)
            .collect::<BTreeSet<_>>()
            .len(),
        3
    );
    Ok(())
}

#[test]
fn a_process_knows_its_name_and_is_alive_from_start_to_join() -> Result<()> {
    fn task(go_on: Event) -> (String, bool) {
        go_on.wait();
        (
            current_process().name().to_owned(),
            current_process().is_alive(),
        )
    }
    let _watchdog = watchdog();
    let go_on = Event::new()?;
    let mut process = Process::new(task, (go_on.clone(),)).name("MyWorker");
    assert!(!process.is_alive());
    assert_eq!((process.pid(), process.exitcode()), (None, None));
    process.start()?;
    assert!(process.is_alive());
    assert_eq!(process.exitcode(), None);
    go_on.set();
    process.join()?;
    assert!(!process.is_alive());
    assert_eq!(process.exitcode(), Some(0));
    assert_eq!(process.result()?, ("MyWorker".to_owned(), true));
    Ok(())
}

/// `[42, None, 'hello']`
#[test]
fn a_message_may_be_of_several_types() -> Result<()> {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    enum Item {
        Number(i64),
        None,
        Text(String),
    }
    fn task(queue: Queue<Vec<Item>>) -> Result<()> {
        queue.put(vec![
            Item::Number(42),
            Item::None,
            Item::Text("hello".to_owned()),
        ])?;
        Ok(())
    }
    let _watchdog = watchdog();
    let queue = Queue::new()?;
    let process = mp::spawn(task, (queue.clone(),))?;
    assert_eq!(
        queue.get()?,
        [Item::Number(42), Item::None, Item::Text("hello".to_owned())]
    );
    process.join()
}

#[test]
fn lines_written_under_a_lock_stay_whole() -> Result<()> {
    fn print(lock: Lock, file: PathBuf, number: u32) -> Result<bool> {
        let _guard = lock.lock()?;
        let written = (|| {
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(file)?;
            for word in ["hello ", "world ", &number.to_string(), "\n"] {
                file.write_all(word.as_bytes())?;
            }
            std::io::Result::Ok(())
        })();
        Ok(written.is_ok())
    }
    let _watchdog = watchdog();
    let lock = Lock::new()?;
    let name = UniqueName::new("seed-lines");
    let mut workers = Vec::new();
    for number in 0..10 {
        workers.push(mp::spawn(print, (lock.clone(), name.path(), number))?);
    }
    for written in results(&workers)? {
        assert!(written?);
    }
    let text = std::fs::read_to_string(name.path()).expect("the workers wrote it");
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        Vec::from_iter((0..10).map(|number| format!("hello world {number}")))
    );
    Ok(())
}

#[test]
fn all_waiters_go_on_when_the_event_is_set() -> Result<()> {
    fn waiter(event: Event, ready: Queue<u32>, number: u32) -> Result<()> {
        ready.put(number)?;
        event.wait();
        assert!(event.is_set());
        Ok(())
    }
    let _watchdog = watchdog();
    let (event, ready) = (Event::new()?, Queue::new()?);
    let mut waiters = Vec::new();
    for number in 0..3 {
        waiters.push(mp::spawn(waiter, (event.clone(), ready.clone(), number))?);
    }
    for _ in &waiters {
        ready.get()?;
    }
    assert!(waiters.iter().all(Process::is_alive), "none goes on before");
    let setter = mp::spawn(|event: Event| event.set(), (event,))?;
    for ended in results(&waiters)? {
        ended?;
    }
    setter.join()
}

#[test]
fn producers_and_consumers_stop_at_an_event() -> Result<()> {
    fn producer(queue: Queue<(u32, u32)>, stop: Event, id: u32) -> Result<u32> {
        let mut produced = 0;
        while !stop.is_set() {
            if queue
                .put_timeout((id, produced), Duration::from_millis(20))
                .is_ok()
            {
                produced += 1;
            }
        }
        Ok(produced)
    }
    fn consumer(queue: Queue<(u32, u32)>, stop: Event, seen: Event) -> Result<u32> {
        let mut consumed = 0;
        while !stop.is_set() || !queue.is_empty() {
            if queue.get_timeout(Duration::from_millis(20)).is_ok() {
                consumed += 1;
            }
            if consumed == 100 {
                seen.set();
            }
        }
        Ok(consumed)
    }
    let _watchdog = watchdog();
    let (queue, stop) = (Queue::bounded(10)?, Event::new()?);
    let seen = Event::new()?;
    let mut producers = Vec::new();
    for id in 0..2 {
        producers.push(mp::spawn(producer, (queue.clone(), stop.clone(), id))?);
    }
    let mut consumers = Vec::new();
    for _ in 0..3 {
        consumers.push(mp::spawn(
            consumer,
            (queue.clone(), stop.clone(), seen.clone()),
        )?);
    }
    seen.wait();
    stop.set();
    let produced = results(&producers)?.into_iter().sum::<Result<u32>>()?;
    let consumed = results(&consumers)?.into_iter().sum::<Result<u32>>()?;
    // A producer's last message may come after every consumer has looked.
    assert_eq!(produced, consumed + queue.len() as u32);
    Ok(())
}

#[test]
fn type_codes_are_the_types_of_the_table() -> Result<()> {
    let _watchdog = watchdog();
    for (code, size) in [('b', 1), ('B', 1), ('i', 4), ('I', 4)] {
        let value = AnyValue::from_code(code, 7)?;
        assert_eq!(
            (value.code().item_size(), value.get()?),
            (size, Scalar::Int(7)),
            "{code}"
        );
    }
    for (code, size) in [('f', 4), ('d', 8)] {
        let array = AnyArray::from_code(code, [0.5, 1.5])?;
        assert_eq!(
            (array.code().item_size(), array.get(1)?),
            (size, Scalar::Float(1.5)),
            "{code}"
        );
    }
    let counter = AnyValue::from_code('i', 0)?;
    mp::spawn(|counter: AnyValue| counter.set(40_000), (counter.clone(),))?.result()??;
    assert_eq!(counter.typed::<i32>()?.get(), 40_000);
    Ok(())
}

#[test]
fn shared_memory_is_opened_by_its_name_in_another_process() -> Result<()> {
    fn worker(name: String) -> Result<()> {
        let existing = SharedMemory::open(&name)?;
        existing.cells::<f64>()?.set(0, 42.0);
        existing.close();
        Ok(())
    }
    let _watchdog = watchdog();
    let name = UniqueName::new("seed-memory");
    let memory = SharedMemory::create(&name, 1000)?;
    mp::spawn(worker, (name.to_string(),))?.result()??;
    let grid = memory.cells::<f64>()?;
    assert_eq!((memory.len(), grid.get(0), grid.get(99)), (1000, 42.0, 0.0));
    memory.close();
    SharedMemory::unlink(&name)?;
    assert!(SharedMemory::open(&name).is_err());
    Ok(())
}
