//! What is watched on one server: said again on every new connection, and who is told of which change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::event::{Change, EventBody};
use super::old;
use super::session::{Conn, Link};
use super::{Error, ErrorKind};
use crate::wire::{self, EntryKind, UrlPath, limits};

/// All that is watched over one link.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<Vec<Watch>>);

#[derive(Debug, Clone)]
struct Watch {
    op: u64,
    session: u64,
    path: UrlPath,
    user_data: usize,
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, Vec<Watch>> {
        // Nothing under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// See [`super::Session::watch`].
    pub(super) fn watch(
        self: &Arc<Self>,
        op: u64,
        session: u64,
        path: &UrlPath,
        user_data: usize,
    ) -> Result<(), Error> {
        if self.conn_now().is_some_and(|conn| conn.old().is_some()) {
            return Err(old::no_watching(&self.host));
        }
        {
            let mut watches = self.watches.lock();
            if watches.len() >= limits::MAX_WATCHES {
                let text = format!("{} things are watched on {} already", watches.len(), self.host);
                return Err(Error::new(ErrorKind::Limit, text));
            }
            watches.push(Watch { op, session, path: path.clone(), user_data });
        }
        let watch = wire::Watch { url: self.url(path) };
        self.say(watch);
        Ok(())
    }

    /// See [`super::Session::unwatch`].
    pub(super) fn unwatch(self: &Arc<Self>, op: u64) {
        self.end_watches(|watch| watch.op == op);
    }

    /// A session is gone, with all it watched.
    pub(super) fn unwatch_session(self: &Arc<Self>, session: u64) {
        self.end_watches(|watch| watch.session == session);
    }

    fn end_watches(self: &Arc<Self>, is_over: impl Fn(&Watch) -> bool) {
        let over: Vec<Watch> = {
            let mut watches = self.watches.lock();
            let over: Vec<_> = watches.extract_if(.., |watch| is_over(watch)).collect();
            over.into_iter().filter(|over| !watches.iter().any(|other| other.path == over.path)).collect()
        };
        for watch in over {
            self.say(wire::Unwatch { url: self.url(&watch.path) });
        }
    }

    /// Without a connection it is said, or needs not to be said, on the next.
    fn say(self: &Arc<Self>, message: impl Into<wire::Message>) {
        let Some(conn) = self.conn_now() else { return };
        let message = message.into();
        self.inner.handle.spawn(async move {
            // As without a connection.
            let _ = conn.send(message).await;
        });
    }

    /// Tells a server that has just come (back) what is watched. What changed while it was away nobody knows.
    pub(super) async fn watch_anew(&self, conn: &Conn, is_back: bool) {
        let watches = self.watches.lock().clone();
        for watch in watches {
            if conn.send(wire::Watch { url: self.url(&watch.path) }).await.is_err() {
                return;
            }
            if is_back {
                self.tell(&watch, watch.path.clone(), Change::Rescan);
            }
        }
    }

    /// Tells those who watch it of a change. `true` when it was news for somebody, and not only the end of a version.
    pub(super) fn tell_watchers(&self, changed: &wire::Changed) -> bool {
        let Ok(path) = wire::path_of_url(&changed.url) else { return false };
        let change = match (changed.root, changed.size) {
            _ if changed.rescan => Change::Rescan,
            _ if changed.removed => Change::Removed,
            _ if changed.kind == Some(EntryKind::Dir) => Change::Dir,
            (Some(root), Some(size)) => Change::File { root, size, mtime: changed.mtime },
            _ => return false,
        };
        let is_about_all = changed.rescan || changed.removed;
        let watches = self.watches.lock();
        let told: Vec<&Watch> = watches
            .iter()
            .filter(|watch| path.is_under(&watch.path) || (is_about_all && watch.path.is_under(&path)))
            .collect();
        for watch in &told {
            self.tell(watch, path.clone(), change.clone());
        }
        !told.is_empty()
    }

    /// The server does not let something be watched.
    pub(super) fn watch_refused(&self, path: &UrlPath, error: &Error) {
        let refused: Vec<Watch> = self.watches.lock().extract_if(.., |watch| watch.path == *path).collect();
        for watch in refused {
            self.tell(&watch, path.clone(), Change::Refused(error.clone()));
        }
    }

    /// The server, of version 2, knows nothing of watching.
    pub(super) fn refuse_watches(&self) {
        let refused = std::mem::take(&mut *self.watches.lock());
        for watch in refused {
            self.tell(&watch, watch.path.clone(), Change::Refused(old::no_watching(&self.host)));
        }
    }

    fn tell(&self, watch: &Watch, path: UrlPath, change: Change) {
        self.inner.queue.push(watch.user_data, EventBody::Changed { op: watch.op, path, change });
    }
}
