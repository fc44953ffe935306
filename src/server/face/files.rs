//! Files over HTTP. A file is served as it is on disk, hashed or not: only its tag gets better with the hash.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::condition::{Validators, Verdict};
use crate::hub::{Hub, HubError, PlainFile};
use crate::peer::head::{RangeRequest, RequestHead, parse_range};
use crate::peer::serve::{Body, Response};
use crate::peer::{FileSpan, RateLimiter};
use crate::wire::UrlPath;

pub(super) fn answer(
    hub: &Hub,
    head: &RequestHead,
    path: &UrlPath,
    limiter: &RateLimiter,
) -> Result<Response, HubError> {
    let file = hub.open_file(path)?;
    let validators = validators_of(&file);
    let described = |status| {
        let mut response = Response::empty(status).with("ETag", validators.etag());
        if let Some(time) = validators.last_modified() {
            response = response.with("Last-Modified", time);
        }
        response
    };
    let with_range = match validators.judge(&head.fields, head.method == "GET") {
        Verdict::Proceed { with_range } => with_range,
        Verdict::NotModified => return Ok(described(304)),
        Verdict::Failed => return Ok(Response::text(412, "the file is not as expected")),
    };
    let (status, bytes) = match parse_range(head.fields.get("range").filter(|_| with_range), file.size) {
        RangeRequest::Whole => (200, 0..file.size),
        RangeRequest::Part(bytes) => (206, bytes),
        RangeRequest::Unsatisfiable => {
            return Ok(Response::text(416, "the file has no such bytes")
                .with("Content-Range", format!("bytes */{}", file.size)));
        }
    };
    let mut response = described(status)
        .with("Accept-Ranges", "bytes")
        .with("Content-Type", content_type(file.mime.unwrap_or("application/octet-stream")));
    if let Some(digest) = file.version.as_ref().and_then(|version| version.digest) {
        response = response.with("Repr-Digest", format!("sha-256=:{}:", STANDARD.encode(digest.0)));
    }
    if status == 206 {
        let range = format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, file.size);
        response = response.with("Content-Range", range);
    }
    let span = FileSpan { file: file.file, offset: bytes.start, len: bytes.end - bytes.start };
    response.body = Body::File(span, limiter.clone());
    Ok(response)
}

fn validators_of(file: &PlainFile) -> Validators {
    let (tag, is_weak) = match &file.version {
        Some(version) => (version.root().to_string(), false),
        // Not hashed yet, and nobody shall wait for it here. Two writes within one tick of the clock look alike.
        None => (format!("{:x}-{:x}.{:x}", file.size, file.mtime, file.mtime_nanos), true),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mtime = u64::try_from(file.mtime).ok().filter(|mtime| *mtime <= now);
    Validators { tag, is_weak, mtime }
}

/// Plain text says nothing of its encoding; what is published today is UTF-8. Other types can say it themselves.
fn content_type(mime: &str) -> String {
    match mime {
        "text/plain" | "text/markdown" | "text/csv" => format!("{mime}; charset=utf-8"),
        other => other.to_owned(),
    }
}
