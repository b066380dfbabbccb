//! Python with numpy and matplotlib, where they are.
#![allow(dead_code)] // each test file uses its own part

use std::process::Command;
use std::sync::LazyLock;

/// Set by `.ci/numpy`: both are there, so a test that cannot use them fails.
const REQUIRED: &str = "MP_REQUIRE_NUMPY";

static HAS_NUMPY: LazyLock<bool> = LazyLock::new(|| has("numpy"));

static HAS_MATPLOTLIB: LazyLock<bool> = LazyLock::new(|| has("matplotlib"));

fn has(module: &str) -> bool {
    let found = Command::new("python3")
        .args(["-c", &format!("import {module}")])
        .output();
    let found = found.is_ok_and(|output| output.status.success());
    assert!(
        found || std::env::var_os(REQUIRED).is_none(),
        "{REQUIRED} is set, and python3 has no {module}"
    );
    found
}

/// What the program prints; `None`, said loudly, where there is no numpy.
#[track_caller]
pub(crate) fn numpy(program: &str) -> Option<String> {
    if !*HAS_NUMPY {
        mp_testkit::not_checked("numpy (python3 has none; .ci/numpy installs it)");
        return None;
    }
    Some(run(&["-W", "error"], &format!("import numpy\n{program}")))
}

/// What the program prints, which draws without a screen; `None`, said loudly, where there is no
/// matplotlib.
#[track_caller]
pub(crate) fn matplotlib(program: &str) -> Option<String> {
    if !*HAS_MATPLOTLIB {
        mp_testkit::not_checked("matplotlib (python3 has none; .ci/numpy installs it)");
        return None;
    }
    let program = format!("import matplotlib\nmatplotlib.use('Agg')\n{program}");
    Some(run(&[], &program))
}

#[track_caller]
fn run(options: &[&str], program: &str) -> String {
    let output = Command::new("python3")
        .args(options)
        .args(["-c", program])
        .output()
        .expect("python3");
    assert!(
        output.status.success(),
        "{program}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
