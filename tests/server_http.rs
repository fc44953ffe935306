//! `pdtpd` as a plain web server, judged by the real curl.

pub mod common;

use std::path::Path;
use std::process::Command;

use common::{Pdtpd, assert_same_file, make_tree, scratch};

/// Runs curl; `None` where there is none.
fn curl(args: &[&str]) -> Option<(i32, String)> {
    let output = Command::new("curl").args(["-sS", "--max-time", "60"]).args(args).output().ok()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.code().unwrap_or(-1), text))
}

fn code(url: &str, args: &[&str]) -> Option<String> {
    let mut all = vec!["-o", "/dev/null", "-w", "%{http_code}"];
    all.extend_from_slice(args);
    all.push(url);
    curl(&all).map(|(_, text)| text)
}

macro_rules! need_curl {
    () => {
        if curl(&["--version"]).is_none() {
            eprintln!("skipped: no curl here");
            return;
        }
    };
}

fn served() -> (tempfile::TempDir, Pdtpd) {
    let dir = make_tree(&[("f.bin", 1_000_003), ("sub/a b.txt", 10), ("empty", 0)]);
    let server = Pdtpd::start(dir.path(), &[] as &[&str]);
    (dir, server)
}

fn path(of: &Path) -> &str {
    of.to_str().unwrap()
}

#[test]
fn files_arrive_whole() {
    need_curl!();
    let (dir, server) = served();
    let out = scratch();
    for (url, name) in [("/f.bin", "f.bin"), ("/sub/a%20b.txt", "sub/a b.txt"), ("/empty", "empty")] {
        let to = out.path().join("out");
        let (exit, text) = curl(&["--fail", "-o", path(&to), &server.http(url)]).unwrap();
        assert_eq!(exit, 0, "{text}");
        assert_same_file(&to, &dir.path().join(name));
    }
}

#[test]
fn an_interrupted_download_is_continued() {
    need_curl!();
    let (dir, server) = served();
    let out = scratch();
    let to = out.path().join("out");
    let whole = std::fs::read(dir.path().join("f.bin")).unwrap();
    std::fs::write(&to, &whole[..400_001]).unwrap();
    let (exit, text) = curl(&["--fail", "-C", "-", "-o", path(&to), &server.http("/f.bin")]).unwrap();
    assert_eq!(exit, 0, "{text}");
    assert_same_file(&to, &dir.path().join("f.bin"));
}

#[test]
fn ranges_and_conditions() {
    need_curl!();
    let (_dir, server) = served();
    let url = server.http("/f.bin");
    let has = |args: &[&str], expected: &str| assert_eq!(code(&url, args).unwrap(), expected, "{args:?}");
    has(&[], "200");
    has(&["-I"], "200");
    has(&["-r", "0-99"], "206");
    has(&["-r", "-5"], "206");
    has(&["-r", "1000003-"], "416");
    has(&["-X", "PUT", "-d", "x"], "405");
    has(&["-X", "DELETE"], "405");
    common::wait_until("hashed", common::PATIENCE, || server.status()["files"]["hashed"] == 3);
    let head = common::http(server.port(), "HEAD", "/f.bin", &[]);
    assert_eq!(head.header("content-length"), "1000003");
    assert_eq!(head.header("accept-ranges"), "bytes");
    let (etag, modified) = (head.header("etag"), head.header("last-modified"));
    assert!(etag.len() > 60 && !modified.is_empty(), "{head:?}");
    has(&["-H", &format!("If-None-Match: {etag}")], "304");
    has(&["-H", "If-None-Match: \"other\""], "200");
    has(&["-H", &format!("If-Modified-Since: {modified}")], "304");
    has(&["-H", &format!("If-Match: {etag}")], "200");
    has(&["-H", "If-Match: \"other\""], "412");
    has(&["-r", "0-9", "-H", &format!("If-Range: {etag}")], "206");
    has(&["-r", "0-9", "-H", "If-Range: \"other\""], "200");
    assert_eq!(code(&server.http("/nothing"), &[]).unwrap(), "404");
}

#[test]
fn one_connection_serves_many_requests() {
    need_curl!();
    let (_dir, server) = served();
    let (exit, text) = curl(&[
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-w",
        "%{num_connects} ",
        &server.http("/f.bin"),
        &server.http("/"),
        &server.http("/nothing"),
    ])
    .unwrap();
    assert_eq!((exit, text.as_str()), (0, "1 0 0 "));
}

#[test]
fn paths_that_want_out_stay_in() {
    need_curl!();
    let (_dir, server) = served();
    for bad in
        ["/../etc/passwd", "/%2e%2e/etc/passwd", "/..%2fetc/passwd", "/sub/../../etc/passwd", "/f.bin%00.txt"]
    {
        let (_, text) = curl(&["--path-as-is", "-w", "\n%{http_code}", &server.http(bad)]).unwrap();
        let status: u16 = text.lines().last().unwrap().parse().unwrap();
        assert!((400..500).contains(&status), "{bad}: {text}");
        assert!(!text.contains("root:"), "{bad}");
    }
}

#[test]
fn directories_for_people_and_programs() {
    need_curl!();
    let (_dir, server) = served();
    let (_, html) = curl(&["-H", "Accept: text/html", &server.http("/")]).unwrap();
    assert!(html.contains("f.bin") && html.contains("<html"), "{html}");
    let (_, json) = curl(&["-H", "Accept: application/json", &server.http("/sub/")]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json.to_string().contains("a b.txt"), "{json}");
    // A directory without its slash leads to the one with it.
    let (exit, text) = curl(&["-L", "-o", "/dev/null", "-w", "%{http_code}", &server.http("/sub")]).unwrap();
    assert_eq!((exit, text.as_str()), (0, "200"));
}
