//! The file that the program runs: deleted, built again, or given to its loader.

#[path = "shared/joined.rs"]
mod joined;
#[path = "shared/this_program.rs"]
mod this_program;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use joined::joined;
use mp_layout::ErrorKind;
use mp_process::spawn;
use serde::{Deserialize, Serialize};
use this_program::{assert_passed, with_test};

/// A directory with a copy of this program, removed at the end of the test.
struct Copied(PathBuf);

impl Copied {
    fn new(name: &str, build_id: BuildId) -> Self {
        let directory = format!("mp-process-{name}-{}", std::process::id());
        let copy = Self(std::env::temp_dir().join(directory));
        fs::create_dir_all(&copy.0).unwrap();
        // By a process of its own: one that other tests start at this moment would inherit the open
        // copy, and a file that is open for writing does not run (ETXTBSY).
        let written = spawn(write_copy, (copy.program(), build_id)).unwrap();
        joined(&written);
        written.result().unwrap();
        copy
    }

    fn program(&self) -> PathBuf {
        self.0.join("program")
    }

    /// Runs the copy with one of the `#[ignore]`d tests below, which must pass.
    #[track_caller]
    fn passes(&self, test: &str) {
        assert_passed(&with_test(self.program(), test).output().unwrap());
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum BuildId {
    Kept,
    Removed,
}

fn write_copy(to: PathBuf, build_id: BuildId) {
    let mut program = fs::read("/proc/self/exe").unwrap();
    if let BuildId::Removed = build_id {
        // The type of a note (3) and its owner, as the ELF specification has them.
        let note = [3, 0, 0, 0, b'G', b'N', b'U', 0];
        let find = |bytes: &[u8]| bytes.windows(8).position(|bytes| bytes == note);
        while let Some(place) = find(&program) {
            program[place] = 0x7f;
        }
    }
    fs::write(&to, program).unwrap();
    fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn starts_when_the_executable_was_deleted() {
    Copied::new("deleted", BuildId::Kept).passes("helper_deletes_itself");
}

#[test]
#[ignore = "run by another test in a program that may be deleted"]
fn helper_deletes_itself() {
    fs::remove_file(std::env::current_exe().unwrap()).unwrap();
    let process = spawn(|n: u8| n, (3,)).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), 3);
}

#[test]
fn a_program_without_build_id_starts_processes() {
    Copied::new("no-build-id", BuildId::Removed).passes("helper_starts_a_process");
}

#[test]
#[ignore = "run by another test in a program without build id"]
fn helper_starts_a_process() {
    let process = spawn(|n: u8| n, (3,)).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), 3);
}

#[test]
fn a_program_that_was_built_again_before_its_first_start_is_noticed() {
    Copied::new("rebuilt", BuildId::Removed).passes("helper_is_built_again");
}

#[test]
#[ignore = "run by another test in a program without build id that may be changed"]
fn helper_is_built_again() {
    // The kernel does not let a running program be written; its time of change can be set.
    let program = File::open(std::env::current_exe().unwrap()).unwrap();
    program.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let process = spawn(|n: u8| n, (3,)).unwrap();
    joined(&process);
    let error = process.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("replaced in place"), "{error}");
}

/// The path of the dynamic loader that runs this program; `None` for a static program.
fn own_loader() -> Option<String> {
    // SAFETY: takes a number, and reads what the kernel told this process at its start.
    let place = unsafe { libc::getauxval(libc::AT_BASE) };
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps
        .lines()
        .find(|line| line.starts_with(&format!("{place:x}-")))?;
    Some(line[line.find('/')?..].to_owned())
}

#[test]
#[cfg_attr(
    target_feature = "crt-static",
    ignore = "a static program has no loader"
)]
fn a_program_that_its_loader_runs_does_not_start_the_loader_in_its_place() {
    let loader = own_loader().expect("this program is dynamic");
    let mut program = Command::new(loader);
    let ran = program
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "helper_is_run_by_its_loader", "--ignored"])
        .output()
        .unwrap();
    assert_passed(&ran);
}

#[test]
#[ignore = "run by another test through the loader"]
fn helper_is_run_by_its_loader() {
    let error = spawn(|| 3_u8, ()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(
        text.contains("through its loader") && text.contains("/proc/self/exe"),
        "{text}"
    );
}
