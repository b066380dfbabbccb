//! Messages of one size through iceoryx2.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iceoryx2::config::Config;
use iceoryx2::port::publisher::Publisher as Port;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::Leftovers;

/// A service with one subscriber, made by the process that receives.
pub struct Lane<const WORDS: usize> {
    name: ServiceName,
    subscriber: Subscriber<ipc::Service, [u64; WORDS], ()>,
    _factory: PortFactory<ipc::Service, [u64; WORDS], ()>,
    _node: Node<ipc::Service>,
    /// Dropped last, when the other side has ended, which never drops its port.
    leftovers: Arc<Leftovers>,
}

/// A lane that only the forked process uses, in which it is as it was made.
pub struct Elsewhere<const WORDS: usize>(Lane<WORDS>);

// SAFETY: of the two processes that have it after the fork, only the child uses it, on its only
// thread.
unsafe impl<const WORDS: usize> Sync for Elsewhere<WORDS> {}
// SAFETY: as for `Sync`.
unsafe impl<const WORDS: usize> Send for Elsewhere<WORDS> {}

impl<const WORDS: usize> Elsewhere<WORDS> {
    /// Hands the lane over.
    pub fn new(lane: Lane<WORDS>) -> Self {
        Self(lane)
    }

    /// The lane, in the child.
    pub fn get(&self) -> &Lane<WORDS> {
        &self.0
    }
}

/// The sending side of a [`Lane`], which connects when it first sends: in the process that sends.
pub struct Publisher<const WORDS: usize> {
    name: ServiceName,
    connected: Option<Connected<WORDS>>,
    leftovers: Arc<Leftovers>,
}

struct Connected<const WORDS: usize> {
    port: Port<ipc::Service, [u64; WORDS], ()>,
    _factory: PortFactory<ipc::Service, [u64; WORDS], ()>,
    _node: Node<ipc::Service>,
}

// SAFETY: what is not `Send` is not there until the process that keeps it has connected.
unsafe impl<const WORDS: usize> Send for Publisher<WORDS> {}

impl<const WORDS: usize> Lane<WORDS> {
    /// A lane for `capacity` messages, which blocks its publisher when it is full.
    ///
    /// # Panics
    ///
    /// If iceoryx2 refuses.
    pub fn new(capacity: usize) -> Self {
        let leftovers = Arc::new(Leftovers::new());
        let name = ServiceName::new("lane").expect("a valid name");
        let node = node(&leftovers);
        let factory = node
            .service_builder(&name)
            .publish_subscribe::<[u64; WORDS]>()
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size(capacity)
            .create()
            .expect("a service");
        let subscriber = factory
            .subscriber_builder()
            .buffer_size(capacity)
            .create()
            .expect("a subscriber");
        Self {
            name,
            subscriber,
            _factory: factory,
            _node: node,
            leftovers,
        }
    }

    /// Its sending side.
    pub fn publisher(&self) -> Publisher<WORDS> {
        Publisher {
            name: self.name,
            connected: None,
            leftovers: Arc::clone(&self.leftovers),
        }
    }

    /// Reads the next message in place, if there is one.
    #[inline(always)]
    pub fn receive<R>(&self, read: impl FnOnce(&[u64; WORDS]) -> R) -> Option<R> {
        let sample = self.subscriber.receive().expect("a connection");
        sample.map(|sample| read(&sample))
    }
}

impl<const WORDS: usize> Publisher<WORDS> {
    /// Sends a copy of `message`.
    ///
    /// # Panics
    ///
    /// If iceoryx2 refuses, or if it does not find the subscriber.
    #[inline(always)]
    pub fn send(&mut self, message: &[u64; WORDS]) {
        let connected = self
            .connected
            .get_or_insert_with(|| Connected::new(&self.name, &self.leftovers));
        let mut missed_since = None;
        loop {
            let sample = connected.port.loan_uninit().expect("a free sample");
            match sample.write_payload(*message).send().expect("a connection") {
                0 => std::thread::yield_now(),
                receivers => return assert_eq!(receivers, 1),
            }
            let missed = missed_since.get_or_insert_with(Instant::now).elapsed();
            assert!(missed < PATIENCE, "iceoryx2 does not find the subscriber");
        }
    }
}

/// How long a message is sent to nobody before that is an error: a subscriber is not always seen at
/// once.
const PATIENCE: Duration = Duration::from_secs(5);

impl<const WORDS: usize> Connected<WORDS> {
    fn new(name: &ServiceName, leftovers: &Leftovers) -> Self {
        let node = node(leftovers);
        let factory = node
            .service_builder(name)
            .publish_subscribe::<[u64; WORDS]>()
            .open()
            .expect("the lane's service");
        let port = factory
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .expect("a publisher");
        Self {
            port,
            _factory: factory,
            _node: node,
        }
    }
}

fn node(leftovers: &Leftovers) -> Node<ipc::Service> {
    set_log_level(LogLevel::Fatal);
    let config = config(leftovers);
    let builder = NodeBuilder::new().config(&config);
    builder.create::<ipc::Service>().expect("a node")
}

/// Everything under a prefix and in a directory of its own, where no other program's iceoryx2 is
/// either.
fn config(leftovers: &Leftovers) -> Config {
    let mut config = Config::default();
    let prefix = leftovers.prefix().as_bytes();
    config.global.prefix = FileName::new(prefix).expect("a valid name");
    let directory = leftovers.directory();
    let directory = Path::new(directory.as_os_str().as_encoded_bytes()).expect("a valid path");
    config.global.set_root_path(&directory);
    config
}

impl<const WORDS: usize> fmt::Debug for Lane<WORDS> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lane")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<const WORDS: usize> fmt::Debug for Publisher<WORDS> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Publisher")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
