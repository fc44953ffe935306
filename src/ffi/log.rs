//! The log.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use super::callbacks::{UserData, pdtp_destroy_callback};
use super::config::pdtp_config;
use super::event::pdtp_event;
use super::guard::{self, Context, argument};
use super::text::owned;
use crate::client::LogLevel;

/// How much the log tells.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_log_level {
    /// Nothing. The default.
    PDTP_LOG_OFF = 0,
    /// What should not happen.
    PDTP_LOG_ERROR = 1,
    /// And what went wrong, and was dealt with.
    PDTP_LOG_WARN = 2,
    /// And milestones.
    PDTP_LOG_INFO = 3,
    /// And what to look at when something goes wrong.
    PDTP_LOG_DEBUG = 4,
    /// Everything.
    PDTP_LOG_TRACE = 5,
}

/// Of PDTP_EVENT_LOG.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_log_event {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// Which part of the library says it, as "pdtp::client::session"; "pdtp::panic" for a bug that was caught.
    pub target: *const c_char,
    /// For people, without an end of line.
    pub line: *const c_char,
    /// PDTP_LOG_*
    pub level: c_int,
}

/// Is given each line of the log: `level` PDTP_LOG_*, `target` the part of the library that says it, `line` for people.
/// Called where the event callback is called. It may only call functions named *_free; others answer PDTP_E_REENTRANT,
/// so that no line makes the next.
pub type pdtp_log_callback = Option<
    unsafe extern "C" fn(level: c_int, target: *const c_char, line: *const c_char, user_data: *mut c_void),
>;

/// A function that is given the log.
#[derive(Debug)]
pub(super) struct LogFn {
    call: unsafe extern "C" fn(c_int, *const c_char, *const c_char, *mut c_void),
    data: UserData,
}

impl LogFn {
    /// `None`, and the data is destroyed, for NULL.
    fn new(call: pdtp_log_callback, data: UserData) -> Option<Self> {
        call.map(|call| Self { call, data })
    }

    pub(super) fn call(&self, level: LogLevel, target: &str, line: &str) {
        let (target, line) = (owned(target), owned(line));
        // SAFETY: the application's function with the application's data, as the header demands; the strings live as
        // long as the call.
        Context::Log.run(|| unsafe {
            (self.call)(level as c_int, target.as_ptr(), line.as_ptr(), self.data.pointer())
        });
    }
}

/// What C reads of a line, and what its pointers point to.
#[derive(Debug)]
pub(super) struct LogView {
    pub(super) seen: pdtp_log_event,
    _strings: [CString; 2],
}

impl LogView {
    pub(super) fn new(level: LogLevel, target: String, line: String) -> Self {
        let strings = [owned(target), owned(line)];
        let seen = pdtp_log_event {
            size: size_of::<pdtp_log_event>(),
            target: strings[0].as_ptr(),
            line: strings[1].as_ptr(),
            level: level as c_int,
        };
        Self { seen, _strings: strings }
    }
}

/// Chooses how much the log tells, PDTP_LOG_*, and who is told: `callback`, called where the event callback is called.
/// NULL: nobody, but for PDTP_EVENT_LOG, if that is turned on. The option "log_level" is the same as `level`, also at run
/// time. Lines of a client are its own. When nobody drains, or too late, lines are dropped and counted
/// (PDTP_EVENT_OVERFLOW): they never hold the library up, nor crowd out other events.
///
/// `destroy` ends `user_data` when the function is replaced, or when the configuration and all clients made from it
/// are gone; at once if this call fails, or `callback` is NULL.
///
/// Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_set_log(
    config: *mut pdtp_config,
    level: c_int,
    callback: pdtp_log_callback,
    user_data: *mut c_void,
    destroy: pdtp_destroy_callback,
) -> c_int {
    let data = UserData::new(user_data, destroy);
    guard::code(move || {
        let config = borrow_mut!(config);
        let number = usize::try_from(level).ok();
        let level = number
            .and_then(LogLevel::from_number)
            .ok_or_else(|| argument("level", format_args!("{level} is no PDTP_LOG_*")))?;
        config.engine.log_level = level;
        let old = std::mem::replace(&mut config.log, LogFn::new(callback, data).map(Arc::new));
        drop(old);
        Ok(())
    })
}

/// What a PDTP_EVENT_LOG says. NULL for events of another type, and for NULL.
///
/// Never blocks. Borrowed from the event. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_event_log(event: *const pdtp_event) -> *const pdtp_log_event {
    guard::value(ptr::null(), || Ok(borrow!(event).log()))
}
