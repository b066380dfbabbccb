//! The objects of a manager, and what requests do to them. It knows of no process.

use std::collections::HashMap;
use std::os::fd::AsFd;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_os::poll;

use crate::elements::Elements;
use crate::object_thread::{Caller, ObjectThread};
use crate::ordered_map::{Entry, OrderedMap};
use crate::parcel::{Key, Parcel};
use crate::request::{Answer, Call, DictOperation, Kind, ListOperation, Operation, Page, When};
use crate::token::{Token, TokenWatch};

/// How many threads there are at most for objects with methods. A program's other threads and
/// processes share what limits them (`ulimit -u`, the cgroup's `pids.max`), so this is far less.
const MOST_THREADS: usize = 1024;

/// All objects of a manager.
#[derive(Debug)]
pub(crate) struct Store {
    objects: HashMap<u64, Object>,
    /// Threads of freed values, which carry out calls or drop their value.
    ending: Vec<ObjectThread>,
    /// How many of the objects have a thread, and how many may.
    threads: usize,
    most_threads: usize,
    last_object: u64,
    last_stamp: u64,
    /// The dictionary of the published names, which no client counts as an object.
    names: Option<(u64, Token)>,
}

#[derive(Debug)]
struct Object {
    watch: TokenWatch,
    container: Container,
    /// How often it was cleared.
    clears: u64,
}

#[derive(Debug)]
enum Container {
    Dict(OrderedMap),
    List(Elements),
    /// A value of the program's own type.
    Own(ObjectThread),
}

/// What was taken out of an object and may come back.
#[derive(Debug)]
pub(crate) struct Lent {
    object: u64,
    /// How often the object had been cleared.
    clears: u64,
    item: LentItem,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// How many objects were freed; of a whole server, also clients and items.
    pub(crate) freed: usize,
    /// Whether there is no more to free.
    pub(crate) is_done: bool,
}

#[derive(Debug)]
enum LentItem {
    /// An entry of a dict, with its place.
    Entry(u64, Key, Entry),
    /// An element of a list, with its index.
    Element(usize, Entry),
}

impl Default for Store {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            ending: Vec::new(),
            threads: 0,
            most_threads: MOST_THREADS,
            last_object: 0,
            last_stamp: 0,
            names: None,
        }
    }
}

impl Store {
    /// Whether methods may be running.
    pub(crate) fn has_threads(&self) -> bool {
        self.threads + self.ending.len() != 0
    }

    /// How many objects there are, without the published names.
    pub(crate) fn len(&self) -> usize {
        self.objects.len() - usize::from(self.names.is_some())
    }

    /// Carries out a request. What it took out of an object is returned as well.
    pub(crate) fn run(&mut self, object: u64, operation: Operation) -> (Answer, Option<Lent>) {
        let mut lent = None;
        let answer = self.try_run(object, operation, &mut lent);
        let clears = self.objects.get(&object).map_or(0, |object| object.clears);
        let lent = lent.map(|item| Lent {
            object,
            clears,
            item,
        });
        (answer.unwrap_or_else(Answer::Failed), lent)
    }

    fn try_run(
        &mut self,
        number: u64,
        operation: Operation,
        lent: &mut Option<LentItem>,
    ) -> Result<Answer> {
        let operation = match operation {
            Operation::Create(kind) => return self.create(kind),
            Operation::CountObjects => return Ok(Answer::Number(self.len() as u64)),
            Operation::Names => return self.names(),
            operation => operation,
        };
        let Self {
            objects,
            last_stamp,
            ..
        } = self;
        let object = objects.get_mut(&number).ok_or_else(|| unknown(number))?;
        let mut stamps = Stamps(last_stamp);
        match (&mut object.container, operation) {
            (Container::Dict(map), Operation::Len) => Ok(Answer::Number(map.len() as u64)),
            (Container::List(list), Operation::Len) => Ok(Answer::Number(list.len() as u64)),
            (Container::Dict(map), Operation::Clear) => {
                object.clears += 1;
                map.clear();
                Ok(Answer::Done)
            }
            (Container::List(list), Operation::Clear) => {
                object.clears += 1;
                list.replace_all(Vec::new(), &mut stamps);
                Ok(Answer::Done)
            }
            (Container::Dict(map), Operation::Dict(operation)) => {
                Ok(run_on_dict(map, operation, &mut stamps, lent))
            }
            (Container::List(list), Operation::List(operation)) => {
                run_on_list(list, operation, &mut stamps, lent)
            }
            (container, operation) => Err(wrong_kind(container, &operation)),
        }
    }

    /// The dictionary of the published names, which stays.
    fn names(&mut self) -> Result<Answer> {
        if self.names.is_none()
            && let Answer::Created(number, token) = self.create(Kind::Dict)?
        {
            self.names = Some((number, token));
        }
        match &self.names {
            Some((number, token)) => Ok(Answer::Created(*number, token.clone())),
            None => Err(unknown(0)),
        }
    }

    fn create(&mut self, kind: Kind) -> Result<Answer> {
        self.add(|_| {
            Ok(match kind {
                Kind::Dict => Container::Dict(OrderedMap::default()),
                Kind::List => Container::List(Elements::default()),
            })
        })
    }

    /// Makes an object of the program's own type, which answers the caller.
    pub(crate) fn make(&mut self, make: Call, caller: Caller) -> Result<()> {
        self.check_threads()?;
        // Where it cannot be made, the only token goes with the answer.
        self.add(|created| ObjectThread::start(make, caller, created).map(Container::Own))?;
        self.threads += 1;
        Ok(())
    }

    fn check_threads(&mut self) -> Result<()> {
        self.ending.retain(|thread| !thread.is_finished());
        if self.threads + self.ending.len() < self.most_threads {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Full, "start", "the thread of a managed object");
        Err(error.with_detail(format!(
            "its server has {} objects with methods, each has a thread, {} freed ones have one still, and {} are \
             the most; drop some, or keep many values in one object or in a dict",
            self.threads,
            self.ending.len(),
            self.most_threads
        )))
    }

    fn add(&mut self, container: impl FnOnce(Answer) -> Result<Container>) -> Result<Answer> {
        let (watch, token) = Token::new()?;
        let number = self.last_object + 1;
        let object = Object {
            watch,
            container: container(Answer::Created(number, token.clone()))?,
            clears: 0,
        };
        self.last_object = number;
        self.objects.insert(number, object);
        Ok(Answer::Created(number, token))
    }

    /// Has an object of the program's own type carry out a call, and answer it.
    pub(crate) fn call(&mut self, number: u64, call: Call, caller: Caller) -> Result<()> {
        let object = self.objects.get(&number).ok_or_else(|| unknown(number))?;
        match &object.container {
            // Its thread has ended: the object is not made, and is freed at the next look.
            Container::Own(thread) => thread.call(call, caller).map_err(|_| unknown(number)),
            container => Err(wrong_kind(container, &Operation::Call(call))),
        }
    }

    /// Waits until the objects of the program's own types have carried out their calls, also those
    /// that were freed.
    pub(crate) fn end(mut self) {
        let numbers: Vec<u64> = self.objects.keys().copied().collect();
        // All are told before one is waited for.
        numbers.into_iter().for_each(|number| self.free(number));
        self.ending.into_iter().for_each(ObjectThread::join);
    }

    fn free(&mut self, number: u64) {
        let freed = self.objects.remove(&number);
        if let Some(Container::Own(thread)) = freed.map(|object| object.container) {
            thread.end();
            self.ending.push(thread);
            self.threads -= 1;
        }
    }

    /// Puts back what was taken out, unless its object is gone or was cleared since.
    pub(crate) fn give_back(&mut self, lent: Lent) {
        let Lent {
            object,
            clears,
            item,
        } = lent;
        let object = self.objects.get_mut(&object);
        let container = object
            .filter(|object| object.clears == clears)
            .map(|object| &mut object.container);
        match (container, item) {
            (Some(Container::Dict(map)), LentItem::Entry(place, key, entry)) => {
                map.give_back(place, key, entry);
            }
            (Some(Container::List(list)), LentItem::Element(index, entry)) => {
                list.give_back(index, entry, &mut Stamps(&mut self.last_stamp));
            }
            _ => {}
        }
    }

    /// Drops the calls of methods that wait and whose callers are gone; how many these were.
    pub(crate) fn drop_dead_calls(&self) -> usize {
        let objects = self.objects.values();
        let threads = objects.filter_map(|object| match &object.container {
            Container::Own(thread) => Some(thread),
            _ => None,
        });
        threads
            .chain(&self.ending)
            .map(ObjectThread::drop_dead_calls)
            .sum()
    }

    /// Frees the objects that have no token any more, also those that only these had in them.
    ///
    /// Each look is at all objects, and finds no object in one that it frees. So a long chain of
    /// objects takes many looks, of which the rest is left when the deadline has passed.
    pub(crate) fn sweep(&mut self, deadline: Deadline) -> Result<Swept> {
        self.ending.retain(|thread| !thread.is_finished());
        let mut freed = 0;
        loop {
            let numbers: Vec<u64> = self.objects.keys().copied().collect();
            let watches = self.objects.values().map(|object| object.watch.as_fd());
            let hung_up = poll::hung_up(watches)
                .map_err(|source| Error::os("look at", "the tokens of managed objects", source))?;
            for place in &hung_up {
                self.free(numbers[*place]);
            }
            freed += hung_up.len();
            let is_done = hung_up.is_empty();
            if is_done || deadline.is_expired() {
                return Ok(Swept { freed, is_done });
            }
        }
    }
}

/// The numbers that values get when they are set.
pub(crate) struct Stamps<'a>(&'a mut u64);

impl Stamps<'_> {
    pub(crate) fn next(&mut self) -> u64 {
        *self.0 += 1;
        *self.0
    }

    /// A value that was set now.
    pub(crate) fn entry(&mut self, value: Parcel) -> Entry {
        let stamp = self.next();
        // One that a peer says is staged, where none is: it has no bytes, and does not decode.
        let value = if value.is_staged() {
            Parcel::empty()
        } else {
            value
        };
        Entry { stamp, value }
    }
}

impl When {
    fn holds(&self, entry: Option<&Entry>) -> bool {
        match self {
            Self::Always => true,
            Self::Stamp(stamp) => *stamp == entry.map_or(0, |entry| entry.stamp),
            Self::Equal(None) => entry.is_none(),
            Self::Equal(Some(value)) => entry.is_some_and(|entry| entry.value.is_equal(value)),
        }
    }
}

fn value(entry: Option<&Entry>) -> Answer {
    Answer::Value(entry.map(|entry| (entry.stamp, entry.value.clone())))
}

fn run_on_dict(
    map: &mut OrderedMap,
    operation: DictOperation,
    stamps: &mut Stamps<'_>,
    lent: &mut Option<LentItem>,
) -> Answer {
    match operation {
        DictOperation::Get(key) => value(map.get(&key)),
        DictOperation::Contains(key) => Answer::Flag(map.get(&key).is_some()),
        DictOperation::Put(key, value, when) => {
            let holds = when.holds(map.get(&key));
            if holds {
                map.insert(key, stamps.entry(value));
            }
            Answer::Flag(holds)
        }
        DictOperation::Replace(key, new) => value(map.insert(key, stamps.entry(new)).as_ref()),
        DictOperation::Remove(key, when) => {
            let is_there = map.get(&key).is_some() || !matches!(when, When::Always);
            let holds = is_there && when.holds(map.get(&key));
            if holds {
                map.remove(&key);
            }
            Answer::Flag(holds)
        }
        DictOperation::Take(key) => {
            let taken = map.remove(&key);
            let answer = value(taken.as_ref().map(|(_, entry)| entry));
            *lent = taken.map(|(place, entry)| LentItem::Entry(place, key, entry));
            answer
        }
        DictOperation::TakeLast => {
            let taken = map.remove_last();
            let item = taken
                .as_ref()
                .map(|(_, key, entry)| (key.clone(), entry.value.clone()));
            *lent = taken.map(|(place, key, entry)| LentItem::Entry(place, key, entry));
            Answer::Item(item)
        }
        DictOperation::Keys => {
            let keys = map.iter().map(|(key, _)| key.clone());
            Answer::Keys(Page::of(map.changes(), keys))
        }
        DictOperation::Items => {
            let items = map.iter();
            let items = items.map(|(key, entry)| (key.clone(), entry.value.clone()));
            Answer::Items(Page::of(map.changes(), items))
        }
        DictOperation::Extend(items) => {
            for (key, value) in items {
                map.insert(key, stamps.entry(value));
            }
            Answer::Done
        }
    }
}

fn run_on_list(
    list: &mut Elements,
    operation: ListOperation,
    stamps: &mut Stamps<'_>,
    lent: &mut Option<LentItem>,
) -> Result<Answer> {
    Ok(match operation {
        ListOperation::Get(index) => value(list.get(index)),
        ListOperation::Put(index, value, when) => {
            let holds = when.holds(Some(list.expect(index)?));
            if holds {
                list.set(index, value, stamps)?;
            }
            Answer::Flag(holds)
        }
        ListOperation::Insert(index, value) => {
            list.insert(index, value, stamps);
            Answer::Done
        }
        ListOperation::Extend(values) => {
            list.extend(values, stamps);
            Answer::Done
        }
        ListOperation::Take(index) => {
            let taken = list.take(index, stamps)?;
            let answer = value(taken.as_ref().map(|(_, entry)| entry));
            *lent = taken.map(|(index, entry)| LentItem::Element(index, entry));
            answer
        }
        ListOperation::Remove(value) => {
            let index = list.find(&value, 0);
            if let Some(index) = index {
                list.take(Some(index), stamps)?;
            }
            Answer::Flag(index.is_some())
        }
        ListOperation::Find(value, from) => Answer::Index(list.find(&value, from)),
        ListOperation::CountEqual(value) => Answer::Number(list.count_equal(&value)),
        ListOperation::Reverse => {
            list.reverse(stamps);
            Answer::Done
        }
        ListOperation::Slice(from, to) => Answer::Values(list.slice(from, to)),
        ListOperation::ReplaceAll(values, stamp) => {
            let holds = stamp == list.stamp();
            if holds {
                list.replace_all(values, stamps);
            }
            Answer::Flag(holds)
        }
    })
}

#[cold]
fn unknown(number: u64) -> Error {
    Error::new(
        ErrorKind::NotFound,
        "use",
        format!("managed object {number}"),
    )
    .with_detail("the manager has no such object")
}

#[cold]
fn wrong_kind(container: &Container, operation: &Operation) -> Error {
    let found = match container {
        Container::Dict(_) => "a dict",
        Container::List(_) => "a list",
        Container::Own(_) => "an object with methods",
    };
    let expected = match operation {
        Operation::Dict(_) => "a dict",
        Operation::List(_) => "a list",
        Operation::Call(_) => "an object with methods",
        _ => "an object that can do this",
    };
    Error::mismatch(
        ErrorKind::WrongKind,
        "use",
        "a managed object",
        found,
        expected,
    )
}

#[cfg(test)]
impl Store {
    pub(crate) fn set_most_threads(&mut self, most: usize) {
        self.most_threads = most;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list in a list in a list, and the token of the outermost.
    fn chain(store: &mut Store, len: usize) -> Token {
        let mut last = None;
        for _ in 0..len {
            let create = Operation::Create(Kind::List);
            let Answer::Created(number, token) = store.run(0, create).0 else {
                panic!("no list")
            };
            let inner = last.replace(token);
            let values = inner.map(|token| Parcel::of(&token).unwrap());
            let extend = ListOperation::Extend(values.into_iter().collect());
            store.run(number, Operation::List(extend));
        }
        last.unwrap()
    }

    #[test]
    fn a_long_chain_is_freed_in_several_sweeps() {
        let mut store = Store::default();
        drop(chain(&mut store, 5));
        for left in (0..5).rev() {
            let swept = store.sweep(Deadline::PASSED).unwrap();
            assert_eq!((swept.freed, swept.is_done), (1, false));
            assert_eq!(store.len(), left);
        }
        assert!(store.sweep(Deadline::PASSED).unwrap().is_done);
    }

    #[test]
    fn a_chain_is_freed_in_one_sweep_if_there_is_time() {
        let mut store = Store::default();
        let token = chain(&mut store, 5);
        assert_eq!(store.sweep(Deadline::NEVER).unwrap().freed, 0);
        drop(token);
        let swept = store.sweep(Deadline::NEVER).unwrap();
        assert_eq!((swept.freed, swept.is_done), (5, true));
    }
}
