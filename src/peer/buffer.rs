//! Large buffers, kept for the next transfer: fresh ones of this size come from the system page by page, which costs
//! more than filling them does.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Size of a large buffer; a transfer has two. Half of a common second-level cache, so that hashing and writing find
/// the bytes where reading the socket left them. Measured by benches/peer.rs, processor time of giver and taker together
/// per GiB: 2.0 s with 64 KiB, 1.9 with 128, 1.7 with 256, 1.6 with 512 and with 1024.
pub(super) const BUFFER: usize = 512 * 1024;
/// Buffers kept while nobody uses them: 4 MiB.
const MAX_SPARE: usize = 8;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty vector with room; large ones go back to the shelf when dropped.
#[derive(Debug)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// With room for `bytes`, but at most for [`BUFFER`].
    pub(super) fn with_room(bytes: u64) -> Self {
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= BUFFER / 2 => Self(Vec::with_capacity(bytes)),
            _ => Self(shelf().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER))),
        }
    }

    /// Bytes that fit in without moving.
    pub(super) fn room(&self) -> usize {
        self.0.capacity() - self.0.len()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        if buffer.capacity() == BUFFER {
            buffer.clear();
            let mut shelf = shelf();
            if shelf.len() < MAX_SPARE {
                shelf.push(buffer);
            }
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

fn shelf() -> std::sync::MutexGuard<'static, Vec<Vec<u8>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}
