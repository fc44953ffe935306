//! The body of an answer: bytes of a file that is still coming.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pdtp::client::{Error, ErrorKind, Reader};
use pdtp::peer::serve::BodyStream;

/// Bytes handed over at once.
const CHUNK: u64 = 128 * 1024;

/// A run of bytes of a file, from where its reader is.
#[derive(Debug)]
pub(super) struct Film {
    reader: Arc<Reader>,
    length: u64,
    end: u64,
}

impl Film {
    pub(super) fn new(reader: Reader, length: u64) -> Self {
        let end = reader.tell() + length;
        Self { reader: Arc::new(reader), length, end }
    }
}

impl BodyStream for Film {
    fn length(&self) -> u64 {
        self.length
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send + '_>> {
        Box::pin(async move {
            loop {
                self.reader.ready().await.map_err(io_of)?;
                let (reader, at) = (Arc::clone(&self.reader), self.reader.tell());
                let wanted = usize::try_from(CHUNK.min(self.end - at)).unwrap_or(usize::MAX);
                let read = move || {
                    let mut bytes = vec![0; wanted];
                    let length = reader.read(&mut bytes, Some(Duration::ZERO))?;
                    bytes.truncate(length);
                    Ok(bytes)
                };
                match tokio::task::spawn_blocking(read).await.map_err(io::Error::other)? {
                    Ok(bytes) => return Ok(Bytes::from(bytes)),
                    // Gone again, between one store and the next.
                    Err(Error { kind: ErrorKind::Again, .. }) => {}
                    Err(error) => return Err(io_of(error)),
                }
            }
        })
    }
}

fn io_of(error: Error) -> io::Error {
    io::Error::other(error)
}
