//! The examples are the targets of this package, listed by path in its manifest.
