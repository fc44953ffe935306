//! Who sends which pieces to whom.
//!
//! Three questions, each asked only of those whose situation has changed, each with a bounded look at others:
//!
//! 1. [`serve_giver`](Swarm::serve_giver): a peer can send more; who needs something it has?
//! 2. [`serve_taker`](Swarm::serve_taker): a peer needs something; which peers can send it?
//! 3. [`pump_origins`](Swarm::pump_origins): an origin can send more; who needs it most? Asked last, so that the
//!    origin's line is used for what peers cannot send now.
//!
//! Who finds nobody in need, but peers whose last pieces are on their way from slower givers, takes those over
//! ([`help`](Swarm::help)).
//!
//! Where more candidates exist than are looked at, acquaintances are looked at first (see `friends`), and strangers at
//! random. What is missed so is found by the sweep, which keeps asking question 2 of everybody in need, ever more
//! slowly while that finds nothing.
//!
//! Here is the order in which all that is asked; who could send to whom is in `meet`, who comes first in `claims`, which pieces
//! it is in `run`, what an origin leaves to peers in `frugal`, what a reader stands still
//! without in `rush`.
//!
//! Not responsible for bookkeeping (`state`) nor for what events mean (`policy`).

mod ahead;
mod claims;
mod frugal;
mod help;
mod meet;
mod run;
mod rush;
mod waiting;

use std::cmp::Reverse;

use smallvec::SmallVec;

use self::claims::{Claim, OriginClaim};
use super::policy::Swarm;
use super::slab::{Bag, Key};
use super::spread::News;
use super::state::{Choice, File, Member, Peer, State};
use super::types::*;

/// Where there are no more candidates than this, all are looked at.
const ALL: usize = 16;
/// Acquaintances looked at before one is chosen, where there are more.
const SAMPLE: usize = 8;
/// Files of a peer looked at before it is left alone for now.
const FILES: usize = 32;
/// Rounds of looking at those whose situation has changed, in one call.
const ROUNDS: usize = 3;
/// Takers looked at before an origin sends to one of them, of readers and of all: what it gives is what all others have to pass on.
const ORIGIN_SAMPLE: usize = 16;
/// Files of a taker compared before the origin sends it something.
const ORIGIN_FILES: usize = 16;
/// Candidate pairs looked at for one peer in one go.
const WORK: usize = 256;
/// Time between sweeps, microseconds: after something was started, and at most.
const SWEEP_FAST: u64 = 20_000;
const SWEEP_SLOW: u64 = 1_000_000;
/// When to go on with what was too much for one event, microseconds.
pub(super) const GO_ON_US: u64 = 1_000;

/// What is found among candidates.
type Found<T> = SmallVec<[T; ALL]>;

impl Swarm {
    /// Asks for all peers in `touched`, then for the origins. `ended_from` is what [`State::ends_from`] said before the event.
    pub(super) fn schedule(&mut self, mut ended_from: u64, now: Time, out: &mut Vec<Command>) {
        // What is taken over from somebody gives that one something to do, and so on: but not without end.
        for _ in 0..ROUNDS {
            ended_from = self.go_on_after_the_end(ended_from);
            let mut touched = std::mem::take(&mut self.touched);
            touched.sort_unstable();
            touched.dedup();
            touched.iter().for_each(|&peer| self.state.peers.fetch(peer, 4));
            touched.iter().for_each(|&peer| self.state.fetch_offer(peer));
            for &peer in &touched {
                self.serve_giver(peer, now, out);
            }
            for &peer in &touched {
                self.serve_taker(peer, now, out);
            }
            ended_from = self.go_on_after_the_end(ended_from);
            if self.touched.is_empty() {
                touched.clear();
                self.touched = touched;
                break;
            }
        }
        // Last, so that nobody is served out of turn.
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now, out);
        } else {
            self.pump_origins(now, out);
        }
        self.order_ahead(now, out);
        if self.state.needy.is_empty() {
            self.sweep_at = None;
        } else if self.sweep_at.is_none() {
            self.sweep_gap = SWEEP_FAST;
            self.sweep_at = Some(now.plus(SWEEP_FAST));
        }
    }

    /// Finds takers for what a peer has, while it can send more.
    fn serve_giver(&mut self, giver: Key<Peer>, now: Time, out: &mut Vec<Command>) {
        let mut work = WORK;
        loop {
            let peer = &self.state.peers[giver];
            if peer.offers.is_empty() {
                return;
            }
            if !self.state.can_send_more(giver, now) {
                self.state.feed_later(giver, now);
                return;
            }
            let files = peer.offers.len();
            let start = self.first_file(|state| &state.peers[giver].offers);
            let found = (0..files.min(FILES)).any(|step| {
                let offer = self.state.peers[giver].offers.at((start + step) % files);
                work > 0 && self.give(offer, now, &mut work, out)
            });
            if !found && !self.help(giver, now, &mut work, out) {
                for step in 0..files.min(FILES) {
                    let offer = self.state.peers[giver].offers.at((start + step) % files);
                    self.state.found_nobody(offer, now);
                }
                return;
            }
        }
    }

    /// Where to begin in a bag of somebody's files: with the most important of some, or anywhere.
    fn first_file(&mut self, bag: impl Fn(&State) -> &Bag<Member>) -> usize {
        let start = self.dice.below(bag(&self.state).len());
        if !self.state.has_priorities() {
            return start;
        }
        let files = bag(&self.state);
        let steps = (0..files.len().min(FILES)).map(|step| (start + step) % files.len());
        steps.max_by_key(|&at| self.priority_of(files.at(at))).unwrap_or(start)
    }

    /// Whether, now, origins may send something of a file; if not, it is looked at again when they may.
    fn may_come_from_origin(&mut self, file: Key<File>, now: Time) -> bool {
        let Some(shared) = self.state.files[file].rules.origin_rate else { return true };
        let free_at = self.state.spent.free_at(shared);
        if free_at > now {
            self.sweep_at = Some(self.sweep_at.map_or(free_at, |at| at.min(free_at)));
        }
        free_at <= now
    }

    /// Starts a transfer from `offer` to whoever has the best claim, if there is anybody.
    fn give(&mut self, offer: Key<Member>, now: Time, work: &mut usize, out: &mut Vec<Command>) -> bool {
        let (giver, file) = (self.state.members[offer].peer, self.state.members[offer].file);
        if !self.state.files[file].rules.peers {
            return false;
        }
        let by_peers = self.is_carried_by_peers(giver, offer);
        let mut takers: Found<(Claim, u8, Key<Member>, bool)> = Found::new();
        for taker in self.candidates(giver, file, |file| &file.hungry, |member| member.open > 0, work) {
            let to = self.state.members[taker].peer;
            if let Some(dials) = self.can_meet(giver, to, giver, now) {
                let distance = self.distance(giver, to);
                takers.push((self.claim(taker, giver, by_peers, now), distance, taker, dials));
            }
        }
        if let Some(&(_, _, taker, _)) = takers.iter().min() {
            self.state.fetch_needs(taker);
        }
        takers.sort_unstable();
        let farthest = takers.iter().map(|&(_, distance, ..)| distance).max();
        takers.into_iter().any(|(_, distance, taker, dials)| {
            self.state.need(taker, &mut self.words);
            let Some(mut choice) = self.choose(giver, Some(offer), taker, now) else { return false };
            choice.1 = for_nearness(choice.1, distance, farthest);
            self.launch(giver, taker, dials, choice, now, out);
            true
        })
    }

    /// Finds peers that have what a peer needs, while it can receive more.
    fn serve_taker(&mut self, taker: Key<Peer>, now: Time, out: &mut Vec<Command>) {
        let mut work = WORK;
        while let Some(reader) = self.state.peers[taker].urgent()
            && (self.rescue(reader, now, &mut work, out) || self.rush(reader, now, &mut work, out))
        {}
        loop {
            let peer = &self.state.peers[taker];
            let has_room = peer.can_receive_more(&self.state.config) || self.state.has_room_for_peers(taker);
            if peer.needs.is_empty() || !has_room {
                return;
            }
            let (urgent, files) = (peer.urgent(), peer.needs.len());
            let start = self.first_file(|state| &state.peers[taker].needs);
            let found = urgent.is_some_and(|member| self.take(member, now, &mut work, out))
                || (0..files.min(FILES)).any(|step| {
                    let member = self.state.peers[taker].needs.at((start + step) % files);
                    work > 0 && self.take(member, now, &mut work, out)
                });
            if !found {
                self.take_ahead(taker, now, &mut work, out);
                return;
            }
        }
    }

    /// Starts a transfer to `taker` from whichever peer has most room and is nearest, if there is one. Where there are many
    /// that have something, only those are asked that found nobody to give it to: the others are busy.
    fn take(&mut self, taker: Key<Member>, now: Time, work: &mut usize, out: &mut Vec<Command>) -> bool {
        let (to, file) = (self.state.members[taker].peer, self.state.members[taker].file);
        if !self.state.files[file].rules.peers {
            return false;
        }
        let mut givers: Found<(u64, u8, u32, Key<Member>, bool)> = Found::new();
        let offers = match self.state.files[file].holders.len() {
            ..=ALL => self.candidates(to, file, |file| &file.holders, Member::is_offer, work),
            _ => self.candidates(to, file, |file| &file.idle, Member::is_idle, work),
        };
        for offer in offers {
            let giver = self.state.members[offer].peer;
            if !self.state.can_send_more(giver, now) {
                self.state.is_busy(offer);
            } else if let Some(dials) = self.can_meet(giver, to, to, now) {
                let turn = self.dice.next() as u32;
                givers.push((self.state.load(giver), self.distance(giver, to), turn, offer, dials));
            }
        }
        if givers.is_empty() {
            return false;
        }
        givers.sort_unstable();
        let farthest = givers.iter().map(|giver| giver.1).max();
        self.state.need(taker, &mut self.words);
        givers.into_iter().any(|(_, distance, _, offer, dials)| {
            let giver = self.state.members[offer].peer;
            let Some(mut choice) = self.choose(giver, Some(offer), taker, now) else { return false };
            choice.1 = for_nearness(choice.1, distance, farthest);
            self.launch(giver, taker, dials, choice, now, out);
            self.state.feed_later(giver, now);
            true
        })
    }

    /// Has origins send, while they can, to whoever has the best claim.
    fn pump_origins(&mut self, now: Time, out: &mut Vec<Command>) {
        for index in 0..self.state.origins.len() {
            let origin = self.state.origins[index];
            if !self.state.needy.is_empty() {
                let peer = &self.state.peers[origin];
                self.state.spreads[index].step(peer.given, u64::from(peer.up.unit), now);
            }
            let mut work = WORK;
            while work > 0 && self.state.can_send_more(origin, now) {
                if !self.give_from_origin(origin, now, &mut work, out)
                    && !self.help_from_origin(origin, now, &mut work, out)
                {
                    break;
                }
            }
            if work == 0 {
                // That was enough for one event.
                let soon = now.plus(GO_ON_US);
                self.sweep_at = Some(self.sweep_at.map_or(soon, |at| at.min(soon)));
            }
            if !self.state.needy.is_empty() {
                self.state.feed_later(origin, now);
            }
        }
    }

    fn give_from_origin(
        &mut self,
        origin: Key<Peer>,
        now: Time,
        work: &mut usize,
        out: &mut Vec<Command>,
    ) -> bool {
        let mut takers: Vec<(OriginClaim, Key<Peer>)> = Vec::new();
        // Readers are few, and must not wait to be met with by chance.
        let mut takers_of = |bag| sample_of(ORIGIN_SAMPLE, bag, &mut self.dice, work).collect::<Vec<_>>();
        let [readers, needy] = [&self.state.readers, &self.state.needy].map(&mut takers_of);
        for taker in readers.into_iter().chain(needy) {
            if self.can_meet(origin, taker, origin, now).is_some() && !self.state.has_enough(taker, origin) {
                takers.push((self.claim_on_origin(taker, origin, now), taker));
            }
        }
        takers.sort_unstable();
        let rates = takers.iter().map(|&(_, taker)| self.state.peers[taker].down.rate());
        if let Some(index) = self.state.origins.iter().position(|&key| key == origin) {
            let is_new = takers.iter().find(|(claim, _)| !claim.3);
            let file = is_new.and_then(|&(_, taker)| self.state.peers[taker].needs.first());
            let file = file.map(|member| &self.state.files[self.state.members[member].file]);
            let news = file.map_or(News::None, |file| News::of(file.rarity.unseen(file.pieces), file.pieces));
            self.state.spreads[index].meets(rates, news);
        }
        takers.into_iter().any(|(_, taker)| {
            let Some(member) = self.rarest_need(taker, now) else { return false };
            self.state.need(member, &mut self.words);
            let choice = self.choose(origin, None, member, now);
            choice.map(|choice| self.launch(origin, member, true, choice, now, out)).is_some()
        })
    }

    /// Which of the files that a peer needs something of is rarest, as far as a short look tells. A peer alone gets
    /// one file after the other.
    fn rarest_need(&mut self, taker: Key<Peer>, now: Time) -> Option<Key<Member>> {
        let state = &self.state;
        let peer = &state.peers[taker];
        let has_rules = state.has_priorities() || !state.spent.is_empty();
        let may_ask = |member: &Key<Member>| state.members[*member].pause() <= now;
        if !has_rules {
            let alone = peer.needs.first().filter(|_| state.needy.len() == 1);
            if let Some(first) = peer.urgent().filter(may_ask).or(alone.filter(may_ask)) {
                return Some(first);
            }
        }
        let mut work = if has_rules { FILES } else { ORIGIN_FILES };
        let some: Vec<_> = sample_of(ORIGIN_SAMPLE, &peer.needs, &mut self.dice, &mut work)
            .chain(peer.urgent())
            .filter(may_ask)
            .collect();
        let may_come: Vec<_> = some
            .into_iter()
            .filter(|&member| self.may_come_from_origin(self.state.members[member].file, now))
            .collect();
        may_come.into_iter().min_by_key(|&member| {
            let (state, m) = (&self.state, &self.state.members[member]);
            let file = &state.files[m.file];
            let copies = if file.pieces == 1 { file.rarity.copies(0) } else { 0 };
            (Reverse(file.rules.priority), state.peers[m.peer].urgent() != Some(member), copies)
        })
    }

    fn launch(
        &mut self,
        giver: Key<Peer>,
        taker: Key<Member>,
        dials: bool,
        choice: Choice,
        now: Time,
        out: &mut Vec<Command>,
    ) {
        let (assignment, key) = self.state.start(giver, taker, dials, choice, now);
        self.state.coming.push((assignment.transfer, key));
        out.push(Command::Start(assignment));
        if self.sweep_gap > SWEEP_FAST {
            self.sweep_gap = SWEEP_FAST;
            self.sweep_at = Some(now.plus(SWEEP_FAST));
        }
    }
}

/// The reason to show where it is why one was chosen that it is nearer than others that were looked at.
fn for_nearness(reason: Reason, distance: u8, farthest: Option<u8>) -> Reason {
    match reason {
        Reason::Rarest if farthest > Some(distance) => Reason::Locality,
        reason => reason,
    }
}

/// Some of a bag, from a random place on; each costs one unit of work.
fn sample<'a, T>(
    bag: &'a Bag<T>,
    dice: &mut super::dice::Dice,
    work: &mut usize,
) -> impl Iterator<Item = Key<T>> + 'a {
    sample_of(SAMPLE, bag, dice, work)
}

/// The same, and how many.
fn sample_of<'a, T>(
    most: usize,
    bag: &'a Bag<T>,
    dice: &mut super::dice::Dice,
    work: &mut usize,
) -> impl Iterator<Item = Key<T>> + 'a {
    let count = bag.len().min(most).min(*work);
    *work -= count;
    let start = dice.below(bag.len());
    (0..count).map(move |step| bag.at((start + step) % bag.len()))
}
