use std::ops::Range;

/// A set of piece indices, one bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceSet {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

impl PieceSet {
    /// The empty set over pieces `0..len`.
    pub fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len, ones: 0 }
    }

    /// Number of pieces there are, in the set or not.
    pub fn capacity(&self) -> u32 {
        self.len
    }

    /// Number of pieces in the set.
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// Whether every piece is in the set.
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Whether `piece` is in the set; false for one that does not exist.
    pub fn contains(&self, piece: u32) -> bool {
        piece < self.len && self.words[(piece / 64) as usize] & (1 << (piece % 64)) != 0
    }

    /// Adds `piece`; whether it is new. One that does not exist is ignored.
    pub fn insert(&mut self, piece: u32) -> bool {
        if piece >= self.len || self.contains(piece) {
            return false;
        }
        self.words[(piece / 64) as usize] |= 1 << (piece % 64);
        self.ones += 1;
        true
    }

    /// Takes `piece` out; whether it was in.
    pub fn remove(&mut self, piece: u32) -> bool {
        if !self.contains(piece) {
            return false;
        }
        self.words[(piece / 64) as usize] &= !(1 << (piece % 64));
        self.ones -= 1;
        true
    }

    /// The pieces in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip(0u32..).flat_map(|(&word, i)| {
            std::iter::successors((word != 0).then_some(word), |w| Some(w & (w - 1)).filter(|&w| w != 0))
                .map(move |w| i * 64 + w.trailing_zeros())
        })
    }

    /// The set as maximal runs of consecutive pieces, ascending.
    pub fn runs(&self) -> Vec<Range<u32>> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        for piece in self.iter() {
            match runs.last_mut() {
                Some(run) if run.end == piece => run.end += 1,
                _ => runs.push(piece..piece + 1),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edges() {
        let mut none = PieceSet::new(0);
        assert!(none.is_full() && !none.contains(0) && !none.insert(0) && !none.remove(0));
        assert_eq!((none.runs(), none.iter().count()), (vec![], 0));

        for len in [1, 63, 64, 65, 128, 129] {
            let mut set = PieceSet::new(len);
            assert!(!set.insert(len) && !set.insert(u32::MAX) && !set.contains(u32::MAX) && !set.remove(len));
            assert_eq!((set.count(), set.is_full(), set.capacity()), (0, false, len));
            assert!(set.insert(len - 1) && !set.insert(len - 1));
            assert_eq!(set.runs(), vec![len - 1..len]);
            (0..len).for_each(|piece| {
                set.insert(piece);
            });
            assert!(set.is_full());
            assert_eq!(set.runs(), vec![0..len]);
            assert!(set.remove(0) && !set.remove(0) && !set.is_full());
            assert_eq!(set.iter().collect::<Vec<_>>(), (1..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_largest_file_fits() {
        let most = crate::wire::limits::MAX_PIECES;
        let mut set = PieceSet::new(most);
        assert!(set.insert(most - 1) && set.contains(most - 1) && !set.contains(most));
        assert_eq!(set.iter().collect::<Vec<_>>(), [most - 1]);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(len in 0u32..200, changes in proptest::collection::vec((any::<bool>(), 0u32..220), 0..300)) {
            let (mut set, mut model) = (PieceSet::new(len), BTreeSet::new());
            for (insert, piece) in changes {
                if insert {
                    prop_assert_eq!(set.insert(piece), piece < len && model.insert(piece));
                } else {
                    prop_assert_eq!(set.remove(piece), model.remove(&piece));
                }
                prop_assert_eq!(set.contains(piece), model.contains(&piece));
                prop_assert_eq!(set.count() as usize, model.len());
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            let runs = set.runs();
            prop_assert!(runs.iter().cloned().flatten().eq(model.iter().copied()));
            prop_assert!(runs.windows(2).all(|w| w[0].end < w[1].start));
        }
    }
}
