//! Each twin prints what its original prints under `python3`, and takes as long as the original's
//! sleeps.
//!
//! Where an original leaves the order of lines to the scheduler, the order within each process is
//! compared. PIDs are compared as names: the same number in one run must be the same in the other.
//! All programs run at the same time, since they mostly sleep; those that compute for long run
//! afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use mp_testkit::{Watchdog, not_checked};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Runs an original as Linux did by default when it was written, and writes line by line as Rust
/// does. Without that, what a process prints comes at its end.
///
/// Where tqdm, which writes to standard error only, is missing, a stand-in writes nothing.
const RUN_ORIGINAL: &str = "import multiprocessing, runpy, sys, types
try:
    import tqdm
except ImportError:
    class bar:
        def __init__(self, total): pass
        def __enter__(self): return self
        def __exit__(self, *error): pass
        def update(self): pass
    sys.modules['tqdm'] = types.SimpleNamespace(tqdm=bar)
multiprocessing.set_start_method('fork')
sys.stdout.reconfigure(line_buffering=True)
runpy.run_path(sys.argv[1], run_name='__main__')";

/// A twin, and in which way two runs of its original may differ.
struct Program {
    twin: &'static str,
    /// Which of the processes that run together has printed a line; `None` if no other process
    /// could print then.
    printer: fn(&str) -> Option<&str>,
    /// What stands before a number that differs from run to run.
    random: &'static [&'static str],
    /// Whether a line may come any number of times.
    repeats: bool,
    /// The time that the sleeps of the original take.
    sleeps: Duration,
    /// How often the two are run until they agree; once, unless a process that does not run for a
    /// second changes what is printed.
    attempts: u32,
    /// The error by which an original ends that is not complete or wrong, and what its twin prints
    /// from there on.
    completed: Option<(&'static str, &'static str)>,
    /// Whether it computes for seconds in several processes. It runs when the others have ended.
    is_heavy: bool,
    /// The folder in which the two run, if they look around there.
    folder: &'static str,
}

fn twin(name: &'static str) -> Program {
    Program {
        twin: name,
        printer: |_| None,
        random: &[],
        repeats: false,
        sleeps: Duration::ZERO,
        attempts: 1,
        completed: None,
        is_heavy: false,
        folder: "",
    }
}

impl Program {
    fn printed_by(mut self, printer: fn(&str) -> Option<&str>) -> Self {
        self.printer = printer;
        self
    }

    fn random(mut self, before: &'static [&'static str]) -> Self {
        self.random = before;
        self
    }

    fn repeats(mut self) -> Self {
        self.repeats = true;
        self
    }

    fn sleeps_ms(mut self, milliseconds: u64) -> Self {
        self.sleeps = Duration::from_millis(milliseconds);
        self
    }

    fn changes_on_a_stalled_machine(mut self) -> Self {
        self.attempts = 3;
        self
    }

    fn completed(mut self, error: &'static str, prints: &'static str) -> Self {
        self.completed = Some((error, prints));
        self
    }

    fn heavy(mut self) -> Self {
        self.is_heavy = true;
        self
    }

    fn in_folder(mut self, folder: &'static str) -> Self {
        self.folder = folder;
        self
    }
}

fn programs() -> Vec<Program> {
    vec![
        twin("s000_01_workers")
            .printed_by(|line| first_word(line).filter(|word| word.starts_with("进程-")))
            .sleeps_ms(2000),
        twin("s000_02_queue"),
        twin("s000_03_pipe"),
        twin("s000_04_value"),
        twin("s000_05_array"),
        twin("s000_06_executor"),
        twin("s000_07_pool"),
        twin("s001_01_run_method"),
        twin("s001_02_function"),
        twin("s001_03_argument"),
        twin("s001_04_producer_consumer").printed_by(first_word),
        twin("s001_05_pipe").printed_by(first_word),
        twin("s001_06_lock").random(&["m.value:"]),
        twin("s001_07_pool").printed_by(whole),
        twin("s001_08_factorials").heavy(),
        twin("s001_09_error"),
        twin("s002_02_pids").printed_by(before_comma),
        twin("s002_03_run_method"),
        twin("s002_04_pool_map"),
        twin("s002_05_apply_async"),
        twin("s002_06_ways_to_map")
            .printed_by(|line| (!line.starts_with('[')).then_some(line))
            .completed("PicklingError", "[3, 7, 11]\n"),
        twin("s002_07_callback"),
        twin("s002_08_producer_consumer").printed_by(first_word),
        twin("s002_09_pipe"),
        twin("s002_10_value_lock"),
        twin("s002_11_array"),
        twin("s002_13_manager"),
        twin("s002_14_lock").printed_by(whole),
        twin("s002_15_main_guard"),
        twin("s002_16_closure").completed("NameError", "hello\nhello\n"),
        twin("s003_01_queue"),
        twin("s003_02_pipe"),
        twin("s003_03_lock").printed_by(whole),
        twin("s003_04_pool").random(&[""]).sleeps_ms(1000),
        twin("s004_01_pids")
            .printed_by(|line| before_comma(line).filter(|start| start.starts_with("Worker"))),
        twin("s004_02_run_method").printed_by(whole),
        twin("s004_03_attributes")
            .printed_by(|line| match first_word(line) {
                Some("Name:" | "PID:" | "Is") => Some("the process"),
                _ => line.starts_with("After start").then_some("its parent"),
            })
            .sleeps_ms(1000)
            .changes_on_a_stalled_machine(),
        twin("s004_04_pool_map").sleeps_ms(2500),
        twin("s004_05_apply_and_starmap"),
        twin("s004_06_progress"),
        twin("s004_07_producer_consumer")
            .printed_by(first_word)
            .sleeps_ms(1000),
        twin("s004_08_pipe").printed_by(first_word),
        // Who is first is the scheduler's decision: the shape is compared.
        twin("s004_09_manager").random(&["{", "[", ", ", ": "]),
        twin("s004_10_value_and_array").random(&["Counter: ", "[", ", "]),
        twin("s004_11_value_and_lock"),
        twin("s004_12_lock").printed_by(first_word),
        twin("s004_13_semaphore")
            .printed_by(first_word)
            .sleeps_ms(3000),
        twin("s004_14_event").printed_by(first_word).sleeps_ms(2000),
        twin("s004_15_records"),
        twin("s004_16_speedup").random(&["Serial: ", "Parallel: ", "Speedup: "]),
        twin("s004_17_producers_consumers")
            .printed_by(|line| (line != "All processes finished").then_some(line))
            .random(&["Producer ", "produced: ", "Consumer ", "consumed: "])
            .repeats()
            .sleeps_ms(3000)
            .changes_on_a_stalled_machine(),
        twin("s004_18_files").in_folder("python"),
        twin("s004_19_executor")
            .printed_by(|line| line.starts_with("Completed").then_some(line))
            .sleeps_ms(3000),
    ]
}

/// Run only where `python3` has numpy.
const NEEDS_NUMPY: &str = "s002_12_shared_memory";

fn first_word(line: &str) -> Option<&str> {
    line.split(' ').next()
}

fn whole(line: &str) -> Option<&str> {
    Some(line)
}

fn before_comma(line: &str) -> Option<&str> {
    line.split(',').next()
}

#[test]
fn each_twin_prints_what_its_original_prints() {
    let _watchdog = Watchdog::new(Duration::from_secs(300));
    let python = has_python("");
    if !python {
        not_checked("there is no python3: the twins run, but nothing is compared");
    }
    let (heavy, light): (Vec<_>, Vec<_>) = programs().into_iter().partition(|one| one.is_heavy);
    let mut differences: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = light
            .into_iter()
            .map(|program| scope.spawn(move || difference(&program, python)))
            .collect();
        let ended = runs.into_iter().map(|run| run.join().unwrap());
        ended.flatten().collect()
    });
    differences.extend(
        heavy
            .iter()
            .filter_map(|program| difference(program, python)),
    );
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_twin_of_the_original_with_numpy_prints_the_same() {
    let _watchdog = Watchdog::new(Duration::from_secs(300));
    let numpy = has_python("import numpy");
    if !numpy {
        not_checked("python3 has no numpy: the twin runs, but is not compared");
    }
    let difference = difference(&twin(NEEDS_NUMPY), numpy);
    assert!(difference.is_none(), "{}", difference.unwrap_or_default());
}

#[test]
fn every_twin_is_compared_and_has_its_original() {
    let compared = programs().into_iter().map(|program| program.twin);
    let compared: BTreeSet<_> = compared
        .chain([NEEDS_NUMPY])
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(compared, stems(Path::new(HERE), "rs"));
    for twin in &compared {
        assert!(original(twin).exists(), "{twin}");
    }
}

#[test]
fn the_document_has_a_row_for_every_program() {
    let document = fs::read_to_string(Path::new(HERE).join("../../docs/seeds.md")).unwrap();
    let rows: Vec<_> = document
        .lines()
        .filter(|line| line.starts_with("| [s"))
        .collect();
    let twins = stems(Path::new(HERE), "rs");
    let expected: Vec<_> = stems(&Path::new(HERE).join("python"), "py")
        .into_iter()
        .map(|program| {
            let link = format!("| [{program}](../examples/seeds/python/{program}.py) |");
            match twins.iter().find(|twin| twin.starts_with(&program)) {
                Some(twin) => format!("{link} [{twin}](../examples/seeds/{twin}.rs) |"),
                None => link,
            }
        })
        .collect();
    assert_eq!(rows.len(), expected.len());
    for (row, start) in rows.iter().zip(&expected) {
        assert!(row.starts_with(start), "{row}\n{start}");
    }
}

#[test]
fn the_tests_that_the_document_names_exist() {
    let root = Path::new(HERE).join("../..");
    let document = fs::read_to_string(root.join("docs/seeds.md")).unwrap();
    let folders = fs::read_dir(root.join("crates")).unwrap();
    let tests: String = folders
        .map(|folder| folder.unwrap().path().join("tests"))
        .filter(|tests| tests.is_dir())
        .flat_map(|tests| fs::read_dir(tests).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let in_code = document.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        word.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let names: Vec<_> = in_code
        .filter(|word| word.matches('_').count() > 1)
        .filter(is_name)
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(tests.contains(&format!("fn {name}(")), "{name}");
    }
}

/// Whether `python3` runs this.
fn has_python(script: &str) -> bool {
    let run = Command::new("python3").args(["-c", script]).output();
    run.is_ok_and(|output| output.status.success())
}

/// The names of the files with this extension, without it.
fn stems(directory: &Path, extension: &str) -> BTreeSet<String> {
    let paths = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// `sNNN_BB.py` of `sNNN_BB_short_name`.
fn original(twin: &str) -> PathBuf {
    let end = "s000_00".len();
    Path::new(HERE)
        .join("python")
        .join(&twin[..end])
        .with_extension("py")
}

/// Where cargo has put the example; it is built with this test unless only the test was asked for.
fn built(twin: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.with_file_name("../examples").join(twin);
    let source = Path::new(HERE).join(twin).with_extension("rs");
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    assert!(
        changed(&path) >= changed(&source),
        "{path:?} is missing or older than its source; run `cargo test -p mp-seeds`, which builds it"
    );
    path
}

fn run(command: &mut Command) -> (Output, Duration) {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output, start.elapsed())
}

/// How the twin is not what it should be, if it is not.
fn difference(program: &Program, python: bool) -> Option<String> {
    let mut last = None;
    for _ in 0..program.attempts {
        last = Some(compare(program, python).err()?);
    }
    last
}

fn compare(program: &Program, python: bool) -> Result<(), String> {
    let name = program.twin;
    let folder = Path::new(HERE).join(program.folder);
    let (twin, took) = run(Command::new(built(name)).current_dir(&folder));
    let prints = String::from_utf8(twin.stdout).unwrap();
    let complains = String::from_utf8_lossy(&twin.stderr);
    if !twin.status.success() || !complains.is_empty() {
        return Err(format!("{name}: {}\n{prints}{complains}", twin.status));
    }
    if took < program.sleeps {
        return Err(format!("{name}: {took:?} are less than its sleeps"));
    }
    if !python {
        return Ok(());
    }
    let expected = printed_by_original(program, &folder)?;
    if canonical(&prints, program) == canonical(&expected, program) {
        return Ok(());
    }
    Err(format!(
        "--- {name} prints\n{prints}--- the original prints\n{expected}"
    ))
}

fn printed_by_original(program: &Program, folder: &Path) -> Result<String, String> {
    let mut command = Command::new("python3");
    command
        .current_dir(folder)
        .args(["-c", RUN_ORIGINAL])
        .arg(original(program.twin))
        .env("PYTHONUTF8", "1")
        .env_remove("PYTHONUNBUFFERED"); // with it, a line and its end are two writes
    let (output, _) = run(&mut command);
    let prints = String::from_utf8(output.stdout).unwrap();
    let complains = String::from_utf8_lossy(&output.stderr);
    match program.completed {
        None if output.status.success() => Ok(prints),
        Some((error, rest)) if complains.contains(error) && output.status.code() == Some(1) => {
            Ok(prints + rest)
        }
        _ => Err(format!(
            "the original of {}: {}\n{prints}{complains}",
            program.twin, output.status
        )),
    }
}

/// The lines without what may differ between two runs.
fn canonical(output: &str, program: &Program) -> Vec<String> {
    let blank = |line: &str| change_numbers(line, program.random, |_| "#".to_owned());
    let mut lines: Vec<_> = output.lines().map(blank).collect();
    let printer = |line: &String| (program.printer)(line).map(ToOwned::to_owned);
    for together in lines.chunk_by_mut(|a, b| printer(a).is_some() && printer(b).is_some()) {
        together.sort_by_key(printer);
    }
    if program.repeats {
        lines.dedup();
    }
    let mut pids = BTreeMap::new();
    let mut name_pid = |pid: &str| {
        let next = pids.len();
        format!("<{}>", pids.entry(pid.to_owned()).or_insert(next))
    };
    lines
        .iter()
        .map(|line| change_numbers(line, &["PID: "], &mut name_pid))
        .collect()
}

/// The line with each number that follows one of these words changed.
fn change_numbers(line: &str, after: &[&str], mut change: impl FnMut(&str) -> String) -> String {
    let mut changed = String::new();
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let is_after = after.iter().any(|word| changed.ends_with(word));
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let number = if is_after {
            &rest[..end.unwrap_or(rest.len())]
        } else {
            ""
        };
        if number.is_empty() {
            changed.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            changed.push_str(&change(number));
            rest = &rest[number.len()..];
        }
    }
    changed
}
