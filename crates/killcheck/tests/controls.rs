//! Constructions known to break under a kill are caught, and sound ones pass.
#![cfg(target_arch = "x86_64")]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use killcheck::{Check, Failure, SharedArea};

fn area<T: Sync>() -> SharedArea<T> {
    // SAFETY: this file only puts atomics and an UnsafeCell there, for which zero is valid.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

/// The three-state futex mutex of every textbook: sound among the living.
struct FutexLock {
    word: AtomicU32,
    left: AtomicU64,
    right: AtomicU64,
}

impl FutexLock {
    fn lock(&self) {
        let mut seen = self
            .word
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        while seen.is_err() {
            if self.word.swap(2, Ordering::Acquire) == 0 {
                return;
            }
            // SAFETY: the word lives in a mapping; no timeout.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.word.as_ptr(),
                    libc::FUTEX_WAIT,
                    2,
                    0usize,
                )
            };
            seen = Err(2);
        }
    }

    fn unlock(&self) {
        if self.word.swap(0, Ordering::Release) == 2 {
            // SAFETY: the word lives in a mapping.
            unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAKE, 1) };
        }
    }

    fn add(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
        self.right.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_plain_futex_lock_hangs() {
    let report = Check::new("plain futex lock: lock, add, unlock")
        .setup(|lock: &SharedArea<FutexLock>| lock.reset())
        .victim(|lock| {
            lock.lock();
            lock.add();
            lock.unlock();
        })
        .survivor(|lock| {
            lock.lock();
            lock.unlock();
            Ok(())
        })
        .limit(Duration::from_millis(100))
        .stop_after(5)
        .run(&area())
        .expect("the check runs");
    report.assert_caught();
    assert!(
        report
            .findings()
            .iter()
            .all(|f| f.failure == Failure::Hang(Duration::from_millis(100)))
    );
}

/// A robust mutex of the C library, which the kernel unlocks for its dead owner.
struct RobustLock(UnsafeCell<libc::pthread_mutex_t>, AtomicU64, AtomicU64);

// SAFETY: the mutex is made process-shared before anybody else uses it, the rest is atomic.
unsafe impl Sync for RobustLock {}

impl RobustLock {
    fn init(&self) {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: init writes the attributes.
        unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
        // SAFETY: initialised above.
        unsafe { libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), 1) };
        // SAFETY: as above; 1 is PTHREAD_MUTEX_ROBUST.
        unsafe { libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), 1) };
        // SAFETY: nobody uses the mutex yet; the attributes are initialised.
        let made = unsafe { libc::pthread_mutex_init(self.0.get(), attributes.as_ptr()) };
        assert_eq!(made, 0);
    }

    /// Returns whether the last owner died.
    fn lock(&self) -> bool {
        // SAFETY: the mutex is initialised and process-shared.
        let locked = unsafe { libc::pthread_mutex_lock(self.0.get()) };
        assert!([0, libc::EOWNERDEAD].contains(&locked), "error {locked}");
        locked == libc::EOWNERDEAD
    }

    fn recover(&self) {
        // SAFETY: this process has locked the mutex.
        let recovered = unsafe { libc::pthread_mutex_consistent(self.0.get()) };
        assert_eq!(recovered, 0);
    }

    fn unlock(&self) {
        // SAFETY: this process has locked the mutex.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

#[test]
fn a_robust_lock_hands_over_and_tells_of_the_death() {
    Check::new("robust pthread lock: lock, add to two words, unlock")
        .setup(|lock: &SharedArea<RobustLock>| {
            lock.reset();
            lock.init();
        })
        .victim(|lock| {
            lock.lock();
            lock.1.fetch_add(1, Ordering::Relaxed);
            lock.2.fetch_add(1, Ordering::Relaxed);
            lock.unlock();
        })
        .survivor(|lock| {
            let owner_died = lock.lock();
            let torn = lock.1.load(Ordering::Relaxed) != lock.2.load(Ordering::Relaxed);
            if owner_died {
                lock.recover();
            }
            lock.unlock();
            (owner_died || !torn)
                .then_some(())
                .ok_or_else(|| "torn in silence".to_owned())
        })
        .run(&area())
        .expect("the check runs")
        .assert_safe();
}

#[test]
fn two_words_without_a_lock_are_torn() {
    let report = Check::new("two words")
        .setup(|pair: &SharedArea<FutexLock>| pair.reset())
        .victim(|pair| pair.add())
        .invariant(|pair| {
            let (left, right) = (
                pair.left.load(Ordering::Relaxed),
                pair.right.load(Ordering::Relaxed),
            );
            (left == right)
                .then_some(())
                .ok_or_else(|| format!("torn: {left} and {right}"))
        })
        .run(&area())
        .expect("the check runs");
    report.assert_caught();
    assert_eq!(
        report.findings()[0].failure,
        Failure::Violation("torn: 1 and 0".into())
    );
}

#[test]
fn one_atomic_store_is_safe() {
    let report = Check::new("one store")
        .setup(|value: &SharedArea<AtomicU64>| value.reset())
        .victim(|value| value.store(u64::MAX, Ordering::Release))
        .survivor(|value| match value.load(Ordering::Acquire) {
            0 | u64::MAX => Ok(()),
            torn => Err(format!("torn: {torn:#x}")),
        })
        .run(&area())
        .expect("the check runs");
    report.assert_safe();
    assert_eq!(report.missed(), []);
}

const CELLS: u64 = 4;

/// Bounded MPMC queue after Vyukov: a dead producer blocks the consumers behind its cell.
struct Vyukov {
    head: AtomicU64,
    tail: AtomicU64,
    cells: [(AtomicU64, AtomicU64); CELLS as usize],
}

impl Vyukov {
    fn init(&self) {
        for (i, (stamp, _)) in self.cells.iter().enumerate() {
            stamp.store(i as u64, Ordering::Relaxed);
        }
    }

    fn push(&self, value: u64) -> bool {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let (stamp, cell) = &self.cells[(tail % CELLS) as usize];
            if stamp.load(Ordering::Acquire) != tail {
                return false;
            }
            match self
                .tail
                .compare_exchange(tail, tail + 1, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => {
                    cell.store(value, Ordering::Relaxed);
                    stamp.store(tail + 1, Ordering::Release);
                    return true;
                }
                Err(newer) => tail = newer,
            }
        }
    }

    fn pop(&self) -> Option<u64> {
        let head = self.head.load(Ordering::Relaxed);
        let (stamp, cell) = &self.cells[(head % CELLS) as usize];
        if stamp.load(Ordering::Acquire) != head + 1 {
            return None;
        }
        let value = cell.load(Ordering::Relaxed);
        self.head.store(head + 1, Ordering::Relaxed);
        stamp.store(head + CELLS, Ordering::Release);
        Some(value)
    }
}

#[test]
fn a_vyukov_ring_loses_what_a_survivor_pushed() {
    let report = Check::new("Vyukov ring: push")
        .setup(|ring: &SharedArea<Vyukov>| {
            ring.reset();
            ring.init();
        })
        .victim(|ring| {
            ring.push(1);
        })
        .survivor(|ring| {
            assert!(ring.push(2), "there is room for two");
            match (ring.pop(), ring.pop()) {
                (Some(1), Some(2)) | (Some(2), None) => Ok(()),
                other => Err(format!("the survivor's message is lost: {other:?}")),
            }
        })
        .run(&area())
        .expect("the check runs");
    report.assert_caught();
    let lost = Failure::Violation("the survivor's message is lost: (None, None)".into());
    assert!(
        report
            .findings()
            .iter()
            .all(|finding| finding.failure == lost),
        "{report}"
    );
}

/// Bounded SPSC queue: one store commits, and one gives back.
struct Spsc {
    head: AtomicU64,
    tail: AtomicU64,
    cells: [[AtomicU64; 3]; CELLS as usize],
}

impl Spsc {
    fn push(&self, value: u64) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail - self.head.load(Ordering::Acquire) == CELLS {
            return false;
        }
        for word in &self.cells[(tail % CELLS) as usize] {
            word.store(value, Ordering::Relaxed);
        }
        self.tail.store(tail + 1, Ordering::Release);
        true
    }

    fn pop(&self) -> Option<[u64; 3]> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(Ordering::Acquire) {
            return None;
        }
        let cell = &self.cells[(head % CELLS) as usize];
        let value = std::array::from_fn(|i| cell[i].load(Ordering::Relaxed));
        self.head.store(head + 1, Ordering::Release);
        Some(value)
    }
}

#[test]
fn an_spsc_ring_keeps_its_word_when_the_producer_dies() {
    Check::new("SPSC ring: push")
        .setup(|ring: &SharedArea<Spsc>| {
            ring.reset();
            assert!(ring.push(1));
        })
        .victim(|ring| {
            ring.push(2);
        })
        .survivor(|ring| {
            let first = ring.pop();
            let second = ring.pop();
            assert!(ring.push(3), "a new producer finds room");
            match (first, second, ring.pop()) {
                (Some([1, 1, 1]), None | Some([2, 2, 2]), Some([3, 3, 3])) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .run(&area())
        .expect("the check runs")
        .assert_safe();
}

#[test]
fn an_spsc_ring_keeps_its_word_when_the_consumer_dies() {
    Check::new("SPSC ring: pop")
        .setup(|ring: &SharedArea<Spsc>| {
            ring.reset();
            assert!(ring.push(1) && ring.push(2));
        })
        .victim(|ring| {
            ring.pop();
        })
        .survivor(|ring| match (ring.pop(), ring.pop()) {
            (Some([1, 1, 1]), Some([2, 2, 2])) | (Some([2, 2, 2]), None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .run(&area())
        .expect("the check runs")
        .assert_safe();
}
