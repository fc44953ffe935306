//! What holds after every event, for random swarms.

use super::world::{World, origin, peer};
use super::{for_all, seeds};
use crate::swarm::dice::Dice;
use crate::swarm::schedule::GO_ON_US;
use crate::swarm::slab::{Bag, Key};
use crate::swarm::state::{Counts, Member, Peer};
use crate::swarm::*;

/// A few peers with random lines and habits, who come and go; [`World`] checks every assignment.
struct Crowd {
    world: World,
    dice: Dice,
    pieces: u32,
    /// Whether the latest step was one single event.
    was_single: bool,
}

impl Crowd {
    fn new(seed: u64, reachable: usize) -> Self {
        let mut dice = Dice::new(seed);
        let pieces = 2 + dice.below(150) as u32;
        let mut world = World::new(Config { seed, ..Config::default() });
        if dice.below(4) > 0 {
            world.join(0, origin());
        }
        world.add_file(0, pieces);
        let mut crowd = Self { world, dice, pieces, was_single: false };
        for id in 1..=2 + crowd.dice.below(6) as u32 {
            crowd.come(id, reachable);
        }
        crowd
    }

    fn come(&mut self, id: u32, reachable: usize) {
        let up_limit = (self.dice.below(2) == 0).then(|| 50_000 + self.dice.below(4_000_000) as u64);
        let reachable = self.dice.below(100) < reachable;
        let stays = self.dice.below(2) == 0;
        self.world.join(id, PeerInfo { reachable, up_limit, stays, ..peer() });
        let (from, len) = (self.dice.below(self.pieces as usize), self.dice.below(self.pieces as usize));
        self.world.provide(id, 0, from as u32..(from + len) as u32);
        self.world.request(id, 0);
    }

    /// One thing happens; `false` when nothing is left to happen.
    fn step(&mut self, reachable: usize) -> bool {
        self.was_single = false;
        match self.dice.below(60) {
            0 => {
                let id = 1 + self.dice.below(7) as u32;
                if self.world.peers.contains_key(&id) {
                    self.world.send(Event::PeerLeft { peer: PeerId(id) });
                } else {
                    self.come(id, reachable);
                }
            }
            1..10 => {
                let micros = self.dice.below(60_000) as u64;
                self.world.pass(micros);
            }
            _ => {
                let under_way = self.world.flights.len();
                let Some(&transfer) = self.world.flights.keys().nth(self.dice.below(under_way.min(6))) else {
                    self.world.pass(1_500_000);
                    return self.world.something_is_possible();
                };
                self.world.now = self.world.now.plus(self.dice.below(20_000) as u64);
                let pings = self.world.pings.len();
                self.world.complete(transfer);
                self.was_single = self.world.pings.len() == pings;
            }
        }
        true
    }
}

#[test]
fn nobody_is_idle_while_somebody_needs_what_it_has() {
    for_all(seeds(0..300), |seed| {
        let reachable = [100, 60, 20][seed as usize % 3];
        let mut crowd = Crowd::new(seed, reachable);
        for step in 0..400 {
            if !crowd.step(reachable) {
                break;
            }
            // What is taken over from others leads to more, which is bounded in one go: the rest follows with the next event.
            if !crowd.world.swarm.touched.is_empty() {
                continue;
            }
            let missed = crowd.world.swarm.missed(crowd.world.now);
            assert_eq!(missed, None, "after step {step}: giver and taker");
        }
        crowd.world.everybody_leaves();
    });
}

#[test]
fn who_gives_more_than_it_gets_comes_first() {
    for_all(seeds(0..300), |seed| {
        let mut crowd = Crowd::new(seed, 100);
        for _ in 0..300 {
            let (known, cancelled) = (crowd.world.starts.len(), crowd.world.cancelled.len());
            if !crowd.step(100) {
                break;
            }
            // With a single assignment, what was known when it was made is what is known now, but for itself.
            let [start] = &crowd.world.starts[known..] else { continue };
            if !crowd.was_single || crowd.world.cancelled.len() > cancelled {
                continue;
            }
            let (swarm, now) = (&crowd.world.swarm, crowd.world.now);
            let key = |id| swarm.state.peer_ids[&id];
            let (giver, taker) = (key(start.giver), key(start.taker));
            if start.giver == PeerId(0) || start.reason == Reason::Endgame {
                continue;
            }
            let bytes = swarm.state.files[swarm.state.file_ids[&FileId(0)]].bytes_of_run(&start.pieces);
            let offer = swarm.state.part(giver, swarm.state.file_ids[&FileId(0)]).expect("what it gives");
            let passed_over = |by_peers| {
                let claim = swarm.claim_at(taker, by_peers, bytes, now);
                let mut others = swarm.state.needy.iter().filter(|&other| other != taker && other != giver);
                others.find(|&other| {
                    swarm.claim_at(other, by_peers, 0, now) < claim
                        && swarm.lacks(other, giver)
                        && swarm.would_meet(giver, other, now)
                })
            };
            // Whether most comes from peers depends on how many need something, and the taker is not among them any more if
            // this was its last piece.
            let by_peers = swarm.is_carried_by_peers(giver, offer);
            let was_last = swarm.state.peers[taker].needs.is_empty();
            let mut passed = passed_over(by_peers);
            if passed.is_some() && was_last {
                passed = passed_over(!by_peers);
            }
            assert_eq!(passed, None, "{start:?}");
        }
    });
}

/// Of whatever rank it is among the others: nobody who gives more than it gets goes without what somebody could send it,
/// be that a peer or an origin.
#[test]
fn nobody_gets_less_than_it_gives_while_somebody_could_send_to_it() {
    let looked_at = std::sync::atomic::AtomicU32::new(0);
    for_all(seeds(0..300), |seed| {
        let reachable = [100, 60, 20][seed as usize % 3];
        let mut crowd = Crowd::new(seed, reachable);
        for step in 0..400 {
            if !crowd.step(reachable) {
                break;
            }
            let (swarm, now) = (&crowd.world.swarm, crowd.world.now);
            let is_going_on = swarm.sweep_at.is_some_and(|at| at <= now.plus(GO_ON_US));
            if !swarm.touched.is_empty() || is_going_on {
                continue;
            }
            let state = &swarm.state;
            for taker in state.needy.iter() {
                let peer = &state.peers[taker];
                if peer.taken + peer.down.in_flight >= peer.given {
                    continue;
                }
                looked_at.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                // An origin is told several things at once, and not before its line is about to run dry.
                let has_enough = |giver: Key<Peer>| {
                    let (origin, up) = (&state.peers[giver], &state.peers[giver].up);
                    let is_told_later = origin.feed.get().is_some_and(|at| at <= up.feed_at(0));
                    let is_busy = up.rate() > 0 && up.in_flight >= state.least_up_budget(giver);
                    origin.is_origin() && (is_told_later || is_busy)
                };
                let could = |giver: &&Key<Peer>| {
                    swarm.lacks(taker, **giver)
                        && swarm.can_meet(**giver, taker, **giver, now).is_some()
                        && !has_enough(**giver)
                };
                let giver = state.peer_ids.values().find(could).map(|&giver| state.peers[giver].id);
                assert_eq!(
                    giver,
                    None,
                    "after step {step}: to {:?}; {:?} touched {} o {:?} budget {:?} starts {:?} open {} peers {}",
                    peer.id,
                    peer.down,
                    swarm.touched.len(),
                    state.origins.iter().map(|&o| &state.peers[o].up).collect::<Vec<_>>(),
                    state.origins.iter().map(|&o| state.up_budget(o)).collect::<Vec<_>>(),
                    &crowd.world.starts[crowd.world.starts.len().saturating_sub(3)..],
                    state.open,
                    state.stats.peers
                );
            }
        }
    });
    assert!(looked_at.into_inner() > 0);
}

impl Swarm {
    /// What is counted and kept in bags is what is so.
    pub(super) fn check_books(&self) {
        let state = &self.state;
        let mut words = Vec::new();
        for (id, &key) in &state.file_ids {
            let file = &state.files[key];
            let mut copies = vec![0; file.pieces as usize];
            for member in file.members.iter() {
                let m = &state.members[member];
                let coming = m.flights.iter().flat_map(|flight| state.transfers[flight.transfer].missing());
                if m.shares {
                    m.have.iter().chain(coming).for_each(|piece| copies[piece as usize] += 1);
                }
                let peer = &state.peers[m.peer];
                state.need(member, &mut words);
                let open = words.iter().map(|word| word.count_ones()).sum::<u32>();
                assert_eq!(m.open, if peer.is_gone() { 0 } else { open });
                assert!(!(peer.is_gone() && m.is_offer()), "nobody can get what it has");
                let is_in = |bag: &Bag<Member>| bag.iter().any(|other| other == member);
                assert_eq!(is_in(&file.hungry), m.open > 0);
                assert_eq!(is_in(&peer.needs), m.open > 0);
                assert_eq!(is_in(&file.holders), m.is_offer());
                assert_eq!(is_in(&peer.offers), m.is_offer());
                assert_eq!(is_in(&file.closing), m.open == 0 && !m.flights.is_empty());
                assert_eq!(is_in(&state.closing), is_in(&file.closing));
                assert!(!m.is_idle() || m.is_offer());
                assert!(peer.urgent() != Some(member) || m.open > 0);
            }
            for (piece, copies) in copies.into_iter().enumerate() {
                assert_eq!(file.rarity.copies(piece as u32), copies, "copies of piece {piece} of {id:?}");
            }
        }
        let open = |member: &Member| u64::from(member.open) * u64::from(state.files[member.file].piece_size);
        let all = state.file_ids.values().flat_map(|&file| state.files[file].members.iter());
        assert_eq!(state.open, all.map(|member| open(&state.members[member])).sum::<u64>());
        let present = |key: &&Key<Peer>| !state.peers[**key].is_origin() && !state.peers[**key].is_gone();
        assert_eq!(state.present, state.peer_ids.values().filter(present).count() as u64);
        for &key in state.peer_ids.values() {
            let peer = &state.peers[key];
            let is_in = |bag: &Bag<Peer>| bag.iter().any(|other| other == key);
            assert_eq!(is_in(&state.needy), !peer.needs.is_empty());
            assert_eq!(is_in(&state.readers), peer.urgent().is_some());
            let under_way = || state.giving(key).map(|transfer| &state.transfers[transfer]);
            assert_eq!(under_way().count(), usize::from(peer.up.transfers));
            let promised =
                under_way().filter(|t| t.counts == Counts::Yes).map(|t| u64::from(t.bytes - t.bytes_done));
            assert_eq!(promised.sum::<u64>(), peer.up.in_flight);
            for friend in peer.friends.iter() {
                let friend = state.peers.get(friend).expect("a friend is here");
                assert!(friend.friends.iter().any(|other| other == key), "friends know each other");
            }
        }
    }

    /// A giver and a taker that could be brought together now, and are not.
    fn missed(&self, now: Time) -> Option<(PeerId, PeerId)> {
        let state = &self.state;
        let givers = || {
            state.peer_ids.iter().filter(|&(_, &key)| {
                // Of an origin, a part at a time: there is always more to be had from it.
                !state.peers[key].is_origin() && state.can_send_more(key, now)
            })
        };
        givers().find_map(|(&giver, &from)| {
            let may_get =
                |to: &Key<Peer>| self.lacks(*to, from) && self.can_meet(from, *to, from, now).is_some();
            state.needy.iter().find(may_get).map(|to| (giver, state.peers[to].id))
        })
    }

    /// Whether a peer needs, of the only file, something that another one has.
    fn lacks(&self, taker: Key<Peer>, giver: Key<Peer>) -> bool {
        let file = self.state.file_ids[&FileId(0)];
        let (Some(needs), offer) = (self.state.part(taker, file), self.state.part(giver, file)) else {
            return false;
        };
        if self.state.peers[giver].is_origin() {
            return self.state.members[needs].open > 0;
        }
        let mut words = Vec::new();
        self.state.need(needs, &mut words);
        let has = |index| offer.map_or(0, |offer| self.state.members[offer].have.word(index));
        self.state.peers[giver].gives()
            && words.iter().enumerate().any(|(index, need)| need & has(index) != 0)
    }

    /// Whether two could be brought together if the giver had room.
    fn would_meet(&self, giver: Key<Peer>, taker: Key<Peer>, now: Time) -> bool {
        self.state.has_room_for_peers(taker)
            && self.dials(giver, taker, giver, now).is_some()
            && !self.state.pairs.get(giver, taker).is_some_and(|pair| pair.is_apart(now))
    }

    /// What [`Swarm::claim`] was before so many bytes were promised in one transfer, but for what is the same for all here.
    fn claim_at(&self, taker: Key<Peer>, by_peers: bool, promised: u64, now: Time) -> (bool, i64) {
        let peer = &self.state.peers[taker];
        (!peer.is_poor(by_peers, promised), peer.balance(now) - promised as i64)
    }
}
