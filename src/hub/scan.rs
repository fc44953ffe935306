//! The walk over the served tree that finds what is to be hashed, at the start and now and then.
//!
//! Nothing depends on it for being right: what is asked for is looked at when it is asked for. It only makes sure
//! that the answer is there already, has all directories watched, and finds what the watch does not tell.

use std::time::{Duration, Instant, SystemTime};

use super::census::Tally;
use super::news::Change;
use super::stamp::Stamp;
use super::touches::Touch;
use super::tree::Hint;
use super::{Shared, Waited};
use crate::wire::{EntryKind, UrlPath};

/// From the end of one scan to the start of the next.
const INTERVAL: Duration = Duration::from_secs(60);
/// The same where the system does not tell of changes.
const BLIND_INTERVAL: Duration = Duration::from_secs(5);
/// But a scan takes at most this part of the time, however large the tree.
const SHARE: u32 = 50;
/// Files after which the numbers of the first scan are told.
const TELL_EVERY: u64 = 256;

/// The scanning thread.
pub(super) fn run(shared: &Shared) {
    let mut waited = Waited::All;
    let mut files_before = 0;
    for round in 0u64.. {
        let start = Instant::now();
        let (mut all, mut hashed) = (Tally::default(), Tally::default());
        let is_whole = walk(shared, |path, stamp| {
            all.add(stamp.size);
            if shared.root(path, stamp).is_some() {
                hashed.add(stamp.size);
            }
            if all.files.is_multiple_of(TELL_EVERY) {
                shared.census.tell_so_far(all, hashed);
            }
            true
        });
        if !is_whole {
            return;
        }
        let walked = start.elapsed();
        let number = shared.census.tell(all, hashed);
        tracing::debug!(files = all.files, hashed = hashed.files, ?walked, "scanned");
        let is_blind = shared.watch.is_blind();
        // Fewer than before: they were removed and that was told, or a disk has gone with them, which nobody tells.
        let is_less = all.files < std::mem::replace(&mut files_before, all.files);
        if round == 0 || is_blind || is_less || waited == Waited::Hurry {
            forget_removed(shared, all);
        }
        shared
            .live
            .sweep(|version| shared.stat(&version.path).is_ok_and(|found| found.stamp == version.stamp));
        if hashed.files < all.files && !hash(shared, number) {
            return;
        }
        shared.pool.begin_to_tell();
        if round == 0 || is_blind || waited == Waited::Hurry {
            shared.describer.note_all();
        }
        let interval = if is_blind { BLIND_INTERVAL } else { INTERVAL };
        waited = shared.stop.wait(interval.max(walked * SHARE));
        if waited == Waited::End {
            return;
        }
    }
}

/// Has hashed what is not. `false` when the hub closes.
fn hash(shared: &Shared, number: u64) -> bool {
    walk(shared, |path, stamp| {
        if shared.root(path, stamp).is_some() {
            shared.census.count_hashed(number, stamp.size);
            return true;
        }
        // Later, when whoever writes to it is done.
        let is_written = shared.pool.tells() && !stamp.is_older_than(shared.settle, SystemTime::now());
        if shared.touches.is_writing(path) {
            return true;
        }
        if is_written {
            // Nobody may tell of its end: this scan was made because events were lost.
            shared.touches.note(path.clone(), Touch::Seen, Instant::now());
            return true;
        }
        shared.pool.queue(path, number)
    })
}

/// Takes out of the catalogue what is no longer there.
fn forget_removed(shared: &Shared, all: Tally) {
    if all.files == 0 {
        // More likely a disk that is not mounted than a tree that was emptied.
        return;
    }
    shared.catalogue.sweep(|path| {
        let is_gone =
            !shared.stop.is_set() && shared.stat(path).map_or(true, |found| found.kind == EntryKind::Dir);
        if is_gone && shared.pool.tells() {
            shared.news.tell(Change::Removed { path: path.clone() });
        }
        is_gone
    });
}

/// Calls `each` with every regular file that can be reached without symlinks (what they lead to has a path of its
/// own), until it says `false`. `false` when it did, or when the hub closes.
fn walk(shared: &Shared, each: impl FnMut(&UrlPath, &Stamp) -> bool) -> bool {
    walk_below(shared, &UrlPath::root(), each, |_| {})
}

/// The same from a directory on. Has every directory watched before it is read.
pub(super) fn walk_below(
    shared: &Shared,
    dir: &UrlPath,
    mut each: impl FnMut(&UrlPath, &Stamp) -> bool,
    mut each_dir: impl FnMut(&UrlPath),
) -> bool {
    let tree = &shared.source.tree;
    let mut dirs = vec![dir.clone()];
    let mut goes_on = true;
    while let Some(dir) = dirs.pop() {
        shared.watch.watch(&dir);
        each_dir(&dir);
        let open = match tree.open_dir(&dir) {
            Ok(open) => open,
            Err(error) => {
                tracing::debug!(path = %dir, %error, "not scanned");
                continue;
            }
        };
        let result = tree.read_dir(&dir, |name, hint| {
            goes_on = goes_on && !shared.stop.is_set();
            // A path too long for a URL cannot be asked for.
            let Some(path) = dir.join(name).ok().filter(|_| goes_on) else { return };
            if hint == Hint::Dir {
                return dirs.push(path);
            }
            match tree.stat_unfollowed_in(&open, name, &path) {
                Ok(found) if found.kind == EntryKind::Dir => dirs.push(path),
                Ok(found) => goes_on = each(&path, &found.stamp),
                Err(_) => {}
            }
        });
        if let Err(error) = result {
            tracing::debug!(path = %dir, %error, "not scanned");
        }
        if !goes_on {
            return false;
        }
    }
    true
}
