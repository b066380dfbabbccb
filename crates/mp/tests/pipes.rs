//! Pipes between processes, some of which are killed.

use std::time::Duration;

use mp::queue::{GetError, Nothing, PutError};
use mp::sync::Wait;
use mp::{Connection, Event, Process, Queue, Result, pipe, pipe_bounded, pipe_one_way};
use mp_testkit::{PATIENCE, Watchdog};

const MOMENT: Duration = Duration::from_millis(10);

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 2)
}

fn stay() -> ! {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_child_answers_through_its_end() -> Result<()> {
    fn square(parent: Connection<f64, u32>) -> Result<()> {
        while let Ok(number) = parent.recv() {
            parent.send(f64::from(number).powi(2))?;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let (ours, theirs) = pipe()?;
    let child = mp::spawn(square, (theirs,))?;
    for number in [2, 3, 4] {
        ours.send(number)?;
        assert_eq!(ours.recv()?, f64::from(number * number));
    }
    drop(ours);
    child.join()?;
    assert_eq!(child.exitcode(), Some(0));
    Ok(())
}

/// Python's usual program: the parent makes the pipe, passes both ends, and keeps both.
#[test]
fn two_children_talk_while_the_parent_keeps_both_ends() -> Result<()> {
    fn ask(end: Connection<u32, String>) -> Result<String> {
        end.send(7)?;
        Ok(end.recv()?)
    }
    fn answer(end: Connection<String, u32>) -> Result<u32> {
        let number = end.recv()?;
        end.send(format!("{number} came"))?;
        Ok(number)
    }
    let _watchdog = watchdog();
    let (left, right) = pipe()?;
    let asks = mp::spawn(ask, (left.clone(),))?;
    let answers = mp::spawn(answer, (right.clone(),))?;
    assert_eq!(asks.result()??, "7 came");
    assert_eq!(answers.result()??, 7);
    // Both children have ended; the sides are there, because the parent is on both.
    left.send(8)?;
    assert_eq!(right.recv()?, 8);
    assert!(matches!(right.recv_timeout(MOMENT), Err(GetError::Empty)));
    drop(left);
    assert!(matches!(right.recv(), Err(GetError::Closed)));
    Ok(())
}

fn have(end: Connection<u32>, ready: Event) {
    ready.set();
    drop(end.recv());
    stay();
}

#[test]
fn the_end_comes_when_the_last_of_several_processes_is_killed() -> Result<()> {
    let _watchdog = watchdog();
    let (ours, theirs) = pipe::<u32, u32>()?;
    let mut children = Vec::new();
    for _ in 0..2 {
        let ready = Event::new()?;
        children.push(mp::spawn(have, (theirs.clone(), ready.clone()))?);
        ready.wait();
    }
    drop(theirs);
    children[0].kill()?;
    children[0].join()?;
    ours.send(1)?;
    assert!(matches!(ours.recv_timeout(MOMENT), Err(GetError::Empty)));
    children[1].kill()?;
    // A receiver that sleeps hears of it.
    assert!(matches!(ours.recv(), Err(GetError::Closed)));
    match ours.send(2) {
        Err(PutError::Closed(2)) => Ok(()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sender_that_sleeps_hears_of_its_receivers_death() -> Result<()> {
    fn never_receive(_end: Connection<u32>, ready: Event) {
        ready.set();
        stay();
    }
    let _watchdog = watchdog();
    for wait in [Wait::Sleep, Wait::Adaptive] {
        let (ours, theirs) = pipe_bounded::<u32, u32>(1)?;
        let (ours, ready) = (ours.with_wait(wait), Event::new()?);
        let child = mp::spawn(never_receive, (theirs, ready.clone()))?;
        ready.wait();
        ours.send(1)?;
        std::thread::scope(|scope| {
            let blocked = scope.spawn(|| ours.send(2));
            child.kill()?;
            assert!(matches!(blocked.join().unwrap(), Err(PutError::Closed(2))));
            Ok::<(), mp::Error>(())
        })?;
    }
    Ok(())
}

#[test]
fn a_sender_without_a_bound_hears_of_its_receivers_death() -> Result<()> {
    let _watchdog = watchdog();
    let (ours, theirs) = pipe::<u32, u32>()?;
    let ready = Event::new()?;
    let child = mp::spawn(have, (theirs, ready.clone()))?;
    ready.wait();
    child.kill()?;
    child.join()?;
    // The clock ticks meanwhile; the watchdog ends this if the death is never noticed.
    while ours.send(1).is_ok() {
        std::thread::yield_now();
    }
    assert!(matches!(ours.send(1), Err(PutError::Closed(1))));
    Ok(())
}

#[test]
fn what_a_killed_process_had_sent_is_received() -> Result<()> {
    fn send_and_stay(end: Connection<u32, Nothing>, sent: Event) -> Result<()> {
        for number in 0..1000 {
            end.send(number)?;
        }
        sent.set();
        stay();
    }
    let _watchdog = watchdog();
    let (reader, writer) = pipe_one_way::<u32>()?;
    let sent = Event::new()?;
    let child = mp::spawn(send_and_stay, (writer, sent.clone()))?;
    sent.wait();
    child.kill()?;
    child.join()?;
    for number in 0..1000 {
        assert_eq!(reader.recv()?, number);
    }
    assert!(matches!(reader.recv(), Err(GetError::Closed)));
    Ok(())
}

/// It is on its way until the process is started or described no more.
#[test]
fn a_connection_among_arguments_keeps_its_side() -> Result<()> {
    fn nothing(_end: Connection<u32>) {}
    let _watchdog = watchdog();
    let (ours, theirs) = pipe::<u32, u32>()?;
    let described = Process::new(nothing, (theirs,));
    assert!(matches!(ours.recv_timeout(MOMENT), Err(GetError::Empty)));
    drop(described);
    assert!(matches!(ours.recv(), Err(GetError::Closed)));

    let (ours, theirs) = pipe::<u32, u32>()?;
    let mut started = Process::new(nothing, (theirs,));
    started.start()?;
    assert!(matches!(ours.recv(), Err(GetError::Closed)));
    started.join()
}

#[test]
fn a_connection_comes_back_as_a_result() -> Result<()> {
    fn make() -> Result<Connection<Nothing, String>> {
        let (reader, writer) = pipe_one_way()?;
        writer.send("from a process that has ended".to_owned())?;
        Ok(reader)
    }
    let _watchdog = watchdog();
    let reader = mp::spawn(make, ())?.result()??;
    assert_eq!(reader.recv()?, "from a process that has ended");
    assert!(matches!(reader.recv(), Err(GetError::Closed)));
    Ok(())
}

#[test]
fn receivers_in_several_processes_share_the_messages() -> Result<()> {
    const COUNT: u64 = 3000;
    fn add(reader: Connection<Nothing, u64>, sums: Queue<u64>) -> Result<()> {
        let mut sum = 0;
        while let Ok(number) = reader.recv() {
            sum += number;
        }
        Ok(sums.put(sum)?)
    }
    let _watchdog = watchdog();
    let (reader, writer) = pipe_one_way::<u64>()?;
    let sums = Queue::new()?;
    let children: Vec<_> = (0..3)
        .map(|_| mp::spawn(add, (reader.clone(), sums.clone())))
        .collect::<Result<_>>()?;
    drop(reader);
    for number in 0..COUNT {
        writer.send(number)?;
    }
    drop(writer);
    let mut sum = 0;
    for child in children {
        sum += sums.get()?;
        child.join()?;
    }
    assert_eq!(sum, COUNT * (COUNT - 1) / 2);
    Ok(())
}
