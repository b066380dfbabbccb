//! A process fills an array, and its parent reads it.

use mp::{Array, Process};

fn worker(arr: Array<i32>) -> mp::Result<()> {
    for i in 0..arr.len() {
        arr.set(i, i as i32 + 1)?;
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let arr = Array::from_iter(0..5)?;
    let mut p = Process::new(worker, (arr.clone(),));
    p.start()?;
    p.join()?;

    println!("Array from main: {:?}", arr.to_vec()?);
    Ok(())
}
