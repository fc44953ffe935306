//! A small fluid network: every transfer is a flow, lines are shared max-min fairly among their flows, messages take
//! their time. Peers behave as the protocol says. All time is simulated, so results are the same on every machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::world::{origin, peer};
use crate::swarm::*;

/// Bytes a second in a Mbit/s.
pub(super) const MBIT: f64 = 125_000.0;
/// From a client to the server, or to another client, microseconds.
const ONE_WAY: u64 = 10_000;
/// Progress is told at most this often.
const PROGRESS: u64 = 50_000;

/// A host's line, bytes a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) up: f64,
    pub(super) down: f64,
}

#[derive(Debug)]
struct Flow {
    assignment: Assignment,
    bytes: f64,
    moved: f64,
    rate: f64,
    /// Pieces that are whole, and those of them the server knows of.
    whole: u32,
    told: u32,
    told_at: u64,
    began: u64,
}

#[derive(Debug)]
enum Happening {
    /// A message reaches the server.
    Message(Box<Event>),
    /// Bytes begin to move.
    Begin(Box<Assignment>),
}

pub(super) struct Sim {
    pub(super) swarm: Swarm,
    now: u64,
    lines: Vec<Line>,
    files: Vec<(u64, u32)>,
    flows: BTreeMap<TransferId, Flow>,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    next: u64,
    /// Bytes each host has got, and when the last came, microseconds.
    pub(super) got: Vec<u64>,
    pub(super) last: Vec<u64>,
    pub(super) messages: u64,
}

impl Sim {
    /// `lines[0]` is the origin's; a file is its size and the size of its pieces.
    pub(super) fn new(seed: u64, lines: Vec<Line>, files: Vec<(u64, u32)>) -> Self {
        let mut sim = Self {
            swarm: Swarm::new(Config { seed, ..Config::default() }),
            now: 0,
            got: vec![0; lines.len()],
            last: vec![0; lines.len()],
            lines,
            files,
            flows: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next: 0,
            messages: 0,
        };
        for (id, &(size, piece_size)) in sim.files.clone().iter().enumerate() {
            sim.tell(Event::FileAdded { file: FileId(id as u32), size, piece_size });
        }
        sim.tell(Event::PeerJoined { peer: PeerId(0), info: origin() });
        sim
    }

    /// Host `id` comes at `at` microseconds and wants everything.
    pub(super) fn arrive(&mut self, id: u32, at: u64) {
        self.plan(at, Happening::Message(Box::new(Event::PeerJoined { peer: PeerId(id), info: peer() })));
        for file in 0..self.files.len() as u32 {
            let (peer, file, order) = (PeerId(id), FileId(file), Order::Rarest);
            let request = Event::Request { peer, file, pieces: 0..u32::MAX, order, window: None };
            self.plan(at, Happening::Message(Box::new(request)));
        }
    }

    /// Host `id` comes at `at` microseconds, has everything and wants nothing.
    pub(super) fn arrive_with_all(&mut self, id: u32, at: u64) {
        self.plan(at, Happening::Message(Box::new(Event::PeerJoined { peer: PeerId(id), info: peer() })));
        for file in 0..self.files.len() as u32 {
            let provide = Event::Provide { peer: PeerId(id), file: FileId(file), pieces: 0..u32::MAX };
            self.plan(at, Happening::Message(Box::new(provide)));
        }
    }

    /// Runs until nothing happens any more; microseconds until the last byte came.
    pub(super) fn run(&mut self) -> u64 {
        let mut dirty = false;
        loop {
            if dirty {
                self.share();
                dirty = false;
            }
            let planned = self.agenda.peek().map(|Reverse((at, _))| *at);
            let timeout = self.swarm.next_timeout().map(|at| at.0.max(self.now));
            let moving = self.flows.values().filter(|flow| flow.rate > 0.0).map(|flow| self.due(flow)).min();
            let Some(at) = planned.into_iter().chain(moving).chain(timeout).min() else { break };
            if planned.is_none()
                && moving.is_none()
                && self.got.iter().sum::<u64>() > 0
                && self.all_have_all()
            {
                break;
            }
            assert!(at < 100_000 * 1_000_000, "never done");
            self.advance(at);
            dirty |= self.collect();
            while let Some(&Reverse((when, key))) = self.agenda.peek()
                && when <= self.now
            {
                self.agenda.pop();
                match self.happenings.remove(&key) {
                    Some(Happening::Message(event)) => dirty |= self.tell(*event),
                    Some(Happening::Begin(assignment)) => dirty |= self.begin(*assignment),
                    None => {}
                }
            }
            if self.swarm.next_timeout().is_some_and(|at| at.0 <= self.now) {
                dirty |= self.tell(Event::Tick);
            }
        }
        self.last.iter().copied().max().unwrap_or(0)
    }

    fn all_have_all(&self) -> bool {
        let all: u64 = self.files.iter().map(|file| file.0).sum();
        self.got.iter().all(|&got| got == 0 || got == all)
    }

    fn plan(&mut self, at: u64, what: Happening) {
        self.next += 1;
        self.agenda.push(Reverse((at, self.next)));
        self.happenings.insert(self.next, what);
    }

    /// The server gets a message; whether a flow was cut.
    fn tell(&mut self, event: Event) -> bool {
        let mut out = Vec::new();
        self.messages += 1;
        self.swarm.handle(event, Time(self.now), &mut out);
        let mut cut = false;
        for command in out {
            self.messages += 1;
            match command {
                Command::Start(assignment) => {
                    // To the connector, and its request to the acceptor; a PUT waits for "100 Continue" first.
                    let hops = if assignment.taker_dials { 2 } else { 3 };
                    self.plan(self.now + hops * ONE_WAY, Happening::Begin(Box::new(assignment)));
                }
                Command::Cancel { transfer, .. } => cut |= self.flows.remove(&transfer).is_some(),
                Command::Waiting { .. } | Command::Distrusted { .. } => {}
            }
        }
        cut
    }

    fn begin(&mut self, assignment: Assignment) -> bool {
        if self.swarm.transfer(assignment.transfer).is_none() {
            return false;
        }
        let (size, piece) = self.files[assignment.file.0 as usize];
        let at = |index: u32| (u64::from(index) * u64::from(piece)).min(size);
        let bytes = (at(assignment.pieces.end) - at(assignment.pieces.start)) as f64;
        let transfer = assignment.transfer;
        let flow =
            Flow { assignment, bytes, moved: 0.0, rate: 0.0, whole: 0, told: 0, told_at: 0, began: self.now };
        self.flows.insert(transfer, flow);
        true
    }

    /// Bytes of the flow's next piece boundary.
    fn boundary(&self, flow: &Flow) -> f64 {
        let piece = f64::from(self.files[flow.assignment.file.0 as usize].1);
        (f64::from(flow.whole + 1) * piece).min(flow.bytes)
    }

    fn due(&self, flow: &Flow) -> u64 {
        let micros = ((self.boundary(flow) - flow.moved) / flow.rate * 1e6).ceil().max(1.0);
        self.now + micros as u64
    }

    fn advance(&mut self, to: u64) {
        let seconds = (to - self.now) as f64 / 1e6;
        for flow in self.flows.values_mut() {
            flow.moved += flow.rate * seconds;
        }
        self.now = to;
    }

    /// Tells the server of pieces that have become whole; whether a flow has ended.
    fn collect(&mut self) -> bool {
        let mut ended = Vec::new();
        let mut messages = Vec::new();
        for (&transfer, flow) in &mut self.flows {
            let (size, piece) = self.files[flow.assignment.file.0 as usize];
            let before = flow.whole;
            while flow.whole < flow.assignment.pieces.len() as u32
                && flow.moved + 0.5 >= (f64::from(flow.whole + 1) * f64::from(piece)).min(flow.bytes)
            {
                flow.whole += 1;
            }
            if flow.whole == before {
                continue;
            }
            let taker = flow.assignment.taker;
            let arrival = self.now + ONE_WAY;
            let at = |index: u32| (u64::from(index) * u64::from(piece)).min(size);
            let first = flow.assignment.pieces.start;
            self.got[taker.0 as usize] += at(first + flow.whole) - at(first + before);
            self.last[taker.0 as usize] = arrival;
            if flow.whole == flow.assignment.pieces.len() as u32 {
                ended.push(transfer);
                let (bytes, ms) = (flow.bytes as u64, (self.now - flow.began) / 1000);
                messages.push(Event::Completed { transfer, peer: taker, bytes, ms, result: Ok(()) });
            } else if flow.told_at == 0 || self.now - flow.told_at >= PROGRESS {
                let pieces = (first + flow.told..first + flow.whole).collect();
                (flow.told, flow.told_at) = (flow.whole, self.now);
                messages.push(Event::Progress { transfer, peer: taker, pieces });
            }
        }
        for event in messages {
            self.plan(self.now + 2 * ONE_WAY, Happening::Message(Box::new(event)));
        }
        for transfer in &ended {
            self.flows.remove(transfer);
        }
        !ended.is_empty()
    }

    /// Max-min fair rates: the most crowded line is shared out first.
    fn share(&mut self) {
        let count = self.lines.len();
        // Uplinks first, then downlinks.
        let mut left: Vec<f64> =
            self.lines.iter().map(|line| line.up).chain(self.lines.iter().map(|line| line.down)).collect();
        let mut open: Vec<(usize, usize, &mut Flow)> = self
            .flows
            .values_mut()
            .map(|flow| (flow.assignment.giver.0 as usize, count + flow.assignment.taker.0 as usize, flow))
            .collect();
        while !open.is_empty() {
            let mut users = vec![0u32; 2 * count];
            for (up, down, _) in &open {
                users[*up] += 1;
                users[*down] += 1;
            }
            let share = |line: usize| left[line] / f64::from(users[line]);
            let used = (0..2 * count).filter(|&line| users[line] > 0);
            let Some(worst) = used.min_by(|&a, &b| share(a).total_cmp(&share(b))) else { break };
            let rate = share(worst).max(1.0);
            open.retain_mut(|(up, down, flow)| {
                if *up != worst && *down != worst {
                    return true;
                }
                flow.rate = rate;
                left[*up] -= rate;
                left[*down] -= rate;
                false
            });
        }
    }
}
