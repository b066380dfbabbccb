//! That the checks bite: each is shown what it must find.

use std::process::{Command, Stdio};
use std::time::Duration;

use mp_testkit::{LeakCheck, UniqueName, Watchdog};

const HANG: &str = "MP_TESTKIT_HANG";

/// One test, because descriptors and children belong to the whole process.
#[test]
fn each_kind_of_leak_is_named() {
    if std::env::var_os(HANG).is_some() {
        let _watchdog = Watchdog::new(Duration::from_millis(50));
        loop {
            std::thread::park();
        }
    }
    let check = LeakCheck::start();

    let file = std::fs::File::open("/proc/self/stat").unwrap();
    assert!(
        check.leaks()[0].starts_with("descriptor"),
        "{:?}",
        check.leaks()
    );
    drop(file);
    check.assert_clean();

    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    assert!(
        check
            .leaks()
            .iter()
            .any(|leak| leak.starts_with(&format!("child {pid}")))
    );
    drop(child.stdin.take());
    while !check
        .leaks()
        .iter()
        .any(|leak| leak.ends_with("in state Z"))
    {
        std::thread::yield_now();
    }
    child.wait().unwrap();
    check.assert_clean();

    let name = UniqueName::new("leak");
    std::fs::write(name.path(), b"left").unwrap();
    assert_eq!(check.leaks(), [format!("/dev/shm entry {}", &*name)]);
    drop(name);
    check.assert_clean();

    a_hang_is_ended_and_named();
    check.assert_clean();
}

fn a_hang_is_ended_and_named() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "each_kind_of_leak_is_named", "--nocapture"])
        .env(HANG, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("catches.rs") && said.contains("still hangs"),
        "{said}"
    );
}
