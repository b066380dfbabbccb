//! Files that are no objects, or no longer: each is refused as what it is, and none is trusted.

use std::path::Path;
use std::time::Duration;

use mp_layout::{Environment, ErrorKind, Expected, Header, Kind, Libc, Region, TypeTag};
use mp_object::{Event, Lock, Mutex};
use mp_os::clock::time_namespace;
use mp_os::process_id::{boot_id, pid_namespace};
use mp_testkit::{UniqueName, Watchdog};
use proptest::prelude::*;

/// How long a test with many cases may take.
const PATIENCE: Duration = Duration::from_secs(60);

const PAYLOAD: usize = size_of::<mp_sync::Mutex<u64>>();

/// The bytes of a mutex that is in order, and the name under which the test replaces them.
fn whole() -> (UniqueName, Vec<u8>) {
    let name = UniqueName::new("damage");
    drop(Mutex::create_named(&name, 7_u64).unwrap());
    let bytes = std::fs::read(name.path()).unwrap();
    assert_eq!(bytes.len(), 256 + PAYLOAD);
    (name, bytes)
}

/// A new file under the name, as another program would write it.
fn replace(path: &Path, bytes: &[u8]) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => std::fs::write(path, bytes).unwrap(),
    }
}

#[track_caller]
fn assert_refused(name: &UniqueName, bytes: &[u8], kind: ErrorKind) {
    replace(&name.path(), bytes);
    let error = Mutex::<u64>::open(name).map(drop).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(&**name), "{error}");
    let error = Mutex::<u64>::open_or_create(name, 1).map(drop).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(
        std::fs::read(name.path()).unwrap(),
        bytes,
        "what is refused is not touched"
    );
}

#[test]
fn each_damage_has_its_own_error() {
    let (name, whole) = whole();
    let foreign = b"P6 640 480 255 an image".repeat(20);
    for (bytes, kind) in [
        (&b""[..], ErrorKind::Truncated),
        (&whole[..1], ErrorKind::Truncated),
        (&whole[..255], ErrorKind::Truncated),
        (&whole[..256], ErrorKind::Truncated),
        (&whole[..whole.len() - 1], ErrorKind::Truncated),
        (&[0; 4096], ErrorKind::NotReady),
        (&foreign, ErrorKind::Foreign),
    ] {
        assert_refused(&name, bytes, kind);
    }
    replace(&name.path(), &whole);
    assert_eq!(*Mutex::<u64>::open(&name).unwrap().lock().unwrap(), 7);
}

/// Bytes 12..224 are the description, under the checksum at 240.
#[test]
fn every_flipped_bit_of_the_description_is_corrupt() {
    let (name, whole) = whole();
    for byte in (12..224).chain(240..248) {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (byte % 8);
        assert_refused(&name, &bytes, ErrorKind::Corrupt);
    }
}

#[test]
fn flipped_magic_version_and_state_are_told_apart() {
    let (name, whole) = whole();
    for (byte, kind) in [
        (0, ErrorKind::Foreign),
        (7, ErrorKind::Foreign),
        (8, ErrorKind::WrongVersion),
        (248, ErrorKind::NotReady),
        (255, ErrorKind::NotReady),
    ] {
        let mut bytes = whole.clone();
        bytes[byte] ^= 4;
        assert_refused(&name, &bytes, kind);
    }
}

#[test]
fn longer_file_opens() {
    let (name, mut bytes) = whole();
    bytes.resize(9000, 0xff);
    replace(&name.path(), &bytes);
    let opened = Mutex::<u64>::open(&name).unwrap();
    assert_eq!(*opened.lock().unwrap(), 7);
    // SAFETY: bare words, reached by nobody with a reference to more.
    assert_eq!(unsafe { opened.object().payload() }.len(), PAYLOAD);
}

fn here() -> Environment {
    Environment {
        boot_id: boot_id().unwrap(),
        pid_namespace: pid_namespace().unwrap(),
        time_namespace: time_namespace().unwrap(),
        libc: if cfg!(target_env = "musl") {
            Libc::Musl
        } else {
            Libc::Glibc
        },
    }
}

#[test]
fn foreign_environments_are_refused() {
    let (name, whole) = whole();
    let expected = Expected {
        kind: Kind::Mutex,
        tag: TypeTag::of::<u64>(),
        item_count: None,
        payload_size: PAYLOAD as u64,
    };
    let other_libc = match here().libc {
        Libc::Glibc => Libc::Musl,
        Libc::Musl => Libc::Glibc,
    };
    let boot = Environment {
        boot_id: [1; 16],
        ..here()
    };
    let namespace = Environment {
        pid_namespace: 1,
        ..here()
    };
    let time = Environment {
        time_namespace: 1,
        ..here()
    };
    let libc = Environment {
        libc: other_libc,
        ..here()
    };
    for (elsewhere, kind) in [
        (boot, ErrorKind::WrongBoot),
        (namespace, ErrorKind::WrongNamespace),
        (time, ErrorKind::WrongNamespace),
        (libc, ErrorKind::WrongLibc),
    ] {
        let header = Header::new(&expected, &elsewhere, whole.len() as u64, 256);
        assert_refused(&name, &sealed(header, whole.len()), kind);
    }
}

/// A file of `len` bytes with this header, whose checksum is right.
fn sealed(header: Header, len: usize) -> Vec<u8> {
    let mut words = vec![0_u64; len.div_ceil(8)];
    header.publish(Region::from_exclusive(&mut words)).unwrap();
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Opens the file as everything it could be and uses what opens.
fn open_and_use(name: &UniqueName) {
    drop(Lock::open(name).map(|lock| drop(lock.try_lock())));
    drop(Event::open(name).map(|event| event.is_set()));
    drop(Mutex::<[u8; 3]>::open(name));
    let Ok(mutex) = Mutex::<u64>::open(name) else {
        return;
    };
    // SAFETY: bare words, reached by nobody with a reference to more.
    assert!(unsafe { mutex.object().payload() }.len() >= PAYLOAD);
    // SAFETY: bare words, reached by nobody with a reference to more.
    let payload = unsafe { mutex.object().payload() };
    let cells = mp_layout::Cells::<u8>::new(payload).unwrap();
    // Reaches every byte: a payload past the file's end would end the process.
    std::hint::black_box(cells.iter().fold(0_u8, u8::wrapping_add));
    let guard = match mutex.try_lock() {
        Err(mp_sync::LockError::OwnerDied(guard)) => Some(guard),
        locked => locked.ok(),
    };
    if let Some(mut guard) = guard {
        *guard = 9;
    }
}

/// Numbers as a header with a bug would have them: small, at the limits, anything.
fn hostile_number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..1024_u64,
        Just(256_u64),
        (0..64_u64).prop_map(|back| u64::MAX - back),
        (0..64_u64).prop_map(|bit| 1 << bit),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_open_nothing_and_harm_nobody(
        bytes in proptest::collection::vec(any::<u8>(), 0..700),
    ) {
        let _watchdog = Watchdog::new(PATIENCE);
        let name = UniqueName::new("arbitrary");
        replace(&name.path(), &bytes);
        prop_assert!(Mutex::<u64>::open(&name).is_err());
        open_and_use(&name);
    }

    #[test]
    fn damaged_objects_harm_nobody(
        changes in proptest::collection::vec((0..256 + PAYLOAD, any::<u8>()), 0..6),
        len in 0..600_usize,
    ) {
        let _watchdog = Watchdog::new(PATIENCE);
        let (name, mut bytes) = whole();
        changes.iter().for_each(|(place, byte)| bytes[*place] = *byte);
        bytes.resize(len, 0);
        replace(&name.path(), &bytes);
        open_and_use(&name);
    }

    /// The checksum is right, so that the sizes are all that stands between the header and the
    /// payload.
    #[test]
    fn hostile_sizes_never_reach_past_the_file(
        segment_size in hostile_number(),
        payload_offset in hostile_number(),
        payload_size in hostile_number(),
        payload in proptest::collection::vec(any::<u8>(), 0..256),
    ) {
        let _watchdog = Watchdog::new(PATIENCE);
        let name = UniqueName::new("hostile");
        let expected = Expected {
            kind: Kind::Mutex,
            tag: TypeTag::of::<u64>(),
            item_count: None,
            payload_size,
        };
        let header = Header::new(&expected, &here(), segment_size, payload_offset);
        let mut bytes = sealed(header, 256);
        bytes.extend(payload);
        replace(&name.path(), &bytes);
        open_and_use(&name);
    }

    /// A header in order over a payload that is not.
    #[test]
    fn hostile_payloads_harm_nobody(
        payload in proptest::collection::vec(any::<u8>(), PAYLOAD..=PAYLOAD),
    ) {
        let _watchdog = Watchdog::new(PATIENCE);
        let (name, mut bytes) = whole();
        bytes[256..].copy_from_slice(&payload);
        replace(&name.path(), &bytes);
        prop_assert!(Mutex::<u64>::open(&name).is_ok());
        open_and_use(&name);
    }
}
