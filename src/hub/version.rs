use std::io;
use std::sync::Arc;

use crate::content::PieceHashes;
use crate::wire::{Digest, UrlPath};

/// One version of one file: immutable. While somebody holds it, its bytes stay readable, even if the path has got
/// another file since (the descriptor is kept).
#[derive(Debug)]
pub struct FileVersion {
    /// Where it is, or was.
    pub path: UrlPath,
    /// Size, piece size, piece hashes and root.
    pub hashes: PieceHashes,
    /// Modification time, Unix seconds.
    pub mtime: i64,
    /// Media type by name.
    pub mime: &'static str,
    /// SHA-256 of the whole file, where known.
    pub digest: Option<Digest>,
}

impl FileVersion {
    /// Names the version.
    pub fn root(&self) -> Digest {
        self.hashes.root()
    }

    /// The file, open for reading, and still the one that was hashed: same inode, size and times. An error of kind
    /// `NotFound` or `Other` means that this version can no longer be served. Blocks on the disk, rarely.
    pub fn open(&self) -> io::Result<Arc<std::fs::File>> {
        todo!()
    }

    /// Whether the open file still has the size and times it was hashed with. Cheap: one fstat.
    pub fn is_unchanged(&self, file: &std::fs::File) -> bool {
        let _ = file;
        todo!()
    }
}
