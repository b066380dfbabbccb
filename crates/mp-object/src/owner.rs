//! Which process an [`OwnerWord`] names, and the proof that it is dead.
//!
//! # If a process dies
//!
//! Its claims stay until another process sweeps them. A process that calls `exec` is not dead: what
//! it had claimed stays claimed until it ends. What a thread may claim that `exec` ends names the
//! program instead.

use core::num::NonZeroU64;

use mp_layout::{Error, ErrorKind, OwnerWord, Result};
pub use mp_os::process_id::ProcessIdentity;
pub use mp_os::program_id::ProgramIdentity;

/// This process, as owner words name it.
///
/// # Errors
///
/// If the system does not tell this process's start time (no `/proc`).
#[inline]
pub fn this_process() -> Result<ProcessIdentity> {
    ProcessIdentity::current()
        .map_err(|source| Error::os("read the start time of", "this process", source))
}

/// The process that an owner word names.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] if it names none.
pub fn process(owner: NonZeroU64) -> Result<ProcessIdentity> {
    ProcessIdentity::from_word(owner.get()).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "read", "owner word")
            .with_detail(format!("{owner:#x} names no process"))
    })
}

/// Whether a process is proven dead.
///
/// # Errors
///
/// If the system does not let it be proven.
pub fn is_dead(process: ProcessIdentity) -> Result<bool> {
    process
        .is_dead()
        .map_err(|source| Error::os("prove the death of", process.to_string(), source))
}

/// Whether the process that an owner word names is proven dead. Where that cannot be proven, it
/// counts as alive.
///
/// Only for words that [`this_process`] made. A word of [`this_program`] says less of the start
/// time, and its process would seem to be another one, long dead.
#[cold]
#[must_use]
pub fn is_proven_dead(owner: NonZeroU64) -> bool {
    process(owner).and_then(is_dead).unwrap_or(false)
}

/// The program that this process runs, as owner words name it whose claims `exec` is to end.
///
/// # Errors
///
/// As for [`this_process`].
pub fn this_program() -> Result<ProgramIdentity> {
    ProgramIdentity::current()
        .map_err(|source| Error::os("read the start time of", "this process", source))
}

/// Whether the program that an owner word names is proven to run no more: its process has ended, is
/// ending, or called `exec`. Where that cannot be proven, it counts as running.
///
/// Only for words that [`this_program`] made. Of a word of [`this_process`], the upper bits of the
/// start time would be taken for a program.
#[cold]
#[must_use]
pub fn is_proven_over(owner: NonZeroU64) -> bool {
    ProgramIdentity::from_word(owner).is_some_and(|program| program.is_over().unwrap_or(false))
}

/// Frees a word whose owner is dead, and returns that owner. Of several callers, one gets it.
///
/// ```
/// use mp_object::{OwnerWord, owner};
///
/// let word = OwnerWord::free();
/// word.claim(owner::this_process()?.into()).expect("free");
/// assert_eq!(owner::sweep(&word)?, None, "its owner lives");
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`process`] and [`is_dead`]; the word is left as it is.
pub fn sweep(word: &OwnerWord) -> Result<Option<ProcessIdentity>> {
    let Some(owner) = word.owner() else {
        return Ok(None);
    };
    let process = process(owner)?;
    Ok((is_dead(process)? && word.release(owner)).then_some(process))
}
