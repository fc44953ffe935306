//! The accepting side: reads requests off a connection and writes answers, keep-alive, limits and deadlines
//! included. Used by the peer listener of the client library and by `pdtpd`'s HTTP face alike.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::head::{Fields, RequestHead};
use super::{FileSpan, PieceSink, RateLimiter, ReceiveError, Received};

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
    _connection: &'a mut (),
}

impl RequestBody<'_> {
    /// Bytes announced by `Content-Length`; `None` for chunked or no body.
    pub fn len(&self) -> Option<u64> {
        todo!()
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
        let _ = (continue_fields, pieces, sink, limiter, on_piece);
        todo!()
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
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a file; by sendfile where the platform has it.
    File(FileSpan, RateLimiter),
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
    /// An answer of one line of text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let _ = (status, text.into());
        todo!()
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
    let _ = (stream, first, service, shutdown);
    todo!()
}
