//! What the scheduler costs: time per assignment in a swarm in full swing, and memory per peer.
//!
//! `cargo bench --bench swarm`. Peers have a random half of a file of 4,096 pieces and want the rest; transfers end in
//! the order in which they began, at 10 Mbit/s for each peer. Only the calls of the swarm are timed. Memory is what the
//! swarm has on the heap, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
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
/// Pieces a second that a peer sends: 10 Mbit/s.
const RATE: f64 = 1_250_000.0 / PIECE_SIZE as f64;

struct Busy {
    swarm: Swarm,
    now: f64,
    peers: u32,
    under_way: VecDeque<(TransferId, PeerId, f64)>,
    commands: Vec<Command>,
    started: u64,
}

impl Busy {
    fn new(peers: u32) -> Self {
        let mut busy = Self {
            swarm: Swarm::new(Config { seed: 1, ..Config::default() }),
            now: 1e6,
            peers,
            under_way: VecDeque::new(),
            commands: Vec::new(),
            started: 0,
        };
        let size = u64::from(PIECES) * u64::from(PIECE_SIZE);
        busy.tell(Event::FileAdded { file: FILE, size, piece_size: PIECE_SIZE });
        let info = |is_origin| PeerInfo {
            is_origin,
            reachable: true,
            gives: true,
            puts: true,
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
        // Until rates and acquaintances are known.
        while busy.started < u64::from(peers) * 20 {
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
                let pieces = assignment.pieces.len() as u64;
                self.started += pieces;
                self.under_way.push_back((assignment.transfer, assignment.taker, self.now));
            }
        }
        took
    }

    /// The oldest transfer ends.
    fn step(&mut self) -> Duration {
        self.now += 1e6 / (f64::from(self.peers) * RATE);
        if self.swarm.next_timeout().is_some_and(|at| at.0 as f64 <= self.now) {
            return self.tell(Event::Tick);
        }
        let Some((transfer, peer, began)) = self.under_way.pop_front() else { return self.tell(Event::Tick) };
        let bytes = u64::from(PIECE_SIZE);
        // All but 20 ms of it were spent with bytes.
        let ms = ((self.now - began) / 1000.0 - 20.0).max(0.0) as u64;
        self.tell(Event::Completed { transfer, peer, bytes, ms, result: Ok(()) })
    }
}

fn assignments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("assignment");
    group.sample_size(10).measurement_time(Duration::from_secs(3)).throughput(Throughput::Elements(1));
    for peers in [100, 1000, 10_000, 100_000] {
        let before = HEAP.load(Relaxed);
        let mut busy = Busy::new(peers);
        let own = busy.under_way.capacity() * size_of::<(TransferId, PeerId, f64)>();
        let heap = HEAP.load(Relaxed).saturating_sub(before + own) as f64 / f64::from(peers);
        let under_way = busy.under_way.len() as f64 / f64::from(peers);
        let bits = PIECES / 8;
        println!(
            "{peers} peers: {heap:.0} bytes each, of which {bits} say which pieces it has; {under_way:.1} transfers under way"
        );
        // A third of what there is to do; then everything begins anew.
        let most = u64::from(peers) * u64::from(PIECES) / 6;
        group.bench_function(BenchmarkId::from_parameter(peers), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    if busy.started > most {
                        busy = Busy::new(peers);
                    }
                    let before = busy.started;
                    took += busy.step();
                    left = left.saturating_sub(busy.started - before);
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, assignments);
criterion_main!(benches);
