//! Managers that are used by sockets: the same proxies, names, nesting, and what does not cross.

use std::collections::HashMap;
use std::thread;

use mp_layout::{ErrorKind, Result};
use mp_manager::{Dict, List, Manager, Namespace, Object, RemoteManager, Set};
use mp_net::Address;
use mp_object::Lock;
use mp_process::spawn;
use mp_testkit::{Forked, PATIENCE, Watchdog};

const KEY: &[u8] = b"the key";

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 3)
}

/// A manager at an address that no other test has.
fn bound() -> Manager {
    Manager::bind(([127, 0, 0, 1], 0), KEY).unwrap()
}

fn connected(manager: &Manager) -> RemoteManager {
    RemoteManager::connect(manager.address().unwrap(), KEY).unwrap()
}

/// Some of what each method does, as text.
fn exercise(
    dict: &Dict<String, u32>,
    list: &List<String>,
    set: &Set<i8>,
    space: &Namespace,
) -> Result<Vec<String>> {
    dict.set("a", 1)?;
    dict.extend([("b".to_owned(), 2), ("c".to_owned(), 3)])?;
    dict.update("a", |value| value.unwrap_or(0) + 10)?;
    list.extend(["x", "y", "z"].map(str::to_owned))?;
    list.insert(1, "w".to_owned())?;
    list.sort()?;
    set.extend([3, 1, 3])?;
    space.set("rate", 0.5_f64)?;
    Ok(vec![
        format!("{:?}", dict.get("a")?),
        format!("{:?}", dict.insert("b", 7)?),
        format!("{:?}", dict.entry("d").or_insert(4)?),
        format!("{:?}", dict.compare_and_set("d", Some(&4), None)?),
        format!("{:?}", (dict.pop("c")?, dict.pop("c")?)),
        format!("{:?}", dict.popitem()?),
        format!("{:?}", (dict.items()?, dict.len()?)),
        format!("{:?}", (list.to_vec()?, list.slice(1..3)?)),
        format!("{:?}", (list.pop()?, list.pop_at(0)?)),
        format!("{:?}", list.pop_at(9).map_err(|error| error.kind())),
        format!("{:?}", (list.index(&"y".to_owned())?, list.len()?)),
        format!("{:?}", (set.add(&1)?, set.to_vec()?, set.pop()?)),
        format!("{:?}", (space.get::<f64>("rate")?, space.names()?)),
        format!("{:?}", (dict.clear()?, dict.is_empty()?)),
    ])
}

#[test]
fn remote_proxies_do_what_local_ones_do() -> Result<()> {
    let _watchdog = watchdog();
    let manager = bound();
    let local = exercise(
        &manager.dict()?,
        &manager.list()?,
        &manager.set()?,
        &manager.namespace()?,
    )?;
    let remote = connected(&manager);
    let away = exercise(
        &remote.dict()?,
        &remote.list()?,
        &remote.set()?,
        &remote.namespace()?,
    )?;
    assert_eq!(local, away);
    assert_eq!(remote.pid(), manager.pid());
    Ok(())
}

#[test]
fn a_published_object_is_found_by_its_name() -> Result<()> {
    let _watchdog = watchdog();
    for address in [
        Address::from(([127, 0, 0, 1], 0)),
        Address::from(format!("\0mp-manager-names-{}", std::process::id())),
        Address::from(std::env::temp_dir().join(format!("mp-manager-{}", std::process::id()))),
    ] {
        let manager = Manager::bind(&address, KEY)?;
        let ages = manager.dict::<String, u32>()?;
        manager.publish("ages", ages.clone())?;
        manager.publish("limit", 5_u32)?;
        assert_eq!(manager.number_of_objects()?, 1, "the names are none");

        let remote = connected(&manager);
        let found: Dict<String, u32> = remote.published("ages")?;
        found.set("Ada", 36)?;
        assert_eq!(ages.get("Ada")?, Some(36));
        assert_eq!(remote.published::<u32>("limit")?, 5);
        assert_eq!(remote.published_names()?, ["ages", "limit"]);

        let missing = remote.published::<u32>("age").unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(
            missing.to_string().ends_with("publishes ages, limit"),
            "{missing}"
        );
        let wrong = remote.published::<List<u32>>("ages").unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Decode);

        assert!(remote.unpublish("ages")? && !remote.unpublish("ages")?);
        found.set("Bob", 7)?;
        assert_eq!(manager.published_names()?, ["limit"]);
    }
    Ok(())
}

#[test]
fn a_proxy_in_a_managed_value_is_the_same_object_on_both_sides() -> Result<()> {
    let _watchdog = watchdog();
    let manager = bound();
    let rows = manager.dict::<u32, List<u32>>()?;
    manager.publish("rows", rows.clone())?;
    let remote = connected(&manager);
    let theirs: Dict<u32, List<u32>> = remote.published("rows")?;

    let made_there = remote.list::<u32>()?;
    theirs.set(&1, made_there.clone())?;
    rows.get(&1)?.expect("a row").append(5)?;
    rows.set(&2, manager.list()?)?;
    theirs.get(&2)?.expect("a row").extend([6, 7])?;
    assert_eq!(made_there.to_vec()?, [5]);
    assert_eq!(rows.get(&2)?.expect("a row").to_vec()?, [6, 7]);
    assert!(theirs.get(&1)?.expect("a row").is_same(&made_there));

    // More than an answer carries descriptors of, and several in one value.
    let many = remote.list::<(u8, Vec<List<u32>>)>()?;
    many.append((9, vec![made_there.clone(); 150]))?;
    many.append((8, vec![made_there.clone(); 150]))?;
    let read = many.to_vec()?;
    assert_eq!((read[1].0, read[1].1.len()), (8, 150));
    assert_eq!(read[0].1[149].to_vec()?, [5]);
    Ok(())
}

#[test]
fn objects_go_when_a_remote_client_drops_its_proxies() -> Result<()> {
    let _watchdog = watchdog();
    let manager = bound();
    let remote = connected(&manager);
    let outer = remote.list::<List<u32>>()?;
    outer.append(remote.list()?)?;
    let inner = outer.get(0)?.expect("an element");
    assert_eq!(remote.number_of_objects()?, 2);
    drop(outer);
    while manager.number_of_objects()? != 1 {
        thread::yield_now();
    }
    inner.append(1)?;
    assert_eq!(inner.to_vec()?, [1]);
    drop((inner, remote));
    while manager.number_of_objects()? != 0 {
        thread::yield_now();
    }
    Ok(())
}

#[test]
fn shared_objects_do_not_cross() -> Result<()> {
    let _watchdog = watchdog();
    let manager = bound();
    let locks = manager.list::<Lock>()?;
    locks.append(manager.lock()?)?;
    manager.publish("locks", locks)?;
    let remote = connected(&manager);
    let theirs: List<Lock> = remote.published("locks")?;
    let read = theirs.get(0).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::Decode);
    assert!(
        read.to_string().contains("a shared object is in it"),
        "{read}"
    );
    let written = theirs.append(Lock::new()?).unwrap_err();
    assert_eq!(written.kind(), ErrorKind::Encode);
    assert!(
        written.to_string().contains("stays on its machine"),
        "{written}"
    );
    assert_eq!(theirs.len()?, 1);
    Ok(())
}

#[test]
fn methods_are_not_called_from_afar() -> Result<()> {
    let _watchdog = watchdog();
    let manager = bound();
    let object = manager.object(HashMap::<u32, u32>::new, ())?;
    manager.publish("map", object)?;
    let map: Object<HashMap<u32, u32>> = connected(&manager).published("map")?;
    let error = map.call(HashMap::insert, (1, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    Ok(())
}

#[test]
fn a_remote_proxy_stays_in_its_process_and_with_its_manager() -> Result<()> {
    fn len(list: List<u32>) -> Result<usize> {
        list.len()
    }
    let _watchdog = watchdog();
    let (manager, other) = (bound(), bound());
    let remote = connected(&manager);
    let list = remote.list::<u32>()?;
    let error = spawn(len, (list.clone(),)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode, "{error}");
    let refused = |error: mp_layout::Error| {
        assert_eq!(error.kind(), ErrorKind::Encode);
        assert!(error.to_string().contains("its published name"), "{error}");
    };
    refused(manager.list()?.append(list.clone()).unwrap_err());
    refused(connected(&other).list()?.append(list.clone()).unwrap_err());
    refused(
        connected(&manager)
            .list()?
            .append(list.clone())
            .unwrap_err(),
    );
    // A proxy of this machine is one of its own manager.
    assert!(remote.list()?.append(manager.list::<u32>()?).is_err());

    let mut copy = Some((list.clone(), remote.clone()));
    let child = Forked::new(|| {
        let (list, remote) = copy.take().expect("a list");
        let kind = list.len().unwrap_err().kind();
        drop((list, remote));
        kind == ErrorKind::InvalidState
    });
    assert!(child.succeeds());
    list.append(1)?;
    assert_eq!(list.to_vec()?, [1], "the copy's drop released nothing");
    Ok(())
}

#[test]
fn threads_of_a_client_ask_at_the_same_time() -> Result<()> {
    let _watchdog = watchdog();
    let manager = bound();
    let remote = connected(&manager);
    let hits = remote.dict::<u8, u32>()?;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    hits.update(&0, |hits| hits.unwrap_or(0) + 1).unwrap();
                }
            });
        }
    });
    assert_eq!(hits.get(&0)?, Some(100));
    Ok(())
}

#[test]
fn a_large_value_crosses_and_one_that_is_too_large_is_refused() -> Result<()> {
    let _watchdog = watchdog();
    let manager = bound();
    let list = connected(&manager).list::<String>()?;
    list.append("a".repeat(5 << 20))?;
    assert_eq!(list.get(0)?.map(|text| text.len()), Some(5 << 20));
    let error = list.append("a".repeat(64 << 20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
    assert!(error.to_string().contains("in parts"), "{error}");
    assert_eq!(list.len()?, 1);
    Ok(())
}

#[test]
fn a_container_larger_than_an_answer_is_read_from_afar_and_a_value_that_is_too_large_refused()
-> Result<()> {
    const VALUES: usize = 17;
    let _watchdog = watchdog();
    let manager = bound();
    let local = manager.list::<String>()?;
    let text = "a".repeat(4 << 20);
    for _ in 0..VALUES {
        local.append(text.clone())?;
    }
    manager.publish("texts", local.clone())?;
    let remote = connected(&manager);
    let texts: List<String> = remote.published("texts")?;
    assert!(texts.to_vec()?.iter().all(|read| *read == text));
    local.append("b".repeat(65 << 20))?;
    let refused = [
        texts.get(VALUES).map(drop),
        texts.to_vec().map(drop),
        texts.pop().map(drop),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::WrongSize, "{error}");
        let way_out = "on the server's machine, or replace it";
        assert!(error.to_string().contains(way_out), "{error}");
    }
    while texts.len()? != VALUES + 1 {
        // What was popped comes back.
        thread::yield_now();
    }
    texts.set(VALUES, "small".to_owned())?;
    assert_eq!(texts.pop()?.as_deref(), Some("small"));
    Ok(())
}
