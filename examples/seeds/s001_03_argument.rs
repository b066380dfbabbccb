//! A process gets an argument.

use mp::Process;

fn process_function(name: String) {
    println!("Hello from {name}!");
}

fn main() -> mp::Result<()> {
    let mut process = Process::new(process_function, ("Process-1".to_owned(),));
    process.start()?;
    process.join()
}
