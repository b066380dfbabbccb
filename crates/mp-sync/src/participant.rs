//! The processes that take part in something, as words of shared memory.

use std::time::Duration;

use mp_layout::Error;
use mp_os::process_id::ProcessIdentity;

/// This process, whose word is never 0.
pub(crate) fn this_process() -> Result<ProcessIdentity, Error> {
    #[cfg(loom)]
    if let Some(dead) = crate::owner::dead_process() {
        return Ok(dead);
    }
    ProcessIdentity::current()
        .map_err(|source| Error::os("read the start time of", "this process", source))
}

/// Whether the process in `word` is proved to run no code any more. A word that names no process
/// names no living one; 0 is no process's.
///
/// A process that is being killed is found already when its bell rings, if its other threads have
/// stopped as well.
pub(crate) fn is_gone(word: u64) -> bool {
    if cfg!(miri) {
        return false;
    }
    match ProcessIdentity::from_word(word) {
        Some(process) => process.wait_end(Duration::ZERO).unwrap_or(false),
        None => word != 0,
    }
}
