//! What the operator wants of files.

use super::world::{Flight, PIECE, World, origin, peer};
use crate::swarm::*;

fn world_with(config: Config, files: u32, pieces: u32, rules: impl Fn(u32) -> Rules) -> World {
    let mut world = World::new(config);
    world.join(0, origin());
    for file in 0..files {
        world.add_file(file, pieces);
        world.send(Event::FileRules { file: FileId(file), rules: rules(file) });
    }
    world
}

fn frugal() -> Config {
    Config { frugal: true, ..Config::default() }
}

fn bytes(pieces: u64) -> u64 {
    pieces * u64::from(PIECE)
}

#[test]
fn what_peers_may_not_give_comes_from_origins() {
    let no_peers = |_| Rules { peers: false, ..Rules::default() };
    let mut world = world_with(Config::default(), 1, 40, no_peers);
    world.join(1, peer());
    world.provide(1, 0, 0..40);
    for id in 2..=4 {
        world.join(id, peer());
        let (peer, file) = (PeerId(id), FileId(0));
        let window = (id == 3).then_some(5..40);
        // `World` looks at each.
        world.send(Event::Request { peer, file, pieces: 0..40, order: Order::Rarest, window });
        world.send(Event::Reachable { peer: PeerId(1), ok: true });
    }
    world.complete_all();
    assert!((2..=4).all(|id| world.has(id, 0) == 40));
    assert_eq!(world.swarm.stats().peer_bytes, 0);
}

/// What the origin sent of a file that peer 1 has, for peer 2.
fn sent_again(config: Config, rules: Rules) -> u64 {
    let mut world = world_with(config, 1, 200, |_| rules);
    world.join(1, peer());
    world.provide(1, 0, 0..200);
    world.join(2, peer());
    world.request(2, 0);
    world.complete_all();
    assert_eq!(world.has(2, 0), 200);
    world.swarm.stats().origin_bytes
}

#[test]
fn a_frugal_origin_leaves_to_peers_what_they_have() {
    let said = |frugal| Rules { frugal, ..Rules::default() };
    assert_eq!(sent_again(frugal(), said(None)), 0);
    assert_eq!(sent_again(Config::default(), said(Some(true))), 0);
    assert!(sent_again(Config::default(), said(None)) > bytes(20));
    assert!(sent_again(frugal(), said(Some(false))) > bytes(20));
    let no_peers = Rules { peers: false, frugal: Some(true), ..Rules::default() };
    assert_eq!(sent_again(frugal(), no_peers), bytes(200) - 1000, "where no peer may, it is no waste");
}

fn undialable() -> PeerInfo {
    PeerInfo { reachable: false, ..peer() }
}

/// All of it, and as fast as if nobody had it.
#[test]
fn a_frugal_origin_sends_at_once_what_no_peer_can_bring() {
    let mut world = world_with(frugal(), 1, 200, |_| Rules::default());
    for id in 1..=4 {
        world.join(id, undialable());
    }
    world.provide(1, 0, 0..200);
    // Until then it may be that they are only not known to be within reach.
    world.pass(2_000_000);
    let begin = world.now;
    (2..=4).for_each(|id| world.request(id, 0));
    world.complete_all();
    assert!((2..=4).all(|id| world.has(id, 0) == 200));
    // `complete_all` takes a millisecond for each.
    let took = world.now.since(begin);
    assert!(took <= 1000 * world.starts.len() as u64, "something was waited for: {took} us");
    assert!(world.starts.iter().all(|start| start.giver == PeerId(0)));
}

/// Who gives has as much right to receive as all others.
#[test]
fn a_frugal_origin_sends_what_no_peer_can_bring_to_one_who_gives() {
    let mut world = world_with(frugal(), 2, 10, |_| Rules::default());
    for id in [1, 2] {
        world.join(id, undialable());
        world.provide(id, id - 1, 0..10);
    }
    world.pass(2_000_000);
    world.join(3, peer());
    world.request(3, 0);
    let first = *world.flights.keys().next().unwrap();
    assert_eq!(world.flights[&first].assignment.giver, PeerId(1));
    world.request(1, 1);
    assert!(world.starts.iter().any(|start| (start.giver, start.taker) == (PeerId(0), PeerId(1))));
}

#[test]
fn a_frugal_origin_waits_for_peers_that_could_send_but_not_for_ever() {
    let config = Config { max_transfers_per_peer: 1, ..frugal() };
    let mut world = world_with(config, 1, 400, |_| Rules::default());
    world.join(1, peer());
    world.provide(1, 0, 0..400);
    // It keeps the first busy, and has nothing to give.
    world.join(3, PeerInfo { gives: false, ..peer() });
    world.request(3, 0);
    world.pass(100_000);
    world.join(2, PeerInfo { gives: false, ..peer() });
    world.request(2, 0);
    let to_2 = |world: &World| world.starts.iter().filter(|start| start.taker == PeerId(2)).count();
    world.pass(1_800_000);
    assert_eq!(to_2(&world), 0);
    assert!(world.waits.contains(&(PeerId(2), FileId(0), WaitReason::PeersBusy)), "{:?}", world.waits);
    world.pass(1_500_000);
    assert!(to_2(&world) > 0);
    // As no peer sends anything now, nothing is waited for any more.
    let begin = world.now;
    while world.has(2, 0) < 400 {
        world.pass(1000);
        let to_2 = |flight: &Flight| flight.assignment.taker == PeerId(2);
        let under_way = world.flights.iter().find(|(_, flight)| to_2(flight)).map(|(&transfer, _)| transfer);
        under_way.into_iter().for_each(|transfer| world.complete(transfer));
    }
    let took = world.now.since(begin);
    assert!(took < 1_000_000, "{took} us");
    assert!(world.starts.iter().all(|start| start.taker != PeerId(2) || start.giver == PeerId(0)));
}

/// What one is told that waits for the only file there is.
fn why_it_waits(rules: Rules) -> Vec<WaitReason> {
    let mut world = World::new(Config::default());
    world.join(0, PeerInfo { up_limit: Some(1_000_000), ..origin() });
    world.add_file(0, 400);
    world.send(Event::FileRules { file: FileId(0), rules });
    world.join(1, PeerInfo { gives: false, ..peer() });
    world.request(1, 0);
    world.pass(100_000);
    world.join(2, PeerInfo { gives: false, ..peer() });
    world.request(2, 0);
    // Nothing that was begun comes to an end.
    world.pass(300_000);
    world.waits.iter().filter(|wait| wait.0 == PeerId(2)).map(|wait| wait.2).collect()
}

#[test]
fn who_waits_is_told_the_reason() {
    let slow = Rules { origin_rate: Some(SharedRate { group: 1, rate: 1000 }), ..Rules::default() };
    assert_eq!(why_it_waits(slow), [WaitReason::ServerRate]);
    // As many transfers as there may be.
    let mut world = World::new(Config { max_transfers_per_peer: 1, ..Config::default() });
    world.join(0, origin());
    world.add_file(0, 4000);
    for id in 1..=20 {
        world.join(id, PeerInfo { gives: false, ..peer() });
        world.request(id, 0);
    }
    world.pass(300_000);
    assert!(!world.waits.is_empty());
    assert!(world.waits.iter().all(|wait| wait.2 == WaitReason::OriginBusy), "{:?}", world.waits);
    // Its file is not what it was.
    let mut world = world_with(Config::default(), 1, 1, |_| Rules::default());
    world.join(1, peer());
    world.request(1, 0);
    world.end(*world.flights.keys().next().unwrap(), Err(FailureKind::Hash));
    world.pass(100_000);
    assert_eq!(world.waits, [(PeerId(1), FileId(0), WaitReason::Changed)]);
}

/// With what reason a piece of a file is sent that two others have already.
fn reason_to_send(rules: Rules, has_peers: bool) -> Reason {
    let mut world = world_with(Config::default(), 1, 400, |_| rules);
    for id in [1, 2] {
        world.join(id, PeerInfo { gives: has_peers, ..undialable() });
        world.provide(id, 0, 0..400);
    }
    world.join(3, undialable());
    world.request(3, 0);
    world.starts[0].reason
}

#[test]
fn what_an_origin_sends_again_is_not_said_to_be_rare() {
    assert_eq!(reason_to_send(Rules::default(), true), Reason::Spare);
    assert_eq!(reason_to_send(Rules { peers: false, ..Rules::default() }, true), Reason::ServerOnly);
    assert_eq!(reason_to_send(Rules::default(), false), Reason::Origin);
}

/// Whether an origin whose line is known to be fast takes over what a slow peer has been sending for a while.
fn is_taken_over(config: Config, rules: Rules) -> bool {
    let mut world = world_with(config, 2, 100, |file| if file == 0 { rules } else { Rules::default() });
    world.add_file(2, 1);
    world.send(Event::FileRules { file: FileId(2), rules });
    world.join(2, peer());
    world.request(2, 1);
    world.complete_all();
    world.join(1, peer());
    world.provide(1, 2, 0..1);
    world.request(2, 2);
    let last = world.starts.last().unwrap().clone();
    assert_eq!((last.giver, last.file), (PeerId(1), FileId(2)));
    world.now = world.now.plus(1_200_000);
    world.send(Event::Tick);
    let now = world.starts.last().unwrap();
    assert_eq!(world.cancelled == [last.transfer], now.giver == PeerId(0) && now.reason == Reason::Endgame);
    now.giver == PeerId(0)
}

#[test]
fn an_origin_takes_over_from_slow_peers_unless_it_is_to_save_its_line() {
    let with = |frugal, rate: Option<u64>| Rules {
        frugal,
        origin_rate: rate.map(|rate| SharedRate { group: 0, rate }),
        ..Rules::default()
    };
    assert!(is_taken_over(Config::default(), with(None, None)));
    assert!(!is_taken_over(frugal(), with(None, None)));
    assert!(!is_taken_over(Config::default(), with(Some(true), None)));
    assert!(is_taken_over(frugal(), with(Some(false), None)));
    assert!(!is_taken_over(Config::default(), with(None, Some(1 << 30))));
}

#[test]
fn files_that_share_a_rate_keep_to_it_in_runs_that_fit() {
    const RATE: u64 = 1_000_000;
    let mut world = world_with(Config::default(), 3, 400, |file| {
        let shared = (file < 2).then_some(SharedRate { group: 7, rate: RATE });
        Rules { origin_rate: shared, ..Rules::default() }
    });
    world.join(1, peer());
    // Its line is known to be fast.
    world.request(1, 2);
    world.complete_all();
    let (before, begin) = (world.starts.len(), world.now);
    world.request(1, 0);
    world.request(1, 1);
    while world.now.since(begin) < 10_000_000 {
        match world.flights.keys().next() {
            Some(&transfer) => {
                world.now = world.now.plus(1000);
                world.complete(transfer);
            }
            None => world.pass(20_000),
        }
    }
    let runs = || world.starts[before..].iter().map(|start| start.pieces.len() as u64);
    let sent = bytes(runs().sum());
    assert!((9 * RATE..=10 * RATE + RATE / 4 + bytes(3)).contains(&sent), "{sent}");
    assert!(runs().all(|run| bytes(run) <= RATE / 4) && runs().any(|run| run > 1));
}

#[test]
fn the_more_important_file_comes_first_from_an_origin() {
    let rules = |file| Rules { priority: if file == 3 { 5 } else { 0 }, ..Rules::default() };
    // Of one peer, and of several.
    for takers in [1..=1, 1..=4] {
        let mut world = World::new(Config::default());
        world.join(0, PeerInfo { up_limit: Some(2_000_000), ..origin() });
        for file in 0..4 {
            world.add_file(file, 1000);
            world.send(Event::FileRules { file: FileId(file), rules: rules(file) });
        }
        for id in takers.clone() {
            world.join(id, PeerInfo { gives: false, ..peer() });
            for file in 0..4 {
                if takers.clone().count() == 1 || file == id % 4 {
                    world.request(id, file);
                }
            }
        }
        // What was begun before the important one was asked for is not counted.
        let before = world.starts.len();
        for _ in 0..20 {
            world.now = world.now.plus(33_000);
            world.complete(*world.flights.keys().next().unwrap());
        }
        let next = &world.starts[before..];
        assert!(next.len() > 5);
        let others: Vec<_> = next.iter().filter(|start| start.file != FileId(3)).collect();
        assert!(others.is_empty(), "{takers:?}: {others:?}");
    }
}

#[test]
fn the_more_important_file_comes_first_from_a_peer() {
    for seed in 0..20 {
        let mut world = World::new(Config { seed, ..Config::default() });
        for file in 0..4 {
            world.add_file(file, 100);
            let rules = Rules { priority: i32::from(file == 2), ..Rules::default() };
            world.send(Event::FileRules { file: FileId(file), rules });
        }
        world.join(2, peer());
        for file in 0..4 {
            world.request(2, file);
        }
        world.join(1, peer());
        for file in [0, 1, 3] {
            world.provide(1, file, 0..100);
        }
        let before = world.starts.len();
        world.provide(1, 2, 0..100);
        for _ in 0..10 {
            world.now = world.now.plus(50_000);
            world.complete(*world.flights.keys().next().unwrap());
        }
        let next = &world.starts[before..];
        assert!(next.len() > 3 && next.iter().all(|start| start.file == FileId(2)), "{seed}: {next:?}");
    }
}

/// `World` notices a time to be woken that is never later.
#[test]
fn a_rate_that_is_used_up_is_waited_for() {
    let slow = |_| Rules { origin_rate: Some(SharedRate { group: 1, rate: 100_000 }), ..Rules::default() };
    let mut world = world_with(Config::default(), 3, 1, slow);
    world.join(1, peer());
    for file in 0..3 {
        // The first is under way as a whole as soon as it is asked for.
        world.request(1, file);
        world.now = world.now.plus(1000);
        world
            .flights
            .keys()
            .copied()
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|transfer| world.complete(transfer));
    }
    for _ in 0..20 {
        world.pass(100_000);
        world.complete_all();
    }
    assert!((0..3).all(|file| world.has(1, file) == 1));
}
