//! A peer, with what was learned of its lines and how far it can be relied on.

use super::budget::unheard_alone;
use super::{Member, Transfer};
use crate::swarm::friends::Friends;
use crate::swarm::lately::Lately;
use crate::swarm::places::Place;
use crate::swarm::rates::{Limit, Link};
use crate::swarm::slab::{Bag, Key, Keys, Seat};
use crate::swarm::types::*;

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
/// See [`Peer::trust`]: three failures in a row of one of which nothing is known, five after many that went well.
const DOUBTFUL: u8 = 64;
/// Pieces, see [`Peer::is_poor`].
const LITTLE: u64 = 2;

/// Many peers are looked at for each assignment, in no order, and few of them are in the cache. What is asked of one that
/// could take something is in its first two lines of 64 bytes, and what is asked of one that could give something in the
/// first and the third. Four lines are all there are.
#[derive(Debug)]
#[repr(C, align(64))]
pub(in crate::swarm) struct Peer {
    pub(in crate::swarm) members: Bag<Member>,
    pub(in crate::swarm) friends: Friends,
    pub(in crate::swarm) info: Info,

    pub(in crate::swarm) down: Link,
    pub(in crate::swarm) lately: Lately,
    /// The latest of the transfers in which it sends: see [`State::giving`](super::State::giving).
    pub(super) giving: Option<Key<Transfer>>,
    /// When the first of those who came together with it came.
    pub(in crate::swarm) joined: Time,

    pub(in crate::swarm) up: Link,
    /// What few have.
    pub(super) unusual: Option<Box<Unusual>>,
    /// The entry of [`Alarm::Feed`](super::Alarm::Feed).
    pub(in crate::swarm) feed: Alarmed,
    /// The entry of [`Alarm::Watch`](super::Alarm::Watch): not after the first alarm of what it gives.
    pub(super) watch: Alarmed,

    /// When something was last heard of it: from itself, or that what it sent has come.
    pub(in crate::swarm) heard: Time,
    /// Verified bytes.
    pub(in crate::swarm) given: u64,
    pub(in crate::swarm) taken: u64,
    /// Where something is wanted, not had and not under way.
    pub(in crate::swarm) needs: Bag<Member>,
    /// Where it has something to give.
    pub(in crate::swarm) offers: Bag<Member>,
    pub(in crate::swarm) id: PeerId,
    /// In [`State::needy`](super::State::needy).
    pub(super) needy: Seat,
}

/// What is kept only of a peer that reads, to which an origin sends, or with which something went wrong.
#[derive(Debug)]
pub(in crate::swarm) struct Unusual {
    /// With whom there is a record in [`Pairs`](crate::swarm::pairs::Pairs).
    pub(super) partners: Keys<Peer>,
    /// It was pinged and has not answered: it is given nothing to do. Until an alarm rings, which means that it is gone, or
    /// that it is to be pinged again.
    pub(super) rests: Alarmed,
    /// Pings in a row that it let pass.
    pub(in crate::swarm) silences: u8,
    /// Where a reader waits, served first.
    pub(super) urgent: Option<Key<Member>>,
    /// In [`State::readers`](super::State::readers).
    pub(super) reads: Seat,
    /// Wrong pieces it sent, as far as the accusers are believed.
    pub(in crate::swarm) wrong: u16,
    /// Different givers it said sent it wrong pieces.
    pub(in crate::swarm) accused: u16,
    /// How often in a row it could not be dialled.
    pub(in crate::swarm) undialled: u16,
    /// Bytes under way from origins, and in how many transfers.
    pub(in crate::swarm) from_origins: u32,
    pub(in crate::swarm) origins_transfers: u16,
    /// Transfers in which it is to send what it does not have yet, as soon as it has it.
    pub(super) waiting: u16,
    /// Since when origins have left to peers what it lacks, and it has got nothing from any.
    left_since: Alarmed,
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
        origins_transfers: 0,
        waiting: 0,
        left_since: Alarmed::NEVER,
    };

    fn is_nothing(&self) -> bool {
        self.partners.is_empty()
            && !self.rests.is_set()
            && self.urgent.is_none()
            && !self.reads.is_taken()
            && [self.wrong, self.accused, self.undialled, self.silences.into()] == [0; 4]
            && (self.from_origins, self.origins_transfers, self.waiting) == (0, 0, 0)
            && !self.left_since.is_set()
    }
}

/// What is kept of a [`PeerInfo`], and how far it can be relied on.
#[derive(Debug)]
pub(in crate::swarm) struct Info {
    pub(in crate::swarm) up_limit: Limit,
    pub(in crate::swarm) down_limit: Limit,
    pub(in crate::swarm) place: Place,
    pub(in crate::swarm) is_origin: bool,
    pub(in crate::swarm) reachable: bool,
    pub(in crate::swarm) gives: bool,
    pub(in crate::swarm) runs: bool,
    habits: Habits,
    pub(in crate::swarm) is_distrusted: bool,
    /// How reliable it was lately as a giver, from verified outcomes: 255 = every transfer went well.
    pub(super) trust: u8,
    pub(super) presence: Presence,
}

/// Whether a peer is still there, as far as its silence tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::swarm) enum Presence {
    Here,
    /// It was asked for a sign of life and has not given any yet: it rests.
    Asked,
    /// It did not answer. Until it does, what it has and what it needs counts for nothing.
    Gone,
}

/// See [`PeerInfo::puts`], [`PeerInfo::ahead`] and [`PeerInfo::stays`]: a bit for each, as there is room for a byte.
#[derive(Debug, Clone, Copy)]
struct Habits(u8);

impl Habits {
    const PUTS: u8 = 1;
    const AHEAD: u8 = 2;
    const STAYS: u8 = 4;

    fn of(info: &PeerInfo) -> Self {
        let bits = [(info.puts, Self::PUTS), (info.ahead, Self::AHEAD), (info.stays, Self::STAYS)];
        Self(bits.into_iter().filter(|(has, _)| *has).map(|(_, bit)| bit).sum())
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

impl Info {
    pub(in crate::swarm) fn puts(&self) -> bool {
        self.habits.has(Habits::PUTS)
    }

    pub(in crate::swarm) fn ahead(&self) -> bool {
        self.habits.has(Habits::AHEAD)
    }

    pub(in crate::swarm) fn stays(&self) -> bool {
        self.habits.has(Habits::STAYS)
    }
}

impl From<PeerInfo> for Info {
    fn from(info: PeerInfo) -> Self {
        let habits = Habits::of(&info);
        let PeerInfo { is_origin, reachable, gives, runs, up_limit, down_limit, address, .. } = info;
        let (up_limit, down_limit) = (up_limit.into(), down_limit.into());
        Self {
            up_limit,
            down_limit,
            place: Place::of(address),
            is_origin,
            reachable,
            gives,
            runs,
            habits,
            is_distrusted: false,
            trust: u8::MAX / 2,
            presence: Presence::Here,
        }
    }
}

/// When an alarm of a peer is set to ring, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::swarm) struct Alarmed(pub(super) Time);

impl Alarmed {
    pub(in crate::swarm) const NEVER: Self = Self(Time(u64::MAX));

    pub(in crate::swarm) fn get(self) -> Option<Time> {
        (self != Self::NEVER).then_some(self.0)
    }

    pub(in crate::swarm) fn is_set(self) -> bool {
        self != Self::NEVER
    }

    /// The alarm it was set to before.
    pub(super) fn replace(&mut self, at: Option<Time>) -> Option<Time> {
        std::mem::replace(self, at.map_or(Self::NEVER, Self)).get()
    }
}

impl Peer {
    pub(in crate::swarm) fn is_origin(&self) -> bool {
        self.info.is_origin
    }

    /// Whether others may be sent to it at all.
    pub(in crate::swarm) fn gives(&self) -> bool {
        self.info.gives && !self.info.is_distrusted
    }

    /// What it took lately, or is promised, more than it gave, bytes: the ledger. What it gave counts only if it goes on giving when it
    /// lacks nothing any more. Who gives most would else be done first and take its uplink along, and who has a thin one would be left to
    /// the origin.
    pub(in crate::swarm) fn balance(&self, now: Time) -> i64 {
        self.down.in_flight as i64 + self.lately.taken(now)
    }

    /// How much is under way to it from peers, and how long its line needs for that, microseconds; `None` while nothing is known of
    /// its line.
    pub(super) fn coming_from_peers(&self) -> Option<(u64, u64)> {
        let queue_us = self.down.queue_us(self.info.down_limit)?;
        let bytes = self.down.in_flight.saturating_sub(u64::from(self.unusual().from_origins));
        Some((bytes, queue_us.saturating_mul(bytes) / self.down.in_flight.max(1)))
    }

    /// Whether nothing is under way to it, not counting some bytes; where most comes from peers, no more than two pieces and what its line
    /// carries while messages travel, or who gives little would have its line idle between two transfers, and much of its file still to
    /// get when others are done. Who goes then does not need that: what it gives does not count, so it gets no less than others.
    pub(in crate::swarm) fn is_poor(&self, by_peers: bool, but: u64) -> bool {
        let under_way = self.down.in_flight.saturating_sub(but);
        let meanwhile = self.down.rate().saturating_mul(self.down.lag_us()) / 1_000_000;
        under_way == 0
            || by_peers && self.info.stays() && under_way <= LITTLE * u64::from(self.down.unit) + meanwhile
    }

    /// How many bytes it should be receiving.
    pub(in crate::swarm) fn down_budget(&self, config: &Config) -> u64 {
        let cover = self.down.cover(config).saturating_mul(TAKER_COVER);
        let budget = self.down.budget(config.initial_up, self.info.down_limit, cover, config);
        if !self.info.down_limit.is_none() {
            return budget;
        }
        let pieces = TAKER_PIECES * u64::from(self.down.unit);
        budget.max(TAKER_LEAST).max(pieces.min(self.down.rate().saturating_mul(TAKER_PIECES_S)))
    }

    /// What few have.
    pub(in crate::swarm) fn unusual(&self) -> &Unusual {
        self.unusual.as_deref().unwrap_or(&Unusual::NOTHING)
    }

    /// Changes what few have.
    pub(in crate::swarm) fn unusually<T>(&mut self, change: impl FnOnce(&mut Unusual) -> T) -> T {
        let mut unusual = self.unusual.take().unwrap_or_else(|| Box::new(Unusual::NOTHING));
        let result = change(&mut unusual);
        self.unusual = Some(unusual).filter(|unusual| !unusual.is_nothing());
        result
    }

    /// Its place in [`State::readers`](super::State::readers).
    pub(super) fn reads(&mut self) -> &mut Seat {
        &mut self.unusual.get_or_insert_with(|| Box::new(Unusual::NOTHING)).reads
    }

    /// Where a reader waits, served first.
    pub(in crate::swarm) fn urgent(&self) -> Option<Key<Member>> {
        self.unusual.as_ref()?.urgent
    }

    /// So many bytes more are under way to it from origins, in one transfer.
    pub(super) fn promised_by_origins(&mut self, bytes: u32) {
        self.unusually(|unusual| {
            unusual.from_origins = unusual.from_origins.saturating_add(bytes);
            unusual.origins_transfers += 1;
        });
    }

    /// So many of them have come.
    pub(super) fn has_come_from_origins(&mut self, bytes: u32) {
        self.unusually(|unusual| unusual.from_origins = unusual.from_origins.saturating_sub(bytes));
    }

    /// A transfer from an origin has ended, and so many bytes of it will not come.
    pub(super) fn end_from_origins(&mut self, lost: u32) {
        self.unusually(|unusual| {
            unusual.from_origins = unusual.from_origins.saturating_sub(lost);
            unusual.origins_transfers -= 1;
        });
    }

    /// Since when origins have left to peers what it lacks, and it has got nothing from any: since now, if that is new.
    pub(in crate::swarm) fn is_left_since(&mut self, now: Time) -> Time {
        self.unusually(|unusual| {
            let since = unusual.left_since.get().unwrap_or(now);
            unusual.left_since.replace(Some(since));
            since
        })
    }

    /// Whether origins leave to peers what it lacks.
    pub(in crate::swarm) fn is_left(&self) -> bool {
        self.unusual().left_since.is_set()
    }

    /// It has got something from a peer, or lacks nothing any more.
    pub(super) fn is_not_left(&mut self) {
        if self.is_left() {
            self.unusually(|unusual| unusual.left_since = Alarmed::NEVER);
        }
    }

    /// It was dialled.
    pub(in crate::swarm) fn was_dialled(&mut self) {
        if self.unusual().undialled > 0 {
            self.unusually(|unusual| unusual.undialled = 0);
        }
    }

    /// Whether it was asked for a sign of life and gave none.
    pub(in crate::swarm) fn is_quiet(&self) -> bool {
        self.info.presence != Presence::Here
    }

    /// Whether it is taken for gone.
    pub(in crate::swarm) fn is_gone(&self) -> bool {
        self.info.presence == Presence::Gone
    }

    /// How long something of it may be late, microseconds: a part of that passes before it is pinged, and half of it before one that
    /// was pinged is taken for gone. Who was always punctual is missed soon.
    pub(in crate::swarm) fn patience(&self, config: &Config) -> u64 {
        let usual = config.silence_us;
        match self.up.latest().max(self.down.latest()) {
            Some(latest) => latest.clamp(usual / 2, usual.saturating_mul(4)),
            None => usual,
        }
    }

    /// What it sent came and was right, or not.
    pub(in crate::swarm) fn trust(&mut self, is_good: bool) {
        match is_good {
            true => self.info.trust += (u8::MAX - self.info.trust) / 8,
            false => self.info.trust -= self.info.trust.div_ceil(4),
        }
    }

    /// Whether so much of what it was to send lately failed that it gets one transfer at a time.
    pub(super) fn is_doubtful(&self) -> bool {
        self.info.trust < DOUBTFUL
    }

    pub(in crate::swarm) fn can_receive_more(&self, config: &Config) -> bool {
        self.down.in_flight < self.down_budget(config) && self.can_receive_one_more(config)
    }

    /// The same for one that is alone with an origin, from which it is to have as much under way as that would send.
    pub(in crate::swarm) fn can_receive_more_alone(&self, config: &Config) -> bool {
        let budget = self.down.budget(0, self.info.down_limit, config.alone_us, config);
        let budget = budget + unheard_alone(&self.down, self.info.down_limit);
        self.down.in_flight < budget.max(self.down_budget(config)) && self.can_receive_one_more(config)
    }

    /// Whether it can receive at least what cannot wait.
    pub(in crate::swarm) fn can_receive_one_more(&self, config: &Config) -> bool {
        u32::from(self.down.transfers) < config.max_transfers_per_peer && !self.is_quiet()
    }

    /// Whether it should receive from peers, too: they leave some room, so that many slow ones cannot keep the
    /// origin out, however large a piece is. `but` bytes of what is under way do not count.
    pub(super) fn can_receive_more_from_peers(&self, config: &Config, but: u64) -> bool {
        let (budget, in_flight) = (self.down_budget(config), self.down.in_flight.saturating_sub(but));
        in_flight < budget / 4 * 3
            && in_flight + u64::from(self.down.unit) < budget
            && u32::from(self.down.transfers) < config.max_transfers_per_peer / 4 * 3
            && self.can_receive_one_more(config)
    }
}
