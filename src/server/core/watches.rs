//! Who watches what, and what they have yet to be told.
//!
//! Changes wait here, each path once and with its latest state, until the connection has room for them. Whoever is
//! too slow for that is told to look again, instead of being told everything.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use super::client::Client;
use super::{ConnId, Core};
use crate::hub::Change;
use crate::wire::{self, EntryKind, ErrorCode, UrlPath, limits, path_of_url};

/// Changes that may wait for one client.
const MAX_WAITING: usize = 4096;
/// Changes told in one go.
const IN_ONE_GO: usize = 256;

/// Who watches what.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// By path, as text: what is below a directory is a range.
    by_path: BTreeMap<String, Vec<ConnId>>,
    /// Connections that have yet to be told something.
    waiting: BTreeSet<ConnId>,
}

/// What one client watches.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    /// Path to the URL as this client writes it.
    urls: HashMap<UrlPath, String>,
    /// Paths in the order in which they changed first.
    order: VecDeque<UrlPath>,
    latest: HashMap<UrlPath, wire::Changed>,
    /// It was too much: all that is told next is to look again.
    is_lost: bool,
}

impl Watches {
    fn remove(&mut self, conn: ConnId, path: &UrlPath) {
        if let Some(all) = self.by_path.get_mut(path.as_str()) {
            all.retain(|other| *other != conn);
            if all.is_empty() {
                self.by_path.remove(path.as_str());
            }
        }
    }

    /// Who watches `path` or a directory it is in; with `below`, also who watches something below it.
    fn of(&self, path: &UrlPath, below: bool) -> BTreeSet<ConnId> {
        let mut found = BTreeSet::new();
        let mut above = Some(path.clone());
        while let Some(path) = above {
            found.extend(self.by_path.get(path.as_str()).into_iter().flatten());
            above = path.parent();
        }
        if below {
            let start = format!("{}/", path.as_str().trim_end_matches('/'));
            let range = self.by_path.range::<String, _>((Bound::Included(&start), Bound::Unbounded));
            let inside = range.take_while(|(path, _)| path.starts_with(&start));
            found.extend(inside.flat_map(|(_, all)| all));
        }
        found
    }
}

impl Watching {
    fn add(&mut self, path: &UrlPath, change: &Change) {
        if self.is_lost {
            return;
        }
        let nearest = |path: &UrlPath| {
            let mut above = Some(path.clone());
            while let Some(path) = above {
                if let Some(url) = self.urls.get(&path) {
                    return Some(url.clone());
                }
                above = path.parent();
            }
            None
        };
        let Some(url) = nearest(path) else { return };
        let mut told = wire::Changed { url: url_like(&url, path), ..wire::Changed::default() };
        match change {
            Change::File { root, size, mtime, .. } => {
                (told.root, told.size, told.mtime) = (Some(*root), Some(*size), Some(*mtime));
            }
            Change::Dir { .. } => told.kind = Some(EntryKind::Dir),
            Change::Removed { .. } => told.removed = true,
            Change::Much { .. } => told.rescan = true,
        }
        if self.latest.insert(path.clone(), told).is_none() {
            self.order.push_back(path.clone());
        }
        if self.order.len() > MAX_WAITING {
            self.order.clear();
            self.latest.clear();
            self.is_lost = true;
        }
    }

    fn take(&mut self) -> Vec<wire::Changed> {
        if std::mem::take(&mut self.is_lost) {
            let again = |url: &String| wire::Changed { url: url.clone(), rescan: true, ..Default::default() };
            return self.urls.values().map(again).collect();
        }
        let count = self.order.len().min(IN_ONE_GO);
        self.order.drain(..count).filter_map(|path| self.latest.remove(&path)).collect()
    }

    fn is_waiting(&self) -> bool {
        self.is_lost || !self.order.is_empty()
    }
}

impl Core {
    pub(super) fn watch(&mut self, conn: ConnId, m: wire::Watch) {
        if !self.is_v3(conn) {
            return self.complain(conn, ErrorCode::Protocol, "this is of version 3", Some(m.url), "watch");
        }
        let path = match path_of_url(&m.url) {
            Ok(path) => path,
            Err(error) => {
                return self.complain(conn, ErrorCode::NotFound, &error.to_string(), Some(m.url), "watch");
            }
        };
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
        let watching = &mut session.watching;
        if watching.urls.len() >= limits::MAX_WATCHES && !watching.urls.contains_key(&path) {
            return self.complain(conn, ErrorCode::Limit, "too many watches", Some(m.url), "watch");
        }
        if watching.urls.insert(path.clone(), m.url).is_none() {
            self.watches.by_path.entry(path.as_str().to_owned()).or_default().push(conn);
        }
    }

    pub(super) fn unwatch(&mut self, conn: ConnId, m: &wire::Unwatch) {
        let Ok(path) = path_of_url(&m.url) else { return };
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
        if session.watching.urls.remove(&path).is_some() {
            self.watches.remove(conn, &path);
        }
    }

    /// A connection that is gone watches nothing.
    pub(super) fn forget_watches(&mut self, conn: ConnId, watching: &Watching) {
        for path in watching.urls.keys() {
            self.watches.remove(conn, path);
        }
        self.watches.waiting.remove(&conn);
    }

    /// Something in the tree has changed.
    pub(super) fn news(&mut self, change: &Change) {
        self.look_at_versions(change);
        let path = change.path();
        let concerns_what_is_below = matches!(change, Change::Removed { .. } | Change::Much { .. });
        for conn in self.watches.of(path, concerns_what_is_below) {
            let may_know = self.may_know(conn, path);
            let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { continue };
            let watching = &mut session.watching;
            let is_above = watching.urls.keys().any(|watched| path.is_under(watched));
            if is_above && may_know {
                watching.add(path, change);
            }
            if concerns_what_is_below {
                // It may know of that, else it would not watch it.
                let below: Vec<_> =
                    watching.urls.keys().filter(|at| *at != path && at.is_under(path)).cloned().collect();
                below.iter().for_each(|path| watching.add(path, change));
            }
            if watching.is_waiting() {
                self.watches.waiting.insert(conn);
            }
        }
    }

    /// Connections that have yet to be told of changes, as soon as they have room.
    pub(crate) fn waiting_watchers(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.watches.waiting.iter().copied()
    }

    /// A connection has room for a few messages.
    pub(super) fn tell_watcher(&mut self, conn: ConnId) {
        let session = self.clients.get_mut(&conn).and_then(Client::session_mut);
        let Some(watching) = session.map(|session| &mut session.watching) else {
            self.watches.waiting.remove(&conn);
            return;
        };
        let told = watching.take();
        if !watching.is_waiting() {
            self.watches.waiting.remove(&conn);
        }
        for changed in told {
            self.send(conn, changed);
        }
    }
}

/// The URL of `path` on the server that `url` names, as whoever wrote that would write it.
fn url_like(url: &str, path: &UrlPath) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    format!("{}{path}", &url[..end])
}
