//! Names whose users are all gone.
//!
//! # If a process dies
//!
//! What it had open counts as open until the kernel has closed it. One that dies while it looks
//! holds nothing up: its lease ends with it.

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::Result;
use mp_os::named::{self, Name, OpenError};

use crate::refusal;

/// The names in `/dev/shm` of this user's files that no process has open, in order, whichever
/// program made them.
///
/// Not open means: no process has a descriptor or a mapping of the file, and no descriptor is on
/// its way to one. The kernel proves it, for all programs; another process may open a name a moment
/// later. A name that is kept from one run of a program to the next is listed, too, as are files of
/// other programs: which are to be removed, the caller knows.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`](mp_layout::ErrorKind::Unsupported) if there is no `/dev/shm` or its
/// files have no leases (`fs.leases-enable` is 0, or it is no tmpfs),
/// [`ErrorKind::Os`](mp_layout::ErrorKind::Os) if it cannot be read.
///
/// # Examples
///
/// ```
/// use mp_shm::{SharedMemory, unlink_unused, unused_names};
///
/// let name = format!("mp-doc-unused-{}", std::process::id());
/// let memory = SharedMemory::create(&name, 8)?;
/// assert!(!unused_names()?.contains(&name) && !unlink_unused(&name)?, "in use");
/// memory.close();
/// for name in unused_names()?.iter().filter(|unused| **unused == name) {
///     assert!(unlink_unused(name)?);
/// }
/// assert!(SharedMemory::open(&name).is_err());
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub fn unused_names() -> Result<Vec<String>> {
    let all = named::names().map_err(|error| refusal::open("list", error, "/dev/shm"))?;
    let mut unused = Vec::new();
    for name in all {
        if is_unused(&name)? {
            unused.push(name.as_str().to_owned());
        }
    }
    unused.sort();
    Ok(unused)
}

/// What has gone, or become another's, since it was listed is not ours to remove.
fn is_unused(name: &Name) -> Result<bool> {
    match named::is_unused(name) {
        Err(error @ (OpenError::Os(_) | OpenError::NoDevShm)) => {
            Err(refusal::open("look at", error, name.as_str()))
        }
        answer => Ok(answer.unwrap_or(false)),
    }
}

/// Removes `name` if no process has its file open, as [`unused_names`] finds out, and returns
/// whether it did.
///
/// A process that opens the name through this crate meanwhile has either all of it, and the name
/// stays, or finds nothing. Of several that remove it at the same time one does, if each gets to
/// run every 100 ms: they look at the file in turn. A program that opens it in another way is
/// counted as soon as the kernel has opened the file for it; only between finding the name and
/// opening may it be left with a file that has no name, as at any unlink.
///
/// # Errors
///
/// [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`] if it is
/// another user's, [`ErrorKind::Foreign`] if it is anything else but a file,
/// [`ErrorKind::Unsupported`] if the file cannot have a lease.
pub fn unlink_unused(name: &str) -> Result<bool> {
    let valid = refusal::valid_name("unlink", name)?;
    named::unlink_unused(&valid).map_err(|error| refusal::open("unlink", error, name))
}
