//! A Redis server of this bench's own, asked through a UNIX socket by plain writes and reads.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// How long a server may take to listen.
const LOOKS: u32 = 1000;

/// Room for a reply: enough for a short one at once.
const LEAST: usize = 4096;

/// The pause between two looks whether it does.
const PAUSE: Duration = Duration::from_millis(10);

/// A server that keeps nothing on disk, and a connection to it. It ends with this.
#[derive(Debug)]
pub struct Redis {
    server: Child,
    directory: PathBuf,
    connection: UnixStream,
    request: Vec<u8>,
    /// Memory for a reply, of which so many bytes have come.
    reply: Vec<u8>,
    come: usize,
}

impl Redis {
    /// Whether there is a `redis-server` to compare with.
    pub fn is_there() -> bool {
        let asked = Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    }

    /// Starts a server, where this thread may run.
    ///
    /// # Panics
    ///
    /// If there is none, or if it does not listen within 10 s.
    pub fn start() -> Self {
        let name = format!("mp-bench-redis-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        let socket = directory.join("socket");
        let server = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
            ])
            .arg(&socket)
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("there is a Redis");
        let mut looks = 0..LOOKS;
        let connection = looks.find_map(|_| {
            let connection = UnixStream::connect(&socket).ok();
            if connection.is_none() {
                thread::sleep(PAUSE);
            }
            connection
        });
        Self {
            server,
            directory,
            connection: connection.expect("it listens"),
            request: Vec::new(),
            reply: vec![0; LEAST],
            come: 0,
        }
    }

    /// Sets the value of a key.
    ///
    /// # Panics
    ///
    /// If the server answers anything but `OK`.
    pub fn set(&mut self, key: &str, value: &str) {
        self.send(&["SET", key, value]);
        assert_eq!(self.line(), "+OK");
    }

    /// The bytes of a key's value.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn get(&mut self, key: &str) -> &[u8] {
        self.send(&["GET", key]);
        let line = self.line();
        let value: usize = line
            .strip_prefix('$')
            .and_then(|len| len.parse().ok())
            .expect("a value");
        self.receive(line.len() + 2 + value + 2);
        &self.reply[line.len() + 2..][..value]
    }

    fn send(&mut self, words: &[&str]) {
        self.request.clear();
        write!(self.request, "*{}\r\n", words.len()).expect("memory");
        for word in words {
            write!(self.request, "${}\r\n{word}\r\n", word.len()).expect("memory");
        }
        self.come = 0;
        let sent = self.connection.write_all(&self.request);
        sent.expect("the server runs");
    }

    /// The reply's first line.
    fn line(&mut self) -> String {
        loop {
            let come = &self.reply[..self.come];
            if let Some(end) = come.iter().position(|byte| *byte == b'\r') {
                return String::from_utf8(come[..end].to_vec()).expect("text");
            }
            self.receive(self.come + 1);
        }
    }

    /// Receives until so many bytes of the reply have come.
    fn receive(&mut self, len: usize) {
        if self.reply.len() < len {
            self.reply.resize(len, 0);
        }
        while self.come < len {
            let more = self.connection.read(&mut self.reply[self.come..]);
            let more = more.expect("the server runs");
            assert!(more != 0, "the server has ended");
            self.come += more;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.server.kill().expect("it is our child");
        self.server.wait().expect("it is our child");
        fs::remove_dir_all(&self.directory).expect("the directory is ours");
    }
}
