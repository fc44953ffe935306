//! The piece store: one file being received, or complete and being given to others.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::content::{Layout, PieceHashes, PieceSet};
use crate::peer::{Claim, FileSpan, PieceSink};
use crate::wire::Digest;

use super::Overwrite;

/// Why the store cannot do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk says no.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, on which file.
        what: String,
        /// The answer.
        source: io::Error,
    },
    /// Another process or transfer is writing the same file.
    #[error("{0} is being written by another download")]
    Locked(PathBuf),
    /// A complete file with other content is there, and must not be replaced.
    #[error("{0} exists with other content")]
    Exists(PathBuf),
}

/// One file on disk. Blocking calls, from any thread.
#[derive(Debug)]
pub struct PieceStore {
    _hashes: Arc<PieceHashes>,
}

impl PieceStore {
    /// Opens or creates `NAME.part` beside `target` and finds out by hash what is already there: in the part file,
    /// and, where it is the better start, in an existing `target` (whose right pieces are copied, never changed in
    /// place). If `target` is complete and right, it is opened as it is, and [`PieceStore::is_complete`] holds.
    /// `uri` is remembered in the state file. `progress` gets bytes checked and bytes to check. One store per part
    /// file: a lock is held on it.
    pub fn open(
        target: &Path,
        uri: &str,
        hashes: Arc<PieceHashes>,
        overwrite: Overwrite,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, StoreError> {
        let _ = (target, uri, hashes, overwrite, progress);
        todo!()
    }

    /// A store without a name in `dir`, for streams; gone when dropped.
    pub fn anonymous(dir: &Path, hashes: Arc<PieceHashes>) -> Result<Self, StoreError> {
        let _ = (dir, hashes);
        todo!()
    }

    /// What it is verified against.
    pub fn hashes(&self) -> &Arc<PieceHashes> {
        todo!()
    }

    /// Bytes found valid when it was opened.
    pub fn found(&self) -> u64 {
        todo!()
    }

    /// Bytes verified.
    pub fn verified_bytes(&self) -> u64 {
        todo!()
    }

    /// The verified pieces, as they are now.
    pub fn pieces(&self) -> PieceSet {
        todo!()
    }

    /// Whether one piece is verified.
    pub fn has(&self, piece: u32) -> bool {
        let _ = piece;
        todo!()
    }

    /// Whether all pieces are verified.
    pub fn is_complete(&self) -> bool {
        todo!()
    }

    /// Verified bytes for sending. `None` if a piece of the run is missing, or the file was touched by somebody
    /// else since (then it is never offered again).
    pub fn span(&self, pieces: std::ops::Range<u32>) -> Option<FileSpan> {
        let _ = pieces;
        todo!()
    }

    /// Reads verified bytes; short at the end of what is verified in a row. 0 when the first is not.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = (offset, buffer);
        todo!()
    }

    /// Writes the state file if something was verified since it was written last.
    pub fn save_state(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// All there: flushes, sets the modification time, renames to the target atomically, removes the state file.
    /// The store goes on to serve reads. Does nothing when that is done already.
    pub fn finish(&self, mtime: Option<i64>) -> Result<(), StoreError> {
        let _ = mtime;
        todo!()
    }

    /// Removes part and state files.
    pub fn discard(&self) -> Result<(), StoreError> {
        todo!()
    }
}

impl PieceSink for PieceStore {
    fn layout(&self) -> Layout {
        todo!()
    }

    fn claim(&self, piece: u32) -> Claim {
        let _ = piece;
        todo!()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let _ = (offset, bytes);
        todo!()
    }

    fn finish(&self, piece: u32, digest: Digest) -> io::Result<bool> {
        let _ = (piece, digest);
        todo!()
    }

    fn release(&self, piece: u32) {
        let _ = piece;
        todo!()
    }
}
