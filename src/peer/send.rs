//! Writing to a connection: heads, and the bytes of files.

use std::fs::File;
use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::buffer::{BUFFER, Buffer};
use super::deadlines::{Deadlines, Pace, TooSlow};
use super::push::{LOOK, while_sending};
use super::serve::BodyStream;
use super::sys::{Residency, unacknowledged};
use super::{FileSpan, RateLimiter};

/// Bytes of a file sent in one go by a blocking thread. Large, because changing threads costs as much as sending
/// some hundred kilobytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const STEP: usize = 8 * 1024 * 1024;
/// The same within a task, where others are waiting for their turn.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TURN: usize = 1024 * 1024;

/// How long the line counts as busy after somebody was last given something. Whole pieces wait in the system's buffers
/// after they have left our hands.
const BUSY: Duration = Duration::from_secs(1);

/// When this process, whose line is that of the machine, last began or ended giving a part of a file.
static LAST_SENT: Mutex<Option<Instant>> = Mutex::new(None);

fn last_sent() -> MutexGuard<'static, Option<Instant>> {
    LAST_SENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether somebody is being given something, or was a moment ago.
pub(super) fn is_sending(now: Instant) -> bool {
    last_sent().is_some_and(|at| now.saturating_duration_since(at) < BUSY)
}

/// One message on its way out, watched that it moves.
#[derive(Debug)]
pub(super) struct Outgoing {
    stream: Arc<TcpStream>,
    pace: Pace,
    /// Bytes of earlier messages that were still on their way when this one began.
    before: u64,
    /// Bytes of this message handed to the system.
    handed: u64,
}

/// Why a message was not sent to its end.
#[derive(Debug)]
pub(super) enum SendTrouble {
    /// The connection broke.
    Broken(io::Error),
    /// The other side takes the bytes too slowly.
    Slow(TooSlow),
    /// The file is shorter than it was, or cannot be read.
    File(io::Error),
}

impl Outgoing {
    pub(super) fn new(stream: &Arc<TcpStream>, deadlines: &Deadlines) -> Self {
        Self {
            stream: stream.clone(),
            pace: Pace::new(deadlines, Instant::now()),
            before: unacknowledged(stream),
            handed: 0,
        }
    }

    /// Writes all of `bytes`. `more` lets the system wait for what follows, so that a head and the start of its body
    /// travel together. `progress` counts along, so that it is right also when this future is dropped.
    pub(super) async fn write_all(
        &mut self,
        bytes: &[u8],
        more: bool,
        progress: &mut u64,
    ) -> Result<(), SendTrouble> {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            match self.stream.try_io(Interest::WRITABLE, || send(&self.stream, rest, more)) {
                Ok(n) => {
                    written += n;
                    self.handed += n as u64;
                    *progress += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SendTrouble::Broken(error)),
            }
        }
        Ok(())
    }

    /// Sends bytes of a file; `progress` as above.
    pub(super) async fn send_file(
        &mut self,
        span: &FileSpan,
        limiter: &RateLimiter,
        progress: &mut u64,
    ) -> Result<(), SendTrouble> {
        let mut done = 0;
        *last_sent() = Some(Instant::now());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if !self.send_mapped(span, limiter, progress, &mut done).await? {
            tracing::debug!("no sendfile from this file system");
        }
        let result = self.send_copied(span, limiter, progress, &mut done).await;
        *last_sent() = Some(Instant::now());
        result
    }

    /// Sends bytes as they come; `progress` as above. Ends as soon as the other side closes its end while there are none:
    /// nobody waits for them any more.
    pub(super) async fn send_stream(
        &mut self,
        from: &mut dyn BodyStream,
        progress: &mut u64,
    ) -> Result<(), SendTrouble> {
        let end = *progress + from.length();
        while *progress < end {
            let before = Instant::now();
            let stream = Arc::clone(&self.stream);
            let bytes = tokio::select! {
                biased;
                bytes = from.next() => bytes.map_err(SendTrouble::File)?,
                error = hung_up(&stream) => return Err(SendTrouble::Broken(error)),
            };
            self.pace.excuse(before.elapsed());
            let left = usize::try_from(end - *progress).unwrap_or(usize::MAX);
            if bytes.is_empty() {
                return Err(SendTrouble::File(io::ErrorKind::UnexpectedEof.into()));
            }
            self.write_all(&bytes[..bytes.len().min(left)], false, progress).await?;
        }
        Ok(())
    }

    /// By sendfile(2): the bytes go from the page cache to the network without passing through this process. False:
    /// the file system cannot do this.
    ///
    /// What is in memory is sent at once, the rest on a blocking thread, because sendfile waits for the disk. Always
    /// using the thread takes half as much processor time again: 0.2 to 0.3 s per GiB over loopback instead of 0.12 to
    /// 0.18 (benches/peer.rs). nginx takes 0.12, and waits for the disk in its event loop.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    async fn send_mapped(
        &mut self,
        span: &FileSpan,
        limiter: &RateLimiter,
        progress: &mut u64,
        done: &mut u64,
    ) -> Result<bool, SendTrouble> {
        let mut residency = Residency::of(&span.file);
        while *done < span.len {
            let left = usize::try_from(span.len - *done).unwrap_or(usize::MAX).min(STEP);
            let mut allowed = limited(limiter, left, &mut self.pace).await;
            while allowed > 0 {
                let (offset, turn) = (span.offset + *done, allowed.min(TURN));
                let (bytes, end) = if residency.is_in_memory(offset, turn) {
                    sendfile::until_full(&self.stream, &span.file, offset, turn)
                } else {
                    self.send_waiting(&span.file, offset, allowed).await
                };
                *done += bytes as u64;
                self.handed += bytes as u64;
                *progress += bytes as u64;
                allowed -= bytes;
                match end {
                    // A reader as fast as we are would keep this going for ever.
                    Ok(()) => tokio::task::yield_now().await,
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => self.writable().await?,
                        io::ErrorKind::UnexpectedEof => return Err(SendTrouble::File(error)),
                        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => return Ok(false),
                        _ => return Err(SendTrouble::Broken(error)),
                    },
                }
            }
        }
        Ok(true)
    }

    /// Sends until the socket is full, on a thread that may wait for the disk.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    async fn send_waiting(&mut self, file: &Arc<File>, offset: u64, len: usize) -> (usize, io::Result<()>) {
        let (stream, file) = (self.stream.clone(), file.clone());
        let before = Instant::now();
        let went =
            tokio::task::spawn_blocking(move || sendfile::until_full(&stream, &file, offset, len)).await;
        // A slow disk is not the other side's fault.
        self.pace.excuse(before.elapsed());
        went.unwrap_or_else(|panic| (0, Err(io::Error::other(panic))))
    }

    /// By reading and writing, from `done` on.
    async fn send_copied(
        &mut self,
        span: &FileSpan,
        limiter: &RateLimiter,
        progress: &mut u64,
        done: &mut u64,
    ) -> Result<(), SendTrouble> {
        while *done < span.len {
            let want = usize::try_from(span.len - *done).unwrap_or(usize::MAX).min(BUFFER);
            let len = limited(limiter, want, &mut self.pace).await;
            let (file, offset) = (span.file.clone(), span.offset + *done);
            let before = Instant::now();
            let read = tokio::task::spawn_blocking(move || {
                let mut buffer = Buffer::with_room(len as u64);
                buffer.resize(len, 0);
                read_exact_at(&file, &mut buffer, offset).map(|()| buffer)
            });
            let read = read.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            self.pace.excuse(before.elapsed());
            self.write_all(&read.map_err(SendTrouble::File)?, false, progress).await?;
            *done += len as u64;
        }
        Ok(())
    }

    /// Waits until more can be sent, as long as bytes move.
    async fn writable(&mut self) -> Result<(), SendTrouble> {
        // Mostly that is soon, and nothing need be asked.
        if let Ok(ready) = tokio::time::timeout(LOOK, self.stream.writable()).await {
            return ready.map_err(SendTrouble::Broken);
        }
        let stream = Arc::clone(&self.stream);
        let mut writable = std::pin::pin!(while_sending(&stream, stream.writable()));
        loop {
            match tokio::time::timeout_at(self.pace.deadline(), &mut writable).await {
                Ok(ready) => return ready.map_err(SendTrouble::Broken),
                Err(_) => self.check()?,
            }
        }
    }

    /// Whether the other side still takes bytes as fast as it must.
    pub(super) fn check(&mut self) -> Result<(), SendTrouble> {
        let arrived = (self.before + self.handed).saturating_sub(unacknowledged(&self.stream));
        self.pace.check(arrived, Instant::now()).map_err(SendTrouble::Slow)
    }

    /// Whether all of it has arrived, as far as the system can tell.
    pub(super) fn has_arrived(&self) -> bool {
        unacknowledged(&self.stream) == 0
    }
}

/// Completes when the other side will send nothing more.
async fn hung_up(stream: &TcpStream) -> io::Error {
    match stream.peek(&mut [0]).await {
        Ok(0) => io::ErrorKind::ConnectionAborted.into(),
        // The next request is here already.
        Ok(_) => std::future::pending().await,
        Err(error) => error,
    }
}

/// Asks the limiter, without counting the wait against the other side.
pub(super) async fn limited(limiter: &RateLimiter, want: usize, pace: &mut Pace) -> usize {
    if limiter.rate() == 0 {
        return want;
    }
    let before = Instant::now();
    let granted = limiter.take(want).await;
    pace.excuse(before.elapsed());
    granted
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod sendfile {
    use super::*;

    /// Sends until `len` bytes are through (`Ok`), the socket is full (`WouldBlock`), or the file has ended
    /// (`UnexpectedEof`); and how many bytes went.
    pub(super) fn until_full(
        stream: &TcpStream,
        file: &File,
        offset: u64,
        len: usize,
    ) -> (usize, io::Result<()>) {
        let mut bytes = 0;
        while bytes < len {
            let (offset, len) = (offset + bytes as u64, len - bytes);
            match stream.try_io(Interest::WRITABLE, || once(stream, file, offset, len)) {
                Ok(0) => return (bytes, Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => bytes += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (bytes, Err(error)),
            }
        }
        (bytes, Ok(()))
    }

    fn once(stream: &TcpStream, file: &File, offset: u64, len: usize) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::Unsupported)?;
        socket2::SockRef::from(stream).sendfile(file, offset, NonZeroUsize::new(len))
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn send(stream: &TcpStream, bytes: &[u8], more: bool) -> io::Result<usize> {
    socket2::SockRef::from(stream).send_with_flags(bytes, if more { libc::MSG_MORE } else { 0 })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn send(stream: &TcpStream, bytes: &[u8], _more: bool) -> io::Result<usize> {
    socket2::SockRef::from(stream).send(bytes)
}
