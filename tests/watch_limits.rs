//! When the system tells too little of what changes in the served directory: `pdtpd` says so, and finds out by itself.

#![cfg(target_os = "linux")]

pub mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::*;
use serde_json::Value;

/// What only the scan finds takes as long as it takes.
const SCAN_PATIENCE: Duration = Duration::from_secs(120);

fn status(port: u16) -> Value {
    let answer = http(port, "GET", "/.pdtp/status", &[]);
    serde_json::from_slice(&answer.body).expect("status is JSON")
}

/// Whether a file is hashed, without having it hashed.
fn is_hashed(port: u16, dir: &str, name: &str) -> bool {
    let run = pdtp(&["ls", "--json", &format!("pdtp://127.0.0.1:{port}{dir}")]).expect(0);
    let listed = run.text();
    let mut entries = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.any(|entry| entry["name"] == name && entry["root"].is_string())
}

/// More directories than the system lets `pdtpd` watch, by the limit of a user namespace of its own.
#[test]
fn more_directories_than_may_be_watched_are_scanned() {
    const LIMIT: u32 = 5;
    let (served, state) = (scratch(), scratch());
    for index in 0..20 {
        std::fs::create_dir(served.path().join(format!("dir{index:02}"))).unwrap();
        make_file(served.path(), format!("dir{index:02}/before"), 100);
    }
    let lower = format!("echo {LIMIT} > /proc/sys/user/max_inotify_watches");
    let mut probe = Command::new("unshare");
    probe.args(["-Ur", "sh", "-c", &lower]);
    if !probe.output().is_ok_and(|run| run.status.success()) {
        eprintln!("skipped: this system gives no user namespace with a limit of its own");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["-Ur", "sh", "-c", &format!("{lower} && exec \"$0\" \"$@\"")]);
    command.args([env!("CARGO_BIN_EXE_pdtpd"), "serve"]).arg(served.path());
    command.args(["--listen", "127.0.0.1:0", "--state"]).arg(state.path());
    command.env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
    let mut server = Proc::spawn(command);
    let port = Pdtpd::read_port(&mut server);
    wait_until("it says so", PATIENCE, || {
        let said = server.stderr();
        said.contains("not all of the tree can be watched") && said.contains("found by scanning")
    });
    wait_until("it says so to who asks", PATIENCE, || status(port)["files"]["watched"] == false);
    // Everywhere, watched or not, what is new is found, and what is gone forgotten.
    for index in 0..20 {
        make_file(served.path(), format!("dir{index:02}/after"), 100);
    }
    wait_until("all are hashed", SCAN_PATIENCE, || {
        (0..20).all(|index| is_hashed(port, &format!("/dir{index:02}"), "after"))
    });
    std::fs::remove_dir_all(served.path().join("dir19")).unwrap();
    wait_until("the rest is forgotten", SCAN_PATIENCE, || status(port)["files"]["known"] == 38);
    server.kill9();
}

/// More events than the system keeps, because `pdtpd` is held up.
#[test]
fn a_queue_of_events_that_overflows_is_made_up_for() {
    let most: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(16_384);
    if most > 50_000 {
        eprintln!("skipped: this system keeps {most} events, which would be too many files");
        return;
    }
    let served = scratch();
    make_file(served.path(), "before", 100);
    let mut server = Pdtpd::start(served.path(), &["-v"]);
    wait_until("the first scan is over", PATIENCE, || server.status()["files"]["hashed"] == 1);
    let pid = i32::try_from(server.pid()).unwrap();
    let signal = |signal| assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    signal(libc::SIGSTOP);
    // Each is made, opened, written to and closed.
    let count = most / 2;
    for index in 0..count {
        std::fs::write(served.path().join(format!("f{index}")), b"x").unwrap();
    }
    std::fs::remove_file(served.path().join("before")).unwrap();
    signal(libc::SIGCONT);
    wait_until("it says so", PATIENCE, || server.said().contains("events were lost"));
    // The numbers of the status page come with the next scan; a listing has what is true now.
    wait_until("all are hashed", SCAN_PATIENCE, || {
        let listed = pdtp(&["ls", "--json", &server.uri("/")]).expect(0).text();
        listed.lines().count() == count && !listed.contains("\"root\":null")
    });
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    server.terminate();
}
