//! `pdtpd` in the place of the server of DistribuStream 0.1.0: seeds and clients of the time, played from what was
//! recorded of them, work with it as they are.

pub mod common;
#[path = "common/old.rs"]
pub mod old;
#[path = "common/transcripts.rs"]
pub mod transcripts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::{PATIENCE, Pdtpd, scratch, wait_until};
use old::Old;
use serde_json::{Value, json};
use transcripts::{Record, Transcript, sample, without_null};

/// Serves the file of a run, cut as it was then.
fn serve(transcript: &Transcript) -> (tempfile::TempDir, Pdtpd) {
    let (size, chunk) = transcript.sizes();
    let dir = scratch();
    std::fs::write(dir.path().join("sample.bin"), sample(size)).unwrap();
    let server = Pdtpd::start(dir.path(), &["--piece-size", &chunk.to_string()]);
    (dir, server)
}

/// What pdtpd adds for readers of the draft of 2007.
fn as_then(mut value: Value) -> Value {
    if let Some(members) = value[1].as_object_mut() {
        members.remove("authorized");
    }
    value
}

fn range_of(value: &Value) -> (u64, u64) {
    let range = &value[1]["range"];
    (range["min"].as_u64().unwrap(), range["max"].as_u64().unwrap())
}

fn wait_until_reachable(server: &Pdtpd, id: &Value) {
    wait_until("it can be dialled", PATIENCE, || {
        let status = server.status();
        status["clients"].as_array().unwrap().iter().any(|c| c["id"] == *id && c["reachable"] == true)
    });
}

/// One of the programs of a run.
struct Program {
    line: Old,
    id: Value,
    /// Has what others may be sent to it for.
    has: BTreeSet<(u64, u64)>,
    is_seed: bool,
    /// Chunks taken, and from whom.
    taken: BTreeMap<(u64, u64), Value>,
    /// What it said when it had taken a chunk, and what the server answered then.
    completed: HashMap<(u64, u64), Value>,
    verdicts: HashMap<(u64, u64), Value>,
    listener: TcpListener,
}

/// Plays all clients of a run. Who gives what to whom is for the server to say; all else is as it was.
fn replay(transcript: &Transcript) {
    let (_dir, server) = serve(transcript);
    let (size, chunk) = transcript.sizes();
    let chunks = size.div_ceil(chunk);
    let mut roles: Vec<String> = Vec::new();
    for record in transcript.records.iter().filter(|r| r.kind.as_deref() == Some("control")) {
        if record.event.as_deref() == Some("open") {
            roles.push(record.from.clone());
        }
    }
    let mut programs: Vec<Program> = Vec::new();
    for role in &roles {
        let mut program = Program {
            line: Old::connect(server.port()),
            id: Value::Null,
            has: BTreeSet::new(),
            is_seed: role == "seed",
            taken: BTreeMap::new(),
            completed: HashMap::new(),
            verdicts: HashMap::new(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        };
        for line in transcript.said("server", role) {
            if line[0] == "hash_verify" {
                program.verdicts.insert(range_of(&line), line);
            }
        }
        for mut line in transcript.said(role, "server") {
            match line[0].as_str().unwrap() {
                "client_info" => {
                    line[1]["listen_port"] = program.listener.local_addr().unwrap().port().into();
                    program.id = line[1]["client_id"].clone();
                    program.line.send(&line);
                }
                // What it said as giver has no hash.
                "completed" if line[1]["hash"].is_null() => {}
                "completed" => drop(program.completed.insert(range_of(&line), line)),
                "ask_verify" => {}
                _ => program.line.send(&line),
            }
        }
        wait_until_reachable(&server, &program.id);
        if !program.is_seed {
            let info = program.line.recv().expect("tell_info comes first");
            let then = transcript.said("server", role).into_iter().find(|line| line[0] == "tell_info");
            assert_eq!(Some(info), then);
        }
        programs.push(program);
    }

    let deadline = Instant::now() + PATIENCE;
    let takers = programs.iter().filter(|program| !program.is_seed).count();
    let mut done = 0;
    while done < takers * chunks {
        assert!(Instant::now() < deadline, "{}: {done} of {}", transcript.name, takers * chunks);
        for at in 0..programs.len() {
            while let Some(line) = programs[at].line.poll(Duration::from_millis(1)) {
                match line[0].as_str().unwrap() {
                    "transfer" => follow(&mut programs, at, &line),
                    "hash_verify" => {
                        let then = programs[at].verdicts.remove(&range_of(&line));
                        assert_eq!(Some(&line), then.as_ref(), "{}", transcript.name);
                        done += 1;
                    }
                    _ => panic!("{}: {line}", transcript.name),
                }
            }
        }
    }
    for program in programs.iter().filter(|program| !program.is_seed) {
        assert_eq!(program.taken.len(), chunks, "one transfer a chunk");
        assert!(program.verdicts.is_empty(), "all was judged as it was then");
    }
    let from_seed =
        programs.iter().flat_map(|p| p.taken.values()).filter(|id| **id == programs[0].id).count();
    assert!(from_seed > 0, "{}: the seed is an origin, too", transcript.name);
}

/// The taker at `at` is told to fetch a chunk: whoever gives it asks about it, both say how it ended.
fn follow(programs: &mut [Program], at: usize, transfer: &Value) {
    let (range, members) = (range_of(transfer), &transfer[1]);
    let giver_id = members["peer_id"].clone();
    let taker_id = programs[at].id.clone();
    assert_eq!(members["host"], "127.0.0.1");
    assert_ne!(giver_id, taker_id);
    let before = programs[at].taken.insert(range, giver_id.clone());
    assert_eq!(before, None, "twice: {transfer}");
    if let Some(giver) = programs.iter_mut().find(|program| program.id == giver_id) {
        assert!(giver.is_seed || giver.has.contains(&range), "it does not have it: {transfer}");
        assert_eq!(members["port"], giver.listener.local_addr().unwrap().port());
        let question = json!(["ask_verify", {
            "url": members["url"], "peer": "127.0.0.1", "range": members["range"], "peer_id": taker_id,
        }]);
        giver.line.send(&question);
        let mut others = Vec::new();
        let told = giver.line.expect("tell_verify", &mut others);
        let mut then = question.clone();
        then[0] = "tell_verify".into();
        then[1]["is_authorized"] = true.into();
        let mut told_then = told;
        told_then[1].as_object_mut().unwrap().remove("authorized");
        assert_eq!(told_then, then);
        let mut end = question;
        end[0] = "completed".into();
        end[1]["hash"] = Value::Null;
        giver.line.send(&end);
        // What else it was told meanwhile.
        for other in others {
            match other[0].as_str().unwrap() {
                "transfer" => {
                    let giver_at = programs.iter().position(|program| program.id == giver_id).unwrap();
                    follow(programs, giver_at, &other);
                }
                _ => {
                    let giver = programs.iter_mut().find(|program| program.id == giver_id).unwrap();
                    giver.line.put_back(other);
                }
            }
        }
    }
    let taker = &mut programs[at];
    let mut completed = taker.completed.remove(&range).expect("a chunk of the time");
    completed[1]["peer_id"] = giver_id;
    // Others may hear that it has it before its own `hash_verify` is read here.
    taker.has.insert(range);
    taker.line.send(&completed);
}

#[test]
fn one_client_and_a_seed() {
    for number in ["01-", "02-", "03-"] {
        let Some(transcript) = transcripts::read(number) else { return };
        replay(&transcript);
    }
}

#[test]
fn several_clients_and_a_seed() {
    for number in ["04-", "05-", "06-"] {
        let Some(transcript) = transcripts::read(number) else { return };
        replay(&transcript);
    }
}

/// The cases of a file, in order.
fn cases(transcript: &Transcript) -> Vec<(String, Vec<&Record>)> {
    let mut cases: Vec<(String, Vec<&Record>)> = Vec::new();
    for record in &transcript.records {
        match cases.iter_mut().find(|(name, _)| name == record.case()) {
            Some((_, records)) => records.push(record),
            None => cases.push((record.case().to_owned(), vec![record])),
        }
    }
    cases
}

/// Two scripted clients of a case: one that has the file, and one that wants it.
struct Pair {
    provider: Old,
    taker: Old,
    provider_id: Value,
    _listeners: [TcpListener; 2],
}

/// A line with a port that really listens.
fn with_port(line: &Value, listener: &TcpListener) -> Value {
    let mut line = line.clone();
    if line[0] == "client_info" {
        line[1]["listen_port"] = listener.local_addr().unwrap().port().into();
    }
    line
}

fn begin(server: &Pdtpd, records: &[&Record]) -> Pair {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let mut pair = Pair {
        provider: Old::connect(server.port()),
        taker: Old::connect(server.port()),
        provider_id: Value::Null,
        _listeners: listeners,
    };
    let said = |role: &str| {
        let of_role = records.iter().filter(move |r| r.from == role && !r.data.is_empty());
        of_role.map(|r| r.json()).take_while(|line| line[0] != "ask_verify").collect::<Vec<_>>()
    };
    for line in said("provider") {
        if line[0] == "client_info" {
            pair.provider_id = line[1]["client_id"].clone();
        }
        if line[0] != "completed" {
            pair.provider.send(&with_port(&line, &pair._listeners[0]));
        }
    }
    if pair.provider_id != Value::Null {
        wait_until_reachable(server, &pair.provider_id);
    }
    for line in said("taker").into_iter().take(2) {
        pair.taker.send(&with_port(&line, &pair._listeners[1]));
    }
    pair
}

/// Everything up to the answer to a question, which comes after what was said before it.
fn until_barrier(client: &mut Old) -> Vec<Value> {
    let mut before = Vec::new();
    client.send(&json!(["ask_info", {"url": "http://barrier.example/none"}]));
    client.expect("tell_info", &mut before);
    before
}

fn ranges(lines: &[Value], giver: Option<&Value>) -> BTreeSet<(u64, u64)> {
    let of_giver = |line: &&Value| giver.is_none_or(|giver| line[1]["peer_id"] == *giver);
    lines.iter().filter(|line| line[0] == "transfer").filter(of_giver).map(range_of).collect()
}

#[test]
fn every_form_of_a_range_means_the_same_chunks() {
    let Some(transcript) = transcripts::read("11-") else { return };
    let (_dir, server) = serve(&transcript);
    let mut seen = 0;
    for (name, records) in cases(&transcript) {
        let is_request = name.starts_with("request-");
        if !is_request && !name.starts_with("provide-") || name == "provide-after-request" {
            continue;
        }
        seen += 1;
        let then: Vec<Value> = records
            .iter()
            .filter(|r| r.from == "server")
            .filter(|r| !r.data.is_empty())
            .map(|r| r.json())
            .collect();
        let expected = ranges(&then, None);
        let mut pair = begin(&server, &records);
        let mut now = Vec::new();
        if is_request {
            while ranges(&now, None).len() < expected.len() {
                now.push(pair.taker.recv().unwrap());
            }
            now.extend(until_barrier(&mut pair.taker));
            assert_eq!(ranges(&now, None), expected, "{name}");
            continue;
        }
        // The origin has everything, so all is sent; what the provider is asked for is what it has.
        let wanted = records.iter().filter(|r| r.from == "taker" && !r.data.is_empty()).map(|r| r.json());
        for line in wanted.filter(|line| line[0] == "request").skip(1) {
            pair.taker.send(&line);
        }
        now.extend(until_barrier(&mut pair.taker));
        assert_eq!(ranges(&now, Some(&pair.provider_id)), expected, "{name}: {now:?}");
    }
    assert!(seen >= 18, "{seen} cases");
}

#[test]
fn a_chunk_that_nobody_provides_holds_nothing_up() {
    let Some(transcript) = transcripts::read("11-") else { return };
    let (_dir, server) = serve(&transcript);
    let all = cases(&transcript);
    let (_, records) = all.iter().find(|(name, _)| name == "first-chunk-not-provided").unwrap();
    let mut pair = begin(&server, records);
    let mut now = Vec::new();
    while ranges(&now, None).len() < 3 {
        now.push(pair.taker.recv().unwrap());
    }
    assert_eq!(ranges(&now, Some(&pair.provider_id)), BTreeSet::from([(5000, 9999)]));
}

#[test]
fn a_late_provider_is_used_and_one_that_leaves_is_replaced() {
    let Some(transcript) = transcripts::read("11-") else { return };
    let (_dir, server) = serve(&transcript);
    let all = cases(&transcript);
    let (_, records) = all.iter().find(|(name, _)| name == "giver-leaves").unwrap();
    let mut pair = begin(&server, records);
    let mut now = Vec::new();
    while ranges(&now, None).len() < 3 {
        now.push(pair.taker.recv().unwrap());
    }
    drop(pair.provider);
    // Nobody has to give up for the others to go on: they are given anew by those who are there.
    let mut anew = Vec::new();
    while ranges(&anew, None).len() < ranges(&now, Some(&pair.provider_id)).len() {
        anew.push(pair.taker.recv().unwrap());
    }
    assert!(ranges(&anew, Some(&pair.provider_id)).is_empty());
    // A client id is free again.
    let mut again = Old::connect(server.port());
    again.send(&json!(["client_info", {"client_id": pair.provider_id, "listen_port": 0}]));
    assert!(until_barrier(&mut again).is_empty());
}

/// Plays a case as it was, line by line, each answer of the server waited for and compared.
#[test]
fn the_life_of_a_transfer() {
    let Some(transcript) = transcripts::read("11-") else { return };
    let (_dir, server) = serve(&transcript);
    let all = cases(&transcript);
    for case in ["transfer-life", "completed-wrong-range", "unrequest-during-transfer"] {
        let (_, records) = all.iter().find(|(name, _)| name == case).unwrap();
        let mut lines: HashMap<&str, Old> = HashMap::new();
        let mut pending: HashMap<&str, Vec<Value>> = HashMap::new();
        let mut listeners = Vec::new();
        // Who gives a chunk now.
        let mut giver: HashMap<(u64, u64), Value> = HashMap::new();
        let mut compared = 0;
        for record in records {
            let is_server = record.from == "server";
            let role = if is_server { record.to.as_str() } else { record.from.as_str() };
            match record.event.as_deref() {
                Some("open") => drop(lines.insert(role, Old::connect(server.port()))),
                Some("close") if !is_server => drop(lines.remove(role)),
                _ if record.data.is_empty() => {}
                _ if is_server => {
                    let then = record.json();
                    let client = lines.get_mut(role).unwrap();
                    let kind = then[0].as_str().unwrap();
                    let mut others = std::mem::take(pending.entry(role).or_default());
                    let now = match others.iter().position(|line| line[0] == kind) {
                        Some(at) => others.remove(at),
                        None => client.expect(kind, &mut others),
                    };
                    pending.insert(role, others);
                    match kind {
                        "transfer" => {
                            assert_eq!(range_of(&now), range_of(&then), "{case}");
                            giver.insert(range_of(&now), now[1]["peer_id"].clone());
                        }
                        "tell_verify" => {
                            assert_eq!(as_then(now), then, "{case}");
                        }
                        "protocol_warn" => {}
                        _ => assert_eq!(now, then, "{case}"),
                    }
                    compared += 1;
                }
                _ => {
                    let mut line = record.json();
                    if line[0] == "client_info" {
                        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                        line = with_port(&line, &listener);
                        listeners.push(listener);
                        lines.get_mut(role).unwrap().send(&line);
                        wait_until_reachable(&server, &line[1]["client_id"]);
                        continue;
                    }
                    let is_taker = role == "taker";
                    if is_taker
                        && line[0] == "completed"
                        && let Some(giver) = giver.get(&range_of(&line))
                    {
                        line[1]["peer_id"] = giver.clone();
                    }
                    lines.get_mut(role).unwrap().send(&line);
                }
            }
        }
        assert!(compared > 1, "{case}");
    }
}

/// What 0.1.0 did not take amiss, and this server does: the reasons are in docs/interoperability.md.
const STRICTER: &[&str] = &["client-info-id-empty", "second-client-info"];

#[test]
fn odd_input_leaves_the_server_alive() {
    let Some(transcript) = transcripts::read("10-") else { return };
    let (_dir, mut server) = serve(&transcript);
    let mut answered = 0;
    for (name, records) in cases(&transcript) {
        if name == "control-1" || name.starts_with("status-") {
            continue;
        }
        let mut client = Old::connect(server.port());
        for record in records.iter().filter(|r| r.from != "server") {
            client.send_bytes(&record.data);
        }
        if STRICTER.contains(&name.as_str()) {
            assert_eq!(client.recv().expect("a reason")[0], "protocol_error", "{name}");
            continue;
        }
        for then in records.iter().filter(|r| r.from == "server" && !r.data.is_empty()).map(|r| r.json()) {
            let mut others = Vec::new();
            let now = client.expect(then[0].as_str().unwrap(), &mut others);
            match then[0].as_str().unwrap() {
                "protocol_warn" => {}
                // Names are compared as what they stand for.
                _ if name == "ask-info-percent" => assert_eq!(now[1]["size"], 12345),
                "tell_verify" => assert_eq!(as_then(now)[1]["is_authorized"], then[1]["is_authorized"]),
                _ => assert_eq!(without_null(now), then, "{name}"),
            }
            answered += 1;
        }
    }
    assert!(answered > 20, "{answered} answers");
    assert!(server.is_running());
    let mut client = Old::connect(server.port());
    client.send(&json!(["client_info", {"client_id": "last", "listen_port": 0}]));
    assert!(until_barrier(&mut client).is_empty());
}

#[test]
fn the_status_page_is_where_it_was() {
    let dir = common::make_tree(&[("f.bin", 100)]);
    let server = Pdtpd::start(dir.path(), &[] as &[&str]);
    for path in ["/status/", "/status", "/stats"] {
        let answer = common::http(server.port(), "GET", path, &[]);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains("\"uptime_s\""), "{path}: {}", answer.text());
    }
    // Files and directories come first.
    common::make_file(dir.path(), "stats", 7);
    common::make_file(dir.path(), "status/today", 5);
    assert_eq!(common::http(server.port(), "GET", "/stats", &[]).body.len(), 7);
    assert_eq!(common::http(server.port(), "GET", "/status", &[]).status, 301);
    assert!(common::http(server.port(), "GET", "/status/", &[]).text().contains("today"));
}
