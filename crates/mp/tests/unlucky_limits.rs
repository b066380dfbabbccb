//! Figures at their ends: capacities, timeouts, lengths, memory, descriptors, address space, locks
//! held.

use std::time::{Duration, Instant};

use mp::codec::{Bytes, Plain};
use mp::queue::{GetError, PutError};
use mp::sync::LockError;
use mp::{
    AnyArray, AnyValue, Array, Error, ErrorKind, Event, Lock, Mutex, Process, Queue, RawArray,
    RawValue, Result, SharedMemory, Value,
};
use mp_testkit::{UniqueName, Watchdog};

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

#[track_caller]
fn error_of<T>(result: Result<T>, kind: ErrorKind) -> Error {
    let error = result.map(drop).expect_err("it should be refused");
    assert_eq!(error.kind(), kind, "{error}");
    error
}

#[test]
fn a_queue_of_no_messages_is_refused() {
    let name = UniqueName::new("zero");
    error_of(Queue::<u8>::bounded(0), ErrorKind::InvalidInput);
    error_of(
        Queue::<u8, Plain>::plain_bounded(0),
        ErrorKind::InvalidInput,
    );
    error_of(Queue::bytes_bounded(0), ErrorKind::InvalidInput);
    let named = Queue::<u8>::builder().bounded(0).create_named(&name);
    let error = error_of(named, ErrorKind::InvalidInput);
    assert!(error.to_string().contains('0'), "{error}");
    assert!(!name.path().exists());
}

#[test]
fn a_queue_of_as_many_messages_as_there_are_numbers_works() -> Result<()> {
    for bound in [
        usize::MAX,
        usize::MAX - 1,
        u32::MAX as usize,
        u32::MAX as usize + 1,
    ] {
        let queue = Queue::bounded(bound)?;
        queue.put(1)?;
        assert!(!queue.is_full());
        assert_eq!((queue.len(), queue.get()?), (1, 1));
    }
    Ok(())
}

#[test]
fn a_queue_of_one_message_is_full_after_one() -> Result<()> {
    let queue = Queue::bounded(1)?;
    queue.put(1)?;
    assert!(matches!(queue.try_put(2), Err(PutError::Full(2))));
    assert_eq!(queue.get()?, 1);
    queue.put(3)?;
    assert_eq!((queue.capacity(), queue.len()), (Some(1), 1));
    Ok(())
}

#[test]
fn any_room_for_messages_is_refused_or_works() -> Result<()> {
    for room in [0, 1, 1 << 18, 32 << 30, 1 << 40, usize::MAX] {
        let queue = Queue::bytes_room(room);
        match queue {
            Ok(queue) => {
                queue.put(vec![1; 100])?;
                assert_eq!(queue.get()?, [1; 100]);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
        }
    }
    Ok(())
}

/// Names the type for the builder.
trait Room: Sized {
    fn bytes_room(room: usize) -> Result<Self>;
}

impl Room for Queue<Vec<u8>, Bytes> {
    fn bytes_room(room: usize) -> Result<Self> {
        Self::builder().room(room).create()
    }
}

#[test]
fn messages_of_no_bytes_are_messages() -> Result<()> {
    let unit = Queue::bounded(3)?;
    let bytes = Queue::bytes()?;
    for _ in 0..3 {
        unit.put(())?;
        bytes.put(Vec::new())?;
    }
    assert!(unit.is_full());
    unit.get()?;
    assert_eq!((unit.len(), bytes.len()), (2, 3));
    assert_eq!(bytes.get()?, []);
    Ok(())
}

#[test]
fn a_message_longer_than_the_queue_comes_back() -> Result<()> {
    let queue = Queue::<Vec<u8>, Bytes>::builder().room(1 << 18).create()?;
    let most = queue.max_message();
    queue.put(vec![3; most])?;
    assert_eq!(queue.get()?.len(), most);
    let error = queue.put(vec![3; most + 1]).expect_err("one byte too long");
    let text = error.to_string();
    assert!(
        text.contains(&most.to_string()) && text.contains(&(most + 1).to_string()),
        "{text}"
    );
    assert_eq!(error.into_inner().len(), most + 1);
    queue.put(vec![4; 10])?;
    assert_eq!(queue.get()?, [4; 10]);
    Ok(())
}

#[test]
fn a_timeout_of_zero_looks_once() -> Result<()> {
    let _watchdog = watchdog();
    let (queue, lock, event) = (Queue::bounded(1)?, Lock::new()?, Event::new()?);
    let (mutex, value) = (Mutex::new(1)?, Value::new(1)?);
    assert!(matches!(
        queue.get_timeout(Duration::ZERO),
        Err(GetError::Empty)
    ));
    queue.put_timeout(1, Duration::ZERO)?;
    assert!(matches!(
        queue.put_timeout(2, Duration::ZERO),
        Err(PutError::Full(2))
    ));
    assert_eq!(queue.get_timeout(Duration::ZERO)?, 1);

    assert!(!event.wait_timeout(Duration::ZERO));
    event.set();
    assert!(event.wait_timeout(Duration::ZERO));

    drop(lock.lock_timeout(Duration::ZERO)?);
    drop(mutex.lock_timeout(Duration::ZERO)?);
    drop(value.lock_timeout(Duration::ZERO)?);
    let _held = (lock.lock()?, mutex.lock()?, value.lock()?);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(matches!(
                lock.lock_timeout(Duration::ZERO),
                Err(LockError::Timeout(_))
            ));
            assert!(matches!(
                mutex.lock_timeout(Duration::ZERO),
                Err(LockError::Timeout(_))
            ));
            error_of(value.lock_timeout(Duration::ZERO), ErrorKind::TimedOut);
        });
    });

    let process = mp::spawn(|event: Event| event.wait(), (Event::new()?,))?;
    assert!(!process.join_timeout(Duration::ZERO)?);
    process.kill()?;
    process.join()?;
    assert!(process.join_timeout(Duration::ZERO)?);
    Ok(())
}

#[test]
fn the_longest_timeout_waits_until_something_happens() -> Result<()> {
    fn others(
        get: Queue<u32>,
        put: Queue<u32>,
        event: Event,
        lock: Lock,
        ready: Event,
    ) -> Result<()> {
        let guard = lock.lock()?;
        ready.set();
        put.put(1)?;
        get.get()?;
        event.set();
        drop(guard);
        Ok(())
    }
    let _watchdog = watchdog();
    let (empty, full) = (Queue::bounded(1)?, Queue::bounded(1)?);
    let (event, lock, ready) = (Event::new()?, Lock::new()?, Event::new()?);
    full.put(0)?;
    let arguments = (
        full.clone(),
        empty.clone(),
        event.clone(),
        lock.clone(),
        ready.clone(),
    );
    let process = mp::spawn(others, arguments)?;
    assert!(ready.wait_timeout(Duration::MAX));
    assert_eq!(empty.get_timeout(Duration::MAX)?, 1);
    full.put_timeout(2, Duration::MAX)?;
    assert!(event.wait_timeout(Duration::MAX));
    drop(lock.lock_timeout(Duration::MAX)?);
    assert!(process.join_timeout(Duration::MAX)?);
    process.result()?
}

#[test]
fn a_timeout_is_not_cut_short() -> Result<()> {
    let _watchdog = watchdog();
    let (queue, event, lock) = (Queue::<u8>::new()?, Event::new()?, Lock::new()?);
    let time = Duration::from_millis(60);
    let began = Instant::now();
    assert!(matches!(queue.get_timeout(time), Err(GetError::Empty)));
    assert!(!event.wait_timeout(time));
    let _guard = lock.lock()?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let error = lock.lock_timeout(time).map(drop).expect_err("it is held");
            let LockError::Timeout(holder) = error else {
                panic!("{error}")
            };
            assert_eq!(holder.pid(), Some(std::process::id()));
        });
    });
    assert!(began.elapsed() >= time * 3);
    Ok(())
}

#[test]
fn more_memory_than_there_is_is_refused_with_both_figures() {
    let name = UniqueName::new("huge");
    for len in [1 << 37, 1 << 40, 1 << 44] {
        for error in [
            error_of(Array::<u64>::new(len), ErrorKind::NotEnoughMemory),
            error_of(RawArray::<u64>::new(len), ErrorKind::NotEnoughMemory),
            error_of(AnyArray::from_code('d', len), ErrorKind::NotEnoughMemory),
            error_of(
                Array::<u64>::create_named(&name, len),
                ErrorKind::NotEnoughMemory,
            ),
            error_of(
                SharedMemory::create(&name, len * 8),
                ErrorKind::NotEnoughMemory,
            ),
        ] {
            let text = error.to_string();
            assert!(text.matches("iB").count() >= 2, "both figures: {text}");
        }
    }
    assert!(!name.path().exists());
}

#[test]
fn more_elements_than_there_are_addresses_are_refused() {
    let name = UniqueName::new("addresses");
    for len in [
        usize::MAX,
        usize::MAX / 8,
        usize::MAX / 8 + 1,
        isize::MAX as usize,
        1 << 61,
    ] {
        for result in [
            Array::<u64>::new(len).map(drop),
            RawArray::<u64>::new(len).map(drop),
            AnyArray::from_code('d', len).map(drop),
            Array::<u64>::create_named(&name, len).map(drop),
            SharedMemory::create(&name, len).map(drop),
        ] {
            let error = result.expect_err("too many");
            let kind = error.kind();
            assert!(
                matches!(kind, ErrorKind::InvalidInput | ErrorKind::NotEnoughMemory),
                "{error}"
            );
        }
    }
    assert!(!name.path().exists());
}

#[test]
fn nothing_is_shared_where_there_is_nothing() -> Result<()> {
    let name = UniqueName::new("nothing");
    error_of(SharedMemory::create(&name, 0), ErrorKind::InvalidInput);
    error_of(Value::new(()), ErrorKind::InvalidInput);
    Mutex::new(())?.lock()?.recover();
    let empty = Array::<u32>::new(0)?;
    assert!(empty.is_empty() && empty.to_vec()?.is_empty());
    assert!(empty.lock()?.is_empty());
    assert_eq!(empty.chunks(5)?.count(), 0);
    assert!(empty.chunks(1)?.claim_next()?.is_none());
    error_of(empty.get(0), ErrorKind::InvalidInput);
    assert!(RawArray::<u32>::new(0)?.to_vec().is_empty());
    assert!(empty.freeze()?.is_empty());
    Ok(())
}

#[test]
fn indices_and_chunks_outside_are_refused() -> Result<()> {
    let array = Array::<u32>::new(10)?;
    for index in [10, usize::MAX, usize::MAX / 4 + 1] {
        error_of(array.get(index), ErrorKind::InvalidInput);
        error_of(array.set(index, 1), ErrorKind::InvalidInput);
        error_of(array.chunks(3)?.claim(index), ErrorKind::InvalidInput);
        assert!(array.chunks(3)?.range(index).is_empty());
        assert_eq!(array.chunks(3)?.owner(index), None);
        assert!(array.chunks(3)?.claim_from(index)?.is_none());
    }
    error_of(array.chunks(0), ErrorKind::InvalidInput);
    assert_eq!(array.chunks(usize::MAX)?.count(), 1);
    assert_eq!(
        array
            .chunks(usize::MAX)?
            .claim_next()?
            .map(|chunk| chunk.len()),
        Some(10)
    );
    error_of(Array::<u8>::new(4097)?.chunks(1), ErrorKind::InvalidInput);
    assert_eq!(array.to_vec()?, [0; 10]);
    Ok(())
}

#[test]
fn type_codes_refuse_what_is_not_of_their_type() -> Result<()> {
    for code in ['x', 'U', 'D', '\0', ' ', 'é'] {
        error_of(AnyValue::from_code(code, 0), ErrorKind::WrongType);
        error_of(AnyArray::from_code(code, 3), ErrorKind::WrongType);
    }
    for (code, value) in [
        ('b', 128),
        ('B', -1),
        ('B', 256),
        ('H', 65_536),
        ('i', 1_i64 << 31),
        ('Q', -1),
    ] {
        error_of(AnyValue::from_code(code, value), ErrorKind::InvalidInput);
    }
    error_of(AnyValue::from_code('i', 0.5), ErrorKind::WrongType);
    error_of(AnyValue::from_code('?', 2), ErrorKind::InvalidInput);
    error_of(AnyArray::from_code('d', -1), ErrorKind::InvalidInput);
    error_of(
        AnyValue::from_code('i', 0)?.typed::<u32>(),
        ErrorKind::WrongType,
    );
    Ok(())
}

/// Runs in a process of its own: limits are the process's.
fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a structure to write to.
    assert_eq!(unsafe { libc::getrlimit(resource, &mut limit) }, 0);
    limit.rlim_cur = most;
    // SAFETY: `limit` is a whole structure.
    let set = unsafe { libc::setrlimit(resource, &limit) };
    assert_eq!(set, 0);
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn exhausted_descriptors_are_an_error_and_no_loss() -> Result<()> {
    fn exhaust() -> Result<(usize, usize)> {
        limit(libc::RLIMIT_NOFILE, 40);
        let mut held = Vec::new();
        let error = loop {
            // Takes one descriptor, so that none is left.
            match Queue::<u8, Plain>::plain() {
                Ok(queue) => held.push(queue),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TooManyDescriptors, "{error}");
        let name = UniqueName::new("exhausted");
        error_of(Value::new(1), ErrorKind::TooManyDescriptors);
        error_of(Event::create_named(&name), ErrorKind::TooManyDescriptors);
        error_of(mp::spawn(|| (), ()), ErrorKind::TooManyDescriptors);
        for spare in 1..6 {
            held.truncate(held.len() - 1);
            match mp::spawn(spare_descriptors, ()) {
                Ok(process) => drop(process.result()?),
                Err(error) => assert_eq!(
                    error.kind(),
                    ErrorKind::TooManyDescriptors,
                    "{spare}: {error}"
                ),
            }
        }
        let others = held.len();
        // What exists goes on.
        held[0].put(1)?;
        assert_eq!(held[0].get()?, 1);
        drop(held);
        Ok((others, mp::spawn(spare_descriptors, ())?.result()?))
    }
    fn spare_descriptors() -> usize {
        40 - open_descriptors()
    }
    let _watchdog = watchdog();
    let (held, spare) = mp::spawn(exhaust, ())?.result()??;
    assert!(held > 10 && spare > 10, "{held} {spare}");
    Ok(())
}

#[test]
fn failed_starts_leave_no_descriptor() -> Result<()> {
    fn fail_often() -> Result<bool> {
        mp::spawn(|| (), ())?.result()?;
        let before = open_descriptors();
        for _ in 0..20 {
            let mut nowhere = Process::new(|| (), ()).current_dir("/nowhere/at/all");
            error_of(nowhere.start(), ErrorKind::NotFound);
        }
        limit(libc::RLIMIT_NOFILE, 3);
        for _ in 0..20 {
            error_of(mp::spawn(|| (), ()), ErrorKind::TooManyDescriptors);
        }
        limit(libc::RLIMIT_NOFILE, 100);
        Ok(open_descriptors() == before)
    }
    let _watchdog = watchdog();
    assert!(mp::spawn(fail_often, ())?.result()??);
    Ok(())
}

#[test]
fn too_few_addresses_are_an_error() -> Result<()> {
    fn narrow() -> Result<()> {
        limit(libc::RLIMIT_AS, 1 << 30);
        let error = error_of(Queue::<u8>::new(), ErrorKind::NotEnoughMemory);
        assert!(!error.to_string().is_empty());
        error_of(Array::<u8>::new(2 << 30), ErrorKind::NotEnoughMemory);
        let small: Queue<u8> = Queue::builder().room(1 << 20).create()?;
        small.put(1)?;
        Value::new(1)?.set(2)
    }
    let _watchdog = watchdog();
    mp::spawn(narrow, ())?.result()?
}

#[test]
fn one_lock_too_many_is_refused_and_the_others_stay() -> Result<()> {
    fn hold() -> Result<usize> {
        let locks: Vec<Lock> = (0..1100).map(|_| Lock::new()).collect::<Result<_>>()?;
        let mut guards = Vec::new();
        for lock in &locks {
            match lock.lock() {
                Ok(guard) => guards.push(guard),
                Err(LockError::TooManyHeld) => break,
                Err(other) => panic!("{other}"),
            }
        }
        let held = guards.len();
        guards.pop();
        drop(locks[1099].lock()?);
        Ok(held)
    }
    let _watchdog = watchdog();
    // Without robust lists nobody walks them, and there is no bound.
    let fallback = std::env::var_os("MP_FORCE_FALLBACK").is_some();
    let most = if fallback { 1100 } else { 1024 };
    assert_eq!(mp::spawn(hold, ())?.result()??, most);
    Ok(())
}

#[test]
fn the_same_thing_mapped_twice_is_known_to_be_locked() -> Result<()> {
    let _watchdog = watchdog();
    let name = UniqueName::new("twice");
    let (one, two) = (Value::create_named(&name, 1)?, Value::<i32>::open(&name)?);
    let guard = one.lock()?;
    error_of(two.lock(), ErrorKind::Recursive);
    error_of(two.set(5), ErrorKind::Recursive);
    error_of(two.fetch_add(5), ErrorKind::Recursive);
    drop(guard);
    let lock = one.get_lock()?;
    two.set(7)?;
    drop(lock);
    assert_eq!(one.get(), 7);
    Value::<i32>::unlink(&name)?;

    let (one, two) = (Mutex::create_named(&name, 1)?, Mutex::<i32>::open(&name)?);
    let guard = one.lock()?;
    assert!(matches!(two.lock(), Err(LockError::Recursive)));
    drop(guard);
    *two.lock()? = 3;
    assert_eq!(*one.lock()?, 3);
    Mutex::<i32>::unlink(&name)?;

    let (one, two) = (
        Array::<i32>::create_named(&name, 10)?,
        Array::<i32>::open(&name)?,
    );
    let guard = one.lock()?;
    error_of(two.get(1), ErrorKind::Recursive);
    error_of(two.set(1, 1), ErrorKind::Recursive);
    error_of(two.chunks(2)?.claim(1), ErrorKind::Recursive);
    assert!(two.lock().is_err());
    drop(guard);
    let lock = one.get_lock()?;
    two.set(1, 5)?;
    drop(lock);
    let chunk = one.chunks(5)?.claim(0)?.claimed();
    assert!(two.chunks(5)?.claim(0)?.claimed().is_none());
    drop(chunk);
    assert_eq!(one.get(1)?, 5);
    Array::<i32>::unlink(&name)
}

#[test]
fn bytes_that_are_no_value_are_errors() -> Result<()> {
    let name = UniqueName::new("not-bool");
    let flags = RawArray::<u8>::new(1)?;
    drop(flags);
    let letter = RawValue::create_named(&name, 'x')?;
    let bytes = std::fs::read(name.path()).expect("the file");
    let place = bytes
        .windows(4)
        .rposition(|window| window == b"x\0\0\0")
        .expect("it is there");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(name.path())
        .expect("the file");
    std::os::unix::fs::FileExt::write_at(&file, &[0xff; 4], place as u64).expect("written");
    error_of(letter.try_get(), ErrorKind::Corrupt);
    letter.set('y');
    assert_eq!(letter.try_get()?, 'y');
    RawValue::<char>::unlink(&name)
}
