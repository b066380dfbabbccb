//! Timeouts of waiting system calls: taken away, put back, made to pass.

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use libc::{c_int, c_long, pid_t, user_regs_struct};

    use crate::arch::{registers, set_registers};
    use crate::{Error, clock, tracee};

    /// What the kernel has in the result register of an interrupted call: it is about to make the
    /// call again, or to return EINTR.
    const INTERRUPTED: [i64; 5] = [-512, -513, -514, -516, -(libc::EINTR as i64)];

    const TIMED_OUT: i64 = -(libc::ETIMEDOUT as i64);
    const TRY_AGAIN: i64 = -(libc::EAGAIN as i64);
    /// So many descriptors are ready.
    const NONE_READY: i64 = 0;

    /// How a timeout is written in an argument.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Form {
        /// The address of a point in time on the monotonic clock.
        Monotonic,
        /// The address of a point in time of the day.
        Realtime,
        /// The address of a span, in seconds and nanoseconds.
        Span,
        /// The address of a span, in seconds and microseconds.
        CoarseSpan,
        /// Milliseconds, negative for none.
        Millis,
    }

    /// A system call before the kernel makes it.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Call {
        number: c_long,
        registers: user_regs_struct,
    }

    /// The timeout argument that was taken from a call.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Timeout {
        argument: usize,
        original: u64,
        /// What the call returns when its timeout passes.
        passed: i64,
        left: Duration,
    }

    impl Call {
        /// Returns the call whose instruction comes next.
        pub(crate) fn next(pid: pid_t) -> Result<Self, Error> {
            let registers = registers(pid)?;
            let number = registers.rax as c_long;
            Ok(Self { number, registers })
        }

        /// Returns the call that the process has just entered.
        pub(crate) fn entered(pid: pid_t) -> Result<Self, Error> {
            let registers = registers(pid)?;
            let number = registers.orig_rax as c_long;
            Ok(Self { number, registers })
        }

        /// Tells whether nothing but the clock ends it.
        pub(crate) fn is_a_pause(&self) -> bool {
            [libc::SYS_nanosleep, libc::SYS_clock_nanosleep].contains(&self.number)
        }

        /// Takes its timeout away, so that it waits until it is woken. `None` for a call that does
        /// not wait, has no timeout, or whose timeout had passed by `now` on the monotonic clock:
        /// those are no waits but questions.
        pub(crate) fn take_timeout(&self, pid: pid_t, now: u64) -> Result<Option<Timeout>, Error> {
            let Some((argument, form, passed)) = self.timeout() else {
                return Ok(None);
            };
            let original = self.argument(argument);
            let endless = match form {
                Form::Millis => u64::MAX,
                _ => 0,
            };
            let Some(left) = left(pid, form, original, now)? else {
                return Ok(None);
            };
            set_argument(pid, argument, endless)?;
            Ok(Some(Timeout {
                argument,
                original,
                passed,
                left,
            }))
        }

        /// Tells whether it is one that could have a timeout and has none.
        pub(crate) fn is_endless(&self) -> bool {
            self.timeout().is_some_and(|(argument, form, _)| {
                let timeout = self.argument(argument);
                match form {
                    Form::Millis => (timeout as c_int) < 0,
                    _ => timeout == 0,
                }
            })
        }

        /// Which argument is the timeout, how it is written, and what the call returns after it.
        fn timeout(&self) -> Option<(usize, Form, i64)> {
            let clock = |argument| match self.argument(argument) as c_int {
                libc::CLOCK_REALTIME => Form::Realtime,
                _ => Form::Monotonic,
            };
            Some(match self.number {
                libc::SYS_futex => (3, self.futex_form()?, TIMED_OUT),
                libc::SYS_futex_waitv => (3, clock(4), TIMED_OUT),
                SYS_FUTEX_WAIT => (4, clock(5), TIMED_OUT),
                libc::SYS_poll => (2, Form::Millis, NONE_READY),
                libc::SYS_ppoll => (2, Form::Span, NONE_READY),
                libc::SYS_select => (4, Form::CoarseSpan, NONE_READY),
                libc::SYS_pselect6 => (4, Form::Span, NONE_READY),
                libc::SYS_epoll_wait | libc::SYS_epoll_pwait => (3, Form::Millis, NONE_READY),
                libc::SYS_epoll_pwait2 => (3, Form::Span, NONE_READY),
                libc::SYS_semtimedop => (3, Form::Span, TRY_AGAIN),
                libc::SYS_rt_sigtimedwait => (2, Form::Span, TRY_AGAIN),
                libc::SYS_mq_timedsend | libc::SYS_mq_timedreceive => {
                    (4, Form::Realtime, TIMED_OUT)
                }
                _ => return None,
            })
        }

        fn futex_form(&self) -> Option<Form> {
            let operation = self.argument(1) as c_int;
            let by_flag = if operation & libc::FUTEX_CLOCK_REALTIME == 0 {
                Form::Monotonic
            } else {
                Form::Realtime
            };
            match operation & libc::FUTEX_CMD_MASK {
                libc::FUTEX_WAIT => Some(Form::Span),
                libc::FUTEX_WAIT_BITSET | FUTEX_LOCK_PI2 => Some(by_flag),
                libc::FUTEX_LOCK_PI => Some(Form::Realtime),
                _ => None,
            }
        }

        fn argument(&self, index: usize) -> u64 {
            let r = &self.registers;
            [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9][index]
        }
    }

    /// Younger than some of the C libraries that this is built against.
    const SYS_FUTEX_WAIT: c_long = 455;
    const FUTEX_LOCK_PI2: c_int = 13;

    impl Timeout {
        /// Returns how long the wait would have taken at most.
        pub(crate) fn left(&self) -> Duration {
            self.left
        }

        /// Gives the process back the register that it had; the call has returned.
        pub(crate) fn put_back(self, pid: pid_t) -> Result<(), Error> {
            set_argument(pid, self.argument, self.original)
        }

        /// Makes an interrupted call return as if its timeout had passed. False: something else had
        /// ended it before.
        pub(crate) fn pass(self, pid: pid_t) -> Result<bool, Error> {
            let mut registers = registers(pid)?;
            let is_interrupted = INTERRUPTED.contains(&(registers.rax as i64));
            if is_interrupted {
                registers.rax = self.passed as u64;
                set_registers(pid, &registers)?;
            }
            Ok(is_interrupted)
        }
    }

    fn set_argument(pid: pid_t, index: usize, value: u64) -> Result<(), Error> {
        let mut r = registers(pid)?;
        let arguments = [
            &mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.r10, &mut r.r8, &mut r.r9,
        ];
        if let Some(argument) = arguments.into_iter().nth(index) {
            *argument = value;
        }
        set_registers(pid, &r)
    }

    /// Returns what was left at `now` of a timeout that had not passed.
    fn left(pid: pid_t, form: Form, argument: u64, now: u64) -> Result<Option<Duration>, Error> {
        if form == Form::Millis {
            let millis = u64::try_from(argument as c_int).ok();
            return Ok(millis.filter(|&some| some > 0).map(Duration::from_millis));
        }
        if argument == 0 {
            return Ok(None);
        }
        let seconds = tracee::peek(pid, argument)? as i64;
        let fraction = tracee::peek(pid, argument + 8)? as i64;
        let unit = if form == Form::CoarseSpan { 1000 } else { 1 };
        let until = i128::from(seconds) * 1_000_000_000 + i128::from(fraction) * unit;
        let now = match form {
            Form::Monotonic => i128::from(now),
            Form::Realtime => {
                let today = SystemTime::now().duration_since(UNIX_EPOCH);
                let today = today.map_or(0, |since| since.as_nanos() as i128);
                today - i128::from(clock::now().saturating_sub(now))
            }
            Form::Span | Form::CoarseSpan | Form::Millis => 0,
        };
        let left = u64::try_from((until - now).min(i128::from(u64::MAX))).ok();
        Ok(left.filter(|&some| some > 0).map(Duration::from_nanos))
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use elsewhere::*;

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    use std::time::Duration;

    use libc::pid_t;

    use crate::{Error, ErrorKind};

    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Call;

    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Timeout;

    fn unsupported() -> Error {
        Error::new(ErrorKind::Unsupported, "only x86_64 can be stepped")
    }

    impl Call {
        pub(crate) fn next(_: pid_t) -> Result<Self, Error> {
            Err(unsupported())
        }

        pub(crate) fn entered(_: pid_t) -> Result<Self, Error> {
            Err(unsupported())
        }

        pub(crate) fn is_a_pause(&self) -> bool {
            false
        }

        pub(crate) fn is_endless(&self) -> bool {
            false
        }

        pub(crate) fn take_timeout(&self, _: pid_t, _: u64) -> Result<Option<Timeout>, Error> {
            Err(unsupported())
        }
    }

    impl Timeout {
        pub(crate) fn left(&self) -> Duration {
            Duration::ZERO
        }

        pub(crate) fn put_back(self, _: pid_t) -> Result<(), Error> {
            Err(unsupported())
        }

        pub(crate) fn pass(self, _: pid_t) -> Result<bool, Error> {
            Err(unsupported())
        }
    }
}
