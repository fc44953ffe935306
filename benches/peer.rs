//! Throughput of piece exchange over loopback, and what it costs each side in processor time.
//!
//! `cargo bench --bench peer` prints one line per case: wall time, and CPU seconds per GiB of the side that gives and
//! of the side that takes. (On loopback the kernel does much of the receiver's TCP work in the sender's `send`, so the
//! giver's figure includes it.) Files are in memory, under /dev/shm where there is one. `PDTP_BENCH_MIB` sets the size.
//!
//! Criterion measures wall time only, so this is a plain program. Run without `--bench` (as `cargo test` does) it moves
//! a small file, to show that it works.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pdtp::content::{Layout, PieceHashes, PieceSize, hash_piece};
use pdtp::peer::connect::{Errand, Pool};
use pdtp::peer::head::{RangeRequest, parse_range};
use pdtp::peer::serve::{Body, Request, Response, Service, serve_connection};
use pdtp::peer::{Claim, FileSpan, Finished, PieceSink, RateLimiter};
use pdtp::wire::{Digest, UrlPath};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const GIB: f64 = (1u64 << 30) as f64;

fn main() {
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let mib = std::env::var("PDTP_BENCH_MIB").ok().and_then(|mib| mib.parse().ok());
    let size: u64 = mib.unwrap_or(if is_bench { 1024 } else { 16 }) << 20;
    let dir = tempfile::tempdir_in(memory_dir()).expect("a directory for the files");
    let source = Source::create(dir.path(), size);

    let giver = runtime("giver");
    let address = giver.block_on(listen(&source));
    let taker = runtime("taker");
    println!("{:<44} {:>8} {:>14} {:>14}", "case", "MiB/s", "giver s/GiB", "taker s/GiB");
    // Twice: the first also warms up.
    for _ in 0..2 {
        report("only read, 1 connection", size, || drain(address, size));
    }
    let count = source.hashes.layout().count();
    for (flows, run) in [(1, count), (1, 8), (1, 1), (4, count.div_ceil(4)), (4, 8), (16, 8)] {
        let name = format!("{flows} at a time, runs of {run} pieces");
        report(&name, size, || taker.block_on(fetch(address, &source, flows, run)));
    }
    let small = Source { hashes: source.hash(PieceSize::for_file(0)), ..source };
    report("4 at a time, runs of 4 pieces of 64 KiB", size, || taker.block_on(fetch(address, &small, 4, 4)));
    report("4 at a time, single pieces of 64 KiB", size, || taker.block_on(fetch(address, &small, 4, 1)));
}

fn memory_dir() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}

fn runtime(name: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Runs `work` and prints what it took.
fn report(name: &str, size: u64, work: impl FnOnce()) {
    let (giver, taker) = (cpu("giver"), cpu("taker"));
    let start = Instant::now();
    work();
    let wall = start.elapsed().as_secs_f64();
    let per_gib = |spent: Duration| spent.as_secs_f64() / (size as f64 / GIB);
    let (giver, taker) = (per_gib(cpu("giver") - giver), per_gib(cpu("taker") - taker));
    println!("{name:<44} {:>8.0} {giver:>14.2} {taker:>14.2}", size as f64 / 1048576.0 / wall);
}

/// Processor time of all threads with this name. The main thread, where `only read` runs, counts as nobody's.
fn cpu(name: &str) -> Duration {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        (comm.trim() == name).then(|| stat.split(' ').next()?.parse::<u64>().ok())?
    });
    Duration::from_nanos(nanoseconds.sum())
}

struct Source {
    dir: PathBuf,
    file: Arc<File>,
    size: u64,
    hashes: PieceHashes,
}

impl Source {
    fn create(dir: &Path, size: u64) -> Self {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.join("source"))
            .expect("a source file");
        let mut state = 1u64;
        for _ in 0..size >> 20 {
            let block: Vec<u8> = (0..1 << 17)
                .flat_map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state ^ state >> 29).to_le_bytes()
                })
                .collect();
            file.write_all(&block).expect("room for the source file");
        }
        let hashes = hash(&file, size, PieceSize::for_file(size));
        Self { dir: dir.to_owned(), file: Arc::new(file), size, hashes }
    }

    fn hash(&self, piece: PieceSize) -> PieceHashes {
        hash(&self.file, self.size, piece)
    }
}

fn hash(file: &File, size: u64, piece: PieceSize) -> PieceHashes {
    let layout = Layout::new(size, piece).expect("a layout");
    let mut buffer = vec![0; piece.bytes() as usize];
    let hashes = (0..layout.count()).map(|piece| {
        let bytes = layout.bytes_of(piece);
        let buffer = &mut buffer[..(bytes.end - bytes.start) as usize];
        file.read_exact_at(buffer, bytes.start).expect("the source file");
        hash_piece(buffer)
    });
    PieceHashes::new(layout, hashes.collect()).expect("as many hashes as pieces")
}

struct Giver {
    file: Arc<File>,
    size: u64,
}

impl Service for Giver {
    async fn call(&self, request: Request<'_>) -> Response {
        let (status, bytes) = match parse_range(request.head.fields.get("range"), self.size) {
            RangeRequest::Part(bytes) => (206, bytes),
            _ => (200, 0..self.size),
        };
        let span = FileSpan { file: self.file.clone(), offset: bytes.start, len: bytes.end - bytes.start };
        Response { body: Body::File(span, RateLimiter::new(0)), ..Response::empty(status) }
    }
}

async fn listen(source: &Source) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let giver = Arc::new(Giver { file: source.file.clone(), size: source.size });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_connection(
                stream,
                bytes::Bytes::new(),
                giver.clone(),
                std::future::pending(),
            ));
        }
    });
    address
}

/// What a client without any work to do on the bytes makes of it, like `curl -o /dev/null`.
fn drain(address: SocketAddr, size: u64) {
    let mut stream = std::net::TcpStream::connect(address).expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").expect("a request");
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).expect("an answer") {
            0 => break,
            n => total += n as u64,
        }
    }
    assert!(total > size, "{total} bytes only");
}

/// A file that takes pieces from anywhere.
struct Sink {
    file: File,
    hashes: PieceHashes,
}

impl PieceSink for Sink {
    fn layout(&self) -> Layout {
        self.hashes.layout()
    }

    fn claim(&self, _piece: u32) -> Claim {
        Claim::Granted
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn finish(&self, piece: u32, digest: Digest) -> io::Result<Finished> {
        Ok(if self.hashes.is_right(piece, &digest) { Finished::Right } else { Finished::Wrong })
    }

    fn release(&self, _piece: u32) {}
}

/// Fetches the whole file, `flows` runs of `run` pieces at a time.
async fn fetch(peer: SocketAddr, source: &Source, flows: u32, run: u32) {
    let layout = source.hashes.layout();
    let file = tempfile::tempfile_in(&source.dir).expect("a target file");
    let sink = Arc::new(Sink { file, hashes: source.hashes.clone() });
    let pool = Pool::new(Duration::from_secs(10));
    let runs: Vec<Range<u32>> = (0..layout.count())
        .step_by(run as usize)
        .map(|start| start..(start + run).min(layout.count()))
        .collect();
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..flows {
        let (pool, sink, runs, next) = (pool.clone(), sink.clone(), runs.clone(), next.clone());
        tasks.spawn(async move {
            let limiter = RateLimiter::new(0);
            while let Some(run) = runs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                let errand = Errand {
                    peer,
                    host: "bench".to_owned(),
                    path: UrlPath::root(),
                    root: None,
                    bytes: layout.bytes_of_run(run.clone()),
                    size: layout.size(),
                    own_id: "bench".to_owned(),
                    transfer: None,
                    token: None,
                    proof: None,
                    reason: None,
                    wait: None,
                };
                pool.get(&errand, run.clone(), sink.clone(), &limiter, |_| {}).await.expect("the pieces");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
}
