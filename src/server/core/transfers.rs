//! Commands of the swarm turned into messages, and the messages about transfers.

use std::ops::Range;
use std::sync::Arc;

use super::client::{Cancelled, Client, LastWord, MAX_CANCELLED, MAX_LAST_WORDS, Session};
use super::{ConnId, Core, Grant, ORIGIN, Output};
use crate::hub::{Audience as _, FileVersion};
use crate::server::rules::Visitor;
use crate::server::status::Receiving;
use crate::swarm::{Assignment, Command, Event, FailureKind, FileId, PeerId, Time, TransferId};
use crate::wire::token::{Method, TokenScope, make_proof, make_token};
use crate::wire::{self, ByteRange, Digest, TransferMethod, UrlPath, file_url, limits, path_of_url};

/// Most transfers to one client that the status page tells of.
const MAX_TOLD: usize = 16;

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Open {
    assignment: Assignment,
    started: Time,
    /// The giver has answered a request without a token: such a transfer is good for one.
    is_given: bool,
}

impl Open {
    fn other_than(&self, peer: PeerId) -> PeerId {
        if self.assignment.giver == peer { self.assignment.taker } else { self.assignment.giver }
    }
}

impl Core {
    /// Does what the swarm says.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Start(assignment) => {
                if self.start(&assignment).is_none() {
                    self.followups.push_back(Event::Completed {
                        transfer: assignment.transfer,
                        peer: assignment.taker,
                        bytes: 0,
                        ms: 0,
                        result: Err(FailureKind::Unreachable),
                    });
                }
            }
            Command::Cancel { transfer, giver, taker } => {
                self.remember_cancelled(transfer);
                self.close_transfer(transfer);
                for conn in [self.conn_of(giver), self.conn_of(taker)].into_iter().flatten() {
                    if self.is_v3(conn) {
                        self.send(conn, wire::Cancel { id: transfer.0 });
                    }
                }
            }
            Command::Waiting { peer, file, reason } => {
                let Some(conn) = self.conn_of(peer) else { return };
                let session = self.clients.get_mut(&conn).and_then(Client::session_mut);
                let Some(entry) = session.and_then(|session| session.files.get_mut(&file)) else { return };
                entry.waiting = Some(reason);
                if self.is_v3(conn)
                    && let Some(entry) =
                        self.clients[&conn].session().and_then(|session| session.files.get(&file))
                {
                    let url = entry.url.to_string();
                    self.send(conn, wire::Waiting { url, reason });
                }
            }
            Command::Ping { peer } => {
                if let Some(conn) = self.conn_of(peer) {
                    self.ping(conn);
                }
            }
            Command::Distrusted { peer } => {
                self.stats.distrusted += 1;
                let session =
                    self.conn_of(peer).and_then(|conn| self.clients.get(&conn)).and_then(Client::session);
                tracing::warn!(client = ?session.map(|s| &s.id), "sent wrong bytes too often: asked for no more");
            }
        }
    }

    /// Sends `transfer` to the side that dials. `None` when one of the sides cannot be told about.
    fn start(&mut self, assignment: &Assignment) -> Option<()> {
        let Assignment { transfer, giver, taker, taker_dials, file, ref pieces, reason, ahead, news_us } =
            *assignment;
        let version = self.files.version(file)?.clone();
        let bytes = version.hashes.layout().bytes_of_run(pieces.clone());
        let (connector, acceptor) = if taker_dials { (taker, giver) } else { (giver, taker) };
        let conn = self.conn_of(connector)?;
        let client = self.clients.get(&conn)?;
        let session = client.session()?;
        let url = match session.files.get(&file) {
            Some(entry) => entry.url.to_string(),
            None => file_url(&client.local.ip().to_canonical().to_string(), &version.path),
        };
        let (host, port, peer_id, secret, acceptor_is_v3) = if acceptor == ORIGIN {
            (client.local.ip(), client.local.port(), self.identity.id.clone(), &self.identity.secret, true)
        } else {
            let other = self.clients.get(&self.conn_of(acceptor)?)?;
            let other_session = other.session()?;
            (
                other.remote.ip(),
                other_session.listen_port,
                other_session.id.clone(),
                &other_session.secret,
                other.is_v3,
            )
        };
        let max = bytes.end.checked_sub(1)?;
        let mut message = wire::Transfer {
            host: host.to_canonical().to_string(),
            port,
            method: if taker_dials { TransferMethod::Get } else { TransferMethod::Put },
            url,
            range: ByteRange::new(bytes.start, max),
            peer_id,
            ..Default::default()
        };
        if client.is_v3 {
            message.id = Some(transfer.0);
            message.root = Some(version.root());
            message.reason = Some(reason);
            // Only who dials is told; who is dialled tells as often as always.
            message.progress_ms = news_us.filter(|_| taker_dials).map(|us| us / 1000);
            message.wait_s = ahead.then_some(limits::WAIT.as_secs());
            if acceptor_is_v3 {
                let root = version.root();
                let scope = TokenScope {
                    method: if taker_dials { Method::Get } else { Method::Put },
                    path: &version.path,
                    root: &root,
                    min: bytes.start,
                    max,
                    connector: &session.id,
                    transfer: transfer.0,
                };
                let token = make_token(secret, &scope, self.now.unix + limits::TOKEN_LIFETIME.as_secs());
                message.proof = Some(make_proof(secret, &token));
                message.token = Some(token);
            }
        } else {
            message.peer = Some(message.host.clone());
        }
        if giver == ORIGIN
            && let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut)
            && let Some(early) = session.early.take_if(|early| early.file == file)
        {
            // The token is there for the case that the early GET has failed.
            message.early = true;
            self.out.push(Output::AnswerEarly { name: early.name, grant: Grant { version, bytes } });
        }
        for conn in [self.conn_of(giver), self.conn_of(taker)].into_iter().flatten() {
            if let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) {
                session.open.push(transfer);
            }
        }
        if let Some(conn) = self.conn_of(taker)
            && let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut)
            && let Some(entry) = session.files.get_mut(&file)
        {
            entry.waiting = None;
        }
        self.open.insert(
            transfer,
            Open { assignment: assignment.clone(), started: self.now.time, is_given: false },
        );
        if !self.going_down {
            let session = self.clients.get_mut(&conn).and_then(Client::session_mut);
            if let Some(said) = session.and_then(|session| session.said.as_mut()) {
                said.leave_out(&mut message);
            }
            self.send(conn, message);
        }
        Some(())
    }

    /// What a client is to receive: runs of pieces of files.
    pub(super) fn taken_by(&self, session: &Session) -> impl Iterator<Item = (FileId, Range<u32>)> {
        let open = session.open.iter().filter_map(|transfer| self.open.get(transfer));
        let to_it = open.filter(|open| open.assignment.taker == session.peer);
        to_it.map(|open| (open.assignment.file, open.assignment.pieces.clone()))
    }

    /// Calls off what is on its way to a client of a file that it does not want any more.
    pub(super) fn call_off(&mut self, conn: ConnId, file: FileId) {
        let Some(session) = self.clients.get(&conn).and_then(Client::session) else { return };
        let peer = session.peer;
        let is_it = |open: &Open| open.assignment.taker == peer && open.assignment.file == file;
        let all: Vec<_> =
            session.open.iter().copied().filter(|id| self.open.get(id).is_some_and(is_it)).collect();
        for transfer in all {
            let Some(giver) = self.open.get(&transfer).map(|open| open.assignment.giver) else { continue };
            self.tell_swarm(Event::Completed {
                transfer,
                peer,
                bytes: 0,
                ms: 0,
                result: Err(FailureKind::Cancelled),
            });
            self.obey(Command::Cancel { transfer, giver, taker: peer });
        }
    }

    /// Files of which something is under way.
    pub(super) fn open_files(&self) -> impl Iterator<Item = FileId> + '_ {
        self.open.values().map(|open| open.assignment.file)
    }

    /// Strikes a transfer off the books.
    pub(super) fn close_transfer(&mut self, transfer: TransferId) {
        let Some(Open { assignment, is_given, .. }) = self.open.remove(&transfer) else { return };
        if !is_given {
            self.await_last_word(&assignment);
        }
        for conn in [self.conn_of(assignment.giver), self.conn_of(assignment.taker)].into_iter().flatten() {
            if let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) {
                session.open.retain(|&open| open != transfer);
            }
        }
    }

    /// News of pieces that have come may be on its way while a transfer is cancelled.
    fn remember_cancelled(&mut self, transfer: TransferId) {
        let Some(Open { assignment, .. }) = self.open.get(&transfer) else { return };
        let Some(version) = self.files.version(assignment.file) else { return };
        let (file, version, pieces) = (assignment.file, Arc::downgrade(version), assignment.pieces.clone());
        let conn = self.conn_of(assignment.taker).filter(|&conn| self.is_v3(conn));
        let session = conn.and_then(|conn| self.clients.get_mut(&conn)).and_then(Client::session_mut);
        let Some(session) = session else { return };
        if session.cancelled.len() >= MAX_CANCELLED {
            session.cancelled.pop_front();
        }
        session.cancelled.push_back(Cancelled { transfer, file, version, pieces });
    }

    /// A client has verified pieces (`None`: all) of a transfer that was cancelled meanwhile: they are not sent again, and
    /// it can give them.
    fn came_all_the_same(&mut self, conn: ConnId, transfer: TransferId, verified: Option<&[u64]>) {
        let Some(peer) = self.peer_of(conn) else { return };
        let session = self.clients.get_mut(&conn).and_then(Client::session_mut);
        let Some(session) = session else { return };
        let Some(at) = session.cancelled.iter().position(|one| one.transfer == transfer) else { return };
        let Cancelled { file, version, pieces: run, .. } = &session.cancelled[at];
        let (file, version, run) = (*file, version.clone(), run.clone());
        if verified.is_none() {
            session.cancelled.remove(at);
        }
        if !self.files.version(file).is_some_and(|now| std::ptr::eq(Arc::as_ptr(now), version.as_ptr())) {
            return;
        }
        let found = match verified {
            None => vec![run],
            Some(pieces) => {
                let pieces = pieces.iter().filter_map(|&piece| u32::try_from(piece).ok());
                pieces.filter(|piece| run.contains(piece)).map(|piece| piece..piece + 1).collect()
            }
        };
        for pieces in found {
            self.has_it(conn, file, pieces.clone());
            self.tell_swarm(Event::Provide { peer, file, pieces });
        }
    }

    /// A giver of version 2 has still to say its `completed`, which nothing depends on any more.
    fn await_last_word(&mut self, assignment: &Assignment) {
        let taker = self.id_of(assignment.taker).map(str::to_owned);
        let version = self.files.version(assignment.file).cloned();
        let conn = self.conn_of(assignment.giver).filter(|&conn| !self.is_v3(conn));
        let session = conn.and_then(|conn| self.clients.get_mut(&conn)).and_then(Client::session_mut);
        let (Some(taker), Some(version), Some(session)) = (taker, version, session) else { return };
        if session.last_words.len() >= MAX_LAST_WORDS {
            session.last_words.pop_front();
        }
        let bytes = version.hashes.layout().bytes_of_run(assignment.pieces.clone());
        session.last_words.push_back(LastWord { taker, path: version.path.clone(), bytes });
    }

    /// Whether a `completed` of version 2 is the giver's, late: the taker's has ended the transfer already.
    fn is_last_word(&mut self, conn: ConnId, m: &wire::Completed) -> bool {
        let (Ok(path), Some(bytes)) = (path_of_url(&m.url), whole_range(m.range)) else { return false };
        let session = self.clients.get_mut(&conn).and_then(Client::session_mut);
        let Some(session) = session.filter(|_| m.hash.is_none()) else { return false };
        let is_it = |word: &LastWord| word.taker == m.peer_id && word.path == path && word.bytes == bytes;
        let at = session.last_words.iter().position(is_it);
        at.and_then(|at| session.last_words.remove(at)).is_some()
    }

    /// Strikes off what the swarm has ended without a command.
    pub(super) fn look_over_transfers(&mut self) {
        let ended: Vec<_> =
            self.open.keys().copied().filter(|&transfer| !self.swarm.is_under_way(transfer)).collect();
        for transfer in ended {
            self.close_transfer(transfer);
        }
    }

    pub(super) fn completed(&mut self, conn: ConnId, m: wire::Completed) {
        match m.id {
            Some(id) if self.is_v3(conn) => self.completed_v3(conn, TransferId(id), &m),
            _ => self.completed_v2(conn, m),
        }
    }

    fn completed_v3(&mut self, conn: ConnId, transfer: TransferId, m: &wire::Completed) {
        let Some(peer) = self.peer_of(conn) else { return };
        // One that is not here has been cancelled, or its other side is gone: the messages crossed.
        let Some(Open { assignment, .. }) = self.open.get(&transfer) else {
            if m.error.is_none() {
                self.came_all_the_same(conn, transfer, None);
            }
            return;
        };
        let assignment = assignment.clone();
        if assignment.taker == peer {
            if m.error.is_none() {
                self.has_got(peer, &assignment, assignment.pieces.clone());
            } else if m.error == Some(FailureKind::Hash) {
                self.doubt(&assignment);
            }
        }
        self.tell_swarm(Event::Completed {
            transfer,
            peer,
            bytes: m.bytes.unwrap_or(0),
            ms: m.ms.unwrap_or(0),
            result: m.error.map_or(Ok(()), Err),
        });
        if !self.swarm.is_under_way(transfer) {
            self.close_transfer(transfer);
        }
    }

    fn completed_v2(&mut self, conn: ConnId, m: wire::Completed) {
        let Some(peer) = self.peer_of(conn) else { return };
        let bytes = whole_range(m.range);
        let found = path_of_url(&m.url)
            .ok()
            .zip(bytes)
            .and_then(|(path, bytes)| self.find_open(conn, &m.peer_id, &path, &bytes));
        let Some((transfer, version)) = found else {
            if !self.is_v3(conn) && !self.is_last_word(conn, &m) {
                let message = "no such transfer is open";
                self.complain(conn, wire::ErrorCode::NotFound, message, Some(m.url), "completed");
            }
            return;
        };
        let Some(Open { assignment, started, is_given }) = self.open.get_mut(&transfer) else { return };
        if assignment.taker != peer {
            // Whether it went well, version 2 does not say as giver: it comes after refused requests, too.
            *is_given = true;
            return;
        }
        let (assignment, elapsed) = (assignment.clone(), self.now.time.since(*started));
        let digest = m.hash.as_deref().and_then(|hash| hash.parse::<Digest>().ok());
        let hash_ok = digest.is_some_and(|digest| version.hashes.is_right(assignment.pieces.start, &digest));
        let result = match (hash_ok, m.hash.is_some()) {
            (true, _) => Ok(()),
            (false, true) => Err(FailureKind::Hash),
            (false, false) => Err(FailureKind::Refused),
        };
        self.send(conn, wire::HashVerify { url: m.url, range: m.range, hash_ok });
        if hash_ok {
            self.has_got(peer, &assignment, assignment.pieces.clone());
        } else if m.hash.is_some() {
            self.doubt(&assignment);
        }
        let layout = version.hashes.layout();
        let moved = layout.bytes_of_run(assignment.pieces.clone());
        self.tell_swarm(Event::Completed {
            transfer,
            peer,
            bytes: if m.hash.is_some() { moved.end - moved.start } else { 0 },
            ms: elapsed / 1000,
            result,
        });
        if !self.swarm.is_under_way(transfer) {
            self.close_transfer(transfer);
        }
    }

    pub(super) fn progress(&mut self, conn: ConnId, m: &wire::Progress) {
        let transfer = TransferId(m.id);
        let Some(peer) = self.peer_of(conn) else { return };
        let Some(Open { assignment, .. }) = self.open.get(&transfer) else {
            return self.came_all_the_same(conn, transfer, Some(&m.pieces));
        };
        if assignment.taker != peer {
            return;
        }
        let assignment = assignment.clone();
        let mut pieces: Vec<u32> = m.pieces.iter().filter_map(|&piece| u32::try_from(piece).ok()).collect();
        pieces.retain(|piece| assignment.pieces.contains(piece));
        pieces.sort_unstable();
        pieces.dedup();
        for &piece in &pieces {
            self.has_got(peer, &assignment, piece..piece + 1);
        }
        self.tell_swarm(Event::Progress { transfer, peer, pieces });
    }

    pub(super) fn ask_verify(&mut self, conn: ConnId, m: wire::AskVerify) {
        let open = path_of_url(&m.url)
            .ok()
            .zip(whole_range(m.range))
            .and_then(|(path, bytes)| self.find_open(conn, &m.peer_id, &path, &bytes));
        let is_authorized = open.is_some();
        let authorized = (!self.is_v3(conn)).then_some(is_authorized);
        let wire::AskVerify { peer, url, range, peer_id } = m;
        self.send(conn, wire::TellVerify { peer, url, range, peer_id, is_authorized, authorized });
    }

    /// The version from which the origin is to give a client exactly these bytes, if a transfer says so that was not
    /// used yet. For clients that have no token to show.
    pub(crate) fn origin_grant(
        &mut self,
        client_id: &str,
        path: &UrlPath,
        bytes: &Range<u64>,
    ) -> Option<Arc<FileVersion>> {
        let conn = *self.ids.get(client_id)?;
        let (transfer, version) = self.find_open_with(conn, path, bytes, |other| other == ORIGIN)?;
        let open = self.open.get_mut(&transfer)?;
        (!std::mem::replace(&mut open.is_given, true)).then_some(version)
    }

    /// The open transfer of exactly these bytes between a connection and the peer with that id; not one that the
    /// connection has given already.
    fn find_open(
        &self,
        conn: ConnId,
        other_id: &str,
        path: &UrlPath,
        bytes: &Range<u64>,
    ) -> Option<(TransferId, Arc<FileVersion>)> {
        self.find_open_with(conn, path, bytes, |other| self.id_of(other).is_some_and(|id| id == other_id))
    }

    fn find_open_with(
        &self,
        conn: ConnId,
        path: &UrlPath,
        bytes: &Range<u64>,
        is_other: impl Fn(PeerId) -> bool,
    ) -> Option<(TransferId, Arc<FileVersion>)> {
        let session = self.clients.get(&conn)?.session()?;
        session.open.iter().find_map(|transfer| {
            let open = self.open.get(transfer)?;
            let version = self.files.version(open.assignment.file)?;
            let is_over = open.is_given && open.assignment.giver == session.peer;
            let same = !is_over
                && version.path == *path
                && version.hashes.layout().bytes_of_run(open.assignment.pieces.clone()) == *bytes
                && is_other(open.other_than(session.peer));
            same.then(|| (*transfer, version.clone()))
        })
    }

    /// What is on its way to a client, and why; the first few that `visitor` may know, for the status page.
    pub(super) fn receiving(&self, session: &Session, visitor: &Visitor<'_>) -> Vec<Receiving> {
        let open = session.open.iter().filter_map(|transfer| self.open.get(transfer));
        open.filter(|open| open.assignment.taker == session.peer)
            .filter_map(|Open { assignment, .. }| {
                let path = &self.files.version(assignment.file)?.path;
                visitor.may_know(path).then_some(())?;
                Some(Receiving {
                    from: if assignment.giver == ORIGIN {
                        "origin".to_owned()
                    } else {
                        self.id_of(assignment.giver)?.to_owned()
                    },
                    path: path.as_str().to_owned(),
                    pieces: assignment.pieces.clone(),
                    reason: assignment.reason,
                })
            })
            .take(MAX_TOLD)
            .collect()
    }

    fn id_of(&self, peer: PeerId) -> Option<&str> {
        if peer == ORIGIN {
            return Some(&self.identity.id);
        }
        let conn = self.conn_of(peer)?;
        self.clients.get(&conn)?.session().map(|session| session.id.as_str())
    }

    pub(super) fn peer_of(&self, conn: ConnId) -> Option<PeerId> {
        self.clients.get(&conn)?.session().map(|session| session.peer)
    }

    /// The taker of a transfer has these pieces now: they are no longer requested.
    fn has_got(&mut self, taker: PeerId, assignment: &Assignment, pieces: Range<u32>) {
        if let Some(conn) = self.conn_of(taker) {
            self.has_it(conn, assignment.file, pieces);
        }
    }

    /// Wrong bytes came: if they came from here, the file may have changed under us.
    fn doubt(&mut self, assignment: &Assignment) {
        if assignment.giver == ORIGIN
            && let Some(version) = self.files.version(assignment.file).cloned()
        {
            self.check(assignment.file, version);
        }
    }
}

/// A range with both ends, half open.
fn whole_range(range: ByteRange) -> Option<Range<u64>> {
    range.max.map(|max| range.min..max.saturating_add(1))
}
