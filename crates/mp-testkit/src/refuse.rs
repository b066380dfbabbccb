//! System calls that the kernel refuses to a forked child, as an older kernel or a sandbox does.

/// Which calls are refused, by one of their arguments.
///
/// Those where the argument at `index`, masked by `mask`, is `value`.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// The argument's place, from 0.
    pub index: u32,
    /// The bits of its lower 32 that count.
    pub mask: u32,
    /// What those bits are.
    pub value: u32,
}

/// Has the kernel answer `errno` to the system call `number`, in this process and its children for
/// the rest of their lives; with `argument`, only where it is as it says.
///
/// ```
/// use mp_testkit::{Forked, refuse};
///
/// let child = Forked::new(|| {
///     refuse(libc::SYS_getcwd, libc::ENOSYS, None);
///     std::env::current_dir().is_err_and(|error| error.raw_os_error() == Some(libc::ENOSYS))
/// });
/// assert!(child.succeeds());
/// ```
///
/// # Panics
///
/// If the kernel takes no seccomp filter.
pub fn refuse(number: libc::c_long, errno: i32, argument: Option<Argument>) {
    let allow = step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let refused = libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
    let refused = step(libc::BPF_RET | libc::BPF_K, refused);
    let number = u32::try_from(number).expect("a system call's number");
    let mut program = vec![load(0), unless(number, 1), refused, allow];
    if let Some(Argument { index, mask, value }) = argument {
        let masked = step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask);
        // Behind the number, the architecture and the instruction's address, 8 bytes each.
        let inner = [load(16 + 8 * index), masked, unless(value, 1)];
        program[1] = unless(number, 4);
        program.splice(2..2, inner);
    }
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes numbers.
    let bound = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the kernel copies the program, which lives until then.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    assert_eq!((bound, filtered), (0, 0), "the kernel takes no filter");
}

/// Loads a word of the call's description.
fn load(offset: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

/// Leaves so many steps out unless the loaded word is `value`.
fn unless(value: u32, steps: u8) -> libc::sock_filter {
    let mut jump = step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value);
    jump.jf = steps;
    jump
}

fn step(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}
