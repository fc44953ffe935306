//! What was touched on the disk and is yet to be looked at: each path once, when it has come to rest.
//!
//! Events are only a hint that it is worth looking; what is true is found out by looking. So many events about one
//! path are as good as one, and when there are too many paths to be kept, the whole tree is looked at.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::wire::UrlPath;

/// Paths kept; beyond that the whole tree is looked at.
const MAX_TOUCHED: usize = 64 * 1024;
/// Events about a path that is at rest are gathered for so long: a file is often written, renamed and given its times
/// in one go.
pub(super) const GATHER: Duration = Duration::from_millis(15);
/// Least time between two looks at the whole tree.
const PAUSE: Duration = Duration::from_secs(1);
/// Paths handed out at a time.
const BATCH: usize = 256;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// It came to be, and somebody may go on to write it.
    Made,
    /// It came to be, whole: moved here, or a directory.
    Came,
    /// Written to, and perhaps not for the last time.
    Written,
    /// Closed by whoever wrote to it.
    Closed,
    /// It is gone.
    Went,
    /// Its permissions or times are others.
    Described,
    /// Found, such that somebody may be writing to it or not.
    Seen,
}

/// A path to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) path: UrlPath,
    /// It came to be since it was looked at last: if it is gone again, nobody has heard of it.
    pub(super) is_new: bool,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Paths(Vec<Touched>),
    /// Everything: events were lost.
    All,
    /// The hub closes.
    End,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Touches {
    state: Mutex<State>,
    change: Condvar,
    /// A file that is being written counts as complete when nothing was written to it for so long.
    settle: Duration,
    /// Whether the system says when a file is closed.
    tells_close: bool,
}

#[derive(Debug, Default)]
struct State {
    by_path: HashMap<UrlPath, Entry>,
    queue: BTreeSet<(Instant, UrlPath)>,
    all_at: Option<Instant>,
    last_all: Option<Instant>,
    stop: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    due: Instant,
    is_writing: bool,
    is_new: bool,
}

impl Touches {
    pub(super) fn new(settle: Duration, tells_close: bool) -> Self {
        Self { state: Mutex::default(), change: Condvar::new(), settle, tells_close }
    }

    /// Something happened to a path.
    pub(super) fn note(&self, path: UrlPath, touch: Touch, now: Instant) {
        let mut state = self.lock();
        if state.all_at.is_some() && !state.by_path.contains_key(&path) && state.by_path.len() >= MAX_TOUCHED
        {
            return;
        }
        let before = state.by_path.get(&path).copied();
        let was_writing = before.is_some_and(|entry| entry.is_writing);
        let is_writing = match touch {
            Touch::Made | Touch::Written => true,
            // Who copies sets the times before closing, too.
            Touch::Described | Touch::Seen => was_writing,
            Touch::Closed if self.tells_close => false,
            Touch::Closed => was_writing,
            Touch::Came | Touch::Went => false,
        };
        let due = match before {
            // Otherwise a path that is replaced all the time would never be looked at.
            Some(entry) if !is_writing && !entry.is_writing => entry.due,
            Some(entry) if touch == Touch::Described && is_writing => entry.due,
            _ if touch == Touch::Seen => now + self.settle,
            _ => now + if is_writing { self.settle } else { GATHER },
        };
        let is_new = match touch {
            Touch::Made | Touch::Came | Touch::Seen => before.is_none_or(|entry| entry.is_new),
            _ => before.is_some_and(|entry| entry.is_new),
        };
        if let Some(entry) = before {
            state.queue.remove(&(entry.due, path.clone()));
        } else if state.by_path.len() >= MAX_TOUCHED {
            state.lose(now);
            drop(state);
            self.change.notify_one();
            return;
        }
        state.by_path.insert(path.clone(), Entry { due, is_writing, is_new });
        let is_first = state.queue.first().is_none_or(|(first, _)| due < *first);
        state.queue.insert((due, path));
        drop(state);
        if is_first {
            self.change.notify_one();
        }
    }

    /// Events were lost: everything has to be looked at.
    pub(super) fn note_all(&self, now: Instant) {
        self.lock().lose(now);
        self.change.notify_one();
    }

    /// Whether somebody is writing to the file at `path`, as far as is known.
    pub(super) fn is_writing(&self, path: &UrlPath) -> bool {
        self.lock().by_path.get(path).is_some_and(|entry| entry.is_writing)
    }

    /// What is due at `now`; else when something will be.
    fn take(&self, state: &mut State, now: Instant) -> Result<Due, Option<Instant>> {
        if state.stop {
            return Ok(Due::End);
        }
        if state.all_at.is_some_and(|at| at <= now) {
            // What is being written stays known as such; the rest is seen with everything else.
            state.all_at = None;
            state.last_all = Some(now);
            state.by_path.retain(|_, entry| entry.is_writing);
            let by_path = &state.by_path;
            state.queue.retain(|(_, path)| by_path.contains_key(path));
            return Ok(Due::All);
        }
        let mut paths = Vec::new();
        while paths.len() < BATCH
            && let Some((due, _)) = state.queue.first()
            && *due <= now
        {
            let Some((_, path)) = state.queue.pop_first() else { break };
            let is_new = state.by_path.remove(&path).is_some_and(|entry| entry.is_new);
            paths.push(Touched { path, is_new });
        }
        if paths.is_empty() {
            let next = state.queue.first().map(|(due, _)| *due);
            return Err([next, state.all_at].into_iter().flatten().min());
        }
        Ok(Due::Paths(paths))
    }

    /// Waits until something is due.
    pub(super) fn wait(&self) -> Due {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            state = match self.take(&mut state, now) {
                Ok(due) => return due,
                Err(Some(at)) => {
                    let time = at.saturating_duration_since(now);
                    self.change.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
                }
                Err(None) => self.change.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Ends [`Touches::wait`].
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.change.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lose(&mut self, now: Instant) {
        let earliest = self.last_all.map_or(now, |last| last + PAUSE).max(now);
        self.all_at.get_or_insert(earliest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(2);

    fn path(name: &str) -> UrlPath {
        UrlPath::root().join(name.as_bytes()).unwrap()
    }

    fn due(touches: &Touches, at: Instant) -> Vec<(String, bool)> {
        match touches.take(&mut touches.lock(), at) {
            Ok(Due::Paths(paths)) => paths.into_iter().map(|t| (t.path.to_string(), t.is_new)).collect(),
            Ok(other) => panic!("{other:?}"),
            Err(_) => Vec::new(),
        }
    }

    #[test]
    fn a_file_is_due_when_it_was_closed_or_is_quiet() {
        let (touches, start) = (Touches::new(SETTLE, true), Instant::now());
        touches.note(path("a"), Touch::Made, start);
        touches.note(path("b"), Touch::Made, start);
        touches.note(path("a"), Touch::Written, start + SETTLE / 2);
        touches.note(path("b"), Touch::Closed, start + SETTLE / 2);
        assert!(touches.is_writing(&path("a")) && !touches.is_writing(&path("b")));
        assert_eq!(due(&touches, start + SETTLE / 2 + GATHER), [("/b".to_owned(), true)]);
        assert_eq!(due(&touches, start + SETTLE), []);
        assert_eq!(due(&touches, start + SETTLE / 2 + SETTLE), [("/a".to_owned(), true)]);
        assert!(!touches.is_writing(&path("a")));
    }

    #[test]
    fn where_nobody_tells_of_closing_quiet_is_all_there_is() {
        let (touches, start) = (Touches::new(SETTLE, false), Instant::now());
        touches.note(path("a"), Touch::Written, start);
        touches.note(path("a"), Touch::Closed, start);
        assert_eq!(due(&touches, start + SETTLE / 2), []);
        assert_eq!(due(&touches, start + SETTLE), [("/a".to_owned(), false)]);
    }

    #[test]
    fn what_was_found_may_be_had_but_is_looked_at_later() {
        let (touches, start) = (Touches::new(SETTLE, true), Instant::now());
        touches.note(path("a"), Touch::Seen, start);
        assert!(!touches.is_writing(&path("a")));
        assert_eq!(due(&touches, start + SETTLE / 2), []);
        touches.note(path("a"), Touch::Closed, start + SETTLE / 2);
        assert_eq!(due(&touches, start + SETTLE), [("/a".to_owned(), true)]);
    }

    #[test]
    fn what_changes_without_end_is_looked_at_all_the_same() {
        let (touches, start) = (Touches::new(SETTLE, true), Instant::now());
        for step in 0..10 {
            touches.note(path("a"), Touch::Came, start + step * GATHER / 10);
        }
        assert_eq!(due(&touches, start + GATHER), [("/a".to_owned(), true)]);
    }

    #[test]
    fn too_many_paths_are_the_whole_tree_and_not_without_pause() {
        let (touches, start) = (Touches::new(SETTLE, true), Instant::now());
        for n in 0..=MAX_TOUCHED {
            touches.note(path(&n.to_string()), Touch::Came, start);
        }
        touches.note(path("0"), Touch::Written, start);
        assert_eq!(touches.take(&mut touches.lock(), start), Ok(Due::All));
        assert_eq!(touches.lock().by_path.len(), 1, "who writes is remembered");
        touches.note_all(start + PAUSE / 2);
        assert!(touches.take(&mut touches.lock(), start + PAUSE / 2).is_err());
        assert_eq!(touches.take(&mut touches.lock(), start + PAUSE), Ok(Due::All));
    }
}
