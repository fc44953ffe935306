//! The dialling side: GET and PUT of runs of pieces over kept connections.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::deadlines::Deadlines;
use super::head::{Announced, ResponseHead, announced, parse_content_range, push_field};
use super::intake::Intake;
use super::link::{Chunked, Framing, HeadTrouble, Link};
use super::send::{Outgoing, SendTrouble};
use super::{FileSpan, PieceSink, RateLimiter, ReceiveError, Received, field};
use crate::wire::{Digest, FailureKind, UrlPath, token};

/// Connections kept idle to one address.
const MAX_IDLE_PER_PEER: usize = 8;
/// Connections kept idle in all.
const MAX_IDLE: usize = 256;
/// Provisional answers (1xx) taken before the final one.
const MAX_PROVISIONAL: u32 = 8;

/// Kept connections to other hosts, reused per address. Cloning shares them.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    connect_timeout: Duration,
    deadlines: Deadlines,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    by_peer: HashMap<SocketAddr, Vec<Kept>>,
    count: usize,
}

struct Kept {
    link: Link,
    since: Instant,
}

/// What both methods need to know.
#[derive(Debug, Clone)]
pub struct Errand {
    /// Whom to dial.
    pub peer: SocketAddr,
    /// `Host` field: the host of the URL, without port.
    pub host: String,
    /// File.
    pub path: UrlPath,
    /// Version; absent when the server is version 2.
    pub root: Option<Digest>,
    /// Bytes, half open.
    pub bytes: Range<u64>,
    /// Size of the file.
    pub size: u64,
    /// Own client id.
    pub own_id: String,
    /// `transfer.id`.
    pub transfer: Option<u64>,
    /// `transfer.token`.
    pub token: Option<String>,
    /// `transfer.proof`: when present, nothing counts before the acceptor has returned it.
    pub proof: Option<String>,
}

/// How a PUT ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Payload bytes handed over.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// A failure before it is dressed for the caller.
struct Failure {
    kind: FailureKind,
    message: String,
    /// The connection had been kept and was found closed: worth another try on a fresh one.
    stale: bool,
}

impl Failure {
    fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), stale: false }
    }
}

impl Pool {
    /// `connect_timeout` bounds dialling, and the wait for the head of an answer.
    pub fn new(connect_timeout: Duration) -> Self {
        Self::with_deadlines(connect_timeout, Deadlines::default())
    }

    pub(super) fn with_deadlines(connect_timeout: Duration, deadlines: Deadlines) -> Self {
        Self { inner: Arc::new(Inner { connect_timeout, deadlines, idle: Mutex::default() }) }
    }

    /// Opens a connection in advance, so that the first GET to `peer` does not wait for it. Inside a tokio runtime.
    pub fn warm(&self, peer: SocketAddr) {
        if self.inner.idle().by_peer.contains_key(&peer) {
            return;
        }
        let pool = self.clone();
        tokio::spawn(async move {
            // A failure will be told to whoever really needs the connection.
            if let Ok(link) = pool.dial(peer).await {
                pool.keep(peer, link);
            }
        });
    }

    /// Receives a run of pieces. Dropping the future aborts it; pieces verified by then are kept.
    pub async fn get(
        &self,
        errand: &Errand,
        pieces: Range<u32>,
        sink: Arc<dyn PieceSink>,
        limiter: &RateLimiter,
        on_piece: impl FnMut(u32) + Send,
    ) -> Result<Received, ReceiveError> {
        let started = Instant::now();
        let subject = Subject("GET", errand);
        let (mut link, head) = self.ask(errand, "GET").await.map_err(|f| subject.error(f, 0, started))?;
        let mut framing = get_framing(errand, &head).map_err(|f| subject.error(f, 0, started))?;
        let intake = Intake {
            link: &mut link,
            framing: &mut framing,
            pieces,
            sink,
            limiter,
            deadlines: &self.inner.deadlines,
            started,
            subject: &subject,
        };
        let received = intake.run(on_piece).await?;
        // The end of a chunked body is still to be read.
        let over = framing.is_over()
            || matches!(framing, Framing::Chunked(_))
                && link.discard_body(&mut framing, Instant::now() + self.inner.deadlines.linger).await;
        let has_length = matches!(announced(&head.fields), Ok(Announced::Length(_) | Announced::Chunked));
        if over && has_length && may_keep(&head) {
            self.keep(errand.peer, link);
        }
        Ok(received)
    }

    /// Sends a run of pieces.
    pub async fn put(
        &self,
        errand: &Errand,
        span: FileSpan,
        limiter: &RateLimiter,
    ) -> Result<Delivered, ReceiveError> {
        let started = Instant::now();
        let subject = Subject("PUT", errand);
        let mut sent = 0;
        match self.deliver(errand, &span, limiter, &mut sent).await {
            Ok(()) => Ok(Delivered { bytes: sent, elapsed: started.elapsed() }),
            Err(failure) => Err(subject.error(failure, sent, started)),
        }
    }

    async fn deliver(
        &self,
        errand: &Errand,
        span: &FileSpan,
        limiter: &RateLimiter,
        sent: &mut u64,
    ) -> Result<(), Failure> {
        // Only a genuine acceptor can answer `100 Continue` with the proof, so nobody can be made to flood a stranger.
        let (mut link, mut out) = if errand.proof.is_some() {
            let (link, head) = self.ask(errand, "PUT").await?;
            if head.status != 100 {
                return Err(refusal(&head));
            }
            check_proof(errand, &head)?;
            let out = Outgoing::new(&link.stream, &self.inner.deadlines);
            (link, out)
        } else {
            let link = self.dial(errand.peer).await?;
            let mut out = Outgoing::new(&link.stream, &self.inner.deadlines);
            out.write_all(&request_head("PUT", errand), true, &mut 0).await.map_err(send_failure)?;
            (link, out)
        };
        let outcome = out.send_file(span, limiter, sent).await;
        if let Err(trouble) = outcome {
            // The other side may have said why before it hung up.
            let said = timeout(self.inner.deadlines.linger, link.read_head(ResponseHead::parse)).await;
            return Err(match said {
                Ok(Ok(head)) if head.status >= 300 => refusal(&head),
                _ => send_failure(trouble),
            });
        }
        // As long as bytes still arrive over there, an answer can wait.
        let mut give_up = Instant::now() + self.inner.connect_timeout;
        let mut arrived = out.has_arrived();
        let mut read = Box::pin(link.read_head(ResponseHead::parse));
        let head = loop {
            let wake = if arrived { give_up } else { give_up.min(out.deadline()) };
            match timeout_at(wake, &mut read).await {
                Ok(head) => break head,
                Err(_) if !arrived => {
                    out.check().map_err(send_failure)?;
                    arrived = out.has_arrived();
                    give_up = Instant::now() + self.inner.connect_timeout;
                }
                Err(_) => return Err(Failure::new(FailureKind::Timeout, "no answer after the body")),
            }
        };
        drop(read);
        match head {
            Ok(head) if matches!(head.status, 200 | 201 | 204) => {
                let framing = match announced(&head.fields) {
                    Ok(Announced::Length(length)) => Some(Framing::Length(length)),
                    Ok(Announced::Nothing) if head.status == 204 => Some(Framing::Length(0)),
                    _ => None,
                };
                if let Some(mut framing) = framing
                    && may_keep(&head)
                    && link.discard_body(&mut framing, Instant::now() + self.inner.deadlines.linger).await
                {
                    self.keep(errand.peer, link);
                }
                Ok(())
            }
            Ok(head) => Err(refusal(&head)),
            Err(trouble) => Err(head_failure(trouble)),
        }
    }

    /// Sends the head of a request and reads the first head of the answer that matters: for PUT `100`, else the
    /// final one. A kept connection that turns out to be closed is replaced by a fresh one, once.
    async fn ask(&self, errand: &Errand, method: &'static str) -> Result<(Link, ResponseHead), Failure> {
        if let Some(link) = self.take(errand.peer) {
            match self.ask_on(link, errand, method).await {
                Err(failure) if failure.stale => {}
                answer => return answer,
            }
        }
        let link = self.dial(errand.peer).await?;
        self.ask_on(link, errand, method).await
    }

    async fn ask_on(
        &self,
        mut link: Link,
        errand: &Errand,
        method: &'static str,
    ) -> Result<(Link, ResponseHead), Failure> {
        let mut out = Outgoing::new(&link.stream, &self.inner.deadlines);
        if let Err(trouble) = out.write_all(&request_head(method, errand), false, &mut 0).await {
            return Err(Failure { stale: true, ..send_failure(trouble) });
        }
        let deadline = Instant::now() + self.inner.connect_timeout;
        for _ in 0..MAX_PROVISIONAL {
            match timeout_at(deadline, link.read_head(ResponseHead::parse)).await {
                Err(_) => return Err(Failure::new(FailureKind::Timeout, "no answer")),
                Ok(Err(trouble)) => {
                    let stale = matches!(trouble, HeadTrouble::Closed);
                    return Err(Failure { stale, ..head_failure(trouble) });
                }
                Ok(Ok(head)) if head.status == 100 && method == "PUT" => return Ok((link, head)),
                Ok(Ok(head)) if (100..200).contains(&head.status) => {}
                Ok(Ok(head)) => return Ok((link, head)),
            }
        }
        Err(Failure::new(FailureKind::Refused, "too many provisional answers"))
    }

    async fn dial(&self, peer: SocketAddr) -> Result<Link, Failure> {
        match timeout(self.inner.connect_timeout, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => Ok(Link::new(stream, &[])),
            Ok(Err(error)) => Err(Failure::new(FailureKind::Unreachable, error.to_string())),
            Err(_) => Err(Failure::new(FailureKind::Unreachable, "no answer to the call")),
        }
    }

    /// The connection to `peer` used last, if it is still good.
    fn take(&self, peer: SocketAddr) -> Option<Link> {
        let mut idle = self.inner.idle();
        let now = Instant::now();
        while let Some(mut kept) = idle.by_peer.get_mut(&peer).and_then(Vec::pop) {
            idle.count -= 1;
            if now.saturating_duration_since(kept.since) < self.inner.deadlines.keep && kept.link.is_quiet() {
                if idle.by_peer.get(&peer).is_some_and(Vec::is_empty) {
                    idle.by_peer.remove(&peer);
                }
                return Some(kept.link);
            }
        }
        idle.by_peer.remove(&peer);
        None
    }

    fn keep(&self, peer: SocketAddr, link: Link) {
        let now = Instant::now();
        let mut guard = self.inner.idle();
        let idle = &mut *guard;
        let was_empty = idle.count == 0;
        let links = idle.by_peer.entry(peer).or_default();
        if idle.count >= MAX_IDLE || links.len() >= MAX_IDLE_PER_PEER {
            if links.is_empty() {
                idle.by_peer.remove(&peer);
            }
            return;
        }
        links.push(Kept { link, since: now });
        idle.count += 1;
        drop(guard);
        if was_empty {
            let weak = Arc::downgrade(&self.inner);
            let keep = self.inner.deadlines.keep;
            // Ends with the last kept connection, or with the pool.
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(keep).await;
                    match weak.upgrade() {
                        Some(inner) if inner.prune() => {}
                        _ => return,
                    }
                }
            });
        }
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what has been idle too long. Whether anything is left.
    fn prune(&self) -> bool {
        let mut idle = self.idle();
        let now = Instant::now();
        idle.by_peer.retain(|_, links| {
            links.retain(|kept| now.saturating_duration_since(kept.since) < self.deadlines.keep);
            !links.is_empty()
        });
        idle.count = idle.by_peer.values().map(Vec::len).sum();
        idle.count > 0
    }
}

/// For messages: what was attempted, on what.
struct Subject<'a>(&'static str, &'a Errand);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(method, errand) = self;
        write!(
            f,
            "{method} {} bytes {}-{} at {}",
            errand.path, errand.bytes.start, errand.bytes.end, errand.peer
        )
    }
}

impl Subject<'_> {
    fn error(&self, failure: Failure, bytes: u64, started: Instant) -> ReceiveError {
        let received = Received { bytes, elapsed: started.elapsed(), pieces: Vec::new() };
        ReceiveError {
            kind: failure.kind,
            message: format!("{self}: {}", failure.message),
            received,
            disk: None,
        }
    }
}

fn request_head(method: &str, errand: &Errand) -> Vec<u8> {
    let mut head = format!("{method} {} HTTP/1.1\r\n", errand.path).into_bytes();
    let last = errand.bytes.end.saturating_sub(1);
    push_field(&mut head, "Host", &errand.host);
    push_field(&mut head, field::PEER_ID, &errand.own_id);
    if method == "GET" {
        push_field(&mut head, "Range", &format!("bytes={}-{last}", errand.bytes.start));
    } else {
        push_field(
            &mut head,
            "Content-Range",
            &format!("bytes {}-{last}/{}", errand.bytes.start, errand.size),
        );
        push_field(&mut head, "Content-Length", &(errand.bytes.end - errand.bytes.start).to_string());
        if errand.proof.is_some() {
            push_field(&mut head, "Expect", "100-continue");
        } else {
            // What version 2 takes for the range of a PUT.
            push_field(&mut head, "Range", &format!("bytes={}-{last}", errand.bytes.start));
        }
    }
    if let Some(root) = &errand.root {
        push_field(&mut head, "If-Match", &format!("\"{root}\""));
    }
    if let Some(token) = &errand.token {
        push_field(&mut head, field::TOKEN, token);
    }
    if let Some(id) = errand.transfer {
        push_field(&mut head, field::TRANSFER, &id.to_string());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Checks the head of an answer to GET, and says what its body is like.
fn get_framing(errand: &Errand, head: &ResponseHead) -> Result<Framing, Failure> {
    let length = errand.bytes.end - errand.bytes.start;
    match head.status {
        206 => {}
        200 if errand.bytes == (0..errand.size) => {}
        200 => return Err(Failure::new(FailureKind::Refused, "the whole file instead of a part")),
        _ => return Err(refusal(head)),
    }
    check_proof(errand, head)?;
    if let (Some(root), Some(tag)) = (&errand.root, head.fields.get("etag"))
        && tag.trim_matches('"') != root.to_string()
    {
        return Err(Failure::new(FailureKind::Gone, "another version of the file"));
    }
    if let Some(range) = head.fields.get("content-range").filter(|_| head.status == 206)
        && parse_content_range(range).is_none_or(|(bytes, _)| bytes != errand.bytes)
    {
        return Err(Failure::new(FailureKind::Refused, "other bytes than asked for"));
    }
    match announced(&head.fields) {
        Ok(Announced::Length(told)) if told == length => Ok(Framing::Length(length)),
        Ok(Announced::Length(_)) => {
            Err(Failure::new(FailureKind::Refused, "more or fewer bytes than asked for"))
        }
        Ok(Announced::Chunked) => Ok(Framing::Chunked(Chunked::Size)),
        // Until the connection ends, as old programs send; never more than asked for is read.
        Ok(Announced::Nothing) => Ok(Framing::Length(length)),
        Err(error) => Err(Failure::new(FailureKind::Refused, error.to_string())),
    }
}

fn check_proof(errand: &Errand, head: &ResponseHead) -> Result<(), Failure> {
    let Some(proof) = &errand.proof else { return Ok(()) };
    let given = head.fields.get(field::PROOF).unwrap_or_default();
    match token::same(proof.as_bytes(), given.as_bytes()) {
        true => Ok(()),
        false => Err(Failure::new(FailureKind::Refused, "it is not who the server means")),
    }
}

fn may_keep(head: &ResponseHead) -> bool {
    !head.fields.has_word("connection", "close")
        && (!head.is_http10 || head.fields.has_word("connection", "keep-alive"))
}

fn refusal(head: &ResponseHead) -> Failure {
    let kind = match head.status {
        404 | 412 | 416 => FailureKind::Gone,
        409 => FailureKind::Hash,
        507 => FailureKind::Disk,
        _ => FailureKind::Refused,
    };
    Failure::new(kind, format!("answer {}", head.status))
}

fn head_failure(trouble: HeadTrouble) -> Failure {
    match trouble {
        HeadTrouble::Closed => Failure::new(FailureKind::Gone, "closed without an answer"),
        HeadTrouble::Cut => Failure::new(FailureKind::Gone, "closed within its answer"),
        HeadTrouble::Bad(error) => Failure::new(FailureKind::Refused, error.to_string()),
    }
}

fn send_failure(trouble: SendTrouble) -> Failure {
    match trouble {
        SendTrouble::Broken(error) => Failure::new(FailureKind::Gone, error.to_string()),
        SendTrouble::Slow(slow) => Failure::new(FailureKind::Slow, format!("too slow: {slow}")),
        SendTrouble::File(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::new(FailureKind::Cancelled, "our own file has become shorter")
        }
        SendTrouble::File(error) => Failure::new(FailureKind::Cancelled, format!("our own file: {error}")),
    }
}
