//! A small network on this machine: hosts in network namespaces of their own, joined by a bridge, each with a line whose
//! two directions can be narrowed (`tbf`). Needs root, iproute2 and a kernel that lets it: [`Net::new`] says `None`.
//!
//! Gone when dropped, together with everything that was made in it.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::common::{PATIENCE, Proc};

/// See the module.
pub struct Net {
    name: String,
    hosts: Vec<String>,
}

/// One machine of it.
#[derive(Clone)]
pub struct Host {
    /// Of its namespace.
    name: String,
    net: String,
    number: u32,
    /// Its third byte of the address.
    network: u8,
}

/// Runs a program that sets something up; whether that worked.
fn run(line: &str) -> bool {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Net {
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pdtp{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        if !run(&format!("ip netns add {name}")) {
            return None;
        }
        let net = Self { name, hosts: Vec::new() };
        let name = &net.name;
        let good = run(&format!("ip -n {name} link add br0 type bridge"))
            && run(&format!("ip -n {name} link set br0 up"))
            && net.can_narrow();
        good.then_some(net)
    }

    fn can_narrow(&self) -> bool {
        let name = &self.name;
        run(&format!("tc -n {name} qdisc add dev br0 root tbf rate 100mbit burst 64kb latency 50ms"))
            && run(&format!("tc -n {name} qdisc del dev br0 root"))
    }

    /// Another machine, with a line as fast as this one is.
    pub fn host(&mut self) -> Host {
        self.host_in(0)
    }

    /// The same, in one of several networks (/24), between which nothing is in the way.
    pub fn host_in(&mut self, network: u8) -> Host {
        let number = u32::try_from(self.hosts.len()).unwrap() + 1;
        let (net, name) = (self.name.clone(), format!("{}-{number}", self.name));
        self.hosts.push(name.clone());
        for line in [
            format!("ip netns add {name}"),
            format!("ip -n {name} link set lo up"),
            format!("ip -n {net} link add p{number} type veth peer name eth0 netns {name}"),
            format!("ip -n {net} link set p{number} master br0"),
            format!("ip -n {net} link set p{number} up"),
            format!("ip -n {name} addr add 10.77.{network}.{number}/16 dev eth0"),
            format!("ip -n {name} link set eth0 up"),
        ] {
            assert!(run(&line), "{line}");
        }
        Host { name, net, number, network }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in self.hosts.iter().chain([&self.name]) {
            run(&format!("ip netns del {name}"));
        }
    }
}

impl Host {
    pub fn address(&self) -> String {
        format!("10.77.{}.{}", self.network, self.number)
    }

    /// A program on that machine.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command.env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
        command
    }

    /// A program of ours, started on that machine, that reads nobody's configuration.
    pub fn start(&self, program: &str, args: &[&str]) -> Proc {
        let mut command = self.command(program);
        command.args(args).env("XDG_CONFIG_HOME", "/nonexistent");
        Proc::spawn(command)
    }

    /// What a server there says of itself, asked on its own machine.
    pub fn status(&self) -> serde_json::Value {
        let uri = format!("http://{}:6086/.pdtp/status", self.address());
        let run = self.start("curl", &["-s", &uri]).finish(PATIENCE).expect(0);
        serde_json::from_str(&run.text()).expect("status is JSON")
    }

    /// Has it refuse connections from elsewhere, as if it were behind a router that knows nothing of them. Needs nftables: whether
    /// it does.
    pub fn close(&self) -> bool {
        let rules = [
            "add table inet door",
            "add chain inet door in { type filter hook input priority 0; }",
            "add rule inet door in iifname eth0 tcp flags & (syn | ack) == syn reject with tcp reset",
        ];
        rules.iter().all(|rule| {
            let mut command = self.command("nft");
            command.arg(rule).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        })
    }

    /// Narrows its line, Mbit/s.
    pub fn narrow(&self, up: u32, down: u32) {
        let Self { name, net, number, .. } = self;
        for (place, device, rate) in [(name, "eth0".to_owned(), up), (net, format!("p{number}"), down)] {
            let line = format!(
                "tc -n {place} qdisc replace dev {device} root tbf rate {rate}mbit burst 64kb latency 100ms"
            );
            assert!(run(&line), "{line}");
        }
    }
}
