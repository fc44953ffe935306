//! `pdtp-sim`: runs the scheduler in an invented network and says how close to the optimum it came.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser};
use pdtp::swarm::sim::{self, Mix, SCENARIOS, Summary};

/// Simulates downloads, with the very scheduler that pdtpd runs.
#[derive(Debug, Parser)]
#[command(name = "pdtp-sim", version, max_term_width = 100)]
struct Cli {
    /// A named scenario (see --list)
    #[arg(long, short, conflicts_with = "MixArgs")]
    scenario: Option<String>,
    /// Lists the scenarios and their goals
    #[arg(long)]
    list: bool,
    /// Decides everything random; the same seed gives the same run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs so many seeds, from --seed on
    #[arg(long, default_value_t = 1)]
    runs: u64,
    #[command(flatten)]
    mix: MixArgs,
    /// Networks that the peers are spread over, one after the other, as /24s; 0: the server knows nothing of networks
    #[arg(long, default_value_t = 0)]
    networks: u16,
    /// Round trip of every host to the server, ms (default: the scenario's)
    #[arg(long, value_name = "MS")]
    rtt: Option<f64>,
    /// Round trip between any two peers, ms (default: as far as one of them is from the server)
    #[arg(long, value_name = "MS")]
    peer_rtt: Option<f64>,
    /// Round trip between two peers of one of the --networks, ms (default: as between any two)
    #[arg(long, value_name = "MS", requires = "networks")]
    near_rtt: Option<f64>,
    /// Changes of rates by less than this part are not passed on to other lines; 0: all are (default: 0.02 with more than
    /// 2,000 hosts, else, and for kraken, a millionth)
    #[arg(long, value_name = "PART")]
    tolerance: Option<f64>,
    /// How much time of a giver's line is kept in flight beyond the round trips, ms (default: the scheduler's)
    #[arg(long, value_name = "MS")]
    margin: Option<f64>,
    /// Writes one line per host here: when it came, had all and began to read, bytes got and given, stalls. With --runs
    /// one file for each seed: out.csv becomes out.1.csv, out.2.csv, …
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Writes one line per run here: makespan, T* where it has a meaning, mean, p50, p95, p99, p99.9, copies from the origin,
    /// fairness, what stayed in its network, bytes wasted, messages and their bytes, transfers, readers' starts and stalls
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Prints the results as JSON, a line per run
    #[arg(long)]
    json: bool,
    /// Draws who had all when, and who sent how much, as SVG; with --runs one file for each seed, as with --csv
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// Instead of a scenario: equal peers, of which some have troubles
#[derive(Debug, Args)]
struct MixArgs {
    /// Number of peers
    #[arg(long, default_value_t = 16)]
    peers: usize,
    /// Uplink of each, Mbit/s
    #[arg(long, default_value_t = 10.0)]
    up: f64,
    /// Downlink of each, Mbit/s
    #[arg(long, default_value_t = 50.0)]
    down: f64,
    /// Number of origins
    #[arg(long, default_value_t = 1)]
    origins: usize,
    /// Uplink of each origin, Mbit/s
    #[arg(long, default_value_t = 20.0)]
    origin: f64,
    /// Size of the file, MiB
    #[arg(long, default_value_t = 32)]
    size: u64,
    /// Peers come one after the other, so many seconds apart
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    every: f64,
    /// Each leaves when it has all
    #[arg(long)]
    leave: bool,
    /// Percent of the peers that cannot be dialled
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    undialable: f64,
    /// Percent that send wrong bytes
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    wrong: f64,
    /// Percent that vanish without a word, at some time while one copy could be sent over an uplink
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    vanish: f64,
    /// Percent whose uplinks carry a tenth from such a time on
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    slow: f64,
}

impl MixArgs {
    fn mix(&self) -> Result<Mix, String> {
        let &Self { peers, up, down, origins, origin, size, every, leave, undialable, wrong, vanish, slow } =
            self;
        let rates = [("--up", up), ("--down", down), ("--origin", origin)];
        if let Some((name, rate)) = rates.into_iter().find(|(_, rate)| !(rate.is_finite() && *rate > 0.0)) {
            return Err(format!("{name} {rate}: nothing would ever come"));
        }
        if peers == 0 || origins == 0 || size == 0 {
            return Err("there must be a peer, an origin and something to get".into());
        }
        if !(0.0..1e6).contains(&every) {
            return Err(format!("--every {every}: not a time"));
        }
        let shares = [undialable, wrong + vanish + slow];
        let is_share = |share: &f64| (0.0..=100.0).contains(share);
        if !shares.iter().all(is_share) || ![wrong, vanish, slow].iter().all(is_share) {
            return Err(
                "shares of the peers are from 0 to 100 percent, and nobody has two troubles at once".into()
            );
        }
        Ok(Mix { peers, up, down, origins, origin, size, every, leave, undialable, wrong, vanish, slow })
    }
}

/// Says which seed it was if the simulation breaks off.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("pdtp-sim: broke off; --seed {} repeats it", self.0);
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match if cli.list { list() } else { play_all(&cli) } {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has seen enough.
        Err(problem) if is_broken_pipe(&*problem) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("pdtp-sim: {problem}");
            ExitCode::FAILURE
        }
    }
}

type Problem = Box<dyn std::error::Error>;

fn is_broken_pipe(problem: &(dyn std::error::Error + 'static)) -> bool {
    problem.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn list() -> Result<(), Problem> {
    for scenario in SCENARIOS {
        writeln!(io::stdout(), "{:<12} {} [goal: {}]", scenario.name, scenario.about, scenario.goal)?;
    }
    Ok(())
}

fn play_all(cli: &Cli) -> Result<(), Problem> {
    let mut table = format!("{}\n", Summary::CSV_HEAD);
    for seed in cli.seed..cli.seed.saturating_add(cli.runs) {
        let (name, summary) = play(cli, seed)?;
        writeln!(table, "{}", summary.csv(&name, seed))?;
        // After each, so that nothing is lost if it is stopped.
        if let Some(path) = &cli.summary {
            std::fs::write(path, &table)?;
        }
    }
    Ok(())
}

/// Where what is said of one run goes: of several, each has a file of its own.
fn of_run(path: &Path, seed: u64, runs: u64) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{seed}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    if runs > 1 { path.with_file_name(name) } else { path.to_owned() }
}

fn play(cli: &Cli, seed: u64) -> Result<(String, Summary), Problem> {
    let (name, mut setup) = match &cli.scenario {
        Some(name) => {
            let scenario = sim::scenario(name).ok_or_else(|| format!("no scenario {name:?}: see --list"))?;
            (name.clone(), scenario.setup(seed))
        }
        None => {
            let mix = cli.mix.mix()?;
            (format!("{} peers", mix.peers), mix.setup(seed))
        }
    };
    if let Some(rtt) = cli.rtt {
        setup.put_apart((rtt * 1000.0) as u64);
    }
    for (host, at) in setup.hosts.iter_mut().filter(|host| !host.is_origin).zip(0..) {
        let at: u64 = at;
        host.network = at.checked_rem(cli.networks.into()).map(|network| network as u16);
    }
    let one_way = |rtt: f64| (rtt * 500.0) as u64;
    setup.peers_apart = cli.peer_rtt.map(one_way);
    setup.neighbours_apart = cli.near_rtt.map(one_way);
    if let Some(margin) = cli.margin {
        setup.config.margin_us = (margin * 1000.0) as u64;
    }
    if let Some(tolerance) = cli.tolerance {
        setup.tolerance = tolerance;
    }
    let began = Instant::now();
    let outcome = {
        let _seed = Seed(seed);
        sim::run(&setup)
    };
    let took = began.elapsed();
    let summary = outcome.summary(&setup);
    if cli.json {
        let line = serde_json::json!({ "scenario": name, "seed": seed, "result": summary });
        writeln!(io::stdout(), "{line}")?;
    } else {
        let mut text = describe(&name, seed, &summary)?;
        let events = outcome.events as f64 / took.as_secs_f64();
        writeln!(text, "  {:.1} s to compute, {:.0} events a second", took.as_secs_f64(), events)?;
        io::stdout().write_all(text.as_bytes())?;
    }
    if let Some(path) = &cli.csv {
        std::fs::write(of_run(path, seed, cli.runs), outcome.csv())?;
    }
    if let Some(path) = &cli.plot {
        sim::plot(&outcome, &setup, &format!("{name}, seed {seed}"), &of_run(path, seed, cli.runs))?;
    }
    Ok((name, summary))
}

fn describe(name: &str, seed: u64, s: &Summary) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    write!(text, "{name} (seed {seed}): makespan {:.2} s", s.makespan)?;
    if let Some(best) = s.best {
        write!(
            text,
            " = {:.3} T*, mean {:.2} s ({:.3} T*)\n  at best: T* = {best:.2} s in a fluid",
            s.makespan / best,
            s.mean,
            s.mean / best
        )?;
    } else if let Some(best) = s.best_at_once {
        writeln!(text, ", mean {:.2} s, slowest {:.2} s = {:.3} T*", s.mean, s.slowest, s.slowest / best)?;
        write!(text, "  T* = {best:.2} s if all came at once; the slowest from its own coming")?;
    } else {
        write!(text, ", mean {:.2} s\n  no T*: some go, or not all want the same", s.mean)?;
    }
    match s.best_in_pieces {
        Some(best) => writeln!(text, ", {best:.2} s in pieces (makespan {:.3} of that)", s.makespan / best)?,
        None => writeln!(text)?,
    }
    writeln!(
        text,
        "  p50 {:.2}, p95 {:.2}, p99 {:.2}, p99.9 {:.2} s; {} of {} done",
        s.p50, s.p95, s.p99, s.p999, s.finished, s.takers
    )?;
    writeln!(
        text,
        "  {:.2} copies from the origin, fairness {:.3}, {:.2}% wasted, {} transfers, {} messages of {:.1} MB",
        s.origin_copies,
        s.fairness,
        s.wasted * 100.0,
        s.transfers,
        s.messages,
        s.message_bytes as f64 / 1e6
    )?;
    if s.near > 0.0 {
        writeln!(text, "  {:.1}% of what peers sent stayed in its network", s.near * 100.0)?;
    }
    if s.dials_refused > 0 {
        writeln!(text, "  {} times a host was told to dial more new ones than it may", s.dials_refused)?;
    }
    if s.unsettled > 0 {
        writeln!(
            text,
            "  {} times rates on a line were not computed anew: too many had changed at once",
            s.unsettled
        )?;
    }
    if s.slowest_start > 0.0 {
        writeln!(
            text,
            "  readers: slowest start {:.2} s, {} never began, {} had to wait later",
            s.slowest_start, s.unstarted_readers, s.stalled_readers
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_of_several_has_a_file_of_its_own() {
        let of = |path: &str, runs| of_run(Path::new(path), 3, runs);
        assert_eq!(of("dir/out.csv", 1), Path::new("dir/out.csv"));
        assert_eq!(of("dir/out.csv", 2), Path::new("dir/out.3.csv"));
        assert_eq!(of("out", 2), Path::new("out.3"));
    }
}
