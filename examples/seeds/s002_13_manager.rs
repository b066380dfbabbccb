//! A process changes a dictionary and a list of a manager.

use mp::manager::{Dict, List};
use mp::{Manager, Process};

fn worker(shared_dict: Dict<String, String>, shared_list: List<i32>) -> mp::Result<()> {
    shared_dict.set("key", "value".to_owned())?;
    shared_list.append(42)
}

fn main() -> mp::Result<()> {
    let manager = Manager::new()?;
    let shared_dict = manager.dict()?;
    let shared_list = manager.list()?;

    let mut p = Process::new(worker, (shared_dict.clone(), shared_list.clone()));
    p.start()?;
    p.join()?;

    let items = shared_dict.items()?;
    let items: Vec<_> = items.iter().map(|(k, v)| format!("'{k}': '{v}'")).collect();
    println!("{{{}}}", items.join(", ")); // {'key': 'value'}
    println!("{:?}", shared_list.to_vec()?); // [42]
    Ok(())
}
