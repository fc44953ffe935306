//! What the scheduler costs: time per assignment in a swarm in full swing, and memory per peer.
//!
//! `cargo bench --bench swarm`. Peers have a random half of a file of 4,096 pieces and want the rest. Each sends what it is
//! told to, one after the other, at 10 Mbit/s, and 20 ms later the swarm hears that it came. An assignment is one
//! `Command::Start`, of a piece or of a run of several. Only the calls of the swarm are timed. Memory is what the swarm has
//! on the heap, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pdtp::swarm::{Command, Config, Event, FileId, Order, PeerId, PeerInfo, Swarm, Time, TransferId};

/// Counts the bytes that are allocated.
struct Counting;

static HEAP: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is done by the system's allocator, with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(layout.size(), Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HEAP.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PIECES: u32 = 4096;
const PIECE_SIZE: u32 = 64 * 1024;
const FILE: FileId = FileId(0);
/// What a peer sends, bytes a microsecond: 10 Mbit/s.
const RATE: f64 = 1.25;
/// The orders, the request, and the news that something came, microseconds.
const LAG: f64 = 20_000.0;
/// A third of what there is to do; then everything begins anew.
const MOST_PIECES: u64 = PIECES as u64 / 6;
/// For each peer, before anything is measured: then rates and acquaintances are known.
const BEFORE: u64 = 20;

struct Busy {
    swarm: Swarm,
    now: f64,
    peers: u32,
    /// By when their ends are heard of.
    under_way: BinaryHeap<Reverse<UnderWay>>,
    /// When each peer has sent all that it was told to.
    free_at: Vec<f64>,
    commands: Vec<Command>,
    /// Assignments.
    started: u64,
    /// In all of them.
    pieces: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    ends: u64,
    transfer: TransferId,
    taker: PeerId,
    bytes: u64,
    ms: u64,
}

impl Busy {
    fn new(peers: u32) -> Self {
        let mut busy = Self {
            swarm: Swarm::new(Config { seed: 1, ..Config::default() }),
            now: 1e6,
            peers,
            under_way: BinaryHeap::new(),
            free_at: vec![0.0; peers as usize + 1],
            commands: Vec::new(),
            started: 0,
            pieces: 0,
        };
        let size = u64::from(PIECES) * u64::from(PIECE_SIZE);
        busy.tell(Event::FileAdded { file: FILE, size, piece_size: PIECE_SIZE });
        let info = |is_origin| PeerInfo {
            is_origin,
            reachable: true,
            gives: true,
            puts: true,
            ahead: true,
            stays: true,
            runs: true,
            up_limit: None,
            down_limit: None,
            address: None,
        };
        busy.tell(Event::PeerJoined { peer: PeerId(0), info: info(true) });
        let mut random = 1u64;
        for id in 1..=peers {
            let peer = PeerId(id);
            busy.tell(Event::PeerJoined { peer, info: info(false) });
            for block in 0..PIECES / 32 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if random >> 63 == 1 {
                    busy.tell(Event::Provide { peer, file: FILE, pieces: block * 32..block * 32 + 32 });
                }
            }
        }
        for id in 1..=peers {
            let (peer, order) = (PeerId(id), Order::Rarest);
            busy.tell(Event::Request { peer, file: FILE, pieces: 0..PIECES, order, window: None });
        }
        while busy.started < u64::from(peers) * BEFORE {
            busy.step();
        }
        busy
    }

    fn tell(&mut self, event: Event) -> Duration {
        let began = Instant::now();
        self.swarm.handle(black_box(event), Time(self.now as u64), &mut self.commands);
        let took = began.elapsed();
        for command in self.commands.drain(..) {
            if let Command::Start(assignment) = command {
                self.started += 1;
                self.pieces += assignment.pieces.len() as u64;
                let bytes = assignment.pieces.len() as u64 * u64::from(PIECE_SIZE);
                let free_at = &mut self.free_at[assignment.giver.0 as usize];
                *free_at = free_at.max(self.now) + bytes as f64 / RATE;
                // The line is shared, so all but the lag is spent with bytes.
                self.under_way.push(Reverse(UnderWay {
                    ends: (*free_at + LAG) as u64,
                    transfer: assignment.transfer,
                    taker: assignment.taker,
                    bytes,
                    ms: ((*free_at - self.now) / 1000.0) as u64,
                }));
            }
        }
        took
    }

    /// What comes next: an end is heard of, or the swarm wanted to be woken.
    fn step(&mut self) -> Duration {
        let next = self.under_way.peek().map(|Reverse(transfer)| transfer.ends);
        if let Some(at) = self.swarm.next_timeout().filter(|at| next.is_none_or(|next| at.0 <= next)) {
            self.now = self.now.max(at.0 as f64);
            return self.tell(Event::Tick);
        }
        let Reverse(UnderWay { ends, transfer, taker: peer, bytes, ms }) =
            self.under_way.pop().expect("as long as something is needed there is something to wait for");
        self.now = self.now.max(ends as f64);
        self.tell(Event::Completed { transfer, peer, bytes, ms, result: Ok(()) })
    }

    /// What it takes itself, beside the swarm.
    fn own_heap(&self) -> usize {
        self.under_way.capacity() * size_of::<UnderWay>()
            + self.free_at.capacity() * size_of::<f64>()
            + self.commands.capacity() * size_of::<Command>()
    }
}

fn assignments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("assignment");
    group.sample_size(10).measurement_time(Duration::from_secs(3)).throughput(Throughput::Elements(1));
    for peers in [100, 1000, 10_000, 100_000] {
        let before = HEAP.load(Relaxed);
        let mut busy = Busy::new(peers);
        let heap = HEAP.load(Relaxed).saturating_sub(before + busy.own_heap()) as f64 / f64::from(peers);
        let under_way = busy.under_way.len() as f64 / f64::from(peers);
        let bits = PIECES / 8;
        println!(
            "{peers} peers: {heap:.0} bytes each, of which {bits} say which pieces it has; {under_way:.1} transfers under way"
        );
        let (mut assigned, mut pieces) = (0, 0);
        group.bench_function(BenchmarkId::from_parameter(peers), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    if busy.pieces > u64::from(busy.peers) * MOST_PIECES {
                        busy = Busy::new(peers);
                    }
                    let before = (busy.started, busy.pieces);
                    took += busy.step();
                    let started = busy.started - before.0;
                    assigned += started;
                    pieces += busy.pieces - before.1;
                    left = left.saturating_sub(started);
                }
                took
            });
        });
        println!(
            "{peers} peers: {assigned} assignments, of {:.2} pieces each",
            pieces as f64 / assigned as f64
        );
    }
    group.finish();
}

criterion_group!(benches, assignments);
criterion_main!(benches);
