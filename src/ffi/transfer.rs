//! Downloads.

use std::ffi::{c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use super::callbacks::{DataFn, UserData, pdtp_data_callback, pdtp_destroy_callback, to_number};
use super::client::timeout;
use super::delivery::Shared;
use super::error::code_of;
use super::event::milliseconds;
use super::guard::{self, argument};
use super::handle::{give, handle};
use super::session::pdtp_session;
use super::stream::Stream;
use super::text;
use crate::client::{
    Error, ErrorKind, Overwrite, Priority, Progress, Request, Session, Target, Transfer, TransferState,
    Tuning, boolean, bytes, no_option, policy,
};
use crate::content::keys::Fingerprint;
use crate::content::trust::Policy;
use crate::wire::{ByteRange, Digest, UrlPath, WaitReason};

/// How a transfer stands. After PDTP_TRANSFER_DONE, _FAILED and _CANCELLED nothing more happens.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_transfer_states {
    /// Waits for the session, for the server to know the file, or for transfers of higher priority.
    PDTP_TRANSFER_QUEUED = 1,
    /// Checks what is on disk already.
    PDTP_TRANSFER_CHECKING = 2,
    /// Receives.
    PDTP_TRANSFER_ACTIVE = 3,
    /// Paused by you.
    PDTP_TRANSFER_PAUSED = 4,
    /// All there; last checks.
    PDTP_TRANSFER_VERIFYING = 5,
    /// Complete.
    PDTP_TRANSFER_DONE = 6,
    /// Ended with an error.
    PDTP_TRANSFER_FAILED = 7,
    /// Ended by you.
    PDTP_TRANSFER_CANCELLED = 8,
    /// Waits for your word on a signature.
    PDTP_TRANSFER_DECIDING = 9,
}

/// Why nothing comes at the moment.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_wait_reason {
    /// Something comes, or nobody told why not.
    PDTP_WAIT_NONE = 0,
    /// The server's own uplink is full.
    PDTP_WAIT_ORIGIN_BUSY = 1,
    /// Nobody who is connected has it.
    PDTP_WAIT_NO_PROVIDER = 2,
    /// You are at your own limit.
    PDTP_WAIT_YOUR_LIMIT = 3,
    /// Those who have it cannot be reached from here.
    PDTP_WAIT_UNREACHABLE = 4,
    /// The server still computes the hashes of the file: see `hashing_done`.
    PDTP_WAIT_HASHING = 5,
    /// As many clients as the server's operator allows are downloading from there; it is this one's turn when another is
    /// done.
    PDTP_WAIT_FULL = 6,
    /// The server is reading the directory: see `reading_entries`.
    PDTP_WAIT_READING = 7,
    /// As much as the server's operator lets it send of that directory is being sent.
    PDTP_WAIT_SERVER_RATE = 8,
    /// Others have it or are about to, and the server leaves it to them to send it.
    PDTP_WAIT_PEERS_BUSY = 9,
    /// The server's file is no longer what it was, and is looked at again.
    PDTP_WAIT_CHANGED = 10,
}

/// Which transfers of a client go first: while one of higher priority receives, the others ask for nothing (they are
/// PDTP_TRANSFER_QUEUED). One to which nothing comes for some seconds holds nobody back.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_priority {
    /// Only when nothing else is to be received.
    PDTP_PRIORITY_LOW = -1,
    /// As most.
    PDTP_PRIORITY_NORMAL = 0,
    /// Before others.
    PDTP_PRIORITY_HIGH = 1,
}

/// What pdtp_transfer_cancel does with what is on disk.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_cancel {
    /// What was verified stays, so that a later download of the same goes on from there.
    PDTP_CANCEL_KEEP = 0,
    /// What is incomplete is deleted.
    PDTP_CANCEL_DELETE = 1,
}

/// Numbers of a transfer.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_progress {
    /// Bytes of this struct that were filled. Fields are only ever added at the end.
    pub size: usize,
    /// Bytes verified and stored, those found on disk included.
    pub done: u64,
    /// Bytes in all. Grows while a tree is still being listed; 0 while nothing is known.
    pub total: u64,
    /// Received from the origin, and verified.
    pub from_origin: u64,
    /// Received from peers, and verified.
    pub from_peers: u64,
    /// Found on disk, and verified.
    pub from_disk: u64,
    /// Received in vain.
    pub wasted: u64,
    /// Bytes a second, over the last few seconds.
    pub rate: u64,
    /// Milliseconds to go at this rate; -1 if nobody knows.
    pub eta_ms: i64,
    /// Files complete: 0 or 1, or a number for a tree.
    pub files_done: u64,
    /// Files in all.
    pub files_total: u64,
    /// Bytes of the file that the server has hashed, while PDTP_WAIT_HASHING.
    pub hashing_done: u64,
    /// Bytes it is to hash.
    pub hashing_total: u64,
    /// Why nothing comes, for people; static. NULL if something comes.
    pub waiting_text: *const c_char,
    /// PDTP_WAIT_*
    pub waiting: c_int,
    /// Others sending to this transfer now, the origin included.
    pub givers: u32,
    /// Bytes of a file found here that were checked by hash, while PDTP_TRANSFER_CHECKING.
    pub checking_done: u64,
    /// Bytes there are to check; 0 when nothing is being checked.
    pub checking_total: u64,
    /// Entries of the tree that the server has gone through for the next page of its listing, while that takes long.
    pub reading_entries: u64,
}

/// What C calls it.
fn wait_reason(reason: WaitReason) -> pdtp_wait_reason {
    use pdtp_wait_reason::*;
    match reason {
        WaitReason::OriginBusy => PDTP_WAIT_ORIGIN_BUSY,
        WaitReason::NoProvider => PDTP_WAIT_NO_PROVIDER,
        WaitReason::YourLimit => PDTP_WAIT_YOUR_LIMIT,
        WaitReason::Full => PDTP_WAIT_FULL,
        WaitReason::Unreachable => PDTP_WAIT_UNREACHABLE,
        WaitReason::ServerRate => PDTP_WAIT_SERVER_RATE,
        WaitReason::PeersBusy => PDTP_WAIT_PEERS_BUSY,
        WaitReason::Changed => PDTP_WAIT_CHANGED,
    }
}

impl From<&Progress> for pdtp_progress {
    fn from(now: &Progress) -> Self {
        use pdtp_wait_reason::*;
        let (waiting, text) = match now.waiting {
            _ if now.hashing.is_some() => (PDTP_WAIT_HASHING, Some(c"the server is still hashing the file")),
            None if now.reading.is_some() && now.rate == 0 => {
                (PDTP_WAIT_READING, Some(c"the server is reading the directory"))
            }
            None => (PDTP_WAIT_NONE, None),
            Some(reason) => (wait_reason(reason), Some(reason.c_text())),
        };
        let (hashing_done, hashing_total) = now.hashing.unwrap_or_default();
        let (checking_done, checking_total) = now.checking.unwrap_or_default();
        Self {
            size: size_of::<Self>(),
            done: now.done,
            total: now.total,
            from_origin: now.from_origin,
            from_peers: now.from_peers,
            from_disk: now.from_disk,
            wasted: now.wasted,
            rate: now.rate,
            eta_ms: now.eta.map_or(-1, milliseconds),
            files_done: now.files_done,
            files_total: now.files_total,
            hashing_done,
            hashing_total,
            waiting_text: text.map_or(ptr::null(), std::ffi::CStr::as_ptr),
            waiting: waiting as c_int,
            givers: now.givers,
            checking_done,
            checking_total,
            reading_entries: now.reading.unwrap_or_default(),
        }
    }
}

/// Names that pdtp_request_set knows.
const REQUEST_OPTIONS: &[&str] = &[
    "overwrite",
    "recursive",
    "expect_root",
    "expect_key",
    "verify",
    "rate",
    "priority",
    "prealloc",
    "range",
    "deadline_rate",
];

/// Where a request goes.
enum Goal {
    File(PathBuf),
    Dir(PathBuf),
    Function(DataFn),
    Events,
}

/// What is behind a `pdtp_request`.
pub struct RequestData {
    shared: Arc<Shared>,
    session: Session,
    path: UrlPath,
    goal: Option<Goal>,
    overwrite: Overwrite,
    recursive: bool,
    expect_root: Option<Digest>,
    verify: Option<Policy>,
    keys: Vec<Fingerprint>,
    tuning: Tuning,
}

/// What is behind a `pdtp_transfer`.
pub struct TransferData {
    shared: Arc<Shared>,
    engine: Transfer,
    stream: Option<Arc<Stream>>,
}

handle! {
    /// A download to be started.
    pdtp_request, RequestData, b"PDrq", live: true
}

handle! {
    /// A download that was started.
    pdtp_transfer, TransferData, b"PDtr", live: true
}

impl TransferData {
    /// A transfer that goes to the disk.
    pub(super) fn new(shared: &Arc<Shared>, engine: Transfer) -> Self {
        Self { shared: Arc::clone(shared), engine, stream: None }
    }
}

/// Whether a PDTP_CANCEL_* keeps what is there; `None` if it is none.
pub(super) fn keeps(what: c_int) -> Option<bool> {
    match what {
        _ if what == pdtp_cancel::PDTP_CANCEL_KEEP as c_int => Some(true),
        _ if what == pdtp_cancel::PDTP_CANCEL_DELETE as c_int => Some(false),
        _ => None,
    }
}

/// A state as C numbers it.
pub(super) fn transfer_state_code(state: TransferState) -> pdtp_transfer_states {
    match state {
        TransferState::Queued => pdtp_transfer_states::PDTP_TRANSFER_QUEUED,
        TransferState::Deciding => pdtp_transfer_states::PDTP_TRANSFER_DECIDING,
        TransferState::Checking => pdtp_transfer_states::PDTP_TRANSFER_CHECKING,
        TransferState::Active => pdtp_transfer_states::PDTP_TRANSFER_ACTIVE,
        TransferState::Paused => pdtp_transfer_states::PDTP_TRANSFER_PAUSED,
        TransferState::Verifying => pdtp_transfer_states::PDTP_TRANSFER_VERIFYING,
        TransferState::Done => pdtp_transfer_states::PDTP_TRANSFER_DONE,
        TransferState::Failed => pdtp_transfer_states::PDTP_TRANSFER_FAILED,
        TransferState::Cancelled => pdtp_transfer_states::PDTP_TRANSFER_CANCELLED,
    }
}

impl RequestData {
    /// Starts it. Whatever was given is destroyed when it does not start.
    fn start(self, user_data: usize) -> Result<TransferData, Error> {
        self.shared.alive()?;
        let Some(goal) = self.goal else {
            return Err(Error::new(
                ErrorKind::State,
                "this request has no target: call pdtp_request_to_file, _to_dir, _to_callback or _to_events first",
            ));
        };
        let (target, stream) = match goal {
            Goal::File(name) => (Target::File(name), None),
            Goal::Dir(name) => (Target::Dir(name), None),
            Goal::Function(function) => {
                let (stream, mut feed) = self.shared.streams.open(Some(function));
                (Target::Stream(Box::new(move |offset, bytes| feed.offer(offset, bytes))), Some(stream))
            }
            Goal::Events => {
                let (stream, mut feed) = self.shared.streams.open(None);
                (Target::Stream(Box::new(move |offset, bytes| feed.offer(offset, bytes))), Some(stream))
            }
        };
        let request = Request {
            path: self.path,
            target,
            overwrite: self.overwrite,
            recursive: self.recursive,
            expect_root: self.expect_root,
            verify: self.verify,
            keys: self.keys,
            tuning: self.tuning,
        };
        match self.session.start(request, user_data) {
            Ok(engine) => {
                if let Some(stream) = &stream {
                    stream.set_owner(engine.id(), user_data);
                }
                Ok(TransferData { shared: self.shared, engine, stream })
            }
            Err(error) => {
                if let Some(stream) = stream {
                    self.shared.streams.forget(&stream);
                }
                Err(error)
            }
        }
    }
}

/// Begins to describe a download. `path` is percent-encoded, as "/dir/file", or a whole URI of the session's server;
/// with "#root=…" only that version is accepted, with "#key=…" only what that key has signed, and with "/" at the end a directory with all below it is meant.
/// Choose a target, set options, then start it. Free `*out` with pdtp_request_free, unless it was started.
///
/// Never blocks. One thread at a time, callbacks included. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT,
/// PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_request_new(
    out: *mut *mut pdtp_request,
    session: *mut pdtp_session,
    path: *const c_char,
) -> c_int {
    guard::code(|| {
        let out = out!(out, ptr::null_mut());
        let session = borrow!(session);
        session.shared.alive()?;
        let place = session.place(text!(path))?;
        *out = give(RequestData {
            shared: Arc::clone(&session.shared),
            session: session.engine.clone(),
            path: place.path,
            goal: None,
            overwrite: Overwrite::default(),
            recursive: place.is_dir,
            expect_root: place.root,
            verify: None,
            keys: place.keys,
            tuning: Tuning::default(),
        });
        Ok(())
    })
}

/// Frees a request that was not started. NULL is fine.
///
/// Never blocks. One thread at a time, callbacks included. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_request_free(request: *mut pdtp_request) {
    guard::quiet(|| drop(take!(request)));
}

/// The download becomes a file with exactly this name. Beside it, NAME.part and NAME.part.pdtp hold what is there so
/// far: a later download of the same takes up from there. The directory must exist.
///
/// `name` is bytes on Unix and UTF-8 on Windows; it is copied.
///
/// Never blocks. One thread at a time, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_request_to_file(request: *mut pdtp_request, name: *const c_char) -> c_int {
    guard::code(|| {
        let request = borrow_mut!(request);
        let name = local_path!(name);
        drop(request.goal.replace(Goal::File(name)));
        Ok(())
    })
}

/// The download goes into this directory: a file under its own name, a directory as a tree of its content.
///
/// `name` is bytes on Unix and UTF-8 on Windows; it is copied.
///
/// Never blocks. One thread at a time, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_request_to_dir(request: *mut pdtp_request, name: *const c_char) -> c_int {
    guard::code(|| {
        let request = borrow_mut!(request);
        let name = local_path!(name);
        drop(request.goal.replace(Goal::Dir(name)));
        Ok(())
    })
}

/// The bytes of the file go to a function, in order and verified. It is called where the event callback is called:
/// somebody must dispatch (or use PDTP_DISPATCH_THREAD), or nothing comes.
///
/// `destroy` ends `user_data`: after the last call, when the transfer has ended; with the client; when another target
/// is chosen; when the request is freed; or at once if this call fails.
///
/// Never blocks. One thread at a time, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_request_to_callback(
    request: *mut pdtp_request,
    callback: pdtp_data_callback,
    user_data: *mut c_void,
    destroy: pdtp_destroy_callback,
) -> c_int {
    let data = UserData::new(user_data, destroy);
    guard::code(move || {
        let request = borrow_mut!(request);
        let function = DataFn::new(callback, data).ok_or_else(|| guard::null("callback"))?;
        drop(request.goal.replace(Goal::Function(function)));
        Ok(())
    })
}

/// The bytes of the file come as PDTP_EVENT_DATA, in order and verified, among the other events: for those who pull them
/// with pdtp_client_next_event. While such an event lasts, and until the next is asked for, no more than a window of the
/// file is fetched ahead. Without an event callback pdtp_client_dispatch passes over the bytes.
///
/// Never blocks. One thread at a time, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_request_to_events(request: *mut pdtp_request) -> c_int {
    guard::code(|| {
        let request = borrow_mut!(request);
        drop(request.goal.replace(Goal::Events));
        Ok(())
    })
}

/// Sets an option of a request by its name:
///
/// - "overwrite", what to do with a complete local file of that name. In any case it is left alone when its content
///   is right. Else: "never" (fail with PDTP_E_EXISTS), "resume" (the default: use what is right of it, replace it
///   when the download is complete), "replace" (download everything)
/// - "recursive": yes or no, whether a directory may be downloaded, with all below it
/// - "expect_root": 64 hex digits; only that version of the file is accepted. "" takes that back
/// - "expect_key": fingerprint of a key, 64 hex digits; only what it has signed is accepted. Each call adds one; any of
///   them will do. "" takes them back
/// - "verify": require, ask, report or off; what to do about signatures, instead of what the client is configured for
/// - "rate": most bytes a second to receive, besides the limit of the client: a number, perhaps with K, M or G; 0 = none.
///   pdtp_transfer_set_rate changes it later
/// - "priority": low, normal or high, see PDTP_PRIORITY_*. pdtp_transfer_set_priority changes it later
/// - "prealloc": yes or no, whether room on the disk is reserved for a file before it is received, so that a full disk is
///   noticed at the start. Where the file system cannot do that, nothing happens
/// - "range": "FROM-TO", the first and last byte that are wanted, counted from 0, or "FROM-" for all from there on; "" for the
///   whole file. Only for callbacks and events, which get the offsets in the file; progress counts whole pieces. A range
///   that begins past the end ends the transfer with PDTP_E_ARGUMENT; one that ends past it ends with the file
/// - "deadline_rate": how fast a callback or events will take the bytes, in bytes a second (as "rate"), as a player knows it
///   of its film: what is needed next then comes in time, and before what others need later. 0 = the server learns it
///
/// "-" and "_" in names are the same.
///
/// Never blocks. One thread at a time, callbacks included. PDTP_E_NULL, PDTP_E_OPTION. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_request_set(
    request: *mut pdtp_request,
    name: *const c_char,
    value: *const c_char,
) -> c_int {
    guard::code(|| {
        let request = borrow_mut!(request);
        let (name, value) = (text!(name), text!(value));
        let bad = |expected: &str| {
            Error::new(ErrorKind::Option, format!("option {name}: {value:?} is not {expected}"))
        };
        match &*name.replace('-', "_") {
            "overwrite" => {
                request.overwrite = match value {
                    "never" => Overwrite::Never,
                    "resume" => Overwrite::Resume,
                    "replace" => Overwrite::Replace,
                    _ => return Err(bad("one of never, resume, replace")),
                }
            }
            "recursive" => {
                request.recursive = boolean(value).ok_or_else(|| bad("yes or no"))?;
            }
            "expect_root" if value.is_empty() => request.expect_root = None,
            "expect_root" => {
                request.expect_root = Some(value.parse().map_err(|_| bad("64 lower-case hex digits"))?);
            }
            "expect_key" if value.is_empty() => request.keys.clear(),
            "expect_key" => {
                request.keys.push(value.parse().map_err(|_| bad("64 lower-case hex digits"))?);
            }
            "verify" => {
                request.verify = Some(policy(value).ok_or_else(|| bad("one of require, ask, report, off"))?);
            }
            "rate" => {
                request.tuning.rate =
                    bytes(value).ok_or_else(|| bad("a number of bytes (K, M and G are powers of 1024)"))?;
            }
            "priority" => {
                request.tuning.priority =
                    Priority::from_word(value).ok_or_else(|| bad("one of low, normal, high"))?;
            }
            "prealloc" => {
                request.tuning.preallocate = boolean(value).ok_or_else(|| bad("yes or no"))?;
            }
            "range" if value.is_empty() => request.tuning.range = None,
            "range" => {
                request.tuning.range =
                    Some(ByteRange::from_text(value).ok_or_else(|| bad("FROM-TO or FROM-, in bytes"))?);
            }
            "deadline_rate" => {
                request.tuning.pace =
                    bytes(value).ok_or_else(|| bad("a number of bytes (K, M and G are powers of 1024)"))?;
            }
            _ => return Err(no_option(name, REQUEST_OPTIONS.iter().copied())),
        }
        Ok(())
    })
}

/// Starts a download. The request is used up, also when this fails: do not free it. `user_data` comes back in the
/// transfer's events. `out` may be NULL for those who only want events; else free `*out` with pdtp_transfer_free.
///
/// How the download goes is told by PDTP_EVENT_TRANSFER and _PROGRESS, and its end exactly once by PDTP_EVENT_DONE.
///
/// Never blocks. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL; PDTP_E_STATE (no target was
/// chosen); PDTP_E_ARGUMENT (a range that would become a file). Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_request_start(
    out: *mut *mut pdtp_transfer,
    request: *mut pdtp_request,
    user_data: *mut c_void,
) -> c_int {
    guard::code(|| {
        // SAFETY: the header demands NULL or a pointer to a variable of this type.
        let out = unsafe { out.as_mut() };
        let checked = borrow_mut!(request).shared.alive();
        // From here on it is gone, whatever happens.
        let Some(request) = take!(request) else { return Err(guard::null("request")) };
        let started = checked.and_then(|()| request.start(to_number(user_data)));
        give_out(out, started)
    })
}

/// Hands a started transfer over; one that nobody wants goes on without a handle.
pub(super) fn give_out(
    out: Option<&mut *mut pdtp_transfer>,
    started: Result<TransferData, Error>,
) -> Result<(), Error> {
    match (out, started) {
        (Some(out), Ok(transfer)) => {
            *out = give(transfer);
            Ok(())
        }
        (Some(out), Err(error)) => {
            *out = ptr::null_mut();
            Err(error)
        }
        (None, started) => started.map(drop),
    }
}

/// The common case in one call: downloads `path` to the file `local`, or, if `path` ends in "/", the tree below it
/// into the directory `local`. Otherwise as pdtp_request_new, pdtp_request_to_file or _to_dir, pdtp_request_start.
///
/// Never blocks. Any thread, callbacks included. `out` may be NULL. `*out` is NULL on failure. PDTP_E_NULL,
/// PDTP_E_ARGUMENT, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_download(
    out: *mut *mut pdtp_transfer,
    session: *mut pdtp_session,
    path: *const c_char,
    local: *const c_char,
    user_data: *mut c_void,
) -> c_int {
    guard::code(|| {
        // SAFETY: the header demands NULL or a pointer to a variable of this type.
        let mut out = unsafe { out.as_mut() };
        if let Some(out) = &mut out {
            **out = ptr::null_mut();
        }
        let session = borrow!(session);
        let place = session.place(text!(path))?;
        let local = local_path!(local);
        let request = RequestData {
            shared: Arc::clone(&session.shared),
            session: session.engine.clone(),
            path: place.path,
            goal: Some(if place.is_dir { Goal::Dir(local) } else { Goal::File(local) }),
            overwrite: Overwrite::default(),
            recursive: place.is_dir,
            expect_root: place.root,
            verify: None,
            keys: place.keys,
            tuning: Tuning::default(),
        };
        give_out(out, request.start(to_number(user_data)))
    })
}

/// Lets a transfer go: the handle ends, the download goes on. NULL is fine. In a child after fork() it does nothing.
///
/// Never blocks. Any thread, callbacks included; nobody may use the handle any more. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_free(transfer: *mut pdtp_transfer) {
    guard::quiet(|| drop(take!(transfer)));
}

/// The number of the transfer in events. Never used again by the same client.
///
/// Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_id(transfer: *const pdtp_transfer) -> u64 {
    guard::value(0, || Ok(borrow!(transfer).engine.id()))
}

/// How the transfer stands: PDTP_TRANSFER_*.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_state(transfer: *const pdtp_transfer) -> c_int {
    guard::count(|| Ok(transfer_state_code(borrow!(transfer).engine.state()) as usize))
}

/// Fills `*progress` with the numbers of now. Pass sizeof(*progress) as `size`.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_progress(
    transfer: *const pdtp_transfer,
    progress: *mut pdtp_progress,
    size: usize,
) -> c_int {
    guard::code(|| {
        let now = pdtp_progress::from(&borrow!(transfer).engine.progress());
        // SAFETY: plain numbers and a static string behind a size; the header demands NULL or room for `size` bytes.
        unsafe { text::fill(progress, "progress", size, now) }
    })
}

/// Why the transfer ended as it did: the PDTP_E_* is returned, 0 while it has not failed, and the sentence is copied
/// into `buffer` (at most `size` bytes with the NUL; "" without an error; `buffer` may be NULL).
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_error(
    transfer: *const pdtp_transfer,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    let mut code = 0;
    let failed = guard::code(|| {
        let error = borrow!(transfer).engine.error();
        // SAFETY: the header demands NULL or room for `size` bytes.
        unsafe { text::copy(error.as_ref().map_or("", |error| &error.message), buffer, size) };
        code = error.map_or(0, |error| code_of(error.kind));
        Ok(())
    });
    if failed == 0 { code } else { failed }
}

/// Waits until the transfer has ended, or `timeout_ms` milliseconds have passed (negative = for ever). Events are not
/// dispatched meanwhile: a download to a callback needs another thread for that.
///
/// Blocks up to `timeout_ms`. Any thread, but not from a callback (PDTP_E_REENTRANT). 0 when all of it is there;
/// PDTP_E_TIMEOUT if it has not ended, PDTP_E_INTERRUPTED, PDTP_E_NULL, or why it failed, PDTP_E_CANCELLED among
/// others. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_wait(transfer: *mut pdtp_transfer, timeout_ms: c_int) -> c_int {
    guard::code(|| {
        let transfer = borrow!(transfer);
        guard::may_block()?;
        // A copy: the handle may be freed by another thread meanwhile.
        let engine = transfer.engine.clone();
        engine.wait(timeout(timeout_ms))
    })
}

/// Asks for nothing more until pdtp_transfer_resume. Does nothing when it is paused or has ended.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_pause(transfer: *mut pdtp_transfer) -> c_int {
    guard::code(|| {
        let transfer = borrow!(transfer);
        transfer.shared.alive()?;
        transfer.engine.pause();
        Ok(())
    })
}

/// Goes on after pdtp_transfer_pause, or after a data callback answered PDTP_DATA_PAUSE. Else it does nothing.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_resume(transfer: *mut pdtp_transfer) -> c_int {
    guard::code(|| {
        let transfer = borrow!(transfer);
        transfer.shared.alive()?;
        transfer.engine.resume();
        if let Some(stream) = &transfer.stream {
            transfer.shared.streams.resume(stream);
        }
        Ok(())
    })
}

/// Limits the bytes a second that the transfer receives, besides the limit of the client. 0 is no limit. Takes effect at
/// once.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_set_rate(transfer: *mut pdtp_transfer, rate: u64) -> c_int {
    guard::code(|| {
        let transfer = borrow!(transfer);
        transfer.shared.alive()?;
        transfer.engine.set_rate(rate);
        Ok(())
    })
}

/// Says how much the transfer matters beside others of the client: PDTP_PRIORITY_*. Takes effect at once.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_set_priority(transfer: *mut pdtp_transfer, priority: c_int) -> c_int {
    guard::code(|| {
        let transfer = borrow!(transfer);
        let wanted = match priority {
            _ if priority == pdtp_priority::PDTP_PRIORITY_LOW as c_int => Priority::Low,
            _ if priority == pdtp_priority::PDTP_PRIORITY_NORMAL as c_int => Priority::Normal,
            _ if priority == pdtp_priority::PDTP_PRIORITY_HIGH as c_int => Priority::High,
            _ => return Err(argument("priority", format_args!("{priority} is no PDTP_PRIORITY_*"))),
        };
        transfer.shared.alive()?;
        transfer.engine.set_priority(wanted);
        Ok(())
    })
}

/// Ends the transfer: with PDTP_CANCEL_KEEP it can be resumed later, with PDTP_CANCEL_DELETE what is incomplete is
/// deleted. PDTP_EVENT_DONE follows with PDTP_E_CANCELLED. A second cancel, or one after the end, does nothing.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_transfer_cancel(transfer: *mut pdtp_transfer, what: c_int) -> c_int {
    guard::code(|| {
        let transfer = borrow!(transfer);
        let keep = keeps(what).ok_or_else(|| argument("what", format_args!("{what} is no PDTP_CANCEL_*")))?;
        transfer.shared.alive()?;
        transfer.engine.cancel(keep);
        if let Some(stream) = &transfer.stream {
            stream.abort();
        }
        Ok(())
    })
}
