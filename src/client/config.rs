//! Options: one table behind the typed setters, the C setters by name, the command line and the TOML.

use std::path::PathBuf;
use std::time::Duration;

use super::{Error, ErrorKind};

/// When pieces are given to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeding {
    /// Never: no listener, nothing offered.
    Off,
    /// While a download of this client is under way.
    Downloading,
    /// Until the client ends.
    Always,
}

/// How a client behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where temporary pieces of streams live; `None` = the system's directory for temporary files.
    pub cache_dir: Option<PathBuf>,
    /// TCP port for peers: 0 = any free one. Only opened when seeding is on.
    pub listen_port: u16,
    /// Bytes a second in, 0 = no limit.
    pub down_limit: u64,
    /// Bytes a second out to peers, 0 = no limit.
    pub up_limit: u64,
    /// See [`Seeding`].
    pub seeding: Seeding,
    /// Bounds dialling a server or a peer.
    pub connect_timeout: Duration,
    /// How long ending the client may take.
    pub grace: Duration,
    /// Program name and version put before the library's in `register.agent`.
    pub agent: String,
    /// Dial peers at private addresses even if the server is at a public one.
    pub allow_private: bool,
    /// Files of a tree downloaded at once.
    pub parallel_files: u32,
    /// Events held for the application before droppable ones are dropped.
    pub event_queue: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_dir: None,
            listen_port: 0,
            down_limit: 0,
            up_limit: 0,
            seeding: Seeding::Downloading,
            connect_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(3),
            agent: String::new(),
            allow_private: false,
            parallel_files: 32,
            event_queue: 1024,
        }
    }
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// `true`, `false`, `yes`, `no`, `on`, `off`, `1`, `0`.
    Bool,
    /// A number.
    Number,
    /// Bytes or bytes a second: a number, optionally with `K`, `M`, `G` (powers of 1024).
    Bytes,
    /// Seconds, or a number with `ms`, `s`, `m`, `h`.
    Duration,
    /// Text.
    Text,
    /// One of a few words (named in the help).
    Word,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// As in C, in TOML and (with `-` for `_`) on the command line.
    pub name: &'static str,
    /// What values look like.
    pub kind: OptionKind,
    /// One sentence.
    pub help: &'static str,
    /// May be changed on a running client.
    pub runtime: bool,
}

/// Every option, in the order people should read them.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "seeding",
        kind: OptionKind::Word,
        help: "when pieces are given to others: off, downloading, always",
        runtime: true,
    },
    OptionSpec {
        name: "limit_down",
        kind: OptionKind::Bytes,
        help: "most bytes a second to receive, 0 = no limit",
        runtime: true,
    },
    OptionSpec {
        name: "limit_up",
        kind: OptionKind::Bytes,
        help: "most bytes a second to send to peers, 0 = no limit",
        runtime: true,
    },
    OptionSpec {
        name: "listen_port",
        kind: OptionKind::Number,
        help: "TCP port on which peers are served, 0 = any free one",
        runtime: false,
    },
    OptionSpec {
        name: "connect_timeout",
        kind: OptionKind::Duration,
        help: "how long dialling may take",
        runtime: false,
    },
    OptionSpec {
        name: "grace",
        kind: OptionKind::Duration,
        help: "how long ending the client may take",
        runtime: true,
    },
    OptionSpec {
        name: "parallel_files",
        kind: OptionKind::Number,
        help: "files of a tree downloaded at once",
        runtime: false,
    },
    OptionSpec {
        name: "allow_private",
        kind: OptionKind::Bool,
        help: "dial peers at private addresses on behalf of a public server",
        runtime: false,
    },
    OptionSpec {
        name: "cache_dir",
        kind: OptionKind::Text,
        help: "directory for temporary pieces of streams",
        runtime: false,
    },
    OptionSpec {
        name: "agent",
        kind: OptionKind::Text,
        help: "program name and version told to servers",
        runtime: false,
    },
    OptionSpec {
        name: "event_queue",
        kind: OptionKind::Number,
        help: "events held before droppable ones are dropped",
        runtime: false,
    },
];

impl Config {
    /// Sets an option by name. An unknown name is answered with the nearest known one.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let _ = (name, value);
        Err(Error::new(ErrorKind::Option, "not written"))
    }

    /// An option as text, in the form [`Config::set`] takes.
    pub fn get(&self, name: &str) -> Result<String, Error> {
        let _ = name;
        Err(Error::new(ErrorKind::Option, "not written"))
    }
}
