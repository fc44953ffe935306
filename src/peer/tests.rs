//! Both ends against each other and against scripted peers, over real sockets on loopback.

use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::connect::{Errand, Pool};
use super::deadlines::Deadlines;
use super::head::{RangeRequest, parse_range};
use super::serve::{Body, Request, Response, Service, serve_with};
use super::*;
use crate::content::{Layout, PieceHashes, PieceSet, PieceSize, hash_piece};
use crate::wire::{Digest, FailureKind, UrlPath};

const PIECE: u64 = 16 * 1024;

fn content(size: u64) -> Vec<u8> {
    (0..size).map(|i| (i / 3 + i / PIECE * 17) as u8).collect()
}

fn file_with(content: &[u8]) -> Arc<std::fs::File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Arc::new(file)
}

struct Sink {
    hashes: PieceHashes,
    bytes: Mutex<Vec<u8>>,
    have: Mutex<PieceSet>,
    busy: Mutex<PieceSet>,
    full: Option<u64>,
    released: Notify,
    /// Until then nothing can be verified.
    awaits: Option<Notify>,
    /// Storing takes until something is sent here.
    slow: Option<Slow>,
}

struct Slow {
    begun: Notify,
    end: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Sink {
    fn new(content: &[u8]) -> Arc<Self> {
        Self::with_space(content, None)
    }

    fn with_space(content: &[u8], full: Option<u64>) -> Arc<Self> {
        let layout = Layout::new(content.len() as u64, PieceSize::new(PIECE as u32).unwrap()).unwrap();
        let hashes =
            PieceHashes::new(layout, content.chunks(PIECE as usize).map(hash_piece).collect()).unwrap();
        Arc::new(Self {
            bytes: Mutex::new(vec![0; content.len()]),
            have: Mutex::new(PieceSet::new(layout.count())),
            busy: Mutex::new(PieceSet::new(layout.count())),
            hashes,
            full,
            released: Notify::new(),
            awaits: None,
            slow: None,
        })
    }

    fn has(&self) -> Vec<u32> {
        self.have.lock().unwrap().iter().collect()
    }
}

impl PieceSink for Sink {
    fn layout(&self) -> Layout {
        self.hashes.layout()
    }

    fn ready(&self, _: Range<u32>, patience: Duration) -> Option<Ready<'_>> {
        let awaits = self.awaits.as_ref()?;
        Some(Box::pin(async move { tokio::time::timeout(patience, awaits.notified()).await.is_ok() }))
    }

    fn claim(&self, piece: u32) -> Claim {
        if self.have.lock().unwrap().contains(piece) {
            Claim::Have
        } else if self.busy.lock().unwrap().insert(piece) {
            Claim::Granted
        } else {
            Claim::Busy
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        if self.full.is_some_and(|full| offset + bytes.len() as u64 > full) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.bytes.lock().unwrap()[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn finish(&self, piece: u32, digest: Digest) -> std::io::Result<Finished> {
        if let Some(slow) = &self.slow {
            slow.begun.notify_one();
            slow.end.lock().unwrap().recv().unwrap();
        }
        self.busy.lock().unwrap().remove(piece);
        let right = self.hashes.is_right(piece, &digest);
        if right {
            self.have.lock().unwrap().insert(piece);
        }
        Ok(if right { Finished::Right } else { Finished::Wrong })
    }

    fn release(&self, piece: u32) {
        self.busy.lock().unwrap().remove(piece);
        self.released.notify_one();
    }
}

/// Gives a file by range, takes PUTs into a sink.
struct Host {
    file: Arc<std::fs::File>,
    size: u64,
    sink: Option<Arc<Sink>>,
    sent: Arc<AtomicU64>,
    calls: AtomicU32,
}

impl Host {
    fn giving(content: &[u8]) -> Self {
        let (file, size) = (file_with(content), content.len() as u64);
        Self { file, size, sink: None, sent: Arc::default(), calls: AtomicU32::new(0) }
    }
}

impl Service for Host {
    async fn call(&self, mut request: Request<'_>) -> Response {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if request.head.method == "PUT" {
            let Some(sink) = &self.sink else { return Response::text(405, "no") };
            let count = sink.layout().count();
            let proof = [(field::PROOF, "proof".to_owned())];
            let got =
                request.body.receive(&proof, 0..count, sink.clone(), &RateLimiter::new(0), |_| {}).await;
            return match got {
                Ok(_) => Response::empty(200),
                Err(error) if error.kind == FailureKind::Hash => Response::text(409, "wrong"),
                Err(_) => Response::text(400, "bad"),
            };
        }
        let range = match parse_range(request.head.fields.get("range"), self.size) {
            RangeRequest::Part(range) => range,
            _ => 0..self.size,
        };
        let span = FileSpan { file: self.file.clone(), offset: range.start, len: range.end - range.start };
        let sent = self.sent.clone();
        let on_sent = move |end: serve::Sent| {
            sent.fetch_add(end.bytes, Ordering::Relaxed);
        };
        let mut response = Response::empty(206).with(field::PROOF, "proof");
        response.body = Body::File(span, RateLimiter::new(0));
        response.on_sent = Some(Box::new(on_sent));
        response
    }
}

fn short() -> Deadlines {
    Deadlines {
        idle: Duration::from_millis(400),
        head: Duration::from_millis(400),
        body_window: Duration::from_millis(400),
        body_bytes: 2000,
        linger: Duration::from_millis(200),
        ..Deadlines::default()
    }
}

/// Serves `service` for as long as the test runs; counts connections.
async fn serve(service: impl Service, deadlines: Deadlines) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (service, connections) = (Arc::new(service), Arc::new(AtomicU32::new(0)));
    let count = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let service = service.clone();
            tokio::spawn(async move {
                serve_with(stream, b"", &*service, std::future::pending(), &deadlines).await
            });
        }
    });
    (address, connections)
}

/// A peer that reads one head and then sends `answer`, byte for byte, and keeps the connection open if `hold`.
async fn scripted(answer: Vec<u8>, hold: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let _ = stream.write_all(&answer).await;
            if hold {
                let _ = stream.read_buf(&mut seen).await;
            }
        }
    });
    address
}

fn errand(peer: SocketAddr, bytes: Range<u64>, size: u64) -> Errand {
    Errand {
        peer,
        host: "files.example".to_owned(),
        path: UrlPath::parse("/a/b").unwrap(),
        root: None,
        bytes,
        size,
        own_id: "me".to_owned(),
        transfer: Some(7),
        token: Some("token".to_owned()),
        proof: Some("proof".to_owned()),
        reason: None,
        wait: None,
    }
}

fn pool() -> Pool {
    Pool::with_deadlines(Duration::from_millis(400), short())
}

async fn get(
    pool: &Pool,
    peer: SocketAddr,
    sink: &Arc<Sink>,
    pieces: Range<u32>,
) -> Result<Received, ReceiveError> {
    let layout = sink.layout();
    let errand = errand(peer, layout.bytes_of_run(pieces.clone()), layout.size());
    pool.get(&errand, pieces, sink.clone(), &RateLimiter::new(0), |_| {}).await
}

fn head_206(len: u64) -> Vec<u8> {
    format!("HTTP/1.1 206 Partial Content\r\nX-PDTP-Proof: proof\r\nContent-Length: {len}\r\n\r\n")
        .into_bytes()
}

#[tokio::test]
async fn runs_of_pieces_come_over_one_connection() {
    for size in [1, PIECE, PIECE + 1, 40 * PIECE + 5] {
        let content = content(size);
        let (peer, connections) = serve(Host::giving(&content), Deadlines::default()).await;
        let (pool, sink) = (pool(), Sink::new(&content));
        let count = sink.layout().count();
        let (told, seen) = std::sync::mpsc::channel();
        for run in [0..count / 2, count / 2..count] {
            let layout = sink.layout();
            if run.is_empty() {
                continue;
            }
            let errand = errand(peer, layout.bytes_of_run(run.clone()), size);
            let told = told.clone();
            let got = pool
                .get(&errand, run.clone(), sink.clone(), &RateLimiter::new(0), move |piece| {
                    told.send(piece).unwrap();
                })
                .await
                .unwrap();
            assert_eq!(got.pieces, run.clone().collect::<Vec<_>>());
            assert_eq!(got.bytes, errand.bytes.end - errand.bytes.start);
        }
        drop(told);
        assert_eq!(seen.iter().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        assert_eq!(*sink.bytes.lock().unwrap(), content);
        assert_eq!(connections.load(Ordering::Relaxed), 1, "kept and used again");
    }
}

#[tokio::test]
async fn a_warm_connection_is_used() {
    let content = content(10);
    let (peer, connections) = serve(Host::giving(&content), Deadlines::default()).await;
    let (pool, sink) = (pool(), Sink::new(&content));
    pool.warm(peer);
    while connections.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    // The other side has accepted; ours may not know yet. Either way there is one connection in the end, or two.
    get(&pool, peer, &sink, 0..1).await.unwrap();
    assert!(connections.load(Ordering::Relaxed) <= 2);
    assert_eq!(sink.has(), [0]);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let content = content(2 * PIECE);
    let deadlines = Deadlines { idle: Duration::from_millis(20), ..Deadlines::default() };
    let (peer, connections) = serve(Host::giving(&content), deadlines).await;
    let (pool, sink) = (pool(), Sink::new(&content));
    get(&pool, peer, &sink, 0..1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(80)).await; // longer than the acceptor keeps it
    get(&pool, peer, &sink, 1..2).await.unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_is_there_or_being_written_is_not_written_again() {
    let content = content(4 * PIECE);
    let (peer, _) = serve(Host::giving(&content), Deadlines::default()).await;
    let sink = Sink::new(&content);
    sink.have.lock().unwrap().insert(1);
    sink.busy.lock().unwrap().insert(2);
    let got = get(&pool(), peer, &sink, 0..4).await.unwrap();
    assert_eq!(got.pieces, [0, 3]);
    assert_eq!(sink.bytes.lock().unwrap()[PIECE as usize..3 * PIECE as usize], vec![0; 2 * PIECE as usize]);
}

#[tokio::test]
async fn a_wrong_piece_ends_the_run_and_the_right_ones_stay() {
    let content = content(4 * PIECE);
    let mut lie = content.clone();
    lie[2 * PIECE as usize + 9] ^= 1;
    let (peer, _) = serve(Host::giving(&lie), Deadlines::default()).await;
    let sink = Sink::new(&content);
    let error = get(&pool(), peer, &sink, 0..4).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Hash);
    assert_eq!(error.received.pieces, [0, 1]);
    assert_eq!(sink.has(), [0, 1]);
    assert_eq!(sink.claim(2), Claim::Granted, "the wrong one is free again");
}

#[tokio::test]
async fn a_peer_that_dies_within_a_piece_leaves_the_pieces_before() {
    let content = content(3 * PIECE);
    let mut answer = head_206(3 * PIECE);
    answer.extend_from_slice(&content[..2 * PIECE as usize + 100]);
    let peer = scripted(answer, false).await;
    let sink = Sink::new(&content);
    let error = get(&pool(), peer, &sink, 0..3).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Gone);
    assert_eq!(sink.has(), [0, 1]);
    assert_eq!(sink.claim(2), Claim::Granted);
}

#[tokio::test]
async fn answers_that_cannot_be_right_are_refused() {
    let size = 3 * PIECE;
    let content = content(size);
    let cases: [(&str, FailureKind); 9] = [
        ("HTTP/1.1 200 OK\r\nX-PDTP-Proof: proof\r\nContent-Length: 49152\r\n\r\n", FailureKind::Refused),
        ("HTTP/1.1 206 X\r\nX-PDTP-Proof: proof\r\nContent-Length: 16385\r\n\r\n", FailureKind::Refused),
        ("HTTP/1.1 206 X\r\nContent-Length: 16384\r\n\r\n", FailureKind::Refused),
        ("HTTP/1.1 206 X\r\nX-PDTP-Proof: prooF\r\nContent-Length: 16384\r\n\r\n", FailureKind::Refused),
        (
            "HTTP/1.1 206 X\r\nX-PDTP-Proof: proof\r\nContent-Range: bytes 1-16384/49152\r\nContent-Length: 16384\r\n\r\n",
            FailureKind::Refused,
        ),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", FailureKind::Refused),
        ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", FailureKind::Gone),
        ("HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n", FailureKind::Gone),
        ("SSH-2.0-nothing\r\n\r\n", FailureKind::Refused),
    ];
    for (answer, kind) in cases {
        let peer = scripted(answer.as_bytes().to_vec(), true).await;
        let sink = Sink::new(&content);
        let error = get(&pool(), peer, &sink, 0..1).await.unwrap_err();
        assert_eq!((error.kind, sink.has()), (kind, vec![]), "{answer}: {error}");
    }
}

#[tokio::test]
async fn a_silent_or_dribbling_peer_is_given_up() {
    let content = content(3 * PIECE);
    let sink = Sink::new(&content);
    let silent = scripted(Vec::new(), true).await;
    assert_eq!(get(&pool(), silent, &sink, 0..1).await.unwrap_err().kind, FailureKind::Timeout);
    let mut some = head_206(PIECE);
    some.extend_from_slice(&content[..10]);
    let dribbling = scripted(some, true).await;
    assert_eq!(get(&pool(), dribbling, &sink, 0..1).await.unwrap_err().kind, FailureKind::Slow);
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(get(&pool(), unused, &sink, 0..1).await.unwrap_err().kind, FailureKind::Unreachable);
    assert_eq!(sink.claim(0), Claim::Granted);
}

#[tokio::test]
async fn chunked_and_unmeasured_answers_of_old_programs_are_taken() {
    let content = content(PIECE);
    let mut chunked = b"HTTP/1.1 206 X\r\nX-PDTP-Proof: proof\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for part in content.chunks(5000) {
        chunked.extend_from_slice(format!("{:x};ext=1\r\n", part.len()).as_bytes());
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
    let mut unmeasured = b"HTTP/1.1 206 X\r\nX-PDTP-Proof: proof\r\nConnection: close\r\n\r\n".to_vec();
    unmeasured.extend_from_slice(&content);
    for answer in [chunked, unmeasured] {
        let peer = scripted(answer, false).await;
        let sink = Sink::new(&content);
        get(&pool(), peer, &sink, 0..1).await.unwrap();
        assert_eq!(*sink.bytes.lock().unwrap(), content);
    }
}

#[tokio::test]
async fn what_cannot_be_verified_yet_is_not_read() {
    let content = content(3 * PIECE);
    let host = Host::giving(&content);
    let sent = host.sent.clone();
    let (peer, _) = serve(host, Deadlines::default()).await;
    let unready = || {
        let sink = Arc::into_inner(Sink::new(&content)).unwrap();
        Arc::new(Sink { awaits: Some(Notify::new()), ..sink })
    };
    let sink = unready();
    let task = tokio::spawn({
        let (pool, sink) = (pool(), sink.clone());
        async move { get(&pool, peer, &sink, 0..3).await }
    });
    // The request does not wait for it, nor the answer.
    while sent.load(Ordering::Relaxed) < 3 * PIECE {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished() && sink.busy.lock().unwrap().count() == 0);
    sink.awaits.as_ref().unwrap().notify_one();
    assert_eq!(task.await.unwrap().unwrap().pieces, [0, 1, 2]);

    // Nor does the other side, for ever: and that is not its fault.
    let sink = unready();
    let hasty = Pool::with_deadlines(Duration::from_secs(10), short());
    let error = get(&hasty, peer, &sink, 0..3).await.unwrap_err();
    assert_eq!((error.kind, error.received.bytes), (FailureKind::Cancelled, 0));
    assert!(sink.has().is_empty() && sink.busy.lock().unwrap().count() == 0);
}

#[tokio::test]
async fn a_full_disk_is_told_as_such() {
    let content = content(3 * PIECE);
    let (peer, _) = serve(Host::giving(&content), Deadlines::default()).await;
    let sink = Sink::with_space(&content, Some(2 * PIECE));
    let error = get(&pool(), peer, &sink, 0..3).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Disk);
    assert_eq!(error.disk.unwrap().kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(error.received.pieces, [0, 1]);
}

#[tokio::test]
async fn dropping_a_get_releases_its_claim() {
    let content = content(2 * PIECE);
    let mut some = head_206(2 * PIECE);
    some.extend_from_slice(&content[..PIECE as usize + 100]);
    let peer = scripted(some, true).await;
    let sink = Sink::new(&content);
    {
        let pool = Pool::new(Duration::from_secs(10));
        let task = tokio::spawn({
            let sink = sink.clone();
            async move { get(&pool, peer, &sink, 0..2).await }
        });
        while sink.has() != [0] {
            tokio::task::yield_now().await;
        }
        task.abort();
        let _ = task.await;
    }
    // The second piece was claimed if its first bytes had been looked at.
    if !sink.busy.lock().unwrap().iter().collect::<Vec<_>>().is_empty() {
        sink.released.notified().await;
    }
    assert_eq!(sink.claim(1), Claim::Granted);
}

#[tokio::test]
async fn what_is_being_stored_when_a_get_is_dropped_is_told() {
    let content = content(2 * PIECE);
    let mut some = head_206(2 * PIECE);
    some.extend_from_slice(&content[..PIECE as usize]);
    let peer = scripted(some, true).await;
    let (end, receiver) = std::sync::mpsc::channel();
    let mut sink = Sink::new(&content);
    let slow = Slow { begun: Notify::new(), end: Mutex::new(receiver) };
    Arc::get_mut(&mut sink).unwrap().slow = Some(slow);
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn({
        let (sink, errand) = (sink.clone(), errand(peer, 0..2 * PIECE, 2 * PIECE));
        async move {
            let on_piece = move |piece| told.send(piece).unwrap();
            pool().get(&errand, 0..2, sink, &RateLimiter::new(0), on_piece).await
        }
    });
    sink.slow.as_ref().unwrap().begun.notified().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(heard.try_recv().is_err(), "nothing is verified yet");
    end.send(()).unwrap();
    assert_eq!(heard.recv().await, Some(0));
    assert_eq!(heard.recv().await, None, "nobody will tell more");
}

#[tokio::test]
async fn put_sends_only_to_a_genuine_acceptor() {
    let content = content(5 * PIECE + 1);
    let size = content.len() as u64;
    let taking = Sink::new(&content);
    let (peer, connections) =
        serve(Host { sink: Some(taking.clone()), ..Host::giving(b"") }, Deadlines::default()).await;
    let span = FileSpan { file: file_with(&content), offset: 0, len: size };
    let (pool, errand) = (pool(), errand(peer, 0..size, size));
    let sent = pool.put(&errand, span.clone(), &RateLimiter::new(0)).await.unwrap();
    assert_eq!(sent.bytes, size);
    assert!(taking.have.lock().unwrap().is_full());
    pool.put(&errand, span.clone(), &RateLimiter::new(0)).await.unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 1);

    let impostor = Errand { proof: Some("other".to_owned()), ..errand.clone() };
    let error = pool.put(&impostor, span.clone(), &RateLimiter::new(0)).await.unwrap_err();
    assert_eq!((error.kind, error.received.bytes), (FailureKind::Refused, 0));

    let wrong = Sink::new(&vec![7; content.len()]);
    let (peer, _) = serve(Host { sink: Some(wrong), ..Host::giving(b"") }, Deadlines::default()).await;
    let error = pool.put(&Errand { peer, ..errand }, span, &RateLimiter::new(0)).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Hash);
}

/// Sends `request` and reads all that comes until the other side closes.
async fn talk(peer: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(peer).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn requests_are_held_to_the_rules() {
    let (peer, _) = serve(Host::giving(b"hello"), short()).await;
    let many = (0..100).map(|i| format!("A{i}: b\r\n")).collect::<String>();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(20_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        ("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 411),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n".to_owned(), 417),
        ("GET / HTTP/1.1\r\nHost".to_owned(), 408),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n".to_owned(), 405),
    ] {
        let answer = talk(peer, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.80} -> {answer}");
        assert!(answer.contains("Connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn pipelined_requests_head_and_unread_bodies() {
    let (peer, connections) = serve(Host::giving(b"hello"), short()).await;
    let answer = talk(
        peer,
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n\
          PUT /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    assert_eq!(answer.matches("HTTP/1.1 206").count(), 3, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 405").count(), 1);
    assert_eq!(answer.matches("hello").count(), 2, "HEAD has no body");
    assert_eq!(answer.matches("Content-Length: 5").count(), 3);
}

#[tokio::test]
async fn http10_closes() {
    let (peer, _) = serve(Host::giving(b"hello"), Deadlines::default()).await;
    assert!(talk(peer, b"GET / HTTP/1.0\r\n\r\n").await.ends_with("\r\n\r\nhello"));
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut() {
    let host = Host::giving(&content(64 * 1024 * 1024));
    let sent = host.sent.clone();
    let (peer, _) = serve(host, short()).await;
    let mut stream = TcpStream::connect(peer).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    while sent.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await; // on_sent tells when it was cut
    }
    assert!(sent.load(Ordering::Relaxed) < 64 * 1024 * 1024);
}

#[tokio::test]
async fn shutdown_ends_idle_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let host = Host::giving(b"x");
    serve_with(accepted, b"", &host, std::future::ready(()), &Deadlines::default()).await;
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_and_can_be_lifted() {
    let limiter = RateLimiter::new(100_000);
    let start = tokio::time::Instant::now();
    let mut moved = 0;
    while moved < 1_000_000 {
        moved += limiter.take(1_000_000 - moved).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    assert!((9.5..=10.1).contains(&seconds), "1 MB at 100 kB/s took {seconds} s");
    let waiting = tokio::spawn({
        let limiter = limiter.clone();
        async move {
            let mut left = 100_000_000;
            while left > 0 {
                left -= limiter.take(left).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    limiter.set(0);
    waiting.await.unwrap();
    assert!(start.elapsed().as_secs_f64() < seconds + 1.5);
}

mod heads {
    use proptest::prelude::*;

    use super::super::head::*;

    proptest! {
        #[test]
        fn any_bytes_parse_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = RequestHead::parse(&bytes);
            let _ = ResponseHead::parse(&bytes);
        }

        #[test]
        fn a_range_never_leaves_the_file(field in "(bytes=)?[0-9, -]{0,30}", size in 0u64..2000) {
            if let RangeRequest::Part(range) = parse_range(Some(&field), size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }

    #[test]
    fn ranges() {
        let part = RangeRequest::Part;
        for (field, expected) in [
            ("bytes=0-0", part(0..1)),
            ("bytes=5-", part(5..100)),
            ("bytes=-5", part(95..100)),
            ("bytes=-500", part(0..100)),
            ("bytes=90-200", part(90..100)),
            ("bytes=200-300, 3-4", part(3..5)),
            ("bytes=100-", RangeRequest::Unsatisfiable),
            ("bytes=-0", RangeRequest::Unsatisfiable),
            ("bytes=5-4", RangeRequest::Whole),
            ("bytes=a-b", RangeRequest::Whole),
            ("lines=1-2", RangeRequest::Whole),
            ("bytes=0-99999999999999999999999", part(0..100)),
        ] {
            assert_eq!(parse_range(Some(field), 100), expected, "{field}");
        }
        assert_eq!(parse_range(None, 100), RangeRequest::Whole);
        assert_eq!(parse_range(Some("bytes=-5"), 0), RangeRequest::Whole);
    }

    #[test]
    fn targets() {
        let head = |target: &str| RequestHead { target: target.to_owned(), ..RequestHead::default() };
        assert_eq!(head("/a%20b?n=1&m=%41").path(), "/a%20b");
        assert_eq!(head("/a?n=1&m=%41").query_value("m").as_deref(), Some("A"));
        assert_eq!(head("http://host:1/a?x").path(), "/a");
        assert_eq!(head("http://host").path(), "/");
        assert_eq!(head("/a").query(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_within_another_keeps_to_both() {
    let outer = RateLimiter::new(0);
    let inner = outer.within(100_000);
    let seconds_for = async |bytes: usize| {
        let started = tokio::time::Instant::now();
        let mut left = bytes;
        while left > 0 {
            left -= inner.take(left).await;
        }
        started.elapsed().as_secs_f64()
    };
    // One second's worth, but for what may be saved up.
    assert_eq!(inner.rate(), 100_000);
    assert!((0.8..=1.0).contains(&seconds_for(100_000).await));
    outer.set(10_000);
    assert_eq!(inner.rate(), 10_000, "both count");
    assert!((7.9..=10.0).contains(&seconds_for(100_000).await));
    inner.set(0);
    assert_eq!(inner.rate(), 10_000);
    assert!((9.5..=10.1).contains(&seconds_for(100_000).await));
    outer.set(0);
    assert_eq!((inner.rate(), inner.take(1_000_000).await), (0, 1_000_000));
}
