//! What went wrong lately between a giver and a taker: how long they are kept apart, and what to try next.
//!
//! There is a record only for pairs with a recent failure; a success or a quiet minute ends it.

use super::slab::{IdMap, Key};
use super::state::Peer;
use super::types::{FailureKind, Time};

/// The pause doubles at most this often.
const MAX_DOUBLINGS: u32 = 5;
/// After the pause the number of failures is remembered for this long, microseconds.
const MEMORY_US: u64 = 60_000_000;

#[derive(Debug, Default)]
pub(super) struct Pairs(IdMap<(Key<Peer>, Key<Peer>), Pair>);

#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    /// Kept apart until then.
    until: Time,
    failures: u32,
    /// Dial the other way round next time, if that is possible.
    pub(super) turned: bool,
    /// Whether the taker has said that the giver sent wrong bytes.
    pub(super) accused: bool,
    /// The entry among the alarms: `until`, and later when to forget.
    pub(super) alarm: Time,
}

impl Pairs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, giver: Key<Peer>, taker: Key<Peer>) -> Option<&Pair> {
        self.0.get(&(giver, taker))
    }

    pub(super) fn get_mut(&mut self, giver: Key<Peer>, taker: Key<Peer>) -> Option<&mut Pair> {
        self.0.get_mut(&(giver, taker))
    }

    pub(super) fn contains(&self, giver: Key<Peer>, taker: Key<Peer>) -> bool {
        self.0.contains_key(&(giver, taker))
    }

    pub(super) fn remove(&mut self, giver: Key<Peer>, taker: Key<Peer>) -> Option<Pair> {
        let pair = self.0.remove(&(giver, taker));
        if self.0.is_empty() {
            self.0 = IdMap::default();
        }
        pair
    }

    /// Notes a failure; the alarm that was set, if any, and the one to set.
    pub(super) fn failed(
        &mut self,
        giver: Key<Peer>,
        taker: Key<Peer>,
        kind: FailureKind,
        pause_us: u64,
        now: Time,
    ) -> (Option<Time>, Time) {
        let new = Pair { until: now, failures: 0, turned: false, accused: false, alarm: now };
        let known = self.0.contains_key(&(giver, taker));
        let pair = self.0.entry((giver, taker)).or_insert(new);
        let old = known.then_some(pair.alarm);
        // Transfers that were under way together fail together: that is one failure.
        if kind == FailureKind::Disk {
            // The giver has no part in it. A short pause keeps a taker that goes on asking from being served in vain.
            pair.until = pair.until.max(now.plus(pause_us.max(1)));
        } else if pair.failures == 0 || now >= pair.until {
            let pause = pause_us.saturating_mul(1 << pair.failures.min(MAX_DOUBLINGS));
            pair.until = now.plus(pause.max(1));
            pair.failures += 1;
            pair.turned ^= kind == FailureKind::Unreachable;
        }
        pair.alarm = pair.until;
        (old, pair.alarm)
    }
}

impl Pair {
    pub(super) fn is_apart(&self, now: Time) -> bool {
        now < self.until
    }

    /// The alarm rang: when it is to ring again, or `None` if the record can be dropped.
    pub(super) fn next_alarm(&mut self, now: Time) -> Option<Time> {
        if self.is_apart(now) {
            self.alarm = self.until;
        } else if now < self.until.plus(MEMORY_US) {
            self.alarm = self.until.plus(MEMORY_US);
        } else {
            return None;
        }
        Some(self.alarm)
    }
}
