//! Plain values that cross the surface of the client.

use std::path::PathBuf;
use std::time::Duration;

use super::{Error, Priority};
use crate::content::keys::Fingerprint;
use crate::content::trust::{Policy, Verdict};
use crate::wire::{ByteRange, Digest, Entry, Reason, UrlPath, WaitReason};

/// How a session stands.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionState {
    /// Dialling or registering for the first time.
    Connecting,
    /// Registered.
    Ready,
    /// The link broke; what was in flight goes on, and the next try is `retry_in` away.
    Lost {
        /// Time to the next try.
        retry_in: Duration,
        /// Why.
        error: Error,
    },
    /// The server does not want this client, or is none; no more tries.
    Refused {
        /// Why.
        error: Error,
    },
    /// Closed from this side.
    Closed,
}

/// What a server said of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServerInfo {
    /// Program and version.
    pub agent: String,
    /// Protocol version spoken.
    pub version: u32,
    /// Greeting.
    pub notice: Option<String>,
    /// Own address as the server sees it.
    pub address: String,
    /// Whether others can dial this client; `None` = not yet known, or not listening.
    pub reachable: Option<bool>,
    /// What the server can do besides what every server can, as words of the protocol.
    pub features: Vec<String>,
    /// What it holds its clients to; all zero where it does not say.
    pub limits: ServerLimits,
}

/// What a server holds its clients to; 0 = it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerLimits {
    /// Questions without an answer.
    pub outstanding: u32,
    /// Files that are requested.
    pub files: u32,
    /// Ranges of a file that are requested.
    pub ranges: u32,
}

/// A directory, or part of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listing {
    /// The directory (of `stat`: what it is in).
    pub path: Option<UrlPath>,
    /// In byte order of names.
    pub entries: Vec<Entry>,
    /// Whether this is all of it.
    pub complete: bool,
    /// Whether it was asked for with what is told of files besides their bytes ([`Entry::about`]).
    pub is_rich: bool,
    /// Of `stat` of a file: what its signatures are worth. Nobody was asked, and nothing is remembered.
    pub verdict: Option<Box<Verdict>>,
}

/// Takes a stream in order: offset and bytes.
pub type StreamFn = Box<dyn FnMut(u64, &[u8]) -> Flow + Send>;

/// Where a download goes.
pub enum Target {
    /// A file with exactly this name. Beside it, `NAME.part` and `NAME.part.pdtp` while it is incomplete.
    File(PathBuf),
    /// Into this directory: a file under its own name, a directory as a tree of its content.
    Dir(PathBuf),
    /// To a function, in order, from a thread of the library that is no worker of the runtime: offset and bytes,
    /// never unverified. The function may block for as long as it likes: no more than a window is fetched ahead.
    Stream(StreamFn),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Dir(path) => f.debug_tuple("Dir").field(path).finish(),
            Self::Stream(_) => f.write_str("Stream(..)"),
        }
    }
}

/// What a stream target wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More.
    Continue,
    /// No more: the transfer is cancelled.
    Abort,
}

/// What to do with a complete local file that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Leave it alone if its content is right, else fail with [`super::ErrorKind::Exists`].
    Never,
    /// Leave it alone if its content is right, else replace it when the download is complete (and use what is right
    /// of it).
    #[default]
    Resume,
    /// Download everything anew.
    Replace,
}

/// A download to be started.
#[derive(Debug)]
pub struct Request {
    /// File or directory.
    pub path: UrlPath,
    /// Where to.
    pub target: Target,
    /// Of what is there already.
    pub overwrite: Overwrite,
    /// A directory may be downloaded, with all below it.
    pub recursive: bool,
    /// Only this version will do.
    pub expect_root: Option<Digest>,
    /// What to do about signatures; `None` = as the client is configured.
    pub verify: Option<Policy>,
    /// One of these keys must have signed what is downloaded; empty = any that is trusted.
    pub keys: Vec<Fingerprint>,
    /// How it behaves beside others.
    pub tuning: Tuning,
}

/// How a download behaves beside others, and on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tuning {
    /// Bytes a second at most, 0 = as the client.
    pub rate: u64,
    /// Which of several goes first.
    pub priority: Priority,
    /// Room on the disk is reserved before the first byte is asked for; else files grow as they come.
    pub preallocate: bool,
    /// Of a stream: only these bytes of the file; `None` = all of it.
    pub range: Option<ByteRange>,
    /// Of a stream: how fast it will be read, bytes a second, so that it gets in time what it needs next; 0 = the server
    /// learns that from how it goes.
    pub pace: u64,
}

/// How a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferState {
    /// Waiting for the session or for information.
    Queued,
    /// Waiting for the application's word on a signature.
    Deciding,
    /// Checking what is there already.
    Checking,
    /// Receiving.
    Active,
    /// Paused by the application.
    Paused,
    /// All there; last checks, rename.
    Verifying,
    /// Complete.
    Done,
    /// Ended with an error.
    Failed,
    /// Ended by the application.
    Cancelled,
}

impl TransferState {
    /// Whether nothing more will happen.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// Numbers of a transfer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Bytes verified and stored, found at the start included.
    pub done: u64,
    /// Bytes in all; grows while a tree is still being listed.
    pub total: u64,
    /// Received and verified from the origin.
    pub from_origin: u64,
    /// Received and verified from peers.
    pub from_peers: u64,
    /// Found on disk.
    pub from_disk: u64,
    /// Received in vain.
    pub wasted: u64,
    /// Bytes a second now (smoothed over a few seconds).
    pub rate: u64,
    /// Time to go at this rate.
    pub eta: Option<Duration>,
    /// Others sending to this transfer now, the origin included.
    pub givers: u32,
    /// Files complete and files in all (1 for a single file).
    pub files_done: u64,
    /// See `files_done`.
    pub files_total: u64,
    /// Why nothing comes, when nothing comes.
    pub waiting: Option<WaitReason>,
    /// Bytes the server has hashed and is to hash, before the transfer can begin.
    pub hashing: Option<(u64, u64)>,
    /// Entries of the tree that the server has gone through for the next page of its listing, while that takes long.
    pub reading: Option<u64>,
    /// Bytes of a file found here that were checked and are to be checked, while that is done.
    pub checking: Option<(u64, u64)>,
}

/// One exchange with a peer, for those who want to see the swarm at work.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerTransfer {
    /// Number on the server.
    pub id: u64,
    /// The other side's client id; the server's own for the origin.
    pub peer_id: String,
    /// Whether the other side is the origin.
    pub is_origin: bool,
    /// Whether bytes came to us.
    pub received: bool,
    /// File.
    pub path: UrlPath,
    /// First piece and number of pieces.
    pub pieces: (u32, u32),
    /// Payload bytes.
    pub bytes: u64,
    /// Duration.
    pub ms: u64,
    /// Why the server arranged it.
    pub reason: Option<Reason>,
    /// How it failed.
    pub error: Option<crate::wire::FailureKind>,
}

/// Totals of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientStats {
    /// Verified bytes from origins.
    pub from_origin: u64,
    /// Verified bytes from peers.
    pub from_peers: u64,
    /// Bytes sent to peers.
    pub uploaded: u64,
    /// Bytes received in vain.
    pub wasted: u64,
    /// Bytes a second, in.
    pub down_rate: u64,
    /// Bytes a second, out.
    pub up_rate: u64,
    /// Transfers under way.
    pub active_transfers: u32,
    /// Exchanges with others under way, in and out.
    pub peer_connections: u32,
    /// Events waiting.
    pub queued_events: u32,
    /// Events dropped because the queue was full.
    pub dropped_events: u64,
    /// Port the peer listener has; 0 = not listening.
    pub listen_port: u16,
}
