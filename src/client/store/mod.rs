//! The piece store: one file being received, or complete and being given to others.
//!
//! Received bytes go straight to their place in `NAME.part`, but a piece counts only once its hash was right. A small
//! file of one piece is created and named by whoever receives its piece: of thousands of them, trips to the disk for that
//! alone would be most of the work. What
//! is on disk is never believed, only checked: a store opened again hashes what it finds, so that no kill, crash
//! or other program's write can turn into a wrong byte. The state file beside it (see [`state_file`]) is there for
//! people and for lists of unfinished downloads, not for trust.
//!
//! Not responsible for: where pieces come from, when to ask for them, when to stop offering them.

mod check;
mod positional;
mod state_file;

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::Overwrite;
use crate::content::{BLOCK, Layout, PieceHashes, PieceSet, merkle_root};
use crate::peer::{Claim, FileSpan, Finished, PieceSink, Ready};
use crate::wire::{Digest, PdtpUri};
use positional::{read_full_at, write_all_at};
use state_file::{State, part_path, state_path};

/// Files of this size and more are flushed to the disk before they get their final name. For smaller ones a flush
/// would cost more than fetching them again, and the next download of the same name checks them by hash anyway.
const FLUSH_FROM: u64 = 1024 * 1024;

/// Files of one piece are small up to this size.
const SMALL_UP_TO: u64 = 256 * 1024;

/// How often to look again when the part file was renamed away between opening and locking it.
const LOCK_ATTEMPTS: u32 = 8;

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
    /// Whoever opened it wants it no more.
    #[error("checking what is there was called off")]
    CalledOff,
    /// It is not the file that it was taken for.
    #[error("{0} is another file than the one on the server")]
    Differs(PathBuf),
    /// Something that is not a file has the name.
    #[error("{0} is there and is not a regular file")]
    NotAFile(PathBuf),
}

/// Is told bytes checked and bytes to check, and says whether to go on.
pub(super) type Progress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// Whether a download to `target` would find anything to begin with: the file, or what is left of an earlier one.
pub(super) fn is_anything_here(target: &Path) -> bool {
    // What cannot be looked at is left to `open` to complain of.
    [target, &part_path(target), &state_path(target)].into_iter().any(|path| path.symlink_metadata().is_ok())
}

/// What is left of a download that was not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it comes from.
    pub uri: PdtpUri,
    /// Bytes verified when that was written down last.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What is left of a download to the file `target`, as the state file beside it says: for people, and to go on with.
pub fn leftover(target: &Path) -> Option<Leftover> {
    let state = State::read(&state_path(target)).ok()?;
    Some(Leftover { uri: state.uri.parse().ok()?, done: state.done, total: state.size })
}

impl StoreError {
    fn io(what: impl std::fmt::Display, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{what} {}", path.display());
        move |source| Self::Io { what, source }
    }

    fn checking(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let io = Self::io("cannot read", path);
        |error| if error.kind() == io::ErrorKind::Interrupted { Self::CalledOff } else { io(error) }
    }
}

/// One file on disk. Blocking calls, from any thread.
#[derive(Debug)]
pub struct PieceStore {
    hashes: Arc<PieceHashes>,
    /// More of the hashes is known.
    learned: Notify,
    /// Of a small file, not there before the first bytes come.
    file: OnceLock<Arc<File>>,
    /// `None`: no name on disk.
    names: Option<Names>,
    /// Valid bytes when opened.
    found: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Names {
    target: PathBuf,
    part: PathBuf,
    state: PathBuf,
    uri: String,
}

impl Names {
    /// The part file, with all in it, under its final name: with the modification time (Unix seconds), atomically, and
    /// unlocked.
    fn settle(&self, file: &File, mtime: Option<i64>) -> Result<Stamp, StoreError> {
        if let Some(time) = mtime.and_then(system_time) {
            // A file system that keeps no such times is no reason to fail.
            let _ = file.set_modified(time);
        }
        std::fs::rename(&self.part, &self.target)
            .map_err(StoreError::io(format!("cannot rename {} to", self.part.display()), &self.target))?;
        // The part file has gone; its lock would only keep others from the finished file.
        let _ = file.unlock();
        Stamp::of(file).map_err(StoreError::io("cannot read", &self.target))
    }

    fn of(target: &Path, uri: &str) -> Self {
        Self {
            target: target.to_owned(),
            part: part_path(target),
            state: state_path(target),
            uri: uri.to_owned(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    verified: PieceSet,
    /// Claimed by a writer.
    busy: PieceSet,
    /// Hashes of claimed pieces that are whole, and wait for the others of their block, of which only the root is known.
    open: Vec<(u32, Digest)>,
    verified_bytes: u64,
    /// Where hashes are not told: those of the verified pieces.
    learned: Vec<Digest>,
    /// `verified_bytes` as in the state file.
    saved_bytes: Option<u64>,
    place: Place,
    small: Option<Small>,
}

impl Inner {
    /// Those of some pieces that are open.
    fn open_of(&self, pieces: &Range<u32>) -> impl Iterator<Item = (u32, Digest)> {
        self.open.iter().copied().filter(|(piece, _)| pieces.contains(piece))
    }

    /// A piece is there, and right.
    fn verify(&mut self, piece: u32, layout: &Layout) {
        if self.verified.insert(piece) {
            self.verified_bytes += length_of(layout, piece);
        }
    }
}

/// A small file, which gets its name when its piece was right.
#[derive(Debug, Clone, Copy)]
struct Small {
    /// To be its modification time (Unix seconds).
    mtime: Option<i64>,
}

/// Under which name the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// `NAME.part`, or no name.
    Part,
    /// Its final one, as it was then: offered only as long as it stays so.
    Final(Stamp),
    /// Its final one, touched by somebody else since, or removed by us.
    Retired,
}

/// What tells that a file was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { size: meta.len(), modified: meta.modified().ok() })
    }
}

impl PieceStore {
    /// Opens or creates `NAME.part` beside `target` and finds out by hash what is already there: in the part file,
    /// and in an existing `target` (whose right pieces are copied, never changed in place). If `target` is complete
    /// and right, it is opened as it is, and [`PieceStore::is_complete`] holds. `uri` is remembered in the state
    /// file. `progress` gets bytes checked and bytes to check, and may end it ([`StoreError::CalledOff`]). One store per
    /// part file: a lock is held on it.
    pub fn open(
        target: &Path,
        uri: &str,
        hashes: Arc<PieceHashes>,
        overwrite: Overwrite,
        progress: &mut (dyn FnMut(u64, u64) -> ControlFlow<()> + '_),
    ) -> Result<Self, StoreError> {
        let names = Names::of(target, uri);
        let layout = hashes.layout();
        let mut old = None;
        if let Some(file) = open_existing(target)? {
            let right = match overwrite {
                Overwrite::Replace => PieceSet::new(layout.count()),
                _ => check::right_pieces(&file, &hashes, progress).map_err(StoreError::checking(target))?,
            };
            let stamp = Stamp::of(&file).map_err(StoreError::io("cannot read", target))?;
            if overwrite != Overwrite::Replace && right.is_full() && stamp.size == layout.size() {
                return Ok(Self::complete(hashes, file, names, stamp));
            }
            match overwrite {
                Overwrite::Never => return Err(StoreError::Exists(target.to_owned())),
                _ => old = Some((file, right)),
            }
        }

        let part = names.part.clone();
        let file = open_locked(&part)?;
        let verified = match overwrite {
            Overwrite::Replace => PieceSet::new(layout.count()),
            _ => check::right_pieces(&file, &hashes, progress).map_err(StoreError::checking(&part))?,
        };
        // To nothing first where nothing counts, so that no old byte is left behind in a hole.
        if verified.count() == 0 && !is_empty(&file) {
            file.set_len(0).map_err(StoreError::io("cannot truncate", &part))?;
        }
        file.set_len(layout.size()).map_err(StoreError::io("cannot set the length of", &part))?;
        let store = Self::partial(hashes, Some(file), Some(names), verified);
        if let Some((old, right)) = old {
            store.adopt(&old, &right).map_err(StoreError::io("cannot write", &part))?;
        }
        let store = Self { found: store.verified_bytes(), ..store };
        store.save_state()?;
        Ok(store)
    }

    /// For a small file of one piece, of which nothing is here ([`is_anything_here`]): the part file is created when the
    /// first bytes come, and has its final name when the piece was right. `None` for other files. `mtime` is to be its
    /// modification time. Does not block.
    pub(super) fn small(
        target: &Path,
        uri: &str,
        hashes: Arc<PieceHashes>,
        mtime: Option<i64>,
    ) -> Option<Self> {
        let layout = hashes.layout();
        if layout.count() != 1 || layout.size() > SMALL_UP_TO || !hashes.is_told() {
            return None;
        }
        let names = Names::of(target, uri);
        let mut store = Self::partial(hashes, None, Some(names), PieceSet::new(1));
        store.inner.get_mut().unwrap_or_else(PoisonError::into_inner).small = Some(Small { mtime });
        Some(store)
    }

    /// Opens a complete file for others, once its content was found right; never changes or creates anything. `progress`
    /// as for [`PieceStore::open`].
    pub fn open_complete(
        target: &Path,
        uri: &str,
        hashes: Arc<PieceHashes>,
        progress: &mut (dyn FnMut(u64, u64) -> ControlFlow<()> + '_),
    ) -> Result<Self, StoreError> {
        let missing = || StoreError::io("cannot open", target)(io::ErrorKind::NotFound.into());
        let file = open_existing(target)?.ok_or_else(missing)?;
        // Before it is read: who writes to it meanwhile changes this.
        let stamp = Stamp::of(&file).map_err(StoreError::io("cannot read", target))?;
        let right = check::right_pieces(&file, &hashes, progress).map_err(StoreError::checking(target))?;
        if !right.is_full() || stamp.size != hashes.layout().size() {
            return Err(StoreError::Differs(target.to_owned()));
        }
        let names = Names::of(target, uri);
        Ok(Self::complete(hashes, file, names, stamp))
    }

    /// Reserves room on the disk for all of it, where the file system can.
    pub fn reserve(&self) -> Result<(), StoreError> {
        let (Some(names), Some(file)) = (&self.names, self.file.get()) else { return Ok(()) };
        if self.is_complete() {
            return Ok(());
        }
        positional::reserve(file, self.hashes.layout().size())
            .map_err(StoreError::io("cannot reserve room for", &names.part))
    }

    /// Removes what an earlier download to `target` has left, unless it is being written to.
    pub fn discard_part(target: &Path) -> Result<(), StoreError> {
        let part = part_path(target);
        if part.symlink_metadata().is_ok() {
            let _locked = open_locked(&part)?;
            remove_if_there(&part)?;
        }
        remove_if_there(&state_path(target))
    }

    /// A store without a name in `dir`, for streams; gone when dropped.
    pub fn anonymous(dir: &Path, hashes: Arc<PieceHashes>) -> Result<Self, StoreError> {
        let layout = hashes.layout();
        let file = positional::unnamed_file(dir)
            .map_err(StoreError::io("cannot create a temporary file in", dir))?;
        file.set_len(layout.size()).map_err(StoreError::io("cannot enlarge a temporary file in", dir))?;
        Ok(Self::partial(hashes, Some(file), None, PieceSet::new(layout.count())))
    }

    fn complete(hashes: Arc<PieceHashes>, file: File, names: Names, stamp: Stamp) -> Self {
        let layout = hashes.layout();
        let mut verified = PieceSet::new(layout.count());
        (0..layout.count()).for_each(|piece| {
            verified.insert(piece);
        });
        let found = layout.size();
        let mut store = Self::partial(hashes, Some(file), Some(names), verified);
        store.found = found;
        store.inner.get_mut().unwrap_or_else(PoisonError::into_inner).place = Place::Final(stamp);
        store
    }

    fn partial(
        hashes: Arc<PieceHashes>,
        file: Option<File>,
        names: Option<Names>,
        verified: PieceSet,
    ) -> Self {
        let layout = hashes.layout();
        let verified_bytes = verified.iter().map(|piece| length_of(&layout, piece)).sum();
        let inner = Inner {
            busy: PieceSet::new(layout.count()),
            open: Vec::new(),
            verified,
            verified_bytes,
            learned: if hashes.is_told() {
                Vec::new()
            } else {
                vec![Digest::default(); layout.count() as usize]
            },
            saved_bytes: None,
            place: Place::Part,
            small: None,
        };
        let file = file.map_or_else(OnceLock::new, |file| OnceLock::from(Arc::new(file)));
        Self { hashes, learned: Notify::new(), file, names, found: verified_bytes, inner: Mutex::new(inner) }
    }

    /// Copies the right pieces of an older file that are not yet here. Each is hashed again on the way: the older
    /// file may be changing.
    fn adopt(&self, old: &File, right: &PieceSet) -> io::Result<()> {
        let layout = self.hashes.layout();
        let mut buffer = vec![0; layout.piece_size().bytes() as usize];
        for piece in right.iter() {
            if PieceSink::claim(self, piece) != Claim::Granted {
                continue;
            }
            let bytes = layout.bytes_of(piece);
            let piece_bytes = &mut buffer[..(bytes.end - bytes.start) as usize];
            let copied = read_full_at(old, piece_bytes, bytes.start)
                .and_then(|_| self.write_at(bytes.start, piece_bytes))
                .and_then(|()| PieceSink::finish(self, piece, crate::content::hash_piece(piece_bytes)));
            if let Err(error) = copied {
                self.release(piece);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends a claim on a piece that cannot be verified here: the server, which keeps the hashes to itself, has found that
    /// the bytes of this hash are right. Nothing of the kind where hashes are known.
    pub(super) fn approve(&self, piece: u32, digest: Digest) {
        let mut inner = self.inner();
        inner.busy.remove(piece);
        let Some(learned) = inner.learned.get_mut(piece as usize) else { return };
        *learned = digest;
        inner.verify(piece, &self.hashes.layout());
    }

    /// [`PieceHashes::learn`], for those who wait for that.
    pub(super) fn learn(&self, first: u32, size: u32, hashes: &[Digest], proof: &[Digest]) -> bool {
        let learned = self.hashes.learn(first, size, hashes, proof);
        if learned {
            self.learned.notify_waiters();
        }
        learned
    }

    /// [`PieceHashes::learn_roots`], for those who wait for that.
    pub(super) fn learn_roots(&self, first: u32, size: u32, roots: &[Digest], proof: &[Digest]) -> bool {
        let learned = self.hashes.learn_roots(first, size, roots, proof);
        if learned {
            self.learned.notify_waiters();
        }
        learned
    }

    /// Judges a piece together with the others of its block, if they are all whole.
    fn judge_together(&self, piece: u32, digest: Digest) -> Finished {
        let inner = &mut *self.inner();
        inner.open.push((piece, digest));
        let block = piece / BLOCK;
        let pieces = self.hashes.pieces_of(block);
        if inner.open_of(&pieces).count() < pieces.len() {
            return Finished::Open;
        }
        let mut hashes = vec![Digest::default(); pieces.len()];
        for (piece, digest) in inner.open_of(&pieces) {
            hashes[(piece - pieces.start) as usize] = digest;
        }
        self.hashes.learn_below_root(block, &hashes);
        let right = self.judge_open(block, inner);
        if right.len() == pieces.len() { Finished::Together(right) } else { Finished::Wrong }
    }

    /// Judges pieces that waited for others of a block whose hashes are known by now, and ends the claims on them: those that
    /// are right.
    #[inline(never)]
    fn judge_open(&self, block: u32, inner: &mut Inner) -> Vec<u32> {
        let mut pieces: Vec<u32> = self.hashes.pieces_of(block).collect();
        pieces.retain(|&piece| self.judge_one_open(piece, inner));
        pieces
    }

    /// Ends the claim on a piece that waited for others: whether it is known to be right by now.
    fn judge_one_open(&self, piece: u32, inner: &mut Inner) -> bool {
        let Some(at) = inner.open.iter().position(|&(open, _)| open == piece) else { return false };
        let (_, digest) = inner.open.swap_remove(at);
        inner.busy.remove(piece);
        let right = self.hashes.is_right(piece, &digest);
        if right {
            inner.verify(piece, &self.hashes.layout());
        }
        right
    }

    /// The hash of a verified piece, where it is known as such.
    pub(super) fn digest_of(&self, piece: u32) -> Option<Digest> {
        let inner = self.inner();
        let known = match self.hashes.is_told() {
            true => self.hashes.get(piece),
            false => inner.learned.get(piece as usize).copied(),
        };
        known.filter(|_| inner.verified.contains(piece))
    }

    /// The root of the version, once it is known: where hashes are not told, when all is there.
    pub fn root(&self) -> Option<Digest> {
        if self.hashes.is_told() {
            return Some(self.hashes.root());
        }
        let inner = self.inner();
        inner.verified.is_full().then(|| merkle_root(&inner.learned))
    }

    /// What it is verified against.
    pub fn hashes(&self) -> &Arc<PieceHashes> {
        &self.hashes
    }

    /// Bytes found valid when it was opened.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Bytes verified.
    pub fn verified_bytes(&self) -> u64 {
        self.inner().verified_bytes
    }

    /// The verified pieces, as they are now.
    pub fn pieces(&self) -> PieceSet {
        self.inner().verified.clone()
    }

    /// Whether one piece is verified.
    pub fn has(&self, piece: u32) -> bool {
        self.inner().verified.contains(piece)
    }

    /// Whether all pieces are verified.
    pub fn is_complete(&self) -> bool {
        self.inner().verified.is_full()
    }

    /// Verified bytes for sending. `None` if a piece of the run is missing, or the file was touched by somebody
    /// else since (then it is never offered again).
    pub fn span(&self, pieces: Range<u32>) -> Option<FileSpan> {
        if pieces.is_empty() {
            return None;
        }
        let mut inner = self.inner();
        if !pieces.clone().all(|piece| inner.verified.contains(piece)) {
            return None;
        }
        let file = self.file.get()?;
        match inner.place {
            Place::Retired => return None,
            Place::Final(stamp) if Stamp::of(file).ok() != Some(stamp) => {
                inner.place = Place::Retired;
                return None;
            }
            _ => {}
        }
        let bytes = self.hashes.layout().bytes_of_run(pieces);
        Some(FileSpan { file: Arc::clone(file), offset: bytes.start, len: bytes.end - bytes.start })
    }

    /// Whether it has its final name.
    pub fn is_finished(&self) -> bool {
        matches!(self.inner().place, Place::Final(_))
    }

    /// Whether it is a small file that was received and has its final name.
    pub(super) fn has_settled(&self) -> bool {
        let inner = self.inner();
        inner.small.is_some() && matches!(inner.place, Place::Final(_))
    }

    /// Whether it has no name, so that nobody else can want the file.
    pub fn is_anonymous(&self) -> bool {
        self.names.is_none()
    }

    /// Whether the file still is what was verified, so that it may be offered to others.
    pub fn is_offerable(&self) -> bool {
        match self.inner().place {
            Place::Part => true,
            Place::Final(stamp) => self.file.get().and_then(|file| Stamp::of(file).ok()) == Some(stamp),
            Place::Retired => false,
        }
    }

    /// Reads verified bytes; short at the end of what is verified in a row. 0 when the first is not.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let layout = self.hashes.layout();
        let wanted = offset..offset.saturating_add(buffer.len() as u64).min(layout.size());
        let touched = layout.touched(wanted.clone());
        let have = {
            let inner = self.inner();
            touched.clone().take_while(|&piece| inner.verified.contains(piece)).count() as u32
        };
        if have == 0 {
            return Ok(0);
        }
        let end = layout.bytes_of_run(touched.start..touched.start + have).end.min(wanted.end);
        let length = (end - offset) as usize;
        // Pieces are verified only when they are in the file.
        let Some(file) = self.file.get() else { return Ok(0) };
        read_full_at(file, &mut buffer[..length], offset)?;
        Ok(length)
    }

    /// Writes the state file if something was verified since it was written last.
    pub fn save_state(&self) -> Result<(), StoreError> {
        let Some(names) = &self.names else { return Ok(()) };
        if self.hashes.layout().count() < 2 {
            // There is no part of one piece to be told of. Of thousands of small files it would be most of the work.
            return Ok(());
        }
        let done = {
            let inner = self.inner();
            if inner.place != Place::Part || inner.saved_bytes == Some(inner.verified_bytes) {
                return Ok(());
            }
            inner.verified_bytes
        };
        let layout = self.hashes.layout();
        State {
            format: state_file::FORMAT,
            uri: names.uri.clone(),
            root: self.hashes.is_told().then(|| self.hashes.root()),
            size: layout.size(),
            piece_size: layout.piece_size().bytes(),
            done,
        }
        .write(&names.state)
        .map_err(StoreError::io("cannot write", &names.state))?;
        self.inner().saved_bytes = Some(done);
        Ok(())
    }

    /// All there: flushes, sets the modification time (Unix seconds), renames to the target atomically, removes the
    /// state file. The store goes on to serve reads. Does nothing when that is done already.
    pub fn finish(&self, mtime: Option<i64>) -> Result<(), StoreError> {
        let (Some(names), Some(file)) = (&self.names, self.file.get()) else { return Ok(()) };
        if self.inner().place != Place::Part || !self.is_complete() {
            return Ok(());
        }
        if self.hashes.layout().size() >= FLUSH_FROM {
            file.sync_data().map_err(StoreError::io("cannot flush", &names.part))?;
        }
        let stamp = names.settle(file, mtime)?;
        self.inner().place = Place::Final(stamp);
        remove_if_there(&names.state)
    }

    /// The file that bytes go to; that of a small file is created for the first of them.
    fn file_to_write(&self) -> io::Result<&File> {
        if let (None, Some(names)) = (self.file.get(), &self.names) {
            let file = open_locked(&names.part).map_err(io_error)?;
            if !is_empty(&file) {
                // Somebody else's, from the time since it was looked for.
                file.set_len(0)?;
            }
            // Whoever has claimed the only piece is alone here.
            let _ = self.file.set(Arc::new(file));
        }
        self.file.get().map(AsRef::as_ref).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Gives a small file, whose piece was right, its name.
    fn settle(&self, small: Small) -> io::Result<Option<Stamp>> {
        match (&self.names, self.file.get()) {
            (Some(names), Some(file)) => names.settle(file, small.mtime).map(Some).map_err(io_error),
            _ => Ok(None),
        }
    }

    /// Gives a file that was complete already the right modification time (Unix seconds), if it can have it.
    pub fn set_time(&self, mtime: Option<i64>) {
        let mut inner = self.inner();
        let Place::Final(before) = inner.place else { return };
        let time = mtime.and_then(system_time).filter(|time| before.modified != Some(*time));
        let (Some(time), Some(file)) = (time, self.file.get()) else { return };
        // Somebody else's write, between the two looks, must not pass as our own.
        if Stamp::of(file).ok() == Some(before) && file.set_modified(time).is_ok() {
            inner.place = Stamp::of(file).map_or(Place::Retired, Place::Final);
        }
    }

    /// Removes part and state files.
    pub fn discard(&self) -> Result<(), StoreError> {
        let Some(names) = &self.names else { return Ok(()) };
        {
            let mut inner = self.inner();
            if inner.place != Place::Part {
                return Ok(());
            }
            inner.place = Place::Retired;
        }
        remove_if_there(&names.part)?;
        remove_if_there(&names.state)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PieceSink for PieceStore {
    fn layout(&self) -> Layout {
        self.hashes.layout()
    }

    fn ready(&self, pieces: Range<u32>, patience: Duration) -> Option<Ready<'_>> {
        self.hashes.first_unverifiable(pieces.clone(), 0)?;
        let deadline = Instant::now() + patience;
        Some(Box::pin(async move {
            loop {
                let mut learned = pin!(self.learned.notified());
                // Before another look, so that nothing can be missed.
                learned.as_mut().enable();
                if self.hashes.first_unverifiable(pieces.clone(), 0).is_none() {
                    return true;
                }
                if timeout_at(deadline, learned).await.is_err() {
                    return false;
                }
            }
        }))
    }

    fn claim(&self, piece: u32) -> Claim {
        let mut inner = self.inner();
        if inner.verified.contains(piece) {
            Claim::Have
        } else if inner.place == Place::Part && inner.busy.insert(piece) {
            Claim::Granted
        } else {
            Claim::Busy
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(self.file_to_write()?, bytes, offset)
    }

    fn finish(&self, piece: u32, digest: Digest) -> io::Result<Finished> {
        if self.hashes.knows_root_only(piece) {
            return Ok(self.judge_together(piece, digest));
        }
        let right = self.hashes.is_right(piece, &digest);
        let small = self.inner().small.filter(|_| right);
        let settled = small.map(|small| self.settle(small)).transpose();
        let mut inner = self.inner();
        inner.busy.remove(piece);
        if let Some(stamp) = settled?.flatten() {
            inner.place = Place::Final(stamp);
        }
        if right {
            inner.verify(piece, &self.hashes.layout());
        }
        if inner.open.is_empty() {
            return Ok(if right { Finished::Right } else { Finished::Wrong });
        }
        let mut all = self.judge_open(piece / BLOCK, &mut inner);
        all.push(piece);
        Ok(if right { Finished::Together(all) } else { Finished::Wrong })
    }

    fn release(&self, piece: u32) {
        let mut inner = self.inner();
        // What is right by now need not come again.
        self.judge_one_open(piece, &mut inner);
        inner.busy.remove(piece);
    }
}

/// For those to whom the name of the file is known.
fn io_error(error: StoreError) -> io::Error {
    match error {
        StoreError::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}

fn length_of(layout: &Layout, piece: u32) -> u64 {
    let bytes = layout.bytes_of(piece);
    bytes.end - bytes.start
}

fn system_time(unix_seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(unix_seconds.unsigned_abs());
    if unix_seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

/// A complete file that may be there under its final name.
fn open_existing(target: &Path) -> Result<Option<File>, StoreError> {
    // Looked at before it is opened: opening a FIFO would block.
    match std::fs::metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("cannot look at", target)(error)),
        Ok(meta) if !meta.is_file() => Err(StoreError::NotAFile(target.to_owned())),
        Ok(_) => File::open(target).map(Some).map_err(StoreError::io("cannot open", target)),
    }
}

/// Opens or creates the part file and locks it against other downloads.
fn open_locked(part: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    positional::refuse_symlinks(&mut options);
    for _ in 0..LOCK_ATTEMPTS {
        let file = options.open(part).map_err(StoreError::io("cannot open", part))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::Locked(part.to_owned())),
            // A file system without locks: go on without.
            Err(std::fs::TryLockError::Error(_)) => return Ok(file),
        }
        // Between opening and locking, the download that held the lock may have renamed the file to its final name.
        // Writing to it then would destroy a finished file.
        if positional::is_at(&file, part).map_err(StoreError::io("cannot look at", part))? {
            return Ok(file);
        }
    }
    Err(StoreError::Locked(part.to_owned()))
}

/// Whether it holds nothing; not if that cannot be found out.
fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.len() == 0)
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}
