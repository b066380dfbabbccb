//! What is left of the memory and of the processors, from the machine and from every cgroup up
//! the tree, and what this process's own limits leave it.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// The tightest limit on something: how much is left of it, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free: u64,
    pub(crate) limit: &'static str,
}

pub(crate) const MACHINE: &str = "the machine's memory";
pub(crate) const CGROUP: &str = "the container's memory limit (cgroup)";

pub(crate) const LARGEST_FILE: &str = "the largest file";
pub(crate) const FILE_LIMIT: &str = "the largest file of this process (ulimit -f)";
pub(crate) const ADDRESSES: &str = "the address space of this process (ulimit -v)";

/// The bytes that a file may have.
pub(crate) fn file_room() -> Room {
    let largest = i64::MAX as u64;
    match getrlimit(Resource::Fsize).current {
        Some(free) if free < largest => Room {
            free,
            limit: FILE_LIMIT,
        },
        _ => Room {
            free: largest,
            limit: LARGEST_FILE,
        },
    }
}

/// The bytes that may still be mapped. What cannot be read does not count.
pub(crate) fn address_room() -> Room {
    let left = |most: u64| Some(most.saturating_sub(mapped()?));
    Room {
        free: getrlimit(Resource::As)
            .current
            .and_then(left)
            .unwrap_or(u64::MAX),
        limit: ADDRESSES,
    }
}

/// The bytes that this process has mapped.
fn mapped() -> Option<u64> {
    kib_in("/proc/self/status", "VmSize:")
}

/// What may still be committed. Limits that cannot be read do not count.
pub(crate) fn memory_room() -> Room {
    let machine = Room {
        free: machine_free().unwrap_or(u64::MAX),
        limit: MACHINE,
    };
    cgroup_directories("memory")
        .iter()
        .filter_map(|directory| cgroup_free(directory))
        .map(|free| Room {
            free,
            limit: CGROUP,
        })
        .fold(
            machine,
            |least, room| if room.free < least.free { room } else { least },
        )
}

fn machine_free() -> Option<u64> {
    kib_in("/proc/meminfo", "MemAvailable:")
}

/// The bytes that a line of a file states in KiB.
fn kib_in(path: &str, label: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What one cgroup has left. Its page cache of files is counted as used by the kernel but goes
/// when memory gets tight, so it is counted as free here.
fn cgroup_free(directory: &Path) -> Option<u64> {
    let (max, used, prefix) = match number(directory, "memory.max") {
        Some(max) => (max, number(directory, "memory.current")?, ""),
        None => (
            number(directory, "memory.limit_in_bytes")?,
            number(directory, "memory.usage_in_bytes")?,
            "total_",
        ),
    };
    let cache = cached_files(directory, prefix).min(used);
    Some(max.saturating_sub(used - cache))
}

fn cached_files(directory: &Path, prefix: &str) -> u64 {
    let Ok(text) = std::fs::read_to_string(directory.join("memory.stat")) else {
        return 0;
    };
    ["inactive_file", "active_file"]
        .iter()
        .filter_map(|name| {
            text.lines().find_map(|line| {
                line.strip_prefix(prefix)?
                    .strip_prefix(name)?
                    .trim()
                    .parse::<u64>()
                    .ok()
            })
        })
        .sum()
}

/// The processors that the tightest CPU quota allows, rounded up; `None` without a quota.
pub(crate) fn cpu_quota() -> Option<usize> {
    let directories = cgroup_directories("cpu");
    directories
        .iter()
        .filter_map(|directory| quota_of(directory))
        .min()
}

fn quota_of(directory: &Path) -> Option<usize> {
    let (quota, period) = match std::fs::read_to_string(directory.join("cpu.max")) {
        Ok(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?)
        }
        // Without a quota the file holds -1, which is no u64.
        Err(_) => (
            number(directory, "cpu.cfs_quota_us")?,
            number(directory, "cpu.cfs_period_us")?,
        ),
    };
    usize::try_from(quota.div_ceil(period.max(1)).max(1)).ok()
}

fn number(directory: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(directory.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// This process's cgroup for a controller and all above it, in each hierarchy that has it: the
/// unified one (v2) and the controller's own (v1).
fn cgroup_directories(controller: &str) -> Vec<PathBuf> {
    let Ok(groups) = std::fs::read_to_string("/proc/self/cgroup") else {
        return Vec::new();
    };
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return Vec::new();
    };
    mounts
        .lines()
        .flat_map(|mount| directories_on(mount, &groups, controller))
        .collect()
}

/// The directories on one mount, from this process's group up to the mount point.
fn directories_on(mount: &str, groups: &str, controller: &str) -> Vec<PathBuf> {
    let Some((point, group)) = place_on(mount, groups, controller) else {
        return Vec::new();
    };
    let group = group.components().as_path().to_owned();
    group.ancestors().map(|above| point.join(above)).collect()
}

/// Mount point and this process's group below it, from a line of `mountinfo` and the lines of
/// `/proc/self/cgroup`.
fn place_on(mount: &str, groups: &str, controller: &str) -> Option<(PathBuf, PathBuf)> {
    let (place, kind) = mount.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, point) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let (kind, options) = (kind.next()?, kind.nth(1)?);
    let controllers = match kind {
        "cgroup2" => "",
        "cgroup" if options.split(',').any(|option| option == controller) => controller,
        _ => return None,
    };
    let group = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let named = fields.next()?.split(',').any(|name| name == controllers);
        named.then(|| fields.next())?
    })?;
    // In a container the mount shows a part of the tree; a group outside of it shows as `/..`.
    let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
    Some((PathBuf::from(point), below.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::directories_on;
    use std::path::PathBuf;

    const GROUPS: &str = "4:memory:/a/b\n2:cpu,cpuacct:/c\n0::/x/y\n";

    fn directories(mount: &str, controller: &str) -> Vec<PathBuf> {
        directories_on(mount, GROUPS, controller)
    }

    #[test]
    fn climbs_the_unified_tree() {
        let mount =
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let expected = ["/sys/fs/cgroup/x/y", "/sys/fs/cgroup/x", "/sys/fs/cgroup/"];
        assert_eq!(directories(mount, "memory"), expected.map(PathBuf::from));
    }

    #[test]
    fn climbs_a_controllers_own_tree() {
        let mount = "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct";
        let expected = ["/sys/fs/cgroup/cpu/c", "/sys/fs/cgroup/cpu/"];
        assert_eq!(directories(mount, "cpu"), expected.map(PathBuf::from));
        assert_eq!(directories(mount, "memory"), Vec::<PathBuf>::new());
    }

    #[test]
    fn takes_a_containers_part_of_the_tree() {
        let mount = "31 23 0:27 /a /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
        let expected = ["/sys/fs/cgroup/memory/b", "/sys/fs/cgroup/memory/"];
        assert_eq!(directories(mount, "memory"), expected.map(PathBuf::from));
        let outside = "31 23 0:27 /other /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
        assert_eq!(
            directories(outside, "memory"),
            [PathBuf::from("/sys/fs/cgroup/memory/")]
        );
    }

    #[test]
    fn ignores_other_mounts_and_broken_lines() {
        assert_eq!(
            directories("22 1 0:20 / /proc rw - proc proc rw", "memory"),
            [] as [PathBuf; 0]
        );
        assert_eq!(directories("nonsense", "memory"), [] as [PathBuf; 0]);
    }
}
