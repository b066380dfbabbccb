//! A function, named so that another process of the same program finds it.
//!
//! Each task has one [`Entry`] in the executable: a constant that the compiler makes when
//! [`Entry::of`] is used with the task's types. A parent sends the entry's [`Address`]: which build
//! of the program it is in, and its offset from the load address, which the loader chooses again
//! for every process.
//!
//! # Invariants
//!
//! - I1: only [`Entry::address`] makes an address, of an entry in the build that it names. In each
//!   process of that build the entry is at the same offset.
//! - I2: the child compares the builds before it uses the offset. Then the entry must lie inside
//!   the loaded executable, be aligned, begin with the magic, and know the hash of the types'
//!   names, before its function is called: a damaged address is an error as well.

use std::any::type_name;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::{message, transfer};

use crate::build::Build;
use crate::image::Image;
use crate::outcome::Outcome;
use crate::task::{Arguments, Returned, Stateless, Task};
use crate::way_back::WayBack;

const MAGIC: u64 = u64::from_le_bytes(*b"mp entry");

/// What runs a task: with its arguments, their descriptors, and memory for the bytes of its value.
type Run = fn(&[u8], Vec<OwnedFd>, Vec<u8>) -> Outcome;

/// What the executable says of one task.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    magic: u64,
    type_hash: fn() -> u64,
    run: Run,
}

/// An entry, as one process of the program names it to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) build: Build,
    /// Counted from the executable's load address.
    pub(crate) offset: u64,
    /// Of the names of the task's and the arguments' types.
    pub(crate) type_hash: u64,
}

// The magic is read before anything else is believed.
const _: () = assert!(std::mem::offset_of!(Entry, magic) == 0);

/// Holds the entry of the task `F` with the arguments `A` as a constant.
struct EntryOf<F, A, W>(F, A, W);

impl<F: Task<A> + Stateless, A: Arguments, W> EntryOf<F, A, W>
where
    F::Output: Returned<W>,
{
    const ENTRY: Entry = Entry {
        magic: MAGIC,
        type_hash: type_hash::<(F, A)>,
        run: run::<F, A, W>,
    };
}

impl Entry {
    /// The entry of a task.
    pub(crate) fn of<F: Task<A> + Stateless, A: Arguments, W>() -> &'static Self
    where
        F::Output: Returned<W>,
    {
        const {
            assert!(
                size_of::<F>() == 0,
                "a task is a function or a closure without captures: pass what it captures as arguments (a `fn` \
                 pointer is a value as well: name the function itself)"
            );
        }
        &EntryOf::<F, A, W>::ENTRY
    }

    /// How another process of this program finds it.
    pub(crate) fn address(&'static self) -> Result<Address> {
        let place = (&raw const *self).addr();
        let offset = Image::of_this_program().offset_of(place, size_of::<Self>());
        let offset = offset.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "start", "a process").with_detail(
                "its function is in a shared library; only functions of the executable itself \
                 can run in a process of their own",
            )
        })?;
        Ok(Address {
            build: Build::of_this_program()?.clone(),
            offset,
            type_hash: self.hash(),
        })
    }

    /// The entry that another process of this program named.
    pub(crate) fn at(address: &Address) -> Result<&'static Self> {
        let Address {
            build,
            offset,
            type_hash,
        } = address;
        let unfit = |why: &str| {
            Error::new(ErrorKind::Corrupt, "find", "the function to run")
                .with_detail(format!("at offset {offset:#x} of the executable {why}"))
        };
        let own = Build::of_this_program()?;
        if own != build {
            return Err(another_build(own, build));
        }
        let place = Image::of_this_program()
            .address_at(*offset, size_of::<Self>())
            .filter(|place| place.is_multiple_of(align_of::<Self>()))
            .ok_or_else(|| unfit("there is nothing"))?;
        let place = std::ptr::with_exposed_provenance::<Self>(place);
        // SAFETY: the whole entry lies in a segment that the loader mapped for reading, and is
        // aligned.
        if unsafe { place.cast::<u64>().read() } != MAGIC {
            return Err(unfit("no function begins"));
        }
        // SAFETY: mapped and aligned as above. By I1 an entry is here, since this process is of the
        // build that the address names (I2); entries are constants.
        let entry = unsafe { &*place };
        if entry.hash() != *type_hash {
            return Err(unfit("is a function of other types"));
        }
        Ok(entry)
    }

    /// Hash of the names of the task's and the arguments' types.
    fn hash(&self) -> u64 {
        (self.type_hash)()
    }

    /// Decodes the arguments, calls the task and encodes what it returns, in `memory`, which is
    /// empty.
    pub(crate) fn run(
        &self,
        arguments: &[u8],
        descriptors: Vec<OwnedFd>,
        memory: Vec<u8>,
    ) -> Outcome {
        (self.run)(arguments, descriptors, memory)
    }
}

fn run<F: Task<A> + Stateless, A: Arguments, W>(
    bytes: &[u8],
    descriptors: Vec<OwnedFd>,
    memory: Vec<u8>,
) -> Outcome
where
    F::Output: Returned<W>,
{
    let decoded = transfer::incoming(descriptors, || message::read::<A>(bytes));
    let arguments = match decoded {
        Ok(arguments) => arguments,
        Err(error) => {
            let detail = format!("{error} while reading {}", type_name::<A>());
            let error = Error::new(ErrorKind::Decode, "receive", "the arguments");
            return Outcome::refused(&error.with_detail(detail));
        }
    };
    // SAFETY: `F` has no bytes (asserted in `Entry::of`), is `Copy`, and a value of it was given to
    // the parent.
    let task: F = unsafe { NonNull::<F>::dangling().read() };
    task.call(arguments).leave(memory)
}

fn another_build(own: &Build, named: &Build) -> Error {
    Error::new(ErrorKind::Unsupported, "find", "the function to run").with_detail(format!(
        "this process runs {own}, its parent names a function of {named}: the executable was replaced in place; \
         start the program again"
    ))
}

fn type_hash<T>() -> u64 {
    mp_layout::hash_of_text(type_name::<T>())
}

#[cfg(test)]
mod tests {
    use super::{Build, Entry};

    fn double(n: u32) -> u32 {
        n * 2
    }

    fn entry_of<F: crate::Task<(u32,), Output = u32> + crate::Stateless>(_: F) -> &'static Entry {
        Entry::of::<F, (u32,), _>()
    }

    #[test]
    fn is_found_again_and_runs() {
        let entry = entry_of(double);
        let found = Entry::at(&entry.address().unwrap()).unwrap();
        let outcome = found.run(
            &postcard::to_stdvec(&(21_u32,)).unwrap(),
            Vec::new(),
            Vec::new(),
        );
        assert_eq!(outcome.decode::<u32>("w").unwrap(), 42);
    }

    #[test]
    fn every_other_offset_is_refused() {
        let entry = entry_of(double);
        let right = entry.address().unwrap();
        let offset = right.offset;
        for wrong in [0, offset + 1, offset + 8, offset - 8, u64::MAX, 1 << 40] {
            let mut address = right.clone();
            address.offset = wrong;
            let error = Entry::at(&address).expect_err("not the entry");
            assert_eq!(error.kind(), mp_layout::ErrorKind::Corrupt, "{wrong:#x}");
        }
    }

    #[test]
    fn an_entry_of_another_build_is_refused_before_its_offset_is_used() {
        let mut address = entry_of(double).address().unwrap();
        let mut other = address.build.as_bytes().to_vec();
        other[0] ^= 1;
        address.build = Build::from_bytes(other);
        for offset in [address.offset, u64::MAX] {
            address.offset = offset;
            let error = Entry::at(&address).unwrap_err();
            assert_eq!(error.kind(), mp_layout::ErrorKind::Unsupported);
            let (own, named) = (Build::of_this_program().unwrap(), &address.build);
            let text = error.to_string();
            assert!(text.contains(&own.to_string()), "{text}");
            assert!(text.contains(&named.to_string()), "{text}");
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
        let error = elsewhere.address().unwrap_err();
        assert_eq!(error.kind(), mp_layout::ErrorKind::Unsupported);
        assert!(error.to_string().contains("shared library"), "{error}");
    }

    #[test]
    fn another_type_hash_is_refused() {
        let entry = entry_of(double);
        let mut address = entry.address().unwrap();
        address.type_hash ^= 1;
        let error = Entry::at(&address).unwrap_err();
        assert!(error.to_string().contains("other types"), "{error}");
    }
}
