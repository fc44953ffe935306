//! What an origin that saves its line leaves to peers.

use super::ALL;
use crate::swarm::policy::Swarm;
use crate::swarm::slab::Key;
use crate::swarm::state::{Member, Peer};
use crate::swarm::types::*;

/// What peers could send is left to them until they have sent nothing at all for this long, microseconds.
const PATIENCE_US: u64 = 2_000_000;

impl Swarm {
    /// Whether a piece that somebody has, or is about to have, is left to peers: some could send it, and do send something.
    pub(super) fn is_left_to_peers(&mut self, piece: u32, taker: Key<Member>, now: Time) -> bool {
        let to = self.state.members[taker].peer;
        let peer = &self.state.peers[to];
        if peer.down.in_flight > u64::from(peer.unusual().from_origins) {
            return true;
        }
        if !self.could_come_from_peers(piece, taker, now) {
            return false;
        }
        now.since(self.state.peers[to].is_left_since(now)) < PATIENCE_US
    }

    /// Whether, as far as a short look tells, there is a peer that has a piece or will have it, and that the taker can reach or
    /// that can reach the taker.
    fn could_come_from_peers(&mut self, piece: u32, taker: Key<Member>, now: Time) -> bool {
        let state = &self.state;
        let (to, file) = (state.members[taker].peer, state.members[taker].file);
        let t = &state.peers[to];
        // Of who has just come it is still to be found out.
        let may_be_dialled = |peer: &Peer| peer.info.reachable || now.since(peer.joined) < PATIENCE_US;
        let members = &state.files[file].members;
        let start = self.dice.below(members.len());
        (0..members.len().min(ALL)).any(|step| {
            let other = &state.members[members.at((start + step) % members.len())];
            let g = &state.peers[other.peer];
            let have_a_way = may_be_dialled(g) || may_be_dialled(t) && g.info.puts() && t.info.puts();
            let are_apart = || state.pairs.get(other.peer, to).is_some_and(|pair| pair.is_apart(now));
            let will_have = || other.want.iter().any(|range| range.contains(&piece));
            other.peer != to
                && other.shares
                && have_a_way
                && !g.is_quiet()
                && (other.have.contains(piece) || will_have())
                && !are_apart()
        })
    }
}
