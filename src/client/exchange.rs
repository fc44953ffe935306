//! One exchange of a run of pieces with somebody else, as the server has arranged it.
//!
//! This side dials ([`accept`]) or has been dialled ([`take_from`], for what others bring). Either way the pieces
//! go to the store that holds the file, the numbers to the transfer it is for, and the news to the server: pieces
//! as they come, and how it ended. An exchange outlives the control connection over which it was arranged; then the
//! next connection is told what came of it in other words, because that server does not know its number.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use super::ahead::Early;
use super::event::{EventBody, EventMask};
use super::files::{Belongs, Held, Owner, Upset};
use super::old::{self, Old};
use super::progress::Source;
use super::session::{Conn, Link};
use super::{Error, PeerTransfer, hashes};
use crate::content::PieceSet;
use crate::peer::connect::{Begun, Errand};
use crate::peer::{ReceiveError, Received};
use crate::wire::{self, ByteRange, Digest, FailureKind, TransferMethod};

/// Exchanges of one link under way or waiting in line. The server plans a few for each peer; many more are a mistake.
const MAX_QUEUED: usize = 1024;
/// Least time between two `progress` messages of one exchange, after the first.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);
/// The most that a server can ask for: it would take who says nothing for longer to be gone.
const LONGEST_PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// Pieces that are judged together come one right after the other. Where nobody waits for them, they are told together as well.
const TOGETHER: Duration = Duration::from_millis(25);
/// Most pieces in one `progress`: fits a frame whatever their numbers.
const MAX_PROGRESS_PIECES: usize = 4096;
/// How long an exchange that was called off waits for what is being stored: a disk may have stopped answering.
const STORING_GRACE: Duration = Duration::from_secs(2);

/// What an exchange is about.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) link: Arc<Link>,
    /// The connection whose server knows it by `id`; `None` when that is gone already.
    pub(super) conn: Option<Arc<Conn>>,
    /// The server's number; version 2 has none.
    pub(super) id: Option<u64>,
    pub(super) held: Arc<Held>,
    pub(super) pieces: Range<u32>,
    pub(super) peer_id: String,
    /// Its address.
    pub(super) peer: IpAddr,
    pub(super) source: Source,
    pub(super) received: bool,
    pub(super) reason: Option<wire::Reason>,
    /// Time between two `progress` messages, and before the first, where the server wants few.
    pub(super) progress: Option<Duration>,
    /// Version 2: the server was told the hash of what came, which is its `completed`.
    pub(super) is_told: AtomicBool,
}

impl Exchange {
    pub(super) fn range(&self) -> ByteRange {
        let bytes = self.held.layout.bytes_of_run(self.pieces.clone());
        ByteRange::new(bytes.start, bytes.end.saturating_sub(1))
    }

    /// The connection, if the server at its end still knows this exchange.
    fn known_on(&self) -> Option<&Arc<Conn>> {
        self.conn.as_ref().filter(|conn| !conn.is_closed())
    }

    /// Tells the server of pieces that are here now.
    async fn report_pieces(&self, pieces: &[u32]) {
        if let (Some(conn), Some(id)) = (self.known_on(), self.id) {
            for some in pieces.chunks(MAX_PROGRESS_PIECES) {
                let pieces = some.iter().map(|&piece| u64::from(piece)).collect();
                let _ = conn.send(wire::Progress { id, pieces }).await;
            }
        } else if let Some(conn) = self.link.conn_now() {
            let mut set = PieceSet::new(self.held.layout.count());
            for &piece in pieces {
                set.insert(piece);
            }
            for run in set.runs() {
                let bytes = self.held.layout.bytes_of_run(run);
                let range = Some(ByteRange::new(bytes.start, bytes.end - 1));
                let (url, root) = (self.held.url.clone(), Some(self.held.root));
                // Should the connection go, the job says it on the next.
                let _ = if self.link.gives() {
                    conn.send(wire::Provide { url, range, root }).await
                } else {
                    conn.send(wire::Unrequest { url, range, root }).await
                };
            }
        }
    }

    /// Tells a server of version 2 the hash of what came: the end, as far as that server is concerned.
    pub(super) async fn report_hash(&self, conn: &Conn, digest: Digest) {
        self.is_told.store(true, Ordering::Relaxed);
        let completed = wire::Completed {
            url: self.held.url.clone(),
            range: self.range(),
            peer_id: self.peer_id.clone(),
            peer: Some(self.peer.to_string()),
            hash: Some(digest.to_string()),
            ..wire::Completed::default()
        };
        let _ = conn.send(completed).await;
    }

    /// Tells the server and the application how it ended.
    pub(super) async fn report_end(&self, bytes: u64, elapsed: Duration, error: Option<FailureKind>) {
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let inner = &self.link.inner;
        if let Some(conn) = self.known_on()
            && !self.is_told.load(Ordering::Relaxed)
        {
            let end =
                wire::Completed { bytes: Some(bytes), ms: Some(ms), error, ..wire::Completed::default() };
            let _ = match self.id {
                // What a giver says when all went well nobody waits for: it goes with what is said next.
                Some(_) if !self.received && error.is_none() => {
                    conn.send_later(wire::Completed { id: self.id, ..end }).await
                }
                Some(_) => conn.send(wire::Completed { id: self.id, ..end }).await,
                None => {
                    let peer = Some(self.peer.to_string());
                    let (url, range) = (self.held.url.clone(), self.range());
                    conn.send(wire::Completed { url, range, peer_id: self.peer_id.clone(), peer, ..end })
                        .await
                }
            };
        }
        if inner.queue.mask().contains(EventMask::PEER) {
            let owner = if self.received { self.held.owner() } else { Owner::default() };
            let exchange = PeerTransfer {
                id: self.id.unwrap_or_default(),
                peer_id: self.peer_id.clone(),
                is_origin: self.source == Source::Origin,
                received: self.received,
                path: self.held.path.clone(),
                pieces: (self.pieces.start, self.pieces.end - self.pieces.start),
                bytes,
                ms,
                reason: self.reason,
                error,
            };
            let transfer = owner.transfer;
            inner.queue.push(owner.user_data, EventBody::Peer { transfer, exchange: Box::new(exchange) });
        }
    }
}

/// Takes pieces in. `receive` does the receiving; it is given what to call for each piece that is verified, and
/// dropping it ends it. Ends early when the file's job ends, or `called_off` is told; says how it ended to the
/// server, and gives it back.
pub(super) async fn take_from<F>(
    exchange: &Exchange,
    called_off: &Notify,
    receive: impl FnOnce(mpsc::UnboundedSender<u32>) -> F,
) -> Result<Received, ReceiveError>
where
    F: Future<Output = Result<Received, ReceiveError>>,
{
    let held = &exchange.held;
    let _seat = held.seat();
    let started = Instant::now();
    // Bounded by the number of pieces in the run.
    let (verified, mut came) = mpsc::unbounded_channel();
    let mut taking = Taking { exchange, reported: PieceSet::new(held.layout.count()), batch: Vec::new() };
    let _giver = Giver::join(exchange);
    let result = {
        let receiving = receive(verified);
        tokio::pin!(receiving);
        // The first piece is told at once, since somebody may be waiting for it, unless the server knows better.
        let interval = exchange.progress.unwrap_or(PROGRESS_INTERVAL);
        let mut next_report = started + exchange.progress.unwrap_or_default();
        let mut wanted = held.wanted();
        loop {
            tokio::select! {
                result = &mut receiving => break result,
                Some(piece) = came.recv() => {
                    let is_first = !taking.has_news();
                    taking.credit(piece);
                    if is_first && exchange.progress.is_some() {
                        next_report = next_report.max(Instant::now() + TOGETHER);
                    }
                }
                () = tokio::time::sleep_until(next_report.into()), if taking.has_news() => {}
                () = held.stopped() => break Err(cancelled(started)),
                () = called_off.notified() => break Err(cancelled(started)),
                // The sender lives as long as `held`.
                _ = wanted.changed() => {
                    if taking.is_given_up(wanted.borrow_and_update().as_deref()) {
                        break Err(cancelled(started));
                    }
                }
            }
            if taking.has_news() && Instant::now() >= next_report {
                taking.report().await;
                next_report = Instant::now() + interval;
            }
        }
    };
    // What is being stored at this moment is told when it is.
    let stored = async {
        while let Some(piece) = came.recv().await {
            taking.credit(piece);
        }
    };
    if tokio::time::timeout(STORING_GRACE, stored).await.is_err() {
        tracing::warn!(path = %held.path, "the disk takes its time");
    }
    drop(came);
    taking.find_unreported();
    let (received, error) = match &result {
        // A piece that another exchange had in hand was passed over. Should that one have failed, saying that all went
        // well would make the server believe in a piece that is not here, and never send it again.
        Ok(received) => (received, taking.lacks_some().then_some(FailureKind::Cancelled)),
        Err(error) => (&error.received, Some(error.kind)),
    };
    if error == Some(FailureKind::Hash) {
        held.questions.take_no_roots();
    }
    let good = taking.good_bytes();
    let wasted = received.bytes.saturating_sub(good);
    held.numbers().wasted(wasted);
    exchange.link.inner.totals.wasted.fetch_add(wasted, Ordering::Relaxed);
    if error.is_some() || exchange.known_on().is_none() {
        taking.report().await;
    }
    if let Err(ReceiveError { kind: FailureKind::Disk, message, disk, .. }) = &result {
        let error = match disk {
            Some(cause) => Error::io(format!("cannot store {}", held.path), cause),
            None => Error::new(super::ErrorKind::Io, message.clone()),
        };
        held.upset(Upset::Failed(error));
    }
    let (bytes, elapsed) = if received.bytes > 0 || error.is_none() {
        (received.bytes, received.elapsed)
    } else {
        (good, started.elapsed())
    };
    // Pieces may have come in without a word of their own, when it was called off.
    held.news.notify_one();
    exchange.report_end(bytes, elapsed, error).await;
    result
}

fn cancelled(started: Instant) -> ReceiveError {
    ReceiveError {
        kind: FailureKind::Cancelled,
        message: "called off".to_owned(),
        received: Received { elapsed: started.elapsed(), ..Received::default() },
        disk: None,
    }
}

/// Pieces of an exchange on their way into the books.
struct Taking<'a> {
    exchange: &'a Exchange,
    reported: PieceSet,
    /// Verified and not yet told to the server.
    batch: Vec<u32>,
}

impl Taking<'_> {
    fn credit(&mut self, piece: u32) {
        if self.reported.insert(piece) {
            let bytes = self.exchange.held.credit(piece, self.exchange.source);
            self.exchange.link.inner.totals.received(bytes, self.exchange.source);
            self.batch.push(piece);
        }
    }

    /// Whether something is to be told before the end. Once all of the run is here, `completed` comes at once and says all.
    fn has_news(&self) -> bool {
        let lacks_some = (self.reported.count() as usize) < self.exchange.pieces.len();
        !self.batch.is_empty() && (lacks_some || self.exchange.known_on().is_none())
    }

    async fn report(&mut self) {
        // Of a file given up the server is told that nothing is here, and must not hear otherwise afterwards.
        if !self.batch.is_empty() && !self.exchange.held.is_stopped() {
            self.exchange.report_pieces(&self.batch).await;
        }
        self.batch.clear();
    }

    /// A server that does not know what is here would send it again: whatever of the run is in the store is told,
    /// whoever brought it.
    fn find_unreported(&mut self) {
        let Some(store) = self.exchange.held.store() else { return };
        let here = self.exchange.pieces.clone().filter(|&piece| store.has(piece));
        let missed: Vec<u32> = here.filter(|&piece| !self.reported.contains(piece)).collect();
        self.batch.extend(missed);
    }

    /// Whether pieces of the run are not in the store.
    fn lacks_some(&self) -> bool {
        let store = self.exchange.held.store();
        store.is_some_and(|store| !self.exchange.pieces.clone().all(|piece| store.has(piece)))
    }

    /// Whether nothing that is still to come is among the pieces that are `wanted`. A server of version 2 would take it for
    /// a failure.
    fn is_given_up(&self, wanted: Option<&[Range<u32>]>) -> bool {
        let (Some(wanted), Some(_), Some(store)) = (wanted, self.exchange.id, self.exchange.held.store())
        else {
            return false;
        };
        let mut missing = self.exchange.pieces.clone().filter(|&piece| !store.has(piece)).peekable();
        missing.peek().is_some() && !missing.any(|piece| wanted.iter().any(|run| run.contains(&piece)))
    }

    fn good_bytes(&self) -> u64 {
        let layout = &self.exchange.held.layout;
        self.reported.iter().map(|piece| layout.bytes_of(piece)).map(|bytes| bytes.end - bytes.start).sum()
    }
}

/// Counts among the givers of a transfer for as long as it lives.
struct Giver<'a>(&'a Exchange);

impl<'a> Giver<'a> {
    fn join(exchange: &'a Exchange) -> Self {
        exchange.held.numbers().giver_joined();
        exchange.link.inner.totals.exchanges.fetch_add(1, Ordering::Relaxed);
        Self(exchange)
    }
}

impl Drop for Giver<'_> {
    fn drop(&mut self) {
        self.0.held.numbers().giver_left();
        self.0.link.inner.totals.exchanges.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A `transfer` message: this side is to dial.
pub(super) fn accept(link: &Arc<Link>, conn: &Arc<Conn>, transfer: wire::Transfer) {
    let belongs = wire::path_of_url(&transfer.url).map(|path| link.files.place(&path, conn, &transfer));
    let held = match belongs {
        Ok(Belongs::To(held)) => Some(held).filter(|held| transfer.root.is_none_or(|root| root == held.root)),
        Ok(Belongs::Soon) => return,
        Ok(Belongs::Nowhere) | Err(_) => None,
    };
    let known = link.exchanges().len();
    let id = transfer.id;
    let refuse = |kind| {
        tracing::debug!(?id, ?kind, url = transfer.url, "transfer not taken");
        let end =
            wire::Completed { bytes: Some(0), ms: Some(0), error: Some(kind), ..wire::Completed::default() };
        let peer_id = transfer.peer_id.clone();
        let completed = match id {
            Some(_) => wire::Completed { id, ..end },
            None => {
                let (url, range, peer_id) = (transfer.url.clone(), transfer.range, peer_id.clone());
                wire::Completed { url, range, peer_id, ..end }
            }
        };
        let conn = Arc::clone(conn);
        // A server of version 2 has a few under way at a time. One that has more does not care what becomes of them.
        let place = conn.old().map(Old::place);
        if place.as_ref().is_some_and(Option::is_none) {
            return;
        }
        tokio::spawn(async move {
            let _place = place;
            old::pause(&conn, &peer_id, kind).await;
            let _ = conn.send(completed).await;
        });
    };
    let Some(held) = held else {
        return refuse(match transfer.method {
            TransferMethod::Get => FailureKind::Cancelled,
            TransferMethod::Put => FailureKind::Gone,
        });
    };
    // Version 3 servers number their transfers; without a number it could neither be called off nor reported.
    let place = conn.old().map(Old::place);
    if place.is_some() == id.is_some() || place.as_ref().is_some_and(Option::is_none) {
        return refuse(FailureKind::Refused);
    }
    if known >= MAX_QUEUED {
        return refuse(FailureKind::Refused);
    }
    let bytes = transfer.range.within(held.layout.size());
    let pieces = bytes.clone().map(|bytes| held.layout.touched(bytes)).filter(|pieces| !pieces.is_empty());
    let Some(pieces) = pieces else { return refuse(FailureKind::Refused) };
    if bytes != Some(held.layout.bytes_of_run(pieces.clone())) {
        return refuse(FailureKind::Refused);
    }
    // Of version 2 nobody takes what is brought (DistribuStream 0.1.0 calls it a failure), and a piece is judged as a
    // whole.
    if conn.old().is_some() && (transfer.method == TransferMethod::Put || pieces.len() != 1) {
        return refuse(FailureKind::Refused);
    }
    let source = if conn.is_origin(&transfer.peer_id) { Source::Origin } else { Source::Peer };
    let peer = match source {
        // The origin is where the server is, whatever either of them believes its address to be.
        Source::Origin => Some(conn.server),
        Source::Peer => transfer.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, transfer.port)),
    };
    let Some(peer) = peer else { return refuse(FailureKind::Unreachable) };
    // A server that gives by itself, but does not say so.
    let source = if peer == conn.server { Source::Origin } else { source };
    let exchange = Exchange {
        link: Arc::clone(link),
        conn: Some(Arc::clone(conn)),
        id,
        held,
        pieces,
        peer_id: transfer.peer_id,
        peer: peer.ip().to_canonical(),
        source,
        received: transfer.method == TransferMethod::Get,
        reason: transfer.reason,
        progress: transfer
            .progress_ms
            .map(|ms| Duration::from_millis(ms).clamp(PROGRESS_INTERVAL, LONGEST_PROGRESS_INTERVAL)),
        is_told: AtomicBool::new(false),
    };
    let errand = Errand {
        peer,
        host: wire_host(&link.host),
        path: exchange.held.path.clone(),
        // Only who has a token to check knows of versions.
        root: transfer.token.as_ref().map(|_| exchange.held.root),
        bytes: bytes.unwrap_or_default(),
        size: exchange.held.layout.size(),
        own_id: conn.own_id.clone(),
        transfer: id.filter(|_| transfer.token.is_some()),
        token: transfer.token,
        proof: transfer.proof,
        // Who fetches knows why, and who gives need not.
        reason: transfer.reason.filter(|_| !exchange.received).map(wire::Reason::word),
        wait: transfer.wait_s.map(|seconds| Duration::from_secs(seconds).min(wire::limits::MAX_WAIT)),
    };
    if exchange.received {
        // Who is to tell of pieces now and then only has nobody waiting for them.
        let by_roots = exchange.progress.is_some();
        hashes::need(link, &exchange.held, exchange.pieces.clone(), by_roots);
    }
    let early = if transfer.early { exchange.held.take_early() } else { None };
    let called_off = Arc::new(Notify::new());
    if let Some(id) = id {
        link.exchanges().insert(id, Arc::clone(&called_off));
    }
    tokio::spawn(async move {
        let _place = place;
        run(&exchange, &errand, early, &called_off).await;
        let Some(id) = id else { return };
        let mut exchanges = exchange.link.exchanges();
        // After a reconnect the number may stand for another one.
        if exchanges.get(&id).is_some_and(|known| Arc::ptr_eq(known, &called_off)) {
            exchanges.remove(&id);
        }
    });
}

/// The host of URLs as a `Host` field has it.
pub(super) fn wire_host(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

async fn run(exchange: &Exchange, errand: &Errand, early: Option<Early>, called_off: &Notify) {
    let inner = &exchange.link.inner;
    let turn = tokio::select! {
        turn = inner.exchanges.acquire() => turn,
        () = called_off.notified() => return end(exchange, FailureKind::Cancelled).await,
        () = exchange.held.stopped() => return end(exchange, FailureKind::Cancelled).await,
    };
    // The semaphore is never closed; if it were, the exchange would just not wait for its turn.
    let _turn = turn.ok();
    if exchange.source == Source::Peer {
        let server = exchange.conn.as_ref().map_or(errand.peer, |conn| conn.server);
        let allow_private = inner.config().allow_private;
        let checked = {
            let mut rules = inner.dial.lock().unwrap_or_else(PoisonError::into_inner);
            rules.check(errand.peer, server, allow_private, Instant::now())
        };
        if let Err(refusal) = checked {
            tracing::warn!(peer = %errand.peer, %refusal, "peer not dialled");
            return end(exchange, FailureKind::Unreachable).await;
        }
    }
    if exchange.received {
        let Some(store) = exchange.held.store() else { return end(exchange, FailureKind::Cancelled).await };
        let result = take_from(exchange, called_off, async |verified| {
            if let Some(conn) = &exchange.conn
                && let Some(old) = conn.old()
            {
                return old::receive(conn, old, exchange, errand, store, verified).await;
            }
            let pieces = || exchange.pieces.clone();
            let on_piece = |verified: mpsc::UnboundedSender<u32>| {
                move |piece| {
                    // The receiver closes only after this side has ended.
                    let _ = verified.send(piece);
                }
            };
            if let Some(begun) = begun(early).await {
                let told = on_piece(verified.clone());
                match inner
                    .pool
                    .finish(begun, errand, pieces(), store.clone(), exchange.held.down(), told)
                    .await
                {
                    Err(error) if error.received.bytes == 0 && error.disk.is_none() => {
                        tracing::debug!(%error, "early GET in vain");
                    }
                    result => return result,
                }
            }
            inner.pool.get(errand, pieces(), store, exchange.held.down(), on_piece(verified)).await
        })
        .await;
        if let Err(error) = result {
            tracing::debug!(peer = %errand.peer, %error, "nothing or not all received");
        }
    } else {
        give(exchange, errand, called_off).await;
    }
}

async fn begun(early: Option<Early>) -> Option<Begun> {
    early?.begun().await
}

async fn end(exchange: &Exchange, kind: FailureKind) {
    if let Some(conn) = &exchange.conn {
        old::pause(conn, &exchange.peer_id, kind).await;
    }
    exchange.report_end(0, Duration::ZERO, Some(kind)).await;
}

/// Brings pieces to somebody who cannot be dialled from elsewhere.
async fn give(exchange: &Exchange, errand: &Errand, called_off: &Notify) {
    let inner = &exchange.link.inner;
    exchange.held.touch();
    if !exchange.link.gives() {
        return end(exchange, FailureKind::Gone).await;
    }
    let (link, held, pieces) =
        (Arc::clone(&exchange.link), Arc::clone(&exchange.held), exchange.pieces.clone());
    let opened = tokio::task::spawn_blocking(move || link.files.open_store(&held)?.span(pieces)).await;
    let Ok(Some(span)) = opened else { return end(exchange, FailureKind::Gone).await };
    let _upload = inner.upload();
    let started = Instant::now();
    let putting = inner.pool.put(errand, span, &inner.up);
    let result = tokio::select! {
        result = putting => result,
        () = called_off.notified() => Err(cancelled(started)),
    };
    match result {
        Ok(delivered) => {
            inner.totals.sent(delivered.bytes);
            exchange.report_end(delivered.bytes, delivered.elapsed, None).await;
        }
        Err(error) => {
            inner.totals.sent(error.received.bytes);
            exchange.report_end(error.received.bytes, started.elapsed(), Some(error.kind)).await;
        }
    }
}
