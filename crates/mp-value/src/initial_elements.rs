//! What the elements of a new array are.

use mp_layout::{Cells, Plain, Result};

/// What an array starts with.
#[derive(Clone, Copy, Debug)]
pub enum InitialElements<'e, T> {
    /// This number of zeros, for types of which zero is a value.
    Zeros(usize),
    /// This number of copies of one value.
    Filled(usize, T),
    /// A copy of these.
    Copies(&'e [T]),
}

impl<T: Plain> InitialElements<'_, T> {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Zeros(len) | Self::Filled(len, _) => *len,
            Self::Copies(elements) => elements.len(),
        }
    }

    /// Writes them to `cells`, which are zero and which no other process can reach yet.
    pub(crate) fn write(self, cells: Cells<'_, T>) -> Result<()> {
        match self {
            Self::Zeros(_) => Ok(()),
            Self::Filled(len, value) => (0..len).try_for_each(|index| cells.try_set(index, value)),
            Self::Copies(elements) => {
                let mut elements = elements.iter().enumerate();
                elements.try_for_each(|(index, element)| cells.try_set(index, *element))
            }
        }
    }
}
