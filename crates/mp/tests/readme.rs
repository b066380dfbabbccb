//! The README's tables name every object, and its links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// The types that the facade has at its root: the objects, but for what describes others.
fn objects(facade: &str) -> Vec<&str> {
    const NO_OBJECTS: [&str; 5] = ["Error", "ErrorKind", "Result", "Deadline", "Plain"];
    let reexports = facade.split("\npub use ").skip(1);
    let lists = reexports.filter_map(|rest| rest.split(';').next());
    let names = lists.flat_map(|list| {
        let from = list.find('{').map_or(list.rfind(':'), Some);
        let names = list.split_at(from.map_or(0, |at| at + 1)).1;
        names.split(|symbol: char| !symbol.is_alphanumeric())
    });
    let is_type = |name: &&str| name.starts_with(char::is_uppercase);
    names
        .filter(is_type)
        .filter(|name| !NO_OBJECTS.contains(name) && *name != "PlainOfFacade")
        .collect()
}

#[test]
fn the_readme_says_of_each_object_what_a_death_leaves() {
    let (facade, readme) = (read("crates/mp/src/lib.rs"), read("README.md"));
    let objects = objects(&facade);
    assert!(objects.len() > 30, "{objects:?}");
    let (_, table) = readme
        .split_once("if a process is killed with it |\n")
        .expect("the table");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let first: String = rows.filter_map(|row| row.split(" | ").next()).collect();
    let words: Vec<&str> = first
        .split(|symbol: char| !symbol.is_alphanumeric())
        .collect();
    let missing: Vec<_> = objects
        .iter()
        .filter(|name| !words.contains(name))
        .collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[test]
fn links_of_the_readme_lead_somewhere() {
    let readme = read("README.md");
    let targets = readme.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split([')', '#']).next());
    let files = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    let missing: Vec<_> = files.filter(|file| !root().join(file).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
