//! "My copy is like the tree on the server, and only what differs was fetched for it."

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::common::*;

fn mirror(args: &[&str], uri: &str, dir: &Path) -> Run {
    let mut all = vec!["mirror", "--json"];
    all.extend(args);
    all.extend([uri, dir.to_str().unwrap()]);
    pdtp(&all)
}

fn set_time(path: &Path, unix: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(unix);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn time_of(path: &Path) -> u64 {
    let modified = path.metadata().unwrap().modified().unwrap();
    modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn numbers(run: &Run) -> (u64, u64, u64) {
    let done = run.event("done");
    let number = |name: &str| done[name].as_u64().unwrap();
    (number("fetched"), number("removed"), number("up_to_date"))
}

/// What is in a directory that may be changing: names, and content of files. `None` where it changed meanwhile.
pub(crate) fn seen(dir: &Path) -> Option<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).ok()? {
        let path = entry.ok()?.path();
        let name = PathBuf::from(path.file_name()?);
        let meta = fs::symlink_metadata(&path).ok()?;
        if meta.is_dir() {
            all.extend(seen(&path)?.into_iter().map(|(below, content)| (name.join(below), content)));
        }
        let content = if meta.is_file() { Some(fs::read(&path).ok()?) } else { None };
        all.insert(name, content);
    }
    Some(all)
}

/// Some files of an age, in directories.
fn tree() -> tempfile::TempDir {
    let served = make_tree(&[("a", 300_000), ("d/b", 10), ("d/e/c", 70_000), ("empty", 0)]);
    for (at, name) in ["a", "d/b", "d/e/c", "empty", "d/e", "d"].iter().enumerate() {
        set_time(&served.path().join(name), 1_000_000_000 + at as u64);
    }
    served
}

#[test]
fn a_copy_with_its_times_and_nothing_is_fetched_twice() {
    let served = tree();
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let copy = here.path().join("copy");
    let first = mirror(&[], &server.uri("/"), &copy).expect(0);
    assert_eq!(numbers(&first), (4, 0, 0));
    assert_same_tree(served.path(), &copy);
    for name in ["a", "d/b", "d/e/c", "empty", "d/e", "d"] {
        assert_eq!(time_of(&copy.join(name)), time_of(&served.path().join(name)), "{name}");
    }
    let again = mirror(&[], &server.uri("/"), &copy).expect(0);
    assert_eq!(numbers(&again), (0, 0, 4));
    assert_eq!(again.event("done")["from_origin"], 0);
    // A date that differs is corrected, and not a byte fetched for that.
    set_time(&copy.join("a"), 1);
    let dated = mirror(&[], &server.uri("/"), &copy).expect(0);
    assert_eq!((numbers(&dated), dated.event("done")["from_origin"].as_u64()), ((0, 0, 4), Some(0)));
    assert_eq!(time_of(&copy.join("a")), 1_000_000_000);
}

#[test]
fn of_a_file_that_differs_only_the_pieces_that_differ_are_fetched() {
    let served = make_tree(&[("big", 8 << 20)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let copy = here.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let mut almost = fs::read(served.path().join("big")).unwrap();
    almost[3 << 20] ^= 1;
    fs::write(copy.join("big"), &almost).unwrap();
    set_time(&copy.join("big"), 1);
    let run = mirror(&[], &server.uri("/"), &copy).expect(0);
    assert_eq!(numbers(&run), (1, 0, 0));
    assert_eq!(run.event("done")["from_origin"], 65_536, "one piece");
    assert_same_tree(served.path(), &copy);
    // Other content under the same size and date is only found by hash.
    let time = time_of(&copy.join("big"));
    fs::write(copy.join("big"), &almost).unwrap();
    set_time(&copy.join("big"), time);
    assert_eq!(numbers(&mirror(&[], &server.uri("/"), &copy).expect(0)), (0, 0, 1));
    assert_eq!(numbers(&mirror(&["--checksum"], &server.uri("/"), &copy).expect(0)), (1, 0, 0));
    assert_same_tree(served.path(), &copy);
}

#[test]
fn what_is_not_on_the_server_is_removed_when_that_is_wanted() {
    let served = tree();
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let copy = here.path().join("copy");
    for name in ["extra", "d/extra", "gone/deep/x", "kept/x.keep", "kept/y"] {
        make_file(&copy, name, 10);
    }
    // A directory where a file is to be, and the other way round.
    make_file(&copy, "a/was/a/directory", 10);
    make_file(&copy, "d/e", 10);
    let outside = scratch();
    make_file(outside.path(), "precious", 10);
    std::os::unix::fs::symlink(outside.path(), copy.join("link")).unwrap();
    let uri = server.uri("/");
    let kept = mirror(&["--exclude", "d/e", "--exclude", "/a"], &uri, &copy).expect(0);
    assert_eq!(numbers(&kept).1, 0, "nothing is removed unasked");

    let before = seen(&copy);
    let rehearsal = mirror(&["--delete", "-n", "--exclude", "*.keep"], &uri, &copy).expect(0);
    assert!(before.is_some() && seen(&copy) == before, "a rehearsal changes nothing");
    assert!(numbers(&rehearsal).1 >= 7, "{rehearsal:?}");
    let real = mirror(&["--delete", "--exclude", "*.keep"], &uri, &copy).expect(0);
    let removed = |run: &Run| {
        let all = run.json().into_iter().filter(|event| event["event"] == "removed");
        let mut paths: Vec<_> = all.map(|event| event["path"].as_str().unwrap().to_owned()).collect();
        paths.sort();
        paths
    };
    let expected =
        ["/d/extra", "/extra", "/gone", "/gone/deep", "/gone/deep/x", "/kept/y", "/link"].map(str::to_owned);
    assert_eq!(removed(&real), expected);
    assert!(copy.join("kept/x.keep").exists(), "what is excluded is left alone");
    assert!(outside.path().join("precious").exists());
    fs::remove_dir_all(copy.join("kept")).unwrap();
    assert_same_tree(served.path(), &copy);
    // Whatever goes wrong, nothing is removed for it.
    drop(server);
    let failed = mirror(&["--delete"], &uri, &copy);
    assert_eq!(failed.code(), 3);
    assert_same_tree(served.path(), &copy);
}

#[test]
fn only_what_is_chosen() {
    let served =
        make_tree(&[("a.iso", 10), ("a.txt", 10), ("d/b.iso", 10), ("old/c.iso", 10), ("d/c.txt", 10)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let copy = here.path().join("copy");
    let run = mirror(&["--include", "*.iso", "--exclude", "old/"], &server.uri("/"), &copy).expect(0);
    assert_eq!(numbers(&run), (2, 0, 0));
    assert!(copy.join("a.iso").exists() && copy.join("d/b.iso").exists() && !copy.join("old").exists());
    let wrong = mirror(&["--include", "[x"], &server.uri("/"), &copy);
    assert_eq!(wrong.code(), 2, "{wrong:?}");
}

#[test]
fn a_mirror_that_watches_follows() {
    let served = tree();
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let copy = here.path().join("copy");
    let uri = server.uri("/");
    let mut watching = pdtp_start(&["mirror", "--watch", "--delete", "--json", &uri, copy.to_str().unwrap()]);
    let same = || seen(&copy).is_some_and(|copy| Some(copy) == seen(served.path()));
    wait_until("the first copy", PATIENCE, same);
    make_file(served.path(), "new/deep/file", 100_000);
    fs::remove_file(served.path().join("d/b")).unwrap();
    fs::rename(served.path().join("d/e"), served.path().join("moved")).unwrap();
    wait_until("all of that", PATIENCE, same);
    fs::create_dir(served.path().join("empty-directory")).unwrap();
    fs::write(served.path().join("a"), content(3, 300_000)).unwrap();
    wait_until("and that", PATIENCE, same);
    for n in 0..300 {
        make_file(served.path(), format!("many/{}/{n}", n % 7), n * 100);
    }
    fs::remove_dir_all(served.path().join("new")).unwrap();
    wait_until("and many", PATIENCE, same);
    assert!(watching.is_running());
    watching.signal(libc::SIGTERM);
    assert_eq!(watching.finish(PATIENCE).code(), 143);
}

#[test]
fn a_copy_that_was_there_is_given_to_others() {
    let served = make_tree(&[("file", 4 << 20)]);
    // So slow that a client could not have it all from there.
    let server = Pdtpd::start(served.path(), &["--limit-up", "64K"]);
    let here = scratch();
    let copy = here.path().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(served.path().join("file"), copy.join("file")).unwrap();
    let uri = server.uri("/");
    let seeding = pdtp_start(&["mirror", "--seed-for", "forever", "--json", &uri, copy.to_str().unwrap()]);
    wait_until("seeding", PATIENCE, || seeding.stdout().contains("\"seeding\""));
    let target = here.path().join("got");
    let run = pdtp(&["get", "--json", &server.uri("/file"), "-o", target.to_str().unwrap()]).expect(0);
    assert_same_file(&served.path().join("file"), &target);
    let from_peers = run.event("done")["from_peers"].as_u64().unwrap();
    assert!(from_peers > 3 << 20, "{from_peers} bytes from the mirror");
}
