//! "Copy a file in, and whoever watches hears of it; it is there to be fetched at once."

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::*;
use crate::mirror::seen;

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

/// 6,000 new files, 2,000 of them replaced, and 2,000 others removed again, while others download, list, mirror and watch.
#[test]
fn ten_thousand_changes_reach_everybody() {
    let served = make_tree(&[("big", 6_000_000)]);
    let (server, here) = (Pdtpd::start(served.path(), &["--limit-up", "2M"]), scratch());
    std::fs::create_dir(served.path().join("burst")).unwrap();
    let watchers = [watcher(&server.uri("/")), watcher(&server.uri("/burst/"))];
    let (big, mirrored, trees) =
        (here.path().join("big"), here.path().join("mirrored"), here.path().join("trees"));
    let downloads = pdtp_start(&["get", &server.uri("/big"), "-o", big.to_str().unwrap()]);
    let burst = server.uri("/burst/");
    let follow = ["mirror", "--watch", "--delete", "-q", &burst, mirrored.to_str().unwrap()];
    let mut mirrors = pdtp_start(&follow);
    wait_until("the mirror is begun", PATIENCE, || mirrored.exists());

    let name = |n: usize| format!("burst/{}/{n}", n % 20);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..6000 {
                copy_in(served.path(), &name(n), format!("{n}").as_bytes());
                if n % 3 == 1 {
                    copy_in(served.path(), "replacement", format!("{n}, once more").as_bytes());
                    std::fs::rename(served.path().join("replacement"), served.path().join(name(n))).unwrap();
                }
                if n % 3 == 2 {
                    std::fs::remove_file(served.path().join(name(n))).unwrap();
                }
            }
            is_over.store(true, Ordering::Release);
        });
        // Whatever is there at the moment is listed and had, and each file is one that there was.
        for round in 0.. {
            let was_over = is_over.load(Ordering::Acquire);
            pdtp_start(&["ls", "-R", "--json", &burst]).finish(PATIENCE).expect(0);
            let copy = trees.join(round.to_string());
            let run = pdtp(&["get", "-r", "-q", &burst, "-o", copy.to_str().unwrap()]);
            // Some of it may be gone by the time it is fetched, which is said.
            let is_fine = run.code() == 0 || (!was_over && run.stderr.contains("no such file"));
            assert!(is_fine, "{run:?}");
            for (path, number) in files_below(&copy) {
                let content = std::fs::read_to_string(&path).unwrap();
                // A file is there before its first byte is written, which on a busy machine takes its time.
                let is_begun = content.is_empty() && !was_over;
                let is_one = content == number || content == format!("{number}, once more") || is_begun;
                assert!(is_one, "{}: {content:?}", path.display());
            }
            if was_over {
                assert_eq!(run.code(), 0, "{run:?}");
                assert_same_tree(&served.path().join("burst"), &copy);
                break;
            }
        }
    });
    for watcher in &watchers {
        wait_until("all told, or told to look", PATIENCE, || {
            !events(watcher, "rescan").is_empty() || events(watcher, "file").len() >= 4000
        });
    }
    wait_until("the mirror has followed", PATIENCE, || {
        files_below(&mirrored).len() == 4000 && seen(&mirrored) == seen(&served.path().join("burst"))
    });
    assert!(mirrors.is_running());
    downloads.finish(PATIENCE).expect(0);
    assert_same_file(&served.path().join("big"), &big);
}

/// The complete files at and below a directory, with their names.
fn files_below(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            Ok(_) if !name.contains(".part") => found.push((entry.path(), name)),
            _ => {}
        }
    }
    found
}
