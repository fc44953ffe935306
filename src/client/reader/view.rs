//! What readers of one file want of it: which pieces, and who of them is to be served first. Plain values, no IO.

use std::ops::Range;

use crate::content::{Layout, PieceSet};

/// One reader at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    pub(super) position: u64,
    /// Bytes from there that are to be fetched ahead.
    pub(super) window: u64,
    /// Somebody waits for the byte at `position`.
    pub(super) waits: bool,
}

/// A window moves on in so many steps: a message for every piece read would be many.
const STEPS: u64 = 8;
/// A reader who waits tells where it is this often, bytes.
const NEAR: u64 = 1024 * 1024;

impl View {
    /// The pieces it wants, what it has read of them included.
    fn pieces(&self, layout: &Layout) -> Range<u32> {
        let step = (self.window / STEPS).max(1);
        let ahead = self.position.saturating_add(self.window).div_ceil(step).saturating_mul(step);
        let end = match self.window {
            0 if !self.waits => return 0..0,
            0 => self.position.saturating_add(1),
            _ => ahead,
        };
        layout.touched(self.position..end)
    }

    /// Bytes in a row from where it is, as far as it wants them.
    fn buffered(&self, layout: &Layout, have: &PieceSet) -> u64 {
        let pieces = self.pieces(layout);
        let row = pieces.clone().take_while(|&piece| have.contains(piece)).count() as u32;
        layout.start(pieces.start + row).min(layout.size()).saturating_sub(self.position)
    }

    fn lacks_some(&self, layout: &Layout, have: &PieceSet) -> bool {
        self.pieces(layout).any(|piece| !have.contains(piece))
    }
}

/// The pieces that anybody wants: ascending, and with gaps between them.
pub(super) fn wanted(views: &[View], layout: &Layout) -> Vec<Range<u32>> {
    let mut runs: Vec<_> =
        views.iter().map(|view| view.pieces(layout)).filter(|run| !run.is_empty()).collect();
    runs.sort_unstable_by_key(|run| run.start);
    let mut merged: Vec<Range<u32>> = Vec::with_capacity(runs.len());
    for run in runs {
        match merged.last_mut() {
            Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
            _ => merged.push(run),
        }
    }
    merged
}

/// The same, and where each reader is: somebody who does not wait at the moment, and wants nothing ahead, looks again soon.
pub(super) fn near(views: &[View], layout: &Layout) -> Vec<Range<u32>> {
    let looking: Vec<_> = views.iter().map(|view| View { waits: true, ..*view }).collect();
    wanted(&looking, layout)
}

/// What is in `from` and not in `without`; both as [`wanted`] gives them.
pub(super) fn except(from: &[Range<u32>], without: &[Range<u32>]) -> Vec<Range<u32>> {
    let mut rest = Vec::new();
    for run in from {
        let mut start = run.start;
        for hole in without.iter().filter(|hole| hole.end > run.start && hole.start < run.end) {
            if start < hole.start {
                rest.push(start..hole.start);
            }
            start = hole.end;
        }
        if start < run.end {
            rest.push(start..run.end);
        }
    }
    rest
}

/// Where the server is to aim: the reader who will be without bytes first. Somebody who waits comes before others.
/// `None` when nobody lacks anything.
pub(super) fn most_urgent(views: &[View], layout: &Layout, have: &PieceSet) -> Option<View> {
    let lacking = views.iter().filter(|view| view.lacks_some(layout, have));
    lacking.min_by_key(|view| (!view.waits, view.buffered(layout, have))).copied()
}

/// Whether a server that was told `before` must be told `now`.
pub(super) fn is_news(before: Option<View>, now: View) -> bool {
    let Some(before) = before else { return true };
    let step = (now.window / STEPS).max(1);
    let enough = if now.waits { step.min(NEAR) } else { step };
    now.window != before.window || now.position < before.position || now.position - before.position >= enough
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::PieceSize;

    const PIECE: u64 = 65536;

    fn layout() -> Layout {
        Layout::new(100 * PIECE, PieceSize::new(PIECE as u32).unwrap()).unwrap()
    }

    fn at(piece: u64, window: u64) -> View {
        View { position: piece * PIECE, window: window * PIECE, waits: false }
    }

    fn alone(run: Range<u32>) -> Vec<Range<u32>> {
        std::iter::once(run).collect()
    }

    fn set(pieces: impl IntoIterator<Item = u32>) -> PieceSet {
        let mut set = PieceSet::new(100);
        pieces.into_iter().for_each(|piece| {
            set.insert(piece);
        });
        set
    }

    #[test]
    fn windows_of_several_readers_are_put_together() {
        let of = |views: &[View]| wanted(views, &layout());
        assert_eq!(of(&[at(0, 16), at(50, 16), at(8, 16)]), [0..24, 50..66]);
        assert_eq!(of(&[at(95, 16)]), alone(95..100), "not past the end");
        assert_eq!(of(&[at(200, 16)]), []);
        assert_eq!(of(&[at(5, 0)]), [], "an idle one");
        assert_eq!(of(&[View { waits: true, ..at(5, 0) }]), alone(5..6), "only what is being read");
    }

    #[test]
    fn what_an_idle_reader_looked_for_is_near() {
        assert_eq!(near(&[at(5, 0), at(50, 16)], &layout()), [5..6, 50..66]);
    }

    #[test]
    fn a_window_moves_in_steps() {
        // A step is two pieces.
        let ends: Vec<_> = (0..5).map(|piece| wanted(&[at(piece, 16)], &layout())[0].end).collect();
        assert_eq!(ends, [16, 18, 18, 20, 20]);
    }

    #[test]
    fn what_is_left_of_runs() {
        assert_eq!(except(&[0..10, 20..30], &[]), [0..10, 20..30]);
        assert_eq!(except(&[0..10, 20..30], &[2..4, 8..22, 29..50]), [0..2, 4..8, 22..29]);
        assert_eq!(except(&alone(5..6), &alone(0..9)), []);
    }

    #[test]
    fn who_is_nearest_to_its_end_comes_first() {
        let have = set((0..8).chain(50..52));
        let (one, two) = (at(0, 16), at(50, 16));
        assert_eq!(most_urgent(&[one, two], &layout(), &have), Some(two));
        let waiting = View { waits: true, ..at(0, 16) };
        assert_eq!(most_urgent(&[waiting, two], &layout(), &have), Some(waiting));
        assert_eq!(most_urgent(&[one, two], &layout(), &set(0..100)), None);
    }

    #[test]
    fn the_server_hears_of_jumps_and_of_steps() {
        let before = Some(at(10, 16));
        assert!(is_news(None, at(0, 16)));
        assert!(!is_news(before, at(11, 16)));
        assert!(is_news(before, at(12, 16)));
        assert!(is_news(before, at(9, 16)));
        assert!(is_news(before, at(10, 32)));
    }
}
