//! Signatures: whom to trust, and the application's word on what they are worth.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use super::callbacks::{UserData, pdtp_destroy_callback};
use super::client::pdtp_client;
use super::config::pdtp_config;
use super::guard::{self, Context, argument};
use super::text::{self, owned, pointer};
use crate::client::Answer;
use crate::content::keys::PublicKey;
use crate::content::trust::{Place, Policy, Status, TrustEntry, Verdict};
use crate::content::x509::Anchor;

/// What to do about signatures.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_verify_policy {
    /// Signatures are not looked at.
    PDTP_VERIFY_OFF = 0,
    /// Verdicts are told (PDTP_EVENT_VERDICT), and everything is taken.
    PDTP_VERIFY_REPORT = 1,
    /// What is not signed is taken where nothing says that it should be; bad, expired, outdated and changed signatures
    /// are refused, and so are unknown keys where it was configured who is trusted. Your callback has the last word.
    /// The default.
    PDTP_VERIFY_ASK = 2,
    /// Only what is signed by somebody who is trusted is taken. Your callback has the last word.
    PDTP_VERIFY_REQUIRE = 3,
}

/// What the signatures of a file are worth.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_verdict_status {
    /// Signed by somebody who is trusted for this place.
    PDTP_VERDICT_GOOD = 1,
    /// Nobody has signed it.
    PDTP_VERDICT_UNSIGNED = 2,
    /// Signed with a key that is not known.
    PDTP_VERDICT_UNKNOWN_KEY = 3,
    /// Signed with a trusted key, but older than what that key has signed for this path before.
    PDTP_VERDICT_ROLLBACK = 4,
    /// Certified by somebody who is trusted, but not at this time.
    PDTP_VERDICT_EXPIRED = 5,
    /// Signed with another key than those that sign here. Be loud about it.
    PDTP_VERDICT_KEY_CHANGED = 6,
    /// A signature is wrong: broken, of other content or another path, or by a revoked key.
    PDTP_VERDICT_BAD = 7,
}

/// Your word on a verdict.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_answer {
    /// Do not download it.
    PDTP_ANSWER_REJECT = 0,
    /// Download it. A key that was not known before is remembered, if there is a trust file.
    PDTP_ANSWER_ACCEPT = 1,
    /// Do what the policy says.
    PDTP_ANSWER_DEFAULT = 2,
    /// You will call pdtp_decide; PDTP_EVENT_DECISION follows. From a verify callback only.
    PDTP_ANSWER_LATER = 3,
}

/// What the signatures of a file are worth, and why.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_verdict {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// pdtp_transfer_id
    pub transfer: u64,
    /// For pdtp_decide; 0 in PDTP_EVENT_VERDICT.
    pub decision: u64,
    /// When the key came to be trusted here, Unix seconds; -1 if that is not known.
    pub since: i64,
    /// When it was signed, Unix seconds; -1 if it is not, or not well.
    pub date: i64,
    /// Host of the server, and its port if that is not 6086.
    pub server: *const c_char,
    /// Path of the file, percent-encoded.
    pub path: *const c_char,
    /// Fingerprint of the key, 64 hex digits; NULL if there is none.
    pub key: *const c_char,
    /// "ed25519", "ecdsa-p256-sha256" or "dsa-sha256"; NULL if there is none.
    pub algorithm: *const c_char,
    /// Whose key it is. Of somebody who is not trusted it is what he calls himself. NULL if there is nothing.
    pub signer: *const c_char,
    /// Why, as "is signed with a key that was revoked".
    pub reason: *const c_char,
    /// PDTP_VERDICT_*
    pub status: c_int,
    /// 1 if something says that a certain key should have signed this file: the trust file, or the URI.
    pub expected: c_int,
    /// Whether it is downloaded: 1 or 0; -1 while you are asked.
    pub accepted: c_int,
}

/// Is asked about the signatures of each file before a byte of it is downloaded. Called where the event callback is
/// called; `verdict` ends with the call. Answers PDTP_ANSWER_*; what is none of these rejects.
pub type pdtp_verify_callback =
    Option<unsafe extern "C" fn(verdict: *const pdtp_verdict, user_data: *mut c_void) -> c_int>;

/// A function that is asked.
#[derive(Debug)]
pub(super) struct VerifyFn {
    call: unsafe extern "C" fn(*const pdtp_verdict, *mut c_void) -> c_int,
    data: UserData,
}

impl VerifyFn {
    /// `None` = later.
    pub(super) fn call(&self, verdict: &pdtp_verdict) -> Option<Answer> {
        // SAFETY: the application's function with the application's data, as the header demands.
        let answer = Context::Callback.run(|| unsafe { (self.call)(verdict, self.data.pointer()) });
        if answer == pdtp_answer::PDTP_ANSWER_LATER as c_int {
            return None;
        }
        Some(answer_of(answer).unwrap_or(Answer::Reject))
    }
}

fn answer_of(code: c_int) -> Option<Answer> {
    Some(match code {
        _ if code == pdtp_answer::PDTP_ANSWER_ACCEPT as c_int => Answer::Accept,
        _ if code == pdtp_answer::PDTP_ANSWER_REJECT as c_int => Answer::Reject,
        _ if code == pdtp_answer::PDTP_ANSWER_DEFAULT as c_int => Answer::Default,
        _ => return None,
    })
}

/// A verdict as C sees it, and the strings it points to.
#[derive(Debug)]
pub(super) struct VerdictView {
    pub(super) seen: pdtp_verdict,
    _strings: Box<[Option<CString>; 6]>,
}

impl VerdictView {
    /// `decision` is 0, and `accepted` known, for what is only told.
    pub(super) fn new(transfer: u64, decision: u64, verdict: &Verdict, accepted: Option<bool>) -> Self {
        let (host, port) = &verdict.server;
        let server = Place::at(host, *port, &crate::wire::UrlPath::root()).to_string();
        let strings = Box::new([
            Some(owned(server.trim_end_matches('/'))),
            Some(owned(verdict.path.as_str())),
            verdict.key.map(|key| owned(key.to_string())),
            verdict.algorithm.map(|algorithm| owned(algorithm.name())),
            verdict.signer.as_deref().map(owned),
            Some(owned(verdict.reason.as_str())),
        ]);
        let [server, path, key, algorithm, signer, reason] = strings.each_ref().map(|s| pointer(s.as_ref()));
        let unix = |date: Option<crate::content::Date>| {
            date.and_then(|date| i64::try_from(date.unix()).ok()).unwrap_or(-1)
        };
        let seen = pdtp_verdict {
            size: size_of::<pdtp_verdict>(),
            transfer,
            decision,
            since: unix(verdict.since),
            date: unix(verdict.date),
            server,
            path,
            key,
            algorithm,
            signer,
            reason,
            status: status_code(verdict.status) as c_int,
            expected: c_int::from(verdict.expected),
            accepted: accepted.map_or(-1, c_int::from),
        };
        Self { seen, _strings: strings }
    }
}

fn status_code(status: Status) -> pdtp_verdict_status {
    match status {
        Status::Good => pdtp_verdict_status::PDTP_VERDICT_GOOD,
        Status::Unsigned => pdtp_verdict_status::PDTP_VERDICT_UNSIGNED,
        Status::UnknownKey => pdtp_verdict_status::PDTP_VERDICT_UNKNOWN_KEY,
        Status::Rollback => pdtp_verdict_status::PDTP_VERDICT_ROLLBACK,
        Status::Expired => pdtp_verdict_status::PDTP_VERDICT_EXPIRED,
        Status::KeyChanged => pdtp_verdict_status::PDTP_VERDICT_KEY_CHANGED,
        Status::Bad => pdtp_verdict_status::PDTP_VERDICT_BAD,
    }
}

/// Chooses what to do about signatures, PDTP_VERIFY_*, and who is asked. With a `callback` it is asked about every file
/// under PDTP_VERIFY_ASK and PDTP_VERIFY_REQUIRE, whatever the verdict; then events must be drained while downloads
/// run, since who is not answered within the option "decision_timeout" is refused. Without one the policy decides.
///
/// `destroy` ends `user_data` when the function is replaced, or when the configuration and all clients made from it
/// are gone; at once if this call fails.
///
/// Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_set_verify(
    config: *mut pdtp_config,
    policy: c_int,
    callback: pdtp_verify_callback,
    user_data: *mut c_void,
    destroy: pdtp_destroy_callback,
) -> c_int {
    let data = UserData::new(user_data, destroy);
    guard::code(move || {
        let config = borrow_mut!(config);
        let policy = match policy {
            _ if policy == pdtp_verify_policy::PDTP_VERIFY_OFF as c_int => Policy::Off,
            _ if policy == pdtp_verify_policy::PDTP_VERIFY_REPORT as c_int => Policy::Report,
            _ if policy == pdtp_verify_policy::PDTP_VERIFY_ASK as c_int => Policy::Ask,
            _ if policy == pdtp_verify_policy::PDTP_VERIFY_REQUIRE as c_int => Policy::Require,
            _ => return Err(argument("policy", format_args!("{policy} is no PDTP_VERIFY_*"))),
        };
        config.engine.verify = policy;
        config.engine.decisions = callback.is_some();
        let function = callback.map(|call| Arc::new(VerifyFn { call, data }));
        let old = std::mem::replace(&mut config.verify, function);
        drop(old);
        Ok(())
    })
}

/// Trusts a key for everything on every server. `data` is PEM of `length` bytes: a public key, or a certificate, and
/// then everybody it certifies is trusted. `label` says whose it is, for people; NULL is fine. Both are copied.
///
/// Never blocks for long: the numbers of the key are checked. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT when it
/// is no key, or a dangerous one. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_add_key(
    config: *mut pdtp_config,
    data: *const c_void,
    length: usize,
    label: *const c_char,
) -> c_int {
    guard::code(|| {
        let config = borrow_mut!(config);
        let label = if label.is_null() { "" } else { text!(label) };
        if data.is_null() {
            return Err(guard::null("data"));
        }
        if length > crate::wire::limits::MAX_KEY_TEXT {
            return Err(argument("length", "too long for a key"));
        }
        // SAFETY: the header demands `length` bytes behind a pointer that is not NULL.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) };
        let pem = std::str::from_utf8(bytes).map_err(|why| argument("data", why))?;
        if pem.contains("-----BEGIN CERTIFICATE-----") {
            let anchor = Box::new(Anchor::from_pem(pem).map_err(|why| argument("data", why))?);
            let (place, comment) = (Place::Everywhere, label.to_owned());
            config.engine.trust.add(TrustEntry::Authority { place, anchor, comment });
        } else {
            let key = PublicKey::from_pem(pem).map_err(|why| argument("data", why))?;
            config.engine.trust.add_key(&key, label);
        }
        Ok(())
    })
}

/// Names the trust file: who may sign what, a line each, as in `known_hosts`. Clients read it when they are made, and add
/// a line when you accept a key that was not known. Beside it, with ".seen" added to the name, they keep which dates of
/// files were seen. It need not exist yet. NULL takes it back. The option "trust_store" is the same.
///
/// Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_set_trust_store(config: *mut pdtp_config, file: *const c_char) -> c_int {
    guard::code(|| {
        let config = borrow_mut!(config);
        config.engine.trust_store = if file.is_null() { None } else { Some(local_path!(file)) };
        Ok(())
    })
}

/// Answers a PDTP_EVENT_DECISION: PDTP_ANSWER_ACCEPT, _REJECT or _DEFAULT.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT; PDTP_E_STATE when nothing waits for this
/// decision, or not any more. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_decide(client: *mut pdtp_client, decision: u64, answer: c_int) -> c_int {
    guard::code(|| {
        let client = borrow!(client);
        client.shared.alive()?;
        let answer = answer_of(answer)
            .ok_or_else(|| argument("answer", format_args!("{answer} is not ACCEPT, REJECT or DEFAULT")))?;
        client.shared.engine.decide(decision, answer)
    })
}

/// What a PDTP_EVENT_VERDICT or a PDTP_EVENT_DECISION says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_verdict(event: *const super::event::pdtp_event) -> *const pdtp_verdict {
    guard::value(ptr::null(), || Ok(borrow!(event).verdict()))
}

/// The fingerprint of a public key or certificate in PEM, as in `#key=` of a URI: 64 hex digits, copied into `buffer`
/// like snprintf does; the result is 64, or an error.
///
/// Never blocks for long. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_fingerprint(pem: *const c_char, buffer: *mut c_char, size: usize) -> c_int {
    guard::count(|| {
        let pem = text!(pem);
        let fingerprint = if pem.contains("-----BEGIN CERTIFICATE-----") {
            Anchor::from_pem(pem).map_err(|why| argument("pem", why))?.fingerprint()
        } else {
            Some(PublicKey::from_pem(pem).map_err(|why| argument("pem", why))?.fingerprint())
        };
        let text = fingerprint.map(|fingerprint| fingerprint.to_string()).unwrap_or_default();
        // SAFETY: the header demands NULL or room for `size` bytes.
        Ok(unsafe { text::copy(&text, buffer, size) })
    })
}
