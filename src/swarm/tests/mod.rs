//! The scheduler's promises: single rules ([`rules`]), all rules under random events ([`chaos`]), and how close to
//! the optimum whole downloads come ([`races`]).
//!
//! `PDTP_SEEDS=FIRST..END` has random swarms played with other seeds, and more of them (`make check-slow` does): all
//! of them, so name the test as well when one seed of it is to be repeated.

mod chaos;
mod properties;
mod races;
mod readers;
mod rules;
mod wishes;
mod world;

use std::ops::Range;

/// The seeds to play: `usual` ones, or those asked for.
fn seeds(usual: Range<u64>) -> Range<u64> {
    std::env::var("PDTP_SEEDS").map_or(usual, |text| {
        let (first, end) = text.split_once("..").expect("PDTP_SEEDS=FIRST..END");
        first.parse().expect("a number")..end.parse().expect("a number")
    })
}

/// Plays every seed, and names the one that fails.
fn for_all(seeds: Range<u64>, play: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in seeds {
        let result = std::panic::catch_unwind(|| play(seed));
        assert!(result.is_ok(), "seed {seed}: PDTP_SEEDS={seed}..{} repeats it", seed + 1);
    }
}
