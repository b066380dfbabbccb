//! How both sides prove that they have the key, without saying it.
//!
//! # Source
//!
//! `multiprocessing/connection.py` of CPython since 3.12 (gh-61460), `deliver_challenge` and
//! `answer_challenge`, with SHA-256 alone. What older versions do, a challenge without the name of
//! a digest and an answer by HMAC-MD5, is refused.
//!
//! # Layout
//!
//! Each line is one message, [framed](crate::frame), of 256 bytes at most.
//!
//! ```text
//!  listener                                                       client
//!  #CHALLENGE#{sha256} + 40 random bytes  --->
//!                 <---  {sha256} + HMAC-SHA256(key, {sha256} + the 40 bytes)
//!  #WELCOME#, or #FAILURE# and the end    --->
//!                 <---  #CHALLENGE#{sha256} + 40 random bytes
//!  {sha256} + HMAC-SHA256(..)             --->
//!                 <---  #WELCOME#, or #FAILURE# and the end
//! ```
//!
//! # Invariants
//!
//! - I1: a listener answers no challenge before the client has proved that it has the key.
//! - I2: a challenge is used once.
//! - I3: digests are compared in constant time.
//!
//! # What it does not do
//!
//! The protocol is Python's, and has Python's limits. Nothing is encrypted, and what follows the
//! handshake is not signed: who can change packets on their way can take a connection over.
//!
//! The digest does not say who asked. A process that one client takes for the listener passes the
//! question of a real listener to it, and its answer back: so it is accepted there without the key.
//! Two clients can be played against each other in the same way. What keeps it out is an address
//! that it cannot take, and a key for each listener.
//!
//! A digest is enough to try guesses at, for a false listener and for an eavesdropper. So a key is
//! 32 random bytes, not a word.
//!
//! # If a process dies
//!
//! The other side reads the end of the stream. A side that lives and says nothing is waited for up
//! to the deadline.

use mp_layout::{Error, ErrorKind, Result};
use mp_os::random;

use crate::auth_key::{AuthKey, DIGEST_SIZE};

/// Bytes of the longest message of a handshake.
pub(crate) const LONGEST: usize = 256;

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const WELCOME: &[u8] = b"#WELCOME#";
const FAILURE: &[u8] = b"#FAILURE#";
const DIGEST_NAME: &[u8] = b"{sha256}";

/// Random bytes in a challenge.
const RANDOM_SIZE: usize = 40;

/// Random bytes that a peer's challenge must have at least.
const LEAST_RANDOM: usize = 20;

/// Bytes of an answer by HMAC-MD5, which has no prefix.
const MD5_SIZE: usize = 16;

/// Bytes of a challenge that asks for HMAC-MD5.
const MD5_CHALLENGE_SIZE: usize = 20;

/// Which side this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Listener,
    Client,
}

/// What is awaited from the other side.
#[derive(Debug)]
enum Awaited {
    Challenge,
    Verdict,
    /// The answer to this challenge.
    Answer(Vec<u8>),
}

/// What to do after a message.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this, and await another message.
    Send(Vec<u8>),
    /// Send this, if anything; both sides have the key.
    Done(Option<Vec<u8>>),
    /// Send this, if anything, and hang up for this reason.
    Refuse(Option<Vec<u8>>, Error),
}

/// One side of a handshake: it is given messages, and says what to send.
#[derive(Debug)]
pub(crate) struct Handshake {
    side: Side,
    awaited: Awaited,
}

impl Handshake {
    /// Begins, with the message to send first if this side has one.
    pub(crate) fn begin(side: Side) -> Result<(Self, Option<Vec<u8>>)> {
        let (awaited, first) = match side {
            Side::Listener => {
                let (asked, message) = challenge()?;
                (Awaited::Answer(asked), Some(message))
            }
            Side::Client => (Awaited::Challenge, None),
        };
        Ok((Self { side, awaited }, first))
    }

    /// Whether the other side has proved that it has the key; of the listener's side.
    pub(crate) fn is_proved(&self) -> bool {
        self.side == Side::Listener && !matches!(self.awaited, Awaited::Answer(_))
    }

    /// Takes the next message of the other side.
    pub(crate) fn take(&mut self, message: &[u8], key: &AuthKey) -> Result<Step> {
        match &self.awaited {
            Awaited::Answer(asked) => match answered(asked, message, key) {
                Ok(()) => self.welcome(),
                Err(error) => Ok(Step::Refuse(Some(FAILURE.to_vec()), error)),
            },
            Awaited::Challenge => match answer(message, key) {
                Ok(answer) => {
                    self.awaited = Awaited::Verdict;
                    Ok(Step::Send(answer))
                }
                Err(error) => Ok(Step::Refuse(None, error)),
            },
            Awaited::Verdict if message == WELCOME => self.welcomed(),
            Awaited::Verdict => Ok(Step::Refuse(None, rejected(message))),
        }
    }

    /// The other side has the key.
    fn welcome(&mut self) -> Result<Step> {
        let welcome = WELCOME.to_vec();
        match self.side {
            Side::Listener => {
                self.awaited = Awaited::Challenge;
                Ok(Step::Send(welcome))
            }
            Side::Client => Ok(Step::Done(Some(welcome))),
        }
    }

    /// The other side knows that this one has the key.
    fn welcomed(&mut self) -> Result<Step> {
        match self.side {
            Side::Listener => Ok(Step::Done(None)),
            Side::Client => {
                let (asked, message) = challenge()?;
                self.awaited = Awaited::Answer(asked);
                Ok(Step::Send(message))
            }
        }
    }
}

/// A new challenge: what is to be answered, and the message that asks it.
fn challenge() -> Result<(Vec<u8>, Vec<u8>)> {
    let random = random::bytes::<RANDOM_SIZE>()
        .map_err(|source| Error::os("make", "a challenge", source))?;
    let asked = [DIGEST_NAME, &random].concat();
    let message = [CHALLENGE, &asked].concat();
    Ok((asked, message))
}

/// The answer to a challenge.
fn answer(message: &[u8], key: &AuthKey) -> Result<Vec<u8>> {
    let asked = message.strip_prefix(CHALLENGE).ok_or_else(|| {
        refused(
            ErrorKind::Corrupt,
            "the other end sent no challenge; is it a listener with a key?",
        )
    })?;
    if asked.len() == MD5_CHALLENGE_SIZE {
        return Err(refused(
            ErrorKind::Unsupported,
            "the listener asks for HMAC-MD5, as Python before 3.12 does; only HMAC-SHA256 is answered",
        ));
    }
    match asked.strip_prefix(DIGEST_NAME) {
        Some(random) if random.len() >= LEAST_RANDOM => {
            Ok([DIGEST_NAME, &key.digest(asked)].concat())
        }
        Some(_) => Err(refused(ErrorKind::Corrupt, "the challenge is too short")),
        None => Err(refused(
            ErrorKind::Unsupported,
            "the listener asks for another digest than SHA-256",
        )),
    }
}

/// Whether this answers a challenge.
fn answered(asked: &[u8], message: &[u8], key: &AuthKey) -> Result<()> {
    match message.strip_prefix(DIGEST_NAME) {
        Some(digest) if digest.len() == DIGEST_SIZE && key.verifies(asked, digest) => Ok(()),
        Some(_) => Err(refused(
            ErrorKind::PermissionDenied,
            "the other side has another authkey",
        )),
        None if message.len() == MD5_SIZE => Err(refused(
            ErrorKind::Unsupported,
            "the other side answers by HMAC-MD5, as Python before 3.12 does; only HMAC-SHA256 is taken",
        )),
        None => Err(refused(
            ErrorKind::Corrupt,
            "the other side answered no challenge",
        )),
    }
}

#[cold]
fn rejected(message: &[u8]) -> Error {
    match message {
        FAILURE => refused(
            ErrorKind::PermissionDenied,
            "the other side has another authkey, and refused this one",
        ),
        _ => refused(
            ErrorKind::Corrupt,
            "the other side neither welcomed nor refused the answer",
        ),
    }
}

#[cold]
fn refused(kind: ErrorKind, why: &str) -> Error {
    Error::new(kind, "authenticate", "a connection").with_detail(why)
}

#[cfg(test)]
mod tests;
