//! `pdtpd`'s server: listens, speaks PDTP and HTTP on one port, and drives the scheduler.
//!
//! - one task per connection, which only turns bytes into events and messages into bytes;
//! - one dispatcher task that owns the [`Swarm`](crate::swarm::Swarm) and everything about who is here;
//! - bounded queues between them.
//!
//! ```text
//!   listen ──▶ connection ──▶ control ──Event──▶ dispatcher ──▶ core ──▶ Swarm
//!                  │             ◀───Outbox──────    │
//!                  └──▶ service (HTTP) ──Event──▶    └──▶ jobs: hub, probe
//! ```
//!
//! It is not responsible for what files are and how they are hashed ([`crate::hub`]), nor for who should send what to
//! whom ([`crate::swarm`]), nor for the HTTP protocol ([`crate::peer::serve`]).

mod admission;
mod connection;
mod control;
mod core;
mod dispatcher;
mod early;
mod face;
mod full;
mod listen;
mod outbox;
mod probe;
mod random;
mod rules;
mod service;
mod shelf;
mod status;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::admission::{Admission, Limits};
use self::connection::Shared;
use self::core::{Core, Identity, Input};
use self::dispatcher::{Clock, Dispatcher, Event};
use self::face::Face;
use self::listen::ConnIds;
use self::random::Generator;
use self::rules::Rules;
pub use self::rules::{Directories, DirectoryRules, SendPolicy};
use self::service::Site;
use self::shelf::Shelf;
use self::status::Counters;
use crate::hub::Hub;
use crate::peer::RateLimiter;
use crate::swarm;
use crate::wire::token::Secret;
use crate::wire::{FEATURE_PIECES, limits};

/// For control connections to hear the last word at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Addresses to listen on; port 0 lets the system choose. `[::]` takes IPv4 too, and is `0.0.0.0` where there is no
    /// IPv6.
    pub listen: Vec<SocketAddr>,
    /// Name of the server in URIs; `None` = the host name of the machine, or the address where only particular ones
    /// are listened on.
    pub name: Option<String>,
    /// Most bytes a second the origin sends, over all clients; 0 = no limit.
    pub up_limit: u64,
    /// How the origin uses its line, where [`directories`](Self::directories) say nothing else.
    pub policy: SendPolicy,
    /// What holds for particular directories.
    pub directories: Directories,
    /// Greeting for clients.
    pub notice: Option<String>,
    /// How long a version that was replaced is given to those who are downloading it.
    pub old_version_grace: Duration,
    /// How long to let transfers finish at the end.
    pub grace: Duration,
    /// Most connections from one address (IPv6: from one /64).
    pub max_connections_per_address: usize,
    /// The same for each loopback address.
    pub max_connections_per_loopback_address: usize,
    /// Most connections in all.
    pub max_connections: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), crate::wire::DEFAULT_PORT)],
            name: None,
            up_limit: 0,
            policy: SendPolicy::default(),
            directories: Vec::new(),
            notice: None,
            old_version_grace: Duration::from_secs(3600),
            grace: Duration::from_secs(10),
            max_connections_per_address: limits::MAX_CONNECTIONS_PER_ADDRESS,
            max_connections_per_loopback_address: 4096,
            max_connections: 65_536,
        }
    }
}

/// Why the server does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system has no random numbers, without which nobody could be trusted.
    #[error("no random numbers from the system: {0}")]
    Random(String),
    /// A part of the server that must always run has failed.
    #[error("the server has failed and must be started again; please report this: {0}")]
    Failed(String),
}

/// A server that listens.
pub struct Server {
    config: ServerConfig,
    hub: Hub,
    name: String,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    identity: Identity,
    random: Generator,
}

impl Server {
    /// Opens the listeners. Inside a tokio runtime.
    pub async fn bind(config: ServerConfig, hub: Hub) -> Result<Self, ServerError> {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for &address in &config.listen {
            let failed = |source| ServerError::Listen { address, source };
            let listener = listen::open(address).map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            listeners.push(listener);
        }
        let mut random = Generator::from_system().map_err(|error| ServerError::Random(error.to_string()))?;
        let identity = Identity {
            id: random.array::<16>().iter().map(|b| format!("{b:02x}")).collect(),
            secret: Secret(random.array()),
            agent: concat!("pdtpd/", env!("CARGO_PKG_VERSION")).to_owned(),
            features: hub.has_odd_pieces().then(|| FEATURE_PIECES.to_owned()).into_iter().collect(),
            notice: config.notice.clone(),
            up_limit: config.up_limit,
            old_grace_us: u64::try_from(config.old_version_grace.as_micros()).unwrap_or(u64::MAX),
        };
        let name = config.name.clone().unwrap_or_else(|| default_name(&addresses));
        Ok(Self { config, hub, name, listeners, addresses, identity, random })
    }

    /// Where it listens, ports filled in.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// The name that URIs of this server have as host; an IPv6 address without brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Serves until `shutdown` completes, then says goodbye, lets transfers finish for at most the grace time, and
    /// returns.
    ///
    /// # Errors
    ///
    /// [`ServerError::Failed`] if it ends before, which only a defect can bring about.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServerError> {
        let Self { config, hub, name, listeners, addresses: _, identity, mut random } = self;
        let shelf = Arc::new(Shelf::default());
        let counters = Arc::new(Counters::default());
        let admission = Admission::new(Limits {
            per_address: config.max_connections_per_address,
            per_loopback_address: config.max_connections_per_loopback_address,
            total: config.max_connections,
        });
        let (events, queue) = mpsc::channel(dispatcher::QUEUE);
        let limiter = RateLimiter::new(config.up_limit);
        let rules = Arc::new(Rules::new(&config.directories, &limiter));
        let site = Arc::new(Site {
            name: name.clone(),
            agent: identity.agent.clone(),
            started: Instant::now(),
            face: Face::new(hub.clone(), name, limiter.clone()).with_rules(rules.clone()),
            hub: hub.clone(),
            shelf: shelf.clone(),
            secret: identity.secret.clone(),
            limiter,
            rules: rules.clone(),
            dispatcher: events.clone(),
            counters: counters.clone(),
            admission: admission.clone(),
        });

        let clock = Clock::start();
        let seed = u64::from_be_bytes(random.array());
        let frugal = config.policy == SendPolicy::Frugal;
        let swarm = swarm::Config { seed, frugal, ..swarm::Config::default() };
        let random = Box::new(move |out: &mut [u8]| random.fill(out));
        let core = Core::new(identity, swarm, shelf, random, clock.now()).with_rules(rules);
        let dispatcher = Dispatcher::new(core, clock, hub, counters.clone(), events.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(dispatcher.run(queue));

        let (close, closing) = watch::channel(false);
        let (busy, mut idle) = mpsc::channel(1);
        let shared =
            Arc::new(Shared { site, counters, dispatcher: events.clone(), closing: closing.clone() });
        let ids = Arc::new(ConnIds::default());
        for listener in listeners {
            let (admission, ids, shared) = (admission.clone(), ids.clone(), shared.clone());
            tasks.spawn(listen::accept(listener, admission, ids, shared, closing.clone(), busy.clone()));
        }
        drop((busy, closing, shared));

        tokio::select! {
            () = shutdown => {}
            Some(ended) = tasks.join_next() => {
                let why = ended.err().map_or_else(|| "ended too early".to_owned(), |error| error.to_string());
                return Err(ServerError::Failed(why));
            }
        }
        tracing::info!("going down");
        // The dispatcher and the listeners only end on our word, so there is always somebody to hear it.
        let _ = events.send(Event::Input(Input::GoingDown)).await;
        let _ = close.send(true);
        if timeout(config.grace, idle.recv()).await.is_err() {
            tracing::info!("some transfers were not finished in time");
        }
        let _ = events.send(Event::Stop).await;
        let ended = async { while tasks.join_next().await.is_some() {} };
        // Whoever is still here is cut off when `tasks` is dropped.
        let _ = timeout(FAREWELL, ended).await;
        Ok(())
    }
}

/// The name in URIs where the operator gave none: the address, where only particular ones are listened on, else the
/// name of the machine.
fn default_name(addresses: &[SocketAddr]) -> String {
    match addresses.first().map(SocketAddr::ip) {
        Some(ip) if !addresses.iter().any(|address| address.ip().is_unspecified()) => ip.to_string(),
        _ => host_name().unwrap_or_else(|| IpAddr::from([127, 0, 0, 1]).to_string()),
    }
}

/// The name of the machine.
#[cfg(unix)]
fn host_name() -> Option<String> {
    let mut name = [0u8; 256];
    #[allow(unsafe_code, reason = "no safe interface to gethostname among our dependencies")]
    // SAFETY: the buffer is ours, and its length is told; one byte is left for the end mark, which POSIX does not
    // promise when the name is cut off.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let name = std::ffi::CStr::from_bytes_until_nul(&name).ok()?.to_str().ok()?;
    (result == 0 && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(not(unix))]
fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok().filter(|name| !name.is_empty())
}
