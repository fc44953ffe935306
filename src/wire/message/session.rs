//! Messages about the connection itself: who is there, how long, and what went wrong.

use serde::{Deserialize, Serialize};

use crate::wire::json::{null_is_absent, object};

/// client: who I am. First and once.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Register {
    /// Chosen by the client, unique on the server: visible ASCII, shorter than
    /// [`crate::wire::limits::MAX_CLIENT_ID`].
    pub client_id: String,
    /// TCP port on which the client accepts peers; 0 = it does not.
    pub listen_port: u16,
    /// 3 for this protocol; absent = version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Program and version, `libpdtp/0.1.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What the client can do: see the `FEATURE_*` constants.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// `client`, or `cache` for a piece proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What the client is willing to send, bytes a second; absent = as much as the link takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_limit: Option<u64>,
    /// What the client wants to receive at most, bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_limit: Option<u64>,
}

/// `register.features`: the client sends pieces to others. Without it, nothing is ever asked of it.
pub const FEATURE_GIVE: &str = "give";
/// `register.features`: the client answers to runs of several pieces with `progress`.
pub const FEATURE_RUNS: &str = "runs";
/// `register.features`: the client knows `transfer.wait_s`, and keeps a request for a piece that is on its way to it until it can
/// answer it.
pub const FEATURE_WAIT: &str = "wait";
/// `register.features`: the client goes on giving what it has when it lacks nothing any more. Whoever does not say so is taken to go
/// then, and what it gives does not bring it anything sooner.
pub const FEATURE_STAY: &str = "stay";

/// `register.features`: the client need not be told again in a `transfer` what the one before has said
/// ([`Said`](super::Said)).
pub const FEATURE_BRIEF: &str = "brief";

/// `registered.features`: files are cut into pieces of other sizes than powers of two.
pub const FEATURE_PIECES: &str = "pieces";

/// server: you are known. The first answer of a version 3 server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Registered {
    /// Version the server will speak with this client.
    pub version: u32,
    /// Program and version.
    pub agent: String,
    /// The server's own peer id: a `transfer` whose `peer_id` this is comes from the origin, which a client
    /// reaches at the very address and port it reached the server.
    pub server: String,
    /// Random id of this connection, for logs of both sides.
    pub session: String,
    /// The client's address as the server sees it.
    pub address: String,
    /// [`crate::wire::token::Secret`] in base64.
    pub secret: String,
    /// Unix time of the server in seconds, against which `EXPIRES` of tokens is judged.
    pub time: u64,
    /// What the server can do.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub features: Vec<String>,
    /// Ping after this many seconds without traffic.
    pub keepalive_s: u32,
    /// What the server holds clients to.
    #[serde(default, deserialize_with = "object")]
    pub limits: ServerLimits,
    /// Greeting of the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// `registered.limits`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerLimits {
    /// Outstanding `list` and `ask_*`.
    #[serde(deserialize_with = "null_is_absent")]
    pub outstanding: u32,
    /// Files with standing requests.
    #[serde(deserialize_with = "null_is_absent")]
    pub files: u32,
    /// Standing request ranges per file.
    #[serde(deserialize_with = "null_is_absent")]
    pub ranges: u32,
}

/// Either: are you there?
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ping {}

/// Either: I am.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Pong {}

/// server: whether the client's listen port answered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reachable {
    /// It did, and proved to be the client.
    pub ok: bool,
}

/// server: another server has this.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Redirect {
    /// File or directory; absent = everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// server: a word from the operator.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Notice {
    /// For people.
    pub message: String,
}

/// server: I am going down; come back after a while.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Goaway {
    /// For people.
    pub reason: String,
    /// Seconds to wait before coming back.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub after_s: u32,
}

/// Either: something went wrong, see `code`. The connection stays unless it is closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub message: String,
    /// File or directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Type of the message that led to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub re: Option<String>,
    /// `list.id`, when in answer to a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// `error.code` and `tell_info.error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message was not understood.
    Protocol,
    /// No such file or directory.
    NotFound,
    /// It is there, but not for you, or the server may not read it.
    Denied,
    /// Asked for a file; it is a directory.
    IsDirectory,
    /// Asked for a directory; it is a file.
    NotDirectory,
    /// The version asked for is no longer served.
    Changed,
    /// A limit of the server was passed.
    Limit,
    /// The client id is taken.
    IdInUse,
    /// The client reads too slowly what it asked for.
    SlowConsumer,
    /// The server cannot do it now.
    Busy,
    /// The server's disk or program failed.
    Internal,
    /// Any code this version does not know.
    #[serde(other)]
    Unknown,
}

/// Version 2: the stream is no longer trusted; the connection closes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProtocolError {
    /// For people.
    pub message: Option<String>,
}

/// Version 2: a mild error.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProtocolWarn {
    /// For people.
    pub message: Option<String>,
}

/// The unfinished release of 2008 says `reason` for `message`.
#[derive(Deserialize)]
pub(super) struct UnfinishedProtocolError {
    pub(super) reason: Option<String>,
}
