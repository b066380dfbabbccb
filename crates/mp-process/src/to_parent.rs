//! A child's way to its parent.
//!
//! An outcome goes through the socket on which the child was received. A task may close that
//! descriptor, and open another file that gets its number. So the socket is known by its inode:
//! nothing is written to another file, and a child whose socket is gone connects to its parent's
//! listener, which needs no descriptor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mp_layout::{Error, Result};
use mp_os::clock::Deadline;
use mp_os::{listener, socket};

use crate::frame::{self, SET_UP};
use crate::outcome::Outcome;
use crate::start_request::StartRequest;

/// How long a child waits where the listener is full, until the parent starts or reaps another
/// child and so empties it. A parent that waits for this child alone does neither.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket to the parent, and how to reach the parent without it.
#[derive(Debug)]
pub(crate) struct ToParent {
    socket: OwnedFd,
    inode: (u64, u64),
    listener: Vec<u8>,
    parent_pid: u32,
}

impl ToParent {
    pub(crate) fn new(socket: OwnedFd, request: &StartRequest) -> io::Result<Self> {
        Ok(Self {
            inode: socket::device_and_inode(&socket)?,
            socket,
            listener: request.listener.clone(),
            parent_pid: request.parent_pid,
        })
    }

    /// Tells the parent, whose start waits for it, that this process is set up.
    pub(crate) fn confirm_setup(&self) -> Result<()> {
        frame::send(self.socket.as_fd(), SET_UP, &[], &[])
            .map_err(|source| Error::os("confirm", "the start", source))
    }

    /// Tells the parent how the task went.
    pub(crate) fn send(&self, outcome: Outcome) -> Result<()> {
        if self.is_there() {
            return outcome.send(self.socket.as_fd());
        }
        let deadline = Deadline::after(PATIENCE);
        let connected = listener::connect(&self.listener, self.parent_pid, deadline);
        let socket = connected.map_err(|source| {
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

#[cfg(test)]
mod tests {
    use mp_object::Event;

    use super::*;
    use crate::for_children::ForChildren;
    use crate::spawn;

    /// Fills the parent's listener, so that the value of this child finds no room.
    fn fill(name: Vec<u8>, parent: u32, is_full: Event) -> u8 {
        // SAFETY: what is being tested is what happens to a task that does this.
        assert_eq!(unsafe { libc::close_range(0, u32::MAX, 0) }, 0);
        while listener::connect(&name, parent, Deadline::PASSED).is_ok() {}
        is_full.set();
        // Its descriptor is closed.
        std::mem::forget(is_full);
        7
    }

    /// Returns when the process waits for something, or has ended.
    fn await_sleep(pid: u32) {
        let deadline = Deadline::after(Duration::from_secs(20));
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let (_, state) = stat.rsplit_once(") ").unwrap();
            if state.starts_with(['S', 'Z']) {
                return;
            }
            assert!(!deadline.is_expired(), "it runs: {stat}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_child_waits_for_room_at_a_full_listener() {
        let for_children = ForChildren::of_this_process().unwrap();
        let name = for_children.late.listener_name().to_vec();
        let is_full = Event::new().unwrap();
        let process = spawn(fill, (name, std::process::id(), is_full.clone())).unwrap();
        assert!(is_full.wait_timeout(Duration::from_secs(20)));
        await_sleep(process.pid().unwrap());
        // A start accepts what waits.
        spawn(|| (), ()).unwrap().join().unwrap();
        assert_eq!(process.result().unwrap(), 7);
    }
}
