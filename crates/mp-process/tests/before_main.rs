//! Code that the loader calls before `main`, and before this crate's own.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_process::{Process, current_process, parent_process, spawn};

static REFUSED: OnceLock<String> = OnceLock::new();

#[used]
#[unsafe(link_section = ".init_array.00200")]
static EAGER: extern "C" fn() = start_too_early;

/// As other code may have done by then; close-on-exec, as std opens everything.
static OPENED: OnceLock<File> = OnceLock::new();

extern "C" fn start_too_early() {
    OPENED.get_or_init(|| File::open("/proc/self/exe").expect("a program has one"));
    if let Err(error) = spawn(|| (), ()) {
        REFUSED.get_or_init(|| error.to_string());
    }
}

#[test]
fn a_start_before_main_is_an_error_and_no_fork_bomb() {
    let text = REFUSED.get().expect("it ran, and was refused");
    assert!(text.contains("when `main` has begun"), "{text}");
}

#[test]
fn a_question_before_main_does_not_mislead_a_child() {
    fn who() -> (String, bool, bool) {
        let name = current_process().name().to_owned();
        (name, parent_process().is_some(), REFUSED.get().is_some())
    }
    let process = spawn(who, ()).unwrap();
    assert!(process.join_timeout(Duration::from_secs(20)).unwrap());
    let (name, has_parent, was_refused) = process.result().unwrap();
    assert_eq!(name, process.get_name());
    assert!(has_parent && was_refused);
}

#[test]
fn a_file_that_was_opened_before_main_stays_open_in_a_child() {
    fn length() -> u64 {
        OPENED.get().unwrap().metadata().unwrap().len()
    }
    let process = spawn(length, ()).unwrap();
    assert!(process.join_timeout(Duration::from_secs(20)).unwrap());
    assert_eq!(process.result().unwrap(), length());
}

#[test]
fn a_passed_descriptor_whose_number_is_taken_before_main_is_an_error() {
    /// In every process of this program the file has the same number.
    fn parent() -> String {
        let number = OPENED.get().unwrap().as_raw_fd();
        // SAFETY: of a file that this process does not use after.
        let taken = unsafe { OwnedFd::from_raw_fd(number) };
        let mut process = Process::new(|| (), ()).pass_fd(taken);
        process.start().unwrap();
        let error = process.result().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidState);
        error.to_string()
    }
    let process = spawn(parent, ()).unwrap();
    assert!(process.join_timeout(Duration::from_secs(20)).unwrap());
    let text = process.result().unwrap();
    assert!(text.contains("in use in the child"), "{text}");
}
