//! The task that owns the [`Core`]: feeds it what comes from the connections and does what it says.
//!
//! Anything that waits for a disk or another host runs in tasks of its own and comes back as an input. A file that is
//! already hashed is looked up within the turn, so that the first transfer leaves together with the answers to what
//! was asked before it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::sleep_until;

use super::core::{ConnId, Core, Grant, Input, List, Now, Output};
use super::early::Early;
use super::outbox::{Outbox, Overflow, READ_PAUSE, Turn};
use super::probe::probe;
use super::status::{Counters, SwarmStatus};
use crate::hub::{FileVersion, Form, Hub, HubError, View};
use crate::swarm::Time;
use crate::wire::{self, ErrorCode, Message, UrlPath, limits};

/// Events waiting for the dispatcher; whoever has more to say waits.
pub(super) const QUEUE: usize = 256;
/// Events taken in one turn; what they lead to is written together.
const TURN: usize = 64;
/// Directories read at once.
const MAX_LISTS: usize = 8;
/// Files whose metadata somebody waits for at a time; the others wait in line.
const MAX_LOOKS: usize = 32;
/// Clients dialled at once.
const MAX_PROBES: usize = 64;
/// Versions compared with the disk at once.
const MAX_CHECKS: usize = 8;
/// How often `hashing` and `reading` are told.
const TELL_INTERVAL: Duration = Duration::from_millis(500);
/// How often those are looked at who have yet to be told of changes in the tree.
const WATCHERS_POLL: Duration = Duration::from_millis(5);
/// What a listing must leave free in a frame: framing, type, id, cursor.
const LISTING_OVERHEAD: usize = 1024;

/// What reaches the dispatcher.
#[derive(Debug)]
pub(super) enum Event {
    /// A control connection, and where to put what is said to it.
    Opened { conn: ConnId, remote: SocketAddr, local: SocketAddr, outbox: Arc<Outbox> },
    /// For the core.
    Input(Input),
    /// The same, and what is given back when it has been answered.
    Answer { input: Input, turn: Turn },
    /// May this client have these bytes from the origin?
    Grant {
        client_id: String,
        path: UrlPath,
        bytes: Range<u64>,
        answer: oneshot::Sender<Option<Arc<FileVersion>>>,
    },
    /// An early GET of this name waits.
    Early { name: String, answer: oneshot::Sender<Grant> },
    /// For the status page, as it is shown to this address.
    Status { visitor: IpAddr, answer: oneshot::Sender<SwarmStatus> },
    /// Close all connections and end.
    Stop,
}

/// See the module.
pub(super) struct Dispatcher {
    core: Core,
    hub: Hub,
    counters: Arc<Counters>,
    /// For jobs to report back.
    own: mpsc::Sender<Event>,
    outboxes: HashMap<ConnId, Arc<Outbox>>,
    /// Outboxes filled in this turn.
    touched: HashSet<ConnId>,
    outputs: Vec<Output>,
    early: Early<Grant>,
    clock: Clock,
    lists: Arc<Semaphore>,
    /// Entries gone through for all listings.
    entries_read: Arc<AtomicU64>,
    looks: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    checks: Arc<Semaphore>,
}

/// Where the core's time comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { time: Time(micros), unix: unix_now() }
    }

    fn instant(&self, time: Time) -> Instant {
        self.start + Duration::from_micros(time.0)
    }
}

/// Unix seconds; 0 for clocks set before 1970.
pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Dispatcher {
    pub(super) fn new(
        core: Core,
        clock: Clock,
        hub: Hub,
        counters: Arc<Counters>,
        own: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            core,
            hub,
            counters,
            own,
            outboxes: HashMap::new(),
            touched: HashSet::new(),
            outputs: Vec::new(),
            early: Early::default(),
            clock,
            lists: Arc::new(Semaphore::new(MAX_LISTS)),
            entries_read: Arc::default(),
            looks: Arc::new(Semaphore::new(MAX_LOOKS)),
            probes: Arc::new(Semaphore::new(MAX_PROBES)),
            checks: Arc::new(Semaphore::new(MAX_CHECKS)),
        }
    }

    /// Runs until [`Event::Stop`].
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut turn = Vec::with_capacity(TURN);
        let mut changes = self.hub.listen();
        loop {
            let mut deadline = self.core.next_timeout().map(|at| self.clock.instant(at));
            if self.core.waiting_watchers().next().is_some() {
                let soon = Instant::now() + WATCHERS_POLL;
                deadline = Some(deadline.map_or(soon, |at| at.min(soon)));
            }
            tokio::select! {
                _ = events.recv_many(&mut turn, TURN) => {}
                Some(change) = changes.next() => turn.push(Event::Input(Input::News(change))),
                () = sleep_until_or_forever(deadline) => {}
            }
            for event in turn.drain(..) {
                if matches!(event, Event::Stop) {
                    self.outboxes.values().for_each(|outbox| outbox.close());
                    return;
                }
                self.take(event);
            }
            if self.core.next_timeout().is_some_and(|at| at <= self.clock.now().time) {
                self.feed(Input::Tick);
            }
            self.tell_watchers();
            for conn in self.touched.drain() {
                if let Some(outbox) = self.outboxes.get(&conn) {
                    outbox.flush();
                }
            }
        }
    }

    /// Tells of changes in the tree as much as there is room for.
    fn tell_watchers(&mut self) {
        let waiting: Vec<_> = self.core.waiting_watchers().collect();
        for conn in waiting {
            if self.outboxes.get(&conn).is_none_or(|outbox| outbox.backlog() < READ_PAUSE) {
                self.feed(Input::Room { conn });
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Opened { conn, remote, local, outbox } => {
                self.outboxes.insert(conn, outbox);
                self.feed(Input::Connected { conn, remote, local });
            }
            Event::Input(input) => {
                match &input {
                    Input::Message { .. } => Counters::add(&self.counters.messages_in, 1),
                    // Whoever wants to say something to it need not go on.
                    Input::Closed { conn } => {
                        self.outboxes.remove(conn).into_iter().for_each(|outbox| outbox.close());
                    }
                    Input::GoingDown => self.early.close(),
                    _ => {}
                }
                self.feed(input);
            }
            Event::Answer { input, turn } => {
                self.feed(input);
                drop(turn);
            }
            // Whoever asked may have gone meanwhile.
            Event::Grant { client_id, path, bytes, answer } => {
                let _ = answer.send(self.core.origin_grant(&client_id, &path, &bytes));
            }
            Event::Early { name, answer } => self.early.asked(name, answer, Instant::now()),
            Event::Status { visitor, answer } => {
                let _ = answer.send(self.core.status(visitor));
            }
            Event::Stop => {}
        }
    }

    /// Hands an input to the core, and what is known at once in answer to its outputs, until it has no more.
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outputs = std::mem::take(&mut self.outputs);
            self.core.handle(input, self.clock.now(), &mut outputs);
            for output in outputs.drain(..) {
                inputs.extend(self.perform(output));
            }
            self.outputs = outputs;
        }
    }

    /// Does what the core says. What is known at once comes back as an input.
    fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Send { conn, message } => return self.send(conn, &message),
            Output::Close { conn } => {
                if let Some(outbox) = self.outboxes.remove(&conn) {
                    outbox.close();
                }
            }
            Output::Find { path } => return self.find(path),
            Output::List(list) => self.list(list),
            Output::Probe { conn, address, hello } => {
                let (own, permits) = (self.own.clone(), self.probes.clone());
                tokio::spawn(async move {
                    let permit = permits.acquire_owned().await;
                    let ok = probe(address, hello.as_ref()).await;
                    drop(permit);
                    let _ = own.send(Event::Input(Input::Probed { conn, ok })).await;
                });
            }
            Output::AnswerEarly { name, grant } => self.early.granted(name, grant, Instant::now()),
            Output::Check { file, version } => {
                let (hub, own, permits) = (self.hub.clone(), self.own.clone(), self.checks.clone());
                tokio::spawn(async move {
                    let permit = permits.acquire_owned().await;
                    let good = tokio::task::spawn_blocking(move || hub.still_good(&version)).await;
                    drop(permit);
                    // What cannot be checked is not vouched for.
                    let input = Input::Checked { file, good: good.unwrap_or(false) };
                    let _ = own.send(Event::Input(input)).await;
                });
            }
        }
        None
    }

    fn send(&mut self, conn: ConnId, message: &Message) -> Option<Input> {
        let outbox = self.outboxes.get(&conn)?;
        match outbox.push(message) {
            Ok(Ok(())) => {
                Counters::add(&self.counters.messages_out, 1);
                self.touched.insert(conn);
                None
            }
            Ok(Err(error)) => {
                // URLs are echoed, so a client can have an answer outgrow a frame. It gets none then.
                tracing::debug!(?conn, kind = message.kind(), %error, "not sent");
                None
            }
            Err(Overflow) => {
                tracing::info!(?conn, "reads too slowly: dropped");
                Counters::add(&self.counters.slow_consumers, 1);
                let why = "you read more slowly than you ask";
                outbox.push_last(&self.core.last_word(conn, ErrorCode::SlowConsumer, why));
                self.outboxes.remove(&conn);
                Some(Input::Closed { conn })
            }
        }
    }

    /// Reads a page of a directory in a task, which says how far it is, as long as it or those it waits for get on. A client
    /// that has gone meanwhile is not read for.
    fn list(&self, list: List) {
        let List { conn, url, path, id, depth, cursor, is_rdl, address } = list;
        let Some(outbox) = self.outboxes.get(&conn).cloned() else { return };
        // Who waits for the metadata of one file holds up no listing.
        let permits = if depth == 0 { self.looks.clone() } else { self.lists.clone() };
        let (hub, own, rules) = (self.hub.clone(), self.own.clone(), self.core.rules());
        let max_bytes = limits::MAX_FRAME - LISTING_OVERHEAD - json_length(&url);
        let (read, read_by_all) = (Arc::new(AtomicU64::new(0)), self.entries_read.clone());
        let (reading, reading_by_all) = (read.clone(), read_by_all.clone());
        let listing = async move {
            let answer = outbox.begin_answer().await;
            let permit = permits.acquire_owned().await;
            if outbox.is_closed() {
                return None;
            }
            let result = tokio::task::spawn_blocking(move || {
                let (cursor, most) = (cursor.as_deref(), limits::MAX_LIST_ENTRIES);
                let form = if is_rdl { Form::RdlInJson } else { Form::Entries };
                let told = |more| {
                    reading.fetch_add(more, Ordering::Relaxed);
                    reading_by_all.fetch_add(more, Ordering::Relaxed);
                };
                let view = View { form, audience: &rules.audience(address), told: &told };
                hub.list(&path, depth, cursor, most, max_bytes, view)
            });
            let result = result.await.unwrap_or_else(|panic| Err(HubError::Io(panic.to_string())));
            drop(permit);
            Some((result, outbox.turn(answer).await))
        };
        tokio::spawn(async move {
            tokio::pin!(listing);
            let mut seen = (0, read_by_all.load(Ordering::Relaxed));
            let done = loop {
                tokio::select! {
                    done = &mut listing => break done,
                    () = tokio::time::sleep(TELL_INTERVAL) => {}
                }
                let now = (read.load(Ordering::Relaxed), read_by_all.load(Ordering::Relaxed));
                // One that waits in line gets on with the others.
                let gets_on = if now.0 == 0 { now.1 != seen.1 } else { now.0 != seen.0 };
                if gets_on {
                    let reading = wire::Reading { url: url.clone(), id, entries: now.0 };
                    // The next word says more anyway.
                    let _ = own.try_send(Event::Input(Input::Reading { conn, reading }));
                }
                seen = now;
            };
            // No dispatcher, no client to answer.
            if let Some((result, turn)) = done {
                let _ =
                    own.send(Event::Answer { input: Input::Listed { conn, url, id, result }, turn }).await;
            }
        });
    }

    /// Looks up a file: at once if the hub knows it, else in a task.
    fn find(&self, path: UrlPath) -> Option<Input> {
        let (hub, own, asked) = (self.hub.clone(), self.own.clone(), path.clone());
        let progress = self.hashing_reporter(&path);
        let mut search: Pin<Box<dyn Future<Output = Result<Arc<FileVersion>, HubError>> + Send>> =
            Box::pin(async move { hub.version(&asked, progress).await });
        // Should it not be ready, the task below polls it again with a waker that works.
        if let Poll::Ready(result) = search.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(Input::Found { path, result });
        }
        tokio::spawn(async move {
            let result = search.await;
            let _ = own.send(Event::Input(Input::Found { path, result })).await;
        });
        None
    }

    /// Tells the core how far the hashing of a file is, not too often, and not if it is busy.
    fn hashing_reporter(&self, path: &UrlPath) -> impl FnMut(u64, u64) + Send + use<> {
        let (own, path) = (self.own.clone(), path.clone());
        let mut last = Instant::now();
        move |done, total| {
            if last.elapsed() >= TELL_INTERVAL {
                last = Instant::now();
                // The next report says more anyway.
                let _ = own.try_send(Event::Input(Input::Hashing { path: path.clone(), done, total }));
            }
        }
    }
}

async fn sleep_until_or_forever(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Bytes that `text` takes in JSON, without quotes.
fn json_length(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            c if c < ' ' => 6,
            c => c.len_utf8(),
        })
        .sum()
}
