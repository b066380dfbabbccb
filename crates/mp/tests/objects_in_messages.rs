//! Shared objects in messages between processes.

use mp::{
    Array, Connection, Error, ErrorKind, Event, Lock, Process, Queue, Result, SharedMemory, Value,
};
use mp_testkit::{PATIENCE, UniqueName, Watchdog};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Job {
    Fill {
        numbers: Array<f64>,
        memory: Vec<(SharedMemory, u8)>,
        answer: Queue<Answer>,
    },
    Stop,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    total: Value<i64>,
    lock: Lock,
}

fn work(jobs: Queue<Job>) -> Result<()> {
    while let Job::Fill {
        numbers,
        memory,
        answer,
    } = jobs.get()?
    {
        numbers.set(7, 1.5)?;
        for (memory, byte) in &memory {
            memory.write(0, &[*byte])?;
        }
        // Made here, and this process may be gone before they are got.
        answer.put(Answer {
            total: Value::new(42)?,
            lock: Lock::new()?,
        })?;
    }
    Ok(())
}

#[test]
fn a_worker_gets_its_objects_and_its_answers_queue_in_messages() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let jobs = Queue::new()?;
    let mut worker = Process::new(work, (jobs.clone(),));
    worker.start()?;
    let numbers = Array::<f64>::new(100)?;
    let memory = [SharedMemory::new(8)?, SharedMemory::new(8)?];
    for memory in &memory {
        SharedMemory::unlink(memory.name())?;
    }
    let answers = Queue::new()?;
    for _ in 0..2 {
        jobs.put(Job::Fill {
            numbers: numbers.clone(),
            memory: memory.iter().cloned().zip([3, 4]).collect(),
            answer: answers.clone(),
        })?;
    }
    jobs.put(Job::Stop)?;
    worker.join()?;
    assert_eq!(worker.exitcode(), Some(0));
    for _ in 0..2 {
        let Answer { total, lock } = answers.get()?;
        *total.lock()? += 1;
        assert_eq!(total.get(), 43);
        drop(lock.lock()?);
    }
    assert_eq!(numbers.get(7)?, 1.5);
    let first = memory
        .each_ref()
        .map(|memory| memory.cells::<u8>().map(|cells| cells.get(0)));
    assert_eq!(first.map(|byte| byte.ok()), [Some(3), Some(4)]);
    Ok(())
}

#[test]
fn a_sender_is_killed_before_its_message_is_got() -> Result<()> {
    fn put_and_stay(queue: Queue<(u64, Value<u64>)>, put: Event) -> Result<()> {
        queue.put((1, Value::new(7)?))?;
        put.set();
        loop {
            std::thread::park();
        }
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (queue, put) = (Queue::new()?, Event::new()?);
    let mut sender = Process::new(put_and_stay, (queue.clone(), put.clone()));
    sender.start()?;
    put.wait();
    sender.kill()?;
    sender.join()?;
    let (number, value) = queue.get()?;
    assert_eq!((number, value.get()), (1, 7));
    Ok(())
}

#[test]
fn a_named_queue_finds_named_objects_in_another_process() -> Result<()> {
    fn add(queue: String) -> Result<()> {
        let queue: Queue<(Value<i64>, SharedMemory)> = Queue::open(&queue)?;
        let (value, memory) = queue.get()?;
        *value.lock()? += i64::from(memory.cells::<u8>()?.get(0));
        Ok(())
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let names = ["queue", "value", "memory"].map(UniqueName::new);
    let queue: Queue<(Value<i64>, SharedMemory)> = Queue::create_named(&names[0])?;
    let value = Value::create_named(&names[1], 1_i64)?;
    let memory = SharedMemory::create(&names[2], 1)?;
    memory.write(0, &[5])?;
    queue.put((value.clone(), memory.clone()))?;
    mp::spawn(add, (names[0].to_string(),))?.result()??;
    assert_eq!(value.get(), 6);
    let error: Error = queue
        .put((Value::new(1)?, memory))
        .expect_err("no name")
        .into();
    assert_eq!(error.kind(), ErrorKind::Encode);
    Ok(())
}

#[test]
fn a_pipe_carries_objects_both_ways() -> Result<()> {
    fn answer(pipe: Connection<Value<i64>, (String, Array<i64>)>) -> Result<()> {
        let (_, numbers) = pipe.recv()?;
        let sum = numbers.lock()?.iter().sum();
        pipe.send(Value::new(sum)?)?;
        Ok(())
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (parent, child) = mp::pipe()?;
    let mut process = Process::new(answer, (child,));
    process.start()?;
    parent.send(("sum".to_owned(), Array::from_slice(&[1, 2, 3])?))?;
    process.join()?;
    assert_eq!(parent.recv()?.get(), 6);
    assert!(parent.recv().is_err(), "closed");
    Ok(())
}
