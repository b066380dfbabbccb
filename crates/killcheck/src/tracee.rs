//! A forked process that the harness moves forward instruction by instruction.

use std::cell::Cell;
use std::time::Duration;

use libc::pid_t;

use crate::timeout::{Call, Timeout};
use crate::{Error, ErrorKind, arch, clock, proc_state};

/// A system call that sleeps this long counts as blocked.
const BLOCKED_AFTER: Duration = Duration::from_millis(30);

/// What became of a tracee that was told to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has trapped: after one step, at a breakpoint, or at the end mark.
    Stopped,
    /// It sleeps in a system call; what it was told to do is still pending.
    Asleep,
    /// It has been running for the whole bound.
    Running,
    /// It is no more; this is its wait status.
    Ended(i32),
}

/// What the kernel goes through when a thread dies: the head of the list, and its three words.
pub(crate) type RobustList = [u64; 4];

/// A byte of code replaced by a breakpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plant {
    address: u64,
    original: u8,
}

/// A traced child, killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Tracee {
    pid: pid_t,
    /// Address of the end mark.
    end: u64,
    /// On the monotonic clock, in nanoseconds.
    started_at: u64,
    request: Cell<libc::c_uint>,
    /// Taken from the system call that it is in.
    timeout: Cell<Option<Timeout>>,
    ended: Cell<bool>,
}

extern "C" fn enter(operation: *const ()) {
    // SAFETY: callers pass the address of a `&dyn Fn()` that outlives the call.
    let operation = unsafe { *operation.cast::<&dyn Fn()>() };
    operation();
}

/// Lets the next small allocations come from the thread's own cache: else the way through the
/// allocator depends on what the harness has allocated and freed before the fork, which is never
/// the same twice.
fn fill_allocator_cache() {
    const SIZES: usize = 64;
    const OF_EACH: usize = 7;
    let mut pieces = [std::ptr::null_mut(); SIZES * OF_EACH];
    for (i, piece) in pieces.iter_mut().enumerate() {
        // SAFETY: malloc has no preconditions.
        *piece = unsafe { libc::malloc(24 + 16 * (i / OF_EACH)) };
    }
    for piece in pieces {
        // SAFETY: from malloc, or null.
        unsafe { libc::free(piece) };
    }
}

impl Tracee {
    /// Forks a child that warms up within the `bound` and then will run `operation`, and returns
    /// when it stands before its first instruction.
    pub(crate) fn start(
        warm_up: &dyn Fn(),
        operation: &dyn Fn(),
        bound: Duration,
    ) -> Result<Self, Error> {
        // SAFETY: the child only runs the operation and leaves by _exit.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => return Err(Error::last_os("forking the victim")),
            0 => Self::be_the_victim(warm_up, operation),
            _ => {}
        }
        let mut tracee = Self {
            pid,
            end: 0,
            started_at: clock::now(),
            request: Cell::new(libc::PTRACE_CONT),
            timeout: Cell::new(None),
            ended: Cell::new(false),
        };
        match tracee.wait_through_sleep(bound)? {
            Progress::Stopped => {}
            Progress::Ended(status) if libc::WIFEXITED(status) => {
                return Err(Error::new(
                    ErrorKind::TraceRefused,
                    "the victim could not be traced; a container needs CAP_SYS_PTRACE or a seccomp \
                     profile that allows ptrace",
                ));
            }
            _ => {
                let message = format!("the victim did not warm up within {bound:?}");
                return Err(Error::new(ErrorKind::VictimFailed, message));
            }
        }
        // SAFETY: SETOPTIONS takes its flags by value.
        let set = unsafe {
            libc::ptrace(
                libc::PTRACE_SETOPTIONS,
                pid,
                0,
                libc::PTRACE_O_EXITKILL as usize,
            )
        };
        if set == -1 {
            return Err(Error::last_os("tracing the victim").with_kind(ErrorKind::TraceRefused));
        }
        tracee.started_at = clock::now();
        tracee.end = tracee.address()? + arch::OPERATION_LEN;
        Ok(tracee)
    }

    fn be_the_victim(warm_up: &dyn Fn(), operation: &dyn Fn()) -> ! {
        let data: *const &dyn Fn() = &raw const warm_up;
        enter(data.cast());
        fill_allocator_cache();
        // SAFETY: TRACEME takes no arguments.
        let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        if traced == 0 {
            let data: *const &dyn Fn() = &raw const operation;
            // SAFETY: `enter` gets the address of `operation`, which lives across the call.
            unsafe { arch::between_marks(enter, data.cast()) };
        }
        // SAFETY: _exit may be called at any time.
        unsafe { libc::_exit(libc::c_int::from(traced != 0)) }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Returns the address of the instruction that comes next.
    pub(crate) fn address(&self) -> Result<u64, Error> {
        arch::program_counter(self.pid)
    }

    pub(crate) fn set_address(&self, address: u64) -> Result<(), Error> {
        arch::set_program_counter(self.pid, address)
    }

    /// Returns the address that its thread has announced to the kernel as the pending one of its
    /// robust locks; 0 if it has not.
    pub(crate) fn pending_lock(&self) -> Result<usize, Error> {
        let [_, _, _, pending] = self.robust_list()?;
        Ok(pending as usize)
    }

    /// Returns the address of its robust list's head, and that head's words: the first lock, the
    /// distance of a lock's word from its place in the list, and the pending lock. Zeros if it has
    /// no list.
    pub(crate) fn robust_list(&self) -> Result<RobustList, Error> {
        let (mut head, mut len) = (0_u64, 0_usize);
        // SAFETY: both are writable and as wide as the kernel's.
        let done = unsafe {
            libc::syscall(
                libc::SYS_get_robust_list,
                self.pid,
                &raw mut head,
                &raw mut len,
            )
        };
        if done == -1 {
            return Err(Error::last_os("asking for the victim's robust list"));
        }
        if head == 0 {
            return Ok([0; 4]);
        }
        let word = |number: u64| peek(self.pid, head + 8 * number);
        Ok([head, word(0)?, word(1)?, word(2)?])
    }

    /// Lets it execute one instruction; `wait` tells how that went.
    pub(crate) fn step(&self) -> Result<(), Error> {
        self.go_on(libc::PTRACE_SINGLESTEP, 0)
    }

    /// Lets it execute one instruction, a system call in which it then sleeps as long as no process
    /// wakes it.
    ///
    /// For one that is stepped, little time passes between looking at the clock and sleeping,
    /// though a lot may pass for others. So all of its deadlines lie ahead that did when it
    /// started.
    pub(crate) fn step_without_timeout(&self) -> Result<(), Error> {
        let call = Call::next(self.pid)?;
        self.timeout
            .set(call.take_timeout(self.pid, self.started_at)?);
        self.step()
    }

    /// Lets it run up to a breakpoint or the end mark.
    pub(crate) fn resume(&self) -> Result<(), Error> {
        self.go_on(libc::PTRACE_CONT, 0)
    }

    fn go_on(&self, request: libc::c_uint, signal: i32) -> Result<(), Error> {
        self.request.set(request);
        // SAFETY: CONT and SINGLESTEP take the signal to deliver by value.
        let done = unsafe { libc::ptrace(request, self.pid, 0, signal as usize) };
        // A victim that another process has just killed is found by the next wait.
        if done == -1 && std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH) {
            return Err(Error::last_os("continuing the victim"));
        }
        Ok(())
    }

    /// Waits for the end of a step over an instruction that cannot sleep.
    pub(crate) fn wait_for_trap(&self) -> Result<Progress, Error> {
        loop {
            if let Some(progress) = self.look(0)? {
                return Ok(progress);
            }
        }
    }

    /// Waits at most `bound`, or until it has been asleep for a while.
    pub(crate) fn wait(&self, bound: Duration) -> Result<Progress, Error> {
        self.wait_or_sleep(bound, BLOCKED_AFTER)
    }

    /// Waits at most `bound` for it to fall asleep where it is known to.
    pub(crate) fn wait_for_sleep(&self, bound: Duration) -> Result<Progress, Error> {
        self.wait_or_sleep(bound, Duration::ZERO)
    }

    fn wait_or_sleep(&self, bound: Duration, blocked_after: Duration) -> Result<Progress, Error> {
        let start = clock::now();
        let mut looks = 0;
        loop {
            if let Some(progress) = self.look(libc::WNOHANG)? {
                return Ok(progress);
            }
            clock::pause(looks);
            looks = looks.saturating_add(1);
            let waited = clock::now() - start;
            if waited >= clock::nanos(blocked_after) && proc_state::is_asleep(self.pid) {
                return Ok(Progress::Asleep);
            }
            if waited >= clock::nanos(bound) {
                return Ok(Progress::Running);
            }
        }
    }

    /// Waits at most `bound`, sleeping or not.
    pub(crate) fn wait_through_sleep(&self, bound: Duration) -> Result<Progress, Error> {
        let start = clock::now();
        loop {
            let left = clock::nanos(bound).saturating_sub(clock::now() - start);
            match self.wait(Duration::from_nanos(left))? {
                Progress::Asleep if left > 0 => std::thread::yield_now(),
                progress => return Ok(progress),
            }
        }
    }

    /// Takes one wait status. `None`: nothing new, or a signal that was passed on to the victim.
    fn look(&self, flags: i32) -> Result<Option<Progress>, Error> {
        let mut status = 0;
        // SAFETY: `status` is a writable int.
        let changed = unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL | flags) };
        if changed == 0 {
            return Ok(None);
        }
        if changed == -1 {
            if std::io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) {
                return Ok(None);
            }
            return Err(Error::last_os("waiting for the victim"));
        }
        if !libc::WIFSTOPPED(status) {
            self.ended.set(true);
            return Ok(Some(Progress::Ended(status)));
        }
        if libc::WSTOPSIG(status) == libc::SIGTRAP {
            if let Some(timeout) = self.timeout.take() {
                timeout.put_back(self.pid)?;
            }
            return Ok(Some(Progress::Stopped));
        }
        self.go_on(self.request.get(), libc::WSTOPSIG(status))?;
        Ok(None)
    }

    /// Returns the first two bytes of the instruction at `address`.
    pub(crate) fn code(&self, address: u64) -> Result<[u8; 2], Error> {
        Ok([self.byte(address)?, self.byte(address + 1)?])
    }

    fn byte(&self, address: u64) -> Result<u8, Error> {
        Ok(self.word(address & !7)?.to_le_bytes()[(address & 7) as usize])
    }

    /// Reads the aligned word at `address`; being aligned it never reaches into another page.
    fn word(&self, address: u64) -> Result<u64, Error> {
        peek(self.pid, address)
    }

    fn set_byte(&self, address: u64, byte: u8) -> Result<(), Error> {
        let mut bytes = self.word(address & !7)?.to_le_bytes();
        bytes[(address & 7) as usize] = byte;
        let word = u64::from_le_bytes(bytes);
        // SAFETY: POKETEXT writes the victim's private copy of the page; a bad address is an error.
        let done = unsafe { libc::ptrace(libc::PTRACE_POKETEXT, self.pid, address & !7, word) };
        if done == -1 {
            return Err(Error::last_os(format!(
                "planting a breakpoint at {address:#x}"
            )));
        }
        Ok(())
    }

    /// Puts a breakpoint in place of the instruction at `address`.
    pub(crate) fn plant(&self, address: u64) -> Result<Plant, Error> {
        let original = self.byte(address)?;
        self.set_byte(address, arch::BREAKPOINT)?;
        Ok(Plant { address, original })
    }

    /// Puts the instruction back.
    pub(crate) fn lift(&self, plant: Plant) -> Result<(), Error> {
        self.set_byte(plant.address, plant.original)
    }

    /// Kills and reaps it; returns the time of the kill.
    pub(crate) fn kill(self) -> u64 {
        let killed_at = clock::now();
        drop(self);
        killed_at
    }
}

/// Reads a word of a stopped process's memory.
pub(crate) fn peek(pid: pid_t, address: u64) -> Result<u64, Error> {
    // glibc's wrapper returns the word itself, so that only errno tells a failure.
    // SAFETY: errno's location is always valid for this thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { errno.write(0) };
    // SAFETY: PEEKTEXT reads the other's memory; a bad address is an error, not a fault here.
    let word = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, pid, address, 0) };
    // SAFETY: as above.
    if word == -1 && unsafe { errno.read() } != 0 {
        return Err(Error::last_os(format!(
            "reading a process's memory at {address:#x}"
        )));
    }
    Ok(word as u64)
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if self.ended.get() {
            return;
        }
        // SAFETY: the child is unreaped, so the number still means it.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // Stops that were reported but not taken come first.
        while !self.ended.get() {
            match self.look(0) {
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}
