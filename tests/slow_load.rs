//! Two thousand clients that are really connected: none fails, and none costs the server much memory. With
//! `PDTP_SLOW=1` only (`make check-slow`); `pdtp-load` does the same with twenty thousand and measures.

pub mod common;

#[path = "../bench/load/clients.rs"]
mod clients;
#[path = "../bench/load/relay.rs"]
mod relay;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clients::{Crowd, Totals, start};
use common::*;
use tokio::sync::watch;

const CLIENTS: usize = 2_000;
const WARM: usize = 100;
/// The promise for twenty thousand.
const MOST_KIB: u64 = 16;

#[test]
fn two_thousand_clients_download_and_hold_on() {
    if std::env::var_os("PDTP_SLOW").is_none() {
        eprintln!("SKIPPED: a crowd is only tested with PDTP_SLOW=1");
        return;
    }
    let served = make_tree(&[("small", 16 * 1024)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    pdtp(&["stat", &server.uri("/small")]).expect(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (end, stay) = watch::channel(true);
    let totals = Arc::new(Totals::default());
    let address = ([127, 0, 0, 1], server.port()).into();
    let mut crowd = Crowd { server: address, path: "/small".to_owned(), clients: WARM, at_once: 50 };
    let all_hold_on = |count: usize| {
        wait_until("all to have the file", Duration::from_secs(300), || {
            assert_eq!(totals.failed.load(Relaxed), 0, "{:#?}", totals.errors.lock().unwrap());
            totals.holding.load(Relaxed) == count
        });
    };
    start(&crowd, 0, &totals, &stay);
    all_hold_on(WARM);
    let before = resident_kib(server.pid());
    crowd = Crowd { clients: CLIENTS, at_once: 200, ..crowd };
    start(&crowd, WARM, &totals, &stay);
    all_hold_on(WARM + CLIENTS);
    let each = resident_kib(server.pid()).saturating_sub(before) as f64 / CLIENTS as f64;
    eprintln!("{each:.1} KiB of pdtpd for each client");
    assert!(each <= MOST_KIB as f64, "{each:.1} KiB for each client");

    let status = server.status();
    assert_eq!(status["client_count"], WARM + CLIENTS);
    assert_eq!(totals.payload_bytes.load(Relaxed), ((WARM + CLIENTS) * 16 * 1024) as u64);
    end.send(false).unwrap();
    wait_until("all to be gone", PATIENCE, || server.status()["client_count"] == 0);
    assert_eq!(totals.failed.load(Relaxed), 0, "{:#?}", totals.errors.lock().unwrap());
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Who tell each other of what they have need few words for it, too.
#[test]
fn control_connections_of_peers_take_a_thousandth_of_what_they_move() {
    if std::env::var_os("PDTP_SLOW").is_none() {
        eprintln!("SKIPPED: gigabytes are only moved with PDTP_SLOW=1");
        return;
    }
    const SIZE: usize = 256 << 20;
    let (served, here) = (make_tree(&[("large", SIZE)]), scratch());
    let server = Pdtpd::start(served.path(), &["--piece-size", "4M", "--limit-up", "50M"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (relay, control) = runtime.block_on(relay::start(([127, 0, 0, 1], server.port()).into())).unwrap();
    let uri = format!("pdtp://{relay}/large");
    pdtp(&["stat", &uri]).expect(0);
    let before = control.load(Relaxed);
    let copy = |number: usize| here.path().join(number.to_string());
    let clients: Vec<_> = (0..4)
        .map(|number| pdtp_start(&["get", "--json", "-o", copy(number).to_str().unwrap(), &uri]))
        .collect();
    let [mut from_origin, mut from_peers] = [0, 0];
    for client in clients {
        let events = client.finish(PATIENCE).expect(0).json();
        let done = events.iter().find(|event| event["event"] == "done").expect("the last word");
        from_origin += done["from_origin"].as_u64().unwrap();
        from_peers += done["from_peers"].as_u64().unwrap();
    }
    assert!(from_peers > from_origin, "{from_peers} from peers, {from_origin} from the origin");
    let words = control.load(Relaxed) - before;
    let parts = words as f64 / (from_origin + from_peers) as f64;
    eprintln!("{:.2} MB on control connections for each GB", parts * 1000.0);
    assert!(words > 10_000 && parts <= 0.001, "{words} bytes on control connections");
    for number in 0..4 {
        assert!(std::fs::read(served.path().join("large")).unwrap() == std::fs::read(copy(number)).unwrap());
    }
}
