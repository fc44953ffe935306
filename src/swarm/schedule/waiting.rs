//! Who gets nothing is looked after now and then, and told why.

use super::{ALL, SWEEP_FAST, SWEEP_SLOW, sample, sample_of};
use crate::swarm::policy::Swarm;
use crate::swarm::slab::Key;
use crate::swarm::state::{Member, Peer};
use crate::swarm::types::*;

/// Peers in need looked at in one sweep.
const SWEEP_PEERS: usize = 16;
/// Files of one peer that it is told the reason for waiting of, in one sweep.
const TELL: usize = 16;

impl Swarm {
    /// Looks after some of those in need, whatever happened.
    pub(super) fn sweep(&mut self, now: Time, out: &mut Vec<Command>) {
        self.state.spent.forget(now);
        // It is nothing where the first time to look was that of a rate that was used up.
        self.sweep_gap = (self.sweep_gap * 2).clamp(SWEEP_FAST, SWEEP_SLOW);
        self.sweep_at = Some(now.plus(self.sweep_gap));
        let mut work = SWEEP_PEERS;
        let peers: Vec<_> = sample_of(SWEEP_PEERS, &self.state.needy, &mut self.dice, &mut work).collect();
        // Readers are few, and what they stand still without must not wait to be met with by chance.
        let mut work = SWEEP_PEERS;
        let readers: Vec<_> =
            sample_of(SWEEP_PEERS, &self.state.readers, &mut self.dice, &mut work).collect();
        for peer in readers {
            self.serve_taker(peer, now, out);
        }
        for &peer in &peers {
            self.serve_taker(peer, now, out);
        }
        self.pump_origins(now, out);
        for peer in peers {
            self.explain(peer, now, out);
        }
    }

    /// Tells a peer that gets nothing at all why, where that has changed.
    fn explain(&mut self, peer: Key<Peer>, now: Time, out: &mut Vec<Command>) {
        // Who does not answer would not hear it.
        if self.state.peers[peer].down.transfers > 0 || self.state.peers[peer].is_quiet() {
            return;
        }
        let mut work = TELL;
        let needs: Vec<_> = sample(&self.state.peers[peer].needs, &mut self.dice, &mut work).collect();
        for member in needs {
            let reason = self.reason_to_wait(member, now);
            let m = &mut self.state.members[member];
            if m.waiting.replace(reason) != Some(reason) {
                let (peer, file) = (self.state.peers[m.peer].id, self.state.files[m.file].id);
                out.push(Command::Waiting { peer, file, reason });
            }
        }
    }

    fn reason_to_wait(&mut self, member: Key<Member>, now: Time) -> WaitReason {
        let state = &self.state;
        let m = &state.members[member];
        let (peer, rules) = (&state.peers[m.peer], &state.files[m.file].rules);
        if !peer.can_receive_more(&state.config) {
            return WaitReason::YourLimit;
        }
        if !state.origins.is_empty() {
            return match () {
                () if m.pause() > now => WaitReason::Changed,
                () if rules.origin_rate.is_some_and(|rate| state.spent.free_at(rate) > now) => {
                    WaitReason::ServerRate
                }
                () if rules.is_frugal(state.config.frugal) && peer.is_left() => WaitReason::PeersBusy,
                () => WaitReason::OriginBusy,
            };
        }
        let mut work = ALL;
        let holders: Vec<_> =
            sample_of(ALL, &state.files[m.file].holders, &mut self.dice, &mut work).collect();
        let mut reason = WaitReason::NoProvider;
        self.state.need(member, &mut self.words);
        for offer in holders {
            let giver = &self.state.members[offer];
            if self.words.iter().zip(0..).all(|(need, index)| need & giver.have.word(index) == 0) {
                continue;
            }
            let (one, other) =
                (&self.state.peers[giver.peer], &self.state.peers[self.state.members[member].peer]);
            if one.info.reachable || other.info.reachable {
                return WaitReason::OriginBusy;
            }
            reason = WaitReason::Unreachable;
        }
        reason
    }
}
