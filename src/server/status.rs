//! What the server tells about itself: `/.pdtp/status` as JSON for people and programs, `/.pdtp/metrics` in the text
//! format of Prometheus for machines that watch.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};

use super::core::CoreStats;
use crate::hub::HubStats;
use crate::swarm::{PeerStats, Reason, SwarmStats, WaitReason};

/// Most clients shown on the status page; the number of all is told.
const MAX_SHOWN: usize = 1000;

/// Counters of things that happen outside the dispatcher.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// TCP connections let in.
    pub(crate) connections: AtomicU64,
    /// TCP connections closed at once because of a limit.
    pub(crate) refused_connections: AtomicU64,
    /// Connections that spoke nothing known, or not in time.
    pub(crate) unrecognised: AtomicU64,
    /// Messages received.
    pub(crate) messages_in: AtomicU64,
    /// Messages sent.
    pub(crate) messages_out: AtomicU64,
    /// Clients dropped because they did not read.
    pub(crate) slow_consumers: AtomicU64,
    /// HTTP answers by hundreds of their status: 1xx to 5xx.
    pub(crate) http_answers: [AtomicU64; 5],
    /// Bytes of bodies sent to browsers and the like.
    pub(crate) http_bytes: AtomicU64,
    /// Pieces requests from clients refused for want of a right to them.
    pub(crate) refused_pieces: AtomicU64,
    /// Bytes of pieces sent to clients.
    pub(crate) piece_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    /// Counts an HTTP answer.
    pub(crate) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        Self::add(&self.http_answers[class], 1);
    }
}

/// What the dispatcher knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct SwarmStatus {
    pub(crate) clients: Vec<ClientStatus>,
    /// Directories that have rules of their own.
    pub(crate) directories: Vec<DirectoryStatus>,
    pub(crate) swarm: SwarmStats,
    pub(crate) core: CoreStats,
    /// Control connections, registered or not.
    pub(crate) connections: u64,
    /// Versions of files in memory.
    pub(crate) versions: u64,
    /// Files being looked up or hashed for somebody.
    pub(crate) searches: u64,
}

/// One client.
#[derive(Debug, Clone)]
pub(crate) struct ClientStatus {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) agent: String,
    pub(crate) version: u32,
    pub(crate) reachable: bool,
    pub(crate) connected_s: u64,
    pub(crate) files: u64,
    /// What is on its way to it.
    pub(crate) receiving: Vec<Receiving>,
    /// Paths it gets nothing of, and why.
    pub(crate) waiting: Vec<(String, WaitReason)>,
    pub(crate) part: PeerStats,
}

/// What is in force for a directory, whether it is said there or further up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirectoryStatus {
    pub(crate) path: String,
    pub(crate) priority: i32,
    /// Bytes a second; `None` = no limit.
    pub(crate) max_origin_rate: Option<u64>,
    /// Clients; `None` = no limit.
    pub(crate) max_peers: Option<u32>,
    /// How many of those places are taken, everywhere where they count.
    pub(crate) downloading: Option<u64>,
    pub(crate) frugal: bool,
    pub(crate) peers: bool,
}

/// A transfer, as its taker sees it.
#[derive(Debug, Clone)]
pub(crate) struct Receiving {
    /// The giver's id, or `origin`.
    pub(crate) from: String,
    pub(crate) path: String,
    pub(crate) pieces: Range<u32>,
    pub(crate) reason: Reason,
}

/// Everything that is told.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) name: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) uptime_s: u64,
    /// TCP connections at present.
    pub(crate) connections: u64,
    pub(crate) status: SwarmStatus,
    pub(crate) hub: HubStats,
    pub(crate) counters: &'a Counters,
}

impl Report<'_> {
    /// For `/.pdtp/status`.
    pub(crate) fn to_json(&self) -> Value {
        let SwarmStatus { clients, directories, swarm, core, connections, versions, searches } = &self.status;
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let directories: Vec<_> = directories.iter().map(directory_json).collect();
        let shown: Vec<_> = clients.iter().take(MAX_SHOWN).map(client_json).collect();
        json!({
            "name": self.name,
            "agent": self.agent,
            "uptime_s": self.uptime_s,
            "clients": shown,
            "client_count": clients.len(),
            "directories": directories,
            "connections": { "tcp": self.connections, "control": connections },
            "transfers": {
                "active": swarm.active_transfers,
                "started": swarm.started,
                "succeeded": swarm.succeeded,
                "failed": swarm.failed,
            },
            "bytes": {
                "from_origin": swarm.origin_bytes,
                "from_peers": swarm.peer_bytes,
                "wasted": swarm.wasted_bytes,
                "http": count(&self.counters.http_bytes),
                "pieces_sent": count(&self.counters.piece_bytes),
            },
            "files": {
                "known": self.hub.files,
                "bytes": self.hub.bytes,
                "hashed": self.hub.hashed_files,
                "hashed_bytes": self.hub.hashed_bytes,
                "scanned": self.hub.scanned,
                "watched": self.hub.watched,
                "in_memory": versions,
                "being_looked_up": searches,
                "retired": core.retired,
            },
            "distrusted": core.distrusted,
        })
    }

    /// For `/.pdtp/metrics`.
    pub(crate) fn to_prometheus(&self) -> String {
        let SwarmStatus { clients, swarm, core, connections, versions, searches, .. } = &self.status;
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let counters = self.counters;
        let reachable = clients.iter().filter(|client| client.reachable).count();
        let mut out = Metrics::default();
        out.gauge("pdtp_uptime_seconds", "Time since the server was started.", self.uptime_s);
        out.gauge("pdtp_clients", "Clients registered at present.", clients.len() as u64);
        out.gauge("pdtp_clients_reachable", "Clients that others can dial.", reachable as u64);
        out.gauge("pdtp_control_connections", "Control connections at present.", *connections);
        out.gauge("pdtp_tcp_connections", "TCP connections of any kind at present.", self.connections);
        out.gauge("pdtp_transfers_active", "Transfers under way.", swarm.active_transfers);
        out.gauge("pdtp_files", "Files known to the hub.", self.hub.files);
        out.gauge("pdtp_files_bytes", "Bytes of all files known to the hub.", self.hub.bytes);
        out.gauge("pdtp_files_hashed", "Files hashed.", self.hub.hashed_files);
        out.gauge("pdtp_files_hashed_bytes", "Bytes of hashed files.", self.hub.hashed_bytes);
        out.gauge("pdtp_versions_in_memory", "Versions of files held for clients.", *versions);
        out.gauge("pdtp_searches", "Files being looked up or hashed for a client.", *searches);
        out.counter("pdtp_clients_registered_total", "Clients registered.", core.registered);
        out.counter("pdtp_connections_total", "TCP connections let in.", count(&counters.connections));
        out.counter(
            "pdtp_connections_refused_total",
            "TCP connections closed because of a limit.",
            count(&counters.refused_connections),
        );
        out.counter(
            "pdtp_connections_unrecognised_total",
            "TCP connections that spoke nothing known in time.",
            count(&counters.unrecognised),
        );
        out.counter("pdtp_messages_received_total", "Messages received.", count(&counters.messages_in));
        out.counter("pdtp_messages_sent_total", "Messages sent.", count(&counters.messages_out));
        out.counter("pdtp_protocol_errors_total", "Messages not understood.", core.protocol_errors);
        out.counter(
            "pdtp_slow_consumers_total",
            "Clients dropped because they did not read.",
            count(&counters.slow_consumers),
        );
        out.counter("pdtp_transfers_started_total", "Transfers started.", swarm.started);
        out.counter("pdtp_transfers_succeeded_total", "Transfers that went well.", swarm.succeeded);
        out.counter("pdtp_transfers_failed_total", "Transfers that failed.", swarm.failed);
        out.family("pdtp_delivered_bytes_total", "counter", "Verified bytes that reached clients, by giver.");
        out.sample("pdtp_delivered_bytes_total", "from=\"origin\"", swarm.origin_bytes);
        out.sample("pdtp_delivered_bytes_total", "from=\"peers\"", swarm.peer_bytes);
        out.counter("pdtp_wasted_bytes_total", "Bytes moved in vain.", swarm.wasted_bytes);
        out.counter(
            "pdtp_piece_bytes_sent_total",
            "Bytes of pieces sent to clients by the origin.",
            count(&counters.piece_bytes),
        );
        out.counter(
            "pdtp_pieces_refused_total",
            "Requests for pieces without a right to them.",
            count(&counters.refused_pieces),
        );
        out.counter("pdtp_http_bytes_sent_total", "Bytes sent to browsers.", count(&counters.http_bytes));
        out.family("pdtp_http_answers_total", "counter", "HTTP answers by class of status.");
        for (class, counter) in counters.http_answers.iter().enumerate() {
            out.sample("pdtp_http_answers_total", &format!("class=\"{}xx\"", class + 1), count(counter));
        }
        out.counter("pdtp_versions_retired_total", "Files that changed while distributed.", core.retired);
        out.counter("pdtp_givers_distrusted_total", "Givers of wrong bytes.", core.distrusted);
        out.0
    }
}

fn client_json(client: &ClientStatus) -> Value {
    let PeerStats { given, taken, up_rate, down_rate, giving, taking, wrong, stays } = client.part;
    json!({
        "id": client.id,
        "address": client.address,
        "agent": client.agent,
        "version": client.version,
        "reachable": client.reachable,
        "stays": stays,
        "connected_s": client.connected_s,
        "files": client.files,
        "given": given,
        "taken": taken,
        "up_rate": up_rate,
        "down_rate": down_rate,
        "giving": giving,
        "taking": taking,
        "wrong": wrong,
        "receiving": client.receiving.iter().map(|transfer| json!({
            "from": transfer.from,
            "path": transfer.path,
            "first_piece": transfer.pieces.start,
            "pieces": transfer.pieces.len(),
            "reason": transfer.reason,
            "because": transfer.reason.text(),
        })).collect::<Vec<_>>(),
        "waiting": client.waiting.iter().map(|(path, reason)| json!({
            "path": path,
            "reason": reason,
            "for": reason.text(),
        })).collect::<Vec<_>>(),
    })
}

fn directory_json(directory: &DirectoryStatus) -> Value {
    json!({
        "path": directory.path,
        "priority": directory.priority,
        "max_origin_rate": directory.max_origin_rate,
        "max_peers": directory.max_peers,
        "downloading": directory.downloading,
        "policy": if directory.frugal { "frugal" } else { "fast" },
        "peers": directory.peers,
    })
}

/// The text format, version 0.0.4.
#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        let _ = writeln!(self.0, "{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(counters: &Counters) -> Report<'_> {
        Report {
            name: "a \"name\"",
            agent: "pdtpd/0",
            uptime_s: 5,
            connections: 2,
            status: SwarmStatus::default(),
            hub: HubStats { files: 7, ..HubStats::default() },
            counters,
        }
    }

    /// The rules of the format that a scraper insists on.
    #[test]
    fn metrics_are_well_formed() {
        let counters = Counters::default();
        counters.answered(206);
        let text = report(&counters).to_prometheus();
        let (mut family, mut kind) = (String::new(), String::new());
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            if line.starts_with("# HELP ") {
                family = words[2].to_owned();
                assert!(words.len() > 3, "{line}");
            } else if line.starts_with("# TYPE ") {
                assert_eq!(words[2], family);
                kind = words[3].to_owned();
                assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
            } else {
                let name = words[0].split('{').next().unwrap();
                assert_eq!(name, family, "samples follow their family");
                assert!(words[1].parse::<u64>().is_ok(), "{line}");
            }
        }
        assert!(!kind.is_empty());
        assert!(text.contains("\npdtp_files 7\n"));
        assert!(text.contains("pdtp_http_answers_total{class=\"2xx\"} 1\n"));
    }

    #[test]
    fn status_is_json_with_the_numbers() {
        let counters = Counters::default();
        Counters::add(&counters.http_bytes, 12);
        let json = report(&counters).to_json();
        assert_eq!(json["name"], "a \"name\"");
        assert_eq!(json["files"]["known"], 7);
        assert_eq!(json["bytes"]["http"], 12);
    }
}
