use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{WireError, limits};

/// How messages are cut out of the byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// 16-bit big-endian length, then that many bytes of JSON.
    Framed,
    /// JSON ended by LF or CRLF (DistribuStream 0.1).
    Line,
}

/// Cuts message bodies out of a byte stream that arrives in any portions.
///
/// Holds at most one frame plus what the last [`FrameReader::feed`] brought; the caller drains it with
/// [`FrameReader::next_body`] before it feeds more. Between frames it holds next to nothing, so that idle
/// connections are cheap.
#[derive(Debug)]
pub struct FrameReader {
    dialect: Dialect,
    buffer: BytesMut,
    /// Line dialect: bytes of `buffer` known to hold no line end, so that one-byte reads stay linear.
    scanned: usize,
    /// After an error nobody can say where the next message begins.
    broken: Option<WireError>,
}

/// Room for one read: most messages are shorter, and a buffer that is outgrown doubles.
const READ_SIZE: usize = 4096;

impl FrameReader {
    /// A reader at the start of a stream.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, buffer: BytesMut::new(), scanned: 0, broken: None }
    }

    /// Adds received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer to append to directly, instead of [`FrameReader::feed`]; with room for a read.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        // In steps as large as what has come, not as large as what a length prefix promises.
        self.buffer.reserve(READ_SIZE.max(self.buffer.len()));
        &mut self.buffer
    }

    /// The next whole body, or `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// [`WireError::FrameTooShort`] or [`WireError::FrameTooLong`]. It is final: every later call returns it again.
    pub fn next_body(&mut self) -> Result<Option<Bytes>, WireError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let body = match self.dialect {
            Dialect::Framed => self.next_framed(),
            Dialect::Line => self.next_line(),
        };
        if let Err(error) = &body {
            self.broken = Some(error.clone());
        }
        if self.buffer.is_empty() || self.broken.is_some() {
            self.buffer = BytesMut::new();
        }
        body
    }

    /// Whether the stream may end here without cutting a message in two.
    pub fn is_between_frames(&self) -> bool {
        self.buffer.is_empty()
    }

    fn next_framed(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(prefix) = self.buffer.first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*prefix));
        if length < limits::MIN_FRAME {
            return Err(WireError::FrameTooShort(length));
        }
        if self.buffer.len() < 2 + length {
            return Ok(None);
        }
        self.buffer.advance(2);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn next_line(&mut self) -> Result<Option<Bytes>, WireError> {
        match self.buffer[self.scanned..].iter().position(|&b| b == b'\n') {
            Some(at) => {
                let end = self.scanned + at;
                self.scanned = 0;
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                if line.last() == Some(&b'\r') {
                    line.truncate(end - 1);
                }
                match line.len() {
                    n if n > limits::MAX_FRAME => Err(WireError::FrameTooLong(n)),
                    n if n < limits::MIN_FRAME => Err(WireError::FrameTooShort(n)),
                    _ => Ok(Some(line.freeze())),
                }
            }
            // One more than fits could still be the CR of the line end.
            None if self.buffer.len() > limits::MAX_FRAME + 1 => {
                Err(WireError::FrameTooLong(self.buffer.len()))
            }
            None => {
                self.scanned = self.buffer.len();
                Ok(None)
            }
        }
    }
}

/// Appends `json` to `out` as one message of `dialect`. Framed messages end in CRLF inside the body, which makes
/// captures readable and old line readers hang up instead of waiting for ever.
///
/// # Errors
///
/// [`WireError::FrameTooLong`]; nothing is appended then.
pub fn encode_frame(dialect: Dialect, json: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
    match dialect {
        Dialect::Framed => {
            let length = json.len() + 2;
            if length > limits::MAX_FRAME {
                return Err(WireError::FrameTooLong(length));
            }
            out.reserve(2 + length);
            // Cannot truncate: checked against MAX_FRAME above.
            out.put_u16(length as u16);
        }
        Dialect::Line => {
            if json.len() > limits::MAX_FRAME {
                return Err(WireError::FrameTooLong(json.len()));
            }
            out.reserve(json.len() + 2);
        }
    }
    out.put_slice(json);
    out.put_slice(if dialect == Dialect::Framed { b"\r\n" } else { b"\n" });
    Ok(())
}
