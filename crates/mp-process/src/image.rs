//! The running executable, as the loader mapped it.

use std::ops::Range;
use std::sync::OnceLock;

/// Load address and loaded segments of the main program.
///
/// The same executable has the same offsets in every process, though the load address differs.
#[derive(Debug, Default)]
pub(crate) struct Image {
    base: usize,
    segments: Vec<Range<usize>>,
    /// The addresses at which the constructors' addresses stand; empty in a program without
    /// dynamic section.
    constructors: Range<usize>,
    /// Whether it names a program interpreter (the dynamic loader), without which it does not run.
    names_loader: bool,
    build_id: Option<Vec<u8>>,
}

/// An entry of the dynamic section, as the ELF specification has it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Dynamic {
    tag: usize,
    value: usize,
}

/// The type of the note that holds the build id; its owner is `GNU`.
const NT_GNU_BUILD_ID: u32 = 3;

const DT_NULL: usize = 0;
const DT_INIT_ARRAY: usize = 25;
const DT_INIT_ARRAYSZ: usize = 27;

impl Image {
    /// The image of this process's own executable.
    pub(crate) fn of_this_program() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| {
            let mut image = Self::default();
            let place = (&raw mut image).cast();
            // SAFETY: `visit` is called during this call only, and gets the image that `place`
            // points to.
            unsafe { libc::dl_iterate_phdr(Some(visit), place) };
            image
        })
    }

    /// Whether the program was given to its loader as an argument, so that the kernel knows the
    /// loader only.
    pub(crate) fn is_run_by_its_loader(&self) -> bool {
        self.names_loader && !mp_os::spawn::has_loader()
    }

    /// What the linker wrote into the program to tell its builds apart, if it did.
    pub(crate) fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }

    /// Where `size` bytes at `address` lie from the load address; `None` if they are not in the
    /// program.
    pub(crate) fn offset_of(&self, address: usize, size: usize) -> Option<u64> {
        self.contains(address, size)
            .then(|| address.wrapping_sub(self.base) as u64)
    }

    /// The address of `size` bytes at `offset` from the load address; `None` if they are not in the
    /// program.
    pub(crate) fn address_at(&self, offset: u64, size: usize) -> Option<usize> {
        let address = self.base.wrapping_add(usize::try_from(offset).ok()?);
        self.contains(address, size).then_some(address)
    }

    /// The places of the constructors that the loader calls after the one at `slot`.
    pub(crate) fn constructors_after(&self, slot: usize) -> impl Iterator<Item = usize> + use<> {
        let Range { start, end } = self.constructors;
        let later = if (start..end).contains(&slot) {
            slot..end
        } else {
            end..end
        };
        later.step_by(size_of::<usize>()).skip(1)
    }

    fn contains(&self, address: usize, size: usize) -> bool {
        let Some(end) = address.checked_add(size) else {
            return false;
        };
        self.segments
            .iter()
            .any(|segment| segment.start <= address && end <= segment.end)
    }
}

/// Called by the loader for the main program first; ends the iteration there.
unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    image: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader passes a valid description and holds a lock against changes during this
    // call.
    let info = unsafe { &*info };
    // SAFETY: the pointer that `of_this_program` passed, to an image that only this call uses.
    let image = unsafe { &mut *image.cast::<Image>() };
    let count = usize::from(info.dlpi_phnum);
    // SAFETY: the loader describes `dlpi_phnum` headers there, mapped until the program ends.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, count) };
    image.base = info.dlpi_addr as usize;
    image.segments = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_R != 0)
        .map(|header| {
            let start = image.base.wrapping_add(header.p_vaddr as usize);
            start..start.saturating_add(header.p_memsz as usize)
        })
        .collect();
    let has_type = |wanted| move |header: &&libc::Elf64_Phdr| header.p_type == wanted;
    image.names_loader = headers
        .iter()
        .any(|header| header.p_type == libc::PT_INTERP);
    image.build_id = headers
        .iter()
        .filter(has_type(libc::PT_NOTE))
        .find_map(|header| {
            let start = image.base.wrapping_add(header.p_vaddr as usize);
            let size = header.p_memsz as usize;
            if !image.contains(start, size) {
                return None;
            }
            let start = std::ptr::with_exposed_provenance::<u8>(start);
            // SAFETY: inside a segment that is mapped for reading; notes are constants.
            let notes = unsafe { std::slice::from_raw_parts(start, size) };
            build_id(notes, header.p_align as usize)
        });
    let dynamic = headers.iter().find(has_type(libc::PT_DYNAMIC));
    if let Some(header) = dynamic {
        let start = image.base.wrapping_add(header.p_vaddr as usize);
        let count = header.p_memsz as usize / size_of::<Dynamic>();
        if image.contains(start, count * size_of::<Dynamic>()) {
            let start = std::ptr::with_exposed_provenance(start);
            // SAFETY: inside a segment that is mapped for reading; the loader, which alone writes
            // there, has finished with it.
            let section = unsafe { std::slice::from_raw_parts(start, count) };
            image.constructors = constructors(image.base, section);
        }
    }
    1
}

/// Looks through notes as the ELF specification has them: three words (length of the name, length
/// of the content, type), the name, the content, both filled up to the alignment.
fn build_id(mut notes: &[u8], alignment: usize) -> Option<Vec<u8>> {
    let alignment = alignment.max(4);
    loop {
        let (head, rest) = notes.split_first_chunk::<12>()?;
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name_size, size) = (word(0) as usize, word(4) as usize);
        let begin = (12 + name_size).next_multiple_of(alignment);
        let content = notes.get(begin..begin + size)?;
        if word(8) == NT_GNU_BUILD_ID && rest.get(..name_size) == Some(b"GNU\0") && size > 0 {
            return Some(content.to_vec());
        }
        notes = notes.get((begin + size).next_multiple_of(alignment)..)?;
    }
}

fn constructors(base: usize, section: &[Dynamic]) -> Range<usize> {
    let value = |tag| {
        let mut entries = section.iter().take_while(|entry| entry.tag != DT_NULL);
        entries
            .find(|entry| entry.tag == tag)
            .map_or(0, |entry| entry.value)
    };
    let start = base.wrapping_add(value(DT_INIT_ARRAY));
    start..start.saturating_add(value(DT_INIT_ARRAYSZ))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::{Image, build_id};

    static HERE: u64 = 7;

    #[test]
    fn a_static_is_found_again_by_its_offset() {
        let image = Image::of_this_program();
        let address = (&raw const HERE).addr();
        let offset = image
            .offset_of(address, 8)
            .expect("a static of this program");
        assert_eq!(image.address_at(offset, 8), Some(address));
    }

    #[test]
    fn later_constructors_are_those_after_ours() {
        let image = Image::of_this_program();
        let Range { start, end } = image.constructors;
        assert!(image.contains(start, end - start) && start < end);
        let all: Vec<_> = image.constructors_after(start).collect();
        assert_eq!(all.len(), (end - start) / 8 - 1);
        assert!(all.iter().all(|place| (start + 8..end).contains(place)));
        assert_eq!(image.constructors_after(end - 8).count(), 0);
        assert_eq!(image.constructors_after(start - 8).count(), 0);
        assert_eq!(image.constructors_after(end).count(), 0);
        let ours = crate::child::constructor_place();
        assert!(
            (start..end).contains(&ours),
            "our constructor is one of them"
        );
    }

    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let note = |name: &[u8], kind: u32, content: &[u8], alignment: usize| {
            let mut note = Vec::new();
            for word in [name.len() as u32, content.len() as u32, kind] {
                note.extend_from_slice(&word.to_ne_bytes());
            }
            for part in [name, content] {
                note.extend_from_slice(part);
                note.resize(note.len().next_multiple_of(alignment), 0);
            }
            note
        };
        for alignment in [4, 8] {
            let mut notes = note(b"GNU\0", 1, &[9; 16], alignment);
            notes.extend(note(b"other\0", 3, &[8; 5], alignment));
            assert_eq!(build_id(&notes, alignment), None);
            notes.extend(note(b"GNU\0", 3, &[7; 20], alignment));
            assert_eq!(build_id(&notes, alignment), Some(vec![7; 20]));
            for length in 0..notes.len() - 20 {
                assert_eq!(build_id(&notes[..length], alignment), None, "{length}");
            }
        }
        assert_eq!(build_id(&[0xff; 64], 4), None, "lengths that end outside");
    }

    #[test]
    fn what_is_elsewhere_is_refused() {
        let image = Image::of_this_program();
        let on_the_heap = Box::new(7_u64);
        assert_eq!(image.offset_of((&raw const *on_the_heap).addr(), 8), None);
        assert_eq!(image.address_at(u64::MAX, 8), None);
        assert_eq!(image.address_at(1 << 60, 8), None);
        assert_eq!(image.offset_of(usize::MAX - 3, 8), None);
    }
}
