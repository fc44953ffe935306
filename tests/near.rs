//! Who is in the same network is asked first: what peers send each other stays there for the most part.
//!
//! Makes network namespaces, so only as root.

#![cfg(target_os = "linux")]

pub mod common;
#[path = "common/netns.rs"]
pub mod netns;

use std::collections::HashMap;

use common::*;
use netns::{Host, Net};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// The third byte of the address of each client that the server knows.
fn networks(origin: &Host) -> HashMap<String, String> {
    let status = origin.status();
    let text = |client: &Value, name: &str| client[name].as_str().unwrap().to_owned();
    let network = |client: &Value| text(client, "address").split('.').nth(2).unwrap().to_owned();
    status["clients"].as_array().unwrap().iter().map(|client| (text(client, "id"), network(client))).collect()
}

/// What eight peers in two networks sent each other, bytes: within one of them, and in all. `None` where no networks can be made.
fn sent() -> Option<(u64, u64)> {
    let mut net = Net::new()?;
    let (served, state, here) = (make_tree(&[("big", 32 * MIB)]), scratch(), scratch());
    let origin = net.host();
    origin.narrow(20, 100);
    let address = format!("{}:6086", origin.address());
    let (dir, kept) = (served.path().to_str().unwrap(), state.path().to_str().unwrap());
    let server =
        origin.start(env!("CARGO_BIN_EXE_pdtpd"), &["serve", dir, "--listen", &address, "--state", kept]);
    wait_until("it serves", PATIENCE, || server.stdout().contains("6086"));
    let uri = format!("pdtp://{}/big", origin.address());
    let clients: Vec<_> = (0..8)
        .map(|index| {
            let host = net.host_in(1 + index % 2);
            host.narrow(10, 50);
            let target = here.path().join(format!("copy{index}"));
            let args = ["get", "--json", "-v", &uri, "-o", target.to_str().unwrap()];
            (host.start(env!("CARGO_BIN_EXE_pdtp"), &args), (1 + index % 2).to_string(), target)
        })
        .collect();
    let mut known = HashMap::new();
    wait_until("all are here", PATIENCE, || {
        known = networks(&origin);
        known.len() == clients.len()
    });
    let (mut near, mut all) = (0, 0);
    for (client, network, target) in clients {
        let run = client.finish(PATIENCE).expect(0);
        assert_same_file(&served.path().join("big"), &target);
        let from_peers =
            |event: &Value| event["event"] == "peer" && event["received"] == true && event["origin"] == false;
        for event in run.json().iter().filter(|event| from_peers(event)) {
            let bytes = event["bytes"].as_u64().unwrap();
            all += bytes;
            if known[event["peer_id"].as_str().unwrap()] == network {
                near += bytes;
            }
        }
    }
    println!("{near} of {all} bytes stayed in their network: {:.2}", near as f64 / all as f64);
    Some((near, all))
}

#[test]
fn most_of_what_peers_send_stays_in_their_network() {
    let (mut near, mut all) = (0, 0);
    // What is under way to all at once is a good part of the file, so chance has its part in one swarm: 0.54 to 0.76, and 0.48 on a busy
    // machine. By chance alone it would be three sevenths.
    for _ in 0..2 {
        let Some(swarm) = sent() else {
            return eprintln!("skipped: no network namespaces here (they need root and iproute2)");
        };
        (near, all) = (near + swarm.0, all + swarm.1);
    }
    assert!(2 * near > all, "{near} of {all} bytes stayed in their network");
}
