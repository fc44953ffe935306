//! How long anything may take: the limits of docs/protocol.md as one value, so that tests can use short ones.

use std::time::Duration;

use tokio::time::Instant;

use crate::wire::limits;

/// An acceptor waits this long for the rest of a head once its first byte has come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that is being closed is still read from, so that the other side gets our last answer
/// instead of a reset.
const LINGER: Duration = Duration::from_secs(2);
/// Kept connections are closed after this. Less than what acceptors allow, so that few are found closed.
const KEEP: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// Between two requests.
    pub(super) idle: Duration,
    /// From the first byte of a request to the end of its head.
    pub(super) head: Duration,
    /// See `body_bytes`.
    pub(super) body_window: Duration,
    /// A body that moves fewer bytes within a window is given up.
    pub(super) body_bytes: u64,
    /// See [`LINGER`].
    pub(super) linger: Duration,
    /// See [`KEEP`].
    pub(super) keep: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            idle: limits::HTTP_IDLE_TIMEOUT,
            head: HEAD_TIMEOUT,
            body_window: limits::MIN_BODY_WINDOW,
            body_bytes: limits::MIN_BODY_BYTES,
            linger: LINGER,
            keep: KEEP,
        }
    }
}

/// Watches that a body moves fast enough. Only time spent waiting for the other side counts.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    least: u64,
    ends: Instant,
    /// Bytes that had moved when the window began.
    mark: u64,
}

/// The other side moved this many bytes in a window, which is too few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSlow {
    pub(super) moved: u64,
    pub(super) window: Duration,
}

impl Pace {
    pub(super) fn new(deadlines: &Deadlines, now: Instant) -> Self {
        let window = deadlines.body_window;
        Self { window, least: deadlines.body_bytes, ends: now + window, mark: 0 }
    }

    /// When to call [`Pace::check`].
    pub(super) fn deadline(&self) -> Instant {
        self.ends
    }

    /// Takes out time that is not the other side's fault.
    pub(super) fn excuse(&mut self, waited: Duration) {
        self.ends += waited;
    }

    /// With `total` bytes moved since the start: begins the next window if this one is over and was good.
    pub(super) fn check(&mut self, total: u64, now: Instant) -> Result<(), TooSlow> {
        if now < self.ends {
            return Ok(());
        }
        let moved = total.saturating_sub(self.mark);
        if moved < self.least {
            return Err(TooSlow { moved, window: self.window });
        }
        self.mark = total;
        self.ends = now + self.window;
        Ok(())
    }
}

impl std::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes in {:?}", self.moved, self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_bytes_in_a_window_are_told() {
        let start = Instant::now();
        let deadlines =
            Deadlines { body_window: Duration::from_secs(30), body_bytes: 1000, ..Deadlines::default() };
        let mut pace = Pace::new(&deadlines, start);
        assert_eq!(pace.check(0, start + Duration::from_secs(29)), Ok(()));
        assert_eq!(pace.check(1000, start + Duration::from_secs(30)), Ok(()));
        pace.excuse(Duration::from_secs(5));
        assert_eq!(pace.check(1000, start + Duration::from_secs(64)), Ok(()));
        let slow = TooSlow { moved: 999, window: Duration::from_secs(30) };
        assert_eq!(pace.check(1999, start + Duration::from_secs(65)), Err(slow));
    }
}
