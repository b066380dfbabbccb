//! Whether a thread's process maps certain memory: without it, it holds no lock there.

use std::fs::File;
use std::io::{BufRead, BufReader};

/// Whether the process of thread `tid` maps the file that lies at `address` in this process.
///
/// A process that holds a lock maps its memory meanwhile. So "no" proves that it holds none there,
/// whatever a lock's word says. `None` where that is not known: the memory is of no file, there is
/// no such thread, or its maps may not be read.
///
/// # Examples
///
/// ```no_run
/// use mp_os::robust;
///
/// let local = 0_u64;
/// let address = std::ptr::from_ref(&local).addr();
/// assert_eq!(robust::thread_maps(robust::tid(), address), None, "a stack is of no file");
/// ```
#[must_use]
pub fn thread_maps(tid: u32, address: usize) -> Option<bool> {
    let here = find("/proc/self/maps", |mapping| {
        mapping.range.contains(&address)
    })??;
    if here.inode == 0 {
        return None;
    }
    let there = find(&format!("/proc/{tid}/maps"), |mapping| {
        (mapping.device, mapping.inode) == (&*here.device, here.inode)
    })?;
    Some(there.is_some())
}

/// One line of `maps`.
struct Mapping<Text> {
    range: std::ops::Range<usize>,
    device: Text,
    inode: u64,
}

/// The first mapping that is `wanted`; `None` if the file cannot be read or understood.
fn find(path: &str, wanted: impl Fn(&Mapping<&str>) -> bool) -> Option<Option<Mapping<String>>> {
    for line in BufReader::new(File::open(path).ok()?).split(b'\n') {
        let line = line.ok()?;
        let line = String::from_utf8_lossy(&line);
        let mapping = parse(&line)?;
        if wanted(&mapping) {
            return Some(Some(Mapping {
                device: mapping.device.to_owned(),
                range: mapping.range,
                inode: mapping.inode,
            }));
        }
    }
    Some(None)
}

/// `7f1c5000-7f1c6000 rw-s 00000000 00:01 1033  /memfd:mp:lock (deleted)`
fn parse(line: &str) -> Option<Mapping<&str>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    let (device, inode) = (words.nth(2)?, words.next()?.parse().ok()?);
    Some(Mapping {
        range,
        device,
        inode,
    })
}
