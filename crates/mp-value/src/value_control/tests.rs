//! What threads of one process see of the two copies; runs under Miri, too:
//! `MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks" cargo +nightly miri test -p mp-value
//! --lib value_control`. The memory is leaked on purpose: a lock must not be freed.

use mp_layout::{Cells, Region};

use super::*;

#[repr(align(64))]
struct Memory([u64; 8]);

const ROUNDS: u64 = if cfg!(miri) { 6 } else { 20_000 };

fn control() -> &'static ValueControl {
    let memory = Box::leak(Box::new(Memory([0; 8])));
    let region = Region::from_exclusive(&mut memory.0);
    // SAFETY: leaked memory stays, and it is used for nothing else.
    unsafe { region.place_guarded(0) }.expect("64 bytes, aligned to 64")
}

#[test]
fn readers_see_whole_values_in_order() {
    let control = control();
    let mut copies = [0_u64; 8];
    let copies = Cells::<[u64; 4]>::new(Region::from_exclusive(&mut copies)).unwrap();
    let write = || {
        for _ in 0..ROUNDS {
            let held = control.enter(Deadline::NEVER).unwrap();
            let new = control.read(|copy| copies.get(copy))[0] + 1;
            control.commit(|copy| copies.set(copy, [new; 4]));
            drop(held);
        }
    };
    std::thread::scope(|scope| {
        let writers = [(); 2].map(|()| scope.spawn(write));
        let mut last = 0;
        while !writers.iter().all(|writer| writer.is_finished()) {
            let seen = control.read(|copy| copies.get(copy));
            assert_eq!(seen, [seen[0]; 4]);
            assert!(seen[0] >= last, "values do not go back");
            last = seen[0];
        }
    });
    assert_eq!(control.read(|copy| copies.get(copy)), [2 * ROUNDS; 4]);
}
