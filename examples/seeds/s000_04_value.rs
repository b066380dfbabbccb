//! A process stores a number, and its parent reads it.

use mp::{Process, Value};

#[expect(clippy::approx_constant, reason = "the number of the original")]
fn worker(num: Value<f64>) -> mp::Result<()> {
    num.set(3.14)
}

fn main() -> mp::Result<()> {
    let num = Value::new(0.0)?;
    let mut p = Process::new(worker, (num.clone(),));
    p.start()?;
    p.join()?;

    println!("Value from main: {}", num.get());
    Ok(())
}
