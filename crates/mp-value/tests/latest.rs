//! The newest value, through handles.
#![cfg(not(loom))]

use mp_layout::{ErrorKind, Result};
use mp_testkit::{Forked, UniqueName};
use mp_value::{Latest, Value};

#[test]
fn is_found_by_its_name_and_type() -> Result<()> {
    let name = UniqueName::new("latest");
    let made = Latest::create_named(&name, [1_u64; 9])?;
    let found = Latest::<[u64; 9]>::open(&name)?;
    let mut writer = found.claim_writer()?;
    writer.write([2; 9]);
    assert_eq!(made.read_versioned()?, ([2; 9], 1));
    assert_eq!(Latest::open_or_create(&name, [0_u64; 9])?.read()?, [2; 9]);
    let wrong = Latest::<[i64; 9]>::open(&name).expect_err("another type of this size");
    assert_eq!(wrong.kind(), ErrorKind::WrongType);
    let wrong = Latest::<u64>::open(&name).expect_err("another size");
    assert_eq!(wrong.kind(), ErrorKind::WrongType);
    let wrong = Value::<[u64; 9]>::open(&name).expect_err("another kind");
    assert_eq!(wrong.kind(), ErrorKind::WrongKind);
    Latest::<[u64; 9]>::unlink(&name)
}

#[test]
fn writer_outlives_the_handles() -> Result<()> {
    let latest = Latest::new(1_u8)?;
    let mut writer = latest.claim_writer()?;
    assert_eq!(
        latest.claim_writer().expect_err("one").kind(),
        ErrorKind::Claimed
    );
    drop(latest);
    writer.write(2);
    let latest = writer.latest().clone();
    drop(writer);
    latest.claim_writer()?.write(3);
    assert_eq!(latest.read()?, 3);
    Ok(())
}

#[test]
fn killed_writer_leaves_its_last_value_to_the_next() -> Result<()> {
    let latest = Latest::new(0_u64)?;
    let writer = Forked::holding(|| {
        let mut writer = latest.claim_writer().expect("free");
        writer.write(7);
        writer
    });
    assert_eq!(latest.read()?, 7);
    let error = latest.claim_writer().expect_err("it lives");
    assert_eq!(error.kind(), ErrorKind::Claimed);
    writer.kill_and_reap();
    assert_eq!(latest.read()?, 7);
    latest.claim_writer()?.write(8);
    assert_eq!(latest.read_versioned()?, (8, 2));
    Ok(())
}

#[test]
fn forked_copy_of_the_writer_gives_nothing_back() -> Result<()> {
    let latest = Latest::new(0_u64)?;
    let writer = latest.claim_writer()?;
    let copy = std::ptr::from_ref(&writer);
    let child = Forked::new(|| {
        // SAFETY: the child's own copy of the memory, which its parent's drop does not reach; the
        // child drops it once and ends without another.
        drop(unsafe { copy.read() });
        latest.claim_writer().is_err()
    });
    assert!(child.succeeds());
    assert!(latest.claim_writer().is_err(), "still the parent's");
    drop(writer);
    assert!(latest.claim_writer().is_ok());
    Ok(())
}
