//! `docs/memory-layout.md` is what the code says; `MP_WRITE_LAYOUT=1 cargo test -p mp-ipc --test
//! memory_layout` writes it.

use std::fmt::Write as _;
use std::path::Path;

use mp_layout::{Kind, Table, TypeCode};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/memory-layout.md");

const INTRODUCTION: &str = "\
# Memory layout

Every structure that `mp` keeps in shared memory, printed from the code that defines it by `crates/mp/tests/memory_layout.rs`,
which fails when this file and the code differ. Offsets and sizes are in bytes; numbers are little endian; all words that
several processes touch are atomics.

An object's segment is its header, then its payload at the offset that the header gives (256, or 4096 where the payload is
page aligned). `SharedMemory` has neither: it is the bytes that were asked for.
";

fn expected() -> String {
    let mut text = INTRODUCTION.to_owned();
    let crates: [(&str, &[Table]); 6] = [
        ("mp-layout", mp_layout::TABLES),
        ("mp-sync", mp_sync::TABLES),
        ("mp-ring", mp_ring::TABLES),
        ("mp-value", mp_value::TABLES),
        ("mp-queue", mp_queue::TABLES),
        ("mp-pool", mp_pool::TABLES),
    ];
    for (name, tables) in crates {
        writeln!(text, "\n## {name}").unwrap();
        for table in tables {
            write!(text, "\n#{table}").unwrap();
        }
    }
    text.push_str("\n## Kinds\n\n| number | kind |\n|---:|---|\n");
    for kind in Kind::ALL {
        writeln!(text, "| {} | {kind} |", kind.number()).unwrap();
    }
    text.push_str(
        "\n## Type codes\n\n| code | Rust | bytes | class | numpy |\n|---|---|---:|---|---|\n",
    );
    for code in TypeCode::ALL {
        let (char, rust, size) = (code.as_char(), code.rust_type(), code.item_size());
        let (class, numpy) = (code.class(), code.numpy_name().replace('|', "\\|"));
        writeln!(
            text,
            "| `{char}` | `{rust}` | {size} | {class:?} | `{numpy}` |"
        )
        .unwrap();
    }
    text
}

#[test]
fn document_is_what_the_code_says() {
    if std::env::var_os("MP_WRITE_LAYOUT").is_some() {
        std::fs::write(FILE, expected()).unwrap();
    }
    let document = std::fs::read_to_string(Path::new(FILE)).unwrap();
    let differs = document
        .lines()
        .zip(expected().lines().map(str::to_owned))
        .find(|(a, b)| a != b);
    assert_eq!(differs, None, "write it anew: MP_WRITE_LAYOUT=1");
    assert_eq!(document.len(), expected().len());
}

#[test]
fn fields_are_in_order_and_within_their_structure() {
    for tables in [
        mp_layout::TABLES,
        mp_sync::TABLES,
        mp_ring::TABLES,
        mp_value::TABLES,
        mp_queue::TABLES,
    ] {
        for table in tables {
            let mut end = 0;
            for field in table.fields {
                assert!(
                    field.offset >= end,
                    "{}.{} overlaps",
                    table.name,
                    field.name
                );
                let padding = field.offset - end;
                assert!(
                    padding < 128,
                    "{}: {padding} bytes before {}",
                    table.name,
                    field.name
                );
                end = field.offset + field.size;
            }
            assert!(end <= table.size, "{} ends at {end}", table.name);
        }
    }
}
