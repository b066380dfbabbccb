//! What a test could not check on this machine.

use std::io::Write;
use std::panic::Location;

/// Says on the real standard error that the calling test checks nothing, or less than its name
/// says, and why.
///
/// A test that returns early counts as passed, and the harness shows no output of a test that
/// passes. This line is seen all the same, and a run's log can be searched for it: `!!! NOT
/// CHECKED: <test>: <why>`.
///
/// ```
/// let is_root = true;
/// if !is_root {
///     mp_testkit::not_checked("only root can give a file away");
///     return;
/// }
/// ```
///
/// # Panics
///
/// If standard error takes no line.
#[track_caller]
pub fn not_checked(why: &str) {
    let place = Location::caller();
    let thread = std::thread::current();
    // The harness names a test's thread after the test.
    let test = match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => place.to_string(),
    };
    // With one thread the harness has written `test <name> ... ` without an end of line. It
    // captures what `eprintln!` writes, but not this.
    let line = format!("\n!!! NOT CHECKED: {test}: {why}\n");
    let said = std::io::stderr().write_all(line.as_bytes());
    said.expect("standard error takes a line");
}
