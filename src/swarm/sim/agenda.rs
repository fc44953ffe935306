//! What is planned for when: a calendar queue (Brown, 1988). What comes within seconds lies in a ring of milliseconds, each
//! in no order until its turn has come; so putting something in costs the same among millions as among ten.

use std::collections::BinaryHeap;

/// Microseconds in a day of the calendar, and days in its ring.
const DAY: u64 = 1024;
const DAYS: u64 = 4096;

/// Things by the time they are planned for, earliest first; of those of one time, what was put in first comes first.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    /// Everything of this day and earlier.
    today: BinaryHeap<Entry<T>>,
    day: u64,
    /// The days after, by their number, without order.
    ring: Vec<Vec<Entry<T>>>,
    in_ring: usize,
    /// What is farther away than the ring reaches.
    far: BinaryHeap<Entry<T>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: u64,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl<T> Eq for Entry<T> {}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        let ring = (0..DAYS).map(|_| Vec::new()).collect();
        Self { today: BinaryHeap::new(), day: 0, ring, in_ring: 0, far: BinaryHeap::new(), next: 0 }
    }
}

impl<T> Agenda<T> {
    pub(super) fn push(&mut self, at: u64, what: T) {
        self.next += 1;
        self.put(Entry { at, number: self.next, what });
    }

    fn put(&mut self, entry: Entry<T>) {
        let day = entry.at / DAY;
        if day <= self.day {
            self.today.push(entry);
        } else if day < self.day + DAYS {
            self.ring[(day % DAYS) as usize].push(entry);
            self.in_ring += 1;
        } else {
            self.far.push(entry);
        }
    }

    /// The earliest, and its time.
    pub(super) fn peek(&mut self) -> Option<(u64, &T)> {
        while self.today.is_empty() {
            self.day = match self.far.peek() {
                _ if self.in_ring > 0 => self.day + 1,
                Some(first) => first.at / DAY,
                None => return None,
            };
            let entries = &mut self.ring[(self.day % DAYS) as usize];
            self.in_ring -= entries.len();
            self.today.extend(entries.drain(..));
            while self.far.peek().is_some_and(|first| first.at / DAY < self.day + DAYS) {
                if let Some(entry) = self.far.pop() {
                    self.put(entry);
                }
            }
        }
        self.today.peek().map(|entry| (entry.at, &entry.what))
    }

    /// Takes out what [`peek`](Self::peek) showed.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.today.pop().map(|entry| entry.what)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn things_come_in_the_order_they_are_planned_for(
            // Days are crossed, skipped, and left for farther ones than the ring holds.
            steps in prop::collection::vec((0u32..34, any::<u16>(), any::<bool>()), 1..300),
        ) {
            let mut agenda = Agenda::default();
            let mut model = std::collections::BTreeSet::new();
            let mut now = 0;
            for (number, (scale, ahead, take)) in steps.into_iter().enumerate() {
                let at = now + (u64::from(ahead) << scale >> 16);
                agenda.push(at, number);
                model.insert((at, number));
                if take {
                    let (first, &what) = agenda.peek().unwrap();
                    prop_assert_eq!(Some((first, what)), model.pop_first());
                    prop_assert_eq!(agenda.pop(), Some(what));
                    now = first;
                }
            }
            while let Some(expected) = model.pop_first() {
                prop_assert_eq!(agenda.peek().map(|(at, &what)| (at, what)), Some(expected));
                agenda.pop();
            }
            prop_assert!(agenda.peek().is_none());
        }
    }
}
