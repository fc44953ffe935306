//! Settings of a client.

use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::sync::{Arc, LazyLock};

use super::guard::{self, argument};
use super::handle::{give, handle};
use super::log::LogFn;
use super::text;
use super::verify::VerifyFn;
use crate::client::{Config, OPTIONS, OptionKind, Seeding};

/// Where callbacks are called.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_dispatch {
    /// Where and when you call pdtp_client_dispatch or pdtp_client_next_event. The default.
    PDTP_DISPATCH_QUEUE = 0,
    /// On one thread of the library's own, made for nothing else.
    PDTP_DISPATCH_THREAD = 1,
}

/// When pieces are given to others.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_seeding {
    /// Never: nothing listens, nothing is offered.
    PDTP_SEEDING_OFF = 0,
    /// While a download of this client is under way. The default.
    PDTP_SEEDING_DOWNLOADING = 1,
    /// Until the client is freed. Servers are told when they are connected to: what a client gives counts for it only then.
    PDTP_SEEDING_ALWAYS = 2,
}

/// What the values of an option look like.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_option_kind {
    /// yes or no (also true, false, on, off, 1, 0).
    PDTP_OPTION_BOOL = 1,
    /// A number.
    PDTP_OPTION_NUMBER = 2,
    /// Bytes, or bytes a second: a number, perhaps with K, M or G (powers of 1024).
    PDTP_OPTION_BYTES = 3,
    /// Seconds, or a number with ms, s, m or h.
    PDTP_OPTION_DURATION = 4,
    /// Any text.
    PDTP_OPTION_TEXT = 5,
    /// One of the words that the help names.
    PDTP_OPTION_WORD = 6,
}

/// Describes an option. Static; read only.
#[repr(C)]
#[derive(Debug)]
pub struct pdtp_option {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// For pdtp_config_set.
    pub name: *const c_char,
    /// One sentence.
    pub help: *const c_char,
    /// The value of a new configuration.
    pub preset: *const c_char,
    /// PDTP_OPTION_*
    pub kind: c_int,
    /// 1 if pdtp_client_set changes it at run time.
    pub runtime: c_int,
}

/// What is behind a `pdtp_config`.
#[derive(Debug, Clone)]
pub struct ConfigData {
    pub(super) engine: Config,
    pub(super) dispatch: pdtp_dispatch,
    /// Who is asked about signatures.
    pub(super) verify: Option<Arc<VerifyFn>>,
    /// Who is given the log.
    pub(super) log: Option<Arc<LogFn>>,
}

impl Default for ConfigData {
    fn default() -> Self {
        // Nobody else can see what this copy of `tracing` is told.
        let engine = Config { log: true, ..Config::default() };
        Self { engine, dispatch: pdtp_dispatch::PDTP_DISPATCH_QUEUE, verify: None, log: None }
    }
}

handle! {
    /// Settings of a client.
    pdtp_config, ConfigData, b"PDcf", live: false
}

/// Makes a configuration with settings that suit most programs: nothing is written but what you download, and a
/// port is only opened while a download is under way. Free it with pdtp_config_free.
///
/// Never blocks. Any thread. NULL only if something is very wrong. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pdtp_config_new() -> *mut pdtp_config {
    guard::value(ptr::null_mut(), || Ok(give(ConfigData::default())))
}

/// Frees a configuration. Clients made from it keep their copies. NULL is fine.
///
/// Never blocks. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_free(config: *mut pdtp_config) {
    guard::quiet(|| drop(take!(config)));
}

/// Sets an option by its name. pdtp_config_option_at lists them all.
///
/// Never blocks. One thread at a time. PDTP_E_NULL; PDTP_E_OPTION when there is no such option (the text names the
/// nearest) or it does not take such a value; nothing is changed then. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_set(
    config: *mut pdtp_config,
    name: *const c_char,
    value: *const c_char,
) -> c_int {
    guard::code(|| {
        let config = borrow_mut!(config);
        let (name, value) = (text!(name), text!(value));
        config.engine.set(name, value)
    })
}

/// Copies the value of an option into `buffer`, in the form that pdtp_config_set takes. Like snprintf: at most
/// `size` bytes with the NUL at the end; the result is the length of the whole value without it, or an error.
///
/// Never blocks. One thread at a time. `buffer` may be NULL to learn the length. PDTP_E_NULL, PDTP_E_OPTION.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_get(
    config: *const pdtp_config,
    name: *const c_char,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    guard::count(|| {
        let config = borrow!(config);
        let value = config.engine.get(text!(name))?;
        // SAFETY: the header demands NULL or room for `size` bytes.
        Ok(unsafe { text::copy(&value, buffer, size) })
    })
}

/// Describes option number `index`, counted from 0, in the order in which people should read them. NULL after the
/// last one.
///
/// Never blocks. Any thread, callbacks included. What it points to is static. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pdtp_config_option_at(index: usize) -> *const pdtp_option {
    guard::value(ptr::null(), || Ok(OPTION_TABLE.get(index).map_or(ptr::null(), |row| &raw const row.seen)))
}

/// Sets the directories the library may write to besides those that you download into. NULL leaves one as it is.
///
/// `cache_dir` holds pieces of streams (pdtp_request_to_callback) in files without a name; without it the system's
/// directory for temporary files does. `state_dir` holds a small file for each unfinished download, for
/// pdtp_resume_list; without it no such list is kept. (What there is of a download lies beside its file in any case.) The
/// options "cache_dir" and "state_dir" are the same.
///
/// Names are bytes on Unix and UTF-8 on Windows; they are copied. The directories need not exist yet.
///
/// Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_set_dirs(
    config: *mut pdtp_config,
    cache_dir: *const c_char,
    state_dir: *const c_char,
) -> c_int {
    guard::code(|| {
        let config = borrow_mut!(config);
        let cache_dir = if cache_dir.is_null() { None } else { Some(local_path!(cache_dir)) };
        let state_dir = if state_dir.is_null() { None } else { Some(local_path!(state_dir)) };
        config.engine.cache_dir = cache_dir.or(config.engine.cache_dir.take());
        config.engine.state_dir = state_dir.or(config.engine.state_dir.take());
        Ok(())
    })
}

/// Chooses where callbacks are called: PDTP_DISPATCH_QUEUE or PDTP_DISPATCH_THREAD.
///
/// Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_set_dispatch(config: *mut pdtp_config, mode: c_int) -> c_int {
    guard::code(|| {
        let config = borrow_mut!(config);
        config.dispatch = match mode {
            _ if mode == pdtp_dispatch::PDTP_DISPATCH_QUEUE as c_int => pdtp_dispatch::PDTP_DISPATCH_QUEUE,
            _ if mode == pdtp_dispatch::PDTP_DISPATCH_THREAD as c_int => pdtp_dispatch::PDTP_DISPATCH_THREAD,
            _ => return Err(argument("mode", format_args!("{mode} is no PDTP_DISPATCH_*"))),
        };
        Ok(())
    })
}

/// Limits the bytes a second that are received and that are sent to peers. 0 is no limit. The options "limit_down"
/// and "limit_up" are the same, also at run time.
///
/// Never blocks. One thread at a time. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_set_rates(config: *mut pdtp_config, down: u64, up: u64) -> c_int {
    guard::code(|| {
        let config = borrow_mut!(config);
        config.engine.down_limit = down;
        config.engine.up_limit = up;
        Ok(())
    })
}

/// Chooses when pieces are given to others: PDTP_SEEDING_*. The option "seeding" is the same, also at run time.
///
/// Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_config_set_seeding(config: *mut pdtp_config, mode: c_int) -> c_int {
    guard::code(|| {
        let config = borrow_mut!(config);
        config.engine.seeding = match mode {
            _ if mode == pdtp_seeding::PDTP_SEEDING_OFF as c_int => Seeding::Off,
            _ if mode == pdtp_seeding::PDTP_SEEDING_DOWNLOADING as c_int => Seeding::Downloading,
            _ if mode == pdtp_seeding::PDTP_SEEDING_ALWAYS as c_int => Seeding::Always,
            _ => return Err(argument("mode", format_args!("{mode} is no PDTP_SEEDING_*"))),
        };
        Ok(())
    })
}

/// An option as C sees it, and the strings it points to.
struct OptionRow {
    seen: pdtp_option,
    _strings: [CString; 3],
}

// SAFETY: made once, then only read; the pointers are to the row's own strings.
unsafe impl Send for OptionRow {}
// SAFETY: as above.
unsafe impl Sync for OptionRow {}

static OPTION_TABLE: LazyLock<Vec<OptionRow>> = LazyLock::new(|| {
    let presets = Config::default();
    let row = |spec: &crate::client::OptionSpec| {
        let preset = presets.get(spec.name).unwrap_or_default();
        let strings = [spec.name.to_owned(), spec.help.to_owned(), preset].map(text::owned);
        let kind = match spec.kind {
            OptionKind::Bool => pdtp_option_kind::PDTP_OPTION_BOOL,
            OptionKind::Number => pdtp_option_kind::PDTP_OPTION_NUMBER,
            OptionKind::Bytes => pdtp_option_kind::PDTP_OPTION_BYTES,
            OptionKind::Duration => pdtp_option_kind::PDTP_OPTION_DURATION,
            OptionKind::Text => pdtp_option_kind::PDTP_OPTION_TEXT,
            OptionKind::Word => pdtp_option_kind::PDTP_OPTION_WORD,
        };
        OptionRow {
            seen: pdtp_option {
                size: size_of::<pdtp_option>(),
                name: strings[0].as_ptr(),
                help: strings[1].as_ptr(),
                preset: strings[2].as_ptr(),
                kind: kind as c_int,
                runtime: c_int::from(spec.runtime),
            },
            _strings: strings,
        }
    };
    OPTIONS.iter().map(row).collect()
});
