//! What of a file is wanted now, and asking the server for it.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::client::PieceStore;
use crate::client::files::Held;
use crate::client::reader::{self, Asking};
use crate::client::session::{Conn, Gone};
use crate::client::stream::{Finished, Position};
use crate::content::Layout;
use crate::peer::PieceSink as _;
use crate::wire::{self, ByteRange, Order, limits};

/// Ranges asked for at once; more are asked for when those are here. Half of what the protocol allows.
const MAX_RANGES: usize = limits::MAX_RANGES_PER_FILE / 2;
/// What a stream has fetched ahead of what was taken.
pub(super) const STREAM_WINDOW: u64 = 64 * 1024 * 1024;

/// How much of a file is wanted now.
pub(super) enum Want {
    All,
    /// As much as the stream needs soon.
    Stream {
        position: Arc<Position>,
        /// Bytes a second it will be read with, 0 = not known.
        pace: u64,
        finished: oneshot::Receiver<Finished>,
        /// Once it has ended.
        end: Option<Finished>,
    },
    /// As much as readers need soon; for as long as there are any.
    Readers(Arc<reader::Source>),
}

/// What of a file was asked for on one connection.
#[derive(Default)]
pub(super) struct Asked {
    /// All missing pieces before this one.
    until: u32,
    /// There was more than can be asked for at once.
    is_partial: bool,
    /// Bytes that are verified when all that was asked for is here.
    goal: u64,
    /// On behalf of readers.
    pub(super) readers: Asking,
}

/// Up to which piece a file is wanted now, and what the server should know about it.
#[derive(Debug, Clone, Copy)]
struct Scope {
    /// The first that is wanted at all.
    from: u32,
    to: u32,
    /// Where a reader is.
    position: Option<u64>,
    /// How fast it will be, bytes a second.
    pace: Option<u64>,
}

impl Want {
    /// `until` is what was asked for before.
    fn scope(&self, layout: &Layout, until: u32) -> Scope {
        match self {
            Self::All | Self::Readers(_) => Scope { from: 0, to: layout.count(), position: None, pace: None },
            Self::Stream { position, pace, .. } => {
                let (at, bytes) = (position.at(), position.bytes());
                let end = at.saturating_add(STREAM_WINDOW).min(bytes.end);
                // In steps: a message for every piece taken would be many.
                let is_step =
                    end == bytes.end || end.saturating_sub(layout.start(until)) >= STREAM_WINDOW / 8;
                let to = if is_step { layout.touched(at..end).end } else { until };
                let from = layout.touched(bytes).start;
                Scope { from, to, position: Some(at), pace: Some(*pace).filter(|pace| *pace > 0) }
            }
        }
    }

    /// Where somebody reads.
    pub(super) fn positions(&self, held: &Held) -> Vec<u64> {
        match self {
            Self::Stream { position, .. } => vec![position.at()],
            Self::Readers(source) => source.positions(),
            Self::All => held.source().map(|source| source.positions()).unwrap_or_default(),
        }
    }

    /// Whether all that will ever be wanted is here.
    pub(super) fn is_here(&self, store: &PieceStore) -> bool {
        match self {
            Self::All | Self::Readers(_) => store.is_complete(),
            Self::Stream { position, .. } => {
                store.is_complete() || {
                    let have = store.pieces();
                    store.layout().touched(position.bytes()).all(|piece| have.contains(piece))
                }
            }
        }
    }
}

impl Asked {
    /// All bytes before that one.
    pub(super) fn already(bytes: u64, held: &Held, want: &Want) -> Self {
        let bytes = bytes.min(held.layout.size());
        let mut readers = match want {
            Want::Readers(source) => Asking::already(bytes, held, source.first_window),
            _ => Asking::default(),
        };
        if matches!(want, Want::Stream { .. }) {
            readers.told(0, STREAM_WINDOW);
        }
        Self { until: held.layout.touched(0..bytes).end, is_partial: false, goal: bytes, readers }
    }

    /// Asks for what is wanted now.
    pub(super) async fn go_on(
        &mut self,
        conn: &Conn,
        held: &Held,
        store: &PieceStore,
        want: &mut Want,
    ) -> Result<(), Gone> {
        if let Want::Readers(source) = want {
            return self.readers.follow(conn, held, store, source).await;
        }
        let scope = want.scope(&held.layout, self.until);
        self.more(conn, held, store, scope).await?;
        // Of a stream and readers of the same file the readers are told of: a person may sit before them.
        match (held.source(), scope.position) {
            (None, Some(position)) => {
                let place = (position, STREAM_WINDOW, scope.pace);
                self.readers.tell(conn, held, store, place, self.until).await
            }
            (source, _) => self.readers.point(conn, held, store, source.as_deref()).await,
        }
    }

    /// Asks for more, if there is more to be asked for now.
    async fn more(&mut self, conn: &Conn, held: &Held, store: &PieceStore, scope: Scope) -> Result<(), Gone> {
        let layout = &held.layout;
        let Scope { from, to, position, pace } = scope;
        self.until = self.until.max(from);
        let is_busy = self.is_partial && store.verified_bytes() < self.goal;
        if self.until >= to || is_busy {
            return Ok(());
        }
        let pieces = store.pieces();
        let missing = runs((self.until..to).filter(|&piece| !pieces.contains(piece)));
        let mut asked = 0;
        self.is_partial = false;
        self.goal = store.verified_bytes();
        self.until = to;
        for run in missing {
            let bytes = layout.bytes_of_run(run.clone());
            self.goal += bytes.end - bytes.start;
            let request = wire::Request {
                url: held.url.clone(),
                range: Some(ByteRange::new(bytes.start, bytes.end - 1)),
                root: Some(held.root),
                order: position.map(|_| Order::Sequential),
                position,
                window: position.map(|_| STREAM_WINDOW),
                pace,
                early: None,
            };
            conn.send(request).await?;
            if let Some(position) = position {
                self.readers.told(position, STREAM_WINDOW);
            }
            asked += 1;
            if asked == MAX_RANGES {
                self.until = run.end;
                self.is_partial = true;
                break;
            }
        }
        Ok(())
    }
}

/// Ascending pieces as runs.
pub(in crate::client) fn runs(
    pieces: impl Iterator<Item = u32>,
) -> impl Iterator<Item = std::ops::Range<u32>> {
    let mut pieces = pieces.peekable();
    std::iter::from_fn(move || {
        let start = pieces.next()?;
        let mut end = start + 1;
        while pieces.next_if_eq(&end).is_some() {
            end += 1;
        }
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_runs() {
        let of = |pieces: &[u32]| runs(pieces.iter().copied()).collect::<Vec<_>>();
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[3, 7]), [3..4, 7..8]);
        assert_eq!(of(&[0, 1, 2, 5, 7, 8]), [0..3, 5..6, 7..9]);
    }
}
