//! Python's multiprocessing, rebuilt in Rust on shared memory.
