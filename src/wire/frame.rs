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

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that `reader` has to say for now.
    fn drain(reader: &mut FrameReader) -> Vec<Result<Bytes, WireError>> {
        let mut out = Vec::new();
        loop {
            match reader.next_body() {
                Ok(Some(body)) => out.push(Ok(body)),
                Ok(None) => return out,
                Err(e) => {
                    out.push(Err(e));
                    return out;
                }
            }
        }
    }

    fn read(dialect: Dialect, stream: &[u8]) -> Vec<Result<Bytes, WireError>> {
        let mut reader = FrameReader::new(dialect);
        reader.feed(stream);
        drain(&mut reader)
    }

    fn framed(length: u16, fill: usize) -> Vec<u8> {
        let mut stream = length.to_be_bytes().to_vec();
        stream.resize(2 + fill, b'x');
        stream
    }

    #[test]
    fn frames_have_two_bytes_at_least() {
        assert_eq!(read(Dialect::Framed, &framed(0, 0)), [Err(WireError::FrameTooShort(0))]);
        assert_eq!(read(Dialect::Framed, &framed(1, 1)), [Err(WireError::FrameTooShort(1))]);
        assert_eq!(read(Dialect::Framed, &framed(2, 2)), [Ok(Bytes::from_static(b"xx"))]);
        assert_eq!(read(Dialect::Line, b"\n"), [Err(WireError::FrameTooShort(0))]);
        assert_eq!(read(Dialect::Line, b"\r\n"), [Err(WireError::FrameTooShort(0))]);
        assert_eq!(read(Dialect::Line, b"x\n"), [Err(WireError::FrameTooShort(1))]);
        assert_eq!(read(Dialect::Line, b"[]\n"), [Ok(Bytes::from_static(b"[]"))]);
    }

    #[test]
    fn the_largest_frame_passes() {
        assert_eq!(read(Dialect::Framed, &framed(u16::MAX, limits::MAX_FRAME - 1)), []);
        let bodies = read(Dialect::Framed, &framed(u16::MAX, limits::MAX_FRAME));
        assert_eq!(bodies[0].as_ref().unwrap().len(), limits::MAX_FRAME);
    }

    #[test]
    fn lines_are_bounded_with_and_without_their_end() {
        let line = |n: usize, end: &[u8]| [&vec![b'x'; n][..], end].concat();
        for end in [&b"\n"[..], b"\r\n"] {
            let longest = read(Dialect::Line, &line(limits::MAX_FRAME, end));
            assert_eq!(longest[0].as_ref().unwrap().len(), limits::MAX_FRAME);
            let too_long = read(Dialect::Line, &line(limits::MAX_FRAME + 1, end));
            assert_eq!(too_long, [Err(WireError::FrameTooLong(limits::MAX_FRAME + 1))]);
        }
        assert_eq!(read(Dialect::Line, &line(limits::MAX_FRAME, b"\r")), []);
        assert!(matches!(
            read(Dialect::Line, &line(limits::MAX_FRAME + 1, b"x"))[..],
            [Err(WireError::FrameTooLong(_))]
        ));
    }

    #[test]
    fn a_stranger_cannot_make_a_reader_hold_more_than_a_frame() {
        for dialect in [Dialect::Framed, Dialect::Line] {
            let mut reader = FrameReader::new(dialect);
            for _ in 0..100_000 {
                reader.feed(&[0xff; 64]);
                if reader.next_body().is_err() {
                    break;
                }
                assert!(reader.buffer.len() <= limits::MAX_FRAME + 2 + 64);
            }
        }
    }

    #[test]
    fn an_idle_reader_holds_nothing() {
        for (dialect, stream) in [
            (Dialect::Framed, framed(60_000, 60_000)),
            (Dialect::Line, [&[b'x'; 60_000][..], b"\n"].concat()),
        ] {
            let mut reader = FrameReader::new(dialect);
            let mut bodies = 0;
            for part in stream.chunks(1000) {
                reader.buffer_mut().extend_from_slice(part);
                bodies += drain(&mut reader).len();
            }
            assert_eq!(bodies, 1);
            assert_eq!(reader.buffer.capacity(), 0);
            assert!(reader.buffer_mut().capacity() <= 2 * READ_SIZE);
        }
    }

    #[test]
    fn an_error_is_final() {
        let good = b"[\"ping\",{}]\n";
        let mut reader = FrameReader::new(Dialect::Line);
        reader.feed(&[&b"\n"[..], good].concat());
        assert_eq!(reader.next_body(), Err(WireError::FrameTooShort(0)));
        reader.feed(good);
        assert_eq!(reader.next_body(), Err(WireError::FrameTooShort(0)));
    }

    #[test]
    fn lines_end_in_lf_or_crlf_and_frames_end_where_they_say() {
        let one = Bytes::from_static(b"[\"ping\",{}]");
        assert_eq!(
            read(Dialect::Line, b"[\"ping\",{}]\r\n[\"ping\",{}]\n[\"pi"),
            [Ok(one.clone()), Ok(one.clone())]
        );
        assert_eq!(
            read(Dialect::Framed, b"\0\x0d[\"ping\",{}]\r\n\0\x0b[\"ping\",{}]\0"),
            [Ok(Bytes::from_static(b"[\"ping\",{}]\r\n")), Ok(one)]
        );
    }

    #[test]
    fn a_stream_may_end_only_between_frames() {
        for (dialect, stream) in
            [(Dialect::Framed, &b"\0\x0b[\"ping\",{}]"[..]), (Dialect::Line, b"[\"ping\",{}]\n")]
        {
            let mut reader = FrameReader::new(dialect);
            assert!(reader.is_between_frames());
            for (at, byte) in stream.iter().enumerate() {
                reader.feed(&[*byte]);
                let last = at + 1 == stream.len();
                assert_eq!(reader.next_body().unwrap().is_some(), last);
                assert_eq!(reader.is_between_frames(), last);
            }
        }
    }

    #[test]
    fn what_is_too_long_is_not_written_in_part() {
        for (dialect, most) in [(Dialect::Framed, limits::MAX_FRAME - 2), (Dialect::Line, limits::MAX_FRAME)]
        {
            let mut out = BytesMut::from(&b"before"[..]);
            let json = vec![b'x'; most + 1];
            assert!(matches!(encode_frame(dialect, &json, &mut out), Err(WireError::FrameTooLong(_))));
            assert_eq!(out, &b"before"[..]);
            out.clear();
            encode_frame(dialect, &json[1..], &mut out).unwrap();
            let bodies = read(dialect, &out);
            assert_eq!(bodies.len(), 1);
            assert!(bodies[0].is_ok());
        }
    }
}
