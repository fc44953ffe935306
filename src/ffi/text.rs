//! Strings and plain structs on their way in and out.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::ptr;

use super::guard::{argument, null};
use crate::client::Error;

/// Largest `sizeof` that a struct argument may claim. What is larger is no size but a mistake.
const MAX_STRUCT: usize = 4096;

/// # Safety
/// `text` is NULL or a string ended by NUL that stays as it is during `'a`.
pub(super) unsafe fn utf8<'a>(text: *const c_char, name: &str) -> Result<&'a str, Error> {
    // SAFETY: passed on.
    let text = unsafe { bytes(text, name) }?;
    std::str::from_utf8(text).map_err(|_| argument(name, "not UTF-8"))
}

/// # Safety
/// As for [`utf8`].
pub(super) unsafe fn local_path(text: *const c_char, name: &str) -> Result<PathBuf, Error> {
    // SAFETY: passed on.
    let text = unsafe { bytes(text, name) }?;
    if text.is_empty() {
        return Err(argument(name, "an empty file name"));
    }
    #[cfg(unix)]
    return Ok(std::os::unix::ffi::OsStringExt::from_vec(text.to_vec()))
        .map(|name: std::ffi::OsString| name.into());
    #[cfg(not(unix))]
    return std::str::from_utf8(text).map(PathBuf::from).map_err(|_| argument(name, "not UTF-8"));
}

/// # Safety
/// As for [`utf8`].
pub(super) unsafe fn bytes<'a>(text: *const c_char, name: &str) -> Result<&'a [u8], Error> {
    if text.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL; the rest by contract.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// Copies `text` as `snprintf` would: as much as fits, ended by NUL where there is any room, never a part of a
/// character. Gives the length of the whole.
///
/// # Safety
/// `buffer` is NULL or has room for `size` bytes.
pub(super) unsafe fn copy(text: &str, buffer: *mut c_char, size: usize) -> usize {
    let end = text.floor_char_boundary(size.saturating_sub(1));
    // SAFETY: passed on; it is less than `size`.
    unsafe { copy_start(text.as_bytes(), end, buffer, size) };
    text.len()
}

/// The same for text that may be something else than UTF-8.
///
/// # Safety
/// As for `copy`.
pub(super) unsafe fn copy_bytes(text: &[u8], buffer: *mut c_char, size: usize) -> usize {
    // SAFETY: passed on.
    unsafe { copy_start(text, text.len().min(size.saturating_sub(1)), buffer, size) };
    text.len()
}

/// # Safety
/// As for `copy`, and `end` is at most `size - 1`, where `size` is not 0.
unsafe fn copy_start(text: &[u8], end: usize, buffer: *mut c_char, size: usize) {
    if buffer.is_null() || size == 0 {
        return;
    }
    // SAFETY: `end < size`, so both writes are within the buffer, which is C's and hence not part of `text`.
    unsafe {
        ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), end);
        buffer.add(end).write(0);
    }
}

/// Fills a struct of C: as many bytes as both sides know. What the caller knows and this library does not is zero.
/// The first field of every such struct is its `size`, as filled.
///
/// # Safety
/// `T` is `#[repr(C)]`, starts with a `usize`, and has no padding that must not be copied; `out` is NULL or has room
/// for `size` bytes.
pub(super) unsafe fn fill<T: Copy>(out: *mut T, name: &str, size: usize, value: T) -> Result<(), Error> {
    if out.is_null() {
        return Err(null(name));
    }
    if !out.is_aligned() {
        return Err(argument(name, "not aligned"));
    }
    if !(size_of::<usize>()..=MAX_STRUCT).contains(&size) {
        return Err(argument(name, format_args!("pass sizeof(*{name}) as the size, not {size}")));
    }
    let known = size.min(size_of::<T>());
    let value = MaybeUninit::new(value);
    // SAFETY: `known` is within both; the rest of the caller's `size` bytes is zeroed; the first field is there.
    unsafe {
        ptr::copy_nonoverlapping(value.as_ptr().cast::<u8>(), out.cast::<u8>(), known);
        ptr::write_bytes(out.cast::<u8>().add(known), 0, size - known);
        out.cast::<usize>().write(known);
    }
    Ok(())
}

/// A string for C. A NUL in it (texts come from the network) is replaced.
pub(super) fn owned(text: impl Into<String>) -> CString {
    let text = text.into();
    CString::new(text).unwrap_or_else(|error| {
        let clean = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\u{fffd}");
        CString::new(clean).unwrap_or_default()
    })
}

/// What an optional string is in C.
pub(super) fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}
