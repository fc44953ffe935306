use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Unused allowance kept for later, as time.
const BURST: Duration = Duration::from_millis(100);
/// Least size of that allowance in bytes, so that low limits do not dissolve into tiny packets.
const MIN_BURST: u64 = 16 * 1024;
/// One turn gets at most this part of the burst, so that those waiting alternate quickly.
const TURNS_PER_BURST: u64 = 4;

/// A token bucket shared by everything that counts against one limit. Cloning shares it.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Beside the bucket, so that asking without a limit costs one load.
    rate: AtomicU64,
    bucket: Mutex<Bucket>,
    /// Held by whoever is next. Tokio's mutex is handed on in order of arrival, which makes it our queue.
    turn: tokio::sync::Mutex<()>,
    /// Tells the holder of `turn` that the rate is another.
    changed: Notify,
    /// The limit that this one is a part of.
    whole: Option<RateLimiter>,
}

impl RateLimiter {
    /// `bytes_per_second` of 0 = no limit.
    pub fn new(bytes_per_second: u64) -> Self {
        Self::build(bytes_per_second, None)
    }

    /// A limit of its own for a part of what counts against this one: what passes there counts here as well.
    pub fn within(&self, bytes_per_second: u64) -> Self {
        Self::build(bytes_per_second, Some(self.clone()))
    }

    fn build(bytes_per_second: u64, whole: Option<Self>) -> Self {
        let shared = Shared {
            rate: AtomicU64::new(bytes_per_second),
            bucket: Mutex::new(Bucket::new(bytes_per_second, Instant::now())),
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            whole,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Changes the limit; takes effect at once, also for those already waiting.
    pub fn set(&self, bytes_per_second: u64) {
        self.shared.bucket().set(bytes_per_second, Instant::now());
        self.shared.rate.store(bytes_per_second, Ordering::Release);
        self.shared.changed.notify_one();
    }

    /// The limit, the lowest of this and those it is a part of; 0 where there is none.
    pub fn rate(&self) -> u64 {
        let whole = self.shared.whole.as_ref().map_or(0, Self::rate);
        match (self.own_rate(), whole) {
            (0, rate) | (rate, 0) => rate,
            (own, whole) => own.min(whole),
        }
    }

    /// Waits until some bytes may pass and says how many, 1 to `want`. In order of arrival; no limit: at once.
    /// (0 only for a `want` of 0.)
    pub async fn take(&self, want: usize) -> usize {
        let mut limiter = self;
        // A part without a limit of its own passes on what the whole grants.
        while let (0, Some(whole)) = (limiter.own_rate(), &limiter.shared.whole) {
            limiter = whole;
        }
        let granted = limiter.take_own(want).await;
        while let Some(whole) = &limiter.shared.whole {
            // All of it, so that nothing of the own allowance is lost.
            let mut passed = 0;
            while passed < granted {
                passed += whole.take_own(granted - passed).await;
            }
            limiter = whole;
        }
        granted
    }

    fn own_rate(&self) -> u64 {
        self.shared.rate.load(Ordering::Acquire)
    }

    async fn take_own(&self, want: usize) -> usize {
        if self.own_rate() == 0 || want == 0 {
            return want;
        }
        let _turn = self.shared.turn.lock().await;
        loop {
            let answer = self.shared.bucket().take(want as u64, Instant::now());
            match answer {
                Ok(granted) => return granted as usize,
                Err(wait) => {
                    // A permit left over from an earlier `set` only makes this go round once more.
                    let _ = tokio::time::timeout(wait, self.shared.changed.notified()).await;
                }
            }
        }
    }
}

impl Shared {
    fn bucket(&self) -> std::sync::MutexGuard<'_, Bucket> {
        // Nothing that runs under the lock can leave the numbers half changed.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The arithmetic, with time as an argument. `level` is what may pass now, in bytes; rates below one byte per tick of
/// the clock make it a fraction.
#[derive(Debug)]
struct Bucket {
    rate: u64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u64, now: Instant) -> Self {
        Self { rate, level: burst(rate) as f64, at: now }
    }

    fn set(&mut self, rate: u64, now: Instant) {
        self.refill(now);
        self.level = if self.rate == 0 { burst(rate) as f64 } else { self.level.min(burst(rate) as f64) };
        self.rate = rate;
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at);
        self.level = (self.level + elapsed.as_secs_f64() * self.rate as f64).min(burst(self.rate) as f64);
        self.at = now;
    }

    /// How many of `want` bytes may pass, or how long until that can be asked again with success.
    fn take(&mut self, want: u64, now: Instant) -> Result<u64, Duration> {
        if self.rate == 0 {
            return Ok(want);
        }
        self.refill(now);
        let granted = want.min(burst(self.rate) / TURNS_PER_BURST);
        let missing = granted as f64 - self.level;
        // Half a byte is forgiven: a wait computed for exactly enough may end a rounding error short of it.
        if missing > 0.5 {
            return Err(Duration::from_secs_f64(missing / self.rate as f64));
        }
        self.level -= granted as f64;
        Ok(granted)
    }
}

fn burst(rate: u64) -> u64 {
    ((rate as f64 * BURST.as_secs_f64()) as u64).max(MIN_BURST)
}
