//! What the application is told.

use std::time::Duration;

use super::{Error, Listing, LogLevel, PeerTransfer, Progress, SessionState, ShareState, TransferState};
use crate::content::trust::Verdict;
use crate::wire::{Digest, UrlPath};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Given when the session, transfer or operation was started.
    pub user_data: usize,
    /// What.
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventBody {
    /// A session changed its state; only the latest state of each session is kept.
    Session {
        /// [`super::Session::id`].
        session: u64,
        /// Now.
        state: SessionState,
    },
    /// A page of a listing. Never lost; the next page is fetched after this one was taken.
    Listing {
        /// From `list_start` or `stat_start`.
        op: u64,
        /// The page, or why there is none.
        result: Result<Listing, Error>,
        /// No more pages.
        last: bool,
    },
    /// The server is reading the directory, and the page does not come yet: about twice a second. Only the latest of each
    /// operation is kept. Servers from before this word keep silent.
    Reading {
        /// From `list_start`.
        op: u64,
        /// Entries gone through so far; 0 while the server reads other directories first.
        entries: u64,
    },
    /// A transfer changed its state (ends come as `Done`). Only the latest is kept.
    State {
        /// [`super::Transfer::id`].
        transfer: u64,
        /// Now.
        state: TransferState,
    },
    /// A transfer has ended. Exactly once per transfer, never lost.
    Done {
        /// [`super::Transfer::id`].
        transfer: u64,
        /// File or directory.
        path: UrlPath,
        /// Version, of a file.
        root: Option<Digest>,
        /// Well, or why not ([`super::ErrorKind::Cancelled`] among others).
        result: Result<(), Error>,
        /// Final numbers.
        progress: Box<Progress>,
    },
    /// Numbers of a transfer: at most one in the queue per transfer, the newest, at most 10 a second.
    Progress {
        /// [`super::Transfer::id`].
        transfer: u64,
        /// Numbers.
        progress: Box<Progress>,
    },
    /// What the signatures of a file are worth, and whether it is downloaded for it. Not told of files that are
    /// not signed and need not be, under [`crate::content::trust::Policy::Ask`]. Droppable.
    Verdict {
        /// [`super::Transfer::id`].
        transfer: u64,
        /// Details.
        verdict: Box<Verdict>,
        /// Whether the download goes on.
        accepted: bool,
    },
    /// The application is to say what is to become of a file: see [`super::Config::decisions`]. Never lost, never
    /// masked. The download waits for [`super::Client::decide`].
    Decision {
        /// [`super::Transfer::id`].
        transfer: u64,
        /// For the answer.
        id: u64,
        /// Details.
        verdict: Box<Verdict>,
    },
    /// A file of a tree is complete. Droppable; off at first.
    FileDone {
        /// [`super::Transfer::id`].
        transfer: u64,
        /// File.
        path: UrlPath,
        /// Bytes.
        size: u64,
    },
    /// A file or directory that is not on the server was removed by a [`super::Mirror`]. Never lost; of the type of
    /// [`EventBody::FileDone`].
    FileRemoved {
        /// [`super::Transfer::id`].
        transfer: u64,
        /// Where it would be on the server.
        path: UrlPath,
    },
    /// An exchange with a peer has ended. Droppable; off at first.
    Peer {
        /// [`super::Transfer::id`]; 0 for what was given to others.
        transfer: u64,
        /// Details.
        exchange: Box<PeerTransfer>,
    },
    /// Something that is watched has changed. Droppable: after an [`EventBody::Overflow`] that names this type, look
    /// again at what is watched.
    Changed {
        /// From `watch`.
        op: u64,
        /// Of what. May be above what is watched, when a directory is gone with all below it.
        path: UrlPath,
        /// How.
        change: Change,
    },
    /// A word from the operator of a server. Droppable.
    Notice {
        /// [`super::Session::id`].
        session: u64,
        /// For people.
        message: String,
    },
    /// The server goes down for a while. Droppable.
    Goaway {
        /// [`super::Session::id`].
        session: u64,
        /// For people.
        reason: String,
        /// When it expects to be back.
        after: Duration,
    },
    /// A share has another state. Only the latest of each is kept.
    Share {
        /// [`super::Share::id`].
        share: u64,
        /// Now.
        state: ShareState,
    },
    /// A line of the log. Droppable, and the first to be dropped; off at first. Told of clients whose
    /// [`super::Config::log`] is set.
    Log {
        /// How bad it is.
        level: LogLevel,
        /// Which part of the library says it.
        target: String,
        /// For people.
        line: String,
    },
    /// [`super::Client::post`] was called. Never lost, never masked; `Event::user_data` is 0.
    Posted {
        /// As posted.
        tag: u64,
    },
    /// Droppable events were dropped since the last event.
    Overflow {
        /// How many.
        count: u64,
        /// Of which types.
        types: EventMask,
    },
}

/// How something that is watched has changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The file is new or another than before.
    File {
        /// Its version.
        root: Digest,
        /// Bytes.
        size: u64,
        /// Modification time, Unix seconds.
        mtime: Option<i64>,
    },
    /// There is a new directory.
    Dir,
    /// It is gone, with all below it.
    Removed,
    /// More may have changed, at or below it, than was told: it was much at once, or the connection was away.
    Rescan,
    /// The server does not let this be watched. The last event of this watch.
    Refused(Error),
}

/// A set of event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventMask(pub u32);

impl EventMask {
    /// [`EventBody::Session`].
    pub const SESSION: Self = Self(1 << 0);
    /// [`EventBody::Listing`].
    pub const LISTING: Self = Self(1 << 1);
    /// [`EventBody::State`].
    pub const STATE: Self = Self(1 << 2);
    /// [`EventBody::Done`].
    pub const DONE: Self = Self(1 << 3);
    /// [`EventBody::Progress`].
    pub const PROGRESS: Self = Self(1 << 4);
    /// [`EventBody::FileDone`] and [`EventBody::FileRemoved`].
    pub const FILE_DONE: Self = Self(1 << 5);
    /// [`EventBody::Peer`].
    pub const PEER: Self = Self(1 << 6);
    /// [`EventBody::Notice`] and [`EventBody::Goaway`].
    pub const NOTICE: Self = Self(1 << 7);
    /// [`EventBody::Overflow`].
    pub const OVERFLOW: Self = Self(1 << 8);
    /// [`EventBody::Changed`].
    pub const CHANGED: Self = Self(1 << 9);

    /// [`EventBody::Verdict`].
    pub const VERDICT: Self = Self(1 << 10);

    /// [`EventBody::Log`].
    pub const LOG: Self = Self(1 << 13);
    /// [`EventBody::Share`].
    pub const SHARE: Self = Self(1 << 14);
    /// [`EventBody::Reading`].
    pub const READING: Self = Self(1 << 15);

    /// Whether all of `other` is in this.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for EventMask {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Default for EventMask {
    /// Everything but noise.
    fn default() -> Self {
        Self(!(Self::FILE_DONE | Self::PEER | Self::LOG).0)
    }
}
