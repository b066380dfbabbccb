//! A pool computes the MD5 of the Python programs in a folder: that of the argument, or this one.

use std::path::{Component, Path, PathBuf};
use std::{env, fs, io};

use md5::{Digest, Md5};
use mp::Pool;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Processed {
    File {
        path: String,
        size: usize,
        hash: String,
    },
    Error {
        path: String,
        error: String,
    },
}

/// Computes the hash of a file.
fn process_file(path: String) -> Processed {
    match fs::read(&path) {
        Ok(content) => Processed::File {
            path,
            size: content.len(),
            hash: hex(&Md5::digest(&content)),
        },
        Err(error) => Processed::Error {
            path,
            error: error.to_string(),
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files in `directory` whose names end so, as Python's `Path.glob` has them: without `./`.
fn files(directory: &Path, extension: &str) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            let parts = path.components().filter(|part| *part != Component::CurDir);
            files.push(parts.collect::<PathBuf>().display().to_string());
        }
    }
    Ok(files)
}

/// Processes the files of a folder in parallel.
fn parallel_file_process(
    directory: &Path,
    extension: &str,
    workers: usize,
) -> Result<Vec<Processed>, Box<dyn std::error::Error>> {
    let pool = Pool::new(workers)?;
    Ok(pool.map(process_file, files(directory, extension)?)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let results = parallel_file_process(Path::new(&directory), "py", 4)?;
    for result in results.iter().take(5) {
        match result {
            Processed::File { path, size, hash } => {
                println!("{{'path': '{path}', 'size': {size}, 'hash': '{hash}'}}");
            }
            Processed::Error { path, error } => {
                println!("{{'path': '{path}', 'error': '{error}'}}");
            }
        }
    }
    Ok(())
}
