//! Named memory between two programs that are started separately, in any language.
//!
//! `cargo run --release -p mp-shm --example memory_with_python` (needs `python3`)

use std::error::Error;
use std::process::Command;

use mp_shm::SharedMemory;

/// Doubles what it finds. Without `mmap`, `numpy.memmap` on the same path does it in one line.
const SECOND_PROGRAM: &str = "
import mmap, os, struct, sys
file = os.open('/dev/shm/' + sys.argv[1], os.O_RDWR)
memory = mmap.mmap(file, 0)
for at in range(0, len(memory), 8):
    number, = struct.unpack_from('d', memory, at)
    struct.pack_into('d', memory, at, 2 * number)
";

fn main() -> Result<(), Box<dyn Error>> {
    let memory = SharedMemory::new(1000 * size_of::<f64>())?;
    let numbers = memory.cells::<f64>()?;
    (0..1000).for_each(|at| numbers.set(at, at as f64));

    let second = Command::new("python3")
        .args(["-c", SECOND_PROGRAM, memory.name()])
        .status();
    SharedMemory::unlink(memory.name())?;
    if !second?.success() {
        return Err("python3 failed".into());
    }
    let sum: f64 = (0..1000).map(|at| numbers.get(at)).sum();
    println!("a program in Python doubled 1000 numbers in place; their sum is {sum}");
    assert_eq!(sum, 999_000.0);
    Ok(())
}
