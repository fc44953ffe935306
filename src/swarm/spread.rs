//! Whether an origin serves many at once, or one after the other, and how much is to be under way from it.
//!
//! Once all of a file has been sent, it does most good to send to one peer after the other what is still missing there (see
//! `schedule`). But an origin may be faster than that one can receive, and nothing of what is known of the two lines tells: what
//! came through is the least of both. Where many get more than any of them could receive, it is clear; else it is tried out now
//! and then: if more comes through when many are served, they are, for a while.
//!
//! The same goes for how much is under way. What keeps a line busy until the next order is not enough where each of many takers
//! needs longer for its part, as it receives from others, too. So where many are served, it is tried out whether more comes through
//! when twice as much is under way, and whether half of that does as well.
//!
//! Not responsible for who they are.

use super::types::Time;

/// How long something is tried out, microseconds; what comes through in the second half of it counts.
const TRIAL_US: u64 = 600_000;
/// And at least so many pieces are to come through meanwhile.
const TRIAL_PIECES: u64 = 16;
/// The time until the next trial: at first, and at most, as it doubles while trials find nothing.
const FEW_US: u64 = 1_000_000;
const MOST_FEW_US: u64 = 16_000_000;
/// Many are served at first for so long, from the time on when there is somebody.
const FIRST_US: u64 = 1_500_000;
/// For how long what a trial has found is believed: at first, and at most, as it doubles while that is confirmed.
const MANY_US: u64 = 4_000_000;
const MOST_MANY_US: u64 = 32_000_000;
/// How often what is under way may be doubled, and is when many are tried out.
const DEEPEST: u32 = 3;
const TRIAL_DEPTH: u32 = 2;
/// The time between trials of that: at first, and at most, as it doubles while they change nothing.
const STEADY_US: u64 = 2_000_000;
const MOST_STEADY_US: u64 = 32_000_000;
/// More comes through if it is this many quarters of what came through before.
const GAIN: u64 = 5;
/// And a little more if it is this many eighths.
const LITTLE_GAIN: u64 = 9;
/// One cannot receive this many halves of what is learned of its line, which is never learned downwards.
const TOO_MUCH: u64 = 3;

/// Of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    phase: Phase,
    until: Time,
    /// When the part that counts began, and what had come through by then.
    mark: Option<(Time, u64)>,
    few_us: u64,
    many_us: u64,
    /// Until when it is believed that many are to be served.
    many_until: Time,
    /// What the fastest of those who were to be served lately receives, bytes a second.
    fastest: u64,
    /// Whether something was to be sent that nobody has yet.
    has_new: bool,
    /// How often what is under way is doubled.
    depth: u32,
    /// When it is to be tried out whether that is right, the time until the next trial if it is, and whether that is to be
    /// of less.
    steady_until: Time,
    steady_us: u64,
    is_less_next: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// One after the other.
    Few,
    /// Many, and much under way, to see whether that is more than this, bytes a second.
    Trial(u64),
    Many,
    /// Many, with twice as much under way, to see the same.
    Deeper(u64),
    /// Many, with half as much under way, to see whether it is no less.
    Shallower(u64),
}

impl Spread {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Many,
            until: Time(0),
            mark: None,
            few_us: FEW_US,
            many_us: MANY_US,
            many_until: Time(0),
            fastest: 0,
            has_new: false,
            depth: 0,
            steady_until: Time(0),
            steady_us: STEADY_US,
            is_less_next: false,
        }
    }

    /// Whether many are to be served.
    pub(super) fn is_on(&self) -> bool {
        self.phase != Phase::Few
    }

    /// How many times as much as keeps the line busy until the next order is to be under way.
    pub(super) fn depth(&self) -> u64 {
        1 << match self.phase {
            Phase::Few => 0,
            Phase::Trial(few) => self.trial_depth(few),
            Phase::Many => self.depth,
            Phase::Deeper(_) => self.depth + 1,
            Phase::Shallower(_) => self.depth.saturating_sub(1),
        }
    }

    /// How often what is under way is doubled when many are tried out, where `few` got so much. What is new goes from peer to peer
    /// while the next is on its way, and is not to come late from a slow origin.
    fn trial_depth(&self, few: u64) -> u32 {
        if self.has_new { u32::from(few > self.fastest) } else { TRIAL_DEPTH }
    }

    /// Those who are to be served receive so much, bytes a second, as far as was learned; and whether some of it is new.
    pub(super) fn meets(&mut self, rates: impl Iterator<Item = u64>, has_new: bool) {
        (self.fastest, self.has_new) = (rates.max().unwrap_or_default(), has_new);
    }

    /// To be called while there is somebody to be served, with all the bytes that have come through, and those of a piece.
    pub(super) fn step(&mut self, given: u64, piece: u64, now: Time) {
        if given == 0 {
            self.until = now.plus(FIRST_US);
        }
        if now.plus(TRIAL_US / 2) < self.until {
            return;
        }
        let &mut (since, before) = self.mark.get_or_insert((now, given));
        let bytes = given.saturating_sub(before);
        if now < self.until || bytes < TRIAL_PIECES * piece {
            return;
        }
        let rate = bytes.saturating_mul(1_000_000) / now.since(since).max(1);
        let is_more = |than: u64| rate.saturating_mul(4) >= than.saturating_mul(GAIN);
        let is_clear = rate.saturating_mul(2) > self.fastest.saturating_mul(TOO_MUCH);
        let (phase, time) = match self.phase {
            Phase::Few => (Phase::Trial(rate), TRIAL_US),
            Phase::Trial(few) if is_more(few) => {
                self.many_until = now.plus(self.many_us);
                (self.few_us, self.many_us) = (FEW_US, (self.many_us * 2).min(MOST_MANY_US));
                self.depth = self.trial_depth(few);
                self.is_steady(false, now);
                (Phase::Many, TRIAL_US)
            }
            Phase::Trial(_) => {
                let time = self.few_us;
                (self.few_us, self.many_us) = ((time * 4).min(MOST_FEW_US), MANY_US);
                (Phase::Few, time)
            }
            Phase::Many if now < self.many_until || is_clear => (self.try_depth(rate, now), TRIAL_US),
            // What few carry may be something else by now.
            Phase::Many => {
                self.depth = 0;
                (Phase::Few, TRIAL_US)
            }
            Phase::Deeper(shallow) if is_a_little_more(shallow, rate) => {
                self.depth += 1;
                self.is_steady(self.depth == DEEPEST, now);
                (Phase::Many, TRIAL_US)
            }
            Phase::Deeper(_) => {
                self.is_steady(true, now);
                self.is_less_next = self.depth > 0;
                (Phase::Many, TRIAL_US)
            }
            Phase::Shallower(deep) => {
                let is_less = is_a_little_more(rate, deep);
                if !is_less {
                    self.depth = self.depth.saturating_sub(1);
                }
                self.is_steady(is_less, now);
                self.is_less_next = false;
                (Phase::Many, TRIAL_US)
            }
        };
        (self.phase, self.until, self.mark) = (phase, now.plus(time), None);
    }

    /// Where many are served and that is right, what to do next.
    fn try_depth(&self, rate: u64, now: Time) -> Phase {
        match now < self.steady_until {
            true => Phase::Many,
            false if self.is_less_next || self.depth == DEEPEST => Phase::Shallower(rate),
            false => Phase::Deeper(rate),
        }
    }

    /// A trial of the depth has changed nothing, or something.
    fn is_steady(&mut self, is_steady: bool, now: Time) {
        let time = if is_steady { self.steady_us } else { 0 };
        self.steady_until = now.plus(time);
        self.steady_us = if is_steady { (time * 2).min(MOST_STEADY_US) } else { STEADY_US };
    }
}

/// Whether what comes through is enough more to have more under way for it.
fn is_a_little_more(before: u64, now: u64) -> bool {
    now.saturating_mul(8) >= before.saturating_mul(LITTLE_GAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of two minutes many are served, when that brings so much and few bring 100, in percent.
    fn share_of_many(many: u64) -> u64 {
        let (mut spread, mut given) = (Spread::new(), 0);
        let times = (0..120_000_u64).map(|ms| {
            given += if spread.is_on() { many } else { 100 };
            spread.meets([50_000, 1_000_000].into_iter(), false);
            spread.step(given, 100, Time(ms * 1000));
            u64::from(spread.is_on())
        });
        times.sum::<u64>() / 1200
    }

    #[test]
    fn many_are_served_where_that_brings_more() {
        assert!(share_of_many(130) > 90);
        assert!(share_of_many(1000) > 90);
        for vain in [80, 100, 120] {
            assert!(share_of_many(vain) < 10, "{}", share_of_many(vain));
        }
    }

    /// What is under way, on average over two minutes, when that many times as much brings so many times as much.
    fn mean_depth(gain: impl Fn(u64) -> u64) -> f64 {
        let (mut spread, mut given) = (Spread::new(), 0);
        let depths = (0..120_000_u64).map(|ms| {
            given += 100 * gain(spread.depth());
            spread.meets([50_000].into_iter(), false);
            spread.step(given, 100, Time(ms * 1000));
            spread.depth()
        });
        depths.sum::<u64>() as f64 / 120_000.0
    }

    #[test]
    fn as_much_is_under_way_as_brings_more() {
        for (useful, around) in [(1, 1.0..1.3), (2, 1.8..2.5), (4, 3.5..4.7), (8, 6.5..8.0)] {
            let depth = mean_depth(|depth| depth.min(useful));
            assert!(around.contains(&depth), "{useful}: {depth}");
        }
    }

    /// Others have come, or the line has: what was right once is not for ever.
    #[test]
    fn what_is_under_way_in_vain_becomes_less_again() {
        let (mut spread, mut given) = (Spread::new(), 0);
        for ms in 0..240_000_u64 {
            let useful = if ms < 60_000 { 8 } else { 1 };
            given += 100 * spread.depth().min(useful);
            spread.meets([50_000].into_iter(), false);
            spread.step(given, 100, Time(ms * 1000));
            assert!(ms != 59_999 || spread.depth() >= 4);
        }
        assert!(spread.depth() <= 2, "{spread:?}");
    }

    #[test]
    fn where_it_is_clear_nothing_is_tried_out() {
        let mut spread = Spread::new();
        for ms in 0..60_000 {
            spread.meets([50_000, 20_000].into_iter(), false);
            spread.step(ms * 100, 100, Time(ms * 1000));
            assert!(spread.is_on());
        }
    }

    #[test]
    fn what_comes_too_slowly_to_tell_changes_nothing() {
        let mut spread = Spread::new();
        for second in 0..60 {
            spread.step(0, 100, Time(second * 1_000_000));
        }
        assert!(spread.is_on());
    }
}
