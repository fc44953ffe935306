//! What the operating system is asked for: descriptors and signals.

use std::future::Future;
use std::io;

/// Fewest connections, whatever the process is allowed.
const MIN_CONNECTIONS: usize = 8;

/// How many connections fit: all but a thirty-second part of the descriptors, where that is enough for files. The hub keeps
/// half of those open, and half of that again for files that were replaced. Half of few descriptors is for files.
pub(crate) fn connections_for(descriptors: u64) -> usize {
    let for_files = (descriptors / 32).clamp(512, 8192).min(descriptors / 2);
    usize::try_from(descriptors - for_files).unwrap_or(usize::MAX).max(MIN_CONNECTIONS)
}

/// Raises the number of descriptors the process may have as far as the system lets it, and says how many it is.
#[cfg(unix)]
#[allow(unsafe_code, reason = "no safe interface to setrlimit among our dependencies")]
pub(crate) fn raise_descriptor_limit() -> u64 {
    /// What POSIX promises at least, and then some.
    const FALLBACK: u64 = 256;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours and of the type the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return FALLBACK;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: the structure is ours, initialised, and only read.
    let ok = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0;
    if ok { raised.rlim_cur } else { limit.rlim_cur }
}

/// Elsewhere sockets are not counted among files.
#[cfg(not(unix))]
pub(crate) fn raise_descriptor_limit() -> u64 {
    u64::MAX
}

/// Where this very program can be started again, even if its file was replaced or removed since.
#[cfg(target_os = "linux")]
pub(crate) fn this_program() -> io::Result<std::path::PathBuf> {
    let place = std::path::Path::new("/proc/self/exe");
    if place.exists() { Ok(place.to_owned()) } else { std::env::current_exe() }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn this_program() -> io::Result<std::path::PathBuf> {
    std::env::current_exe()
}

/// Lets this process, which reads a stranger's files, have no more than it takes: memory, processor time, no files, and
/// no longer life than its parent. It has no bytes but those that come through its standard input.
#[cfg(unix)]
#[allow(unsafe_code, reason = "no safe interface to setrlimit, nice and prctl among our dependencies")]
pub(crate) fn confine() {
    /// Bytes of address space. Tags are small; what needs more is no tag.
    const MEMORY: u64 = 768 * 1024 * 1024;
    /// Seconds of processor time in all: the parent counts for each file.
    const TIME: u64 = 3600;
    /// Politeness towards what serves.
    const NICE: libc::c_int = 10;
    for (what, most) in [
        (libc::RLIMIT_AS, MEMORY),
        (libc::RLIMIT_CPU, TIME),
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_NOFILE, 3),
        (libc::RLIMIT_CORE, 0),
    ] {
        let limit = libc::rlimit { rlim_cur: most as libc::rlim_t, rlim_max: most as libc::rlim_t };
        // SAFETY: the structure is ours and only read. A system that refuses leaves the limit as it was.
        unsafe { libc::setrlimit(what, &raw const limit) };
    }
    // SAFETY: a call without pointers.
    unsafe { libc::nice(NICE) };
    #[cfg(target_os = "linux")]
    // SAFETY: calls without pointers.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        // One that is deep in a file would not notice the end of its parent.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Elsewhere the parent's clock and count of bytes have to do.
#[cfg(not(unix))]
pub(crate) fn confine() {}

/// Completes at the first SIGTERM or SIGINT. A second one ends the process at once.
#[cfg(unix)]
pub(crate) fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// A shell shows the end by a signal as 128 and its number.
    const BY_SIGNAL: i32 = 128;

    async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
        tokio::select! {
            _ = terminate.recv() => libc::SIGTERM,
            _ = interrupt.recv() => libc::SIGINT,
        }
    }

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            let number = either(&mut terminate, &mut interrupt).await;
            std::process::exit(BY_SIGNAL + number);
        });
    })
}

/// Completes at the first Ctrl-C. A second one ends the process at once.
#[cfg(not(unix))]
pub(crate) fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async move {
        // Without Ctrl-C there is no other way to end than to kill the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(1);
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_files() {
        assert_eq!(connections_for(1024), 512);
        assert_eq!(connections_for(64), 32);
        assert_eq!(connections_for(20_000), 19_375);
        assert_eq!(connections_for(1 << 20), (1 << 20) - 8192);
        assert_eq!(connections_for(0), MIN_CONNECTIONS);
    }

    #[test]
    #[cfg(unix)]
    fn the_limit_is_raised() {
        let limit = raise_descriptor_limit();
        assert!(limit >= 256);
        assert_eq!(raise_descriptor_limit(), limit);
    }
}
