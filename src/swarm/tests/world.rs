//! A world of peers around a [`Swarm`] that believes nothing: it keeps its own books of who has, wants and receives
//! what, and checks every command against them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use crate::swarm::state::Counts;
use crate::swarm::*;

pub(super) const PIECE: u32 = 65_536;
/// A client dials at most so many hosts, in so much time, that it has not dialled before (docs/protocol.md, section 8).
const NEW_HOSTS: usize = 64;
const NEW_HOSTS_IN_US: u64 = 10_000_000;

#[derive(Debug)]
pub(super) struct WorldPeer {
    pub(super) info: PeerInfo,
    pub(super) distrusted: bool,
    /// By file.
    pub(super) has: BTreeMap<u32, BTreeSet<u32>>,
    pub(super) wants: BTreeMap<u32, BTreeSet<u32>>,
    /// Whom it has dialled, and when it dialled those that were new lately.
    pub(super) known: BTreeSet<u32>,
    dialled: VecDeque<Time>,
}

#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) assignment: Assignment,
    pub(super) done: BTreeSet<u32>,
}

pub(super) struct World {
    pub(super) swarm: Swarm,
    pub(super) now: Time,
    pub(super) peers: BTreeMap<u32, WorldPeer>,
    /// Number of pieces.
    pub(super) files: BTreeMap<u32, u32>,
    /// Bytes, and those of a piece.
    sizes: BTreeMap<u32, (u64, u32)>,
    /// Files that only origins may give.
    pub(super) no_peers: BTreeSet<u32>,
    pub(super) flights: BTreeMap<TransferId, Flight>,
    /// Transfers that were cancelled and waiting messages, oldest first.
    pub(super) cancelled: Vec<TransferId>,
    pub(super) waits: Vec<(PeerId, FileId, WaitReason)>,
    pub(super) starts: Vec<Assignment>,
    /// Who was pinged, and those who do not answer when they are.
    pub(super) pings: Vec<PeerId>,
    pub(super) mute: BTreeSet<u32>,
    config: Config,
}

/// An ordinary peer.
pub(in crate::swarm) fn peer() -> PeerInfo {
    PeerInfo {
        is_origin: false,
        reachable: true,
        gives: true,
        runs: true,
        puts: true,
        ahead: true,
        stays: true,
        up_limit: None,
        down_limit: None,
        address: None,
    }
}

pub(super) fn origin() -> PeerInfo {
    PeerInfo { is_origin: true, ..peer() }
}

impl World {
    pub(super) fn new(config: Config) -> Self {
        Self {
            swarm: Swarm::new(config.clone()),
            now: Time(1_000_000),
            peers: BTreeMap::new(),
            files: BTreeMap::new(),
            sizes: BTreeMap::new(),
            no_peers: BTreeSet::new(),
            flights: BTreeMap::new(),
            cancelled: Vec::new(),
            waits: Vec::new(),
            starts: Vec::new(),
            pings: Vec::new(),
            mute: BTreeSet::new(),
            config,
        }
    }

    pub(super) fn join(&mut self, id: u32, info: PeerInfo) {
        self.send(Event::PeerJoined { peer: PeerId(id), info });
    }

    pub(super) fn add_file(&mut self, id: u32, pieces: u32) {
        // The last piece is a short one.
        let size = (u64::from(pieces) * u64::from(PIECE)).saturating_sub(1000);
        self.send(Event::FileAdded { file: FileId(id), size, piece_size: PIECE });
    }

    pub(super) fn request(&mut self, peer: u32, file: u32) {
        self.request_pieces(peer, file, 0..u32::MAX);
    }

    pub(super) fn request_pieces(&mut self, peer: u32, file: u32, pieces: Range<u32>) {
        let (peer, file) = (PeerId(peer), FileId(file));
        self.send(Event::Request { peer, file, pieces, order: Order::Rarest, window: None });
    }

    pub(super) fn provide(&mut self, peer: u32, file: u32, pieces: Range<u32>) {
        self.send(Event::Provide { peer: PeerId(peer), file: FileId(file), pieces });
    }

    /// The taker of a transfer says that it went well.
    pub(super) fn complete(&mut self, transfer: TransferId) {
        self.end(transfer, Ok(()));
    }

    pub(super) fn end(&mut self, transfer: TransferId, result: Result<(), FailureKind>) {
        let peer = self.flights[&transfer].assignment.taker;
        self.send(Event::Completed { transfer, peer, bytes: 1000, ms: 1, result });
    }

    /// Completes everything that is under way, a millisecond each, until nothing is.
    pub(super) fn complete_all(&mut self) {
        for _ in 0..1_000_000 {
            let Some(&transfer) = self.flights.keys().next() else { return };
            self.now = self.now.plus(1000);
            self.complete(transfer);
        }
        panic!("never done");
    }

    /// Lets time pass, with ticks when they are asked for.
    pub(super) fn pass(&mut self, micros: u64) {
        let until = self.now.plus(micros);
        let mut ticks = 0;
        while let Some(at) = self.swarm.next_timeout().filter(|&at| at <= until) {
            ticks = if at <= self.now { ticks + 1 } else { 0 };
            assert!(ticks < 1000, "a timeout that does not move");
            self.now = self.now.max(at);
            self.send(Event::Tick);
        }
        self.now = until;
    }

    /// What a peer has of a file, as the swarm was told.
    pub(super) fn has(&self, peer: u32, file: u32) -> usize {
        self.peers[&peer].has.get(&file).map_or(0, BTreeSet::len)
    }

    pub(super) fn send(&mut self, event: Event) {
        self.note(&event);
        let mut out = Vec::new();
        self.swarm.handle(event, self.now, &mut out);
        let pinged = self.pings.len();
        for command in out {
            self.obey(command);
        }
        for at in pinged..self.pings.len() {
            let peer = self.pings[at];
            if !self.mute.contains(&peer.0) {
                self.send(Event::Pong { peer });
            }
        }
        assert_eq!(self.swarm.stats().active_transfers as usize, self.flights.len());
    }

    /// What the event means, said in the simplest way.
    fn note(&mut self, event: &Event) {
        let pieces_of = |files: &BTreeMap<u32, u32>, file: &FileId, range: &Range<u32>| {
            let count = files.get(&file.0).copied().unwrap_or(0);
            range.start.min(count)..range.end.min(count)
        };
        match event {
            Event::PeerJoined { peer, info } => {
                self.peers.entry(peer.0).or_insert_with(|| WorldPeer {
                    info: info.clone(),
                    distrusted: false,
                    has: BTreeMap::new(),
                    wants: BTreeMap::new(),
                    known: BTreeSet::new(),
                    dialled: VecDeque::new(),
                });
            }
            Event::Reachable { peer, ok } => {
                if let Some(peer) = self.peers.get_mut(&peer.0) {
                    peer.info.reachable = *ok;
                }
            }
            Event::PeerLeft { peer } => {
                self.peers.remove(&peer.0);
            }
            Event::FileAdded { file, size, piece_size } => {
                if let Entry::Vacant(new) = self.files.entry(file.0) {
                    new.insert(size.div_ceil(u64::from(*piece_size)) as u32);
                    self.sizes.insert(file.0, (*size, *piece_size));
                }
            }
            // All else says who comes first, and nothing here says who does.
            Event::FileRules { file, rules } if !rules.peers && self.files.contains_key(&file.0) => {
                self.no_peers.insert(file.0);
            }
            Event::FileRules { file, .. } => drop(self.no_peers.remove(&file.0)),
            Event::ReaderPace { .. } => {}
            Event::FileRemoved { file } => {
                self.files.remove(&file.0);
                self.no_peers.remove(&file.0);
                for peer in self.peers.values_mut() {
                    peer.has.remove(&file.0);
                    peer.wants.remove(&file.0);
                }
            }
            Event::Request { peer, file, pieces, .. } => {
                let pieces = pieces_of(&self.files, file, pieces);
                if let Some(peer) = self.peers.get_mut(&peer.0) {
                    let has = peer.has.entry(file.0).or_default();
                    peer.wants.entry(file.0).or_default().extend(pieces.filter(|p| !has.contains(p)));
                }
            }
            Event::Unrequest { peer, file, pieces } => {
                let pieces = pieces_of(&self.files, file, pieces);
                if let Some(peer) = self.peers.get_mut(&peer.0) {
                    peer.wants.entry(file.0).or_default().retain(|p| !pieces.contains(p));
                }
            }
            Event::Provide { peer, file, pieces } => {
                let pieces = pieces_of(&self.files, file, pieces);
                if let Some(peer) = self.peers.get_mut(&peer.0) {
                    peer.has.entry(file.0).or_default().extend(pieces.clone());
                    peer.wants.entry(file.0).or_default().retain(|p| !pieces.contains(p));
                }
            }
            Event::Unprovide { peer, file, pieces } => {
                if let Some(peer) = self.peers.get_mut(&peer.0) {
                    peer.has.entry(file.0).or_default().retain(|p| !pieces.contains(p));
                }
            }
            Event::Progress { transfer, peer, pieces } => {
                self.got(*transfer, *peer, pieces);
            }
            Event::Completed { transfer, peer, result, .. } => {
                let Some(flight) = self.flights.get(transfer) else { return };
                if flight.assignment.taker != *peer {
                    return;
                }
                if result.is_ok() {
                    let pieces: Vec<u32> = flight.assignment.pieces.clone().collect();
                    self.got(*transfer, *peer, &pieces);
                }
                let Some(flight) = self.flights.remove(transfer) else { return };
                let missing = flight.assignment.pieces.clone().filter(|piece| !flight.done.contains(piece));
                // What a giver does not have, or has wrong, it does not have.
                let refuted = match result {
                    Err(FailureKind::Gone) => u32::MAX,
                    Err(FailureKind::Hash) => 1,
                    _ => 0,
                };
                if let Some(giver) = self.peers.get_mut(&flight.assignment.giver.0)
                    && let Some(has) = giver.has.get_mut(&flight.assignment.file.0)
                {
                    missing.take(refuted as usize).for_each(|piece| {
                        has.remove(&piece);
                    });
                }
            }
            Event::Pong { .. } | Event::Tick => {}
        }
    }

    fn got(&mut self, transfer: TransferId, from: PeerId, pieces: &[u32]) {
        let Some(flight) = self.flights.get_mut(&transfer) else { return };
        let run = flight.assignment.pieces.clone();
        let Some(peer) = self.peers.get_mut(&from.0).filter(|_| flight.assignment.taker == from) else {
            return;
        };
        let file = flight.assignment.file.0;
        for piece in pieces.iter().filter(|piece| run.contains(piece)) {
            if flight.done.insert(*piece) {
                peer.has.entry(file).or_default().insert(*piece);
                peer.wants.entry(file).or_default().remove(piece);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start(assignment) => self.check(assignment),
            Command::Cancel { transfer, giver, taker } => {
                let flight = self.flights.remove(&transfer).expect("only what is under way is cancelled");
                assert_eq!((flight.assignment.giver, flight.assignment.taker), (giver, taker));
                self.cancelled.push(transfer);
            }
            Command::Waiting { peer, file, reason } => {
                assert!(self.peers.contains_key(&peer.0) && self.files.contains_key(&file.0));
                self.waits.push((peer, file, reason));
            }
            Command::Ping { peer } => {
                assert!(self.peers[&peer.0].info.runs, "version 2 knows no ping");
                self.pings.push(peer);
            }
            Command::Distrusted { peer } => {
                let peer = self.peers.get_mut(&peer.0).expect("it is here");
                assert!(!std::mem::replace(&mut peer.distrusted, true), "said once");
            }
        }
    }

    fn check(&mut self, assignment: Assignment) {
        let Assignment { transfer, giver, taker, taker_dials, file, pieces, .. } = assignment.clone();
        assert_ne!(giver, taker);
        let from = &self.peers[&giver.0];
        let to = &self.peers[&taker.0];
        assert!(!to.info.is_origin, "an origin wants nothing");
        assert!(!pieces.is_empty() && pieces.end <= self.files[&file.0], "{pieces:?}");
        assert!(pieces.len() == 1 || (from.info.runs && to.info.runs), "a run for one who knows none");
        if !from.info.is_origin {
            assert!(from.info.gives && !from.distrusted && !self.no_peers.contains(&file.0));
            let has = |piece: &u32| from.has.get(&file.0).is_some_and(|has| has.contains(piece));
            let is_coming = |piece: &u32| {
                let mut flights = self.flights.values().map(|flight| &flight.assignment);
                flights.any(|a| a.taker == giver && a.file == file && a.pieces.contains(piece))
            };
            match assignment.ahead {
                true => {
                    assert!(taker_dials && pieces.len() == 1 && from.info.ahead && to.info.ahead);
                    assert!(pieces.clone().all(|piece| !has(&piece) && is_coming(&piece)), "{pieces:?}");
                }
                false => assert!(pieces.clone().all(|p| has(&p)), "it has not got all of {pieces:?}"),
            }
        }
        let wants = to.wants.get(&file.0).expect("it wants something");
        assert!(pieces.clone().all(|piece| wants.contains(&piece)), "{pieces:?} is not wanted");
        for flight in self.flights.values().map(|flight| &flight.assignment) {
            let twice = flight.taker == taker
                && flight.file == file
                && flight.pieces.start < pieces.end
                && pieces.start < flight.pieces.end;
            assert!(!twice, "{pieces:?} is on its way already");
        }
        let acceptor = if taker_dials { from } else { to };
        assert!(acceptor.info.is_origin || acceptor.info.reachable, "nobody can dial");
        assert!(taker_dials || (from.info.puts && to.info.puts), "not brought");
        let busy = |one: PeerId, side: fn(&Assignment) -> PeerId| {
            self.flights.values().filter(|flight| side(&flight.assignment) == one).count() as u32
        };
        let times = if from.info.is_origin { 16 } else { 1 };
        assert!(busy(giver, |a| a.giver) < self.config.max_transfers_per_peer * times);
        assert!(busy(taker, |a| a.taker) < self.config.max_transfers_per_peer);
        self.check_limits(&assignment);
        self.dial(&assignment);
        self.starts.push(assignment.clone());
        let flight = Flight { assignment, done: BTreeSet::new() };
        assert!(self.flights.insert(transfer, flight).is_none(), "numbers are not used again");
    }

    /// Of a line that is known to carry no more than so much, no more is under way than that carries in the time for which it
    /// is to be filled. How long messages take is what the swarm has learned; all else is reckoned anew.
    fn check_limits(&self, assignment: &Assignment) {
        let (from, to) = (&self.peers[&assignment.giver.0], &self.peers[&assignment.taker.0]);
        let is_rushed = assignment.reason == Reason::Deadline;
        let state = &self.swarm.state;
        let Config { in_flight, .. } = &self.config;
        let piece = self.sizes.values().map(|size| u64::from(size.1)).max().unwrap_or(0);
        let most = |limit: u64, cover_us: u64| {
            (limit * cover_us / 1_000_000 + 2 * piece).clamp(in_flight.start, in_flight.end)
        };
        // Origins are told more than their lines carry where their takers' are what is full.
        if let Some(limit) = from.info.up_limit.filter(|_| !from.info.is_origin) {
            let cover = state.peers[state.peer_ids[&assignment.giver]].up.cover(&state.config);
            // What cannot wait may fill it twice as far.
            let most = most(limit, cover) * if is_rushed { 2 } else { 1 };
            let under_way = self.under_way(|other| other.giver == assignment.giver);
            assert!(
                under_way < most,
                "{under_way} of {most} bytes under way from {limit} a second: {assignment:?}"
            );
        }
        let has_priorities = state.file_ids.values().any(|&file| state.files[file].rules.priority != 0);
        if let Some(limit) = to.info.down_limit.filter(|_| !is_rushed && !has_priorities) {
            let down = &state.peers[state.peer_ids[&assignment.taker]].down;
            // Four times as long as a giver's; who is alone, for half a second.
            let most = most(limit, (4 * down.cover(&state.config)).max(self.config.alone_us));
            let under_way = self.under_way(|other| other.taker == assignment.taker);
            assert!(
                under_way < most,
                "{under_way} of {most} bytes under way to {limit} a second: {assignment:?}"
            );
        }
    }

    /// Bytes that have not come yet of some of what is under way. What is on its way to or from one who does not answer, or was
    /// ordered when nobody else was there, is in nobody's way.
    fn under_way(&self, of: impl Fn(&Assignment) -> bool) -> u64 {
        let state = &self.swarm.state;
        let all = state.peer_ids.values().flat_map(|&giver| state.giving(giver));
        let uncounted: BTreeSet<_> = all
            .filter(|&key| state.transfers[key].counts != Counts::Yes)
            .map(|key| state.transfers[key].id)
            .collect();
        let flights =
            self.flights.iter().filter(|(id, flight)| of(&flight.assignment) && !uncounted.contains(*id));
        flights.map(|(_, flight)| self.missing_bytes(flight)).sum()
    }

    fn missing_bytes(&self, flight: &Flight) -> u64 {
        let (size, piece_size) = self.sizes[&flight.assignment.file.0];
        let bytes = |piece: &u32| {
            let from = u64::from(*piece) * u64::from(piece_size);
            (size - from).min(u64::from(piece_size))
        };
        flight
            .assignment
            .pieces
            .clone()
            .filter(|piece| !flight.done.contains(piece))
            .map(|piece| bytes(&piece))
            .sum()
    }

    /// One side dials the other, and would refuse to if that were too many new ones.
    fn dial(&mut self, assignment: &Assignment) {
        let Assignment { giver, taker, taker_dials, .. } = *assignment;
        let (connector, acceptor) = if taker_dials { (taker, giver) } else { (giver, taker) };
        if self.peers[&acceptor.0].info.is_origin {
            return;
        }
        let now = self.now;
        let peer = self.peers.get_mut(&connector.0).expect("it is here");
        if !peer.known.insert(acceptor.0) {
            return;
        }
        while peer.dialled.front().is_some_and(|&at| now.since(at) >= NEW_HOSTS_IN_US) {
            peer.dialled.pop_front();
        }
        peer.dialled.push_back(now);
        assert!(peer.dialled.len() <= NEW_HOSTS, "{connector:?} dials too many strangers");
    }

    /// Whether anybody here could send anybody something that is wanted, as far as the books say.
    pub(super) fn something_is_possible(&self) -> bool {
        self.peers.iter().filter(|(_, taker)| !taker.info.is_origin).any(|(id, taker)| {
            taker.wants.iter().any(|(file, wants)| {
                !wants.is_empty()
                    && self.peers.iter().any(|(other, giver)| {
                        let may_put = taker.info.reachable && giver.info.puts && taker.info.puts;
                        let can_meet = giver.info.is_origin || giver.info.reachable || may_put;
                        let has = |piece| giver.has.get(file).is_some_and(|has| has.contains(piece));
                        let may = giver.info.gives && !giver.distrusted && !self.no_peers.contains(file);
                        let gives = may && wants.iter().any(has);
                        id != other && can_meet && (giver.info.is_origin || gives)
                    })
            })
        })
    }

    /// Everybody leaves, every file goes: nothing may be left.
    pub(super) fn everybody_leaves(&mut self) {
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.send(Event::PeerLeft { peer: PeerId(id) });
        }
        for id in self.files.keys().copied().collect::<Vec<_>>() {
            self.send(Event::FileRemoved { file: FileId(id) });
        }
        assert!(self.flights.is_empty());
        assert!(self.swarm.is_empty(), "{:?}", self.swarm);
        assert_eq!(self.swarm.next_timeout(), None);
    }
}
