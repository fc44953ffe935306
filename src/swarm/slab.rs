//! Storage that hands out small typed keys, and bags of such keys with removal in constant time.
//!
//! Not responsible for what is stored: keys are this room's own and never come from the network, so looking up one
//! that was given back is a bug here, found by the tests.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

use super::cache::fetch;

/// The place of a `T` in its [`Slab`], and 1, so that an `Option` of it takes no more room.
pub(super) struct Key<T>(NonZeroU32, PhantomData<fn() -> T>);

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Key<T> {}
impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.number());
    }
}
impl<T> Key<T> {
    /// As a number, for where many are kept.
    pub(super) fn number(self) -> u32 {
        self.0.get() - 1
    }

    /// From [`number`](Self::number).
    pub(super) fn from_number(number: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(number), PhantomData)
    }

    fn place(self) -> usize {
        self.number() as usize
    }
}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number())
    }
}

#[cfg(test)]
impl<T> Key<T> {
    /// The same place in a slab of something else.
    pub(super) fn cast<U>(key: Key<U>) -> Self {
        Self(key.0, PhantomData)
    }
}

/// Values at stable places; places are used again. In blocks, so that a growing crowd is never moved, and no more room is
/// kept than for one block too many.
#[derive(Debug)]
pub(super) struct Slab<T> {
    blocks: Vec<Box<[Option<T>; BLOCK]>>,
    free: Vec<u32>,
    len: usize,
}

/// Places in a block.
const BLOCK: usize = 128;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> Key<T> {
        let key = self.next();
        self.free.pop();
        if key.place() == self.blocks.len() * BLOCK {
            self.blocks.push(Box::new(std::array::from_fn(|_| None)));
        }
        self.len += 1;
        self.blocks[key.place() / BLOCK][key.place() % BLOCK] = Some(value);
        key
    }

    /// Where the next value will be put.
    pub(super) fn next(&self) -> Key<T> {
        Key::from_number(self.free.last().copied().unwrap_or(self.len as u32))
    }

    pub(super) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let value = self.place_mut(key)?.take()?;
        self.free.push(key.number());
        self.len -= 1;
        if self.len == 0 {
            // Nothing left: give the memory of a crowd that has gone back.
            *self = Self::default();
        }
        Some(value)
    }

    fn place(&self, key: Key<T>) -> Option<&Option<T>> {
        self.blocks.get(key.place() / BLOCK).map(|block| &block[key.place() % BLOCK])
    }

    fn place_mut(&mut self, key: Key<T>) -> Option<&mut Option<T>> {
        self.blocks.get_mut(key.place() / BLOCK).map(|block| &mut block[key.place() % BLOCK])
    }

    /// The value, if it is still there; its place may belong to another one by now.
    pub(super) fn get(&self, key: Key<T>) -> Option<&T> {
        self.place(key)?.as_ref()
    }

    /// The value's first lines will be looked at soon.
    pub(super) fn fetch(&self, key: Key<T>, lines: usize) {
        if let Some(place) = self.place(key) {
            fetch(place, lines);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T> Index<Key<T>> for Slab<T> {
    type Output = T;
    fn index(&self, key: Key<T>) -> &T {
        self.get(key).expect("keys die with their values")
    }
}

impl<T> IndexMut<Key<T>> for Slab<T> {
    fn index_mut(&mut self, key: Key<T>) -> &mut T {
        self.place_mut(key).and_then(Option::as_mut).expect("keys die with their values")
    }
}

/// Where a thing sits in a [`Bag`]; kept by the thing itself, so that it can be taken out without a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat(u32);

impl Seat {
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn is_taken(self) -> bool {
        self != Self::NONE
    }
}

/// A list of keys, most of which hold a few and take no heap: 16 bytes, of which a vector would take 24.
#[derive(Debug)]
pub(super) struct Keys<T>(Kept<T>);

#[derive(Debug)]
enum Kept<T> {
    Few(u8, [Key<T>; FEW]),
    #[expect(clippy::box_collection, reason = "a third of the size, and there are few of them")]
    Many(Box<Vec<Key<T>>>),
}

const FEW: usize = 3;

impl<T> Default for Keys<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> std::ops::Deref for Keys<T> {
    type Target = [Key<T>];
    fn deref(&self) -> &[Key<T>] {
        match &self.0 {
            Kept::Few(len, keys) => &keys[..usize::from(*len).min(FEW)],
            Kept::Many(keys) => keys,
        }
    }
}

impl<T> Keys<T> {
    pub(super) const NONE: Self = Self(Kept::Few(0, [Key(NonZeroU32::MIN, PhantomData); FEW]));

    pub(super) fn push(&mut self, key: Key<T>) {
        match &mut self.0 {
            Kept::Few(len, keys) if usize::from(*len) < FEW => {
                keys[usize::from(*len)] = key;
                *len += 1;
            }
            Kept::Few(_, keys) => self.0 = Kept::Many(Box::new(keys.iter().copied().chain([key]).collect())),
            Kept::Many(keys) => keys.push(key),
        }
    }

    /// Takes out the one at a position, and puts the last one there.
    pub(super) fn swap_remove(&mut self, at: usize) {
        match &mut self.0 {
            Kept::Few(len, keys) => {
                *len -= 1;
                keys[at] = keys[usize::from(*len)];
            }
            Kept::Many(keys) => {
                keys.swap_remove(at);
            }
        }
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

/// An unordered collection of keys that can be sampled at random. Each thing is in it at most once.
#[derive(Debug)]
pub(super) struct Bag<T>(Keys<T>);

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self(Keys::default())
    }
}

impl<T> Bag<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The thing at a position below [`len`](Self::len).
    pub(super) fn at(&self, position: usize) -> Key<T> {
        self.0[position]
    }

    pub(super) fn first(&self) -> Option<Key<T>> {
        self.0.first().copied()
    }

    pub(super) fn last(&self) -> Option<Key<T>> {
        self.0.last().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Key<T>> + '_ {
        self.0.iter().copied()
    }

    /// Puts `key` in unless it is; `seat` finds the seat it keeps for this bag.
    pub(super) fn add(&mut self, key: Key<T>, slab: &mut Slab<T>, seat: fn(&mut T) -> &mut Seat) {
        let place = seat(&mut slab[key]);
        if place.is_taken() {
            return;
        }
        *place = Seat(self.len() as u32);
        self.0.push(key);
    }

    /// Takes `key` out if it is in.
    pub(super) fn remove(&mut self, key: Key<T>, slab: &mut Slab<T>, seat: fn(&mut T) -> &mut Seat) {
        let place = std::mem::replace(seat(&mut slab[key]), Seat::NONE);
        if !place.is_taken() {
            return;
        }
        let at = place.0 as usize;
        self.0.swap_remove(at);
        if let Some(&moved) = self.0.get(at) {
            *seat(&mut slab[moved]) = place;
        }
    }
}

/// A map from numbers that we or the driver gave out. They are dense and not chosen by strangers, so a
/// multiplication is hash enough, and iteration is the same in every run.
pub(super) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// See [`IdMap`].
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio; the rotation brings the well-mixed high bits down.
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing {
        seat: Seat,
    }

    fn seat(thing: &mut Thing) -> &mut Seat {
        &mut thing.seat
    }

    #[test]
    fn places_are_used_again_and_freed_with_the_last_value() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        let b = slab.insert('b');
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        let c = slab.insert('c');
        assert_eq!(c, a);
        assert_eq!((slab[b], slab[c], slab.len()), ('b', 'c', 2));
        slab.remove(b);
        slab.remove(c);
        assert!(slab.is_empty());
        assert!(slab.blocks.is_empty());
    }

    #[test]
    fn a_bag_keeps_seats_right_while_things_come_and_go() {
        let mut slab = Slab::default();
        let keys: Vec<_> = (0..10).map(|_| slab.insert(Thing { seat: Seat::NONE })).collect();
        let mut bag = Bag::default();
        for &key in &keys {
            bag.add(key, &mut slab, seat);
            bag.add(key, &mut slab, seat);
        }
        assert_eq!(bag.len(), 10);
        for &key in keys.iter().step_by(3) {
            bag.remove(key, &mut slab, seat);
            bag.remove(key, &mut slab, seat);
        }
        assert_eq!(bag.len(), 6);
        for position in 0..bag.len() {
            assert_eq!(slab[bag.at(position)].seat, Seat(position as u32));
        }
    }
}
