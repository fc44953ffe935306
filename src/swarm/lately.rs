//! What came and went lately: half of it is forgotten every few seconds.
//!
//! So who has been here for long is neither far ahead of those who come nor far behind them: all are compared by how they are served now.

use super::types::Time;

/// Half of everything is forgotten in this time, milliseconds. With more, who comes late takes precedence for longer: of 16 who come one by
/// one and go when they are done, the last is then done sooner and all later on average (4 s: by 1% each; 2 s: the other way round).
const HALF_MS: u32 = 3_000;

/// Of one peer. Hundreds of thousands are kept, so the time is counted in milliseconds and begins anew every 49 days; for some seconds after
/// as long a silence, what is long forgotten is remembered.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Lately {
    /// When the numbers were right.
    at_ms: u32,
    /// Bytes that it got, or was promised, from origins.
    from_origins: f32,
    /// Bytes that it took; less those that it gave, if that counts.
    taken: f32,
}

impl Lately {
    /// Bytes that it got, or was promised, from origins.
    pub(super) fn got_from_origins(&self, now: Time) -> u64 {
        (self.from_origins * self.left(now)) as u64
    }

    /// Bytes that it took, less those that count as given: the ledger.
    pub(super) fn taken(&self, now: Time) -> i64 {
        (self.taken * self.left(now)) as i64
    }

    pub(super) fn promised_by_origins(&mut self, bytes: u64, now: Time) {
        self.forget(now);
        self.from_origins += bytes as f32;
    }

    pub(super) fn take(&mut self, bytes: u64, now: Time) {
        self.forget(now);
        self.taken += bytes as f32;
    }

    pub(super) fn give(&mut self, bytes: u64, now: Time) {
        self.forget(now);
        self.taken -= bytes as f32;
    }

    fn forget(&mut self, now: Time) {
        let left = self.left(now);
        (self.from_origins, self.taken, self.at_ms) =
            (self.from_origins * left, self.taken * left, millis(now));
    }

    /// Which part of the numbers is left: in between two halvings, straight from one to the next.
    fn left(&self, now: Time) -> f32 {
        let age = millis(now).wrapping_sub(self.at_ms);
        let (halvings, rest) = (age / HALF_MS, age % HALF_MS);
        0.5_f32.powi(halvings.min(64) as i32) * (1.0 - rest as f32 / (2 * HALF_MS) as f32)
    }
}

fn millis(now: Time) -> u32 {
    (now.0 / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Or newcomers would get all that is new until they had caught up.
    #[test]
    fn it_is_forgotten_by_half_and_half() {
        let mut lately = Lately::default();
        lately.promised_by_origins(1_000_000, Time(0));
        lately.give(500_000, Time(0));
        let at = |halves: u64| Time(halves * 500 * u64::from(HALF_MS));
        let left = [0, 1, 2, 3, 4, 200].map(|s| lately.got_from_origins(at(s)));
        assert_eq!(left, [1_000_000, 750_000, 500_000, 375_000, 250_000, 0]);
        assert_eq!([0, 2, 200].map(|s| lately.taken(at(s))), [-500_000, -250_000, 0]);
        lately.take(300_000, at(2));
        assert_eq!((lately.taken(at(2)), lately.got_from_origins(at(4))), (50_000, 250_000));
    }
}
