//! Text that the library hands over.

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use super::client::pdtp_client;
use super::guard;
use super::text;

/// Writes the totals of a client as text for Prometheus (format 0.0.4), for programs that have an HTTP server of their
/// own: serve it as `text/plain; version=0.0.4`. Free `*out` with pdtp_string_free.
///
/// Never blocks. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_metrics(out: *mut *mut c_char, client: *const pdtp_client) -> c_int {
    guard::code(|| {
        let out = out!(out, ptr::null_mut());
        let client = borrow!(client);
        client.shared.alive()?;
        *out = text::owned(client.shared.engine.metrics()).into_raw();
        Ok(())
    })
}

/// Frees a string that a function of this library has handed over through a `char **`. NULL is fine.
///
/// Never blocks. Any thread, callbacks included. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_string_free(string: *mut c_char) {
    guard::quiet(|| {
        if !string.is_null() {
            // SAFETY: the header demands NULL or a string that came from `into_raw` and was not freed yet.
            drop(unsafe { CString::from_raw(string) });
        }
    });
}
