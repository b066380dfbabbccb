//! What is not checked is said where it is seen.

use std::process::Command;

const SKIP: &str = "MP_TESTKIT_SKIP";
const TEST: &str = "is_said_though_output_is_captured";

/// Also with one thread, where the harness begins a line before it runs the test.
#[test]
fn is_said_though_output_is_captured() {
    if std::env::var_os(SKIP).is_some() {
        eprintln!("an ordinary line");
        mp_testkit::not_checked("for a reason");
        return;
    }
    for threads in ["1", "2"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--test-threads", threads])
            .env(SKIP, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("an ordinary line"), "{said}");
        let line = format!("!!! NOT CHECKED: {TEST}: for a reason");
        assert!(said.lines().any(|said| said == line), "{said}");
    }
}
