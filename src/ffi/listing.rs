//! Directories.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use super::callbacks::to_number;
use super::client::timeout;
use super::guard;
use super::handle::{Slot, give, handle};
use super::session::pdtp_session;
use super::text::{owned, pointer};
use crate::client::Listing;
use crate::wire::{Entry, EntryKind, UrlPath};

/// As a depth: everything below (as far down as the server goes).
pub const PDTP_DEPTH_ALL: c_int = 0;

/// What an entry is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_entry_kind {
    /// A file.
    PDTP_ENTRY_FILE = 1,
    /// A directory.
    PDTP_ENTRY_DIR = 2,
}

/// What is behind a `pdtp_listing`.
#[derive(Debug)]
pub struct ListingData {
    path: Option<CString>,
    entries: Vec<Slot<EntryData>>,
    complete: bool,
}

/// What is behind a `pdtp_entry`.
#[derive(Debug)]
pub struct EntryData {
    name: CString,
    path: CString,
    root: Option<CString>,
    mime: Option<CString>,
    kind: pdtp_entry_kind,
    size: u64,
    mtime: Option<i64>,
    signed: bool,
}

handle! {
    /// A directory, or a part of it.
    pdtp_listing, ListingData, b"PDli", live: false
}

handle! {
    /// A line of a listing.
    pdtp_entry, EntryData, b"PDen", live: false
}

impl ListingData {
    /// As C sees it. Entries which no path can name are left out: nothing could be done with them.
    pub(super) fn new(listing: Listing) -> Self {
        let dir = listing.path.unwrap_or_else(UrlPath::root);
        let entries = listing.entries.into_iter().filter_map(|entry| EntryData::new(&dir, entry));
        Self {
            entries: entries.map(Slot::new::<pdtp_entry>).collect(),
            path: Some(owned(dir.as_str())),
            complete: listing.complete,
        }
    }
}

impl EntryData {
    fn new(dir: &UrlPath, entry: Entry) -> Option<Self> {
        let path = match &entry.path {
            Some(relative) => UrlPath::parse(&format!("{}/{relative}", dir.as_str())).ok()?,
            None => entry.name.split('/').try_fold(dir.clone(), |at, part| at.join(part.as_bytes())).ok()?,
        };
        Some(Self {
            name: owned(entry.name),
            path: owned(path.as_str()),
            root: entry.root.map(|root| owned(root.to_string())),
            mime: entry.mime.map(owned),
            kind: match entry.kind {
                EntryKind::File => pdtp_entry_kind::PDTP_ENTRY_FILE,
                EntryKind::Dir => pdtp_entry_kind::PDTP_ENTRY_DIR,
            },
            size: entry.size,
            mtime: entry.mtime,
            signed: entry.signed,
        })
    }
}

fn levels(depth: c_int) -> u32 {
    u32::try_from(depth).ok().filter(|&levels| levels > 0).unwrap_or(u32::MAX)
}

/// Lists a directory: `depth` levels of it, 1 for what is directly in it, PDTP_DEPTH_ALL for everything below. `path`
/// is percent-encoded, as "/dir/sub%20dir", or a whole URI of the session's server. Free `*out` with
/// pdtp_listing_free.
///
/// Blocks up to `timeout_ms` milliseconds (negative = for ever). Any thread, but not from a callback
/// (PDTP_E_REENTRANT). `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE, PDTP_E_TIMEOUT,
/// PDTP_E_INTERRUPTED, and what the network and the server say, PDTP_E_NOT_FOUND above all. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_list(
    out: *mut *mut pdtp_listing,
    session: *mut pdtp_session,
    path: *const c_char,
    depth: c_int,
    timeout_ms: c_int,
) -> c_int {
    guard::code(|| {
        let out = out!(out, ptr::null_mut());
        let session = borrow!(session);
        guard::may_block()?;
        session.shared.alive()?;
        let path = session.place(text!(path))?.path;
        // A copy: the handle may be freed by another thread meanwhile.
        let engine = session.engine.clone();
        let listing = engine.list(&path, levels(depth), timeout(timeout_ms))?;
        *out = give(ListingData::new(listing));
        Ok(())
    })
}

/// The same in the background: the pages come as PDTP_EVENT_LISTING with `*op` and `user_data`, the last one marked.
/// Big directories begin to arrive at once, and no more than a page waits in memory.
///
/// Never blocks. Any thread, callbacks included. `op` may be NULL. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_list_start(
    op: *mut u64,
    session: *mut pdtp_session,
    path: *const c_char,
    depth: c_int,
    user_data: *mut c_void,
) -> c_int {
    guard::code(|| {
        let session = borrow!(session);
        session.shared.alive()?;
        let path = session.place(text!(path))?.path;
        // A copy: the first page may lead another thread to free the session, before this returns.
        let engine = session.engine.clone();
        let number = engine.list_start(&path, levels(depth), to_number(user_data))?;
        // SAFETY: the header demands NULL or a pointer to a variable of this type.
        if let Some(op) = unsafe { op.as_mut() } {
            *op = number;
        }
        Ok(())
    })
}

/// Asks for one file or directory: a listing of one entry. `path` as in pdtp_list. The server answers for a file only
/// when it has hashed it, which takes a while for a large one that is new. Free `*out` with pdtp_listing_free.
///
/// Blocks up to `timeout_ms` milliseconds (negative = for ever). Any thread, but not from a callback
/// (PDTP_E_REENTRANT). `*out` is NULL on failure. Errors as those of pdtp_list. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_stat(
    out: *mut *mut pdtp_listing,
    session: *mut pdtp_session,
    path: *const c_char,
    timeout_ms: c_int,
) -> c_int {
    guard::code(|| {
        let out = out!(out, ptr::null_mut());
        let session = borrow!(session);
        guard::may_block()?;
        session.shared.alive()?;
        let path = session.place(text!(path))?.path;
        // A copy: the handle may be freed by another thread meanwhile.
        let engine = session.engine.clone();
        let listing = engine.stat(&path, timeout(timeout_ms))?;
        *out = give(ListingData::new(listing));
        Ok(())
    })
}

/// The same in the background: the answer is one PDTP_EVENT_LISTING with `*op` and `user_data`.
///
/// Never blocks. Any thread, callbacks included. `op` may be NULL. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_stat_start(
    op: *mut u64,
    session: *mut pdtp_session,
    path: *const c_char,
    user_data: *mut c_void,
) -> c_int {
    guard::code(|| {
        let session = borrow!(session);
        session.shared.alive()?;
        let path = session.place(text!(path))?.path;
        let number = session.engine.stat_start(&path, to_number(user_data))?;
        // SAFETY: the header demands NULL or a pointer to a variable of this type.
        if let Some(op) = unsafe { op.as_mut() } {
            *op = number;
        }
        Ok(())
    })
}

/// Number of entries.
///
/// Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_listing_count(listing: *const pdtp_listing) -> usize {
    guard::value(0, || Ok(borrow!(listing).entries.len()))
}

/// Entry number `index`, counted from 0; NULL after the last one.
///
/// Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_listing_entry(listing: *const pdtp_listing, index: usize) -> *const pdtp_entry {
    guard::value(ptr::null(), || Ok(borrow!(listing).entries.get(index).map_or(ptr::null(), Slot::lend)))
}

/// Whether this is all of the directory: 1 or 0. Pages in events are not, but for a small directory's only one.
///
/// Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_listing_complete(listing: *const pdtp_listing) -> c_int {
    guard::value(0, || Ok(c_int::from(borrow!(listing).complete)))
}

/// Path of the directory that was listed, percent-encoded. Of pdtp_stat: of the one in which the entry is.
///
/// Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_listing_path(listing: *const pdtp_listing) -> *const c_char {
    guard::value(ptr::null(), || Ok(pointer(borrow!(listing).path.as_ref())))
}

/// Frees a listing, and with it all that is borrowed from it. NULL is fine.
///
/// Never blocks. Any thread, callbacks included; nobody may use it any more. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_listing_free(listing: *mut pdtp_listing) {
    guard::quiet(|| drop(take!(listing)));
}

/// What to show people: the name; of a listing with more than one level, the path relative to the listed directory.
/// UTF-8: bytes that are not are replaced, so use pdtp_entry_path to ask for it.
///
/// Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_name(entry: *const pdtp_entry) -> *const c_char {
    guard::value(ptr::null(), || Ok(borrow!(entry).name.as_ptr()))
}

/// Its whole path, percent-encoded: for pdtp_list, pdtp_stat, pdtp_download and pdtp_request_new.
///
/// Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_path(entry: *const pdtp_entry) -> *const c_char {
    guard::value(ptr::null(), || Ok(borrow!(entry).path.as_ptr()))
}

/// PDTP_ENTRY_FILE or PDTP_ENTRY_DIR.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_type(entry: *const pdtp_entry) -> c_int {
    guard::count(|| Ok(borrow!(entry).kind as usize))
}

/// Size in bytes; 0 of directories.
///
/// Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_size(entry: *const pdtp_entry) -> u64 {
    guard::value(0, || Ok(borrow!(entry).size))
}

/// Time of the last change in Unix seconds; INT64_MIN if the server did not tell.
///
/// Never blocks. Any thread, callbacks included. NULL: INT64_MIN. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_mtime(entry: *const pdtp_entry) -> i64 {
    guard::value(i64::MIN, || Ok(borrow!(entry).mtime.unwrap_or(i64::MIN)))
}

/// Version of a file: the root of its hash tree, 64 hex digits. NULL of directories, and of files that the server has
/// not hashed yet (pdtp_stat waits for that).
///
/// Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_root(entry: *const pdtp_entry) -> *const c_char {
    guard::value(ptr::null(), || Ok(pointer(borrow!(entry).root.as_ref())))
}

/// Media type, as "text/plain"; NULL if the server did not tell.
///
/// Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_mime(entry: *const pdtp_entry) -> *const c_char {
    guard::value(ptr::null(), || Ok(pointer(borrow!(entry).mime.as_ref())))
}

/// Whether the server says that there is a signature: 1 or 0.
///
/// Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_signed(entry: *const pdtp_entry) -> c_int {
    guard::value(0, || Ok(c_int::from(borrow!(entry).signed)))
}
