//! `pdtpd` where it may have only few descriptors: it serves as many clients as that allows, loses none of those, does
//! not spend its time on asking for more, and lets others in when some have left.

pub mod common;
#[path = "common/raw.rs"]
pub mod raw;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{PATIENCE, Pdtpd, http, make_tree, pdtp, scratch, wait_until};
use pdtp::wire::{self, ErrorCode, Message};
use raw::Raw;

const SIZE: u64 = 200_000;

/// Processor time of a process so far, in seconds.
fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// From now on a server may have no more descriptors than it has open.
fn starve(server: &Pdtpd) {
    let open = || {
        let names = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        let number = |name: std::ffi::OsString| name.to_str().unwrap().parse().unwrap();
        names.map(|entry| number(entry.unwrap().file_name())).collect::<BTreeSet<u64>>()
    };
    // What it needs for a moment only, because of what came before, is not counted.
    let (mut last, mut same) = (open(), 0);
    wait_until("it is at rest", PATIENCE, || {
        let before = std::mem::replace(&mut last, open());
        same = if before == last { same + 1 } else { 0 };
        same == 30
    });
    set_limit(server, (0..).find(|number| !last.contains(number)).unwrap());
}

/// A limit holds for the numbers of new descriptors; those that are open stay.
fn set_limit(server: &Pdtpd, descriptors: u64) {
    let pid = i32::try_from(server.pid()).unwrap();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours and of the type that the calls use.
    unsafe {
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit), 0);
        limit.rlim_cur = descriptors;
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()), 0);
    }
}

/// A client says who it is, and does not wait for the answer.
fn knock(server: &Pdtpd, id: usize) -> Raw {
    let mut client = Raw::connect(server.port());
    let register = wire::Register { client_id: id.to_string(), version: Some(3), ..Default::default() };
    // Whoever is turned away may be so before that.
    let mut bytes = bytes::BytesMut::new();
    Message::from(register).encode(wire::Dialect::Framed, &mut bytes).unwrap();
    let _ = client.stream.write_all(&bytes);
    client
}

/// Whether it is let in.
fn is_let_in(client: &mut Raw) -> bool {
    match client.recv() {
        Some(Message::Registered(_)) => true,
        Some(Message::Error(error)) if error.code == ErrorCode::Busy => false,
        // A few are told why, at a time.
        None => false,
        Some(other) => panic!("{other:?}"),
    }
}

#[track_caller]
fn is_served(client: &mut Raw) {
    client.send(wire::AskInfo { url: "http://h/f.bin".to_owned(), hashes: false, proof: false });
    let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
    assert_eq!(info.size, Some(SIZE));
}

#[track_caller]
fn is_not_busy(server: &Pdtpd) {
    let before = cpu_s(server.pid());
    // Not to wait for anything: this is how long it is watched.
    std::thread::sleep(Duration::from_secs(2));
    let used = cpu_s(server.pid()) - before;
    assert!(used < 0.3, "{used} s of processor time in 2 s of waiting");
}

#[test]
fn few_descriptors_are_shared_by_clients_and_files() {
    let dir = make_tree(&[("f.bin", SIZE as usize), ("g.bin", 300_000)]);
    let mut server = Pdtpd::start_with_descriptors(dir.path(), 64);
    let mut clients: Vec<Raw> = (0..100).map(|id| knock(&server, id)).collect();
    let mut let_in: Vec<Raw> = Vec::new();
    for mut client in clients.drain(..) {
        if is_let_in(&mut client) {
            let_in.push(client);
        }
    }
    assert!((16..48).contains(&let_in.len()), "{} of 100", let_in.len());
    let times = || server.said().matches("as many connections as descriptors allow").count();
    wait_until("it says so", PATIENCE, || times() > 0);
    is_not_busy(&server);
    assert_eq!(times(), 1, "{}", server.said());
    let_in.iter_mut().for_each(is_served);

    // Who comes now is told why not, in the words of what it speaks.
    let refused = pdtp(&["stat", &server.uri("/f.bin")]);
    assert!(refused.code() != 0 && refused.stderr.contains("busy"), "{refused:?}");
    assert_eq!(http(server.port(), "GET", "/f.bin", &[]).status, 503);
    let mut old = Raw::connect(server.port());
    old.register_v2("old", 0);
    let last = old.expect_end();
    assert!(matches!(&last[..], [Message::ProtocolError(_)]), "{last:?}");

    // Others get in when some leave, and there are descriptors for the files they want.
    let stayed = let_in.len() - 8;
    let_in.truncate(stayed);
    wait_until("they are gone", PATIENCE, || pdtp(&["stat", &server.uri("/f.bin")]).code() == 0);
    let to = scratch();
    pdtp(&["get", "-r", &server.uri("/"), "-o", to.path().to_str().unwrap()]).expect(0);
    common::assert_same_tree(dir.path(), to.path());
    let_in.iter_mut().for_each(is_served);
    assert!(server.is_running());
    // Of a hundred at once some may have waited for a moment.
    assert!(server.said().matches("cannot accept connections").count() <= 1, "{}", server.said());
}

#[test]
fn while_there_are_no_descriptors_newcomers_wait_and_nobody_is_lost() {
    let dir = make_tree(&[("f.bin", SIZE as usize)]);
    let mut server = Pdtpd::start(dir.path(), &[] as &[&str]);
    pdtp(&["stat", &server.uri("/f.bin")]).expect(0);
    let mut here: Vec<Raw> = (0..20).map(|id| knock(&server, id)).collect();
    assert!(here.iter_mut().all(is_let_in));
    let began = Instant::now();
    starve(&server);
    let mut waiting: Vec<Raw> = (20..40).map(|id| knock(&server, id)).collect();
    wait_until("it says so", PATIENCE, || server.said().contains("cannot accept connections"));
    is_not_busy(&server);
    for client in &mut here {
        client.send(wire::Ping {});
        client.expect("pong");
    }

    // As many as leave are let in, in order.
    here.truncate(10);
    assert!(waiting[..10].iter_mut().all(is_let_in));
    here.clear();
    assert!(waiting[10..].iter_mut().all(is_let_in));
    waiting.truncate(5);
    wait_until("there are some for files", PATIENCE, || {
        waiting[0].send(wire::AskInfo { url: "http://h/f.bin".to_owned(), hashes: false, proof: false });
        let Message::TellInfo(info) = waiting[0].expect("tell_info") else { unreachable!() };
        info.size == Some(SIZE)
    });
    waiting.iter_mut().for_each(is_served);
    let times = server.said().matches("cannot accept connections").count();
    assert!(times as u64 <= 1 + began.elapsed().as_secs() / 10, "{}", server.said());
    assert!(server.is_running());
}

/// What cannot be opened for want of descriptors has not changed, and is there when there are some.
#[test]
fn a_file_that_cannot_be_opened_now_is_not_taken_for_another() {
    let dir = make_tree(&[("f.bin", SIZE as usize)]);
    let server = Pdtpd::start(dir.path(), &[] as &[&str]);
    let mut client = Raw::connect(server.port());
    client.register_v3("c");
    client.send(wire::AskInfo { url: "http://h/f.bin".to_owned(), hashes: false, proof: false });
    let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
    let root = info.root.unwrap().to_string();
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", server.port())).unwrap());
    stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let mut get = |path: &str| {
        write!(stream.get_mut(), "GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let (mut status, mut etag, mut length) = (String::new(), String::new(), 0);
        stream.read_line(&mut status).unwrap();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match &*name.to_ascii_lowercase() {
                "etag" => value.trim_matches('"').clone_into(&mut etag),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        std::io::copy(&mut (&mut stream).take(length), &mut std::io::sink()).unwrap();
        (status.split(' ').nth(1).unwrap().to_owned(), etag)
    };
    assert_eq!(get("/nothing").0, "404");
    starve(&server);
    assert_eq!(get("/f.bin").0, "503");
    set_limit(&server, 1000);
    assert_eq!(get("/f.bin"), ("200".to_owned(), root));
    drop(client);
}
