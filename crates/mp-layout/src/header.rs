//! The first bytes of every shared object: what it is, for whom, and whether it is finished.
//!
//! # Layout
//!
//! ```text
//! 0        8      16      24           48          72     88      104   120
//! | magic  | version| kind | sizes      | type tag  | id  | creator, boot, namespaces | type name, reserved |
//! 224      232      240        248
//! | doorbell | flags | checksum | state |        256 bytes, followed by the payload
//! ```
//!
//! The exact table is in `docs/memory-layout.md`.
//!
//! # Invariants
//!
//! - I1: bytes 0..224 never change once `state` is READY, and `checksum` covers them.
//! - I2: `state` becomes READY by the creator's last store, so a process that reads READY reads a
//!   whole header and a whole, initialised payload.
//! - I3: nothing of a header is used before magic, state, version and checksum hold, in this order.
//!
//! # Orderings
//!
//! `state` is stored with Release by [`Header::publish`] and loaded with Acquire by
//! [`Header::attach`].
//!
//! # If a process dies
//!
//! A creator that dies before its last store leaves a segment that no process can attach
//! ([`ErrorKind::NotReady`]). Nothing else is written after that, so no later death matters.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::atomic::{AtomicU64, Ordering};
use crate::type_tag::NAME_SIZE;
use crate::{Error, ErrorKind, Kind, Region, Result, Table, TypeCode, TypeTag, fnv, layout};

/// Bytes of a header, and the least offset of a payload.
pub const HEADER_SIZE: usize = 256;

const MAGIC: [u8; 8] = *b"mp\x89shm\r\n";
/// 2: arrays of more than 16 Mi elements have more owner words, so their elements start later.
const ABI_VERSION: u32 = 2;
const READY: u64 = u64::from_be_bytes(*b"mp ready");
const WORDS: usize = HEADER_SIZE / 8;
/// Words 0..28 are covered by the checksum (I1).
const SEALED_WORDS: usize = offset_of!(Header, doorbell) / 8;

/// The description of an object at the start of its segment, as bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    magic: [u8; 8],
    version: u32,
    kind: u32,
    segment_size: u64,
    payload_offset: u64,
    payload_size: u64,
    type_hash: u64,
    type_code: u32,
    libc: u32,
    item_size: u64,
    item_count: u64,
    id: [u8; 16],
    creator: u64,
    boot_id: [u8; 16],
    pid_namespace: u64,
    time_namespace: u64,
    type_name: [u8; NAME_SIZE],
    reserved: [u64; 4],
    doorbell: u64,
    flags: u64,
    checksum: u64,
    state: u64,
}

// SAFETY: every field is an integer or an array of integers, and zero is a value.
unsafe impl Zeroable for Header {}
// SAFETY: `repr(C)`, integers only, and the assertion below shows that no padding lies between
// them.
unsafe impl Pod for Header {}

const _: () = assert!(size_of::<Header>() == HEADER_SIZE);
const _: () = assert!(offset_of!(Header, doorbell) == 224 && offset_of!(Header, state) == 248);

/// The C library whose lock geometry a segment uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Libc {
    /// GNU's: the lock word lies 32 bytes before the list entry.
    Glibc = 1,
    /// musl's: the lock word lies 28 bytes before the list entry.
    Musl = 2,
}

/// Where a process runs: what an attacher's must have in common with the creator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The random identity of this start of the machine.
    pub boot_id: [u8; 16],
    /// The inode of the PID namespace, in which owners' numbers mean processes.
    pub pid_namespace: u64,
    /// The inode of the time namespace, in which owners' start times are counted; 0 on a kernel
    /// without.
    pub time_namespace: u64,
    /// The C library.
    pub libc: Libc,
}

/// What an object is, for its creator to state and for an attacher to check.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// What the segment holds.
    pub kind: Kind,
    /// The type of its elements.
    pub tag: TypeTag,
    /// How many elements; `None` accepts any number.
    pub item_count: Option<u64>,
    /// Bytes of payload at least.
    pub payload_size: u64,
}

impl Header {
    /// The table for `docs/memory-layout.md`.
    pub const TABLE: Table = layout!(
        "Header",
        Header {
            magic: "`6d 70 89 73 68 6d 0d 0a`: one of ours, and not mangled by a text transfer",
            version: "2; another layout has another number",
            kind: "what the payload is, see the kinds",
            segment_size: "bytes of the whole segment",
            payload_offset: "bytes from the segment's start to the payload",
            payload_size: "bytes of the payload",
            type_hash: "FNV-1a of the Rust type's path and of its fields, down to their numbers; 0 where a type code says it",
            type_code: "ASCII of the type code, 0 if none",
            libc: "1 glibc, 2 musl: the geometry of the locks",
            item_size: "bytes of one element",
            item_count: "elements",
            id: "128 random bits, the object's identity",
            creator: "the creator: PID in the low 22 bits, start time in the others",
            boot_id: "the start of the machine it was made in",
            pid_namespace: "inode of the creator's PID namespace",
            time_namespace: "inode of the creator's time namespace, 0 on a kernel without",
            type_name: "for messages: the start of the Rust type's path and its fields as UTF-8, then zeros",
            reserved: "0",
            doorbell: "reserved for a descriptor that rings on events",
            flags: "reserved",
            checksum: "FNV-1a over the words before `doorbell`, each sum rotated left by 29",
            state: "`READY`, stored last with Release; anything else is half initialised",
        }
    );

    /// Describes an object of `segment_size` bytes with its payload at `payload_offset`.
    pub fn new(
        expected: &Expected,
        environment: &Environment,
        segment_size: u64,
        payload_offset: u64,
    ) -> Self {
        Self {
            magic: MAGIC,
            version: ABI_VERSION,
            kind: expected.kind.number(),
            segment_size,
            payload_offset,
            payload_size: expected.payload_size,
            type_hash: expected.tag.hash,
            type_name: expected.tag.stored_name(),
            type_code: expected.tag.code.map_or(0, |code| u32::from(code as u8)),
            item_size: expected.tag.item_size,
            item_count: expected.item_count.unwrap_or(0),
            boot_id: environment.boot_id,
            pid_namespace: environment.pid_namespace,
            time_namespace: environment.time_namespace,
            libc: environment.libc as u32,
            ..Self::zeroed()
        }
    }

    /// The same header with the object's identity and its creator's word.
    #[must_use]
    pub fn with_identity(mut self, id: [u8; 16], creator: u64) -> Self {
        (self.id, self.creator) = (id, creator);
        self
    }

    /// Writes the header into a segment whose payload is initialised, its `state` last: from then
    /// on others may attach.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] if the segment is shorter than a header.
    pub fn publish(mut self, segment: Region<'_>) -> Result<()> {
        let words = segment.place_slice::<AtomicU64>(0, WORDS)?;
        self.state = 0;
        self.checksum = checksum(bytemuck::must_cast_ref(&self));
        let own: &[u64; WORDS] = bytemuck::must_cast_ref(&self);
        for (word, value) in words.iter().zip(own) {
            word.store(*value, Ordering::Relaxed);
        }
        // Release: the header's words and the payload before it (I2); pairs with the load in
        // `attach`.
        segment
            .place::<AtomicU64>(offset_of!(Self, state))?
            .store(READY, Ordering::Release);
        Ok(())
    }

    /// Reads the header of `segment` and checks that it is what `expected` says, in `environment`.
    ///
    /// The returned copy is private: no peer can change what was checked.
    ///
    /// # Errors
    ///
    /// Each names what was found and what was expected: `Truncated`, `Foreign`, `NotReady`,
    /// `WrongVersion`, `Corrupt` (the checksum or the sizes contradict the bytes), `WrongLibc`,
    /// `WrongBoot`, `WrongNamespace`, `WrongKind`, `WrongType`, `WrongSize`.
    pub fn attach(
        segment: Region<'_>,
        expected: &Expected,
        environment: &Environment,
        name: &str,
    ) -> Result<Self> {
        let header = Self::read(segment, name)?;
        header.check(expected, environment, name)?;
        Ok(header)
    }

    /// Checks that a header that was read is what `expected` says, in `environment`.
    ///
    /// # Errors
    ///
    /// `WrongLibc`, `WrongBoot`, `WrongNamespace`, `WrongKind`, `WrongType` and `WrongSize`, as
    /// [`Header::attach`].
    pub fn check(&self, expected: &Expected, environment: &Environment, name: &str) -> Result<()> {
        self.check_environment(environment, name)?;
        self.check_contents(expected, name)
    }

    /// Reads a header and checks that it is a whole one of this version (I3), whatever it
    /// describes.
    ///
    /// # Errors
    ///
    /// `Truncated`, `Foreign`, `NotReady`, `WrongVersion` and `Corrupt`, as [`Header::attach`].
    pub fn read(segment: Region<'_>, name: &str) -> Result<Self> {
        let error = |kind, found: String, expected: String| {
            Err(Error::mismatch(kind, "attach", name, found, expected))
        };
        if segment.len() < HEADER_SIZE {
            let expected = format!("at least the {HEADER_SIZE} of a header");
            return error(
                ErrorKind::Truncated,
                format!("{} bytes", segment.len()),
                expected,
            );
        }
        // Acquire: pairs with the store in `publish` (I2).
        let state = segment
            .place::<AtomicU64>(offset_of!(Self, state))?
            .load(Ordering::Acquire);
        let mut words = [0; WORDS];
        for (copy, word) in words
            .iter_mut()
            .zip(segment.place_slice::<AtomicU64>(0, WORDS)?)
        {
            *copy = word.load(Ordering::Relaxed);
        }
        let header: Self = bytemuck::must_cast(words);
        if header.magic != MAGIC && (state == READY || header.magic != [0; 8]) {
            return error(
                ErrorKind::Foreign,
                format!("the first bytes {:02x?}", header.magic),
                format!("{MAGIC:02x?}"),
            );
        }
        if state != READY {
            return error(
                ErrorKind::NotReady,
                format!("state {state:#x}"),
                format!("{READY:#x}; its creator has not finished or died before"),
            );
        }
        if header.version != ABI_VERSION {
            let expected = format!("version {ABI_VERSION}");
            return error(
                ErrorKind::WrongVersion,
                format!("version {}", header.version),
                expected,
            );
        }
        let sum = checksum(&words);
        if header.checksum != sum {
            let found = format!("checksum {:016x}", header.checksum);
            return error(ErrorKind::Corrupt, found, format!("{sum:016x}"));
        }
        header.check_sizes(segment.len() as u64, name)?;
        Ok(header)
    }

    /// Bytes from the segment's start to the payload; within the segment, as checked by
    /// [`Header::read`].
    pub fn payload_offset(&self) -> usize {
        self.payload_offset as usize
    }

    /// Bytes of the payload; within the segment, as checked by [`Header::read`].
    pub fn payload_size(&self) -> usize {
        self.payload_size as usize
    }

    /// Bytes of the whole segment.
    pub fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// Elements of the object.
    pub fn item_count(&self) -> u64 {
        self.item_count
    }

    /// The type of the elements.
    pub fn tag(&self) -> TypeTag {
        let code = TypeCode::ALL
            .iter()
            .find(|code| **code as u32 == self.type_code);
        TypeTag::found(code.copied(), self.type_hash, self.item_size)
    }

    /// What the segment holds, if this version knows it.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.kind)
    }

    /// The object's identity.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The creator's identity word.
    pub fn creator(&self) -> u64 {
        self.creator
    }

    fn check_sizes(&self, available: u64, name: &str) -> Result<()> {
        if self.segment_size > available {
            return Err(Error::mismatch(
                ErrorKind::Truncated,
                "attach",
                name,
                format_args!("{available} bytes"),
                format_args!("{}, as its header says", self.segment_size),
            ));
        }
        let end = self.payload_offset.checked_add(self.payload_size);
        if self.payload_offset < HEADER_SIZE as u64 || end.is_none_or(|end| end > self.segment_size)
        {
            return Err(Error::mismatch(
                ErrorKind::Corrupt,
                "attach",
                name,
                format_args!(
                    "{} bytes of payload at {}",
                    self.payload_size, self.payload_offset
                ),
                format_args!("a payload within {} bytes", self.segment_size),
            ));
        }
        Ok(())
    }

    fn check_environment(&self, own: &Environment, name: &str) -> Result<()> {
        let mismatch = |kind, found: String, expected: String| {
            Err(Error::mismatch(kind, "attach", name, found, expected))
        };
        if self.boot_id != own.boot_id {
            return mismatch(
                ErrorKind::WrongBoot,
                format!("boot {:032x}", u128::from_be_bytes(self.boot_id)),
                format!(
                    "{:032x}; unlink it and make it anew",
                    u128::from_be_bytes(own.boot_id)
                ),
            );
        }
        for (what, found, expected) in [
            ("PID", self.pid_namespace, own.pid_namespace),
            ("time", self.time_namespace, own.time_namespace),
        ] {
            if found != expected {
                return mismatch(
                    ErrorKind::WrongNamespace,
                    format!("{what} namespace {found}"),
                    expected.to_string(),
                );
            }
        }
        if self.libc != own.libc as u32 {
            return mismatch(
                ErrorKind::WrongLibc,
                format!("C library {}", self.libc),
                format!("{:?} ({})", own.libc, own.libc as u32),
            );
        }
        Ok(())
    }

    /// Checks that a header that was read is what `expected` says, for a process that has checked
    /// its own environment against it before.
    ///
    /// # Errors
    ///
    /// `WrongKind`, `WrongType` and `WrongSize`, as [`Header::attach`].
    pub fn check_contents(&self, expected: &Expected, name: &str) -> Result<()> {
        let mismatch = |kind, found: String, expected: String| {
            Err(Error::mismatch(kind, "attach", name, found, expected))
        };
        if self.kind != expected.kind.number() {
            let found = self
                .kind()
                .map_or_else(|| format!("kind {}", self.kind), |k| k.to_string());
            return mismatch(ErrorKind::WrongKind, found, expected.kind.to_string());
        }
        if !expected.tag.accepts(self.tag()) {
            return mismatch(
                ErrorKind::WrongType,
                self.tag().called(&self.type_name),
                expected.tag.to_string(),
            );
        }
        if let Some(count) = expected
            .item_count
            .filter(|count| *count != self.item_count)
        {
            let found = format!("{} elements", self.item_count);
            return mismatch(ErrorKind::WrongSize, found, format!("{count}"));
        }
        if self.payload_size < expected.payload_size {
            let found = format!("{} bytes of payload", self.payload_size);
            let expected = format!("at least {}", expected.payload_size);
            return mismatch(ErrorKind::WrongSize, found, expected);
        }
        Ok(())
    }
}

/// FNV-1a over whole words, which catches every single flipped bit (each step is a bijection of the
/// sum).
fn checksum(words: &[u64; WORDS]) -> u64 {
    words[..SEALED_WORDS].iter().fold(fnv::START, |sum, word| {
        fnv::mix_unit(sum, *word).rotate_left(29)
    })
}
