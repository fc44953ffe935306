//! Who comes first.

use std::cmp::Reverse;

use super::FILES;
use crate::swarm::bits::{mask, touched};
use crate::swarm::places::FARTHEST;
use crate::swarm::policy::Swarm;
use crate::swarm::slab::Key;
use crate::swarm::state::{Member, Peer};
use crate::swarm::types::*;

/// Why a taker should come before others, smaller first: the operator says so; a reader waits; little is under way, or nothing at all
/// (see [`Peer::is_poor`]); it took less lately in comparison to what it gave, or not much more and is nearer to the giver.
pub(super) type Claim = (Reverse<i32>, bool, bool, i64);

/// The same for what an origin sends: the operator says so; a reader waits; nothing at all is under way, or less from the
/// origin than it can take; something nobody has is needed, and it got less of that in comparison to its uplink; or, where
/// there is nothing of that kind, it came later, and among those who came together it lacks more than half, and needs less
/// (in a crowd, more).
pub(super) type OriginClaim = (Reverse<i32>, bool, (bool, bool), bool, (Reverse<Time>, bool), i64);

/// Who is nearer by one step may have got, and have under way, as much more as the giver sends in this time, microseconds, and still come
/// first: whoever is far from all others is never farther behind them than that.
const NEARNESS_US: u64 = 400_000;
/// Nor than this part of what it still lacks: all are to be done together, and a line may be taken for faster than it is.
const NEARNESS: u64 = 32;

impl Swarm {
    pub(super) fn priority_of(&self, member: Key<Member>) -> i32 {
        self.state.files[self.state.members[member].file].rules.priority
    }

    /// That of the most important file a peer needs something of, as far as a short look tells.
    pub(super) fn priority(&self, peer: Key<Peer>) -> i32 {
        if !self.state.has_priorities() {
            return 0;
        }
        let needs = &self.state.peers[peer].needs;
        let some = (0..needs.len().min(FILES)).map(|at| self.priority_of(needs.at(at)));
        some.max().unwrap_or_default()
    }

    /// `by_peers`: whether the file comes from peers for the most part.
    pub(super) fn claim(&self, member: Key<Member>, giver: Key<Peer>, by_peers: bool, now: Time) -> Claim {
        let m = &self.state.members[member];
        let (peer, file) = (&self.state.peers[m.peer], &self.state.files[m.file]);
        let g = &self.state.peers[giver];
        let sent = g.up.rate_or(self.state.config.initial_up, g.info.up_limit).saturating_mul(NEARNESS_US);
        let nearer = u64::from(FARTHEST - self.distance(giver, m.peer));
        let near = (sent / 1_000_000).min(u64::from(m.open) * u64::from(file.piece_size) / NEARNESS) * nearer;
        let (waits, is_poor) = (self.needs_soon(member, now), peer.is_poor(by_peers, 0));
        (Reverse(file.rules.priority), !waits, !is_poor, peer.balance(now) - near as i64)
    }

    /// How far two peers seem to be apart: see [`Place`](crate::swarm::places::Place).
    pub(super) fn distance(&self, one: Key<Peer>, other: Key<Peer>) -> u8 {
        self.state.peers[one].info.place.distance(self.state.peers[other].info.place)
    }

    pub(super) fn claim_on_origin(&self, taker: Key<Peer>, origin: Key<Peer>, now: Time) -> OriginClaim {
        let state = &self.state;
        let peer = &state.peers[taker];
        let reader_waits = peer.urgent().is_some_and(|member| self.needs_soon(member, now));
        let file = peer.needs.first().map(|member| &state.files[state.members[member].file]);
        let has_all_been_seen = file.is_some_and(|file| !file.rarity.has_unseen(file.pieces));
        let (later, claim) = match file {
            // What peers give is shared fairly among them; this is on top of it. Who came last will be here longest to pass
            // things on, and whoever is done may leave. So of those who came together nobody is to be far behind, or it is left
            // alone with the origin. Else it does most good to those who are nearest to having all: they are done earlier, and
            // nobody is done later. In a crowd it does nobody much good but the last.
            Some(file) if has_all_been_seen => {
                let open = peer.needs.first().map_or(0, |member| state.members[member].open);
                let bytes = i64::from(open) * i64::from(file.piece_size);
                let claim = if state.is_crowd() { -bytes } else { bytes };
                ((Reverse(peer.joined), open <= file.pieces / 2), claim)
            }
            // So that what is new spreads as fast as lines allow, everybody gets as much of it as it can pass on.
            _ => {
                let rate = peer.up.rate_or(state.config.initial_up / 4, peer.info.up_limit);
                let claim =
                    (u128::from(peer.lately.got_from_origins(now)) * 1_000_000 / u128::from(rate)) as i64;
                ((Reverse(Time::default()), false), claim)
            }
        };
        let is_full = state.serves_many(origin) && state.is_full(taker, origin);
        let is_served = (peer.down.transfers > 0, is_full);
        (Reverse(self.priority(taker)), !reader_waits, is_served, has_all_been_seen, later, claim)
    }

    /// Whether something that a reader needs at once is neither had nor under way.
    fn needs_soon(&self, member: Key<Member>, now: Time) -> bool {
        let m = &self.state.members[member];
        let Some(reader) = m.reader() else { return false };
        let range = reader.at_once(now, self.state.files[m.file].piece_size);
        touched(&range).any(|index| {
            let coming = m.flights.iter().fold(0, |word, flight| word | mask(&flight.pieces, index));
            mask(&range, index) & !m.have.word(index) & !coming != 0
        })
    }
}
