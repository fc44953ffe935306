//! Files over HTTP for players on this machine: any number of them, each where it likes, while the files come.
//!
//! The names are those of the server. A file is opened when it is first asked for, and kept open for a while after its
//! last request: players open a new connection for each jump.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pdtp::client::{Error, ErrorKind, Reader, ReaderOptions, Session};
use pdtp::content::keys::Fingerprint;
use pdtp::peer::head::{RangeRequest, RequestHead, parse_range};
use pdtp::peer::serve::{Body, Request, Response, Sent, Service};
use pdtp::wire::{Digest, EntryKind, PdtpUri, UrlPath};
use serde_json::{Value, json};

use super::body::Film;
use crate::browse::path_of;

/// Files that nobody asks for any more and that are kept all the same.
const MAX_IDLE: usize = 8;
const METHODS: &str = "GET, HEAD, OPTIONS";

/// What is served, and how.
pub(super) struct Gateway {
    pub(super) session: Session,
    pub(super) uri: PdtpUri,
    /// The URI names a directory.
    pub(super) is_dir: bool,
    pub(super) window: u64,
    /// How long a file may take to be opened.
    pub(super) patience: Option<Duration>,
    /// What happens, for `--json`.
    pub(super) tell: Box<dyn Fn(Value) + Send + Sync>,
    films: Mutex<HashMap<UrlPath, Slot>>,
    last_request: AtomicU64,
}

/// An open file.
struct Slot {
    /// Reads nothing itself: what has come stays as long as it lives.
    anchor: Arc<Reader>,
    used: u64,
}

impl Gateway {
    pub(super) fn new(
        session: Session,
        uri: PdtpUri,
        is_dir: bool,
        window: u64,
        patience: Option<Duration>,
        tell: Box<dyn Fn(Value) + Send + Sync>,
    ) -> Self {
        let (films, last_request) = (Mutex::default(), AtomicU64::new(0));
        Self { session, uri, is_dir, window, patience, tell, films, last_request }
    }

    fn films(&self) -> MutexGuard<'_, HashMap<UrlPath, Slot>> {
        // Nothing under this lock can panic half-way through a change.
        self.films.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file at a path, opened if need be. Blocks.
    pub(super) fn open(&self, path: &UrlPath) -> Result<Arc<Reader>, Error> {
        let used = self.last_request.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.films().get_mut(path) {
            slot.used = used;
            return Ok(Arc::clone(&slot.anchor));
        }
        let options = ReaderOptions {
            // What is asked for will say where.
            window: 0,
            expect_root: self.uri.root.filter(|_| *path == self.uri.path),
            verify: None,
            keys: self.uri.keys.iter().copied().map(Fingerprint).collect(),
        };
        let anchor = Arc::new(self.session.open_reader(path, options, self.patience)?);
        (self.tell)(json!({"event": "file", "path": path.as_str(), "size": anchor.size(),
            "root": anchor.root(), "mime": anchor.mime()}));
        let mut films = self.films();
        // Who came first while this one was opened is as good: they share what comes.
        films.insert(path.clone(), Slot { anchor: Arc::clone(&anchor), used });
        let mut idle: Vec<_> = films
            .iter()
            .filter(|(_, slot)| Arc::strong_count(&slot.anchor) == 1)
            .map(|(path, slot)| (slot.used, path.clone()))
            .collect();
        idle.sort_unstable();
        for (_, path) in idle.iter().take(idle.len().saturating_sub(MAX_IDLE)) {
            films.remove(path);
        }
        Ok(anchor)
    }

    /// A reader of its own for a request. Blocks.
    fn reader(&self, path: &UrlPath, from: u64) -> Result<(Arc<Reader>, Reader), Error> {
        let anchor = self.open(path)?;
        let error = match anchor.another(from, self.window) {
            Ok(reader) => return Ok((anchor, reader)),
            Err(error) => error,
        };
        // That version is gone, or something else went wrong with it: the next request begins anew.
        self.films().remove(path);
        Err(error)
    }

    /// Answers a GET or HEAD. Blocks.
    fn find(self: &Arc<Self>, head: &RequestHead) -> Response {
        let Ok(path) = UrlPath::parse(head.path()) else {
            return Response::text(400, "this is no path");
        };
        if !self.is_dir {
            if path.is_root() && !self.uri.path.is_root() {
                return Response::text(302, "this way").with("Location", self.uri.path.as_str());
            }
            if path != self.uri.path {
                return Response::text(404, format!("only {} is served here", self.uri.path));
            }
        } else if !path.is_under(&self.uri.path) {
            return Response::text(404, format!("only what is in {} is served here", self.uri.path));
        }
        let answer = match self.is_dir && (head.path().ends_with('/') || path == self.uri.path) {
            true => self.index(&path),
            false => self.film(head, &path),
        };
        answer.unwrap_or_else(|error| refusal(&path, &error))
    }

    fn film(self: &Arc<Self>, head: &RequestHead, path: &UrlPath) -> Result<Response, Error> {
        let film = match self.open(path) {
            // Of a directory: relative links in it need the stroke.
            Err(error) if error.kind == ErrorKind::Argument && self.is_dir => {
                return Ok(Response::text(301, "this is a directory").with("Location", format!("{path}/")));
            }
            film => film?,
        };
        // A server of version 2 has no versions.
        let is_told = film.root() != Digest::default();
        let tag = format!("\"{}\"", film.root());
        let described = |status| {
            let response = Response::empty(status).with("Accept-Ranges", "bytes");
            if is_told { response.with("ETag", tag.clone()) } else { response }
        };
        let names = |field: &str, tag: &str| {
            field.split(',').any(|one| matches!(one.trim(), "*") || one.trim() == tag)
        };
        if is_told && head.fields.get("if-none-match").is_some_and(|field| names(field, &tag)) {
            return Ok(described(304));
        }
        let is_meant = head.fields.get("if-range").is_none_or(|field| is_told && field.trim() == tag);
        let range = head.fields.get("range").filter(|_| is_meant && head.method == "GET");
        let (status, bytes) = match parse_range(range, film.size()) {
            RangeRequest::Whole => (200, 0..film.size()),
            RangeRequest::Part(bytes) => (206, bytes),
            RangeRequest::Unsatisfiable => {
                return Ok(Response::text(416, "the file has no such bytes")
                    .with("Content-Range", format!("bytes */{}", film.size())));
            }
        };
        let mut response = described(status)
            .with("Content-Type", film.mime().unwrap_or_else(|| "application/octet-stream".to_owned()));
        if status == 206 {
            let range = format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, film.size());
            response = response.with("Content-Range", range);
        }
        let length = bytes.end - bytes.start;
        if head.method == "HEAD" {
            response.body = Body::Stream(Box::new(Film::new(film.another(bytes.start, 0)?, length)));
            return Ok(response);
        }
        let (anchor, reader) = self.reader(path, bytes.start)?;
        response.body = Body::Stream(Box::new(Film::new(reader, length)));
        let number = self.last_request.fetch_add(1, Ordering::Relaxed);
        (self.tell)(json!({"event": "request", "id": number, "path": path.as_str(),
            "from": bytes.start, "to": bytes.end}));
        let (gateway, path) = (Arc::clone(self), path.clone());
        response.on_sent = Some(Box::new(move |sent: Sent| {
            let ms = u64::try_from(sent.elapsed.as_millis()).unwrap_or(u64::MAX);
            (gateway.tell)(json!({"event": "sent", "id": number, "path": path.as_str(),
                "bytes": sent.bytes, "ms": ms, "complete": sent.complete}));
            // Should it have failed for good, the next request begins anew.
            if anchor.another(0, 0).is_err() {
                gateway.films().retain(|_, slot| !Arc::ptr_eq(&slot.anchor, &anchor));
            }
        }));
        Ok(response)
    }

    /// A plain list of links, for people. Blocks.
    fn index(&self, path: &UrlPath) -> Result<Response, Error> {
        let listing = self.session.list(path, 1, self.patience)?;
        let name = path.file_name();
        let title =
            if name.is_empty() { self.uri.host.clone() } else { String::from_utf8_lossy(&name).into_owned() };
        let title = html(&title);
        let mut page = format!(
            "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
        );
        for entry in &listing.entries {
            let name = html(&entry.name);
            let Ok(place) = path_of(path, entry).map(|place| html(place.as_str())) else { continue };
            let stroke = if entry.kind == EntryKind::Dir { "/" } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(page, "<li><a href=\"{place}{stroke}\">{name}{stroke}</a>");
        }
        page.push_str("</ul>\n");
        let response = Response::text(200, page);
        let fields = response.fields.0.into_iter().filter(|(name, _)| name != "Content-Type").collect();
        let fields = pdtp::peer::head::Fields(fields);
        Ok(Response { fields, ..Response { fields: Default::default(), ..response } }
            .with("Content-Type", "text/html; charset=utf-8")
            .with("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"))
    }
}

/// The service of one gateway.
pub(super) struct Desk(pub(super) Arc<Gateway>);

impl Service for Desk {
    async fn call(&self, request: Request<'_>) -> Response {
        let head = request.head;
        // A page from elsewhere that has made its name point here must not read what its visitor reads.
        if !head.fields.get("host").is_none_or(is_of_this_machine) {
            return Response::text(421, "this is no name of this machine; use its address");
        }
        let response = match head.method.as_str() {
            "GET" | "HEAD" => {
                let gateway = Arc::clone(&self.0);
                let answer = tokio::task::spawn_blocking(move || gateway.find(&head));
                answer.await.unwrap_or_else(|_| Response::text(500, "internal error"))
            }
            "OPTIONS" => Response::empty(204).with("Allow", METHODS),
            _ => Response::text(405, "this is for playing").with("Allow", METHODS),
        };
        response.with("X-Content-Type-Options", "nosniff")
    }
}

/// Whether a `Host` field names no name but an address, or `localhost`.
fn is_of_this_machine(host: &str) -> bool {
    let host = host.trim();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn refusal(path: &UrlPath, error: &Error) -> Response {
    let status = match error.kind {
        ErrorKind::NotFound => 404,
        ErrorKind::Denied | ErrorKind::Unsigned | ErrorKind::UnknownKey => 403,
        ErrorKind::Signature | ErrorKind::KeyChanged | ErrorKind::Rejected => 403,
        ErrorKind::Argument => 404,
        ErrorKind::Busy | ErrorKind::Limit | ErrorKind::Changed | ErrorKind::State => 503,
        ErrorKind::Timeout => 504,
        ErrorKind::NoSpace => 507,
        ErrorKind::Io | ErrorKind::ReadOnly | ErrorKind::Internal => 500,
        _ => 502,
    };
    Response::text(status, format!("{path}: {error}"))
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_of_this_machine() {
        for good in
            ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LocalHost", "[::1]", "[::1]:80", "192.168.1.7:9"]
        {
            assert!(is_of_this_machine(good), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", ""]
        {
            assert!(!is_of_this_machine(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_text_and_not_markup() {
        assert_eq!(html("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}
