//! "Copy a file in, and whoever watches hears of it; it is there to be fetched at once."

use std::path::Path;

use crate::common::*;

/// `pdtp watch --json`, from when the server knows of it.
fn watcher(uri: &str) -> Proc {
    let watcher = pdtp_start(&["watch", "--json", uri]);
    wait_until("watching", PATIENCE, || watcher.stdout().contains("\"watching\""));
    watcher
}

fn events(watcher: &Proc, kind: &str) -> Vec<serde_json::Value> {
    let said = watcher.stdout();
    let whole = &said[..said.rfind('\n').map_or(0, |at| at + 1)];
    let all = whole.lines().map(|line| serde_json::from_str(line).unwrap());
    all.filter(|event: &serde_json::Value| event["event"] == kind).collect()
}

fn has(watcher: &Proc, kind: &str, path: &str) -> bool {
    events(watcher, kind).iter().any(|event| event["path"] == path)
}

/// Copies a file in the way people do: under its own name, byte by byte.
fn copy_in(dir: &Path, name: &str, content: &[u8]) {
    std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    std::fs::write(dir.join(name), content).unwrap();
}

#[test]
fn what_is_copied_in_is_told_and_can_be_fetched() {
    let served = make_tree(&[("old", 1000), ("dir/below", 1000)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let all = watcher(&server.uri("/"));
    let dir = watcher(&server.uri("/dir/"));
    copy_in(served.path(), "new", &content(1, 200_000));
    wait_until("the new file", PATIENCE, || has(&all, "file", "/new"));
    let event = &events(&all, "file")[0];
    assert_eq!(event["size"], 200_000);
    // The URI that is told is pinned to the version that is told.
    let target = here.path().join("copy");
    pdtp(&["get", event["uri"].as_str().unwrap(), "-o", target.to_str().unwrap()]).expect(0);
    assert_eq!(std::fs::read(target).unwrap(), content(1, 200_000));

    std::fs::rename(served.path().join("new"), served.path().join("dir/moved")).unwrap();
    std::fs::create_dir(served.path().join("dir/empty")).unwrap();
    wait_until("the move", PATIENCE, || {
        has(&all, "removed", "/new") && has(&all, "file", "/dir/moved") && has(&dir, "file", "/dir/moved")
    });
    wait_until("the directory", PATIENCE, || has(&dir, "dir", "/dir/empty"));
    assert!(!has(&dir, "removed", "/new"), "that is none of its business");
    std::fs::remove_dir_all(served.path().join("dir")).unwrap();
    wait_until("all gone", PATIENCE, || has(&dir, "removed", "/dir") || has(&dir, "removed", "/dir/moved"));
    let run = {
        all.signal(libc::SIGINT);
        all.finish(PATIENCE)
    };
    assert_eq!(run.code(), 130);
}

#[test]
fn who_comes_back_is_told_to_look_again() {
    let served = make_tree(&[("file", 1000)]);
    let mut server = Pdtpd::start(served.path(), &[""; 0]);
    let watcher = watcher(&server.uri("/"));
    server.terminate();
    server.restart();
    wait_until("told", PATIENCE, || has(&watcher, "rescan", "/"));
    copy_in(served.path(), "later", b"x");
    wait_until("watching again", PATIENCE, || has(&watcher, "file", "/later"));
}

#[test]
fn ten_thousand_changes_reach_everybody() {
    let served = make_tree(&[("file", 10)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let watchers = [watcher(&server.uri("/")), watcher(&server.uri("/burst/"))];
    for n in 0..10_000 {
        copy_in(served.path(), &format!("burst/{}/{n}", n % 20), format!("{n}").as_bytes());
    }
    for watcher in &watchers {
        wait_until("all told, or told to look", PATIENCE, || {
            !events(watcher, "rescan").is_empty() || events(watcher, "file").len() >= 10_000
        });
    }
    // Told or not, all of them are there.
    let listed = pdtp(&["ls", "-R", "--json", &server.uri("/burst/")]).expect(0);
    let files = listed.text().lines().filter(|line| line.contains("\"type\":\"file\"")).count();
    assert_eq!(files, 10_000);
}
