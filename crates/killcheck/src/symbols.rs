//! Names for addresses of this process, read from the symbol tables of its ELF files.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// One mapped range of a file, as /proc/self/maps lists it.
#[derive(Debug)]
struct Mapping {
    from: u64,
    to: u64,
    /// Where the file's offset 0 would be mapped.
    base: u64,
    path: String,
}

#[derive(Debug)]
struct Function {
    address: u64,
    size: u64,
    name: String,
}

/// The executable mappings at the time of the check, and the tables read from them since.
#[derive(Debug)]
pub(crate) struct Symbols {
    mappings: Vec<Mapping>,
    tables: RefCell<HashMap<String, Vec<Function>>>,
}

impl Symbols {
    pub(crate) fn of_this_process() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mut bases = HashMap::new();
        let mut mappings = Vec::new();
        for line in maps.lines() {
            let Some((from, to, offset, path, code)) = mapping(line) else {
                continue;
            };
            let base = *bases
                .entry(path.to_owned())
                .or_insert(from.wrapping_sub(offset));
            if code {
                mappings.push(Mapping {
                    from,
                    to,
                    base,
                    path: path.to_owned(),
                });
            }
        }
        Self {
            mappings,
            tables: RefCell::default(),
        }
    }

    /// Whether the code at `address` is the program's own, not a shared library's.
    pub(crate) fn is_of_the_program(&self, address: u64) -> bool {
        let own = Self::of_this_process as fn() -> Self as usize as u64;
        let file = |address| {
            let mapping = self
                .mappings
                .iter()
                .find(|m| (m.from..m.to).contains(&address));
            mapping.map(|mapping| &mapping.path)
        };
        file(address) == file(own)
    }

    /// Returns "function+0xoffset", or "file+0xoffset" if the file does not name it.
    pub(crate) fn place(&self, address: u64) -> String {
        let in_range = |m: &&Mapping| (m.from..m.to).contains(&address);
        let Some(mapping) = self.mappings.iter().find(in_range) else {
            return "unknown code".to_owned();
        };
        let mut tables = self.tables.borrow_mut();
        let table = tables.entry(mapping.path.clone()).or_insert_with(|| {
            fs::read(&mapping.path)
                .ok()
                .and_then(table)
                .unwrap_or_default()
        });
        let offset = address - mapping.base;
        let inside = |f: &&Function| (f.address..f.address + f.size).contains(&offset);
        match table.iter().find(inside) {
            Some(function) => format!("{}+{:#x}", function.name, offset - function.address),
            None => {
                let name = Path::new(&mapping.path).file_name().unwrap_or_default();
                format!("{}+{offset:#x}", name.to_string_lossy())
            }
        }
    }
}

fn mapping(line: &str) -> Option<(u64, u64, u64, &str, bool)> {
    let mut fields = line.split_ascii_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    let code = fields.next()?.as_bytes().get(2) == Some(&b'x');
    let offset = fields.next()?;
    let path = fields.nth(2)?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(from)?, number(to)?, number(offset)?, path, code))
}

fn u64_at(file: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(file: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?))
}

/// Reads the functions of a 64-bit little-endian ELF file that is mapped at any base.
fn table(file: Vec<u8>) -> Option<Vec<Function>> {
    const SHT_SYMTAB: u32 = 2;
    const SHT_DYNSYM: u32 = 11;
    const ET_DYN: u16 = 3;
    if file.get(..6)? != b"\x7FELF\x02\x01" || u16_at(&file, 16)? != ET_DYN {
        return None;
    }
    let sections = u64_at(&file, 0x28)? as usize;
    let count = u16_at(&file, 0x3C)? as usize;
    let header = |index: usize| sections + index * 64;
    let find = |kind| {
        (0..count)
            .map(header)
            .find(|at| u32_at(&file, at + 4) == Some(kind))
    };
    let symbols = find(SHT_SYMTAB).or_else(|| find(SHT_DYNSYM))?;
    let names = u64_at(&file, header(u32_at(&file, symbols + 40)? as usize) + 24)? as usize;
    let (start, size) = (
        u64_at(&file, symbols + 24)? as usize,
        u64_at(&file, symbols + 32)?,
    );
    let mut functions = Vec::new();
    for at in (start..start + size as usize).step_by(24) {
        const STT_FUNC: u8 = 2;
        let function = Function {
            address: u64_at(&file, at + 8)?,
            size: u64_at(&file, at + 16)?,
            name: String::new(),
        };
        if file.get(at + 4)? & 0xF != STT_FUNC || function.size == 0 {
            continue;
        }
        let name = &file[names + u32_at(&file, at)? as usize..];
        let len = name.iter().position(|byte| *byte == 0)?;
        functions.push(Function {
            name: plain(&String::from_utf8_lossy(&name[..len])),
            ..function
        });
    }
    Some(functions)
}

/// Turns a mangled Rust name into its path, without hashes and generic arguments.
///
/// Both manglings write identifiers as their length and text; what lies between is left out.
fn plain(name: &str) -> String {
    let (legacy, mut rest) = match (name.strip_prefix("_ZN"), name.strip_prefix("_R")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return name.to_owned(),
    };
    let mut parts: Vec<&str> = Vec::new();
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
        let after = start + digits;
        let len = rest[start..after].parse().unwrap_or(0);
        // The newer mangling parts the length from a text that begins with a digit or underscore.
        let text = &rest[after..];
        let text = if legacy {
            text
        } else {
            text.strip_prefix('_').unwrap_or(text)
        };
        match text.get(..len) {
            Some(part) if len > 0 => {
                parts.push(part);
                rest = &text[len..];
            }
            _ => rest = &rest[after..],
        }
    }
    if legacy {
        // The last part is the hash.
        parts.pop();
    }
    if parts.is_empty() {
        return name.to_owned();
    }
    const ESCAPES: [(&str, &str); 8] = [
        ("_$", "$"),
        ("$LT$", "<"),
        ("$GT$", ">"),
        ("$RF$", "&"),
        ("$u20$", " "),
        ("$u7b$", "{"),
        ("$u7d$", "}"),
        ("..", "::"),
    ];
    let joined = parts.join("::");
    ESCAPES
        .iter()
        .fold(joined, |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::{Symbols, plain};

    #[test]
    fn code_of_libraries_is_not_the_programs() {
        let symbols = Symbols::of_this_process();
        let own = names_are_made_plain as fn() as usize as u64;
        assert!(symbols.is_of_the_program(own));
        let library = libc::memcpy as *const () as usize as u64;
        assert_eq!(
            symbols.is_of_the_program(library),
            cfg!(target_feature = "crt-static"),
            "{}",
            symbols.place(library)
        );
        assert!(!symbols.is_of_the_program(0));
    }

    #[test]
    fn names_are_made_plain() {
        for (mangled, path) in [
            ("main", "main"),
            (
                "_ZN10plain_lock7Counter3add17h0123456789abcdefE",
                "plain_lock::Counter::add",
            ),
            (
                "_ZN4demo4main28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
                "demo::main::{{closure}}",
            ),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
            ("_R", "_R"),
        ] {
            assert_eq!(plain(mangled), path);
        }
    }
}
