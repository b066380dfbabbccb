//! Operations killed at every instruction: what the survivors find.
//!
//! In a debug build the points are thinned out; `cargo test --release` kills at each.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use killcheck::{Check, ErrorKind as Refusal};
use mp_layout::{ErrorKind, Result};
use mp_object::transfer;
use mp_sync::LockError;
use mp_testkit::{Forked, UniqueName};
use mp_value::{Array, FrozenNdArray, ListItem, NdArray, ShareableList, Value};
use serde::de::DeserializeOwned;

/// Kill points per operation. Without the robust list each kill of a holder costs its survivor 100
/// ms.
fn most_points() -> usize {
    if std::env::var_os("MP_FORCE_FALLBACK").is_some() {
        40
    } else if cfg!(debug_assertions) {
        400
    } else {
        usize::MAX
    }
}

/// Pairs of points, of the victim and of the recoverer, at which both are killed.
const MOST_PAIRS: usize = 1000;

/// Points of an operation of 44 000 instructions, nearly all of which prepare a system call, and of
/// one of 200 000.
const MOST_OF_MANY: usize = 200;
const MOST_OF_VERY_MANY: usize = 40;

/// Carries `check` out and expects no finding, where the platform allows it at all.
#[track_caller]
fn expect_safe<M>(check: Check<'_, M>, memory: &M) {
    expect_safe_at(most_points(), check, memory);
}

/// The same with a recoverer, whose points multiply the victim's.
#[track_caller]
fn expect_safe_pairs<M>(check: Check<'_, M>, memory: &M) {
    expect_safe_at(most_points().min(MOST_PAIRS), check, memory);
}

#[track_caller]
fn expect_safe_at<M>(points: usize, check: Check<'_, M>, memory: &M) {
    match check.max_points(points).run(memory) {
        Ok(report) => {
            println!("{report}");
            report.assert_safe();
        }
        Err(error) => {
            assert_eq!(error.kind(), Refusal::Unsupported, "{error}");
            mp_testkit::not_checked(&error.to_string());
        }
    }
}

/// Why the instructions that read about processes in `/proc` are not always the same.
const NEVER_THE_SAME: &str = "the text that /proc has on a process is never the same twice";

/// A first lock, of something else: with it a process learns who it is from `/proc`, once in its
/// life, which takes 6000 instructions.
fn know_oneself<M>() -> impl Fn(&M) {
    let other = Array::<u64>::new(1).unwrap();
    move |_| drop(other.lock().unwrap())
}

/// [`know_oneself`], and blocks of the sizes that a claim over a dead one allocates in an array of
/// `words`, so that the allocator has them at hand: otherwise its state, which no two processes
/// have the same, decides the way through it.
fn know_oneself_and_have_memory<M>(words: usize) -> impl Fn(&M) {
    let know_oneself = know_oneself();
    move |memory| {
        know_oneself(memory);
        let owners = Vec::<(usize, u64)>::with_capacity(4);
        drop(std::hint::black_box((owners, vec![1_u64; words])));
    }
}

fn text<T>(result: Result<T>) -> std::result::Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn expect(truth: bool, otherwise: impl FnOnce() -> String) -> std::result::Result<(), String> {
    if truth { Ok(()) } else { Err(otherwise()) }
}

/// Makes the array whole after whatever happened to it.
fn heal(array: &Array<u64>, element: u64) {
    let mut all = array.lock().or_else(LockError::into_guard).unwrap();
    all.fill(element);
    all.recover();
}

const OLD: [u64; 6] = [1; 6];
const NEW: [u64; 6] = [2; 6];

fn value_is_whole(value: &Value<[u64; 6]>) -> std::result::Result<(), String> {
    let seen = value.get();
    expect(seen == OLD || seen == NEW, || format!("torn: {seen:?}"))?;
    text(value.update(|_| [3; 6]))?;
    text(value.set([4; 6]))?;
    expect(value.get() == [4; 6], || {
        format!("not replaced: {:?}", value.get())
    })
}

#[test]
fn a_value_is_set_at_once() {
    let check = Check::new("Value::set")
        .setup(|value: &Value<_>| value.set(OLD).unwrap())
        .victim(|value| value.set(NEW).unwrap())
        .survivor(value_is_whole);
    expect_safe(check, &Value::new(OLD).unwrap());
}

#[test]
fn a_values_guard_writes_at_once() {
    let check = Check::new("Value::lock, change, drop")
        .setup(|value: &Value<_>| value.set(OLD).unwrap())
        .victim(|value| {
            let mut guard = value.lock().unwrap();
            for word in guard.iter_mut() {
                *word += 1;
            }
        })
        .survivor(value_is_whole);
    expect_safe(check, &Value::new(OLD).unwrap());
}

#[test]
fn a_lists_item_is_set_at_once() {
    let (old, new) = (
        ListItem::from("the old text, of several words"),
        ListItem::from("new"),
    );
    let check = Check::new("ShareableList::set")
        .setup(|list: &ShareableList| list.set(1, old.clone()).unwrap())
        .victim(|list| list.set(1, new.clone()).unwrap())
        .survivor(|list| {
            let seen = text(list.get(1))?;
            expect(seen == old || seen == new, || format!("torn: {seen:?}"))?;
            text(list.set(1, 7))?;
            let all = text(list.to_vec())?;
            expect(all == [1.into(), 7.into()], || format!("{all:?}"))
        });
    let list = ShareableList::new([1.into(), old.clone()]).unwrap();
    expect_safe(check, &list);
}

fn array_filled(name: &'static str) -> Check<'static, Array<u64>> {
    Check::new(name)
        .setup(|array: &Array<u64>| heal(array, 1))
        .victim(|array| array.lock().unwrap().fill(2))
        .survivor(|array| match array.lock() {
            Ok(all) => expect(all[..] == OLD || all[..] == NEW, || {
                format!("hidden: {all:?}")
            }),
            Err(LockError::OwnerDied(mut all)) => {
                all.recover();
                drop(all);
                text(array.set(0, 5))?;
                text(array.lock().map(drop).map_err(Into::into))
            }
            Err(error) => Err(error.to_string()),
        })
}

#[test]
fn an_arrays_half_written_slice_is_told() {
    let check = array_filled("Array::lock, fill, drop").warm_up(know_oneself());
    expect_safe(check, &Array::from_slice(&OLD).unwrap());
}

#[test]
fn the_first_lock_in_a_processs_life_is_safe() {
    let check = array_filled("Array::lock, fill, drop, the first of a process")
        .stride(13)
        .allow_missed(0.05, NEVER_THE_SAME);
    expect_safe(check, &Array::from_slice(&OLD).unwrap());
}

#[test]
fn an_element_of_several_pieces_is_whole_or_told() {
    let check = Check::new("Array::set of [u32; 3]")
        .setup(|array: &Array<[u32; 3]>| {
            let mut all = array.lock().or_else(LockError::into_guard).unwrap();
            all[0] = [1; 3];
            all.recover();
        })
        .warm_up(know_oneself())
        .victim(|array| array.set(0, [2; 3]).unwrap())
        .survivor(|array| match array.get(0) {
            Ok(seen) => expect(seen == [1; 3] || seen == [2; 3], || {
                format!("torn: {seen:?}")
            }),
            Err(error) => expect(error.kind() == ErrorKind::OwnerDied, || error.to_string()),
        });
    expect_safe(check, &Array::<[u32; 3]>::new(1).unwrap());
}

#[test]
fn a_claim_is_swept_wherever_its_process_dies() {
    let check = Check::new("Chunks::claim")
        .setup(|array: &Array<u64>| heal(array, 1))
        .warm_up(know_oneself())
        .victim(|array| std::mem::forget(array.chunks(2).unwrap().claim(1).unwrap()))
        .survivor(|array| {
            let chunks = text(array.chunks(2))?;
            let swept: Vec<_> = text(chunks.sweep())?
                .iter()
                .map(|(index, _)| *index)
                .collect();
            expect(swept.is_empty() || swept == [1], || {
                format!("swept {swept:?}")
            })?;
            let chunk = text(chunks.claim(1))?.claimed().ok_or("still taken")?;
            expect(chunk.abandoned_by().is_none(), || "told twice".into())?;
            drop(chunk);
            text(array.set(3, 7))
        });
    expect_safe(check, &Array::from_slice(&OLD).unwrap());
}

#[test]
fn a_half_written_chunk_is_told() {
    let check = Check::new("Chunks::claim, fill, drop")
        .setup(|array: &Array<u64>| heal(array, 1))
        .warm_up(know_oneself())
        .victim(|array| {
            let mut chunk = array
                .chunks(6)
                .unwrap()
                .claim(0)
                .unwrap()
                .claimed()
                .unwrap();
            chunk.fill(2);
        })
        .survivor(|array| {
            let chunk = text(text(array.chunks(6))?.claim(0))?
                .claimed()
                .ok_or("still taken")?;
            let is_whole = chunk[..] == OLD || chunk[..] == NEW;
            expect(is_whole || chunk.abandoned_by().is_some(), || {
                format!("hidden: {chunk:?}")
            })
        });
    expect_safe(check, &Array::from_slice(&OLD).unwrap());
}

#[test]
fn no_death_is_forgotten_by_who_takes_over_in_another_length() {
    let check = Check::new("Chunks::claim over a dead claim of another length")
        .setup(|array: &Array<u64>| {
            heal(array, 1);
            // Elements 4..8, which chunks 1 and 2 of three elements touch.
            Forked::holding(|| array.chunks(4).unwrap().claim(1).unwrap()).kill_and_reap();
        })
        .warm_up(know_oneself_and_have_memory(12))
        .victim(|array| std::mem::forget(array.chunks(3).unwrap().claim(2).unwrap()))
        .survivor(|array| {
            let threes = text(array.chunks(3))?;
            for index in [1, 2] {
                let chunk = text(threes.claim(index))?.claimed().ok_or("still taken")?;
                expect(chunk.abandoned_by().is_some(), || {
                    format!("chunk {index} was forgotten")
                })?;
            }
            expect(text(threes.claim(0))?.claimed().is_some(), || {
                "still taken".into()
            })
        });
    expect_safe(check, &Array::<u64>::new(12).unwrap());
}

#[test]
fn no_death_is_forgotten_by_who_comes_back_to_the_first_length() {
    let check = Check::new("Chunks::claim over a dead claim of a smaller length")
        .setup(|array: &Array<u64>| {
            heal(array, 1);
            // Elements 8..12, in the first twelve of which the victim begins a chunk of its own.
            Forked::holding(|| array.chunks(4).unwrap().claim(2).unwrap()).kill_and_reap();
        })
        .warm_up(know_oneself_and_have_memory(24))
        .victim(|array| std::mem::forget(array.chunks(12).unwrap().claim(0).unwrap()))
        .survivor(|array| {
            let fours = text(array.chunks(4))?;
            let chunk = text(fours.claim(2))?.claimed().ok_or("still taken")?;
            expect(chunk.abandoned_by().is_some(), || "forgotten".into())
        });
    expect_safe(check, &Array::<u64>::new(24).unwrap());
}

#[test]
fn a_value_survives_who_recovers_it() {
    let check = Check::new("Value::lock, change, drop; recovered by another")
        .setup(|value: &Value<_>| value.set(OLD).unwrap())
        .victim(|value| value.lock().unwrap().fill(2))
        .recoverer(|value| value.lock().unwrap().fill(2))
        .survivor(value_is_whole);
    expect_safe_pairs(check, &Value::new(OLD).unwrap());
}

#[test]
fn a_half_written_chunk_is_told_when_its_next_owner_dies_too() {
    let claim_and_fill = |array: &Array<u64>, chunk_len, index| {
        let chunks = array.chunks(chunk_len).unwrap();
        let mut chunk = chunks.claim(index).unwrap().claimed().unwrap();
        chunk.fill(2);
    };
    let check = Check::new("Chunks::claim, fill, drop; claimed in another length by another")
        .setup(|array: &Array<u64>| heal(array, 1))
        .warm_up(know_oneself())
        .victim(move |array| claim_and_fill(array, 6, 0))
        .recoverer(|array| std::mem::forget(array.chunks(4).unwrap().claim(0).unwrap()))
        .survivor(|array| {
            let before = text(array.to_vec()).or_else(|error| {
                expect(error.contains("claimed"), || error).map(|()| Vec::new())
            })?;
            let chunks = text(array.chunks(3))?;
            for index in [0, 1] {
                let chunk = text(chunks.claim(index))?.claimed().ok_or("still taken")?;
                expect(
                    before == OLD || before == NEW || chunk.abandoned_by().is_some(),
                    || format!("hidden in chunk {index}: {before:?}"),
                )?;
            }
            Ok(())
        });
    expect_safe_pairs(check, &Array::from_slice(&OLD).unwrap());
}

#[test]
fn a_half_written_array_is_told_when_its_recoverer_dies() {
    let check = array_filled("Array::lock, fill, drop; recovered by another")
        .warm_up(know_oneself())
        .recoverer(|array| match array.lock() {
            Ok(mut all) => all.fill(2),
            Err(LockError::OwnerDied(mut all)) => {
                all.fill(2);
                all.recover();
            }
            Err(error) => panic!("{error}"),
        });
    expect_safe_pairs(check, &Array::from_slice(&OLD).unwrap());
}

#[test]
fn an_array_is_frozen_at_once() {
    let check = Check::new("Array::freeze")
        .setup(|array: &RefCell<Array<u64>>| {
            *array.borrow_mut() = Array::from_slice(&OLD).unwrap();
        })
        .warm_up(know_oneself())
        .victim(|array| drop(array.borrow().freeze().unwrap()))
        .survivor(|array| {
            let array = array.borrow();
            expect(array.is_frozen() == array.set(0, 1).is_err(), || {
                "half frozen".into()
            })?;
            text(array.freeze()).and_then(|all| expect(all[..] == OLD, || format!("{all:?}")))
        });
    expect_safe(check, &RefCell::new(Array::from_slice(&OLD).unwrap()));
}

/// A name is whole, or free for the next one; what the dead creator had locked is free.
#[test]
fn a_named_nd_array_is_whole_or_not_there() {
    let check = Check::new("NdArray::create_named")
        .setup(|name: &UniqueName| {
            if let Err(error) = NdArray::<u64>::unlink(name) {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            }
        })
        .warm_up(|_| drop(NdArray::<u64>::zeros(&[2, 3]).unwrap()))
        .victim(|name| std::mem::forget(NdArray::<u64>::create_named(name, &[2, 3]).unwrap()))
        .survivor(|name| {
            let array = match NdArray::<u64>::open(name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    text(NdArray::create_named(name, &[2, 3]))
                }
                opened => text(opened),
            }?;
            let elements = text(array.flat().to_vec())?;
            expect(array.shape() == [2, 3] && elements == [0; 6], || {
                format!("{array:?}: {elements:?}")
            })?;
            text(array.set(&[1, 2], 7))
        })
        .allow_missed(0.05, NEVER_THE_SAME);
    let name = UniqueName::new("kill-nd");
    expect_safe_at(most_points().min(MOST_OF_MANY), check, &name);
}

/// An array that no process has mapped: its handle as it is passed on.
struct Sent {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Sent {
    fn new() -> Self {
        let array = NdArray::from_slice(&[2, 3], &OLD).unwrap();
        let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&array));
        let bytes = bytes.unwrap();
        Self { bytes, descriptors }
    }

    fn received<H: DeserializeOwned>(&self, bytes: &[u8]) -> std::result::Result<H, String> {
        let copies = self.descriptors.iter().map(|one| one.try_clone().unwrap());
        let (handle, refused) =
            transfer::incoming_or_why(copies.collect(), || postcard::from_bytes(bytes));
        handle.map_err(|error| refused.map_or(error.to_string(), |why| why.to_string()))
    }

    fn array(&self) -> std::result::Result<NdArray<u64>, String> {
        self.received(&self.bytes)
    }

    /// The first descriptor is that of the elements, which is all that a frozen array has.
    fn frozen(&self) -> std::result::Result<FrozenNdArray<u64>, String> {
        self.received(&postcard::to_stdvec(&Some(0_u32)).unwrap())
    }
}

#[test]
fn an_nd_array_is_frozen_at_once() {
    type Stage = (RefCell<Sent>, RefCell<Option<NdArray<u64>>>);
    let check = Check::new("NdArray::freeze")
        .setup(|(sent, _): &Stage| drop(sent.replace(Sent::new())))
        .warm_up(|(sent, handle)| {
            let other = NdArray::<u64>::zeros(&[2, 3]).unwrap();
            drop(other.freeze().unwrap());
            *handle.borrow_mut() = Some(sent.borrow().array().unwrap());
        })
        .victim(|(_, handle)| {
            let array = handle.take().unwrap();
            std::mem::forget(array.freeze().unwrap());
        })
        .survivor(|(sent, _)| {
            let sent = sent.borrow();
            if let Ok(frozen) = sent.frozen() {
                expect(sent.array().is_err(), || {
                    "frozen, and can be written".into()
                })?;
                return expect(frozen[..] == OLD, || format!("{:?}", frozen.to_vec()));
            }
            let array = sent.array()?;
            let elements = text(array.flat().to_vec())?;
            expect(elements == OLD, || format!("{elements:?}"))?;
            text(array.set(&[1, 2], 7))?;
            let frozen = text(array.freeze().map_err(Into::into))?;
            expect(frozen[5] == 7, || format!("{:?}", frozen.to_vec()))
        })
        .allow_missed(0.05, NEVER_THE_SAME);
    let stage = (RefCell::new(Sent::new()), RefCell::new(None));
    expect_safe_at(most_points().min(MOST_OF_VERY_MANY), check, &stage);
}
