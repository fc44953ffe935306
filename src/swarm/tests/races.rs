//! Whole downloads in the simulator ([`sim`](super::sim)), against what is possible at best.

use super::sim::{Line, MBIT, Sim};
use crate::content::PieceSize;

const MIB: u64 = 1 << 20;

struct Race {
    makespan: f64,
    mean: f64,
    /// Bytes from the origin, in copies of everything.
    copies: f64,
    messages: u64,
}

/// All of `peers` come at once and want all of `files`.
fn race(seed: u64, origin_up: f64, peers: &[Line], files: &[u64]) -> Race {
    let lines: Vec<Line> =
        [Line { up: origin_up, down: origin_up }].into_iter().chain(peers.iter().copied()).collect();
    let files: Vec<_> = files.iter().map(|&size| (size, PieceSize::for_file(size).bytes())).collect();
    let all: u64 = files.iter().map(|file| file.0).sum();
    let mut sim = Sim::new(seed, lines, files);
    for id in 1..=peers.len() {
        sim.arrive(id as u32, 10_000);
    }
    let makespan = sim.run() as f64 / 1e6;
    assert!(sim.got[1..].iter().all(|&got| got == all), "everybody has everything, once");
    let mean = sim.last[1..].iter().sum::<u64>() as f64 / 1e6 / peers.len() as f64;
    let copies = sim.swarm.stats().origin_bytes as f64 / all as f64;
    Race { makespan, mean, copies, messages: sim.messages }
}

/// The least time in which all can have everything (Kumar and Ross, 2006), seconds.
fn best(origin_up: f64, peers: &[Line], bytes: u64) -> f64 {
    let f = bytes as f64;
    let up: f64 = origin_up + peers.iter().map(|line| line.up).sum::<f64>();
    let slowest = peers.iter().map(|line| line.down).fold(f64::INFINITY, f64::min);
    (f / origin_up).max(f / slowest).max(peers.len() as f64 * f / up)
}

fn equal(count: usize, up: f64, down: f64) -> Vec<Line> {
    vec![Line { up: up * MBIT, down: down * MBIT }; count]
}

/// Runs a race with a few seeds; the worst ratio to the optimum.
fn ratio(name: &str, origin_up: f64, peers: &[Line], files: &[u64]) -> f64 {
    let best = best(origin_up * MBIT, peers, files.iter().sum());
    let ratios = (1..=3).map(|seed| {
        let race = race(seed, origin_up * MBIT, peers, files);
        let ratio = race.makespan / best;
        println!(
            "{name}: {:.2} s = {ratio:.3} T*, mean {:.3} T*, {:.2} copies from the origin, {} messages",
            race.makespan,
            race.mean / best,
            race.copies,
            race.messages
        );
        ratio
    });
    ratios.fold(0.0, f64::max)
}

#[test]
fn one_client_is_as_fast_as_its_line_or_the_origin() {
    for (origin, down) in [(20.0, 50.0), (100.0, 50.0), (1000.0, 1000.0), (1.0, 50.0)] {
        let size = ((origin * 1.5) as u64).clamp(4, 1024) * MIB;
        let ratio = ratio(&format!("1 client, {origin}/{down}"), origin, &equal(1, 10.0, down), &[size]);
        assert!(ratio <= 1.1, "{ratio}");
    }
}

#[test]
fn two_clients_are_never_slower_than_both_fetching_from_the_origin() {
    for (origin, up, down) in [
        (20.0, 10.0, 50.0),
        (20.0, 0.5, 50.0),
        (20.0, 100.0, 100.0),
        (200.0, 10.0, 50.0),
        (1000.0, 1000.0, 1000.0),
    ] {
        let size = ((origin * 2.0) as u64).clamp(16, 512) * MIB;
        let peers = equal(2, up, down);
        let plain = (2.0 * size as f64 / (origin * MBIT)).max(size as f64 / (down * MBIT));
        let name = format!("2 clients, {origin}/{up}/{down}");
        let worst = ratio(&name, origin, &peers, &[size]) * best(origin * MBIT, &peers, size);
        println!("{name}: {:.3} of plain sharing", worst / plain);
        assert!(worst <= 1.1 * plain, "{worst} s, plain {plain} s");
    }
}

#[test]
fn sixteen_equal_peers_come_close_to_the_optimum() {
    let ratio = ratio("16 equal peers", 20.0, &equal(16, 10.0, 50.0), &[32 * MIB]);
    assert!(ratio <= 1.2, "{ratio}");
}

#[test]
fn half_slow_half_fast_peers_come_close_to_the_optimum() {
    let peers = [equal(8, 2.0, 50.0), equal(8, 18.0, 50.0)].concat();
    let ratio = ratio("8 slow, 8 fast peers", 20.0, &peers, &[32 * MIB]);
    assert!(ratio <= 1.25, "{ratio}");
}

#[test]
fn many_small_files() {
    let files = vec![16 * 1024; 2000];
    for clients in [1, 4] {
        let name = format!("2000 small files, {clients} clients");
        let ratio = ratio(&name, 20.0, &equal(clients, 10.0, 50.0), &files);
        assert!(ratio <= 1.2, "{ratio}");
    }
}

/// Those who give very slowly must not keep the origin from giving fast.
#[test]
fn many_slow_givers_do_not_lock_the_origin_out() {
    let (size, givers) = (64 * MIB, 60);
    let mut lines = equal(2, 100.0, 100.0);
    lines.extend(equal(givers, 0.5, 1.0));
    for seed in 1..=3 {
        let mut sim = Sim::new(seed, lines.clone(), vec![(size, PieceSize::for_file(size).bytes())]);
        (0..givers).for_each(|giver| sim.arrive_with_all(giver as u32 + 2, 1000));
        sim.arrive(1, 2_000_000);
        let took = sim.run() as f64 / 1e6 - 2.0;
        let alone = size as f64 / (100.0 * MBIT);
        println!("{givers} slow givers: {took:.2} s, {alone:.2} s without them");
        // The last pieces that slow givers were asked for may take their time; half a minute would be a lock-out.
        assert!(took <= alone + 6.0, "{took} s, and {alone} s from the origin alone");
    }
}
