//! A process by a name that no other process gets: pid and start time in one word.

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Deadline;
use crate::fork_page;
use crate::pidfd::PidFd;
use crate::proc_stat::Stat;

/// A process's pid (22 bits, the kernel's limit) and start time in clock ticks since boot (42
/// bits, 1393 years at 100 Hz), as one word that shared memory can hold. Never 0.
///
/// It names a process within one boot and one pid namespace: compare [`boot_id`] and
/// [`pid_namespace`] before trusting a stranger's.
///
/// # Examples
///
/// ```
/// use mp_os::process_id::ProcessIdentity;
///
/// # if cfg!(miri) { return Ok(()) }
/// let me = ProcessIdentity::current()?;
/// assert_eq!(me.pid(), std::process::id());
/// assert_eq!(ProcessIdentity::from_word(me.word()), Some(me));
/// assert!(!me.is_dead()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessIdentity(NonZeroU64);

/// Which of the programs that a process ran one after the other, by `exec`; 32 bits that shared
/// memory can hold.
///
/// It is the place of the stack, which the kernel chooses at random: two images that differ are two
/// programs, and two that are equal may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Image(u32);

impl Image {
    /// Not known, and so never found replaced.
    pub const UNKNOWN: Self = Self(0);

    /// The image in a word of shared memory.
    #[must_use]
    pub fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The image as a word of shared memory.
    #[must_use]
    pub fn word(self) -> u32 {
        self.0
    }

    /// Stacks are aligned to 16 bytes, so that the bits above the lowest four tell the most.
    pub(crate) fn of(stat: &Stat) -> Self {
        Self((stat.start_stack >> 4) as u32)
    }

    fn was_replaced_by(self, now: Self) -> bool {
        self != Self::UNKNOWN && now != Self::UNKNOWN && self != now
    }
}

/// Between two looks at a dying process: about what a thread takes to get from one processor's
/// interrupt to its end.
const SHORTEST_PAUSE: Duration = Duration::from_micros(20);

/// So that the end is not seen much later than it comes.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

const PID_BITS: u32 = 22;
const PID_MASK: u64 = (1 << PID_BITS) - 1;

impl ProcessIdentity {
    /// This process; read once, and again in a forked child.
    ///
    /// # Errors
    ///
    /// What reading `/proc/self/stat` reports.
    #[inline]
    pub fn current() -> io::Result<Self> {
        let known = fork_page::get().map_or(0, |page| page.identity.load(Ordering::Relaxed));
        match Self::from_word(known) {
            Some(me) => Ok(me),
            None => Self::read_current().map(|(me, _)| me),
        }
    }

    /// This process and the program image it runs, which `exec` changes while the identity stays.
    ///
    /// # Errors
    ///
    /// As for [`current`](Self::current).
    pub fn current_image() -> io::Result<(Self, Image)> {
        if let Some(page) = fork_page::get() {
            // Acquire pairs with the Release in `read_current`.
            let known = Self::from_word(page.identity.load(Ordering::Acquire));
            if let Some(me) = known {
                return Ok((me, Image(page.image.load(Ordering::Relaxed))));
            }
        }
        Self::read_current()
    }

    #[cold]
    fn read_current() -> io::Result<(Self, Image)> {
        let (stat, me) = Self::read_own()?;
        let image = Image::of(&stat);
        if let Some(page) = fork_page::get() {
            page.image.store(image.0, Ordering::Relaxed);
            // Release: a thread that sees the identity sees the image.
            page.identity.store(me.word(), Ordering::Release);
        }
        Ok((me, image))
    }

    fn read_own() -> io::Result<(Stat, Self)> {
        let stat = Stat::read("/proc/self/stat")?;
        let pack = |stat: Stat| Some((stat, Self::pack(std::process::id(), stat.start_time)?));
        stat.and_then(pack).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "/proc/self is missing; is /proc mounted?",
            )
        })
    }

    /// The process that has the number `pid` now; `None` if there is none, or only a zombie.
    ///
    /// # Errors
    ///
    /// What reading `/proc/<pid>/stat` reports.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        Ok(Stat::of(pid)?.and_then(|stat| Self::pack(pid, stat.start_time)))
    }

    /// The identity in a word of shared memory; `None` if the word cannot be one.
    #[inline]
    #[must_use]
    pub fn from_word(word: u64) -> Option<Self> {
        if word & PID_MASK == 0 {
            return None;
        }
        NonZeroU64::new(word).map(Self)
    }

    /// The identity as a word of shared memory.
    #[inline]
    #[must_use]
    pub fn word(self) -> u64 {
        self.0.get()
    }

    /// The process's number.
    #[must_use]
    pub fn pid(self) -> u32 {
        // Masked to 22 bits.
        (self.word() & PID_MASK) as u32
    }

    /// When it started, in clock ticks since boot.
    #[must_use]
    pub fn start_time(self) -> u64 {
        self.word() >> PID_BITS
    }

    /// Whether this process has ended, proved by a process descriptor.
    ///
    /// A process whose first thread has ended while others run is alive, though `/proc` shows it
    /// as a zombie. One that ended and was not reaped is dead. A reused number is known by the
    /// start time. May be true by the time false is returned; true stays true.
    ///
    /// # Errors
    ///
    /// What the kernel reports where it cannot tell, for instance without `/proc`.
    pub fn is_dead(self) -> io::Result<bool> {
        // Opened before the start time is read: from here on the number cannot be reused
        // unnoticed.
        let process = match PidFd::open(self.pid()) {
            Ok(process) => process,
            Err(error) => return self.is_dead_without_descriptor(error),
        };
        match Self::of(self.pid())? {
            Some(now) if now != self => Ok(true),
            // Missing in /proc, it was reaped (then the descriptor shows it) or /proc hides it.
            _ => process.is_exited(),
        }
    }

    /// Waits up to `patience` until the process runs none of its program's code any more; returns
    /// whether it does not.
    ///
    /// For a caller that learned from the kernel that a thread of it ended holding a lock. If the
    /// process as a whole is dying, it may take a while to free its memory and be
    /// [dead](Self::is_dead), but it writes nothing any more.
    ///
    /// # Errors
    ///
    /// As for [`is_dead`](Self::is_dead).
    pub fn wait_end(self, patience: Duration) -> io::Result<bool> {
        self.wait_end_or_exec(Image::UNKNOWN, patience)
    }

    /// The same for one program that the process ran: `exec` ends it, too, though the process goes
    /// on.
    ///
    /// The common case is one look into `/proc`: a process that has a single thread, and that is on
    /// its way out. A thread's death may be seen a moment before the others know that they die
    /// with it, so a process that seems to go on is looked at again until `patience` is over.
    ///
    /// # Errors
    ///
    /// As for [`is_dead`](Self::is_dead).
    pub fn wait_end_or_exec(self, image: Image, patience: Duration) -> io::Result<bool> {
        let own = Self::current_image()?;
        if own.0 == self {
            return Ok(image.was_replaced_by(own.1));
        }
        if self.is_at_its_end(image)? {
            return Ok(true);
        }
        let process = match PidFd::open(self.pid()) {
            Ok(process) => process,
            Err(error) => return self.is_dead_without_descriptor(error),
        };
        let last = Deadline::after(patience);
        let mut pause = SHORTEST_PAUSE;
        loop {
            // The descriptor may be of the number's next bearer: looking comes first, and knows it
            // by its start time.
            if self.is_at_its_end(image)? {
                return Ok(true);
            }
            if process.wait_end(last.earlier(Deadline::after(pause)))? {
                return Ok(true);
            }
            if last.is_expired() {
                return Ok(false);
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Whether no thread of the process will run the program's code again, as far as `/proc` shows.
    pub(crate) fn is_at_its_end(self, image: Image) -> io::Result<bool> {
        let Some(stat) = Stat::of(self.pid())? else {
            // Reaped, or /proc hides it.
            return self.is_dead();
        };
        let is_other = Self::pack(self.pid(), stat.start_time) != Some(self);
        if is_other || image.was_replaced_by(Image::of(&stat)) {
            return Ok(true);
        }
        // A process that is ending starts no more threads.
        if stat.threads == 1 {
            return Ok(stat.is_ending());
        }
        // Twice: a thread that ended during the first look may have started one that was not in the
        // list.
        Ok(self.each_thread(Stat::is_ending)? && self.each_thread(Stat::is_ending)?)
    }

    fn is_dead_without_descriptor(self, error: io::Error) -> io::Result<bool> {
        match error.raw_os_error() {
            // No such process, or the number has become a thread's.
            Some(libc::ESRCH | libc::EINVAL | libc::ENOENT) => Ok(true),
            // Linux before 5.3, or a sandbox.
            Some(libc::ENOSYS | libc::EPERM) => self.is_dead_by_proc(),
            _ => Err(error),
        }
    }

    /// Looks at all threads, since the first one alone proves nothing.
    fn is_dead_by_proc(self) -> io::Result<bool> {
        match Self::of(self.pid())? {
            Some(now) if now == self => {}
            _ => return Ok(true),
        }
        self.each_thread(Stat::is_dead)
    }

    /// Whether all threads that `/proc` lists pass the test.
    fn each_thread(self, test: impl Fn(Stat) -> bool) -> io::Result<bool> {
        let directory = format!("/proc/{}/task", self.pid());
        let Ok(threads) = std::fs::read_dir(&directory) else {
            return Ok(Self::of(self.pid())? != Some(self));
        };
        for thread in threads.flatten() {
            let path = format!("{directory}/{}/stat", thread.file_name().to_string_lossy());
            if Stat::read(&path)?.is_some_and(|stat| !test(stat)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn pack(pid: u32, start_time: u64) -> Option<Self> {
        let pid = u64::from(pid);
        if pid > PID_MASK || start_time > u64::MAX >> PID_BITS {
            return None;
        }
        Self::from_word(start_time << PID_BITS | pid)
    }
}

impl From<ProcessIdentity> for NonZeroU64 {
    /// The word, as what is never 0.
    fn from(process: ProcessIdentity) -> Self {
        process.0
    }
}

impl fmt::Debug for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessIdentity")
            .field("pid", &self.pid())
            .field("start_time", &self.start_time())
            .finish()
    }
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid())
    }
}

/// The inode number of this process's pid namespace: thread ids mean the same only within one.
///
/// # Errors
///
/// What looking at `/proc/self/ns/pid` reports.
pub fn pid_namespace() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata("/proc/self/ns/pid")?.ino())
}

/// The random id of this boot: start times mean the same only within one.
///
/// # Errors
///
/// What reading `/proc/sys/kernel/random/boot_id` reports.
pub fn boot_id() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    parse_uuid(text.trim())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "boot_id is not a UUID"))
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|&letter| letter != '-').collect();
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(&digits, 16)
        .ok()
        .map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::{Image, PID_MASK, ProcessIdentity, parse_uuid};

    #[test]
    fn packs_the_extremes() {
        let last = ProcessIdentity::pack(PID_MASK as u32, (1 << 42) - 1).expect("fits");
        assert_eq!((last.pid(), last.start_time()), (4_194_303, (1 << 42) - 1));
        assert_eq!(ProcessIdentity::pack(PID_MASK as u32 + 1, 0), None);
        assert_eq!(ProcessIdentity::pack(1, 1 << 42), None);
        assert_eq!(ProcessIdentity::pack(0, 5), None);
        assert_eq!(ProcessIdentity::from_word(0), None);
    }

    #[test]
    fn reads_a_uuid() {
        let id = parse_uuid("00010203-0405-0607-0809-0a0b0c0d0eff").expect("a uuid");
        assert_eq!((id[0], id[1], id[15]), (0, 1, 0xff));
        assert_eq!(parse_uuid("0001"), None);
    }

    #[test]
    fn unknown_images_are_not_replaced() {
        let [one, other] = [1, 2].map(Image::from_word);
        assert!(one.was_replaced_by(other));
        for (before, now) in [(one, one), (one, Image::UNKNOWN), (Image::UNKNOWN, one)] {
            assert!(!before.was_replaced_by(now));
        }
    }
}
