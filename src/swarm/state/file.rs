//! A file, and who is about it.

use std::ops::Range;

use super::Member;
use crate::swarm::rarity::Rarity;
use crate::swarm::rules::Rules;
use crate::swarm::slab::Bag;
use crate::swarm::types::*;

#[derive(Debug)]
pub(in crate::swarm) struct File {
    pub(in crate::swarm) id: FileId,
    pub(in crate::swarm) size: u64,
    pub(in crate::swarm) piece_size: u32,
    pub(in crate::swarm) pieces: u32,
    pub(in crate::swarm) rarity: Rarity,
    pub(in crate::swarm) rules: Rules,
    pub(in crate::swarm) members: Bag<Member>,
    /// Those who need something that is not under way to them.
    pub(in crate::swarm) hungry: Bag<Member>,
    /// Those who have something to give.
    pub(in crate::swarm) holders: Bag<Member>,
    /// Those of them who could send more when they were last asked, and found nobody who needs it. Who has become busy
    /// meanwhile is taken out when that is noticed.
    pub(in crate::swarm) idle: Bag<Member>,
    /// When one of them last found nobody, though somebody needs something.
    pub(in crate::swarm) last_idle: Option<Time>,
    /// Those who need nothing but what is under way to them.
    pub(in crate::swarm) closing: Bag<Member>,
}

/// For so long it counts that a peer had nothing that others lack, microseconds.
const IDLE_US: u64 = 500_000;

impl File {
    /// Whether peers wait for something that they can pass on.
    pub(in crate::swarm) fn waits_for_news(&self, now: Time) -> bool {
        self.last_idle.is_some_and(|at| now.since(at) < IDLE_US)
    }

    /// How important it is, if that is more or less than usual and somebody needs something of it.
    pub(super) fn special(&self) -> Option<i32> {
        Some(self.rules.priority).filter(|&priority| priority != 0 && !self.hungry.is_empty())
    }

    /// Bytes of one piece.
    pub(in crate::swarm) fn bytes_of(&self, piece: u32) -> u64 {
        let start = u64::from(piece) * u64::from(self.piece_size);
        self.size.saturating_sub(start).min(u64::from(self.piece_size))
    }

    /// Bytes of a run.
    pub(in crate::swarm) fn bytes_of_run(&self, run: &Range<u32>) -> u64 {
        let at = |piece: u32| (u64::from(piece) * u64::from(self.piece_size)).min(self.size);
        at(run.end) - at(run.start)
    }
}
