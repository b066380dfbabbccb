//! A bench that leaves a file fails, and the next one removes the file.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, fs};

use mp_benches::{Bench, Leftovers};

/// Set in the process that is a bench: what the destructor of its peer does.
const DESTRUCTOR: &str = "MP_BENCHES_DESTRUCTOR";

/// Runs a bench with a peer that has a file in `/dev/shm`; returns also that file.
fn bench(destructor: &str) -> (Output, PathBuf) {
    let this = env::current_exe().expect("the test itself");
    let child = Command::new(this)
        .args(["--exact", "a_bench_that_leaves_a_file_fails"])
        .arg("--nocapture")
        .env(DESTRUCTOR, destructor)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&child.stdout);
    let file = said.lines().find_map(|line| line.strip_prefix("file: "));
    let file = PathBuf::from(file.expect("the bench names its file"));
    (child, file)
}

fn be_a_bench(destructor: &str) {
    let bench = Bench::start("control", env!("CARGO_TARGET_TMPDIR"));
    let peer = Leftovers::new();
    let file = format!("/dev/shm/{}data", peer.prefix());
    fs::write(&file, b"a peer's").expect("room");
    println!("\nfile: {file}");
    match destructor {
        "runs" => drop(peer),
        _ => std::mem::forget(peer),
    }
    bench.finish();
}

#[test]
fn a_bench_that_leaves_a_file_fails() {
    if let Ok(destructor) = env::var(DESTRUCTOR) {
        return be_a_bench(&destructor);
    }
    let (clean, file) = bench("runs");
    assert!(clean.status.success(), "{clean:?}");
    assert!(!file.exists());

    let (left, file) = bench("does not run");
    let said = String::from_utf8_lossy(&left.stderr);
    assert!(!left.status.success(), "{said}");
    assert!(
        said.contains(&format!("the bench leaves [{file:?}]")),
        "{said}"
    );
    assert!(file.exists());
    Leftovers::remove_of_dead_benches();
    assert!(!file.exists());
}
