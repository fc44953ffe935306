use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Weak;

use super::ConnId;
use super::ranges::Ranges;
use super::watches::Watching;
use crate::hub::FileVersion;
use crate::swarm::{FileId, PeerId, Time, TransferId, WaitReason};
use crate::wire::token::Secret;
use crate::wire::{self, Message, Order, Register, UrlPath, WireError};

/// A control connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    /// When it was opened.
    pub(crate) since: Time,
    /// When something last came from it.
    pub(crate) last_heard: Time,
    /// Pings since then, of those that are to find out whether it is still there after a long silence.
    pub(crate) pings: u32,
    /// When it was asked for a sign of life that it has not given since.
    pub(crate) asked: Option<Time>,
    /// Errors it was forgiven.
    pub(crate) errors: u32,
    /// Said that it speaks version 3; it may be sent what version 2 does not know.
    pub(crate) is_v3: bool,
    pub(crate) state: State,
}

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum State {
    /// Has not said who it is.
    New,
    /// Says it is somebody who is here already; waits for that to be settled.
    Claiming(Box<Claimant>),
    /// Is known.
    Registered(Box<Session>),
}

/// A client whose id is still held by another connection.
#[derive(Debug)]
pub(crate) struct Claimant {
    pub(crate) register: Register,
    /// What it has said since.
    pub(crate) held: Vec<Result<Message, WireError>>,
}

/// A claim on the id of a connection, which has been asked for a sign of life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// Who wants to take its place.
    pub(crate) by: ConnId,
    /// Silent until then = dead.
    pub(crate) deadline: Time,
}

/// A registered client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) peer: PeerId,
    pub(crate) agent: String,
    pub(crate) secret: Secret,
    /// Where it accepts peers; 0 = nowhere.
    pub(crate) listen_port: u16,
    pub(crate) gives: bool,
    pub(crate) reachable: bool,
    /// Files it has, wants or moves.
    pub(crate) files: HashMap<FileId, ClientFile>,
    /// How many of them it has standing requests for.
    pub(crate) wanted: usize,
    /// Transfers it is a side of.
    pub(crate) open: Vec<TransferId>,
    /// Questions not answered yet.
    pub(crate) outstanding: usize,
    /// Requests and the like that wait for a file to be looked up.
    pub(crate) pending: usize,
    /// A GET of this client that waits, or soon will, for what the origin is first to send.
    pub(crate) early: Option<Early>,
    /// What its latest `transfer` said, if it need not be told so again.
    pub(crate) said: Option<wire::Said>,
    /// What it watches.
    pub(crate) watching: Watching,
    /// Transfers that have ended, and of which it has not said so as giver. Of version 2 only.
    pub(crate) last_words: VecDeque<LastWord>,
    /// The latest transfers to this client that were cancelled: what of them has come all the same counts.
    pub(crate) cancelled: VecDeque<Cancelled>,
}

/// Most of them remembered of one client.
pub(crate) const MAX_LAST_WORDS: usize = 64;
/// Most cancelled transfers remembered for one client.
pub(crate) const MAX_CANCELLED: usize = 64;

/// A transfer that was cancelled while its taker may already have had pieces of it.
#[derive(Debug)]
pub(crate) struct Cancelled {
    pub(crate) transfer: TransferId,
    pub(crate) file: FileId,
    /// Numbers of files are used again.
    pub(crate) version: Weak<FileVersion>,
    pub(crate) pieces: Range<u32>,
}

/// What a giver of version 2 will say of a transfer that has ended.
#[derive(Debug)]
pub(crate) struct LastWord {
    pub(crate) taker: String,
    pub(crate) path: UrlPath,
    /// Half open.
    pub(crate) bytes: Range<u64>,
}

/// An early GET, as the request that goes with it tells.
#[derive(Debug)]
pub(crate) struct Early {
    pub(crate) file: FileId,
    /// What it shows to be known by.
    pub(crate) name: String,
}

/// One client's dealings with one version of a file.
#[derive(Debug)]
pub(crate) struct ClientFile {
    /// As this client writes it.
    pub(crate) url: Box<str>,
    /// Standing requests.
    pub(crate) wants: Ranges,
    /// Why nothing of it came when it was last told so.
    pub(crate) waiting: Option<WaitReason>,
    /// How it wants it, where it may have to be asked for anew.
    pub(crate) wish: Option<Box<Wish>>,
}

/// How somebody wants a file: what a request says besides which pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    order: Option<Order>,
    position: Option<u64>,
    window: Option<u64>,
    pace: Option<u64>,
}

impl Wish {
    pub(crate) fn of(m: &wire::Request) -> Self {
        Self { order: m.order, position: m.position, window: m.window, pace: m.pace }
    }

    /// This, said after `earlier`: where a reader is holds until it says where else.
    pub(crate) fn over(self, earlier: Self) -> Self {
        match self.window {
            None => Self { order: self.order, ..earlier },
            Some(_) => Self { pace: self.pace.or(earlier.pace), ..self },
        }
    }

    pub(crate) fn put_into(self, m: &mut wire::Request) {
        let Self { order, position, window, pace } = self;
        (m.order, m.position, m.window, m.pace) = (order, position, window, pace);
    }
}

impl Client {
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Registered(session) => Some(session),
            _ => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Registered(session) => Some(session),
            _ => None,
        }
    }
}

impl Session {
    /// Takes pieces out of the standing requests for a file.
    pub(crate) fn no_longer_wants(&mut self, file: FileId, pieces: std::ops::Range<u32>) {
        let Some(entry) = self.files.get_mut(&file) else { return };
        if !entry.wants.is_empty() {
            entry.wants.remove(pieces);
            if entry.wants.is_empty() {
                self.wanted -= 1;
            }
        }
    }
}
