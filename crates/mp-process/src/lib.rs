//! Processes that run a Rust function, report panics as data, and die with their parent.
