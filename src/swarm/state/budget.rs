//! How much is to be under way on a line, and whether somebody has room for more.

use super::transfer::MOST_TRANSFERS;
use super::{Alarm, Peer, State};
use crate::swarm::rates::{LAGS, Limit, Link};
use crate::swarm::slab::Key;
use crate::swarm::spread::Spread;
use crate::swarm::types::*;
use crate::wire::limits::ROOT_PIECES;

/// How long a run for one who is alone with an origin takes at most, microseconds.
pub(in crate::swarm) const RUN_ALONE_US: u64 = 1_600_000;
/// Who is alone can judge a run by the roots of blocks of so many pieces, and need not be told their hashes (docs/protocol.md,
/// `ask_hashes`), if it is two of them or more.
pub(in crate::swarm) const BLOCK: u32 = ROOT_PIECES;
/// An origin may send in this many times as many transfers as a peer: it serves many at once.
const ORIGIN_TRANSFERS: u32 = 16;
/// What cannot wait may fill a giver's line this many times as far as all else.
const SQUEEZE: u64 = 2;
/// So many peers are a crowd.
const CROWD: u64 = 100;
/// An origin of which nothing is known begins with so many pieces more where there is a crowd: from as many the swarm grows, and the
/// first news of one is a long time where it doubles every 30 ms.
const FIRST_IN_CROWD: u64 = 4;
/// So few peers count as alone with an origin.
const FEW: u64 = 2;
/// So many pieces for each peer are the last ones.
const LAST_PIECES: u64 = 2;
/// The first piece of a line has it to itself for no longer than this, microseconds: a fast one has sent it by then.
const HEAD_START_US: u64 = 8_000;

/// What has come to one who is alone is told block by block, if its runs are as long as that: so many bytes may have come, and
/// not be known to have.
pub(super) fn unheard_alone(line: &Link, limit: Limit) -> u64 {
    let block = u64::from(BLOCK) * u64::from(line.unit);
    let is_by_blocks = line.rate_or(0, limit).saturating_mul(RUN_ALONE_US) / 1_000_000 >= 2 * block;
    if is_by_blocks { block } else { 0 }
}

impl State {
    /// How many bytes a peer should be sending.
    pub(in crate::swarm) fn up_budget(&self, peer: Key<Peer>) -> u64 {
        let (config, key, peer) = (&self.config, peer, &self.peers[peer]);
        // With one or two, there is nothing to be gained from having pieces early, and no line to be left idle: unless one has
        // nothing to do but to give.
        let are_all_served = peer.is_origin()
            && peer.up.rate() > 0
            && self.are_few()
            && self.needy.len() as u64 == self.present;
        let cover = if are_all_served { config.alone_us / self.present.max(1) } else { 0 };
        let cover = cover.max(peer.up.cover(config));
        // Of what line nothing is known, two pieces: it grows fast.
        let mut budget = peer.up.budget(0, peer.info.up_limit, cover, config);
        if self.is_alone(key) {
            budget += unheard_alone(&peer.up, peer.info.up_limit);
        }
        if !peer.is_origin() {
            return budget;
        }
        if peer.up.rate() == 0 && self.is_crowd() {
            budget += FIRST_IN_CROWD * u64::from(peer.up.unit);
        }
        let (depth, fastest) = self.depth(key);
        // What the takers could receive meanwhile is enough.
        let all = self.most_for_one(key, fastest).saturating_mul(self.needy.len() as u64);
        budget.max(budget.saturating_mul(depth).min(all)).min(config.in_flight.end)
    }

    /// How many bytes one whose line carries `rate` should be receiving from an origin.
    fn most_for_one(&self, origin: Key<Peer>, rate: u64) -> u64 {
        let up = &self.peers[origin].up;
        rate.saturating_mul(up.cover(&self.config)) / 1_000_000 + 2 * u64::from(up.unit)
    }

    /// How many times as much as keeps an origin's line busy is to be under way from it, and what the fastest of its takers
    /// receives, bytes a second. Nothing is to be in the way of what readers will wait for.
    pub(in crate::swarm) fn depth(&self, origin: Key<Peer>) -> (u64, u64) {
        let spread = self.spread(origin).filter(|_| self.readers.is_empty());
        spread.map_or((1, 0), |spread| (spread.depth(), spread.fastest()))
    }

    /// Whether as much is under way from an origin that serves many to one of them as is useful: more would only be in the way of
    /// what others send there.
    pub(in crate::swarm) fn has_enough(&self, taker: Key<Peer>, origin: Key<Peer>) -> bool {
        let peer = &self.peers[taker];
        self.needy.len() as u64 > FEW
            && peer.down.rate() > 0
            && self.depth(origin).0 > 1
            && u64::from(peer.unusual().from_origins) >= self.most_for_one(origin, peer.down.rate())
    }

    /// Whether so many transfers to somebody are an origin's that the rest is for peers. Of small files an origin has many under
    /// way, and a line that is full makes each of them last: with nothing left to it, no peer could give what it has, and all
    /// would wait for the origin.
    pub(in crate::swarm) fn has_rest_for_peers(&self, taker: Key<Peer>) -> bool {
        let most = self.config.max_transfers_per_peer.div_ceil(2);
        self.present > FEW && u32::from(self.peers[taker].unusual().origins_transfers) >= most
    }

    /// Whether there are no more than two peers.
    pub(in crate::swarm) fn are_few(&self) -> bool {
        self.present <= FEW
    }

    /// Whether peers may send somebody more. To one or two, what an origin has under way is a long time of its line, and must not be in
    /// the way of what they give each other.
    pub(in crate::swarm) fn has_room_for_peers(&self, taker: Key<Peer>) -> bool {
        let peer = &self.peers[taker];
        let but = if self.are_few() { u64::from(peer.unusual().from_origins) } else { 0 };
        peer.can_receive_more_from_peers(&self.config, but)
    }

    /// Whether somebody has so many transfers that what peers can send it is not to come from an origin as well: where most comes
    /// from peers, they wait for its own line, or for what it does with what comes, as it does with many small files.
    pub(in crate::swarm) fn is_kept_busy(&self, taker: Key<Peer>) -> bool {
        let most = self.config.max_transfers_per_peer.div_ceil(2);
        u32::from(self.peers[taker].down.transfers) >= most && self.peers_carry_more(taker)
    }

    /// Whether peers could send more than origins can, as far as the line of one of them tells.
    pub(in crate::swarm) fn peers_carry_more(&self, peer: Key<Peer>) -> bool {
        let needy = self.needy.len() as u64;
        let origins: u64 = self.origins.iter().map(|&origin| self.peers[origin].up.rate()).sum();
        needy > FEW && origins < self.peers[peer].up.rate().saturating_mul(needy)
    }

    /// How many bytes it should be sending now ([`up_budget`](Self::up_budget)). The last pieces are for whoever is free first:
    /// what is told to one long before it can be sent is not there for another that runs dry meanwhile.
    fn up_budget_now(&self, peer: Key<Peer>) -> u64 {
        let (budget, up) = (self.up_budget(peer), &self.peers[peer].up);
        match self.is_ending(u64::from(up.unit)) && up.rate() > 0 {
            true => budget.min(self.least_up_budget(peer)),
            false => budget,
        }
    }

    /// Whether what nobody has been told to send yet are the last pieces of this size. In a crowd only some are looked at, and who
    /// is free might not be found.
    pub(in crate::swarm) fn is_ending(&self, unit: u64) -> bool {
        unit >= self.ends_from()
    }

    /// The size from which on that is so, bytes.
    pub(in crate::swarm) fn ends_from(&self) -> u64 {
        match (FEW + 1..CROWD).contains(&self.present) {
            true => self.open.div_ceil(LAST_PIECES * self.present),
            false => u64::MAX,
        }
    }

    /// Whether there are so many peers that not all are looked at.
    pub(in crate::swarm) fn is_crowd(&self) -> bool {
        self.present >= CROWD
    }

    /// How many bytes keep a peer's line busy until an order for more is there.
    pub(in crate::swarm) fn least_up_budget(&self, peer: Key<Peer>) -> u64 {
        let (up, limit) = (&self.peers[peer].up, self.peers[peer].info.up_limit);
        let until_order = up.rate_or(0, limit).saturating_mul(up.lead(&self.config)) / 1_000_000;
        until_order.max(u64::from(up.unit) + 1)
    }

    /// Whether as much is under way from an origin to a peer as its line carries between order and news: where many are served
    /// at once, it is for others then.
    pub(in crate::swarm) fn is_full(&self, taker: Key<Peer>, origin: Key<Peer>) -> bool {
        let peer = &self.peers[taker];
        let time = self.peers[origin].up.cover(&self.config) / LAGS;
        let enough = peer.down.rate().saturating_mul(time) / 1_000_000 + u64::from(peer.down.unit);
        peer.down.rate() > 0 && u64::from(peer.unusual().from_origins) >= enough
    }

    /// Whether an origin serves many at once now.
    pub(in crate::swarm) fn serves_many(&self, origin: Key<Peer>) -> bool {
        self.needy.len() as u64 <= FEW || self.spread(origin).is_some_and(Spread::is_on)
    }

    pub(super) fn spread(&self, origin: Key<Peer>) -> Option<&Spread> {
        let at = self.origins.iter().position(|&key| key == origin)?;
        self.spreads.get(at)
    }

    /// In a crowd a taker's line is shared with what comes from many others, and so a giver's must be filled further.
    pub(in crate::swarm) fn set_margin(&mut self) {
        let in_crowd = 2 * self.margin_us + self.crowd.more_us();
        self.config.margin_us = if self.is_crowd() { in_crowd } else { self.margin_us };
    }

    /// A peer's transfer went well, which says something of what lines are like here.
    pub(in crate::swarm) fn learn_of_crowd(&mut self, giver: Key<Peer>) {
        let Peer { up, info, .. } = &self.peers[giver];
        if self.is_crowd() && !info.is_origin {
            self.crowd.ended(up.rate(), up.lag_us(), up.unit);
            self.set_margin();
        }
    }

    /// How busy a giver is, for who looks for one: more in one step than in those below. Usually that is how much of what it should have
    /// is under way. Where lines carry more than a piece while messages travel, much should be, and what is learned of each line
    /// by chance makes more of a difference than what is under way: all have equally much there.
    pub(in crate::swarm) fn load(&self, giver: Key<Peer>) -> u64 {
        /// In parts of its budget; differences below that do not matter.
        const STEPS: u64 = 4;
        let up = &self.peers[giver].up;
        match self.is_crowd() && self.crowd.is_far() {
            true => up.in_flight / u64::from(up.unit.max(1)),
            false => up.in_flight * STEPS / self.up_budget(giver).max(1),
        }
    }

    /// Whether so much is under way to somebody in a crowd that it is for others to get what there is.
    pub(in crate::swarm) fn has_more_than_others(&self, taker: Key<Peer>) -> bool {
        if !self.is_crowd() || !self.crowd.is_far() {
            return false;
        }
        let from_peers = self.peers[taker].coming_from_peers();
        from_peers.is_some_and(|(bytes, queue_us)| self.crowd.has_more_than_others(bytes, queue_us))
    }

    /// Whether a peer should send more, now.
    pub(in crate::swarm) fn can_send_more(&self, peer: Key<Peer>, now: Time) -> bool {
        let p = &self.peers[peer];
        // The first who comes may have a slow line, which says nothing of the origin's and must not keep others waiting.
        let may_have_room = || p.is_origin() && p.up.seems_free(self.config.initial_up, now);
        (p.up.in_flight < self.up_budget_now(peer) || may_have_room())
            && (p.up.in_flight == 0 || p.up.feed_at(p.up.lead(&self.config)) <= now)
            && u32::from(p.up.transfers) < self.most_transfers_from(p)
            && !p.is_quiet()
            && !(p.up.transfers > 0 && p.is_doubtful() && !p.is_origin())
            && self.transfers.len() < MOST_TRANSFERS
    }

    fn most_transfers_from(&self, giver: &Peer) -> u32 {
        let times = if giver.is_origin() { ORIGIN_TRANSFERS } else { 1 };
        self.config.max_transfers_per_peer.saturating_mul(times)
    }

    /// How soon a peer could have sent so much more, microseconds, if it began now, beside all that is under way there: for
    /// what cannot wait until there is room. `None` if even that would be too much.
    pub(in crate::swarm) fn could_squeeze_in(&self, peer: Key<Peer>, bytes: u64) -> Option<u64> {
        let (p, budget) = (&self.peers[peer], self.up_budget(peer));
        let is_possible = p.up.in_flight < budget.saturating_mul(SQUEEZE)
            && u32::from(p.up.transfers) < self.most_transfers_from(p)
            && !p.is_quiet()
            && !(p.up.transfers > 0 && p.is_doubtful() && !p.is_origin())
            && self.transfers.len() < MOST_TRANSFERS;
        let rate = p.up.rate_or(self.config.initial_up, p.info.up_limit);
        is_possible.then(|| (p.up.in_flight + bytes).saturating_mul(1_000_000) / rate)
    }

    /// How long a line of which nothing is known has nothing to send but its first piece, microseconds. Of two that begin
    /// together neither is there before both are, and until then nobody can pass them on.
    pub(super) fn head_start_us(&self, giver: Key<Peer>, unit: u32) -> u64 {
        // Nobody else is here to pass it on to. An origin may be about to get more takers: it often has its first one alone.
        if self.needy.len() as u64 <= FEW && !self.peers[giver].is_origin() {
            return 0;
        }
        let piece_us = u64::from(unit) * 1_000_000 / self.config.initial_up.max(1);
        (piece_us / 4).min(HEAD_START_US)
    }

    /// Has somebody look at a giver again when it is time to tell it more, if that is not when something is heard.
    pub(in crate::swarm) fn feed_later(&mut self, peer: Key<Peer>, now: Time) {
        let p = &self.peers[peer];
        let is_full = p.up.in_flight >= self.up_budget(peer);
        let at = match p.up.seems_free_at(self.config.initial_up).filter(|_| p.is_origin() && is_full) {
            Some(at) => at,
            None if is_full => return,
            None => p.up.feed_at(p.up.lead(&self.config)),
        };
        // What an origin has left until then goes in one go, in longer runs.
        let is_news = p.feed.get().is_none_or(|set| at < set && !p.is_origin());
        if at > now && is_news {
            if let Some(set) = self.peers[peer].feed.replace(Some(at)) {
                self.alarms.remove(&(set, Alarm::Feed(peer)));
            }
            self.alarms.insert((at, Alarm::Feed(peer)));
        }
    }

    /// Whether a giver is an origin with one peer and nobody else. So nobody waits for anything that comes, nobody else could
    /// send it, and each order, and each word of what has come, would be for nothing. Not before something is known of the line,
    /// nor where that sends the longest run in less than a second: orders are few there, and what limits is not the line.
    pub(in crate::swarm) fn is_alone(&self, giver: Key<Peer>) -> bool {
        self.present == 1
            && self.needy.len() == 1
            && self.origins.len() == 1
            && self.peers[giver].is_origin()
            && (1..=self.config.max_run_bytes).contains(&self.peers[giver].up.rate())
            && self.readers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs to one that wants no more than a megabyte a second are too short for whole blocks, however fast its line is.
    #[test]
    fn what_may_have_come_unheard_is_no_more_than_is_wanted() {
        let mut line = Link::default();
        let piece = 1 << 16;
        let mark = line.begin(4_000_000, piece, Time(0), 0);
        line.passed(4_000_000, mark, Time(0), Time(1_000_000), u64::MAX);
        assert_eq!(line.rate(), 4_000_000);
        assert_eq!(unheard_alone(&line, Limit::NONE), u64::from(BLOCK * piece));
        assert_eq!(unheard_alone(&line, Some(1_000_000).into()), 0);
    }
}
