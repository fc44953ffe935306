//! `ls`, `stat` and `cat`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;

use crate::common::*;

/// What a terminal shows while `pdtp` runs on it, successfully.
fn on_a_terminal(args: &[&str]) -> String {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/terminal.py"));
    command.args(["", env!("CARGO_BIN_EXE_pdtp")]).args(args);
    Proc::spawn(command).finish(PATIENCE).expect(0).text()
}

/// Modification time, Unix seconds.
fn mtime(path: &Path) -> i64 {
    let since = path.metadata().unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn objects(run: &Run) -> Vec<Value> {
    run.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn ls_shows_names_in_order() {
    let served = make_tree(&[("b", 1500), ("a dir/x", 1), ("a dir/y/z", 2), ("c", 0)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    assert_eq!(pdtp(&["ls", &server.uri("/")]).expect(0).text(), "a dir/\nb\nc\n");
    assert_eq!(pdtp(&["ls", &server.uri("/a%20dir")]).expect(0).text(), "x\ny/\n");
    let all = pdtp(&["ls", "-R", &server.uri("/")]).expect(0).text();
    let mut lines: Vec<_> = all.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a dir/", "a dir/x", "a dir/y/", "a dir/y/z", "b", "c"]);
    let long = pdtp(&["ls", "-l", &server.uri("/")]).expect(0).text();
    assert!(long.lines().any(|line| line.contains("1500") && line.ends_with("  b")), "{long}");
    let human = pdtp(&["ls", "-lh", &server.uri("/")]).expect(0).text();
    assert!(human.lines().any(|line| line.contains("1.5 KiB") && line.ends_with("  b")), "{human}");
    // Of a file: the file.
    assert_eq!(pdtp(&["ls", &server.uri("/b")]).expect(0).text(), "b\n");
}

#[test]
fn ls_of_an_empty_directory_is_empty() {
    let served = scratch();
    let server = Pdtpd::start(served.path(), &[""; 0]);
    assert_eq!(pdtp(&["ls", &server.uri("/")]).expect(0).text(), "");
}

#[test]
fn ls_has_more_than_one_page() {
    let served = scratch();
    let mut names: Vec<String> = (0..2500).map(|index| format!("file{index:05}")).collect();
    for name in &names {
        std::fs::write(served.path().join(name), b"").unwrap();
    }
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let listed = pdtp(&["ls", &server.uri("/")]).expect(0).text();
    names.sort_unstable();
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
}

/// A disk on which every look at the next names of a directory takes half a second.
#[test]
fn ls_waits_as_long_as_the_server_reads_a_directory() {
    let served = scratch();
    let names: Vec<String> = (0..3000).map(|index| format!("{index:0100}")).collect();
    for name in &names {
        std::fs::write(served.path().join(name), b"").unwrap();
    }
    let server = Pdtpd::start(served.path(), &["--metadata", "off"]);
    let Some(_slow) = slow_directories(server.pid(), Duration::from_millis(500)) else { return };
    let begin = Instant::now();
    let patience = Duration::from_secs(3);
    let listed = pdtp(&["ls", "--timeout", "3", &server.uri("/")]).expect(0).text();
    assert!(begin.elapsed() > patience, "the disk was to be slower than the client is patient");
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
    // A terminal shows what is waited for.
    std::fs::write(served.path().join("new"), b"").unwrap();
    let shown = on_a_terminal(&["ls", "--timeout", "3", &server.uri("/")]);
    assert!(shown.contains("the server is reading the directory: "), "{shown}");
}

#[test]
fn ls_gives_raw_names_to_programs_and_uris_that_work() {
    let served = scratch();
    let name = OsString::from_vec(b"odd \xff\n\x1b[31m#%".to_vec());
    make_file(served.path(), &name, 1000);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let listed = pdtp(&["ls", &server.uri("/")]).expect(0).stdout;
    assert_eq!(listed, b"odd \xff\n\x1b[31m#%\n");
    let object = objects(&pdtp(&["ls", "--json", &server.uri("/")]).expect(0)).remove(0);
    assert_eq!(object["type"], "file");
    assert_eq!(object["size"], 1000);
    pdtp_in(here.path(), &["get", object["uri"].as_str().unwrap()]).expect(0);
    assert_same_tree(served.path(), here.path());
}

#[test]
fn stat_tells_size_date_and_version() {
    let served = make_tree(&[("d/a", 123_456)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let run = pdtp(&["stat", "--json", &server.uri("/d/a"), &server.uri("/d")]).expect(0);
    let [file, dir] = objects(&run).try_into().unwrap();
    assert_eq!(file["size"], 123_456);
    assert_eq!(file["type"], "file");
    assert_eq!(file["root"].as_str().map(str::len), Some(64), "{file}");
    assert_eq!(file["path"], "/d/a");
    assert_eq!(dir["type"], "dir");
    assert_eq!(dir["mtime"].as_i64(), Some(mtime(&served.path().join("d"))), "{dir}");
    let text = pdtp(&["stat", &server.uri("/d/a")]).expect(0).text();
    for part in ["Name:   a\n", "(123456 bytes)", "Root:", "UTC", "Signed: no\n", "#root="] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn cat_writes_files_in_order() {
    let served = make_tree(&[("a", 3_000_000), ("b", 0), ("c", 70_001)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let run =
        pdtp(&["cat", &server.uri("/a"), &server.uri("/b"), &server.uri("/c"), &server.uri("/a")]).expect(0);
    let read = |name: &str| std::fs::read(served.path().join(name)).unwrap();
    assert!(run.stdout == [read("a"), read("c"), read("a")].concat());
    assert_eq!(run.stderr, "");
}

#[test]
fn cat_writes_a_part_of_a_file() {
    let served = make_tree(&[("a", 3_000_000)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let content = std::fs::read(served.path().join("a")).unwrap();
    let run = pdtp(&["cat", "--range", "1000000-1999999", &server.uri("/a")]).expect(0);
    assert!(run.stdout == content[1_000_000..2_000_000]);
    let run = pdtp(&["cat", "--range", "2999990-", &server.uri("/a")]).expect(0);
    assert!(run.stdout == content[2_999_990..]);
    let run = pdtp(&["cat", "--range", "4000000-", &server.uri("/a")]).expect(2);
    assert!(run.stdout.is_empty() && run.stderr.contains("3000000"), "{}", run.stderr);
    pdtp(&["cat", "--range", "5-4", &server.uri("/a")]).expect(2);
}

#[test]
fn a_failure_ends_cat_before_the_gap() {
    let served = make_tree(&[("a", 1000)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let run = pdtp(&["cat", &server.uri("/a"), &server.uri("/missing"), &server.uri("/a")]).expect(4);
    assert_eq!(run.stdout.len(), 1000);
}

/// A reader that has enough after the first bytes.
fn into_head(args: &[&str]) -> Run {
    let mut shell = Command::new("bash");
    shell.args(["-c", "set -o pipefail; \"$0\" \"$@\" | head -c 100 >/dev/null"]);
    shell.arg(env!("CARGO_BIN_EXE_pdtp")).args(args).stdin(Stdio::null());
    Proc::spawn(shell).finish(PATIENCE)
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let served = make_tree(&[("a", 20_000_000)]);
    for index in 0..3000 {
        std::fs::write(served.path().join(format!("file with a long name {index}")), b"").unwrap();
    }
    let server = Pdtpd::start(served.path(), &[""; 0]);
    for args in [&["cat", &server.uri("/a")][..], &["ls", &server.uri("/")]] {
        let run = into_head(args).expect(0);
        assert_eq!(run.stderr, "", "{args:?}");
    }
}
