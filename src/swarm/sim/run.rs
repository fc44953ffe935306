//! Runs a [`Setup`]: hosts that obey the swarm and tell it what happens to them.

mod reader;

use std::collections::VecDeque;
use std::net::IpAddr;

use self::reader::Reader;
use super::agenda::Agenda;
use super::network::{FlowId, Network};
use super::report::{HostOutcome, Outcome, Sample};
use super::setup::{FileSpec, Host, SECOND, Setup, Wants};
use crate::swarm::bits::Pieces;
use crate::swarm::slab::IdMap;
use crate::swarm::state::BLOCK;
use crate::swarm::*;
use crate::wire::{self, ByteRange, Digest, Message, TransferMethod};

/// Progress of a run is told at most this often, microseconds.
const PROGRESS: u64 = 50_000;
/// A body that does not move is cut after this, microseconds.
const CUT: u64 = 30 * SECOND;
/// Dialling somebody who does not answer is given up after this, microseconds.
const DIAL: u64 = 10 * SECOND;
/// The server misses somebody who has vanished after this: three unanswered pings, 30 s apart, and the silence before.
const MISSED: u64 = 120 * SECOND;
/// Most new hosts that a host dials, and in what time: see the protocol, section 8.
const NEW_HOSTS: usize = 64;
const NEW_HOSTS_IN: u64 = 10 * SECOND;
/// Connections a host keeps for later.
const KEPT: usize = 256;
/// Samples of the history; when there are twice as many, every other one is dropped.
const SAMPLES: usize = 500;

/// Plays a setup to its end.
pub fn run(setup: &Setup) -> Outcome {
    run_with(setup, |_, _, _| ())
}

/// The same, and `look` sees every command with its time, and the swarm.
pub fn run_with(setup: &Setup, look: impl FnMut(&Swarm, &Command, Time)) -> Outcome {
    let mut world = World::new(setup, look);
    world.play();
    world.outcome()
}

#[derive(Debug)]
enum Happening {
    Arrive(u32),
    /// A host leaves and says so.
    Leave(u32),
    Vanish(u32),
    /// The lines of a host become others.
    Change(u32),
    /// A message of a host reaches the server.
    Tell(u32, Event),
    /// Bytes of a transfer begin to move.
    Begin(TransferId),
    /// A side hears that a transfer is cancelled.
    Stop(TransferId),
    /// A transfer ends because nothing moves.
    Cut(TransferId),
    /// A host is asked for a sign of life.
    Ping(u32),
    /// A reader comes to the end of a piece.
    Play(u32),
}

/// A transfer as its two sides see it.
#[derive(Debug)]
struct Active {
    assignment: Assignment,
    flow: Option<FlowId>,
    /// Pieces that are whole, and those of them that the server was told of.
    whole: u32,
    told: u32,
    told_at: Option<u64>,
    began: u64,
    useful: u64,
}

impl Active {
    fn is_time_to_tell(&self, now: u64) -> bool {
        let first = if self.assignment.news_us.is_some() { Some(self.began) } else { None };
        let interval = self.assignment.news_us.unwrap_or(PROGRESS);
        self.told_at.or(first).is_none_or(|at| now >= at + interval) && self.is_judged()
    }

    /// Whether what has come can be judged: where nobody waits, by blocks (as the client does).
    fn is_judged(&self) -> bool {
        let is_by_blocks =
            self.assignment.news_us.is_some() && self.assignment.pieces.len() as u32 >= 2 * BLOCK;
        !is_by_blocks || (self.assignment.pieces.start + self.whole).is_multiple_of(BLOCK)
    }

    fn connector(&self) -> u32 {
        if self.assignment.taker_dials { self.assignment.taker.0 } else { self.assignment.giver.0 }
    }

    fn acceptor(&self) -> u32 {
        if self.assignment.taker_dials { self.assignment.giver.0 } else { self.assignment.taker.0 }
    }
}

/// A host as it is now.
#[derive(Debug, Default)]
struct State {
    is_here: bool,
    has_vanished: bool,
    /// Bytes still to come.
    lacks: u64,
    /// The next file to ask for.
    next_file: u32,
    /// Hosts that it has a connection to, with nothing on it.
    kept: VecDeque<u32>,
    /// Hosts it has dialled, and when the latest new ones were.
    known: IdMap<u32, ()>,
    dialled: VecDeque<u64>,
    transfers: Vec<TransferId>,
    reader: Option<Reader>,
}

struct World<'a, L> {
    setup: &'a Setup,
    look: L,
    swarm: Swarm,
    network: Network<TransferId>,
    now: u64,
    agenda: Agenda<Happening>,
    states: Vec<State>,
    has: IdMap<(u32, u32), Pieces>,
    active: IdMap<TransferId, Active>,
    /// Transfers that wait for a host to have a piece of a file.
    waiting: IdMap<(u32, u32, u32), Vec<TransferId>>,
    /// Takers that are to finish and have not.
    unfinished: usize,
    sizes: Sizes,
    outcome: Outcome,
    gap: u64,
    commands: Vec<Command>,
}

/// Bytes of typical messages.
#[derive(Debug)]
struct Sizes {
    transfer: u64,
    completed: u64,
    progress: u64,
    request: u64,
    cancel: u64,
    waiting: u64,
    ping: u64,
}

impl Sizes {
    fn new() -> Self {
        let size = |message: Message| message.to_json().map_or(0, |json| json.len() as u64 + 4);
        let url = || "http://mirror.example.org/pool/main/directory/some-package_1.2.3_amd64.deb".to_owned();
        let (id, root) = (Some(1 << 24), Some(Digest([7; 32])));
        let range = ByteRange::new(1 << 28, (1 << 28) + (1 << 20) - 1);
        let peer_id = "pdtp-0123456789abcdef0123456789abcdef".to_owned();
        let mac = "e".repeat(64);
        Self {
            transfer: size(
                wire::Transfer {
                    id,
                    host: "192.168.100.200".into(),
                    port: 45_678,
                    method: TransferMethod::Get,
                    url: url(),
                    root,
                    range,
                    peer_id,
                    token: Some(format!("1800000000.{mac}")),
                    proof: Some(mac),
                    reason: Some(Reason::Rarest),
                    ..Default::default()
                }
                .into(),
            ),
            completed: size(
                wire::Completed { id, bytes: Some(1 << 20), ms: Some(1234), ..Default::default() }.into(),
            ),
            progress: size(wire::Progress { id: 1 << 24, pieces: vec![1234, 1235] }.into()),
            request: size(wire::Request { url: url(), root, ..Default::default() }.into()),
            cancel: size(wire::Cancel { id: 1 << 24 }.into()),
            waiting: size(wire::Waiting { url: url(), reason: WaitReason::OriginBusy }.into()),
            ping: size(wire::Ping {}.into()),
        }
    }
}

impl<'a, L: FnMut(&Swarm, &Command, Time)> World<'a, L> {
    fn new(setup: &'a Setup, look: L) -> Self {
        let hosts = &setup.hosts;
        let mut world = Self {
            setup,
            look,
            swarm: Swarm::new(setup.config.clone()),
            network: Network::new(hosts.iter().map(|host| (host.up, host.down)), setup.tolerance),
            now: 0,
            agenda: Agenda::default(),
            states: hosts.iter().map(|_| State::default()).collect(),
            has: IdMap::default(),
            active: IdMap::default(),
            waiting: IdMap::default(),
            unfinished: 0,
            sizes: Sizes::new(),
            outcome: Outcome { hosts: vec![HostOutcome::default(); hosts.len()], ..Outcome::default() },
            gap: 1000,
            commands: Vec::new(),
        };
        for (id, file) in (0..).zip(&setup.files) {
            world.handle(Event::FileAdded { file: FileId(id), size: file.size, piece_size: file.piece_size });
        }
        for (id, host) in (0..).zip(hosts) {
            if host.is_to_finish() {
                world.unfinished += 1;
            }
            if host.is_origin {
                world.arrive(id);
            } else {
                world.plan(host.arrives, Happening::Arrive(id));
            }
        }
        world
    }

    fn play(&mut self) {
        let mut reached = Vec::new();
        while self.unfinished > 0 {
            let timeout = self.swarm.next_timeout().map(|at| at.0.max(self.now));
            let planned = self.agenda.peek().map(|(at, _)| at);
            let moving = self.network.next(self.now);
            let next = [timeout, planned, moving].into_iter().flatten().min();
            let Some(at) = next.filter(|&at| at <= self.setup.until) else {
                // Time goes on for those who wait for something that does not come.
                self.now = self.setup.until;
                break;
            };
            self.now = at;
            if moving == Some(at) {
                self.network.reached(at, &mut reached);
                for &flow in &reached {
                    self.reached(flow);
                }
            }
            while self.agenda.peek().is_some_and(|(planned, _)| planned <= at) {
                if let Some(what) = self.agenda.pop() {
                    self.happen(what);
                }
            }
            if self.swarm.next_timeout().is_some_and(|at| at.0 <= self.now) {
                self.handle(Event::Tick);
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        // What is still moving was for nothing.
        let under_way: Vec<_> = self.active.keys().copied().collect();
        for transfer in under_way {
            self.stop(transfer);
        }
        for id in 0..self.states.len() as u32 {
            if self.states[id as usize].is_here {
                self.is_gone(id);
            }
        }
        self.outcome.unsettled = self.network.unsettled();
        self.sample(true);
        self.outcome.swarm = self.swarm.stats();
        self.outcome
    }

    fn plan(&mut self, at: u64, what: Happening) {
        self.agenda.push(at, what);
    }

    fn host(&self, id: u32) -> &'a Host {
        &self.setup.hosts[id as usize]
    }

    fn file(&self, id: u32) -> FileSpec {
        self.setup.files[id as usize]
    }

    /// One way between two hosts.
    fn between(&self, one: u32, other: u32) -> u64 {
        self.setup.between(self.host(one), self.host(other))
    }

    /// A host writes to the server.
    fn tell(&mut self, id: u32, after: u64, event: Event) {
        let (count, bytes) = match &event {
            // Both sides of a transfer say that it has ended.
            Event::Completed { .. } => (2, 2 * self.sizes.completed),
            Event::Progress { pieces, .. } => (1, self.sizes.progress + 4 * pieces.len() as u64),
            Event::Request { .. } | Event::Provide { .. } => (1, self.sizes.request),
            Event::Pong { .. } => (1, self.sizes.ping),
            _ => (0, 0),
        };
        self.outcome.messages += count;
        self.outcome.message_bytes += bytes;
        self.plan(self.now + after + self.host(id).delay, Happening::Tell(id, event));
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrive(id) => self.arrive(id),
            Happening::Leave(id) => self.leave(id),
            Happening::Vanish(id) => self.vanish(id),
            Happening::Change(id) => {
                if let Some((_, up, down)) = self.host(id).changes {
                    self.network.set_capacity(id, up, down);
                }
            }
            Happening::Tell(id, event) => {
                let is_last_word = matches!(event, Event::PeerLeft { .. });
                if self.states[id as usize].is_here || is_last_word {
                    self.handle(event);
                }
            }
            Happening::Begin(transfer) => self.begin(transfer),
            Happening::Stop(transfer) => {
                self.stop(transfer);
            }
            Happening::Cut(transfer) => self.fail(transfer, FailureKind::Timeout),
            Happening::Ping(id) => {
                if self.states[id as usize].is_here {
                    self.tell(id, 0, Event::Pong { peer: PeerId(id) });
                }
            }
            Happening::Play(id) => self.played(id),
        }
    }

    /// The swarm hears something, and is obeyed.
    fn handle(&mut self, event: Event) {
        let mut commands = std::mem::take(&mut self.commands);
        self.outcome.events += 1;
        self.swarm.handle(event, Time(self.now), &mut commands);
        for command in &commands {
            (self.look)(&self.swarm, command, Time(self.now));
        }
        for command in commands.drain(..) {
            let (count, bytes) = match &command {
                Command::Start(_) => (1, self.sizes.transfer),
                Command::Cancel { .. } => (2, 2 * self.sizes.cancel),
                Command::Waiting { .. } => (1, self.sizes.waiting),
                Command::Ping { .. } => (1, self.sizes.ping),
                Command::Distrusted { .. } => (0, 0),
            };
            self.outcome.messages += count;
            self.outcome.message_bytes += bytes;
            match command {
                Command::Start(assignment) => self.start(assignment),
                Command::Cancel { transfer, taker, .. } => {
                    self.plan(self.now + self.host(taker.0).delay, Happening::Stop(transfer));
                }
                Command::Ping { peer } => {
                    self.plan(self.now + self.host(peer.0).delay, Happening::Ping(peer.0));
                }
                Command::Waiting { .. } | Command::Distrusted { .. } => {}
            }
        }
        self.commands = commands;
    }

    fn arrive(&mut self, id: u32) {
        let host = self.host(id);
        let peer = PeerId(id);
        self.states[id as usize].is_here = true;
        self.outcome.hosts[id as usize].arrived = self.now;
        let info = PeerInfo {
            is_origin: host.is_origin,
            reachable: host.is_origin,
            gives: true,
            puts: true,
            ahead: true,
            stays: !host.leaves_when_done,
            runs: true,
            up_limit: None,
            down_limit: None,
            // Where in its network it is, nobody asks.
            address: host.network.map(|network| {
                let [far, near] = [network / 16, network % 16].map(|part| (part % 256) as u8);
                IpAddr::from([10, far, near, 1])
            }),
        };
        if host.is_origin {
            return self.handle(Event::PeerJoined { peer, info });
        }
        // A connection has to be made first.
        let dial = 2 * host.delay;
        self.tell(id, dial, Event::PeerJoined { peer, info });
        // Which the server finds out by dialling it and asking who it is.
        self.tell(id, dial + 4 * host.delay, Event::Reachable { peer, ok: host.is_dialable });
        for file in 0..if host.has_all { self.setup.files.len() as u32 } else { 0 } {
            self.has.insert((id, file), Pieces::full(self.file(file).pieces()));
            self.tell(id, dial, Event::Provide { peer, file: FileId(file), pieces: 0..u32::MAX });
        }
        match host.wants {
            Wants::Nothing => {}
            Wants::File { file } => {
                self.states[id as usize].lacks = self.file(file).size;
                self.ask(id, file, dial);
            }
            Wants::Files { at_once } => {
                self.states[id as usize].lacks = self.setup.bytes();
                for file in 0..at_once.min(self.setup.files.len()) as u32 {
                    self.ask(id, file, dial);
                }
            }
            Wants::Stream { file, .. } => {
                self.states[id as usize].lacks = self.file(file).size;
                self.states[id as usize].reader = Some(Reader::new(self.now));
                self.read_on(id, dial);
            }
        }
        for (at, what) in [
            (host.leaves, Happening::Leave(id)),
            (host.vanishes, Happening::Vanish(id)),
            (host.changes.map(|change| change.0), Happening::Change(id)),
        ] {
            if let Some(at) = at {
                self.plan(at.max(self.now), what);
            }
        }
    }

    fn ask(&mut self, id: u32, file: u32, after: u64) {
        self.states[id as usize].next_file = file + 1;
        let (peer, file, order) = (PeerId(id), FileId(file), Order::Rarest);
        self.tell(id, after, Event::Request { peer, file, pieces: 0..u32::MAX, order, window: None });
    }

    fn leave(&mut self, id: u32) {
        if !std::mem::replace(&mut self.states[id as usize].is_here, false) {
            return;
        }
        self.is_gone(id);
        // The others notice, and say so before or after the server knows.
        for transfer in self.states[id as usize].transfers.clone() {
            self.fail(transfer, FailureKind::Gone);
        }
        self.tell(id, 0, Event::PeerLeft { peer: PeerId(id) });
    }

    /// Nothing matters to a host from now on.
    fn is_gone(&mut self, id: u32) {
        let outcome = &mut self.outcome.hosts[id as usize];
        outcome.stayed = self.now - outcome.arrived;
        self.stop_reading(id);
    }

    fn vanish(&mut self, id: u32) {
        if !std::mem::replace(&mut self.states[id as usize].is_here, false) {
            return;
        }
        self.is_gone(id);
        self.states[id as usize].has_vanished = true;
        for transfer in self.states[id as usize].transfers.clone() {
            self.freeze(transfer);
            self.plan(self.now + CUT, Happening::Cut(transfer));
        }
        self.tell(id, MISSED, Event::PeerLeft { peer: PeerId(id) });
    }

    /// Nothing of a transfer moves any more.
    fn freeze(&mut self, transfer: TransferId) {
        let Some(active) = self.active.get_mut(&transfer) else { return };
        if let Some(flow) = active.flow.take() {
            let moved = self.network.end(flow, self.now) as u64;
            self.outcome.wasted += moved.saturating_sub(active.useful);
        }
    }

    /// A transfer is over; what is known of it.
    fn stop(&mut self, transfer: TransferId) -> Option<Active> {
        self.freeze(transfer);
        let active = self.active.remove(&transfer)?;
        for id in [active.assignment.giver.0, active.assignment.taker.0] {
            self.states[id as usize].transfers.retain(|&other| other != transfer);
        }
        let (connector, acceptor) = (active.connector(), active.acceptor());
        let kept = &mut self.states[connector as usize].kept;
        kept.push_back(acceptor);
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Some(active)
    }

    /// A transfer ends on its taker's side, badly.
    fn fail(&mut self, transfer: TransferId, kind: FailureKind) {
        let Some(active) = self.stop(transfer) else { return };
        let (peer, ms) = (active.assignment.taker, (self.now - active.began) / 1000);
        let told = Event::Completed { transfer, peer, bytes: active.useful, ms, result: Err(kind) };
        self.report(&active);
        self.tell(peer.0, 0, told);
    }

    /// The pieces that the server does not know of yet.
    fn report(&mut self, active: &Active) {
        if active.told < active.whole {
            let (transfer, peer) = (active.assignment.transfer, active.assignment.taker);
            let first = active.assignment.pieces.start;
            let pieces = (first + active.told..first + active.whole).collect();
            self.tell(peer.0, 0, Event::Progress { transfer, peer, pieces });
        }
    }

    /// The swarm has told the connector to dial.
    fn start(&mut self, assignment: Assignment) {
        let transfer = assignment.transfer;
        let active =
            Active { assignment, flow: None, whole: 0, told: 0, told_at: None, began: self.now, useful: 0 };
        let (connector, acceptor) = (active.connector(), active.acceptor());
        let (from, to) = (active.assignment.giver.0, active.assignment.taker.0);
        let hears = self.host(connector).delay;
        let hop = self.between(connector, acceptor);
        let taker_dials = active.assignment.taker_dials;
        self.active.insert(transfer, active);
        for id in [from, to] {
            self.states[id as usize].transfers.push(transfer);
        }
        if !self.states[connector as usize].is_here {
            return;
        }
        let is_gone = !self.states[acceptor as usize].is_here;
        let may_dial = self.may_dial(connector, acceptor);
        let fails = match () {
            () if self.states[acceptor as usize].has_vanished => Some(DIAL),
            () if is_gone || !self.host(acceptor).is_dialable => Some(2 * hop),
            // It refuses, as a client does: that the swarm has to know how many it may dial is what a run is to show.
            () if !may_dial => {
                self.outcome.dials_refused += 1;
                Some(0)
            }
            () => None,
        };
        if let Some(after) = fails {
            self.stop(transfer);
            let (peer, result) = (PeerId(to), Err(FailureKind::Unreachable));
            return self.tell(
                connector,
                hears + after,
                Event::Completed { transfer, peer, bytes: 0, ms: 0, result },
            );
        }
        let kept = &mut self.states[connector as usize].kept;
        let dial = match kept.iter().position(|&other| other == acceptor) {
            Some(place) => {
                kept.remove(place);
                0
            }
            None => 2 * hop,
        };
        let request = if taker_dials { hop } else { 2 * hop };
        self.plan(self.now + hears + dial + request, Happening::Begin(transfer));
    }

    /// Whether a host may dial another: so many new ones in so much time.
    fn may_dial(&mut self, id: u32, other: u32) -> bool {
        if self.host(other).is_origin {
            return true;
        }
        let now = self.now;
        let state = &mut self.states[id as usize];
        if state.known.contains_key(&other) {
            return true;
        }
        while state.dialled.front().is_some_and(|&at| at + NEW_HOSTS_IN <= now) {
            state.dialled.pop_front();
        }
        if state.dialled.len() >= NEW_HOSTS {
            return false;
        }
        state.dialled.push_back(now);
        state.known.insert(other, ()).is_none()
    }

    /// Bytes begin to move.
    fn begin(&mut self, transfer: TransferId) {
        let Some(active) = self.active.get(&transfer) else { return };
        let (from, to) = (active.assignment.giver.0, active.assignment.taker.0);
        if !self.states[from as usize].is_here || !self.states[to as usize].is_here {
            self.plan(self.now + CUT, Happening::Cut(transfer));
            return;
        }
        let Assignment { file, ref pieces, ahead, .. } = active.assignment;
        if ahead && !self.has.get(&(from, file.0)).is_some_and(|has| has.contains(pieces.start)) {
            self.waiting.entry((from, file.0, pieces.start)).or_default().push(transfer);
            return;
        }
        let mark = self.mark(active);
        let requested = self.now - self.between(from, to);
        let flow = self.network.begin(from, to, mark, self.now, transfer);
        if let Some(active) = self.active.get_mut(&transfer) {
            active.flow = Some(flow);
            // Both sides count from the request.
            active.began = requested;
        }
    }

    /// Bytes at which the next piece of a transfer is whole.
    fn mark(&self, active: &Active) -> f64 {
        let (file, first) = (self.file(active.assignment.file.0), active.assignment.pieces.start);
        (file.offset(first + active.whole + 1) - file.offset(first)) as f64
    }

    /// A piece has left the giver's line.
    fn reached(&mut self, flow: FlowId) {
        let Some(transfer) = self.network.tag(flow) else { return };
        let Some(active) = self.active.get_mut(&transfer) else { return };
        let (from, to, file) = (active.assignment.giver, active.assignment.taker, active.assignment.file.0);
        let piece = active.assignment.pieces.start + active.whole;
        let hop = self.between(from.0, to.0);
        if self.host(from.0).lies {
            let Some(active) = self.stop(transfer) else { return };
            let (bytes, ms) = (self.file(file).offset(1), (self.now + hop - active.began) / 1000);
            let result = Err(FailureKind::Hash);
            return self.tell(to.0, hop, Event::Completed { transfer, peer: to, bytes, ms, result });
        }
        let Some(active) = self.active.get_mut(&transfer) else { return };
        active.whole += 1;
        let spec = self.setup.files[file as usize];
        let bytes = spec.offset(piece + 1) - spec.offset(piece);
        let pieces = self.has.entry((to.0, file)).or_insert_with(|| Pieces::new(spec.pieces()));
        let is_news = pieces.insert(piece);
        let is_whole_file = pieces.is_full();
        if is_news {
            active.useful += bytes;
            self.outcome.useful += bytes;
        }
        let is_over = active.whole == active.assignment.pieces.len() as u32;
        if is_over {
            if let Some(active) = self.stop(transfer) {
                let bytes =
                    spec.offset(active.assignment.pieces.end) - spec.offset(active.assignment.pieces.start);
                let ms = (self.now + hop - active.began) / 1000;
                self.tell(to.0, hop, Event::Completed { transfer, peer: to, bytes, ms, result: Ok(()) });
            }
        } else {
            let first = active.assignment.pieces.start;
            if active.is_time_to_tell(self.now) {
                let pieces = (first + active.told..first + active.whole).collect();
                (active.told, active.told_at) = (active.whole, Some(self.now));
                self.tell(to.0, hop, Event::Progress { transfer, peer: to, pieces });
            }
            if let Some(active) = self.active.get(&transfer) {
                self.network.set_mark(flow, self.mark(active));
            }
        }
        if is_news {
            self.got(from.0, to.0, bytes, is_whole_file, hop);
            for transfer in self.waiting.remove(&(to.0, file, piece)).unwrap_or_default() {
                self.begin(transfer);
            }
        }
    }

    /// A host has one more piece.
    fn got(&mut self, from: u32, to: u32, bytes: u64, is_whole_file: bool, hop: u64) {
        self.outcome.hosts[from as usize].given += bytes;
        self.outcome.hosts[to as usize].got += bytes;
        let [giver, taker] = [from, to].map(|id| self.host(id).network);
        if giver.is_some() && giver == taker {
            self.outcome.near += bytes;
        }
        self.sample(false);
        let state = &mut self.states[to as usize];
        state.lacks -= bytes;
        let (lacks, next) = (state.lacks, state.next_file);
        match self.host(to).wants {
            Wants::Files { .. } if is_whole_file && (next as usize) < self.setup.files.len() => {
                self.ask(to, next, hop)
            }
            Wants::Stream { .. } => return self.play_on(to, hop),
            _ => {}
        }
        if lacks == 0 {
            self.done(to, self.now + hop);
        }
    }

    fn done(&mut self, id: u32, at: u64) {
        let host = self.host(id);
        self.outcome.hosts[id as usize].done = Some(at);
        if host.is_to_finish() {
            self.unfinished -= 1;
            self.outcome.makespan = self.outcome.makespan.max(at);
        }
        if host.leaves_when_done {
            self.plan(at, Happening::Leave(id));
        }
    }

    fn sample(&mut self, is_last: bool) {
        let history = &mut self.outcome.history;
        if !is_last && history.last().is_some_and(|last| self.now < last.at + self.gap) {
            return;
        }
        let stats = self.swarm.stats();
        history.push(Sample { at: self.now, from_origin: stats.origin_bytes, from_peers: stats.peer_bytes });
        if history.len() > 2 * SAMPLES {
            let mut keep = false;
            history.retain(|_| {
                keep = !keep;
                keep
            });
            self.gap *= 2;
        }
    }
}
