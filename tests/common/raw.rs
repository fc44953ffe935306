//! A control connection played by hand: any bytes, any order, both dialects.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use bytes::BytesMut;
use pdtp::wire::{self, Dialect, FrameReader, Message};

use crate::common::{self, Answer, PATIENCE};

/// A connection to a server under test.
pub struct Raw {
    pub stream: TcpStream,
    dialect: Dialect,
    frames: FrameReader,
}

impl Raw {
    pub fn connect(port: u16) -> Self {
        Self::connect_as(port, Dialect::Framed)
    }

    pub fn connect_as(port: u16, dialect: Dialect) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.set_nodelay(true).unwrap();
        Self { stream, dialect, frames: FrameReader::new(dialect) }
    }

    /// From another address of this machine, for what is counted by address.
    pub fn connect_from(source: Ipv4Addr, port: u16) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into()).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("connect");
        let dialect = Dialect::Framed;
        Self { stream: socket.into(), dialect, frames: FrameReader::new(dialect) }
    }

    pub fn send(&mut self, message: impl Into<Message>) {
        let mut bytes = BytesMut::new();
        message.into().encode(self.dialect, &mut bytes).unwrap();
        self.send_bytes(&bytes);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    /// A frame of these bytes, whatever they are.
    pub fn send_frame(&mut self, body: &[u8]) {
        let mut frame = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        self.send_bytes(&frame);
    }

    /// The next message; `None` when the server has closed. Panics when nothing comes.
    pub fn recv(&mut self) -> Option<Message> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(body) = self.frames.next_body().expect("the server frames well") {
                return Some(Message::parse(&body).expect("the server speaks well"));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no message came");
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.frames.feed(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("receive: {e}"),
            }
        }
    }

    /// The next message of a kind; others (but no errors) are passed over.
    #[track_caller]
    pub fn expect(&mut self, kind: &str) -> Message {
        loop {
            match self.recv() {
                Some(message) if message.kind() == kind => return message,
                Some(message @ (Message::Error(_) | Message::ProtocolError(_))) => {
                    panic!("waiting for {kind}: {message:?}")
                }
                Some(_) => {}
                None => panic!("waiting for {kind}: the server has closed"),
            }
        }
    }

    /// Waits for the server to close; gives what it said before.
    #[track_caller]
    pub fn expect_end(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.recv()).collect()
    }

    /// Registers as a version 3 client that neither gives nor listens.
    pub fn register_v3(&mut self, id: &str) -> wire::Registered {
        self.send(wire::Register {
            client_id: id.to_owned(),
            version: Some(3),
            features: vec![wire::FEATURE_RUNS.to_owned()],
            ..Default::default()
        });
        let Message::Registered(registered) = self.expect("registered") else { unreachable!() };
        registered
    }

    /// Registers as a version 2 client. To be dialled it must listen on `port`.
    pub fn register_v2(&mut self, id: &str, port: u16) {
        self.send(wire::Register { client_id: id.to_owned(), listen_port: port, ..Default::default() });
    }
}

/// A listener on a port of its own, for a peer that can be dialled.
pub fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The GET that a transfer asks for, as version 3 or 2 writes it.
pub fn fetch(transfer: &wire::Transfer, own_id: &str) -> Answer {
    let stream = TcpStream::connect(("127.0.0.1", transfer.port)).expect("connect");
    fetch_on(stream, transfer, own_id)
}

/// The same on a connection that was made before.
pub fn fetch_on(stream: TcpStream, transfer: &wire::Transfer, own_id: &str) -> Answer {
    let path = wire::path_of_url(&transfer.url).unwrap();
    let range = format!("bytes={}-{}", transfer.range.min, transfer.range.max.unwrap());
    let etag = transfer.root.map(|root| format!("\"{root}\""));
    let mut headers = vec![("X-PDTP-Peer-Id", own_id), ("Range", range.as_str())];
    if let Some(token) = &transfer.token {
        headers.push(("X-PDTP-Token", token));
    }
    let id = transfer.id.map(|id| id.to_string());
    if let Some(id) = &id {
        headers.push(("X-PDTP-Transfer", id));
    }
    if let Some(etag) = &etag {
        headers.push(("If-Match", etag));
    }
    common::http_on(stream, transfer.port, "GET", path.as_str(), &headers)
}
