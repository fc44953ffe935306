//! Error codes: one table between [`ErrorKind`] and C.

use std::ffi::{CStr, c_char, c_int};

use super::{guard, text};
use crate::client::ErrorKind;

/// Results. Good is 0 (or a count from 0); failures are negative, and group by their hundreds. Codes are never
/// renumbered and never reused; treat unknown ones by their group.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_error {
    /// Good.
    PDTP_OK = 0,

    /// Usage: a pointer is NULL that must not be.
    PDTP_E_NULL = -1001,
    /// Usage: an argument makes no sense, or is a handle of another type.
    PDTP_E_ARGUMENT = -1002,
    /// Usage: no such option, or not such a value; the text names the nearest.
    PDTP_E_OPTION = -1003,
    /// Usage: not now, as things stand.
    PDTP_E_STATE = -1004,
    /// Usage: called from a callback that may not call this.
    PDTP_E_REENTRANT = -1005,
    /// Usage: the handle was made before fork(), in the parent process.
    PDTP_E_FORKED = -1006,
    /// Usage: program and library do not fit together.
    PDTP_E_VERSION = -1007,

    /// Network: no address is known for the host name.
    PDTP_E_RESOLVE = -1101,
    /// Network: the host does not accept a connection.
    PDTP_E_CONNECT = -1102,
    /// Network, or a timeout given by you: the time is up.
    PDTP_E_TIMEOUT = -1103,
    /// Network: the connection broke.
    PDTP_E_LOST = -1104,
    /// Network: no secure connection.
    PDTP_E_TLS = -1105,
    /// Network: the other end does not speak PDTP as it should.
    PDTP_E_PROTOCOL = -1106,

    /// The server says: there is no such file.
    PDTP_E_NOT_FOUND = -1201,
    /// The server says: not for you.
    PDTP_E_DENIED = -1202,
    /// The server says: later.
    PDTP_E_BUSY = -1203,
    /// The server says: too much.
    PDTP_E_LIMIT = -1204,
    /// The server, or this library, cannot do that.
    PDTP_E_UNSUPPORTED = -1205,
    /// The file is another one now.
    PDTP_E_CHANGED = -1206,

    /// Data: wrong bytes, and nobody had the right ones.
    PDTP_E_HASH = -1301,
    /// Data: a signature is wrong.
    PDTP_E_SIGNATURE = -1302,
    /// Data: there is no signature.
    PDTP_E_UNSIGNED = -1303,
    /// Data: signed by another key than before.
    PDTP_E_KEY_CHANGED = -1304,
    /// Data: a description of the file makes no sense.
    PDTP_E_METADATA = -1305,
    /// Data: signed by a key that is not known.
    PDTP_E_UNKNOWN_KEY = -1306,

    /// Local: the disk says no.
    PDTP_E_IO = -1401,
    /// Local: the disk is full.
    PDTP_E_NO_SPACE = -1402,
    /// Local: a file is in the way.
    PDTP_E_EXISTS = -1403,
    /// Local: writing is not allowed there.
    PDTP_E_READ_ONLY = -1404,
    /// Local: another download writes the same file.
    PDTP_E_LOCKED = -1405,

    /// Flow: nothing yet.
    PDTP_E_AGAIN = -1501,
    /// Flow: cancelled by you.
    PDTP_E_CANCELLED = -1502,
    /// Flow: woken by pdtp_client_interrupt.
    PDTP_E_INTERRUPTED = -1503,
    /// Flow: refused by your decision.
    PDTP_E_REJECTED = -1504,

    /// Internal: no memory.
    PDTP_E_NO_MEMORY = -1601,
    /// Internal: a bug, caught at the boundary. The handle may be stuck; free it.
    PDTP_E_PANIC = -1602,
    /// Internal: something that should not happen.
    PDTP_E_INTERNAL = -1603,
}

/// One code in words.
#[derive(Debug)]
struct Row {
    code: c_int,
    name: &'static CStr,
    sentence: &'static CStr,
}

const fn c(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("NUL inside"),
    }
}

macro_rules! table {
    ($($kind:ident $code:ident $sentence:literal)*) => {
        /// The code of a kind. The match is exhaustive: a new kind does not compile without a code.
        pub(super) fn code_of(kind: ErrorKind) -> c_int {
            match kind {
                $(ErrorKind::$kind => pdtp_error::$code as c_int,)*
            }
        }

        const ROWS: &[Row] = &[
            Row { code: 0, name: c"PDTP_OK", sentence: c"no error" },
            $(Row {
                code: pdtp_error::$code as c_int,
                name: c(concat!(stringify!($code), "\0")),
                sentence: c(concat!($sentence, "\0")),
            },)*
        ];
    };
}

table! {
    Null PDTP_E_NULL "a pointer is NULL that must not be"
    Argument PDTP_E_ARGUMENT "an argument makes no sense"
    Option PDTP_E_OPTION "no such option, or not such a value"
    State PDTP_E_STATE "not possible as things stand"
    Reentrant PDTP_E_REENTRANT "called from a callback that may not call this"
    Forked PDTP_E_FORKED "the handle was made before fork(), in the parent process"
    Version PDTP_E_VERSION "program and library do not fit together"
    Resolve PDTP_E_RESOLVE "no address is known for the host name"
    Connect PDTP_E_CONNECT "the host does not accept a connection"
    Timeout PDTP_E_TIMEOUT "the time is up"
    Lost PDTP_E_LOST "the connection broke"
    Tls PDTP_E_TLS "no secure connection"
    Protocol PDTP_E_PROTOCOL "the other end does not speak PDTP as it should"
    NotFound PDTP_E_NOT_FOUND "there is no such file or directory"
    Denied PDTP_E_DENIED "access denied"
    Busy PDTP_E_BUSY "busy, try again later"
    Limit PDTP_E_LIMIT "a limit is passed"
    Unsupported PDTP_E_UNSUPPORTED "not supported"
    Changed PDTP_E_CHANGED "the file has changed"
    Hash PDTP_E_HASH "the bytes are not what their hash says"
    Signature PDTP_E_SIGNATURE "the signature is wrong"
    Unsigned PDTP_E_UNSIGNED "there is no signature"
    KeyChanged PDTP_E_KEY_CHANGED "signed by another key than before"
    UnknownKey PDTP_E_UNKNOWN_KEY "signed by a key that is not known"
    Metadata PDTP_E_METADATA "the description of the file makes no sense"
    Io PDTP_E_IO "a local file cannot be read or written"
    NoSpace PDTP_E_NO_SPACE "the disk is full"
    Exists PDTP_E_EXISTS "a file is in the way"
    ReadOnly PDTP_E_READ_ONLY "writing is not allowed there"
    Locked PDTP_E_LOCKED "another download writes the same file"
    Again PDTP_E_AGAIN "nothing yet"
    Cancelled PDTP_E_CANCELLED "cancelled"
    Interrupted PDTP_E_INTERRUPTED "interrupted"
    Rejected PDTP_E_REJECTED "rejected"
    NoMemory PDTP_E_NO_MEMORY "no memory"
    Panic PDTP_E_PANIC "a bug in the library"
    Internal PDTP_E_INTERNAL "something that should not happen"
}

fn row(code: c_int) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.code == code)
}

/// The name of a code, as "PDTP_E_NOT_FOUND": for logs and for bindings. Unknown codes: "PDTP_E_UNKNOWN".
///
/// Never blocks. Any thread, callbacks included. The text is static. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pdtp_error_name(code: c_int) -> *const c_char {
    row(code).map_or(c"PDTP_E_UNKNOWN", |row| row.name).as_ptr()
}

/// What a code means in general, for people. `pdtp_last_error` says what happened in particular.
///
/// Never blocks. Any thread, callbacks included. The text is static, also for unknown codes. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pdtp_strerror(code: c_int) -> *const c_char {
    row(code).map_or(c"an error unknown to this version of the library", |row| row.sentence).as_ptr()
}

/// Copies the sentence of this thread's last failed call into `buffer`: what was attempted, on what, and what to do
/// next. Like snprintf: at most `size` bytes with the NUL at the end, and the result is the length of the whole
/// text without it. 0 and "" when no call has failed on this thread.
///
/// Only failed calls change it; functions named *_free never do. What fails later in the background has its text in
/// the event, and in `pdtp_transfer_error` and `pdtp_session_error`.
///
/// Never blocks. Any thread, callbacks included; each thread has its own. `buffer` may be NULL to learn the length.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_last_error(buffer: *mut c_char, size: usize) -> c_int {
    guard::last_error(|error| {
        let text = error.map_or("", |error| error.message.as_str());
        // SAFETY: the header demands NULL or room for `size` bytes.
        let length = unsafe { text::copy(text, buffer, size) };
        c_int::try_from(length).unwrap_or(c_int::MAX)
    })
}

/// The code of this thread's last failed call, 0 when none has failed: for functions whose result has no room for
/// it. Like errno it stays until the next failure.
///
/// Never blocks. Any thread, callbacks included. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pdtp_last_error_code() -> c_int {
    guard::last_error(|error| error.map_or(0, |error| code_of(error.kind)))
}
