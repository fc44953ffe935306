//! What was compiled, and what is loaded.

use std::ffi::{CStr, c_char, c_int};

use super::guard;

/// First number of the version of this header.
pub const PDTP_VERSION_MAJOR: c_int = 0;
/// Second number. While the first is 0, a change of this one may break the ABI (and the soname says so).
pub const PDTP_VERSION_MINOR: c_int = 1;
/// Third number: only additions and repairs.
pub const PDTP_VERSION_PATCH: c_int = 0;
/// Counts the incompatible changes of the ABI.
pub const PDTP_ABI_VERSION: c_int = 1;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// What `pdtp_has_feature` knows. Names are never removed while the thing is there.
const FEATURES: &[&str] = &[
    "cache",
    "dispatch-queue",
    "dispatch-thread",
    "event-fd",
    "ipv6",
    "list-recursive",
    "log",
    "metrics",
    "resume",
    "resume-list",
    "seeding",
    "share",
    "stream",
    "tree",
    concat!("target-", env!("PDTP_TARGET")),
    concat!("profile-", env!("PDTP_PROFILE")),
];

/// The version of the loaded library, as "0.1.0".
///
/// Never blocks. Any thread, callbacks included. The text is static. Never fails. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pdtp_version_string() -> *const c_char {
    VERSION.as_ptr()
}

/// The version of the loaded library as a number, in the form of PDTP_VERSION_NUMBER: 0x000100 is 0.1.0.
///
/// A program compiled against a newer header than the library it finds may compare the two.
///
/// Never blocks. Any thread, callbacks included. Never fails. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pdtp_version_number() -> u32 {
    const { ((PDTP_VERSION_MAJOR << 16) | (PDTP_VERSION_MINOR << 8) | PDTP_VERSION_PATCH).cast_unsigned() }
}

/// The ABI of the loaded library, in the form of PDTP_ABI_VERSION. The dynamic linker already takes care of this by
/// the soname; it is for those who load the library by hand.
///
/// Never blocks. Any thread, callbacks included. Never fails. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pdtp_abi_version() -> c_int {
    PDTP_ABI_VERSION
}

/// Whether the loaded library has a feature: 1 or 0.
///
/// Known here: "cache", "dispatch-queue", "dispatch-thread", "event-fd", "ipv6", "list-recursive", "log", "metrics",
/// "resume", "resume-list", "seeding", "share", "stream" (downloads to a callback), "tree" (downloads of directories), and
/// what it was built for, as "target-x86_64-unknown-linux-gnu" and "profile-release".
///
/// Never blocks. Any thread, callbacks included. NULL and unknown names: 0. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pdtp_has_feature(name: *const c_char) -> c_int {
    guard::value(0, || {
        let name = text!(name);
        Ok(c_int::from(FEATURES.contains(&name)))
    })
}

const _: () = {
    const fn number(text: &str) -> c_int {
        let (bytes, mut at, mut value) = (text.as_bytes(), 0, 0);
        while at < bytes.len() {
            value = value * 10 + (bytes[at] - b'0') as c_int;
            at += 1;
        }
        value
    }
    assert!(number(env!("CARGO_PKG_VERSION_MAJOR")) == PDTP_VERSION_MAJOR, "as in Cargo.toml");
    assert!(number(env!("CARGO_PKG_VERSION_MINOR")) == PDTP_VERSION_MINOR, "as in Cargo.toml");
    assert!(number(env!("CARGO_PKG_VERSION_PATCH")) == PDTP_VERSION_PATCH, "as in Cargo.toml");
};
