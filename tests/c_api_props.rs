//! The C API under sequences of calls that proptest makes up, and shrinks when one breaks something: no call may say that
//! it is broken inside, a configuration keeps exactly what was set, and nothing is left when all handles are freed.
//!
//! Without a server: `tests/c/fuzz.c` has one, and more threads.

#![allow(unsafe_code, reason = "the functions are C's")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pdtp::client::{Config, OPTIONS};
use pdtp::ffi::client::*;
use pdtp::ffi::config::*;
use pdtp::ffi::error::*;
use pdtp::ffi::event::*;
use pdtp::ffi::session::*;
use pdtp::ffi::share::*;
use pdtp::ffi::transfer::*;
use proptest::prelude::*;

/// Handles of a kind at once.
const SLOTS: usize = 3;

#[derive(Debug, Clone)]
enum Op {
    Set(usize, String, String),
    NewClient(usize, usize),
    FreeClient(usize),
    SetAtRunTime(usize, String, String),
    Callback(usize, bool),
    Dispatch(usize),
    Interrupt(usize),
    Enable(usize, c_int, bool),
    Open(usize, usize, String),
    FreeSession(usize),
    Wait(usize),
    Download(usize, usize, String),
    Request(usize, String, String, String),
    Cancel(usize, c_int),
    Tune(usize, u64, c_int),
    FreeTransfer(usize),
    Share(usize, usize, String),
    FreeShare(usize),
    Purge(usize, u64),
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
        ["/", "/file", "/dir/", "/a%20b", "/../x", "pdtp://127.0.0.1:1/x", "pdtp://127.0.0.1:1/", "x", ""];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[ -~]{0,12}"]
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    prop_oneof![
        (slot(), name(), value()).prop_map(|(at, name, value)| Op::Set(at, name, value)),
        (slot(), slot()).prop_map(|(at, config)| Op::NewClient(at, config)),
        slot().prop_map(Op::FreeClient),
        (slot(), name(), value()).prop_map(|(at, name, value)| Op::SetAtRunTime(at, name, value)),
        (slot(), any::<bool>()).prop_map(|(at, on)| Op::Callback(at, on)),
        slot().prop_map(Op::Dispatch),
        slot().prop_map(Op::Interrupt),
        (slot(), -1..40, any::<bool>()).prop_map(|(at, kind, on)| Op::Enable(at, kind, on)),
        (slot(), slot(), path()).prop_map(|(at, client, uri)| Op::Open(at, client, uri)),
        slot().prop_map(Op::FreeSession),
        slot().prop_map(Op::Wait),
        (slot(), slot(), path()).prop_map(|(at, session, path)| Op::Download(at, session, path)),
        (slot(), path(), name(), value())
            .prop_map(|(at, path, name, value)| Op::Request(at, path, name, value)),
        (slot(), -1..4).prop_map(|(at, what)| Op::Cancel(at, what)),
        (slot(), any::<u64>(), -3..4).prop_map(|(at, rate, priority)| Op::Tune(at, rate, priority)),
        slot().prop_map(Op::FreeTransfer),
        (slot(), slot(), path()).prop_map(|(at, session, path)| Op::Share(at, session, path)),
        slot().prop_map(Op::FreeShare),
        (slot(), any::<u64>()).prop_map(|(at, keep)| Op::Purge(at, keep)),
    ]
}

static GIVEN: AtomicUsize = AtomicUsize::new(0);
static DESTROYED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn on_event(event: *const pdtp_event, _: *mut c_void) {
    // SAFETY: as the library gave it.
    assert!(unsafe { pdtp_event_type(event) } > 0);
}

unsafe extern "C" fn on_destroy(_: *mut c_void) {
    DESTROYED.fetch_add(1, Ordering::SeqCst);
}

/// What there is, and what the configurations should say.
struct World {
    configs: [(*mut pdtp_config, Config); SLOTS],
    clients: [*mut pdtp_client; SLOTS],
    sessions: [*mut pdtp_session; SLOTS],
    transfers: [*mut pdtp_transfer; SLOTS],
    shares: [*mut pdtp_share; SLOTS],
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

fn last_error() -> String {
    let mut text = [0 as c_char; 512];
    // SAFETY: a buffer and its size; the result ends with NUL.
    unsafe {
        pdtp_last_error(text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

impl World {
    fn new() -> Self {
        Self {
            configs: std::array::from_fn(|_| (pdtp_config_new(), Config::default())),
            clients: [ptr::null_mut(); SLOTS],
            sessions: [ptr::null_mut(); SLOTS],
            transfers: [ptr::null_mut(); SLOTS],
            shares: [ptr::null_mut(); SLOTS],
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn local(&self) -> CString {
        c(self.dir.path().join("x").to_str().unwrap())
    }

    /// SAFETY: only this calls the functions, with handles that are alive or NULL.
    unsafe fn run(&mut self, op: &Op) {
        unsafe {
            match op {
                Op::Set(at, name, value) => {
                    let (config, model) = &mut self.configs[*at];
                    let code = fine(pdtp_config_set(*config, c(name).as_ptr(), c(value).as_ptr()));
                    assert_eq!(code == 0, model.set(name, value).is_ok(), "{name}={value}");
                    let mut text = [0 as c_char; 512];
                    for option in OPTIONS {
                        let length =
                            pdtp_config_get(*config, c(option.name).as_ptr(), text.as_mut_ptr(), text.len());
                        let expected = model.get(option.name).unwrap();
                        assert_eq!(length, expected.len() as c_int);
                        assert_eq!(CStr::from_ptr(text.as_ptr()).to_str().unwrap(), expected);
                    }
                }
                Op::NewClient(at, config) => {
                    pdtp_client_free(self.clients[*at]);
                    fine(pdtp_client_new(&mut self.clients[*at], self.configs[*config].0));
                    fine(pdtp_client_set(self.clients[*at], c("grace").as_ptr(), c("0").as_ptr()));
                }
                Op::FreeClient(at) => {
                    pdtp_client_free(std::mem::replace(&mut self.clients[*at], ptr::null_mut()));
                }
                Op::SetAtRunTime(at, name, value) => {
                    fine(pdtp_client_set(self.clients[*at], c(name).as_ptr(), c(value).as_ptr()));
                    fine(pdtp_client_set(self.clients[*at], c("grace").as_ptr(), c("0").as_ptr()));
                }
                Op::Callback(at, on) => {
                    GIVEN.fetch_add(1, Ordering::SeqCst);
                    let function: Option<unsafe extern "C" fn(*const pdtp_event, *mut c_void)> =
                        if *on { Some(on_event) } else { None };
                    let client = self.clients[*at];
                    fine(pdtp_client_set_event_callback(client, function, ptr::null_mut(), Some(on_destroy)));
                }
                Op::Dispatch(at) => drop(fine(pdtp_client_dispatch(self.clients[*at], 0, 1))),
                Op::Interrupt(at) => drop(fine(pdtp_client_interrupt(self.clients[*at]))),
                Op::Enable(at, kind, on) => {
                    fine(pdtp_client_enable_event(self.clients[*at], *kind, c_int::from(*on)));
                }
                Op::Open(at, client, uri) => {
                    pdtp_session_free(self.sessions[*at]);
                    let uri = c(uri);
                    let client = self.clients[*client];
                    fine(pdtp_session_open(&mut self.sessions[*at], client, uri.as_ptr(), ptr::null_mut()));
                }
                Op::FreeSession(at) => {
                    pdtp_session_free(std::mem::replace(&mut self.sessions[*at], ptr::null_mut()));
                }
                Op::Wait(at) => drop(fine(pdtp_session_wait(self.sessions[*at], 1))),
                Op::Download(at, session, path) => {
                    pdtp_transfer_free(self.transfers[*at]);
                    let (path, local) = (c(path), self.local());
                    let out = &mut self.transfers[*at];
                    let session = self.sessions[*session];
                    fine(pdtp_download(out, session, path.as_ptr(), local.as_ptr(), ptr::null_mut()));
                }
                Op::Request(at, path, name, value) => {
                    let mut request = ptr::null_mut();
                    fine(pdtp_request_new(&mut request, self.sessions[*at], c(path).as_ptr()));
                    fine(pdtp_request_set(request, c(name).as_ptr(), c(value).as_ptr()));
                    fine(pdtp_request_set(request, c("priority").as_ptr(), c("low").as_ptr()));
                    pdtp_request_free(request);
                }
                Op::Cancel(at, what) => drop(fine(pdtp_transfer_cancel(self.transfers[*at], *what))),
                Op::Tune(at, rate, priority) => {
                    fine(pdtp_transfer_set_rate(self.transfers[*at], *rate));
                    fine(pdtp_transfer_set_priority(self.transfers[*at], *priority));
                }
                Op::FreeTransfer(at) => {
                    pdtp_transfer_free(std::mem::replace(&mut self.transfers[*at], ptr::null_mut()));
                }
                Op::Share(at, session, path) => {
                    pdtp_share_free(self.shares[*at]);
                    let (path, local) = (c(path), self.local());
                    let out = &mut self.shares[*at];
                    let session = self.sessions[*session];
                    fine(pdtp_share_add(out, session, path.as_ptr(), local.as_ptr(), ptr::null_mut()));
                    fine(pdtp_share_state(*out));
                }
                Op::FreeShare(at) => {
                    pdtp_share_free(std::mem::replace(&mut self.shares[*at], ptr::null_mut()));
                }
                Op::Purge(at, keep) => drop(fine(pdtp_cache_purge(self.clients[*at], *keep))),
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: handles that are alive or NULL, each once.
        unsafe {
            self.configs.iter().for_each(|(config, _)| pdtp_config_free(*config));
            self.transfers.iter().for_each(|transfer| pdtp_transfer_free(*transfer));
            self.clients.iter().for_each(|client| pdtp_client_free(*client));
            self.shares.iter().for_each(|share| pdtp_share_free(*share));
            self.sessions.iter().for_each(|session| pdtp_session_free(*session));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_calls_breaks_anything(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        for op in &ops {
            // SAFETY: this is the one thread that uses these handles.
            unsafe { world.run(op) };
        }
        drop(world);
        prop_assert_eq!(GIVEN.load(Ordering::SeqCst), DESTROYED.load(Ordering::SeqCst));
    }
}
