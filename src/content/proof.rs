//! Piece hashes verified in parts: a block of them, and the hashes beside its way up to the root.
//!
//! In the trees of RFC 9162 every run of leaves from k·2^j on, 2^j of them or as many as there are, is one subtree. So
//! blocks of piece hashes are verified by the inclusion proofs of its section 2.1.3, with the blocks' roots in the place
//! of leaves. Level by level: two neighbours make a node of the next level, and a last one without a neighbour is there
//! what it was here.
//!
//! Nothing in such a proof says how many leaves the tree has: that is taken from elsewhere (docs/security.md).

use super::merkle_root;
use super::tree::{join, node};
use crate::wire::{Digest, limits};

/// Hashes that are kept, and told, together at least, or else their root.
pub const BLOCK: u32 = limits::ROOT_PIECES;

/// The part of a tree from the roots of [`BLOCK`]s upwards: of a large file proofs are then looked up and not hashed, for
/// an eighth of the memory that its piece hashes take.
#[derive(Debug, Clone, Default)]
pub(super) struct Upper(Box<[Box<[Digest]>]>);

impl Upper {
    /// Of the tree over these; nothing if they are a single block.
    pub(super) fn of(pieces: &[Digest]) -> Self {
        let mut levels = Vec::new();
        if pieces.len() > BLOCK as usize {
            let mut level: Box<[Digest]> = pieces.chunks(BLOCK as usize).map(merkle_root).collect();
            while level.len() > 1 {
                let next = level.chunks(2).map(join).collect();
                levels.push(std::mem::replace(&mut level, next));
            }
            levels.push(level);
        }
        Self(levels.into())
    }

    /// The root, if it is more than a block's.
    pub(super) fn root(&self) -> Option<Digest> {
        self.0.last()?.first().copied()
    }

    /// The roots of each [`BLOCK`] in a block of `size`, from `first` on. `None` if there is no such block, or it is smaller.
    pub(super) fn roots(&self, pieces: &[Digest], first: u32, size: u32) -> Option<Vec<Digest>> {
        let length = length_of_block(pieces.len() as u32, first, size).filter(|_| size >= BLOCK)?;
        let blocks = (first / BLOCK) as usize..(first + length).div_ceil(BLOCK) as usize;
        match self.0.first() {
            Some(all) => all.get(blocks).map(<[_]>::to_vec),
            None => Some(vec![merkle_root(pieces)]),
        }
    }

    /// The hashes beside the way from a block of `size` to the root, from below. `pieces` are those that this was made
    /// of. `None` if there is no such block.
    pub(super) fn prove(&self, pieces: &[Digest], first: u32, size: u32) -> Option<Vec<Digest>> {
        length_of_block(pieces.len() as u32, first, size)?;
        let mut proof = Vec::new();
        if size < BLOCK {
            let around = pieces.chunks(BLOCK as usize).nth((first / BLOCK) as usize)?;
            let mut level: Vec<Digest> = around.chunks(size as usize).map(merkle_root).collect();
            let mut at = (first % BLOCK / size) as usize;
            while level.len() > 1 {
                proof.extend(level.get(at ^ 1));
                level = level.chunks(2).map(join).collect();
                at /= 2;
            }
        }
        let width = size.max(BLOCK);
        let mut at = (first / width) as usize;
        for level in self.0.iter().skip((width / BLOCK).ilog2() as usize) {
            proof.extend(level.get(at ^ 1));
            at /= 2;
        }
        Some(proof)
    }
}

/// How many pieces there are from `first` on in a block of `size`, of a file of `pieces`. `None` if that is no block; a
/// file of none is one.
fn length_of_block(pieces: u32, first: u32, size: u32) -> Option<u32> {
    (size.is_power_of_two() && first.is_multiple_of(size) && (first < pieces || first == 0))
        .then(|| size.min(pieces - first))
}

/// Whether `hashes` are those of the block of `size` from `first` on, of a tree over `pieces` with this root.
pub(super) fn proves(
    pieces: u32,
    first: u32,
    size: u32,
    hashes: &[Digest],
    proof: &[Digest],
    root: &Digest,
) -> bool {
    if length_of_block(pieces, first, size).is_none_or(|length| length as usize != hashes.len()) {
        return false;
    }
    leads_to(pieces, first, size, merkle_root(hashes), proof, root)
}

/// The same for the roots of each [`BLOCK`] in the block, instead of its hashes.
pub(super) fn proves_roots(
    pieces: u32,
    first: u32,
    size: u32,
    roots: &[Digest],
    proof: &[Digest],
    root: &Digest,
) -> bool {
    let length = length_of_block(pieces, first, size).filter(|_| size >= BLOCK);
    if length.is_none_or(|length| length.div_ceil(BLOCK) as usize != roots.len()) || roots.is_empty() {
        return false;
    }
    let mut level = roots.to_vec();
    while level.len() > 1 {
        level = level.chunks(2).map(join).collect();
    }
    leads_to(pieces, first, size, level[0], proof, root)
}

/// Whether `here`, the root of that block, is below this root.
fn leads_to(pieces: u32, first: u32, size: u32, mut here: Digest, proof: &[Digest], root: &Digest) -> bool {
    let mut proof = proof.iter();
    let (mut at, mut count) = (first / size, pieces.div_ceil(size));
    while count > 1 {
        let has_neighbour = at ^ 1 < count;
        if has_neighbour {
            let Some(beside) = proof.next() else { return false };
            here = if at & 1 == 1 { node(beside, &here) } else { node(&here, beside) };
        }
        at /= 2;
        count = count.div_ceil(2);
    }
    proof.next().is_none() && here == *root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::content::hash_piece;

    fn pieces(count: u32) -> Vec<Digest> {
        (0..count).map(|i| hash_piece(format!("piece {i}").as_bytes())).collect()
    }

    /// See `roots_equal_those_of_another_implementation`: the same script, which splits where this joins.
    #[test]
    fn proofs_equal_those_of_another_implementation() {
        #[derive(serde::Deserialize)]
        struct Vector {
            pieces: u32,
            first: u32,
            count: u32,
            proof: Vec<Digest>,
        }
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../tests/vectors/merkle_proofs.json")).unwrap();
        assert!(vectors.len() > 80);
        for Vector { pieces: all, first, count, proof } in vectors {
            let all = pieces(all);
            let upper = Upper::of(&all);
            assert_eq!(
                upper.prove(&all, first, count).as_ref(),
                Some(&proof),
                "{first} + {count} of {}",
                all.len()
            );
            let block = &all[first as usize..all.len().min((first + count) as usize)];
            assert!(proves(all.len() as u32, first, count, block, &proof, &merkle_root(&all)));
        }
    }

    #[test]
    fn every_block_of_every_size_is_proved() {
        for count in [1, 2, 3, 5, 63, 64, 65, 127, 128, 129, 191, 192, 193, 300, 512, 1000, 1025, 2049] {
            let all = pieces(count);
            let (upper, root) = (Upper::of(&all), merkle_root(&all));
            assert!(upper.root().is_none_or(|top| top == root));
            for size in (0..=12).map(|log| 1u32 << log) {
                for (first, block) in (0..).step_by(size as usize).zip(all.chunks(size as usize)) {
                    let proof = upper.prove(&all, first, size).unwrap();
                    assert!(proves(count, first, size, block, &proof, &root), "{first} + {size} of {count}");
                    assert!(proof.len() <= crate::wire::limits::MAX_PROOF);
                }
                assert_eq!(upper.prove(&all, count.next_multiple_of(size), size), None);
            }
        }
    }

    #[test]
    fn roots_of_blocks_are_proved_as_their_hashes_are() {
        for count in [1, 5, 16, 17, 31, 33, 64, 100, 129, 300, 512, 1000] {
            let all = pieces(count);
            let (upper, root) = (Upper::of(&all), merkle_root(&all));
            for size in (4..=10).map(|log| 1u32 << log) {
                for (first, block) in (0..).step_by(size as usize).zip(all.chunks(size as usize)) {
                    let proof = upper.prove(&all, first, size).unwrap();
                    let roots = upper.roots(&all, first, size).unwrap();
                    assert_eq!(roots, block.chunks(BLOCK as usize).map(merkle_root).collect::<Vec<_>>());
                    assert!(
                        proves_roots(count, first, size, &roots, &proof, &root),
                        "{first} + {size} of {count}"
                    );
                    assert!(!proves_roots(count, first, size, &roots[1..], &proof, &root));
                    assert!(!proves_roots(
                        count,
                        first,
                        size,
                        &[&roots[..], &[root]].concat(),
                        &proof,
                        &root
                    ));
                    assert!(!proves_roots(count, first + size, size, &roots, &proof, &root));
                    let mut wrong = roots.clone();
                    wrong[0].0[0] ^= 1;
                    assert!(!proves_roots(count, first, size, &wrong, &proof, &root));
                }
                assert_eq!(upper.roots(&all, count.next_multiple_of(size), size), None);
            }
            assert_eq!(upper.roots(&all, 0, BLOCK / 2), None, "that is no block of blocks");
            assert!(!proves_roots(count, 0, BLOCK / 2, &[], &[], &root));
        }
        assert!(!proves_roots(0, 0, BLOCK, &[], &[], &merkle_root(&[])));
    }

    #[test]
    fn what_is_no_block_is_not_proved() {
        let all = pieces(300);
        let (upper, root) = (Upper::of(&all), merkle_root(&all));
        for (first, size) in
            [(0, 0), (0, 3), (1, 2), (32, 64), (64, 48), (320, 64), (u32::MAX, 1), (1 << 31, 1 << 31)]
        {
            assert_eq!(upper.prove(&all, first, size), None, "{first} + {size}");
            assert!(!proves(300, first, size, &all, &[], &root));
            assert!(!proves(300, first, size, &[], &[], &root));
        }
        assert!(proves(0, 0, 64, &[], &[], &merkle_root(&[])) && !proves(0, 64, 64, &[], &[], &root));
        assert!(proves(300, 0, 512, &all, &[], &root));
        assert!(proves(300, 0, 1 << 31, &all, &[], &root));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_else_is_proved(
            count in 1u32..700,
            log in 0u32..11,
            at in any::<prop::sample::Index>(),
            spoil in any::<prop::sample::Index>(),
            bit in 0usize..256,
            others in 1u32..5000,
        ) {
            let all = pieces(count);
            let (upper, root) = (Upper::of(&all), merkle_root(&all));
            let size = 1 << log;
            let blocks: Vec<_> = all.chunks(size as usize).collect();
            let index = at.index(blocks.len());
            let (first, block) = (index as u32 * size, blocks[index]);
            let proof = upper.prove(&all, first, size).unwrap();
            prop_assert!(proves(count, first, size, block, &proof, &root));

            // A bit of anything.
            let spoilt = |all: &[Digest]| {
                let mut all = all.to_vec();
                let at = spoil.index(all.len());
                all[at].0[bit / 8] ^= 1 << (bit % 8);
                all
            };
            prop_assert!(!proves(count, first, size, &spoilt(block), &proof, &root));
            prop_assert!(!proves(count, first, size, block, &proof, &spoilt(&[root])[0]));
            if !proof.is_empty() {
                prop_assert!(!proves(count, first, size, block, &spoilt(&proof), &root));
                prop_assert!(!proves(count, first, size, block, &proof[1..], &root));
                prop_assert!(!proves(count, first, size, block, &proof[..proof.len() - 1], &root));
            }
            // Too much or too little, in another place, in another order.
            prop_assert!(!proves(count, first, size, block, &[&proof[..], &[root]].concat(), &root));
            prop_assert!(!proves(count, first, size, &block[1..], &proof, &root));
            prop_assert!(!proves(count, first, size, &[block, &[root]].concat(), &proof, &root));
            for other in (0..blocks.len()).filter(|&other| other != index) {
                prop_assert!(!proves(count, other as u32 * size, size, block, &proof, &root));
            }
            if block.len() > 1 {
                let mut turned = block.to_vec();
                turned.reverse();
                prop_assert!(!proves(count, first, size, &turned, &proof, &root));
            }
            // Whatever is claimed of the tree: no panic, and as many hashes as fit what is claimed.
            let _ = proves(others, first, size, block, &proof, &root);
        }

        #[test]
        fn no_input_makes_it_panic(
            numbers in any::<(u32, u32, u32)>(),
            log in 0u32..32,
            hashes in 0usize..5,
            proof in 0usize..40,
        ) {
            let (pieces, first, size) = numbers;
            let digest = Digest([7; 32]);
            for size in [size, 1 << log] {
                for first in [first, first / size.max(1) * size] {
                    let (hashes, proof) = (vec![digest; hashes], vec![digest; proof]);
                    prop_assert!(!proves(pieces, first, size, &hashes, &proof, &digest));
                    let _ = proves_roots(pieces, first, size, &hashes, &proof, &digest);
                }
            }
        }
    }
}
