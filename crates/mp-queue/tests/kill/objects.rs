//! Messages with handles: put and got, and the two orders of doing so that are wrong.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use killcheck::{Check, SharedArea};
use mp_object::transfer::{self, Descriptor};
use mp_object::{Event, Lane};
use mp_os::memfd::is_same_file;
use mp_queue::{GetError, Queue, Wait};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};

use super::{WHICH_PROCESSOR, begin, contents, expect_one_of};

/// A handle of a file that is all that it is.
#[derive(Clone)]
pub(super) struct File(Arc<OwnedFd>);

impl File {
    pub(super) fn new() -> Self {
        let (read, _) = std::io::pipe().expect("a pipe");
        Self(Arc::new(read.into()))
    }

    fn is(&self, other: &Self) -> bool {
        is_same_file(self.0.as_fd(), other.0.as_fd())
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor::new(Arc::clone(&self.0))
    }
}

impl Serialize for File {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = transfer::put(&self.descriptor(), None).map_err(S::Error::custom)?;
        place.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = Option::<u32>::deserialize(deserializer)?.unwrap_or(u32::MAX);
        let file = transfer::take(place).map_err(D::Error::custom)?;
        Ok(Self(Arc::new(file)))
    }
}

type Files = Queue<(u64, Option<File>)>;

/// A queue with a lane of its own for every kill, and the files by the numbers of their messages.
struct Stage {
    queue: Files,
    files: Vec<File>,
}

#[derive(Default)]
struct Scene(RefCell<Option<Stage>>);

impl Scene {
    fn set(&self, bound: Option<usize>, start: &[u64]) {
        let made = bound.map_or_else(Queue::new, Queue::bounded);
        let stage = Stage {
            queue: made.expect("a queue").with_wait(Wait::Sleep),
            files: (0..8).map(|_| File::new()).collect(),
        };
        self.0.replace(Some(stage));
        for &n in start {
            self.put(n).expect("room");
        }
    }

    fn with<R>(&self, with: impl FnOnce(&Stage) -> R) -> R {
        with(self.0.borrow().as_ref().expect("the set-up ran"))
    }

    fn contents(&self) -> Vec<u64> {
        self.with(|stage| contents(&stage.queue))
    }

    fn message(&self, n: u64) -> (u64, Option<File>) {
        self.with(|stage| (n, Some(stage.files[n as usize].clone())))
    }

    fn put(&self, n: u64) -> Result<(), String> {
        let message = self.message(n);
        self.with(|stage| stage.queue.put(message).map_err(|error| error.to_string()))
    }

    /// The number of a message that has its own file.
    fn number(&self, (n, file): (u64, Option<File>)) -> Result<u64, String> {
        let own = self.with(|stage| stage.files[n as usize].clone());
        match file {
            Some(file) if file.is(&own) => Ok(n),
            _ => Err(format!("{n} came with another file")),
        }
    }

    fn get(&self) -> Result<u64, String> {
        let message = self.with(|stage| stage.queue.get().map_err(|error| error.to_string()))?;
        self.number(message)
    }

    /// The numbers of all messages, after which the lane is empty.
    fn drain(&self) -> Result<Vec<u64>, String> {
        let mut numbers = Vec::new();
        loop {
            match self.with(|stage| stage.queue.try_get()) {
                Ok(message) => numbers.push(self.number(message)?),
                Err(GetError::Empty) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        self.with(|stage| match stage.queue.object().lane() {
            Some(lane) if lane.is_empty() => Ok(numbers),
            _ => Err("something is left in the lane".to_owned()),
        })
    }
}

#[test]
fn a_put_with_handles() {
    let _watchdog = begin();
    for bound in [None, Some(8)] {
        Check::new("put with a handle")
            .setup(|scene: &Scene| scene.set(bound, &[1]))
            .victim(|scene| scene.put(2).expect("room"))
            .survivor(|scene| {
                scene.put(3)?;
                expect_one_of(scene.drain()?, &[&[1, 3], &[1, 2, 3]])
            })
            .without_timeouts()
            .shares_only(Scene::contents)
            .assert_safe(&Scene::default());
    }
}

#[test]
fn a_get_with_handles() {
    let _watchdog = begin();
    for bound in [None, Some(8)] {
        Check::new("get with a handle")
            .setup(|scene: &Scene| scene.set(bound, &[1, 2]))
            .victim(|scene| assert_eq!(scene.get(), Ok(1)))
            .survivor(|scene| {
                scene.put(3)?;
                expect_one_of(scene.drain()?, &[&[1, 2, 3], &[2, 3]])
            })
            .without_timeouts()
            .shares_only(Scene::contents)
            .assert_safe(&Scene::default());
    }
}

#[test]
fn a_put_with_handles_while_a_consumer_sleeps() {
    let _watchdog = begin();
    Check::new("put with a handle, a consumer asleep")
        .setup(|scene: &Scene| scene.set(None, &[]))
        .victim(|scene| scene.put(2).expect("room"))
        .sleeper(|scene| assert!([Ok(2), Ok(3)].contains(&scene.get())))
        .must_wake(|scene| scene.with(|stage| !stage.queue.is_empty()))
        .survivor(|scene| scene.put(3))
        .without_timeouts()
        .shares_only(Scene::contents)
        .allow_missed(0.01, WHICH_PROCESSOR)
        .assert_safe(&Scene::default());
}

/// Messages with an object that their reader may have open, and perhaps a file that it never has.
type Both = (u64, Event, Option<File>);

/// A queue for every kill, and the object of its messages.
struct OpenStage {
    queue: Queue<Both>,
    event: Event,
    /// A survivor opens the object by it.
    other: Queue<Event>,
}

#[derive(Default)]
struct OpenScene(RefCell<Option<OpenStage>>);

impl OpenScene {
    fn set(&self) {
        let stage = OpenStage {
            queue: Queue::new().expect("a queue").with_wait(Wait::Sleep),
            event: Event::new().expect("an event"),
            other: Queue::new().expect("a queue"),
        };
        self.0.replace(Some(stage));
        for n in [1, 2] {
            self.put(n, None).expect("room");
        }
    }

    fn with<R>(&self, with: impl FnOnce(&OpenStage) -> R) -> R {
        with(self.0.borrow().as_ref().expect("the set-up ran"))
    }

    fn contents(&self) -> Vec<u64> {
        self.with(|stage| contents(&stage.queue))
    }

    /// Opens the object in this process, a fork, whose table of open objects is empty.
    fn open(&self) -> Result<Event, String> {
        self.with(|stage| {
            let put = stage.other.put(stage.event.clone());
            put.map_err(|error| error.to_string())?;
            stage.other.try_get().map_err(|error| error.to_string())
        })
    }

    fn put(&self, n: u64, file: Option<File>) -> Result<(), String> {
        self.with(|stage| {
            let put = stage.queue.put((n, stage.event.clone(), file));
            put.map_err(|error| error.to_string())
        })
    }

    /// The numbers of all messages, each with the scene's event, after which the lane is empty.
    fn drain(&self) -> Result<Vec<u64>, String> {
        self.with(|OpenStage { queue, event, .. }| {
            let (mut numbers, mut kept) = (Vec::new(), Vec::new());
            loop {
                match queue.try_get() {
                    Ok((n, same, _)) if same.object().is_same(event.object()) => {
                        numbers.push(n);
                        kept.push(same);
                    }
                    Ok((n, ..)) => return Err(format!("{n} came with another event")),
                    Err(GetError::Empty) => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
            match queue.object().lane() {
                Some(lane) if lane.is_empty() => Ok(numbers),
                _ => Err("something is left in the lane".to_owned()),
            }
        })
    }
}

/// The first get opens the object, and the second finds it open. So does the survivor, or it has it
/// open before. It looks at the lane for what it has not open: the first, or a file.
#[test]
fn a_get_of_an_object_that_is_open() {
    let _watchdog = begin();
    for (opens, looks) in [(false, false), (true, false), (false, true), (true, true)] {
        Check::new("get of an object that is open")
            .setup(OpenScene::set)
            .victim(|scene| {
                scene.with(|OpenStage { queue, .. }| {
                    let kept = queue.get().expect("the first");
                    assert_eq!(queue.get().expect("the second").0, 2);
                    drop(kept);
                });
            })
            .survivor(move |scene| {
                let _kept = opens.then(|| scene.open()).transpose()?;
                scene.put(3, looks.then(File::new))?;
                expect_one_of(scene.drain()?, &[&[1, 2, 3], &[2, 3], &[3]])
            })
            .without_timeouts()
            .shares_only(OpenScene::contents)
            .assert_safe(&OpenScene::default());
    }
}

/// A room of eight records beside a lane, for one producer and one consumer.
struct Records {
    sent: AtomicU64,
    tail: AtomicU64,
    head: AtomicU64,
    /// The tag of each record, and the number of its file.
    records: [(AtomicU64, AtomicU64); 8],
}

struct Model {
    words: SharedArea<Records>,
    stage: RefCell<Option<(Lane, Vec<File>)>>,
}

/// When a producer stores its number, and when a consumer takes the lane's message.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Right,
    NumberAfterSending,
    ReceiveBeforeTaking,
}

impl Model {
    fn new() -> Self {
        Self {
            // SAFETY: atomics only, for which zero is valid.
            words: unsafe { SharedArea::zeroed() }.expect("a page"),
            stage: RefCell::default(),
        }
    }

    /// A copy of the words; the lane is the kernel's.
    fn contents(&self) -> Vec<u64> {
        let Records {
            sent,
            tail,
            head,
            records,
        } = &*self.words;
        let records = records.iter().flat_map(|(tag, number)| [tag, number]);
        let words = [sent, tail, head].into_iter().chain(records);
        words.map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn set(&self, start: &[u64]) {
        self.words.reset();
        let files = (0..8).map(|_| File::new()).collect();
        self.stage
            .replace(Some((Lane::new().expect("a lane"), files)));
        for &n in start {
            self.put(n, Order::Right);
        }
    }

    fn with<R>(&self, with: impl FnOnce(&Lane, &[File]) -> R) -> R {
        let stage = self.stage.borrow();
        let (lane, files) = stage.as_ref().expect("the set-up ran");
        with(lane, files)
    }

    fn put(&self, n: u64, order: Order) {
        let words = &*self.words;
        let tag = self.with(|lane, files| {
            let with = [files[n as usize].descriptor()];
            if order == Order::NumberAfterSending {
                let later = AtomicU64::new(words.sent.load(Ordering::Relaxed));
                let tag = lane.send(&later, &with).expect("room");
                words.sent.store(later.into_inner(), Ordering::Release);
                tag
            } else {
                lane.send(&words.sent, &with).expect("room")
            }
        });
        let tail = words.tail.load(Ordering::Relaxed);
        let (tag_of, number_of) = &words.records[tail as usize % 8];
        tag_of.store(u64::from(tag), Ordering::Relaxed);
        number_of.store(n, Ordering::Relaxed);
        words.tail.store(tail + 1, Ordering::Release);
    }

    /// `None` if there is none.
    fn get(&self, order: Order) -> Result<Option<u64>, String> {
        let words = &*self.words;
        let head = words.head.load(Ordering::Relaxed);
        if head == words.tail.load(Ordering::Acquire) {
            return Ok(None);
        }
        let (tag, n) = &words.records[head as usize % 8];
        let (tag, n) = (tag.load(Ordering::Relaxed), n.load(Ordering::Relaxed));
        self.with(|lane, files| {
            let found = lane.find(tag as u32).map_err(|error| error.to_string())?;
            let found = found.ok_or_else(|| format!("{n} came without its file"))?;
            if order == Order::ReceiveBeforeTaking {
                lane.discard(tag as u32);
            }
            words.head.store(head + 1, Ordering::Release);
            if order != Order::ReceiveBeforeTaking {
                lane.discard(tag as u32);
            }
            match &found[..] {
                [file] if is_same_file(file.as_fd(), files[n as usize].0.as_fd()) => Ok(Some(n)),
                _ => Err(format!("{n} came with another file")),
            }
        })
    }

    fn drain(&self) -> Result<Vec<u64>, String> {
        let mut numbers = Vec::new();
        while let Some(n) = self.get(Order::Right)? {
            numbers.push(n);
        }
        Ok(numbers)
    }
}

fn puts_in(order: Order) -> Check<'static, Model> {
    Check::new("put into a model")
        .setup(|model: &Model| model.set(&[1]))
        .victim(move |model| model.put(2, order))
        .survivor(|model| {
            model.put(3, Order::Right);
            expect_one_of(model.drain()?, &[&[1, 3], &[1, 2, 3]])
        })
        .shares_only(Model::contents)
}

fn gets_in(order: Order) -> Check<'static, Model> {
    Check::new("get from a model")
        .setup(|model: &Model| model.set(&[1, 2]))
        .victim(move |model| assert_eq!(model.get(order), Ok(Some(1))))
        .survivor(|model| expect_one_of(model.drain()?, &[&[1, 2], &[2]]))
        .shares_only(Model::contents)
}

#[test]
fn a_number_that_is_stored_after_sending_is_caught() {
    let _watchdog = begin();
    puts_in(Order::Right).assert_safe(&Model::new());
    puts_in(Order::NumberAfterSending)
        .stop_after(1)
        .assert_caught(&Model::new());
}

#[test]
fn receiving_before_the_record_is_taken_is_caught() {
    let _watchdog = begin();
    gets_in(Order::Right).assert_safe(&Model::new());
    gets_in(Order::ReceiveBeforeTaking)
        .stop_after(1)
        .assert_caught(&Model::new());
}
