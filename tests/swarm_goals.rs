//! The scheduler's goals in swarms that take too long to simulate without optimisation:
//! `cargo test --profile sim --features sim --test swarm_goals` (part of `make check-slow`). The others are in
//! `src/swarm/tests/races.rs`.

use pdtp::swarm::sim::{Summary, run, scenario};

fn play(name: &str, seed: u64) -> Summary {
    let setup = scenario(name).expect("a known scenario").setup(seed);
    let summary = run(&setup).summary(&setup);
    println!("{name}, seed {seed}: {:.3?} T*, {summary:?}", summary.ratio());
    assert_eq!(summary.dials_refused, 0, "{name}, seed {seed}: nobody dials too many strangers");
    assert!(name == "streams" || summary.finished == summary.takers, "{name}, seed {seed}: {summary:?}");
    summary
}

fn ratio(summary: &Summary) -> f64 {
    summary.ratio().expect("all come at once and stay")
}

#[test]
fn sixteen_and_sixty_four_equal_peers() {
    for (name, seed) in
        ["equal16", "equal64"].into_iter().flat_map(|name| (1..=8).map(move |seed| (name, seed)))
    {
        let summary = play(name, seed);
        assert!(ratio(&summary) <= 1.05, "{summary:?}");
    }
}

#[test]
fn a_thousand_equal_peers() {
    for seed in 1..=3 {
        let summary = play("equal1000", seed);
        assert!(ratio(&summary) <= 1.05, "{summary:?}");
    }
}

/// With 16 the median of 64 seeds is 1.054, and 1.072 the worst.
#[test]
fn equal_peers_and_an_origin_like_them() {
    for (name, most) in [("pieces16", 1.08), ("pieces64", 1.06)] {
        for seed in 1..=8 {
            let summary = play(name, seed);
            let best = summary.best_in_pieces.expect("equal uplinks, and one file");
            assert!(summary.makespan <= most * best, "{}", summary.makespan / best);
        }
    }
}

/// An origin that has no more under way than keeps its line busy is idle a sixth of the time here, as its takers' lines are full: 1.21 T*.
#[test]
fn lines_that_are_all_equally_fast_both_ways() {
    for seed in 1..=3 {
        let summary = play("lan", seed);
        let best = summary.best.expect("all come at once and stay");
        assert!(summary.mean <= 1.17 * best, "{}", summary.mean / best);
        assert!(ratio(&summary) <= 1.27, "{summary:?}");
    }
}

#[test]
fn peers_that_differ_come_go_and_do_harm() {
    for seed in 1..=8 {
        assert!(ratio(&play("halves", seed)) <= 1.08, "seed {seed}");
        assert!(ratio(&play("lognormal", seed)) <= 1.15, "seed {seed}");
        // The last to come are not to be done long after all others.
        let churn = play("churn", seed);
        assert!(churn.mean <= 22.0 && churn.makespan <= 47.0, "seed {seed}");
        // Nor are those with thin uplinks to be left alone with the origin.
        let leave = play("leave", seed);
        assert!(leave.mean <= 26.0 && leave.makespan <= 29.0, "seed {seed}");
        // What those who vanish have under way keeps nobody else waiting: 22.3 s is what the lines need with half of what they sent in
        // the first 8 s lost.
        let outage = play("outage", seed);
        assert!(outage.mean <= 22.6 && outage.makespan <= 23.25, "seed {seed}");
        let summary = play("hostile", seed);
        assert!(ratio(&summary) <= 1.2 && summary.wasted <= 0.02, "seed {seed}");
    }
}

#[test]
fn a_frugal_origin_sends_about_one_copy() {
    for seed in 1..=2 {
        let summary = play("frugal1000", seed);
        assert!(summary.origin_copies <= 1.2, "{}", summary.origin_copies);
        assert!(ratio(&summary) <= 1.1, "{summary:?}");
    }
}

/// Kraken's published test reached p50 10 s, p99 18 s, p99.9 22 s. 10 s is what one host's line takes, and both directions
/// of all lines are needed for all of that time.
#[test]
fn a_data_centre() {
    for seed in 1..=2 {
        let summary = play("kraken", seed);
        assert!(summary.p50 <= 10.5 && summary.p99 <= 12.0 && summary.p999 <= 13.0, "{summary:?}");
    }
}

/// The same hosts 20 ms apart, and from the server. What changes of less than 2% are not passed on saves most of the time, and changes less than
/// another seed does.
#[test]
fn data_centres_far_apart() {
    let mut setup = scenario("kraken").expect("a known scenario").setup(1);
    setup.put_apart(20_000);
    setup.tolerance = 0.02;
    let summary = run(&setup).summary(&setup);
    println!("kraken 20 ms apart: {summary:?}");
    assert!(summary.p50 <= 10.5 && summary.p99 <= 12.0 && summary.p999 <= 13.0, "{summary:?}");
}

/// Everybody, from its own coming; what one's own line takes is less than T* here.
#[test]
fn a_crowd_that_comes_within_a_minute() {
    let summary = play("crowd2000", 1);
    let best = summary.best_at_once.expect("all stay");
    assert!(summary.slowest <= 1.2 * best, "{summary:?}");
}

/// One second, and two round trips of 20 ms.
#[test]
fn readers_beside_downloads() {
    for seed in 1..=4 {
        let summary = play("streams", seed);
        assert!(summary.slowest_start <= 1.04, "{summary:?}");
        assert_eq!((summary.stalled_readers, summary.unstarted_readers), (0, 0), "{summary:?}");
    }
}

#[test]
fn a_mirror_of_small_files() {
    for name in ["mirror", "office"] {
        let summary = play(name, 1);
        assert!(ratio(&summary) <= 1.2, "{summary:?}");
    }
}
