//! A server and a seed as DistribuStream 0.1.0 was, made anew from what is known of it: lines only, closing without a
//! word on anything that it does not know, names that are never free again, one request a connection. The server can
//! also speak in frames, as the draft of 2007 says and later releases did.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::common::PATIENCE;

/// The path that is served.
pub const PATH: &str = "/sample.bin";
/// Transfers of a client at once.
const SLOTS: usize = 10;

/// What a client may say, with the types of the members. `?` = may be absent or null.
const CLIENT_MESSAGES: &[(&str, &[(&str, &str)])] = &[
    ("client_info", &[("client_id", "str"), ("listen_port", "int")]),
    ("register", &[("client_id", "str"), ("listen_port", "int")]),
    ("ask_info", &[("url", "str")]),
    ("request", &[("url", "str"), ("range", "range?")]),
    ("unrequest", &[("url", "str"), ("range", "range?")]),
    ("provide", &[("url", "str"), ("range", "range?")]),
    ("unprovide", &[("url", "str"), ("range", "range?")]),
    ("ask_verify", &[("peer", "address"), ("url", "str"), ("range", "range"), ("peer_id", "str")]),
    (
        "completed",
        &[("url", "str"), ("range", "range"), ("peer_id", "str"), ("hash", "str?"), ("peer", "str?")],
    ),
    ("protocol_error", &[("message", "str?")]),
    ("protocol_warn", &[("message", "str?")]),
];

type Range = (u64, u64);

/// Where messages go.
struct Line {
    stream: TcpStream,
    is_framed: bool,
}

impl Line {
    fn say(&self, message: &Value) {
        let text = format!("{message}\r\n");
        let prefix = (text.len() as u16).to_be_bytes();
        let _ = if self.is_framed {
            (&self.stream).write_all(&[&prefix, text.as_bytes()].concat())
        } else {
            (&self.stream).write_all(text.replace('\r', "").as_bytes())
        };
    }

    fn clone(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), is_framed: self.is_framed }
    }
}

struct Client {
    line: Line,
    port: u16,
    host: IpAddr,
    url: String,
    requested: BTreeSet<usize>,
    provides: BTreeSet<usize>,
    /// Range, other side, whether this one is the taker.
    open: Vec<(Range, String, bool)>,
}

#[derive(Default)]
struct State {
    clients: HashMap<String, Client>,
    used: HashSet<String>,
    /// All that was said, by whom.
    log: Vec<(String, Value)>,
    /// What this server hung up on.
    broken: Vec<String>,
    /// Control connections so far.
    connections: usize,
    turn: usize,
    /// The file.
    bytes: Vec<u8>,
}

/// A server of one file.
pub struct OldServer {
    pub port: u16,
    chunk: usize,
    is_framed: bool,
    state: Mutex<State>,
    changed: Condvar,
    /// Keeps its judgement of hashes to itself.
    pub is_mute: AtomicBool,
    listener: TcpListener,
}

impl OldServer {
    pub fn start(bytes: Vec<u8>, chunk: usize) -> Arc<Self> {
        Self::start_as(bytes, chunk, false)
    }

    pub fn start_as(bytes: Vec<u8>, chunk: usize, is_framed: bool) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Arc::new(Self {
            port: listener.local_addr().unwrap().port(),
            chunk,
            is_framed,
            state: Mutex::new(State { bytes, ..State::default() }),
            changed: Condvar::new(),
            is_mute: AtomicBool::new(false),
            listener,
        });
        let accepting = Arc::clone(&server);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.listener.accept() {
                let server = Arc::clone(&accepting);
                std::thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    pub fn uri(&self, path: &str) -> String {
        format!("pdtp://127.0.0.1:{}{path}", self.port)
    }

    /// What was said so far, by whom.
    pub fn log(&self) -> Vec<(String, Value)> {
        self.state().log.clone()
    }

    /// Messages of a kind that were said.
    pub fn said(&self, kind: &str) -> Vec<Value> {
        self.log().into_iter().map(|(_, m)| m).filter(|m| m[0] == kind).collect()
    }

    /// What it hung up on.
    pub fn broken(&self) -> Vec<String> {
        self.state().broken.clone()
    }

    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Chunks that a client is known to have.
    pub fn provided_by_others(&self, than: &str) -> usize {
        self.state().clients.iter().filter(|(id, _)| *id != than).map(|(_, c)| c.provides.len()).sum()
    }

    /// Cuts all control connections but that of `but`.
    pub fn cut(&self, but: &str) {
        for (id, client) in &self.state().clients {
            if id != but {
                let _ = client.line.stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Puts another file in the place of the one that is served.
    pub fn replace(&self, bytes: Vec<u8>) {
        self.state().bytes = bytes;
    }

    /// Waits until `condition` holds of what was said.
    pub fn wait(&self, what: &str, condition: impl Fn(&[(String, Value)]) -> bool) {
        let state = self.state();
        let held = self.changed.wait_timeout_while(state, PATIENCE, |state| !condition(&state.log)).unwrap();
        assert!(!held.1.timed_out(), "in vain: {what}; said: {:#?}", held.0.log);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(&self, stream: TcpStream) {
        self.state().connections += 1;
        let mut id = None;
        let out = Line { stream: stream.try_clone().unwrap(), is_framed: self.is_framed };
        let mut from = BufReader::new(stream.try_clone().unwrap());
        while let Some(line) = next_body(&mut from, self.is_framed) {
            let mut state = self.state();
            let told = self.take(&mut state, &out, &mut id, &line);
            if let Err(why) = told {
                state.broken.push(format!("{why}: {}", String::from_utf8_lossy(&line)));
                self.changed.notify_all();
                break;
            }
            self.schedule(&mut state);
            self.changed.notify_all();
        }
        let mut state = self.state();
        if let Some(id) = id {
            state.clients.remove(&id);
            self.schedule(&mut state);
        }
        // Closed as a program does that has not read everything: only what was said comes across.
        let _ = stream.shutdown(Shutdown::Both);
        self.changed.notify_all();
    }

    fn take(
        &self,
        state: &mut State,
        out: &Line,
        id: &mut Option<String>,
        line: &[u8],
    ) -> Result<(), &'static str> {
        let message: Value = serde_json::from_slice(line).map_err(|_| "not JSON")?;
        let kind = message[0].as_str().ok_or("not a message")?.to_owned();
        let (_, types) = CLIENT_MESSAGES.iter().find(|(name, _)| *name == kind).ok_or("unknown type")?;
        let members = message[1].as_object().ok_or("no members")?.clone();
        for (name, what) in *types {
            let member = members.get(*name).unwrap_or(&Value::Null);
            let is_range = member.is_object()
                && ["min", "max"].iter().all(|end| member.get(*end).is_none_or(Value::is_i64));
            let is_right = match *what {
                "str" => member.is_string(),
                "str?" => member.is_string() || member.is_null(),
                "int" => member.is_u64(),
                "range" => is_range && member["max"].is_u64(),
                "range?" => is_range || member.is_null(),
                _ => member.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
            };
            if !is_right {
                return Err("wrong member");
            }
        }
        // More members would be ignored; a client that knows whom it talks to has no reason to send any. In frames it
        // only knows after the first answer.
        let first = if self.is_framed { "register" } else { "client_info" };
        let is_first_flight =
            kind == first || self.is_framed && ["ask_info", "request"].contains(&kind.as_str());
        let is_known = |name: &String| types.iter().any(|(known, _)| known == name);
        if !is_first_flight && !members.keys().all(is_known) {
            return Err("a member that 0.1.0 did not know");
        }
        let Some(own) = id.clone() else {
            if kind != first {
                return Err("it does not say who it is");
            }
            let own = members["client_id"].as_str().unwrap().to_owned();
            if !state.used.insert(own.clone()) {
                return Err("an id in use, or used before");
            }
            state.log.push((own.clone(), message));
            state.clients.insert(
                own.clone(),
                Client {
                    line: out.clone(),
                    port: members["listen_port"].as_u64().unwrap() as u16,
                    host: out.stream.peer_addr().unwrap().ip(),
                    url: String::new(),
                    requested: BTreeSet::new(),
                    provides: BTreeSet::new(),
                    open: Vec::new(),
                },
            );
            *id = Some(own);
            return Ok(());
        };
        state.log.push((own.clone(), message.clone()));
        let url = members.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_here = url.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
        let is_here = is_here == Some(PATH);
        let range = members.get("range").filter(|range| range.is_object());
        let State { clients, bytes: file, .. } = state;
        let size = file.len();
        let client = clients.get_mut(&own).unwrap();
        match kind.as_str() {
            "ask_info" if is_here => client.line.say(&json!(["tell_info", {
                "url": url, "size": size, "chunk_size": self.chunk, "streaming": false,
            }])),
            "ask_info" => client.line.say(&json!(["tell_info", {"url": url}])),
            "request" if !is_here => client.line.say(&json!(["protocol_warn", {"message": "not found"}])),
            "request" => {
                client.url = url;
                client.requested.extend(self.touched(range, size));
                let has = client.provides.clone();
                client.requested.retain(|chunk| !has.contains(chunk));
            }
            "provide" if is_here => {
                client.url = url;
                client.provides.extend(self.inside(range, size));
            }
            "unrequest" if range.is_some() => {
                let all = self.touched(range, size);
                client.requested.retain(|chunk| !all.contains(chunk));
            }
            "unprovide" if range.is_some() => {
                let all = self.touched(range, size);
                client.provides.retain(|chunk| !all.contains(chunk));
            }
            "ask_verify" => {
                let range = exact(&members["range"]);
                let is_open = client.open.iter().any(|(open, peer, _)| {
                    *open == range && members["peer_id"] == **peer && client.url == url
                });
                let mut told = members.clone();
                told.insert("is_authorized".into(), is_open.into());
                client.line.say(&json!(["tell_verify", told]));
            }
            "completed" => {
                let range = exact(&members["range"]);
                let at = client
                    .open
                    .iter()
                    .position(|(open, peer, _)| *open == range && members["peer_id"] == **peer);
                let Some(at) = at else {
                    client.line.say(&json!(["protocol_warn", {"message": "unknown transfer"}]));
                    return Ok(());
                };
                let (.., is_taker) = client.open.remove(at);
                if is_taker {
                    let bytes = file.get(range.0 as usize..=range.1 as usize).unwrap_or_default();
                    let hash: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
                    let hash_ok = members.get("hash").is_some_and(|told| *told == hash);
                    let chunk = range.0 as usize / self.chunk;
                    if hash_ok {
                        client.provides.insert(chunk);
                    } else {
                        client.requested.insert(chunk);
                    }
                    if !self.is_mute.load(Ordering::Relaxed) {
                        let verdict = json!(["hash_verify", {
                            "url": url, "range": members["range"], "hash_ok": hash_ok,
                        }]);
                        client.line.say(&verdict);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Tells takers what to fetch from whom, as far as there are slots.
    fn schedule(&self, state: &mut State) {
        let takers: Vec<String> = state.clients.keys().cloned().collect();
        for taker in takers {
            loop {
                let client = &state.clients[&taker];
                if client.open.len() >= SLOTS {
                    break;
                }
                let found = client.requested.iter().find_map(|&chunk| {
                    let has = |(id, other): &(&String, &Client)| {
                        **id != taker && other.provides.contains(&chunk) && other.open.len() < SLOTS
                    };
                    let mut givers: Vec<_> = state.clients.iter().filter(has).collect();
                    givers.sort_by_key(|(id, _)| id.as_str());
                    let (id, giver) = givers.get(state.turn % givers.len().max(1))?;
                    Some((chunk, (*id).clone(), giver.host, giver.port))
                });
                let Some((chunk, giver, host, port)) = found else { break };
                state.turn += 1;
                let min = chunk * self.chunk;
                let max = (min + self.chunk).min(state.bytes.len()) - 1;
                let range = (min as u64, max as u64);
                let client = state.clients.get_mut(&taker).unwrap();
                client.requested.remove(&chunk);
                client.open.push((range, giver.clone(), true));
                client.line.say(&json!(["transfer", {
                    "host": host.to_string(), "port": port, "method": "get", "url": client.url,
                    "range": {"min": min, "max": max}, "peer_id": giver,
                }]));
                state.clients.get_mut(&giver).unwrap().open.push((range, taker.clone(), false));
            }
        }
    }

    fn bounds(range: Option<&Value>, size: usize) -> (usize, usize) {
        let end = |name: &str| range.and_then(|range| range[name].as_i64()).filter(|&n| n >= 0);
        let max = end("max").map_or(size - 1, |max| (max as usize).min(size - 1));
        (end("min").unwrap_or(0) as usize, max)
    }

    fn touched(&self, range: Option<&Value>, size: usize) -> Vec<usize> {
        let (min, max) = Self::bounds(range, size);
        (min / self.chunk..=max / self.chunk).collect()
    }

    fn inside(&self, range: Option<&Value>, size: usize) -> Vec<usize> {
        let (min, max) = Self::bounds(range, size);
        let is_end = max + 1 == size;
        let end = if is_end { size.div_ceil(self.chunk) } else { (max + 1) / self.chunk };
        (min.div_ceil(self.chunk)..end).collect()
    }
}

fn exact(range: &Value) -> Range {
    (range["min"].as_u64().unwrap_or(0), range["max"].as_u64().unwrap_or(0))
}

/// The body of the next message, or nothing at the end.
fn next_body(from: &mut impl BufRead, is_framed: bool) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if is_framed {
        let mut prefix = [0; 2];
        from.read_exact(&mut prefix).ok()?;
        body.resize(usize::from(u16::from_be_bytes(prefix)), 0);
        from.read_exact(&mut body).ok()?;
    } else {
        from.read_until(b'\n', &mut body).ok()?;
    }
    (is_framed || body.ends_with(b"\n")).then_some(body)
}

/// How a seed answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// As 0.1.0.
    Good,
    /// With other bytes.
    Wrong,
    /// 403, whatever the server says.
    Refuse,
    /// Not at all.
    Silence,
    /// 500, and why, at length.
    Trace,
    /// Half of it.
    Short,
    /// The whole file.
    Whole,
    /// Without `Content-Range`.
    NoContentRange,
    /// Without `Content-Length`.
    NoLength,
    /// In chunks.
    Chunked,
}

/// A seed.
pub struct Seed {
    pub id: String,
    pub port: u16,
    /// Heads of the requests it got.
    pub heads: Mutex<Vec<String>>,
    pub served: AtomicUsize,
    pub answer: Mutex<Answer>,
    /// It got a request that takes an old network apart.
    pub is_broken: AtomicBool,
}

impl Seed {
    /// Joins a server at `port` and provides `bytes` under `host`.
    pub fn start(server: u16, id: &str, host: &str, bytes: &[u8], answer: Answer) -> Arc<Self> {
        Self::start_as(server, id, host, bytes, answer, false)
    }

    pub fn start_as(
        server: u16,
        id: &str,
        host: &str,
        bytes: &[u8],
        answer: Answer,
        is_framed: bool,
    ) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let seed = Arc::new(Self {
            id: id.to_owned(),
            port: listener.local_addr().unwrap().port(),
            heads: Mutex::default(),
            served: AtomicUsize::new(0),
            answer: Mutex::new(answer),
            is_broken: AtomicBool::new(false),
        });
        let control = TcpStream::connect(("127.0.0.1", server)).unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        let url = format!("http://{host}{PATH}");
        let control = Line { stream: control, is_framed };
        let first = if is_framed { "register" } else { "client_info" };
        control.say(&json!([first, {"listen_port": seed.port, "client_id": id}]));
        control.say(&json!(["provide", {"url": url}]));
        let verdicts: Arc<(Mutex<Vec<Value>>, Condvar)> = Arc::default();
        let (reader, told) = (control.stream.try_clone().unwrap(), Arc::clone(&verdicts));
        reader.set_read_timeout(None).unwrap();
        std::thread::spawn(move || {
            let mut from = BufReader::new(reader);
            while let Some(body) = next_body(&mut from, is_framed) {
                let message: Value = serde_json::from_slice(&body).unwrap();
                if message[0] == "tell_verify" {
                    told.0.lock().unwrap().push(message[1].clone());
                    told.1.notify_all();
                }
            }
        });
        let (bytes, serving) = (bytes.to_vec(), Arc::clone(&seed));
        std::thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                let (seed, bytes, url) = (Arc::clone(&serving), bytes.clone(), url.clone());
                let (control, verdicts) = (control.clone(), Arc::clone(&verdicts));
                std::thread::spawn(move || seed.serve(stream, from, &bytes, &url, &control, &verdicts));
            }
        });
        seed
    }

    fn serve(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
        bytes: &[u8],
        url: &str,
        control: &Line,
        verdicts: &(Mutex<Vec<Value>>, Condvar),
    ) {
        let Some(head) = read_head(&mut stream) else { return };
        self.heads.lock().unwrap().push(head.clone());
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()).next()
        };
        let range = field("Range").and_then(|range| {
            let (min, max) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((min.parse::<usize>().ok()?, max.parse::<usize>().ok()?))
        });
        let (Some((min, max)), Some(peer_id), Some(_)) = (range, field("X-PDTP-Peer-Id"), field("Host"))
        else {
            // What 0.1.0 does then: the server closes its connection, and the seed is of no use any more.
            self.is_broken.store(true, Ordering::Relaxed);
            let _ = control.stream.shutdown(Shutdown::Both);
            return;
        };
        let about = json!({
            "url": url, "peer": from.ip().to_string(), "range": {"min": min, "max": max}, "peer_id": peer_id,
        });
        control.say(&json!(["ask_verify", about]));
        let is_told = |told: &Value| ["range", "peer_id"].iter().all(|name| told[*name] == about[*name]);
        let (mut told, late) = verdicts
            .1
            .wait_timeout_while(verdicts.0.lock().unwrap(), PATIENCE, |all| !all.iter().any(is_told))
            .unwrap();
        assert!(!late.timed_out(), "no verdict on {about}");
        let at = told.iter().position(is_told).unwrap();
        let is_authorized = told.remove(at)["is_authorized"] == true;
        drop(told);
        let answer = *self.answer.lock().unwrap();
        let mut part = bytes[min..=max].to_vec();
        let length = part.len();
        let partial =
            "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Type: application/octet-stream\r\n";
        let content_range = format!("Content-Range: bytes {min}-{max}/*\r\n");
        let (head, body) = match answer {
            _ if !is_authorized => ("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n".into(), Vec::new()),
            Answer::Refuse => ("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n".into(), Vec::new()),
            Answer::Silence => {
                let _ = stream.read(&mut [0]);
                (String::new(), Vec::new())
            }
            Answer::Trace => {
                let trace = "undefined method `+' for nil\n\n./seed.rb:1:in `process'\n".repeat(20);
                let head = format!(
                    "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    trace.len()
                );
                (head, trace.into_bytes())
            }
            Answer::Whole => (
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len()),
                bytes.to_vec(),
            ),
            Answer::Chunked => {
                let mut body = format!("{length:x}\r\n").into_bytes();
                body.append(&mut part);
                body.extend_from_slice(b"\r\n0\r\n\r\n");
                (format!("{partial}{content_range}Transfer-Encoding: chunked\r\n\r\n"), body)
            }
            Answer::NoLength => (format!("{partial}{content_range}\r\n"), part),
            Answer::NoContentRange => (format!("{partial}Content-Length: {length}\r\n\r\n"), part),
            Answer::Good | Answer::Wrong | Answer::Short => {
                if answer == Answer::Wrong {
                    part[0] ^= 1;
                }
                if answer == Answer::Short {
                    part.truncate(length / 2);
                }
                (format!("{partial}{content_range}Content-Length: {length}\r\n\r\n"), part)
            }
        };
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        let _ = stream.shutdown(Shutdown::Write);
        self.served.fetch_add(1, Ordering::Relaxed);
        let mut end = about;
        end["hash"] = Value::Null;
        control.say(&json!(["completed", end]));
        // Until the other side has read it.
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = stream.read(&mut [0]);
    }
}

/// The head of a request, through the empty line; `None` when the connection ends before.
pub fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}
