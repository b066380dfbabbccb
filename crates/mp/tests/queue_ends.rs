//! The two ends of a queue in several processes, some of which are killed.

use mp::queue::{GetError, PutError};
use mp::{Event, Queue, QueueReceiver, QueueSender, Result};
use mp_testkit::{PATIENCE, Watchdog};

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 2)
}

fn stay() -> ! {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_receiver_ends_with_the_last_of_several_senders() -> Result<()> {
    fn send(sender: QueueSender<u64>, from: u64) -> Result<()> {
        for number in from..from + 1000 {
            sender.put(number)?;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let (sender, receiver) = Queue::ends()?;
    let first = mp::spawn(send, (sender.clone(), 0))?;
    let second = mp::spawn(send, (sender, 1000))?;
    let sum: u64 = receiver.iter().sum::<Result<_, _>>()?;
    assert_eq!(sum, 1999 * 2000 / 2);
    first.join()?;
    second.join()
}

#[test]
fn receivers_hear_that_the_last_sender_was_killed() -> Result<()> {
    fn put_and_stay(sender: QueueSender<u32>, done: Event) -> Result<()> {
        sender.put(1)?;
        done.set();
        stay()
    }
    fn get_all(receiver: QueueReceiver<u32>) -> Result<Vec<u32>> {
        Ok(receiver.iter().collect::<Result<_, _>>()?)
    }
    let _watchdog = watchdog();
    let (sender, receiver) = Queue::<u32>::ends()?;
    let done = Event::new()?;
    let child = mp::spawn(put_and_stay, (sender, done.clone()))?;
    done.wait();
    let elsewhere = mp::spawn(get_all, (receiver.clone(),))?;
    child.kill()?;
    let here = get_all(receiver)?;
    let there = elsewhere.result()??;
    assert_eq!([here, there].concat(), [1], "what it had put, once");
    child.join()
}

#[test]
fn senders_hear_that_the_last_receiver_was_killed() -> Result<()> {
    fn get_and_stay(receiver: QueueReceiver<u32>, done: Event) -> Result<()> {
        receiver.get()?;
        done.set();
        stay()
    }
    let _watchdog = watchdog();
    let (sender, receiver) = Queue::builder().bounded(1).ends()?;
    let done = Event::new()?;
    let child = mp::spawn(get_and_stay, (receiver, done.clone()))?;
    sender.put(1)?;
    done.wait();
    sender.put(2)?;
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| sender.put(3));
        child.kill()?;
        let refused = blocked.join().expect("no panic");
        assert!(matches!(refused, Err(PutError::Closed(3))), "{refused:?}");
        child.join()
    })
}

#[test]
fn a_sender_on_its_way_to_a_process_counts_as_there() -> Result<()> {
    fn put(sender: QueueSender<u32>) -> Result<()> {
        Ok(sender.put(7)?)
    }
    let _watchdog = watchdog();
    let (sender, receiver) = Queue::<u32>::ends()?;
    let mut described = mp::Process::new(put, (sender,));
    assert!(matches!(receiver.try_get(), Err(GetError::Empty)));
    described.start()?;
    assert_eq!(receiver.get()?, 7);
    described.join()?;
    assert!(matches!(receiver.get(), Err(GetError::Closed)));
    Ok(())
}
