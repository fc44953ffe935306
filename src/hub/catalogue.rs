//! The catalogue: which file had which hashes under which stamp. A cache that survives restarts and crashes; what
//! is lost of it is hashed again.
//!
//! Kept in a `redb` database, on disk or in memory. One thread writes, many changes to a commit, so that hashing
//! thousands of small files does not cost thousands of `fsync`s.
//!
//! - `files`: path to stamp, piece size, root, and the hash of the piece where there is just one
//! - `pieces`: path to the piece hashes of files of several pieces
//! - `signed`: path to what the hub itself has signed, as a sidecar
//! - `inodes`: inode to path, so that hard links and symlinks to a file find its hashes
//! - `described`: inode and path to metadata ([`super::describe`]), for each file that was looked at; mostly 8 bytes
//! - `about`: the format's number

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::backends::InMemoryBackend;
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
};

use sha2::{Digest as _, Sha256};

use super::HubError;
use super::stamp::{STAMP_LEN, Stamp};
use super::version::FileVersion;
use crate::content::{Layout, PieceHashes, PieceSize};
use crate::wire::{Digest, UrlPath};

pub(super) const FILES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("files");
pub(super) const PIECES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("pieces");
const SIGNED: TableDefinition<'_, &str, &str> = TableDefinition::new("signed");
const INODES: TableDefinition<'_, u64, &str> = TableDefinition::new("inodes");
const DESCRIBED: TableDefinition<'_, &[u8; KEY_LEN], &[u8]> = TableDefinition::new("described");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

const FORMAT_KEY: &str = "format";
pub(super) const FORMAT: u64 = 1;
/// Bytes of a [`RowKey`].
const KEY_LEN: usize = 12;
/// Name of the database in the state directory.
pub(super) const FILE_NAME: &str = "catalogue.redb";
/// What becomes of one that cannot be read.
pub(super) const BROKEN_NAME: &str = "catalogue.redb.broken";

/// One that is in use is waited for so long. A hub that was killed may have been about to start a helper: until that
/// child has become another program, it keeps the lock of its dead parent.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// It is looked at again after so long.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Memory for pages of the database.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// A commit waits this long for more changes to share it with.
const BATCH_WAIT: Duration = Duration::from_millis(500);
/// But not when there are so many.
const BATCH_FILES: usize = 512;
/// Or when they have so many piece hashes (1 MiB).
const BATCH_HASHES: usize = 32 * 1024;
/// Whoever adds to so many full batches waits for the disk.
const MAX_BATCHES: usize = 4;
/// Paths looked at in one go by [`Catalogue::sweep`].
const SWEEP_PATHS: usize = 1024;

/// Hashes by path and stamp.
pub(super) struct Catalogue {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// `None` when closed.
    db: RwLock<Option<Database>>,
    queue: Mutex<Queue>,
    /// There is something to write, or enough, or the end has come.
    wake: Condvar,
    /// There is room in the queue, or all is written.
    room: Condvar,
    /// Trouble is told once, not once per file.
    has_warned: AtomicBool,
}

/// Names what is described: by inode first, because files made together have numbers together, which makes for few
/// pages to be written; then by a part of a hash of the path, for links, and for other disks in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RowKey([u8; KEY_LEN]);

impl RowKey {
    pub(super) fn new(path: &UrlPath, ino: u64) -> Self {
        Self::of_text(path.as_str(), ino)
    }

    fn of_text(path: &str, ino: u64) -> Self {
        let mut key = [0; KEY_LEN];
        key[..8].copy_from_slice(&ino.to_be_bytes());
        key[8..].copy_from_slice(&Sha256::digest(path)[..KEY_LEN - 8]);
        Self(key)
    }
}

/// What a path has become; `None` = it is gone.
type Changes = HashMap<UrlPath, Option<Arc<FileVersion>>>;

type Descriptions = HashMap<RowKey, Vec<u8>>;

#[derive(Default)]
struct Queue {
    waiting: Changes,
    waiting_hashes: usize,
    writing: Arc<Changes>,
    described: Descriptions,
    writing_described: Arc<Descriptions>,
    stop: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.described.is_empty()
    }

    fn is_over(&self, batches: usize) -> bool {
        self.waiting.len() + self.described.len() >= batches * BATCH_FILES
            || self.waiting_hashes >= batches * BATCH_HASHES
    }
}

impl Catalogue {
    /// Opens the catalogue in `state_dir`, or an empty one in memory.
    pub(super) fn open(state_dir: Option<&Path>) -> Result<Self, HubError> {
        let db = match state_dir {
            Some(dir) => open_in(dir)?,
            None => {
                let io = |e: redb::Error| HubError::Io(e.to_string());
                let db = builder().create_with_backend(InMemoryBackend::new()).map_err(|e| io(e.into()))?;
                set_up(&db).map_err(io)?;
                db
            }
        };
        let shared = Arc::new(Shared {
            db: RwLock::new(Some(db)),
            queue: Mutex::default(),
            wake: Condvar::new(),
            room: Condvar::new(),
            has_warned: AtomicBool::new(false),
        });
        let writer = std::thread::Builder::new()
            .name("pdtp-catalogue".to_owned())
            .spawn({
                let shared = shared.clone();
                move || shared.write_on()
            })
            .map_err(|e| HubError::Io(format!("cannot start a thread: {e}")))?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }

    /// The hashes of the file at `path`, if they are known for this stamp and piece size.
    pub(super) fn find(&self, path: &UrlPath, stamp: &Stamp, piece: PieceSize) -> Option<PieceHashes> {
        if let Some(change) = self.shared.unwritten(path) {
            return change.filter(|version| version.is(stamp, piece)).map(|version| version.hashes.clone());
        }
        self.shared.read(|db| {
            let tables = Tables::open(&db.begin_read()?)?;
            let Some((owner, record)) = tables.record(path.as_str(), stamp)? else { return Ok(None) };
            let Some(layout) = Layout::new(stamp.size, piece).filter(|_| record.piece == piece) else {
                return Ok(None);
            };
            let hashes = match (layout.count(), record.only) {
                (0, _) => Vec::new(),
                (1, Some(only)) => vec![only],
                (1, None) => return Ok(None),
                _ => match db.begin_read()?.open_table(PIECES)?.get(owner.as_str())? {
                    Some(bytes) => bytes.value().chunks_exact(32).map(digest_of).collect(),
                    None => return Ok(None),
                },
            };
            // Whatever may have happened to the bytes on disk: hashes that do not make the root are not used.
            Ok(PieceHashes::verified(layout, hashes, &record.root))
        })
    }

    /// The root of the file at `path`, if known for this stamp and piece size.
    pub(super) fn root(&self, path: &UrlPath, stamp: &Stamp, piece: PieceSize) -> Option<Digest> {
        // In this order: what is written meanwhile is in one of them.
        if let Some(change) = self.shared.unwritten(path) {
            return change.filter(|version| version.is(stamp, piece)).map(|version| version.root());
        }
        self.look()?.root(path, stamp, piece)
    }

    /// For many questions in a row: the catalogue as it is now.
    pub(super) fn look(&self) -> Option<Look<'_>> {
        let tables = self.shared.read(|db| Ok(Some(Tables::open(&db.begin_read()?)?)));
        Some(Look { shared: &self.shared, tables: tables? })
    }

    /// The same, told of this path only: not of another that leads to the same file.
    pub(super) fn root_at(&self, path: &UrlPath, stamp: &Stamp, piece: PieceSize) -> Option<Digest> {
        if let Some(change) = self.shared.unwritten(path) {
            return change.filter(|version| version.is(stamp, piece)).map(|version| version.root());
        }
        self.shared.read(|db| {
            let record = db.begin_read()?.open_table(FILES)?.get(path.as_str())?;
            let record = record.and_then(|row| Record::decode(row.value()));
            let is_it = |record: &Record| record.stamp == stamp.encode() && record.piece == piece;
            Ok(record.filter(is_it).map(|record| record.root))
        })
    }

    /// What the hub has signed for `path`, of whatever version.
    pub(super) fn signature(&self, path: &UrlPath) -> Option<String> {
        if let Some(change) = self.shared.unwritten(path) {
            return change.and_then(|version| version.own_text());
        }
        self.shared.read(|db| match db.begin_read()?.open_table(SIGNED) {
            Ok(table) => Ok(table.get(path.as_str())?.map(|row| row.value().to_owned())),
            // Made when there is something to write.
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(other) => Err(other.into()),
        })
    }

    /// The row with the metadata of a file.
    pub(super) fn description(&self, key: RowKey) -> Option<Vec<u8>> {
        self.shared.described(key).or_else(|| self.look()?.tables.description(key))
    }

    /// Remembers such a row. Returns at once, unless the disk is far behind.
    pub(super) fn put_description(&self, key: RowKey, row: Vec<u8>) {
        self.shared.lock_with_room().described.insert(key, row);
        self.shared.wake.notify_one();
    }

    /// Remembers a version. Returns at once, unless the disk is far behind.
    pub(super) fn put(&self, version: &Arc<FileVersion>) {
        let mut queue = self.shared.lock_with_room();
        queue.waiting_hashes += version.hashes.all().len();
        queue.waiting.insert(version.path.clone(), Some(version.clone()));
        self.shared.wake.notify_one();
    }

    /// Forgets a path.
    pub(super) fn remove(&self, path: &UrlPath) {
        self.shared.lock().waiting.insert(path.clone(), None);
        self.shared.wake.notify_one();
    }

    /// Forgets a path and all below it; whether there was anything to forget. Returns at once, unless it is very much.
    pub(super) fn remove_below(&self, path: &UrlPath) -> bool {
        let mut known: Vec<UrlPath> = {
            let queue = self.shared.lock();
            let all = queue.waiting.iter().chain(queue.writing.iter());
            all.filter(|(at, change)| change.is_some() && at.is_under(path))
                .map(|(at, _)| at.clone())
                .collect()
        };
        let mut was_known = !known.is_empty();
        known.drain(..).for_each(|path| self.remove(&path));
        let below = format!("{}/", path.as_str().trim_end_matches('/'));
        let mut last = below.clone();
        let mut page = self.page(path.as_str()..=path.as_str());
        loop {
            for path in page.iter().filter(|path| self.shared.unwritten(path).is_none_or(|it| it.is_some())) {
                was_known = true;
                self.shared.lock_with_room().waiting.insert(path.clone(), None);
                self.shared.wake.notify_one();
            }
            // What is below begins with `PATH/`, and `0` is what comes after `/`.
            let end = format!("{}0", below.trim_end_matches('/'));
            page = self
                .page((std::ops::Bound::Excluded(last.as_str()), std::ops::Bound::Excluded(end.as_str())));
            match page.last() {
                Some(path) => last = path.as_str().to_owned(),
                None => return was_known,
            }
        }
    }

    /// The first paths within a range.
    fn page<'a>(&self, range: impl std::ops::RangeBounds<&'a str>) -> Vec<UrlPath> {
        let page = self.shared.read(|db| {
            let table = db.begin_read()?.open_table(FILES)?;
            let mut page = Vec::new();
            for row in table.range::<&str>(range)?.take(SWEEP_PATHS) {
                page.extend(UrlPath::parse(row?.0.value()));
            }
            Ok(Some(page))
        });
        page.unwrap_or_default()
    }

    /// Forgets all paths that `is_gone`.
    pub(super) fn sweep(&self, mut is_gone: impl FnMut(&UrlPath) -> bool) {
        let mut last = String::new();
        loop {
            let page = self.page((std::ops::Bound::Excluded(last.as_str()), std::ops::Bound::Unbounded));
            for path in page.iter().filter(|path| is_gone(path)) {
                self.remove(path);
            }
            match page.last() {
                Some(path) => last = path.as_str().to_owned(),
                None => return,
            }
        }
    }

    /// Writes what is to be written, and closes. Nothing is found from here on.
    pub(super) fn close(&self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        self.shared.room.notify_all();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the catalogue was not written to the end");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the disk where it is far behind.
    fn lock_with_room(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.lock();
        while queue.is_over(MAX_BATCHES) && !queue.stop {
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue
    }

    /// The change of `path` that is not yet in the database.
    fn unwritten(&self, path: &UrlPath) -> Option<Option<Arc<FileVersion>>> {
        let queue = self.lock();
        queue.waiting.get(path).or_else(|| queue.writing.get(path)).cloned()
    }

    /// The description that is not yet in the database.
    fn described(&self, key: RowKey) -> Option<Vec<u8>> {
        let queue = self.lock();
        queue.described.get(&key).or_else(|| queue.writing_described.get(&key)).cloned()
    }

    fn read<T>(&self, look: impl FnOnce(&Database) -> Result<Option<T>, redb::Error>) -> Option<T> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        look(db.as_ref()?).unwrap_or_else(|error| {
            self.warn("cannot read the catalogue; files will be hashed again", &error);
            None
        })
    }

    fn warn(&self, what: &str, error: &redb::Error) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "{what}");
        }
    }

    /// The writer's thread.
    fn write_on(&self) {
        loop {
            let mut queue = self.lock();
            while queue.is_empty() && !queue.stop {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.is_empty() {
                break;
            }
            queue = self
                .wake
                .wait_timeout_while(queue, BATCH_WAIT, |queue| !queue.stop && !queue.is_over(1))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            let batch = Arc::new(std::mem::take(&mut queue.waiting));
            queue.waiting_hashes = 0;
            queue.writing = batch.clone();
            let described = Arc::new(std::mem::take(&mut queue.described));
            queue.writing_described = described.clone();
            drop(queue);
            self.room.notify_all();
            if let Some(db) = &*self.db.read().unwrap_or_else(PoisonError::into_inner)
                && let Err(error) = write(db, &batch, &described)
            {
                self.warn("cannot write the catalogue; files will be hashed again after a restart", &error);
            }
            let mut queue = self.lock();
            queue.writing = Arc::default();
            queue.writing_described = Arc::default();
        }
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The catalogue as it was at one moment, and what is not yet written.
pub(super) struct Look<'a> {
    shared: &'a Shared,
    tables: Tables,
}

struct Tables {
    files: redb::ReadOnlyTable<&'static str, &'static [u8]>,
    inodes: redb::ReadOnlyTable<u64, &'static str>,
    /// Made when there is something to write.
    described: Option<redb::ReadOnlyTable<&'static [u8; KEY_LEN], &'static [u8]>>,
}

impl Tables {
    fn open(transaction: &redb::ReadTransaction) -> Result<Self, redb::Error> {
        let described = match transaction.open_table(DESCRIBED) {
            Ok(table) => Some(table),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(other) => return Err(other.into()),
        };
        Ok(Self { files: transaction.open_table(FILES)?, inodes: transaction.open_table(INODES)?, described })
    }

    fn description(&self, key: RowKey) -> Option<Vec<u8>> {
        // Trouble with the database is told by others; this will be found out again.
        self.described.as_ref()?.get(&key.0).ok()?.map(|row| row.value().to_vec())
    }

    /// The record of `path`, or of another path of the same file, and whose it is.
    fn record(&self, path: &str, stamp: &Stamp) -> Result<Option<(String, Record)>, redb::Error> {
        let wanted = stamp.encode();
        let look = |path: &str| -> Result<Option<Record>, redb::Error> {
            let row = self.files.get(path)?.and_then(|row| Record::decode(row.value()));
            Ok(row.filter(|record| record.stamp == wanted))
        };
        if let Some(record) = look(path)? {
            return Ok(Some((path.to_owned(), record)));
        }
        let Some(other) = self.inodes.get(stamp.ino)?.map(|row| row.value().to_owned()) else {
            return Ok(None);
        };
        Ok(look(&other)?.map(|record| (other, record)))
    }
}

impl Look<'_> {
    /// See [`Catalogue::description`].
    pub(super) fn description(&self, key: RowKey) -> Option<Vec<u8>> {
        self.shared.described(key).or_else(|| self.tables.description(key))
    }

    /// See [`Catalogue::root`]. What was written since the look began may be missing.
    pub(super) fn root(&self, path: &UrlPath, stamp: &Stamp, piece: PieceSize) -> Option<Digest> {
        if let Some(change) = self.shared.unwritten(path) {
            return change.filter(|version| version.is(stamp, piece)).map(|version| version.root());
        }
        let record = self.tables.record(path.as_str(), stamp).unwrap_or_else(|error| {
            self.shared.warn("cannot read the catalogue; files will be hashed again", &error);
            None
        });
        record.map(|(_, record)| record).filter(|record| record.piece == piece).map(|record| record.root)
    }
}

/// A row of `files`.
pub(super) struct Record {
    pub(super) stamp: [u8; STAMP_LEN],
    pub(super) piece: PieceSize,
    pub(super) root: Digest,
    pub(super) only: Option<Digest>,
}

impl Record {
    fn ino(&self) -> u64 {
        Stamp::decode(&self.stamp).ino
    }

    fn encode(version: &FileVersion) -> Vec<u8> {
        let mut row = version.stamp.encode().to_vec();
        row.extend(version.hashes.layout().piece_size().bytes().to_le_bytes());
        row.extend(version.root().0);
        if let [only] = version.hashes.all() {
            row.extend(only.0);
        }
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (stamp, row) = row.split_first_chunk::<STAMP_LEN>()?;
        let (piece, row) = row.split_first_chunk::<4>()?;
        let (root, row) = row.split_first_chunk::<32>()?;
        let only = match row.len() {
            0 => None,
            32 => Some(digest_of(row)),
            _ => return None,
        };
        Some(Self {
            stamp: *stamp,
            piece: PieceSize::any(u32::from_le_bytes(*piece))?,
            root: Digest(*root),
            only,
        })
    }
}

pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.0.copy_from_slice(bytes);
    digest
}

fn write(db: &Database, changes: &Changes, descriptions: &Descriptions) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    {
        let mut files = transaction.open_table(FILES)?;
        let mut pieces = transaction.open_table(PIECES)?;
        let mut inodes = transaction.open_table(INODES)?;
        let mut signed = transaction.open_table(SIGNED)?;
        let mut described = transaction.open_table(DESCRIBED)?;
        for (path, change) in changes {
            let path = path.as_str();
            let before = files.get(path)?.and_then(|row| Some(Record::decode(row.value())?.ino()));
            let now = change.as_ref().map(|version| version.stamp.ino);
            if let Some(ino) = before.filter(|before| now != Some(*before)) {
                described.remove(&RowKey::of_text(path, ino).0)?;
            }
            match change {
                Some(version) => {
                    files.insert(path, Record::encode(version).as_slice())?;
                    inodes.insert(version.stamp.ino, path)?;
                    match version.own_text() {
                        Some(text) => signed.insert(path, text.as_str())?,
                        None => signed.remove(path)?,
                    };
                    if let hashes @ [_, _, ..] = version.hashes.all() {
                        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
                        pieces.insert(path, bytes.as_slice())?;
                    } else {
                        pieces.remove(path)?;
                    }
                }
                None => {
                    files.remove(path)?;
                    pieces.remove(path)?;
                    signed.remove(path)?;
                }
            }
        }
        for (key, row) in descriptions {
            described.insert(&key.0, row.as_slice())?;
        }
        // An inode's row may outlive its path: it leads to a record that is not there or has another stamp, and the
        // next file with this inode takes its place.
    }
    transaction.commit()?;
    Ok(())
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    // With the check, a file that something else wrote into is reported; without, it is believed.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn open_in(dir: &Path) -> Result<Database, HubError> {
    let trouble = |what: &str, path: &Path, error: &dyn std::fmt::Display| {
        HubError::Io(format!("cannot {what} {}: {error}", path.display()))
    };
    std::fs::create_dir_all(dir).map_err(|e| trouble("create the state directory", dir, &e))?;
    let path = dir.join(FILE_NAME);
    let broken = match when_free(&path, || try_open(&path), |refusal| matches!(refusal, Refusal::InUse)) {
        Ok(db) => return Ok(db),
        Err(Refusal::InUse) => return Err(trouble("open the catalogue", &path, &IN_USE)),
        Err(Refusal::Unusable(why)) => return Err(trouble("open the catalogue", &path, &why)),
        Err(Refusal::Broken(why)) => why,
    };
    let aside: PathBuf = dir.join(BROKEN_NAME);
    tracing::warn!(
        catalogue = %path.display(), moved_to = %aside.display(), why = broken,
        "the catalogue cannot be used; all files will be hashed again"
    );
    std::fs::rename(&path, &aside).map_err(|e| trouble("set aside the broken catalogue", &path, &e))?;
    try_open(&path).map_err(|refusal| match refusal {
        Refusal::InUse => trouble("create the catalogue", &path, &IN_USE),
        Refusal::Unusable(why) | Refusal::Broken(why) => trouble("create the catalogue", &path, &why),
    })
}

/// What is said of a database that another process has.
pub(super) const IN_USE: &str = "another process uses it";

/// Why a database was not opened.
enum Refusal {
    /// Another process has it.
    InUse,
    /// It is not for us to repair this: no permission, disk trouble.
    Unusable(String),
    /// Its content is no catalogue of ours.
    Broken(String),
}

/// Opens a database, as soon as it is free if that is soon.
pub(super) fn when_free<T, E>(
    path: &Path,
    mut open: impl FnMut() -> Result<T, E>,
    is_in_use: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match open() {
            Err(error) if is_in_use(&error) && began.elapsed() < LOCK_WAIT => {}
            other => return other,
        }
        if !is_told {
            tracing::warn!(catalogue = %path.display(), "waiting a moment for another process to let go of it");
            is_told = true;
        }
        std::thread::sleep(LOCK_POLL);
    }
}

fn try_open(path: &Path) -> Result<Database, Refusal> {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    let db = builder().create(path).map_err(|error| match &error {
        DatabaseError::DatabaseAlreadyOpen => Refusal::InUse,
        DatabaseError::Storage(StorageError::Io(io)) if !matches!(io.kind(), InvalidData | UnexpectedEof) => {
            Refusal::Unusable(error.to_string())
        }
        _ => Refusal::Broken(error.to_string()),
    })?;
    let format = set_up(&db).map_err(|error| match error {
        redb::Error::Io(_) => Refusal::Unusable(error.to_string()),
        other => Refusal::Broken(other.to_string()),
    })?;
    match format {
        FORMAT => Ok(db),
        // What a newer program has written, it will want to find again.
        newer if newer > FORMAT => Err(Refusal::Unusable(format!(
            "it has format {newer}, that of a newer pdtpd; this one knows format {FORMAT}: use another --state"
        ))),
        older => Err(Refusal::Broken(format!("it has format {older}, this program writes format {FORMAT}"))),
    }
}

/// The format, if it is a catalogue at all.
pub(super) fn format_of(db: &Database) -> Result<Option<u64>, redb::Error> {
    match db.begin_read()?.open_table(ABOUT) {
        Ok(about) => Ok(about.get(FORMAT_KEY)?.map(|row| row.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// Makes sure that all tables are there, and says which format they have.
fn set_up(db: &Database) -> Result<u64, redb::Error> {
    let read = db.begin_read()?;
    match read.open_table(ABOUT) {
        Ok(about) => {
            let format = about.get(FORMAT_KEY)?.map_or(0, |row| row.value());
            if format == FORMAT {
                read.open_table(FILES)?;
                read.open_table(PIECES)?;
                read.open_table(INODES)?;
            }
            return Ok(format);
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(other) => return Err(other.into()),
    }
    drop(read);
    let transaction = db.begin_write()?;
    transaction.open_table(FILES)?;
    transaction.open_table(PIECES)?;
    transaction.open_table(INODES)?;
    transaction.open_table(ABOUT)?.insert(FORMAT_KEY, FORMAT)?;
    transaction.commit()?;
    Ok(FORMAT)
}
