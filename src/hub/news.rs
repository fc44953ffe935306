//! Word of what has changed in the tree, for whoever listens.

use tokio::sync::broadcast;

use crate::wire::{Digest, UrlPath};

/// Changes kept for a listener that is slow; what is beyond that it has missed.
const CAPACITY: usize = 4096;

/// Something in the tree is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file is new, or another than before; it is hashed.
    File {
        /// Where.
        path: UrlPath,
        /// Its version.
        root: Digest,
        /// Bytes.
        size: u64,
        /// Modification time, Unix seconds.
        mtime: i64,
    },
    /// There is a new directory; what is in it is told one by one.
    Dir {
        /// Where.
        path: UrlPath,
    },
    /// A file or directory is gone, with all below it.
    Removed {
        /// Where it was.
        path: UrlPath,
    },
    /// More may have changed, at or below this, than was noticed one by one.
    Much {
        /// A directory.
        path: UrlPath,
    },
}

impl Change {
    /// What it is about.
    pub fn path(&self) -> &UrlPath {
        match self {
            Self::File { path, .. } | Self::Dir { path } | Self::Removed { path } | Self::Much { path } => {
                path
            }
        }
    }
}

/// Tells all who listen.
#[derive(Debug)]
pub(super) struct News(broadcast::Sender<Change>);

impl Default for News {
    fn default() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }
}

impl News {
    pub(super) fn tell(&self, change: Change) {
        tracing::debug!(?change, "changed");
        // Nobody may be listening.
        let _ = self.0.send(change);
    }

    pub(super) fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// Hears of every change from when it was made ([`super::Hub::listen`]).
#[derive(Debug)]
pub struct Listener(broadcast::Receiver<Change>);

impl Listener {
    /// The next change; a listener that was too slow hears that there was much. `None` when the hub is gone. Nothing is
    /// lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Change::Much { path: UrlPath::root() }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
