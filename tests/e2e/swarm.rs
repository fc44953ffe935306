//! "The more of us fetch it, the less the origin has to send."

use crate::common::*;

const SIZE: usize = 16 << 20;

/// Slow enough that clients have something to give each other.
const ORIGIN: [&str; 2] = ["--limit-up", "8M"];

fn number(event: &serde_json::Value, name: &str) -> u64 {
    event[name].as_u64().unwrap_or_else(|| panic!("no {name} in {event}"))
}

#[test]
fn clients_that_download_together_help_each_other() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &ORIGIN), scratch());
    pdtp(&["stat", &server.uri("/big")]).expect(0);
    let clients: Vec<_> = (0..4)
        .map(|index| {
            let target = here.path().join(format!("copy{index}"));
            let uri = server.uri("/big");
            pdtp_start(&["get", "--json", &uri, "-o", target.to_str().unwrap(), "--seed-for", "2"])
        })
        .collect();
    let done: Vec<_> =
        clients.into_iter().map(|client| client.finish(PATIENCE).expect(0).event("done")).collect();
    for index in 0..4 {
        assert_same_file(&served.path().join("big"), &here.path().join(format!("copy{index}")));
    }
    for event in &done {
        assert_eq!(number(event, "from_origin") + number(event, "from_peers"), SIZE as u64, "{event}");
    }
    let origin: u64 = done.iter().map(|event| number(event, "from_origin")).sum();
    let peers: u64 = done.iter().map(|event| number(event, "from_peers")).sum();
    assert!(peers > 0, "{done:?}");
    // Without help it would be 4 times the file.
    assert!(origin <= 3 * SIZE as u64, "the origin sent {origin} bytes of {SIZE}: {done:?}");
}

/// Whoever goes when it has all takes its uplink along, which the server is to reckon with.
#[test]
fn the_server_knows_who_goes_on_giving() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &ORIGIN), scratch());
    let start = |name: &str, more: &[&str]| {
        let (uri, target) = (server.uri("/big"), here.path().join(name));
        let mut args = vec!["get", "-q", &uri, "-o", target.to_str().unwrap(), "--limit-down", "1M"];
        args.extend(more);
        pdtp_start(&args)
    };
    let stays = || -> Vec<bool> {
        let status = server.status();
        status["clients"]
            .as_array()
            .unwrap()
            .iter()
            .map(|client| client["stays"].as_bool().unwrap())
            .collect()
    };
    let _goes = start("goes", &[]);
    wait_until("one is here", PATIENCE, || stays() == [false]);
    let _stays = start("stays", &["--seed-for", "1h"]);
    wait_until("another one is here", PATIENCE, || stays().len() == 2);
    assert_eq!(stays().iter().filter(|&&stays| stays).count(), 1);
}

#[test]
fn who_stays_after_the_end_gives_to_the_next() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &ORIGIN), scratch());
    let target = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    let uri = server.uri("/big");
    let first = pdtp_start(&["get", "--json", &uri, "-o", &target("one"), "--seed-for", "forever"]);
    wait_until("the first to be done", PATIENCE, || first.stdout().contains("\"seeding\""));
    let second = pdtp(&["get", "--json", "-v", &uri, "-o", &target("two")]).expect(0);
    let done = second.event("done");
    assert!(number(&done, "from_peers") > 0, "{done}");
    let peer = second.json().into_iter().find(|event| event["event"] == "peer" && event["origin"] == false);
    let peer = peer.expect("an exchange with the peer is told");
    assert!(number(&peer, "bytes") > 0, "{peer}");
    // Ctrl-C ends the giving, and that is no failure.
    first.signal(libc::SIGINT);
    let first = first.finish(PATIENCE).expect(0);
    assert!(number(&first.event("seeding"), "uploaded") > 0 || number(&done, "from_peers") > 0);
    assert_same_file(&served.path().join("big"), &here.path().join("two"));
}

#[test]
fn who_does_not_want_to_give_does_not() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &ORIGIN), scratch());
    let target = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    let uri = server.uri("/big");
    let clients: Vec<_> = ["one", "two"]
        .iter()
        .map(|name| pdtp_start(&["get", "--json", "--no-give", &uri, "-o", &target(name)]))
        .collect();
    for client in clients {
        let done = client.finish(PATIENCE).expect(0).event("done");
        assert_eq!(number(&done, "from_peers"), 0, "{done}");
        assert_eq!(number(&done, "uploaded"), 0, "{done}");
    }
}

#[test]
fn a_tree_is_shared_like_a_file() {
    let files: Vec<_> =
        (0..60).map(|index| (format!("d{}/f{index}", index % 5), 100_000 + index * 3000)).collect();
    let served = make_tree(&files);
    let (server, here) = (Pdtpd::start(served.path(), &["--limit-up", "4M"]), scratch());
    let clients: Vec<_> = (0..3)
        .map(|index| {
            let target = here.path().join(format!("copy{index}"));
            let uri = server.uri("/");
            pdtp_start(&["get", "-r", "--json", &uri, "-o", target.to_str().unwrap(), "--seed-for", "1"])
        })
        .collect();
    let done: Vec<_> =
        clients.into_iter().map(|client| client.finish(PATIENCE).expect(0).event("done")).collect();
    for index in 0..3 {
        assert_same_tree(served.path(), &here.path().join(format!("copy{index}")));
    }
    assert!(done.iter().map(|event| number(event, "from_peers")).sum::<u64>() > 0, "{done:?}");
}
