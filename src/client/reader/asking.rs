//! What the server is asked for on behalf of readers, on one connection: their windows, and where to aim.

use std::ops::Range;

use super::Source;
use super::view::{self, View};
use crate::client::PieceStore;
use crate::client::download::runs;
use crate::client::files::Held;
use crate::client::session::{Conn, Gone};
use crate::content::PieceSet;
use crate::wire::{self, ByteRange, Order, limits};

/// Ranges asked for at once; more are asked for when those are here.
const MAX_RANGES: usize = limits::MAX_RANGES_PER_FILE / 2;

/// What was asked for.
#[derive(Debug, Default)]
pub(in crate::client) struct Asking {
    /// Pieces asked for, or here.
    windows: Vec<Range<u32>>,
    /// Where the server was told that somebody reads.
    aim: Option<View>,
    /// There was more than can be asked for at once: go on at so many verified bytes.
    until: Option<u64>,
}

impl Asking {
    /// What was asked for before anything was known of the file.
    pub(in crate::client) fn already(bytes: u64, held: &Held, window: u64) -> Self {
        let windows = vec![held.layout.touched(0..bytes)];
        Self { windows, aim: Some(View { position: 0, window, waits: false }), until: None }
    }

    /// Asks for what readers want and gives up what they no longer want.
    pub(in crate::client) async fn follow(
        &mut self,
        conn: &Conn,
        held: &Held,
        store: &PieceStore,
        source: &Source,
    ) -> Result<(), Gone> {
        if self.until.is_some_and(|until| store.verified_bytes() < until) {
            return Ok(());
        }
        self.until = None;
        let (views, have) = (source.views(), store.pieces());
        let wanted = view::wanted(&views, &held.layout);
        for run in view::except(&self.windows, &wanted) {
            if run.clone().any(|piece| !have.contains(piece)) {
                let range = Some(range_of(held, run));
                conn.send(wire::Unrequest { url: held.url.clone(), range, root: Some(held.root) }).await?;
            }
        }
        // Only now: the server takes back what ends with that, and does not blame who sends it.
        held.set_wanted(Some(view::near(&views, &held.layout)));
        let new = view::except(&wanted, &self.windows);
        let urgent = view::most_urgent(&views, &held.layout, &have);
        let mut asked = 0;
        let mut left = None;
        'asking: for run in &new {
            for missing in missing_in(run.clone(), &have) {
                if asked == MAX_RANGES {
                    left = Some(missing.start);
                    break 'asking;
                }
                self.request(conn, held, missing, urgent, None).await?;
                asked += 1;
            }
        }
        self.windows = match left {
            None => wanted,
            Some(left) => {
                self.until = Some(store.verified_bytes() + 1);
                let rest: Vec<_> = new
                    .into_iter()
                    .map(|run| run.start.max(left)..run.end)
                    .filter(|run| !run.is_empty())
                    .collect();
                view::except(&wanted, &rest)
            }
        };
        self.aim(conn, held, &have, urgent).await
    }

    /// Whether anything was asked for.
    pub(in crate::client) fn is_asking(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Whether nothing that was asked for is missing.
    pub(in crate::client) fn has_all(&self, store: &PieceStore) -> bool {
        let have = store.pieces();
        self.windows.iter().all(|run| run.clone().all(|piece| have.contains(piece)))
    }

    /// Only says where readers are: all of the file is wanted anyway.
    pub(in crate::client) async fn point(
        &mut self,
        conn: &Conn,
        held: &Held,
        store: &PieceStore,
        source: Option<&Source>,
    ) -> Result<(), Gone> {
        held.set_wanted(None);
        let Some(source) = source else {
            if self.aim.take().is_some()
                && let Some(missing) = missing_in(0..held.layout.count(), &store.pieces()).next()
            {
                // Nobody reads any more.
                self.request(conn, held, missing, None, None).await?;
            }
            return Ok(());
        };
        let (views, have) = (source.views(), store.pieces());
        let urgent = view::most_urgent(&views, &held.layout, &have);
        self.aim(conn, held, &have, urgent).await
    }

    /// The server has been told that somebody reads there.
    pub(in crate::client) fn told(&mut self, position: u64, window: u64) {
        self.aim = Some(View { position, window, waits: false });
    }

    /// Says where a stream is, and how fast it will go on, if the server does not know: pieces up to `until` were asked for.
    /// Where all that it will ever need was asked for, nothing else would tell.
    pub(in crate::client) async fn tell(
        &mut self,
        conn: &Conn,
        held: &Held,
        store: &PieceStore,
        (position, window, pace): (u64, u64, Option<u64>),
        until: u32,
    ) -> Result<(), Gone> {
        // No reader is left whose wishes would be all that counts.
        held.set_wanted(None);
        let at = held.layout.piece_at(position);
        let view = View { position, window, waits: !store.has(at) };
        // In version 2 nobody has a place.
        if conn.old().is_some() || !view::is_news(self.aim, view) {
            return Ok(());
        }
        let Some(missing) = (at..until).find(|&piece| !store.has(piece)) else { return Ok(()) };
        self.request(conn, held, missing..missing + 1, Some(view), pace).await
    }

    async fn aim(
        &mut self,
        conn: &Conn,
        held: &Held,
        have: &PieceSet,
        urgent: Option<View>,
    ) -> Result<(), Gone> {
        let Some(urgent) = urgent.filter(|&urgent| view::is_news(self.aim, urgent)) else { return Ok(()) };
        let from = held.layout.piece_at(urgent.position);
        let Some(missing) = missing_in(from..held.layout.count(), have).next() else { return Ok(()) };
        self.request(conn, held, missing.start..missing.start + 1, Some(urgent), None).await
    }

    async fn request(
        &mut self,
        conn: &Conn,
        held: &Held,
        pieces: Range<u32>,
        aim: Option<View>,
        pace: Option<u64>,
    ) -> Result<(), Gone> {
        // A window of nothing would be no reader at all.
        let least = u64::from(held.layout.piece_size().bytes());
        self.aim = aim;
        conn.send(wire::Request {
            url: held.url.clone(),
            range: Some(range_of(held, pieces)),
            root: Some(held.root),
            order: aim.map(|_| Order::Sequential),
            position: aim.map(|aim| aim.position),
            window: aim.map(|aim| aim.window.max(least)),
            pace,
            early: None,
        })
        .await
    }
}

fn range_of(held: &Held, pieces: Range<u32>) -> ByteRange {
    let bytes = held.layout.bytes_of_run(pieces);
    ByteRange::new(bytes.start, bytes.end - 1)
}

/// The pieces of `run` that are not here, as runs.
fn missing_in(run: Range<u32>, have: &PieceSet) -> impl Iterator<Item = Range<u32>> {
    runs(run.filter(|&piece| !have.contains(piece)))
}
