//! No descriptor, child, or entry of `/dev/shm` is left of anything that was done. Alone here: what
//! is left is the whole process's.

use std::time::Duration;

use mp::sync::LockError;
use mp::{
    Array, Connection, ErrorKind, Event, Lock, Mutex, Process, Queue, RawArray, RawValue, Result,
    SharedMemory, Value, pipe,
};
use mp_testkit::{LeakCheck, UniqueName, Watchdog};

fn work(queue: Queue<String>, hits: Value<u64>, array: Array<f64>) -> Result<Queue<u32>> {
    queue.put("a message".to_owned())?;
    hits.fetch_add(1)?;
    array.lock()?.fill(1.0);
    let made = Queue::new()?;
    made.put(4)?;
    Ok(made)
}

fn die_with_everything(
    lock: Lock,
    mutex: Mutex<u64>,
    array: Array<f64>,
    ready: Event,
) -> Result<()> {
    let _lock = lock.lock()?;
    let _mutex = mutex.lock()?;
    let _chunk = array.chunks(2)?.claim(0)?;
    let _own = (Queue::<u64>::new()?, Value::new(1)?);
    drop(mp::spawn(|event: Event| event.wait(), (Event::new()?,))?);
    ready.set();
    loop {
        std::thread::park();
    }
}

fn answer(end: Connection<String, u32>) -> Result<()> {
    Ok(end.send(end.recv()?.to_string())?)
}

fn use_everything() -> Result<()> {
    let (ours, theirs) = pipe()?;
    ours.send(4)?;
    mp::spawn(answer, (theirs,))?.join()?;
    assert_eq!(ours.recv()?, "4");

    let (queue, hits, array) = (Queue::new()?, Value::new(0)?, Array::new(10)?);
    let (lock, mutex, ready) = (Lock::new()?, Mutex::new(0)?, Event::new()?);

    let process = mp::spawn(work, (queue.clone(), hits.clone(), array.clone()))?;
    assert_eq!(process.result()??.get()?, 4);
    drop(mp::spawn(
        work,
        (queue.clone(), hits.clone(), array.clone()),
    )?);
    assert!(
        mp::spawn(|| -> u8 { panic!("on purpose") }, ())?
            .result()
            .is_err()
    );
    assert!(
        mp::spawn(|| -> u8 { std::process::exit(3) }, ())?
            .result()
            .is_err()
    );
    assert!(
        Process::new(|| (), ())
            .current_dir("/nowhere")
            .start()
            .is_err()
    );
    drop(Process::new(work, (queue.clone(), hits, array.clone())));
    mp::spawn(|text: String| text, ("x".repeat(1 << 20),))?.result()?;

    let arguments = (lock.clone(), mutex.clone(), array.clone(), ready.clone());
    let process = mp::spawn(die_with_everything, arguments)?;
    ready.wait();
    process.kill()?;
    process.join()?;
    assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
    assert!(matches!(mutex.lock(), Err(LockError::OwnerDied(_))));
    assert_eq!(array.chunks(2)?.sweep()?.len(), 1);

    for message in 0..100 {
        queue.put("long ".repeat(message * 1000))?;
    }
    queue.close()
}

/// Names are the user's to remove; nothing else stays under other names.
fn use_names() -> Result<()> {
    let name = UniqueName::new("leaves");
    drop(Value::create_named(&name, 1)?);
    assert!(Value::create_named(&name, 1).is_err());
    assert!(Queue::<u8>::open_or_create(&name).is_err());
    Value::<i32>::unlink(&name)?;
    drop(Queue::<u8>::create_named(&name)?);
    Queue::<u8>::unlink(&name)?;
    drop(RawValue::open_or_create(&name, 1)?);
    RawValue::<i32>::unlink(&name)?;
    drop(RawArray::<u8>::open_or_create(&name, 100)?);
    RawArray::<u8>::unlink(&name)?;
    drop(SharedMemory::create(&name, 100)?);
    SharedMemory::unlink(&name)?;
    let error = SharedMemory::create(&name, 1 << 50)
        .map(drop)
        .expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::NotEnoughMemory);
    Ok(())
}

#[test]
fn nothing_is_left() -> Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    // What the process keeps from its first start on.
    mp::spawn(|| (), ())?.result()?;
    let check = LeakCheck::start();
    for _ in 0..5 {
        use_everything()?;
        use_names()?;
    }
    // A child whose handle was dropped is waited for by whoever looks.
    for child in mp::active_children() {
        child.join()?;
    }
    check.assert_clean();
    Ok(())
}
