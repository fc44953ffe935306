//! A reader: somebody who uses a file from front to back while it comes. It says now and then where it is; in between,
//! that is reckoned from how fast it went before.
//!
//! What it will need within the next seconds is sent in order, before anything else; what it needs at once, before what
//! anybody else needs. The rest of its window is fetched like any download, rarest first: what different readers fetch
//! ahead they can give each other.

use std::ops::Range;

use super::types::Time;

/// What is read within this time is sent in order, microseconds.
const SOON_US: u64 = 8_000_000;
/// What is read within this time comes before what others need, microseconds.
const AT_ONCE_US: u64 = 2_000_000;
/// So many bytes at least.
const AT_ONCE_BYTES: u64 = 256 * 1024;
/// How fast a reader is taken to be until that is known: when it has moved on by an eighth of 64 MiB (docs/protocol.md),
/// and so that much and more is sent in order.
const ASSUMED_RATE: u64 = 1_000_000;
const SOON_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reader {
    /// Where it was, and up to where it wants things.
    window: Range<u32>,
    /// When.
    at: Time,
    /// Bytes a second; 0 = not known yet.
    rate: u64,
    /// It has said so itself.
    is_told: bool,
}

impl Reader {
    pub(super) fn new(window: Range<u32>, at: Time) -> Self {
        Self { window, at, rate: 0, is_told: false }
    }

    /// It says how fast it reads.
    pub(super) fn paced(&mut self, rate: u64) {
        (self.rate, self.is_told) = (rate, rate > 0);
    }

    /// It says where it is now.
    pub(super) fn moved(&mut self, window: Range<u32>, now: Time, piece_size: u32) {
        let (pieces, time) = (window.start.saturating_sub(self.window.start), now.since(self.at));
        // Where it could not have read to, it has jumped, which says nothing of how fast it reads.
        let jumped = window.start > self.window.end;
        if pieces > 0 && time > 0 && !jumped && !self.is_told {
            let bytes = u128::from(pieces) * u128::from(piece_size);
            let sample = u64::try_from(bytes * 1_000_000 / u128::from(time)).unwrap_or(u64::MAX);
            self.rate = if self.rate == 0 { sample } else { self.rate / 2 + sample / 2 };
        }
        if window.start != self.window.start {
            self.at = now;
        }
        self.window = window;
    }

    /// Where it was last heard to be.
    pub(super) fn position(&self) -> u32 {
        self.window.start
    }

    /// What it stands still without: the piece where it is, of which it may have read a part already, and the next.
    pub(super) fn wants_now(&self) -> Range<u32> {
        self.first(0, 1)
    }

    /// What it will need soon, in order. From where it was last heard to be: if something is missing there, it has come
    /// no farther.
    pub(super) fn soon(&self, now: Time, piece_size: u32) -> Range<u32> {
        let bytes = match self.rate {
            0 => u128::from(SOON_BYTES),
            rate => in_time(rate, now.since(self.at).saturating_add(SOON_US)),
        };
        self.first(bytes, piece_size)
    }

    /// What it needs at once.
    pub(super) fn at_once(&self, now: Time, piece_size: u32) -> Range<u32> {
        let since = now.since(self.at);
        let bytes = match self.rate {
            0 => in_time(ASSUMED_RATE, since) + u128::from(AT_ONCE_BYTES),
            rate => in_time(rate, since.saturating_add(AT_ONCE_US)),
        };
        let most = if self.rate == 0 { u128::from(SOON_BYTES) } else { u128::MAX };
        self.first(bytes.min(most), piece_size)
    }

    fn first(&self, bytes: u128, piece_size: u32) -> Range<u32> {
        // A piece that is half read is one that it needs, and the next one it needs right after.
        let pieces = u32::try_from(bytes / u128::from(piece_size.max(1))).unwrap_or(u32::MAX);
        let end = self.window.start.saturating_add(pieces).saturating_add(2);
        self.window.start..end.min(self.window.end)
    }
}

/// Bytes that pass in so many microseconds.
fn in_time(rate: u64, micros: u64) -> u128 {
    u128::from(rate) * u128::from(micros) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u32 = 1 << 20;
    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_reader_is_followed_between_its_messages() {
        let mut reader = Reader::new(0..64, Time(0));
        assert_eq!(reader.at_once(Time(0), PIECE), 0..2);
        assert_eq!(reader.at_once(Time(4 * SECOND), PIECE), 0..6);
        assert_eq!(reader.soon(Time(9 * SECOND), PIECE), 0..18, "nothing is known yet");
        // A MiB a second.
        reader.moved(8..72, Time(8 * SECOND), PIECE);
        assert_eq!(reader.at_once(Time(8 * SECOND), PIECE), 8..12);
        assert_eq!(reader.soon(Time(12 * SECOND), PIECE), 8..22);
        assert_eq!(reader.soon(Time(500 * SECOND), PIECE), 8..72, "but not past what it asked for");
        // Far ahead: not at the speed of a jump.
        reader.moved(5000..5064, Time(12 * SECOND), PIECE);
        assert_eq!(reader.at_once(Time(12 * SECOND), PIECE), 5000..5004);
        // Back to the beginning.
        reader.moved(0..64, Time(13 * SECOND), PIECE);
        assert_eq!(reader.at_once(Time(13 * SECOND), PIECE), 0..4);
    }

    #[test]
    fn a_reader_who_says_how_fast_it_is_is_believed() {
        let mut reader = Reader::new(0..64, Time(0));
        reader.paced(8 << 20);
        assert_eq!(reader.at_once(Time(0), PIECE), 0..18, "what it reads within two seconds");
        assert_eq!(reader.soon(Time(0), PIECE), 0..64, "and within eight");
        // It still has what it reads meanwhile.
        reader.moved(1..65, Time(SECOND), PIECE);
        assert_eq!(reader.at_once(Time(SECOND), PIECE), 1..19);
        reader.paced(0);
        reader.moved(2..66, Time(2 * SECOND), PIECE);
        assert_eq!(reader.at_once(Time(2 * SECOND), PIECE), 2..6, "learned again");
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        let mut reader = Reader::new(0..u32::MAX, Time(0));
        reader.moved(u32::MAX - 1..u32::MAX, Time(1), u32::MAX);
        assert_eq!(reader.soon(Time(u64::MAX), 1), u32::MAX - 1..u32::MAX);
        let reader = Reader::new(5..5, Time(0));
        assert!(reader.soon(Time(1), 0).is_empty());
    }
}
