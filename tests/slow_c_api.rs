//! More of what `tests/c_api.rs` does by chance: random sequences of calls, and clients freed at random moments.
//!
//! Takes minutes: only with PDTP_SLOW=1 (`make check-slow`). PDTP_SEED=N repeats one sequence.

#![cfg(unix)]

#[path = "common/c.rs"]
pub mod c;
pub mod common;

use std::process::Command;
use std::time::Duration;

use common::*;

const LONG_PATIENCE: Duration = Duration::from_secs(900);

fn skip() -> bool {
    let skip = std::env::var_os("PDTP_SLOW").is_none();
    if skip {
        eprintln!("skipped: PDTP_SLOW is not set");
    }
    skip
}

/// So many sequences of so many calls at random, each from nothing. `PDTP_SEED` has one long one played instead, from that seed.
fn call_at_random(seed: u32, steps: u32, sequences: u32) {
    if skip() {
        return;
    }
    let served = make_tree(&[("file.bin", 3_000_000), ("small", 300), ("empty", 0), ("sub/x", 900_000)]);
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let program = c::compile("cc", "tests/c/fuzz.c");
    let plan = match std::env::var("PDTP_SEED") {
        Ok(seed) => [seed, "3000".to_owned(), "1".to_owned()],
        Err(_) => [seed, steps, sequences].map(|number| number.to_string()),
    };
    let dir = scratch();
    let mut command = Command::new(program.path());
    command.args(plan).args([&server.uri("/"), dir.path().to_str().unwrap()]);
    Proc::spawn(command).finish(LONG_PATIENCE).expect(0);
}

#[test]
fn a_thousand_random_sequences_of_calls_break_nothing() {
    call_at_random(1000, 150, 1000);
}

#[test]
fn another_thousand_random_sequences_of_calls_break_nothing() {
    call_at_random(2000, 150, 1000);
}

#[test]
fn long_random_sequences_of_calls_break_nothing() {
    call_at_random(100, 3000, 20);
}

#[test]
fn a_client_is_freed_at_a_thousand_random_moments() {
    if skip() {
        return;
    }
    let served = make_tree(&[("file.bin", 3_000_000)]);
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let dir = scratch();
    let program = c::compile("cc", "tests/c/life.c");
    let mut command = Command::new(program.path());
    command.args(["free_at_random", &server.uri("/file.bin"), dir.path().to_str().unwrap()]);
    command.env("PDTP_ROUNDS", "1000");
    Proc::spawn(command).finish(LONG_PATIENCE).expect(0);
}
