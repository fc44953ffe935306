//! A control connection of DistribuStream 0.1.0, as strict as that program was: what would have made it hang up or
//! exit fails the test.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::PATIENCE;

/// Members that 0.1.0 reads of what a server says, with their types; `?` = may be absent.
const SERVER_MESSAGES: &[(&str, &[(&str, &str)])] = &[
    ("tell_info", &[("url", "str"), ("size", "int?"), ("chunk_size", "int?"), ("streaming", "bool?")]),
    (
        "transfer",
        &[
            ("host", "str"),
            ("port", "int"),
            ("method", "str"),
            ("url", "str"),
            ("range", "range"),
            ("peer_id", "str"),
        ],
    ),
    (
        "tell_verify",
        &[("peer", "str"), ("url", "str"), ("range", "range"), ("peer_id", "str"), ("is_authorized", "bool")],
    ),
    ("hash_verify", &[("url", "str"), ("range", "range"), ("hash_ok", "bool")]),
    ("protocol_error", &[("message", "str?")]),
    ("protocol_warn", &[("message", "str?")]),
];

/// Longest line that the programs of the time read.
const MAX_LINE: usize = 16 * 1024;

/// See the module.
pub struct Old {
    stream: TcpStream,
    received: Vec<u8>,
    lines: VecDeque<Value>,
    /// `ask_verify` without an answer yet.
    asked: Vec<Value>,
    ended: bool,
}

impl Old {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new(), lines: VecDeque::new(), asked: Vec::new(), ended: false }
    }

    /// Sends bytes as they are. A server that has closed does not hear them.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let whole = serde_json::from_slice::<Value>(bytes).ok();
        self.asked.extend(whole.filter(|message| message[0] == "ask_verify"));
        let _ = self.stream.write_all(bytes);
    }

    pub fn send(&mut self, message: &Value) {
        if message[0] == "ask_verify" {
            self.asked.push(message.clone());
        }
        self.stream.write_all(format!("{message}\n").as_bytes()).expect("send");
    }

    /// What has come and was not taken, without waiting for more than `patience`.
    pub fn poll(&mut self, patience: Duration) -> Option<Value> {
        if self.lines.is_empty() && !self.ended {
            self.stream.set_read_timeout(Some(patience)).unwrap();
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(n) => self.take_in(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => self.ended = true,
                Err(e) => panic!("receive: {e}"),
            }
        }
        self.lines.pop_front()
    }

    /// The next message; `None` when the server has closed.
    #[track_caller]
    pub fn recv(&mut self) -> Option<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = self.poll(Duration::from_millis(20)) {
                return Some(value);
            }
            if self.ended {
                return None;
            }
            assert!(Instant::now() < deadline, "no message came");
        }
    }

    /// The next message of a kind; what comes before it goes to `others`.
    #[track_caller]
    pub fn expect(&mut self, kind: &str, others: &mut Vec<Value>) -> Value {
        loop {
            match self.recv() {
                Some(value) if value[0] == kind => return value,
                Some(value) => others.push(value),
                None => panic!("waiting for {kind}: the server has closed; before: {others:?}"),
            }
        }
    }

    /// A message to be taken again, first.
    pub fn put_back(&mut self, value: Value) {
        self.lines.push_front(value);
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Some(at) = self.received.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.received.drain(..=at).collect();
            assert!(line.len() <= MAX_LINE, "a line of {} bytes", line.len());
            let value: Value = serde_json::from_slice(&line).expect("a line is JSON");
            self.judge(&value);
            self.lines.push_back(value);
        }
    }

    fn judge(&mut self, value: &Value) {
        let kind = value[0].as_str().expect("a type");
        let known = SERVER_MESSAGES.iter().find(|(name, _)| *name == kind);
        let (_, members) = known.unwrap_or_else(|| panic!("0.1.0 hangs up on {value}"));
        for (name, what) in *members {
            let member = &value[1][name];
            let is_right = match *what {
                "str" => member.is_string(),
                "str?" => member.is_null() || member.is_string(),
                "int" => member.is_u64(),
                "int?" => member.is_null() || member.is_u64(),
                "bool" => member.is_boolean(),
                "bool?" => member.is_null() || member.is_boolean(),
                _ => member["min"].is_u64() && member["max"].is_u64(),
            };
            assert!(is_right, "0.1.0 hangs up on {name} of {value}");
        }
        if kind == "transfer" {
            assert_eq!(value[1]["method"], "get", "0.1.0 fails at anything else");
        }
        if kind == "tell_verify" {
            let same = |asked: &Value| {
                ["url", "range", "peer_id", "peer"].iter().all(|name| asked[1][name] == value[1][name])
            };
            let at = self.asked.iter().position(same);
            self.asked.remove(at.unwrap_or_else(|| panic!("0.1.0 exits on an unasked {value}")));
        }
    }
}
