//! Open descriptors of versions, bounded: a mirror has more files than a process may hold open.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Descriptors that are kept, at most; fewer where the process may have few.
const MAX_KEPT: usize = 4096;
const USUALLY_KEPT: usize = 256;
const MIN_KEPT: usize = 4;
/// Where the system names no limit.
const USUAL_LIMIT: u64 = 1024;
/// What is open in any case: listeners, the catalogue, directories that are read, the helper.
const OTHER_USES: usize = 48;
/// Of the descriptors that are kept, as many more are held for versions that were replaced.
const PINNED_SHARE: usize = 2;

/// The place for one version's descriptor.
#[derive(Debug, Default)]
pub(super) struct Handle {
    file: Mutex<Option<Arc<File>>>,
    /// Since it was last considered for closing.
    used: AtomicBool,
}

impl Handle {
    pub(super) fn get(&self) -> Option<Arc<File>> {
        self.used.store(true, Ordering::Relaxed);
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, file: Option<Arc<File>>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }
}

/// Closes the descriptors that were not used for longest (by second chance) when there are too many. A file that
/// somebody is sending stays open: they hold it themselves.
#[derive(Debug)]
pub(super) struct Handles {
    limit: usize,
    open: Mutex<VecDeque<Weak<Handle>>>,
    pinned: Arc<AtomicUsize>,
}

/// The open file of a version that can be opened no more. Counted, as it is never closed for another.
#[derive(Debug)]
pub(super) struct Pin {
    pub(super) file: Arc<File>,
    pinned: Arc<AtomicUsize>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pinned.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handles {
    /// As many as go well with what the process may have.
    pub(super) fn for_this_process() -> Self {
        let allowed = super::sys::descriptor_limit().unwrap_or(USUAL_LIMIT);
        Self::new(Self::limit_for(usize::try_from(allowed).unwrap_or(usize::MAX)))
    }

    /// One in sixty-four of the descriptors that the process may have, or 256 if that is no more than a quarter of what is
    /// not for [`OTHER_USES`]: the rest is for connections.
    fn limit_for(allowed: usize) -> usize {
        let usual = (allowed / 64).clamp(USUALLY_KEPT, MAX_KEPT);
        usual.min(allowed.saturating_sub(OTHER_USES) / 4).max(MIN_KEPT)
    }

    pub(super) fn new(limit: usize) -> Self {
        Self { limit, open: Mutex::new(VecDeque::new()), pinned: Arc::default() }
    }

    /// Holds `file` open for as long as there is use for it; `None` when that are too many already.
    pub(super) fn pin(&self, file: Arc<File>) -> Option<Pin> {
        let count = self.pinned.fetch_add(1, Ordering::Relaxed);
        let pin = Pin { file, pinned: self.pinned.clone() };
        (count < self.limit / PINNED_SHARE).then_some(pin)
    }

    /// Keeps `file` open for `handle`.
    pub(super) fn keep(&self, handle: &Arc<Handle>, file: Arc<File>) {
        handle.put(Some(file));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.limit {
            open.retain(|handle| handle.strong_count() > 0);
        }
        // Each is given a second chance at most once, so this ends even while others use them.
        let mut chances = open.len();
        while open.len() >= self.limit {
            let Some(weak) = open.pop_front() else { break };
            let Some(oldest) = weak.upgrade() else { continue };
            if chances > 0 && oldest.used.swap(false, Ordering::Relaxed) {
                chances -= 1;
                open.push_back(weak);
            } else {
                oldest.put(None);
            }
        }
        open.push_back(Arc::downgrade(handle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_the_one_not_used_for_longest() {
        let handles = Handles::new(3);
        let all: Vec<Arc<Handle>> = (0..4).map(|_| Arc::default()).collect();
        for handle in &all[..3] {
            handles.keep(handle, Arc::new(tempfile::tempfile().unwrap()));
        }
        assert!(all[0].get().is_some());
        handles.keep(&all[3], Arc::new(tempfile::tempfile().unwrap()));
        let open: Vec<bool> = all.iter().map(|h| h.file.lock().unwrap().is_some()).collect();
        assert_eq!(open, [true, false, true, true]);
    }

    #[test]
    fn few_descriptors_leave_most_for_others() {
        let all_kept = |allowed| Handles::limit_for(allowed) * (PINNED_SHARE + 1) / PINNED_SHARE;
        for allowed in [64, 128, 256, 512, 1024] {
            // `pdtpd` gives connections the other half.
            assert!(all_kept(allowed) + 24 <= allowed / 2, "{allowed}");
        }
        assert_eq!([1 << 12, 20_000, 1 << 20].map(Handles::limit_for), [256, 312, 4096]);
    }

    #[test]
    fn pins_are_counted_while_they_last() {
        let handles = Handles::new(4);
        let file = || Arc::new(tempfile::tempfile().unwrap());
        let first = handles.pin(file());
        let second = handles.pin(file());
        assert!(first.is_some() && second.is_some() && handles.pin(file()).is_none());
        drop(first);
        assert!(handles.pin(file()).is_some());
    }

    #[test]
    fn versions_that_are_gone_do_not_count() {
        let handles = Handles::new(2);
        let kept: Arc<Handle> = Arc::default();
        handles.keep(&kept, Arc::new(tempfile::tempfile().unwrap()));
        for _ in 0..10 {
            handles.keep(&Arc::default(), Arc::new(tempfile::tempfile().unwrap()));
        }
        assert!(kept.file.lock().unwrap().is_some());
    }
}
