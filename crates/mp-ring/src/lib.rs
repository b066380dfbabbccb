//! Lock-free single-producer single-consumer rings for shared memory, safe against SIGKILL.
