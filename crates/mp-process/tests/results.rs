//! What comes back from a process: its value, its panic, or an error that says why there is none.

#[path = "shared/joined.rs"]
mod joined;

use joined::{LONG, joined, started};
use mp_layout::ErrorKind;
use mp_object::{Event, Mutex};
use mp_process::{Process, Run, Status, spawn};
use serde::{Deserialize, Serialize};

fn add(a: i32, b: i64) -> i64 {
    i64::from(a) + b
}

#[test]
fn gives_the_value_back_more_than_once() {
    let process = spawn(add, (40, 2)).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), 42);
    assert_eq!(process.result().unwrap(), 42);
    assert_eq!(process.exitcode(), Some(0));
    assert_eq!(process.status(), Status::Exited(0));
}

#[test]
fn takes_up_to_eight_arguments() {
    #[expect(clippy::too_many_arguments)]
    fn eight(a: u8, b: u16, c: u32, d: u64, e: f64, f: bool, g: char, h: String) -> String {
        format!("{a}{b}{c}{d}{e}{f}{g}{h}")
    }
    let process = spawn(eight, (1, 2, 3, 4, 5.5, true, 'g', "h".to_owned())).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), "12345.5truegh");
}

#[test]
fn runs_closures_without_captures_and_functions_of_std() {
    let process = spawn(|n: u64| n * n, (12,)).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), 144);
    let process = spawn(std::process::id, ()).unwrap();
    joined(&process);
    assert_eq!(Some(process.result().unwrap()), process.pid());
    assert_ne!(process.pid(), Some(std::process::id()));
}

#[test]
fn shares_objects_and_sends_them_back() {
    fn make(given: Mutex<u64>) -> (Mutex<u64>, Mutex<u64>) {
        *given.lock().unwrap() += 1;
        (given, Mutex::new(77).unwrap())
    }
    let given = Mutex::new(1_u64).unwrap();
    let process = spawn(make, (given.clone(),)).unwrap();
    joined(&process);
    let (same, new) = process.result().unwrap();
    assert_eq!(*same.lock().unwrap(), 2);
    *same.lock().unwrap() = 9;
    assert_eq!(*given.lock().unwrap(), 9);
    assert_eq!(*new.lock().unwrap(), 77);
    let (_, again) = process.result().unwrap();
    *again.lock().unwrap() = 78;
    assert_eq!(*new.lock().unwrap(), 78);
}

#[test]
fn carries_many_objects() {
    fn set_all(events: Vec<Event>) -> Vec<Event> {
        events.iter().for_each(|event| event.set());
        events
    }
    let events: Vec<_> = (0..300).map(|_| Event::new().unwrap()).collect();
    let process = spawn(set_all, (events.clone(),)).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap().len(), 300);
    assert!(events.iter().all(|event| event.is_set()));
}

#[test]
fn carries_large_values_both_ways_while_nobody_reads() {
    let bytes: Vec<u32> = (0..2_000_000).collect();
    let process = spawn(
        |mut v: Vec<u32>| {
            v.reverse();
            v
        },
        (bytes.clone(),),
    )
    .unwrap();
    // The child ends though its result is not read.
    joined(&process);
    let mut reversed = process.result().unwrap();
    reversed.reverse();
    assert!(reversed == bytes);
}

#[test]
fn an_err_is_delivered_and_exits_with_1() {
    fn fails(n: i32) -> Result<i32, String> {
        Err(format!("{n} is bad"))
    }
    let process = spawn(fails, (3,)).unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(1));
    assert_eq!(process.result().unwrap(), Err("3 is bad".to_owned()));

    fn missing() -> mp_layout::Result<u64> {
        Ok(std::fs::metadata("/does/not/exist")?.len())
    }
    let process = spawn(missing, ()).unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(1));
    let error = process.result().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_panic_is_delivered_as_data() {
    fn boom(n: u32) -> u32 {
        panic!("no {n} here")
    }
    let process = started(Process::new(boom, (8,)).env("RUST_BACKTRACE", "1"));
    joined(&process);
    assert_eq!(process.exitcode(), Some(1));
    let Status::Panicked(panic) = process.status() else {
        panic!("{process:?}");
    };
    assert_eq!(panic.message(), "no 8 here");
    assert!(
        panic.location().unwrap().contains("tests/results.rs:"),
        "{panic}"
    );
    assert!(panic.backtrace().unwrap().contains("boom"), "{panic:?}");
    let error = process.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("no 8 here"), "{error}");
}

#[test]
fn a_panic_that_the_task_catches_is_its_own_affair() {
    fn careful() -> bool {
        std::panic::catch_unwind(|| panic!("caught")).is_err()
            && std::thread::spawn(|| panic!("in a thread")).join().is_err()
    }
    let process = spawn(careful, ()).unwrap();
    joined(&process);
    assert!(process.result().unwrap());
    assert_eq!(process.status(), Status::Exited(0));
}

#[test]
fn a_panic_with_a_value_or_a_foreign_hook_is_delivered() {
    fn odd() {
        std::panic::panic_any(7_u8)
    }
    let process = spawn(odd, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap_err().kind(), ErrorKind::Panicked);

    fn quiet() {
        std::panic::set_hook(Box::new(|_| {}));
        panic!("unheard")
    }
    let process = spawn(quiet, ()).unwrap();
    joined(&process);
    let Status::Panicked(panic) = process.status() else {
        panic!("{process:?}");
    };
    assert_eq!((panic.message(), panic.location()), ("unheard", None));
}

#[test]
fn an_exit_before_the_end_is_no_result() {
    fn leave(code: i32) -> u8 {
        std::process::exit(code)
    }
    for code in [0, 3] {
        let process = spawn(leave, (code,)).unwrap();
        joined(&process);
        assert_eq!(process.exitcode(), Some(code));
        let error = process.result().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProcessDied);
        assert!(
            error
                .to_string()
                .contains(&format!("exited with code {code} before")),
            "{error}"
        );
    }
}

/// Writes itself, and refuses to be read.
struct Unreadable;

impl Serialize for Unreadable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("never"))
    }
}

/// Refuses to be written.
#[derive(Deserialize)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

#[test]
fn what_does_not_travel_is_an_error_and_no_hang() {
    let process = spawn(|_: Unreadable| (), (Unreadable,)).unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(1));
    let error = process.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("Unreadable"), "{error}");

    let process = spawn(|| Unwritable, ()).unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(1));
    let error = process.result().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);

    let process = spawn(|| Unreadable, ()).unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(0));
    assert_eq!(
        process.result().map(drop).unwrap_err().kind(),
        ErrorKind::Decode
    );

    let error = spawn(|_: Unwritable| (), (Unwritable,))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
}

/// Loses a field now and then.
#[derive(Serialize, Deserialize)]
struct Sparse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    number: u8,
    rest: Vec<u8>,
}

/// Without the note its bytes are those of another value.
fn sparse(note: Option<u8>) -> Sparse {
    Sparse {
        note,
        number: 1,
        rest: vec![0],
    }
}

#[test]
fn an_argument_or_a_result_with_a_field_left_out_is_refused() {
    fn sum(sparse: Sparse) -> u8 {
        sparse.note.unwrap_or(0) + sparse.number + sparse.rest[0]
    }

    let error = spawn(sum, (sparse(None),)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().contains("`note`"), "{error}");

    let process = spawn(|| sparse(None), ()).unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(1));
    let error = process.result().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().contains("`note`"), "{error}");

    assert_eq!(spawn(sum, (sparse(Some(5)),)).unwrap().result().unwrap(), 6);
    let whole = spawn(|| sparse(Some(5)), ()).unwrap().result().unwrap();
    assert_eq!((whole.note, whole.number), (Some(5), 1));
}

/// Writes more than it reads.
#[derive(Serialize, Deserialize)]
struct Longer {
    number: u8,
    #[serde(skip_deserializing)]
    cached: u16,
}

#[test]
fn an_argument_or_a_result_with_bytes_left_over_is_refused() {
    fn longer() -> Longer {
        Longer {
            number: 1,
            cached: 300,
        }
    }

    let process = spawn(|given: Longer| given.cached, (longer(),)).unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(1));
    let error = process.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(
        error.to_string().contains("2 bytes are left over"),
        "{error}"
    );

    let process = spawn(longer, ()).unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(0));
    let error = process.result().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(
        error.to_string().contains("2 bytes are left over"),
        "{error}"
    );
}

#[test]
fn a_task_that_never_returns_is_a_task() {
    fn serves(ready: Event) -> ! {
        ready.set();
        loop {
            std::thread::park();
        }
    }
    let ready = Event::new().unwrap();
    let process = spawn(serves, (ready.clone(),)).unwrap();
    assert!(ready.wait_timeout(LONG), "it never ran");
    process.terminate().unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(-libc::SIGTERM));
    let error = process.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProcessDied);

    let process = spawn(|code: i32| std::process::exit(code), (3,)).unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(3));

    let process = spawn(|| panic!("as it does"), ()).unwrap();
    joined(&process);
    let error = process.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
}

#[test]
fn a_type_with_run_is_a_process() {
    #[derive(Serialize, Deserialize)]
    struct Sum {
        parts: Vec<u64>,
    }
    impl Run for Sum {
        type Output = u64;
        fn run(self) -> u64 {
            self.parts.iter().sum()
        }
        fn name(&self) -> Option<String> {
            Some(format!("sum of {}", self.parts.len()))
        }
    }
    let process = started(Process::from_run(Sum {
        parts: vec![1, 2, 3],
    }));
    joined(&process);
    assert_eq!(process.get_name(), "sum of 3");
    assert_eq!(process.result().unwrap(), 6);
}

#[test]
fn a_backtrace_can_be_declined() {
    fn boom() {
        panic!("short")
    }
    let process = started(Process::new(boom, ()).env("RUST_BACKTRACE", "0"));
    joined(&process);
    let Status::Panicked(panic) = process.status() else {
        panic!("{process:?}");
    };
    assert!(panic.location().is_some());
    assert_eq!(panic.backtrace(), None);
}
