//! Bytes of a control connection: dialling the server, messages out, messages in.
//!
//! Knows nothing of what messages mean.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Error, ErrorKind};
use crate::peer::{acknowledge_together, while_sending};
use crate::wire::{Dialect, FrameReader, Message, WireError, limits};

/// Head start of one address before the next is tried beside it (RFC 8305 calls it Connection Attempt Delay).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses tried of one name.
const MAX_ADDRESSES: usize = 16;
/// A server that does not take our messages for this long is dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// What can wait for other messages waits no longer than this.
const LATER: Duration = Duration::from_millis(250);
/// Bytes written at once.
const WRITE_BATCH: usize = 64 * 1024;
/// Bytes read at once.
const READ_BUFFER: usize = 16 * 1024;

/// Connects to a name: all its addresses in turn, families alternating, each with a short head start.
///
/// # Errors
/// [`ErrorKind::Resolve`] when there is no address, [`ErrorKind::Connect`] or [`ErrorKind::Timeout`] when none
/// answers; `limit` bounds all of it. `on_first` is told the first address before it is tried.
pub(super) async fn dial(
    host: &str,
    port: u16,
    limit: Duration,
    on_first: impl FnOnce(SocketAddr),
) -> Result<TcpStream, Error> {
    let attempt = async {
        let found = tokio::net::lookup_host((host, port)).await.map_err(|error| {
            Error::new(ErrorKind::Resolve, format!("cannot find the address of {host}: {error}"))
        })?;
        let addresses = alternate(found);
        let Some(&first) = addresses.front() else {
            return Err(Error::new(ErrorKind::Resolve, format!("{host} has no address")));
        };
        on_first(first);
        connect_any(addresses).await.map_err(|error| {
            Error::new(ErrorKind::Connect, format!("cannot connect to {host} port {port}: {error}"))
        })
    };
    timeout(limit, attempt).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout,
            format!("cannot connect to {host} port {port}: no answer within {limit:?}"),
        ))
    })
}

/// First of the family that the resolver prefers, then alternating; bounded.
fn alternate(addresses: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let prefers_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(|a| a.is_ipv6() == prefers_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = VecDeque::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            break;
        }
        mixed.extend(pair.into_iter().flatten());
    }
    mixed.truncate(MAX_ADDRESSES);
    mixed
}

async fn connect_any(mut left: VecDeque<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(address) = left.pop_front() {
            attempts.spawn(TcpStream::connect(address));
        }
        // The others get their turn when this one fails, or has not answered for a while.
        let ended = if left.is_empty() {
            attempts.join_next().await
        } else {
            match timeout(ATTEMPT_DELAY, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last = error,
            Some(Err(_)) => {}
            None if left.is_empty() => return Err(last),
            None => {}
        }
    }
}

/// Cuts messages out of what a server sends.
pub(super) struct Incoming {
    stream: OwnedReadHalf,
    dialect: Dialect,
    frames: FrameReader,
}

/// What can come of reading.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The connection broke or was closed.
    Io(io::Error),
    /// Not the language of PDTP; the stream cannot be trusted any more.
    Wire(WireError),
}

impl Incoming {
    pub(super) fn new(stream: OwnedReadHalf, dialect: Dialect) -> Self {
        Self { stream, dialect, frames: FrameReader::new(dialect) }
    }

    /// The next message; a recoverable error stands for one that is not understood. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Result<Message, WireError>, ReadError> {
        loop {
            if let Some(body) = self.frames.next_body().map_err(ReadError::Wire)? {
                return match Message::parse_as(self.dialect, &body) {
                    Err(error) if error.is_fatal() => Err(ReadError::Wire(error)),
                    parsed => Ok(parsed),
                };
            }
            let buffer = self.frames.buffer_mut();
            buffer.reserve(READ_BUFFER);
            acknowledge_together(self.stream.as_ref());
            if self.stream.read_buf(buffer).await.map_err(ReadError::Io)? == 0 {
                return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// What is to be written.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// At once.
    Now(Message),
    /// With whatever else is written, but after [`LATER`] in any case: segments cost those who share the line.
    Later(Message),
    /// Nothing more follows.
    End,
}

/// Writes what comes out of the queue until its end is said (then `Ok`) or the connection breaks.
pub(super) async fn write_messages(
    mut stream: OwnedWriteHalf,
    dialect: Dialect,
    mut queue: mpsc::Receiver<Outgoing>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut ended = false;
    while !ended {
        let Some(mut next) = while_sending(stream.as_ref(), queue.recv()).await else { break };
        let (by, mut is_urgent) = (Instant::now() + LATER, false);
        // A task that was just woken goes before all others. Those that have something to say as well, now say it: with
        // thousands of small files, a system call for each message would be felt at both ends.
        tokio::task::yield_now().await;
        loop {
            match next {
                Outgoing::Now(message) => {
                    encode(&message, dialect, &mut buffer);
                    is_urgent = true;
                }
                Outgoing::Later(message) => encode(&message, dialect, &mut buffer),
                Outgoing::End => {
                    ended = true;
                    break;
                }
            }
            if buffer.len() >= WRITE_BATCH {
                break;
            }
            // What else is there goes with it.
            next = match queue.try_recv() {
                Ok(more) => more,
                Err(_) if is_urgent => break,
                Err(_) => match timeout_at(by, queue.recv()).await {
                    Ok(Some(more)) => more,
                    Ok(None) | Err(_) => break,
                },
            };
        }
        match timeout(WRITE_TIMEOUT, stream.write_all(&buffer)).await {
            Ok(written) => written?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        buffer.clear();
        // After a large batch give the memory back: idle connections should cost little.
        if buffer.capacity() > 2 * limits::MAX_FRAME {
            buffer = BytesMut::new();
        }
    }
    Ok(())
}

fn encode(message: &Message, dialect: Dialect, buffer: &mut BytesMut) {
    if let Err(error) = message.encode(dialect, buffer) {
        // Whoever made the message bounds it; one that is too long all the same is not worth the connection.
        tracing::error!(kind = message.kind(), %error, "message not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Notice, Ping};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let found = ["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1"].map(address);
        let order: Vec<_> = alternate(found.into_iter()).into();
        assert_eq!(order, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(address));
        assert!(alternate(std::iter::empty()).is_empty());
        let many = (1..=100).map(|port| SocketAddr::from(([1, 1, 1, 1], port)));
        assert_eq!(alternate(many).len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_living_one() {
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect_any([dead, alive.local_addr().unwrap()].into()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive.local_addr().unwrap());
        let error = connect_any([dead].into()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn errors_say_what_to_do() {
        let error = dial("name.invalid", 6086, Duration::from_secs(60), |_| ()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Resolve, "{error}");
        let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let error = dial("127.0.0.1", port, Duration::from_secs(60), |_| ()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Connect, "{error}");
    }

    #[tokio::test]
    async fn messages_arrive_as_sent_whatever_the_portions() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (sender, queue) = mpsc::channel(8);
        let writer = tokio::spawn(write_messages(dialled.into_split().1, Dialect::Framed, queue));
        let long = Message::from(Notice { message: "x".repeat(60_000) });
        let too_long = Message::from(Notice { message: "x".repeat(70_000) });
        let said = [long.clone(), too_long, Ping {}.into()].map(Outgoing::Now);
        for message in said.into_iter().chain([Outgoing::End]) {
            sender.send(message).await.unwrap();
        }
        let mut incoming = Incoming::new(accepted.into_split().0, Dialect::Framed);
        assert_eq!(incoming.next().await.unwrap().unwrap(), long);
        assert_eq!(incoming.next().await.unwrap().unwrap(), Message::from(Ping {}));
        writer.await.unwrap().unwrap();
        assert!(matches!(incoming.next().await, Err(ReadError::Io(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_travels_with_what_cannot() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        let (sender, queue) = mpsc::channel(8);
        let writer = tokio::spawn(write_messages(dialled.into_split().1, Dialect::Line, queue));
        let notice = |text: &str| Message::from(Notice { message: text.into() });
        let mut buffer = [0; 1024];

        sender.send(Outgoing::Later(notice("one"))).await.unwrap();
        sender.send(Outgoing::Later(notice("two"))).await.unwrap();
        tokio::time::sleep(LATER / 2).await;
        let nothing = accepted.try_read(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        sender.send(Outgoing::Now(Ping {}.into())).await.unwrap();
        let together = accepted.read(&mut buffer).await.unwrap();
        let lines: Vec<_> = std::str::from_utf8(&buffer[..together]).unwrap().lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[2], r#"["ping",{}]"#, "in the order in which they were said");

        let before = Instant::now();
        sender.send(Outgoing::Later(notice("three"))).await.unwrap();
        let alone = accepted.read(&mut buffer).await.unwrap();
        assert!(std::str::from_utf8(&buffer[..alone]).unwrap().contains("three"));
        assert!(before.elapsed() >= LATER, "nothing followed, so it waited");

        sender.send(Outgoing::Later(notice("four"))).await.unwrap();
        sender.send(Outgoing::End).await.unwrap();
        let last = accepted.read(&mut buffer).await.unwrap();
        assert!(std::str::from_utf8(&buffer[..last]).unwrap().contains("four"), "the end does not lose it");
        writer.await.unwrap().unwrap();
    }
}
