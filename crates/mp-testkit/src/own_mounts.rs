//! A `/dev/shm` of a forked child's own, in a mount namespace that ends with it.

use std::ffi::CString;

/// Gives this process, which has one thread, a `/dev/shm` of so many bytes.
///
/// # Panics
///
/// If the system does not let it: that takes root or user namespaces.
pub fn own_dev_shm(bytes: usize) {
    own_mounts();
    mount_tmpfs("/dev/shm", &format!("size={bytes}"));
}

/// Gives this process, which has one thread, an empty `/dev`.
///
/// # Panics
///
/// As [`own_dev_shm`].
pub fn own_empty_dev() {
    own_mounts();
    mount_tmpfs("/dev", "size=1m");
}

fn own_mounts() {
    // SAFETY: asks for a number and nothing else.
    let (user, group) = (unsafe { libc::geteuid() }, unsafe { libc::getegid() });
    let flags = match user {
        0 => libc::CLONE_NEWNS,
        _ => libc::CLONE_NEWNS | libc::CLONE_NEWUSER,
    };
    // SAFETY: concerns this process only.
    let unshared = unsafe { libc::unshare(flags) };
    assert_eq!(unshared, 0, "needs root or user namespaces");
    if user != 0 {
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{user} {user} 1")),
            ("gid_map", format!("{group} {group} 1")),
        ] {
            std::fs::write(format!("/proc/self/{file}"), text).expect("our own namespace");
        }
    }
    let root = c"/".as_ptr();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let none = std::ptr::null();
    // SAFETY: terminated texts and null pointers, all of which the call allows.
    let made = unsafe { libc::mount(none, root, none, private, std::ptr::null()) };
    assert_eq!(made, 0, "needs root or user namespaces");
}

fn mount_tmpfs(place: &str, options: &str) {
    let [place, options] = [place, options].map(|text| CString::new(text).expect("no NUL"));
    let tmpfs = c"tmpfs".as_ptr();
    // SAFETY: terminated texts.
    let mounted = unsafe { libc::mount(tmpfs, place.as_ptr(), tmpfs, 0, options.as_ptr().cast()) };
    assert_eq!(mounted, 0, "needs root or user namespaces");
}
