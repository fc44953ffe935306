//! Random events of every kind, sensible and senseless: nothing panics, every command is right ([`World`] checks
//! them), there is progress whenever it is possible, and nothing is left when all have gone.

use proptest::prelude::*;

use super::world::{World, origin, peer};
use super::{for_all, seeds};
use crate::swarm::dice::Dice;
use crate::swarm::*;

const FILES: [u32; 4] = [1, 7, 64, 150];

struct Chaos {
    world: World,
    dice: Dice,
    /// Transfers that have ended, which somebody may still speak of.
    old: Vec<TransferId>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let config = Config { seed, retry_us: 100_000, stall_us: 2_000_000, ..Config::default() };
        let mut chaos = Self { world: World::new(config), dice: Dice::new(seed), old: vec![TransferId(0)] };
        if chaos.chance(80) {
            chaos.world.join(0, origin());
        }
        for (id, &pieces) in FILES.iter().enumerate() {
            chaos.world.add_file(id as u32, pieces);
        }
        chaos
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.dice.below(100) < percent
    }

    /// A peer; perhaps one that is not here.
    fn somebody(&mut self) -> PeerId {
        PeerId(self.dice.below(12) as u32)
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
            11..13 => Event::Reachable { peer: self.somebody(), ok: self.chance(60) },
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

fn play(seed: u64, steps: usize) {
    let mut chaos = Chaos::new(seed);
    for _ in 0..steps {
        chaos.step();
    }
    // What the swarm believes of who can be dialled may be less than what is so.
    for id in chaos.world.peers.keys().copied().collect::<Vec<_>>() {
        let ok = chaos.world.peers[&id].info.reachable;
        chaos.world.send(Event::Reachable { peer: PeerId(id), ok });
    }
    chaos.calm_down();
    chaos.world.everybody_leaves();
}

#[test]
fn nothing_breaks_whatever_happens() {
    for_all(seeds(0..500), |seed| play(seed, 300));
}

#[test]
fn nothing_breaks_in_a_long_life() {
    for_all(10_000..10_010, |seed| play(seed, 10_000));
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
