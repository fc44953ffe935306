//! `pdtp-sim` as its user runs it: `cargo test --profile sim --features sim --test sim_program` (part of `make check-slow`).

use std::path::Path;
use std::process::{Command, Output};

fn pdtp_sim(words: &[&str], dir: &Path) -> Output {
    let out = Command::new(env!("CARGO_BIN_EXE_pdtp-sim")).args(words).current_dir(dir).output();
    out.expect("the program runs")
}

/// What it prints, of a run that goes well.
fn says(words: &[&str], dir: &Path) -> String {
    let out = pdtp_sim(words, dir);
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// What it complains of.
fn complains(words: &[&str], dir: &Path) -> String {
    let out = pdtp_sim(words, dir);
    assert!(!out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8(out.stderr).expect("text")
}

#[test]
fn all_scenarios_are_listed_with_their_goals() {
    let dir = tempfile::tempdir().unwrap();
    let list = says(&["--list"], dir.path());
    for name in ["equal16", "kraken", "crowd", "streams", "mirror"] {
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(name));
        assert!(line.is_some_and(|line| line.contains("[goal: ")), "{name} in {list}");
    }
}

#[test]
fn the_same_seed_prints_the_same_and_another_one_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let run = |seed| says(&["-s", "hostile", "--seed", seed, "--json"], dir.path());
    assert_eq!(run("4"), run("4"));
    assert_ne!(run("4"), run("5"));
}

#[test]
fn results_come_as_json_tables_and_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let words = ["-s", "equal16", "--seed", "7", "--runs", "2", "--json"];
    let files = ["--csv", "hosts.csv", "--summary", "runs.csv", "--plot", "run.svg"];
    let json = says(&[&words[..], &files[..]].concat(), dir.path());
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(lines.iter().map(|line| &line["seed"]).collect::<Vec<_>>(), [7, 8]);
    let result = &lines[0]["result"];
    assert_eq!((&result["takers"], &result["finished"]), (&16.into(), &16.into()));
    for field in
        ["makespan", "best", "mean", "p50", "p95", "p99", "origin_copies", "fairness", "message_bytes"]
    {
        assert!(result[field].as_f64().is_some_and(|number| number > 0.0), "{field} in {result}");
    }
    assert!(result["wasted_bytes"].is_u64() && result["messages"].is_u64(), "{result}");

    // A line for each of 17 hosts: what peers got is what somebody gave.
    let hosts = std::fs::read_to_string(path("hosts.7.csv")).unwrap();
    let rows: Vec<Vec<&str>> = hosts.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), rows[0][3], rows[0][4]), (18, "got_bytes", "given_bytes"));
    let sum = |field: usize| rows[1..].iter().map(|row| row[field].parse::<u64>().unwrap()).sum::<u64>();
    assert_eq!(sum(3), 16 << 25);
    assert_eq!(sum(4), sum(3));

    let runs = std::fs::read_to_string(path("runs.csv")).unwrap();
    let seeds: Vec<_> = runs.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(seeds, ["7", "8"]);

    for seed in [7, 8] {
        let svg = std::fs::read_to_string(path(&format!("run.{seed}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg:.80}");
        for word in ["part that has all", "MiB sent", "origins", "peers", &format!("seed {seed}")] {
            assert!(svg.contains(word), "{word} in the picture");
        }
    }
}

/// Every kind of trouble at once, peers that come one after the other and go, two origins, and neighbours.
#[test]
fn a_swarm_of_ones_own_with_all_troubles() {
    let dir = tempfile::tempdir().unwrap();
    let words = "--peers 40 --up 8 --down 40 --origins 2 --origin 16 --size 8 --every 0.1 --leave --undialable 20 --wrong 5 \
                 --vanish 10 --slow 10 --networks 4 --rtt 40 --peer-rtt 30 --near-rtt 2 --json";
    let json = says(&words.split_whitespace().collect::<Vec<_>>(), dir.path());
    let line: serde_json::Value = serde_json::from_str(&json).unwrap();
    let result = &line["result"];
    assert_eq!((&result["takers"], &result["finished"]), (&34.into(), &34.into()), "{result}");
    assert!(result["near"].as_f64().unwrap() > 0.25, "more than by chance: {result}");
    assert!(result["best"].is_null(), "no T* for those who come and go: {result}");
}

#[test]
fn what_makes_no_sense_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    for (words, problem) in [
        (&["-s", "nonsense"][..], "no scenario \"nonsense\": see --list"),
        (&["--up", "0"], "--up 0: nothing would ever come"),
        (&["--peers", "0"], "there must be a peer"),
        (&["--wrong", "60", "--vanish", "50"], "nobody has two troubles"),
        (&["--undialable=-3"], "from 0 to 100 percent"),
        (&["-s", "equal16", "--peers", "3"], "cannot be used with"),
        (&["--near-rtt", "1"], "--networks"),
        (&["--csv", "no/such/directory/file.csv"], "No such file"),
    ] {
        let said = complains(words, dir.path());
        assert!(said.contains(problem), "{words:?}: {said}");
    }
}
