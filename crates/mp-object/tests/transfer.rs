//! Handles that travel: order, nesting, what is refused.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mp_layout::ErrorKind;
use mp_object::transfer::{self, Way};
use mp_object::{Event, Lock, Mutex};
use mp_shm::{Segment, SharedMemory};
use mp_testkit::{Forked, PATIENCE, UniqueName, Watchdog};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The handles' bytes and descriptors.
fn send<T: Serialize>(handles: &T) -> (Vec<u8>, Vec<OwnedFd>) {
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(handles));
    (bytes.unwrap(), descriptors)
}

fn receive<T: DeserializeOwned>(bytes: &[u8], with: Vec<OwnedFd>) -> Result<T, postcard::Error> {
    transfer::incoming(with, || postcard::from_bytes(bytes))
}

#[test]
fn twin_is_the_same_mutex() {
    let mutex = Mutex::new(1_u64).unwrap();
    let (bytes, descriptors) = send(&mutex);
    drop(mutex.clone());
    let twin: Mutex<u64> = receive(&bytes, descriptors).unwrap();
    assert!(twin.object().is_same(mutex.object()));
    *twin.lock().unwrap() += 1;
    assert_eq!(*mutex.lock().unwrap(), 2);
    let _guard = mutex.lock().unwrap();
    assert!(twin.try_lock().is_err());
}

#[test]
fn twin_outlives_the_first_handle() {
    let mutex = Mutex::new(7_u64).unwrap();
    let (bytes, descriptors) = send(&mutex);
    drop(mutex);
    let twin: Mutex<u64> = receive(&bytes, descriptors).unwrap();
    assert_eq!(*twin.lock().unwrap(), 7);
}

#[test]
fn child_process_gets_the_same_mutex() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let mutex = Mutex::new(1_u64).unwrap();
    let (bytes, descriptors) = send(&mutex);
    let mut descriptors = Some(descriptors);
    let child = Forked::new(|| {
        let received: Mutex<u64> = receive(&bytes, descriptors.take().unwrap()).unwrap();
        *received.lock().unwrap() += 41;
        true
    });
    assert!(child.succeeds());
    assert_eq!(*mutex.lock().unwrap(), 42);
}

#[test]
fn several_handles_travel_in_order() {
    let (first, event, last) = (
        Mutex::new(1_u64).unwrap(),
        Event::new().unwrap(),
        Mutex::new(2_u64).unwrap(),
    );
    let (bytes, descriptors) = send(&(&first, "between", &event, &last));
    assert_eq!(descriptors.len(), 3);
    let got: (Mutex<u64>, String, Event, Mutex<u64>) = receive(&bytes, descriptors).unwrap();
    assert!(got.0.object().is_same(first.object()));
    assert_eq!(got.1, "between");
    assert!(got.2.object().is_same(event.object()));
    assert!(got.3.object().is_same(last.object()));
}

#[test]
fn one_handle_travels_twice_in_one_message() {
    let event = Event::new().unwrap();
    let (bytes, descriptors) = send(&(&event, &event));
    let (one, other): (Event, Event) = receive(&bytes, descriptors).unwrap();
    one.set();
    assert!(other.is_set() && event.is_set());
}

#[test]
fn named_handles_travel_too() {
    let name = UniqueName::new("travels");
    let mutex = Mutex::create_named(&name, 5_u32).unwrap();
    Mutex::<u32>::unlink(&name).unwrap();
    let (bytes, descriptors) = send(&mutex);
    let twin: Mutex<u32> = receive(&bytes, descriptors).unwrap();
    assert!(twin.object().is_same(mutex.object()));
    assert_eq!(twin.object().name(), Some(&*name));
    *twin.lock().unwrap() += 1;
    assert_eq!(*mutex.lock().unwrap(), 6);
}

#[test]
fn scopes_nest() {
    let [outer, inner, also_outer] = [(); 3].map(|()| Event::new().unwrap());
    let (nested, descriptors) = transfer::outgoing(|| {
        let before = postcard::to_stdvec(&outer).unwrap();
        let inside = send(&inner);
        let received: Event = receive(&inside.0, inside.1).unwrap();
        assert!(received.object().is_same(inner.object()));
        (before, postcard::to_stdvec(&also_outer).unwrap())
    });
    assert_eq!(descriptors.len(), 2, "the inner scope kept its own");
    let (first, second): (Event, Event) = transfer::incoming(descriptors, || {
        let inside = send(&inner);
        let received: Event = receive(&inside.0, inside.1).unwrap();
        assert!(received.object().is_same(inner.object()));
        let second = postcard::from_bytes(&nested.1).unwrap();
        (postcard::from_bytes(&nested.0).unwrap(), second)
    });
    assert!(first.object().is_same(outer.object()));
    assert!(second.object().is_same(also_outer.object()));
}

#[test]
fn handle_is_no_mere_bytes() {
    let lock = Lock::new().unwrap();
    assert!(postcard::to_stdvec(&lock).is_err(), "outside a scope");
    let inside_incoming = transfer::incoming(Vec::new(), || postcard::to_stdvec(&lock));
    assert!(
        inside_incoming.is_err(),
        "a scope for reading is none for writing"
    );
}

#[test]
fn scope_ends_with_a_panic_in_it() {
    let lock = Lock::new().unwrap();
    let writing = catch_unwind(AssertUnwindSafe(|| {
        transfer::outgoing(|| panic!("expected by this test"))
    }));
    assert!(writing.is_err());
    assert!(postcard::to_stdvec(&lock).is_err());
    let (bytes, descriptors) = send(&lock);
    let reading = catch_unwind(AssertUnwindSafe(|| {
        transfer::incoming(descriptors, || panic!("expected by this test"))
    }));
    assert!(reading.is_err());
    assert!(postcard::from_bytes::<Lock>(&bytes).is_err());
}

#[test]
fn handle_is_not_read_without_its_descriptor() {
    let lock = Lock::new().unwrap();
    let (bytes, descriptors) = send(&lock);
    assert!(
        postcard::from_bytes::<Lock>(&bytes).is_err(),
        "outside a scope"
    );
    assert!(receive::<Lock>(&bytes, Vec::new()).is_err());
    let again = transfer::incoming(descriptors, || {
        let first: Lock = postcard::from_bytes(&bytes).unwrap();
        assert!(first.object().is_same(lock.object()));
        postcard::from_bytes::<Lock>(&bytes)
    });
    assert!(again.is_err(), "a descriptor is taken once");
}

#[test]
fn descriptor_of_another_object_is_refused() {
    let (one, other) = (Mutex::new(1_u64).unwrap(), Mutex::new(1_u64).unwrap());
    let ((bytes, own), (_, foreign)) = (send(&one), send(&other));
    assert!(receive::<Mutex<u64>>(&bytes, foreign).is_err());
    assert!(receive::<Mutex<u64>>(&bytes, own).is_ok());
}

#[test]
fn descriptor_of_no_object_is_refused() {
    let (anonymous, name) = (Lock::new().unwrap(), UniqueName::new("no-object"));
    let named = Lock::create_named(&name).unwrap();
    for lock in [anonymous, named] {
        let (bytes, _) = send(&lock);
        let empty_segment = Segment::anonymous("zeros", 4096).unwrap();
        let strangers: [OwnedFd; 4] = [
            File::open("/dev/null").unwrap().into(),
            File::open("/proc/self/exe").unwrap().into(),
            std::io::pipe().unwrap().1.into(),
            AsFd::as_fd(&empty_segment).try_clone_to_owned().unwrap(),
        ];
        for stranger in strangers {
            assert!(receive::<Lock>(&bytes, vec![stranger]).is_err());
        }
    }
}

/// Only an object that was made under a name may lie in a file that its owner can truncate.
#[test]
fn anonymous_handle_is_refused_with_a_file() {
    let name = UniqueName::new("unsealed");
    let lock = Lock::new().unwrap();
    let (bytes, _) = send(&lock);
    let mut image = vec![0; lock.object().segment_size()];
    let segment = Segment::from_descriptor(lock.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let cells = mp_layout::Cells::<u8>::new(segment.region()).unwrap();
    image
        .iter_mut()
        .zip(cells.iter())
        .for_each(|(to, from)| *to = from);
    std::fs::write(name.path(), &image).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(name.path())
        .unwrap();
    assert!(receive::<Lock>(&bytes, vec![file.into()]).is_err());
}

#[test]
fn handle_of_another_type_is_refused() {
    let mutex = Mutex::new(1_u64).unwrap();
    let refused = |result: bool| assert!(!result, "read as what it is not");
    refused(receive::<Lock>(&send(&mutex).0, send(&mutex).1).is_ok());
    refused(receive::<Event>(&send(&mutex).0, send(&mutex).1).is_ok());
    refused(receive::<Mutex<f64>>(&send(&mutex).0, send(&mutex).1).is_ok());
    refused(receive::<Mutex<u32>>(&send(&mutex).0, send(&mutex).1).is_ok());
    refused(receive::<Mutex<[u64; 2]>>(&send(&mutex).0, send(&mutex).1).is_ok());
    assert!(receive::<Mutex<u64>>(&send(&mutex).0, send(&mutex).1).is_ok());
}

#[test]
fn a_message_duplicates_no_descriptor_and_keeps_its_objects() {
    let lock = Lock::new().unwrap();
    let (bytes, baggage) = transfer::message(Way::Descriptors, || postcard::to_stdvec(&(&lock, 5)));
    let baggage = baggage.unwrap();
    assert_eq!((baggage.handles, baggage.descriptors.len()), (1, 1));
    assert_eq!(
        baggage.descriptors[0].as_fd().as_raw_fd(),
        lock.as_fd().as_raw_fd()
    );
    drop(lock);
    let copies = baggage
        .descriptors
        .iter()
        .map(|with| with.as_fd().try_clone_to_owned().unwrap());
    let (received, _): (Lock, u8) = receive(&bytes.unwrap(), copies.collect()).unwrap();
    drop(received.lock().unwrap());
}

#[test]
fn by_name_a_handle_opens_the_same_object_only() {
    let name = UniqueName::new("by-name");
    let lock = Lock::create_named(&name).unwrap();
    let memory_name = UniqueName::new("by-name-memory");
    let memory = SharedMemory::create(&memory_name, 8).unwrap();
    let (bytes, baggage) = transfer::message(Way::Names, || postcard::to_stdvec(&(&lock, &memory)));
    let bytes = bytes.unwrap();
    let baggage = baggage.unwrap();
    assert_eq!((baggage.handles, baggage.descriptors.len()), (2, 0));
    let (same, bytes_too): (Lock, SharedMemory) = receive(&bytes, Vec::new()).unwrap();
    assert!(same.object().is_same(lock.object()) && bytes_too.is_same(&memory));
    let of_memory = transfer::message(Way::Names, || postcard::to_stdvec(&memory))
        .0
        .unwrap();
    SharedMemory::unlink(&memory_name).unwrap();
    let _another = SharedMemory::create(&memory_name, 8).unwrap();
    let (read, why) = transfer::incoming_or_why(Vec::new(), || {
        postcard::from_bytes::<SharedMemory>(&of_memory)
    });
    assert!(read.is_err());
    assert_eq!(why.unwrap().kind(), ErrorKind::Foreign);
    Lock::unlink(&name).unwrap();
    let why = || {
        transfer::incoming_or_why(Vec::new(), || {
            postcard::from_bytes::<(Lock, SharedMemory)>(&bytes)
        })
        .1
    };
    assert_eq!(why().unwrap().kind(), ErrorKind::NotFound);
    let _another = Lock::create_named(&name).unwrap();
    assert_eq!(why().unwrap().kind(), ErrorKind::Foreign);
}

#[test]
fn bytes_of_another_machine_open_nothing_by_name() {
    let lock_name = UniqueName::new("foreign");
    let lock = Lock::create_named(&lock_name).unwrap();
    let memory_name = UniqueName::new("foreign-memory");
    let memory = SharedMemory::create(&memory_name, 8).unwrap();
    let written = |way| transfer::message(way, || postcard::to_stdvec(&lock));
    let by_name = written(Way::Names).0.unwrap();
    let of_memory = transfer::message(Way::Names, || postcard::to_stdvec(&memory));
    let of_memory = of_memory.0.unwrap();
    let some_file = || vec![memory.as_fd().try_clone_to_owned().unwrap()];
    for files in [Vec::new(), some_file()] {
        let (read, why) = transfer::foreign(files, || postcard::from_bytes::<Lock>(&by_name));
        assert!(read.is_err());
        assert_eq!(why.unwrap().kind(), ErrorKind::Decode);
    }
    for files in [Vec::new(), some_file()] {
        let read = || postcard::from_bytes::<SharedMemory>(&of_memory);
        let (read, why) = transfer::foreign(files, read);
        assert!(read.is_err());
        assert_eq!(why.unwrap().kind(), ErrorKind::Decode);
    }
    // What came with the bytes is read, and the scope ends with its call.
    let (bytes, baggage) = written(Way::Descriptors);
    let files = baggage.unwrap().descriptors.into_iter();
    let files = files.map(|file| file.as_fd().try_clone_to_owned().unwrap());
    let bytes = bytes.unwrap();
    let (read, why) = transfer::foreign(files.collect(), || postcard::from_bytes::<Lock>(&bytes));
    assert!(read.unwrap().object().is_same(lock.object()) && why.is_none());
    assert!(postcard::from_bytes::<Lock>(&by_name).is_ok());
}

#[test]
fn by_name_an_object_without_one_is_refused_and_says_why() {
    let lock = Lock::new().unwrap();
    let (bytes, baggage) = transfer::message(Way::Names, || postcard::to_stdvec(&(1, &lock)));
    assert!(bytes.is_err());
    let why = baggage.unwrap().refused.unwrap();
    assert_eq!(why.kind(), ErrorKind::Unsupported);
    assert!(why.to_string().contains("create it under a name"), "{why}");
}
