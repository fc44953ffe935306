//! What there is: peers, files, who has and wants what, and what is under way; and the few ways in which that
//! changes, each of which keeps all the indexes right. Who should send what to whom is decided in `schedule`.
//!
//! A [`Member`] is a peer's part in a file. It is there only while the peer has, wants or receives something of the
//! file, and sits in up to five bags, so that every question the scheduler asks starts from a bag that holds
//! exactly the candidates.

use std::collections::BTreeSet;
use std::ops::Range;

use smallvec::SmallVec;

use super::bits::{Pieces, Ranges, WORD, mask, touched, words_for};
use super::cache::fetch;
use super::friends::{self, Friends};
use super::pairs::Pairs;
use super::places::Place;
use super::rarity::Rarity;
use super::rates::{LAGS, Limit, Link, Mark};
use super::reader::Reader;
use super::rules::{Rules, Spent};
use super::slab::{Bag, IdMap, Key, Keys, Seat, Slab};
use super::spread::Spread;
use super::types::*;
use crate::wire::limits::MAX_PIECES;

/// The time until one that does not answer is pinged again doubles at most this often.
pub(super) const MAX_DOUBLINGS: u32 = 2;

/// A taker's line is kept filled for this many times the time a giver's is: what comes from many givers waits in
/// the queues of all of them, and must not be cut short because of that.
const TAKER_COVER: u64 = 4;
/// And by at least this many bytes.
const TAKER_LEAST: u64 = 512 * 1024;
/// And this many pieces, if its line is known to carry them in so many seconds. A large piece takes its giver long, which may
/// have several under way. Of two a taker could get no more than a part of one giver's line, and whoever else has time for it
/// could never give it anything.
const TAKER_PIECES: u64 = 8;
const TAKER_PIECES_S: u64 = 8;
/// An origin may send in this many times as many transfers as a peer: it serves many at once.
const ORIGIN_TRANSFERS: u32 = 16;
/// What cannot wait may fill a giver's line this many times as far as all else.
const SQUEEZE: u64 = 2;
/// So many peers are a crowd.
const CROWD: u64 = 100;
/// So few peers count as alone with an origin.
const FEW: u64 = 2;
/// So many pieces for each peer are the last ones.
const LAST_PIECES: u64 = 2;
/// The first piece of a line has it to itself for no longer than this, microseconds: a fast one has sent it by then.
const HEAD_START_US: u64 = 8_000;
/// See [`Peer::trust`]: three failures in a row of one of which nothing is known, five after many that went well.
const DOUBTFUL: u8 = 64;
/// Transfers under way at once. The lowest bits of a transfer's number say where it is kept, so that no map is needed; the
/// others are counted up.
const MOST_TRANSFERS: usize = 1 << 24;
/// The parts of a peer with no more files than this are found by looking at each.
const SCANNED: usize = 4;
/// Who comes within this time after somebody came together with that one, microseconds.
const TOGETHER_US: u64 = 1_000_000;
/// Pieces, see [`Peer::is_poor`].
const LITTLE: u64 = 2;
/// See [`Peer::balance`], microseconds.
pub(super) const NEW_US: u64 = 30_000_000;
/// See [`Peer::fresh`], microseconds.
const FRESH_US: u64 = 4_000_000;

/// Many peers are looked at for each assignment, in no order, and few of them are in the cache. What is asked of one that
/// could take something is in its first two lines of 64 bytes, and what is asked of one that could give something in the
/// first and the third. Four lines are all there are.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Peer {
    pub(super) members: Bag<Member>,
    pub(super) friends: Friends,
    pub(super) info: Info,

    pub(super) down: Link,
    /// Verified bytes.
    pub(super) given: u64,
    pub(super) taken: u64,
    /// When the first of those who came together with it came.
    pub(super) joined: Time,

    pub(super) up: Link,
    /// What few have.
    unusual: Option<Box<Unusual>>,
    /// The entry of [`Alarm::Feed`].
    pub(super) feed: Alarmed,
    /// The entry of [`Alarm::Watch`]: not after the first alarm of what it gives.
    watch: Alarmed,

    /// When something was last heard of it: from itself, or that what it sent has come.
    pub(super) heard: Time,
    /// Bytes that it lately got, or was promised, from origins, and when that was right: see [`Peer::fresh`].
    fresh_at: Time,
    fresh: f32,
    /// The latest of the transfers in which it sends: see [`State::giving`].
    giving: Option<Key<Transfer>>,
    /// Where something is wanted, not had and not under way.
    pub(super) needs: Bag<Member>,
    /// Where it has something to give.
    pub(super) offers: Bag<Member>,
    pub(super) id: PeerId,
    /// In [`State::needy`].
    needy: Seat,
}

/// What is kept only of a peer that reads, to which an origin sends, or with which something went wrong.
#[derive(Debug)]
pub(super) struct Unusual {
    /// With whom there is a record in [`Pairs`].
    partners: Keys<Peer>,
    /// It was pinged and has not answered: it is given nothing to do. Until an alarm rings, which means that it is gone, or
    /// that it is to be pinged again.
    rests: Alarmed,
    /// Pings in a row that it let pass.
    pub(super) silences: u8,
    /// Where a reader waits, served first.
    urgent: Option<Key<Member>>,
    /// In [`State::readers`].
    reads: Seat,
    /// Wrong pieces it sent, as far as the accusers are believed.
    pub(super) wrong: u16,
    /// Different givers it said sent it wrong pieces.
    pub(super) accused: u16,
    /// How often in a row it could not be dialled.
    pub(super) undialled: u16,
    /// Bytes under way from origins.
    from_origins: u32,
}

impl Unusual {
    const NOTHING: Self = Self {
        partners: Keys::NONE,
        rests: Alarmed::NEVER,
        silences: 0,
        urgent: None,
        reads: Seat::NONE,
        wrong: 0,
        accused: 0,
        undialled: 0,
        from_origins: 0,
    };

    fn is_nothing(&self) -> bool {
        self.partners.is_empty()
            && !self.rests.is_set()
            && self.urgent.is_none()
            && !self.reads.is_taken()
            && [self.wrong, self.accused, self.undialled, self.silences.into()] == [0; 4]
            && self.from_origins == 0
    }
}

/// What is kept of a [`PeerInfo`], and how far it can be relied on.
#[derive(Debug)]
pub(super) struct Info {
    pub(super) up_limit: Limit,
    pub(super) down_limit: Limit,
    pub(super) place: Place,
    pub(super) is_origin: bool,
    pub(super) reachable: bool,
    pub(super) gives: bool,
    pub(super) runs: bool,
    pub(super) puts: bool,
    pub(super) is_distrusted: bool,
    /// How reliable it was lately as a giver, from verified outcomes: 255 = every transfer went well.
    trust: u8,
    /// Whether it rests.
    is_quiet: bool,
}

impl From<PeerInfo> for Info {
    fn from(info: PeerInfo) -> Self {
        let PeerInfo { is_origin, reachable, gives, runs, puts, up_limit, down_limit, address } = info;
        let (up_limit, down_limit) = (up_limit.into(), down_limit.into());
        Self {
            up_limit,
            down_limit,
            place: Place::of(address),
            is_origin,
            reachable,
            gives,
            runs,
            puts,
            is_distrusted: false,
            trust: u8::MAX / 2,
            is_quiet: false,
        }
    }
}

/// When an alarm of a peer is set to ring, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alarmed(Time);

impl Alarmed {
    pub(super) const NEVER: Self = Self(Time(u64::MAX));

    pub(super) fn get(self) -> Option<Time> {
        (self != Self::NEVER).then_some(self.0)
    }

    pub(super) fn is_set(self) -> bool {
        self != Self::NEVER
    }

    /// The alarm it was set to before.
    fn replace(&mut self, at: Option<Time>) -> Option<Time> {
        std::mem::replace(self, at.map_or(Self::NEVER, Self)).get()
    }
}

impl Peer {
    pub(super) fn is_origin(&self) -> bool {
        self.info.is_origin
    }

    /// Whether others may be sent to it at all.
    pub(super) fn gives(&self) -> bool {
        self.info.gives && !self.info.is_distrusted
    }

    /// What it took, or was promised, more than it gave, in bytes for each second since it came, or for [`NEW_US`]. For those who
    /// come together that is the ledger. Who comes late to those who have been here for long does not take precedence over them until it
    /// has caught up; but it does over those who came shortly before, with whom it is to be done.
    pub(super) fn balance(&self, now: Time) -> i64 {
        let bytes = (self.taken + self.down.in_flight) as f64 - self.given as f64;
        (bytes * 1e6 / now.since(self.joined).max(NEW_US) as f64) as i64
    }

    /// Whether nothing is under way to it, not counting some bytes; where most comes from peers, no more than two pieces and what its
    /// line carries while messages travel, or who gives little would have its line idle between two transfers, and all of its file
    /// still to get when others are done and go.
    pub(super) fn is_poor(&self, by_peers: bool, but: u64) -> bool {
        let under_way = self.down.in_flight.saturating_sub(but);
        let meanwhile = self.down.rate().saturating_mul(self.down.lag_us()) / 1_000_000;
        under_way == 0 || by_peers && under_way <= LITTLE * u64::from(self.down.unit) + meanwhile
    }

    /// Bytes that it lately got, or was promised, from origins: half of them are forgotten every [`FRESH_US`].
    pub(super) fn fresh(&self, now: Time) -> u64 {
        let age = now.since(self.fresh_at);
        let halved = (self.fresh as u64).checked_shr((age / FRESH_US).min(64) as u32).unwrap_or(0);
        halved - halved / 2 * (age % FRESH_US / 1000) / (FRESH_US / 1000)
    }

    /// How many bytes it should be receiving.
    pub(super) fn down_budget(&self, config: &Config) -> u64 {
        let cover = self.down.cover(config).saturating_mul(TAKER_COVER);
        let budget = self.down.budget(config.initial_up, self.info.down_limit, cover, config);
        if !self.info.down_limit.is_none() {
            return budget;
        }
        let pieces = TAKER_PIECES * u64::from(self.down.unit);
        budget.max(TAKER_LEAST).max(pieces.min(self.down.rate().saturating_mul(TAKER_PIECES_S)))
    }

    /// What few have.
    pub(super) fn unusual(&self) -> &Unusual {
        self.unusual.as_deref().unwrap_or(&Unusual::NOTHING)
    }

    /// Changes what few have.
    pub(super) fn unusually<T>(&mut self, change: impl FnOnce(&mut Unusual) -> T) -> T {
        let mut unusual = self.unusual.take().unwrap_or_else(|| Box::new(Unusual::NOTHING));
        let result = change(&mut unusual);
        self.unusual = Some(unusual).filter(|unusual| !unusual.is_nothing());
        result
    }

    /// Its place in [`State::readers`].
    fn reads(&mut self) -> &mut Seat {
        &mut self.unusual.get_or_insert_with(|| Box::new(Unusual::NOTHING)).reads
    }

    /// Where a reader waits, served first.
    pub(super) fn urgent(&self) -> Option<Key<Member>> {
        self.unusual.as_ref()?.urgent
    }

    /// So many bytes more are under way to it from origins.
    fn promised_by_origins(&mut self, bytes: u32) {
        self.unusually(|unusual| unusual.from_origins = unusual.from_origins.saturating_add(bytes));
    }

    /// So many of them have come, or will not come.
    fn no_more_from_origins(&mut self, bytes: u32) {
        self.unusually(|unusual| unusual.from_origins = unusual.from_origins.saturating_sub(bytes));
    }

    /// It was dialled.
    pub(super) fn was_dialled(&mut self) {
        if self.unusual().undialled > 0 {
            self.unusually(|unusual| unusual.undialled = 0);
        }
    }

    /// Whether it was asked for a sign of life and gave none.
    pub(super) fn is_quiet(&self) -> bool {
        self.info.is_quiet
    }

    /// How long after the latest time for which something was expected of it, it is taken for gone, microseconds; it is pinged
    /// when half of that has passed. Who was always punctual is missed soon.
    pub(super) fn patience(&self, config: &Config) -> u64 {
        let usual = config.silence_us;
        match self.up.latest().max(self.down.latest()) {
            Some(latest) => latest.clamp(usual / 2, usual.saturating_mul(4)),
            None => usual,
        }
    }

    /// What it sent came and was right, or not.
    pub(super) fn trust(&mut self, is_good: bool) {
        match is_good {
            true => self.info.trust += (u8::MAX - self.info.trust) / 8,
            false => self.info.trust -= self.info.trust.div_ceil(4),
        }
    }

    /// Whether so much of what it was to send lately failed that it gets one transfer at a time.
    fn is_doubtful(&self) -> bool {
        self.info.trust < DOUBTFUL
    }

    pub(super) fn can_receive_more(&self, config: &Config) -> bool {
        self.down.in_flight < self.down_budget(config) && self.can_receive_one_more(config)
    }

    /// Whether it can receive at least what cannot wait.
    pub(super) fn can_receive_one_more(&self, config: &Config) -> bool {
        u32::from(self.down.transfers) < config.max_transfers_per_peer && !self.is_quiet()
    }

    /// Whether it should receive from peers, too: they leave some room, so that many slow ones cannot keep the
    /// origin out, however large a piece is.
    pub(super) fn can_receive_more_from_peers(&self, config: &Config) -> bool {
        let budget = self.down_budget(config);
        self.down.in_flight < budget / 4 * 3
            && self.down.in_flight + u64::from(self.down.unit) < budget
            && u32::from(self.down.transfers) < config.max_transfers_per_peer / 4 * 3
            && self.can_receive_one_more(config)
    }
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) id: FileId,
    pub(super) size: u64,
    pub(super) piece_size: u32,
    pub(super) pieces: u32,
    pub(super) rarity: Rarity,
    pub(super) rules: Rules,
    pub(super) members: Bag<Member>,
    /// Those who need something that is not under way to them.
    pub(super) hungry: Bag<Member>,
    /// Those who have something to give.
    pub(super) holders: Bag<Member>,
    /// Those of them who could send more when they were last asked, and found nobody who needs it. Who has become busy
    /// meanwhile is taken out when that is noticed.
    pub(super) idle: Bag<Member>,
    /// Those who need nothing but what is under way to them.
    pub(super) closing: Bag<Member>,
}

impl File {
    /// Bytes of one piece.
    pub(super) fn bytes_of(&self, piece: u32) -> u64 {
        let start = u64::from(piece) * u64::from(self.piece_size);
        self.size.saturating_sub(start).min(u64::from(self.piece_size))
    }

    /// Bytes of a run.
    pub(super) fn bytes_of_run(&self, run: &Range<u32>) -> u64 {
        let at = |piece: u32| (u64::from(piece) * u64::from(self.piece_size)).min(self.size);
        at(run.end) - at(run.start)
    }
}

/// A peer's part in a file. What is asked of each candidate is in the first line of the cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Member {
    pub(super) peer: Key<Peer>,
    pub(super) file: Key<File>,
    /// Pieces wanted, not had and not under way.
    pub(super) open: u32,
    /// Whether what it has is counted as available.
    pub(super) shares: bool,
    pub(super) order: Order,
    /// What it was last told to wait for.
    pub(super) waiting: Option<WaitReason>,
    pub(super) have: Pieces,
    /// The standing request. What is had is not taken out piece by piece; all of it is when nothing is missing.
    pub(super) want: Ranges,
    /// What few have.
    special: Option<Box<Special>>,

    /// Transfers towards this member.
    pub(super) flights: SmallVec<[Flight; 1]>,
    seats: Seats,
}

/// What is kept only of a part whose peer reads, or where something went wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) reader: Option<Reader>,
    /// What a transfer that failed last was to bring.
    pub(super) repair: Option<Range<u32>>,
    /// Failures in a row that are the file's at the origin and nobody's fault: until when nothing of it is asked for there.
    pub(super) pauses: u8,
    pub(super) pause: Time,
}

/// A transfer on its way to a member, and its pieces.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) transfer: Key<Transfer>,
    pub(super) pieces: Range<u32>,
}

impl Member {
    /// Whether others may be sent to it.
    pub(super) fn is_offer(&self) -> bool {
        self.shares && !self.have.is_empty()
    }

    pub(super) fn reader(&self) -> Option<&Reader> {
        self.special.as_ref()?.reader.as_ref()
    }

    /// What a transfer that failed last was to bring.
    pub(super) fn repair(&self) -> Option<&Range<u32>> {
        self.special.as_ref()?.repair.as_ref()
    }

    /// Until when nothing of it is asked for from origins.
    pub(super) fn pause(&self) -> Time {
        self.special.as_ref().map_or(Time::default(), |special| special.pause)
    }

    /// Changes what few have.
    pub(super) fn specially<T>(&mut self, change: impl FnOnce(&mut Special) -> T) -> T {
        let mut special = self.special.take().unwrap_or_default();
        let result = change(&mut special);
        self.special = Some(special).filter(|special| **special != Special::default());
        result
    }

    /// Whether it is in [`File::idle`].
    pub(super) fn is_idle(&self) -> bool {
        self.seats.idle.is_taken()
    }
}

#[derive(Debug)]
struct Seats {
    of_peer: Seat,
    of_file: Seat,
    needs: Seat,
    hungry: Seat,
    offers: Seat,
    holders: Seat,
    idle: Seat,
    closing: Seat,
    all_closing: Seat,
}

/// Pieces on their way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) id: TransferId,
    pub(super) giver: Key<Peer>,
    pub(super) taker: Key<Member>,
    pub(super) pieces: Range<u32>,
    /// Verified, counted from the first of the run; not there while that is none or all of them.
    done: Option<Box<Pieces>>,
    pub(super) bytes: u32,
    pub(super) bytes_done: u32,
    giver_mark: Mark,
    taker_mark: Mark,
    /// Before and after it among the giver's.
    giving: [Option<Key<Transfer>>; 2],
    pub(super) started: Time,
    /// When it should be over, by what is known of the two lines.
    pub(super) expected: Alarmed,
    /// When to give it up if nothing is heard.
    pub(super) deadline: Time,
    /// When to look whether the two are still there, or the deadline; that may have moved away from it.
    pub(super) alarm: Time,
    taker_dials: bool,
    /// Whether what was promised is counted as under way on both lines.
    pub(super) counts: Counts,
    is_news_rare: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    Yes,
    /// A side of it is quiet.
    NotNow,
    /// It was ordered when there was nobody whom so much would keep waiting.
    NeverAgain,
}

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

/// What became of a transfer whose alarm rang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    Fine,
    /// Its time is over.
    Stalled,
    /// One of the two, or both, should have been heard of.
    Quiet(SmallVec<[Key<Peer>; 2]>),
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
    /// Of the rates that files share.
    pub(super) spent: Spent,
    /// Whether a file was ever more or less important than others.
    pub(super) has_priorities: bool,
    /// Whether the operator has ever said anything about a file.
    pub(super) has_rules: bool,
    pub(super) stats: SwarmStats,
    /// When the first of those came with whom the next one may come together.
    together: Time,
    /// Bytes that somebody needs and that are not under way.
    pub(super) open: u64,
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
            spent: Spent::default(),
            has_priorities: false,
            has_rules: false,
            stats: SwarmStats::default(),
            together: Time::default(),
            open: 0,
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
            fresh: 0.0,
            fresh_at: Time::default(),
        });
        self.peer_ids.insert(id, key);
        if is_origin {
            self.origins.push(key);
            self.spreads.push(Spread::new());
        } else {
            self.stats.peers += 1;
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
        self.set_rest(peer, None);
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

    /// How many bytes a peer should be sending.
    pub(super) fn up_budget(&self, peer: Key<Peer>) -> u64 {
        let (config, key, peer) = (&self.config, peer, &self.peers[peer]);
        // With one or two, there is nothing to be gained from having pieces early, and no line to be left idle.
        let are_few = peer.is_origin() && peer.up.rate() > 0 && self.stats.peers <= FEW;
        let cover = if are_few { config.alone_us / self.stats.peers.max(1) } else { 0 };
        let cover = cover.max(peer.up.cover(config));
        // Of what line nothing is known, two pieces: it grows fast.
        let budget = peer.up.budget(0, peer.info.up_limit, cover, config);
        if !peer.is_origin() {
            return budget;
        }
        let (depth, fastest) = self.depth(key);
        // What the takers could receive meanwhile is enough.
        let all = self.most_for_one(key, fastest).saturating_mul(self.needy.len() as u64);
        budget.max(budget.saturating_mul(depth).min(all)).min(config.in_flight.end)
    }

    /// How many bytes one whose line carries `rate` should be receiving from an origin.
    fn most_for_one(&self, origin: Key<Peer>, rate: u64) -> u64 {
        let up = &self.peers[origin].up;
        rate.saturating_mul(up.cover(&self.config)) / 1_000_000 + 2 * u64::from(up.unit)
    }

    /// How many times as much as keeps an origin's line busy is to be under way from it, and what the fastest of its takers
    /// receives, bytes a second. Nothing is to be in the way of what readers will wait for.
    pub(super) fn depth(&self, origin: Key<Peer>) -> (u64, u64) {
        let spread = self.spread(origin).filter(|_| self.readers.is_empty());
        spread.map_or((1, 0), |spread| (spread.depth(), spread.fastest()))
    }

    /// Whether as much is under way from an origin that serves many to one of them as is useful: more would only be in the way of
    /// what others send there.
    pub(super) fn has_enough(&self, taker: Key<Peer>, origin: Key<Peer>) -> bool {
        let peer = &self.peers[taker];
        self.needy.len() as u64 > FEW
            && peer.down.rate() > 0
            && self.depth(origin).0 > 1
            && u64::from(peer.unusual().from_origins) >= self.most_for_one(origin, peer.down.rate())
    }

    /// The same, now. The last pieces are for whoever is free first: what is told to one long before it can be sent is not there
    /// for another that runs dry meanwhile.
    fn up_budget_now(&self, peer: Key<Peer>) -> u64 {
        let (budget, up) = (self.up_budget(peer), &self.peers[peer].up);
        match self.is_ending(u64::from(up.unit)) && up.rate() > 0 {
            true => budget.min(self.least_up_budget(peer)),
            false => budget,
        }
    }

    /// Whether what nobody has been told to send yet are the last pieces of this size. In a crowd only some are looked at, and who
    /// is free might not be found.
    pub(super) fn is_ending(&self, unit: u64) -> bool {
        unit >= self.ends_from()
    }

    /// The size from which on that is so, bytes.
    pub(super) fn ends_from(&self) -> u64 {
        match (FEW + 1..CROWD).contains(&self.stats.peers) {
            true => self.open.div_ceil(LAST_PIECES * self.stats.peers),
            false => u64::MAX,
        }
    }

    /// Whether there are so many peers that not all are looked at.
    pub(super) fn is_crowd(&self) -> bool {
        self.stats.peers >= CROWD
    }

    /// How many bytes keep a peer's line busy until an order for more is there.
    pub(super) fn least_up_budget(&self, peer: Key<Peer>) -> u64 {
        let (up, limit) = (&self.peers[peer].up, self.peers[peer].info.up_limit);
        let until_order = up.rate_or(0, limit).saturating_mul(up.lead(&self.config)) / 1_000_000;
        until_order.max(u64::from(up.unit) + 1)
    }

    /// Whether as much is under way from an origin to a peer as its line carries between order and news: where many are served
    /// at once, it is for others then.
    pub(super) fn is_full(&self, taker: Key<Peer>, origin: Key<Peer>) -> bool {
        let peer = &self.peers[taker];
        let time = self.peers[origin].up.cover(&self.config) / LAGS;
        let enough = peer.down.rate().saturating_mul(time) / 1_000_000 + u64::from(peer.down.unit);
        peer.down.rate() > 0 && u64::from(peer.unusual().from_origins) >= enough
    }

    /// Whether an origin serves many at once now.
    pub(super) fn serves_many(&self, origin: Key<Peer>) -> bool {
        self.needy.len() as u64 <= FEW || self.spread(origin).is_some_and(Spread::is_on)
    }

    fn spread(&self, origin: Key<Peer>) -> Option<&Spread> {
        let at = self.origins.iter().position(|&key| key == origin)?;
        self.spreads.get(at)
    }

    /// In a crowd a taker's line is shared with what comes from many others, and so a giver's must be filled further.
    fn set_margin(&mut self) {
        self.config.margin_us = if self.is_crowd() { 2 * self.margin_us } else { self.margin_us };
    }

    /// Whether a peer should send more, now.
    pub(super) fn can_send_more(&self, peer: Key<Peer>, now: Time) -> bool {
        let p = &self.peers[peer];
        // The first who comes may have a slow line, which says nothing of the origin's and must not keep others waiting.
        let may_have_room = || p.is_origin() && p.up.seems_free(self.config.initial_up, now);
        (p.up.in_flight < self.up_budget_now(peer) || may_have_room())
            && (p.up.in_flight == 0 || p.up.feed_at(p.up.lead(&self.config)) <= now)
            && u32::from(p.up.transfers) < self.most_transfers_from(p)
            && !p.is_quiet()
            && !(p.up.transfers > 0 && p.is_doubtful() && !p.is_origin())
            && self.transfers.len() < MOST_TRANSFERS
    }

    fn most_transfers_from(&self, giver: &Peer) -> u32 {
        let times = if giver.is_origin() { ORIGIN_TRANSFERS } else { 1 };
        self.config.max_transfers_per_peer.saturating_mul(times)
    }

    /// How soon a peer could have sent so much more, microseconds, if it began now, beside all that is under way there: for
    /// what cannot wait until there is room. `None` if even that would be too much.
    pub(super) fn could_squeeze_in(&self, peer: Key<Peer>, bytes: u64) -> Option<u64> {
        let (p, budget) = (&self.peers[peer], self.up_budget(peer));
        let is_possible = p.up.in_flight < budget.saturating_mul(SQUEEZE)
            && u32::from(p.up.transfers) < self.most_transfers_from(p)
            && !p.is_quiet()
            && !(p.up.transfers > 0 && p.is_doubtful() && !p.is_origin())
            && self.transfers.len() < MOST_TRANSFERS;
        let rate = p.up.rate_or(self.config.initial_up, p.info.up_limit);
        is_possible.then(|| (p.up.in_flight + bytes).saturating_mul(1_000_000) / rate)
    }

    /// How long a line of which nothing is known has nothing to send but its first piece, microseconds. Of two that begin
    /// together neither is there before both are, and until then nobody can pass them on.
    fn head_start_us(&self, giver: Key<Peer>, unit: u32) -> u64 {
        // Nobody else is here to pass it on to. An origin may be about to get more takers: it often has its first one alone.
        if self.needy.len() as u64 <= FEW && !self.peers[giver].is_origin() {
            return 0;
        }
        let piece_us = u64::from(unit) * 1_000_000 / self.config.initial_up.max(1);
        (piece_us / 4).min(HEAD_START_US)
    }

    /// Has somebody look at a giver again when it is time to tell it more, if that is not when something is heard.
    pub(super) fn feed_later(&mut self, peer: Key<Peer>, now: Time) {
        let p = &self.peers[peer];
        let is_full = p.up.in_flight >= self.up_budget(peer);
        let at = match p.up.seems_free_at(self.config.initial_up).filter(|_| p.is_origin() && is_full) {
            Some(at) => at,
            None if is_full => return,
            None => p.up.feed_at(p.up.lead(&self.config)),
        };
        // What an origin has left until then goes in one go, in longer runs.
        let is_news = p.feed.get().is_none_or(|set| at < set && !p.is_origin());
        if at > now && is_news {
            if let Some(set) = self.peers[peer].feed.replace(Some(at)) {
                self.alarms.remove(&(set, Alarm::Feed(peer)));
            }
            self.alarms.insert((at, Alarm::Feed(peer)));
        }
    }

    /// Gives a peer nothing to do until then, or lets it do something again.
    pub(super) fn set_rest(&mut self, peer: Key<Peer>, until: Option<Time>) {
        let p = &mut self.peers[peer];
        if !p.info.is_quiet && until.is_none() {
            return;
        }
        p.info.is_quiet = until.is_some();
        if let Some(at) = p.unusually(|unusual| unusual.rests.replace(until)) {
            self.alarms.remove(&(at, Alarm::Rest(peer)));
        }
        if let Some(at) = until {
            self.alarms.insert((at, Alarm::Rest(peer)));
        }
    }

    /// The part of `peer` in `file`, if it has one.
    pub(super) fn part(&self, peer: Key<Peer>, file: Key<File>) -> Option<Key<Member>> {
        let members = &self.peers[peer].members;
        if members.len() <= SCANNED {
            return members.iter().find(|&member| self.members[member].file == file);
        }
        self.parts.get(&(peer, file)).copied()
    }

    /// The part of `peer` in `file`, new if need be. [`settle`](Self::settle) it afterwards.
    pub(super) fn part_or_new(&mut self, peer: Key<Peer>, file: Key<File>) -> Key<Member> {
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
            shares: self.peers[peer].gives(),
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

    /// The transfer with that number, if it is under way.
    pub(super) fn transfer(&self, id: TransferId) -> Option<Key<Transfer>> {
        let key = Key::from_number((id.0 % MOST_TRANSFERS as u64) as u32);
        self.transfers.get(key).filter(|t| t.id == id).map(|_| key)
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

    /// Puts a member into the bags where it belongs; one that is nothing to anybody any more goes.
    pub(super) fn settle(&mut self, member: Key<Member>) {
        let m = &mut self.members[member];
        let (peer, file) = (m.peer, m.file);
        if m.open == 0 && m.flights.is_empty() {
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
            self.files[file].hungry.add(member, &mut self.members, |m| &mut m.seats.hungry);
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
        self.files[file].hungry.remove(member, &mut self.members, |m| &mut m.seats.hungry);
        if self.peers[peer].needs.is_empty() {
            self.needy.remove(peer, &mut self.peers, |p| &mut p.needy);
        }
        if self.peers[peer].urgent() == Some(member) {
            self.readers.remove(peer, &mut self.peers, Peer::reads);
            self.peers[peer].unusually(|unusual| unusual.urgent = None);
        }
    }

    /// Has a member, which needs something, come before others of its peer.
    pub(super) fn set_urgent(&mut self, member: Key<Member>) {
        let peer = self.members[member].peer;
        self.peers[peer].unusually(|unusual| unusual.urgent = Some(member));
        if self.readers.is_empty() {
            self.let_others_in();
        }
        self.readers.add(peer, &mut self.peers, Peer::reads);
    }

    /// Notes whether a member that offers something has found nobody who needs it, and could send more.
    pub(super) fn set_idle(&mut self, member: Key<Member>, is_idle: bool) {
        let file = self.members[member].file;
        if is_idle {
            self.files[file].idle.add(member, &mut self.members, |m| &mut m.seats.idle);
        } else {
            self.files[file].idle.remove(member, &mut self.members, |m| &mut m.seats.idle);
        }
    }

    fn stop_offering(&mut self, member: Key<Member>) {
        self.set_idle(member, false);
        let (peer, file) = (self.members[member].peer, self.members[member].file);
        self.peers[peer].offers.remove(member, &mut self.members, |m| &mut m.seats.offers);
        self.files[file].holders.remove(member, &mut self.members, |m| &mut m.seats.holders);
    }

    /// A member without transfers goes.
    fn remove_member(&mut self, member: Key<Member>) {
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
    pub(super) fn set_shares(&mut self, member: Key<Member>, shares: bool) {
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
    pub(super) fn gain(&mut self, member: Key<Member>, piece: u32) {
        let m = &mut self.members[member];
        if m.have.insert(piece) && m.shares {
            let file = &mut self.files[m.file];
            file.rarity.more(piece, file.pieces);
        }
    }

    /// A member no longer has a piece, and does not want it back unless it says so. Recount and settle it afterwards.
    pub(super) fn lose(&mut self, member: Key<Member>, piece: u32) {
        let m = &mut self.members[member];
        if m.have.remove(piece) {
            m.want.remove(&(piece..piece + 1));
            if m.shares {
                self.files[m.file].rarity.fewer(piece);
            }
        }
    }

    /// Writes down which pieces a member needs and does not have coming, 64 a word.
    pub(super) fn need(&self, member: Key<Member>, words: &mut Vec<u64>) {
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

    /// Counts anew what a member needs and does not have coming.
    pub(super) fn recount(&mut self, member: Key<Member>, words: &mut Vec<u64>) {
        self.need(member, words);
        self.set_open(member, words.iter().map(|word| word.count_ones()).sum());
    }

    /// Sees to [`State::open`], too.
    fn set_open(&mut self, member: Key<Member>, open: u32) {
        let m = &mut self.members[member];
        let was = std::mem::replace(&mut m.open, open);
        let unit = u64::from(self.files[m.file].piece_size);
        self.open = self.open + u64::from(open) * unit - u64::from(was) * unit;
    }

    /// Whether a giver is an origin with one peer and nobody else. So nobody waits for anything that comes, nobody else could
    /// send it, and each order, and each word of what has come, would be for nothing. Not before something is known of the line.
    pub(super) fn is_alone(&self, giver: Key<Peer>) -> bool {
        self.stats.peers == 1
            && self.needy.len() == 1
            && self.origins.len() == 1
            && self.peers[giver].is_origin()
            && self.peers[giver].up.rate() > 0
            && self.readers.is_empty()
    }

    /// Somebody may be no longer alone with an origin, or begins to read. The long runs that were ordered go on, but nothing waits
    /// for their end.
    fn let_others_in(&mut self) {
        let Some(&origin) = self.origins.first() else { return };
        let runs: Vec<_> = self.giving(origin).filter(|&key| self.transfers[key].is_news_rare).collect();
        for run in runs {
            self.set_aside(run, true, Time::default());
            self.transfers[run].counts = Counts::NeverAgain;
        }
    }

    /// Starts a transfer of pieces all of which `taker` needs and `giver` has.
    pub(super) fn start(
        &mut self,
        giver: Key<Peer>,
        taker: Key<Member>,
        taker_dials: bool,
        pieces: Range<u32>,
        reason: Reason,
        now: Time,
    ) -> Assignment {
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
            news_us: (self.is_alone(giver) && pieces.len() > 1).then_some(self.config.alone_news_us),
        };
        self.next_transfer += 1;
        let unit = self.files[file].piece_size;
        let head_start_us = self.head_start_us(giver, unit);
        let unheard = |link: &Link| if assignment.news_us.is_some() { link.unheard(now) } else { 0 };
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
            (to.fresh, to.fresh_at) = ((to.fresh(now) + bytes) as f32, now);
            to.promised_by_origins(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
        self.set_open(taker, self.members[taker].open - pieces.len() as u32);
        let m = &mut self.members[taker];
        m.waiting = None;
        if m.shares {
            let file = &mut self.files[file];
            pieces.clone().for_each(|piece| file.rarity.more(piece, file.pieces));
        }
        let given_up = now.plus(self.patience(giver, to, bytes));
        let expected = self.expected(giver, to, now);
        let patience = [giver, to].map(|peer| self.peers[peer].patience(&self.config));
        let quiet = expected.map(|at| at.plus(at.since(now)).plus(patience[0].min(patience[1]) / 2));
        let alarm = quiet.map_or(given_up, |at| at.min(given_up));
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
        });
        if let Some(latest) = self.peers[giver].giving.replace(key) {
            self.transfers[latest].giving[0] = Some(key);
        }
        self.members[taker].flights.push(Flight { transfer: key, pieces });
        self.watch(giver, alarm);
        self.stats.started += 1;
        self.stats.active_transfers += 1;
        self.settle(taker);
        assignment
    }

    /// The transfers in which a peer sends, the latest first.
    pub(super) fn giving(&self, giver: Key<Peer>) -> impl Iterator<Item = Key<Transfer>> + '_ {
        std::iter::successors(self.peers[giver].giving, |&key| self.transfers[key].giving[1])
    }

    /// The command to take a transfer back.
    pub(super) fn cancel_of(&self, transfer: Key<Transfer>) -> Command {
        let t = &self.transfers[transfer];
        let taker = self.members[t.taker].peer;
        Command::Cancel { transfer: t.id, giver: self.peers[t.giver].id, taker: self.peers[taker].id }
    }

    /// When a transfer that starts now should be over: when both lines have done what is in flight on them.
    fn expected(&self, giver: Key<Peer>, taker: Key<Peer>, now: Time) -> Option<Time> {
        let (g, t) = (&self.peers[giver], &self.peers[taker]);
        let up = g.up.queue_us(g.info.up_limit)?;
        let down = t.down.queue_us(t.info.down_limit).unwrap_or(0);
        Some(now.plus(up.max(down).saturating_add(g.up.cover(&self.config))))
    }

    /// One peer dials another: from now on they know each other.
    fn meet(&mut self, dials: Key<Peer>, other: Key<Peer>, now: Time) {
        // The origin may always be dialled.
        if !self.peers[dials].is_origin() && !self.peers[other].is_origin() {
            self.peers[dials].friends.meet(other, true, now);
            self.peers[other].friends.meet(dials, false, now);
        }
    }

    /// How long to wait for a sign of life of a transfer of `bytes`: the time all that is under way there needs, and
    /// [`Config::stall_us`] more.
    fn patience(&self, giver: Key<Peer>, taker: Key<Peer>, bytes: u64) -> u64 {
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
    pub(super) fn verified(
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
            self.peers[giver].given += bytes;
            self.peers[taker].taken += bytes;
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
        if self.peers[giver].is_origin() {
            self.peers[taker].no_more_from_origins(bytes as u32);
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
        let up_budget = self.up_budget(giver);
        self.peers[giver].up.passed(bytes, giver_mark, started, now, up_budget);
        // What comes says what the taker's line carries only if the givers could send more. Many slow ones would make
        // it look slow, and leave no room for a fast one: so its rate is never learned downwards.
        self.peers[taker].down.passed(bytes, taker_mark, started, now, u64::MAX);
    }

    /// Forgets a transfer; what was not verified of it is needed again.
    pub(super) fn end(&mut self, transfer: Key<Transfer>, words: &mut Vec<u64>) {
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
        let lost = u64::from(t.bytes - t.bytes_done);
        if self.peers[giver].is_origin() {
            self.peers[taker].no_more_from_origins(lost as u32);
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
    pub(super) fn watch(&mut self, giver: Key<Peer>, at: Time) {
        let watch = &mut self.peers[giver].watch;
        if at < watch.0 {
            if let Some(set) = watch.replace(Some(at)) {
                self.alarms.remove(&(set, Alarm::Watch(giver)));
            }
            self.alarms.insert((at, Alarm::Watch(giver)));
        }
    }

    /// The alarm for a giver's transfers rang (and is no longer in the set): which of them are to be looked at.
    pub(super) fn due_to_look_at(&mut self, giver: Key<Peer>, now: Time) -> Vec<(TransferId, Key<Transfer>)> {
        self.peers[giver].watch = Alarmed::NEVER;
        let due = |&key: &Key<Transfer>| self.transfers[key].alarm <= now;
        let named = |key| (self.transfers[key].id, key);
        self.giving(giver).filter(due).map(named).collect()
    }

    /// Sets the alarm for a giver's transfers, if there are any.
    pub(super) fn watch_again(&mut self, giver: Key<Peer>) {
        if self.peers.get(giver).is_none() {
            return;
        }
        if let Some(at) = self.giving(giver).map(|key| self.transfers[key].alarm).min() {
            self.watch(giver, at);
        }
    }

    /// Looks at a transfer whose alarm rang, and sets when to look again if it goes on.
    pub(super) fn look_at(&mut self, transfer: Key<Transfer>, now: Time) -> Finding {
        let t = &self.transfers[transfer];
        if t.deadline <= now {
            return Finding::Stalled;
        }
        let is_late = |&peer: &Key<Peer>| {
            let p = &self.peers[peer];
            let usual = p.up.queue_us(p.info.up_limit).max(p.down.queue_us(p.info.down_limit)).unwrap_or(0);
            let silence = (p.patience(&self.config) / 2).saturating_add(usual.saturating_mul(2));
            // Version 2 knows no ping, and cannot be told to stop.
            let can_answer = !p.is_origin() && p.info.runs && !p.is_quiet();
            can_answer && now.since(p.heard.max(t.started)) >= silence
        };
        let late: SmallVec<_> = [t.giver, self.members[t.taker].peer].into_iter().filter(is_late).collect();
        let again = now.plus(self.config.silence_us / 2).min(t.deadline);
        self.transfers[transfer].alarm = again;
        if late.is_empty() { Finding::Fine } else { Finding::Quiet(late) }
    }

    /// Whether what a transfer is still to bring counts as under way. One of its sides gives no sign of life: that must not
    /// keep the other's line from being filled.
    pub(super) fn set_aside(&mut self, transfer: Key<Transfer>, is_aside: bool, now: Time) {
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
    pub(super) fn hurry(&mut self, transfer: Key<Transfer>, deadline: Time) {
        let t = &mut self.transfers[transfer];
        if deadline < t.deadline {
            (t.deadline, t.alarm) = (deadline, deadline.min(t.alarm));
            let (giver, alarm) = (t.giver, t.alarm);
            self.watch(giver, alarm);
        }
    }

    /// Forgets what happened between a giver and a taker.
    pub(super) fn forget_pair(&mut self, giver: Key<Peer>, taker: Key<Peer>) {
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
    pub(super) fn keep_apart(&mut self, giver: Key<Peer>, taker: Key<Peer>, kind: FailureKind, now: Time) {
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

impl Transfer {
    /// The side that is dialled.
    pub(super) fn acceptor(&self, state: &State) -> Key<Peer> {
        if self.taker_dials { self.giver } else { state.members[self.taker].peer }
    }

    /// Pieces of it that are not verified yet.
    pub(super) fn missing(&self) -> impl Iterator<Item = u32> + '_ {
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

    /// Or newcomers would get all that is new until they had caught up.
    #[test]
    fn what_came_from_origins_is_forgotten_by_half_and_half() {
        let mut state = State::new(Config::default());
        let info = crate::swarm::tests::ordinary_peer();
        let key = state.add_peer(PeerId(1), info, Time(0)).unwrap();
        (state.peers[key].fresh, state.peers[key].fresh_at) = (1e6, Time(0));
        let left = [0, 2, 4, 6, 8, 400].map(|s| state.peers[key].fresh(Time(s * 1_000_000)));
        assert_eq!(left, [1_000_000, 750_000, 500_000, 375_000, 250_000, 0]);
    }
}
