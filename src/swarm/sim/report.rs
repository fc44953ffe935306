//! What came out, and what would have been possible at best.

use serde::Serialize;

use super::setup::{Host, SECOND, Setup};
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
    /// The fluid optimum: see [`best`].
    pub best: f64,
    /// Where all uplinks but the origins' are equal: see [`best_in_pieces`], for one file.
    pub best_in_pieces: Option<f64>,
    /// Until the last was done.
    pub makespan: f64,
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
    /// Bytes moved in vain, as a part of all bytes moved.
    pub wasted: f64,
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
        Summary {
            takers: of().count(),
            finished: times.len(),
            best: best(setup),
            best_in_pieces: best_in_pieces_of(setup),
            makespan: self.makespan as f64 / 1e6,
            mean: times.iter().sum::<f64>() / times.len() as f64,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            origin_copies: self.swarm.origin_bytes as f64 / setup.bytes() as f64,
            fairness: sum * sum / (rates.len() as f64 * squares),
            wasted: self.wasted as f64 / moved.max(1) as f64,
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

/// The least time in which all takers can have everything, if all come at once and stay, seconds: T* = max(F/u_s,
/// F/d_min, N·F/(u_s + Σu_i)) (Kumar and Ross, "Peer-assisted file distribution: the minimum distribution time",
/// 2006). Of those who vanish or lie, the line does not count as a help, and what they want not as work.
pub fn best(setup: &Setup) -> f64 {
    let bytes = setup.bytes() as f64;
    let origins: f64 = setup.hosts.iter().filter(|host| host.is_origin).map(|host| host.up).sum();
    let takers = || setup.hosts.iter().filter(|host| host.is_to_finish());
    let givers = setup.hosts.iter().filter(|host| !host.is_origin && host.vanishes.is_none() && !host.lies);
    let up: f64 = origins + givers.map(|host| host.up).sum::<f64>();
    let slowest = takers().map(|host| host.down).fold(f64::INFINITY, f64::min);
    (bytes / origins).max(bytes / slowest).max(takers().count() as f64 * bytes / up)
}

/// [`best_in_pieces`] for a setup of which it speaks: one file, everybody else with the same uplink.
fn best_in_pieces_of(setup: &Setup) -> Option<f64> {
    let [file] = setup.files[..] else { return None };
    let mut peers = setup.hosts.iter().filter(|host| !host.is_origin);
    let first = peers.next()?.up;
    let count = 1 + peers.clone().count() as u64;
    peers
        .all(|host| host.up == first)
        .then(|| best_in_pieces(count, u64::from(file.pieces()), file.size, first))
}

/// The same for equal uplinks, all pieces sent whole one after the other: (1 + ⌊log2 N⌋/M)·F/u with M pieces (Mundinger,
/// Weber and Weiss, "Optimal scheduling of peer-to-peer file dissemination", 2008). N counts peers, the origin is one
/// more of the same rate. Seconds.
pub fn best_in_pieces(peers: u64, pieces: u64, bytes: u64, rate: f64) -> f64 {
    (1.0 + f64::from(peers.max(1).ilog2()) / pieces as f64) * bytes as f64 / rate
}

#[cfg(test)]
mod tests {
    use super::super::setup::{FileSpec, Host, MBIT, MIB};
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
        let (equal, unequal) = (peers(16, 10.0, 50.0), [peers(1, 10.0, 50.0), peers(1, 9.0, 50.0)].concat());
        let pieces = f64::from(FileSpec::of(32 * MIB).pieces());
        let found = best_in_pieces_of(&setup(equal)).expect("equal uplinks");
        assert!((found - (1.0 + 4.0 / pieces) * bits / 10.0).abs() < 1e-9);
        assert_eq!(best_in_pieces_of(&setup(unequal)), None);
    }
}
