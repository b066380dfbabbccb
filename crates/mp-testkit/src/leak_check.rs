//! What a test must leave as it found it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

/// Remembers the process's descriptors, its children and the entries of `/dev/shm`, and compares.
///
/// All three belong to the whole process: a test that checks them stands alone in its test binary,
/// or runs while no other does.
///
/// ```
/// let check = mp_testkit::LeakCheck::start();
/// let file = std::fs::File::open("/proc/self/stat")?;
/// assert_eq!(check.leaks().len(), 1, "one descriptor");
/// drop(file);
/// check.assert_clean();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct LeakCheck {
    before: Belongings,
}

/// How long what was told to end may take to be gone, such as an orphan that was just killed.
const PATIENCE: Duration = Duration::from_secs(2);

impl LeakCheck {
    /// Remembers what is there.
    pub fn start() -> Self {
        Self {
            before: Belongings::now(),
        }
    }

    /// What is there now and was not before, one line each.
    pub fn leaks(&self) -> Vec<String> {
        let now = Belongings::now();
        let new = |now: &BTreeSet<String>, before: &BTreeSet<String>, what: &str| {
            now.difference(before)
                .map(|entry| format!("{what} {entry}"))
                .collect::<Vec<_>>()
        };
        let mut leaks = new(&now.descriptors, &self.before.descriptors, "descriptor");
        leaks.extend(new(&now.children, &self.before.children, "child"));
        leaks.extend(new(&now.shared, &self.before.shared, "/dev/shm entry"));
        leaks
    }

    /// Asserts that nothing is left, giving what is on its way out two seconds.
    ///
    /// # Panics
    ///
    /// If something is left; the message lists it.
    #[track_caller]
    pub fn assert_clean(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leaks = self.leaks();
            if leaks.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "left behind:\n  {}",
                leaks.join("\n  ")
            );
            std::thread::yield_now();
        }
    }
}

#[derive(Debug)]
struct Belongings {
    descriptors: BTreeSet<String>,
    children: BTreeSet<String>,
    shared: BTreeSet<String>,
}

impl Belongings {
    fn now() -> Self {
        Self {
            descriptors: descriptors(),
            children: children(),
            shared: names_in("/dev/shm"),
        }
    }
}

/// Each open descriptor with what it refers to; the one that reads the directory is closed again.
fn descriptors() -> BTreeSet<String> {
    let open = names_in("/proc/self/fd").into_iter();
    open.filter_map(|number| {
        let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        Some(format!("{number} -> {}", target.display()))
    })
    .collect()
}

/// Children of every thread, zombies included.
fn children() -> BTreeSet<String> {
    let threads = names_in("/proc/self/task").into_iter();
    let lists = threads
        .filter_map(|thread| fs::read_to_string(format!("/proc/self/task/{thread}/children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(describe).collect::<Vec<_>>())
        .collect()
}

fn describe(pid: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next())
        .unwrap_or('?');
    format!("{pid} in state {state}")
}

fn names_in(directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
