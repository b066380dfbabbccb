//! A worker: takes packets, runs their tasks, pushes the outcomes.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::{self, Deadline};
use mp_os::process_id::ProcessIdentity;
use mp_os::wakeup::Wakeup;
use mp_process::call::{self as message, Callable, Function, Outcome};
use mp_process::take_passed_fd;
use mp_shm::Segment;
use mp_sync::Wait;

use crate::board::{Board, Claim, Hurry, LINE, Next, PIECE};
use crate::packet::{next_part, split_head};
use crate::record::{Head, OBJECTS_PER_MESSAGE, tag};
use crate::results::Results;

/// The task of a worker's process. The first three are descriptors; `most_tasks` is how many it
/// runs, 0 for any number.
pub(crate) fn run(
    memory: RawFd,
    wakeup: RawFd,
    socket: RawFd,
    number: u32,
    most_tasks: u64,
) -> Result<()> {
    let board = Board::attach(Segment::from_descriptor(passed(memory)?)?)?;
    let mut worker = Worker {
        number: number as usize,
        results: board.results(number as usize)?,
        board: &board,
        wakeup: Wakeup::from(passed(wakeup)?),
        socket: passed(socket)?,
        last_function: None,
        bytes: Vec::with_capacity(LINE),
        value: Vec::new(),
        context: 0,
    };
    WORKER.store(own_word(), Ordering::Relaxed);
    let ended = worker.run(most_tasks);
    // A copy that came back from a task ends without a word: the task is the worker's.
    if is_worker() { ended } else { Ok(()) }
}

/// The worker's process. A copy that a task forks finds another one's here.
static WORKER: AtomicU64 = AtomicU64::new(0);

/// The word of this process, which it looks up once; a fork forgets it. So each task asks without
/// a system call.
pub(crate) fn own_word() -> u64 {
    // Without /proc the pid tells it from its copies.
    ProcessIdentity::current().map_or_else(|_| std::process::id().into(), ProcessIdentity::word)
}

fn is_worker() -> bool {
    // Relaxed: each process reads what it, or the one that it is a copy of, stored.
    WORKER.load(Ordering::Relaxed) == own_word()
}

/// Calls a function that the parent sent. Ring, socket and packet are the worker's: a copy that
/// the function forks, and that comes back from it, gets an error.
fn call(
    function: Callable,
    arguments: &[u8],
    descriptors: Vec<OwnedFd>,
    memory: Vec<u8>,
) -> Result<Outcome> {
    let outcome = function.call_in(arguments, descriptors, memory);
    if is_worker() {
        Ok(outcome)
    } else {
        Err(Error::new(
            ErrorKind::InvalidState,
            "run",
            "tasks in a forked copy of a worker",
        ))
    }
}

fn passed(number: RawFd) -> Result<OwnedFd> {
    take_passed_fd(number)
        .ok_or_else(|| Error::new(ErrorKind::InvalidState, "start", "a worker of a pool"))
}

struct Worker<'a> {
    number: usize,
    board: &'a Board,
    results: Results<'a>,
    wakeup: Wakeup,
    socket: OwnedFd,
    /// The function of the last packet, which is mostly that of the next as well.
    last_function: Option<(Vec<u8>, Callable)>,
    /// Memory for the next packet.
    bytes: Vec<u8>,
    /// Memory for the next value.
    value: Vec<u8>,
    /// The number of the context that it keeps; 0 for none.
    context: u64,
}

/// Whether a worker keeps the context of a packet.
enum Kept {
    Yes,
    /// It cannot be read: each task fails.
    Failed(Error),
    /// It cannot be sent: the parent has answered for the packet.
    Refused,
}

/// Makes a call that the parent sent; returns why it failed, if it did.
fn prepare(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Option<String>> {
    let mut rest = bytes;
    let function = Function::from_bytes(next_part(&mut rest)?)?.find()?;
    let arguments = next_part(&mut rest)?;
    Ok(call(function, arguments, descriptors, Vec::new())?.failure())
}

impl Worker<'_> {
    fn run(&mut self, most_tasks: u64) -> Result<()> {
        if !self.initialise()? {
            return Ok(());
        }
        let mut ran = 0;
        while let Next::Run(claim) = self.next()? {
            self.run_packet(&claim)?;
            ran += claim.items as u64;
            if most_tasks != 0 && ran >= most_tasks {
                self.push(tag::RETIRED, Head::default(), &[])?;
                return self.results.ring_parent(&self.wakeup, true);
            }
        }
        Ok(())
    }

    /// Runs the initializer that the parent sent, if any; returns whether it succeeded.
    fn initialise(&mut self) -> Result<bool> {
        let (bytes, descriptors) = self.receive()?;
        let failure = if bytes.is_empty() {
            None
        } else {
            prepare(&bytes, descriptors)?
        };
        let (tag, text) = match &failure {
            None => (tag::READY, ""),
            Some(text) => (tag::NOT_READY, &**text),
        };
        self.push(tag, Head::default(), text.as_bytes())?;
        self.results.ring_parent(&self.wakeup, true)?;
        Ok(failure.is_none())
    }

    /// Before it sleeps, the parent is told of outcomes that do not hurry.
    fn next(&self) -> Result<Next> {
        let tell = || self.results.ring_parent(&self.wakeup, true);
        self.board.next(self.number, Wait::Adaptive, tell)
    }

    fn run_packet(&mut self, claim: &Claim) -> Result<()> {
        let (bytes, descriptors) = match claim.size {
            None => self.ask(tag::ASK, claim)?,
            Some(size) => {
                let mut bytes = std::mem::take(&mut self.bytes);
                self.board.read_line(claim.packet, size, &mut bytes)?;
                (bytes, Vec::new())
            }
        };
        // The parent could not send it, and has answered for it.
        if bytes.is_empty() {
            return Ok(());
        }
        let mut rest = &*bytes;
        let (context, name) = split_head(next_part(&mut rest)?)?;
        let function = match self.keep_context(context, claim)? {
            Kept::Refused => return Ok(()),
            Kept::Failed(error) => Err(error),
            Kept::Yes => self.find(name),
        };
        let mut descriptors = Some(descriptors);
        for item in 0..claim.items {
            let arguments = next_part(&mut rest)?;
            // Of the last tick: a reading of the clock costs as much as a short task.
            let now = clock::tick() / 1_000_000;
            self.board.begin(self.number, claim.generation, item, now)?;
            let outcome = match &function {
                Ok(function) => {
                    let descriptors = descriptors.take().unwrap_or_default();
                    let memory = std::mem::take(&mut self.value);
                    call(*function, arguments, descriptors, memory)?
                }
                Err(error) => Outcome::refused(error),
            };
            self.push_outcome(claim, item, outcome)?;
            if claim.hurry == Hurry::Each {
                self.results.ring_parent(&self.wakeup, true)?;
            }
        }
        // A task that closed the descriptor ends its worker, before another packet begins.
        match claim.hurry {
            Hurry::Each => {}
            Hurry::AtEnd => self.results.ring_parent(&self.wakeup, true)?,
            Hurry::No => self.results.ring_parent(&self.wakeup, false)?,
        }
        if bytes.capacity() <= LINE {
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Asks for the context of a packet that it has taken, unless it keeps that or needs none.
    fn keep_context(&mut self, context: u64, claim: &Claim) -> Result<Kept> {
        if context == 0 || context == self.context {
            return Ok(Kept::Yes);
        }
        self.context = 0;
        let (bytes, descriptors) = self.ask(tag::ASK_CONTEXT, claim)?;
        // The parent could not send it, and has answered for the packet.
        if bytes.is_empty() {
            return Ok(Kept::Refused);
        }
        if let Some(text) = prepare(&bytes, descriptors)? {
            let error = Error::new(ErrorKind::Decode, "receive", "the context of a task");
            return Ok(Kept::Failed(error.with_detail(text)));
        }
        self.context = context;
        Ok(Kept::Yes)
    }

    /// Receives what belongs to a packet and is not in its line.
    fn ask(&mut self, tag: u32, claim: &Claim) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        let head = Head {
            generation: claim.generation,
            packet: claim.packet as u32,
            ..Head::default()
        };
        self.push(tag, head, &[])?;
        self.results.ring_parent(&self.wakeup, true)?;
        self.receive()
    }

    fn receive(&self) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        message::receive(self.socket.as_fd(), Deadline::NEVER)
            .map_err(|source| Error::os("receive", "tasks of a pool", source))?
            .ok_or_else(|| Error::new(ErrorKind::Closed, "receive", "tasks of a pool"))
    }

    fn find(&mut self, name: &[u8]) -> Result<Callable> {
        if let Some((known, function)) = &self.last_function
            && known == name
        {
            return Ok(*function);
        }
        let function = Function::from_bytes(name)?.find()?;
        self.last_function = Some((name.to_vec(), function));
        Ok(function)
    }

    fn push_outcome(&mut self, claim: &Claim, item: usize, outcome: Outcome) -> Result<()> {
        let (mut bytes, descriptors) = outcome.into_message();
        let mut sent = 0;
        if !descriptors.is_empty() {
            // The parent receives what is before it when it is told of that.
            self.results.ring_parent(&self.wakeup, true)?;
            if let Err(error) = self.send_objects(&descriptors, &mut sent) {
                bytes = Outcome::refused(&error).into_message().0;
            }
        }
        let head = Head {
            generation: claim.generation,
            packet: claim.packet as u32,
            item: item as u32,
            descriptors: sent as u32,
        };
        self.push(tag::OUTCOME, head, &bytes)?;
        if bytes.capacity() <= LINE {
            self.value = bytes;
        }
        Ok(())
    }

    /// Sends the objects of an outcome, and counts in `sent` how many were, also after an error.
    fn send_objects(&self, objects: &[OwnedFd], sent: &mut usize) -> Result<()> {
        for some in objects.chunks(OBJECTS_PER_MESSAGE) {
            let borrowed: Vec<_> = some.iter().map(AsFd::as_fd).collect();
            message::send(self.socket.as_fd(), &[], &borrowed, Deadline::NEVER)
                .map_err(|source| Error::os("send", "the result of a task", source))?;
            *sent += some.len();
        }
        Ok(())
    }

    /// Pushes bytes, in pieces of which the last has the tag.
    fn push(&mut self, tag: u32, head: Head, bytes: &[u8]) -> Result<()> {
        let head = head.to_bytes();
        let mut rest = bytes;
        while rest.len() > PIECE {
            let (piece, more) = rest.split_at(PIECE);
            self.results.push(tag::PIECE, &head, piece, &self.wakeup)?;
            rest = more;
        }
        self.results.push(tag, &head, rest, &self.wakeup)
    }
}
