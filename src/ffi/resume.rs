//! Unfinished downloads of earlier runs.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use super::callbacks::to_number;
use super::client::pdtp_client;
use super::guard::{self, argument};
use super::handle::{give, handle};
use super::text::owned;
use super::transfer::{TransferData, give_out, keeps, pdtp_transfer};
use crate::client::Unfinished;

/// A download that has not come to its end.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct pdtp_unfinished {
    /// Bytes of this struct that the loaded library knows. Fields are only ever added at the end.
    pub size: usize,
    /// For pdtp_resume_start and pdtp_resume_forget.
    pub id: *const c_char,
    /// What is downloaded; with "#root=…" and "#key=…" if only that will do.
    pub uri: *const c_char,
    /// Where it goes: a file, or with `into_dir` the directory that it goes into. Bytes on Unix, UTF-8 on Windows.
    pub local: *const c_char,
    /// When it was started, Unix seconds.
    pub started: i64,
    /// Bytes verified when that was written down last; 0 of trees.
    pub done: u64,
    /// Bytes in all; 0 if they are not known, and of trees.
    pub total: u64,
    /// 1 if `local` is the directory that it goes into.
    pub into_dir: c_int,
    /// 1 if it is under way, in this program or in another one.
    pub active: c_int,
}

/// What is behind a `pdtp_resume`.
#[derive(Debug)]
pub struct ResumeData {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    seen: pdtp_unfinished,
    _strings: [CString; 3],
}

// SAFETY: made once, then only read; the pointers are to the row's own strings.
unsafe impl Send for Row {}
// SAFETY: as above.
unsafe impl Sync for Row {}

handle! {
    /// A list of unfinished downloads.
    pdtp_resume, ResumeData, b"PDre", live: false
}

impl From<Unfinished> for Row {
    fn from(one: Unfinished) -> Self {
        // Names come from the system, which knows no NUL in them.
        let local = CString::new(one.local.into_os_string().into_encoded_bytes()).unwrap_or_default();
        let strings = [owned(one.id), owned(one.uri.to_string()), local];
        let seen = pdtp_unfinished {
            size: size_of::<pdtp_unfinished>(),
            id: strings[0].as_ptr(),
            uri: strings[1].as_ptr(),
            local: strings[2].as_ptr(),
            started: one.started,
            done: one.done,
            total: one.total,
            into_dir: c_int::from(one.into_dir),
            active: c_int::from(one.is_active),
        };
        Self { seen, _strings: strings }
    }
}

/// Lists the downloads to files and directories that have not come to their end, oldest first: those that earlier runs of
/// the program have left, however they ended, and those under way now. It is read from the state directory
/// (pdtp_config_set_dirs). Not listed are downloads that failed in a way that another try would not mend. Free `*out`
/// with pdtp_resume_free.
///
/// Blocks while small files are read. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL;
/// PDTP_E_STATE (no state directory is configured, or the client was freed); PDTP_E_IO. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_resume_list(out: *mut *mut pdtp_resume, client: *mut pdtp_client) -> c_int {
    guard::code(|| {
        let out = out!(out, ptr::null_mut());
        let client = borrow!(client);
        client.shared.alive()?;
        let rows = client.shared.engine.unfinished()?.into_iter().map(Row::from).collect();
        *out = give(ResumeData { rows });
        Ok(())
    })
}

/// Number of downloads in the list.
///
/// Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_resume_count(list: *const pdtp_resume) -> usize {
    guard::value(0, || Ok(borrow!(list).rows.len()))
}

/// Number `index` of the list, counted from 0; NULL after the last one.
///
/// Never blocks. Any thread, callbacks included. Borrowed from the list. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_resume_at(list: *const pdtp_resume, index: usize) -> *const pdtp_unfinished {
    guard::value(ptr::null(), || {
        Ok(borrow!(list).rows.get(index).map_or(ptr::null(), |row| &raw const row.seen))
    })
}

/// Frees a list, and with it all that is borrowed from it. NULL is fine.
///
/// Never blocks. Any thread, callbacks included; nobody may use it any more. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_resume_free(list: *mut pdtp_resume) {
    guard::quiet(|| drop(take!(list)));
}

/// Goes on with an unfinished download, where it was going to and with the options that it was started with. No session
/// is needed: its URI is in the record. Otherwise as pdtp_request_start.
///
/// Never blocks for long: a small file is read. Any thread, callbacks included. `out` may be NULL. `*out` is NULL on
/// failure. PDTP_E_NULL; PDTP_E_NOT_FOUND (nothing of this `id`); PDTP_E_LOCKED (it is under way); PDTP_E_STATE,
/// PDTP_E_IO. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_resume_start(
    out: *mut *mut pdtp_transfer,
    client: *mut pdtp_client,
    id: *const c_char,
    user_data: *mut c_void,
) -> c_int {
    guard::code(|| {
        // SAFETY: the header demands NULL or a pointer to a variable of this type.
        let mut out = unsafe { out.as_mut() };
        if let Some(out) = &mut out {
            **out = ptr::null_mut();
        }
        let client = borrow!(client);
        let id = text!(id);
        client.shared.alive()?;
        let started = client.shared.engine.resume(id, to_number(user_data));
        give_out(out, started.map(|engine| TransferData::new(&client.shared, engine)))
    })
}

/// Takes an unfinished download off the list. With PDTP_CANCEL_DELETE what is there of it is deleted, unless it is a tree;
/// with PDTP_CANCEL_KEEP it stays, and a later download to the same place finds it.
///
/// Never blocks for long. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT, and errors as those of
/// pdtp_resume_start. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_resume_forget(
    client: *mut pdtp_client,
    id: *const c_char,
    what: c_int,
) -> c_int {
    guard::code(|| {
        let client = borrow!(client);
        let id = text!(id);
        let keep = keeps(what).ok_or_else(|| argument("what", format_args!("{what} is no PDTP_CANCEL_*")))?;
        client.shared.alive()?;
        client.shared.engine.forget(id, !keep)
    })
}
