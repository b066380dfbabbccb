//! The parts of an array's segment, located once.

use core::mem::offset_of;
use core::ops::Range;
use core::ptr::NonNull;
use std::os::fd::{AsFd, BorrowedFd};

use mp_layout::{
    Cells, Error, ErrorKind, HEADER_SIZE, Kind, Plain, PlainSlice, Region, Result, TypeTag,
};
use mp_object::{Object, OwnerWord, Placed, Plan};
use mp_shm::Segment;

use crate::array_control::{ArrayControl, max_chunks};
use crate::elements::Elements;
use crate::partition::Partition;

/// Elements start at a multiple of this, as `mmap` and numpy want their offsets.
pub(crate) const PAGE: usize = 4096;

/// An array's object and where its parts are mapped. Clones are the same array.
pub(crate) struct ArrayMemory<T> {
    control: Placed<ArrayControl>,
    words: NonNull<[OwnerWord]>,
    elements: Elements<T>,
    /// Keeps the elements mapped if they do not lie in the object of the control.
    data: Option<Segment>,
}

// SAFETY: the pointers lead into a mapping that any thread may use and drop. Control and words are
// atomics; elements are reached through atomics, or as slices by their exclusive owner, and `T:
// Plain` is `Send + Sync`.
unsafe impl<T: Plain> Send for ArrayMemory<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Plain> Sync for ArrayMemory<T> {}

/// Bytes of the control of `len` elements and of its owner words.
fn control_size(len: usize) -> usize {
    size_of::<ArrayControl>() + max_chunks(len) * size_of::<OwnerWord>()
}

/// Bytes from the start of the payload to the elements, for `len` of them.
fn elements_offset(len: usize) -> usize {
    (HEADER_SIZE + control_size(len)).next_multiple_of(PAGE) - HEADER_SIZE
}

/// Bytes of the payload of an array with `len` elements.
fn payload_size<T>(len: usize) -> Result<usize> {
    len.checked_mul(size_of::<T>())
        .and_then(|size| size.checked_add(elements_offset(len)))
        .filter(|_| size_of::<T>() != 0)
        .ok_or_else(|| refused_len::<T>(len))
}

/// Refuses an object with more or fewer bytes than its elements need here: a build that places them
/// elsewhere made it.
fn check_payload(object: &Object, expected: usize) -> Result<()> {
    let found = object.header().payload_size();
    if found == expected {
        return Ok(());
    }
    Err(Error::mismatch(
        ErrorKind::WrongSize,
        "open",
        object.name().unwrap_or("an array"),
        format_args!("a payload of {found} bytes"),
        format_args!(
            "one of {expected} for {} elements; another version of mp made it",
            object.header().item_count()
        ),
    ))
}

/// The error for a number of elements that cannot be.
#[cold]
pub(crate) fn refused_len<T>(len: usize) -> Error {
    let name = core::any::type_name::<T>();
    let size = size_of::<T>();
    let reason = match size {
        0 => "a type without bytes cannot be shared".to_owned(),
        _ => format!("{len} elements of {size} bytes are more than there are addresses"),
    };
    Error::new(
        ErrorKind::InvalidInput,
        "create",
        format!("array of {name}"),
    )
    .with_detail(reason)
}

impl<T> ArrayMemory<T> {
    pub(crate) fn object(&self) -> &Object {
        self.control.object()
    }

    /// Whether the elements do not lie in the object.
    pub(crate) fn lies_apart(&self) -> bool {
        self.data.is_some()
    }

    /// Where the elements lie: the descriptor of their file.
    pub(crate) fn data_descriptor(&self) -> BorrowedFd<'_> {
        match &self.data {
            Some(data) => data.as_fd(),
            None => self.object().as_fd(),
        }
    }
}

impl<T: Plain> ArrayMemory<T> {
    /// What an array of `len` elements is to be.
    pub(crate) fn plan(tag: TypeTag, len: usize) -> Result<Plan> {
        Ok(Plan::new(Kind::Array, tag, payload_size::<T>(len)?).item_count(len))
    }

    /// The elements in a payload that no other process can reach yet.
    pub(crate) fn fresh_cells(payload: Region<'_>, len: usize) -> Result<Cells<'_, T>> {
        Cells::new(payload.subregion(elements_offset(len), len * size_of::<T>())?)
    }

    /// Locates the parts of an object whose header says that it is an array of `T`.
    pub(crate) fn from_object(object: Object) -> Result<Self> {
        let len = usize::try_from(object.header().item_count())
            .map_err(|_| refused_len::<T>(usize::MAX))?;
        check_payload(&object, payload_size::<T>(len)?)?;
        // SAFETY: an array is its control, words and elements, reached by its own protocol only.
        let payload = unsafe { object.payload() };
        let words = payload.place_slice(size_of::<ArrayControl>(), max_chunks(len))?;
        Ok(Self {
            words: NonNull::from(words),
            elements: Elements::locate(payload, elements_offset(len), len)?,
            // SAFETY: an array starts with its control, and nothing else reaches it.
            control: unsafe { Placed::new(object.clone()) }?,
            data: None,
        })
    }

    /// What the control is to be of `len` elements that lie apart.
    pub(crate) fn control_plan(len: usize) -> Plan {
        Plan::new(Kind::NdArray, TypeTag::of::<T>(), control_size(len)).item_count(len)
    }

    /// What every control of elements that lie apart is.
    pub(crate) fn any_control() -> Plan {
        Plan::new(Kind::NdArray, TypeTag::of::<T>(), size_of::<ArrayControl>())
    }

    /// Puts together the parts of an array whose `len` elements lie at `offset` of `data`, and
    /// whose control's header was checked against [`any_control`](Self::any_control).
    pub(crate) fn of_parts(
        control: Object,
        data: Segment,
        offset: usize,
        len: usize,
    ) -> Result<Self> {
        let found = control.header().item_count();
        if found != len as u64 {
            return Err(Error::mismatch(
                ErrorKind::Corrupt,
                "open",
                "an n-dimensional array",
                format_args!("a control of {found} elements"),
                format_args!("one of {len}, as the file has"),
            ));
        }
        check_payload(&control, control_size(len))?;
        // SAFETY: a control is the control and its words, reached by their own protocol only.
        let payload = unsafe { control.payload() };
        let words = payload.place_slice(size_of::<ArrayControl>(), max_chunks(len))?;
        Ok(Self {
            words: NonNull::from(words),
            elements: Elements::locate(data.region(), offset, len)?,
            // SAFETY: it starts with the control, and nothing else reaches it.
            control: unsafe { Placed::new(control.clone()) }?,
            data: Some(data),
        })
    }

    /// Bytes from the start of that file to the elements.
    pub(crate) fn data_offset(&self) -> usize {
        match &self.data {
            Some(data) => self.elements.start().addr().get() - data.region().as_ptr().addr(),
            None => self.segment_offset(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.elements.len()
    }

    /// Bytes from the segment's start to the elements.
    fn segment_offset(&self) -> usize {
        self.object().payload_offset() + elements_offset(self.len())
    }

    #[inline]
    pub(crate) fn control(&self) -> &ArrayControl {
        &self.control
    }

    pub(crate) fn partition(&self) -> Partition<'_> {
        Partition {
            chunk_len: &self.control().chunk_len,
            // SAFETY: located by `from_object` in the payload, which `control` keeps mapped.
            words: unsafe { self.words.as_ref() },
            len: self.len(),
        }
    }

    /// The elements one by one, for a caller that has the mutex, or reads them when they are
    /// frozen.
    #[inline]
    pub(crate) fn cells(&self) -> Cells<'_, T> {
        // SAFETY: `control` keeps the payload mapped; a slice is lent only to its exclusive owner
        // (I1 of array_control).
        unsafe { self.elements.cells() }
    }
}

impl<T: PlainSlice> ArrayMemory<T> {
    /// Elements `range` as a slice.
    ///
    /// # Safety
    ///
    /// `range` lies within the array, and while the slice lives no thread or process writes these
    /// elements.
    #[inline]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &[T] {
        // SAFETY: `range.start` is at most `len`, so the result is within the elements or one past
        // them.
        let start = unsafe { self.elements.start().add(range.start) };
        // SAFETY: within the mapping and aligned by `from_object`; every bit pattern is a `T` by
        // `PlainSlice`; by the contract none of them is written.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), range.len()) }
    }

    /// Elements `range` as a slice to write.
    ///
    /// # Safety
    ///
    /// `range` lies within the array, and while the slice lives no other thread or process reaches
    /// these elements.
    #[inline]
    #[expect(
        clippy::mut_from_ref,
        reason = "the memory is not the handle's; the contract says whose it is"
    )]
    pub(crate) unsafe fn slice_mut(&self, range: Range<usize>) -> &mut [T] {
        // SAFETY: as in `slice`.
        let start = unsafe { self.elements.start().add(range.start) };
        // SAFETY: as in `slice`, and exclusive by the contract.
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), range.len()) }
    }
}

impl<T> Clone for ArrayMemory<T> {
    fn clone(&self) -> Self {
        Self {
            control: self.control.clone(),
            words: self.words,
            elements: self.elements,
            data: self.data.clone(),
        }
    }
}

const _: () = assert!(offset_of!(ArrayControl, mutex) == 0 && HEADER_SIZE.is_multiple_of(128));

#[cfg(test)]
mod tests {
    use mp_layout::{ErrorKind, Kind, TypeTag};
    use mp_object::{Object, Plan};
    use mp_shm::Segment;

    use super::{ArrayMemory, control_size, elements_offset, payload_size};

    const MANY: usize = 32 << 20;

    /// What builds with 4096 owner words for any number of elements made of it.
    const WORDS_BEFORE: usize = 4096 * 8;

    fn object(kind: Kind, size: usize) -> Object {
        let plan = Plan::new(kind, TypeTag::of::<u8>(), size).item_count(MANY);
        Object::create(&plan, |_| Ok(())).unwrap()
    }

    #[test]
    fn an_array_whose_elements_lie_elsewhere_is_refused() {
        let size = payload_size::<u8>(MANY).unwrap();
        let before = (256 + 128 + WORDS_BEFORE).next_multiple_of(4096) - 256 + MANY;
        assert!(before < size);
        for wrong in [before, size - 1, size + 1, size + 4096] {
            let opened = ArrayMemory::<u8>::from_object(object(Kind::Array, wrong));
            let error = opened.err().expect("another layout");
            assert_eq!(error.kind(), ErrorKind::WrongSize);
            assert!(error.to_string().contains(&wrong.to_string()), "{error}");
        }
        assert!(ArrayMemory::<u8>::from_object(object(Kind::Array, size)).is_ok());
    }

    #[test]
    fn a_control_with_other_owner_words_is_refused() {
        let data = Segment::anonymous("elements", MANY).unwrap();
        let size = control_size(MANY);
        for wrong in [128 + WORDS_BEFORE, size - 8, size + 8] {
            let control = object(Kind::NdArray, wrong);
            let opened = ArrayMemory::<u8>::of_parts(control, data.clone(), 0, MANY);
            let error = opened.err().expect("another layout");
            assert_eq!(error.kind(), ErrorKind::WrongSize);
        }
        let control = object(Kind::NdArray, size);
        assert!(ArrayMemory::<u8>::of_parts(control, data, 0, MANY).is_ok());
    }

    /// Builds of one `ABI_VERSION` find the elements at one place: who changes a number here raises
    /// that version.
    #[test]
    fn elements_lie_where_version_2_of_the_layout_has_them() {
        let offsets = [0, 1, 500, 4096, 16 << 20, (16 << 20) + 4096, MANY].map(elements_offset);
        let expected = [3840, 3840, 7936, 36608, 36608, 36608, 69376];
        assert_eq!(offsets, expected);
    }
}
