//! Locks and events that survive the death of their owners, placed in shared memory.
