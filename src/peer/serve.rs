//! The accepting side: reads requests off a connection and writes answers, keep-alive, limits and deadlines
//! included. Used by the peer listener of the client library and by `pdtpd`'s HTTP face alike.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::date::http_date;
use super::deadlines::Deadlines;
use super::head::{Announced, ContentRange, Fields, HeadError, RequestHead, announced, push_field};
use super::intake::{Intake, bytes_of_run};
use super::link::{Framing, HeadTrouble, Link};
use super::push::while_sending;
use super::send::{Outgoing, SendTrouble};
use super::{FileSpan, PieceSink, RateLimiter, ReceiveError, Received};
use crate::wire::FailureKind;

/// A body that the service left is read away up to this size, to keep the connection.
const MAX_UNREAD_BODY: u64 = 64 * 1024;

/// How long a program on this machine may read nothing of an answer, and how long it may ask for nothing.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const PATIENT_IDLE: Duration = Duration::from_secs(600);

/// Something that answers requests. One value serves all connections.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. The body of a PUT is still in `body`: take it with [`RequestBody::receive`], or leave
    /// it, and it is read away if short or the connection is closed.
    fn call(&self, request: Request<'_>) -> impl Future<Output = Response> + Send;
}

/// A request whose head has come.
pub struct Request<'a> {
    /// The head.
    pub head: RequestHead,
    /// The other side.
    pub remote: SocketAddr,
    /// Our side, as it was dialled.
    pub local: SocketAddr,
    /// What follows the head.
    pub body: RequestBody<'a>,
}

/// The body of a request, not yet read.
pub struct RequestBody<'a> {
    conversation: &'a mut Conversation,
    length: Option<u64>,
    content_range: Option<String>,
    started: Instant,
}

impl RequestBody<'_> {
    /// Bytes announced by `Content-Length`; `None` where there is no body. (Requests in chunked coding are refused
    /// before a service sees them.)
    pub fn len(&self) -> Option<u64> {
        self.length
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.length.unwrap_or(0) == 0
    }

    /// Takes in a run of pieces. Sends `100 Continue` with the given fields (the proof) first, if the other side
    /// waits for it. `on_piece` is called from a blocking thread for each piece as it is verified, and dropped when no more can
    /// be, which may be a moment after this future was.
    ///
    /// A body that is not announced as exactly the bytes of the run is not read at all
    /// ([`FailureKind::Refused`]). Otherwise errors are those of [`super::connect::Pool::get`].
    pub async fn receive(
        &mut self,
        continue_fields: &[(&str, String)],
        pieces: Range<u32>,
        sink: Arc<dyn PieceSink>,
        limiter: &RateLimiter,
        on_piece: impl FnMut(u32) + Send + 'static,
    ) -> Result<Received, ReceiveError> {
        let subject = format!("pieces {}..{} from {}", pieces.start, pieces.end, self.conversation.remote);
        let layout = sink.layout();
        self.check_announced(&subject, bytes_of_run(&layout, &pieces), layout.size())?;
        let conversation = &mut *self.conversation;
        if std::mem::take(&mut conversation.owes_continue) {
            conversation.send_continue(continue_fields).await.map_err(|trouble| {
                let (kind, message) = match trouble {
                    SendTrouble::Slow(slow) => (FailureKind::Timeout, format!("it does not read: {slow}")),
                    SendTrouble::Broken(error) | SendTrouble::File(error) => {
                        (FailureKind::Gone, error.to_string())
                    }
                };
                ReceiveError::new(kind, format!("{subject}: {message}"))
            })?;
        }
        let intake = Intake {
            link: &mut conversation.link,
            framing: &mut conversation.unread,
            pieces,
            sink,
            limiter,
            deadlines: &conversation.deadlines,
            started: self.started,
            subject: &subject,
        };
        let result = intake.run(on_piece).await;
        conversation.spoiled |= result.is_err();
        result
    }

    fn check_announced(&self, subject: &str, run: Option<Range<u64>>, size: u64) -> Result<(), ReceiveError> {
        let refuse =
            |what: String| Err(ReceiveError::new(FailureKind::Refused, format!("{subject}: {what}")));
        let Some(run) = run else { return refuse("there are no such pieces".to_owned()) };
        if self.conversation.unread != Framing::Length(run.end - run.start) {
            return refuse(format!("a body of {:?} bytes instead of {}", self.length, run.end - run.start));
        }
        match &self.content_range {
            Some(field) if !ContentRange::parse(field).is_some_and(|told| told.is(&run, size)) => {
                refuse(format!("it sends {field:?} instead of {run:?} of {size}"))
            }
            _ => Ok(()),
        }
    }
}

/// An answer.
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Fields besides `Content-Length`, `Date` and `Connection`, which are added (and ignored here).
    pub fields: Fields,
    /// What follows the head (not sent in answer to HEAD, but its length is told).
    pub body: Body,
    /// Close the connection after this.
    pub close: bool,
    /// Called once when the body has been sent or has failed.
    pub on_sent: Option<Box<dyn FnOnce(Sent) + Send>>,
}

/// What an answer carries.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a file; by sendfile where the platform has it.
    File(FileSpan, RateLimiter),
    /// Bytes that are still to come.
    Stream(Box<dyn BodyStream>),
}

/// Bytes of a body that come one after the other.
pub trait BodyStream: std::fmt::Debug + Send {
    /// How many there are in all.
    fn length(&self) -> u64;

    /// The next ones, not yet given: at least one. Dropping the future loses none.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send + '_>>;
}

impl Body {
    fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(span, _) => span.len,
            Self::Stream(stream) => stream.length(),
        }
    }
}

/// How the sending of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Payload bytes handed to the kernel.
    pub bytes: u64,
    /// How long that took.
    pub elapsed: std::time::Duration,
    /// Whether that was all of them.
    pub complete: bool,
}

impl Response {
    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, fields: Fields::default(), body: Body::Empty, close: false, on_sent: None }
    }

    /// An answer of one line of text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        text.push('\n');
        let body = Body::Bytes(Bytes::from(text));
        Self { body, ..Self::empty(status) }.with("Content-Type", "text/plain; charset=utf-8")
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.0.push((name.to_owned(), value.into()));
        self
    }

    fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

/// Serves one connection until it ends, 60 s pass without a request, or `shutdown` completes (then the answer
/// under way is finished). `first` are bytes already read off the connection.
pub async fn serve_connection<S: Service>(
    stream: TcpStream,
    first: Bytes,
    service: Arc<S>,
    shutdown: impl Future<Output = ()> + Send,
) {
    serve_with(stream, &first, &*service, shutdown, &Deadlines::default()).await;
}

/// The same for programs on this machine, who may take as long as they like to read: a player may pause for hours.
pub async fn serve_patiently<S: Service>(
    stream: TcpStream,
    service: Arc<S>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let deadlines = Deadlines { body_window: PATIENCE, idle: PATIENT_IDLE, ..Deadlines::default() };
    serve_with(stream, &[], &*service, shutdown, &deadlines).await;
}

pub(super) async fn serve_with<S: Service>(
    stream: TcpStream,
    first: &[u8],
    service: &S,
    shutdown: impl Future<Output = ()> + Send,
    deadlines: &Deadlines,
) {
    // A connection that has no addresses is broken already.
    let (Ok(remote), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let mut conversation = Conversation {
        link: Link::new(stream, first),
        remote,
        local,
        deadlines: *deadlines,
        unread: Framing::Length(0),
        owes_continue: false,
        spoiled: false,
    };
    let mut shutdown = pin!(shutdown);
    let next = loop {
        let asked = tokio::select! {
            biased;
            () = &mut shutdown => return,
            asked = conversation.read_head() => asked,
        };
        let next = match asked {
            Ok(head) => conversation.exchange(head, service).await,
            Err(Some(refusal)) => conversation.answer(refusal, false).await,
            Err(None) => return,
        };
        if next != Next::Request {
            break next;
        }
    };
    if next == Next::Linger {
        conversation.link.linger(Instant::now() + deadlines.linger).await;
    }
}

/// What to do after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Read the next request.
    Request,
    /// Close. There may be unread bytes.
    Linger,
    /// Close: the connection is broken.
    Drop,
}

/// One connection and where it stands.
struct Conversation {
    link: Link,
    remote: SocketAddr,
    local: SocketAddr,
    deadlines: Deadlines,
    /// What is left of the body of the request being answered.
    unread: Framing,
    /// The other side waits for `100 Continue` before it sends that body.
    owes_continue: bool,
    /// A body was wrong or broke off: better to start anew.
    spoiled: bool,
}

impl Conversation {
    /// The next head, or the answer to what is none, or nothing if the connection has ended.
    async fn read_head(&mut self) -> Result<RequestHead, Option<Response>> {
        let stream = Arc::clone(&self.link.stream);
        let bytes = while_sending(&stream, self.link.wait_for_bytes());
        match tokio::time::timeout(self.deadlines.idle, bytes).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(None),
        }
        match tokio::time::timeout(self.deadlines.head, self.link.read_head(RequestHead::parse)).await {
            Ok(Ok(head)) => Ok(head),
            Ok(Err(HeadTrouble::Bad(error @ HeadError::Broken(_)))) => {
                Err(Some(Response::text(400, error.to_string()).closing()))
            }
            Ok(Err(HeadTrouble::Bad(error @ HeadError::TooLarge))) => {
                Err(Some(Response::text(431, error.to_string()).closing()))
            }
            Ok(Err(HeadTrouble::Closed | HeadTrouble::Cut)) => Err(None),
            Err(_) => Err(Some(Response::text(408, "the request took too long").closing())),
        }
    }

    /// Answers one request.
    async fn exchange<S: Service>(&mut self, head: RequestHead, service: &S) -> Next {
        let started = Instant::now();
        let length = match judge(&head) {
            Ok(length) => length,
            Err(refusal) => return self.answer(refusal.closing(), head.method == "HEAD").await,
        };
        self.unread = Framing::Length(length.unwrap_or(0));
        // HTTP/1.0 knows no interim answers; the field is to be ignored there.
        self.owes_continue =
            !head.is_http10 && length.unwrap_or(0) > 0 && head.fields.get("expect").is_some();
        let is_head = head.method == "HEAD";
        let wants_close = head.is_http10 || head.fields.has_word("connection", "close");
        let content_range = head.fields.get("content-range").map(str::to_owned);
        let (remote, local) = (self.remote, self.local);
        let body = RequestBody { conversation: self, length, content_range, started };
        let mut response = service.call(Request { head, remote, local, body }).await;
        response.close |= wants_close || !self.can_go_on();
        self.answer(response, is_head).await
    }

    /// Whether what is left of the request's body can be got past. A body that waits for our leave may or may not
    /// come now, so nothing that follows could be told from it.
    fn can_go_on(&self) -> bool {
        match self.unread {
            _ if self.spoiled => false,
            Framing::Length(left) => left == 0 || (left <= MAX_UNREAD_BODY && !self.owes_continue),
            Framing::Chunked(_) => false,
        }
    }

    async fn send_continue(&mut self, fields: &[(&str, String)]) -> Result<(), SendTrouble> {
        let mut head = b"HTTP/1.1 100 Continue\r\n".to_vec();
        fields.iter().for_each(|(name, value)| push_field(&mut head, name, value));
        head.extend_from_slice(b"\r\n");
        Outgoing::new(&self.link.stream, &self.deadlines).write_all(&head, false, &mut 0).await
    }

    async fn answer(&mut self, response: Response, is_head: bool) -> Next {
        let Response { status, fields, mut body, close, on_sent } = response;
        let mut report = Report { on_sent, started: Instant::now(), bytes: 0, complete: false };
        let head = encode_head(status, &fields, body.len(), close);
        // A head that announces more to come must not be sent when nothing does: it would wait for it.
        let has_body = !is_head && !matches!(status, 204 | 304) && body.len() > 0;
        let mut out = Outgoing::new(&self.link.stream, &self.deadlines);
        let mut result = out.write_all(&head, has_body, &mut 0).await;
        if result.is_ok() && has_body {
            result = match &mut body {
                Body::Empty => Ok(()),
                Body::Bytes(bytes) => out.write_all(bytes, false, &mut report.bytes).await,
                Body::File(span, limiter) => out.send_file(span, limiter, &mut report.bytes).await,
                Body::Stream(stream) => out.send_stream(&mut **stream, &mut report.bytes).await,
            };
        }
        if let Err(trouble) = result {
            tracing::debug!(remote = %self.remote, status, sent = report.bytes, ?trouble, "answer cut short");
            return Next::Drop;
        }
        report.complete = true;
        drop(report);
        if close {
            return Next::Linger;
        }
        let deadline = Instant::now() + self.deadlines.head;
        match self.link.discard_body(&mut self.unread, deadline).await {
            true => Next::Request,
            false => Next::Drop,
        }
    }
}

/// What can be refused without asking the service; otherwise the length of the body.
fn judge(head: &RequestHead) -> Result<Option<u64>, Response> {
    if !head.is_http10 && head.fields.get("host").is_none() {
        return Err(Response::text(400, "a request needs a Host field"));
    }
    let length = match announced(&head.fields) {
        Ok(Announced::Nothing) => None,
        Ok(Announced::Length(length)) => Some(length),
        Ok(Announced::Chunked) => return Err(Response::text(411, "a body needs a Content-Length field")),
        Err(error) => return Err(Response::text(400, error.to_string())),
    };
    match head.fields.get("expect") {
        Some(what) if !head.is_http10 && !what.trim().eq_ignore_ascii_case("100-continue") => {
            Err(Response::text(417, "the only known expectation is 100-continue"))
        }
        _ => Ok(length),
    }
}

fn encode_head(status: u16, fields: &Fields, length: u64, close: bool) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
    // Between peers there are no caches, and this goes with every piece over the line that is scarce.
    let is_for_peer = fields.get(super::field::PROOF).is_some();
    if !is_for_peer {
        push_field(&mut head, "Date", &http_date(SystemTime::now()));
    }
    for (name, value) in &fields.0 {
        let ours = ["date", "content-length", "connection", "transfer-encoding"];
        if !ours.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            push_field(&mut head, name, value);
        }
    }
    // These never have a body, and a length of what they do not have would be read as one of what was asked for.
    if !matches!(status, 204 | 304) {
        push_field(&mut head, "Content-Length", &length.to_string());
    }
    if close || !is_for_peer {
        push_field(&mut head, "Connection", if close { "close" } else { "keep-alive" });
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "Status",
    }
}

/// Calls `on_sent` when dropped, so that it is called however sending ends.
struct Report {
    on_sent: Option<Box<dyn FnOnce(Sent) + Send>>,
    started: Instant,
    bytes: u64,
    complete: bool,
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(on_sent) = self.on_sent.take() {
            on_sent(Sent { bytes: self.bytes, elapsed: self.started.elapsed(), complete: self.complete });
        }
    }
}
