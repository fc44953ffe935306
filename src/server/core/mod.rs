//! What the dispatcher decides, sans-IO: who is here, what they asked for, and what they are told.
//!
//! Owns the [`Swarm`] and translates between it and the messages of the control connections. It opens no socket,
//! reads no file and knows no clock: everything that happens is an [`Input`] with the time as an argument, everything
//! to be done is an [`Output`]. Reading directories and hashing are outputs too, whose results come back as inputs.
//!
//! - `client`: the plain data about a connection;
//! - `session`: registering, pings, errors, leaving;
//! - `files`: versions of files, and the messages about them;
//! - `policy`: the operator's rules, applied;
//! - `places`: where only so many may download at once, who does and who waits;
//! - `watches`: who watches what in the tree;
//! - `transfers`: commands of the swarm, and the messages about transfers.

mod client;
mod files;
mod places;
mod policy;
mod ranges;
mod session;
#[cfg(test)]
mod tests;
mod transfers;
mod watches;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use self::client::{Claim, Client};
use self::files::Files;
use self::places::Places;
use self::transfers::Open;
use self::watches::Watches;
use super::rules::Rules;
use super::shelf::Shelf;
use super::status::{ClientStatus, SwarmStatus};
use crate::hub::{Change, FileVersion, HubError};
use crate::swarm::{self, Command, Event, FileId, PeerId, PeerInfo, Swarm, TransferId};
use crate::wire::token::Secret;
use crate::wire::{self, Listing, Message, UrlPath, WireError};

/// The origin's number in the swarm.
pub(crate) const ORIGIN: PeerId = PeerId(0);

/// How often connections are looked over while there are any, microseconds.
const HOUSEKEEPING_US: u64 = 5_000_000;
/// How often while somebody has yet to register.
const WATCHFUL_US: u64 = 1_000_000;

/// Names one control connection; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u64);

/// What time it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Now {
    /// For durations.
    pub(crate) time: swarm::Time,
    /// Unix seconds, for tokens.
    pub(crate) unix: u64,
}

/// Who the server is.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Its peer id, random at every start.
    pub(crate) id: String,
    /// What its tokens are made with.
    pub(crate) secret: Secret,
    /// Program and version.
    pub(crate) agent: String,
    /// What it can do, or does otherwise than most.
    pub(crate) features: Vec<String>,
    /// Greeting for clients.
    pub(crate) notice: Option<String>,
    /// Bytes a second the origin sends at most; 0 = no limit.
    pub(crate) up_limit: u64,
    /// How long a version that was replaced is given to those who are downloading it, microseconds.
    pub(crate) old_grace_us: u64,
}

/// The right of a connection to have one more message wait for us; given back when dropped.
pub(crate) type Credit = Option<OwnedSemaphorePermit>;

/// Something that has happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A control connection was opened.
    Connected {
        conn: ConnId,
        /// The other side.
        remote: SocketAddr,
        /// Our side, as it was dialled.
        local: SocketAddr,
    },
    /// A message came on it, or something that is none.
    Message { conn: ConnId, message: Result<Message, WireError>, credit: Credit },
    /// It is we who do not read what it says, because it has yet to take what was said to it, which it does.
    HeldUp { conn: ConnId },
    /// It is gone.
    Closed { conn: ConnId },
    /// Answer to [`Output::Find`].
    Found { path: UrlPath, result: Result<Arc<FileVersion>, HubError> },
    /// A file that is being looked for is being hashed.
    Hashing { path: UrlPath, done: u64, total: u64 },
    /// How far the answer to [`Output::List`] is.
    Reading { conn: ConnId, reading: wire::Reading },
    /// Answer to [`Output::List`].
    Listed { conn: ConnId, url: String, id: Option<u64>, result: Result<Listing, HubError> },
    /// Answer to [`Output::Probe`].
    Probed { conn: ConnId, ok: bool },
    /// Answer to [`Output::Check`].
    Checked { file: FileId, good: bool },
    /// The bytes of a version were found not to be what was hashed.
    Suspect { version: Arc<FileVersion> },
    /// Something in the tree has changed.
    News(Change),
    /// A connection for which changes wait has room for some.
    Room { conn: ConnId },
    /// The server is going down.
    GoingDown,
    /// Only time has passed.
    Tick,
}

/// Something to be done.
#[derive(Debug)]
pub(crate) enum Output {
    /// Write a message.
    Send { conn: ConnId, message: Message },
    /// Close a connection, once what was sent before has been written. Nothing more is said on it.
    Close { conn: ConnId },
    /// Look up the current version of a file.
    Find { path: UrlPath },
    /// Read a page of a directory.
    List(List),
    /// Find out whether a client can be dialled.
    Probe { conn: ConnId, address: SocketAddr, hello: Option<Hello> },
    /// Look whether a version is still what is on disk.
    Check { file: FileId, version: Arc<FileVersion> },
    /// Answer the early GET of this name.
    AnswerEarly { name: String, grant: Grant },
}

/// A page of a directory that a client wants.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) conn: ConnId,
    pub(crate) url: String,
    pub(crate) path: UrlPath,
    pub(crate) id: Option<u64>,
    pub(crate) depth: u32,
    pub(crate) cursor: Option<String>,
    /// As XML; then depth 0 is what is at the path itself.
    pub(crate) is_rdl: bool,
    /// Of the client.
    pub(crate) address: IpAddr,
}

/// What the origin may send in answer to a GET.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) version: Arc<FileVersion>,
    /// Half open.
    pub(crate) bytes: Range<u64>,
}

/// What a version 3 client proves itself with when it is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The client's id.
    pub(crate) client_id: String,
    /// Never used twice.
    pub(crate) nonce: String,
    /// The answer that only this client can give.
    pub(crate) answer: String,
}

/// Fills a buffer with random bytes.
pub(crate) type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// Totals that are not the swarm's.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CoreStats {
    /// Clients registered since the start.
    pub(crate) registered: u64,
    /// Messages received that were none, or made no sense.
    pub(crate) protocol_errors: u64,
    /// Versions that changed while they were distributed.
    pub(crate) retired: u64,
    /// Givers that sent wrong bytes too often.
    pub(crate) distrusted: u64,
}

/// See the module.
pub(crate) struct Core {
    identity: Identity,
    rules: Arc<Rules>,
    /// Whether origins are, where the rules say nothing.
    frugal: bool,
    random: Random,
    swarm: Swarm,
    clients: HashMap<ConnId, Client>,
    /// Registered clients by client id.
    ids: HashMap<String, ConnId>,
    /// Registered clients by number; index 0 is the origin.
    peers: Vec<Option<ConnId>>,
    free_peers: Vec<PeerId>,
    unregistered: HashSet<ConnId>,
    /// Connections whose id somebody else claims.
    claims: HashMap<ConnId, Claim>,
    files: Files,
    watches: Watches,
    places: Places,
    open: HashMap<TransferId, Open>,
    next_housekeeping: Option<swarm::Time>,
    going_down: bool,
    stats: CoreStats,

    // Of the current call of `handle` only.
    now: Now,
    out: Vec<Output>,
    /// Events that follow from commands; fed to the swarm when the command list is done.
    followups: VecDeque<Event>,
}

impl Core {
    /// With nobody here. Versions in distribution are put on `shelf` for the piece service to find.
    pub(crate) fn new(
        identity: Identity,
        config: swarm::Config,
        shelf: Arc<Shelf>,
        random: Random,
        now: Now,
    ) -> Self {
        let mut this = Self {
            frugal: config.frugal,
            swarm: Swarm::new(config),
            clients: HashMap::new(),
            ids: HashMap::new(),
            peers: vec![None],
            free_peers: Vec::new(),
            unregistered: HashSet::new(),
            claims: HashMap::new(),
            files: Files::new(shelf),
            watches: Watches::default(),
            places: Places::default(),
            rules: Arc::default(),
            open: HashMap::new(),
            next_housekeeping: None,
            going_down: false,
            stats: CoreStats::default(),
            now,
            out: Vec::new(),
            followups: VecDeque::new(),
            identity,
            random,
        };
        let up_limit = Some(this.identity.up_limit).filter(|&limit| limit > 0);
        this.tell_swarm(Event::PeerJoined {
            peer: ORIGIN,
            info: PeerInfo {
                is_origin: true,
                reachable: true,
                gives: true,
                runs: true,
                puts: true,
                ahead: true,
                stays: true,
                up_limit,
                down_limit: None,
                address: None,
            },
        });
        this
    }

    /// Takes an input in and appends what is to be done to `out`.
    pub(crate) fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        self.now = now;
        match input {
            Input::Connected { conn, remote, local } => self.connected(conn, remote, local),
            Input::Message { conn, message, credit } => {
                self.received(conn, message);
                drop(credit);
            }
            Input::HeldUp { conn } => self.alive(conn),
            Input::Closed { conn } => self.forget(conn),
            Input::Found { path, result } => self.found(&path, result),
            Input::Hashing { path, done, total } => self.hashing(&path, done, total),
            Input::Reading { conn, reading } if self.is_v3(conn) => self.send(conn, reading),
            // Version 2 has no word for it.
            Input::Reading { .. } => {}
            Input::Listed { conn, url, id, result } => self.listed(conn, url, id, result),
            Input::Probed { conn, ok } => self.probed(conn, ok),
            Input::Checked { file, good } => self.checked(file, good),
            Input::Suspect { version } => self.suspect(&version),
            Input::News(change) => self.news(&change),
            Input::Room { conn } => self.tell_watcher(conn),
            Input::GoingDown => self.say_goodbye(),
            Input::Tick => self.tick(),
        }
        out.append(&mut self.out);
    }

    /// When to hand in [`Input::Tick`] if nothing else happens before.
    pub(crate) fn next_timeout(&self) -> Option<swarm::Time> {
        [self.swarm.next_timeout(), self.next_housekeeping].into_iter().flatten().min()
    }

    /// Everything about the swarm for the status page, but the paths that whoever looks at it may not know.
    pub(crate) fn status(&self, visitor: IpAddr) -> SwarmStatus {
        let visitor = self.rules.audience(visitor);
        let mut clients: Vec<_> = self
            .clients
            .iter()
            .filter_map(|(&conn, client)| {
                let session = client.session()?;
                let part = self.swarm.peer_stats(session.peer).unwrap_or_default();
                Some(ClientStatus {
                    id: session.id.clone(),
                    address: client.remote.ip().to_canonical().to_string(),
                    agent: session.agent.clone(),
                    version: if client.is_v3 { 3 } else { 2 },
                    reachable: session.reachable,
                    connected_s: self.now.time.since(client.since) / 1_000_000,
                    files: session.files.len() as u64,
                    receiving: self.receiving(session, &visitor),
                    waiting: self.waiting(conn, session, &visitor),
                    part,
                })
            })
            .collect();
        clients.sort_by(|a, b| a.id.cmp(&b.id));
        SwarmStatus {
            clients,
            directories: self.directories(&visitor),
            swarm: self.swarm.stats(),
            core: self.stats,
            connections: self.clients.len() as u64,
            versions: self.files.held() as u64,
            searches: self.files.searches() as u64,
        }
    }

    /// Feeds the swarm, obeys it, and feeds it what follows from that.
    fn tell_swarm(&mut self, event: Event) {
        let mut commands: Vec<Command> = Vec::new();
        let mut next = Some(event);
        while let Some(event) = next {
            self.swarm.handle(event, self.now.time, &mut commands);
            for command in commands.drain(..) {
                self.obey(command);
            }
            next = self.followups.pop_front();
        }
    }

    fn send(&mut self, conn: ConnId, message: impl Into<Message>) {
        self.out.push(Output::Send { conn, message: message.into() });
    }

    /// Brings the next look at the connections forward to `in_us` from now at the latest.
    fn look_again_in(&mut self, in_us: u64) {
        let at = self.now.time.plus(in_us);
        self.next_housekeeping = Some(self.next_housekeeping.map_or(at, |due| due.min(at)));
    }

    fn tick(&mut self) {
        if self.swarm.next_timeout().is_some_and(|at| at <= self.now.time) {
            self.tell_swarm(Event::Tick);
        }
        if self.next_housekeeping.is_some_and(|at| at <= self.now.time) {
            self.next_housekeeping = None;
            self.look_over_connections();
            self.look_over_transfers();
            self.look_over_files();
            self.look_over_places();
            if !self.clients.is_empty() || self.files.held() > 0 {
                self.look_again_in(HOUSEKEEPING_US);
            }
        }
    }
}
