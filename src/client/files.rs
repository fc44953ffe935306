//! The files a link has to do with: being received, or complete and shared. What transfers find their store by.
//!
//! Open files are a scarce good of the process: of complete files that are only shared, just the latest few stay
//! open; the others are opened, and verified again, when somebody comes for them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::time::timeout;

use super::ahead::Early;
use super::cache::Used;
use super::hashes::Questions;
use super::progress::{Numbers, Source};
use super::reader;
use super::session::Conn;
use super::{Error, ErrorKind, Overwrite, PieceStore};
use crate::content::{Layout, PieceHashes};
use crate::peer::RateLimiter;
use crate::wire::{self, Digest, UrlPath, WaitReason};

/// Complete files that are kept open for others.
const MAX_OPEN_SHARES: usize = 64;
/// Complete files shared at all; the oldest are given up first.
const MAX_SHARES: usize = 16 * 1024;
/// Files larger than this are not closed while they are shared: verifying them again would take too long. They are
/// given up instead when there are too many.
const MAX_PARKED_SIZE: u64 = 4 * 1024 * 1024;

/// Paths that can be pinned.
const MAX_PINNED: usize = 64 * 1024;

/// Transfers that wait for a file to be held. The server plans fewer.
const MAX_EXPECTED: usize = 256;

/// How long a peer that brings pieces of such a file waits for it.
const EXPECTED_FOR: Duration = Duration::from_secs(5);

/// What came between a file and its end.
#[derive(Debug, Clone)]
pub(super) enum Upset {
    /// The server has another version now, or none.
    Changed,
    /// It is gone from the server.
    Removed,
    /// Nothing to be done about.
    Failed(Error),
}

/// The transfer a file is received for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Owner {
    /// Its number; 0 for none.
    pub(super) transfer: u64,
    pub(super) user_data: usize,
}

/// One version of one file.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) path: UrlPath,
    /// As in messages.
    pub(super) url: String,
    pub(super) root: Digest,
    pub(super) layout: Layout,
    hashes: Arc<PieceHashes>,
    /// About the hashes that are not known.
    pub(super) questions: Questions,
    store: Mutex<Slot>,
    owner: Owner,
    /// Complete, and only given to others.
    is_shared: AtomicBool,
    /// By the application, and so as long as it likes.
    is_kept: AtomicBool,
    /// Some of it comes from another file on this machine.
    is_copied: AtomicBool,
    used: Used,
    numbers: Arc<Numbers>,
    /// What is received of it counts against this.
    down: RateLimiter,
    /// Bytes that the numbers know of.
    credited: AtomicU64,
    /// The GET that waits for the origin's first bytes.
    early: Mutex<Option<Early>>,
    /// Something happened that the job should look at.
    pub(super) news: Notify,
    /// A piece has come, for those who wait for one.
    came: Notify,
    upset: Mutex<Option<Upset>>,
    /// Whoever reads it while it comes.
    source: Mutex<Weak<reader::Source>>,
    /// The pieces that it makes sense to go on receiving, ascending; `None` = all of them.
    wanted: watch::Sender<Option<Vec<Range<u32>>>>,
    /// Everything that is under way for it is to end.
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
enum Slot {
    Open(Arc<PieceStore>),
    /// Complete, shared, and closed.
    Parked {
        target: PathBuf,
    },
}

impl Held {
    pub(super) fn new(
        path: UrlPath,
        url: String,
        store: Arc<PieceStore>,
        owner: Owner,
        numbers: Arc<Numbers>,
        down: RateLimiter,
    ) -> Self {
        let hashes = Arc::clone(store.hashes());
        Self {
            path,
            url,
            root: hashes.root(),
            layout: hashes.layout(),
            hashes,
            questions: Questions::default(),
            credited: AtomicU64::new(store.found()),
            store: Mutex::new(Slot::Open(store)),
            owner,
            is_shared: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
            is_copied: AtomicBool::new(false),
            used: Used::default(),
            numbers,
            down,
            early: Mutex::default(),
            news: Notify::new(),
            came: Notify::new(),
            upset: Mutex::default(),
            source: Mutex::default(),
            wanted: watch::Sender::new(None),
            stop: watch::Sender::new(false),
        }
    }

    /// The store, if it is open: always, while the file is being received.
    pub(super) fn store(&self) -> Option<Arc<PieceStore>> {
        match &*self.slot() {
            Slot::Open(store) => Some(Arc::clone(store)),
            Slot::Parked { .. } => None,
        }
    }

    /// The store, opened and verified again if it was closed; then also the name it was opened by. `None` when the
    /// file is no longer what it was. Blocks.
    fn open_store(&self) -> Option<(Arc<PieceStore>, Option<PathBuf>)> {
        let target = match &*self.slot() {
            Slot::Open(store) => return Some((Arc::clone(store), None)),
            Slot::Parked { target } => target.clone(),
        };
        // Looked at first, because opening a store creates what is not there.
        if std::fs::metadata(&target).ok()?.len() != self.layout.size() {
            return None;
        }
        let hashes = Arc::clone(&self.hashes);
        let store = PieceStore::open(&target, &self.url, hashes, Overwrite::Never, &mut |_, _| {
            ControlFlow::Continue(())
        })
        .ok()?;
        if !store.is_complete() {
            // It vanished between the two looks.
            let _ = store.discard();
            return None;
        }
        let store = Arc::new(store);
        *self.slot() = Slot::Open(Arc::clone(&store));
        Some((store, Some(target)))
    }

    /// The transfer it was received for.
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// Whether it is complete, and only given to others.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Whether it is given to others, and not about to be no more.
    pub(super) fn is_offered(&self) -> bool {
        self.is_shared() && !self.is_stopped()
    }

    /// Whether the server knows only of a part of it what is here: what was found or copied, nobody has told it.
    pub(super) fn is_untold(&self, store: &PieceStore) -> bool {
        store.found() > 0 || self.is_copied.load(Ordering::Relaxed)
    }

    /// It was of use.
    pub(super) fn touch(&self) {
        self.used.now();
    }

    pub(super) fn last_used(&self) -> Instant {
        self.used.last()
    }

    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    pub(super) fn down(&self) -> &RateLimiter {
        &self.down
    }

    /// A piece was verified.
    pub(super) fn credit(&self, piece: u32, from: Source) -> u64 {
        let bytes = self.layout.bytes_of(piece);
        let length = bytes.end - bytes.start;
        self.credited.fetch_add(length, Ordering::AcqRel);
        self.numbers.received(length, from, Instant::now());
        self.news.notify_one();
        self.came.notify_waiters();
        self.wake_readers();
        length
    }

    /// Whoever reads it from now on.
    pub(super) fn set_source(&self, source: &Arc<reader::Source>) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(source);
    }

    /// Whoever reads it.
    pub(super) fn source(&self) -> Option<Arc<reader::Source>> {
        self.source
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
            .filter(|source| !source.is_left())
    }

    /// Pieces may have come.
    pub(super) fn wake_readers(&self) {
        if let Some(source) = self.source() {
            source.wake();
        }
    }

    /// Bytes were verified of which nobody said who brought them.
    pub(super) fn credit_rest(&self, bytes: u64, from: Source) {
        self.credited.fetch_add(bytes, Ordering::AcqRel);
        self.numbers.received(bytes, from, Instant::now());
    }

    /// Bytes were copied from another file on this machine.
    pub(super) fn credit_copied(&self, bytes: u64) {
        self.is_copied.fetch_or(bytes > 0, Ordering::Relaxed);
        self.credited.fetch_add(bytes, Ordering::AcqRel);
        self.numbers.found(bytes);
    }

    /// Bytes that the numbers know of.
    pub(super) fn credited(&self) -> u64 {
        self.credited.load(Ordering::Acquire)
    }

    /// A GET waits for the origin's first bytes.
    pub(super) fn wait_early(&self, early: Option<Early>) {
        *self.early.lock().unwrap_or_else(PoisonError::into_inner) = early;
    }

    /// That GET, for the transfer that it is to be answered with.
    pub(super) fn take_early(&self) -> Option<Early> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Tells the job what came between. The first counts.
    pub(super) fn upset(&self, upset: Upset) {
        self.upset.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(upset);
        self.news.notify_one();
    }

    pub(super) fn take_upset(&self) -> Option<Upset> {
        self.upset.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// From now on only these pieces are worth receiving: what is under way for others alone is called off. `None` = all.
    pub(super) fn set_wanted(&self, pieces: Option<Vec<Range<u32>>>) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = *wanted != pieces;
            *wanted = pieces;
            is_new
        });
    }

    /// Tells when other pieces are worth receiving, and at first.
    pub(super) fn wanted(&self) -> watch::Receiver<Option<Vec<Range<u32>>>> {
        let mut wanted = self.wanted.subscribe();
        wanted.mark_changed();
        wanted
    }

    /// Ends everything that is under way for it.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether [`Held::stop`] was called.
    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// To be held by whoever has still to tell the server of pieces of it.
    pub(super) fn seat(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Completes when nobody holds a [`Held::seat`].
    pub(super) async fn seats_empty(&self) {
        self.stop.closed().await;
    }

    /// Completes after [`Held::stop`].
    pub(super) async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Whether all of some pieces are here.
    fn has(&self, pieces: &Range<u32>) -> bool {
        // What is not open is complete.
        self.store().is_none_or(|store| pieces.clone().all(|piece| store.has(piece)))
    }

    /// The same, within some time, as long as it is being received.
    pub(super) async fn has_within(&self, pieces: &Range<u32>, time: Duration) -> bool {
        let here = async {
            loop {
                let mut came = std::pin::pin!(self.came.notified());
                // What comes after the look is not to be missed.
                came.as_mut().enable();
                if self.has(pieces) {
                    return;
                }
                tokio::select! {
                    () = came => {}
                    () = self.stopped() => return,
                }
            }
        };
        let _ = tokio::time::timeout(time, here).await;
        self.has(pieces)
    }

    /// What it is verified against.
    pub(super) fn hashes(&self) -> &Arc<PieceHashes> {
        &self.hashes
    }

    /// Whether its piece hashes, and so its root, are known or can be had.
    pub(super) fn is_told(&self) -> bool {
        self.hashes.is_told()
    }

    /// Whether it can be closed, and verified when it is opened again.
    fn can_be_parked(&self) -> bool {
        self.layout.size() <= MAX_PARKED_SIZE && self.hashes.is_told()
    }

    fn park(&self, target: PathBuf) {
        *self.slot() = Slot::Parked { target };
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        // Nothing under this lock can panic half-way through a change.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of one link. One version of a path at a time.
#[derive(Debug, Default)]
pub(super) struct Files {
    table: Mutex<Table>,
    /// What is to be kept, whatever the bounds.
    pinned: Mutex<HashSet<UrlPath>>,
    turns: Mutex<Turns>,
    /// How many downloads wait for their turn.
    waiting: Mutex<HashMap<UrlPath, usize>>,
    /// What is being read.
    sources: Mutex<HashMap<UrlPath, Weak<reader::Source>>>,
    /// Counts whenever a file is put in.
    changes: watch::Sender<u64>,
}

/// Whose turn it is with a path.
#[derive(Debug, Default)]
struct Turns {
    turns: HashMap<UrlPath, Weak<tokio::sync::Mutex<()>>>,
    /// How many are looked through for those that are over.
    clean_at: usize,
}

/// Counts among those who wait for their turn for as long as it lives.
struct Waiting<'a>(&'a Files, &'a UrlPath);

impl<'a> Waiting<'a> {
    fn new(files: &'a Files, path: &'a UrlPath) -> Self {
        *files.waiting().entry(path.clone()).or_default() += 1;
        Self(files, path)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        if let Some(count) = waiting.get_mut(self.1) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(self.1);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    by_path: HashMap<UrlPath, Arc<Held>>,
    /// Shared files that are open, oldest first, with the name to open them by again.
    open: VecDeque<(Weak<Held>, PathBuf)>,
    /// Shared files, oldest first.
    shared: VecDeque<Weak<Held>>,
    /// Files requested that are not held yet.
    expected: HashMap<UrlPath, Expected>,
}

/// What has come for a file that was requested before it was known what it is.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Transfers arranged, with the connection they were told on.
    pub(super) transfers: Vec<(Arc<Conn>, wire::Transfer)>,
    /// The server would not have the request.
    pub(super) is_refused: bool,
    /// Why nothing comes.
    pub(super) waiting: Option<WaitReason>,
    /// Dropped with it: whoever wants to know then looks again.
    settled: watch::Sender<()>,
}

/// Where the bytes of a transfer belong.
pub(super) enum Belongs {
    To(Arc<Held>),
    /// Noted until it is clear.
    Soon,
    Nowhere,
}

impl Files {
    /// Waits until no other download of the same path is under way on this link: the server knows one request and
    /// one set of pieces for each file and client.
    ///
    /// Readers do not keep it waiting: they let it go on with what they have.
    pub(super) async fn turn(&self, path: &UrlPath) -> OwnedMutexGuard<()> {
        let _waiting = Waiting::new(self, path);
        if let Some(held) = self.get(path) {
            held.news.notify_one();
        }
        self.turn_of(path).lock_owned().await
    }

    /// The same for readers, who have time.
    pub(super) async fn turn_of_reader(&self, path: &UrlPath) -> OwnedMutexGuard<()> {
        self.turn_of(path).lock_owned().await
    }

    /// Whether a download waits for its turn.
    pub(super) fn is_waited_for(&self, path: &UrlPath) -> bool {
        self.waiting().contains_key(path)
    }

    /// Tells whenever a file is put in.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What is being read.
    pub(super) fn sources(&self) -> MutexGuard<'_, HashMap<UrlPath, Weak<reader::Source>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<UrlPath, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_of(&self, path: &UrlPath) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let Turns { turns, clean_at } = &mut *turns;
        // Now and then forget those that nobody holds or waits for.
        if turns.len() >= *clean_at {
            turns.retain(|_, turn| turn.strong_count() > 0);
            *clean_at = (2 * turns.len()).max(64);
        }
        let known = turns.get(path).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(path.clone(), Arc::downgrade(&turn));
            turn
        })
    }

    /// A turn, if nobody else has it or waits for it.
    pub(super) fn try_turn(&self, path: &UrlPath) -> Option<OwnedMutexGuard<()>> {
        self.turn_of(path).try_lock_owned().ok()
    }

    /// From now on transfers of a path wait until it is held. `false` if it is already.
    pub(super) fn expect(&self, path: &UrlPath) -> bool {
        let mut table = self.table();
        let is_new = !table.by_path.contains_key(path);
        if is_new {
            table.expected.insert(path.clone(), Expected::default());
        }
        is_new
    }

    /// Ends [`Files::expect`]; what has come meanwhile.
    pub(super) fn no_longer_expect(&self, path: &UrlPath) -> Expected {
        self.table().expected.remove(path).unwrap_or_default()
    }

    /// Notes that the server would not have the request for a file that is expected; whether it is.
    pub(super) fn request_refused(&self, path: &UrlPath) -> bool {
        self.table().expected.get_mut(path).map(|expected| expected.is_refused = true).is_some()
    }

    /// Notes why nothing comes of a file that is expected.
    pub(super) fn waits(&self, path: &UrlPath, reason: WaitReason) {
        if let Some(expected) = self.table().expected.get_mut(path) {
            expected.waiting = Some(reason);
        }
    }

    /// The server has called off a transfer, which may still wait for its file.
    pub(super) fn called_off(&self, conn: &Arc<Conn>, id: u64) {
        for expected in self.table().expected.values_mut() {
            expected.transfers.retain(|(on, transfer)| !Arc::ptr_eq(on, conn) || transfer.id != Some(id));
        }
    }

    /// Where a transfer of a path belongs.
    pub(super) fn place(&self, path: &UrlPath, conn: &Arc<Conn>, transfer: &wire::Transfer) -> Belongs {
        let mut table = self.table();
        if let Some(held) = table.by_path.get(path) {
            return Belongs::To(Arc::clone(held));
        }
        match table.expected.get_mut(path) {
            Some(expected) if expected.transfers.len() < MAX_EXPECTED => {
                expected.transfers.push((Arc::clone(conn), transfer.clone()));
                Belongs::Soon
            }
            _ => Belongs::Nowhere,
        }
    }

    /// What is held of a path, if anything.
    pub(super) fn get(&self, path: &UrlPath) -> Option<Arc<Held>> {
        self.table().by_path.get(path).cloned()
    }

    /// The same; of a file that is expected, as soon as it is held.
    pub(super) async fn get_soon(&self, path: &UrlPath) -> Option<Arc<Held>> {
        let settled = self.table().expected.get(path).map(|expected| expected.settled.subscribe());
        if let Some(mut settled) = settled {
            // Nothing is sent: this ends when the sender goes. Then, or when it takes too long, it is here or not.
            let _ = timeout(EXPECTED_FOR, settled.changed()).await;
        }
        self.get(path)
    }

    /// Everything held.
    pub(super) fn all(&self) -> Vec<Arc<Held>> {
        self.table().by_path.values().cloned().collect()
    }

    /// Puts a file in, in the place of what was held of the same path.
    pub(super) fn insert(&self, held: Arc<Held>) {
        let old = self.table().by_path.insert(held.path.clone(), held);
        if let Some(old) = old {
            old.stop();
        }
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Takes a file out, if it still is what is held of its path, and ends what is under way for it.
    pub(super) fn remove(&self, held: &Arc<Held>) -> bool {
        let mut table = self.table();
        let is_in = table.by_path.get(&held.path).is_some_and(|there| Arc::ptr_eq(there, held));
        if is_in {
            table.by_path.remove(&held.path);
        }
        drop(table);
        held.stop();
        is_in
    }

    /// A complete file, under its final name `target`, goes on as a share. Gives back those that are given up for
    /// it.
    pub(super) fn share(&self, held: &Arc<Held>, target: PathBuf) -> Vec<Arc<Held>> {
        held.is_shared.store(true, Ordering::Relaxed);
        let mut given_up = Vec::new();
        let mut table = self.table();
        table.shared.push_back(Arc::downgrade(held));
        while table.shared.len() > MAX_SHARES {
            given_up.extend(table.shared.pop_front().and_then(|held| held.upgrade()));
        }
        table.note_open(held, target, &mut given_up);
        for held in &given_up {
            if table.by_path.get(&held.path).is_some_and(|there| Arc::ptr_eq(there, held)) {
                table.by_path.remove(&held.path);
            }
        }
        given_up
    }

    /// A complete file of the application's goes in as a share, in the place of what was held of the same path. It stays
    /// open: to close it would be to read all of it again.
    pub(super) fn insert_kept(&self, held: &Arc<Held>) {
        held.is_shared.store(true, Ordering::Relaxed);
        held.is_kept.store(true, Ordering::Relaxed);
        self.insert(Arc::clone(held));
    }

    /// A complete file without a name goes on as a share.
    pub(super) fn share_unnamed(&self, held: &Held) {
        held.is_shared.store(true, Ordering::Relaxed);
    }

    /// Pins a path, or no longer.
    pub(super) fn pin(&self, path: &UrlPath, on: bool) -> Result<(), Error> {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if !on {
            pinned.remove(path);
        } else if pinned.len() >= MAX_PINNED && !pinned.contains(path) {
            return Err(Error::new(ErrorKind::Limit, format!("{MAX_PINNED} files are pinned already")));
        } else {
            pinned.insert(path.clone());
        }
        Ok(())
    }

    pub(super) fn is_pinned(&self, path: &UrlPath) -> bool {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// The store of a file, opened and verified again if it was closed. `None` when the file is no longer what it
    /// was. Blocks.
    pub(super) fn open_store(&self, held: &Arc<Held>) -> Option<Arc<PieceStore>> {
        let (store, reopened) = held.open_store()?;
        if let Some(target) = reopened {
            // A large file that would be given up for this one stays open instead: one descriptor more.
            self.table().open.push_back((Arc::downgrade(held), target));
            self.table().park_oldest();
        }
        Some(store)
    }

    /// Takes out what is given after its download; with `all` also what the application shares.
    pub(super) fn withdraw_shares(&self, all: bool) -> Vec<Arc<Held>> {
        let mut table = self.table();
        let goes = |held: &Held| held.is_shared() && (all || !held.is_kept.load(Ordering::Relaxed));
        let shares: Vec<_> = table.by_path.extract_if(|_, held| goes(held)).map(|(_, held)| held).collect();
        table.open.clear();
        table.shared.clear();
        drop(table);
        shares.iter().for_each(|held| held.stop());
        shares
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing under this lock can panic half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Closes the oldest open share that can be closed, if there are too many.
    fn park_oldest(&mut self) {
        if self.open.len() <= MAX_OPEN_SHARES {
            return;
        }
        let parkable =
            |(held, _): &(Weak<Held>, PathBuf)| held.upgrade().is_none_or(|held| held.can_be_parked());
        let oldest = self.open.iter().position(parkable).and_then(|at| self.open.remove(at));
        if let Some((held, target)) = oldest
            && let Some(held) = held.upgrade()
        {
            held.park(target);
        }
    }

    fn note_open(&mut self, held: &Arc<Held>, target: PathBuf, given_up: &mut Vec<Arc<Held>>) {
        self.open.push_back((Arc::downgrade(held), target));
        while self.open.len() > MAX_OPEN_SHARES {
            let Some((oldest, target)) = self.open.pop_front() else { break };
            match oldest.upgrade() {
                Some(held) if held.can_be_parked() => held.park(target),
                Some(held) => given_up.push(held),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{PieceSize, hash_piece};

    const PIECE: usize = 16 * 1024;

    /// A complete file of `bytes` in `dir`, shared.
    fn share(files: &Files, dir: &std::path::Path, name: &str, bytes: &[u8]) -> (Arc<Held>, Vec<Arc<Held>>) {
        let target = dir.join(name);
        std::fs::write(&target, bytes).unwrap();
        let piece = PieceSize::new(PIECE as u32).unwrap();
        let layout = Layout::new(bytes.len() as u64, piece).unwrap();
        let hashes =
            Arc::new(PieceHashes::new(layout, bytes.chunks(PIECE).map(hash_piece).collect()).unwrap());
        let store =
            PieceStore::open(&target, "", hashes, Overwrite::Never, &mut |_, _| ControlFlow::Continue(()))
                .unwrap();
        assert!(store.is_complete());
        let path = UrlPath::root().join(name.as_bytes()).unwrap();
        let owner = Owner::default();
        let down = RateLimiter::new(0);
        let held = Arc::new(Held::new(path, String::new(), Arc::new(store), owner, Arc::default(), down));
        files.insert(Arc::clone(&held));
        let given_up = files.share(&held, target);
        (held, given_up)
    }

    #[test]
    fn many_shares_keep_few_files_open_and_all_can_be_given() {
        let (files, dir) = (Files::default(), tempfile::tempdir().unwrap());
        let shares: Vec<_> = (0..MAX_OPEN_SHARES + 10)
            .map(|n| share(&files, dir.path(), &n.to_string(), &vec![n as u8; PIECE + n]).0)
            .collect();
        let open = shares.iter().filter(|held| held.store().is_some()).count();
        assert_eq!(open, MAX_OPEN_SHARES);
        assert!(shares[0].store().is_none());
        assert!(files.open_store(&shares[0]).is_some_and(|store| store.is_complete()));
        assert!(shares[0].store().is_some());
        let open = shares.iter().filter(|held| held.store().is_some()).count();
        assert_eq!(open, MAX_OPEN_SHARES);
        assert_eq!(files.all().len(), MAX_OPEN_SHARES + 10);

        std::fs::write(dir.path().join("1"), vec![9; PIECE + 1]).unwrap();
        assert!(files.open_store(&shares[1]).is_none(), "another content");
        std::fs::remove_file(dir.path().join("2")).unwrap();
        assert!(files.open_store(&shares[2]).is_none(), "gone");
        assert!(!dir.path().join("2.part").exists());
    }

    #[test]
    fn large_shares_are_given_up_rather_than_closed() {
        let (files, dir) = (Files::default(), tempfile::tempdir().unwrap());
        let (large, _) = share(&files, dir.path(), "large", &vec![1; MAX_PARKED_SIZE as usize + 1]);
        let given_up: Vec<_> = (0..MAX_OPEN_SHARES)
            .flat_map(|n| share(&files, dir.path(), &n.to_string(), b"small").1)
            .collect();
        assert!(given_up.len() == 1 && Arc::ptr_eq(&given_up[0], &large));
        assert!(files.get(&large.path).is_none());
    }

    #[test]
    fn a_newer_version_takes_the_place_of_an_older() {
        let (files, dir) = (Files::default(), tempfile::tempdir().unwrap());
        let (old, _) = share(&files, dir.path(), "a", b"old");
        let (new, _) = share(&files, dir.path(), "a", b"new");
        assert!(*old.stop.borrow() && !*new.stop.borrow());
        assert!(!files.remove(&old));
        assert!(Arc::ptr_eq(&files.get(&new.path).unwrap(), &new));
        assert_eq!(files.withdraw_shares(true).len(), 1);
        assert!(files.get(&new.path).is_none());
    }

    #[tokio::test]
    async fn downloads_of_one_path_take_turns() {
        let files = Files::default();
        let path = UrlPath::root().join(b"a").unwrap();
        let first = files.turn(&path).await;
        let _other = files.turn(&UrlPath::root()).await;
        let mut second = Box::pin(files.turn(&path));
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, &mut second).await.is_err());
        drop(first);
        second.await;
    }
}
