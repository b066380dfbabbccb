//! A grid of numbers in shared memory, which another process opens by its name.
//!
//! The original never starts its worker; here it runs. Cells have one index: a grid is its rows,
//! one after the other. With an index for each axis it is an `NdArray`.

use mp::{Process, SharedMemory};

fn worker(name: String) -> mp::Result<()> {
    let existing_shm = SharedMemory::open(&name)?;
    let arr = existing_shm.cells::<f64>()?;
    arr.set(0, 42.0); // row 0, column 0
    existing_shm.close();
    Ok(())
}

fn main() -> mp::Result<()> {
    let shm = SharedMemory::new(1000)?;

    let arr = shm.cells::<f64>()?.slice(..100); // 10 rows of 10
    arr.fill(0.0);

    let mut p = Process::new(worker, (shm.name().to_owned(),));
    p.start()?;
    p.join()?;
    assert_eq!(arr.get(0), 42.0);

    SharedMemory::unlink(shm.name())?; // the memory goes with its last user
    shm.close();
    Ok(())
}
