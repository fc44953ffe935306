//! What finds the queue before this machine's own line full is sent again as soon as there is room, and not when the system's timer
//! has run out.
//!
//! Makes network namespaces, so only as root.

#![cfg(target_os = "linux")]

pub mod common;
#[path = "common/netns.rs"]
pub mod netns;

use std::process::Command;
use std::time::Duration;

use common::*;
use netns::{Host, Net};

/// Sooner than the system would, and than anybody here would give up and begin anew (10 s). It takes 0.2 s.
const SOON: Duration = Duration::from_secs(8);
/// The system's timer, which is 200 ms without being told otherwise.
const TIMER_S: u32 = 30;

/// Runs a program on that machine to its end.
fn run(host: &Host, words: &str) -> String {
    let mut words = words.split(' ');
    let mut command: Command = host.command(words.next().unwrap());
    command.args(words);
    Proc::spawn(command).finish(PATIENCE).expect(0).text()
}

/// How many packets its own queue has dropped.
fn dropped(host: &Host) -> u64 {
    let told = run(host, "tc -s qdisc show dev eth0");
    let count = told.split("dropped ").nth(1).and_then(|rest| rest.split(',').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in {told:?}"))
}

/// A download, while whatever either machine says is dropped at first: what is longer than an acknowledgement.
fn download_through(drops: impl Fn(&Host, &Host) -> Host) {
    let Some(mut net) = Net::new() else {
        eprintln!("skipped: no network namespaces here (they need root and iproute2)");
        return;
    };
    let (origin, client) = (net.host(), net.host());
    for host in [&origin, &client] {
        run(host, &format!("ip route replace 10.77.0.0/24 dev eth0 rto_min {TIMER_S}s"));
    }
    let served = make_tree(&[("file", 3_000)]);
    let address = format!("{}:6086", origin.address());
    let dir = served.path().to_str().unwrap();
    let state = scratch();
    let server = origin.start(
        env!("CARGO_BIN_EXE_pdtpd"),
        &["serve", dir, "--listen", &address, "--state", state.path().to_str().unwrap()],
    );
    wait_until("it serves", PATIENCE, || server.stdout().contains("6086"));
    let (here, uri) = (scratch(), format!("pdtp://{}/file", origin.address()));
    let target = here.path().join("copy");
    let crowded = drops(&origin, &client);
    run(&crowded, "tc qdisc add dev eth0 root bfifo limit 130");
    let pdtp = env!("CARGO_BIN_EXE_pdtp");
    let get = client.start(pdtp, &["get", "--json", &uri, "-o", target.to_str().unwrap()]);
    wait_until("something is dropped", PATIENCE, || dropped(&crowded) > 0);
    run(&crowded, "tc qdisc replace dev eth0 root pfifo");
    get.finish(SOON).expect(0);
    assert_same_file(&served.path().join("file"), &target);
    drop(server);
}

#[test]
fn what_an_origin_says_is_sent_again_soon() {
    download_through(|origin, _| origin.clone());
}

#[test]
fn what_a_client_says_is_sent_again_soon() {
    download_through(|_, client| client.clone());
}
