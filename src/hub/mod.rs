//! The repository: owns the served directory. Walks it, hashes it, remembers the hashes, hands out open files.
//!
//! Confined to the directory by `cap-std`, whatever a path or a symlink says. Knows nothing of clients or messages.

mod version;

pub use version::FileVersion;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::content::PieceSize;
use crate::wire::{EntryKind, Listing, UrlPath};

/// How to open a repository.
#[derive(Debug, Clone, Default)]
pub struct HubConfig {
    /// Where the catalogue of hashes is kept; `None` = in memory only.
    pub state_dir: Option<PathBuf>,
    /// Piece size for all files; `None` = by size of the file.
    pub piece_size: Option<PieceSize>,
    /// Hashing threads; 0 = half the processors, at least one.
    pub hash_threads: usize,
    /// Serve names that start with a dot.
    pub hidden: bool,
}

/// Why the hub cannot give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No such file or directory, or hidden, or special.
    #[error("not found")]
    NotFound,
    /// Not readable, or a symlink out of the tree.
    #[error("access denied")]
    Denied,
    /// A directory where a file was expected.
    #[error("is a directory")]
    IsDirectory,
    /// A file where a directory was expected.
    #[error("not a directory")]
    NotDirectory,
    /// The file changed while it was read, again and again.
    #[error("the file keeps changing")]
    Unstable,
    /// A cursor this hub did not make.
    #[error("invalid cursor")]
    Cursor,
    /// The disk failed.
    #[error("{0}")]
    Io(String),
}

/// What is known of a path without reading the file.
#[derive(Debug, Clone)]
pub struct Stat {
    /// File or directory.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// Modification time, Unix seconds.
    pub mtime: i64,
    /// The current version, if hashed.
    pub version: Option<Arc<FileVersion>>,
}

/// Numbers for the status page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Files known.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files hashed.
    pub hashed_files: u64,
    /// Bytes of hashed files.
    pub hashed_bytes: u64,
    /// Whether the first scan is over.
    pub scanned: bool,
}

/// The repository. Cloning shares it. All functions may be called from any thread.
#[derive(Clone)]
pub struct Hub {
    _inner: Arc<()>,
}

impl Hub {
    /// Opens `dir` and starts to scan and hash it in the background, several files at a time; what is asked for
    /// goes first.
    pub fn open(dir: &Path, config: HubConfig) -> Result<Self, HubError> {
        let _ = (dir, config);
        todo!()
    }

    /// Looks at a path as it is on disk now. Blocks on the disk.
    pub fn stat(&self, path: &UrlPath) -> Result<Stat, HubError> {
        let _ = path;
        todo!()
    }

    /// The current version of a file, hashing it first if it is new or has changed since. Every caller for the same
    /// file shares one hashing; `progress` gets (bytes done, bytes to do) now and then. The answer is immediate, with
    /// no thread hop, when the file is hashed and was looked at within the last moments.
    pub async fn version(
        &self,
        path: &UrlPath,
        progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Arc<FileVersion>, HubError> {
        let _ = (path, progress);
        todo!()
    }

    /// One page of a directory, `depth` levels deep, in byte order of percent-encoded relative paths. `cursor` is
    /// [`Listing::next`] of the page before. At most `max_entries`, and at most `max_bytes` of JSON. Blocks.
    /// `url` and `id` of the answer are left empty.
    pub fn list(
        &self,
        dir: &UrlPath,
        depth: u32,
        cursor: Option<&str>,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Listing, HubError> {
        let _ = (dir, depth, cursor, max_entries, max_bytes);
        todo!()
    }

    /// Somebody received wrong bytes of this version from here: look whether the file changed under it. `false` when
    /// it did, and the version is no longer served. Blocks.
    pub fn still_good(&self, version: &FileVersion) -> bool {
        let _ = version;
        todo!()
    }

    /// Numbers.
    pub fn stats(&self) -> HubStats {
        todo!()
    }

    /// Stops background work and closes the catalogue. Blocks for as long as a piece takes.
    pub fn close(&self) {
        todo!()
    }
}
