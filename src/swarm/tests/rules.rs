//! One test per rule.

use std::collections::BTreeMap;

use super::world::{Flight, PIECE, World, origin, peer};
use crate::swarm::*;

fn world() -> World {
    World::new(Config::default())
}

/// A world with an origin (0) and one file (0).
fn world_with(pieces: u32) -> World {
    let mut world = world();
    world.join(0, origin());
    world.add_file(0, pieces);
    world
}

/// Peer 1 comes and wants everything; the first run of several pieces that it is to get, once its line is known.
fn first_run(world: &mut World) -> Assignment {
    world.join(1, peer());
    world.request(1, 0);
    for _ in 0..100 {
        if let Some(flight) = world
            .flights
            .values()
            .find(|flight| flight.assignment.pieces.len() > 2 && flight.assignment.taker == PeerId(1))
        {
            return flight.assignment.clone();
        }
        world.now = world.now.plus(1000);
        let transfer = *world.flights.keys().next().unwrap();
        world.complete(transfer);
    }
    panic!("no runs");
}

#[test]
fn a_request_is_answered_by_the_origin_in_the_same_call() {
    let mut world = world_with(10);
    world.join(1, peer());
    world.request(1, 0);
    let first = &world.starts[0];
    assert_eq!((first.giver, first.taker, first.taker_dials), (PeerId(0), PeerId(1), true));
    assert_eq!((first.pieces.start, first.reason), (0, Reason::Origin));
    world.complete_all();
    assert_eq!(world.has(1, 0), 10);
    let stats = world.swarm.stats();
    assert_eq!((stats.origin_bytes, stats.peer_bytes), (10 * u64::from(PIECE) - 1000, 0));
    assert_eq!(world.swarm.peer_stats(PeerId(1)).unwrap().taken, stats.origin_bytes);
}

#[test]
fn the_origin_gives_different_pieces_to_different_takers() {
    let mut world = world_with(64);
    for id in 1..=4 {
        world.join(id, peer());
        world.request_pieces(id, 0, 0..64);
    }
    world.pass(SECOND / 2);
    let from_origin = world.starts.iter().filter(|start| start.giver == PeerId(0)).take(20);
    let mut pieces: Vec<u32> = from_origin.flat_map(|a| a.pieces.clone()).collect();
    let count = pieces.len();
    pieces.sort_unstable();
    pieces.dedup();
    assert!(count >= 4);
    assert_eq!(pieces.len(), count, "no piece twice while there are fresh ones");
}

/// Peer 1 has all of a file, and 2 to 5 want it.
fn one_for_four() -> World {
    let mut world = world();
    world.add_file(0, 400);
    world.join(1, peer());
    world.provide(1, 0, 0..400);
    for id in 2..=5 {
        world.join(id, peer());
        world.request(id, 0);
    }
    world
}

/// Of two that begin together neither would be there before both are.
#[test]
fn the_first_piece_of_an_unknown_line_has_it_to_itself_for_a_moment() {
    let mut world = one_for_four();
    world.join(6, peer());
    world.provide(6, 0, 0..400);
    // The first one here began when there was nobody else to wait for it.
    let from_6 = |world: &World| world.starts.iter().filter(|start| start.giver == PeerId(6)).count();
    assert_eq!(from_6(&world), 1);
    world.pass(7_000);
    assert_eq!(from_6(&world), 1);
    world.pass(2_000);
    assert_eq!(from_6(&world), 2, "and it is not forgotten");
}

#[test]
fn what_a_peer_has_comes_from_it_and_not_from_the_origin() {
    let mut world = world_with(3);
    world.join(1, peer());
    world.provide(1, 0, 0..3);
    world.join(2, peer());
    world.request_pieces(2, 0, 0..2);
    assert!(world.starts.iter().all(|a| a.giver == PeerId(1)), "{:?}", world.starts);
    assert!(!world.starts.is_empty());
    world.complete_all();
    let part = |id| world.swarm.peer_stats(PeerId(id)).unwrap();
    let bytes = 2 * u64::from(PIECE);
    assert_eq!([(part(1).given, part(1).taken), (part(2).given, part(2).taken)], [(bytes, 0), (0, bytes)]);
}

#[test]
fn pieces_of_a_run_are_passed_on_while_it_is_under_way() {
    let mut world = world_with(1000);
    let run = first_run(&mut world);
    let piece = run.pieces.start;
    // No origin any more: only peer 1 can have it.
    world.send(Event::Progress { transfer: run.transfer, peer: PeerId(1), pieces: vec![piece] });
    world.join(2, peer());
    world.request_pieces(2, 0, piece..piece + 1);
    let passed_on = world.starts.iter().find(|start| start.taker == PeerId(2)).unwrap();
    assert_eq!((passed_on.giver, passed_on.pieces.clone()), (PeerId(1), piece..piece + 1));
}

#[test]
fn progress_from_a_stranger_counts_for_nothing() {
    let mut world = world_with(1000);
    world.join(1, peer());
    world.join(2, peer());
    world.request(1, 0);
    let run = world.starts[0].clone();
    for stranger in [0, 2, 9] {
        world.send(Event::Progress { transfer: run.transfer, peer: PeerId(stranger), pieces: vec![0, 1] });
    }
    assert_eq!(world.swarm.stats().origin_bytes, 0);
}

#[test]
fn a_version_2_peer_gets_and_gives_single_pieces() {
    let mut world = world_with(300);
    world.join(1, PeerInfo { runs: false, ..peer() });
    world.request(1, 0);
    assert!(world.starts.iter().all(|a| a.pieces.len() == 1));
    world.complete_all();
    world.send(Event::PeerLeft { peer: PeerId(0) });
    world.join(2, peer());
    world.request(2, 0);
    world.complete_all();
    assert!(world.starts.iter().all(|a| a.pieces.len() == 1));
    assert_eq!(world.has(2, 0), 300);
}

#[test]
fn sequential_takers_get_pieces_in_order() {
    let mut world = world_with(200);
    for id in 1..=3 {
        world.join(id, PeerInfo { runs: false, ..peer() });
        world.send(Event::Request {
            peer: PeerId(id),
            file: FileId(0),
            pieces: 0..200,
            order: Order::Sequential,
            window: None,
        });
    }
    // Nothing comes to its end, so all is from the origin: the same to each, although the rarest would be others.
    world.pass(SECOND);
    for id in 1..=3 {
        let to_it = world.starts.iter().filter(|a| a.taker == PeerId(id)).map(|a| a.pieces.start);
        let in_order: Vec<u32> = to_it.collect();
        assert!(in_order.len() > 1 && in_order.iter().copied().eq(0..in_order.len() as u32), "{in_order:?}");
    }
}

#[test]
fn a_reader_gets_its_window_first() {
    let mut world = world_with(500);
    world.join(1, peer());
    world.join(2, peer());
    world.request(1, 0);
    world.send(Event::Request {
        peer: PeerId(2),
        file: FileId(0),
        pieces: 0..500,
        order: Order::Rarest,
        window: Some(321..324),
    });
    world.complete_all();
    let first = world.starts.iter().find(|a| a.taker == PeerId(2) && a.giver == PeerId(0)).unwrap();
    assert_eq!((first.pieces.start, first.reason), (321, Reason::Deadline));
}

#[test]
fn a_reader_who_says_that_it_is_fast_gets_more_in_order() {
    let urgent = |rate: Option<u64>| {
        let mut world = world_with(500);
        world.join(1, peer());
        let (peer, file) = (PeerId(1), FileId(0));
        let (pieces, order, window) = (0..500, Order::Sequential, Some(0..400));
        world.send(Event::Request { peer, file, pieces, order, window });
        if let Some(rate) = rate {
            world.send(Event::ReaderPace { peer, file, rate });
        }
        world.complete_all();
        let urgent = world.starts.iter().filter(|a| a.reason == Reason::Deadline);
        urgent.map(|a| a.pieces.len()).sum::<usize>()
    };
    let (learned, told) = (urgent(None), urgent(Some(1 << 40)));
    assert!(learned < 200 && told >= 400, "{learned}, {told}");
    assert!(urgent(Some(1)) <= learned);
}

#[test]
fn the_side_that_can_be_dialled_is_dialled() {
    let mut world = world();
    world.add_file(0, 1);
    world.join(1, PeerInfo { reachable: false, ..peer() });
    world.provide(1, 0, 0..1);
    world.join(2, peer());
    world.request(2, 0);
    assert!(!world.starts[0].taker_dials);

    // Two that cannot be dialled never meet, and the taker is told; until one can be.
    world.join(3, PeerInfo { reachable: false, ..peer() });
    world.send(Event::PeerLeft { peer: PeerId(2) });
    world.request(3, 0);
    world.pass(10_000_000);
    assert_eq!(world.starts.len(), 1);
    assert_eq!(world.waits, [(PeerId(3), FileId(0), WaitReason::Unreachable)]);
    world.send(Event::Reachable { peer: PeerId(1), ok: true });
    assert_eq!(world.starts.len(), 2);
    assert!(world.starts[1].taker_dials);
}

#[test]
fn nothing_is_brought_to_or_by_those_who_do_not_know_it() {
    for (giver_puts, taker_puts) in [(false, true), (true, false)] {
        let mut world = world();
        world.add_file(0, 1);
        world.join(1, PeerInfo { reachable: false, puts: giver_puts, ..peer() });
        world.provide(1, 0, 0..1);
        world.join(2, PeerInfo { puts: taker_puts, ..peer() });
        world.request(2, 0);
        world.pass(10_000_000);
        assert!(world.starts.is_empty());
        world.send(Event::Reachable { peer: PeerId(1), ok: true });
        assert!(world.starts[0].taker_dials);
    }
}

#[test]
fn one_that_cannot_be_dialled_after_all_dials_itself() {
    let mut world = world();
    world.add_file(0, 1);
    world.join(1, peer());
    world.provide(1, 0, 0..1);
    world.join(2, peer());
    world.request(2, 0);
    assert!(world.starts[0].taker_dials);
    world.end(world.starts[0].transfer, Err(FailureKind::Unreachable));
    world.pass(1_500_000);
    assert_eq!(world.starts.len(), 2, "again after a while");
    assert!(!world.starts[1].taker_dials, "the other way round");
}

#[test]
fn a_failure_is_retried_elsewhere_at_once_and_there_later() {
    let mut world = world();
    world.add_file(0, 1);
    for id in [1, 2] {
        world.join(id, peer());
        world.provide(id, 0, 0..1);
    }
    world.join(3, peer());
    world.request(3, 0);
    let mut givers = Vec::new();
    for _ in 0..2 {
        let start = world.starts.last().unwrap().clone();
        givers.push(start.giver);
        world.end(start.transfer, Err(FailureKind::Refused));
    }
    givers.sort();
    assert_eq!(givers, [PeerId(1), PeerId(2)]);
    assert_eq!(world.starts.len(), 2, "both are left alone for a while");
    world.pass(900_000);
    assert_eq!(world.starts.len(), 2);
    world.pass(300_000);
    assert_eq!(world.starts.len(), 3);
    assert_eq!(world.starts[2].reason, Reason::Repair);
    // The pause between those two has doubled.
    let again = world.starts[2].clone();
    world.end(again.transfer, Err(FailureKind::Refused));
    world.send(Event::PeerLeft { peer: if again.giver == PeerId(1) { PeerId(2) } else { PeerId(1) } });
    let before = world.starts.len();
    world.flights.keys().copied().collect::<Vec<_>>().into_iter().for_each(|t| world.complete(t));
    world.pass(1_500_000);
    assert!(world.starts[before..].iter().all(|a| a.giver != again.giver));
}

#[test]
fn one_that_has_changed_its_mind_is_sent_what_it_wants_now_and_by_the_same_giver() {
    let mut world = world();
    world.add_file(0, 40);
    world.join(1, peer());
    world.provide(1, 0, 0..40);
    world.join(2, peer());
    world.request_pieces(2, 0, 0..8);
    let first = world.starts[0].clone();
    assert!(first.pieces.end <= 8);
    world.send(Event::Unrequest { peer: PeerId(2), file: FileId(0), pieces: 0..8 });
    world.request_pieces(2, 0, 20..28);
    let before = world.starts.len();
    for transfer in world.flights.keys().copied().collect::<Vec<_>>() {
        world.end(transfer, Err(FailureKind::Cancelled));
    }
    let start = &world.starts[before..];
    assert!(!start.is_empty() && start.iter().all(|start| start.pieces.start >= 20), "{start:?}");
    // Who does not want what he asked for is another matter: those two are left alone for a while.
    let before = world.starts.len();
    for transfer in world.flights.keys().copied().collect::<Vec<_>>() {
        world.end(transfer, Err(FailureKind::Cancelled));
    }
    assert_eq!(world.starts.len(), before);
}

#[test]
fn who_is_not_heard_of_any_more_is_nobodys_acquaintance() {
    let mut world = world_with(400);
    for id in 1..=40 {
        world.join(id, peer());
    }
    world.provide(1, 0, 0..400);
    (2..=40).for_each(|id| world.request(id, 0));
    // Until it is known how long it takes.
    for _ in 0..10 {
        world.now = world.now.plus(50_000);
        let from_it = world.flights.values().find(|flight| flight.assignment.giver == PeerId(1));
        world.complete(from_it.unwrap().assignment.transfer);
    }
    let acquaintances = |world: &World| {
        let state = &world.swarm.state;
        let key = state.peer_ids[&PeerId(1)];
        let others = (2..=40).map(|id| &state.peers[state.peer_ids[&PeerId(id)]]);
        let they = others.filter(|peer| peer.friends.iter().any(|friend| friend == key)).count();
        (state.peers[key].friends.len(), they)
    };
    let (own, they) = acquaintances(&world);
    assert!(own > 0 && own == they, "{own}, {they}");
    world.mute.extend(1..=40);
    let is_gone = |world: &World| world.flights.values().all(|flight| flight.assignment.giver != PeerId(1));
    for _ in 0..100 {
        world.pass(100_000);
        if is_gone(&world) {
            break;
        }
    }
    assert!(is_gone(&world), "nothing was heard of it for 10 s");
    assert_eq!(acquaintances(&world), (0, 0));
}

#[test]
fn a_giver_of_wrong_bytes_is_distrusted() {
    let mut world = world_with(400);
    world.join(1, peer());
    world.provide(1, 0, 0..400);
    for id in 2..=4 {
        world.join(id, peer());
        world.request_pieces(id, 0, id..id + 1);
        let bad = world.starts.last().unwrap().clone();
        assert_eq!((bad.giver, bad.taker), (PeerId(1), PeerId(id)));
        assert!(!world.peers[&1].distrusted);
        world.end(bad.transfer, Err(FailureKind::Hash));
    }
    assert!(world.peers[&1].distrusted);
    assert_eq!(world.swarm.peer_stats(PeerId(1)).unwrap().wrong, 3);
    // `World` checks that it gives nothing from now on.
    world.request(4, 0);
    world.complete_all();
    assert_eq!(world.has(4, 0), 400);
}

#[test]
fn one_accuser_cannot_have_everybody_distrusted() {
    let mut world = World::new(Config { max_wrong: 1, ..Config::default() });
    world.add_file(0, 1);
    world.join(99, peer());
    for id in 1..=20 {
        world.join(id, peer());
        world.provide(id, 0, 0..1);
        world.request(99, 0);
        if let Some(&transfer) = world.flights.keys().next() {
            world.end(transfer, Err(FailureKind::Hash));
        }
        world.pass(100_000);
    }
    let distrusted = world.peers.values().filter(|peer| peer.distrusted).count();
    assert!((1..=4).contains(&distrusted), "{distrusted}");
}

#[test]
fn the_origin_is_not_blamed_for_a_file_that_changed() {
    let mut world = world_with(1);
    world.join(1, peer());
    world.request(1, 0);
    for _ in 0..6 {
        world.end(*world.flights.keys().next().expect("it goes on being asked"), Err(FailureKind::Hash));
        assert!(world.flights.is_empty(), "not at once");
        for _ in 0..40 {
            if world.flights.is_empty() {
                world.pass(1_000_000);
            }
        }
    }
    assert_eq!(world.flights.len(), 1);
}

#[test]
fn a_file_that_changed_does_not_delay_other_files() {
    let mut world = world_with(1);
    world.add_file(1, 1);
    world.join(1, peer());
    for kind in [FailureKind::Hash, FailureKind::Gone] {
        world.request(1, 0);
        world.end(*world.flights.keys().next().unwrap(), Err(kind));
        world.request(1, 1);
        let other = world.starts.last().unwrap().clone();
        assert_eq!((other.file, world.flights.len()), (FileId(1), 1), "{kind:?}");
        world.complete(other.transfer);
        world.send(Event::Unprovide { peer: PeerId(1), file: FileId(1), pieces: 0..1 });
        for _ in 0..10 {
            if world.flights.is_empty() {
                world.pass(1_000_000);
            }
        }
        world.complete_all();
        world.send(Event::Unprovide { peer: PeerId(1), file: FileId(0), pieces: 0..1 });
    }
}

/// An origin that has told peer 1 to fetch its first piece, and then so many others came that want all.
fn first_piece(first: PeerInfo, others: u32, other: &PeerInfo) -> World {
    let mut world = world_with(64);
    world.join(1, first);
    world.request(1, 0);
    for id in 2..2 + others {
        world.join(id, other.clone());
        world.request(id, 0);
    }
    world
}

fn ahead(world: &World) -> Vec<(u32, u32, u32)> {
    let starts = world.starts.iter().filter(|start| start.ahead);
    starts.map(|a| (a.giver.0, a.taker.0, a.pieces.start)).collect()
}

/// Or its line would stand idle while the news that it has it, the order and the request travel.
#[test]
fn what_somebody_can_pass_on_first_is_ordered_from_it_before_it_is_there() {
    let mut world = first_piece(peer(), 1, &peer());
    let first = world.starts[0].clone();
    assert_eq!(ahead(&world)[0], (1, 2, first.pieces.start));
    let waits = world.starts.iter().find(|start| start.ahead).unwrap().transfer;
    world.now = world.now.plus(50_000);
    world.complete(first.transfer);
    assert!(world.cancelled.is_empty());
    // What passes from then on says what the line carries.
    world.now = world.now.plus(100_000);
    world.complete(waits);
    let rate = world.swarm.peer_stats(PeerId(1)).unwrap().up_rate;
    assert_eq!(rate, u64::from(PIECE) * 10);
}

#[test]
fn who_waits_for_what_does_not_come_is_told_so_at_once() {
    let mut world = first_piece(peer(), 1, &peer());
    let (first, waits) = (world.starts[0].transfer, world.starts.iter().find(|start| start.ahead).unwrap());
    let waits = waits.transfer;
    world.end(first, Err(FailureKind::Timeout));
    assert_eq!(world.cancelled, [waits]);
    // One that leaves, with all that wait for it, one after the other.
    let mut world = first_piece(peer(), 6, &peer());
    let waiting = |world: &World| world.flights.values().filter(|flight| flight.assignment.ahead).count();
    assert!(waiting(&world) > 1);
    world.send(Event::FileRemoved { file: FileId(0) });
    assert!(world.flights.is_empty());
}

#[test]
fn only_who_knows_how_waits_and_no_more_than_three_in_a_row() {
    let cannot = PeerInfo { ahead: false, ..peer() };
    assert_eq!(ahead(&first_piece(cannot.clone(), 3, &cannot)), []);
    assert_eq!(ahead(&first_piece(peer(), 3, &cannot)), []);
    assert_eq!(ahead(&first_piece(PeerInfo { reachable: false, ..peer() }, 1, &peer())), []);
    let mut world = first_piece(PeerInfo { reachable: false, ..peer() }, 1, &peer());
    world.send(Event::Reachable { peer: PeerId(1), ok: true });
    assert_eq!(ahead(&world)[0], (1, 2, 0), "that it can be dialled may be known a little later");
    let orders = ahead(&first_piece(peer(), 20, &peer()));
    let waits_for = |&(giver, _, piece): &(u32, u32, u32)| {
        orders.iter().find(|&&(_, taker, other)| (taker, other) == (giver, piece)).copied()
    };
    let depth = |order| std::iter::successors(Some(order), waits_for).count();
    assert_eq!(orders.iter().map(|&order| depth(order)).max(), Some(3));
    // Each has one piece to begin with.
    let mut givers: Vec<_> = orders.iter().map(|order| order.0).collect();
    givers.sort_unstable();
    givers.dedup();
    assert_eq!(givers.len(), orders.len());
}

#[test]
fn who_failed_lately_gets_one_transfer_at_a_time() {
    let mut world = one_for_four();
    world.pass(SECOND / 10);
    assert!(world.flights.len() > 1);
    for _ in 0..4 {
        let Some(&transfer) = world.flights.keys().next() else { break };
        world.end(transfer, Err(FailureKind::Refused));
    }
    world.flights.keys().copied().collect::<Vec<_>>().into_iter().for_each(|transfer| {
        if world.flights.contains_key(&transfer) {
            world.end(transfer, Err(FailureKind::Refused));
        }
    });
    world.pass(3_000_000);
    let of_it = world.flights.values().filter(|flight| flight.assignment.giver == PeerId(1));
    assert_eq!(of_it.count(), 1);
    // Until it has shown that it can.
    for _ in 0..3 {
        world.now = world.now.plus(1000);
        world.complete(*world.flights.keys().next().unwrap());
        world.pass(50_000);
    }
    assert!(world.flights.len() > 1);
}

#[test]
fn a_transfer_without_a_sign_of_life_is_given_up() {
    let mut world = world_with(1);
    world.join(1, peer());
    world.request(1, 0);
    let first = world.starts[0].transfer;
    world.pass(9_000_000);
    assert!(world.cancelled.is_empty());
    world.pass(20_000_000);
    assert_eq!(world.cancelled[0], first);
    assert!(world.starts.len() > 1);
    assert!(!world.swarm.is_under_way(first));
}

#[test]
fn progress_is_a_sign_of_life() {
    let mut world = world_with(2000);
    world.join(1, peer());
    world.request(1, 0);
    let run = world.starts[0].clone();
    for piece in run.pieces.clone().take(5) {
        world.pass(9_000_000);
        world.send(Event::Progress { transfer: run.transfer, peer: PeerId(1), pieces: vec![piece] });
    }
    assert!(!world.cancelled.contains(&run.transfer));
}

#[test]
fn when_only_the_giver_speaks_the_taker_is_waited_for_a_little() {
    let mut world = world_with(1);
    world.join(1, peer());
    world.request(1, 0);
    let start = world.starts[0].clone();
    let result = Err(FailureKind::Gone);
    world.send(Event::Completed { transfer: start.transfer, peer: start.giver, bytes: 0, ms: 0, result });
    assert_eq!(world.flights.len(), 1);
    world.pass(2_100_000);
    assert_eq!(world.cancelled, [start.transfer]);
}

#[test]
fn what_a_failed_run_brought_is_kept() {
    let mut world = world_with(1000);
    let run = first_run(&mut world);
    let had = world.has(1, 0);
    let pieces: Vec<u32> = run.pieces.clone().take(2).collect();
    world.send(Event::Progress { transfer: run.transfer, peer: PeerId(1), pieces });
    let transfer = run.transfer;
    let bytes = 3 * u64::from(PIECE);
    let result = Err(FailureKind::Timeout);
    world.send(Event::Completed { transfer, peer: PeerId(1), bytes, ms: 1, result });
    assert_eq!(world.has(1, 0), had + 2);
    assert_eq!(world.swarm.stats().wasted_bytes, u64::from(PIECE), "what came and could not be verified");
    // `World` would notice if they were sent again.
    for _ in 0..3 {
        world.complete_all();
        world.pass(2_000_000);
    }
    assert_eq!(world.has(1, 0), 1000);
}

#[test]
fn who_leaves_takes_its_transfers_along_and_others_step_in() {
    let mut world = world_with(50);
    world.join(1, peer());
    world.provide(1, 0, 0..50);
    world.join(2, peer());
    world.request(2, 0);
    let given: Vec<_> = world.flights.values().filter(|f| f.assignment.giver == PeerId(1)).cloned().collect();
    assert!(!given.is_empty());
    world.send(Event::PeerLeft { peer: PeerId(1) });
    assert!(given.iter().all(|flight| world.cancelled.contains(&flight.assignment.transfer)));
    assert!(world.flights.values().all(|flight| flight.assignment.giver == PeerId(0)));
    world.complete_all();
    assert_eq!(world.has(2, 0), 50);
}

#[test]
fn a_removed_file_is_over_and_others_go_on() {
    let mut world = world_with(50);
    world.add_file(1, 50);
    world.join(1, peer());
    world.request(1, 0);
    world.request(1, 1);
    world.send(Event::FileRemoved { file: FileId(0) });
    assert!(world.flights.values().all(|flight| flight.assignment.file == FileId(1)));
    assert!(!world.swarm.is_in_use(FileId(0)) && world.swarm.is_in_use(FileId(1)));
    world.complete_all();
    assert_eq!(world.has(1, 1), 50);
}

#[test]
fn no_longer_wanted_is_no_longer_sent() {
    let mut world = world_with(2000);
    world.join(1, peer());
    world.request(1, 0);
    world.send(Event::Unrequest { peer: PeerId(1), file: FileId(0), pieces: 0..u32::MAX });
    let under_way = world.flights.len();
    world.complete_all();
    assert_eq!(world.starts.len(), under_way, "what was under way is finished, nothing else is started");
}

#[test]
fn a_seed_alone_serves_and_a_peer_that_does_not_give_is_not_asked() {
    let mut world = world();
    world.add_file(0, 20);
    world.join(1, PeerInfo { gives: false, ..peer() });
    world.provide(1, 0, 0..20);
    world.join(2, peer());
    world.request(2, 0);
    world.pass(2_000_000);
    assert!(world.starts.is_empty());
    assert_eq!(world.waits, [(PeerId(2), FileId(0), WaitReason::NoProvider)]);
    world.join(3, peer());
    world.provide(3, 0, 0..20);
    world.complete_all();
    assert_eq!(world.has(2, 0), 20);
}

#[test]
fn a_peer_that_waits_is_told_once() {
    let mut world = world();
    world.add_file(0, 20);
    world.join(2, peer());
    world.request(2, 0);
    world.pass(60_000_000);
    assert_eq!(world.waits.len(), 1);
}

#[test]
fn a_limited_taker_does_not_hold_up_the_origin() {
    let mut world = world_with(4000);
    world.join(1, PeerInfo { down_limit: Some(10_000), ..peer() });
    world.request(1, 0);
    let bytes: u64 = world.starts.iter().map(|a| a.pieces.len() as u64 * u64::from(PIECE)).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes at once for one that takes 10 kB/s");
    world.join(2, peer());
    world.request(2, 0);
    world.pass(SECOND / 5);
    assert!(world.starts.iter().any(|a| a.taker == PeerId(2)));
}

#[test]
fn an_empty_file_and_an_absurd_one_do_no_harm() {
    let mut world = world();
    world.join(0, origin());
    world.join(1, peer());
    world.add_file(0, 0);
    world.request(1, 0);
    let mut out = Vec::new();
    for (file, size, piece_size) in [(5, u64::MAX, 1), (6, u64::MAX, u32::MAX), (7, 1, 0)] {
        world.swarm.handle(Event::FileAdded { file: FileId(file), size, piece_size }, world.now, &mut out);
        let (peer, order) = (PeerId(1), Order::Rarest);
        let request = Event::Request { peer, file: FileId(file), pieces: 0..u32::MAX, order, window: None };
        world.swarm.handle(request, world.now, &mut out);
    }
    assert_eq!(out, []);
}

#[test]
fn everything_is_forgotten() {
    let mut world = world_with(100);
    for id in 1..=5 {
        world.join(id, peer());
        world.request(id, 0);
    }
    for _ in 0..20 {
        if let Some(&transfer) = world.flights.keys().next() {
            world.end(transfer, Err(FailureKind::Refused));
        }
        world.pass(300_000);
    }
    world.everybody_leaves();
}

#[test]
fn a_single_taker_on_loopback_soon_gets_full_runs_at_full_depth() {
    let mut world = world();
    world.join(0, origin());
    let (size, piece_size) = (1 << 30, 2 << 20);
    world.send(Event::FileAdded { file: FileId(0), size, piece_size });
    world.join(1, peer());
    world.request(1, 0);
    let mut longest = 0;
    let mut done = 0;
    // 2 GB/s, first in, first out.
    while let Some((&transfer, flight)) = world.flights.iter().next() {
        let bytes = flight.assignment.pieces.len() as u64 * u64::from(piece_size);
        longest = longest.max(bytes);
        world.now = world.now.plus(bytes / 2000);
        world.complete(transfer);
        done += 1;
        if done == 8 {
            assert!(longest >= 8 << 20, "runs of at most {longest} bytes after {done} transfers");
        }
    }
    assert!(done < 200, "{done} transfers");
    assert_eq!(world.has(1, 0), 512);
}

/// With two near each other, what an origin has under way to one is more than it may have under way at all. The other one sends it what
/// it asks for now all the same: its line has nothing else to do.
#[test]
fn of_two_one_is_asked_for_what_it_has_whatever_the_origin_sends() {
    let mut world = world_with(4_000);
    world.add_file(1, 4_000);
    world.add_file(2, 100);
    for id in [1, 2] {
        world.join(id, peer());
        world.request(id, id - 1);
    }
    world.provide(1, 2, 0..100);
    // As much is under way as it may have under way, but nothing from the other one.
    let is_filled_by_origin = |world: &World| {
        let state = &world.swarm.state;
        let [one, two] = [1, 2].map(|id| state.peer_ids[&PeerId(id)]);
        let may_receive = state.peers[two].can_receive_more(&state.config);
        !may_receive && state.has_room_for_peers(two) && state.can_send_more(one, world.now)
    };
    let is_filled = (0..2_000).any(|_| {
        step(&mut world);
        is_filled_by_origin(&world)
    });
    assert!(is_filled);
    world.request(2, 2);
    let given = world.flights.values().map(|flight| &flight.assignment);
    let mut given = given.filter(|it| (it.giver, it.taker, it.file) == (PeerId(1), PeerId(2), FileId(2)));
    assert!(given.next().is_some(), "{:?}", world.flights);
}

/// Lets a millisecond pass, or until something is under way, and completes the oldest transfer.
fn step(world: &mut World) {
    match world.flights.keys().next() {
        Some(&transfer) => {
            world.now = world.now.plus(1000);
            world.complete(transfer);
        }
        None => world.pass(10_000),
    }
}

#[test]
fn what_somebody_waits_for_is_passed_on_as_soon_as_it_is_there() {
    let mut world = world_with(1000);
    // Who comes while there is but one is served at once.
    world.add_file(1, 1000);
    world.join(3, peer());
    world.request(3, 1);
    let run = first_run(&mut world);
    world.join(2, PeerInfo { ahead: false, ..peer() });
    let piece = run.pieces.start;
    world.request_pieces(2, 0, piece..piece + 1);
    let Some(first) = world.flights.values().find(|flight| flight.assignment.taker == PeerId(2)).cloned()
    else {
        let before = world.starts.len();
        world.send(Event::Progress { transfer: run.transfer, peer: PeerId(1), pieces: vec![piece] });
        assert!(world.starts[before..].iter().any(|a| (a.giver, a.taker) == (PeerId(1), PeerId(2))));
        return;
    };
    panic!("the origin was to be busy: {first:?}");
}

/// Somebody has sent the last piece of a file for so long that another one, of which nothing is known, would be done sooner.
fn overdue(slow: PeerInfo) -> World {
    let mut world = world();
    world.add_file(0, 1);
    world.join(1, slow);
    world.provide(1, 0, 0..1);
    world.join(2, peer());
    world.request(2, 0);
    assert_eq!(world.starts.len(), 1);
    world.now = world.now.plus(1_300_000);
    world
}

#[test]
fn last_pieces_are_taken_over_from_the_slow() {
    let mut world = overdue(peer());
    let first = world.starts[0].transfer;
    world.join(3, peer());
    world.provide(3, 0, 0..1);
    assert_eq!(world.cancelled, [first]);
    let now = world.starts.last().unwrap();
    assert_eq!((now.giver, now.taker, now.reason), (PeerId(3), PeerId(2), Reason::Endgame));

    let mut world = overdue(PeerInfo { runs: false, ..peer() });
    world.join(3, peer());
    world.provide(3, 0, 0..1);
    assert!(world.cancelled.is_empty(), "version 2 cannot be told to stop");

    // After so long, anybody else would begin anew, whatever else its line has to do.
    let mut world = overdue(peer());
    world.now = world.now.plus(3_000_000);
    world.send(Event::Reachable { peer: PeerId(1), ok: true });
    assert!(world.cancelled.is_empty(), "nobody takes over from itself");
}

#[test]
fn of_many_who_have_a_file_those_with_nothing_to_do_are_found_at_once() {
    let mut world = world();
    world.add_file(0, 4);
    for id in 1..=100 {
        world.join(id, peer());
        world.provide(id, 0, 0..4);
    }
    world.join(200, peer());
    world.request(200, 0);
    assert!(!world.starts.is_empty());
}

#[test]
fn givers_leave_room_for_the_origin() {
    let mut world = World::new(Config { max_transfers_per_peer: 8, ..Config::default() });
    world.send(Event::FileAdded { file: FileId(0), size: 400 << 14, piece_size: 1 << 14 });
    for id in 1..=15 {
        world.join(id, peer());
        world.provide(id, 0, 0..400);
    }
    world.join(20, PeerInfo { runs: false, ..peer() });
    world.request(20, 0);
    assert_eq!(world.flights.len(), 6);
    world.join(0, origin());
    world.send(Event::Tick);
    assert!(world.flights.values().any(|flight| flight.assignment.giver == PeerId(0)));
}

/// Small files from a slow origin to so many peers with fast lines: for each transfer that begins, it, and how many of its taker's
/// were under way with it, from the origin and in all.
fn small_files(takers: u32) -> Vec<(Assignment, usize, usize)> {
    let mut world = World::new(Config { max_transfers_per_peer: 8, ..Config::default() });
    world.join(0, origin());
    for file in 0..300 {
        world.send(Event::FileAdded { file: FileId(file), size: 1 << 14, piece_size: 1 << 14 });
    }
    for id in 1..=takers {
        world.join(id, peer());
        (0..300).for_each(|file| world.request(id, file));
    }
    let mut begun = Vec::new();
    let mut seen = 0;
    while !world.flights.is_empty() {
        for start in &world.starts[seen..] {
            let its = |flight: &&Flight| {
                flight.assignment.taker == start.taker && flight.assignment.transfer <= start.transfer
            };
            let of = |giver: Option<PeerId>| {
                let flights = world.flights.values().filter(its);
                flights.filter(|flight| giver.is_none_or(|giver| flight.assignment.giver == giver)).count()
            };
            begun.push((start.clone(), of(Some(PeerId(0))), of(None)));
        }
        seen = world.starts.len();
        let first = |is_origins| {
            let mut flights = world.flights.values().map(|flight| &flight.assignment);
            flights.find(|a| (a.giver == PeerId(0)) == is_origins).map(|a| a.transfer)
        };
        let turn = seen.is_multiple_of(8);
        let transfer = first(turn).or_else(|| first(!turn)).expect("one is under way");
        world.now = world.now.plus(200);
        world.complete(transfer);
    }
    assert!((1..=takers).all(|id| (0..300).all(|file| world.has(id, file) == 1)));
    begun
}

/// Or they could never give what they have, however fast they are, and all would wait for the origin.
#[test]
fn an_origin_leaves_transfers_to_peers() {
    let most = |takers| small_files(takers).iter().map(|&(_, origins, _)| origins).max();
    assert_eq!(most(2), Some(8));
    assert_eq!(most(6), Some(4));
}

#[test]
fn who_is_kept_busy_by_peers_gets_only_from_them_what_they_have() {
    let begun = small_files(6);
    assert!(begun.iter().any(|&(_, _, all)| all > 4));
    // At first, nothing is known of their lines.
    let later = &begun[begun.len() / 4..];
    let spare = later.iter().filter(|(start, _, all)| start.reason == Reason::Spare && *all > 4).count();
    assert_eq!(spare, 0, "of {}", later.len());
}

#[test]
fn no_more_is_under_way_than_what_a_peer_is_willing_to_send() {
    let most = |up_limit| {
        let mut world = world();
        world.add_file(0, 400);
        world.join(1, PeerInfo { up_limit, ..peer() });
        world.provide(1, 0, 0..400);
        world.join(2, peer());
        world.request(2, 0);
        let mut most = 0;
        for _ in 0..200 {
            step(&mut world);
            let pieces = world.flights.values().map(|flight| flight.assignment.pieces.len());
            most = most.max(pieces.sum::<usize>());
        }
        most
    };
    let (limited, free) = (most(Some(100_000)), most(None));
    assert!(limited <= 3 && free > 6, "{limited}, {free}");
}

#[test]
fn nearer_givers_come_first_and_idle_ones_before_them() {
    for seed in 0..20 {
        let mut world = World::new(Config { seed, ..Config::default() });
        world.add_file(0, 4);
        world.add_file(1, 40);
        let at = |address: [u8; 4]| PeerInfo { address: Some(address.into()), ..peer() };
        for (id, address) in [(1, [10, 1, 0, 1]), (2, [10, 0, 0, 1]), (3, [10, 0, 9, 1])] {
            world.join(id, at(address));
            world.provide(id, 0, 0..4);
        }
        world.join(4, at([10, 0, 0, 4]));
        world.request_pieces(4, 0, 0..1);
        let start = &world.starts[0];
        assert_eq!((start.giver, start.reason), (PeerId(2), Reason::Locality));
        // That one has something to do now.
        world.join(5, at([10, 0, 0, 5]));
        world.request_pieces(5, 0, 0..1);
        assert_eq!(world.starts[1].giver, PeerId(3));
    }
}

/// Who is sent the first piece by 1, and why, of three that need all: 4 in its own small network, 3 in the larger one, 2 somewhere
/// else. Some have got so many pieces already.
fn first_taker(seed: u64, have: &[(u32, u32)]) -> (PeerId, Reason) {
    let mut world = World::new(Config { seed, ..Config::default() });
    world.add_file(0, 400);
    let at = |address: [u8; 4]| PeerInfo { address: Some(address.into()), ..peer() };
    for (id, address) in [(1, [10, 0, 0, 1]), (2, [10, 9, 0, 1]), (3, [10, 0, 7, 1]), (4, [10, 0, 0, 2])] {
        world.join(id, PeerInfo { gives: id == 1, ..at(address) });
    }
    for &(id, pieces) in have {
        world.join(9, peer());
        world.provide(9, 0, 0..pieces);
        world.request_pieces(id, 0, 0..pieces);
        world.complete_all();
        world.send(Event::PeerLeft { peer: PeerId(9) });
    }
    (2..=4).for_each(|id| world.request_pieces(id, 0, 100..400));
    let before = world.starts.len();
    world.provide(1, 0, 100..400);
    (world.starts[before].taker, world.starts[before].reason)
}

#[test]
fn nearer_takers_come_first_unless_they_are_far_ahead() {
    for seed in 0..20 {
        let first = |have: &[(u32, u32)]| first_taker(seed, have);
        assert_eq!(first(&[]), (PeerId(4), Reason::Locality));
        assert_eq!(first(&[(4, 3)]), (PeerId(4), Reason::Locality), "a little more is no matter");
        assert_eq!(first(&[(4, 20)]), (PeerId(3), Reason::Locality));
        assert_eq!(first(&[(4, 20), (3, 20)]), (PeerId(2), Reason::Rarest));
        assert_eq!(first(&[(4, 20), (3, 20), (2, 20)]), (PeerId(4), Reason::Locality));
    }
}

#[test]
fn who_is_alone_gets_one_file_after_the_other_and_each_in_order() {
    let mut world = world();
    world.join(0, origin());
    for file in 0..5 {
        world.add_file(file, 100);
    }
    world.join(1, peer());
    for file in 0..5 {
        world.request(1, file);
    }
    world.complete_all();
    let mut files: Vec<_> = world.starts.iter().map(|start| start.file).collect();
    files.dedup();
    assert_eq!(files.len(), 5, "{files:?}");
    for file in 0..5 {
        let of_one = world.starts.iter().filter(|start| start.file == FileId(file));
        assert!(of_one.map(|start| start.pieces.start).is_sorted());
    }
}

#[test]
fn runs_leave_something_for_others_and_the_last_pieces_come_one_by_one() {
    let mut world = world();
    world.join(0, origin());
    world.add_file(0, 128);
    for id in 1..=4 {
        world.join(id, PeerInfo { gives: false, ..peer() });
        world.request(id, 0);
    }
    let mut seen = 0;
    while !world.flights.is_empty() {
        step(&mut world);
        let wanted = |id: u32| world.peers[&id].wants[&0].len();
        let under_way =
            |id| world.flights.values().filter(move |flight| flight.assignment.taker == PeerId(id));
        for start in &world.starts[seen..] {
            let id = start.taker.0;
            // After it, so it had so many and those of it.
            let coming: usize = under_way(id).map(|flight| flight.assignment.pieces.len()).sum();
            let open = (1..=4).contains(&id).then(|| wanted(id) - coming).unwrap() + start.pieces.len();
            assert!(start.pieces.len() <= (open + 8).div_ceil(4), "{start:?} of {open}");
            if (1..=4).all(|id| wanted(id) > 64) {
                assert!(start.pieces.len() <= 128 / (4 * 4), "{start:?}");
            }
        }
        seen = world.starts.len();
    }
    assert!((1..=4).all(|id| world.has(id, 0) == 128));
    assert!(world.starts.iter().any(|start| start.pieces.len() > 3));
}

#[test]
fn who_came_last_gets_what_an_origin_has_to_spare_then_who_lacks_most_of_it_then_who_needs_least() {
    // Peer 9 has all, so nothing is new, and can meet nobody.
    let alone = PeerInfo { reachable: false, puts: false, up_limit: None, ..peer() };
    let all = 0..200;
    for (second_comes, wants, others, expected) in [
        (5_000_000, [all.clone(), all.clone()], 0, 2),
        // Who lacks more than half would be left alone when others are done and go.
        (300_000, [all.clone(), 160..200], 0, 1),
        (300_000, [all.clone(), 40..200], 0, 2),
        (300_000, [100..200, 160..200], 0, 2),
        // In a crowd it is the last for whom something is to be done.
        (300_000, [100..200, 160..200], 100, 1),
    ] {
        let mut world = world();
        // Those who come within 0.3 s come together, whatever the second.
        world.now = Time(900_000);
        world.join(0, PeerInfo { up_limit: Some(1_000_000), ..origin() });
        world.add_file(0, 200);
        world.join(9, alone.clone());
        world.provide(9, 0, 0..200);
        world.join(1, PeerInfo { gives: false, runs: false, ..alone.clone() });
        world.now = world.now.plus(second_comes);
        world.join(2, PeerInfo { gives: false, runs: false, ..alone.clone() });
        (10..10 + others).for_each(|id| world.join(id, alone.clone()));
        let [first, second] = wants.clone();
        world.request_pieces(1, 0, first);
        world.request_pieces(2, 0, second);
        let mut got = [0; 3];
        for _ in 0..20 {
            let before = world.starts.len();
            world.now = world.now.plus(66_000);
            world.complete(*world.flights.keys().next().unwrap());
            for start in &world.starts[before..] {
                got[start.taker.0 as usize] += 1;
            }
        }
        assert!(2 * got[expected] > 3 * got[3 - expected] && got[expected] > 5, "{wants:?}: {got:?}");
    }
}

#[test]
fn one_that_again_and_again_cannot_be_dialled_is_not_dialled_any_more() {
    let mut world = world();
    world.add_file(0, 1);
    world.join(1, peer());
    world.provide(1, 0, 0..1);
    for id in 2..=5 {
        world.join(id, peer());
        world.request(id, 0);
        let start = world.starts.last().unwrap().clone();
        assert_eq!((start.taker, start.taker_dials), (PeerId(id), id < 5));
        if id < 5 {
            world.end(start.transfer, Err(FailureKind::Unreachable));
            world.send(Event::Unrequest { peer: PeerId(id), file: FileId(0), pieces: 0..1 });
        }
    }
}

#[test]
fn a_giver_is_not_to_blame_for_takers_that_cannot_be_dialled_or_have_no_room_on_disk() {
    for kind in [FailureKind::Unreachable, FailureKind::Disk] {
        let mut world = world();
        world.add_file(0, 400);
        world.join(1, PeerInfo { reachable: false, ..peer() });
        world.provide(1, 0, 0..400);
        for id in 2..=7 {
            world.join(id, peer());
            world.request_pieces(id, 0, 0..1);
            let start = world.starts.last().unwrap().clone();
            assert_eq!((start.taker, start.taker_dials), (PeerId(id), false));
            world.end(start.transfer, Err(kind));
            world.send(Event::PeerLeft { peer: PeerId(id) });
        }
        world.join(8, peer());
        world.request(8, 0);
        assert!(world.flights.len() > 1, "{kind:?}: as to anybody");
    }
}

#[test]
fn a_piece_that_was_lost_again_while_its_run_was_under_way_is_sent_again() {
    let mut world = world_with(1000);
    let run = first_run(&mut world);
    let piece = run.pieces.start;
    world.send(Event::Progress { transfer: run.transfer, peer: PeerId(1), pieces: vec![piece] });
    world.send(Event::Unprovide { peer: PeerId(1), file: FileId(0), pieces: piece..piece + 1 });
    world.request_pieces(1, 0, piece..piece + 1);
    world.complete_all();
    assert_eq!(world.has(1, 0), 1000);
}

/// Microseconds that peer 1 takes for a piece in the following.
const PIECE_US: u64 = 20_000;
const SECOND: u64 = 1_000_000;

/// A peer (1) that has everything, and two that want it, after some seconds of which all went well.
fn two_takers() -> World {
    let mut world = world();
    world.add_file(0, 5000);
    let up_limit = Some(u64::from(PIECE) * SECOND / PIECE_US);
    world.join(1, PeerInfo { up_limit, ..peer() });
    (2..=3).for_each(|id| world.join(id, peer()));
    world.provide(1, 0, 0..5000);
    (2..=3).for_each(|id| world.request(id, 0));
    go_on(&mut world, 3 * SECOND, &[2, 3]);
    world
}

/// A transfer is slow to begin then, and a long one would fill its giver's budget and not its line.
#[test]
fn to_whom_messages_take_long_runs_are_shorter() {
    const RATE: u64 = 2_000_000;
    let mut world = world();
    world.add_file(0, 5000);
    world.join(1, PeerInfo { up_limit: Some(RATE), ..peer() });
    world.provide(1, 0, 0..5000);
    // Whose uplink is full is 4.
    (2..=4).for_each(|id| world.join(id, PeerInfo { gives: false, ..peer() }));
    (2..=4).for_each(|id| world.request(id, 0));
    let mut runs: [Vec<usize>; 2] = Default::default();
    let mut began = BTreeMap::new();
    for step in 0..1000 {
        world.flights.keys().for_each(|&transfer| {
            began.entry(transfer).or_insert(world.now);
        });
        let oldest = world.flights.values().next().map(|flight| flight.assignment.clone()).unwrap();
        let pieces = oldest.pieces.len();
        world.pass(pieces as u64 * u64::from(PIECE) * SECOND / RATE);
        let is_late = oldest.taker == PeerId(4);
        let lag_us = if is_late { 100_000 } else { 5_000 };
        let ms = world.now.since(began[&oldest.transfer]).saturating_sub(lag_us) / 1000;
        let bytes = pieces as u64 * u64::from(PIECE);
        // It may have been called off meanwhile.
        if world.flights.contains_key(&oldest.transfer) {
            let (transfer, peer) = (oldest.transfer, oldest.taker);
            world.send(Event::Completed { transfer, peer, bytes, ms, result: Ok(()) });
        }
        if step > 500 {
            runs[usize::from(is_late)].push(pieces);
        }
    }
    let [prompt, late] = runs.map(|runs| runs.iter().sum::<usize>() as f64 / runs.len() as f64);
    assert!(late < 0.7 * prompt, "{prompt} pieces in each run, {late} where messages take long");
}

/// For so long, the oldest transfer to one of `takers` goes well, and then the next; how long there was one.
fn go_on(world: &mut World, micros: u64, takers: &[u32]) -> u64 {
    let (until, mut busy) = (world.now.plus(micros), 0);
    while world.now < until {
        let oldest = world.flights.values().find(|flight| takers.contains(&flight.assignment.taker.0));
        let Some(Assignment { transfer, pieces, .. }) = oldest.map(|flight| flight.assignment.clone()) else {
            world.pass(PIECE_US);
            continue;
        };
        let time = pieces.len() as u64 * PIECE_US;
        world.pass(time);
        busy += time;
        // It may have been called off meanwhile.
        if world.flights.contains_key(&transfer) {
            world.complete(transfer);
        }
    }
    busy
}

fn is_to(id: u32) -> impl Fn(&Assignment) -> bool {
    move |assignment| assignment.taker == PeerId(id)
}

/// Pieces under way to a peer.
fn coming(world: &World, id: u32) -> usize {
    let all = world.flights.values().map(|flight| &flight.assignment);
    all.filter(|assignment| is_to(id)(assignment)).map(|assignment| assignment.pieces.len()).sum()
}

#[test]
fn who_gives_no_sign_of_life_is_pinged_given_up_and_keeps_nobody_waiting() {
    let mut world = two_takers();
    assert_eq!(world.pings, []);
    world.mute.insert(2);
    // Everything takes long here, so it is not missed at once.
    go_on(&mut world, 8 * SECOND, &[3]);
    assert!(world.pings.contains(&PeerId(2)), "{:?}", world.pings);
    assert_eq!(coming(&world, 2), 0);
    // Nobody tries it out with pieces, which would only take up the line of who gives them.
    let known = world.starts.len();
    assert!(go_on(&mut world, 20 * SECOND, &[3]) >= 20 * SECOND);
    assert!(world.starts[known..].iter().all(is_to(3)));
    assert!(world.pings.len() > 4, "asked again: {:?}", world.pings);
    // It is back.
    world.mute.clear();
    go_on(&mut world, 10 * SECOND, &[2, 3]);
    assert!(coming(&world, 2) > 0);
}

/// For so long, what comes from the origin to those who are not mute goes well, and nothing else comes.
fn origin_goes_on(world: &mut World, micros: u64) {
    let until = world.now.plus(micros);
    while world.now < until {
        world.pass(1000);
        let mut all = world.flights.values().map(|flight| &flight.assignment);
        let goes_on = |run: &&Assignment| run.giver == PeerId(0) && !world.mute.contains(&run.taker.0);
        let Some(Assignment { transfer, pieces, .. }) = all.find(goes_on).cloned() else { continue };
        world.pass(pieces.len() as u64 * PIECE_US);
        if world.flights.contains_key(&transfer) {
            world.complete(transfer);
        }
    }
}

/// Three peers, of which the first has what nobody else has and then says nothing any more, and an origin.
fn one_is_gone() -> World {
    let mut world = world_with(2000);
    (1..=3).for_each(|id| world.join(id, peer()));
    world.provide(1, 0, 0..1000);
    world.request(1, 0);
    world.request(2, 0);
    world.mute.insert(1);
    for _ in 0..100 {
        origin_goes_on(&mut world, SECOND / 10);
        if world.swarm.state.peers[world.swarm.state.peer_ids[&PeerId(1)]].is_gone() {
            return world;
        }
    }
    panic!("not missed: {:?}", world.pings);
}

#[test]
fn what_one_had_who_is_gone_is_as_rare_as_if_it_had_left() {
    let mut world = one_is_gone();
    let unseen = |world: &World| {
        let state = &world.swarm.state;
        let rarity = &state.files[state.file_ids[&FileId(0)]].rarity;
        (0..1000).filter(|&piece| rarity.copies(piece) == 0).collect::<Vec<_>>()
    };
    let only_its = unseen(&world);
    assert!(!only_its.is_empty(), "what only it had nobody has");
    // Who comes now gets that from the origin, as what is new, and passes it on.
    world.join(4, peer());
    let known = world.starts.len();
    world.request(4, 0);
    origin_goes_on(&mut world, SECOND);
    let new = world.starts[known..].iter().filter(|start| start.reason == Reason::Origin);
    assert!(new.flat_map(|start| start.pieces.clone()).any(|piece| only_its.contains(&piece)));
    world.mute.clear();
    for _ in 0..100 {
        origin_goes_on(&mut world, SECOND / 10);
    }
    assert!(unseen(&world).is_empty(), "it is back");
}

#[test]
fn who_is_left_with_one_that_is_gone_is_alone() {
    let mut world = one_is_gone();
    world.send(Event::PeerLeft { peer: PeerId(3) });
    let is_alone = |world: &World| world.swarm.state.is_alone(world.swarm.state.origins[0]);
    assert!(is_alone(&world));
    let open = world.swarm.state.open;
    world.mute.clear();
    for _ in 0..100 {
        origin_goes_on(&mut world, SECOND / 10);
        if !is_alone(&world) {
            break;
        }
    }
    assert!(!is_alone(&world), "it is back");
    assert!(world.swarm.state.open > open, "and lacks what it lacked");
    assert!(coming(&world, 1) > 0);
}

#[test]
fn what_was_promised_to_one_that_may_be_gone_is_promised_to_others() {
    let mut world = two_takers();
    world.mute.insert(2);
    // Until it is asked, and before it is given up.
    while !world.pings.contains(&PeerId(2)) {
        assert!(coming(&world, 2) > 0);
        go_on(&mut world, PIECE_US, &[3]);
    }
    let left = coming(&world, 2);
    assert!(left > 0 && world.cancelled.is_empty());
    let before = coming(&world, 3);
    // Its line is filled again, as if there were only peer 3.
    assert!(go_on(&mut world, SECOND / 2, &[3]) >= SECOND / 2);
    assert_eq!(coming(&world, 2), left);
    assert!(coming(&world, 3) >= before.max(2), "{before} and {}", coming(&world, 3));
}

#[test]
fn who_answers_is_waited_for_however_slow_its_line_has_become() {
    let mut world = two_takers();
    let under_way: Vec<_> = world.flights.keys().copied().collect();
    world.pass(8 * SECOND);
    assert!(!world.pings.is_empty());
    assert_eq!(world.cancelled, []);
    assert!(under_way.iter().all(|transfer| world.flights.contains_key(transfer)));
    assert!(go_on(&mut world, SECOND, &[2, 3]) >= SECOND);
}

#[test]
fn what_comes_from_one_that_did_not_answer_is_counted_as_any_other() {
    let mut world = two_takers();
    world.mute.insert(1);
    while !world.pings.contains(&PeerId(1)) {
        world.pass(PIECE_US);
    }
    let is_from_it = |run: &Assignment| run.giver == PeerId(1);
    let runs = world.flights.values().map(|flight| &flight.assignment);
    let run = runs.filter(|run| is_from_it(run)).find(|run| run.pieces.len() > 1);
    let Assignment { transfer, taker, pieces, .. } = run.unwrap().clone();
    world.send(Event::Progress { transfer, peer: taker, pieces: vec![pieces.start] });
    let state = &world.swarm.state;
    let file = &state.files[state.file_ids[&FileId(0)]];
    let from_it = world.flights.values().filter(|flight| is_from_it(&flight.assignment));
    let missing = from_it
        .flat_map(|flight| flight.assignment.pieces.clone().filter(|piece| !flight.done.contains(piece)));
    let promised: u64 = missing.map(|piece| file.bytes_of(piece)).sum();
    let line = &state.peers[state.peer_ids[&PeerId(1)]].up;
    assert_eq!(line.in_flight, promised);
}
