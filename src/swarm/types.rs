//! The words the scheduler and its driver exchange.

use std::net::IpAddr;
use std::ops::Range;

use super::rules::Rules;
pub use crate::wire::{FailureKind, Order, Reason, WaitReason};

/// A peer, numbered by the driver. A number may be used again after `PeerLeft`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// A version of a file, numbered by the driver. A number may be used again after `FileRemoved`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A transfer, numbered by the swarm, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferId(pub u64);

/// Microseconds since an origin of the driver's choosing. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time(pub u64);

impl Time {
    /// This time and `micros` more.
    pub fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this; 0 if it is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What the driver knows of a peer when it joins.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerInfo {
    /// The origin: has every file, is always reachable, wants nothing.
    pub is_origin: bool,
    /// Whether others can dial it (known later by [`Event::Reachable`]).
    pub reachable: bool,
    /// Whether it sends pieces at all.
    pub gives: bool,
    /// Whether it takes and gives runs of several pieces in one transfer (version 3) or single ones only.
    pub runs: bool,
    /// Whether a giver may bring it pieces, and it may bring them to a taker (version 3). Others are always dialled by
    /// the taker, or dial the giver.
    pub puts: bool,
    /// Whether a giver keeps a request for what it is about to have until it has it, and a taker says in a request that
    /// it may.
    pub ahead: bool,
    /// Whether it goes on giving what it has when it lacks nothing any more.
    pub stays: bool,
    /// What it says it is willing to send, bytes a second.
    pub up_limit: Option<u64>,
    /// What it wants to receive at most, bytes a second.
    pub down_limit: Option<u64>,
    /// For locality.
    pub address: Option<IpAddr>,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A peer is here.
    PeerJoined {
        /// Its number.
        peer: PeerId,
        /// What is known of it.
        info: PeerInfo,
    },
    /// It was found out whether a peer can be dialled.
    Reachable {
        /// Which.
        peer: PeerId,
        /// Whether.
        ok: bool,
    },
    /// A peer is gone, with all it had, wanted and was doing.
    PeerLeft {
        /// Which.
        peer: PeerId,
    },
    /// A version of a file exists. Every origin has all of it.
    FileAdded {
        /// Its number.
        file: FileId,
        /// Bytes.
        size: u64,
        /// Bytes in a piece.
        piece_size: u32,
    },
    /// What the operator wants of a file; right after it was added.
    FileRules {
        /// Which.
        file: FileId,
        /// What.
        rules: Rules,
    },
    /// A version is no longer to be distributed: requests for it end, transfers of it are cancelled.
    FileRemoved {
        /// Which.
        file: FileId,
    },
    /// A peer wants pieces. Additive; what it has is not wanted.
    Request {
        /// Who.
        peer: PeerId,
        /// Of which file.
        file: FileId,
        /// Which pieces.
        pieces: Range<u32>,
        /// In which order.
        order: Order,
        /// Pieces a reader needs soon, in order.
        window: Option<Range<u32>>,
    },
    /// How fast a reader reads, instead of what is learned from how it moves. For as long as it reads.
    ReaderPace {
        /// Who.
        peer: PeerId,
        /// Which file.
        file: FileId,
        /// Bytes a second.
        rate: u64,
    },
    /// A peer no longer wants pieces. Transfers under way go on.
    Unrequest {
        /// Who.
        peer: PeerId,
        /// Of which file.
        file: FileId,
        /// Which pieces.
        pieces: Range<u32>,
    },
    /// A peer has pieces.
    Provide {
        /// Who.
        peer: PeerId,
        /// Of which file.
        file: FileId,
        /// Which pieces.
        pieces: Range<u32>,
    },
    /// A peer no longer has pieces.
    Unprovide {
        /// Who.
        peer: PeerId,
        /// Of which file.
        file: FileId,
        /// Which pieces.
        pieces: Range<u32>,
    },
    /// The taker of a run has verified some of its pieces; from now on it has them.
    Progress {
        /// The run.
        transfer: TransferId,
        /// Who says so: must be the taker, else it is ignored.
        peer: PeerId,
        /// Which pieces; those outside the run are ignored.
        pieces: Vec<u32>,
    },
    /// A side of a transfer says that it has ended. What the taker says counts; what the giver says is used only
    /// where the taker is silent.
    Completed {
        /// Which.
        transfer: TransferId,
        /// Which side says so; a stranger is ignored.
        peer: PeerId,
        /// Payload bytes moved.
        bytes: u64,
        /// How long that took, milliseconds.
        ms: u64,
        /// `Ok`: the taker has verified all pieces of it.
        result: Result<(), FailureKind>,
    },
    /// A peer has answered [`Command::Ping`].
    Pong {
        /// Which.
        peer: PeerId,
    },
    /// Only time has passed: [`Swarm::next_timeout`](super::Swarm::next_timeout) was reached.
    Tick,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Tell the connector to dial the other side and move pieces.
    Start(Assignment),
    /// Tell both sides to stop; the transfer is forgotten.
    Cancel {
        /// Which.
        transfer: TransferId,
        /// Its giver, if still here.
        giver: PeerId,
        /// Its taker.
        taker: PeerId,
    },
    /// Find out whether a peer is still there: it is to answer, whatever else it is doing, and [`Event::Pong`] says that it did.
    Ping {
        /// Which.
        peer: PeerId,
    },
    /// Tell a peer why it gets nothing; said once per change of reason.
    Waiting {
        /// Whom.
        peer: PeerId,
        /// For which file.
        file: FileId,
        /// Why.
        reason: WaitReason,
    },
    /// A peer sent wrong bytes so often that it is no longer asked for any. For logs and status.
    Distrusted {
        /// Which.
        peer: PeerId,
    },
}

/// One transfer.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Its number.
    pub transfer: TransferId,
    /// Who sends.
    pub giver: PeerId,
    /// Who receives.
    pub taker: PeerId,
    /// Whether the taker dials (GET) or the giver (PUT).
    pub taker_dials: bool,
    /// Of which file.
    pub file: FileId,
    /// Which pieces: one, or a run of consecutive ones.
    pub pieces: Range<u32>,
    /// Why.
    pub reason: Reason,
    /// Whether the giver does not have it yet: it is on its way there, and is to be sent when it is there.
    pub ahead: bool,
    /// How often the taker is to tell of pieces that are here, microseconds. `None`: as always, since others wait for them.
    pub news_us: Option<u64>,
}

/// Tunables, with defaults that suit production.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Seed of all choices between equals.
    pub seed: u64,
    /// Whether an origin sends a byte again only when no peer can, instead of whenever its line has room.
    pub frugal: bool,
    /// Rate assumed for an uplink before anything was learned, bytes a second. An origin begins with two pieces, and gets more at
    /// this rate until the first of them has come.
    pub initial_up: u64,
    /// Smallest and largest number of bytes to have in flight per uplink.
    pub in_flight: Range<u64>,
    /// In-flight bytes cover this much more of a giver's time than messages take by what was learned, microseconds;
    /// twice as much in a crowd, and more if that is fast and far apart.
    pub margin_us: u64,
    /// What messages are assumed to take before anything was learned: see `rates`, microseconds.
    pub initial_lag_us: u64,
    /// The time to cover for a peer that is alone with the origin, and so takes nothing away from others, and half of
    /// it for two, microseconds.
    pub alone_us: u64,
    /// How often it is to tell of what has come, microseconds.
    pub alone_news_us: u64,
    /// Most bytes in one transfer.
    pub max_run_bytes: u64,
    /// Most transfers at once towards one taker, and from one giver; an origin may send in 16 times as many.
    pub max_transfers_per_peer: u32,
    /// A transfer with no sign of life for this long is cancelled, microseconds; prolonged by its expected duration.
    pub stall_us: u64,
    /// A peer of which nothing is heard for half of this, and twice the time it should need, is pinged; if it does not answer
    /// within the other half, it is taken for gone until it is heard of again, microseconds.
    pub silence_us: u64,
    /// After a failure between two peers they are kept apart for this long, microseconds (doubling).
    pub retry_us: u64,
    /// Wrong pieces from one giver before it is distrusted.
    pub max_wrong: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            frugal: false,
            initial_up: 1024 * 1024,
            in_flight: 128 * 1024..128 * 1024 * 1024,
            margin_us: 20_000,
            initial_lag_us: 20_000,
            alone_us: 500_000,
            alone_news_us: 250_000,
            max_run_bytes: 16 * 1024 * 1024,
            max_transfers_per_peer: 64,
            stall_us: 10_000_000,
            silence_us: 1_500_000,
            retry_us: 1_000_000,
            max_wrong: 3,
        }
    }
}

/// Totals since the start, for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwarmStats {
    /// Peers here, origins not counted.
    pub peers: u64,
    /// Transfers under way.
    pub active_transfers: u64,
    /// Transfers started.
    pub started: u64,
    /// Transfers that went well.
    pub succeeded: u64,
    /// Transfers that failed or were cancelled.
    pub failed: u64,
    /// Verified bytes that came from an origin.
    pub origin_bytes: u64,
    /// Verified bytes that came from peers.
    pub peer_bytes: u64,
    /// Bytes moved in vain.
    pub wasted_bytes: u64,
}

/// One peer's part, for status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerStats {
    /// Verified bytes it sent.
    pub given: u64,
    /// Verified bytes it received.
    pub taken: u64,
    /// What its uplink was learned to carry, bytes a second; 0 = nothing learned yet.
    pub up_rate: u64,
    /// The same of its downlink.
    pub down_rate: u64,
    /// Transfers it sends in.
    pub giving: u32,
    /// Transfers it receives in.
    pub taking: u32,
    /// Wrong pieces it sent.
    pub wrong: u32,
    /// See [`PeerInfo::stays`].
    pub stays: bool,
}
