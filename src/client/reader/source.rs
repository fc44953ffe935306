//! Where readers of a file get their bytes from: one store for all of them, and somebody who sees to it that what they
//! need comes.
//!
//! Mostly that is a download of the source's own, of the readers' windows only, into a file without a name
//! ([`download::for_readers`]). While the same file is being downloaded on this link, or was and is still shared, its
//! store serves: the readers only say what is to come first. Should a download of it begin later, the source lets it
//! have its turn, and all that is here already.
//!
//! A source is of one version. It ends with its last reader, or when that version can no longer be had.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::view::View;
use crate::client::download::{self, Job, blocking};
use crate::client::files::Held;
use crate::client::session::LinkUser;
use crate::client::transfer::Shared;
use crate::client::verify::Demand;
use crate::client::{Error, ErrorKind, Overwrite, PieceStore, Priority};
use crate::content::keys::Fingerprint;
use crate::content::trust::Policy;
use crate::content::{Layout, PieceHashes};
use crate::wire::{Digest, UrlPath};

/// What is demanded of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) struct Terms {
    /// Only this version.
    pub(in crate::client) expect_root: Option<Digest>,
    pub(in crate::client) policy: Policy,
    /// One of these keys; none = any.
    pub(in crate::client) keys: Vec<Fingerprint>,
}

/// See the module.
#[derive(Debug)]
pub(in crate::client) struct Source {
    pub(in crate::client) path: UrlPath,
    terms: Terms,
    state: Mutex<State>,
    /// Changes whenever a reader should look again.
    news: watch::Sender<u64>,
    /// Turns true when the last reader has gone.
    left: watch::Sender<bool>,
    /// What is fetched before anybody has said where it reads.
    pub(in crate::client) first_window: u64,
}

#[derive(Debug, Default)]
struct State {
    /// What is read. Once there is one, all later ones are of the same version.
    version: Option<(Digest, Layout)>,
    store: Option<Arc<PieceStore>>,
    /// What the server says of it: its type, and when it was changed.
    described: (Option<String>, Option<i64>),
    /// For which pieces come; `None` when nobody fetches any more, or not yet.
    held: Option<Arc<Held>>,
    /// What this source has put among the files itself.
    own: Option<Arc<Held>>,
    failed: Option<Error>,
    spots: Vec<Arc<Spot>>,
}

/// Where one reader is.
#[derive(Debug)]
pub(super) struct Spot {
    position: AtomicU64,
    window: AtomicU64,
    waits: AtomicBool,
}

/// What there is at a place in the file.
pub(super) enum Found {
    /// So many bytes were copied.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
}

impl Source {
    pub(super) fn new(path: UrlPath, terms: Terms, first_window: u64) -> Self {
        Self {
            path,
            terms,
            state: Mutex::default(),
            news: watch::Sender::new(0),
            left: watch::Sender::new(false),
            first_window,
        }
    }

    /// Whether a reader with these demands can have it, too.
    pub(super) fn suits(&self, terms: &Terms) -> bool {
        self.terms == *terms && !*self.left.borrow() && self.state().failed.is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ------------------------------------------------------------------------------------------- for readers

    /// A reader comes. `None` if the source has ended meanwhile.
    pub(super) fn enter(&self, position: u64, window: u64) -> Option<Arc<Spot>> {
        let mut state = self.state();
        if *self.left.borrow() || state.failed.is_some() {
            return None;
        }
        let spot = Arc::new(Spot {
            position: AtomicU64::new(position),
            window: AtomicU64::new(window),
            waits: AtomicBool::new(false),
        });
        state.spots.push(Arc::clone(&spot));
        drop(state);
        self.nudge();
        Some(spot)
    }

    /// A reader goes.
    pub(super) fn leave(&self, spot: &Arc<Spot>) {
        let mut state = self.state();
        state.spots.retain(|other| !Arc::ptr_eq(other, spot));
        if state.spots.is_empty() {
            self.left.send_replace(true);
        }
        drop(state);
        self.nudge();
    }

    /// A reader is somewhere else, or wants another window.
    pub(super) fn moved(&self, spot: &Spot, position: u64, window: Option<u64>) {
        let before = spot.position.swap(position, Ordering::AcqRel);
        let widened = window.is_some_and(|window| spot.window.swap(window, Ordering::AcqRel) != window);
        let layout = self.state().version.map(|(_, layout)| layout);
        let same_piece = layout.is_some_and(|layout| layout.piece_at(before) == layout.piece_at(position));
        if widened || !same_piece {
            self.nudge();
        }
    }

    /// Whether somebody waits for bytes at its position.
    pub(super) fn set_waiting(&self, spot: &Spot, waits: bool) {
        if spot.waits.swap(waits, Ordering::AcqRel) != waits && waits {
            self.nudge();
        }
    }

    /// The version, once it is known.
    pub(super) fn version(&self) -> Result<Option<(Digest, Layout)>, Error> {
        let state = self.state();
        match &state.failed {
            Some(error) => Err(error.clone()),
            None => Ok(state.version),
        }
    }

    /// Copies verified bytes from `offset` on, which is within the file. Blocks on the disk.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<Found, Error> {
        let store = {
            let state = self.state();
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            state.store.clone()
        };
        let Some(store) = store else { return Ok(Found::Nothing) };
        let length = store
            .read_at(offset, buffer)
            .map_err(|error| Error::io(format!("cannot read what was received of {}", self.path), &error))?;
        if length == 0 {
            return Ok(Found::Nothing);
        }
        // Somebody may have written to a file that is complete; then these are not the bytes that were verified.
        if !store.is_offerable() {
            let text =
                format!("the local copy of {} was changed by somebody else while it was read", self.path);
            return Err(Error::new(ErrorKind::Changed, text));
        }
        Ok(Found::Bytes(length))
    }

    /// The bytes in a row from `offset` on that can be read now.
    pub(super) fn available(&self, offset: u64) -> u64 {
        let state = self.state();
        let (Some(store), Some((_, layout))) = (&state.store, &state.version) else { return 0 };
        let first = layout.piece_at(offset);
        let have = store.pieces();
        let row = (first..layout.count()).take_while(|&piece| have.contains(piece)).count() as u32;
        layout.start(first + row).min(layout.size()).saturating_sub(offset)
    }

    /// Tells when there is something to look at.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    // ------------------------------------------------------------------------------------ for those who fetch

    /// Where the readers are now.
    pub(super) fn views(&self) -> Vec<View> {
        let of = |spot: &Arc<Spot>| View {
            position: spot.position.load(Ordering::Acquire),
            window: spot.window.load(Ordering::Acquire),
            waits: spot.waits.load(Ordering::Acquire),
        };
        self.state().spots.iter().map(of).collect()
    }

    /// Pieces have come.
    pub(in crate::client) fn wake(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// From now on pieces come to this store.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if it is of another version than readers have seen.
    pub(in crate::client) fn attach(
        self: &Arc<Self>,
        held: &Arc<Held>,
        store: &Arc<PieceStore>,
    ) -> Result<(), Error> {
        {
            let mut state = self.state();
            let version = (held.root, held.layout);
            if *state.version.get_or_insert(version) != version {
                return Err(changed(&self.path));
            }
            state.held = Some(Arc::clone(held));
            state.store = Some(Arc::clone(store));
        }
        held.set_source(self);
        held.news.notify_one();
        self.wake();
        Ok(())
    }

    /// The same for a store that was made for the readers.
    pub(in crate::client) fn attach_own(
        self: &Arc<Self>,
        held: &Arc<Held>,
        store: &Arc<PieceStore>,
    ) -> Result<(), Error> {
        self.state().own = Some(Arc::clone(held));
        self.attach(held, store)
    }

    /// What is here of the same version from before, for a new store; only once.
    pub(in crate::client) fn take_rest(&self, root: Digest) -> Option<Arc<PieceStore>> {
        let mut state = self.state();
        let fits = state.version.is_some_and(|(version, _)| version == root);
        state.store.take().filter(|_| fits)
    }

    /// What is verified against.
    pub(in crate::client) fn hashes(&self) -> Option<Arc<PieceHashes>> {
        self.state().store.as_ref().map(|store| Arc::clone(store.hashes()))
    }

    /// Where readers are.
    pub(in crate::client) fn positions(&self) -> Vec<u64> {
        self.state().spots.iter().map(|spot| spot.position()).collect()
    }

    /// What the server says of it.
    pub(in crate::client) fn describe(&self, mime: Option<String>, mtime: Option<i64>) {
        self.state().described = (mime, mtime);
    }

    /// The same.
    pub(super) fn described(&self) -> (Option<String>, Option<i64>) {
        self.state().described.clone()
    }

    /// Whether readers have been told of a version.
    pub(in crate::client) fn is_begun(&self) -> bool {
        self.state().version.is_some()
    }

    /// The version that the readers demand.
    pub(in crate::client) fn expect_root(&self) -> Option<Digest> {
        self.terms.expect_root
    }

    /// Whether the last reader has gone.
    pub(in crate::client) fn is_left(&self) -> bool {
        *self.left.borrow()
    }

    /// Completes when the last reader has gone.
    async fn left(&self) {
        // The sender lives as long as `self`.
        let _ = self.left.subscribe().wait_for(|left| *left).await;
    }

    fn nudge(&self) {
        let held = self.state().held.clone();
        if let Some(held) = held {
            held.news.notify_one();
        }
    }

    fn fail(&self, error: Error) {
        {
            let mut state = self.state();
            state.failed.get_or_insert(error);
            (state.held, state.store) = (None, None);
        }
        self.wake();
    }

    // -------------------------------------------------------------------------------------------- its own life

    /// Sees to it that pieces come, until the last reader has gone or there is no use in going on.
    pub(super) async fn run(self: Arc<Self>, link: LinkUser) {
        let inner = Arc::clone(&link.inner);
        // Ends by itself when the readers or the client go: it has a last word to say to the server.
        let error = self.drive(&link).await;
        let own = self.state().own.take();
        self.fail(error);
        if let Some(held) = own
            && link.files.remove(&held)
        {
            link.unprovide(&held).await;
        }
        inner.transfer_ended().await;
    }

    async fn drive(self: &Arc<Self>, link: &LinkUser) -> Error {
        let inner = &link.inner;
        let over = || async {
            tokio::select! {
                () = self.left() => Error::new(ErrorKind::Cancelled, "nobody reads any more"),
                () = inner.closing() => Error::new(ErrorKind::State, "the client has been shut down"),
            }
        };
        let mut useless: Option<Arc<Held>> = None;
        loop {
            let mut changes = link.files.changes();
            let there = link.files.get(&self.path).filter(|held| {
                let is_known =
                    |other: &Option<Arc<Held>>| other.as_ref().is_some_and(|o| Arc::ptr_eq(o, held));
                !held.is_stopped() && !is_known(&useless) && !is_known(&self.state().held)
            });
            if let Some(held) = there {
                let admitted = tokio::select! {
                    biased;
                    error = over() => return error,
                    admitted = self.admit(link, &held) => admitted,
                };
                match admitted {
                    Err(error) => return error,
                    Ok(None) => useless = Some(held),
                    Ok(Some(store)) => {
                        if let Err(error) = self.attach(&held, &store) {
                            return error;
                        }
                        tokio::select! {
                            error = over() => return error,
                            () = held.stopped() => {}
                        }
                        if store.is_complete() {
                            self.state().held = None;
                            return over().await;
                        }
                        self.let_go(&store);
                    }
                }
                continue;
            }
            let ahead = download::ahead_of(link, self, &self.terms).await;
            let turn = match ahead {
                Some(_) => None,
                None => tokio::select! {
                    biased;
                    error = over() => return error,
                    turn = link.files.turn_of_reader(&self.path) => Some(turn),
                    _ = changes.changed() => continue,
                },
            };
            let job = self.job(link);
            let ended = {
                let (job, own) = (Arc::clone(&job), download::for_readers(&job, self, ahead, turn));
                tokio::pin!(own);
                tokio::select! {
                    ended = &mut own => ended,
                    error = over() => {
                        job.shared.cancel(false);
                        own.await.err();
                        Err(error)
                    }
                }
            };
            match ended {
                // Somebody downloads it: what is here stays until he has taken it over.
                Ok(()) => {}
                Err(error) => return error,
            }
        }
    }

    fn job(&self, link: &LinkUser) -> Arc<Job> {
        let inner = Arc::clone(&link.inner);
        Arc::new(Job {
            demand: Demand::new(self.terms.policy, self.terms.keys.clone(), &self.path, false),
            link: link.clone(),
            shared: Arc::new(Shared::new(
                inner.next_id(),
                0,
                self.path.clone(),
                inner.down.clone(),
                Priority::Normal,
            )),
            inner,
            preallocate: false,
            overwrite: Overwrite::Resume,
            is_single: false,
            mirror: None,
        })
    }

    /// Whether what somebody else has of the file will do; then its store.
    async fn admit(&self, link: &LinkUser, held: &Arc<Held>) -> Result<Option<Arc<PieceStore>>, Error> {
        if self.state().version.is_some_and(|version| version != (held.root, held.layout)) {
            return Ok(None);
        }
        let is_pinned = self.terms.expect_root.is_some();
        if self.terms.expect_root.is_some_and(|root| root != held.root) {
            return Ok(None);
        }
        if !download::admits(&self.job(link), self, held, is_pinned).await? {
            return Ok(None);
        }
        let (link, held) = (link.clone(), Arc::clone(held));
        blocking(move || link.files.open_store(&held)).await
    }

    /// The download that was followed has ended before its end. Its store is left to it, unless nobody else can want it.
    fn let_go(&self, store: &PieceStore) {
        let mut state = self.state();
        state.held = None;
        if !store.is_anonymous() {
            state.store = None;
        }
    }
}

/// The version that was begun with is no more.
pub(in crate::client) fn changed(path: &UrlPath) -> Error {
    Error::new(ErrorKind::Changed, format!("{path} was changed on the server while it was being read"))
}

impl Spot {
    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub(super) fn window(&self) -> u64 {
        self.window.load(Ordering::Acquire)
    }
}
