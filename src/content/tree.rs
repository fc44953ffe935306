use sha2::{Digest as _, Sha256};

use super::Layout;
use crate::wire::Digest;

/// SHA-256 of a piece's bytes.
pub fn hash_piece(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Root of the hash tree over piece hashes: the Merkle tree hash of RFC 9162 section 2.1.1, with the piece hashes
/// as the entries. Of no pieces: SHA-256 of nothing.
pub fn merkle_root(pieces: &[Digest]) -> Digest {
    match pieces {
        [] => hash_piece(&[]),
        [one] => root_of_single(one),
        more => {
            // The left side is the largest power of two smaller than the number of leaves, so the recursion is only
            // as deep as the tree.
            let left = more.len().next_power_of_two() / 2;
            let (left, right) = more.split_at(left);
            node(&merkle_root(left), &merkle_root(right))
        }
    }
}

/// Root of a file of one piece: its leaf. So a small file is verified without asking for its piece hashes.
pub fn root_of_single(piece: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(piece.0).finalize().into())
}

fn node(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The hashes of all pieces of one version of a file: what bytes are verified against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceHashes {
    layout: Layout,
    hashes: Box<[Digest]>,
    root: Digest,
}

impl PieceHashes {
    /// From hashes computed here. `None` where their number does not fit the layout.
    pub fn new(layout: Layout, hashes: Vec<Digest>) -> Option<Self> {
        (hashes.len() == layout.count() as usize).then(|| {
            let root = merkle_root(&hashes);
            Self { layout, hashes: hashes.into(), root }
        })
    }

    /// From hashes somebody sent: `None` unless they are those of `root`.
    pub fn verified(layout: Layout, hashes: Vec<Digest>, root: &Digest) -> Option<Self> {
        Self::new(layout, hashes).filter(|this| this.root == *root)
    }

    /// Of a file of one piece, whose root is all that needs to be known: [`PieceHashes::is_right`] compares
    /// [`root_of_single`] of what came. [`PieceHashes::all`] is empty then. `None` for a layout of other than one
    /// piece.
    pub fn from_single_root(layout: Layout, root: Digest) -> Option<Self> {
        (layout.count() == 1).then(|| Self { layout, hashes: Box::default(), root })
    }

    /// How the file is cut.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Names the version.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// All of them, in order; empty when made by [`PieceHashes::from_single_root`].
    pub fn all(&self) -> &[Digest] {
        &self.hashes
    }

    /// Whether `digest` is that of `piece`.
    pub fn is_right(&self, piece: u32, digest: &Digest) -> bool {
        match self.hashes.get(piece as usize) {
            Some(right) => right == digest,
            None => piece == 0 && self.layout.count() == 1 && self.root == root_of_single(digest),
        }
    }
}

/// Hashes a stream of bytes piece by piece.
#[derive(Debug, Clone)]
pub struct PieceHasher {
    piece_size: u64,
    filled: u64,
    hasher: Sha256,
}

impl PieceHasher {
    /// At the start of a piece of files cut like `layout`.
    pub fn new(layout: &Layout) -> Self {
        Self { piece_size: u64::from(layout.piece_size().bytes()), filled: 0, hasher: Sha256::new() }
    }

    /// Takes the next bytes in; `on_piece` gets the hash of each piece that becomes whole.
    pub fn update(&mut self, mut bytes: &[u8], mut on_piece: impl FnMut(Digest)) {
        while !bytes.is_empty() {
            let take = (self.piece_size - self.filled).min(bytes.len() as u64) as usize;
            let (now, later) = bytes.split_at(take);
            self.hasher.update(now);
            self.filled += take as u64;
            bytes = later;
            if self.filled == self.piece_size {
                on_piece(self.take());
            }
        }
    }

    /// The hash of what has come of an unfinished piece: the last of a file. `None` between pieces.
    pub fn finish(&mut self) -> Option<Digest> {
        (self.filled > 0).then(|| self.take())
    }

    fn take(&mut self) -> Digest {
        self.filled = 0;
        Digest(self.hasher.finalize_reset().into())
    }
}

#[cfg(test)]
mod single_root_tests {
    use super::*;
    use crate::content::PieceSize;

    #[test]
    fn a_single_piece_is_known_by_the_root() {
        let piece = PieceSize::new(64 * 1024).unwrap();
        let digest = hash_piece(b"small");
        let hashes =
            PieceHashes::from_single_root(Layout::new(5, piece).unwrap(), root_of_single(&digest)).unwrap();
        assert!(hashes.is_right(0, &digest));
        assert!(!hashes.is_right(1, &digest));
        assert!(!hashes.is_right(0, &hash_piece(b"other")));
        assert!(PieceHashes::from_single_root(Layout::new(0, piece).unwrap(), Digest::default()).is_none());
        assert!(
            PieceHashes::from_single_root(Layout::new(65537, piece).unwrap(), Digest::default()).is_none()
        );
    }
}
