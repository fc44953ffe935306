//! The link to a server.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use super::callbacks::to_number;
use super::client::{pdtp_client, timeout};
use super::delivery::Shared;
use super::error::code_of;
use super::guard::{self, argument};
use super::handle::{give, handle};
use super::text;
use crate::client::{Error, Session, SessionState, no_option};
use crate::content::keys::Fingerprint;
use crate::wire::{Digest, PdtpUri, UrlPath};

/// How a session stands.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_session_states {
    /// Dialling, or registering for the first time.
    PDTP_SESSION_CONNECTING = 1,
    /// Registered: the server answers.
    PDTP_SESSION_READY = 2,
    /// The link broke. What was in flight goes on, and so do the tries to connect again.
    PDTP_SESSION_LOST = 3,
    /// The server does not want this client, or is none. No more tries, unless pdtp_session_reconnect is called.
    PDTP_SESSION_REFUSED = 4,
    /// Closed from this side: the client was freed.
    PDTP_SESSION_CLOSED = 5,
}

/// What is behind a `pdtp_session`.
pub struct SessionData {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Session,
    uri: PdtpUri,
}

handle! {
    /// The link to a server.
    pdtp_session, SessionData, b"PDse", live: true
}

/// A file or directory on the server of a session.
pub(super) struct Place {
    pub(super) path: UrlPath,
    /// Written with `/` at its end.
    pub(super) is_dir: bool,
    /// Of a URI with `#root=`.
    pub(super) root: Option<Digest>,
    /// Of a URI with `#key=`.
    pub(super) keys: Vec<Fingerprint>,
}

impl SessionData {
    /// What the header calls a path: `/dir/file`, percent-encoded, or a whole URI of this server.
    pub(super) fn place(&self, text: &str) -> Result<Place, Error> {
        if text.starts_with('/') {
            let path = UrlPath::parse(text).map_err(|why| argument("path", why))?;
            return Ok(Place { path, is_dir: text.ends_with('/'), root: None, keys: Vec::new() });
        }
        let uri: PdtpUri = text
            .parse()
            .map_err(|why| argument("path", format_args!("neither /PATH nor a URI of this server: {why}")))?;
        if !uri.host.eq_ignore_ascii_case(&self.uri.host) || uri.port != self.uri.port {
            return Err(argument(
                "path",
                format_args!("{uri} is of another server than this session, {}", self.uri),
            ));
        }
        let keys = uri.keys.into_iter().map(Fingerprint).collect();
        Ok(Place { path: uri.path, is_dir: uri.is_dir, root: uri.root, keys })
    }
}

/// A state as C numbers it.
pub(super) fn pdtp_session_state_code(state: &SessionState) -> pdtp_session_states {
    match state {
        SessionState::Connecting => pdtp_session_states::PDTP_SESSION_CONNECTING,
        SessionState::Ready => pdtp_session_states::PDTP_SESSION_READY,
        SessionState::Lost { .. } => pdtp_session_states::PDTP_SESSION_LOST,
        SessionState::Refused { .. } => pdtp_session_states::PDTP_SESSION_REFUSED,
        SessionState::Closed => pdtp_session_states::PDTP_SESSION_CLOSED,
    }
}

/// Begins to connect to the server of `uri`: "pdtp://host[:port]/…", whose path does not matter here. How it goes is
/// told by PDTP_EVENT_SESSION; nothing needs to wait for that: what is started on the session begins when it is
/// ready, and a link that breaks is made again. `user_data` comes back in the session's events. Free `*out` with
/// pdtp_session_free.
///
/// Never blocks. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT (no such
/// URI), PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_session_open(
    out: *mut *mut pdtp_session,
    client: *mut pdtp_client,
    uri: *const c_char,
    user_data: *mut c_void,
) -> c_int {
    guard::code(|| {
        let out = out!(out, ptr::null_mut());
        // A copy: its first event may lead another thread to free the client, before this returns.
        let shared = Arc::clone(&borrow!(client).shared);
        shared.alive()?;
        let text = text!(uri);
        let uri: PdtpUri = text.parse().map_err(|why| argument("uri", format_args!("{text}: {why}")))?;
        let engine = shared.engine.open_session(&uri, to_number(user_data))?;
        let uri = PdtpUri { path: UrlPath::root(), is_dir: true, root: None, keys: Vec::new(), ..uri };
        *out = give(SessionData { shared, engine, uri });
        Ok(())
    })
}

/// Lets a session go: the link is closed when nothing uses it any more; transfers under way go on. NULL is fine. In
/// a child after fork() it does nothing.
///
/// Never blocks. Any thread, callbacks included; nobody may use the handle any more. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_session_free(session: *mut pdtp_session) {
    guard::quiet(|| drop(take!(session)));
}

/// Waits until the session is ready, or was refused, or `timeout_ms` milliseconds have passed (negative = for ever).
///
/// Blocks up to `timeout_ms`. Any thread, but not from a callback (PDTP_E_REENTRANT). 0 when it is ready;
/// PDTP_E_TIMEOUT, PDTP_E_INTERRUPTED, PDTP_E_NULL, or why it was refused. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_session_wait(session: *mut pdtp_session, timeout_ms: c_int) -> c_int {
    guard::code(|| {
        let session = borrow!(session);
        guard::may_block()?;
        session.shared.alive()?;
        // A copy: the handle may be freed by another thread meanwhile.
        let engine = session.engine.clone();
        engine.wait_ready(timeout(timeout_ms))
    })
}

/// How the session stands: PDTP_SESSION_*.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_session_state(session: *const pdtp_session) -> c_int {
    guard::count(|| Ok(pdtp_session_state_code(&borrow!(session).engine.state()) as usize))
}

/// The number of the session in events.
///
/// Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_session_id(session: *const pdtp_session) -> u64 {
    guard::value(0, || Ok(borrow!(session).engine.id()))
}

/// Why the session is lost or was refused: the PDTP_E_* is returned, 0 if nothing is wrong, and the sentence is
/// copied into `buffer` (at most `size` bytes with the NUL; "" if nothing is wrong; `buffer` may be NULL).
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_session_error(
    session: *const pdtp_session,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    let mut code = 0;
    let failed = guard::code(|| {
        let error = match borrow!(session).engine.state() {
            SessionState::Lost { error, .. } | SessionState::Refused { error } => Some(error),
            _ => None,
        };
        // SAFETY: the header demands NULL or room for `size` bytes.
        unsafe { text::copy(error.as_ref().map_or("", |error| &error.message), buffer, size) };
        code = error.map_or(0, |error| code_of(error.kind));
        Ok(())
    });
    if failed == 0 { code } else { failed }
}

/// What pdtp_session_info knows.
const INFO_KEYS: &[&str] = &[
    "uri",
    "host",
    "port",
    "client_id",
    "agent",
    "version",
    "notice",
    "address",
    "reachable",
    "features",
    "limit_outstanding",
    "limit_files",
    "limit_ranges",
];

/// What is not told is not known.
fn limit(number: u32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

/// Copies something the session knows into `buffer`, as text. Like snprintf: at most `size` bytes with the NUL at the
/// end; the result is the length of the whole without it, or an error. What is not known yet is "". Keys:
///
/// - "uri": of the server's root directory
/// - "host", "port": as in the URI that opened it
/// - "client_id": by which the server and peers know this end
/// - "agent": program and version of the server
/// - "version": of the protocol spoken
/// - "notice": the server's greeting
/// - "address": of this end as the server sees it
/// - "reachable": whether peers can dial this end: "yes", "no", or "" while that is open
/// - "features": what the server can do besides what every server can: words of the protocol, separated by blanks
/// - "limit_outstanding", "limit_files", "limit_ranges": how many questions without an answer, requested files, and
///   requested ranges of a file the server allows. The library keeps to them by itself
///
/// Never blocks. Any thread, callbacks included. `buffer` may be NULL to learn the length. PDTP_E_NULL, PDTP_E_OPTION
/// (no such key). Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_session_info(
    session: *const pdtp_session,
    key: *const c_char,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    guard::count(|| {
        let session = borrow!(session);
        let server = session.engine.server_info();
        let of_server =
            |get: fn(crate::client::ServerInfo) -> String| server.clone().map(get).unwrap_or_default();
        let value = match text!(key) {
            "uri" => session.uri.to_string(),
            "host" => session.uri.host.clone(),
            "port" => session.uri.port.to_string(),
            "client_id" => session.engine.client_id(),
            "agent" => of_server(|server| server.agent),
            "version" => of_server(|server| server.version.to_string()),
            "notice" => of_server(|server| server.notice.unwrap_or_default()),
            "address" => of_server(|server| server.address),
            "reachable" => of_server(|server| {
                server.reachable.map_or("", |yes| if yes { "yes" } else { "no" }).to_owned()
            }),
            "features" => of_server(|server| server.features.join(" ")),
            "limit_outstanding" => of_server(|server| limit(server.limits.outstanding)),
            "limit_files" => of_server(|server| limit(server.limits.files)),
            "limit_ranges" => of_server(|server| limit(server.limits.ranges)),
            other => return Err(no_option(other, INFO_KEYS.iter().copied())),
        };
        // SAFETY: the header demands NULL or room for `size` bytes.
        Ok(unsafe { text::copy(&value, buffer, size) })
    })
}

/// Tries to connect again now, after a refusal, or instead of waiting for the next try.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_session_reconnect(session: *mut pdtp_session) -> c_int {
    guard::code(|| {
        let session = borrow!(session);
        session.shared.alive()?;
        session.engine.reconnect();
        Ok(())
    })
}

/// Has changes at or below `path` told by PDTP_EVENT_CHANGED with `*op` and `user_data`, until pdtp_watch_stop or the
/// end of the session. `path`: "/dir", percent-encoded, or a whole URI of this server; it need not exist yet. What was
/// changed before the server heard of this is not told, so look (pdtp_list) after you began to watch. When the link
/// was away, a PDTP_CHANGE_RESCAN is told.
///
/// Never blocks. Any thread, callbacks included. `op` may be NULL. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_LIMIT (more than
/// 256 watches), PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_watch_start(
    op: *mut u64,
    session: *mut pdtp_session,
    path: *const c_char,
    user_data: *mut c_void,
) -> c_int {
    guard::code(|| {
        let session = borrow!(session);
        session.shared.alive()?;
        let path = session.place(text!(path))?.path;
        let number = session.engine.watch(&path, to_number(user_data))?;
        // SAFETY: the header demands NULL or a pointer to a variable of this type.
        if let Some(op) = unsafe { op.as_mut() } {
            *op = number;
        }
        Ok(())
    })
}

/// Ends the watch `op`. Events of it that are in the queue already stay there. A number that is no watch is fine.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_watch_stop(session: *mut pdtp_session, op: u64) -> c_int {
    guard::code(|| {
        let session = borrow!(session);
        session.shared.alive()?;
        session.engine.unwatch(op);
        Ok(())
    })
}
