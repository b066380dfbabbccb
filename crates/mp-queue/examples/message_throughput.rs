//! Messages per second from one process to another: queues of plain values, of serde messages and
//! of bytes, a channel, and a pipe.
//!
//! `cargo run --release -p mp-queue --example message_throughput`
//!
//! Each figure is the median of five runs with the fastest and the slowest beside it. The processes
//! are pinned to two processors if there are two.

use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Instant;

use mp_queue::{Bytes, Plain, Queue, channel};

const RUNS: usize = 5;

fn main() -> mp_layout::Result<()> {
    println!("million messages per second, median (slowest to fastest) of {RUNS} runs\n");
    println!("{:34}{:>9}", "", "8 B");
    row("Queue<i64, Plain>", || plain(2_000_000));
    row("Queue<i64, Plain>, bounded(1000)", || {
        plain_bounded(2_000_000)
    });
    row("Queue<i64, Plain>, put_many(64)", || {
        plain_batches(4_000_000)
    });
    row("channel::<i64>(1000)", || through_channel(4_000_000));
    row("Queue<i64>", || serde(2_000_000));
    row("Queue<String>", || strings(2_000_000));
    for size in [8, 64, 1 << 10, 64 << 10] {
        let count = (256_usize << 20)
            .checked_div(size)
            .unwrap_or(0)
            .clamp(20_000, 1_000_000) as u64;
        println!("\n{:34}{:>7} B", "", size);
        row("Queue<Vec<u8>, Bytes>", || bytes(size, count));
        row("Queue<Vec<u8>, Bytes>, bounded(64)", || {
            bytes_bounded(size, count)
        });
        row("pipe, one write and read each", || pipe(size, count));
    }
    Ok(())
}

fn row(name: &str, run: impl Fn() -> mp_layout::Result<f64>) {
    let mut rates: Vec<f64> = (0..RUNS).map(|_| run().expect("a run")).collect();
    rates.sort_by(f64::total_cmp);
    println!(
        "{name:34}{:9.2}  ({:.2} to {:.2})",
        rates[RUNS / 2],
        rates[0],
        rates[RUNS - 1]
    );
}

/// Runs `produce` in a forked process and `consume` in this one; million messages per second.
fn race(count: u64, produce: impl FnOnce(), consume: impl FnOnce()) -> mp_layout::Result<f64> {
    // SAFETY: this process has one thread, so the child may do whatever it may.
    let child = unsafe { libc::fork() };
    if child == 0 {
        pin(1);
        produce();
        // SAFETY: ends the child without what the parent is to do at its exit.
        unsafe { libc::_exit(0) };
    }
    pin(0);
    let start = Instant::now();
    consume();
    let elapsed = start.elapsed();
    let mut status = 0;
    // SAFETY: waits for the child just made.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "the producer failed");
    Ok(count as f64 / elapsed.as_secs_f64() / 1e6)
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

fn plain(count: u64) -> mp_layout::Result<f64> {
    through(Queue::plain()?, count)
}

fn plain_bounded(count: u64) -> mp_layout::Result<f64> {
    through(Queue::plain_bounded(1000)?, count)
}

fn through(queue: Queue<i64, Plain>, count: u64) -> mp_layout::Result<f64> {
    let produce = || (0..count as i64).for_each(|n| queue.put(n).expect("room"));
    let consume = || (0..count as i64).for_each(|n| assert_eq!(queue.get().expect("a message"), n));
    race(count, produce, consume)
}

fn plain_batches(count: u64) -> mp_layout::Result<f64> {
    let queue = Queue::<i64, Plain>::plain()?;
    let numbers: Vec<i64> = (0..count as i64).collect();
    let produce = || {
        for chunk in numbers.chunks(64) {
            queue.put_many(chunk).expect("room");
        }
    };
    let consume = || {
        let mut next = 0;
        while next < count as i64 {
            for message in queue.get_many(64).expect("messages") {
                assert_eq!(message.expect("a number"), next);
                next += 1;
            }
        }
    };
    race(count, produce, consume)
}

fn through_channel(count: u64) -> mp_layout::Result<f64> {
    let (mut sender, mut receiver) = channel(1000)?;
    let produce = || (0..count as i64).for_each(|n| sender.send(n).expect("room"));
    let consume =
        || (0..count as i64).for_each(|n| assert_eq!(receiver.recv().expect("a value"), n));
    race(count, produce, consume)
}

fn serde(count: u64) -> mp_layout::Result<f64> {
    let queue = Queue::<i64>::new()?;
    let produce = || (0..count as i64).for_each(|n| queue.put(n).expect("room"));
    let consume = || (0..count as i64).for_each(|n| assert_eq!(queue.get().expect("a message"), n));
    race(count, produce, consume)
}

fn strings(count: u64) -> mp_layout::Result<f64> {
    let queue = Queue::<String>::new()?;
    let produce = || (0..count).for_each(|_| queue.put("hello 8!".to_owned()).expect("room"));
    let consume = || (0..count).for_each(|_| assert_eq!(queue.get().expect("a message").len(), 8));
    race(count, produce, consume)
}

fn bytes(size: usize, count: u64) -> mp_layout::Result<f64> {
    bytes_through(Queue::bytes()?, size, count)
}

fn bytes_bounded(size: usize, count: u64) -> mp_layout::Result<f64> {
    bytes_through(Queue::bytes_bounded(64)?, size, count)
}

fn bytes_through(queue: Queue<Vec<u8>, Bytes>, size: usize, count: u64) -> mp_layout::Result<f64> {
    let message = vec![7; size];
    let produce = || (0..count).for_each(|_| queue.put_bytes(&message).expect("room"));
    let consume = || {
        let mut got = Vec::with_capacity(size);
        for _ in 0..count {
            queue.get_bytes_into(&mut got).expect("a message");
            assert_eq!(got.len(), size);
        }
    };
    race(count, produce, consume)
}

fn pipe(size: usize, count: u64) -> mp_layout::Result<f64> {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    let made = unsafe { libc::pipe(ends.as_mut_ptr()) };
    assert_eq!(made, 0, "a pipe");
    let [reader, writer] = ends.map(|end| {
        // SAFETY: just made, and owned by nobody else.
        std::fs::File::from(unsafe { OwnedFd::from_raw_fd(end) })
    });
    let message = vec![7; size];
    let produce = || (0..count).for_each(|_| (&writer).write_all(&message).expect("a reader"));
    let consume = || {
        let mut got = vec![0; size];
        for _ in 0..count {
            (&reader).read_exact(&mut got).expect("a writer");
        }
    };
    race(count, produce, consume)
}
