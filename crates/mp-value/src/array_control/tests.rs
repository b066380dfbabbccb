//! Giving a chunk back, killed on the way.

use killcheck::{Check, ErrorKind as Refusal};
use mp_layout::PlainSlice;
use mp_testkit::not_checked;

use super::*;
use crate::Array;

fn give_back<T: PlainSlice>(array: &Array<T>, owner: ProcessIdentity) {
    let memory = array.memory();
    memory.control().give_back(memory.partition(), 0, owner);
}

/// The owner of the chunk is this process, on whose behalf the victim gives it back: sleepers must
/// be there before it begins.
#[test]
fn all_who_wait_for_the_whole_wake_wherever_the_chunks_owner_dies() {
    if !mp_os::robust::supported() {
        return not_checked("the bell of chunks given back needs a robust list");
    }
    let me = this_process().unwrap();
    let check = Check::new("Chunk: drop; two wait for the whole")
        .setup(|array: &Array<u64>| {
            give_back(array, me);
            std::mem::forget(array.chunks(2).unwrap().claim(0).unwrap());
        })
        .sleepers(2, |array| drop(array.lock().unwrap()))
        .victim(|array| give_back(array, me))
        .must_wake(|array| array.chunks(2).unwrap().owner(0).is_none())
        .survivor(|array| {
            give_back(array, me);
            array.set(0, 1).map_err(|error| error.to_string())
        })
        .max_points(200)
        .without_timeouts();
    match check.run(&Array::new(4).unwrap()) {
        Ok(report) => report.assert_safe(),
        Err(error) => {
            let unsupported = [Refusal::Unsupported, Refusal::TraceRefused];
            assert!(unsupported.contains(&error.kind()), "{error}");
            not_checked(&error.to_string());
        }
    }
}
