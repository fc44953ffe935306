//! The dialling side: GET and PUT of runs of pieces over kept connections.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{FileSpan, PieceSink, RateLimiter, ReceiveError, Received};
use crate::wire::{Digest, UrlPath};

/// Kept connections to other hosts, reused per address. Cloning shares them.
#[derive(Clone)]
pub struct Pool {
    _inner: Arc<()>,
}

/// What both methods need to know.
#[derive(Debug, Clone)]
pub struct Errand {
    /// Whom to dial.
    pub peer: SocketAddr,
    /// `Host` field: the host of the URL, without port.
    pub host: String,
    /// File.
    pub path: UrlPath,
    /// Version; absent when the server is version 2.
    pub root: Option<Digest>,
    /// Bytes, half open.
    pub bytes: Range<u64>,
    /// Size of the file.
    pub size: u64,
    /// Own client id.
    pub own_id: String,
    /// `transfer.id`.
    pub transfer: Option<u64>,
    /// `transfer.token`.
    pub token: Option<String>,
    /// `transfer.proof`: when present, nothing counts before the acceptor has returned it.
    pub proof: Option<String>,
}

/// How a PUT ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Payload bytes handed over.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Pool {
    /// `connect_timeout` bounds dialling, and the wait for the head of an answer.
    pub fn new(connect_timeout: Duration) -> Self {
        let _ = connect_timeout;
        todo!()
    }

    /// Opens a connection in advance, so that the first GET to `peer` does not wait for it.
    pub fn warm(&self, peer: SocketAddr) {
        let _ = peer;
        todo!()
    }

    /// Receives a run of pieces. Dropping the future aborts it; pieces verified by then are kept.
    pub async fn get(
        &self,
        errand: &Errand,
        pieces: Range<u32>,
        sink: Arc<dyn PieceSink>,
        limiter: &RateLimiter,
        on_piece: impl FnMut(u32) + Send,
    ) -> Result<Received, ReceiveError> {
        let _ = (errand, pieces, sink, limiter, on_piece);
        todo!()
    }

    /// Sends a run of pieces.
    pub async fn put(
        &self,
        errand: &Errand,
        span: FileSpan,
        limiter: &RateLimiter,
    ) -> Result<Delivered, ReceiveError> {
        let _ = (errand, span, limiter);
        todo!()
    }
}
