//! Newcomers for whom there is no room are told so, as far as that costs next to nothing: a few at a time, in the words of
//! what they speak. All others find their connection closed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::recognise;
use super::control::farewell;
use crate::wire::{self, Dialect, ErrorCode, FrameReader, Message, Sniff};

/// So many are told at a time: each has a descriptor that no client can have.
pub(super) const MOST: usize = 4;
/// Who does not say within this who it is need not be told anything.
const PATIENCE: Duration = Duration::from_secs(2);
const WHY: &str = "the server has as many connections as it can take; try again later";
const HTTP: &str =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Tells whoever is at the other end that there is no room, and closes.
pub(super) async fn turn_away(mut stream: TcpStream) {
    let Ok(Some(answer)) = timeout(PATIENCE, answer(&stream)).await else { return };
    // Little enough to fit the system's buffer. Who is gone need not be told.
    if stream.write_all(&answer).await.is_ok() {
        farewell(&stream).await;
    }
}

async fn answer(stream: &TcpStream) -> Option<Bytes> {
    match recognise(stream).await? {
        (Sniff::Pdtp(dialect), first) => {
            let is_v3 = is_v3(stream, dialect, &first).await?;
            let message = WHY.to_owned();
            let message = if is_v3 {
                Message::from(wire::Error { code: ErrorCode::Busy, message, url: None, re: None, id: None })
            } else {
                wire::ProtocolError { message: Some(message) }.into()
            };
            let mut bytes = BytesMut::new();
            message.encode(dialect, &mut bytes).ok()?;
            Some(bytes.freeze())
        }
        (Sniff::Http, _) => Some(Bytes::from_static(HTTP.as_bytes())),
        _ => None,
    }
}

/// Reads the first message, which says what the other side knows.
async fn is_v3(stream: &TcpStream, dialect: Dialect, first: &[u8]) -> Option<bool> {
    let mut frames = FrameReader::new(dialect);
    frames.feed(first);
    loop {
        if let Some(body) = frames.next_body().ok()? {
            let Ok(Message::Register(register)) = Message::parse_as(dialect, &body) else { return None };
            return Some(register.version.is_some_and(|version| version >= wire::PROTOCOL_VERSION));
        }
        stream.readable().await.ok()?;
        match stream.try_read_buf(frames.buffer_mut()) {
            Ok(0) => return None,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return None,
            _ => {}
        }
    }
}
