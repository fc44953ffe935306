//! What is said on standard output (where the server is to be found) and on standard error (logs).

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pdtp::hub::Hub;
use pdtp::server::Server;
use pdtp::wire::{DEFAULT_PORT, PdtpUri, UrlPath};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use super::args::Settings;

/// How often to look whether the first scan is over.
const SCAN_POLL: Duration = Duration::from_millis(100);

/// Logs go to standard error; `RUST_LOG` says more precisely what.
pub(crate) fn init_logs(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Where the server is to be found.
#[derive(Debug)]
pub(crate) struct Places {
    name: String,
    addresses: Vec<SocketAddr>,
    uris: Vec<String>,
    status: Vec<String>,
}

impl Places {
    /// `is_named`: the operator has given a name, which then goes for all addresses.
    pub(crate) fn new(server: &Server, is_named: bool) -> Self {
        let addresses = server.addresses();
        let (mut uris, mut status) = (Vec::new(), Vec::new());
        for address in &addresses {
            let is_particular = !address.ip().is_unspecified();
            let host =
                if is_named || !is_particular { server.name().to_owned() } else { address.ip().to_string() };
            let port = address.port();
            let uri = PdtpUri {
                host: host.clone(),
                port,
                path: UrlPath::root(),
                is_dir: true,
                root: None,
                keys: Vec::new(),
            };
            let uri = uri.to_string();
            if uris.contains(&uri) {
                continue;
            }
            uris.push(uri);
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            status.push(format!("http://{host}:{port}/.pdtp/status"));
        }
        Self { name: server.name().to_owned(), addresses, uris, status }
    }
}

/// One place a line; nobody who reads them has to know more.
pub(crate) fn as_lines(places: &Places) {
    for line in places.uris.iter().chain(&places.status) {
        say(line);
    }
}

/// All in one line.
pub(crate) fn as_json(places: &Places, settings: &Settings, hub: &Hub) {
    let addresses: Vec<_> = places.addresses.iter().map(SocketAddr::to_string).collect();
    let port = places.addresses.first().map_or(DEFAULT_PORT, SocketAddr::port);
    let line = json!({
        "event": "listening",
        "uris": places.uris,
        "status": places.status,
        "addresses": addresses,
        "name": places.name,
        "port": port,
        "dir": settings.dir.to_string_lossy(),
        "files": hub.stats().scanned.then(|| hub.stats().files),
        "pid": std::process::id(),
    });
    say(&line.to_string());
}

/// Tells how much there is to serve, as soon as it is known.
pub(crate) async fn files_when_known(dir: PathBuf, hub: Hub) {
    let stats = loop {
        let stats = hub.stats();
        if stats.scanned {
            break stats;
        }
        tokio::time::sleep(SCAN_POLL).await;
    };
    let files = if stats.files == 1 { "file" } else { "files" };
    say(&format!("{}: {} {files}, {} bytes", dir.display(), stats.files, stats.bytes));
}

/// Writes a line at once. That nobody reads it is no reason not to serve.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
