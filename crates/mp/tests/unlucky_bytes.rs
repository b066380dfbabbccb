//! Shared bytes that somebody overwrote behind a whole header: errors, and never a crash, a panic
//! or a hang.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use mp::codec::{Bytes, Plain};
use mp::{
    AnyArray, Array, Event, FrozenArray, Lock, Mutex, Queue, RawArray, RawValue, Result, Value,
};
use mp_testkit::{UniqueName, Watchdog};

const SHORT: Duration = Duration::from_millis(1);
/// Bytes from the start of the file that may be overwritten: all words of each kind, and the first
/// messages.
const REACH: u64 = 12 << 10;

/// Makes an object of a kind under a name, with something in it.
type Make = fn(&str) -> Result<()>;
/// Opens it and does what can be done with it; an error says that it does not open, others are
/// welcome.
type Use = fn(&str) -> Result<()>;

const KINDS: [(&str, Make, Use); 8] = [
    ("lock", |name| Lock::create_named(name).map(drop), use_lock),
    (
        "mutex",
        |name| Mutex::create_named(name, [1_u64; 4]).map(drop),
        use_mutex,
    ),
    (
        "event",
        |name| Event::create_named(name).map(drop),
        use_event,
    ),
    (
        "value",
        |name| Value::create_named(name, [1_u64; 4]).map(drop),
        use_value,
    ),
    (
        "raw value",
        |name| RawValue::create_named(name, 'x').map(drop),
        use_raw_value,
    ),
    (
        "array",
        |name| Array::<f64>::create_named(name, 100).map(drop),
        use_array,
    ),
    ("queue", make_queue, use_queue),
    ("queue of bytes", make_byte_queue, use_byte_queue),
];

fn use_lock(name: &str) -> Result<()> {
    let lock = Lock::open(name)?;
    drop(lock.try_lock());
    drop(lock.lock_timeout(SHORT));
    if let Some(holder) = lock.holder() {
        std::hint::black_box((holder.pid(), holder.thread_name()));
    }
    Ok(())
}

fn use_mutex(name: &str) -> Result<()> {
    let mutex = Mutex::<[u64; 4]>::open(name)?;
    if let Ok(mut guard) = mutex
        .lock_timeout(SHORT)
        .or_else(|error| error.into_guard())
    {
        guard[3] = guard[0] ^ 1;
        guard.recover();
    }
    drop(mutex.try_lock());
    Ok(())
}

fn use_event(name: &str) -> Result<()> {
    let event = Event::open(name)?;
    event.wait_timeout(SHORT);
    event.set();
    event.wait_timeout(SHORT);
    event.clear();
    Ok(())
}

fn use_value(name: &str) -> Result<()> {
    let value = Value::<[u64; 4]>::open(name)?;
    drop(value.try_get());
    if let Ok(mut guard) = value.lock_timeout(SHORT) {
        guard[1] = 5;
    }
    Ok(())
}

fn use_raw_value(name: &str) -> Result<()> {
    let value = RawValue::<char>::open(name)?;
    drop(value.try_get());
    drop(value.compare_exchange('x', 'y'));
    value.set('z');
    Ok(())
}

fn use_array(name: &str) -> Result<()> {
    let array = Array::<f64>::open(name)?;
    if let Ok(mut guard) = array
        .lock_timeout(SHORT)
        .or_else(|error| error.into_guard())
    {
        guard.recover();
        guard.fill(1.0);
    }
    drop(FrozenArray::<f64>::open(name));
    drop(AnyArray::open(name));
    if let Ok(chunks) = array.chunks(7) {
        drop(chunks.claim(0));
        drop(chunks.sweep());
        drop(chunks.claim_next());
        for index in 0..chunks.count() {
            std::hint::black_box(chunks.owner(index));
        }
    }
    drop(RawArray::<f64>::open(name));
    drop(array.numpy_line());
    Ok(())
}

fn make_queue(name: &str) -> Result<()> {
    let queue = Queue::<Vec<String>>::create_named(name)?;
    for length in 0..30 {
        queue.put(vec!["message".to_owned(); length])?;
    }
    Ok(())
}

fn use_queue(name: &str) -> Result<()> {
    let queue = Queue::<Vec<String>>::open(name)?;
    assert!(queue.capacity().is_none_or(|most| most > 0) && queue.max_message() > 0);
    std::hint::black_box((queue.len(), queue.is_empty(), queue.is_full()));
    drop(queue.try_put(vec!["more".to_owned()]));
    for _ in 0..40 {
        drop(queue.try_get());
    }
    drop(queue.put_timeout(vec!["more".to_owned()], SHORT));
    drop(queue.get_timeout(SHORT));
    drop(queue.close());
    Ok(())
}

fn make_byte_queue(name: &str) -> Result<()> {
    let queue = Queue::<Vec<u8>, Bytes>::builder()
        .bounded(40)
        .create_named(name)?;
    for length in 0..30 {
        queue.put(vec![7; length * 10])?;
    }
    drop(Queue::<u64, Plain>::open(name));
    Ok(())
}

fn use_byte_queue(name: &str) -> Result<()> {
    let queue = Queue::<Vec<u8>, Bytes>::open(name)?;
    for _ in 0..20 {
        drop(queue.try_get());
        drop(queue.put_timeout(vec![0; 5000], SHORT));
    }
    drop(queue.get_timeout(SHORT));
    Ok(())
}

/// Overwrites some words of the file: where and by what follows from `seed`.
fn overwrite(file: &fs::File, seed: u64) {
    let mut random = Random(seed);
    let len = file.metadata().expect("the file").len().min(REACH);
    for _ in 0..=random.below(3) {
        let size = [1, 4, 8][random.below(3) as usize];
        // The sealed part of the header has tests of its own.
        let place = 224 + random.below((len - 224) / size) * size;
        let place = (place - place % size).min(len - size);
        let old = &mut [0; 8][..size as usize];
        file.read_at(old, place).expect("read");
        let new = match random.below(4) {
            0 => random.next(),
            1 => u64::MAX,
            2 => u64::from_ne_bytes(padded(old)) ^ 1 << random.below(8 * size),
            // A lock's word is 0 here; a small number there would be a thread of the system, which
            // holds it for ever.
            _ if *old == [0; 8][..size as usize] => u64::MAX >> 3,
            _ => u64::from_ne_bytes(padded(old))
                .wrapping_add(random.below(5))
                .wrapping_sub(2),
        };
        file.write_at(&new.to_ne_bytes()[..size as usize], place)
            .expect("written");
    }
}

fn padded(bytes: &[u8]) -> [u8; 8] {
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}

/// A xorshift generator after a mixing step, so that neighbouring seeds differ.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Uses damaged objects one after another, says at each where it is, and counts those that opened.
fn survive(
    kind: usize,
    name: String,
    path: PathBuf,
    whole: Vec<u8>,
    [at, opened]: [RawValue<u64>; 2],
    end: u64,
) {
    let (_, _, use_it) = KINDS[kind];
    let len = fs::metadata(&path).expect("the file").len();
    while at.get() < end {
        drop(fs::remove_file(&path));
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .expect("a file");
        file.write_at(&whole, 0).expect("written");
        file.set_len(len).expect("its length");
        overwrite(&file, at.get());
        opened.fetch_add(u64::from(use_it(&name).is_ok()));
        at.set(at.get() + 1);
    }
}

#[test]
fn overwritten_words_crash_and_hang_nobody() -> Result<()> {
    let rounds: u64 =
        std::env::var("MP_UNLUCKY_ROUNDS").map_or(200, |rounds| rounds.parse().expect("a number"));
    let _watchdog = Watchdog::new(Duration::from_secs(rounds.max(1000) / 16));
    let mut bad = Vec::new();
    for (number, (kind, make, _)) in KINDS.iter().enumerate() {
        let name = UniqueName::new("overwritten");
        make(&name)?;
        let mut whole = vec![0; 300 << 10];
        let file = fs::File::open(name.path()).expect("the file");
        let read = file.read_at(&mut whole, 0).expect("its bytes");
        whole.truncate(read);
        let (at, opened) = (RawValue::new(0)?, RawValue::new(0)?);
        while at.get() < rounds {
            let arguments = (
                number,
                name.to_string(),
                name.path(),
                whole.clone(),
                [at.clone(), opened.clone()],
                rounds,
            );
            let process = mp::spawn(survive, arguments)?;
            let mut before = at.get();
            while !process.join_timeout(Duration::from_secs(3))? {
                if at.get() == before {
                    process.kill()?;
                    process.join()?;
                    bad.push(format!("{kind}, seed {before}: hangs"));
                }
                before = at.get();
            }
            if at.get() < rounds {
                bad.push(format!("{kind}, seed {}: {:?}", at.get(), process.status()));
                at.set(at.get() + 1);
            }
        }
        // What is refused on opening shows nothing of what damage does to operations. Of the
        // smallest kind half opens.
        if opened.get() < rounds / 4 {
            bad.push(format!("{kind}: only {} of {rounds} opened", opened.get()));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    Ok(())
}
