//! Named setups: those by which the scheduler is judged.

use super::setup::{EXACT, FileSpec, Host, MBIT, MIB, SECOND, Setup, Wants};
use crate::swarm::dice::Dice;

/// A named setup.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What to call it.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What is to be reached.
    pub goal: &'static str,
    build: fn(u64) -> Setup,
}

impl Scenario {
    /// The setup, with what is random in it decided by `seed`.
    pub fn setup(&self, seed: u64) -> Setup {
        (self.build)(seed)
    }
}

/// The scenario with that name.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// All of them. Where nothing else is said: 32 MiB, an origin of 20 Mbit/s, peers of 10 up and 50 down at 20 ms, all
/// coming at once.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "alone", about: "1 peer", goal: "1.05 T*", build: |seed| equal(seed, 1) },
    Scenario {
        name: "pair",
        about: "2 peers",
        goal: "no slower than plain HTTP",
        build: |seed| equal(seed, 2),
    },
    Scenario { name: "equal16", about: "16 peers", goal: "1.05 T*", build: |seed| equal(seed, 16) },
    Scenario { name: "equal64", about: "64 peers", goal: "1.05 T*", build: |seed| equal(seed, 64) },
    Scenario { name: "equal1000", about: "1,000 peers", goal: "1.05 T*", build: |seed| equal(seed, 1000) },
    Scenario {
        name: "pieces16",
        about: "16 peers, and an origin of 10 Mbit/s like theirs",
        goal: "1.08 of the optimum in pieces",
        build: |seed| usual(seed, 10.0, peers(16, 10.0)),
    },
    Scenario {
        name: "pieces64",
        about: "the same with 64 peers",
        goal: "1.06 of the optimum in pieces",
        build: |seed| usual(seed, 10.0, peers(64, 10.0)),
    },
    Scenario {
        name: "frugal1000",
        about: "1,000 peers, the origin sends again only what no peer can",
        goal: "1.2 copies from the origin",
        build: frugal,
    },
    Scenario { name: "halves", about: "8 peers of 2 up, 8 of 18 up", goal: "1.08 T*", build: halves },
    Scenario {
        name: "lognormal",
        about: "64 peers, uplinks log-normal over two decades, one in five cannot be dialled",
        goal: "1.15 T*",
        build: lognormal,
    },
    Scenario {
        name: "churn",
        about: "16 peers, one every 2 s, each leaves when done",
        goal: "mean below 22 s",
        build: churn,
    },
    Scenario {
        name: "leave",
        about: "8 peers of 2 up, 8 of 18 up within 0.2 s, each leaves when done",
        goal: "29 s, mean 26 s",
        build: leave,
    },
    Scenario {
        name: "hostile",
        about: "100 peers, 5 send wrong bytes, 10 vanish without a word",
        goal: "1.2 T*, 2% wasted",
        build: hostile,
    },
    Scenario {
        name: "outage",
        about: "16 peers, half of which vanish at once, without a word, after 8 s",
        goal: "makespan 23.25 s, mean 22.6 s",
        build: outage,
    },
    Scenario {
        name: "kraken",
        about: "2,600 hosts of 300 MB/s each way, 5 origins of as much, 3 GB, in one data centre (1 ms)",
        goal: "p50 10.5 s, p99 12 s, p99.9 13 s",
        build: |seed| kraken(seed, 2600),
    },
    Scenario {
        name: "kraken520",
        about: "the same with 520 hosts",
        goal: "none: to see what numbers, --rtt and --tolerance change",
        build: |seed| kraken(seed, 520),
    },
    Scenario {
        name: "crowd",
        about: "100,000 peers of 20 up and 50 down within 60 s, 1 GiB, origin 1 Gbit/s",
        goal: "1.2 T*",
        build: |seed| crowd(seed, 100_000),
    },
    Scenario {
        name: "crowd2000",
        about: "the same with 2,000 peers and 128 MiB",
        goal: "1.2 T*",
        build: |seed| Setup { files: vec![FileSpec::of(128 * MIB)], ..crowd(seed, 2000) },
    },
    Scenario {
        name: "streams",
        about: "200 readers of 120 MiB at 4 Mbit/s, 200 downloads of 256 MiB, origin 100 Mbit/s; 10% of all leave in a minute \
                and others come, for 300 s",
        goal: "no stalls, starts within 1.04 s",
        build: streams,
    },
    Scenario {
        name: "mirror",
        about: "10,000 files of 16 KiB to 16 peers",
        goal: "1.2 T*",
        build: |seed| Setup { files: vec![FileSpec::of(16 << 10); 10_000], ..equal_with(seed, 16, 1024) },
    },
    Scenario {
        name: "office",
        about: "5,000 files of 80 KiB to 6 peers of 1 Gbit/s, origin 400 Mbit/s, in one building (1 ms)",
        goal: "1.2 T*",
        build: office,
    },
    Scenario {
        name: "lan",
        about: "16 peers and an origin of 100 Mbit/s each way, 256 MiB",
        goal: "mean 1.17 T*",
        build: lan,
    },
];

fn peers(count: usize, up: f64) -> Vec<Host> {
    vec![Host::peer(up * MBIT, 50.0 * MBIT); count]
}

fn usual(seed: u64, origin: f64, peers: Vec<Host>) -> Setup {
    let hosts = [vec![Host::origin(origin * MBIT)], peers].concat();
    Setup::new(seed, hosts, vec![FileSpec::of(32 * MIB)])
}

fn equal(seed: u64, count: usize) -> Setup {
    usual(seed, 20.0, peers(count, 10.0))
}

fn frugal(seed: u64) -> Setup {
    let mut setup = equal(seed, 1000);
    setup.config.frugal = true;
    setup
}

fn equal_with(seed: u64, count: usize, at_once: usize) -> Setup {
    let wants = Wants::Files { at_once };
    usual(seed, 20.0, peers(count, 10.0).into_iter().map(|host| Host { wants, ..host }).collect())
}

fn office(seed: u64) -> Setup {
    let origin = Host { delay: 500, ..Host::origin(400.0 * MBIT) };
    let wants = Wants::Files { at_once: 512 };
    let peer = Host { delay: 500, wants, ..Host::peer(1000.0 * MBIT, 1000.0 * MBIT) };
    let hosts = [vec![origin], vec![peer; 6]].concat();
    Setup::new(seed, hosts, vec![FileSpec::of(80 << 10); 5000])
}

fn lan(seed: u64) -> Setup {
    let peer = Host::peer(100.0 * MBIT, 100.0 * MBIT);
    let hosts = [vec![Host::origin(100.0 * MBIT)], vec![peer; 16]].concat();
    Setup::new(seed, hosts, vec![FileSpec::of(256 * MIB)])
}

fn halves(seed: u64) -> Setup {
    usual(seed, 20.0, [peers(8, 2.0), peers(8, 18.0)].concat())
}

fn lognormal(seed: u64) -> Setup {
    let mut dice = Dice::new(seed);
    let mut hosts = peers(64, 0.0);
    for (index, host) in hosts.iter_mut().enumerate() {
        // Two decades from two standard deviations below the median to two above.
        let factor = (normal(&mut dice).clamp(-2.0, 2.0) / 4.0 * 100f64.ln()).exp();
        host.up = 5.0 * factor * MBIT;
        host.is_dialable = index % 5 != 0;
    }
    usual(seed, 20.0, hosts)
}

fn churn(seed: u64) -> Setup {
    let mut hosts = peers(16, 10.0);
    for (host, at) in hosts.iter_mut().zip(0..) {
        host.arrives = at * 2 * SECOND;
        host.leaves_when_done = true;
    }
    usual(seed, 20.0, hosts)
}

fn leave(seed: u64) -> Setup {
    let mut dice = Dice::new(seed);
    let mut setup = halves(seed);
    for host in setup.hosts.iter_mut().filter(|host| host.is_taker()) {
        host.leaves_when_done = true;
        host.arrives = dice.below(SECOND as usize / 5) as u64;
    }
    setup
}

fn hostile(seed: u64) -> Setup {
    let mut dice = Dice::new(seed);
    let mut hosts = peers(100, 10.0);
    for (index, host) in hosts.iter_mut().enumerate() {
        host.lies = index % 20 == 7;
        host.vanishes = (index % 10 == 3).then(|| dice.below(28 * SECOND as usize) as u64);
    }
    usual(seed, 20.0, hosts)
}

fn outage(seed: u64) -> Setup {
    let mut hosts = peers(16, 10.0);
    hosts.iter_mut().step_by(2).for_each(|host| host.vanishes = Some(8 * SECOND));
    usual(seed, 20.0, hosts)
}

fn kraken(seed: u64, count: usize) -> Setup {
    let origin = Host { delay: 500, ..Host::origin(300e6) };
    let peer = Host { delay: 500, ..Host::peer(300e6, 300e6) };
    let hosts = [vec![origin; 5], vec![peer; count]].concat();
    // They are more than are usually reckoned with exactly, but it takes no longer here.
    Setup { tolerance: EXACT, ..Setup::new(seed, hosts, vec![FileSpec::of(3_000_000_000)]) }
}

fn crowd(seed: u64, count: usize) -> Setup {
    let mut dice = Dice::new(seed);
    let mut hosts = peers(count, 20.0);
    for host in &mut hosts {
        host.arrives = dice.below(60 * SECOND as usize) as u64;
    }
    Setup { files: vec![FileSpec::of(1024 * MIB)], ..usual(seed, 1000.0, hosts) }
}

fn streams(seed: u64) -> Setup {
    const UNTIL: u64 = 300 * SECOND;
    let mut dice = Dice::new(seed);
    let mut hosts = Vec::new();
    // Of each kind: 200 within the first half minute, and for everyone who leaves another one.
    for wants in [Wants::Stream { file: 0, rate: 4.0 * MBIT }, Wants::File { file: 1 }] {
        for _ in 0..200 {
            let mut at = dice.below(30 * SECOND as usize) as u64;
            while at < UNTIL - 30 * SECOND {
                // Exponential stays of ten minutes on average: a tenth leaves each minute.
                let stays = -(uniform(&mut dice)).ln() * 600.0;
                let until = at + (stays * 1e6) as u64;
                let leaves = (until < UNTIL).then_some(until);
                let [host] = peers(1, 10.0).try_into().expect("one");
                hosts.push(Host { arrives: at, leaves, wants, ..host });
                at = until.saturating_add(1);
            }
        }
    }
    let files = vec![FileSpec::of(120 * MIB), FileSpec::of(256 * MIB)];
    Setup { files, until: UNTIL, ..usual(seed, 100.0, hosts) }
}

/// From above 0 to 1.
fn uniform(dice: &mut Dice) -> f64 {
    ((dice.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Box and Muller, 1958.
fn normal(dice: &mut Dice) -> f64 {
    (-2.0 * uniform(dice).ln()).sqrt() * (2.0 * std::f64::consts::PI * uniform(dice)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_setups_make_sense() {
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS[..index].iter().all(|other| other.name != scenario.name));
            if scenario.name != "crowd" {
                let setup = scenario.setup(1);
                assert!(
                    setup.hosts[0].is_origin && setup.hosts.iter().any(Host::is_taker),
                    "{}",
                    scenario.name
                );
            }
        }
    }
}
