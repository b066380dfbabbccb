//! What one message costs: in one thread, without anybody to wait for, and from one process to
//! another.
//!
//! `cargo run --release -p mp-queue --example message_cost`; with a number of messages, it puts and
//! gets as many plain ones, or with `serde` or `object` after it as many of those, and measures
//! nothing, for `valgrind --tool=callgrind` and `strace -c`.

use std::hint::black_box;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use mp_object::Mutex;
use mp_os::socket;
use mp_queue::{Bytes, Plain, Queue};

const RUNS: usize = 9;

fn main() -> mp_layout::Result<()> {
    if let Some(count) = std::env::args().nth(1).and_then(|count| count.parse().ok()) {
        match std::env::args().nth(2).as_deref() {
            Some("serde") => alternate_serde(&Queue::bounded(4096)?, count),
            Some("object") => alternate_objects(&Queue::new()?, &Mutex::new([0; 1024])?, count),
            _ => alternate(&Queue::plain_bounded(4096)?, count),
        };
        return Ok(());
    }
    println!("nanoseconds per message, median (least to most) of {RUNS} runs\n");
    let bounded = Queue::plain_bounded(4096)?;
    row("bounded, put + get", || alternate(&bounded, 1_000_000));
    let unbounded = Queue::plain()?;
    row("unbounded, put + get", || alternate(&unbounded, 1_000_000));
    let bytes = Queue::<Vec<u8>, Bytes>::bytes_bounded(4096)?;
    let mut got = Vec::new();
    row("bounded, put_bytes + get_bytes_into", || {
        (0..1_000_000_u64).for_each(|n| {
            bytes.put_bytes(&n.to_ne_bytes()).expect("room");
            bytes.get_bytes_into(&mut got).expect("a message");
        });
        1_000_000
    });
    let messages = Queue::<(u64, String)>::bounded(4096)?;
    row("bounded, serde (u64, String)", || {
        alternate_serde(&messages, 300_000)
    });
    objects()?;
    row("bounded, 1000 puts, then 1000 gets", || {
        for _ in 0..1000 {
            (0..1000).for_each(|n| bounded.put(n).expect("room"));
            (0..1000).for_each(|n| assert_eq!(bounded.get().expect("a message"), n));
        }
        1_000_000
    });
    for cpu in [1, 0] {
        row(&format!("bounded, two processes, cpus 0 and {cpu}"), || {
            stream(&bounded, cpu, 1_000_000)
        });
    }
    Ok(())
}

/// An object that is open at the receiver already, beside the bare system calls that pass its
/// descriptor.
fn objects() -> mp_layout::Result<()> {
    let object = Mutex::new([0_u64; 1024])?;
    let queue = Queue::new()?;
    row("an object in a message, put + get", || {
        alternate_objects(&queue, &object, 20_000)
    });
    let (left, right) = socket::pair()?;
    let pass = |descriptors: &[BorrowedFd<'_>]| {
        socket::try_send(&left, &[0; 9], descriptors).expect("room");
        drop(socket::recv(&right, &mut [0; 9]).expect("a message"));
    };
    row("its descriptor, sendmsg + recvmsg + close", || {
        (0..20_000).for_each(|_| pass(&[object.as_fd()]));
        20_000
    });
    let objects = vec![object; 64];
    let many = Queue::new()?;
    row("64 objects in a message, put + get", || {
        for _ in 0..500 {
            many.put(objects.clone()).expect("room");
            drop(many.get().expect("a message"));
        }
        500
    });
    let descriptors: Vec<_> = objects.iter().map(AsFd::as_fd).collect();
    row("64 descriptors, sendmsg + recvmsg + close", || {
        (0..500).for_each(|_| pass(&descriptors));
        500
    });
    Ok(())
}

/// An object that is open here.
fn alternate_objects(
    queue: &Queue<Mutex<[u64; 1024]>>,
    object: &Mutex<[u64; 1024]>,
    count: u64,
) -> u64 {
    for _ in 0..count {
        queue.put(object.clone()).expect("room");
        drop(queue.get().expect("a message"));
    }
    count
}

fn alternate_serde(queue: &Queue<(u64, String)>, count: u64) -> u64 {
    for n in 0..count {
        let text = "twenty-four bytes of text".to_owned();
        queue.put((n, text)).expect("room");
        black_box(queue.get().expect("a message"));
    }
    count
}

fn row(name: &str, mut run: impl FnMut() -> u64) {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let count = run();
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{name:40}{:8.1}  ({:.1} to {:.1})",
        times[RUNS / 2],
        times[0],
        times[RUNS - 1]
    );
}

#[inline(never)]
fn alternate(queue: &Queue<u64, Plain>, count: u64) -> u64 {
    for n in 0..count {
        queue.put(n).expect("room");
        assert_eq!(queue.get().expect("a message"), n);
    }
    count
}

/// Puts here and gets in a forked process.
fn stream(queue: &Queue<u64, Plain>, other_cpu: usize, count: u64) -> u64 {
    // SAFETY: this process has one thread, so the child may do whatever it may.
    let child = unsafe { libc::fork() };
    if child == 0 {
        pin(other_cpu);
        (0..count).for_each(|n| assert_eq!(queue.get().expect("a message"), n));
        // SAFETY: ends the child without what the parent is to do at its exit.
        unsafe { libc::_exit(0) };
    }
    pin(0);
    (0..count).for_each(|n| queue.put(n).expect("open"));
    let mut status = 0;
    // SAFETY: waits for the child just made.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "the other process failed");
    count
}

fn pin(cpu: usize) {
    // SAFETY: all bits zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below the set's 1024.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is as large as stated. On a machine with one processor this fails and changes
    // nothing.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}
