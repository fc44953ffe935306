//! Buffers, kept for the next transfer: fresh ones come from the system page by page, which costs more than filling them
//! does.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Size of a large buffer; a transfer has two. Half of a common second-level cache, so that hashing and writing find
/// the bytes where reading the socket left them. Measured by benches/peer.rs, processor time of giver and taker together
/// per GiB: 2.0 s with 64 KiB, 1.9 with 128, 1.7 with 256, 1.6 with 512 and with 1024.
pub(super) const BUFFER: usize = 512 * 1024;
/// Up to this size, a large buffer would be a waste.
const MEDIUM: usize = BUFFER / 2;
/// Size of a small buffer: for all of a file of one piece.
const SMALL: usize = 64 * 1024;

/// Those of one size that nobody uses.
struct Shelf {
    size: usize,
    /// Most that are kept: 4 MiB of either.
    most: usize,
    spare: Mutex<Vec<Vec<u8>>>,
}

static SHELVES: [Shelf; 2] = [
    Shelf { size: SMALL, most: 64, spare: Mutex::new(Vec::new()) },
    Shelf { size: BUFFER, most: 8, spare: Mutex::new(Vec::new()) },
];

impl Shelf {
    fn take(&self) -> Vec<u8> {
        self.spare().pop().unwrap_or_else(|| Vec::with_capacity(self.size))
    }

    fn put(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = self.spare();
        if spare.len() < self.most {
            spare.push(buffer);
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An empty vector with room; it goes back to its shelf when dropped.
#[derive(Debug)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// With room for `bytes`, but at most for [`BUFFER`].
    pub(super) fn with_room(bytes: u64) -> Self {
        let [small, large] = &SHELVES;
        Self(match usize::try_from(bytes) {
            Ok(0) => Vec::new(),
            Ok(..=SMALL) => small.take(),
            Ok(bytes @ ..=MEDIUM) => Vec::with_capacity(bytes),
            _ => large.take(),
        })
    }

    /// Bytes that fit in without moving.
    pub(super) fn room(&self) -> usize {
        self.0.capacity() - self.0.len()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if let Some(shelf) = SHELVES.iter().find(|shelf| shelf.size == buffer.capacity()) {
            shelf.put(buffer);
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
