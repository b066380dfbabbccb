//! Managed dictionaries and lists: what their methods do, and how proxies travel.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::Duration;

use mp_layout::{ErrorKind, Result};
use mp_manager::{Dict, List, Manager, Namespace};
use mp_object::{Event, Lock, Mutex, PermitSemaphore, transfer};
use mp_process::spawn;
use mp_queue::Queue;
use mp_testkit::{Forked, PATIENCE, Watchdog, leave_descriptors};

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 3)
}

#[test]
fn a_dict_has_the_methods_of_pythons() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<String, u32>()?;
    assert!(dict.is_empty()?);
    for (key, value) in [("b", 2), ("a", 1), ("c", 3)] {
        dict.set(key, value)?;
    }
    dict.set("b", 20)?;
    assert_eq!(
        dict.keys()?,
        ["b", "a", "c"],
        "in the order in which they came"
    );
    assert_eq!(dict.values()?, [20, 1, 3]);
    assert_eq!(dict.get("a")?, Some(1));
    assert_eq!(dict.get(&"none".to_owned())?, None);
    assert!(dict.contains("c")? && !dict.contains("d")?);
    assert_eq!(dict.insert("a", 10)?, Some(1));
    assert_eq!(dict.insert("d", 4)?, None);
    assert_eq!((dict.setdefault("d", 9)?, dict.setdefault("e", 5)?), (4, 5));
    assert_eq!((dict.pop("b")?, dict.pop("b")?), (Some(20), None));
    assert_eq!(dict.popitem()?, Some(("e".to_owned(), 5)));
    assert_eq!((dict.remove("a")?, dict.remove("a")?), (true, false));
    dict.extend([("c".to_owned(), 30), ("f".to_owned(), 6)])?;
    let items = [("c", 30), ("d", 4), ("f", 6)].map(|(key, value)| (key.to_owned(), value));
    assert_eq!(dict.items()?, items);
    assert_eq!(dict.to_map()?, HashMap::from(items));
    assert_eq!(dict.len()?, 3);
    dict.clear()?;
    assert_eq!(dict.popitem()?, None);
    Ok(())
}

#[test]
fn a_list_has_the_methods_of_pythons() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list::<i32>()?;
    assert_eq!(list.pop()?, None);
    list.append(3)?;
    list.extend([1, 2, 3])?;
    list.insert(0, 9)?;
    list.insert(100, 7)?;
    assert_eq!(list.to_vec()?, [9, 3, 1, 2, 3, 7]);
    assert_eq!((list.get(1)?, list.get(6)?), (Some(3), None));
    assert_eq!(list.slice(1..3)?, [3, 1]);
    assert_eq!(list.slice(4..100)?, [3, 7]);
    assert_eq!(
        (list.index(&3)?, list.index(&4)?, list.count(&3)?),
        (Some(1), None, 2)
    );
    assert_eq!((list.remove(&3)?, list.remove(&4)?), (true, false));
    assert_eq!((list.pop()?, list.pop_at(0)?), (Some(7), 9));
    list.set(0, 10)?;
    list.reverse()?;
    assert_eq!(list.to_vec()?, [3, 2, 10]);
    list.sort()?;
    assert_eq!(list.to_vec()?, [2, 3, 10]);
    list.update(1, |element| element * 2)?;
    assert!(list.contains(&6)? && !list.is_empty()?);
    for error in [
        list.set(3, 0).unwrap_err(),
        list.pop_at(3).unwrap_err(),
        list.update(3, |element| element).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("has 3 elements"), "{error}");
    }
    list.clear()?;
    assert_eq!(list.len()?, 0);
    Ok(())
}

#[test]
fn a_set_has_each_element_once() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let set = manager.set::<String>()?;
    assert!(set.add("b")? && set.add("a")? && !set.add("b")?);
    set.extend(["c", "a"].map(str::to_owned))?;
    assert_eq!(set.to_vec()?, ["b", "a", "c"]);
    assert!(set.contains("c")? && !set.contains("d")?);
    assert!(set.remove("b")? && !set.remove("b")?);
    assert_eq!((set.pop()?.as_deref(), set.len()?), (Some("c"), 1));
    set.clear()?;
    assert!(set.is_empty()? && set.pop()?.is_none());
    Ok(())
}

#[test]
fn a_namespace_has_values_of_any_types() -> Result<()> {
    fn count(space: Namespace) -> Result<()> {
        space.update("count", |count: Option<u64>| count.unwrap_or(0) + 1)
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let space = manager.namespace()?;
    space.set("text", "hello".to_owned())?;
    spawn(count, (space.clone(),))?.result()??;
    assert_eq!(space.get::<u64>("count")?, Some(1));
    assert_eq!(space.names()?, ["text", "count"]);
    assert!(space.remove("text")? && !space.remove("text")?);
    assert_eq!(space.get::<String>("text")?, None);
    space.set("text", "hello".to_owned())?;
    assert_eq!(
        space.get::<bool>("text").unwrap_err().kind(),
        ErrorKind::Decode
    );
    Ok(())
}

#[test]
fn a_killed_client_gives_locks_and_permits_back() -> Result<()> {
    fn hold(lock: Lock, permits: PermitSemaphore, holds: Event) -> Result<()> {
        let _guard = lock.lock()?;
        let _permit = permits.acquire()?;
        holds.set();
        thread::sleep(Duration::MAX);
        Ok(())
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (lock, permits, holds) = (manager.lock()?, manager.semaphore(1)?, manager.event()?);
    let client = spawn(hold, (lock.clone(), permits.clone(), holds.clone()))?;
    holds.wait();
    client.kill()?;
    client.join()?;
    let error = mp_layout::Error::from(lock.lock().unwrap_err());
    assert_eq!(error.kind(), ErrorKind::OwnerDied);
    drop(permits.acquire()?);
    Ok(())
}

#[test]
fn values_are_compared_and_set_in_one_step() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<u8, String>()?;
    let word = |word: &str| word.to_owned();
    assert!(dict.compare_and_set(&1, None, Some(word("a")))?);
    assert!(!dict.compare_and_set(&1, None, Some(word("b")))?);
    assert!(!dict.compare_and_set(&1, Some(&word("b")), Some(word("c")))?);
    assert!(dict.compare_and_set(&1, Some(&word("a")), Some(word("c")))?);
    assert_eq!(dict.get(&1)?, Some(word("c")));
    assert!(!dict.compare_and_set(&1, Some(&word("a")), None)?);
    assert!(dict.compare_and_set(&1, Some(&word("c")), None)?);
    assert!(
        dict.compare_and_set(&1, None, None)?,
        "it is not there, as expected"
    );
    let list = manager.list()?;
    list.append(1)?;
    assert!(!list.compare_and_set(0, &2, 3)? && list.compare_and_set(0, &1, 3)?);
    assert_eq!(list.to_vec()?, [3]);
    Ok(())
}

#[test]
fn an_entry_is_changed_or_inserted() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<String, Vec<u32>>()?;
    assert_eq!(dict.entry("a").and_modify(|list| list.push(1)).get()?, None);
    assert!(dict.is_empty()?, "nothing is set");
    assert_eq!(dict.entry("a").or_default()?, []);
    let twice = dict.entry("a").and_modify(|list| list.push(1));
    let twice = twice.and_modify(|list| list.push(2));
    assert_eq!(twice.or_insert(vec![9])?, [1, 2]);
    assert_eq!(dict.entry("b").or_insert_with(|| vec![3])?, [3]);
    assert_eq!(
        dict.entry("b")
            .or_insert_with(|| unreachable!("it is there"))?,
        [3]
    );
    assert_eq!(dict.values()?, [vec![1, 2], vec![3]]);
    let locks = manager.dict::<Lock, u32>()?;
    let error = locks.entry(&Lock::new()?).or_insert(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    Ok(())
}

#[test]
fn an_entry_that_another_process_sets_meanwhile_is_read_again() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<String, u32>()?;
    // Another process inserts it between the look and the setting, and removes it, and again.
    let mut runs = 0;
    let inserted = dict.entry("a").or_insert_with(|| {
        runs += 1;
        dict.set("a", 10).unwrap();
        1
    })?;
    assert_eq!((inserted, runs), (10, 1));
    let mut runs = 0;
    let changed = dict.entry("a").and_modify(|n| {
        runs += 1;
        if runs < 3 {
            dict.set("a", *n + 100).unwrap();
        }
        *n += 1;
    });
    assert_eq!(changed.or_insert(0)?, 211);
    assert_eq!((dict.get("a")?, runs), (Some(211), 3));
    Ok(())
}

#[test]
fn no_update_of_another_process_is_lost() -> Result<()> {
    fn count(dict: Dict<String, u64>, list: List<u64>) -> Result<()> {
        for _ in 0..100 {
            dict.update("n", |n| n.unwrap_or(0) + 1)?;
            dict.entry("n").and_modify(|n| *n += 1).or_insert(1)?;
            list.update(0, |n| n + 1)?;
            list.update_all(|all| all.push(0))?;
        }
        Ok(())
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let (dict, list) = (manager.dict()?, manager.list()?);
    list.append(0)?;
    let workers: Result<Vec<_>> = (0..3)
        .map(|_| spawn(count, (dict.clone(), list.clone())))
        .collect();
    for worker in workers? {
        worker.result()??;
    }
    assert_eq!(dict.get("n")?, Some(600));
    assert_eq!((list.get(0)?, list.len()?), (Some(300), 301));
    Ok(())
}

#[test]
fn threads_of_a_process_ask_at_the_same_time() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list()?;
    thread::scope(|scope| {
        for thread in 0..4 {
            let list = &list;
            scope.spawn(move || {
                for number in 0..100 {
                    list.append(thread * 100 + number).unwrap();
                }
            });
        }
    });
    let mut numbers = list.to_vec()?;
    numbers.sort_unstable();
    assert_eq!(numbers, Vec::from_iter(0..400));
    Ok(())
}

#[test]
fn a_change_of_an_inner_object_is_seen_by_all() -> Result<()> {
    fn append(rows: Dict<String, List<u32>>) -> Result<()> {
        rows.get("a")?.expect("a row").append(7)
    }
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let rows = manager.dict::<String, List<u32>>()?;
    let row = manager.list()?;
    rows.set("a", row.clone())?;
    spawn(append, (rows.clone(),))?.result()??;
    assert_eq!(row.to_vec()?, [7]);
    assert!(rows.get("a")?.expect("a row").is_same(&row));
    assert_eq!(rows.items()?.len(), 1);
    Ok(())
}

#[test]
fn proxies_go_through_queues_and_other_managers() -> Result<()> {
    fn take(queue: Queue<List<u32>>) -> Result<()> {
        queue.get()?.append(1)
    }
    let _watchdog = watchdog();
    let (one, other) = (Manager::new()?, Manager::new()?);
    let list = one.list()?;
    let queue = Queue::new()?;
    queue.put(list.clone())?;
    spawn(take, (queue,))?.result()??;
    let lists = other.list::<List<u32>>()?;
    lists.append(list.clone())?;
    lists.get(0)?.expect("a list").append(2)?;
    assert_eq!(list.to_vec()?, [1, 2]);
    Ok(())
}

#[test]
fn shared_objects_are_values() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<u32, (Lock, Mutex<u64>)>()?;
    let total = Mutex::new(1)?;
    dict.set(&1, (Lock::new()?, total.clone()))?;
    let (_, same) = dict.pop(&1)?.expect("what was put");
    *same.lock()? += 1;
    assert_eq!(*total.lock()?, 2);
    let error = dict
        .compare_and_set(&1, Some(&(Lock::new()?, total)), None)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let keys = manager.dict::<Lock, u32>()?;
    assert_eq!(
        keys.set(&Lock::new()?, 1).unwrap_err().kind(),
        ErrorKind::Encode
    );
    Ok(())
}

#[test]
fn a_value_is_taken_by_a_process_with_descriptors_for_one_copy_of_it() -> Result<()> {
    const LOCKS: usize = 40;
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list::<Vec<Lock>>()?;
    let locks: Result<Vec<Lock>> = (0..LOCKS).map(|_| manager.lock()).collect();
    list.append(locks?)?;
    let child = Forked::new(|| {
        // It is connected then.
        list.len().unwrap();
        // Some to work with, but not as many as the locks again.
        leave_descriptors(LOCKS as u64 + 20);
        list.pop()
            .unwrap()
            .is_some_and(|locks| locks.len() == LOCKS)
    });
    assert!(child.succeeds());
    Ok(())
}

/// Waits until the server has so many objects.
#[track_caller]
fn expect_objects(manager: &Manager, count: usize) {
    // Of objects in each other a busy server may leave some to the next look.
    while manager.number_of_objects().unwrap() != count {
        thread::yield_now();
    }
}

#[test]
fn an_object_is_freed_with_its_last_proxy() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list::<u32>()?;
    let same = list.clone();
    let queue = Queue::new()?;
    queue.put(list)?;
    drop(same);
    let inner = manager.list::<u32>()?;
    let outer = manager.dict::<u32, List<u32>>()?;
    outer.set(&1, inner)?;
    assert_eq!(
        manager.number_of_objects()?,
        3,
        "one is in a message, one in another object"
    );
    assert_eq!(queue.get()?.len()?, 0);
    expect_objects(&manager, 2);
    drop(outer);
    expect_objects(&manager, 0);
    Ok(())
}

#[test]
fn a_proxy_takes_one_page_of_a_users_pipes() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let _list = manager.list::<u32>()?;
    // SAFETY: without pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let is_of_a_page = |number: String| {
        let file = fs::read_link(format!("/proc/self/fd/{number}"));
        let is_pipe = file.is_ok_and(|file| file.to_string_lossy().starts_with("pipe:"));
        // SAFETY: without pointers; another descriptor of this number answers with another size.
        is_pipe
            && page
                == i64::from(unsafe { libc::fcntl(number.parse().unwrap(), libc::F_GETPIPE_SZ) })
    };
    let mut open = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    assert!(open.any(|entry| is_of_a_page(entry.unwrap().file_name().into_string().unwrap())));
    Ok(())
}

#[test]
fn containers_of_more_proxies_than_an_answer_carries_are_read_as_a_whole() -> Result<()> {
    const ROWS: usize = 520;
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let rows = manager.list()?;
    let dict = manager.dict::<usize, List<usize>>()?;
    for number in 0..ROWS {
        let row = manager.list::<usize>()?;
        row.append(number)?;
        rows.append(row.clone())?;
        dict.set(&number, row)?;
    }
    let values = dict.values()?;
    for (number, row) in rows.to_vec()?.iter().enumerate() {
        assert_eq!(row.get(0)?, Some(number));
        assert!(row.is_same(&values[number]));
    }
    assert_eq!(values.len(), ROWS);
    assert_eq!(rows.slice(1..ROWS - 1)?.len(), ROWS - 2);
    Ok(())
}

#[test]
fn a_value_of_many_bytes_comes_back() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<u32, Vec<u64>>()?;
    let value: Vec<u64> = (0..100_000).collect();
    dict.set(&1, value.clone())?;
    assert!(dict.get(&1)? == Some(value));
    Ok(())
}

/// Longer than what a message has in itself.
fn long(byte: char) -> String {
    byte.to_string().repeat(300 << 10)
}

#[test]
fn a_long_value_is_what_a_short_one_is() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<u32, String>()?;
    assert_eq!(dict.insert(&1, long('a'))?, None);
    assert_eq!(dict.insert(&1, long('b'))?, Some(long('a')));
    assert!(!dict.compare_and_set(&1, Some(&long('a')), Some(long('c')))?);
    assert!(dict.compare_and_set(&1, Some(&long('b')), Some(long('c')))?);
    dict.update(&1, |text| text.unwrap_or_default() + "!")?;
    assert_eq!(dict.get(&1)?, Some(long('c') + "!"));
    dict.extend([(2, long('d')), (3, long('e'))])?;
    assert_eq!(dict.popitem()?, Some((3, long('e'))));
    assert_eq!(dict.pop(&1)?, Some(long('c') + "!"));
    let list = manager.list::<String>()?;
    list.extend([long('a'), long('b')])?;
    list.append(long('b'))?;
    list.insert(0, long('c'))?;
    assert_eq!(
        (list.index(&long('b'))?, list.count(&long('b'))?),
        (Some(2), 2)
    );
    assert!(list.remove(&long('b'))?);
    list.sort()?;
    assert_eq!(list.to_vec()?, [long('a'), long('b'), long('c')]);
    let space = manager.namespace()?;
    space.set("rows", (long('r'), list.clone()))?;
    let (text, rows) = space
        .get::<(String, List<String>)>("rows")?
        .expect("it is set");
    assert!(text == long('r') && rows.is_same(&list));
    Ok(())
}

#[test]
fn values_of_all_lengths_come_back() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<u32, Vec<u8>>()?;
    let value = |len: usize| -> Vec<u8> { (0..len).map(|n| (n % 251) as u8).collect() };
    // Up to both limits between which a value has memory of its own on its way, and back.
    let lens = [
        1,
        65_533,
        65_534,
        65_536,
        100_000,
        1 << 20,
        4_194_300,
        4_194_304,
        5_000_000,
    ];
    for len in lens.into_iter().chain([1 << 20, 70_000, 3]) {
        dict.set(&1, value(len))?;
        assert!(dict.get(&1)? == Some(value(len)), "{len}");
        assert!(dict.pop(&1)? == Some(value(len)), "{len}");
    }
    Ok(())
}

#[test]
fn a_copy_of_many_bytes_comes_in_pages_of_one_state() -> Result<()> {
    const VALUES: usize = 800;
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<String, String>()?;
    let list = manager.list::<String>()?;
    // 40 MB in values that a message has in itself.
    let text = |number: usize| format!("{number:050000}");
    for number in 0..VALUES {
        dict.set(&text(number), text(number))?;
        list.append(text(number))?;
    }
    let all: Vec<String> = (0..VALUES).map(text).collect();
    assert!(dict.keys()? == all && dict.values()? == all);
    assert!(list.to_vec()? == all);
    Ok(())
}

#[test]
fn a_proxy_of_another_type_is_refused() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let dict = manager.dict::<String, u32>()?;
    let packed = mp_object::message::pack(&dict, Vec::new(), transfer::Way::Descriptors);
    let (bytes, descriptors) = packed.expect("it travels").into_parts();
    let copies = descriptors.expect("handles").into_iter();
    let copies = copies.map(|fd| std::os::fd::AsFd::as_fd(&fd).try_clone_to_owned().unwrap());
    let error = mp_object::message::unpack::<Dict<String, String>>(&bytes, Some(copies.collect()))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected mp_manager::dict::Dict<"),
        "{error}"
    );
    Ok(())
}

#[test]
fn after_a_shutdown_all_is_closed() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::new()?;
    let list = manager.list()?;
    list.append(1)?;
    manager.shutdown()?;
    manager.shutdown()?;
    assert_eq!(list.append(2).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(manager.list::<u32>().unwrap_err().kind(), ErrorKind::Closed);
    drop(manager);
    let error = list.to_vec().unwrap_err();
    assert_eq!(error.to_string(), "ask a manager: it was shut down");
    Ok(())
}
