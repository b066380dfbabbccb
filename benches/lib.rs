//! Shared by the benches: pinning, peers, statistics.
