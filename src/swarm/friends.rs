//! Whom a peer has met: who has dialled whom, and how many strangers a peer may still dial.
//!
//! A client dials at most so many hosts that it has not dialled before in so much time (docs/protocol.md, section 8),
//! and refuses more. So in a large swarm everybody keeps to a circle of acquaintances that grows slowly. Between two
//! that have met, pieces go in both directions, whoever has dialled.

use super::cache::fetch;
use super::slab::Key;
use super::state::Peer;
use super::types::Time;

/// Strangers that a peer may dial at once, and the time in which one more is allowed, microseconds. A client allows 64
/// in any 10 s, so half of that at once and the other half over the 10 s is always within.
const STRANGERS: u16 = 32;
const ONE_MORE_US: u64 = 10_000_000 / 32;
/// Acquaintances kept.
pub(super) const MOST: usize = 64;

/// The acquaintances of one peer.
#[derive(Debug, Default)]
pub(super) struct Friends {
    /// Those after `len` are 0. One block from the start: in a swarm where there are any, there will be many.
    met: Option<Box<[Friend; MOST]>>,
    /// When `dialled` was right.
    at: Time,
    /// Strangers dialled and not yet made up for.
    dialled: u16,
    len: u16,
}

/// Which of two has dialled the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Met {
    /// This side.
    pub(super) out: bool,
    /// The other.
    pub(super) back: bool,
}

/// The key of a peer, and in the two highest bits, [`Met`]: many of these are looked through.
#[derive(Debug, Clone, Copy, Default)]
struct Friend(u32);

impl Friend {
    const OUT: u32 = 1 << 31;
    const BACK: u32 = 1 << 30;
    const KEY: u32 = Self::BACK - 1;

    fn peer(self) -> Key<Peer> {
        Key::from_number(self.0 & Self::KEY)
    }

    fn is(self, other: Key<Peer>) -> bool {
        self.0 & Self::KEY == other.number()
    }
}

impl Friends {
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    fn met_so_far(&self) -> &[Friend] {
        self.met.as_deref().map_or(&[], |met| &met[..self.len()])
    }

    pub(super) fn at(&self, place: usize) -> Key<Peer> {
        self.met_so_far()[place].peer()
    }

    /// Will be looked through soon.
    pub(super) fn fetch(&self) {
        fetch(self.met_so_far(), 4);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Key<Peer>> + '_ {
        self.met_so_far().iter().map(|friend| friend.peer())
    }

    /// Who of the two has dialled the other.
    pub(super) fn met(&self, other: Key<Peer>) -> Met {
        let known = self.met_so_far().iter().find(|friend| friend.is(other)).map_or(0, |friend| friend.0);
        Met { out: known & Friend::OUT != 0, back: known & Friend::BACK != 0 }
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
        let bit = if dials { Friend::OUT } else { Friend::BACK };
        let len = self.len();
        let met = self.met.get_or_insert_with(|| Box::new([Friend::default(); MOST]));
        let known = met[..len].iter_mut().find(|friend| friend.is(other));
        let is_news = dials && known.as_ref().is_none_or(|friend| friend.0 & Friend::OUT == 0);
        match known {
            Some(friend) => friend.0 |= bit,
            None if len == MOST => {
                debug_assert!(false, "nobody is brought together with one who knows that many")
            }
            None => {
                met[len] = Friend(other.number() | bit);
                self.len += 1;
            }
        }
        if is_news {
            let made_up_for = self.made_up_for(now);
            self.dialled -= made_up_for;
            self.at =
                if self.dialled == 0 { now } else { self.at.plus(u64::from(made_up_for) * ONE_MORE_US) };
            self.dialled += 1;
        }
    }

    /// `other` is gone.
    pub(super) fn forget(&mut self, other: Key<Peer>) {
        if let Some(place) = self.met_so_far().iter().position(|friend| friend.is(other)) {
            self.len -= 1;
            let len = self.len();
            if let Some(met) = &mut self.met {
                met[place] = met[len];
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
}
