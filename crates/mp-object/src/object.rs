//! A segment with a header.
//!
//! # If a process dies
//!
//! A creator that dies before the header is published leaves nothing: an anonymous segment goes
//! with its descriptor, a named one has no name yet. After that the object lives until its last
//! user is gone (anonymous) or its name is unlinked and its last user is gone (named).

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Expected, Header, Region, Result};
use mp_os::memfd::FileId;
use mp_shm::Segment;
use mp_shm::transfer::Identity;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::environment::environment;
use crate::owner::this_process;
use crate::{Lane, Plan, label, open_objects, transfer};

/// A segment whose header was checked, for as long as a clone of this handle lives. Clones are the
/// same object.
///
/// ```
/// use mp_layout::{Kind, TypeTag, atomic::{AtomicU64, Ordering}};
/// use mp_object::{Object, Plan};
///
/// let plan = Plan::new(Kind::RawValue, TypeTag::of::<u64>(), 8);
/// let object = Object::create(&plan, |payload| {
///     payload.place::<AtomicU64>(0)?.store(7, Ordering::Relaxed);
///     Ok(())
/// })?;
/// // SAFETY: a raw value is a word, reached by atomics.
/// let word: &AtomicU64 = unsafe { object.payload() }.place(0)?;
/// assert_eq!(word.load(Ordering::Relaxed), 7);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Object {
    parts: Arc<Parts>,
    /// The handle's own: two names may be of one file.
    name: Option<Arc<str>>,
}

/// What all handles of the object in this process share.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) segment: Segment,
    pub(crate) header: Header,
    pub(crate) lane: Option<Lane>,
    /// Asked for once: as long as the parts are there, no other file has it.
    pub(crate) file: Option<FileId>,
}

impl Parts {
    /// What no other open object has; `None` if the kernel reports nothing about its file.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let [device, inode] = self.file?.words().map(u64::to_ne_bytes);
        let mut identity = [0; 32];
        identity[..16].copy_from_slice(&self.header.id());
        identity[16..24].copy_from_slice(&device);
        identity[24..].copy_from_slice(&inode);
        Some(identity)
    }
}

impl Object {
    /// Makes an object without a name: `initialise` fills its zeroed payload before another process
    /// can attach.
    ///
    /// `/proc` calls it `mp:` and its kind, and the label of [`labelled`](crate::labelled), if
    /// there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotEnoughMemory`] with what is free and what was asked for,
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::InvalidInput`] if the plan has more bytes
    /// than there are addresses or the label cannot be one, [`ErrorKind::Unsupported`] if the
    /// kernel or a sandbox has no memfd or nothing to commit pages with, [`ErrorKind::Os`], and
    /// whatever `initialise` returns.
    pub fn create(plan: &Plan, initialise: impl FnOnce(Region<'_>) -> Result<()>) -> Result<Self> {
        let label = label::current(plan.expected().kind)?;
        let size = segment_size(plan, &label)?;
        let segment = match plan.committed_size(size) {
            None => Segment::anonymous(&label, size)?,
            Some(committed) => {
                let segment = Segment::sparse(&label, size)?;
                segment.reserve(0, committed)?;
                segment
            }
        };
        let lane = plan.has_lane().then(Lane::new).transpose()?;
        Self::fill(segment, plan, initialise, None, lane)
    }

    /// Makes an object under `name`, which appears in one step when the object is complete.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`], and those of [`Object::create`],
    /// where memory is that of `/dev/shm` and [`ErrorKind::Unsupported`] means that there is no
    /// `/dev/shm`.
    pub fn create_named(
        name: &str,
        plan: &Plan,
        initialise: impl FnOnce(Region<'_>) -> Result<()>,
    ) -> Result<Self> {
        let object = Self::unpublished(name, plan, initialise)?;
        object.parts.segment.publish(name)?;
        Ok(object)
    }

    /// Opens the object named `name` and checks that it is what `plan` accepts.
    ///
    /// # Errors
    ///
    /// Each names what was found and what was expected.
    ///
    /// - The name: [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`],
    ///   [`ErrorKind::PermissionDenied`] if the object is another user's.
    /// - The bytes: [`ErrorKind::Foreign`] if they are not an object of this toolkit,
    ///   [`ErrorKind::Truncated`], [`ErrorKind::NotReady`] if the creator has not finished or died
    ///   before, [`ErrorKind::Corrupt`], [`ErrorKind::WrongVersion`].
    /// - Where it was made: [`ErrorKind::WrongBoot`], [`ErrorKind::WrongNamespace`],
    ///   [`ErrorKind::WrongLibc`].
    /// - What it is: [`ErrorKind::WrongKind`], [`ErrorKind::WrongType`], [`ErrorKind::WrongSize`].
    /// - This process: [`ErrorKind::TooManyDescriptors`], [`ErrorKind::NotEnoughMemory`] of
    ///   addresses, [`ErrorKind::Os`].
    pub fn open(name: &str, plan: &Plan) -> Result<Self> {
        Self::attach(Segment::open(name)?, plan.accepted(), Some(name), None)
    }

    /// Opens the object named `name`, or makes it if there is none: `initialise` runs at most once,
    /// and what it made is dropped if another process was faster.
    ///
    /// # Errors
    ///
    /// Those of [`Object::open`] and [`Object::create_named`] but `NotFound` and `AlreadyExists`,
    /// which can only come from `initialise`.
    pub fn open_or_create(
        name: &str,
        plan: &Plan,
        initialise: impl FnOnce(Region<'_>) -> Result<()>,
    ) -> Result<Self> {
        if let Some(there) = Self::open_if_there(name, plan)? {
            return Ok(there);
        }
        let object = Self::unpublished(name, plan, initialise)?;
        // Once more only if another process made the name and a third unlinked it in between.
        loop {
            match object.parts.segment.publish(name) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                published => return published.map(|()| object),
            }
            if let Some(there) = Self::open_if_there(name, plan)? {
                return Ok(there);
            }
        }
    }

    fn open_if_there(name: &str, plan: &Plan) -> Result<Option<Self>> {
        match Self::open(name, plan) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Removes `name`. Handles that have the object open stay valid.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`] if it
    /// is another user's, [`ErrorKind::Foreign`] if it is anything else but a file.
    pub fn unlink(name: &str) -> Result<()> {
        Segment::unlink(name)
    }

    /// The object's own bytes, borrowed from this handle.
    ///
    /// # Safety
    ///
    /// They are reached only as objects of this kind are. A counter-example: an atomic placed over
    /// what a mutex guards, whose owner has a `&mut` to it.
    pub unsafe fn payload(&self) -> Region<'_> {
        let (segment, header) = (&self.parts.segment, &self.parts.header);
        let payload = segment
            .region()
            .subregion(header.payload_offset(), header.payload_size());
        payload.unwrap_or_else(|_| unreachable!("the header was checked against the segment"))
    }

    /// Checks that the object is what `expected` says.
    ///
    /// # Errors
    ///
    /// Those of [`Header::check`].
    pub fn expect(&self, expected: &Expected) -> Result<()> {
        let label = label_of(expected, self.name());
        self.header().check(expected, &environment()?, &label)
    }

    /// The header as it was when it was checked; it never changes.
    pub fn header(&self) -> &Header {
        &self.parts.header
    }

    /// Commits the pages of `size` bytes from `offset` of the segment; see [`Segment::reserve`].
    ///
    /// # Errors
    ///
    /// Those of [`Segment::reserve`].
    pub fn reserve(&self, offset: usize, size: usize) -> Result<()> {
        self.parts.segment.reserve(offset, size)
    }

    /// Gives the whole pages within `size` bytes from `offset` of the segment back; see
    /// [`Segment::give_back`].
    ///
    /// # Errors
    ///
    /// Those of [`Segment::give_back`].
    ///
    /// # Safety
    ///
    /// No process uses those bytes.
    pub unsafe fn give_back(&self, offset: usize, size: usize) -> Result<()> {
        self.parts.segment.give_back(offset, size)
    }

    /// Bytes of the whole segment, header included.
    pub fn segment_size(&self) -> usize {
        self.parts.segment.len()
    }

    /// Bytes from the segment's start to the payload.
    pub fn payload_offset(&self) -> usize {
        self.parts.header.payload_offset()
    }

    /// The name under which it was made or opened, without a leading `/`; it may have been unlinked
    /// since.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The lane over which descriptors travel between the users of the object, if it has one.
    pub fn lane(&self) -> Option<&Lane> {
        self.parts.lane.as_ref()
    }

    /// Whether both handles are of the same object, perhaps mapped twice.
    pub fn is_same(&self, other: &Self) -> bool {
        self.parts.header.id() == other.parts.header.id() && self.parts.segment.is_of(other.as_fd())
    }

    /// Reads a handle that was serialised and checks that its object is what `expected` says.
    ///
    /// # Errors
    ///
    /// Outside [`transfer::incoming`], if the descriptor is not there, or if the object is another.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
        expected: &Expected,
    ) -> Result<Self, D::Error> {
        let handle = Handle::<String>::deserialize(deserializer)?;
        Self::receive(handle, expected).map_err(|error| transfer::refuse(error, D::Error::custom))
    }

    fn receive((place, id, name, has_lane): Handle<String>, expected: &Expected) -> Result<Self> {
        if let Some(open) = place.and_then(transfer::take_open) {
            return match open.downcast::<Parts>() {
                Ok(parts) => Self::of_open(parts, name.as_deref(), expected)?.expect_id(id),
                Err(_) => Err(decode("what is open is no object")),
            };
        }
        let (descriptor, lane) = match (place, &name) {
            (Some(place), _) => {
                // All are taken before the first is looked at, so that none is left to another
                // handle.
                let descriptor = transfer::take(place);
                let lane = has_lane.then(|| Lane::take(place)).transpose()?;
                (descriptor?, lane)
            }
            (None, Some(name)) => (transfer::open(name)?, None),
            (None, None) => {
                return Err(decode("its handle has neither a descriptor nor a name"));
            }
        };
        if let Some(parts) = open_objects::find(&id, descriptor.as_fd()) {
            return Self::of_open(parts, name.as_deref(), expected);
        }
        let segment = match &name {
            None => Segment::from_descriptor(descriptor)?,
            Some(name) => Segment::from_named_descriptor(descriptor, name)?,
        };
        Self::attach(segment, expected, name.as_deref(), lane)?.expect_id(id)
    }

    /// A handle of an object that this process has open.
    fn of_open(parts: Arc<Parts>, name: Option<&str>, expected: &Expected) -> Result<Self> {
        let open = Self::of_parts(parts, name);
        // This process, which does not change its namespaces, has checked them when it opened the
        // object.
        let checked = open
            .header()
            .check_contents(expected, &label_of(expected, open.name()));
        checked.map(|()| open)
    }

    fn handle(&self) -> Result<Handle<&str>> {
        let Parts {
            segment,
            header,
            lane,
            ..
        } = &*self.parts;
        let identity = self.parts.identity();
        let descriptor = segment.descriptor().of_object(identity);
        let place = transfer::put(&descriptor, self.name())?;
        let lane = lane.as_ref().filter(|_| place.is_some());
        lane.map_or(Ok(()), |lane| lane.put(identity))?;
        Ok((place, header.id(), self.name(), lane.is_some()))
    }

    fn unpublished(
        name: &str,
        plan: &Plan,
        initialise: impl FnOnce(Region<'_>) -> Result<()>,
    ) -> Result<Self> {
        let size = segment_size(plan, &format!("{name:?}"))?;
        let segment = match plan.committed_size(size) {
            None => Segment::unpublished(name, size)?,
            Some(committed) => {
                let segment = Segment::unpublished_sparse(name, size)?;
                segment.reserve(0, committed)?;
                segment
            }
        };
        Self::fill(segment, plan, initialise, Some(name), None)
    }

    fn fill(
        segment: Segment,
        plan: &Plan,
        initialise: impl FnOnce(Region<'_>) -> Result<()>,
        name: Option<&str>,
        lane: Option<Lane>,
    ) -> Result<Self> {
        let offset = plan.payload_offset();
        let size = segment.len();
        initialise(segment.region().subregion(offset, size - offset)?)?;
        Header::new(plan.expected(), &environment()?, size as u64, offset as u64)
            .with_identity(random_id()?, this_process()?.word())
            .publish(segment.region())?;
        Self::attach(segment, plan.expected(), name, lane)
    }

    fn attach(
        segment: Segment,
        expected: &Expected,
        name: Option<&str>,
        lane: Option<Lane>,
    ) -> Result<Self> {
        let label = label_of(expected, name);
        let header = Header::attach(segment.region(), expected, &environment()?, &label)?;
        let file = FileId::of(&segment);
        let parts = open_objects::share(Parts {
            segment,
            header,
            lane,
            file,
        });
        Ok(Self::of_parts(parts, name))
    }

    fn of_parts(parts: Arc<Parts>, name: Option<&str>) -> Self {
        let name = name.map(|name| Arc::from(name.strip_prefix('/').unwrap_or(name)));
        Self { parts, name }
    }

    fn expect_id(self, id: [u8; 16]) -> Result<Self> {
        if self.parts.header.id() == id {
            return Ok(self);
        }
        let label = self.parts.header.kind().map(|kind| kind.to_string());
        Err(
            Error::new(ErrorKind::Foreign, "attach", label.unwrap_or_default())
                .with_detail("the descriptor or the name in the handle is of another object"),
        )
    }
}

/// What a handle says: its descriptor's place, unless the name is to be opened; the object's
/// identity and its name; and whether the two ends of its lane have the next places.
type Handle<Name> = (Option<u32>, [u8; 16], Option<Name>, bool);

impl AsFd for Object {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.parts.segment.as_fd()
    }
}

impl Serialize for Object {
    /// Writes the handle; its descriptors go with it, see [`transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle()
            .map_err(|error| transfer::refuse(error, S::Error::custom))?
            .serialize(serializer)
    }
}

fn decode(detail: &str) -> Error {
    Error::new(ErrorKind::Decode, "attach", "a shared object").with_detail(detail)
}

/// What errors call an object.
fn label_of(expected: &Expected, name: Option<&str>) -> String {
    name.map_or_else(|| expected.kind.to_string(), |name| format!("{name:?}"))
}

fn segment_size(plan: &Plan, label: &str) -> Result<usize> {
    plan.segment_size().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "create", label).with_detail(format!(
            "{} bytes are more than addresses",
            plan.expected().payload_size
        ))
    })
}

/// 128 bits from the kernel's generator.
fn random_id() -> Result<[u8; 16]> {
    mp_os::random::random_id().map_err(|source| Error::os("draw", "a random identity", source))
}
