//! `docs/from-python.md` names every public name of Python's `multiprocessing` and
//! `concurrent.futures`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mp_testkit::not_checked;

/// Prints each public name of each module, as `module name`.
const NAMES: &str = "
import importlib
for module in (
    'multiprocessing', 'multiprocessing.managers', 'multiprocessing.connection',
    'multiprocessing.shared_memory', 'multiprocessing.pool', 'multiprocessing.synchronize',
    'multiprocessing.queues', 'multiprocessing.sharedctypes', 'concurrent.futures',
):
    loaded = importlib.import_module(module)
    for name in getattr(loaded, '__all__', None) or dir(loaded):
        if not name.startswith('_'):
            print(module, name)
";

/// So many names there are in every version at least.
const LEAST: usize = 60;

/// The words of the code in the first column of the page's tables.
fn words_of(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| {
        // A bar in code is escaped.
        let bar = row.match_indices(" | ").next()?.0;
        row.get(2..bar)
    });
    // What is between the first and the second backtick, the third and the fourth, and so on.
    let code = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let is_word = |symbol: char| symbol.is_alphanumeric() || symbol == '_';
    code.flat_map(|code| code.split(move |symbol| !is_word(symbol)))
        .collect()
}

#[test]
fn the_words_of_a_page_are_those_of_the_first_columns_code() {
    let page = "`no`\n| a `b.c(d=1)`, `e` | `f` |\n| `g \\| h` | |\n";
    let words: Vec<&str> = words_of(page).into_iter().collect();
    assert_eq!(words, ["", "1", "b", "c", "d", "e", "g", "h"]);
}

#[test]
fn every_public_name_is_on_the_page() {
    let asked = Command::new("python3")
        .args(["-c", NAMES])
        .stderr(Stdio::null())
        .output();
    let Some(printed) = asked.ok().filter(|output| output.status.success()) else {
        return not_checked("that docs/from-python.md names all of Python's names (no python3)");
    };
    let printed = String::from_utf8(printed.stdout).expect("text");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/from-python.md");
    let page = fs::read_to_string(path).expect("the page");
    let words = words_of(&page);
    let names = printed.lines().filter_map(|line| line.split_once(' '));
    assert!(names.clone().count() >= LEAST, "{printed}");
    let missing: Vec<_> = names.filter(|(_, name)| !words.contains(name)).collect();
    assert!(
        missing.is_empty(),
        "docs/from-python.md has no row for {missing:?}: say what to write instead, in the first column of a table"
    );
}
