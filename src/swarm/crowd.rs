//! What is learned of the lines of all peers together, where they are many (a crowd: see `state/budget`).
//!
//! Where a line carries more than a piece while messages travel, much of what is under way does not move yet, or is there
//! already. How many transfers a line really has is a matter of chance, and lines meet unevenly: of two that are equally fast,
//! one waits for others while the other one's takers wait for it. So more is to be under way there ([`Crowd::more_us`]), and not
//! more to one than to others ([`Crowd::has_more_than_others`]), or those who have much keep it, and their lines have no more to do.
//! What origins send does not count for that: it is on top of what peers share, and goes to those who lack most.
//!
//! Not responsible for one peer's line (`rates`).

/// Lags to be covered beyond what is usual, where a line carries more than a piece in one.
const MORE_LAGS: f64 = 8.0;
/// What is new has this part in a mean.
const SHARE: f64 = 256.0;
/// But no more than this, microseconds: what strangers say must not fill all lines without end.
const MOST_US: f64 = 500_000.0;
/// Where a lag of less than this is left on average, most lines need no more than is usual, microseconds.
const LEAST_US: f64 = 1_000.0;

/// Of all peers, whoever they are.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Mean lag of givers, microseconds, in which those count as nothing that carry no more than a piece in it.
    lag_us: f64,
    /// Means of what was under way from peers to those to whom something was ordered: bytes, and how long their lines need for that.
    bytes: f64,
    queue_us: f64,
}

impl Crowd {
    /// A transfer has ended whose giver's line carries `rate` and has this lag, in a file with pieces of `unit`.
    pub(super) fn ended(&mut self, rate: u64, lag_us: u64, unit: u32) {
        let is_far = rate.saturating_mul(lag_us) / 1_000_000 > u64::from(unit);
        let lag_us = if is_far { lag_us as f64 } else { 0.0 };
        self.lag_us += (lag_us - self.lag_us) / SHARE;
    }

    /// Something was ordered for one to whom so much is under way from peers now, for which its line needs so long.
    pub(super) fn ordered(&mut self, bytes: u64, queue_us: u64) {
        self.bytes += (bytes as f64 - self.bytes) / SHARE;
        self.queue_us += (queue_us as f64 - self.queue_us) / SHARE;
    }

    /// What is to be covered beyond the usual, microseconds.
    pub(super) fn more_us(&self) -> u64 {
        (self.lag_us * MORE_LAGS).min(MOST_US) as u64
    }

    /// Whether lines carry more than a piece while messages travel.
    pub(super) fn is_far(&self) -> bool {
        self.lag_us >= LEAST_US
    }

    /// Whether more is under way from peers to somebody than to others, and longer than to others: a fast line may have more, and what is
    /// known of a line may be wrong. To be asked where it [is far](Self::is_far).
    pub(super) fn has_more_than_others(&self, bytes: u64, queue_us: u64) -> bool {
        bytes as f64 > self.bytes && queue_us as f64 > self.queue_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u32 = 4 << 20;

    #[test]
    fn more_is_under_way_where_lines_carry_more_than_a_piece_in_a_lag() {
        let (mut far, mut near) = (Crowd::default(), Crowd::default());
        for _ in 0..4000 {
            far.ended(300_000_000, 25_000, UNIT);
            near.ended(300_000_000, 2_000, UNIT);
        }
        assert!((198_000..=200_000).contains(&far.more_us()), "{}", far.more_us());
        assert_eq!(near.more_us(), 0);
        let mut liars = Crowd::default();
        (0..4000).for_each(|_| liars.ended(u64::MAX, u64::MAX, UNIT));
        assert_eq!(liars.more_us(), MOST_US as u64);
        for crowd in [&mut far, &mut near] {
            (0..4000).for_each(|_| crowd.ordered(50_000_000, 150_000));
        }
        assert!(far.has_more_than_others(60_000_000, 200_000));
        assert!(!far.has_more_than_others(60_000_000, 20_000), "its line is fast");
        assert!(!far.has_more_than_others(6_000_000, 200_000), "its line is slow");
        assert!(far.is_far() && !near.is_far());
    }
}
