//! What a child prints on standard error, for a parent that only joins it.

use std::time::Duration;

use mp_os::clock::Deadline;
use mp_os::this_process;

use crate::current;

/// How long it waits for the reader of a full pipe. A reader that first waits for the result must
/// get the result.
const PATIENCE: Duration = Duration::from_secs(1);

/// As `main` does with the error that it returns, and with the name of this process.
pub(crate) fn error(debug_text: &str) {
    say(&format!("{}: Error: {debug_text}\n", current::title()));
}

/// Writes in one piece, so that the lines of several processes do not mix.
pub(crate) fn say(text: &str) {
    // Without a standard error there is no reader either, and the parent gets the outcome in any
    // case.
    drop(this_process::write_stderr(
        text.as_bytes(),
        Deadline::after(PATIENCE),
    ));
}
