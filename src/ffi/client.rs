//! The client: everything else belongs to one.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::callbacks::{
    EventFn, UserData, WakeupFn, pdtp_destroy_callback, pdtp_event_callback, pdtp_wakeup_callback,
};
use super::config::{ConfigData, pdtp_config};
use super::delivery::{DISPATCH_MAX, Shared};
use super::event::{pdtp_event, pdtp_event_kind};
use super::guard::{self, argument};
use super::handle::{give, handle};
use super::text;
use crate::client::EventMask;

/// A descriptor to wait for: of a file on Unix, a SOCKET on Windows.
pub type pdtp_fd = isize;

/// Totals of a client.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_stats {
    /// Bytes of this struct that were filled. Fields are only ever added at the end.
    pub size: usize,
    /// Verified bytes received from origins.
    pub from_origin: u64,
    /// Verified bytes received from peers.
    pub from_peers: u64,
    /// Bytes sent to peers.
    pub uploaded: u64,
    /// Bytes received in vain.
    pub wasted: u64,
    /// Bytes a second coming in now.
    pub down_rate: u64,
    /// Bytes a second going out now.
    pub up_rate: u64,
    /// Events dropped because the queue was full.
    pub dropped_events: u64,
    /// Events waiting.
    pub queued_events: u32,
    /// Transfers that have not ended.
    pub active_transfers: u32,
    /// Exchanges with peers and origins under way, in and out.
    pub exchanges: u32,
    /// Port on which peers are served; 0 = none is open.
    pub listen_port: u32,
}

/// What is behind a `pdtp_client`.
pub struct ClientData {
    pub(super) shared: Arc<Shared>,
}

handle! {
    /// Everything else belongs to one of these.
    pdtp_client, ClientData, b"PDcl", live: true
}

/// The time to wait that C means.
pub(super) fn timeout(ms: c_int) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}

/// Makes a client: starts its threads; opens neither connections nor ports yet. `config` is copied and may be used
/// again or freed; NULL means all settings as they come. Free `*out` with pdtp_client_free.
///
/// Never blocks for long. Any thread. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_IO (no threads
/// or descriptors left). Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_new(out: *mut *mut pdtp_client, config: *const pdtp_config) -> c_int {
    guard::code(|| {
        let out = out!(out, ptr::null_mut());
        let config = if config.is_null() { ConfigData::default() } else { borrow!(config).clone() };
        let shared = Shared::new(config)?;
        *out = give(ClientData { shared });
        Ok(())
    })
}

/// Ends a client: downloads stop where they are and can be resumed later, servers are told, threads are joined.
/// When it returns no callback runs any more, every `destroy` has run, and whatever the grace, no transfer and no share
/// is under way: PDTP_TRANSFER_CANCELLED, PDTP_SHARE_ENDED. Sessions, transfers and listings stay valid and must be
/// freed themselves, before or after; what would need the client answers PDTP_E_STATE.
///
/// Called from one of the client's own callbacks it returns at once, and all this happens when the callback has
/// returned. NULL is fine. In a child after fork() it does nothing.
///
/// Blocks for at most the time of the option "grace" (for uploads under way), and until a callback that runs on
/// another thread returns. No other thread may be in a function with this handle, or use it later; one that waits
/// in pdtp_client_next_event, pdtp_client_dispatch, or with a session or a transfer is woken. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_free(client: *mut pdtp_client) {
    guard::quiet(|| {
        if let Some(client) = take!(client) {
            client.shared.free();
        }
    });
}

/// Changes an option of a running client: those for which pdtp_config_option_at says `runtime`.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL; PDTP_E_OPTION as pdtp_config_set; PDTP_E_STATE for
/// options that cannot change any more. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_set(
    client: *mut pdtp_client,
    name: *const c_char,
    value: *const c_char,
) -> c_int {
    guard::code(|| {
        let client = borrow!(client);
        let (name, value) = (text!(name), text!(value));
        client.shared.set(name, value)
    })
}

/// Fills `*stats` with totals. Pass sizeof(*stats) as `size`.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_stats(
    client: *const pdtp_client,
    stats: *mut pdtp_stats,
    size: usize,
) -> c_int {
    guard::code(|| {
        let client = borrow!(client);
        let now = client.shared.engine.stats();
        let value = pdtp_stats {
            size: 0,
            from_origin: now.from_origin,
            from_peers: now.from_peers,
            uploaded: now.uploaded,
            wasted: now.wasted,
            down_rate: now.down_rate,
            up_rate: now.up_rate,
            dropped_events: now.dropped_events,
            queued_events: now.queued_events,
            active_transfers: now.active_transfers,
            exchanges: now.peer_connections,
            listen_port: now.listen_port.into(),
        };
        // SAFETY: plain numbers behind a size; the header demands NULL or room for `size` bytes.
        unsafe { text::fill(stats, "stats", size, value) }
    })
}

/// A descriptor that can be read while events wait: give it to poll, select, epoll, GSource, QSocketNotifier, then
/// call pdtp_client_dispatch. Never read from it, write to it or close it. It is valid until the client is freed.
/// It may be readable without need: dispatching then just handles nothing.
///
/// Never blocks. Any thread, callbacks included. -1 on failure: PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_event_fd(client: *const pdtp_client) -> pdtp_fd {
    guard::value(-1, || Ok(borrow!(client).shared.engine.event_fd()))
}

/// Sets the function that is called when the queue of events is no longer empty, for those who cannot wait for a
/// descriptor. NULL removes it. When this returns, the function before is not called any more.
///
/// `destroy` ends `user_data` when the function is replaced, with the client, or at once if this call fails.
///
/// Never blocks for longer than the function does. Any thread. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_set_wakeup(
    client: *mut pdtp_client,
    wakeup: pdtp_wakeup_callback,
    user_data: *mut c_void,
    destroy: pdtp_destroy_callback,
) -> c_int {
    let data = UserData::new(user_data, destroy);
    guard::code(move || {
        // A copy: what is destroyed here may free the client.
        let shared = Arc::clone(&borrow!(client).shared);
        shared.alive()?;
        shared.set_wakeup(WakeupFn::new(wakeup, data));
        Ok(())
    })
}

/// Takes the next event out of the queue; waits for one up to `timeout_ms` milliseconds (negative = for ever, 0 = not
/// at all). What it returns, and all that is borrowed from it, is valid until the next call for the same client, or
/// its end. Data callbacks are called from here.
///
/// NULL when no event came: pdtp_last_error_code is PDTP_E_AGAIN then, also after pdtp_client_interrupt.
///
/// Blocks up to `timeout_ms`. One thread at a time, and not with PDTP_DISPATCH_THREAD (PDTP_E_STATE); not from a
/// callback (PDTP_E_REENTRANT). Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_next_event(
    client: *mut pdtp_client,
    timeout_ms: c_int,
) -> *const pdtp_event {
    guard::value(ptr::null(), || {
        // A copy: a data callback may free the client.
        let shared = Arc::clone(&borrow!(client).shared);
        shared.next_event(timeout(timeout_ms))
    })
}

/// Sets the function that is given every event: from within pdtp_client_dispatch, or on the library's thread with
/// PDTP_DISPATCH_THREAD. NULL removes it. Set it before the first session is opened: events for which there is no
/// function are thrown away.
///
/// `destroy` ends `user_data` when the function is replaced (after a call under way has returned), with the client,
/// or at once if this call fails.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_set_event_callback(
    client: *mut pdtp_client,
    callback: pdtp_event_callback,
    user_data: *mut c_void,
    destroy: pdtp_destroy_callback,
) -> c_int {
    let data = UserData::new(user_data, destroy);
    guard::code(move || {
        // A copy: what is destroyed here may free the client.
        let shared = Arc::clone(&borrow!(client).shared);
        shared.alive()?;
        shared.set_function(EventFn::new(callback, data));
        Ok(())
    })
}

/// Calls the event callback, and data callbacks, for what waits in the queue: waits up to `timeout_ms` milliseconds
/// for the first (negative = for ever, 0 = not at all), then handles what is there, `max` at most. With `max` 0 or
/// less a bounded number, enough for all normal cases: what is left makes the descriptor stay readable.
///
/// Returns how many were handled, 0 when none came in time or pdtp_client_interrupt was called.
///
/// Blocks up to `timeout_ms` and as long as the callbacks do. One thread at a time, and not with
/// PDTP_DISPATCH_THREAD (PDTP_E_STATE); not from a callback (PDTP_E_REENTRANT). PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_dispatch(
    client: *mut pdtp_client,
    max: c_int,
    timeout_ms: c_int,
) -> c_int {
    guard::count(|| {
        // A copy: a callback may free the client.
        let shared = Arc::clone(&borrow!(client).shared);
        let max = usize::try_from(max).ok().filter(|&max| max > 0).unwrap_or(DISPATCH_MAX);
        shared.dispatch(max, timeout(timeout_ms))
    })
}

/// Wakes whoever waits in a function of this client: pdtp_client_dispatch returns 0, pdtp_client_next_event NULL, and
/// the blocking calls of its sessions and transfers PDTP_E_INTERRUPTED. What they waited for goes on.
///
/// Never blocks. Any thread, callbacks and signal handlers included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_interrupt(client: *mut pdtp_client) -> c_int {
    guard::code(|| {
        borrow!(client).shared.engine.interrupt();
        Ok(())
    })
}

/// Turns a type of events, PDTP_EVENT_*, on (1) or off (0), for what happens from now on.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_client_enable_event(
    client: *mut pdtp_client,
    r#type: c_int,
    on: c_int,
) -> c_int {
    guard::code(|| {
        let client = borrow!(client);
        let Some(&kind) = MASKABLE.iter().find(|kind| **kind as c_int == r#type) else {
            return Err(argument(
                "type",
                format_args!("{} is no PDTP_EVENT_* that can be turned off", r#type),
            ));
        };
        client.shared.alive()?;
        client.shared.enable(EventMask(1 << (kind as u32 - 1)), on != 0);
        Ok(())
    })
}

/// Types of events that can be turned on and off.
const MASKABLE: &[pdtp_event_kind] = &[
    pdtp_event_kind::PDTP_EVENT_SESSION,
    pdtp_event_kind::PDTP_EVENT_LISTING,
    pdtp_event_kind::PDTP_EVENT_TRANSFER,
    pdtp_event_kind::PDTP_EVENT_DONE,
    pdtp_event_kind::PDTP_EVENT_PROGRESS,
    pdtp_event_kind::PDTP_EVENT_FILE,
    pdtp_event_kind::PDTP_EVENT_PEER,
    pdtp_event_kind::PDTP_EVENT_NOTICE,
    pdtp_event_kind::PDTP_EVENT_OVERFLOW,
    pdtp_event_kind::PDTP_EVENT_CHANGED,
    pdtp_event_kind::PDTP_EVENT_VERDICT,
    pdtp_event_kind::PDTP_EVENT_LOG,
    pdtp_event_kind::PDTP_EVENT_SHARE,
    pdtp_event_kind::PDTP_EVENT_READING,
];

const _: () = {
    /// The bit of a type in `EventMask` is where `pdtp_client_enable_event` and `pdtp_overflow_event` look for it.
    const fn same(kind: pdtp_event_kind, mask: EventMask) {
        assert!(1 << (kind as u32 - 1) == mask.0);
    }
    same(pdtp_event_kind::PDTP_EVENT_SESSION, EventMask::SESSION);
    same(pdtp_event_kind::PDTP_EVENT_LISTING, EventMask::LISTING);
    same(pdtp_event_kind::PDTP_EVENT_TRANSFER, EventMask::STATE);
    same(pdtp_event_kind::PDTP_EVENT_DONE, EventMask::DONE);
    same(pdtp_event_kind::PDTP_EVENT_PROGRESS, EventMask::PROGRESS);
    same(pdtp_event_kind::PDTP_EVENT_FILE, EventMask::FILE_DONE);
    same(pdtp_event_kind::PDTP_EVENT_PEER, EventMask::PEER);
    same(pdtp_event_kind::PDTP_EVENT_NOTICE, EventMask::NOTICE);
    same(pdtp_event_kind::PDTP_EVENT_OVERFLOW, EventMask::OVERFLOW);
    same(pdtp_event_kind::PDTP_EVENT_CHANGED, EventMask::CHANGED);
    same(pdtp_event_kind::PDTP_EVENT_VERDICT, EventMask::VERDICT);
    same(pdtp_event_kind::PDTP_EVENT_LOG, EventMask::LOG);
    same(pdtp_event_kind::PDTP_EVENT_SHARE, EventMask::SHARE);
    same(pdtp_event_kind::PDTP_EVENT_READING, EventMask::READING);
};
