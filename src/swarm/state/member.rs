//! A peer's part in a file, and the bags it sits in.

use std::ops::Range;

use smallvec::SmallVec;

use super::{File, Peer, State, Transfer};
use crate::swarm::bits::{Pieces, Ranges, mask, touched, words_for};
use crate::swarm::reader::Reader;
use crate::swarm::slab::{Key, Seat};
use crate::swarm::types::*;

/// The parts of a peer with no more files than this are found by looking at each.
const SCANNED: usize = 4;

/// A peer's part in a file. What is asked of each candidate is in the first line of the cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub(in crate::swarm) struct Member {
    pub(in crate::swarm) peer: Key<Peer>,
    pub(in crate::swarm) file: Key<File>,
    /// Pieces wanted, not had and not under way.
    pub(in crate::swarm) open: u32,
    /// Whether what it has is counted as available.
    pub(in crate::swarm) shares: bool,
    pub(in crate::swarm) order: Order,
    /// What it was last told to wait for.
    pub(in crate::swarm) waiting: Option<WaitReason>,
    pub(in crate::swarm) have: Pieces,
    /// The standing request. What is had is not taken out piece by piece; all of it is when nothing is missing.
    pub(in crate::swarm) want: Ranges,
    /// What few have.
    pub(super) special: Option<Box<Special>>,

    /// Transfers towards this member.
    pub(in crate::swarm) flights: SmallVec<[Flight; 1]>,
    pub(super) seats: Seats,
}

/// What is kept only of a part whose peer reads, or where something went wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::swarm) struct Special {
    pub(in crate::swarm) reader: Option<Reader>,
    /// What a transfer that failed last was to bring.
    pub(in crate::swarm) repair: Option<Range<u32>>,
    /// Failures in a row that are the file's at the origin and nobody's fault: until when nothing of it is asked for there.
    pub(in crate::swarm) pauses: u8,
    pub(in crate::swarm) pause: Time,
}

/// A transfer on its way to a member, and its pieces.
#[derive(Debug, Clone)]
pub(in crate::swarm) struct Flight {
    pub(in crate::swarm) transfer: Key<Transfer>,
    pub(in crate::swarm) pieces: Range<u32>,
}

impl Member {
    /// Whether others may be sent to it.
    pub(in crate::swarm) fn is_offer(&self) -> bool {
        self.shares && !self.have.is_empty()
    }

    pub(in crate::swarm) fn reader(&self) -> Option<&Reader> {
        self.special.as_ref()?.reader.as_ref()
    }

    /// What a transfer that failed last was to bring.
    pub(in crate::swarm) fn repair(&self) -> Option<&Range<u32>> {
        self.special.as_ref()?.repair.as_ref()
    }

    /// Until when nothing of it is asked for from origins.
    pub(in crate::swarm) fn pause(&self) -> Time {
        self.special.as_ref().map_or(Time::default(), |special| special.pause)
    }

    /// Changes what few have.
    pub(in crate::swarm) fn specially<T>(&mut self, change: impl FnOnce(&mut Special) -> T) -> T {
        let mut special = self.special.take().unwrap_or_default();
        let result = change(&mut special);
        self.special = Some(special).filter(|special| **special != Special::default());
        result
    }

    /// Whether it is in [`File::idle`].
    pub(in crate::swarm) fn is_idle(&self) -> bool {
        self.seats.idle.is_taken()
    }
}

#[derive(Debug)]
pub(super) struct Seats {
    pub(super) of_peer: Seat,
    pub(super) of_file: Seat,
    pub(super) needs: Seat,
    pub(super) hungry: Seat,
    pub(super) offers: Seat,
    pub(super) holders: Seat,
    pub(super) idle: Seat,
    pub(super) closing: Seat,
    pub(super) all_closing: Seat,
}

impl State {
    /// The part of `peer` in `file`, if it has one.
    pub(in crate::swarm) fn part(&self, peer: Key<Peer>, file: Key<File>) -> Option<Key<Member>> {
        let members = &self.peers[peer].members;
        if members.len() <= SCANNED {
            return members.iter().find(|&member| self.members[member].file == file);
        }
        self.parts.get(&(peer, file)).copied()
    }

    /// The part of `peer` in `file`, new if need be. [`settle`](Self::settle) it afterwards.
    pub(in crate::swarm) fn part_or_new(&mut self, peer: Key<Peer>, file: Key<File>) -> Key<Member> {
        if let Some(member) = self.part(peer, file) {
            return member;
        }
        let pieces = self.files[file].pieces;
        let member = self.members.insert(Member {
            peer,
            file,
            have: Pieces::new(pieces),
            want: Ranges::default(),
            open: 0,
            flights: SmallVec::new(),
            shares: self.peers[peer].gives() && !self.peers[peer].is_gone(),
            order: Order::default(),
            waiting: None,
            special: None,
            seats: Seats {
                of_peer: Seat::NONE,
                of_file: Seat::NONE,
                needs: Seat::NONE,
                hungry: Seat::NONE,
                offers: Seat::NONE,
                holders: Seat::NONE,
                idle: Seat::NONE,
                closing: Seat::NONE,
                all_closing: Seat::NONE,
            },
        });
        self.peers[peer].members.add(member, &mut self.members, |m| &mut m.seats.of_peer);
        let members = &self.peers[peer].members;
        // When they become too many to look at each, all that are there are put in.
        let before = if members.len() == SCANNED + 1 { 0 } else { members.len() - 1 };
        if members.len() > SCANNED {
            self.parts.extend(members.iter().skip(before).map(|key| ((peer, self.members[key].file), key)));
        }
        self.files[file].members.add(member, &mut self.members, |m| &mut m.seats.of_file);
        member
    }

    /// Puts a member into the bags where it belongs; one that is nothing to anybody any more goes.
    pub(in crate::swarm) fn settle(&mut self, member: Key<Member>) {
        let m = &mut self.members[member];
        let (peer, file) = (m.peer, m.file);
        if m.open == 0 && m.flights.is_empty() && !self.peers[peer].is_gone() {
            m.want.clear();
            if m.repair().is_some() {
                m.specially(|special| special.repair = None);
            }
        }
        if m.have.is_empty() && m.want.is_empty() && m.flights.is_empty() {
            self.remove_member(member);
            return;
        }
        let (needs, offers) = (m.open > 0, m.shares && !m.have.is_empty());
        let closes = !needs && !m.flights.is_empty();
        let closing = &mut self.files[file].closing;
        if closes {
            closing.add(member, &mut self.members, |m| &mut m.seats.closing);
            self.closing.add(member, &mut self.members, |m| &mut m.seats.all_closing);
        } else {
            closing.remove(member, &mut self.members, |m| &mut m.seats.closing);
            self.closing.remove(member, &mut self.members, |m| &mut m.seats.all_closing);
        }
        if needs {
            if self.members[member].reader().is_some() && self.peers[peer].urgent().is_none() {
                self.set_urgent(member);
            }
            self.peers[peer].needs.add(member, &mut self.members, |m| &mut m.seats.needs);
            let was_special = self.files[file].special();
            self.files[file].hungry.add(member, &mut self.members, |m| &mut m.seats.hungry);
            self.count_special(was_special, file);
            let was_alone = self.needy.len() == 1;
            self.needy.add(peer, &mut self.peers, |p| &mut p.needy);
            if was_alone && self.needy.len() == 2 {
                self.let_others_in();
            }
        } else {
            self.stop_needing(member);
        }
        if offers {
            self.peers[peer].offers.add(member, &mut self.members, |m| &mut m.seats.offers);
            self.files[file].holders.add(member, &mut self.members, |m| &mut m.seats.holders);
        } else {
            self.stop_offering(member);
        }
    }

    fn stop_needing(&mut self, member: Key<Member>) {
        let (peer, file) = (self.members[member].peer, self.members[member].file);
        self.peers[peer].needs.remove(member, &mut self.members, |m| &mut m.seats.needs);
        let was_special = self.files[file].special();
        self.files[file].hungry.remove(member, &mut self.members, |m| &mut m.seats.hungry);
        self.count_special(was_special, file);
        if self.peers[peer].needs.is_empty() {
            self.peers[peer].is_not_left();
            self.needy.remove(peer, &mut self.peers, |p| &mut p.needy);
        }
        if self.peers[peer].urgent() == Some(member) {
            self.readers.remove(peer, &mut self.peers, Peer::reads);
            self.peers[peer].unusually(|unusual| unusual.urgent = None);
        }
    }

    /// Has a member, which needs something, come before others of its peer.
    pub(in crate::swarm) fn set_urgent(&mut self, member: Key<Member>) {
        let peer = self.members[member].peer;
        self.peers[peer].unusually(|unusual| unusual.urgent = Some(member));
        if self.readers.is_empty() {
            self.let_others_in();
        }
        self.readers.add(peer, &mut self.peers, Peer::reads);
    }

    /// Notes that a member that offers something has found nobody who needs it, and could send more.
    pub(in crate::swarm) fn found_nobody(&mut self, member: Key<Member>, now: Time) {
        let file = &mut self.files[self.members[member].file];
        file.idle.add(member, &mut self.members, |m| &mut m.seats.idle);
        if !file.hungry.is_empty() {
            file.last_idle = Some(now);
        }
    }

    /// Notes that it is busy now.
    pub(in crate::swarm) fn is_busy(&mut self, member: Key<Member>) {
        let file = self.members[member].file;
        self.files[file].idle.remove(member, &mut self.members, |m| &mut m.seats.idle);
    }

    fn stop_offering(&mut self, member: Key<Member>) {
        self.is_busy(member);
        let (peer, file) = (self.members[member].peer, self.members[member].file);
        self.peers[peer].offers.remove(member, &mut self.members, |m| &mut m.seats.offers);
        self.files[file].holders.remove(member, &mut self.members, |m| &mut m.seats.holders);
    }

    /// A member without transfers goes.
    pub(super) fn remove_member(&mut self, member: Key<Member>) {
        debug_assert!(self.members[member].flights.is_empty(), "transfers end first");
        self.stop_needing(member);
        self.stop_offering(member);
        let file = self.members[member].file;
        self.files[file].closing.remove(member, &mut self.members, |m| &mut m.seats.closing);
        self.closing.remove(member, &mut self.members, |m| &mut m.seats.all_closing);
        self.set_shares(member, false);
        let (peer, file) = (self.members[member].peer, self.members[member].file);
        self.peers[peer].members.remove(member, &mut self.members, |m| &mut m.seats.of_peer);
        self.files[file].members.remove(member, &mut self.members, |m| &mut m.seats.of_file);
        if self.files[file].members.is_empty() {
            self.files[file].rarity.clear();
        }
        self.parts.remove(&(peer, file));
        self.set_open(member, 0);
        self.members.remove(member);
    }

    /// Whether what a member has, and what is on its way to it, counts as available. Settle it afterwards.
    pub(in crate::swarm) fn set_shares(&mut self, member: Key<Member>, shares: bool) {
        let m = &mut self.members[member];
        if std::mem::replace(&mut m.shares, shares) == shares {
            return;
        }
        let file = &mut self.files[m.file];
        let coming =
            m.flights.iter().map(|flight| &self.transfers[flight.transfer]).flat_map(Transfer::missing);
        for piece in m.have.iter().chain(coming) {
            if shares {
                file.rarity.more(piece, file.pieces);
            } else {
                file.rarity.fewer(piece);
            }
        }
    }

    /// A member has a piece, however it came by it. Recount and settle it afterwards.
    pub(in crate::swarm) fn gain(&mut self, member: Key<Member>, piece: u32) {
        let m = &mut self.members[member];
        if m.have.insert(piece) && m.shares {
            let file = &mut self.files[m.file];
            file.rarity.more(piece, file.pieces);
        }
    }

    /// A member no longer has a piece, and does not want it back unless it says so. Recount and settle it afterwards.
    pub(in crate::swarm) fn lose(&mut self, member: Key<Member>, piece: u32) {
        let m = &mut self.members[member];
        if m.have.remove(piece) {
            m.want.remove(&(piece..piece + 1));
            if m.shares {
                self.files[m.file].rarity.fewer(piece);
            }
        }
    }

    /// Writes down which pieces a member needs and does not have coming, 64 a word.
    pub(in crate::swarm) fn need(&self, member: Key<Member>, words: &mut Vec<u64>) {
        let m = &self.members[member];
        words.clear();
        words.resize(words_for(self.files[m.file].pieces), 0);
        for range in m.want.iter() {
            for index in touched(range) {
                words[index] |= mask(range, index) & !m.have.word(index);
            }
        }
        for Flight { pieces: run, .. } in &m.flights {
            for index in touched(run) {
                words[index] &= !mask(run, index);
            }
        }
    }

    /// Counts anew what a member needs and does not have coming: nothing while its peer is taken for gone.
    pub(in crate::swarm) fn recount(&mut self, member: Key<Member>, words: &mut Vec<u64>) {
        if self.peers[self.members[member].peer].is_gone() {
            return self.set_open(member, 0);
        }
        self.need(member, words);
        self.set_open(member, words.iter().map(|word| word.count_ones()).sum());
    }

    /// Sees to [`State::open`], too.
    pub(super) fn set_open(&mut self, member: Key<Member>, open: u32) {
        let m = &mut self.members[member];
        let was = std::mem::replace(&mut m.open, open);
        let unit = u64::from(self.files[m.file].piece_size);
        self.open = self.open + u64::from(open) * unit - u64::from(was) * unit;
    }
}
