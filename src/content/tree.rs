use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest as _, Sha256};

use super::Layout;
use super::proof::{self, BLOCK, Upper};
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

/// The node over two.
#[inline(never)]
pub(super) fn node(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The node over two neighbours, or what stands for one that has none.
pub(super) fn join(neighbours: &[Digest]) -> Digest {
    match neighbours {
        [left, right] => node(left, right),
        [only] => *only,
        _ => Digest::default(),
    }
}

/// The hashes of the pieces of one version of a file: what bytes are verified against. Mostly of all pieces; those of
/// [`PieceHashes::growing`] become known block by block.
#[derive(Debug, Clone)]
pub struct PieceHashes {
    layout: Layout,
    hashes: Box<[Digest]>,
    upper: Upper,
    root: Digest,
    is_told: bool,
    parts: Option<Arc<Parts>>,
}

/// What is known of growing ones. Takes memory for what was verified, not for what was announced; but for a few bytes for
/// each block before the last known.
type Parts = RwLock<Known>;

#[derive(Debug, Default)]
struct Known {
    /// By number of the [`BLOCK`]; empty: not known.
    blocks: Vec<Box<[Digest]>>,
    /// How many are.
    count: u32,
    /// Of blocks of which no more is known: their numbers, in order, and roots. They are few, and soon replaced by more.
    roots: Vec<(u32, Digest)>,
}

impl Known {
    fn block(&self, number: u32) -> &[Digest] {
        self.blocks.get(number as usize).map_or(&[], |block| block)
    }

    fn insert(&mut self, number: u32, hashes: &[Digest]) {
        let at = number as usize;
        if self.blocks.len() <= at {
            self.blocks.resize(at + 1, Box::default());
        }
        if self.blocks[at].is_empty() {
            self.blocks[at] = hashes.into();
            self.count += 1;
        }
        if let Ok(at) = self.find_root(number) {
            self.roots.remove(at);
        }
    }

    /// Where the root of a block is, or where it belongs.
    fn find_root(&self, number: u32) -> Result<usize, usize> {
        self.roots.binary_search_by_key(&number, |&(block, _)| block)
    }
}

impl PartialEq for PieceHashes {
    /// Whether they belong to the same version; what is known of them does not matter.
    fn eq(&self, other: &Self) -> bool {
        (self.layout, self.root, self.is_told) == (other.layout, other.root, other.is_told)
    }
}

impl Eq for PieceHashes {}

impl PieceHashes {
    /// From hashes computed here. `None` where their number does not fit the layout.
    pub fn new(layout: Layout, hashes: Vec<Digest>) -> Option<Self> {
        (hashes.len() == layout.count() as usize).then(|| {
            let upper = Upper::of(&hashes);
            let root = upper.root().unwrap_or_else(|| merkle_root(&hashes));
            Self { upper, hashes: hashes.into(), ..Self::known_by_root(layout, root) }
        })
    }

    /// Of a version of which only the root is known: what belongs to it is found out by [`PieceHashes::learn`].
    pub fn growing(layout: Layout, root: Digest) -> Self {
        Self { parts: Some(Arc::default()), ..Self::known_by_root(layout, root) }
    }

    fn known_by_root(layout: Layout, root: Digest) -> Self {
        Self { layout, hashes: Box::default(), upper: Upper::default(), root, is_told: true, parts: None }
    }

    /// From hashes somebody sent: `None` unless they are those of `root`.
    pub fn verified(layout: Layout, hashes: Vec<Digest>, root: &Digest) -> Option<Self> {
        Self::new(layout, hashes).filter(|this| this.root == *root)
    }

    /// Of a file of one piece, whose root is all that needs to be known: [`PieceHashes::is_right`] compares
    /// [`root_of_single`] of what came. [`PieceHashes::all`] is empty then. `None` for a layout of other than one
    /// piece.
    pub fn from_single_root(layout: Layout, root: Digest) -> Option<Self> {
        (layout.count() == 1).then(|| Self::known_by_root(layout, root))
    }

    /// Of a version whose hashes nobody tells (servers of version 2 only judge): no piece is right, and the root stands
    /// for nothing.
    pub fn untold(layout: Layout) -> Self {
        Self { is_told: false, ..Self::known_by_root(layout, Digest::default()) }
    }

    /// Whether they are known at all.
    pub fn is_told(&self) -> bool {
        self.is_told
    }

    /// How the file is cut.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Names the version.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// All of them, in order; empty when made by [`PieceHashes::from_single_root`] or [`PieceHashes::growing`].
    pub fn all(&self) -> &[Digest] {
        &self.hashes
    }

    /// That of one piece, if it is known as such.
    pub fn get(&self, piece: u32) -> Option<Digest> {
        let Some(parts) = &self.parts else { return self.hashes.get(piece as usize).copied() };
        let parts = parts.read().unwrap_or_else(PoisonError::into_inner);
        parts.block(piece / BLOCK).get((piece % BLOCK) as usize).copied()
    }

    /// The first of these pieces whose hash is still to be learned.
    pub fn first_unknown(&self, pieces: Range<u32>) -> Option<u32> {
        let parts = self.parts.as_ref()?.read().unwrap_or_else(PoisonError::into_inner);
        let pieces = pieces.start..pieces.end.min(self.layout.count());
        let mut blocks = pieces.start / BLOCK..pieces.end.div_ceil(BLOCK);
        // Of no pieces there may be half a block.
        let unknown = blocks.find(|&block| !pieces.is_empty() && parts.block(block).is_empty())?;
        Some(pieces.start.max(unknown * BLOCK))
    }

    /// How many are known, whole blocks counted.
    pub fn known(&self) -> u32 {
        match &self.parts {
            Some(parts) => parts.read().unwrap_or_else(PoisonError::into_inner).count * BLOCK,
            None => self.layout.count(),
        }
    }

    /// The hashes of a block of `size` from `first` on, with their [proof](PieceHashes::prove): `false`, and nothing is
    /// believed, unless they belong to this version. Blocks smaller than [`BLOCK`] are not taken.
    pub fn learn(&self, first: u32, size: u32, hashes: &[Digest], proof: &[Digest]) -> bool {
        let Some(parts) = &self.parts else { return false };
        let is_good =
            size >= BLOCK && proof::proves(self.layout.count(), first, size, hashes, proof, &self.root);
        if is_good {
            let mut parts = parts.write().unwrap_or_else(PoisonError::into_inner);
            for (block, hashes) in (first / BLOCK..).zip(hashes.chunks(BLOCK as usize)) {
                parts.insert(block, hashes);
            }
        }
        is_good
    }

    /// The first from `from` on of these pieces that could not be judged even if all of them came: its hash is not known, nor
    /// the root of its [`BLOCK`], with all of that among them.
    pub fn first_unverifiable(&self, pieces: Range<u32>, from: u32) -> Option<u32> {
        let from = from.max(pieces.start);
        let unknown = self.first_unknown(from..pieces.end)?;
        let parts = self.parts.as_ref()?.read().unwrap_or_else(PoisonError::into_inner);
        let pieces = pieces.start..pieces.end.min(self.layout.count());
        let is_good = |block: u32| {
            let all = self.pieces_of(block);
            let is_whole = pieces.start <= all.start && all.end <= pieces.end;
            !parts.block(block).is_empty() || is_whole && parts.find_root(block).is_ok()
        };
        let bad = (unknown / BLOCK..pieces.end.div_ceil(BLOCK)).find(|&block| !is_good(block))?;
        Some(from.max(bad * BLOCK))
    }

    /// The pieces of a [`BLOCK`], by its number.
    pub fn pieces_of(&self, block: u32) -> Range<u32> {
        let first = block.saturating_mul(BLOCK).min(self.layout.count());
        first..first.saturating_add(BLOCK).min(self.layout.count())
    }

    /// The roots of each [`BLOCK`] in a block of `size` from `first` on, with its [proof](PieceHashes::prove): as
    /// [`PieceHashes::learn`]. Of a block of which more is known they are nothing new.
    pub fn learn_roots(&self, first: u32, size: u32, roots: &[Digest], proof: &[Digest]) -> bool {
        let Some(parts) = &self.parts else { return false };
        let is_good = proof::proves_roots(self.layout.count(), first, size, roots, proof, &self.root);
        if is_good {
            let mut parts = parts.write().unwrap_or_else(PoisonError::into_inner);
            for (block, root) in (first / BLOCK..).zip(roots) {
                if parts.block(block).is_empty()
                    && let Err(at) = parts.find_root(block)
                {
                    parts.roots.insert(at, (block, *root));
                }
            }
        }
        is_good
    }

    /// The hashes of a [`BLOCK`] of which only the root is known: `false`, and nothing is believed, unless it is theirs.
    pub fn learn_below_root(&self, block: u32, hashes: &[Digest]) -> bool {
        let Some(parts) = &self.parts else { return false };
        let mut parts = parts.write().unwrap_or_else(PoisonError::into_inner);
        if !parts.block(block).is_empty() {
            // Somebody has told them meanwhile.
            return parts.block(block) == hashes;
        }
        let is_good = hashes.len() == self.pieces_of(block).len()
            && parts.find_root(block).is_ok_and(|at| parts.roots[at].1 == merkle_root(hashes));
        if is_good {
            parts.insert(block, hashes);
        }
        is_good
    }

    /// Whether of the [`BLOCK`] with that piece no more is known than its root.
    pub fn knows_root_only(&self, piece: u32) -> bool {
        self.parts.as_ref().is_some_and(|parts| {
            let parts = parts.read().unwrap_or_else(PoisonError::into_inner);
            parts.find_root(piece / BLOCK).is_ok()
        })
    }

    /// What [`PieceHashes::learn_roots`] takes. `None` if there is no such block, or not all hashes are known.
    pub fn roots(&self, first: u32, size: u32) -> Option<Vec<Digest>> {
        let has_all = self.hashes.len() == self.layout.count() as usize;
        if has_all { self.upper.roots(&self.hashes, first, size) } else { None }
    }

    /// What proves that a block of `size` (a power of two) from `first` (a multiple of it) on belongs to this version:
    /// the hashes beside its way up to the root. `None` if there is no such block, or not all hashes are known.
    pub fn prove(&self, first: u32, size: u32) -> Option<Vec<Digest>> {
        let has_all = self.hashes.len() == self.layout.count() as usize;
        if has_all { self.upper.prove(&self.hashes, first, size) } else { None }
    }

    /// Whether `digest` is that of `piece`.
    pub fn is_right(&self, piece: u32, digest: &Digest) -> bool {
        match self.get(piece) {
            Some(right) => right == *digest,
            None => {
                self.is_told
                    && self.parts.is_none()
                    && piece == 0
                    && self.layout.count() == 1
                    && self.root == root_of_single(digest)
            }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::content::PieceSize;
    use crate::wire::limits::{MAX_PIECES, MIN_PIECE_SIZE};

    fn pieces(count: u32) -> Vec<Digest> {
        (0..count).map(|i| hash_piece(format!("piece {i}").as_bytes())).collect()
    }

    fn layout(size: u64) -> Layout {
        Layout::new(size, PieceSize::new(MIN_PIECE_SIZE).unwrap()).unwrap()
    }

    /// The vectors are made by tests/vectors/make_merkle.py, which shares no code and no algorithm with this.
    #[test]
    fn roots_equal_those_of_another_implementation() {
        #[derive(serde::Deserialize)]
        struct Vector {
            pieces: u32,
            root: Digest,
        }
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../tests/vectors/merkle.json")).unwrap();
        assert!(vectors.len() > 20);
        for Vector { pieces: count, root } in vectors {
            assert_eq!(merkle_root(&pieces(count)), root, "{count} pieces");
        }
    }

    #[test]
    fn roots_of_nothing_and_of_one() {
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(merkle_root(&[]).to_string(), nothing);
        let piece = hash_piece(b"x");
        assert_eq!(merkle_root(&[piece]), hash_piece(&[&[0][..], &piece.0].concat()));
        assert_eq!(merkle_root(&[piece]), root_of_single(&piece));
        let (a, b) = (root_of_single(&piece), root_of_single(&hash_piece(b"y")));
        assert_eq!(merkle_root(&[piece, hash_piece(b"y")]), hash_piece(&[&[1][..], &a.0, &b.0].concat()));
    }

    #[test]
    fn a_million_pieces() {
        let leaf = hash_piece(b"same");
        let count = 1usize << 20;
        // Of equal leaves a perfect tree is known level by level.
        let expected = (0..20).fold(root_of_single(&leaf), |below, _| node(&below, &below));
        assert_eq!(merkle_root(&vec![leaf; count]), expected);
        assert!(count <= MAX_PIECES as usize);
    }

    #[test]
    fn hashes_must_fit_the_layout_and_the_root() {
        let size = 3 * u64::from(MIN_PIECE_SIZE);
        let three = pieces(3);
        let root = merkle_root(&three);
        let good = PieceHashes::verified(layout(size), three.clone(), &root).unwrap();
        assert_eq!((good.root(), good.all(), good.layout()), (root, &three[..], layout(size)));
        assert!(good.is_right(2, &three[2]) && !good.is_right(2, &three[1]) && !good.is_right(3, &three[2]));
        assert!(!good.is_right(u32::MAX, &three[2]));

        assert_eq!(PieceHashes::new(layout(size + 1), three.clone()), None);
        assert_eq!(PieceHashes::new(layout(size), pieces(4)), None);
        let mut swapped = three.clone();
        swapped.swap(0, 1);
        assert_eq!(PieceHashes::verified(layout(size), swapped, &root), None);
        assert_eq!(PieceHashes::verified(layout(size), three, &Digest::default()), None);
        let empty = PieceHashes::new(layout(0), vec![]).unwrap();
        assert!(!empty.is_right(0, &Digest::default()));
    }

    #[test]
    fn a_small_file_is_known_by_its_root() {
        let piece = hash_piece(b"small");
        let by_root = PieceHashes::from_single_root(layout(5), root_of_single(&piece)).unwrap();
        assert!(by_root.is_right(0, &piece) && !by_root.is_right(1, &piece));
        assert!(!by_root.is_right(0, &hash_piece(b"other")));
        assert!(by_root.all().is_empty());
        let root = root_of_single(&piece);
        assert_eq!(PieceHashes::from_single_root(layout(0), root), None);
        assert_eq!(PieceHashes::from_single_root(layout(u64::from(MIN_PIECE_SIZE) + 1), root), None);
    }

    #[test]
    fn hashes_become_known_block_by_block() {
        let count = 200;
        let all = pieces(count);
        let layout = layout(u64::from(count) * u64::from(MIN_PIECE_SIZE));
        let whole = PieceHashes::new(layout, all.clone()).unwrap();
        let growing = PieceHashes::growing(layout, whole.root());
        assert_eq!((growing.root(), growing.known(), growing.is_told()), (whole.root(), 0, true));
        assert_eq!(growing.first_unknown(0..count), Some(0));
        assert!(!growing.is_right(0, &all[0]) && growing.all().is_empty());
        assert_eq!(growing.prove(0, 64), None);

        let learn = |first: u32, size: u32| {
            let end = count.min(first + size);
            growing.learn(first, size, &all[first as usize..end as usize], &whole.prove(first, size).unwrap())
        };
        assert!(learn(64, 64));
        assert_eq!(growing.known(), 64);
        assert!((64..128).all(|piece| growing.is_right(piece, &all[piece as usize])));
        assert!(!growing.is_right(63, &all[63]) && !growing.is_right(128, &all[128]));
        assert!(!growing.is_right(64, &all[65]));
        assert_eq!(growing.first_unknown(64..128), None);
        assert_eq!(growing.first_unknown(64..129), Some(128));
        assert_eq!(growing.first_unknown(10..128), Some(10));
        assert_eq!((growing.first_unknown(10..10), growing.first_unknown(count..count + 5)), (None, None));

        // Not a word of what does not belong to it, or is too small.
        assert!(!growing.learn(0, 64, &all[64..128], &whole.prove(0, 64).unwrap()));
        assert!(!growing.learn(0, 64, &all[..64], &whole.prove(64, 64).unwrap()));
        assert!(!learn(0, 8));
        assert_eq!((growing.known(), growing.get(0), growing.get(64)), (64, None, Some(all[64])));

        // The last is not full; what is known already is nothing new.
        assert!(learn(128, 128) && learn(0, 128));
        assert_eq!(growing.first_unknown(0..u32::MAX), None);
        assert!((0..count).all(|piece| growing.get(piece) == Some(all[piece as usize])));
        assert_eq!(growing.get(count), None);
        assert!(!whole.learn(0, 64, &all[..64], &whole.prove(0, 64).unwrap()), "there is nothing to learn");
    }

    #[test]
    fn a_single_block_is_its_own_proof() {
        let all = pieces(64);
        let layout = layout(64 * u64::from(MIN_PIECE_SIZE));
        let growing = PieceHashes::growing(layout, merkle_root(&all));
        assert!(growing.learn(0, 128, &all, &[]));
        assert_eq!(growing.first_unknown(0..64), None);
    }

    #[test]
    fn an_empty_file_has_a_root_all_the_same() {
        let growing = |root| PieceHashes::growing(layout(0), root);
        assert!(growing(merkle_root(&[])).learn(0, 64, &[], &[]));
        assert!(!growing(Digest::default()).learn(0, 64, &[], &[]));
        assert_eq!(growing(Digest::default()).first_unknown(0..1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_stream_is_hashed_alike_in_any_portions(
            size in prop_oneof![0usize..100_000, Just(0), Just(16384), Just(16385), Just(32768)],
            portions in proptest::collection::vec(1usize..40_000, 1..30),
        ) {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            let expected: Vec<_> = bytes.chunks(MIN_PIECE_SIZE as usize).map(hash_piece).collect();
            let mut hasher = PieceHasher::new(&layout(size as u64));
            let (mut found, mut rest) = (Vec::new(), &bytes[..]);
            for portion in portions.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(rest.len().min(*portion));
                hasher.update(now, |digest| found.push(digest));
                rest = later;
            }
            found.extend(hasher.finish());
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(hasher.finish(), None);
            // It can be used for the next file.
            hasher.update(&bytes, |_| ());
            prop_assert_eq!(hasher.finish().is_some(), size % MIN_PIECE_SIZE as usize != 0);
        }
    }
}
