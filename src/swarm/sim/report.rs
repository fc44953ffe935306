//! What came out, and what would have been possible at best.

use serde::Serialize;

use super::setup::{Host, SECOND, Setup, Wants};
use crate::swarm::SwarmStats;

/// What became of one host. Times in microseconds of the simulation.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HostOutcome {
    /// When it came.
    pub arrived: u64,
    /// When it had all it wanted, if it ever had.
    pub done: Option<u64>,
    /// Verified bytes it got, and gave.
    pub got: u64,
    /// See [`got`](Self::got).
    pub given: u64,
    /// From coming to going, or to the end of the run.
    pub stayed: u64,
    /// Readers: from coming to the beginning.
    pub started: Option<u64>,
    /// Readers: how often it had to wait after it had begun, and for how long in all.
    pub stalls: u32,
    /// See [`stalls`](Self::stalls).
    pub stalled: u64,
}

impl HostOutcome {
    /// It had to wait for something it was to read by then.
    pub(super) fn waited(&mut self, since: u64, until: u64) {
        if since < until {
            self.stalls += 1;
            self.stalled += until - since;
        }
    }
}

/// Bytes sent until a point in time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Sample {
    /// Microseconds.
    pub at: u64,
    /// Verified bytes from origins so far.
    pub from_origin: u64,
    /// Verified bytes from peers so far.
    pub from_peers: u64,
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// By host.
    pub hosts: Vec<HostOutcome>,
    /// When the last of those who are to finish had all.
    pub makespan: u64,
    /// Bytes moved in vain.
    pub wasted: u64,
    /// Times that a host was told to dial more new hosts than it may, and refused.
    pub dials_refused: u64,
    /// Times that the rates on a line were left as they were, because too many others had to be looked at.
    pub unsettled: u64,
    /// Verified bytes.
    pub useful: u64,
    /// Those of them that stayed in a network.
    pub near: u64,
    /// Messages between server and clients, both ways.
    pub messages: u64,
    /// Their bytes.
    pub message_bytes: u64,
    /// Calls of [`handle`](crate::swarm::Swarm::handle).
    pub events: u64,
    /// The swarm's own totals.
    pub swarm: SwarmStats,
    /// Who sent how much, over time.
    pub history: Vec<Sample>,
}

/// The numbers of a run; times in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Hosts that wanted something and were to finish.
    pub takers: usize,
    /// Those of them that did.
    pub finished: usize,
    /// The fluid optimum ([`best`]), where it is one: all who are to finish come at once, want everything, and stay.
    pub best: Option<f64>,
    /// Where they come one after the other, but want everything and stay: what it would be if they came at once. It is what
    /// each one's own time is compared with.
    pub best_at_once: Option<f64>,
    /// The optimum in pieces ([`best_in_pieces`]), where all uplinks are equal, that of the one origin as well, for one file.
    pub best_in_pieces: Option<f64>,
    /// Until the last was done.
    pub makespan: f64,
    /// The longest from coming to having all.
    pub slowest: f64,
    /// Of the times from coming to having all.
    pub mean: f64,
    /// See [`mean`](Self::mean).
    pub p50: f64,
    /// See [`mean`](Self::mean).
    pub p95: f64,
    /// See [`mean`](Self::mean).
    pub p99: f64,
    /// See [`mean`](Self::mean).
    pub p999: f64,
    /// Bytes from the origins, in copies of everything.
    pub origin_copies: f64,
    /// Jain's index of the rates at which takers got what they got: 1 = all the same.
    pub fairness: f64,
    /// Bytes that peers sent within their networks, as a part of all that peers sent.
    pub near: f64,
    /// Bytes moved in vain, as a part of all bytes moved.
    pub wasted: f64,
    /// The same in bytes.
    pub wasted_bytes: u64,
    /// Messages, and their bytes.
    pub messages: u64,
    /// See [`messages`](Self::messages).
    pub message_bytes: u64,
    /// Transfers started.
    pub transfers: u64,
    /// See [`Outcome::dials_refused`]: none, if the scheduler keeps what docs/protocol.md promises to clients.
    pub dials_refused: u64,
    /// See [`Outcome::unsettled`].
    pub unsettled: u64,
    /// Readers: those that had to wait after they had begun.
    pub stalled_readers: usize,
    /// Readers: the longest from coming to the beginning; of those that never began, to their going or the end of the run.
    pub slowest_start: f64,
    /// Readers: those that never began although they had been here for more than a second and two of their round trips.
    pub unstarted_readers: usize,
}

impl Outcome {
    /// The numbers.
    pub fn summary(&self, setup: &Setup) -> Summary {
        let of = || self.hosts.iter().zip(&setup.hosts).filter(|(_, host)| host.is_to_finish());
        let mut times: Vec<f64> =
            of().filter_map(|(outcome, _)| Some((outcome.done? - outcome.arrived) as f64 / 1e6)).collect();
        times.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let index = (times.len() as f64 * part).ceil() as usize;
            times.get(index.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        let rates: Vec<f64> = of()
            .filter_map(|(outcome, _)| {
                Some(outcome.got as f64 / (outcome.done? - outcome.arrived).max(1) as f64)
            })
            .collect();
        let (sum, squares): (f64, f64) = (rates.iter().sum(), rates.iter().map(|rate| rate * rate).sum());
        let moved = self.useful + self.wasted;
        let readers = || self.hosts.iter().zip(&setup.hosts).filter(|(_, host)| host.is_reader());
        let starts = readers().map(|(outcome, _)| outcome.started.unwrap_or(outcome.stayed) as f64 / 1e6);
        let is_unstarted = |outcome: &HostOutcome, host: &Host| {
            outcome.started.is_none() && outcome.stayed > SECOND + 4 * host.delay
        };
        let stay = Stay::of(setup);
        Summary {
            takers: of().count(),
            finished: times.len(),
            best: (stay == Stay::Together).then(|| best(setup)),
            best_at_once: (stay == Stay::Apart).then(|| best(setup)),
            best_in_pieces: if stay == Stay::Together { best_in_pieces_of(setup) } else { None },
            makespan: self.makespan as f64 / 1e6,
            slowest: times.last().copied().unwrap_or(f64::NAN),
            mean: times.iter().sum::<f64>() / times.len() as f64,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            origin_copies: self.swarm.origin_bytes as f64 / setup.bytes() as f64,
            fairness: sum * sum / (rates.len() as f64 * squares),
            near: self.near as f64 / self.swarm.peer_bytes.max(1) as f64,
            wasted: self.wasted as f64 / moved.max(1) as f64,
            wasted_bytes: self.wasted,
            messages: self.messages,
            message_bytes: self.message_bytes,
            transfers: self.swarm.started,
            dials_refused: self.dials_refused,
            unsettled: self.unsettled,
            stalled_readers: self.hosts.iter().filter(|host| host.stalls > 0).count(),
            slowest_start: starts.fold(0.0, f64::max),
            unstarted_readers: readers().filter(|(outcome, host)| is_unstarted(outcome, host)).count(),
        }
    }

    /// One line for each host, for spreadsheets.
    pub fn csv(&self) -> String {
        let mut out = String::from("host,arrived_s,done_s,got_bytes,given_bytes,start_s,stalls,stalled_s\n");
        let seconds = |micros: u64| format!("{:.6}", micros as f64 / 1e6);
        for (index, host) in self.hosts.iter().enumerate() {
            let maybe = |micros: Option<u64>| micros.map(seconds).unwrap_or_default();
            out += &format!(
                "{index},{},{},{},{},{},{},{}\n",
                seconds(host.arrived),
                maybe(host.done),
                host.got,
                host.given,
                maybe(host.started),
                host.stalls,
                seconds(host.stalled),
            );
        }
        out
    }
}

impl Summary {
    /// The makespan in T*, where there is one.
    pub fn ratio(&self) -> Option<f64> {
        self.best.map(|best| self.makespan / best)
    }

    /// What the fields of [`csv`](Self::csv) are.
    pub const CSV_HEAD: &str = "scenario,seed,takers,finished,makespan_s,t_star_s,makespan_per_t_star,t_star_at_once_s,\
        slowest_s,pieces_s,mean_s,p50_s,p95_s,p99_s,p999_s,origin_copies,fairness,near_part,wasted_bytes,wasted_part,messages,\
        message_bytes,transfers,dials_refused,slowest_start_s,unstarted_readers,stalled_readers";

    /// One line of a table of runs. What has no meaning is empty.
    pub fn csv(&self, scenario: &str, seed: u64) -> String {
        let number = |value: f64| if value.is_finite() { format!("{value:.6}") } else { String::new() };
        let maybe = |value: Option<f64>| value.map(number).unwrap_or_default();
        let fields = [
            scenario.replace([',', '"', '\n'], " "),
            seed.to_string(),
            self.takers.to_string(),
            self.finished.to_string(),
            number(self.makespan),
            maybe(self.best),
            maybe(self.ratio()),
            maybe(self.best_at_once),
            number(self.slowest),
            maybe(self.best_in_pieces),
            number(self.mean),
            number(self.p50),
            number(self.p95),
            number(self.p99),
            number(self.p999),
            number(self.origin_copies),
            number(self.fairness),
            number(self.near),
            self.wasted_bytes.to_string(),
            number(self.wasted),
            self.messages.to_string(),
            self.message_bytes.to_string(),
            self.transfers.to_string(),
            self.dials_refused.to_string(),
            number(self.slowest_start),
            self.unstarted_readers.to_string(),
            self.stalled_readers.to_string(),
        ];
        fields.join(",")
    }
}

/// Whether those who are to finish are all here for all of the time: what yardsticks take for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// They come at once and stay.
    Together,
    /// They come one after the other and stay.
    Apart,
    /// Some go, lines change, or they want different things.
    Not,
}

impl Stay {
    fn of(setup: &Setup) -> Self {
        let takers = || setup.hosts.iter().filter(|host| host.is_to_finish());
        let stays = |host: &Host| !host.leaves_when_done && host.leaves.is_none() && host.changes.is_none();
        let want_all = takers().all(|host| matches!(host.wants, Wants::Files { .. }));
        if !want_all || !setup.hosts.iter().all(stays) {
            return Self::Not;
        }
        let first = takers().map(|host| host.arrives).min();
        if takers().all(|host| Some(host.arrives) == first) { Self::Together } else { Self::Apart }
    }
}

/// The least time in which all takers can have everything, if all come at once and stay, seconds: T* = max(F/u_s,
/// F/d_min, N·F/(u_s + Σu_i)) (Kumar and Ross, "Peer-assisted file distribution: the minimum distribution time",
/// 2006). Whoever has everything from the start is a source like the origins. Of those who vanish or lie, the line does not
/// count as a help, and what they want not as work.
pub fn best(setup: &Setup) -> f64 {
    let bytes = setup.bytes() as f64;
    let has_all = |host: &&Host| host.is_origin || host.has_all && host.arrives == 0;
    let takers = || setup.hosts.iter().filter(|host| host.is_to_finish() && !has_all(host));
    let givers = || setup.hosts.iter().filter(|host| host.vanishes.is_none() && !host.lies);
    let sources: f64 = givers().filter(has_all).map(|host| host.up).sum();
    let up: f64 = givers().map(|host| host.up).sum();
    let slowest = takers().map(|host| host.down).fold(f64::INFINITY, f64::min);
    (bytes / sources).max(bytes / slowest).max(takers().count() as f64 * bytes / up)
}

/// [`best_in_pieces`] for a setup of which it speaks: one file, and everybody with the same uplink, the only origin as well.
fn best_in_pieces_of(setup: &Setup) -> Option<f64> {
    let ([file], [origin, peers @ ..]) = (&setup.files[..], &setup.hosts[..]) else { return None };
    let are_equal = origin.is_origin
        && peers
            .iter()
            .all(|host| host.up == origin.up && host.is_to_finish() && !host.is_origin && !host.has_all);
    are_equal.then(|| best_in_pieces(peers.len() as u64, u64::from(file.pieces()), file.size, origin.up))
}

/// The same for equal uplinks, all pieces sent whole one after the other: (1 + ⌊log2 N⌋/M)·F/u with M pieces (Mundinger,
/// Weber and Weiss, "Optimal scheduling of peer-to-peer file dissemination", 2008). N counts peers, the origin is one
/// more of the same rate. Seconds.
pub fn best_in_pieces(peers: u64, pieces: u64, bytes: u64, rate: f64) -> f64 {
    (1.0 + f64::from(peers.max(1).ilog2()) / pieces as f64) * bytes as f64 / rate
}

#[cfg(test)]
mod tests {
    use super::super::scenario::scenario;
    use super::super::setup::{FileSpec, MBIT, MIB};
    use super::*;

    #[test]
    fn yardsticks_are_those_of_the_papers() {
        let peers = |count, up, down| vec![Host::peer(up * MBIT, down * MBIT); count];
        let setup = |peers: Vec<Host>| {
            let hosts = [vec![Host::origin(20.0 * MBIT)], peers].concat();
            Setup::new(0, hosts, vec![FileSpec::of(32 * MIB)])
        };
        let bits = (32 * MIB * 8) as f64 / 1e6;
        assert!((best(&setup(peers(16, 10.0, 50.0))) - 16.0 * bits / 180.0).abs() < 1e-9);
        assert!((best(&setup(peers(1, 10.0, 50.0))) - bits / 20.0).abs() < 1e-9);
        assert!((best(&setup(peers(2, 100.0, 5.0))) - bits / 5.0).abs() < 1e-9);
        assert!((best_in_pieces(16, 100, 1000, 10.0) - 104.0).abs() < 1e-9);
        assert!((best_in_pieces(15, 100, 1000, 10.0) - 103.0).abs() < 1e-9);
        let pieces = f64::from(FileSpec::of(32 * MIB).pieces());
        let mut equal = setup(peers(16, 20.0, 50.0));
        let found = best_in_pieces_of(&equal).expect("equal uplinks");
        assert!((found - (1.0 + 4.0 / pieces) * bits / 20.0).abs() < 1e-9);
        equal.hosts[16].up = 19.0 * MBIT;
        assert_eq!(best_in_pieces_of(&equal), None);
        // An origin with a better line than theirs is not what the paper speaks of.
        assert_eq!(best_in_pieces_of(&setup(peers(16, 10.0, 50.0))), None);
    }

    #[test]
    fn who_has_all_from_the_start_is_a_source() {
        let seeder = Host { has_all: true, wants: Wants::Nothing, ..Host::peer(30.0 * MBIT, 50.0 * MBIT) };
        let taker = Host::peer(10.0 * MBIT, 100.0 * MBIT);
        let hosts = vec![Host::origin(20.0 * MBIT), seeder, taker];
        let bits = (32 * MIB * 8) as f64 / 1e6;
        let mut setup = Setup::new(0, hosts, vec![FileSpec::of(32 * MIB)]);
        assert!((best(&setup) - bits / 50.0).abs() < 1e-9, "{}", best(&setup));
        // Comes later, or sends nothing of use.
        setup.hosts[1].arrives = SECOND;
        assert!((best(&setup) - bits / 20.0).abs() < 1e-9, "{}", best(&setup));
        (setup.hosts[1].arrives, setup.hosts[1].lies) = (0, true);
        assert!((best(&setup) - bits / 20.0).abs() < 1e-9, "{}", best(&setup));
    }

    #[test]
    fn there_is_no_optimum_for_those_who_come_and_go() {
        let of = |name: &str| {
            let setup = scenario(name).expect("a known scenario").setup(1);
            let summary =
                Outcome { hosts: vec![HostOutcome::default(); setup.hosts.len()], ..Outcome::default() }
                    .summary(&setup);
            (summary.best.is_some(), summary.best_at_once.is_some(), summary.best_in_pieces.is_some())
        };
        for name in ["equal16", "halves", "lognormal", "hostile", "kraken", "mirror"] {
            assert_eq!(of(name), (true, false, false), "{name}");
        }
        assert_eq!(of("crowd2000"), (false, true, false));
        for name in ["churn", "leave", "streams"] {
            assert_eq!(of(name), (false, false, false), "{name}");
        }
    }

    #[test]
    fn a_line_of_the_table_has_all_fields() {
        let setup = scenario("churn").expect("a known scenario").setup(1);
        let outcome =
            Outcome { hosts: vec![HostOutcome::default(); setup.hosts.len()], ..Outcome::default() };
        let line = outcome.summary(&setup).csv("a, b", 7);
        assert_eq!(line.split(',').count(), Summary::CSV_HEAD.split(',').count(), "{line}");
        assert!(line.starts_with("a  b,7,16,0,"), "{line}");
    }
}
