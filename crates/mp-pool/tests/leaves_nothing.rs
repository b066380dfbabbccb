//! What a pool leaves behind. Alone in its binary: descriptors and children belong to the whole
//! process.

use std::time::Duration;

use mp_pool::Pool;
use mp_testkit::{LeakCheck, Watchdog};

#[test]
fn dropped_pools_leave_no_descriptor_no_child_and_nothing_in_dev_shm() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    // What a process keeps for all its children.
    drop(Pool::new(1).unwrap());
    let check = LeakCheck::start();
    for workers in [1, 3] {
        let pool = Pool::new(workers).unwrap();
        assert_eq!(pool.map(|n: u32| n, 0..50).unwrap().len(), 50);
        let died = pool.try_map(|_: u32| std::process::abort(), 0..3);
        assert!(died.iter().all(|result: &Result<(), _>| result.is_err()));
        let object = mp_object::Event::new().unwrap();
        let back = pool.map(|event: mp_object::Event| event, vec![object; 20]);
        assert_eq!(back.unwrap().len(), 20);
        let _never = pool.map_async(
            |_: u32| loop {
                std::thread::park();
            },
            0..9,
        );
        drop(pool);
    }
    let closed = Pool::new(2).unwrap();
    closed.close();
    closed.join().unwrap();
    drop(closed);
    let gives_up = Pool::builder().workers(1).initializer(|| panic!("no"), ());
    let gives_up = gives_up.build().unwrap();
    assert!(gives_up.apply(|| (), ()).is_err());
    drop(gives_up);
    check.assert_clean();
}
