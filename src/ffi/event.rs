//! Events as C sees them.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use super::callbacks::from_number;
use super::error::code_of;
use super::guard;
use super::handle::{Handle, give, handle, take};
use super::listing::{ListingData, pdtp_listing};
use super::log::{LogView, pdtp_log_event};
use super::session::pdtp_session_state_code;
use super::share::{ShareView, pdtp_share_event};
use super::stream::Lease;
use super::text::{owned, pointer};
use super::transfer::{pdtp_progress, transfer_state_code};
use super::verify::{VerdictView, pdtp_verdict};
use crate::client::{Change, Error, Event, EventBody, SessionState};
use crate::wire::{FailureKind, Reason, UrlPath};

/// Types of events. All but PDTP_EVENT_FILE, PDTP_EVENT_PEER and PDTP_EVENT_LOG are on at first.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_event_kind {
    /// A session has another state: pdtp_event_session. Only the latest state of each session waits in the queue.
    PDTP_EVENT_SESSION = 1,
    /// A page of a listing: pdtp_event_listing, pdtp_event_take_listing. Never lost; the next page is fetched when
    /// this one was taken out of the queue.
    PDTP_EVENT_LISTING = 2,
    /// A transfer has another state: pdtp_event_transfer. Only the latest waits. Ends come as PDTP_EVENT_DONE.
    PDTP_EVENT_TRANSFER = 3,
    /// A transfer has ended, well or not: pdtp_event_done. Exactly once for each transfer, never lost.
    PDTP_EVENT_DONE = 4,
    /// Numbers of a transfer: pdtp_event_progress. Only the newest wait, at most 10 a second come.
    PDTP_EVENT_PROGRESS = 5,
    /// A file of a tree is complete: pdtp_event_file. Off at first; dropped when the queue is full.
    PDTP_EVENT_FILE = 6,
    /// An exchange with a peer or the origin has ended: pdtp_event_peer. Off at first; dropped when the queue is full.
    PDTP_EVENT_PEER = 7,
    /// A word from the operator of a server: pdtp_event_notice. Dropped when the queue is full.
    PDTP_EVENT_NOTICE = 8,
    /// Events were dropped because the queue was full: pdtp_event_overflow.
    PDTP_EVENT_OVERFLOW = 9,
    /// Something that is watched has changed: pdtp_event_changed. Dropped when the queue is full: look again at what
    /// you watch after a PDTP_EVENT_OVERFLOW that names this type.
    PDTP_EVENT_CHANGED = 10,
    /// What the signatures of a file are worth: pdtp_event_verdict. Not told of what is not signed and need not be under
    /// PDTP_VERIFY_ASK. Dropped when the queue is full.
    PDTP_EVENT_VERDICT = 11,
    /// Your verify callback said PDTP_ANSWER_LATER: pdtp_event_verdict, to be answered with pdtp_decide. Never lost, and
    /// cannot be turned off.
    PDTP_EVENT_DECISION = 12,
    /// Bytes of a download whose target is pdtp_request_to_events: pdtp_event_data. Never lost, and cannot be turned off;
    /// the next ones come when this event has ended.
    PDTP_EVENT_DATA = 13,
    /// A line of the log: pdtp_event_log. Off at first; dropped when the queue is half full. pdtp_config_set_log chooses
    /// how much is told.
    PDTP_EVENT_LOG = 14,
    /// A share has another state: pdtp_event_share. Only the latest of each waits in the queue.
    PDTP_EVENT_SHARE = 15,
    /// The server is reading the directory, and the page does not come yet: pdtp_event_reading. Only the latest of each
    /// operation waits in the queue, about two a second come.
    PDTP_EVENT_READING = 16,
}

/// How something that is watched has changed. Treat kinds that you do not know like PDTP_CHANGE_RESCAN.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_change_kind {
    /// The file is new, or another than before.
    PDTP_CHANGE_FILE = 1,
    /// There is a new directory. What is in it is told one by one.
    PDTP_CHANGE_DIR = 2,
    /// It is gone, with all below it.
    PDTP_CHANGE_REMOVED = 3,
    /// More may have changed, at or below it, than was told: it was much at once, or the connection was away.
    PDTP_CHANGE_RESCAN = 4,
    /// The server does not let it be watched, `code` and `message` say why. The last event of this watch.
    PDTP_CHANGE_REFUSED = 5,
}

/// Of PDTP_EVENT_SESSION.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_session_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// pdtp_session_id
    pub session: u64,
    /// Milliseconds to the next try, of PDTP_SESSION_LOST; else -1.
    pub retry_ms: i64,
    /// Why, of PDTP_SESSION_LOST and PDTP_SESSION_REFUSED; else NULL.
    pub message: *const c_char,
    /// PDTP_SESSION_*
    pub state: c_int,
    /// PDTP_E_* of the same; else 0.
    pub code: c_int,
}

/// Of PDTP_EVENT_LISTING.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_listing_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// As pdtp_list_start or pdtp_stat_start gave it.
    pub op: u64,
    /// The page; NULL if it failed. Ends with the event, unless pdtp_event_take_listing was called.
    pub listing: *const pdtp_listing,
    /// Why it failed; else NULL.
    pub message: *const c_char,
    /// 0, or PDTP_E_* why it failed.
    pub code: c_int,
    /// 1 with the last page, and with a failure; else 0.
    pub last: c_int,
}

/// Of PDTP_EVENT_READING.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_reading_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// As pdtp_list_start gave it.
    pub op: u64,
    /// Entries gone through so far; 0 while the server reads other directories first.
    pub entries: u64,
}

/// Of PDTP_EVENT_TRANSFER.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_transfer_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// pdtp_transfer_id
    pub transfer: u64,
    /// PDTP_TRANSFER_*
    pub state: c_int,
}

/// Of PDTP_EVENT_DONE.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_done_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// pdtp_transfer_id
    pub transfer: u64,
    /// Path of the file or directory, percent-encoded.
    pub path: *const c_char,
    /// Version of the file: 64 hex digits. NULL of a directory, or if it is not known.
    pub root: *const c_char,
    /// Why it did not end well; else NULL.
    pub message: *const c_char,
    /// Its last numbers.
    pub progress: *const pdtp_progress,
    /// 0 if all of it is there; else PDTP_E_*, PDTP_E_CANCELLED among them.
    pub code: c_int,
}

/// Of PDTP_EVENT_FILE.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_file_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// pdtp_transfer_id
    pub transfer: u64,
    /// Path of the file, percent-encoded.
    pub path: *const c_char,
    /// Its size.
    pub bytes: u64,
}

/// Of PDTP_EVENT_PEER.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_peer_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// pdtp_transfer_id; 0 for what was given to others.
    pub transfer: u64,
    /// Number of the exchange on the server, the same at both ends.
    pub exchange: u64,
    /// Client id of the other end (pdtp_session_info "client_id" there); of the origin, the server's.
    pub peer: *const c_char,
    /// Path of the file, percent-encoded.
    pub path: *const c_char,
    /// Why the server arranged it: "origin", "rarest", "deadline", "locality", "endgame", "repair", "spare",
    /// "server_only"; NULL if untold.
    pub reason: *const c_char,
    /// How it failed: "refused", "unreachable", "timeout", "slow", "hash", "gone", "disk", "cancelled"; NULL if not.
    pub error: *const c_char,
    /// Payload bytes.
    pub bytes: u64,
    /// Milliseconds it took.
    pub ms: u64,
    /// First piece, counted from 0.
    pub first_piece: u32,
    /// Number of pieces.
    pub piece_count: u32,
    /// 1 if the other end is the origin.
    pub is_origin: c_int,
    /// 1 if the bytes came to this client, 0 if they went from it.
    pub received: c_int,
    /// `reason` for people, to go on after "because"; static. NULL if untold: to one that was dialled to give.
    pub reason_text: *const c_char,
}

/// Of PDTP_EVENT_NOTICE.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_notice_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// pdtp_session_id
    pub session: u64,
    /// For people.
    pub message: *const c_char,
    /// The server goes down, and expects to be back in so many milliseconds; else -1.
    pub back_ms: i64,
}

/// Of PDTP_EVENT_CHANGED.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_changed_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// As pdtp_watch_start gave it.
    pub op: u64,
    /// Path of what has changed, percent-encoded. It may be above what is watched, when that is gone with its directory.
    pub path: *const c_char,
    /// Version of the file, of PDTP_CHANGE_FILE: 64 hex digits; else NULL.
    pub root: *const c_char,
    /// Why, of PDTP_CHANGE_REFUSED; else NULL.
    pub message: *const c_char,
    /// Size of the file, of PDTP_CHANGE_FILE; else 0.
    pub bytes: u64,
    /// Modification time of the same, Unix seconds; 0 if untold.
    pub mtime: i64,
    /// PDTP_CHANGE_*
    pub kind: c_int,
    /// PDTP_E_* of PDTP_CHANGE_REFUSED; else 0.
    pub code: c_int,
}

/// Of PDTP_EVENT_DATA.
#[repr(C)]
#[derive(Debug)]
pub struct pdtp_data_event {
    /// Bytes of this struct that were filled. Fields are only ever added at the end.
    pub size: usize,
    /// Number of the transfer.
    pub transfer: u64,
    /// Of the first byte, from the start of the file.
    pub offset: u64,
    /// Verified bytes, in order. They end with the event.
    pub data: *const c_void,
    /// How many.
    pub length: usize,
}

/// Of PDTP_EVENT_OVERFLOW.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_overflow_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// Events dropped since the last such event.
    pub count: u64,
    /// Of which types: bit `type - 1` for each.
    pub types: u32,
}

/// What is behind a `pdtp_event`.
#[derive(Debug)]
pub struct EventData {
    user_data: usize,
    kind: pdtp_event_kind,
    id: u64,
    view: View,
}

/// The struct that C reads, and what its pointers point to.
#[derive(Debug)]
enum View {
    Session { seen: pdtp_session_event, _message: Option<CString> },
    Listing { seen: pdtp_listing_event, listing: OwnListing, _message: Option<CString> },
    Reading { seen: pdtp_reading_event },
    Transfer { seen: pdtp_transfer_event },
    Done { seen: pdtp_done_event, _strings: [Option<CString>; 3], _progress: Box<pdtp_progress> },
    Progress { seen: pdtp_progress },
    File { seen: pdtp_file_event, _path: CString },
    Peer { seen: pdtp_peer_event, _strings: [CString; 2] },
    Notice { seen: pdtp_notice_event, _message: CString },
    Overflow { seen: pdtp_overflow_event },
    Changed { seen: pdtp_changed_event, _strings: [Option<CString>; 3] },
    Verdict(VerdictView),
    Log(LogView),
    Share(ShareView),
    Data { seen: pdtp_data_event, lease: Lease },
}

/// A listing that is freed with the event unless it was taken.
#[derive(Debug)]
struct OwnListing(Cell<*mut pdtp_listing>);

impl OwnListing {
    fn take(&self) -> *mut pdtp_listing {
        self.0.replace(ptr::null_mut())
    }
}

impl Drop for OwnListing {
    fn drop(&mut self) {
        // SAFETY: NULL or from `give`, and not handed over.
        drop(unsafe { take(self.take(), "listing") });
    }
}

handle! {
    /// Something that happened.
    pdtp_event, EventData, b"PDev", live: false
}

impl EventData {
    /// NULL where it is about something else.
    pub(super) fn log(&self) -> *const pdtp_log_event {
        match &self.view {
            View::Log(view) => &raw const view.seen,
            _ => ptr::null(),
        }
    }

    /// NULL where it is about something else.
    pub(super) fn share(&self) -> *const pdtp_share_event {
        match &self.view {
            View::Share(view) => &raw const view.seen,
            _ => ptr::null(),
        }
    }

    /// NULL where it is about something else.
    pub(super) fn verdict(&self) -> *const pdtp_verdict {
        match &self.view {
            View::Verdict(view) => &raw const view.seen,
            _ => ptr::null(),
        }
    }
}

/// Bytes of a stream as C sees them.
pub(super) fn data(lease: Lease) -> <pdtp_event as Handle>::Data {
    let ((id, user_data), (data, length)) = (lease.owner, lease.bytes());
    let seen = pdtp_data_event {
        size: size_of::<pdtp_data_event>(),
        transfer: id,
        offset: lease.offset(),
        data: data.cast(),
        length,
    };
    EventData { user_data, kind: pdtp_event_kind::PDTP_EVENT_DATA, id, view: View::Data { seen, lease } }
}

/// Makes of the engine's event what C sees.
pub(super) fn convert(event: Event) -> <pdtp_event as Handle>::Data {
    use pdtp_event_kind::*;
    let (kind, id, view) = match event.body {
        EventBody::Session { session, state } => (PDTP_EVENT_SESSION, session, session_view(session, &state)),
        EventBody::Listing { op, result, last } => {
            let (code, message) = outcome(result.as_ref().err());
            let listing = result.map_or(ptr::null_mut(), |listing| give(ListingData::new(listing)));
            let seen = pdtp_listing_event {
                size: size_of::<pdtp_listing_event>(),
                op,
                listing,
                message: pointer(message.as_ref()),
                code,
                last: c_int::from(last || code != 0),
            };
            (
                PDTP_EVENT_LISTING,
                op,
                View::Listing { seen, listing: OwnListing(Cell::new(listing)), _message: message },
            )
        }
        EventBody::Reading { op, entries } => {
            let seen = pdtp_reading_event { size: size_of::<pdtp_reading_event>(), op, entries };
            (PDTP_EVENT_READING, op, View::Reading { seen })
        }
        EventBody::State { transfer, state } => {
            let state = transfer_state_code(state) as c_int;
            let seen = pdtp_transfer_event { size: size_of::<pdtp_transfer_event>(), transfer, state };
            (PDTP_EVENT_TRANSFER, transfer, View::Transfer { seen })
        }
        EventBody::Done { transfer, path, root, result, progress } => {
            let (code, message) = outcome(result.as_ref().err());
            let strings = [Some(owned(path.as_str())), root.map(|root| owned(root.to_string())), message];
            let progress = Box::new(pdtp_progress::from(&*progress));
            let seen = pdtp_done_event {
                size: size_of::<pdtp_done_event>(),
                transfer,
                path: pointer(strings[0].as_ref()),
                root: pointer(strings[1].as_ref()),
                message: pointer(strings[2].as_ref()),
                progress: &raw const *progress,
                code,
            };
            (PDTP_EVENT_DONE, transfer, View::Done { seen, _strings: strings, _progress: progress })
        }
        EventBody::Progress { transfer, progress } => {
            (PDTP_EVENT_PROGRESS, transfer, View::Progress { seen: pdtp_progress::from(&*progress) })
        }
        EventBody::FileDone { transfer, path, size } => {
            let path = owned(path.as_str());
            let seen = pdtp_file_event {
                size: size_of::<pdtp_file_event>(),
                transfer,
                path: path.as_ptr(),
                bytes: size,
            };
            (PDTP_EVENT_FILE, transfer, View::File { seen, _path: path })
        }
        EventBody::Peer { transfer, exchange } => {
            let strings = [owned(exchange.peer_id), owned(exchange.path.as_str())];
            let seen = pdtp_peer_event {
                size: size_of::<pdtp_peer_event>(),
                transfer,
                exchange: exchange.id,
                peer: strings[0].as_ptr(),
                path: strings[1].as_ptr(),
                reason: exchange.reason.map_or(ptr::null(), reason_name),
                error: exchange.error.map_or(ptr::null(), failure_name),
                bytes: exchange.bytes,
                ms: exchange.ms,
                first_piece: exchange.pieces.0,
                piece_count: exchange.pieces.1,
                is_origin: c_int::from(exchange.is_origin),
                received: c_int::from(exchange.received),
                reason_text: exchange.reason.map_or(ptr::null(), |reason| reason.c_text().as_ptr()),
            };
            (PDTP_EVENT_PEER, transfer, View::Peer { seen, _strings: strings })
        }
        EventBody::Notice { session, message } => {
            (PDTP_EVENT_NOTICE, session, notice_view(session, message, -1))
        }
        EventBody::Goaway { session, reason, after } => {
            (PDTP_EVENT_NOTICE, session, notice_view(session, reason, milliseconds(after)))
        }
        EventBody::Changed { op, path, change } => (PDTP_EVENT_CHANGED, op, changed_view(op, &path, &change)),
        EventBody::Overflow { count, types } => overflow(count, types.0),
        EventBody::Verdict { transfer, verdict, accepted } => {
            let view = VerdictView::new(transfer, 0, &verdict, Some(accepted));
            (PDTP_EVENT_VERDICT, transfer, View::Verdict(view))
        }
        EventBody::Decision { transfer, id, verdict } => {
            (PDTP_EVENT_DECISION, transfer, View::Verdict(VerdictView::new(transfer, id, &verdict, None)))
        }
        EventBody::Log { level, target, line } => {
            (PDTP_EVENT_LOG, 0, View::Log(LogView::new(level, target, line)))
        }
        EventBody::Share { share, state } => {
            (PDTP_EVENT_SHARE, share, View::Share(ShareView::new(share, &state)))
        }
        // Handled before, and of what cannot be begun from C; to the application it would be an overflow of nothing.
        EventBody::Posted { .. } | EventBody::FileRemoved { .. } => overflow(0, 0),
    };
    EventData { user_data: event.user_data, kind, id, view }
}

fn overflow(count: u64, types: u32) -> (pdtp_event_kind, u64, View) {
    let seen = pdtp_overflow_event { size: size_of::<pdtp_overflow_event>(), count, types };
    (pdtp_event_kind::PDTP_EVENT_OVERFLOW, 0, View::Overflow { seen })
}

fn changed_view(op: u64, path: &UrlPath, change: &Change) -> View {
    use pdtp_change_kind::*;
    let (kind, error) = match change {
        Change::File { .. } => (PDTP_CHANGE_FILE, None),
        Change::Dir => (PDTP_CHANGE_DIR, None),
        Change::Removed => (PDTP_CHANGE_REMOVED, None),
        Change::Rescan => (PDTP_CHANGE_RESCAN, None),
        Change::Refused(error) => (PDTP_CHANGE_REFUSED, Some(error)),
    };
    let (root, bytes, mtime) = match change {
        Change::File { root, size, mtime } => (Some(owned(root.to_string())), *size, mtime.unwrap_or(0)),
        _ => (None, 0, 0),
    };
    let (code, message) = outcome(error);
    let strings = [Some(owned(path.as_str())), root, message];
    let seen = pdtp_changed_event {
        size: size_of::<pdtp_changed_event>(),
        op,
        path: pointer(strings[0].as_ref()),
        root: pointer(strings[1].as_ref()),
        message: pointer(strings[2].as_ref()),
        bytes,
        mtime,
        kind: kind as c_int,
        code,
    };
    View::Changed { seen, _strings: strings }
}

fn session_view(session: u64, state: &SessionState) -> View {
    let (retry_ms, error) = match state {
        SessionState::Lost { retry_in, error } => (milliseconds(*retry_in), Some(error)),
        SessionState::Refused { error } => (-1, Some(error)),
        _ => (-1, None),
    };
    let (code, message) = outcome(error);
    let seen = pdtp_session_event {
        size: size_of::<pdtp_session_event>(),
        session,
        retry_ms,
        message: pointer(message.as_ref()),
        state: pdtp_session_state_code(state) as c_int,
        code,
    };
    View::Session { seen, _message: message }
}

fn notice_view(session: u64, message: String, back_ms: i64) -> View {
    let message = owned(message);
    let seen = pdtp_notice_event {
        size: size_of::<pdtp_notice_event>(),
        session,
        message: message.as_ptr(),
        back_ms,
    };
    View::Notice { seen, _message: message }
}

fn outcome(error: Option<&Error>) -> (c_int, Option<CString>) {
    error.map_or((0, None), |error| (code_of(error.kind), Some(owned(error.message.as_str()))))
}

/// As C counts time.
pub(super) fn milliseconds(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn reason_name(reason: Reason) -> *const c_char {
    match reason {
        Reason::Origin => c"origin",
        Reason::Rarest => c"rarest",
        Reason::Deadline => c"deadline",
        Reason::Locality => c"locality",
        Reason::Endgame => c"endgame",
        Reason::Repair => c"repair",
        Reason::Spare => c"spare",
        Reason::ServerOnly => c"server_only",
    }
    .as_ptr()
}

fn failure_name(failure: FailureKind) -> *const c_char {
    match failure {
        FailureKind::Refused => c"refused",
        FailureKind::Unreachable => c"unreachable",
        FailureKind::Timeout => c"timeout",
        FailureKind::Slow => c"slow",
        FailureKind::Hash => c"hash",
        FailureKind::Gone => c"gone",
        FailureKind::Disk => c"disk",
        FailureKind::Cancelled => c"cancelled",
    }
    .as_ptr()
}

/// The type of an event: PDTP_EVENT_*. Treat types that you do not know like an event that you do not need.
///
/// Never blocks. Where the event is valid. NULL: PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_type(event: *const pdtp_event) -> c_int {
    guard::count(|| Ok(borrow!(event).kind as usize))
}

/// The number of what it is about: session, transfer or operation, whichever the type is about; 0 for none. Numbers
/// are never used again by the same client, so one that has ended is not mistaken for another.
///
/// Never blocks. Where the event is valid. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_id(event: *const pdtp_event) -> u64 {
    guard::value(0, || Ok(borrow!(event).id))
}

/// The `user_data` given when the session, transfer or operation was started. NULL if that was NULL.
///
/// Never blocks. Where the event is valid. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_user_data(event: *const pdtp_event) -> *mut c_void {
    guard::value(ptr::null_mut(), || Ok(from_number(borrow!(event).user_data)))
}

/// The struct of an event, or NULL when it is of another type.
macro_rules! view {
    ($event:ident, $view:ident) => {
        guard::value(ptr::null(), || match &borrow!($event).view {
            View::$view { seen, .. } => Ok(seen as *const _),
            // No failure: asking is how C finds out.
            _ => Ok(ptr::null()),
        })
    };
}

/// What a PDTP_EVENT_SESSION says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_session(event: *const pdtp_event) -> *const pdtp_session_event {
    view!(event, Session)
}

/// What a PDTP_EVENT_LISTING says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_listing(event: *const pdtp_event) -> *const pdtp_listing_event {
    view!(event, Listing)
}

/// Takes the page out of a PDTP_EVENT_LISTING: it is yours, outlives the event, and is freed with pdtp_listing_free.
/// NULL when it was taken already, when the operation failed, for events of another type, and for NULL.
///
/// Never blocks. Where the event is valid. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_take_listing(event: *const pdtp_event) -> *mut pdtp_listing {
    guard::value(ptr::null_mut(), || match &borrow!(event).view {
        View::Listing { listing, .. } => Ok(listing.take()),
        _ => Ok(ptr::null_mut()),
    })
}

/// What a PDTP_EVENT_READING says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_reading(event: *const pdtp_event) -> *const pdtp_reading_event {
    view!(event, Reading)
}

/// What a PDTP_EVENT_TRANSFER says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_transfer(event: *const pdtp_event) -> *const pdtp_transfer_event {
    view!(event, Transfer)
}

/// What a PDTP_EVENT_DONE says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_done(event: *const pdtp_event) -> *const pdtp_done_event {
    view!(event, Done)
}

/// What a PDTP_EVENT_PROGRESS says; pdtp_event_id tells of which transfer. NULL for events of another type, and for
/// NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_progress(event: *const pdtp_event) -> *const pdtp_progress {
    view!(event, Progress)
}

/// What a PDTP_EVENT_FILE says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_file(event: *const pdtp_event) -> *const pdtp_file_event {
    view!(event, File)
}

/// What a PDTP_EVENT_PEER says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_peer(event: *const pdtp_event) -> *const pdtp_peer_event {
    view!(event, Peer)
}

/// What a PDTP_EVENT_NOTICE says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_notice(event: *const pdtp_event) -> *const pdtp_notice_event {
    view!(event, Notice)
}

/// What a PDTP_EVENT_OVERFLOW says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_overflow(event: *const pdtp_event) -> *const pdtp_overflow_event {
    view!(event, Overflow)
}

/// What a PDTP_EVENT_DATA says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_data(event: *const pdtp_event) -> *const pdtp_data_event {
    view!(event, Data)
}

/// Answers a PDTP_EVENT_DATA with one of PDTP_DATA_*; what is not answered when the event ends is continued. With
/// PDTP_DATA_PAUSE the same bytes come again after pdtp_transfer_resume; anything unknown is PDTP_DATA_ABORT.
///
/// Never blocks. On the draining thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT (an event of another type).
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_answer(event: *const pdtp_event, answer: c_int) -> c_int {
    guard::code(|| match &borrow!(event).view {
        View::Data { lease, .. } => {
            lease.set_answer(answer);
            Ok(())
        }
        _ => Err(guard::argument("event", "only PDTP_EVENT_DATA is answered")),
    })
}

/// What a PDTP_EVENT_CHANGED says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_changed(event: *const pdtp_event) -> *const pdtp_changed_event {
    view!(event, Changed)
}
