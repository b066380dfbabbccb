//! Messages between processes by sockets, of one machine or of several: Python's
//! `multiprocessing.connection.Listener` and `Client`.
//!
//! Floor 3 of the workspace.
//!
//! - [`Listener`]: accepts clients that have its key, at an [`Address`]: a UNIX socket by path or
//!   by abstract name, or TCP.
//! - [`Client`]: connects to one.
//! - [`Connection`]: what both have then. It sends and receives values that serde can write, or
//!   bytes.
//!
//! ```
//! use mp_net::{Client, Listener};
//!
//! let mut listener = Listener::new(b"a secret")?;
//! let address = listener.address().clone();
//! let client = std::thread::spawn(move || Client::connect(address, b"a secret")?.send(&"hello".to_owned()));
//! assert_eq!(listener.accept()?.recv::<String>()?, "hello");
//! client.join().expect("no panic")?;
//! # Ok::<(), mp_layout::Error>(())
//! ```
//!
//! # Source
//!
//! `multiprocessing/connection.py` of CPython 3.12 and later. Both sides speak with Python: the
//! [frames](Connection) and the handshake are the same, so Python's `Client` connects to a
//! [`Listener`] and the reverse, and bytes go both ways by `send_bytes` and `recv_bytes`. Python's
//! `send` and `recv` pickle; ours write postcard. Older versions of Python authenticate by HMAC-MD5
//! and are refused.
//!
//! # Layout
//!
//! ```text
//!  message     4 bytes of length, big-endian, signed; then the bytes
//!              or -1, 8 bytes of length; then the bytes
//!  handshake   the first three messages of each side, at most 256 bytes long:
//!              a challenge, its answer by HMAC-SHA256, a welcome; the listener asks first
//! ```
//!
//! # What the key is for
//!
//! It keeps processes out that do not have it. It is never sent. It does not encrypt, and what
//! follows the handshake is not signed: between machines use a network that you trust, or a tunnel.
//! What comes from a peer is checked in any case.
//!
//! # If a process dies
//!
//! | a process dies | what the others see |
//! |---|---|
//! | a client in the handshake | the listener drops it; `accept` goes on |
//! | a side of a connection | the other receives what was sent, then [`Closed`](mp_layout::ErrorKind::Closed); sending fails with the same |
//! | in the middle of a send | [`Truncated`](mp_layout::ErrorKind::Truncated): half a message is never received |
//! | the listener | its connections have an end, as above; connecting fails with [`NotFound`](mp_layout::ErrorKind::NotFound) |
//! | a side of a TCP connection, with bytes unread | the other may lose what was sent last: TCP resets the connection |
//! | a whole machine | TCP connections to it end within a minute if all that was sent had arrived, else after about 15 minutes (`net.ipv4.tcp_retries2`) |
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod address;
mod auth_key;
mod client;
mod connection;
mod frame;
mod greeting;
mod handshake;
mod listener;
mod receiver;
mod sender;
mod socket;

pub use address::Address;
pub use client::Client;
pub use connection::Connection;
pub use listener::Listener;
pub use receiver::Receiver;
pub use sender::Sender;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
