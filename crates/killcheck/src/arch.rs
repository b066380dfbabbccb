//! The two marks around the operation, and the registers of a stopped process, for x86_64.
//!
//! Elsewhere the same functions exist and nothing calls them, because `SUPPORTED` is false.

/// Says whether this architecture can be traced.
pub(crate) const SUPPORTED: bool = cfg!(target_arch = "x86_64");

/// `int3`.
pub(crate) const BREAKPOINT: u8 = 0xCC;

/// Length of the breakpoint instruction, which the program counter has passed when it has trapped.
pub(crate) const BREAKPOINT_LEN: u64 = 1;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use libc::pid_t;

    use crate::Error;

    /// From the instruction after the begin mark to the end mark: the length of `call rax`.
    pub(crate) const OPERATION_LEN: u64 = 2;

    /// Calls `enter(data)` between two breakpoints.
    ///
    /// Nothing but the call lies between the marks, so the first traced instruction is the call
    /// and the last one the return into the end mark.
    #[unsafe(naked)]
    pub(crate) unsafe extern "C" fn between_marks(
        enter: extern "C" fn(*const ()),
        data: *const (),
    ) {
        std::arch::naked_asm!(
            "sub rsp, 8",
            "mov rax, rdi",
            "mov rdi, rsi",
            "int3",
            "call rax",
            "int3",
            "add rsp, 8",
            "ret",
        )
    }

    /// Returns the registers of a stopped process.
    pub(crate) fn registers(pid: pid_t) -> Result<libc::user_regs_struct, Error> {
        // SAFETY: the struct is plain integers, for which zero is valid.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: GETREGS writes one user_regs_struct to the data pointer, which is ours.
        let done = unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut registers) };
        if done == -1 {
            return Err(Error::last_os("reading a process's registers"));
        }
        Ok(registers)
    }

    /// Sets the registers of a stopped process.
    pub(crate) fn set_registers(
        pid: pid_t,
        registers: &libc::user_regs_struct,
    ) -> Result<(), Error> {
        let from: *const libc::user_regs_struct = registers;
        // SAFETY: SETREGS reads one user_regs_struct from the data pointer, which is borrowed.
        let done = unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, from) };
        if done == -1 {
            return Err(Error::last_os("setting a process's registers"));
        }
        Ok(())
    }

    /// Returns the address of the next instruction of a stopped process.
    pub(crate) fn program_counter(pid: pid_t) -> Result<u64, Error> {
        registers(pid).map(|registers| registers.rip)
    }

    /// Makes a stopped process go on at `address`.
    pub(crate) fn set_program_counter(pid: pid_t, address: u64) -> Result<(), Error> {
        let mut registers = registers(pid)?;
        registers.rip = address;
        set_registers(pid, &registers)
    }

    /// Tells from its first two bytes whether an instruction enters the kernel, where it may sleep.
    pub(crate) fn enters_kernel(code: [u8; 2]) -> bool {
        matches!(code, [0x0F, 0x05] | [0x0F, 0x34] | [0xCD, 0x80])
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use elsewhere::*;

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    use libc::pid_t;

    use crate::{Error, ErrorKind};

    pub(crate) const OPERATION_LEN: u64 = 0;

    pub(crate) unsafe extern "C" fn between_marks(
        enter: extern "C" fn(*const ()),
        data: *const (),
    ) {
        enter(data);
    }

    fn unsupported() -> Error {
        Error::new(ErrorKind::Unsupported, "only x86_64 can be stepped")
    }

    pub(crate) fn program_counter(_: pid_t) -> Result<u64, Error> {
        Err(unsupported())
    }

    pub(crate) fn set_program_counter(_: pid_t, _: u64) -> Result<(), Error> {
        Err(unsupported())
    }

    pub(crate) fn enters_kernel(_: [u8; 2]) -> bool {
        false
    }
}
