//! A local directory made like one on the server: what is told apart from a plain download of a tree.
//!
//! Which entries are wanted, which of them are here already, and what is here but not there. The tree itself is listed
//! and fetched by [`super::tree`].

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::{File, FileType, Metadata};
use std::hash::BuildHasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::download::{Job, blocking};
use super::event::EventBody;
use super::names::{self, Dirs};
use super::{Change, Error, ErrorKind};
use crate::wire::{Entry, EntryKind, UrlPath};

/// Directories whose times are kept.
const MAX_DIR_TIMES: usize = 1024 * 1024;

/// Whether something is to be mirrored: raw path relative to the mirrored directory, and its kind. What is below a
/// directory that is not, is not either. What is left out is not deleted.
pub type Pick = Arc<dyn Fn(&[u8], EntryKind) -> bool + Send + Sync>;

/// A local directory to be made like one on the server.
#[derive(Clone)]
pub struct Mirror {
    /// On the server.
    pub path: UrlPath,
    /// Here; created where it is missing.
    pub dir: PathBuf,
    /// What of it; `None` = all.
    pub pick: Option<Pick>,
    /// Remove what is here and not there.
    pub delete: bool,
    /// Only tell what would be done, by the events that tell that it was done.
    pub dry_run: bool,
    /// Compare by hash what has the right size and modification time, too.
    pub checksum: bool,
    /// Only these changes, as a watch of the same directory has told them; `None` = look at all of it.
    pub only: Option<Vec<(UrlPath, Change)>>,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("path", &self.path).field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// How a tree is mirrored.
pub(super) struct Rules {
    mirror: Mirror,
    seen: Mutex<Seen>,
    hasher: RandomState,
}

#[derive(Default)]
struct Seen {
    /// What is on the server, by hashes of the names: of a million files, names would be too much to keep. Two that
    /// have the same hash only keep each other from being deleted.
    names: HashSet<u64>,
    dir_times: Vec<(Vec<Vec<u8>>, i64)>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rules").field(&self.mirror).finish()
    }
}

impl Rules {
    pub(super) fn new(mirror: Mirror) -> Self {
        Self { mirror, seen: Mutex::default(), hasher: RandomState::new() }
    }

    pub(super) fn is_dry(&self) -> bool {
        self.mirror.dry_run
    }

    /// What is to be looked at instead of the whole tree.
    pub(super) fn only(&self) -> Option<&[(UrlPath, Change)]> {
        self.mirror.only.as_deref()
    }

    /// The local directories. Blocks.
    pub(super) fn dirs(&self) -> Result<Dirs, Error> {
        let dir = self.mirror.dir.clone();
        if self.is_dry() { Ok(Dirs::as_they_are(dir)) } else { Dirs::new(dir) }
    }

    /// Whether an entry is to be mirrored.
    pub(super) fn picks(&self, components: &[Vec<u8>], kind: EntryKind) -> bool {
        let Some(pick) = &self.mirror.pick else { return true };
        let mut path = Vec::new();
        components.iter().enumerate().all(|(at, name)| {
            if at > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let is_last = at + 1 == components.len();
            pick(&path, if is_last { kind } else { EntryKind::Dir })
        })
    }

    /// The server has this.
    pub(super) fn note(&self, components: &[Vec<u8>], entry: &Entry) {
        let mut seen = self.seen();
        if self.mirror.delete {
            seen.names.insert(self.hasher.hash_one(components));
        }
        if entry.kind == EntryKind::Dir
            && let Some(mtime) = entry.mtime
            && seen.dir_times.len() < MAX_DIR_TIMES
        {
            seen.dir_times.push((components.to_vec(), mtime));
        }
    }

    /// Whether the file is here already, as far as can be told without reading it. Makes way for it, if it is
    /// something else and may be deleted. Blocks.
    pub(super) fn is_here(&self, place: &Path, entry: &Entry) -> Result<bool, Error> {
        let Ok(meta) = std::fs::symlink_metadata(place) else { return Ok(false) };
        if meta.is_dir() && self.mirror.delete && !self.is_dry() {
            std::fs::remove_dir_all(place).map_err(cannot("remove", place))?;
        }
        let is_same = meta.is_file() && meta.len() == entry.size && mtime_of(&meta) == entry.mtime;
        Ok(is_same && entry.mtime.is_some() && !self.mirror.checksum)
    }

    /// Whether a directory is here already. Blocks.
    pub(super) fn is_dir_here(&self, place: &Path) -> bool {
        std::fs::symlink_metadata(place).is_ok_and(|meta| meta.is_dir())
    }

    /// Removes what is to be a directory and is none, on the way to the last of `components`; `false` when that is not wanted. Blocks.
    pub(super) fn make_way(&self, components: &[Vec<u8>]) -> Result<bool, Error> {
        if !self.mirror.delete {
            return Ok(false);
        }
        // One at a time: a file and the directory it is in may both find something in their way.
        let _seen = self.seen();
        for count in 1..=components.len() {
            let Some(place) = place_of(&self.mirror.dir, &components[..count]) else { break };
            match std::fs::symlink_metadata(&place) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => std::fs::remove_file(&place).map_err(cannot("remove", &place))?,
                Err(_) => break,
            }
        }
        Ok(true)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Before anything else: removes what is told to be gone. Something new may come in its place.
pub(super) async fn begin(job: &Arc<Job>, rules: &Arc<Rules>, base: &UrlPath) -> Result<(), Error> {
    for (path, change) in rules.only().unwrap_or_default() {
        if *change == Change::Removed
            && rules.mirror.delete
            && let Some(components) = below(base, path)
        {
            remove(job, rules, base, components).await?;
        }
    }
    Ok(())
}

/// After all files: removes what is not on the server, and sets the times of directories.
pub(super) async fn finish(job: &Arc<Job>, rules: &Arc<Rules>, base: &UrlPath) -> Result<(), Error> {
    if rules.mirror.delete && rules.only().is_none() {
        remove(job, rules, base, Vec::new()).await?;
    }
    if !rules.is_dry() {
        let rules = Arc::clone(rules);
        blocking(move || set_dir_times(&rules)).await?;
    }
    Ok(())
}

/// Removes what is at `components`, or of what is below it that which the server has not.
async fn remove(
    job: &Arc<Job>,
    rules: &Arc<Rules>,
    base: &UrlPath,
    components: Vec<Vec<u8>>,
) -> Result<(), Error> {
    // Found and removed on a thread that may wait for the disk, told from here.
    let (sender, mut removed) = tokio::sync::mpsc::channel(1024);
    let removing = tokio::task::spawn_blocking({
        let (rules, shared) = (Arc::clone(rules), Arc::clone(&job.shared));
        move || {
            let mut tell = |components: &[Vec<u8>]| {
                // Nobody takes it any more once cancelled.
                !shared.is_cancelled() && sender.blocking_send(components.to_vec()).is_ok()
            };
            let mut components = components;
            if components.is_empty() || rules.only().is_none() {
                let place = rules.mirror.dir.clone();
                return remove_below(&rules, &place, &mut components, &mut tell);
            }
            let Some(place) = place_of(&rules.mirror.dir, &components) else { return Ok(()) };
            match std::fs::symlink_metadata(&place) {
                Ok(meta) => remove_one(&rules, &place, meta.file_type(), &mut components, &mut tell),
                Err(_) => Ok(()),
            }
        }
    });
    while let Some(components) = removed.recv().await {
        let path = components.iter().try_fold(base.clone(), |path, name| path.join(name));
        if let Ok(path) = path {
            let removed = EventBody::FileRemoved { transfer: job.shared.id, path };
            let taken = job.inner.queue.push_and_wait(job.shared.user_data, removed);
            // An error: nobody wants to know.
            let _ = job.shared.unless_cancelled(taken).await?;
        }
    }
    removing.await.map_err(|_| Error::new(ErrorKind::State, "the client is being shut down"))?
}

type Tell<'a> = dyn FnMut(&[Vec<u8>]) -> bool + 'a;

fn remove_below(
    rules: &Rules,
    dir: &Path,
    components: &mut Vec<Vec<u8>>,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("read", dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(cannot("read", dir))?;
        let kind = entry.file_type().map_err(cannot("look at", &entry.path()))?;
        let Some(name) = bytes_of(&entry.file_name()) else { continue };
        components.push(name);
        let is_there = rules.seen().names.contains(&rules.hasher.hash_one(&**components));
        let result = match is_there {
            true if kind.is_dir() => remove_below(rules, &entry.path(), components, tell),
            true => Ok(()),
            false => remove_one(rules, &entry.path(), kind, components, tell),
        };
        components.pop();
        result?;
    }
    Ok(())
}

/// Removes a file, or a directory as far as there is nothing in it that is to be left alone.
fn remove_one(
    rules: &Rules,
    place: &Path,
    kind: FileType,
    components: &mut Vec<Vec<u8>>,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    let entry_kind = if kind.is_dir() { EntryKind::Dir } else { EntryKind::File };
    if !rules.picks(components, entry_kind) {
        return Ok(());
    }
    if kind.is_dir() {
        let entries = std::fs::read_dir(place).map_err(cannot("read", place))?;
        for entry in entries {
            let entry = entry.map_err(cannot("read", place))?;
            let kind = entry.file_type().map_err(cannot("look at", &entry.path()))?;
            let Some(name) = bytes_of(&entry.file_name()) else { continue };
            components.push(name);
            let result = remove_one(rules, &entry.path(), kind, components, tell);
            components.pop();
            result?;
        }
    }
    let removed = match () {
        () if rules.is_dry() => Ok(()),
        () if kind.is_dir() => std::fs::remove_dir(place),
        () => std::fs::remove_file(place),
    };
    match removed {
        Ok(()) if tell(components) => Ok(()),
        Ok(()) => Err(Error::new(ErrorKind::Cancelled, "the mirroring was cancelled")),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Ok(())
        }
        Err(error) => Err(cannot("remove", place)(error)),
    }
}

/// Deepest first: to make something in a directory changes its time.
fn set_dir_times(rules: &Rules) {
    let mut times = std::mem::take(&mut rules.seen().dir_times);
    times.sort_unstable_by_key(|(components, _)| std::cmp::Reverse(components.len()));
    for (components, mtime) in times {
        let Some(place) = place_of(&rules.mirror.dir, &components) else { continue };
        let is_right = std::fs::symlink_metadata(&place)
            .is_ok_and(|meta| !meta.is_dir() || mtime_of(&meta) == Some(mtime));
        if is_right {
            continue;
        }
        // A file system, or a system, that keeps no such times is no reason to fail.
        if let (Ok(dir), Some(time)) = (File::open(&place), time_of(mtime)) {
            let _ = dir.set_modified(time);
        }
    }
}

/// The names on the way from the mirrored directory to a path; `None` if that is not below it. A directory above it is
/// itself.
pub(super) fn below(base: &UrlPath, path: &UrlPath) -> Option<Vec<Vec<u8>>> {
    if base.is_under(path) {
        return Some(Vec::new());
    }
    path.is_under(base).then(|| path.components().skip(base.components().count()).collect())
}

fn place_of(dir: &Path, components: &[Vec<u8>]) -> Option<PathBuf> {
    components.iter().try_fold(dir.to_owned(), |place, name| Some(place.join(names::local_name(name).ok()?)))
}

/// Modification time, Unix seconds.
fn mtime_of(meta: &Metadata) -> Option<i64> {
    let modified = meta.modified().ok()?;
    Some(match modified.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).ok()?,
        Err(before) => {
            let before = before.duration();
            -i64::try_from(before.as_secs() + u64::from(before.subsec_nanos() > 0)).ok()?
        }
    })
}

fn time_of(unix_seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(unix_seconds.unsigned_abs());
    match unix_seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    }
}

#[cfg(unix)]
fn bytes_of(name: &OsStr) -> Option<Vec<u8>> {
    Some(std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec())
}

#[cfg(not(unix))]
fn bytes_of(name: &OsStr) -> Option<Vec<u8>> {
    name.to_str().map(|name| name.as_bytes().to_vec())
}

fn cannot(what: &'static str, place: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::io(format!("cannot {what} {}", place.display()), &error)
}
