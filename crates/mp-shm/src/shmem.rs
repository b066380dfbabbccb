//! From and into the `Shmem` of the `shared_memory` crate, so that a program can switch one side at
//! a time.

use mp_layout::{Error, ErrorKind, Result};
use shared_memory::{Shmem, ShmemConf};

use crate::SharedMemory;

impl TryFrom<&Shmem> for SharedMemory {
    type Error = Error;

    /// Opens the memory that a `Shmem` has open. The `Shmem` still unlinks the name if it is the
    /// owner.
    fn try_from(shmem: &Shmem) -> Result<Self> {
        Self::open(shmem.get_os_id())
    }
}

impl TryFrom<&SharedMemory> for Shmem {
    type Error = Error;

    /// Opens our memory as a `Shmem` that does not own it.
    fn try_from(memory: &SharedMemory) -> Result<Self> {
        ShmemConf::new()
            .os_id(format!("/{}", memory.name()))
            .open()
            .map_err(|source| {
                Error::new(
                    ErrorKind::Os,
                    "open as Shmem",
                    format!("{:?}", memory.name()),
                )
                .with_detail(source.to_string())
            })
    }
}
