//! A crate uses lower floors only, never its own: the table of `docs/architecture.md` against
//! `cargo metadata`.

use std::collections::BTreeMap;
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(Path::new(ROOT).join("Cargo.toml"))
        .exec()
        .unwrap()
}

/// Each crate of the document's table with its floor; -1 for tools of the compiler, which all may
/// use, `None` for development crates.
fn floors() -> BTreeMap<String, Option<i8>> {
    let document = std::fs::read_to_string(Path::new(ROOT).join("docs/architecture.md")).unwrap();
    let rows = document.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let floor = match cells.next()? {
            "dev" => None,
            "tool" => Some(-1),
            floor => Some(floor.parse().ok()?),
        };
        Some((floor, cells.next()?.to_owned()))
    });
    rows.flat_map(|(floor, crates)| {
        crates
            .split_whitespace()
            .map(|name| (name.trim_matches('`').to_owned(), floor))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The name of a package in the document: the facade is published under another one.
fn documented(package: &str) -> &str {
    if package == "mp-ipc" { "mp" } else { package }
}

#[test]
fn every_library_crate_has_a_floor() {
    let metadata = metadata();
    let documented: Vec<_> = floors().into_keys().collect();
    let mut found: Vec<_> = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.manifest_path.as_str().contains("/crates/"))
        .map(|package| self::documented(&package.name).to_owned())
        .collect();
    found.sort_unstable();
    assert_eq!(found, documented);
}

#[test]
fn crates_use_lower_floors_only() {
    let (metadata, floors) = (metadata(), floors());
    let mut edges = 0;
    for package in metadata.workspace_packages() {
        let Some(Some(floor)) = floors.get(documented(&package.name)) else {
            continue;
        };
        let normal = package
            .dependencies
            .iter()
            .filter(|d| d.kind == DependencyKind::Normal);
        for dependency in normal {
            let Some(below) = floors.get(documented(&dependency.name)) else {
                continue;
            };
            let below = below.unwrap_or_else(|| panic!("{} ships a dev crate", package.name));
            assert!(
                below < *floor,
                "{} (floor {floor}) uses {}",
                package.name,
                dependency.name
            );
            edges += 1;
        }
    }
    assert!(edges > 20, "only {edges} edges were checked");
}

#[test]
fn the_kill_harness_knows_nothing_of_mp() {
    let metadata = metadata();
    let killcheck = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "killcheck");
    let dependencies = &killcheck.unwrap().dependencies;
    assert!(
        dependencies
            .iter()
            .all(|dependency| !dependency.name.starts_with("mp"))
    );
}

/// What a user of one crate pays for: the promised bounds on the default graph.
#[test]
fn graphs_stay_small() {
    let metadata = metadata();
    for (package, most) in [
        ("mp-layout", 2),
        ("mp-ring", 10),
        ("mp-sync", 12),
        ("mp-shm", 12),
        ("mp-ipc", 40),
    ] {
        let graph = default_graph(&metadata, package);
        assert!(
            graph.len() <= most,
            "{package} needs {}: {graph:?}",
            graph.len()
        );
        if most < 20 {
            let macros = ["syn", "proc-macro2", "quote"];
            assert!(
                graph.iter().all(|name| !macros.contains(&name.as_str())),
                "{graph:?}"
            );
        }
    }
}

/// The names that `cargo tree` shows for a build of `package` with default features.
fn default_graph(metadata: &Metadata, package: &str) -> Vec<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--package",
            package,
        ])
        .current_dir(&metadata.workspace_root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}
