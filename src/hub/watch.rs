//! The live tree: the system says where something happened, and this looks at what it is.
//!
//! Directories are watched before they are read, so nothing falls between the two. What the system does not tell
//! (its queue overflowed, it watches no more directories, it has no way to tell) is found by the scan, later.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::news::Change;
use super::scan;
use super::stamp::Stamp;
use super::touches::{Due, Touch, Touched, Touches};
use super::version::Source;
use super::{HubError, Shared};
use crate::content::rdl::SIDECAR_SUFFIX;
use crate::wire::{EntryKind, UrlPath};

/// Where a watch is for one directory, and where for all below it.
const IS_PER_DIRECTORY: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Whether the system says when a file that was written to is closed.
pub(super) const TELLS_CLOSE: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The system's eyes on the tree.
#[derive(Debug)]
pub(super) struct Watch {
    root: PathBuf,
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// Not all of the tree is watched: the scan has to find what changes.
    is_blind: Arc<AtomicBool>,
}

impl Watch {
    /// Watches nothing yet. Without `is_wanted` it never will.
    pub(super) fn new(root: &Path, source: &Arc<Source>, touches: &Arc<Touches>, is_wanted: bool) -> Self {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let is_blind = Arc::new(AtomicBool::new(!is_wanted));
        let eye = Eye {
            root: root.clone(),
            source: source.clone(),
            touches: touches.clone(),
            is_blind: is_blind.clone(),
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = is_wanted.then(|| RecommendedWatcher::new(move |event| eye.see(event), config));
        let watch = Self { root, watcher: Mutex::default(), is_blind };
        match watcher {
            Some(Ok(watcher)) => *watch.lock() = Some(watcher),
            Some(Err(error)) => watch.is_lost(&error),
            None => {}
        }
        if !IS_PER_DIRECTORY {
            watch.add(&UrlPath::root(), RecursiveMode::Recursive);
        }
        watch
    }

    /// Watches a directory, before it is read.
    pub(super) fn watch(&self, dir: &UrlPath) {
        if IS_PER_DIRECTORY {
            self.add(dir, RecursiveMode::NonRecursive);
        }
    }

    fn add(&self, dir: &UrlPath, mode: RecursiveMode) {
        let mut watcher = self.lock();
        let Some(all) = watcher.as_mut() else { return };
        let Some(place) = super::tree::place_of(&self.root, dir) else { return };
        let Err(error) = all.watch(&place, mode) else { return };
        if place.is_dir() || dir.is_root() {
            tracing::debug!(%dir, %error, "not watched");
            let is_full = matches!(error.kind, ErrorKind::MaxFilesWatch);
            if is_full || dir.is_root() {
                self.is_lost(&error);
            }
        }
    }

    /// Says it once, and leaves it to the scan.
    fn is_lost(&self, error: &notify::Error) {
        lose(&self.is_blind, error);
    }

    /// Whether changes have to be found by scanning.
    pub(super) fn is_blind(&self) -> bool {
        self.is_blind.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        let watcher = self.lock().take();
        // Outside the lock: its thread may be about to ask for it.
        drop(watcher);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<RecommendedWatcher>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lose(is_blind: &AtomicBool, error: &notify::Error) {
    if is_blind.swap(true, Ordering::Relaxed) {
        return;
    }
    let advice = match error.kind {
        ErrorKind::MaxFilesWatch => "; the limit is fs.inotify.max_user_watches",
        _ => "",
    };
    tracing::warn!("not all of the tree can be watched ({error}{advice}): changes are found by scanning");
}

/// What the watcher's thread sees with.
struct Eye {
    root: PathBuf,
    source: Arc<Source>,
    touches: Arc<Touches>,
    is_blind: Arc<AtomicBool>,
}

impl Eye {
    fn see(&self, event: notify::Result<notify::Event>) {
        let now = Instant::now();
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                lose(&self.is_blind, &error);
                return self.touches.note_all(now);
            }
        };
        if event.need_rescan() {
            return self.touches.note_all(now);
        }
        let touch = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Touch::Closed,
            EventKind::Access(_) => return,
            EventKind::Create(CreateKind::Folder) => Touch::Came,
            EventKind::Create(_) => Touch::Made,
            EventKind::Modify(ModifyKind::Metadata(_)) => Touch::Described,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Touch::Went,
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Touch::Came,
            // Comes after the two of which it consists, where it comes with both paths.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) if TELLS_CLOSE => return,
            EventKind::Modify(ModifyKind::Name(_)) => Touch::Came,
            EventKind::Modify(_) | EventKind::Any | EventKind::Other => Touch::Written,
        };
        for place in &event.paths {
            let path = place.strip_prefix(&self.root).ok().and_then(super::tree::path_of);
            if let Some(path) = path.filter(|path| self.source.tree.is_served(path)) {
                self.touches.note(path, touch, now);
            }
        }
    }
}

/// The thread that looks at what was touched.
pub(super) fn run(shared: &Shared) {
    loop {
        match shared.touches.wait() {
            Due::End => return,
            Due::All => {
                tracing::info!("events were lost: looking at the whole tree");
                shared.news.tell(Change::Much { path: UrlPath::root() });
                shared.stop.hurry();
            }
            Due::Paths(paths) => paths.iter().for_each(|touched| look_at(shared, touched)),
        }
    }
}

fn look_at(shared: &Shared, touched: &Touched) {
    let path = &touched.path;
    match shared.stat(path) {
        Ok(found) if found.kind == EntryKind::File => look_at_file(shared, path, &found.stamp),
        Ok(_) if path.is_root() => {}
        Ok(_) => {
            if touched.is_new {
                // Much may be in it already: it was moved here, or filled before it could be watched.
                let (now, clock) = (Instant::now(), SystemTime::now());
                let each = |path: &UrlPath, stamp: &Stamp| {
                    if stamp.is_older_than(shared.settle, clock) {
                        look_at_file(shared, path, stamp);
                    } else {
                        shared.touches.note(path.clone(), Touch::Seen, now);
                    }
                    true
                };
                scan::walk_below(shared, path, each, |dir| {
                    shared.news.tell(Change::Dir { path: dir.clone() });
                });
            }
        }
        Err(HubError::NotFound | HubError::Denied) => {
            let was_known = shared.catalogue.remove_below(path);
            if path.file_name().ends_with(SIDECAR_SUFFIX.as_bytes()) {
                shared.describer.note(path);
            }
            if was_known || !touched.is_new {
                shared.news.tell(Change::Removed { path: path.clone() });
            }
        }
        Err(error) => tracing::debug!(%path, %error, "not looked at"),
    }
}

fn look_at_file(shared: &Shared, path: &UrlPath, stamp: &Stamp) {
    let piece = shared.piece_size_for(path, stamp.size, &shared.beside(path));
    match shared.catalogue.root_at(path, stamp, piece) {
        // Told when it was hashed, or known from before.
        Some(_) if shared.pool.tells() => {}
        Some(root) => shared.news.tell(Change::File {
            path: path.clone(),
            root,
            size: stamp.size,
            mtime: stamp.mtime.seconds,
        }),
        None => {
            shared.pool.queue_news(path);
        }
    }
}
