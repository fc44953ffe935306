//! What HTTP requests get: pieces for clients that have a right to them, the server's own pages under `/.pdtp/`, and
//! everything else from the [`Face`].

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::admission::Admission;
use super::core::{Grant, Input};
use super::dispatcher::{Event, unix_now};
use super::early::PATIENCE;
use super::face::Face;
use super::rules::Rules;
use super::shelf::Shelf;
use super::status::{Counters, Report, SwarmStatus};
use crate::hub::{FileVersion, Hub, HubError};
use crate::peer::head::{RangeRequest, parse_range};
use crate::peer::serve::{Body, Request, Response, Sent, Service};
use crate::peer::{FileSpan, RateLimiter, field};
use crate::wire::token::{Method, Secret, TokenScope, check_token, make_proof};
use crate::wire::{Digest, UrlPath, limits};

/// Names under this are the server's own.
const OWN_PREFIX: &str = "/.pdtp/";

/// Where earlier PDTP servers had their status page. A file or directory of that name comes first.
const OLD_STATUS: [&str; 3] = ["/stats", "/status", "/status/"];

/// Everything that is served over HTTP.
pub(super) struct Site {
    pub(super) name: String,
    pub(super) agent: String,
    pub(super) started: Instant,
    pub(super) face: Face,
    pub(super) hub: Hub,
    pub(super) shelf: Arc<Shelf>,
    /// What the tokens of the origin are made with.
    pub(super) secret: Secret,
    /// Shared by all pieces the origin sends.
    pub(super) limiter: RateLimiter,
    pub(super) rules: Arc<Rules>,
    pub(super) dispatcher: mpsc::Sender<Event>,
    pub(super) counters: Arc<Counters>,
    pub(super) admission: Arc<Admission>,
}

impl Service for Site {
    async fn call(&self, request: Request<'_>) -> Response {
        let head = &request.head;
        let response = if head.fields.get(field::TOKEN).is_some() || head.fields.get(field::PEER_ID).is_some()
        {
            let mut response = match self.piece(&request).await {
                Ok(response) => response,
                Err(refusal) => {
                    Counters::add(&self.counters.refused_pieces, 1);
                    tracing::debug!(remote = %request.remote, ?refusal, "pieces refused");
                    refusal.into()
                }
            };
            // Programs of 2007 ask once on a connection, and wait for its end.
            response.close |= head.fields.get(field::TOKEN).is_none();
            response
        } else if let Some(page) = head.path().strip_prefix(OWN_PREFIX) {
            self.own_page(&request, page).await
        } else if OLD_STATUS.contains(&head.path()) && !self.serves(head.path()).await {
            self.own_page(&request, "status").await
        } else {
            self.count_http_bytes(self.face.answer(head, request.remote.ip()).await)
        };
        self.counters.answered(response.status);
        response
    }
}

/// Why a client does not get pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Not a request for pieces at all.
    Malformed(&'static str),
    /// Only GET.
    Method,
    /// No right to these bytes.
    Forbidden,
    /// No such file.
    NotFound,
    /// Another version than the one asked for.
    OtherVersion,
    /// Nothing of the file lies in the range.
    Range,
    /// The disk failed.
    Disk,
    /// An early GET for which the origin has nothing.
    NothingEarly,
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(what) => Self::text(400, what),
            Refusal::Method => Self::text(405, "pieces are had by GET").with("Allow", "GET"),
            Refusal::Forbidden => Self::text(403, "no transfer allows this"),
            Refusal::NotFound => Self::text(404, "not found"),
            Refusal::OtherVersion => Self::text(412, "this version is no longer served"),
            Refusal::Range => Self::text(416, "the range lies past the end"),
            Refusal::Disk => Self::text(503, "the file cannot be read at present"),
            Refusal::NothingEarly => Self::text(503, "nothing comes from here at present"),
        }
    }
}

impl Site {
    /// Pieces from the origin, for the client whom a transfer tells to fetch them.
    async fn piece(&self, request: &Request<'_>) -> Result<Response, Refusal> {
        let Request { head, local, remote, .. } = request;
        if head.method != "GET" {
            return Err(Refusal::Method);
        }
        let path = UrlPath::parse(head.path()).map_err(|_| Refusal::Malformed("not a path of a file"))?;
        // A token shows what its holder may have, but not that he is where he got it; and without one anybody can say an id.
        if !self.rules.admits(remote.ip(), &path) {
            return Err(Refusal::Forbidden);
        }
        let peer_id =
            head.fields.get(field::PEER_ID).ok_or(Refusal::Malformed("X-PDTP-Peer-Id is missing"))?;
        let range = head.fields.get("Range");
        let (version, bytes, proof) = match (head.fields.get(field::TOKEN), head.fields.get(field::EARLY)) {
            (None, Some(name)) => {
                let Grant { version, bytes } = self.early(name).await?;
                if version.path != path {
                    return Err(Refusal::Forbidden);
                }
                (version, bytes, None)
            }
            (Some(token), _) => {
                let root = head.fields.get("If-Match").and_then(root_of_etag);
                let root = root.ok_or(Refusal::Malformed("If-Match names no version"))?;
                let transfer = head.fields.get(field::TRANSFER).and_then(|id| id.trim().parse().ok());
                let transfer = transfer.ok_or(Refusal::Malformed("X-PDTP-Transfer is missing"))?;
                // The token proves who asks for what; only then is anything looked up.
                let Some(bytes) = exact_range(range) else {
                    return Err(Refusal::Malformed("Range is missing or not one exact range"));
                };
                let scope = TokenScope {
                    method: Method::Get,
                    path: &path,
                    root: &root,
                    min: bytes.start,
                    max: bytes.end - 1,
                    connector: peer_id,
                    transfer,
                };
                if !check_token(&self.secret, &scope, token, unix_now()) {
                    return Err(Refusal::Forbidden);
                }
                (self.version(&path, &root).await?, bytes, Some(make_proof(&self.secret, token)))
            }
            (None, None) => {
                let bytes = exact_range(range);
                let bytes = bytes.ok_or(Refusal::Malformed("Range is missing or not one exact range"))?;
                if head.names_other_port(local.port()) {
                    return Err(Refusal::Forbidden);
                }
                (self.granted(peer_id, &path, &bytes).await?, bytes, None)
            }
        };
        let size = version.hashes.layout().size();
        // An early GET could not know its range.
        if range.is_some() && parse_range(range, size) != RangeRequest::Part(bytes.clone()) {
            return Err(Refusal::Range);
        }
        let file = self.open(&version).await?;
        let is_whole = proof.is_some() && bytes == (0..size);
        let mut response = Response {
            status: if is_whole { 200 } else { 206 },
            fields: Default::default(),
            body: Body::File(
                FileSpan { file, offset: bytes.start, len: bytes.end - bytes.start },
                self.rules.limiter(&version.path, &self.limiter),
            ),
            close: false,
            on_sent: None,
        }
        .with("ETag", format!("\"{}\"", version.root()));
        if !is_whole {
            let content_range = format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1);
            response = response.with("Content-Range", content_range);
        }
        response = match proof {
            Some(proof) => response.with(field::PROOF, proof),
            None => response.with("Content-Type", "application/octet-stream"),
        };
        let counters = self.counters.clone();
        response.on_sent = Some(Box::new(move |sent: Sent| Counters::add(&counters.piece_bytes, sent.bytes)));
        Ok(response)
    }

    /// A version by what names it.
    async fn version(&self, path: &UrlPath, root: &Digest) -> Result<Arc<FileVersion>, Refusal> {
        if let Some(version) = self.shelf.get(path, root) {
            return Ok(version);
        }
        match self.hub.version(path, |_, _| ()).await {
            Ok(version) if version.root() == *root => Ok(version),
            Ok(_) => Err(Refusal::OtherVersion),
            Err(HubError::Io(_) | HubError::Busy) => Err(Refusal::Disk),
            Err(_) => Err(Refusal::NotFound),
        }
    }

    /// The version of which an open transfer lets this client, which has no token, have exactly these bytes.
    async fn granted(
        &self,
        client_id: &str,
        path: &UrlPath,
        bytes: &Range<u64>,
    ) -> Result<Arc<FileVersion>, Refusal> {
        let (answer, granted) = oneshot::channel();
        let (client_id, path, bytes) = (client_id.to_owned(), path.clone(), bytes.clone());
        let ask = Event::Grant { client_id, path, bytes, answer };
        self.dispatcher.send(ask).await.map_err(|_| Refusal::Forbidden)?;
        granted.await.ok().flatten().ok_or(Refusal::Forbidden)
    }

    /// What the origin has for an early GET.
    async fn early(&self, name: &str) -> Result<Grant, Refusal> {
        if name.len() > limits::MAX_TOKEN {
            return Err(Refusal::Malformed("X-PDTP-Early is too long"));
        }
        let (answer, granted) = oneshot::channel();
        let ask = Event::Early { name: name.to_owned(), answer };
        self.dispatcher.send(ask).await.map_err(|_| Refusal::NothingEarly)?;
        let granted = timeout(PATIENCE, granted).await;
        granted.ok().and_then(Result::ok).ok_or(Refusal::NothingEarly)
    }

    /// The open file, if it is still what was hashed.
    async fn open(&self, version: &Arc<FileVersion>) -> Result<Arc<std::fs::File>, Refusal> {
        if let Some(file) = version.opened() {
            return Ok(file);
        }
        let opened = if version.hashes.layout().count() == 1 {
            // The server has looked at the path a moment ago, so the system has it in memory; and of thousands of small
            // files, the way to another thread and back would be felt.
            version.open()
        } else {
            let opening = version.clone();
            tokio::task::spawn_blocking(move || opening.open()).await.map_err(|_| Refusal::Disk)?
        };
        match opened {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Err(Refusal::Disk),
            Err(error) => {
                tracing::info!(path = %version.path, %error, "version cannot be served");
                self.suspect(version).await;
                Err(Refusal::OtherVersion)
            }
        }
    }

    async fn suspect(&self, version: &Arc<FileVersion>) {
        // Without a dispatcher nobody is left to be told.
        let _ = self.dispatcher.send(Event::Input(Input::Suspect { version: version.clone() })).await;
    }

    /// Whether there is a file or directory at a path.
    async fn serves(&self, path: &str) -> bool {
        let Ok(path) = UrlPath::parse(path) else { return false };
        let hub = self.hub.clone();
        let found = tokio::task::spawn_blocking(move || hub.stat(&path));
        !matches!(found.await, Ok(Err(HubError::NotFound)))
    }

    async fn own_page(&self, Request { head, remote, .. }: &Request<'_>, page: &str) -> Response {
        if !matches!(page, "status" | "metrics" | "keys") {
            return Response::text(404, "not found");
        }
        if !matches!(head.method.as_str(), "GET" | "HEAD") {
            return Response::text(405, "GET or HEAD").with("Allow", "GET, HEAD");
        }
        if page == "keys" {
            // An offer, like everything a server says of itself: that a key is here makes it nobody's.
            return own_answer("application/x-pem-file", self.hub.public_key().unwrap_or_default());
        }
        let Some(status) = self.swarm_status(remote.ip()).await else {
            return Response::text(503, "the server is going down");
        };
        let report = Report {
            name: &self.name,
            agent: &self.agent,
            uptime_s: self.started.elapsed().as_secs(),
            connections: self.admission.total() as u64,
            status,
            hub: self.hub.stats(),
            counters: &self.counters,
        };
        let (kind, text) = match page {
            "status" => ("application/json", format!("{:#}\n", report.to_json())),
            _ => ("text/plain; version=0.0.4; charset=utf-8", report.to_prometheus()),
        };
        own_answer(kind, text)
    }

    /// What the dispatcher tells a visitor from an address.
    async fn swarm_status(&self, visitor: IpAddr) -> Option<SwarmStatus> {
        let (answer, status) = oneshot::channel();
        self.dispatcher.send(Event::Status { visitor, answer }).await.ok()?;
        status.await.ok()
    }

    /// Has the bytes of an answer counted, besides whatever else happens when it was sent.
    fn count_http_bytes(&self, mut response: Response) -> Response {
        if matches!(response.body, Body::Empty) {
            return response;
        }
        let (counters, then) = (self.counters.clone(), response.on_sent.take());
        response.on_sent = Some(Box::new(move |sent| {
            Counters::add(&counters.http_bytes, sent.bytes);
            if let Some(then) = then {
                then(sent);
            }
        }));
        response
    }
}

fn own_answer(kind: &'static str, text: String) -> Response {
    Response {
        status: 200,
        fields: Default::default(),
        body: Body::Bytes(Bytes::from(text)),
        close: false,
        on_sent: None,
    }
    .with("Content-Type", kind)
    .with("Cache-Control", "no-store")
}

/// `"root"`, as in `If-Match`.
fn root_of_etag(value: &str) -> Option<Digest> {
    value.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// `bytes=a-b`, the only form that clients of PDTP write, half open.
fn exact_range(value: Option<&str>) -> Option<Range<u64>> {
    let (first, last) = value?.trim().strip_prefix("bytes=")?.split_once('-')?;
    let digits =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (first, end) = (digits(first)?, digits(last)?.checked_add(1)?);
    (first < end).then_some(first..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_exact_or_nothing() {
        assert_eq!(exact_range(Some("bytes=0-0")), Some(0..1));
        assert_eq!(exact_range(Some("bytes=5-9")), Some(5..10));
        for broken in [
            "",
            "bytes=",
            "bytes=5-",
            "bytes=-5",
            "bytes=9-5",
            "bytes=1-2,4-5",
            "bytes=+1-2",
            "items=1-2",
            "bytes=0-18446744073709551615",
            "bytes=0-99999999999999999999",
        ] {
            assert_eq!(exact_range(Some(broken)), None, "{broken}");
        }
        assert_eq!(exact_range(None), None);
    }

    #[test]
    fn etags_name_versions() {
        let root = Digest([7; 32]);
        assert_eq!(root_of_etag(&format!("\"{root}\"")), Some(root));
        for broken in ["", "*", "\"", "\"\"", "W/\"x\"", &root.to_string()] {
            assert_eq!(root_of_etag(broken), None, "{broken}");
        }
    }
}
