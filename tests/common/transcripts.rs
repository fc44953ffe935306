//! What DistribuStream 0.1.0 said and heard in 2007, as recorded: one JSON object a line, in order of time.
//!
//! The transcripts are not part of this repository: `PDTP_TRANSCRIPTS` names their directory, which otherwise is
//! looked for in `../shared/vectors/distribustream`. Without them the tests say so and pass.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The file of which every run is about.
pub const PATH: &str = "/sample.bin";
/// The host in its URL.
pub const VHOST: &str = "files.example";

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Record {
    /// Name of the connection; in some files it begins with the name of the case.
    pub conn: String,
    pub from: String,
    pub to: String,
    /// `open`, `close` and the like.
    pub event: Option<String>,
    /// Of an `open`: `control` or `http`.
    pub kind: Option<String>,
    /// Bytes sent: a line of a control connection, or the head of an HTTP message.
    pub data: Vec<u8>,
    /// Length of the body that followed.
    pub body_len: Option<usize>,
    pub body: Option<Vec<u8>>,
}

impl Record {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// A line as a value.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.data).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Name of the case.
    pub fn case(&self) -> &str {
        self.conn.split('/').next().unwrap_or_default()
    }
}

/// One run.
pub struct Transcript {
    pub name: String,
    pub records: Vec<Record>,
}

impl Transcript {
    /// Those of control connections that carry bytes.
    pub fn control(&self) -> impl Iterator<Item = &Record> {
        let is_control =
            |conn: &str| self.records.iter().any(|r| r.conn == conn && r.kind.as_deref() == Some("control"));
        self.records.iter().filter(move |r| !r.data.is_empty() && is_control(&r.conn))
    }

    /// Lines that one role said to another, as values.
    pub fn said(&self, from: &str, to: &str) -> Vec<Value> {
        self.control().filter(|r| r.from == from && r.to == to).map(Record::json).collect()
    }

    /// Bytes of the file, and of a chunk, as the name of the run tells.
    pub fn sizes(&self) -> (usize, usize) {
        let numbers: Vec<usize> = self.name.split('-').filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [_, size, chunk] => (size, chunk),
            _ => (12345, 5000),
        }
    }
}

/// The run whose file name begins so; `None` where there are no transcripts.
pub fn read(name: &str) -> Option<Transcript> {
    let dir = match std::env::var_os("PDTP_TRANSCRIPTS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/distribustream"),
    };
    if !dir.is_dir() {
        eprintln!("SKIPPED: no transcripts at {}; name them with PDTP_TRANSCRIPTS", dir.display());
        return None;
    }
    let file = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|file| file.file_name().unwrap().to_string_lossy().starts_with(name))
        .unwrap_or_else(|| panic!("no transcript {name} in {}", dir.display()));
    let records = std::fs::read_to_string(&file).unwrap().lines().map(record).collect();
    Some(Transcript { name: file.file_stem().unwrap().to_string_lossy().into_owned(), records })
}

/// The runs in which files are downloaded.
pub fn downloads() -> Option<Vec<Transcript>> {
    (1..=6).map(|number| read(&format!("{number:02}-"))).collect()
}

fn record(line: &str) -> Record {
    let value: Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let decode = |text: String| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    Record {
        conn: text("conn").unwrap(),
        from: text("from").unwrap(),
        to: text("to").unwrap(),
        event: text("event"),
        kind: text("kind"),
        data: text("data").map(String::into_bytes).or_else(|| text("base64").map(decode)).unwrap_or_default(),
        body_len: value["body_len"].as_u64().map(|n| n as usize),
        body: text("body_base64").map(decode),
    }
}

/// The first bytes of the file: SHA-256 of "0", of "1", and so on.
pub fn sample(size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..size.div_ceil(32)).flat_map(|n| Sha256::digest(n.to_string().as_bytes()).to_vec()).collect();
    bytes.truncate(size);
    bytes
}

/// A value without members that are null: those count as absent.
pub fn without_null(mut value: Value) -> Value {
    if let Some(members) = value.get_mut(1).and_then(Value::as_object_mut) {
        members.retain(|_, member| !member.is_null());
    }
    value
}
