//! The core against scripted clients: no sockets, and time passes as the test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::content::PieceHashes;
use crate::hub::{Hub, HubConfig};
use crate::swarm::{FailureKind, Time};
use crate::wire::token::{Method, TokenScope, check_token, make_proof};
use crate::wire::{self, ByteRange, Digest, EntryKind, ErrorCode, TransferMethod, limits};

mod policy;
mod watches;

const SECOND: u64 = 1_000_000;
const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);
const PIECE: usize = 16 * 1024;
/// Looks at the status page.
const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A core, the files it serves, and what it has said to whom.
struct Rig {
    core: Core,
    now: Now,
    hub: Hub,
    dir: TempDir,
    runtime: tokio::runtime::Runtime,
    said: HashMap<ConnId, Vec<Message>>,
    closed: Vec<ConnId>,
    probes: Vec<(ConnId, SocketAddr, Option<Hello>)>,
    checks: Vec<FileId>,
    early: Vec<(String, Range<u64>)>,
    lists: Vec<ConnId>,
    /// Lookups wait here while `hold` is set.
    hold: bool,
    held: Vec<UrlPath>,
}

impl Rig {
    fn new(files: &[(&str, usize)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, size) in files {
            std::fs::write(dir.path().join(name), bytes_of(name, *size)).unwrap();
        }
        let config =
            HubConfig { piece_size: crate::content::PieceSize::new(PIECE as u32), ..HubConfig::default() };
        let hub = Hub::open(dir.path(), config).unwrap();
        let identity = Identity {
            id: "the-server".to_owned(),
            secret: Secret([9; 32]),
            agent: "pdtpd/test".to_owned(),
            features: Vec::new(),
            notice: None,
            up_limit: 0,
            old_grace_us: 60 * SECOND,
        };
        let mut counter = 0u8;
        let random = Box::new(move |out: &mut [u8]| {
            counter += 1;
            out.fill(counter);
        });
        let now = Now { time: Time(0), unix: 1_000_000 };
        let core = Core::new(identity, swarm::Config::default(), Arc::default(), random, now);
        Self {
            core,
            now,
            hub,
            dir,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_time()
                .build()
                .unwrap(),
            said: HashMap::new(),
            closed: Vec::new(),
            probes: Vec::new(),
            checks: Vec::new(),
            early: Vec::new(),
            lists: Vec::new(),
            hold: false,
            held: Vec::new(),
        }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.core.handle(input, self.now, &mut out);
            for output in out {
                match output {
                    Output::Send { conn, message } => self.said.entry(conn).or_default().push(message),
                    Output::Close { conn } => self.closed.push(conn),
                    Output::Find { path } if self.hold => self.held.push(path),
                    Output::Find { path } => inputs.push_back(self.look(path)),
                    Output::List(list) => self.lists.push(list.conn),
                    Output::Probe { conn, address, hello } => self.probes.push((conn, address, hello)),
                    Output::Check { file, .. } => self.checks.push(file),
                    Output::AnswerEarly { name, grant } => self.early.push((name, grant.bytes)),
                }
            }
        }
    }

    fn look(&self, path: UrlPath) -> Input {
        let result = self.runtime.block_on(self.hub.version(&path, |_, _| ()));
        Input::Found { path, result }
    }

    fn version(&self, name: &str) -> Arc<FileVersion> {
        let path = UrlPath::parse(&format!("/{name}")).unwrap();
        self.runtime.block_on(self.hub.version(&path, |_, _| ())).unwrap()
    }

    fn connect(&mut self, conn: ConnId) {
        let remote = SocketAddr::from(([192, 0, 2, conn.0 as u8], 50_000));
        let local = "198.51.100.1:6086".parse().unwrap();
        self.feed(Input::Connected { conn, remote, local });
    }

    fn say(&mut self, conn: ConnId, message: impl Into<Message>) {
        self.feed(Input::message(conn, message));
    }

    /// What was said to a connection since the last call.
    fn heard(&mut self, conn: ConnId) -> Vec<Message> {
        self.said.remove(&conn).unwrap_or_default()
    }

    fn kinds(&mut self, conn: ConnId) -> Vec<&'static str> {
        self.heard(conn).iter().map(Message::kind).collect()
    }

    /// The one error that was said.
    fn error(&mut self, conn: ConnId) -> wire::Error {
        match &self.heard(conn)[..] {
            [Message::Error(error)] => error.clone(),
            other => panic!("not one error: {other:?}"),
        }
    }

    fn transfers(&mut self, conn: ConnId) -> Vec<wire::Transfer> {
        let all = self.heard(conn).into_iter();
        all.filter_map(|m| if let Message::Transfer(t) = m { Some(t) } else { None }).collect()
    }

    fn pass(&mut self, micros: u64) {
        // In steps, as a driver that obeys `next_timeout` does.
        let end = self.now.time.plus(micros);
        while let Some(next) = self.core.next_timeout().filter(|&at| at <= end) {
            self.now.time = self.now.time.max(next);
            self.feed(Input::Tick);
        }
        self.now.time = end;
    }

    fn join_v3(&mut self, conn: ConnId, id: &str) {
        self.connect(conn);
        self.say(conn, v3(id));
        assert_eq!(self.kinds(conn), ["registered"]);
        self.feed(Input::Probed { conn, ok: true });
        assert_eq!(self.kinds(conn), ["reachable"]);
    }

    fn join_v2(&mut self, conn: ConnId, id: &str) {
        self.connect(conn);
        self.say(conn, wire::Register { client_id: id.to_owned(), listen_port: 8000, ..Default::default() });
        self.feed(Input::Probed { conn, ok: true });
        assert_eq!(self.kinds(conn), [""; 0]);
    }

    /// Plays a taker that gets everything it is told to get; says from whom it got how many bytes.
    fn take_all(&mut self, conn: ConnId, name: &str) -> HashMap<String, u64> {
        let content = bytes_of(name, self.version(name).hashes.layout().size() as usize);
        let mut from = HashMap::new();
        let is_v3 = self.core.is_v3(conn);
        for _ in 0..10_000 {
            let transfers = self.transfers(conn);
            if transfers.is_empty() {
                break;
            }
            for t in transfers {
                let (min, max) = (t.range.min, t.range.max.unwrap());
                *from.entry(t.peer_id.clone()).or_default() += max + 1 - min;
                self.now.time = self.now.time.plus(1000);
                let mut completed = wire::Completed {
                    id: t.id,
                    url: t.url,
                    range: t.range,
                    peer_id: t.peer_id,
                    ..Default::default()
                };
                if is_v3 {
                    completed.bytes = Some(max + 1 - min);
                    completed.ms = Some(1);
                } else {
                    let piece = &content[min as usize..=max as usize];
                    completed.hash = Some(crate::content::hash_piece(piece).to_string());
                }
                self.say(conn, completed);
            }
        }
        from
    }
}

/// Contents by name, so that a taker knows what it should have got.
fn bytes_of(name: &str, size: usize) -> Vec<u8> {
    let seed = name.len() as u64;
    (0..size as u64).map(|i| ((i * 31 + seed) ^ (i >> 14)) as u8).collect()
}

fn v3(id: &str) -> wire::Register {
    wire::Register {
        client_id: id.to_owned(),
        listen_port: 4000,
        version: Some(3),
        agent: Some("test/1".to_owned()),
        features: vec![wire::FEATURE_GIVE.to_owned(), wire::FEATURE_RUNS.to_owned()],
        ..Default::default()
    }
}

fn url(name: &str) -> String {
    format!("http://files.example/{name}")
}

fn ask(name: &str) -> wire::AskInfo {
    wire::AskInfo { url: url(name), hashes: false, proof: false }
}

fn request(name: &str) -> wire::Request {
    wire::Request { url: url(name), ..Default::default() }
}

#[test]
fn the_first_transfer_leaves_with_the_answers() {
    let mut rig = Rig::new(&[("f", 10 * PIECE)]);
    let version = rig.version("f");
    rig.connect(A);
    rig.say(A, v3("a"));
    rig.say(A, ask("f"));
    rig.say(A, request("f"));
    let heard = rig.heard(A);
    let [Message::Registered(registered), Message::TellInfo(info), Message::Transfer(transfer), ..] =
        &heard[..]
    else {
        panic!("{heard:?}");
    };
    assert_eq!(registered.server, "the-server");
    assert_eq!(registered.address, "192.0.2.1");
    assert_eq!((info.size, info.root), (Some(10 * PIECE as u64), Some(version.root())));
    assert_eq!(info.url, url("f"), "as the asker wrote it");
    assert_eq!((transfer.host.as_str(), transfer.port), ("198.51.100.1", 6086), "as the server was dialled");
    assert_eq!((transfer.peer_id.as_str(), transfer.method), ("the-server", TransferMethod::Get));
    let token = transfer.token.as_ref().unwrap();
    let scope = TokenScope {
        method: Method::Get,
        path: &version.path,
        root: &version.root(),
        min: transfer.range.min,
        max: transfer.range.max.unwrap(),
        connector: "a",
        transfer: transfer.id.unwrap(),
    };
    let secret = Secret([9; 32]);
    assert!(check_token(&secret, &scope, token, rig.now.unix));
    assert!(!check_token(&secret, &scope, token, rig.now.unix + limits::TOKEN_LIFETIME.as_secs() + 1));
    assert_eq!(transfer.proof, Some(make_proof(&secret, token)));
}

#[test]
fn a_whole_download_from_the_origin() {
    let mut rig = Rig::new(&[("f", 100 * PIECE + 1)]);
    rig.join_v3(A, "a");
    rig.say(A, request("f"));
    let from = rig.take_all(A, "f");
    assert_eq!(from, HashMap::from([("the-server".to_owned(), 100 * PIECE as u64 + 1)]));
    let status = rig.core.status(NOBODY);
    assert_eq!(status.swarm.origin_bytes, 100 * PIECE as u64 + 1);
    assert_eq!(status.swarm.active_transfers, 0);
    assert!(rig.core.open.is_empty());
    assert_eq!(rig.core.clients[&A].session().unwrap().wanted, 0);
}

#[test]
fn peers_give_what_they_got() {
    let mut rig = Rig::new(&[("f", 100 * PIECE)]);
    rig.join_v3(A, "a");
    rig.join_v3(B, "b");
    rig.say(A, request("f"));
    rig.take_all(A, "f");
    rig.say(B, request("f"));
    let transfers = rig.transfers(B);
    let from_a = transfers.iter().find(|t| t.peer_id == "a").expect("A has it, so A gives it");
    assert_eq!((from_a.host.as_str(), from_a.port), ("192.0.2.1", 4000));
    let root = rig.version("f").root();
    let path = UrlPath::parse("/f").unwrap();
    let range = from_a.range;
    let scope = TokenScope {
        method: Method::Get,
        path: &path,
        root: &root,
        min: range.min,
        max: range.max.unwrap(),
        connector: "b",
        transfer: from_a.id.unwrap(),
    };
    let secret = rig.core.clients[&A].session().unwrap().secret.clone();
    assert!(check_token(&secret, &scope, from_a.token.as_ref().unwrap(), rig.now.unix));
}

/// The first piece that somebody can pass on is to be asked for, and waited for, before it is there.
#[test]
fn who_can_wait_is_told_for_how_long() {
    for (waits, expected) in [(false, None), (true, Some(30))] {
        let mut rig = Rig::new(&[("f", 100 * PIECE)]);
        for (conn, id) in [(A, "a"), (B, "b")] {
            let mut register = v3(id);
            register.features.extend(waits.then(|| wire::FEATURE_WAIT.to_owned()));
            rig.connect(conn);
            rig.say(conn, register);
            rig.feed(Input::Probed { conn, ok: true });
            rig.say(conn, request("f"));
        }
        let transfers = rig.transfers(B);
        let from_a = transfers.iter().find(|t| t.peer_id == "a");
        assert_eq!(from_a.and_then(|t| t.wait_s), expected);
        assert_eq!(from_a.is_some(), waits, "{transfers:?}");
        // It is what A is to fetch.
        let first = rig.transfers(A).remove(0);
        assert!(from_a.is_none_or(|t| t.range.min == first.range.min));
        assert!(transfers.iter().filter(|t| t.peer_id != "a").all(|t| t.wait_s.is_none()));
    }
}

#[test]
fn who_can_take_it_is_not_told_again_what_it_was_just_told() {
    for is_brief in [false, true] {
        let mut rig = Rig::new(&[("f", 100 * PIECE), ("g", 100 * PIECE)]);
        let mut register = v3("a");
        register.features.extend(is_brief.then(|| wire::FEATURE_BRIEF.to_owned()));
        rig.connect(A);
        rig.say(A, register);
        rig.feed(Input::Probed { conn: A, ok: true });
        rig.say(A, request("f"));
        rig.say(A, request("g"));
        let (mut said, mut told) = (wire::Said::default(), Vec::new());
        for _ in 0..1000 {
            rig.pass(1000);
            for mut transfer in rig.transfers(A) {
                let is_short = transfer.host.is_empty() && transfer.port == 0 && transfer.peer_id.is_empty();
                assert_eq!(is_short, is_brief && !told.is_empty(), "{transfer:?}: it is always the origin");
                let is_short = transfer.url.is_empty() && transfer.root.is_none();
                assert!(said.fill_in(&mut transfer));
                let is_same = told.last().is_some_and(|last| *last == transfer.url);
                assert_eq!(is_short, is_brief && is_same);
                let name = if transfer.url == url("f") { "f" } else { "g" };
                assert_eq!(
                    (transfer.url.clone(), transfer.root),
                    (url(name), Some(rig.version(name).root()))
                );
                assert_eq!(transfer.peer_id, rig.core.identity.id);
                told.push(transfer.url);
                let (id, range) = (transfer.id, transfer.range);
                let bytes = Some(range.max.unwrap() + 1 - range.min);
                rig.say(A, wire::Completed { id, bytes, ms: Some(10), ..Default::default() });
            }
        }
        assert!(
            told.len() > 8 && told.iter().any(|one| *one != told[0]),
            "one file after the other: {told:?}"
        );
    }
}

#[test]
fn version_2_hears_only_its_own_words() {
    let mut rig = Rig::new(&[("f", 3 * PIECE)]);
    rig.join_v2(A, "old");
    rig.say(A, ask("f"));
    let heard = rig.heard(A);
    let [Message::TellInfo(info)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((info.size, info.chunk_size), (Some(3 * PIECE as u64), Some(PIECE as u32)));
    assert_eq!((info.root, info.kind, info.mtime), (None, None, None));

    rig.say(A, request("f"));
    let t = rig.transfers(A).remove(0);
    assert_eq!(t.peer.as_ref(), Some(&t.host));
    assert_eq!((t.id, t.root, &t.token, &t.proof, t.reason), (None, None, &None, &None, None));
    assert_eq!(t.range.max.unwrap() + 1 - t.range.min, PIECE as u64, "one piece");

    // What the piece service will ask.
    let path = UrlPath::parse("/f").unwrap();
    let bytes = t.range.min..t.range.max.unwrap() + 1;
    assert!(rig.core.origin_grant("old", &path, &bytes).is_some());
    assert!(rig.core.origin_grant("old", &path, &(bytes.start..bytes.end - 1)).is_none());
    assert!(rig.core.origin_grant("new", &path, &bytes).is_none());
    assert!(rig.core.origin_grant("old", &UrlPath::parse("/g").unwrap(), &bytes).is_none());

    let wrong = wire::Completed {
        url: url("f"),
        range: t.range,
        peer_id: t.peer_id.clone(),
        hash: Some(Digest([0; 32]).to_string()),
        ..Default::default()
    };
    rig.say(A, wrong.clone());
    let heard = rig.heard(A);
    assert!(matches!(&heard[0], Message::HashVerify(v) if !v.hash_ok && v.range == t.range), "{heard:?}");
    assert_eq!(rig.checks.len(), 1, "wrong bytes from the origin: has the file changed?");
    assert!(rig.core.origin_grant("old", &path, &bytes).is_none(), "that transfer is over");
    rig.say(A, wrong);
    assert_eq!(rig.kinds(A), ["protocol_warn"]);

    rig.say(A, ask("nothing"));
    assert_eq!(
        rig.heard(A),
        [Message::TellInfo(wire::TellInfo { url: url("nothing"), ..Default::default() })]
    );
}

#[test]
fn version_2_peers_are_vouched_for() {
    let mut rig = Rig::new(&[("f", 20 * PIECE)]);
    rig.join_v2(A, "a");
    rig.join_v2(B, "b");
    rig.say(A, request("f"));
    assert_eq!(rig.take_all(A, "f").values().sum::<u64>(), 20 * PIECE as u64);
    rig.said.clear();
    rig.say(B, request("f"));
    let t = rig.transfers(B).into_iter().find(|t| t.peer_id == "a").expect("A has it, so A gives it");
    let question = wire::AskVerify {
        peer: "192.0.2.2".to_owned(),
        url: url("f"),
        range: t.range,
        peer_id: "b".to_owned(),
    };
    let verdict = |rig: &mut Rig, question: wire::AskVerify| {
        rig.say(A, question);
        let heard = rig.heard(A);
        let [Message::TellVerify(verdict)] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!(verdict.authorized, Some(verdict.is_authorized));
        verdict.is_authorized
    };
    assert!(verdict(&mut rig, question.clone()));
    let other_range = ByteRange::new(t.range.min, t.range.max.unwrap() - 1);
    assert!(!verdict(&mut rig, wire::AskVerify { range: other_range, ..question.clone() }));
    assert!(!verdict(&mut rig, wire::AskVerify { peer_id: "c".to_owned(), ..question.clone() }));
    assert!(!verdict(&mut rig, wire::AskVerify { url: url("g"), ..question }));
}

#[test]
fn a_v2_giver_and_a_v3_taker() {
    let mut rig = Rig::new(&[("f", 20 * PIECE)]);
    rig.join_v2(A, "a");
    rig.join_v3(B, "b");
    rig.say(A, request("f"));
    rig.take_all(A, "f");
    rig.say(B, request("f"));
    let t = rig.transfers(B).into_iter().find(|t| t.peer_id == "a").expect("A has it, so A gives it");
    assert!(t.id.is_some() && t.root.is_some());
    assert_eq!((t.token, t.proof), (None, None), "version 2 could not check the one nor make the other");
}

#[test]
fn an_id_in_use_goes_to_whoever_is_alive() {
    let mut rig = Rig::new(&[]);
    rig.join_v3(A, "x");
    rig.connect(B);
    rig.say(B, v3("x"));
    rig.say(B, ask("nothing"));
    assert_eq!(rig.kinds(A), ["ping"]);
    assert_eq!(rig.kinds(B), [""; 0], "nothing is promised yet");
    rig.say(A, wire::Pong {});
    assert_eq!(rig.error(B).code, ErrorCode::IdInUse);
    assert_eq!(rig.closed, [B]);
    assert!(rig.core.clients.contains_key(&A));

    let c = ConnId(3);
    rig.connect(c);
    rig.say(c, v3("x"));
    rig.say(c, ask("nothing"));
    rig.heard(A);
    rig.pass(3 * SECOND);
    assert_eq!(rig.closed, [B, A], "A gave no sign of life");
    assert_eq!(rig.kinds(c), ["registered", "tell_info"], "what C said meanwhile is answered");
}

#[test]
fn an_id_is_free_when_its_holder_leaves() {
    let mut rig = Rig::new(&[]);
    rig.join_v3(A, "x");
    rig.connect(B);
    rig.say(B, v3("x"));
    rig.feed(Input::Closed { conn: A });
    assert_eq!(rig.kinds(B), ["registered"]);
}

#[test]
fn version_2_keeps_its_id() {
    let mut rig = Rig::new(&[]);
    rig.join_v2(A, "x");
    rig.connect(B);
    rig.say(B, wire::Register { client_id: "x".to_owned(), listen_port: 0, ..Default::default() });
    assert_eq!(rig.kinds(B), ["protocol_error"]);
    assert_eq!(rig.closed, [B]);
    let c = ConnId(3);
    rig.connect(c);
    rig.say(c, v3("the-server"));
    assert_eq!(rig.error(c).code, ErrorCode::IdInUse);
}

#[test]
fn who_does_not_register_goes() {
    let mut rig = Rig::new(&[]);
    rig.connect(A);
    rig.pass(9 * SECOND);
    assert!(rig.closed.is_empty());
    rig.pass(2 * SECOND);
    assert_eq!(rig.closed, [A]);
    rig.connect(B);
    rig.say(B, ask("f"));
    assert_eq!(rig.kinds(B), ["protocol_error"]);
    assert_eq!(rig.closed, [A, B]);
}

#[test]
fn who_is_late_with_a_transfer_is_pinged_and_gets_another_when_it_answers() {
    let mut rig = Rig::new(&[("f", 100 * PIECE), ("g", 10 * PIECE)]);
    rig.join_v3(A, "a");
    rig.say(A, request("g"));
    rig.take_all(A, "g");
    rig.say(A, request("f"));
    rig.heard(A);
    rig.pass(7 * SECOND);
    let kinds = rig.kinds(A);
    assert!(kinds.contains(&"ping") && kinds.contains(&"cancel"), "{kinds:?}");
    assert!(!kinds.contains(&"transfer"), "{kinds:?}");
    rig.say(A, wire::Pong {});
    assert!(rig.kinds(A).contains(&"transfer"));
}

#[test]
fn the_silent_are_asked_and_then_given_up() {
    let mut rig = Rig::new(&[]);
    rig.join_v3(A, "a");
    rig.join_v3(B, "b");
    for _ in 0..10 {
        rig.pass(20 * SECOND);
        rig.say(B, wire::Pong {});
    }
    assert_eq!(rig.kinds(A), ["ping"; 3]);
    assert_eq!(rig.closed, [A]);
    // What it says is not read as long as it has yet to take so much, which it does.
    for _ in 0..10 {
        rig.pass(30 * SECOND);
        rig.feed(Input::HeldUp { conn: B });
    }
    assert_eq!(rig.closed, [A]);
    rig.say(B, wire::Ping {});
    assert_eq!(rig.heard(B).last().map(Message::kind), Some("pong"));
}

#[test]
fn mistakes_are_forgiven_but_not_for_ever() {
    let mut rig = Rig::new(&[]);
    rig.join_v3(A, "a");
    let nonsense =
        || Input::Message { conn: A, message: Err(WireError::UnknownType("hello".to_owned())), credit: None };
    for _ in 0..limits::MAX_ERRORS_PER_CLIENT {
        rig.feed(nonsense());
        let error = rig.error(A);
        assert_eq!((error.code, error.re.as_deref()), (ErrorCode::Protocol, Some("hello")));
    }
    assert!(rig.closed.is_empty());
    rig.feed(nonsense());
    assert_eq!(rig.error(A).code, ErrorCode::Limit);
    assert_eq!(rig.closed, [A]);

    rig.join_v3(B, "b");
    rig.feed(Input::Message { conn: B, message: Err(WireError::FrameTooShort(0)), credit: None });
    assert_eq!(rig.error(B).code, ErrorCode::Protocol);
    assert_eq!(rig.closed, [A, B], "broken framing is not forgiven");
}

#[test]
fn what_only_servers_say_is_a_mistake() {
    let mut rig = Rig::new(&[]);
    rig.join_v3(A, "a");
    rig.say(A, wire::Goaway::default());
    assert_eq!(rig.error(A).code, ErrorCode::Protocol);
    rig.say(A, wire::Changed { url: url("f"), ..Default::default() });
    assert_eq!(rig.error(A).re.as_deref(), Some("changed"));
    rig.say(A, v3("a"));
    assert_eq!(rig.error(A).code, ErrorCode::Protocol);
    assert_eq!(rig.closed, [A], "register comes once");
}

#[test]
fn questions_are_bounded() {
    let mut rig = Rig::new(&[]);
    rig.join_v3(A, "a");
    rig.hold = true;
    for i in 0..limits::MAX_OUTSTANDING {
        rig.say(A, ask(&format!("f{i}")));
    }
    assert_eq!(rig.kinds(A), [""; 0]);
    rig.say(A, ask("one-more"));
    let error = rig.error(A);
    assert_eq!((error.code, error.url), (ErrorCode::Limit, Some(url("one-more"))));
    rig.say(A, wire::List { url: url(""), ..Default::default() });
    assert_eq!(rig.error(A).code, ErrorCode::Limit);
    assert!(rig.lists.is_empty());

    let found = rig.held.remove(0);
    rig.feed(Input::Found { path: found, result: Err(HubError::NotFound) });
    assert_eq!(rig.kinds(A), ["tell_info"]);
    rig.say(A, wire::List { url: url(""), id: Some(7), ..Default::default() });
    assert_eq!(rig.lists, [A]);
    let reading = wire::Reading { url: url(""), id: Some(7), entries: 512 };
    rig.feed(Input::Reading { conn: A, reading: reading.clone() });
    assert_eq!(rig.heard(A), [Message::Reading(reading)]);
    let result = Err(HubError::NotDirectory);
    rig.feed(Input::Listed { conn: A, url: url(""), id: Some(7), result });
    let error = rig.error(A);
    assert_eq!((error.code, error.id, error.re.as_deref()), (ErrorCode::NotDirectory, Some(7), Some("list")));
}

#[test]
fn one_lookup_serves_all_who_ask() {
    let mut rig = Rig::new(&[("f", 5)]);
    rig.join_v3(A, "a");
    rig.join_v3(B, "b");
    rig.hold = true;
    rig.say(A, ask("f"));
    rig.say(B, ask("f"));
    rig.say(A, wire::AskInfo { url: "pdtp://other:1/./f".to_owned(), hashes: false, proof: false });
    assert_eq!(rig.held.len(), 1);
    let path = rig.held[0].clone();
    rig.feed(Input::Hashing { path: path.clone(), done: 1, total: 5 });
    assert_eq!(rig.kinds(B), ["hashing"]);
    rig.heard(A);
    let found = rig.look(path);
    rig.feed(found);
    assert_eq!(rig.kinds(B), ["tell_info"]);
    let urls: Vec<_> = rig.heard(A).iter().map(|m| m.url().unwrap().to_owned()).collect();
    assert_eq!(urls, [url("f"), "pdtp://other:1/./f".to_owned()]);
}

#[test]
fn what_is_said_while_a_file_is_hashed_keeps_its_order() {
    let mut rig = Rig::new(&[("f", 4 * PIECE)]);
    rig.join_v3(A, "a");
    rig.hold = true;
    rig.say(A, request("f"));
    rig.say(A, wire::Unrequest { url: url("f"), ..Default::default() });
    rig.say(A, wire::Request { range: Some(ByteRange::new(0, 0)), ..request("f") });
    assert_eq!(rig.held.len(), 1);
    let path = rig.held.remove(0);
    let found = rig.look(path);
    rig.feed(found);
    let session = rig.core.clients[&A].session().unwrap();
    let wants: Vec<_> = session.files.values().map(|file| file.wants.clone()).collect();
    let mut first_piece = ranges::Ranges::default();
    first_piece.insert(0..1);
    assert_eq!(wants, [first_piece]);
    assert_eq!(session.pending, 0);
}

#[test]
fn a_pace_is_nothing_without_a_place() {
    let mut rig = Rig::new(&[("f", 40 * PIECE)]);
    rig.join_v3(A, "a");
    rig.say(A, wire::Request { pace: Some(u64::MAX), ..request("f") });
    let (position, window) = (Some(PIECE as u64), Some(u64::MAX));
    rig.say(A, wire::Request { pace: Some(u64::MAX), position, window, ..request("f") });
    rig.say(A, wire::Request { pace: Some(0), position, window, ..request("f") });
    assert_eq!(rig.take_all(A, "f")["the-server"], 40 * PIECE as u64);
}

#[test]
fn ranges_of_all_kinds() {
    let mut rig = Rig::new(&[("f", 3 * PIECE), ("empty", 0)]);
    rig.join_v3(A, "a");
    let range = |min, max| wire::Request { range: Some(ByteRange { min, max }), ..request("f") };
    let size = 3 * PIECE as u64;
    for past in [range(size, None), range(size, Some(size)), range(u64::MAX, Some(u64::MAX))] {
        rig.say(A, past);
        assert_eq!(rig.error(A).code, ErrorCode::Protocol);
    }
    rig.say(A, request("empty"));
    assert_eq!(rig.kinds(A), [""; 0], "nothing to send, nothing to complain about");
    rig.say(A, range(size - 1, Some(u64::MAX)));
    rig.say(A, range(0, Some(PIECE as u64)));
    rig.say(A, range(1, Some(size)));
    let from = rig.take_all(A, "f");
    assert_eq!(from["the-server"], size, "overlapping requests: every byte once");
}

#[test]
fn ranges_by_the_thousand_have_a_limit() {
    let count = limits::MAX_RANGES_PER_FILE;
    let mut rig = Rig::new(&[("f", (2 * count + 2) * PIECE)]);
    rig.join_v3(A, "a");
    let piece = |i: usize| {
        let at = (i * PIECE) as u64;
        wire::Request { range: Some(ByteRange::new(at, at)), ..request("f") }
    };
    for i in 0..count {
        rig.say(A, piece(2 * i));
    }
    assert!(!rig.kinds(A).contains(&"error"));
    rig.say(A, piece(2 * count));
    assert_eq!(rig.error(A).code, ErrorCode::Limit);
    rig.say(A, request("f"));
    assert!(!rig.kinds(A).contains(&"error"), "the whole file is one range");
}

#[test]
fn files_by_the_thousand_have_a_limit() {
    let count = limits::MAX_FILES_PER_CLIENT;
    let names: Vec<String> = (0..=count).map(|i| format!("f{i}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let mut rig = Rig::new(&files);
    rig.join_v3(A, "a");
    for name in &names[..count] {
        rig.say(A, request(name));
    }
    assert!(!rig.kinds(A).contains(&"error"));
    rig.say(A, request(&names[count]));
    assert_eq!(rig.error(A).code, ErrorCode::Limit);
}

#[test]
fn directories_and_bad_urls() {
    let mut rig = Rig::new(&[]);
    std::fs::create_dir(rig.dir.path().join("d")).unwrap();
    rig.join_v3(A, "a");
    rig.say(A, ask("d"));
    let heard = rig.heard(A);
    let Message::TellInfo(info) = &heard[0] else { panic!("{heard:?}") };
    assert_eq!((info.kind, info.size, info.error), (Some(EntryKind::Dir), None, None));
    for bad in [
        "http://h/../x",
        "http://h/%2e%2e/x",
        "http://h/a%00b",
        "file:///etc/passwd",
        "",
        "/f",
        "http://h/a%2fb",
    ] {
        rig.say(A, wire::AskInfo { url: bad.to_owned(), hashes: false, proof: false });
        let heard = rig.heard(A);
        assert!(
            matches!(&heard[..], [Message::TellInfo(m)] if m.error == Some(ErrorCode::NotFound)),
            "{heard:?}"
        );
        rig.say(A, wire::Request { url: bad.to_owned(), ..Default::default() });
        assert_eq!(rig.error(A).code, ErrorCode::NotFound);
        rig.say(A, wire::Unrequest { url: bad.to_owned(), ..Default::default() });
        assert_eq!(rig.error(A).code, ErrorCode::NotFound);
    }
    rig.say(A, request("d"));
    assert_eq!(rig.error(A).code, ErrorCode::IsDirectory);
}

#[test]
fn hashes_come_from_memory_and_only_of_that_version() {
    let mut rig = Rig::new(&[("f", 5 * PIECE)]);
    rig.join_v3(A, "a");
    let version = rig.version("f");
    let ask = wire::AskHashes {
        url: url("f"),
        root: version.root(),
        first: 1,
        count: 2,
        proof: false,
        roots: false,
    };
    rig.say(A, ask.clone());
    let heard = rig.heard(A);
    let [Message::TellHashes(told)] = &heard[..] else { panic!("{heard:?}") };
    let expected: Vec<u8> = version.hashes.all()[1..3].iter().flat_map(|digest| digest.0).collect();
    assert_eq!(told.hashes.0, expected);
    rig.hold = true;
    rig.say(A, wire::AskHashes { first: 4, count: 1024, ..ask.clone() });
    rig.say(A, wire::AskHashes { first: u64::MAX, count: 1024, ..ask.clone() });
    let lengths: Vec<_> = rig
        .heard(A)
        .iter()
        .map(|m| if let Message::TellHashes(m) = m { m.hashes.0.len() } else { panic!("{m:?}") })
        .collect();
    assert_eq!(lengths, [32, 0]);
    rig.hold = false;
    rig.say(A, wire::AskHashes { root: Digest([1; 32]), ..ask });
    let error = rig.error(A);
    assert_eq!((error.code, error.re.as_deref()), (ErrorCode::Changed, Some("ask_hashes")));
}

#[test]
fn who_takes_proofs_is_told_few_hashes_and_can_verify_them() {
    let mut rig = Rig::new(&[("f", 200 * PIECE), ("small", 128 * PIECE)]);
    rig.join_v3(A, "a");
    let info = |rig: &mut Rig, name: &str, proof| {
        rig.say(A, wire::AskInfo { hashes: true, proof, ..ask(name) });
        let heard = rig.heard(A);
        let [Message::TellInfo(info)] = &heard[..] else { panic!("{heard:?}") };
        let count = info.hashes.as_ref().map(|hashes| hashes.0.len() / 32);
        (count, info.proof.clone())
    };
    let digests = |bytes: &wire::Base64| -> Vec<Digest> {
        bytes.0.chunks(32).map(|digest| Digest(digest.try_into().unwrap())).collect()
    };
    assert_eq!(info(&mut rig, "f", false), (Some(200), None));
    assert_eq!(info(&mut rig, "small", true), (Some(128), None));
    let (count, proof) = info(&mut rig, "f", true);
    assert_eq!(count, Some(16));
    let version = rig.version("f");
    let growing = PieceHashes::growing(version.hashes.layout(), version.root());
    assert!(growing.learn(0, 16, &version.hashes.all()[..16], &digests(&proof.unwrap())));

    for (first, count) in [(16, 16), (32, 32), (64, 64), (128, 128), (0, 256), (192, 64), (0, 1024)] {
        let url = url("f");
        rig.say(A, wire::AskHashes { url, root: version.root(), first, count, proof: true, roots: false });
        let heard = rig.heard(A);
        let [Message::TellHashes(told)] = &heard[..] else { panic!("{heard:?}") };
        let proof = digests(told.proof.as_ref().unwrap());
        let growing = PieceHashes::growing(version.hashes.layout(), version.root());
        assert!(growing.learn(first as u32, count, &digests(&told.hashes), &proof), "{first} + {count}");
    }
    for (first, count, roots) in [(16, 16, 1), (64, 64, 4), (192, 64, 1), (128, 128, 5), (0, 1024, 13)] {
        let url = url("f");
        rig.say(A, wire::AskHashes { url, root: version.root(), first, count, proof: true, roots: true });
        let heard = rig.heard(A);
        let [Message::TellHashes(told)] = &heard[..] else { panic!("{heard:?}") };
        let proof = digests(told.proof.as_ref().unwrap());
        assert_eq!((told.hashes.0.len() / 32, told.roots), (roots, true), "{first} + {count}");
        let growing = PieceHashes::growing(version.hashes.layout(), version.root());
        assert!(
            growing.learn_roots(first as u32, count, &digests(&told.hashes), &proof),
            "{first} + {count}"
        );
    }
    // There is no such block.
    for roots in [false, true] {
        for first in [256, 1 << 40] {
            let url = url("f");
            rig.say(A, wire::AskHashes { url, root: version.root(), first, count: 64, proof: true, roots });
            let heard = rig.heard(A);
            let [Message::TellHashes(told)] = &heard[..] else { panic!("{heard:?}") };
            assert_eq!((told.hashes.0.len(), &told.proof), (0, &None));
        }
    }
}

#[test]
fn a_version_that_changed_is_retired() {
    let mut rig = Rig::new(&[("f", 50 * PIECE)]);
    rig.join_v3(A, "a");
    rig.join_v2(B, "b");
    let old = rig.version("f").root();
    rig.say(A, request("f"));
    rig.say(B, request("f"));
    let t = rig.transfers(A).remove(0);
    rig.heard(B);
    rig.say(
        A,
        wire::Completed {
            id: t.id,
            url: t.url,
            range: t.range,
            peer_id: t.peer_id,
            error: Some(FailureKind::Hash),
            ..Default::default()
        },
    );
    let file = rig.checks.pop().expect("the origin is suspected");
    rig.heard(A);
    rig.heard(B);
    rig.feed(Input::Checked { file, good: false });
    let heard = rig.heard(A);
    assert!(heard.iter().any(|m| matches!(m, Message::Changed(m) if m.url == url("f"))), "{heard:?}");
    assert!(rig.kinds(B).is_empty(), "version 2 has no word for it");
    assert!(rig.core.open.is_empty(), "all its transfers are over");
    assert_eq!(rig.core.status(NOBODY).core.retired, 1);

    std::fs::write(rig.dir.path().join("f"), bytes_of("other", 60 * PIECE)).unwrap();
    rig.say(A, wire::Request { root: Some(old), ..request("f") });
    assert_eq!(rig.error(A).code, ErrorCode::Changed);
    rig.say(A, ask("f"));
    let heard = rig.heard(A);
    assert!(
        matches!(&heard[..], [Message::TellInfo(m)] if m.root.is_some_and(|root| root != old)),
        "{heard:?}"
    );
}

#[test]
fn an_old_version_is_served_as_long_as_it_is_whole() {
    let mut rig = Rig::new(&[("f", 50 * PIECE)]);
    rig.join_v3(A, "a");
    rig.join_v3(B, "b");
    let old = rig.version("f").root();
    rig.say(A, request("f"));
    let t = rig.transfers(A).remove(0);
    // Replaced, not overwritten.
    std::fs::write(rig.dir.path().join("new"), bytes_of("other", 60 * PIECE)).unwrap();
    std::fs::rename(rig.dir.path().join("new"), rig.dir.path().join("f")).unwrap();
    rig.say(B, ask("f"));
    assert_eq!(rig.checks.len(), 1, "the hub is asked whether the old one is whole");
    let file = rig.checks[0];
    rig.feed(Input::Checked { file, good: true });
    assert!(!rig.kinds(A).contains(&"changed"));
    rig.heard(B);
    rig.say(B, wire::Request { root: Some(old), ..request("f") });
    // The origin's line has room again.
    let wire::Transfer { id, url, range, peer_id, .. } = t;
    rig.say(A, wire::Completed { id, url, range, peer_id, ..Default::default() });
    assert!(!rig.transfers(B).is_empty(), "a version in distribution can still be asked for");
}

#[test]
fn reachability_is_found_out_and_told() {
    let mut rig = Rig::new(&[]);
    rig.connect(A);
    rig.say(A, v3("a"));
    let (conn, address, hello) = rig.probes.pop().unwrap();
    assert_eq!((conn, address.to_string().as_str()), (A, "192.0.2.1:4000"));
    let hello = hello.unwrap();
    let heard = rig.heard(A);
    let Message::Registered(registered) = &heard[0] else { panic!("{heard:?}") };
    let secret = Secret::from_base64(&registered.secret).unwrap();
    assert_eq!(hello.answer, crate::wire::token::make_hello(&secret, &hello.nonce));
    rig.feed(Input::Probed { conn: A, ok: false });
    assert_eq!(rig.heard(A), [Message::Reachable(wire::Reachable { ok: false })]);

    // Not even tried: nothing of version 3 listens there, but somebody else's mail server may.
    rig.connect(B);
    rig.say(B, wire::Register { listen_port: 25, ..v3("b") });
    assert!(rig.probes.is_empty());
    assert_eq!(rig.kinds(B), ["registered", "reachable"]);
}

#[test]
fn going_down_is_announced() {
    let mut rig = Rig::new(&[("f", 5 * PIECE)]);
    rig.join_v3(A, "a");
    rig.join_v2(B, "b");
    rig.feed(Input::GoingDown);
    assert_eq!(rig.kinds(A), ["goaway"]);
    assert_eq!(rig.kinds(B), [""; 0]);
    rig.say(A, request("f"));
    assert_eq!(rig.kinds(A), [""; 0], "nothing new is started");
}

#[test]
fn only_the_taker_of_a_transfer_speaks_for_it() {
    let mut rig = Rig::new(&[("f", 5 * PIECE)]);
    rig.join_v3(A, "a");
    rig.join_v3(B, "b");
    rig.say(A, request("f"));
    let t = rig.transfers(A).remove(0);
    let completed = wire::Completed {
        id: t.id,
        url: t.url,
        range: t.range,
        peer_id: t.peer_id,
        bytes: Some(1),
        ms: Some(1),
        ..Default::default()
    };
    rig.say(B, completed.clone());
    rig.say(B, wire::Progress { id: t.id.unwrap(), pieces: vec![0, 1, 2, 3, 4] });
    rig.say(A, wire::Progress { id: t.id.unwrap(), pieces: vec![u64::MAX, 77, 1 << 32] });
    assert_eq!(rig.core.status(NOBODY).swarm.origin_bytes, 0);
    rig.say(A, completed.clone());
    let after = rig.core.status(NOBODY).swarm;
    assert!(after.origin_bytes > 0);
    rig.say(A, completed);
    assert_eq!(rig.core.status(NOBODY).swarm.origin_bytes, after.origin_bytes, "once");
}

#[test]
fn what_came_before_a_cancel_was_heard_counts() {
    for whole in [true, false] {
        let mut rig = Rig::new(&[("f", PIECE)]);
        rig.join_v3(A, "a");
        rig.say(A, request("f"));
        let transfer = rig.transfers(A).remove(0);
        rig.pass(20 * SECOND);
        let cancels = |m: &Message| matches!(m, Message::Cancel(cancel) if Some(cancel.id) == transfer.id);
        assert!(rig.heard(A).iter().any(cancels));
        let (id, url, range) = (transfer.id, transfer.url.clone(), transfer.range);
        if whole {
            let peer_id = transfer.peer_id.clone();
            rig.say(
                A,
                wire::Completed { id, url, range, peer_id, bytes: Some(PIECE as u64), ..Default::default() },
            );
        } else {
            rig.say(A, wire::Progress { id: id.unwrap(), pieces: vec![0, 7, u64::MAX] });
        }
        // It has the piece now, and gives it.
        rig.join_v3(B, "b");
        rig.say(B, request("f"));
        let from: Vec<_> = rig.transfers(B).into_iter().map(|transfer| transfer.peer_id).collect();
        assert_eq!(from, ["a"], "{whole}");
    }
}

#[test]
fn nothing_is_left_of_those_who_left() {
    let mut rig = Rig::new(&[("f", 50 * PIECE), ("g", 1)]);
    for i in 1..20 {
        let conn = ConnId(i);
        rig.join_v3(conn, &format!("c{i}"));
        rig.say(conn, request("f"));
        rig.say(conn, ask("g"));
    }
    for i in 1..20 {
        rig.feed(Input::Closed { conn: ConnId(i) });
    }
    rig.pass(120 * SECOND);
    let core = &rig.core;
    assert!(core.clients.is_empty() && core.ids.is_empty() && core.open.is_empty());
    assert_eq!(core.files.held(), 0);
    assert_eq!(core.status(NOBODY).swarm.active_transfers, 0);
    assert_eq!(core.free_peers.len(), 19, "numbers are used again");
    assert_eq!(core.next_housekeeping, None, "an empty server sleeps");
}

#[test]
fn a_client_that_does_not_give_is_never_asked_to() {
    let mut rig = Rig::new(&[("f", 20 * PIECE)]);
    rig.connect(A);
    rig.say(A, wire::Register { features: vec![wire::FEATURE_RUNS.to_owned()], ..v3("a") });
    rig.heard(A);
    rig.say(A, request("f"));
    rig.take_all(A, "f");
    rig.say(A, wire::Provide { url: url("f"), ..Default::default() });
    rig.join_v3(B, "b");
    rig.say(B, request("f"));
    let from = rig.take_all(B, "f");
    assert_eq!(from.keys().collect::<Vec<_>>(), ["the-server"]);
}

#[test]
fn an_early_get_is_answered_with_the_first_that_the_origin_sends() {
    let mut rig = Rig::new(&[("f", 40 * PIECE), ("g", 40 * PIECE)]);
    rig.join_v3(A, "a");
    rig.say(A, wire::Request { early: Some("name".into()), ..request("f") });
    let transfers: Vec<_> = rig
        .heard(A)
        .into_iter()
        .filter_map(|message| match message {
            Message::Transfer(transfer) => Some(transfer),
            _ => None,
        })
        .collect();
    let (first, rest) = transfers.split_first().unwrap();
    assert!(first.early && first.token.is_some(), "should the GET be lost, there is a token");
    assert!(rest.iter().all(|transfer| !transfer.early));
    let bytes = first.range.min..first.range.max.unwrap() + 1;
    assert_eq!(std::mem::take(&mut rig.early), [("name".to_owned(), bytes)]);
    rig.say(A, request("g"));
    assert!(rig.early.is_empty(), "of another file");
}
