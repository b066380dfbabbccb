//! Values of a program's own types at the server, and what makes objects in other processes.

use std::thread;

use mp_layout::{Error, ErrorKind, Result};
use mp_manager::{Dict, List, Manager, ManagerHandle, Object};
use mp_object::{Event, Mutex};
use mp_process::spawn;
use mp_queue::Queue;
use mp_testkit::{Forked, PATIENCE, Watchdog, leave_descriptors};
use serde::{Deserialize, Serialize};

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 3)
}

/// A counter that says when it is dropped.
struct Counter {
    total: u64,
    dropped: Option<Event>,
}

impl Counter {
    fn new(total: u64) -> Self {
        let dropped = None;
        Self { total, dropped }
    }

    fn with_event(dropped: Event) -> Self {
        let (total, dropped) = (0, Some(dropped));
        Self { total, dropped }
    }

    /// Not in one step: another call in between would be lost.
    fn add(&mut self, amount: u64) -> u64 {
        let before = self.total;
        thread::yield_now();
        self.total = before + amount;
        self.total
    }

    fn total(&self) -> u64 {
        self.total
    }

    fn add_and_panic(&mut self, amount: u64) {
        self.total += amount;
        panic!("{} is enough", self.total);
    }

    fn wait(&mut self, begun: Event, go: Event) {
        begun.set();
        go.wait();
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.set();
        }
    }
}

#[test]
fn methods_run_at_the_server_one_after_the_other() -> Result<()> {
    fn count(counter: Object<Counter>) -> Result<()> {
        for _ in 0..100 {
            counter.call(Counter::add, (2,))?;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let counter = manager.object(Counter::new, (5,))?;
    let workers: Result<Vec<_>> = (0..3).map(|_| spawn(count, (counter.clone(),))).collect();
    for worker in workers? {
        worker.result()??;
    }
    assert_eq!(counter.call(Counter::total, ())?, 605);
    let server = counter.call(|_: &Counter| std::process::id(), ())?;
    assert_eq!(server, manager.pid());
    Ok(())
}

#[test]
fn a_method_that_panics_is_its_callers_error_and_the_object_lives_on() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let counter = manager.object(Counter::new, (5,))?;
    let error = counter.call(Counter::add_and_panic, (2,)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked, "{error}");
    assert!(error.to_string().contains("7 is enough"), "{error}");
    assert_eq!(counter.call(Counter::total, ())?, 7);
    Ok(())
}

#[test]
fn a_method_that_waits_holds_up_no_other_object() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (slow, list) = (manager.object(Counter::new, (1,))?, manager.list()?);
    let (begun, go) = (Event::new()?, Event::new()?);
    thread::scope(|scope| {
        let waits = scope.spawn(|| slow.call(Counter::wait, (begun.clone(), go.clone())));
        begun.wait();
        list.append(1)?;
        let other = manager.object(Counter::new, (2,))?;
        assert_eq!(other.call(Counter::total, ())?, 2);
        go.set();
        waits.join().expect("no panic")
    })?;
    assert_eq!(slow.call(Counter::total, ())?, 1);
    Ok(())
}

#[test]
fn a_method_that_ends_the_server_is_an_error_of_every_client() -> Result<()> {
    fn wait(counter: Object<Counter>, begun: Event, go: Event) -> Result<bool> {
        let error = counter.call(Counter::wait, (begun, go)).unwrap_err();
        Ok(error.kind() == ErrorKind::ProcessDied)
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (counter, other) = (
        manager.object(Counter::new, (1,))?,
        manager.object(Counter::new, (2,))?,
    );
    let (begun, go) = (Event::new()?, Event::new()?);
    let client = spawn(wait, (other, begun.clone(), go))?;
    begun.wait();
    let ends = |_: &Counter| -> () { std::process::exit(3) };
    let error = counter.call(ends, ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProcessDied, "{error}");
    assert!(client.result()??);
    assert_eq!(
        counter.call(Counter::total, ()).unwrap_err().kind(),
        ErrorKind::ProcessDied
    );
    Ok(())
}

/// What is left of a panic has a drop of the program's own.
#[test]
fn a_panic_whose_payload_panics_as_well_is_an_error_and_the_object_lives_on() -> Result<()> {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("once more");
        }
    }
    fn panic(_: &mut Counter) {
        std::panic::panic_any(Payload);
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let counter = manager.object(Counter::new, (7,))?;
    for _ in 0..2 {
        let error = counter.call(panic, ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked, "{error}");
    }
    assert_eq!(counter.call(Counter::total, ())?, 7);
    Ok(())
}

#[test]
fn a_shutdown_waits_for_the_drop_of_a_value_that_was_freed_before() -> Result<()> {
    struct Slow([Event; 3]);
    impl Drop for Slow {
        fn drop(&mut self) {
            let [begun, go, done] = &self.0;
            begun.set();
            go.wait();
            done.set();
        }
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let events = [Event::new()?, Event::new()?, Event::new()?];
    let [begun, go, done] = &events;
    drop(manager.object(Slow, (events.clone(),))?);
    // A sweep has freed it.
    begun.wait();
    assert_eq!(manager.number_of_objects()?, 0);
    thread::scope(|scope| {
        let shutdown = scope.spawn(|| manager.shutdown());
        while manager.list::<u8>().is_ok() {
            thread::yield_now();
        }
        go.set();
        shutdown.join().expect("no panic")
    })?;
    assert!(done.is_set());
    Ok(())
}

#[test]
fn a_value_that_cannot_be_made_is_an_error_and_no_object() -> Result<()> {
    fn fail(text: String) -> Result<Counter> {
        Err(Error::new(ErrorKind::NotFound, "open", text))
    }
    fn panic(text: String) -> Counter {
        panic!("{text}")
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let error = manager
        .try_object(fail, ("a file".to_owned(),))
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotFound, "open a file: no such object")
    );
    let error = manager.object(panic, ("too bad".to_owned(),)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("too bad"), "{error}");
    while manager.number_of_objects()? != 0 {
        thread::yield_now();
    }
    Ok(())
}

#[test]
fn proxies_and_shared_objects_are_arguments_and_results() -> Result<()> {
    type Made = (List<u32>, Mutex<u64>);
    /// Asks the manager in whose server it runs.
    fn fill(
        _: &mut Counter,
        manager: ManagerHandle,
        dict: Dict<u32, u32>,
        sum: Mutex<u64>,
    ) -> Result<Made> {
        dict.set(&1, 10)?;
        *sum.lock()? += 1;
        let made = manager.list()?;
        made.extend(dict.get(&2)?)?;
        Ok((made, sum))
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (dict, sum) = (manager.dict()?, Mutex::new(1)?);
    dict.set(&2, 20)?;
    let counter = manager.object(Counter::new, (5,))?;
    let (list, same) = counter.call(fill, (manager.handle(), dict.clone(), sum.clone()))??;
    assert_eq!((dict.get(&1)?, *same.lock()?), (Some(10), 2));
    assert_eq!(list.to_vec()?, [20]);
    assert_eq!(manager.number_of_objects()?, 3);
    Ok(())
}

#[test]
fn an_objects_value_is_dropped_with_its_last_proxy_and_with_the_manager() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let [first, second] = [Event::new()?, Event::new()?];
    let one = manager.object(Counter::with_event, (first.clone(),))?;
    let other = manager.object(Counter::with_event, (second.clone(),))?;
    let queue = Queue::new()?;
    queue.put(one)?;
    assert_eq!(manager.number_of_objects()?, 2);
    drop(queue.get()?);
    first.wait();
    assert!(!second.is_set());
    manager.shutdown()?;
    assert!(second.is_set());
    assert_eq!(
        other.call(Counter::total, ()).unwrap_err().kind(),
        ErrorKind::Closed
    );
    Ok(())
}

#[test]
fn what_has_too_many_levels_ends_neither_client_nor_server() -> Result<()> {
    #[derive(Serialize, Deserialize)]
    enum Chain {
        End,
        Link(Box<Chain>),
    }
    fn chain(levels: u32) -> Chain {
        (0..levels).fold(Chain::End, |next, _| Chain::Link(Box::new(next)))
    }
    fn levels(mut chain: Chain) -> u32 {
        let mut levels = 0;
        while let Chain::Link(next) = chain {
            chain = *next;
            levels += 1;
        }
        levels
    }
    fn take(_: &mut Counter, chain: Chain) -> u32 {
        levels(chain)
    }
    fn ask(manager: &Manager) -> Result<()> {
        let dict = manager.dict::<u32, Chain>()?;
        let counter = manager.object(Counter::new, (5,))?;
        let refused = [
            dict.set(&1, chain(10_000)).unwrap_err(),
            counter.call(take, (chain(10_000),)).unwrap_err(),
            counter
                .call(|_: &Counter| chain(2_000), ())
                .map(drop)
                .unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Encode, "{error}");
            assert!(error.to_string().contains("500 levels"), "{error}");
        }
        dict.set(&1, chain(490))?;
        assert_eq!(dict.get(&1)?.map(levels), Some(490));
        assert_eq!(counter.call(take, (chain(490),))?, 490);
        Ok(())
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    thread::scope(|scope| {
        // The drop of such a value takes a large stack, too.
        let large = thread::Builder::new().stack_size(256 << 20);
        let asks = large
            .spawn_scoped(scope, || ask(&manager))
            .expect("a thread");
        asks.join().expect("no panic")
    })
}

#[test]
fn another_process_makes_objects() -> Result<()> {
    fn make(manager: ManagerHandle) -> Result<(List<u32>, Object<Counter>)> {
        let list = manager.list()?;
        list.append(7)?;
        Ok((list, manager.object(Counter::new, (3,))?))
    }
    fn forward(managers: Dict<String, ManagerHandle>) -> Result<(List<u32>, Object<Counter>)> {
        make(managers.get("self")?.expect("a manager"))
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (list, counter) = spawn(make, (manager.handle(),))?.result()??;
    assert_eq!(
        (list.to_vec()?, counter.call(Counter::total, ())?),
        (vec![7], 3)
    );
    assert_eq!(manager.number_of_objects()?, 2);
    let managers = manager.dict()?;
    managers.set("self", manager.handle())?;
    let (list, _) = spawn(forward, (managers,))?.result()??;
    assert_eq!(list.to_vec()?, [7]);
    let handle = manager.handle();
    manager.shutdown()?;
    assert_eq!(handle.list::<u32>().unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

#[test]
fn a_method_that_takes_all_descriptors_is_an_error_of_new_clients_only() -> Result<()> {
    fn take_all(_: &mut Counter, begun: Event, go: Event) -> Result<()> {
        leave_descriptors(0);
        begun.set();
        go.wait();
        let raised = mp_os::descriptor::raise_limit();
        raised.map(drop).map_err(Error::from)
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (greedy, list) = (manager.object(Counter::new, (1,))?, manager.list()?);
    let [begun, go, again] = [Event::new()?, Event::new()?, Event::new()?];
    let new_client_gets = |expected: std::result::Result<usize, ErrorKind>| {
        let list = &list;
        let client = Forked::new(move || list.len().map_err(|error| error.kind()) == expected);
        client.succeeds()
    };
    thread::scope(|scope| {
        let waits = scope.spawn(|| greedy.call(Counter::wait, (begun.clone(), go.clone())));
        begun.wait();
        // It connects this thread as well.
        list.append(1)?;
        go.set();
        waits.join().expect("no panic")?;
        go.clear();
        let takes = scope.spawn(|| greedy.call(take_all, (again.clone(), go.clone())));
        again.wait();
        for _ in 0..3 {
            assert!(new_client_gets(Err(ErrorKind::TooManyDescriptors)));
            assert_eq!(list.get(0)?, Some(1));
        }
        go.set();
        takes.join().expect("no panic")?
    })?;
    assert!(new_client_gets(Ok(1)));
    Ok(())
}

/// The server's threads have a larger stack than others, as they read what clients send.
#[test]
fn arguments_of_many_large_levels_end_no_server() -> Result<()> {
    #[derive(Serialize, Deserialize)]
    struct Node {
        data: [[u64; 32]; 16],
        next: Option<Box<Node>>,
    }
    fn nodes(count: u32) -> Option<Box<Node>> {
        (0..count).fold(None, |next, _| {
            let data = [[7; 32]; 16];
            Some(Box::new(Node { data, next }))
        })
    }
    fn count(_: &Counter, mut nodes: Option<Box<Node>>) -> u32 {
        let mut count = 0;
        while let Some(node) = nodes {
            nodes = node.next;
            count += 1;
        }
        count
    }
    fn ask(manager: &Manager) -> Result<()> {
        let counter = manager.object(Counter::new, (5,))?;
        // Each is two levels, and the arguments are some.
        assert_eq!(counter.call(count, (nodes(245),))?, 245);
        let error = counter.call(count, (nodes(251),)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode, "{error}");
        Ok(())
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    thread::scope(|scope| {
        let large = thread::Builder::new().stack_size(256 << 20);
        let asks = large
            .spawn_scoped(scope, || ask(&manager))
            .expect("a thread");
        asks.join().expect("no panic")
    })
}
