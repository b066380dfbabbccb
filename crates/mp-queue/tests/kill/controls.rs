//! Controls that must fail: a lock that does not know its owner, a commit without the bell.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use killcheck::{Check, SharedArea};
use mp_layout::Region;
use mp_os::clock::Deadline;
use mp_queue::Wait;
use mp_ring::ByteRing;
use mp_sync::EventCount;

/// A ring behind a lock that does not know its owner.
struct PlainlyLocked {
    lock: AtomicU32,
    memory: [AtomicU64; 256],
}

impl PlainlyLocked {
    fn put(&self, bytes: &[u8]) {
        while self.lock.swap(1, Ordering::Acquire) != 0 {
            std::thread::yield_now();
        }
        self.ring(|ring| {
            // SAFETY: under the lock.
            let mut producer = unsafe { ring.locked_producer() }.expect("a ring");
            producer.push(bytes).expect("room");
        });
        self.lock.store(0, Ordering::Release);
    }

    fn ring(&self, with: impl FnOnce(ByteRing<'_>)) {
        let start = self.memory.as_ptr().cast_mut().cast::<u8>();
        let skipped = start.align_offset(128);
        let start = std::ptr::NonNull::new(start.wrapping_add(skipped)).expect("an address");
        // SAFETY: part of the memory, which is reached as a ring only.
        let region = unsafe { Region::new(start, size_of_val(&self.memory) - 128) };
        // SAFETY: as above.
        match unsafe { ByteRing::attach(region) } {
            Ok(ring) => with(ring),
            // SAFETY: as above; the set-up comes here first.
            Err(_) => with(unsafe { ByteRing::create(region, 1024, None) }.expect("it fits")),
        }
    }
}

#[test]
fn a_lock_that_does_not_know_its_owner_is_caught() {
    // SAFETY: atomics only, for which zero is valid.
    let area = unsafe { SharedArea::<PlainlyLocked>::zeroed() }.expect("a page");
    Check::new("put under a plain lock")
        .setup(|queue: &SharedArea<PlainlyLocked>| {
            queue.reset();
            queue.ring(|_| ());
        })
        .victim(|queue| queue.put(b"victim"))
        .survivor(|queue| {
            queue.put(b"survivor");
            Ok(())
        })
        .stop_after(1)
        .assert_caught(&area);
}

/// A word to wait for, whose setter does not begin the bell.
struct Bell {
    count: EventCount,
    word: AtomicU32,
}

#[test]
fn a_commit_without_the_bell_is_caught() {
    // SAFETY: atomics only, for which zero is valid.
    let area = unsafe { SharedArea::<Bell>::zeroed() }.expect("a page");
    let deadline = Deadline::NEVER;
    Check::new("commit and notify without the bell")
        .setup(|bell: &SharedArea<Bell>| bell.reset())
        .victim(|bell| {
            bell.word.store(1, Ordering::Release);
            bell.count.notify(1);
        })
        .sleeper(|bell| {
            let is_set = || (bell.word.load(Ordering::Acquire) == 1).then_some(());
            bell.count.wait_until(Wait::Sleep, deadline, is_set);
        })
        .must_wake(|bell| bell.word.load(Ordering::Acquire) == 1)
        .survivor(|bell| {
            bell.word.store(1, Ordering::Release);
            bell.count.notify(1);
            Ok(())
        })
        .without_timeouts()
        .stop_after(1)
        .assert_caught(&area);
}
