//! What a lock pays for its place on the robust list, beside the two atomic operations on its word.
//!
//! `cargo run --release -p mp-os --example robust_cost`

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mp_os::robust::{self, Node, ThreadList};

const ROUNDS: u32 = 10_000_000;

/// Links and unlinks, each inside an operation, and fetches the context for each as a lock does.
fn list_only(lock: &Node) {
    let Some(thread) = robust::current() else {
        return;
    };
    // SAFETY: `lock` outlives the loop that calls this.
    let op = unsafe { thread.begin(&lock.links) };
    // SAFETY: not linked, room for one, inside its operation; the word's owner does not matter
    // while no thread dies.
    unsafe { thread.link(&lock.links) };
    drop(op);
    unlink(lock);
}

fn unlink(lock: &Node) {
    let Some(thread) = robust::current() else {
        return;
    };
    // SAFETY: `lock` outlives the loop that calls this.
    let op = unsafe { thread.begin(&lock.links) };
    // SAFETY: linked by this thread, inside its operation.
    unsafe { thread.unlink(&lock.links) }.expect("linked just before");
    drop(op);
}

/// A whole uncontended lock and unlock.
fn lock_and_unlock(lock: &Node) {
    let Some(thread) = robust::current() else {
        return;
    };
    acquire(lock, thread);
    let Some(thread) = robust::current() else {
        return;
    };
    // SAFETY: `lock` outlives the loop that calls this.
    let op = unsafe { thread.begin(&lock.links) };
    // SAFETY: linked by this thread, inside its operation.
    unsafe { thread.unlink(&lock.links) }.expect("linked just before");
    assert_eq!(lock.word.swap(0, Ordering::Release), thread.tid());
    drop(op);
}

fn acquire(lock: &Node, thread: ThreadList) {
    assert!(thread.has_room());
    // SAFETY: `lock` outlives the loop that calls this.
    let op = unsafe { thread.begin(&lock.links) };
    lock.word
        .compare_exchange(0, thread.tid(), Ordering::Acquire, Ordering::Relaxed)
        .expect("nobody else locks it");
    // SAFETY: the word names this thread, not linked, room for one, inside its operation.
    unsafe { thread.link(&lock.links) };
    drop(op);
}

fn measure(name: &str, mut work: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
    println!("{name:<36} {best:6.2} ns");
}

fn main() {
    if !robust::supported() {
        println!("no robust list here");
        return;
    }
    let lock = Node::default();
    measure("begin+link+end, begin+unlink+end", || {
        list_only(black_box(&lock));
    });
    measure("the same with the word: lock+unlock", || {
        lock_and_unlock(black_box(&lock));
    });
    let standard = std::sync::Mutex::new(());
    measure("std::sync::Mutex lock+unlock", || {
        drop(black_box(&standard).lock());
    });
    measure("current()", || {
        black_box(robust::current().map(ThreadList::tid));
    });
}
