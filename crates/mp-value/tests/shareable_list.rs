//! Lists of items of different types.

#[path = "shared/handles.rs"]
mod handles;

use handles::{kind, twin};
use mp_layout::ErrorKind;
use mp_layout::atomic::{AtomicU64, Ordering};
use mp_testkit::{Forked, UniqueName};
use mp_value::{ListItem, ShareableList};

fn mixed() -> Vec<ListItem> {
    vec![
        "".into(),
        "ends in NULs\0\0".into(),
        "\0 in the middle \0, too".into(),
        "äöü 🦀".into(),
        vec![0_u8; 17].into(),
        i64::MIN.into(),
        f64::INFINITY.into(),
        false.into(),
        ListItem::None,
    ]
}

#[test]
fn items_come_back_whole() {
    let list = ShareableList::new(mixed()).unwrap();
    assert_eq!(list.to_vec().unwrap(), mixed());
    assert_eq!((list.len(), list.is_empty()), (9, false));
    assert_eq!(list.count(&ListItem::None).unwrap(), 1);
    assert_eq!(list.index(&false.into()).unwrap(), Some(7));
    assert_eq!(list.index(&"not there".into()).unwrap(), None);
}

#[test]
fn may_be_empty() {
    let list = ShareableList::new([]).unwrap();
    assert!(list.is_empty() && list.to_vec().unwrap().is_empty());
    assert_eq!(kind(list.get(0)), ErrorKind::InvalidInput);
}

#[test]
fn each_slot_takes_what_its_first_item_had_room_for() {
    let list = ShareableList::new(["".into(), "123456789".into()]).unwrap();
    assert_eq!(
        [0, 1, 2].map(|index| list.capacity(index)),
        [Some(8), Some(16), None]
    );
    list.set(0, "12345678").unwrap();
    list.set(1, "1234567812345678").unwrap();
    let error = list.set(1, "1234567812345678\0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
    assert!(
        error.to_string().contains("17 bytes") && error.to_string().contains("16"),
        "{error}"
    );
    assert_eq!(
        list.get(1).unwrap(),
        "1234567812345678".into(),
        "the old one stays"
    );
    let roomy = ShareableList::with_slots(100, ["".into()]).unwrap();
    roomy.set(0, "x".repeat(104)).unwrap();
    assert_eq!(kind(roomy.set(0, "x".repeat(105))), ErrorKind::WrongSize);
}

#[test]
fn absurd_slots_are_refused() {
    for size in [usize::MAX, isize::MAX as usize, 1 << 62] {
        let refused = kind(ShareableList::with_slots(size, mixed()));
        assert!(
            matches!(
                refused,
                ErrorKind::InvalidInput | ErrorKind::NotEnoughMemory
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn clones_twins_and_names_are_the_same_list() {
    let name = UniqueName::new("list");
    let list = ShareableList::create_named(&name, 20, mixed()).unwrap();
    let opened = ShareableList::open(&name).unwrap();
    assert!(Forked::new(|| twin(&opened).set(0, "from a child").is_ok()).succeeds());
    assert_eq!(list.clone().get(0).unwrap(), "from a child".into());
    assert_eq!(
        kind(ShareableList::create_named(&name, 0, [])),
        ErrorKind::AlreadyExists
    );
    ShareableList::unlink(&name).unwrap();
}

#[test]
fn overwritten_bytes_are_an_error() {
    let list = ShareableList::new(["text".into()]).unwrap();
    // SAFETY: words of the free slot's first copy are reached, as a foreign program may.
    let payload = unsafe { list.object().payload() };
    let head: &AtomicU64 = payload.place(128).unwrap();
    let text: &AtomicU64 = payload.place(136).unwrap();
    for wrong in [6, 4 | 9 << 8, u64::MAX] {
        let before = head.swap(wrong, Ordering::Relaxed);
        assert_eq!(before, 4 | 4 << 8, "the layout is what its module says");
        assert_eq!(kind(list.get(0)), ErrorKind::Corrupt);
        head.store(before, Ordering::Relaxed);
    }
    text.store(0xff, Ordering::Relaxed);
    assert_eq!(kind(list.get(0)), ErrorKind::Corrupt);
}

#[test]
fn overwritten_capacities_are_an_error() {
    for wrong in [0_u64, 9, 1 << 40, !7] {
        let name = UniqueName::new("list-capacity");
        let list = ShareableList::create_named(&name, 0, ["text".into()]).unwrap();
        // SAFETY: a word that never changes is overwritten, as a foreign program may.
        let capacity: &AtomicU64 = unsafe { list.object().payload() }.place(0).unwrap();
        capacity.store(wrong, Ordering::Relaxed);
        assert_eq!(kind(ShareableList::open(&name)), ErrorKind::Corrupt);
        assert_eq!(
            list.get(0).unwrap(),
            "text".into(),
            "handles trust their own copy"
        );
        ShareableList::unlink(&name).unwrap();
    }
}

#[test]
fn readers_never_see_half_of_an_item() {
    let items = ["a".repeat(100), "b".repeat(37)];
    let list = ShareableList::new([items[0].as_str().into()]).unwrap();
    let writer =
        Forked::new(|| (0..2000).all(|round| list.set(0, items[round % 2].as_str()).is_ok()));
    for _ in 0..2000 {
        let ListItem::Text(seen) = list.get(0).unwrap() else {
            panic!("no text")
        };
        assert!(items.contains(&seen), "{seen}");
    }
    assert!(writer.succeeds());
}
