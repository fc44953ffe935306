//! What all parts of a client share, and its life: the runtime, calls that wait, the end.
//!
//! Ownership. The application's handles ([`super::Client`], sessions, transfers) share a [`Runtime`], which owns the
//! tokio runtime; tasks share an [`Inner`], which does not. So tasks never keep the runtime alive, and the last
//! handle to go ends everything.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::cache::Cache;
use super::dial::DialRules;
use super::dialect::Spoken;
use super::log::Log;
use super::priority::Precedence;
use super::progress::{Meter, Source};
use super::queue::Queue;
use super::session::{Link, LinkUser};
use super::share::Shares;
use super::uploads::Listener;
use super::verify::Verifier;
use super::wake::{InterruptReceiver, InterruptSender, interrupt_pair};
use super::{ClientStats, Config, Error, ErrorKind, Seeding};
use crate::peer::connect::Pool;
use crate::peer::{RateLimiter, block_pipe_signals};

/// Threads that run tasks: the work is waiting and copying, and hashing happens elsewhere.
const WORKERS: usize = 2;
/// Threads for the disk and for hashing. Few, so that with thousands of small files they are busy and find the next one
/// in line: a thread that sleeps has to be woken, which takes longer than a small file.
const MAX_BLOCKING_THREADS: usize = 8;
/// Exchanges with others under way at once; more wait in line.
const MAX_EXCHANGES: usize = 64;
/// How long the end waits for threads beyond the time allowed: those that compute are almost through.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// What the tasks of a client share.
#[derive(Debug)]
pub(super) struct Inner {
    config: Mutex<Config>,
    pub(super) handle: Handle,
    pub(super) queue: Queue,
    pub(super) pool: PoolBox,
    pub(super) down: RateLimiter,
    pub(super) up: RateLimiter,
    pub(super) totals: Totals,
    pub(super) precedence: Arc<Precedence>,
    pub(super) cache: Cache,
    pub(super) shares: Shares,
    pub(super) exchanges: Semaphore,
    pub(super) dial: Mutex<DialRules>,
    pub(super) listener: Listener,
    pub(super) verifier: Verifier,
    pub(super) spoken: Spoken,
    log: Option<Log>,
    links: Mutex<HashMap<(String, u16), Arc<Link>>>,
    /// Links kept because something is shared for good.
    kept: Mutex<Vec<LinkUser>>,
    next_id: AtomicU64,
    /// Transfers under way.
    transfers: watch::Sender<usize>,
    closing: watch::Sender<bool>,
    interruptions: watch::Sender<u64>,
    interrupt: InterruptSender,
    /// Threads that call stream functions.
    streams: Mutex<Vec<JoinHandle<()>>>,
}

/// [`Pool`] has nothing to print.
pub(super) struct PoolBox(pub(super) Pool);

impl std::fmt::Debug for PoolBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl std::ops::Deref for PoolBox {
    type Target = Pool;
    fn deref(&self) -> &Pool {
        &self.0
    }
}

/// Sums over the life of a client.
#[derive(Debug, Default)]
pub(super) struct Totals {
    from_origin: AtomicU64,
    from_peers: AtomicU64,
    pub(super) uploaded: AtomicU64,
    pub(super) wasted: AtomicU64,
    /// Exchanges under way.
    pub(super) exchanges: AtomicU32,
    rates: Mutex<Rates>,
}

#[derive(Debug, Default)]
struct Rates {
    down: Meter,
    up: Meter,
}

impl Totals {
    pub(super) fn received(&self, bytes: u64, from: Source) {
        match from {
            Source::Origin => &self.from_origin,
            Source::Peer => &self.from_peers,
        }
        .fetch_add(bytes, Ordering::Relaxed);
        self.rates().down.add(bytes, Instant::now());
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.uploaded.fetch_add(bytes, Ordering::Relaxed);
        self.rates().up.add(bytes, Instant::now());
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    pub(super) fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn seeding(&self) -> Seeding {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).seeding
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).connect_timeout
    }

    /// See [`super::Client::set`].
    pub(super) fn set(self: &Arc<Self>, name: &str, value: &str) -> Result<(), Error> {
        let spec = Config::spec(name)?;
        if !spec.runtime {
            let text = format!("option {} can only be set before the client is started", spec.name);
            return Err(Error::new(ErrorKind::State, text));
        }
        let (before, after) = {
            let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
            let before = config.clone();
            config.set(name, value)?;
            (before, config.clone())
        };
        self.down.set(after.down_limit);
        self.up.set(after.up_limit);
        if let Some(log) = &self.log {
            log.set_level(after.log_level);
        }
        if (before.seed_bytes, before.cache_bytes) != (after.seed_bytes, after.cache_bytes) {
            let inner = Arc::clone(self);
            self.handle.spawn(async move { inner.cache_enforce(None).await });
        }
        if before.seeding != after.seeding {
            let inner = Arc::clone(self);
            self.handle.spawn(async move { inner.seeding_changed(before.seeding, after.seeding).await });
        }
        Ok(())
    }

    async fn seeding_changed(self: Arc<Self>, before: Seeding, after: Seeding) {
        if after != Seeding::Always {
            self.kept().clear();
        }
        let idle = *self.transfers.borrow() == 0;
        let links: Vec<_> = self.links().values().cloned().collect();
        for link in links {
            if after == Seeding::Off || (after == Seeding::Downloading && idle) {
                link.withdraw_shares(after == Seeding::Off).await;
            }
            // The server knows from the registration whether anything may be asked of this client.
            if (before == Seeding::Off) != (after == Seeding::Off) {
                link.register_anew();
            }
        }
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn links(&self) -> MutexGuard<'_, HashMap<(String, u16), Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all_links(&self) -> Vec<Arc<Link>> {
        self.links().values().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<LinkUser>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is shared over this link until the client ends, whether its sessions stay or not.
    pub(super) fn keep(&self, link: &LinkUser) {
        let mut kept = self.kept();
        if !kept.iter().any(|known| Arc::ptr_eq(known, link)) {
            kept.push(link.clone());
        }
    }

    /// Opens the peer listener if it is not open yet; its port.
    pub(super) async fn listen(self: &Arc<Self>) -> Result<u16, Error> {
        let port = self.config().listen_port;
        self.listener.open(self, port).await
    }

    /// A transfer begins.
    pub(super) fn transfer_started(&self) {
        self.transfers.send_modify(|transfers| *transfers += 1);
    }

    /// A transfer has ended; after the last one, sharing ends if it was only for the time of downloads.
    pub(super) async fn transfer_ended(&self) {
        let mut is_last = false;
        self.transfers.send_modify(|transfers| {
            *transfers -= 1;
            is_last = *transfers == 0;
        });
        if is_last && self.seeding() == Seeding::Downloading {
            for link in self.all_links() {
                link.withdraw_shares(false).await;
            }
        }
    }

    pub(super) fn add_stream(&self, thread: JoinHandle<()>) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|thread| !thread.is_finished());
        streams.push(thread);
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        if *self.closing.borrow() {
            return Err(Error::new(ErrorKind::State, "the client has been shut down"));
        }
        Ok(())
    }

    /// Completes when the client begins to end.
    pub(super) async fn closing(&self) {
        // The sender lives as long as `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Async-signal-safe.
    pub(super) fn interrupt(&self) {
        self.queue.interrupt();
        self.interrupt.send();
    }

    async fn pass_interruptions_on(self: Arc<Self>, receiver: InterruptReceiver) {
        while receiver.recv().await.is_some() {
            self.queue.wake_interrupted();
            self.interruptions.send_replace(self.queue.interruptions());
        }
    }

    pub(super) fn stats(&self) -> ClientStats {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let now = Instant::now();
        let (down_rate, up_rate) = {
            let mut rates = self.totals.rates();
            (rates.down.rate(now), rates.up.rate(now))
        };
        let (queued_events, dropped_events) = self.queue.counts();
        ClientStats {
            from_origin: load(&self.totals.from_origin),
            from_peers: load(&self.totals.from_peers),
            uploaded: load(&self.totals.uploaded),
            wasted: load(&self.totals.wasted),
            down_rate,
            up_rate,
            active_transfers: u32::try_from(*self.transfers.borrow()).unwrap_or(u32::MAX),
            peer_connections: self.totals.exchanges.load(Ordering::Relaxed) + self.listener.uploading(),
            queued_events,
            dropped_events,
            listen_port: self.listener.port(),
        }
    }

    /// What is to be said and waited for before the runtime goes.
    async fn wind_up(self: Arc<Self>) {
        // Transfers see by themselves that the client is closing.
        let _ = self.transfers.subscribe().wait_for(|transfers| *transfers == 0).await;
        let links = self.all_links();
        for link in &links {
            link.withdraw_shares(true).await;
        }
        self.listener.drained().await;
        for link in &links {
            link.stop();
        }
        for link in &links {
            link.closed().await;
        }
    }
}

/// Owns the runtime; see the module.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) inner: Arc<Inner>,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
}

impl Runtime {
    pub(super) fn start(config: Config) -> Result<Self, Error> {
        let failed = |what: &'static str| move |error| Error::io(what, &error);
        let log = config.log.then(|| Log::new(config.log_level));
        let of_threads = log.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_name("pdtp")
            .on_thread_start(move || {
                block_pipe_signals();
                if let Some(log) = &of_threads {
                    log.enter_thread();
                }
            })
            .on_thread_stop(Log::leave_thread)
            .enable_all()
            .build()
            .map_err(failed("cannot start threads"))?;
        let queue = Queue::new(config.event_queue).map_err(failed("cannot open an event descriptor"))?;
        let (interrupt, receiver, pool) = {
            let _inside = runtime.enter();
            let (interrupt, receiver) = interrupt_pair().map_err(failed("cannot open a socket pair"))?;
            (interrupt, receiver, Pool::new(config.connect_timeout))
        };
        let verifier = Verifier::open(&config)?;
        let inner = Arc::new(Inner {
            handle: runtime.handle().clone(),
            queue,
            pool: PoolBox(pool),
            down: RateLimiter::new(config.down_limit),
            up: RateLimiter::new(config.up_limit),
            totals: Totals::default(),
            precedence: Arc::default(),
            cache: Cache::default(),
            shares: Shares::default(),
            exchanges: Semaphore::new(MAX_EXCHANGES),
            dial: Mutex::default(),
            listener: Listener::default(),
            verifier,
            spoken: Spoken::default(),
            log,
            links: Mutex::default(),
            kept: Mutex::default(),
            next_id: AtomicU64::new(1),
            transfers: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            interruptions: watch::Sender::new(0),
            interrupt,
            streams: Mutex::default(),
            config: Mutex::new(config),
        });
        if let Some(log) = &inner.log {
            log.belongs_to(&inner);
        }
        runtime.spawn(Arc::clone(&inner).pass_interruptions_on(receiver));
        Ok(Self { inner, runtime: Mutex::new(Some(runtime)) })
    }

    /// Waits on this thread for `future`, which runs on the runtime. Works on any thread, also one of another
    /// runtime: nothing is entered, a channel is waited on.
    ///
    /// # Errors
    /// Besides those of `future`: [`ErrorKind::Timeout`], [`ErrorKind::Interrupted`], and [`ErrorKind::State`] when
    /// the client ends.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        timeout: Option<Duration>,
        what: &str,
        future: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        let deadline = timeout.map(|timeout| (timeout, tokio::time::Instant::now().checked_add(timeout)));
        let seen = inner.queue.interruptions();
        let what = what.to_owned();
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.inner.handle.spawn(async move {
            let mut interruptions = inner.interruptions.subscribe();
            let too_late = async {
                match deadline {
                    Some((_, Some(at))) => tokio::time::sleep_until(at).await,
                    // For ever, or beyond the end of time.
                    _ => std::future::pending().await,
                }
            };
            let answer = tokio::select! {
                biased;
                answer = future => answer,
                _ = interruptions.wait_for(|count| *count > seen) => {
                    Err(Error::new(ErrorKind::Interrupted, format!("{what}: interrupted")))
                }
                () = inner.closing() => {
                    Err(Error::new(ErrorKind::State, format!("{what}: the client has been shut down")))
                }
                () = too_late => {
                    let limit = timeout.unwrap_or_default();
                    Err(Error::new(ErrorKind::Timeout, format!("{what}: no answer within {limit:?}")))
                }
            };
            // The caller waits until there is an answer.
            let _ = sender.send(answer);
        });
        receiver.recv().unwrap_or_else(|_| Err(Error::new(ErrorKind::State, "the client has been shut down")))
    }

    /// See [`super::Client::shutdown`]. A second call, also a concurrent one, does nothing.
    pub(super) fn shutdown(&self, grace: Duration) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(runtime) = runtime else { return };
        let deadline = Instant::now() + grace;
        let inner = Arc::clone(&self.inner);
        {
            // Under the lock under which links are made: none is made after this.
            let _links = inner.links();
            inner.closing.send_replace(true);
        }
        let (sender, receiver) = crossbeam_channel::bounded::<()>(1);
        let winding_up = Arc::clone(&inner).wind_up();
        runtime.spawn(async move {
            winding_up.await;
            drop(sender);
        });
        // Ends by the sender going away, at the latest with the runtime.
        let _ = receiver.recv_timeout(grace);
        inner.queue.close();

        let end = move || {
            let left = deadline.saturating_duration_since(Instant::now());
            runtime.shutdown_timeout(left.max(LAST_GRACE));
            let streams = std::mem::take(&mut *inner.streams.lock().unwrap_or_else(PoisonError::into_inner));
            for thread in streams {
                // A function of the application that does not come back is left alone, as is the one that is
                // ending the client from within.
                let deadline = deadline + LAST_GRACE;
                while !thread.is_finished() && Instant::now() < deadline {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                if thread.is_finished() {
                    let _ = thread.join();
                }
            }
            // Breaks the circle of links and what they share.
            inner.kept().clear();
            inner.links().clear();
        };
        // A thread of a runtime, ours or another, must not wait for one to end: it is left to a thread of its own.
        match std::thread::Builder::new().name("pdtp-end".into()).spawn(end) {
            Ok(thread) if Handle::try_current().is_err() => drop(thread.join()),
            _ => {}
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let grace = self.inner.config().grace;
        self.shutdown(grace);
    }
}
