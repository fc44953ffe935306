//! The HTTP face for browsers and curl: files with ranges and conditions, directories as HTML or JSON.
//!
//! Not responsible for the names under `/.pdtp/`, for peers (requests with a token), or for connections.

mod condition;
mod directory;
mod files;
mod html;
mod negotiate;
mod order;
// They need symlinks, pipes and names that are not text.
#[cfg(all(test, unix))]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use super::rules::Rules;
use crate::hub::{Hub, HubError};
use crate::peer::RateLimiter;
use crate::peer::head::RequestHead;
use crate::peer::serve::Response;
use crate::wire::{EntryKind, PdtpUri, UrlPath};

const METHODS: &str = "GET, HEAD, OPTIONS";

/// Answers what is neither for peers nor for the server itself. Cloning shares the repository and the limit.
#[derive(Debug, Clone)]
pub(super) struct Face {
    hub: Hub,
    /// Name of the server, for requests that do not say how they call it.
    name: String,
    /// What the bytes of files count against.
    limiter: RateLimiter,
    rules: Arc<Rules>,
}

impl Face {
    pub(super) fn new(hub: Hub, name: String, limiter: RateLimiter) -> Self {
        Self { hub, name, limiter, rules: Arc::default() }
    }

    /// The same with rules of the operator.
    pub(super) fn with_rules(self, rules: Arc<Rules>) -> Self {
        Self { rules, ..self }
    }

    /// Answers a request from an address.
    pub(super) async fn answer(&self, head: &RequestHead, remote: IpAddr) -> Response {
        let response = match head.method.as_str() {
            "GET" | "HEAD" => match UrlPath::parse(head.path()) {
                Ok(path) => {
                    let (face, head) = (self.clone(), head.clone());
                    let answer = tokio::task::spawn_blocking(move || face.find(&head, &path, remote));
                    answer.await.unwrap_or_else(|_| Response::text(500, "internal error"))
                }
                Err(error) => Response::text(400, error.to_string()),
            },
            "OPTIONS" => Response::empty(204).with("Allow", METHODS),
            _ => Response::text(405, "this server is for reading").with("Allow", METHODS),
        };
        // Whatever a file contains, it is what its name says and nothing more powerful.
        response.with("X-Content-Type-Options", "nosniff")
    }

    /// Answers a GET or HEAD. Blocks on the disk.
    fn find(&self, head: &RequestHead, path: &UrlPath, remote: IpAddr) -> Response {
        if !self.rules.admits(remote, path) {
            let text = format!("not for your address, {}", remote.to_canonical());
            return Response::text(403, text);
        }
        let is_dir_url = head.path().ends_with('/');
        let result = match self.hub.stat(path).map(|found| found.kind) {
            Ok(EntryKind::Dir) if !is_dir_url => return moved_to_directory(head, path),
            Ok(EntryKind::Dir) => {
                directory::answer(&self.hub, head, path, &self.uri(head, path), &self.rules.audience(remote))
            }
            Ok(EntryKind::File) if is_dir_url => Err(HubError::NotFound),
            Ok(EntryKind::File) => {
                files::answer(&self.hub, head, path, &self.rules.limiter(path, &self.limiter))
            }
            Err(error) => Err(error),
        };
        result.unwrap_or_else(|error| refusal(path, &error))
    }

    /// The `pdtp://` URI of a directory, with host and port as the asker sees them.
    fn uri(&self, head: &RequestHead, path: &UrlPath) -> PdtpUri {
        let place = head.fields.get("host").and_then(|host| {
            let mut uri: PdtpUri = format!("pdtp://{host}").parse().ok()?;
            let is_port_said = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            if !is_port_said {
                // The port that HTTP leaves unsaid.
                uri.port = 80;
            }
            Some(uri)
        });
        let (host, port) =
            place.map_or_else(|| (self.name.clone(), crate::wire::DEFAULT_PORT), |uri| (uri.host, uri.port));
        PdtpUri { host, port, path: path.clone(), is_dir: true, root: None, keys: Vec::new() }
    }
}

/// Relative links in a directory only work when its URL ends in `/`.
fn moved_to_directory(head: &RequestHead, path: &UrlPath) -> Response {
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    Response::text(301, "this is a directory").with("Location", format!("{path}/{query}"))
}

fn refusal(path: &UrlPath, error: &HubError) -> Response {
    match error {
        HubError::NotFound | HubError::NotDirectory | HubError::IsDirectory => {
            Response::text(404, "not found")
        }
        HubError::Denied => Response::text(403, "access denied"),
        HubError::Cursor => Response::text(400, "invalid cursor"),
        HubError::Unstable => Response::text(503, "the file keeps changing").with("Retry-After", "5"),
        HubError::Busy => Response::text(503, "too many files are open").with("Retry-After", "1"),
        other => {
            tracing::warn!(%path, error = %other, "cannot answer over HTTP");
            Response::text(500, "the disk failed")
        }
    }
}
