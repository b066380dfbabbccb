//! What the last party runs before the others go on.

use mp_layout::{Error, ErrorKind, Result};

use super::{Barrier, PANICKED, State};

impl Barrier {
    /// Runs the action of a full round, without the lock, and lets all go on.
    pub(super) fn run(&self, round: u64, action: Option<impl FnOnce()>) -> Result<()> {
        let on_panic = BreaksOnPanic {
            barrier: self,
            round,
        };
        if let Some(action) = action {
            action();
        }
        std::mem::forget(on_panic);
        let end = || {
            let guard = self.lock()?;
            match self.end_of(round) {
                None => self.complete(self.state(), guard),
                // A party gave up meanwhile.
                Some(_) => return Err(self.broken()),
            }
            Ok(())
        };
        on_a_thread_with_room(|| self.count.under_bell(end))
    }
}

/// Ends the round of an action; if that has left this thread with as many locks as one can hold, on
/// another thread, or the other parties would wait forever.
fn on_a_thread_with_room(end: impl Fn() -> Result<()> + Sync) -> Result<()> {
    match end() {
        Err(error) if error.kind() == ErrorKind::TooManyHeld => std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .spawn_scoped(scope, &end)
                .map_err(|source| {
                    Error::os("start a thread for", "a barrier", source).with_detail(
                        "this thread holds too many locks to end the round; release some, and let `abort` or `reset` \
                         end it for the other parties",
                    )
                })?;
            thread.join().unwrap_or(Err(error))
        }),
        ended => ended,
    }
}

/// Breaks the barrier when it is dropped, which a panic does.
struct BreaksOnPanic<'a> {
    barrier: &'a Barrier,
    round: u64,
}

impl Drop for BreaksOnPanic<'_> {
    fn drop(&mut self) {
        let is_this_round = |state: State| (state.round() == self.round).then_some(PANICKED);
        // Where the lock cannot be had, the others find this arrival dead or get the lock's error
        // themselves.
        on_a_thread_with_room(|| self.barrier.break_under_lock(is_this_round)).unwrap_or_default();
    }
}
