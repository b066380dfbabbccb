//! Python with numpy, where it is.
#![allow(dead_code)] // each test file uses its own part

use std::process::Command;
use std::sync::LazyLock;

/// Set by `.ci/numpy`: numpy is there, so a test that cannot use it fails.
const REQUIRED: &str = "MP_REQUIRE_NUMPY";

static HAS_NUMPY: LazyLock<bool> = LazyLock::new(|| {
    let found = Command::new("python3")
        .args(["-c", "import numpy"])
        .output();
    let found = found.is_ok_and(|output| output.status.success());
    assert!(
        found || std::env::var_os(REQUIRED).is_none(),
        "{REQUIRED} is set, and python3 has no numpy"
    );
    found
});

/// What the program prints; `None`, said loudly, where there is no numpy.
#[track_caller]
pub(crate) fn numpy(program: &str) -> Option<String> {
    if !*HAS_NUMPY {
        mp_testkit::not_checked("numpy (python3 has none; .ci/numpy installs it)");
        return None;
    }
    let output = Command::new("python3")
        .args(["-W", "error", "-c", &format!("import numpy\n{program}")])
        .output()
        .expect("python3");
    assert!(
        output.status.success(),
        "{program}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}
