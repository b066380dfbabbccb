//! The objects that this process has open, by identity, so that each is mapped once.
//!
//! A handle that arrives for an object that is open already shares its mapping: one look at the
//! descriptor's file, no mapping, and one address per object. Sharing saves memory and time;
//! nothing relies on it.
//!
//! The identity in a header can be copied with its file (`cp /dev/shm/a /dev/shm/b`), so the file
//! must be the same too.
//!
//! # Progress
//!
//! Blocks while other threads of this process look something up. A forked child has a table of its
//! own, see [`OfProcess`].

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use mp_os::memfd::FileId;
use mp_os::of_process::OfProcess;
#[cfg(feature = "message")]
use mp_shm::transfer::Identity;

use crate::object::Parts;

/// Entries from which on the table is searched for objects that are closed.
const LEAST_TO_SWEEP: usize = 64;

static TABLE: OfProcess<Mutex<Table>> = OfProcess::new(|| Mutex::new(Table::new()));

struct Table {
    open: HashMap<[u8; 16], Weak<Parts>>,
    /// Entries at which those of closed objects are removed. Doubling it keeps the sweeps linear
    /// in the entries made.
    sweep_at: usize,
}

/// The parts of the object with this identity whose file is `descriptor`'s, if this process has it
/// open.
pub(crate) fn find(id: &[u8; 16], descriptor: BorrowedFd<'_>) -> Option<Arc<Parts>> {
    table().find_file(id, || FileId::of(descriptor))
}

/// The parts of these objects, if this process has all of them open.
#[cfg(feature = "message")]
pub(crate) fn find_all<'i>(
    identities: impl Iterator<Item = &'i Identity>,
) -> Option<Vec<Arc<Parts>>> {
    let table = table();
    identities.map(|identity| table.find(identity)).collect()
}

/// Shares the mapping of the first handle of this object, or makes `parts` the first.
pub(crate) fn share(parts: Parts) -> Arc<Parts> {
    let parts = Arc::new(parts);
    let mut table = table();
    let id = parts.header.id();
    let Some(file) = parts.file else {
        return parts;
    };
    if let Some(first) = table.find_file(&id, || Some(file)) {
        return first;
    }
    table.sweep();
    table.open.insert(id, Arc::downgrade(&parts));
    parts
}

impl Table {
    fn new() -> Self {
        Self {
            open: HashMap::new(),
            sweep_at: LEAST_TO_SWEEP,
        }
    }

    fn find_file(
        &self,
        id: &[u8; 16],
        file: impl FnOnce() -> Option<FileId>,
    ) -> Option<Arc<Parts>> {
        let parts = self.open.get(id)?.upgrade()?;
        (file()? == parts.file?).then_some(parts)
    }

    #[cfg(feature = "message")]
    fn find(&self, identity: &Identity) -> Option<Arc<Parts>> {
        let (id, _) = identity.split_first_chunk()?;
        let parts = self.open.get(id)?.upgrade()?;
        (parts.identity().as_ref() == Some(identity)).then_some(parts)
    }

    /// Removes the entries of closed objects, once in a while.
    fn sweep(&mut self) {
        if self.open.len() >= self.sweep_at {
            self.open.retain(|_, open| open.strong_count() != 0);
            self.sweep_at = LEAST_TO_SWEEP.max(2 * self.open.len());
        }
    }
}

fn table() -> MutexGuard<'static, Table> {
    TABLE.get().lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    #[test]
    fn entries_of_closed_objects_do_not_pile_up() {
        let _open: Vec<Event> = (0..100).map(|_| Event::new().unwrap()).collect();
        for _ in 0..1000 {
            Event::new().unwrap();
        }
        let len = table().open.len();
        assert!(
            (100..300).contains(&len),
            "{len} entries for 100 open objects"
        );
    }
}
