//! Finding out by hash which pieces of a file are right.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Progress;
use super::positional::{next_data, read_full_at};
use crate::content::{PieceHasher, PieceHashes, PieceSet, hash_piece};
use crate::wire::Digest;

/// Bytes read at a time.
const BLOCK: usize = 256 * 1024;
/// Files up to this size are checked on the calling thread alone.
const ALONE_UP_TO: u64 = 4 * 1024 * 1024;
/// More threads than this gain nothing: the disk is the limit.
const MAX_THREADS: usize = 4;

/// The pieces of `file` that are right, holes skipped. The file may be shorter or longer than it should be.
/// `progress` gets bytes checked and bytes to check, from the calling thread; when it wants no more, the result is
/// [`io::ErrorKind::Interrupted`].
pub(super) fn right_pieces(
    file: &File,
    hashes: &PieceHashes,
    progress: &mut Progress<'_>,
) -> io::Result<PieceSet> {
    let layout = hashes.layout();
    if !hashes.is_told() {
        return Ok(PieceSet::new(layout.count()));
    }
    let total = file.metadata()?.len().min(layout.size());
    // Only pieces that are there to their last byte can be right.
    let count = layout.inside(0..total).end;
    if count == 0 {
        return Ok(PieceSet::new(layout.count()));
    }
    let job = Job {
        file,
        hashes,
        count,
        next: AtomicU32::new(0),
        checked: AtomicU64::new(0),
        zeros: OnceLock::new(),
        right: Mutex::new((PieceSet::new(layout.count()), None)),
    };
    let helpers = match total {
        ..=ALONE_UP_TO => 0,
        _ => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS) - 1,
    };
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|| job.work(&mut |_| ControlFlow::Continue(())));
        }
        job.work(&mut |checked| progress(checked, total));
    });
    match job.right.into_inner().unwrap_or_else(PoisonError::into_inner) {
        (_, Some(error)) => Err(error),
        (right, None) => Ok(right),
    }
}

struct Job<'a> {
    file: &'a File,
    hashes: &'a PieceHashes,
    count: u32,
    next: AtomicU32,
    checked: AtomicU64,
    /// Hash of a whole piece of zeros.
    zeros: OnceLock<Digest>,
    right: Mutex<(PieceSet, Option<io::Error>)>,
}

impl Job<'_> {
    /// Checks pieces until none is left or reading fails.
    fn work(&self, progress: &mut dyn FnMut(u64) -> ControlFlow<()>) {
        let mut buffer = vec![0; self.hashes.layout().size().min(BLOCK as u64) as usize];
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            if piece >= self.count {
                return;
            }
            let outcome = self.check(piece, &mut buffer);
            let bytes = self.hashes.layout().bytes_of(piece);
            let checked =
                self.checked.fetch_add(bytes.end - bytes.start, Ordering::Relaxed) + bytes.end - bytes.start;
            let outcome = match progress(checked) {
                ControlFlow::Continue(()) => outcome,
                ControlFlow::Break(()) => Err(io::ErrorKind::Interrupted.into()),
            };
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(true) => {
                    right.0.insert(piece);
                }
                Ok(false) => {}
                // Somebody is cutting the file short: what is no longer there is not right.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => {
                    right.1 = Some(error);
                    self.next.store(self.count, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn check(&self, piece: u32, buffer: &mut [u8]) -> io::Result<bool> {
        let layout = self.hashes.layout();
        let bytes = layout.bytes_of(piece);
        // A piece that is one hole reads as zeros; no need to read it.
        if next_data(self.file, bytes.start).is_none_or(|data| data >= bytes.end) {
            return Ok(self.hashes.is_right(piece, &self.digest_of_zeros(bytes.end - bytes.start)));
        }
        let mut hasher = PieceHasher::new(&layout);
        let mut digest = None;
        let mut offset = bytes.start;
        while offset < bytes.end {
            let block = (bytes.end - offset).min(buffer.len() as u64) as usize;
            let block = &mut buffer[..block];
            read_full_at(self.file, block, offset)?;
            hasher.update(block, |whole| digest = Some(whole));
            offset += block.len() as u64;
        }
        Ok(digest.or_else(|| hasher.finish()).is_some_and(|digest| self.hashes.is_right(piece, &digest)))
    }

    fn digest_of_zeros(&self, length: u64) -> Digest {
        let hash = || hash_piece(&vec![0; length as usize]);
        if length == u64::from(self.hashes.layout().piece_size().bytes()) {
            *self.zeros.get_or_init(hash)
        } else {
            hash()
        }
    }
}
