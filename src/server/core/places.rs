//! Where only so many may download at once: who does, who stands in line for that, and who loses its place.
//!
//! A place is lost only to somebody who is awake and waits for it, and by whoever either does not answer
//! ([`QUIET_US`], [`SILENT_US`]), or has things on their way to it of which nothing comes ([`FRUITLESS_US`]). Time in which nothing is on
//! its way, as where the rate of a directory is used up, does not count. Who has lost its place stands in line again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use super::ConnId;
use super::client::Client;
use super::ranges::Ranges;
use crate::content::Layout;
use crate::server::rules::Rules;
use crate::swarm::Time;
use crate::wire::{self, ByteRange, Digest, UrlPath, path_of_url};

/// Who has a place that others wait for is pinged when nothing was heard of it for this long, microseconds.
const QUIET_US: u64 = 5_000_000;
/// A ping that was not answered for this long is a sign that nobody is there at present, microseconds.
const SILENT_US: u64 = 5_000_000;
/// How long things may be on their way to somebody and nothing of them come, microseconds.
const FRUITLESS_US: u64 = 30_000_000;
/// Nobody loses its place for being this slow, bytes a second: so much more time a piece has.
const SLOW: u64 = 32 * 1024;
/// Looks that lie further apart than this count as if they did not, microseconds.
const MAX_STEP_US: u64 = 1_000_000;

/// The groups of directories that share a number of places.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_group: HashMap<u32, Group>,
    /// When it was looked last for who makes no progress.
    looked: Time,
}

#[derive(Debug, Default)]
struct Group {
    most: u32,
    taken: HashMap<ConnId, Holder>,
    line: VecDeque<Applicant>,
}

/// Somebody who has a place.
#[derive(Debug, Default)]
struct Holder {
    /// How long things were on their way to it since the last of them came, as far as that was looked at.
    fruitless_us: u64,
}

/// Somebody who waits for a place, for one file.
#[derive(Debug)]
pub(super) struct Applicant {
    pub(super) conn: ConnId,
    /// As it is made when there is a place, but for its range.
    pub(super) request: wire::Request,
    /// The version that was meant.
    pub(super) root: Digest,
    pub(super) layout: Layout,
    /// Of it.
    pub(super) pieces: Ranges,
}

impl Applicant {
    /// Whether it waits for what is at a path.
    pub(super) fn is_at(&self, path: &UrlPath) -> bool {
        path_of_url(&self.request.url).is_ok_and(|at| at == *path)
    }

    /// What is asked for once there is a place.
    pub(super) fn requests(self) -> impl Iterator<Item = wire::Request> {
        let Self { request, layout, pieces, .. } = self;
        let ranges: Vec<_> = pieces.iter().collect();
        ranges.into_iter().map(move |run| {
            let is_all = run == (0..layout.count());
            let bytes = layout.bytes_of_run(run);
            let range = (!is_all).then(|| ByteRange::new(bytes.start, bytes.end.saturating_sub(1)));
            wire::Request { range, ..request.clone() }
        })
    }
}

/// What is on its way to who has a place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OnItsWay {
    /// One piece of each transfer: so much must come before any of it counts.
    pub(super) bytes: u64,
    /// Most bytes a second that may come of it; 0 = no limit.
    pub(super) rate: u64,
}

impl OnItsWay {
    /// How long it may take until something has come, microseconds.
    fn patience(self) -> u64 {
        let limit = if self.rate > 0 { (self.rate / 2).max(1) } else { SLOW };
        FRUITLESS_US.max(self.bytes.saturating_mul(1_000_000) / limit.min(SLOW))
    }
}

/// Who has to leave its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loser {
    pub(super) group: u32,
    pub(super) conn: ConnId,
    /// Because nothing is heard of it.
    pub(super) is_silent: bool,
}

impl Places {
    /// Whether places are counted anywhere.
    pub(super) fn is_used(&self) -> bool {
        !self.by_group.is_empty()
    }

    /// Whether anybody stands in line.
    pub(super) fn has_waiting(&self) -> bool {
        self.by_group.values().any(|group| !group.line.is_empty())
    }

    /// Whether a client has one of `most` places of a group, or can have one at once.
    pub(super) fn has(
        &mut self,
        (number, most): (u32, u32),
        conn: ConnId,
        clients: &HashMap<ConnId, Client>,
        rules: &Rules,
    ) -> bool {
        let group = self.by_group.entry(number).or_default();
        group.most = most;
        if group.taken.contains_key(&conn) {
            return true;
        }
        if !group.line.is_empty() {
            return false;
        }
        if !group.has_room() {
            group.forget_the_done(number, clients, rules);
        }
        let has_room = group.has_room();
        if has_room {
            group.taken.insert(conn, Holder::default());
        }
        has_room
    }

    /// What a client waits for already, of the same version of a file.
    pub(super) fn same(&mut self, number: u32, other: &Applicant) -> Option<&mut Applicant> {
        let line = &mut self.by_group.get_mut(&number)?.line;
        line.iter_mut().find(|applicant| {
            applicant.conn == other.conn
                && applicant.root == other.root
                && applicant.request.url == other.request.url
        })
    }

    /// Somebody gets in line.
    pub(super) fn wait(&mut self, number: u32, applicant: Applicant) {
        self.by_group.entry(number).or_default().line.push_back(applicant);
    }

    /// What a client waits for a place to download.
    pub(super) fn waited_for(&self, conn: ConnId) -> impl Iterator<Item = &str> {
        let waiting = self.by_group.values().flat_map(|group| &group.line);
        waiting
            .filter(move |applicant| applicant.conn == conn)
            .map(|applicant| applicant.request.url.as_str())
    }

    /// A client no longer wants pieces, which depend on how the file is cut, of those files that `is_it`. How many of them
    /// it waits for no longer.
    pub(super) fn no_longer_wants(
        &mut self,
        conn: ConnId,
        is_it: impl Fn(&Applicant) -> bool,
        pieces: impl Fn(&Layout) -> Option<Range<u32>>,
    ) -> usize {
        let mut gone = 0;
        for group in self.by_group.values_mut() {
            let before = group.line.len();
            group.line.retain_mut(|applicant| {
                if applicant.conn != conn || !is_it(applicant) {
                    return true;
                }
                if let Some(pieces) = pieces(&applicant.layout) {
                    applicant.pieces.remove(pieces);
                }
                !applicant.pieces.is_empty()
            });
            gone += before - group.line.len();
        }
        gone
    }

    /// Something has come to a client, of a group.
    pub(super) fn got(&mut self, number: u32, conn: ConnId) {
        let holder = self.by_group.get_mut(&number).and_then(|group| group.taken.get_mut(&conn));
        if let Some(holder) = holder {
            holder.fruitless_us = 0;
        }
    }

    /// Of whom a sign of life is due: those who have a place that others wait for, and say nothing.
    pub(super) fn quiet(&self, now: Time, clients: &HashMap<ConnId, Client>) -> Vec<ConnId> {
        let is_quiet = |client: &Client| {
            // Version 2 has no ping.
            client.is_v3 && client.asked.is_none() && now.since(client.last_heard) >= QUIET_US
        };
        let wanted = self.by_group.values().filter(|group| !group.line.is_empty());
        let holders = wanted.flat_map(|group| group.taken.keys().copied());
        holders.filter(|conn| clients.get(conn).is_some_and(is_quiet)).collect()
    }

    /// Looks who has to leave its place to somebody in line.
    pub(super) fn losers(
        &mut self,
        now: Time,
        clients: &HashMap<ConnId, Client>,
        rules: &Rules,
        on_its_way: impl Fn(ConnId, u32) -> OnItsWay,
    ) -> Vec<Loser> {
        let step = now.since(std::mem::replace(&mut self.looked, now)).min(MAX_STEP_US);
        let mut losers = Vec::new();
        for (&number, group) in &mut self.by_group {
            group.line.retain(|applicant| clients.contains_key(&applicant.conn));
            if group.line.is_empty() {
                continue;
            }
            group.forget_the_done(number, clients, rules);
            let awake = group
                .line
                .iter()
                .map(|applicant| applicant.conn)
                .filter(|conn| is_awake(clients, *conn, now));
            let free = (group.most as usize).saturating_sub(group.taken.len());
            let mut lacking = awake.collect::<HashSet<_>>().len().saturating_sub(free);
            for (&conn, holder) in &mut group.taken {
                let on_its_way = on_its_way(conn, number);
                if on_its_way.bytes > 0 {
                    holder.fruitless_us += step;
                }
                let is_silent = !is_awake(clients, conn, now);
                if lacking > 0 && (is_silent || holder.fruitless_us >= on_its_way.patience()) {
                    lacking -= 1;
                    losers.push(Loser { group: number, conn, is_silent });
                }
            }
        }
        losers
    }

    /// Somebody has lost its place, and stands in line for what it still wants: in front if nothing is heard of it, which
    /// keeps nobody waiting, else behind all others.
    pub(super) fn wait_again(&mut self, loser: Loser, applicants: Vec<Applicant>) {
        let Some(group) = self.by_group.get_mut(&loser.group) else { return };
        group.taken.remove(&loser.conn);
        if loser.is_silent {
            applicants.into_iter().rev().for_each(|applicant| group.line.push_front(applicant));
        } else {
            group.line.extend(applicants);
        }
    }

    /// Gives free places to those who are awake, as they stand in line.
    pub(super) fn admit(&mut self, now: Time, clients: &HashMap<ConnId, Client>) -> Vec<Applicant> {
        let mut admitted = Vec::new();
        for group in self.by_group.values_mut() {
            for applicant in std::mem::take(&mut group.line) {
                let conn = applicant.conn;
                if group.taken.contains_key(&conn) {
                    admitted.push(applicant);
                } else if group.has_room() && is_awake(clients, conn, now) {
                    group.taken.insert(conn, Holder::default());
                    admitted.push(applicant);
                } else {
                    group.line.push_back(applicant);
                }
            }
        }
        admitted
    }

    /// How many download at present.
    pub(super) fn taken(&self, number: u32, clients: &HashMap<ConnId, Client>, rules: &Rules) -> usize {
        let taken = self.by_group.get(&number).into_iter().flat_map(|group| group.taken.keys());
        taken.filter(|conn| is_downloading(clients.get(conn), rules, number)).count()
    }
}

impl Group {
    fn has_room(&self) -> bool {
        self.taken.len() < self.most as usize
    }

    /// Who has all it wanted, or is gone, needs no place.
    fn forget_the_done(&mut self, number: u32, clients: &HashMap<ConnId, Client>, rules: &Rules) {
        self.taken.retain(|conn, _| is_downloading(clients.get(conn), rules, number));
    }
}

/// The number of the group whose places are needed to download from where a path is.
pub(super) fn group_of(rules: &Rules, path: &UrlPath) -> Option<u32> {
    rules.of(path).max_peers.map(|(group, _)| group)
}

/// Whether somebody wants something of where only so many may.
fn is_downloading(client: Option<&Client>, rules: &Rules, group: u32) -> bool {
    let Some(session) = client.and_then(Client::session) else { return false };
    session
        .files
        .values()
        .filter(|entry| !entry.wants.is_empty())
        .filter_map(|entry| path_of_url(&entry.url).ok())
        .any(|path| group_of(rules, &path) == Some(group))
}

fn is_awake(clients: &HashMap<ConnId, Client>, conn: ConnId, now: Time) -> bool {
    clients.get(&conn).is_some_and(|client| client.asked.is_none_or(|at| now.since(at) < SILENT_US))
}
