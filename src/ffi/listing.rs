//! Directories.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use super::callbacks::to_number;
use super::client::timeout;
use super::guard;
use super::handle::{Slot, give, handle};
use super::session::pdtp_session;
use super::text::{owned, pointer};
use crate::client::{Error, ErrorKind, Listing};
use crate::content::rdl;
use crate::wire::{Entry, EntryKind, UrlPath};

/// As a depth: everything below (as far down as the server goes).
pub const PDTP_DEPTH_ALL: c_int = 0;

/// Added to a depth, as in `1 | PDTP_LIST_RICH`: with what is told of files besides their bytes, for pdtp_entry_attr and
/// pdtp_listing_rdl. Takes the server more work and more bytes.
pub const PDTP_LIST_RICH: c_int = 0x10000;

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
    /// Of a rich listing: all of it as XML.
    rdl: Option<Vec<u8>>,
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
    /// Names and values.
    attributes: Vec<(CString, CString)>,
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
        let is_rich = listing.is_rich || listing.entries.iter().any(|entry| entry.about.is_some());
        let rdl = is_rich.then(|| document(&dir, &listing.entries));
        let entries = listing.entries.into_iter().filter_map(|entry| EntryData::new(&dir, entry));
        Self {
            entries: entries.map(Slot::new::<pdtp_entry>).collect(),
            path: Some(owned(dir.as_str())),
            complete: listing.complete,
            rdl,
        }
    }
}

impl EntryData {
    fn new(dir: &UrlPath, entry: Entry) -> Option<Self> {
        let path = path_of(dir, &entry)?;
        let attributes = entry.about.iter().flat_map(|about| about.attributes.iter());
        Some(Self {
            attributes: attributes
                .map(|(attribute, value)| (owned(attribute.name()), owned(value)))
                .collect(),
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

/// Where an entry of `dir` is; `None` if its names are impossible.
fn path_of(dir: &UrlPath, entry: &Entry) -> Option<UrlPath> {
    match &entry.path {
        Some(relative) => UrlPath::parse(&format!("{}/{relative}", dir.as_str())).ok(),
        None => entry.name.split('/').try_fold(dir.clone(), |at, part| at.join(part.as_bytes())).ok(),
    }
}

/// A listing as one RDL document, without what no path can name.
fn document(dir: &UrlPath, entries: &[Entry]) -> Vec<u8> {
    let above = if dir.is_root() { "" } else { dir.as_str() };
    let mut text = rdl::begin(dir);
    for entry in entries {
        if let Some(path) = path_of(dir, entry) {
            let relative = path.as_str().strip_prefix(above).unwrap_or_default();
            text.push_str(&rdl::entry(relative.trim_start_matches('/'), entry));
        }
    }
    text.push_str(rdl::end());
    text.into_bytes()
}

/// Levels, and whether they are to be rich.
fn depth_of(depth: c_int) -> (u32, bool) {
    match depth > 0 && depth & PDTP_LIST_RICH != 0 {
        true => (levels(depth & !PDTP_LIST_RICH), true),
        false => (levels(depth), false),
    }
}

fn levels(depth: c_int) -> u32 {
    u32::try_from(depth).ok().filter(|&levels| levels > 0).unwrap_or(u32::MAX)
}

/// Lists a directory: `depth` levels of it, 1 for what is directly in it, PDTP_DEPTH_ALL for everything below; add
/// `| PDTP_LIST_RICH` for titles, authors and the like. `path` is percent-encoded, as "/dir/sub%20dir", or a whole URI of the session's server. Free `*out` with
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
        let (depth, is_rich) = depth_of(depth);
        let listing = match is_rich {
            true => engine.list_rich(&path, depth, timeout(timeout_ms))?,
            false => engine.list(&path, depth, timeout(timeout_ms))?,
        };
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
        let (depth, is_rich) = depth_of(depth);
        let number = match is_rich {
            true => engine.list_rich_start(&path, depth, to_number(user_data))?,
            false => engine.list_start(&path, depth, to_number(user_data))?,
        };
        // SAFETY: the header demands NULL or a pointer to a variable of this type.
        if let Some(op) = unsafe { op.as_mut() } {
            *op = number;
        }
        Ok(())
    })
}

/// Asks for one file or directory: a listing of one entry, a rich one. `path` as in pdtp_list. The server answers for a file only
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
        let listing = engine.stat_rich(&path, timeout(timeout_ms))?;
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
        let number = session.engine.stat_rich_start(&path, to_number(user_data))?;
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

/// The listing as RDL, an XML document with Dublin Core elements (docs/rdl.md, docs/rdl.xsd), for applications with their
/// own parser: UTF-8, `*length` bytes without the NUL that does not follow them. Of a page in an event: of that page. It is
/// written from what was read and checked, whatever the server has sent.
///
/// Never blocks. Any thread, callbacks included. `*rdl` is borrowed from the listing; NULL, and `*length` 0, on failure.
/// PDTP_E_NULL; PDTP_E_STATE for a listing that was not asked for with PDTP_LIST_RICH. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_listing_rdl(
    listing: *const pdtp_listing,
    rdl: *mut *const c_char,
    length: *mut usize,
) -> c_int {
    guard::code(|| {
        let rdl = out!(rdl, ptr::null());
        let length = out!(length, 0);
        let listing = borrow!(listing);
        let Some(text) = &listing.rdl else {
            let text = "the listing is not a rich one: list with PDTP_LIST_RICH";
            return Err(Error::new(ErrorKind::State, text));
        };
        (*rdl, *length) = (text.as_ptr().cast(), text.len());
        Ok(())
    })
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

/// What a file is said to be, by the name of the attribute; its first value. NULL where there is none, of directories,
/// and of listings that were not asked for with PDTP_LIST_RICH. UTF-8.
///
/// Names of the Dublin Core Metadata Element Set 1.1: "dc.title", "dc.creator", "dc.subject", "dc.description",
/// "dc.publisher", "dc.contributor", "dc.date", "dc.type", "dc.format" (media type), "dc.identifier", "dc.source",
/// "dc.language", "dc.relation", "dc.coverage", "dc.rights". Of media: "media.codec" (one value a track, the picture
/// first), "media.bitrate" (bits a second), "media.duration" (seconds, as "95.5"), "media.sample-rate" (Hz),
/// "media.channels", "media.width" and "media.height" (pixels); numbers in decimal digits. More may come.
///
/// The server says so, from a file that lies beside, from extended attributes, or from the file itself: nobody has
/// signed it.
///
/// Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_attr(entry: *const pdtp_entry, name: *const c_char) -> *const c_char {
    guard::value(ptr::null(), || {
        let name = text!(name);
        let entry = borrow!(entry);
        let found = entry.attributes.iter().find(|(known, _)| known.to_bytes() == name.as_bytes());
        Ok(pointer(found.map(|(_, value)| value)))
    })
}

/// Number of values of all attributes; an attribute may have several.
///
/// Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_attr_count(entry: *const pdtp_entry) -> usize {
    guard::value(0, || Ok(borrow!(entry).attributes.len()))
}

/// Value number `index`, counted from 0, in the order in which pdtp_entry_attr lists the names; values of one attribute
/// follow each other. NULL after the last one, and then `*name` is NULL, too. `name` may be NULL.
///
/// Never blocks. Any thread, callbacks included. Both are borrowed from the listing. NULL: NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_entry_attr_at(
    entry: *const pdtp_entry,
    index: usize,
    name: *mut *const c_char,
) -> *const c_char {
    // SAFETY: the header demands NULL or a pointer to a variable of this type.
    let name = unsafe { name.as_mut() };
    guard::value(ptr::null(), || {
        let mut unused = ptr::null();
        let name = name.unwrap_or(&mut unused);
        *name = ptr::null();
        let entry = borrow!(entry);
        let Some((known, value)) = entry.attributes.get(index) else { return Ok(ptr::null()) };
        *name = known.as_ptr();
        Ok(value.as_ptr())
    })
}
