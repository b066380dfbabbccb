//! A pool as large as a usual limit of descriptors allows. Alone in its binary: it starts 200
//! processes.

use std::time::Duration;

use mp_pool::Pool;
use mp_process::spawn;
use mp_testkit::Watchdog;

#[test]
fn two_hundred_workers_fit_a_limit_of_1024_descriptors() {
    /// In a process of its own: the limit is the whole process's. Returns how many it has open.
    fn parent() -> usize {
        let limit = libc::rlimit {
            rlim_cur: 1024,
            rlim_max: 1024,
        };
        // SAFETY: the kernel reads a structure that lives as long as the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        let pool = Pool::new(200).unwrap();
        assert_eq!(pool.map(|n: u64| n, 0..1000).unwrap().len(), 1000);
        assert_eq!(pool.worker_pids().len(), 200);
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }
    let _watchdog = Watchdog::new(Duration::from_secs(120));
    let open = spawn(parent, ()).unwrap().result().unwrap();
    println!("{open} descriptors");
    assert!(open < 1024, "{open}");
}
