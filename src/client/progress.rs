//! Numbers: rates over the last seconds, and what a transfer has moved so far.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Progress;
use crate::wire::WaitReason;

/// Rates are over this long.
const WINDOW: Duration = Duration::from_secs(5);
/// Bytes are counted together over this long.
const SLOT: Duration = Duration::from_millis(200);
/// A rate is not told before this much time is behind it: one fast packet says nothing.
const WARM_UP: Duration = Duration::from_millis(500);

/// Bytes a second, over the last [`WINDOW`]. The clock is an argument.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Start and bytes of each slot, oldest first: at most [`WINDOW`] / [`SLOT`] and one.
    slots: VecDeque<(Instant, u64)>,
    /// The sum of `slots`.
    sum: u64,
}

impl Meter {
    pub(super) fn add(&mut self, bytes: u64, now: Instant) {
        self.forget(now);
        match self.slots.back_mut() {
            Some((start, sum)) if now.saturating_duration_since(*start) < SLOT => *sum += bytes,
            _ => self.slots.push_back((now, bytes)),
        }
        self.sum += bytes;
    }

    pub(super) fn rate(&mut self, now: Instant) -> u64 {
        self.forget(now);
        let Some((start, _)) = self.slots.front() else { return 0 };
        let elapsed = now.saturating_duration_since(*start).max(WARM_UP);
        (self.sum as f64 / elapsed.as_secs_f64()) as u64
    }

    fn forget(&mut self, now: Instant) {
        while let Some(&(start, bytes)) = self.slots.front()
            && now.saturating_duration_since(start) >= WINDOW
        {
            self.slots.pop_front();
            self.sum -= bytes;
        }
    }
}

/// Who bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Origin,
    Peer,
}

/// The numbers of one transfer, of all its files together. Shared by everything that works for it.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    done: AtomicU64,
    total: AtomicU64,
    from_origin: AtomicU64,
    from_peers: AtomicU64,
    from_disk: AtomicU64,
    wasted: AtomicU64,
    givers: AtomicU32,
    files_done: AtomicU64,
    files_total: AtomicU64,
    slow: Mutex<Slow>,
}

#[derive(Debug, Default)]
struct Slow {
    meter: Meter,
    waiting: Option<WaitReason>,
    hashing: Option<(u64, u64)>,
    reading: Option<u64>,
    checking: Option<(u64, u64)>,
}

impl Numbers {
    /// A file more to download.
    pub(super) fn add_file(&self, size: u64) {
        self.files_total.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(size, Ordering::Relaxed);
    }

    /// A file has another size than was thought.
    pub(super) fn resize(&self, from: u64, to: u64) {
        self.total.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
    }

    pub(super) fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Valid bytes were on the disk already.
    pub(super) fn found(&self, bytes: u64) {
        self.from_disk.fetch_add(bytes, Ordering::Relaxed);
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes were received and verified.
    pub(super) fn received(&self, bytes: u64, from: Source, now: Instant) {
        match from {
            Source::Origin => &self.from_origin,
            Source::Peer => &self.from_peers,
        }
        .fetch_add(bytes, Ordering::Relaxed);
        self.done.fetch_add(bytes, Ordering::Relaxed);
        let mut slow = self.slow();
        slow.meter.add(bytes, now);
        slow.waiting = None;
        slow.hashing = None;
    }

    /// Bytes that had counted as done do not any more: the file changed.
    pub(super) fn retract(&self, done: u64) {
        self.done.fetch_sub(done, Ordering::Relaxed);
    }

    pub(super) fn wasted(&self, bytes: u64) {
        self.wasted.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn giver_joined(&self) {
        self.givers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn giver_left(&self) {
        self.givers.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self, reason: Option<WaitReason>) {
        self.slow().waiting = reason;
    }

    pub(super) fn hashing(&self, bytes: Option<(u64, u64)>) {
        self.slow().hashing = bytes;
    }

    pub(super) fn reading(&self, entries: Option<u64>) {
        self.slow().reading = entries;
    }

    pub(super) fn checking(&self, bytes: Option<(u64, u64)>) {
        self.slow().checking = bytes;
    }

    /// As the application sees them.
    pub(super) fn snapshot(&self, now: Instant) -> Progress {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let (done, total) = (load(&self.done), load(&self.total));
        let mut slow = self.slow();
        let rate = slow.meter.rate(now);
        let left = total.saturating_sub(done);
        let givers = self.givers.load(Ordering::Relaxed);
        Progress {
            done,
            total,
            from_origin: load(&self.from_origin),
            from_peers: load(&self.from_peers),
            from_disk: load(&self.from_disk),
            wasted: load(&self.wasted),
            rate,
            eta: left.checked_div(rate).map(Duration::from_secs),
            givers,
            files_done: load(&self.files_done),
            files_total: load(&self.files_total),
            // It was true until somebody began to send.
            waiting: slow.waiting.filter(|_| givers == 0),
            hashing: slow.hashing,
            reading: slow.reading,
            checking: slow.checking,
        }
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        // Nothing under this lock can panic half-way through a change.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(meter.rate(start), 0);
        for ms in (0..20_000).step_by(50) {
            meter.add(50_000, start + Duration::from_millis(ms));
        }
        let rate = meter.rate(start + Duration::from_millis(20_000));
        assert!((900_000..=1_100_000).contains(&rate), "{rate}");
        assert!(meter.slots.len() <= 26, "{}", meter.slots.len());
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.add(1_000_000, start);
        assert!(meter.rate(start + Duration::from_secs(1)) > 0);
        assert_eq!(meter.rate(start + WINDOW), 0);
        assert_eq!(meter.sum, 0);
    }

    #[test]
    fn numbers_add_up() {
        let (numbers, now) = (Numbers::default(), Instant::now());
        numbers.add_file(1000);
        numbers.add_file(500);
        numbers.found(100);
        numbers.received(300, Source::Origin, now);
        numbers.received(200, Source::Peer, now);
        numbers.resize(500, 100);
        numbers.file_done();
        numbers.waiting(Some(WaitReason::OriginBusy));
        let seen = numbers.snapshot(now + Duration::from_secs(1));
        assert_eq!((seen.done, seen.total), (600, 1100));
        assert_eq!((seen.from_origin, seen.from_peers, seen.from_disk), (300, 200, 100));
        assert_eq!((seen.files_done, seen.files_total), (1, 2));
        assert_eq!(seen.rate, 500);
        assert_eq!(seen.eta, Some(Duration::from_secs(1)));
        assert_eq!(seen.waiting, Some(WaitReason::OriginBusy));
        numbers.giver_joined();
        assert_eq!(numbers.snapshot(now).waiting, None, "somebody sends");
        numbers.giver_left();
        assert_eq!(numbers.snapshot(now).waiting, Some(WaitReason::OriginBusy));
        numbers.received(1, Source::Peer, now);
        assert_eq!(numbers.snapshot(now).waiting, None, "bytes came, so nothing is waited for");
    }
}
