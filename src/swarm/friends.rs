//! Whom a peer has met: who has dialled whom, and how many strangers a peer may still dial.
//!
//! A client dials at most so many hosts that it has not dialled before in so much time (docs/protocol.md, section 8),
//! and refuses more. So in a large swarm everybody keeps to a circle of acquaintances that grows slowly. Between two
//! that have met, pieces go in both directions, whoever has dialled.

use super::bits::ones;
use super::cache::fetch;
use super::slab::Key;
use super::state::Peer;
use super::types::Time;

/// Strangers that a peer may dial at once, and the time in which one more is allowed, microseconds. A client allows 64
/// in any 10 s, so half of that at once and the other half over the 10 s is always within.
const STRANGERS: u16 = 32;
const ONE_MORE_US: u64 = 10_000_000 / 32;
/// Acquaintances kept: with 64, which took twice the memory, swarms in the simulator were at most 1% faster on average.
pub(super) const MOST: usize = 32;
/// Peers whose keys a [`Circle`] has room for.
pub(super) const MOST_PEERS: usize = 1 << 24;

/// The acquaintances of one peer.
#[derive(Debug, Default)]
pub(super) struct Friends {
    /// All of it from the start: in a swarm where there are any, there will be many.
    met: Option<Box<Circle>>,
    /// When `dialled` was right.
    at: Time,
    /// Strangers dialled and not yet made up for.
    dialled: u16,
    len: u16,
}

/// Their keys, of 24 bits each, and who has dialled whom. Every peer of a large swarm has one, and is looked for in those
/// of others whenever the two might meet: it is small, and what most differ in, the lower half of the key, lies together.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Circle {
    /// A bit for each: dialled by this side.
    out: u32,
    /// By the other.
    back: u32,
    low: [u16; MOST],
    high: [u8; MOST],
}

/// What they take, beside what is in [`Friends`].
#[cfg(test)]
pub(super) const SIZE: usize = size_of::<Circle>();

impl Circle {
    const EMPTY: Self = Self { out: 0, back: 0, low: [0; MOST], high: [0; MOST] };

    fn at(&self, place: usize) -> Key<Peer> {
        Key::from_number(u32::from(self.high[place]) << 16 | u32::from(self.low[place]))
    }

    fn set(&mut self, place: usize, peer: Key<Peer>, Met { out, back }: Met) {
        let number = peer.number();
        debug_assert!((number as usize) < MOST_PEERS, "there are no more peers than that");
        (self.low[place], self.high[place]) = (number as u16, (number >> 16) as u8);
        for (bits, is_set) in [(&mut self.out, out), (&mut self.back, back)] {
            *bits = *bits & !(1 << place) | u32::from(is_set) << place;
        }
    }

    fn met(&self, place: usize) -> Met {
        Met { out: self.out >> place & 1 != 0, back: self.back >> place & 1 != 0 }
    }

    /// Where `other` is among the first `len`. All are compared, because that is one step for a processor with wide
    /// registers.
    fn find(&self, other: Key<Peer>, len: usize) -> Option<usize> {
        let (low, high) = (other.number() as u16, (other.number() >> 16) as u8);
        let alike = self.low.iter().zip(0..).fold(0, |bits, (&half, at)| bits | u32::from(half == low) << at);
        let alike = alike & ((1u64 << len) - 1) as u32;
        if alike == 0 {
            return None;
        }
        ones(alike.into()).map(|place| place as usize).find(|&place| self.high[place] == high)
    }
}

/// Which of two has dialled the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Met {
    /// This side.
    pub(super) out: bool,
    /// The other.
    pub(super) back: bool,
}

impl Friends {
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn at(&self, place: usize) -> Key<Peer> {
        self.met.as_ref().expect("there are none below a place of somebody").at(place)
    }

    /// Will be looked through soon.
    pub(super) fn fetch(&self) {
        if let Some(met) = &self.met {
            fetch(&**met, 3);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Key<Peer>> + '_ {
        self.met.iter().flat_map(|met| (0..self.len()).map(|place| met.at(place)))
    }

    /// Who of the two has dialled the other.
    pub(super) fn met(&self, other: Key<Peer>) -> Met {
        let Some(met) = &self.met else { return Met::default() };
        met.find(other, self.len()).map_or_else(Met::default, |place| met.met(place))
    }

    /// Whether the two have met.
    pub(super) fn knows(&self, other: Key<Peer>) -> bool {
        self.met.as_ref().is_some_and(|met| met.find(other, self.len()).is_some())
    }

    /// Whether one more stranger may be dialled.
    pub(super) fn may_dial(&self, now: Time) -> bool {
        self.made_up_for(now) > 0 || self.dialled < STRANGERS
    }

    fn made_up_for(&self, now: Time) -> u16 {
        if self.dialled == 0 {
            return 0;
        }
        u16::try_from(now.since(self.at) / ONE_MORE_US).unwrap_or(u16::MAX).min(self.dialled)
    }

    /// Notes that this side dials `other`, or is dialled by it.
    pub(super) fn meet(&mut self, other: Key<Peer>, dials: bool, now: Time) {
        let len = self.len();
        let circle = self.met.get_or_insert_with(|| Box::new(Circle::EMPTY));
        let known = circle.find(other, len);
        let before = known.map_or_else(Met::default, |place| circle.met(place));
        let is_news = dials && !before.out;
        match known.or((len < MOST).then_some(len)) {
            Some(place) => {
                circle.set(place, other, Met { out: before.out || dials, back: before.back || !dials });
                self.len += u16::from(place == len);
            }
            None => debug_assert!(false, "nobody is brought together with one who knows that many"),
        }
        if is_news {
            let made_up_for = self.made_up_for(now);
            self.dialled -= made_up_for;
            self.at =
                if self.dialled == 0 { now } else { self.at.plus(u64::from(made_up_for) * ONE_MORE_US) };
            self.dialled += 1;
        }
    }

    /// All are strangers again. How many of them may be dialled stays as it is.
    pub(super) fn clear(&mut self) {
        self.met = None;
        self.len = 0;
    }

    /// `other` is a stranger again.
    pub(super) fn forget(&mut self, other: Key<Peer>) {
        let len = self.len();
        if let Some(met) = &mut self.met
            && let Some(place) = met.find(other, len)
        {
            met.set(place, met.at(len - 1), met.met(len - 1));
            self.len -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::slab::Slab;
    use super::*;

    #[test]
    fn no_more_than_64_strangers_in_any_10_seconds() {
        let mut keys: Slab<u8> = Slab::default();
        let mut friends = Friends::default();
        let mut dialled: Vec<Time> = Vec::new();
        for step in 0..4000u64 {
            let now = Time(step * 10_000);
            // Busy at first, then idle for a while, then busy again.
            while !(1000..2500).contains(&step) && friends.may_dial(now) {
                let key = keys.insert(0);
                friends.meet(Key::cast(key), true, now);
                friends.forget(Key::cast(key));
                dialled.push(now);
            }
        }
        for (index, &at) in dialled.iter().enumerate() {
            let within = dialled[index..].iter().filter(|then| then.since(at) < 10_000_000).count();
            assert!(within <= 64, "{within} from {at:?} on");
        }
        assert!(dialled.len() > 96, "{}", dialled.len());
    }

    #[test]
    fn who_was_dialled_is_no_stranger_to_anybody() {
        let mut keys: Slab<u8> = Slab::default();
        let [one, other] = [(); 2].map(|()| Key::cast(keys.insert(0)));
        let mut friends = Friends::default();
        friends.meet(one, false, Time(0));
        assert_eq!(friends.met(one), Met { out: false, back: true });
        assert_eq!(friends.met(other), Met::default());
        friends.meet(one, true, Time(0));
        assert_eq!((friends.met(one), friends.dialled), (Met { out: true, back: true }, 1));
        friends.meet(one, true, Time(0));
        assert_eq!(friends.dialled, 1);
        friends.forget(one);
        assert_eq!((friends.met(one), friends.len()), (Met::default(), 0));
    }

    proptest! {
        /// Keys that differ in one half only, and in few values of that.
        #[test]
        fn a_circle_is_a_map(ops in prop::collection::vec((0u8..5, 0u32..5, 0u32..9), 0..400)) {
            let mut friends = Friends::default();
            let mut model = std::collections::BTreeMap::<u32, Met>::new();
            for (op, high, low) in ops {
                let number = high * 0x3f_ffff / 4 / 0x1_0000 * 0x1_0000 + low * 0x1fff;
                let key = Key::from_number(number);
                if op == 0 {
                    friends.forget(key);
                    model.remove(&number);
                } else if model.len() < MOST || model.contains_key(&number) {
                    friends.meet(key, op % 2 == 0, Time(0));
                    let met = model.entry(number).or_default();
                    *(if op % 2 == 0 { &mut met.out } else { &mut met.back }) = true;
                }
                prop_assert_eq!(friends.met(key), model.get(&number).copied().unwrap_or_default());
                let mut all: Vec<_> = (0..friends.len()).map(|place| friends.at(place)).collect();
                prop_assert!(friends.iter().eq(all.iter().copied()));
                all.sort_unstable();
                prop_assert!(all.iter().map(|key| key.number()).eq(model.keys().copied()));
                prop_assert!(all.iter().all(|&key| friends.met(key) == model[&key.number()]));
            }
        }
    }
}
