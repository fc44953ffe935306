//! The two things the standard library does not say.

/// How many descriptors this process may have.
#[cfg(unix)]
pub(super) fn descriptor_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[allow(unsafe_code, reason = "no safe interface in the standard library")]
    // SAFETY: `limit` is a valid place for the answer.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    #[allow(clippy::useless_conversion, reason = "rlim_t is not 64 bits wide everywhere")]
    (result == 0).then(|| u64::from(limit.rlim_cur))
}

#[cfg(not(unix))]
pub(super) fn descriptor_limit() -> Option<u64> {
    None
}

/// Tells the system that the file will be read from start to end, so that it reads ahead further.
#[cfg(target_os = "linux")]
pub(super) fn will_read_all(file: &std::fs::File) {
    use std::os::fd::AsRawFd as _;
    #[allow(unsafe_code, reason = "no safe interface in the standard library")]
    // SAFETY: the descriptor is open for as long as `file` is borrowed. The answer does not matter: it is a hint.
    unsafe {
        libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn will_read_all(_: &std::fs::File) {}
