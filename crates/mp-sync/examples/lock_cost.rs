//! What locks and wake-ups cost here, beside what they are compared with, in one run.
//!
//! `cargo run --release -p mp-sync --example lock_cost`
//!
//! Each figure is the median of [`ROUNDS`] rounds, in which all contestants take their turn.

use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Instant;

use mp_layout::Region;
use mp_os::{clock::Deadline, cpu, futex};
use mp_sync::{Event, EventCount, Mutex, RawMutex, Wait};

const ROUNDS: usize = 9;

/// A lock of three states, as in Drepper's "Futexes are tricky": what a lock costs that dies
/// with its owner.
struct PlainLock<'a>(&'a AtomicU32);

impl PlainLock<'_> {
    fn lock(&self) {
        if self
            .0
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.lock_contended();
        }
    }

    #[cold]
    fn lock_contended(&self) {
        for _ in 0..100 {
            if self
                .0
                .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
            std::hint::spin_loop();
        }
        while self.0.swap(2, Ordering::Acquire) != 0 {
            let _woken = futex::wait(self.0, 2, Deadline::NEVER);
        }
    }

    fn unlock(&self) {
        if self.0.swap(0, Ordering::Release) == 2 {
            futex::wake(self.0, 1);
        }
    }
}

struct PthreadLock(*mut libc::pthread_mutex_t);

impl PthreadLock {
    fn robust(memory: Region<'static>) -> Self {
        let lock = Self(memory.as_ptr().cast());
        let mut attributes = std::mem::MaybeUninit::uninit();
        let attributes: *mut libc::pthread_mutexattr_t = attributes.as_mut_ptr();
        // SAFETY: memory for an attribute.
        unsafe { libc::pthread_mutexattr_init(attributes) };
        // SAFETY: initialised above.
        unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: initialised above.
        unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: a page for the mutex, and it is never unmapped.
        unsafe { libc::pthread_mutex_init(lock.0, attributes) };
        lock
    }

    fn lock(&self) {
        // SAFETY: initialised above.
        unsafe { libc::pthread_mutex_lock(self.0) };
    }

    fn unlock(&self) {
        // SAFETY: held by this thread.
        unsafe { libc::pthread_mutex_unlock(self.0) };
    }
}

fn shared_page() -> Region<'static> {
    let (size, protection) = (4096, libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    let start = NonNull::new(page.cast())
        .filter(|_| page != libc::MAP_FAILED)
        .expect("memory");
    // SAFETY: the page is never unmapped, and only used through this region.
    unsafe { Region::new(start, size) }
}

fn in_child(run: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this program has one thread.
    match unsafe { libc::fork() } {
        0 => {
            run();
            // SAFETY: ends the child without its parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        child => child,
    }
}

fn join(child: libc::pid_t) {
    // SAFETY: a child of this process; no status is wanted.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
}

fn timed(times: u64, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        run();
    }
    start.elapsed().as_nanos() as f64 / times as f64
}

type Contestant<'a> = (&'a str, Box<dyn FnMut() -> f64 + 'a>);

/// Lets each contestant run in each round; prints the medians and their ratio to the first.
fn compare(title: &str, mut contestants: Vec<Contestant<'_>>) {
    println!("\n{title}");
    let mut figures = vec![Vec::new(); contestants.len()];
    for _ in 0..ROUNDS {
        for (figure, (_, run)) in figures.iter_mut().zip(&mut contestants) {
            figure.push(run());
        }
    }
    let mut reference = None;
    for (figure, (name, _)) in figures.iter_mut().zip(&contestants) {
        figure.sort_by(f64::total_cmp);
        let (low, median, high) = (figure[0], figure[ROUNDS / 2], figure[ROUNDS - 1]);
        let ratio = median / *reference.get_or_insert(median);
        println!("  {name:42} {median:9.1} ns  ({low:.1} .. {high:.1})  {ratio:.2}x");
    }
}

fn alone() {
    const TIMES: u64 = 500_000;
    let page = shared_page();
    let (std_mutex, plain) = (std::sync::Mutex::new(0_u64), PlainLock(place(page, 0)));
    let own: &Mutex<u64> = place(page, 128);
    let raw: &RawMutex = place(page, 256);
    let pthread = PthreadLock::robust(shared_page());
    let mut plain_count = 0_u64;
    let mut raw_count = 0_u64;
    let mut pthread_count = 0_u64;
    compare(
        "lock + increment + unlock, alone",
        vec![
            (
                "std Mutex",
                Box::new(|| {
                    timed(TIMES, || {
                        *black_box(&std_mutex).lock().expect("no panic") += 1;
                    })
                }),
            ),
            (
                "plain futex mutex",
                Box::new(|| {
                    timed(TIMES, || {
                        plain.lock();
                        plain_count = black_box(plain_count + 1);
                        plain.unlock();
                    })
                }),
            ),
            (
                "mp_sync::RawMutex",
                Box::new(|| {
                    timed(TIMES, || {
                        let guard = black_box(raw).lock().expect("alone");
                        raw_count = black_box(raw_count + 1);
                        drop(guard);
                    })
                }),
            ),
            (
                "mp_sync::Mutex",
                Box::new(|| timed(TIMES, || *black_box(own).lock().expect("alone") += 1)),
            ),
            (
                "pthread robust, shared",
                Box::new(|| {
                    timed(TIMES, || {
                        pthread.lock();
                        pthread_count = black_box(pthread_count + 1);
                        pthread.unlock();
                    })
                }),
            ),
        ],
    );
}

/// Both sides do `work` so many times at once; nanoseconds for one of all.
fn both(go: &'static AtomicU32, times: u64, work: impl Fn()) -> f64 {
    go.store(0, Ordering::Release);
    let meet = || {
        go.fetch_add(1, Ordering::AcqRel);
        while go.load(Ordering::Acquire) < 2 {
            std::thread::yield_now();
        }
    };
    let child = in_child(|| {
        pin(1);
        meet();
        timed(times, &work);
    });
    meet();
    let start = Instant::now();
    timed(times, &work);
    join(child);
    start.elapsed().as_nanos() as f64 / (2 * times) as f64
}

/// The same with threads, for what is not shared between processes.
fn both_threads(times: u64, work: impl Fn() + Sync) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let work = &work;
            scope.spawn(move || {
                pin(cpu);
                timed(times, work)
            });
        }
    });
    start.elapsed().as_nanos() as f64 / (2 * times) as f64
}

fn contended() {
    const TIMES: u64 = 400_000;
    let page = shared_page();
    let (go, counter): (&AtomicU32, &AtomicU64) = (place(page, 0), place(page, 128));
    let (plain, own): (_, &Mutex<u64>) = (PlainLock(place(page, 256)), place(page, 512));
    let pthread = PthreadLock::robust(shared_page());
    let std_mutex = std::sync::Mutex::new(0_u64);
    let add = || counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    compare(
        "lock + increment + unlock, two processes on two cores",
        vec![
            (
                "std Mutex (two threads)",
                Box::new(|| both_threads(TIMES, || *std_mutex.lock().expect("no panic") += 1)),
            ),
            (
                "plain futex mutex",
                Box::new(|| {
                    both(go, TIMES, || {
                        plain.lock();
                        add();
                        plain.unlock();
                    })
                }),
            ),
            (
                "mp_sync::Mutex",
                Box::new(|| both(go, TIMES, || *own.lock().expect("nobody dies") += 1)),
            ),
            (
                "pthread robust, shared",
                Box::new(|| {
                    both(go, TIMES, || {
                        pthread.lock();
                        add();
                        pthread.unlock();
                    })
                }),
            ),
        ],
    );
}

/// One figure of a ping-pong: `wait(side, turn)` returns when it is that side's turn.
fn round_trip(cores: [usize; 2], times: u64, wait: impl Fn(usize), pass: impl Fn(usize)) -> f64 {
    let child = in_child(|| {
        pin(cores[1]);
        for _ in 0..times + 100 {
            wait(1);
            pass(0);
        }
    });
    pin(cores[0]);
    let mut go = || {
        pass(1);
        wait(0);
    };
    timed(100, &mut go);
    let figure = timed(times, &mut go);
    join(child);
    figure
}

fn events() {
    let page = shared_page();
    let words: [&AtomicU32; 2] = [place(page, 0), place(page, 128)];
    let events: [&Event; 2] = [place(page, 256), place(page, 384)];
    let futex_wait = |side: usize| {
        while words[side].swap(0, Ordering::Acquire) == 0 {
            let _woken = futex::wait(words[side], 0, Deadline::NEVER);
        }
    };
    let futex_pass = |side: usize| {
        words[side].store(1, Ordering::Release);
        futex::wake(words[side], 1);
    };
    let spin_wait = |side: usize| {
        while words[side].swap(0, Ordering::Acquire) == 0 {
            std::hint::spin_loop();
        }
    };
    let spin_pass = |side: usize| words[side].store(1, Ordering::Release);
    let event_wait = |wait: Wait| {
        move |side: usize| {
            events[side].wait_with(wait, Deadline::NEVER);
            events[side].clear();
        }
    };
    let event_pass = |side: usize| events[side].set();
    for (title, cores, times) in [
        ("on two cores", [0, 1], 20_000),
        ("on one shared core", [0, 0], 20_000),
    ] {
        let mut contestants: Vec<Contestant<'_>> = vec![(
            "raw futex",
            Box::new(move || round_trip(cores, times / 10, futex_wait, futex_pass)),
        )];
        if cores[0] != cores[1] {
            contestants.push((
                "spinning on two words",
                Box::new(move || round_trip(cores, times, spin_wait, spin_pass)),
            ));
            contestants.push((
                "Event, Wait::Spin",
                Box::new(move || round_trip(cores, times, event_wait(Wait::Spin), event_pass)),
            ));
        }
        contestants.push((
            "Event, Wait::Adaptive",
            Box::new(move || round_trip(cores, times, event_wait(Wait::Adaptive), event_pass)),
        ));
        contestants.push((
            "Event, Wait::Sleep",
            Box::new(move || round_trip(cores, times / 10, event_wait(Wait::Sleep), event_pass)),
        ));
        compare(&format!("event there and back, {title}"), contestants);
    }
}

fn notify() {
    const TIMES: u64 = 500_000;
    let page = shared_page();
    let (count, word): (&EventCount, &AtomicU64) = (place(page, 0), place(page, 128));
    compare(
        "a commit, and a notify while nobody sleeps",
        vec![
            (
                "Release store, no notify",
                Box::new(|| timed(TIMES, || black_box(word).store(1, Ordering::Release))),
            ),
            (
                "SeqCst swap, no notify",
                Box::new(|| {
                    timed(TIMES, || {
                        black_box(word).swap(1, Ordering::SeqCst);
                    })
                }),
            ),
            (
                "Release store + fence(SeqCst)",
                Box::new(|| {
                    timed(TIMES, || {
                        black_box(word).store(1, Ordering::Release);
                        fence(Ordering::SeqCst);
                    })
                }),
            ),
            (
                "Release store + notify",
                Box::new(|| {
                    timed(TIMES, || {
                        black_box(word).store(1, Ordering::Release);
                        black_box(count).notify(1);
                    })
                }),
            ),
            (
                "SeqCst swap + notify_committed",
                Box::new(|| {
                    timed(TIMES, || {
                        black_box(word).swap(1, Ordering::SeqCst);
                        black_box(count).notify_committed(1);
                    })
                }),
            ),
            (
                "Release store + notify, under the bell",
                Box::new(|| {
                    timed(TIMES, || {
                        black_box(count).under_bell(|| {
                            black_box(word).store(1, Ordering::Release);
                            black_box(count).notify(1);
                        });
                    })
                }),
            ),
        ],
    );
}

fn place<T: mp_layout::Place>(page: Region<'static>, offset: usize) -> &'static T {
    // SAFETY: each place in the page is used for one thing, and the page is never unmapped.
    unsafe { page.place_guarded(offset) }.expect("within the page")
}

fn pin(core: usize) {
    cpu::pin_to(core).expect("a core of this machine");
}

fn main() {
    assert!(cpu::cpu_count() >= 2, "needs two cores");
    println!(
        "robust list: {}, waitv: {}",
        mp_os::robust::supported(),
        futex::waitv_supported()
    );
    alone();
    notify();
    contended();
    events();
}
