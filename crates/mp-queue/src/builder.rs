//! A queue with settings of its own.

use core::marker::PhantomData;

use mp_layout::Result;
use mp_object::ObjectType;

use crate::geometry::DEFAULT_ROOM;
use crate::pipe::typed;
use crate::raw_queue::Settings;
use crate::{Codec, Queue, QueueReceiver, QueueSender, Serde};

/// The settings of a queue that is about to be made; made by [`Queue::builder`].
///
/// ```
/// use mp_queue::{Plain, Queue};
///
/// let queue: Queue<u64, Plain> = Queue::builder().bounded(100).room(64 << 20).create()?;
/// assert_eq!(queue.capacity(), Some(100));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder makes nothing before `create`"]
pub struct Builder<T, C> {
    settings: Settings,
    messages: PhantomData<fn(T) -> C>,
}

impl<T, C: Codec<T>> Builder<T, C> {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings {
                bound: None,
                room: DEFAULT_ROOM,
            },
            messages: PhantomData,
        }
    }

    /// Bounds the queue: a put waits while it has `messages` messages.
    pub fn bounded(mut self, messages: usize) -> Self {
        self.settings.bound = Some(messages);
        self
    }

    /// Sets how many bytes of addresses the queue has for its messages: 4 GiB unless set, 256 KiB
    /// at least, 16 GiB at most, rounded down to a multiple of 16 KiB. A message may have all
    /// of it but 16 KiB, up to 4 GiB. Memory is taken as it is used.
    pub fn room(mut self, bytes: usize) -> Self {
        self.settings.room = bytes;
        self
    }

    /// Makes a queue without a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](mp_layout::ErrorKind::InvalidInput) for a bound of 0, and those
    /// of [`Object::create`](mp_object::Object::create).
    pub fn create(self) -> Result<Queue<T, C>> {
        ObjectType::create(self.settings)
    }

    /// Makes a queue under `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](mp_layout::ErrorKind::InvalidInput) for a bound of 0, and those
    /// of [`Object::create_named`](mp_object::Object::create_named).
    pub fn create_named(self, name: &str) -> Result<Queue<T, C>> {
        ObjectType::create_named(name, self.settings)
    }

    /// Opens the queue under `name`, whatever its bound and room, or makes it.
    ///
    /// # Errors
    ///
    /// Those of [`create_named`](Self::create_named), and those of
    /// [`Object::open`](mp_object::Object::open).
    pub fn open_or_create(self, name: &str) -> Result<Queue<T, C>> {
        ObjectType::open_or_create(name, self.settings)
    }
}

impl<T: 'static> Builder<T, Serde> {
    /// Makes a queue without a name as two ends, each of which hears when the other is gone.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create), and
    /// [`ErrorKind::TooManyDescriptors`](mp_layout::ErrorKind::TooManyDescriptors).
    pub fn ends(self) -> Result<(QueueSender<T>, QueueReceiver<T>)> {
        let (sends, receives) = typed(1, self.settings)?;
        Ok((QueueSender::new(sends), QueueReceiver::new(receives)))
    }
}
