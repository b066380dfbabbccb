//! Bounds and alignment of what is overlaid on borrowed memory.

use mp_layout::atomic::{AtomicU8, AtomicU64, Ordering};
use mp_layout::{ErrorKind, Padded, Region};
use proptest::prelude::*;

#[test]
fn places_alias_the_same_bytes() {
    let mut words = [0; 2];
    let region = Region::from_exclusive(&mut words);
    region
        .place::<AtomicU64>(8)
        .unwrap()
        .store(0x0102, Ordering::Relaxed);
    let bytes = region.place_slice::<AtomicU8>(8, 2).unwrap();
    assert_eq!(bytes[0].load(Ordering::Relaxed), 2);
    assert_eq!(bytes[1].load(Ordering::Relaxed), 1);
}

#[test]
fn misaligned_places_are_refused() {
    let mut words = [0; 4];
    let region = Region::from_exclusive(&mut words);
    assert_eq!(
        region.place::<AtomicU64>(4).unwrap_err().kind(),
        ErrorKind::WrongSize
    );
    assert!(
        region.place::<Padded<AtomicU64>>(0).is_err(),
        "shorter than a padded word"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_place_reaches_past_its_region(offset: usize, count: usize, small in 0_usize..200) {
        let mut words = [0; 16];
        let region = Region::from_exclusive(&mut words);
        for (offset, count) in [(offset, count), (small, count), (offset, small), (small, small)] {
            let fits = offset.checked_add(count).is_some_and(|end| end <= 128);
            prop_assert_eq!(region.place_slice::<AtomicU8>(offset, count).is_ok(), fits);
            prop_assert_eq!(region.subregion(offset, count).is_ok(), fits);
        }
    }
}
