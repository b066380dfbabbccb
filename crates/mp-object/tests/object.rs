//! Making objects: sizes, failures, deaths and races.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Error, ErrorKind, Kind, TypeTag};
use mp_object::{Lock, Mutex, Object, Plan};
use mp_testkit::{Forked, PATIENCE, UniqueName, Watchdog};

/// Words without a lock.
const fn words(tag: TypeTag, count: usize) -> Plan {
    Plan::new(Kind::RawArray, tag, count * 8)
}

fn word(object: &Object, index: usize) -> &AtomicU64 {
    // SAFETY: bare words, reached by nobody with a reference to more.
    unsafe { object.payload() }.place(index * 8).unwrap()
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, kind: ErrorKind) -> String {
    let error = result.map(drop).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

#[test]
fn payload_is_zeroed_then_initialised_then_shared() {
    let name = UniqueName::new("payload");
    let plan = words(TypeTag::of::<u64>(), 3).item_count(3);
    let made = Object::create_named(&name, &plan, |payload| {
        assert_eq!(payload.len(), 24);
        let cells = mp_layout::Cells::<u64>::new(payload)?;
        assert!(cells.iter().all(|word| word == 0));
        cells.set(2, 7);
        Ok(())
    })
    .unwrap();
    let opened = Object::open(&name, &plan).unwrap();
    assert_eq!(word(&opened, 2).load(Ordering::Relaxed), 7);
    word(&opened, 0).store(8, Ordering::Relaxed);
    assert_eq!(word(&made, 0).load(Ordering::Relaxed), 8);
    assert_eq!(opened.header().item_count(), 3);
    // SAFETY: bare words, reached by nobody with a reference to more.
    assert_eq!(unsafe { opened.payload() }.len(), 24);
}

#[test]
fn page_aligned_payload_starts_at_a_page() {
    let plan = words(TypeTag::of::<u64>(), 1).page_aligned();
    let object = Object::create(&plan, |_| Ok(())).unwrap();
    assert_eq!(object.payload_offset(), 4096);
    // SAFETY: bare words, reached by nobody with a reference to more.
    assert_eq!(unsafe { object.payload() }.as_ptr().addr() % 4096, 0);
    assert_eq!(object.segment_size(), 4096 + 8);
}

#[test]
fn another_number_of_elements_is_refused() {
    let name = UniqueName::new("count");
    let plan = words(TypeTag::of::<u64>(), 3).item_count(3);
    let _made = Object::create_named(&name, &plan, |_| Ok(())).unwrap();
    let text = refused(
        Object::open(&name, &plan.item_count(4)),
        ErrorKind::WrongSize,
    );
    assert!(text.contains("found 3 elements, expected 4"), "{text}");
    let any_number = words(TypeTag::of::<u64>(), 0);
    assert_eq!(
        Object::open(&name, &any_number)
            .unwrap()
            .header()
            .item_count(),
        3
    );
    let longer = words(TypeTag::of::<u64>(), 4);
    refused(Object::open(&name, &longer), ErrorKind::WrongSize);
}

#[test]
fn sparse_object_commits_what_was_said() {
    use std::os::unix::fs::MetadataExt;
    let name = UniqueName::new("sparse");
    for (committed, blocks) in [(0, 4096), (4096, 8192), (usize::MAX, 4096 + (1 << 20))] {
        let plan = Plan::new(Kind::Queue, TypeTag::NONE, 1 << 20)
            .page_aligned()
            .sparse(committed);
        let object = Object::create_named(&name, &plan, |_| Ok(())).unwrap();
        let file = std::fs::metadata(name.path()).unwrap();
        assert_eq!(file.len(), 4096 + (1 << 20));
        assert_eq!(file.blocks() * 512, blocks, "{committed} committed");
        // SAFETY: bare words, reached by nobody with a reference to more.
        assert_eq!(unsafe { object.payload() }.len(), 1 << 20);
        Object::unlink(&name).unwrap();
        Object::create(&plan, |_| Ok(())).unwrap();
    }
}

#[test]
fn more_than_memory_or_addresses_is_refused() {
    let largest = isize::MAX as usize - 4096;
    for (size, kind) in [
        (1 << 50, ErrorKind::NotEnoughMemory),
        (largest, ErrorKind::NotEnoughMemory),
        (isize::MAX as usize, ErrorKind::InvalidInput),
        (usize::MAX, ErrorKind::InvalidInput),
    ] {
        let name = UniqueName::new("large");
        let plan = Plan::new(Kind::RawArray, TypeTag::of::<u8>(), size);
        let text = refused(Object::create(&plan, |_| Ok(())), kind);
        assert!(
            text.contains("asked for") || text.contains(&size.to_string()),
            "{text}"
        );
        refused(Object::create_named(&name, &plan, |_| Ok(())), kind);
        refused(Object::open_or_create(&name, &plan, |_| Ok(())), kind);
        assert!(!name.path().exists());
    }
    let sparse = Plan::new(Kind::Queue, TypeTag::NONE, largest).sparse(0);
    refused(
        Object::create(&sparse, |_| Ok(())),
        ErrorKind::NotEnoughMemory,
    );
}

#[test]
fn failed_initialisation_leaves_no_name() {
    let name = UniqueName::new("failed");
    let plan = words(TypeTag::of::<u64>(), 1);
    let fail = || Error::new(ErrorKind::InvalidState, "initialise", "on purpose");
    refused(
        Object::create_named(&name, &plan, |_| Err(fail())),
        ErrorKind::InvalidState,
    );
    refused(
        Object::open_or_create(&name, &plan, |_| Err(fail())),
        ErrorKind::InvalidState,
    );
    refused(
        Object::create(&plan, |_| Err(fail())),
        ErrorKind::InvalidState,
    );
    assert!(!name.path().exists());
    refused(Object::open(&name, &plan), ErrorKind::NotFound);
}

/// Such an error was taken for a lost race, and the creation tried again for ever.
#[test]
fn initialisation_that_finds_something_existing_ends() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (name, other) = (UniqueName::new("outer"), UniqueName::new("inner"));
    let _inner = Lock::create_named(&other).unwrap();
    let plan = words(TypeTag::of::<u64>(), 1);
    let tries = Cell::new(0);
    let result = Object::open_or_create(&name, &plan, |_| {
        tries.set(tries.get() + 1);
        assert!(tries.get() < 10, "tried again and again");
        Lock::create_named(&other).map(drop)
    });
    refused(result, ErrorKind::AlreadyExists);
    assert!(!name.path().exists());
}

#[test]
fn impossible_name_is_refused_before_anything_is_made() {
    let plan = words(TypeTag::of::<u64>(), 1);
    let initialised = Cell::new(false);
    let made = Object::create_named("a/b", &plan, |_| {
        initialised.set(true);
        Ok(())
    });
    refused(made, ErrorKind::InvalidName);
    assert!(!initialised.get());
}

#[test]
fn creator_killed_while_initialising_leaves_no_name() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let name = UniqueName::new("killed");
    let plan = words(TypeTag::of::<u64>(), 2);
    let child = Forked::arriving(|arrival| {
        let made = Object::create_named(&name, &plan, |payload| {
            payload.place::<AtomicU64>(0)?.store(1, Ordering::Relaxed);
            arrival.stay()
        });
        made.is_ok()
    });
    assert!(!name.path().exists(), "half made is invisible");
    refused(Object::open(&name, &plan), ErrorKind::NotFound);
    child.kill_and_reap();
    assert!(!name.path().exists());
    let made = Object::open_or_create(&name, &plan, |_| Ok(())).unwrap();
    assert_eq!(word(&made, 0).load(Ordering::Relaxed), 0);
}

#[test]
fn object_outlives_its_killed_creator() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let name = UniqueName::new("orphan");
    let child = Forked::holding(|| Mutex::create_named(&name, 7_u64).unwrap());
    child.kill_and_reap();
    let opened = Mutex::<u64>::open(&name).unwrap();
    assert_eq!(*opened.lock().unwrap(), 7);
    let creator = opened.object().header().creator();
    let creator = mp_object::ProcessIdentity::from_word(creator).unwrap();
    assert_eq!(creator.pid(), child.pid());
}

#[test]
fn creator_killed_at_any_time_leaves_all_or_nothing() {
    const KILLS: u32 = 100;
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let name = UniqueName::new("any-time");
    let board = Object::create(&words(TypeTag::of::<u64>(), 1), |_| Ok(())).unwrap();
    let begun = word(&board, 0);
    let (mut complete, mut nothing) = (0, 0);
    for kill in 0.. {
        if kill >= KILLS && complete.min(nothing) >= 10 {
            break;
        }
        assert!(
            kill < 100 * KILLS,
            "complete {complete} times, nothing {nothing} times"
        );
        let child = Forked::arriving(|arrival| {
            arrival.arrive();
            loop {
                // The first makes it; the name exists while the others open it.
                for _ in 0..3 {
                    begun.fetch_add(1, Ordering::Relaxed);
                    drop(Mutex::open_or_create(&name, [7_u64; 64]).unwrap());
                }
                Object::unlink(&name).unwrap();
            }
        });
        // Half of them die at the start of their lives, whatever they do then; the others in the
        // midst of it.
        let before = begun.load(Ordering::Relaxed);
        assert!(kill.is_multiple_of(2) || meet(begun, before + u64::from(kill % 7)));
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(7) * (kill % KILLS) {
            std::hint::spin_loop();
        }
        child.kill_and_reap();
        match Mutex::<[u64; 64]>::open(&name) {
            Ok(mutex) => {
                assert_eq!(*mutex.lock().unwrap(), [7; 64], "kill {kill}");
                Object::unlink(&name).unwrap();
                complete += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "kill {kill}: {error}");
                nothing += 1;
            }
        }
    }
}

/// Waits until the other side has written a word, yielding: the two processes must meet within
/// microseconds.
fn meet(word: &AtomicU64, value: u64) -> bool {
    let start = Instant::now();
    while word.load(Ordering::Acquire) < value {
        if start.elapsed() > PATIENCE {
            return false;
        }
        thread::yield_now();
    }
    true
}

/// Every second round both make an object before either has published its own: one of the two must
/// be dropped.
#[test]
fn racing_processes_always_get_the_same_object() {
    const ROUNDS: u64 = 1000;
    const END: u64 = u64::MAX;
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let name = UniqueName::new("race");
    let plan = words(TypeTag::of::<u64>(), 1);
    // Word 0: the round that runs; 1: the round the child has done; 2 and 3: what it got; 3 + side:
    // the round in which that side is making one.
    let board = Object::create(&words(TypeTag::of::<u64>(), 6), |_| Ok(())).unwrap();
    let race = |side: u64, round: u64| {
        let other = 3 - side;
        let object = Object::open_or_create(&name, &plan, |payload| {
            payload
                .place::<AtomicU64>(0)?
                .store(side, Ordering::Relaxed);
            word(&board, 3 + side as usize).store(round, Ordering::Release);
            assert!(round.is_multiple_of(2) || meet(word(&board, 3 + other as usize), round));
            Ok(())
        });
        object.map(|object| {
            (
                object.header().id(),
                word(&object, 0).load(Ordering::Relaxed),
            )
        })
    };
    let child = Forked::new(|| {
        for round in 1.. {
            if !meet(word(&board, 0), round) {
                return false;
            }
            if word(&board, 0).load(Ordering::Relaxed) == END {
                return true;
            }
            let (id, maker) = race(2, round).unwrap();
            let id = u128::from_ne_bytes(id);
            word(&board, 2).store(id as u64, Ordering::Relaxed);
            word(&board, 3).store(maker, Ordering::Relaxed);
            word(&board, 1).store(round, Ordering::Release);
        }
        false
    });
    let mut made_by = [0, 0];
    for round in 1.. {
        if round > ROUNDS && made_by.into_iter().all(|times| times >= 10) {
            break;
        }
        assert!(round <= 100 * ROUNDS, "made by each: {made_by:?}");
        word(&board, 0).store(round, Ordering::Release);
        let (id, maker) = race(1, round).unwrap();
        assert!(meet(word(&board, 1), round), "round {round}");
        let theirs = [2, 3].map(|index| word(&board, index).load(Ordering::Relaxed));
        assert_eq!(
            [u128::from_ne_bytes(id) as u64, maker],
            theirs,
            "round {round}"
        );
        made_by[maker as usize - 1] += 1;
        Object::unlink(&name).unwrap();
    }
    word(&board, 0).store(END, Ordering::Release);
    assert!(child.succeeds());
}

#[test]
fn exhausted_descriptors_are_an_error_that_names_the_limit() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let name = UniqueName::new("descriptors");
    let _lock = Lock::create_named(&name).unwrap();
    let child = Forked::new(|| {
        let none = libc::rlimit {
            rlim_cur: 3,
            rlim_max: 3,
        };
        // SAFETY: a valid structure.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) }, 0);
        let exhausted = |result: Result<Lock, Error>| {
            let text = refused(result, ErrorKind::TooManyDescriptors);
            text.contains("ulimit -n")
        };
        exhausted(Lock::open(&name))
            && exhausted(Lock::open_or_create(&name))
            && exhausted(Lock::new())
            && exhausted(Lock::create_named(&format!("{}-not", &*name)))
    });
    assert!(child.succeeds());
}

#[test]
#[ignore = "needs the right to make namespaces"]
fn another_pid_namespace_is_refused() {
    assert_refused_within(libc::CLONE_NEWPID);
}

#[test]
#[ignore = "needs the right to make namespaces"]
fn another_time_namespace_is_refused() {
    /// `<linux/sched.h>`; the libc crate lacks it.
    const CLONE_NEWTIME: libc::c_int = 0x80;
    assert_refused_within(CLONE_NEWTIME);
}

/// Where a new user namespace is allowed, everybody may make the others.
fn assert_refused_within(namespace: libc::c_int) {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let name = UniqueName::new("namespace");
    let _lock = Lock::create_named(&name).unwrap();
    let child = Forked::new(|| {
        // SAFETY: changes where this child's own children live, and nothing else.
        let made = |flags| unsafe { libc::unshare(flags) } == 0;
        assert!(
            made(namespace) || made(libc::CLONE_NEWUSER | namespace),
            "cannot be checked: {}",
            std::io::Error::last_os_error()
        );
        let foreign = Forked::new(|| {
            Lock::open(&name).is_err_and(|error| error.kind() == ErrorKind::WrongNamespace)
        });
        foreign.succeeds()
    });
    assert!(child.succeeds());
}
