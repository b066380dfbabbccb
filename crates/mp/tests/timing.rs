//! `docs/timing.md` is what the code says; `MP_WRITE_TIMING=1 cargo test -p mp-ipc --test timing`
//! writes it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

const INTRODUCTION: &str = "\
# Timing

Every span of time that is a constant of the code, with what its documentation says. It is printed by
`crates/mp/tests/timing.rs`, which fails when this file and the code differ, and when a span is written down in the code
without a name.

They are of three kinds:

- `RECHECK`: the longest sleep between two looks. The kernel wakes sleepers when a process dies; where it cannot, the
  next look finds out. So these bound how late a death is noticed, and nothing else depends on them.
- `PATIENCE`: how long something is waited for that ends soon by itself, before it is treated as if it did not.
- The others bound how long a processor is kept busy instead of sleeping, and pauses between two looks.
";

/// Development tools, which no user's process runs.
const TOOLS: [&str; 2] = ["killcheck", "mp-testkit"];

/// What makes a span of a literal.
const UNITS: [(&str, &str); 4] = [
    ("secs", "s"),
    ("millis", "ms"),
    ("micros", "us"),
    ("nanos", "ns"),
];

/// The Rust files under `directory`, in order, without tests.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The span in `Duration::from_millis(5)`, as text; `None` if there is none, or not of a literal.
fn span(code: &str) -> Option<String> {
    let (_, call) = code.split_once("Duration::from_")?;
    let (unit, argument) = call.split_once('(')?;
    let (number, _) = argument.split_once(')')?;
    let digits = number.replace('_', "");
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok().map(|n| format!("{n} {unit}"))
}

/// The first paragraph of the documentation that ends above line `at`.
fn documentation(lines: &[&str], at: usize) -> String {
    let above = lines[..at].iter().rev();
    let mut words: Vec<&str> = above
        .map(|line| line.trim())
        .take_while(|line| line.starts_with("///"))
        .map(|line| line.trim_start_matches('/').trim())
        .collect();
    words.reverse();
    let first = words.split(|line| line.is_empty()).next();
    first.unwrap_or_default().join(" ")
}

/// One row per span of `file`.
fn rows(file: &Path, text: &mut String) {
    let source = fs::read_to_string(file).unwrap();
    let shown = file.strip_prefix(ROOT).unwrap().display().to_string();
    let lines: Vec<&str> = source
        .lines()
        // Unit tests that stand in the file end it.
        .take_while(|line| !line.starts_with("mod tests {"))
        .collect();
    for (number, line) in lines.iter().enumerate() {
        let code = line.trim();
        if code.starts_with("//") {
            continue;
        }
        let Some(span) = span(code) else { continue };
        let name = code
            .split_once("const ")
            .and_then(|(_, rest)| rest.split_once(':'));
        let Some((name, _)) = name else {
            panic!("{shown}:{}: this span has no name: {code}", number + 1);
        };
        let meaning = documentation(&lines, number);
        assert!(!meaning.is_empty(), "{shown}: {name} is not documented");
        let meaning = meaning.replace('|', "\\|");
        writeln!(text, "| `{shown}` | `{name}` | {span} | {meaning} |").unwrap();
    }
}

fn expected() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("\n| file | constant | span | meaning |\n|---|---|---:|---|\n");
    let crates = Path::new(ROOT).join("crates");
    let mut files = Vec::new();
    sources(&crates, &mut files);
    for file in files {
        let within: Vec<_> = file.strip_prefix(&crates).unwrap().iter().collect();
        if within[1] == "src" && !TOOLS.iter().any(|tool| within[0] == *tool) {
            rows(&file, &mut text);
        }
    }
    text
}

#[test]
fn document_is_what_the_code_says() {
    let document = Path::new(ROOT).join("docs/timing.md");
    if std::env::var_os("MP_WRITE_TIMING").is_some() {
        fs::write(&document, expected()).unwrap();
    }
    let written = fs::read_to_string(&document).unwrap();
    let expected = expected();
    let differs = written.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert_eq!(differs, None, "write it again: MP_WRITE_TIMING=1");
    assert_eq!(
        written.len(),
        expected.len(),
        "write it again: MP_WRITE_TIMING=1"
    );
}

#[test]
fn every_span_of_the_sources_is_seen() {
    for (code, shown) in [
        (
            "const A: Duration = Duration::from_millis(250);",
            Some("250 ms"),
        ),
        ("wait(Duration::from_secs(1_000))", Some("1000 s")),
        ("Duration::from_nanos(left)", None),
        ("Duration::ZERO", None),
    ] {
        assert_eq!(span(code).as_deref(), shown);
    }
    let text = expected();
    for known in [
        "| `RECHECK` | 500 ms |",
        "| `RECHECK` | 250 ms |",
        "| `DAEMON_GRACE` |",
    ] {
        assert!(text.contains(known), "{known}\n{text}");
    }
}
