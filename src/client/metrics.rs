//! The numbers of a client as Prometheus collects them (text format 0.0.4).

use std::fmt::Write as _;

use super::{CacheStats, Client, ClientStats};

impl Client {
    /// The totals of [`Client::stats`] as text for Prometheus: each metric with its help and its type.
    pub fn metrics(&self) -> String {
        text(&self.stats(), &self.cache_stats())
    }
}

fn text(stats: &ClientStats, cache: &CacheStats) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP pdtp_client_{name} {help}\n# TYPE pdtp_client_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "pdtp_client_{name}{labels} {value}");
        }
    };
    let received = [("{from=\"origin\"}", stats.from_origin), ("{from=\"peers\"}", stats.from_peers)];
    metric("received_bytes_total", "counter", "Verified bytes received.", &received);
    metric("sent_bytes_total", "counter", "Bytes sent to peers.", &[("", stats.uploaded)]);
    metric("wasted_bytes_total", "counter", "Bytes received in vain.", &[("", stats.wasted)]);
    let rates = [("{direction=\"in\"}", stats.down_rate), ("{direction=\"out\"}", stats.up_rate)];
    metric("bytes_per_second", "gauge", "Bytes a second over the last seconds.", &rates);
    metric("transfers", "gauge", "Transfers that have not ended.", &[("", stats.active_transfers.into())]);
    metric("exchanges", "gauge", "Exchanges with others under way.", &[("", stats.peer_connections.into())]);
    let offered = [("{by=\"download\"}", cache.files), ("{by=\"application\"}", cache.shares)];
    metric("offered_files", "gauge", "Complete files given to others.", &offered);
    metric("offered_bytes", "gauge", "Bytes of files given after their download.", &[("", cache.bytes)]);
    let temporary = cache.temporary_bytes;
    metric("temporary_bytes", "gauge", "Bytes that streams have left on the disk.", &[("", temporary)]);
    metric(
        "given_up_files_total",
        "counter",
        "Files given up, by bounds or purged.",
        &[("", cache.given_up)],
    );
    let waiting = u64::from(stats.queued_events);
    metric("events_waiting", "gauge", "Events waiting for the application.", &[("", waiting)]);
    let dropped = stats.dropped_events;
    metric("events_dropped_total", "counter", "Events dropped because the queue was full.", &[("", dropped)]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_has_help_and_type() {
        let text = text(
            &ClientStats { from_peers: 17, dropped_events: 3, ..ClientStats::default() },
            &CacheStats::default(),
        );
        assert!(text.contains("pdtp_client_received_bytes_total{from=\"peers\"} 17\n"), "{text}");
        assert!(text.contains("pdtp_client_events_dropped_total 3\n"), "{text}");
        let (comments, samples): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("# "));
        for sample in samples {
            let name = sample.split(['{', ' ']).next().unwrap();
            for kind in ["HELP", "TYPE"] {
                let wanted = format!("# {kind} {name} ");
                assert_eq!(comments.iter().filter(|line| line.starts_with(&wanted)).count(), 1, "{sample}");
            }
        }
    }
}
