//! Names in `/dev/shm` that no other test uses.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A name of this test's own; what lies under it in `/dev/shm` is removed on drop.
///
/// ```
/// let (first, second) = (mp_testkit::UniqueName::new("jobs"), mp_testkit::UniqueName::new("jobs"));
/// assert_ne!(*first, *second);
/// assert!(!first.path().exists());
/// ```
#[derive(Debug)]
pub struct UniqueName(String);

impl UniqueName {
    /// A name that contains `label`, this process's PID and a number.
    pub fn new(label: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(format!("mp-test-{label}-{}-{number}", std::process::id()))
    }

    /// Where the kernel shows it.
    pub fn path(&self) -> PathBuf {
        Path::new("/dev/shm").join(&self.0)
    }
}

impl Deref for UniqueName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for UniqueName {
    fn drop(&mut self) {
        let path = self.path();
        let is_directory = path.symlink_metadata().is_ok_and(|entry| entry.is_dir());
        // There is usually nothing left to remove.
        drop(if is_directory {
            fs::remove_dir(path)
        } else {
            fs::remove_file(path)
        });
    }
}
