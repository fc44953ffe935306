//! The accepting side: reads requests off a connection and writes answers, keep-alive, limits and deadlines
//! included. Used by the peer listener of the client library and by `pdtpd`'s HTTP face alike.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::date::http_date;
use super::deadlines::Deadlines;
use super::head::{Announced, Fields, HeadError, RequestHead, announced, push_field};
use super::intake::{Intake, bytes_of_run};
use super::link::{Chunked, Framing, HeadTrouble, Link};
use super::send::Outgoing;
use super::{FileSpan, PieceSink, RateLimiter, ReceiveError, Received};
use crate::wire::FailureKind;

/// The body of a request that nobody wanted is read away up to this size; beyond it the connection is closed.
const MAX_DRAIN: u64 = 64 * 1024;

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
    link: &'a mut Link,
    framing: &'a mut Framing,
    /// The other side waits for `100 Continue`.
    expects_continue: &'a mut bool,
    deadlines: &'a Deadlines,
    started: Instant,
}

impl RequestBody<'_> {
    /// Bytes announced by `Content-Length` that are still to come.
    pub fn len(&self) -> Option<u64> {
        match *self.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked(_) => None,
        }
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Takes in a run of pieces. Sends `100 Continue` with the given fields (the proof) first, if the other side
    /// waits for it. `on_piece` is called from the async task for each piece as it is verified.
    pub async fn receive(
        &mut self,
        continue_fields: &[(&str, String)],
        pieces: Range<u32>,
        sink: Arc<dyn PieceSink>,
        limiter: &RateLimiter,
        on_piece: impl FnMut(u32) + Send,
    ) -> Result<Received, ReceiveError> {
        let refuse =
            |kind, message: String| ReceiveError { kind, message, received: Received::default(), disk: None };
        let subject = "PUT";
        let expected = bytes_of_run(&sink.layout(), &pieces).map(|bytes| bytes.end - bytes.start);
        if expected.is_none() || expected != self.len() {
            return Err(refuse(
                FailureKind::Refused,
                format!("{subject}: the body is not as long as its range"),
            ));
        }
        if std::mem::take(self.expects_continue) {
            let mut head = b"HTTP/1.1 100 Continue\r\n".to_vec();
            for (name, value) in continue_fields {
                push_field(&mut head, name, value);
            }
            head.extend_from_slice(b"\r\n");
            let mut out = Outgoing::new(&self.link.stream, self.deadlines);
            if let Err(trouble) = out.write_all(&head, false, &mut 0).await {
                return Err(refuse(FailureKind::Gone, format!("{subject}: {trouble:?}")));
            }
        }
        let intake = Intake {
            link: self.link,
            framing: self.framing,
            pieces,
            sink,
            limiter,
            deadlines: self.deadlines,
            started: self.started,
            subject: &subject,
        };
        intake.run(on_piece).await
    }
}

/// An answer.
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Fields besides `Content-Length`, `Date` and `Connection`, which are added.
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
}

impl Body {
    fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(span, _) => span.len,
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
        let mut text = text.into();
        text.push('\n');
        let body = Body::Bytes(Bytes::from(text));
        Self { body, ..Self::empty(status) }.with("Content-Type", "text/plain; charset=utf-8")
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.0.push((name.to_owned(), value.into()));
        self
    }
}

/// Serves one connection until it ends, `idle` passes without a request, or `shutdown` completes (then the answer
/// under way is finished). `first` are bytes already read off the connection.
pub async fn serve_connection<S: Service>(
    stream: TcpStream,
    first: Bytes,
    service: Arc<S>,
    shutdown: impl Future<Output = ()> + Send,
) {
    serve_with(stream, &first, &*service, shutdown, &Deadlines::default()).await;
}

pub(super) async fn serve_with<S: Service>(
    stream: TcpStream,
    first: &[u8],
    service: &S,
    shutdown: impl Future<Output = ()> + Send,
    deadlines: &Deadlines,
) {
    let (Ok(remote), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let mut connection = Connection { link: Link::new(stream, first), service, deadlines, remote, local };
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            there = timeout(deadlines.idle, connection.link.wait_for_bytes()) => match there {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
        match connection.exchange().await {
            After::KeepAlive => {}
            After::Close => return connection.link.linger(Instant::now() + deadlines.linger).await,
            After::Broken => return,
        }
        let ending =
            std::future::poll_fn(|context| Poll::Ready(shutdown.as_mut().poll(context).is_ready())).await;
        if ending {
            return;
        }
    }
}

/// What becomes of a connection after an answer.
enum After {
    KeepAlive,
    Close,
    Broken,
}

struct Connection<'a, S> {
    link: Link,
    service: &'a S,
    deadlines: &'a Deadlines,
    remote: SocketAddr,
    local: SocketAddr,
}

impl<S: Service> Connection<'_, S> {
    /// One request and its answer.
    async fn exchange(&mut self) -> After {
        let started = Instant::now();
        let head = match timeout(self.deadlines.head, self.link.read_head(RequestHead::parse)).await {
            Err(_) => return self.refuse(408, "the request did not come to its end").await,
            Ok(Err(HeadTrouble::Closed | HeadTrouble::Cut)) => return After::Broken,
            Ok(Err(HeadTrouble::Bad(error @ HeadError::TooLarge))) => {
                return self.refuse(431, &error.to_string()).await;
            }
            Ok(Err(HeadTrouble::Bad(error))) => return self.refuse(400, &error.to_string()).await,
            Ok(Ok(head)) => head,
        };
        let mut framing = match announced(&head.fields) {
            Ok(Announced::Nothing) => Framing::Length(0),
            Ok(Announced::Length(length)) => Framing::Length(length),
            Ok(Announced::Chunked) => Framing::Chunked(Chunked::Size),
            Err(error) => return self.refuse(400, &error.to_string()).await,
        };
        if let Framing::Chunked(_) = framing {
            return self.refuse(411, "a body needs a Content-Length").await;
        }
        if !head.is_http10 && head.fields.get("host").is_none() {
            return self.refuse(400, "a request needs a Host").await;
        }
        let mut expects_continue = match head.fields.get("expect") {
            None => false,
            Some(_) if head.is_http10 => false,
            Some(what) if what.eq_ignore_ascii_case("100-continue") => true,
            Some(_) => return self.refuse(417, "unknown expectation").await,
        };
        let is_head = head.method == "HEAD";
        let wants_close = head.is_http10 && !head.fields.has_word("connection", "keep-alive")
            || head.fields.has_word("connection", "close");
        let body = RequestBody {
            link: &mut self.link,
            framing: &mut framing,
            expects_continue: &mut expects_continue,
            deadlines: self.deadlines,
            started,
        };
        let request = Request { head, remote: self.remote, local: self.local, body };
        let mut response = self.service.call(request).await;

        // A body that nobody took: short ones are read away, so that the connection can be kept. One that was not
        // even begun, because the other side waits for leave to send it, may come or not; only closing is sure.
        let short = matches!(framing, Framing::Length(left) if left <= MAX_DRAIN);
        response.close |= wants_close || (!framing.is_over() && (expects_continue || !short));
        if !framing.is_over() && !response.close {
            let deadline = Instant::now() + self.deadlines.head;
            response.close |= !self.link.discard_body(&mut framing, deadline).await;
        }
        self.respond(response, is_head).await
    }

    /// An answer to something that is no proper request: after it nothing on the connection can be understood.
    async fn refuse(&mut self, status: u16, why: &str) -> After {
        self.respond(Response { close: true, ..Response::text(status, why) }, false).await
    }

    async fn respond(&mut self, response: Response, is_head: bool) -> After {
        let Response { status, fields, body, close, on_sent } = response;
        let mut report = Report { on_sent, started: Instant::now(), bytes: 0, complete: false };
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
        push_field(&mut head, "Date", &http_date(SystemTime::now()));
        for (name, value) in &fields.0 {
            push_field(&mut head, name, value);
        }
        // RFC 9110 section 8.6: these have no body, and no length to tell.
        if !matches!(status, 100..200 | 204 | 304) {
            push_field(&mut head, "Content-Length", &body.len().to_string());
        }
        if close {
            push_field(&mut head, "Connection", "close");
        }
        head.extend_from_slice(b"\r\n");

        let mut out = Outgoing::new(&self.link.stream, self.deadlines);
        let sent = match body {
            _ if is_head => out.write_all(&head, false, &mut 0).await,
            Body::Empty => out.write_all(&head, false, &mut 0).await,
            Body::Bytes(bytes) => match out.write_all(&head, !bytes.is_empty(), &mut 0).await {
                Ok(()) => out.write_all(&bytes, false, &mut report.bytes).await,
                failed => failed,
            },
            Body::File(span, limiter) => match out.write_all(&head, span.len > 0, &mut 0).await {
                Ok(()) => out.send_file(&span, &limiter, &mut report.bytes).await,
                failed => failed,
            },
        };
        report.complete = sent.is_ok();
        match sent {
            Ok(()) if close => After::Close,
            Ok(()) => After::KeepAlive,
            Err(trouble) => {
                tracing::debug!(remote = %self.remote, ?trouble, "answer not sent to its end");
                After::Broken
            }
        }
    }
}

/// Makes sure that `on_sent` is called, also when the task is dropped.
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

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}
