//! What DistribuStream 0.1.0 says on its control connections is understood, and said back as it was; the heads of its
//! HTTP messages are read.

#[path = "common/transcripts.rs"]
pub mod transcripts;

use std::collections::BTreeMap;

use bytes::BytesMut;
use pdtp::peer::head::{RequestHead, ResponseHead};
use pdtp::wire::{Dialect, FrameReader, Message, path_of_url};
use transcripts::{PATH, Transcript, without_null};

/// Each direction of each control connection, put together from its records.
fn control_streams(transcript: &Transcript) -> BTreeMap<(String, String), Vec<String>> {
    let mut streams: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for record in transcript.control() {
        streams.entry((record.conn.clone(), record.from.clone())).or_default().push(record.text());
    }
    streams
}

/// The same text with the members of its objects in the opposite order.
fn turned_round(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let (kind, members) = (&value[0], value[1].as_object().unwrap());
    let members: Vec<_> =
        members.iter().rev().map(|(name, member)| format!("\"{name}\" : {member}")).collect();
    format!("[{kind}, {{{}}}]\n", members.join(", "))
}

#[test]
fn every_line_of_the_downloads_is_read_and_written_back() {
    let Some(all) = transcripts::downloads() else { return };
    let mut messages = 0;
    for transcript in &all {
        for ((conn, from), lines) in control_streams(transcript) {
            let name = format!("{}, {conn} from {from}", transcript.name);
            let otherwise: String = lines.iter().map(|line| turned_round(line)).collect();
            // As the bytes came, as programs of the time wrote a slash, and in another order.
            for stream in [lines.concat(), lines.concat().replace('/', "\\/"), otherwise] {
                let mut reader = FrameReader::new(Dialect::Line);
                reader.feed(stream.as_bytes());
                for line in &lines {
                    let body = reader.next_body().unwrap().unwrap_or_else(|| panic!("{name}: no {line}"));
                    let message = Message::parse_as(Dialect::Line, &body)
                        .unwrap_or_else(|e| panic!("{name}: {line}: {e}"));
                    let mut written = BytesMut::new();
                    message.encode(Dialect::Line, &mut written).unwrap();
                    let value = |json: &[u8]| without_null(serde_json::from_slice(json).unwrap());
                    assert_eq!(value(&written), value(line.as_bytes()), "{name}");
                    if let Some(url) = message.url() {
                        assert_eq!(path_of_url(url).unwrap().as_str(), PATH);
                    }
                    messages += 1;
                }
                assert_eq!(reader.next_body(), Ok(None), "{name}: more than was recorded");
            }
        }
    }
    assert!(messages > 7500, "only {messages} messages");
}

#[test]
fn every_head_of_the_downloads_is_read() {
    let Some(mut all) = transcripts::downloads() else { return };
    all.extend(transcripts::read("15-"));
    let (mut requests, mut answers) = (0, 0);
    for transcript in &all {
        let is_http = |conn: &str| {
            transcript.records.iter().any(|r| r.conn == conn && r.kind.as_deref() == Some("http"))
        };
        for record in transcript.records.iter().filter(|r| !r.data.is_empty() && is_http(&r.conn)) {
            let (name, text) = (&transcript.name, record.text());
            if text.starts_with("HTTP/") {
                let (head, length) = ResponseHead::parse(&record.data).unwrap().expect(&text);
                assert_eq!(length, record.data.len(), "{name}: {text}");
                assert_eq!(head.status.to_string(), text[9..12], "{name}: {text}");
                answers += 1;
            } else if text.ends_with("\r\n\r\n") {
                let (head, length) = RequestHead::parse(&record.data).unwrap().expect(&text);
                assert_eq!(length, record.data.len(), "{name}: {text}");
                assert_eq!(head.path(), text.split(' ').nth(1).unwrap(), "{name}");
                assert_eq!(head.fields.get("HOST"), Some(transcripts::VHOST), "{name}: {text}");
                requests += 1;
            }
        }
    }
    assert!(requests > 700 && answers > 700, "only {requests} requests, {answers} answers");
}
