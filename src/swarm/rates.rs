//! What one direction of a peer's line carries, learned from what was verified to have come through.
//!
//! A transfer notes the line's odometer when it starts ([`Mark`]). When pieces of it are verified, what passed the
//! whole line since then, by this and all other transfers, divided by the time, is a sample of the line's rate: a
//! true one while the line is busy, a lower bound otherwise. Higher samples are believed quickly, lower ones slowly
//! and only if the line had enough to do. As many bytes are kept in flight as cover a fixed time of the rate; while
//! the line answers faster than that, the samples grow with what is in flight, so the rate is found within a few
//! round trips, like a TCP slow start. Not responsible for who gets the bytes.

use std::ops::Range;

use super::types::Time;

/// A sample over less than this is noise, microseconds.
const SHORTEST_SAMPLE: u64 = 50;
/// The rate grows at most by this factor with one sample.
const GROWTH: u64 = 4;
/// And falls by this fraction of the difference.
const FALL: u64 = 8;

/// One direction of one peer's line.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Learned, bytes a second; 0 = nothing yet.
    pub(super) rate: u64,
    /// Promised to pass and not verified yet.
    pub(super) in_flight: u64,
    /// Transfers under way.
    pub(super) transfers: u32,
    /// The odometer.
    passed: u64,
}

/// The odometer of a [`Link`] when a transfer started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    passed: u64,
    at: Time,
}

impl Link {
    /// A transfer of `bytes` starts.
    pub(super) fn begin(&mut self, bytes: u64, at: Time) -> Mark {
        self.in_flight += bytes;
        self.transfers += 1;
        Mark { passed: self.passed, at }
    }

    /// `bytes` of a transfer were verified; `budget` is what [`budget`](Self::budget) said.
    pub(super) fn passed(&mut self, bytes: u64, mark: Mark, now: Time, budget: u64) {
        self.passed += bytes;
        let micros = now.since(mark.at).max(SHORTEST_SAMPLE);
        let sample = (self.passed - mark.passed).saturating_mul(1_000_000) / micros;
        let had_enough_to_do = self.in_flight >= budget / 2;
        if self.rate == 0 {
            self.rate = sample;
        } else if sample > self.rate {
            self.rate += (sample - self.rate).div_ceil(2).min(self.rate * (GROWTH - 1));
        } else if had_enough_to_do {
            self.rate -= (self.rate - sample) / FALL;
        }
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// A transfer has ended, and `lost` bytes of it will not come.
    pub(super) fn end(&mut self, lost: u64) {
        self.in_flight = self.in_flight.saturating_sub(lost);
        self.transfers -= 1;
    }

    /// The rate to reckon with: as learned, `assumed` before that, and no more than its owner wants.
    pub(super) fn rate_or(&self, assumed: u64, limit: Option<u64>) -> u64 {
        let rate = if self.rate == 0 { assumed } else { self.rate };
        rate.min(limit.unwrap_or(u64::MAX)).max(1)
    }

    /// How many bytes to have in flight, so that `cover_us` of time are covered.
    pub(super) fn budget(&self, assumed: u64, limit: Option<u64>, cover_us: u64, bounds: &Range<u64>) -> u64 {
        let bytes = u128::from(self.rate_or(assumed, limit)) * u128::from(cover_us) / 1_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX).min(bounds.end).max(bounds.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Range<u64> = 256 << 10..64 << 20;
    const COVER: u64 = 500_000;

    /// Sends 64 KiB pieces through a line of `rate` with `latency` in front, the budget always filled, until `until`.
    fn drive(link: &mut Link, rate: u64, latency: u64, from: Time, until: Time) {
        let (mut free, mut queue) = (from.0, std::collections::VecDeque::new());
        let mut now = from;
        while now < until {
            let budget = link.budget(1 << 20, None, COVER, &BOUNDS);
            while link.in_flight < budget {
                free = free.max(now.0 + latency) + (65_536 * 1_000_000) / rate;
                queue.push_back((Time(free), link.begin(65_536, now)));
            }
            let (at, mark) = queue.pop_front().unwrap();
            now = at;
            link.passed(65_536, mark, now, budget);
            link.end(0);
        }
        queue.into_iter().for_each(|_| link.end(65_536));
    }

    #[test]
    fn learns_slow_and_fast_lines() {
        for rate in [60_000, 1_250_000, 12_500_000, 120_000_000] {
            let mut link = Link::default();
            drive(&mut link, rate, 20_000, Time(0), Time(30_000_000));
            let error = link.rate as f64 / rate as f64;
            assert!((0.8..1.25).contains(&error), "{rate}: learned {}", link.rate);
        }
    }

    #[test]
    fn follows_a_line_that_gets_slower() {
        let mut link = Link::default();
        drive(&mut link, 12_500_000, 20_000, Time(0), Time(5_000_000));
        drive(&mut link, 1_250_000, 20_000, Time(5_000_000), Time(60_000_000));
        assert!(link.rate < 1_700_000, "{}", link.rate);
    }

    #[test]
    fn loopback_reaches_full_depth_within_a_few_transfers() {
        let mut link = Link::default();
        let mut now = Time(0);
        let mut transfers = 0;
        while link.budget(4 << 20, None, COVER, &BOUNDS) < BOUNDS.end {
            let bytes = 512 << 10;
            let mark = link.begin(bytes, now);
            now = now.plus(500);
            link.passed(bytes, mark, now, bytes);
            transfers += 1;
        }
        assert!(transfers <= 4, "{transfers}");
    }

    #[test]
    fn too_little_to_do_says_nothing_about_the_rate() {
        let mut link = Link { rate: 10_000_000, ..Link::default() };
        let mark = link.begin(65_536, Time(0));
        let budget = link.budget(1, None, COVER, &BOUNDS);
        link.passed(65_536, mark, Time(1_000_000), budget);
        assert_eq!(link.rate, 10_000_000);
    }
}
