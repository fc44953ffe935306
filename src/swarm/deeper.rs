//! Whether more comes through from an origin when twice as much is under way: tried out by turns.
//!
//! What keeps a line busy until the next order is enough where that line is what is full. Where it is as fast as the takers', theirs
//! are full as well: each needs longer for its part, as it receives from others, too, and the origin's line stands idle meanwhile.
//! Nothing that is known tells the two apart. What comes through in a short time differs by as much by itself, so
//! both are tried out by turns, and what came in all turns of each is compared.
//!
//! Not responsible for when that may be tried out (`spread`).

use super::types::Time;

/// A turn takes until so many pieces have come through, and at least so long, microseconds. The first part of it does not count:
/// what comes then was ordered before.
const TURN_PIECES: u64 = 24;
const TURN_US: u64 = 500_000;
const SETTLING: u64 = 3;
/// Turns in one trial, half of them each way.
const TURNS: u32 = 4;
/// More comes through if it is this many percent of what came before.
const GAIN: u64 = 107;
/// So many turns' time a result is believed, at first and at most; twice as long each time that it is the same.
const BELIEVED: u32 = 16;
const MOST_BELIEVED: u32 = 256;

/// Of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deeper {
    /// Turns over, of a trial or of those in which its result is believed.
    turns: u32,
    /// The result, and for how many turns it is believed, if nothing is tried out.
    result: Option<(bool, u32)>,
    /// For how many turns the next result is believed if it is this one again.
    again: (bool, u32),
    /// When the turn began, and when that part of it which counts did: with what had come through by then.
    began: Option<(Time, u64)>,
    counts: Option<(Time, u64)>,
    /// What has come through in the turns that are over, bytes and microseconds: with as much as usual, and with more.
    came: [(u64, u64); 2],
}

impl Deeper {
    pub(super) fn new() -> Self {
        Self {
            turns: 0,
            result: None,
            again: (false, BELIEVED),
            began: None,
            counts: None,
            came: [(0, 0); 2],
        }
    }

    /// Whether more is to be under way.
    pub(super) fn is_on(&self) -> bool {
        self.result.map_or(self.turns % 2 == 1, |(is_on, _)| is_on)
    }

    /// Something else decides how much is under way: what comes through meanwhile says nothing.
    pub(super) fn pause(&mut self) {
        (self.began, self.counts) = (None, None);
    }

    /// To be called while it decides, with all the bytes that have come through, and those of a piece.
    pub(super) fn step(&mut self, given: u64, piece: u64, now: Time) {
        let (began, before) = *self.began.get_or_insert((now, given));
        let has_passed = |part: u64| {
            given.saturating_sub(before) * part >= TURN_PIECES * piece && now.since(began) * part >= TURN_US
        };
        if has_passed(SETTLING) {
            self.counts.get_or_insert((now, given));
        }
        if !has_passed(1) {
            return;
        }
        if let (None, Some((since, before))) = (self.result, self.counts) {
            let came = &mut self.came[usize::from(self.is_on())];
            *came = (came.0 + given.saturating_sub(before), came.1 + now.since(since));
        }
        self.turns += 1;
        self.pause();
        match self.result {
            None if self.turns == TURNS => self.conclude(),
            Some((_, turns)) if self.turns >= turns => (self.result, self.turns) = (None, 0),
            _ => {}
        }
    }

    fn conclude(&mut self) {
        let [usual, more] = self.came.map(|(bytes, us)| bytes.saturating_mul(1_000_000) / us.max(1));
        let is_on = more.saturating_mul(100) >= usual.saturating_mul(GAIN);
        let turns = if is_on == self.again.0 { self.again.1 } else { BELIEVED };
        self.again = (is_on, (2 * turns).min(MOST_BELIEVED));
        (self.result, self.turns, self.came) = (Some((is_on, turns)), 0, [(0, 0); 2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each of so many milliseconds, whether more was under way, where that brings so many pieces a second, and else 100.
    fn play(deeper: &mut Deeper, milliseconds: u64, more: u64) -> Vec<bool> {
        const PIECE: u64 = 1_000_000;
        let mut given = 0;
        let from = deeper.began.map_or(0, |(at, _)| at.0);
        let each = (1..=milliseconds).map(|ms| {
            // In lumps, as pieces come.
            given += if deeper.is_on() { more } else { 100 } * PIECE / 1000;
            deeper.step(given / PIECE * PIECE, PIECE, Time(from + ms * 1000));
            deeper.is_on()
        });
        each.collect()
    }

    fn share(times: &[bool]) -> usize {
        100 * times.iter().filter(|&&is_on| is_on).count() / times.len()
    }

    #[test]
    fn more_is_under_way_where_more_comes_through_then() {
        for (more, least, most) in [(120, 90, 100), (112, 90, 100), (103, 0, 15), (100, 0, 15), (90, 0, 15)] {
            let times = play(&mut Deeper::new(), 60_000, more);
            let share = share(&times[2500..]);
            assert!((least..=most).contains(&share), "{more}: {share}");
        }
    }

    #[test]
    fn what_was_found_is_tried_out_again() {
        let mut deeper = Deeper::new();
        assert!(share(&play(&mut deeper, 30_000, 100)) < 15);
        deeper.pause();
        let times = play(&mut deeper, 120_000, 130);
        assert!(share(&times[80_000..]) > 90);
    }

    #[test]
    fn nothing_is_found_out_while_hardly_anything_comes() {
        let mut deeper = Deeper::new();
        for second in 0..600 {
            deeper.step(second / 60, 100, Time(second * 1_000_000));
        }
        assert!(!deeper.is_on());
        assert_eq!(deeper.turns, 0);
    }
}
