//! The download engine: sessions with servers, downloads, the piece store, giving pieces to others, events.
//!
//! All functions here are synchronous and may be called from any thread; the work happens on a tokio runtime that
//! the [`Client`] owns. Nothing here prints, installs signal handlers, reads the environment or changes directory.

mod config;
mod error;
mod event;
mod store;
mod types;

pub use config::{Config, OPTIONS, OptionKind, OptionSpec, Seeding};
pub use error::{Error, ErrorKind};
pub use event::{Event, EventBody, EventMask};
pub use store::{PieceStore, StoreError};
pub use types::*;

use std::sync::Arc;
use std::time::Duration;

use crate::wire::{PdtpUri, UrlPath};

/// A client: runtime, peer listener, event queue; any number of servers. Cloning shares it.
#[derive(Clone)]
pub struct Client {
    _inner: Arc<()>,
}

impl Client {
    /// Starts the runtime. Opens no connection and no listener yet.
    pub fn new(config: Config) -> Result<Self, Error> {
        let _ = config;
        todo!()
    }

    /// Begins to connect to the server of `uri`; its state arrives as events. `user_data` comes back in them.
    /// A second session with the same host and port shares the connection.
    pub fn open_session(&self, uri: &PdtpUri, user_data: usize) -> Result<Session, Error> {
        let _ = (uri, user_data);
        todo!()
    }

    /// Changes an option at run time (those marked [`OptionSpec::runtime`]).
    pub fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let _ = (name, value);
        todo!()
    }

    /// The next event; waits up to `timeout` (`None` = for ever), or until [`Client::interrupt`] or the end of the
    /// client. One thread at a time.
    pub fn next_event(&self, timeout: Option<Duration>) -> Option<Event> {
        let _ = timeout;
        todo!()
    }

    /// A descriptor that is readable exactly while events wait. For poll and its kin only: never read or close it.
    /// Windows: a `SOCKET`.
    pub fn event_fd(&self) -> isize {
        todo!()
    }

    /// Wakes whoever waits in `next_event` or a blocking call of this client (those answer
    /// [`ErrorKind::Interrupted`]). Async-signal-safe: sets a flag and writes to a descriptor.
    pub fn interrupt(&self) {
        todo!()
    }

    /// Puts [`EventBody::Posted`] at the end of the event queue: how another source of work (the C ABI hands data of
    /// streams to the application's own thread this way) shares the one queue, descriptor and wake-up. Never dropped
    /// and not maskable, so whoever posts bounds how many are outstanding. From any thread; does nothing once the
    /// client has ended.
    pub fn post(&self, tag: u64) {
        let _ = tag;
        todo!()
    }

    /// Calls `wake` from a thread of the library whenever the event queue becomes non-empty.
    pub fn set_wakeup(&self, wake: Option<Arc<dyn Fn() + Send + Sync>>) {
        let _ = wake;
        todo!()
    }

    /// Turns event types on and off; noise is off at first ([`EventMask::default`]).
    pub fn enable_events(&self, mask: EventMask) {
        let _ = mask;
        todo!()
    }

    /// Totals.
    pub fn stats(&self) -> ClientStats {
        todo!()
    }

    /// Whether uploads are under way.
    pub fn is_uploading(&self) -> bool {
        todo!()
    }

    /// Tells the servers that nothing more is given, lets uploads under way finish for at most `grace`, stops
    /// downloads resumably, joins every thread. Later calls on the client or its handles answer an error.
    pub fn shutdown(&self, grace: Duration) {
        let _ = grace;
        todo!()
    }
}

/// A link to one server; reconnects by itself until dropped. Cloning shares it.
#[derive(Clone)]
pub struct Session {
    _inner: Arc<()>,
}

impl Session {
    /// Number of this session in events.
    pub fn id(&self) -> u64 {
        todo!()
    }

    /// The name by which the server and peers know this end: what [`PeerTransfer::peer_id`] is on the other side.
    pub fn client_id(&self) -> String {
        todo!()
    }

    /// How things stand.
    pub fn state(&self) -> SessionState {
        todo!()
    }

    /// Who the server is; `None` before the first registration.
    pub fn server_info(&self) -> Option<ServerInfo> {
        todo!()
    }

    /// Waits until the session is ready, or has failed for good, or `timeout` passes.
    pub fn wait_ready(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let _ = timeout;
        todo!()
    }

    /// Tries again now, after having been refused or while waiting to reconnect.
    pub fn reconnect(&self) {
        todo!()
    }

    /// A directory, all pages of it. Blocks.
    pub fn list(&self, path: &UrlPath, depth: u32, timeout: Option<Duration>) -> Result<Listing, Error> {
        let _ = (path, depth, timeout);
        todo!()
    }

    /// The same page by page as events; returns the operation id.
    pub fn list_start(&self, path: &UrlPath, depth: u32, user_data: usize) -> Result<u64, Error> {
        let _ = (path, depth, user_data);
        todo!()
    }

    /// One file or directory, as a listing of one entry. Blocks (the server may have to hash the file first).
    pub fn stat(&self, path: &UrlPath, timeout: Option<Duration>) -> Result<Listing, Error> {
        let _ = (path, timeout);
        todo!()
    }

    /// The same as an event; returns the operation id.
    pub fn stat_start(&self, path: &UrlPath, user_data: usize) -> Result<u64, Error> {
        let _ = (path, user_data);
        todo!()
    }

    /// Starts a download.
    pub fn start(&self, request: Request, user_data: usize) -> Result<Transfer, Error> {
        let _ = (request, user_data);
        todo!()
    }
}

/// A download: of a file or of a tree. Dropping it lets the job go on. Cloning shares it.
#[derive(Clone)]
pub struct Transfer {
    _inner: Arc<()>,
}

impl Transfer {
    /// Number of this transfer in events; never used again.
    pub fn id(&self) -> u64 {
        todo!()
    }

    /// How things stand.
    pub fn state(&self) -> TransferState {
        todo!()
    }

    /// Numbers.
    pub fn progress(&self) -> Progress {
        todo!()
    }

    /// Why it failed, once it has.
    pub fn error(&self) -> Option<Error> {
        todo!()
    }

    /// Stops asking for more until [`Transfer::resume`].
    pub fn pause(&self) {
        todo!()
    }

    /// Goes on.
    pub fn resume(&self) {
        todo!()
    }

    /// Ends it. With `keep`, what was verified stays on disk for a later resume; else it is deleted. A second
    /// cancel, or one after the end, does nothing.
    pub fn cancel(&self, keep: bool) {
        let _ = keep;
        todo!()
    }

    /// Waits for the end. `Ok` when all of it is there.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let _ = timeout;
        todo!()
    }
}
