//! Clients that nobody can dial, as most at home are: they get what they want, and give what they have to those whom they can dial.
//!
//! Makes network namespaces, so only as root.

#![cfg(target_os = "linux")]

pub mod common;
#[path = "common/netns.rs"]
pub mod netns;

use common::*;
use netns::{Host, Net};
use serde_json::Value;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// An origin, and clients that nobody can dial.
struct World {
    net: Net,
    origin: Host,
    server: Proc,
    served: TempDir,
    here: TempDir,
    _state: TempDir,
}

impl World {
    /// `None` where there are no network namespaces or no firewall.
    fn new(files: &[(&str, usize)], args: &[&str]) -> Option<Self> {
        let mut net = Net::new()?;
        let origin = net.host();
        let (served, state) = (make_tree(files), scratch());
        let address = format!("{}:6086", origin.address());
        let (dir, kept) = (served.path().to_str().unwrap(), state.path().to_str().unwrap());
        let mut all = vec!["serve", dir, "--listen", &address, "--state", kept];
        all.extend(args);
        let server = origin.start(env!("CARGO_BIN_EXE_pdtpd"), &all);
        wait_until("it serves", PATIENCE, || server.stdout().contains("6086"));
        let mut world = Self { net, origin, server, served, here: scratch(), _state: state };
        world.closed().map(|_| world)
    }

    fn closed(&mut self) -> Option<Host> {
        let host = self.net.host();
        host.close().then_some(host)
    }

    fn uri(&self, path: &str) -> String {
        format!("pdtp://{}{path}", self.origin.address())
    }

    fn get(&self, host: &Host, path: &str, name: &str, args: &[&str]) -> Proc {
        let target = self.here.path().join(name);
        let uri = self.uri(path);
        let mut all = vec!["get", "--json", "-v", &uri, "-o", target.to_str().unwrap()];
        all.extend(args);
        host.start(env!("CARGO_BIN_EXE_pdtp"), &all)
    }

    fn assert_same(&self, path: &str, name: &str) {
        assert_same_file(&self.served.path().join(path), &self.here.path().join(name));
    }
}

fn skipped() {
    eprintln!("skipped: no network namespaces or no firewall here (they need root, iproute2 and nftables)");
}

fn bytes(done: &Value, name: &str) -> u64 {
    done[name].as_u64().unwrap_or_else(|| panic!("no {name} in {done}"))
}

/// Nothing can go from one to another: all of it comes from the origin, as fast as its line allows.
#[test]
fn a_frugal_origin_sends_to_each_what_none_can_bring() {
    // A piece each 2 s would take minutes.
    let frugal = ["--policy", "frugal", "--limit-up", "8M"];
    let Some(mut world) = World::new(&[("big", 16 * MIB)], &frugal) else { return skipped() };
    let hosts: Vec<_> = (0..3).filter_map(|_| world.closed()).collect();
    let names = ["one", "two", "three"];
    let all: Vec<_> =
        hosts.iter().zip(names).map(|(host, name)| world.get(host, "/big", name, &[])).collect();
    for (client, name) in all.into_iter().zip(names) {
        let run = client.finish(PATIENCE).expect(0);
        assert_eq!(bytes(&run.event("done"), "from_origin"), 16 * MIB as u64);
        world.assert_same("big", name);
    }
    world.server.signal(libc::SIGTERM);
}

/// Who cannot be dialled brings what it has to one that can; that one knows why as well as if it had fetched it.
#[test]
fn what_is_brought_says_why_it_comes() {
    let Some(mut world) = World::new(&[("big", 4 * MIB)], &["--policy", "frugal"]) else { return skipped() };
    let (Some(giver), taker) = (world.closed(), world.net.host()) else { return skipped() };
    let seed = world.get(&giver, "/big", "seed", &["--seed-for", "5m"]);
    wait_until("the file is offered", PATIENCE, || seed.stdout().contains("\"seeding\""));
    let run = world.get(&taker, "/big", "copy", &[]).finish(PATIENCE).expect(0);
    world.assert_same("big", "copy");
    let done = run.event("done");
    assert_eq!((bytes(&done, "from_peers"), bytes(&done, "from_origin")), (4 * MIB as u64, 0), "{done}");
    let mut brought = run.json();
    brought.retain(|event| event["event"] == "peer");
    assert!(!brought.is_empty());
    for event in brought {
        let why = event["because"].as_str().unwrap_or_default();
        assert!(event["received"] == true && event["reason"].is_string() && why.contains(' '), "{event}");
    }
    let status = world.origin.status();
    assert_eq!(status["clients"].as_array().map(Vec::len), Some(1), "only who seeds is left: {status}");
}
