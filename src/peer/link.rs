//! One connection as both ends use it: bytes read ahead, heads, body framings. ([`super::send`] writes.)
//!
//! Everything here can be dropped at any await without losing bytes: what was read is in `ahead` or in the caller's
//! buffer before the next await.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::head::{HeadError, Parsed};
use super::push::while_sending;
use super::sys::out_of_order;
use crate::wire::limits::MAX_HTTP_HEAD;

/// Room made for reading heads and chunk sizes.
const READ_AHEAD: usize = 4 * 1024;
/// After segments were lost, more may be for so long.
const LATELY: Duration = Duration::from_secs(2);
/// Longest line with the size of a chunk, extensions included.
const MAX_CHUNK_LINE: usize = 1024;

#[derive(Debug)]
pub(super) struct Link {
    /// Shared with the blocking thread that sends a file.
    pub(super) stream: Arc<TcpStream>,
    /// Bytes that have come but belong to nobody yet.
    ahead: BytesMut,
    /// Segments that had come out of order when that was last asked.
    out_of_order: u32,
    /// When more of them were found.
    lost_at: Option<Instant>,
}

/// Why no head came.
#[derive(Debug)]
pub(super) enum HeadTrouble {
    /// The other side closed the connection (or it broke) before the first byte.
    Closed,
    /// The same within the head.
    Cut,
    /// What came is not a head.
    Bad(HeadError),
}

impl Link {
    pub(super) fn new(stream: TcpStream, first: &[u8]) -> Self {
        // Heads and pieces are written whole, so there is nothing that Nagle's algorithm could usefully wait for.
        // If this fails the connection is broken, which the first read or write will tell.
        let _ = stream.set_nodelay(true);
        Self { stream: Arc::new(stream), ahead: BytesMut::from(first), out_of_order: 0, lost_at: None }
    }

    /// Waits until there are bytes to look at. False: the connection has ended. Holds no buffer while it waits.
    pub(super) async fn wait_for_bytes(&mut self) -> bool {
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        while self.ahead.is_empty() {
            if self.stream.readable().await.is_err() {
                return false;
            }
            match self.read_ahead() {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ahead = BytesMut::new(),
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads a head with `parse`, and nothing after it is lost.
    pub(super) async fn read_head<H>(&mut self, parse: fn(&[u8]) -> Parsed<H>) -> Result<H, HeadTrouble> {
        let mut seen: usize = 0;
        loop {
            // Without an end of a head among the new bytes, parsing again would be in vain; doing it for each of
            // 16,384 single bytes would also be expensive.
            let is_worth_it = seen == 0
                || has_blank_line(&self.ahead[seen.saturating_sub(3)..])
                || self.ahead.len() >= MAX_HTTP_HEAD;
            if is_worth_it && let Some((head, len)) = parse(&self.ahead).map_err(HeadTrouble::Bad)? {
                self.ahead.advance(len);
                return Ok(head);
            }
            seen = self.ahead.len();
            let ended = if seen == 0 { HeadTrouble::Closed } else { HeadTrouble::Cut };
            loop {
                if self.stream.readable().await.is_err() {
                    return Err(ended);
                }
                match self.read_ahead() {
                    Ok(0) => return Err(ended),
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Err(ended),
                }
            }
        }
    }

    fn read_ahead(&mut self) -> io::Result<usize> {
        self.ahead.reserve(READ_AHEAD);
        self.stream.try_read_buf(&mut (&mut self.ahead).limit(READ_AHEAD))
    }

    /// For what comes now, has Linux acknowledge two segments at a time, and not each of the first sixteen, as it does on a
    /// connection that has been idle. That is a help to one who sends alone; but acknowledgements take from a busy uplink.
    pub(super) fn acknowledge_late(&self) {
        // Where this is not known, or fails, more is sent than is needed.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket2::SockRef::from(&*self.stream).set_tcp_quickack(false);
    }

    /// Whether segments of what comes were lost lately, as far as that can be known here.
    pub(super) fn loses(&mut self, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.out_of_order, out_of_order(&self.stream));
        if self.out_of_order != before {
            self.lost_at = Some(now);
        }
        self.lost_at.is_some_and(|at| now.saturating_duration_since(at) < LATELY)
    }

    /// Whether a connection that has been idle can be used again: still open, and nothing has come unasked.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.ahead.is_empty()
            && matches!(self.read_ahead(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Moves up to `most` body bytes that are there to the end of `into`, which has room for them.
    /// `Ok(0)`: the body is over (or `most` is 0). `WouldBlock`: nothing is there now. `UnexpectedEof`: cut short.
    pub(super) fn try_body(
        &mut self,
        framing: &mut Framing,
        into: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<usize> {
        let left = match framing {
            Framing::Length(left) => left,
            Framing::Chunked(chunked) => match self.next_chunk(chunked)? {
                Some(left) => left,
                None => return Ok(0),
            },
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(most);
        if most == 0 {
            return Ok(0);
        }
        let moved = if self.ahead.is_empty() {
            match self.stream.try_read_buf(&mut into.limit(most))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => n,
            }
        } else {
            let n = most.min(self.ahead.len());
            into.put((&mut self.ahead).take(n));
            n
        };
        *left -= moved as u64;
        Ok(moved)
    }

    /// What is left of the current chunk, after reading its size if necessary. `None`: that was the last.
    fn next_chunk<'a>(&mut self, chunked: &'a mut Chunked) -> io::Result<Option<&'a mut u64>> {
        loop {
            match chunked {
                Chunked::Data(0) => *chunked = Chunked::DataEnd,
                Chunked::Data(_) => break,
                Chunked::DataEnd => match self.try_line()? {
                    line if line.is_empty() => *chunked = Chunked::Size,
                    _ => return Err(broken("a chunk does not end where it should")),
                },
                Chunked::Size => {
                    let line = self.try_line()?;
                    let size = line[..].split(|&b| b == b';').next().unwrap_or_default();
                    *chunked = match parse_hex(size.trim_ascii()) {
                        Some(0) => Chunked::Trailer(0),
                        Some(size) => Chunked::Data(size),
                        None => return Err(broken("bad chunk size")),
                    };
                }
                Chunked::Trailer(bytes) => {
                    let line = self.try_line()?;
                    *bytes += line.len() + 2;
                    if line.is_empty() {
                        *chunked = Chunked::Over;
                    } else if *bytes > MAX_HTTP_HEAD {
                        return Err(broken("trailer too large"));
                    }
                }
                Chunked::Over => return Ok(None),
            }
        }
        match chunked {
            Chunked::Data(left) => Ok(Some(left)),
            _ => Ok(None),
        }
    }

    /// The next line, without its end.
    fn try_line(&mut self) -> io::Result<BytesMut> {
        loop {
            if let Some(end) = self.ahead.iter().take(MAX_CHUNK_LINE).position(|&b| b == b'\n') {
                let mut line = self.ahead.split_to(end + 1);
                line.truncate(end);
                if line.last() == Some(&b'\r') {
                    line.truncate(end - 1);
                }
                return Ok(line);
            }
            if self.ahead.len() >= MAX_CHUNK_LINE {
                return Err(broken("endless line in chunked coding"));
            }
            if self.read_ahead()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Waits until [`Link::try_body`] may find more.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Reads and forgets what is left of a body, if it comes before `deadline`. Whether it did.
    pub(super) async fn discard_body(&mut self, framing: &mut Framing, deadline: Instant) -> bool {
        let mut waste = Vec::with_capacity(READ_AHEAD);
        loop {
            waste.clear();
            match self.try_body(framing, &mut waste, READ_AHEAD) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match tokio::time::timeout_at(deadline, self.readable()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) | Err(_) => return false,
                    }
                }
                Err(_) => return false,
            }
        }
    }

    /// Ends a connection whose other side may still be sending: says that nothing follows, and reads what comes for a
    /// bounded time, because closing a socket with unread bytes would destroy the answer just sent.
    pub(super) async fn linger(mut self, deadline: Instant) {
        /// Bytes read at most.
        const MAX_LINGER: u64 = 1024 * 1024;
        self.ahead.clear();
        if socket2::SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write).is_ok() {
            let stream = Arc::clone(&self.stream);
            while_sending(&stream, self.discard_body(&mut Framing::Length(MAX_LINGER), deadline)).await;
        }
    }
}

/// How far a body reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes are left.
    Length(u64),
    /// Chunked coding.
    Chunked(Chunked),
}

/// Where in a body in chunked coding (RFC 9112 section 7.1) we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
    Size,
    Data(u64),
    DataEnd,
    /// Bytes of trailer fields so far.
    Trailer(usize),
    Over,
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    // The sign that `from_str_radix` takes is none of HTTP's.
    (!text.starts_with('+')).then(|| u64::from_str_radix(text, 16).ok())?
}

fn has_blank_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|w| w == b"\n\n") || bytes.windows(3).any(|w| w == b"\n\r\n")
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
