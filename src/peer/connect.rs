//! The dialling side: GET and PUT of runs of pieces over kept connections.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::deadlines::{Deadlines, TooSlow};
use super::head::{Announced, ContentRange, ResponseHead, announced, push_field};
use super::intake::{Intake, bytes_of_run};
use super::link::{Chunked, Framing, HeadTrouble, Link};
use super::push::while_sending;
use super::send::{Outgoing, SendTrouble};
use super::{FileSpan, PieceSink, RateLimiter, ReceiveError, Received, field};
use crate::wire::{Digest, FailureKind, UrlPath, token};

/// Kept connections to one peer: as many as a client has transfers under way, or they would be opened again and again.
const MAX_IDLE_PER_PEER: usize = 64;
/// Kept connections in all.
const MAX_IDLE: usize = 256;
/// Connections being opened in advance.
const MAX_WARMING: usize = 16;
/// Interim answers before the final one.
const MAX_INTERIM: usize = 8;
/// How often to look whether a body has arrived that has left our hands.
const ARRIVAL_POLL: Duration = Duration::from_millis(250);

/// Kept connections to other hosts, reused per address. Cloning shares them.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
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
    /// `transfer.reason`, if the acceptor would like to know.
    pub reason: Option<&'static str>,
    /// How long the acceptor may take until it has what is asked for, beside the usual time: it is about to have it.
    pub wait: Option<Duration>,
}

/// A GET that was sent before it was known what it would bring ([`Pool::begin`]).
#[derive(Debug)]
pub struct Begun {
    peer: SocketAddr,
    link: Link,
    started: Instant,
}

/// How a PUT ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Payload bytes handed over.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Pool {
    /// `connect_timeout` bounds dialling, and the wait for the head of an answer.
    pub fn new(connect_timeout: Duration) -> Self {
        Self::with_deadlines(connect_timeout, Deadlines::default())
    }

    pub(super) fn with_deadlines(connect_timeout: Duration, deadlines: Deadlines) -> Self {
        Self { inner: Arc::new(Inner { connect_timeout, deadlines, idle: Mutex::default() }) }
    }

    /// Opens a connection in advance, so that the first GET to `peer` does not wait for it. Does nothing where one is
    /// kept already, or outside of a tokio runtime.
    pub fn warm(&self, peer: SocketAddr) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        {
            let mut idle = self.inner.idle();
            if idle.kept.contains_key(&peer)
                || idle.warming.len() >= MAX_WARMING
                || !idle.warming.insert(peer)
            {
                return;
            }
        }
        let inner = self.inner.clone();
        runtime.spawn(async move {
            let dialled = inner.dial(peer).await;
            inner.idle().warming.remove(&peer);
            match dialled {
                Ok(link) => inner.keep(peer, link),
                Err(failure) => tracing::debug!(%peer, message = failure.message, "not warmed"),
            }
        });
    }

    /// Receives a run of pieces. Dropping the future aborts it; pieces verified by then are kept.
    ///
    /// The pieces must be those of `errand.bytes`. Kinds of errors:
    ///
    /// - `Unreachable`: dialling failed
    /// - `Refused`: status 403, 503 and others without a meaning of their own; a missing or wrong proof; other bytes than
    ///   asked for; no HTTP
    /// - `Gone`: status 404, 412, 416; another version than asked for; the connection ended early
    /// - `Timeout`: no answer, or no bytes for 30 s
    /// - `Slow`: bytes, but less than 1 KiB/s
    /// - `Hash`: a piece was wrong; the connection is not used again
    /// - `Disk`: the sink failed, see [`ReceiveError::disk`]
    /// - `Cancelled`: the errand makes no sense (pieces, bytes and size do not fit), nothing was tried
    pub async fn get(
        &self,
        errand: &Errand,
        pieces: Range<u32>,
        sink: Arc<dyn PieceSink>,
        limiter: &RateLimiter,
        on_piece: impl FnMut(u32) + Send + 'static,
    ) -> Result<Received, ReceiveError> {
        let subject = errand.subject("GET");
        let layout = sink.layout();
        if bytes_of_run(&layout, &pieces) != Some(errand.bytes.clone()) || layout.size() != errand.size {
            return Err(Failure::senseless().about(&subject));
        }
        if errand.bytes.is_empty() {
            return Ok(Received::default());
        }
        let wait = errand.wait.map(|wait| ("Prefer", format!("wait={}", wait.as_secs())));
        let fields: Vec<_> = [("Range", errand.range())].into_iter().chain(wait).collect();
        let request = errand.head("GET", &fields);
        let patience = self.inner.connect_timeout + errand.wait.unwrap_or_default();
        let answer = self.inner.ask(errand.peer, &request, patience).await.map_err(|f| f.about(&subject))?;
        self.take_in(errand, answer, pieces, sink, limiter, on_piece).await
    }

    /// Sends a GET that names no bytes, to be answered with what the other side has for the early GET `name`. Only whom
    /// and what `errand` names counts. Errors are those of [`Pool::get`].
    pub async fn begin(&self, errand: &Errand, name: &str) -> Result<Begun, ReceiveError> {
        let request = errand.head("GET", &[(field::EARLY, name.to_owned())]);
        let begun = async {
            let (link, _) = self.inner.link_to(errand.peer, true).await?;
            let started = Instant::now();
            let mut out = Outgoing::new(&link.stream, &self.inner.deadlines);
            out.write_all(&request, false, &mut 0).await.map_err(stale_if_broken)?;
            Ok(Begun { peer: errand.peer, link, started })
        };
        begun
            .await
            .map_err(|failure: Failure| failure.about(&format!("GET {} at {}", errand.path, errand.peer)))
    }

    /// [`Pool::get`] of what a GET brings that was begun before. The other side proves itself by having the name, which
    /// nobody else was told.
    pub async fn finish(
        &self,
        begun: Begun,
        errand: &Errand,
        pieces: Range<u32>,
        sink: Arc<dyn PieceSink>,
        limiter: &RateLimiter,
        on_piece: impl FnMut(u32) + Send + 'static,
    ) -> Result<Received, ReceiveError> {
        let Begun { peer, mut link, started } = begun;
        let errand = Errand { peer, proof: None, ..errand.clone() };
        let stream = Arc::clone(&link.stream);
        let answer = while_sending(&stream, self.inner.read_answer(&mut link, false));
        let answer = tokio::time::timeout(self.inner.connect_timeout, answer).await;
        let head = answer.map_err(|_| no_answer(self.inner.connect_timeout)).flatten();
        let head = head.map_err(|failure| failure.about(&errand.subject("GET")))?;
        self.take_in(&errand, (link, head, started), pieces, sink, limiter, on_piece).await
    }

    /// The body of an answer to a GET.
    async fn take_in(
        &self,
        errand: &Errand,
        (mut link, head, started): (Link, ResponseHead, Instant),
        pieces: Range<u32>,
        sink: Arc<dyn PieceSink>,
        limiter: &RateLimiter,
        on_piece: impl FnMut(u32) + Send + 'static,
    ) -> Result<Received, ReceiveError> {
        let subject = errand.subject("GET");
        let mut framing = errand.judge(&head).map_err(|f| f.about(&subject))?;
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
        if can_be_kept(&head) && is_over(&mut link, &mut framing) {
            self.inner.keep(errand.peer, link);
        }
        Ok(received)
    }

    /// Sends a run of pieces. Dropping the future aborts it.
    ///
    /// Kinds of errors are those of [`Pool::get`], except: `Hash` is status 409, the taker found pieces wrong; `Gone`
    /// with [`ReceiveError::disk`] is our own file failing. [`ReceiveError::received`] tells how many bytes were
    /// handed over.
    pub async fn put(
        &self,
        errand: &Errand,
        span: FileSpan,
        limiter: &RateLimiter,
    ) -> Result<Delivered, ReceiveError> {
        let subject = errand.subject("PUT");
        let len = errand.bytes.end.saturating_sub(errand.bytes.start);
        if len == 0 || span.len != len || errand.bytes.end > errand.size {
            return Err(Failure::senseless().about(&subject));
        }
        let mut may_be_kept = true;
        loop {
            let (link, was_kept) =
                self.inner.link_to(errand.peer, may_be_kept).await.map_err(|f| f.about(&subject))?;
            let started = Instant::now();
            let mut sent = 0;
            match self.inner.put(link, errand, &span, limiter, &mut sent).await {
                Ok(()) => return Ok(Delivered { bytes: sent, elapsed: started.elapsed() }),
                Err(failure) if failure.is_stale && was_kept => may_be_kept = false,
                Err(failure) => {
                    let mut error = failure.about(&subject);
                    error.received.bytes = sent;
                    error.received.elapsed = started.elapsed();
                    return Err(error);
                }
            }
        }
    }
}

impl Errand {
    fn subject(&self, method: &str) -> String {
        format!("{method} {} bytes {}-{} at {}", self.path, self.bytes.start, self.bytes.end, self.peer)
    }

    /// As a `Range` field says it, with the last byte included. Not for an empty range.
    fn range(&self) -> String {
        format!("bytes={}-{}", self.bytes.start, self.bytes.end.saturating_sub(1))
    }

    fn head(&self, method: &str, more: &[(&str, String)]) -> Vec<u8> {
        let mut head = Vec::with_capacity(512);
        // A canonical path holds nothing that could end the line.
        head.extend_from_slice(format!("{method} {} HTTP/1.1\r\n", self.path).as_bytes());
        let bare_v6 = self.host.contains(':') && !self.host.starts_with('[');
        push_field(&mut head, "Host", &if bare_v6 { format!("[{}]", self.host) } else { self.host.clone() });
        push_field(&mut head, field::PEER_ID, &self.own_id);
        if let Some(token) = &self.token {
            push_field(&mut head, field::TOKEN, token);
        }
        if let Some(transfer) = self.transfer {
            push_field(&mut head, field::TRANSFER, &transfer.to_string());
        }
        if let Some(reason) = self.reason {
            push_field(&mut head, field::REASON, reason);
        }
        if let Some(root) = &self.root {
            push_field(&mut head, "If-Match", &format!("\"{root}\""));
        }
        more.iter().for_each(|(name, value)| push_field(&mut head, name, value));
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Whether the answer to a GET brings what was asked for, and how its body is framed.
    fn judge(&self, head: &ResponseHead) -> Result<Framing, Failure> {
        let len = self.bytes.end - self.bytes.start;
        let is_whole = self.bytes == (0..self.size);
        if !matches!(head.status, 200 | 206) {
            return Err(Failure::status(head.status));
        }
        self.check_proof(head)?;
        if head.status == 200 && !is_whole {
            return Err(Failure::refused("it sends the whole file instead of a part"));
        }
        // Only what can be a root is compared: a version 2 peer may have entity tags of its own making.
        let tag = head.fields.get("etag").and_then(|tag| tag.trim().trim_matches('"').parse::<Digest>().ok());
        if let (Some(root), Some(tag)) = (&self.root, tag)
            && tag != *root
        {
            return Err(Failure::gone(format!("it has another version, {tag}")));
        }
        if let Some(field) = head.fields.get("content-range")
            && !ContentRange::parse(field).is_some_and(|told| told.is(&self.bytes, self.size))
        {
            return Err(Failure::refused(format!("it sends {field:?} instead")));
        }
        match announced(&head.fields).map_err(|error| Failure::refused(error.to_string()))? {
            Announced::Length(announced) if announced == len => Ok(Framing::Length(len)),
            Announced::Length(announced) => {
                Err(Failure::refused(format!("it announces {announced} bytes instead of {len}")))
            }
            Announced::Chunked => Ok(Framing::Chunked(Chunked::Size)),
            // Up to the end of the connection, which cannot be kept (`can_be_kept`).
            Announced::Nothing => Ok(Framing::Length(len)),
        }
    }

    fn check_proof(&self, head: &ResponseHead) -> Result<(), Failure> {
        let Some(expected) = &self.proof else { return Ok(()) };
        let got = head.fields.get(field::PROOF).unwrap_or_default();
        if token::same(expected.as_bytes(), got.trim().as_bytes()) {
            Ok(())
        } else {
            Err(Failure::refused("it cannot prove that it is the peer that the server named"))
        }
    }
}

fn no_answer(patience: Duration) -> Failure {
    Failure::new(FailureKind::Timeout, format!("no answer within {patience:?}"))
}

/// A failure before it is told to the caller.
#[derive(Debug)]
struct Failure {
    kind: FailureKind,
    message: String,
    disk: Option<std::io::Error>,
    /// The connection ended before the first byte of an answer: a kept one may just have been too old.
    is_stale: bool,
}

impl Failure {
    fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), disk: None, is_stale: false }
    }

    fn refused(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused, message)
    }

    fn gone(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Gone, message)
    }

    fn stale(message: impl Into<String>) -> Self {
        Self { is_stale: true, ..Self::gone(message) }
    }

    fn senseless() -> Self {
        Self::new(FailureKind::Cancelled, "bytes, pieces and size do not fit together")
    }

    fn status(status: u16) -> Self {
        let kind = match status {
            404 | 410 | 412 | 416 => FailureKind::Gone,
            _ => FailureKind::Refused,
        };
        Self::new(kind, format!("it answers {status}"))
    }

    fn slow(slow: TooSlow) -> Self {
        match slow.moved {
            0 => Self::new(FailureKind::Timeout, format!("it took no bytes in {:?}", slow.window)),
            _ => Self::new(FailureKind::Slow, format!("it took only {slow}")),
        }
    }

    fn sending(trouble: SendTrouble) -> Self {
        match trouble {
            SendTrouble::Broken(error) => Self::gone(format!("the connection broke: {error}")),
            SendTrouble::Slow(slow) => Self::slow(slow),
            SendTrouble::File(error) => {
                Self { disk: Some(error), ..Self::gone("our own file cannot be read to its end") }
            }
        }
    }

    fn head(trouble: HeadTrouble) -> Self {
        match trouble {
            HeadTrouble::Closed => Self::stale("it closed the connection without an answer"),
            HeadTrouble::Cut => Self::gone("it closed the connection within its answer"),
            HeadTrouble::Bad(error) => Self::refused(error.to_string()),
        }
    }

    fn about(self, subject: &str) -> ReceiveError {
        let message = format!("{subject}: {}", self.message);
        ReceiveError { disk: self.disk, ..ReceiveError::new(self.kind, message) }
    }
}

struct Inner {
    connect_timeout: Duration,
    deadlines: Deadlines,
    idle: Mutex<Idle>,
}

/// Connections that nobody uses now.
#[derive(Default)]
struct Idle {
    /// Per peer, oldest first; no empty lists.
    kept: HashMap<SocketAddr, Vec<Kept>>,
    total: usize,
    warming: HashSet<SocketAddr>,
    /// A task that closes the old ones is alive.
    is_reaped: bool,
}

struct Kept {
    link: Link,
    until: Instant,
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        // No code under the lock can panic half-way.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, and whether it is one that was kept.
    async fn link_to(&self, peer: SocketAddr, may_be_kept: bool) -> Result<(Link, bool), Failure> {
        if may_be_kept && let Some(link) = self.idle().take(&peer) {
            return Ok((link, true));
        }
        self.dial(peer).await.map(|link| (link, false))
    }

    async fn dial(&self, peer: SocketAddr) -> Result<Link, Failure> {
        let unreachable = |why: String| Failure::new(FailureKind::Unreachable, why);
        match tokio::time::timeout(self.connect_timeout, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => Ok(Link::new(stream, &[])),
            Ok(Err(error)) => Err(unreachable(format!("cannot connect: {error}"))),
            Err(_) => Err(unreachable(format!("cannot connect within {:?}", self.connect_timeout))),
        }
    }

    fn keep(self: &Arc<Self>, peer: SocketAddr, link: Link) {
        let mut idle = self.idle();
        idle.put(peer, Kept { link, until: Instant::now() + self.deadlines.keep });
        if idle.total > 0 && !idle.is_reaped {
            idle.is_reaped = true;
            drop(idle);
            tokio::spawn(reap(Arc::downgrade(self), self.deadlines.keep));
        }
    }

    /// Sends a request without body and waits for the head of the final answer.
    async fn ask(
        &self,
        peer: SocketAddr,
        request: &[u8],
        patience: Duration,
    ) -> Result<(Link, ResponseHead, Instant), Failure> {
        let mut may_be_kept = true;
        loop {
            let (mut link, was_kept) = self.link_to(peer, may_be_kept).await?;
            let started = Instant::now();
            let asked = async {
                let mut out = Outgoing::new(&link.stream, &self.deadlines);
                out.write_all(request, false, &mut 0).await.map_err(stale_if_broken)?;
                let stream = Arc::clone(&link.stream);
                let answer = while_sending(&stream, self.read_answer(&mut link, false));
                tokio::time::timeout(patience, answer).await.map_err(|_| no_answer(patience))?
            };
            match asked.await {
                Ok(head) => return Ok((link, head, started)),
                Err(failure) if failure.is_stale && was_kept => may_be_kept = false,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The next head that is not an interim one; or `100 Continue`, if that is waited for.
    async fn read_answer(&self, link: &mut Link, or_continue: bool) -> Result<ResponseHead, Failure> {
        for _ in 0..=MAX_INTERIM {
            let head = link.read_head(ResponseHead::parse).await.map_err(Failure::head)?;
            let is_interim = (100..200).contains(&head.status) && head.status != 101;
            if !is_interim || (or_continue && head.status == 100) {
                return Ok(head);
            }
        }
        Err(Failure::refused("too many interim answers"))
    }

    async fn put(
        self: &Arc<Self>,
        mut link: Link,
        errand: &Errand,
        span: &FileSpan,
        limiter: &RateLimiter,
        sent: &mut u64,
    ) -> Result<(), Failure> {
        let Range { start, end } = errand.bytes;
        let mut fields = vec![
            ("Range", errand.range()),
            ("Content-Range", format!("bytes {start}-{}/{}", end - 1, errand.size)),
            ("Content-Type", "application/octet-stream".to_owned()),
            ("Content-Length", span.len.to_string()),
        ];
        // Version 2 peers never heard of this, and have no proof to give.
        let waits = errand.proof.is_some();
        if waits {
            fields.push(("Expect", "100-continue".to_owned()));
        }
        let mut out = Outgoing::new(&link.stream, &self.deadlines);
        out.write_all(&errand.head("PUT", &fields), !waits, &mut 0).await.map_err(stale_if_broken)?;
        if waits {
            let stream = Arc::clone(&link.stream);
            let answer = while_sending(&stream, self.read_answer(&mut link, true));
            let head = tokio::time::timeout(self.connect_timeout, answer)
                .await
                .map_err(|_| no_answer(self.connect_timeout))??;
            if head.status != 100 {
                return Err(put_refusal(&head));
            }
            errand.check_proof(&head)?;
        }
        // An answer that comes before the body is through is a refusal; going on would be a waste.
        let is_through = tokio::select! {
            biased;
            went = out.send_file(span, limiter, sent) => match went {
                Ok(()) => true,
                Err(SendTrouble::Broken(error)) => {
                    tracing::debug!(peer = %errand.peer, %error, "PUT broke off; looking for an answer");
                    false
                }
                Err(trouble) => return Err(Failure::sending(trouble)),
            },
            _ = link.wait_for_bytes() => false,
        };
        if !is_through {
            let answer =
                tokio::time::timeout(self.deadlines.linger, self.read_answer(&mut link, false)).await;
            return Err(match answer {
                Ok(Ok(head)) => put_refusal(&head),
                Ok(Err(failure)) => Failure { is_stale: failure.is_stale && *sent == 0, ..failure },
                Err(_) => Failure::gone("the connection broke"),
            });
        }
        let head = self.final_answer(&mut link, &mut out).await?;
        if !matches!(head.status, 200 | 201 | 204) {
            return Err(put_refusal(&head));
        }
        let mut framing = match announced(&head.fields) {
            _ if head.status == 204 => Framing::Length(0),
            Ok(Announced::Length(length)) => Framing::Length(length),
            Ok(Announced::Chunked) => Framing::Chunked(Chunked::Size),
            Ok(Announced::Nothing) | Err(_) => return Ok(()),
        };
        // A few words may follow. They come together with the head or are not worth waiting for.
        if can_be_kept(&head) && is_over(&mut link, &mut framing) {
            self.keep(errand.peer, link);
        }
        Ok(())
    }

    /// Waits for the answer to a body that has left our hands. As long as it is on its way only the pace matters; then
    /// the taker may need a window's time to read what has arrived, under a limit of its own perhaps.
    async fn final_answer(&self, link: &mut Link, out: &mut Outgoing) -> Result<ResponseHead, Failure> {
        let patience = self.connect_timeout.max(self.deadlines.body_window);
        let stream = Arc::clone(&link.stream);
        let mut answer = std::pin::pin!(while_sending(&stream, self.read_answer(link, false)));
        loop {
            let has_arrived = out.has_arrived();
            let wait = if has_arrived { patience } else { ARRIVAL_POLL };
            match tokio::time::timeout(wait, &mut answer).await {
                Ok(answer) => return answer.map_err(|failure| Failure { is_stale: false, ..failure }),
                Err(_) if has_arrived => {
                    return Err(Failure::new(FailureKind::Timeout, format!("no answer within {patience:?}")));
                }
                Err(_) => out.check().map_err(Failure::sending)?,
            }
        }
    }
}

impl Idle {
    /// The connection to `peer` that was used last, if it is still good.
    fn take(&mut self, peer: &SocketAddr) -> Option<Link> {
        let list = self.kept.get_mut(peer)?;
        let now = Instant::now();
        let mut found = None;
        while let Some(mut kept) = list.pop() {
            self.total -= 1;
            if now < kept.until && kept.link.is_quiet() {
                found = Some(kept.link);
                break;
            }
        }
        if list.is_empty() {
            self.kept.remove(peer);
        }
        found
    }

    /// Keeps a connection, or closes it if there are enough.
    fn put(&mut self, peer: SocketAddr, kept: Kept) {
        let at_peer = self.kept.get(&peer).map_or(0, Vec::len);
        if self.total < MAX_IDLE && at_peer < MAX_IDLE_PER_PEER {
            self.kept.entry(peer).or_default().push(kept);
            self.total += 1;
        }
    }

    fn drop_old(&mut self, now: Instant) {
        self.kept.retain(|_, list| {
            list.retain(|kept| now < kept.until);
            !list.is_empty()
        });
        self.total = self.kept.values().map(Vec::len).sum();
    }
}

/// Closes old connections until there are none, or no pool.
async fn reap(pool: Weak<Inner>, keep: Duration) {
    loop {
        tokio::time::sleep(keep / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        idle.drop_old(Instant::now());
        if idle.total == 0 {
            idle.is_reaped = false;
            return;
        }
    }
}

fn stale_if_broken(trouble: SendTrouble) -> Failure {
    match trouble {
        SendTrouble::Broken(error) => Failure::stale(format!("the connection broke: {error}")),
        other => Failure::sending(other),
    }
}

/// What a status other than success says about a PUT; success before the body was through is no success.
fn put_refusal(head: &ResponseHead) -> Failure {
    match head.status {
        409 => Failure::new(FailureKind::Hash, "it says that pieces were wrong"),
        507 => Failure::new(FailureKind::Disk, "it cannot store them"),
        200..300 => Failure::refused(format!("it answers {} without taking the bytes", head.status)),
        status => Failure::status(status),
    }
}

fn can_be_kept(head: &ResponseHead) -> bool {
    !head.is_http10
        && !head.fields.has_word("connection", "close")
        && !matches!(announced(&head.fields), Ok(Announced::Nothing))
}

/// Whether nothing of a body is left, without waiting. A short rest that is there already is read away.
fn is_over(link: &mut Link, framing: &mut Framing) -> bool {
    /// Longest rest of an answer that is worth reading.
    const MAX_REST: usize = 1024;
    let mut rest = Vec::with_capacity(MAX_REST);
    while rest.len() < MAX_REST {
        let room = MAX_REST - rest.len();
        match link.try_body(framing, &mut rest, room) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}
