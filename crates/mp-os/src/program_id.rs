//! A program that a process runs, by a name that no other one gets: what `exec` ends.

use std::io;
use std::num::NonZeroU64;

use crate::pidfd::PidFd;
use crate::proc_stat::Stat;
use crate::process_id::{Image, ProcessIdentity};

const PID_BITS: u32 = 22;
const START_BITS: u32 = 26;

/// A process and which of the programs that it runs one after the other, by `exec`, as one word
/// that shared memory can hold.
///
/// | bits | meaning |
/// |---|---|
/// | 0..22 | the process's number, never 0 |
/// | 22..48 | the last bits of its start time |
/// | 48..64 | the last bits of its [`Image`], both halves together; 0 if it is not known |
///
/// The word names less than a [`ProcessIdentity`] and an image. What differs is over. What is over
/// may, by one chance in many thousands, be taken for what runs under its number, and counts as
/// running then.
///
/// # Examples
///
/// ```
/// use mp_os::program_id::ProgramIdentity;
///
/// # if cfg!(miri) { return Ok(()) }
/// let me = ProgramIdentity::current()?;
/// assert_eq!(ProgramIdentity::from_word(me.into()), Some(me));
/// assert_eq!(me.pid(), std::process::id());
/// assert!(!me.is_over()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramIdentity(NonZeroU64);

impl ProgramIdentity {
    /// The program that this process runs.
    ///
    /// # Errors
    ///
    /// As for [`ProcessIdentity::current`].
    pub fn current() -> io::Result<Self> {
        let (process, image) = ProcessIdentity::current_image()?;
        let image = u64::from(fold(image)) << (PID_BITS + START_BITS);
        // The lower bits are those of the process, number first.
        let word = process.word() & ((1 << (PID_BITS + START_BITS)) - 1) | image;
        NonZeroU64::new(word)
            .and_then(Self::from_word)
            .ok_or_else(|| io::Error::other("no process has the number 0"))
    }

    /// The program in a word of shared memory; `None` if the word cannot be one.
    #[must_use]
    pub fn from_word(word: NonZeroU64) -> Option<Self> {
        let program = Self(word);
        (program.pid() != 0).then_some(program)
    }

    /// The process's number.
    #[must_use]
    pub fn pid(self) -> u32 {
        // Masked to 22 bits.
        (self.0.get() & ((1 << PID_BITS) - 1)) as u32
    }

    /// Whether none of its threads will run the program's code again: the process has ended, is
    /// ending, or runs another program.
    ///
    /// May be true by the time false is returned; true stays true.
    ///
    /// # Errors
    ///
    /// What the kernel reports where it cannot tell, for instance without `/proc`.
    pub fn is_over(self) -> io::Result<bool> {
        if self == Self::current()? {
            return Ok(false);
        }
        let Some(stat) = Stat::of(self.pid())? else {
            // Reaped, or /proc hides it.
            return match PidFd::open(self.pid()) {
                Ok(process) => process.is_exited(),
                Err(error) if is_gone(&error) => Ok(true),
                Err(error) => Err(error),
            };
        };
        let image = (self.0.get() >> (PID_BITS + START_BITS)) as u16;
        let now = fold(Image::of(&stat));
        if last_bits(stat.start_time) != last_bits(self.0.get() >> PID_BITS)
            || (image != 0 && now != 0 && image != now)
        {
            return Ok(true);
        }
        match ProcessIdentity::pack(self.pid(), stat.start_time) {
            Some(process) => process.is_at_its_end(Image::UNKNOWN),
            None => Ok(false),
        }
    }
}

impl From<ProgramIdentity> for NonZeroU64 {
    /// The word, as what is never 0.
    fn from(program: ProgramIdentity) -> Self {
        program.0
    }
}

fn last_bits(start_time: u64) -> u64 {
    start_time & ((1 << START_BITS) - 1)
}

fn fold(image: Image) -> u16 {
    let word = image.word();
    (word >> 16) as u16 ^ word as u16
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ESRCH | libc::EINVAL | libc::ENOENT)
    )
}
