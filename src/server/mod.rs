//! `pdtpd`'s server: listens, speaks PDTP and HTTP on one port, and drives the scheduler.
//!
//! - one task per connection, which only turns bytes into events and messages into bytes;
//! - one dispatcher task that owns the [`Swarm`](crate::swarm::Swarm) and everything about who is here;
//! - bounded queues between them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::hub::Hub;

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Addresses to listen on; port 0 lets the system choose. `[::]` takes IPv4 too.
    pub listen: Vec<SocketAddr>,
    /// Name of the server in URIs; `None` = the host name of the machine.
    pub name: Option<String>,
    /// Most bytes a second the origin sends, over all clients; 0 = no limit.
    pub up_limit: u64,
    /// Greeting for clients.
    pub notice: Option<String>,
    /// How long to let transfers finish at the end.
    pub grace: Duration,
}

/// Why the server does not start.
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
}

/// A server that listens.
pub struct Server {
    _private: (),
}

impl Server {
    /// Opens the listeners. Inside a tokio runtime.
    pub async fn bind(config: ServerConfig, hub: Hub) -> Result<Self, ServerError> {
        let _ = (config, hub);
        todo!()
    }

    /// Where it listens, ports filled in.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        todo!()
    }

    /// Serves until `shutdown` completes, then says goodbye, lets transfers finish for at most the grace time, and
    /// returns.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let _ = shutdown;
        todo!()
    }
}
