//! The parent's side of a start.
//!
//! Everything that the child needs is sent before it exists and waits in the socket. So the child
//! only receives, and neither side ever waits for the other.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::message::{self, Unfit};
use mp_object::transfer;
use mp_os::spawn::{Options, Started, run_self};
use mp_os::{socket, this_process};
use serde::Serialize;

use crate::current::{self, DEPTH_MAX};
use crate::entry::Entry;
use crate::for_children::ForChildren;
use crate::frame::{self, START};
use crate::image::Image;
use crate::running::{ExitWatch, Running};
use crate::setup::Setup;
use crate::start_method::StartMethod;
use crate::start_request::StartRequest;
use crate::{child, table};

/// The arguments of a task, whose types only its [`Entry`] knows.
pub(crate) trait Encode: Send {
    /// Appends them to `bytes`.
    fn append_to(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Unfit>;
    /// The name of their type.
    fn type_name(&self) -> &'static str;
}

impl<A: Serialize + Send> Encode for A {
    fn append_to(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Unfit> {
        message::append(self, bytes)
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<A>()
    }
}

/// What is to be started.
pub(crate) struct Start<'a> {
    pub(crate) entry: &'static Entry,
    pub(crate) arguments: &'a dyn Encode,
    pub(crate) name: &'a str,
    pub(crate) identity: &'a [u32],
    pub(crate) daemon: bool,
    pub(crate) setup: &'a Setup,
    pub(crate) passed: &'a [OwnedFd],
}

impl Start<'_> {
    pub(crate) fn run(self) -> Result<Arc<Running>> {
        self.check()?;
        table::reap_dropped();
        let for_children = ForChildren::of_this_process().map_err(|source| self.explain(source))?;
        let (ours, theirs) = socket::pair().map_err(|source| self.explain(source))?;
        self.send_start(&ours, &for_children)?;
        let starting = for_children.late.starting();
        let options = Options {
            blocked: self.setup.attributes.held_back(),
            ..self.setup.options.clone()
        };
        let Started { pid, process } =
            run_self(theirs, &options).map_err(|source| self.explain(source))?;
        starting.started(pid);
        let watch = ExitWatch::new(process).map_err(|source| {
            // Nothing will reap it here: its number may become another process's.
            for_children.late.forget(pid);
            self.explain(source)
        })?;
        let running = Running::new(self.name.to_owned(), self.daemon, pid, watch, ours);
        if self.setup.attributes.may_be_refused() {
            running
                .await_setup()
                .map_err(|error| self.refused(&error))?;
        }
        let running = Arc::new(running);
        table::register(Arc::clone(&running));
        Ok(running)
    }

    fn check(&self) -> Result<()> {
        if !child::is_caught() {
            return Err(self.error(ErrorKind::InvalidState).with_detail(
                "processes can be started when `main` has begun, not by code that runs before it",
            ));
        }
        if Image::of_this_program().is_run_by_its_loader() {
            return Err(self.error(ErrorKind::Unsupported).with_detail(
                "this program was started through its loader (`ld.so ./program`), which is what /proc/self/exe names \
                 then, and what would be started; start the program itself, and if it needs a loader of its own, \
                 set that with `patchelf --set-interpreter`",
            ));
        }
        if current::depth() >= DEPTH_MAX {
            return Err(self.error(ErrorKind::InvalidState).with_detail(format!(
                "it would be process {} inside a process inside ...: a task starts itself without end",
                DEPTH_MAX + 1
            )));
        }
        if self.setup.method == StartMethod::Fork {
            return Err(self.error(ErrorKind::Unsupported).with_detail(
                "a forked copy has every lock that another thread holds now, and not the thread that would release \
                 it; use spawn, the default",
            ));
        }
        self.check_options()?;
        let attributes = self.setup.attributes.check();
        attributes.map_err(|why| self.error(ErrorKind::InvalidInput).with_detail(why))?;
        self.check_passed()
    }

    fn check_passed(&self) -> Result<()> {
        let mut numbers = self.passed.iter().map(AsRawFd::as_raw_fd);
        match numbers.find(|number| *number <= libc::STDERR_FILENO) {
            Some(number) => Err(self.error(ErrorKind::InvalidInput).with_detail(format!(
                "descriptor {number} is a standard stream, which the child has anyway; pass a copy of it (`try_clone`)"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses what the system would cut short or drop without an error.
    fn check_options(&self) -> Result<()> {
        let has = |text: &OsStr, byte: u8| text.as_bytes().contains(&byte);
        for (variable, value) in &self.setup.options.env {
            if variable.is_empty() || has(variable, b'=') || has(variable, 0) || has(value, 0) {
                return Err(self.error(ErrorKind::InvalidInput).with_detail(format!(
                    "environment variable {variable:?}: a name is not empty and has no '=', neither it nor the value a NUL"
                )));
            }
        }
        match &self.setup.options.directory {
            Some(directory) if has(directory.as_os_str(), 0) => Err(self
                .error(ErrorKind::InvalidInput)
                .with_detail(format!("working directory {directory:?} has a NUL"))),
            _ => Ok(()),
        }
    }

    /// Sends all that the child needs.
    fn send_start(&self, socket: &OwnedFd, for_children: &ForChildren) -> Result<()> {
        // The child gets /dev/null in place of one that is closed.
        let stdin = match &self.setup.stdin {
            stream if stream.is_null() => None,
            stream => stream.descriptor().or(this_process::stdin()),
        };
        let request = StartRequest {
            entry: self.entry.address()?,
            depth: current::depth() + 1,
            name: self.name.to_owned(),
            identity: self.identity.to_vec(),
            daemon: self.daemon,
            parent_pid: std::process::id(),
            parent_name: current::current_process().name().to_owned(),
            listener: for_children.late.listener_name().to_vec(),
            passed: self.passed.iter().map(AsRawFd::as_raw_fd).collect(),
            attributes: self.setup.attributes.clone(),
        };
        let bytes = request.to_bytes(stdin.is_some())?;
        let (bytes, objects) = transfer::outgoing(|| self.arguments.append_to(bytes));
        let bytes = bytes.map_err(|error| self.unencoded(&error))?;
        let descriptors: Vec<_> = [Some(for_children.parent_end()), stdin]
            .into_iter()
            .flatten()
            .chain(self.passed.iter().chain(&objects).map(AsFd::as_fd))
            .collect();
        frame::send(socket.as_fd(), START, &bytes, &descriptors)
            .map_err(|source| self.explain(source))
    }

    fn unencoded(&self, error: &Unfit) -> Error {
        let what = self.arguments.type_name();
        self.error(ErrorKind::Encode)
            .with_detail(format!("{error} while writing the arguments {what}"))
    }

    /// What the child says that it could not set.
    fn refused(&self, error: &Error) -> Error {
        self.error(error.kind()).with_detail(error.to_string())
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, "start", self.title())
    }

    /// Its name in errors.
    fn title(&self) -> String {
        format!("process {:?}", self.name)
    }

    /// The system's error, with the way out.
    fn explain(&self, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::Unsupported {
            return self
                .error(ErrorKind::Unsupported)
                .with_detail(source.to_string());
        }
        let in_place = self.setup.options.directory.is_none();
        let way_out = match source.raw_os_error() {
            Some(libc::EAGAIN) => {
                "no further process is allowed; raise ulimit -u, or pids.max of the container"
            }
            Some(libc::ETOOMANYREFS) => {
                "too many descriptors are under way together; raise ulimit -n"
            }
            Some(libc::ENOMEM) => "there is no memory for another process",
            Some(libc::ENOENT) if in_place => "/proc/self/exe is missing; is /proc mounted?",
            Some(libc::EACCES) if in_place => {
                "the executable may not be run; is its file system mounted noexec?"
            }
            Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES) => "its directory cannot be entered",
            _ => return Error::os("start", self.title(), source),
        };
        Error::os("start", self.title(), source).with_detail(way_out)
    }
}
