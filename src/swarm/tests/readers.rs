//! Readers: what stands still is sent at once, in order, beside what is under way; but not without bounds.

use super::world::{World, origin, peer};
use crate::swarm::*;

fn world() -> World {
    World::new(Config::default())
}

/// Somebody reads a file from a piece on, and wants all of it.
fn reads(world: &mut World, peer: u32, file: u32, from: u32) {
    let (peer, file) = (PeerId(peer), FileId(file));
    let window = Some(from..from + 100);
    world.send(Event::Request { peer, file, pieces: 0..u32::MAX, order: Order::Rarest, window });
}

fn with_up(up: u64) -> PeerInfo {
    PeerInfo { up_limit: Some(up), ..peer() }
}

/// Bytes under way from somebody, and what usually is.
fn filled(world: &World, id: u32) -> (u64, u64) {
    let state = &world.swarm.state;
    let key = state.peer_ids[&PeerId(id)];
    (state.peers[key].up.in_flight, state.up_budget(key))
}

/// Peers 1 (slow) and 2 have all of a file, and are busy with sending it to 3 to 8.
fn busy_givers() -> World {
    let mut world = world();
    world.add_file(0, 400);
    for (id, up) in [(1, 100_000), (2, 1_000_000)] {
        world.join(id, with_up(up));
        world.provide(id, 0, 0..400);
    }
    for id in 3..=8 {
        world.join(id, peer());
        world.request(id, 0);
    }
    world.pass(100_000);
    for id in [1, 2] {
        let (in_flight, budget) = filled(&world, id);
        assert!(in_flight >= budget, "{id} has room");
    }
    world
}

#[test]
fn who_stands_still_is_sent_its_piece_by_whoever_is_done_first() {
    let mut world = busy_givers();
    world.join(9, peer());
    let before = world.starts.len();
    reads(&mut world, 9, 0, 200);
    let rushed: Vec<_> = world.starts[before..].iter().collect();
    // The piece where it is, and the next one.
    assert_eq!(rushed.iter().map(|start| start.pieces.clone()).collect::<Vec<_>>(), [200..201, 201..202]);
    assert!(rushed.iter().all(|start| start.giver == PeerId(2) && start.reason == Reason::Deadline));
}

#[test]
fn who_has_its_piece_waits_like_others() {
    let mut world = busy_givers();
    world.join(9, peer());
    world.provide(9, 0, 200..201);
    let before = world.starts.len();
    reads(&mut world, 9, 0, 200);
    assert!(world.starts[before..].iter().all(|start| start.taker != PeerId(9)));
}

#[test]
fn a_crowd_of_readers_fills_a_line_twice_as_far_as_usual_and_no_farther() {
    let mut world = busy_givers();
    let mut rushed = 0;
    for id in 10..60 {
        world.join(id, peer());
        let before = world.starts.len();
        reads(&mut world, id, 0, id);
        rushed += world.starts.len() - before;
        for giver in [1, 2] {
            let (in_flight, budget) = filled(&world, giver);
            assert!(
                in_flight < 2 * budget + u64::from(super::world::PIECE),
                "{giver}: {in_flight} of {budget}"
            );
        }
    }
    assert!((2..50).contains(&rushed), "{rushed}");
}

#[test]
fn what_cannot_wait_keeps_to_the_most_transfers_of_a_peer() {
    // `World` looks at each.
    let mut world = World::new(Config { max_transfers_per_peer: 4, ..Config::default() });
    world.join(0, origin());
    world.add_file(0, 400);
    for id in 1..=20 {
        world.join(id, peer());
        world.provide(id, 0, 0..400);
    }
    world.join(30, peer());
    for from in [0, 100, 200, 300] {
        reads(&mut world, 30, 0, from);
    }
    for id in 31..60 {
        world.join(id, peer());
        reads(&mut world, id, 0, id);
    }
    assert!(world.flights.values().filter(|flight| flight.assignment.taker == PeerId(30)).count() == 4);
}

/// An origin that is busy with others, and somebody who begins to read; how many pieces it is sent at once.
fn rushed_by_an_origin(rules: impl Fn(u32) -> Rules) -> usize {
    let mut world = world();
    world.join(0, PeerInfo { up_limit: Some(1_000_000), ..origin() });
    for file in 0..2 {
        world.add_file(file, 400);
        world.send(Event::FileRules { file: FileId(file), rules: rules(file) });
    }
    for id in 1..=4 {
        world.join(id, peer());
        world.request(id, 0);
    }
    world.join(9, peer());
    let before = world.starts.len();
    reads(&mut world, 9, 0, 200);
    world.starts[before..].iter().filter(|start| start.taker == PeerId(9)).count()
}

#[test]
fn an_origin_is_asked_out_of_turn_unless_its_line_belongs_to_others() {
    assert_eq!(rushed_by_an_origin(|_| Rules::default()), 2);
    let more_important = |file| Rules { priority: i32::from(file == 1), ..Rules::default() };
    assert_eq!(rushed_by_an_origin(more_important), 0, "a directory has a priority");
    let slow = |_| Rules { origin_rate: Some(SharedRate { group: 1, rate: 1000 }), ..Rules::default() };
    assert_eq!(rushed_by_an_origin(slow), 0, "it has sent as much as it may");
}

#[test]
fn an_origin_whose_file_has_changed_is_not_asked_again_at_once() {
    let mut world = world();
    world.join(0, origin());
    world.add_file(0, 1);
    world.join(1, peer());
    reads(&mut world, 1, 0, 0);
    let first = *world.flights.keys().next().unwrap();
    world.end(first, Err(FailureKind::Hash));
    assert!(world.flights.is_empty());
}

#[test]
fn a_reader_gets_what_it_reads_next_in_order_and_nothing_else_before() {
    let mut world = world();
    world.add_file(0, 400);
    world.join(1, peer());
    world.provide(1, 0, 0..400);
    world.join(2, peer());
    world.provide(2, 0, 200..202);
    let before = world.starts.len();
    reads(&mut world, 2, 0, 200);
    // It has what it stands at, so the next seconds follow, in order.
    while world.has(2, 0) < 40 {
        match world.flights.keys().next() {
            Some(&transfer) => {
                world.now = world.now.plus(1000);
                world.complete(transfer);
            }
            None => world.pass(1000),
        }
    }
    let urgent = world.starts[before..].iter().take_while(|start| start.reason == Reason::Deadline);
    let pieces: Vec<u32> = urgent.flat_map(|start| start.pieces.clone()).take(40).collect();
    assert!(pieces.into_iter().eq(202..242), "{:?}", &world.starts[before..]);
}

/// Else it would share its line with them, and come later.
#[test]
fn while_the_piece_of_a_reader_is_under_way_nothing_later_is_sent_to_it() {
    let mut world = world();
    // Pieces so small that its line has room for more than what it needs at once.
    world.send(Event::FileAdded { file: FileId(0), size: 400 << 14, piece_size: 1 << 14 });
    for id in 1..=8 {
        world.join(id, peer());
        world.provide(id, 0, 0..400);
    }
    world.join(9, peer());
    reads(&mut world, 9, 0, 200);
    let pieces: Vec<u32> = world.starts.iter().flat_map(|start| start.pieces.clone()).collect();
    assert!(pieces.len() > 2 && pieces.iter().all(|&piece| (200..218).contains(&piece)), "{pieces:?}");
}

#[test]
fn who_reads_another_file_gets_that_one_first() {
    let mut world = busy_givers();
    world.add_file(1, 400);
    world.provide(2, 1, 0..400);
    world.join(9, peer());
    world.provide(9, 0, 200..202);
    reads(&mut world, 9, 0, 200);
    let before = world.starts.len();
    reads(&mut world, 9, 1, 50);
    assert_eq!((world.starts[before].file, world.starts[before].pieces.clone()), (FileId(1), 50..51));
}

/// Somebody who gives with a slow line; 9 reads and has had much, 2 and 3 have nothing yet: who gets the next piece?
fn next_taker(giver: PeerInfo) -> PeerId {
    let mut world = world();
    world.add_file(0, 400);
    let is_origin = giver.is_origin;
    world.join(0, PeerInfo { up_limit: Some(500_000), ..giver });
    if !is_origin {
        world.provide(0, 0, 0..400);
    }
    world.join(9, PeerInfo { gives: false, ..peer() });
    reads(&mut world, 9, 0, 100);
    for _ in 0..8 {
        world.now = world.now.plus(130_000);
        world.complete(*world.flights.keys().next().unwrap());
    }
    for id in [2, 3] {
        world.join(id, PeerInfo { gives: false, ..peer() });
        world.request(id, 0);
    }
    let before = world.starts.len();
    while world.starts.len() == before {
        world.now = world.now.plus(130_000);
        world.complete(*world.flights.keys().next().unwrap());
    }
    world.starts[before].taker
}

#[test]
fn a_reader_that_will_wait_comes_before_those_who_have_nothing() {
    assert_eq!(next_taker(peer()), PeerId(9));
    assert_eq!(next_taker(origin()), PeerId(9));
}
