//! Who could send to whom.

use super::{ALL, Found, SAMPLE, sample_of};
use crate::swarm::friends;
use crate::swarm::policy::Swarm;
use crate::swarm::slab::{Bag, Key};
use crate::swarm::state::{File, Member, Peer};
use crate::swarm::types::*;

/// Strangers looked at beside acquaintances, of which it is [`SAMPLE`].
const STRANGERS: usize = 2;
/// Of so many, one taken at random is hardly ever an acquaintance.
const MANY: usize = 16 * friends::MOST;
/// With so few peers nobody can meet too many strangers.
const FEW: usize = 32;
/// Part of a second for which a taker's line may be filled by an origin that serves the more important first.
const FILL: u64 = 2;
/// Of what is kept of a candidate, and of its part in a file, so many lines of the cache are looked at.
const PEER_LINES: usize = 3;
const MEMBER_LINES: usize = 1;

impl Swarm {
    /// Whether, now, `giver` could send to `taker`, and if so, whether the taker is to dial. `asks` is the one of the two
    /// that others are tried for, too: what is known of it is at hand.
    pub(in crate::swarm) fn can_meet(
        &self,
        giver: Key<Peer>,
        taker: Key<Peer>,
        asks: Key<Peer>,
        now: Time,
    ) -> Option<bool> {
        let state = &self.state;
        let (g, t) = (&state.peers[giver], &state.peers[taker]);
        let has_room = match g.is_origin() {
            true if state.is_alone(giver) => t.can_receive_more_alone(&state.config),
            true if state.has_rest_for_peers(taker) => false,
            true => t.can_receive_more(&state.config) || self.may_be_filled(giver, taker),
            false => state.has_room_for_peers(taker) && !state.has_more_than_others(taker),
        };
        if !state.can_send_more(giver, now) || !has_room {
            return None;
        }
        self.may_meet(giver, taker, asks, now)
    }

    /// The same, if both had room.
    pub(super) fn may_meet(
        &self,
        giver: Key<Peer>,
        taker: Key<Peer>,
        asks: Key<Peer>,
        now: Time,
    ) -> Option<bool> {
        let are_apart = || self.state.pairs.get(giver, taker).is_some_and(|pair| pair.is_apart(now));
        self.dials(giver, taker, asks, now).filter(|_| giver != taker && !are_apart())
    }

    /// Where some are more important than others, those get all of an origin's line that theirs can carry. Else what is
    /// held back for fear of too long a queue would go to who comes after them.
    fn may_be_filled(&self, origin: Key<Peer>, taker: Key<Peer>) -> bool {
        let (state, t) = (&self.state, &self.state.peers[taker]);
        state.has_priorities()
            && !t.is_quiet()
            && u32::from(t.down.transfers) < state.config.max_transfers_per_peer
            && t.down.in_flight < state.up_budget(origin).min(t.down.rate() / FILL)
    }

    /// Whether the taker is to dial; `None` if neither side can, or may now.
    pub(in crate::swarm) fn dials(
        &self,
        giver: Key<Peer>,
        taker: Key<Peer>,
        asks: Key<Peer>,
        now: Time,
    ) -> Option<bool> {
        let (g, t) = (&self.state.peers[giver], &self.state.peers[taker]);
        if g.is_origin() {
            return Some(true);
        }
        let turned = self.state.pairs.get(giver, taker).is_some_and(|pair| pair.turned);
        // Whom the giver dials, it brings the pieces to.
        let may_be_brought = t.info.reachable && g.info.puts() && t.info.puts();
        if self.state.peers.len() <= FEW {
            // But many may come and go.
            let may_dial = |one: &Peer, other| one.friends.may_dial(now) || one.friends.met(other).out;
            let taker_can = g.info.reachable && may_dial(t, giver);
            return match (taker_can, may_be_brought && may_dial(g, taker)) {
                (true, true) => Some(!turned),
                (false, false) => None,
                (taker_dials, _) => Some(taker_dials),
            };
        }
        let met = if asks == giver { g.friends.met(taker) } else { t.friends.met(giver) };
        let (giver_has, taker_has) = if asks == giver { (met.out, met.back) } else { (met.back, met.out) };
        let have_met = giver_has || taker_has;
        let has_room = || self.state.has_room_for(giver, taker) && self.state.has_room_for(taker, giver);
        if !have_met && !has_room() {
            return None;
        }
        let taker_can = g.info.reachable && (taker_has || t.friends.may_dial(now));
        let giver_can = may_be_brought && (giver_has || g.friends.may_dial(now));
        match (taker_can, giver_can) {
            (true, true) => Some((taker_has || !giver_has) != turned),
            (false, false) => None,
            (taker_dials, _) => Some(taker_dials),
        }
    }

    /// Those in one of a file's bags, or if there are many, the acquaintances of `peer` among them and some strangers.
    pub(super) fn candidates(
        &mut self,
        peer: Key<Peer>,
        file: Key<File>,
        bag: fn(&File) -> &Bag<Member>,
        is_in: fn(&Member) -> bool,
        work: &mut usize,
    ) -> Found<Key<Member>> {
        let state = &self.state;
        let bag = bag(&state.files[file]);
        if bag.len() <= ALL {
            return sample_of(ALL, bag, &mut self.dice, work).collect();
        }
        let friends = &state.peers[peer].friends;
        // Who knows so many that it may meet no stranger need not look at any.
        let may_meet =
            friends.len() < friends::MOST || bag.len() < MANY || state.peers[peer].needs.is_empty();
        let start = self.dice.below(friends.len());
        let looked_at = friends.len().min(SAMPLE).min(*work);
        *work -= looked_at;
        // One after the other they would have to be waited for: see `cache`.
        let friends: Found<_> =
            (0..looked_at).map(|step| friends.at((start + step) % friends.len())).collect();
        friends.iter().for_each(|&friend| state.peers.fetch(friend, PEER_LINES));
        let start = self.dice.below(bag.len());
        let stranger = |step| bag.at((start + step) % bag.len());
        let most = if may_meet { *work } else { 0 };
        let strangers: Found<_> = (0..STRANGERS.min(most)).map(stranger).collect();
        strangers.iter().for_each(|&stranger| state.members.fetch(stranger, MEMBER_LINES));
        let parts: Found<_> = friends.into_iter().filter_map(|friend| state.part(friend, file)).collect();
        parts.iter().for_each(|&member| state.members.fetch(member, MEMBER_LINES));
        strangers.iter().for_each(|&stranger| state.peers.fetch(state.members[stranger].peer, PEER_LINES));
        let mut found: Found<_> = parts.into_iter().filter(|&member| is_in(&state.members[member])).collect();
        let strangers = most.min(if found.is_empty() { SAMPLE } else { STRANGERS });
        *work -= strangers;
        found.extend((0..strangers.min(bag.len())).map(stranger));
        found
    }
}
