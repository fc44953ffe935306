//! Long directories, read once for many pages.
//!
//! A directory has to be read as a whole to know which names come first. So of a long one the names that come next are
//! kept for the pages after this, up to so many that a directory of any size stays within bounds and is still read a
//! few times only. Names that come or go meanwhile may be listed or not; what is listed is looked at anew each time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::names::Names;
use super::stamp::Stamp;
use crate::wire::UrlPath;

/// Most bytes of the names of a run: one and a half million of eight characters. Tests have a bound that they reach.
pub(super) const MAX_WEIGHT: usize = if cfg!(test) { 48 * 1024 } else { 24 * 1024 * 1024 };
/// Directories with fewer names are read anew.
const MIN_NAMES: usize = 2048;
/// Runs kept.
const MAX_RUNS: usize = 4;
/// A run is not used longer than this: whoever pages through a directory is done, or asks for the next page by then.
const MAX_AGE: Duration = Duration::from_secs(60);

/// A name in a directory, percent-encoded, which is also what it is sorted by.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) encoded: Box<str>,
    pub(super) may_be_dir: bool,
}

/// Names of a directory in a row, sorted.
#[derive(Debug)]
pub(super) struct Run {
    dir: UrlPath,
    /// What the cursor was for which it was read; `None` = the beginning.
    after: Option<String>,
    /// Sorted.
    names: Names,
    /// Nothing comes after it.
    is_all: bool,
    made: Instant,
    /// The directory before it was read, if its times can tell whether names have come or gone since.
    stamp: Option<Stamp>,
}

impl Run {
    /// `names` are sorted.
    pub(super) fn new(dir: &UrlPath, after: Option<&str>, names: Names, is_all: bool) -> Self {
        let made = Instant::now();
        Self { dir: dir.clone(), after: after.map(str::to_owned), names, is_all, made, stamp: None }
    }

    /// With what is known of the directory from before it was read.
    pub(super) fn stamped(self, stamp: Option<Stamp>) -> Self {
        Self { stamp, ..self }
    }

    /// Whether it has all that comes after `cursor`, or at least the next of it.
    fn covers(&self, dir: &UrlPath, cursor: &str) -> bool {
        let begins_before = self.after.as_deref().is_none_or(|after| after <= cursor);
        let ends_after = self.is_all || self.names.last().is_some_and(|last| last > cursor);
        self.dir == *dir && begins_before && ends_after
    }

    /// The first names, `most` at most, that matter after `after`, and whether that is all of the directory. With
    /// `descends`, names of directories matter as long as something in them may come.
    pub(super) fn next(&self, descends: bool, after: Option<&str>, most: usize) -> (Vec<Name>, bool) {
        let mut found = Vec::new();
        let mut start = 0;
        if let Some(after) = after {
            if descends {
                // Paths below a directory come after the directory, and others may come between: all those that `after`
                // begins with, and itself.
                let lengths = (1..=after.len()).filter(|&length| after.is_char_boundary(length));
                let above = lengths.map(|length| &after[..length]).take_while(|name| !name.contains('/'));
                let known = above.filter_map(|name| self.name(self.names.search(name).ok()?));
                found.extend(known.filter(|name| name.may_be_dir));
            }
            start = self.names.search(after).map_or_else(|at| at, |at| at + 1);
        }
        let end = self.names.len().min(start.saturating_add(most));
        found.extend((start..end).filter_map(|at| self.name(at)));
        (found, self.is_all && end == self.names.len())
    }

    fn name(&self, at: usize) -> Option<Name> {
        let (encoded, may_be_dir) = self.names.get(at)?;
        Some(Name { encoded: encoded.into(), may_be_dir })
    }
}

/// The runs that are kept.
#[derive(Debug, Default)]
pub(super) struct Runs(Mutex<VecDeque<Arc<Run>>>);

impl Runs {
    /// One with which a listing of `dir` can go on.
    pub(super) fn find(&self, dir: &UrlPath, cursor: &str) -> Option<Arc<Run>> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|run| run.made.elapsed() < MAX_AGE);
        runs.iter().find(|run| run.covers(dir, cursor)).cloned()
    }

    /// One that begins with the first name of `dir`, if no name has come or gone since it was read.
    pub(super) fn find_first(&self, dir: &UrlPath, now: Stamp) -> Option<Arc<Run>> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().find(|run| run.dir == *dir && run.after.is_none() && run.stamp == Some(now)).cloned()
    }

    /// Keeps a run, if it is worth it.
    pub(super) fn keep(&self, run: &Arc<Run>) {
        if run.names.len() < MIN_NAMES {
            return;
        }
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|known| known.dir != run.dir || known.after != run.after);
        if runs.len() >= MAX_RUNS {
            runs.pop_front();
        }
        runs.push_back(run.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(after: Option<&str>, names: &[&str], is_all: bool) -> Run {
        let mut all = Names::default();
        names.iter().for_each(|name| all.push(name, name.len() < 3));
        Run::new(&UrlPath::root(), after, all, is_all)
    }

    fn texts(found: &(Vec<Name>, bool)) -> (Vec<&str>, bool) {
        (found.0.iter().map(|name| &*name.encoded).collect(), found.1)
    }

    #[test]
    fn goes_on_after_any_name() {
        let run = run(None, &["a", "a!", "a!b", "ab", "b"], true);
        assert_eq!(texts(&run.next(false, None, 2)), (vec!["a", "a!"], false));
        assert_eq!(texts(&run.next(false, Some("a!"), 9)), (vec!["a!b", "ab", "b"], true));
        assert_eq!(texts(&run.next(false, Some("a!x"), 1)), (vec!["ab"], false));
        assert_eq!(texts(&run.next(false, Some("z"), 9)), (vec![], true));
        // In `a` there may still be something to come, in `a!` it has begun; `a!b` is no directory.
        assert_eq!(texts(&run.next(true, Some("a!/x"), 9)), (vec!["a", "a!", "a!b", "ab", "b"], true));
        assert_eq!(texts(&run.next(true, Some("a!b"), 9)), (vec!["a", "a!", "ab", "b"], true));
    }

    #[test]
    fn only_what_it_covers() {
        let root = UrlPath::root();
        let part = run(Some("b"), &["c", "d", "e"], false);
        assert!(part.covers(&root, "b") && part.covers(&root, "d"));
        assert!(!part.covers(&root, "a") && !part.covers(&root, "e") && !part.covers(&root, "f"));
        assert!(!part.covers(&root.join(b"x").unwrap(), "d"));
        assert!(run(None, &["c"], true).covers(&root, "f"));
    }

    #[test]
    fn few_runs_are_kept_and_only_long_ones() {
        let runs = Runs::default();
        let long: Vec<String> = (0..MIN_NAMES).map(|n| format!("{n:05}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        runs.keep(&Arc::new(run(None, &["a"], true)));
        assert!(runs.find(&UrlPath::root(), "a").is_none());
        for n in 0..2 * MAX_RUNS {
            runs.keep(&Arc::new(run(Some(&n.to_string()), &long, true)));
        }
        assert_eq!(runs.0.lock().unwrap().len(), MAX_RUNS);
        assert!(runs.find(&UrlPath::root(), "9").is_some());
        assert!(runs.find(&UrlPath::root(), "1").is_none());
    }
}
