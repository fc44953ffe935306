//! Random bytes for secrets and nonces.
//!
//! The system is asked once, at the start, where a failure can still be reported; everything after comes from that by
//! HMAC-SHA-256 of a counter, which cannot fail and cannot be guessed without the key.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// See the module.
pub(super) struct Generator {
    key: [u8; 32],
    counter: u64,
}

impl Generator {
    pub(super) fn from_system() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key, counter: 0 })
    }

    /// Fills `out` with bytes that nobody has seen before.
    pub(super) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            self.counter += 1;
            // HMAC takes keys of any length, so this cannot fail.
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC accepts any key length");
            mac.update(&self.counter.to_be_bytes());
            let block = mac.finalize().into_bytes();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_the_same_twice() {
        let mut generator = Generator::from_system().unwrap();
        let mut other = Generator::from_system().unwrap();
        let a: [u8; 48] = generator.array();
        let b: [u8; 48] = generator.array();
        let c: [u8; 48] = other.array();
        assert!(a != b && a != c && b != c);
        assert_ne!(a[..16], a[32..], "blocks differ");
    }
}
