//! Round trips of 8 bytes between two processes, over two channels, against the least that the
//! machine allows.
//!
//! `cargo run --release -p mp-queue --example round_trip`

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use mp_layout::Padded;
use mp_os::clock::Deadline;
use mp_queue::{Plain, Queue, Receiver, Sender, Wait, channel};

const RUNS: usize = 7;

fn main() -> mp_layout::Result<()> {
    println!("nanoseconds per round trip, median (least to most) of {RUNS} runs\n");
    println!("on two processors");
    let least = row("two lines, spinning", 1, 200_000, lines);
    let spin = row("channels, Wait::Spin", 1, 200_000, |cpu, n| {
        channels(Wait::Spin, cpu, n)
    });
    let adaptive = row("channels, default", 1, 200_000, |cpu, n| {
        channels(Wait::Adaptive, cpu, n)
    });
    let queues = row("Queue<u64, Plain>, default", 1, 100_000, queues);
    println!(
        "ratios to the two lines: {:.2}, {:.2}, {:.2}\n",
        spin / least,
        adaptive / least,
        queues / least
    );
    println!("on one processor");
    let futex = row("raw futex", 0, 20_000, futexes);
    let adaptive = row("channels, default", 0, 20_000, |cpu, n| {
        channels(Wait::Adaptive, cpu, n)
    });
    let queues = row("Queue<u64, Plain>, default", 0, 20_000, self::queues);
    println!(
        "ratios to the futex: {:.2}, {:.2}",
        adaptive / futex,
        queues / futex
    );
    Ok(())
}

fn row(name: &str, other_cpu: usize, count: u64, run: impl Fn(usize, u64) -> f64) -> f64 {
    let mut times: Vec<f64> = (0..RUNS).map(|_| run(other_cpu, count)).collect();
    times.sort_by(f64::total_cmp);
    let median = times[RUNS / 2];
    println!(
        "{name:34}{median:9.0}  ({:.0} to {:.0})",
        times[0],
        times[RUNS - 1]
    );
    median
}

/// Runs `answer` in a forked process and `ask` in this one; nanoseconds per round.
fn race(other_cpu: usize, count: u64, answer: impl FnOnce(), ask: impl FnOnce()) -> f64 {
    // SAFETY: this process has one thread, so the child may do whatever it may.
    let child = unsafe { libc::fork() };
    if child == 0 {
        pin(other_cpu);
        answer();
        // SAFETY: ends the child without what the parent is to do at its exit.
        unsafe { libc::_exit(0) };
    }
    pin(0);
    let start = Instant::now();
    ask();
    let elapsed = start.elapsed();
    let mut status = 0;
    // SAFETY: waits for the child just made.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "the other process failed");
    elapsed.as_nanos() as f64 / count as f64
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

fn channels(wait: Wait, other_cpu: usize, count: u64) -> f64 {
    let ends = || -> (Sender<u64>, Receiver<u64>) {
        let (sender, receiver) = channel(64).expect("a channel");
        (sender.with_wait(wait), receiver.with_wait(wait))
    };
    let ((mut ask, mut asked), (mut answer, mut answered)) = (ends(), ends());
    race(
        other_cpu,
        count,
        || {
            for _ in 0..count {
                let value = asked.recv().expect("a question");
                answer.send(value).expect("room");
            }
        },
        || {
            for n in 0..count {
                ask.send(n).expect("room");
                assert_eq!(answered.recv().expect("an answer"), n);
            }
        },
    )
}

fn queues(other_cpu: usize, count: u64) -> f64 {
    let queue = || Queue::<u64, Plain>::plain().expect("a queue");
    let (questions, answers) = (queue(), queue());
    race(
        other_cpu,
        count,
        || {
            for _ in 0..count {
                let value = questions.get().expect("a question");
                answers.put(value).expect("room");
            }
        },
        || {
            for n in 0..count {
                questions.put(n).expect("room");
                assert_eq!(answers.get().expect("an answer"), n);
            }
        },
    )
}

/// Memory that a forked process shares.
fn shared<T>() -> &'static T {
    // SAFETY: a new anonymous mapping, never unmapped.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<T>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED);
    let start = NonNull::new(start.cast::<T>()).expect("not null");
    // SAFETY: zeroed and large enough; this file keeps nothing but atomics there.
    unsafe { start.as_ref() }
}

fn lines(other_cpu: usize, count: u64) -> f64 {
    let [there, back] = shared::<[Padded<AtomicU64>; 2]>();
    there.store(0, Ordering::Relaxed);
    let until = |word: &AtomicU64, value| {
        while word.load(Ordering::Acquire) != value {
            std::hint::spin_loop();
        }
    };
    race(
        other_cpu,
        count,
        || {
            for n in 1..=count {
                until(there, n);
                back.store(n, Ordering::Release);
            }
        },
        || {
            for n in 1..=count {
                there.store(n, Ordering::Release);
                until(back, n);
            }
        },
    )
}

fn futexes(other_cpu: usize, count: u64) -> f64 {
    let [there, back] = shared::<[Padded<AtomicU32>; 2]>();
    let set = |word: &AtomicU32, value| {
        word.store(value, Ordering::Release);
        mp_os::futex::wake(word, 1);
    };
    let until = |word: &AtomicU32, value| {
        while word.load(Ordering::Acquire) != value {
            // However it ended, the word is looked at again.
            let _ended = mp_os::futex::wait(word, value - 1, Deadline::NEVER);
        }
    };
    race(
        other_cpu,
        count,
        || {
            for n in 1..=count as u32 {
                until(there, n);
                set(back, n);
            }
        },
        || {
            for n in 1..=count as u32 {
                set(there, n);
                until(back, n);
            }
        },
    )
}
