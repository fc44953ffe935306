//! What is under way: how it begins, what comes of it, and what is thought of it when nothing is heard.

use std::ops::Range;

use smallvec::SmallVec;

use super::{Alarm, Alarmed, File, Flight, Member, Peer, State};
use crate::swarm::bits::{Pieces, mask, touched};
use crate::swarm::friends;
use crate::swarm::rates::{Link, Mark};
use crate::swarm::slab::Key;
use crate::swarm::types::*;

/// The time until one that does not answer is pinged again doubles at most this often.
pub(in crate::swarm) const MAX_DOUBLINGS: u32 = 2;
/// Of the patience with a peer, this part passes after something should have been heard of it before it is pinged.
const HASTE: u64 = 4;
/// Transfers under way at once. The lowest bits of a transfer's number say where it is kept, so that no map is needed; the
/// others are counted up.
pub(super) const MOST_TRANSFERS: usize = 1 << 24;

/// The pieces to send, why, and how many givers, one after the other, they are to be waited for: 0 if the giver has them.
pub(in crate::swarm) type Choice = (Range<u32>, Reason, u8);

/// Pieces on their way.
#[derive(Debug)]
pub(in crate::swarm) struct Transfer {
    pub(in crate::swarm) id: TransferId,
    pub(in crate::swarm) giver: Key<Peer>,
    pub(in crate::swarm) taker: Key<Member>,
    pub(in crate::swarm) pieces: Range<u32>,
    /// Verified, counted from the first of the run; not there while that is none or all of them.
    pub(super) done: Option<Box<Pieces>>,
    pub(in crate::swarm) bytes: u32,
    pub(in crate::swarm) bytes_done: u32,
    pub(super) giver_mark: Mark,
    pub(super) taker_mark: Mark,
    /// Before and after it among the giver's.
    pub(super) giving: [Option<Key<Transfer>>; 2],
    pub(in crate::swarm) started: Time,
    /// When it should be over, by what is known of the two lines.
    pub(in crate::swarm) expected: Alarmed,
    /// When to give it up if nothing is heard.
    pub(in crate::swarm) deadline: Time,
    /// When to look whether the two are still there, or the deadline; that may have moved away from it.
    pub(in crate::swarm) alarm: Time,
    pub(super) taker_dials: bool,
    /// Whether what was promised is counted as under way on both lines.
    pub(in crate::swarm) counts: Counts,
    pub(super) is_news_rare: bool,
    /// Whether it comes on top of what peers share among them, so that the ledger does not count it.
    pub(super) is_on_top: bool,
    /// How many givers, one after the other, it waits for to have it; 0: the giver has it.
    pub(in crate::swarm) waits: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::swarm) enum Counts {
    Yes,
    /// A side of it is quiet.
    NotNow,
    /// It was ordered when there was nobody whom so much would keep waiting.
    NeverAgain,
}

/// What became of a transfer whose alarm rang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::swarm) enum Finding {
    Fine,
    /// Its time is over.
    Stalled,
    /// One of the two, or both, should have been heard of.
    Quiet(SmallVec<[Key<Peer>; 2]>),
}

impl Transfer {
    /// The side that is dialled.
    pub(in crate::swarm) fn acceptor(&self, state: &State) -> Key<Peer> {
        if self.taker_dials { self.giver } else { state.members[self.taker].peer }
    }

    /// Pieces of it that are not verified yet.
    pub(in crate::swarm) fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        let start = self.pieces.start;
        let left = if self.bytes_done == self.bytes { start..start } else { self.pieces.clone() };
        left.filter(move |piece| !self.done.as_ref().is_some_and(|done| done.contains(piece - start)))
    }

    /// A piece of it was verified; whether that is news.
    fn note_done(&mut self, piece: u32) -> bool {
        if self.bytes_done == self.bytes {
            return false;
        }
        if self.pieces.len() == 1 {
            return true;
        }
        let len = self.pieces.len() as u32;
        let done = self.done.get_or_insert_with(|| Box::new(Pieces::new(len)));
        done.insert(piece - self.pieces.start)
    }
}

impl State {
    /// The transfer with that number, if it is under way.
    pub(in crate::swarm) fn transfer(&self, id: TransferId) -> Option<Key<Transfer>> {
        let key = Key::from_number((id.0 % MOST_TRANSFERS as u64) as u32);
        self.transfers.get(key).filter(|t| t.id == id).map(|_| key)
    }

    /// Somebody may be no longer alone with an origin, or begins to read. The long runs that were ordered go on, but nothing waits
    /// for their end.
    pub(super) fn let_others_in(&mut self) {
        let Some(&origin) = self.origins.first() else { return };
        let runs: Vec<_> = self.giving(origin).filter(|&key| self.transfers[key].is_news_rare).collect();
        for run in runs {
            self.set_aside(run, true, Time::default());
            self.transfers[run].counts = Counts::NeverAgain;
        }
    }

    /// Starts a transfer of pieces all of which `taker` needs and `giver` has.
    pub(in crate::swarm) fn start(
        &mut self,
        giver: Key<Peer>,
        taker: Key<Member>,
        taker_dials: bool,
        (pieces, reason, waits): Choice,
        now: Time,
    ) -> (Assignment, Key<Transfer>) {
        let (to, file) = (self.members[taker].peer, self.members[taker].file);
        let bytes = self.files[file].bytes_of_run(&pieces);
        let number = u64::from(self.transfers.next().number());
        let assignment = Assignment {
            transfer: TransferId(self.next_transfer * MOST_TRANSFERS as u64 + number),
            giver: self.peers[giver].id,
            taker: self.peers[to].id,
            taker_dials,
            file: self.files[file].id,
            pieces: pieces.clone(),
            reason,
            ahead: waits > 0,
            news_us: (self.is_alone(giver) && pieces.len() > 1).then_some(self.config.alone_news_us),
        };
        self.next_transfer += 1;
        let unit = self.files[file].piece_size;
        let head_start_us = if waits > 0 { 0 } else { self.head_start_us(giver, unit) };
        if waits > 0 {
            self.peers[giver].unusually(|unusual| unusual.waiting += 1);
        }
        let is_on_top = self.is_on_top(giver, taker);
        let age = now.since(self.peers[to].heard);
        let unheard = |link: &Link| if assignment.news_us.is_some() { link.unheard(age) } else { 0 };
        let [sent, received] = [&self.peers[giver].up, &self.peers[to].down].map(unheard);
        let giver_mark = self.peers[giver].up.begin(bytes, unit, now, head_start_us).beyond(sent);
        let taker_mark = self.peers[to].down.begin(bytes, unit, now, 0).beyond(received);
        if taker_dials {
            self.meet(to, giver, now);
        } else {
            self.meet(giver, to, now);
        }
        if self.peers[giver].is_origin() {
            if let Some(shared) = self.files[file].rules.origin_rate {
                self.spent.spend(shared, bytes, now);
            }
            let to = &mut self.peers[to];
            to.lately.promised_by_origins(bytes, now);
            to.promised_by_origins(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
        if let Some((bytes, queue_us)) = self.peers[to].coming_from_peers() {
            self.crowd.ordered(bytes, queue_us);
        }
        self.set_open(taker, self.members[taker].open - pieces.len() as u32);
        let m = &mut self.members[taker];
        m.waiting = None;
        if m.shares {
            let file = &mut self.files[file];
            pieces.clone().for_each(|piece| file.rarity.more(piece, file.pieces));
        }
        let given_up = now.plus(self.patience(giver, to, bytes));
        // What cannot have begun is not late.
        let is_expected = waits == 0;
        let expected = if is_expected { self.expected(giver, to, now) } else { None };
        let alarm = if is_expected { self.first_look(giver, to, expected, given_up, now) } else { given_up };
        let latest = self.peers[giver].giving;
        let key = self.transfers.insert(Transfer {
            id: assignment.transfer,
            giver,
            taker,
            pieces: pieces.clone(),
            done: None,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            bytes_done: 0,
            giver_mark,
            taker_mark,
            giving: [None, latest],
            started: now,
            expected: expected.map_or(Alarmed::NEVER, Alarmed),
            deadline: given_up,
            alarm,
            taker_dials,
            counts: Counts::Yes,
            is_news_rare: assignment.news_us.is_some(),
            is_on_top,
            waits,
        });
        if let Some(latest) = self.peers[giver].giving.replace(key) {
            self.transfers[latest].giving[0] = Some(key);
        }
        self.members[taker].flights.push(Flight { transfer: key, pieces });
        self.watch(giver, alarm);
        self.stats.started += 1;
        self.stats.active_transfers += 1;
        self.settle(taker);
        (assignment, key)
    }

    /// Whether what a giver sends comes on top of what peers share: from an origin, when there is nothing left that only origins have, and
    /// peers carry more than they do.
    fn is_on_top(&self, giver: Key<Peer>, taker: Key<Member>) -> bool {
        let m = &self.members[taker];
        let file = &self.files[m.file];
        self.peers[giver].is_origin()
            && !self.is_crowd()
            && self.peers[m.peer].info.stays()
            && file.hungry.len() > 2
            && !file.rarity.has_unseen(file.pieces)
            && self.peers_carry_more(m.peer)
            && !self.serves_many(giver)
    }

    /// When to look at a transfer that begins now: when something of it should have been heard, or it is to be given up.
    fn first_look(
        &self,
        giver: Key<Peer>,
        taker: Key<Peer>,
        expected: Option<Time>,
        given_up: Time,
        now: Time,
    ) -> Time {
        let patience = [giver, taker].map(|peer| self.peers[peer].patience(&self.config));
        let first = self.news_us(giver, taker).or(expected.map(|at| at.since(now)));
        let quiet = first.map(|us| now.plus(us.saturating_mul(2)).plus(patience[0].min(patience[1]) / HASTE));
        quiet.map_or(given_up, |at| at.min(given_up))
    }

    /// What a peer was to send as soon as it has it, it may have now.
    pub(in crate::swarm) fn is_here(&mut self, member: Key<Member>, now: Time) {
        let Member { peer, file, .. } = self.members[member];
        if self.peers[peer].unusual().waiting == 0 {
            return;
        }
        let have = &self.members[member].have;
        let begins = |&key: &Key<Transfer>| {
            let t = &self.transfers[key];
            t.waits > 0 && self.members[t.taker].file == file && have.contains(t.pieces.start)
        };
        let begun: SmallVec<[_; 4]> = self.giving(peer).filter(begins).collect();
        for key in begun {
            self.peers[peer].unusually(|unusual| unusual.waiting -= 1);
            let t = &self.transfers[key];
            let (to, given_up) = (self.members[t.taker].peer, t.deadline);
            let marks = [self.peers[peer].up.mark(), self.peers[to].down.mark()];
            let expected = self.expected(peer, to, now);
            let alarm = self.first_look(peer, to, expected, given_up, now);
            let t = &mut self.transfers[key];
            (t.waits, t.started, [t.giver_mark, t.taker_mark]) = (0, now, marks);
            (t.expected, t.alarm) = (expected.map_or(Alarmed::NEVER, Alarmed), alarm);
            self.coming.push((t.id, key));
            self.watch(peer, alarm);
        }
    }

    /// What cannot come any more from a peer that was to send it as soon as it has it: what of these pieces it has not got.
    pub(in crate::swarm) fn in_vain(
        &self,
        peer: Key<Peer>,
        file: Key<File>,
        pieces: &Range<u32>,
    ) -> SmallVec<[Key<Transfer>; 4]> {
        if self.peers.get(peer).is_none_or(|peer| peer.unusual().waiting == 0) {
            return SmallVec::new();
        }
        let is_it = |&key: &Key<Transfer>| {
            let t = &self.transfers[key];
            t.waits > 0 && self.members[t.taker].file == file && pieces.contains(&t.pieces.start)
        };
        self.giving(peer).filter(is_it).collect()
    }

    /// The transfers in which a peer sends, the latest first.
    pub(in crate::swarm) fn giving(&self, giver: Key<Peer>) -> impl Iterator<Item = Key<Transfer>> + '_ {
        std::iter::successors(self.peers[giver].giving, |&key| self.transfers[key].giving[1])
    }

    /// The command to take a transfer back.
    pub(in crate::swarm) fn cancel_of(&self, transfer: Key<Transfer>) -> Command {
        let t = &self.transfers[transfer];
        let taker = self.members[t.taker].peer;
        Command::Cancel { transfer: t.id, giver: self.peers[t.giver].id, taker: self.peers[taker].id }
    }

    /// When a transfer that starts now should be over: when both lines have done what is in flight on them.
    pub(super) fn expected(&self, giver: Key<Peer>, taker: Key<Peer>, now: Time) -> Option<Time> {
        let (g, t) = (&self.peers[giver], &self.peers[taker]);
        let up = g.up.queue_us(g.info.up_limit)?;
        let down = t.down.queue_us(t.info.down_limit).unwrap_or(0);
        Some(now.plus(up.max(down).saturating_add(g.up.cover(&self.config))))
    }

    /// In how much time a piece of what a giver is sending to a taker should come, however many others share the two lines;
    /// `None` while nothing is known of the giver's, or nobody tells of single pieces.
    fn news_us(&self, giver: Key<Peer>, taker: Key<Peer>) -> Option<u64> {
        if self.is_alone(giver) {
            return None;
        }
        let (g, t) = (&self.peers[giver], &self.peers[taker]);
        let each = |link: &Link, limit| {
            let bytes = u64::from(link.unit) * u64::from(link.transfers.max(1));
            (link.rate() > 0).then(|| bytes.saturating_mul(1_000_000) / link.rate_or(1, limit))
        };
        let up = each(&g.up, g.info.up_limit)?;
        let down = each(&t.down, t.info.down_limit).unwrap_or(0);
        Some(up.max(down).saturating_add(g.up.cover(&self.config)))
    }

    /// One peer dials another: from now on they know each other.
    fn meet(&mut self, dials: Key<Peer>, other: Key<Peer>, now: Time) {
        // The origin may always be dialled.
        if !self.peers[dials].is_origin() && !self.peers[other].is_origin() {
            for (one, other) in [(dials, other), (other, dials)] {
                if let Some(spare) = self.spare_friend(one, other) {
                    self.peers[one].friends.forget(spare);
                    self.peers[spare].friends.forget(one);
                }
            }
            self.peers[dials].friends.meet(other, true, now);
            self.peers[other].friends.meet(dials, false, now);
        }
    }

    /// Whether a peer may get acquainted with another.
    pub(in crate::swarm) fn has_room_for(&self, one: Key<Peer>, other: Key<Peer>) -> bool {
        self.peers[one].friends.len() < friends::MOST || self.spare_friend(one, other).is_some()
    }

    /// Whose acquaintance a peer gives up for that of another, if it has to: neither of the two needs anything any more, so it is of no
    /// use to them. Of some that are looked at; the same each time, until somebody is met.
    fn spare_friend(&self, one: Key<Peer>, other: Key<Peer>) -> Option<Key<Peer>> {
        const LOOK: usize = 4;
        let Peer { friends, needs, .. } = &self.peers[one];
        if friends.len() < friends::MOST || !needs.is_empty() || friends.knows(other) {
            return None;
        }
        let start = other.number() as usize;
        let mut some = (0..LOOK).map(|step| friends.at((start + step) % friends.len()));
        some.find(|&friend| self.peers[friend].needs.is_empty())
    }

    /// How long to wait for a sign of life of a transfer of `bytes`: the time all that is under way there needs, and
    /// [`Config::stall_us`] more.
    pub(super) fn patience(&self, giver: Key<Peer>, taker: Key<Peer>, bytes: u64) -> u64 {
        /// Nobody is given up for being this slow, bytes a second.
        const SLOW: u64 = 32 * 1024;
        /// But no transfer is waited for longer than this.
        const LONGEST: u64 = 10 * 60 * 1_000_000;
        let time = |link: &Link, limit| {
            let rate = link.rate_or(SLOW, limit);
            u64::try_from(u128::from(link.in_flight) * 1_000_000 / u128::from(rate)).unwrap_or(LONGEST)
        };
        let (giver, taker) = (&self.peers[giver], &self.peers[taker]);
        let queue =
            time(&giver.up, giver.info.up_limit).saturating_add(time(&taker.down, taker.info.down_limit));
        let alone = bytes.saturating_mul(1_000_000) / SLOW;
        self.config.stall_us.saturating_add(queue.max(alone).min(LONGEST))
    }

    /// The taker verified pieces; whether that is news. Settle it afterwards.
    pub(in crate::swarm) fn verified(
        &mut self,
        transfer: Key<Transfer>,
        pieces: impl IntoIterator<Item = u32>,
        now: Time,
    ) -> bool {
        self.set_aside(transfer, false, now);
        let is_news_rare = self.transfers[transfer].is_news_rare;
        let (mut is_news, mut together) = (false, 0);
        for piece in pieces {
            let bytes = self.verified_one(transfer, piece, now);
            is_news |= bytes > 0;
            // Of what is told late and all at once, a part says nothing of the line.
            match is_news_rare {
                true => together += bytes,
                false => self.has_passed(transfer, bytes, now),
            }
        }
        self.has_passed(transfer, together, now);
        if is_news {
            self.is_here(self.transfers[transfer].taker, now);
        }
        is_news
    }

    /// How many bytes that are.
    fn verified_one(&mut self, transfer: Key<Transfer>, piece: u32, now: Time) -> u64 {
        let t = &mut self.transfers[transfer];
        if !t.pieces.contains(&piece) || !t.note_done(piece) {
            return 0;
        }
        let m = &mut self.members[t.taker];
        let file = &mut self.files[m.file];
        let bytes = file.bytes_of(piece);
        t.bytes_done += bytes as u32;
        let (giver, taker) = (t.giver, m.peer);
        if m.have.insert(piece) {
            let g = &mut self.peers[giver];
            g.given += bytes;
            if g.info.stays() {
                g.lately.give(bytes, now);
            }
            let to = &mut self.peers[taker];
            to.taken += bytes;
            if !t.is_on_top {
                to.lately.take(bytes, now);
            }
            if self.peers[giver].is_origin() {
                self.stats.origin_bytes += bytes;
            } else {
                self.stats.peer_bytes += bytes;
            }
        } else {
            // It got it in another way meanwhile, and the copy that was coming is none more.
            if m.shares {
                file.rarity.fewer(piece);
            }
            self.stats.wasted_bytes += bytes;
        }
        match self.peers[giver].is_origin() {
            true => self.peers[taker].has_come_from_origins(bytes as u32),
            false => self.peers[taker].is_not_left(),
        }
        t.deadline = t.deadline.max(now.plus(self.config.stall_us));
        self.peers[giver].heard = now;
        bytes
    }

    /// Of a transfer, so many bytes have passed both lines.
    fn has_passed(&mut self, transfer: Key<Transfer>, bytes: u64, now: Time) {
        if bytes == 0 {
            return;
        }
        let t = &self.transfers[transfer];
        let (giver, taker) = (t.giver, self.members[t.taker].peer);
        if t.counts == Counts::NeverAgain {
            self.peers[giver].up.in_flight += bytes;
            self.peers[taker].down.in_flight += bytes;
        }
        let (giver_mark, taker_mark, started) = (t.giver_mark, t.taker_mark, t.started);
        if t.waits > 0 {
            // The taker was heard of before the giver: it says nothing of the line.
            self.peers[giver].up.set_aside(bytes, true, now);
            self.peers[taker].down.set_aside(bytes, true, now);
            return;
        }
        let up_budget = self.up_budget(giver);
        self.peers[giver].up.passed(bytes, giver_mark, started, now, up_budget);
        // What comes says what the taker's line carries only if the givers could send more. Many slow ones would make
        // it look slow, and leave no room for a fast one: so its rate is never learned downwards.
        self.peers[taker].down.passed(bytes, taker_mark, started, now, u64::MAX);
    }

    /// Forgets a transfer; what was not verified of it is needed again.
    pub(in crate::swarm) fn end(&mut self, transfer: Key<Transfer>, words: &mut Vec<u64>) {
        let Some(t) = self.transfers.remove(transfer) else { return };
        let (giver, [before, after]) = (t.giver, t.giving);
        match before {
            Some(before) => self.transfers[before].giving[1] = after,
            None => self.peers[giver].giving = after,
        }
        if let Some(after) = after {
            self.transfers[after].giving[0] = before;
        }
        self.stats.active_transfers -= 1;
        let m = &mut self.members[t.taker];
        if let Some(at) = m.flights.iter().position(|flight| flight.transfer == transfer) {
            m.flights.swap_remove(at);
        }
        if m.flights.is_empty() && m.flights.spilled() {
            m.flights = SmallVec::new();
        }
        let (taker, file) = (m.peer, m.file);
        if m.shares {
            let file = &mut self.files[file];
            t.missing().for_each(|piece| file.rarity.fewer(piece));
        }
        if t.waits > 0 {
            self.peers[giver].unusually(|unusual| unusual.waiting -= 1);
        }
        let lost = u64::from(t.bytes - t.bytes_done);
        if self.peers[giver].is_origin() {
            self.peers[taker].end_from_origins(lost as u32);
        }
        let promised = if t.counts == Counts::Yes { lost } else { 0 };
        self.peers[giver].up.end(promised);
        self.peers[taker].down.end(promised);
        let have = &self.members[t.taker].have;
        // What was verified may have been lost again meanwhile, and be wanted again.
        if touched(&t.pieces).any(|index| mask(&t.pieces, index) & !have.word(index) != 0) {
            self.recount(t.taker, words);
        }
        if lost > 0 {
            let repair = Some(t.pieces.clone());
            self.members[t.taker].specially(|special| special.repair = repair);
        }
        self.settle(t.taker);
    }

    /// Has a giver's transfers looked at no later than `at`. One alarm for all of them, and it stays when they end, so most
    /// transfers do not touch it.
    pub(in crate::swarm) fn watch(&mut self, giver: Key<Peer>, at: Time) {
        let watch = &mut self.peers[giver].watch;
        if at < watch.0 {
            if let Some(set) = watch.replace(Some(at)) {
                self.alarms.remove(&(set, Alarm::Watch(giver)));
            }
            self.alarms.insert((at, Alarm::Watch(giver)));
        }
    }

    /// The alarm for a giver's transfers rang (and is no longer in the set): which of them are to be looked at.
    pub(in crate::swarm) fn due_to_look_at(
        &mut self,
        giver: Key<Peer>,
        now: Time,
    ) -> Vec<(TransferId, Key<Transfer>)> {
        self.peers[giver].watch = Alarmed::NEVER;
        let due = |&key: &Key<Transfer>| self.transfers[key].alarm <= now;
        let named = |key| (self.transfers[key].id, key);
        self.giving(giver).filter(due).map(named).collect()
    }

    /// Sets the alarm for a giver's transfers, if there are any.
    pub(in crate::swarm) fn watch_again(&mut self, giver: Key<Peer>) {
        if self.peers.get(giver).is_none() {
            return;
        }
        if let Some(at) = self.giving(giver).map(|key| self.transfers[key].alarm).min() {
            self.watch(giver, at);
        }
    }

    /// Looks at a transfer whose alarm rang, and sets when to look again if it goes on.
    pub(in crate::swarm) fn look_at(&mut self, transfer: Key<Transfer>, now: Time) -> Finding {
        let t = &self.transfers[transfer];
        if t.deadline <= now {
            return Finding::Stalled;
        }
        let (giver, taker) = (t.giver, self.members[t.taker].peer);
        let news = self.news_us(giver, taker);
        let silence_of = |peer: Key<Peer>| {
            let p = &self.peers[peer];
            let usual = p.up.queue_us(p.info.up_limit).max(p.down.queue_us(p.info.down_limit)).unwrap_or(0);
            let silence = news.unwrap_or(usual).saturating_mul(2);
            (p.patience(&self.config) / HASTE).saturating_add(silence)
        };
        let late_at = |peer: Key<Peer>| self.peers[peer].heard.max(t.started).plus(silence_of(peer));
        // Version 2 knows no ping, and cannot be told to stop.
        let is_late = |&peer: &Key<Peer>| {
            let p = &self.peers[peer];
            !p.is_origin() && p.info.runs && !p.is_quiet() && late_at(peer) <= now
        };
        let late: SmallVec<_> = [giver, taker].into_iter().filter(is_late).collect();
        let soonest = late_at(giver).min(late_at(taker)).max(now.plus(self.config.silence_us / 8));
        let again = soonest.min(t.deadline);
        self.transfers[transfer].alarm = again;
        if late.is_empty() { Finding::Fine } else { Finding::Quiet(late) }
    }

    /// Whether what a transfer is still to bring counts as under way. One of its sides gives no sign of life: that must not
    /// keep the other's line from being filled.
    pub(in crate::swarm) fn set_aside(&mut self, transfer: Key<Transfer>, is_aside: bool, now: Time) {
        let t = &mut self.transfers[transfer];
        let counts = if is_aside { Counts::NotNow } else { Counts::Yes };
        if [counts, Counts::NeverAgain].contains(&t.counts) {
            return;
        }
        t.counts = counts;
        let (left, giver, taker) = (u64::from(t.bytes - t.bytes_done), t.giver, self.members[t.taker].peer);
        self.peers[giver].up.set_aside(left, is_aside, now);
        self.peers[taker].down.set_aside(left, is_aside, now);
    }

    /// Waits for a transfer until `deadline` and no longer.
    pub(in crate::swarm) fn hurry(&mut self, transfer: Key<Transfer>, deadline: Time) {
        let t = &mut self.transfers[transfer];
        if deadline < t.deadline {
            (t.deadline, t.alarm) = (deadline, deadline.min(t.alarm));
            let (giver, alarm) = (t.giver, t.alarm);
            self.watch(giver, alarm);
        }
    }

    /// Forgets what happened between a giver and a taker.
    pub(in crate::swarm) fn forget_pair(&mut self, giver: Key<Peer>, taker: Key<Peer>) {
        if let Some(pair) = self.pairs.remove(giver, taker) {
            self.alarms.remove(&(pair.alarm, Alarm::Pair(giver, taker)));
            if !self.pairs.contains(taker, giver) {
                for (one, other) in [(giver, taker), (taker, giver)] {
                    self.peers[one].unusually(|unusual| {
                        let partners = &mut unusual.partners;
                        if let Some(at) = partners.iter().position(|&partner| partner == other) {
                            partners.swap_remove(at);
                        }
                    });
                }
            }
        }
    }

    /// Notes a failure between a giver and a taker and keeps them apart for a while.
    pub(in crate::swarm) fn keep_apart(
        &mut self,
        giver: Key<Peer>,
        taker: Key<Peer>,
        kind: FailureKind,
        now: Time,
    ) {
        if !self.pairs.contains(giver, taker) && !self.pairs.contains(taker, giver) {
            self.peers[giver].unusually(|unusual| unusual.partners.push(taker));
            self.peers[taker].unusually(|unusual| unusual.partners.push(giver));
        }
        let (old, new) = self.pairs.failed(giver, taker, kind, self.config.retry_us, now);
        if let Some(old) = old {
            self.alarms.remove(&(old, Alarm::Pair(giver, taker)));
        }
        self.alarms.insert((new, Alarm::Pair(giver, taker)));
    }
}
