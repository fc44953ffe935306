//! The operator's rules, applied: who is told of what, and who has to wait for a place.

use std::collections::{HashMap, HashSet, VecDeque};

use super::client::{Client, Session};
use super::{ConnId, Core};
use crate::hub::Audience as _;
use crate::server::rules::{Rules, Visitor};
use crate::swarm::{Event, FileId, WaitReason};
use crate::wire::{self, ErrorCode, Message, UrlPath, limits, path_of_url};

/// How often it is looked whether somebody who waits for a place can have it, microseconds.
const PLACES_US: u64 = 100_000;

/// Most files one client waits for that the status page tells of.
const MAX_TOLD: usize = 16;

/// Where only so many may download at once: who does, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_group: HashMap<u32, Group>,
}

#[derive(Debug, Default)]
struct Group {
    most: u32,
    taken: HashSet<ConnId>,
    /// In order of arrival.
    waiting: VecDeque<(ConnId, wire::Request)>,
}

impl Places {
    pub(super) fn has_waiting(&self) -> bool {
        self.by_group.values().any(|group| !group.waiting.is_empty())
    }

    /// What a client waits for a place to download.
    pub(super) fn waited_for(&self, conn: ConnId) -> impl Iterator<Item = &str> {
        let waiting = self.by_group.values().flat_map(|group| &group.waiting);
        waiting.filter(move |(other, _)| *other == conn).map(|(_, m)| m.url.as_str())
    }

    /// Whether a client that has nothing to say of a path any more waits for it no longer.
    pub(super) fn stop_waiting(&mut self, conn: ConnId, path: &UrlPath) -> usize {
        let is_it = |m: &wire::Request| path_of_url(&m.url).is_ok_and(|at| at == *path);
        let before: usize = self.by_group.values().map(|group| group.waiting.len()).sum();
        for group in self.by_group.values_mut() {
            group.waiting.retain(|(other, m)| *other != conn || !is_it(m));
        }
        before - self.by_group.values().map(|group| group.waiting.len()).sum::<usize>()
    }
}

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

    /// Whether a client may begin to download from where `path` is. If not, its request waits until it may.
    pub(super) fn has_place(&mut self, conn: ConnId, path: &UrlPath, m: &wire::Request) -> bool {
        let Some((group, most)) = self.rules.of(path).max_peers else { return true };
        let group = self.places.by_group.entry(group).or_default();
        group.most = most;
        if group.taken.contains(&conn) {
            return true;
        }
        if group.waiting.is_empty() && group.taken.len() >= most as usize {
            let (clients, rules) = (&self.clients, &self.rules);
            group.taken.retain(|conn| is_downloading(clients.get(conn), rules, group_of(rules, path)));
        }
        if group.waiting.is_empty() && group.taken.len() < most as usize {
            group.taken.insert(conn);
            return true;
        }
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return false };
        if session.pending >= limits::MAX_FILES_PER_CLIENT {
            let (url, re) = (Some(m.url.clone()), "request");
            self.complain(conn, ErrorCode::Limit, "too many at once", url, re);
            return false;
        }
        session.pending += 1;
        group.waiting.push_back((conn, m.clone()));
        if self.is_v3(conn) {
            self.send(conn, wire::Waiting { url: m.url.clone(), reason: WaitReason::Full });
        }
        self.look_again_in(PLACES_US);
        false
    }

    /// Gives the places of those who have all they wanted to those who wait.
    pub(super) fn look_over_places(&mut self) {
        if !self.places.has_waiting() {
            return;
        }
        let mut admitted = Vec::new();
        let (clients, rules) = (&self.clients, &self.rules);
        for (&number, group) in &mut self.places.by_group {
            group.waiting.retain(|(conn, _)| clients.contains_key(conn));
            if group.waiting.is_empty() {
                continue;
            }
            group.taken.retain(|conn| is_downloading(clients.get(conn), rules, Some(number)));
            let mut later = VecDeque::new();
            for (conn, m) in group.waiting.drain(..) {
                if group.taken.contains(&conn) || group.taken.len() < group.most as usize {
                    group.taken.insert(conn);
                    admitted.push((conn, m));
                } else {
                    later.push_back((conn, m));
                }
            }
            group.waiting = later;
        }
        for (conn, m) in admitted {
            self.no_longer_pending(conn, 1);
            self.request(conn, m);
        }
        if self.places.has_waiting() {
            self.look_again_in(PLACES_US);
        }
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

fn group_of(rules: &Rules, path: &UrlPath) -> Option<u32> {
    rules.of(path).max_peers.map(|(group, _)| group)
}

/// Whether somebody wants something of where only so many may, or has just been told that it may.
fn is_downloading(client: Option<&Client>, rules: &Rules, group: Option<u32>) -> bool {
    let Some(session) = client.and_then(Client::session) else { return false };
    wants_of(session).any(|path| group_of(rules, &path) == group)
}

/// Paths of which a client has standing requests.
fn wants_of(session: &Session) -> impl Iterator<Item = UrlPath> + '_ {
    session
        .files
        .values()
        .filter(|entry| !entry.wants.is_empty())
        .filter_map(|entry| path_of_url(&entry.url).ok())
}
