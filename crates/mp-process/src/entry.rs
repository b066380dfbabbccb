//! A function, named so that another process of the same program finds it.
//!
//! Each task has one [`Entry`] in the executable: a constant that the compiler makes when
//! [`Entry::of`] is used with the task's types. A parent sends the entry's offset from the load
//! address, which the loader chooses anew for every process. The child takes no offset on trust: the
//! entry must lie inside the loaded executable, be aligned, begin with the magic, and know the hash
//! of the types' names, before its function is called.

use std::any::type_name;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::transfer;

use crate::image::Image;
use crate::outcome::Outcome;
use crate::task::{Arguments, Returned, Stateless, Task};

const MAGIC: u64 = u64::from_le_bytes(*b"mp entry");

/// What the executable says of one task.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    magic: u64,
    type_hash: fn() -> u64,
    run: fn(&[u8], Vec<OwnedFd>) -> Outcome,
}

// The magic is read before anything else is believed.
const _: () = assert!(std::mem::offset_of!(Entry, magic) == 0);

/// Holds the entry of the task `F` with the arguments `A` as a constant.
struct EntryOf<F, A>(F, A);

impl<F: Task<A> + Stateless, A: Arguments> EntryOf<F, A>
where
    F::Output: Returned,
{
    const ENTRY: Entry = Entry {
        magic: MAGIC,
        type_hash: type_hash::<(F, A)>,
        run: run::<F, A>,
    };
}

impl Entry {
    /// The entry of a task.
    pub(crate) fn of<F: Task<A> + Stateless, A: Arguments>() -> &'static Self
    where
        F::Output: Returned,
    {
        const {
            assert!(
                size_of::<F>() == 0,
                "a task is a function or a closure without captures: pass what it captures as arguments (a `fn` \
                 pointer is a value as well: name the function itself)"
            );
        }
        &EntryOf::<F, A>::ENTRY
    }

    /// Where it lies, counted from the executable's load address.
    pub(crate) fn offset(&'static self) -> Result<u64> {
        let address = (&raw const *self).addr();
        Image::of_this_program()
            .offset_of(address, size_of::<Self>())
            .ok_or_else(|| {
                Error::new(ErrorKind::Unsupported, "start", "a process").with_detail(
                    "its function is in a shared library; only functions of the executable itself \
                     can run in a process of their own",
                )
            })
    }

    /// The entry at an offset that another process of this program sent.
    pub(crate) fn at(offset: u64, expected_hash: u64) -> Result<&'static Self> {
        let unfit = |why: &str| {
            Error::new(ErrorKind::Corrupt, "find", "the function to run").with_detail(format!(
                "at offset {offset:#x} of the executable {why}; was the program replaced?"
            ))
        };
        let address = Image::of_this_program()
            .address_at(offset, size_of::<Self>())
            .filter(|address| address.is_multiple_of(align_of::<Self>()))
            .ok_or_else(|| unfit("there is nothing"))?;
        let place = std::ptr::with_exposed_provenance::<Self>(address);
        // SAFETY: the whole entry lies in a segment that the loader mapped for reading, and is aligned.
        if unsafe { place.cast::<u64>().read() } != MAGIC {
            return Err(unfit("no function begins"));
        }
        // SAFETY: mapped and aligned as above; only `EntryOf::ENTRY` begins with the magic, and it never changes.
        let entry = unsafe { &*place };
        if entry.hash() != expected_hash {
            return Err(unfit("is a function of other types"));
        }
        Ok(entry)
    }

    /// Hash of the names of the task's and the arguments' types.
    pub(crate) fn hash(&self) -> u64 {
        (self.type_hash)()
    }

    /// Decodes the arguments, calls the task and encodes what it returns.
    pub(crate) fn run(&self, arguments: &[u8], descriptors: Vec<OwnedFd>) -> Outcome {
        (self.run)(arguments, descriptors)
    }
}

fn run<F: Task<A> + Stateless, A: Arguments>(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Outcome
where
    F::Output: Returned,
{
    let decoded = transfer::incoming(descriptors, || postcard::from_bytes::<A>(bytes));
    let arguments = match decoded {
        Ok(arguments) => arguments,
        Err(error) => {
            let detail = format!("{error} while reading {}", type_name::<A>());
            let error = Error::new(ErrorKind::Decode, "receive", "the arguments");
            return Outcome::refused(&error.with_detail(detail));
        }
    };
    // SAFETY: `F` has no bytes (asserted in `Entry::of`), is `Copy`, and a value of it was given to the parent.
    let task: F = unsafe { NonNull::<F>::dangling().read() };
    Outcome::returned(&task.call(arguments))
}

/// FNV-1a of the type's name.
fn type_hash<T>() -> u64 {
    type_name::<T>()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::Entry;

    fn double(n: u32) -> u32 {
        n * 2
    }

    fn entry_of<F: crate::Task<(u32,), Output = u32> + crate::Stateless>(_: F) -> &'static Entry {
        Entry::of::<F, (u32,)>()
    }

    #[test]
    fn is_found_again_and_runs() {
        let entry = entry_of(double);
        let found = Entry::at(entry.offset().unwrap(), entry.hash()).unwrap();
        let outcome = found.run(&postcard::to_stdvec(&(21_u32,)).unwrap(), Vec::new());
        assert_eq!(outcome.decode::<u32>("w").unwrap(), 42);
    }

    #[test]
    fn every_other_offset_is_refused() {
        let entry = entry_of(double);
        let (offset, hash) = (entry.offset().unwrap(), entry.hash());
        for wrong in [0, offset + 1, offset + 8, offset - 8, u64::MAX, 1 << 40] {
            let error = Entry::at(wrong, hash).expect_err("not the entry");
            assert_eq!(error.kind(), mp_layout::ErrorKind::Corrupt, "{wrong:#x}");
        }
    }

    #[test]
    fn a_function_outside_the_executable_is_refused() {
        let Entry {
            magic,
            type_hash,
            run,
        } = *entry_of(double);
        // What a shared library's entry looks like from here: elsewhere.
        let elsewhere: &'static Entry = Box::leak(Box::new(Entry {
            magic,
            type_hash,
            run,
        }));
        let error = elsewhere.offset().unwrap_err();
        assert_eq!(error.kind(), mp_layout::ErrorKind::Unsupported);
        assert!(error.to_string().contains("shared library"), "{error}");
    }

    #[test]
    fn another_type_hash_is_refused() {
        let entry = entry_of(double);
        let error = Entry::at(entry.offset().unwrap(), entry.hash() ^ 1).unwrap_err();
        assert!(error.to_string().contains("other types"), "{error}");
    }
}
