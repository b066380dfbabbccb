//! Which descriptors a child has, and what becomes of a task that closes those it did not open.

#[path = "shared/joined.rs"]
mod joined;

use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use joined::{LONG, await_end, joined};
use mp_layout::ErrorKind;
use mp_object::{Event, Mutex};
use mp_os::descriptor;
use mp_os::memfd::{self, Commit};
use mp_process::{Process, Status, spawn, take_passed_fd};

/// Lets programs that this process starts inherit the descriptor.
fn make_inheritable(descriptor: BorrowedFd<'_>) {
    // SAFETY: takes numbers; no flag is set.
    let set = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFD, 0) };
    assert_eq!(set, 0);
}

fn inode(file: OwnedFd) -> (u64, u64) {
    let file = File::from(file).metadata().unwrap();
    (file.dev(), file.ino())
}

#[test]
fn a_descriptor_without_close_on_exec_stays_in_its_process() {
    fn child(ready: Event, end: Event) {
        ready.set();
        end.wait();
    }
    let (mut reader, writer): (PipeReader, _) = pipe().unwrap();
    make_inheritable(writer.as_fd());
    let (ready, end) = (Event::new().unwrap(), Event::new().unwrap());
    let process = spawn(child, (ready.clone(), end.clone())).unwrap();
    assert!(ready.wait_timeout(LONG));
    drop(writer);
    // Blocks for as long as the child has the other end.
    let (done, is_done) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let read = reader.read(&mut [0; 8]).unwrap();
        done.send(read).unwrap();
    });
    let read = is_done.recv_timeout(LONG);
    end.set();
    joined(&process);
    thread.join().unwrap();
    assert_eq!(read, Ok(0), "the child keeps the pipe open");
}

#[test]
fn standard_output_travels_and_objects_do() {
    fn look(object: Mutex<u8>) -> (u8, u64) {
        let out = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        (*object.lock().unwrap(), inode(out).1)
    }
    let out = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    let process = spawn(look, (Mutex::new(7).unwrap(),)).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), (7, inode(out).1));
}

fn close_all() {
    // SAFETY: what is being tested is what happens to those who use them.
    assert_eq!(unsafe { libc::close_range(0, u32::MAX, 0) }, 0);
}

#[test]
fn a_task_that_closed_every_descriptor_returns_its_value() {
    fn number() -> u32 {
        close_all();
        42
    }
    fn many() -> Vec<u32> {
        close_all();
        (0..1_000_000).collect()
    }
    fn object() -> (Mutex<u64>, u8) {
        close_all();
        (Mutex::new(5).unwrap(), 6)
    }
    fn error() -> Result<(), String> {
        close_all();
        Err("late".to_owned())
    }
    let process = spawn(number, ()).unwrap();
    joined(&process);
    assert_eq!(
        (process.result().unwrap(), process.exitcode()),
        (42, Some(0))
    );
    let process = spawn(many, ()).unwrap();
    joined(&process);
    assert!(process.result().unwrap().into_iter().eq(0..1_000_000));
    let process = spawn(object, ()).unwrap();
    joined(&process);
    let (mutex, six) = process.result().unwrap();
    assert_eq!((*mutex.lock().unwrap(), six), (5, 6));
    let process = spawn(error, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), Err("late".to_owned()));
    assert_eq!(process.exitcode(), Some(1));
}

#[test]
fn a_task_that_closed_every_descriptor_and_panics_is_heard() {
    let process = spawn(
        || {
            close_all();
            panic!("in the dark")
        },
        (),
    )
    .unwrap();
    joined(&process);
    let Status::Panicked(panic) = process.status() else {
        panic!("{process:?}");
    };
    assert_eq!(panic.message(), "in the dark");
}

#[test]
fn values_of_many_that_closed_everything_go_to_their_own_processes() {
    fn number(n: u32) -> u32 {
        close_all();
        n
    }
    let processes: Vec<_> = (0..30).map(|n| spawn(number, (n,)).unwrap()).collect();
    // From the last, so that each finds those of the others first.
    for (process, n) in processes.iter().zip(0..30).rev() {
        joined(process);
        assert_eq!(process.result().unwrap(), n);
    }
}

#[test]
fn a_file_that_got_the_number_of_a_closed_descriptor_is_not_written_to() {
    fn task(path: String) -> u8 {
        let most = std::fs::read_dir("/proc/self/fd").unwrap().count() as i32 + 8;
        close_all();
        for _ in 0..most {
            // Left open, so that every number below is a file of the task.
            let file = File::options().append(true).open(&path).unwrap();
            std::mem::forget(file);
        }
        9
    }
    let path = std::env::temp_dir().join(format!("mp-process-taken-{}", std::process::id()));
    std::fs::write(&path, b"").unwrap();
    let process = spawn(task, (path.to_str().unwrap().to_owned(),)).unwrap();
    joined(&process);
    let written = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(process.result().unwrap(), 9);
    assert!(written.is_empty(), "{} bytes were written", written.len());
}

#[test]
fn a_task_that_leaks_files_up_to_its_limit_returns_its_value() {
    fn leak() -> u32 {
        let few = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: takes a limit, which ends with this process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
        while let Ok(file) = File::open("/dev/null") {
            std::mem::forget(file);
        }
        42
    }
    let process = spawn(leak, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), 42);
}

#[test]
fn an_err_comes_back_while_nobody_reads_standard_error() {
    fn parent() -> bool {
        let (reader, writer) = pipe().unwrap();
        // SAFETY: takes numbers; standard error of this process goes nowhere from here on.
        assert_eq!(unsafe { libc::dup2(writer.as_raw_fd(), 2) }, 2);
        // SAFETY: takes numbers.
        let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
        std::io::Write::write_all(&mut &writer, &vec![b'.'; size as usize]).unwrap();
        let process = spawn(|| Err::<(), _>(vec![7_u8; 1 << 20]), ()).unwrap();
        joined(&process);
        let is_returned = process.result().unwrap() == Err(vec![7; 1 << 20]);
        drop(reader);
        is_returned
    }
    let process = spawn(parent, ()).unwrap();
    joined(&process);
    assert!(process.result().unwrap());
}

#[test]
fn results_that_wait_for_a_descriptor_are_not_taken_for_a_killed_childs() {
    fn number(n: u32) -> u32 {
        close_all();
        n
    }
    fn parent() -> (Status, Option<ErrorKind>, Status, Vec<u32>) {
        let late: Vec<_> = (1..=3).map(|n| spawn(number, (n,)).unwrap()).collect();
        let killed = spawn(|| std::thread::sleep(Duration::MAX), ()).unwrap();
        let left = spawn(|| std::process::exit(3), ()).unwrap();
        killed.kill().unwrap();
        late.iter().for_each(await_end);
        await_end(&killed);
        await_end(&left);
        let few = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: takes a limit, which ends with this process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
        let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        let status = killed.status();
        let error = killed.result().err().map(|error| error.kind());
        let left = left.status();
        drop(files);
        let values = late.iter().map(|process| process.result().unwrap());
        (status, error, left, values.collect())
    }
    let process = spawn(|| format!("{:?}", parent()), ()).unwrap();
    joined(&process);
    let expected = (
        Status::Signaled {
            signal: libc::SIGKILL,
            core: false,
        },
        Some(ErrorKind::ProcessDied),
        Status::Exited(3),
        vec![1, 2, 3],
    );
    assert_eq!(process.result().unwrap(), format!("{expected:?}"));
}

/// The numbers of descriptors and the sizes of their files.
type Sizes = Vec<(RawFd, u64)>;

/// Takes these descriptors.
fn take_sizes(numbers: Vec<RawFd>, _object: Mutex<u8>) -> Sizes {
    let size = |number: &RawFd| {
        let file = take_passed_fd(*number).expect("it was passed");
        // SAFETY: takes a number.
        let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
        assert!(take_passed_fd(*number).is_none(), "it was taken");
        (file.as_raw_fd(), File::from(file).metadata().unwrap().len())
    };
    numbers.iter().map(size).collect()
}

#[test]
fn passed_descriptors_keep_their_numbers() {
    // Low numbers, which the child's own descriptors would have, and one far above.
    fn parent() -> (Sizes, Sizes) {
        let files: Vec<OwnedFd> = (1..=12)
            .map(|size| memfd::create("passed", size, Commit::Sparse).unwrap())
            .collect();
        let far = descriptor::copy_as(files[0].as_fd(), 200).unwrap().unwrap();
        let sizes = (2..=12).rev().chain([1]);
        let files: Vec<_> = files.into_iter().skip(1).rev().chain([far]).collect();
        let numbers: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let expected = numbers.iter().copied().zip(sizes).collect();
        let object = Mutex::new(0).unwrap();
        let mut process = Process::new(take_sizes, (numbers.clone(), object));
        for file in files {
            process = process.pass_fd(file);
        }
        process.start().unwrap();
        joined(&process);
        let is_closed = |number: &RawFd| {
            // SAFETY: takes a number.
            unsafe { libc::fcntl(*number, libc::F_GETFD) == -1 }
        };
        assert!(numbers.iter().all(is_closed), "the parent keeps none");
        (process.result().unwrap(), expected)
    }
    let process = spawn(parent, ()).unwrap();
    joined(&process);
    let (found, expected) = process.result().unwrap();
    assert_eq!(found, expected);
}

#[test]
fn a_standard_stream_is_not_passed() {
    fn parent() -> String {
        // SAFETY: standard input of this process, which nothing else uses.
        let stdin = unsafe { OwnedFd::from_raw_fd(0) };
        let mut process = Process::new(|| (), ()).pass_fd(stdin);
        let error = process.start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    }
    let process = spawn(parent, ()).unwrap();
    joined(&process);
    let text = process.result().unwrap();
    assert!(text.contains("descriptor 0 is a standard stream"), "{text}");
}

#[test]
fn a_passed_descriptor_above_the_childs_limit_is_an_error() {
    fn parent() -> String {
        let (reader, _writer) = pipe().unwrap();
        let file = descriptor::copy_as(reader.as_fd(), 100).unwrap().unwrap();
        let few = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: takes a limit, which ends with this process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
        let mut process = Process::new(|| (), ()).pass_fd(file);
        process.start().unwrap();
        joined(&process);
        process.result().unwrap_err().to_string()
    }
    let process = spawn(parent, ()).unwrap();
    joined(&process);
    let text = process.result().unwrap();
    assert!(
        text.contains("descriptor 100 of the parent") && text.contains("ulimit -n"),
        "{text}"
    );
}
