//! A server of the test's own making, played message by message, and peers that it sends clients to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use pdtp::client::{Client, Config, Overwrite, Request, Session, Target, Transfer};
use pdtp::content::{Layout, PieceHashes, PieceSize, hash_piece};
use pdtp::wire::token::Secret;
use pdtp::wire::{
    self, Base64, ByteRange, Dialect, FrameReader, Message, TransferMethod, UrlPath, encode_frame,
};

use crate::common::{PATIENCE, content};

pub const WAIT: Option<Duration> = Some(PATIENCE);
pub const PIECE: u32 = 16 * 1024;

/// A connected client, as the server sees it.
pub struct Peer {
    pub stream: TcpStream,
    pub frames: FrameReader,
    pub id: String,
    pub listen_port: u16,
    pub features: Vec<String>,
    pub secret: Secret,
}

impl Peer {
    pub fn send(&mut self, message: impl Into<Message>) {
        let mut out = bytes::BytesMut::new();
        encode_frame(Dialect::Framed, &message.into().to_json().unwrap(), &mut out).unwrap();
        self.stream.write_all(&out).unwrap();
    }

    /// The next message; `None` when the client has gone.
    pub fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some(body) = self.frames.next_body().unwrap() {
                return Some(Message::parse(&body).unwrap());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.frames.feed(&buffer[..n]),
            }
        }
    }

    /// The next message that is not chatter.
    pub fn expect(&mut self) -> Message {
        loop {
            match self.hear().expect("the client is there") {
                Message::Ping(_) => self.send(wire::Pong {}),
                Message::Progress(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }
}

/// What the scripted server serves.
pub struct Served {
    /// Whether it proves parts of the piece hashes; earlier servers did not.
    pub proves: bool,
    pub bytes: Vec<u8>,
    pub hashes: PieceHashes,
}

impl Served {
    pub fn new(seed: u64, size: usize) -> Self {
        let bytes = content(seed, size);
        let layout = Layout::new(size as u64, PieceSize::new(PIECE).unwrap()).unwrap();
        let hashes = bytes.chunks(PIECE as usize).map(hash_piece).collect();
        Self { proves: false, hashes: PieceHashes::new(layout, hashes).unwrap(), bytes }
    }

    fn proof(&self, first: u64, count: u32) -> Option<Base64> {
        let proof = self.hashes.prove(first as u32, count)?;
        Some(Base64(proof.iter().flat_map(|digest| digest.0).collect()))
    }

    pub fn tell_info(&self, ask: &wire::AskInfo) -> wire::TellInfo {
        let in_parts = self.proves && ask.proof && self.hashes.layout().count() > 128;
        let most = if in_parts { 64 } else { 1024 };
        let hashes = || Base64(self.hashes.all().iter().take(most).flat_map(|digest| digest.0).collect());
        wire::TellInfo {
            url: ask.url.clone(),
            size: Some(self.bytes.len() as u64),
            chunk_size: Some(PIECE),
            root: Some(self.hashes.root()),
            hashes: ask.hashes.then(hashes),
            proof: (ask.hashes && in_parts).then(|| self.proof(0, 64).unwrap()),
            ..wire::TellInfo::default()
        }
    }

    pub fn tell_hashes(&self, ask: &wire::AskHashes) -> wire::TellHashes {
        if ask.roots && self.proves {
            let roots = self.hashes.roots(ask.first as u32, ask.count).unwrap();
            return wire::TellHashes {
                url: ask.url.clone(),
                root: ask.root,
                first: ask.first,
                hashes: Base64(roots.iter().flat_map(|root| root.0).collect()),
                proof: self.proof(ask.first, ask.count),
                roots: true,
            };
        }
        let some = self.hashes.all().iter().skip(ask.first as usize).take(ask.count as usize);
        wire::TellHashes {
            url: ask.url.clone(),
            root: ask.root,
            first: ask.first,
            hashes: Base64(some.flat_map(|digest| digest.0).collect()),
            proof: if ask.proof && self.proves { self.proof(ask.first, ask.count) } else { None },
            roots: false,
        }
    }

    pub fn transfer(&self, id: u64, peer: SocketAddr, bytes: std::ops::Range<u64>) -> wire::Transfer {
        wire::Transfer {
            id: Some(id),
            host: peer.ip().to_string(),
            port: peer.port(),
            method: TransferMethod::Get,
            url: "http://127.0.0.1/file".into(),
            root: Some(self.hashes.root()),
            range: ByteRange::new(bytes.start, bytes.end - 1),
            peer_id: format!("peer-{id}"),
            token: Some("1.2".into()),
            proof: Some("proof".into()),
            ..wire::Transfer::default()
        }
    }

    pub fn all(&self) -> std::ops::Range<u64> {
        0..self.bytes.len() as u64
    }
}

/// Listens, and takes registrations.
pub struct Server {
    pub listener: TcpListener,
    pub secret: Secret,
    /// GETs that came before their time, with what they are known by.
    pub early: Mutex<Vec<(TcpStream, String)>>,
}

impl Server {
    pub fn start() -> Self {
        let mut secret = [0; 32];
        secret.copy_from_slice(&content(1, 32));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { listener, secret: Secret(secret), early: Mutex::default() }
    }

    pub fn uri(&self) -> String {
        format!("pdtp://{}/", self.listener.local_addr().unwrap())
    }

    pub fn accept(&self) -> Peer {
        // Connections that are opened in advance, for pieces, say nothing.
        let mut quiet = Vec::new();
        let stream = loop {
            let (stream, _) = self.listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut first = [0];
            match stream.peek(&mut first) {
                Ok(1) if first == *b"G" => self.note_early(stream),
                Ok(1) => break stream,
                _ => quiet.push(stream),
            }
        };
        stream.set_read_timeout(WAIT).unwrap();
        let mut peer = Peer {
            stream,
            frames: FrameReader::new(Dialect::Framed),
            id: String::new(),
            listen_port: 0,
            features: Vec::new(),
            secret: self.secret.clone(),
        };
        let Message::Register(register) = peer.expect() else { panic!("register comes first") };
        assert_eq!(register.version, Some(3));
        assert_eq!(register.client_id.len(), 32);
        (peer.id, peer.listen_port) = (register.client_id, register.listen_port);
        peer.features = register.features;
        peer
    }

    pub fn note_early(&self, mut stream: TcpStream) {
        let head = String::from_utf8(read_head(&mut stream).expect("a head")).unwrap();
        let name = head.lines().find_map(|line| line.strip_prefix("X-PDTP-Early: "));
        self.early.lock().unwrap().push((stream, name.expect("an early GET").to_owned()));
    }

    /// The early GET of that name.
    pub fn early(&self, name: &str) -> TcpStream {
        loop {
            let mut early = self.early.lock().unwrap();
            if let Some(at) = early.iter().position(|(_, known)| known == name) {
                return early.remove(at).0;
            }
            drop(early);
            self.note_early(self.listener.accept().unwrap().0);
        }
    }

    pub fn welcome(&self) -> Peer {
        let mut peer = self.accept();
        self.greet(&mut peer);
        peer
    }

    /// Tells a client that has registered that it has.
    pub fn greet(&self, peer: &mut Peer) {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        peer.send(wire::Registered {
            version: 3,
            agent: "script/1".into(),
            server: "origin".into(),
            session: "s".into(),
            address: "127.0.0.1".into(),
            secret: self.secret.to_base64(),
            time,
            keepalive_s: 30,
            ..wire::Registered::default()
        });
    }
}

/// An HTTP peer that does `behave` with each connection, after it has read the head of the request.
pub struct HttpPeer {
    pub address: SocketAddr,
    pub requests: Arc<AtomicUsize>,
    pub heads: Arc<Mutex<Vec<String>>>,
    pub stop: Arc<AtomicBool>,
    pub thread: Option<JoinHandle<()>>,
}

impl HttpPeer {
    pub fn new(behave: impl Fn(TcpStream, std::ops::Range<usize>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counter, stopped, behave) = (Arc::clone(&requests), Arc::clone(&stop), Arc::new(behave));
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&heads);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (mut stream, behave, counter) =
                    (stream.unwrap(), Arc::clone(&behave), Arc::clone(&counter));
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || {
                    let Some(head) = read_head(&mut stream) else { return };
                    counter.fetch_add(1, Ordering::SeqCst);
                    let head = String::from_utf8(head).unwrap();
                    noted.lock().unwrap().push(head.clone());
                    let range = head.lines().find_map(|line| line.strip_prefix("Range: bytes=")).unwrap();
                    let (min, max) = range.split_once('-').unwrap();
                    behave(stream, min.parse().unwrap()..max.parse::<usize>().unwrap() + 1);
                });
            }
        });
        Self { address, requests, heads, stop, thread: Some(thread) }
    }

    /// One that does what it should.
    pub fn honest(bytes: Vec<u8>) -> Self {
        Self::new(move |mut stream, range| {
            let _ = stream.write_all(head(&bytes, &range, "proof").as_bytes());
            let _ = stream.write_all(&bytes[range]);
        })
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for HttpPeer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Through the empty line; `None` when the other side goes away before.
pub fn read_head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(head)
}

pub fn head(bytes: &[u8], range: &std::ops::Range<usize>, proof: &str) -> String {
    let (first, last, size) = (range.start, range.end - 1, bytes.len());
    format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\
         X-PDTP-Proof: {proof}\r\nConnection: close\r\n\r\n",
        range.len()
    )
}

pub fn client(configure: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config { connect_timeout: Duration::from_secs(2), ..Config::default() };
    configure(&mut config);
    Client::new(config).unwrap()
}

pub fn open(client: &Client, server: &Server) -> Session {
    client.open_session(&server.uri().parse().unwrap(), 0).unwrap()
}

pub fn start(session: &Session, to: &std::path::Path) -> Transfer {
    let path = UrlPath::parse("/file").unwrap();
    let target = Target::File(to.join("file"));
    let request = Request {
        path,
        target,
        overwrite: Overwrite::Resume,
        recursive: false,
        expect_root: None,
        verify: None,
        keys: Vec::new(),
        tuning: Default::default(),
    };
    session.start(request, 0).unwrap()
}

/// Starts a download of `/file` to `to`: its server's end, and the question what the file is.
pub fn started(server: &Server, session: &Session, to: &std::path::Path) -> (Transfer, Peer, wire::AskInfo) {
    let transfer = start(session, to);
    let mut peer = server.welcome();
    let Message::AskInfo(ask) = peer.expect() else { panic!("no ask_info") };
    (transfer, peer, ask)
}

/// Answers questions until the client asks for the file to be sent.
pub fn until_request(peer: &mut Peer, served: &Served) -> wire::Request {
    loop {
        match peer.expect() {
            Message::AskInfo(ask) => peer.send(served.tell_info(&ask)),
            Message::AskHashes(ask) => peer.send(served.tell_hashes(&ask)),
            Message::Request(request) => return request,
            Message::Provide(_) | Message::Unprovide(_) | Message::Unrequest(_) | Message::Progress(_) => {}
            message => panic!("unexpected {message:?}"),
        }
    }
}

pub fn completed(peer: &mut Peer, id: u64) -> wire::Completed {
    loop {
        if let Message::Completed(completed) = peer.expect() {
            assert_eq!(completed.id, Some(id));
            return completed;
        }
    }
}

pub fn origin(server: &Server) -> SocketAddr {
    server.listener.local_addr().unwrap()
}

/// The head and body of an answer of the client's own listener.
pub fn ask_client(port: u16, request: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(WAIT).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}
