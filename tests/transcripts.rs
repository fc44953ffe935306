//! What DistribuStream 0.1.0 says on its control connections is understood, and said back as it was.
//!
//! The transcripts are not part of this repository: `PDTP_TRANSCRIPTS` names their directory, which otherwise is
//! looked for in `../shared/vectors/distribustream`. Without them the test says so and passes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use pdtp::wire::{Dialect, FrameReader, Message, path_of_url};
use serde_json::Value;

/// One direction of one control connection, put together from its records.
struct Stream {
    name: String,
    lines: Vec<String>,
}

fn transcripts() -> Option<PathBuf> {
    let dir = match std::env::var_os("PDTP_TRANSCRIPTS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/distribustream"),
    };
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("SKIPPED: no transcripts at {}; name them with PDTP_TRANSCRIPTS", dir.display());
    None
}

fn control_streams(file: &Path) -> Vec<Stream> {
    let mut kinds: HashMap<String, String> = HashMap::new();
    let mut streams: HashMap<(String, String), Vec<String>> = HashMap::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| record[name].as_str().map(str::to_owned);
        let conn = text("conn").unwrap();
        if let Some(kind) = text("kind") {
            kinds.insert(conn.clone(), kind);
        }
        if let (Some("control"), Some(data)) = (kinds.get(&conn).map(String::as_str), text("data")) {
            streams.entry((conn, text("from").unwrap())).or_default().push(data);
        }
    }
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    streams
        .into_iter()
        .map(|((conn, from), lines)| Stream { name: format!("{name}, {conn} from {from}"), lines })
        .collect()
}

/// As a value, without members that are null: those count as absent.
fn value_of(json: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(json).unwrap();
    value[1].as_object_mut().unwrap().retain(|_, member| !member.is_null());
    value
}

#[test]
fn every_line_of_the_downloads_is_read_and_written_back() {
    let Some(dir) = transcripts() else { return };
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut messages = 0;
    for number in 1..=6 {
        let file = files
            .iter()
            .find(|file| file.file_name().unwrap().to_string_lossy().starts_with(&format!("{number:02}-")))
            .unwrap_or_else(|| panic!("no transcript {number:02} in {}", dir.display()));
        for Stream { name, lines } in control_streams(file) {
            // As the bytes came, and as programs of the time wrote a slash.
            for stream in [lines.concat(), lines.concat().replace('/', "\\/")] {
                let mut reader = FrameReader::new(Dialect::Line);
                reader.feed(stream.as_bytes());
                for line in &lines {
                    let body = reader.next_body().unwrap().unwrap_or_else(|| panic!("{name}: no {line}"));
                    let message = Message::parse(&body).unwrap_or_else(|e| panic!("{name}: {line}: {e}"));
                    let mut written = BytesMut::new();
                    message.encode(Dialect::Line, &mut written).unwrap();
                    assert_eq!(value_of(&written), value_of(line.as_bytes()), "{name}");
                    if let Some(url) = message.url() {
                        assert_eq!(path_of_url(url).unwrap().as_str(), "/sample.bin");
                    }
                    messages += 1;
                }
                assert_eq!(reader.next_body(), Ok(None), "{name}: more than was recorded");
            }
        }
    }
    assert!(messages > 5000, "only {messages} messages");
}
