//! Asking ahead: a file of which nothing is here yet is requested in the same flight as the question what it is, and a
//! GET that waits at the origin brings its first bytes together with the answer (docs/protocol.md, section 8).
//!
//! A new client would otherwise need three round trips more before the first byte than a browser does. Transfers that
//! the server arranges before the file's store is open wait in [`Files`](super::files::Files).
//!
//! Not responsible for what is here (see [`super::store`]), nor for what is requested later ([`super::download`]).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

use super::download::blocking;
use super::exchange::{self, wire_host};
use super::files::Held;
use super::progress::Numbers;
use super::reader::Source;
use super::session::{Conn, LinkUser};
use super::store::is_anything_here;
use super::{Error, Overwrite, Request, Target, names};
use crate::peer::ReceiveError;
use crate::peer::connect::{Begun, Errand};
use crate::wire::{self, ByteRange, Digest, Order, UrlPath};

/// What was asked for before it was known what it is. Takes the request back when dropped without being
/// [handed over](Ahead::hand_over).
pub(super) struct Ahead {
    link: LinkUser,
    path: UrlPath,
    /// The request, but for the early GET.
    request: wire::Request,
    /// Nobody else downloads the path meanwhile.
    pub(super) turn: Option<OwnedMutexGuard<()>>,
    early: Option<Early>,
    /// On which it was requested.
    conn: Option<Arc<Conn>>,
}

/// Whether a download to `target` would find nothing to begin with.
pub(super) async fn is_nothing_here(target: PathBuf) -> bool {
    blocking(move || is_anything_here(&target)).await == Ok(false)
}

/// What a connection has been asked for already.
pub(super) struct Already {
    pub(super) conn: Arc<Conn>,
    /// Bytes from the beginning on.
    pub(super) bytes: u64,
}

/// A download that may begin with nothing here.
pub(super) struct Plan {
    path: UrlPath,
    expect_root: Option<Digest>,
    is_stream: bool,
    /// How fast a stream will be read, bytes a second, if that is known.
    pace: Option<u64>,
    /// Where to look for what is here, if that matters.
    look_at: Option<PathBuf>,
}

impl Plan {
    /// `None` where it is better to ask first.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let Request { path, target, overwrite, recursive, expect_root, tuning, .. } = request;
        if path.is_root() || *recursive || tuning.range.is_some() {
            return None;
        }
        let target_path = match target {
            Target::File(name) => Some(name.clone()),
            Target::Dir(dir) => Some(dir.join(names::local_name(&path.file_name()).ok()?)),
            Target::Stream(_) => None,
        };
        Some(Self {
            path: path.clone(),
            expect_root: *expect_root,
            is_stream: target_path.is_none(),
            pace: Some(tuning.pace).filter(|pace| *pace > 0),
            look_at: target_path.filter(|_| *overwrite != Overwrite::Replace),
        })
    }

    /// For readers, of whom nothing is here.
    pub(super) fn of_readers(source: &Source, expect_root: Option<Digest>) -> Option<Self> {
        let path = source.path.clone();
        (!path.is_root() && source.first_window > 0).then_some(Self {
            path,
            expect_root,
            is_stream: true,
            pace: None,
            look_at: None,
        })
    }
}

impl Ahead {
    /// `None` where something of the file is here already. A stream is requested up to `window`.
    pub(super) async fn start(link: &LinkUser, plan: Plan, window: u64) -> Option<Self> {
        let Plan { path, expect_root, is_stream, pace, look_at } = plan;
        if let Some(target) = look_at
            && !is_nothing_here(target).await
        {
            return None;
        }
        let turn = link.files.try_turn(&path)?;
        if !link.files.expect(&path) {
            return None;
        }
        let mut request =
            wire::Request { url: link.url(&path), root: expect_root, ..wire::Request::default() };
        if is_stream {
            request.range = Some(ByteRange::new(0, window - 1));
            request.order = Some(Order::Sequential);
            request.position = Some(0);
            request.window = Some(window);
            request.pace = pace;
        }
        let early = Early::start(link, &path);
        Some(Self { link: link.clone(), path, request, turn: Some(turn), early, conn: None })
    }

    /// Asks what it is, and requests it.
    pub(super) async fn ask(&mut self, numbers: Arc<Numbers>) -> Result<wire::TellInfo, Error> {
        let Self { request, early, .. } = &*self;
        // What is read by a root alone begins with all hashes (`download::file`).
        let in_parts = request.root.is_none() || request.position.is_none();
        let asking = self.link.ask_info_and_request(&self.path, numbers, request, early.as_ref(), in_parts);
        let (info, conn) = asking.await?;
        self.conn = Some(conn);
        Ok(info)
    }

    /// The file is known, and held: what was arranged for it meanwhile begins. `None` if it must be requested again.
    pub(super) fn hand_over(mut self, held: &Arc<Held>) -> Option<Already> {
        let conn = self.conn.take();
        held.wait_early(self.early.take());
        let expected = self.link.files.no_longer_expect(&self.path);
        // The file may have been replaced between the question and the request.
        let is_other = |transfer: &wire::Transfer| transfer.root.is_some_and(|root| root != held.root);
        let is_good =
            !expected.is_refused && !expected.transfers.iter().any(|(_, transfer)| is_other(transfer));
        if let Some(reason) = expected.waiting {
            held.numbers().waiting(Some(reason));
        }
        for (conn, transfer) in expected.transfers {
            exchange::accept(&self.link, &conn, transfer);
        }
        let bytes = self.request.range.and_then(|range| range.max).map_or(u64::MAX, |max| max + 1);
        conn.filter(|_| is_good).map(|conn| Already { conn, bytes })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let expected = self.link.files.no_longer_expect(&self.path);
        for (conn, transfer) in expected.transfers {
            // Without a file that is held or expected, this refuses it.
            exchange::accept(&self.link, &conn, transfer);
        }
        if let Some(conn) = self.conn.take() {
            let unrequest = wire::Unrequest { url: self.link.url(&self.path), range: None, root: None };
            conn.send_at_once(&self.link.inner.handle, unrequest.into());
        }
    }
}

/// A GET on its way to the origin, which names no bytes: it is answered with what the server has the origin send first.
#[derive(Debug)]
pub(super) struct Early {
    /// What the request on the control connection names it by.
    pub(super) name: String,
    /// Where it was sent, once that is clear.
    aim: watch::Receiver<Option<SocketAddr>>,
    begun: JoinHandle<Result<Begun, ReceiveError>>,
}

impl Early {
    /// `None` without randomness, and with servers that know nothing of it.
    fn start(link: &LinkUser, path: &UrlPath) -> Option<Self> {
        if link.is_in_lines() {
            return None;
        }
        let mut name = [0; 16];
        getrandom::fill(&mut name).ok()?;
        let name = format!("{:032x}", u128::from_ne_bytes(name));
        let (aimed, aim) = watch::channel(None);
        let (link, path, said) = (Arc::clone(link), path.clone(), name.clone());
        let begun = link.inner.handle.clone().spawn(async move {
            let peer = link.address().await;
            aimed.send_replace(Some(peer));
            let errand = Errand {
                peer,
                host: wire_host(&link.host),
                path,
                root: None,
                bytes: 0..0,
                size: 0,
                own_id: link.client_id.clone(),
                transfer: None,
                token: None,
                proof: None,
                reason: None,
                wait: None,
            };
            link.inner.pool.begin(&errand, &said).await
        });
        Some(Self { name, aim, begun })
    }

    /// Whether it goes to that address.
    pub(super) async fn aims_at(&self, server: SocketAddr) -> bool {
        // Clear as soon as a connection to the server is there.
        self.aim.clone().wait_for(Option::is_some).await.is_ok_and(|aim| *aim == Some(server))
    }

    /// The connection on which the answer will come; `None` if it could not be sent.
    pub(super) async fn begun(mut self) -> Option<Begun> {
        (&mut self.begun).await.ok()?.ok()
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.begun.abort();
    }
}
