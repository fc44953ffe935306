//! The link to one server: dials, registers, keeps alive, dials again; hands what comes in to those it is for.
//!
//! One link serves all sessions and transfers of a client with one server. Connections come and go under it: a
//! [`Conn`] is one of them, and everything that belongs to it ends with it. Jobs wait for a connection, use it as
//! long as it lasts, and say again on the next one what they have and want.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout, timeout_at};

use super::ahead::Early;
use super::asks::{AskError, Asked, Asks, Reading, Refusal, printable};
use super::control::{self, Incoming, Outgoing, ReadError};
use super::dialect::Opening;
use super::event::EventBody;
use super::exchange;
use super::files::{Files, Held, Upset};
use super::inner::Inner;
use super::old::{self, Old};
use super::progress::Numbers;
use super::watches::Watches;
use super::{Error, ErrorKind, Seeding, ServerInfo, ServerLimits, SessionState, hashes};
use crate::wire::token::Secret;
use crate::wire::{self, Dialect, ErrorCode, Message, UrlPath, limits};

/// Longest wait between two attempts to connect.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Shortest one; doubles with every failure.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
/// Longest pause that a server may ask for.
const MAX_GOAWAY: Duration = Duration::from_secs(3600);
/// A connection that was good for this long makes earlier failures forgotten.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);
/// Messages waiting to be written.
const OUT_QUEUE: usize = 1024;
/// Bounds for the server's idea of a keepalive interval.
const KEEPALIVE: std::ops::RangeInclusive<u32> = 5..=300;
/// Pings without an answer after which a connection is dead.
const MAX_MISSED: u32 = 3;
/// How long the last words to a server may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long to read on for the reason, after the server has stopped to take messages.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Features of a server that are remembered.
const MAX_FEATURES: usize = 64;
/// Secrets kept: the present one and the one before, whose tokens may still be on their way.
const KEPT_SECRETS: usize = 2;
/// How often a question is put again to a server that is busy, and how long between.
const BUSY_RETRIES: u32 = 5;
const BUSY_DELAY: Duration = Duration::from_secs(1);

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    /// Where it goes to: the origin's peer address, too.
    pub(super) server: SocketAddr,
    /// The name under which the server knows this client.
    pub(super) own_id: String,
    out: mpsc::Sender<Outgoing>,
    closed: watch::Sender<bool>,
    pub(super) asks: Asks,
    /// The server's own peer id, once registered.
    server_id: OnceLock<String>,
    /// There when the server has turned out to be of version 2.
    old: OnceLock<Old>,
    /// The server cuts files into pieces of any size.
    any_pieces: AtomicBool,
    /// What the latest `transfer` said.
    said: Mutex<wire::Said>,
}

/// The connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Conn {
    /// Sends a message, in the words of version 2 to a server that speaks that; what cannot be said in them is not.
    pub(super) async fn send(&self, message: impl Into<Message>) -> Result<(), Gone> {
        self.put_out(message.into(), Outgoing::Now).await
    }

    /// The same for what nobody waits for: it goes with the next message, or after a moment.
    pub(super) async fn send_later(&self, message: impl Into<Message>) -> Result<(), Gone> {
        self.put_out(message.into(), Outgoing::Later).await
    }

    /// The same where nobody can wait. It goes before what is sent after it, unless very much waits to be written.
    pub(super) fn send_at_once(self: &Arc<Self>, handle: &Handle, message: Message) {
        let message = if self.old().is_some() { old::said_to(message) } else { Some(message) };
        if let Some(message) = message
            && let Err(mpsc::error::TrySendError::Full(left)) = self.out.try_send(Outgoing::Now(message))
        {
            let out = self.out.clone();
            // A lost connection has made the server forget it already.
            handle.spawn(async move { out.send(left).await });
        }
    }

    async fn put_out(&self, message: Message, how: fn(Message) -> Outgoing) -> Result<(), Gone> {
        let message = if self.old().is_some() { old::said_to(message) } else { Some(message) };
        match message {
            Some(message) => self.out.send(how(message)).await.map_err(|_| Gone),
            None => Ok(()),
        }
    }

    /// What belongs to a connection with a server of version 2; `None` for others, and before that is known.
    pub(super) fn old(&self) -> Option<&Old> {
        self.old.get()
    }

    pub(super) async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(super) fn is_origin(&self, peer_id: &str) -> bool {
        self.server_id.get().is_some_and(|id| id == peer_id)
    }

    fn close(&self) {
        self.closed.send_replace(true);
        self.asks.close();
    }
}

/// What tokens shown to this client are checked with.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) secret: Secret,
    /// Seconds that the server's clock is ahead of ours.
    offset: i64,
    /// The connection it was given on: transfers it authorises are known to the server there only.
    pub(super) conn: Weak<Conn>,
}

impl Key {
    /// The server's time.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(unix_now().saturating_add(self.offset)).unwrap_or(0)
    }
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[derive(Debug, Clone)]
struct Status {
    state: SessionState,
    /// When `Lost` ends.
    retry_at: Option<Instant>,
    conn: Option<Arc<Conn>>,
    was_ready: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) inner: Arc<Inner>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) client_id: String,
    status: watch::Sender<Status>,
    info: Mutex<Option<ServerInfo>>,
    keys: Mutex<VecDeque<Key>>,
    pub(super) files: Files,
    /// Transfers under way, by the server's number, to be told when the server calls them off.
    pub(super) exchanges: Mutex<HashMap<u64, Arc<Notify>>>,
    /// What the application watches.
    pub(super) watches: Watches,
    /// Sessions of the application: id and user data.
    sessions: Mutex<Vec<(u64, usize)>>,
    /// Sessions and jobs that need it; changed under the lock of `Inner::links`.
    users: AtomicUsize,
    /// Where the server is dialled, as soon as that is known.
    dialled: watch::Sender<Option<SocketAddr>>,
    /// Connect now instead of later.
    nudge: Notify,
    /// Register anew: what was said of this client is no longer true.
    anew: Notify,
    /// How long the server has asked us to stay away.
    pause: Mutex<Option<Duration>>,
    stop: watch::Sender<bool>,
}

/// How a connection, or the attempt at one, ended.
#[derive(Debug)]
enum Ended {
    Lost(Error),
    /// Nobody has answered in this dialect, but maybe in the other. `is_silent`: the connection was not closed.
    Unanswered {
        error: Error,
        is_silent: bool,
    },
    Refused(Error),
    /// This side wants to register anew.
    Again,
    Stopped,
}

impl Link {
    fn new(inner: Arc<Inner>, host: String, port: u16, client_id: String) -> Self {
        let status = Status { state: SessionState::Connecting, retry_at: None, conn: None, was_ready: false };
        Self {
            inner,
            host,
            port,
            client_id,
            status: watch::Sender::new(status),
            info: Mutex::default(),
            keys: Mutex::default(),
            files: Files::default(),
            exchanges: Mutex::default(),
            watches: Watches::default(),
            sessions: Mutex::default(),
            users: AtomicUsize::new(0),
            dialled: watch::Sender::new(None),
            nudge: Notify::new(),
            anew: Notify::new(),
            pause: Mutex::default(),
            stop: watch::Sender::new(false),
        }
    }

    // ------------------------------------------------------------------------------------------ for sessions

    pub(super) fn state(&self) -> SessionState {
        let status = self.status.borrow();
        match (&status.state, status.retry_at) {
            (SessionState::Lost { error, .. }, Some(at)) => SessionState::Lost {
                retry_in: at.saturating_duration_since(Instant::now()),
                error: error.clone(),
            },
            (state, _) => state.clone(),
        }
    }

    pub(super) fn info(&self) -> Option<ServerInfo> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// See [`super::Session::wait_ready`].
    pub(super) async fn ready(&self) -> Result<(), Error> {
        let mut status = self.status.subscribe();
        loop {
            {
                let status = status.borrow_and_update();
                match &status.state {
                    SessionState::Ready => return Ok(()),
                    SessionState::Refused { error } => return Err(error.clone()),
                    SessionState::Closed => return Err(closed_error()),
                    SessionState::Lost { error, .. } if !status.was_ready => return Err(error.clone()),
                    _ => {}
                }
            }
            // The sender lives as long as `self`.
            let _ = status.changed().await;
        }
    }

    pub(super) fn reconnect(&self) {
        if matches!(self.state(), SessionState::Lost { .. } | SessionState::Refused { .. }) {
            self.nudge.notify_one();
        }
    }

    /// Registers anew, on a new connection, if there is one now.
    pub(super) fn register_anew(&self) {
        if self.conn_now().is_some() {
            self.anew.notify_one();
        }
    }

    /// A session of the application comes: it is told the state as it is, and every change from now on.
    pub(super) fn add_session(&self, id: u64, user_data: usize) {
        // Under the lock, so that this cannot overtake a newer state.
        let mut sessions = self.sessions();
        sessions.push((id, user_data));
        self.inner.queue.push(user_data, EventBody::Session { session: id, state: self.state() });
    }

    pub(super) fn remove_session(self: &Arc<Self>, id: u64) {
        self.unwatch_session(id);
        self.sessions().retain(|(session, _)| *session != id);
        self.inner.queue.forget_session(id);
    }

    fn tell_sessions(&self, body: impl Fn(u64) -> EventBody) {
        for &(id, user_data) in self.sessions().iter() {
            self.inner.queue.push(user_data, body(id));
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<(u64, usize)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name under which the server and peers know this end now.
    pub(super) fn known_as(&self) -> String {
        self.conn_now().map_or_else(|| self.client_id.clone(), |conn| conn.own_id.clone())
    }

    // ---------------------------------------------------------------------------------------------- for jobs

    /// A path of this server as a URL in messages.
    pub(super) fn url(&self, path: &UrlPath) -> String {
        wire::file_url(&self.host, path)
    }

    /// A path of this server as people write it.
    pub(super) fn uri(&self, path: &UrlPath) -> String {
        let uri = wire::PdtpUri {
            host: self.host.clone(),
            port: self.port,
            path: path.clone(),
            is_dir: false,
            root: None,
            keys: Vec::new(),
        };
        uri.to_string()
    }

    /// The present connection, or the next one. Questions may be asked on it at once, even before the server has
    /// answered the registration. An error only when there will be none.
    pub(super) async fn conn(&self) -> Result<Arc<Conn>, Error> {
        let mut status = self.status.subscribe();
        loop {
            {
                let status = status.borrow_and_update();
                match (&status.conn, &status.state) {
                    (Some(conn), _) if !conn.is_closed() => return Ok(Arc::clone(conn)),
                    (_, SessionState::Refused { error }) => return Err(error.clone()),
                    (_, SessionState::Closed) => return Err(closed_error()),
                    _ => {}
                }
            }
            // The sender lives as long as `self`.
            let _ = status.changed().await;
        }
    }

    /// The present connection, if there is one.
    pub(super) fn conn_now(&self) -> Option<Arc<Conn>> {
        self.status.borrow().conn.clone().filter(|conn| !conn.is_closed())
    }

    /// Whether the server at the other end, now or last, is of version 2.
    pub(super) fn is_old(&self) -> bool {
        self.info().is_some_and(|info| info.version == 2)
    }

    /// Whether the server may cut files into pieces of any size.
    pub(super) fn takes_any_pieces(&self) -> bool {
        self.conn_now().is_some_and(|conn| conn.any_pieces.load(Ordering::Relaxed))
    }

    /// Whether the server is known to speak lines, and so version 2.
    pub(super) fn is_in_lines(&self) -> bool {
        let choice = self.inner.config().dialect;
        self.inner.spoken.opening(choice, &self.host, self.port) == Opening::Lines
    }

    /// Where the server is, or will be dialled first.
    pub(super) async fn address(&self) -> SocketAddr {
        if let Some(conn) = self.conn_now() {
            return conn.server;
        }
        let mut dialled = self.dialled.subscribe();
        // The sender lives as long as `self`.
        match dialled.wait_for(Option::is_some).await.ok().and_then(|address| *address) {
            Some(address) => address,
            None => std::future::pending().await,
        }
    }

    /// Asks what is at a path, on as many connections as it takes.
    pub(super) async fn ask_info(
        &self,
        path: &UrlPath,
        numbers: Option<Arc<Numbers>>,
    ) -> Result<wire::TellInfo, Error> {
        let mut tries = Tries::of(path);
        loop {
            let conn = self.conn().await?;
            let ask = wire::AskInfo { url: self.url(path), ..wire::AskInfo::default() };
            let asked = conn.asks.info(ask, numbers.clone()).await;
            match put(&conn, asked).await {
                Ok(info) => return judge_info(path, info),
                Err(error) => tries.after(&conn, error).await?,
            }
        }
    }

    /// The same, with piece hashes, of which a few will do if it can begin `in_parts`; and requests what is there in the
    /// same flight. Also says on which connection.
    pub(super) async fn ask_info_and_request(
        &self,
        path: &UrlPath,
        numbers: Arc<Numbers>,
        request: &wire::Request,
        early: Option<&Early>,
        in_parts: bool,
    ) -> Result<(wire::TellInfo, Arc<Conn>), Error> {
        let mut tries = Tries::of(path);
        loop {
            let conn = self.conn().await?;
            let early = match early {
                Some(early) if early.aims_at(conn.server).await => Some(early.name.clone()),
                _ => None,
            };
            let ask = wire::AskInfo { url: request.url.clone(), hashes: true, proof: in_parts };
            let asked = conn.asks.info(ask, Some(Arc::clone(&numbers))).await;
            let answer = match asked {
                Ok(mut asked) => {
                    match send_both(&conn, &mut asked, wire::Request { early, ..request.clone() }).await {
                        Ok(()) => asked.answer().await,
                        Err(Gone) => Err(AskError::Gone),
                    }
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok(info) => return Ok((judge_info(path, info)?, conn)),
                Err(error) => tries.after(&conn, error).await?,
            }
        }
    }

    /// One page of a directory; if it `is_rich`, as RDL.
    pub(super) async fn ask_list(
        &self,
        path: &UrlPath,
        depth: u32,
        cursor: Option<String>,
        is_rich: bool,
        reading: Option<Reading>,
    ) -> Result<wire::Listing, Error> {
        let format = is_rich.then(|| "rdl".to_owned());
        let list = wire::List { url: self.url(path), depth: Some(depth), cursor, format, id: None };
        let mut tries = Tries::of(path);
        loop {
            let conn = self.conn().await?;
            if conn.old().is_some() {
                return Err(old::no_listing(self, path).await);
            }
            let asked = conn.asks.list(list.clone(), reading.clone()).await;
            match put(&conn, asked).await {
                Ok(listing) => return Ok(listing),
                // Meanwhile it is known whom the question went to.
                Err(_) if conn.old().is_some() => {}
                Err(error) => tries.after(&conn, error).await?,
            }
        }
    }

    /// The secrets that tokens may have been made with, newest first.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.keys_mut().iter().cloned().collect()
    }

    /// The newest secret; waits a moment for it when the registration is under way.
    pub(super) async fn key_soon(&self) -> Option<Key> {
        // The server may look for us before we have read that we are registered.
        let _ = timeout(FAREWELL, self.ready()).await;
        self.keys_mut().front().cloned()
    }

    fn keys_mut(&self) -> MutexGuard<'_, VecDeque<Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether pieces are given to others.
    pub(super) fn gives(&self) -> bool {
        self.inner.seeding() != Seeding::Off
    }

    /// Says that a file is no longer given, and forgotten here.
    pub(super) async fn unprovide(&self, held: &Held) {
        if let Some(conn) = self.conn_now() {
            let unprovide = wire::Unprovide { url: held.url.clone(), range: None, root: Some(held.root) };
            // A lost connection has made the server forget it already.
            let _ = conn.send(unprovide).await;
        }
    }

    /// Gives up what is only shared: what is left of downloads, with `all` also what the application shares.
    pub(super) async fn withdraw_shares(&self, all: bool) {
        for held in self.files.withdraw_shares(all) {
            self.unprovide(&held).await;
        }
    }

    // ----------------------------------------------------------------------------------------------- its life

    /// Ends it, after what is in the queue to the server was written.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Completes when it has ended.
    pub(super) async fn closed(&self) {
        let mut status = self.status.subscribe();
        // The sender lives as long as `self`.
        let _ = status.wait_for(|status| status.state == SessionState::Closed).await;
    }

    async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    async fn run(self: Arc<Self>) {
        let mut failures = 0u32;
        let first = || self.inner.spoken.opening(self.inner.config().dialect, &self.host, self.port);
        let mut opening = first();
        // Why frames were not answered, while lines are tried.
        let mut unanswered: Option<(Error, bool)> = None;
        loop {
            let started = Instant::now();
            let ended = self.attempt(opening).await;
            let (tried, before) = (std::mem::replace(&mut opening, first()), unanswered.take());
            let error = match ended {
                Ended::Stopped => break,
                Ended::Again => continue,
                Ended::Unanswered { error, is_silent } if tried.is_trial() => {
                    unanswered = Some((error, is_silent));
                    opening = Opening::TryLines;
                    continue;
                }
                Ended::Lost(error) | Ended::Unanswered { error, .. } if tried == Opening::TryLines => {
                    match before {
                        // Not lines, then; but it may just be slow.
                        Some((_, true)) => {
                            opening = Opening::Framed { is_trial: false };
                            continue;
                        }
                        Some((first_error, false)) => first_error,
                        None => error,
                    }
                }
                Ended::Unanswered { error, .. } => error,
                Ended::Refused(error) => {
                    failures = 0;
                    self.set_state(SessionState::Refused { error }, None);
                    tokio::select! {
                        () = self.nudge.notified() => {}
                        () = self.stopped() => break,
                    }
                    self.set_state(SessionState::Connecting, None);
                    continue;
                }
                Ended::Lost(error) => error,
            };
            if started.elapsed() >= GOOD_CONNECTION && self.status.borrow().was_ready {
                failures = 0;
            }
            let asked = self.pause.lock().unwrap_or_else(PoisonError::into_inner).take();
            let wait = asked.unwrap_or_default().max(backoff(failures, random_unit()));
            failures = failures.saturating_add(1);
            let state = SessionState::Lost { retry_in: wait, error };
            self.set_state(state, Instant::now().checked_add(wait));
            tokio::select! {
                () = sleep(wait) => {}
                () = self.nudge.notified() => {}
                () = self.stopped() => break,
            }
        }
        self.set_state(SessionState::Closed, None);
    }

    fn set_state(&self, state: SessionState, retry_at: Option<Instant>) {
        let (host, port) = (&self.host, self.port);
        match &state {
            SessionState::Connecting => tracing::debug!(host, port, "connecting"),
            SessionState::Ready => tracing::info!(host, port, "the server is ready"),
            SessionState::Lost { retry_in, error } => {
                tracing::warn!(host, port, ?retry_in, %error, "no connection to the server");
            }
            SessionState::Refused { error } => tracing::error!(host, port, %error, "refused by the server"),
            SessionState::Closed => tracing::debug!(host, port, "closed"),
        }
        self.status.send_modify(|status| {
            status.was_ready |= state == SessionState::Ready;
            status.state = state.clone();
            status.retry_at = retry_at;
        });
        self.tell_sessions(|session| EventBody::Session { session, state: state.clone() });
    }

    /// One connection, from dialling to its end.
    async fn attempt(self: &Arc<Self>, opening: Opening) -> Ended {
        let on_first = |address| {
            self.dialled.send_replace(Some(address));
        };
        let dialling = control::dial(&self.host, self.port, self.inner.connect_timeout(), on_first);
        let stream = tokio::select! {
            stream = dialling => stream,
            () = self.stopped() => return Ended::Stopped,
        };
        let setup = stream.and_then(|stream| {
            let server = stream.set_nodelay(true).and_then(|()| stream.peer_addr());
            server.map(|server| (stream, server)).map_err(|e| Error::new(ErrorKind::Connect, e.to_string()))
        });
        let (stream, server) = match setup {
            Ok(done) => done,
            Err(error) => return Ended::Lost(error),
        };
        // Version 2 has no ping. Without this it is only noticed later that such a server has gone.
        let _ = socket2::SockRef::from(&stream)
            .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(2 * limits::KEEPALIVE));
        let (reader, writer) = stream.into_split();
        let (out, queue) = mpsc::channel(OUT_QUEUE);
        let register = match self.registration(opening).await {
            Ok(register) => register,
            Err(error) => return Ended::Lost(error),
        };
        let conn = Arc::new(Conn {
            server,
            own_id: register.client_id.clone(),
            out,
            closed: watch::Sender::new(false),
            asks: Asks::new(),
            server_id: OnceLock::new(),
            old: OnceLock::new(),
            any_pieces: AtomicBool::new(false),
            said: Mutex::default(),
        });
        // An empty queue takes a message.
        let _ = conn.out.try_send(Outgoing::Now(register.into()));
        match opening {
            Opening::Framed { .. } => self.publish(&conn),
            // Once it is known who answers.
            Opening::TryLines => {}
            Opening::Lines => self.take_as_old(&conn),
        }

        let mut incoming = Incoming::new(reader, opening.dialect());
        let ended = {
            let conversing = self.converse(&conn, &mut incoming, opening);
            let writing = control::write_messages(writer, opening.dialect(), queue);
            tokio::pin!(conversing, writing);
            let ended = tokio::select! {
                ended = &mut conversing => ended,
                written = &mut writing => {
                    let lost = lost("the connection to the server broke", written.err());
                    timeout(LAST_WORDS, &mut conversing).await.unwrap_or(lost)
                }
                () = self.stopped() => Ended::Stopped,
                () = self.anew.notified() => Ended::Again,
            };
            if matches!(ended, Ended::Stopped | Ended::Again) {
                let farewell = async {
                    let _ = conn.out.send(Outgoing::End).await;
                    let _ = (&mut writing).await;
                };
                // A server that does not listen misses our last words.
                let _ = timeout(FAREWELL, farewell).await;
            }
            ended
        };
        conn.close();
        self.status.send_modify(|status| status.conn = None);
        self.exchanges().clear();
        ended
    }

    /// From here on others may ask their questions; in one flight with the registration, if it is not answered yet.
    fn publish(&self, conn: &Arc<Conn>) {
        self.status.send_modify(|status| status.conn = Some(Arc::clone(conn)));
    }

    async fn registration(self: &Arc<Self>, opening: Opening) -> Result<wire::Register, Error> {
        let config = self.inner.config();
        let mut features =
            [wire::FEATURE_RUNS, wire::FEATURE_WAIT, wire::FEATURE_BRIEF].map(str::to_owned).to_vec();
        let mut listen_port = 0;
        if config.seeding != Seeding::Off {
            features.push(wire::FEATURE_GIVE.to_owned());
            if config.seeding == Seeding::Always {
                features.push(wire::FEATURE_STAY.to_owned());
            }
            match self.inner.listen().await {
                Ok(port) => listen_port = port,
                Err(error) => {
                    let message = format!("{error}; others cannot dial this client");
                    self.tell_sessions(|session| EventBody::Notice { session, message: message.clone() });
                }
            }
        }
        if opening == Opening::Lines {
            // Servers that know nothing else never free a name (DistribuStream 0.1.0).
            return Ok(wire::Register { client_id: random_id()?, listen_port, ..wire::Register::default() });
        }
        let library = concat!("libpdtp/", env!("CARGO_PKG_VERSION"));
        let agent = format!("{} {library}", config.agent);
        Ok(wire::Register {
            client_id: self.client_id.clone(),
            listen_port,
            version: Some(wire::PROTOCOL_VERSION),
            agent: Some(agent.trim().to_owned()),
            features,
            role: Some("client".to_owned()),
            up_limit: (config.up_limit > 0).then_some(config.up_limit),
            down_limit: (config.down_limit > 0).then_some(config.down_limit),
        })
    }

    async fn converse(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        incoming: &mut Incoming,
        opening: Opening,
    ) -> Ended {
        let keepalive = match self.introduce(conn, incoming, opening).await {
            Ok(keepalive) => keepalive,
            Err(ended) => {
                if opening == Opening::Lines {
                    self.inner.spoken.forget(&self.host, self.port);
                }
                return ended;
            }
        };
        let mut missed = 0;
        loop {
            match timeout(keepalive, incoming.next()).await {
                Ok(Ok(Ok(message))) => {
                    missed = 0;
                    if self.dispatch(conn, message).await == Err(Gone) {
                        return lost("the connection to the server broke", None);
                    }
                }
                Ok(Ok(Err(error))) => {
                    missed = 0;
                    // A newer server may say what this version does not know.
                    tracing::debug!(%error, "message not understood");
                }
                Ok(Err(error)) => return lost("the connection to the server broke", Some(io_of(error))),
                // It has no ping, and may have nothing to say.
                Err(_) if conn.old().is_some() => {}
                Err(_) if missed >= MAX_MISSED => {
                    let error = Error::new(ErrorKind::Lost, "the server does not answer any more");
                    return Ended::Lost(error);
                }
                Err(_) => {
                    missed += 1;
                    if conn.send(wire::Ping {}).await.is_err() {
                        return lost("the connection to the server broke", None);
                    }
                }
            }
        }
    }

    /// Waits until the server has taken the registration.
    async fn introduce(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        incoming: &mut Incoming,
        opening: Opening,
    ) -> Result<Duration, Ended> {
        let started = tokio::time::Instant::now();
        let deadline = started + opening.patience();
        // Version 2 does not answer a registration, but any question, and this one changes nothing.
        let probe = wire::AskInfo { url: self.url(&UrlPath::root()), hashes: false, proof: false };
        let mut probe_at = Some(started + opening.probe_after());
        let refused = |kind, text: &str| Ended::Refused(Error::new(kind, format!("{}: {text}", self.host)));
        let is_trial = opening.is_trial() || opening == Opening::TryLines;
        loop {
            let message = match timeout_at(probe_at.unwrap_or(deadline), incoming.next()).await {
                Err(_) if probe_at.take().is_some() => {
                    let _ = conn.out.try_send(Outgoing::Now(probe.clone().into()));
                    continue;
                }
                Err(_) => {
                    let text = format!("{} does not answer as a PDTP server would", self.host);
                    let error = Error::new(ErrorKind::Timeout, text);
                    return Err(if is_trial {
                        Ended::Unanswered { error, is_silent: true }
                    } else {
                        Ended::Lost(error)
                    });
                }
                Ok(Err(ReadError::Wire(error))) if opening == Opening::TryLines => {
                    let error = Error::new(ErrorKind::Protocol, error.to_string());
                    return Err(Ended::Unanswered { error, is_silent: false });
                }
                Ok(Err(ReadError::Wire(_))) => {
                    return Err(refused(ErrorKind::Protocol, "this is not a PDTP server"));
                }
                Ok(Err(ReadError::Io(error))) => {
                    return Err(
                        match lost("the server closed the connection before the greeting", Some(error)) {
                            Ended::Lost(error) if is_trial => Ended::Unanswered { error, is_silent: false },
                            ended => ended,
                        },
                    );
                }
                Ok(Ok(Err(error))) => {
                    tracing::debug!(%error, "message not understood");
                    continue;
                }
                Ok(Ok(Ok(message))) => message,
            };
            match message {
                Message::Registered(registered) if opening != Opening::Lines => {
                    let keepalive = self.on_registered(conn, registered).map_err(Ended::Refused)?;
                    // A server of version 3 takes either dialect; frames are what it prefers next time.
                    self.inner.spoken.remember(&self.host, self.port, Dialect::Framed);
                    return Ok(keepalive);
                }
                Message::Ping(_) => {
                    let _ = conn.send(wire::Pong {}).await;
                }
                Message::Notice(notice) => self.on_notice(&notice.message),
                Message::Goaway(goaway) => {
                    let error = Error::new(ErrorKind::Lost, "the server is going down");
                    self.on_goaway(&goaway);
                    return Err(Ended::Lost(error));
                }
                Message::Error(error) => {
                    let refusal = Refusal { code: error.code, message: error.message };
                    let told = refusal.to_error(&self.host);
                    return Err(match error.code {
                        ErrorCode::IdInUse
                        | ErrorCode::Busy
                        | ErrorCode::Limit
                        | ErrorCode::SlowConsumer
                        | ErrorCode::Internal => Ended::Lost(told),
                        _ => Ended::Refused(told),
                    });
                }
                Message::Redirect(to) => {
                    let text = format!("the server sends us to {} port {}", printable(&to.host), to.port);
                    return Err(refused(ErrorKind::Unsupported, &text));
                }
                Message::ProtocolError(error) => {
                    let text = printable(error.message.as_deref().unwrap_or("it does not say why"));
                    return Err(refused(ErrorKind::Protocol, &format!("the server refuses: {text}")));
                }
                answer if old::is_shown_by(&answer, |url| url == probe.url || conn.asks.awaits_info(url)) => {
                    self.inner.spoken.remember(&self.host, self.port, opening.dialect());
                    self.on_old(conn);
                    // It can only be gone, which is noticed soon enough.
                    let _ = self.dispatch(conn, answer).await;
                    return Ok(limits::KEEPALIVE);
                }
                _ => {
                    let text = "this is not how a PDTP server answers";
                    return Err(refused(ErrorKind::Unsupported, text));
                }
            }
        }
    }

    fn on_registered(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        registered: wire::Registered,
    ) -> Result<Duration, Error> {
        if registered.version != wire::PROTOCOL_VERSION {
            let text = format!("{}: the server wants to speak version {}", self.host, registered.version);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let Some(secret) = Secret::from_base64(&registered.secret) else {
            return Err(Error::new(ErrorKind::Protocol, format!("{}: unusable greeting", self.host)));
        };
        let time = i64::try_from(registered.time).unwrap_or(i64::MAX);
        let offset = time.saturating_sub(unix_now());
        {
            let mut keys = self.keys_mut();
            keys.push_front(Key { secret, offset, conn: Arc::downgrade(conn) });
            keys.truncate(KEPT_SECRETS);
        }
        // Only set here, and once for each connection.
        let _ = conn.server_id.set(registered.server);
        let any_pieces = registered.features.iter().any(|feature| feature == wire::FEATURE_PIECES);
        conn.any_pieces.store(any_pieces, Ordering::Relaxed);
        conn.asks.limit(registered.limits.outstanding);
        let notice = registered.notice.as_deref().map(printable);
        *self.info.lock().unwrap_or_else(PoisonError::into_inner) = Some(ServerInfo {
            agent: printable(&registered.agent),
            version: registered.version,
            notice: notice.clone(),
            address: printable(&registered.address),
            reachable: None,
            features: registered.features.iter().take(MAX_FEATURES).map(|word| printable(word)).collect(),
            limits: ServerLimits {
                outstanding: registered.limits.outstanding,
                files: registered.limits.files,
                ranges: registered.limits.ranges,
            },
        });
        let is_back = self.status.borrow().was_ready;
        self.publish(conn);
        self.set_state(SessionState::Ready, None);
        {
            let (link, conn) = (Arc::clone(self), Arc::clone(conn));
            tokio::spawn(async move { link.watch_anew(&conn, is_back).await });
        }
        if let Some(notice) = notice {
            self.on_notice(&notice);
        }
        self.give_shares(conn);
        let keepalive = registered.keepalive_s.clamp(*KEEPALIVE.start(), *KEEPALIVE.end());
        Ok(Duration::from_secs(u64::from(keepalive)))
    }

    /// The server at the other end is of version 2, or is believed to be: it is spoken to like that from here on.
    fn take_as_old(&self, conn: &Arc<Conn>) {
        // Once for each connection.
        let _ = conn.old.set(Old::new());
        conn.asks.end_unheard_of();
        *self.info.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(ServerInfo { version: 2, ..ServerInfo::default() });
        self.publish(conn);
    }

    /// A server of version 2 has answered.
    fn on_old(self: &Arc<Self>, conn: &Arc<Conn>) {
        if conn.old().is_none() {
            self.take_as_old(conn);
        }
        self.refuse_watches();
        self.set_state(SessionState::Ready, None);
        self.give_shares(conn);
    }

    fn give_shares(self: &Arc<Self>, conn: &Arc<Conn>) {
        if self.gives() {
            let (link, conn) = (Arc::clone(self), Arc::clone(conn));
            tokio::spawn(async move { link.provide_shares(&conn).await });
        }
    }

    /// Tells a server that has just come (back) what is complete here. What is still being received, its job tells.
    async fn provide_shares(&self, conn: &Conn) {
        for held in self.files.all().iter().filter(|held| held.is_shared()) {
            let provide = wire::Provide { url: held.url.clone(), range: None, root: Some(held.root) };
            if conn.send(provide).await.is_err() {
                return;
            }
        }
    }

    async fn dispatch(self: &Arc<Self>, conn: &Arc<Conn>, message: Message) -> Result<(), Gone> {
        match message {
            Message::Ping(_) => conn.send(wire::Pong {}).await?,
            Message::TellInfo(info) if conn.old().is_some() => {
                // Who says why there is nothing says it in words of its own.
                conn.asks.on_info(&wire::TellInfo { error: None, ..info });
            }
            Message::TellInfo(info) => conn.asks.on_info(&info),
            Message::HashVerify(verdict) => {
                if let Some(old) = conn.old() {
                    old.on_judged(&verdict);
                }
            }
            Message::Hashing(hashing) => conn.asks.on_hashing(&hashing),
            Message::TellHashes(told) => {
                if let Some(told) = conn.asks.on_hashes(told)
                    && let Some(held) = self.held_of(&told.url)
                {
                    hashes::on_told(self, &held, &told);
                }
            }
            Message::Reading(reading) => conn.asks.on_reading(&reading),
            Message::Listing(listing) => conn.asks.on_listing(listing),
            Message::TellVerify(tell) => conn.asks.on_verify(tell),
            Message::Transfer(mut transfer) => {
                let is_clear =
                    conn.said.lock().unwrap_or_else(PoisonError::into_inner).fill_in(&mut transfer);
                match is_clear {
                    true => exchange::accept(self, conn, transfer),
                    // It cannot be refused either, where it is not clear of what.
                    false => {
                        tracing::debug!(?transfer, "the first transfer leaves out what none before has said")
                    }
                }
            }
            Message::Cancel(cancel) => match self.exchanges().get(&cancel.id) {
                Some(called_off) => called_off.notify_one(),
                None => self.files.called_off(conn, cancel.id),
            },
            Message::Waiting(waiting) => {
                if let Some(held) = self.held_of(&waiting.url) {
                    held.numbers().waiting(Some(waiting.reason));
                } else if let Ok(path) = wire::path_of_url(&waiting.url) {
                    self.files.waits(&path, waiting.reason);
                }
            }
            Message::Changed(changed) => self.on_changed(&changed).await,
            Message::Reachable(reachable) => {
                if let Some(info) = &mut *self.info.lock().unwrap_or_else(PoisonError::into_inner) {
                    info.reachable = Some(reachable.ok);
                }
            }
            Message::Notice(notice) => self.on_notice(&notice.message),
            Message::Goaway(goaway) => self.on_goaway(&goaway),
            Message::Error(error) => self.on_error(conn, &error),
            Message::ProtocolWarn(wire::ProtocolWarn { message })
            | Message::ProtocolError(wire::ProtocolError { message }) => {
                let message = printable(&message.unwrap_or_default());
                tracing::warn!(%message, "the server complains");
            }
            // Pongs have done their duty by arriving; the rest is for servers.
            _ => {}
        }
        Ok(())
    }

    fn held_of(&self, url: &str) -> Option<Arc<Held>> {
        wire::path_of_url(url).ok().and_then(|path| self.files.get(&path))
    }

    async fn on_changed(&self, changed: &wire::Changed) {
        if self.tell_watchers(changed) {
            // The version that is being downloaded may still be served; when it is not, that is told as well.
            return;
        }
        let Some(held) = self.held_of(&changed.url) else { return };
        if !changed.removed && changed.root == Some(held.root) {
            return;
        }
        if held.is_shared() {
            self.files.remove(&held);
        } else {
            held.upset(if changed.removed { Upset::Removed } else { Upset::Changed });
        }
    }

    fn on_notice(&self, message: &str) {
        let message = printable(message);
        self.tell_sessions(|session| EventBody::Notice { session, message: message.clone() });
    }

    fn on_goaway(&self, goaway: &wire::Goaway) {
        let after = Duration::from_secs(u64::from(goaway.after_s)).min(MAX_GOAWAY);
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = Some(after);
        let reason = printable(&goaway.reason);
        self.tell_sessions(|session| EventBody::Goaway { session, reason: reason.clone(), after });
    }

    fn on_error(&self, conn: &Conn, error: &wire::Error) {
        if conn.asks.on_error(error) {
            return;
        }
        if error.re.as_deref() == Some("watch") {
            let refusal = Refusal { code: error.code, message: error.message.clone() };
            if let Some(path) = error.url.as_deref().and_then(|url| wire::path_of_url(url).ok()) {
                self.watch_refused(&path, &refusal.to_error(path.as_str()));
            }
            return;
        }
        let about_hashes = error.re.as_deref() == Some("ask_hashes");
        let about_request = error.re.as_deref().is_none_or(|re| re == "request");
        if (about_request || about_hashes)
            && let Some(held) = error.url.as_deref().and_then(|url| self.held_of(url))
            && !held.is_shared()
            && (!about_hashes || held.questions.are_refused())
        {
            match error.code {
                ErrorCode::Changed => held.upset(Upset::Changed),
                ErrorCode::NotFound => held.upset(Upset::Removed),
                // It is asked again after a while.
                ErrorCode::Busy => {}
                code => {
                    let refusal = Refusal { code, message: error.message.clone() };
                    held.upset(Upset::Failed(refusal.to_error(held.path.as_str())));
                }
            }
            return;
        }
        let path = error.url.as_deref().and_then(|url| wire::path_of_url(url).ok());
        if about_request && path.is_some_and(|path| self.files.request_refused(&path)) {
            return;
        }
        tracing::warn!(code = ?error.code, message = %printable(&error.message), "the server complains");
    }

    pub(super) fn exchanges(&self) -> MutexGuard<'_, HashMap<u64, Arc<Notify>>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is one.
fn judge_info(path: &UrlPath, info: wire::TellInfo) -> Result<wire::TellInfo, Error> {
    let is_nothing = info.size.is_none() && info.kind != Some(wire::EntryKind::Dir);
    match info.error.or(is_nothing.then_some(ErrorCode::NotFound)) {
        Some(code) => Err(Refusal { code, message: String::new() }.to_error(path.as_str())),
        None => Ok(info),
    }
}

/// Sends a noted question, and a request with it.
async fn send_both<T>(conn: &Conn, asked: &mut Asked<T>, request: wire::Request) -> Result<(), Gone> {
    if let Some(message) = asked.to_send.take() {
        conn.send(message).await?;
    }
    conn.send(request).await
}

/// Sends a noted question and waits for the answer.
async fn put<T>(conn: &Conn, asked: Result<Asked<T>, AskError>) -> Result<T, AskError> {
    let mut asked = asked?;
    if let Some(message) = asked.to_send.take() {
        conn.send(message).await.map_err(|Gone| AskError::Gone)?;
    }
    asked.answer().await
}

/// Whether to ask again: whenever the connection was lost meanwhile, and a few times when the server is busy.
pub(super) struct Tries<'a> {
    path: &'a UrlPath,
    busy: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn of(path: &'a UrlPath) -> Self {
        Self { path, busy: 0 }
    }

    /// Waits until it makes sense to ask again; an error when it never will.
    pub(super) async fn after(&mut self, conn: &Conn, error: AskError) -> Result<(), Error> {
        match error {
            AskError::Gone => conn.closed().await,
            AskError::Refused(refusal) if refusal.code == ErrorCode::Busy && self.busy < BUSY_RETRIES => {
                self.busy += 1;
                sleep(BUSY_DELAY).await;
            }
            AskError::Refused(refusal) => return Err(refusal.to_error(self.path.as_str())),
        }
        Ok(())
    }
}

fn closed_error() -> Error {
    Error::new(ErrorKind::State, "the session is closed")
}

fn io_of(error: ReadError) -> std::io::Error {
    match error {
        ReadError::Io(error) => error,
        ReadError::Wire(error) => std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    }
}

fn lost(what: &str, cause: Option<std::io::Error>) -> Ended {
    let text = match cause {
        Some(cause) => format!("{what}: {cause}"),
        None => what.to_owned(),
    };
    Ended::Lost(Error::new(ErrorKind::Lost, text))
}

/// Doubling, capped, and spread over half of itself so that a crowd of clients does not come back as one.
/// `random` is from 0 to 1.
fn backoff(failures: u32, random: f64) -> Duration {
    let full = MIN_BACKOFF.saturating_mul(1 << failures.min(16)).min(MAX_BACKOFF);
    full.div_f64(2.0) + full.div_f64(2.0).mul_f64(random.clamp(0.0, 1.0))
}

fn random_id() -> Result<String, Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("no random numbers: {error}")))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(id)))
}

fn random_unit() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the crowd comes back as one; no reason to fail.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}

/// A share in a link: it lives as long as somebody has one.
#[derive(Debug)]
pub(super) struct LinkUser(Arc<Link>);

impl LinkUser {
    /// The link to a server: the one that is there, or a new one.
    pub(super) fn open(inner: &Arc<Inner>, host: &str, port: u16) -> Result<Self, Error> {
        let mut links = inner.links();
        // Checked under the lock that the end of the client takes, too: no link is made after it.
        inner.check_open()?;
        let key = (host.to_ascii_lowercase(), port);
        if let Some(link) = links.get(&key) {
            link.users.fetch_add(1, Ordering::Relaxed);
            return Ok(Self(Arc::clone(link)));
        }
        let id = random_id()?;
        let link = Arc::new(Link::new(Arc::clone(inner), host.to_owned(), port, id));
        link.users.store(1, Ordering::Relaxed);
        links.insert(key, Arc::clone(&link));
        inner.handle.spawn(Arc::clone(&link).run());
        Ok(Self(link))
    }
}

impl Clone for LinkUser {
    fn clone(&self) -> Self {
        // There is at least one user, so the link is not about to end.
        self.0.users.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for LinkUser {
    fn drop(&mut self) {
        let mut links = self.0.inner.links();
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            links.retain(|_, link| !Arc::ptr_eq(link, &self.0));
            self.0.stop();
        }
    }
}

impl std::ops::Deref for LinkUser {
    type Target = Arc<Link>;
    fn deref(&self) -> &Arc<Link> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_bounded() {
        assert_eq!(backoff(0, 0.0), MIN_BACKOFF / 2);
        assert_eq!(backoff(0, 1.0), MIN_BACKOFF);
        assert_eq!(backoff(1, 1.0), MIN_BACKOFF * 2);
        assert_eq!(backoff(30, 1.0), MAX_BACKOFF);
        assert_eq!(backoff(u32::MAX, 0.0), MAX_BACKOFF / 2);
        let (low, high) = (backoff(5, random_unit()), backoff(5, 1.0));
        assert!(low >= high / 2 && low <= high);
    }
}
