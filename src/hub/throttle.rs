//! How fast files may be read for hashing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was not read in time may be read at once, up to the bytes of so much time.
const BURST: Duration = Duration::from_millis(250);

/// A rate shared by all hashing threads. Time is an argument.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Bytes a second; 0 = as fast as it goes.
    rate: u64,
    /// Until when the bytes last so far.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate, paid: Mutex::default() }
    }

    /// Takes so many bytes, and says how long to wait before more.
    pub(super) fn take(&self, bytes: u64, now: Instant) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let time = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let until = paid.map_or(earliest, |paid| paid.max(earliest)) + time;
        *paid = Some(until);
        until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_whoever_takes() {
        let (throttle, start) = (Throttle::new(1000), Instant::now());
        assert_eq!(throttle.take(250, start), Duration::ZERO, "a burst is free");
        assert_eq!(throttle.take(500, start), Duration::from_millis(500));
        assert_eq!(throttle.take(500, start), Duration::from_millis(1000));
        let later = start + Duration::from_secs(10);
        assert_eq!(throttle.take(1250, later), Duration::from_millis(1000), "idle time is not saved up");
        assert_eq!(Throttle::new(0).take(1 << 40, start), Duration::ZERO);
    }
}
