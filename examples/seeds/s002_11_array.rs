//! A process fills an array of ten numbers.

use mp::{Array, Process};

fn fill_array(arr: Array<i32>, start: i32) -> mp::Result<()> {
    for i in 0..arr.len() {
        arr.set(i, start + i as i32)?;
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let arr = Array::new(10)?; // ten i32

    let mut p = Process::new(fill_array, (arr.clone(), 100));
    p.start()?;
    p.join()?;

    println!("{:?}", arr.to_vec()?); // [100, 101, 102, ...]
    Ok(())
}
