//! How many peers have, or are about to have, each piece of a file; and the rarest of any choice of pieces,
//! without looking at all of them.
//!
//! Pieces of one rarity class form a bit plane. The rarest candidate is found by intersecting the planes with the
//! candidates, rarest class first, 64 pieces at a time. Small counts have a class each; larger ones share a class
//! with those up to the next power of two, where the difference no longer matters. Origins do not count: a piece
//! only they have is the rarest there is.
//!
//! Of equals any is chosen, but what nobody has comes in order, in files of more than one word: then what peers have lies in long rows, of which a few
//! transfers bring much, and of the hashes of the pieces a few are enough to begin with.

use super::bits::{WORD, touched, words_for};
use super::dice::Dice;

/// Counts below this have a class of their own.
const EXACT: u32 = 16;

#[derive(Debug, Default)]
pub(super) struct Rarity {
    /// By piece; empty until something is counted.
    copies: Vec<u32>,
    /// By class; a plane not there is empty. Files of one word have none: there a look at each piece is as cheap.
    planes: Vec<Plane>,
    /// Index of a word; peers have all pieces of those before it.
    unseen_from: usize,
}

#[derive(Debug, Default)]
struct Plane {
    words: Vec<u64>,
    ones: u32,
}

fn class(copies: u32) -> usize {
    if copies < EXACT { copies as usize } else { (EXACT + (copies / EXACT).ilog2()) as usize }
}

impl Rarity {
    /// Frees everything; all counts are 0.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Copies there are or soon will be of `piece`.
    pub(super) fn copies(&self, piece: u32) -> u32 {
        self.copies.get(piece as usize).copied().unwrap_or(0)
    }

    /// The rarity class of `piece`, 0 = nobody has it.
    pub(super) fn class(&self, piece: u32) -> usize {
        class(self.copies(piece))
    }

    /// Whether there are pieces that nobody has, of `len`.
    pub(super) fn has_unseen(&self, len: u32) -> bool {
        self.unseen(len) > 0
    }

    /// How many of `len` pieces nobody has.
    pub(super) fn unseen(&self, len: u32) -> u32 {
        match self.planes.first() {
            Some(plane) => plane.ones,
            None if self.copies.is_empty() => len,
            None => self.copies.iter().filter(|&&copies| copies == 0).count() as u32,
        }
    }

    /// One more copy of `piece`, in a file of `len` pieces.
    pub(super) fn more(&mut self, piece: u32, len: u32) {
        self.prepare(len);
        let copies = self.copies(piece);
        self.set(piece, copies + 1);
    }

    /// One copy fewer.
    pub(super) fn fewer(&mut self, piece: u32) {
        let copies = self.copies(piece);
        debug_assert!(copies > 0, "piece {piece} is counted down below nothing");
        if copies > 0 {
            self.set(piece, copies - 1);
        }
    }

    /// The rarest of the pieces in `candidates` (64 from `64 * index` on): the first of them that nobody has, or else any of
    /// the rarest.
    pub(super) fn rarest(&self, len: u32, candidates: impl Fn(usize) -> u64, dice: &mut Dice) -> Option<u32> {
        let words = words_for(len);
        if self.planes.is_empty() && words == 1 {
            return self.rarest_of_few(candidates(0), dice);
        }
        if let Some(unseen) = self.first_unseen(words, &candidates) {
            return Some(unseen);
        }
        let start = dice.below(words);
        let turn = dice.next() as u32 % WORD;
        let find = |plane: &dyn Fn(usize) -> u64| {
            (start..words).chain(0..start).find_map(|index| {
                let word = candidates(index) & plane(index);
                let bit = (word.rotate_right(turn).trailing_zeros() + turn) % WORD;
                (word != 0).then_some(index as u32 * WORD + bit)
            })
        };
        let mut seen = self.planes.iter().skip(1).filter(|plane| plane.ones > 0);
        seen.find_map(|plane| find(&|index| plane.words[index]))
    }

    fn first_unseen(&self, words: usize, candidates: &impl Fn(usize) -> u64) -> Option<u32> {
        let plane = self.planes.first();
        if plane.is_some_and(|plane| plane.ones == 0) {
            return None;
        }
        (self.unseen_from..words).find_map(|index| {
            let word = candidates(index) & plane.map_or(u64::MAX, |plane| plane.words[index]);
            (word != 0).then_some(index as u32 * WORD + word.trailing_zeros())
        })
    }

    fn rarest_of_few(&self, candidates: u64, dice: &mut Dice) -> Option<u32> {
        let turn = dice.next() as u32 % WORD;
        super::bits::ones(candidates.rotate_right(turn))
            .map(|bit| (bit + turn) % WORD)
            .min_by_key(|&piece| self.copies(piece))
    }

    fn prepare(&mut self, len: u32) {
        if self.copies.is_empty() {
            self.copies = vec![0; len as usize];
            if len > WORD {
                let words = words_for(len);
                let mut all = Plane { words: vec![0; words], ones: len };
                for index in touched(&(0..len)) {
                    all.words[index] = super::bits::mask(&(0..len), index);
                }
                self.planes = vec![all];
            }
        }
    }

    fn set(&mut self, piece: u32, copies: u32) {
        let before = class(std::mem::replace(&mut self.copies[piece as usize], copies));
        let after = class(copies);
        if before == after || self.planes.is_empty() {
            return;
        }
        let (index, bit) = ((piece / WORD) as usize, 1 << (piece % WORD));
        self.planes[before].words[index] &= !bit;
        self.planes[before].ones -= 1;
        while self.planes.len() <= after {
            self.planes.push(Plane::default());
        }
        let plane = &mut self.planes[after];
        if plane.words.is_empty() {
            plane.words = vec![0; words_for(self.copies.len() as u32)];
        }
        plane.words[index] |= bit;
        plane.ones += 1;
        if after == 0 {
            self.unseen_from = self.unseen_from.min(index);
        } else if before == 0 && index == self.unseen_from {
            let unseen = &self.planes[0];
            let rest = unseen.words[index..].iter().position(|&word| word != 0);
            self.unseen_from = rest.map_or(unseen.words.len(), |rest| index + rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equals_are_chosen_at_random() {
        for len in [64, 1000] {
            let mut rarity = Rarity::default();
            (0..len).for_each(|piece| rarity.more(piece, len));
            let mut dice = Dice::new(1);
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..200 {
                seen.insert(rarity.rarest(
                    len,
                    |index| super::super::bits::mask(&(0..len), index),
                    &mut dice,
                ));
            }
            assert!(seen.len() > 30, "{len}: {}", seen.len());
        }
    }

    #[test]
    fn what_nobody_has_comes_in_order() {
        let len = 1000;
        let mut rarity = Rarity::default();
        let mut dice = Dice::new(1);
        let all = |index| super::super::bits::mask(&(0..len), index);
        for piece in 0..len {
            assert_eq!(rarity.rarest(len, all, &mut dice), Some(piece));
            assert_eq!(rarity.unseen(len), len - piece);
            rarity.more(piece, len);
            // What others may have has no say.
            assert_eq!(
                rarity.rarest(len, |index| all(index) & 1, &mut dice).map(|piece| piece % 64),
                Some(0)
            );
        }
        // What everybody who had it has left with comes again.
        for piece in [900, 130, 7] {
            rarity.fewer(piece);
            assert_eq!(rarity.rarest(len, all, &mut dice), Some(piece));
        }
    }

    proptest! {
        #[test]
        fn the_rarest_candidate_is_found(
            len in prop_oneof![1u32..65, 65u32..300],
            ups in prop::collection::vec(0u32..300, 0..600),
            downs in prop::collection::vec(0u32..300, 0..300),
            candidates in prop::collection::vec(any::<u64>(), 5),
            seed: u64,
        ) {
            let mut rarity = Rarity::default();
            let mut model = vec![0u32; len as usize];
            for piece in ups.into_iter().filter(|&p| p < len) {
                rarity.more(piece, len);
                model[piece as usize] += 1;
            }
            for piece in downs {
                if model.get(piece as usize).is_some_and(|&n| n > 0) {
                    rarity.fewer(piece);
                    model[piece as usize] -= 1;
                }
            }
            let valid = |index: usize| candidates[index] & super::super::bits::mask(&(0..len), index);
            let found = rarity.rarest(len, valid, &mut Dice::new(seed));
            let best = (0..len)
                .filter(|p| valid((p / WORD) as usize) & (1 << (p % WORD)) != 0)
                .map(|p| class(model[p as usize]))
                .min();
            prop_assert_eq!(found.map(|p| class(model[p as usize])), best);
            if best == Some(0) && len > 64 {
                prop_assert_eq!(found, (0..len).find(|&p| {
                    model[p as usize] == 0 && valid((p / WORD) as usize) & (1 << (p % WORD)) != 0
                }));
            }
            if let Some(piece) = found {
                prop_assert!(valid((piece / WORD) as usize) & (1 << (piece % WORD)) != 0);
            }
        }
    }
}
