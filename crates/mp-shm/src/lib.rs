//! Shared memory segments: anonymous sealed ones, and named ones any POSIX program can open.
