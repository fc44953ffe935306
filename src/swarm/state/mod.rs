//! What there is: peers, files, who has and wants what, and what is under way; and the few ways in which that
//! changes, each of which keeps all the indexes right. Who should send what to whom is decided in `schedule`.
//!
//! A [`Member`] is a peer's part in a file. It is there only while the peer has, wants or receives something of the
//! file, and sits in up to five bags, so that every question the scheduler asks starts from a bag that holds
//! exactly the candidates.
//!
//! One file for each: `peer`, `file`, `member`, `transfer`; how much is to be under way is in `budget`.

mod budget;
mod file;
mod member;
mod peer;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::bits::WORD;
use super::cache::fetch;
use super::crowd::Crowd;
use super::friends::{self, Friends};
use super::lately::Lately;
use super::pairs::Pairs;
use super::rarity::Rarity;
use super::rates::Link;
use super::rules::{Rules, Spent};
use super::slab::{Bag, IdMap, Key, Seat, Slab};
use super::spread::Spread;
use super::types::*;
use crate::wire::limits::MAX_PIECES;

pub(super) use self::budget::{BLOCK, RUN_ALONE_US};
pub(super) use self::file::File;
pub(super) use self::member::{Flight, Member};
pub(super) use self::peer::{Alarmed, Peer, Presence};
#[cfg(test)]
pub(super) use self::transfer::Counts;
pub(super) use self::transfer::{Choice, Finding, MAX_DOUBLINGS, Transfer};

/// Who comes within this time after somebody came together with that one, microseconds.
const TOGETHER_US: u64 = 1_000_000;

/// What is to be looked at when a time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// Are the transfers that a peer gives still alive?
    Watch(Key<Peer>),
    /// A giver and a taker are no longer to be kept apart, or their quarrel can be forgotten.
    Pair(Key<Peer>, Key<Peer>),
    /// A peer has not answered in time.
    Rest(Key<Peer>),
    /// A giver's line is about to run dry.
    Feed(Key<Peer>),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Config,
    /// What the configuration said, which is more in a crowd.
    margin_us: u64,
    pub(super) peers: Slab<Peer>,
    pub(super) files: Slab<File>,
    pub(super) members: Slab<Member>,
    pub(super) transfers: Slab<Transfer>,
    pub(super) pairs: Pairs,
    pub(super) peer_ids: IdMap<PeerId, Key<Peer>>,
    pub(super) file_ids: IdMap<FileId, Key<File>>,
    parts: IdMap<(Key<Peer>, Key<File>), Key<Member>>,
    pub(super) origins: Vec<Key<Peer>>,
    /// For each of them.
    pub(super) spreads: Vec<Spread>,
    /// Peers that need something that is not under way to them.
    pub(super) needy: Bag<Peer>,
    /// Those of them where a reader is.
    pub(super) readers: Bag<Peer>,
    /// The [`File::closing`] of all files.
    pub(super) closing: Bag<Member>,
    pub(super) alarms: BTreeSet<(Time, Alarm)>,
    next_transfer: u64,
    /// What was ordered during this event, or has begun after it had waited.
    pub(super) coming: Vec<(TransferId, Key<Transfer>)>,
    /// Of the rates that files share.
    pub(super) spent: Spent,
    /// How many files there are of each importance but 0 of which somebody needs something.
    special_files: BTreeMap<i32, usize>,
    /// Whether the operator has ever said anything about a file.
    pub(super) has_rules: bool,
    pub(super) stats: SwarmStats,
    /// Of the peers, those that are not taken for gone.
    pub(super) present: u64,
    /// When the first of those came with whom the next one may come together.
    together: Time,
    /// Bytes that somebody needs and that are not under way.
    pub(super) open: u64,
    pub(super) crowd: Crowd,
}

impl State {
    pub(super) fn new(config: Config) -> Self {
        Self {
            margin_us: config.margin_us,
            config,
            peers: Slab::default(),
            files: Slab::default(),
            members: Slab::default(),
            transfers: Slab::default(),
            pairs: Pairs::default(),
            peer_ids: IdMap::default(),
            file_ids: IdMap::default(),
            parts: IdMap::default(),
            origins: Vec::new(),
            spreads: Vec::new(),
            needy: Bag::default(),
            readers: Bag::default(),
            closing: Bag::default(),
            alarms: BTreeSet::new(),
            next_transfer: 1,
            coming: Vec::new(),
            spent: Spent::default(),
            special_files: BTreeMap::new(),
            has_rules: false,
            stats: SwarmStats::default(),
            present: 0,
            together: Time::default(),
            open: 0,
            crowd: Crowd::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.files.is_empty()
            && self.members.is_empty()
            && self.transfers.is_empty()
            && self.pairs.is_empty()
            && self.peer_ids.is_empty()
            && self.file_ids.is_empty()
            && self.parts.is_empty()
            && self.origins.is_empty()
            && self.needy.is_empty()
            && self.readers.is_empty()
            && self.closing.is_empty()
            && self.alarms.is_empty()
            && self.special_files.is_empty()
    }

    /// Whether something that is needed is more or less important than other things.
    pub(super) fn has_priorities(&self) -> bool {
        !self.special_files.is_empty()
    }

    /// Whether nothing that is needed is more important than a file.
    pub(super) fn is_most_important(&self, file: Key<File>) -> bool {
        let priority = self.files[file].rules.priority;
        let most = self.special_files.last_key_value();
        // Of files that nobody has said anything about, some may be needed.
        most.is_none_or(|(&most, _)| priority >= most.max(0))
    }

    /// What the operator wants of a file.
    pub(super) fn set_rules(&mut self, file: Key<File>, rules: Rules) {
        self.has_rules |= rules != Rules::default();
        let was = self.files[file].special();
        self.files[file].rules = rules;
        self.count_special(was, file);
    }

    /// Sees to [`has_priorities`](Self::has_priorities) after a change of a file of which [`File::special`] said `was`.
    fn count_special(&mut self, was: Option<i32>, file: Key<File>) {
        let is = self.files[file].special();
        if is == was {
            return;
        }
        if let Some(priority) = is {
            *self.special_files.entry(priority).or_default() += 1;
        }
        if let Some(priority) = was
            && let Some(count) = self.special_files.get_mut(&priority)
        {
            *count -= 1;
            if *count == 0 {
                self.special_files.remove(&priority);
            }
        }
    }

    /// A peer comes; `None` if the number is taken, or there are too many.
    pub(super) fn add_peer(&mut self, id: PeerId, info: PeerInfo, now: Time) -> Option<Key<Peer>> {
        if self.peer_ids.contains_key(&id) || self.peers.len() >= friends::MOST_PEERS {
            return None;
        }
        let is_origin = info.is_origin;
        if !is_origin && (now.since(self.together) >= TOGETHER_US || self.stats.peers == 0) {
            self.together = now;
        }
        let key = self.peers.insert(Peer {
            id,
            info: info.into(),
            up: Link::default(),
            down: Link::default(),
            given: 0,
            taken: 0,
            unusual: None,
            members: Bag::default(),
            needs: Bag::default(),
            offers: Bag::default(),
            giving: None,
            needy: Seat::NONE,
            friends: Friends::default(),
            joined: self.together,
            heard: now,
            feed: Alarmed::NEVER,
            watch: Alarmed::NEVER,
            lately: Lately::default(),
        });
        self.peer_ids.insert(id, key);
        if is_origin {
            self.origins.push(key);
            self.spreads.push(Spread::new());
        } else {
            self.stats.peers += 1;
            self.present += 1;
            self.set_margin();
        }
        Some(key)
    }

    /// A peer without transfers goes.
    pub(super) fn remove_peer(&mut self, peer: Key<Peer>) {
        while let Some(member) = self.peers[peer].members.last() {
            self.remove_member(member);
        }
        self.forget_friends(peer);
        self.forget_rest(peer);
        for (at, alarm) in
            [(self.peers[peer].feed, Alarm::Feed(peer)), (self.peers[peer].watch, Alarm::Watch(peer))]
        {
            if let Some(at) = at.get() {
                self.alarms.remove(&(at, alarm));
            }
        }
        let partners = self.peers[peer].unusually(|unusual| std::mem::take(&mut unusual.partners));
        for &partner in &*partners {
            self.forget_pair(peer, partner);
            self.forget_pair(partner, peer);
        }
        if let Some(gone) = self.peers.remove(peer) {
            self.peer_ids.remove(&gone.id);
            if gone.is_origin() {
                if let Some(at) = self.origins.iter().position(|&origin| origin == peer) {
                    self.origins.remove(at);
                    self.spreads.remove(at);
                }
            } else {
                self.stats.peers -= 1;
                self.present -= u64::from(!gone.is_gone());
                self.set_margin();
            }
        }
    }

    /// Whom a peer has met, and who has met it, are strangers again: both have room for somebody who may be of more use.
    pub(super) fn forget_friends(&mut self, peer: Key<Peer>) {
        let mut friends = std::mem::take(&mut self.peers[peer].friends);
        for friend in friends.iter() {
            self.peers[friend].friends.forget(peer);
        }
        friends.clear();
        self.peers[peer].friends = friends;
    }

    pub(super) fn add_file(&mut self, id: FileId, size: u64, piece_size: u32) -> Option<Key<File>> {
        let pieces = u32::try_from(
            size.checked_div(u64::from(piece_size))? + u64::from(!size.is_multiple_of(u64::from(piece_size))),
        )
        .ok()?;
        if pieces > MAX_PIECES || self.file_ids.contains_key(&id) {
            return None;
        }
        let key = self.files.insert(File {
            id,
            size,
            piece_size,
            pieces,
            rarity: Rarity::default(),
            rules: Rules::default(),
            members: Bag::default(),
            hungry: Bag::default(),
            holders: Bag::default(),
            idle: Bag::default(),
            last_idle: None,
            closing: Bag::default(),
        });
        self.file_ids.insert(id, key);
        Some(key)
    }

    /// A file nothing of which is under way goes.
    pub(super) fn remove_file(&mut self, file: Key<File>) {
        // Counting every copy of every piece down would be for nothing.
        while let Some(member) = self.files[file].members.last() {
            self.members[member].shares = false;
            self.remove_member(member);
        }
        if let Some(gone) = self.files.remove(file) {
            self.file_ids.remove(&gone.id);
        }
    }

    /// Gives a peer nothing to do until then, or lets it do something again.
    pub(super) fn set_rest(&mut self, peer: Key<Peer>, until: Option<Time>) {
        let p = &mut self.peers[peer];
        if !p.is_quiet() && until.is_none() {
            return;
        }
        p.info.presence = match until {
            None => Presence::Here,
            Some(_) if p.is_gone() => Presence::Gone,
            Some(_) => Presence::Asked,
        };
        self.forget_rest(peer);
        if let Some(at) = until {
            self.peers[peer].unusually(|unusual| unusual.rests.replace(until));
            self.alarms.insert((at, Alarm::Rest(peer)));
        }
    }

    fn forget_rest(&mut self, peer: Key<Peer>) {
        if let Some(at) = self.peers[peer].unusual().rests.get() {
            self.peers[peer].unusually(|unusual| unusual.rests = Alarmed::NEVER);
            self.alarms.remove(&(at, Alarm::Rest(peer)));
        }
    }

    /// A peer without transfers, of which nothing is heard, is taken for gone: nobody can get what it has, and what it needs is not
    /// what there is still to do. It keeps both, for when it [is back](Self::count_in).
    pub(super) fn count_out(&mut self, peer: Key<Peer>, words: &mut Vec<u64>) {
        if !self.peers[peer].is_gone() && !self.peers[peer].is_origin() {
            self.peers[peer].info.presence = Presence::Gone;
            self.present -= 1;
            self.presence_changed(peer, words);
        }
    }

    /// One that had been taken for gone is there.
    pub(super) fn count_in(&mut self, peer: Key<Peer>, words: &mut Vec<u64>) {
        if self.peers[peer].is_gone() {
            self.set_rest(peer, None);
            self.present += 1;
            self.presence_changed(peer, words);
        }
    }

    fn presence_changed(&mut self, peer: Key<Peer>, words: &mut Vec<u64>) {
        let p = &self.peers[peer];
        let shares = p.gives() && !p.is_gone();
        let members: SmallVec<[Key<Member>; 4]> = p.members.iter().collect();
        for member in members {
            self.set_shares(member, shares);
            self.recount(member, words);
            self.settle(member);
        }
        self.set_margin();
    }

    /// What is known of the two sides of a transfer that ends will be needed at once. What is farther away comes later.
    pub(super) fn fetch_sides(&self, transfer: Key<Transfer>) {
        let t = &self.transfers[transfer];
        let [before, after] = t.giving;
        self.members.fetch(t.taker, 2);
        self.peers.fetch(t.giver, 4);
        before.into_iter().chain(after).for_each(|other| self.transfers.fetch(other, 2));
        let m = &self.members[t.taker];
        self.peers.fetch(m.peer, 4);
        if let Some(word) = m.have.words().get((t.pieces.start / WORD) as usize) {
            fetch(word, 1);
        }
        fetch(m.flights.as_slice(), 2);
        self.fetch_offer(t.giver);
    }

    /// What a peer gives, and to whom, will be asked soon.
    pub(super) fn fetch_offer(&self, peer: Key<Peer>) {
        let Some(peer) = self.peers.get(peer) else { return };
        peer.friends.fetch();
        peer.giving.into_iter().for_each(|latest| self.transfers.fetch(latest, 2));
        if let Some(offer) = peer.offers.first() {
            self.members.fetch(offer, 2);
        }
    }

    /// The next alarm will ring soon.
    pub(super) fn fetch_alarm(&self) {
        if let Some(&(_, Alarm::Feed(peer) | Alarm::Watch(peer))) = self.alarms.first() {
            self.peers.fetch(peer, 4);
        }
    }

    /// What a member needs will be asked at once.
    pub(super) fn fetch_needs(&self, member: Key<Member>) {
        let m = &self.members[member];
        fetch(m.have.words(), 8);
        fetch(m.flights.as_slice(), 2);
        self.peers[m.peer].friends.fetch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a peer with its acquaintances and its part in one file, without the bits: 512 bytes are the promise. Beside it
    /// there is what [`Transfer`] takes for each transfer under way.
    #[test]
    fn a_peer_takes_little_memory() {
        // A table of hashes takes a byte more for each place, and up to every other one is empty.
        let id = 2 * (size_of::<(PeerId, Key<Peer>)>() + 1);
        let peer = size_of::<Option<Peer>>() + friends::SIZE;
        assert!(peer + size_of::<Option<Member>>() + id <= 512);
        assert!(size_of::<Option<Transfer>>() + size_of::<Flight>() <= 112);
    }
}
