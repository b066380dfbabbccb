//! boost's lock-free queue, in a program of C++ that this bench compiles.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mp_benches::{Market, Sample};

/// The program, if this machine can compile it.
#[derive(Debug)]
pub(crate) struct Boost {
    program: PathBuf,
}

/// What the compiler says where there are no headers.
const NO_HEADERS: &str = "the headers of boost are missing";

impl Boost {
    /// Compiles the program; or what is missing for it.
    ///
    /// # Panics
    ///
    /// If all that it needs is there and it does not compile.
    pub(crate) fn compile() -> Result<Self, &'static str> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/mpmc/boost.cpp");
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("boost");
        // Another bench may run the program of this path, or compile it, too.
        let fresh = program.with_extension(std::process::id().to_string());
        let compiler = Command::new("g++")
            .args(["-std=c++17", "-O3", "-DNDEBUG", "-pthread", "-o"])
            .arg(&fresh)
            .args([source, "-latomic"])
            .output();
        let Ok(done) = compiler else {
            return Err("there is no g++");
        };
        let says = String::from_utf8_lossy(&done.stderr);
        if says.contains(NO_HEADERS) {
            return Err("its headers are missing (on Debian: apt-get install libboost-dev)");
        }
        assert!(done.status.success(), "{source} does not compile: {says}");
        std::fs::rename(&fresh, &program).expect("a directory of cargo's");
        Ok(Self { program })
    }

    /// What a market of threads does with it, with values of `words` words.
    ///
    /// # Panics
    ///
    /// If a number was lost or came twice.
    pub(crate) fn trade(&self, market: Market, words: usize, capacity: usize) -> Sample {
        let numbers = [words, market.sides, market.count, capacity];
        let cores = market.placement.cores();
        let ran = Command::new(&self.program)
            .args(numbers.iter().chain(cores).map(usize::to_string))
            .output()
            .expect("it was compiled");
        assert!(ran.status.success(), "{ran:?}");
        let printed = String::from_utf8_lossy(&ran.stdout);
        let elapsed = printed.trim().parse().expect("nanoseconds");
        Sample::of(Duration::from_nanos(elapsed), market.sides * market.count)
    }
}
