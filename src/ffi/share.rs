//! What is given to others: local files, and what downloads have left.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use super::callbacks::to_number;
use super::client::pdtp_client;
use super::delivery::Shared;
use super::error::code_of;
use super::event::pdtp_event;
use super::guard;
use super::handle::{give, handle};
use super::session::pdtp_session;
use super::text::{self, owned, pointer};
use crate::client::{Share, ShareState};

/// How a share stands. After PDTP_SHARE_FAILED and PDTP_SHARE_ENDED nothing more happens.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_share_states {
    /// The server is asked what the file is, and the local one is verified; or again, after a download of the same file.
    PDTP_SHARE_CHECKING = 1,
    /// Others may have it.
    PDTP_SHARE_OFFERED = 2,
    /// It is not, or no longer, what the server has; or it cannot be read; or seeding was turned off.
    PDTP_SHARE_FAILED = 3,
    /// The client was freed.
    PDTP_SHARE_ENDED = 4,
}

/// Of PDTP_EVENT_SHARE.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_share_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// pdtp_share_id
    pub share: u64,
    /// Why, of PDTP_SHARE_FAILED; else NULL.
    pub message: *const c_char,
    /// PDTP_SHARE_*
    pub state: c_int,
    /// PDTP_E_* of PDTP_SHARE_FAILED: PDTP_E_HASH when the content differs, PDTP_E_CHANGED, PDTP_E_NOT_FOUND, …; else 0.
    pub code: c_int,
}

/// What is given to others after its download.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_cache_info {
    /// Bytes of this struct that were filled. Fields are only ever added at the end.
    pub size: usize,
    /// Files given after their download.
    pub files: u64,
    /// Their bytes: where you have put them, or in temporary files.
    pub bytes: u64,
    /// Bytes of temporary files among them: what streams have left.
    pub temporary_bytes: u64,
    /// Bytes of pinned files among them.
    pub pinned_bytes: u64,
    /// Files given up so far: because of the bounds, of their time, or purged.
    pub given_up: u64,
    /// Files that pdtp_share_add has added. They do not count above.
    pub shares: u64,
}

/// What is behind a `pdtp_share`.
pub struct ShareData {
    _shared: Arc<Shared>,
    engine: Share,
}

handle! {
    /// A local file that is given to others.
    pdtp_share, ShareData, b"PDsh", live: true
}

/// What C reads of a state, and what its pointers point to.
#[derive(Debug)]
pub(super) struct ShareView {
    pub(super) seen: pdtp_share_event,
    _message: Option<CString>,
}

impl ShareView {
    pub(super) fn new(share: u64, state: &ShareState) -> Self {
        let error = match state {
            ShareState::Failed(error) => Some(error),
            _ => None,
        };
        let message = error.map(|error| owned(error.message.as_str()));
        let seen = pdtp_share_event {
            size: size_of::<pdtp_share_event>(),
            share,
            message: pointer(message.as_ref()),
            state: state_code(state) as c_int,
            code: error.map_or(0, |error| code_of(error.kind)),
        };
        Self { seen, _message: message }
    }
}

fn state_code(state: &ShareState) -> pdtp_share_states {
    match state {
        ShareState::Checking => pdtp_share_states::PDTP_SHARE_CHECKING,
        ShareState::Offered => pdtp_share_states::PDTP_SHARE_OFFERED,
        ShareState::Failed(_) => pdtp_share_states::PDTP_SHARE_FAILED,
        ShareState::Ended => pdtp_share_states::PDTP_SHARE_ENDED,
    }
}

/// Gives a local file to others as `path` of the server: `local`, where it is, without a copy. First it is read and
/// compared with the hashes that the server has of `path` (of "#root=…" of a URI, if there is one); only then it is
/// offered, until pdtp_share_free. How that goes is told by PDTP_EVENT_SHARE with `user_data`. When the server gets
/// another version, or somebody writes to the file, it is no longer given. Free `*out` with pdtp_share_free.
///
/// The file is kept open. Seeding must not be off; PDTP_SEEDING_DOWNLOADING does not end shares.
///
/// Never blocks. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_LIMIT
/// (1024 shares), PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_share_add(
    out: *mut *mut pdtp_share,
    session: *mut pdtp_session,
    path: *const c_char,
    local: *const c_char,
    user_data: *mut c_void,
) -> c_int {
    guard::code(|| {
        let out = out!(out, ptr::null_mut());
        let session = borrow!(session);
        let place = session.place(text!(path))?;
        let local = local_path!(local);
        session.shared.alive()?;
        let engine = session.engine.share(&place.path, place.root, local, to_number(user_data))?;
        *out = give(ShareData { _shared: Arc::clone(&session.shared), engine });
        Ok(())
    })
}

/// Ends a share: nothing more of the file is given; what is on its way arrives. No event follows. NULL is fine. In a
/// child after fork() it does nothing.
///
/// Never blocks. Any thread, callbacks included; nobody may use the handle any more. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_share_free(share: *mut pdtp_share) {
    guard::quiet(|| drop(take!(share)));
}

/// The number of the share in events.
///
/// Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_share_id(share: *const pdtp_share) -> u64 {
    guard::value(0, || Ok(borrow!(share).engine.id()))
}

/// How the share stands: PDTP_SHARE_*.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_share_state(share: *const pdtp_share) -> c_int {
    guard::count(|| Ok(state_code(&borrow!(share).engine.state()) as usize))
}

/// Why the share failed: the PDTP_E_* is returned, 0 if it has not, and the sentence is copied into `buffer` (at most
/// `size` bytes with the NUL; "" if it has not; `buffer` may be NULL).
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_share_error(
    share: *const pdtp_share,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    let mut code = 0;
    let failed = guard::code(|| {
        let error = match borrow!(share).engine.state() {
            ShareState::Failed(error) => Some(error),
            _ => None,
        };
        // SAFETY: the header demands NULL or room for `size` bytes.
        unsafe { text::copy(error.as_ref().map_or("", |error| &error.message), buffer, size) };
        code = error.map_or(0, |error| code_of(error.kind));
        Ok(())
    });
    if failed == 0 { code } else { failed }
}

/// What a PDTP_EVENT_SHARE says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_share(event: *const pdtp_event) -> *const pdtp_share_event {
    guard::value(ptr::null(), || Ok(borrow!(event).share()))
}

/// Fills `*stats` with what is given to others after its download, and what that takes. Pass sizeof(*stats) as `size`.
/// The options "seed_bytes", "seed_time" and "cache_bytes" are its bounds.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_cache_stats(
    client: *const pdtp_client,
    stats: *mut pdtp_cache_info,
    size: usize,
) -> c_int {
    guard::code(|| {
        let now = borrow!(client).shared.engine.cache_stats();
        let value = pdtp_cache_info {
            size: 0,
            files: now.files,
            bytes: now.bytes,
            temporary_bytes: now.temporary_bytes,
            pinned_bytes: now.pinned_bytes,
            given_up: now.given_up,
            shares: now.shares,
        };
        // SAFETY: plain numbers behind a size; the header demands NULL or room for `size` bytes.
        unsafe { text::fill(stats, "stats", size, value) }
    })
}

/// Gives up what is given after its download, least recently used first, until no more than `keep_bytes` are left: the
/// servers are told, and temporary files are deleted. Pinned files stay. Files that you have downloaded stay where they
/// are, they are only not given any more.
///
/// Blocks for a moment. Any thread, but not from a callback (PDTP_E_REENTRANT). PDTP_E_NULL, PDTP_E_STATE,
/// PDTP_E_INTERRUPTED. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_cache_purge(client: *mut pdtp_client, keep_bytes: u64) -> c_int {
    guard::code(|| {
        let client = borrow!(client);
        guard::may_block()?;
        client.shared.alive()?;
        // A copy: the handle may be freed by another thread meanwhile.
        let engine = client.shared.engine.clone();
        engine.purge_cache(keep_bytes)
    })
}

/// Pins a file (1), or no longer (0): what is given of it after its download, now or later, is kept whatever the bounds,
/// until the client is freed or seeding ends.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_LIMIT, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_cache_pin(session: *mut pdtp_session, path: *const c_char, on: c_int) -> c_int {
    guard::code(|| {
        let session = borrow!(session);
        session.shared.alive()?;
        let path = session.place(text!(path))?.path;
        session.engine.pin(&path, on != 0)
    })
}
