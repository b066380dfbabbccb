//! Watchdogs and leak checks for the tests of mp.
