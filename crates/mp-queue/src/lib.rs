//! A queue between any number of processes whose messages outlive their sender.
