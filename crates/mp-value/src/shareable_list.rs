//! A list of small items of different types.
//!
//! # Source
//!
//! Python's `multiprocessing.shared_memory.ShareableList`. Changed: an item's length is kept, so
//! that no trailing NUL is lost and no text is cut; each slot has a lock and two copies, so that an
//! item is always a whole one. Its format, which has room for neither, is therefore not ours.
//!
//! # Layout
//!
//! ```text
//! payload 0                   capacities: one u64 per slot, bytes of its largest item, a multiple of 8
//! next multiple of 64         slot 0: a value's control (see value_control), copy 0, copy 1
//! next multiple of 64 after   slot 1 ...
//!
//! copy: one word, type in the low byte and bytes of the item above; the item's bytes, zeros up to the capacity
//! ```
//!
//! # Invariants
//!
//! - I1: the capacities never change; each handle checks them once and trusts its own copy.
//! - I2: each slot is a value of its own: see the invariants, the orderings and the progress of
//!   [`crate::value_control`].
//!
//! # If a process dies
//!
//! The item it was changing is the old or the new one, and no error reports the death.

use core::fmt;
use std::sync::Arc;

use mp_layout::{Cells, Error, ErrorKind, Kind, Region, Result, TypeTag};
use mp_object::{Object, ObjectType, Plan};
use mp_os::clock::Deadline;

use crate::ListItem;
use crate::value_control::ValueControl;

/// A list of a fixed number of items in shared memory: Python's `ShareableList`.
///
/// Each slot takes any item that is not larger than its capacity, which the first item decides: its
/// bytes, rounded up to a multiple of 8, and 8 at least, so that any number fits anywhere. What
/// does not fit is refused; nothing is cut.
///
/// The handle is passed to other processes as an argument or opened by name; clones are the same
/// list.
///
/// ```
/// use mp_value::{ListItem, ShareableList};
///
/// let list = ShareableList::new(["camera".into(), 30.into(), ListItem::None])?;
/// list.set(0, "lens\0")?;
/// list.set(2, 0.5)?;
/// assert_eq!(list.to_vec()?, ["lens\0".into(), 30.into(), 0.5.into()]);
/// let error = list.set(0, "a longer text").unwrap_err();
/// assert!(error.to_string().contains("13 bytes"), "{error}");
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # If a process dies
///
/// The item it was changing is the old or the new one, whole, and no error reports the death.
///
/// # Limits
///
/// Python's own `ShareableList` is another format: it keeps no lengths, so that it loses trailing
/// NULs (cpython issue 106939), and has no lock. To share with Python, use [`Array`](crate::Array)
/// or [`mp_shm::SharedMemory`](https://docs.rs/mp-shm).
#[derive(Clone)]
pub struct ShareableList {
    object: Object,
    slots: Arc<[Slot]>,
}

/// Where one item lies.
#[derive(Clone, Copy)]
struct Slot {
    /// Bytes from the start of the payload.
    offset: usize,
    /// Bytes of the largest item.
    capacity: usize,
}

/// What a list starts with.
#[derive(Debug)]
pub struct FirstItems<'i> {
    items: &'i [ListItem],
    /// Bytes that every slot has at least.
    least: usize,
}

/// Slots start at a multiple of this, as the control does.
const SLOT_ALIGN: usize = 64;

const _: () = assert!(
    size_of::<ValueControl>() == SLOT_ALIGN && align_of::<ValueControl>() <= SLOT_ALIGN,
    "the copies follow the control, and the next slot them"
);

impl Slot {
    /// Words of one copy.
    fn words(self) -> usize {
        1 + self.capacity / 8
    }

    /// Bytes of the slot; `None` if those are more than addresses.
    fn size(self) -> Option<usize> {
        let copies = self.capacity.checked_add(8)?.checked_mul(2)?;
        copies
            .checked_add(size_of::<ValueControl>())?
            .checked_next_multiple_of(SLOT_ALIGN)
    }
}

/// The slots with these capacities, and the bytes of the whole payload.
fn layout(capacities: impl ExactSizeIterator<Item = usize>) -> Option<(Arc<[Slot]>, usize)> {
    let table = capacities.len().checked_mul(8)?;
    let mut end = table.checked_next_multiple_of(SLOT_ALIGN)?;
    let mut slots = Vec::with_capacity(capacities.len());
    for capacity in capacities {
        let slot = Slot {
            offset: end,
            capacity,
        };
        end = end.checked_add(slot.size()?)?;
        slots.push(slot);
    }
    Some((slots.into(), end))
}

impl FirstItems<'_> {
    fn capacities(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        let capacity = |item: &ListItem| item.size().max(self.least).max(8).next_multiple_of(8);
        self.items.iter().map(capacity)
    }

    fn layout(&self) -> Result<(Arc<[Slot]>, usize)> {
        let refused = || {
            Error::new(ErrorKind::InvalidInput, "create", "a list")
                .with_detail("its slots have more bytes than there are addresses")
        };
        if self.least > isize::MAX as usize {
            return Err(refused());
        }
        layout(self.capacities()).ok_or_else(refused)
    }
}

impl ShareableList {
    /// Makes a list of `items`, whose sizes decide what their slots can take.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotEnoughMemory`] with what is free and what was asked for,
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Unsupported`] if the kernel or a sandbox has
    /// no memory files.
    pub fn new(items: impl IntoIterator<Item = ListItem>) -> Result<Self> {
        Self::with_slots(0, items)
    }

    /// Makes a list of `items` whose slots each take `size` bytes at least.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if that is more than there are addresses, and those of
    /// [`ShareableList::new`].
    pub fn with_slots(size: usize, items: impl IntoIterator<Item = ListItem>) -> Result<Self> {
        let items: Vec<_> = items.into_iter().collect();
        let (items, least) = (items.as_slice(), size);
        Self::create(FirstItems { items, least })
    }

    /// Makes a list of `items` under `name`, whose slots each take `size` bytes at least.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`], [`ErrorKind::InvalidInput`] if
    /// that is more than there are addresses, and those of [`ShareableList::new`], of the memory of
    /// `/dev/shm`.
    pub fn create_named(
        name: &str,
        size: usize,
        items: impl IntoIterator<Item = ListItem>,
    ) -> Result<Self> {
        let items: Vec<_> = items.into_iter().collect();
        let (items, least) = (items.as_slice(), size);
        ObjectType::create_named(name, FirstItems { items, least })
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of the largest text that slot `index` takes; `None` if there is no such slot.
    pub fn capacity(&self, index: usize) -> Option<usize> {
        self.slots.get(index).map(|slot| slot.capacity)
    }

    /// A copy of item `index`. It takes no lock, and never sees half of a change.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is no such item, [`ErrorKind::Corrupt`] if a foreign
    /// program wrote its bytes.
    pub fn get(&self, index: usize) -> Result<ListItem> {
        let (control, copies) = self.slot(index)?;
        control.read(|copy| ListItem::read(one_of(copies, copy)))
    }

    /// Replaces item `index`, under its slot's lock; blocks until the lock is free.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`] if there is no such item.
    /// - [`ErrorKind::WrongSize`] if the slot is too small; the message has both figures, and the
    ///   old item stays.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    pub fn set(&self, index: usize, item: impl Into<ListItem>) -> Result<()> {
        self.set_until(index, &item.into(), Deadline::NEVER)
    }

    /// [`set`](Self::set) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of
    /// [`ShareableList::set`].
    pub fn try_set(&self, index: usize, item: impl Into<ListItem>) -> Result<()> {
        self.set_until(index, &item.into(), Deadline::PASSED)
    }

    /// [`set`](Self::set) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of
    /// [`ShareableList::set`].
    pub fn set_timeout(
        &self,
        index: usize,
        item: impl Into<ListItem>,
        timeout: impl Into<Deadline>,
    ) -> Result<()> {
        self.set_until(index, &item.into(), timeout.into())
    }

    fn set_until(&self, index: usize, item: &ListItem, deadline: Deadline) -> Result<()> {
        let (control, copies) = self.slot(index)?;
        let capacity = self.slots[index].capacity;
        if item.size() > capacity {
            return Err(Error::mismatch(
                ErrorKind::WrongSize,
                "store into",
                format!("slot {index} of a list"),
                format_args!("{} bytes", item.size()),
                format_args!(
                    "at most {capacity}, as its first item decided; make the list by with_slots"
                ),
            ));
        }
        let held = control.enter(deadline)?;
        control.commit(|copy| item.write(one_of(copies, copy)));
        drop(held);
        Ok(())
    }

    /// A copy of each item, one after another; others may change them meanwhile.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<ListItem>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// A copy of all items, which others may change meanwhile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] as for [`ShareableList::get`].
    pub fn to_vec(&self) -> Result<Vec<ListItem>> {
        self.iter().collect()
    }

    /// How many items are `item`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] as for [`ShareableList::get`].
    pub fn count(&self, item: &ListItem) -> Result<usize> {
        Ok(self.to_vec()?.iter().filter(|each| *each == item).count())
    }

    /// The index of the first item that is `item`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] as for [`ShareableList::get`].
    pub fn index(&self, item: &ListItem) -> Result<Option<usize>> {
        Ok(self.to_vec()?.iter().position(|each| each == item))
    }

    /// The control and both copies of slot `index`.
    fn slot(&self, index: usize) -> Result<(&ValueControl, Cells<'_, u64>)> {
        let slot = *self.slots.get(index).ok_or_else(|| {
            Error::mismatch(
                ErrorKind::InvalidInput,
                "reach",
                format!("item {index}"),
                format_args!("{} items", self.len()),
                "a smaller index",
            )
        })?;
        // SAFETY: a list is its capacities and its slots, each reached by its control's protocol
        // only (I2).
        let payload = unsafe { self.object.payload() };
        // SAFETY: `attach` has checked that the slots do not overlap, and the segment stays mapped
        // while a lock is held.
        let control = unsafe { payload.place_guarded::<ValueControl>(slot.offset) }?;
        Ok((control, copies(payload, slot)?))
    }
}

/// Both copies of a slot.
fn copies(payload: Region<'_>, slot: Slot) -> Result<Cells<'_, u64>> {
    let start = slot.offset + size_of::<ValueControl>();
    Cells::new(payload.subregion(start, 2 * 8 * slot.words())?)
}

/// Copy 0 or 1 of the two.
fn one_of(copies: Cells<'_, u64>, copy: usize) -> Cells<'_, u64> {
    let words = copies.len() / 2;
    copies.slice(copy * words..(copy + 1) * words)
}

impl ObjectType for ShareableList {
    type Settings<'s> = FirstItems<'s>;

    fn plan(first: &FirstItems<'_>) -> Result<Plan> {
        let (slots, size) = first.layout()?;
        Ok(Plan::new(Kind::ShareableList, TypeTag::NONE, size).item_count(slots.len()))
    }

    fn any() -> Plan {
        Plan::new(Kind::ShareableList, TypeTag::NONE, 0)
    }

    unsafe fn initialise(payload: Region<'_>, first: FirstItems<'_>) -> Result<()> {
        let (slots, _) = first.layout()?;
        let capacities = Cells::<u64>::new(payload.subregion(0, 8 * slots.len())?)?;
        for (index, (slot, item)) in slots.iter().zip(first.items).enumerate() {
            capacities.set(index, slot.capacity as u64);
            item.write(one_of(copies(payload, *slot)?, 0));
        }
        Ok(())
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        // SAFETY: only the capacities are read, which never change (I1).
        let payload = unsafe { object.payload() };
        let len = usize::try_from(object.header().item_count()).unwrap_or(usize::MAX);
        let table = len.saturating_mul(8);
        let capacities = Cells::<u64>::new(payload.subregion(0, table)?)?;
        let usable = |capacity: &u64| *capacity >= 8 && capacity.is_multiple_of(8);
        let refused =
            |reason: String| Error::new(ErrorKind::Corrupt, "attach", "a list").with_detail(reason);
        if let Some(wrong) = capacities.iter().find(|capacity| !usable(capacity)) {
            return Err(refused(format!(
                "a slot of {wrong} bytes, a multiple of 8 was expected"
            )));
        }
        let (slots, _) = layout(capacities.iter().map(|capacity| capacity as usize))
            .filter(|(_, size)| *size <= payload.len())
            .ok_or_else(|| refused(format!("its slots end after its {} bytes", payload.len())))?;
        Ok(Self { object, slots })
    }

    fn object(&self) -> &Object {
        &self.object
    }
}

mp_object::handle!([] ShareableList);

impl fmt::Debug for ShareableList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
