//! Five processes change a dictionary and a list of a manager, one after the other.

use mp::manager::{Dict, List};
use mp::{Lock, Manager, Process};

/// Changes shared data.
fn worker(
    shared_dict: Dict<i32, i32>,
    shared_list: List<i32>,
    lock: Lock,
    worker_id: i32,
) -> mp::Result<()> {
    let _guard = lock.lock()?;
    shared_dict.set(&worker_id, worker_id * 10)?;
    shared_list.append(worker_id)
}

fn main() -> mp::Result<()> {
    let manager = Manager::new()?;
    // make the shared data
    let shared_dict = manager.dict()?;
    let shared_list = manager.list()?;
    let lock = manager.lock()?;

    let mut processes = Vec::new();
    for i in 0..5 {
        let arguments = (shared_dict.clone(), shared_list.clone(), lock.clone(), i);
        let mut p = Process::new(worker, arguments);
        p.start()?;
        processes.push(p);
    }
    for p in &processes {
        p.join()?;
    }

    let mut ids = shared_list.to_vec()?;
    let items = shared_dict.items()?;
    let items: Vec<_> = items.iter().map(|(k, v)| format!("{k}: {v}")).collect();
    println!("Dict: {{{}}}", items.join(", ")); // {0: 0, 1: 10, 2: 20, 3: 30, 4: 40}
    println!("List: {ids:?}"); // [0, 1, 2, 3, 4] (the order may differ)
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    assert_eq!(shared_dict.get(&4)?, Some(40));
    Ok(())
}
