//! "Whatever ends a download, the same command goes on with it."

use std::path::Path;

use crate::common::*;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 24 * MIB;

/// Slow enough to be caught in the middle, fast enough for a test.
const SLOW: [&str; 2] = ["--limit-down", "6M"];

/// Bytes on disk of a file that may have holes.
fn blocks(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().map_or(0, |meta| meta.blocks() * 512)
}

/// Starts a slow download of `/big` to `big` and waits until a part of it is on disk.
fn interrupted(server: &Pdtpd, target: &Path) -> Proc {
    let uri = server.uri("/big");
    let args = [&["get", "--json", &uri, "-o", target.to_str().unwrap()][..], &SLOW].concat();
    let client = pdtp_start(&args);
    let part = target.with_extension("part");
    wait_until("some MiB in the part file", PATIENCE, || blocks(&part) > 6 * MIB);
    client
}

#[track_caller]
fn assert_fetches_only_the_rest(server: &Pdtpd, target: &Path) {
    let run = pdtp(&["get", "--json", &server.uri("/big"), "-o", target.to_str().unwrap()]).expect(0);
    let done = run.event("done");
    let (found, fetched) = (done["from_disk"].as_u64().unwrap(), done["from_origin"].as_u64().unwrap());
    assert!(found >= 4 * MIB, "nothing was found again: {done}");
    assert_eq!(found + fetched, SIZE, "{done}");
    assert_same_file(&server.dir().join("big"), target);
    let left: Vec<_> = std::fs::read_dir(target.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the file is left: {left:?}");
}

#[test]
fn after_kill_9() {
    let served = make_tree(&[("big", SIZE as usize)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let target = here.path().join("big");
    interrupted(&server, &target).kill9();
    assert!(!target.exists());
    assert_fetches_only_the_rest(&server, &target);
}

#[test]
fn after_ctrl_c() {
    let served = make_tree(&[("big", SIZE as usize)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let target = here.path().join("big");
    let client = interrupted(&server, &target);
    client.signal(libc::SIGINT);
    let run = client.finish(PATIENCE).expect(130);
    assert!(run.stderr.contains("run the same command again"), "{}", run.stderr);
    assert_eq!(run.event("stopped")["code"], 130);
    assert!(!target.exists());
    assert_fetches_only_the_rest(&server, &target);
}

#[test]
fn after_sigterm() {
    let served = make_tree(&[("big", SIZE as usize)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let target = here.path().join("big");
    let client = interrupted(&server, &target);
    client.signal(libc::SIGTERM);
    client.finish(PATIENCE).expect(143);
    assert_fetches_only_the_rest(&server, &target);
}

#[test]
fn damage_in_the_part_file_is_found_and_repaired() {
    let served = make_tree(&[("big", SIZE as usize)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let (target, part) = (here.path().join("big"), here.path().join("big.part"));
    // All of it is there, but for 3 bytes.
    let mut bytes = std::fs::read(served.path().join("big")).unwrap();
    for at in [0, 5_000_000, SIZE as usize - 1] {
        bytes[at] ^= 0xff;
    }
    std::fs::write(&part, &bytes).unwrap();
    let run = pdtp(&["get", "--json", &server.uri("/big"), "-o", target.to_str().unwrap()]).expect(0);
    let done = run.event("done");
    let piece = SIZE / 512;
    // A piece of this file is 64 KiB.
    assert!(piece <= 64 * 1024);
    assert_eq!(done["from_origin"], 3 * 64 * 1024, "three pieces and no more: {done}");
    assert_same_file(&served.path().join("big"), &target);
}

#[test]
fn a_complete_file_is_left_alone() {
    let served = make_tree(&[("a", 500_000)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let target = here.path().join("a");
    let args = ["get", &server.uri("/a"), "-o", target.to_str().unwrap()];
    pdtp(&args).expect(0);
    let before = target.metadata().unwrap();
    let run = pdtp(&args).expect(0);
    assert!(run.stderr.contains("already complete"), "{}", run.stderr);
    use std::os::unix::fs::MetadataExt as _;
    let after = target.metadata().unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()), "not touched");
}

#[test]
fn a_file_with_other_content() {
    let served = make_tree(&[("a", 500_000)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let target = here.path().join("a");
    std::fs::write(&target, b"mine").unwrap();
    let args = ["get", &server.uri("/a"), "-o", target.to_str().unwrap(), "--overwrite"];
    let run = pdtp(&[&args[..], &["never"]].concat()).expect(7);
    assert!(run.stderr.contains("--overwrite"), "says what to do: {}", run.stderr);
    assert_eq!(std::fs::read(&target).unwrap(), b"mine");
    for how in ["resume", "replace"] {
        std::fs::write(&target, b"mine").unwrap();
        pdtp(&[&args[..], &[how]].concat()).expect(0);
        assert_same_file(&served.path().join("a"), &target);
    }
}

#[test]
fn what_is_right_of_an_old_version_is_used() {
    let served = make_tree(&[("big", SIZE as usize)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let target = here.path().join("big");
    let mut old = std::fs::read(served.path().join("big")).unwrap();
    old[SIZE as usize / 2..].fill(0);
    std::fs::write(&target, old).unwrap();
    let run = pdtp(&["get", "--json", &server.uri("/big"), "-o", target.to_str().unwrap()]).expect(0);
    let done = run.event("done");
    assert_eq!(done["from_disk"], SIZE / 2, "{done}");
    assert_same_file(&served.path().join("big"), &target);
}

#[test]
fn the_server_killed_half_way_and_restarted() {
    let served = make_tree(&[("big", SIZE as usize)]);
    let (mut server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let target = here.path().join("big");
    let client = interrupted(&server, &target);
    server.kill9();
    wait_until("the client sees that", PATIENCE, || client.stdout().contains("\"lost\""));
    server.restart();
    let done = client.finish(PATIENCE).expect(0).event("done");
    let fetched = done["from_origin"].as_u64().unwrap();
    // What was in flight when the server died may have come twice.
    assert_eq!(fetched, SIZE, "{done}");
    assert!(done["wasted"].as_u64().unwrap() < 8 * MIB, "{done}");
    assert_same_file(&served.path().join("big"), &target);
}

#[test]
fn two_downloads_to_one_name_do_not_mix() {
    let served = make_tree(&[("big", SIZE as usize)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let target = here.path().join("big");
    let first = interrupted(&server, &target);
    let second = pdtp(&["get", &server.uri("/big"), "-o", target.to_str().unwrap()]).expect(7);
    assert!(second.stderr.contains("another download"), "{}", second.stderr);
    first.finish(PATIENCE).expect(0);
    assert_same_file(&served.path().join("big"), &target);
}

/// `pdtp resume` needs no URI: it is beside what is there.
#[test]
fn by_pdtp_resume() {
    let served = make_tree(&[("big", SIZE as usize)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    std::fs::create_dir(here.path().join("below")).unwrap();
    let target = here.path().join("below/big");
    interrupted(&server, &target).kill9();
    let list = pdtp_in(here.path(), &["resume", "--list", "--json"]).expect(0).text();
    let one: serde_json::Value = serde_json::from_str(&list).expect("one object");
    assert_eq!(one["local"], "below/big");
    assert_eq!(one["total"], SIZE);
    assert_eq!(one["uri"], server.uri("/big"));
    let text = pdtp(&["resume", "-l", target.with_extension("part").to_str().unwrap()]).expect(0).text();
    assert!(text.contains("24.0 MiB") && text.contains(&server.uri("/big")), "{text}");
    let run = pdtp_in(here.path(), &["resume", "--json"]).expect(0);
    assert!(run.event("done")["from_disk"].as_u64().unwrap() >= 4 * MIB);
    assert_same_file(&server.dir().join("big"), &target);
    let run = pdtp_in(here.path(), &["resume"]).expect(0);
    assert!(run.stderr.contains("nothing was left unfinished"), "{}", run.stderr);
    let run = pdtp_in(here.path(), &["resume", "below/big"]).expect(4);
    assert!(run.stderr.contains("below/big: no unfinished download"), "{}", run.stderr);
}
