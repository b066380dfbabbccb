//! Names that are none, and files under a name that are not what was expected: every kind of object
//! refuses them with an error that says so, and touches nothing.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use mp::codec::{Bytes, Plain};
use mp::queue::GetError;
use mp::{
    AnyArray, AnyValue, Array, Barrier, BoundedSemaphore, Condition, ErrorKind, Event, FrozenArray,
    JoinableQueue, Lock, MpmcQueue, Mutex, PermitSemaphore, Queue, RLock, RawArray, RawValue,
    Result, RwLock, Semaphore, SharedMemory, Value,
};
use mp_testkit::{UniqueName, Watchdog};

/// What a newcomer calls with a name: making, opening and unlinking an object of one kind.
struct Named {
    kind: &'static str,
    create: fn(&str) -> Result<()>,
    open: fn(&str) -> Result<()>,
    open_or_create: fn(&str) -> Result<()>,
    unlink: fn(&str) -> Result<()>,
}

macro_rules! named {
    ($kind:literal, $type:ty $(, $argument:expr)?) => {
        Named {
            kind: $kind,
            create: |name| <$type>::create_named(name $(, $argument)?).map(drop),
            open: |name| <$type>::open(name).map(drop),
            open_or_create: |name| <$type>::open_or_create(name $(, $argument)?).map(drop),
            unlink: |name| <$type>::unlink(name),
        }
    };
}

const EVERY_KIND: [Named; 19] = [
    named!("lock", Lock),
    named!("recursive lock", RLock),
    named!("reader-writer lock", RwLock),
    named!("mutex", Mutex<u64>, 7),
    named!("event", Event),
    named!("condition", Condition),
    named!("barrier", Barrier, 7),
    named!("semaphore", Semaphore, 7),
    named!("bounded semaphore", BoundedSemaphore, 7),
    named!("permit semaphore", PermitSemaphore, 7),
    named!("value", Value<u64>, 7),
    named!("raw value", RawValue<u64>, 7),
    named!("array", Array<u64>, 7),
    named!("raw array", RawArray<u64>, 7),
    named!("queue", Queue<String>),
    named!("queue of plain data", Queue<u64, Plain>),
    named!("joinable queue", JoinableQueue<String>),
    named!("bounded queue of plain values", MpmcQueue<u64>, 7),
    Named {
        kind: "shared memory",
        create: |name| SharedMemory::create(name, 64).map(drop),
        open: |name| SharedMemory::open(name).map(drop),
        open_or_create: |name| SharedMemory::open_or_create(name, 64).map(drop),
        unlink: SharedMemory::unlink,
    },
];

fn objects_with_headers() -> impl Iterator<Item = &'static Named> {
    EVERY_KIND
        .iter()
        .filter(|named| named.kind != "shared memory")
}

#[track_caller]
fn assert_kind(result: Result<()>, kind: ErrorKind, what: &str) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), kind, "{what}: {error}");
}

#[test]
fn what_cannot_be_a_name_is_refused_by_every_kind() {
    let too_long = "n".repeat(256);
    for named in &EVERY_KIND {
        for name in [
            "", "/", ".", "..", "a/b", "/a/b", "//a", "a/", "nul\0", "\0", "../etc", &too_long,
        ] {
            for operation in [named.create, named.open, named.open_or_create, named.unlink] {
                let what = format!("{} under {name:?}", named.kind);
                assert_kind(operation(name), ErrorKind::InvalidName, &what);
            }
        }
    }
}

#[test]
fn one_leading_slash_is_dropped_and_any_other_name_is_exact() -> Result<()> {
    let name = UniqueName::new("spaces ü 進程 \n");
    let value = Value::create_named(&format!("/{}", &*name), 5)?;
    assert!(name.path().exists());
    value.set(6)?;
    assert_eq!(Value::<i32>::open(&name)?.get(), 6);
    Value::<i32>::unlink(&name)
}

#[test]
fn longest_names_work() -> Result<()> {
    let start = UniqueName::new("long");
    let name = format!("{:x<255}", &*start);
    for named in &EVERY_KIND {
        (named.create)(&name)?;
        (named.open)(&name)?;
        (named.unlink)(&name)?;
    }
    Ok(())
}

#[test]
fn absent_and_present_names_are_told_apart() -> Result<()> {
    for named in &EVERY_KIND {
        let name = UniqueName::new("presence");
        assert_kind((named.open)(&name), ErrorKind::NotFound, named.kind);
        assert_kind((named.unlink)(&name), ErrorKind::NotFound, named.kind);
        (named.create)(&name)?;
        assert_kind((named.create)(&name), ErrorKind::AlreadyExists, named.kind);
        (named.open_or_create)(&name)?;
        (named.unlink)(&name)?;
        assert!(!name.path().exists(), "{}", named.kind);
    }
    Ok(())
}

fn make_fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    // SAFETY: `path` is a string that ends with NUL.
    let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(made, 0);
}

/// Opening a fifo for reading and writing would succeed, and for one of them wait for ever.
#[test]
fn no_link_fifo_socket_or_directory_is_followed_or_removed() {
    let _watchdog = Watchdog::new(Duration::from_secs(20));
    let target = UniqueName::new("target");
    drop(Value::create_named(&target, 7_u64).expect("a whole value"));
    let before = fs::read(target.path()).expect("its bytes");

    type Maker<'a> = &'a dyn Fn(&Path);
    let makers: [(&str, Maker<'_>); 5] = [
        ("link to a value", &|path| {
            std::os::unix::fs::symlink(target.path(), path).expect("a link");
        }),
        ("link to nothing", &|path| {
            std::os::unix::fs::symlink("/dev/shm/mp-test-nothing-here", path).expect("a link");
        }),
        ("fifo", &make_fifo),
        ("directory", &|path| {
            fs::create_dir(path).expect("a directory");
        }),
        ("socket", &|path| {
            drop(std::os::unix::net::UnixListener::bind(path).expect("a socket"));
        }),
    ];
    for named in &EVERY_KIND {
        for (file, make) in makers {
            let name = UniqueName::new("odd");
            make(&name.path());
            let what = format!("{} under a {file}", named.kind);
            for operation in [named.open, named.open_or_create, named.unlink] {
                assert_kind(operation(&name), ErrorKind::Foreign, &what);
            }
            assert_kind((named.create)(&name), ErrorKind::AlreadyExists, &what);
            assert!(name.path().symlink_metadata().is_ok(), "{what} is gone");
        }
    }
    assert_eq!(fs::read(target.path()).expect("its bytes"), before);
    assert!(!Path::new("/dev/shm/mp-test-nothing-here").exists());
}

/// The bytes of one object of each kind that has a header.
fn whole_objects() -> Vec<(&'static Named, UniqueName, Vec<u8>)> {
    objects_with_headers()
        .map(|named| {
            let name = UniqueName::new("whole");
            (named.create)(&name).expect(named.kind);
            let mut bytes = vec![0; 64 << 10];
            let file = fs::File::open(name.path()).expect("the file");
            let read = std::os::unix::fs::FileExt::read_at(&file, &mut bytes, 0).expect("bytes");
            bytes.truncate(read);
            (named, name, bytes)
        })
        .collect()
}

#[test]
fn another_kind_of_object_is_named_with_both_kinds() {
    for (found, name, _) in &whole_objects() {
        for expected in
            objects_with_headers().filter(|other| plain_kind(other) != plain_kind(found))
        {
            for open in [expected.open, expected.open_or_create] {
                let both = format!(
                    "found {}, expected {}",
                    plain_kind(found),
                    plain_kind(expected)
                );
                assert_kind(open(name), ErrorKind::WrongKind, &both);
                let error = open(name).expect_err(&both).to_string();
                assert!(error.contains(&both), "{error}");
            }
        }
    }
}

/// The kind without its codec, which a header does not tell.
fn plain_kind(named: &Named) -> &'static str {
    let kind = named.kind;
    kind.strip_suffix(" of plain data").unwrap_or(kind)
}

#[test]
fn another_element_type_is_refused_and_another_name_of_the_same_type_is_not() -> Result<()> {
    let name = UniqueName::new("types");
    let array = Array::<i64>::create_named(&name, 4)?;
    assert_kind(
        Array::<u64>::open(&name).map(drop),
        ErrorKind::WrongType,
        "u64",
    );
    assert_kind(
        Array::<f64>::open(&name).map(drop),
        ErrorKind::WrongType,
        "f64",
    );
    assert_kind(
        Array::<i32>::open(&name).map(drop),
        ErrorKind::WrongType,
        "i32",
    );
    assert_kind(
        Array::<[i64; 1]>::open(&name).map(drop),
        ErrorKind::WrongType,
        "[i64; 1]",
    );
    assert_kind(
        Array::<i64>::open_or_create(&name, 5).map(drop),
        ErrorKind::WrongSize,
        "length",
    );
    assert_kind(
        FrozenArray::<i64>::open(&name).map(drop),
        ErrorKind::InvalidState,
        "not frozen",
    );
    let any = AnyArray::open(&name)?;
    any.set(3, 9)?;
    assert_eq!(array.get(3)?, 9);
    assert_kind(
        AnyValue::open(&name).map(drop),
        ErrorKind::WrongKind,
        "value",
    );
    Array::<i64>::unlink(&name)
}

#[test]
fn a_queue_of_another_message_type_is_refused() -> Result<()> {
    let name = UniqueName::new("messages");
    let queue = Queue::<String>::create_named(&name)?;
    queue.put("text".to_owned())?;
    assert_kind(
        Queue::<u64>::open(&name).map(drop),
        ErrorKind::WrongType,
        "u64",
    );
    assert_kind(
        Queue::<Vec<String>>::open(&name).map(drop),
        ErrorKind::WrongType,
        "Vec",
    );
    assert_kind(
        Queue::<Vec<u8>, Bytes>::open(&name).map(drop),
        ErrorKind::WrongType,
        "bytes",
    );
    assert_kind(
        Queue::<u64, Plain>::open_or_create(&name).map(drop),
        ErrorKind::WrongType,
        "plain",
    );
    assert_eq!(Queue::<String>::open(&name)?.get()?, "text");
    Queue::<String>::unlink(&name)
}

#[test]
fn a_message_that_does_not_decode_is_lost_alone() -> Result<()> {
    let name = UniqueName::new("undecodable");
    let queue = Queue::<String>::create_named(&name)?;
    for word in ["before", "!spoilt!", "behind"] {
        queue.put(word.to_owned())?;
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.path())
        .expect("the file");
    let mut bytes = vec![0; 64 << 10];
    std::os::unix::fs::FileExt::read_at(&file, &mut bytes, 0).expect("its bytes");
    let place = bytes
        .windows(8)
        .position(|window| window == b"!spoilt!")
        .expect("it is there");
    std::os::unix::fs::FileExt::write_at(&file, b"\xff\xfe", place as u64).expect("written");

    assert_eq!(queue.get()?, "before");
    let error = queue.get().expect_err("not UTF-8");
    assert!(matches!(error, GetError::Decode(_)), "{error}");
    assert_eq!(queue.get()?, "behind");
    Queue::<String>::unlink(&name)
}

/// Writes the bytes as another file under the name, so that mappings of the old one are as they
/// were.
fn replace(name: &UniqueName, bytes: &[u8], len: u64) {
    fs::remove_file(name.path()).expect("it was there");
    fs::write(name.path(), bytes).expect("written");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(name.path())
        .expect("the file");
    file.set_len(len).expect("its length");
}

#[test]
fn cut_off_and_half_made_objects_are_refused() {
    for (named, name, bytes) in whole_objects() {
        let len = name.path().metadata().expect("the file").len();
        for cut in [0, 1, 8, 255, 256, 300.min(len - 1), len / 2, len - 1] {
            replace(&name, &bytes[..bytes.len().min(cut as usize)], cut);
            for open in [named.open, named.open_or_create] {
                let what = format!("{} cut to {cut} of {len}", named.kind);
                assert_kind(open(&name), ErrorKind::Truncated, &what);
            }
        }
        replace(&name, &[], len);
        assert_kind((named.open)(&name), ErrorKind::NotReady, named.kind);
        replace(&name, b"\x93NUMPY is what these bytes say", len);
        assert_kind((named.open)(&name), ErrorKind::Foreign, named.kind);
        replace(&name, &bytes, len);
        (named.open)(&name).expect("whole again");
    }
}

#[test]
fn no_flipped_byte_of_a_header_is_accepted() {
    const REFUSALS: [ErrorKind; 4] = [
        ErrorKind::Corrupt,
        ErrorKind::Foreign,
        ErrorKind::WrongVersion,
        ErrorKind::NotReady,
    ];
    for (named, name, bytes) in whole_objects() {
        let len = name.path().metadata().expect("the file").len();
        // Two words of the header change while it is used.
        for place in (0..224).chain(240..256) {
            let mut bytes = bytes.clone();
            bytes[place] ^= 0xff;
            replace(&name, &bytes, len);
            let error = (named.open)(&name).expect_err(named.kind);
            assert!(
                REFUSALS.contains(&error.kind()),
                "{} byte {place}: {error}",
                named.kind
            );
        }
    }
}

#[test]
fn objects_are_their_users_own_whatever_the_umask() -> Result<()> {
    fn create_all(name: String) -> Result<Vec<u32>> {
        // SAFETY: it changes how this process makes files, and nothing else runs in it.
        unsafe { libc::umask(0) };
        let mut modes = Vec::new();
        for named in &EVERY_KIND {
            (named.create)(&name)?;
            let file = Path::new("/dev/shm")
                .join(&name)
                .metadata()
                .expect("the file");
            modes.push(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777);
            (named.unlink)(&name)?;
        }
        Ok(modes)
    }
    let name = UniqueName::new("modes");
    let modes = mp::spawn(create_all, (name.to_string(),))?.result()??;
    assert_eq!(modes, [0o600; EVERY_KIND.len()]);
    Ok(())
}

/// Only root can give files away, and only root may open those of others.
#[test]
fn another_users_object_is_refused() {
    // SAFETY: it has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        mp_testkit::not_checked("only root can give a file away");
        return;
    }
    for named in &EVERY_KIND {
        let name = UniqueName::new("foreign-user");
        (named.create)(&name).expect(named.kind);
        std::os::unix::fs::chown(name.path(), Some(65534), None).expect("root may");
        for operation in [named.open, named.open_or_create] {
            assert_kind(operation(&name), ErrorKind::PermissionDenied, named.kind);
        }
        assert!(name.path().exists());
    }
}
