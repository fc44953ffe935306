//! Files read like local ones, while they come.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::client::timeout;
use super::delivery::Shared;
use super::guard::{self, argument};
use super::handle::{give, handle};
use super::session::pdtp_session;
use crate::client::{DEFAULT_WINDOW, Reader, ReaderOptions};

/// Where a seek counts from. The numbers are those of SEEK_SET, SEEK_CUR and SEEK_END.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_seek {
    /// From the start of the file.
    PDTP_SEEK_SET = 0,
    /// From where the reader is.
    PDTP_SEEK_CUR = 1,
    /// From the end of the file.
    PDTP_SEEK_END = 2,
}

/// What is behind a `pdtp_reader`.
pub struct ReaderData {
    shared: Arc<Shared>,
    engine: Arc<Reader>,
}

handle! {
    /// A file that is read while it comes.
    pdtp_reader, ReaderData, b"PDrd", live: true
}

/// Opens a file to be read like a local one, while it comes: verified bytes, from anywhere, with jumps. Waits until it
/// is known what it is, up to `timeout_ms` milliseconds (negative = for ever); the server may have to hash it first.
/// `path`: "/dir/file", percent-encoded, or a whole URI of this server; its `#root=` and `#key=` count. Free `*out` with
/// pdtp_reader_free.
///
/// From then on what is needed next is fetched: the server is told where you read, and has the bytes from there on sent
/// before others, from whoever can send them in time. What was verified stays in a sparse temporary file in the cache
/// directory (pdtp_config_set_dirs; else the system's directory for such files) until the last reader of the file is
/// freed: going back costs nothing. A download of the same file on the same session, before or after, shares what
/// comes. Readers of one file may be many, each with a place of its own.
///
/// Signatures are dealt with as for a download (pdtp_config_set_verify). A decision has to be answered on another thread
/// than this one, which waits for it.
///
/// Blocks up to `timeout_ms`. Any thread, but not from a callback (PDTP_E_REENTRANT). `*out` is NULL on failure.
/// PDTP_E_NULL, PDTP_E_ARGUMENT (no path of this server, or a directory), PDTP_E_NOT_FOUND, PDTP_E_TIMEOUT,
/// PDTP_E_CHANGED (not the version of `#root=`), PDTP_E_INTERRUPTED, PDTP_E_STATE, those of signatures. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_open(
    out: *mut *mut pdtp_reader,
    session: *mut pdtp_session,
    path: *const c_char,
    timeout_ms: c_int,
) -> c_int {
    guard::code(|| {
        let out = out!(out, ptr::null_mut());
        let session = borrow!(session);
        guard::may_block()?;
        session.shared.alive()?;
        let place = session.place(text!(path))?;
        if place.is_dir {
            return Err(argument("path", "it names a directory; only files can be read"));
        }
        // Copies: the handle may be freed by another thread meanwhile.
        let (shared, engine) = (Arc::clone(&session.shared), session.engine.clone());
        let options = ReaderOptions { expect_root: place.root, keys: place.keys, ..ReaderOptions::default() };
        let engine = Arc::new(engine.open_reader(&place.path, options, timeout(timeout_ms))?);
        *out = give(ReaderData { shared, engine });
        Ok(())
    })
}

/// Closes a reader. What was fetched for it is given up, unless another reader of the same file is open. NULL is fine.
/// In a child after fork() it does nothing.
///
/// Never blocks. Any thread, callbacks included; nobody may use the handle any more: a thread that may be reading has to
/// be stopped with pdtp_reader_cancel first. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_free(reader: *mut pdtp_reader) {
    guard::quiet(|| {
        if let Some(reader) = take!(reader) {
            // Whoever should still be in it comes out.
            reader.engine.cancel();
        }
    });
}

/// Reads up to `size` bytes from where the reader is into `buffer`, and moves on by as many. Like read(2): waits until
/// there is at least one byte, answers how many there were, which may be fewer than asked for; 0 at the end of the file.
///
/// Blocks until there is data, pdtp_reader_cancel or pdtp_client_interrupt is called, or the client is freed: while the
/// server is away it waits for it. Any thread, but not from a callback (PDTP_E_REENTRANT). One thread at a time reads.
/// `buffer` may be NULL if `size` is 0. PDTP_E_NULL, PDTP_E_CANCELLED, PDTP_E_INTERRUPTED, PDTP_E_STATE; for good:
/// PDTP_E_CHANGED (that version is gone), PDTP_E_NO_SPACE and PDTP_E_IO (of the temporary file), and whatever a download
/// can fail with. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_read(reader: *mut pdtp_reader, buffer: *mut c_void, size: usize) -> i64 {
    // SAFETY: passed on.
    unsafe { read(reader, buffer, size, None) }
}

/// The same, but waits no longer than `timeout_ms` milliseconds (negative = for ever, 0 = not at all): PDTP_E_AGAIN when
/// nothing has come by then. Asking is enough for the bytes to be fetched.
///
/// Blocks up to `timeout_ms`; with 0 it may be called from callbacks, too. Otherwise, NULL included, as
/// pdtp_reader_read. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_read_timeout(
    reader: *mut pdtp_reader,
    buffer: *mut c_void,
    size: usize,
    timeout_ms: c_int,
) -> i64 {
    // SAFETY: passed on.
    unsafe { read(reader, buffer, size, timeout(timeout_ms)) }
}

/// # Safety
/// As the header demands of `pdtp_reader_read`.
unsafe fn read(reader: *mut pdtp_reader, buffer: *mut c_void, size: usize, timeout: Option<Duration>) -> i64 {
    guard::long(|| {
        let reader = borrow!(reader);
        if timeout != Some(Duration::ZERO) {
            guard::may_block()?;
        }
        reader.shared.alive()?;
        if buffer.is_null() && size > 0 {
            return Err(guard::null("buffer"));
        }
        // A copy: the handle may be freed by another thread meanwhile.
        let engine = Arc::clone(&reader.engine);
        let bytes = if size == 0 {
            &mut []
        } else {
            // What comes has to be counted in the result, and no object is larger.
            let size = size.min(isize::MAX as usize);
            // SAFETY: not NULL; the header demands room for `size` bytes that nobody else touches during the call. They
            // may never have been written: they are only written to.
            unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size) }
        };
        engine.read(bytes, timeout).map(|length| length as i64)
    })
}

/// Goes elsewhere: `offset` bytes from `whence` (PDTP_SEEK_*). Answers the new place in the file, which may lie past its
/// end, where there is nothing to read. What was being fetched for the old place and is not needed at the new one is
/// given up at once; what is here already stays.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT (before the start of the file, or no such
/// `whence`), PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_seek(reader: *mut pdtp_reader, offset: i64, whence: c_int) -> i64 {
    guard::long(|| {
        let reader = borrow!(reader);
        reader.shared.alive()?;
        let base = match whence {
            w if w == pdtp_seek::PDTP_SEEK_SET as c_int => 0,
            w if w == pdtp_seek::PDTP_SEEK_CUR as c_int => reader.engine.tell(),
            w if w == pdtp_seek::PDTP_SEEK_END as c_int => reader.engine.size(),
            other => return Err(argument("whence", format_args!("{other} is no PDTP_SEEK_*"))),
        };
        let place = base
            .checked_add_signed(offset)
            .and_then(|place| i64::try_from(place).ok())
            .ok_or_else(|| argument("offset", "this place cannot be in a file"))?;
        reader.engine.seek(place as u64);
        Ok(place)
    })
}

/// Where the next read begins, in bytes from the start of the file.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_tell(reader: *const pdtp_reader) -> i64 {
    guard::long(|| Ok(signed(borrow!(reader).engine.tell())))
}

/// Bytes in the file. Never changes: a reader reads one version.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_size(reader: *const pdtp_reader) -> i64 {
    guard::long(|| Ok(signed(borrow!(reader).engine.size())))
}

/// Ends reading for good: who reads now, or tries to later, gets PDTP_E_CANCELLED. The reader still has to be freed.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_cancel(reader: *mut pdtp_reader) -> c_int {
    guard::code(|| {
        borrow!(reader).engine.cancel();
        Ok(())
    })
}

/// How many bytes are fetched ahead of the reader: 64 MiB unless you say otherwise, as with a negative number; 0 = only
/// what is being read. It bounds what is fetched in vain when somebody stops watching, not what is kept.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_set_window(reader: *mut pdtp_reader, bytes: i64) -> c_int {
    guard::code(|| {
        let reader = borrow!(reader);
        reader.shared.alive()?;
        reader.engine.set_window(u64::try_from(bytes).unwrap_or(DEFAULT_WINDOW));
        Ok(())
    })
}

/// The bytes that can be read without waiting, in a row from where the reader is: from `*from` up to and without `*to`.
/// Equal when there are none. For the shaded part of a seek bar. Either may be NULL.
///
/// Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_reader_buffered(
    reader: *const pdtp_reader,
    from: *mut u64,
    to: *mut u64,
) -> c_int {
    guard::code(|| {
        // SAFETY: the header demands NULL or pointers to variables of this type.
        let (from, to) = unsafe { (from.as_mut(), to.as_mut()) };
        let bytes = borrow!(reader).engine.buffered();
        if let Some(from) = from {
            *from = bytes.start;
        }
        if let Some(to) = to {
            *to = bytes.end;
        }
        Ok(())
    })
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
