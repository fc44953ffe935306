//! `pdtp` and the library against a server and seeds of DistribuStream 0.1.0.

pub mod common;
#[path = "common/old_server.rs"]
pub mod old_server;
#[path = "common/transcripts.rs"]
pub mod transcripts;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{PATIENCE, pdtp, pdtp_start, scratch, wait_until};
use old_server::{Answer, OldServer, Seed, read_head};
use pdtp::client::{Client, Config, DialectChoice, Overwrite, Request, Seeding, Session, Target, Transfer};
use pdtp::wire::UrlPath;
use serde_json::{Value, json};
use transcripts::{VHOST, sample};

const WAIT: Option<Duration> = Some(PATIENCE);
const SIZE: usize = 200_000;
const CHUNK: usize = 5000;

fn get(uri: &str, to: &Path, more: &[&str]) -> common::Run {
    let to = to.display().to_string();
    pdtp(&[&["get", uri, "-o", &to], more].concat())
}

// ------------------------------------------------------------------------------------------- as it was recorded

/// A request as what of it matters.
type Get = (String, String, String, String);

fn get_of(head: &str) -> Get {
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()).next();
        found.unwrap_or_else(|| panic!("no {name} in {head}"))
    };
    let target = head.split(' ').take(2).collect::<Vec<_>>().join(" ");
    (target, field("Host"), field("Range"), field("X-PDTP-Peer-Id"))
}

/// Plays the server and the seed of the first run to a real client.
fn replay(dialect: &str) {
    let Some(transcript) = transcripts::read("01-") else { return };
    let control = TcpListener::bind("127.0.0.1:0").unwrap();
    let seed = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, seed_port) = (control.local_addr().unwrap().port(), seed.local_addr().unwrap().port());
    // The client says the name by which it was told to dial.
    let here = |text: &str| text.replace(VHOST, "127.0.0.1");
    let old_id = "fdf810";

    // Requests and answers of then.
    let mut gets: BTreeMap<String, Get> = BTreeMap::new();
    let mut answers: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for record in transcript.records.iter().filter(|r| r.conn.starts_with("http-") && !r.data.is_empty()) {
        if record.from == "peerA" {
            gets.insert(record.conn.clone(), get_of(&here(&record.text())));
        } else {
            let body = record.body.clone().unwrap();
            assert_eq!(Some(body.len()), record.body_len);
            answers.insert(record.conn.clone(), [record.data.clone(), body].concat());
        }
    }
    let by_range: BTreeMap<String, Vec<u8>> =
        gets.iter().map(|(conn, get)| (get.2.clone(), answers[conn].clone())).collect();
    assert_eq!(by_range.len(), 3);

    let seeding = std::thread::spawn(move || {
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let (mut stream, _) = seed.accept().unwrap();
            stream.set_read_timeout(WAIT).unwrap();
            let head = read_head(&mut stream).expect("a request");
            let get = get_of(&head);
            stream.write_all(&by_range[&get.2]).unwrap();
            seen.insert(get);
        }
        seen
    });

    let mut said: Vec<Value> = transcript.said("server", "peerA");
    for line in &mut said {
        *line = serde_json::from_str(&here(&line.to_string())).unwrap();
        if line[0] == "transfer" {
            line[1]["port"] = seed_port.into();
        }
    }
    let is_auto = dialect == "auto";
    let serving = std::thread::spawn(move || {
        let mut frames = None;
        let stream = loop {
            let (stream, _) = control.accept().unwrap();
            let mut first = [0];
            if stream.peek(&mut first).unwrap() == 1 && first[0] == b'[' {
                break stream;
            }
            // As 0.1.0: whatever ends in a line end and is no line of its own is the end.
            let mut line = Vec::new();
            BufReader::new(&stream).read_until(b'\n', &mut line).unwrap();
            // The first GET to a server of which nothing is known goes to its port, too.
            if line.first() == Some(&b'G') {
                continue;
            }
            assert_eq!(frames.replace(line), None, "once is enough");
        };
        assert_eq!(frames.is_some(), is_auto);
        stream.set_read_timeout(WAIT).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut next = || lines.next().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let send = |message: &Value| (&stream).write_all(format!("{message}\n").as_bytes()).unwrap();
        let info = next().unwrap();
        assert_eq!(info[0], "client_info");
        if !is_auto {
            assert_eq!(info[1].as_object().unwrap().len(), 2, "nothing but what 0.1.0 knows");
        }
        let mut message = next().unwrap();
        if is_auto {
            assert_eq!(message[1]["url"], "http://127.0.0.1/", "who does not know has to ask");
            send(&json!(["tell_info", {"url": message[1]["url"]}]));
            message = next().unwrap();
        }
        // Both at once, before anything is answered; then the answers at once.
        assert_eq!((&message[0], &next().unwrap()[0]), (&json!("ask_info"), &json!("request")));
        said[0..4].iter().for_each(send);
        let mut completed = Vec::new();
        while completed.len() < 3 {
            let message = next().unwrap();
            match message[0].as_str().unwrap() {
                "completed" => {
                    let is_its = |verdict: &&Value| {
                        verdict[0] == "hash_verify" && verdict[1]["range"] == message[1]["range"]
                    };
                    send(said.iter().find(is_its).unwrap());
                    completed.push(message);
                }
                other => panic!("{other}: {message}"),
            }
        }
        // It goes by itself, and takes back what it offered before.
        while next().is_some_and(|message| message[0] == "unprovide" || message[0] == "unrequest") {}
        (info[1]["client_id"].as_str().unwrap().to_owned(), completed)
    });

    let local = scratch();
    let uri = format!("pdtp://127.0.0.1:{port}/sample.bin");
    let run = get(&uri, local.path(), &["--dialect", dialect]);
    run.expect(0);
    assert!(std::fs::read(local.path().join("sample.bin")).unwrap() == sample(12345));

    let (id, completed) = serving.join().unwrap();
    let expected: BTreeSet<Get> =
        gets.into_values().map(|(target, host, range, _)| (target, host, range, id.clone())).collect();
    assert_eq!(seeding.join().unwrap(), expected);
    let as_text = |messages: Vec<Value>| messages.iter().map(Value::to_string).collect::<BTreeSet<_>>();
    let then = transcript.said("peerA", "server").into_iter().filter(|line| line[0] == "completed");
    let then = then.map(|line| serde_json::from_str(&here(&line.to_string())).unwrap()).collect();
    assert_eq!(as_text(completed), as_text(then), "as {old_id} said it");
}

#[test]
fn what_was_recorded_is_fetched_and_told_as_then() {
    replay("line");
}

#[test]
fn a_server_of_lines_is_found_out() {
    replay("auto");
}

// ------------------------------------------------------------------------------------------------ any download

fn old_network(answer: Answer) -> (std::sync::Arc<OldServer>, std::sync::Arc<Seed>) {
    let server = OldServer::start(sample(SIZE), CHUNK);
    let seed = Seed::start(server.port, "seed", "127.0.0.1", &sample(SIZE), answer);
    server.wait("the seed provides", |log| log.iter().any(|(_, m)| m[0] == "provide"));
    (server, seed)
}

#[track_caller]
fn assert_sample(dir: &Path) {
    assert!(std::fs::read(dir.join("sample.bin")).unwrap() == sample(SIZE));
}

#[test]
fn answers_of_every_usable_form_are_used() {
    for answer in [Answer::Good, Answer::NoContentRange, Answer::NoLength, Answer::Chunked] {
        let (server, seed) = old_network(answer);
        let local = scratch();
        let run = get(&server.uri("/sample.bin"), local.path(), &["--dialect", "line", "--json"]).expect(0);
        assert_sample(local.path());
        assert_eq!(run.event("done")["from_peers"], SIZE, "{answer:?}");
        assert_eq!(seed.served.load(Ordering::Relaxed), SIZE / CHUNK, "one request a chunk: {answer:?}");
        assert_eq!(server.broken(), [] as [String; 0], "{answer:?}");
        assert!(!seed.is_broken.load(Ordering::Relaxed));
        let good = server.said("completed").into_iter().filter(|m| m[1]["hash"].is_string()).count();
        assert_eq!(good, SIZE / CHUNK);
    }
}

#[test]
fn bytes_come_out_in_order_and_judged() {
    let (server, _seed) = old_network(Answer::Good);
    let run = pdtp(&["cat", "--dialect", "line", &server.uri("/sample.bin")]).expect(0);
    assert!(run.stdout == sample(SIZE));
}

fn despite_a_bad_seed(answer: Answer) {
    // Few and large: each chunk is a try.
    let chunk = SIZE / 8;
    let server = OldServer::start(sample(SIZE), chunk);
    let seed = Seed::start(server.port, "bad", "127.0.0.1", &sample(SIZE), answer);
    let _good = Seed::start(server.port, "good", "127.0.0.1", &sample(SIZE), Answer::Good);
    server.wait("both provide", |log| log.iter().filter(|(_, m)| m[0] == "provide").count() == 2);
    let local = scratch();
    let more = ["--dialect", "line", "--connect-timeout", "1"];
    get(&server.uri("/sample.bin"), local.path(), &more).expect(0);
    assert_sample(local.path());
    assert_eq!(server.broken(), [] as [String; 0], "{answer:?}");
    let tried = seed.heads.lock().unwrap().len();
    assert!(tried > 0, "{answer:?}");
    // Every transfer has its end: what failed without a hash, what was wrong with its own.
    let ended: Vec<_> = server.said("completed").into_iter().filter(|m| m[1]["peer_id"] == "bad").collect();
    assert_eq!(ended.len(), tried, "{answer:?}");
    assert!(ended.iter().all(|m| m[1]["hash"].is_string() == (answer == Answer::Wrong)), "{ended:?}");
}

#[test]
fn a_seed_that_lies_costs_time_and_never_integrity() {
    despite_a_bad_seed(Answer::Wrong);
    despite_a_bad_seed(Answer::Whole);
}

#[test]
fn a_seed_that_refuses_costs_time_and_never_integrity() {
    despite_a_bad_seed(Answer::Refuse);
    despite_a_bad_seed(Answer::Trace);
}

#[test]
fn a_seed_that_stops_costs_time_and_never_integrity() {
    despite_a_bad_seed(Answer::Short);
    despite_a_bad_seed(Answer::Silence);
}

fn client(configure: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config { dialect: DialectChoice::Line, grace: Duration::ZERO, ..Config::default() };
    configure(&mut config);
    Client::new(config).unwrap()
}

fn open(client: &Client, server: &OldServer) -> Session {
    client.open_session(&server.uri("/").parse().unwrap(), 0).unwrap()
}

fn start(session: &Session, to: &Path) -> Transfer {
    let request = Request {
        path: UrlPath::parse("/sample.bin").unwrap(),
        target: Target::Dir(to.to_owned()),
        overwrite: Overwrite::Resume,
        recursive: false,
        expect_root: None,
        verify: None,
        keys: Vec::new(),
        tuning: Default::default(),
    };
    session.start(request, 0).unwrap()
}

#[test]
fn nothing_counts_that_the_server_has_not_judged() {
    let (server, _seed) = old_network(Answer::Good);
    server.is_mute.store(true, Ordering::Relaxed);
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    server.wait("chunks were told", |log| log.iter().filter(|(_, m)| m[0] == "completed").count() >= 20);
    assert_eq!(transfer.progress().done, 0);
    transfer.cancel(true);
    transfer.wait(WAIT).unwrap_err();
    assert!(!local.path().join("sample.bin").exists());
}

#[test]
fn what_an_old_server_cannot_do_is_an_error_that_says_so() {
    let (server, seed) = old_network(Answer::Good);
    let local = scratch();
    let pinned = format!("{}#root={}", server.uri("/sample.bin"), "a".repeat(64));
    for dialect in ["line", "auto"] {
        let run = get(&pinned, local.path(), &["--dialect", dialect]);
        assert!(run.code() != 0 && run.stderr.contains("version 2"), "{run:?}");
        let run = pdtp(&["ls", "--dialect", dialect, &server.uri("/")]);
        assert!(run.code() != 0 && run.stderr.contains("no listings"), "{run:?}");
        let run = pdtp(&["ls", "--dialect", dialect, &server.uri("/sub/")]);
        assert!(run.code() != 0 && run.stderr.contains("no listings"), "{run:?}");
        let run = get(&server.uri("/"), local.path(), &["-r", "--dialect", dialect]);
        assert!(run.code() != 0 && run.stderr.contains("no listings"), "{run:?}");
        let copy = local.path().join("copy");
        std::fs::create_dir_all(&copy).unwrap();
        std::fs::write(copy.join("mine"), "mine").unwrap();
        let uri = server.uri("/");
        let mirror = ["mirror", "--delete", "--dialect", dialect, &uri, copy.to_str().unwrap()];
        let run = pdtp(&mirror);
        assert!(run.code() != 0 && run.stderr.contains("no listings"), "{run:?}");
        let run = pdtp(&[&mirror[..], &["--watch"]].concat());
        assert!(run.code() != 0 && run.stderr.contains("does not tell what changes"), "{run:?}");
        assert!(copy.join("mine").exists(), "removed for a listing that never came");
        let run = pdtp(&["watch", "--dialect", dialect, &uri]);
        assert!(run.code() != 0 && run.stderr.contains("does not tell what changes"), "{run:?}");
        let run = get(&server.uri("/none.bin"), local.path(), &["--dialect", dialect]);
        assert!(run.code() != 0 && run.stderr.contains("no such file"), "{run:?}");
        // What is possible.
        let run = pdtp(&["ls", "-l", "--dialect", dialect, &server.uri("/sample.bin")]).expect(0);
        assert!(run.text().contains("sample.bin") && run.text().contains("200000"), "{}", run.text());
        let run = pdtp(&["stat", "--dialect", dialect, &server.uri("/sample.bin")]).expect(0);
        assert!(run.text().contains("200000"), "{}", run.text());
    }
    assert_eq!(seed.served.load(Ordering::Relaxed), 0, "nothing was fetched");
    // To a server of which nothing is known, frames are said, and a GET; what it knows nothing of ends with that.
    let is_first = |line: &String| line.contains("register") || line.contains("GET /");
    let unheard_of: Vec<_> = server.broken().into_iter().filter(|line| !is_first(line)).collect();
    assert_eq!(unheard_of, [] as [String; 0]);
}

#[test]
fn who_says_nothing_is_no_server() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("pdtp://{}/f", silent.local_addr().unwrap());
    let asking = ["auto", "framed", "line"].map(|dialect| {
        let uri = uri.clone();
        std::thread::spawn(move || pdtp(&["stat", "--dialect", dialect, &uri]))
    });
    for run in asking.map(|run| run.join().unwrap()) {
        assert!(run.code() != 0 && run.stderr.contains("does not answer as a PDTP server would"), "{run:?}");
    }
}

#[test]
fn an_early_request_is_taken_back_when_nothing_comes_of_it() {
    let (server, _seed) = old_network(Answer::Good);
    let (uri, local) = (server.uri("/sample.bin"), scratch());
    let run = get(&format!("{uri}#root={}", "a".repeat(64)), local.path(), &["--dialect", "line"]);
    assert!(run.code() != 0 && run.stderr.contains("version 2"), "{run:?}");
    assert_eq!(server.said("request").len(), 1);
    server.wait("it is taken back", |log| log.iter().any(|(_, m)| m[0] == "unrequest"));
    assert_eq!(server.broken(), [] as [String; 0]);
}

#[test]
fn the_dialect_is_found_in_time_and_remembered() {
    let (server, _seed) = old_network(Answer::Good);
    let client = client(|config| config.dialect = DialectChoice::Auto);
    let before = server.connections();
    let session = open(&client, &server);
    session.wait_ready(WAIT).unwrap();
    assert_eq!(session.server_info().unwrap().version, 2);
    assert_eq!(server.connections() - before, 2, "frames, then lines");
    let local = scratch();
    start(&session, local.path()).wait(WAIT).unwrap();
    assert_sample(local.path());
    drop(session);
    wait_until("it has gone", PATIENCE, || server.provided_by_others("seed") == 0);
    let session = open(&client, &server);
    session.wait_ready(WAIT).unwrap();
    std::fs::remove_file(local.path().join("sample.bin")).unwrap();
    start(&session, local.path()).wait(WAIT).unwrap();
    assert_sample(local.path());
    assert_eq!(server.connections() - before, 3, "lines at once");
    assert_eq!(server.broken().len(), 1, "the framed register: {:?}", server.broken());
}

#[test]
fn servers_of_the_draft_are_found_out() {
    let server = OldServer::start_as(sample(SIZE), CHUNK, true);
    let _seed = Seed::start_as(server.port, "seed", "127.0.0.1", &sample(SIZE), Answer::Good, true);
    server.wait("the seed provides", |log| log.iter().any(|(_, m)| m[0] == "provide"));
    for dialect in ["framed", "auto"] {
        let local = scratch();
        get(&server.uri("/sample.bin"), local.path(), &["--dialect", dialect]).expect(0);
        assert_sample(local.path());
        let run = get(&server.uri("/none.bin"), local.path(), &["--dialect", dialect]);
        assert!(run.code() != 0 && run.stderr.contains("no such file"), "{run:?}");
        // With nothing asked, too.
        let choice = if dialect == "auto" { DialectChoice::Auto } else { DialectChoice::Framed };
        let client = client(|config| config.dialect = choice);
        let session = open(&client, &server);
        session.wait_ready(WAIT).unwrap();
        assert_eq!(session.server_info().unwrap().version, 2);
    }
    assert_eq!(server.broken(), [] as [String; 0]);
}

#[test]
fn a_download_outlives_its_connection_under_another_name() {
    let (server, _seed) = old_network(Answer::Good);
    let (client, local) = (client(|config| config.down_limit = 100_000), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    server.wait("some of it is here", |log| log.iter().filter(|(_, m)| m[0] == "completed").count() >= 5);
    let id = session.client_id();
    server.cut("seed");
    transfer.wait(WAIT).unwrap();
    assert_sample(local.path());
    assert_ne!(session.client_id(), id, "0.1.0 never frees a name");
    assert_eq!(server.broken(), [] as [String; 0]);
    // What was judged on the first connection was not fetched again, but offered.
    let is_part = |m: &Value| m[0] == "provide" && m[1]["range"]["max"].is_u64();
    assert!(server.log().iter().any(|(who, m)| who != "seed" && is_part(m)));
}

#[test]
fn a_file_of_another_size_after_a_pause_starts_clean() {
    let (server, _seed) = old_network(Answer::Good);
    let (client, local) = (client(|config| config.down_limit = 100_000), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    server.wait("some of it is here", |log| log.iter().filter(|(_, m)| m[0] == "completed").count() >= 5);
    // Another server in its place: same port, another file.
    let other: Vec<u8> = sample(SIZE + 12_345).into_iter().rev().collect();
    server.replace(other.clone());
    let _seed = Seed::start(server.port, "another", "127.0.0.1", &other, Answer::Good);
    server.cut("another");
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("sample.bin")).unwrap() == other);
}

#[test]
fn what_a_killed_download_left_is_not_believed() {
    let (server, _seed) = old_network(Answer::Good);
    let local = scratch();
    let to = local.path().display().to_string();
    let uri = server.uri("/sample.bin");
    let mut first =
        pdtp_start(&["get", &uri, "-o", &to, "--dialect", "line", "--limit-down", "40K", "--quiet"]);
    server.wait("some of it is here", |log| log.iter().filter(|(_, m)| m[0] == "completed").count() >= 8);
    first.kill9();
    let state = std::fs::read_to_string(local.path().join("sample.bin.part.pdtp")).unwrap();
    assert!(!state.contains("root"), "there is no version to name: {state}");
    // As if the file on the server were another one now: a mix of both would be the worst of ends.
    let part = local.path().join("sample.bin.part");
    let mut bytes = std::fs::read(&part).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&part, bytes).unwrap();
    let run = get(&uri, local.path(), &["--dialect", "line", "--json"]).expect(0);
    assert_sample(local.path());
    assert_eq!(run.event("done")["from_disk"], 0);
    let log = server.log();
    let (second, _) = log.iter().rfind(|(_, m)| m[0] == "client_info").unwrap();
    let judged = log.iter().filter(|(who, m)| who == second && m[0] == "completed");
    assert_eq!(judged.filter(|(_, m)| m[1]["hash"].is_string()).count(), SIZE / CHUNK, "all of it anew");
}

// -------------------------------------------------------------------------------------------------- and giving

#[test]
fn two_clients_of_an_old_server_give_to_each_other() {
    let (server, seed) = old_network(Answer::Good);
    let (first, local) = (client(|config| config.seeding = Seeding::Always), scratch());
    let session = open(&first, &server);
    start(&session, local.path()).wait(WAIT).unwrap();
    // From now on it is the only one.
    *seed.answer.lock().unwrap() = Answer::Refuse;
    server.cut(&session.client_id());
    wait_until("the seed has gone", PATIENCE, || server.provided_by_others(&session.client_id()) == 0);

    let (second, local) = (client(|_| {}), scratch());
    let other = open(&second, &server);
    let transfer = start(&other, local.path());
    transfer.wait(WAIT).unwrap();
    assert_sample(local.path());
    assert_eq!(first.stats().uploaded, SIZE as u64);
    assert_eq!(server.broken(), [] as [String; 0]);
    let log = server.log();
    let giver = session.client_id();
    let of_giver = |kind: &str| log.iter().filter(|(who, m)| *who == giver && m[0] == kind).count();
    assert_eq!(of_giver("ask_verify"), SIZE / CHUNK, "once for each request");
    server.wait("the giver says the end of each", |log| {
        log.iter().filter(|(who, m)| *who == giver && m[0] == "completed" && m[1]["hash"].is_null()).count()
            >= SIZE / CHUNK
    });
}

#[test]
fn who_gives_nothing_takes_back_what_the_server_believes() {
    let (server, _seed) = old_network(Answer::Good);
    let local = scratch();
    get(&server.uri("/sample.bin"), local.path(), &["--dialect", "line", "--no-give"]).expect(0);
    assert_sample(local.path());
    let log = server.log();
    let taken_back = log.iter().filter(|(_, m)| m[0] == "unprovide" && m[1]["range"].is_object()).count();
    assert!(taken_back >= SIZE / CHUNK, "{taken_back}");
    let info = log.iter().find(|(who, m)| who != "seed" && m[0] == "client_info").unwrap();
    assert_eq!(info.1[1]["listen_port"], 0);
}
