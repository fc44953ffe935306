//! The accepting side: the listener for peers, and what is given to whom (docs/protocol.md, sections 4 and 8).
//!
//! Nothing leaves without a token that the server made for exactly this exchange, or its word on a stranger of
//! version 2; and nothing but verified pieces.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use super::exchange::{self, Exchange};
use super::inner::Inner;
use super::progress::Source;
use super::session::Key;
use super::{Error, ErrorKind, hashes};
use crate::peer::head::Fields;
use crate::peer::serve::{Body, Request, Response, Service, serve_connection};
use crate::peer::{FileSpan, field};
use crate::wire::token::{self, Method, TokenScope};
use crate::wire::{self, ByteRange, Digest, FailureKind, Reason, UrlPath, limits};

/// Connections of peers at once; more are closed.
const MAX_CONNECTIONS: usize = 256;
/// Exchanges with those who dialled us at once; more are told to come back.
const MAX_UPLOADS: u32 = 64;
/// Servers that have not greeted yet are waited for so long, together, before a token is taken for a bad one.
const GREETINGS: Duration = Duration::from_secs(1);
/// Connections the system holds until they are accepted.
const BACKLOG: i32 = 256;

/// The peer listener of a client, opened at first need.
#[derive(Debug)]
pub(super) struct Listener {
    port: AtomicU16,
    opening: tokio::sync::Mutex<()>,
    /// Exchanges under way in which something is given, or taken from one who dialled us.
    uploads: watch::Sender<u32>,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            port: AtomicU16::new(0),
            opening: tokio::sync::Mutex::default(),
            uploads: watch::Sender::new(0),
        }
    }
}

/// An exchange that the end of the client waits for, as long as it lives.
#[derive(Debug)]
pub(super) struct Upload(Arc<Inner>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.listener.uploads.send_modify(|uploads| *uploads -= 1);
    }
}

impl Listener {
    /// Port it listens on; 0 = not yet.
    pub(super) fn port(&self) -> u16 {
        self.port.load(Ordering::Acquire)
    }

    /// Exchanges under way.
    pub(super) fn uploading(&self) -> u32 {
        *self.uploads.borrow()
    }

    /// Completes when no exchange is under way.
    pub(super) async fn drained(&self) {
        // The sender lives as long as `self`.
        let _ = self.uploads.subscribe().wait_for(|uploads| *uploads == 0).await;
    }

    /// Opens it unless it is open; its port.
    pub(super) async fn open(&self, inner: &Arc<Inner>, port: u16) -> Result<u16, Error> {
        let _one_at_a_time = self.opening.lock().await;
        if self.port() != 0 {
            return Ok(self.port());
        }
        let (listener, port) = bind(port)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot listen on port {port}: {error}")))?;
        self.port.store(port, Ordering::Release);
        tracing::info!(port, "listening for peers");
        tokio::spawn(accept_peers(listener, Arc::clone(inner)));
        Ok(port)
    }
}

impl Inner {
    /// Notes an exchange that the end of the client should wait for.
    pub(super) fn upload(self: &Arc<Self>) -> Upload {
        self.listener.uploads.send_modify(|uploads| *uploads += 1);
        Upload(Arc::clone(self))
    }

    /// The same, unless there are too many, or the client is ending.
    fn try_upload(self: &Arc<Self>) -> Option<Upload> {
        let fits = !self.is_closing() && self.listener.uploading() < MAX_UPLOADS;
        fits.then(|| self.upload())
    }
}

/// Both families on one port; IPv4 alone where there is no IPv6.
fn bind(port: u16) -> std::io::Result<(TcpListener, u16)> {
    use socket2::{Domain, Protocol, Socket, Type};
    let open = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok::<StdListener, std::io::Error>(socket.into())
    };
    let listener =
        open((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|_| open((Ipv4Addr::UNSPECIFIED, port).into()))?;
    let port = listener.local_addr()?.port();
    Ok((TcpListener::from_std(listener)?, port))
}

async fn accept_peers(listener: TcpListener, inner: Arc<Inner>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let service = Arc::new(PeerService { inner: Arc::clone(&inner) });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = inner.closing() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: some will be free in a moment.
                tracing::warn!(%error, "cannot accept a peer");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        // Without a place the connection is closed, and the peer tries elsewhere.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        // Speed matters more than packets; without it things are just slower.
        let _ = stream.set_nodelay(true);
        let (service, inner) = (Arc::clone(&service), Arc::clone(&inner));
        tokio::spawn(async move {
            let _place = place;
            serve_connection(stream, Bytes::new(), service, async move { inner.closing().await }).await;
        });
    }
}

struct PeerService {
    inner: Arc<Inner>,
}

/// What a request is about, as far as the head says.
struct Wanted {
    method: Method,
    path: UrlPath,
    /// Inclusive, as in tokens.
    range: Option<(u64, u64)>,
    root: Option<Digest>,
    peer_id: String,
    token: Option<String>,
    transfer: Option<u64>,
    /// How long it would wait for it (RFC 7240, section 4.3).
    wait: Option<Duration>,
    /// Why, says who brings something. It is for people to see, and need not be true.
    reason: Option<Reason>,
}

impl Service for PeerService {
    async fn call(&self, mut request: Request<'_>) -> Response {
        if request.head.path() == "/.pdtp/hello" {
            return self.hello(&request).await;
        }
        // Programs of 2007 ask once on a connection, and wait for its end.
        let is_single = request.head.fields.get(field::TOKEN).is_none();
        let mut response = match Wanted::read(&request) {
            Ok(wanted) => match &wanted.token {
                Some(token) => self.known(&mut request, &wanted, token).await,
                None => self.stranger(&request, &wanted).await,
            },
            Err(refused) => refused,
        };
        response.close |= is_single;
        response
    }
}

impl Wanted {
    fn read(request: &Request<'_>) -> Result<Self, Response> {
        let head = &request.head;
        let get = |name| head.fields.get(name);
        let method = match head.method.as_str() {
            "GET" => Method::Get,
            "PUT" => Method::Put,
            _ => return Err(Response::text(405, "peers exchange pieces by GET and PUT")),
        };
        let path =
            UrlPath::parse(head.path()).map_err(|error| Response::text(400, format!("path: {error}")))?;
        let range = match method {
            Method::Get => get("Range").map(|text| inclusive(text, "bytes=")),
            Method::Put => get("Content-Range").map(|text| inclusive(text, "bytes ")),
        };
        if range == Some(None) {
            return Err(Response::text(400, "one range of bytes is wanted"));
        }
        let root = get("If-Match").map(|tag| tag.trim().trim_matches('"').parse());
        let Ok(root) = root.transpose() else {
            return Err(Response::text(412, "no version of this name"));
        };
        let Some(peer_id) = get(field::PEER_ID).filter(|id| !id.is_empty()) else {
            return Err(Response::text(400, "who are you? X-PDTP-Peer-Id is missing"));
        };
        Ok(Self {
            method,
            path,
            range: range.flatten(),
            root,
            peer_id: peer_id.to_owned(),
            token: get(field::TOKEN).map(str::to_owned),
            transfer: get(field::TRANSFER).and_then(|id| id.parse().ok()),
            wait: get("Prefer").and_then(preferred_wait),
            reason: get(field::REASON).and_then(|word| Reason::of_word(word.trim())),
        })
    }
}

/// The seconds of `wait=` among preferences, no more of them than are granted.
fn preferred_wait(text: &str) -> Option<Duration> {
    let seconds = text.split(',').find_map(|preference| preference.trim().strip_prefix("wait="))?;
    let digits = seconds.trim().trim_matches('"');
    Some(Duration::from_secs(digits.parse().ok()?).min(limits::MAX_WAIT))
}

/// `bytes=a-b`, or `bytes a-b/size`; both ends are always written between peers.
fn inclusive(text: &str, unit: &str) -> Option<(u64, u64)> {
    let range = text.trim().strip_prefix(unit)?;
    let (min, max) = range.split('/').next()?.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (min, max): (u64, u64) = (digits(min)?, digits(max)?);
    (min <= max && max < u64::MAX).then_some((min, max))
}

fn etag(root: &Digest) -> String {
    format!("\"{root}\"")
}

impl PeerService {
    /// Proves to a server that this is the client it knows.
    async fn hello(&self, request: &Request<'_>) -> Response {
        let (nonce, id) = (request.head.query_value("n"), request.head.query_value("id"));
        let (Some(nonce), Some(id)) = (nonce, id) else {
            return Response::text(400, "n and id are wanted");
        };
        let link = self.inner.all_links().into_iter().find(|link| link.client_id == id);
        let key = match &link {
            Some(link) => link.key_soon().await,
            None => None,
        };
        match key {
            Some(key) => {
                let mut response = Response::text(200, "");
                response.body = Body::Bytes(token::make_hello(&key.secret, &nonce).into());
                response
            }
            None => Response::text(404, "no such client here"),
        }
    }

    /// Somebody with a token.
    async fn known(&self, request: &mut Request<'_>, wanted: &Wanted, token: &str) -> Response {
        let (Some((min, max)), Some(root), Some(transfer)) = (wanted.range, wanted.root, wanted.transfer)
        else {
            return Response::text(400, "a range, a version and the number of the transfer are wanted");
        };
        let scope = TokenScope {
            method: wanted.method,
            path: &wanted.path,
            root: &root,
            min,
            max,
            connector: &wanted.peer_id,
            transfer,
        };
        let find = || {
            self.inner.all_links().into_iter().find_map(|link| {
                let good = |key: &Key| token::check_token(&key.secret, &scope, token, key.now());
                link.keys().into_iter().find(good).map(|key| (link, key))
            })
        };
        let mut found = find();
        if found.is_none() {
            // Whoever was sent here by a server may be here before its greeting, with the secret, was read.
            let greetings = async {
                for link in self.inner.all_links().into_iter().filter(|link| link.keys().is_empty()) {
                    link.key_soon().await;
                }
            };
            let _ = timeout(GREETINGS, greetings).await;
            found = find();
        }
        let Some((link, key)) = found else { return Response::text(403, "the token is not good") };
        let proof = token::make_proof(&key.secret, token);
        let held = match link.files.get_soon(&wanted.path).await {
            Some(held) if held.root == root => held,
            Some(_) => return Response::text(412, "another version is here"),
            None => return Response::text(404, "not here"),
        };
        let Some(upload) = self.inner.try_upload() else { return Response::text(503, "busy") };
        let bytes = min..max + 1;
        let pieces = held.layout.touched(bytes.clone());
        if bytes.end > held.layout.size() || pieces.is_empty() {
            return Response::text(416, "no such bytes");
        }
        let exchange = Exchange {
            conn: key.conn.upgrade(),
            id: Some(transfer),
            held,
            pieces,
            peer_id: wanted.peer_id.clone(),
            peer: request.remote.ip().to_canonical(),
            source: Source::Peer,
            received: wanted.method == Method::Put,
            reason: wanted.reason,
            progress: None,
            is_told: AtomicBool::new(false),
            link,
        };
        match wanted.method {
            Method::Get => {
                if let Some(wait) = wanted.wait {
                    tokio::select! {
                        _ = exchange.held.has_within(&exchange.pieces, wait) => {}
                        () = self.inner.closing() => {}
                    }
                }
                self.give(exchange, bytes, Some(proof), upload).await
            }
            Method::Put => self.take(request, exchange, bytes, proof, upload).await,
        }
    }

    /// Somebody of version 2: the server is asked whether this is meant to be, once for each request. Whatever comes of
    /// it, the server hears the end of it, and the connection is closed.
    async fn stranger(&self, request: &Request<'_>, wanted: &Wanted) -> Response {
        if wanted.method == Method::Put {
            return Response::text(400, "pieces are brought with a token only");
        }
        let (Some(host), Some((min, max))) = (request.head.fields.get("Host"), wanted.range) else {
            return Response::text(400, "a host and a range with both ends are wanted");
        };
        if request.head.names_other_port(request.local.port()) {
            return Response::text(403, "this is the name of another server");
        }
        let (of_host, others): (Vec<_>, Vec<_>) =
            self.inner.all_links().into_iter().partition(|link| link.host.eq_ignore_ascii_case(host));
        let found = of_host
            .into_iter()
            .chain(others)
            .filter(|link| link.gives())
            .find_map(|link| link.files.get(&wanted.path).map(|held| (link, held)));
        let Some((link, held)) = found else { return Response::text(404, "not here") };
        if wanted.root.is_some_and(|root| root != held.root) {
            return Response::text(412, "another version is here");
        }
        let pieces = held.layout.touched(min..max + 1);
        let is_inside = max < held.layout.size();
        let exchange = Exchange {
            conn: link.conn_now(),
            id: None,
            held,
            pieces,
            peer_id: wanted.peer_id.clone(),
            peer: request.remote.ip().to_canonical(),
            source: Source::Peer,
            received: false,
            reason: None,
            progress: None,
            is_told: AtomicBool::new(false),
            link,
        };
        let refuse = async |status, text: &str| {
            exchange.report_end(0, Duration::ZERO, Some(FailureKind::Refused)).await;
            Response::text(status, text)
        };
        let Some(upload) = self.inner.try_upload() else { return refuse(503, "busy").await };
        if !self.is_meant(&exchange, (min, max)).await {
            return Response::text(403, "the server knows nothing of this");
        }
        if !is_inside {
            return refuse(416, "no such bytes").await;
        }
        self.give(exchange, min..max + 1, None, upload).await
    }

    async fn is_meant(&self, exchange: &Exchange, (min, max): (u64, u64)) -> bool {
        let Some(conn) = &exchange.conn else { return false };
        let ask = wire::AskVerify {
            peer: exchange.peer.to_string(),
            url: exchange.held.url.clone(),
            range: ByteRange::new(min, max),
            peer_id: exchange.peer_id.clone(),
        };
        let verdict = async {
            let (verdict, message) = conn.asks.verify(ask).await.ok()?;
            conn.send(message).await.ok()?;
            verdict.await.ok()
        };
        timeout(limits::VERIFY_TIMEOUT, verdict).await.ok().flatten().unwrap_or(false)
    }

    /// Answers a GET.
    async fn give(
        &self,
        exchange: Exchange,
        bytes: Range<u64>,
        proof: Option<String>,
        upload: Upload,
    ) -> Response {
        let started = Instant::now();
        exchange.held.touch();
        if !exchange.link.gives() {
            return Response::text(404, "nothing is given here");
        }
        let (held, pieces) = (Arc::clone(&exchange.held), exchange.pieces.clone());
        let link = Arc::clone(&exchange.link);
        let span = tokio::task::spawn_blocking(move || link.files.open_store(&held)?.span(pieces)).await;
        let Ok(Some(span)) = span else {
            exchange.report_end(0, started.elapsed(), Some(FailureKind::Gone)).await;
            return Response::text(404, "no longer here");
        };
        let size = exchange.held.layout.size();
        let span = FileSpan { offset: bytes.start, len: bytes.end - bytes.start, ..span };
        let is_whole = proof.is_some() && bytes == (0..size);
        let mut fields = Fields::default();
        let mut add = |name: &str, value| fields.0.push((name.to_owned(), value));
        if exchange.held.is_told() {
            add("ETag", etag(&exchange.held.root));
        }
        if !is_whole {
            add("Content-Range", format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1));
        }
        if let Some(proof) = proof {
            add(field::PROOF, proof);
        }
        let handle = self.inner.handle.clone();
        Response {
            status: if is_whole { 200 } else { 206 },
            fields,
            body: Body::File(span, self.inner.up.clone()),
            close: false,
            on_sent: Some(Box::new(move |sent| {
                exchange.link.inner.totals.sent(sent.bytes);
                let mut report = Box::pin(async move {
                    let error = (!sent.complete).then_some(FailureKind::Gone);
                    exchange.report_end(sent.bytes, sent.elapsed, error).await;
                    drop(upload);
                });
                // At once, if the queue to the server has room: to version 2 this ends the permission, and must not come
                // after the question for one who sees the end of the body and asks again.
                if report.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                    handle.spawn(report);
                }
            })),
        }
    }

    /// Answers a PUT.
    async fn take(
        &self,
        request: &mut Request<'_>,
        exchange: Exchange,
        bytes: Range<u64>,
        proof: String,
        upload: Upload,
    ) -> Response {
        let _upload = upload;
        let layout = exchange.held.layout;
        let Some(store) = exchange.held.store() else { return Response::text(404, "not wanted any more") };
        if bytes != layout.bytes_of_run(exchange.pieces.clone()) {
            return Response::text(416, "whole pieces are wanted");
        }
        hashes::need(&exchange.link, &exchange.held, exchange.pieces.clone(), false);
        let called_off = Arc::new(Notify::new());
        if let Some(id) = exchange.id {
            exchange.link.exchanges().insert(id, Arc::clone(&called_off));
        }
        let proof_field = [(field::PROOF, proof.clone())];
        let pieces = exchange.pieces.clone();
        let result = exchange::take_from(&exchange, &called_off, |verified| {
            request.body.receive(&proof_field, pieces, store, exchange.held.down(), move |piece| {
                // The receiver closes only after this side has ended.
                let _ = verified.send(piece);
            })
        })
        .await;
        if let Some(id) = exchange.id {
            let mut exchanges = exchange.link.exchanges();
            if exchanges.get(&id).is_some_and(|known| Arc::ptr_eq(known, &called_off)) {
                exchanges.remove(&id);
            }
        }
        let (status, text) = match result {
            Ok(_) => (200, "thanks"),
            Err(error) => match error.kind {
                FailureKind::Hash => (409, "some of it was wrong"),
                FailureKind::Disk => (507, "cannot be stored"),
                FailureKind::Cancelled => (503, "called off"),
                _ => (400, "not what was wanted"),
            },
        };
        let response = Response::text(status, text).with(field::PROOF, proof);
        let close = status != 200 && status != 409;
        Response { close: close || response.close, ..response }.with("ETag", etag(&exchange.held.root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_between_peers_have_both_ends() {
        assert_eq!(inclusive("bytes=0-9", "bytes="), Some((0, 9)));
        assert_eq!(inclusive("bytes 5-9/20", "bytes "), Some((5, 9)));
        for bad in ["bytes=5-", "bytes=-5", "bytes=9-5", "bytes=0-1,4-5", "bytes=+1-2", "items=0-1", ""] {
            assert_eq!(inclusive(bad, "bytes="), None, "{bad}");
        }
        assert_eq!(inclusive("bytes=0-18446744073709551615", "bytes="), None);
    }

    #[tokio::test]
    async fn a_taken_port_is_told_and_a_free_one_found() {
        let (listener, port) = bind(0).unwrap();
        assert_ne!(port, 0);
        assert_eq!(listener.local_addr().unwrap().port(), port);
        assert!(bind(port).is_err());
        let dialled = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        assert!(dialled.is_ok(), "IPv4 reaches it, too");
    }
}
