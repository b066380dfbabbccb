//! Descriptors that the server keeps, to give them up when the next request needs them.
//!
//! Methods run in the server's process, and may open what is left. Then a request that brings
//! descriptors cannot be received, and those that wait after it neither. With these it is received,
//! and refused.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use mp_os::socket::MAX_FDS;

/// Those of the longest message, and some to look at what it brings.
const MOST: usize = MAX_FDS + 3;

#[derive(Debug, Default)]
pub(crate) struct Reserve {
    descriptors: Vec<OwnedFd>,
    /// They were given up since they were taken last.
    is_given_up: bool,
}

impl Reserve {
    /// Takes as many as are missing, or as there are.
    pub(crate) fn fill(&mut self) {
        self.is_given_up = false;
        while self.descriptors.len() < MOST {
            match self.next() {
                Ok(descriptor) => self.descriptors.push(descriptor),
                Err(_) => return,
            }
        }
    }

    fn next(&self) -> io::Result<OwnedFd> {
        match self.descriptors.first() {
            Some(first) => first.as_fd().try_clone_to_owned(),
            None => io::pipe().map(|(reader, _)| reader.into()),
        }
    }

    /// Gives all up; whether there were any.
    pub(crate) fn give_up(&mut self) -> bool {
        let had_some = !self.descriptors.is_empty();
        self.descriptors.clear();
        self.is_given_up = true;
        had_some
    }

    /// Whether they were given up for the request that is served now.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    pub(crate) fn len(&self) -> usize {
        self.descriptors.len()
    }
}
