use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tells, without reading it, that a file still has the content it had: two equal stamps mean the same bytes.
///
/// The change time is in it because anybody can set the modification time back; the inode because a file may be
/// replaced by another of the same size and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    pub(super) mtime: Moment,
    pub(super) ctime: Moment,
    pub(super) ino: u64,
}

/// A time of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

/// Bytes of an encoded [`Stamp`].
pub(super) const STAMP_LEN: usize = 40;

/// File systems stamp writes with the time of the last timer tick, at most 10 ms ago. A write that comes within
/// the tick of an earlier one leaves no trace in the times, so a file is not hashed before its last change is older
/// than this.
const TICK: Duration = Duration::from_millis(20);

impl Stamp {
    #[cfg(unix)]
    pub(super) fn of(meta: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            size: meta.len(),
            mtime: Moment::new(meta.mtime(), meta.mtime_nsec()),
            ctime: Moment::new(meta.ctime(), meta.ctime_nsec()),
            ino: meta.ino(),
        }
    }

    #[cfg(unix)]
    pub(super) fn of_confined(meta: &cap_std::fs::Metadata) -> Self {
        use cap_std::fs::MetadataExt as _;
        Self {
            size: meta.len(),
            mtime: Moment::new(meta.mtime(), meta.mtime_nsec()),
            ctime: Moment::new(meta.ctime(), meta.ctime_nsec()),
            ino: meta.ino(),
        }
    }

    // Elsewhere the standard library knows neither change times nor inodes; creation time stands in for both.
    #[cfg(not(unix))]
    pub(super) fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            size: meta.len(),
            mtime: Moment::of(meta.modified().ok()),
            ctime: Moment::of(meta.created().ok()),
            ino: 0,
        }
    }

    #[cfg(not(unix))]
    pub(super) fn of_confined(meta: &cap_std::fs::Metadata) -> Self {
        Self {
            size: meta.len(),
            mtime: Moment::of(meta.modified().ok().map(|t| t.into_std())),
            ctime: Moment::of(meta.created().ok().map(|t| t.into_std())),
            ino: 0,
        }
    }

    /// Whether an open file still has the bytes it had under this stamp.
    ///
    /// When another file takes its name the last link of this one goes, which touches its change time but not its
    /// bytes: that alone is no change, or nobody could finish a download of a version that was replaced.
    pub(super) fn holds_for(&self, file: &std::fs::File) -> bool {
        let Ok(meta) = file.metadata() else { return false };
        let now = Self::of(&meta);
        now == *self || (is_unlinked(&meta) && Self { ctime: self.ctime, ..now } == *self)
    }

    /// How long to wait until any further write shows in the times.
    pub(super) fn settles_in(&self, now: SystemTime) -> Option<Duration> {
        let changed =
            UNIX_EPOCH.checked_add(Duration::new(self.ctime.seconds.try_into().ok()?, self.ctime.nanos))?;
        // A change time in the future (another machine's clock) says nothing: one tick is waited all the same.
        let age = now.duration_since(changed).unwrap_or_default();
        TICK.checked_sub(age).filter(|wait| !wait.is_zero())
    }

    /// Whether the last change is older than `time`.
    pub(super) fn is_older_than(&self, time: Duration, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.ctime.seconds).unwrap_or(0);
        let changed = UNIX_EPOCH.checked_add(Duration::new(seconds, self.ctime.nanos));
        // A change time in the future says nothing.
        changed.is_none_or(|changed| now.duration_since(changed).map_or(true, |age| age >= time))
    }

    pub(super) fn encode(&self) -> [u8; STAMP_LEN] {
        let mut out = [0; STAMP_LEN];
        out[..8].copy_from_slice(&self.size.to_le_bytes());
        out[8..16].copy_from_slice(&self.mtime.seconds.to_le_bytes());
        out[16..20].copy_from_slice(&self.mtime.nanos.to_le_bytes());
        out[20..28].copy_from_slice(&self.ctime.seconds.to_le_bytes());
        out[28..32].copy_from_slice(&self.ctime.nanos.to_le_bytes());
        out[32..].copy_from_slice(&self.ino.to_le_bytes());
        out
    }
}

impl Stamp {
    pub(super) fn decode(bytes: &[u8; STAMP_LEN]) -> Self {
        let eight = |at: usize| {
            let mut out = [0; 8];
            out.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(out)
        };
        let four = |at: usize| {
            let mut out = [0; 4];
            out.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(out)
        };
        Self {
            size: eight(0),
            mtime: Moment { seconds: eight(8).cast_signed(), nanos: four(16) },
            ctime: Moment { seconds: eight(20).cast_signed(), nanos: four(28) },
            ino: eight(32),
        }
    }
}

impl Moment {
    #[cfg(unix)]
    fn new(seconds: i64, nanos: i64) -> Self {
        Self { seconds, nanos: nanos.clamp(0, 999_999_999) as u32 }
    }

    #[cfg(not(unix))]
    fn of(time: Option<SystemTime>) -> Self {
        let since = time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Self { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
    }
}

#[cfg(unix)]
fn is_unlinked(meta: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(meta) == 0
}

#[cfg(not(unix))]
fn is_unlinked(_: &std::fs::Metadata) -> bool {
    false
}

/// Reads at a position, without the file's cursor, until `buf` is full or the file ends; how much there was.
pub(super) fn read_full_at(file: &std::fs::File, mut buf: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let wanted = buf.len();
    while !buf.is_empty() {
        match read_at(file, buf, offset) {
            Ok(0) => break,
            Ok(n) => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(wanted - buf.len())
}

#[cfg(unix)]
fn read_at(file: &std::fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_at(file: &std::fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}
