//! A worker killed at every instruction between the look for a packet and the wake-up of its
//! parent.
#![cfg(target_arch = "x86_64")]

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use killcheck::{Check, SharedArea};
use mp_os::clock::Deadline;
use mp_os::wakeup::{Wakeup, wait_any};
use mp_pool::board::{Board, Claim, Hurry, Next};
use mp_shm::Segment;
use mp_sync::Wait;
use mp_testkit::Watchdog;

const LIMIT: Duration = Duration::from_secs(900);

/// Every instruction in a release build; a debug build has ten times as many.
const STRIDE: usize = if cfg!(debug_assertions) { 7 } else { 1 };

/// Why one store of a notification is not always executed.
const WHICH_PROCESSOR: &str = "who wakes notes its processor if the last one was on another";

const VICTIM: usize = 0;
const OTHER: usize = 1;
const PACKET: usize = 3;
const GENERATION: u64 = 9;
const OUTCOME: u32 = 1;

struct Stage {
    board: Board,
    wakeup: Wakeup,
    /// How often each task of the packet was about to begin, and how often it was run.
    witness: SharedArea<[[AtomicU64; 2]; 2]>,
}

/// Looks up now what is looked up once in a process's life.
fn begin() -> (Watchdog, Stage) {
    std::hint::black_box(Deadline::after(Duration::ZERO));
    std::hint::black_box(mp_os::cpu::current_cpu());
    std::hint::black_box(mp_os::clock::now_millis());
    let stage = Stage {
        board: Board::new(2).expect("memory"),
        wakeup: Wakeup::new().expect("a descriptor"),
        // SAFETY: atomics only, for which zero is valid.
        witness: unsafe { SharedArea::zeroed() }.expect("memory"),
    };
    (Watchdog::new(LIMIT), stage)
}

fn clear(stage: &Stage) {
    stage.witness.reset();
    stage.wakeup.clear().expect("it is open");
    for packet in 0..stage.board.packets() {
        stage.board.free(packet).expect("in range");
    }
    for worker in [VICTIM, OTHER] {
        stage.board.reset_worker(worker).expect("in range");
    }
    // A claim passes over one place, and looks at no other packet than the next one.
    let board = &stage.board;
    let published = board.publish(PACKET - 2, GENERATION, None, 1, Hurry::Each);
    published.expect("it is free");
    assert!(board.withdraw(PACKET - 2, GENERATION).expect("in range"));
    assert_eq!(board.claim(OTHER).expect("in range"), None);
}

fn publish(stage: &Stage) {
    let bytes = Some(&b"two tasks"[..]);
    let published = stage
        .board
        .publish(PACKET, GENERATION, bytes, 2, Hurry::Each);
    published.expect("it fits");
}

/// Runs the packet's tasks as a worker does.
fn run_packet(stage: &Stage, claim: &Claim, worker: usize) {
    let mut results = stage.board.results(worker).expect("the ring");
    for item in 0..claim.items {
        stage.witness[item][0].fetch_add(1, Ordering::Relaxed);
        let begun = stage.board.begin(worker, claim.generation, item, 1);
        begun.expect("in range");
        stage.witness[item][1].fetch_add(1, Ordering::Relaxed);
        let pushed = results.push(OUTCOME, &[item as u8; 4], &[7; 9], &stage.wakeup);
        pushed.expect("room");
    }
    results
        .ring_parent(&stage.wakeup, true)
        .expect("it is open");
}

/// The outcomes that worker `worker` has pushed, whole and in order.
fn outcomes(stage: &Stage, worker: usize) -> Result<usize, String> {
    let mut count = 0;
    let mut torn = None;
    let drained = stage.board.drain(worker, |tag, record| {
        let mut expected = vec![count as u8; 4];
        expected.extend_from_slice(&[7; 9]);
        if (tag, record) != (OUTCOME, &expected[..]) {
            torn = Some(format!("torn: tag {tag}, {record:?}"));
        }
        count += 1;
    });
    drained.map_err(|error| error.to_string())?;
    torn.map_or(Ok(count), Err)
}

/// What the parent does about the victim: each task must be done and was run once, or fail and was
/// about to begin and run once at most, or move and was not run.
fn judge(stage: &Stage) -> Result<(), String> {
    let text = |error: mp_layout::Error| error.to_string();
    let done = outcomes(stage, VICTIM)?;
    let (failed, moved);
    match stage.board.taken_by(PACKET).map_err(text)? {
        None => {
            let claim = stage.board.claim(OTHER).map_err(text)?;
            let claim = claim.ok_or("the packet is neither taken nor ready")?;
            let mut bytes = Vec::new();
            let size = claim.size.ok_or("it lies in its line")?;
            let read = stage.board.read_line(claim.packet, size, &mut bytes);
            read.map_err(text)?;
            if (claim.packet, claim.generation, claim.items) != (PACKET, GENERATION, 2)
                || bytes != b"two tasks"
            {
                return Err(format!("{claim:?} with {bytes:?}"));
            }
            (failed, moved) = (0, claim.items);
        }
        Some(VICTIM) => {
            let begun = stage.board.begun(VICTIM, GENERATION, done);
            failed = usize::from(begun.map_err(text)?.is_some());
            moved = 2_usize.checked_sub(done + failed).ok_or("more than two")?;
        }
        Some(worker) => return Err(format!("taken by worker {worker}")),
    }
    for (item, witness) in stage.witness.iter().enumerate() {
        let [entered, runs] = witness.each_ref().map(|word| word.load(Ordering::Relaxed));
        let is_right = match item {
            _ if item < done => runs == 1,
            _ if item < done + failed => entered == 1 && runs <= 1,
            _ => runs == 0,
        };
        if !is_right {
            return Err(format!(
                "task {item} was run {runs} times; {done} done, {failed} failed, {moved} moved"
            ));
        }
    }
    Ok(())
}

#[test]
fn a_worker_killed_anywhere_leaves_each_task_done_failed_or_not_begun() {
    let (_watchdog, stage) = begin();
    Check::new("claim, begin, run and push, two tasks")
        .setup(|stage: &Stage| {
            clear(stage);
            publish(stage);
        })
        .victim(|stage| {
            let claim = stage.board.claim(VICTIM).expect("in range");
            run_packet(stage, &claim.expect("a packet"), VICTIM);
        })
        .survivor(judge)
        .without_timeouts()
        .stride(STRIDE)
        .assert_safe(&stage);
}

#[test]
fn control_that_begins_after_it_has_run_is_caught() {
    let (_watchdog, stage) = begin();
    Check::new("claim, run, begin and push")
        .setup(|stage: &Stage| {
            clear(stage);
            publish(stage);
        })
        .victim(|stage| {
            let claim = stage.board.claim(VICTIM).expect("in range");
            let claim = claim.expect("a packet");
            stage.witness[0][1].fetch_add(1, Ordering::Relaxed);
            let begun = stage.board.begin(VICTIM, claim.generation, 0, 1);
            begun.expect("in range");
        })
        .survivor(judge)
        .without_timeouts()
        .stride(STRIDE)
        .assert_caught(&stage);
}

#[test]
fn a_worker_killed_after_it_was_woken_for_a_packet_leaves_the_packet_to_another() {
    let (_watchdog, stage) = begin();
    let take = |stage: &Stage, worker| {
        let next = stage.board.next(worker, Wait::Sleep, || Ok(()));
        let Next::Run(claim) = next.expect("in range") else {
            panic!("nothing stops it")
        };
        claim
    };
    Check::new("next, woken, another worker asleep")
        .setup(clear)
        .victim(|stage: &Stage| {
            take(stage, VICTIM);
        })
        .sleeper(|stage| {
            let claim = take(stage, OTHER);
            assert_eq!(claim.items, 2);
        })
        .waker(|stage| {
            publish(stage);
            stage.board.wake_workers(1).expect("in range");
        })
        .must_wake(|stage| stage.board.taken_by(PACKET).expect("in range") != Some(VICTIM))
        .survivor(|stage| {
            let second = stage
                .board
                .publish(PACKET + 1, GENERATION, None, 2, Hurry::Each);
            second
                .and_then(|()| stage.board.wake_workers(1))
                .map_err(|error| error.to_string())
        })
        .without_timeouts()
        .allow_missed(0.01, WHICH_PROCESSOR)
        .stride(STRIDE)
        .assert_safe(&stage);
}

/// The parent waits for the victim's end as well, so what counts is that the others can still wake
/// it.
#[test]
fn a_worker_killed_while_it_wakes_its_parent_leaves_a_parent_that_others_wake() {
    let (_watchdog, stage) = begin();
    let push = |stage: &Stage, worker| {
        let mut results = stage.board.results(worker).expect("the ring");
        let pushed = results.push(OUTCOME, &[0; 4], &[7; 9], &stage.wakeup);
        pushed.expect("room");
        results
            .ring_parent(&stage.wakeup, true)
            .expect("it is open");
    };
    Check::new("push and wake the parent")
        .setup(|stage: &Stage| {
            clear(stage);
            assert!(stage.board.may_sleep(5, 1).expect("in range"));
        })
        .victim(|stage| push(stage, VICTIM))
        .survivor(|stage| {
            push(stage, OTHER);
            let wakeup = [stage.wakeup.as_fd()];
            let woken = wait_any(&wakeup, Deadline::PASSED).map_err(|error| error.to_string())?;
            if woken.is_empty() {
                return Err("the parent sleeps on".to_owned());
            }
            Ok(())
        })
        .without_timeouts()
        .stride(STRIDE)
        .assert_safe(&stage);
}

/// Of outcomes that do not hurry: it sleeps until a worker has two.
#[test]
fn a_worker_killed_while_it_tells_of_enough_outcomes_leaves_a_parent_that_others_wake() {
    let (_watchdog, stage) = begin();
    let push_two = |stage: &Stage, worker| {
        let mut results = stage.board.results(worker).expect("the ring");
        for _ in 0..2 {
            let pushed = results.push(OUTCOME, &[0; 4], &[7; 9], &stage.wakeup);
            pushed.expect("room");
            results
                .ring_parent(&stage.wakeup, false)
                .expect("it is open");
        }
    };
    let report = Check::new("push two, and wake the parent that waits for two")
        .setup(|stage: &Stage| {
            clear(stage);
            assert!(stage.board.may_sleep(5, 2).expect("in range"));
        })
        .victim(|stage| push_two(stage, VICTIM))
        .survivor(|stage| {
            let is_rung = || {
                let wakeup = [stage.wakeup.as_fd()];
                let woken = wait_any(&wakeup, Deadline::PASSED);
                woken.map(|places| !places.is_empty())
            };
            let was_rung = is_rung().map_err(|error| error.to_string())?;
            if was_rung && !stage.board.has_news(2) {
                return Err("the parent was woken for less than it waits for".to_owned());
            }
            push_two(stage, OTHER);
            if !is_rung().map_err(|error| error.to_string())? {
                return Err("the parent sleeps on".to_owned());
            }
            Ok(())
        })
        .without_timeouts()
        .stride(STRIDE)
        .run(&stage)
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

/// The tag of a worker's first record.
const READY: u32 = 3;

/// What a worker does before it looks for a packet; then it runs what it finds.
fn enter(stage: &Stage, worker: usize) {
    let memory = stage.board.as_fd().try_clone_to_owned();
    let segment = Segment::from_descriptor(memory.expect("a descriptor"));
    let board = Board::attach(segment.expect("it is sealed")).expect("a board");
    let mut results = board.results(worker).expect("the ring");
    let pushed = results.push(READY, &[0; 20], &[], &stage.wakeup);
    pushed.expect("room");
    results
        .ring_parent(&stage.wakeup, true)
        .expect("it is open");
}

/// The seat of one that died while it entered is made ready as the parent does it, and the next
/// runs what waits there.
#[test]
fn a_worker_killed_while_it_enters_leaves_its_seat_to_the_next() {
    let (_watchdog, stage) = begin();
    enter(&stage, OTHER);
    Check::new("attach, push that it is ready, wake the parent")
        .setup(|stage: &Stage| {
            clear(stage);
            publish(stage);
        })
        .victim(|stage| enter(stage, VICTIM))
        .survivor(|stage| {
            let text = |error: mp_layout::Error| error.to_string();
            let mut records = Vec::new();
            let mut note = |tag, record: &[u8]| records.push((tag, record.to_vec()));
            stage.board.drain(VICTIM, &mut note).map_err(text)?;
            if records.len() > 1 || records.iter().any(|one| *one != (READY, vec![0; 20])) {
                return Err(format!("torn: {records:?}"));
            }
            stage.board.reset_worker(VICTIM).map_err(text)?;
            let claim = stage.board.claim(VICTIM).map_err(text)?;
            run_packet(stage, &claim.ok_or("it has left with the packet")?, VICTIM);
            match outcomes(stage, VICTIM)? {
                2 => Ok(()),
                count => Err(format!("{count} outcomes of two")),
            }
        })
        .without_timeouts()
        .stride(STRIDE)
        .assert_safe(&stage);
}
