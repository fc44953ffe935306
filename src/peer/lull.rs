//! When to read next.
//!
//! Linux acknowledges every second segment when the application reads at once, and those acknowledgements go over the same
//! uplink as what this host gives: 2.3% of it, where all give as much as they take. What has not been read narrows the window
//! that can be offered, and while that is narrower than the one last offered, the acknowledgement waits until the application
//! reads (`__tcp_ack_snd_check`, `tcp_cleanup_rbuf`), or for 40 ms. So who reads now and then saves most of them. On a fast
//! line that would make the sender wait, and where nothing is being given it would gain nothing: see [`Lull::begin`]. Nor is it
//! done where segments of a connection are lost: its sender has little under way then, and each wait would stop it.

use std::time::Duration;

use tokio::time::Instant;

/// From one read to the next, at most. With 35 ms no more acknowledgements were saved, as a line is shared by several runs,
/// and senders waited for some (16 peers of 10 Mbit/s up: uplinks idle for 0.8% of the time in the middle instead of 0.4%).
const LONGEST: Duration = Duration::from_millis(20);
/// Shorter waits are not worth a timer.
const SHORTEST: Duration = Duration::from_millis(2);
/// A rate is measured over at least so long.
const MEASURED: Duration = Duration::from_millis(10);
/// Bytes a second from which on nothing is waited for.
const FAST: u64 = 4_000_000;
/// What a sender may have under way before the first acknowledgement: ten segments (RFC 6928). Also on a connection that has
/// been idle, where it begins anew.
const FIRST_WINDOW: u64 = 14_000;

/// The rhythm of reading a run of pieces.
#[derive(Debug)]
pub(super) struct Lull {
    end: Instant,
    /// Since when the rate is being measured.
    since: Instant,
    /// Bytes that had come by then.
    mark: u64,
    /// Bytes a second; 0 while nothing is known.
    rate: u64,
}

impl Lull {
    /// Nothing has come yet, and what comes is read at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { end: now, since: now, mark: 0, rate: 0 }
    }

    /// When to read again.
    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// `got` bytes of the run have come by `now`, and no more are there. At `whole` of them a piece is whole, which is not to
    /// be kept waiting. Nor is the sender: in slow start it may have as much more under way as was acknowledged, and no more
    /// than half of all that is held back.
    pub(super) fn begin(&mut self, got: u64, whole: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= MEASURED {
            let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
            self.rate = (got - self.mark).saturating_mul(1_000_000) / micros;
            (self.since, self.mark) = (now, got);
        }
        self.end = now;
        if (1..FAST).contains(&self.rate) {
            let bytes = whole.saturating_sub(got).min((FIRST_WINDOW + got) / 2);
            let wait = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.rate).min(LONGEST);
            if wait >= SHORTEST {
                self.end += wait;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: u64 = 1 << 30;

    /// How long is waited on a line of so many bytes a second, once it is known, with `got` bytes of the run here.
    fn wait(rate: u64, got: u64, whole: u64) -> Duration {
        let start = Instant::now();
        let mut lull = Lull::new(start);
        let known_at = start + Duration::from_micros(got * 1_000_000 / rate);
        lull.begin(got, whole, known_at);
        lull.end() - known_at
    }

    #[test]
    fn nothing_is_waited_for_before_the_rate_is_known() {
        let start = Instant::now();
        let mut lull = Lull::new(start);
        let soon = start + MEASURED / 2;
        lull.begin(3_000, FAR, soon);
        assert_eq!(lull.end(), soon);
    }

    #[test]
    fn slow_lines_are_read_now_and_then_and_fast_ones_at_once() {
        assert_eq!(wait(300_000, 100_000, FAR), LONGEST);
        assert_eq!(wait(FAST / 10 * 9, 1_000_000, FAR), LONGEST);
        assert_eq!(wait(FAST / 10 * 11, 1_000_000, FAR), Duration::ZERO);
    }

    #[test]
    fn what_will_soon_be_whole_is_not_kept_waiting() {
        assert_eq!(wait(300_000, 60_000, 63_000), Duration::from_millis(10));
        assert_eq!(wait(300_000, 65_000, 65_100), Duration::ZERO);
        assert_eq!(wait(300_000, 65_536, 65_536), Duration::ZERO);
    }

    #[test]
    fn a_sender_that_has_just_begun_is_not_kept_waiting() {
        let early = wait(1_000_000, 10_000, FAR);
        assert_eq!(early, Duration::from_millis(12), "half of 14 + 10 KB");
        assert!(early < wait(1_000_000, 20_000, FAR));
    }

    #[test]
    fn a_line_that_becomes_fast_is_read_at_once_again() {
        let start = Instant::now();
        let mut lull = Lull::new(start);
        let then = start + Duration::from_secs(1);
        lull.begin(300_000, FAR, then);
        assert_eq!(lull.end() - then, LONGEST);
        let now = lull.end();
        lull.begin(300_000 + FAST / 10, FAR, now);
        assert_eq!(lull.end(), now);
    }

    #[test]
    fn a_line_that_has_stopped_is_read_at_once() {
        let start = Instant::now();
        let mut lull = Lull::new(start);
        lull.begin(100_000, FAR, start + Duration::from_secs(1));
        let later = start + Duration::from_secs(3);
        lull.begin(100_000, FAR, later);
        assert_eq!(lull.end(), later);
    }
}
