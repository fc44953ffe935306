//! Whether an origin serves many at once, or one after the other, and how much is to be under way from it.
//!
//! Once all of a file has been sent, it does most good to send to one peer after the other what is still missing there (see
//! `schedule`). But an origin may be faster than that one can receive, and nothing of what is known of the two lines tells: what
//! came through is the least of both. Where many get more than any of them could receive, it is clear; else it is tried out now
//! and then: if more comes through when many are served, they are, for a while.
//!
//! At first many are served, and when more comes through than any of them receives, it is tried out whether still more does when
//! more is under way.
//!
//! Where that is so, more is to be under way than keeps a line busy until the next order: each of many takers needs longer for its
//! part, as it receives from others, too. What is under way in vain, because the line is full, does little harm then.
//!
//! While it sends what nobody has yet, it is tried out whether twice as much under way brings more even where one after the other is
//! served (`deeper`), but not with the first and the last pieces of a file: each comes later for it, which costs time
//! when nobody has much to pass on, and when all wait for the last ones.
//!
//! Not responsible for who they are.

use super::deeper::Deeper;
use super::types::Time;

/// How long something is tried out, microseconds; what comes through in the second half of it counts.
const TRIAL_US: u64 = 600_000;
/// And at least so many pieces are to come through meanwhile.
const TRIAL_PIECES: u64 = 16;
/// The time until the next trial: at first, and at most; four times as long after each that finds nothing.
const FEW_US: u64 = 1_000_000;
const MOST_FEW_US: u64 = 16_000_000;
/// Many are served at first for so long, from the time on when there is somebody.
const FIRST_US: u64 = 1_500_000;
/// Meanwhile it is tried out now and then, for so long, whether more comes through when more is under way.
const MORE_US: u64 = 400_000;
/// For how long what a trial has found is believed: at first, and at most, as it doubles while that is confirmed.
const MANY_US: u64 = 4_000_000;
const MOST_MANY_US: u64 = 32_000_000;
/// How many times as much is under way where it is right to serve many, while that is tried out, and while something is sent that
/// nobody has yet: that goes from peer to peer while the next is on its way, and is not to come late.
const DEEP: u64 = 8;
const DEEP_TRIAL: u64 = 4;
const DEEP_NEW: u64 = 2;
/// The first and the last pieces of a file are this part of it each.
const END: u64 = 8;
/// More comes through if it is this many quarters of what came through before.
const GAIN: u64 = 5;
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
    /// What the fastest of those who were to be served lately receives, bytes a second.
    fastest: u64,
    /// What was to be sent that nobody has yet.
    news: News,
    /// Whether twice as much is to be under way in the middle of a file, where it is not known that many are to be served.
    deeper: Deeper,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// One after the other.
    Few,
    /// Many, to see whether that is more than this, bytes a second.
    Trial(u64),
    /// Many, when nothing is known yet, until then at most.
    First(Time),
    /// The same with more under way, to see whether more comes through than this, bytes a second.
    More(u64, Time),
    Many,
}

/// What is to be sent of a file that nobody has yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// Its first or its last pieces.
    Ends,
    Middle,
}

impl News {
    /// So many of a file's pieces.
    pub(super) fn of(unseen: u32, pieces: u32) -> Self {
        let (unseen, pieces) = (END * u64::from(unseen), u64::from(pieces));
        match unseen {
            0 => Self::None,
            _ if (pieces..=(END - 1) * pieces).contains(&unseen) => Self::Middle,
            _ => Self::Ends,
        }
    }
}

impl Spread {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::First(Time(0)),
            until: Time(0),
            mark: None,
            few_us: FEW_US,
            many_us: MANY_US,
            fastest: 0,
            news: News::None,
            deeper: Deeper::new(),
        }
    }

    /// Whether many are to be served.
    pub(super) fn is_on(&self) -> bool {
        self.phase != Phase::Few
    }

    /// How many times as much as keeps the line busy until the next order is to be under way.
    pub(super) fn depth(&self) -> u64 {
        let of_few = if self.news == News::Middle && self.deeper.is_on() { DEEP_NEW } else { 1 };
        let has_new = self.news != News::None;
        match self.phase {
            Phase::First(_) => 1,
            Phase::Few => of_few,
            Phase::More(..) => DEEP_TRIAL,
            // From less than one of them receives, it is hardly the takers who keep it.
            Phase::Trial(few) if has_new && few <= self.fastest => of_few,
            Phase::Trial(_) | Phase::Many if has_new => DEEP_NEW,
            Phase::Trial(_) => DEEP_TRIAL,
            Phase::Many => DEEP,
        }
    }

    /// What the fastest of those who are to be served receives, bytes a second, as far as was learned.
    pub(super) fn fastest(&self) -> u64 {
        self.fastest
    }

    /// Those who are to be served receive so much, bytes a second, as far as was learned; and what is new to them.
    pub(super) fn meets(&mut self, rates: impl Iterator<Item = u64>, news: News) {
        (self.fastest, self.news) = (rates.max().unwrap_or_default(), news);
    }

    /// To be called while there is somebody to be served, with all the bytes that have come through, and those of a piece.
    pub(super) fn step(&mut self, given: u64, piece: u64, now: Time) {
        if given == 0 {
            (self.phase, self.until) = (Phase::First(now.plus(FIRST_US)), now.plus(MORE_US));
        }
        match (self.news, self.phase) {
            (News::Middle, Phase::Few) => self.deeper.step(given, piece, now),
            _ => self.deeper.pause(),
        }
        let counts = match self.phase {
            Phase::First(_) | Phase::More(..) => MORE_US / 2,
            _ => TRIAL_US / 2,
        };
        if now.plus(counts) < self.until {
            return;
        }
        let &mut (since, before) = self.mark.get_or_insert((now, given));
        let bytes = given.saturating_sub(before);
        if now < self.until || bytes < TRIAL_PIECES * piece {
            return;
        }
        let rate = bytes.saturating_mul(1_000_000) / now.since(since).max(1);
        let is_too_much = rate.saturating_mul(2) > self.fastest.saturating_mul(TOO_MUCH);
        let (phase, time) = match self.phase {
            Phase::First(end) if now.plus(MORE_US) < end && is_too_much => (Phase::More(rate, end), MORE_US),
            Phase::First(end) if now < end => (Phase::First(end), MORE_US),
            Phase::More(before, _) if rate.saturating_mul(4) >= before.saturating_mul(GAIN) => {
                (Phase::Many, TRIAL_US)
            }
            Phase::More(_, end) => (Phase::First(end), MORE_US),
            Phase::Few => (Phase::Trial(rate), TRIAL_US),
            Phase::Trial(few) if rate.saturating_mul(4) >= few.saturating_mul(GAIN) => {
                let time = self.many_us;
                (self.few_us, self.many_us) = (FEW_US, (time * 2).min(MOST_MANY_US));
                (Phase::Many, time)
            }
            Phase::Trial(_) => {
                let time = self.few_us;
                (self.few_us, self.many_us) = ((time * 4).min(MOST_FEW_US), MANY_US);
                (Phase::Few, time)
            }
            Phase::First(_) | Phase::Many if is_too_much => (Phase::Many, TRIAL_US),
            // What few carry may be something else by now.
            Phase::First(_) | Phase::Many => (Phase::Few, TRIAL_US),
        };
        (self.phase, self.until, self.mark) = (phase, now.plus(time), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of two minutes many are served, when that brings so much and few bring 100, in percent.
    fn share_of_many(many: u64) -> u64 {
        let (mut spread, mut given) = (Spread::new(), 0);
        let times = (0..120_000_u64).map(|ms| {
            given += if spread.is_on() { many } else { 100 };
            spread.meets([50_000, 1_000_000].into_iter(), News::None);
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

    #[test]
    fn where_many_are_right_more_is_under_way() {
        let (mut spread, mut given) = (Spread::new(), 0);
        assert_eq!(spread.depth(), 1, "nothing is known");
        let mut depth_after = |many: u64, news: News, seconds: u64| {
            let from = spread.until.0 / 1000;
            for ms in from..from + seconds * 1000 {
                given += if spread.is_on() { many } else { 100 };
                spread.meets([90_000].into_iter(), news);
                spread.step(given, 100, Time(ms * 1000));
            }
            spread.depth()
        };
        assert_eq!(depth_after(1000, News::None, 10), DEEP);
        assert_eq!(depth_after(1000, News::Ends, 10), DEEP_NEW);
        assert_eq!(depth_after(100, News::None, 60), 1, "one line could not take more");
    }

    /// How much of the second of two minutes more is under way, when that brings so many percent of what came before, and serving
    /// many brings nothing.
    fn share_of_deep(more: u64, news: News) -> u64 {
        let (mut spread, mut given) = (Spread::new(), 0);
        let times = (0..120_000_u64).map(|ms| {
            spread.meets([150_000].into_iter(), news);
            spread.step(given, 100, Time(ms * 1000));
            given += if spread.depth() > 1 { more } else { 100 };
            u64::from(ms >= 60_000 && spread.depth() > 1)
        });
        times.sum::<u64>() / 600
    }

    #[test]
    fn in_the_middle_of_a_file_it_is_found_out_whether_more_under_way_brings_more() {
        assert!(share_of_deep(115, News::Middle) > 90, "{}", share_of_deep(115, News::Middle));
        assert!(share_of_deep(100, News::Middle) < 20, "{}", share_of_deep(100, News::Middle));
        assert_eq!(share_of_deep(115, News::Ends), 0, "somebody waits for it");
    }

    #[test]
    fn the_first_and_the_last_pieces_are_the_ends_of_a_file() {
        let news = [0, 1, 99, 100, 400, 700, 701, 800].map(|unseen| News::of(unseen, 800));
        use News::{Ends, Middle};
        assert_eq!(news, [News::None, Ends, Ends, Middle, Middle, Middle, Ends, Ends]);
        assert_eq!(News::of(1, 1), Ends);
    }

    /// For each millisecond of the first so many: how much is under way when more of it brings so many percent of what came before.
    fn depths_at_first(milliseconds: u64, more: u64) -> Vec<u64> {
        let (mut spread, mut given) = (Spread::new(), 0);
        let depths = (0..milliseconds).map(|ms| {
            spread.meets([30_000, 10_000].into_iter(), News::Ends);
            spread.step(given, 100, Time(ms * 1000));
            given += if spread.depth() > 1 { more } else { 100 };
            spread.depth()
        });
        depths.collect()
    }

    #[test]
    fn what_holds_takers_up_at_first_is_found_out_soon() {
        let depths = depths_at_first(1000, 200);
        assert!(depths[..300].iter().all(|&depth| depth == 1), "nothing is known yet");
        assert!(depths[800..].iter().all(|&depth| depth > 1), "{depths:?}");
    }

    #[test]
    fn more_is_not_under_way_for_long_where_that_brings_nothing() {
        let depths = depths_at_first(FIRST_US / 1000, 100);
        let deep = depths.iter().filter(|&&depth| depth > 1).count() as u64;
        assert_eq!(deep, MORE_US / 1000, "one trial");
        assert_eq!(depths.last(), Some(&1));
    }

    #[test]
    fn where_it_is_clear_nothing_is_tried_out() {
        let mut spread = Spread::new();
        for ms in 0..60_000 {
            spread.meets([50_000, 20_000].into_iter(), News::None);
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
