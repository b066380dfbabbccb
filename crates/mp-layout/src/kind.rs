//! What a segment holds.

use core::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// What a segment holds, as its header says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum Kind {
            $($(#[$doc])* $name = $number,)*
        }

        impl Kind {
            /// Every kind, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The kind with this number in a header, if there is one.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The number that stands for it in a header.
            pub const fn number(self) -> u32 {
                self as u32
            }
        }

        impl fmt::Display for Kind {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

kinds! {
    /// A lock that owns no data.
    Lock = 1, "lock";
    /// A lock with the data it guards.
    Mutex = 2, "mutex";
    /// A flag to wait for.
    Event = 3, "event";
    /// One value with its lock.
    Value = 4, "value";
    /// One value of atomic words, without a lock.
    RawValue = 5, "raw value";
    /// Elements with a lock and claimable chunks.
    Array = 6, "array";
    /// Elements that are read and written atomically, without a lock.
    RawArray = 7, "raw array";
    /// A queue of messages.
    Queue = 8, "queue";
    /// A channel from one sender to one receiver.
    Channel = 9, "channel";
    /// Permits that any process takes and releases.
    Semaphore = 10, "semaphore";
    /// Permits of which there are never more than at first.
    BoundedSemaphore = 11, "bounded semaphore";
    /// A lock that its owner may acquire again.
    RLock = 12, "recursive lock";
    /// A lock whose owners wait for each other's notifications.
    Condition = 13, "condition";
    /// A point at which parties wait until all have arrived.
    Barrier = 14, "barrier";
    /// A lock that many hold to read, or one to write.
    RwLock = 15, "reader-writer lock";
    /// Permits that belong to the processes that took them.
    PermitSemaphore = 16, "permit semaphore";
    /// Two queues of messages between the two sides of a pipe, or one.
    Pipe = 20, "pipe";
    /// A queue of tasks that can be waited for until they are done.
    JoinableQueue = 21, "joinable queue";
    /// A bounded queue of small plain values, without a lock.
    MpmcQueue = 22, "bounded queue of plain values";
    /// Items of different types, each with a lock.
    ShareableList = 30, "list";
    /// The lock and the claimable chunks of an n-dimensional array, whose elements lie apart.
    NdArray = 31, "n-dimensional array";
    /// The newest value of one writer.
    Latest = 32, "latest value";
}
