//! Shared values and arrays: Value, Array, RawValue, RawArray, by Rust type or by type code.
