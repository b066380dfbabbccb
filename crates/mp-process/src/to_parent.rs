//! A child's way to its parent.
//!
//! An outcome goes through the socket on which the child was greeted. A task may close that descriptor, and open another
//! file that gets its number. So the socket is known by its inode: nothing is written to another file, and a child whose
//! socket is gone connects to its parent's listener, which needs no descriptor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use mp_layout::{Error, Result};
use mp_os::{listener, socket};

use crate::hello::Hello;
use crate::outcome::Outcome;

/// The socket to the parent, and how to reach the parent without it.
#[derive(Debug)]
pub(crate) struct ToParent {
    socket: OwnedFd,
    inode: (u64, u64),
    listener: Vec<u8>,
    parent_pid: u32,
}

impl ToParent {
    pub(crate) fn new(socket: OwnedFd, hello: &Hello) -> io::Result<Self> {
        Ok(Self {
            inode: socket::device_and_inode(&socket)?,
            socket,
            listener: hello.listener.clone(),
            parent_pid: hello.parent_pid,
        })
    }

    /// Tells the parent how the task went.
    pub(crate) fn send(&self, outcome: Outcome) -> Result<()> {
        if self.is_there() {
            return outcome.send(self.socket.as_fd());
        }
        let socket = listener::connect(&self.listener, self.parent_pid).map_err(|source| {
            Error::os("send", "the result", source).with_detail(
                "the task closed the descriptor for it, and the parent cannot be reached in another way",
            )
        })?;
        outcome.send(socket.as_fd())
    }

    /// Asked without a descriptor of its own: the task may have left none.
    fn is_there(&self) -> bool {
        match socket::device_and_inode(&self.socket) {
            Ok(inode) => inode == self.inode,
            Err(error) => error.raw_os_error() != Some(libc::EBADF),
        }
    }
}
