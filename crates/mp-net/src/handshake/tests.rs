use mp_layout::ErrorKind;

use super::{CHALLENGE, DIGEST_NAME, Handshake, Side, Step, WELCOME};
use crate::auth_key::AuthKey;

fn key(key: &[u8]) -> AuthKey {
    AuthKey::new(key, "test", "a key").unwrap()
}

/// How many messages go between the two, and why each side refused the other, if it did.
fn meet(listeners: &AuthKey, clients: &AuthKey) -> (usize, Vec<ErrorKind>) {
    let (mut listener, first) = Handshake::begin(Side::Listener).unwrap();
    let (mut client, nothing) = Handshake::begin(Side::Client).unwrap();
    assert!(nothing.is_none());
    let (mut sent, mut refusals) = (0, Vec::new());
    let mut under_way = first.map(|first| (first, Side::Client));
    while let Some((message, to)) = under_way.take() {
        sent += 1;
        let (step, next) = match to {
            Side::Client => (client.take(&message, clients), Side::Listener),
            Side::Listener => (listener.take(&message, listeners), Side::Client),
        };
        let answer = match step.unwrap() {
            Step::Send(message) => Some(message),
            Step::Done(message) => message,
            Step::Refuse(message, error) => {
                refusals.push(error.kind());
                message
            }
        };
        under_way = answer.map(|message| (message, next));
    }
    (sent, refusals)
}

#[test]
fn both_sides_with_the_key_are_welcomed() {
    assert_eq!(meet(&key(b"one"), &key(b"one")), (6, vec![]));
}

#[test]
fn another_key_is_refused_by_the_listener_and_the_client_hears_it() {
    let (_, refusals) = meet(&key(b"one"), &key(b"other"));
    assert_eq!(refusals, [ErrorKind::PermissionDenied; 2]);
}

#[test]
fn a_listener_answers_nothing_before_the_client_has_proved_its_key() {
    let (mut listener, _) = Handshake::begin(Side::Listener).unwrap();
    let question = [CHALLENGE, DIGEST_NAME, &[1; 40]].concat();
    match listener.take(&question, &key(b"one")).unwrap() {
        Step::Refuse(message, _) => assert_eq!(message, Some(b"#FAILURE#".to_vec())),
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_listener_that_welcomes_anything_is_not_believed() {
    let (mut client, _) = Handshake::begin(Side::Client).unwrap();
    let question = [CHALLENGE, DIGEST_NAME, &[1; 40]].concat();
    let key = key(b"one");
    assert!(matches!(client.take(&question, &key), Ok(Step::Send(_))));
    assert!(matches!(client.take(WELCOME, &key), Ok(Step::Send(_))));
    for answer in [&[0; 32][..], b"", WELCOME] {
        let answer = [DIGEST_NAME, answer].concat();
        let step = client.take(&answer, &key).unwrap();
        assert!(matches!(step, Step::Refuse(..)), "{step:?}");
    }
}

/// A limit of the protocol, which the documentation names.
#[test]
fn a_lured_client_opens_a_listener() {
    let key = key(b"one");
    let sent = |step| match step {
        Step::Send(message) => message,
        step => panic!("{step:?}"),
    };
    let (mut listener, question) = Handshake::begin(Side::Listener).unwrap();
    let (mut client, _) = Handshake::begin(Side::Client).unwrap();
    // The process between them has no key: it passes a question and its answer on.
    let answer = sent(client.take(&question.unwrap(), &key).unwrap());
    assert_eq!(sent(listener.take(&answer, &key).unwrap()), WELCOME);
    let own_question = [CHALLENGE, DIGEST_NAME, &[1; 40]].concat();
    drop(sent(listener.take(&own_question, &key).unwrap()));
    let step = listener.take(WELCOME, &key).unwrap();
    assert!(matches!(step, Step::Done(None)), "{step:?}");
}

#[test]
fn challenges_are_different() {
    let first = || Handshake::begin(Side::Listener).unwrap().1.unwrap();
    assert_ne!(first(), first());
}

#[test]
fn digests_other_than_sha256_are_refused() {
    for (question, kind) in [
        ([CHALLENGE, &[1; 20]].concat(), ErrorKind::Unsupported),
        (
            [CHALLENGE, b"{md5}", &[1; 40]].concat(),
            ErrorKind::Unsupported,
        ),
        (
            [CHALLENGE, b"{sha256}", &[1; 19]].concat(),
            ErrorKind::Corrupt,
        ),
        (b"GET / HTTP/1.1".to_vec(), ErrorKind::Corrupt),
    ] {
        let (mut client, _) = Handshake::begin(Side::Client).unwrap();
        match client.take(&question, &key(b"one")).unwrap() {
            Step::Refuse(message, error) => assert_eq!((message, error.kind()), (None, kind)),
            step => panic!("{step:?}"),
        }
    }
}

/// The vector of RFC 4231, test case 2.
#[test]
fn the_digest_is_hmac_sha256() {
    let key = key(b"Jefe");
    let digest = key.digest(b"what do ya want for nothing?");
    assert_eq!(digest[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    assert_eq!(digest[28..], [0x64, 0xec, 0x38, 0x43]);
    assert!(key.verifies(b"what do ya want for nothing?", &digest));
    assert!(!key.verifies(b"what do ya want for nothing!", &digest));
    assert!(!key.verifies(b"what do ya want for nothing?", &digest[..31]));
}
