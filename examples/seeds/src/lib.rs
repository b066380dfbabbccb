//! The twins are the examples of this package, listed by path in its manifest.
