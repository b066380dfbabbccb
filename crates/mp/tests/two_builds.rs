//! Two builds of one program with other fields in one structure: neither reads what the other
//! wrote.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cargo_metadata::Message;
use mp_testkit::UniqueName;

/// Builds `two_builds/program.rs` with these arguments for the compiler, and keeps the program as
/// `name`.
fn build(name: &str, arguments: &[&str]) -> PathBuf {
    let profile: &[&str] = if cfg!(debug_assertions) {
        &[]
    } else {
        &["--release"]
    };
    let output = Command::new(env!("CARGO"))
        .args([
            "rustc",
            "--quiet",
            "--message-format=json",
            "--package",
            "mp-ipc",
            "--example",
            "two_builds",
        ])
        .args(profile)
        .arg("--")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let built = Message::parse_stream(&output.stdout[..])
        .filter_map(|message| match message.unwrap() {
            Message::CompilerArtifact(artifact) => artifact.executable,
            _ => None,
        })
        .last()
        .unwrap();
    // The next build has the same path.
    let kept =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::copy(built, &kept).unwrap();
    kept
}

/// A maker, which ends when its standard input is closed.
struct Maker(Child);

impl Maker {
    fn start(program: &Path, names: &[&str]) -> Self {
        let mut child = Command::new(program)
            .arg("make")
            .args(names)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "made\n");
        Self(child)
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

fn open(program: &Path, names: &[&str]) -> Vec<String> {
    let output = Command::new(program)
        .arg("open")
        .args(names)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_build_with_other_fields_is_refused() {
    let old = build("old", &[]);
    let new = build("new", &["--cfg", "floats"]);
    let names = ["value", "raw-value", "array", "raw-array", "mutex", "queue"].map(UniqueName::new);
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();

    let maker = Maker::start(&old, &names);
    let own = open(&old, &names);
    let (kinds, others): (Vec<_>, Vec<_>) = ["value", "raw value", "array", "raw array", "mutex"]
        .iter()
        .map(|kind| (format!("{kind}: 1078523331 7"), *kind))
        .unzip();
    assert_eq!(own[..5], kinds, "the same build opens all of them");
    assert_eq!(own[5], "queue: 1078523331 7");

    let refused = open(&new, &names);
    assert_eq!(refused.len(), names.len());
    for ((line, kind), name) in refused
        .iter()
        .zip(others.iter().chain(&["queue"]))
        .zip(&names)
    {
        let start = format!("{kind}: WrongType: ");
        assert!(line.starts_with(&start) && line.contains(name), "{line}");
        for side in [
            "found two_builds::Job { a: u32, b: u32 } of 8 bytes",
            "expected two_builds::Job { a: f32, b: u32 } of 8 bytes",
        ] {
            assert!(line.contains(side), "{line}");
        }
    }
    println!("{}", refused[0]);
    drop(maker);
    for program in [old, new] {
        std::fs::remove_file(program).unwrap();
    }
}
