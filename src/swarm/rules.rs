//! What the operator wants of a file: who comes first, and what the origin's line may be used for.

use super::slab::IdMap;
use super::types::Time;

/// A rate that several files share, numbered by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedRate {
    /// Files with the same number share one rate.
    pub group: u32,
    /// Bytes a second that origins send of all of them together, 1 at least.
    pub rate: u64,
}

/// The operator's rules for one file. The default is what holds where nothing was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Files with a higher one come first whenever a line has to choose.
    pub priority: i32,
    /// Whether peers give it to each other; else all of it comes from origins.
    pub peers: bool,
    /// Whether origins send a byte again only when no peer can; `None` = as [`Config`](super::Config) says.
    pub frugal: Option<bool>,
    /// The most that origins send of it.
    pub origin_rate: Option<SharedRate>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { priority: 0, peers: true, frugal: None, origin_rate: None }
    }
}

impl Rules {
    /// Whether origins are to save their line.
    pub(super) fn is_frugal(&self, default: bool) -> bool {
        // Where no peer may, sending again is no waste.
        self.peers && self.frugal.unwrap_or(default)
    }
}

/// Unused allowance kept for later, microseconds.
const BURST_US: u64 = 250_000;

/// What of each shared rate was used: the time at which all that was sent so far is paid for.
#[derive(Debug, Default)]
pub(super) struct Spent(IdMap<u32, Time>);

impl Spent {
    /// When something more may be sent.
    pub(super) fn free_at(&self, shared: SharedRate) -> Time {
        self.0.get(&shared.group).copied().unwrap_or_default()
    }

    /// How many bytes one run should have at most: what the rate carries in the time of a burst.
    pub(super) fn longest(shared: SharedRate) -> u64 {
        shared.rate.saturating_mul(BURST_US) / 1_000_000
    }

    /// Something is sent.
    pub(super) fn spend(&mut self, shared: SharedRate, bytes: u64, now: Time) {
        let time = u128::from(bytes) * 1_000_000 / u128::from(shared.rate.max(1));
        let time = u64::try_from(time).unwrap_or(u64::MAX);
        let paid = self.0.entry(shared.group).or_default();
        let earliest = Time(now.0.saturating_sub(BURST_US));
        *paid = (*paid).max(earliest).plus(time);
    }

    /// Rates that nothing is owed to any more need not be remembered.
    pub(super) fn forget(&mut self, now: Time) {
        self.0.retain(|_, paid| paid.plus(BURST_US) > now);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_rate_holds_over_time() {
        let shared = SharedRate { group: 7, rate: 1_000_000 };
        let (mut spent, mut now, mut sent) = (Spent::default(), Time(5_000_000), 0);
        while now < Time(15_000_000) {
            if spent.free_at(shared) <= now {
                spent.spend(shared, 65_536, now);
                sent += 65_536;
            }
            now = now.plus(1000);
        }
        assert!((9_900_000..10_500_000).contains(&sent), "{sent}");
        spent.forget(now.plus(1_000_000));
        assert!(spent.is_empty());
    }
}
