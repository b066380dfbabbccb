//! Standard input, output and error of a child, and what it says there.
//!
//! The programs in these tests are this one, run again with other streams.

#[path = "shared/joined.rs"]
mod joined;
#[path = "shared/this_program.rs"]
mod this_program;

use std::process::Command;

use joined::joined;
use mp_layout::ErrorKind;
use mp_os::clock::Deadline;
use mp_process::{Process, spawn};
use mp_testkit::refuse;
use this_program::{assert_passed, this_program};

#[test]
fn the_child_reads_the_real_standard_input() {
    use std::io::Write;
    use std::process::Stdio;
    let mut program = this_program("helper_reads_stdin");
    let mut program = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    program
        .stdin
        .take()
        .unwrap()
        .write_all(b"a line for the child")
        .unwrap();
    let ran = program.wait_with_output().unwrap();
    assert_passed(&ran);
}

#[test]
#[ignore = "run by another test with a pipe as standard input"]
fn helper_reads_stdin() {
    /// By a program of the child's, which is no child of ours.
    fn read() -> String {
        let ran = Command::new("cat")
            .stdin(std::process::Stdio::inherit())
            .output()
            .unwrap();
        String::from_utf8(ran.stdout).unwrap()
    }
    let process = spawn(read, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), "a line for the child");
}

#[test]
fn what_the_child_printed_is_flushed() {
    let ran = this_program("helper_prints_in_a_child").output().unwrap();
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("no line end here"),
        "{ran:?}"
    );
}

#[test]
#[ignore = "run by another test that reads the output"]
fn helper_prints_in_a_child() {
    joined(&spawn(|| print!("no line end here"), ()).unwrap());
}

#[test]
fn a_strangers_socket_as_standard_input_is_left_alone() {
    let (ours, theirs) = mp_os::socket::pair().unwrap();
    mp_os::socket::send(&ours, b"for somebody else", &[]).unwrap();
    let kept = theirs.try_clone().unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap());
    let ran = program.arg("--list").stdin(theirs).output().unwrap();
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("helper_reads_stdin"),
        "{ran:?}"
    );
    let mut buffer = [0; 64];
    let message = mp_os::socket::recv_deadline(&kept, &mut buffer, Deadline::PASSED).unwrap();
    assert_eq!(&buffer[..message.len], b"for somebody else");
}

fn standard_error_of(helper: &str) -> String {
    let mut program = this_program(helper);
    let ran = program.env_remove("RUST_BACKTRACE").output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stderr).unwrap()
}

#[test]
fn a_panic_on_standard_error_names_the_process() {
    let text = standard_error_of("helper_children_panic");
    let has = |wanted: &str| text.lines().any(|line| line.contains(wanted));
    assert!(has("process 'first' (") && has(") panicked at "), "{text}");
    assert!(text.contains("tests/streams.rs:"), "{text}");
    assert!(has("not today") && has("RUST_BACKTRACE=1"), "{text}");
    assert!(
        has("process 'second' (") && has(", thread 'helper' panicked at "),
        "{text}"
    );
    assert!(
        has("process 'third' (") && has("with a trace") && has("stack backtrace:"),
        "{text}"
    );
    assert!(!text.contains("unnamed"), "{text}");
}

#[test]
#[ignore = "run by another test that reads its standard error"]
fn helper_children_panic() {
    fn in_a_thread() {
        let thread = std::thread::Builder::new().name("helper".to_owned());
        let ended = thread.spawn(|| panic!("in a thread")).unwrap().join();
        assert!(ended.is_err());
    }
    let processes = [
        Process::new(|| panic!("not today"), ()).name("first"),
        Process::new(in_a_thread, ()).name("second"),
        Process::new(|| panic!("with a trace"), ())
            .name("third")
            .env("RUST_BACKTRACE", "1"),
    ];
    for mut process in processes {
        process.start().unwrap();
        joined(&process);
    }
}

#[test]
fn an_err_is_said_on_standard_error_though_the_parent_only_joins() {
    let text = standard_error_of("helper_children_return_err");
    let says = |name: &str, error: &str| {
        text.lines().any(|line| {
            line.starts_with(&format!("process '{name}' ("))
                && line.ends_with(&format!("): Error: {error}"))
        })
    };
    assert!(says("text", "\"3 is bad\""), "{text}");
    assert!(
        says("own", "TooLarge { limit: 7, given: [8, 9] }"),
        "{text}"
    );
    assert!(says("mp", "Closed(put into a queue: closed)"), "{text}");
    let unread = text.lines().find(|line| line.contains("'unread'"));
    assert!(
        unread.is_some_and(|line| line.contains("Error: Decode(") && line.contains("Lossy")),
        "{text}"
    );
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[derive(serde::Serialize, serde::Deserialize)]
enum OwnError {
    TooLarge { limit: u8, given: Vec<u8> },
}

/// Writes nothing, and then lacks what it reads.
struct Lossy;

impl serde::Serialize for Lossy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Lossy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(|_| Self)
    }
}

#[test]
#[ignore = "run by another test that reads its standard error"]
fn helper_children_return_err() {
    fn join_only<R: mp_process::Returned>(name: &str, process: Process<R>) -> Process<R> {
        let mut process = process.name(name);
        process.start().unwrap();
        joined(&process);
        assert_eq!(process.exitcode(), Some(1));
        process
    }
    let text = Process::new(|n: u8| Err::<(), _>(format!("{n} is bad")), (3,));
    let text = join_only("text", text);
    let own = || {
        Err::<u8, _>(OwnError::TooLarge {
            limit: 7,
            given: vec![8, 9],
        })
    };
    join_only("own", Process::new(own, ()));
    let closed = || {
        let error = mp_layout::Error::new(ErrorKind::Closed, "put into", "a queue");
        Err::<(), _>(error)
    };
    join_only("mp", Process::new(closed, ()));
    join_only("unread", Process::new(|_: Lossy| (), (Lossy,)));
    let also = text.result().unwrap();
    assert_eq!(
        also,
        Err("3 is bad".to_owned()),
        "the parent has it as well"
    );
}

#[test]
fn a_child_that_closed_its_way_and_finds_no_other_says_so() {
    let text = standard_error_of("helper_child_cannot_answer");
    let line = text
        .lines()
        .find(|line| line.starts_with("process 'mute' ("));
    let says = |line: &str| line.contains("the task closed the descriptor");
    assert!(line.is_some_and(says), "{text}");
}

#[test]
#[ignore = "run by another test that reads its standard error"]
fn helper_child_cannot_answer() {
    fn mute() -> u8 {
        refuse(libc::SYS_connect, libc::EPERM, None);
        // SAFETY: what is being tested is what happens to those who use them.
        unsafe { libc::close_range(3, u32::MAX, 0) };
        1
    }
    let mut process = Process::new(mute, ()).name("mute");
    process.start().unwrap();
    joined(&process);
    let error = process.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProcessDied);
    assert_eq!(process.exitcode(), Some(1));
}
