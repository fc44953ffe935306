//! The first piece that somebody can pass on is ordered from it while it is still on its way there.
//!
//! Else its uplink would stand idle while the news that the piece is here, the order for it, a new connection and the request
//! travel one after the other; where a swarm begins, at each step from one to two, four, eight. So whoever is to get it asks for it
//! at once, and waits with the one who is to get it first. Somebody else can wait for it with that one in turn, but no more than a few
//! stand in such a row: it is one piece that all of them begin with.
//!
//! Only where nothing is known of a line, and nothing else is under way on it: who has something to send needs no more, and what
//! waits may be needed from others by then.
//!
//! Not responsible for what becomes of it when the giver does not get it: see `policy`.

use super::claims::Claim;
use super::{Found, WORK};
use crate::swarm::policy::Swarm;
use crate::swarm::slab::Key;
use crate::swarm::state::{Flight, Member, Peer};
use crate::swarm::types::*;

/// Most givers that a transfer waits for, one after the other; and in a crowd, where there are many rows, and many other pieces.
const DEPTH: u8 = 3;
const DEPTH_IN_CROWD: u8 = 6;

impl Swarm {
    /// Orders what those to whom something was ordered during this event can pass on.
    pub(super) fn order_ahead(&mut self, now: Time, out: &mut Vec<Command>) {
        while let Some((id, key)) = self.state.coming.pop() {
            let Some(t) = self.state.transfers.get(key).filter(|t| t.id == id && t.waits < self.most_waits())
            else {
                continue;
            };
            let (piece, member, waits) = (t.missing().next(), t.taker, t.waits + 1);
            if let Some(piece) = piece {
                self.pass_on(member, piece, waits, now, out);
            }
        }
    }

    /// Most givers that a transfer waits for, one after the other.
    fn most_waits(&self) -> u8 {
        if self.state.is_crowd() { DEPTH_IN_CROWD } else { DEPTH }
    }

    /// Orders a piece that is on its way to somebody from there, for whoever has the best claim.
    fn pass_on(&mut self, from: Key<Member>, piece: u32, waits: u8, now: Time, out: &mut Vec<Command>) {
        let Member { peer: giver, file, .. } = self.state.members[from];
        if !self.may_pass_on(from) {
            return;
        }
        let mut work = WORK;
        let mut takers: Found<(Claim, Key<Member>)> = Found::new();
        for taker in self.candidates(giver, file, |file| &file.hungry, |member| member.open > 0, &mut work) {
            if self.may_wait_for(piece, giver, taker, giver, now) {
                takers.push((self.claim(taker, giver, true, now), taker));
            }
        }
        if let Some(&(_, taker)) = takers.iter().min() {
            self.launch(giver, taker, true, (piece..piece + 1, Reason::Rarest, waits), now, out);
        }
    }

    /// Orders what somebody is about to have for one who gets nothing from peers.
    pub(super) fn take_ahead(&mut self, to: Key<Peer>, now: Time, work: &mut usize, out: &mut Vec<Command>) {
        let peer = &self.state.peers[to];
        let Some(taker) = peer.needs.first().filter(|_| peer.info.ahead()) else { return };
        if peer.down.in_flight > u64::from(peer.unusual().from_origins) {
            return;
        }
        let file = self.state.members[taker].file;
        for from in self.candidates(to, file, |file| &file.hungry, |member| member.open > 0, work) {
            if !self.may_pass_on(from) {
                continue;
            }
            let m = &self.state.members[from];
            let coming = m.flights.iter().filter_map(|Flight { transfer, .. }| {
                let t = &self.state.transfers[*transfer];
                Some((t.waits + 1, t.missing().next()?))
            });
            let best = coming
                .filter(|&(waits, piece)| {
                    waits <= self.most_waits() && self.may_wait_for(piece, m.peer, taker, to, now)
                })
                .min();
            if let Some((waits, piece)) = best {
                let giver = m.peer;
                return self.launch(giver, taker, true, (piece..piece + 1, Reason::Rarest, waits), now, out);
            }
        }
    }

    /// Whether something of a file that is on its way to somebody may be ordered from there. Beside readers, others decide what
    /// is sent next.
    fn may_pass_on(&self, member: Key<Member>) -> bool {
        let m = &self.state.members[member];
        let peer = &self.state.peers[m.peer];
        peer.info.ahead()
            && peer.info.reachable
            && m.shares
            && (peer.up.rate(), peer.up.transfers) == (0, 0)
            && !peer.is_quiet()
            && self.state.readers.is_empty()
            && self.state.files[m.file].rules.peers
    }

    /// Whether a piece can be ordered for somebody from one that does not have it yet; `asks` as in
    /// [`can_meet`](Self::can_meet).
    fn may_wait_for(
        &self,
        piece: u32,
        giver: Key<Peer>,
        taker: Key<Member>,
        asks: Key<Peer>,
        now: Time,
    ) -> bool {
        let m = &self.state.members[taker];
        let to = &self.state.peers[m.peer];
        let is_coming = || m.flights.iter().any(|flight| flight.pieces.contains(&piece));
        m.peer != giver
            && to.info.ahead()
            && !m.have.contains(piece)
            && m.want.contains(piece)
            && !is_coming()
            && self.state.has_room_for_peers(m.peer)
            && !self.state.has_more_than_others(m.peer)
            && self.may_meet(giver, m.peer, asks, now) == Some(true)
    }
}
