use std::collections::BTreeMap;
use std::ops::Range;

/// A set of piece numbers as disjoint, non-adjacent ranges. What a client has standing requests for; how many ranges
/// there are is what the limit counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u32, u32>);

impl Ranges {
    /// Number of ranges.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    /// Adds pieces, joining ranges that touch.
    pub(crate) fn insert(&mut self, pieces: Range<u32>) {
        let Range { mut start, mut end } = pieces;
        if start >= end {
            return;
        }
        if let Some((&before, &before_end)) = self.0.range(..start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&inside, &inside_end)) = self.0.range(start..=end).next() {
            end = end.max(inside_end);
            self.0.remove(&inside);
        }
        self.0.insert(start, end);
    }

    /// Takes pieces out.
    pub(crate) fn remove(&mut self, pieces: Range<u32>) {
        let Range { start, end } = pieces;
        if start >= end {
            return;
        }
        if let Some((&before, &before_end)) = self.0.range(..start).next_back()
            && before_end > start
        {
            self.0.insert(before, start);
            if before_end > end {
                self.0.insert(end, before_end);
            }
        }
        while let Some((&inside, &inside_end)) = self.0.range(start..end).next() {
            self.0.remove(&inside);
            if inside_end > end {
                self.0.insert(end, inside_end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the obvious model: a list of booleans.
        #[test]
        fn agrees_with_a_plain_list(ops in prop::collection::vec((any::<bool>(), 0u32..60, 0u32..60), 0..60)) {
            let mut ranges = Ranges::default();
            let mut model = [false; 64];
            for (add, a, b) in ops {
                if add { ranges.insert(a..b) } else { ranges.remove(a..b) }
                for piece in a..b {
                    model[piece as usize] = add;
                }
                let mut runs = Vec::new();
                let mut start = None;
                for (i, &set) in model.iter().enumerate() {
                    match (set, start) {
                        (true, None) => start = Some(i as u32),
                        (false, Some(s)) => { runs.push((s, i as u32)); start = None; }
                        _ => {}
                    }
                }
                let have: Vec<_> = ranges.0.iter().map(|(&s, &e)| (s, e)).collect();
                prop_assert_eq!(have, runs);
            }
        }
    }
}
