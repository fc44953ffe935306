//! Random events of every kind, sensible and senseless: nothing panics, every command is right ([`World`] checks
//! them), there is progress whenever it is possible, and nothing is left when all have gone.

use proptest::prelude::*;

use super::world::{World, origin, peer};
use super::{for_all, seeds};
use crate::swarm::dice::Dice;
use crate::swarm::*;

const FILES: [u32; 4] = [1, 7, 64, 150];
/// So many numbers of peers are enough for most things to happen often.
const FEW: usize = 12;

struct Chaos {
    world: World,
    dice: Dice,
    /// Numbers of peers that may be here.
    peers: usize,
    /// Transfers that have ended, which somebody may still speak of.
    old: Vec<TransferId>,
}

impl Chaos {
    fn new(seed: u64, peers: usize) -> Self {
        let config = Config { seed, retry_us: 100_000, stall_us: 2_000_000, ..Config::default() };
        let (world, dice) = (World::new(config), Dice::new(seed));
        let mut chaos = Self { world, dice, peers, old: vec![TransferId(0)] };
        if chaos.chance(80) {
            chaos.world.join(0, origin());
        }
        for (id, &pieces) in FILES.iter().enumerate() {
            chaos.world.add_file(id as u32, pieces);
        }
        chaos
    }

    /// From 40 to 300 are here from the start, and have and want something.
    fn of_many(seed: u64) -> Self {
        let mut chaos = Self::new(seed, 40 + Dice::new(seed).below(261));
        for id in 1..chaos.peers as u32 {
            let info = chaos.some_info();
            chaos.world.join(id, info);
            let (file, pieces) = (chaos.some_file().0, chaos.some_pieces());
            chaos.world.provide(id, file, pieces);
            chaos.world.request(id, chaos.dice.below(FILES.len()) as u32);
        }
        chaos
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.dice.below(100) < percent
    }

    /// A peer; perhaps one that is not here.
    fn somebody(&mut self) -> PeerId {
        PeerId(self.dice.below(self.peers) as u32)
    }

    fn some_file(&mut self) -> FileId {
        FileId(self.dice.below(FILES.len() + 1) as u32)
    }

    fn some_pieces(&mut self) -> std::ops::Range<u32> {
        let (a, b) = (self.dice.below(160) as u32, self.dice.below(160) as u32);
        match self.dice.below(4) {
            0 => 0..u32::MAX,
            // Also inverted ones.
            1 => a..b,
            _ => a / 2..a / 2 + b / 8,
        }
    }

    fn some_transfer(&mut self) -> TransferId {
        let world = &self.world;
        if world.flights.is_empty() || self.dice.below(20) == 0 {
            return self.old[self.dice.below(self.old.len())];
        }
        *world.flights.keys().nth(self.dice.below(world.flights.len())).unwrap()
    }

    fn some_info(&mut self) -> PeerInfo {
        PeerInfo {
            is_origin: self.chance(3),
            reachable: self.chance(70),
            gives: self.chance(85),
            runs: self.chance(80),
            puts: self.chance(80),
            ahead: self.chance(80),
            stays: self.chance(50),
            up_limit: self.chance(20).then(|| self.dice.below(1 << 22) as u64),
            down_limit: self.chance(20).then(|| self.dice.below(1 << 22) as u64),
            address: self.chance(50).then(|| [10, 0, self.dice.below(2) as u8, 1].into()),
        }
    }

    fn step(&mut self) {
        let kinds = [
            FailureKind::Refused,
            FailureKind::Unreachable,
            FailureKind::Timeout,
            FailureKind::Slow,
            FailureKind::Hash,
            FailureKind::Gone,
            FailureKind::Disk,
            FailureKind::Cancelled,
        ];
        let event = match self.dice.below(100) {
            0..6 => Event::PeerJoined { peer: self.somebody(), info: self.some_info() },
            6..8 => Event::PeerLeft { peer: self.somebody() },
            8..9 => Event::FileRemoved { file: self.some_file() },
            9..11 => {
                let file = self.some_file();
                let pieces = FILES.get(file.0 as usize).copied().unwrap_or(0);
                return self.world.add_file(file.0, pieces);
            }
            11 => {
                let some = |dice: &mut Dice, what: Rules, other: Rules| [what, other][dice.below(2)];
                let one =
                    Rules { peers: self.chance(70), priority: self.dice.below(3) as i32, ..Rules::default() };
                let rate = 500_000 + self.dice.below(1 << 22) as u64;
                let origin_rate =
                    self.chance(30).then_some(SharedRate { group: self.dice.below(2) as u32, rate });
                let frugal = self.chance(50).then(|| self.chance(50));
                let rules = some(&mut self.dice, Rules::default(), Rules { origin_rate, frugal, ..one });
                Event::FileRules { file: self.some_file(), rules }
            }
            12 => Event::Reachable { peer: self.somebody(), ok: self.chance(60) },
            22 if self.chance(30) => {
                let peer = self.somebody();
                // Some say nothing for a while, and some without having been asked.
                match self.dice.below(3) {
                    0 => return self.world.mute.clear(),
                    1 => {
                        self.world.mute.insert(peer.0);
                        return;
                    }
                    _ => Event::Pong { peer },
                }
            }
            13..24 => {
                let order = if self.chance(50) { Order::Rarest } else { Order::Sequential };
                let window = self.chance(30).then(|| self.some_pieces());
                let (peer, file, pieces) = (self.somebody(), self.some_file(), self.some_pieces());
                Event::Request { peer, file, pieces, order, window }
            }
            24 => Event::ReaderPace {
                peer: self.somebody(),
                file: self.some_file(),
                rate: self.dice.next() >> self.dice.below(64),
            },
            25..27 => {
                Event::Unrequest { peer: self.somebody(), file: self.some_file(), pieces: self.some_pieces() }
            }
            27..30 => {
                Event::Provide { peer: self.somebody(), file: self.some_file(), pieces: self.some_pieces() }
            }
            30..32 => {
                Event::Unprovide { peer: self.somebody(), file: self.some_file(), pieces: self.some_pieces() }
            }
            32..52 => {
                let transfer = self.some_transfer();
                let taker = self
                    .world
                    .flights
                    .get(&transfer)
                    .map(|f| (f.assignment.taker, f.assignment.pieces.clone()));
                let (peer, run) = taker.unwrap_or((PeerId(1), 0..3));
                let peer = if self.chance(90) { peer } else { self.somebody() };
                let pieces = (0..self.dice.below(5))
                    .map(|_| run.start.saturating_sub(1) + self.dice.below(run.len() + 2) as u32)
                    .collect();
                Event::Progress { transfer, peer, pieces }
            }
            52..90 => {
                let transfer = self.some_transfer();
                let sides =
                    self.world.flights.get(&transfer).map(|f| (f.assignment.giver, f.assignment.taker));
                let (giver, taker) = sides.unwrap_or((PeerId(1), PeerId(2)));
                let peer = match self.dice.below(20) {
                    0..3 => giver,
                    3 => self.somebody(),
                    _ => taker,
                };
                let failed = self.chance(15);
                let result = if failed { Err(kinds[self.dice.below(kinds.len())]) } else { Ok(()) };
                self.old.push(transfer);
                let (bytes, ms) = (self.dice.next() >> self.dice.below(64), self.dice.next() >> 32);
                Event::Completed { transfer, peer, bytes, ms, result }
            }
            90..97 => {
                let micros = self.dice.below(50_000) as u64;
                return self.world.pass(micros);
            }
            _ => {
                let micros = self.dice.below(5_000_000) as u64;
                return self.world.pass(micros);
            }
        };
        self.world.now = self.world.now.plus(self.dice.below(3000) as u64);
        self.world.send(event);
        if self.chance(5) {
            self.world.swarm.check_books();
        }
    }

    /// From now on everybody behaves.
    fn calm_down(&mut self) {
        self.world.mute.clear();
        for _ in 0..100_000 {
            if let Some(&transfer) = self.world.flights.keys().next() {
                self.world.now = self.world.now.plus(500);
                self.world.complete(transfer);
                continue;
            }
            if !self.world.something_is_possible() {
                return;
            }
            // Longer than any pause between two peers after failures.
            let mut waited = 0;
            while self.world.flights.is_empty() && waited < 20 {
                self.world.pass(500_000);
                waited += 1;
            }
            assert!(!self.world.flights.is_empty(), "no progress: {:#?}", self.world.peers);
        }
        panic!("never done");
    }
}

fn play(mut chaos: Chaos, steps: usize) {
    for _ in 0..steps {
        chaos.step();
    }
    // What the swarm believes of who can be dialled may be less than what is so.
    for id in chaos.world.peers.keys().copied().collect::<Vec<_>>() {
        let ok = chaos.world.peers[&id].info.reachable;
        chaos.world.send(Event::Reachable { peer: PeerId(id), ok });
    }
    chaos.world.swarm.check_books();
    chaos.calm_down();
    chaos.world.swarm.check_books();
    chaos.world.everybody_leaves();
}

#[test]
fn nothing_breaks_whatever_happens() {
    for_all(seeds(0..500), |seed| play(Chaos::new(seed, FEW), 300));
}

#[test]
fn nothing_breaks_in_a_long_life() {
    for_all(seeds(10_000..10_010), |seed| play(Chaos::new(seed, FEW), 10_000));
}

/// What begins only where there are many: acquaintances (above 32), candidates taken by chance, whole crowds (from 100 on).
#[test]
fn nothing_breaks_in_a_crowd() {
    for_all(seeds(20_000..20_004), |seed| play(Chaos::of_many(seed), 2000));
}

/// Whoever wants something gets all of it, from the origin or from one who had it first, also who comes when all others have met
/// as many as they will.
#[test]
fn a_crowd_has_all_in_the_end() {
    for_all(seeds(30_000..30_003), |seed| {
        let mut dice = Dice::new(seed);
        let (peers, pieces) = (40 + dice.below(261) as u32, 8 + dice.below(24) as u32);
        let has_origin = dice.below(2) == 0;
        let undialable = dice.below(60);
        let mut world = World::new(Config { seed, ..Config::default() });
        world.add_file(0, pieces);
        world.join(0, if has_origin { origin() } else { peer() });
        if !has_origin {
            world.provide(0, 0, 0..pieces);
        }
        let (first, mut late) = (1..=peers / 10 * 9, peers / 10 * 9 + 1..=peers);
        let come = |world: &mut World, id: u32, dice: &mut Dice| {
            let mut limit =
                |percent| (dice.below(100) < percent).then(|| 200_000 + dice.below(4_000_000) as u64);
            let (up_limit, down_limit) = (limit(50), limit(20));
            let reachable = dice.below(100) >= undialable;
            world.join(id, PeerInfo { reachable, up_limit, down_limit, ..peer() });
            world.request(id, 0);
        };
        for id in first {
            come(&mut world, id, &mut dice);
        }
        loop {
            // Of the oldest, with what its line may take; some fail.
            let oldest = dice.below(world.flights.len().clamp(1, 50));
            if let Some(&transfer) = world.flights.keys().nth(oldest) {
                world.now = world.now.plus(dice.below(400) as u64);
                match dice.below(50) {
                    0 => world.end(transfer, Err(FailureKind::Timeout)),
                    _ => world.complete(transfer),
                }
                continue;
            }
            let mut waited = 0;
            while world.flights.is_empty() && world.something_is_possible() {
                assert!(waited < 20, "nothing in 10 s: {:?} lack something", who_lacks(&world, pieces));
                world.pass(500_000);
                waited += 1;
            }
            if world.flights.is_empty() {
                let Some(id) = late.next() else { break };
                come(&mut world, id, &mut dice);
            }
        }
        assert_eq!(who_lacks(&world, pieces), [0; 0], "of {peers}");
        world.swarm.check_books();
        world.everybody_leaves();
    });
}

/// Circles of acquaintances are never full where all others come and go: whoever stays could dial new ones all the time.
#[test]
fn among_many_and_few_who_come_and_go_nobody_dials_too_many() {
    // Among no more than 32 the swarm looks at whom they have dialled in another way.
    for residents in [32, 0] {
        come_and_go(residents);
    }
}

fn come_and_go(residents: u32) {
    let (mut world, mut dice) = (World::new(Config { seed: 1, ..Config::default() }), Dice::new(1));
    let stay = 0..3;
    world.add_file(0, 3000);
    for id in stay.clone() {
        world.join(id, peer());
        world.request(id, 0);
    }
    for id in 10..10 + residents {
        world.join(id, peer());
    }
    for round in 1..60u32 {
        let visitors = round * 100..round * 100 + 50;
        for id in visitors.clone() {
            // Others cannot bring what they have, and each has something of its own.
            world.join(id, PeerInfo { puts: false, ..peer() });
            let first = (id % 100 + round % 20 * 50) * 3;
            world.provide(id, 0, first..first + 3);
        }
        while let Some(&transfer) = world.flights.keys().nth(dice.below(world.flights.len().max(1))) {
            world.now = world.now.plus(500);
            world.complete(transfer);
        }
        world.pass(200_000);
        world.complete_all();
        for id in visitors {
            world.send(Event::PeerLeft { peer: PeerId(id) });
        }
    }
    for id in stay {
        // World looks at each 10 s of it: as many as 64 in the first of them, and 32 in each that follows, or nearly so.
        let dialled = world.peers[&id].known.len();
        assert!(dialled >= 60, "{dialled} in {:?}", world.now);
    }
    world.everybody_leaves();
}

fn who_lacks(world: &World, pieces: u32) -> Vec<u32> {
    let all = world.peers.iter().filter(|(_, peer)| !peer.info.is_origin).map(|(&id, _)| id);
    all.filter(|&id| world.has(id, 0) < pieces as usize).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn all_is_done_in_the_end(
        seed: u64,
        peers in 1u32..12,
        pieces in 1u32..200,
        undialable in 0usize..100,
        runs: bool,
        failing in 0usize..30,
    ) {
        let mut world = World::new(Config { seed, retry_us: 10_000, ..Config::default() });
        let mut dice = Dice::new(seed);
        world.join(0, origin());
        world.add_file(0, pieces);
        for id in 1..=peers {
            let reachable = dice.below(100) >= undialable;
            world.join(id, PeerInfo { reachable, runs, ..peer() });
            world.request(id, 0);
        }
        for _ in 0..100_000 {
            world.now = world.now.plus(1 + dice.below(2000) as u64);
            let Some(&transfer) = world.flights.keys().nth(dice.below(world.flights.len())) else {
                if (1..=peers).all(|id| world.has(id, 0) == pieces as usize) {
                    break;
                }
                world.pass(10_000);
                continue;
            };
            if dice.below(100) < failing {
                world.end(transfer, Err(FailureKind::Timeout));
            } else {
                world.complete(transfer);
            }
        }
        for id in 1..=peers {
            prop_assert_eq!(world.has(id, 0), pieces as usize);
        }
        world.everybody_leaves();
    }
}
