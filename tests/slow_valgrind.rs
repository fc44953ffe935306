//! memcheck on each C example, against a real server: no error, nothing definitely lost, at exit.
//!
//! Takes minutes: only with PDTP_SLOW=1 (`make check-slow`).

#![cfg(unix)]

#[path = "common/abi.rs"]
pub mod abi;
#[path = "common/c.rs"]
pub mod c;
pub mod common;
#[path = "common/nonsense.rs"]
pub mod nonsense;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::*;

/// valgrind runs everything on one processor, some fifty times slower.
const VALGRIND_PATIENCE: Duration = Duration::from_secs(600);

fn skip() -> bool {
    let slow = std::env::var_os("PDTP_SLOW").is_some();
    let there = c::is_installed("valgrind");
    if !slow || !there {
        eprintln!("skipped: {}", if slow { "valgrind is not installed" } else { "PDTP_SLOW is not set" });
    }
    !slow || !there
}

fn memcheck(file: &str, args: &[&str]) {
    run(&c::compile("cc", file), args, scratch().path());
}

fn run(program: &c::CProgram, args: &[&str], dir: &Path) {
    let mut command = Command::new("valgrind");
    command.args(["--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    command.args(["--show-leak-kinds=definite", "--quiet", "--fair-sched=yes"]);
    command.arg(program.path()).args(args).current_dir(dir);
    Proc::spawn(command).finish(VALGRIND_PATIENCE).expect(0);
}

fn with_server(run: impl FnOnce(&Pdtpd, &str)) {
    if skip() {
        return;
    }
    let served = make_tree(&[("file.bin", 3_000_000), ("small", 300), ("empty", 0), ("sub/x", 900_000)]);
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let dir = scratch();
    run(&server, dir.path().join("out").to_str().unwrap());
}

#[test]
fn get() {
    with_server(|server, out| memcheck("examples-c/get.c", &[&server.uri("/"), out]));
}

#[test]
fn ls() {
    with_server(|server, _| memcheck("examples-c/ls.c", &["-R", &server.uri("/")]));
}

#[test]
fn swarm() {
    with_server(|server, out| memcheck("examples-c/swarm.c", &["-n", "3", &server.uri("/"), out]));
}

#[test]
fn stream() {
    with_server(|server, _| memcheck("examples-c/stream.c", &["-s", "1000000", &server.uri("/file.bin")]));
}

fn with_film(program: &str, test: &str) {
    with_server(|server, _| {
        let copy = server.dir().join("file.bin");
        memcheck(program, &[test, &server.uri("/file.bin"), copy.to_str().unwrap()]);
    });
}

#[test]
fn reader_seek() {
    with_film("tests/c/reader.c", "seek");
}

#[test]
fn reader_cancel() {
    with_film("tests/c/reader.c", "cancel");
}

#[test]
fn reader_free_client_first() {
    with_film("tests/c/reader.c", "free_client_first");
}

#[test]
fn data_pulled() {
    with_film("tests/c/data.c", "pulled");
}

#[test]
fn data_freed() {
    with_film("tests/c/data.c", "freed");
}

#[test]
fn poll_loop() {
    with_server(|server, out| memcheck("examples-c/poll_loop.c", &[&server.uri("/file.bin"), out]));
}

#[test]
fn verify() {
    with_server(|server, out| memcheck("examples-c/verify.c", &[&server.uri("/file.bin"), out]));
}

#[test]
fn nulls() {
    with_server(|_, _| memcheck("tests/c/nulls.c", &[]));
}

/// Whatever is in the header, by types alone: see `tests/c_api.rs`.
#[test]
fn every_combination_of_nonsense() {
    with_server(|server, _| {
        let header = std::fs::read_to_string(c::source("include/pdtp.h")).unwrap();
        let dir = scratch();
        let text = dir.path().join("nonsense.c");
        std::fs::write(&text, nonsense::program(&abi::Abi::of_header(&header))).unwrap();
        let include = format!("-I{}", c::source("tests/c").display());
        run(&c::compile_with("cc", &text, &[include]), &[&server.uri("/")], dir.path());
    });
}

#[test]
fn free_in_event_callback() {
    with_server(|server, out| {
        std::fs::create_dir(out).unwrap();
        memcheck("tests/c/life.c", &["free_in_event_callback", &server.uri("/file.bin"), out]);
    });
}
