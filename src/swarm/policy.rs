//! What events mean. Not responsible for who gets what (`schedule`).

use std::ops::Range;

use super::dice::Dice;
use super::reader::Reader;
use super::slab::Key;
use super::state::{Alarm, Alarmed, File, Finding, MAX_DOUBLINGS, Member, Peer, State, Transfer};
use super::types::*;

/// Alarms looked at in one call; the rest makes [`Swarm::next_timeout`] due at once.
const ALARMS: usize = 256;
/// After the giver said that a transfer failed, its taker may still say otherwise for this long, microseconds.
const GIVER_SAID_US: u64 = 2_000_000;
/// In a row this often not to be dialled: not dialled any more until it is found reachable again.
const MAX_UNDIALLED: u16 = 3;
/// The pause of a file that fails at the origin doubles at most this often.
const MAX_PAUSES: u8 = 5;
/// Files of a peer looked at for what was ordered for it before it was known that it can be dialled.
const ORDERED: usize = 8;
/// Who accuses more different givers than this is no longer believed.
const MAX_ACCUSED: u16 = 4;

/// The scheduler of one server.
#[derive(Debug)]
pub struct Swarm {
    pub(super) state: State,
    pub(super) dice: Dice,
    /// Peers whose situation has changed during this call.
    pub(super) touched: Vec<Key<Peer>>,
    /// What a member needs: scratch space.
    pub(super) words: Vec<u64>,
    /// When to look after those in need even if nothing happens; only while there are any.
    pub(super) sweep_at: Option<Time>,
    pub(super) sweep_gap: u64,
}

impl Swarm {
    /// With nobody here and no files.
    pub fn new(config: Config) -> Self {
        Self {
            dice: Dice::new(config.seed),
            state: State::new(config),
            touched: Vec::new(),
            words: Vec::new(),
            sweep_at: None,
            sweep_gap: 0,
        }
    }

    /// Takes an event in and appends what is to be done to `out`. Events about peers, files and transfers that do
    /// not exist (any more) are ignored: they cross with commands on the wire.
    pub fn handle(&mut self, event: Event, now: Time, out: &mut Vec<Command>) {
        self.fetch_for(&event);
        // An event about what does not exist says nothing. What has happened comes before what was feared.
        self.hear(&event, now);
        let ended_from = self.state.ends_from();
        let _ = self.take_in(event, now, out);
        self.wake(now, out);
        self.schedule(ended_from, now, out);
        self.state.fetch_alarm();
    }

    /// While only last pieces are left, lines are told less. Where there is more to do again, those who are busy could be told
    /// something now. `ended_from` is what [`State::ends_from`] said before; it says it now.
    pub(super) fn go_on_after_the_end(&mut self, ended_from: u64) -> u64 {
        let ends_from = self.state.ends_from();
        if ends_from > ended_from {
            let peers = &self.state.peers;
            let is_more = |key: &Key<Peer>| {
                let up = &peers[*key].up;
                up.in_flight > 0 && (ended_from..ends_from).contains(&u64::from(up.unit))
            };
            // A crowd has no end, so they are few.
            self.touched.extend(self.state.peer_ids.values().copied().filter(is_more));
        }
        ends_from
    }

    /// When to send [`Event::Tick`] if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Time> {
        let alarm = self.state.alarms.first().map(|&(at, _)| at);
        alarm.into_iter().chain(self.sweep_at).min()
    }

    /// Totals.
    pub fn stats(&self) -> SwarmStats {
        self.state.stats
    }

    /// One peer's part; `None` for strangers.
    pub fn peer_stats(&self, peer: PeerId) -> Option<PeerStats> {
        let peer = &self.state.peers[*self.state.peer_ids.get(&peer)?];
        Some(PeerStats {
            given: peer.given,
            taken: peer.taken,
            up_rate: peer.up.rate(),
            down_rate: peer.down.rate(),
            giving: peer.up.transfers.into(),
            taking: peer.down.transfers.into(),
            wrong: peer.unusual().wrong.into(),
            stays: peer.info.stays(),
        })
    }

    /// Whether anybody wants, has (origins aside) or is moving anything of `file`.
    pub fn is_in_use(&self, file: FileId) -> bool {
        self.state.file_ids.get(&file).is_some_and(|&file| !self.state.files[file].members.is_empty())
    }

    /// Whether a transfer is under way.
    pub fn is_under_way(&self, transfer: TransferId) -> bool {
        self.state.transfer(transfer).is_some()
    }

    /// Whether nothing is left of peers, files and transfers, nor any memory of them.
    pub fn is_empty(&self) -> bool {
        self.state.is_empty() && self.sweep_at.is_none()
    }

    /// Has the processor get what an event of a transfer is about: see `cache`.
    fn fetch_for(&self, event: &Event) {
        let (Event::Progress { transfer, .. } | Event::Completed { transfer, .. }) = event else { return };
        if let Some(key) = self.state.transfer(*transfer) {
            self.state.fetch_sides(key);
        }
    }

    /// Whoever says something is there.
    fn hear(&mut self, event: &Event, now: Time) {
        let (Event::Request { peer, .. }
        | Event::ReaderPace { peer, .. }
        | Event::Unrequest { peer, .. }
        | Event::Provide { peer, .. }
        | Event::Unprovide { peer, .. }
        | Event::Pong { peer }
        | Event::Progress { peer, .. }
        | Event::Completed { peer, .. }) = event
        else {
            return;
        };
        if let Some(key) = self.peer_or_origin(*peer) {
            self.is_there(key, now);
        }
    }

    /// Something was heard of a peer.
    fn is_there(&mut self, key: Key<Peer>, now: Time) {
        self.state.peers[key].heard = now;
        if !self.state.peers[key].is_quiet() {
            return;
        }
        self.state.peers[key].unusually(|unusual| unusual.silences = 0);
        self.state.count_in(key, &mut self.words);
        self.state.set_rest(key, None);
        self.touched.push(key);
        for transfer in self.transfers_of(key) {
            let t = &self.state.transfers[transfer];
            let sides = [t.giver, self.state.members[t.taker].peer];
            if !sides.iter().any(|&side| self.state.peers[side].is_quiet()) {
                self.state.set_aside(transfer, false, now);
            }
        }
    }

    /// `None` if the event is about something that does not exist.
    fn take_in(&mut self, event: Event, now: Time, out: &mut Vec<Command>) -> Option<()> {
        match event {
            Event::PeerJoined { peer, info } => {
                self.state.add_peer(peer, info, now)?;
            }
            Event::Reachable { peer, ok } => {
                let key = self.peer(peer)?;
                self.state.peers[key].info.reachable = ok;
                self.state.peers[key].was_dialled();
                self.touched.push(key);
                // What it can pass on may have been ordered before that was known.
                let some = self.state.peers[key].needs.iter().take(ORDERED);
                let members = some.map(|member| &self.state.members[member]);
                let flights = members.flat_map(|m| m.flights.iter().map(|flight| flight.transfer));
                let coming: Vec<_> = flights.map(|key| (self.state.transfers[key].id, key)).collect();
                self.state.coming.extend(coming);
            }
            Event::PeerLeft { peer } => self.leave(peer, out)?,
            Event::FileAdded { file, size, piece_size } => {
                self.state.add_file(file, size, piece_size)?;
            }
            Event::FileRules { file, rules } => {
                let file = *self.state.file_ids.get(&file)?;
                self.state.set_rules(file, rules);
            }
            Event::FileRemoved { file } => self.remove_file(file, out)?,
            Event::Request { peer, file, pieces, order, window } => {
                let (key, file, pieces) = self.part_of(peer, file, pieces)?;
                let window = window.map(|window| window.start..window.end.min(self.state.files[file].pieces));
                let member = self.state.part_or_new(key, file);
                let m = &mut self.state.members[member];
                m.want.insert(pieces);
                m.order = order;
                let window = window.filter(|window| !window.is_empty());
                let reads = window.is_some();
                if reads || m.reader().is_some() {
                    let piece_size = self.state.files[file].piece_size;
                    m.specially(|special| match (window, &mut special.reader) {
                        (Some(window), Some(reader)) => reader.moved(window, now, piece_size),
                        (window, reader) => *reader = window.map(|window| Reader::new(window, now)),
                    });
                }
                self.changed(member);
                if reads
                    && self.state.part(key, file).is_some_and(|member| self.state.members[member].open > 0)
                {
                    self.state.set_urgent(member);
                }
            }
            Event::ReaderPace { peer, file, rate } => {
                let (key, file, _) = self.part_of(peer, file, 0..0)?;
                let member = self.state.part(key, file)?;
                let m = &mut self.state.members[member];
                m.reader()?;
                m.specially(|special| special.reader.as_mut().map(|reader| reader.paced(rate)))?;
            }
            Event::Unrequest { peer, file, pieces } => {
                let (key, file, pieces) = self.part_of(peer, file, pieces)?;
                let member = self.state.part(key, file)?;
                self.state.members[member].want.remove(&pieces);
                self.changed(member);
            }
            Event::Provide { peer, file, pieces } => {
                let (key, file, pieces) = self.part_of(peer, file, pieces)?;
                let member = self.state.part_or_new(key, file);
                pieces.for_each(|piece| self.state.gain(member, piece));
                self.state.is_here(member, now);
                self.changed(member);
            }
            Event::Unprovide { peer, file, pieces } => {
                let (key, file, pieces) = self.part_of(peer, file, pieces)?;
                let member = self.state.part(key, file)?;
                pieces.for_each(|piece| self.state.lose(member, piece));
                self.changed(member);
            }
            Event::Progress { transfer, peer, pieces } => {
                let key = self.state.transfer(transfer)?;
                let t = &self.state.transfers[key];
                let (giver, taker) = (t.giver, t.taker);
                if self.id_of(self.state.members[taker].peer) != peer {
                    return None;
                }
                if self.state.verified(key, pieces, now) {
                    self.is_there(giver, now);
                    self.state.settle(taker);
                    self.touched.extend([giver, self.state.members[taker].peer]);
                }
            }
            Event::Completed { transfer, peer, bytes, ms, result } => {
                self.completed(transfer, peer, (bytes, ms), result, now, out)?;
            }
            Event::Pong { .. } | Event::Tick => {}
        }
        Some(())
    }

    /// A side says that a transfer has ended.
    fn completed(
        &mut self,
        transfer: TransferId,
        peer: PeerId,
        (bytes, ms): (u64, u64),
        result: Result<(), FailureKind>,
        now: Time,
        out: &mut Vec<Command>,
    ) -> Option<()> {
        let key = self.state.transfer(transfer)?;
        let t = &self.state.transfers[key];
        if self.id_of(self.state.members[t.taker].peer) != peer {
            if self.id_of(t.giver) == peer {
                let patience = if result.is_ok() { self.state.config.stall_us } else { GIVER_SAID_US };
                self.state.hurry(key, now.plus(patience));
            }
            return None;
        }
        match result {
            Ok(()) => {
                let (giver, taker, dialled) =
                    (t.giver, self.state.members[t.taker].peer, t.acceptor(&self.state));
                let total = now.since(t.started);
                let late = t.expected.get().map(|at| now.since(at));
                let member = t.taker;
                self.state.verified(key, t.pieces.clone(), now);
                self.state.peers[giver].up.learn_lag(total, ms.saturating_mul(1000));
                self.state.peers[taker].down.learn_lag(total, ms.saturating_mul(1000));
                self.state.learn_of_crowd(giver);
                if let Some(late) = late {
                    self.state.peers[giver].up.learn_late(late);
                    self.state.peers[taker].down.learn_late(late);
                }
                self.state.peers[giver].trust(true);
                if self.state.members[member].pause() > Time::default() {
                    self.state.members[member].specially(|special| special.pauses = 0);
                }
                self.is_there(giver, now);
                self.end(key, out);
                self.state.stats.succeeded += 1;
                self.state.forget_pair(giver, taker);
                self.state.peers[dialled].was_dialled();
            }
            Err(kind) => self.failed(key, kind, bytes, now, out),
        }
        Some(())
    }

    /// A transfer failed: learn from it, and have the pieces sent by others.
    fn failed(
        &mut self,
        key: Key<Transfer>,
        kind: FailureKind,
        bytes: u64,
        now: Time,
        out: &mut Vec<Command>,
    ) {
        let t = &self.state.transfers[key];
        let (giver, taker, acceptor) = (t.giver, self.state.members[t.taker].peer, t.acceptor(&self.state));
        let file = self.state.members[t.taker].file;
        self.state.stats.wasted_bytes += bytes.min(t.bytes.into()).saturating_sub(t.bytes_done.into());
        self.state.stats.failed += 1;
        let missing: Vec<u32> = t.missing().collect();
        self.end(key, out);
        let still_wanted = self.state.part(taker, file).is_some_and(|member| {
            let want = &self.state.members[member].want;
            missing.iter().any(|&piece| want.contains(piece))
        });
        match kind {
            // It changed its mind, for which nobody is to wait.
            FailureKind::Cancelled if !still_wanted => {}
            // What the origin has is no longer what it was, which says nothing about other files.
            FailureKind::Gone | FailureKind::Hash if self.state.peers[giver].is_origin() => {
                self.pause(taker, file, now);
            }
            // That is mended by not asking for those pieces again.
            FailureKind::Gone => {}
            _ => self.state.keep_apart(giver, taker, kind, now),
        }
        match kind {
            FailureKind::Cancelled | FailureKind::Disk => {}
            FailureKind::Unreachable if acceptor != giver => {}
            _ => self.state.peers[giver].trust(false),
        }
        match kind {
            FailureKind::Unreachable => self.undialled(acceptor),
            FailureKind::Gone => self.take_back(giver, file, &missing),
            FailureKind::Hash => {
                // Pieces are verified in order: the first that is missing was wrong.
                let wrong = &missing[..missing.len().min(1)];
                self.blame(giver, taker, out);
                self.take_back(giver, file, wrong);
            }
            _ => {}
        }
    }

    /// For a while, doubling, nothing of a file is asked from origins for a taker.
    fn pause(&mut self, taker: Key<Peer>, file: Key<File>, now: Time) {
        let Some(member) = self.state.part(taker, file) else { return };
        let m = &mut self.state.members[member];
        // Those that were under way together fail together: that is one failure.
        let retry = self.state.config.retry_us;
        m.specially(|special| {
            if now >= special.pause {
                special.pause = now.plus(retry << special.pauses.min(MAX_PAUSES));
                special.pauses = special.pauses.saturating_add(1);
            }
        });
    }

    /// One that cannot be dialled again and again will not be dialled.
    fn undialled(&mut self, acceptor: Key<Peer>) {
        let peer = &mut self.state.peers[acceptor];
        let times = peer.unusually(|unusual| {
            unusual.undialled = unusual.undialled.saturating_add(1);
            unusual.undialled
        });
        if times >= MAX_UNDIALLED && !peer.is_origin() {
            peer.info.reachable = false;
        }
    }

    /// `giver` sent `taker` wrong bytes, says the taker.
    fn blame(&mut self, giver: Key<Peer>, taker: Key<Peer>, out: &mut Vec<Command>) {
        // An origin has what the file is; if not, the file has changed, which is not for us to judge.
        if self.state.peers[giver].is_origin() {
            return;
        }
        let first = self
            .state
            .pairs
            .get_mut(giver, taker)
            .is_some_and(|pair| !std::mem::replace(&mut pair.accused, true));
        let accused = self.state.peers[taker].unusually(|accuser| {
            accuser.accused = accuser.accused.saturating_add(first.into());
            accuser.accused
        });
        if accused > MAX_ACCUSED {
            return;
        }
        let peer = &mut self.state.peers[giver];
        let wrong = peer.unusually(|unusual| {
            unusual.wrong = unusual.wrong.saturating_add(1);
            unusual.wrong
        });
        if u32::from(wrong) >= self.state.config.max_wrong
            && !std::mem::replace(&mut peer.info.is_distrusted, true)
        {
            out.push(Command::Distrusted { peer: peer.id });
            let members: Vec<_> = peer.members.iter().collect();
            self.state.forget_friends(giver);
            for member in members {
                self.state.set_shares(member, false);
                self.state.settle(member);
            }
        }
    }

    /// A giver turned out not to have pieces it said it has.
    fn take_back(&mut self, giver: Key<Peer>, file: Key<File>, pieces: &[u32]) {
        if let Some(member) = self.state.part(giver, file) {
            pieces.iter().for_each(|&piece| self.state.lose(member, piece));
            self.changed(member);
        }
    }

    /// A peer is gone, with all it was doing.
    fn leave(&mut self, peer: PeerId, out: &mut Vec<Command>) -> Option<()> {
        let key = self.peer_or_origin(peer)?;
        let transfers = self.transfers_of(key);
        self.cancel(transfers, out);
        self.state.remove_peer(key);
        self.touched.retain(|&other| other != key);
        self.those_left_may_be_few();
        Some(())
    }

    /// A file is no longer to be distributed.
    fn remove_file(&mut self, file: FileId, out: &mut Vec<Command>) -> Option<()> {
        let key = *self.state.file_ids.get(&file)?;
        // Nothing of it is to be started again when its transfers end.
        let members: Vec<_> = self.state.files[key].members.iter().collect();
        let mut transfers = Vec::new();
        for &member in &members {
            self.state.members[member].want.clear();
            transfers.extend(self.state.members[member].flights.iter().map(|flight| flight.transfer));
        }
        self.cancel(transfers, out);
        self.state.remove_file(key);
        Some(())
    }

    /// Something should have been heard of a peer. It is given nothing more to do, and what it has to do is not relied on, until it
    /// answers.
    fn quiet(&mut self, peer: Key<Peer>, now: Time, out: &mut Vec<Command>) {
        let p = &self.state.peers[peer];
        if p.is_quiet() {
            return;
        }
        // Even where lines are usually quick, an answer may have to wait behind other things.
        let config = &self.state.config;
        let answer = (p.patience(config) / 2).max(config.silence_us / 2).max(1);
        out.push(Command::Ping { peer: p.id });
        self.state.set_rest(peer, Some(now.plus(answer)));
        for transfer in self.transfers_of(peer) {
            let t = &self.state.transfers[transfer];
            self.touched.extend([t.giver, self.state.members[t.taker].peer]);
            self.state.set_aside(transfer, true, now);
        }
    }

    /// A peer has not answered: others do what it should have done. It is asked again, ever more slowly.
    fn unanswered(&mut self, peer: Key<Peer>, now: Time, out: &mut Vec<Command>) {
        let p = &mut self.state.peers[peer];
        let silences = u32::from(p.unusual().silences);
        p.unusually(|unusual| unusual.silences = unusual.silences.saturating_add(1));
        let rest = self.state.config.silence_us << silences.min(MAX_DOUBLINGS);
        out.push(Command::Ping { peer: p.id });
        self.state.set_rest(peer, Some(now.plus(rest.max(1))));
        self.state.forget_friends(peer);
        let transfers = self.transfers_of(peer);
        self.cancel(transfers, out);
        self.state.count_out(peer, &mut self.words);
        self.those_left_may_be_few();
    }

    /// Two that are left of many may send each other more.
    fn those_left_may_be_few(&mut self) {
        if self.state.are_few() {
            self.touched.extend(self.state.peer_ids.values());
        }
    }

    /// What a peer gives and takes.
    fn transfers_of(&self, peer: Key<Peer>) -> Vec<Key<Transfer>> {
        let mut transfers: Vec<_> = self.state.giving(peer).collect();
        for member in self.state.peers[peer].members.iter() {
            transfers.extend(self.state.members[member].flights.iter().map(|flight| flight.transfer));
        }
        transfers
    }

    fn cancel(&mut self, transfers: Vec<Key<Transfer>>, out: &mut Vec<Command>) {
        for key in transfers {
            // Some may have waited for others of them.
            if self.state.transfers.get(key).is_some() {
                self.call_off(key, out);
            }
        }
    }

    /// Takes a transfer back.
    pub(super) fn call_off(&mut self, key: Key<Transfer>, out: &mut Vec<Command>) {
        out.push(self.state.cancel_of(key));
        self.state.stats.failed += 1;
        self.end(key, out);
    }

    /// Ends a transfer and looks at both sides.
    fn end(&mut self, key: Key<Transfer>, out: &mut Vec<Command>) {
        let t = &self.state.transfers[key];
        let m = &self.state.members[t.taker];
        let (peer, file, pieces) = (m.peer, m.file, t.pieces.clone());
        self.touched.extend([t.giver, peer]);
        self.state.end(key, &mut self.words);
        // Who waits for what does not come is not to wait for it.
        for key in self.state.in_vain(peer, file, &pieces) {
            self.call_off(key, out);
        }
    }

    /// Does what the time has come for.
    fn wake(&mut self, now: Time, out: &mut Vec<Command>) {
        for _ in 0..ALARMS {
            let Some(&(at, alarm)) = self.state.alarms.first().filter(|&&(at, _)| at <= now) else { break };
            self.state.alarms.remove(&(at, alarm));
            match alarm {
                Alarm::Watch(giver) => {
                    for (transfer, key) in self.state.due_to_look_at(giver, now) {
                        let is_there = |t: &Transfer| t.id == transfer;
                        if self.state.transfers.get(key).is_some_and(is_there) {
                            self.look_after(key, now, out);
                        }
                    }
                    self.state.watch_again(giver);
                }
                Alarm::Feed(peer) => {
                    self.state.peers[peer].feed = Alarmed::NEVER;
                    self.touched.push(peer);
                }
                Alarm::Rest(peer) => {
                    // It stays quiet: the alarm is set anew.
                    self.unanswered(peer, now, out);
                }
                Alarm::Pair(giver, taker) => {
                    match self.state.pairs.get_mut(giver, taker).map(|p| p.next_alarm(now)) {
                        Some(Some(at)) => {
                            self.state.alarms.insert((at, alarm));
                            self.touched.extend([giver, taker]);
                        }
                        _ => self.state.forget_pair(giver, taker),
                    }
                }
            }
        }
    }

    /// Looks whether a transfer is still alive.
    fn look_after(&mut self, key: Key<Transfer>, now: Time, out: &mut Vec<Command>) {
        match self.state.look_at(key, now) {
            Finding::Fine => {}
            Finding::Quiet(peers) => peers.into_iter().for_each(|peer| self.quiet(peer, now, out)),
            Finding::Stalled => {
                out.push(self.state.cancel_of(key));
                self.failed(key, FailureKind::Timeout, 0, now, out);
            }
        }
    }

    /// After a member's pieces or wishes changed.
    fn changed(&mut self, member: Key<Member>) {
        self.touched.push(self.state.members[member].peer);
        self.state.recount(member, &mut self.words);
        self.state.settle(member);
    }

    fn id_of(&self, peer: Key<Peer>) -> PeerId {
        self.state.peers[peer].id
    }

    fn peer_or_origin(&self, peer: PeerId) -> Option<Key<Peer>> {
        self.state.peer_ids.get(&peer).copied()
    }

    /// A peer that is not an origin: of an origin everything is known already.
    fn peer(&self, peer: PeerId) -> Option<Key<Peer>> {
        self.peer_or_origin(peer).filter(|&key| !self.state.peers[key].is_origin())
    }

    /// The same, with a file and those of some pieces that it has.
    fn part_of(
        &self,
        peer: PeerId,
        file: FileId,
        pieces: Range<u32>,
    ) -> Option<(Key<Peer>, Key<File>, Range<u32>)> {
        let (peer, file) = (self.peer(peer)?, *self.state.file_ids.get(&file)?);
        let end = pieces.end.min(self.state.files[file].pieces);
        Some((peer, file, pieces.start.min(end)..end))
    }
}
