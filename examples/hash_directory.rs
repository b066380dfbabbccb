//! Hashes the files of a directory in a pool of workers, with a bar that shows how far they are.
//!
//! ```text
//! cargo run --release --example hash_directory
//! cargo run --release --example hash_directory -- /usr/include
//! ```

#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{env, fs};

use indicatif::ProgressBar;
use mp::Pool;
use mp::pool::progress_bar;

/// The size of a file, and its FNV-1a hash; the error as text, since an `io::Error` cannot travel.
fn hash(path: &Path) -> Result<(u64, u64), String> {
    let failed = |error: io::Error| error.to_string();
    let mut file = fs::File::open(path).map_err(failed)?;
    let (mut size, mut hash) = (0, 0xcbf2_9ce4_8422_2325_u64);
    let mut buffer = [0; 1 << 16];
    loop {
        let bytes = match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok((size, hash)),
            count => &buffer[..count],
        };
        size += bytes.len() as u64;
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// The files of a directory and of those in it, without links.
fn files(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates");
    let directory = env::args_os().nth(1).unwrap_or_else(|| crates.into());
    let mut paths = Vec::new();
    files(Path::new(&directory), &mut paths)?;

    let pool = Pool::new(mp::cpu_count())?;
    let hash_one = |path: PathBuf| (hash(&path), path);
    // Seen on a terminal only.
    let bar = ProgressBar::new(0);
    let calls = pool.chunk_size(8).on_progress(progress_bar(bar.clone()));
    let (mut bytes, mut sum, mut unread) = (0, 0, 0);
    for result in calls.imap_unordered(hash_one, paths.clone()) {
        match result? {
            // The sum does not depend on the order in which the files come.
            (Ok((size, hash)), _) => (bytes, sum) = (bytes + size, hash.wrapping_add(sum)),
            (Err(error), path) => {
                unread += 1;
                bar.println(format!("{}: {error}", path.display()));
            }
        }
    }
    println!(
        "{} files, {bytes} bytes, {sum:016x}; {unread} could not be read",
        paths.len()
    );

    let stats = pool.stats();
    assert_eq!((stats.done, stats.failed), (paths.len() as u64, 0));
    Ok(())
}
