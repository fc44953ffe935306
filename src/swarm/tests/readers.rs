//! Readers: what stands still is sent at once, in order, beside what is under way; but not without bounds.

use super::world::{Flight, World, origin, peer};
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

/// An origin that is busy with others, of whom some need one file and some another, and somebody who begins to read one; how many
/// pieces it is sent at once.
fn rushed_by_an_origin(needed: [u32; 2], read: u32, rules: impl Fn(u32) -> Rules) -> usize {
    let mut world = world();
    world.join(0, PeerInfo { up_limit: Some(1_000_000), ..origin() });
    for file in 0..2 {
        world.add_file(file, 400);
        world.send(Event::FileRules { file: FileId(file), rules: rules(file) });
    }
    for id in 1..=4 {
        world.join(id, peer());
        world.request(id, needed[id as usize % 2]);
    }
    world.join(9, peer());
    let before = world.starts.len();
    reads(&mut world, 9, read, 200);
    world.starts[before..].iter().filter(|start| start.taker == PeerId(9)).count()
}

#[test]
fn an_origin_is_asked_out_of_turn_unless_its_line_belongs_to_others() {
    assert_eq!(rushed_by_an_origin([0, 0], 0, |_| Rules::default()), 2);
    let more_important = |file| Rules { priority: i32::from(file == 1), ..Rules::default() };
    assert_eq!(rushed_by_an_origin([0, 1], 0, more_important), 0, "others need what is more important");
    assert_eq!(rushed_by_an_origin([0, 1], 1, more_important), 2, "this is what is more important");
    assert_eq!(rushed_by_an_origin([0, 0], 0, more_important), 2, "nobody needs what is more important");
    let less_important = |file| Rules { priority: -i32::from(file == 1), ..Rules::default() };
    assert_eq!(rushed_by_an_origin([0, 1], 0, less_important), 2, "others need what is less important");
    assert_eq!(rushed_by_an_origin([0, 1], 1, less_important), 0, "others need what is not less important");
    let slow = |_| Rules { origin_rate: Some(SharedRate { group: 1, rate: 1000 }), ..Rules::default() };
    assert_eq!(rushed_by_an_origin([0, 0], 0, slow), 0, "it has sent as much as it may");
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

/// Peers whose lines are known have a file; somebody reads it, and what it stands still without is begun but never comes, by that
/// giver. When it was taken over, microseconds.
fn taken_over(others: &[PeerInfo]) -> Option<u64> {
    let mut world = world();
    world.add_file(0, 400);
    world.join(1, with_up(1_000_000));
    world.provide(1, 0, 0..400);
    world.join(9, PeerInfo { gives: false, ..peer() });
    reads(&mut world, 9, 0, 0);
    for _ in 0..20 {
        world.now = world.now.plus(66_000);
        world.complete(*world.flights.keys().next()?);
    }
    for (info, id) in others.iter().zip(0..) {
        let id = if info.is_origin { 0 } else { 10 + id };
        world.join(id, info.clone());
        world.provide(id, 0, 0..400);
    }
    // It jumps; all that was under way comes, but not that.
    let begin = world.now;
    reads(&mut world, 9, 0, 200);
    let late = world.flights.iter().find(|(_, flight)| flight.assignment.pieces.contains(&200));
    let (late, giver) = late.map(|(&late, flight)| (late, flight.assignment.giver))?;
    for _ in 0..300 {
        world.pass(10_000);
        let is_by_others = |flight: &Flight| flight.assignment.giver != giver;
        let others =
            world.flights.iter().filter(|(_, flight)| is_by_others(flight)).map(|(&transfer, _)| transfer);
        others.collect::<Vec<_>>().into_iter().for_each(|transfer| world.complete(transfer));
        if world.cancelled.contains(&late) {
            let again = world.starts.iter().rfind(|start| start.pieces.contains(&200)).unwrap();
            assert_ne!(again.giver, giver, "not from whom it did not come");
            assert_eq!((again.pieces.clone(), again.reason), (200..201, Reason::Deadline));
            let next = world.starts.iter().rfind(|start| start.taker == PeerId(9)).unwrap();
            assert_ne!(next.giver, giver);
            return Some(world.now.since(begin));
        }
    }
    None
}

#[test]
fn what_a_reader_stands_still_without_is_taken_over_from_who_does_not_send_it() {
    for others in [vec![with_up(1_000_000)], vec![origin()], vec![peer(), origin()]] {
        let after = taken_over(&others);
        // A piece takes 66 ms there; to be sure that it does not come takes a few times as long.
        assert!(after.is_some_and(|us| us < 1_000_000), "{after:?}");
    }
    assert_eq!(taken_over(&[]), None, "there is nobody else");
    assert_eq!(taken_over(&[PeerInfo { reachable: false, puts: false, ..peer() }]), None);
}

/// A reader says where it is once in a while; what it waits for is not there.
#[test]
fn what_a_reader_stands_still_without_is_found_behind_what_it_has() {
    let mut world = world();
    world.join(0, origin());
    // So long that it is not over meanwhile.
    world.add_file(0, 40_000);
    world.join(1, with_up(1_000_000));
    world.provide(1, 0, 0..40_000);
    world.join(9, PeerInfo { gives: false, ..peer() });
    let (peer, file) = (PeerId(9), FileId(0));
    let window = Some(0..40_000);
    world.send(Event::Request { peer, file, pieces: 0..u32::MAX, order: Order::Rarest, window });
    let stuck = |flight: &Flight| flight.assignment.giver == PeerId(1) && flight.assignment.pieces.start > 0;
    let mut late = None;
    for _ in 0..400 {
        world.pass(10_000);
        late = late.or_else(|| world.flights.iter().find(|(_, flight)| stuck(flight)).map(|(&id, _)| id));
        // All else comes.
        let others: Vec<_> = world.flights.keys().copied().filter(|&id| Some(id) != late).collect();
        others.into_iter().for_each(|id| world.complete(id));
        if late.is_some_and(|late| world.cancelled.contains(&late)) {
            let has = &world.peers[&9].has[&0];
            assert!(has.contains(&0) && has.len() < 30_000, "{}", has.len());
            let run = &world.starts.iter().find(|start| Some(start.transfer) == late).unwrap().pieces;
            let again = world.starts.iter().rfind(|start| run.contains(&start.pieces.start)).unwrap();
            assert_eq!((again.giver, again.reason), (PeerId(0), Reason::Deadline), "{run:?}");
            return;
        }
        assert!(late.is_none() || world.now < Time(3_000_000), "it was not taken over");
    }
    panic!("nothing was sent by peer 1");
}

/// Then it may come from where it is on its way, and from nobody else.
#[test]
fn what_is_not_wanted_any_more_is_not_asked_of_others() {
    let mut world = world();
    world.add_file(0, 400);
    world.join(1, with_up(1_000_000));
    world.provide(1, 0, 0..400);
    world.join(9, PeerInfo { gives: false, ..peer() });
    reads(&mut world, 9, 0, 0);
    let late = *world.flights.iter().find(|(_, flight)| flight.assignment.pieces.contains(&0)).unwrap().0;
    world.join(2, with_up(1_000_000));
    world.provide(2, 0, 0..400);
    world.send(Event::Unrequest { peer: PeerId(9), file: FileId(0), pieces: 0..1 });
    for _ in 0..300 {
        world.pass(10_000);
        let others: Vec<_> = world.flights.keys().copied().filter(|&id| id != late).collect();
        others.into_iter().for_each(|id| world.complete(id));
    }
    let asked = world.starts.iter().filter(|start| start.pieces.contains(&0)).count();
    assert_eq!(asked, 1);
}

/// It is not as if every piece that takes its time were asked for twice.
#[test]
fn what_comes_in_time_is_not_taken_over() {
    let mut world = world();
    world.add_file(0, 400);
    for id in 1..=3 {
        world.join(id, with_up(200_000));
        world.provide(id, 0, 0..400);
    }
    world.join(9, PeerInfo { gives: false, ..peer() });
    reads(&mut world, 9, 0, 0);
    // Three lines of 200 KB/s bring a piece of 64 KiB every 109 ms.
    while world.has(9, 0) < 100 {
        world.pass(109_000);
        let first = *world.flights.keys().next().unwrap();
        world.complete(first);
    }
    assert_eq!(world.cancelled, []);
}
