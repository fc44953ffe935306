//! The download engine: sessions with servers, downloads, the piece store, giving pieces to others, events.
//!
//! All functions here are synchronous and may be called from any thread; the work happens on a tokio runtime that
//! the [`Client`] owns. Nothing here prints, installs signal handlers, reads the environment or changes directory.

mod ahead;
mod asks;
mod cache;
mod config;
mod control;
mod dial;
mod dialect;
mod download;
mod error;
mod event;
mod exchange;
mod files;
mod hashes;
mod inner;
mod log;
mod metrics;
mod mirror;
mod names;
mod old;
mod priority;
mod progress;
mod queue;
mod reader;
mod resume;
mod session;
mod share;
mod store;
mod stream;
mod transfer;
mod tree;
mod types;
mod uploads;
mod verify;
mod wake;
mod watches;

pub use cache::CacheStats;
pub use config::{
    Config, DialectChoice, OPTIONS, OptionKind, OptionSpec, Seeding, boolean, bytes, no_option, policy,
};
pub use error::{Error, ErrorKind};
pub use event::{Change, Event, EventBody, EventMask};
pub use log::LogLevel;
#[cfg(feature = "ffi")]
pub(crate) use log::tell_panic;
pub use mirror::{Mirror, Pick};
pub use priority::Priority;
pub use reader::{DEFAULT_WINDOW, Reader, ReaderOptions};
pub use resume::Unfinished;
pub use share::{Share, ShareState};
pub use store::{Leftover, PieceStore, StoreError, leftover};
pub use types::*;
pub use verify::Answer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::{self, Digest, Entry, EntryKind, PdtpUri, UrlPath};
use inner::Runtime;
use session::LinkUser;
use transfer::Shared;
use tree::Pages;

/// Entries in one [`Listing`] at most; larger directories are listed page by page.
const MAX_LISTING: usize = 4 * 1024 * 1024;

/// A client: runtime, peer listener, event queue; any number of servers. Cloning shares it.
///
/// It ends with [`Client::shutdown`], or when the last of its handles is dropped: clients, sessions and transfers all
/// keep it. Either waits for what is under way, at most for the option `grace`, and then joins all threads; only when
/// it happens on a thread of an async runtime, which must not wait, the end is left to a thread of its own.
#[derive(Clone)]
pub struct Client {
    runtime: Arc<Runtime>,
}

impl Client {
    /// Starts the runtime. Opens no connection and no listener yet.
    pub fn new(config: Config) -> Result<Self, Error> {
        Ok(Self { runtime: Arc::new(Runtime::start(config)?) })
    }

    /// Begins to connect to the server of `uri`; its state arrives as events. `user_data` comes back in them.
    /// A second session with the same host and port shares the connection.
    pub fn open_session(&self, uri: &PdtpUri, user_data: usize) -> Result<Session, Error> {
        let link = LinkUser::open(&self.runtime.inner, &uri.host, uri.port)?;
        let id = self.runtime.inner.next_id();
        link.add_session(id, user_data);
        Ok(Session { inner: Arc::new(SessionInner { id, link, runtime: Arc::clone(&self.runtime) }) })
    }

    /// Changes an option at run time (those marked [`OptionSpec::runtime`]).
    pub fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        self.runtime.inner.check_open()?;
        self.runtime.inner.set(name, value)
    }

    /// The next event; waits up to `timeout` (`None` = for ever), or until [`Client::interrupt`] or the end of the
    /// client. One thread at a time.
    pub fn next_event(&self, timeout: Option<Duration>) -> Option<Event> {
        self.runtime.inner.queue.next(timeout)
    }

    /// The next event, if one is there. An interruption is left for the next who waits.
    #[cfg(feature = "ffi")]
    pub(crate) fn waiting_event(&self) -> Option<Event> {
        self.runtime.inner.queue.take()
    }

    /// A descriptor that is readable exactly while events wait. For poll and its kin only: never read or close it.
    /// Windows: a `SOCKET`.
    pub fn event_fd(&self) -> isize {
        self.runtime.inner.queue.fd()
    }

    /// Wakes whoever waits in `next_event` or a blocking call of this client (those answer
    /// [`ErrorKind::Interrupted`]). Async-signal-safe: counts and writes to descriptors.
    pub fn interrupt(&self) {
        self.runtime.inner.interrupt();
    }

    /// Puts [`EventBody::Posted`] at the end of the event queue: how another source of work (the C ABI hands data of
    /// streams to the application's own thread this way) shares the one queue, descriptor and wake-up. Never dropped
    /// and not maskable, so whoever posts bounds how many are outstanding. From any thread; does nothing once the
    /// client has ended.
    pub fn post(&self, tag: u64) {
        self.runtime.inner.queue.push(0, EventBody::Posted { tag });
    }

    /// Calls `wake` from a thread of the library whenever the event queue becomes non-empty. The function before is
    /// not called any more when this returns (unless it is the one that calls this).
    pub fn set_wakeup(&self, wake: Option<Arc<dyn Fn() + Send + Sync>>) {
        self.runtime.inner.queue.set_wakeup(wake);
    }

    /// Turns event types on and off; noise is off at first ([`EventMask::default`]).
    pub fn enable_events(&self, mask: EventMask) {
        self.runtime.inner.queue.set_mask(mask);
    }

    /// Totals.
    pub fn stats(&self) -> ClientStats {
        self.runtime.inner.stats()
    }

    /// Answers an [`EventBody::Decision`].
    ///
    /// # Errors
    /// [`ErrorKind::State`] when nothing waits for this decision, or not any more.
    pub fn decide(&self, id: u64, answer: Answer) -> Result<(), Error> {
        self.runtime.inner.verifier.decide(id, answer)
    }

    /// What is offered to others, and what that takes.
    pub fn cache_stats(&self) -> CacheStats {
        self.runtime.inner.cache_stats()
    }

    /// Gives up what is offered after its download, least recently used first, until no more than `keep` bytes are left.
    /// What is pinned stays. Files where the application has put them are not touched: they are only not given any more.
    pub fn purge_cache(&self, keep: u64) -> Result<(), Error> {
        let inner = Arc::clone(&self.runtime.inner);
        inner.check_open()?;
        self.runtime.wait(None, "purging", async move {
            inner.cache_purge(keep).await;
            Ok(())
        })
    }

    /// Whether uploads are under way.
    pub fn is_uploading(&self) -> bool {
        self.runtime.inner.listener.uploading() > 0
    }

    /// Tells the servers that nothing more is given, lets uploads under way finish for at most `grace`, stops
    /// downloads resumably, joins every thread. Later calls on the client or its handles answer an error. Events of
    /// ends are in the queue when it returns. A stream function that has not come back by then is left alone.
    pub fn shutdown(&self, grace: Duration) {
        self.runtime.shutdown(grace);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A link to one server; reconnects by itself until dropped. Cloning shares it.
///
/// Transfers that were started on it go on when it is dropped.
#[derive(Clone)]
pub struct Session {
    inner: Arc<SessionInner>,
}

/// In this order: the link goes before the runtime.
struct SessionInner {
    id: u64,
    link: LinkUser,
    runtime: Arc<Runtime>,
}

impl Drop for SessionInner {
    fn drop(&mut self) {
        self.link.remove_session(self.id);
    }
}

impl Session {
    /// Number of this session in events.
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// The name by which the server and peers know this end: what [`PeerTransfer::peer_id`] is on the other side. With a
    /// server that is spoken to in lines it is another one on each connection, since such servers never free a name.
    pub fn client_id(&self) -> String {
        self.inner.link.known_as()
    }

    /// How things stand.
    pub fn state(&self) -> SessionState {
        if self.inner.runtime.inner.is_closing() {
            return SessionState::Closed;
        }
        self.inner.link.state()
    }

    /// Who the server is; `None` before the first registration.
    pub fn server_info(&self) -> Option<ServerInfo> {
        self.inner.link.info()
    }

    /// Waits until the session is ready, or has failed for good, or `timeout` passes.
    ///
    /// # Errors
    /// Also when the first attempt has failed at all addresses, with the reason; the session goes on trying in the
    /// background all the same. Once it has been ready it waits for the next connection, however many attempts that
    /// takes.
    pub fn wait_ready(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let link = self.inner.link.clone();
        let what = format!("connecting to {}", link.host);
        self.inner.runtime.wait(timeout, &what, async move { link.ready().await })
    }

    /// Tries again now, after having been refused or while waiting to reconnect.
    pub fn reconnect(&self) {
        self.inner.link.reconnect();
    }

    /// A directory, all pages of it. Blocks; while there is no connection it waits for one.
    pub fn list(&self, path: &UrlPath, depth: u32, timeout: Option<Duration>) -> Result<Listing, Error> {
        self.list_pages(Pages::new(&self.inner.link, path.clone(), depth), path, timeout)
    }

    /// The same with [`Entry::about`]: titles, authors, durations and so on, as far as the server knows them.
    pub fn list_rich(&self, path: &UrlPath, depth: u32, timeout: Option<Duration>) -> Result<Listing, Error> {
        self.list_pages(Pages::rich(&self.inner.link, path.clone(), depth), path, timeout)
    }

    fn list_pages(
        &self,
        mut pages: Pages,
        path: &UrlPath,
        timeout: Option<Duration>,
    ) -> Result<Listing, Error> {
        let (path, is_rich) = (path.clone(), pages.is_rich());
        let what = format!("listing {path}");
        self.inner.runtime.wait(timeout, &what, async move {
            let mut entries = Vec::new();
            while let Some(page) = pages.next().await? {
                if entries.len() + page.len() > MAX_LISTING {
                    let text = format!("{path} has too many entries for one listing; list it page by page");
                    return Err(Error::new(ErrorKind::Limit, text));
                }
                entries.extend(page);
            }
            Ok(Listing { path: Some(path), entries, complete: true, is_rich, verdict: None })
        })
    }

    /// The same page by page as events; returns the operation id.
    pub fn list_start(&self, path: &UrlPath, depth: u32, user_data: usize) -> Result<u64, Error> {
        self.list_pages_start(Pages::new(&self.inner.link, path.clone(), depth), path, user_data)
    }

    /// The same with [`Entry::about`].
    pub fn list_rich_start(&self, path: &UrlPath, depth: u32, user_data: usize) -> Result<u64, Error> {
        self.list_pages_start(Pages::rich(&self.inner.link, path.clone(), depth), path, user_data)
    }

    fn list_pages_start(&self, mut pages: Pages, path: &UrlPath, user_data: usize) -> Result<u64, Error> {
        let inner = Arc::clone(&self.inner.runtime.inner);
        inner.check_open()?;
        let op = inner.next_id();
        let (path, is_rich) = (path.clone(), pages.is_rich());
        let handle = inner.handle.clone();
        let teller = Arc::clone(&inner);
        pages.tell_reading(move |entries| teller.queue.push(user_data, EventBody::Reading { op, entries }));
        handle.spawn(async move {
            let mut is_first = true;
            loop {
                let page = pages.next().await;
                inner.queue.forget_reading(op);
                let (result, last) = match page {
                    Ok(entries) => {
                        let last = pages.is_over();
                        let complete = is_first && last;
                        let entries = entries.unwrap_or_default();
                        (
                            Ok(Listing {
                                path: Some(path.clone()),
                                entries,
                                complete,
                                is_rich,
                                verdict: None,
                            }),
                            last,
                        )
                    }
                    Err(error) => (Err(error), true),
                };
                let taken = inner.queue.push_and_wait(user_data, EventBody::Listing { op, result, last });
                if last {
                    return;
                }
                is_first = false;
                // An error: nobody wants listings, or the client is ending.
                if taken.await.is_err() {
                    return;
                }
            }
        });
        Ok(op)
    }

    /// One file or directory, as a listing of one entry. Blocks (the server may have to hash the file first); while
    /// there is no connection it waits for one.
    pub fn stat(&self, path: &UrlPath, timeout: Option<Duration>) -> Result<Listing, Error> {
        let (link, path) = (self.inner.link.clone(), path.clone());
        let what = format!("looking at {path}");
        self.inner.runtime.wait(timeout, &what, async move { stat(&link, &path).await })
    }

    /// The same with [`Entry::about`], where the server has it.
    pub fn stat_rich(&self, path: &UrlPath, timeout: Option<Duration>) -> Result<Listing, Error> {
        let (link, path) = (self.inner.link.clone(), path.clone());
        let what = format!("looking at {path}");
        self.inner.runtime.wait(timeout, &what, async move { stat_rich(&link, &path).await })
    }

    /// The same as an event; returns the operation id.
    pub fn stat_rich_start(&self, path: &UrlPath, user_data: usize) -> Result<u64, Error> {
        let inner = Arc::clone(&self.inner.runtime.inner);
        inner.check_open()?;
        let op = inner.next_id();
        let (link, path) = (self.inner.link.clone(), path.clone());
        let handle = inner.handle.clone();
        handle.spawn(async move {
            let result = stat_rich(&link, &path).await;
            inner.queue.push(user_data, EventBody::Listing { op, result, last: true });
        });
        Ok(op)
    }

    /// [`Session::stat`] as an event; returns the operation id.
    pub fn stat_start(&self, path: &UrlPath, user_data: usize) -> Result<u64, Error> {
        let inner = Arc::clone(&self.inner.runtime.inner);
        inner.check_open()?;
        let op = inner.next_id();
        let (link, path) = (self.inner.link.clone(), path.clone());
        let handle = inner.handle.clone();
        handle.spawn(async move {
            let result = stat(&link, &path).await;
            inner.queue.push(user_data, EventBody::Listing { op, result, last: true });
        });
        Ok(op)
    }

    /// Has changes at or below `path` told as [`EventBody::Changed`], until [`Session::unwatch`] or the end of the
    /// session; returns the operation id. What was changed before the server heard of this is not told, so look after
    /// you began to watch. `path` need not exist yet.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when too much is watched; [`ErrorKind::State`] after the end of the client.
    pub fn watch(&self, path: &UrlPath, user_data: usize) -> Result<u64, Error> {
        let inner = &self.inner.runtime.inner;
        inner.check_open()?;
        let op = inner.next_id();
        self.inner.link.watch(op, self.inner.id, path, user_data)?;
        Ok(op)
    }

    /// Ends a watch. Events of it that wait already stay.
    pub fn unwatch(&self, op: u64) {
        self.inner.link.unwatch(op);
    }

    /// Offers a local file to others as `path`, once it was found to be what the server has there (and version
    /// `expect_root`, if given). How that goes is told by [`EventBody::Share`]. It is not copied, and read again only
    /// to be given.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when seeding is off, and after the end of the client; [`ErrorKind::Limit`].
    pub fn share(
        &self,
        path: &UrlPath,
        expect_root: Option<Digest>,
        local: PathBuf,
        user_data: usize,
    ) -> Result<Share, Error> {
        Share::start(
            &self.inner.runtime,
            self.inner.link.clone(),
            path.clone(),
            expect_root,
            local,
            user_data,
        )
    }

    /// Keeps what is offered of a path after its download, now or later, whatever the bounds; or no longer.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`]; [`ErrorKind::State`] after the end of the client.
    pub fn pin(&self, path: &UrlPath, on: bool) -> Result<(), Error> {
        self.inner.runtime.inner.check_open()?;
        self.inner.link.files.pin(path, on)
    }

    /// Starts a download. What can go wrong with it is told by the transfer, and by its last event.
    ///
    /// # Errors
    /// [`ErrorKind::State`] after the end of the client; [`ErrorKind::Argument`] where a part of a file is to become a file.
    pub fn start(&self, request: Request, user_data: usize) -> Result<Transfer, Error> {
        if request.tuning.range.is_some() && !matches!(request.target, Target::Stream(_)) {
            let text = "a range of a file goes to a callback or to events, not to a file or directory";
            return Err(Error::new(ErrorKind::Argument, text));
        }
        self.begin(request.path.clone(), download::Task::Get(request), user_data)
    }

    /// Opens a file to be read like a local one while it comes: from anywhere in it, with jumps. Blocks until it is
    /// known what it is (the server may have to hash it first); while there is no connection it waits for one.
    ///
    /// What was verified is kept in a sparse temporary file (in [`Config::cache_dir`]) until the last reader of the
    /// file has gone. A download of the same file, under way on this session or begun later, shares what comes.
    ///
    /// # Errors
    /// As of [`Session::start`], and of the file: [`ErrorKind::NotFound`], those of signatures, …;
    /// [`ErrorKind::Timeout`].
    pub fn open_reader(
        &self,
        path: &UrlPath,
        options: ReaderOptions,
        timeout: Option<Duration>,
    ) -> Result<Reader, Error> {
        Reader::open(&self.inner.runtime, &self.inner.link, path, options, timeout)
    }

    /// Makes a local directory like one on the server. Otherwise like [`Session::start`].
    ///
    /// # Errors
    /// [`ErrorKind::State`] after the end of the client.
    pub fn mirror(&self, mirror: Mirror, user_data: usize) -> Result<Transfer, Error> {
        self.begin(mirror.path.clone(), download::Task::Mirror(mirror), user_data)
    }

    fn begin(&self, path: UrlPath, task: download::Task, user_data: usize) -> Result<Transfer, Error> {
        begin(&self.inner.runtime, &self.inner.link, path, task, None, user_data)
    }
}

/// Asks for the file, and for what else is told of it, at the same time.
async fn stat_rich(link: &LinkUser, path: &UrlPath) -> Result<Listing, Error> {
    let rich = async {
        let parent = path.parent().unwrap_or_else(UrlPath::root);
        let rdl = link.ask_list(path, 0, None, true, None).await.ok()?.rdl?;
        tree::entries_of(&rdl, &parent).ok()?.into_iter().next()
    };
    let (listing, rich) = tokio::join!(stat(link, path), rich);
    let mut listing = listing?;
    listing.is_rich = true;
    if let (Some(entry), Some(rich)) = (listing.entries.first_mut(), rich) {
        entry.signed_by = rich.signed_by.filter(|_| entry.signed);
        // Of a directory the plain answer tells no date.
        entry.mtime = entry.mtime.or(rich.mtime);
        entry.about = rich.about;
        // By content, where the other is by name.
        entry.mime = rich.mime.or(entry.mime.take());
    }
    Ok(listing)
}

/// Starts a transfer. `record`: it is one that was left unfinished.
fn begin(
    runtime: &Arc<Runtime>,
    link: &LinkUser,
    path: UrlPath,
    task: download::Task,
    record: Option<resume::Record>,
    user_data: usize,
) -> Result<Transfer, Error> {
    {
        // The lock that the end of the client takes: no transfer begins after it.
        let _links = runtime.inner.links();
        runtime.inner.check_open()?;
        runtime.inner.transfer_started();
    }
    let tuning = match &task {
        download::Task::Get(request) => request.tuning.clone(),
        download::Task::Mirror(_) => Tuning::default(),
    };
    let down = runtime.inner.down.within(tuning.rate);
    let id = runtime.inner.next_id();
    let shared = Arc::new(Shared::new(id, user_data, path, down, tuning.priority));
    let running = transfer::Running { shared: Arc::clone(&shared), inner: Arc::clone(&runtime.inner) };
    runtime.inner.handle.spawn(download::run(link.clone(), running, task, record));
    Ok(Transfer { inner: Arc::new(TransferInner { shared, runtime: Arc::clone(runtime) }) })
}

async fn stat(link: &LinkUser, path: &UrlPath) -> Result<Listing, Error> {
    let info = link.ask_info(path, None).await?;
    let verdict = verify::judge(link, path, &info).await?.map(Box::new);
    let raw = path.file_name();
    let name = String::from_utf8_lossy(&raw).into_owned();
    let exact = path.as_str().rsplit('/').next().unwrap_or_default().to_owned();
    let entry = Entry {
        path: std::str::from_utf8(&raw).is_err().then_some(exact),
        name,
        kind: info.kind.unwrap_or(EntryKind::File),
        size: info.size.unwrap_or(0),
        mtime: info.mtime,
        root: info.root,
        chunk_size: info.chunk_size,
        mime: info.mime,
        signed: !info.signatures.is_empty(),
        ..wire::Entry::default()
    };
    Ok(Listing { path: path.parent(), entries: vec![entry], complete: true, is_rich: false, verdict })
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

/// A download: of a file or of a tree. Dropping it lets the job go on. Cloning shares it.
#[derive(Clone)]
pub struct Transfer {
    inner: Arc<TransferInner>,
}

struct TransferInner {
    shared: Arc<Shared>,
    runtime: Arc<Runtime>,
}

impl Transfer {
    /// Number of this transfer in events; never used again.
    pub fn id(&self) -> u64 {
        self.inner.shared.id
    }

    /// How things stand.
    pub fn state(&self) -> TransferState {
        self.inner.shared.state()
    }

    /// Numbers.
    pub fn progress(&self) -> Progress {
        self.inner.shared.progress()
    }

    /// Why it failed, once it has.
    pub fn error(&self) -> Option<Error> {
        self.inner.shared.error()
    }

    /// Stops asking for more until [`Transfer::resume`]. What is under way arrives.
    pub fn pause(&self) {
        self.inner.shared.set_paused(true);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.inner.shared.set_paused(false);
    }

    /// Bytes a second that it receives at most, 0 = as the client does. At once.
    pub fn set_rate(&self, bytes_per_second: u64) {
        self.inner.shared.down.set(bytes_per_second);
    }

    /// See [`Priority`]. At once.
    pub fn set_priority(&self, priority: Priority) {
        self.inner.shared.set_priority(priority);
    }

    /// Ends it. With `keep`, what was verified stays on disk for a later resume; else it is deleted (complete files
    /// of a tree stay). A second cancel, or one after the end, does nothing.
    pub fn cancel(&self, keep: bool) {
        self.inner.shared.cancel(keep);
    }

    /// Waits for the end. `Ok` when all of it is there.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let shared = &self.inner.shared;
        // Also after the end of the client.
        if shared.state().is_end() {
            return shared.error().map_or(Ok(()), Err);
        }
        let (waiting, what) = (Arc::clone(shared), format!("waiting for {}", shared.path));
        self.inner.runtime.wait(timeout, &what, async move { waiting.ended().await })
    }
}

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfer").field("id", &self.inner.shared.id).finish_non_exhaustive()
    }
}
