//! What all tasks of a call are given: it travels to a worker once, when the worker lacks it.
//!
//! A packet's head has the number of its context. A worker that keeps another one asks for it, gets
//! a call of [`keep`] over its socket, and keeps it until it runs tasks with another.

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use mp_layout::{Error, ErrorKind, PlainSlice, Result};
use mp_os::clock::Deadline;
use mp_process::call::{Function, Message};
use mp_process::{Argument, Arguments, Returned, Stateless, Task};
use mp_value::{Chunk, Chunks, Claim};

use crate::feeder::{Written, write};
use crate::packet::append_part;

/// The number of the next context. 0 is none.
static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The context that this worker keeps, on the thread that runs tasks.
    static KEPT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Writes a call that a worker makes before it runs tasks.
pub(crate) fn preparation<F, A, W>(task: F, arguments: &A) -> Result<Written>
where
    F: Task<A> + Stateless,
    F::Output: Returned<W>,
    A: Arguments,
{
    let function = Function::of::<F, A, W>(task)?;
    let (arguments, objects) = write(arguments, Vec::new())?;
    let mut bytes = Vec::new();
    append_part(&mut bytes, &function.to_bytes());
    append_part(&mut bytes, &arguments);
    Ok((bytes, objects))
}

/// The context of a call, as it travels: written by the thread that calls, so that the one which
/// sends it to a worker, and has the pool's lock, does not take the time.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) number: u64,
    preparation: Message,
    objects: Vec<OwnedFd>,
}

impl Context {
    pub(crate) fn new<C: Argument>(context: C) -> Result<Self> {
        let (bytes, objects) = preparation(keep::<C>, &(context,))?;
        let preparation = Message::new(bytes)
            .map_err(|source| Error::os("write", "the context of a task", source))?;
        Ok(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            preparation,
            objects,
        })
    }

    /// Sends it to a worker; never waits.
    pub(crate) fn send(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let objects: Vec<_> = self.objects.iter().map(AsFd::as_fd).collect();
        self.preparation.send(socket, &objects, Deadline::PASSED)
    }
}

/// In a worker: keeps a context, instead of the one before.
fn keep<C: Argument>(context: C) {
    KEPT.set(Some(Box::new(context)));
}

/// In a worker: runs what is given the context that it keeps.
fn with_kept<C: 'static, R>(run: impl FnOnce(&C) -> R) -> R {
    KEPT.with_borrow(|kept| {
        let Some(context) = kept.as_ref().and_then(|kept| kept.downcast_ref()) else {
            unreachable!("a worker runs a packet when it keeps the packet's context");
        };
        run(context)
    })
}

/// A task of one item that is given the context which its worker keeps.
pub(crate) struct WithContext<F, C> {
    task: F,
    context: PhantomData<fn(C)>,
}

impl<F, C> WithContext<F, C> {
    pub(crate) fn new(task: F) -> Self {
        let context = PhantomData;
        Self { task, context }
    }
}

impl<F: Copy, C> Copy for WithContext<F, C> {}

impl<F: Copy, C> Clone for WithContext<F, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F, C, T, R> Task<(T,)> for WithContext<F, C>
where
    F: Fn(&C, T) -> R + 'static,
    C: 'static,
{
    type Output = R;

    fn call(self, (item,): (T,)) -> R {
        with_kept(|context| (self.task)(context, item))
    }
}

/// A task that is given a chunk, of the number that is its item, of the array which is the context.
pub(crate) struct WithChunk<F, T> {
    task: F,
    element: PhantomData<fn(T)>,
}

impl<F, T> WithChunk<F, T> {
    pub(crate) fn new(task: F) -> Self {
        let element = PhantomData;
        Self { task, element }
    }
}

impl<F: Copy, T> Copy for WithChunk<F, T> {}

impl<F: Copy, T> Clone for WithChunk<F, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F, T> Task<(usize,)> for WithChunk<F, T>
where
    F: Fn(Chunk<T>) + 'static,
    T: PlainSlice,
{
    type Output = Result<()>;

    fn call(self, (index,): (usize,)) -> Result<()> {
        with_kept(|chunks: &Chunks<T>| match chunks.claim(index)? {
            Claim::Claimed(chunk) => {
                (self.task)(chunk);
                Ok(())
            }
            Claim::Taken(owner) => {
                let error = Error::new(ErrorKind::Claimed, "claim", format!("chunk {index}"));
                Err(error.with_detail(format!("{owner} has it")))
            }
        })
    }
}
