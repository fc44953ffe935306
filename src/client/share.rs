//! A local file offered to others as one that the server has: verified against the server's version first, never copied,
//! and offered until its owner lets it go.
//!
//! What a download leaves is offered by itself ([`super::download`]), within the bounds of [`super::cache`].

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::download::{self, Job, Stop, blocking};
use super::event::EventBody;
use super::files::{Held, Owner};
use super::inner::{Inner, Runtime};
use super::session::LinkUser;
use super::transfer::Shared;
use super::verify::Demand;
use super::{Error, ErrorKind, Overwrite, PieceStore, Priority, Seeding, StoreError, hashes};
use crate::content::trust::Policy;
use crate::wire::{self, Digest, EntryKind, UrlPath};

/// Files that one client shares at once: each keeps its file open.
const MAX_SHARES: usize = 1024;
/// How often a file that changes on the server while it is looked at is looked at again.
const MAX_RESTARTS: u32 = 5;

/// How a share stands.
#[derive(Debug, Clone, PartialEq)]
pub enum ShareState {
    /// The server is asked, and the local file is verified.
    Checking,
    /// Others may have it.
    Offered,
    /// It is not, or no longer, what the server has, or something else came between. Nothing more happens.
    Failed(Error),
    /// Let go.
    Ended,
}

/// A local file that is offered to others; no longer when the last clone is dropped.
#[derive(Clone)]
pub struct Share {
    inner: Arc<ShareInner>,
}

struct ShareInner {
    offer: Arc<Offer>,
    /// Keeps the threads that do the work.
    _runtime: Arc<Runtime>,
}

impl Drop for ShareInner {
    fn drop(&mut self) {
        self.offer.shared.cancel(true);
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Share").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Share {
    /// Number of this share in events; never used again.
    pub fn id(&self) -> u64 {
        self.inner.offer.shared.id
    }

    /// How it stands.
    pub fn state(&self) -> ShareState {
        self.inner.offer.state.borrow().clone()
    }

    pub(super) fn start(
        runtime: &Arc<Runtime>,
        link: LinkUser,
        path: UrlPath,
        expect_root: Option<Digest>,
        local: PathBuf,
        user_data: usize,
    ) -> Result<Self, Error> {
        let inner = Arc::clone(&runtime.inner);
        inner.check_open()?;
        if inner.seeding() == Seeding::Off {
            let text = "nothing is given to others: the option seeding is off";
            return Err(Error::new(ErrorKind::State, text));
        }
        let place = inner
            .shares
            .try_enter()
            .ok_or_else(|| Error::new(ErrorKind::Limit, format!("{MAX_SHARES} files are shared already")))?;
        let shared = Shared::new(inner.next_id(), user_data, path, inner.down.clone(), Priority::Normal);
        let state = watch::Sender::new(ShareState::Checking);
        let offer = Arc::new(Offer { shared: Arc::new(shared), local, expect_root, state });
        let running = Running { offer: Arc::clone(&offer), inner: Arc::clone(&inner) };
        inner.handle.spawn(async move {
            let _place = place;
            running.offer.run(&link).await;
        });
        Ok(Self { inner: Arc::new(ShareInner { offer, _runtime: Arc::clone(runtime) }) })
    }
}

/// How many there are.
#[derive(Debug, Default)]
pub(super) struct Shares(Arc<()>);

/// A place among them, as long as it lives.
#[derive(Debug)]
pub(super) struct Place(#[allow(dead_code, reason = "it counts")] Arc<()>);

impl Shares {
    fn try_enter(&self) -> Option<Place> {
        (self.count() < MAX_SHARES).then(|| Place(Arc::clone(&self.0)))
    }

    pub(super) fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// The job of an offer. It may be dropped before it sees that the client is closing: it has ended then all the same.
struct Running {
    offer: Arc<Offer>,
    inner: Arc<Inner>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let is_under_way = matches!(*self.offer.state.borrow(), ShareState::Checking | ShareState::Offered);
        if is_under_way {
            self.offer.enter(&self.inner, ShareState::Ended);
        }
    }
}

struct Offer {
    /// Path, number, user data, and whether its owner still wants it.
    shared: Arc<Shared>,
    local: PathBuf,
    expect_root: Option<Digest>,
    state: watch::Sender<ShareState>,
}

impl Offer {
    async fn run(&self, link: &LinkUser) {
        let inner = &link.inner;
        let end = loop {
            self.enter(inner, ShareState::Checking);
            let offered = tokio::select! {
                offered = self.offer(link) => offered,
                () = inner.closing() => break ShareState::Ended,
            };
            let held = match offered {
                Ok(held) => held,
                // What fails because the client is ending has not failed.
                Err(_) if self.shared.is_cancelled() || inner.is_closing() => break ShareState::Ended,
                Err(error) => break ShareState::Failed(error),
            };
            self.enter(inner, ShareState::Offered);
            tokio::select! {
                // Taken out: for another version, or for a download of the same file.
                () = held.stopped() => {}
                _ = self.shared.cancelled() => {
                    link.files.remove(&held);
                    link.unprovide(&held).await;
                    break ShareState::Ended;
                }
                () = inner.closing() => break ShareState::Ended,
            }
            if inner.seeding() == Seeding::Off {
                let text = format!("{} is no longer given: seeding was turned off", self.shared.path);
                break ShareState::Failed(Error::new(ErrorKind::State, text));
            }
        };
        self.enter(inner, end);
    }

    fn enter(&self, inner: &Inner, state: ShareState) {
        match &state {
            ShareState::Failed(error) => {
                tracing::warn!(share = self.shared.id, path = %self.shared.path, %error, "not shared");
            }
            ShareState::Offered => tracing::info!(share = self.shared.id, path = %self.shared.path, "shared"),
            _ => {}
        }
        self.state.send_replace(state.clone());
        inner.queue.push(self.shared.user_data, EventBody::Share { share: self.shared.id, state });
    }

    /// Verifies the file, and offers it.
    async fn offer(&self, link: &LinkUser) -> Result<Arc<Held>, Error> {
        let (shared, path) = (&self.shared, &self.shared.path);
        let _turn = shared.unless_cancelled(link.files.turn(path)).await?;
        let job =
            Job::quiet(link, shared, Demand::new(Policy::Off, Vec::new(), path, false), Overwrite::Never);
        for _ in 0..=MAX_RESTARTS {
            let info = shared.unless_cancelled(link.ask_info(path, None)).await??;
            if info.kind == Some(EntryKind::Dir) {
                let text = format!("{path} is a directory; files are shared one by one");
                return Err(Error::new(ErrorKind::Argument, text));
            }
            let (version, _) = download::version_of(link, path, &info)?;
            let Some(root) = version.root else {
                let text = format!("{path}: the server does not tell what its content is");
                return Err(Error::new(ErrorKind::Unsupported, text));
            };
            if let Some(wanted) = self.expect_root.filter(|wanted| *wanted != root) {
                let text = format!("{path}: the server has version {root}, not {wanted}");
                return Err(Error::new(ErrorKind::Changed, text));
            }
            self.has_size(version.layout.size()).await?;
            let hashes = match hashes::begin(&job, path, &version, None, false).await {
                Ok(hashes) => hashes,
                Err(Stop::Stale | Stop::Yielded) => continue,
                Err(Stop::Failed(error)) => return Err(error),
            };
            let (local, uri, stop) = (self.local.clone(), link.uri(path), Arc::clone(shared));
            let opened = blocking(move || {
                PieceStore::open_complete(&local, &uri, hashes, &mut |_, _| {
                    if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
            });
            let store = opened.await?.map_err(|error| download::store_error(&error))?;
            let held = Arc::new(Held::new(
                path.clone(),
                link.url(path),
                Arc::new(store),
                Owner::default(),
                Arc::clone(&shared.numbers),
                shared.down.clone(),
            ));
            link.files.insert_kept(&held);
            if let Some(conn) = link.conn_now() {
                let provide = wire::Provide { url: held.url.clone(), range: None, root: Some(root) };
                // It is said again on the next connection.
                let _ = conn.send(provide).await;
            }
            return Ok(held);
        }
        Err(Error::new(ErrorKind::Changed, format!("{path} keeps changing on the server; try again later")))
    }

    /// Looked at first: of another size it is another file, and need not be read.
    async fn has_size(&self, size: u64) -> Result<(), Error> {
        let local = self.local.clone();
        let found = blocking(move || std::fs::metadata(&local).map(|found| found.len())).await?;
        let found =
            found.map_err(|error| Error::io(format!("cannot look at {}", self.local.display()), &error))?;
        if found == size { Ok(()) } else { Err(download::store_error(&differs(&self.local))) }
    }
}

fn differs(local: &Path) -> StoreError {
    StoreError::Differs(local.to_owned())
}
