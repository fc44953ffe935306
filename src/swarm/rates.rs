//! What one direction of a peer's line carries, learned from what was verified to have come through.
//!
//! A transfer notes the line's odometer when it starts ([`Mark`]). When pieces of it are verified, what passed the
//! whole line since then, by this and all other transfers, divided by the time, is a sample of the line's rate: a
//! true one while the line is busy, a lower bound otherwise. Higher samples are believed quickly, lower ones slowly
//! and only if the line had enough to do.
//!
//! Between the decision to send something and the news that it came, messages travel: the order to the side that dials,
//! its request, and the news. Both sides measure how long the bytes took, so the rest is known ([`Link::lag`]). While
//! that passes, the line needs something else to send; so as much is kept in flight as the line carries in the
//! [`cover`](Link::cover), which is longer, and one piece more. As the samples grow with what is in flight, the rate is
//! found within a few round trips, like a TCP slow start.
//!
//! Not responsible for who gets the bytes.

use super::types::{Config, Time};

/// A sample over less than this is noise, microseconds.
const SHORTEST_SAMPLE: u64 = 50;
/// The rate grows at most by this factor with one sample.
const GROWTH: u64 = 4;
/// And falls by this fraction of the difference.
const FALL: u64 = 8;

/// A [`Mark`] is ahead of the odometer by no more than this, bytes.
const MOST_UNHEARD: u32 = 64 * 1024 * 1024;

/// The lag is taken for no longer than this, microseconds: what a stranger says must not make us send without end.
const LONGEST_LAG: u64 = 500_000;
/// How late transfers are is taken for no more than this, milliseconds.
const LATEST: u64 = 60_000;
/// Lags in the cover: the order and the news are one (each half a round trip, or a whole one between the two), a
/// request is up to one more, and dialling another.
pub(super) const LAGS: u64 = 3;

/// One direction of one peer's line. Hundreds of thousands are kept, and looked at in no order: no field is wider than it
/// must be.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Link {
    /// Promised to pass and not verified yet.
    pub(super) in_flight: u64,
    /// When the line should have sent all that it was told to, were it a little faster than was learned.
    dry_at: Time,
    /// Learned, bytes a second; 0 = nothing yet.
    learned: f32,
    /// Bytes of a piece, as of the latest transfer.
    pub(super) unit: u32,
    /// Learned: from a decision to the news of its end, less the time that the bytes took, microseconds; 0 = nothing
    /// yet.
    lag: u32,
    /// The odometer, which begins anew every 4 GiB: only differences are asked for, of one transfer's time.
    passed: u32,
    /// Learned: how much later than expected transfers end, milliseconds, and by how much that differs; see
    /// [`latest`](Self::latest). The deviation is 0 until something was learned.
    late: u16,
    late_deviation: u16,
    /// Transfers under way.
    pub(super) transfers: u16,
    /// Whether the latest samples were well above what was learned before: then it is still to be found out what the
    /// line carries.
    grows: bool,
}

/// The most that somebody wants a line to carry, bytes a second. What is more than four thousand million is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(u32);

impl Limit {
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    fn bytes(self) -> u64 {
        if self.is_none() { u64::MAX } else { u64::from(self.0) }
    }
}

impl From<Option<u64>> for Limit {
    fn from(limit: Option<u64>) -> Self {
        limit.and_then(|limit| u32::try_from(limit).ok()).map_or(Self::NONE, Self)
    }
}

/// The odometer of a [`Link`] when a transfer started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u32);

impl Mark {
    /// The same, when so many more bytes have passed than is known.
    pub(super) fn beyond(self, unheard: u64) -> Self {
        Self(self.0.wrapping_add(unheard.min(MOST_UNHEARD.into()) as u32))
    }
}

/// Orders come this much earlier than a line would run dry by what was learned, microseconds.
const LEAD_MARGIN_US: u64 = 10_000;

impl Link {
    /// What the line carries, bytes a second, as far as was learned; 0 = nothing yet.
    pub(super) fn rate(&self) -> u64 {
        self.learned as u64
    }

    /// A transfer of `bytes` in pieces of `unit` starts. Of a line of which nothing is known it is taken to need `assumed_us`.
    pub(super) fn begin(&mut self, bytes: u64, unit: u32, at: Time, assumed_us: u64) -> Mark {
        self.in_flight += bytes;
        self.unit = unit;
        let time = if self.rate() == 0 { assumed_us } else { self.pace_of(bytes) };
        self.dry_at = self.dry_at.max(at).plus(time);
        self.transfers += 1;
        Mark(self.passed)
    }

    /// The odometer now.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.passed)
    }

    /// What has probably passed and is not known to have, when the latest news is so old, microseconds. Where news is rare, it
    /// would count for what begins now, and make the line look faster than it is.
    pub(super) fn unheard(&self, age_us: u64) -> u64 {
        (self.rate().saturating_mul(age_us) / 1_000_000).min(self.in_flight)
    }

    /// `bytes` of a transfer that started at `since` were verified; `budget` is what [`budget`](Self::budget) said.
    pub(super) fn passed(&mut self, bytes: u64, mark: Mark, since: Time, now: Time, budget: u64) {
        self.passed = self.passed.wrapping_add(bytes as u32);
        let micros = now.since(since).max(SHORTEST_SAMPLE);
        let since_mark = match self.passed.wrapping_sub(mark.0) {
            // It has not come that far yet.
            less if less > u32::MAX - MOST_UNHEARD => 0,
            bytes => bytes,
        };
        let sample = u64::from(since_mark).saturating_mul(1_000_000) / micros;
        let had_enough_to_do = self.in_flight >= budget / 2;
        let rate = self.rate();
        if rate == 0 || sample > rate / 4 * 5 {
            self.grows = true;
        } else if had_enough_to_do {
            self.grows = false;
        }
        let rate = match () {
            () if rate == 0 => sample,
            () if sample > rate => rate + (sample - rate).div_ceil(2).min(rate * (GROWTH - 1)),
            () if had_enough_to_do => rate - (rate - sample) / FALL,
            () => rate,
        };
        self.learned = rate as f32;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.dry_at = self.dry_at.min(now.plus(self.pace_of(self.in_flight)));
    }

    /// In how much time the line is told to send so many bytes, microseconds: in a little less than it should need, or
    /// it would never be seen to be faster than was learned. 0 while nothing is known of it.
    fn pace_of(&self, bytes: u64) -> u64 {
        let (faster, than) = self.pace();
        let time = bytes.saturating_mul(1_000_000 * than).checked_div(self.rate().saturating_mul(faster));
        time.unwrap_or(0)
    }

    fn pace(&self) -> (u64, u64) {
        if self.grows { (2, 1) } else { (5, 4) }
    }

    /// When the line is to be told something more: `lead_us`, the time from the decision to the first byte, before it
    /// runs dry. Transfers share a line, so those that begin together end together, and the line would stand idle
    /// until the news of that has led to others. Told one after the other at the line's own pace, they do not.
    pub(super) fn feed_at(&self, lead_us: u64) -> Time {
        // While nothing is known of the line, its lag is not known either.
        let lead_us = if self.rate() == 0 { 0 } else { lead_us };
        Time(self.dry_at.0.saturating_sub(lead_us))
    }

    /// Whether nothing is known of the line yet, and so much time has passed since it was taken to be free again that it would
    /// have sent a piece at the `assumed` rate.
    pub(super) fn seems_free(&self, assumed: u64, now: Time) -> bool {
        self.seems_free_at(assumed).is_some_and(|at| at <= now)
    }

    /// From when on that is so, if nothing is heard before.
    pub(super) fn seems_free_at(&self, assumed: u64) -> Option<Time> {
        let time = u64::from(self.unit).saturating_mul(1_000_000) / assumed.max(1);
        (self.rate() == 0).then(|| self.dry_at.plus(time))
    }

    /// What is still to come of a transfer is no longer counted on, or is again.
    pub(super) fn set_aside(&mut self, bytes: u64, is_aside: bool, now: Time) {
        match is_aside {
            true => self.in_flight = self.in_flight.saturating_sub(bytes),
            false => self.in_flight += bytes,
        }
        self.dry_at = self.dry_at.min(now.plus(self.pace_of(self.in_flight)));
    }

    /// A transfer has ended, and `lost` bytes of it will not come.
    pub(super) fn end(&mut self, lost: u64) {
        self.in_flight = self.in_flight.saturating_sub(lost);
        self.transfers -= 1;
        if self.in_flight == 0 {
            self.dry_at = Time::default();
        }
    }

    /// The rate to reckon with: as learned, `assumed` before that, and no more than its owner wants.
    pub(super) fn rate_or(&self, assumed: u64, limit: Limit) -> u64 {
        let rate = if self.learned == 0.0 { assumed } else { self.rate() };
        rate.min(limit.bytes()).max(1)
    }

    /// A transfer took `total_us` from the decision to the news, of which the bytes took `bytes_us`.
    pub(super) fn learn_lag(&mut self, total_us: u64, bytes_us: u64) {
        let sample = total_us.saturating_sub(bytes_us).clamp(1, LONGEST_LAG) as u32;
        self.lag = if self.lag == 0 { sample } else { self.lag - self.lag / 8 + sample / 8 };
    }

    /// A transfer ended `late_us` later than expected. Mean and mean deviation, as Jacobson has it ("Congestion avoidance
    /// and control", 1988).
    pub(super) fn learn_late(&mut self, late_us: u64) {
        let sample = (late_us / 1000).min(LATEST) as u16;
        if self.late_deviation == 0 {
            (self.late, self.late_deviation) = (sample, (sample / 2).max(1));
        } else {
            let error = sample.abs_diff(self.late);
            self.late = self.late - self.late / 8 + sample / 8;
            self.late_deviation = (self.late_deviation - self.late_deviation / 4 + error / 4).max(1);
        }
    }

    /// Later than this after it was expected, the end of a transfer hardly ever comes, microseconds; `None` while nothing
    /// is known.
    pub(super) fn latest(&self) -> Option<u64> {
        (self.late_deviation > 0).then(|| 1000 * (u64::from(self.late) + 4 * u64::from(self.late_deviation)))
    }

    /// How long messages take, microseconds; 0 = nothing is known.
    pub(super) fn lag_us(&self) -> u64 {
        self.lag.into()
    }

    /// The time from a decision to the first byte, microseconds.
    pub(super) fn lead(&self, config: &Config) -> u64 {
        let lag = if self.lag == 0 { config.initial_lag_us } else { u64::from(self.lag) };
        2 * lag + LEAD_MARGIN_US
    }

    /// The time that must be covered by what is in flight, microseconds.
    pub(super) fn cover(&self, config: &Config) -> u64 {
        let lag = if self.lag == 0 { config.initial_lag_us } else { u64::from(self.lag) };
        LAGS * lag + config.margin_us
    }

    /// How many bytes to have in flight, so that `cover_us` of time are covered.
    pub(super) fn budget(&self, assumed: u64, limit: Limit, cover_us: u64, config: &Config) -> u64 {
        // Asked of every candidate. What overflows here is far above the limit.
        let bytes =
            self.rate_or(assumed, limit).saturating_mul(cover_us) / 1_000_000 + 2 * u64::from(self.unit);
        bytes.min(config.in_flight.end).max(config.in_flight.start)
    }

    /// How long what is in flight will take, microseconds; `None` while nothing is known of the line.
    pub(super) fn queue_us(&self, limit: Limit) -> Option<u64> {
        let rate = (self.learned > 0.0).then(|| self.rate_or(1, limit))?;
        Some(self.in_flight.saturating_mul(1_000_000) / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends 64 KiB pieces through a line of `rate` with `latency` in front, the budget always filled, until `until`.
    fn drive(link: &mut Link, rate: u64, latency: u64, from: Time, until: Time) {
        let (mut free, mut queue) = (from.0, std::collections::VecDeque::new());
        let mut now = from;
        while now < until {
            let config = Config::default();
            let budget = link.budget(1 << 20, Limit::NONE, link.cover(&config), &config);
            while link.in_flight < budget {
                free = free.max(now.0 + latency) + (65_536 * 1_000_000) / rate;
                queue.push_back((Time(free), link.begin(65_536, 65_536, now, 0), now));
            }
            let (at, mark, since) = queue.pop_front().unwrap();
            now = at;
            link.passed(65_536, mark, since, now, budget);
            link.end(0);
        }
        queue.into_iter().for_each(|_| link.end(65_536));
    }

    #[test]
    fn learns_slow_and_fast_lines() {
        for rate in [60_000, 1_250_000, 12_500_000, 120_000_000] {
            let mut link = Link::default();
            drive(&mut link, rate, 20_000, Time(0), Time(30_000_000));
            let error = link.rate() as f64 / rate as f64;
            assert!((0.8..1.25).contains(&error), "{rate}: learned {}", link.rate());
        }
    }

    /// A megabyte a second, of which is told every quarter of a second: runs of a second that overlap by a tenth.
    #[test]
    fn news_in_lumps_does_not_make_a_line_look_faster() {
        let (mut link, second) = (Link { learned: 1e6, ..Link::default() }, 1_000_000);
        let ms = |ms: u64| Time(ms * 1000);
        let mut mark = link.begin(second, 65_536, ms(0), 0);
        for run in 0..20_u64 {
            let (from, begun) = (run * 1000, (run * 1000).saturating_sub(100));
            (1..4).for_each(|lump| link.passed(second / 4, mark, ms(begun), ms(from + 250 * lump), second));
            let unheard = link.unheard(150_000);
            let next = link.begin(second, 65_536, ms(from + 900), 0).beyond(unheard);
            link.passed(second / 4, mark, ms(begun), ms(from + 1000), second);
            link.end(0);
            mark = next;
            assert!((700_000..=1_150_000).contains(&link.rate()), "run {run}: {}", link.rate());
        }
    }

    #[test]
    fn follows_a_line_that_gets_slower() {
        let mut link = Link::default();
        drive(&mut link, 12_500_000, 20_000, Time(0), Time(5_000_000));
        drive(&mut link, 1_250_000, 20_000, Time(5_000_000), Time(60_000_000));
        assert!(link.rate() < 1_700_000, "{}", link.rate());
    }

    #[test]
    fn loopback_reaches_full_depth_within_a_few_transfers() {
        let mut link = Link::default();
        let mut now = Time(0);
        let mut transfers = 0;
        let config = Config::default();
        while link.budget(4 << 20, Limit::NONE, config.alone_us, &config) < config.in_flight.end {
            let bytes = 512 << 10;
            let mark = link.begin(bytes, 65_536, now, 0);
            let since = now;
            now = now.plus(500);
            link.passed(bytes, mark, since, now, bytes);
            transfers += 1;
        }
        assert!(transfers <= 4, "{transfers}");
    }

    #[test]
    fn who_is_always_punctual_is_missed_sooner_than_who_is_not() {
        let (mut punctual, mut erratic) = (Link::default(), Link::default());
        assert_eq!(punctual.latest(), None);
        for step in 0..50 {
            punctual.learn_late(10_000);
            erratic.learn_late(if step % 5 == 0 { 2_000_000 } else { 0 });
        }
        assert!(punctual.latest().unwrap() < 50_000, "{punctual:?}");
        assert!(erratic.latest().unwrap() > 2_000_000, "{erratic:?}");
        erratic.learn_late(u64::MAX);
        assert!(erratic.latest().unwrap() < 2000 * LATEST, "{erratic:?}");
    }

    #[test]
    fn too_little_to_do_says_nothing_about_the_rate() {
        let mut link = Link { learned: 1e7, ..Link::default() };
        let mark = link.begin(65_536, 65_536, Time(0), 0);
        let config = Config::default();
        let budget = link.budget(1, Limit::NONE, config.alone_us, &config);
        link.passed(65_536, mark, Time(0), Time(1_000_000), budget);
        assert_eq!(link.rate(), 10_000_000);
    }
}
