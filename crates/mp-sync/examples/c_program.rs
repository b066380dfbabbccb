//! A mutex and an event in memory that a C program makes and maps.
//!
//! `cargo run --release -p mp-sync --example c_program` (needs a C compiler, `cc`)
//!
//! `c_program.c` lays a struct over a shared page, with room for a lock and an event, and starts
//! two programs in Rust that use them: this one, with a role and the page's name. All that mp-sync
//! wants is memory: who made it does not matter.

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::{self, Command};

use mp_layout::Region;
use mp_shm::SharedMemory;
use mp_sync::{Event, Mutex};

const COUNT: u64 = 100_000;

/// As in `struct page` of the C program.
const COUNTER: usize = 0;
const DONE: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => run_the_c_program(),
        [role, name] => Ok(play(role, name)?),
        _ => Err("usage: c_program".into()),
    }
}

fn run_the_c_program() -> Result<(), Box<dyn Error>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c_program.c");
    let program = env::temp_dir().join(format!("c_program-{}", process::id()));
    let compiled = Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Werror", "-o"])
        .args([&program, &source])
        .arg("-lrt")
        .status()?;
    assert!(compiled.success(), "cc: {compiled}");

    let name = format!("/c-program-{}", process::id());
    let status = Command::new(&program)
        .arg(&name)
        .arg(env::current_exe()?)
        .status()?;
    std::fs::remove_file(&program)?;
    assert!(status.success(), "the C program: {status}");
    Ok(())
}

fn play(role: &str, name: &str) -> mp_layout::Result<()> {
    let memory = SharedMemory::open(name.trim_start_matches('/'))?;
    let page: Region<'_> = memory.region();
    // SAFETY: the C program keeps these bytes for a mutex of this type, zeroed or in use.
    let counter: &Mutex<u64> = unsafe { page.place_guarded(COUNTER)? };
    // SAFETY: the same for the event.
    let done: &Event = unsafe { page.place_guarded(DONE)? };

    if role == "count" {
        for _ in 0..COUNT {
            *counter.lock()? += 1;
        }
        done.set();
    } else {
        done.wait();
        let total = *counter.lock()?;
        println!("two programs in Rust met in a page of a program in C: {total}");
        assert_eq!(total, COUNT);
    }
    Ok(())
}
