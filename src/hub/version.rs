use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::handles::{Handle, Handles, Pin};
use super::signed::Signed;
use super::stamp::Stamp;
use super::tree::Tree;
use super::{HubError, mime_of};
use crate::content::{PieceHashes, PieceSize};
use crate::wire::{Digest, UrlPath};

/// One version of one file: immutable. While somebody holds its [open file](FileVersion::open), its bytes stay
/// readable, even if the path has got another file since. The hub keeps the descriptors of versions in use open too,
/// those of replaced ones ([`super::Hub::still_good`]) before others, as far as the process's limit allows.
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

    pub(super) stamp: Stamp,
    pub(super) use_mark: UseMark,
    /// What lies beside the file now.
    beside: RwLock<Option<Arc<Signed>>>,
    /// What the hub has signed itself.
    own: OnceLock<Arc<Signed>>,
    source: Arc<Source>,
    handle: Arc<Handle>,
    /// Once its path leads to another file.
    pin: OnceLock<Pin>,
}

/// For the cache of recent versions.
#[derive(Debug, Default)]
pub(super) struct UseMark {
    /// Somebody asked for it since the cache last looked.
    pub(super) used: AtomicBool,
    /// The cache has it.
    pub(super) cached: AtomicBool,
}

/// Where versions get their files.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) tree: Tree,
    pub(super) handles: Handles,
}

impl FileVersion {
    pub(super) fn new(
        source: Arc<Source>,
        path: UrlPath,
        file: Option<Arc<std::fs::File>>,
        stamp: Stamp,
        hashes: PieceHashes,
    ) -> Self {
        let handle = Arc::new(Handle::default());
        if let Some(file) = file {
            source.handles.keep(&handle, file);
        }
        // The hash of the only piece is the hash of the file. With no piece, the root is: both are SHA-256 of nothing.
        let digest = match hashes.all() {
            [] => Some(hashes.root()),
            [only] => Some(*only),
            _ => None,
        };
        Self {
            mime: mime_of(&path).unwrap_or("application/octet-stream"),
            mtime: stamp.mtime.seconds,
            use_mark: UseMark::default(),
            path,
            hashes,
            digest,
            stamp,
            beside: RwLock::default(),
            own: OnceLock::new(),
            source,
            handle,
            pin: OnceLock::new(),
        }
    }

    /// Names the version.
    pub fn root(&self) -> Digest {
        self.hashes.root()
    }

    /// Whether it is what lies under this stamp, cut into pieces of this size.
    pub(super) fn is(&self, stamp: &Stamp, piece: PieceSize) -> bool {
        self.stamp == *stamp && self.hashes.layout().piece_size() == piece
    }

    /// The signatures it has, as of the last time when the hub was asked for it.
    pub fn signed(&self) -> Option<Arc<Signed>> {
        let beside = self.beside.read().unwrap_or_else(PoisonError::into_inner);
        beside.as_ref().or_else(|| self.own.get()).cloned()
    }

    pub(super) fn set_signed(&self, beside: Option<Arc<Signed>>) {
        *self.beside.write().unwrap_or_else(PoisonError::into_inner) = beside;
    }

    /// The first stays.
    pub(super) fn set_own(&self, own: Signed) {
        let _ = self.own.set(Arc::new(own));
    }

    /// What the hub has signed itself, as a sidecar.
    pub(super) fn own_text(&self) -> Option<String> {
        self.own.get().map(|own| own.to_text())
    }

    /// The file, open for reading, and still the one that was hashed: same inode, size and times. An error of kind
    /// `NotFound` or `Other` means that this version can no longer be served. Blocks on the disk, rarely.
    pub fn open(&self) -> io::Result<Arc<std::fs::File>> {
        if let Some(file) = self.opened() {
            return Ok(file);
        }
        let (file, stamp) = self.source.tree.open_file(&self.path).map_err(|error| match error {
            HubError::NotFound => io::ErrorKind::NotFound.into(),
            HubError::Busy => io::ErrorKind::ResourceBusy.into(),
            other => io::Error::other(other),
        })?;
        if stamp != self.stamp {
            return Err(io::Error::other("the file has changed"));
        }
        let file = Arc::new(file);
        self.source.handles.keep(&self.handle, file.clone());
        Ok(file)
    }

    /// The same, if it is open already: no more than an fstat, so not even a slow disk is waited for.
    pub fn opened(&self) -> Option<Arc<std::fs::File>> {
        let file = self.pin.get().map(|pin| pin.file.clone()).or_else(|| self.handle.get());
        file.filter(|file| self.is_unchanged(file))
    }

    /// Its path leads to another file now: the open one is all there is of it, and is kept open while the version is
    /// used. Not when there are too many such.
    pub(super) fn hold_on_to(&self, file: Arc<std::fs::File>) {
        if let Some(pin) = self.source.handles.pin(file) {
            // It may be held already.
            let _ = self.pin.set(pin);
        }
    }

    /// Whether the open file still has the size and times it was hashed with. Cheap: one fstat.
    pub fn is_unchanged(&self, file: &std::fs::File) -> bool {
        self.stamp.holds_for(file)
    }
}
