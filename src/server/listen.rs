//! Listening sockets, and accepting from them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::admission::Admission;
use super::connection::{self, Shared};
use super::core::ConnId;
use super::full;
use super::status::Counters;

/// Connections the kernel keeps for us while we are busy.
const BACKLOG: i32 = 1024;
/// Wait after the system refused a connection for want of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// What may happen many times a second is said again after this.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// Says now and then what happens often, and how often it did.
#[derive(Debug, Default)]
struct Seldom {
    said: Option<Instant>,
    times: u64,
}

impl Seldom {
    fn happens(&mut self, say: impl FnOnce(u64)) {
        self.times += 1;
        if self.said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            say(std::mem::take(&mut self.times));
            self.said = Some(Instant::now());
        }
    }
}

/// Listens on an address. `[::]` takes IPv4, too; where there is no IPv6 it becomes `0.0.0.0`.
pub(super) fn open(address: SocketAddr) -> io::Result<TcpListener> {
    match try_open(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && is_no_ipv6(&error) => {
            try_open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        other => other,
    }
}

fn try_open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // On Unix: do not wait for connections of a former run to time out. On Windows the option means another thing.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(unix)]
fn is_no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

#[cfg(not(unix))]
fn is_no_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable)
}

/// Numbers control connections.
#[derive(Debug, Default)]
pub(super) struct ConnIds(AtomicU64);

impl ConnIds {
    fn next(&self) -> ConnId {
        ConnId(self.0.fetch_add(1, Relaxed))
    }
}

/// Accepts connections until `stop`, then waits for them to end by themselves. Dropping the future ends them at
/// once. `busy` is cloned into every connection that moves something worth waiting for.
pub(super) async fn accept(
    listener: TcpListener,
    admission: Arc<Admission>,
    ids: Arc<ConnIds>,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    busy: mpsc::Sender<()>,
) {
    let mut connections = JoinSet::new();
    let (mut fully_used, mut exhausted) = (Seldom::default(), Seldom::default());
    let told = Arc::new(Semaphore::new(full::MOST));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => match admission.enter(from.ip()) {
                    Some(ticket) => {
                        Counters::add(&shared.counters.connections, 1);
                        prepare(&stream);
                        let (conn, shared, busy) = (ids.next(), shared.clone(), busy.clone());
                        connections.spawn(connection::serve(stream, conn, ticket, shared, busy));
                    }
                    None => {
                        Counters::add(&shared.counters.refused_connections, 1);
                        if let Ok(turn) = told.clone().try_acquire_owned() {
                            connections.spawn(async move {
                                full::turn_away(stream).await;
                                drop(turn);
                            });
                        }
                        if admission.is_full() {
                            fully_used.happens(|times| tracing::warn!(
                                times,
                                connections = admission.total(),
                                "as many connections as descriptors allow: others are refused (the hard limit decides: ulimit -Hn, LimitNOFILE=)"
                            ));
                        }
                    }
                },
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    exhausted.happens(|times| tracing::warn!(
                        %error, times, connections = admission.total(), "cannot accept connections: they wait"
                    ));
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => report(ended),
            () = closing(&mut stop) => break,
        }
    }
    drop((listener, busy));
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

async fn closing(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is reason enough. The guard must not live on.
    let _ = stop.wait_for(|&stop| stop).await.map(drop);
}

/// A connection's task must not panic; if one does, it takes only its connection with it.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection failed; please report this");
    }
}

fn prepare(stream: &TcpStream) {
    // Messages are written whole; waiting for more would only delay them. Works without it, too.
    let _ = stream.set_nodelay(true);
}

/// Errors of `accept` that concern only the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
