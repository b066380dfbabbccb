//! How far a call is, told while it goes on.

use std::fmt;
use std::sync::Arc;

/// How far the tasks of a call are, for the hook of
/// [`Pool::on_progress`](crate::Pool::on_progress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Tasks that have ended, with a value or without.
    pub ended: usize,
    /// Those of them that have no value.
    pub failed: usize,
    /// How many tasks there are, if the iterator of the items says so.
    pub total: Option<usize>,
}

/// What the program wants to be told of a call's progress.
#[derive(Clone)]
pub(crate) struct Hook(Arc<dyn Fn(Progress) + Send + Sync>);

impl Hook {
    pub(crate) fn new(hook: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(crate) fn tell(&self, progress: Progress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hook").finish_non_exhaustive()
    }
}

/// A hook for [`Pool::on_progress`](crate::Pool::on_progress) that moves a bar. The bar has the
/// length that the iterator of the items says, or keeps its own.
///
/// It finishes the bar after the last task if the iterator says its length and that is not 0. Else
/// it does not know which task is the last, or is never called: then the caller finishes the bar.
///
/// ```
/// use indicatif::ProgressBar;
/// use mp_pool::{Pool, progress_bar};
///
/// let (pool, bar) = (Pool::new(2)?, ProgressBar::hidden());
/// let squares = pool.on_progress(progress_bar(bar.clone())).map(|n: u64| n * n, 0..100)?;
/// assert_eq!(squares.len(), 100);
/// assert_eq!((bar.position(), bar.length()), (100, Some(100)));
/// assert!(bar.is_finished());
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[cfg(feature = "indicatif")]
pub fn progress_bar(bar: indicatif::ProgressBar) -> impl Fn(Progress) + Send + Sync + 'static {
    move |progress| {
        if let Some(total) = progress.total {
            bar.set_length(total as u64);
        }
        bar.set_position(progress.ended as u64);
        if progress.total == Some(progress.ended) {
            bar.finish();
        }
    }
}
