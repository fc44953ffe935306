//! How many files there are, and how many of them are hashed.
//!
//! A scan counts twice: a first walk counts all files and those that were hashed already; a second, if any were
//! not, has them hashed and counts anew: what it finds hashed, and what is hashed because of it. The larger of the
//! two counts is told, so that the number grows and ends up exact.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::HubStats;

#[derive(Debug, Default)]
pub(super) struct Census {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    told: HubStats,
    /// Number of the scan whose second walk is counted in `again`; 0 = none yet.
    number: u64,
    again: Tally,
}

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

impl Census {
    /// While the first walk ever goes on.
    pub(super) fn tell_so_far(&self, all: Tally, hashed: Tally) {
        let mut counts = self.lock();
        if !counts.told.scanned {
            counts.told = told(all, hashed, false);
        }
    }

    /// A first walk is over. Its number is for the second.
    pub(super) fn tell(&self, all: Tally, hashed: Tally) -> u64 {
        let mut counts = self.lock();
        counts.told = told(all, hashed, true);
        counts.again = Tally::default();
        counts.number += 1;
        counts.number
    }

    /// A file is hashed that the second walk of scan `number` has seen. Others do not count.
    pub(super) fn count_hashed(&self, number: u64, bytes: u64) {
        let mut counts = self.lock();
        if number == counts.number && number != 0 {
            counts.again.add(bytes);
        }
    }

    pub(super) fn stats(&self) -> HubStats {
        let counts = self.lock();
        let mut stats = counts.told;
        if counts.again.files > stats.hashed_files {
            // A file may have grown since the first walk; it is not told that more is hashed than there is.
            stats.hashed_files = counts.again.files.min(stats.files);
            stats.hashed_bytes = counts.again.bytes.min(stats.bytes);
        }
        stats
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(all: Tally, hashed: Tally, scanned: bool) -> HubStats {
    HubStats {
        files: all.files,
        bytes: all.bytes,
        hashed_files: hashed.files,
        hashed_bytes: hashed.bytes,
        scanned,
        watched: false,
    }
}
