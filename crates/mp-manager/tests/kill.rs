//! A client killed at instructions of connecting, of a request, and of the taking of its reply,
//! under a server that runs on.
#![cfg(target_arch = "x86_64")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use killcheck::{Check, KillPoint, SharedArea};
use mp_layout::Result;
use mp_manager::{Dict, List, Manager};
use mp_testkit::Watchdog;

const LIMIT: Duration = Duration::from_secs(900);

/// How long the others may take after a kill, on a machine that is busy.
const OTHERS: Duration = Duration::from_secs(120);

/// Points of each check: it takes a process more than the others', the server's.
const POINTS: usize = if cfg!(debug_assertions) { 40 } else { 250 };

/// How many points may not be come by again, and why. What must have been tried is counted by the
/// witness.
const OTHER_WAYS: (f64, &str) = (
    0.3,
    "how long the client spins before it sleeps depends on how soon the server replies",
);

/// Most instructions of a client: one that connects reads what `/proc` has of the machine, and all
/// may spin while the server has no processor.
const MOST: usize = 5_000_000;

/// A server, and what the clients do with it.
struct Stage {
    manager: Manager,
    rows: List<List<u32>>,
    dict: Dict<u32, u32>,
    witness: SharedArea<Witness>,
}

#[repr(C)]
struct Witness {
    /// The victim has what it takes.
    has_it: AtomicU64,
    /// Right after the kill it was not there.
    was_taken: AtomicU64,
    /// After how many kills it was there.
    came_back: AtomicU64,
    /// After how many of these it had been taken, and the server had put it back.
    given_back: AtomicU64,
    /// After how many kills it was gone.
    gone: AtomicU64,
}

fn begin() -> (Watchdog, Stage) {
    let manager = Manager::new().expect("it starts");
    let stage = Stage {
        rows: manager.list().expect("a list"),
        dict: manager.dict().expect("a dict"),
        manager,
        // SAFETY: atomics only, for which zero is valid.
        witness: unsafe { SharedArea::zeroed() }.expect("memory"),
    };
    (Watchdog::new(LIMIT), stage)
}

/// A list with one row and a dict with one key.
fn fill(stage: &Stage) {
    let try_fill = || -> Result<()> {
        stage.rows.clear()?;
        stage.dict.clear()?;
        // The last victim's row goes with its process.
        while stage.manager.number_of_objects()? != 2 {
            thread::yield_now();
        }
        let row = stage.manager.list()?;
        row.append(7)?;
        stage.rows.append(row)?;
        stage.dict.set(&1, 10)
    };
    try_fill().expect("the server answers");
    stage.witness.has_it.store(0, Ordering::Relaxed);
    stage.witness.was_taken.store(0, Ordering::Relaxed);
}

/// Looks, right after a kill, whether the server has given away what is taken. It puts that back
/// within 250 ms; so the look is too late at some points, on a busy machine, but not at all.
fn see_row(stage: &Stage, _: &KillPoint) {
    see(stage, stage.rows.len());
}

fn see_key(stage: &Stage, _: &KillPoint) {
    see(stage, stage.dict.len());
}

fn see(stage: &Stage, len: Result<usize>) {
    let is_taken = len.expect("the server answers") == 0;
    let was_taken = &stage.witness.was_taken;
    was_taken.store(is_taken.into(), Ordering::Relaxed);
}

fn connect(stage: &Stage) {
    stage.rows.len().expect("the server answers");
}

fn take_row(stage: &Stage) {
    let row = stage.rows.pop().expect("the server answers");
    stage.witness.has_it.store(1, Ordering::Relaxed);
    drop(row.expect("a row"));
}

fn take_key(stage: &Stage) {
    let value = stage.dict.pop(&1).expect("the server answers");
    stage.witness.has_it.store(1, Ordering::Relaxed);
    assert_eq!(value, Some(10));
}

/// Whether the row is there, whole and alone; nothing else may be at the server.
fn has_row(stage: &Stage) -> Result<std::result::Result<bool, String>> {
    // This looks for the dead as well.
    let objects = stage.manager.number_of_objects()?;
    let rows = stage.rows.to_vec()?;
    if objects != 2 + rows.len() || rows.len() > 1 {
        return Ok(Err(format!("{objects} objects, {} rows", rows.len())));
    }
    match rows.first().map(List::to_vec).transpose()? {
        Some(row) if row != [7] => Ok(Err(format!("the row is {row:?}"))),
        row => Ok(Ok(row.is_some())),
    }
}

/// Whether the key is there.
fn has_key(stage: &Stage) -> Result<std::result::Result<bool, String>> {
    stage.manager.number_of_objects()?;
    match stage.dict.items()?.as_slice() {
        [] => Ok(Ok(false)),
        [(1, 10)] => Ok(Ok(true)),
        items => Ok(Err(format!("{items:?}"))),
    }
}

type See = fn(&Stage, &KillPoint);
type Look = fn(&Stage) -> Result<std::result::Result<bool, String>>;

/// What the next client finds: all that the victim did not receive.
fn judge(stage: &Stage, look: Look) -> std::result::Result<bool, String> {
    let is_back = look(stage).map_err(|error| error.to_string())??;
    let has_it = stage.witness.has_it.load(Ordering::Relaxed) != 0;
    if is_back && has_it {
        return Err("the victim had it, and it came back".to_owned());
    }
    let count = if is_back {
        &stage.witness.came_back
    } else {
        &stage.witness.gone
    };
    count.fetch_add(1, Ordering::Relaxed);
    if is_back && stage.witness.was_taken.load(Ordering::Relaxed) != 0 {
        stage.witness.given_back.fetch_add(1, Ordering::Relaxed);
    }
    Ok(is_back)
}

fn must_be_back(stage: &Stage, look: Look) -> std::result::Result<(), String> {
    match judge(stage, look)? {
        true => Ok(()),
        false => Err("it is gone, and the victim never had it".to_owned()),
    }
}

#[test]
fn a_client_killed_anywhere_takes_a_row_or_leaves_it() {
    let (_watchdog, stage) = begin();
    Check::new("connect, request, wait and take the reply")
        .setup(fill)
        .victim(take_row)
        .may_sleep()
        .survivor(|stage| judge(stage, has_row).map(drop))
        .limit(OTHERS)
        .allow_missed(OTHER_WAYS.0, OTHER_WAYS.1)
        .max_points(POINTS)
        .max_instructions(MOST)
        .assert_safe(&stage);
    let came_back = stage.witness.came_back.load(Ordering::Relaxed);
    assert!(came_back != 0, "it was never killed before its request");
}

/// A check of a client that is connected.
fn killed_while_it_takes(name: &str, take: fn(&Stage), see: See, look: Look) {
    let (_watchdog, stage) = begin();
    Check::new(name)
        .setup(fill)
        .warm_up(connect)
        .victim(take)
        .may_sleep()
        .observer(see)
        .survivor(|stage| judge(stage, look).map(drop))
        .limit(OTHERS)
        .allow_missed(OTHER_WAYS.0, OTHER_WAYS.1)
        .max_points(POINTS)
        .max_instructions(MOST)
        .assert_safe(&stage);
    let Witness {
        came_back,
        given_back,
        gone,
        ..
    } = &*stage.witness;
    let counts = [came_back, given_back, gone].map(|count| count.load(Ordering::Relaxed));
    println!("came back after {counts:?} [all, of these given back, gone] kills");
    let [came_back, given_back, gone] = counts;
    assert!(
        came_back > given_back,
        "it was never killed before its request"
    );
    assert!(given_back != 0, "nothing was taken and given back");
    assert!(gone != 0, "it was never killed after its reply");
}

#[test]
fn a_row_whose_reply_was_not_taken_comes_back_and_else_is_freed() {
    killed_while_it_takes("take a row", take_row, see_row, has_row);
}

#[test]
fn a_value_whose_reply_was_not_taken_comes_back() {
    killed_while_it_takes("take a value", take_key, see_key, has_key);
}

#[test]
fn control_that_moves_a_row_in_two_requests_is_caught() {
    let (_watchdog, stage) = begin();
    Check::new("pop and append")
        .setup(fill)
        .warm_up(connect)
        .victim(|stage: &Stage| {
            let row = stage.rows.pop().expect("the server answers");
            let row = row.expect("a row");
            stage.rows.append(row).expect("the server answers");
        })
        .may_sleep()
        .survivor(|stage| must_be_back(stage, has_row))
        .limit(OTHERS)
        .max_points(POINTS)
        .max_instructions(MOST)
        .stop_after(1)
        .assert_caught(&stage);
}
