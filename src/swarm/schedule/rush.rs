//! What a reader stands still without.

use super::Found;
use super::run::first;
use crate::swarm::policy::Swarm;
use crate::swarm::slab::Key;
use crate::swarm::state::{Member, Peer};
use crate::swarm::types::*;

/// Who could send something soonest: when, microseconds from now; who; and whether the taker is to dial.
type Quickest = (u64, Key<Peer>, bool);

impl Swarm {
    /// Has a reader that stands still sent what it waits for by whoever will be done with that first, whether or not there
    /// is room: a line where several pieces are under way takes several times as long for each of them.
    pub(super) fn rush(
        &mut self,
        taker: Key<Member>,
        now: Time,
        work: &mut usize,
        out: &mut Vec<Command>,
    ) -> bool {
        let m = &self.state.members[taker];
        let Some(wanted) = m.reader().map(|reader| reader.wants_now()) else { return false };
        let peer = &self.state.peers[m.peer];
        if m.have.contains(wanted.start) || !peer.can_receive_one_more(&self.state.config) {
            return false;
        }
        self.state.need(taker, &mut self.words);
        let Some(piece) = first(&wanted, |index| self.words[index]) else { return false };
        let Some((_, giver, dials)) = self.quickest(taker, piece, None, now, work) else { return false };
        self.launch(giver, taker, dials, (piece..piece + 1, Reason::Deadline, 0), now, out);
        true
    }

    /// Takes what a reader stands still without from whom it was to come, if somebody else would bring it much sooner.
    pub(super) fn rescue(
        &mut self,
        taker: Key<Member>,
        now: Time,
        work: &mut usize,
        out: &mut Vec<Command>,
    ) -> bool {
        let m = &self.state.members[taker];
        let to = m.peer;
        // Where it was when it was last heard of it has probably got on from: to the first piece that is missing.
        let piece = m.reader().and_then(|reader| {
            let range = reader.at_once(now, self.state.files[m.file].piece_size);
            first(&range, |index| !m.have.word(index))
        });
        // Nobody is to be asked for what is on its way, but not wanted any more.
        let Some(piece) = piece.filter(|piece| m.want.iter().any(|range| range.contains(piece))) else {
            return false;
        };
        let flight = m.flights.iter().find(|flight| flight.pieces.contains(&piece));
        let Some(flight) = flight.map(|flight| flight.transfer) else { return false };
        let t = &self.state.transfers[flight];
        // Before it should be here it may well come.
        let late = match t.expected.get() {
            Some(at) => now.since(at),
            None => now.since(t.started),
        };
        let from = t.giver;
        // Version 2 cannot be told to stop.
        if ![from, to].iter().all(|&side| self.state.peers[side].info.runs) {
            return false;
        }
        // If it is its own line that it waits for, nobody can bring it sooner.
        let peer = &self.state.peers[to];
        if peer.is_quiet() {
            return false;
        }
        let queue = peer.down.queue_us(peer.info.down_limit).unwrap_or(0);
        if late < 2 * queue.max(self.state.config.margin_us) {
            return false;
        }
        let Some((time, giver, _)) = self.quickest(taker, piece, Some(from), now, work) else { return false };
        let cover = self.state.peers[giver].up.cover(&self.state.config);
        if late < 2 * time.max(queue).saturating_add(cover) {
            return false;
        }
        self.call_off(flight, out);
        if !self.state.peers[from].is_origin() {
            // Or it would be sent the next piece from there.
            self.state.keep_apart(from, to, FailureKind::Slow, now);
        }
        let Some(dials) = self.may_meet(giver, to, to, now) else { return true };
        self.launch(giver, taker, dials, (piece..piece + 1, Reason::Deadline, 0), now, out);
        true
    }

    /// Who could send a piece soonest, if anybody but one could at all.
    fn quickest(
        &mut self,
        taker: Key<Member>,
        piece: u32,
        but: Option<Key<Peer>>,
        now: Time,
        work: &mut usize,
    ) -> Option<Quickest> {
        let m = &self.state.members[taker];
        let (to, file, pause) = (m.peer, m.file, m.pause());
        let bytes = self.state.files[file].bytes_of(piece);
        let mut givers = Found::new();
        if self.state.files[file].rules.peers {
            givers = self.candidates(to, file, |file| &file.holders, Member::is_offer, work);
        }
        let has = |offer: &Key<Member>| self.state.members[*offer].have.contains(piece);
        let mut givers: Found<Key<Peer>> =
            givers.into_iter().filter(has).map(|offer| self.state.members[offer].peer).collect();
        // Where others come first on the origin's line, it waits for its turn.
        if self.state.is_most_important(file) && pause <= now && self.may_come_from_origin(file, now) {
            givers.extend_from_slice(&self.state.origins);
        }
        givers
            .into_iter()
            .filter(|&giver| Some(giver) != but)
            .filter_map(|giver| Some((self.state.could_squeeze_in(giver, bytes)?, giver)))
            .filter_map(|(time, giver)| Some((time, giver, self.may_meet(giver, to, to, now)?)))
            .min()
    }
}
