//! Old and new in one network: `pdtpd` arranges, seeds and clients of DistribuStream 0.1.0 and clients of ours give to
//! each other.

pub mod common;
#[path = "common/old.rs"]
pub mod old;
#[path = "common/old_server.rs"]
pub mod old_server;
#[path = "common/transcripts.rs"]
pub mod transcripts;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{PATIENCE, Pdtpd, pdtp, scratch, wait_until};
use old::Old;
use old_server::{Answer, Seed};
use pdtp::client::{Client, Config, Overwrite, Request, Seeding, Session, Target};
use pdtp::wire::UrlPath;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use transcripts::{VHOST, sample};

const URL: &str = "http://files.example/sample.bin";

fn serve(size: usize, more: &[&str]) -> (tempfile::TempDir, Pdtpd) {
    let dir = scratch();
    std::fs::write(dir.path().join("sample.bin"), sample(size)).unwrap();
    let server = Pdtpd::start(dir.path(), more);
    (dir, server)
}

fn wait_until_reachable(server: &Pdtpd, id: &str) {
    wait_until("it can be dialled", PATIENCE, || {
        let status = server.status();
        status["clients"].as_array().unwrap().iter().any(|c| c["id"] == id && c["reachable"] == true)
    });
}

/// A client of ours that has the file and goes on giving it.
fn giver(server: &Pdtpd, local: &Path) -> (Client, Session) {
    let config = Config { seeding: Seeding::Always, grace: Duration::ZERO, ..Config::default() };
    let client = Client::new(config).unwrap();
    let session = client.open_session(&server.uri("/").parse().unwrap(), 0).unwrap();
    let request = Request {
        path: UrlPath::parse("/sample.bin").unwrap(),
        target: Target::Dir(local.to_owned()),
        overwrite: Overwrite::Resume,
        recursive: false,
        expect_root: None,
        verify: None,
        keys: Vec::new(),
        tuning: Default::default(),
    };
    session.start(request, 0).unwrap().wait(Some(PATIENCE)).unwrap();
    wait_until_reachable(server, &session.client_id());
    (client, session)
}

/// Bytes of a request as they are; status, head and body of the answer, which ends with the connection.
fn ask(port: u16, request: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head[9..12].parse().unwrap(), head, answer[end..].to_vec())
}

fn transfer_to(taker: &mut Old, range: (u64, u64)) -> Value {
    let whole = json!({"min": range.0, "max": range.1});
    taker.send(&json!(["request", {"url": URL, "range": whole}]));
    let mut others = Vec::new();
    let transfer = taker.expect("transfer", &mut others);
    assert_eq!(transfer[1]["range"], whole);
    transfer
}

/// The requests that a seed was sent in 2007, to whoever gives now.
fn requests_of_then(server: &Pdtpd, giver_id: Option<&str>) {
    let Some(transcript) = transcripts::read("13-") else { return };
    let is_http = |conn: &str| conn.starts_with("seed-http/");
    let mut cases: Vec<(String, Vec<u8>, u16)> = Vec::new();
    for record in transcript.records.iter().filter(|r| is_http(&r.conn)) {
        let name = record.conn.trim_start_matches("seed-http/").to_owned();
        if record.from == "taker" && !record.data.is_empty() {
            cases.push((name, record.data.clone(), 0));
        } else if record.data.starts_with(b"HTTP") {
            let case = cases.iter_mut().find(|(known, ..)| *known == name).unwrap();
            case.2 = record.text()[9..12].parse().unwrap();
        }
    }
    assert_eq!(cases.len(), 13);
    let mut taker = None;
    for (name, request, then) in cases {
        let text = String::from_utf8_lossy(&request).into_owned();
        let of_range = |range: &str| {
            let (min, max) = range.split_once('-').unwrap();
            (min.parse().unwrap(), max.parse().unwrap_or(0))
        };
        // Where it matters that a transfer is open, one that nobody has used yet, as it was then.
        let range = text
            .lines()
            .find_map(|line| line.strip_prefix("Range: bytes=").or(line.strip_prefix("range: bytes=")));
        let range = of_range(range.unwrap());
        let is_same_again = name.starts_with("same-again");
        if !is_same_again && range.1 != 0 {
            let id = format!("tk-{name}");
            let mut fresh = Old::connect(server.port());
            fresh.send(&json!(["client_info", {"client_id": id, "listen_port": 0}]));
            let chunk = if name == "not-authorised-range" { (0, 4999) } else { range };
            let transfer = transfer_to(&mut fresh, chunk);
            taker = Some((fresh, id, transfer));
        }
        let (client, id, transfer) = taker.as_mut().unwrap();
        if let Some(giver_id) = giver_id {
            assert_eq!(transfer[1]["peer_id"], giver_id, "{name}");
        }
        if name == "same-again-after-completed" {
            let body = &sample(12345)[..5000];
            let hash: String = Sha256::digest(body).iter().map(|b| format!("{b:02x}")).collect();
            client.send(&json!(["completed", {
                "url": URL, "range": transfer[1]["range"], "peer_id": transfer[1]["peer_id"], "hash": hash,
            }]));
            assert_eq!(client.expect("hash_verify", &mut Vec::new())[1]["hash_ok"], true);
        }
        let port = transfer[1]["port"].as_u64().unwrap() as u16;
        let request = text.replace(": tk\r\n", &format!(": {id}\r\n"));
        // A body that was announced, and that nobody waits for.
        let (status, head, body) = ask(
            port,
            &[request.as_bytes(), &vec![0; if name.starts_with("put") { 2345 } else { 0 }]].concat(),
        );
        let is_same = status == then || (then == 500 && status == 400);
        // The origin is a web server, too, and has a word of its own for methods that it does not know.
        let is_origin_put = giver_id.is_none() && name == "put-authorised" && status == 405;
        assert!(is_same || is_origin_put, "{name}: {head}");
        if status == 206 {
            let (min, max) = range;
            assert!(body == sample(12345)[min as usize..=max as usize], "{name}");
            assert!(head.contains(&format!("\r\nContent-Range: bytes {min}-{max}/")), "{name}: {head}");
            assert!(head.contains("\r\nConnection: close\r\n"), "{name}: {head}");
        }
    }
}

#[test]
fn a_client_of_ours_answers_as_a_seed_did() {
    let (_dir, server) = serve(12345, &["--piece-size", "5000"]);
    let local = scratch();
    let (_client, session) = giver(&server, local.path());
    requests_of_then(&server, Some(&session.client_id()));
}

#[test]
fn the_origin_answers_as_a_seed_did() {
    let (_dir, server) = serve(12345, &["--piece-size", "5000"]);
    requests_of_then(&server, None);
}

/// Plays a whole old client: one connection for each transfer.
fn download_as_then(server: &Pdtpd, id: &str, size: usize) -> (Vec<u8>, Vec<String>) {
    let mut client = Old::connect(server.port());
    client.send(&json!(["client_info", {"listen_port": 0, "client_id": id}]));
    client.send(&json!(["ask_info", {"url": URL}]));
    client.send(&json!(["request", {"url": URL}]));
    let (mut file, mut done, mut givers) = (vec![0; size], 0, Vec::new());
    while done < size {
        let message = client.recv().expect("the server is there");
        match message[0].as_str().unwrap() {
            "transfer" => {}
            "tell_info" => continue,
            "hash_verify" if message[1]["hash_ok"] == true => continue,
            _ => panic!("{message}"),
        }
        let about = &message[1];
        let (min, max) = (about["range"]["min"].as_u64().unwrap(), about["range"]["max"].as_u64().unwrap());
        let request = format!(
            "GET /sample.bin HTTP/1.1\r\nAccept: */*\r\nRange: bytes={min}-{max}\r\nHost: {VHOST}\r\nX-Pdtp-Peer-Id: {id}\r\n\r\n"
        );
        let (status, head, body) = ask(about["port"].as_u64().unwrap() as u16, request.as_bytes());
        assert_eq!((status, body.len() as u64), (206, max + 1 - min), "{head}");
        let hash: String = Sha256::digest(&body).iter().map(|b| format!("{b:02x}")).collect();
        client.send(&json!(["completed", {
            "url": URL, "peer": about["host"], "range": about["range"], "peer_id": about["peer_id"], "hash": hash,
        }]));
        file[min as usize..=max as usize].copy_from_slice(&body);
        done += body.len();
        givers.push(about["peer_id"].as_str().unwrap().to_owned());
    }
    (file, givers)
}

#[test]
fn an_old_client_takes_from_new_ones() {
    let size = 1_000_003;
    let (_dir, server) = serve(size, &[]);
    let local = scratch();
    let (client, session) = giver(&server, local.path());
    let (file, givers) = download_as_then(&server, "fdf810", size);
    assert!(file == sample(size));
    assert!(givers.contains(&session.client_id()), "{givers:?}");
    assert!(client.stats().uploaded > 0);
    // Names are free again.
    let (file, _) = download_as_then(&server, "fdf810", size);
    assert!(file == sample(size));
}

#[test]
fn the_client_speaks_as_then_to_the_server() {
    let size = 1_000_003;
    let (_dir, server) = serve(size, &["--piece-size", "100000"]);
    let local = scratch();
    let to = local.path().display().to_string();
    let run = pdtp(&["get", &server.uri("/sample.bin"), "-o", &to, "--dialect", "line", "--json"]).expect(0);
    assert!(std::fs::read(local.path().join("sample.bin")).unwrap() == sample(size));
    // Whoever has all pieces knows the version, even if nobody told.
    let entry = pdtp(&["stat", "--json", &server.uri("/sample.bin")]).expect(0);
    let entry: Value = serde_json::from_slice(&entry.stdout).unwrap();
    assert_eq!(run.event("done")["root"], entry["root"]);
    assert_eq!(run.event("done")["from_origin"], size);
}

/// A client of ours, with a seed of the time beside the origin.
fn with_a_seed(answer: Answer) -> (u64, std::sync::Arc<Seed>, Pdtpd) {
    let size = 1_000_003;
    let (_dir, server) = serve(size, &[]);
    let seed = Seed::start(server.port(), "seed", VHOST, &sample(size), answer);
    wait_until_reachable(&server, "seed");
    let local = scratch();
    let to = local.path().display().to_string();
    let run =
        pdtp(&["get", &server.uri("/sample.bin"), "-o", &to, "--json", "--connect-timeout", "1"]).expect(0);
    assert!(std::fs::read(local.path().join("sample.bin")).unwrap() == sample(size), "{answer:?}");
    assert!(!seed.is_broken.load(Ordering::Relaxed), "{answer:?}");
    for head in seed.heads.lock().unwrap().iter() {
        for unheard_of in ["If-Match", "X-PDTP-Token", "X-PDTP-Transfer"] {
            assert!(!head.contains(unheard_of), "{head}");
        }
    }
    (run.event("done")["from_peers"].as_u64().unwrap(), seed, server)
}

#[test]
fn a_new_client_takes_from_an_old_seed() {
    for answer in [Answer::Good, Answer::NoContentRange, Answer::NoLength, Answer::Chunked] {
        let (from_peers, seed, _server) = with_a_seed(answer);
        assert!(from_peers > 0, "{answer:?}");
        let served = seed.served.load(Ordering::Relaxed);
        assert_eq!(served as u64, from_peers.div_ceil(65_536), "one chunk a request: {answer:?}");
    }
}

#[test]
fn a_hostile_old_seed_is_left_for_the_origin() {
    for answer in
        [Answer::Wrong, Answer::Refuse, Answer::Trace, Answer::Short, Answer::Whole, Answer::Silence]
    {
        let (_, seed, server) = with_a_seed(answer);
        assert!(!seed.heads.lock().unwrap().is_empty(), "{answer:?}: it was tried");
        let status = server.status();
        assert_eq!(status["bytes"]["from_peers"], 0, "{answer:?}: {status}");
    }
}
