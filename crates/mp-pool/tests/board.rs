//! What tasks cost on the board of a pool, and who is woken for them.
#![cfg(target_arch = "x86_64")]

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use mp_os::clock::Deadline;
use mp_os::wakeup::{Wakeup, wait_any};
use mp_pool::board::{Board, Hurry, Next};
use mp_sync::Wait;
use mp_testkit::{Forked, PATIENCE, Watchdog};

const WORKER: usize = 0;

/// Bytes from the start of the board to `published` and `hint`.
const PUBLISHED: u64 = 256;
const HINT: u64 = 384;

const OUTCOME: u32 = 1;

/// Lets the kernel kill this process at any system call but `read`, `write` and `exit`.
fn forbid_system_calls() {
    // SAFETY: takes numbers.
    let strict = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
    assert_eq!(strict, 0, "the kernel has no strict mode");
}

/// Ends a process that may make no other system call.
fn exit() -> ! {
    // SAFETY: ends this thread, the only one of the forked process.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("it has ended")
}

/// How often it was rung since it was cleared.
fn rings(wakeup: &Wakeup) -> u64 {
    if wait_any(&[wakeup.as_fd()], Deadline::PASSED)
        .unwrap()
        .is_empty()
    {
        return 0;
    }
    let mut count = [0; 8];
    let mut file = File::from(wakeup.as_fd().try_clone_to_owned().unwrap());
    file.read_exact(&mut count).unwrap();
    u64::from_ne_bytes(count)
}

#[test]
fn a_task_there_and_back_costs_no_system_call_while_both_sides_are_awake() {
    let board = Board::new(2).unwrap();
    let wakeup = Wakeup::new().unwrap();
    let child = Forked::new(|| {
        let mut results = board.results(WORKER).unwrap();
        let mut bytes = Vec::with_capacity(100);
        let mut there_and_back = |generation| {
            let line = Some(&[7; 40][..]);
            board.publish(3, generation, line, 1, Hurry::Each).unwrap();
            board.wake_workers(1).unwrap();
            let next = board.next(WORKER, Wait::Adaptive, || unreachable!("a packet is ready"));
            let Next::Run(claim) = next.unwrap() else {
                unreachable!("nothing stops it")
            };
            board.read_line(claim.packet, 40, &mut bytes).unwrap();
            board.begin(WORKER, claim.generation, 0, 1).unwrap();
            results.push(OUTCOME, &[1; 4], &[2; 8], &wakeup).unwrap();
            assert_eq!(claim.hurry, Hurry::Each);
            results.ring_parent(&wakeup, true).unwrap();
            let mut outcomes = 0;
            board.drain(WORKER, |_, _| outcomes += 1).unwrap();
            assert_eq!(outcomes, 1);
            board.free(claim.packet).unwrap();
        };
        // What is looked up once in the life of a process.
        there_and_back(1);
        forbid_system_calls();
        (2..2000).for_each(there_and_back);
        exit()
    });
    assert!(child.succeeds());
    // `write` was not forbidden.
    assert_eq!(rings(&wakeup), 0);
}

#[test]
fn control_a_system_call_ends_the_process_that_must_make_none() {
    let child = Forked::new(|| {
        forbid_system_calls();
        // SAFETY: takes nothing.
        unsafe { libc::getppid() };
        exit()
    });
    assert!(!child.succeeds());
}

#[test]
fn a_parent_that_sleeps_is_rung_once_for_many_outcomes() {
    let board = Board::new(2).unwrap();
    let wakeup = Wakeup::new().unwrap();
    assert!(board.may_sleep(1, 1).unwrap());
    for worker in [0, 1] {
        let mut results = board.results(worker).unwrap();
        for _ in 0..50 {
            results.push(OUTCOME, &[1; 4], &[2; 8], &wakeup).unwrap();
            results.ring_parent(&wakeup, true).unwrap();
        }
    }
    assert_eq!(rings(&wakeup), 1);
    assert!(!board.may_sleep(2, 1).unwrap(), "there are outcomes");
}

#[test]
fn a_parent_that_waits_for_many_outcomes_is_rung_for_as_many_or_for_what_hurries() {
    let board = Board::new(1).unwrap();
    let wakeup = Wakeup::new().unwrap();
    let mut results = board.results(WORKER).unwrap();
    assert!(board.may_sleep(1, 3).unwrap());
    let mut push = |hurries| {
        results.push(OUTCOME, &[1; 4], &[2; 8], &wakeup).unwrap();
        results.ring_parent(&wakeup, hurries).unwrap();
        rings(&wakeup)
    };
    assert_eq!(
        [push(false), push(false), push(false), push(false)],
        [0, 0, 1, 0]
    );
    board.drain(WORKER, |_, _| ()).unwrap();
    assert!(board.may_sleep(2, 3).unwrap());
    assert_eq!([push(false), push(true)], [0, 1]);
    assert!(board.may_sleep(3, 3).unwrap());
    assert!(!board.may_sleep(4, 2).unwrap(), "there are two");
}

/// Also of what another worker pushed, whose next task may be long: the parent could fill the
/// board.
#[test]
fn a_worker_without_a_packet_tells_of_any_outcome_before_it_sleeps() {
    let refused = || {
        let told = mp_layout::Error::new(mp_layout::ErrorKind::Closed, "wake", "a parent");
        Err(told.with_detail("told"))
    };
    for teller in [WORKER, WORKER + 1] {
        let board = Board::new(2).unwrap();
        let wakeup = Wakeup::new().unwrap();
        let mut results = board.results(WORKER).unwrap();
        assert!(board.may_sleep(1, 100).unwrap());
        results.push(OUTCOME, &[1; 4], &[2; 8], &wakeup).unwrap();
        results.ring_parent(&wakeup, false).unwrap();
        assert_eq!(rings(&wakeup), 0);
        for wait in [Wait::Sleep, Wait::Adaptive] {
            let error = board.next(teller, wait, refused).unwrap_err();
            assert!(error.to_string().contains("told"), "{error}");
        }
    }
}

#[test]
fn a_look_finds_whatever_is_ready_in_whichever_place_it_was_published() {
    let board = Board::new(2).unwrap();
    let mut random = 7_u64;
    let mut next = move |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    let (mut ready, mut taken) = (Vec::new(), Vec::new());
    for generation in 1..20_000 {
        let place = next(board.packets());
        let is_free = ready.iter().chain(&taken).all(|(one, _)| *one != place);
        // Long times with few packets, and with most of them.
        let is_filling = generation / 2000 % 2 == 0;
        if is_free && (is_filling || next(3) == 0) {
            let published = board.publish(place, generation, Some(&[1; 9]), 1, Hurry::No);
            published.unwrap();
            ready.push((place, generation));
        }
        if next(3) == 0 && !ready.is_empty() {
            let (place, generation) = ready.swap_remove(next(ready.len()));
            assert!(board.withdraw(place, generation).unwrap());
        }
        for _ in 0..next(if is_filling { 2 } else { 4 }) {
            let Some(claim) = board.claim(next(2)).unwrap() else {
                assert_eq!(ready, []);
                break;
            };
            let claimed = (claim.packet, claim.generation);
            let at = ready.iter().position(|one| *one == claimed);
            taken.push(ready.swap_remove(at.expect("it is ready")));
        }
        if next(2) == 0 && !taken.is_empty() {
            let (place, _) = taken.swap_remove(next(taken.len()));
            board.free(place).unwrap();
        }
    }
}

/// A word of the board, as a process has it that may write there.
struct Word {
    memory: File,
    place: u64,
}

impl Word {
    fn new(board: &Board, place: u64) -> Self {
        let memory = File::from(board.as_fd().try_clone_to_owned().unwrap());
        Self { memory, place }
    }

    fn get(&self) -> u64 {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, self.place).unwrap();
        u64::from_ne_bytes(bytes)
    }

    fn set(&self, value: u64) {
        let written = self.memory.write_all_at(&value.to_ne_bytes(), self.place);
        written.unwrap();
    }
}

/// It hides the packets from looks; a worker that sleeps finds them all the same.
#[test]
fn packets_before_a_damaged_hint_are_found_after_a_sleep() {
    let _watchdog = Watchdog::new(PATIENCE);
    let board = Board::new(1).unwrap();
    for place in 0..3 {
        let published = board.publish(place, 1, Some(&[1; 9]), 1, Hurry::No);
        published.unwrap();
    }
    let (published, hint) = (Word::new(&board, PUBLISHED), Word::new(&board, HINT));
    assert_eq!((published.get(), hint.get()), (3, 0));
    for place in 0..3 {
        hint.set(3);
        assert_eq!(board.claim(WORKER).unwrap(), None);
        let next = board.next(WORKER, Wait::Sleep, || Ok(()));
        let Next::Run(claim) = next.unwrap() else {
            panic!("nothing stops it")
        };
        assert_eq!(claim.packet, place);
    }
}

/// A worker that sleeps on looks at the count only, but not every time.
#[test]
fn a_packet_behind_a_damaged_count_is_found_by_a_worker_that_has_slept_before() {
    let _watchdog = Watchdog::new(PATIENCE);
    let board = Board::new(1).unwrap();
    let count = Word::new(&board, PUBLISHED);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| board.next(WORKER, Wait::Sleep, || Ok(())));
        // So that it has looked everywhere; if it has not, it finds the packet sooner.
        std::thread::sleep(Duration::from_millis(400));
        board.publish(3, 1, None, 1, Hurry::No).unwrap();
        count.set(0);
        let Next::Run(claim) = worker.join().unwrap().unwrap() else {
            panic!("nothing stops it")
        };
        assert_eq!(claim.packet, 3);
    });
}

#[test]
fn a_damaged_count_ends_with_the_next_packet() {
    let board = Board::new(1).unwrap();
    let count = Word::new(&board, PUBLISHED);
    for (place, damage) in [0, 7, u64::MAX - 1, u64::MAX].into_iter().enumerate() {
        count.set(damage);
        board.publish(place, 1, None, 1, Hurry::No).unwrap();
        assert_eq!(count.get(), place as u64 + 1);
        let claim = board.claim(WORKER).unwrap().expect("it is ready");
        assert_eq!(claim.packet, place);
    }
}

#[test]
fn a_packet_that_is_longer_than_its_line_is_refused() {
    let board = Board::new(1).unwrap();
    let last = board.packets() - 1;
    let (long, short) = (board.room(0), board.room(last));
    assert!(long > short);
    for (place, room) in [(0, long), (last, short)] {
        let mut bytes = vec![7; room];
        let publish = |bytes: &[u8]| board.publish(place, 1, Some(bytes), 1, Hurry::No);
        publish(&bytes).unwrap();
        let claim = board.claim(WORKER).unwrap().expect("it is ready");
        let mut read = Vec::new();
        board
            .read_line(place, claim.size.unwrap(), &mut read)
            .unwrap();
        assert_eq!(read, bytes);
        board.free(place).unwrap();
        bytes.push(7);
        assert!(publish(&bytes).is_err());
        assert!(board.read_line(place, bytes.len(), &mut read).is_err());
    }
}
