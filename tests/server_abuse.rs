//! What strangers may throw at `pdtpd`: it says what is wrong where that makes sense, drops who means harm, and goes
//! on serving everybody else.

pub mod common;
#[path = "common/raw.rs"]
pub mod raw;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use common::{PATIENCE, Pdtpd, make_tree, wait_until};
use pdtp::wire::{self, ErrorCode, Message};
use raw::Raw;

fn served() -> (tempfile::TempDir, Pdtpd) {
    let dir = make_tree(&[("f.bin", 200_000)]);
    let server = Pdtpd::start(dir.path(), &[] as &[&str]);
    (dir, server)
}

/// A newcomer gets an answer.
#[track_caller]
fn still_serves(server: &Pdtpd) {
    let mut client = Raw::connect(server.port());
    client.register_v3(&format!("c{:?}", client.stream.local_addr().unwrap().port()));
    client.send(wire::AskInfo { url: "http://h/f.bin".to_owned(), hashes: false, proof: false });
    let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
    assert_eq!(info.size, Some(200_000));
}

/// Sends bytes and waits for the server to close.
#[track_caller]
fn thrown_out(server: &Pdtpd, bytes: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may close while we still write.
    let _ = stream.write_all(bytes);
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}"),
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn after_register(body: &[u8]) -> Vec<u8> {
    let register = br#"["register",{"client_id":"x","listen_port":0,"version":3}]"#;
    [frame(register), frame(body)].concat()
}

#[test]
fn garbage_of_all_kinds() {
    let (_dir, server) = served();
    let noise: Vec<u8> = common::content(5, 100_000);
    let cases: Vec<Vec<u8>> = vec![
        noise,
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"EHLO example.org\r\n".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        // TLS client hello.
        vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03],
        // Frames of no and of one byte.
        [frame(br#"["register",{"client_id":"x","listen_port":0,"version":3}]"#), vec![0, 0]].concat(),
        [frame(br#"["register",{"client_id":"x","listen_port":0,"version":3}]"#), vec![0, 1, b'[']].concat(),
        // Not UTF-8, not JSON, not a message.
        after_register(b"[\"ping\",{\"\xff\xfe\":1}]"),
        after_register(b"[\"ping\",{]"),
        after_register(b"[\"ping\"]"),
        after_register(b"{\"ping\":{}}"),
        after_register(b"[\"ping\",[]]"),
        after_register(b"[1,{}]"),
        // Bombs.
        after_register(&[b'['; 60_000]),
        after_register(format!("[\"ping\",{}{}]", "{\"a\":".repeat(10_000), "}".repeat(10_000)).as_bytes()),
        // The first message must be register.
        frame(br#"["ping",{}]"#),
        frame(br#"["register",{"client_id":"","listen_port":0}]"#),
        frame(br#"["register",{"client_id":7,"listen_port":0}]"#),
        frame(br#"["register",{"client_id":"x","listen_port":70000}]"#),
        frame(
            format!("[\"register\",{{\"client_id\":\"{}\",\"listen_port\":0}}]", "x".repeat(4096)).as_bytes(),
        ),
        // Lines: broken, and longer than any may be.
        b"[\"client_info\"\n".to_vec(),
        [b"[\"client_info\",{\"client_id\":\"".to_vec(), vec![b'x'; 70_000]].concat(),
        // HTTP: broken, too large.
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        [b"GET /".to_vec(), vec![b'x'; 100_000]].concat(),
    ];
    for (i, case) in cases.iter().enumerate() {
        let before = Instant::now();
        thrown_out(&server, case);
        assert!(before.elapsed() < PATIENCE / 2, "case {i} took {:?}", before.elapsed());
    }
    still_serves(&server);
}

#[test]
fn truncated_frames_are_nothing() {
    let (_dir, server) = served();
    let whole = after_register(br#"["ask_info",{"url":"http://h/f.bin"}]"#);
    for length in 0..whole.len() {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.write_all(&whole[..length]).unwrap();
    }
    still_serves(&server);
    wait_until("all of them are gone", PATIENCE, || server.status()["client_count"] == 0);
}

#[test]
fn one_byte_at_a_time_is_a_message_too() {
    let (_dir, server) = served();
    let mut client = Raw::connect(server.port());
    for byte in after_register(br#"["ask_info",{"url":"http://h/f.bin"}]"#) {
        client.send_bytes(&[byte]);
    }
    client.expect("tell_info");
}

#[test]
fn whoever_dawdles_is_dropped() {
    let (_dir, server) = served();
    // Says nothing; says half a message; says a message, but not who it is.
    let mut silent = Raw::connect(server.port());
    let mut half = Raw::connect(server.port());
    half.send_bytes(&[0, 100, b'[', b'"']);
    let mut http = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    http.write_all(b"GET / HT").unwrap();
    still_serves(&server);
    assert_eq!(silent.expect_end(), []);
    half.expect_end();
    http.set_read_timeout(Some(3 * PATIENCE)).unwrap();
    let mut rest = Vec::new();
    let _ = http.read_to_end(&mut rest);
}

#[test]
fn mild_mistakes_are_answered_and_survived() {
    let (_dir, server) = served();
    let mut client = Raw::connect(server.port());
    client.register_v3("c");
    let mut wrong = |body: &str, re: &str| {
        client.send_frame(body.as_bytes());
        let Some(Message::Error(error)) = client.recv() else { panic!("no error for {body}") };
        assert_eq!((error.code, error.re.as_deref()), (ErrorCode::Protocol, Some(re)), "{body}");
    };
    wrong(r#"["hello",{}]"#, "hello");
    wrong(r#"["ask_info",{}]"#, "ask_info");
    wrong(r#"["ask_info",{"url":5}]"#, "ask_info");
    wrong(r#"["request",{"url":"http://h/f.bin","range":{"min":10,"max":5}}]"#, "request");
    wrong(r#"["request",{"url":"http://h/f.bin","range":{"min":-1}}]"#, "request");
    wrong(r#"["request",{"url":"http://h/f.bin","range":"all"}]"#, "request");
    wrong(r#"["request",{"url":"http://h/f.bin","range":{"min":1e30}}]"#, "request");
    wrong(r#"["request",{"url":"http://h/f.bin","range":{"min":200000}}]"#, "request");
    wrong(r#"["ask_hashes",{"url":"http://h/f.bin","root":"00","first":0,"count":1}]"#, "ask_hashes");
    wrong(r#"["tell_info",{"url":"http://h/f.bin"}]"#, "tell_info");
    let long = format!(r#"["ask_info",{{"url":"http://h/{}"}}]"#, "x".repeat(5000));
    wrong(&long, "ask_info");
    client.send(wire::Ping {});
    client.expect("pong");

    // Version 2 hears the same in its own words.
    let mut old = Raw::connect(server.port());
    old.register_v2("o", 0);
    old.send_frame(br#"["hello",{}]"#);
    old.expect("protocol_warn");
    old.send_frame(br#"["request",{"url":"http://h/nothing"}]"#);
    old.expect("protocol_warn");
    old.send_frame(b"[");
    let last = old.expect_end();
    assert!(matches!(&last[..], [Message::ProtocolError(_)]), "{last:?}");

    // But not without end.
    for _ in 0..100 {
        // The server closes somewhere in the middle.
        if client.stream.write_all(&frame(br#"["hello",{}]"#)).is_err() {
            break;
        }
    }
    let errors = client.expect_end();
    assert!(errors.len() <= 65, "{}", errors.len());
    assert!(matches!(errors.last(), Some(Message::Error(e)) if e.code == ErrorCode::Limit), "{errors:?}");
}

#[test]
fn an_id_in_use() {
    let (_dir, server) = served();
    let mut first = Raw::connect(server.port());
    first.register_v3("same");
    let mut second = Raw::connect(server.port());
    second.send(wire::Register { client_id: "same".to_owned(), version: Some(3), ..Default::default() });
    // The first shows that it is alive.
    first.expect("ping");
    first.send(wire::Pong {});
    let last = second.expect_end();
    assert!(matches!(&last[..], [Message::Error(e)] if e.code == ErrorCode::IdInUse), "{last:?}");
    // Nobody answers for the first any more: it makes way.
    let mut third = Raw::connect(server.port());
    third.register_v3("same");
    first.expect_end();
    // And gone is free.
    drop(third);
    wait_until("the id is free", PATIENCE, || server.status()["client_count"] == 0);
    Raw::connect(server.port()).register_v3("same");
}

#[test]
fn paths_do_not_leave_the_directory() {
    let dir = make_tree(&[("served/f.bin", 200_000), ("secret", 10)]);
    let root = dir.path().join("served");
    std::os::unix::fs::symlink("../secret", root.join("up")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("abs")).unwrap();
    std::os::unix::fs::symlink("/", root.join("all")).unwrap();
    for follow in ["yes", "no"] {
        paths_do_not_leave(&Pdtpd::start(&root, &["--follow-symlinks", follow]));
    }
}

fn paths_do_not_leave(server: &Pdtpd) {
    let mut client = Raw::connect(server.port());
    client.register_v3("c");
    for path in [
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "%2E%2E%2Fsecret",
        "a/../../secret",
        "./../secret",
        "up",
        "abs",
        "all/etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "f.bin%00",
        "f.bin/../../secret",
        "..",
        "..;/secret",
        "%c0%ae%c0%ae/secret",
    ] {
        let url = format!("http://h/{path}");
        client.send(wire::AskInfo { url: url.clone(), hashes: false, proof: false });
        let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
        assert_eq!((info.url, info.size), (url, None), "{path}");
        assert!(info.error.is_some(), "{path}");
        client.send(wire::List { url: format!("http://h/{path}"), ..Default::default() });
        let Some(Message::Error(_)) = client.recv() else { panic!("listed {path}") };
        let answer = common::http(server.port(), "GET", &format!("/{path}"), &[]);
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.text().contains("root:"), "{path}");
    }
    still_serves(server);
}

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls on a structure of ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    limit.rlim_cur
}

#[test]
fn ten_thousand_silent_connections() {
    const MANY: u64 = 10_000;
    const SNIFF: Duration = Duration::from_secs(10);
    let (_dir, server) = served();
    // Some descriptors are needed for other things.
    let many = MANY.min(raise_descriptor_limit().saturating_sub(100));
    let before = resident(server.pid());
    let mut silent: Vec<TcpStream> = Vec::new();
    for i in 0..many {
        silent.push(TcpStream::connect(("127.0.0.1", server.port())).unwrap());
        if i % 1000 == 999 {
            // From the same address, and while the flood goes on.
            still_serves(&server);
        }
    }
    let flooded = Instant::now();
    let grown = resident(server.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "{} connections cost {grown} bytes", silent.len());
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match stream.read(&mut [0; 1]) {
            Ok(n) => assert_eq!(n, 0),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}"),
        }
    }
    assert!(flooded.elapsed() < SNIFF + Duration::from_secs(20), "{:?}", flooded.elapsed());
    still_serves(&server);
    wait_until("nothing is left", PATIENCE, || server.status()["connections"]["tcp"] == 1);
}

#[test]
fn idle_clients_are_cheap() {
    const MANY: u64 = 2000;
    const EACH: u64 = 16 * 1024;
    let (_dir, server) = served();
    raise_descriptor_limit();
    still_serves(&server);
    let before = resident(server.pid());
    let mut clients = Vec::new();
    for i in 0..MANY {
        let mut client = Raw::connect(server.port());
        client.register_v3(&format!("idle{i}"));
        clients.push(client);
    }
    let each = resident(server.pid()).saturating_sub(before) / MANY;
    assert!(each <= EACH, "{each} bytes for each idle client");
}

#[test]
fn one_address_does_not_lock_out_another() {
    let (_dir, server) = served();
    raise_descriptor_limit();
    // Speaking connections cannot be pushed out, so this address is full.
    let mut clients = Vec::new();
    for i in 0..4096 {
        let mut client = Raw::connect(server.port());
        client.register_v3(&format!("c{i}"));
        clients.push(client);
    }
    let mut refused = Raw::connect(server.port());
    assert_eq!(refused.expect_end(), []);
    let mut other = Raw::connect_from(Ipv4Addr::new(127, 0, 0, 2), server.port());
    other.register_v3("other");
}
