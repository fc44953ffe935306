//! What the standard library has under different names on different systems.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Writes all of `bytes` at `offset`.
#[cfg(unix)]
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Writes all of `bytes` at `offset`.
#[cfg(windows)]
pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset`, or fails with `UnexpectedEof`.
#[cfg(unix)]
pub(super) fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills `buffer` from `offset`, or fails with `UnexpectedEof`.
#[cfg(windows)]
pub(super) fn read_full_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// The start of the first data at or after `offset`; holes of a sparse file are skipped. `None`: only holes follow.
#[cfg(target_os = "linux")]
pub(super) fn next_data(file: &File, offset: u64) -> Option<u64> {
    use std::os::fd::AsRawFd as _;
    let Ok(start) = libc::off_t::try_from(offset) else { return Some(offset) };
    // SAFETY: the descriptor is open as long as `file` is borrowed; lseek takes no pointers. Moving the cursor is
    // harmless, because all reads and writes of the store are positional.
    #[allow(unsafe_code, reason = "the standard library has no SEEK_DATA")]
    let found = unsafe { libc::lseek(file.as_raw_fd(), start, libc::SEEK_DATA) };
    match u64::try_from(found) {
        Ok(found) => Some(found),
        Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => None,
        // A file system that cannot tell: everything may be data.
        Err(_) => Some(offset),
    }
}

/// The start of the first data at or after `offset`: without a way to ask, everything may be data.
#[cfg(not(target_os = "linux"))]
pub(super) fn next_data(_file: &File, offset: u64) -> Option<u64> {
    Some(offset)
}

/// Reserves room for `length` bytes. A file system that cannot is no reason to fail; one that is full is.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, length: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let Ok(length @ 1..) = libc::off_t::try_from(length) else { return Ok(()) };
    // SAFETY: the descriptor is open as long as `file` is borrowed; fallocate takes no pointers.
    #[allow(unsafe_code, reason = "the standard library has no fallocate")]
    let done = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) };
    match io::Error::last_os_error() {
        _ if done == 0 => Ok(()),
        error if matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG)) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Reserves room: on Windows setting the length has done so, elsewhere there is no common way.
#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_file: &File, _length: u64) -> io::Result<()> {
    Ok(())
}

/// Makes opening fail on a symlink, which somebody else may have put in a shared directory.
pub(super) fn refuse_symlinks(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NOFOLLOW);
    #[cfg(windows)]
    {
        const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
        std::os::windows::fs::OpenOptionsExt::custom_flags(options, FILE_FLAG_OPEN_REPARSE_POINT);
    }
}

/// Whether `path` still names the open file.
#[cfg(unix)]
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let open = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `path` still names the open file. Windows does not tell file identities apart cheaply; that the name
/// exists is as much as can be said.
#[cfg(windows)]
pub(super) fn is_at(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// A new file in `dir` that disappears with its last handle.
pub(super) fn unnamed_file(dir: &Path) -> io::Result<File> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let path = dir.join(format!(".pdtp-{:016x}", u64::from_ne_bytes(random)));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    #[cfg(windows)]
    {
        const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;
        std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, FILE_FLAG_DELETE_ON_CLOSE);
    }
    let file = options.open(&path)?;
    #[cfg(unix)]
    std::fs::remove_file(&path)?;
    Ok(file)
}
