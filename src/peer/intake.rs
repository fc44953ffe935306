//! Receiving a run of pieces: the socket is read into one buffer while a blocking thread hashes and stores the other.
//! GET at the dialling side and PUT at the accepting side share this.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::buffer::Buffer;
use super::deadlines::{Deadlines, Pace, TooSlow};
use super::link::{Framing, Link};
use super::send::limited;
use super::{Claim, PieceSink, RateLimiter, ReceiveError, Received};
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
    pub(super) started: Instant,
    /// For messages: what this is about.
    pub(super) subject: &'a (dyn std::fmt::Display + Sync),
}

/// The bytes of a run; `None` unless it is one of that file.
pub(super) fn bytes_of_run(layout: &Layout, pieces: &Range<u32>) -> Option<Range<u64>> {
    (pieces.start <= pieces.end && pieces.end <= layout.count()).then(|| layout.bytes_of_run(pieces.clone()))
}

impl Intake<'_> {
    /// Reads exactly the bytes of the run, which the body is known to have (or claims to have, if chunked).
    /// Dropping this future releases what is claimed, at the latest when the blocking thread is done with its buffer.
    pub(super) async fn run(
        mut self,
        mut on_piece: impl FnMut(u32) + Send,
    ) -> Result<Received, ReceiveError> {
        let mut received = Received::default();
        let result = self.pump(&mut received, &mut on_piece).await;
        received.elapsed = self.started.elapsed();
        match result {
            Ok(()) => Ok(received),
            Err(trouble) => Err(trouble.into_error(self.subject, received)),
        }
    }

    async fn pump(
        &mut self,
        received: &mut Received,
        on_piece: &mut (impl FnMut(u32) + Send),
    ) -> Result<(), Trouble> {
        let layout = self.sink.layout();
        let bytes = bytes_of_run(&layout, &self.pieces).ok_or(Trouble::NoSuchRun)?;
        let mut left = bytes.end - bytes.start;
        let mut bench = Bench::new(Worker::new(self.sink.clone(), layout, bytes.start));
        let mut pace = Pace::new(self.deadlines, Instant::now());
        let mut buffer = Buffer::with_room(left);
        // Granted by the limiter and not yet used.
        let mut allowed = 0;
        let trouble = loop {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.room());
            if most > 0 {
                if allowed == 0 {
                    allowed = limited(self.limiter, most, &mut pace).await;
                }
                match self.link.try_body(self.framing, &mut buffer, most.min(allowed)) {
                    Ok(0) => break Some(Trouble::Cut),
                    Ok(n) => {
                        left -= n as u64;
                        allowed = allowed.saturating_sub(n);
                        received.bytes += n as u64;
                        if let Err(slow) = pace.check(received.bytes, Instant::now()) {
                            break Some(Trouble::Slow(slow));
                        }
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        // Nothing to read: a piece that is whole need not wait for the buffer to fill.
                        let start = bytes.end - left - buffer.len() as u64;
                        let has_piece_end = layout.piece_at(start) != layout.piece_at(bytes.end - left);
                        if bench.is_busy() || !has_piece_end {
                            let waited = tokio::select! {
                                ready = self.link.readable() => ready.map_err(Trouble::Broken),
                                done = bench.finished(), if bench.is_busy() => done.report(received, on_piece),
                                () = tokio::time::sleep_until(pace.deadline()) => {
                                    pace.check(received.bytes, Instant::now()).map_err(Trouble::Slow)
                                }
                            };
                            match waited {
                                Ok(()) => continue,
                                Err(trouble) => break Some(trouble),
                            }
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Some(Trouble::Cut),
                    Err(error) => break Some(Trouble::Broken(error)),
                }
            }
            // A slow disk is not the other side's fault.
            let before = Instant::now();
            if bench.is_busy() {
                if let Err(trouble) = bench.finished().await.report(received, on_piece) {
                    break Some(trouble);
                }
                pace.excuse(before.elapsed());
            }
            if buffer.is_empty() && left == 0 {
                break None;
            }
            let next = if left == 0 { Buffer::with_room(0) } else { Buffer::with_room(left) };
            bench.start(std::mem::replace(&mut buffer, next));
        };
        // What is already here is looked at even if no more comes: a verified byte is never thrown away.
        let mut last = Ok(());
        if bench.is_busy() {
            last = bench.finished().await.report(received, on_piece);
        }
        if last.is_ok() && !buffer.is_empty() && !matches!(trouble, Some(Trouble::Hash(_) | Trouble::Disk(_)))
        {
            bench.start(buffer);
            last = bench.finished().await.report(received, on_piece);
        }
        match (last, trouble) {
            (Err(worse), _) => Err(worse),
            (Ok(()), Some(trouble)) => Err(trouble),
            (Ok(()), None) => Ok(()),
        }
    }
}

/// Why a run did not come.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The pieces are none of that file.
    NoSuchRun,
    /// The body ended early.
    Cut,
    /// The connection broke.
    Broken(io::Error),
    /// Too few bytes in a window.
    Slow(TooSlow),
    /// This piece is wrong.
    Hash(u32),
    /// The sink cannot store.
    Disk(io::Error),
}

impl Trouble {
    fn into_error(self, subject: &(dyn std::fmt::Display + Sync), received: Received) -> ReceiveError {
        let (kind, what, disk) = match self {
            Self::NoSuchRun => (FailureKind::Refused, "not pieces of this file".to_owned(), None),
            Self::Cut => (FailureKind::Gone, format!("ended after {} bytes", received.bytes), None),
            Self::Broken(error) => {
                (FailureKind::Gone, format!("broke after {} bytes: {error}", received.bytes), None)
            }
            Self::Slow(slow) => (FailureKind::Slow, format!("too slow: {slow}"), None),
            Self::Hash(piece) => {
                (FailureKind::Hash, format!("piece {piece} is not what its hash says"), None)
            }
            Self::Disk(error) => (FailureKind::Disk, format!("cannot store: {error}"), Some(error)),
        };
        ReceiveError { kind, message: format!("{subject}: {what}"), received, disk }
    }
}

/// The worker and where it is: here, or on a blocking thread.
struct Bench {
    idle: Option<Worker>,
    busy: Option<JoinHandle<(Worker, Step)>>,
}

impl Bench {
    fn new(worker: Worker) -> Self {
        Self { idle: Some(worker), busy: None }
    }

    fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// Gives the worker a buffer. Does nothing if it was lost to a panic: that has been reported.
    fn start(&mut self, buffer: Buffer) {
        if let Some(mut worker) = self.idle.take() {
            self.busy = Some(tokio::task::spawn_blocking(move || {
                let step = worker.absorb(&buffer);
                (worker, step)
            }));
        }
    }

    /// Waits for the worker. Can be dropped and called again.
    async fn finished(&mut self) -> Step {
        let Some(busy) = &mut self.busy else { return Step::default() };
        let done = busy.await;
        self.busy = None;
        match done {
            Ok((worker, step)) => {
                self.idle = Some(worker);
                step
            }
            Err(panic) => Step { pieces: Vec::new(), trouble: Some(Trouble::Disk(io::Error::other(panic))) },
        }
    }
}

/// What came of one buffer.
#[derive(Debug, Default)]
struct Step {
    pieces: Vec<u32>,
    trouble: Option<Trouble>,
}

impl Step {
    fn report(self, received: &mut Received, on_piece: &mut impl FnMut(u32)) -> Result<(), Trouble> {
        self.pieces.iter().for_each(|&piece| on_piece(piece));
        received.pieces.extend(self.pieces);
        self.trouble.map_or(Ok(()), Err)
    }
}

/// Hashes and stores, buffer by buffer.
struct Worker {
    sink: Arc<dyn PieceSink>,
    layout: Layout,
    hasher: PieceHasher,
    /// Of the next byte.
    offset: u64,
    piece: InPiece,
}

#[derive(Debug, Clone, Copy)]
enum InPiece {
    /// Between two.
    No,
    /// Within one that is ours to write.
    Claimed(u32),
    /// Within one that somebody else has written or is writing.
    Skipped,
}

impl Worker {
    fn new(sink: Arc<dyn PieceSink>, layout: Layout, offset: u64) -> Self {
        Self { sink, layout, hasher: PieceHasher::new(&layout), offset, piece: InPiece::No }
    }

    fn absorb(&mut self, bytes: &[u8]) -> Step {
        let mut step = Step::default();
        step.trouble = self.absorb_into(bytes, &mut step.pieces).err();
        step
    }

    fn absorb_into(&mut self, mut bytes: &[u8], pieces: &mut Vec<u32>) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            let piece = self.layout.piece_at(self.offset);
            let end = self.layout.bytes_of(piece).end;
            if matches!(self.piece, InPiece::No) {
                self.piece = match self.sink.claim(piece) {
                    Claim::Granted => InPiece::Claimed(piece),
                    Claim::Have | Claim::Busy => InPiece::Skipped,
                };
            }
            let take = usize::try_from(end - self.offset).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(take);
            let is_whole = self.offset + take as u64 == end;
            if let InPiece::Claimed(_) = self.piece {
                let mut digest = None;
                self.hasher.update(now, |whole| digest = Some(whole));
                self.sink.write_at(self.offset, now).map_err(Trouble::Disk)?;
                if is_whole {
                    // The last piece of a file may be short.
                    let digest = digest.or_else(|| self.hasher.finish()).unwrap_or_default();
                    // From here on the claim is the sink's to end.
                    self.piece = InPiece::No;
                    match self.sink.finish(piece, digest).map_err(Trouble::Disk)? {
                        true => pieces.push(piece),
                        false => return Err(Trouble::Hash(piece)),
                    }
                }
            }
            if is_whole {
                self.piece = InPiece::No;
            }
            self.offset += take as u64;
            bytes = later;
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let InPiece::Claimed(piece) = self.piece {
            self.sink.release(piece);
        }
    }
}
