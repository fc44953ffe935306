//! `pdtp-load`: what thousands of clients cost `pdtpd`.
//!
//! ```text
//! cargo run --profile sim --example pdtp-load -- [CLIENTS] [--processes N] [--servers N] [--pdtpd PATH] [--json]
//! ```
//!
//! Starts `pdtpd`, has 20,000 clients on addresses of 127.0.0.0/8 connect, register, download a file of 16 KiB, check it
//! and hold on, and tells what that cost the server: memory for each client, processor time for each download. Then
//! four clients download 1 GiB in pieces of 4 MiB from it, and the bytes of their control connections are counted. At last
//! four `pdtp get` do the same from a `pdtpd` with little to send, so that most of it comes from each other.
//! The clients are spread over several processes, and where one `pdtpd` may not have descriptors for all of them, there are
//! as many `pdtpd` as that takes (or as `--servers` says, if that is more), which serve the same directory. What they cost is
//! added up. Ends with 1 if a goal is missed.

mod clients;
mod relay;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clients::{Crowd, Totals, start};
use tokio::sync::watch;

const MIB: usize = 1 << 20;

struct Server {
    child: Child,
    address: SocketAddr,
    _state: tempfile::TempDir,
}

impl Server {
    fn start(program: &Path, dir: &Path, options: &[&str]) -> Self {
        let state = tempfile::tempdir().expect("a scratch directory");
        let mut child = Command::new(program)
            .arg("serve")
            .arg(dir)
            .args(["--listen", "127.0.0.1:0", "--state"])
            .arg(state.path())
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error} (say where it is: --pdtpd PATH)", program.display()));
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let uri = line.split_whitespace().find(|word| word.starts_with("pdtp://"))?.to_owned();
            uri.parse::<pdtp::wire::PdtpUri>().ok().map(|uri| uri.port)
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("pdtpd says where it listens")));
        // What it says later is nobody's.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, _state: state }
    }

    fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Processor time, in seconds.
    fn cpu_s(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("/proc");
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the clients of one process have done, told as a line of numbers.
#[derive(Debug, Default, Clone)]
struct Told {
    holding: usize,
    failed: usize,
    why: String,
}

/// Clients in a process of their own, which holds on until its standard input is closed.
struct Worker {
    child: Child,
    told: Arc<Mutex<Told>>,
}

impl Worker {
    fn start(crowd: &Crowd, first: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .arg("--worker")
            .args([first, crowd.clients, crowd.at_once].map(|number| number.to_string()))
            .args([&crowd.server.to_string(), &crowd.path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let told = Arc::new(Mutex::new(Told::default()));
        let (lines, latest) =
            (BufReader::new(child.stdout.take().expect("piped")).lines(), Arc::clone(&told));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut words = line.splitn(3, ' ');
                let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
                let (holding, failed) = (number(), number());
                let why = words.next().unwrap_or_default().to_owned();
                *latest.lock().unwrap() = Told { holding, failed, why };
            }
        });
        Self { child, told }
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    /// What such a process does.
    fn work(arguments: &[String]) {
        let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
        let (first, clients, at_once) = (number(0), number(1), number(2));
        let (server, path) = (arguments[3].parse().expect("an address"), arguments[4].clone());
        raise_descriptor_limit();
        let (end, stay) = watch::channel(true);
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = end.send(false);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let totals = Arc::new(Totals::default());
            let mut ended = stay.clone();
            start(&Crowd { server, path, clients, at_once }, first, &totals, &stay);
            let mut said = String::new();
            while *ended.borrow_and_update() {
                let why = totals.errors.lock().unwrap().join("; ");
                let (holding, failed) = (totals.holding.load(Relaxed), totals.failed.load(Relaxed));
                let line = format!("{holding} {failed} {why}");
                if line != said {
                    println!("{line}");
                    said = line;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Waits until so many hold on; stops at the first failure.
async fn wait_for_workers(workers: &[Worker], count: usize) {
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        let told: Vec<_> = workers.iter().map(Worker::told).collect();
        let failed: usize = told.iter().map(|told| told.failed).sum();
        let why: Vec<_> = told.iter().map(|told| &told.why).collect();
        assert!(failed == 0, "{failed} clients failed: {why:#?}");
        let holding: usize = told.iter().map(|told| told.holding).sum();
        if holding >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{holding} of {count} after 10 minutes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same in this process.
async fn wait_for(totals: &Totals, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(600);
    while totals.holding.load(Relaxed) < count {
        let failed = totals.failed.load(Relaxed);
        assert!(failed == 0, "{failed} clients failed: {:#?}", totals.errors.lock().unwrap());
        assert!(Instant::now() < deadline, "{} of {count} after 10 minutes", totals.holding.load(Relaxed));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[allow(unsafe_code, reason = "no safe interface to setrlimit among our dependencies")]
/// As far as the hard limit, which is what the machine's owner has decided.
fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours and of the type the calls use.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
    }
    limit.rlim_cur
}

/// Before anything is measured: buffers, threads, the hash of the file. So many clients for each server.
const WARM: usize = 200;
/// Downloads at once, each of which has a connection more.
const AT_ONCE: usize = 128;
/// What a server sends, bytes a second, where most is to come from peers: much less than they could take.
const LITTLE_TO_SEND: &str = "50M";
/// What is judged: the number in the report, what it is, and the most that it may be.
const GOALS: [(&str, &str, Option<f64>); 5] = [
    ("pdtpd_kib_per_client", "KiB of pdtpd for each client", Some(16.0)),
    ("pdtpd_cpu_us_per_download", "µs of pdtpd's processor time for each download", None),
    ("control_mb_per_gb", "MB on control connections for each GB of payload, pieces of 4 MiB", Some(1.0)),
    ("control_mb_per_gb_among_peers", "the same where peers give each other most of it", Some(1.0)),
    ("origin_copies_among_peers", "copies from the origin, of four, where they do", None),
];

/// What to do.
struct Plan {
    clients: usize,
    /// In which they live.
    processes: usize,
    servers: usize,
    as_json: bool,
    program: PathBuf,
}

impl Plan {
    fn of(arguments: Vec<String>) -> Self {
        // target/PROFILE/examples/pdtp-load
        let beside = |own: PathBuf| Some(own.parent()?.parent()?.join("pdtpd"));
        let program = std::env::current_exe().ok().and_then(beside).unwrap_or_else(|| "pdtpd".into());
        let mut plan = Self { clients: 20_000, processes: 2, servers: 1, as_json: false, program };
        let mut args = arguments.into_iter();
        let number = |arg: &str, text: Option<String>| {
            let number = text.and_then(|n| n.parse().ok()).filter(|&n: &usize| n > 0);
            number.unwrap_or_else(|| panic!("{arg}: a number"))
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--pdtpd" => plan.program = args.next().expect("--pdtpd PATH").into(),
                "--json" => plan.as_json = true,
                "--processes" => plan.processes = number(&arg, args.next()),
                "--servers" => plan.servers = number(&arg, args.next()),
                clients => plan.clients = number("CLIENTS", Some(clients.to_owned())),
            }
        }
        // What pdtpd keeps for files, and some for its own use.
        let for_files = |descriptors: u64| (descriptors / 32).clamp(512, 8192);
        let allowed = raise_descriptor_limit();
        let each = usize::try_from(allowed.saturating_sub(for_files(allowed))).unwrap_or(usize::MAX);
        let each = each.saturating_sub(WARM + AT_ONCE).max(1);
        plan.servers = plan.servers.max(plan.clients.div_ceil(each));
        // Each of them speaks to one server, and may have no more descriptors than that.
        plan.processes = plan.processes.max(plan.servers).next_multiple_of(plan.servers);
        if plan.servers > 1 {
            eprintln!("{} pdtpd, each of which may have {allowed} descriptors (ulimit -Hn)", plan.servers);
        }
        plan
    }

    /// Many clients, a small file.
    async fn crowd(&self, served: &Path) -> serde_json::Value {
        let servers: Vec<_> = (0..self.servers).map(|_| Server::start(&self.program, served, &[])).collect();
        let crowd = |server: &Server, clients, at_once| Crowd {
            server: server.address,
            path: "/small".to_owned(),
            clients,
            at_once,
        };
        let mut workers = Vec::new();
        let mut first = 0;
        for server in &servers {
            workers.push(Worker::start(&crowd(server, WARM, AT_ONCE), first));
            first += WARM;
        }
        let warm = first;
        wait_for_workers(&workers, warm).await;
        let memory = || servers.iter().map(Server::memory_kib).sum::<u64>();
        let cpu = || servers.iter().map(Server::cpu_s).sum::<f64>();
        let (memory_before, cpu_before, began) = (memory(), cpu(), Instant::now());
        for process in 0..self.processes {
            let part = (self.clients + warm - first) / (self.processes - process);
            let server = &servers[process % servers.len()];
            workers.push(Worker::start(&crowd(server, part, (AT_ONCE / self.processes).max(1)), first));
            first += part;
        }
        wait_for_workers(&workers, self.clients + warm).await;
        let seconds = began.elapsed().as_secs_f64();
        let cpu_us = (cpu() - cpu_before) * 1e6 / self.clients as f64;
        let kib = memory().saturating_sub(memory_before) as f64 / self.clients as f64;
        // They hold on.
        tokio::time::sleep(Duration::from_secs(5)).await;
        wait_for_workers(&workers, self.clients + warm).await;
        eprintln!("{} hold on: {kib:.1} KiB and {cpu_us:.0} µs for each, {seconds:.1} s", self.clients);
        serde_json::json!({
            "clients": self.clients,
            "servers": self.servers,
            "processes": self.processes,
            "seconds": seconds,
            "pdtpd_kib_per_client": kib,
            "pdtpd_cpu_us_per_download": cpu_us,
        })
    }

    /// Few clients, a large file.
    async fn large(&self, served: &Path, report: &mut serde_json::Value) {
        let (end, stay) = watch::channel(true);
        let totals = Arc::new(Totals::default());
        let server = Server::start(&self.program, served, &["--piece-size", "4M"]);
        let crowd = Crowd { server: server.address, path: "/large".to_owned(), clients: 4, at_once: 4 };
        start(&crowd, 0, &totals, &stay);
        wait_for(&totals, 4).await;
        let gb = totals.payload_bytes.load(Relaxed) as f64 / 1e9;
        let control = totals.control_bytes.load(Relaxed) as f64 / 1e6 / gb;
        let _ = end.send(false);
        report["control_mb_per_gb"] = control.into();
        report["transfers_of_4_mib_pieces"] = totals.transfers.load(Relaxed).into();
    }
}

/// In memory, where there is such a thing.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." })
        .expect("a scratch directory")
}

impl Plan {
    /// The same with the real client, and most of it from each other.
    async fn among_peers(&self, served: &Path, report: &mut serde_json::Value) {
        const CLIENTS: u64 = 4;
        let pdtp = self.program.with_file_name("pdtp");
        let server =
            Server::start(&self.program, served, &["--piece-size", "4M", "--limit-up", LITTLE_TO_SEND]);
        let (relay, control) = relay::start(server.address).await.expect("a relay");
        let uri = format!("pdtp://{relay}/large");
        let run = |words: &[&str]| {
            let child = Command::new(&pdtp).args(words).stdout(Stdio::piped()).spawn();
            let child = child.unwrap_or_else(|error| panic!("{}: {error}", pdtp.display()));
            // The relay goes on meanwhile.
            tokio::task::spawn_blocking(move || child.wait_with_output().expect("it ends"))
        };
        // It is hashed once, whoever comes.
        assert!(run(&["stat", &uri]).await.expect("pdtp stat").status.success());
        let before = control.load(Relaxed);
        let copies = scratch();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let copy = copies.path().join(number.to_string());
                run(&["get", "--json", "-o", copy.to_str().expect("a path of ours"), &uri])
            })
            .collect();
        let (mut from_origin, mut from_peers) = (0, 0);
        for client in clients {
            let out = client.await.expect("pdtp get");
            let text = String::from_utf8_lossy(&out.stdout);
            let mut events =
                text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let done = events.find(|event| event["event"] == "done").expect("each gets all of it");
            let number = |name: &str| done[name].as_u64().unwrap_or_else(|| panic!("no {name} in {done}"));
            from_origin += number("from_origin");
            from_peers += number("from_peers");
        }
        let size = (256 * MIB) as f64;
        let gb = (from_origin + from_peers) as f64 / 1e9;
        report["control_mb_per_gb_among_peers"] = ((control.load(Relaxed) - before) as f64 / 1e6 / gb).into();
        report["origin_copies_among_peers"] = (from_origin as f64 / size).into();
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--worker") {
        Worker::work(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    let plan = Plan::of(arguments);
    let served = scratch();
    fs::write(served.path().join("small"), vec![7; 16 * 1024]).expect("write");
    let large: Vec<u8> = (0..256 * MIB).map(|at| (at / 4096) as u8 ^ (at as u8)).collect();
    fs::write(served.path().join("large"), large).expect("write");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report = runtime.block_on(async {
        let mut report = plan.crowd(served.path()).await;
        plan.large(served.path(), &mut report).await;
        plan.among_peers(served.path(), &mut report).await;
        report
    });
    let number = |key: &str| report[key].as_f64().unwrap_or(f64::NAN);
    let is_met = |&(key, _, goal): &(&str, &str, Option<f64>)| goal.is_none_or(|goal| number(key) <= goal);
    if plan.as_json {
        println!("{report}");
    } else {
        println!(
            "{} clients connected to {} pdtpd, downloaded 16 KiB each and held on, in {:.1} s",
            plan.clients,
            plan.servers,
            number("seconds")
        );
        for one in &GOALS {
            let judged = one.2.map_or_else(String::new, |goal| {
                format!("   goal {goal}   {}", if is_met(one) { "met" } else { "MISSED" })
            });
            println!("{:10.2} {}{judged}", number(one.0), one.1);
        }
    }
    if GOALS.iter().all(is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
