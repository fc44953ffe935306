//! Versions of files, and the messages about them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::client::{Client, ClientFile, Early, Wish};
use super::places::Applicant;
use super::ranges::Ranges;
use super::{ConnId, Core, List, Output};
use crate::content::Layout;
use crate::hub::{Change, FileVersion, HubError};
use crate::server::shelf::Shelf;
use crate::swarm::{Event, FileId, Time};
use crate::wire::{self, ByteRange, Digest, EntryKind, ErrorCode, Listing, UrlPath, limits, path_of_url};

/// A version that nobody needs any more is kept for this long, microseconds: between `ask_info`, `ask_hashes` and
/// `request` it need not be looked up again.
const IDLE_US: u64 = 60_000_000;
/// Most versions kept that nobody needs.
const MAX_IDLE: usize = 4096;
/// Most paths being looked up at once, over all clients.
const MAX_SEARCHES: usize = 16_384;
/// Files one client may offer or deal with besides those it has standing requests for.
const MAX_FILES_DEALT_WITH: usize = 65_536;
/// Longest URL, in bytes, in whose `tell_info` piece hashes find room.
const MAX_URL_WITH_HASHES: usize = 3000;
/// Most levels of a listing.
const MAX_DEPTH: u32 = 64;

/// Versions in memory, and lookups under way.
pub(crate) struct Files {
    by_path: BTreeMap<UrlPath, Vec<Held>>,
    by_id: HashMap<FileId, Arc<FileVersion>>,
    next_id: u32,
    /// Versions held, and those of them the swarm does not know.
    held: usize,
    idle: usize,
    searches: HashMap<UrlPath, Vec<Waiter>>,
    /// Versions that are being compared with the disk.
    checking: HashSet<FileId>,
    shelf: Arc<Shelf>,
}

struct Held {
    version: Arc<FileVersion>,
    /// Its number in the swarm, while it is there.
    file: Option<FileId>,
    last_used: Time,
    /// Since when its path has been seen to lead to something else.
    old_since: Option<Time>,
}

/// Somebody who waits for a path to be looked up.
struct Waiter {
    conn: ConnId,
    ask: Ask,
}

enum Ask {
    Info(wire::AskInfo),
    Hashes(wire::AskHashes),
    Request(wire::Request),
    Unrequest(wire::Unrequest),
    Provide(wire::Provide),
    Unprovide(wire::Unprovide),
}

impl Ask {
    /// Whether it counts as a question to be answered, rather than as something standing.
    fn is_question(&self) -> bool {
        matches!(self, Self::Info(_) | Self::Hashes(_))
    }

    fn into_parts(self) -> (&'static str, String, Option<Digest>) {
        match self {
            Self::Info(m) => ("ask_info", m.url, None),
            Self::Hashes(m) => ("ask_hashes", m.url, Some(m.root)),
            Self::Request(m) => ("request", m.url, m.root),
            Self::Unrequest(m) => ("unrequest", m.url, m.root),
            Self::Provide(m) => ("provide", m.url, m.root),
            Self::Unprovide(m) => ("unprovide", m.url, m.root),
        }
    }

    fn root(&self) -> Option<Digest> {
        match self {
            Self::Info(_) => None,
            Self::Hashes(m) => Some(m.root),
            Self::Request(m) => m.root,
            Self::Unrequest(m) => m.root,
            Self::Provide(m) => m.root,
            Self::Unprovide(m) => m.root,
        }
    }
}

impl Files {
    pub(super) fn new(shelf: Arc<Shelf>) -> Self {
        Self {
            by_path: BTreeMap::new(),
            by_id: HashMap::new(),
            next_id: 0,
            held: 0,
            idle: 0,
            searches: HashMap::new(),
            checking: HashSet::new(),
            shelf,
        }
    }

    /// Number of versions in memory.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Number of paths being looked up.
    pub(super) fn searches(&self) -> usize {
        self.searches.len()
    }

    /// A version that the swarm knows.
    pub(super) fn version(&self, file: FileId) -> Option<&Arc<FileVersion>> {
        self.by_id.get(&file)
    }

    /// A version by what names it.
    fn find(&mut self, path: &UrlPath, root: &Digest, now: Time) -> Option<Arc<FileVersion>> {
        let held = self.by_path.get_mut(path)?.iter_mut().find(|held| held.version.root() == *root)?;
        held.last_used = now;
        Some(held.version.clone())
    }

    fn file_of(&self, path: &UrlPath, root: &Digest) -> Option<FileId> {
        self.by_path.get(path)?.iter().find(|held| held.version.root() == *root)?.file
    }

    /// The versions of a path that the swarm knows, other than `current`.
    fn others(&self, path: &UrlPath, current: Option<Digest>) -> Vec<(FileId, Arc<FileVersion>)> {
        let all = self.by_path.get(path).into_iter().flatten();
        all.filter(|held| Some(held.version.root()) != current)
            .filter_map(|held| Some((held.file?, held.version.clone())))
            .collect()
    }

    /// The versions that the swarm knows at or below a path.
    fn below(&self, path: &UrlPath) -> Vec<(FileId, Arc<FileVersion>)> {
        let alike = self.by_path.range(path..).take_while(|(at, _)| at.as_str().starts_with(path.as_str()));
        alike
            .filter(|(at, _)| at.is_under(path))
            .flat_map(|(_, all)| all)
            .filter_map(|held| Some((held.file?, held.version.clone())))
            .collect()
    }

    /// The version of a path that was looked up last, if it is none of `files`.
    fn newest_but(&self, path: &UrlPath, files: &HashSet<FileId>) -> Option<Digest> {
        let newest = self.by_path.get(path)?.last()?;
        (!newest.file.is_some_and(|file| files.contains(&file))).then(|| newest.version.root())
    }

    /// Takes the current version of a path in, or finds that it is here.
    fn keep(&mut self, version: &Arc<FileVersion>, now: Time) {
        if let Some(known) = self.find(&version.path, &version.root(), now) {
            if !Arc::ptr_eq(&known, version) {
                self.renew(version);
            }
            return;
        }
        if self.idle >= MAX_IDLE {
            self.drop_idle(|_| true);
        }
        let held = Held { version: version.clone(), file: None, last_used: now, old_since: None };
        self.by_path.entry(version.path.clone()).or_default().push(held);
        self.shelf.put(version.clone());
        self.held += 1;
        self.idle += 1;
    }

    /// The same bytes lie in another file, or in the same with other times: from now on they come from there.
    fn renew(&mut self, version: &Arc<FileVersion>) {
        let root = version.root();
        let all = self.by_path.get_mut(&version.path).into_iter().flatten();
        for held in all.filter(|held| held.version.root() == root) {
            held.version = version.clone();
            held.old_since = None;
            if let Some(file) = held.file {
                self.by_id.insert(file, version.clone());
            }
        }
        self.shelf.remove(&version.path, &root);
        self.shelf.put(version.clone());
    }

    /// The path of a version leads to something else.
    fn grow_old(&mut self, file: FileId, now: Time) {
        let Some(version) = self.by_id.get(&file) else { return };
        let all = self.by_path.get_mut(&version.path).into_iter().flatten();
        for held in all.filter(|held| held.file == Some(file)) {
            held.old_since.get_or_insert(now);
        }
    }

    /// What is distributed although its path leads to something else, and since when.
    fn old(&self) -> Vec<(FileId, Time)> {
        let all = self.by_path.values().flatten();
        all.filter_map(|held| Some((held.file?, held.old_since?))).collect()
    }

    /// Gives a version a number. `true` when it is new.
    fn number(&mut self, version: &Arc<FileVersion>, now: Time) -> Option<(FileId, bool)> {
        self.keep(version, now);
        let root = version.root();
        let held =
            self.by_path.get_mut(&version.path)?.iter_mut().find(|held| held.version.root() == root)?;
        if let Some(file) = held.file {
            return Some((file, false));
        }
        // Numbers come round after four thousand million files; those still in use are passed over.
        while self.by_id.contains_key(&FileId(self.next_id)) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let file = FileId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        held.file = Some(file);
        self.by_id.insert(file, held.version.clone());
        self.idle -= 1;
        Some((file, true))
    }

    /// The swarm no longer has to know `file`; its version stays for a while.
    fn unnumber(&mut self, file: FileId, now: Time) {
        let Some(version) = self.by_id.remove(&file) else { return };
        self.checking.remove(&file);
        let all = self.by_path.get_mut(&version.path).into_iter().flatten();
        for held in all.filter(|held| held.file == Some(file)) {
            held.file = None;
            held.last_used = now;
            self.idle += 1;
        }
    }

    /// The version is no longer served at all.
    fn discard(&mut self, version: &FileVersion) {
        let root = version.root();
        let Some(all) = self.by_path.get_mut(&version.path) else { return };
        let before = all.len();
        all.retain(|held| held.version.root() != root || held.file.is_some());
        let gone = before - all.len();
        if all.is_empty() {
            self.by_path.remove(&version.path);
        }
        self.held -= gone;
        self.idle -= gone;
        self.shelf.remove(&version.path, &root);
    }

    fn drop_idle(&mut self, is_due: impl Fn(Time) -> bool) {
        let (shelf, mut gone) = (&self.shelf, 0);
        self.by_path.retain(|path, all| {
            all.retain(|held| {
                let stays = held.file.is_some() || !is_due(held.last_used);
                if !stays {
                    shelf.remove(path, &held.version.root());
                    gone += 1;
                }
                stays
            });
            !all.is_empty()
        });
        self.held -= gone;
        self.idle -= gone;
    }
}

impl Core {
    pub(super) fn ask_info(&mut self, conn: ConnId, m: wire::AskInfo) {
        match path_of_url(&m.url) {
            Ok(path) => self.look_up(conn, path, Ask::Info(m)),
            Err(error) => self.no_info(conn, m.url, ErrorCode::NotFound, &error.to_string()),
        }
    }

    pub(super) fn ask_hashes(&mut self, conn: ConnId, m: wire::AskHashes) {
        self.about_a_version(conn, Ask::Hashes(m));
    }

    pub(super) fn request(&mut self, conn: ConnId, m: wire::Request) {
        self.about_a_version(conn, Ask::Request(m));
    }

    pub(super) fn provide(&mut self, conn: ConnId, m: wire::Provide) {
        self.about_a_version(conn, Ask::Provide(m));
    }

    pub(super) fn unrequest(&mut self, conn: ConnId, m: wire::Unrequest) {
        self.about_what_is_here(conn, Ask::Unrequest(m));
    }

    pub(super) fn unprovide(&mut self, conn: ConnId, m: wire::Unprovide) {
        self.about_what_is_here(conn, Ask::Unprovide(m));
    }

    /// A message about the version it names, or else the current one: at once when that is in memory and nothing
    /// said before is still waiting.
    fn about_a_version(&mut self, conn: ConnId, ask: Ask) {
        let (root, url) = (ask.root(), ask.url());
        let path = match path_of_url(url) {
            Ok(path) => path,
            Err(error) => {
                let (re, url, _) = ask.into_parts();
                return self.complain(conn, ErrorCode::NotFound, &error.to_string(), Some(url), re);
            }
        };
        let found = root.and_then(|root| self.files.find(&path, &root, self.now.time));
        match found {
            Some(version) if !self.waits_for(conn, &path) => self.act(conn, ask, &version),
            _ => self.look_up(conn, path, ask),
        }
    }

    /// A message that takes something back, which changes nothing unless there is something.
    fn about_what_is_here(&mut self, conn: ConnId, ask: Ask) {
        let Ok(path) = path_of_url(ask.url()) else {
            let (re, url, _) = ask.into_parts();
            return self.complain(conn, ErrorCode::NotFound, "not a URL of a file", Some(url), re);
        };
        if self.waits_for(conn, &path) {
            return self.look_up(conn, path, ask);
        }
        self.take_back(conn, &path, &ask);
    }

    /// Whether something this client said before about a path still waits for the path to be looked up.
    fn waits_for(&self, conn: ConnId, path: &UrlPath) -> bool {
        self.files.searches.get(path).is_some_and(|all| all.iter().any(|waiter| waiter.conn == conn))
    }

    fn look_up(&mut self, conn: ConnId, path: UrlPath, ask: Ask) {
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
        let count = if ask.is_question() { &mut session.outstanding } else { &mut session.pending };
        let limit = if ask.is_question() { limits::MAX_OUTSTANDING } else { limits::MAX_FILES_PER_CLIENT };
        if *count >= limit {
            let (re, url, _) = ask.into_parts();
            return self.complain(conn, ErrorCode::Limit, "too many at once", Some(url), re);
        }
        *count += 1;
        let waiter = Waiter { conn, ask };
        if let Some(waiters) = self.files.searches.get_mut(&path) {
            waiters.push(waiter);
        } else if self.files.searches.len() < MAX_SEARCHES {
            self.files.searches.insert(path.clone(), vec![waiter]);
            self.out.push(Output::Find { path });
        } else {
            self.no_longer_waits(&waiter);
            let (re, url, _) = waiter.ask.into_parts();
            self.complain(conn, ErrorCode::Busy, "too many files are being looked up", Some(url), re);
        }
    }

    fn no_longer_waits(&mut self, waiter: &Waiter) {
        let session = self.clients.get_mut(&waiter.conn).and_then(Client::session_mut);
        if let Some(session) = session {
            let count =
                if waiter.ask.is_question() { &mut session.outstanding } else { &mut session.pending };
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn found(&mut self, path: &UrlPath, result: Result<Arc<FileVersion>, HubError>) {
        let current = result.as_ref().ok().map(|version| version.root());
        if let Ok(version) = &result {
            self.files.keep(version, self.now.time);
            self.look_again_in(super::HOUSEKEEPING_US);
        }
        // What is distributed under this path but is not what lies there: still whole, behind its descriptor? If it could
        // not be looked at, nothing is known of that.
        let others =
            if matches!(result, Err(HubError::Busy)) { Vec::new() } else { self.files.others(path, current) };
        for (file, version) in others {
            self.files.grow_old(file, self.now.time);
            self.check(file, version);
        }
        for waiter in self.files.searches.remove(path).unwrap_or_default() {
            self.no_longer_waits(&waiter);
            let Waiter { conn, ask } = waiter;
            if !self.clients.contains_key(&conn) {
                continue;
            }
            match (&result, ask) {
                (_, ask @ (Ask::Unrequest(_) | Ask::Unprovide(_))) => self.take_back(conn, path, &ask),
                (Ok(version), ask) => self.act_on_found(conn, path, ask, version),
                (Err(error), Ask::Info(m)) => match error {
                    HubError::IsDirectory => self.tell_dir(conn, m.url),
                    error => self.no_info(conn, m.url, code_of(error), &error.to_string()),
                },
                (Err(error), ask) => {
                    let (re, url, _) = ask.into_parts();
                    self.complain(conn, code_of(error), &error.to_string(), Some(url), re);
                }
            }
        }
    }

    /// The current version is known; the message may be about another one, which may still be distributed.
    fn act_on_found(&mut self, conn: ConnId, path: &UrlPath, ask: Ask, current: &Arc<FileVersion>) {
        let version = match ask.root() {
            Some(root) if root != current.root() => self.files.find(path, &root, self.now.time),
            _ => Some(current.clone()),
        };
        match version {
            Some(version) => self.act(conn, ask, &version),
            None => {
                let (re, url, _) = ask.into_parts();
                let message = "this version is no longer served; ask_info tells the current one";
                self.complain(conn, ErrorCode::Changed, message, Some(url), re);
            }
        }
    }

    fn act(&mut self, conn: ConnId, ask: Ask, version: &Arc<FileVersion>) {
        match ask {
            Ask::Info(m) => self.tell_info(conn, m, version),
            Ask::Hashes(m) => self.tell_hashes(conn, m, version),
            Ask::Request(m) => self.take_request(conn, m, version),
            Ask::Provide(m) => self.take_provide(conn, m, version),
            Ask::Unrequest(_) | Ask::Unprovide(_) => self.take_back(conn, &version.path, &ask),
        }
    }

    fn tell_info(&mut self, conn: ConnId, ask: wire::AskInfo, version: &FileVersion) {
        let wire::AskInfo { url, hashes, proof } = ask;
        let layout = version.hashes.layout();
        let mut info = wire::TellInfo {
            url,
            size: Some(layout.size()),
            chunk_size: Some(layout.piece_size().bytes()),
            streaming: Some(false),
            ..Default::default()
        };
        if self.is_v3(conn) {
            info.root = Some(version.root());
            info.digest = version.digest;
            info.mtime = Some(version.mtime);
            info.mime = Some(version.mime.to_owned());
            info.kind = Some(EntryKind::File);
            info.signatures = version.signed().map_or_else(Vec::new, |signed| signed.signatures.clone());
            // The hash of a single piece follows from the root. A URL may grow sixfold in JSON, and a frame holds 64 KiB:
            // without the hashes the answer is as good, and they are asked for.
            let has_room = info.url.len() <= MAX_URL_WITH_HASHES && info.signatures.is_empty();
            if hashes && layout.count() > 1 && has_room {
                // Who takes proofs can begin with a few, and need not wait for the others.
                let in_parts = proof && layout.count() > limits::MAX_UNPROVED;
                let count = if in_parts { limits::FIRST_HASHES } else { limits::MAX_HASHES };
                info.hashes = Some(base64(version.hashes.all().iter().take(count as usize)));
                info.proof = if in_parts { proof_of(version, 0, count) } else { None };
            }
        }
        self.send(conn, info);
    }

    fn tell_dir(&mut self, conn: ConnId, url: String) {
        // To version 2 a directory is nothing at all.
        let kind = self.is_v3(conn).then_some(EntryKind::Dir);
        self.send(conn, wire::TellInfo { url, kind, ..Default::default() });
    }

    pub(super) fn no_info(&mut self, conn: ConnId, url: String, code: ErrorCode, message: &str) {
        tracing::debug!(?conn, url, message, "no info");
        let error = self.is_v3(conn).then_some(code);
        self.send(conn, wire::TellInfo { url, error, ..Default::default() });
    }

    fn tell_hashes(&mut self, conn: ConnId, m: wire::AskHashes, version: &FileVersion) {
        if m.roots {
            return self.tell_roots(conn, m, version);
        }
        let all = version.hashes.all();
        let first = usize::try_from(m.first).unwrap_or(usize::MAX).min(all.len());
        let end = first.saturating_add(m.count as usize).min(all.len());
        let hashes = base64(&all[first..end]);
        let proof = if m.proof { proof_of(version, first as u32, m.count) } else { None };
        let roots = false;
        self.send(conn, wire::TellHashes { url: m.url, root: m.root, first: m.first, hashes, proof, roots });
    }

    fn tell_roots(&mut self, conn: ConnId, m: wire::AskHashes, version: &FileVersion) {
        let first = u32::try_from(m.first).ok();
        let found = first
            .and_then(|first| version.hashes.roots(first, m.count).zip(proof_of(version, first, m.count)));
        let (hashes, proof) =
            found.map_or_else(Default::default, |(roots, proof)| (base64(&roots), Some(proof)));
        let roots = true;
        self.send(conn, wire::TellHashes { url: m.url, root: m.root, first: m.first, hashes, proof, roots });
    }

    pub(super) fn hashing(&mut self, path: &UrlPath, done: u64, total: u64) {
        let waiters = self.files.searches.get(path).into_iter().flatten();
        let asked: Vec<_> = waiters
            .filter_map(|waiter| match &waiter.ask {
                Ask::Info(m) => Some((waiter.conn, m.url.clone())),
                _ => None,
            })
            .collect();
        for (conn, url) in asked {
            if self.is_v3(conn) {
                self.send(conn, wire::Hashing { url, done, total });
            }
        }
    }

    pub(super) fn list(&mut self, conn: ConnId, m: wire::List) {
        let wire::List { url, depth, cursor, format, id } = m;
        let is_rdl = format.as_deref() == Some("rdl");
        let path = match (path_of_url(&url), format) {
            (Ok(path), None) => path,
            (Ok(path), Some(_)) if is_rdl => path,
            (Ok(_), Some(format)) => {
                let message = format!("format {format:?} is not supported by this server");
                return self.no_listing(conn, ErrorCode::Protocol, message, url, id);
            }
            (Err(error), _) => {
                return self.no_listing(conn, ErrorCode::NotFound, error.to_string(), url, id);
            }
        };
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let address = client.remote.ip();
        let Some(session) = client.session_mut() else { return };
        if session.outstanding >= limits::MAX_OUTSTANDING {
            return self.no_listing(conn, ErrorCode::Limit, "too many at once".to_owned(), url, id);
        }
        session.outstanding += 1;
        let depth = depth.unwrap_or(1).clamp(u32::from(!is_rdl), MAX_DEPTH);
        self.out.push(Output::List(List { conn, url, path, id, depth, cursor, is_rdl, address }));
    }

    pub(super) fn listed(
        &mut self,
        conn: ConnId,
        url: String,
        id: Option<u64>,
        result: Result<Listing, HubError>,
    ) {
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
        session.outstanding = session.outstanding.saturating_sub(1);
        match result {
            Ok(listing) => self.send(conn, Listing { url, id, ..listing }),
            Err(error) => self.no_listing(conn, code_of(&error), error.to_string(), url, id),
        }
    }

    pub(super) fn no_listing(
        &mut self,
        conn: ConnId,
        code: ErrorCode,
        message: String,
        url: String,
        id: Option<u64>,
    ) {
        if self.is_v3(conn) {
            self.send(conn, wire::Error { code, message, url: Some(url), re: Some("list".to_owned()), id });
        } else {
            self.complain(conn, code, &message, Some(url), "list");
        }
    }

    fn take_request(&mut self, conn: ConnId, m: wire::Request, version: &Arc<FileVersion>) {
        let layout = version.hashes.layout();
        let Some(pieces) = touched(&layout, m.range) else {
            return self.complain(
                conn,
                ErrorCode::Protocol,
                "the range lies past the end of the file",
                Some(m.url),
                "request",
            );
        };
        if pieces.is_empty() {
            // An empty file has nothing to send.
            return;
        }
        let window = m.position.zip(m.window).and_then(|(position, window)| {
            let pieces = layout.touched(position..position.saturating_add(window));
            (!pieces.is_empty()).then_some(pieces)
        });
        if !self.has_place(conn, version, pieces.clone(), &m) {
            return;
        }
        let Some(file) = self.number_of(version) else { return };
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
        let known = session.files.get(&file).is_some_and(|entry| !entry.wants.is_empty());
        if !known && session.wanted >= limits::MAX_FILES_PER_CLIENT {
            return self.complain(
                conn,
                ErrorCode::Limit,
                "requests for too many files",
                Some(m.url),
                "request",
            );
        }
        let entry = session.files.entry(file).or_insert_with(|| ClientFile::new(&m.url));
        if self.rules.of(&version.path).max_peers.is_some() {
            let earlier = entry.wish.take().map(|wish| *wish).unwrap_or_default();
            entry.wish = Some(Box::new(Wish::of(&m).over(earlier)));
        }
        let before = entry.wants.clone();
        entry.wants.insert(pieces.clone());
        if entry.wants.len() > limits::MAX_RANGES_PER_FILE {
            entry.wants = before;
            let message = "too many separate ranges of one file";
            return self.complain(conn, ErrorCode::Limit, message, Some(m.url), "request");
        }
        session.wanted += usize::from(!known);
        if let Some(name) = m.early {
            session.early = Some(Early { file, name });
        }
        let peer = session.peer;
        let order = m.order.unwrap_or_default();
        let pace = m.pace.filter(|_| window.is_some());
        self.tell_swarm(Event::Request { peer, file, pieces, order, window });
        if let Some(rate) = pace {
            self.tell_swarm(Event::ReaderPace { peer, file, rate });
        }
    }

    fn take_provide(&mut self, conn: ConnId, m: wire::Provide, version: &Arc<FileVersion>) {
        let layout = version.hashes.layout();
        let bytes = m.range.unwrap_or(ByteRange::ALL).within(layout.size());
        let pieces = bytes.map_or(0..0, |bytes| layout.inside(bytes));
        let Some(session) = self.clients.get(&conn).and_then(Client::session) else { return };
        if pieces.is_empty() || !session.gives {
            return;
        }
        if session.files.len() >= MAX_FILES_DEALT_WITH {
            return self.complain(conn, ErrorCode::Limit, "too many files", Some(m.url), "provide");
        }
        let Some(file) = self.number_of(version) else { return };
        let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
        session.files.entry(file).or_insert_with(|| ClientFile::new(&m.url));
        let peer = session.peer;
        self.has_it(conn, file, pieces.clone());
        self.tell_swarm(Event::Provide { peer, file, pieces });
    }

    fn take_back(&mut self, conn: ConnId, path: &UrlPath, ask: &Ask) {
        let (range, root) = match ask {
            Ask::Unrequest(m) => (m.range, m.root),
            Ask::Unprovide(m) => (m.range, m.root),
            _ => return,
        };
        if matches!(ask, Ask::Unrequest(_)) {
            let is_it = |one: &Applicant| root.is_none_or(|root| root == one.root) && one.is_at(path);
            let stopped = self.places.no_longer_wants(conn, is_it, |layout| touched(layout, range));
            self.no_longer_pending(conn, stopped);
        }
        let files: Vec<_> = match root {
            Some(root) => self.files.file_of(path, &root).into_iter().collect(),
            None => self.files.others(path, None).into_iter().map(|(file, _)| file).collect(),
        };
        for file in files {
            let Some(layout) = self.files.version(file).map(|version| version.hashes.layout()) else {
                continue;
            };
            let Some(pieces) = touched(&layout, range).filter(|pieces| !pieces.is_empty()) else { continue };
            let Some(session) = self.clients.get_mut(&conn).and_then(Client::session_mut) else { return };
            if !session.files.contains_key(&file) {
                continue;
            }
            let peer = session.peer;
            if matches!(ask, Ask::Unrequest(_)) {
                session.no_longer_wants(file, pieces.clone());
                self.tell_swarm(Event::Unrequest { peer, file, pieces });
            } else {
                self.tell_swarm(Event::Unprovide { peer, file, pieces });
            }
        }
    }

    /// The swarm's number of a version; the swarm is told of it when it is new.
    fn number_of(&mut self, version: &Arc<FileVersion>) -> Option<FileId> {
        let (file, is_new) = self.files.number(version, self.now.time)?;
        if is_new {
            let layout = version.hashes.layout();
            let piece_size = layout.piece_size().bytes();
            self.tell_swarm(Event::FileAdded { file, size: layout.size(), piece_size });
            self.tell_rules(file, &version.path);
        }
        Some(file)
    }

    /// What is distributed and no longer lies where it was: still whole, behind its descriptor?
    pub(super) fn look_at_versions(&mut self, change: &Change) {
        let others = match change {
            Change::File { path, root, .. } => {
                if self.files.file_of(path, root).is_some() {
                    // The same bytes, but perhaps in another file.
                    self.out.push(Output::Find { path: path.clone() });
                }
                self.files.others(path, Some(*root))
            }
            Change::Removed { path } | Change::Much { path } => self.files.below(path),
            Change::Dir { .. } => Vec::new(),
        };
        for (file, version) in others {
            if !matches!(change, Change::Much { .. }) {
                self.files.grow_old(file, self.now.time);
            }
            self.check(file, version);
        }
    }

    /// Has a version compared with the disk, unless that is under way.
    pub(super) fn check(&mut self, file: FileId, version: Arc<FileVersion>) {
        if self.files.checking.insert(file) {
            self.out.push(Output::Check { file, version });
        }
    }

    /// Somebody found other bytes, size or times than those of the version.
    pub(super) fn suspect(&mut self, version: &Arc<FileVersion>) {
        match self.files.file_of(&version.path, &version.root()) {
            Some(file) => self.check(file, version.clone()),
            None => self.files.discard(version),
        }
    }

    pub(super) fn checked(&mut self, file: FileId, good: bool) {
        if self.files.checking.remove(&file) && !good {
            self.retire(file);
        }
    }

    /// A version is no longer what is on disk: nobody gets any more of it, and all who had to do with it are told.
    fn retire(&mut self, file: FileId) {
        let Some(version) = self.files.version(file).cloned() else { return };
        tracing::info!(path = %version.path, root = %version.root(), "changed while it was distributed");
        self.stats.retired += 1;
        self.remove_from_swarm(&HashSet::from([file]), true);
        self.files.discard(&version);
    }

    /// Takes files out of the swarm and out of all clients' books.
    fn remove_from_swarm(&mut self, files: &HashSet<FileId>, tell: bool) {
        for &file in files {
            self.tell_swarm(Event::FileRemoved { file });
        }
        let mut told = Vec::new();
        for (&conn, client) in &mut self.clients {
            let is_v3 = client.is_v3;
            let Some(session) = client.session_mut() else { continue };
            if session.files.is_empty() {
                continue;
            }
            let wanted = &mut session.wanted;
            session.files.retain(|file, entry| {
                if !files.contains(file) {
                    return true;
                }
                *wanted -= usize::from(!entry.wants.is_empty());
                if tell && is_v3 {
                    told.push((conn, entry.url.to_string()));
                }
                false
            });
        }
        for (conn, url) in told {
            let root = path_of_url(&url).ok().and_then(|path| self.files.newest_but(&path, files));
            self.send(conn, wire::Changed { url, root, ..Default::default() });
        }
        for &file in files {
            self.files.unnumber(file, self.now.time);
        }
    }

    /// Lets go of replaced versions that nobody is downloading any more, or for too long.
    fn look_over_old_versions(&mut self) {
        let old = self.files.old();
        if old.is_empty() {
            return;
        }
        let sessions = self.clients.values().filter_map(Client::session);
        let wanted = sessions.flat_map(|s| s.files.iter().filter(|(_, entry)| !entry.wants.is_empty()));
        let mut taken: HashSet<FileId> = wanted.map(|(file, _)| *file).collect();
        taken.extend(self.open_files());
        let (now, grace) = (self.now.time, self.identity.old_grace_us);
        let over: HashSet<FileId> = old
            .into_iter()
            .filter(|(file, since)| !taken.contains(file) || now.since(*since) >= grace)
            .map(|(file, _)| file)
            .collect();
        let versions: Vec<_> = over.iter().filter_map(|file| self.files.version(*file).cloned()).collect();
        if !over.is_empty() {
            self.remove_from_swarm(&over, true);
        }
        for version in versions {
            tracing::debug!(path = %version.path, root = %version.root(), "an old version is over");
            self.files.discard(&version);
        }
    }

    /// Lets go of versions that nobody has to do with any more.
    pub(super) fn look_over_files(&mut self) {
        self.look_over_old_versions();
        let unused: HashSet<_> =
            self.files.by_id.keys().copied().filter(|&file| !self.swarm.is_in_use(file)).collect();
        if !unused.is_empty() {
            self.remove_from_swarm(&unused, false);
        }
        let now = self.now.time;
        self.files.drop_idle(|last_used| now.since(last_used) >= IDLE_US);
    }

    pub(super) fn is_v3(&self, conn: ConnId) -> bool {
        self.clients.get(&conn).is_some_and(|client| client.is_v3)
    }
}

impl Ask {
    fn url(&self) -> &str {
        match self {
            Self::Info(m) => &m.url,
            Self::Hashes(m) => &m.url,
            Self::Request(m) => &m.url,
            Self::Unrequest(m) => &m.url,
            Self::Provide(m) => &m.url,
            Self::Unprovide(m) => &m.url,
        }
    }
}

impl ClientFile {
    fn new(url: &str) -> Self {
        Self { url: url.into(), wants: Ranges::default(), waiting: None, wish: None }
    }
}

/// The pieces that a range of bytes touches; `None` where it lies past the end of the file.
fn touched(layout: &Layout, range: Option<ByteRange>) -> Option<Range<u32>> {
    match range.unwrap_or(ByteRange::ALL) {
        ByteRange { min: 0, .. } if layout.size() == 0 => Some(0..0),
        range => range.within(layout.size()).map(|bytes| layout.touched(bytes)),
    }
}

/// What proves that a block of piece hashes is one of that version; `None` if there is no such block.
fn proof_of(version: &FileVersion, first: u32, count: u32) -> Option<wire::Base64> {
    version.hashes.prove(first, count).map(|proof| base64(&proof))
}

fn base64<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> wire::Base64 {
    wire::Base64(digests.into_iter().flat_map(|digest| digest.0).collect())
}

fn code_of(error: &HubError) -> ErrorCode {
    match error {
        HubError::NotFound => ErrorCode::NotFound,
        HubError::Denied => ErrorCode::Denied,
        HubError::IsDirectory => ErrorCode::IsDirectory,
        HubError::NotDirectory => ErrorCode::NotDirectory,
        HubError::Cursor => ErrorCode::Protocol,
        HubError::Unstable | HubError::Busy => ErrorCode::Busy,
        _ => ErrorCode::Internal,
    }
}
