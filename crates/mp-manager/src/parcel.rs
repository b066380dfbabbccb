//! Values and keys as the server keeps them: bytes that it never reads.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::message;
use mp_object::transfer::{self, Descriptor, Way};
#[cfg(feature = "net")]
use mp_os::socket::MAX_FDS;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(feature = "net")]
use crate::remote::numbers::Numbers;
#[cfg(feature = "net")]
use crate::remote::references::{self, Arrived, Reference, Session};
use crate::staging::{self, Staging};

/// A value that was written, with the descriptors of the shared objects in it. A clone is the same
/// one.
///
/// In a message the descriptors travel as those of handles do. So what is kept at the server keeps
/// the objects, and a value that travels on takes them with it.
#[derive(Clone, Debug)]
pub(crate) struct Parcel(Arc<Contents>);

#[derive(Clone, Debug)]
struct Contents {
    bytes: Place,
    files: Vec<File>,
}

/// Where the bytes of a value are.
#[derive(Clone, Debug)]
enum Place {
    Here(Vec<u8>),
    /// So many, in the [`Staging`] of the connection: on the way, and nowhere else.
    Staged(usize),
}

/// A descriptor of a shared object in a value.
#[derive(Clone, Debug)]
enum File {
    /// Of an object that this process has.
    Written(Descriptor),
    /// As it came in a message.
    Received(Arc<OwnedFd>),
    /// What stands at a remote client for a descriptor that its server keeps.
    #[cfg(feature = "net")]
    Away(Arc<Reference>),
}

impl File {
    /// Its place in the message that is written.
    fn put(&self) -> Result<Option<u32>> {
        match self {
            // The server keeps the file, also of an object that it has open itself.
            Self::Written(descriptor) => transfer::put(&descriptor.clone().of_object(None), None),
            Self::Received(file) => transfer::put(&Descriptor::new(Arc::clone(file)), None),
            #[cfg(feature = "net")]
            Self::Away(_) => Err(references::strange()),
        }
    }

    /// Its number in the frame that is written.
    #[cfg(feature = "net")]
    fn send(&self) -> Result<u64> {
        match self {
            Self::Written(_) => Err(references::strange()),
            Self::Received(file) => references::send_here(file),
            Self::Away(reference) => references::send_away(reference),
        }
    }

    /// What has this number in the frame that is read.
    #[cfg(feature = "net")]
    fn receive(number: u64) -> Result<Self> {
        Ok(match references::receive(number)? {
            Arrived::Here(file) => Self::Received(file),
            Arrived::Away(reference) => Self::Away(reference),
        })
    }

    fn as_raw_fd(&self) -> Option<RawFd> {
        match self {
            Self::Written(descriptor) => Some(descriptor.as_fd().as_raw_fd()),
            Self::Received(file) => Some(file.as_raw_fd()),
            #[cfg(feature = "net")]
            Self::Away(_) => None,
        }
    }

    /// The file itself, or a copy if it is of something else, too.
    fn into_owned(self) -> Result<OwnedFd> {
        let copied = match self {
            Self::Written(descriptor) => descriptor.as_fd().try_clone_to_owned(),
            Self::Received(file) => Arc::try_unwrap(file).or_else(|file| file.try_clone()),
            #[cfg(feature = "net")]
            Self::Away(_) => return Err(references::strange()),
        };
        copied
            .map_err(|source| Error::os("duplicate", "the descriptor of a managed object", source))
    }
}

impl Parcel {
    /// Writes a value.
    pub(crate) fn of<T: Serialize + DeserializeOwned>(value: &T) -> Result<Self> {
        let packed = message::pack(value, staging::buffer(), Way::Descriptors);
        let (mut bytes, descriptors) = packed.map_err(|why| unwritable(&why))?.into_parts();
        if !Staging::is_for(bytes.len()) {
            // The buffer may be far too large for it.
            let exact = bytes.as_slice().to_vec();
            staging::keep(std::mem::replace(&mut bytes, exact));
        }
        let descriptors = descriptors.unwrap_or_default().into_iter();
        let files = descriptors.map(File::Written).collect();
        Ok(Self::new(bytes, files))
    }

    fn new(bytes: Vec<u8>, files: Vec<File>) -> Self {
        let bytes = Place::Here(bytes);
        Self(Arc::new(Contents { bytes, files }))
    }

    /// Writes a value for a manager of another machine.
    #[cfg(feature = "net")]
    pub(crate) fn of_remote<T: Serialize + DeserializeOwned>(
        value: &T,
        session: &Arc<Session>,
    ) -> Result<Self> {
        let (packed, references) =
            references::writing(session, || message::pack(value, Vec::new(), Way::Nowhere));
        let packed = packed.map_err(|why| unwritable(&why))?;
        let (bytes, _) = packed.into_parts();
        let files = references.into_iter().map(File::Away).collect();
        Ok(Self::new(bytes, files))
    }

    /// What stands for its descriptors, if it came from another machine and has any.
    #[cfg(feature = "net")]
    fn references(&self) -> Option<Vec<Arc<Reference>>> {
        let files = self.0.files.iter();
        let references: Option<Vec<_>> = files
            .map(|file| match file {
                File::Away(reference) => Some(Arc::clone(reference)),
                _ => None,
            })
            .collect();
        references.filter(|references| !references.is_empty())
    }

    /// The value of no bytes.
    pub(crate) fn empty() -> Self {
        Self::new(Vec::new(), Vec::new())
    }

    /// Bytes and descriptors that belong together.
    pub(crate) fn received(bytes: Vec<u8>, files: Vec<OwnedFd>) -> Self {
        let files = files.into_iter();
        let files = files.map(|file| File::Received(Arc::new(file))).collect();
        Self::new(bytes, files)
    }

    /// The bytes and the descriptors. Of what was received it needs no further descriptor.
    pub(crate) fn into_parts(self) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        let Contents { bytes, files } = Arc::unwrap_or_clone(self.0);
        let files: Result<Vec<OwnedFd>> = files.into_iter().map(File::into_owned).collect();
        match bytes {
            Place::Here(bytes) => Ok((bytes, files?)),
            Place::Staged(_) => Err(staging::no_staging()),
        }
    }

    /// Reads the value. Of one that was received it needs no further descriptor: it is lost if it
    /// cannot be read.
    pub(crate) fn open<T: DeserializeOwned>(self) -> Result<T> {
        #[cfg(feature = "net")]
        if let Some(references) = self.references() {
            let bytes = self.bytes()?;
            return references::read(references, bytes)
                .map_err(|why| undecodable::<T>(bytes, &why));
        }
        let (bytes, files) = self.into_parts()?;
        let value = if cfg!(feature = "net") {
            open_foreign(&bytes, files)
        } else {
            let files = Some(files).filter(|files| !files.is_empty());
            message::unpack(&bytes, files).map_err(|why| undecodable::<T>(&bytes, &why))
        };
        if Staging::is_for(bytes.len()) {
            staging::keep(bytes);
        }
        value
    }

    /// Its bytes; of one that is staged they are not known.
    #[cfg(feature = "net")]
    fn bytes(&self) -> Result<&[u8]> {
        match &self.0.bytes {
            Place::Here(bytes) => Ok(bytes),
            Place::Staged(_) => Err(staging::no_staging()),
        }
    }

    /// Whether it travels by a [`Staging`].
    pub(crate) fn is_large(&self) -> bool {
        matches!(&self.0.bytes, Place::Here(bytes) if Staging::is_for(bytes.len()))
    }

    /// Copies its bytes into a staging and travels there, if there is room.
    pub(crate) fn stage(&mut self, staging: &Staging) {
        let Place::Here(bytes) = &self.0.bytes else {
            return;
        };
        if staging.write(bytes).is_err() {
            return;
        }
        let staged = Place::Staged(bytes.len());
        match Arc::get_mut(&mut self.0) {
            Some(contents) => {
                if let Place::Here(bytes) = std::mem::replace(&mut contents.bytes, staged) {
                    staging::keep(bytes);
                }
            }
            // Kept elsewhere, too.
            None => {
                let files = self.0.files.clone();
                self.0 = Arc::new(Contents {
                    bytes: staged,
                    files,
                });
            }
        }
    }

    /// Copies its bytes out of the staging by which it came, if it came so, to the start of a
    /// buffer.
    pub(crate) fn unstage(&mut self, staging: Option<&Staging>, buffer: Vec<u8>) -> Result<()> {
        let Place::Staged(len) = self.0.bytes else {
            return Ok(());
        };
        let mut bytes = buffer;
        let staging = staging.ok_or_else(staging::no_staging)?;
        staging.read(len, &mut bytes)?;
        *self = Self::new(bytes, self.0.files.clone());
        Ok(())
    }

    /// Whether its bytes are in a staging.
    pub(crate) fn is_staged(&self) -> bool {
        matches!(self.0.bytes, Place::Staged(_))
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        match &self.0.bytes {
            Place::Here(bytes) => bytes.len(),
            Place::Staged(len) => *len,
        }
    }

    /// How many descriptors it has.
    pub(crate) fn descriptors(&self) -> usize {
        self.0.files.len()
    }

    /// Whether shared objects are in it.
    pub(crate) fn has_objects(&self) -> bool {
        !self.0.files.is_empty()
    }

    /// Whether both are written alike. A value with shared objects is like no other: its bytes do
    /// not say which they are.
    pub(crate) fn is_equal(&self, other: &Self) -> bool {
        match (&self.0.bytes, &other.0.bytes) {
            (Place::Here(bytes), Place::Here(others)) => {
                !self.has_objects() && !other.has_objects() && bytes == others
            }
            _ => false,
        }
    }

    /// The highest number of its descriptors.
    pub(crate) fn highest_descriptor(&self) -> Option<RawFd> {
        let files = self.0.files.iter();
        files.filter_map(File::as_raw_fd).max()
    }
}

impl Serialize for Parcel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let refused = |error| transfer::refuse(error, serde::ser::Error::custom);
        let Contents { bytes, files } = &*self.0;
        #[cfg(feature = "net")]
        if references::is_in_frame() {
            let numbers: Result<Vec<u64>> = files.iter().map(File::send).collect();
            let numbers = numbers.map_err(refused)?;
            let bytes = self.bytes().map_err(refused)?;
            return (Bytes(bytes), numbers).serialize(serializer);
        }
        let places: Result<Vec<Option<u32>>> = files.iter().map(File::put).collect();
        let places = places.map_err(refused)?;
        let (bytes, staged) = match bytes {
            Place::Here(bytes) => (&bytes[..], None),
            Place::Staged(len) => (&[][..], Some(*len as u64)),
        };
        (Bytes(bytes), staged, places).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Parcel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[cfg(feature = "net")]
        if references::is_in_frame() {
            references::count_element()
                .map_err(|error| transfer::refuse(error, D::Error::custom))?;
            let (ByteBuf(bytes), Numbers::<MAX_FDS>(numbers)) =
                Deserialize::deserialize(deserializer)?;
            let files: Result<Vec<File>> = numbers.into_iter().map(File::receive).collect();
            let files = files.map_err(|error| transfer::refuse(error, D::Error::custom))?;
            return Ok(Self::new(bytes, files));
        }
        let (ByteBuf(bytes), staged, places) = Wire::deserialize(deserializer)?;
        let files: Result<Vec<File>> = places.into_iter().map(take_file).collect();
        let files = files.map_err(|error| transfer::refuse(error, D::Error::custom))?;
        let bytes = match staged {
            None => Place::Here(bytes),
            Some(len) => Place::Staged(usize::try_from(len).unwrap_or(usize::MAX)),
        };
        Ok(Self(Arc::new(Contents { bytes, files })))
    }
}

/// A value in a message: its bytes, how many of them are staged instead, and the places of its
/// descriptors.
type Wire = (ByteBuf, Option<u64>, Vec<Option<u32>>);

fn take_file(place: Option<u32>) -> Result<File> {
    let place = place.ok_or_else(|| {
        Error::new(ErrorKind::Decode, "receive", "a value for a manager")
            .with_detail("a descriptor has no place")
    })?;
    Ok(File::Received(Arc::new(transfer::take(place)?)))
}

/// A key, as bytes. Equal keys are those of equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Arc<[u8]>);

impl Key {
    /// Writes a key.
    pub(crate) fn of<Q: Serialize + ?Sized>(key: &Q) -> Result<Self> {
        let bytes = message::write(key).map_err(|why| {
            Error::new(ErrorKind::Encode, "write", "a key for a manager").with_detail(format!(
                "it cannot be written: {why}; shared objects can be values, not keys"
            ))
        })?;
        Ok(Self(bytes.into()))
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads the key.
    pub(crate) fn open<K: DeserializeOwned>(&self) -> Result<K> {
        if cfg!(feature = "net") {
            return open_foreign(&self.0, Vec::new());
        }
        message::read(&self.0).map_err(|why| undecodable::<K>(&self.0, &why))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[cfg(feature = "net")]
        references::count_element().map_err(|error| transfer::refuse(error, D::Error::custom))?;
        let ByteBuf(bytes) = ByteBuf::deserialize(deserializer)?;
        Ok(Self(bytes.into()))
    }
}

/// Reads a value that a client of another machine may have made up.
fn open_foreign<T: DeserializeOwned>(bytes: &[u8], files: Vec<OwnedFd>) -> Result<T> {
    let (value, refused) = transfer::foreign(files, || message::read_foreign(bytes));
    value.map_err(|why| match refused {
        Some(refused) => undecodable::<T>(bytes, &refused),
        None => undecodable::<T>(bytes, &why),
    })
}

#[cold]
fn unwritable(why: &message::Unfit) -> Error {
    Error::new(ErrorKind::Encode, "write", "a value for a manager")
        .with_detail(format!("it cannot be written: {why}"))
}

#[cold]
fn undecodable<T>(bytes: &[u8], why: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Decode, "read", "a value of a manager").with_detail(format!(
        "{} bytes are not a {}: {why}",
        bytes.len(),
        std::any::type_name::<T>()
    ))
}

/// Bytes that are written in one piece.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Bytes that are read in one piece.
struct ByteBuf(Vec<u8>);

impl<'de> Deserialize<'de> for ByteBuf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(ReadBytes).map(Self)
    }
}

struct ReadBytes;

impl Visitor<'_> for ReadBytes {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}
