//! What is simulated: hosts, their lines and manners, and files.

use crate::content::PieceSize;
use crate::swarm::Config;

/// Bytes a second in a Mbit/s.
pub const MBIT: f64 = 125_000.0;
/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// A [`tolerance`](Setup::tolerance) that changes nothing that could be seen.
pub const EXACT: f64 = 1e-6;
/// Microseconds in a second.
pub const SECOND: u64 = 1_000_000;

/// A host. Times in microseconds, rates in bytes a second.
#[derive(Debug, Clone)]
pub struct Host {
    /// An origin: has every file, is here from the start, wants nothing.
    pub is_origin: bool,
    /// What its uplink carries.
    pub up: f64,
    /// What its downlink carries.
    pub down: f64,
    /// One way to the server. Between two hosts it takes the mean of theirs, if the [`Setup`] does not say otherwise.
    pub delay: u64,
    /// When it comes.
    pub arrives: u64,
    /// Whether it leaves when it has all it wants.
    pub leaves_when_done: bool,
    /// When it leaves in any case, saying so.
    pub leaves: Option<u64>,
    /// When it stops doing anything, without a word.
    pub vanishes: Option<u64>,
    /// When its lines become others: up and down.
    pub changes: Option<(u64, f64, f64)>,
    /// Its network, a /24 in the /16 of sixteen of them, if the server is to know of one.
    pub network: Option<u16>,
    /// Whether others can dial it.
    pub is_dialable: bool,
    /// Whether it sends nothing but wrong bytes.
    pub lies: bool,
    /// Whether it has everything when it comes.
    pub has_all: bool,
    /// What it is here for.
    pub wants: Wants,
}

/// What a host wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wants {
    /// Nothing; it gives.
    Nothing,
    /// All files, so many at a time.
    Files {
        /// How many.
        at_once: usize,
    },
    /// To read the file with this number from front to back, at so many bytes a second once it has begun.
    Stream {
        /// Which.
        file: u32,
        /// How fast.
        rate: f64,
    },
    /// One file and no other.
    File {
        /// Which.
        file: u32,
    },
}

impl Host {
    /// A peer that comes at once, wants everything, and stays.
    pub fn peer(up: f64, down: f64) -> Self {
        Self {
            is_origin: false,
            up,
            down,
            delay: 10_000,
            arrives: 0,
            leaves_when_done: false,
            leaves: None,
            vanishes: None,
            changes: None,
            network: None,
            is_dialable: true,
            lies: false,
            has_all: false,
            wants: Wants::Files { at_once: usize::MAX },
        }
    }

    /// An origin beside the server.
    pub fn origin(up: f64) -> Self {
        Self { is_origin: true, delay: 0, wants: Wants::Nothing, has_all: true, ..Self::peer(up, up) }
    }

    /// Whether it matters when it has everything: not of those who go before, or do harm.
    pub fn is_to_finish(&self) -> bool {
        self.is_taker() && self.vanishes.is_none() && self.leaves.is_none() && !self.lies
    }

    /// Whether it reads while it gets.
    pub fn is_reader(&self) -> bool {
        matches!(self.wants, Wants::Stream { .. })
    }

    /// Whether it is here to get something.
    pub fn is_taker(&self) -> bool {
        self.wants != Wants::Nothing
    }
}

/// A file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSpec {
    /// Bytes.
    pub size: u64,
    /// Bytes in a piece.
    pub piece_size: u32,
}

impl FileSpec {
    /// Cut as the server cuts it.
    pub fn of(size: u64) -> Self {
        Self { size, piece_size: PieceSize::for_file(size).bytes() }
    }

    /// Number of pieces.
    pub fn pieces(&self) -> u32 {
        self.size.div_ceil(u64::from(self.piece_size)) as u32
    }

    /// Bytes of the pieces before `piece`.
    pub fn offset(&self, piece: u32) -> u64 {
        (u64::from(piece) * u64::from(self.piece_size)).min(self.size)
    }
}

/// Everything a run depends on: the same setup gives the same outcome, to the microsecond.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How the swarm is tuned. Its seed is the run's.
    pub config: Config,
    /// All hosts that ever come, origins first.
    pub hosts: Vec<Host>,
    /// All files.
    pub files: Vec<FileSpec>,
    /// One way between any two peers, microseconds.
    pub peers_apart: Option<u64>,
    /// One way between two peers of one [network](Host::network), microseconds.
    pub neighbours_apart: Option<u64>,
    /// Changes of flow rates smaller than this fraction are not passed on.
    pub tolerance: f64,
    /// When to stop even if somebody lacks something, microseconds.
    pub until: u64,
}

impl Setup {
    /// With hosts and files, and all else as usual.
    pub fn new(seed: u64, hosts: Vec<Host>, files: Vec<FileSpec>) -> Self {
        let tolerance = if hosts.len() > 2000 { 0.02 } else { EXACT };
        Self {
            config: Config { seed, ..Config::default() },
            hosts,
            files,
            peers_apart: None,
            neighbours_apart: None,
            tolerance,
            until: 100_000 * SECOND,
        }
    }

    /// Puts all but origins, which are with the server, so far apart from each other and from the server: a round trip, microseconds.
    pub fn put_apart(&mut self, round_trip: u64) {
        self.hosts.iter_mut().filter(|host| !host.is_origin).for_each(|host| host.delay = round_trip / 2);
    }

    /// One way between two hosts, microseconds.
    pub(super) fn between(&self, one: &Host, other: &Host) -> u64 {
        let sum = one.delay + other.delay;
        if one.is_origin || other.is_origin {
            return sum;
        }
        let are_neighbours = one.network.is_some() && one.network == other.network;
        let near = self.neighbours_apart.filter(|_| are_neighbours);
        near.or(self.peers_apart).unwrap_or(sum / 2)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_can_be_nearer_to_each_other_than_to_the_server() {
        let peer = |network| Host { network, delay: 10_000, ..Host::peer(1.0, 1.0) };
        let (one, other, far) = (peer(Some(1)), peer(Some(1)), peer(Some(2)));
        let mut setup = Setup::new(0, vec![], vec![]);
        assert_eq!(setup.between(&one, &other), 10_000);
        setup.peers_apart = Some(5_000);
        assert_eq!(setup.between(&one, &other), 5_000);
        setup.neighbours_apart = Some(500);
        assert_eq!(setup.between(&one, &other), 500);
        assert_eq!(setup.between(&one, &far), 5_000);
        // Who is nowhere has no neighbours.
        assert_eq!(setup.between(&peer(None), &peer(None)), 5_000);
        assert_eq!(setup.between(&Host::origin(1.0), &one), 10_000);
    }
}
