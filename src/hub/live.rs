//! Versions in memory: one value per current version, for as long as anybody has it, and those recently asked for
//! a while longer. The catalogue has the rest.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::stamp::Stamp;
use super::version::FileVersion;
use crate::wire::UrlPath;

/// Most versions kept that nobody else has.
const MAX_RECENT: usize = 2048;
/// Most piece hashes kept in them: 8 MiB.
const MAX_RECENT_HASHES: usize = 256 * 1024;
/// The table of all versions is cleaned when it has grown to this, and then each time it has doubled.
const MIN_CLEANING: usize = 2 * MAX_RECENT;

#[derive(Debug, Default)]
pub(super) struct Live {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_path: HashMap<UrlPath, Weak<FileVersion>>,
    clean_at: usize,
    recent: VecDeque<Arc<FileVersion>>,
    recent_hashes: usize,
}

impl Live {
    /// The version of `path` with this stamp.
    pub(super) fn get(&self, path: &UrlPath, stamp: &Stamp) -> Option<Arc<FileVersion>> {
        let mut state = self.lock();
        let version = state.by_path.get(path)?.upgrade().filter(|version| version.stamp == *stamp)?;
        state.remember(&version);
        Some(version)
    }

    /// Makes `version` the one of its path; the answer is the one to use, as there may be an equal one already.
    pub(super) fn insert(&self, version: FileVersion) -> Arc<FileVersion> {
        let mut state = self.lock();
        if let Some(equal) = state.by_path.get(&version.path).and_then(Weak::upgrade)
            && equal.stamp == version.stamp
            && equal.hashes == version.hashes
        {
            return equal;
        }
        let version = Arc::new(version);
        state.by_path.insert(version.path.clone(), Arc::downgrade(&version));
        if state.by_path.len() >= state.clean_at.max(MIN_CLEANING) {
            state.by_path.retain(|_, version| version.strong_count() > 0);
            state.clean_at = state.by_path.len() * 2;
        }
        version
    }

    /// Keeps `version` in memory for a while: somebody wants it.
    pub(super) fn remember(&self, version: &Arc<FileVersion>) {
        self.lock().remember(version);
    }

    /// Forgets a version that turned out to be wrong.
    pub(super) fn remove(&self, version: &FileVersion) {
        let mut state = self.lock();
        if state.by_path.get(&version.path).is_some_and(|known| std::ptr::eq(known.as_ptr(), version)) {
            state.by_path.remove(&version.path);
        }
        state.drop_recent(|recent| std::ptr::eq(recent.as_ref(), version));
    }

    /// Lets go of recent versions that are no longer what is on disk, so that removed files give their space back.
    pub(super) fn sweep(&self, is_current: impl Fn(&FileVersion) -> bool) {
        let recent: Vec<_> = self.lock().recent.iter().cloned().collect();
        for version in recent.iter().filter(|version| !is_current(version)) {
            self.lock().drop_recent(|recent| Arc::ptr_eq(recent, version));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, version: &Arc<FileVersion>) {
        version.use_mark.used.store(true, Ordering::Relaxed);
        if version.use_mark.cached.swap(true, Ordering::Relaxed) {
            return;
        }
        self.recent_hashes += version.hashes.all().len();
        self.recent.push_back(version.clone());
        // As in `Handles`: the one not used for longest goes, by second chance; never the new one.
        let mut chances = self.recent.len();
        while self.recent.len() > 1
            && (self.recent.len() > MAX_RECENT || self.recent_hashes > MAX_RECENT_HASHES)
        {
            let Some(oldest) = self.recent.pop_front() else { break };
            if chances > 0 && oldest.use_mark.used.swap(false, Ordering::Relaxed) {
                chances -= 1;
                self.recent.push_back(oldest);
            } else {
                self.forget(&oldest);
            }
        }
    }

    fn drop_recent(&mut self, is_it: impl Fn(&Arc<FileVersion>) -> bool) {
        if let Some(at) = self.recent.iter().position(is_it)
            && let Some(version) = self.recent.remove(at)
        {
            self.forget(&version);
        }
    }

    fn forget(&mut self, version: &FileVersion) {
        self.recent_hashes -= version.hashes.all().len();
        version.use_mark.cached.store(false, Ordering::Relaxed);
    }
}
