//! A listener is reached by its name, and what was sent to it outlives the sender.
#![cfg(not(miri))]

use std::io::ErrorKind;

use mp_os::listener::{Listener, connect};
use mp_os::socket;
use mp_testkit::Forked;

#[test]
fn what_a_process_sent_is_read_after_its_end() {
    let listener = Listener::new().expect("a socket");
    assert!(listener.accept().expect("open").is_none());
    let me = std::process::id();
    let children: Vec<_> = (0..3_u8)
        .map(|number| {
            Forked::new(|| {
                // SAFETY: the child uses no descriptor of its parent's after this.
                unsafe { libc::close_range(0, u32::MAX, 0) };
                let socket = connect(listener.name(), me).expect("it listens");
                socket::send(&socket, &[number], &[]).expect("room");
                true
            })
        })
        .collect();
    assert!(children.iter().all(Forked::succeeds));
    for _ in &children {
        let accepted = listener.accept().expect("open").expect("a connection");
        let mut number = [0];
        let message = socket::recv(&accepted.socket, &mut number).expect("sent before");
        assert_eq!(message.len, 1);
        assert_eq!(accepted.pid, children[usize::from(number[0])].pid());
    }
    assert!(listener.accept().expect("open").is_none());
}

#[test]
fn a_name_is_found_only_while_it_is_listened_to_and_with_its_owner() {
    let listener = Listener::new().expect("a socket");
    let me = std::process::id();
    let name = listener.name().to_vec();
    assert!(!name.is_empty());
    let stranger = connect(&name, me + 1).expect_err("not its listener");
    assert_eq!(stranger.kind(), ErrorKind::PermissionDenied);
    drop(listener);
    let gone = connect(&name, me).expect_err("nobody listens");
    assert_eq!(gone.kind(), ErrorKind::ConnectionRefused);
}
