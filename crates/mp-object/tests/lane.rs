//! Descriptors that wait for the reader of their record.
#![cfg(not(miri))]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mp_layout::ErrorKind;
use mp_object::transfer::Descriptor;
use mp_object::{Lane, LaneError};
use mp_testkit::{Forked, leave_descriptors};

/// The two ends of a pipe; one that is closed everywhere is seen at the other.
fn pipe() -> (OwnedFd, Descriptor) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), Descriptor::new(Arc::new(OwnedFd::from(write))))
}

fn is_of(descriptor: &OwnedFd, pipe: &OwnedFd) -> bool {
    mp_os::memfd::is_same_file(descriptor.as_fd(), pipe.as_fd())
}

/// Whether all write ends of the pipe are closed.
fn is_closed(pipe: &OwnedFd) -> bool {
    let mut poll = libc::pollfd {
        fd: pipe.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure, which lives during the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready == 1 && poll.revents & libc::POLLHUP != 0
}

#[test]
fn a_message_stays_until_it_is_discarded() {
    let (lane, sent) = (Lane::new().unwrap(), AtomicU64::new(0));
    let (read, write) = pipe();
    let tag = lane.send(&sent, &[write]).unwrap();
    assert!(!lane.is_empty());
    for _ in 0..3 {
        let found = lane.find(tag).unwrap().unwrap();
        assert!(found.len() == 1 && is_of(&found[0], &read));
    }
    assert!(!is_closed(&read));
    lane.discard(tag);
    assert!(lane.is_empty() && is_closed(&read));
    assert!(lane.find(tag).unwrap().is_none(), "gone is no hang");
}

#[test]
fn what_has_no_record_is_passed_over() {
    let (lane, sent) = (Lane::new().unwrap(), AtomicU64::new(0));
    let pipes = [pipe(), pipe(), pipe()];
    let tags = pipes
        .each_ref()
        .map(|(_, write)| lane.send(&sent, std::slice::from_ref(write)).unwrap());
    let reads = pipes.map(|(read, _)| read);
    let found = lane.find(tags[2]).unwrap().unwrap();
    assert!(is_of(&found[0], &reads[2]));
    assert!(is_closed(&reads[0]) && is_closed(&reads[1]));
    drop(found);
    assert!(lane.drain() && is_closed(&reads[2]) && !lane.drain());
}

#[test]
fn a_record_whose_message_is_gone_leaves_the_next_one_alone() {
    let (lane, sent) = (Lane::new().unwrap(), AtomicU64::new(0));
    let (read, write) = pipe();
    let gone = lane.send(&sent, std::slice::from_ref(&write)).unwrap();
    lane.discard(gone);
    let tag = lane.send(&sent, &[write]).unwrap();
    assert!(lane.find(gone).unwrap().is_none());
    assert!(is_of(&lane.find(tag).unwrap().unwrap()[0], &read));
}

/// As after a reader that died before it discarded, for one that looks at nothing.
#[test]
fn what_is_discarded_unseen_takes_the_older_with_it_and_leaves_the_newer() {
    let (lane, sent) = (Lane::new().unwrap(), AtomicU64::new(0));
    let pipes = [pipe(), pipe(), pipe()];
    let tags = pipes.each_ref().map(|(_, write)| {
        lane.ring().unwrap();
        lane.send(&sent, std::slice::from_ref(write)).unwrap()
    });
    let reads = pipes.map(|(read, _)| read);
    lane.discard(tags[1]);
    assert!(is_closed(&reads[0]) && is_closed(&reads[1]));
    assert!(is_of(&lane.find(tags[2]).unwrap().unwrap()[0], &reads[2]));
    lane.discard(tags[2]);
    assert!(lane.is_empty());
    lane.discard(tags[2]);
}

#[test]
fn numbers_go_on_where_they_are_cut() {
    let (lane, sent) = (
        Lane::new().unwrap(),
        AtomicU64::new(u64::from(u32::MAX) - 2),
    );
    let mut tags = Vec::new();
    for _ in 0..4 {
        tags.push(lane.send(&sent, &[pipe().1]).unwrap());
    }
    assert_eq!(
        tags,
        [u32::MAX - 1, u32::MAX, 1, 2],
        "0 says that there is no message"
    );
    for tag in tags {
        assert_eq!(lane.find(tag).unwrap().unwrap().len(), 1, "{tag}");
        lane.discard(tag);
    }
}

#[test]
fn a_full_lane_uses_its_number_again_and_says_how_many_wait() {
    let (lane, sent) = (Lane::new().unwrap(), AtomicU64::new(0));
    let (_read, write) = pipe();
    let with = [write];
    let full = loop {
        match lane.send(&sent, &with) {
            Ok(_) => {}
            Err(LaneError::Full(full)) => break full,
            Err(error) => panic!("{error}"),
        }
    };
    let most = lane.capacity().unwrap();
    assert_eq!(sent.load(Ordering::Relaxed), most as u64);
    let error = lane.explain(full);
    assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
    let text = error.to_string();
    assert!(
        text.contains(&most.to_string()) && text.contains("net.core.wmem_max"),
        "{text}"
    );
    assert_eq!(lane.find(1).unwrap().unwrap().len(), 1);
    lane.discard(1);
    assert_eq!(lane.send(&sent, &with).unwrap(), most as u32 + 1);
}

#[test]
fn too_few_free_descriptors_are_an_error_with_figures() {
    let (lane, sent) = (Lane::new().unwrap(), AtomicU64::new(0));
    let (_read, write) = pipe();
    let tag = lane.send(&sent, &vec![write; 9]).unwrap();
    let child = Forked::new(|| {
        leave_descriptors(4);
        let error = lane.find(tag).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
        let text = error.to_string();
        assert!(
            text.contains("9 descriptors") && text.contains("open 4 more"),
            "{text}"
        );
        leave_descriptors(9);
        lane.find(tag).unwrap().unwrap().len() == 9
    });
    assert!(child.succeeds());
}
