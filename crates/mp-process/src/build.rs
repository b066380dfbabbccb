//! Which build of the program a process runs.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use mp_layout::{Error, Result};

use crate::image::Image;

/// The build id that the linker wrote into the executable or, where it wrote none, which file the
/// executable is.
///
/// Two processes of one build have the same functions at the same offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Build(Vec<u8>);

/// What the bytes begin with, which are that word and four more.
const FILE: [u8; 8] = *b"the file";

impl Build {
    /// That of this process; found out before `main` by [`note`](Self::note).
    pub(crate) fn of_this_program() -> Result<&'static Self> {
        static BUILD: OnceLock<Build> = OnceLock::new();
        if let Some(build) = BUILD.get() {
            return Ok(build);
        }
        let build = match Image::of_this_program().build_id() {
            Some(id) => Self(id.to_vec()),
            None => Self::of_file("/proc/self/exe")?,
        };
        Ok(BUILD.get_or_init(|| build))
    }

    /// Finds out which build this process runs. Called before `main`: later the file may be another
    /// build's.
    pub(crate) fn note() {
        // What fails here fails again at the first start, which returns the error.
        drop(Self::of_this_program());
    }

    /// Device, inode, size and time of change: a file that is built again is another one.
    fn of_file(path: &str) -> Result<Self> {
        let file = std::fs::metadata(path)
            .map_err(|source| Error::os("look at", "the executable", source))?;
        let changed = file.mtime().wrapping_mul(1_000_000_000);
        let changed = changed.wrapping_add(file.mtime_nsec()).cast_unsigned();
        let words = [file.dev(), file.ino(), file.size(), changed];
        let words = words.iter().flat_map(|word| word.to_le_bytes());
        Ok(Self(FILE.into_iter().chain(words).collect()))
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Build {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, bytes) = match self.0.strip_prefix(&FILE) {
            Some(file) => ("file", file),
            None => ("build", &*self.0),
        };
        write!(formatter, "{label} ")?;
        bytes
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Build;

    #[test]
    fn a_file_without_build_id_differs_from_its_copy_and_from_its_changed_self() {
        let path = std::env::temp_dir().join(format!("mp-process-build-{}", std::process::id()));
        let name = path.to_str().unwrap();
        std::fs::write(&path, b"one").unwrap();
        let first = Build::of_file(name).unwrap();
        assert_eq!(Build::of_file(name).unwrap(), first);
        assert!(first.to_string().starts_with("file "), "{first}");
        std::fs::write(&path, b"longer").unwrap();
        let changed = Build::of_file(name).unwrap();
        let copy = path.with_extension("copy");
        std::fs::copy(&path, &copy).unwrap();
        let copied = Build::of_file(copy.to_str().unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(&copy).unwrap();
        assert_ne!(changed, first);
        assert_ne!(copied, changed);
    }

    #[test]
    fn this_program_is_the_same_build_each_time() {
        let build = Build::of_this_program().unwrap();
        assert_eq!(build, Build::of_this_program().unwrap());
        assert_eq!(&Build::from_bytes(build.as_bytes().to_vec()), build);
    }
}
