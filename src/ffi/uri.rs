//! URIs, taken apart and put together.

use std::ffi::{c_char, c_int};

use super::guard::{self, argument};
use super::text;
use crate::client::{Error, ErrorKind};
use crate::wire::{DEFAULT_PORT, PdtpUri, UrlPath};

/// Copies a part of "pdtp://host[:port]/path[#root=HEX&key=HEX]" into `buffer`. Like snprintf: at most `size` bytes with the
/// NUL at the end; the result is the length of the whole part without it, or an error. Parts:
///
/// - "uri": all of it in its canonical spelling
/// - "host": a name or an address; an IPv6 address without brackets
/// - "port": 6086 where none is written
/// - "path": percent-encoded, without "/" at its end
/// - "name": the last component of the path, percent-decoded, "" of the root: a name for a local file. It has no "/"
///   and no NUL and is neither "." nor "..", but may be other bytes than UTF-8
/// - "root": the version wanted, or ""
/// - "key": the fingerprint of the key that must have signed, the first if there are several, or ""
/// - "dir": "yes" if the path is written with "/" at its end, else "no"
///
/// Never blocks. Any thread, callbacks included. `buffer` may be NULL to learn the length. PDTP_E_NULL;
/// PDTP_E_ARGUMENT (not such a URI); PDTP_E_OPTION (no such part). Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_uri_part(
    uri: *const c_char,
    part: *const c_char,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    guard::count(|| {
        let text = text!(uri);
        let uri: PdtpUri = text.parse().map_err(|why| argument("uri", format_args!("{text}: {why}")))?;
        let value = match text!(part) {
            "uri" => uri.to_string(),
            "host" => uri.host,
            "port" => uri.port.to_string(),
            "path" => uri.path.as_str().to_owned(),
            "name" => {
                // SAFETY: the header demands NULL or room for `size` bytes.
                return Ok(unsafe { text::copy_bytes(&uri.path.file_name(), buffer, size) });
            }
            "key" => uri.keys.first().map(|key| key.to_string()).unwrap_or_default(),
            "root" => uri.root.map(|root| root.to_string()).unwrap_or_default(),
            "dir" => if uri.is_dir { "yes" } else { "no" }.to_owned(),
            other => return Err(Error::new(ErrorKind::Option, format!("a URI has no part {other:?}"))),
        };
        // SAFETY: as above.
        Ok(unsafe { text::copy(&value, buffer, size) })
    })
}

/// Writes a URI into `buffer`: of `host` (an IPv6 address with or without brackets), `port` (0 = 6086), and `path`,
/// which is *not* percent-encoded: names as they are on the server, with "/" between and before them; with "/" at
/// the end for a directory. Like snprintf: at most `size` bytes with the NUL at the end; the result is the length of
/// the whole without it, or an error.
///
/// Never blocks. Any thread, callbacks included. `buffer` may be NULL to learn the length. PDTP_E_NULL;
/// PDTP_E_ARGUMENT (no valid host or path). Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_uri_format(
    buffer: *mut c_char,
    size: usize,
    host: *const c_char,
    port: u16,
    path: *const c_char,
) -> c_int {
    guard::count(|| {
        let host = text!(host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // SAFETY: as in `text!`.
        let raw = unsafe { text::bytes(path, "path") }?;
        if raw.first() != Some(&b'/') {
            return Err(argument("path", "does not start with '/'"));
        }
        let path =
            UrlPath::from_components(raw.split(|&byte| byte == b'/')).map_err(|why| argument("path", why))?;
        let uri = PdtpUri {
            host: host.to_owned(),
            port: if port == 0 { DEFAULT_PORT } else { port },
            path,
            is_dir: raw.ends_with(b"/"),
            root: None,
            keys: Vec::new(),
        };
        let text = uri.to_string();
        // What is written can be read: above all, the host is one.
        if text.parse::<PdtpUri>().as_ref() != Ok(&uri) {
            return Err(argument("host", format_args!("{host:?} is no host name and no address")));
        }
        // SAFETY: the header demands NULL or room for `size` bytes.
        Ok(unsafe { text::copy(&text, buffer, size) })
    })
}
