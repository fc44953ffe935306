//! The C API under sequences of calls that proptest makes up, and shrinks when one breaks something: no call may say that
//! it is broken inside, a configuration keeps exactly what was set, and nothing is left when all handles are freed.
//!
//! On one thread, so that a sequence can be repeated: `tests/c/fuzz.c` and `tests/c/hammer.c` have more of them.

#![cfg(unix)]
#![allow(unsafe_code, reason = "the functions are C's")]

#[cfg(feature = "server")]
pub mod common;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pdtp::client::{Config, OPTIONS};
use pdtp::ffi::callbacks::*;
use pdtp::ffi::client::*;
use pdtp::ffi::config::*;
use pdtp::ffi::error::*;
use pdtp::ffi::event::*;
use pdtp::ffi::listing::*;
use pdtp::ffi::log::*;
use pdtp::ffi::metrics::*;
use pdtp::ffi::reader::*;
use pdtp::ffi::resume::*;
use pdtp::ffi::session::*;
use pdtp::ffi::share::*;
use pdtp::ffi::transfer::*;
use pdtp::ffi::uri::*;
use pdtp::ffi::verify::*;
use pdtp::ffi::version::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Handles of a kind at once.
const SLOTS: usize = 3;
/// Long enough for an answer of a server nearby, now and then.
const BRIEFLY: c_int = 20;

/// One function, and what to call it with as far as it takes any of it.
#[derive(Debug, Clone)]
struct Op {
    call: &'static str,
    at: usize,
    other: usize,
    number: u64,
    small: c_int,
    path: String,
    name: String,
    value: String,
}

/// Without them there is nothing to call the others with.
const MAKERS: &[&str] = &[
    "pdtp_client_new",
    "pdtp_download",
    "pdtp_list",
    "pdtp_reader_open",
    "pdtp_request_new",
    "pdtp_session_open",
    "pdtp_share_add",
];

/// All functions, as the list of the ABI has them.
fn functions() -> Vec<&'static str> {
    let of_line = |line: &'static str| line.strip_prefix("function ")?.split(' ').next();
    include_str!("abi.txt").lines().filter_map(of_line).collect()
}

fn name() -> impl Strategy<Value = String> {
    let known: Vec<String> = OPTIONS.iter().map(|option| option.name.replace('_', "-")).collect();
    // The directories would be written to.
    prop_oneof![4 => prop::sample::select(known), 1 => "[a-z_-]{0,12}"]
        .prop_filter("writes files", |name| !name.contains("dir") && !name.contains("store"))
}

fn value() -> impl Strategy<Value = String> {
    let words = [
        "off",
        "always",
        "downloading",
        "yes",
        "no",
        "0",
        "1",
        "17",
        "64K",
        "2M",
        "5s",
        "10ms",
        "line",
        "ask",
    ];
    prop_oneof![4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => "[ -~]{0,8}"]
}

fn path() -> impl Strategy<Value = String> {
    let known =
        ["/file", "/dir/x", "/dir/", "/", "/nothing", "/a%20b", "/../x", "pdtp://127.0.0.1:1/x", "x", ""];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[ -~]{0,12}"]
}

fn op() -> impl Strategy<Value = Op> {
    let calls =
        prop_oneof![3 => prop::sample::select(functions()), 1 => prop::sample::select(MAKERS.to_vec())];
    // Mostly the first of each kind, so that they have to do with each other.
    let slot = || prop_oneof![3 => Just(0), 1 => 0..SLOTS];
    let number = prop_oneof![0..4u64, 0..4_000_000u64, any::<u64>()];
    (calls, slot(), slot(), number, -3..24i32, path(), name(), value()).prop_map(
        |(call, at, other, number, small, path, name, value)| Op {
            call,
            at,
            other,
            number,
            small,
            path,
            name,
            value,
        },
    )
}

static GIVEN: AtomicUsize = AtomicUsize::new(0);
static DESTROYED: AtomicUsize = AtomicUsize::new(0);
/// Who counts is alone.
static COUNTING: Mutex<()> = Mutex::new(());

unsafe extern "C" fn on_event(event: *const pdtp_event, _: *mut c_void) {
    // SAFETY: as the library gave it.
    unsafe { look_at(event) };
}

unsafe extern "C" fn on_wakeup(_: *mut c_void) {}

unsafe extern "C" fn on_log(_: c_int, target: *const c_char, line: *const c_char, _: *mut c_void) {
    assert!(!target.is_null() && !line.is_null());
}

unsafe extern "C" fn on_data(_: u64, data: *const c_void, length: usize, _: *mut c_void) -> c_int {
    assert!(!data.is_null() && length > 0);
    (length % 4) as c_int
}

unsafe extern "C" fn on_verdict(verdict: *const pdtp_verdict, _: *mut c_void) -> c_int {
    assert!(!verdict.is_null());
    pdtp_answer::PDTP_ANSWER_LATER as c_int
}

unsafe extern "C" fn on_destroy(_: *mut c_void) {
    DESTROYED.fetch_add(1, Ordering::SeqCst);
}

/// Asks an event for everything.
unsafe fn look_at(event: *const pdtp_event) {
    // SAFETY: an event that is alive, or NULL.
    unsafe {
        let says = [
            pdtp_event_session(event).is_null(),
            pdtp_event_listing(event).is_null(),
            pdtp_event_transfer(event).is_null(),
            pdtp_event_done(event).is_null(),
            pdtp_event_progress(event).is_null(),
            pdtp_event_file(event).is_null(),
            pdtp_event_peer(event).is_null(),
            pdtp_event_notice(event).is_null(),
            pdtp_event_overflow(event).is_null(),
            pdtp_event_data(event).is_null(),
            pdtp_event_changed(event).is_null(),
            pdtp_event_verdict(event).is_null(),
            pdtp_event_share(event).is_null(),
            pdtp_event_reading(event).is_null(),
            pdtp_event_log(event).is_null(),
        ];
        let count = says.iter().filter(|nothing| !**nothing).count();
        assert_eq!(count, usize::from(!event.is_null()), "an event says one thing");
        assert_eq!(pdtp_event_type(event) > 0, !event.is_null());
        assert!(pdtp_event_user_data(event).is_null());
        fine(pdtp_event_answer(event, (pdtp_event_id(event) % 4) as c_int));
        let listing = pdtp_event_take_listing(event);
        look_at_listing(listing);
        pdtp_listing_free(listing);
    }
}

unsafe fn look_at_listing(listing: *const pdtp_listing) {
    // SAFETY: a listing that is alive, or NULL.
    unsafe {
        let count = pdtp_listing_count(listing);
        assert_eq!(pdtp_listing_path(listing).is_null(), listing.is_null());
        assert!(pdtp_listing_complete(listing) <= 1);
        for index in 0..=count {
            let entry = pdtp_listing_entry(listing, index);
            assert_eq!(entry.is_null(), index == count);
            look_at_entry(entry);
        }
    }
}

unsafe fn look_at_entry(entry: *const pdtp_entry) {
    // SAFETY: an entry that is alive, or NULL.
    unsafe {
        assert_eq!(pdtp_entry_name(entry).is_null(), entry.is_null());
        assert_eq!(pdtp_entry_path(entry).is_null(), entry.is_null());
        assert_eq!(pdtp_entry_type(entry) > 0, !entry.is_null());
        assert!(pdtp_entry_size(entry) < 1 << 40 && pdtp_entry_signed(entry) <= 1);
        let root = pdtp_entry_root(entry);
        assert!(root.is_null() || CStr::from_ptr(root).count_bytes() == 64);
        let _ = (pdtp_entry_mtime(entry), pdtp_entry_mime(entry));
        for index in 0..=pdtp_entry_attr_count(entry) {
            let mut name = ptr::null();
            let text = pdtp_entry_attr_at(entry, index, &mut name);
            assert!(text.is_null() || !pdtp_entry_attr(entry, name).is_null());
        }
    }
}

/// What there is, and what the first configuration should say: that one is only set by name.
struct World {
    configs: [*mut pdtp_config; SLOTS],
    model: Config,
    clients: [*mut pdtp_client; SLOTS],
    sessions: [*mut pdtp_session; SLOTS],
    requests: [*mut pdtp_request; SLOTS],
    transfers: [*mut pdtp_transfer; SLOTS],
    shares: [*mut pdtp_share; SLOTS],
    readers: [*mut pdtp_reader; SLOTS],
    listings: [*mut pdtp_listing; SLOTS],
    resumes: [*mut pdtp_resume; SLOTS],
    watch: u64,
    uri: CString,
    dir: tempfile::TempDir,
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Any code is fine, but those that tell of a fault of the library.
fn fine(code: c_int) -> c_int {
    let bad = [pdtp_error::PDTP_E_PANIC, pdtp_error::PDTP_E_INTERNAL, pdtp_error::PDTP_E_NO_MEMORY];
    assert!(bad.iter().all(|bad| *bad as c_int != code), "{}", last_error());
    code
}

fn fine_long(code: i64) {
    fine(c_int::try_from(code).unwrap_or(0));
}

fn last_error() -> String {
    let mut text = [0 as c_char; 512];
    // SAFETY: a buffer and its size; the result ends with NUL.
    unsafe {
        pdtp_last_error(text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
                   MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                   -----END PUBLIC KEY-----\n";

impl World {
    fn new(uri: &str) -> Self {
        Self {
            configs: std::array::from_fn(|_| pdtp_config_new()),
            model: Config::default(),
            clients: [ptr::null_mut(); SLOTS],
            sessions: [ptr::null_mut(); SLOTS],
            requests: [ptr::null_mut(); SLOTS],
            transfers: [ptr::null_mut(); SLOTS],
            shares: [ptr::null_mut(); SLOTS],
            readers: [ptr::null_mut(); SLOTS],
            listings: [ptr::null_mut(); SLOTS],
            resumes: [ptr::null_mut(); SLOTS],
            watch: 0,
            uri: c(uri),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Calls one function.
    ///
    /// SAFETY: only this and `drop` call the functions, with handles that are alive or NULL.
    unsafe fn run(&mut self, op: &Op) {
        let Op { call, at, other, number, small, .. } = *op;
        let (path, name, value) = (c(&op.path), c(&op.name), c(&op.value));
        let local = c(self.dir.path().join(number.to_string()).to_str().unwrap());
        let (path, name, value, local, nothing) =
            (path.as_ptr(), name.as_ptr(), value.as_ptr(), local.as_ptr(), ptr::null_mut());
        let flag = small % 2 == 0;
        let mut text = [0 as c_char; 512];
        let (buffer, size) = (text.as_mut_ptr(), number as usize % text.len());
        // The first keeps what it was set to.
        let config = self.configs[1 + at % (SLOTS - 1)];
        let (client, session) = (self.clients[at], self.sessions[at]);
        let (request, transfer, share) = (self.requests[at], self.transfers[at], self.shares[at]);
        let (reader, listing, resume) = (self.readers[at], self.listings[at], self.resumes[at]);
        let destroyed = || {
            GIVEN.fetch_add(1, Ordering::SeqCst);
            Some(on_destroy as unsafe extern "C" fn(*mut c_void))
        };
        unsafe {
            match call {
                "pdtp_config_set" => self.set_and_compare(&op.name, &op.value),
                "pdtp_config_get" => drop(fine(pdtp_config_get(config, name, buffer, size))),
                "pdtp_config_new" | "pdtp_config_free" => {
                    pdtp_config_free(config);
                    self.configs[1 + at % (SLOTS - 1)] = pdtp_config_new();
                }
                "pdtp_config_option_at" => {
                    let option = pdtp_config_option_at(number as usize);
                    assert_eq!(option.is_null(), number >= OPTIONS.len() as u64);
                }
                "pdtp_config_set_dirs" => drop(fine(pdtp_config_set_dirs(config, local, local))),
                "pdtp_config_set_dispatch" => drop(fine(pdtp_config_set_dispatch(config, small))),
                "pdtp_config_set_rates" => drop(fine(pdtp_config_set_rates(config, number, number))),
                "pdtp_config_set_seeding" => drop(fine(pdtp_config_set_seeding(config, small))),
                "pdtp_config_set_log" => {
                    let call: pdtp_log_callback = if flag { Some(on_log) } else { None };
                    fine(pdtp_config_set_log(config, small, call, nothing, destroyed()));
                }
                "pdtp_config_set_verify" => {
                    let call: pdtp_verify_callback = if flag { Some(on_verdict) } else { None };
                    fine(pdtp_config_set_verify(config, small, call, nothing, destroyed()));
                }
                "pdtp_config_add_key" => {
                    let length = KEY.len().min(number as usize);
                    fine(pdtp_config_add_key(config, KEY.as_ptr().cast(), length, value));
                }
                "pdtp_config_set_trust_store" => drop(fine(pdtp_config_set_trust_store(config, local))),

                "pdtp_client_new" => {
                    pdtp_client_free(client);
                    fine(pdtp_client_new(&mut self.clients[at], self.configs[other]));
                    fine(pdtp_client_set(self.clients[at], c"grace".as_ptr(), c"0".as_ptr()));
                }
                "pdtp_client_free" => {
                    pdtp_client_free(client);
                    self.clients[at] = ptr::null_mut();
                }
                "pdtp_client_set" => {
                    fine(pdtp_client_set(client, name, value));
                    fine(pdtp_client_set(client, c"grace".as_ptr(), c"0".as_ptr()));
                }
                "pdtp_client_stats" => {
                    let mut stats: pdtp_stats = std::mem::zeroed();
                    fine(pdtp_client_stats(client, &mut stats, number as usize % (size_of_val(&stats) + 1)));
                }
                "pdtp_client_event_fd" => assert_eq!(pdtp_client_event_fd(client) >= 0, !client.is_null()),
                "pdtp_client_set_wakeup" => {
                    let call: pdtp_wakeup_callback = if flag { Some(on_wakeup) } else { None };
                    fine(pdtp_client_set_wakeup(client, call, nothing, destroyed()));
                }
                "pdtp_client_set_event_callback" => {
                    let call: pdtp_event_callback = if flag { Some(on_event) } else { None };
                    fine(pdtp_client_set_event_callback(client, call, nothing, destroyed()));
                }
                "pdtp_client_next_event" => look_at(pdtp_client_next_event(client, BRIEFLY)),
                "pdtp_client_dispatch" => drop(fine(pdtp_client_dispatch(client, small, BRIEFLY))),
                "pdtp_client_interrupt" => drop(fine(pdtp_client_interrupt(client))),
                "pdtp_client_enable_event" => {
                    fine(pdtp_client_enable_event(client, small, c_int::from(flag)));
                }
                "pdtp_decide" => drop(fine(pdtp_decide(client, number, small))),
                "pdtp_metrics" | "pdtp_string_free" => {
                    let mut string = ptr::null_mut();
                    fine(pdtp_metrics(&mut string, client));
                    pdtp_string_free(string);
                }
                "pdtp_cache_stats" => {
                    let mut cache: pdtp_cache_info = std::mem::zeroed();
                    fine(pdtp_cache_stats(client, &mut cache, size_of_val(&cache)));
                }
                "pdtp_cache_purge" => drop(fine(pdtp_cache_purge(client, number))),
                "pdtp_cache_pin" => drop(fine(pdtp_cache_pin(session, path, small))),

                "pdtp_session_open" => {
                    pdtp_session_free(session);
                    let uri = if small < 20 { self.uri.as_ptr() } else { path };
                    fine(pdtp_session_open(&mut self.sessions[at], self.clients[other], uri, nothing));
                }
                "pdtp_session_free" => {
                    pdtp_session_free(session);
                    self.sessions[at] = ptr::null_mut();
                }
                "pdtp_session_wait" => drop(fine(pdtp_session_wait(session, BRIEFLY))),
                "pdtp_session_state" => {
                    fine(pdtp_session_state(session));
                }
                "pdtp_session_id" => assert_eq!(pdtp_session_id(session) != 0, !session.is_null()),
                "pdtp_session_error" => drop(fine(pdtp_session_error(session, buffer, size))),
                "pdtp_session_info" => {
                    let key = ["uri", "host", "agent", "colour"][number as usize % 4];
                    fine(pdtp_session_info(session, c(key).as_ptr(), buffer, size));
                }
                "pdtp_session_reconnect" => drop(fine(pdtp_session_reconnect(session))),
                "pdtp_watch_start" => {
                    fine(pdtp_watch_start(&mut self.watch, session, path, nothing));
                }
                "pdtp_watch_stop" => drop(fine(pdtp_watch_stop(session, self.watch))),
                "pdtp_list" => {
                    pdtp_listing_free(listing);
                    let depth = if flag { small } else { 1 | PDTP_LIST_RICH };
                    fine(pdtp_list(&mut self.listings[at], self.sessions[other], path, depth, BRIEFLY));
                }
                "pdtp_stat" => {
                    pdtp_listing_free(listing);
                    fine(pdtp_stat(&mut self.listings[at], self.sessions[other], path, BRIEFLY));
                }
                "pdtp_list_start" => {
                    fine(pdtp_list_start(ptr::null_mut(), session, path, small, nothing));
                }
                "pdtp_stat_start" => {
                    let mut op = 0;
                    fine(pdtp_stat_start(&mut op, session, path, nothing));
                }
                "pdtp_listing_free" => {
                    pdtp_listing_free(listing);
                    self.listings[at] = ptr::null_mut();
                }
                "pdtp_listing_rdl" => {
                    let (mut rdl, mut length) = (ptr::null(), 0);
                    fine(pdtp_listing_rdl(listing, &mut rdl, &mut length));
                    assert_eq!(rdl.is_null(), length == 0);
                }
                "pdtp_listing_count"
                | "pdtp_listing_entry"
                | "pdtp_listing_complete"
                | "pdtp_listing_path" => {
                    look_at_listing(listing);
                }
                entry if entry.starts_with("pdtp_entry_") => {
                    look_at_entry(pdtp_listing_entry(listing, number as usize));
                }
                event if event.starts_with("pdtp_event_") => look_at(pdtp_client_next_event(client, 0)),

                "pdtp_request_new" => {
                    pdtp_request_free(request);
                    fine(pdtp_request_new(&mut self.requests[at], self.sessions[other], path));
                }
                "pdtp_request_free" => {
                    pdtp_request_free(request);
                    self.requests[at] = ptr::null_mut();
                }
                "pdtp_request_to_file" => drop(fine(pdtp_request_to_file(request, local))),
                "pdtp_request_to_dir" => drop(fine(pdtp_request_to_dir(request, local))),
                "pdtp_request_to_events" => drop(fine(pdtp_request_to_events(request))),
                "pdtp_request_to_callback" => {
                    let call: pdtp_data_callback = if flag { Some(on_data) } else { None };
                    fine(pdtp_request_to_callback(request, call, nothing, destroyed()));
                }
                "pdtp_request_set" => drop(fine(pdtp_request_set(request, name, value))),
                "pdtp_request_start" => {
                    pdtp_transfer_free(self.transfers[other]);
                    self.transfers[other] = ptr::null_mut();
                    fine(pdtp_request_start(&mut self.transfers[other], request, nothing));
                    self.requests[at] = ptr::null_mut();
                }
                "pdtp_download" => {
                    pdtp_transfer_free(transfer);
                    fine(pdtp_download(&mut self.transfers[at], self.sessions[other], path, local, nothing));
                }
                "pdtp_transfer_free" => {
                    pdtp_transfer_free(transfer);
                    self.transfers[at] = ptr::null_mut();
                }
                "pdtp_transfer_id" => assert_eq!(pdtp_transfer_id(transfer) != 0, !transfer.is_null()),
                "pdtp_transfer_state" => drop(fine(pdtp_transfer_state(transfer))),
                "pdtp_transfer_progress" => {
                    let mut progress: pdtp_progress = std::mem::zeroed();
                    fine(pdtp_transfer_progress(transfer, &mut progress, size_of_val(&progress)));
                }
                "pdtp_transfer_error" => drop(fine(pdtp_transfer_error(transfer, buffer, size))),
                "pdtp_transfer_wait" => drop(fine(pdtp_transfer_wait(transfer, BRIEFLY))),
                "pdtp_transfer_pause" => drop(fine(pdtp_transfer_pause(transfer))),
                "pdtp_transfer_resume" => drop(fine(pdtp_transfer_resume(transfer))),
                "pdtp_transfer_set_rate" => drop(fine(pdtp_transfer_set_rate(transfer, number))),
                "pdtp_transfer_set_priority" => drop(fine(pdtp_transfer_set_priority(transfer, small))),
                "pdtp_transfer_cancel" => drop(fine(pdtp_transfer_cancel(transfer, small))),

                "pdtp_reader_open" => {
                    pdtp_reader_free(reader);
                    fine(pdtp_reader_open(&mut self.readers[at], self.sessions[other], path, BRIEFLY));
                }
                "pdtp_reader_free" => {
                    pdtp_reader_free(reader);
                    self.readers[at] = ptr::null_mut();
                }
                "pdtp_reader_read" | "pdtp_reader_buffered" => {
                    let (mut from, mut to) = (0, 0);
                    let code = fine(pdtp_reader_buffered(reader, &mut from, &mut to));
                    // It would wait for what is not there.
                    if code < 0 || to > from {
                        fine_long(pdtp_reader_read(reader, buffer.cast(), size));
                    }
                }
                "pdtp_reader_read_timeout" => {
                    fine_long(pdtp_reader_read_timeout(reader, buffer.cast(), size, BRIEFLY));
                }
                "pdtp_reader_seek" => fine_long(pdtp_reader_seek(reader, number.cast_signed(), small)),
                "pdtp_reader_tell" => fine_long(pdtp_reader_tell(reader)),
                "pdtp_reader_size" => fine_long(pdtp_reader_size(reader)),
                "pdtp_reader_cancel" => drop(fine(pdtp_reader_cancel(reader))),
                "pdtp_reader_set_window" => {
                    fine(pdtp_reader_set_window(reader, number.cast_signed()));
                }

                "pdtp_share_add" => {
                    pdtp_share_free(share);
                    fine(pdtp_share_add(&mut self.shares[at], self.sessions[other], path, local, nothing));
                }
                "pdtp_share_free" => {
                    pdtp_share_free(share);
                    self.shares[at] = ptr::null_mut();
                }
                "pdtp_share_id" => assert_eq!(pdtp_share_id(share) != 0, !share.is_null()),
                "pdtp_share_state" => drop(fine(pdtp_share_state(share))),
                "pdtp_share_error" => drop(fine(pdtp_share_error(share, buffer, size))),

                "pdtp_resume_list" => {
                    pdtp_resume_free(resume);
                    fine(pdtp_resume_list(&mut self.resumes[at], self.clients[other]));
                }
                "pdtp_resume_free" => {
                    pdtp_resume_free(resume);
                    self.resumes[at] = ptr::null_mut();
                }
                "pdtp_resume_count" | "pdtp_resume_at" => {
                    let count = pdtp_resume_count(resume);
                    assert!(pdtp_resume_at(resume, count).is_null());
                    assert!(count == 0 || !pdtp_resume_at(resume, count - 1).is_null());
                }
                "pdtp_resume_start" | "pdtp_resume_forget" => {
                    let first = pdtp_resume_at(resume, 0);
                    let id = if first.is_null() { value } else { (*first).id };
                    fine(match call {
                        "pdtp_resume_start" => pdtp_resume_start(ptr::null_mut(), client, id, nothing),
                        _ => pdtp_resume_forget(client, id, small),
                    });
                }

                "pdtp_uri_part" => {
                    let part = ["uri", "host", "port", "path", "name", "root", "key", "dir"];
                    fine(pdtp_uri_part(path, c(part[number as usize % part.len()]).as_ptr(), buffer, size));
                }
                "pdtp_uri_format" => drop(fine(pdtp_uri_format(buffer, size, value, number as u16, path))),
                "pdtp_fingerprint" => {
                    let key = c(KEY);
                    fine(pdtp_fingerprint(if flag { key.as_ptr() } else { value }, buffer, size));
                }
                "pdtp_has_feature" => assert!((0..=1).contains(&pdtp_has_feature(name))),
                "pdtp_version_string" => assert!(!pdtp_version_string().is_null()),
                "pdtp_version_number" => assert!(pdtp_version_number() > 0),
                "pdtp_abi_version" => assert!(pdtp_abi_version() > 0),
                "pdtp_error_name" => assert!(!pdtp_error_name(small).is_null()),
                "pdtp_strerror" => assert!(!pdtp_strerror(small).is_null()),
                "pdtp_last_error_code" => drop(fine(pdtp_last_error_code())),
                "pdtp_last_error" => assert!(pdtp_last_error(buffer, size) >= 0),
                other => panic!("nothing calls {other}"),
            }
        }
    }

    /// SAFETY: as `run`.
    unsafe fn set_and_compare(&mut self, name: &str, value: &str) {
        let config = self.configs[0];
        let mut text = [0 as c_char; 512];
        unsafe {
            let code = fine(pdtp_config_set(config, c(name).as_ptr(), c(value).as_ptr()));
            assert_eq!(code == 0, self.model.set(name, value).is_ok(), "{name}={value}");
            for option in OPTIONS {
                let length = pdtp_config_get(config, c(option.name).as_ptr(), text.as_mut_ptr(), text.len());
                let expected = self.model.get(option.name).unwrap();
                assert_eq!(length, expected.len() as c_int);
                assert_eq!(CStr::from_ptr(text.as_ptr()).to_str().unwrap(), expected);
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: handles that are alive or NULL, each once.
        unsafe {
            self.configs.iter().for_each(|config| pdtp_config_free(*config));
            self.transfers.iter().for_each(|transfer| pdtp_transfer_free(*transfer));
            self.requests.iter().for_each(|request| pdtp_request_free(*request));
            self.clients.iter().for_each(|client| pdtp_client_free(*client));
            self.readers.iter().for_each(|reader| pdtp_reader_free(*reader));
            self.listings.iter().for_each(|listing| pdtp_listing_free(*listing));
            self.resumes.iter().for_each(|resume| pdtp_resume_free(*resume));
            self.shares.iter().for_each(|share| pdtp_share_free(*share));
            self.sessions.iter().for_each(|session| pdtp_session_free(*session));
        }
    }
}

/// The server of `PDTP_URI`, if it is given, which has `/file` and `/dir/x`; else one that is started.
#[cfg(feature = "server")]
fn with_server(run: impl FnOnce(&str)) {
    let served = common::make_tree(&[("file", 700_000), ("dir/x", 300)]);
    let server = common::Pdtpd::start(served.path(), &[] as &[&str]);
    run(&server.uri("/"));
}

#[cfg(not(feature = "server"))]
fn with_server(run: impl FnOnce(&str)) {
    run(&std::env::var("PDTP_URI").expect("PDTP_URI names a server"));
}

#[test]
fn no_sequence_of_calls_breaks_anything() {
    let _alone = COUNTING.lock();
    with_server(|uri| {
        let config = ProptestConfig { cases: 64, ..ProptestConfig::with_source_file(file!()) };
        TestRunner::new(config)
            .run(&prop::collection::vec(op(), 1..120), |ops| {
                let mut world = World::new(uri);
                for op in &ops {
                    // SAFETY: this is the one thread that uses these handles.
                    unsafe { world.run(op) };
                }
                drop(world);
                prop_assert_eq!(GIVEN.load(Ordering::SeqCst), DESTROYED.load(Ordering::SeqCst));
                Ok(())
            })
            .unwrap();
    });
}

/// What is new in the header is called, too.
#[test]
fn every_function_is_called() {
    let _alone = COUNTING.lock();
    with_server(|uri| {
        let mut world = World::new(uri);
        for call in functions() {
            let (path, name, value) = ("/file".to_owned(), "grace".to_owned(), "0".to_owned());
            let op = Op { call, at: 0, other: 0, number: 1, small: 1, path, name, value };
            // SAFETY: this is the one thread that uses these handles.
            unsafe { world.run(&op) };
        }
    });
}
