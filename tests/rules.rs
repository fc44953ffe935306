//! "What I say of a directory holds": the operator's rules, with the real programs.

pub mod common;
#[path = "common/raw.rs"]
pub mod raw;

use std::path::Path;
use std::time::{Duration, Instant};

use common::*;
use pdtp::wire::{self, ErrorCode, Message};
use raw::{Raw, fetch_on};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// A server with these rules in a configuration file.
fn serve(dir: &Path, rules: &str, args: &[&str]) -> (Pdtpd, tempfile::TempDir) {
    let scratch = scratch();
    let config = scratch.path().join("pdtpd.toml");
    std::fs::write(&config, rules).unwrap();
    let mut all = vec!["--config", config.to_str().unwrap()];
    all.extend(args);
    (Pdtpd::start(dir, &all), scratch)
}

fn number(event: &Value, name: &str) -> u64 {
    event[name].as_u64().unwrap_or_else(|| panic!("no {name} in {event}"))
}

/// The next message of one of these kinds.
fn one_of(client: &mut Raw, kinds: &[&str]) -> Message {
    loop {
        let message = client.recv().expect("the server does not close");
        if kinds.contains(&message.kind()) {
            return message;
        }
    }
}

/// What the server says of the client that deals with a path.
fn client_at<'a>(status: &'a Value, path: &str) -> Option<&'a Value> {
    let told = |client: &&Value| {
        ["receiving", "waiting"]
            .iter()
            .any(|list| client[*list].as_array().unwrap().iter().any(|e| e["path"] == path))
    };
    status["clients"].as_array().unwrap().iter().find(told)
}

#[test]
fn without_peers_all_comes_from_the_origin() {
    let served = make_tree(&[("closed/big", 8 * MIB), ("open/big", 8 * MIB)]);
    let (server, here) =
        serve(served.path(), "[directory.\"/closed\"]\npeers = \"off\"", &["--limit-up", "8M"]);
    for (dir, shares) in [("closed", false), ("open", true)] {
        let uri = server.uri(&format!("/{dir}/big"));
        pdtp(&["stat", &uri]).expect(0);
        let clients: Vec<_> = (0..3)
            .map(|index| {
                let target = here.path().join(format!("{dir}{index}"));
                pdtp_start(&["get", "--json", &uri, "-o", target.to_str().unwrap(), "--seed-for", "2"])
            })
            .collect();
        let done: Vec<_> =
            clients.into_iter().map(|client| client.finish(PATIENCE).expect(0).event("done")).collect();
        let peers: u64 = done.iter().map(|event| number(event, "from_peers")).sum();
        assert_eq!(peers > 0, shares, "{dir}: {done:?}");
        if !shares {
            assert!(done.iter().all(|event| number(event, "uploaded") == 0), "{done:?}");
            assert!(done.iter().all(|event| number(event, "from_origin") == 8 * MIB as u64), "{done:?}");
        }
        for index in 0..3 {
            assert_same_file(
                &served.path().join(dir).join("big"),
                &here.path().join(format!("{dir}{index}")),
            );
        }
    }
}

#[test]
fn what_the_origin_sends_of_a_directory_is_limited() {
    const RATE: f64 = (2 * MIB) as f64;
    let served = make_tree(&[("slow/a", 5 * MIB), ("slow/b", 3 * MIB), ("fast", 16 * MIB)]);
    let (server, here) = serve(served.path(), "[directory.\"/slow\"]\nmax-origin-rate = \"2M\"", &[]);
    let target = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    for path in ["/slow/a", "/slow/b", "/fast"] {
        pdtp(&["stat", &server.uri(path)]).expect(0);
    }
    let start = Instant::now();
    let slow: Vec<_> = ["a", "b"]
        .iter()
        .map(|name| {
            pdtp_start(&["get", "--json", &server.uri(&format!("/slow/{name}")), "-o", &target(name)])
        })
        .collect();
    wait_until("something slow to come", PATIENCE, || number(&server.status()["bytes"], "from_origin") > 0);
    // What is elsewhere is not held up by that.
    let fast = pdtp(&["get", "--json", &server.uri("/fast"), "-o", &target("fast")]).expect(0);
    let left = 8 * MIB as u64 + number(&fast.event("done"), "size")
        - number(&server.status()["bytes"], "from_origin");
    let passed = start.elapsed().as_secs_f64();
    // If this machine was fast enough to see it.
    assert!(
        left > 0 || passed > 8.0 * MIB as f64 / RATE * 0.8,
        "both together: {left} left after {passed} s"
    );
    for client in slow {
        client.finish(PATIENCE).expect(0);
    }
    let took = start.elapsed().as_secs_f64();
    assert!(took >= (8 * MIB) as f64 / RATE * 0.85, "8 MiB at 2 MiB/s took {took} s");

    // Browsers are bound by it as well.
    let start = Instant::now();
    assert_eq!(http(server.port(), "GET", "/slow/b", &[]).body.len(), 3 * MIB);
    let took = start.elapsed().as_secs_f64();
    assert!(took >= (3 * MIB) as f64 / RATE * 0.8, "3 MiB at 2 MiB/s took {took} s");
}

#[test]
fn only_those_networks_that_may_see_a_directory() {
    let served = make_tree(&[("in/a", 1000), ("in/deep/b", 1000), ("out", 1000)]);
    let rules = "[directory.\"/in\"]\nnetworks = [\"127.0.7.0/24\", \"2001:db8::/32\"]";
    let (server, here) = serve(served.path(), rules, &[]);

    // The tools of a user, who comes from 127.0.0.1.
    let target = here.path().join("a");
    let denied = pdtp(&["get", &server.uri("/in/a"), "-o", target.to_str().unwrap()]);
    assert!(denied.code() != 0 && denied.stderr.contains("address"), "{}", denied.stderr);
    let denied = pdtp(&["ls", &server.uri("/in/")]);
    assert!(denied.code() != 0 && denied.stderr.contains("127.0.0.1"), "{}", denied.stderr);
    assert_eq!(pdtp(&["ls", "-R", &server.uri("/")]).expect(0).text().trim(), "out");
    let http_denied = http(server.port(), "GET", "/in/a", &[]);
    assert_eq!(http_denied.status, 403);
    assert!(http_denied.text().contains("127.0.0.1"), "{}", http_denied.text());
    let json = [("Accept", "application/json")];
    let listing = http(server.port(), "GET", "/?depth=9", &json).text();
    assert!(listing.contains("\"out\"") && !listing.contains("in/"), "{listing}");

    // As RDL no more than otherwise, and no metadata of one file.
    let rdl = [("Accept", "application/rdl+xml")];
    let listing = http(server.port(), "GET", "/?depth=9", &rdl).text();
    assert!(listing.contains("out") && !listing.contains("in/") && !listing.contains("deep"), "{listing}");
    let listing = pdtp(&["ls", "-R", "--rdl", &server.uri("/")]).expect(0).text();
    assert!(listing.contains("out") && !listing.contains("deep"), "{listing}");
    let denied = pdtp(&["stat", &server.uri("/in/a")]);
    assert!(denied.code() != 0 && denied.stdout.is_empty(), "{}", denied.stderr);

    // The words of the protocol, from one address of the network and one beside it.
    for (source, admitted) in [([127, 0, 7, 9], true), ([127, 0, 8, 9], false)] {
        let mut client = Raw::connect_from(source.into(), server.port());
        client.register_v3("somebody");
        let url = server.http("/in/a");
        client.send(wire::AskInfo { url: url.clone(), ..Default::default() });
        let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
        assert_eq!(info.error, (!admitted).then_some(ErrorCode::Denied), "{source:?}");
        client.send(wire::Request { url: url.clone(), ..Default::default() });
        match (one_of(&mut client, &["transfer", "error"]), admitted) {
            // Nor is what it has a right to for who comes from elsewhere.
            (Message::Transfer(transfer), true) => {
                for (source, status) in [([127, 0, 8, 9], 403), ([127, 0, 7, 8], 200)] {
                    let stream = Raw::connect_from(source.into(), server.port()).stream;
                    let answer = fetch_on(stream, &transfer, "somebody");
                    assert_eq!(answer.status, status, "{source:?}: {}", answer.text());
                }
            }
            (Message::Error(error), false) => {
                assert_eq!(error.code, ErrorCode::Denied);
                assert!(error.message.contains("127.0.8.9"), "{}", error.message);
            }
            (other, _) => panic!("{source:?}: {other:?}"),
        }
        client.send(wire::List { url: server.http("/"), depth: Some(5), ..Default::default() });
        let Message::Listing(listing) = client.expect("listing") else { unreachable!() };
        let names: Vec<_> = listing.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names.contains(&"in/deep/b"), admitted, "{names:?}");
        assert!(names.contains(&"out"));
    }
}

/// A GET from another address of this machine.
fn get_from(source: [u8; 4], port: u16, target: &str) -> Answer {
    http_on(Raw::connect_from(source.into(), port).stream, port, "GET", target, &[])
}

#[test]
fn what_is_closed_is_told_to_nobody_else() {
    const STRANGER: [u8; 4] = [127, 0, 0, 2];
    let served = make_tree(&[("in/big", 8 * MIB), ("out", 1000)]);
    let rules = "[directory.\"/in\"]\nnetworks = [\"127.0.0.1\"]\nmax-peers = 1";
    let (server, here) = serve(served.path(), rules, &["--limit-up", "1M"]);
    let uri = server.uri("/in/big");
    let get = |name: &str| pdtp_start(&["get", "-q", &uri, "-o", here.path().join(name).to_str().unwrap()]);
    let downloads = [get("one"), get("two")];
    let tells = |list: &str| {
        let status = server.status();
        let mut clients = status["clients"].as_array().unwrap().iter();
        clients.any(|client| client[list].as_array().unwrap().iter().any(|e| e["path"] == "/in/big"))
    };
    wait_until("one that downloads and one that waits", PATIENCE, || tells("receiving") && tells("waiting"));

    for page in ["/.pdtp/status", "/.pdtp/metrics", "/status", "/status/", "/stats", "/", "/?depth=9"] {
        let answer = get_from(STRANGER, server.port(), page);
        assert_eq!(answer.status, 200, "{page}");
        assert!(!answer.text().contains("/in"), "{page}: {}", answer.text());
        assert!(!answer.text().contains("in/"), "{page}: {}", answer.text());
    }
    let status = get_from(STRANGER, server.port(), "/.pdtp/status");
    let status: Value = serde_json::from_slice(&status.body).unwrap();
    assert_eq!(number(&status, "client_count"), 2, "{status:#}");
    // Whether there is something or not, and however it is written, the answer is the same.
    for path in ["/in", "/in/", "/in/big", "/in/none", "/%69n/big", "/in/?depth=9"] {
        let answer = get_from(STRANGER, server.port(), path);
        assert_eq!((answer.status, answer.header("location")), (403, ""), "{path}");
        assert_eq!(answer.text(), "not for your address, 127.0.0.2\n", "{path}");
    }

    // Who watches everything hears of the rest.
    let mut watcher = Raw::connect_from(STRANGER.into(), server.port());
    watcher.register_v3("watcher");
    watcher.send(wire::Watch { url: server.http("/in") });
    let Message::Error(error) = one_of(&mut watcher, &["error"]) else { unreachable!() };
    assert_eq!(error.code, ErrorCode::Denied);
    watcher.send(wire::Watch { url: server.http("/") });
    watcher.send(wire::Ping {});
    watcher.expect("pong");
    drop(downloads);
    let until = |watcher: &mut Raw, name: &str| {
        loop {
            let Message::Changed(changed) = watcher.expect("changed") else { unreachable!() };
            assert!(!changed.url.contains("/in"), "{changed:?}");
            if changed.url.ends_with(name) {
                return;
            }
        }
    };
    make_file(served.path(), "in/sub/new", 1000);
    make_file(served.path(), "news1", 1000);
    until(&mut watcher, "/news1");
    std::fs::remove_dir_all(served.path().join("in")).unwrap();
    make_file(served.path(), "news2", 1000);
    until(&mut watcher, "/news2");
}

#[test]
fn what_has_priority_comes_first() {
    let served = make_tree(&[("low/a", 24 * MIB), ("high/b", 8 * MIB)]);
    let rules = "[directory.\"/high\"]\npriority = 5\n[directory.\"/low\"]\npriority = -5";
    let (server, here) = serve(served.path(), rules, &["--limit-up", "4M"]);
    let target = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    for path in ["/low/a", "/high/b"] {
        pdtp(&["stat", &server.uri(path)]).expect(0);
    }
    let low = pdtp_start(&["get", "--json", &server.uri("/low/a"), "-o", &target("a")]);
    let taken = || client_at(&server.status(), "/low/a").map_or(0, |client| number(client, "taken"));
    wait_until("the first to be under way", PATIENCE, || taken() > MIB as u64);
    let before = taken();
    pdtp(&["get", &server.uri("/high/b"), "-o", &target("b")]).expect(0);
    let status = server.status();
    let after = client_at(&status, "/low/a").map(|client| number(client, "taken"));
    let after = after.unwrap_or_else(|| panic!("the first is still at it: {status:#}"));
    // Side by side it would have been as much as the other took; what was on its way already may still come.
    assert!(
        after - before < 5 * MIB as u64,
        "while 8 MiB of priority came, {} of the other did",
        after - before
    );
    low.finish(PATIENCE).expect(0);
}

#[test]
fn no_more_at_once_than_the_operator_allows() {
    let served = make_tree(&[("few/a", 6 * MIB)]);
    let rules = "[directory.\"/few\"]\nmax-peers = 1";
    let (server, here) = serve(served.path(), rules, &["--limit-up", "4M"]);
    let target = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    let uri = server.uri("/few/a");
    pdtp(&["stat", &uri]).expect(0);
    let mut first = pdtp_start(&["get", "-q", &uri, "-o", &target("one")]);
    wait_until("the first to be under way", PATIENCE, || {
        number(&server.status()["bytes"], "from_origin") > 0
    });
    let second = pdtp_start(&["get", "-v", &uri, "-o", &target("two")]);
    let waits = |status: &Value| {
        let clients = status["clients"].as_array().unwrap();
        clients
            .iter()
            .find(|client| client["waiting"][0]["reason"] == "full")
            .map(|client| number(client, "taken"))
    };
    let mut seen_waiting = false;
    while first.is_running() {
        if let Some(taken) = waits(&server.status()) {
            seen_waiting = true;
            assert_eq!(taken, 0);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    first.finish(PATIENCE).expect(0);
    assert!(seen_waiting, "{:#}", server.status());
    let second = second.finish(PATIENCE).expect(0);
    assert!(
        second.stderr.contains("waiting: as many are downloading as the server allows"),
        "{}",
        second.stderr
    );
    assert_same_file(&served.path().join("few/a"), &here.path().join("two"));
}

#[test]
fn a_frugal_server_sends_little_more_than_once() {
    const SIZE: usize = 12 * MIB;
    let served = make_tree(&[("big", SIZE)]);
    let here = scratch();
    let server = Pdtpd::start(served.path(), &["--limit-up", "6M", "--policy", "frugal"]);
    let uri = server.uri("/big");
    pdtp(&["stat", &uri]).expect(0);
    let clients: Vec<_> = (0..4)
        .map(|index| {
            let target = here.path().join(format!("copy{index}"));
            pdtp_start(&["get", "--json", &uri, "-o", target.to_str().unwrap(), "--seed-for", "2"])
        })
        .collect();
    let done: Vec<_> =
        clients.into_iter().map(|client| client.finish(PATIENCE).expect(0).event("done")).collect();
    let origin: u64 = done.iter().map(|event| number(event, "from_origin")).sum();
    assert!(origin <= SIZE as u64 * 3 / 2, "the origin sent {origin} of {SIZE}: {done:?}");
}

#[test]
fn a_mistake_in_the_rules_is_named() {
    let here = scratch();
    let config = here.path().join("pdtpd.toml");
    for (rules, says) in [
        ("[directory.\"/a\"]\nnetwork = [\"10.0.0.0/8\"]", "did you mean \"networks\"?"),
        ("[directory.\"/a\"]\nnetworks = [\"10.0.0.0/8/9\"]", "is not a network, such as 192.0.2.0/24"),
        ("[directory.a]\npeers = \"off\"", "begins with /"),
        ("policy = \"greedy\"", "fast or frugal is expected"),
        ("[directory.\"/\"]\nmax_peers = 4\nmax-peers = 5", "max-peers is there twice"),
    ] {
        std::fs::write(&config, rules).unwrap();
        let run = Pdtpd::run(&["serve", here.path().to_str().unwrap(), "--config", config.to_str().unwrap()])
            .expect(2);
        assert!(run.stderr.contains(says) && run.stderr.contains("pdtpd.toml"), "{rules}: {}", run.stderr);
    }
}

#[test]
fn the_server_says_why_something_comes() {
    let served = make_tree(&[("big", 8 * MIB)]);
    let (server, here) = (Pdtpd::start(served.path(), &["--limit-up", "4M"]), scratch());
    let uri = server.uri("/big");
    let target = here.path().join("copy");
    let client = pdtp_start(&["get", "--json", "-v", &uri, "-o", target.to_str().unwrap()]);
    let mut told = Value::Null;
    wait_until("a transfer to be told of", PATIENCE, || {
        let status = server.status();
        told = status["clients"][0]["receiving"][0].clone();
        !told.is_null()
    });
    assert_eq!((told["from"].as_str(), told["path"].as_str()), (Some("origin"), Some("/big")), "{told}");
    assert!(
        told["reason"].is_string() && told["because"].as_str().is_some_and(|text| text.contains(' ')),
        "{told}"
    );
    let run = client.finish(PATIENCE).expect(0);
    let peer = run.event("peer");
    assert!(
        peer["reason"].is_string() && peer["because"].as_str().is_some_and(|text| text.contains(' ')),
        "{peer}"
    );
    // And to people. Nobody is left who has it.
    let target = here.path().join("another");
    let run = pdtp(&["get", "-v", &uri, "-o", target.to_str().unwrap()]).expect(0);
    let told = run.stderr.lines().find(|line| line.contains("from the origin: piece"));
    assert!(told.is_some_and(|line| line.ends_with(", because nobody else has it yet")), "{}", run.stderr);
}

#[test]
fn rules_for_what_is_not_there_are_named_at_the_start() {
    let served = make_tree(&[("internal/a", 1000), ("file", 1000), (".dot/a", 1000)]);
    let on_disk = |path: &str| format!("{}{path}", served.path().display());
    let here = scratch();
    let config = here.path().join("pdtpd.toml");

    // What was to be closed would be open: nothing is served.
    let closed = |path: &str| format!("[directory.\"{path}\"]\nnetworks = [\"10.0.0.0/8\"]\n");
    for (path, instead) in [
        ("/Internal".to_owned(), "/internal"),
        ("/INTERNAL/A".to_owned(), "/internal/a"),
        (on_disk("/internal"), "/internal"),
        (on_disk("/Internal/"), "/internal"),
        (on_disk(""), "/"),
    ] {
        std::fs::write(&config, closed(&path)).unwrap();
        let dir = served.path().to_str().unwrap();
        let args = ["serve", dir, "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()];
        let run = Pdtpd::run(&args).expect(2);
        for says in ["networks", path.trim_end_matches('/'), &format!("[directory.\"{instead}\"]")] {
            assert!(run.stderr.contains(says), "{path}: {}", run.stderr);
        }
    }

    // All else is served, and said.
    let other = |path: &str| format!("[directory.\"{path}\"]\npriority = 1\n");
    let rules = [
        other("/Internal"),
        other(&on_disk("/internal")),
        other("/file"),
        other("/internal"),
        other("/"),
        closed("/later"),
        closed(&on_disk("/later")),
        closed("/.dot"),
    ];
    let (server, _config) = serve(served.path(), &rules.concat(), &["-q"]);
    let (loud, _config_of_it) = serve(served.path(), &rules.concat(), &[]);
    let line = |server: &Pdtpd, path: &str| {
        let said = server.said();
        let name = format!("[directory.\"{path}\"]");
        said.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    for (path, says) in [
        ("/Internal", "priority"),
        ("/Internal", "[directory.\"/internal\"]"),
        (on_disk("/internal").as_str(), "[directory.\"/internal\"]"),
        ("/file", "is a file"),
        ("/later", "networks"),
        ("/later", "no such directory"),
        (on_disk("/later").as_str(), "[directory.\"/later\"]"),
        ("/.dot", "not served"),
    ] {
        wait_until(&format!("{says:?} of {path}"), PATIENCE, || line(&loud, path).contains(says));
    }
    assert!(line(&loud, "/").is_empty(), "{}", loud.said());
    // What is open although it was to be closed is said to those who want to hear of errors only.
    let last = on_disk("/later");
    wait_until("errors are said", PATIENCE, || line(&server, &last).contains("networks"));
    assert!(line(&server, "/later").contains("networks"), "{}", server.said());
    assert!(line(&server, "/file").is_empty(), "{}", server.said());
}

#[test]
fn who_is_stopped_leaves_its_place_to_others_and_gets_in_line_again() {
    let served = make_tree(&[("few/a", 8 * MIB)]);
    let rules = "[directory.\"/few\"]\nmax-peers = 1";
    let (server, here) = serve(served.path(), rules, &["--limit-up", "2M"]);
    let uri = server.uri("/few/a");
    pdtp(&["stat", &uri]).expect(0);
    let get = |name: &str| {
        let target = here.path().join(name);
        pdtp_start(&["get", "-q", "--seed-for", "0", &uri, "-o", target.to_str().unwrap()])
    };
    let taken = |status: &Value| -> Vec<u64> {
        status["clients"].as_array().unwrap().iter().map(|client| number(client, "taken")).collect()
    };
    let waiting = |status: &Value| {
        let clients = status["clients"].as_array().unwrap();
        clients.iter().filter(|client| client["waiting"][0]["reason"] == "full").count()
    };

    let stopped = get("one");
    wait_until("the first to be under way", PATIENCE, || taken(&server.status()).iter().any(|&n| n > 0));
    stopped.signal(libc::SIGSTOP);
    let before: u64 = taken(&server.status()).iter().sum();
    let mut second = get("two");
    wait_until("the second to have the place", PATIENCE, || {
        let status = server.status();
        waiting(&status) == 1 && taken(&status).iter().sum::<u64>() > before + MIB as u64
    });

    // It wakes, and waits until there is room again.
    stopped.signal(libc::SIGCONT);
    while second.is_running() {
        let status = server.status();
        let clients = status["clients"].as_array().unwrap();
        let receive = clients.iter().filter(|client| !client["receiving"].as_array().unwrap().is_empty());
        assert!(receive.count() <= 1, "{status:#}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    second.finish(PATIENCE).expect(0);
    stopped.finish(PATIENCE).expect(0);
    for name in ["one", "two"] {
        assert_same_file(&served.path().join("few/a"), &here.path().join(name));
    }
}

#[test]
fn a_rate_of_next_to_nothing_is_said_at_the_start() {
    let served = make_tree(&[("slow/a", 1000), ("fast/a", 1000), ("open/a", 1000)]);
    let rules = "[directory.\"/slow\"]\nmax-origin-rate = \"1K\"\n[directory.\"/fast\"]\nmax-origin-rate = \"64K\"\n\
                 [directory.\"/open\"]\nmax-origin-rate = 0";
    let (server, _config) = serve(served.path(), rules, &[]);
    wait_until("it is said", PATIENCE, || {
        let said = server.said();
        let slow = said.lines().find(|line| line.contains("[directory.\"/slow\"]"));
        slow.is_some_and(|line| line.contains("max-origin-rate") && line.contains("64 s"))
    });
    let said = server.said();
    assert!(!said.contains("/fast") && !said.contains("/open"), "{said}");
    let (server, _config) = serve(served.path(), rules, &["--piece-size", "4M"]);
    wait_until("it is said", PATIENCE, || server.said().contains("[directory.\"/fast\"]"));
    assert!(!server.said().contains("/open"), "{}", server.said());
}

#[test]
fn the_status_page_shows_the_rules_in_force() {
    let served = make_tree(&[("few/a", 8 * MIB), ("few/sub/b", 1000), ("in/a", 1000)]);
    let rules = "[directory.\"/\"]\npriority = 3\npolicy = \"frugal\"\n[directory.\"/few\"]\nmax-peers = 2\n\
                 max-origin-rate = \"1M\"\n[directory.\"/few/sub\"]\npeers = \"off\"\npolicy = \"fast\"\n\
                 [directory.\"/in\"]\nnetworks = [\"127.0.0.1\"]\nmax-peers = 0";
    let (server, here) = serve(served.path(), rules, &[]);
    let target = here.path().join("a");
    let get = pdtp_start(&["get", "-q", &server.uri("/few/a"), "-o", target.to_str().unwrap()]);
    wait_until("it is under way", PATIENCE, || number(&server.status()["bytes"], "from_origin") > 0);
    let shown = |status: &Value| status["directories"].clone();
    let rule = |path: &str, rate: Option<u64>, peers: Option<u32>, policy: &str, to_each_other: bool| {
        serde_json::json!({
            "path": path, "priority": 3, "max_origin_rate": rate, "max_peers": peers,
            "downloading": peers.map(|_| 1), "policy": policy, "peers": to_each_other,
        })
    };
    let mut all = vec![
        rule("/", None, None, "frugal", true),
        rule("/few", Some(1 << 20), Some(2), "frugal", true),
        rule("/few/sub", Some(1 << 20), Some(2), "fast", false),
        rule("/in", None, None, "frugal", true),
    ];
    assert_eq!(shown(&server.status()), Value::Array(all.clone()));
    let stranger = get_from([127, 0, 0, 2], server.port(), "/.pdtp/status");
    all.pop();
    assert_eq!(shown(&serde_json::from_slice(&stranger.body).unwrap()), Value::Array(all));
    drop(get);
    wait_until("the place is free again", PATIENCE, || server.status()["directories"][1]["downloading"] == 0);
}
