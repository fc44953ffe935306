//! The repository: owns the served directory. Walks it, hashes it, remembers the hashes, hands out open files.
//!
//! Confined to the directory by `cap-std`, whatever a path or a symlink says. Knows nothing of clients or messages.
//!
//! What is told is always what is on disk at that moment: every question looks at the file's stamp (size, times,
//! inode), and hashes are believed for that stamp only. So nothing depends on being told of changes: the scan and the
//! watch over the tree are there to have the hashes ready before somebody asks, and to tell who listens what is new.

mod catalogue;
mod census;
mod describe;
mod handles;
mod hasher;
mod inspect;
mod listing;
mod live;
mod names;
mod news;
mod runs;
mod scan;
mod signed;
mod stamp;
mod sys;
// They need symlinks, pipes and names that are not text.
#[cfg(all(test, unix))]
mod tests;
mod throttle;
mod touches;
mod tree;
mod version;
mod watch;
mod xattrs;

pub use describe::Metadata;
pub use inspect::{CatalogueStats, Inspection, Problems};
pub use listing::{Audience, Everybody, Form, View};
pub use news::{Change, Listener};
pub use signed::Signed;
pub use version::FileVersion;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::catalogue::Catalogue;
use self::census::Census;
use self::describe::Describer;
use self::handles::Handles;
use self::hasher::{Pool, State};
use self::live::Live;
use self::news::News;
use self::runs::Runs;
use self::signed::Signatures;
use self::stamp::Stamp;
use self::throttle::Throttle;
use self::touches::Touches;
use self::tree::{Found, Policy, Tree};
use self::version::Source;
use self::watch::Watch;
use crate::content::{PieceHashes, PieceSize};
use crate::globs::Globs;
use crate::publisher::Signer;
use crate::wire::{Digest, EntryKind, Listing, UrlPath};

/// A file that changed while it was read is read again, up to so many times in all.
const MAX_ATTEMPTS: u32 = 5;
/// More hashing threads than this are not started, whatever is configured.
const MAX_HASH_THREADS: usize = 256;
/// Up to this size the hashes of a file are so few that the catalogue is asked at once: of thousands of small files, the
/// way to another thread and back is most of the time.
const KNOWN_AT_ONCE: u64 = 64 * 1024;
/// How long a file that is being written is waited for beyond the time it takes to settle, and how often it is looked
/// at meanwhile.
const WRITER_PATIENCE: Duration = Duration::from_secs(1);
const WRITER_POLL: Duration = Duration::from_millis(20);
/// See [`HubConfig::settle`].
pub const DEFAULT_SETTLE: Duration = Duration::from_secs(2);

/// How to open a repository.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Where the catalogue of hashes is kept; `None` = in memory only.
    pub state_dir: Option<PathBuf>,
    /// Piece size for all files; `None` = by size of the file.
    pub piece_size: Option<PieceSize>,
    /// Hashing threads; 0 = half the processors, at least one.
    pub hash_threads: usize,
    /// Serve names that start with a dot.
    pub hidden: bool,
    /// Which files are served at all, by name.
    pub globs: Globs,
    /// Serve what symlinks lead to, within the tree; otherwise they are not there.
    pub follow_symlinks: bool,
    /// Most bytes a second read for hashing; 0 = as fast as it goes.
    pub hash_rate: u64,
    /// A file that is being written is offered when it was closed, or when nothing was written to it for so long.
    pub settle: Duration,
    /// Have the system tell of changes; without, they are found by scanning.
    pub watch: bool,
    /// Sign what has no signature beside it.
    pub sign_key: Option<Arc<Signer>>,
    /// Where what is told of files besides their bytes comes from.
    pub metadata: Metadata,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            state_dir: None,
            piece_size: None,
            hash_threads: 0,
            hidden: false,
            globs: Globs::default(),
            follow_symlinks: false,
            hash_rate: 0,
            settle: DEFAULT_SETTLE,
            watch: true,
            sign_key: None,
            metadata: Metadata::default(),
        }
    }
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
    /// Somebody is writing to the file, or it changed while it was read, again and again.
    #[error("the file is still being written")]
    Unstable,
    /// There are no descriptors left to open it with: there may be soon.
    #[error("too many files are open at present")]
    Busy,
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
    /// Whether the system tells of changes everywhere in the tree; else they are found by scanning.
    pub watched: bool,
}

/// A file as it is on disk, open for reading, hashed or not.
#[derive(Debug)]
pub struct PlainFile {
    /// The file; its cursor is at the start and free to use.
    pub file: Arc<std::fs::File>,
    /// Bytes.
    pub size: u64,
    /// Modification time, Unix seconds.
    pub mtime: i64,
    /// Modification time, nanoseconds within the second.
    pub mtime_nanos: u32,
    /// Media type by name, where known.
    pub mime: Option<&'static str>,
    /// The version these bytes are, if it is hashed.
    pub version: Option<Arc<FileVersion>>,
}

/// The repository. Cloning shares it. All functions may be called from any thread. The background work ends when
/// the last clone is dropped, which waits for it like [`Hub::close`].
#[derive(Debug, Clone)]
pub struct Hub {
    owner: Arc<Owner>,
}

/// What all clones share, and the threads do not hold.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads share.
struct Shared {
    source: Arc<Source>,
    piece_size: Option<PieceSize>,
    signatures: Signatures,
    live: Live,
    catalogue: Catalogue,
    pool: Pool,
    throttle: Throttle,
    census: Census,
    touches: Arc<Touches>,
    watch: Watch,
    news: News,
    runs: Runs,
    describer: Describer,
    settle: Duration,
    stop: Stop,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Hub {
    /// Opens `dir` and starts to scan and hash it in the background, several files at a time; what is asked for
    /// goes first. Blocks on the disk: the catalogue of before is checked.
    ///
    /// The directory stays the one that it is now, even if another takes its name.
    pub fn open(dir: &Path, config: HubConfig) -> Result<Self, HubError> {
        // The catalogue first: the state directory must exist before it can be found within the tree.
        let catalogue = match Tree::check(dir) {
            Ok(()) => Catalogue::open(config.state_dir.as_deref())?,
            Err(error) => return Err(error),
        };
        let policy = Policy { hidden: config.hidden, globs: config.globs, follow: config.follow_symlinks };
        let tree = Tree::open(dir, policy, config.state_dir.as_deref())?;
        let hashers = match config.hash_threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get() / 2).max(1),
            n => n.min(MAX_HASH_THREADS),
        };
        let source = Arc::new(Source { tree, handles: Handles::for_this_process() });
        let touches = Arc::new(Touches::new(config.settle, watch::TELLS_CLOSE));
        let shared = Arc::new(Shared {
            watch: Watch::new(dir, &source, &touches, config.watch),
            source,
            touches,
            news: News::default(),
            runs: Runs::default(),
            describer: Describer::new(config.metadata),
            settle: config.settle,
            piece_size: config.piece_size,
            signatures: Signatures::new(config.sign_key),
            live: Live::default(),
            catalogue,
            pool: Pool::new(hashers),
            throttle: Throttle::new(config.hash_rate),
            census: Census::default(),
            stop: Stop::default(),
        });
        // From here on dropping the owner ends what was started, also when a thread cannot be had.
        let owner = Arc::new(Owner { shared, threads: Mutex::default() });
        owner.start("pdtp-scan".to_owned(), scan::run)?;
        owner.start("pdtp-watch".to_owned(), watch::run)?;
        owner.start("pdtp-describe".to_owned(), describe::run)?;
        for i in 0..hashers {
            owner.start(format!("pdtp-hash-{i}"), hasher::run)?;
        }
        Ok(Self { owner })
    }

    /// Looks at a path as it is on disk now. Blocks on the disk.
    pub fn stat(&self, path: &UrlPath) -> Result<Stat, HubError> {
        let shared = &self.owner.shared;
        let found = shared.stat(path)?;
        let is_file = found.kind == EntryKind::File;
        Ok(Stat {
            kind: found.kind,
            size: if is_file { found.stamp.size } else { 0 },
            mtime: found.stamp.mtime.seconds,
            version: is_file.then(|| shared.known(path, &found.stamp, None, &shared.beside(path))).flatten(),
        })
    }

    /// Opens a file to be served as it is, without waiting for it to be hashed. Blocks on the disk.
    pub fn open_file(&self, path: &UrlPath) -> Result<PlainFile, HubError> {
        let shared = &self.owner.shared;
        let (file, stamp) = shared.source.tree.open_file(path)?;
        let file = Arc::new(file);
        Ok(PlainFile {
            version: shared.known(path, &stamp, Some(&file), &shared.beside(path)),
            file,
            size: stamp.size,
            mtime: stamp.mtime.seconds,
            mtime_nanos: stamp.mtime.nanos,
            mime: mime_of(path),
        })
    }

    /// The current version of a file, hashing it first if it is new or has changed since. Every caller for the same
    /// file shares one hashing; `progress` gets (bytes done, bytes to do) now and then. The answer is immediate, with
    /// no thread hop, when the file is hashed and small, or was asked for recently.
    ///
    /// When the future is dropped and nobody else waits for the file, its hashing becomes background work.
    pub async fn version(
        &self,
        path: &UrlPath,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Arc<FileVersion>, HubError> {
        let shared = &self.owner.shared;
        let mut hashed: Option<Arc<FileVersion>> = None;
        for _ in 0..MAX_ATTEMPTS {
            // Asks the disk from the async thread: it is one path lookup (about 3 us), which the system has in memory
            // for a file that is asked for twice. A thread hop would cost ten times as much, and to believe what was
            // seen a moment ago would serve the old version of a file after it was replaced.
            let found = shared.stat(path)?;
            if found.kind == EntryKind::Dir {
                return Err(HubError::IsDirectory);
            }
            // A signature that has come since may want it cut in another way.
            let beside = shared.beside(path);
            let now = hashed.take().filter(|version| version.stamp == found.stamp);
            let known = || match found.stamp.size <= KNOWN_AT_ONCE {
                true => shared.known(path, &found.stamp, None, &beside),
                false => shared.live.get(path, &found.stamp),
            };
            let now = now.or_else(|| known().filter(|version| !shared.lacks_signature(version)));
            if let Some(version) = now.filter(|version| shared.is_cut_right(version, &beside)) {
                shared.note_signatures(&version, &beside);
                return Ok(version);
            }
            shared.rest(path).await?;
            let mut watch = shared.pool.want(path)?;
            hashed = loop {
                let state = watch.borrow_and_update().clone();
                match state {
                    State::Done(result) => break Some(result?),
                    State::Running(_, 0) => {}
                    State::Running(done, total) => progress(done, total),
                }
                if watch.changed().await.is_err() {
                    return Err(HubError::Io("the repository is closed".to_owned()));
                }
            };
            // Once more: the path may have got another file while this one was hashed.
        }
        Err(HubError::Unstable)
    }

    /// One page of a directory, `depth` levels deep, in byte order of percent-encoded relative paths. `cursor` is
    /// [`Listing::next`] of the page before. At most `max_entries`, and at most `max_bytes` of entries and cursor in the
    /// form in which they travel, but always one entry. Blocks. `url` and `id` of the answer are left empty.
    ///
    /// Entries that cannot be served are left out: hidden and special files, symlinks that lead nowhere or out of
    /// the tree, and symlinks to a directory that they are in, or a recursive reader would never end.
    ///
    /// As RDL, depth 0 is the file or directory at the path itself, for whose metadata is waited a little. The `path` of
    /// the document is the directory in which it is.
    pub fn list(
        &self,
        dir: &UrlPath,
        depth: u32,
        cursor: Option<&str>,
        max_entries: usize,
        max_bytes: usize,
        view: View<'_>,
    ) -> Result<Listing, HubError> {
        if depth == 0 && view.form != Form::Entries {
            return listing::one(&self.owner.shared, dir, view);
        }
        listing::list(&self.owner.shared, dir, depth, cursor, max_entries, max_bytes, view)
    }

    /// Somebody received wrong bytes of this version from here, or its path leads to another file: look whether the
    /// file changed under it. `false` when it did, and the version is no longer served. One that was replaced or removed
    /// is kept readable for as long as `version` is held. Blocks.
    pub fn still_good(&self, version: &FileVersion) -> bool {
        let shared = &self.owner.shared;
        let file = match version.open() {
            Ok(file) => file,
            // Nothing was found out.
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => return true,
            Err(_) => {
                shared.live.remove(version);
                let piece = version.hashes.layout().piece_size();
                if shared.catalogue.root_at(&version.path, &version.stamp, piece).is_some() {
                    shared.catalogue.remove(&version.path);
                }
                return false;
            }
        };
        if shared.stat(&version.path).map_or(true, |found| found.stamp != version.stamp) {
            version.hold_on_to(file);
        }
        true
    }

    /// Hears of every change from now on.
    pub fn listen(&self) -> Listener {
        self.owner.shared.news.listen()
    }

    /// The public key that the hub itself signs with, in PEM.
    pub fn public_key(&self) -> Option<String> {
        self.owner.shared.signatures.public_key()
    }

    /// Whether files are cut into pieces of another size than a power of two, because the operator wants it so.
    pub fn has_odd_pieces(&self) -> bool {
        self.owner.shared.piece_size.is_some_and(|size| !size.is_usual())
    }

    /// Numbers.
    pub fn stats(&self) -> HubStats {
        let shared = &self.owner.shared;
        HubStats { watched: !shared.watch.is_blind(), ..shared.census.stats() }
    }

    /// Stops background work and closes the catalogue. Blocks for as long as a piece takes.
    pub fn close(&self) {
        self.owner.close();
    }
}

impl Owner {
    fn start(&self, name: String, run: fn(&Shared)) -> Result<(), HubError> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || run(&shared))
            .map_err(|e| HubError::Io(format!("cannot start a thread: {e}")))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn close(&self) {
        self.shared.stop.set();
        self.shared.touches.stop();
        self.shared.pool.stop();
        self.shared.describer.stop();
        for thread in std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner)) {
            if thread.join().is_err() {
                tracing::error!("a thread of the repository has panicked");
            }
        }
        self.shared.watch.close();
        self.shared.pool.abandon();
        self.shared.catalogue.close();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn stat(&self, path: &UrlPath) -> Result<Found, HubError> {
        self.source.tree.stat(path)
    }

    /// Waits until nobody writes to a file any more, but not for ever.
    async fn rest(&self, path: &UrlPath) -> Result<(), HubError> {
        let patience = self.settle + WRITER_PATIENCE;
        let begin = Instant::now();
        while self.touches.is_writing(path) {
            if begin.elapsed() >= patience {
                return Err(HubError::Unstable);
            }
            tokio::time::sleep(WRITER_POLL).await;
        }
        Ok(())
    }

    /// As it was signed; else as the operator wishes; else by size.
    /// What lies beside a file of signatures. Mostly one look at the disk.
    fn beside(&self, path: &UrlPath) -> Option<Arc<Signed>> {
        self.signatures.beside(&self.source.tree, path)
    }

    /// The piece size of a file with that beside it.
    fn piece_size_for(&self, path: &UrlPath, size: u64, beside: &Option<Arc<Signed>>) -> PieceSize {
        let signed = beside.as_ref().and_then(|signed| signed.piece_size(path, size));
        signed.unwrap_or_else(|| self.usual_piece_size(size))
    }

    /// Of a file that is not signed.
    fn usual_piece_size(&self, size: u64) -> PieceSize {
        self.piece_size.unwrap_or_else(|| PieceSize::for_file(size))
    }

    fn is_cut_right(&self, version: &FileVersion, beside: &Option<Arc<Signed>>) -> bool {
        let size = version.stamp.size;
        version.hashes.layout().piece_size() == self.piece_size_for(&version.path, size, beside)
    }

    /// Notes at a version which signatures it has now.
    fn note_signatures(&self, version: &FileVersion, beside: &Option<Arc<Signed>>) {
        let fitting = beside.clone().filter(|signed| {
            let fits = signed.fits(version);
            if !fits {
                tracing::warn!(path = %version.path, "the signature beside it does not fit the file");
            }
            fits
        });
        version.set_signed(fitting);
    }

    /// Whether the hub has still to sign a version itself.
    fn lacks_signature(&self, version: &FileVersion) -> bool {
        if !self.signatures.signs() || version.signed().is_some() {
            return false;
        }
        let before = self.catalogue.signature(&version.path);
        match before.and_then(|text| self.signatures.own_from(&text, version)) {
            Some(signed) => {
                version.set_own(signed);
                false
            }
            None => true,
        }
    }

    /// The root of the file at `path` if it is hashed.
    fn root(&self, path: &UrlPath, stamp: &Stamp) -> Option<Digest> {
        self.catalogue.root(path, stamp, self.piece_size_for(path, stamp.size, &self.beside(path)))
    }

    /// The version of the file at `path` if it is hashed; `file` is it, if already open, and `beside` lies beside it.
    fn known(
        &self,
        path: &UrlPath,
        stamp: &Stamp,
        file: Option<&Arc<std::fs::File>>,
        beside: &Option<Arc<Signed>>,
    ) -> Option<Arc<FileVersion>> {
        let live = self.live.get(path, stamp);
        if let Some(version) = live.filter(|version| self.is_cut_right(version, beside)) {
            self.note_signatures(&version, beside);
            return Some(version);
        }
        let hashes = self.catalogue.find(path, stamp, self.piece_size_for(path, stamp.size, beside))?;
        let version = self.adopt(path, file.cloned(), *stamp, hashes, beside);
        self.live.remember(&version);
        Some(version)
    }

    /// Makes a version of what is known of a file.
    fn adopt(
        &self,
        path: &UrlPath,
        file: Option<Arc<std::fs::File>>,
        stamp: Stamp,
        hashes: PieceHashes,
        beside: &Option<Arc<Signed>>,
    ) -> Arc<FileVersion> {
        let version = FileVersion::new(self.source.clone(), path.clone(), file, stamp, hashes);
        let version = self.live.insert(version);
        self.note_signatures(&version, beside);
        version
    }
}

/// Media type by the extension of the name.
fn mime_of(path: &UrlPath) -> Option<&'static str> {
    let name = path.file_name();
    mime_guess::from_path(std::str::from_utf8(&name).ok()?).first_raw()
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    /// All of the time has passed.
    All,
    Hurry,
    End,
}

/// Says once that the end has come, and before that now and then that there is reason to hurry.
#[derive(Debug, Default)]
struct Stop {
    state: Mutex<StopState>,
    change: Condvar,
}

#[derive(Debug, Default)]
struct StopState {
    is_set: bool,
    is_hurry: bool,
}

impl Stop {
    fn set(&self) {
        self.lock().is_set = true;
        self.change.notify_all();
    }

    fn is_set(&self) -> bool {
        self.lock().is_set
    }

    /// Waits for the end, for at most `time`.
    fn sleep(&self, time: Duration) {
        let wait = self.change.wait_timeout_while(self.lock(), time, |state| !state.is_set);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends the present or the next [`Stop::wait`] early.
    fn hurry(&self) {
        self.lock().is_hurry = true;
        self.change.notify_all();
    }

    /// Waits for the end or for a reason to hurry, for at most `time`.
    fn wait(&self, time: Duration) -> Waited {
        let mut state = self
            .change
            .wait_timeout_while(self.lock(), time, |state| !state.is_set && !state.is_hurry)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        match (state.is_set, std::mem::take(&mut state.is_hurry)) {
            (true, _) => Waited::End,
            (false, true) => Waited::Hurry,
            (false, false) => Waited::All,
        }
    }

    fn lock(&self) -> MutexGuard<'_, StopState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
