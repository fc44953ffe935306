//! What is overdue elsewhere is taken over by who has nothing else to do.

use super::{ORIGIN_SAMPLE, sample_of};
use crate::swarm::policy::Swarm;
use crate::swarm::slab::Key;
use crate::swarm::state::{Flight, Member, Peer, Transfer};
use crate::swarm::types::*;

/// Files of a peer looked at for somebody to help.
const HELP: usize = 4;

impl Swarm {
    /// Takes over what a slower giver is sending to somebody who needs nothing else any more, if that is worth it.
    pub(super) fn help(
        &mut self,
        giver: Key<Peer>,
        now: Time,
        work: &mut usize,
        out: &mut Vec<Command>,
    ) -> bool {
        let files = self.state.peers[giver].offers.len();
        let start = self.dice.below(files);
        (0..files.min(HELP)).any(|step| {
            let offer = self.state.peers[giver].offers.at((start + step) % files);
            let file = self.state.members[offer].file;
            let in_need = |member: &Member| member.open == 0 && !member.flights.is_empty();
            let takers = self.candidates(giver, file, |file| &file.closing, in_need, work);
            self.help_one_of(&takers, giver, Some(offer), now, out)
        })
    }

    pub(super) fn help_from_origin(
        &mut self,
        origin: Key<Peer>,
        now: Time,
        work: &mut usize,
        out: &mut Vec<Command>,
    ) -> bool {
        if self.state.config.frugal && !self.state.has_rules {
            return false;
        }
        let takers: Vec<_> = sample_of(ORIGIN_SAMPLE, &self.state.closing, &mut self.dice, work).collect();
        self.help_one_of(&takers, origin, None, now, out)
    }

    fn help_one_of(
        &mut self,
        takers: &[Key<Member>],
        giver: Key<Peer>,
        offer: Option<Key<Member>>,
        now: Time,
        out: &mut Vec<Command>,
    ) -> bool {
        let mut best: Option<(u64, Key<Transfer>, Key<Member>)> = None;
        for &taker in takers {
            let m = &self.state.members[taker];
            let rules = &self.state.files[m.file].rules;
            let is_allowed = match offer {
                Some(_) => rules.peers,
                // What little it may send of it is not for what is on its way already.
                None => !rules.is_frugal(self.state.config.frugal) && rules.origin_rate.is_none(),
            };
            if !is_allowed || self.can_meet(giver, m.peer, giver, now).is_none() {
                continue;
            }
            for &Flight { transfer: flight, .. } in &m.flights {
                let t = &self.state.transfers[flight];
                let has = |piece| offer.is_none_or(|offer| self.state.members[offer].have.contains(piece));
                // It may have come by another way, or not be wanted any more.
                let is_needed =
                    |piece| !m.have.contains(piece) && m.want.iter().any(|range| range.contains(&piece));
                // Version 2 cannot be told to stop.
                let can_stop = [t.giver, m.peer].iter().all(|&peer| self.state.peers[peer].info.runs);
                if t.giver == giver || !can_stop || !t.missing().all(|piece| has(piece) && is_needed(piece)) {
                    continue;
                }
                let left = self.left_us(t, now);
                if best.is_none_or(|best| best.0 < left)
                    && left >= self.worth_us(giver, m.peer, u64::from(t.bytes - t.bytes_done))
                {
                    best = Some((left, flight, taker));
                }
            }
        }
        let Some((_, flight, taker)) = best else { return false };
        let pieces = self.state.transfers[flight].missing().next();
        self.call_off(flight, out);
        let Some(piece) = pieces else { return true };
        let Some(dials) = self.can_meet(giver, self.state.members[taker].peer, giver, now) else {
            return true;
        };
        // Its last pieces come one by one, from whoever is quickest.
        self.launch(giver, taker, dials, (piece..piece + 1, Reason::Endgame, 0), now, out);
        true
    }

    /// How much longer a transfer will take, microseconds, as far as is known. The longer one is overdue, the longer it
    /// will take.
    fn left_us(&self, t: &Transfer, now: Time) -> u64 {
        match t.expected.get() {
            Some(at) if at > now => at.since(now),
            Some(at) => now.since(at),
            None => now.since(t.started),
        }
    }

    /// What must be left of a transfer of so many bytes to make it worth while that `giver` begins anew with it. If it is the
    /// taker's line that all waits for, nobody else can bring it sooner.
    fn worth_us(&self, giver: Key<Peer>, taker: Key<Peer>, bytes: u64) -> u64 {
        let (peer, taker) = (&self.state.peers[giver], &self.state.peers[taker]);
        let budget = self.state.up_budget(giver);
        let rate = peer.up.rate_or(budget, peer.info.up_limit);
        let time = (u128::from(peer.up.in_flight + bytes) * 1_000_000 / u128::from(rate)) as u64;
        let queue = taker.down.queue_us(taker.info.down_limit).unwrap_or(0);
        2 * (time.max(queue).saturating_add(peer.up.cover(&self.state.config)))
    }
}
