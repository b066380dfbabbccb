//! The calls of a pool, in packets of a size.

use std::sync::Arc;

use mp_layout::{PlainSlice, Result};
use mp_process::{Argument, Arguments, Returned, Stateless, Task};
use mp_value::{Chunk, Chunks};

#[cfg(doc)]
use crate::Pool;
use crate::async_result::MapResult;
use crate::context::{Context, WithChunk, WithContext};
use crate::error::{Cause, TaskError};
use crate::feeder::{Feeder, write_all, write_one};
use crate::imap::Imap;
use crate::progress::{Hook, Progress};
use crate::shared::Shared;

/// A [`Pool`] for one call with packets of a given size or a hook, from [`Pool::chunk_size`] and
/// [`Pool::on_progress`].
///
/// ```
/// let pool = mp_pool::Pool::new(2)?;
/// let sum: u64 = pool.chunk_size(8).imap_unordered(|n: u64| n, 0..100).sum::<Result<u64, _>>()?;
/// assert_eq!(sum, 4950);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is for one call"]
pub struct Chunked<'p> {
    pub(crate) shared: &'p Arc<Shared>,
    /// `None` for what suits the number of items.
    pub(crate) size: Option<usize>,
    pub(crate) hook: Option<Hook>,
}

impl<'p> Chunked<'p> {
    pub(crate) fn new(shared: &'p Arc<Shared>, size: Option<usize>) -> Self {
        let hook = None;
        Self { shared, size, hook }
    }

    /// As [`Pool::chunk_size`].
    pub fn chunk_size(self, tasks: usize) -> Self {
        let size = Some(tasks);
        Self { size, ..self }
    }

    /// As [`Pool::on_progress`].
    pub fn on_progress(self, hook: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        let hook = Some(Hook::new(hook));
        Self { hook, ..self }
    }

    /// As [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As for [`Pool::map`].
    pub fn map<F, T, W>(
        self,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Vec<F::Output>, TaskError>
    where
        F: Task<(T,)> + Stateless,
        F::Output: Returned<W>,
        T: Argument,
    {
        self.one(task, items).values()
    }

    /// As [`Pool::try_map`].
    pub fn try_map<F, T, W>(
        self,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> Vec<Result<F::Output, TaskError>>
    where
        F: Task<(T,)> + Stateless,
        F::Output: Returned<W>,
        T: Argument,
    {
        self.one(task, items).run()
    }

    /// As [`Pool::starmap`].
    ///
    /// # Errors
    ///
    /// As for [`Pool::map`].
    pub fn starmap<F, A, W>(
        self,
        task: F,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<F::Output>, TaskError>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        self.star(task, items).values()
    }

    /// As [`Pool::try_starmap`].
    pub fn try_starmap<F, A, W>(
        self,
        task: F,
        items: impl IntoIterator<Item = A>,
    ) -> Vec<Result<F::Output, TaskError>>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        self.star(task, items).run()
    }

    /// As [`Pool::map_with`].
    ///
    /// # Errors
    ///
    /// As for [`Pool::map_with`].
    pub fn map_with<C, F, T, R, W>(
        self,
        context: C,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Vec<R>, TaskError>
    where
        C: Argument,
        F: Fn(&C, T) -> R + Stateless,
        R: Returned<W>,
        T: Argument,
    {
        let task = WithContext::<F, C>::new(task);
        self.with(context, task, items).values()
    }

    /// As [`Pool::try_map_with`].
    pub fn try_map_with<C, F, T, R, W>(
        self,
        context: C,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> Vec<Result<R, TaskError>>
    where
        C: Argument,
        F: Fn(&C, T) -> R + Stateless,
        R: Returned<W>,
        T: Argument,
    {
        let task = WithContext::<F, C>::new(task);
        self.with(context, task, items).run()
    }

    /// As [`Pool::for_each`].
    ///
    /// # Errors
    ///
    /// As for [`Pool::for_each`].
    pub fn for_each<T, F>(self, chunks: Chunks<T>, task: F) -> Result<(), TaskError>
    where
        T: PlainSlice,
        F: Fn(Chunk<T>) + Stateless,
    {
        self.try_for_each(chunks, task).into_iter().collect()
    }

    /// As [`Pool::try_for_each`].
    pub fn try_for_each<T, F>(self, chunks: Chunks<T>, task: F) -> Vec<Result<(), TaskError>>
    where
        T: PlainSlice,
        F: Fn(Chunk<T>) + Stateless,
    {
        let items = 0..chunks.count();
        let task = WithChunk::<F, T>::new(task);
        let each = self.with(chunks, task, items).run().into_iter();
        let unclaimed = |index, error| TaskError::new(index, Cause::Failed(Arc::new(error)));
        each.enumerate()
            .map(|(index, ran)| ran?.map_err(|error| unclaimed(index, error)))
            .collect()
    }

    /// As [`Pool::map_async`].
    pub fn map_async<F, T, W>(
        self,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> MapResult<F::Output>
    where
        F: Task<(T,)> + Stateless,
        F::Output: Returned<W>,
        T: Argument,
    {
        self.one(task, items).submit_all()
    }

    /// As [`Pool::starmap_async`].
    pub fn starmap_async<F, A, W>(
        self,
        task: F,
        items: impl IntoIterator<Item = A>,
    ) -> MapResult<F::Output>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        self.star(task, items).submit_all()
    }

    /// As [`Pool::imap`].
    pub fn imap<F, I, W>(self, task: F, items: I) -> Imap<'p, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Argument>,
        F: Task<(I::Item,)> + Stateless,
        F::Output: Returned<W>,
    {
        let feeder = self.one(task, items);
        let ahead = feeder.tasks_ahead();
        Imap::new(feeder, true, ahead)
    }

    /// As [`Pool::imap_unordered`].
    pub fn imap_unordered<F, I, W>(self, task: F, items: I) -> Imap<'p, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Argument>,
        F: Task<(I::Item,)> + Stateless,
        F::Output: Returned<W>,
    {
        let feeder = self.one(task, items);
        let ahead = feeder.tasks_ahead();
        Imap::new(feeder, false, ahead)
    }

    /// The tasks of a call, with one argument each.
    pub(crate) fn one<F, I, W>(self, task: F, items: I) -> Feeder<'p, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Argument>,
        F: Task<(I::Item,)> + Stateless,
        F::Output: Returned<W>,
    {
        Feeder::new::<F, (I::Item,), W>(self, Ok(None), task, items.into_iter(), write_one)
    }

    /// The tasks of a call, with a tuple of arguments each.
    pub(crate) fn star<F, I, W>(self, task: F, items: I) -> Feeder<'p, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Arguments>,
        F: Task<I::Item> + Stateless,
        F::Output: Returned<W>,
    {
        Feeder::new::<F, I::Item, W>(self, Ok(None), task, items.into_iter(), write_all)
    }

    /// The tasks of a call, with one argument each and a context for all.
    fn with<C, F, I, W>(self, context: C, task: F, items: I) -> Feeder<'p, I::IntoIter, F::Output>
    where
        C: Argument,
        I: IntoIterator<Item: Argument>,
        F: Task<(I::Item,)> + Stateless,
        F::Output: Returned<W>,
    {
        let context = Context::new(context).map(Some);
        Feeder::new::<F, (I::Item,), W>(self, context, task, items.into_iter(), write_one)
    }
}
