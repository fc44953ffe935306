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
