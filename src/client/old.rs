//! Servers of version 2: DistribuStream, and all that came of the draft of 2007.
//!
//! Such a server names no versions of files and tells no hashes. It only judges: who has received a piece says its
//! hash, and hears whether that was right. So a piece is held back until the server has said that it is right, and
//! only then counts as verified. The difference to version 3 is kept in here: what is said to such a server
//! ([`said_to`]), how its transfers are taken ([`receive`]), and what of it is not possible.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::download::Version;
use super::exchange::Exchange;
use super::files::Held;
use super::session::{Conn, Link};
use super::{Error, ErrorKind, PieceStore};
use crate::content::{Layout, PieceSize};
use crate::peer::connect::Errand;
use crate::peer::{Claim, Finished, PieceSink, ReceiveError, Received};
use crate::wire::{self, ByteRange, Digest, FailureKind, Message, UrlPath};

/// How long a server may take to judge a piece: it may have to read and hash it first.
const JUDGEMENT: Duration = Duration::from_secs(60);
/// Transfers of one connection under way or waiting in line. A server of the time starts 10 at most.
const MAX_TRANSFERS: usize = 64;
/// A peer that has failed is left waiting so long before the server hears of it, since the server may name the same
/// again at once. Doubles with every failure in a row.
const MIN_PAUSE: Duration = Duration::from_millis(25);
/// See [`MIN_PAUSE`].
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Peers whose failures are remembered.
const MAX_FAILING: usize = 1024;

/// Who waits for the judgement of a piece, in the order in which the server was told.
type Waiting = Vec<oneshot::Sender<bool>>;

/// What belongs to a connection with such a server.
#[derive(Debug)]
pub(super) struct Old {
    /// Pieces whose hash the server was told, by file and range.
    judged: Mutex<HashMap<(String, ByteRange), Waiting>>,
    /// Failures in a row, by peer.
    failing: Mutex<HashMap<String, u32>>,
    places: Arc<Semaphore>,
}

impl Old {
    pub(super) fn new() -> Self {
        Self {
            judged: Mutex::default(),
            failing: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_TRANSFERS)),
        }
    }

    /// Room for one more transfer, as long as it is held.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// The server has judged a piece.
    pub(super) fn on_judged(&self, verdict: &wire::HashVerify) {
        let key = (verdict.url.clone(), verdict.range);
        let mut judged = lock(&self.judged);
        let Some(waiting) = judged.get_mut(&key) else { return };
        if !waiting.is_empty() {
            // Who waited may have given up.
            let _ = waiting.remove(0).send(verdict.hash_ok);
        }
        if waiting.is_empty() {
            judged.remove(&key);
        }
    }

    fn judgement(&self, url: &str, range: ByteRange) -> oneshot::Receiver<bool> {
        let (sender, verdict) = oneshot::channel();
        lock(&self.judged).entry((url.to_owned(), range)).or_default().push(sender);
        verdict
    }

    fn succeeded(&self, peer_id: &str) {
        lock(&self.failing).remove(peer_id);
    }

    /// Notes a failure; how long to wait before the server is told.
    fn failed(&self, peer_id: &str) -> Duration {
        let mut failing = lock(&self.failing);
        if failing.len() >= MAX_FAILING && !failing.contains_key(peer_id) {
            failing.clear();
        }
        let failures = failing.entry(peer_id.to_owned()).or_default();
        let pause = MIN_PAUSE.saturating_mul(1 << (*failures).min(16)).min(MAX_PAUSE);
        *failures = failures.saturating_add(1);
        pause
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message as version 2 knows it: DistribuStream 0.1.0 hangs up on types that it does not know. `None` for what
/// cannot be said.
pub(super) fn said_to(message: Message) -> Option<Message> {
    // "All of it" is said by a range: `unrequest` and `unprovide` without one are ignored there.
    let all = |range: Option<ByteRange>| Some(range.unwrap_or(ByteRange::ALL));
    Some(match message {
        Message::Request(m) => wire::Request { url: m.url, range: m.range, ..Default::default() }.into(),
        Message::Unrequest(m) => wire::Unrequest { url: m.url, range: all(m.range), root: None }.into(),
        Message::Provide(m) => wire::Provide { url: m.url, range: m.range, root: None }.into(),
        Message::Unprovide(m) => wire::Unprovide { url: m.url, range: all(m.range), root: None }.into(),
        Message::Completed(m) => wire::Completed {
            url: m.url,
            range: m.range,
            peer_id: m.peer_id,
            peer: m.peer,
            hash: m.hash,
            ..Default::default()
        }
        .into(),
        Message::AskInfo(m) => wire::AskInfo { url: m.url, hashes: false, proof: false }.into(),
        Message::Register(_) | Message::AskVerify(_) | Message::ProtocolWarn(_) => message,
        other => {
            tracing::debug!(kind = other.kind(), "not said to a server of version 2");
            return None;
        }
    })
}

/// Whether a first answer shows such a server. `is_asked`: a question about this URL is open.
pub(super) fn is_shown_by(answer: &Message, is_asked: impl Fn(&str) -> bool) -> bool {
    match answer {
        Message::TellInfo(info) => info.root.is_none() && is_asked(&info.url),
        Message::ProtocolWarn(_) => true,
        _ => false,
    }
}

/// What such a server says of a file.
pub(super) fn version_of(path: &UrlPath, info: &wire::TellInfo) -> Result<Version, Error> {
    let (Some(size), Some(piece_size)) = (info.size, info.chunk_size) else {
        let text = format!("the server does not say how large {path} is, or how it is cut");
        return Err(Error::new(ErrorKind::Protocol, text));
    };
    let layout = PieceSize::any(piece_size).and_then(|piece| Layout::new(size, piece)).ok_or_else(|| {
        let text = format!(
            "the server cuts {path} ({size} bytes) into pieces of {piece_size}, which is not possible here"
        );
        Error::new(ErrorKind::Limit, text)
    })?;
    Ok(Version { root: None, layout, mtime: None })
}

/// Why a version cannot be pinned.
pub(super) fn no_versions(host: &str) -> Error {
    let text =
        format!("{host} speaks version 2 of PDTP, which has no versions of files: a root cannot be checked");
    Error::new(ErrorKind::Unsupported, text)
}

/// Why nothing can be watched.
pub(super) fn no_watching(host: &str) -> Error {
    let text = format!("{host} speaks version 2 of PDTP, which does not tell what changes");
    Error::new(ErrorKind::Unsupported, text)
}

/// What becomes of the wish for a listing: a file can be looked at, a directory cannot.
pub(super) async fn no_listing(link: &Link, path: &UrlPath) -> Error {
    if !path.is_root() && link.ask_info(path, None).await.is_ok() {
        return Error::new(ErrorKind::Argument, format!("{path}: it is a file, not a directory"));
    }
    let host = &link.host;
    let text = format!(
        "{host} speaks version 2 of PDTP, which has no listings: only files can be had, by their names"
    );
    Error::new(ErrorKind::Unsupported, text)
}

/// Receives the piece of a transfer, tells the server its hash, and lets it count if the server says that it is right.
/// Says `completed` itself when it has come so far; otherwise that is left to [`Exchange::report_end`].
pub(super) async fn receive(
    conn: &Arc<Conn>,
    old: &Old,
    exchange: &Exchange,
    errand: &Errand,
    store: Arc<PieceStore>,
    verified: mpsc::UnboundedSender<u32>,
) -> Result<Received, ReceiveError> {
    let result = attempt(conn, old, exchange, errand, store, verified).await;
    match &result {
        Ok(_) => old.succeeded(&exchange.peer_id),
        Err(error) => pause(conn, &exchange.peer_id, error.kind).await,
    }
    result
}

/// Waits before a server of version 2 is told of a failure, since it may name the same peer again at once. Does nothing
/// with other servers.
pub(super) async fn pause(conn: &Conn, peer_id: &str, kind: FailureKind) {
    // With these, nothing is known against the other side.
    if !matches!(kind, FailureKind::Cancelled | FailureKind::Disk)
        && let Some(old) = conn.old()
    {
        sleep(old.failed(peer_id)).await;
    }
}

/// Whether a file still is what it was before the connection was lost, as far as such a server can tell.
pub(super) async fn is_unchanged(link: &Link, held: &Held) -> Result<bool, Error> {
    let info = link.ask_info(&held.path, None).await?;
    Ok(info.root.is_none() && version_of(&held.path, &info)?.layout == held.layout)
}

async fn attempt(
    conn: &Arc<Conn>,
    old: &Old,
    exchange: &Exchange,
    errand: &Errand,
    store: Arc<PieceStore>,
    verified: mpsc::UnboundedSender<u32>,
) -> Result<Received, ReceiveError> {
    let inner = &exchange.link.inner;
    let piece = exchange.pieces.start;
    let unjudged = Arc::new(Unjudged { store, came: Mutex::default() });
    let sink: Arc<dyn PieceSink> = Arc::<Unjudged>::clone(&unjudged);
    let received =
        inner.pool.get(errand, exchange.pieces.clone(), sink, exchange.held.down(), |_| {}).await?;
    let fail = |kind, what: &str| {
        let message = format!("piece {piece} of {} from {}: {what}", exchange.held.path, exchange.peer_id);
        Err(ReceiveError { kind, message, received: received.clone(), disk: None })
    };
    // Another transfer had the piece in hand, or has brought it.
    let Some(digest) = unjudged.digest().or_else(|| unjudged.store.digest_of(piece)) else {
        return fail(FailureKind::Cancelled, "it comes from elsewhere, too");
    };
    let verdict = old.judgement(&exchange.held.url, exchange.range());
    exchange.report_hash(conn, digest).await;
    if unjudged.store.has(piece) {
        // Its hash was known here all the time.
        let _ = verified.send(piece);
        return Ok(received);
    }
    let verdict = tokio::select! {
        verdict = timeout(JUDGEMENT, verdict) => {
            if verdict.is_err() {
                // What it says later could be taken for the judgement of other bytes.
                exchange.link.register_anew();
            }
            verdict.ok().and_then(Result::ok)
        }
        () = conn.closed() => None,
    };
    match verdict {
        Some(true) => {
            unjudged.approve(piece);
            let _ = verified.send(piece);
            if !exchange.link.gives() {
                // The server believes otherwise from here on, and would send others to us.
                let unprovide = wire::Unprovide {
                    url: exchange.held.url.clone(),
                    range: Some(exchange.range()),
                    root: None,
                };
                let _ = conn.send(unprovide).await;
            }
            Ok(received)
        }
        Some(false) => fail(FailureKind::Hash, "the server says that it is wrong"),
        None => fail(FailureKind::Gone, "the server has not judged it"),
    }
}

/// Takes in a piece that nobody here can judge. It stays claimed, and does not count, until [`Unjudged::approve`];
/// dropped before, it is given up.
struct Unjudged {
    store: Arc<PieceStore>,
    /// The piece, and its hash.
    came: Mutex<Option<(u32, Digest)>>,
}

impl Unjudged {
    fn digest(&self) -> Option<Digest> {
        lock(&self.came).as_ref().map(|(_, digest)| *digest)
    }

    fn approve(&self, piece: u32) {
        if let Some((_, digest)) = lock(&self.came).take_if(|(came, _)| *came == piece) {
            self.store.approve(piece, digest);
        }
    }
}

impl Drop for Unjudged {
    fn drop(&mut self) {
        if let Some((piece, _)) = lock(&self.came).take() {
            self.store.release(piece);
        }
    }
}

impl PieceSink for Unjudged {
    fn layout(&self) -> Layout {
        self.store.layout()
    }

    fn claim(&self, piece: u32) -> Claim {
        self.store.claim(piece)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.store.write_at(offset, bytes)
    }

    fn finish(&self, piece: u32, digest: Digest) -> io::Result<Finished> {
        if self.store.hashes().is_told() {
            return PieceSink::finish(&*self.store, piece, digest);
        }
        *lock(&self.came) = Some((piece, digest));
        Ok(Finished::Right)
    }

    fn release(&self, piece: u32) {
        self.store.release(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_known_in_2007_is_said() {
        let url = || "http://h/f".to_owned();
        let json =
            |message: Message| said_to(message).map(|m| String::from_utf8(m.to_json().unwrap()).unwrap());
        let root = Some(Digest([7; 32]));
        let range = Some(ByteRange::new(0, 9));
        let request = wire::Request {
            url: url(),
            range,
            root,
            order: Some(wire::Order::Sequential),
            position: Some(1),
            window: Some(2),
            pace: Some(3),
            early: Some("name".into()),
        };
        let said = r#"["request",{"url":"http://h/f","range":{"min":0,"max":9}}]"#;
        assert_eq!(json(request.into()).as_deref(), Some(said));
        let said = r#"["unprovide",{"url":"http://h/f","range":{"min":0}}]"#;
        assert_eq!(json(wire::Unprovide { url: url(), range: None, root }.into()).as_deref(), Some(said));
        let said = r#"["unrequest",{"url":"http://h/f","range":{"min":0}}]"#;
        assert_eq!(json(wire::Unrequest { url: url(), range: None, root }.into()).as_deref(), Some(said));
        let said = r#"["provide",{"url":"http://h/f"}]"#;
        assert_eq!(json(wire::Provide { url: url(), range: None, root }.into()).as_deref(), Some(said));
        let completed = wire::Completed {
            id: Some(3),
            url: url(),
            range: ByteRange::new(0, 9),
            peer_id: "p".into(),
            peer: Some("10.0.0.1".into()),
            bytes: Some(10),
            ms: Some(1),
            error: Some(FailureKind::Gone),
            hash: None,
        };
        let said =
            r#"["completed",{"url":"http://h/f","range":{"min":0,"max":9},"peer_id":"p","peer":"10.0.0.1"}]"#;
        assert_eq!(json(completed.into()).as_deref(), Some(said));
        for unheard_of in [
            Message::from(wire::Ping {}),
            wire::Pong {}.into(),
            wire::List::default().into(),
            wire::AskHashes { count: 1, ..Default::default() }.into(),
            wire::Progress::default().into(),
            wire::Watch::default().into(),
        ] {
            assert_eq!(said_to(unheard_of), None);
        }
    }

    #[test]
    fn judgements_go_to_those_who_wait_in_order() {
        let old = Old::new();
        let range = ByteRange::new(0, 9);
        let verdict = |hash_ok| wire::HashVerify { url: "u".into(), range, hash_ok };
        old.on_judged(&verdict(true));
        let (mut first, mut second) = (old.judgement("u", range), old.judgement("u", range));
        let mut other = old.judgement("v", range);
        old.on_judged(&verdict(false));
        old.on_judged(&verdict(true));
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(false), Ok(true)));
        assert!(other.try_recv().is_err());
        assert_eq!(lock(&old.judged).len(), 1);
    }

    #[test]
    fn those_who_fail_are_asked_ever_more_slowly() {
        let old = Old::new();
        assert_eq!(old.failed("p"), MIN_PAUSE);
        assert_eq!(old.failed("p"), 2 * MIN_PAUSE);
        assert_eq!(old.failed("q"), MIN_PAUSE);
        assert_eq!((0..40).map(|_| old.failed("p")).last(), Some(MAX_PAUSE));
        old.succeeded("p");
        assert_eq!(old.failed("p"), MIN_PAUSE);
        for n in 0..2 * MAX_FAILING {
            old.failed(&n.to_string());
        }
        assert!(lock(&old.failing).len() <= MAX_FAILING);
    }
}
