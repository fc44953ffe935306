//! Sets of pieces: which ones a peer has ([`Pieces`]) and which ones it wants ([`Ranges`]).
//!
//! Both can be read 64 pieces at a time, so that "what has the one that the other lacks" costs a handful of
//! machine words even for files of thousands of pieces. Not responsible for what the pieces mean.

use std::ops::Range;

/// Pieces in one word.
pub(super) const WORD: u32 = u64::BITS;

/// How many words hold `len` pieces.
pub(super) fn words_for(len: u32) -> usize {
    len.div_ceil(WORD) as usize
}

/// The part of `range` that falls into word `index`, as a mask.
pub(super) fn mask(range: &Range<u32>, index: usize) -> u64 {
    let base = index as u64 * u64::from(WORD);
    let from = u64::from(range.start).saturating_sub(base).min(64);
    let to = u64::from(range.end).saturating_sub(base).min(64);
    if from >= to {
        return 0;
    }
    (u64::MAX >> (64 - (to - from))) << from
}

/// The words that `range` touches.
pub(super) fn touched(range: &Range<u32>) -> Range<usize> {
    if range.is_empty() { 0..0 } else { (range.start / WORD) as usize..words_for(range.end) }
}

/// A set of pieces `0..len`, one bit each, and none at all while it is empty or full: most peers are either at a
/// beginning or at the end.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    /// Empty while the set is empty or full.
    words: Box<[u64]>,
    len: u32,
    ones: u32,
}

impl Pieces {
    /// None of `len` pieces.
    pub(super) fn new(len: u32) -> Self {
        Self { words: Box::default(), len, ones: 0 }
    }

    /// All of `len` pieces.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn full(len: u32) -> Self {
        Self { words: Box::default(), len, ones: len }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ones == 0
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn is_full(&self) -> bool {
        self.ones == self.len
    }

    pub(super) fn contains(&self, piece: u32) -> bool {
        piece < self.len && self.word((piece / WORD) as usize) & (1 << (piece % WORD)) != 0
    }

    /// 64 pieces from `64 * index` on; pieces that do not exist are not in the set.
    pub(super) fn word(&self, index: usize) -> u64 {
        match self.words.get(index) {
            Some(&word) => word,
            None if self.ones == self.len => mask(&(0..self.len), index),
            None => 0,
        }
    }

    /// The words there are: all of them, or none where the set is empty or full.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Adds `piece`; whether it is new.
    pub(super) fn insert(&mut self, piece: u32) -> bool {
        if piece >= self.len || self.contains(piece) {
            return false;
        }
        if self.ones + 1 == self.len {
            self.words = Box::default();
        } else {
            *self.word_mut(piece) |= 1 << (piece % WORD);
        }
        self.ones += 1;
        true
    }

    /// Takes `piece` out; whether it was in.
    pub(super) fn remove(&mut self, piece: u32) -> bool {
        if !self.contains(piece) {
            return false;
        }
        if self.ones == 1 {
            self.words = Box::default();
        } else {
            *self.word_mut(piece) &= !(1 << (piece % WORD));
        }
        self.ones -= 1;
        true
    }

    /// The pieces in the set, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..words_for(self.len))
            .flat_map(move |index| ones(self.word(index)).map(move |bit| index as u32 * WORD + bit))
    }

    fn word_mut(&mut self, piece: u32) -> &mut u64 {
        if self.words.is_empty() {
            self.words = (0..words_for(self.len)).map(|index| self.word(index)).collect();
        }
        &mut self.words[(piece / WORD) as usize]
    }
}

/// The positions of the ones in a word, ascending.
pub(super) fn ones(word: u64) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)))
        .take_while(|&word| word != 0)
        .map(u64::trailing_zeros)
}

/// A set of pieces as sorted, disjoint, not touching ranges: what a standing request asks for. How many there may
/// be is the driver's limit (`wire::limits`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Kept);

/// 16 bytes, of which a vector would take 24.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Kept {
    #[default]
    None,
    One(Range<u32>),
    #[expect(clippy::box_collection, reason = "most are one")]
    Many(Box<Vec<Range<u32>>>),
}

impl Ranges {
    fn as_slice(&self) -> &[Range<u32>] {
        match &self.0 {
            Kept::None => &[],
            Kept::One(range) => std::slice::from_ref(range),
            Kept::Many(ranges) => ranges,
        }
    }

    /// The ranges `from..to` make way for others.
    fn splice(&mut self, from: usize, to: usize, new: impl IntoIterator<Item = Range<u32>>) {
        let old = self.as_slice();
        let ranges: Vec<_> =
            old[..from].iter().cloned().chain(new).chain(old[to..].iter().cloned()).collect();
        self.0 = match <[_; 1]>::try_from(ranges) {
            Ok([range]) => Kept::One(range),
            Err(ranges) if ranges.is_empty() => Kept::None,
            Err(ranges) => Kept::Many(Box::new(ranges)),
        };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<u32>> {
        self.as_slice().iter()
    }

    pub(super) fn contains(&self, piece: u32) -> bool {
        let ranges = self.as_slice();
        let next = ranges.partition_point(|range| range.end <= piece);
        ranges.get(next).is_some_and(|range| range.start <= piece)
    }

    /// Adds a range, merging what touches.
    pub(super) fn insert(&mut self, mut range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        let ranges = self.as_slice();
        let from = ranges.partition_point(|r| r.end < range.start);
        let to = ranges.partition_point(|r| r.start <= range.end);
        if let Some(first) = ranges[from..to].first() {
            range.start = range.start.min(first.start);
        }
        if let Some(last) = ranges[from..to].last() {
            range.end = range.end.max(last.end);
        }
        self.splice(from, to, [range]);
    }

    /// Takes a range out.
    pub(super) fn remove(&mut self, range: &Range<u32>) {
        if range.is_empty() {
            return;
        }
        let ranges = self.as_slice();
        let from = ranges.partition_point(|r| r.end <= range.start);
        let to = ranges.partition_point(|r| r.start < range.end);
        if from >= to {
            return;
        }
        let left = ranges[from].start..range.start;
        let right = range.end..ranges[to - 1].end;
        self.splice(from, to, [left, right].into_iter().filter(|r| r.start < r.end));
    }

    /// Nothing, and no memory for it.
    pub(super) fn clear(&mut self) {
        self.0 = Kept::None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn masks_cut_at_both_ends() {
        assert_eq!(mask(&(0..64), 0), u64::MAX);
        assert_eq!(mask(&(0..64), 1), 0);
        assert_eq!(mask(&(60..70), 0), 0xf << 60);
        assert_eq!(mask(&(60..70), 1), 0x3f);
        assert_eq!(mask(&(5..5), 0), 0);
        assert_eq!(touched(&(63..65)), 0..2);
        assert_eq!(touched(&(64..64)), 0..0);
    }

    #[test]
    fn empty_and_full_sets_take_no_heap() {
        let mut set = Pieces::new(1000);
        (0..1000).for_each(|p| assert!(set.insert(p)));
        assert!(set.is_full() && set.words.is_empty());
        assert!(!set.insert(1000));
        (0..1000).for_each(|p| assert!(set.remove(p)));
        assert!(set.is_empty() && set.words.is_empty());
    }

    proptest! {
        #[test]
        fn pieces_are_a_set(len in 0u32..200, ops in prop::collection::vec((any::<bool>(), 0u32..210), 0..400)) {
            let mut set = Pieces::new(len);
            let mut model = BTreeSet::new();
            for (add, piece) in ops {
                if add {
                    prop_assert_eq!(set.insert(piece), piece < len && model.insert(piece));
                } else {
                    prop_assert_eq!(set.remove(piece), model.remove(&piece));
                }
                prop_assert_eq!(set.ones as usize, model.len());
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
        }

        #[test]
        fn ranges_are_a_set(ops in prop::collection::vec((any::<bool>(), 0u32..100, 0u32..30), 0..60)) {
            let mut set = Ranges::default();
            let mut model = BTreeSet::new();
            for (add, start, len) in ops {
                if add {
                    set.insert(start..start + len);
                    model.extend(start..start + len);
                } else {
                    set.remove(&(start..start + len));
                    (start..start + len).for_each(|p| { model.remove(&p); });
                }
                prop_assert!(set.iter().flat_map(|r| r.clone()).eq(model.iter().copied()));
                prop_assert!(set.as_slice().windows(2).all(|w| w[0].end < w[1].start));
            }
        }
    }
}
