use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::types::*;
use crate::content::{Layout, PieceSet, PieceSize};

/// Transfers at once into one taker, and out of one giver that is not an origin.
const SLOTS: u32 = 4;
/// Pieces in a run at most.
const RUN: u32 = 4;

/// The scheduler of one server.
#[derive(Debug)]
pub struct Swarm {
    config: Config,
    peers: BTreeMap<PeerId, Peer>,
    files: BTreeMap<FileId, File>,
    transfers: BTreeMap<TransferId, Moving>,
    next_transfer: u64,
    /// Pairs kept apart until a time, after a failure.
    apart: HashMap<(PeerId, PeerId), Time>,
    stats: SwarmStats,
}

#[derive(Debug)]
struct Peer {
    info: PeerInfo,
    stats: PeerStats,
}

#[derive(Debug)]
struct File {
    layout: Layout,
    parts: BTreeMap<PeerId, Part>,
}

#[derive(Debug)]
struct Part {
    have: PieceSet,
    want: PieceSet,
    coming: PieceSet,
    sequential: bool,
}

#[derive(Debug)]
struct Moving {
    assignment: Assignment,
    deadline: Time,
    got: PieceSet,
}

impl Swarm {
    /// With nobody here and no files.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            peers: BTreeMap::new(),
            files: BTreeMap::new(),
            transfers: BTreeMap::new(),
            next_transfer: 1,
            apart: HashMap::new(),
            stats: SwarmStats::default(),
        }
    }

    /// Takes an event in and appends what is to be done to `out`. Events about peers, files and transfers that do
    /// not exist (any more) are ignored: they cross with commands on the wire.
    pub fn handle(&mut self, event: Event, now: Time, out: &mut Vec<Command>) {
        match event {
            Event::PeerJoined { peer, info } => {
                self.peers.insert(peer, Peer { info, stats: PeerStats::default() });
            }
            Event::Reachable { peer, ok } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.info.reachable = ok;
                }
            }
            Event::PeerLeft { peer } => {
                self.end_where(now, out, |moving| moving.giver == peer || moving.taker == peer);
                self.peers.remove(&peer);
                self.files.values_mut().for_each(|file| {
                    file.parts.remove(&peer);
                });
                self.apart.retain(|(a, b), _| *a != peer && *b != peer);
            }
            Event::FileAdded { file, size, piece_size } => {
                if let Some(layout) = PieceSize::new(piece_size).and_then(|piece| Layout::new(size, piece)) {
                    self.files.insert(file, File { layout, parts: BTreeMap::new() });
                }
            }
            Event::FileRemoved { file } => {
                self.end_where(now, out, |moving| moving.file == file);
                self.files.remove(&file);
            }
            Event::Request { peer, file, pieces, order, window: _ } => {
                if let Some(part) = self.part(peer, file) {
                    part.sequential = order == Order::Sequential;
                    for piece in pieces {
                        if !part.have.contains(piece) {
                            part.want.insert(piece);
                        }
                    }
                }
            }
            Event::Unrequest { peer, file, pieces } => {
                if let Some(part) = self.part(peer, file) {
                    pieces.for_each(|piece| {
                        part.want.remove(piece);
                    });
                }
            }
            Event::Provide { peer, file, pieces } => {
                if let Some(part) = self.part(peer, file) {
                    for piece in pieces {
                        part.have.insert(piece);
                        part.want.remove(piece);
                    }
                }
            }
            Event::Unprovide { peer, file, pieces } => {
                if let Some(part) = self.part(peer, file) {
                    pieces.for_each(|piece| {
                        part.have.remove(piece);
                    });
                }
            }
            Event::Progress { transfer, peer, pieces } => self.got(transfer, peer, &pieces),
            Event::Completed { transfer, peer, bytes, ms: _, result } => {
                let Some(moving) = self.transfers.get(&transfer) else { return };
                if moving.assignment.taker != peer {
                    return;
                }
                let (giver, run) = (moving.assignment.giver, moving.assignment.pieces.clone());
                match result {
                    Ok(()) => {
                        self.got(transfer, peer, &run.collect::<Vec<_>>());
                        self.stats.succeeded += 1;
                    }
                    Err(failure) => {
                        self.stats.failed += 1;
                        self.stats.wasted_bytes += bytes;
                        self.apart.insert((giver, peer), now.plus(self.config.retry_us));
                        if failure == FailureKind::Hash
                            && let Some(giver_state) = self.peers.get_mut(&giver)
                        {
                            giver_state.stats.wrong += 1;
                            if giver_state.stats.wrong == self.config.max_wrong && !giver_state.info.is_origin
                            {
                                giver_state.info.gives = false;
                                out.push(Command::Distrusted { peer: giver });
                            }
                        }
                    }
                }
                self.forget(transfer);
            }
            Event::Tick => {
                let late: Vec<_> =
                    self.transfers.iter().filter(|(_, m)| m.deadline <= now).map(|(&id, _)| id).collect();
                for id in late {
                    if let Some(moving) = self.transfers.get(&id) {
                        let Assignment { giver, taker, .. } = moving.assignment;
                        self.apart.insert((giver, taker), now.plus(self.config.retry_us));
                        out.push(Command::Cancel { transfer: id, giver, taker });
                        self.stats.failed += 1;
                        self.forget(id);
                    }
                }
                self.apart.retain(|_, until| *until > now);
            }
        }
        self.schedule(now, out);
    }

    fn part(&mut self, peer: PeerId, file: FileId) -> Option<&mut Part> {
        let info = &self.peers.get(&peer)?.info;
        if info.is_origin {
            return None;
        }
        let file = self.files.get_mut(&file)?;
        let count = file.layout.count();
        Some(file.parts.entry(peer).or_insert_with(|| Part {
            have: PieceSet::new(count),
            want: PieceSet::new(count),
            coming: PieceSet::new(count),
            sequential: false,
        }))
    }

    fn got(&mut self, transfer: TransferId, peer: PeerId, pieces: &[u32]) {
        let Some(moving) = self.transfers.get_mut(&transfer) else { return };
        let Assignment { giver, taker, file, .. } = moving.assignment;
        let run = moving.assignment.pieces.clone();
        if taker != peer {
            return;
        }
        let Some(file) = self.files.get_mut(&file) else { return };
        let from_origin = self.peers.get(&giver).is_some_and(|giver| giver.info.is_origin);
        let Some(part) = file.parts.get_mut(&peer) else { return };
        let mut bytes = 0;
        for &piece in pieces.iter().filter(|piece| run.contains(piece)) {
            if moving.got.insert(piece) {
                let range = file.layout.bytes_of(piece);
                bytes += range.end - range.start;
                part.have.insert(piece);
                part.want.remove(piece);
            }
        }
        *(if from_origin { &mut self.stats.origin_bytes } else { &mut self.stats.peer_bytes }) += bytes;
        if let Some(giver) = self.peers.get_mut(&giver) {
            giver.stats.given += bytes;
        }
        if let Some(taker) = self.peers.get_mut(&taker) {
            taker.stats.taken += bytes;
        }
    }

    fn end_where(&mut self, _now: Time, out: &mut Vec<Command>, which: impl Fn(&Assignment) -> bool) {
        let ids: Vec<_> =
            self.transfers.iter().filter(|(_, m)| which(&m.assignment)).map(|(&id, _)| id).collect();
        for id in ids {
            if let Some(moving) = self.transfers.get(&id) {
                let Assignment { giver, taker, .. } = moving.assignment;
                out.push(Command::Cancel { transfer: id, giver, taker });
            }
            self.stats.failed += 1;
            self.forget(id);
        }
    }

    fn forget(&mut self, transfer: TransferId) {
        let Some(moving) = self.transfers.remove(&transfer) else { return };
        let Assignment { giver, taker, file, pieces, .. } = moving.assignment;
        if let Some(part) = self.files.get_mut(&file).and_then(|file| file.parts.get_mut(&taker)) {
            pieces.for_each(|piece| {
                part.coming.remove(piece);
            });
        }
        if let Some(giver) = self.peers.get_mut(&giver) {
            giver.stats.giving -= 1;
        }
        if let Some(taker) = self.peers.get_mut(&taker) {
            taker.stats.taking -= 1;
        }
    }

    fn schedule(&mut self, now: Time, out: &mut Vec<Command>) {
        let mut starts = Vec::new();
        for (&file_id, file) in &mut self.files {
            let takers: Vec<_> =
                file.parts.iter().filter(|(_, part)| part.want.count() > 0).map(|(&id, _)| id).collect();
            for taker in takers {
                while let Some((giver, pieces)) = choose(&self.peers, &self.apart, file, taker, now) {
                    let Some(part) = file.parts.get_mut(&taker) else { break };
                    pieces.clone().for_each(|piece| {
                        part.coming.insert(piece);
                    });
                    let giver_reachable =
                        self.peers.get(&giver).is_some_and(|g| g.info.reachable || g.info.is_origin);
                    for (id, giving) in [(giver, true), (taker, false)] {
                        if let Some(peer) = self.peers.get_mut(&id) {
                            *(if giving { &mut peer.stats.giving } else { &mut peer.stats.taking }) += 1;
                        }
                    }
                    let origin = self.peers.get(&giver).is_some_and(|g| g.info.is_origin);
                    starts.push((
                        Assignment {
                            transfer: TransferId(self.next_transfer),
                            giver,
                            taker,
                            taker_dials: giver_reachable,
                            file: file_id,
                            pieces,
                            reason: if origin { Reason::Origin } else { Reason::Rarest },
                        },
                        file.layout.count(),
                    ));
                    self.next_transfer += 1;
                }
            }
        }
        for (assignment, count) in starts {
            self.stats.started += 1;
            out.push(Command::Start(assignment.clone()));
            let deadline = now.plus(self.config.stall_us * 6);
            self.transfers
                .insert(assignment.transfer, Moving { assignment, deadline, got: PieceSet::new(count) });
        }
    }

    /// When to send [`Event::Tick`] if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Time> {
        self.transfers.values().map(|m| m.deadline).chain(self.apart.values().copied()).min()
    }

    /// Totals.
    pub fn stats(&self) -> SwarmStats {
        SwarmStats {
            peers: self.peers.values().filter(|p| !p.info.is_origin).count() as u64,
            active_transfers: self.transfers.len() as u64,
            ..self.stats
        }
    }

    /// One peer's part; `None` for strangers.
    pub fn peer_stats(&self, peer: PeerId) -> Option<PeerStats> {
        self.peers.get(&peer).map(|peer| peer.stats)
    }

    /// Whether anybody wants, has (origins aside) or is moving anything of `file`.
    pub fn is_in_use(&self, file: FileId) -> bool {
        self.files.get(&file).is_some_and(|file| {
            file.parts.values().any(|part| part.want.count() > 0 || part.have.count() > 0)
        }) || self.transfers.values().any(|moving| moving.assignment.file == file)
    }

    /// The assignment of a transfer under way.
    pub fn transfer(&self, transfer: TransferId) -> Option<&Assignment> {
        self.transfers.get(&transfer).map(|moving| &moving.assignment)
    }
}

fn choose(
    peers: &BTreeMap<PeerId, Peer>,
    apart: &HashMap<(PeerId, PeerId), Time>,
    file: &File,
    taker: PeerId,
    now: Time,
) -> Option<(PeerId, Range<u32>)> {
    let me = peers.get(&taker)?;
    let part = file.parts.get(&taker)?;
    if me.stats.taking >= SLOTS {
        return None;
    }
    let may = |giver: PeerId| apart.get(&(giver, taker)).is_none_or(|until| *until <= now);
    let count = file.layout.count();
    let open = |piece: u32| part.want.contains(piece) && !part.coming.contains(piece);
    let start = if part.sequential {
        0
    } else {
        (u64::from(taker.0) * 2_654_435_761 % u64::from(count.max(1))) as u32
    };
    let giver_of = |piece: u32| {
        file.parts.iter().find(|(id, other)| {
            let giver = peers.get(id);
            **id != taker
                && other.have.contains(piece)
                && may(**id)
                && giver.is_some_and(|g| {
                    g.info.gives && g.stats.giving < SLOTS && (g.info.reachable || me.info.reachable)
                })
        })
    };
    let pieces = || (start..count).chain(0..start).filter(|&piece| open(piece));
    let longest = if me.info.runs { RUN } else { 1 };
    let run = |first: u32, gives: &dyn Fn(u32) -> bool| {
        let end = (first + 1..count).take(longest as usize - 1).take_while(|&p| open(p) && gives(p)).last();
        first..end.map_or(first + 1, |last| last + 1)
    };
    for piece in pieces() {
        if let Some((&giver, other)) = giver_of(piece) {
            return Some((giver, run(piece, &|p| other.have.contains(p))));
        }
    }
    let (&origin, _) = peers.iter().find(|(id, peer)| peer.info.is_origin && may(**id))?;
    let piece = pieces().next()?;
    Some((origin, run(piece, &|_| true)))
}
