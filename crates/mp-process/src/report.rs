//! What a child says on standard error, for a parent that only joins it.

use std::io::{Write, stderr};

use crate::current;

/// As `main` does with the error that it returns, and with the name of this process.
pub(crate) fn error(debug_text: &str) {
    say(&format!("{}: Error: {debug_text}\n", current::title()));
}

/// Writes in one piece, so that the lines of several processes do not mix.
pub(crate) fn say(text: &str) {
    // Without a standard error there is no reader either.
    drop(stderr().write_all(text.as_bytes()));
}
