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

#[test]
fn long_random_sequences_of_calls_break_nothing() {
    if skip() {
        return;
    }
    let served = make_tree(&[("file.bin", 3_000_000), ("small", 300), ("empty", 0), ("sub/x", 900_000)]);
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let program = c::compile("cc", "tests/c/fuzz.c");
    // Many short ones, each from nothing, and a few long ones.
    let plans: Vec<[String; 3]> = match std::env::var("PDTP_SEED") {
        Ok(seed) => vec![[seed, "3000".into(), "1".into()]],
        Err(_) => [["1000", "150", "2000"], ["100", "3000", "20"]].map(|plan| plan.map(str::to_owned)).into(),
    };
    for [seed, steps, sequences] in plans {
        let dir = scratch();
        let mut command = Command::new(program.path());
        command.args([&seed, &steps, &sequences, &server.uri("/"), dir.path().to_str().unwrap()]);
        Proc::spawn(command).finish(LONG_PATIENCE).expect(0);
    }
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
