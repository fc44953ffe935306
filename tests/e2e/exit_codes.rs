//! "The exit code says what class of failure it was, and the message what to do."

use std::io::Write as _;
use std::net::TcpListener;

use crate::common::*;

#[test]
fn nobody_listens() {
    let port = closed_port();
    for command in ["get", "ls", "stat", "cat"] {
        let run = pdtp(&[command, &format!("pdtp://127.0.0.1:{port}/x")]).expect(3);
        assert!(run.stderr.starts_with("pdtp: "), "{}", run.stderr);
        assert!(run.stderr.contains(&port.to_string()), "says where: {}", run.stderr);
        assert!(run.stderr.contains("pdtpd running"), "says what to do: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn no_such_host() {
    let run = pdtp(&["get", "pdtp://no-such-host.invalid/x"]).expect(3);
    assert!(run.stderr.contains("no-such-host.invalid"), "{}", run.stderr);
}

#[test]
fn somebody_else_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n");
        }
    });
    let run = pdtp(&["get", "--timeout", "5", &format!("pdtp://127.0.0.1:{port}/x")]).expect(3);
    assert!(!run.stderr.is_empty());
}

#[test]
fn somebody_who_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let run = pdtp(&["get", "--timeout", "1", &format!("pdtp://127.0.0.1:{port}/x")]).expect(3);
    assert!(run.stderr.contains("--timeout"), "{}", run.stderr);
}

#[test]
fn no_such_file() {
    let served = make_tree(&[("a", 10)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    for args in [&["get"][..], &["get", "-r"], &["ls"], &["stat"], &["cat"]] {
        let uri = server.uri("/nothing%20here");
        let args = [args, &[&uri]].concat();
        let run = pdtp_in(here.path(), &args).expect(4);
        assert!(run.stderr.contains("nothing"), "says what: {}", run.stderr);
        assert!(run.stdout.is_empty());
    }
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0, "leaves nothing behind");
}

#[test]
fn wrong_usage() {
    for args in [
        &["get"][..],
        &["get", "http://host/x"],
        &["get", "pdtp://host:0/x"],
        &["get", "pdtp://host/../x"],
        &["get", "--seed-for", "soon", "pdtp://127.0.0.1/x"],
        &["get", "--limit-down", "fast", "pdtp://127.0.0.1/x"],
        &["get", "-O", "limt_down=1", "pdtp://127.0.0.1/x"],
        &["get", "-O", "limit_down", "pdtp://127.0.0.1/x"],
        &["get", "--root", "abc", "pdtp://127.0.0.1/x"],
        &["get", "-q", "-v", "pdtp://127.0.0.1/x"],
        &["fetch", "pdtp://127.0.0.1/x"],
        &["cat", "pdtp://127.0.0.1/"],
    ] {
        let run = pdtp(args).expect(2);
        assert!(run.stdout.is_empty());
        assert!(!run.stderr.is_empty());
    }
    let run = pdtp(&["get", "-O", "limt_down=1", "pdtp://127.0.0.1/x"]).expect(2);
    assert!(run.stderr.contains("limit_down"), "names the nearest: {}", run.stderr);
}

#[test]
fn a_local_name_that_cannot_be_written() {
    let served = make_tree(&[("a", 10)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    // A file where a directory would have to be.
    std::fs::write(here.path().join("file"), b"").unwrap();
    let target = here.path().join("file/a");
    pdtp(&["get", &server.uri("/a"), "-o", target.to_str().unwrap()]).expect(7);
    // A directory where the file is to be.
    std::fs::create_dir(here.path().join("a")).unwrap();
    pdtp_in(here.path(), &["get", &server.uri("/a")]).expect(7);
}

#[test]
fn help_has_the_table() {
    for args in
        [&["--help"][..], &["get", "--help"], &["ls", "--help"], &["stat", "--help"], &["cat", "--help"]]
    {
        let run = pdtp(args).expect(0);
        assert!(run.text().contains("Exit codes:"), "{args:?}");
        assert!(run.text().contains("130"), "{args:?}");
    }
}
