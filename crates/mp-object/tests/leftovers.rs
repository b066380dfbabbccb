//! What remains when objects are gone: nothing. One test, since it looks at the whole process.

use mp_layout::{Error, ErrorKind, Kind, TypeTag};
use mp_object::{Event, Lock, Mutex, Object, Plan, transfer};
use mp_testkit::{Forked, LeakCheck, PATIENCE, UniqueName, Watchdog};

/// What is left of this process; other programs use `/dev/shm` meanwhile.
fn leaks(check: &LeakCheck, name: &UniqueName) -> Vec<String> {
    let mut leaks = check.leaks();
    leaks.retain(|leak| !leak.starts_with("/dev/shm") || leak.contains(&**name));
    leaks
}

fn failed_creations(name: &UniqueName) {
    let plan = Plan::new(Kind::RawValue, TypeTag::of::<u64>(), 8);
    let fail = || Error::new(ErrorKind::InvalidState, "initialise", "on purpose");
    assert!(Object::create(&plan, |_| Err(fail())).is_err());
    assert!(Object::create_named(name, &plan, |_| Err(fail())).is_err());
    assert!(Object::open_or_create(name, &plan, |_| Err(fail())).is_err());
    let panics = || Object::create_named(name, &plan, |_| panic!("expected by this test"));
    assert!(std::panic::catch_unwind(panics).is_err());
}

fn refused_attachments(name: &UniqueName) {
    let _lock = Lock::create_named(name).unwrap();
    assert!(Lock::create_named(name).is_err());
    assert!(Event::open(name).is_err());
    Lock::unlink(name).unwrap();
}

fn messages_that_are_not_read(name: &UniqueName) {
    let handles = (Lock::create_named(name).unwrap(), Event::new().unwrap());
    let message = || transfer::outgoing(|| postcard::to_stdvec(&handles));
    drop(message());
    transfer::incoming(message().1, || ());
    let (bytes, descriptors) = message();
    let wrong: Result<(Event, Event), _> =
        transfer::incoming(descriptors, || postcard::from_bytes(&bytes.unwrap()));
    assert!(wrong.is_err());
    Lock::unlink(name).unwrap();
}

fn killed_creator_and_holder(name: &UniqueName) {
    let plan = Plan::new(Kind::RawValue, TypeTag::of::<u64>(), 8);
    let mutex = Mutex::new(0_u64).unwrap();
    let child = Forked::arriving(|arrival| {
        let _guard = mutex.lock().unwrap();
        let made = Object::create_named(name, &plan, |_| arrival.stay());
        made.is_ok()
    });
    child.kill_and_reap();
}

#[test]
fn nothing_is_left() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let name = UniqueName::new("leftovers");
    // What is made once for the whole process is no leak.
    drop(Lock::new().unwrap().lock().unwrap());
    let check = LeakCheck::start();
    for part in [
        failed_creations,
        refused_attachments,
        messages_that_are_not_read,
        killed_creator_and_holder,
    ] {
        part(&name);
        assert_eq!(leaks(&check, &name), Vec::<String>::new());
    }
    let _kept = Lock::create_named(&name).unwrap();
    assert_eq!(leaks(&check, &name).len(), 2, "the check sees leaks");
}
