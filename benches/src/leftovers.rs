//! What peers leave in the file system, removed whatever happened to the process that made it.
//!
//! Some peers keep files in `/dev/shm` that only their destructors remove, and a forked or killed
//! side of a pair runs none. So each use of such a peer has a prefix of its own, which contains the
//! PID of its bench: what begins with it goes when the use is over, and what a killed bench left
//! goes when the next bench starts. Nothing else is touched.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process};

/// What all names begin with; the PID of the bench, a number and the peer's own part follow.
const PREFIX: &str = "mp_bench_";

/// The files of one use of a peer: in `/dev/shm` those of a prefix, and a directory. They are
/// removed when it is dropped.
#[derive(Debug)]
pub struct Leftovers {
    prefix: String,
}

impl Leftovers {
    /// A prefix that nothing else has.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            prefix: format!("{PREFIX}{}_{number}_", process::id()),
        }
    }

    /// What the peer's names in `/dev/shm` are to begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where the peer may put other files; the peer makes it.
    pub fn directory(&self) -> PathBuf {
        env::temp_dir().join(&self.prefix)
    }

    /// Those of this process that are there still.
    pub fn of_this_process() -> Vec<PathBuf> {
        of_benches(|pid| pid == process::id())
    }

    /// Removes those of benches that have ended.
    ///
    /// # Panics
    ///
    /// If the system refuses to remove one.
    pub fn remove_of_dead_benches() {
        let is_dead = |pid: u32| !Path::new(&format!("/proc/{pid}")).exists();
        of_benches(is_dead).iter().for_each(|path| remove(path));
    }
}

impl Default for Leftovers {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        let own = of_benches(|pid| pid == process::id()).into_iter();
        let begins = |path: &Path| name(path).is_some_and(|name| name.starts_with(&self.prefix));
        own.filter(|path| begins(path))
            .for_each(|path| remove(&path));
    }
}

/// The files and directories of benches with such PIDs.
fn of_benches(is_one: impl Fn(u32) -> bool) -> Vec<PathBuf> {
    let places = [PathBuf::from("/dev/shm"), env::temp_dir()];
    let entries = places.iter().filter_map(|place| fs::read_dir(place).ok());
    let paths = entries.flatten().flatten().map(|entry| entry.path());
    paths
        .filter(|path| name(path).and_then(pid_in).is_some_and(&is_one))
        .collect()
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn pid_in(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('_')?;
    pid.parse().ok()
}

fn remove(path: &Path) {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        // Another bench that starts has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.unwrap_or_else(|error| panic!("remove {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn file(name: &str) -> PathBuf {
        let path = Path::new("/dev/shm").join(name);
        fs::write(&path, b"left").unwrap();
        path
    }

    #[test]
    fn own_files_go_with_their_use_and_no_others() {
        let (one, other) = (Leftovers::new(), Leftovers::new());
        let [first, second] = [&one, &other].map(|use_| file(&format!("{}data", use_.prefix())));
        let directory = one.directory();
        fs::create_dir_all(directory.join("nodes")).unwrap();
        drop(one);
        assert!(!first.exists() && !directory.exists());
        assert!(Leftovers::of_this_process().contains(&second));
        drop(other);
        assert!(!second.exists());
    }

    #[test]
    fn files_of_dead_benches_go_and_those_of_the_living_and_of_strangers_stay() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let of_bench = file(&format!("{PREFIX}{}_0_data", child.id()));
        let stranger = file(&format!("{PREFIX}of_a_stranger_{}", child.id()));
        Leftovers::remove_of_dead_benches();
        assert!(of_bench.exists(), "its bench lives");
        drop(child.stdin.take());
        child.wait().unwrap();
        Leftovers::remove_of_dead_benches();
        assert!(!of_bench.exists() && stranger.exists());
        fs::remove_file(stranger).unwrap();
    }
}
