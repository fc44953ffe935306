//! What is offered to others after its download, and how much of it: complete files where the application has put them,
//! and what streams have left in temporary files. Bounded by our own use, least recently used first.
//!
//! Not responsible for files that the application shares by itself ([`super::share`]): those are its own affair.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::files::Held;
use super::inner::Inner;
use super::session::Link;

/// What a client offers, and what that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Files offered after their download.
    pub files: u64,
    /// Their bytes. They are where the application has put them, or in temporary files.
    pub bytes: u64,
    /// Bytes of temporary files among them: what streams have left, which takes room of its own.
    pub temporary_bytes: u64,
    /// Bytes of files that are pinned among them.
    pub pinned_bytes: u64,
    /// Files given up, because of the bounds, because they were purged, or changed.
    pub given_up: u64,
    /// Files that the application shares.
    pub shares: u64,
}

/// The files that a client offers after their download, least recently used first only when it matters.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Mutex<Vec<Entry>>,
    given_up: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    held: Weak<Held>,
    link: Weak<Link>,
    bytes: u64,
    is_temporary: bool,
}

/// What may be offered; 0 = no bound.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    bytes: u64,
    temporary_bytes: u64,
}

impl Cache {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        // Nothing under this lock can panic half-way through a change.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, without what was taken out elsewhere: replaced, withdrawn, changed on the server.
    fn pruned(&self) -> MutexGuard<'_, Vec<Entry>> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.held.upgrade().is_some_and(|held| held.is_offered()));
        entries
    }

    /// Takes out what is too much, least recently used first, but for what is pinned and `last`.
    fn take_surplus(&self, bounds: Bounds, last: Option<&Arc<Held>>) -> Vec<(Arc<Held>, Weak<Link>)> {
        let is_surely_within = |entries: &[Entry]| {
            let all: u64 = entries.iter().map(|entry| entry.bytes).sum();
            all <= bounds.bytes
                && (all <= bounds.temporary_bytes || !entries.iter().any(|entry| entry.is_temporary))
        };
        if is_surely_within(&self.entries()) {
            return Vec::new();
        }
        let mut entries = self.pruned();
        let sum = |entries: &[Entry], temporary: bool| -> u64 {
            entries.iter().filter(|entry| entry.is_temporary || !temporary).map(|entry| entry.bytes).sum()
        };
        let mut surplus = Vec::new();
        for (limit, temporary) in [(bounds.bytes, false), (bounds.temporary_bytes, true)] {
            let mut total = sum(&entries, temporary);
            let mut oldest: Vec<_> = entries
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.is_temporary || !temporary)
                .filter_map(|(at, entry)| Some((at, entry.held.upgrade()?, entry.link.upgrade()?)))
                .filter(|(_, held, link)| {
                    !link.files.is_pinned(&held.path) && last.is_none_or(|last| !Arc::ptr_eq(held, last))
                })
                .map(|(at, held, _)| (held.last_used(), at))
                .collect();
            oldest.sort_unstable();
            let mut gone = Vec::new();
            for (_, at) in oldest {
                if total <= limit {
                    break;
                }
                total -= entries[at].bytes;
                gone.push(at);
            }
            gone.sort_unstable_by(|a, b| b.cmp(a));
            for at in gone {
                let entry = entries.swap_remove(at);
                surplus.extend(entry.held.upgrade().map(|held| (held, entry.link)));
            }
        }
        surplus
    }

    fn note_given_up(&self, files: usize) {
        self.given_up.fetch_add(files as u64, Ordering::Relaxed);
    }
}

impl Inner {
    /// A file is offered from now on.
    pub(super) async fn cache_add(self: &Arc<Self>, link: &Arc<Link>, held: &Arc<Held>, is_temporary: bool) {
        held.touch();
        {
            let mut entries = self.cache.entries();
            // Now and then without those that are gone.
            if entries.len() >= 64 && entries.len().is_power_of_two() {
                drop(entries);
                entries = self.cache.pruned();
            }
            entries.push(Entry {
                held: Arc::downgrade(held),
                link: Arc::downgrade(link),
                bytes: held.layout.size(),
                is_temporary,
            });
        }
        self.cache_enforce(Some(held)).await;
        let time = self.config().seed_time;
        if !time.is_zero() {
            self.give_up_after(time, held, link);
        }
    }

    /// Gives a file up when its time is over, unless it is pinned then.
    fn give_up_after(self: &Arc<Self>, time: Duration, held: &Arc<Held>, link: &Arc<Link>) {
        let (inner, held, link) = (Arc::downgrade(self), Arc::downgrade(held), Arc::downgrade(link));
        self.handle.spawn(async move {
            tokio::time::sleep(time).await;
            let (Some(inner), Some(held), Some(link)) = (inner.upgrade(), held.upgrade(), link.upgrade())
            else {
                return;
            };
            if held.is_offered() && !link.files.is_pinned(&held.path) {
                inner.give_up(vec![(held, Arc::downgrade(&link))]).await;
            }
        });
    }

    /// Keeps to the bounds of the configuration. A file alone may be larger than they are: `last` goes after the next.
    pub(super) async fn cache_enforce(&self, last: Option<&Arc<Held>>) {
        let config = self.config();
        let or_all = |bytes| if bytes == 0 { u64::MAX } else { bytes };
        // What streams have left has no use but to be given, so nothing of it is a bound, too.
        let bounds = Bounds { bytes: or_all(config.seed_bytes), temporary_bytes: config.cache_bytes };
        let last = last.filter(|held| held.layout.size() <= bounds.bytes.min(bounds.temporary_bytes));
        let surplus = self.cache.take_surplus(bounds, last);
        self.give_up(surplus).await;
    }

    /// See [`super::Client::purge_cache`].
    pub(super) async fn cache_purge(&self, keep: u64) {
        let surplus = self.cache.take_surplus(Bounds { bytes: keep, temporary_bytes: keep }, None);
        self.give_up(surplus).await;
    }

    async fn give_up(&self, surplus: Vec<(Arc<Held>, Weak<Link>)>) {
        self.cache.note_given_up(surplus.len());
        for (held, link) in surplus {
            if let Some(link) = link.upgrade() {
                link.files.remove(&held);
                tracing::debug!(path = %held.path, "given up: nothing is given of it any more");
                link.unprovide(&held).await;
            }
        }
    }

    pub(super) fn cache_stats(&self) -> CacheStats {
        let mut stats = CacheStats {
            given_up: self.cache.given_up.load(Ordering::Relaxed),
            shares: self.shares.count() as u64,
            ..CacheStats::default()
        };
        for entry in &*self.cache.pruned() {
            let is_pinned = entry.held.upgrade().zip(entry.link.upgrade());
            let is_pinned = is_pinned.is_some_and(|(held, link)| link.files.is_pinned(&held.path));
            stats.files += 1;
            stats.bytes += entry.bytes;
            stats.temporary_bytes += if entry.is_temporary { entry.bytes } else { 0 };
            stats.pinned_bytes += if is_pinned { entry.bytes } else { 0 };
        }
        stats
    }
}

/// When something was used last.
#[derive(Debug)]
pub(super) struct Used(Mutex<Instant>);

impl Default for Used {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Used {
    pub(super) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
