//! Receiving a run of pieces: the socket is read into one buffer while a blocking thread hashes and stores the other.
//! GET at the dialling side and PUT at the accepting side share this.

use std::fmt::Display;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::buffer::Buffer;
use super::deadlines::{Deadlines, Pace, TooSlow};
use super::link::{Framing, Link};
use super::lull::Lull;
use super::send::{is_sending, limited};
use super::{Claim, Finished, PieceSink, RateLimiter, ReceiveError, Received};
use crate::content::{Layout, PieceHasher};
use crate::wire::FailureKind;

/// What is received, from where, under which rules.
pub(super) struct Intake<'a> {
    pub(super) link: &'a mut Link,
    pub(super) framing: &'a mut Framing,
    pub(super) pieces: Range<u32>,
    pub(super) sink: Arc<dyn PieceSink>,
    pub(super) limiter: &'a RateLimiter,
    pub(super) deadlines: &'a Deadlines,
    /// When the request began.
    pub(super) started: Instant,
    /// For messages: what this is about.
    pub(super) subject: &'a (dyn Display + Sync),
}

/// The bytes of a run; `None` unless it is one of that file.
pub(super) fn bytes_of_run(layout: &Layout, pieces: &Range<u32>) -> Option<Range<u64>> {
    (pieces.start <= pieces.end && pieces.end <= layout.count()).then(|| layout.bytes_of_run(pieces.clone()))
}

impl Intake<'_> {
    /// Reads exactly the bytes of the run, which the caller has found to be those that the body has (or claims to
    /// have, if chunked). `on_piece` is called for each piece that is verified, from the blocking thread that stores it. Dropping
    /// this future releases what is claimed, at the latest when that thread is done with its buffer: what is verified until then
    /// is told, too, and then `on_piece` is dropped.
    pub(super) async fn run(
        mut self,
        on_piece: impl FnMut(u32) + Send + 'static,
    ) -> Result<Received, ReceiveError> {
        let storing = Storing::new(self.sink.clone(), self.pieces.start, Box::new(on_piece));
        let mut mill =
            Mill { idle: Some(Box::new(storing)), running: None, spare: None, verified: Vec::new() };
        if is_sending(Instant::now()) {
            self.link.acknowledge_late();
        }
        // What comes meanwhile waits in the kernel's buffers, and the other side not for ever.
        let is_ready = match self.sink.ready(self.pieces.clone(), self.deadlines.body_window) {
            Some(ready) => ready.await,
            None => true,
        };
        let mut bytes = 0;
        let pumped = match is_ready {
            true => self.pump(&mut mill, &mut bytes).await,
            false => Err(Trouble::Unverifiable),
        };
        let result = match pumped {
            Err(trouble) => Err(trouble),
            Ok(()) => mill.settle().await,
        };
        let received = Received { bytes, elapsed: self.started.elapsed(), pieces: mill.verified };
        result.map_err(|trouble| trouble.about(self.subject, received.clone())).map(|()| received)
    }

    async fn pump(&mut self, mill: &mut Mill, got: &mut u64) -> Result<(), Trouble> {
        let layout = self.sink.layout();
        let run = layout.bytes_of_run(self.pieces.clone());
        let total = run.end - run.start;
        let mut pace = Pace::new(self.deadlines, Instant::now());
        let mut lull = Lull::new(Instant::now());
        let mut filling = Buffer::with_room(total);
        let mut from = 0;
        let mut allowed = 0;
        while *got < total {
            // Where in the run the first piece ends of which something is in the buffer.
            let piece_end = layout.start(layout.piece_at(run.start + from) + 1).min(run.end) - run.start;
            if Instant::now() >= lull.end() {
                let read = self.fill(&mut filling, total, piece_end, got, &mut allowed, &mut pace).await;
                if let Err(trouble) = read {
                    // Whole pieces among what has come are as good as ever.
                    mill.settle().await?;
                    mill.start(filling);
                    mill.settle().await?;
                    return Err(trouble);
                }
                let now = Instant::now();
                // Only who gives has better uses for its uplink. Where something was lost the sender has little under way, and
                // waits for every acknowledgement.
                if filling.room() > 0 && is_sending(now) && !self.link.loses(now) {
                    lull.begin(*got, piece_end, now);
                }
            }
            let is_due = filling.room() == 0 || *got == total;
            if is_due && mill.is_running() {
                let before = Instant::now();
                mill.settle().await?;
                // Our own disk was too slow, not the other side.
                pace.excuse(before.elapsed());
            }
            // When the socket has run dry, only a piece that is now whole is worth starting the thread for.
            if !mill.is_running() && (is_due || (*got > from && *got >= piece_end)) {
                from = *got;
                let next = mill.spare.take().unwrap_or_else(|| Buffer::with_room(total - *got));
                mill.start(std::mem::replace(&mut filling, next));
                continue;
            }
            // There may be more to read, but what is there goes first.
            let has_enough = mill.is_running() && *got >= piece_end && self.limiter.rate() > 0;
            tokio::select! {
                settled = mill.settle(), if mill.is_running() => settled?,
                ready = tokio::time::timeout_at(pace.deadline(), self.ready(lull.end())), if !has_enough => match ready {
                    // What is wrong with a broken connection is for the next read to find.
                    Ok(_) => {}
                    Err(_) => pace.check(*got, Instant::now()).map_err(Trouble::Slow)?,
                },
            }
        }
        Ok(())
    }

    /// Waits until there is something to read that may be read.
    async fn ready(&self, not_before: Instant) -> io::Result<()> {
        // A timer ends at a whole millisecond, even one whose time has come: who need not wait sets none.
        if Instant::now() < not_before {
            tokio::time::sleep_until(not_before).await;
        }
        self.link.readable().await
    }

    /// Reads until the buffer is full, the body is over, or nothing more is there or allowed at the moment. With a limit
    /// there is nearly always more: then a whole piece is enough, so that it counts as soon as it could.
    async fn fill(
        &mut self,
        filling: &mut Buffer,
        total: u64,
        piece_end: u64,
        got: &mut u64,
        allowed: &mut usize,
        pace: &mut Pace,
    ) -> Result<(), Trouble> {
        while filling.room() > 0 && *got < total {
            if *allowed == 0 {
                if *got >= piece_end && self.limiter.rate() > 0 {
                    return Ok(());
                }
                let want = usize::try_from(total - *got).unwrap_or(usize::MAX).min(filling.room());
                *allowed = limited(self.limiter, want, pace).await;
            }
            let most = (*allowed).min(filling.room());
            match self.link.try_body(self.framing, filling, most) {
                Ok(0) => return Err(Trouble::Connection(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => {
                    *got += n as u64;
                    *allowed -= n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Connection(error)),
            }
            pace.check(*got, Instant::now()).map_err(Trouble::Slow)?;
        }
        Ok(())
    }
}

/// Why receiving stopped.
#[derive(Debug)]
enum Trouble {
    Unverifiable,
    Slow(TooSlow),
    Connection(io::Error),
    Wrong(u32),
    Disk(io::Error),
}

impl Trouble {
    fn about(self, subject: &dyn Display, received: Received) -> ReceiveError {
        let (kind, what, disk) = match self {
            Self::Unverifiable => (FailureKind::Cancelled, "it cannot be verified yet".to_owned(), None),
            Self::Slow(slow) if slow.moved == 0 => {
                (FailureKind::Timeout, format!("no bytes in {:?}", slow.window), None)
            }
            Self::Slow(slow) => (FailureKind::Slow, format!("only {slow}"), None),
            Self::Connection(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                (FailureKind::Gone, format!("it ended after {} bytes", received.bytes), None)
            }
            Self::Connection(error) => (FailureKind::Gone, error.to_string(), None),
            Self::Wrong(piece) => (FailureKind::Hash, format!("piece {piece} has the wrong hash"), None),
            Self::Disk(error) => (FailureKind::Disk, format!("cannot store it: {error}"), Some(error)),
        };
        ReceiveError { kind, message: format!("{subject}: {what}"), received, disk }
    }
}

/// Owns what turns buffers into verified pieces, and runs it on a blocking thread, one buffer at a time and in order.
struct Mill {
    idle: Option<Box<Storing>>,
    running: Option<Running>,
    /// A buffer that is done with.
    spare: Option<Buffer>,
    verified: Vec<u32>,
}

/// Taken off the blocking queue when dropped, if it has not begun.
struct Running(JoinHandle<(Box<Storing>, Buffer, Result<(), Trouble>)>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Mill {
    fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins with a buffer. Not while one is running, and not after an error.
    fn start(&mut self, buffer: Buffer) {
        debug_assert!(self.running.is_none());
        if let Some(mut storing) = self.idle.take() {
            self.running = Some(Running(tokio::task::spawn_blocking(move || {
                let result = storing.absorb(&buffer);
                (storing, buffer, result)
            })));
        }
    }

    /// Waits for the buffer under way. Nothing is lost if this is dropped.
    async fn settle(&mut self) -> Result<(), Trouble> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let done = (&mut running.0).await;
        self.running = None;
        let (mut storing, mut buffer, result) =
            done.map_err(|panic| Trouble::Disk(io::Error::other(panic)))?;
        self.verified.append(&mut storing.verified);
        buffer.clear();
        self.spare = Some(buffer);
        self.idle = Some(storing);
        result
    }
}

/// Cuts a stream of bytes into pieces, hashes them and hands them to the sink. Used on blocking threads.
struct Storing {
    sink: Arc<dyn PieceSink>,
    layout: Layout,
    hasher: PieceHasher,
    /// The piece that the next byte belongs to.
    piece: u32,
    /// Offset of that byte in the file.
    at: u64,
    /// The piece that is claimed.
    claimed: Option<u32>,
    /// Those that are whole and cannot be judged yet.
    open: Vec<u32>,
    /// Verified since last asked.
    verified: Vec<u32>,
    on_piece: Box<dyn FnMut(u32) + Send>,
}

impl Storing {
    fn new(sink: Arc<dyn PieceSink>, piece: u32, on_piece: Box<dyn FnMut(u32) + Send>) -> Self {
        let layout = sink.layout();
        Self {
            sink,
            layout,
            hasher: PieceHasher::new(&layout),
            piece,
            at: layout.start(piece),
            claimed: None,
            open: Vec::new(),
            verified: Vec::new(),
            on_piece,
        }
    }

    fn note_verified(&mut self, piece: u32) {
        self.verified.push(piece);
        (self.on_piece)(piece);
    }

    fn absorb(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            let span = self.layout.bytes_of(self.piece);
            if self.at == span.start {
                self.claimed = (self.sink.claim(self.piece) == Claim::Granted).then_some(self.piece);
            }
            let take = (span.end - self.at).min(bytes.len() as u64) as usize;
            let (now, later) = bytes.split_at(take);
            let mut digest = None;
            // What is not granted is there, or on its way, and read only to get past it.
            if self.claimed.is_some() {
                self.hasher.update(now, |whole| digest = Some(whole));
                self.sink.write_at(self.at, now).map_err(Trouble::Disk)?;
            }
            self.at += take as u64;
            bytes = later;
            if self.at == span.end {
                if let Some(piece) = self.claimed.take() {
                    // The last piece of a file may be short, so that the hasher does not know that it is whole.
                    let digest = digest.or_else(|| self.hasher.finish()).unwrap_or_default();
                    match self.sink.finish(piece, digest) {
                        Ok(Finished::Right) => self.note_verified(piece),
                        Ok(Finished::Together(pieces)) => {
                            self.open.retain(|open| !pieces.contains(open));
                            pieces.into_iter().for_each(|piece| self.note_verified(piece));
                        }
                        Ok(Finished::Open) => self.open.push(piece),
                        Ok(Finished::Wrong) => return Err(Trouble::Wrong(piece)),
                        Err(error) => return Err(Trouble::Disk(error)),
                    }
                }
                self.piece += 1;
            }
        }
        Ok(())
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        self.claimed.into_iter().chain(self.open.drain(..)).for_each(|piece| self.sink.release(piece));
    }
}
