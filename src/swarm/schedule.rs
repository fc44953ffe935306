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
//! Not responsible for bookkeeping (`state`) nor for what events mean (`policy`).

use std::cmp::Reverse;
use std::ops::Range;

use smallvec::SmallVec;

use super::bits::{WORD, mask, touched};
use super::friends;
use super::policy::Swarm;
use super::rules::Spent;
use super::slab::{Bag, Key};
use super::state::{File, Flight, Member, Peer, State, Transfer};
use super::types::*;

/// Where there are no more candidates than this, all are looked at.
const ALL: usize = 16;
/// Acquaintances looked at before one is chosen, where there are more.
const SAMPLE: usize = 8;
/// And strangers.
const STRANGERS: usize = 2;
/// Files of a peer looked at before it is left alone for now.
const FILES: usize = 32;
/// Rounds of looking at those whose situation has changed, in one call.
const ROUNDS: usize = 3;
/// Files of a peer looked at for somebody to help.
const HELP: usize = 4;
/// Of so many, one taken at random is hardly ever an acquaintance.
const MANY: usize = 16 * friends::MOST;
/// With so few peers nobody can meet too many strangers.
const FEW: usize = 32;
/// The same for an origin, of readers and of all: what it gives is what all others have to pass on.
const ORIGIN_SAMPLE: usize = 16;
/// Files of a taker compared before the origin sends it something.
const ORIGIN_FILES: usize = 4;
/// Of what is kept of a candidate, and of its part in a file, so many lines of the cache are looked at.
const PEER_LINES: usize = 3;
const MEMBER_LINES: usize = 1;
/// Candidate pairs looked at for one peer in one go.
const WORK: usize = 256;
/// Peers in need looked at in one sweep.
const SWEEP_PEERS: usize = 16;
/// Time between sweeps, microseconds: after something was started, and at most.
const SWEEP_FAST: u64 = 20_000;
const SWEEP_SLOW: u64 = 1_000_000;
/// When to go on with what was too much for one event, microseconds.
pub(super) const GO_ON_US: u64 = 1_000;
/// What is missing of a file goes to a peer alone in one run if it is no more than this, bytes.
const SMALL: u64 = 512 * 1024;
/// A run takes this long at the giver's rate, microseconds.
const RUN_US: u64 = 450_000;
/// For one who is alone with an origin.
const RUN_ALONE_US: u64 = 1_000_000;
/// Where somebody reads, whose turn is to come soon.
const RUN_BESIDE_READERS_US: u64 = 250_000;
/// And no longer than this at the taker's, if it comes from an origin that has others to serve.
const TAKER_RUN_US: u64 = 50_000;
/// Where so many transfers are to share a line, each gets a part of what may be under way there.
const SHARES: u64 = 4;
/// What TCP sends in the first two round trips of a transfer, about, bytes: it begins with ten segments (RFC 6928).
const WINDOW: u64 = 64 * 1024;
/// No run is longer than this part of what is still open.
const LAST: u32 = 8;
/// Who has this part of a file has begun.
const HAS_BEGUN: u64 = 64;
/// A frugal origin sends again what peers have to one that got nothing for this long, microseconds.
const FRUGAL_US: u64 = 2_000_000;
/// Part of a second for which a taker's line may be filled by an origin that serves the more important first.
const FILL: u64 = 2;
/// Files of one peer that it is told the reason for waiting of, in one sweep.
const TELL: usize = 16;

/// What is found among candidates.
type Found<T> = SmallVec<[T; ALL]>;

/// Why a taker should come before others, smaller first: the operator says so; a reader waits; little is under way, or nothing at all
/// where it is not peers from whom most comes; it took less than others in comparison to what it gave.
type Claim = (Reverse<i32>, bool, bool, i64);

/// The same for what an origin sends: the operator says so; a reader waits; nothing at all is under way, or less from the origin than it can take; something nobody has is needed, and
/// it got less of that in comparison to its uplink; or, where there is nothing of that kind, it came later, and among those who came
/// together it lacks more than half, and needs less (in a crowd, more).
type OriginClaim = (Reverse<i32>, bool, (bool, bool), bool, (Reverse<Time>, bool), i64);

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
                    self.state.set_idle(offer, true);
                }
                return;
            }
        }
    }

    /// Where to begin in a bag of somebody's files: with the most important of some, or anywhere.
    fn first_file(&mut self, bag: impl Fn(&State) -> &Bag<Member>) -> usize {
        let start = self.dice.below(bag(&self.state).len());
        if !self.state.has_priorities {
            return start;
        }
        let files = bag(&self.state);
        let steps = (0..files.len().min(FILES)).map(|step| (start + step) % files.len());
        steps.max_by_key(|&at| self.priority_of(files.at(at))).unwrap_or(start)
    }

    fn priority_of(&self, member: Key<Member>) -> i32 {
        self.state.files[self.state.members[member].file].rules.priority
    }

    /// That of the most important file a peer needs something of, as far as a short look tells.
    fn priority(&self, peer: Key<Peer>) -> i32 {
        if !self.state.has_priorities {
            return 0;
        }
        let needs = &self.state.peers[peer].needs;
        let some = (0..needs.len().min(FILES)).map(|at| self.priority_of(needs.at(at)));
        some.max().unwrap_or_default()
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
        let mut takers: Found<(Claim, Key<Member>, bool)> = Found::new();
        for taker in self.candidates(giver, file, |file| &file.hungry, |member| member.open > 0, work) {
            if let Some(dials) = self.can_meet(giver, self.state.members[taker].peer, giver, now) {
                takers.push((self.claim(taker, by_peers, now), taker, dials));
            }
        }
        if let Some(&(_, taker, _)) = takers.iter().min() {
            self.state.fetch_needs(taker);
        }
        takers.sort_unstable();
        takers.into_iter().any(|(_, taker, dials)| {
            self.state.need(taker, &mut self.words);
            let choice = self.choose(giver, Some(offer), taker, now);
            choice.map(|choice| self.launch(giver, taker, dials, choice, now, out)).is_some()
        })
    }

    /// Finds peers that have what a peer needs, while it can receive more.
    fn serve_taker(&mut self, taker: Key<Peer>, now: Time, out: &mut Vec<Command>) {
        let mut work = WORK;
        while let Some(reader) = self.state.peers[taker].urgent()
            && self.rush(reader, now, &mut work, out)
        {}
        loop {
            let peer = &self.state.peers[taker];
            if peer.needs.is_empty() || !peer.can_receive_more(&self.state.config) {
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
                return;
            }
        }
    }

    /// Starts a transfer to `taker` from whichever peer has most room and is nearest, if there is one. Where there are many
    /// that have something, only those are asked that found nobody to give it to: the others are busy.
    fn take(&mut self, taker: Key<Member>, now: Time, work: &mut usize, out: &mut Vec<Command>) -> bool {
        /// How full a giver's line is, in parts of its budget; differences below that do not matter.
        const STEPS: u64 = 4;
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
                self.state.set_idle(offer, false);
            } else if let Some(dials) = self.can_meet(giver, to, to, now) {
                let peer = &self.state.peers[giver];
                let load = peer.up.in_flight * STEPS / self.state.up_budget(giver).max(1);
                let turn = self.dice.next() as u32;
                givers.push((
                    load,
                    peer.info.place.distance(self.state.peers[to].info.place),
                    turn,
                    offer,
                    dials,
                ));
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
            if choice.1 == Reason::Rarest && distance == 0 && farthest > Some(0) {
                choice.1 = Reason::Locality;
            }
            self.launch(giver, taker, dials, choice, now, out);
            self.state.feed_later(giver, now);
            true
        })
    }

    /// Has a reader that stands still sent what it waits for by whoever will be done with that first, whether or not there
    /// is room: a line where several pieces are under way takes several times as long for each of them.
    fn rush(&mut self, taker: Key<Member>, now: Time, work: &mut usize, out: &mut Vec<Command>) -> bool {
        let m = &self.state.members[taker];
        let (to, file, pause) = (m.peer, m.file, m.pause());
        let Some(wanted) = m.reader().map(|reader| reader.wants_now()) else { return false };
        let peer = &self.state.peers[to];
        if m.have.contains(wanted.start) || !peer.can_receive_one_more(&self.state.config) {
            return false;
        }
        self.state.need(taker, &mut self.words);
        let Some(piece) = first(&wanted, |index| self.words[index]) else { return false };
        let bytes = self.state.files[file].bytes_of(piece);
        let rules = &self.state.files[file].rules;
        let mut givers = Found::new();
        if rules.peers {
            givers = self.candidates(to, file, |file| &file.holders, Member::is_offer, work);
        }
        let has = |offer: &Key<Member>| self.state.members[*offer].have.contains(piece);
        let mut givers: Found<Key<Peer>> =
            givers.into_iter().filter(has).map(|offer| self.state.members[offer].peer).collect();
        // Where others come first on the origin's line, it waits for its turn.
        if !self.state.has_priorities && pause <= now && self.may_come_from_origin(file, now) {
            givers.extend_from_slice(&self.state.origins);
        }
        let best = givers
            .into_iter()
            .filter_map(|giver| Some((self.state.could_squeeze_in(giver, bytes)?, giver)))
            .filter_map(|(time, giver)| Some((time, giver, self.may_meet(giver, to, to, now)?)))
            .min();
        let Some((_, giver, dials)) = best else { return false };
        self.launch(giver, taker, dials, (piece..piece + 1, Reason::Deadline), now, out);
        true
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
            self.state.spreads[index].meets(rates, takers.iter().any(|(claim, _)| !claim.3));
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
        let has_rules = state.has_priorities || !state.spent.is_empty();
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

    /// Whether, now, `giver` could send to `taker`, and if so, whether the taker is to dial. `asks` is the one of the two
    /// that others are tried for, too: what is known of it is at hand.
    pub(super) fn can_meet(
        &self,
        giver: Key<Peer>,
        taker: Key<Peer>,
        asks: Key<Peer>,
        now: Time,
    ) -> Option<bool> {
        let state = &self.state;
        let (g, t) = (&state.peers[giver], &state.peers[taker]);
        let has_room = match g.is_origin() {
            // What it has room for is reckoned so that others have room, too.
            true if state.is_alone(giver) => t.can_receive_one_more(&state.config),
            true => t.can_receive_more(&state.config) || self.may_be_filled(giver, taker),
            false => t.can_receive_more_from_peers(&state.config),
        };
        if !state.can_send_more(giver, now) || !has_room {
            return None;
        }
        self.may_meet(giver, taker, asks, now)
    }

    /// The same, if both had room.
    fn may_meet(&self, giver: Key<Peer>, taker: Key<Peer>, asks: Key<Peer>, now: Time) -> Option<bool> {
        let are_apart = || self.state.pairs.get(giver, taker).is_some_and(|pair| pair.is_apart(now));
        self.dials(giver, taker, asks, now).filter(|_| giver != taker && !are_apart())
    }

    /// Where some are more important than others, those get all of an origin's line that theirs can carry. Else what is
    /// held back for fear of too long a queue would go to who comes after them.
    fn may_be_filled(&self, origin: Key<Peer>, taker: Key<Peer>) -> bool {
        let (state, t) = (&self.state, &self.state.peers[taker]);
        state.has_priorities
            && !t.is_quiet()
            && u32::from(t.down.transfers) < state.config.max_transfers_per_peer
            && t.down.in_flight < state.up_budget(origin).min(t.down.rate() / FILL)
    }

    /// Whether the taker is to dial; `None` if neither side can, or may now.
    pub(super) fn dials(
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
        let may_be_brought = t.info.reachable && g.info.puts && t.info.puts;
        if self.state.peers.len() <= FEW {
            return match (g.info.reachable, may_be_brought) {
                (true, true) => Some(!turned),
                (false, false) => None,
                (taker_dials, _) => Some(taker_dials),
            };
        }
        let met = if asks == giver { g.friends.met(taker) } else { t.friends.met(giver) };
        let (giver_has, taker_has) = if asks == giver { (met.out, met.back) } else { (met.back, met.out) };
        let have_met = giver_has || taker_has;
        let has_room = || g.friends.len() < friends::MOST && t.friends.len() < friends::MOST;
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
    fn candidates(
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
        let may_meet = friends.len() < friends::MOST || bag.len() < MANY;
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

    /// Takes over what a slower giver is sending to somebody who needs nothing else any more, if that is worth it.
    fn help(&mut self, giver: Key<Peer>, now: Time, work: &mut usize, out: &mut Vec<Command>) -> bool {
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

    fn help_from_origin(
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
        self.launch(giver, taker, dials, (piece..piece + 1, Reason::Endgame), now, out);
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

    fn claim(&self, member: Key<Member>, by_peers: bool, now: Time) -> Claim {
        let m = &self.state.members[member];
        let peer = &self.state.peers[m.peer];
        let priority = Reverse(self.state.files[m.file].rules.priority);
        (priority, !self.needs_soon(member, now), !peer.is_poor(by_peers, 0), peer.balance(now))
    }

    fn claim_on_origin(&self, taker: Key<Peer>, origin: Key<Peer>, now: Time) -> OriginClaim {
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
                let claim = (u128::from(peer.fresh(now)) * 1_000_000 / u128::from(rate)) as i64;
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

    /// The pieces to send, given that `self.words` says what the taker needs; an origin has no `offer`, but all.
    fn choose(
        &mut self,
        giver: Key<Peer>,
        offer: Option<Key<Member>>,
        taker: Key<Member>,
        now: Time,
    ) -> Option<(Range<u32>, Reason)> {
        let state = &self.state;
        let m = &state.members[taker];
        let file = &state.files[m.file];
        let have = offer.map(|offer| &state.members[offer].have);
        let words = &self.words;
        let candidates = |index: usize| words[index] & have.map_or(u64::MAX, |have| have.word(index));
        let is_candidate = |piece: u32| candidates((piece / WORD) as usize) & (1 << (piece % WORD)) != 0;

        let soon = m.reader().and_then(|reader| {
            // An origin is not to spend its line on what readers will get from peers in time.
            let range = match offer {
                Some(_) if m.have.contains(reader.position()) => reader.soon(now, file.piece_size),
                _ => reader.at_once(now, file.piece_size),
            };
            first(&range, candidates)
        });
        // While what it waits for is under way, nothing else is to share its line.
        let is_coming = |piece| m.flights.iter().any(|flight| flight.pieces.contains(&piece));
        let waits_for = m.reader().map(|reader| reader.position());
        if soon.is_none() && waits_for.is_some_and(|piece| !m.have.contains(piece) && is_coming(piece)) {
            return None;
        }
        let in_order = m.order == Order::Sequential && m.reader().is_none() || file.hungry.len() == 1;
        let piece = match soon {
            Some(piece) => piece,
            None if in_order => first(&(0..file.pieces), candidates)?,
            None => file.rarity.rarest(file.pieces, candidates, &mut self.dice)?,
        };
        if file.rules.is_frugal(state.config.frugal)
            && offer.is_none()
            && soon.is_none()
            && file.rarity.copies(piece) > 0
        {
            // Peers have it, or are about to; unless none of them seems able to send it to this one.
            let peer = &state.peers[m.peer];
            if peer.down.transfers > 0 || now.since(peer.heard) < FRUGAL_US {
                return None;
            }
        }
        let class = file.rarity.class(piece);
        let longest = self.longest_run(giver, taker);
        // Neighbours of what is rarest, if there are enough to spread the rest of what is rare meanwhile.
        let any_class = self.is_carried_by_peers(giver, taker);
        let is_rare = |piece| any_class || file.rarity.class(piece) <= class;
        let fits = |piece: u32| piece < file.pieces && is_candidate(piece) && is_rare(piece);
        let mut run = piece..piece + 1;
        if soon.is_none() && !in_order {
            // Begin at a multiple of the length, so that runs leave no holes between them that are too small.
            while !run.start.is_multiple_of(longest) && fits(run.start - 1) {
                run.start -= 1;
            }
        }
        while (run.len() as u32) < longest && fits(run.end) {
            run.end += 1;
        }
        let again = m.repair().is_some_and(|repair| repair.contains(&piece));
        let reason = match () {
            () if soon.is_some() => Reason::Deadline,
            () if again => Reason::Repair,
            () if file.rarity.copies(piece) == 0 => Reason::Origin,
            () if m.open <= file.pieces / 32 => Reason::Endgame,
            () => Reason::Rarest,
        };
        Some((run, reason))
    }

    /// Whether it is peers from whom most of a file comes, as far as the line of one of them tells. Two get what is new in
    /// turns, and exchange it at once; and what a slow peer has promised, a fast origin could bring sooner.
    pub(super) fn is_carried_by_peers(&self, giver: Key<Peer>, taker: Key<Member>) -> bool {
        let state = &self.state;
        let m = &state.members[taker];
        let peer = if state.peers[giver].is_origin() { m.peer } else { giver };
        let needy = state.needy.len() as u64;
        let origins: u64 = state.origins.iter().map(|&origin| state.peers[origin].up.rate()).sum();
        state.files[m.file].hungry.len() > 2 && origins < state.peers[peer].up.rate().saturating_mul(needy)
    }

    /// How many pieces one transfer may bring.
    fn longest_run(&self, giver: Key<Peer>, taker: Key<Member>) -> u32 {
        let state = &self.state;
        let m = &state.members[taker];
        let (from, to, file) = (&state.peers[giver], &state.peers[m.peer], &state.files[m.file]);
        if !from.info.runs || !to.info.runs {
            return 1;
        }
        // With nobody to exchange with there is nothing to be gained from parts, and each costs an order and a request.
        let is_alone = from.is_origin() && state.needy.len() == 1;
        if is_alone
            && file.rules.origin_rate.is_none()
            && u64::from(m.open) * u64::from(file.piece_size) <= SMALL
        {
            return m.open.max(1);
        }
        let budget = state.up_budget(giver);
        // Who has little yet is to have something to pass on soon, so several transfers share a line. Later, shorter ones
        // spread nothing faster, and each costs an order, a request and a word of its end.
        let has_begun = u64::from(m.open) * HAS_BEGUN <= u64::from(file.pieces) * (HAS_BEGUN - 1);
        let share = match has_begun && self.is_carried_by_peers(giver, taker) {
            // Where messages take long to come back, so do acknowledgements, as over an uplink that is full, and a new transfer is
            // slow for several round trips. A long one would keep the giver from being told anything else, and not fill its line.
            true => match from.up.rate().saturating_mul(to.down.lag_us()) / 1_000_000 / WINDOW {
                ..2 => u64::MAX,
                windows => budget / (windows + 1).min(SHARES),
            },
            // For a second at least, even if the line is taken for slower than it is.
            false if state.is_alone(giver) => 2 * budget,
            false if is_alone => budget,
            false => budget / SHARES,
        };
        let run_us = match () {
            () if !state.readers.is_empty() => RUN_BESIDE_READERS_US,
            () if state.is_alone(giver) => RUN_ALONE_US,
            () => RUN_US,
        };
        let by_rate = from.up.rate_or(budget, from.info.up_limit).saturating_mul(run_us) / 1_000_000;
        // Who serves many is to have time for all of them.
        let are_many = from.is_origin() && state.needy.len() > 1 && state.serves_many(giver);
        let by_taker = match are_many && to.down.rate() > 0 {
            true => to.down.rate().saturating_mul(TAKER_RUN_US * state.depth(giver).0) / 1_000_000,
            false => u64::MAX,
        };
        let bytes = by_rate.min(share).min(by_taker).min(state.config.max_run_bytes);
        let pieces = (bytes / u64::from(file.piece_size)) as u32;
        // Where several want the same, they should get different parts and exchange them.
        let apart =
            if file.hungry.len() > 1 { file.pieces / (4 * file.hungry.len() as u32) } else { u32::MAX };
        let paced = match file.rules.origin_rate {
            Some(shared) if from.is_origin() => Spent::longest(shared) / u64::from(file.piece_size).max(1),
            _ => u64::from(u32::MAX),
        } as u32;
        // The last pieces come one by one, from whoever is quickest.
        let last = match () {
            () if state.is_alone(giver) => 1,
            () if is_alone && state.origins.len() == 1 => 2,
            () => LAST,
        };
        let longest = pieces.min(paced).min(apart).min(m.open.div_ceil(last)).max(1);
        if state.is_alone(giver) {
            return longest;
        }
        // A power of two, so that parts of longer runs are as good to pass on in shorter ones.
        1 << longest.ilog2()
    }

    fn launch(
        &mut self,
        giver: Key<Peer>,
        taker: Key<Member>,
        dials: bool,
        (pieces, reason): (Range<u32>, Reason),
        now: Time,
        out: &mut Vec<Command>,
    ) {
        out.push(Command::Start(self.state.start(giver, taker, dials, pieces, reason, now)));
        if self.sweep_gap > SWEEP_FAST {
            self.sweep_gap = SWEEP_FAST;
            self.sweep_at = Some(now.plus(SWEEP_FAST));
        }
    }

    /// Looks after some of those in need, whatever happened.
    fn sweep(&mut self, now: Time, out: &mut Vec<Command>) {
        self.state.spent.forget(now);
        // It is nothing where the first time to look was that of a rate that was used up.
        self.sweep_gap = (self.sweep_gap * 2).clamp(SWEEP_FAST, SWEEP_SLOW);
        self.sweep_at = Some(now.plus(self.sweep_gap));
        let mut work = SWEEP_PEERS;
        let peers: Vec<_> = sample_of(SWEEP_PEERS, &self.state.needy, &mut self.dice, &mut work).collect();
        for &peer in &peers {
            self.serve_taker(peer, now, out);
        }
        self.pump_origins(now, out);
        for peer in peers {
            self.explain(peer, out);
        }
    }

    /// Tells a peer that gets nothing at all why, where that has changed.
    fn explain(&mut self, peer: Key<Peer>, out: &mut Vec<Command>) {
        if self.state.peers[peer].down.transfers > 0 {
            return;
        }
        let mut work = TELL;
        let needs: Vec<_> = sample(&self.state.peers[peer].needs, &mut self.dice, &mut work).collect();
        for member in needs {
            let reason = self.reason_to_wait(member);
            let m = &mut self.state.members[member];
            if m.waiting.replace(reason) != Some(reason) {
                let (peer, file) = (self.state.peers[m.peer].id, self.state.files[m.file].id);
                out.push(Command::Waiting { peer, file, reason });
            }
        }
    }

    fn reason_to_wait(&mut self, member: Key<Member>) -> WaitReason {
        let state = &self.state;
        let m = &state.members[member];
        if !state.peers[m.peer].can_receive_more(&state.config) {
            return WaitReason::YourLimit;
        }
        if !state.origins.is_empty() {
            return WaitReason::OriginBusy;
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

/// The first candidate in a range.
fn first(range: &Range<u32>, candidates: impl Fn(usize) -> u64) -> Option<u32> {
    touched(range).find_map(|index| {
        let word = candidates(index) & mask(range, index);
        (word != 0).then(|| index as u32 * WORD + word.trailing_zeros())
    })
}
