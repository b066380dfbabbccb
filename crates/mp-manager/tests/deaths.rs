//! What is left when clients, the server or the owner are killed.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use mp_layout::{ErrorKind, Result};
use mp_manager::{Dict, List, Manager, Object};
use mp_object::{Event, Lock, ProcessIdentity};
use mp_process::{Process, spawn};
use mp_queue::Queue;
use mp_testkit::{Forked, PATIENCE, Watchdog, leave_descriptors};

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 3)
}

fn send_signal(pid: u32, signal: i32) {
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: a system call without pointers, on a child that the test started.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Kills a server. It may answer for a moment still.
fn kill(pid: u32) {
    send_signal(pid, libc::SIGKILL);
}

/// Kills a server, and waits until it answers no more.
fn kill_and_wait(manager: &Manager) -> Result<()> {
    let server = ProcessIdentity::of(manager.pid())?.expect("it runs");
    kill(manager.pid());
    assert!(server.wait_end(PATIENCE)?, "it does not end");
    Ok(())
}

/// Waits until the first thread of a process is in this state: `T` is stopped, `S` is asleep.
fn await_state(pid: u32, state: &str) {
    let is_in_state = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with(state)
    };
    while !is_in_state() {
        thread::yield_now();
    }
}

#[test]
fn a_killed_server_is_an_error_of_every_call() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list()?;
    list.append(1)?;
    kill_and_wait(&manager)?;
    for _ in 0..3 {
        let error = list.append(2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProcessDied, "{error}");
    }
    assert_eq!(
        manager.dict::<u32, u32>().unwrap_err().kind(),
        ErrorKind::ProcessDied
    );
    manager.shutdown()?;
    let another = Manager::new()?;
    assert_eq!(another.list::<u32>()?.len()?, 0);
    Ok(())
}

#[test]
fn a_client_that_waits_hears_of_the_servers_death() -> Result<()> {
    fn ask(list: List<u32>, asks: Event) -> Result<Duration> {
        list.append(1)?;
        asks.set();
        let mut last = Instant::now();
        loop {
            match list.append(1) {
                Ok(()) => last = Instant::now(),
                Err(error) if error.kind() == ErrorKind::ProcessDied => return Ok(last.elapsed()),
                Err(error) => return Err(error),
            }
        }
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list()?;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let asks = Event::new()?;
        clients.push(spawn(ask, (list.clone(), asks.clone()))?);
        asks.wait();
    }
    kill(manager.pid());
    for client in clients {
        // The goal is a second; a busy machine is not to fail here.
        assert!(client.result()?? < Duration::from_secs(10));
    }
    Ok(())
}

#[test]
fn a_client_that_connects_to_a_dead_server_is_told() -> Result<()> {
    fn connect(list: List<u32>, server: u64) -> Result<bool> {
        let server = ProcessIdentity::from_word(server).expect("a server");
        assert!(server.wait_end(PATIENCE)?);
        Ok(list.len().unwrap_err().kind() == ErrorKind::ProcessDied)
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list()?;
    let server = ProcessIdentity::of(manager.pid())?.expect("it runs");
    let client = spawn(connect, (list.clone(), server.word()))?;
    kill(manager.pid());
    assert!(client.result()??);
    Ok(())
}

#[test]
fn the_server_ends_with_its_owner() -> Result<()> {
    fn own(servers: Queue<u64>) -> Result<()> {
        let manager = Manager::new()?;
        let server = ProcessIdentity::of(manager.pid())?.expect("it runs");
        servers.put(server.word())?;
        thread::sleep(Duration::MAX);
        drop(manager);
        Ok(())
    }
    let _watchdog = watchdog();
    let servers = Queue::new()?;
    let owner = spawn(own, (servers.clone(),))?;
    let server = ProcessIdentity::from_word(servers.get()?).expect("a process");
    owner.kill()?;
    owner.join()?;
    assert!(server.wait_end(PATIENCE)?, "it lives on");
    Ok(())
}

#[test]
fn ctrl_c_does_not_end_the_server() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    // Before it has answered anything.
    send_signal(manager.pid(), libc::SIGINT);
    let list = manager.list()?;
    send_signal(manager.pid(), libc::SIGINT);
    list.append(1)?;
    assert_eq!(list.to_vec()?, [1]);
    Ok(())
}

#[test]
fn objects_of_killed_clients_are_freed() -> Result<()> {
    fn keep(list: List<u32>, has_it: Event) -> Result<()> {
        list.append(1)?;
        has_it.set();
        thread::sleep(Duration::MAX);
        Ok(())
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (list, has_it) = (manager.list()?, Event::new()?);
    let client = spawn(keep, (list.clone(), has_it.clone()))?;
    has_it.wait();
    drop(list);
    assert_eq!(manager.number_of_objects()?, 1, "the client has it");
    client.kill()?;
    client.join()?;
    assert_eq!(manager.number_of_objects()?, 0);
    Ok(())
}

/// Appends numbers, and counts in the dict how many are in for certain.
fn append(number: u64, list: List<u64>, done: Dict<u64, u64>) -> Result<()> {
    for count in 0.. {
        list.append(number)?;
        done.set(&number, count + 1)?;
    }
    Ok(())
}

#[test]
fn killed_clients_lose_nothing_that_was_done() -> Result<()> {
    const CLIENTS: u64 = 12;
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (list, done) = (manager.list::<u64>()?, manager.dict::<u64, u64>()?);
    let start = |number| -> Result<Process<Result<()>>> {
        spawn(append, (number, list.clone(), done.clone()))
    };
    for number in 0..CLIENTS {
        let client = start(number)?;
        // Somewhere in its work, which differs from one to the next.
        while done.get(&number)?.unwrap_or(0) < 5 + 7 * number {
            thread::yield_now();
        }
        client.kill()?;
        client.join()?;
    }
    let elements = list.to_vec()?;
    for number in 0..CLIENTS {
        let appended = elements
            .iter()
            .filter(|element| **element == number)
            .count() as u64;
        let counted = done.get(&number)?.expect("it has begun");
        assert!(
            appended == counted || appended == counted + 1,
            "client {number} counted {counted} elements, and there are {appended}"
        );
    }
    Ok(())
}

/// A value of one letter, longer than what a message has in itself.
fn long(letter: u8) -> Vec<u8> {
    vec![letter; 400 << 10]
}

fn set_long_values(dict: Dict<u32, Vec<u8>>, sets: Dict<u32, u64>) -> Result<()> {
    for count in 0.. {
        dict.set(&0, long(b'a' + (count % 26) as u8))?;
        sets.set(&0, count + 1)?;
    }
    Ok(())
}

#[test]
fn a_long_value_of_a_killed_client_is_there_as_a_whole() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (dict, sets) = (manager.dict::<u32, Vec<u8>>()?, manager.dict::<u32, u64>()?);
    for round in 0..10 {
        sets.clear()?;
        let client = spawn(set_long_values, (dict.clone(), sets.clone()))?;
        while sets.get(&0)?.unwrap_or(0) < 2 + round {
            thread::yield_now();
        }
        client.kill()?;
        client.join()?;
        let (value, sets) = (dict.get(&0)?, sets.get(&0)?.expect("it has begun"));
        // The last one that it counted, or the one after that.
        let expected = [sets - 1, sets].map(|count| long(b'a' + (count % 26) as u8));
        assert!(expected.contains(&value.expect("it was set")));
    }
    Ok(())
}

#[test]
fn what_a_killed_client_did_not_receive_comes_back() -> Result<()> {
    fn take(list: List<u32>, dict: Dict<u32, u32>, how: u32, mine: Event, go: Event) -> Result<()> {
        // It is connected then, and has one request to put.
        list.len()?;
        mine.set();
        go.wait();
        match how {
            0 => drop(list.pop()?),
            1 => drop(list.pop_at(1)?),
            2 => drop(dict.pop(&1)?),
            _ => drop(dict.popitem()?),
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (list, dict) = (manager.list()?, manager.dict()?);
    list.extend(0..3)?;
    dict.extend((0..3).map(|number| (number, number)))?;
    for how in 0..4 {
        let (ready, go) = (Event::new()?, Event::new()?);
        let arguments = (list.clone(), dict.clone(), how, ready.clone(), go.clone());
        let client = spawn(take, arguments)?;
        ready.wait();
        send_signal(manager.pid(), libc::SIGSTOP);
        await_state(manager.pid(), "T");
        go.set();
        // It waits for the reply.
        await_state(client.pid().expect("it runs"), "S");
        client.kill()?;
        client.join()?;
        send_signal(manager.pid(), libc::SIGCONT);
        let last = Instant::now() + PATIENCE;
        while (list.len()?, dict.len()?) != (3, 3) && Instant::now() < last {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(list.to_vec()?, [0, 1, 2], "after way {how}");
        assert_eq!(dict.keys()?, [0, 1, 2], "after way {how}");
    }
    Ok(())
}

#[test]
fn a_client_without_descriptors_waits_for_a_slow_server() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list()?;
    let client = Forked::arriving(|arrival| {
        // It is connected then.
        list.append(1).unwrap();
        send_signal(manager.pid(), libc::SIGSTOP);
        leave_descriptors(0);
        arrival.arrive();
        list.append(2).is_ok()
    });
    // It looks twice whether the server lives.
    thread::sleep(Duration::from_millis(600));
    send_signal(manager.pid(), libc::SIGCONT);
    assert!(client.succeeds());
    assert_eq!(list.to_vec()?, [1, 2]);
    Ok(())
}

#[test]
fn killed_clients_take_nothing_with_them_but_what_they_had() -> Result<()> {
    const ELEMENTS: u64 = 100;
    const CLIENTS: u64 = 10;
    /// Moves elements from one end of the list to the other.
    fn rotate(list: List<u64>, begun: Event) -> Result<()> {
        loop {
            let element = list.pop_at(0)?;
            list.append(element)?;
            begun.set();
        }
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list()?;
    list.extend(0..ELEMENTS)?;
    for number in 0..CLIENTS {
        let begun = Event::new()?;
        let client = spawn(rotate, (list.clone(), begun.clone()))?;
        begun.wait();
        // Somewhere in its work, which differs from one to the next.
        for _ in 0..number {
            list.len()?;
        }
        client.kill()?;
        client.join()?;
    }
    let mut elements = list.to_vec()?;
    elements.sort_unstable();
    let found = elements.len() as u64;
    elements.dedup();
    assert_eq!(found, elements.len() as u64, "an element is there twice");
    // Each had one that it had received, at most.
    assert!(
        found + CLIENTS >= ELEMENTS,
        "{found} of {ELEMENTS} are left after {CLIENTS} deaths"
    );
    Ok(())
}

/// A value whose callers come and go.
struct Visited(u32);

impl Visited {
    fn wait(&mut self, begun: Event, go: Event) {
        begun.set();
        go.wait();
    }

    fn visit(&mut self, _locks: Vec<Lock>) {
        self.0 += 1;
    }
}

/// How many descriptors a process has open.
fn descriptors_of(pid: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    open.count()
}

#[test]
fn calls_of_killed_clients_are_dropped_while_a_method_waits() -> Result<()> {
    const CALLERS: usize = 6;
    const LOCKS: usize = 8;
    fn call(visited: Object<Visited>) -> Result<()> {
        let locks: Result<Vec<Lock>> = (0..LOCKS).map(|_| Lock::new()).collect();
        visited.call(Visited::visit, (locks?,))
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let visited = manager.object(Visited, (0,))?;
    let (begun, go) = (Event::new()?, Event::new()?);
    thread::scope(|scope| {
        let waits = scope.spawn(|| visited.call(Visited::wait, (begun.clone(), go.clone())));
        begun.wait();
        let before = descriptors_of(manager.pid());
        let callers = (0..CALLERS).map(|_| spawn(call, (visited.clone(),)));
        let callers: Vec<Process<Result<()>>> = callers.collect::<Result<_>>()?;
        // The locks have come with the calls.
        while descriptors_of(manager.pid()) < before + CALLERS * LOCKS {
            thread::yield_now();
        }
        for caller in callers {
            caller.kill()?;
            caller.join()?;
        }
        while descriptors_of(manager.pid()) > before {
            thread::yield_now();
        }
        go.set();
        waits.join().expect("no panic")
    })?;
    assert_eq!(visited.call(|visited: &Visited| visited.0, ())?, 0);
    Ok(())
}
