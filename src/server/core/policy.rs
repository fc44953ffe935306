//! The operator's rules, applied: who is told of what, and who has to wait for a place.

use std::ops::Range;

use super::client::{Client, Session, Wish};
use super::places::{Applicant, Loser, OnItsWay, group_of};
use super::ranges::Ranges;
use super::{ConnId, Core};
use crate::hub::{Audience as _, FileVersion};
use crate::server::rules::{Rules, Visitor};
use crate::server::status::DirectoryStatus;
use crate::swarm::{Event, FileId, WaitReason};
use crate::wire::{self, ErrorCode, Message, UrlPath, limits, path_of_url};

/// How often it is looked whether somebody who waits for a place can have it, microseconds.
const PLACES_US: u64 = 100_000;

/// Most files one client waits for that the status page tells of.
const MAX_TOLD: usize = 16;

impl Core {
    /// The same core with rules of its operator.
    pub(crate) fn with_rules(mut self, rules: std::sync::Arc<Rules>) -> Self {
        self.rules = rules;
        self
    }

    /// The rules, for who looks after what they are about elsewhere.
    pub(crate) fn rules(&self) -> std::sync::Arc<Rules> {
        self.rules.clone()
    }

    /// What a client says may be about something that is not for it: then it is told so, and that is all.
    pub(super) fn is_denied(&mut self, conn: ConnId, message: &Message) -> bool {
        if self.rules.admit_all() {
            return false;
        }
        let url = match message {
            Message::AskInfo(m) => &m.url,
            Message::AskHashes(m) => &m.url,
            Message::List(m) => &m.url,
            Message::Request(m) => &m.url,
            Message::Provide(m) => &m.url,
            Message::Watch(m) => &m.url,
            _ => return false,
        };
        let Some(client) = self.clients.get(&conn) else { return false };
        let address = client.remote.ip().to_canonical();
        // What is no path is refused with words of its own.
        let Ok(path) = path_of_url(url) else { return false };
        if self.rules.admits(address, &path) {
            return false;
        }
        let (url, re) = (url.clone(), message.kind());
        let text = format!("not for your address, {address}: this server has it for other networks only");
        tracing::info!(%address, %path, re, "denied: not of the networks that may have it");
        match message {
            Message::AskInfo(_) => self.no_info(conn, url, ErrorCode::Denied, &text),
            Message::List(m) => self.no_listing(conn, ErrorCode::Denied, text, url, m.id),
            _ => self.complain(conn, ErrorCode::Denied, &text, Some(url), re),
        }
        true
    }

    /// Whether a client may know of a path.
    pub(super) fn may_know(&self, conn: ConnId, path: &UrlPath) -> bool {
        self.clients.get(&conn).is_some_and(|client| self.rules.admits(client.remote.ip(), path))
    }

    /// Tells the swarm what the operator wants of a file it was just told of.
    pub(super) fn tell_rules(&mut self, file: FileId, path: &UrlPath) {
        let rules = self.rules.of(path).swarm;
        if rules != Default::default() {
            self.tell_swarm(Event::FileRules { file, rules });
        }
    }

    /// Whether a client may begin to download pieces of a version. If not, its request waits until it may.
    pub(super) fn has_place(
        &mut self,
        conn: ConnId,
        version: &FileVersion,
        pieces: Range<u32>,
        m: &wire::Request,
    ) -> bool {
        let Some(places) = self.rules.of(&version.path).max_peers else { return true };
        if self.places.has(places, conn, &self.clients, &self.rules) {
            return true;
        }
        let (group, _) = places;
        let (request, root, layout) = (m.clone(), version.root(), version.hashes.layout());
        let mut applicant = Applicant { conn, request, root, layout, pieces: Ranges::default() };
        applicant.pieces.insert(pieces.clone());
        if let Some(same) = self.places.same(group, &applicant) {
            let before = same.pieces.clone();
            same.pieces.insert(pieces);
            if same.pieces.len() > limits::MAX_RANGES_PER_FILE {
                same.pieces = before;
                let (url, re) = (Some(m.url.clone()), "request");
                self.complain(conn, ErrorCode::Limit, "too many separate ranges of one file", url, re);
            } else {
                Wish::of(m).over(Wish::of(&same.request)).put_into(&mut same.request);
            }
            return false;
        }
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return false };
        if session.pending >= limits::MAX_FILES_PER_CLIENT {
            let (url, re) = (Some(m.url.clone()), "request");
            self.complain(conn, ErrorCode::Limit, "too many at once", url, re);
            return false;
        }
        session.pending += 1;
        self.places.wait(group, applicant);
        self.tell_full(conn, m.url.clone());
        self.look_again_in(PLACES_US);
        false
    }

    /// Gives the places of those who have all they wanted, or make no progress, to those who wait.
    pub(super) fn look_over_places(&mut self) {
        if !self.places.has_waiting() {
            return;
        }
        let now = self.now.time;
        for conn in self.places.quiet(now, &self.clients) {
            self.ping(conn);
        }
        let mut places = std::mem::take(&mut self.places);
        let on_its_way = |conn, group| self.on_its_way(conn, group);
        let losers = places.losers(now, &self.clients, &self.rules, on_its_way);
        self.places = places;
        for loser in losers {
            self.take_place(loser);
        }
        for applicant in self.places.admit(now, &self.clients) {
            let conn = applicant.conn;
            self.no_longer_pending(conn, 1);
            for request in applicant.requests() {
                self.request(conn, request);
            }
        }
        if self.places.has_waiting() {
            self.look_again_in(PLACES_US);
        }
    }

    /// What is on its way to a client of files that share places.
    fn on_its_way(&self, conn: ConnId, group: u32) -> OnItsWay {
        let mut all = OnItsWay { bytes: 0, rate: self.identity.up_limit };
        let Some(session) = self.clients.get(&conn).and_then(Client::session) else { return all };
        for (file, pieces) in self.taken_by(session) {
            let Some(version) = self.files.version(file) else { continue };
            if group_of(&self.rules, &version.path) != Some(group) {
                continue;
            }
            let bytes = version.hashes.layout().bytes_of_run(pieces.start..pieces.start + 1);
            all.bytes += bytes.end - bytes.start;
            if let Some(limit) = self.rules.of(&version.path).swarm.origin_rate {
                all.rate = if all.rate == 0 { limit.rate } else { all.rate.min(limit.rate) };
            }
        }
        all
    }

    /// Somebody who makes no progress leaves its place. What it wants, it waits for.
    fn take_place(&mut self, loser: Loser) {
        let Loser { group, conn, is_silent } = loser;
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
        tracing::info!(client = ?session.id, is_silent, "makes no progress: its place is for others");
        let (peer, mut applicants) = (session.peer, Vec::new());
        for (&file, entry) in &mut session.files {
            let Some(version) = self.files.version(file).filter(|_| !entry.wants.is_empty()) else {
                continue;
            };
            if group_of(&self.rules, &version.path) != Some(group) {
                continue;
            }
            let root = version.root();
            let mut request =
                wire::Request { url: entry.url.to_string(), root: Some(root), ..Default::default() };
            if let Some(wish) = entry.wish.take() {
                wish.put_into(&mut request);
            }
            let (layout, pieces) = (version.hashes.layout(), std::mem::take(&mut entry.wants));
            session.wanted -= 1;
            session.pending += 1;
            applicants.push((file, Applicant { conn, request, root, layout, pieces }));
        }
        for (file, applicant) in &applicants {
            for pieces in applicant.pieces.iter() {
                self.tell_swarm(Event::Unrequest { peer, file: *file, pieces });
            }
            // Version 2 has no word for it.
            if self.is_v3(conn) {
                self.call_off(conn, *file);
            }
            self.tell_full(conn, applicant.request.url.clone());
        }
        self.places.wait_again(loser, applicants.into_iter().map(|(_, applicant)| applicant).collect());
    }

    /// Tells a client that it waits for a place.
    fn tell_full(&mut self, conn: ConnId, url: String) {
        if self.is_v3(conn) {
            self.send(conn, wire::Waiting { url, reason: WaitReason::Full });
        }
    }

    /// A client has pieces of a version, or no longer wants them.
    pub(super) fn has_it(&mut self, conn: ConnId, file: FileId, pieces: Range<u32>) {
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
        let stands = session.files.get(&file).is_some_and(|entry| !entry.wants.is_empty());
        let pending = session.pending;
        session.no_longer_wants(file, pieces.clone());
        let Some(version) = self.files.version(file).filter(|_| self.places.is_used()) else { return };
        let Some(group) = group_of(&self.rules, &version.path) else { return };
        if stands {
            self.places.got(group, conn);
        } else if pending > 0 {
            let (root, path) = (version.root(), &version.path);
            let is_it = |applicant: &Applicant| applicant.root == root && applicant.is_at(path);
            let gone = self.places.no_longer_wants(conn, is_it, |_| Some(pieces.clone()));
            self.no_longer_pending(conn, gone);
        }
    }

    /// The rules in force where something is said, of what `visitor` may know.
    pub(super) fn directories(&self, visitor: &Visitor<'_>) -> Vec<DirectoryStatus> {
        let visible = self.rules.all().filter(|(path, _)| visitor.may_know(path));
        let taken = |group| self.places.taken(group, &self.clients, &self.rules) as u64;
        visible
            .map(|(path, held)| DirectoryStatus {
                path: path.as_str().to_owned(),
                priority: held.swarm.priority,
                max_origin_rate: held.swarm.origin_rate.map(|limit| limit.rate),
                max_peers: held.max_peers.map(|(_, most)| most),
                downloading: held.max_peers.map(|(group, _)| taken(group)),
                frugal: held.swarm.frugal.unwrap_or(self.frugal),
                peers: held.swarm.peers,
            })
            .collect()
    }

    /// What a client waits for, and why; the first few that `visitor` may know, for the status page.
    pub(super) fn waiting(
        &self,
        conn: ConnId,
        session: &Session,
        visitor: &Visitor<'_>,
    ) -> Vec<(String, WaitReason)> {
        let path = |url: &str| path_of_url(url).ok().filter(|path| visitor.may_know(path));
        let for_a_place = self.places.waited_for(conn).map(|url| (path(url), Some(WaitReason::Full)));
        let wanted = session.files.values().filter(|entry| !entry.wants.is_empty());
        let for_pieces = wanted.map(|entry| (path(&entry.url), entry.waiting));
        let told =
            |(path, why): (Option<UrlPath>, Option<WaitReason>)| Some((path?.as_str().to_owned(), why?));
        for_a_place.chain(for_pieces).filter_map(told).take(MAX_TOLD).collect()
    }

    /// Requests of a client that waited do so no longer.
    pub(super) fn no_longer_pending(&mut self, conn: ConnId, count: usize) {
        if let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) {
            session.pending = session.pending.saturating_sub(count);
        }
    }
}
